/* Memory, maps, interned strings and files. */
#include "base/file.h"
#include "base/map.h"
#include "base/mem.h"
#include "base/numbers.h"
#include "base/strtab.h"

#include <check.h>
#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static char folder[64];

static void make_folder(void) {
    snprintf(folder, sizeof folder, "/tmp/heapsnap-test-XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(folder));
}

static unsigned n_entries(void) {
    DIR *const d = opendir(folder);
    unsigned n = 0;
    for (const struct dirent *e; (e = readdir(d));)
        n += e->d_name[0] != '.' || strlen(e->d_name) > 2;
    closedir(d);
    return n;
}

static void remove_folder(void) {
    char command[128];
    snprintf(command, sizeof command, "rm -r %s", folder);
    ck_assert_int_eq(system(command), 0);
}

static const char *in_folder(const char *name) {
    static char path[128];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    return path;
}

START_TEST(sizes_that_overflow) {
    int *array = NULL;
    size_t capacity = 0;
    ck_assert_ptr_null(mem_alloc(SIZE_MAX / 4, 8));
    ck_assert_int_eq(mem_grow(&array, &capacity, SIZE_MAX / 2, sizeof *array), -1);
    ck_assert_ptr_null(array);
    ck_assert_uint_eq(capacity, 0);
    for (size_t n = 1; n < 10000; n++) {
        ck_assert_int_eq(mem_grow(&array, &capacity, n, sizeof *array), 0);
        ck_assert_uint_ge(capacity, n);
        array[n - 1] = (int)n;
    }
    for (size_t n = 1; n < 10000; n++)
        ck_assert_int_eq(array[n - 1], (int)n);
    free(array);
}
END_TEST

START_TEST(arena_blocks_stay) {
    struct arena a;
    arena_init(&a);
    char *text[2000];
    for (int i = 0; i < 2000; i++) {
        char word[32];
        const int n = snprintf(word, sizeof word, "word %d", i);
        text[i] = arena_string(&a, word, (size_t)n);
        char *const large = arena_bytes(&a, i % 100 ? 3 : 100000);
        large[0] = 1;
        ck_assert_uint_eq((uintptr_t)arena_alloc(&a, 24) % 8, 0);
    }
    for (int i = 0; i < 2000; i++)
        ck_assert_int_eq(atoi(text[i] + 5), i);
    ck_assert_ptr_null(arena_alloc(&a, SIZE_MAX - 8));
    ck_assert_ptr_null(arena_string(&a, "", SIZE_MAX));
    arena_release(&a);
}
END_TEST

START_TEST(map_keeps_all) {
    struct map m;
    map_init(&m);
    ck_assert_uint_eq(map_get(&m, 0), 0);
    for (uint32_t i = 1; i <= 100000; i++) {
        uint32_t *const slot = map_slot(&m, (uint64_t)i << 40);
        ck_assert_uint_eq(*slot, 0);
        *slot = i;
    }
    ck_assert_uint_eq(m.n, 100000);
    for (uint32_t i = 1; i <= 100000; i++)
        ck_assert_uint_eq(map_get(&m, (uint64_t)i << 40), i);
    ck_assert_uint_eq(map_get(&m, 7), 0);
    map_clear(&m);
    ck_assert_uint_eq(map_get(&m, (uint64_t)1 << 40), 0);
    map_release(&m);
}
END_TEST

START_TEST(strings_get_one_id) {
    struct strtab t;
    strtab_init(&t);
    for (int round = 0; round < 2; round++)
        for (uint32_t i = 1; i <= 5000; i++) {
            char text[32];
            uint32_t id;
            int is_new;
            const int n = snprintf(text, sizeof text, "%u", i);
            ck_assert_int_eq(strtab_intern(&t, text, (size_t)n, &id, &is_new), 0);
            ck_assert_uint_eq(id, i);
            ck_assert_int_eq(is_new, !round);
        }
    uint32_t id = 9;
    ck_assert_int_eq(strtab_intern(&t, NULL, 0, &id, NULL), 0);
    ck_assert_uint_eq(id, 0);
    size_t length;
    ck_assert_str_eq(strtab_text(&t, 4711, &length), "4711");
    ck_assert_uint_eq(length, 4);
    ck_assert_str_eq(strtab_text(&t, 0, &length), "");
    strtab_release(&t);
}
END_TEST

START_TEST(a_new_file_gets_its_name_last) {
    struct file_new f;
    snap_error err;
    const char *const path = in_folder("a");
    ck_assert_int_eq(file_new_open(&f, path, 0, &err), 0);
    ck_assert_int_eq(file_new_write(&f, "abc", 3, &err), 0);
    ck_assert_int_eq(access(path, F_OK), -1);
    ck_assert_uint_eq(n_entries(), 1);
    ck_assert_int_eq(file_new_commit(&f, 0, &err), 0);
    file_new_close(&f);
    ck_assert_uint_eq(n_entries(), 1);
    struct file_view v;
    ck_assert_int_eq(file_view_open(&v, path, 100, &err), 0);
    ck_assert_uint_eq(v.size, 3);
    ck_assert_mem_eq(v.data, "abc", 3);
    file_view_close(&v);
}
END_TEST

START_TEST(an_unfinished_file_leaves_nothing) {
    struct file_new f;
    ck_assert_int_eq(file_new_open(&f, in_folder("a"), 0, NULL), 0);
    ck_assert_int_eq(file_new_write(&f, "abc", 3, NULL), 0);
    file_new_close(&f);
    ck_assert_uint_eq(n_entries(), 0);
}
END_TEST

START_TEST(an_existing_file_is_not_replaced) {
    struct file_new f, late;
    snap_error err;
    const char *const path = in_folder("a");
    ck_assert_int_eq(file_new_open(&f, path, 0, &err), 0);
    ck_assert_int_eq(file_new_open(&late, path, 0, &err), 0);
    ck_assert_int_eq(file_new_write(&f, "first", 5, &err), 0);
    ck_assert_int_eq(file_new_commit(&f, 1, &err), 0);
    file_new_close(&f);
    /* Made after the second was opened: the rename itself has to see it. */
    ck_assert_int_eq(file_new_commit(&late, 1, &err), SNAP_E_IO);
    ck_assert_ptr_nonnull(strstr(err.message, "File exists"));
    file_new_close(&late);
    ck_assert_int_eq(file_new_open(&f, path, 0, &err), SNAP_E_IO);
    ck_assert_uint_eq(n_entries(), 1);
    struct stat st;
    ck_assert_int_eq(stat(path, &st), 0);
    ck_assert_int_eq(st.st_size, 5);
    ck_assert_int_eq(file_new_open(&f, path, 1, &err), 0);
    ck_assert_int_eq(file_new_commit(&f, 1, &err), 0);
    file_new_close(&f);
    ck_assert_int_eq(stat(path, &st), 0);
    ck_assert_int_eq(st.st_size, 0);
}
END_TEST

START_TEST(other_things_than_files) {
    struct file_new f;
    struct file_view v;
    snap_error err;
    ck_assert_int_eq(file_new_open(&f, folder, 1, &err), SNAP_E_IO);
    ck_assert_int_eq(file_new_open(&f, in_folder("no/such"), 0, &err), SNAP_E_IO);
    ck_assert_int_eq(file_view_open(&v, folder, 100, &err), SNAP_E_IO);
    ck_assert_int_eq(file_view_open(&v, in_folder("none"), 100, &err), SNAP_E_IO);
    ck_assert_int_eq(file_view_open(&v, "/dev/zero", 100, &err), SNAP_E_LIMIT);
    /* A device is written as it is, and never removed. */
    ck_assert_int_eq(file_new_open(&f, "/dev/null", 0, &err), 0);
    ck_assert_int_eq(file_new_write(&f, "abc", 3, &err), 0);
    ck_assert_int_eq(file_new_commit(&f, 0, &err), 0);
    file_new_close(&f);
    ck_assert_int_eq(access("/dev/null", F_OK), 0);
    ck_assert_int_eq(file_new_open(&f, "/dev/full", 0, &err), 0);
    ck_assert_int_eq(file_new_write(&f, "abc", 3, &err), SNAP_E_IO);
    file_new_close(&f);
}
END_TEST

START_TEST(a_pipe_is_read_to_its_end) {
    int ends[2];
    char path[32];
    snap_error err;
    struct file_view v;
    ck_assert_int_eq(pipe(ends), 0);
    ck_assert_int_eq(write(ends[1], "abc", 3), 3);
    close(ends[1]);
    snprintf(path, sizeof path, "/dev/fd/%d", ends[0]);
    ck_assert_int_eq(file_view_open(&v, path, 100, &err), 0);
    ck_assert_uint_eq(v.size, 3);
    ck_assert_mem_eq(v.data, "abc", 3);
    file_view_close(&v);
    close(ends[0]);
}
END_TEST

/* Against plain loops, at every length and at addresses that are multiples of 8 only; arrays end
 * where they end, so that a sanitizer sees the first number too many. */
START_TEST(loops_over_numbers) {
    uint64_t seed = 1;
    for (size_t n = 1; n < 80; n++) {
        uint64_t *const v = malloc(n * sizeof *v), *const filled = malloc(n * sizeof *v);
        uint32_t *const u32 = malloc(n * sizeof *u32);
        uint8_t *const u8 = malloc(n);
        for (unsigned round = 0; round < 32; round++) {
            uint64_t bits = 0, most = 0;
            int is_one = 1;
            for (size_t i = 0; i < n; i++) {
                seed = seed * 6364136223846793005u + 1442695040888963407u;
                v[i] = round % 4 == 0 ? 7 : seed >> (round % 2 ? 0 : 40);
            }
            if (round % 8 == 0)
                v[(seed >> 33) % n] ^= seed >> 40 & 1;
            for (size_t i = 0; i < n; i++) {
                bits |= v[i];
                most = v[i] > most ? v[i] : most;
                is_one &= v[i] == v[0];
            }
            ck_assert_uint_eq(numbers_bits(v, n), bits);
            ck_assert_int_eq(numbers_are_one(v, n), is_one);
            if (most < UINT64_MAX / 2) {
                ck_assert_int_eq(numbers_are_at_most(v, n, most), 1);
                ck_assert_int_eq(numbers_are_at_most(v, n, most - 1), 0);
            } else {
                ck_assert_int_eq(numbers_are_at_most(v, n, seed >> 1 & 0xffffffff), 0);
            }
            numbers_to_u32(u32, v, n);
            numbers_to_u8(u8, v, n);
            numbers_fill(filled, n, v[n - 1]);
            int is_right = 1;
            for (size_t i = 0; i < n; i++)
                is_right &=
                    u32[i] == (uint32_t)v[i] && u8[i] == (uint8_t)v[i] && filled[i] == v[n - 1];
            ck_assert_int_eq(is_right, 1);
        }
        v[n - 1] = UINT64_MAX;
        ck_assert_int_eq(numbers_are_at_most(v, n, UINT32_MAX), 0);
        free(v);
        free(filled);
        free(u32);
        free(u8);
    }
}
END_TEST

int main(void) {
    Suite *const suite = suite_create("base");
    TCase *const memory = tcase_create("memory");
    tcase_add_test(memory, sizes_that_overflow);
    tcase_add_test(memory, arena_blocks_stay);
    tcase_add_test(memory, map_keeps_all);
    tcase_add_test(memory, strings_get_one_id);
    tcase_add_test(memory, loops_over_numbers);
    suite_add_tcase(suite, memory);
    TCase *const files = tcase_create("files");
    tcase_add_checked_fixture(files, make_folder, remove_folder);
    tcase_add_test(files, a_new_file_gets_its_name_last);
    tcase_add_test(files, an_unfinished_file_leaves_nothing);
    tcase_add_test(files, an_existing_file_is_not_replaced);
    tcase_add_test(files, other_things_than_files);
    tcase_add_test(files, a_pipe_is_read_to_its_end);
    suite_add_tcase(suite, files);
    SRunner *const runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    srunner_free(runner);
    return 0;
}
