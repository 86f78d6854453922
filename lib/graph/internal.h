/* What the files of the graph library share: memory under a budget, the graph itself, walks over
 * its edges, the canonical order.
 *
 * Invariant: every allocation of graph and results goes through graph_array and graph_release, so
 * that the budget and the counters are true. */
#ifndef HEAPSNAP_GRAPH_INTERNAL_H
#define HEAPSNAP_GRAPH_INTERNAL_H

#include "base/err.h"

#include <heapsnap/graph.h>
#include <stdbool.h>

struct graph_memory {
    uint64_t used, peak, limit;
};

/* count zeroed elements; *out (a pointer of any type) is set on success only. */
int graph_array(struct graph_memory *m, void *out, uint64_t count, size_t size, snap_error *err);
/* Changes the number of elements of *io (which may be NULL); new ones are not zeroed. */
int graph_array_resize(struct graph_memory *m, void *io, uint64_t count, size_t size,
                       snap_error *err);
/* Frees *io (a pointer of any type, may be NULL) and sets it to NULL. */
void graph_release(struct graph_memory *m, void *io);

/* Offsets into edges: 4 bytes each as long as they fit. */
struct offsets {
    uint32_t *narrow;
    uint64_t *wide;
};

int offsets_new(struct offsets *o, struct graph_memory *m, uint64_t count, uint64_t max_value,
                snap_error *err);
void offsets_release(struct offsets *o, struct graph_memory *m);

static inline uint64_t offsets_get(const struct offsets *o, uint64_t i) {
    return o->narrow ? o->narrow[i] : o->wide[i];
}

static inline void offsets_set(const struct offsets *o, uint64_t i, uint64_t value) {
    if (o->narrow)
        o->narrow[i] = (uint32_t)value;
    else
        o->wide[i] = value;
}

/* Adds 1; returns the value before. */
static inline uint64_t offsets_increment(const struct offsets *o, uint64_t i) {
    return o->narrow ? o->narrow[i]++ : o->wide[i]++;
}

/* Subtracts 1; returns the value after. */
static inline uint64_t offsets_decrement(const struct offsets *o, uint64_t i) {
    return o->narrow ? --o->narrow[i] : --o->wide[i];
}

struct snap_graph {
    struct graph_memory memory;
    snap_graph_input in;
    int (*progress)(void *context, uint64_t done, uint64_t total);
    void *progress_context;
    uint64_t weak_kinds, folded_kinds;
    uint32_t n; /* nodes are 1 to n */
    uint64_t m; /* rows of edges = positions */
    uint32_t n_roots;
    uint32_t n_types; /* one more than the greatest type */

    /* Forward: the edges of node u are the positions offset[u] to offset[u + 1] - 1. */
    struct offsets offset;
    const uint32_t *target; /* by position: the input's column, or target_sorted */
    uint32_t *target_sorted;
    struct offsets row; /* by position: row of the input; both NULL: the position itself */
    uint64_t *keeps;    /* bit per position; NULL: every edge keeps its target alive */
    uint64_t *rooted;   /* bit per node: target of a root that keeps it alive */
    bool has_low;       /* some edge or root has low confidence */

    /* Reverse, kept edges only; NULL until asked for. */
    bool has_referrers;
    struct offsets in_offset;
    struct offsets in_position; /* -> forward position */
};

static inline bool bit_get(const uint64_t *bits, uint64_t i) {
    return bits[i >> 6] >> (i & 63) & 1;
}
static inline void bit_set(uint64_t *bits, uint64_t i) {
    bits[i >> 6] |= 1ull << (i & 63);
}
static inline uint64_t bit_words(uint64_t n_bits) {
    return n_bits / 64 + 1;
}

/* 0, or CANCELED if the caller wants to stop. */
int graph_canceled(const snap_graph *g, uint64_t done, uint64_t total, snap_error *err);
/* The same, asking only every 2^16 steps. */
static inline int graph_poll(const snap_graph *g, uint64_t done, uint64_t total, snap_error *err) {
    return done & 0xffff || !g->progress ? 0 : graph_canceled(g, done, total, err);
}

static inline uint64_t first_position(const snap_graph *g, uint32_t u) {
    return offsets_get(&g->offset, u);
}
static inline bool position_keeps(const snap_graph *g, uint64_t p) {
    return !g->keeps || bit_get(g->keeps, p);
}
static inline uint64_t position_row(const snap_graph *g, uint64_t p) {
    return g->row.narrow ? g->row.narrow[p] : g->row.wide ? g->row.wide[p] : p;
}
static inline void prefetch_offset(const snap_graph *g, uint32_t u) {
    if (g->offset.narrow)
        __builtin_prefetch(&g->offset.narrow[u]);
    else
        __builtin_prefetch(&g->offset.wide[u]);
}

