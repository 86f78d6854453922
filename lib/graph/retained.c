/* Retained sizes: sums over subtrees of the dominator tree, per set of domains and per type.
 *
 * Invariant: a node's number is greater than its dominator's, so that one pass from the greatest
 * number down has every sum complete before it is added to the dominator's. */
#include "graph/dominator.h"

#include <stdlib.h>

#define MASKS_MAX 8

struct snap_retained {
    snap_dominators *d;
    uint32_t n_masks;
    uint64_t *bytes; /* by number * n_masks + mask */
    uint32_t *count;
};

static void fill(const snap_retained *r, const uint32_t *masks) {
    enum { AHEAD = 24 };
    const snap_dominators *d = r->d;
    const snap_graph *g = d->g;
    uint64_t cell = r->n_masks;
    for (uint32_t i = 1; i < d->count; i++) {
        if (i + AHEAD < d->count) {
            const uint32_t later = d->node[i + AHEAD] - 1;
            if (g->in.size_bytes)
                __builtin_prefetch(&g->in.size_bytes[later]);
            if (g->in.domain)
                __builtin_prefetch(&g->in.domain[later]);
        }
        const uint64_t bytes = node_bytes(g, d->node[i]);
        const uint32_t domain = node_domain(g, d->node[i]);
        for (uint32_t k = 0; k < r->n_masks; k++, cell++) {
            const uint32_t counts = masks[k] >> domain & 1;
            r->bytes[cell] = counts ? bytes : 0;
            r->count[cell] = counts;
        }
    }
}

static void fold(const snap_retained *r) {
    const snap_dominators *d = r->d;
    const uint32_t n_masks = r->n_masks;
    if (n_masks == 1) {
        for (uint32_t i = d->count - 1; i > 0; i--) {
            r->bytes[d->parent[i]] += r->bytes[i];
            r->count[d->parent[i]] += r->count[i];
        }
        return;
    }
    for (uint32_t i = d->count - 1; i > 0; i--) {
        const uint64_t from = (uint64_t)i * n_masks, to = (uint64_t)d->parent[i] * n_masks;
        for (uint32_t k = 0; k < n_masks; k++) {
            r->bytes[to + k] += r->bytes[from + k];
            r->count[to + k] += r->count[from + k];
        }
    }
}

int snap_retained_new(snap_retained **out, snap_dominators *d, const uint32_t *masks,
                      uint32_t n_masks, snap_error *err) {
    if (!n_masks || n_masks > MASKS_MAX)
        return err_set(err, SNAP_E_ARG, "%u sets of domains", n_masks);
    snap_retained *r = calloc(1, sizeof *r);
    if (!r)
        return err_set(err, SNAP_E_NOMEM, "no memory for retained sizes");
    *r = (snap_retained){.d = d, .n_masks = n_masks};
    struct graph_memory *m = &d->g->memory;
    const uint64_t cells = (uint64_t)d->count * n_masks;
    int result = graph_array(m, &r->bytes, cells, sizeof *r->bytes, err);
    if (result >= 0)
        result = graph_array(m, &r->count, cells, sizeof *r->count, err);
    if (result >= 0)
        result = graph_canceled(d->g, 0, d->count, err);
    if (result < 0) {
        snap_retained_free(r);
        return result;
    }
    fill(r, masks);
    fold(r);
    *out = r;
    return 0;
}

void snap_retained_free(snap_retained *r) {
    if (!r)
        return;
    graph_release(&r->d->g->memory, &r->bytes);
    graph_release(&r->d->g->memory, &r->count);
    free(r);
}

/* Where a node's sum stands; false: nowhere. */
static bool find_cell(const snap_retained *r, uint32_t node, uint32_t mask, uint64_t *out) {
    if (node > r->d->g->n || mask >= r->n_masks || (node && !r->d->number[node]))
        return false;
    *out = (uint64_t)r->d->number[node] * r->n_masks + mask;
    return true;
}

uint64_t snap_retained_bytes(const snap_retained *r, uint32_t node, uint32_t mask) {
    uint64_t cell;
    return find_cell(r, node, mask, &cell) ? r->bytes[cell] : 0;
}

uint32_t snap_retained_count(const snap_retained *r, uint32_t node, uint32_t mask) {
    uint64_t cell;
    return find_cell(r, node, mask, &cell) ? r->count[cell] : 0;
}

/* Walks the dominator tree; open[t] is how many nodes of type t are on the way from the root. */
struct type_walk {
    uint32_t *open;
    uint32_t *cursor; /* by depth: index into child */
    uint64_t capacity;
};

static int walk_types(const snap_retained *r, uint32_t mask, struct type_walk *w,
                      snap_retained_type *types, snap_error *err) {
    const snap_dominators *d = r->d;
    snap_graph *g = d->g;
    uint32_t here = 0, next = d->child_offset[0], n_entered = 0;
    uint64_t depth = 0;
    for (;;) {
        if (next < d->child_offset[here + 1]) {
            if (depth == w->capacity) {
                const uint64_t capacity = w->capacity ? w->capacity * 2 : 1024;
                SNAP_TRY(
                    graph_array_resize(&g->memory, &w->cursor, capacity, sizeof *w->cursor, err));
                w->capacity = capacity;
            }
            SNAP_TRY(graph_poll(g, ++n_entered, d->count, err));
            const uint32_t node = d->child[next];
            w->cursor[depth++] = next + 1;
            here = d->number[node];
            next = d->child_offset[here];
            const uint32_t t = node_type(g, node);
            if (!w->open[t]++) {
                const uint64_t cell = (uint64_t)here * r->n_masks + mask;
                types[t].bytes += r->bytes[cell];
                types[t].count += r->count[cell];
                types[t].n_outer++;
            }
        } else if (depth) {
            w->open[node_type(g, d->node[here])]--;
            here = d->parent[here];
            next = w->cursor[--depth];
        } else {
            return 0;
        }
    }
}

int snap_retained_types(snap_retained *r, uint32_t mask, snap_retained_type **out, uint64_t *out_n,
                        snap_error *err) {
    snap_graph *g = r->d->g;
    if (mask >= r->n_masks)
        return err_set(err, SNAP_E_ARG, "set of domains %u of %u", mask, r->n_masks);
    SNAP_TRY(dominators_index_children(r->d, err));
    struct type_walk w = {0};
    snap_retained_type *types = calloc(g->n_types, sizeof *types);
    int result = types ? graph_array(&g->memory, &w.open, g->n_types, sizeof *w.open, err)
                       : err_set(err, SNAP_E_NOMEM, "no memory for %u types", g->n_types);
    if (result >= 0)
        result = walk_types(r, mask, &w, types, err);
    graph_release(&g->memory, &w.open);
    graph_release(&g->memory, &w.cursor);
    if (result < 0) {
        free(types);
        return result;
    }
    *out = types;
    *out_n = g->n_types;
    return 0;
}
