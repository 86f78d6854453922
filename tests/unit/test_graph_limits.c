/* The graph library under bad input and bad luck: refusals, memory budgets, cancellation, and each
 * allocation failing once or from then on; nothing may leak and no result may be half made. */
#include "support/random_graph.h"

#include <check.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

/* The linker sends every call of the library here (--wrap). */
static struct {
    bool armed, once;
    uint64_t countdown; /* calls until one fails */
    uint64_t n_failed;
    int64_t n_live;
} memory;

void *__real_malloc(size_t size);
void *__real_calloc(size_t n, size_t size);
void *__real_realloc(void *p, size_t size);
void __real_free(void *p);
void *__wrap_malloc(size_t size);
void *__wrap_calloc(size_t n, size_t size);
void *__wrap_realloc(void *p, size_t size);
void __wrap_free(void *p);

static bool fails(void) {
    if (!memory.armed || (memory.once && memory.n_failed))
        return false;
    if (memory.countdown) {
        memory.countdown--;
        return false;
    }
    memory.n_failed++;
    return true;
}

static void *count(void *p) {
    memory.n_live += p != NULL;
    return p;
}

void *__wrap_malloc(size_t size) {
    return fails() ? NULL : count(__real_malloc(size));
}
void *__wrap_calloc(size_t n, size_t size) {
    return fails() ? NULL : count(__real_calloc(n, size));
}
void *__wrap_realloc(void *p, size_t size) {
    if (fails())
        return NULL;
    void *q = __real_realloc(p, size);
    memory.n_live += !p && q;
    return q;
}
void __wrap_free(void *p) {
    memory.n_live -= p != NULL;
    __real_free(p);
}

#define HALF_MADE 1

/* The library's allocations only: Check allocates, too, so asserts come after the count. */
static int use_counted(const snap_graph_input *in, const snap_graph_options *options,
                       uint64_t *out_peak, snap_error *err, int64_t *out_left);

/* Calls everything; returns the first error. A result that failed must leave its pointer alone. */
#define STEP(call)                                                                                 \
    do {                                                                                           \
        if (!result)                                                                               \
            result = call;                                                                         \
    } while (0)

static int use_everything(const snap_graph_input *in, const snap_graph_options *options,
                          uint64_t *out_peak, snap_error *err) {
    const uint32_t masks[2] = {SNAP_GRAPH_ALL_DOMAINS, SNAP_GRAPH_DOMAIN(SNAP_DOMAIN_HOST)};
    snap_graph *g = NULL;
    snap_reach *reach = NULL;
    snap_lost *lost = NULL;
    snap_dominators *d = NULL;
    snap_retained *r = NULL;
    snap_retained_type *types = NULL;
    snap_paths *p = NULL;
    snap_path_tree *t = NULL;
    snap_chain c[4] = {{0}};
    uint64_t n_types = 0;
    uint32_t n_chains = 0, n_children = 0;
    const uint32_t *children = NULL;
    const uint32_t nodes[] = {1, 2, 3, 4}, group[] = {0, 1, 70, 71};
    snap_leak_share shares[72];
    memset(shares, 0x55, sizeof shares);
    int result = 0;
    STEP(snap_graph_new(&g, in, options, err));
    STEP(snap_reach_new(&reach, g, err));
    STEP(snap_lost_new(&lost, g, reach, err));
    STEP(snap_dominators_new(&d, g, lost, err));
    STEP(snap_retained_new(&r, d, masks, 2, err));
    STEP(snap_retained_types(r, 1, &types, &n_types, err));
    STEP(snap_dominators_children(d, 0, &children, &n_children, err));
    STEP(snap_paths_new(&p, g, err));
    STEP(snap_paths_chain(p, (uint32_t)in->n_nodes, &c[3], err));
    STEP(snap_chains_disjoint(g, (uint32_t)in->n_nodes, NULL, c, &n_chains, NULL, err));
    STEP(snap_path_tree_new(&t, g, err));
    STEP(snap_leak_share_compute(g, nodes, group, 4, 72, SNAP_GRAPH_ALL_DOMAINS, shares, err));
    /* What a function that failed leaves behind, reported as a result of its own. */
    if (result && (shares[71].share_bytes != 0x5555555555555555ull || n_chains > 3))
        result = HALF_MADE;
    for (uint32_t i = 0; i < 4; i++)
        snap_chain_release(&c[i]);
    snap_path_tree_free(t);
    snap_paths_free(p);
    free(types);
    snap_retained_free(r);
    snap_dominators_free(d);
    snap_lost_free(lost);
    snap_reach_free(reach);
    if (g && out_peak)
        *out_peak = snap_graph_memory_peak(g);
    snap_graph_free(g);
    return result;
}

