/* Anonymous memory that the target maps itself, as regions; and dlclose, after which unwind rules
 * are void.
 *
 * What malloc maps for itself does not come by here (libc does not call its exported functions for
 * that) or comes by while its thread is inside the real allocator. Mapping is rare next to malloc:
 * a sorted array under one lock will do. Order as in hook_malloc.c: a range is removed before the
 * real munmap, added after the real mmap. */
#undef _FILE_OFFSET_BITS /* under it, a function named mmap would be defined as mmap64 */
#include "capture/hook_real.h"

#include <dlfcn.h>
#include <errno.h>
#include <stdarg.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "capture/next.h"
#include "capture/notes.h"
#include "capture/oom.h"
#include "capture/rawmem.h"
#include "capture/unwind.h"

static struct {
#define HOOK_MMAP(result, name, parameters) result(*name) parameters;
#include "capture/hooks.def"
} real;

enum { REGIONS_FIRST = 1024, REGIONS_MAX = 1 << 20 };

static struct rawmem_lock lock;
static struct recorder_region *regions; /* ascending, disjoint */
static size_t n_regions, room;
static _Atomic uint64_t n_dropped;

void hook_mmap_init(void) {
    void *found;
#define HOOK_MMAP(result, name, parameters)                                                        \
    found = next_symbol(RTLD_NEXT, #name);                                                         \
    memcpy(&real.name, &found, sizeof found);
#include "capture/hooks.def"
}

void hook_regions_after_fork_child(void) {
    rawmem_unlock(&lock);
}
uint64_t hook_regions_dropped(void) {
    return atomic_load(&n_dropped);
}

int recorder_for_each_region(int (*fn)(void *context, const struct recorder_region *regions,
                                       size_t n),
                             void *context) {
    return n_regions > 0 ? fn(context, regions, n_regions) : 0;
}

static bool make_room(void) {
    if (n_regions + 2 <= room)
        return true;
    const size_t more = room ? room * 2 : REGIONS_FIRST;
    if (more > REGIONS_MAX)
        return false;
    struct recorder_region *const grown = rawmem_map(more * sizeof *grown), *const before = regions;
    if (grown == NULL)
        return false;
    if (n_regions > 0)
        memcpy(grown, before, n_regions * sizeof *grown);
    regions = grown;
    if (before != NULL)
        rawmem_unmap(before, room * sizeof *before);
    room = more;
    return true;
}

/* First region that ends after address. */
static size_t position(uint64_t address) {
    size_t low = 0, high = n_regions;
    while (low < high) {
        const size_t middle = (low + high) / 2;
        if (regions[middle].address + regions[middle].size <= address)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

/* Removes [start, end) from all regions; a region may lose its middle. Under the lock. */
static void cut(uint64_t start, uint64_t end) {
    size_t i = position(start);
    while (i < n_regions && regions[i].address < end) {
        struct recorder_region *const r = &regions[i];
        const uint64_t r_end = r->address + r->size;
        if (r->address < start && r_end > end) {
            if (!make_room()) {
                atomic_fetch_add(&n_dropped, 1);
                r->size = start - r->address;
                return;
            }
            memmove(&regions[i + 1], &regions[i], (n_regions - i) * sizeof *regions);
            n_regions++;
            regions[i].size = start - regions[i].address;
            regions[i + 1].size = r_end - end;
            regions[i + 1].address = end;
            return;
        }
        if (r->address < start) {
            r->size = start - r->address;
            i++;
        } else if (r_end > end) {
            r->size = r_end - end;
            r->address = end;
            return;
        } else {
            memmove(&regions[i], &regions[i + 1], (n_regions - i - 1) * sizeof *regions);
            n_regions--;
        }
    }
}

static void add(const struct recorder_region *region) {
    cut(region->address, region->address + region->size);
    if (!make_room()) {
        atomic_fetch_add(&n_dropped, 1);
        return;
    }
    const size_t i = position(region->address);
    memmove(&regions[i + 1], &regions[i], (n_regions - i) * sizeof *regions);
    regions[i] = *region;
    n_regions++;
}

static uint64_t page_up(uint64_t bytes) {
    return (bytes + 4095) & ~UINT64_C(4095);
}

static void forget(struct hook_thread *t, uint64_t start, uint64_t size) {
    if (!hook_enter(t))
        return;
    if (rawmem_lock(&lock, t->cache.try)) {
        cut(start, start + page_up(size));
        rawmem_unlock(&lock);
    } else {
        atomic_fetch_add(&n_dropped, 1);
    }
    hook_leave(t);
}

static void record(struct hook_thread *t, uint64_t address, uint64_t size, int protection,
                   const struct stack_start *start) {
    if (!hook_enter(t))
        return;
    bool truncated;
    struct recorder_region region = {
        .address = address, .size = page_up(size), .protection = (uint32_t)protection};
    region.stack = stacks_capture(&t->stacks, start, &truncated);
    if (t->birth_next == t->birth_end)
        hook_births(t);
    region.birth = t->birth_next++;
    if (rawmem_lock(&lock, t->cache.try)) {
        add(&region);
        rawmem_unlock(&lock);
    } else {
        atomic_fetch_add(&n_dropped, 1);
    }
    hook_leave(t);
}

static void *map(void *address, size_t size, int protection, int flags, int fd, off_t offset,
                 const struct stack_start *start) {
    struct hook_thread *const t = hook_begin();
    void *const result = real.mmap != NULL
                             ? real.mmap(address, size, protection, flags, fd, offset)
                             : (void *)rawmem_syscall(SYS_mmap, (long)address, (long)size,
                                                      protection, flags, fd, offset);
    /* What is only reserved, or tried with room to spare, is not missed. */
    if (t != NULL && result == MAP_FAILED && errno == ENOMEM && (flags & MAP_ANONYMOUS) &&
        !(flags & MAP_NORESERVE) && (protection & PROT_WRITE))
        oom_report("mmap", size, start);
    if (t == NULL || result == MAP_FAILED || (uintptr_t)result > (uintptr_t)-4096)
        return (uintptr_t)result > (uintptr_t)-4096 ? MAP_FAILED : result;
    if (flags & MAP_ANONYMOUS)
        record(t, (uintptr_t)result, size, protection, start);
    else if (flags & MAP_FIXED)
        forget(t, (uintptr_t)result, size);
    return result;
}

HOOK_EXPORT void *mmap(void *address, size_t size, int protection, int flags, int fd,
                       off_t offset) {
    const struct stack_start start = STACKS_START_HERE();
    return map(address, size, protection, flags, fd, offset, &start);
}

HOOK_EXPORT void *mmap64(void *address, size_t size, int protection, int flags, int fd,
                         off_t offset) {
    const struct stack_start start = STACKS_START_HERE();
    return map(address, size, protection, flags, fd, offset, &start);
}

HOOK_EXPORT int munmap(void *address, size_t size) {
    struct hook_thread *const t = hook_begin();
    if (t != NULL)
        forget(t, (uintptr_t)address, size);
    return real.munmap != NULL
               ? real.munmap(address, size)
               : (int)rawmem_syscall(SYS_munmap, (long)address, (long)size, 0, 0, 0, 0);
}

HOOK_EXPORT void *mremap(void *address, size_t size, size_t new_size, int flags, ...) {
    const struct stack_start start = STACKS_START_HERE();
    void *to = NULL;
    if (flags & MREMAP_FIXED) {
        va_list list;
        va_start(list, flags);
        to = va_arg(list, void *);
        va_end(list);
    }
    struct hook_thread *const t = hook_begin();
    struct recorder_region before = {0};
    if (t != NULL && hook_enter(t)) {
        if (rawmem_lock(&lock, t->cache.try)) {
            const size_t i = position((uintptr_t)address);
            if (i < n_regions && regions[i].address <= (uintptr_t)address) {
                before = regions[i];
                cut((uintptr_t)address, (uintptr_t)address + page_up(size));
            }
            rawmem_unlock(&lock);
        }
        hook_leave(t);
    }
    void *const result = real.mremap != NULL
                             ? real.mremap(address, size, new_size, flags, to)
                             : (void *)rawmem_syscall(SYS_mremap, (long)address, (long)size,
                                                      (long)new_size, flags, (long)to, 0);
    if (t != NULL && before.size != 0) {
        if (result == MAP_FAILED)
            record(t, (uintptr_t)address, size, (int)before.protection, &start);
        else
            record(t, (uintptr_t)result, new_size, (int)before.protection, &start);
    }
    return result;
}

/* The program break moved from `before` to `after` by the target's own hand. */
static void break_moved(struct hook_thread *t, uintptr_t before, uintptr_t after,
                        const struct stack_start *start) {
    if (after > before)
        record(t, before, after - before, PROT_READ | PROT_WRITE, start);
    else if (after < before)
        forget(t, after, before - after);
}

HOOK_EXPORT void *sbrk(intptr_t increment) {
    const struct stack_start start = STACKS_START_HERE();
    struct hook_thread *const t = hook_begin();
    if (real.sbrk == NULL) {
        errno = ENOMEM;
        return (void *)-1;
    }
    void *const before = real.sbrk(increment);
    if (t != NULL && before != (void *)-1 && increment != 0)
        break_moved(t, (uintptr_t)before, (uintptr_t)before + (uintptr_t)increment, &start);
    return before;
}

HOOK_EXPORT int brk(void *end) {
    const struct stack_start start = STACKS_START_HERE();
    struct hook_thread *const t = hook_begin();
    if (real.brk == NULL || real.sbrk == NULL) {
        errno = ENOMEM;
        return -1;
    }
    void *const before = real.sbrk(0);
    const int result = real.brk(end);
    if (t != NULL && result == 0 && before != (void *)-1)
        break_moved(t, (uintptr_t)before, (uintptr_t)end, &start);
    return result;
}

HOOK_EXPORT int dlclose(void *library) {
    hook_begin();
    if (real.dlclose == NULL)
        return -1;
    const int result = real.dlclose(library);
    unwind_flush();
    atomic_fetch_add(&hook_gate, HOOK_GATE_EPOCH);
    notes_after_dlclose();
    return result;
}
