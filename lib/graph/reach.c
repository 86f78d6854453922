/* Reachability per class of roots: a mask of classes is spread over the graph until nothing
 * changes.
 *
 * Invariant: what a node has sent on (sent) is part of what it has (mask); a node whose two masks
 * differ is in the queue. Each bit passes each node once, so the work is bounded by the number of
 * classes. */
#include "graph/internal.h"

#include <stdlib.h>

struct snap_reach {
    snap_graph *g;
    uint8_t *mask; /* by node */
};

static unsigned class_of_root(uint8_t kind) {
    switch (kind) {
    case SNAP_ROOT_GLOBAL:
    case SNAP_ROOT_MAPPING: return SNAP_REACH_GLOBAL;
    case SNAP_ROOT_STACK:
    case SNAP_ROOT_REGISTER:
    case SNAP_ROOT_TLS:
    case SNAP_ROOT_ALT_STACK: return SNAP_REACH_THREAD;
    case SNAP_ROOT_API: return SNAP_REACH_API;
    case SNAP_ROOT_DEVICE: return SNAP_REACH_DEVICE;
    default:
        return kind >= SNAP_ROOT_MODULE && kind <= SNAP_ROOT_EVENT_LOOP ? SNAP_REACH_PYTHON
                                                                        : SNAP_REACH_RUNTIME;
    }
}

/* Nodes to send on, first in, first out. A node is in it at most once, so n places suffice. */
struct queue {
    uint32_t *node;
    uint64_t *is_in; /* bit per node */
    uint32_t head, count, capacity;
};

static void push(struct queue *q, uint32_t node) {
    if (bit_get(q->is_in, node))
        return;
    bit_set(q->is_in, node);
    const uint64_t at = (uint64_t)q->head + q->count++;
    q->node[at < q->capacity ? at : at - q->capacity] = node;
}

static uint32_t pop(struct queue *q) {
    const uint32_t node = q->node[q->head];
    q->is_in[node >> 6] &= ~(1ull << (node & 63));
    q->head = q->head + 1 == q->capacity ? 0 : q->head + 1;
    q->count--;
    return node;
}

static void prefetch_ahead(const snap_graph *g, const struct queue *q) {
    enum { FAR = 16, NEAR = 8 };
    if (q->count > FAR && q->head + FAR < q->capacity)
        prefetch_offset(g, q->node[q->head + FAR]);
    if (q->count > NEAR && q->head + NEAR < q->capacity)
        __builtin_prefetch(&g->target[first_position(g, q->node[q->head + NEAR])]);
}

static int spread(const snap_graph *g, uint8_t *mask, uint8_t *sent, struct queue *q,
                  snap_error *err) {
    uint64_t n_steps = 0;
    while (q->count) {
        SNAP_TRY(graph_poll(g, ++n_steps, g->n, err));
        prefetch_ahead(g, q);
        const uint32_t u = pop(q);
        const unsigned news = mask[u] & ~sent[u] & 0xffu;
        sent[u] = mask[u];
        const uint64_t end = first_position(g, u + 1);
        for (uint64_t p = first_position(g, u); p < end; p++) {
            const uint32_t v = g->target[p];
            unsigned bits = news & ~(unsigned)mask[v];
            if (!bits || !position_keeps(g, p))
                continue;
            if (bits & SNAP_REACH_SURE && g->has_low && edge_is_low(g, position_row(g, p)))
                bits &= ~(unsigned)SNAP_REACH_SURE;
            if (bits) {
                mask[v] |= (uint8_t)bits;
                push(q, v);
            }
        }
    }
    return 0;
}

static int build(snap_graph *g, uint8_t *mask, uint8_t **sent, struct queue *q, snap_error *err) {
    struct graph_memory *m = &g->memory;
    SNAP_TRY(graph_array(m, sent, (uint64_t)g->n + 1, 1, err));
    SNAP_TRY(graph_array(m, &q->node, (uint64_t)g->n + 1, sizeof *q->node, err));
    SNAP_TRY(graph_array(m, &q->is_in, bit_words(g->n), sizeof *q->is_in, err));
    q->capacity = g->n;
    for (uint64_t r = 0; r < g->n_roots; r++) {
        if (!root_keeps(g, r))
            continue;
        const uint32_t node = g->in.root_target[r];
        mask[node] |= (uint8_t)(class_of_root(root_kind(g, r)) |
                                (root_is_low(g, r) ? 0u : (unsigned)SNAP_REACH_SURE));
        push(q, node);
    }
    return spread(g, mask, *sent, q, err);
}

int snap_reach_new(snap_reach **out, snap_graph *g, snap_error *err) {
    snap_reach *r = calloc(1, sizeof *r);
    if (!r)
        return err_set(err, SNAP_E_NOMEM, "no memory for reachability");
    r->g = g;
    uint8_t *sent = NULL;
    struct queue q = {0};
    int result = graph_array(&g->memory, &r->mask, (uint64_t)g->n + 1, 1, err);
    if (result >= 0)
        result = build(g, r->mask, &sent, &q, err);
    graph_release(&g->memory, &sent);
    graph_release(&g->memory, &q.node);
    graph_release(&g->memory, &q.is_in);
    if (result < 0) {
        snap_reach_free(r);
        return result;
    }
    *out = r;
    return 0;
}

void snap_reach_free(snap_reach *r) {
    if (!r)
        return;
    graph_release(&r->g->memory, &r->mask);
    free(r);
}

unsigned snap_reach_mask(const snap_reach *r, uint32_t node) {
    return node && node <= r->g->n ? r->mask[node] : 0;
}