static int use_counted(const snap_graph_input *in, const snap_graph_options *options,
                       uint64_t *out_peak, snap_error *err, int64_t *out_left) {
    const int64_t n_live = memory.n_live;
    const int result = use_everything(in, options, out_peak, err);
    memory.armed = false;
    *out_left = memory.n_live - n_live;
    return result;
}

/* Unsorted, with weak, low, lost and deep parts, so that every array is needed: a list of 5000 and
 * random edges above; the last node hangs on the list. */
static void make_rich(struct random_graph *r) {
    static uint32_t source[12000], target[12000], root[3] = {1, 1, 2};
    static uint8_t kind[12000], flags[12000], root_flags[3] = {0, SNAP_EDGE_FLAG_LOW, 0};
    uint64_t state = 3;
    for (uint32_t i = 0; i < 12000; i++) {
        source[i] = i < 5000 ? 5000 - i : 1 + (uint32_t)random_below(&state, 6000);
        target[i] = i < 5000 ? source[i] + 1 : 1 + (uint32_t)random_below(&state, 6000);
        kind[i] = i % 50 ? SNAP_EDGE_POINTER : i < 5000 ? SNAP_EDGE_ATTRIBUTE : SNAP_EDGE_WEAK;
        flags[i] = i % 30 || i < 5000 ? 0 : SNAP_EDGE_FLAG_LOW;
        if (i >= 5000 && source[i] <= 5000 && target[i] > 5001)
            kind[i] = SNAP_EDGE_WEAK; /* some nodes stay lost */
    }
    memset(r, 0, sizeof *r);
    r->input = (snap_graph_input){.struct_size = sizeof r->input,
                                  .n_nodes = 5001,
                                  .n_edges = 12000,
                                  .edge_source = source,
                                  .edge_target = target,
                                  .edge_kind = kind,
                                  .edge_flags = flags,
                                  .n_roots = 3,
                                  .root_target = root,
                                  .root_flags = root_flags};
    r->input.n_nodes = 6000;
    /* Let the chains asked for exist: the last node is a child of node 2. */
    source[11999] = 2;
    target[11999] = 6000;
    kind[11999] = SNAP_EDGE_POINTER;
    flags[11999] = 0;
}

static void fail_each(bool once) {
    struct random_graph r;
    make_rich(&r);
    uint64_t n = 0;
    for (bool fired = true; fired; n++) {
        snap_error err = {0};
        memory.countdown = n;
        memory.n_failed = 0;
        memory.once = once;
        memory.armed = true;
        int64_t left;
        const int result = use_counted(&r.input, NULL, NULL, &err, &left);
        fired = memory.n_failed;
        ck_assert_int_eq(result, fired ? SNAP_E_NOMEM : 0);
        ck_assert_int_eq(err.code, result);
        ck_assert_msg(!left, "allocation %lu leaves %ld", n, left);
    }
    ck_assert_uint_gt(n, 50);
}

START_TEST(each_allocation_fails_once) {
    fail_each(true);
}
END_TEST

START_TEST(each_allocation_fails_from_then_on) {
    fail_each(false);
}
END_TEST

