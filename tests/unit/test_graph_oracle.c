/* Every result of the graph library against slow and obvious answers, on thousands of small random
 * graphs, and on graphs that are known. */
#include "support/oracle.h"
#include "support/random_graph.h"
#include "support/sanitized.h"

#include <check.h>
#include <stdlib.h>
#include <string.h>

#define NODES_MAX 24
#define SEEDS (SANITIZED ? 750 : 3000)

static snap_graph *open_graph(const struct random_graph *r) {
    snap_graph *g = NULL;
    snap_error err = {0};
    ck_assert_msg(!snap_graph_new(&g, &r->input, NULL, &err), "%s", err.message);
    return g;
}

static unsigned class_of(int kind) {
    if (kind == SNAP_ROOT_GLOBAL || kind == SNAP_ROOT_MAPPING)
        return SNAP_REACH_GLOBAL;
    if (kind == SNAP_ROOT_STACK || kind == SNAP_ROOT_REGISTER || kind == SNAP_ROOT_TLS ||
        kind == SNAP_ROOT_ALT_STACK)
        return SNAP_REACH_THREAD;
    if (kind == SNAP_ROOT_API)
        return SNAP_REACH_API;
    if (kind == SNAP_ROOT_DEVICE)
        return SNAP_REACH_DEVICE;
    if (kind >= SNAP_ROOT_MODULE && kind <= SNAP_ROOT_EVENT_LOOP)
        return SNAP_REACH_PYTHON;
    return SNAP_REACH_RUNTIME;
}

START_TEST(dominators) {
    for (uint64_t seed = 1; seed <= SEEDS; seed++) {
        struct random_graph r;
        random_graph_init(&r, seed, NODES_MAX);
        if (seed % 2)
            random_graph_sort(&r);
        const uint32_t n = (uint32_t)r.input.n_nodes;
        uint32_t removal[NODES_MAX + 1], iterative[NODES_MAX + 1];
        oracle_dominators(&r.input, removal);
        oracle_dominators_iterative(&r.input, iterative);
        snap_graph *g = open_graph(&r);
        snap_dominators *d;
        ck_assert_int_eq(snap_dominators_new(&d, g, NULL, NULL), 0);
        uint32_t count = 0;
        for (uint32_t v = 0; v <= n; v++) {
            ck_assert_msg(removal[v] == iterative[v], "oracles disagree, seed %lu node %u", seed,
                          v);
            ck_assert_msg(snap_dominators_parent(d, v) == removal[v], "seed %lu node %u: %u not %u",
                          seed, v, snap_dominators_parent(d, v), removal[v]);
            count += removal[v] != SNAP_GRAPH_NONE;
        }
        ck_assert_uint_eq(snap_dominators_count(d), count);
        for (uint32_t v = 0; v <= n; v++) {
            const uint32_t *children;
            uint32_t n_children, expected = 0;
            ck_assert_int_eq(snap_dominators_children(d, v, &children, &n_children, NULL), 0);
            for (uint32_t c = 1; c <= n; c++)
                if (removal[c] == v) {
                    ck_assert_uint_lt(expected, n_children);
                    ck_assert_uint_eq(children[expected++], c);
                }
            ck_assert_uint_eq(n_children, expected);
        }
        snap_dominators_free(d);
        snap_graph_free(g);
        random_graph_release(&r);
    }
}
END_TEST

