/* Results of the graph library do not depend on the order in which edges, roots and nodes were
 * given: a graph and the same graph shuffled and renumbered have one digest. */
#include "support/random_graph.h"
#include "support/sanitized.h"

#include <check.h>
#include <stdlib.h>
#include <string.h>

#define NODES_MAX 40
#define SEEDS (SANITIZED ? 375 : 1500)

static uint64_t mix(uint64_t h, uint64_t value) {
    h = (h ^ value) * 0x9e3779b97f4a7c15ull;
    return h ^ h >> 29;
}

/* The same for edges (or roots) that mean the same; old: the number that a node had at first. */
static uint64_t digest_chain(const snap_graph *g, const struct random_graph *r, const uint32_t *old,
                             const snap_chain *c) {
    uint64_t h = mix(c->n_links, c->n_low);
    for (uint32_t i = 0; i < c->n_links; i++) {
        const uint64_t e = c->links[i].edge;
        h = mix(h, old[c->links[i].node]);
        if (i) {
            h = mix(h, r->edge_kind[e]);
            h = mix(h, r->label_key[r->edge_label[e]]);
            h = mix(h, r->source_offset[e]);
            h = mix(h, r->target_offset[e]);
            h = mix(h, r->edge_flags[e]);
        } else {
            h = mix(h, r->root_kind[e]);
            h = mix(h, r->label_key[r->root_name[e]]);
            h = mix(h, r->root_flags[e]);
        }
    }
    return mix(h, snap_chain_fingerprint(g, c, 0, UINT32_MAX));
}

struct digest {
    uint64_t dominator[NODES_MAX + 1], retained[NODES_MAX + 1], reach[NODES_MAX + 1],
        leader[NODES_MAX + 1], chain[NODES_MAX + 1], disjoint[NODES_MAX + 1], group[NODES_MAX + 1];
    uint64_t groups, lost, shares, types;
};

static uint32_t old_or_none(const uint32_t *old, uint32_t node) {
    return node == SNAP_GRAPH_NONE ? node : old[node];
}

static void digest_dominators(snap_graph *g, const uint32_t *number, const uint32_t *old,
                              const snap_lost *lost, struct digest *out) {
    const uint32_t mask = SNAP_GRAPH_ALL_DOMAINS;
    snap_dominators *d;
    snap_retained *t;
    snap_retained_type *types;
    uint64_t n_types;
    ck_assert_int_eq(snap_dominators_new(&d, g, lost, NULL), 0);
    ck_assert_int_eq(snap_retained_new(&t, d, &mask, 1, NULL), 0);
    ck_assert_int_eq(snap_retained_types(t, 0, &types, &n_types, NULL), 0);
    for (uint32_t v = 1; number[v]; v++) {
        out->dominator[v] = old_or_none(old, snap_dominators_parent(d, number[v]));
        out->retained[v] =
            mix(snap_retained_bytes(t, number[v], 0), snap_retained_count(t, number[v], 0));
    }
    for (uint64_t i = 0; i < n_types; i++)
        out->types = mix(mix(out->types, types[i].bytes), types[i].n_outer);
    free(types);
    snap_retained_free(t);
    snap_dominators_free(d);
}

static void digest_lost(const snap_lost *lost, const uint32_t *number, const uint32_t *old,
                        struct digest *out) {
    uint32_t n;
    const snap_lost_block *blocks = snap_lost_blocks(lost, &n);
    for (uint32_t i = 0; i < n; i++)
        out->lost =
            mix(mix(mix(out->lost, old[blocks[i].node]), blocks[i].n_nodes), blocks[i].bytes);
    const snap_lost_cycle *cycles = snap_lost_cycles(lost, &n);
    for (uint32_t i = 0; i < n; i++)
        out->lost =
            mix(mix(mix(out->lost, old[cycles[i].node]), cycles[i].n_nodes), cycles[i].bytes);
    for (uint32_t v = 1; number[v]; v++)
        out->leader[v] = old[snap_lost_leader(lost, number[v])];
}

static void digest_chains(snap_graph *g, const struct random_graph *r, const uint32_t *number,
                          const uint32_t *old, struct digest *out) {
    snap_paths *p;
    ck_assert_int_eq(snap_paths_new(&p, g, NULL), 0);
    for (uint32_t v = 1; number[v]; v++) {
        snap_chain c[3];
        if (!snap_paths_chain(p, number[v], c, NULL)) {
            out->chain[v] = digest_chain(g, r, old, c);
            snap_chain_release(c);
        }
        uint32_t n_chains;
        const snap_disjoint_options options = {.max_visited = v % 4 ? 0 : 20};
        int exhausted;
        ck_assert_int_eq(
            snap_chains_disjoint(g, number[v], &options, c, &n_chains, &exhausted, NULL), 0);
        out->disjoint[v] = mix(n_chains, (uint64_t)exhausted);
        for (uint32_t i = 0; i < n_chains; i++) {
            out->disjoint[v] = mix(out->disjoint[v], digest_chain(g, r, old, &c[i]));
            snap_chain_release(&c[i]);
        }
    }
    snap_paths_free(p);
}

