/* Up to three chains to one node that share no other node.
 *
 * Unit-capacity flow on the graph with split nodes (Ford and Fulkerson; Menger's theorem says that
 * as many augmenting paths exist as disjoint chains). The search goes backwards, from the node to
 * the roots, because what refers to one node is little and what roots lead to is all. It goes layer
 * by layer and each layer is sorted, so that the chains do not depend on the order of references.
 *
 * A state is a node and a side: OUT, from where its referrers can be tried; IN, reached by a new
 * reference although a chain found before passes the node, so that the search has to go on at the
 * node's successor in that chain, whose reference to it is given up.
 *
 * Invariant: next maps each node on a chain, but the last, to the edge that its chain leaves it by;
 * starts are the first nodes of the chains. */
#include "graph/chain.h"

#include <stdlib.h>
#include <string.h>

#define CHAINS_MAX 3
#define NO_STATE UINT32_MAX

enum side { OUT, IN };

struct state {
    uint64_t edge; /* that led here, from node to the node of previous; unused on a step back */
    uint32_t node;
    uint32_t previous; /* state; NO_STATE: the start */
    uint8_t side;
    uint8_t is_back; /* by giving up a reference of a chain */
};

/* Map of node to edge, open addressing; node 0: free, SNAP_GRAPH_NONE: deleted. */
struct next_map {
    struct next {
        uint64_t edge;
        uint32_t node;
    } * slot;
    uint32_t n_slots, n_used;
};

struct search {
    snap_graph *g;
    uint32_t node;
    bool with_low;
    uint32_t max_visited;
    bool is_exhausted;
    uint32_t *root_order; /* rows of roots that keep something, by target, best first */
    uint32_t n_roots;
    struct state *state;
    uint32_t n_states, capacity;
    uint32_t *slot; /* hash table of states, plus 1; 0: free */
    uint32_t n_slots;
    struct next_map next;
    uint32_t start[CHAINS_MAX];
    uint64_t start_root[CHAINS_MAX]; /* row */
    uint32_t n_chains;
};

static struct next *next_find(const struct next_map *m, uint32_t node) {
    if (!m->n_slots)
        return NULL;
    uint32_t i = (uint32_t)hash_mix(0, node) & (m->n_slots - 1);
    while (m->slot[i].node && m->slot[i].node != node)
        i = (i + 1) & (m->n_slots - 1);
    return m->slot[i].node ? &m->slot[i] : NULL;
}

static void next_place(struct next_map *m, uint32_t node, uint64_t edge) {
    uint32_t i = (uint32_t)hash_mix(0, node) & (m->n_slots - 1);
    while (m->slot[i].node)
        i = (i + 1) & (m->n_slots - 1);
    m->slot[i] = (struct next){edge, node};
    m->n_used++;
}

/* Makes room for `more` nodes, so that next_put cannot fail. */
static int next_reserve(struct search *s, uint32_t more, snap_error *err) {
    struct next_map *m = &s->next;
    const uint64_t needed = 2 * ((uint64_t)m->n_used + more) + 2;
    if (needed <= m->n_slots)
        return 0;
    uint64_t n_slots = m->n_slots ? m->n_slots : 64;
    while (n_slots < needed)
        n_slots *= 2;
    if (n_slots > UINT32_MAX)
        return err_set(err, SNAP_E_LIMIT, "chains of more than %u nodes", m->n_used);
    struct next_map bigger = {.n_slots = (uint32_t)n_slots};
    SNAP_TRY(graph_array(&s->g->memory, &bigger.slot, n_slots, sizeof *bigger.slot, err));
    for (uint32_t i = 0; i < m->n_slots; i++)
        if (m->slot[i].node && m->slot[i].node != SNAP_GRAPH_NONE)
            next_place(&bigger, m->slot[i].node, m->slot[i].edge);
    graph_release(&s->g->memory, &m->slot);
    *m = bigger;
    return 0;
}

static void next_put(struct next_map *m, uint32_t node, uint64_t edge) {
    struct next *found = next_find(m, node);
    if (found)
        found->edge = edge;
    else
        next_place(m, node, edge);
}

static void next_delete(struct next_map *m, uint32_t node) {
    struct next *found = next_find(m, node);
    if (found)
        found->node = SNAP_GRAPH_NONE;
}

static uint32_t state_slot(const struct search *s, uint32_t node, enum side side) {
    uint32_t i = (uint32_t)hash_mix(side, node) & (s->n_slots - 1);
    while (s->slot[i] && (s->state[s->slot[i] - 1].node != node ||
                          s->state[s->slot[i] - 1].side != (uint8_t)side))
        i = (i + 1) & (s->n_slots - 1);
    return i;
}

