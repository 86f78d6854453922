/* Shapes that break careless implementations: a list as deep as there are nodes, a ring, a hub that
 * refers to all, a hub that all refer to, one pair of nodes with very many references. Answers are
 * known in closed form.
 *
 *   test_graph_large [NODES]     1,000,000 without it */
#include <check.h>
#include <heapsnap/graph.h>
#include <stdbool.h>
#include <stdlib.h>

/* Check writes a mark for each assert, so that loops count what is wrong. */
static uint32_t n = 1000000;

struct columns {
    uint32_t *source, *target;
};

static struct columns columns_new(void) {
    struct columns c = {malloc(2ull * n * sizeof *c.source), malloc(2ull * n * sizeof *c.target)};
    ck_assert_ptr_nonnull(c.source);
    ck_assert_ptr_nonnull(c.target);
    return c;
}

static void columns_free(struct columns c) {
    free(c.source);
    free(c.target);
}

static snap_graph *open_graph(struct columns c, uint64_t n_edges, uint64_t n_roots) {
    static const uint32_t root[2] = {1, 0};
    const snap_graph_input in = {.n_nodes = n,
                                 .n_edges = n_edges,
                                 .edge_source = c.source,
                                 .edge_target = c.target,
                                 .n_roots = n_roots,
                                 .root_target = root};
    snap_graph *g;
    ck_assert_int_eq(snap_graph_new(&g, &in, NULL, NULL), 0);
    return g;
}

struct results {
    snap_reach *reach;
    snap_lost *lost;
    snap_dominators *d;
    snap_retained *r;
    snap_retained_type *types;
    snap_paths *p;
    snap_path_tree *t;
};

static struct results compute(snap_graph *g) {
    struct results s;
    const uint32_t all = SNAP_GRAPH_ALL_DOMAINS;
    uint64_t n_types;
    ck_assert_int_eq(snap_reach_new(&s.reach, g, NULL), 0);
    ck_assert_int_eq(snap_lost_new(&s.lost, g, s.reach, NULL), 0);
    ck_assert_int_eq(snap_dominators_new(&s.d, g, s.lost, NULL), 0);
    ck_assert_int_eq(snap_retained_new(&s.r, s.d, &all, 1, NULL), 0);
    ck_assert_int_eq(snap_retained_types(s.r, 0, &s.types, &n_types, NULL), 0);
    ck_assert_int_eq(snap_paths_new(&s.p, g, NULL), 0);
    ck_assert_int_eq(snap_path_tree_new(&s.t, g, NULL), 0);
    ck_assert_uint_eq(n_types, 1);
    ck_assert_uint_eq(s.types[0].count, n);
    return s;
}

static void release(struct results *s, snap_graph *g) {
    snap_path_tree_free(s->t);
    snap_paths_free(s->p);
    free(s->types);
    snap_retained_free(s->r);
    snap_dominators_free(s->d);
    snap_lost_free(s->lost);
    snap_reach_free(s->reach);
    snap_graph_free(g);
}

/* 1 -> 2 -> ... -> n, and, both_ways, each node back to the one before, so that the way to every
 * node's ancestors has to be compressed. */
static struct columns make_list(bool both_ways, uint64_t *n_edges) {
    struct columns c = columns_new();
    uint64_t m = 0;
    for (uint32_t v = 1; v <= n; v++) {
        if (both_ways && v > 1) {
            c.source[m] = v;
            c.target[m++] = v - 1;
        }
        if (v < n) {
            c.source[m] = v;
            c.target[m++] = v + 1;
        }
    }
    *n_edges = m;
    return c;
}

static void check_list(bool both_ways) {
    uint64_t m;
    struct columns c = make_list(both_ways, &m);
    snap_graph *g = open_graph(c, m, 1);
    struct results s = compute(g);
    uint32_t n_wrong = 0;
    for (uint32_t v = 1; v <= n; v++) {
        n_wrong += !(snap_dominators_parent(s.d, v) == v - 1);
        n_wrong += !(snap_retained_count(s.r, v, 0) == n - v + 1);
        n_wrong += !(snap_paths_length(s.p, v) == v);
        n_wrong += !(snap_lost_leader(s.lost, v) == 0);
    }
    ck_assert_uint_eq(n_wrong, 0);
    ck_assert_uint_eq(s.types[0].n_outer, 1);
    uint32_t n_groups;
    const snap_path_group *group = snap_path_tree_groups(s.t, &n_groups);
    ck_assert_uint_eq(n_groups, 2);
    ck_assert_uint_eq(group[2].count, n - 1);
    snap_chain chain, disjoint[3];
    uint32_t n_disjoint;
    ck_assert_int_eq(snap_paths_chain(s.p, n, &chain, NULL), 0);
    ck_assert_uint_eq(chain.n_links, n);
    const uint64_t print = snap_chain_fingerprint(g, &chain, 0, UINT32_MAX);
    const snap_disjoint_options options = {.max_visited = UINT32_MAX};
    ck_assert_int_eq(snap_chains_disjoint(g, n, &options, disjoint, &n_disjoint, NULL, NULL), 0);
    ck_assert_uint_eq(n_disjoint, 1);
    ck_assert_uint_eq(disjoint[0].n_links, n);
    ck_assert_uint_eq(snap_chain_fingerprint(g, disjoint, 0, UINT32_MAX), print);
    snap_chain_release(disjoint);
    snap_chain_release(&chain);
    int exhausted = 1;
    const snap_disjoint_options few = {.max_visited = 1000};
    ck_assert_int_eq(snap_chains_disjoint(g, n, &few, disjoint, &n_disjoint, &exhausted, NULL), 0);
    ck_assert_uint_eq(n_disjoint, 0);
    ck_assert_int_eq(exhausted, 0);
    release(&s, g);
    columns_free(c);
}

