/* Memory of the recorder, straight from the kernel.
 *
 * Invariant: `mapped` is the sum of what is mapped and not unmapped. It does not free what was
 * carved: users keep free lists of their own. */
#include "capture/rawmem.h"

#include <errno.h>
#include <sys/mman.h>
#include <unistd.h>

enum { N_RANGES = 8192, CARVE_CHUNK = 1 << 20 };

static _Atomic uint64_t limit_bytes = UINT64_MAX;
static _Atomic uint64_t mapped_bytes;

/* Mappings, for rawmem_touched; those beyond N_RANGES are counted whole. */
static struct range {
    _Atomic uintptr_t start;
    _Atomic size_t bytes;
} ranges[N_RANGES];
static atomic_uint n_ranges;
static _Atomic uint64_t unlisted_bytes;

/* In a page that fork wipes in the child. */
static volatile uint32_t *not_a_copy;

static struct rawmem_lock carve_lock;
static char *carve_next, *carve_end;

#if !defined(__x86_64__)
long rawmem_syscall(long number, long a, long b, long c, long d, long e, long f) {
    const int saved = errno;
    long result = syscall(number, a, b, c, d, e, f);
    if (result == -1)
        result = -errno;
    errno = saved;
    return result;
}
#endif

void rawmem_limit(uint64_t bytes) {
    atomic_store(&limit_bytes, bytes);
}

void rawmem_note(const void *memory, size_t bytes) {
    const unsigned i = atomic_fetch_add(&n_ranges, 1);
    if (i < N_RANGES) {
        ranges[i].start = (uintptr_t)memory;
        ranges[i].bytes = bytes;
    } else {
        atomic_fetch_sub(&n_ranges, 1);
        atomic_fetch_add(&unlisted_bytes, bytes);
    }
}

void rawmem_for_each(void (*fn)(void *context, uintptr_t start, size_t bytes), void *context) {
    const unsigned n = atomic_load(&n_ranges);
    for (unsigned i = 0; i < n && i < N_RANGES; i++)
        if (ranges[i].bytes > 0)
            fn(context, ranges[i].start, ranges[i].bytes);
}

void *rawmem_map(size_t bytes) {
    if (atomic_fetch_add(&mapped_bytes, bytes) + bytes > atomic_load(&limit_bytes)) {
        atomic_fetch_sub(&mapped_bytes, bytes);
        return NULL;
    }
    const long at = rawmem_syscall(SYS_mmap, 0, (long)bytes, PROT_READ | PROT_WRITE,
                                   MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (at < 0 && at > -4096) {
        atomic_fetch_sub(&mapped_bytes, bytes);
        return NULL;
    }
    rawmem_note((void *)at, bytes);
    return (void *)at;
}

void rawmem_unmap(void *memory, size_t bytes) {
    rawmem_syscall(SYS_munmap, (long)memory, (long)bytes, 0, 0, 0, 0);
    atomic_fetch_sub(&mapped_bytes, bytes);
    const unsigned n = atomic_load(&n_ranges);
    for (unsigned i = 0; i < n && i < N_RANGES; i++)
        if (ranges[i].start == (uintptr_t)memory) {
            ranges[i].bytes = 0;
            ranges[i].start = 0;
            return;
        }
    atomic_fetch_sub(&unlisted_bytes, bytes);
}

uint64_t rawmem_touched(void) {
    const size_t page = 4096;
    uint64_t touched = atomic_load(&unlisted_bytes);
    unsigned n = atomic_load(&n_ranges);
    if (n > N_RANGES)
        n = N_RANGES;
    for (unsigned i = 0; i < n; i++) {
        const uintptr_t start = ranges[i].start;
        const size_t bytes = ranges[i].bytes;
        for (size_t at = 0; at < bytes; at += 512 * page) {
            unsigned char resident[512] = {0};
            const size_t part = bytes - at < 512 * page ? bytes - at : 512 * page;
            if (rawmem_syscall(SYS_mincore, (long)(start + at), (long)part, (long)resident, 0, 0,
                               0) != 0) {
                touched += part;
                continue;
            }
            for (size_t k = 0; k * page < part; k++)
                touched += resident[k] & 1 ? page : 0;
        }
    }
    return touched;
}

void *rawmem_carve(size_t bytes, bool try) {
    if (!rawmem_lock(&carve_lock, try))
        return NULL;
    void *memory = NULL;
    if ((size_t)(carve_end - carve_next) < bytes) {
        char *const chunk = rawmem_map(CARVE_CHUNK);
        if (chunk != NULL) {
            carve_next = chunk;
            carve_end = chunk + CARVE_CHUNK - 64;
        }
    }
    if ((size_t)(carve_end - carve_next) >= bytes) {
        memory = carve_next;
        carve_next += bytes;
    }
    rawmem_unlock(&carve_lock);
    return memory;
}

bool rawmem_readable(uintptr_t address) {
    /* The kernel copies the new mask in before it looks at `how`: EFAULT or EINVAL, no effect. */
    return rawmem_syscall(SYS_rt_sigprocmask, -1, (long)address, 0, 8, 0, 0) != -EFAULT;
}

void rawmem_back_off(unsigned turn) {
    if (turn < 64) {
        rawmem_relax();
    } else if (turn < 256) {
        rawmem_syscall(SYS_sched_yield, 0, 0, 0, 0, 0, 0);
    } else {
        const long pause[2] = {0, 100000};
        rawmem_syscall(SYS_nanosleep, (long)pause, 0, 0, 0, 0, 0);
    }
}

void rawmem_init(void) {
    uint32_t *const page = rawmem_map(4096);
    if (page != NULL &&
        rawmem_syscall(SYS_madvise, (long)page, 4096, MADV_WIPEONFORK, 0, 0, 0) == 0) {
        *page = 1;
        not_a_copy = page;
    }
}

bool rawmem_is_copy(void) {
    return not_a_copy != NULL && *not_a_copy == 0;
}

void rawmem_after_fork_child(void) {
    if (not_a_copy != NULL)
        *not_a_copy = 1;
    rawmem_unlock(&carve_lock);
}
