/* Suspects over heaps made by hand: who holds what grew, by how much, and what is none. Growth is
 * compared with what the test itself added; heaps of chance check that suspects never explain more
 * than grew, and that the order of rows means nothing. */
#include "support/sample.h"
#include "support/sanitized.h"

#include <heapsnap/diff.h>
#include <heapsnap/holder.h>
#include <heapsnap/report.h>

#include <check.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static long fail_at = LONG_MAX, n_allocations;

void *__real_malloc(size_t size);
void *__real_calloc(size_t n, size_t size);
void *__real_realloc(void *p, size_t size);
void *__wrap_malloc(size_t size);
void *__wrap_calloc(size_t n, size_t size);
void *__wrap_realloc(void *p, size_t size);

static int is_failing(void) {
    return __atomic_add_fetch(&n_allocations, 1, __ATOMIC_RELAXED) > fail_at;
}
void *__wrap_malloc(size_t size) {
    return is_failing() ? NULL : __real_malloc(size);
}
void *__wrap_calloc(size_t n, size_t size) {
    return is_failing() ? NULL : __real_calloc(n, size);
}
void *__wrap_realloc(void *p, size_t size) {
    return is_failing() ? NULL : __real_realloc(p, size);
}

static snap_error err;
static size_t n_nodes_large = 20000; /* more by argument */

static void check(int result) {
    ck_assert_msg(result >= 0, "%s: %s", snap_error_name(result), err.message);
}

/* ---- A heap in the making ---- */

enum { SITES = 64, SNAPS = 8 };

struct node {
    const char *type, *label;
    uint32_t site, size, flags;
    int is_alive, is_object; /* object: of Python */
};
struct edge {
    uint32_t from, to, offset;
    const char *label;
    uint32_t kind; /* 0: pointer */
};
struct root {
    uint32_t kind, node, flags;
    const char *name, *local;
};
struct hook {
    const char *registry, *callback;
    uint32_t holder, argument;
};

static struct {
    struct node *nodes; /* by birth - 1 */
    struct edge *edges;
    struct root roots[64];
    struct hook hooks[256];
    size_t n_nodes, n_edges, n_roots, n_hooks, node_capacity, edge_capacity;
    int is_shuffled;
    struct bytes files[SNAPS];
    snap_snapshot *snaps[SNAPS];
    size_t n_snaps;
} heap;

static void heap_reset(void) {
    for (size_t i = 0; i < heap.n_snaps; i++) {
        snap_close(heap.snaps[i]);
        bytes_release(&heap.files[i]);
    }
    free(heap.nodes);
    free(heap.edges);
    memset(&heap, 0, sizeof heap);
}

static uint32_t add(const char *type, uint32_t site, uint32_t size) {
    if (heap.n_nodes == heap.node_capacity) {
        heap.node_capacity = heap.node_capacity * 2 + 64;
        heap.nodes = realloc(heap.nodes, heap.node_capacity * sizeof *heap.nodes);
    }
    heap.nodes[heap.n_nodes++] = (struct node){type, NULL, site, size, 0, 1, 0};
    return (uint32_t)heap.n_nodes;
}

static uint32_t add_object(const char *type, uint32_t size) {
    const uint32_t node = add(type, 0, size);
    heap.nodes[node - 1].is_object = 1;
    return node;
}

static void drop(uint32_t node) {
    heap.nodes[node - 1].is_alive = 0;
}

static void refer(uint32_t from, uint32_t to, const char *label, uint32_t offset) {
    if (heap.n_edges == heap.edge_capacity) {
        heap.edge_capacity = heap.edge_capacity * 2 + 64;
        heap.edges = realloc(heap.edges, heap.edge_capacity * sizeof *heap.edges);
    }
    heap.edges[heap.n_edges++] = (struct edge){from, to, offset, label, 0};
}

/* Changes where a field points; 0: nowhere. */
static void point(uint32_t from, uint32_t to, const char *label) {
    for (size_t i = 0; i < heap.n_edges; i++)
        if (heap.edges[i].from == from && strcmp(heap.edges[i].label, label) == 0) {
            heap.edges[i].to = to;
            return;
        }
    refer(from, to, label, 8);
}

static size_t root(uint32_t kind, const char *name, const char *local, uint32_t node) {
    heap.roots[heap.n_roots] = (struct root){kind, node, 0, name, local};
    return heap.n_roots++;
}

static int compare_edges(const void *x, const void *y) {
    const struct edge *const a = x, *const b = y;
    if (a->from != b->from)
        return a->from < b->from ? -1 : 1;
    if (a->offset != b->offset)
        return a->offset < b->offset ? -1 : 1;
    return a->to < b->to ? -1 : a->to > b->to;
}

static uint64_t string(snap_writer *w, const char *text) {
    uint32_t id;
    check(snap_writer_string(w, text, &id, &err));
    return id;
}

/* Sites that are named like functions of interpreter and loader. */
enum { SITE_IMPORT = 59, SITE_INTERN, SITE_LOAD };

/* Sites are stacks "siteN" <- "main", with lines. */
static void write_sites(snap_writer *w) {
    check(snap_writer_module(w, "/bin/prog", "abcd", 0x400000, 0x900000, 0x400000, 1, NULL, &err));
    uint64_t row[SNAP_COLUMNS_MAX];
    for (uint32_t i = 0; i <= SITES; i++) {
        char name[32];
        memset(row, 0, sizeof row);
        row[SNAP_FRAM_COL_MODULE] = 1;
        row[SNAP_FRAM_COL_OFFSET] = 0x1000 + i * 16;
        check(snap_writer_row(w, SNAP_TABLE_FRAM, row, NULL, &err));
        snprintf(name, sizeof name,
                 i == SITE_INTERN   ? "PyUnicode_InternInPlace"
                 : i == SITE_LOAD   ? "_dl_open"
                 : i == SITE_IMPORT ? "exec_module"
                 : i < SITES        ? "site%u"
                                    : "main",
                 i);
        memset(row, 0, sizeof row);
        row[SNAP_SYMB_COL_FRAME] = i + 1;
        row[SNAP_SYMB_COL_FUNCTION] = string(w, name);
        row[SNAP_SYMB_COL_FILE] = string(w, "prog.c");
        row[SNAP_SYMB_COL_LINE] = 100 + i;
        check(snap_writer_row(w, SNAP_TABLE_SYMB, row, NULL, &err));
    }
    memset(row, 0, sizeof row);
    row[SNAP_STAK_COL_FRAME] = SITES + 1;
    check(snap_writer_row(w, SNAP_TABLE_STAK, row, NULL, &err));
    for (uint32_t i = 0; i < SITES; i++) {
        row[SNAP_STAK_COL_PARENT] = 1;
        row[SNAP_STAK_COL_FRAME] = i + 1;
        check(snap_writer_row(w, SNAP_TABLE_STAK, row, NULL, &err));
    }
}

static uint64_t type_id(snap_writer *w, const char **names, size_t *n, const char *name) {
    if (name == NULL)
        return 0;
    for (size_t i = 0; i < *n; i++)
        if (strcmp(names[i], name) == 0)
            return i + 1;
    uint64_t row[SNAP_COLUMNS_MAX] = {0}, id;
    row[SNAP_TYPE_COL_NAME] = string(w, name);
    row[SNAP_TYPE_COL_SOURCE] = SNAP_TYPE_DWARF;
    check(snap_writer_row(w, SNAP_TABLE_TYPE, row, &id, &err));
    names[(*n)++] = name;
    return id;
}

static void write_nodes(snap_writer *w, uint32_t *ids) {
    const char *names[64];
    size_t n_names = 0;
    uint32_t n = 0;
    for (size_t i = 0; i < heap.n_nodes; i++) {
        const struct node *const node = &heap.nodes[i];
        uint64_t row[SNAP_COLUMNS_MAX] = {0};
        if (!node->is_alive)
            continue;
        ids[i] = ++n;
        row[SNAP_NODE_COL_DOMAIN] = node->is_object ? SNAP_DOMAIN_PYTHON : SNAP_DOMAIN_HOST;
        row[SNAP_NODE_COL_KIND] = node->is_object ? SNAP_NODE_OBJECT : SNAP_NODE_BLOCK;
        row[SNAP_NODE_COL_ADDRESS] = 0x100000 + i * 65536;
        row[SNAP_NODE_COL_SIZE] = node->size;
        row[SNAP_NODE_COL_BIRTH] = i + 1;
        row[SNAP_NODE_COL_FLAGS] = node->flags;
        row[SNAP_NODE_COL_STACK] = node->site + 2;
        row[SNAP_NODE_COL_TYPE] = type_id(w, names, &n_names, node->type);
        row[SNAP_NODE_COL_LABEL] = node->label != NULL ? string(w, node->label) : 0;
        check(snap_writer_row(w, SNAP_TABLE_NODE, row, NULL, &err));
    }
}

