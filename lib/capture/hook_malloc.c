/* malloc and its family, as the target calls them.
 *
 * Order, so that the table never names a block that another thread may have got again: a record is
 * removed before the real free, and made after the real malloc. A failed realloc puts the record
 * back. Whatever cannot be recorded is passed on all the same. What fails for want of memory is
 * reported before the caller hears of it. */
#include "capture/hook_real.h"

#include <dlfcn.h>
#include <errno.h>
#include <link.h>
#include <string.h>

#include "capture/next.h"
#include "capture/oom.h"
#include "capture/rawmem.h"

enum { BOOT_BYTES = 256 << 10, BOOT_HEADER = 16 };

/* Blocks that were asked for before the real functions were known (dlsym itself may ask). Never
 * freed; 16 bytes before each stands its size. */
static char boot[BOOT_BYTES] __attribute__((aligned(4096)));
static _Atomic size_t boot_used;

void *hook_boot_allocate(size_t size, size_t alignment) {
    if (size > BOOT_BYTES / 2 || alignment > 4096)
        return NULL;
    const size_t room = (size + alignment + BOOT_HEADER + 15) & ~(size_t)15;
    const size_t at = atomic_fetch_add(&boot_used, room);
    if (at + room > BOOT_BYTES)
        return NULL;
    uintptr_t block = (uintptr_t)boot + at + BOOT_HEADER;
    block = (block + alignment - 1) / alignment * alignment;
    memcpy((char *)block - 8, &size, sizeof size);
    return (void *)block;
}

bool hook_boot_owns(const void *block) {
    return (uintptr_t)block - (uintptr_t)boot < BOOT_BYTES;
}

size_t hook_boot_size(const void *block) {
    size_t size;
    memcpy(&size, (const char *)block - 8, sizeof size);
    return size;
}

static void *boot_malloc(size_t size) {
    return hook_boot_allocate(size, 16);
}
static void *boot_calloc(size_t n, size_t size) {
    size_t bytes;
    return __builtin_mul_overflow(n, size, &bytes) ? NULL : hook_boot_allocate(bytes, 16);
}
static void *boot_realloc(void *block, size_t size) {
    void *const moved = hook_boot_allocate(size, 16);
    if (moved != NULL && block != NULL && hook_boot_owns(block)) {
        const size_t had = hook_boot_size(block);
        memcpy(moved, block, had < size ? had : size);
    }
    return moved;
}
static void boot_free(void *block) {
    (void)block;
}
static int boot_posix_memalign(void **out, size_t alignment, size_t size) {
    void *const block = hook_boot_allocate(size, alignment < 16 ? 16 : alignment);
    if (block == NULL)
        return ENOMEM;
    *out = block;
    return 0;
}
static void *boot_memalign(size_t alignment, size_t size) {
    return hook_boot_allocate(size, alignment < 16 ? 16 : alignment);
}
static void *boot_valloc(size_t size) {
    return hook_boot_allocate(size, 4096);
}
static size_t boot_malloc_usable_size(void *block) {
    return hook_boot_size(block);
}

/* What is called until the real functions are known. */
#define BOOT_FUNCTIONS                                                                             \
    {                                                                                              \
        .malloc = boot_malloc, .calloc = boot_calloc, .realloc = boot_realloc, .free = boot_free,  \
        .posix_memalign = boot_posix_memalign, .aligned_alloc = boot_memalign,                     \
        .memalign = boot_memalign, .valloc = boot_valloc, .pvalloc = boot_valloc,                  \
        .malloc_usable_size = boot_malloc_usable_size,                                             \
    }

struct hook_real hook_real = BOOT_FUNCTIONS;

/* What comes behind ours. It differs from hook_real where another malloc comes before: the target,
 * and operators of ours that stand for libc's, call that one; who calls ours may be that one. */
static struct hook_real next = BOOT_FUNCTIONS;

const char *hook_allocator_path;
bool hook_malloc_is_foreign;

/* A malloc before ours that calls ours is no allocator but a tool that passes calls on. In place of
 * the next malloc until it is first called, so that nothing is asked at every call. */
static void *(*reached_malloc)(size_t);
static const char *reached_path;

static void *malloc_reached(size_t size) {
    hook_malloc_is_foreign = false;
    hook_allocator_path = reached_path;
    __atomic_store_n(&next.malloc, reached_malloc, __ATOMIC_RELAXED);
    return reached_malloc(size);
}

