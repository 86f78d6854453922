/* The comparison from inside: shapes of series, escaping, rows whose order was promised and is not
 * kept, parts for threads, cancelling, and every allocation failing in turn. What a comparison adds
 * up is checked from outside, by tests/cli/properties.py. */
#include "base/printable.h"
#include "diff/ahead.h"
#include "diff/cohort.h"
#include "diff/heapload.h"
#include "diff/pass.h"
#include "diff/trend.h"
#include "support/sample.h"
#include "support/sanitized.h"

#include <heapsnap/diff.h>
#include <heapsnap/report.h>

#include <check.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static long fail_at = LONG_MAX, n_allocations; /* the allocation that fails, and all after it */

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

static const struct {
    uint64_t y[8];
    size_t n;
    uint32_t overlap_ppm;
    snap_trend trend;
} shapes[] = {
    {{5}, 1, UINT32_MAX, SNAP_TREND_FLAT},
    {{5, 6}, 2, UINT32_MAX, SNAP_TREND_MONOTONIC},
    {{6, 5}, 2, UINT32_MAX, SNAP_TREND_FLAT},
    {{0, 0, 0}, 3, UINT32_MAX, SNAP_TREND_FLAT},
    {{1, 2, 3}, 3, UINT32_MAX, SNAP_TREND_LINEAR},
    {{1000000, 1000001, 1000002, 1000003}, 4, UINT32_MAX, SNAP_TREND_LINEAR},
    {{3, 2, 1}, 3, UINT32_MAX, SNAP_TREND_FLAT},
    {{100, 200, 1000, 1100}, 4, UINT32_MAX, SNAP_TREND_MONOTONIC},
    {{0, 100, 100}, 3, UINT32_MAX, SNAP_TREND_STEP},
    {{0, 0, 100, 101}, 4, UINT32_MAX, SNAP_TREND_STEP},
    {{0, 0, 100}, 3, UINT32_MAX, SNAP_TREND_STEP},
    {{0, 50, 90, 100, 100}, 5, UINT32_MAX, SNAP_TREND_PLATEAU},
    {{100, 300, 50, 400}, 4, UINT32_MAX, SNAP_TREND_NOISY},
    {{10000, 10010, 10005, 10008}, 4, UINT32_MAX, SNAP_TREND_FLAT},
    {{1000, 1000, 1000}, 3, 100000, SNAP_TREND_CHURN},
    {{1000, 1020, 1010}, 3, 499999, SNAP_TREND_CHURN},
    {{1000, 1020, 1010}, 3, 900000, SNAP_TREND_NOISY},
    {{1000, 1010, 1020, 1030}, 4, 0, SNAP_TREND_LINEAR},
    {{UINT64_MAX, UINT64_MAX, UINT64_MAX}, 3, UINT32_MAX, SNAP_TREND_FLAT},
    {{0, UINT64_MAX / 2, UINT64_MAX}, 3, UINT32_MAX, SNAP_TREND_LINEAR},
    /* Back a little now and then: a line nevertheless if there are enough points. */
    {{0, 1000, 2500, 2490, 4000, 5000, 6000, 7000}, 8, UINT32_MAX, SNAP_TREND_LINEAR},
    {{0, 1000, 2000, 1500}, 4, UINT32_MAX, SNAP_TREND_NOISY},
    {{0, 1000, 0, 2000, 0, 3000, 0, 4000}, 8, UINT32_MAX, SNAP_TREND_NOISY},
};

START_TEST(a_series_has_its_shape) {
    const double x[8] = {0, 1, 2, 3, 4, 5, 6, 7};
    ck_assert_str_eq(
        snap_trend_name(trend_classify(shapes[_i].y, x, shapes[_i].n, shapes[_i].overlap_ppm)),
        snap_trend_name(shapes[_i].trend));
}
END_TEST

START_TEST(a_line_is_drawn_over_steps) {
    const uint64_t y[] = {100, 110, 200};
    const double even[] = {0, 1, 2}, steps[] = {0, 10, 100};
    ck_assert_int_eq(trend_classify(y, even, 3, UINT32_MAX), SNAP_TREND_MONOTONIC);
    ck_assert_int_eq(trend_classify(y, steps, 3, UINT32_MAX), SNAP_TREND_LINEAR);
}
END_TEST

