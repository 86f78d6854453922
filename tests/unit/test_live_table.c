/* The live table against an oracle: random puts and takes over spaces of different density, odd
 * addresses, great sizes, halves of granules; order and content of the whole table; interior
 * addresses; several threads. */
#include <check.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "capture/live_quick.h"
#include "capture/rawmem.h"
#include "support/sanitized.h"

enum { PLACES = 6000, OPERATIONS = SANITIZED ? 10000 : 40000 };

static uint64_t state;

static uint64_t next(void) {
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return state;
}

struct expectation {
    const struct live_block *oracle; /* size UINT64_MAX: not live */
    size_t i, n, n_seen;
    unsigned wrong;
};

static bool equal(const struct live_block *a, const struct live_block *b) {
    return a->address == b->address && a->size == b->size && a->birth == b->birth &&
           a->stack == b->stack && a->flags == b->flags;
}

static int compare(void *context, const struct live_block *blocks, size_t n) {
    struct expectation *const e = context;
    for (size_t k = 0; k < n; k++) {
        while (e->i < e->n && e->oracle[e->i].size == UINT64_MAX)
            e->i++;
        e->wrong += e->i >= e->n || !equal(&blocks[k], &e->oracle[e->i]);
        e->i++;
        e->n_seen++;
    }
    return 0;
}

/* Addresses base + k * distance; every `odd`-th moved by 3 bytes. */
static void run(uintptr_t base, uintptr_t distance, unsigned odd, uint64_t seed) {
    struct live_block *const oracle = calloc(PLACES, sizeof *oracle);
    struct live_cache cache = {0};
    state = seed;
    for (size_t i = 0; i < PLACES; i++)
        oracle[i] = (struct live_block){
            .address = base + i * distance + (odd && i % odd == 0 ? 3 : 0), .size = UINT64_MAX};
    size_t n_live = 0;
    uint64_t birth = 1;
    for (unsigned n = 0; n < OPERATIONS; n++) {
        struct live_block *const place = &oracle[next() % PLACES];
        struct live_block old = {0};
        const bool live = place->size != UINT64_MAX;
        if (next() % 8 == 0 || !live) {
            struct live_block fresh = *place;
            fresh.size = next() % 64 == 0 ? next() >> 2 : next() % 5000;
            fresh.birth = birth++;
            fresh.stack = next() & LIVE_STACK_MAX;
            fresh.flags = next() & LIVE_FLAGS_MASK;
            enum live_result result = LIVE_BUSY;
            if (next() % 2)
                result = live_table_put_quickly(live_table_prefetch(fresh.address), fresh.address,
                                                fresh.size, fresh.stack, fresh.birth, fresh.flags);
            if (result == LIVE_BUSY) {
                result = live_table_put(&cache, &fresh, &old);
                ck_assert_int_eq(result, live ? LIVE_FOUND : LIVE_ABSENT);
                if (live && place->size < UINT64_C(1) << 35)
                    ck_assert(equal(&old, place));
            } else {
                ck_assert_int_eq(result, LIVE_ABSENT);
                ck_assert(!live);
            }
            *place = fresh;
            n_live += !live;
        } else {
            enum live_result result = LIVE_BUSY;
            const bool quickly = next() % 2;
            if (quickly)
                result = live_table_take_quickly(place->address);
            if (result == LIVE_BUSY) {
                result = live_table_take(&cache, place->address, quickly ? NULL : &old);
                if (!quickly)
                    ck_assert(equal(&old, place));
            }
            ck_assert_int_eq(result, LIVE_FOUND);
            ck_assert_int_eq(live_table_take(&cache, place->address, &old), LIVE_ABSENT);
            place->size = UINT64_MAX;
            n_live--;
        }
        if (n % (OPERATIONS / 4) == OPERATIONS / 8) {
            struct expectation e = {.oracle = oracle, .n = PLACES};
            ck_assert_int_eq(live_table_for_each(compare, &e), 0);
            ck_assert_uint_eq(e.wrong, 0);
            ck_assert_uint_eq(e.n_seen, n_live);
        }
    }
    for (size_t i = 0; i < PLACES; i++)
        if (oracle[i].size != UINT64_MAX)
            ck_assert_int_eq(live_table_take(&cache, oracle[i].address, NULL), LIVE_FOUND);
    struct expectation e = {.oracle = oracle};
    live_table_for_each(compare, &e);
    ck_assert_uint_eq(e.n_seen, 0);
    free(oracle);
}

START_TEST(test_density) {
    static const uintptr_t distances[] = {16, 32, 48, 64, 80, 112, 256, 1024, 4096, 65536};
    for (size_t i = 0; i < sizeof distances / sizeof distances[0]; i++)
        run(0x10000000 + i * 0x40000000, distances[i], 0, i + 1);
}
END_TEST

START_TEST(test_halves) {
    run(0x7f0000000000, 8, 0, 3);
    run(0x7f0000000008, 24, 0, 4);
}
END_TEST

START_TEST(test_odd) {
    run(0x5000000000, 48, 7, 5);
    run(UINT64_C(0xff00000000000000), 4096, 0, 6); /* above user space */
    run(0x7fffffff0000, 16, 0, 7);                 /* over its end */
}
END_TEST