static void write_references(snap_writer *w, const uint32_t *ids) {
    if (heap.n_edges > 0)
        qsort(heap.edges, heap.n_edges, sizeof *heap.edges, compare_edges);
    for (size_t i = 0; i < heap.n_edges; i++) {
        const struct edge *const e = &heap.edges[i];
        uint64_t row[SNAP_COLUMNS_MAX] = {0};
        if (e->to == 0 || ids[e->from - 1] == 0 || ids[e->to - 1] == 0)
            continue;
        row[SNAP_EDGE_COL_SOURCE] = ids[e->from - 1];
        row[SNAP_EDGE_COL_TARGET] = ids[e->to - 1];
        row[SNAP_EDGE_COL_KIND] = e->kind != 0 ? e->kind : SNAP_EDGE_POINTER;
        row[SNAP_EDGE_COL_LABEL] = string(w, e->label);
        row[SNAP_EDGE_COL_SOURCE_OFFSET] = e->offset;
        check(snap_writer_row(w, SNAP_TABLE_EDGE, row, NULL, &err));
    }
    for (size_t i = 0; i < heap.n_roots; i++) {
        const struct root *const r = &heap.roots[heap.is_shuffled ? heap.n_roots - 1 - i : i];
        uint64_t row[SNAP_COLUMNS_MAX] = {0};
        if (r->node == 0 || ids[r->node - 1] == 0)
            continue;
        row[SNAP_ROOT_COL_KIND] = r->kind;
        row[SNAP_ROOT_COL_TARGET] = ids[r->node - 1];
        row[SNAP_ROOT_COL_NAME] = string(w, r->name);
        row[SNAP_ROOT_COL_LABEL] = string(w, r->local);
        row[SNAP_ROOT_COL_MODULE] = r->kind == SNAP_ROOT_GLOBAL;
        row[SNAP_ROOT_COL_FLAGS] = r->flags;
        check(snap_writer_row(w, SNAP_TABLE_ROOT, row, NULL, &err));
    }
    for (size_t i = 0; i < heap.n_hooks; i++) {
        const struct hook *const h = &heap.hooks[i];
        uint64_t row[SNAP_COLUMNS_MAX] = {0};
        row[SNAP_HOOK_COL_REGISTRY] = string(w, h->registry);
        row[SNAP_HOOK_COL_CALLBACK] = string(w, h->callback);
        row[SNAP_HOOK_COL_KIND] = SNAP_HOOK_NATIVE;
        row[SNAP_HOOK_COL_HOLDER] = h->holder != 0 ? ids[h->holder - 1] : 0;
        row[SNAP_HOOK_COL_ARGUMENT] = h->argument != 0 ? ids[h->argument - 1] : 0;
        check(snap_writer_row(w, SNAP_TABLE_HOOK, row, NULL, &err));
    }
}

static void snap(void) {
    snap_writer *w;
    uint32_t *const ids = calloc(heap.n_nodes + 1, sizeof *ids);
    const size_t n = heap.n_snaps;
    ck_assert_uint_lt(n, SNAPS);
    check(snap_writer_open_sink(&w, bytes_sink, &heap.files[n], NULL, &err));
    check(snap_writer_meta_text(w, SNAP_META_WRITER, "test", &err));
    check(snap_writer_meta_text(w, SNAP_META_LINEAGE, "0123456789abcdef0123456789abcdef", &err));
    check(snap_writer_meta_number(w, SNAP_META_SEQUENCE, n + 1, &err));
    check(snap_writer_meta_number(w, SNAP_META_BIRTH_MARK, heap.n_nodes, &err));
    for (size_t i = 0; i < heap.n_nodes; i++)
        if (heap.nodes[i].is_object) { /* those of a domain stand together otherwise */
            check(snap_writer_meta_number(w, SNAP_META_UNSORTED, 1, &err));
            break;
        }
    write_sites(w);
    write_nodes(w, ids);
    write_references(w, ids);
    check(snap_writer_finish(w, &err));
    snap_writer_close(w);
    free(ids);
    check(snap_open_memory(&heap.snaps[n], heap.files[n].data, heap.files[n].size, NULL, &err));
    heap.n_snaps++;
}

static snap_diff *compare(void) {
    snap_diff *d;
    check(snap_diff_new(&d, (const snap_snapshot *const *)heap.snaps, heap.n_snaps, NULL, &err));
    return d;
}

static const snap_diff_suspect *suspects(const snap_diff *d, size_t *n) {
    return snap_diff_suspects(d, n);
}

/* The only suspect is of a class, with a holder, and grew by that much. */
static void expect_one(const char *class_name, const char *holder, int64_t growth) {
    snap_diff *const d = compare();
    size_t n;
    const snap_diff_suspect *const s = suspects(d, &n);
    for (size_t i = 1; i < n; i++)
        ck_assert_msg(0, "another suspect: %s %s %lld", snap_suspect_class_name(s[i].suspect_class),
                      s[i].holder, (long long)s[i].growth_bytes);
    ck_assert_uint_eq(n, 1);
    ck_assert_str_eq(snap_suspect_class_name(s->suspect_class), class_name);
    ck_assert_str_eq(s->holder, holder);
    ck_assert_int_eq(s->growth_bytes, growth);
    ck_assert_int_eq((int64_t)(s->bytes[heap.n_snaps - 1] - s->bytes[0]), growth);
    ck_assert_int_eq(snap_diff_verdict(d),
                     heap.n_snaps > 2 ? SNAP_VERDICT_LEAK : SNAP_VERDICT_GROWTH);
    ck_assert_uint_gt(strlen(s->advice), 10);
    snap_diff_free(d);
}

static void expect_none(void) {
    snap_diff *const d = compare();
    size_t n;
    const snap_diff_suspect *const s = suspects(d, &n);
    if (n > 0)
        ck_assert_msg(0, "a suspect: %s %s %lld", snap_suspect_class_name(s->suspect_class),
                      s->holder, (long long)s->growth_bytes);
    ck_assert_int_eq(snap_diff_verdict(d), SNAP_VERDICT_NO_GROWTH);
    snap_diff_free(d);
}

/* ---- Shapes ---- */

enum { ROUND = 50 };

/* New nodes at the head or at the tail, a buffer on each, and a pointer to the newest on a stack.
 */
START_TEST(a_list_is_one_suspect) {
    const int at_tail = _i;
    const uint32_t owner = add("struct server", 0, 64);
    root(SNAP_ROOT_GLOBAL, "g_server", "", owner);
    const size_t local = root(SNAP_ROOT_STACK, "main", "s", 0);
    uint32_t head = 0, tail = 0;
    for (int round = 0; round < 4; round++) {
        for (int i = 0; i < ROUND; i++) {
            const uint32_t node = add("struct session", 1, 200), buffer = add("char[]", 2, 3000);
            refer(node, buffer, "buf", 16);
            if (!at_tail || head == 0) {
                point(node, head, "next");
                head = node;
                point(owner, head, "sessions");
            } else {
                point(tail, node, "next");
            }
            tail = node;
        }
        heap.roots[local].node = tail;
        snap();
    }
    expect_one("rooted", "g_server.sessions", 3 * ROUND * 3200);
    heap_reset();
}
END_TEST

/* Both ends in a variable, links in both directions. */
START_TEST(a_list_with_two_ends_is_one_suspect) {
    const size_t first = root(SNAP_ROOT_GLOBAL, "g_list.first", "", 0),
                 last = root(SNAP_ROOT_GLOBAL, "g_list.last", "", 0);
    uint32_t tail = 0;
    for (int round = 0; round < 4; round++) {
        for (int i = 0; i < ROUND; i++) {
            const uint32_t node = add("struct item", 1, 500);
            point(node, tail, "previous");
            if (tail != 0)
                refer(tail, node, "next", 16);
            else
                heap.roots[first].node = node;
            tail = heap.roots[last].node = node;
        }
        snap();
    }
    snap_diff *const d = compare();
    size_t n;
    const snap_diff_suspect *const s = suspects(d, &n);
    ck_assert_uint_eq(n, 1);
    ck_assert_int_eq(s->growth_bytes, 3 * ROUND * 500);
    ck_assert_int_eq(strncmp(s->holder, "g_list.", 7), 0);
    snap_diff_free(d);
    heap_reset();
}
END_TEST