/* What becomes unreachable when a node is taken away is what it retains. */
START_TEST(retained) {
    const uint32_t masks[3] = {SNAP_GRAPH_ALL_DOMAINS, SNAP_GRAPH_DOMAIN(SNAP_DOMAIN_HOST),
                               SNAP_GRAPH_DOMAIN(SNAP_DOMAIN_PYTHON) |
                                   SNAP_GRAPH_DOMAIN(SNAP_DOMAIN_DEVICE)};
    for (uint64_t seed = 1; seed <= SEEDS; seed++) {
        struct random_graph r;
        random_graph_init(&r, seed, NODES_MAX);
        const uint32_t n = (uint32_t)r.input.n_nodes, n_masks = seed % 3 ? 3 : 1;
        bool reached[NODES_MAX + 1], without[NODES_MAX + 1];
        oracle_reachable(&r.input, 0, false, -1, reached);
        snap_graph *g = open_graph(&r);
        snap_dominators *d;
        snap_retained *t;
        ck_assert_int_eq(snap_dominators_new(&d, g, NULL, NULL), 0);
        ck_assert_int_eq(snap_retained_new(&t, d, masks, n_masks, NULL), 0);
        for (uint32_t v = 0; v <= n; v++) {
            if (v)
                oracle_reachable(&r.input, v, false, -1, without);
            else
                memset(without, 0, sizeof without);
            for (uint32_t k = 0; k < n_masks; k++) {
                uint64_t bytes = 0;
                uint32_t count = 0;
                for (uint32_t x = 1; x <= n; x++)
                    if (reached[x] && !without[x] && masks[k] >> r.domain[x - 1] & 1) {
                        bytes += r.size_bytes[x - 1];
                        count++;
                    }
                ck_assert_uint_eq(snap_retained_bytes(t, v, k), bytes);
                ck_assert_uint_eq(snap_retained_count(t, v, k), count);
            }
        }
        snap_retained_free(t);
        snap_dominators_free(d);
        snap_graph_free(g);
        random_graph_release(&r);
    }
}
END_TEST

/* Without all nodes of a type its outermost ones and all below are unreachable, and only these are
 * when they are the last of their kind above: sum over nodes none of whose dominators has the type.
 */
START_TEST(retained_types) {
    const uint32_t all = SNAP_GRAPH_ALL_DOMAINS;
    for (uint64_t seed = 1; seed <= SEEDS; seed++) {
        struct random_graph r;
        random_graph_init(&r, seed, NODES_MAX);
        const uint32_t n = (uint32_t)r.input.n_nodes;
        uint32_t idom[NODES_MAX + 1];
        oracle_dominators(&r.input, idom);
        snap_graph *g = open_graph(&r);
        snap_dominators *d;
        snap_retained *t;
        snap_retained_type *types;
        uint64_t n_types;
        ck_assert_int_eq(snap_dominators_new(&d, g, NULL, NULL), 0);
        ck_assert_int_eq(snap_retained_new(&t, d, &all, 1, NULL), 0);
        ck_assert_int_eq(snap_retained_types(t, 0, &types, &n_types, NULL), 0);
        snap_retained_type expected[6] = {{0}};
        for (uint32_t v = 1; v <= n; v++) {
            if (idom[v] == SNAP_GRAPH_NONE)
                continue;
            /* A node counts once if it or a dominator has the type. */
            bool seen[6] = {false};
            bool is_outer = true;
            for (uint32_t x = v; x; x = idom[x]) {
                is_outer &= x == v || r.type[x - 1] != r.type[v - 1];
                if (!seen[r.type[x - 1]]) {
                    seen[r.type[x - 1]] = true;
                    expected[r.type[x - 1]].bytes += r.size_bytes[v - 1];
                    expected[r.type[x - 1]].count++;
                }
            }
            expected[r.type[v - 1]].n_outer += is_outer;
        }
        for (uint32_t i = 0; i < n_types; i++) {
            ck_assert_uint_eq(types[i].bytes, expected[i].bytes);
            ck_assert_uint_eq(types[i].count, expected[i].count);
            ck_assert_uint_eq(types[i].n_outer, expected[i].n_outer);
        }
        free(types);
        snap_retained_free(t);
        snap_dominators_free(d);
        snap_graph_free(g);
        random_graph_release(&r);
    }
}
END_TEST

START_TEST(reachability) {
    for (uint64_t seed = 1; seed <= SEEDS; seed++) {
        struct random_graph r;
        random_graph_init(&r, seed, NODES_MAX);
        const uint32_t n = (uint32_t)r.input.n_nodes;
        unsigned expected[NODES_MAX + 1] = {0};
        bool reached[NODES_MAX + 1];
        for (int kind = 0; kind <= 22; kind++) {
            oracle_reachable(&r.input, 0, false, kind, reached);
            for (uint32_t v = 1; v <= n; v++)
                if (reached[v])
                    expected[v] |= class_of(kind);
        }
        oracle_reachable(&r.input, 0, true, -1, reached);
        snap_graph *g = open_graph(&r);
        snap_reach *reach;
        ck_assert_int_eq(snap_reach_new(&reach, g, NULL), 0);
        for (uint32_t v = 1; v <= n; v++) {
            if (reached[v])
                expected[v] |= SNAP_REACH_SURE;
            ck_assert_uint_eq(snap_reach_mask(reach, v), expected[v]);
        }
        ck_assert_uint_eq(snap_reach_mask(reach, 0), 0);
        snap_reach_free(reach);
        snap_graph_free(g);
        random_graph_release(&r);
    }
}
END_TEST

