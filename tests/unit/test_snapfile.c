/* Writer and reader together: what is written is read, the same rows give the same bytes, and rows
 * that break the format are refused. */
#include "codec/stackkey.h"
#include "support/sample.h"
#include "support/sanitized.h"

#include <check.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <xxhash.h>

static snap_error err;
static struct bytes file;
static snap_writer *w;
static snap_snapshot *s;

#define OK(call)                                                                                   \
    do {                                                                                           \
        const int result_ = (call);                                                                \
        ck_assert_msg(result_ == 0, "%s: %s %s", #call, snap_error_name(result_), err.message);    \
    } while (0)

static void open_writer(void) {
    OK(snap_writer_open_sink(&w, bytes_sink, &file, NULL, &err));
}

static void finish(void) {
    OK(snap_writer_finish(w, &err));
    ck_assert_uint_eq(snap_writer_bytes(w), file.size);
    snap_writer_close(w);
    w = NULL;
    OK(snap_open_memory(&s, file.data, file.size, NULL, &err));
    OK(snap_verify(s, NULL, NULL, &err));
}

static void clean(void) {
    snap_writer_close(w);
    snap_close(s);
    bytes_release(&file);
    w = NULL;
    s = NULL;
}

static uint64_t row[SNAP_COLUMNS_MAX];

static uint64_t add(snap_table table) {
    uint64_t id = 0;
    OK(snap_writer_row(w, table, row, &id, &err));
    memset(row, 0, sizeof row);
    return id;
}

static uint64_t string(const char *text) {
    uint32_t id;
    OK(snap_writer_string(w, text, &id, &err));
    return id;
}

static const snap_summary_row *summary_row(uint32_t kind, uint32_t domain, size_t index) {
    const snap_summary_row *rows;
    size_t n;
    OK(snap_summary(s, &rows, &n, &err));
    for (size_t i = 0; i < n; i++)
        if (rows[i].kind == kind && rows[i].domain == domain && !index--)
            return &rows[i];
    return NULL;
}

START_TEST(nothing_but_an_end) {
    open_writer();
    finish();
    for (unsigned t = SNAP_TABLE_STRS; t < SNAP_TABLE_SUMM; t++) {
        ck_assert_uint_eq(snap_rows(s, (snap_table)t), 0);
        ck_assert_uint_eq(snap_n_chunks(s, (snap_table)t), 0);
    }
    ck_assert_str_eq(snap_meta_text(s, SNAP_META_WRITER), "heapsnap");
    const snap_summary_row *const total = summary_row(SNAP_SUMM_TOTAL, SNAP_DOMAIN_HOST, 0);
    ck_assert_ptr_nonnull(total);
    ck_assert_uint_eq(total->count, 0);
}
END_TEST

START_TEST(metadata) {
    open_writer();
    OK(snap_writer_meta_number(w, SNAP_META_STEP, (uint64_t)-1, &err));
    OK(snap_writer_meta_text(w, SNAP_META_LABEL, "first", &err));
    OK(snap_writer_meta_text(w, SNAP_META_LABEL, "epoch \xc3\xa4", &err)); /* the last one counts */
    OK(snap_writer_meta_named(w, SNAP_META_USER, "z", 3, &err));
    OK(snap_writer_meta_named(w, SNAP_META_USER, "a", 4, &err));
    OK(snap_writer_meta_number(w, SNAP_META_PID, 7, &err));
    row[SNAP_TYPE_COL_SIZE] = 1;
    add(SNAP_TABLE_TYPE);
    ck_assert_int_eq(snap_writer_meta_number(w, SNAP_META_PID, 8, &err), SNAP_E_ARG);
    finish();
    uint64_t value;
    ck_assert_int_eq(snap_meta_number(s, SNAP_META_STEP, NULL, &value), 1);
    ck_assert_uint_eq(value, UINT64_MAX);
    ck_assert_int_eq(snap_meta_number(s, SNAP_META_USER, "a", &value), 1);
    ck_assert_uint_eq(value, 4);
    ck_assert_int_eq(snap_meta_number(s, SNAP_META_USER, "b", &value), 0);
    ck_assert_int_eq(snap_meta_number(s, SNAP_META_USER, NULL, &value), 0);
    ck_assert_str_eq(snap_meta_text(s, SNAP_META_LABEL), "epoch \xc3\xa4");
    ck_assert_ptr_null(snap_meta_text(s, SNAP_META_COMMAND));
    ck_assert_uint_eq(snap_meta_count(s), 6);
    ck_assert_uint_eq(snap_meta_get(s, 4).key, SNAP_META_USER);
    ck_assert_str_eq(snap_meta_get(s, 4).name, "a");
}
END_TEST

START_TEST(strings) {
    static char longest[SNAP_BYTES_MAX + 10];
    memset(longest, 'x', sizeof longest - 1);
    open_writer();
    ck_assert_uint_eq(string("a"), 1);
    ck_assert_uint_eq(string("b"), 2);
    ck_assert_uint_eq(string("a"), 1);
    ck_assert_uint_eq(string(""), 0);
    ck_assert_uint_eq(string(NULL), 0);
    uint32_t id;
    OK(snap_writer_string_n(w, "ab\0c", 4, &id, &err));
    ck_assert_uint_eq(id, 3);
    ck_assert_uint_eq(string(longest), 4);
    longest[SNAP_BYTES_MAX] = 0;
    ck_assert_uint_eq(string(longest), 4);
    finish();
    const char *text;
    OK(snap_string(s, 3, &text, &err));
    ck_assert_str_eq(text, "ab");
    OK(snap_string(s, 4, &text, &err));
    ck_assert_uint_eq(strlen(text), SNAP_BYTES_MAX);
    OK(snap_string(s, 0, &text, &err));
    ck_assert_str_eq(text, "");
    ck_assert_int_eq(snap_string(s, 5, &text, &err), SNAP_E_ARG);
}
END_TEST

START_TEST(long_strings_fill_chunks) {
    static char text[60000];
    open_writer();
    for (unsigned i = 0; i < 300; i++) {
        memset(text, 'a' + (int)(i % 26), sizeof text - 1);
        text[0] = (char)('A' + i / 26);
        ck_assert_uint_eq(string(text), i + 1);
    }
    finish();
    ck_assert_uint_gt(snap_n_chunks(s, SNAP_TABLE_STRS), 3);
    ck_assert_uint_eq(snap_rows(s, SNAP_TABLE_STRS), 300);
    const char *got;
    OK(snap_string(s, 300, &got, &err));
    ck_assert_str_eq(got, text);
}
END_TEST

/* Fifteen columns of eight random bytes are more than a chunk may hold. */
START_TEST(wide_rows_make_smaller_chunks) {
    uint64_t state = 3;
    open_writer();
    OK(snap_writer_meta_number(w, SNAP_META_UNSORTED, 1, &err));
    for (unsigned i = 0; i < SNAP_CHUNK_ROWS_MAX + 1; i++) {
        for (unsigned c = 1; c < SNAP_COLUMNS_MAX; c++)
            row[c] = snap_table_column(SNAP_TABLE_NODE, c).type == SNAP_COLUMN_NUMBER
                         ? sample_next(&state)
                         : 0;
        row[SNAP_NODE_COL_DOMAIN] = 1;
        add(SNAP_TABLE_NODE);
    }
    finish();
    ck_assert_uint_eq(snap_n_chunks(s, SNAP_TABLE_NODE), 3);
    snap_batch b;
    snap_batch_init(&b);
    OK(snap_batch_read(s, SNAP_TABLE_NODE, 1, 1u << SNAP_NODE_COL_SIZE, &b, &err));
    ck_assert_uint_eq(b.first_id, SNAP_CHUNK_ROWS_MAX / 2 + 1);
    ck_assert_uint_eq(b.n_rows, SNAP_CHUNK_ROWS_MAX / 2);
    snap_batch_release(&b);
}
END_TEST

static void check_replay(void) {
    uint64_t digest, again;
    OK(sample_digest(s, &digest, &err));
    struct bytes second = {0};
    snap_writer *w2;
    OK(snap_writer_open_sink(&w2, bytes_sink, &second, NULL, &err));
    OK(sample_replay(s, w2, &err));
    OK(snap_writer_finish(w2, &err));
    snap_writer_close(w2);
    ck_assert_uint_eq(second.size, file.size);
    ck_assert_mem_eq(second.data, file.data, file.size);
    snap_snapshot *s2;
    OK(snap_open_memory(&s2, second.data, second.size, NULL, &err));
    OK(sample_digest(s2, &again, &err));
    ck_assert_uint_eq(digest, again);
    snap_close(s2);
    bytes_release(&second);
}

START_TEST(same_rows_same_bytes) {
    static const size_t scales[] = {1, 2, 7, 100, 3000, SANITIZED ? 6000 : 20000};
    const size_t scale = scales[_i];
    struct bytes second = {0};
    OK(sample_make(&file, (uint64_t)_i, scale, &err));
    OK(sample_make(&second, (uint64_t)_i, scale, &err));
    ck_assert_uint_eq(second.size, file.size);
    ck_assert_mem_eq(second.data, file.data, file.size);
    bytes_release(&second);
    OK(snap_open_memory(&s, file.data, file.size, NULL, &err));
    OK(snap_verify(s, NULL, NULL, &err));
    check_replay();
}
END_TEST

static int failing_sink(void *context, const void *data, size_t size) {
    (void)data;
    (void)size;
    return --*(int *)context ? 0 : SNAP_E_CANCELED;
}

/* Threads that encode change no byte, and a sink that refuses or an end without finish leaves none
 * of them behind. */
START_TEST(threads_write_the_same) {
    const size_t scale = SANITIZED ? 6000 : 20000;
    OK(sample_make(&file, 5, scale, &err));
    for (uint32_t n = 0; n <= 4; n += 2) {
        const snap_writer_options options = {.struct_size = sizeof options, .n_threads = n};
        struct bytes second = {0};
        snap_writer *w2;
        OK(snap_writer_open_sink(&w2, bytes_sink, &second, &options, &err));
        OK(sample_write(w2, 5, scale, &err));
        OK(snap_writer_finish(w2, &err));
        ck_assert_uint_eq(snap_writer_bytes(w2), file.size);
        snap_writer_close(w2);
        ck_assert_uint_eq(file.size, second.size);
        ck_assert_int_eq(memcmp(file.data, second.data, file.size), 0);
        bytes_release(&second);

        int left = 6; /* calls */
        OK(snap_writer_open_sink(&w2, failing_sink, &left, &options, &err));
        int result = sample_write(w2, 5, scale, &err);
        if (!result)
            result = snap_writer_finish(w2, &err);
        ck_assert_int_eq(result, SNAP_E_CANCELED);
        snap_writer_close(w2);
    }
}
END_TEST

START_TEST(rows_come_back) {
    enum { N = SANITIZED ? 200000 : 1000000 };
    static uint64_t address[N], size[N], stack[N], birth[N], one[N];
    uint64_t state = 5, at = 0x7f0000000010;
    open_writer();
    for (unsigned i = 0; i < 5000; i++) {
        row[SNAP_FRAM_COL_OFFSET] = 0x400000 + i * 11;
        const uint64_t frame = add(SNAP_TABLE_FRAM);
        row[SNAP_STAK_COL_PARENT] = i / 2;
        row[SNAP_STAK_COL_FRAME] = frame;
        add(SNAP_TABLE_STAK);
    }
    uint64_t bytes = 0;
    for (unsigned i = 0; i < N; i++) {
        one[i] = 1;
        address[i] = at;
        size[i] = 16 + sample_next(&state) % 100;
        at += (size[i] + 23) & ~(uint64_t)15;
        stack[i] = sample_next(&state) % 5001;
        birth[i] = i * 3 + sample_next(&state) % 3000;
        bytes += size[i];
    }
    const uint64_t *columns[SNAP_COLUMNS_MAX] = {
        [SNAP_NODE_COL_DOMAIN] = one,      [SNAP_NODE_COL_KIND] = one,
        [SNAP_NODE_COL_ADDRESS] = address, [SNAP_NODE_COL_SIZE] = size,
        [SNAP_NODE_COL_STACK] = stack,     [SNAP_NODE_COL_BIRTH] = birth};
    uint64_t first;
    OK(snap_writer_rows(w, SNAP_TABLE_NODE, columns, 3, &first, &err));
    ck_assert_uint_eq(first, 1);
    for (unsigned c = 0; c < SNAP_COLUMNS_MAX; c++)
        columns[c] = columns[c] ? columns[c] + 3 : NULL;
    OK(snap_writer_rows(w, SNAP_TABLE_NODE, columns, N - 3, &first, &err));
    ck_assert_uint_eq(first, 4);
    finish();
    ck_assert_uint_lt(file.size, 8 * (size_t)N);
    ck_assert_uint_eq(snap_rows(s, SNAP_TABLE_NODE), N);
    ck_assert_uint_eq(summary_row(SNAP_SUMM_TOTAL, 1, 0)->bytes, bytes);
    snap_batch b;
    snap_batch_init(&b);
    size_t done = 0;
    for (uint32_t k = 0; k < snap_n_chunks(s, SNAP_TABLE_NODE); k++) {
        OK(snap_batch_read(s, SNAP_TABLE_NODE, k, ~0u, &b, &err));
        ck_assert_uint_eq(b.first_id, done + 1);
        const size_t n = b.n_rows * sizeof(uint64_t);
        ck_assert_mem_eq(b.column[SNAP_NODE_COL_ADDRESS], address + done, n);
        ck_assert_mem_eq(b.column[SNAP_NODE_COL_SIZE], size + done, n);
        ck_assert_mem_eq(b.column[SNAP_NODE_COL_STACK], stack + done, n);
        ck_assert_mem_eq(b.column[SNAP_NODE_COL_BIRTH], birth + done, n);
        ck_assert_mem_eq(b.column[SNAP_NODE_COL_KIND], one + done, n);
        for (uint32_t i = 0; i < b.n_rows; i++)
            ck_assert(!b.column[SNAP_NODE_COL_FLAGS][i]);
        done += b.n_rows;
    }
    ck_assert_uint_eq(done, N);
    snap_batch_release(&b);
}
END_TEST

/* One row for each rule of order; the writer fails with it for good. */
START_TEST(rows_out_of_order) {
    static const struct {
        snap_table table;
        unsigned column;
        uint64_t first, second;
    } cases[] = {
        {SNAP_TABLE_NODE, SNAP_NODE_COL_ADDRESS, 32, 16},
        {SNAP_TABLE_NODE, SNAP_NODE_COL_DOMAIN, 2, 1},
        {SNAP_TABLE_NODE, SNAP_NODE_COL_BIRTH, 2, 1},
        {SNAP_TABLE_EDGE, SNAP_EDGE_COL_SOURCE, 2, 1},
        {SNAP_TABLE_SYMB, SNAP_SYMB_COL_FRAME, 2, 1},
        {SNAP_TABLE_SYMB, SNAP_SYMB_COL_FRAME, 2, 2},
        {SNAP_TABLE_REGN, SNAP_REGN_COL_ADDRESS, 8192, 4096},
        {SNAP_TABLE_STAK, SNAP_STAK_COL_PARENT, 0, 2},
        {SNAP_TABLE_NODE, SNAP_NODE_COL_ADDRESS, UINT64_MAX, 16},
        {SNAP_TABLE_NODE, SNAP_NODE_COL_ADDRESS, UINT64_MAX, UINT64_MAX / 2},
    };
    open_writer();
    row[cases[_i].column] = cases[_i].first;
    add(cases[_i].table);
    row[cases[_i].column] = cases[_i].second;
    ck_assert_int_eq(snap_writer_row(w, cases[_i].table, row, NULL, &err), SNAP_E_ARG);
    ck_assert_uint_eq(err.chunk, snap_table_id(cases[_i].table));
    ck_assert_int_eq(snap_writer_finish(w, &err), SNAP_E_ARG);
    memset(row, 0, sizeof row);
}
END_TEST

/* Many at once. */
START_TEST(addresses_in_order) {
    static const struct {
        uint64_t address[4];
        int is_wrong;
    } cases[] = {
        {{16, 16, 32, 48}, 0},         {{16, 1ull << 62, 1ull << 63, UINT64_MAX}, 0},
        {{16, 48, 32, 64}, 1},         {{16, 32, 48, 32}, 1},
        {{16, 32, UINT64_MAX, 48}, 1}, {{UINT64_MAX, 16, 32, 48}, 1},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const uint64_t domain[] = {1, 1, 1, 1};
        const uint64_t *const columns[SNAP_COLUMNS_MAX] = {
            [SNAP_NODE_COL_DOMAIN] = domain, [SNAP_NODE_COL_ADDRESS] = cases[i].address};
        open_writer();
        row[SNAP_NODE_COL_DOMAIN] = 1;
        add(SNAP_TABLE_NODE);
        ck_assert_int_eq(snap_writer_rows(w, SNAP_TABLE_NODE, columns, 4, NULL, &err),
                         cases[i].is_wrong ? SNAP_E_ARG : 0);
        clean();
        open_writer(); /* the last of one call is before the first of the next */
        OK(snap_writer_rows(w, SNAP_TABLE_NODE, columns, 1, NULL, &err));
        row[SNAP_NODE_COL_DOMAIN] = 1;
        row[SNAP_NODE_COL_ADDRESS] = 15;
        ck_assert_int_eq(snap_writer_row(w, SNAP_TABLE_NODE, row, NULL, &err), SNAP_E_ARG);
        memset(row, 0, sizeof row);
        clean();
    }
}
END_TEST

START_TEST(references_to_nowhere) {
    open_writer();
    row[SNAP_NODE_COL_TYPE] = 2;
    add(SNAP_TABLE_NODE);
    add(SNAP_TABLE_TYPE);
    ck_assert_int_eq(snap_writer_finish(w, &err), SNAP_E_ARG);
    ck_assert_uint_eq(err.chunk, SNAP_ID_NODE);
    clean();
    open_writer();
    row[SNAP_NODE_COL_TYPE] = (uint64_t)1 << 40;
    add(SNAP_TABLE_NODE);
    ck_assert_int_eq(snap_writer_finish(w, &err), SNAP_E_ARG);
    clean();
    open_writer(); /* one to a later row is fine */
    row[SNAP_NODE_COL_TYPE] = 1;
    add(SNAP_TABLE_NODE);
    add(SNAP_TABLE_TYPE);
    finish();
}
END_TEST

START_TEST(wrong_calls) {
    uint64_t id;
    open_writer();
    ck_assert_int_eq(snap_writer_row(w, SNAP_TABLE_META, row, &id, &err), SNAP_E_ARG);
    ck_assert_int_eq(snap_writer_row(w, SNAP_TABLE_STRS, row, &id, &err), SNAP_E_ARG);
    ck_assert_int_eq(snap_writer_row(w, SNAP_TABLE_SUMM, row, &id, &err), SNAP_E_ARG);
    ck_assert_int_eq(snap_writer_row(w, SNAP_N_TABLES, row, &id, &err), SNAP_E_ARG);
    finish();
    snap_batch b;
    snap_batch_init(&b);
    ck_assert_int_eq(snap_batch_read(s, SNAP_TABLE_NODE, 0, ~0u, &b, &err), SNAP_E_ARG);
    snap_location location;
    size_t n;
    ck_assert_int_eq(snap_stack(s, 1, &location, 1, &n, NULL, &err), SNAP_E_ARG);
    ck_assert_int_eq(snap_stack_key(s, 1, &id, &err), SNAP_E_ARG);
    OK(snap_stack_key(s, 0, &id, &err));
    ck_assert_uint_eq(id, 0);
    snap_batch_release(&b);
}
END_TEST

/* main -> parse -> operator new, the last two inlined into one position. */
static uint64_t write_stack(void) {
    uint64_t module;
    OK(snap_writer_module(w, "/usr/lib/libdemo.so.1", "c0ffee", 0x10000, 0x20000, 0x10000, 0,
                          &module, &err));
    row[SNAP_FRAM_COL_MODULE] = module;
    row[SNAP_FRAM_COL_OFFSET] = 0x100;
    const uint64_t outer = add(SNAP_TABLE_FRAM);
    row[SNAP_FRAM_COL_MODULE] = module;
    row[SNAP_FRAM_COL_OFFSET] = 0x200;
    const uint64_t inner = add(SNAP_TABLE_FRAM);
    row[SNAP_STAK_COL_FRAME] = outer;
    row[SNAP_STAK_COL_FLAGS] = SNAP_STAK_FLAG_TRUNCATED;
    const uint64_t base = add(SNAP_TABLE_STAK);
    row[SNAP_STAK_COL_PARENT] = base;
    row[SNAP_STAK_COL_FRAME] = inner;
    const uint64_t stack = add(SNAP_TABLE_STAK);
    row[SNAP_SYMB_COL_FRAME] = outer;
    row[SNAP_SYMB_COL_FUNCTION] = string("main");
    row[SNAP_SYMB_COL_FILE] = string("main.c");
    row[SNAP_SYMB_COL_LINE] = 12;
    add(SNAP_TABLE_SYMB);
    row[SNAP_SYMB_COL_FRAME] = inner;
    row[SNAP_SYMB_COL_FUNCTION] = string("operator new(unsigned long)");
    add(SNAP_TABLE_SYMB);
    row[SNAP_SYMB_COL_FRAME] = inner;
    row[SNAP_SYMB_COL_DEPTH] = 1;
    row[SNAP_SYMB_COL_FUNCTION] = string("parse");
    row[SNAP_SYMB_COL_SOURCE] = SNAP_SYMB_DWARF;
    add(SNAP_TABLE_SYMB);
    return stack;
}

START_TEST(stacks) {
    open_writer();
    const uint64_t stack = write_stack();
    finish();
    snap_location at[8];
    size_t n;
    int is_truncated;
    OK(snap_stack(s, stack, at, 8, &n, &is_truncated, &err));
    ck_assert_uint_eq(n, 3);
    ck_assert_int_eq(is_truncated, 1);
    ck_assert_str_eq(at[0].function, "operator new(unsigned long)");
    ck_assert_str_eq(at[1].function, "parse");
    ck_assert_uint_eq(at[1].depth, 1);
    ck_assert_uint_eq(at[1].source, SNAP_SYMB_DWARF);
    ck_assert_uint_eq(at[1].offset, 0x200);
    ck_assert_str_eq(at[2].function, "main");
    ck_assert_str_eq(at[2].file, "main.c");
    ck_assert_uint_eq(at[2].line, 12);
    OK(snap_stack(s, stack, at, 2, &n, &is_truncated, &err));
    ck_assert_uint_eq(n, 2);
    ck_assert_int_eq(is_truncated, 1);
    OK(snap_stack(s, 0, at, 2, &n, &is_truncated, &err));
    ck_assert_uint_eq(n, 0);
    ck_assert_int_eq(is_truncated, 0);
    snap_module module;
    OK(snap_module_get(s, 1, &module, &err));
    ck_assert_str_eq(module.path, "/usr/lib/libdemo.so.1");
    ck_assert_str_eq(module.build_id, "c0ffee");
    /* The definition of keys, spelt out. */
    uint64_t key, expected;
    uint8_t data[8 + 6 + 8] = {0};
    memcpy(data + 8, "c0ffee", 6);
    data[14] = 0;
    data[15] = 1; /* 0x100 */
    expected = XXH3_64bits(data, sizeof data);
    OK(snap_stack_key(s, 1, &key, &err));
    ck_assert_uint_eq(key, expected);
    memcpy(data, &expected, 8);
    data[15] = 2;
    OK(snap_stack_key(s, 2, &key, &err));
    ck_assert_uint_eq(key, XXH3_64bits(data, sizeof data));
}
END_TEST

/* Walks stop; nothing recurses. */
START_TEST(deep_stacks) {
    open_writer();
    row[SNAP_FRAM_COL_OFFSET] = 1;
    add(SNAP_TABLE_FRAM);
    enum { DEPTH = 300000 };
    for (unsigned i = 0; i < DEPTH; i++) {
        row[SNAP_STAK_COL_PARENT] = i;
        row[SNAP_STAK_COL_FRAME] = 1;
        add(SNAP_TABLE_STAK);
    }
    row[SNAP_NODE_COL_DOMAIN] = 1;
    row[SNAP_NODE_COL_STACK] = DEPTH;
    add(SNAP_TABLE_NODE);
    finish();
    snap_location *const at = malloc(10000 * sizeof *at);
    size_t n;
    int is_truncated;
    OK(snap_stack(s, DEPTH, at, 10000, &n, &is_truncated, &err));
    ck_assert_uint_eq(n, 4096);
    ck_assert_int_eq(is_truncated, 1);
    free(at);
}
END_TEST

START_TEST(summary) {
    open_writer();
    const uint64_t stack = write_stack();
    row[SNAP_TYPE_COL_NAME] = string("session");
    const uint64_t session = add(SNAP_TABLE_TYPE);
    row[SNAP_TYPE_COL_NAME] = string("buffer");
    const uint64_t buffer = add(SNAP_TABLE_TYPE);
    for (unsigned i = 0; i < 10; i++) {
        row[SNAP_NODE_COL_DOMAIN] = SNAP_DOMAIN_HOST;
        row[SNAP_NODE_COL_ADDRESS] = 4096 + i * 64;
        row[SNAP_NODE_COL_SIZE] = 10;
        row[SNAP_NODE_COL_EXTERNAL] = i == 9 ? 1000 : 0;
        row[SNAP_NODE_COL_TYPE] = i < 4 ? session : i < 9 ? buffer : 0;
        row[SNAP_NODE_COL_STACK] = i % 2 ? stack : 0;
        add(SNAP_TABLE_NODE);
    }
    row[SNAP_NODE_COL_DOMAIN] = SNAP_DOMAIN_DEVICE;
    row[SNAP_NODE_COL_KIND] = SNAP_NODE_DEVICE_IMPORTED;
    row[SNAP_NODE_COL_SIZE] = 77;
    add(SNAP_TABLE_NODE);
    for (unsigned i = 1; i <= 4; i++) {
        row[SNAP_EDGE_COL_SOURCE] = i;
        row[SNAP_EDGE_COL_TARGET] = i + 4;
        add(SNAP_TABLE_EDGE);
    }
    row[SNAP_POOL_COL_KIND] = SNAP_POOL_TORCH_SEGMENT;
    row[SNAP_POOL_COL_DOMAIN] = SNAP_DOMAIN_DEVICE;
    row[SNAP_POOL_COL_SIZE] = 500;
    row[SNAP_POOL_COL_CACHED] = 200;
    add(SNAP_TABLE_POOL);
    row[SNAP_HOOK_COL_REGISTRY] = string("net.fc1._forward_hooks");
    row[SNAP_HOOK_COL_CALLBACK] = string("<lambda>");
    add(SNAP_TABLE_HOOK);
    row[SNAP_HOOK_COL_REGISTRY] = string("net.fc1._forward_hooks");
    row[SNAP_HOOK_COL_CALLBACK] = string("<lambda>");
    row[SNAP_HOOK_COL_COUNT] = 3;
    add(SNAP_TABLE_HOOK);
    finish();
    const snap_summary_row *r = summary_row(SNAP_SUMM_TOTAL, SNAP_DOMAIN_HOST, 0);
    ck_assert_uint_eq(r->count, 10);
    ck_assert_uint_eq(r->bytes, 1100);
    r = summary_row(SNAP_SUMM_TOTAL, SNAP_DOMAIN_DEVICE, 0);
    ck_assert_uint_eq(r->count, 0);
    ck_assert_uint_eq(r->bytes, 0);
    ck_assert_uint_eq(r->cached, 200);
    r = summary_row(SNAP_SUMM_TYPE, SNAP_DOMAIN_HOST, 1);
    ck_assert_str_eq(r->label, "buffer");
    ck_assert_uint_eq(r->key, XXH3_64bits("buffer", 6));
    ck_assert_uint_eq(r->count, 5);
    r = summary_row(SNAP_SUMM_TYPE, SNAP_DOMAIN_HOST, 0); /* the one without a type */
    ck_assert_uint_eq(r->key, 0);
    ck_assert_uint_eq(r->bytes, 1010);
    uint64_t key;
    OK(snap_stack_key(s, stack, &key, &err));
    r = summary_row(SNAP_SUMM_SITE, SNAP_DOMAIN_HOST, 0);
    ck_assert_uint_eq(r->key, key);
    ck_assert_uint_eq(r->count, 5);
    ck_assert_str_eq(r->label, "parse"); /* not the allocator */
    r = summary_row(SNAP_SUMM_TYPE_EDGE, SNAP_DOMAIN_HOST, 0);
    ck_assert_uint_eq(r->count, 4);
    ck_assert_uint_eq(r->key, XXH3_64bits("session", 7));
    ck_assert_uint_eq(r->key2, XXH3_64bits("buffer", 6));
    ck_assert_str_eq(r->label, "session -> buffer");
    r = summary_row(SNAP_SUMM_HOOK, 0, 0);
    ck_assert_uint_eq(r->count, 4);
    ck_assert_str_eq(r->label, "net.fc1._forward_hooks: <lambda>");
    ck_assert_ptr_null(summary_row(SNAP_SUMM_HOOK, 0, 1));
    r = summary_row(SNAP_SUMM_POOL, SNAP_DOMAIN_DEVICE, 0);
    ck_assert_str_eq(r->label, "torch_segment");
    ck_assert_uint_eq(r->bytes, 500);
}
END_TEST

static uint64_t count_of_edge(const char *label) {
    const snap_summary_row *r;
    for (size_t i = 0; (r = summary_row(SNAP_SUMM_TYPE_EDGE, SNAP_DOMAIN_HOST, i)); i++)
        if (strcmp(r->label, label) == 0)
            return r->count;
    return 0;
}

/* References between types of all numbers, from nodes that chunks of few types have, too. */
START_TEST(summary_of_many_types) {
    enum { N = 66000 };
    static const struct {
        uint32_t from, to, count;
        const char *label;
    } edges[] = {{1, 44, 2, "t1 -> t44"},
                 {44, 256, 3, "t44 -> t256"},
                 {256, 257, 4, "t256 -> t257"},
                 {257, 65536, 5, "t257 -> t65536"},
                 {65535, 65537, 6, "t65535 -> t65537"},
                 {65537, 1, 7, "t65537 -> t1"}};
    open_writer();
    for (uint32_t i = 1; i <= N; i++) {
        char name[16];
        snprintf(name, sizeof name, "t%u", i);
        row[SNAP_TYPE_COL_NAME] = string(name);
        add(SNAP_TABLE_TYPE);
    }
    for (uint32_t i = 1; i <= N; i++) {
        row[SNAP_NODE_COL_DOMAIN] = SNAP_DOMAIN_HOST;
        row[SNAP_NODE_COL_KIND] = SNAP_NODE_BLOCK;
        row[SNAP_NODE_COL_ADDRESS] = i * UINT64_C(16);
        row[SNAP_NODE_COL_TYPE] = i;
        add(SNAP_TABLE_NODE);
    }
    for (size_t i = 0; i < sizeof edges / sizeof *edges; i++)
        for (uint32_t k = 0; k < edges[i].count; k++) {
            row[SNAP_EDGE_COL_SOURCE] = edges[i].from;
            row[SNAP_EDGE_COL_TARGET] = edges[i].to;
            row[SNAP_EDGE_COL_KIND] = SNAP_EDGE_POINTER;
            row[SNAP_EDGE_COL_SOURCE_OFFSET] = k * UINT64_C(8);
            add(SNAP_TABLE_EDGE);
        }
    finish();
    for (size_t i = 0; i < sizeof edges / sizeof *edges; i++)
        ck_assert_uint_eq(count_of_edge(edges[i].label), edges[i].count);
}
END_TEST

START_TEST(summary_is_bounded) {
    const snap_writer_options options = {.struct_size = sizeof options, .summary_rows = 5};
    OK(snap_writer_open_sink(&w, bytes_sink, &file, &options, &err));
    for (unsigned i = 1; i <= 100; i++) {
        char name[32];
        snprintf(name, sizeof name, "type %u", i);
        row[SNAP_TYPE_COL_NAME] = string(name);
        add(SNAP_TABLE_TYPE);
        row[SNAP_NODE_COL_DOMAIN] = 1 + (i > 50);
        row[SNAP_NODE_COL_ADDRESS] = i * 16;
        row[SNAP_NODE_COL_SIZE] = i;
        row[SNAP_NODE_COL_TYPE] = i;
        add(SNAP_TABLE_NODE);
    }
    finish();
    uint64_t bytes = 0, count = 0;
    unsigned n = 0;
    for (uint32_t domain = 1; domain <= 2; domain++)
        for (const snap_summary_row *r; (r = summary_row(SNAP_SUMM_TYPE, domain, n));) {
            bytes += r->bytes;
            count += r->count;
            if (domain == 2 && r->key)
                ck_assert_uint_ge(r->bytes, 96);
            n++;
            if (domain == 1 && n == 1)
                n = 0; /* all of the first domain are in its row without keys */
            if (domain == 1)
                break;
        }
    ck_assert_uint_eq(n, 6);
    ck_assert_uint_eq(bytes, 5050);
    ck_assert_uint_eq(count, 100);
}
END_TEST

START_TEST(memory_budget) {
    OK(sample_make(&file, 1, 3000, &err));
    const snap_open_options options = {.struct_size = sizeof options, .max_memory_bytes = 20000};
    OK(snap_open_memory(&s, file.data, file.size, &options, &err));
    const char *text;
    ck_assert_int_eq(snap_string(s, 1, &text, &err), SNAP_E_LIMIT);
    uint64_t key;
    ck_assert_int_eq(snap_stack_key(s, 1, &key, &err), SNAP_E_LIMIT);
    ck_assert_int_eq(snap_verify(s, NULL, NULL, &err), SNAP_E_LIMIT);
}
END_TEST

static int cancel(void *context, uint64_t done, uint64_t total) {
    ck_assert_uint_le(done, total);
    return ++*(int *)context == 3;
}

START_TEST(verify_can_be_canceled) {
    int calls = 0;
    OK(sample_make(&file, 1, 3, &err));
    OK(snap_open_memory(&s, file.data, file.size, NULL, &err));
    ck_assert_int_eq(snap_verify(s, cancel, &calls, &err), SNAP_E_CANCELED);
    ck_assert_int_eq(calls, 3);
}
END_TEST

static void *read_all(void *unused) {
    (void)unused;
    for (uint64_t i = 1; i <= snap_rows(s, SNAP_TABLE_STAK); i++) {
        snap_location at[64];
        size_t n;
        uint64_t key;
        if (snap_stack(s, i, at, 64, &n, NULL, NULL) || snap_stack_key(s, i, &key, NULL))
            return s;
    }
    for (uint64_t i = 1; i <= snap_rows(s, SNAP_TABLE_STRS); i++) {
        const char *text;
        if (snap_string(s, i, &text, NULL) || !*text)
            return s;
    }
    const snap_summary_row *rows;
    size_t n;
    uint64_t digest;
    return snap_summary(s, &rows, &n, NULL) || sample_digest(s, &digest, NULL) ? s : NULL;
}

START_TEST(threads_share_a_snapshot) {
    OK(sample_make(&file, 8, 500, &err));
    OK(snap_open_memory(&s, file.data, file.size, NULL, &err));
    pthread_t threads[4];
    for (int i = 0; i < 4; i++)
        ck_assert_int_eq(pthread_create(&threads[i], NULL, read_all, NULL), 0);
    for (int i = 0; i < 4; i++) {
        void *failed;
        pthread_join(threads[i], &failed);
        ck_assert_ptr_null(failed);
    }
}
END_TEST

START_TEST(files_and_options) {
    char folder[] = "/tmp/heapsnap-test-XXXXXX", path[64], command[64];
    ck_assert_ptr_nonnull(mkdtemp(folder));
    snprintf(path, sizeof path, "%s/a.snap", folder);
    snap_writer_options options = {.struct_size = sizeof options, .no_sync = 1};
    OK(snap_writer_open_file(&w, path, &options, &err));
    OK(sample_write(w, 1, 2, &err));
    ck_assert_int_eq(access(path, F_OK), -1);
    OK(snap_writer_finish(w, &err));
    ck_assert_int_eq(snap_writer_finish(w, &err), SNAP_E_ARG);
    snap_writer_close(w);
    w = NULL;
    OK(snap_open(&s, path, NULL, &err));
    ck_assert_str_eq(snap_path(s), path);
    OK(snap_verify(s, NULL, NULL, &err));
    ck_assert_int_eq(snap_writer_open_file(&w, path, &options, &err), SNAP_E_IO);
    options.zstd_level = 1000;
    ck_assert_int_eq(snap_writer_open_file(&w, path, &options, &err), SNAP_E_ARG);
    options.struct_size = 0;
    ck_assert_int_eq(snap_writer_open_file(&w, path, &options, &err), SNAP_E_ARG);
    ck_assert_int_eq(snap_open(&s, "/nonexistent/a.snap", NULL, &err), SNAP_E_IO);
    snprintf(command, sizeof command, "rm -r %s", folder);
    ck_assert_int_eq(system(command), 0);
}
END_TEST

START_TEST(a_sink_can_refuse) {
    int left = 4;
    OK(snap_writer_open_sink(&w, failing_sink, &left, NULL, &err));
    int result = sample_write(w, 1, 1, &err);
    if (!result)
        result = snap_writer_finish(w, &err);
    ck_assert_int_eq(result, SNAP_E_CANCELED);
    ck_assert_int_eq(err.code, SNAP_E_CANCELED);
}
END_TEST

START_TEST(names) {
    ck_assert_str_eq(snap_code_name(SNAP_TABLE_NODE, SNAP_NODE_COL_DOMAIN, 1), "host");
    ck_assert_ptr_null(snap_code_name(SNAP_TABLE_NODE, SNAP_NODE_COL_DOMAIN, 99));
    ck_assert_ptr_null(snap_code_name(SNAP_TABLE_NODE, SNAP_NODE_COL_SIZE, 1));
    ck_assert_ptr_null(snap_table_column(SNAP_N_TABLES, 1).name);
    ck_assert_ptr_null(snap_table_column(SNAP_TABLE_STRS, 99).name);
    for (unsigned t = 0; t < SNAP_N_TABLES; t++)
        ck_assert_int_eq(snap_table_of_id(snap_table_id((snap_table)t)), t);
    ck_assert_int_eq(snap_table_of_id(0), SNAP_N_TABLES);
    ck_assert_str_eq(stackkey_base_name("/a/b.so"), "b.so");
    ck_assert_str_eq(stackkey_base_name("b.so"), "b.so");
}
END_TEST

int main(void) {
    Suite *const suite = suite_create("snapfile");
    TCase *const t = tcase_create("snapfile");
    tcase_add_checked_fixture(t, NULL, clean);
    tcase_set_timeout(t, 120);
    tcase_add_test(t, nothing_but_an_end);
    tcase_add_test(t, metadata);
    tcase_add_test(t, strings);
    tcase_add_test(t, long_strings_fill_chunks);
    tcase_add_test(t, wide_rows_make_smaller_chunks);
    tcase_add_loop_test(t, same_rows_same_bytes, 0, 6);
    tcase_add_test(t, threads_write_the_same);
    tcase_add_test(t, rows_come_back);
    tcase_add_loop_test(t, rows_out_of_order, 0, 10);
    tcase_add_test(t, addresses_in_order);
    tcase_add_test(t, references_to_nowhere);
    tcase_add_test(t, wrong_calls);
    tcase_add_test(t, stacks);
    tcase_add_test(t, deep_stacks);
    tcase_add_test(t, summary);
    tcase_add_test(t, summary_of_many_types);
    tcase_add_test(t, summary_is_bounded);
    tcase_add_test(t, memory_budget);
    tcase_add_test(t, verify_can_be_canceled);
    tcase_add_test(t, threads_share_a_snapshot);
    tcase_add_test(t, files_and_options);
    tcase_add_test(t, a_sink_can_refuse);
    tcase_add_test(t, names);
    suite_add_tcase(suite, t);
    SRunner *const runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    srunner_free(runner);
    return 0;
}
