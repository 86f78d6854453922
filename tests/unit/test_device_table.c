/* The table of device memory against an oracle: random puts, takes and changes; what a mark and a
 * mark of all leave alone; and threads that give back what a driver hands to others at once. */
#include <check.h>
#include <pthread.h>
#include <stdlib.h>

#include "capture/device_table.h"
#include "support/sanitized.h"

enum { KEYS = 5000, OPERATIONS = SANITIZED ? 20000 : 200000, SPACES = 3 };

static uint64_t next(uint64_t *state) {
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    return *state;
}

static const uint32_t spaces[SPACES] = {DEVICE_MEMORY, DEVICE_HANDLE, DEVICE_RESOURCE + 5};

static uint64_t key_of(size_t i) {
    return (i + 1) << 9 | (uint64_t)(i % 2) << 40;
}

struct expectation {
    uint64_t sizes[SPACES][KEYS]; /* 0: not there */
    uint64_t serials[KEYS * SPACES];
    size_t n_seen, n_wrong;
};

static int compare(void *context, const struct device_record *r) {
    struct expectation *const e = context;
    size_t space = 0, i = 0;
    while (space < SPACES && spaces[space] != r->space)
        space++;
    while (i < KEYS && key_of(i) != r->key)
        i++;
    e->n_wrong += space == SPACES || i == KEYS || e->sizes[space][i] != r->size;
    e->serials[e->n_seen++] = r->serial;
    return 0;
}