static inline uint64_t node_bytes(const snap_graph *g, uint32_t u) {
    return g->in.size_bytes ? g->in.size_bytes[u - 1] : 0;
}
static inline uint32_t node_domain(const snap_graph *g, uint32_t u) {
    return g->in.domain ? g->in.domain[u - 1] & 31 : 0;
}
static inline uint32_t node_type(const snap_graph *g, uint32_t u) {
    return g->in.type ? g->in.type[u - 1] : 0;
}
static inline uint8_t edge_kind(const snap_graph *g, uint64_t e) {
    return g->in.edge_kind ? g->in.edge_kind[e] : 0;
}
static inline uint32_t edge_label(const snap_graph *g, uint64_t e) {
    return g->in.edge_label ? g->in.edge_label[e] : 0;
}
static inline uint8_t edge_flags(const snap_graph *g, uint64_t e) {
    return g->in.edge_flags ? g->in.edge_flags[e] : 0;
}
static inline uint64_t source_offset(const snap_graph *g, uint64_t e) {
    if (g->in.source_offset_narrow)
        return g->in.source_offset_narrow[e];
    return g->in.source_offset ? g->in.source_offset[e] : 0;
}
static inline uint64_t target_offset(const snap_graph *g, uint64_t e) {
    return g->in.target_offset ? g->in.target_offset[e] : 0;
}
static inline bool edge_is_low(const snap_graph *g, uint64_t e) {
    return edge_flags(g, e) & SNAP_EDGE_FLAG_LOW;
}
static inline bool edge_is_interior(const snap_graph *g, uint64_t e) {
    return target_offset(g, e) != 0 || edge_flags(g, e) & SNAP_EDGE_FLAG_INTERIOR;
}
static inline uint64_t label_key(const snap_graph *g, uint32_t label) {
    return g->in.label_key ? g->in.label_key[label] : label;
}
static inline uint64_t type_key(const snap_graph *g, uint32_t type) {
    return g->in.type_key ? g->in.type_key[type] : type;
}
static inline uint8_t type_rank(const snap_graph *g, uint32_t type) {
    return g->in.type_rank ? g->in.type_rank[type] : 0;
}
static inline bool kind_is_folded(const snap_graph *g, uint8_t kind) {
    return kind < 64 && g->folded_kinds >> kind & 1;
}

static inline uint8_t root_kind(const snap_graph *g, uint64_t r) {
    return g->in.root_kind ? g->in.root_kind[r] : 0;
}
static inline uint32_t root_name(const snap_graph *g, uint64_t r) {
    return g->in.root_name ? g->in.root_name[r] : 0;
}
static inline uint8_t root_flags(const snap_graph *g, uint64_t r) {
    return g->in.root_flags ? g->in.root_flags[r] : 0;
}
static inline bool root_keeps(const snap_graph *g, uint64_t r) {
    return g->in.root_target[r] != 0 && !(root_flags(g, r) & SNAP_GRAPH_FLAG_WEAK);
}
static inline bool root_is_low(const snap_graph *g, uint64_t r) {
    return root_flags(g, r) & SNAP_EDGE_FLAG_LOW;
}

static inline int compare_u64(uint64_t a, uint64_t b) {
    return (a > b) - (a < b);
}

/* Canonical order of nodes: birth, then number. */
static inline int compare_nodes(const snap_graph *g, uint32_t a, uint32_t b) {
    if (g->in.birth && a && b) {
        const int c = compare_u64(g->in.birth[a - 1], g->in.birth[b - 1]);
        if (c)
            return c;
    }
    return compare_u64(a, b);
}

/* Canonical order of two edges (rows), the nodes that they join left aside: 0 only if nothing tells
 * them apart. */
static inline int compare_edges(const snap_graph *g, uint64_t a, uint64_t b) {
    int c = compare_u64(edge_kind(g, a), edge_kind(g, b));
    if (!c)
        c = compare_u64(label_key(g, edge_label(g, a)), label_key(g, edge_label(g, b)));
    if (!c)
        c = compare_u64(source_offset(g, a), source_offset(g, b));
    if (!c)
        c = compare_u64(target_offset(g, a), target_offset(g, b));
    return c ? c : compare_u64(edge_flags(g, a), edge_flags(g, b));
}

/* Canonical order of roots (rows). */
int compare_roots(const snap_graph *g, uint64_t a, uint64_t b);

typedef int graph_compare(const void *context, uint32_t a, uint32_t b);

/* Sorts by merging, not recursively; equal items keep their order. Takes 4 B per item while it
 * runs, nothing if they are in order. */
int graph_sort(snap_graph *g, uint32_t *items, uint64_t count, graph_compare *compare,
               const void *context, snap_error *err);
/* For graph_sort; context is the graph. */
int graph_compare_nodes(const void *graph, uint32_t a, uint32_t b);
int graph_compare_roots(const void *graph, uint32_t a, uint32_t b);

static inline uint64_t hash_mix(uint64_t h, uint64_t value) {
    h = (h ^ value) * 0x9e3779b97f4a7c15ull;
    h ^= h >> 32;
    h *= 0xd6e8feb86659fd93ull;
    return h ^ h >> 29;
}

#endif
