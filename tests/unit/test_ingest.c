/* The receiver of the capture stream: what rows come of which records, names from this very
 * program's symbols, and that broken streams leave no file. */
#include "support/wire_stream.h"

#include <check.h>
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static char folder[] = "/tmp/heapsnap-ingest-XXXXXX";
static char path[64];

/* Subjects of names and callbacks. */
struct listener {
    void (*function)(void *);
    void *argument;
};
static void on_start(void *p) {
    (void)p;
}
static void on_event(void *p) {
    (void)p;
}
struct listener test_listener = {on_start, NULL};
struct listener test_large_table[200];
struct listener test_struct;
static struct listener test_static;
void (*volatile test_pointer)(void *) = on_start;
_Thread_local void *test_local[4];

/* As libstdc++'s std::function<void()> with a lambda of main calls them. */
void test_manager(void) __asm__("_ZNSt17_Function_handlerIFvvEZ4mainEUlvE_E10_M_managerERSt9_Any_"
                                "dataRKS3_St18_Manager_operation");
void test_invoker(void) __asm__(
    "_ZNSt17_Function_handlerIFvvEZ4mainEUlvE_E9_M_invokeERKSt9_Any_data");
void test_manager(void) {
    on_start(NULL);
}
void test_invoker(void) {
    on_event(NULL);
}

/* --- reading files --- */

struct table {
    uint64_t *rows; /* n * SNAP_COLUMNS_MAX */
    size_t n;
};

static struct table read_table(const snap_snapshot *s, snap_table id) {
    struct table t = {.rows = calloc(snap_rows(s, id) + 1, SNAP_COLUMNS_MAX * sizeof *t.rows)};
    snap_batch b;
    snap_batch_init(&b);
    uint32_t wanted = 0;
    for (unsigned c = 1; c < SNAP_COLUMNS_MAX; c++)
        if (snap_table_column(id, c).type == SNAP_COLUMN_NUMBER ||
            snap_table_column(id, c).type == SNAP_COLUMN_REF)
            wanted |= 1u << c;
    for (uint32_t i = 0; i < snap_n_chunks(s, id); i++) {
        ck_assert_int_eq(snap_batch_read(s, id, i, wanted, &b, NULL), 0);
        for (uint32_t r = 0; r < b.n_rows; r++, t.n++)
            for (unsigned c = 1; c < SNAP_COLUMNS_MAX; c++)
                if (wanted >> c & 1)
                    t.rows[t.n * SNAP_COLUMNS_MAX + c] = b.column[c][r];
    }
    snap_batch_release(&b);
    return t;
}

static const uint64_t *row_of(const struct table *t, size_t i) {
    ck_assert_uint_lt(i, t->n);
    return t->rows + i * SNAP_COLUMNS_MAX;
}

static const char *text_of(const snap_snapshot *s, uint64_t string) {
    const char *text = NULL;
    ck_assert_int_eq(snap_string(s, string, &text, NULL), 0);
    return text;
}

static const char *type_of(const snap_snapshot *s, uint64_t node) {
    struct table nodes = read_table(s, SNAP_TABLE_NODE), types = read_table(s, SNAP_TABLE_TYPE);
    const uint64_t type = row_of(&nodes, node - 1)[SNAP_NODE_COL_TYPE];
    const char *const text = type ? text_of(s, row_of(&types, type - 1)[SNAP_TYPE_COL_NAME]) : "";
    free(nodes.rows);
    free(types.rows);
    return text;
}

static snap_snapshot *receive(struct wire_stream *w, const struct ingest_options *options) {
    char *out = NULL;
    snap_error err = {0};
    const int result = wire_ingest(w->bytes.data, w->bytes.size, options, &out, &err);
    ck_assert_msg(result == 0, "%d: %s", result, err.message);
    snap_snapshot *s = NULL;
    ck_assert_int_eq(snap_open(&s, out, NULL, &err), 0);
    ck_assert_msg(snap_verify(s, NULL, NULL, &err) == 0, "%s", err.message);
    free(out);
    wire_release(w);
    return s;
}

static struct bytes read_file(const char *name) {
    struct bytes b = {0};
    FILE *const f = fopen(name, "rb");
    ck_assert_ptr_nonnull(f);
    char part[65536];
    for (size_t n; (n = fread(part, 1, sizeof part, f)) > 0;)
        ck_assert_int_eq(bytes_sink(&b, part, n), 0);
    fclose(f);
    return b;
}

static unsigned count_files(void) {
    DIR *const d = opendir(folder);
    unsigned n = 0;
    for (const struct dirent *e; (e = readdir(d));)
        n += strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0;
    closedir(d);
    return n;
}

static void start(struct wire_stream *w) {
    *w = (struct wire_stream){0};
    wire_begin(w, 0, path, WIRE_OVERWRITE);
    wire_process(w);
}

/* n blocks of one size without a stack, the first at 0x100000. */
static void blocks(struct wire_stream *w, unsigned n, uint64_t size) {
    wire_open(w, WIRE_BLOCK);
    for (unsigned i = 0; i < n; i++)
        wire_block(w, 0x100000 + (uint64_t)i * 0x100, size, 0, SNAP_NODE_BLOCK << 24);
    wire_close(w);
}

/* --- rows --- */