/* Chains in buckets; the bucket array is made anew whenever there are twice as many entries. */
START_TEST(a_hash_table_is_one_suspect) {
    const uint32_t table = add("struct table", 0, 64);
    root(SNAP_ROOT_GLOBAL, "g_cache", "", table);
    uint32_t buckets = 0, n_buckets = 0, entries[1000], n = 0, bytes_first = 0;
    for (int round = 0; round < 4; round++) {
        for (int i = 0; i < 60; i++) {
            entries[n] = add("struct entry", 1, 700);
            refer(entries[n], add("char[]", 2, 90), "key", 0);
            n++;
        }
        if (n > n_buckets) {
            if (buckets != 0)
                drop(buckets);
            n_buckets = n * 2;
            buckets = add("struct entry *[]", 3, n_buckets * 8);
            for (uint32_t i = 0; i < n; i++)
                refer(buckets, entries[i], "[*]", i * 8);
        } else {
            for (uint32_t i = n - 60; i < n; i++)
                refer(buckets, entries[i], "[*]", i * 8);
        }
        point(table, buckets, "buckets");
        if (round == 0)
            bytes_first = n_buckets * 8;
        snap();
    }
    expect_one("rooted", "g_cache.buckets[*]", 180 * 790 + (int64_t)n_buckets * 8 - bytes_first);
    heap_reset();
}
END_TEST

START_TEST(a_tree_is_one_suspect) {
    const size_t top = root(SNAP_ROOT_GLOBAL, "g_tree", "", 0);
    uint32_t left[2000] = {0}, right[2000] = {0}, key[2000] = {0};
    uint64_t random = 7;
    for (int round = 0; round < 4; round++) {
        for (int i = 0; i < 100; i++) {
            const uint32_t node = add("struct node", 1, 300);
            key[node] = (uint32_t)sample_next(&random);
            uint32_t at = heap.roots[top].node;
            if (at == 0)
                heap.roots[top].node = node;
            while (at != 0) {
                uint32_t *const next = key[node] < key[at] ? &left[at] : &right[at];
                if (*next == 0) {
                    *next = node;
                    refer(at, node, next == &left[at] ? "left" : "right",
                          next == &left[at] ? 0 : 8);
                    break;
                }
                at = *next;
            }
        }
        snap();
    }
    expect_one("rooted", "g_tree", 3 * 100 * 300);
    heap_reset();
}
END_TEST

/* Jobs are made in one list and moved to a history that is never cleared. */
START_TEST(what_moved_on_is_the_holders_where_it_stays) {
    const uint32_t active = add("struct queue", 0, 800), history = add("struct log", 0, 80000);
    root(SNAP_ROOT_GLOBAL, "g_active", "", active);
    root(SNAP_ROOT_GLOBAL, "g_history", "", history);
    uint32_t n = 0;
    for (int round = 0; round < 4; round++) {
        for (size_t i = 0; i < heap.n_edges; i++)
            if (heap.edges[i].from == active) {
                heap.edges[i].from = history;
                heap.edges[i].offset = 8 * n++;
            }
        for (uint32_t i = 0; i < 40; i++)
            refer(active, add("struct job", 1, 1000), "[*]", 8 * i);
        snap();
    }
    expect_one("rooted", "g_history[*]", 3 * 40 * 1000);
    heap_reset();
}
END_TEST

START_TEST(what_is_replaced_does_not_grow) {
    const uint32_t ring = add("struct ring", 0, 8000);
    root(SNAP_ROOT_GLOBAL, "g_ring", "", ring);
    uint32_t slots[500] = {0};
    for (int round = 0; round < 4; round++) {
        heap.n_edges = 0;
        for (int i = 0; i < 500; i++) {
            if (slots[i] != 0)
                drop(slots[i]);
            slots[i] = add("struct sample", 1, 1000);
            refer(ring, slots[i], "[*]", (uint32_t)i * 8);
        }
        snap();
    }
    expect_none();
    heap_reset();
}
END_TEST

/* A free list that reached its bound, and one table that was filled in the first round only. */
START_TEST(what_ended_is_no_suspect) {
    const uint32_t pool = add("struct pool", 0, 8000);
    root(SNAP_ROOT_GLOBAL, "g_pool", "", pool);
    const int sizes[] = {100, 180, 220, 220, 220, 220};
    int n = 0;
    for (int round = 0; round < 6; round++) {
        for (; n < sizes[round]; n++)
            refer(pool, add("struct buffer", 1, 4000), "[*]", (uint32_t)n * 8);
        snap();
    }
    expect_none();
    heap_reset();
}
END_TEST

START_TEST(a_growing_buffer_is_a_suspect) {
    const size_t log = root(SNAP_ROOT_GLOBAL, "g_log.text", "", 0);
    for (uint32_t round = 0; round < 4; round++) {
        if (heap.roots[log].node != 0)
            drop(heap.roots[log].node);
        heap.roots[log].node = add("char[]", 1, 100000 + 50000 * round);
        snap();
    }
    expect_one("rooted", "g_log.text", 150000);
    heap_reset();
}
END_TEST

START_TEST(lost_blocks_are_told_with_what_they_hold) {
    const uint32_t keep = add("struct keep", 0, 100);
    root(SNAP_ROOT_GLOBAL, "g_keep", "", keep);
    for (int round = 0; round < 4; round++) {
        for (int i = 0; i < 30; i++)
            refer(add("struct token", 1, 400), add("char[]", 2, 600), "text", 8);
        snap();
    }
    snap_diff *const d = compare();
    size_t n;
    const snap_diff_suspect *const s = suspects(d, &n);
    ck_assert_uint_eq(n, 1);
    ck_assert_int_eq(s->suspect_class, SNAP_SUSPECT_LOST);
    ck_assert_int_eq(s->growth_bytes, 90 * 1000);
    ck_assert_int_eq(s->growth_count, 90);
    ck_assert_str_eq(s->type, "struct token");
    snap_location frames[4];
    size_t n_frames;
    check(snap_stack(heap.snaps[s->snapshot], s->stack, frames, 4, &n_frames, NULL, &err));
    ck_assert_str_eq(frames[0].function, "site1");
    snap_diff_free(d);
    heap_reset();
}
END_TEST

/* Blocks that count references and refer to one another; others that only happen to. */
START_TEST(a_circle_is_told_if_references_are_counted) {
    static const char *const types[] = {"std::_Sp_counted_ptr_inplace<Node>", "struct node"};
    const uint32_t keep = add("struct keep", 0, 100);
    root(SNAP_ROOT_GLOBAL, "g_keep", "", keep);
    for (int round = 0; round < 4; round++) {
        for (int i = 0; i < 30; i++) {
            const uint32_t a = add(types[_i], 1, 500), b = add(types[_i], 1, 500);
            refer(a, b, "peer", 16);
            refer(b, a, "peer", 16);
        }
        snap();
    }
    expect_one(_i == 0 ? "native-cycle" : "lost", "", 90 * 1000);
    heap_reset();
}
END_TEST

/* Blocks that nobody holds and that refer to objects: alive ones, dead ones, dead ones that refer
 * back. Only the last are a circle that neither counting nor the collector frees. */
START_TEST(only_a_way_back_makes_a_circle) {
    static const char *const classes[] = {"lost", "lost", "native-cycle"};
    const uint32_t keep = add_object("Keep", 100);
    root(SNAP_ROOT_GLOBAL, "g_keep", "", keep);
    for (int round = 0; round < 4; round++) {
        for (int i = 0; i < 30; i++) {
            const uint32_t block = add("struct table", 1, 900);
            const uint32_t object = _i == 0 ? keep : add_object("Item", 100);
            refer(block, object, "object", 16);
            if (_i == 2)
                refer(object, block, "table", 24);
        }
        snap();
    }
    expect_one(classes[_i], "", 90 * (_i == 0 ? 900 : 1000));
    heap_reset();
}
END_TEST

/* Some of what a list gets was there before, elsewhere; what hangs on it is new: one thing. But
 * what grows in what the list has had is a matter of its own. */
