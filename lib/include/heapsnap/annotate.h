/* What a program can tell a recorder about its memory: types of blocks, references and roots that
 * cannot be seen, registered callbacks, and the blocks of allocators of its own.
 *
 * In a process that is not tracked all of this does nothing and costs a few nanoseconds, so it can
 * stay in production code. It is kept outside the program's heap, in bounded memory, and shows up
 * in every snapshot that is taken from then on. Safe from any thread; from a signal handler, too,
 * once some function of these has been called. What is said of a block ends with the block: nothing
 * needs to be undone before free(). Names are copied, cut after 1,000 bytes; they enter the file,
 * so they should be names and no data.
 *
 * A program that does not want to link the library defines SNAP_ANNOTATE_INLINE before it includes
 * this header: the same functions then find the recorder by themselves.
 *
 *     struct session *s = pool_get(sessions);
 *     snap_type(s, "struct session");
 *     snap_root(s, "sessions");
 *     uint64_t id = snap_hook_add("on_batch_end", write_log, s);
 *
 * Results are 0 (also where nothing is tracked) or: ARG a null pointer or name, or no such pool;
 * NOTFOUND nothing was said that could be undone; LIMIT or NOMEM it could not be kept, which the
 * snapshots count as incomplete. */
#ifndef HEAPSNAP_ANNOTATE_H
#define HEAPSNAP_ANNOTATE_H

#include <heapsnap/common.h>

#ifdef __cplusplus
extern "C" {
#endif

#ifndef SNAP_ANNOTATE_INLINE

/* The type of the block that starts at `block`: "struct session", "ns::Session", "float[]". It goes
 * before any type that is found out. NULL takes it back. */
SNAP_API int snap_type(const void *block, const char *type);

/* A reference that no pointer in memory shows: an index into a table, a compressed or encrypted
 * pointer, a handle. Either end may lie anywhere in its block; a `from` in no block makes it a root
 * of that name. snap_edge_remove takes back the one with the same three. */
SNAP_API int snap_edge(const void *from, const void *to, const char *name);
SNAP_API int snap_edge_remove(const void *from, const void *to, const char *name);

/* Something that is meant to live, or that is held from outside of memory, under a name of the
 * program's choice. */
SNAP_API int snap_root(const void *pointer, const char *name);
SNAP_API int snap_root_remove(const void *pointer, const char *name);

/* size bytes whose aligned words refer to blocks, such as memory of a coroutine's stack or of a
 * mapping. Read at snapshots if it can be. Removed by its start. */
SNAP_API int snap_root_region(const void *start, size_t size, const char *name);
SNAP_API int snap_root_region_remove(const void *start);

/* A callback was registered: in which registry, which function, with which argument. The stack of
 * the caller is kept with it. Returns its id, 0 where nothing is tracked or kept. */
SNAP_API uint64_t snap_hook_add(const char *registry, void (*callback)(void), const void *argument);
SNAP_API int snap_hook_remove(uint64_t id);

/* An allocator of the program's own. Its memory is what it got from malloc, mmap or another pool
 * and hands out in blocks: as soon as it has handed out one, a block of malloc that is its memory
 * is not counted any more, but the pool's blocks are, and what is left is "cached". A pool that
 * hands out none is opaque: its memory is counted as it was. Its memory may be that of a CUDA
 * device: what cuMemAlloc, cuMemAllocManaged, cuMemHostAlloc or a reserved range holds is then the
 * pool's as a whole. Returns its id, 0 where nothing is tracked or kept. */
SNAP_API uint64_t snap_pool_add(const char *name);
/* With its memory and blocks. */
SNAP_API int snap_pool_remove(uint64_t pool);
/* Memory that the pool has got, or gives back; by its start. */
SNAP_API int snap_pool_grow(uint64_t pool, const void *start, size_t size);
SNAP_API int snap_pool_shrink(uint64_t pool, const void *start);
/* All blocks of the pool are free again, as by resetting an arena. Costs the same for any number.
 */
SNAP_API int snap_pool_reset(uint64_t pool);
/* A block handed out, with the stack of the caller; and taken back. A block that moves or changes
 * its size is removed and added. */
SNAP_API int snap_block_add(uint64_t pool, const void *block, size_t size);
SNAP_API int snap_block_remove(const void *block);

#endif

/* snap_hook_add takes functions of any type. */
#define snap_hook_add(registry, callback, argument)                                                \
    snap_hook_add((registry), (void (*)(void))(callback), (argument))

/* --- between these functions and a recorder --- */

enum {
    SNAP_ANNOTATE_TYPE = 1,
    SNAP_ANNOTATE_EDGE,
    SNAP_ANNOTATE_EDGE_REMOVE,
    SNAP_ANNOTATE_ROOT,
    SNAP_ANNOTATE_ROOT_REMOVE,
    SNAP_ANNOTATE_REGION,
    SNAP_ANNOTATE_REGION_REMOVE,
    SNAP_ANNOTATE_HOOK,
    SNAP_ANNOTATE_HOOK_REMOVE,
    SNAP_ANNOTATE_POOL,
    SNAP_ANNOTATE_POOL_REMOVE,
    SNAP_ANNOTATE_POOL_GROW,
    SNAP_ANNOTATE_POOL_SHRINK,
    SNAP_ANNOTATE_POOL_RESET,
    SNAP_ANNOTATE_BLOCK,
    SNAP_ANNOTATE_BLOCK_REMOVE
};

typedef struct snap_annotation {
    uint32_t struct_size; /* sizeof(snap_annotation) */
    uint32_t what;        /* SNAP_ANNOTATE_* */
    const void *a, *b;    /* in the order of the function's parameters */
    uint64_t number;      /* size, pool or id */
    const char *name;
    const void *caller; /* return address of the program's call, NULL: that of the recorder's */
} snap_annotation;

/* SNAP_E_*, or what the function returns. The recorder exports it under this name. */
typedef int64_t (*snap_annotate_fn)(const snap_annotation *annotation);
#define SNAP_ANNOTATE_NAME "heapsnap_preload_annotate"

#ifdef __cplusplus
}
#endif

#ifdef SNAP_ANNOTATE_INLINE
#include <heapsnap/annotate_inline.h>
#endif
#endif