START_TEST(test_every_section) {
    struct wire_stream w;
    start(&w);
    wire_example(&w);
    snap_snapshot *const s = receive(&w, NULL);
    struct table t = read_table(s, SNAP_TABLE_NODE);
    ck_assert_uint_eq(t.n, 10);
    ck_assert_uint_eq(row_of(&t, 8)[SNAP_NODE_COL_DOMAIN], SNAP_DOMAIN_PYTHON);
    ck_assert_uint_eq(row_of(&t, 8)[SNAP_NODE_COL_REFCOUNT], 2);
    ck_assert_str_eq(text_of(s, row_of(&t, 8)[SNAP_NODE_COL_LABEL]), "sessions");
    static const uint64_t object[][2] = {{SNAP_NODE_COL_DOMAIN, SNAP_DOMAIN_PYTHON},
                                         {SNAP_NODE_COL_KIND, SNAP_NODE_PLAIN_OBJECT},
                                         {SNAP_NODE_COL_FLAGS, SNAP_NODE_FLAG_UNTRACKED},
                                         {SNAP_NODE_COL_ADDRESS, 0x500040},
                                         {SNAP_NODE_COL_SIZE, 56},
                                         {SNAP_NODE_COL_EXTERNAL, 100},
                                         {SNAP_NODE_COL_REFCOUNT, 3},
                                         {SNAP_NODE_COL_HIDDEN, 1},
                                         {SNAP_NODE_COL_LABEL, 0}};
    for (size_t i = 0; i < sizeof object / sizeof *object; i++)
        ck_assert_uint_eq(row_of(&t, 9)[object[i][0]], object[i][1]);
    ck_assert_str_eq(type_of(s, 10), "struct session");
    ck_assert_str_eq(type_of(s, 3), "struct session");
    ck_assert_str_eq(text_of(s, row_of(&t, 2)[SNAP_NODE_COL_LABEL]), "sessions");
    ck_assert_uint_eq(row_of(&t, 1)[SNAP_NODE_COL_LABEL], 0);
    ck_assert_str_eq(type_of(s, 1), "Base");
    free(t.rows);

    static const uint64_t edges[9][5] = {/* source, target, source and target offset, flags */
                                         {1, 2, 8, 0, 0},
                                         {1, 3, 16, 8, SNAP_EDGE_FLAG_INTERIOR},
                                         {2, 5, 16, 0, 0},
                                         {4, 4, 0, 0, 0},
                                         {7, 1, 56, UINT32_MAX, SNAP_EDGE_FLAG_INTERIOR},
                                         {9, 8, 0, 0, 0},
                                         {9, 10, 7, 0, 0},
                                         {10, 9, 1, 0, 0},
                                         {10, 3, WIRE_WAYS - 1, 0, 0}};
    t = read_table(s, SNAP_TABLE_EDGE);
    ck_assert_uint_eq(t.n, 9);
    for (size_t i = 0; i < 9; i++) {
        ck_assert_uint_eq(row_of(&t, i)[SNAP_EDGE_COL_SOURCE], edges[i][0]);
        ck_assert_uint_eq(row_of(&t, i)[SNAP_EDGE_COL_TARGET], edges[i][1]);
        ck_assert_uint_eq(row_of(&t, i)[SNAP_EDGE_COL_SOURCE_OFFSET], edges[i][2]);
        ck_assert_uint_eq(row_of(&t, i)[SNAP_EDGE_COL_TARGET_OFFSET], edges[i][3]);
        ck_assert_uint_eq(row_of(&t, i)[SNAP_EDGE_COL_FLAGS], edges[i][4]);
    }
    ck_assert_uint_eq(row_of(&t, 5)[SNAP_EDGE_COL_KIND], SNAP_EDGE_ATTRIBUTE);
    ck_assert_str_eq(text_of(s, row_of(&t, 5)[SNAP_EDGE_COL_LABEL]), "sessions");
    ck_assert_uint_eq(row_of(&t, 6)[SNAP_EDGE_COL_KIND], SNAP_EDGE_INDEX);
    ck_assert_uint_eq(row_of(&t, 6)[SNAP_EDGE_COL_LABEL], 0);
    ck_assert_uint_eq(row_of(&t, 7)[SNAP_EDGE_COL_KIND], SNAP_EDGE_CELL);
    ck_assert_str_eq(text_of(s, row_of(&t, 7)[SNAP_EDGE_COL_LABEL]), "struct session");
    free(t.rows);

    t = read_table(s, SNAP_TABLE_ROOT);
    ck_assert_uint_eq(t.n, 4);
    ck_assert_uint_eq(row_of(&t, 0)[SNAP_ROOT_COL_KIND], SNAP_ROOT_STACK);
    ck_assert_uint_ne(row_of(&t, 0)[SNAP_ROOT_COL_FRAME], 0);
    ck_assert_str_eq(text_of(s, row_of(&t, 1)[SNAP_ROOT_COL_LABEL]), "rbx");
    ck_assert_str_eq(text_of(s, row_of(&t, 2)[SNAP_ROOT_COL_NAME]), "pool");
    ck_assert_str_eq(text_of(s, row_of(&t, 3)[SNAP_ROOT_COL_NAME]), "sessions");
    free(t.rows);

    /* The one that was sent, its root in the order of the file, and those found among the words. */
    t = read_table(s, SNAP_TABLE_HOOK);
    ck_assert_uint_eq(t.n, 3);
    ck_assert_uint_eq(row_of(&t, 0)[SNAP_HOOK_COL_KIND], SNAP_HOOK_API);
    ck_assert_uint_eq(row_of(&t, 0)[SNAP_HOOK_COL_ROOT], 4);
    ck_assert_str_eq(text_of(s, row_of(&t, 0)[SNAP_HOOK_COL_CALLBACK]), "0x4000");
    ck_assert_uint_eq(row_of(&t, 1)[SNAP_HOOK_COL_HOLDER], 2);
    ck_assert_uint_eq(row_of(&t, 1)[SNAP_HOOK_COL_ARGUMENT], 5);
    free(t.rows);
    uint64_t value;
    ck_assert_int_eq(snap_meta_number(s, SNAP_META_COMPLETENESS, "parts", &value), 1);
    ck_assert_uint_eq(value, 3);
    ck_assert_uint_eq(snap_rows(s, SNAP_TABLE_POOL), 1);
    ck_assert_uint_eq(snap_rows(s, SNAP_TABLE_RSRC), 1);
    snap_close(s);
}
END_TEST

/* Nodes of the host behind the blocks, but with lower addresses, and domains in turns. */
START_TEST(test_nodes_in_any_order) {
    struct wire_stream w;
    start(&w);
    blocks(&w, 3, 64);
    const struct wire_node nodes[] = {
        {.address = 0x900, .size = 8, .domain = SNAP_DOMAIN_DEVICE, .kind = SNAP_NODE_REGION},
        {.address = 0x800, .size = 8, .domain = SNAP_DOMAIN_HOST, .kind = SNAP_NODE_API_BLOCK},
        {.address = 0x700, .size = 8, .domain = SNAP_DOMAIN_PYTHON, .kind = SNAP_NODE_OBJECT}};
    wire_section(&w, WIRE_NODE, nodes, 3, sizeof *nodes);
    const struct wire_edge edges[] = {{1, 5, 0, 0}, {1, 2, 1, 0}, {3, 4, 0, 0}, {5, 6, 0, 0}};
    wire_section(&w, WIRE_EDGE, edges, 4, sizeof *edges);
    const struct wire_reference references[] = {{.source = 3, .target = 5, .kind = SNAP_EDGE_API},
                                                {.source = 6, .target = 1, .kind = SNAP_EDGE_API}};
    wire_section(&w, WIRE_REFERENCE, references, 2, sizeof *references);
    const struct wire_root root = {.target = 5, .kind = SNAP_ROOT_API};
    wire_section(&w, WIRE_ROOT, &root, 1, sizeof root);
    wire_end(&w);
    snap_snapshot *const s = receive(&w, NULL);
    static const uint64_t addresses[] = {0x800, 0x100000, 0x100100, 0x100200, 0x700, 0x900};
    struct table t = read_table(s, SNAP_TABLE_NODE);
    for (size_t i = 0; i < 6; i++)
        ck_assert_uint_eq(row_of(&t, i)[SNAP_NODE_COL_ADDRESS], addresses[i]);
    free(t.rows);
    static const uint64_t expected[6][2] = {{1, 5}, {2, 1}, {2, 3}, {4, 6}, {4, 1}, {5, 2}};
    t = read_table(s, SNAP_TABLE_EDGE);
    ck_assert_uint_eq(t.n, 6);
    for (size_t i = 0; i < 6; i++) {
        ck_assert_uint_eq(row_of(&t, i)[SNAP_EDGE_COL_SOURCE], expected[i][0]);
        ck_assert_uint_eq(row_of(&t, i)[SNAP_EDGE_COL_TARGET], expected[i][1]);
    }
    free(t.rows);
    t = read_table(s, SNAP_TABLE_ROOT);
    ck_assert_uint_eq(row_of(&t, 0)[SNAP_ROOT_COL_TARGET], 1);
    free(t.rows);
    snap_close(s);
}
END_TEST

/* As it is without the ids of what it refers to: these may differ. */
static void print_row(FILE *out, const snap_snapshot *s, const struct table *types,
                      snap_table table, const uint64_t *row) {
    for (unsigned c = 1; c < SNAP_COLUMNS_MAX; c++) {
        const snap_column_info info = snap_table_column(table, c);
        if (info.type == SNAP_COLUMN_REF && info.target == SNAP_TABLE_STRS)
            fprintf(out, " %s", row[c] ? text_of(s, row[c]) : "-");
        else if (info.type == SNAP_COLUMN_REF && info.target == SNAP_TABLE_TYPE)
            fprintf(out, " %s",
                    row[c] ? text_of(s, row_of(types, row[c] - 1)[SNAP_TYPE_COL_NAME]) : "-");
        else if (info.type == SNAP_COLUMN_REF || info.type == SNAP_COLUMN_NUMBER)
            fprintf(out, " %llu", (unsigned long long)row[c]);
    }
    fputc('\n', out);
}

static char *print_all(const snap_snapshot *s) {
    char *text = NULL;
    size_t size;
    FILE *const out = open_memstream(&text, &size);
    ck_assert_ptr_nonnull(out);
    struct table types = read_table(s, SNAP_TABLE_TYPE);
    for (int id = SNAP_TABLE_META; id < SNAP_TABLE_TOCC; id++) {
        if (id == SNAP_TABLE_STRS)
            continue;
        struct table t = read_table(s, (snap_table)id);
        fprintf(out, "%d\n", id);
        for (size_t i = 0; i < t.n; i++)
            print_row(out, s, &types, (snap_table)id, row_of(&t, i));
        free(t.rows);
    }
    free(types.rows);
    ck_assert_int_eq(fclose(out), 0);
    return text;
}