START_TEST(what_hangs_on_old_nodes_goes_with_those_beside_them) {
    const uint32_t list = add("struct list", 0, 4096), spare = add("struct spare", 0, 4096);
    uint32_t old[2];
    root(SNAP_ROOT_GLOBAL, "g_history", "", list);
    root(SNAP_ROOT_GLOBAL, "g_spare", "", spare);
    for (uint32_t i = 0; i < 2; i++) {
        old[i] = add("struct tensor", 3, 80);
        refer(spare, old[i], "[*]", i * 8);
    }
    uint32_t first = 0, n_moved = 0;
    for (uint32_t round = 0; round < 8; round++) {
        const int is_old = _i == 0 && (round == 3 || round == 5);
        const uint32_t entry = is_old ? old[n_moved] : add("struct tensor", 3, 80);
        for (size_t i = 0; is_old && i < heap.n_edges; i++) /* references are sorted meanwhile */
            if (heap.edges[i].from == spare && heap.edges[i].to == entry)
                heap.edges[i].to = 0;
        n_moved += (uint32_t)is_old;
        first = round == 0 ? entry : first;
        refer(list, entry, "[*]", round * 8);
        refer(entry, add("struct impl", 1, 4000), "impl", 8);
        if (_i == 1 && round > 0)
            for (uint32_t i = 0; i < 5; i++)
                refer(first, add("struct impl", 1, 4000), "impl", 16 + (round * 5 + i) * 8);
        snap();
    }
    snap_diff *const d = compare();
    size_t n;
    const snap_diff_suspect *const s = suspects(d, &n);
    ck_assert_uint_eq(n, 1);
    ck_assert_str_eq(s->holder, _i == 0 ? "g_history[*]" : "g_history[*].impl");
    ck_assert_int_ge(s->growth_bytes, _i == 0 ? 7 * 4000 : 35 * 4000);
    ck_assert_int_ge(s->growth_count, _i == 0 ? 5 : 35);
    ck_assert_str_eq(s->chain[s->n_chain - 1].node, "struct impl");
    snap_diff_free(d);
    heap_reset();
}
END_TEST

START_TEST(callbacks_are_told_by_their_arguments) {
    const uint32_t table = add("struct listener[]", 0, 4096);
    root(SNAP_ROOT_GLOBAL, "g_bus.listeners", "", table);
    heap.hooks[heap.n_hooks++] = (struct hook){"g_bus.listeners[*]", "on_exit", table, 0};
    for (uint32_t round = 0; round < 4; round++) {
        const uint32_t window = add("struct window", 1, 200);
        refer(window, add("char[]", 2, 50000), "pixels", 8);
        refer(table, window, "[*].context", round * 16);
        heap.hooks[heap.n_hooks++] =
            (struct hook){"g_bus.listeners[*]", "on_colours", table, window};
        snap();
    }
    snap_diff *const d = compare();
    size_t n, n_hooks;
    const snap_diff_suspect *const s = suspects(d, &n);
    ck_assert_uint_eq(n, 1);
    ck_assert_int_eq(s->suspect_class, SNAP_SUSPECT_HOOK);
    ck_assert_str_eq(s->hook->callback, "on_colours");
    ck_assert_int_eq(s->growth_bytes, 3 * 50200);
    const snap_diff_hook *const hooks = snap_diff_hooks(d, &n_hooks);
    ck_assert_uint_eq(n_hooks, 2);
    ck_assert_uint_eq(hooks[0].retained_bytes, 4 * 50200);
    ck_assert_uint_eq(hooks[1].retained_bytes, 0);
    snap_diff_free(d);
    heap_reset();
}
END_TEST

/* Growth that many programs have comes last though there is more of it, and says what it is, unless
 * it goes on; then it comes first. */
START_TEST(what_is_usual_comes_last) {
    static const struct {
        const char *root, *type, *edge, *inner, *usual;
        uint32_t site;
    } cases[] = {
        {"linecache.cache", "dict", "", "", "a cache of a library", 1},
        {"re._cache2", "dict", "", "", "a cache of a library", 1},
        {"opt", "torch.optim.adam.Adam", "state", "dict", "state of an optimizer", 1},
        {"g_names", "struct names", "", "", "interned names", SITE_INTERN},
        {"g_plugins", "struct plugins", "", "", "a module or library was loaded", SITE_LOAD},
        {"linecache.cached_by_us", "dict", "", "", "", 1}, /* the program's own */
        {"opt", "Adam", "state", "dict", "", 1},
        {"g_plugins", "struct plugins", "", "", "", SITE_IMPORT}, /* a function of C by that name */
    };
    const int n_snaps = _i % 2 == 0 ? 2 : 4;
    const size_t k = (size_t)_i / 2;
    ck_assert_uint_lt(k, sizeof cases / sizeof *cases);
    const uint32_t cache = add("struct cache", 0, 8000), owner = add(cases[k].type, 0, 8000);
    uint32_t table = owner;
    root(SNAP_ROOT_GLOBAL, "g_cache", "", cache);
    root(SNAP_ROOT_GLOBAL, cases[k].root, "", owner);
    if (*cases[k].inner != '\0')
        refer(owner, table = add(cases[k].inner, 0, 8000), cases[k].edge, 8);
    for (int round = 0; round < n_snaps; round++) {
        for (uint32_t i = 0; i < 20; i++) {
            const uint32_t at = ((uint32_t)round * 20 + i) * 8;
            refer(cache, add("struct entry", 2, 8000), "[*]", at);
            refer(table, add("str", cases[k].site, 9000), "[*]", at);
        }
        snap();
    }
    snap_diff *const d = compare();
    size_t n;
    const snap_diff_suspect *const s = suspects(d, &n);
    ck_assert_uint_eq(n, 2);
    const int is_last = *cases[k].usual != '\0' && n_snaps == 2;
    const snap_diff_suspect *const usual = &s[is_last];
    ck_assert_msg(strncmp(usual->holder, cases[k].root, strlen(cases[k].root)) == 0, "%s",
                  usual->holder);
    ck_assert_str_eq(s[!is_last].usual, "");
    ck_assert(*cases[k].usual == '\0' ? *usual->usual == '\0'
                                      : strstr(usual->usual, cases[k].usual) != NULL);
    ck_assert_int_eq(strstr(usual->advice, "snapshot later") != NULL, is_last);
    snap_diff_free(d);
    heap_reset();
}
END_TEST

/* A module in the table of them, with a dictionary and text of that size. */
static uint32_t import(const char *name, uint32_t bytes) {
    const uint32_t module = add_object("module", 72), dict = add_object("dict", 200);
    root(SNAP_ROOT_MODULE, name, "", module);
    refer(module, dict, ".__dict__", 16);
    refer(dict, add_object("str", bytes), "['__doc__']", 8);
    return dict;
}

enum imports { IN_FIRST, IN_TWO, STEADILY, ONE_GROWS_ON, ONLY_ONE };

/* Modules that were imported are one suspect, which names them and comes behind, but if there are
 * more and more of them; what goes on growing in one of them is that module's. */
START_TEST(modules_are_one_suspect) {
    static const char *const names[] = {"alpha",     "alpha.io", "beta",
                                        "alpha.net", "gamma",    "beta.x"};
    const uint32_t list = add_object("list", 100);
    const int n_snaps = _i == IN_FIRST || _i == ONLY_ONE ? 2 : _i == IN_TWO ? 3 : 6;
    root(SNAP_ROOT_MODULE, "__main__", "", list);
    import("sys", 9000);
    snap();
    uint32_t grows = 0, n_imported = 0;
    for (int round = 1; round < n_snaps; round++) {
        const uint32_t n_now = _i == STEADILY ? 1 : _i == ONLY_ONE ? 1 : round == 1 ? 4 : 2;
        for (uint32_t i = 0; i < n_now && n_imported < 6; i++, n_imported++) {
            const uint32_t dict = import(names[n_imported], 100000 - n_imported);
            if (n_imported == 2)
                grows = dict;
        }
        for (uint32_t i = 0; i < 10 && _i != STEADILY; i++)
            refer(list, add_object("bytes", 20000), "[*]", ((uint32_t)round * 10 + i) * 8);
        if (_i == ONE_GROWS_ON)
            refer(grows, add_object("bytearray", 50000), "['cache']", 100 + (uint32_t)round * 8);
        snap();
    }
    snap_diff *const d = compare();
    size_t n;
    const snap_diff_suspect *const s = suspects(d, &n);
    static const struct {
        const char *holder, *usual;
        int64_t growth_count;
        int is_behind;
        snap_verdict verdict;
    } said[] = {
        {"sys.modules[*]", "4 modules that were imported in between, each once: alpha (3), beta", 4,
         1, SNAP_VERDICT_GROWTH},
        {"sys.modules[*]",
         "6 modules that were imported in between, each once: alpha (3), beta (2), gamma", 6, 1,
         SNAP_VERDICT_LEAK},
        {"sys.modules[*]",
         "5 modules that were imported in between, each once: alpha (3), beta, gamma", 5, 0,
         SNAP_VERDICT_LEAK},
        {"beta", "modules that were imported in between; each is imported once", 1, 0,
         SNAP_VERDICT_LEAK},
        {"alpha", "modules that were imported in between; each is imported once", 1, 1,
         SNAP_VERDICT_GROWTH},
    };
    ck_assert_uint_eq(n, _i == STEADILY ? 1 : 2);
    ck_assert_int_eq(snap_diff_verdict(d), said[_i].verdict);
    const snap_diff_suspect *const modules = &s[n - 1];
    ck_assert_str_eq(modules->type, "module");
    ck_assert_str_eq(modules->root_kind, "module");
    ck_assert_str_eq(modules->holder, said[_i].holder);
    ck_assert_str_eq(modules->usual, said[_i].usual);
    ck_assert_int_eq(modules->growth_count, said[_i].growth_count);
    ck_assert_int_eq(strstr(modules->advice, "snapshot later") != NULL, said[_i].is_behind);
    ck_assert_uint_eq(modules->exclusive_bytes, (uint64_t)modules->growth_bytes);
    ck_assert_int_eq((modules->growth_bytes - (_i == ONE_GROWS_ON ? 250000 : 0)) / 100000,
                     said[_i].growth_count);
    if (n > 1)
        ck_assert_str_eq(s->holder, "__main__[*]");
    if (_i == ONE_GROWS_ON)
        ck_assert_str_eq(modules->chain[modules->n_chain - 1].node, "bytearray");
    snap_diff_free(d);
    heap_reset();
}
END_TEST