static int state_reserve(struct search *s, snap_error *err) {
    struct graph_memory *m = &s->g->memory;
    if (s->n_states == s->capacity) {
        const uint64_t capacity = s->capacity ? 2ull * s->capacity : 256;
        SNAP_TRY(graph_array_resize(m, &s->state, capacity, sizeof *s->state, err));
        s->capacity = (uint32_t)capacity;
    }
    if (2 * ((uint64_t)s->n_states + 1) < s->n_slots)
        return 0;
    const uint32_t n_slots = s->n_slots ? 2 * s->n_slots : 1024;
    graph_release(m, &s->slot);
    s->n_slots = 0;
    SNAP_TRY(graph_array(m, &s->slot, n_slots, sizeof *s->slot, err));
    s->n_slots = n_slots;
    for (uint32_t i = 0; i < s->n_states; i++)
        s->slot[state_slot(s, s->state[i].node, s->state[i].side)] = i + 1;
    return 0;
}

/* Whether state a says better than b how the same node is reached; both come from one layer, whose
 * order is canonical. */
static bool is_better(const snap_graph *g, const struct state *a, const struct state *b) {
    int c = compare_u64(a->is_back, b->is_back);
    if (!c && !a->is_back)
        c = compare_u64(edge_is_interior(g, a->edge), edge_is_interior(g, b->edge));
    if (!c)
        c = compare_u64(a->previous, b->previous);
    if (!c && !a->is_back)
        c = compare_edges(g, a->edge, b->edge);
    return c ? c < 0 : a->edge < b->edge;
}

/* layer_start: states before it are settled. */
static int reach(struct search *s, struct state to, uint32_t layer_start, snap_error *err) {
    SNAP_TRY(state_reserve(s, err));
    const uint32_t i = state_slot(s, to.node, to.side);
    if (!s->slot[i]) {
        s->state[s->n_states++] = to;
        s->slot[i] = s->n_states;
    } else if (s->slot[i] - 1 >= layer_start && is_better(s->g, &to, &s->state[s->slot[i] - 1])) {
        s->state[s->slot[i] - 1] = to;
    }
    return 0;
}

static int expand_referrers(struct search *s, uint32_t at, uint32_t layer_start, snap_error *err) {
    const snap_graph *g = s->g;
    const uint32_t node = s->state[at].node;
    const uint64_t end = offsets_get(&g->in_offset, (uint64_t)node + 1);
    for (uint64_t p = offsets_get(&g->in_offset, node); p < end; p++) {
        const uint64_t e = snap_graph_in_edge(g, p);
        const uint32_t from = g->in.edge_source[e];
        if (from == node || from == s->node || (!s->with_low && edge_is_low(g, e)))
            continue;
        const struct next *next = next_find(&s->next, from);
        if (next && g->in.edge_target[next->edge] == node)
            continue;
        const struct state to = {e, from, at, next ? IN : OUT, 0};
        SNAP_TRY(reach(s, to, layer_start, err));
        /* Whether the bound is met does not depend on the order within the layer. */
        if (s->n_states > s->max_visited)
            return 0;
    }
    return 0;
}

static int expand(struct search *s, uint32_t at, uint32_t layer_start, snap_error *err) {
    const struct state from = s->state[at];
    const struct next *next = from.node == s->node ? NULL : next_find(&s->next, from.node);
    if (from.side == OUT) {
        if (next)
            SNAP_TRY(reach(s, (struct state){0, from.node, at, IN, 1}, layer_start, err));
        return expand_referrers(s, at, layer_start, err);
    }
    if (!next) /* only nodes on a chain have this side */
        return 0;
    const uint32_t successor = s->g->in.edge_target[next->edge];
    if (successor == s->node)
        return 0;
    return reach(s, (struct state){0, successor, at, OUT, 1}, layer_start, err);
}

static int compare_states(const void *context, uint32_t a, uint32_t b) {
    const struct search *s = context;
    const int c = compare_nodes(s->g, s->state[a].node, s->state[b].node);
    return c ? c : compare_u64(s->state[a].side, s->state[b].side);
}

/* Puts the states of a layer into canonical order. */
static int sort_layer(struct search *s, uint32_t start, snap_error *err) {
    const uint32_t count = s->n_states - start;
    if (count < 2)
        return 0;
    struct graph_memory *m = &s->g->memory;
    uint32_t *order;
    struct state *moved = NULL;
    SNAP_TRY(graph_array(m, &order, count, sizeof *order, err));
    int result = graph_array(m, &moved, count, sizeof *moved, err);
    for (uint32_t i = 0; i < count; i++)
        order[i] = start + i;
    if (result >= 0)
        result = graph_sort(s->g, order, count, compare_states, s, err);
    for (uint32_t i = 0; result >= 0 && i < count; i++)
        moved[i] = s->state[order[i]];
    if (result >= 0) {
        for (uint32_t i = 0; i < count; i++) /* find slots while the states are where they were */
            order[i] = state_slot(s, moved[i].node, moved[i].side);
        memcpy(s->state + start, moved, count * sizeof *moved);
        for (uint32_t i = 0; i < count; i++)
            s->slot[order[i]] = start + i + 1;
    }
    graph_release(m, &order);
    graph_release(m, &moved);
    return result;
}