START_TEST(test_interior) {
    struct live_cache cache = {0};
    struct live_block old, found;
    const struct live_block blocks[] = {{.address = 0x30000010, .size = 100, .birth = 1},
                                        {.address = 0x30000090, .size = 0, .birth = 2},
                                        {.address = 0x30001000, .size = 1 << 20, .birth = 3},
                                        {.address = 0x30200003, .size = 50, .birth = 4}};
    for (size_t i = 0; i < 4; i++)
        ck_assert_int_eq(live_table_put(&cache, &blocks[i], &old), LIVE_ABSENT);
    const uint64_t far = UINT64_C(1) << 30;
    ck_assert(live_table_find(0x30000010, far, &found) && found.birth == 1);
    ck_assert(live_table_find(0x30000010 + 99, far, &found) && found.birth == 1);
    ck_assert(!live_table_find(0x30000010 + 100, far, &found));
    ck_assert(!live_table_find(0x3000000f, far, &found));
    ck_assert(live_table_find(0x30000090, far, &found) && found.birth == 2);
    ck_assert(!live_table_find(0x30000091, far, &found));
    ck_assert(live_table_find(0x30001000 + 777777, far, &found) && found.birth == 3);
    ck_assert(!live_table_find(0x30001000 + (1 << 20), far, &found));
    ck_assert(!live_table_find(0x30001000 + 777777, 4096, &found));
    ck_assert(live_table_find(0x30200003 + 49, far, &found) && found.birth == 4);
    for (size_t i = 0; i < 4; i++)
        ck_assert_int_eq(live_table_take(&cache, blocks[i].address, NULL), LIVE_FOUND);
}
END_TEST

/* Buckets of units that became empty stay for a while, not for ever. */
START_TEST(test_vacant) {
    enum { UNITS = 20000, BLOCKS = 16 };
    struct live_cache cache = {0};
    struct live_block old;
    uint64_t before = 0;
    for (unsigned u = 0; u < UNITS; u++) {
        for (unsigned i = 0; i < BLOCKS; i++)
            ck_assert_int_eq(
                live_table_put(
                    &cache,
                    &(struct live_block){.address = 0x70000000000 + u * 2048 + i * 16, .size = 16},
                    &old),
                LIVE_ABSENT);
        for (unsigned i = 0; i < BLOCKS; i++) {
            const uintptr_t address = 0x70000000000 + u * 2048 + i * 16;
            if (live_table_take_quickly(address) != LIVE_FOUND)
                ck_assert_int_eq(live_table_take(&cache, address, NULL), LIVE_FOUND);
            ck_assert_int_eq(live_table_take(&cache, address, NULL), LIVE_ABSENT);
        }
        if (u == 2 * LIVE_VACANT)
            before = rawmem_touched();
    }
    /* The words of the units themselves; buckets would be 6 MB. */
    ck_assert_uint_lt(rawmem_touched() - before, UINT64_C(1) << 20);
}
END_TEST

/* Threads own every n-th granule of the same pages. */
enum { THREADS = 8, GRANULES = SANITIZED ? 6000 : 20000 };

static void *share_pages(void *argument) {
    const uintptr_t me = (uintptr_t)argument;
    struct live_cache cache = {0};
    struct live_block old;
    for (unsigned round = 0; round < 5; round++) {
        for (uintptr_t i = me; i < GRANULES; i += THREADS) {
            const struct live_block block = {.address = 0x60000000000 + i * 16,
                                             .size = i,
                                             .birth = round * GRANULES + i,
                                             .stack = (uint32_t)me};
            if (live_table_put(&cache, &block, &old) != LIVE_ABSENT)
                return (void *)1;
        }
        for (uintptr_t i = me; i < GRANULES; i += THREADS) {
            if (round == 4 && i % 3 == 0)
                continue;
            if (live_table_take_quickly(0x60000000000 + i * 16) == LIVE_FOUND)
                continue;
            if (live_table_take(&cache, 0x60000000000 + i * 16, &old) != LIVE_FOUND ||
                old.size != i || old.stack != me)
                return (void *)2;
        }
    }
    return NULL;
}

static int count_left(void *context, const struct live_block *blocks, size_t n) {
    size_t *const count = context;
    for (size_t i = 0; i < n; i++)
        if (blocks[i].address != 0x60000000000 + *count * 48)
            return -1;
        else
            ++*count;
    return 0;
}

START_TEST(test_threads) {
    pthread_t threads[THREADS];
    void *said;
    for (uintptr_t i = 0; i < THREADS; i++)
        pthread_create(&threads[i], NULL, share_pages, (void *)i);
    for (unsigned i = 0; i < THREADS; i++) {
        pthread_join(threads[i], &said);
        ck_assert_ptr_null(said);
    }
    size_t count = 0;
    ck_assert_int_eq(live_table_for_each(count_left, &count), 0);
    ck_assert_uint_eq(count, (GRANULES + 2) / 3);
}
END_TEST

int main(void) {
    Suite *const suite = suite_create("live_table");
    TCase *const tcase = tcase_create("table");
    tcase_set_timeout(tcase, 120);
    tcase_add_test(tcase, test_density);
    tcase_add_test(tcase, test_halves);
    tcase_add_test(tcase, test_odd);
    tcase_add_test(tcase, test_interior);
    tcase_add_test(tcase, test_vacant);
    tcase_add_test(tcase, test_threads);
    suite_add_tcase(suite, tcase);
    SRunner *const runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    srunner_free(runner);
    return 0;
}