static const snap_diff_not_leak *not_leak(const snap_diff *d, const char *kind) {
    size_t n;
    const snap_diff_not_leak *const rows = snap_diff_not_leaks(d, &n);
    for (size_t i = 0; i < n; i++)
        if (strcmp(rows[i].kind, kind) == 0)
            return &rows[i];
    return NULL;
}

/* Caches of libraries that are known to end by themselves, alone, beside a leak; and a variable of
 * the program's whose name only looks alike. */
enum { STORAGE_BYTES = 102400 };

static void refer_storage(uint32_t from, uint32_t to, const char *label) {
    refer(from, to, label, 16);
    heap.edges[heap.n_edges - 1].kind = SNAP_EDGE_STORAGE;
}

static uint32_t add_storage(void) {
    const uint32_t storage = add("c10::StorageImpl", 0, 104), data = add("data", 0, STORAGE_BYTES);
    refer_storage(storage, data, "data");
    return storage;
}

/* What a tensor stands for; its object refers to it. */
static uint32_t add_tensor(uint32_t storage, const char *label, uint32_t *out_object) {
    const uint32_t object = add_object("torch.Tensor", 72), impl = add("c10::TensorImpl", 0, 192);
    heap.nodes[object - 1].label = label;
    refer_storage(object, impl, "_cdata");
    refer_storage(impl, storage, "storage");
    *out_object = object;
    return impl;
}

static uint32_t put_tensor(uint32_t list, uint32_t storage, const char *label) {
    uint32_t object;
    const uint32_t impl = add_tensor(storage, label, &object);
    refer(list, object, "", 8 * (uint32_t)heap.n_nodes);
    return impl;
}

/* The tensor that a view was made of, which nobody else has. */
static void put_base(uint32_t view, uint32_t storage, const char *label) {
    uint32_t object;
    const uint32_t meta = add("ViewMeta", 0, 128), impl = add_tensor(storage, label, &object);
    refer(view, meta, "autograd_meta", 24);
    refer(meta, impl, "base", 40);
    refer(impl, object, "object", 48);
}

/* Three snapshots of a list that grows by n views of each of two new storages; 0: of an old one. */
static void check_views(unsigned n, int is_old, int has_whole, uint64_t count, uint64_t kept) {
    static const char view[] = "float32[10] cpu, 40 of 102400 bytes",
                      whole[] = "float32[25600] cpu";
    heap_reset();
    const uint32_t list = add_object("list", 72), old = add_storage();
    root(SNAP_ROOT_MODULE, "__main__", "kept", list);
    put_tensor(list, old, is_old ? view : whole);
    for (int round = 0; round < 3; round++) {
        for (int i = 0; i < (round > 0 ? 2 : 0); i++) {
            const uint32_t storage = is_old ? old : add_storage();
            for (unsigned k = 0; k < n; k++) {
                const uint32_t impl = put_tensor(list, storage, view);
                if (k == 0)
                    put_base(impl, storage, whole);
            }
            if (has_whole)
                put_tensor(list, storage, whole);
        }
        snap();
    }
    snap_diff *const d = compare();
    size_t n_suspects;
    const snap_diff_suspect *const s = suspects(d, &n_suspects);
    ck_assert_uint_eq(n_suspects, 1);
    ck_assert_uint_eq(s->views_count, count);
    ck_assert_uint_eq(s->views_shown_bytes, 40 * count);
    ck_assert_uint_eq(s->views_kept_bytes, kept);
    ck_assert_int_eq(strstr(s->advice, "clone()") != NULL, count > 0);
    snap_diff_free(d);
    heap_reset();
}

START_TEST(views_are_told_with_what_they_keep) {
    check_views(1, 0, 0, 4, 4 * STORAGE_BYTES);
    check_views(5, 0, 0, 20, 4 * STORAGE_BYTES); /* each storage once */
    check_views(40, 1, 0, 0, 0);                 /* what is old was kept before */
    check_views(5, 0, 1, 0, 0);                  /* and would stay without the view */
}
END_TEST

START_TEST(a_cache_with_a_bound_is_no_suspect) {
    const uint32_t cache = add("struct lru", 0, 8000), list = add("struct list", 0, 8000);
    root(SNAP_ROOT_GLOBAL,
         _i == 2 ? "dnnl::impl::global_primitive_cache_of_mine"
                 : "dnnl::impl::global_primitive_cache()::cache",
         "", cache);
    root(SNAP_ROOT_GLOBAL, "g_list", "", list);
    for (uint32_t i = 0; i < 80; i++) {
        refer(cache, add("struct primitive", 1, 9000), "[*]", i * 8);
        if (_i == 1)
            refer(list, add("struct item", 2, 9000), "[*]", i * 8);
        if (i % 20 == 19)
            snap();
    }
    snap_diff *const d = compare();
    size_t n;
    const snap_diff_suspect *const s = suspects(d, &n);
    const snap_diff_not_leak *const told = not_leak(d, "warm-up");
    ck_assert_uint_eq(n, _i != 0);
    ck_assert_int_eq(snap_diff_get_finding(d)->verdict,
                     _i == 0 ? SNAP_VERDICT_NO_GROWTH : SNAP_VERDICT_LEAK);
    if (n > 0)
        ck_assert_ptr_nonnull(strstr(s[0].holder, _i == 1 ? "g_list" : "_of_mine"));
    ck_assert_int_eq(told != NULL, _i != 2);
    if (told != NULL) {
        ck_assert_uint_eq(told->bytes, 60 * 9000);
        ck_assert_ptr_nonnull(strstr(told->explanation, "global_primitive_cache"));
    }
    snap_diff_free(d);
    heap_reset();
}
END_TEST

/* Growth that ended is told from a tenth of the size on from which growth is blamed. */
START_TEST(what_ended_is_told_though_it_is_small) {
    const uint32_t base = add("struct base", 0, 20 << 20), table = add("struct table", 0, 8000);
    root(SNAP_ROOT_GLOBAL, "g_base", "", base);
    root(SNAP_ROOT_GLOBAL, "g_table", "", table);
    snap();
    for (uint32_t i = 0; i < 10; i++)
        refer(table, add("struct item", 1, 10000), "[*]", i * 8);
    for (int i = 0; i < 3; i++)
        snap();
    snap_diff *const d = compare();
    size_t n;
    suspects(d, &n);
    ck_assert_uint_eq(n, 0);
    ck_assert_int_eq(snap_diff_get_finding(d)->verdict, SNAP_VERDICT_NO_GROWTH);
    ck_assert_ptr_nonnull(not_leak(d, "warm-up"));
    ck_assert_uint_eq(not_leak(d, "warm-up")->bytes, 100000);
    snap_diff_free(d);
    heap_reset();
}
END_TEST

/* Only a stack holds the larger one: told, but after what a variable holds for good. */
START_TEST(a_stack_alone_is_doubtful) {
    const uint32_t jobs = add("struct jobs", 0, 8000), cache = add("struct cache", 0, 8000);
    root(SNAP_ROOT_STACK, "work", "jobs", jobs);
    root(SNAP_ROOT_GLOBAL, "g_cache", "", cache);
    for (uint32_t round = 0; round < 4; round++) {
        for (uint32_t i = 0; i < 20; i++) {
            refer(jobs, add("struct job", 1, 3000), "[*]", (round * 20 + i) * 8);
            refer(cache, add("struct entry", 2, 2000), "[*]", (round * 20 + i) * 8);
        }
        snap();
    }
    snap_diff *const d = compare();
    size_t n;
    const snap_diff_suspect *const s = suspects(d, &n);
    ck_assert_uint_eq(n, 2);
    ck_assert_str_eq(s[0].holder, "g_cache[*]");
    ck_assert_int_eq(s[0].is_doubtful, 0);
    ck_assert_str_eq(s[1].holder, "work() local 'jobs'[*]");
    ck_assert_int_eq(s[1].is_doubtful, 1);
    ck_assert_int_eq(s[1].growth_bytes, 60 * 3000);
    snap_diff_free(d);
    heap_reset();
}
END_TEST