/* The best root of a node; NULL: none that may be used. */
static const uint32_t *best_root(const struct search *s, uint32_t node) {
    const snap_graph *g = s->g;
    if (!bit_get(g->rooted, node))
        return NULL;
    uint32_t low = 0, high = s->n_roots;
    while (low < high) {
        const uint32_t middle = low + (high - low) / 2;
        if (g->in.root_target[s->root_order[middle]] < node)
            low = middle + 1;
        else
            high = middle;
    }
    const uint32_t *r = &s->root_order[low];
    return s->with_low || !root_is_low(g, *r) ? r : NULL;
}

/* By target, then sure roots first, then canonically. */
static int compare_root_rows(const void *graph, uint32_t a, uint32_t b) {
    const snap_graph *g = graph;
    int c = compare_u64(g->in.root_target[a], g->in.root_target[b]);
    if (!c)
        c = compare_u64(root_is_low(g, a), root_is_low(g, b));
    return c ? c : compare_roots(g, a, b);
}

static int order_roots(struct search *s, snap_error *err) {
    snap_graph *g = s->g;
    SNAP_TRY(graph_array(&g->memory, &s->root_order, g->n_roots, sizeof *s->root_order, err));
    for (uint32_t r = 0; r < g->n_roots; r++)
        if (root_keeps(g, r))
            s->root_order[s->n_roots++] = r;
    return graph_sort(g, s->root_order, s->n_roots, compare_root_rows, g, err);
}

/* The state of a layer that a root holds, the best root first; NO_STATE. */
static uint32_t find_root(const struct search *s, uint32_t start, const uint32_t **out_root) {
    uint32_t best = NO_STATE;
    for (uint32_t i = start; i < s->n_states; i++) {
        if (s->state[i].side != OUT)
            continue;
        const uint32_t *r = best_root(s, s->state[i].node);
        if (!r)
            continue;
        int c = -1;
        if (best != NO_STATE) {
            c = compare_u64(root_is_low(s->g, *r), root_is_low(s->g, **out_root));
            c = c ? c : compare_roots(s->g, *r, **out_root);
        }
        if (c < 0) {
            best = i;
            *out_root = r;
        }
    }
    return best;
}

/* Changes the chains along the states from the start to `last`, which a root holds. */
static int augment(struct search *s, uint32_t last, uint32_t root, snap_error *err) {
    uint32_t count = 0;
    for (uint32_t i = last; s->state[i].previous != NO_STATE; i = s->state[i].previous)
        count++;
    SNAP_TRY(next_reserve(s, count, err));
    uint32_t *path;
    SNAP_TRY(graph_array(&s->g->memory, &path, count, sizeof *path, err));
    for (uint32_t i = last, k = count; k-- > 0; i = s->state[i].previous)
        path[k] = i;
    for (uint32_t k = 0; k < count; k++) {
        const struct state *st = &s->state[path[k]];
        if (!st->is_back)
            next_put(&s->next, st->node, st->edge);
        else if (st->side == IN)
            next_delete(&s->next, st->node); /* no chain passes it any more */
    }
    graph_release(&s->g->memory, &path);
    s->start[s->n_chains] = s->state[last].node;
    s->start_root[s->n_chains++] = root;
    return 0;
}

/* One search; *found says whether there is one chain more. */
static int find_one(struct search *s, bool *found, snap_error *err) {
    *found = false;
    s->n_states = 0;
    if (s->n_slots)
        memset(s->slot, 0, s->n_slots * sizeof *s->slot);
    SNAP_TRY(reach(s, (struct state){0, s->node, NO_STATE, OUT, 0}, 0, err));
    uint32_t start = 0, end = 1;
    while (start < end) {
        for (uint32_t i = start; i < end; i++) {
            SNAP_TRY(graph_poll(s->g, i, s->max_visited, err));
            SNAP_TRY(expand(s, i, end, err));
            if (s->n_states > s->max_visited) {
                s->is_exhausted = false;
                return 0;
            }
        }
        SNAP_TRY(sort_layer(s, end, err));
        start = end;
        end = s->n_states;
        const uint32_t *root = NULL;
        const uint32_t last = find_root(s, start, &root);
        if (last != NO_STATE) {
            *found = true;
            return augment(s, last, *root, err);
        }
    }
    return 0;
}

