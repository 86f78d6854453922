/* Every encoding gives back what was put in, and no bytes make a decoder read or write outside. */
#include "codec/choose.h"

#include "support/sample.h"
#include <check.h>
#include <stdlib.h>
#include <string.h>

static const unsigned encodings[] = {SNAP_ENC_PLANES, SNAP_ENC_DELTA, SNAP_ENC_RUNS, SNAP_ENC_HUBS,
                                     SNAP_ENC_KEYED};
static const size_t lengths[] = {1, 2, 7, 8, 15, 16, 17, 31, 33, 255, 256, 257, 1000, 65536};

enum style { ZERO, SAME, SMALL, RANDOM, RAMP, FALL, ENDS, RUNS, HUBS, WIDE_LAST, N_STYLES };

static void make(enum style style, uint64_t *v, size_t n, uint64_t *state) {
    for (size_t i = 0; i < n; i++) {
        const uint64_t r = sample_next(state);
        switch (style) {
        case ZERO: v[i] = 0; break;
        case SAME: v[i] = UINT64_MAX - 5; break;
        case SMALL: v[i] = r % 200; break;
        case RANDOM: v[i] = r; break;
        case RAMP: v[i] = 0x7ffff0000000 + i * 48; break;
        case FALL: v[i] = UINT64_MAX - i * 0x100000001; break;
        case ENDS: v[i] = i % 2 ? UINT64_MAX : 0; break;
        case RUNS: v[i] = i / 37 * 0x0101010101; break;
        case HUBS: v[i] = r % 4 ? (r >> 8) % 300 * 0xfffffffff : r; break;
        default: v[i] = i + 1 == n ? UINT64_MAX : 1; break;
        }
    }
}

START_TEST(round_trip) {
    struct column_scratch s = {0};
    ck_assert_int_eq(column_scratch_init_encoder(&s), 0);
    uint64_t state = (uint64_t)_i;
    for (size_t l = 0; l < sizeof lengths / sizeof *lengths; l++) {
        const size_t n = lengths[l];
        /* Exact sizes, so that a sanitizer sees the first byte too many. */
        uint64_t *const v = malloc(n * sizeof *v), *const key = malloc(n * sizeof *key),
                        *const back = malloc(n * sizeof *back);
        uint8_t *const buffer = malloc(column_bound(n));
        make((enum style)_i, v, n, &state);
        make(SMALL, key, n, &state);
        key[0] = UINT64_MAX;
        for (size_t e = 0; e < sizeof encodings / sizeof *encodings; e++) {
            unsigned width, key_column = 0;
            const size_t size = column_encode(&s, encodings[e], v, n, 3, key, buffer, &width);
            ck_assert_uint_le(size, column_bound(n));
            uint8_t *const exact = malloc(size ? size : 1);
            memcpy(exact, buffer, size);
            memset(back, 0xa5, n * sizeof *back);
            if (encodings[e] == SNAP_ENC_KEYED) {
                ck_assert_int_eq(column_key_column(exact, size, &key_column), 0);
                ck_assert_uint_eq(key_column, 3);
            }
            ck_assert_int_eq(column_decode(&s, encodings[e], width, exact, size, n, key, back), 0);
            ck_assert_mem_eq(v, back, n * sizeof *v);
            /* A size that is off by one is no column. */
            if (size)
                ck_assert_int_eq(
                    column_decode(&s, encodings[e], width, exact, size - 1, n, key, back),
                    SNAP_E_CORRUPT);
            ck_assert_int_eq(column_decode(&s, encodings[e], width, buffer, size + 1, n, key, back),
                             SNAP_E_CORRUPT);
            free(exact);
        }
        free(v);
        free(key);
        free(back);
        free(buffer);
    }
    column_scratch_release(&s);
}
END_TEST