/* Against all orders of n values: how many of them rise in at least as many pairs. */
static long pairs_up(const uint64_t *y, size_t n) {
    long s = 0;
    for (size_t i = 0; i < n; i++)
        for (size_t j = i + 1; j < n; j++)
            s += (y[j] > y[i]) - (y[j] < y[i]);
    return s;
}

static void count_orders(uint64_t *y, size_t n, size_t at, long s, double *n_all, double *n_part) {
    if (at == n) {
        *n_all += 1;
        *n_part += pairs_up(y, n) >= s;
        return;
    }
    for (size_t i = at; i < n; i++) {
        const uint64_t a = y[at], b = y[i];
        y[at] = b, y[i] = a;
        count_orders(y, n, at + 1, s, n_all, n_part);
        y[at] = a, y[i] = b;
    }
}

START_TEST(chance_is_a_part_of_all_orders) {
    const double x[12] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11};
    uint64_t random = (uint64_t)_i + 1, y[8];
    const size_t n = 2 + (size_t)_i % 6;
    for (size_t i = 0; i < n; i++)
        y[i] = sample_next(&random);
    struct trend_fit fit;
    ck_assert_int_eq(trend_fit(y, x, n, &fit), 0);
    double all = 0, part = 0;
    uint64_t order[8];
    memcpy(order, y, sizeof order);
    count_orders(order, n, 0, pairs_up(y, n), &all, &part);
    ck_assert_double_eq_tol((double)fit.chance_ppm, 1e6 * part / all, 1);
}
END_TEST

START_TEST(a_slope_is_that_of_most) {
    const double steps[7] = {0, 10, 20, 30, 40, 50, 60};
    const uint64_t y[7] = {100, 1100, 2100, 90000, 4100, 5100, 6100};
    struct trend_fit fit;
    ck_assert_int_eq(trend_fit(y, steps, 7, &fit), 0);
    ck_assert_double_eq_tol(fit.slope, 100, 1e-9);
    /* More pairs than are looked at one by one. */
    static double x[1000];
    static uint64_t line[1000];
    for (size_t i = 0; i < 1000; i++) {
        x[i] = (double)i;
        line[i] = 5000000 - 7 * i + (i % 10 == 3 ? 100000 : 0);
    }
    ck_assert_int_eq(trend_fit(line, x, 1000, &fit), 0);
    ck_assert_double_eq_tol(fit.slope, -7, 1e-9);
    ck_assert_uint_gt(fit.chance_ppm, 990000);
}
END_TEST

/* A line after something else is found, a curve that flattens out is none. */
START_TEST(a_line_may_begin_later) {
    const double x[8] = {0, 1, 2, 3, 4, 5, 6, 7};
    const uint64_t late[8] = {0, 10000, 10010, 10020, 10030, 10040, 10050, 10060},
                   flattening[8] = {0, 5000, 7500, 8750, 9375, 9687, 9843, 9921},
                   still[8] = {0, 10000, 10000, 10000, 10000, 10000, 10000, 10000};
    ck_assert_uint_eq(trend_tail(late, x, 8), 1);
    ck_assert_uint_eq(trend_tail(flattening, x, 8), 0);
    ck_assert_uint_eq(trend_tail(still, x, 8), 0);
    ck_assert_uint_eq(trend_tail(late, x, 4), 0);
}
END_TEST

static const struct {
    const char *text, *escaped;
} texts[] = {
    {"plain", "plain"},
    {"", ""},
    {"\x1b[31m", "\\x1b[31m"},
    {"tab\tnew\nline", "tab\\x09new\\x0aline"},
    {"gr\xc3\xbc\xc3\x9f", "gr\xc3\xbc\xc3\x9f"},
    {"\xc3", "\\xc3"},
    {"\xc0\xaf", "\\xc0\\xaf"},
    {"\xed\xa0\x80", "\\xed\\xa0\\x80"},
    {"\xf4\x90\x80\x80", "\\xf4\\x90\\x80\\x80"},
    {"\xc2\x9b", "\\xc2\\x9b"},
    {"a\xe2\x80\xaez", "a\\xe2\\x80\\xaez"},
    {"\xf0\x9f\x98\x80", "\xf0\x9f\x98\x80"},
    {"\x7f", "\\x7f"},
};