/* What is written as it comes is what is kept and written at the end. */
START_TEST(test_final) {
    char *text[2];
    for (int i = 0; i < 2; i++) {
        struct wire_stream w;
        start(&w);
        wire_final_example(&w, i);
        snap_snapshot *const s = receive(&w, NULL);
        ck_assert_uint_eq(snap_rows(s, SNAP_TABLE_NODE), 5002);
        ck_assert_uint_eq(snap_rows(s, SNAP_TABLE_EDGE), WIRE_FINAL_LINKS);
        ck_assert_uint_eq(snap_rows(s, SNAP_TABLE_TYPE), 2);
        text[i] = print_all(s);
        snap_close(s);
    }
    ck_assert_str_eq(text[0], text[1]);
    free(text[0]);
    free(text[1]);
}
END_TEST

/* The stack of a process group is that of its object, or of the block that the object stands for.
 */
START_TEST(test_stacks_of_process_groups) {
    struct wire_stream w;
    start(&w);
    wire_open(&w, WIRE_BLOCK);
    wire_block(&w, 0x100000, 64, 0, SNAP_NODE_BLOCK << 24);
    wire_block(&w, 0x100100, 64, 2, SNAP_NODE_BLOCK << 24);
    wire_block(&w, 0x100200, 64, 3, SNAP_NODE_BLOCK << 24);
    wire_close(&w);
    const struct wire_node nodes[] = {
        {.address = 0x700, .size = 64, .domain = SNAP_DOMAIN_PYTHON, .kind = SNAP_NODE_OBJECT},
        {.address = 0x800, .size = 64, .domain = SNAP_DOMAIN_PYTHON, .kind = SNAP_NODE_OBJECT},
        {.address = 0x900,
         .size = 64,
         .stack = 1,
         .domain = SNAP_DOMAIN_PYTHON,
         .kind = SNAP_NODE_OBJECT}};
    wire_section(&w, WIRE_NODE, nodes, 3, sizeof *nodes);
    const struct wire_edge edges[] = {
        {4, 1, 2, 0}, {4, 2, 3, 0}, {4, 3, 4, 0}, {5, 1, 2, 0}, {6, 3, 2, 0}};
    wire_section(&w, WIRE_EDGE, edges, 5, sizeof *edges);
    const struct wire_resource resources[] = {
        {.kind = SNAP_RSRC_PROCESS_GROUP, .handle = 0x700},
        {.kind = SNAP_RSRC_PROCESS_GROUP, .handle = 0x800},
        {.kind = SNAP_RSRC_PROCESS_GROUP, .handle = 0x900},
        {.kind = SNAP_RSRC_PROCESS_GROUP, .handle = 0x708}, /* no object's */
        {.kind = SNAP_RSRC_PROCESS_GROUP, .handle = 5},
        {.kind = SNAP_RSRC_STREAM, .handle = 0x700}};
    wire_section(&w, WIRE_RESOURCE, resources, 6, sizeof *resources);
    wire_end(&w);
    snap_snapshot *const s = receive(&w, NULL);
    static const uint64_t stacks[] = {2, 0, 1, 0, 0, 0};
    struct table t = read_table(s, SNAP_TABLE_RSRC);
    ck_assert_uint_eq(t.n, 6);
    for (size_t i = 0; i < 6; i++)
        ck_assert_uint_eq(row_of(&t, i)[SNAP_RSRC_COL_STACK], stacks[i]);
    free(t.rows);
    snap_close(s);
}
END_TEST

/* A heap of some size, with all that may spill. */
static void large(struct wire_stream *w, uint32_t hello_flags) {
    *w = (struct wire_stream){0};
    wire_begin(w, hello_flags, path, WIRE_OVERWRITE);
    wire_process(w);
    blocks(w, 200000, 64);
    wire_open(w, WIRE_EDGE);
    for (uint32_t i = 1; i <= 200000; i++)
        for (uint32_t k = 0; k < 3; k++) {
            const struct wire_edge e = {i, 1 + (i * 7919 + k * 104729) % 200000, 2 * k, k * 8};
            wire_put(w, &e, sizeof e);
        }
    wire_close(w);
    wire_end(w);
}

START_TEST(test_spilling_changes_nothing) {
    static const struct ingest_options options[3] = {
        {.no_symbols = 1}, {.no_symbols = 1, .memory_bytes = 1 << 20}, {.no_symbols = 1}};
    struct bytes first = {0};
    for (int i = 0; i < 2; i++) {
        struct wire_stream w;
        large(&w, 0);
        snap_close(receive(&w, &options[i]));
        struct bytes b = read_file(path);
        if (i == 0)
            first = b;
        else {
            ck_assert_uint_eq(b.size, first.size);
            ck_assert_int_eq(memcmp(b.data, first.data, b.size), 0);
            bytes_release(&b);
        }
        ck_assert_uint_eq(count_files(), 1);
    }
    bytes_release(&first);
    struct wire_stream w;
    large(&w, WIRE_SPOOL);
    snap_snapshot *const s = receive(&w, &options[2]);
    uint64_t pause_ns;
    ck_assert_int_eq(snap_meta_number(s, SNAP_META_PAUSE_NS, NULL, &pause_ns), 1);
    ck_assert_uint_eq(pause_ns, 7);
    ck_assert_uint_eq(snap_rows(s, SNAP_TABLE_EDGE), 600000);
    snap_close(s);
}
END_TEST

/* --- types by virtual tables --- */

enum { SI = 0x1000, CLASS = 0x1100, VMI = 0x1200, POINTER = 0x1300 };

static void abi_tables(struct wire_stream *w) {
    wire_vtable(w, SI, 0x2000, SI, 0, "N10__cxxabiv120__si_class_type_infoE");
    wire_vtable(w, CLASS, 0x2100, SI, 0, "N10__cxxabiv117__class_type_infoE");
    wire_vtable(w, VMI, 0x2200, SI, 0, "N10__cxxabiv121__vmi_class_type_infoE");
    wire_vtable(w, POINTER, 0x2300, SI, 0, "N10__cxxabiv119__pointer_type_infoE");
}

START_TEST(test_types_by_vtables) {
    static const struct {
        const char *name, *type;
        uint64_t kind;
        int64_t offset_to_top;
    } tables[] = {
        {"4Base", "Base", CLASS, 0},
        {"N3app7DerivedE", "app::Derived", VMI, 0},
        {"*N12_GLOBAL__N_16HiddenE", "(anonymous namespace)::Hidden", SI, 0},
        {"St23_Sp_counted_ptr_inplaceIN3app7SessionESaIvELN9__gnu_cxx12_Lock_policyE2EE",
         "std::make_shared<app::Session>", SI, 0},
        {"St15_Sp_counted_ptrIPN3app7SessionELN9__gnu_cxx12_Lock_policyE2EE",
         "std::shared_ptr<app::Session> control block", SI, 0},
        {"4Base", "", CLASS, -16},  /* of a base: not where an object starts */
        {"P4Base", "", POINTER, 0}, /* not of a class */
        {"4Fake", "", 0x9999, 0},   /* its type_info is unknown */
        {"", "", CLASS, 0},
    };
    enum { N = sizeof tables / sizeof *tables };
    struct wire_stream w;
    start(&w);
    blocks(&w, N + 2, 64);
    wire_open(&w, WIRE_VTABLE);
    abi_tables(&w);
    for (size_t i = 0; i < N; i++)
        wire_vtable(&w, 0x3000 + i * 0x100, 0x5000 + i * 0x100, tables[i].kind,
                    tables[i].offset_to_top, tables[i].name);
    wire_close(&w);
    wire_open(&w, WIRE_VPTR);
    for (uint32_t i = 0; i < N; i++) {
        const struct wire_vptr p = {.node = i + 1, .offset = 0, .vtable = i + 5};
        wire_put(&w, &p, sizeof p);
    }
    const struct wire_vptr more[] = {
        {.node = N + 1, .offset = 0, .vtable = 5},
        {.node = N + 1, .offset = 16, .vtable = 5},
        {.node = N + 2, .offset = 8, .vtable = 5}}; /* a cookie or a member: nobody knows */
    for (size_t i = 0; i < 3; i++)
        wire_put(&w, &more[i], sizeof more[i]);
    wire_close(&w);
    wire_end(&w);
    snap_snapshot *const s = receive(&w, NULL);
    for (size_t i = 0; i < N; i++)
        ck_assert_str_eq(type_of(s, i + 1), tables[i].type);
    ck_assert_str_eq(type_of(s, N + 1), "Base[]");
    ck_assert_str_eq(type_of(s, N + 2), "");
    snap_close(s);
}
END_TEST