static bool path_between[NODES_MAX + 1][NODES_MAX + 1]; /* of at least one edge, lost nodes only */

static void close_lost(const snap_graph_input *in, const bool *reached) {
    const uint32_t n = (uint32_t)in->n_nodes;
    memset(path_between, 0, sizeof path_between);
    for (uint64_t e = 0; e < in->n_edges; e++)
        if (oracle_edge_keeps(in, e) && !reached[in->edge_source[e]] &&
            !reached[in->edge_target[e]])
            path_between[in->edge_source[e]][in->edge_target[e]] = true;
    for (uint32_t k = 1; k <= n; k++)
        for (uint32_t i = 1; i <= n; i++)
            for (uint32_t j = 1; j <= n; j++)
                path_between[i][j] |= path_between[i][k] && path_between[k][j];
}

static bool leads(const snap_graph_input *in, uint32_t u, uint32_t v) {
    const uint32_t a = in->type ? in->type[u - 1] : 0, b = in->type ? in->type[v - 1] : 0;
    const uint64_t x[4] = {in->type_rank ? in->type_rank[a] : 0, in->birth ? in->birth[u - 1] : 0,
                           in->type_key ? in->type_key[a] : a, u};
    const uint64_t y[4] = {in->type_rank ? in->type_rank[b] : 0, in->birth ? in->birth[v - 1] : 0,
                           in->type_key ? in->type_key[b] : b, v};
    int i = 0;
    while (i < 3 && x[i] == y[i])
        i++;
    return x[i] < y[i];
}

/* Of the nodes that v shares a cycle with, itself included, the one that leads it. */
static uint32_t first_of_cycle(const snap_graph_input *in, uint32_t v) {
    uint32_t first = v;
    for (uint32_t u = 1; u <= in->n_nodes; u++)
        if (path_between[u][v] && path_between[v][u] && leads(in, u, first))
            first = u;
    return first;
}

static void check_lost(const struct random_graph *r, const snap_lost *l, const bool *reached) {
    const uint32_t n = (uint32_t)r->input.n_nodes;
    uint32_t n_blocks, n_cycles, seen_blocks = 0, seen_cycles = 0;
    const snap_lost_block *blocks = snap_lost_blocks(l, &n_blocks);
    const snap_lost_cycle *cycles = snap_lost_cycles(l, &n_cycles);
    bool is_leader[NODES_MAX + 1] = {false};
    for (uint32_t v = 1; v <= n; v++) {
        is_leader[v] = !reached[v] && first_of_cycle(&r->input, v) == v;
        for (uint32_t u = 1; u <= n; u++)
            if (path_between[u][v] && !path_between[v][u])
                is_leader[v] = false;
    }
    uint64_t bytes[NODES_MAX + 1] = {0};
    uint32_t count[NODES_MAX + 1] = {0};
    for (uint32_t v = 1; v <= n; v++) {
        uint32_t leader = 0;
        for (uint32_t u = 1; !reached[v] && u <= n; u++)
            if (is_leader[u] && (u == v || path_between[u][v]) &&
                (!leader || oracle_compare_nodes(&r->input, u, leader) < 0))
                leader = u;
        if (is_leader[v])
            leader = v;
        ck_assert_uint_eq(snap_lost_leader(l, v), leader);
        bytes[leader] += r->size_bytes[v - 1];
        count[leader]++;
        seen_blocks += is_leader[v];
        if (path_between[v][v] && first_of_cycle(&r->input, v) == v) {
            snap_lost_cycle expected = {v, 0, 0};
            for (uint32_t u = 1; u <= n; u++)
                if (path_between[u][v] && path_between[v][u]) {
                    expected.n_nodes++;
                    expected.bytes += r->size_bytes[u - 1];
                }
            uint32_t i = 0;
            while (i < n_cycles && cycles[i].node != v)
                i++;
            ck_assert_uint_lt(i, n_cycles);
            ck_assert_uint_eq(cycles[i].n_nodes, expected.n_nodes);
            ck_assert_uint_eq(cycles[i].bytes, expected.bytes);
            seen_cycles++;
        }
    }
    ck_assert_uint_eq(seen_blocks, n_blocks);
    ck_assert_uint_eq(seen_cycles, n_cycles);
    for (uint32_t i = 0; i < n_blocks; i++) {
        ck_assert(is_leader[blocks[i].node]);
        ck_assert_uint_eq(blocks[i].n_nodes, count[blocks[i].node]);
        ck_assert_uint_eq(blocks[i].bytes, bytes[blocks[i].node]);
        if (i)
            ck_assert_int_lt(oracle_compare_nodes(&r->input, blocks[i - 1].node, blocks[i].node),
                             0);
    }
    for (uint32_t i = 1; i < n_cycles; i++)
        ck_assert_int_lt(oracle_compare_nodes(&r->input, cycles[i - 1].node, cycles[i].node), 0);
}