START_TEST(planes_are_least_and_in_order) {
    const uint64_t v[3] = {0x010203, 0x04, 0x0506};
    uint8_t out[9];
    column_planes_put(out, v, 3, 3);
    const uint8_t expected[9] = {3, 4, 6, 2, 0, 5, 1, 0, 0};
    ck_assert_mem_eq(out, expected, 9);
    for (unsigned w = 0; w < 8; w++) {
        ck_assert_uint_eq(column_width((uint64_t)1 << 8 * w), w + 1);
        ck_assert_uint_eq(column_width(((uint64_t)1 << 8 * w) - 1), w);
    }
    ck_assert_uint_eq(column_width(UINT64_MAX), 8);
}
END_TEST

START_TEST(zigzag) {
    const int64_t some[] = {0, 1, -1, 2, INT64_MAX, INT64_MIN};
    const uint64_t expected[] = {0, 2, 1, 4, UINT64_MAX - 1, UINT64_MAX};
    for (size_t i = 0; i < sizeof some / sizeof *some; i++) {
        ck_assert_uint_eq(column_zigzag((uint64_t)some[i]), expected[i]);
        ck_assert_uint_eq(column_unzigzag(expected[i]), (uint64_t)some[i]);
    }
}
END_TEST

/* Random and half-right bytes: an error or n numbers, nothing else (the sanitizers look on). */
START_TEST(hostile_bytes) {
    struct column_scratch s = {0};
    ck_assert_int_eq(column_scratch_init_encoder(&s), 0);
    uint64_t state = 99;
    unsigned n_good = 0;
    for (int round = 0; round < 20000; round++) {
        const size_t n = 1 + sample_next(&state) % 40;
        uint64_t v[40], back[40], key[40];
        make((enum style)(sample_next(&state) % N_STYLES), v, n, &state);
        make(SMALL, key, n, &state);
        uint8_t *const buffer = malloc(column_bound(n));
        const unsigned e = encodings[sample_next(&state) % 5];
        unsigned width;
        size_t size = column_encode(&s, e, v, n, 1, key, buffer, &width);
        for (unsigned k = sample_next(&state) % 4; k && size; k--)
            buffer[sample_next(&state) % (size < 12 ? size : 12)] = (uint8_t)sample_next(&state);
        if (sample_next(&state) % 8 == 0)
            size = sample_next(&state) % (size + 1);
        if (sample_next(&state) % 8 == 0)
            width = sample_next(&state) % 256;
        uint8_t *const exact = malloc(size ? size : 1);
        memcpy(exact, buffer, size);
        const int result = column_decode(&s, e, width, exact, size, n, key, back);
        ck_assert(result == 0 || result == SNAP_E_CORRUPT || result == SNAP_E_UNSUPPORTED);
        n_good += result == 0;
        free(exact);
        free(buffer);
    }
    ck_assert_uint_gt(n_good, 1000);
    column_scratch_release(&s);
}
END_TEST

/* Runs of lengths around those where a length takes another byte, and few or many of them. */
static size_t make_runs(uint64_t *v, uint64_t *state) {
    static const size_t most[] = {1, 2, 3, 5, 140, 254, 255, 256, 257, 1000, 30000};
    const size_t longest = most[sample_next(state) % (sizeof most / sizeof *most)];
    const size_t usual = most[sample_next(state) % 4];
    const uint64_t values = sample_next(state) % 4 ? 200 : UINT64_MAX;
    const size_t longest_at = sample_next(state) % 2000;
    size_t n = 0;
    uint64_t value = 0;
    while (n < 2000 + longest) {
        const size_t is_longest = n <= longest_at && longest_at < n + usual;
        for (size_t k = is_longest ? longest : 1 + sample_next(state) % usual; k > 0; k--)
            v[n++] = value;
        value = sample_next(state) % values;
    }
    return n;
}

