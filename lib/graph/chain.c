/* Shortest chains: for every node the reference that its best chain ends with, and what a chain
 * means (its fingerprint).
 *
 * Invariant: via of a node leads to a node of an earlier layer, or is a root. */
#include "graph/chain.h"
#include "graph/layers.h"

#include <stdlib.h>

struct snap_paths {
    snap_graph *g;
    uint64_t *via;   /* by node: row of the edge, or m + row of the root */
    uint32_t *level; /* by node: length of the chain; 0: none */
};

struct search {
    snap_graph *g;
    uint64_t *via;
    uint32_t *rank_of_root; /* by row: place in canonical order */
    uint32_t *rank;         /* by node: that of the root of its chain; set when it is expanded */
};

static int offer_root(void *context, uint32_t node, uint32_t r, bool is_first, snap_error *err) {
    struct search *s = context;
    const uint64_t m = s->g->m;
    if (is_first || s->rank_of_root[r] < s->rank_of_root[s->via[node] - m])
        s->via[node] = m + r;
    return 0;
}

static void expand(void *context, uint32_t node) {
    struct search *s = context;
    const uint64_t via = s->via[node], m = s->g->m;
    s->rank[node] = via >= m ? s->rank_of_root[via - m] : s->rank[s->g->in.edge_source[via]];
}

/* Whether edge a (a row) makes a better end of a chain to the same node than b. */
static bool is_better(const struct search *s, uint64_t a, uint64_t b) {
    const snap_graph *g = s->g;
    const uint32_t from_a = g->in.edge_source[a], from_b = g->in.edge_source[b];
    int c = compare_u64(edge_is_interior(g, a), edge_is_interior(g, b));
    if (!c)
        c = compare_u64(s->rank[from_a], s->rank[from_b]);
    if (!c)
        c = compare_nodes(g, from_a, from_b);
    if (!c)
        c = compare_edges(g, a, b);
    return c ? c < 0 : a < b;
}

static int offer_edge(void *context, uint32_t from, uint32_t to, uint64_t e, bool is_first,
                      snap_error *err) {
    struct search *s = context;
    if (is_first || is_better(s, e, s->via[to]))
        s->via[to] = e;
    return 0;
}

static int complete_layer(void *context, const uint32_t *nodes, uint32_t count, snap_error *err) {
    return 0;
}

static int rank_roots(struct search *s, snap_error *err) {
    snap_graph *g = s->g;
    struct graph_memory *m = &g->memory;
    uint32_t *order;
    SNAP_TRY(graph_array(m, &s->rank_of_root, g->n_roots, sizeof *s->rank_of_root, err));
    SNAP_TRY(graph_array(m, &order, g->n_roots, sizeof *order, err));
    for (uint32_t r = 0; r < g->n_roots; r++)
        order[r] = r;
    const int result = graph_sort(g, order, g->n_roots, graph_compare_roots, g, err);
    for (uint32_t i = 0; i < g->n_roots; i++)
        s->rank_of_root[order[i]] = i;
    graph_release(m, &order);
    return result;
}

static int search_paths(struct search *s, struct layers *l, snap_error *err) {
    static const struct layers_receiver receiver = {offer_root, expand, offer_edge, complete_layer};
    struct graph_memory *m = &s->g->memory;
    SNAP_TRY(graph_array(m, &s->via, (uint64_t)s->g->n + 1, sizeof *s->via, err));
    SNAP_TRY(graph_array(m, &s->rank, (uint64_t)s->g->n + 1, sizeof *s->rank, err));
    SNAP_TRY(rank_roots(s, err));
    SNAP_TRY(layers_init(l, s->g, err));
    return layers_run(s->g, l, &receiver, s, err);
}

int snap_paths_new(snap_paths **out, snap_graph *g, snap_error *err) {
    snap_paths *p = calloc(1, sizeof *p);
    if (!p)
        return err_set(err, SNAP_E_NOMEM, "no memory for chains");
    struct search s = {.g = g};
    struct layers l = {0};
    const int result = search_paths(&s, &l, err);
    graph_release(&g->memory, &s.rank);
    graph_release(&g->memory, &s.rank_of_root);
    *p = (snap_paths){g, s.via, l.level};
    l.level = NULL;
    layers_release(&l, g);
    if (result < 0) {
        snap_paths_free(p);
        return result;
    }
    *out = p;
    return 0;
}