/* Dominators with lost nodes: those of the graph in which directly lost nodes are roots and no edge
 * leads from a lost node to one that is not. */
static void check_lost_dominators(struct random_graph *r, snap_graph *g, const snap_lost *l,
                                  const bool *reached) {
    const uint32_t n = (uint32_t)r->input.n_nodes;
    uint32_t n_blocks, target[NODES_MAX + 8], expected[NODES_MAX + 1];
    uint8_t flags[NODES_MAX + 8] = {0}, edge_flags[4 * NODES_MAX + 1];
    const snap_lost_block *blocks = snap_lost_blocks(l, &n_blocks);
    snap_graph_input in = r->input;
    for (uint64_t i = 0; i < in.n_roots; i++) {
        target[i] = in.root_target[i];
        flags[i] = in.root_flags[i];
    }
    for (uint32_t i = 0; i < n_blocks; i++)
        target[in.n_roots++] = blocks[i].node;
    for (uint64_t e = 0; e < in.n_edges; e++)
        edge_flags[e] = !reached[in.edge_source[e]] && reached[in.edge_target[e]]
                            ? SNAP_GRAPH_FLAG_WEAK
                            : in.edge_flags[e];
    in.root_target = target;
    in.root_flags = flags;
    in.edge_flags = edge_flags;
    in.root_kind = NULL;
    oracle_dominators(&in, expected);
    snap_dominators *d;
    ck_assert_int_eq(snap_dominators_new(&d, g, l, NULL), 0);
    ck_assert_uint_eq(snap_dominators_count(d), n);
    for (uint32_t v = 1; v <= n; v++)
        ck_assert_uint_eq(snap_dominators_parent(d, v), expected[v]);
    snap_dominators_free(d);
}

START_TEST(lost) {
    for (uint64_t seed = 1; seed <= SEEDS; seed++) {
        struct random_graph r;
        random_graph_init(&r, seed, NODES_MAX);
        bool reached[NODES_MAX + 1];
        oracle_reachable(&r.input, 0, false, -1, reached);
        close_lost(&r.input, reached);
        snap_graph *g = open_graph(&r);
        snap_reach *reach;
        snap_lost *l;
        ck_assert_int_eq(snap_reach_new(&reach, g, NULL), 0);
        ck_assert_int_eq(snap_lost_new(&l, g, reach, NULL), 0);
        snap_reach_free(reach);
        check_lost(&r, l, reached);
        check_lost_dominators(&r, g, l, reached);
        snap_lost_free(l);
        snap_graph_free(g);
        random_graph_release(&r);
    }
}
END_TEST