static void digest_groups(snap_graph *g, const struct random_graph *r, const uint32_t *number,
                          struct digest *out) {
    snap_path_tree *t;
    uint32_t n;
    ck_assert_int_eq(snap_path_tree_new(&t, g, NULL), 0);
    const snap_path_group *group = snap_path_tree_groups(t, &n);
    for (uint32_t i = 1; i <= n; i++) {
        out->groups = mix(mix(out->groups, group[i].key), group[i].parent);
        out->groups = mix(mix(out->groups, group[i].total_count), group[i].total_bytes);
        out->groups = mix(mix(out->groups, r->label_key[group[i].label]), group[i].is_list);
    }
    for (uint32_t v = 1; number[v]; v++)
        out->group[v] = snap_path_tree_group(t, number[v]);
    snap_path_tree_free(t);
}

static void digest_shares(snap_graph *g, const uint32_t *number, struct digest *out) {
    uint32_t nodes[NODES_MAX], group[NODES_MAX], n = 0;
    snap_leak_share shares[3];
    for (uint32_t v = 1; number[v]; v += 3) {
        nodes[n] = number[v];
        group[n++] = v % 3;
    }
    ck_assert_int_eq(
        snap_leak_share_compute(g, nodes, group, n, 3, SNAP_GRAPH_ALL_DOMAINS, shares, NULL), 0);
    for (uint32_t i = 0; i < 3; i++)
        out->shares = mix(mix(out->shares, shares[i].share_bytes), shares[i].exclusive_bytes);
}

/* number[v]: that of node v of the first graph in this one, 0 after the last. */
static void make_digest(const struct random_graph *r, const uint32_t *number, struct digest *out) {
    uint32_t old[NODES_MAX + 1] = {0};
    for (uint32_t v = 1; number[v]; v++)
        old[number[v]] = v;
    snap_graph *g;
    snap_reach *reach;
    snap_lost *lost;
    memset(out, 0, sizeof *out);
    ck_assert_int_eq(snap_graph_new(&g, &r->input, NULL, NULL), 0);
    ck_assert_int_eq(snap_reach_new(&reach, g, NULL), 0);
    ck_assert_int_eq(snap_lost_new(&lost, g, reach, NULL), 0);
    for (uint32_t v = 1; number[v]; v++)
        out->reach[v] = snap_reach_mask(reach, number[v]);
    digest_lost(lost, number, old, out);
    digest_dominators(g, number, old, lost, out);
    digest_chains(g, r, number, old, out);
    digest_groups(g, r, number, out);
    digest_shares(g, number, out);
    snap_lost_free(lost);
    snap_reach_free(reach);
    snap_graph_free(g);
}

static void check_equal(const struct digest *a, const struct digest *b, uint64_t seed) {
    for (uint32_t v = 1; v <= NODES_MAX; v++) {
        ck_assert_msg(a->dominator[v] == b->dominator[v], "dominator, seed %lu node %u", seed, v);
        ck_assert_msg(a->retained[v] == b->retained[v], "retained, seed %lu node %u", seed, v);
        ck_assert_msg(a->reach[v] == b->reach[v], "reach, seed %lu node %u", seed, v);
        ck_assert_msg(a->leader[v] == b->leader[v], "leader, seed %lu node %u", seed, v);
        ck_assert_msg(a->chain[v] == b->chain[v], "chain, seed %lu node %u", seed, v);
        ck_assert_msg(a->disjoint[v] == b->disjoint[v], "disjoint, seed %lu node %u", seed, v);
        ck_assert_msg(a->group[v] == b->group[v], "group, seed %lu node %u", seed, v);
    }
    ck_assert_msg(a->groups == b->groups, "groups, seed %lu", seed);
    ck_assert_msg(a->lost == b->lost, "lost, seed %lu", seed);
    ck_assert_msg(a->shares == b->shares, "shares, seed %lu", seed);
    ck_assert_msg(a->types == b->types, "types, seed %lu", seed);
}

START_TEST(order_does_not_matter) {
    for (uint64_t seed = 1; seed <= SEEDS; seed++) {
        struct random_graph r;
        uint32_t number[NODES_MAX + 4] = {0};
        random_graph_init(&r, seed, NODES_MAX);
        random_graph_sort(&r);
        for (uint32_t v = 1; v <= r.input.n_nodes; v++)
            number[v] = v;
        struct digest first, second;
        make_digest(&r, number, &first);
        random_graph_shuffle(&r, seed * 77);
        make_digest(&r, number, &second);
        check_equal(&first, &second, seed);
        random_graph_renumber(&r, seed * 99, number);
        make_digest(&r, number, &second);
        check_equal(&first, &second, seed);
        random_graph_sort(&r);
        make_digest(&r, number, &second);
        check_equal(&first, &second, seed);
        random_graph_release(&r);
    }
}
END_TEST