/* A table of records in a circle, and one that claims to be the ABI's without being an object of
 * it. */
START_TEST(test_false_abi) {
    struct wire_stream w;
    start(&w);
    blocks(&w, 2, 64);
    wire_open(&w, WIRE_VTABLE);
    wire_vtable(&w, 0x10, 0x20, 0x30, 0, "4Base");
    wire_vtable(&w, 0x30, 0x40, 0x10, 0, "N10__cxxabiv117__class_type_infoE");
    wire_vtable(&w, 0x50, 0x60, 0x50, 0, "3Own");
    wire_close(&w);
    const struct wire_vptr p[] = {{1, 0, 1, 0}, {2, 0, 3, 0}};
    wire_section(&w, WIRE_VPTR, p, 2, sizeof *p);
    wire_end(&w);
    snap_snapshot *const s = receive(&w, NULL);
    ck_assert_str_eq(type_of(s, 1), "");
    ck_assert_str_eq(type_of(s, 2), "");
    snap_close(s);
}
END_TEST

/* --- PyTorch --- */

enum {
    ADD = 1,
    ADD_EDGES,
    MUL,
    SAVED,
    STORAGE,
    NUMBERS,
    META,
    LEFTOVER,
    TENSOR,
    ADD_BEFORE,
    N_TORCH_BLOCKS = ADD_BEFORE,
    OBJECT,
    MUL_CLASS,
    MUL_DICT,
    GETTER,
    FUNCTIONS
};

static void torch_blocks(struct wire_stream *w) {
    static const char *const classes[] = {
        "N5torch8autograd9generated12AddBackward0E", "N5torch8autograd9generated12MulBackward0E",
        "N3c1010TensorImplE", "N3c1011StorageImplE", "N5torch8autograd12AutogradMetaE"};
    blocks(w, N_TORCH_BLOCKS, 0xf0);
    static const char *const strings[] = {"torch.Tensor",     "type",     "dict",
                                          "_raw_saved_other", "__dict__", "MulBackward0"};
    for (size_t i = 0; i < sizeof strings / sizeof *strings; i++)
        wire_string(w, strings[i]);
    const struct wire_type types[] = {{.name = 1, .source = SNAP_TYPE_RUNTIME, .size = 48},
                                      {.name = 2, .source = SNAP_TYPE_RUNTIME, .size = 48},
                                      {.name = 3, .source = SNAP_TYPE_RUNTIME, .size = 48}};
    wire_section(w, WIRE_TYPE, types, 3, sizeof *types);
    for (uint32_t i = OBJECT; i <= FUNCTIONS; i++) {
        const struct wire_node node = {.address = 0x500000 + i * 0x100,
                                       .size = 48,
                                       .type = i == OBJECT      ? 1
                                               : i == MUL_CLASS ? 2
                                                                : 3,
                                       .domain = SNAP_DOMAIN_PYTHON,
                                       .kind = SNAP_NODE_OBJECT};
        wire_section(w, WIRE_NODE, &node, 1, sizeof node);
    }
    wire_open(w, WIRE_VTABLE);
    abi_tables(w);
    for (size_t i = 0; i < sizeof classes / sizeof *classes; i++)
        wire_vtable(w, 0x3000 + i * 0x100, 0x5000 + i * 0x100, SI, 0, classes[i]);
    wire_close(w);
    const struct wire_vptr vptrs[] = {{ADD, 0, 5, 0},       {MUL, 0, 6, 0},  {SAVED, 0, 7, 0},
                                      {STORAGE, 0, 8, 0},   {META, 0, 9, 0}, {TENSOR, 0, 7, 0},
                                      {ADD_BEFORE, 0, 5, 0}};
    wire_section(w, WIRE_VPTR, vptrs, 7, sizeof *vptrs);
    const struct wire_function function = {0x4000};
    wire_section(w, WIRE_FUNCTION, &function, 1, sizeof function);
    const struct wire_code code = {24, STORAGE, 1}; /* what frees the numbers */
    wire_section(w, WIRE_CODE, &code, 1, sizeof code);
}

/* Two nodes of a graph, what one of them saves, and the tensor whose grad_fn the other one is; with
 * words in between that only look like references. */
START_TEST(test_autograd) {
    struct wire_stream w;
    start(&w);
    torch_blocks(&w);
    const struct wire_edge edges[] = {{ADD, ADD_EDGES, 11, 0},
                                      {ADD, ADD_EDGES, 12, 32}, /* end: two edges are in use */
                                      {ADD_EDGES, ADD_BEFORE, 0, 0},
                                      {ADD_EDGES, MUL, 2, 0},
                                      {ADD_EDGES, STORAGE, 4, 0}, /* from an earlier life */
                                      {MUL, SAVED, 20, 0},
                                      {SAVED, STORAGE, 2, 0},
                                      {STORAGE, NUMBERS, 2, 0},
                                      {STORAGE, NUMBERS, 4, 0},
                                      {NUMBERS, MUL, 3, 0}, /* a number */
                                      {META, ADD, 6, 0},
                                      {LEFTOVER, STORAGE, 1, 0},
                                      {LEFTOVER, NUMBERS, 2, 0},
                                      {TENSOR, STORAGE, 2, 0},
                                      {TENSOR, META, 3, 0},
                                      {OBJECT, TENSOR, 2, 0},
                                      {OBJECT, LEFTOVER, 4, 16}, /* is aligned to 32 bytes */
                                      {OBJECT, LEFTOVER, 5, 0xa8}};
    wire_section(&w, WIRE_EDGE, edges, sizeof edges / sizeof *edges, sizeof *edges);
    const struct wire_reference references[] = {
        {.source = MUL_CLASS, .target = MUL_DICT, .label = 5, .kind = SNAP_EDGE_ATTRIBUTE},
        {.source = MUL_DICT, .target = GETTER, .label = 4, .kind = SNAP_EDGE_ATTRIBUTE},
        {.source = FUNCTIONS, .target = MUL_CLASS, .label = 6, .kind = SNAP_EDGE_ATTRIBUTE}};
    wire_section(&w, WIRE_REFERENCE, references, 3, sizeof *references);
    const struct wire_root roots[] = {
        {.address = 0x9000008, .target = NUMBERS, .kind = SNAP_ROOT_STACK}, /* does not keep them */
        {.address = 0x9000010, .target = STORAGE, .kind = SNAP_ROOT_STACK},
        {.target = OBJECT, .kind = SNAP_ROOT_MODULE}};
    wire_section(&w, WIRE_ROOT, roots, 3, sizeof *roots);
    wire_end(&w);
    snap_snapshot *const s = receive(&w, NULL);
    struct table found = read_table(s, SNAP_TABLE_ROOT);
    ck_assert_uint_eq(found.n, 2);
    ck_assert_uint_eq(row_of(&found, 0)[SNAP_ROOT_COL_TARGET], STORAGE);
    ck_assert_uint_eq(row_of(&found, 0)[SNAP_ROOT_COL_FLAGS], SNAP_EDGE_FLAG_LOW);
    ck_assert_uint_eq(row_of(&found, 1)[SNAP_ROOT_COL_TARGET], OBJECT);
    free(found.rows);
    ck_assert_str_eq(type_of(s, ADD_EDGES), "torch::autograd::Edge[]");
    ck_assert_str_eq(type_of(s, NUMBERS), "tensor data"); /* they have no site */

    static const struct {
        uint64_t source, target, kind, flags;
        const char *label;
    } expected[] = {
        {ADD, ADD_EDGES, SNAP_EDGE_POINTER, 0, "next_edges"},
        {ADD, ADD_EDGES, SNAP_EDGE_POINTER, SNAP_EDGE_FLAG_INTERIOR, ""},
        {ADD, ADD_BEFORE, SNAP_EDGE_NEXT, 0, "next_functions[0]"},
        {ADD, MUL, SNAP_EDGE_NEXT, 0, "next_functions[1]"},
        {ADD_EDGES, ADD_BEFORE, SNAP_EDGE_POINTER, 0, ""},
        {ADD_EDGES, MUL, SNAP_EDGE_POINTER, 0, ""},
        {MUL, SAVED, SNAP_EDGE_SAVED, 0, "saved 'other'"},
        {SAVED, STORAGE, SNAP_EDGE_STORAGE, 0, "storage"},
        {STORAGE, NUMBERS, SNAP_EDGE_STORAGE, 0, "data"},
        {META, ADD, SNAP_EDGE_ATTRIBUTE, 0, "grad_fn"},
        {LEFTOVER, STORAGE, SNAP_EDGE_POINTER, SNAP_EDGE_FLAG_LOW, ""},
        {LEFTOVER, NUMBERS, SNAP_EDGE_WEAK, SNAP_EDGE_FLAG_LOW, ""},
        {TENSOR, STORAGE, SNAP_EDGE_STORAGE, 0, "storage"},
        {TENSOR, META, SNAP_EDGE_POINTER, 0, "autograd_meta"},
        {TENSOR, ADD, SNAP_EDGE_ATTRIBUTE, 0, "grad_fn"},
        {OBJECT, TENSOR, SNAP_EDGE_STORAGE, 0, "_cdata"},
        {OBJECT, LEFTOVER, SNAP_EDGE_POINTER, SNAP_EDGE_FLAG_INTERIOR, ""},
        {OBJECT, LEFTOVER, SNAP_EDGE_POINTER, SNAP_EDGE_FLAG_INTERIOR | SNAP_EDGE_FLAG_LOW, ""},
        {OBJECT, ADD, SNAP_EDGE_ATTRIBUTE, 0, "grad_fn"},
    };
    struct table rows = read_table(s, SNAP_TABLE_EDGE);
    const size_t n = sizeof expected / sizeof *expected;
    for (size_t i = 0; i < n; i++) {
        const uint64_t *const r = row_of(&rows, i);
        ck_assert_msg(r[SNAP_EDGE_COL_SOURCE] == expected[i].source &&
                          r[SNAP_EDGE_COL_TARGET] == expected[i].target &&
                          r[SNAP_EDGE_COL_KIND] == expected[i].kind &&
                          r[SNAP_EDGE_COL_FLAGS] == expected[i].flags &&
                          strcmp(text_of(s, r[SNAP_EDGE_COL_LABEL]), expected[i].label) == 0,
                      "row %zu: %d -> %d, kind %d, flags %d, '%s'", i, (int)r[SNAP_EDGE_COL_SOURCE],
                      (int)r[SNAP_EDGE_COL_TARGET], (int)r[SNAP_EDGE_COL_KIND],
                      (int)r[SNAP_EDGE_COL_FLAGS], text_of(s, r[SNAP_EDGE_COL_LABEL]));
    }
    ck_assert_uint_eq(rows.n, n + 3);
    ck_assert_uint_eq(snap_rows(s, SNAP_TABLE_HOOK), 0);
    free(rows.rows);
    snap_close(s);
}
END_TEST

