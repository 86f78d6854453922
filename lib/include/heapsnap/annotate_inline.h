/* The bodies of annotate.h's functions: for programs that define SNAP_ANNOTATE_INLINE, and for the
 * library, which makes its exported functions of them. Not to be included directly.
 *
 * The recorder is preloaded or not there at all, so it is looked up once. */
#ifndef HEAPSNAP_ANNOTATE_INLINE_H
#define HEAPSNAP_ANNOTATE_INLINE_H

#ifndef SNAP_ANNOTATE_FUNCTION
#ifndef SNAP_ANNOTATE_INLINE
#define SNAP_ANNOTATE_INLINE
#endif
#define SNAP_ANNOTATE_FUNCTION static inline __attribute__((unused))
#define SNAP_ANNOTATE_CALLER ((const void *)0)
#endif

#include <dlfcn.h>
#include <heapsnap/annotate.h>

#ifdef __cplusplus
extern "C" {
#endif

/* NULL: none. */
static inline snap_annotate_fn snap_annotate_find(void) {
    static void *found;
    static int is_known;
    if (!__atomic_load_n(&is_known, __ATOMIC_ACQUIRE)) {
        __atomic_store_n(&found, dlsym((void *)0 /* RTLD_DEFAULT */, SNAP_ANNOTATE_NAME),
                         __ATOMIC_RELAXED);
        __atomic_store_n(&is_known, 1, __ATOMIC_RELEASE);
    }
    snap_annotate_fn fn;
    void *const address = __atomic_load_n(&found, __ATOMIC_RELAXED);
    __builtin_memcpy(&fn, &address, sizeof fn);
    return fn;
}

static inline __attribute__((always_inline)) int64_t
snap_annotate_call(uint32_t what, const void *a, const void *b, uint64_t number, const char *name,
                   const void *caller) {
    const snap_annotate_fn fn = snap_annotate_find();
    if (!fn)
        return 0;
    const snap_annotation annotation = {
        (uint32_t)sizeof annotation, what, a, b, number, name, caller};
    return fn(&annotation);
}

SNAP_ANNOTATE_FUNCTION int snap_type(const void *block, const char *type) {
    return (int)snap_annotate_call(SNAP_ANNOTATE_TYPE, block, 0, 0, type, 0);
}

SNAP_ANNOTATE_FUNCTION int snap_edge(const void *from, const void *to, const char *name) {
    return (int)snap_annotate_call(SNAP_ANNOTATE_EDGE, from, to, 0, name, 0);
}

SNAP_ANNOTATE_FUNCTION int snap_edge_remove(const void *from, const void *to, const char *name) {
    return (int)snap_annotate_call(SNAP_ANNOTATE_EDGE_REMOVE, from, to, 0, name, 0);
}

SNAP_ANNOTATE_FUNCTION int snap_root(const void *pointer, const char *name) {
    return (int)snap_annotate_call(SNAP_ANNOTATE_ROOT, pointer, 0, 0, name, 0);
}

SNAP_ANNOTATE_FUNCTION int snap_root_remove(const void *pointer, const char *name) {
    return (int)snap_annotate_call(SNAP_ANNOTATE_ROOT_REMOVE, pointer, 0, 0, name, 0);
}

SNAP_ANNOTATE_FUNCTION int snap_root_region(const void *start, size_t size, const char *name) {
    return (int)snap_annotate_call(SNAP_ANNOTATE_REGION, start, 0, size, name, 0);
}

SNAP_ANNOTATE_FUNCTION int snap_root_region_remove(const void *start) {
    return (int)snap_annotate_call(SNAP_ANNOTATE_REGION_REMOVE, start, 0, 0, 0, 0);
}

SNAP_ANNOTATE_FUNCTION uint64_t(snap_hook_add)(const char *registry, void (*callback)(void),
                                               const void *argument) {
    const void *code;
    __builtin_memcpy(&code, &callback, sizeof code);
    const int64_t id =
        snap_annotate_call(SNAP_ANNOTATE_HOOK, code, argument, 0, registry, SNAP_ANNOTATE_CALLER);
    return id > 0 ? (uint64_t)id : 0;
}

SNAP_ANNOTATE_FUNCTION int snap_hook_remove(uint64_t id) {
    return (int)snap_annotate_call(SNAP_ANNOTATE_HOOK_REMOVE, 0, 0, id, 0, 0);
}

SNAP_ANNOTATE_FUNCTION uint64_t snap_pool_add(const char *name) {
    const int64_t id = snap_annotate_call(SNAP_ANNOTATE_POOL, 0, 0, 0, name, SNAP_ANNOTATE_CALLER);
    return id > 0 ? (uint64_t)id : 0;
}

SNAP_ANNOTATE_FUNCTION int snap_pool_remove(uint64_t pool) {
    return (int)snap_annotate_call(SNAP_ANNOTATE_POOL_REMOVE, 0, 0, pool, 0, 0);
}

SNAP_ANNOTATE_FUNCTION int snap_pool_grow(uint64_t pool, const void *start, size_t size) {
    return (int)snap_annotate_call(SNAP_ANNOTATE_POOL_GROW, start,
                                   (const void *)((uintptr_t)start + size), pool, 0, 0);
}

SNAP_ANNOTATE_FUNCTION int snap_pool_shrink(uint64_t pool, const void *start) {
    return (int)snap_annotate_call(SNAP_ANNOTATE_POOL_SHRINK, start, 0, pool, 0, 0);
}

SNAP_ANNOTATE_FUNCTION int snap_pool_reset(uint64_t pool) {
    return (int)snap_annotate_call(SNAP_ANNOTATE_POOL_RESET, 0, 0, pool, 0, 0);
}

SNAP_ANNOTATE_FUNCTION int snap_block_add(uint64_t pool, const void *block, size_t size) {
    return (int)snap_annotate_call(SNAP_ANNOTATE_BLOCK, block,
                                   (const void *)((uintptr_t)block + size), pool, 0,
                                   SNAP_ANNOTATE_CALLER);
}

SNAP_ANNOTATE_FUNCTION int snap_block_remove(const void *block) {
    return (int)snap_annotate_call(SNAP_ANNOTATE_BLOCK_REMOVE, block, 0, 0, 0, 0);
}

#ifdef __cplusplus
}
#endif
#endif