/* A list goes down through the calls of a library: it is still that of the script. */
START_TEST(the_script_is_named_before_what_it_calls) {
    static const char *const calls[] = {"lib.a:run", "lib.a:call", "lib.b:run",       "lib.b:step",
                                        "lib.c:run", "zip:next",   "__main__x:other", "_:_"};
    const uint32_t list = add_object("list", 8000);
    for (size_t i = 0; i < sizeof calls / sizeof *calls; i++)
        root(SNAP_ROOT_FRAME, calls[i], i % 2 ? "rows" : "items", list);
    root(SNAP_ROOT_FRAME, "__main__:main", "rows", list);
    root(SNAP_ROOT_FRAME, "__main__extra:main", "rows", list);
    root(SNAP_ROOT_FRAME, "__main__:Watch.called_back", "rows", list);
    root(SNAP_ROOT_FRAME, "__main__:Watch.called_later", "rows", list);
    for (uint32_t round = 0; round < 4; round++) {
        for (uint32_t i = 0; i < 20; i++)
            refer(list, add_object("Row", 3000), "[*]", (round * 20 + i) * 8);
        snap();
    }
    expect_one("rooted", "__main__:main local 'rows'[*]", 60 * 3000);
    heap_reset();
}
END_TEST

/* The same objects in a list and in an index: neither holds them alone. */
START_TEST(what_two_hold_is_no_ones_alone) {
    const uint32_t list = add("struct list", 0, 8000), index = add("struct index", 0, 8000);
    root(SNAP_ROOT_GLOBAL, "g_index", "", index);
    root(SNAP_ROOT_GLOBAL, "g_list", "", list);
    for (uint32_t round = 0; round < 4; round++) {
        for (uint32_t i = 0; i < 20; i++) {
            const uint32_t object = add("struct object", 1, 2000), key = add("struct key", 2, 500);
            refer(list, object, "[*]", (round * 20 + i) * 8);
            refer(index, key, "[*]", (round * 20 + i) * 8);
            refer(key, object, "value", 8);
        }
        snap();
    }
    snap_diff *const d = compare();
    size_t n;
    const snap_diff_suspect *const s = suspects(d, &n);
    ck_assert_uint_eq(n, 2);
    ck_assert_str_eq(s[0].holder, "g_list[*]");
    ck_assert_int_eq(s[0].growth_bytes, 60 * 2000);
    ck_assert_uint_eq(s[0].exclusive_bytes, 0);
    ck_assert_str_eq(s[1].holder, "g_index[*]");
    ck_assert_int_eq(s[1].growth_bytes, 60 * 500);
    ck_assert_uint_eq(s[1].exclusive_bytes, 60 * 500);
    snap_diff_free(d);
    heap_reset();
}
END_TEST

/* Elements of several types in one table; a pointer into the middle from a register. */
START_TEST(a_table_of_several_types_is_one_suspect) {
    static const char *const types[] = {"Circle", "Square", "Line"};
    const uint32_t table = add("Shape *[]", 0, 8000);
    root(SNAP_ROOT_GLOBAL, "g_shapes", "", table);
    const size_t spot = root(SNAP_ROOT_REGISTER, "", "", 0);
    for (uint32_t round = 0; round < 4; round++) {
        for (uint32_t i = 0; i < 30; i++) {
            const uint32_t shape = add(types[i % 3], 1 + i % 3, 1000 * (1 + i % 3));
            refer(table, shape, "[*]", (round * 30 + i) * 8);
            heap.roots[spot].node = shape;
        }
        snap();
    }
    expect_one("rooted", "g_shapes[*]", 3 * 60000);
    heap_reset();
}
END_TEST

static void expect_series(const snap_diff_suspect *s, const char *holder, const uint64_t *counts,
                          const uint64_t *bytes) {
    ck_assert_str_eq(s->holder, holder);
    for (size_t k = 0; k < heap.n_snaps; k++) {
        ck_assert_msg(s->counts[k] == counts[k], "%s: %llu blocks in snapshot %zu, not %llu",
                      holder, (unsigned long long)s->counts[k], k + 1,
                      (unsigned long long)counts[k]);
        ck_assert_msg(s->bytes[k] == bytes[k], "%s: %llu bytes in snapshot %zu, not %llu", holder,
                      (unsigned long long)s->bytes[k], k + 1, (unsigned long long)bytes[k]);
    }
}

/* One site, two holders that grow in different ways: the series of each is its own, not the site's
 * in proportion. */
START_TEST(series_are_measured) {
    static const uint32_t late[] = {50, 50, 50, 110};
    const uint32_t steady = add("struct steady", 0, 8000), burst = add("struct burst", 0, 8000);
    root(SNAP_ROOT_GLOBAL, "g_steady", "", steady);
    root(SNAP_ROOT_GLOBAL, "g_burst", "", burst);
    uint32_t n = 0;
    for (uint32_t round = 0; round < 4; round++) {
        for (uint32_t i = 0; i < 20; i++)
            refer(steady, add("struct entry", 1, 1000), "[*]", (round * 20 + i) * 8);
        for (; n < late[round]; n++)
            refer(burst, add("struct entry", 1, 2000), "[*]", n * 8);
        snap();
    }
    snap_diff *const d = compare();
    size_t n_suspects;
    const snap_diff_suspect *const s = suspects(d, &n_suspects);
    ck_assert_uint_eq(n_suspects, 2);
    ck_assert_int_eq(s[0].trend, SNAP_TREND_LINEAR);
    ck_assert_int_eq(s[1].trend, SNAP_TREND_STEP);
    expect_series(&s[0], "g_steady[*]", (const uint64_t[]){20, 40, 60, 80},
                  (const uint64_t[]){20000, 40000, 60000, 80000});
    expect_series(&s[1], "g_burst[*]", (const uint64_t[]){50, 50, 50, 110},
                  (const uint64_t[]){100000, 100000, 100000, 220000});
    snap_diff_free(d);
    heap_reset();
}
END_TEST

/* In one snapshot all is held by another variable, too, over a shorter way; entries come and go. */
START_TEST(series_survive_a_shorter_way) {
    const uint32_t owner = add("struct owner", 0, 64), table = add("struct table", 0, 8000);
    root(SNAP_ROOT_GLOBAL, "g_owner", "", owner);
    refer(owner, table, "table", 8);
    const size_t passing = root(SNAP_ROOT_GLOBAL, "g_passing", "", 0);
    uint32_t passer = 0;
    for (uint32_t round = 0; round < 5; round++) {
        for (uint32_t i = 0; i < 20; i++)
            refer(table, add("struct entry", 1, 1000), "[*]", (round * 20 + i) * 8);
        passer = add("struct request", 2, 100);
        refer(table, passer, "request", 4);
        heap.roots[passing].node = round == 2 ? table : 0;
        snap();
        drop(passer);
    }
    snap_diff *const d = compare();
    size_t n;
    const snap_diff_suspect *const s = suspects(d, &n);
    ck_assert_uint_eq(n, 1);
    expect_series(s, "g_owner.table[*]", (const uint64_t[]){20, 40, 60, 80, 100},
                  (const uint64_t[]){20000, 40000, 60000, 80000, 100000});
    ck_assert_int_eq(s->trend, SNAP_TREND_LINEAR);
    snap_diff_free(d);
    heap_reset();
}
END_TEST

/* Lost blocks of one site, beside those of it that something holds. */
START_TEST(series_of_lost_blocks_are_measured) {
    static const uint32_t n_held[] = {30, 90, 10, 100};
    const uint32_t table = add("struct table", 0, 8000);
    root(SNAP_ROOT_GLOBAL, "g_table", "", table);
    uint32_t held[100];
    for (uint32_t round = 0; round < 4; round++) {
        for (uint32_t i = 0; i < n_held[round]; i++) {
            held[i] = add("struct token", 1, 1000);
            refer(table, held[i], "[*]", i * 8);
        }
        for (uint32_t i = 0; i < 30; i++)
            add("struct token", 1, 1000);
        snap();
        heap.n_edges = 0;
        for (uint32_t i = 0; i < n_held[round]; i++)
            drop(held[i]);
    }
    snap_diff *const d = compare();
    size_t n;
    const snap_diff_suspect *const s = suspects(d, &n);
    ck_assert_uint_ge(n, 1);
    ck_assert_int_eq(s->suspect_class, SNAP_SUSPECT_LOST);
    expect_series(s, "", (const uint64_t[]){30, 60, 90, 120},
                  (const uint64_t[]){30000, 60000, 90000, 120000});
    snap_diff_free(d);
    heap_reset();
}
END_TEST

