/* LeakShare: what groups of nodes hold beyond what the rest of the program holds, divided fairly.
 *
 * Source: J. Vilk and E. D. Berger, "BLeak: Automatically Debugging Memory Leaks in Web
 * Applications" (PLDI 2018): a search from the roots that no group's node lets pass marks what is
 * held anyway; of the rest each node is shared by the groups that reach it. Masks of 64 groups
 * spread over the rest at once. With more groups, a first round counts for each node the groups
 * that reach it, a second divides.
 *
 * Invariant: as in reach.c, what a node has sent on is part of what it has, and a node whose two
 * masks differ is in the queue. */
#include "graph/internal.h"

#include <stdlib.h>

struct work {
    snap_graph *g;
    const uint32_t *nodes, *group;
    uint64_t n_rows;
    uint64_t *member; /* bit per node: in some group */
    uint64_t *barred; /* bit per node: held by the rest of the program */
    uint64_t *mask, *sent;
    uint32_t *queue; /* a ring; a node is in it once at most */
    uint64_t *queued;
    uint32_t head, count;
    uint32_t *reached; /* nodes with a mask, in order of the first arrival */
    uint32_t n_reached;
    uint32_t *n_groups_of; /* by node; NULL if one round is enough */
    uint64_t *has_rest;    /* bit per node: its rest has been given away */
};

static int mark_barred(struct work *w, snap_error *err) {
    const snap_graph *g = w->g;
    uint32_t head = 0, tail = 0;
    for (uint32_t r = 0; r < g->n_roots; r++) {
        const uint32_t v = g->in.root_target[r];
        if (!root_keeps(g, r) || bit_get(w->member, v) || bit_get(w->barred, v))
            continue;
        bit_set(w->barred, v);
        w->queue[tail++] = v;
    }
    while (head < tail) {
        SNAP_TRY(graph_poll(g, head, g->n, err));
        if (head + 16 < tail)
            prefetch_offset(g, w->queue[head + 16]);
        if (head + 8 < tail)
            __builtin_prefetch(&g->target[first_position(g, w->queue[head + 8])]);
        const uint32_t u = w->queue[head++];
        const uint64_t end = first_position(g, u + 1);
        for (uint64_t p = first_position(g, u); p < end; p++) {
            const uint32_t v = g->target[p];
            if (bit_get(w->barred, v) || bit_get(w->member, v) || !position_keeps(g, p))
                continue;
            bit_set(w->barred, v);
            w->queue[tail++] = v;
        }
    }
    return 0;
}

static void receive(struct work *w, uint32_t node, uint64_t bits) {
    if (!w->mask[node])
        w->reached[w->n_reached++] = node;
    w->mask[node] |= bits;
    if (bit_get(w->queued, node))
        return;
    bit_set(w->queued, node);
    const uint64_t at = (uint64_t)w->head + w->count++;
    w->queue[at < w->g->n ? at : at - w->g->n] = node;
}

/* Spreads the groups first to first + 63. */
static int spread(struct work *w, uint32_t first, snap_error *err) {
    const snap_graph *g = w->g;
    for (uint32_t i = 0; i < w->n_reached; i++)
        w->mask[w->reached[i]] = w->sent[w->reached[i]] = 0;
    w->n_reached = 0;
    w->head = w->count = 0;
    for (uint64_t i = 0; i < w->n_rows; i++)
        if (w->group[i] >= first && w->group[i] - first < 64)
            receive(w, w->nodes[i], 1ull << (w->group[i] - first));
    uint64_t n_steps = 0;
    while (w->count) {
        SNAP_TRY(graph_poll(g, ++n_steps, g->n, err));
        const uint32_t u = w->queue[w->head];
        w->queued[u >> 6] &= ~(1ull << (u & 63));
        w->head = w->head + 1 == g->n ? 0 : w->head + 1;
        w->count--;
        const uint64_t news = w->mask[u] & ~w->sent[u];
        w->sent[u] = w->mask[u];
        const uint64_t end = first_position(g, u + 1);
        for (uint64_t p = first_position(g, u); p < end; p++) {
            const uint32_t v = g->target[p];
            if (!bit_get(w->barred, v) && position_keeps(g, p) && news & ~w->mask[v])
                receive(w, v, news);
        }
    }
    return 0;
}