/* Every link leads on from the one before, over references that keep alive. */
static uint32_t check_chain(const snap_graph_input *in, const snap_chain *c, uint32_t node) {
    ck_assert_uint_ge(c->n_links, 1);
    ck_assert(oracle_root_keeps(in, c->links[0].edge));
    ck_assert_uint_eq(in->root_target[c->links[0].edge], c->links[0].node);
    uint32_t n_low = (in->root_flags[c->links[0].edge] & SNAP_EDGE_FLAG_LOW) != 0;
    for (uint32_t i = 1; i < c->n_links; i++) {
        const uint64_t e = c->links[i].edge;
        ck_assert(oracle_edge_keeps(in, e));
        ck_assert_uint_eq(in->edge_source[e], c->links[i - 1].node);
        ck_assert_uint_eq(in->edge_target[e], c->links[i].node);
        n_low += (in->edge_flags[e] & SNAP_EDGE_FLAG_LOW) != 0;
    }
    ck_assert_uint_eq(c->links[c->n_links - 1].node, node);
    ck_assert_uint_eq(c->n_low, n_low);
    return n_low;
}

static bool same_end(const snap_graph_input *in, uint64_t a, uint64_t b) {
    const uint64_t m = in->n_edges;
    if ((a >= m) != (b >= m))
        return false;
    if (a >= m)
        return in->root_kind[a - m] == in->root_kind[b - m] &&
               in->label_key[in->root_name[a - m]] == in->label_key[in->root_name[b - m]];
    return in->edge_source[a] == in->edge_source[b] && in->edge_kind[a] == in->edge_kind[b] &&
           in->label_key[in->edge_label[a]] == in->label_key[in->edge_label[b]] &&
           in->source_offset[a] == in->source_offset[b] &&
           in->target_offset[a] == in->target_offset[b];
}

START_TEST(shortest_chains) {
    for (uint64_t seed = 1; seed <= SEEDS; seed++) {
        struct random_graph r;
        random_graph_init(&r, seed, NODES_MAX);
        const uint32_t n = (uint32_t)r.input.n_nodes;
        uint64_t via[NODES_MAX + 1];
        uint32_t length[NODES_MAX + 1], n_low[NODES_MAX + 1];
        oracle_paths(&r.input, via, length, n_low);
        snap_graph *g = open_graph(&r);
        snap_paths *p;
        ck_assert_int_eq(snap_paths_new(&p, g, NULL), 0);
        for (uint32_t v = 1; v <= n; v++) {
            snap_chain c;
            ck_assert_uint_eq(snap_paths_length(p, v), length[v]);
            if (!length[v]) {
                ck_assert_int_eq(snap_paths_chain(p, v, &c, NULL), SNAP_E_NOTFOUND);
                continue;
            }
            ck_assert_int_eq(snap_paths_chain(p, v, &c, NULL), 0);
            ck_assert_uint_eq(c.n_links, length[v]);
            ck_assert_uint_eq(check_chain(&r.input, &c, v), n_low[v]);
            const uint64_t last = c.links[c.n_links - 1].edge;
            ck_assert_msg(same_end(&r.input, c.n_links > 1 ? last : r.input.n_edges + last, via[v]),
                          "seed %lu node %u", seed, v);
            snap_chain_release(&c);
        }
        snap_paths_free(p);
        snap_graph_free(g);
        random_graph_release(&r);
    }
}
END_TEST

START_TEST(disjoint_chains) {
    for (uint64_t seed = 1; seed <= SEEDS; seed++) {
        struct random_graph r;
        random_graph_init(&r, seed, NODES_MAX);
        const uint32_t n = (uint32_t)r.input.n_nodes;
        snap_graph *g = open_graph(&r);
        for (uint32_t v = 1; v <= n; v += 1 + (uint32_t)(seed % 5)) {
            snap_chain c[3];
            uint32_t n_chains = 9;
            int exhausted = 0;
            ck_assert_int_eq(snap_chains_disjoint(g, v, NULL, c, &n_chains, &exhausted, NULL), 0);
            ck_assert_msg(n_chains == oracle_disjoint(&r.input, v), "seed %lu node %u: %u not %u",
                          seed, v, n_chains, oracle_disjoint(&r.input, v));
            ck_assert_int_eq(exhausted, 1);
            bool used[NODES_MAX + 1] = {false};
            for (uint32_t i = 0; i < n_chains; i++) {
                check_chain(&r.input, &c[i], v);
                for (uint32_t k = 0; k + 1 < c[i].n_links; k++) {
                    ck_assert(!used[c[i].links[k].node]);
                    ck_assert_uint_ne(c[i].links[k].node, v);
                    used[c[i].links[k].node] = true;
                }
                if (i)
                    ck_assert_uint_le(c[i - 1].n_low, c[i].n_low);
                for (uint32_t k = 0; k < i; k++)
                    ck_assert_uint_ne(c[k].links[0].edge, c[i].links[0].edge);
            }
            for (uint32_t i = 0; i < n_chains; i++)
                snap_chain_release(&c[i]);
        }
        snap_graph_free(g);
        random_graph_release(&r);
    }
}
END_TEST