/* Circles of several objects of one type, without stacks: as many as there are circles. */
START_TEST(series_of_circles_are_measured) {
    for (uint32_t round = 0; round < 4; round++) {
        for (uint32_t i = 0; i < 20; i++) {
            const uint32_t first = add_object("Node", 600);
            for (uint32_t k = 0; k < 4; k++) {
                const uint32_t other = add_object("Node", 600);
                refer(first, other, "children", 8 + k * 8);
                refer(other, first, "parent", 8);
            }
        }
        snap();
    }
    snap_diff *const d = compare();
    size_t n;
    const snap_diff_suspect *const s = suspects(d, &n);
    ck_assert_uint_eq(n, 1);
    ck_assert_int_eq(s->suspect_class, SNAP_SUSPECT_GARBAGE);
    expect_series(s, "", (const uint64_t[]){20, 40, 60, 80},
                  (const uint64_t[]){60000, 120000, 180000, 240000});
    snap_diff_free(d);
    heap_reset();
}
END_TEST

/* One site and one type: a cache that drains, a little or by more than the leak adds. */
START_TEST(a_leak_is_seen_beside_what_drains) {
    const uint32_t n_drained = _i ? 60 : 15;
    const uint32_t cache = add("struct cache", 0, 8000), table = add("struct table", 0, 8000);
    root(SNAP_ROOT_GLOBAL, "g_cache", "", cache);
    root(SNAP_ROOT_GLOBAL, "g_table", "", table);
    uint32_t cached[300], n_cached = 300, n = 0;
    for (uint32_t i = 0; i < n_cached; i++) {
        cached[i] = add("struct block", 1, 1000);
        refer(cache, cached[i], "[*]", i * 8);
    }
    for (uint32_t round = 0; round < 5; round++) {
        for (uint32_t i = 0; i < 40; i++, n++)
            refer(table, add("struct block", 1, 1000), "[*]", n * 8);
        snap();
        for (uint32_t i = 0; i < n_drained; i++)
            drop(cached[--n_cached]);
    }
    expect_one("rooted", "g_table[*]", 4 * 40 * 1000);
    heap_reset();
}
END_TEST

/* Two tables that take turns in being large, all of one site; and one that filled once while the
 * other was emptied. */
START_TEST(what_sways_beside_what_drains_is_no_suspect) {
    static const uint32_t n_of[2][2][5] = {{{100, 160, 90, 170, 150}, {160, 90, 170, 100, 90}},
                                           {{50, 50, 150, 150, 150}, {150, 150, 50, 50, 50}}};
    const uint32_t tables[2] = {add("struct table", 0, 8000), add("struct table", 0, 8000)};
    root(SNAP_ROOT_GLOBAL, "g_left", "", tables[0]);
    root(SNAP_ROOT_GLOBAL, "g_right", "", tables[1]);
    uint32_t blocks[2][200], n[2] = {0, 0};
    for (uint32_t round = 0; round < 5; round++) {
        for (int t = 0; t < 2; t++) {
            while (n[t] > n_of[_i][t][round])
                drop(blocks[t][--n[t]]);
            for (; n[t] < n_of[_i][t][round]; n[t]++) {
                blocks[t][n[t]] = add("struct block", 1, 1000);
                refer(tables[t], blocks[t][n[t]], "[*]", n[t] * 8);
            }
        }
        snap();
    }
    expect_none();
    heap_reset();
}
END_TEST

START_TEST(two_snapshots_are_not_a_trend) {
    const uint32_t table = add("struct table", 0, 8000);
    root(SNAP_ROOT_GLOBAL, "g_table", "", table);
    for (uint32_t round = 0; round < 2; round++) {
        for (uint32_t i = 0; i < 100; i++)
            refer(table, add("struct entry", 1, 2000), "[*]", (round * 100 + i) * 8);
        snap();
    }
    expect_one("rooted", "g_table[*]", 200000);
    heap_reset();
}
END_TEST

/* ---- Any heap ---- */

static void grow_by_chance(uint64_t *random, size_t n) {
    static const char *const types[] = {"struct a", "struct b", "struct c", NULL};
    static const char *const labels[] = {"next", "left", "[*]", ""};
    for (size_t i = 0; i < n; i++) {
        const uint64_t x = sample_next(random);
        const uint32_t node =
            add(types[x % 4], (uint32_t)(x >> 8) % 16, 16 + (uint32_t)(x >> 16) % 400);
        for (uint64_t k = x >> 32 & 3; k > 0; k--) {
            const uint32_t other = (uint32_t)(sample_next(random) % heap.n_nodes) + 1;
            if (x >> 40 & 1)
                refer(node, other, labels[x >> 44 & 3], (uint32_t)k * 8);
            else
                refer(other, node, labels[x >> 44 & 3], (uint32_t)k * 8);
        }
        if ((x >> 50 & 7) == 0)
            drop((uint32_t)(sample_next(random) % heap.n_nodes) + 1);
    }
}

static void add_roots_by_chance(uint64_t *random) {
    static const uint32_t kinds[] = {SNAP_ROOT_GLOBAL, SNAP_ROOT_STACK, SNAP_ROOT_TLS,
                                     SNAP_ROOT_MAPPING};
    static const char *const names[] = {"g_one", "g_two.x", "g_two.y", "work"};
    for (int i = 0; i < 12; i++) {
        const uint64_t x = sample_next(random);
        heap.roots[root(kinds[x & 3], names[x >> 2 & 3], x >> 4 & 1 ? "local" : "",
                        (uint32_t)(x >> 8) % 50 + 1)]
            .flags = x >> 60 & 1 ? SNAP_EDGE_FLAG_LOW : 0;
    }
}

static char *report_of(const snap_diff *d) {
    char *text = NULL;
    size_t size = 0;
    FILE *const out = open_memstream(&text, &size);
    check(snap_report_diff(d, "json", out, NULL, &err));
    check(snap_report_diff(d, "text", out, NULL, &err));
    fclose(out);
    return text;
}

static void make_by_chance(uint64_t seed, size_t n, int is_shuffled) {
    uint64_t random = seed;
    heap.is_shuffled = is_shuffled;
    grow_by_chance(&random, n);
    add_roots_by_chance(&random);
    for (int round = 0; round < 3; round++) {
        snap();
        grow_by_chance(&random, n / 2);
    }
    snap();
}

START_TEST(suspects_explain_no_more_than_grew) {
    make_by_chance((uint64_t)_i, 400, 0);
    snap_diff *d = compare();
    size_t n, n_sites;
    const snap_diff_suspect *const s = suspects(d, &n);
    const snap_diff_site *const sites = snap_diff_sites(d, &n_sites);
    int64_t explained = 0, bounded = 0, grown = 0, fresh = 0;
    for (size_t i = 0; i < n; i++) {
        explained += s[i].growth_bytes;
        /* One that grew steadily may have more than its sites, which free other blocks. */
        if (s[i].trend != SNAP_TREND_LINEAR && s[i].trend != SNAP_TREND_MONOTONIC)
            bounded += s[i].growth_bytes;
        ck_assert_int_gt(s[i].growth_bytes, 0);
        ck_assert_uint_ge(s[i].retained_bytes, (uint64_t)s[i].growth_bytes);
    }
    for (size_t i = 0; i < n_sites; i++) {
        grown += sites[i].growth_bytes > 0 ? sites[i].growth_bytes : 0;
        fresh += (int64_t)sites[i].new_bytes;
    }
    /* Rounded one by one. No two explain the same block, and none one that was there before. */
    ck_assert_int_le(bounded, grown + (int64_t)n);
    ck_assert_int_le(explained, fresh + (int64_t)n);
    ck_assert(n > 0 || snap_diff_verdict(d) != SNAP_VERDICT_LEAK);
    char *const report = report_of(d);
    snap_diff_free(d);
    heap_reset();
    /* Roots in another order: the same report. */
    make_by_chance((uint64_t)_i, 400, 1);
    d = compare();
    char *const again = report_of(d);
    ck_assert_str_eq(report, again);
    free(report);
    free(again);
    snap_diff_free(d);
    /* A snapshot and itself: nothing. */
    const snap_snapshot *const same[] = {heap.snaps[3], heap.snaps[3]};
    check(snap_diff_new(&d, same, 2, NULL, &err));
    suspects(d, &n);
    ck_assert_uint_eq(n, 0);
    ck_assert_int_eq(snap_diff_verdict(d), SNAP_VERDICT_NO_GROWTH);
    snap_diff_free(d);
    heap_reset();
}
END_TEST