/* The node's own roots are chains of one reference each. */
static int take_roots(struct search *s, snap_chain *out, uint32_t max_chains, uint32_t *n,
                      snap_error *err) {
    for (uint32_t i = 0; i < s->n_roots && *n + s->n_chains < max_chains; i++) {
        const uint32_t r = s->root_order[i];
        if (s->g->in.root_target[r] != s->node || root_is_low(s->g, r) != s->with_low)
            continue;
        SNAP_TRY(chain_init(&out[*n], 1, err));
        out[*n].links[0] = (snap_chain_link){r, s->node};
        chain_finish(s->g, &out[(*n)++]);
    }
    return 0;
}

static int take_chain(const struct search *s, uint32_t start, uint64_t root, snap_chain *out,
                      snap_error *err) {
    const snap_graph *g = s->g;
    uint32_t length = 1;
    for (uint32_t v = start; v != s->node; length++)
        v = g->in.edge_target[next_find(&s->next, v)->edge];
    SNAP_TRY(chain_init(out, length, err));
    out->links[0] = (snap_chain_link){root, start};
    uint32_t v = start;
    for (uint32_t i = 1; i < length; i++) {
        const uint64_t e = next_find(&s->next, v)->edge;
        v = g->in.edge_target[e];
        out->links[i] = (snap_chain_link){e, v};
    }
    chain_finish(g, out);
    return 0;
}

static void sort_chains(const snap_graph *g, snap_chain *c, uint32_t n) {
    for (uint32_t i = 1; i < n; i++)
        for (uint32_t k = i; k > 0; k--) {
            int order = compare_u64(c[k - 1].n_low, c[k].n_low);
            if (!order)
                order = compare_u64(c[k - 1].n_links, c[k].n_links);
            if (!order)
                order = compare_roots(g, c[k - 1].links[0].edge, c[k].links[0].edge);
            if (order <= 0)
                break;
            const snap_chain swapped = c[k];
            c[k] = c[k - 1];
            c[k - 1] = swapped;
        }
}

static int find_chains(struct search *s, uint32_t max_chains, snap_chain *out, uint32_t *n,
                       snap_error *err) {
    SNAP_TRY(snap_graph_index_referrers(s->g, err));
    SNAP_TRY(order_roots(s, err));
    s->is_exhausted = true;
    for (int low = 0; low <= (s->g->has_low ? 1 : 0); low++) {
        s->with_low = low;
        SNAP_TRY(take_roots(s, out, max_chains, n, err));
        bool found = true;
        while (found && s->is_exhausted && *n + s->n_chains < max_chains)
            SNAP_TRY(find_one(s, &found, err));
    }
    for (uint32_t i = 0; i < s->n_chains; i++) {
        SNAP_TRY(take_chain(s, s->start[i], s->start_root[i], &out[*n], err));
        (*n)++;
    }
    sort_chains(s->g, out, *n);
    return 0;
}

int snap_chains_disjoint(snap_graph *g, uint32_t node, const snap_disjoint_options *options,
                         snap_chain out[3], uint32_t *out_n, int *out_exhausted, snap_error *err) {
    snap_disjoint_options opt = {0};
    if (options && options->struct_size > sizeof opt)
        return err_set(err, SNAP_E_ARG, "options of an unknown size");
    if (options)
        memcpy(&opt, options, options->struct_size ? options->struct_size : sizeof opt);
    const uint32_t max_chains = opt.max_chains ? opt.max_chains : CHAINS_MAX;
    if (!node || node > g->n || max_chains > CHAINS_MAX)
        return err_set(err, SNAP_E_ARG, "%u chains to node %u of %u", max_chains, node, g->n);
    struct search s = {
        .g = g, .node = node, .max_visited = opt.max_visited ? opt.max_visited : 1000000};
    /* States are counted in 32 bits, two per node, and slots are twice as many. */
    if (s.max_visited > 1u << 29)
        s.max_visited = 1u << 29;
    snap_chain chains[CHAINS_MAX] = {{0}};
    uint32_t n = 0;
    const int result = find_chains(&s, max_chains, chains, &n, err);
    graph_release(&g->memory, &s.root_order);
    graph_release(&g->memory, &s.state);
    graph_release(&g->memory, &s.slot);
    graph_release(&g->memory, &s.next.slot);
    if (result < 0) {
        for (uint32_t i = 0; i < CHAINS_MAX; i++)
            snap_chain_release(&chains[i]);
        return result;
    }
    memcpy(out, chains, n * sizeof *out);
    *out_n = n;
    if (out_exhausted)
        *out_exhausted = s.is_exhausted;
    return 0;
}
