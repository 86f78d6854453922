/* Sums over the blocks of one snapshot, by (domain, type, stack): what one pass over NODE leaves
 * behind. */
#ifndef HEAPSNAP_DIFF_GROUPS_H
#define HEAPSNAP_DIFF_GROUPS_H

#include <stddef.h>
#include <stdint.h>

/* The key and sums of it. "new" is against the snapshot before, "newer" against the first. */
struct group {
    uint32_t type, stack; /* ids in the snapshot's own tables */
    uint32_t domain;
    uint32_t has_identity;
    uint64_t count, bytes;
    uint64_t new_count, new_bytes;
    uint64_t newer_count, newer_bytes;
    uint64_t identity; /* equal for the same type and stack in another snapshot; if has_identity */
};

struct groups {
    struct group *rows;
    size_t n, capacity;
    uint32_t *slots; /* row + 1 by hash of the key, 0: free */
    size_t mask;
    uint32_t *by_stack; /* row + 1 of the group last met with this stack: blocks of one stack mostly
                           share type and domain */
    size_t n_by_stack;
};

/* n_stacks: rows of STAK; only a hint. Returns 0 or -1 without memory. */
int groups_init(struct groups *g, uint64_t n_stacks);
void groups_release(struct groups *g);

/* The row of a key, made if absent; NULL: no memory. Valid until the next call. */
struct group *groups_find(struct groups *g, uint32_t domain, uint32_t type, uint32_t stack);

static inline struct group *groups_get(struct groups *g, uint64_t domain, uint64_t type,
                                       uint64_t stack) {
    if (stack < g->n_by_stack && g->by_stack[stack] != 0) {
        struct group *const row = &g->rows[g->by_stack[stack] - 1];
        if (row->type == type && row->domain == domain)
            return row;
    }
    return groups_find(g, (uint32_t)domain, (uint32_t)type, (uint32_t)stack);
}

/* Adds all sums of other, row by row. Returns 0 or -1 without memory. */
int groups_merge(struct groups *g, const struct groups *other);

/* Adds one thing of a size to the row of its domain and stack, without a type. Returns 0 or -1
 * without memory. */
int groups_add(struct groups *g, uint64_t domain, uint64_t stack, uint64_t bytes);

/* Sums in files are hostile: they saturate. */
static inline uint64_t add_sat(uint64_t a, uint64_t b) {
    uint64_t sum;
    return __builtin_add_overflow(a, b, &sum) ? UINT64_MAX : sum;
}

static inline int64_t difference_sat(uint64_t last, uint64_t first) {
    if (last >= first)
        return last - first > INT64_MAX ? INT64_MAX : (int64_t)(last - first);
    return first - last > INT64_MAX ? INT64_MIN : -(int64_t)(first - last);
}

#endif
