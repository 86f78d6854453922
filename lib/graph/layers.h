/* Breadth-first search in layers: fewest references of low confidence first, then shortest.
 *
 * A layer is complete before the next one starts, and every reference into it is offered, so that
 * the receiver can choose among them by the canonical order: the result does not depend on the
 * order of edges or roots. Stage s holds the nodes whose best chain has s references of low
 * confidence; its layers are fed by its own nodes over sure edges and by stage s - 1 over edges of
 * low confidence.
 *
 * The functions of the receiver are constants where layers_run is called, so that the compiler puts
 * them in place. */
#ifndef HEAPSNAP_LAYERS_H
#define HEAPSNAP_LAYERS_H

#include "graph/internal.h"

struct layers {
    uint32_t *level;   /* by node: references from the virtual root; 0: not reached */
    uint64_t *settled; /* bit per node: its layer is complete */
    uint32_t *queue;   /* nodes in the order of layers */
    uint32_t n_queued;
};

struct layers_receiver {
    /* Root row r offers its target; is_first: nothing was offered to it before. */
    int (*root)(void *context, uint32_t node, uint32_t r, bool is_first, snap_error *err);
    /* Called once per node before its references are offered. */
    void (*expand)(void *context, uint32_t node);
    /* Row e, from an earlier layer, offers its target. */
    int (*edge)(void *context, uint32_t from, uint32_t to, uint64_t e, bool is_first,
                snap_error *err);
    /* A layer is complete. */
    int (*layer)(void *context, const uint32_t *nodes, uint32_t count, snap_error *err);
};

static inline int layers_init(struct layers *l, snap_graph *g, snap_error *err) {
    struct graph_memory *m = &g->memory;
    SNAP_TRY(graph_array(m, &l->level, (uint64_t)g->n + 1, sizeof *l->level, err));
    SNAP_TRY(graph_array(m, &l->settled, bit_words(g->n), sizeof *l->settled, err));
    return graph_array(m, &l->queue, g->n, sizeof *l->queue, err);
}

static inline void layers_release(struct layers *l, snap_graph *g) {
    graph_release(&g->memory, &l->level);
    graph_release(&g->memory, &l->settled);
    graph_release(&g->memory, &l->queue);
}

/* Puts a node that is not settled into the layer; true: for the first time. */
static inline bool layers_reach(struct layers *l, uint32_t node, uint32_t level) {
    if (l->level[node])
        return false;
    l->level[node] = level;
    l->queue[l->n_queued++] = node;
    return true;
}

__attribute__((always_inline)) static inline int
layers_roots(snap_graph *g, struct layers *l, bool low, const struct layers_receiver *receiver,
             void *context, snap_error *err) {
    for (uint32_t r = 0; r < g->n_roots; r++) {
        const uint32_t node = g->in.root_target[r];
        if (root_keeps(g, r) && root_is_low(g, r) == low && !bit_get(l->settled, node))
            SNAP_TRY(receiver->root(context, node, r, layers_reach(l, node, 1), err));
    }
    return 0;
}

__attribute__((always_inline)) static inline int
layers_expand(snap_graph *g, struct layers *l, uint32_t u, bool low,
              const struct layers_receiver *receiver, void *context, snap_error *err) {
    const uint64_t end = first_position(g, u + 1);
    for (uint64_t p = first_position(g, u); p < end; p++) {
        const uint32_t v = g->target[p];
        if (bit_get(l->settled, v) || !position_keeps(g, p))
            continue;
        const uint64_t e = position_row(g, p);
        if (g->has_low && edge_is_low(g, e) != low)
            continue;
        SNAP_TRY(receiver->edge(context, u, v, e, layers_reach(l, v, l->level[u] + 1), err));
    }
    return 0;
}

__attribute__((always_inline)) static inline int layers_run(snap_graph *g, struct layers *l,
                                                            const struct layers_receiver *receiver,
                                                            void *context, snap_error *err) {
    enum { FAR = 16, NEAR = 8 };
    uint32_t before = 0, before_end = 0; /* stage before: the next node to take edges of low
                                            confidence from */
    for (uint32_t stage = 0;; stage++) {
        const uint32_t stage_start = l->n_queued;
        uint32_t level = 1, from = stage_start, end = stage_start;
        for (;;) {
            if (level == 1 && stage <= 1)
                SNAP_TRY(layers_roots(g, l, stage == 1, receiver, context, err));
            for (; before < before_end && l->level[l->queue[before]] < level; before++)
                SNAP_TRY(layers_expand(g, l, l->queue[before], true, receiver, context, err));
            for (; from < end; from++) {
                SNAP_TRY(graph_poll(g, from, g->n, err));
                if (from + FAR < l->n_queued)
                    prefetch_offset(g, l->queue[from + FAR]);
                if (from + NEAR < l->n_queued)
                    __builtin_prefetch(&g->target[first_position(g, l->queue[from + NEAR])]);
                receiver->expand(context, l->queue[from]);
                SNAP_TRY(layers_expand(g, l, l->queue[from], false, receiver, context, err));
            }
            end = l->n_queued;
            for (uint32_t i = from; i < end; i++)
                bit_set(l->settled, l->queue[i]);
            SNAP_TRY(receiver->layer(context, l->queue + from, end - from, err));
            if (from < end)
                level++;
            else if (before < before_end)
                level = l->level[l->queue[before]] + 1;
            else
                break;
        }
        if (!g->has_low || (stage && stage_start == l->n_queued))
            return 0;
        before = stage_start;
        before_end = l->n_queued;
    }
}

#endif