/* --- names --- */

START_TEST(test_names_of_roots) {
    struct wire_stream w;
    start(&w);
    blocks(&w, 1, 64);
    const struct wire_frame frames[] = {{0x7001000, (uint64_t)(uintptr_t)on_start, 1, 1},
                                        {0x7002000, (uint64_t)(uintptr_t)on_event + 1, 1, 0}};
    wire_section(&w, WIRE_FRAME, frames, 2, sizeof *frames);
    const struct wire_root roots[] = {
        {.address = (uint64_t)(uintptr_t)&test_struct, .kind = SNAP_ROOT_GLOBAL},
        {.address = (uint64_t)(uintptr_t)&test_struct.argument, .kind = SNAP_ROOT_GLOBAL},
        {.address = (uint64_t)(uintptr_t)&test_static, .kind = SNAP_ROOT_GLOBAL},
        {.address = (uint64_t)(uintptr_t)&test_large_table[150], .kind = SNAP_ROOT_GLOBAL},
        {.address = 0x7001008, .kind = SNAP_ROOT_STACK},
        {.address = 0x7002fff, .kind = SNAP_ROOT_STACK},
        {.address = 0x7000fff, .kind = SNAP_ROOT_STACK}, /* below all frames */
        {.address = 12, .kind = SNAP_ROOT_REGISTER},
        {.address = 0x9000020, .kind = SNAP_ROOT_MAPPING},
        {.address = 0xa000000, .kind = SNAP_ROOT_MAPPING},
    };
    static const char *const names[] = {"test_struct",         "test_struct+0x8", "test_static",
                                        "test_large_table[*]", "on_start",        "on_event",
                                        "thread main",         "on_start",        "pool",
                                        "anonymous mapping"};
    enum { N = sizeof roots / sizeof *roots };
    wire_open(&w, WIRE_ROOT);
    for (size_t i = 0; i < N; i++) {
        struct wire_root r = roots[i];
        r.target = 1;
        r.thread = r.kind == SNAP_ROOT_STACK || r.kind == SNAP_ROOT_REGISTER;
        wire_put(&w, &r, sizeof r);
    }
    wire_close(&w);
    wire_end(&w);
    snap_snapshot *const s = receive(&w, NULL);
    struct table t = read_table(s, SNAP_TABLE_ROOT), modules = read_table(s, SNAP_TABLE_MODS);
    ck_assert_uint_eq(t.n, N);
    const uint64_t bias = row_of(&modules, 0)[SNAP_MODS_COL_BIAS];
    for (size_t i = 0; i < N; i++) {
        size_t k = 0;
        for (; k < N; k++) {
            const uint64_t *const row = row_of(&t, k);
            const uint64_t address =
                row[SNAP_ROOT_COL_ADDRESS] + (row[SNAP_ROOT_COL_MODULE] ? bias : 0);
            if (row[SNAP_ROOT_COL_KIND] == roots[i].kind && address == roots[i].address)
                break;
        }
        const char *const name = text_of(s, row_of(&t, k)[SNAP_ROOT_COL_NAME]);
        ck_assert_msg(strcmp(name, names[i]) == 0, "%zu: '%s', not '%s'", i, name, names[i]);
    }
    free(t.rows);
    free(modules.rows);
    snap_close(s);
}
END_TEST

START_TEST(test_site_types) {
    struct wire_stream w = {0};
    wire_begin(&w, 0, path, WIRE_OVERWRITE);
    wire_process(&w);
    wire_open(&w, WIRE_BLOCK);
    wire_block(&w, 0x100000, 64, 2, 0);
    wire_block(&w, 0x100100, 64, 0, 0);
    wire_close(&w);
    wire_end(&w);
    snap_snapshot *const s = receive(&w, NULL);
    ck_assert_str_eq(type_of(s, 1), ""); /* of code that no image has */
    ck_assert_str_eq(type_of(s, 2), "");
    snap_close(s);
}
END_TEST

/* --- callbacks --- */

/* A stream of codes of the image's words, then of nodes. */
static snap_snapshot *receive_codes(unsigned n_blocks, const struct wire_code *codes, uint32_t n,
                                    const struct wire_edge *edges, uint32_t n_edges,
                                    const struct wire_root *roots, uint32_t n_roots) {
    const struct wire_function functions[] = {{(uint64_t)(uintptr_t)on_start},
                                              {(uint64_t)(uintptr_t)on_event},
                                              {(uint64_t)(uintptr_t)test_manager},
                                              {(uint64_t)(uintptr_t)test_invoker}};
    struct wire_stream w;
    start(&w);
    blocks(&w, n_blocks, 64);
    wire_section(&w, WIRE_FUNCTION, functions, 4, sizeof *functions);
    wire_section(&w, WIRE_CODE, codes, n, sizeof *codes);
    wire_section(&w, WIRE_EDGE, edges, n_edges, sizeof *edges);
    wire_section(&w, WIRE_ROOT, roots, n_roots, sizeof *roots);
    wire_end(&w);
    return receive(&w, NULL);
}