START_TEST(smaller_of_planes_and_runs) {
    enum { MOST = 65536 };
    struct column_scratch s = {0};
    ck_assert_int_eq(column_scratch_init_encoder(&s), 0);
    uint64_t *const v = malloc(MOST * sizeof *v), state = 5;
    uint8_t *const buffer = malloc(column_bound(MOST));
    const uint64_t *columns[SNAP_COLUMNS_MAX] = {0};
    columns[SNAP_NODE_COL_SIZE] = v;
    unsigned n_runs = 0, n_planes = 0, width;
    for (int round = 0; round < 3000; round++) {
        const size_t n = make_runs(v, &state) - sample_next(&state) % 3;
        const size_t planes = column_encode(&s, SNAP_ENC_PLANES, v, n, 0, NULL, buffer, &width);
        const size_t runs = column_encode(&s, SNAP_ENC_RUNS, v, n, 0, NULL, buffer, &width);
        const struct choice c =
            choose_encoding(SNAP_TABLE_NODE, SNAP_NODE_COL_SIZE, columns, n, s.last);
        ck_assert_uint_eq(c.encoding, runs < planes ? SNAP_ENC_RUNS : SNAP_ENC_PLANES);
        n_runs += runs < planes;
        n_planes += runs >= planes;
    }
    ck_assert_uint_gt(n_runs, 300);
    ck_assert_uint_gt(n_planes, 300);
    free(v);
    free(buffer);
    column_scratch_release(&s);
}
END_TEST

static int by_value(const void *a, const void *b) {
    const uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return x < y ? -1 : x > y;
}

/* The hubs are the values that come most often, the smaller one of two that come as often. */
START_TEST(hubs_are_the_most_frequent) {
    enum { N = 20000, LEAST = 8 };
    struct column_scratch s = {0};
    ck_assert_int_eq(column_scratch_init_encoder(&s), 0);
    uint64_t *const v = malloc(N * sizeof *v), *const sorted = malloc(N * sizeof *v), state = 3;
    uint8_t *const buffer = malloc(column_bound(N));
    for (int round = 0; round < 40; round++) {
        const uint64_t few = 1 + sample_next(&state) % 400, many = 1 + sample_next(&state) % 6000;
        const uint64_t factor = round % 2 ? 1 : 0x10000000001;
        for (size_t i = 0; i < N; i++)
            v[i] = (sample_next(&state) % 2 ? sample_next(&state) % few
                                            : few + sample_next(&state) % many) *
                   factor;
        unsigned width;
        column_encode(&s, SNAP_ENC_HUBS, v, N, 0, NULL, buffer, &width);
        uint64_t hubs[255];
        column_planes_get(hubs, buffer + 8, buffer[4], buffer[5]);
        memcpy(sorted, v, N * sizeof *v);
        qsort(sorted, N, sizeof *sorted, by_value);
        unsigned n_hubs = 0, worse = 0;
        size_t last_count = N, least = LEAST;
        for (unsigned h = 0; h < buffer[4]; h++) {
            size_t count = 0;
            for (size_t i = 0; i < N; i++)
                count += v[i] == hubs[h];
            ck_assert_uint_ge(count, LEAST);
            ck_assert_uint_le(count, last_count);
            ck_assert(h == 0 || count < last_count || hubs[h - 1] < hubs[h]);
            last_count = count;
        }
        if (buffer[4] == 255)
            least = last_count;
        for (size_t i = 0, end; i < N; i = end) {
            for (end = i; end < N && sorted[end] == sorted[i]; end++)
                ;
            n_hubs += end - i > least || (end - i == least && buffer[4] < 255);
            worse += end - i == least && buffer[4] == 255 && sorted[i] <= hubs[254];
        }
        ck_assert_uint_eq(n_hubs + worse, buffer[4]);
    }
    free(v);
    free(sorted);
    free(buffer);
    column_scratch_release(&s);
}
END_TEST

int main(void) {
    Suite *const suite = suite_create("column");
    TCase *const t = tcase_create("column");
    tcase_set_timeout(t, 60);
    tcase_add_loop_test(t, round_trip, 0, N_STYLES);
    tcase_add_test(t, planes_are_least_and_in_order);
    tcase_add_test(t, zigzag);
    tcase_add_test(t, hostile_bytes);
    tcase_add_test(t, smaller_of_planes_and_runs);
    tcase_add_test(t, hubs_are_the_most_frequent);
    suite_add_tcase(suite, t);
    SRunner *const runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    srunner_free(runner);
    return 0;
}