START_TEST(references_over_the_limit_leave_sites) {
    make_by_chance(1, 3000, 0);
    const snap_diff_options options = {.struct_size = sizeof options, .max_graph_bytes = 20000};
    snap_diff *d;
    check(snap_diff_new(&d, (const snap_snapshot *const *)heap.snaps, 4, &options, &err));
    size_t n;
    const char *const *const limits = snap_diff_limits(d, &n);
    int found = 0;
    for (size_t i = 0; i < n; i++)
        found |= strstr(limits[i], "do not fit") != NULL;
    ck_assert_int_eq(found, 1);
    ck_assert_int_eq(snap_diff_get_finding(d)->has_references, 0);
    snap_diff_free(d);
    heap_reset();
}
END_TEST

static int stop_at(void *context, uint64_t done, uint64_t total) {
    (void)done;
    (void)total;
    return --*(int *)context == 0;
}

START_TEST(a_caller_can_stop_it) {
    make_by_chance(1, 3000, 0);
    for (int calls = 1; calls < 10000; calls += calls < 20 ? 1 : 13) {
        int left = calls;
        const snap_diff_options options = {.struct_size = sizeof options,
                                           .progress = stop_at,
                                           .progress_context = &left,
                                           .threads = 1};
        snap_diff *d = NULL;
        const int result =
            snap_diff_new(&d, (const snap_snapshot *const *)heap.snaps, 4, &options, &err);
        snap_diff_free(d);
        if (result == 0) {
            ck_assert_int_gt(calls, 4);
            break;
        }
        ck_assert_int_eq(result, SNAP_E_CANCELED);
        ck_assert_ptr_null(d);
    }
    heap_reset();
}
END_TEST

static int everything(void) {
    const snap_diff_options options = {.struct_size = sizeof options, .threads = 1};
    snap_diff *d;
    int result =
        snap_diff_new(&d, (const snap_snapshot *const *)heap.snaps, heap.n_snaps, &options, &err);
    if (result < 0)
        return result;
    FILE *const out = fopen("/dev/null", "w");
    if (out == NULL) {
        snap_diff_free(d);
        return SNAP_E_NOMEM;
    }
    result = snap_report_diff(d, "text", out, NULL, &err);
    if (result == 0)
        result = snap_report_diff(d, "json", out, NULL, &err);
    snap_diff *baseline = NULL;
    snap_ranks *ranks = NULL;
    static const uint64_t rank[] = {0, 0, 1, 1};
    if (result == 0)
        result =
            snap_diff_new(&baseline, (const snap_snapshot *const *)heap.snaps, 2, &options, &err);
    if (result == 0)
        result = snap_diff_set_baseline(d, baseline, 0, &err);
    if (result == 0)
        result = snap_ranks_new(&ranks, (const snap_snapshot *const *)heap.snaps, rank, 4, &options,
                                &err);
    if (result == 0)
        result = snap_report_ranks(ranks, "json", out, NULL, &err);
    if (result == 0)
        result = snap_report_ranks(ranks, "text", out, NULL, &err);
    snap_ranks_free(ranks);
    snap_diff_free(d);
    snap_diff_free(baseline);
    snap_heap *h = NULL;
    snap_holders *holders = NULL;
    snap_holdings *holdings = NULL;
    const snap_holders_query query = {.struct_size = sizeof query, .type = "struct a"};
    if (result == 0)
        result = snap_heap_open(&h, heap.snaps[0], NULL, &err);
    if (result == 0)
        result = snap_holders_new(&holders, h, &query, &err);
    if (result == 0)
        result = snap_holdings_new(&holdings, h, NULL, &err);
    if (result == 0)
        result = snap_report_holders(holders, heap.snaps[0], "json", out, NULL, &err);
    if (result == 0)
        result = snap_report_holdings(holdings, heap.snaps[0], 1, "text", out, NULL, &err);
    snap_holders_free(holders);
    snap_holdings_free(holdings);
    snap_heap_close(h);
    fclose(out);
    return result;
}

START_TEST(no_memory_is_an_answer) {
    make_by_chance(2, 200, 0);
    ck_assert_int_eq(everything(), 0);
    int n_failed = 0, result = SNAP_E_NOMEM;
    for (long n = 0; result != 0; n += 1 + n / 64) {
        ck_assert_int_lt(n, 1000000);
        n_allocations = 0;
        fail_at = n;
        result = everything();
        fail_at = LONG_MAX;
        ck_assert_msg(result == 0 || result == SNAP_E_NOMEM, "allocation %ld: %s %s", n,
                      snap_error_name(result), err.message);
        n_failed += result != 0;
    }
    ck_assert_int_gt(n_failed, 60);
    ck_assert_int_eq(everything(), 0);
    heap_reset();
}
END_TEST

/* A list as long as a heap, and a table as wide: nothing recurses, nothing is quadratic. */
START_TEST(large_heaps_are_fine) {
    const size_t n = n_nodes_large;
    const size_t list = root(SNAP_ROOT_GLOBAL, "g_list", "", 0);
    const uint32_t table = add("struct table", 0, 64);
    root(SNAP_ROOT_GLOBAL, "g_table", "", table);
    uint32_t head = 0, offset = 0;
    for (int round = 0; round < 2; round++) {
        for (size_t i = 0; i < n / 2; i++) {
            const uint32_t node = add("struct item", 1, 100);
            refer(node, head, "next", 8);
            head = node;
            refer(table, add("struct entry", 2, 100), "[*]", offset += 8);
        }
        heap.roots[list].node = head;
        snap();
    }
    snap_diff *const d = compare();
    size_t n_suspects;
    const snap_diff_suspect *const s = suspects(d, &n_suspects);
    ck_assert_uint_eq(n_suspects, 2);
    ck_assert_int_eq(s[0].growth_bytes, (int64_t)(n / 2) * 100);
    ck_assert_int_eq(s[1].growth_bytes, (int64_t)(n / 2) * 100);
    snap_diff_free(d);
    heap_reset();
}
END_TEST

int main(int argc, char **argv) {
    if (argc > 1)
        n_nodes_large = strtoul(argv[1], NULL, 10);
    Suite *const suite = suite_create("suspects");
    TCase *const c = tcase_create("suspects");
    tcase_set_timeout(c, 200);
    tcase_add_loop_test(c, a_list_is_one_suspect, 0, 2);
    tcase_add_test(c, a_list_with_two_ends_is_one_suspect);
    tcase_add_test(c, a_hash_table_is_one_suspect);
    tcase_add_test(c, a_tree_is_one_suspect);
    tcase_add_test(c, what_moved_on_is_the_holders_where_it_stays);
    tcase_add_test(c, what_is_replaced_does_not_grow);
    tcase_add_test(c, what_ended_is_no_suspect);
    tcase_add_test(c, a_growing_buffer_is_a_suspect);
    tcase_add_test(c, lost_blocks_are_told_with_what_they_hold);
    tcase_add_loop_test(c, a_circle_is_told_if_references_are_counted, 0, 2);
    tcase_add_loop_test(c, only_a_way_back_makes_a_circle, 0, 3);
    tcase_add_loop_test(c, what_hangs_on_old_nodes_goes_with_those_beside_them, 0, 2);
    tcase_add_test(c, callbacks_are_told_by_their_arguments);
    tcase_add_test(c, a_stack_alone_is_doubtful);
    tcase_add_test(c, the_script_is_named_before_what_it_calls);
    tcase_add_loop_test(c, what_is_usual_comes_last, 0, 16);
    tcase_add_loop_test(c, modules_are_one_suspect, 0, ONLY_ONE + 1);
    tcase_add_loop_test(c, a_cache_with_a_bound_is_no_suspect, 0, 3);
    tcase_add_test(c, views_are_told_with_what_they_keep);
    tcase_add_test(c, what_ended_is_told_though_it_is_small);
    tcase_add_test(c, what_two_hold_is_no_ones_alone);
    tcase_add_test(c, a_table_of_several_types_is_one_suspect);
    tcase_add_test(c, series_are_measured);
    tcase_add_test(c, series_survive_a_shorter_way);
    tcase_add_test(c, series_of_lost_blocks_are_measured);
    tcase_add_test(c, series_of_circles_are_measured);
    tcase_add_loop_test(c, a_leak_is_seen_beside_what_drains, 0, 2);
    tcase_add_loop_test(c, what_sways_beside_what_drains_is_no_suspect, 0, 2);
    tcase_add_test(c, two_snapshots_are_not_a_trend);
    tcase_add_loop_test(c, suspects_explain_no_more_than_grew, 0, SANITIZED ? 5 : 20);
    tcase_add_test(c, references_over_the_limit_leave_sites);
    tcase_add_test(c, a_caller_can_stop_it);
    tcase_add_test(c, no_memory_is_an_answer);
    tcase_add_test(c, large_heaps_are_fine);
    suite_add_tcase(suite, c);
    SRunner *const runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    srunner_free(runner);
    return 0;
}