static int compare_codes(const void *a, const void *b) {
    const struct wire_code *const x = a, *const y = b;
    return x->address < y->address ? -1 : 1;
}

START_TEST(test_static_tables_are_no_callbacks) {
    struct wire_code codes[] = {{(uint64_t)(uintptr_t)&test_pointer, 0, 1}, /* as initialised */
                                {(uint64_t)(uintptr_t)&test_listener.function, 0, 2}, /* changed */
                                {(uint64_t)(uintptr_t)&test_struct.function, 0, 2}};
    qsort(codes, 3, sizeof *codes, compare_codes);
    const struct wire_root root = {.address = (uint64_t)(uintptr_t)&test_struct.argument,
                                   .target = 2,
                                   .kind = SNAP_ROOT_GLOBAL};
    snap_snapshot *const s = receive_codes(2, codes, 3, NULL, 0, &root, 1);
    struct table t = read_table(s, SNAP_TABLE_HOOK);
    ck_assert_uint_eq(t.n, 2);
    for (size_t i = 0; i < 2; i++) {
        const uint64_t *const row = row_of(&t, i);
        const char *const registry = text_of(s, row[SNAP_HOOK_COL_REGISTRY]);
        ck_assert_str_eq(text_of(s, row[SNAP_HOOK_COL_CALLBACK]), "on_event");
        ck_assert_uint_eq(row[SNAP_HOOK_COL_HOLDER], 0);
        if (strcmp(registry, "test_struct") == 0) {
            ck_assert_uint_eq(row[SNAP_HOOK_COL_ARGUMENT], 2);
            ck_assert_uint_eq(row[SNAP_HOOK_COL_ROOT], 1);
        } else
            ck_assert_str_eq(registry, "test_listener");
    }
    free(t.rows);
    snap_close(s);
}
END_TEST

START_TEST(test_arguments) {
    /* 1: {function, argument}; 2: {argument, function}; 3: a list of {next, function, argument};
     * 4: the next of it; 5: nothing beside. */
    const struct wire_code codes[] = {{0, 1, 1}, {8, 2, 1}, {8, 3, 2}, {8, 4, 2}, {0, 5, 2}};
    const struct wire_edge edges[] = {{1, 6, 1, 0}, {2, 7, 0, 0}, {3, 4, 0, 0},
                                      {3, 8, 2, 0}, {4, 3, 0, 0}, {5, 5, 1, 0}};
    const struct wire_root root = {.address = (uint64_t)(uintptr_t)&test_struct.argument,
                                   .target = 1,
                                   .kind = SNAP_ROOT_GLOBAL};
    snap_snapshot *const s = receive_codes(8, codes, 5, edges, 6, &root, 1);
    static const uint64_t arguments[] = {6, 7, 8, 0, 0};
    struct table t = read_table(s, SNAP_TABLE_HOOK);
    ck_assert_uint_eq(t.n, 5);
    for (size_t i = 0; i < 5; i++) {
        ck_assert_uint_eq(row_of(&t, i)[SNAP_HOOK_COL_HOLDER], i + 1);
        ck_assert_uint_eq(row_of(&t, i)[SNAP_HOOK_COL_HOLDER_OFFSET], codes[i].address);
        ck_assert_uint_eq(row_of(&t, i)[SNAP_HOOK_COL_ARGUMENT], arguments[i]);
    }
    ck_assert_str_eq(text_of(s, row_of(&t, 0)[SNAP_HOOK_COL_REGISTRY]), "test_struct+0x8");
    free(t.rows);
    snap_close(s);
}
END_TEST

START_TEST(test_std_function) {
    /* 1: captures beside the functions; 2: a plain function in the place of the captures; 3: half
     * of a std::function. */
    const struct wire_code codes[] = {{16, 1, 3}, {24, 1, 4}, {0, 2, 2},
                                      {16, 2, 3}, {24, 2, 4}, {16, 3, 3}};
    const struct wire_edge edge = {1, 4, 0, 0};
    snap_snapshot *const s = receive_codes(4, codes, 6, &edge, 1, NULL, 0);
    struct table t = read_table(s, SNAP_TABLE_HOOK);
    ck_assert_uint_eq(t.n, 3);
    ck_assert_str_eq(text_of(s, row_of(&t, 0)[SNAP_HOOK_COL_CALLBACK]), "main::{lambda()#1}");
    ck_assert_uint_eq(row_of(&t, 0)[SNAP_HOOK_COL_HOLDER_OFFSET], 0);
    ck_assert_uint_eq(row_of(&t, 0)[SNAP_HOOK_COL_ARGUMENT], 4);
    ck_assert_str_eq(text_of(s, row_of(&t, 1)[SNAP_HOOK_COL_CALLBACK]), "on_event");
    ck_assert_uint_eq(row_of(&t, 1)[SNAP_HOOK_COL_ARGUMENT], 0);
    ck_assert_uint_eq(row_of(&t, 2)[SNAP_HOOK_COL_HOLDER], 3);
    free(t.rows);
    snap_close(s);
}
END_TEST

/* So many equal callbacks that one row counts the rest. */
START_TEST(test_many_callbacks) {
    enum { N = 70000 };
    struct wire_code *const codes = calloc(N, sizeof *codes);
    for (uint32_t i = 0; i < N; i++)
        codes[i] = (struct wire_code){0, i + 1, 1};
    snap_snapshot *const s = receive_codes(N, codes, N, NULL, 0, NULL, 0);
    struct table t = read_table(s, SNAP_TABLE_HOOK);
    uint64_t n = 0;
    for (size_t i = 0; i < t.n; i++) {
        const uint64_t count = row_of(&t, i)[SNAP_HOOK_COL_COUNT];
        n += count ? count : 1;
    }
    ck_assert_uint_eq(n, N);
    ck_assert_uint_lt(t.n, N);
    free(t.rows);
    free(codes);
    snap_close(s);
}
END_TEST

/* --- broken streams --- */

static void expect_broken(const struct wire_stream *w, const char *what) {
    static const struct ingest_options options = {.no_symbols = 1};
    char *out = NULL;
    snap_error err = {0};
    const int result = wire_ingest(w->bytes.data, w->bytes.size, &options, &out, &err);
    ck_assert_msg(result == SNAP_E_CORRUPT, "%s: %d %s", what, result, err.message);
    ck_assert_ptr_null(out);
    ck_assert_msg(count_files() == 0, "%s left a file", what);
}

START_TEST(test_streams_that_end_early) {
    struct wire_stream w;
    start(&w);
    wire_example(&w);
    unlink(path);
    const size_t size = w.bytes.size;
    for (size_t n = 0; n < size; n++) {
        w.bytes.size = n;
        expect_broken(&w, "a short stream");
    }
    w.bytes.size = size;
    wire_release(&w);
    start(&w);
    wire_final_example(&w, 1);
    for (size_t n = w.bytes.size; n > 997;) { /* rows are written before it ends */
        n -= 997;
        w.bytes.size = n;
        expect_broken(&w, "a short stream of objects");
    }
    wire_release(&w);
}
END_TEST

/* One number of one record made wrong. */
#define WRONG(kind, record, field, value)                                                          \
    {                                                                                              \
        kind, #record "." #field, offsetof(struct record, field),                                  \
            sizeof(((struct record *)0)->field), value                                             \
    }