/* A digest that sees nothing would pass, too: another graph must have another one. */
START_TEST(digests_differ) {
    uint32_t n_equal = 0;
    for (uint64_t seed = 1; seed <= (SANITIZED ? 50 : 200); seed++) {
        struct random_graph r;
        uint32_t number[NODES_MAX + 4] = {0};
        random_graph_init(&r, seed, NODES_MAX);
        for (uint32_t v = 1; v <= r.input.n_nodes; v++)
            number[v] = v;
        struct digest first, second;
        make_digest(&r, number, &first);
        if (r.input.n_edges && r.input.n_nodes)
            r.edge_target[0] = 1 + r.edge_target[0] % (uint32_t)r.input.n_nodes;
        make_digest(&r, number, &second);
        n_equal += !memcmp(&first, &second, sizeof first);
        random_graph_release(&r);
    }
    ck_assert_uint_lt(n_equal, 150);
}
END_TEST

/* Position in an array or a list does not show in a fingerprint; kinds, names and types do. */
START_TEST(fingerprints) {
    enum { TABLE = 1, SESSION = 2, NODE = 3 };
    /* 1: table; 2, 3: sessions at [0], [7]; 4 to 9: a list below 3; 10: a session by a field. */
    const uint32_t type[] = {TABLE, SESSION, SESSION, NODE, NODE, NODE, NODE, NODE, NODE, SESSION};
    const uint32_t source[] = {1, 1, 1, 2, 3, 4, 5, 6, 7, 8},
                   target[] = {2, 3, 10, 9, 4, 5, 6, 7, 8, 0};
    const uint8_t kind[] = {SNAP_EDGE_INDEX, SNAP_EDGE_INDEX, SNAP_EDGE_ATTRIBUTE, SNAP_EDGE_SLOT,
                            SNAP_EDGE_SLOT,  SNAP_EDGE_SLOT,  SNAP_EDGE_SLOT,      SNAP_EDGE_SLOT,
                            SNAP_EDGE_SLOT,  SNAP_EDGE_SLOT};
    const uint32_t label[] = {0, 0, 1, 2, 2, 3, 3, 3, 3, 3};
    const uint64_t offset[] = {0, 7, 0, 0, 0, 0, 0, 0, 0, 0};
    const uint32_t root[] = {1};
    const snap_graph_input in = {.n_nodes = 10,
                                 .type = type,
                                 .n_edges = 10,
                                 .edge_source = source,
                                 .edge_target = target,
                                 .edge_kind = kind,
                                 .edge_label = label,
                                 .source_offset = offset,
                                 .n_roots = 1,
                                 .root_target = root};
    snap_graph *g;
    snap_paths *p;
    ck_assert_int_eq(snap_graph_new(&g, &in, NULL, NULL), 0);
    ck_assert_int_eq(snap_paths_new(&p, g, NULL), 0);
    uint64_t print[11] = {0}, tail[11] = {0};
    for (uint32_t v = 1; v <= 10; v++) {
        snap_chain c;
        ck_assert_int_eq(snap_paths_chain(p, v, &c, NULL), 0);
        print[v] = snap_chain_fingerprint(g, &c, 0, UINT32_MAX);
        tail[v] = snap_chain_fingerprint(g, &c, 2, UINT32_MAX);
        snap_chain_release(&c);
    }
    ck_assert_uint_eq(print[2], print[3]);
    ck_assert_uint_ne(print[2], print[10]);
    ck_assert_uint_ne(print[2], print[1]);
    ck_assert_uint_eq(print[4], print[9]);
    ck_assert_uint_ne(print[4], print[5]); /* the first "next" is news, further ones are not */
    ck_assert_uint_eq(print[5], print[6]);
    ck_assert_uint_eq(print[5], print[8]);
    ck_assert_uint_eq(tail[4], tail[9]);
    ck_assert_uint_ne(tail[4], print[4]);
    snap_path_tree *t;
    uint32_t n_groups;
    ck_assert_int_eq(snap_path_tree_new(&t, g, NULL), 0);
    const snap_path_group *group = snap_path_tree_groups(t, &n_groups);
    ck_assert_uint_eq(n_groups, 5);
    const uint32_t list = snap_path_tree_group(t, 5);
    ck_assert_uint_eq(list, snap_path_tree_group(t, 8));
    ck_assert_uint_eq(group[list].count, 4);
    ck_assert_int_eq(group[list].is_list, 1);
    ck_assert_uint_eq(group[snap_path_tree_group(t, 2)].count, 2);
    snap_path_tree_free(t);
    snap_paths_free(p);
    snap_graph_free(g);
}
END_TEST

int main(void) {
    Suite *s = suite_create("graph, order");
    TCase *t = tcase_create("order");
    tcase_set_timeout(t, 600);
    tcase_add_test(t, order_does_not_matter);
    tcase_add_test(t, digests_differ);
    tcase_add_test(t, fingerprints);
    suite_add_tcase(s, t);
    SRunner *runner = srunner_create(s);
    srunner_run_all(runner, CK_ENV);
    srunner_free(runner);
    return 0;
}