static int by_value(const void *a, const void *b) {
    const uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

static bool always(const void *context, const struct device_record *r) {
    (void)context;
    return r->space != DEVICE_NONE;
}

static void empty_the_table(void) {
    device_table_sweep(always, NULL, NULL, false);
    ck_assert_uint_eq(device_table_count(), 0);
}

START_TEST(test_oracle) {
    static struct expectation e;
    uint64_t state = 0x123456789abcdefu;
    size_t n_live = 0;
    for (unsigned n = 0; n < OPERATIONS; n++) {
        const size_t space = next(&state) % SPACES, i = next(&state) % KEYS;
        uint64_t *const size = &e.sizes[space][i];
        const struct device_mark mark = device_table_mark(spaces[space], key_of(i));
        struct device_record r = {.space = spaces[space], .key = key_of(i), .handles = 1},
                             old = {0};
        switch (next(&state) % 3) {
        case 0:
            r.size = n + 1;
            ck_assert_int_eq(device_table_put(&r, &old, false), *size != 0);
            ck_assert_uint_eq(old.size, *size);
            n_live += *size == 0;
            *size = r.size;
            break;
        case 1:
            ck_assert_int_eq(device_table_take(r.space, r.key, mark, &old, false), *size != 0);
            ck_assert_uint_eq(old.size, *size);
            n_live -= *size != 0;
            *size = 0;
            break;
        default: {
            const int gone = next(&state) % 4 == 0;
            const struct device_change change = {
                .handles = gone ? -1 : 0, .sample = true, .size = n + 1};
            ck_assert_int_eq(device_table_change(r.space, r.key, mark, &change, &old, false),
                             *size != 0);
            n_live -= *size != 0 && gone;
            *size = *size != 0 && !gone ? n + 1 : 0;
            ck_assert_int_eq(device_table_get(r.space, r.key, &old, false), *size != 0);
        }
        }
        ck_assert_uint_eq(device_table_count(), n_live);
    }
    ck_assert_int_eq(device_table_for_each(compare, &e), 0);
    ck_assert_uint_eq(e.n_seen, n_live);
    ck_assert_uint_eq(e.n_wrong, 0);
    qsort(e.serials, e.n_seen, sizeof e.serials[0], by_value);
    for (size_t i = 1; i < e.n_seen; i++)
        ck_assert_uint_lt(e.serials[i - 1], e.serials[i]);
    empty_the_table();
}
END_TEST

struct sweep {
    struct device_mark mark;
    size_t n;
};

static bool sweeps(const void *context, const struct device_record *r) {
    return device_is_older(r, ((const struct sweep *)context)->mark);
}

static void swept(void *context, const struct device_record *r) {
    (void)r;
    ((struct sweep *)context)->n++;
}

/* The half that was there before a mark of all goes, what came after it stays, also where it has
 * the key of an older one. */
START_TEST(test_marks) {
    struct device_record r = {.space = DEVICE_MEMORY}, old;
    for (uint64_t i = 0; i < KEYS; i++) {
        r.key = key_of(i);
        ck_assert_int_eq(device_table_put(&r, NULL, false), 0);
    }
    struct sweep sweep = {device_table_mark_all(), 0};
    for (uint64_t i = 0; i < KEYS; i += 2) {
        r.key = key_of(i);
        r.size = 1;
        ck_assert_int_eq(device_table_put(&r, NULL, false), 1);
    }
    const struct device_mark none = {0};
    ck_assert(!device_table_take(DEVICE_MEMORY, key_of(0), sweep.mark, &old, false));
    ck_assert(!device_table_take(DEVICE_MEMORY, key_of(1), none, &old, false));
    device_table_sweep(sweeps, swept, &sweep, false);
    ck_assert_uint_eq(sweep.n, KEYS / 2);
    for (uint64_t i = 0; i < KEYS; i++)
        ck_assert_int_eq(device_table_get(DEVICE_MEMORY, key_of(i), &old, false), i % 2 == 0);
    /* of one key: what is put after the mark is not what is given back */
    const struct device_mark mark = device_table_mark(DEVICE_MEMORY, key_of(2));
    ck_assert(device_table_take(DEVICE_MEMORY, key_of(2), mark, &old, false));
    r.key = key_of(2);
    ck_assert_int_eq(device_table_put(&r, NULL, false), 0);
    ck_assert(!device_table_take(DEVICE_MEMORY, key_of(2), mark, &old, false));
    ck_assert(device_table_take(DEVICE_MEMORY, key_of(2),
                                device_table_mark(DEVICE_MEMORY, key_of(2)), &old, false));
    empty_the_table();
}
END_TEST

/* --- threads --- */

enum { THREADS = 4, ADDRESSES = 48, TURNS = SANITIZED ? 20000 : 200000 };

/* A driver that hands out the address that was given back last. */
static struct {
    pthread_mutex_t lock;
    unsigned n_free;
    uint64_t free[ADDRESSES];
    uint64_t sizes[ADDRESSES + 1]; /* by address: of what is live, 0: nothing */
} driver = {.lock = PTHREAD_MUTEX_INITIALIZER};

static uint64_t driver_allocate(uint64_t size) {
    pthread_mutex_lock(&driver.lock);
    const uint64_t address = driver.n_free > 0 ? driver.free[--driver.n_free] : 0;
    driver.sizes[address] = size;
    pthread_mutex_unlock(&driver.lock);
    return address;
}

static void driver_release(uint64_t address) {
    pthread_mutex_lock(&driver.lock);
    driver.sizes[address] = 0;
    driver.free[driver.n_free++] = address;
    pthread_mutex_unlock(&driver.lock);
}

/* Blocks that any thread may give back. */
static struct {
    pthread_mutex_t lock;
    uint64_t address[8];
} shared = {.lock = PTHREAD_MUTEX_INITIALIZER};

static uint64_t swap_shared(unsigned i, uint64_t address) {
    pthread_mutex_lock(&shared.lock);
    const uint64_t before = shared.address[i];
    shared.address[i] = address;
    pthread_mutex_unlock(&shared.lock);
    return before;
}

static _Atomic size_t n_replaced, n_missed;

static void release(uint64_t address) {
    if (address == 0)
        return;
    const struct device_mark mark = device_table_mark(DEVICE_MEMORY, address);
    driver_release(address);
    n_missed += !device_table_take(DEVICE_MEMORY, address, mark, NULL, false);
}

static void *use_driver(void *context) {
    const uint64_t me = (uintptr_t)context;
    uint64_t state = me * 0x9E3779B97F4A7C15u, held[8] = {0};
    for (uint64_t turn = 1; turn <= TURNS; turn++) {
        uint64_t *const mine = &held[next(&state) % 8];
        release(*mine);
        const uint64_t size = turn << 8 | me, address = driver_allocate(size);
        if (address != 0)
            n_replaced +=
                device_table_put(
                    &(struct device_record){.space = DEVICE_MEMORY, .key = address, .size = size},
                    NULL, false) == 1;
        *mine = address;
        if (next(&state) % 2 == 0)
            *mine = swap_shared(next(&state) % 8, address);
    }
    return NULL;
}

static int same_as_driver(void *context, const struct device_record *r) {
    *(size_t *)context += r->key <= ADDRESSES && driver.sizes[r->key] == r->size;
    return 0;
}

START_TEST(test_threads) {
    pthread_t threads[THREADS];
    size_t n_live = 0, n_same = 0;
    for (uint64_t i = 1; i <= ADDRESSES; i++)
        driver.free[driver.n_free++] = i;
    for (uintptr_t i = 0; i < THREADS; i++)
        ck_assert_int_eq(pthread_create(&threads[i], NULL, use_driver, (void *)(i + 1)), 0);
    for (unsigned i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
    for (uint64_t i = 1; i <= ADDRESSES; i++)
        n_live += driver.sizes[i] != 0;
    device_table_for_each(same_as_driver, &n_same);
    ck_assert_uint_eq(device_table_count(), n_live);
    ck_assert_uint_eq(n_same, n_live);
    ck_assert_uint_eq(n_missed, n_replaced);
    ck_assert_uint_gt(n_live, 0);
}
END_TEST

int main(void) {
    Suite *const suite = suite_create("device_table");
    TCase *const tcase = tcase_create("table");
    tcase_set_timeout(tcase, 120);
    tcase_add_test(tcase, test_oracle);
    tcase_add_test(tcase, test_marks);
    tcase_add_test(tcase, test_threads);
    suite_add_tcase(suite, tcase);
    SRunner *const runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    srunner_free(runner);
    return 0;
}