static const struct {
    uint32_t kind;
    const char *what;
    size_t offset, size;
    uint64_t value;
} wrongs[] = {
    WRONG(WIRE_HELLO, wire_hello, magic, 1),
    WRONG(WIRE_HELLO, wire_hello, version, 1),
    WRONG(WIRE_TARGET, wire_target, path_len, 0),
    WRONG(WIRE_TARGET, wire_target, path_len, 70000),
    WRONG(WIRE_META, wire_meta, name_len, UINT32_MAX),
    WRONG(WIRE_META, wire_meta, text_len, UINT32_MAX),
    WRONG(WIRE_MODULE, wire_module, path_len, UINT32_MAX),
    WRONG(WIRE_MODULE, wire_module, build_id_len, 65),
    WRONG(WIRE_MODULE, wire_module, end, 0),
    WRONG(WIRE_STACK, wire_stack, parent, 1),
    WRONG(WIRE_THREAD, wire_thread, stack, 4),
    WRONG(WIRE_REGION, wire_region, stack, 4),
    WRONG(WIRE_REGION, wire_region, name_len, 100),
    WRONG(WIRE_BLOCK, wire_block, stack, 4),
    WRONG(WIRE_BLOCK, wire_block, address, 0x100100),
    WRONG(WIRE_BLOCK, wire_block, size, 63),
    WRONG(WIRE_STRING, wire_string, length, 100),
    WRONG(WIRE_MANAGED_FRAME, wire_managed_frame, function, 3),
    WRONG(WIRE_MANAGED_FRAME, wire_managed_frame, file, 3),
    WRONG(WIRE_MANAGED_FRAME, wire_managed_frame, kind, SNAP_FRAM_NATIVE),
    WRONG(WIRE_TYPE, wire_type, name, 0),
    WRONG(WIRE_TYPE, wire_type, name, 3),
    WRONG(WIRE_TYPE, wire_type, module, 2),
    WRONG(WIRE_POOL, wire_pool, name, 3),
    WRONG(WIRE_POOL, wire_pool, parent, 1),
    WRONG(WIRE_POOL, wire_pool, stack, 4),
    WRONG(WIRE_POOL, wire_pool, module, 2),
    WRONG(WIRE_NODE, wire_node, type, 2),
    WRONG(WIRE_NODE, wire_node, stack, 4),
    WRONG(WIRE_NODE, wire_node, thread, 3),
    WRONG(WIRE_NODE, wire_node, pool, 2),
    WRONG(WIRE_NODE, wire_node, label, 3),
    WRONG(WIRE_NODE, wire_node, domain, 0),
    WRONG(WIRE_NODE, wire_node, domain, 256),
    WRONG(WIRE_NODE, wire_node, kind, 256),
    WRONG(WIRE_NODE_TYPE, wire_node_type, node, 0),
    WRONG(WIRE_NODE_TYPE, wire_node_type, node, 11),
    WRONG(WIRE_NODE_TYPE, wire_node_type, type, 2),
    WRONG(WIRE_NODE_POOL, wire_node_pool, node, 0),
    WRONG(WIRE_NODE_POOL, wire_node_pool, node, 11),
    WRONG(WIRE_NODE_POOL, wire_node_pool, pool, 2),
    WRONG(WIRE_NODE_LABEL, wire_node_label, node, 0),
    WRONG(WIRE_NODE_LABEL, wire_node_label, node, 9),
    WRONG(WIRE_NODE_LABEL, wire_node_label, label, 3),
    WRONG(WIRE_FRAME, wire_frame, thread, 3),
    WRONG(WIRE_FRAME, wire_frame, sp, 0x8000000),
    WRONG(WIRE_TLS, wire_tls, thread, 0),
    WRONG(WIRE_TLS, wire_tls, thread, 3),
    WRONG(WIRE_TLS, wire_tls, module, 2),
    WRONG(WIRE_VTABLE, wire_vtable, name_len, 1000),
    WRONG(WIRE_VPTR, wire_vptr, node, 0),
    WRONG(WIRE_VPTR, wire_vptr, node, 11),
    WRONG(WIRE_VPTR, wire_vptr, offset, 57),
    WRONG(WIRE_VPTR, wire_vptr, vtable, 4),
    WRONG(WIRE_CODE, wire_code, node, 5),
    WRONG(WIRE_CODE, wire_code, address, 57),
    WRONG(WIRE_CODE, wire_code, function, 0),
    WRONG(WIRE_CODE, wire_code, function, 2),
    WRONG(WIRE_EDGE, wire_edge, source, 0),
    WRONG(WIRE_EDGE, wire_edge, source, 2),
    WRONG(WIRE_EDGE, wire_edge, target, 0),
    WRONG(WIRE_EDGE, wire_edge, target, 11),
    WRONG(WIRE_EDGE, wire_edge, source_word, 2),
    WRONG(WIRE_EDGE, wire_edge, source_word, 8),
    WRONG(WIRE_REFERENCE, wire_reference, source, 0),
    WRONG(WIRE_REFERENCE, wire_reference, source, 11),
    WRONG(WIRE_REFERENCE, wire_reference, target, 11),
    WRONG(WIRE_REFERENCE, wire_reference, label, 3),
    WRONG(WIRE_OBJECT, wire_object, type, 2),
    WRONG(WIRE_OBJECT, wire_object, stack, 4),
    WRONG(WIRE_OBJECT, wire_object, label, 3),
    WRONG(WIRE_WAY, wire_way, label, 3),
    WRONG(WIRE_LINK, wire_link, target, 0),
    WRONG(WIRE_LINK, wire_link, target, 8), /* a source before the last one */
    WRONG(WIRE_LINK, wire_link, target, 11),
    WRONG(WIRE_LINK, wire_link, way, WIRE_WAYS + 1),
    WRONG(WIRE_ROOT, wire_root, target, 0),
    WRONG(WIRE_ROOT, wire_root, target, 11),
    WRONG(WIRE_ROOT, wire_root, kind, 0),
    WRONG(WIRE_ROOT, wire_root, thread, 3),
    WRONG(WIRE_ROOT, wire_root, name, 3),
    WRONG(WIRE_ROOT, wire_root, label, 3),
    WRONG(WIRE_ROOT, wire_root, frame, 2),
    WRONG(WIRE_HOOK, wire_hook, registry, 3),
    WRONG(WIRE_HOOK, wire_hook, callback, 3),
    WRONG(WIRE_HOOK, wire_hook, file, 3),
    WRONG(WIRE_HOOK, wire_hook, holder, 11),
    WRONG(WIRE_HOOK, wire_hook, argument, 11),
    WRONG(WIRE_HOOK, wire_hook, stack, 4),
    WRONG(WIRE_HOOK, wire_hook, root, 5),
    WRONG(WIRE_RESOURCE, wire_resource, name, 3),
    WRONG(WIRE_RESOURCE, wire_resource, module, 2),
    WRONG(WIRE_RESOURCE, wire_resource, stack, 4),
    WRONG(WIRE_RESOURCE, wire_resource, thread, 3),
    WRONG(WIRE_END, wire_end, n_blocks, 7),
    WRONG(WIRE_END, wire_end, block_bytes, 0),
};

/* Where the first section of a kind starts. */
static size_t find_section(const struct wire_stream *w, uint32_t kind) {
    struct wire_section head;
    for (size_t at = 0; at < w->bytes.size; at += sizeof head + head.bytes) {
        memcpy(&head, w->bytes.data + at, sizeof head);
        if (head.kind == kind)
            return at;
    }
    ck_abort_msg("no section %u", kind);
}

START_TEST(test_wrong_numbers) {
    struct wire_stream w;
    start(&w);
    wire_example(&w);
    unlink(path);
    uint8_t *const at = w.bytes.data + find_section(&w, wrongs[_i].kind) +
                        sizeof(struct wire_section) + wrongs[_i].offset;
    memcpy(at, &wrongs[_i].value, wrongs[_i].size);
    expect_broken(&w, wrongs[_i].what);
    wire_release(&w);
}
END_TEST

/* Heads of sections: each size wrong, each section missing, twice, or before its time. */
START_TEST(test_wrong_sections) {
    for (uint32_t kind = WIRE_HELLO; kind <= WIRE_END; kind++) {
        struct wire_stream w;
        struct wire_section head;
        start(&w);
        if (kind == WIRE_FINAL)
            wire_final_example(&w, 1);
        else
            wire_example(&w);
        unlink(path);
        const size_t at = find_section(&w, kind);
        memcpy(&head, w.bytes.data + at, sizeof head);
        static const uint64_t deltas[] = {1, 8, 1ull << 40, (uint64_t)-8};
        for (size_t i = 0; i < 4; i++) {
            struct wire_section changed = head;
            changed.bytes += deltas[i];
            memcpy(w.bytes.data + at, &changed, sizeof changed);
            expect_broken(&w, "a wrong size");
        }
        struct wire_section changed = head;
        changed.n = UINT32_MAX;
        memcpy(w.bytes.data + at, &changed, sizeof changed);
        if (kind != WIRE_HELLO && kind != WIRE_TARGET && kind != WIRE_END)
            expect_broken(&w, "a wrong number");
        changed.kind = WIRE_END + 1;
        memcpy(w.bytes.data + at, &changed, sizeof changed);
        expect_broken(&w, "an unknown section");
        memcpy(w.bytes.data + at, &head, sizeof head);
        wire_release(&w);
    }
}
END_TEST