/* Our own functions by names that nothing can come before. */
#define HOOK_MALLOC(result, name, parameters)                                                      \
    extern __typeof(name) own_##name __attribute__((alias(#name), visibility("hidden")));
#include "capture/hooks.def"

/* The definition that comes before ours, if there is one. An executable that takes the address of a
 * function has a stub for it under the same name, which is no definition. */
static void *find_foreign(const char *name, const void *own) {
    void *const first = next_symbol(RTLD_DEFAULT, name);
    const ElfW(Sym) *symbol = NULL;
    Dl_info info;
    if (first == NULL || first == own ||
        dladdr1(first, &info, (void **)&symbol, RTLD_DL_SYMENT) == 0 || symbol == NULL ||
        symbol->st_shndx == SHN_UNDEF)
        return NULL;
    return first;
}

static const char *path_of(void *(*function)(size_t)) {
    void *address;
    Dl_info info;
    memcpy(&address, &function, sizeof address);
    return dladdr(address, &info) != 0 ? info.dli_fname : NULL;
}

void hook_malloc_init(void) {
    void *found;
    const void *own;
    struct hook_real behind = next, real;
    void *(*const own_function)(size_t) = own_malloc;
    memcpy(&own, &own_function, sizeof own);
    const bool is_foreign = find_foreign("malloc", own) != NULL;
#define HOOK_MALLOC(result, name, parameters)                                                      \
    if ((found = next_symbol(RTLD_NEXT, #name)) != NULL)                                           \
        memcpy(&behind.name, &found, sizeof found);
#include "capture/hooks.def"
    real = behind;
#define HOOK_MALLOC(result, name, parameters)                                                      \
    {                                                                                              \
        result(*const function) parameters = own_##name;                                           \
        memcpy(&own, &function, sizeof own);                                                       \
        if (is_foreign && (found = find_foreign(#name, own)) != NULL)                              \
            memcpy(&real.name, &found, sizeof found);                                              \
    }
#include "capture/hooks.def"
    hook_allocator_path = path_of(real.malloc);
    hook_malloc_is_foreign = is_foreign;
    if (is_foreign) {
        reached_malloc = behind.malloc;
        reached_path = path_of(behind.malloc);
        behind.malloc = malloc_reached;
    }
    next = behind;
    hook_real = real;
}

HOOK_EXPORT void *malloc(size_t size) {
    struct hook_thread *const t = hook_begin();
    if (HOOK_UNLIKELY(t == NULL))
        return hook_passed(next.malloc(size));
    hook_real_begin(t);
    void *const block = next.malloc(size);
    hook_real_end(t);
    if (HOOK_LIKELY(block != NULL)) {
        const struct stack_start start = STACKS_START_HERE();
        hook_record(t, block, size, SNAP_NODE_BLOCK, &start);
    } else {
        const struct stack_start start = STACKS_START_HERE();
        oom_report("malloc", size, &start);
    }
    return block;
}

HOOK_EXPORT void *calloc(size_t n, size_t size) {
    struct hook_thread *const t = hook_begin();
    if (HOOK_UNLIKELY(t == NULL))
        return hook_passed(next.calloc(n, size));
    hook_real_begin(t);
    void *const block = next.calloc(n, size);
    hook_real_end(t);
    if (HOOK_LIKELY(block != NULL)) {
        const struct stack_start start = STACKS_START_HERE();
        hook_record(t, block, n * size, SNAP_NODE_BLOCK, &start);
    } else {
        const struct stack_start start = STACKS_START_HERE();
        size_t bytes;
        if (!__builtin_mul_overflow(n, size, &bytes))
            oom_report("calloc", bytes, &start);
    }
    return block;
}

/* inner: what frees it, once its record is removed. */
static inline __attribute__((always_inline)) void release(void *block,
                                                          void (*const *inner)(void *)) {
    if (block == NULL)
        return;
    struct hook_thread *const t = hook_begin();
    if (HOOK_LIKELY(t != NULL)) {
        bool known;
        /* Allocators keep a block's size in front of it: the two misses overlap. */
        __builtin_prefetch((const char *)block - 16, 1);
        hook_forget(t, block, NULL, &known);
        if (HOOK_LIKELY(known || !hook_boot_owns(block))) {
            hook_real_begin(t);
            (*inner)(block);
            hook_real_end(t);
        }
        return;
    }
    hook_forget_passing(block);
    if (!hook_boot_owns(block))
        (*inner)(block);
}

HOOK_EXPORT void free(void *block) {
    release(block, &next.free);
}

void hook_free(void *block) {
    release(block, &hook_real.free);
}

static void *reallocate(void *block, size_t size, const struct stack_start *start) {
    struct hook_thread *const t = hook_begin();
    struct live_block old;
    bool known = true, found = false;
    if (HOOK_LIKELY(t != NULL)) {
        if (block != NULL)
            found = hook_forget(t, block, &old, &known);
    } else if (block != NULL) {
        hook_forget_passing(block);
        known = false;
    }
    void *result;
    if (HOOK_UNLIKELY(!known && hook_boot_owns(block))) {
        result = next.malloc(size);
        if (result != NULL) {
            const size_t had = hook_boot_size(block);
            memcpy(result, block, had < size ? had : size);
        }
    } else if (HOOK_UNLIKELY(t == NULL)) {
        return hook_passed(next.realloc(block, size));
    } else {
        hook_real_begin(t);
        result = next.realloc(block, size);
        hook_real_end(t);
    }
    if (t == NULL)
        return result;
    if (HOOK_LIKELY(result != NULL))
        hook_record(t, result, size, SNAP_NODE_BLOCK, start);
    else if (size != 0) {
        if (found)
            hook_restore(t, &old);
        oom_report("realloc", size, start);
    }
    return result;
}

HOOK_EXPORT void *realloc(void *block, size_t size) {
    const struct stack_start start = STACKS_START_HERE();
    return reallocate(block, size, &start);
}

HOOK_EXPORT void *reallocarray(void *block, size_t n, size_t size) {
    const struct stack_start start = STACKS_START_HERE();
    size_t bytes;
    if (__builtin_mul_overflow(n, size, &bytes)) {
        errno = ENOMEM;
        return NULL;
    }
    if (HOOK_UNLIKELY(hook_real.realloc != next.realloc)) /* as libc's does */
        return hook_real.realloc(block, bytes);
    return reallocate(block, bytes, &start);
}

HOOK_EXPORT void cfree(void *block);
HOOK_EXPORT void cfree(void *block) {
    hook_free(block);
}

HOOK_EXPORT int posix_memalign(void **out, size_t alignment, size_t size) {
    struct hook_thread *const t = hook_begin();
    if (HOOK_UNLIKELY(t == NULL))
        return next.posix_memalign(out, alignment, size);
    hook_real_begin(t);
    const int result = next.posix_memalign(out, alignment, size);
    hook_real_end(t);
    if (result == 0) {
        const struct stack_start start = STACKS_START_HERE();
        hook_record(t, *out, size, SNAP_NODE_BLOCK | HOOK_FLAG_ALIGNED, &start);
    } else if (result == ENOMEM) {
        const struct stack_start start = STACKS_START_HERE();
        oom_report("posix_memalign", size, &start);
    }
    return result;
}

/* The same but for the real call. */
#define ALIGNED_HOOK(name, parameters, arguments)                                                  \
    HOOK_EXPORT void *name parameters {                                                            \
        struct hook_thread *const t = hook_begin();                                                \
        if (HOOK_UNLIKELY(t == NULL || hook_malloc_is_foreign))                                    \
            return next.name arguments;                                                            \
        hook_real_begin(t);                                                                        \
        void *const block = next.name arguments;                                                   \
        hook_real_end(t);                                                                          \
        if (block != NULL) {                                                                       \
            const struct stack_start start = STACKS_START_HERE();                                  \
            hook_record(t, block, size, SNAP_NODE_BLOCK | HOOK_FLAG_ALIGNED, &start);              \
        } else if (errno == ENOMEM) {                                                              \
            const struct stack_start start = STACKS_START_HERE();                                  \
            oom_report(#name, size, &start);                                                       \
        }                                                                                          \
        return block;                                                                              \
    }
ALIGNED_HOOK(aligned_alloc, (size_t alignment, size_t size), (alignment, size))
ALIGNED_HOOK(memalign, (size_t alignment, size_t size), (alignment, size))
ALIGNED_HOOK(valloc, (size_t size), (size))
ALIGNED_HOOK(pvalloc, (size_t size), (size))

HOOK_EXPORT size_t malloc_usable_size(void *block) {
    if (block == NULL)
        return 0;
    if (HOOK_UNLIKELY(hook_boot_owns(block)))
        return hook_boot_size(block);
    return next.malloc_usable_size(block);
}