static void divide(struct work *w, uint32_t first, uint32_t domains, snap_leak_share *out) {
    const snap_graph *g = w->g;
    for (uint32_t i = 0; i < w->n_reached; i++) {
        const uint32_t node = w->reached[i];
        if (domains != SNAP_GRAPH_ALL_DOMAINS && !(domains >> node_domain(g, node) & 1))
            continue;
        const uint64_t bytes = node_bytes(g, node);
        const uint32_t n_groups =
            w->n_groups_of ? w->n_groups_of[node] : (uint32_t)__builtin_popcountll(w->mask[node]);
        for (uint64_t bits = w->mask[node]; bits; bits &= bits - 1) {
            snap_leak_share *s = &out[first + (unsigned)__builtin_ctzll(bits)];
            s->reach_bytes += bytes;
            s->reach_count++;
            s->share_bytes += bytes / n_groups;
            if (!bit_get(w->has_rest, node)) {
                bit_set(w->has_rest, node);
                s->share_bytes += bytes % n_groups;
            }
            if (n_groups == 1) {
                s->exclusive_bytes += bytes;
                s->exclusive_count++;
            }
        }
    }
}

static int check(const snap_graph *g, const uint32_t *nodes, const uint32_t *group, uint64_t n_rows,
                 uint32_t n_groups, snap_error *err) {
    for (uint64_t i = 0; i < n_rows; i++)
        if (!nodes[i] || nodes[i] > g->n || group[i] >= n_groups)
            return err_set(err, SNAP_E_ARG, "row %llu puts node %u of %u into group %u of %u",
                           (unsigned long long)i, nodes[i], g->n, group[i], n_groups);
    return 0;
}

static int prepare(struct work *w, uint32_t n_groups, snap_error *err) {
    snap_graph *g = w->g;
    struct graph_memory *m = &g->memory;
    const uint64_t words = bit_words(g->n), n = (uint64_t)g->n + 1;
    SNAP_TRY(graph_array(m, &w->member, words, sizeof *w->member, err));
    SNAP_TRY(graph_array(m, &w->barred, words, sizeof *w->barred, err));
    SNAP_TRY(graph_array(m, &w->queue, n, sizeof *w->queue, err));
    for (uint64_t i = 0; i < w->n_rows; i++)
        bit_set(w->member, w->nodes[i]);
    SNAP_TRY(mark_barred(w, err));
    graph_release(m, &w->member);
    SNAP_TRY(graph_array(m, &w->queued, words, sizeof *w->queued, err));
    SNAP_TRY(graph_array(m, &w->has_rest, words, sizeof *w->has_rest, err));
    SNAP_TRY(graph_array(m, &w->mask, n, sizeof *w->mask, err));
    SNAP_TRY(graph_array(m, &w->sent, n, sizeof *w->sent, err));
    SNAP_TRY(graph_array(m, &w->reached, n, sizeof *w->reached, err));
    if (n_groups > 64)
        SNAP_TRY(graph_array(m, &w->n_groups_of, n, sizeof *w->n_groups_of, err));
    return 0;
}

static int compute(struct work *w, uint32_t n_groups, uint32_t domains, snap_leak_share *out,
                   snap_error *err) {
    SNAP_TRY(prepare(w, n_groups, err));
    for (uint64_t first = 0; w->n_groups_of && first < n_groups; first += 64) {
        SNAP_TRY(spread(w, (uint32_t)first, err));
        for (uint32_t i = 0; i < w->n_reached; i++)
            w->n_groups_of[w->reached[i]] += (uint32_t)__builtin_popcountll(w->mask[w->reached[i]]);
    }
    for (uint64_t first = 0; first < n_groups; first += 64) {
        SNAP_TRY(spread(w, (uint32_t)first, err));
        divide(w, (uint32_t)first, domains, out);
    }
    return 0;
}

int snap_leak_share_compute(snap_graph *g, const uint32_t *nodes, const uint32_t *group,
                            uint64_t n_rows, uint32_t n_groups, uint32_t domains,
                            snap_leak_share *out, snap_error *err) {
    SNAP_TRY(check(g, nodes, group, n_rows, n_groups, err));
    struct graph_memory *m = &g->memory;
    struct work w = {.g = g, .nodes = nodes, .group = group, .n_rows = n_rows};
    snap_leak_share *shares = NULL;
    int result = graph_array(m, &shares, n_groups, sizeof *shares, err);
    if (result >= 0)
        result = compute(&w, n_groups, domains, shares, err);
    for (uint32_t i = 0; result >= 0 && i < n_groups; i++)
        out[i] = shares[i];
    graph_release(m, &shares);
    graph_release(m, &w.member);
    graph_release(m, &w.barred);
    graph_release(m, &w.mask);
    graph_release(m, &w.sent);
    graph_release(m, &w.queue);
    graph_release(m, &w.queued);
    graph_release(m, &w.reached);
    graph_release(m, &w.n_groups_of);
    graph_release(m, &w.has_rest);
    return result;
}