START_TEST(names_are_harmless) {
    char out[64];
    const size_t length = strlen(texts[_i].escaped);
    ck_assert_uint_eq(text_escape(out, sizeof out, texts[_i].text), length);
    ck_assert_str_eq(out, texts[_i].escaped);
    /* Cut anywhere, what is left is a beginning of the whole. */
    for (size_t size = 0; size <= length; size++) {
        memset(out, 'x', sizeof out);
        ck_assert_uint_eq(text_escape(out, size, texts[_i].text), length);
        if (size > 0)
            ck_assert_int_eq(strncmp(out, texts[_i].escaped, strlen(out)), 0);
        ck_assert_int_eq(out[size], 'x');
    }
}
END_TEST

START_TEST(sizes_have_units) {
    char text[TEXT_SIZE_MAX];
    ck_assert_str_eq(text_size(text, 0), "0 B");
    ck_assert_str_eq(text_size(text, 999), "999 B");
    ck_assert_str_eq(text_size(text, 1000), "1.0 KB");
    ck_assert_str_eq(text_size(text, 999949), "999.9 KB");
    ck_assert_str_eq(text_size(text, 999950), "1.0 MB");
    ck_assert_str_eq(text_size(text, UINT64_MAX), "18.4 EB");
    ck_assert_str_eq(text_signed_size(text, -1500), "-1.5 KB");
    ck_assert_str_eq(text_signed_size(text, INT64_MIN), "-9.2 EB");
}
END_TEST

static snap_error err;

