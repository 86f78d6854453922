/* Arrays of the graph library: counted, under a budget, on huge pages where that pays.
 *
 * Each array carries its size in front, so that releasing one needs nothing but its pointer. Does
 * not pool anything: what is released goes back to the system at once. */
#include "graph/internal.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

/* In front of each array; its size keeps arrays aligned to a cache line where malloc's result is.
 */
struct prefix {
    uint64_t size_bytes;
    uint64_t reserved;
};

#define HUGE_PAGE_BYTES ((size_t)2 << 20)
/* Below this a huge page would waste more than the misses that it saves. */
#define HUGE_MIN_BYTES ((size_t)8 << 20)

static void advise_huge(void *p, size_t size) {
    if (size < HUGE_MIN_BYTES)
        return;
    const uintptr_t start = ((uintptr_t)p + HUGE_PAGE_BYTES - 1) & ~(HUGE_PAGE_BYTES - 1);
    const uintptr_t end = ((uintptr_t)p + size) & ~(HUGE_PAGE_BYTES - 1);
    if (end > start)
        (void)madvise((void *)start, end - start, MADV_HUGEPAGE);
}

/* Bytes with the prefix, or an error. */
static int total_bytes(const struct graph_memory *m, uint64_t old_bytes, uint64_t count,
                       size_t size, size_t *out, snap_error *err) {
    uint64_t bytes;
    if (__builtin_mul_overflow(count, size, &bytes) ||
        __builtin_add_overflow(bytes, sizeof(struct prefix), &bytes) || bytes > SIZE_MAX / 2)
        return err_set(err, SNAP_E_NOMEM, "%llu elements of %zu bytes do not fit into memory",
                       (unsigned long long)count, size);
    if (m->limit && bytes > old_bytes && bytes - old_bytes > m->limit - m->used)
        return err_set(err, SNAP_E_LIMIT, "memory budget of %llu bytes is spent: %llu more needed",
                       (unsigned long long)m->limit, (unsigned long long)(bytes - old_bytes));
    *out = (size_t)bytes;
    return 0;
}

static void count_bytes(struct graph_memory *m, uint64_t old_bytes, uint64_t new_bytes) {
    m->used = m->used - old_bytes + new_bytes;
    if (m->used > m->peak)
        m->peak = m->used;
}

static int out_of_memory(size_t bytes, snap_error *err) {
    return err_set(err, SNAP_E_NOMEM, "no memory for %zu bytes", bytes);
}

int graph_array(struct graph_memory *m, void *out, uint64_t count, size_t size, snap_error *err) {
    size_t bytes = 0;
    SNAP_TRY(total_bytes(m, 0, count, size, &bytes, err));
    struct prefix *p = calloc(1, bytes);
    if (!p)
        return out_of_memory(bytes, err);
    advise_huge(p, bytes);
    p->size_bytes = bytes;
    count_bytes(m, 0, bytes);
    void *array = p + 1;
    memcpy(out, &array, sizeof array);
    return 0;
}

int graph_array_resize(struct graph_memory *m, void *io, uint64_t count, size_t size,
                       snap_error *err) {
    void *array;
    memcpy(&array, io, sizeof array);
    struct prefix *p = array ? (struct prefix *)array - 1 : NULL;
    const uint64_t old_bytes = p ? p->size_bytes : 0;
    size_t bytes = 0;
    SNAP_TRY(total_bytes(m, old_bytes, count, size, &bytes, err));
    p = realloc(p, bytes);
    if (!p)
        return out_of_memory(bytes, err);
    if (bytes > old_bytes)
        advise_huge(p, bytes);
    p->size_bytes = bytes;
    count_bytes(m, old_bytes, bytes);
    array = p + 1;
    memcpy(io, &array, sizeof array);
    return 0;
}

void graph_release(struct graph_memory *m, void *io) {
    void *array;
    memcpy(&array, io, sizeof array);
    if (!array)
        return;
    struct prefix *p = (struct prefix *)array - 1;
    count_bytes(m, p->size_bytes, 0);
    free(p);
    array = NULL;
    memcpy(io, &array, sizeof array);
}

int offsets_new(struct offsets *o, struct graph_memory *m, uint64_t count, uint64_t max_value,
                snap_error *err) {
    o->narrow = NULL;
    o->wide = NULL;
    if (max_value <= UINT32_MAX)
        return graph_array(m, &o->narrow, count, sizeof *o->narrow, err);
    return graph_array(m, &o->wide, count, sizeof *o->wide, err);
}

void offsets_release(struct offsets *o, struct graph_memory *m) {
    graph_release(m, &o->narrow);
    graph_release(m, &o->wide);
}