void snap_paths_free(snap_paths *p) {
    if (!p)
        return;
    graph_release(&p->g->memory, &p->via);
    graph_release(&p->g->memory, &p->level);
    free(p);
}

static inline uint32_t length_of(const snap_paths *p, uint32_t node) {
    return node && node <= p->g->n ? p->level[node] : 0;
}

uint32_t snap_paths_length(const snap_paths *p, uint32_t node) {
    return length_of(p, node);
}

uint32_t snap_paths_step(const snap_paths *p, uint32_t node, uint64_t *out_row) {
    const snap_graph *g = p->g;
    if (!length_of(p, node))
        return SNAP_GRAPH_NONE;
    const uint64_t via = p->via[node];
    *out_row = via >= g->m ? via - g->m : via;
    return via >= g->m ? 0 : g->in.edge_source[via];
}

int snap_paths_chain(const snap_paths *p, uint32_t node, snap_chain *out, snap_error *err) {
    const snap_graph *g = p->g;
    const uint32_t length = length_of(p, node);
    if (!length)
        return err_set(err, SNAP_E_NOTFOUND, "no root leads to node %u", node);
    snap_chain c = {0};
    SNAP_TRY(chain_init(&c, length, err));
    for (uint32_t i = length; i-- > 0;) {
        const uint64_t via = p->via[node];
        c.links[i] = (snap_chain_link){via >= g->m ? via - g->m : via, node};
        if (via < g->m)
            node = g->in.edge_source[via];
    }
    chain_finish(g, &c);
    *out = c;
    return 0;
}

int chain_init(snap_chain *c, uint32_t n_links, snap_error *err) {
    snap_chain_link *links = calloc(n_links, sizeof *links);
    if (!links)
        return err_set(err, SNAP_E_NOMEM, "no memory for a chain of %u", n_links);
    *c = (snap_chain){links, n_links, 0};
    return 0;
}

void chain_finish(const snap_graph *g, snap_chain *c) {
    c->n_low = root_is_low(g, c->links[0].edge);
    for (uint32_t i = 1; i < c->n_links; i++)
        c->n_low += edge_is_low(g, c->links[i].edge);
}

void snap_chain_release(snap_chain *c) {
    if (!c)
        return;
    free(c->links);
    *c = (snap_chain){0};
}

/* Steps wait in a window before they go into the hash, so that a repetition just seen can be taken
 * back. */
struct window {
    uint64_t step[8];
    unsigned count;
    uint64_t hash;
};

static void add_step(struct window *w, uint64_t step) {
    if (w->count == 8) {
        w->hash = hash_mix(w->hash, w->step[0]);
        for (unsigned i = 1; i < 8; i++)
            w->step[i - 1] = w->step[i];
        w->count--;
    }
    w->step[w->count++] = step;
    for (unsigned period = 1; period <= 4 && 2 * period <= w->count; period++) {
        unsigned equal = 0;
        while (equal < period &&
               w->step[w->count - 1 - equal] == w->step[w->count - 1 - equal - period])
            equal++;
        if (equal == period) {
            w->count -= period;
            return;
        }
    }
}

uint64_t snap_chain_fingerprint(const snap_graph *g, const snap_chain *c, uint32_t first,
                                uint32_t last) {
    struct window w = {0};
    for (uint32_t i = first; i < c->n_links && i <= last; i++) {
        const uint64_t e = c->links[i].edge;
        uint64_t step = hash_mix(i == 0, i ? edge_kind(g, e) : root_kind(g, e));
        step = hash_mix(step, i ? snap_edge_field(g, e) : label_key(g, root_name(g, e)));
        add_step(&w, hash_mix(step, type_key(g, node_type(g, c->links[i].node))));
    }
    for (unsigned i = 0; i < w.count; i++)
        w.hash = hash_mix(w.hash, w.step[i]);
    return w.hash;
}