START_TEST(budgets) {
    struct random_graph r;
    make_rich(&r);
    uint64_t peak = 0, n_refused = 0;
    ck_assert_int_eq(use_everything(&r.input, NULL, &peak, NULL), 0);
    for (uint64_t limit = 1; limit < peak; limit += peak / 200) {
        const snap_graph_options options = {.struct_size = sizeof options,
                                            .max_memory_bytes = limit};
        snap_error err = {0};
        uint64_t used = 0;
        int64_t left;
        const int result = use_counted(&r.input, &options, &used, &err, &left);
        ck_assert_int_eq(result, SNAP_E_LIMIT);
        ck_assert_ptr_nonnull(strstr(err.message, "budget"));
        ck_assert_uint_le(used, limit);
        ck_assert_int_eq(left, 0);
        n_refused++;
    }
    ck_assert_uint_ge(n_refused, 100);
    const snap_graph_options enough = {.max_memory_bytes = peak};
    ck_assert_int_eq(use_everything(&r.input, &enough, NULL, NULL), 0);
}
END_TEST

static int cancel_later(void *context, uint64_t done, uint64_t total) {
    uint64_t *n_left = context;
    return !(*n_left)--;
}

START_TEST(cancellation) {
    struct random_graph r;
    make_rich(&r);
    uint64_t n = 0;
    for (int result = SNAP_E_CANCELED; result; n++) {
        uint64_t n_left = n;
        const snap_graph_options options = {.progress = cancel_later, .progress_context = &n_left};
        int64_t left;
        result = use_counted(&r.input, &options, NULL, NULL, &left);
        ck_assert(!result || result == SNAP_E_CANCELED);
        ck_assert_int_eq(left, 0);
    }
    ck_assert_uint_gt(n, 5);
}
END_TEST

START_TEST(refusals) {
    const uint32_t one = 1, two = 2;
    const uint64_t key = 0;
    snap_graph *const untouched = (snap_graph *)&key;
    snap_graph *g = untouched;
    snap_error err = {0};
    const struct {
        snap_graph_input in;
        int code;
    } cases[] = {
        {{.n_nodes = SNAP_GRAPH_NODES_MAX + 1ull}, SNAP_E_LIMIT},
        {{.n_nodes = UINT64_MAX}, SNAP_E_LIMIT},
        {{.n_roots = SNAP_GRAPH_NODES_MAX + 1ull, .root_target = &one}, SNAP_E_LIMIT},
        {{.n_edges = UINT64_MAX, .edge_source = &one, .edge_target = &one}, SNAP_E_LIMIT},
        {{.n_nodes = 1, .n_edges = 1}, SNAP_E_ARG},
        {{.n_nodes = 1, .n_roots = 1}, SNAP_E_ARG},
        {{.n_nodes = 1, .n_edges = 1, .edge_source = &two, .edge_target = &one}, SNAP_E_ARG},
        {{.n_nodes = 1, .n_edges = 1, .edge_source = &one, .edge_target = &two}, SNAP_E_ARG},
        {{.n_nodes = 1, .n_roots = 1, .root_target = &two}, SNAP_E_ARG},
        {{.n_nodes = 1, .type = &one, .n_types = 1, .type_key = &key}, SNAP_E_ARG},
        {{.n_nodes = 1, .type = &one, .n_types = 1, .type_rank = (const uint8_t *)&key},
         SNAP_E_ARG},
        {{.n_nodes = 1,
          .n_edges = 1,
          .edge_source = &one,
          .edge_target = &one,
          .edge_label = &one,
          .n_labels = 1,
          .label_key = &key},
         SNAP_E_ARG},
        {{.n_nodes = 1, .label_key = &key}, SNAP_E_ARG},
        {{.struct_size = sizeof(snap_graph_input) + 8}, SNAP_E_ARG},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        err = (snap_error){0};
        ck_assert_int_eq(snap_graph_new(&g, &cases[i].in, NULL, &err), cases[i].code);
        ck_assert_int_eq(err.code, cases[i].code);
        ck_assert_uint_gt(strlen(err.message), 0);
        ck_assert_ptr_eq(g, untouched);
    }
    ck_assert_int_eq(snap_graph_new(&g, NULL, NULL, NULL), SNAP_E_ARG);
}
END_TEST