/* By definition, one group at a time. */
static void naive_share(const struct random_graph *r, const uint32_t *nodes, const uint32_t *group,
                        uint32_t n_rows, uint32_t n_groups, snap_leak_share *out) {
    const uint32_t n = (uint32_t)r->input.n_nodes;
    snap_graph_input in = r->input;
    uint8_t *edge_flags = calloc(in.n_edges + 1, 1), *root_flags = calloc(in.n_roots + 1, 1);
    bool barred[NODES_MAX + 1], from[NODES_MAX + 1];
    bool(*reaches)[NODES_MAX + 1] = calloc(n_groups, sizeof *reaches);
    for (uint64_t e = 0; e < in.n_edges; e++) {
        edge_flags[e] = in.edge_flags[e];
        for (uint32_t i = 0; i < n_rows; i++)
            if (nodes[i] == in.edge_target[e])
                edge_flags[e] |= SNAP_GRAPH_FLAG_WEAK;
    }
    for (uint64_t k = 0; k < in.n_roots; k++) {
        root_flags[k] = in.root_flags[k];
        for (uint32_t i = 0; i < n_rows; i++)
            if (nodes[i] == in.root_target[k])
                root_flags[k] |= SNAP_GRAPH_FLAG_WEAK;
    }
    in.edge_flags = edge_flags;
    in.root_flags = root_flags;
    oracle_reachable(&in, 0, false, -1, barred);
    /* From a group's nodes without entering what is barred. */
    in = r->input;
    for (uint64_t e = 0; e < in.n_edges; e++)
        edge_flags[e] = in.edge_flags[e] | (barred[in.edge_target[e]] ? SNAP_GRAPH_FLAG_WEAK : 0);
    in.edge_flags = edge_flags;
    for (uint32_t i = 0; i < n_rows; i++) {
        oracle_reachable_from(&in, nodes[i], from);
        for (uint32_t v = 1; v <= n; v++)
            reaches[group[i]][v] |= from[v];
    }
    memset(out, 0, n_groups * sizeof *out);
    for (uint32_t v = 1; v <= n; v++) {
        uint32_t count = 0;
        bool is_first = true;
        for (uint32_t k = 0; k < n_groups; k++)
            count += reaches[k][v];
        for (uint32_t k = 0; k < n_groups; k++) {
            if (!reaches[k][v])
                continue;
            const uint64_t bytes = r->size_bytes[v - 1];
            out[k].reach_bytes += bytes;
            out[k].reach_count++;
            out[k].share_bytes += bytes / count + (is_first ? bytes % count : 0);
            out[k].exclusive_bytes += count == 1 ? bytes : 0;
            out[k].exclusive_count += count == 1;
            is_first = false;
        }
    }
    free(edge_flags);
    free(root_flags);
    free(reaches);
}