#define OK(call)                                                                                   \
    do {                                                                                           \
        const int result_ = (call);                                                                \
        ck_assert_msg(result_ == 0, "%s: %s %s", #call, snap_error_name(result_), err.message);    \
    } while (0)

static int has_births = 1;

/* n blocks of 4 stacks; every block at 16 * its number. Of the second file (sequence 2) every third
 * is new. is_sorted 0: rows in reverse order. */
static void make_file_with(struct bytes *file, size_t n, uint64_t sequence, int is_sorted,
                           const snap_writer_options *options) {
    snap_writer *w;
    uint64_t stacks[4];
    memset(file, 0, sizeof *file);
    OK(snap_writer_open_sink(&w, bytes_sink, file, options, &err));
    OK(snap_writer_meta_text(w, SNAP_META_WRITER, "test", &err));
    OK(snap_writer_meta_text(w, SNAP_META_LINEAGE, "00112233445566778899aabbccddeeff", &err));
    OK(snap_writer_meta_number(w, SNAP_META_SEQUENCE, sequence, &err));
    if (!is_sorted)
        OK(snap_writer_meta_number(w, SNAP_META_UNSORTED, 1, &err));
    OK(snap_writer_module(w, "/usr/bin/test", "aa", 0, 4096, 0, 0, NULL, &err));
    for (uint64_t i = 0; i < 4; i++) {
        uint64_t row[SNAP_COLUMNS_MAX] = {0};
        row[SNAP_FRAM_COL_MODULE] = 1;
        row[SNAP_FRAM_COL_OFFSET] = 16 * i;
        OK(snap_writer_row(w, SNAP_TABLE_FRAM, row, NULL, &err));
        memset(row, 0, sizeof row);
        row[SNAP_STAK_COL_FRAME] = i + 1;
        OK(snap_writer_row(w, SNAP_TABLE_STAK, row, &stacks[i], &err));
    }
    for (size_t i = 0; i < n; i++) {
        const size_t block = is_sorted ? i : n - 1 - i;
        uint64_t row[SNAP_COLUMNS_MAX] = {0};
        row[SNAP_NODE_COL_DOMAIN] = SNAP_DOMAIN_HOST;
        row[SNAP_NODE_COL_KIND] = SNAP_NODE_BLOCK;
        row[SNAP_NODE_COL_ADDRESS] = 16 * (block + 1);
        row[SNAP_NODE_COL_SIZE] = 10 + block % 7;
        row[SNAP_NODE_COL_STACK] = stacks[block % 4];
        if (has_births)
            row[SNAP_NODE_COL_BIRTH] = sequence == 2 && block % 3 == 0 ? n + block + 1 : n - block;
        OK(snap_writer_row(w, SNAP_TABLE_NODE, row, NULL, &err));
    }
    /* Three mappings per file: two of them by the program. */
    for (uint64_t i = 0; i < 3 * sequence; i++) {
        uint64_t row[SNAP_COLUMNS_MAX] = {0};
        row[SNAP_REGN_COL_ADDRESS] = (1 << 20) * (i + 1);
        row[SNAP_REGN_COL_SIZE] = 4096 * (i % 3 + 1);
        row[SNAP_REGN_COL_KIND] = SNAP_REGN_ANONYMOUS;
        row[SNAP_REGN_COL_STACK] = i % 3 == 2 ? 0 : stacks[i % 3];
        OK(snap_writer_row(w, SNAP_TABLE_REGN, row, NULL, &err));
    }
    OK(snap_writer_finish(w, &err));
    snap_writer_close(w);
}

static void make_file(struct bytes *file, size_t n, uint64_t sequence, int is_sorted) {
    make_file_with(file, n, sequence, is_sorted, NULL);
}

static void open_pair(size_t n, int is_sorted, struct bytes files[2], snap_snapshot *s[2]) {
    for (int i = 0; i < 2; i++) {
        make_file(&files[i], n, (uint64_t)i + 1, is_sorted);
        OK(snap_open_memory(&s[i], files[i].data, files[i].size, NULL, &err));
    }
}

static void close_pair(struct bytes files[2], snap_snapshot *s[2]) {
    for (int i = 0; i < 2; i++) {
        snap_close(s[i]);
        bytes_release(&files[i]);
    }
}

START_TEST(mappings_are_summed_by_stack) {
    struct bytes files[2];
    snap_snapshot *s[2];
    snap_diff *d;
    size_t n, n_sites;
    open_pair(100, 1, files, s);
    OK(snap_diff_new(&d, (const snap_snapshot *const *)s, 2, NULL, &err));
    const snap_diff_site *const mapped = snap_diff_mapped(d, &n);
    ck_assert_uint_eq(n, 2);
    for (uint64_t i = 0; i < 2; i++) { /* the larger one first */
        const uint64_t size = 4096 * (2 - i);
        ck_assert_uint_eq(mapped[i].counts[0], 1);
        ck_assert_uint_eq(mapped[i].counts[1], 2);
        ck_assert_uint_eq(mapped[i].bytes[0], size);
        ck_assert_uint_eq(mapped[i].bytes[1], 2 * size);
        ck_assert_int_eq(mapped[i].growth_bytes, (int64_t)size);
        ck_assert_uint_eq(mapped[i].stack, 2 - i);
    }
    /* Blocks know nothing of them. */
    const snap_diff_site *const sites = snap_diff_sites(d, &n_sites);
    uint64_t bytes = 0;
    for (size_t i = 0; i < n_sites; i++)
        bytes += sites[i].bytes[1];
    ck_assert_uint_eq(bytes, snap_diff_snapshots(d)[1].totals[SNAP_DOMAIN_HOST].bytes);
    ck_assert_uint_lt(bytes, 4096);
    snap_diff_free(d);
    close_pair(files, s);
}
END_TEST

static const snap_diff_site *site_of(const snap_diff *d, uint64_t key) {
    size_t n;
    const snap_diff_site *const sites = snap_diff_sites(d, &n);
    for (size_t i = 0; i < n; i++)
        if (sites[i].key == key)
            return &sites[i];
    return NULL;
}

/* What is listed is what the blocks add up to; what is not listed grew by no more than it did. */
START_TEST(summaries_invent_no_growth) {
    const snap_writer_options few = {.struct_size = sizeof few,
                                     .summary_rows = _i == 0 ? 0 : (uint32_t)_i};
    const snap_diff_options summary = {.struct_size = sizeof summary, .summary_only = 1};
    struct bytes files[2];
    snap_snapshot *s[2];
    snap_diff *whole, *d;
    size_t n, n_limits, n_equal = 0;
    /* The stacks change places: 3, 2, 1, 0 by size in one file, others in the other. */
    make_file_with(&files[0], 101, 1, 1, &few);
    make_file_with(&files[1], 131, 2, 1, &few);
    for (int i = 0; i < 2; i++)
        OK(snap_open_memory(&s[i], files[i].data, files[i].size, NULL, &err));
    OK(snap_diff_new(&whole, (const snap_snapshot *const *)s, 2, NULL, &err));
    OK(snap_diff_new(&d, (const snap_snapshot *const *)s, 2, &summary, &err));
    for (int i = 0; i < 2; i++)
        ck_assert_uint_eq(snap_diff_snapshots(d)[i].totals[SNAP_DOMAIN_HOST].bytes,
                          snap_diff_snapshots(whole)[i].totals[SNAP_DOMAIN_HOST].bytes);
    const snap_diff_site *const sites = snap_diff_sites(d, &n);
    ck_assert_uint_ge(n, 1);
    for (size_t i = 0; i < n; i++) {
        if (sites[i].key == 0)
            continue;
        const snap_diff_site *const exact = site_of(whole, sites[i].key);
        ck_assert_ptr_nonnull(exact);
        ck_assert(sites[i].growth_bytes <= 0 || sites[i].growth_bytes <= exact->growth_bytes);
        n_equal += sites[i].growth_bytes == exact->growth_bytes;
        ck_assert_uint_ge(sites[i].bytes[0], exact->bytes[0]);
    }
    const char *const *const limits = snap_diff_limits(d, &n_limits);
    int says_unlisted = 0;
    for (size_t i = 0; i < n_limits; i++)
        says_unlisted |= strstr(limits[i], "smallest listed") != NULL;
    if (_i == 0) {
        ck_assert_uint_eq(n_equal, 4);
        ck_assert(!says_unlisted);
    }
    if (_i == 1)
        ck_assert(says_unlisted == (n > 2));
    snap_diff_free(d);
    snap_diff_free(whole);
    for (int i = 0; i < 2; i++) {
        snap_close(s[i]);
        bytes_release(&files[i]);
    }
}
END_TEST

/* Chunks come in order and whole, whoever decoded them, and the reading can be left at any. */
START_TEST(chunks_are_decoded_ahead) {
    struct bytes files[2];
    snap_snapshot *s[2];
    open_pair(400000, 1, files, s);
    const uint32_t columns = 1u << SNAP_NODE_COL_ADDRESS | 1u << SNAP_NODE_COL_BIRTH;
    const uint32_t n_chunks = snap_n_chunks(s[0], SNAP_TABLE_NODE);
    ck_assert_uint_gt(n_chunks, AHEAD_SLOTS);
    snap_batch expected;
    snap_batch_init(&expected);
    for (uint32_t n = 0; n <= n_chunks; n++) {
        struct ahead ahead;
        const snap_batch *batch;
        ahead_start(&ahead, s[0], SNAP_TABLE_NODE, columns, 1 + n % 2);
        for (uint32_t chunk = 0; chunk < n; chunk++) {
            OK(snap_batch_read(s[0], SNAP_TABLE_NODE, chunk, columns, &expected, &err));
            ck_assert_int_eq(ahead_next(&ahead, &batch, &err), 1);
            ck_assert_uint_eq(batch->first_id, expected.first_id);
            ck_assert_uint_eq(batch->n_rows, expected.n_rows);
            const unsigned column = chunk % 2 ? SNAP_NODE_COL_ADDRESS : SNAP_NODE_COL_BIRTH;
            ck_assert_int_eq(memcmp(batch->column[column], expected.column[column],
                                    batch->n_rows * sizeof(uint64_t)),
                             0);
        }
        if (n == n_chunks)
            ck_assert_int_eq(ahead_next(&ahead, &batch, &err), 0);
        ahead_stop(&ahead);
    }
    snap_batch_release(&expected);
    close_pair(files, s);
}
END_TEST

/* Places of references in their sources: kept in four bytes each, unless one needs more; the one
 * that does so comes in the chunk `_i`, or in none. */
START_TEST(far_places_in_sources_are_kept) {
    const size_t n = 150000; /* three chunks */
    const size_t far = _i < 3 ? (size_t)_i * (n / 3) + 11 : n;
    struct bytes file = {0};
    snap_writer *w;
    snap_snapshot *s;
    snap_heap *h;
    OK(snap_writer_open_sink(&w, bytes_sink, &file, NULL, &err));
    OK(snap_writer_meta_text(w, SNAP_META_WRITER, "test", &err));
    for (uint64_t i = 0; i < 2; i++) {
        uint64_t row[SNAP_COLUMNS_MAX] = {0};
        row[SNAP_NODE_COL_DOMAIN] = SNAP_DOMAIN_HOST;
        row[SNAP_NODE_COL_KIND] = SNAP_NODE_BLOCK;
        row[SNAP_NODE_COL_ADDRESS] = (i + 1) << 44;
        row[SNAP_NODE_COL_SIZE] = UINT64_C(1) << 42;
        OK(snap_writer_row(w, SNAP_TABLE_NODE, row, NULL, &err));
    }
    for (uint64_t i = 0; i < n; i++) {
        uint64_t row[SNAP_COLUMNS_MAX] = {0};
        row[SNAP_EDGE_COL_SOURCE] = i < far ? 1 : 2;
        row[SNAP_EDGE_COL_TARGET] = 2;
        row[SNAP_EDGE_COL_KIND] = SNAP_EDGE_POINTER;
        row[SNAP_EDGE_COL_SOURCE_OFFSET] = i == far ? UINT64_C(1) << 40 : 8 * i;
        OK(snap_writer_row(w, SNAP_TABLE_EDGE, row, NULL, &err));
    }
    OK(snap_writer_finish(w, &err));
    snap_writer_close(w);
    OK(snap_open_memory(&s, file.data, file.size, NULL, &err));
    ck_assert_uint_gt(snap_n_chunks(s, SNAP_TABLE_EDGE), 2);
    OK(snap_heap_open(&h, s, NULL, &err));
    for (uint64_t i = 0; i < n; i++)
        if (heap_edge_offset(h, i) != (i == far ? UINT64_C(1) << 40 : 8 * i))
            ck_abort_msg("edge %" PRIu64, i);
    snap_heap_close(h);
    snap_close(s);
    bytes_release(&file);
}
END_TEST

/* Sources that claim to be sorted whatever the file says. */
START_TEST(broken_order_is_noticed_and_mended) {
    const size_t n = 400000; /* seven chunks: parts for three threads */
    const unsigned threads = (unsigned)_i;
    struct bytes files[2];
    snap_snapshot *s[2];
    open_pair(n, 0, files, s);
    struct source sources[2];
    for (int i = 0; i < 2; i++)
        sources[i] = (struct source){.snapshot = s[i],
                                     .n_blocks = snap_n_chunks(s[i], SNAP_TABLE_NODE),
                                     .n_rows = snap_rows(s[i], SNAP_TABLE_NODE)};
    struct pass_input in = {
        .earlier = &sources[0],
        .later = &sources[1],
        .relation = {.match = 1},
        .newer_than = UINT64_MAX,
        .threads = threads,
    };
    struct pass_result result;
    OK(pass_run(&in, &result, &err));
    ck_assert_ptr_nonnull(sources[0].sorted);
    ck_assert_ptr_nonnull(sources[1].sorted);
    const uint64_t n_new = (n + 2) / 3;
    ck_assert_uint_eq(result.surviving_count, n - n_new);
    uint64_t new_count = 0, count = 0;
    for (size_t i = 0; i < result.later.n; i++) {
        new_count += result.later.rows[i].new_count;
        count += result.later.rows[i].count;
    }
    ck_assert_uint_eq(new_count, n_new);
    ck_assert_uint_eq(count, n);
    ck_assert_uint_eq(result.later.n, 4);
    ck_assert_uint_eq(result.earlier.n, 4);
    pass_result_release(&result);
    for (int i = 0; i < 2; i++)
        source_release(&sources[i]);
    close_pair(files, s);
}
END_TEST

/* What a pass tells of single blocks is what a join of them alone finds; where it cannot, it tells
 * nothing. */
START_TEST(a_pass_tells_which_blocks_stayed) {
    const size_t n = 100000; /* two chunks */
    struct bytes files[2];
    snap_snapshot *s[2];
    const struct pass_relation relations[] = {
        {.match = 1}, {.match = 1, .only_inherited_a = 1}, {.match = 0}};
    for (int kind = 0; kind < 3; kind++) { /* 0: in order, 1: not, 2: without births */
        const int is_sorted = kind != 1;
        has_births = kind != 2;
        open_pair(n, is_sorted, files, s);
        for (size_t r = 0; r < (kind == 0 ? sizeof relations / sizeof *relations : 1); r++) {
            struct source sources[2];
            struct cohort told = {0}, found = {0};
            struct pass_result result;
            for (int i = 0; i < 2; i++)
                OK(source_init(&sources[i], s[i], &err));
            struct pass_input in = {.earlier = &sources[0],
                                    .later = &sources[1],
                                    .relation = relations[r],
                                    .cohort = &told,
                                    .newer_than = UINT64_MAX,
                                    .threads = (unsigned)_i};
            OK(pass_run(&in, &result, &err));
            ck_assert_int_eq(told.fresh != NULL, kind == 0 && r == 0);
            ck_assert_int_eq(told.gone != NULL, kind == 0 && r == 0);
            if (told.fresh != NULL) {
                OK(cohort_init(&found, s[0], s[1], relations[r], 1, &err));
                ck_assert_uint_eq(told.n_fresh, found.n_fresh);
                ck_assert_uint_eq(told.n_gone, found.n_gone);
                ck_assert_uint_eq(told.n_gone, (n + 2) / 3);
                ck_assert_mem_eq(told.fresh, found.fresh, (n / 64 + 1) * sizeof *told.fresh);
                ck_assert_mem_eq(told.gone, found.gone, (n / 64 + 1) * sizeof *told.gone);
            }
            cohort_release(&told);
            cohort_release(&found);
            pass_result_release(&result);
            for (int i = 0; i < 2; i++)
                source_release(&sources[i]);
        }
        close_pair(files, s);
    }
    has_births = 1;
}
END_TEST

static char *report_of(snap_snapshot *const *s, unsigned threads, size_t *out_size) {
    const snap_diff_options options = {.struct_size = sizeof options, .threads = threads};
    const snap_report_options all = {.struct_size = sizeof all, .top = UINT_MAX};
    snap_diff *d;
    char *text = NULL;
    OK(snap_diff_new(&d, (const snap_snapshot *const *)s, 2, &options, &err));
    FILE *const out = open_memstream(&text, out_size);
    ck_assert_ptr_nonnull(out);
    OK(snap_report_diff(d, "json", out, &all, &err));
    fclose(out);
    snap_diff_free(d);
    return text;
}

START_TEST(threads_change_nothing) {
    struct bytes files[2];
    snap_snapshot *s[2];
    open_pair(SANITIZED ? 80000 : 300000, 1, files, s);
    size_t size_one, size_many;
    char *const one = report_of(s, 1, &size_one);
    for (unsigned threads = 2; threads <= 16; threads += 7) {
        char *const many = report_of(s, threads, &size_many);
        ck_assert_uint_eq(size_one, size_many);
        ck_assert_int_eq(memcmp(one, many, size_one), 0);
        free(many);
    }
    free(one);
    close_pair(files, s);
}
END_TEST

static int stop_at(void *context, uint64_t done, uint64_t total) {
    ck_assert_uint_le(done, total);
    return done >= *(const uint64_t *)context;
}

START_TEST(a_caller_can_stop_it) {
    struct bytes files[2];
    snap_snapshot *s[2];
    const size_t n = SANITIZED ? 60000 : 200000;
    open_pair(n, 1, files, s);
    uint64_t limit = (uint64_t)_i * n / 2;
    const snap_diff_options options = {.struct_size = sizeof options,
                                       .progress = stop_at,
                                       .progress_context = &limit,
                                       .threads = 1}; /* how far two are at a call is chance */
    snap_diff *d = NULL;
    ck_assert_int_eq(snap_diff_new(&d, (const snap_snapshot *const *)s, 2, &options, &err),
                     SNAP_E_CANCELED);
    ck_assert_ptr_null(d);
    close_pair(files, s);
}
END_TEST

START_TEST(a_comparison_needs_two) {
    snap_diff *d = NULL;
    ck_assert_int_eq(snap_diff_new(&d, NULL, 0, NULL, &err), SNAP_E_ARG);
    ck_assert_int_eq(snap_diff_new(&d, NULL, 1, NULL, NULL), SNAP_E_ARG);
    ck_assert_ptr_null(d);
}
END_TEST

/* One comparison with both reports. */
static int compare(snap_snapshot *const *s, FILE *out, int summary_only) {
    const snap_diff_options options = {
        .struct_size = sizeof options, .threads = 1, .summary_only = summary_only};
    snap_diff *d;
    int result = snap_diff_new(&d, (const snap_snapshot *const *)s, 2, &options, &err);
    if (result < 0)
        return result;
    result = snap_report_diff(d, "text", out, NULL, &err);
    if (result == 0)
        result = snap_report_diff(d, "json", out, NULL, &err);
    snap_diff_free(d);
    return result;
}

/* From the Nth allocation on there is no memory: the answer is NOMEM, nothing is lost (the
 * sanitizer tells), and with memory again the same call works. Both orders of rows, and summaries.
 */
START_TEST(no_memory_is_an_answer) {
    struct bytes files[2];
    snap_snapshot *s[2];
    FILE *const out = fopen("/dev/null", "w");
    ck_assert_ptr_nonnull(out);
    open_pair(SANITIZED ? 200 : 1000, _i != 0, files, s);
    ck_assert_int_eq(compare(s, out, _i == 2), 0); /* the reader's caches are warm from here on */
    int n_failed = 0, result = SNAP_E_NOMEM;
    for (long n = 0; result != 0; n++) {
        ck_assert_int_lt(n, 10000);
        n_allocations = 0;
        fail_at = n;
        result = compare(s, out, _i == 2);
        fail_at = LONG_MAX;
        ck_assert_msg(result == 0 || result == SNAP_E_NOMEM, "allocation %ld: %s %s", n,
                      snap_error_name(result), err.message);
        n_failed += result != 0;
    }
    ck_assert_int_gt(n_failed, _i == 2 ? 10 : 30);
    ck_assert_int_eq(compare(s, out, _i == 2), 0);
    fclose(out);
    close_pair(files, s);
}
END_TEST

int main(void) {
    Suite *const suite = suite_create("diff");
    TCase *const c = tcase_create("diff");
    tcase_set_timeout(c, 120);
    tcase_add_loop_test(c, a_series_has_its_shape, 0, sizeof shapes / sizeof *shapes);
    tcase_add_test(c, a_line_is_drawn_over_steps);
    tcase_add_loop_test(c, chance_is_a_part_of_all_orders, 0, 30);
    tcase_add_test(c, a_slope_is_that_of_most);
    tcase_add_test(c, a_line_may_begin_later);
    tcase_add_loop_test(c, names_are_harmless, 0, sizeof texts / sizeof *texts);
    tcase_add_test(c, sizes_have_units);
    tcase_add_test(c, mappings_are_summed_by_stack);
    tcase_add_loop_test(c, summaries_invent_no_growth, 0, 4);
    tcase_add_loop_test(c, broken_order_is_noticed_and_mended, SANITIZED ? 3 : 1, 4);
    tcase_add_loop_test(c, a_pass_tells_which_blocks_stayed, SANITIZED ? 3 : 1, 4);
    tcase_add_loop_test(c, far_places_in_sources_are_kept, 0, 4);
    tcase_add_test(c, chunks_are_decoded_ahead);
    tcase_add_test(c, threads_change_nothing);
    tcase_add_loop_test(c, a_caller_can_stop_it, 0, THREAD_SANITIZED ? 0 : 3);
    tcase_add_test(c, a_comparison_needs_two);
    tcase_add_loop_test(c, no_memory_is_an_answer, 0, THREAD_SANITIZED ? 0 : 3);
    suite_add_tcase(suite, c);
    SRunner *const runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    srunner_free(runner);
    return 0;
}