/* Nothing at all, and nodes without anything that refers to them. */
START_TEST(empty) {
    const uint32_t zero = 0;
    const snap_graph_input inputs[] = {
        {0}, {.n_nodes = 3}, {.n_nodes = 3, .n_roots = 1, .root_target = &zero}};
    for (size_t i = 0; i < sizeof inputs / sizeof *inputs; i++) {
        const uint32_t all = SNAP_GRAPH_ALL_DOMAINS;
        snap_graph *g;
        snap_reach *reach;
        snap_lost *lost;
        snap_dominators *d;
        snap_retained *r;
        snap_paths *p;
        snap_path_tree *t;
        snap_chain c[3];
        uint32_t n = 9;
        ck_assert_int_eq(snap_graph_new(&g, &inputs[i], NULL, NULL), 0);
        ck_assert_int_eq(snap_reach_new(&reach, g, NULL), 0);
        ck_assert_int_eq(snap_lost_new(&lost, g, reach, NULL), 0);
        snap_lost_blocks(lost, &n);
        ck_assert_uint_eq(n, inputs[i].n_nodes);
        ck_assert_int_eq(snap_dominators_new(&d, g, NULL, NULL), 0);
        ck_assert_uint_eq(snap_dominators_count(d), 0);
        ck_assert_uint_eq(snap_dominators_parent(d, 1), SNAP_GRAPH_NONE);
        ck_assert_int_eq(snap_retained_new(&r, d, &all, 1, NULL), 0);
        ck_assert_uint_eq(snap_retained_bytes(r, 0, 0), 0);
        ck_assert_int_eq(snap_retained_new(&r, d, &all, 9, NULL), SNAP_E_ARG);
        ck_assert_int_eq(snap_paths_new(&p, g, NULL), 0);
        ck_assert_int_eq(snap_paths_chain(p, 1, c, NULL), SNAP_E_NOTFOUND);
        ck_assert_int_eq(snap_path_tree_new(&t, g, NULL), 0);
        snap_path_tree_groups(t, &n);
        ck_assert_uint_eq(n, 0);
        if (inputs[i].n_nodes) {
            ck_assert_int_eq(snap_chains_disjoint(g, 3, NULL, c, &n, NULL, NULL), 0);
            ck_assert_uint_eq(n, 0);
        }
        ck_assert_int_eq(snap_chains_disjoint(g, 4, NULL, c, &n, NULL, NULL), SNAP_E_ARG);
        ck_assert_int_eq(snap_leak_share_compute(g, NULL, NULL, 0, 0, all, NULL, NULL), 0);
        snap_path_tree_free(t);
        snap_paths_free(p);
        snap_retained_free(r);
        snap_dominators_free(d);
        snap_lost_free(lost);
        snap_reach_free(reach);
        const uint64_t used = snap_graph_memory_used(g);
        ck_assert_uint_le(used, snap_graph_memory_peak(g));
        snap_graph_free(g);
    }
}
END_TEST

int main(void) {
    Suite *s = suite_create("graph, limits");
    TCase *t = tcase_create("limits");
    tcase_set_timeout(t, 600);
    tcase_add_test(t, each_allocation_fails_once);
    tcase_add_test(t, each_allocation_fails_from_then_on);
    tcase_add_test(t, budgets);
    tcase_add_test(t, cancellation);
    tcase_add_test(t, refusals);
    tcase_add_test(t, empty);
    suite_add_tcase(s, t);
    SRunner *runner = srunner_create(s);
    srunner_run_all(runner, CK_ENV);
    srunner_free(runner);
    return 0;
}