START_TEST(test_nodes_behind_references) {
    struct wire_stream w;
    start(&w);
    unlink(path);
    blocks(&w, 2, 64);
    const struct wire_edge edge = {1, 2, 0, 0};
    wire_section(&w, WIRE_EDGE, &edge, 1, sizeof edge);
    wire_open(&w, WIRE_BLOCK);
    wire_block(&w, 0x200000, 64, 0, 0);
    wire_close(&w);
    wire_end(&w);
    expect_broken(&w, "blocks behind references");
    wire_release(&w);
}
END_TEST

/* A section more in a stream with WIRE_FINAL, before those of a kind. */
static void insert_section(struct wire_stream *w, uint32_t before, uint32_t kind,
                           const void *records, uint32_t n, size_t size) {
    struct wire_stream more = {0};
    const size_t at = find_section(w, before);
    wire_section(&more, kind, records, n, size);
    struct wire_stream all = {.n_blocks = w->n_blocks, .block_bytes = w->block_bytes};
    ck_assert_int_eq(bytes_sink(&all.bytes, w->bytes.data, at), 0);
    ck_assert_int_eq(bytes_sink(&all.bytes, more.bytes.data, more.bytes.size), 0);
    ck_assert_int_eq(bytes_sink(&all.bytes, w->bytes.data + at, w->bytes.size - at), 0);
    wire_release(w);
    wire_release(&more);
    *w = all;
}

/* What WIRE_FINAL promises is not believed. */
START_TEST(test_broken_promises) {
    static const struct wire_block block = {.address = 0x100000, .size = 64};
    static const struct wire_object low = {.address = 0x10, .flags = SNAP_NODE_OBJECT << 24},
                                    kindless = {.address = 0x700000},
                                    untyped = {.address = 0x700000,
                                               .type = 4,
                                               .flags = SNAP_NODE_OBJECT << 24};
    static const struct wire_node foreign = {
        .address = 0x700000, .domain = SNAP_DOMAIN_HOST, .kind = SNAP_NODE_BLOCK};
    static const struct wire_node pooled = {
        .address = 0x700000, .domain = SNAP_DOMAIN_DEVICE, .kind = SNAP_NODE_BLOCK, .pool = 1};
    static const struct wire_node fine = {
        .address = 0x200, .domain = SNAP_DOMAIN_DEVICE, .kind = SNAP_NODE_BLOCK};
    static const struct wire_type type = {.name = 1, .source = SNAP_TYPE_RUNTIME};
    static const struct wire_pool pool = {.size = 1, .kind = SNAP_POOL_API};
    static const struct wire_edge edge = {1, 2, 0, 0};
    static const struct wire_reference reference = {.source = 5002, .target = 1};
    static const struct wire_link sourceless = {1, 0}, back = {1, WIRE_SOURCE}, nowhere = {5003, 0},
                                  nameless = {1, WIRE_WAYS + 2};
    static const struct wire_way labelled = {.label = 4};
    static const struct wire_root global = {.address = 1, .target = 1, .kind = SNAP_ROOT_GLOBAL},
                                  local = {.address = 1, .target = 1, .kind = SNAP_ROOT_TLS},
                                  far = {.target = 5003, .kind = SNAP_ROOT_NATIVE};
    static const struct wire_meta meta = {.key = SNAP_META_STEP, .value = 1};
    static const struct {
        const char *what;
        uint32_t before, kind;
        const void *record;
        size_t size;
    } more[] = {
        {"a block", WIRE_TYPE, WIRE_BLOCK, &block, sizeof block},
        {"a pool", WIRE_TYPE, WIRE_POOL, &pool, sizeof pool},
        {"metadata", WIRE_END, WIRE_META, &meta, sizeof meta},
        {"a word", WIRE_WAY, WIRE_EDGE, &edge, sizeof edge},
        {"a reference by name", WIRE_ROOT, WIRE_REFERENCE, &reference, sizeof reference},
        {"a late type", WIRE_WAY, WIRE_TYPE, &type, sizeof type},
        {"a late node", WIRE_ROOT, WIRE_NODE, &fine, sizeof fine},
        {"an object out of order", WIRE_NODE, WIRE_OBJECT, &low, sizeof low},
        {"an object of no kind", WIRE_NODE, WIRE_OBJECT, &kindless, sizeof kindless},
        {"an object of no type", WIRE_NODE, WIRE_OBJECT, &untyped, sizeof untyped},
        {"a node out of order", WIRE_WAY, WIRE_NODE, &foreign, sizeof foreign},
        {"a node of a pool", WIRE_WAY, WIRE_NODE, &pooled, sizeof pooled},
        {"a reference without a source", WIRE_WAY, WIRE_LINK, &sourceless, sizeof sourceless},
        {"a source out of order", WIRE_ROOT, WIRE_LINK, &back, sizeof back},
        {"a reference to nothing", WIRE_ROOT, WIRE_LINK, &nowhere, sizeof nowhere},
        {"a reference without a name", WIRE_ROOT, WIRE_LINK, &nameless, sizeof nameless},
        {"a way without a label", WIRE_WAY, WIRE_WAY, &labelled, sizeof labelled},
        {"a global", WIRE_HOOK, WIRE_ROOT, &global, sizeof global},
        {"a thread's local", WIRE_HOOK, WIRE_ROOT, &local, sizeof local},
        {"a root of nothing", WIRE_HOOK, WIRE_ROOT, &far, sizeof far},
    };
    for (size_t i = 0; i < sizeof more / sizeof *more; i++) {
        struct wire_stream w;
        start(&w);
        wire_final_example(&w, 1);
        unlink(path);
        insert_section(&w, more[i].before, more[i].kind, more[i].record, 1, more[i].size);
        expect_broken(&w, more[i].what);
        wire_release(&w);
    }
    struct wire_stream w;
    start(&w);
    wire_final_example(&w, 0);
    unlink(path);
    insert_section(&w, WIRE_NODE, WIRE_FINAL, NULL, 0, 0);
    expect_broken(&w, "a late promise");
    wire_release(&w);
    w = (struct wire_stream){0};
    wire_begin(&w, WIRE_SPOOL, path, WIRE_OVERWRITE);
    wire_process(&w);
    wire_final_example(&w, 1);
    expect_broken(&w, "a promise that cannot be kept");
    wire_release(&w);
}
END_TEST

int main(void) {
    if (!mkdtemp(folder))
        return 1;
    snprintf(path, sizeof path, "%s/test.snap", folder);
    Suite *const suite = suite_create("ingest");
    TCase *const t = tcase_create("all");
    tcase_set_timeout(t, 120);
    tcase_add_test(t, test_every_section);
    tcase_add_test(t, test_nodes_in_any_order);
    tcase_add_test(t, test_final);
    tcase_add_test(t, test_stacks_of_process_groups);
    tcase_add_test(t, test_spilling_changes_nothing);
    tcase_add_test(t, test_types_by_vtables);
    tcase_add_test(t, test_false_abi);
    tcase_add_test(t, test_autograd);
    tcase_add_test(t, test_names_of_roots);
    tcase_add_test(t, test_site_types);
    tcase_add_test(t, test_static_tables_are_no_callbacks);
    tcase_add_test(t, test_arguments);
    tcase_add_test(t, test_std_function);
    tcase_add_test(t, test_many_callbacks);
    tcase_add_test(t, test_streams_that_end_early);
    tcase_add_loop_test(t, test_wrong_numbers, 0, sizeof wrongs / sizeof *wrongs);
    tcase_add_test(t, test_wrong_sections);
    tcase_add_test(t, test_nodes_behind_references);
    tcase_add_test(t, test_broken_promises);
    suite_add_tcase(suite, t);
    SRunner *const runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    const int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    unlink(path);
    rmdir(folder);
    return failed != 0;
}