START_TEST(list) {
    check_list(false);
}
END_TEST

START_TEST(list_both_ways) {
    check_list(true);
}
END_TEST

/* A list that nothing refers to, closed to a ring or not. */
START_TEST(lost_list_and_ring) {
    for (int ring = 0; ring < 2; ring++) {
        uint64_t m;
        struct columns c = make_list(false, &m);
        if (ring) {
            c.source[m] = n;
            c.target[m++] = 1;
        }
        snap_graph *g = open_graph(c, m, 0);
        struct results s = compute(g);
        uint32_t n_blocks, n_cycles;
        const snap_lost_block *block = snap_lost_blocks(s.lost, &n_blocks);
        const snap_lost_cycle *cycle = snap_lost_cycles(s.lost, &n_cycles);
        ck_assert_uint_eq(n_blocks, 1);
        ck_assert_uint_eq(block[0].node, 1);
        ck_assert_uint_eq(block[0].n_nodes, n);
        ck_assert_uint_eq(n_cycles, ring);
        if (ring)
            ck_assert_uint_eq(cycle[0].n_nodes, n);
        uint32_t n_wrong = 0;
        for (uint32_t v = 1; v <= n; v++) {
            n_wrong += !(snap_lost_leader(s.lost, v) == 1);
            n_wrong += !(snap_dominators_parent(s.d, v) == v - 1);
        }
        ck_assert_uint_eq(n_wrong, 0);
        release(&s, g);
        columns_free(c);
    }
}
END_TEST

/* Node 1 refers to all others, and these to node n: n - 2 ways that share nothing. */
START_TEST(hubs) {
    struct columns c = columns_new();
    uint64_t m = 0;
    for (uint32_t v = 2; v < n; v++) {
        c.source[m] = 1;
        c.target[m++] = v;
    }
    for (uint32_t v = 2; v < n; v++) {
        c.source[m] = v;
        c.target[m++] = n;
    }
    snap_graph *g = open_graph(c, m, 1);
    struct results s = compute(g);
    uint32_t n_wrong = 0;
    for (uint32_t v = 2; v <= n; v++) {
        n_wrong += !(snap_dominators_parent(s.d, v) == 1);
        n_wrong += !(snap_retained_count(s.r, v, 0) == 1);
        n_wrong += !(snap_paths_length(s.p, v) == (v < n ? 2 : 3));
    }
    ck_assert_uint_eq(n_wrong, 0);
    const uint32_t *children;
    uint32_t n_children, n_disjoint;
    ck_assert_int_eq(snap_dominators_children(s.d, 1, &children, &n_children, NULL), 0);
    ck_assert_uint_eq(n_children, n - 1);
    snap_chain chain, disjoint[3];
    ck_assert_int_eq(snap_paths_chain(s.p, n, &chain, NULL), 0);
    ck_assert_uint_eq(chain.links[1].node, 2);
    snap_chain_release(&chain);
    const snap_disjoint_options options = {.max_visited = UINT32_MAX};
    int exhausted;
    ck_assert_int_eq(snap_chains_disjoint(g, n, &options, disjoint, &n_disjoint, &exhausted, NULL),
                     0);
    ck_assert_uint_eq(n_disjoint, 1); /* all pass node 1 */
    ck_assert_int_eq(exhausted, 1);
    snap_chain_release(disjoint);
    release(&s, g);
    columns_free(c);
}
END_TEST

START_TEST(many_references_and_self_references) {
    struct columns c = columns_new();
    uint64_t m = 0;
    for (uint32_t i = 0; i < n; i++) {
        c.source[m] = 1;
        c.target[m++] = i % 2 ? 2 : 1;
    }
    for (uint32_t v = 3; v <= n; v++) {
        c.source[m] = v;
        c.target[m++] = v;
    }
    snap_graph *g = open_graph(c, m, 1);
    struct results s = compute(g);
    ck_assert_uint_eq(snap_dominators_parent(s.d, 2), 1);
    ck_assert_uint_eq(snap_retained_count(s.r, 1, 0), 2);
    uint32_t n_blocks, n_cycles;
    snap_lost_blocks(s.lost, &n_blocks);
    snap_lost_cycles(s.lost, &n_cycles);
    ck_assert_uint_eq(n_blocks, n - 2);
    ck_assert_uint_eq(n_cycles, n - 2);
    release(&s, g);
    columns_free(c);
}
END_TEST

int main(int argc, char **argv) {
    if (argc > 1)
        n = (uint32_t)strtoul(argv[1], NULL, 10);
    Suite *suite = suite_create("graph, large");
    TCase *t = tcase_create("large");
    tcase_set_timeout(t, 1200);
    tcase_add_test(t, list);
    tcase_add_test(t, list_both_ways);
    tcase_add_test(t, lost_list_and_ring);
    tcase_add_test(t, hubs);
    tcase_add_test(t, many_references_and_self_references);
    suite_add_tcase(suite, t);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    srunner_free(runner);
    return 0;
}
