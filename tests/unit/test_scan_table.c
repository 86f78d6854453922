/* The index of the scan against a search by hand: blocks of all sizes and distances, aligned or
 * not, one in another, across pages, chunks and leaves. */
#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "capture/scan_table.h"

enum { N = 3000, PROBES = 8000 };

struct block {
    uint64_t address, size;
};

static uint64_t seed;

static uint64_t draw(uint64_t n) {
    seed = seed * 6364136223846793005u + 1442695040888963407u;
    return (seed >> 24) % n;
}

/* The innermost of those that hold an address: the one that starts last. */
static uint32_t search(const struct block *blocks, uint32_t n, uint64_t address) {
    for (uint32_t i = n; i-- > 0;)
        if (blocks[i].address <= address &&
            address - blocks[i].address < (blocks[i].size ? blocks[i].size : 1))
            return i + 1;
    return 0;
}

static void check_table(const struct block *blocks, uint32_t n) {
    struct scan_table *const t = calloc(1, sizeof *t);
    ck_assert_ptr_nonnull(t);
    for (uint32_t i = 0; i < n; i++)
        scan_table_add(t, blocks[i].address, blocks[i].size, i + 1);
    scan_table_finish(t);
    ck_assert_int_eq(t->has_failed, 0);
    ck_assert_uint_eq(t->n_entries, n);
    for (unsigned i = 0; i < PROBES; i++) {
        const struct block *const b = &blocks[draw(n)];
        const uint64_t edge = draw(2) ? b->address : b->address + b->size;
        const uint64_t address = draw(4)   ? edge + draw(40) - 20
                                 : draw(2) ? b->address + draw(b->size + 1)
                                           : edge + draw(UINT64_C(1) << draw(36));
        const uint32_t wanted = search(blocks, n, address);
        uint64_t offset = 0;
        ck_assert_uint_eq(scan_table_find(t, address, &offset), wanted);
        if (wanted)
            ck_assert_uint_eq(offset, address - blocks[wanted - 1].address);
    }
    for (uint32_t i = 0; i < n; i++)
        ck_assert_uint_eq(scan_table_size(t, i), blocks[i].size);
    scan_table_release(t);
    free(t);
}

/* Blocks one after the other: of mostly small sizes, with gaps of 2^0 to 2^gap_bits. */
static uint32_t make(struct block *blocks, unsigned alignment, unsigned gap_bits) {
    uint64_t at = UINT64_C(0x550000000000);
    for (uint32_t i = 0; i < N; i++) {
        const uint64_t size = draw(50)   ? draw(300)
                              : draw(4)  ? draw(1 << 20)
                              : draw(20) ? draw(UINT64_C(1) << 26)
                                         : draw(UINT64_C(1) << 35);
        blocks[i] = (struct block){at, size};
        at += (size ? size : 1) + draw(UINT64_C(1) << draw(gap_bits + 1));
        at = (at + alignment - 1) / alignment * alignment;
    }
    return N;
}

START_TEST(finds_what_a_search_finds) {
    static struct block blocks[N];
    seed = (uint64_t)_i + 1;
    static const unsigned alignments[] = {16, 32, 8, 1, 16, 4096};
    static const unsigned gaps[] = {5, 5, 5, 3, 30, 12};
    const unsigned k = (unsigned)_i % 6;
    check_table(blocks, make(blocks, alignments[k], gaps[k]));
}
END_TEST

/* Others inside of blocks, up to three deep. */
START_TEST(finds_the_innermost) {
    static struct block blocks[4 * N];
    static struct block outer[N];
    seed = (uint64_t)_i + 100;
    const uint32_t n_outer = make(outer, 16, 6);
    uint32_t n = 0;
    for (uint32_t i = 0; i < n_outer; i++) {
        struct block b = outer[i];
        blocks[n++] = b;
        for (unsigned depth = 0; depth < 3 && b.size > 64 && draw(2); depth++) {
            const uint64_t start = draw(b.size / 2) / 16 * 16;
            b = (struct block){b.address + start, draw(b.size - start - 1) + 1};
            if (b.address > blocks[n - 1].address)
                blocks[n++] = b;
            else
                b = blocks[n - 1];
        }
    }
    check_table(blocks, n);
}
END_TEST

START_TEST(refuses_what_is_no_address) {
    struct scan_table *const t = calloc(1, sizeof *t);
    ck_assert_ptr_nonnull(t);
    uint64_t offset;
    ck_assert_uint_eq(scan_table_find(t, UINT64_MAX, &offset), 0);
    ck_assert_uint_eq(scan_table_find(t, 0, &offset), 0);
    scan_table_add(t, 4096, UINT64_MAX, 1);
    ck_assert_int_ne(t->has_failed, 0);
    scan_table_release(t);
    free(t);
}
END_TEST

int main(void) {
    Suite *const suite = suite_create("scan_table");
    TCase *const t = tcase_create("scan_table");
    tcase_set_timeout(t, 120);
    tcase_add_loop_test(t, finds_what_a_search_finds, 0, 24);
    tcase_add_loop_test(t, finds_the_innermost, 0, 12);
    tcase_add_test(t, refuses_what_is_no_address);
    suite_add_tcase(suite, t);
    SRunner *const runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    const int n_failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return n_failed != 0;
}