START_TEST(leak_share) {
    for (uint64_t seed = 1; seed <= SEEDS; seed++) {
        struct random_graph r;
        random_graph_init(&r, seed, NODES_MAX);
        uint64_t state = seed;
        const uint32_t n_groups = seed % 10 ? 1 + (uint32_t)random_below(&state, 6) : 150;
        const uint32_t n_rows = seed % 10 ? (uint32_t)random_below(&state, 8) : 200;
        uint32_t nodes[200], group[200];
        for (uint32_t i = 0; i < n_rows; i++) {
            nodes[i] = 1 + (uint32_t)random_below(&state, r.input.n_nodes);
            group[i] = (uint32_t)random_below(&state, n_groups);
        }
        snap_leak_share expected[150], got[150];
        naive_share(&r, nodes, group, n_rows, n_groups, expected);
        snap_graph *g = open_graph(&r);
        ck_assert_int_eq(snap_leak_share_compute(g, nodes, group, n_rows, n_groups,
                                                 SNAP_GRAPH_ALL_DOMAINS, got, NULL),
                         0);
        for (uint32_t k = 0; k < n_groups; k++) {
            ck_assert_uint_eq(got[k].reach_bytes, expected[k].reach_bytes);
            ck_assert_uint_eq(got[k].reach_count, expected[k].reach_count);
            ck_assert_uint_eq(got[k].share_bytes, expected[k].share_bytes);
            ck_assert_uint_eq(got[k].exclusive_bytes, expected[k].exclusive_bytes);
            ck_assert_uint_eq(got[k].exclusive_count, expected[k].exclusive_count);
        }
        snap_graph_free(g);
        random_graph_release(&r);
    }
}
END_TEST

/* Sums agree, each node stands where one of its shortest paths says, and no group comes twice. */
START_TEST(path_tree) {
    for (uint64_t seed = 1; seed <= SEEDS; seed++) {
        struct random_graph r;
        random_graph_init(&r, seed, NODES_MAX);
        const snap_graph_input *in = &r.input;
        const uint32_t n = (uint32_t)in->n_nodes;
        uint64_t via[NODES_MAX + 1];
        uint32_t length[NODES_MAX + 1], n_low[NODES_MAX + 1];
        oracle_paths(in, via, length, n_low);
        snap_graph *g = open_graph(&r);
        snap_path_tree *t;
        ck_assert_int_eq(snap_path_tree_new(&t, g, NULL), 0);
        uint32_t n_groups, count[NODES_MAX + 1] = {0}, total = 0;
        uint64_t bytes[NODES_MAX + 1] = {0}, total_bytes = 0;
        const snap_path_group *group = snap_path_tree_groups(t, &n_groups);
        ck_assert_uint_le(n_groups, n);
        for (uint32_t v = 1; v <= n; v++) {
            const uint32_t k = snap_path_tree_group(t, v);
            ck_assert_uint_le(k, n_groups);
            ck_assert_int_eq(k != 0, length[v] != 0);
            if (!k)
                continue;
            count[k]++;
            bytes[k] += r.size_bytes[v - 1];
            total++;
            total_bytes += r.size_bytes[v - 1];
            ck_assert_uint_eq(r.type_key[group[k].type], r.type_key[r.type[v - 1]]);
            ck_assert_int_eq(group[k].is_low, n_low[v] != 0);
            bool is_explained = false;
            for (uint64_t i = 0; i < in->n_roots; i++)
                is_explained |= oracle_root_keeps(in, i) && in->root_target[i] == v &&
                                !group[k].parent && group[k].kind == in->root_kind[i] &&
                                group[k].field == in->label_key[in->root_name[i]];
            for (uint64_t e = 0; e < in->n_edges; e++) {
                const uint32_t u = in->edge_source[e];
                const bool low = in->edge_flags[e] & SNAP_EDGE_FLAG_LOW;
                if (in->edge_target[e] == v && oracle_edge_keeps(in, e) && length[u] &&
                    length[u] + 1 == length[v] && n_low[u] + low == n_low[v] &&
                    group[k].kind == in->edge_kind[e] && group[k].field == snap_edge_field(g, e)) {
                    const uint32_t from = snap_path_tree_group(t, u);
                    is_explained |= from == group[k].parent || (from == k && group[k].is_list);
                }
            }
            ck_assert_msg(is_explained, "seed %lu node %u", seed, v);
        }
        uint64_t below[NODES_MAX + 1] = {0}, below_bytes[NODES_MAX + 1] = {0};
        for (uint32_t k = n_groups; k > 0; k--) {
            ck_assert_uint_lt(group[k].parent, k);
            ck_assert_uint_eq(group[k].count, count[k]);
            ck_assert_uint_eq(group[k].bytes, bytes[k]);
            ck_assert_uint_gt(count[k], 0);
            below[k] += count[k];
            below_bytes[k] += bytes[k];
            ck_assert_uint_eq(group[k].total_count, below[k]);
            ck_assert_uint_eq(group[k].total_bytes, below_bytes[k]);
            below[group[k].parent] += below[k];
            below_bytes[group[k].parent] += below_bytes[k];
            for (uint32_t i = 1; i < k; i++)
                ck_assert_uint_ne(group[i].key, group[k].key);
        }
        ck_assert_uint_eq(group[0].total_count, total);
        ck_assert_uint_eq(group[0].total_bytes, total_bytes);
        snap_path_tree_free(t);
        snap_graph_free(g);
        random_graph_release(&r);
    }
}
END_TEST

START_TEST(referrers) {
    for (uint64_t seed = 1; seed <= SEEDS; seed++) {
        struct random_graph r;
        random_graph_init(&r, seed, NODES_MAX);
        snap_graph *g = open_graph(&r);
        ck_assert_int_eq(snap_graph_index_referrers(g, NULL), 0);
        uint32_t seen[4 * NODES_MAX] = {0};
        for (uint32_t v = 1; v <= r.input.n_nodes; v++) {
            uint64_t first, count = snap_graph_in(g, v, &first);
            for (uint64_t p = first; p < first + count; p++) {
                const uint64_t e = snap_graph_in_edge(g, p);
                ck_assert_uint_eq(r.edge_target[e], v);
                seen[e]++;
            }
            count = snap_graph_out(g, v, &first);
            for (uint64_t p = first; p < first + count; p++) {
                const uint64_t e = snap_graph_out_edge(g, p);
                ck_assert_uint_eq(r.edge_source[e], v);
                ck_assert_int_eq(snap_graph_out_keeps(g, p), oracle_edge_keeps(&r.input, e));
                seen[e] += 2;
            }
        }
        for (uint64_t e = 0; e < r.input.n_edges; e++)
            ck_assert_uint_eq(seen[e], oracle_edge_keeps(&r.input, e) ? 3 : 2);
        snap_graph_free(g);
        random_graph_release(&r);
    }
}
END_TEST

/* The vector of LeakCanary's tests, which implementations got wrong: r -> a, d; a -> b, c; d -> e;
 * e -> b; b -> c. */
START_TEST(known_dominators) {
    enum { A = 1, B, C, D, E };
    const uint32_t source[] = {A, A, D, E, B}, target[] = {B, C, E, B, C}, root[] = {A, D};
    const snap_graph_input in = {.n_nodes = 5,
                                 .n_edges = 5,
                                 .edge_source = source,
                                 .edge_target = target,
                                 .n_roots = 2,
                                 .root_target = root};
    snap_graph *g;
    snap_dominators *d;
    ck_assert_int_eq(snap_graph_new(&g, &in, NULL, NULL), 0);
    ck_assert_int_eq(snap_dominators_new(&d, g, NULL, NULL), 0);
    ck_assert_uint_eq(snap_dominators_parent(d, A), 0);
    ck_assert_uint_eq(snap_dominators_parent(d, B), 0);
    ck_assert_uint_eq(snap_dominators_parent(d, C), 0);
    ck_assert_uint_eq(snap_dominators_parent(d, D), 0);
    ck_assert_uint_eq(snap_dominators_parent(d, E), D);
    snap_dominators_free(d);
    snap_graph_free(g);
}
END_TEST

int main(void) {
    Suite *s = suite_create("graph against oracles");
    TCase *t = tcase_create("graph");
    tcase_set_timeout(t, 600);
    tcase_add_test(t, known_dominators);
    tcase_add_test(t, dominators);
    tcase_add_test(t, retained);
    tcase_add_test(t, retained_types);
    tcase_add_test(t, reachability);
    tcase_add_test(t, lost);
    tcase_add_test(t, shortest_chains);
    tcase_add_test(t, disjoint_chains);
    tcase_add_test(t, leak_share);
    tcase_add_test(t, path_tree);
    tcase_add_test(t, referrers);
    suite_add_tcase(s, t);
    SRunner *runner = srunner_create(s);
    srunner_run_all(runner, CK_ENV);
    srunner_free(runner);
    return 0;
}
