/* Every allocation and every system call of writing and reading fails once, and from then on. Each
 * time: the right error or success, nothing leaked, no temporary file, never a half file under the
 * final name, and an open snapshot that still gives all when there is memory again. */
#include "support/inject.h"
#include "support/sample.h"

#include <heapsnap/convert.h>

#include <check.h>
#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { SCALE = 40 };

static char folder[64], path[96];
static uint64_t expected;

static void set_up(void) {
    snprintf(folder, sizeof folder, "/tmp/heapsnap-test-XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(folder));
    snprintf(path, sizeof path, "%s/a.snap", folder);
    struct bytes file = {0};
    snap_snapshot *s;
    ck_assert_int_eq(sample_make(&file, 3, SCALE, NULL), 0);
    ck_assert_int_eq(snap_open_memory(&s, file.data, file.size, NULL, NULL), 0);
    ck_assert_int_eq(sample_digest(s, &expected, NULL), 0);
    snap_close(s);
    bytes_release(&file);
}

static void tear_down(void) {
    unlink(path);
    ck_assert_int_eq(rmdir(folder), 0); /* nothing else is left in it */
}

static unsigned n_files(void) {
    DIR *const d = opendir(folder);
    unsigned n = 0;
    for (const struct dirent *e; (e = readdir(d));)
        n += strcmp(e->d_name, ".") && strcmp(e->d_name, "..");
    closedir(d);
    return n;
}

static int write_file(int overwrite, snap_error *err) {
    const snap_writer_options options = {.struct_size = sizeof options, .overwrite = overwrite};
    snap_writer *w;
    int result = snap_writer_open_file(&w, path, &options, err);
    if (result)
        return result;
    result = sample_write(w, 3, SCALE, err);
    if (!result)
        result = snap_writer_finish(w, err);
    snap_writer_close(w);
    return result;
}

/* All that a reader does. */
static int use(const snap_snapshot *s, uint64_t *out_digest, snap_error *err) {
    const snap_summary_row *rows;
    const char *text;
    snap_location at[16];
    snap_module module;
    size_t n;
    uint64_t key;
    int result = sample_digest(s, out_digest, err);
    result = result ? result : snap_summary(s, &rows, &n, err);
    result = result ? result : snap_string(s, 1, &text, err);
    result = result ? result : snap_module_get(s, 1, &module, err);
    result = result ? result : snap_stack(s, snap_rows(s, SNAP_TABLE_STAK), at, 16, &n, NULL, err);
    result = result ? result : snap_stack_key(s, 1, &key, err);
    return result ? result : snap_verify(s, NULL, NULL, err);
}

static int read_file(const char *name, uint64_t *out_digest, snap_error *err) {
    snap_snapshot *s;
    int result = snap_open(&s, name, NULL, err);
    if (result)
        return result;
    result = use(s, out_digest, err);
    inject_disarm();
    if (result) {
        uint64_t again = 0;
        const int retried = use(s, &again, NULL);
        ck_assert_int_eq(retried, 0);
        ck_assert_uint_eq(again, expected);
    }
    snap_close(s);
    return result;
}

static void check_good(void) {
    uint64_t digest;
    ck_assert_int_eq(read_file(path, &digest, NULL), 0);
    ck_assert_uint_eq(digest, expected);
}

static const struct {
    enum inject_kind kind;
    int is_persistent, overwrite, code;
} faults[] = {
    {INJECT_MALLOC, 0, 0, SNAP_E_NOMEM}, {INJECT_MALLOC, 1, 0, SNAP_E_NOMEM},
    {INJECT_OPEN, 0, 0, SNAP_E_IO},      {INJECT_OPEN, 1, 0, SNAP_E_IO},
    {INJECT_WRITE, 0, 0, SNAP_E_IO},     {INJECT_WRITE, 1, 0, SNAP_E_IO},
    {INJECT_FSYNC, 0, 0, SNAP_E_IO},     {INJECT_FSYNC, 1, 0, SNAP_E_IO},
    {INJECT_RENAME, 0, 0, SNAP_E_IO},    {INJECT_RENAME, 1, 0, SNAP_E_IO},
    {INJECT_RENAME, 0, 1, SNAP_E_IO},
};
enum { N_FAULTS = sizeof faults / sizeof *faults };

START_TEST(writing) {
    long at = 1, n_failed = 0;
    for (;; at++) {
        snap_error err = {0};
        const long before = inject_live();
        inject_arm(faults[_i].kind, at, faults[_i].is_persistent);
        const int result = write_file(faults[_i].overwrite, &err);
        const int has_fired = inject_disarm();
        ck_assert_int_eq(inject_live(), before);
        if (result) {
            ck_assert_int_eq(result, faults[_i].code);
            ck_assert_int_eq(err.code, result);
            ck_assert(*err.message);
            ck_assert_uint_eq(n_files(), 0);
            n_failed++;
        } else {
            ck_assert_uint_eq(n_files(), 1);
            check_good();
            unlink(path);
        }
        if (!has_fired)
            break;
    }
    ck_assert_int_gt(n_failed, 0);
    if (faults[_i].kind == INJECT_MALLOC)
        ck_assert_int_gt(n_failed, 50);
}
END_TEST

/* The file that was there stays as it was. */
START_TEST(overwriting) {
    static const enum inject_kind kinds[] = {INJECT_WRITE, INJECT_FSYNC, INJECT_RENAME};
    ck_assert_int_eq(write_file(0, NULL), 0);
    for (size_t k = 0; k < sizeof kinds / sizeof *kinds; k++) {
        inject_arm(kinds[k], 1, 0);
        ck_assert_int_eq(write_file(1, NULL), SNAP_E_IO);
        ck_assert_int_eq(inject_disarm(), 1);
        ck_assert_uint_eq(n_files(), 1);
        check_good();
    }
    ck_assert_int_eq(write_file(0, NULL), SNAP_E_IO);
    check_good();
}
END_TEST

START_TEST(short_writes) {
    inject_arm(INJECT_WRITE_SHORT, 0, 0);
    const int result = write_file(0, NULL);
    ck_assert_int_eq(inject_disarm(), 1);
    ck_assert_int_eq(result, 0);
    check_good();
}
END_TEST

static const struct {
    enum inject_kind kind;
    int is_persistent, is_stream, code;
} read_faults[] = {
    {INJECT_MALLOC, 0, 0, SNAP_E_NOMEM}, {INJECT_MALLOC, 1, 0, SNAP_E_NOMEM},
    {INJECT_MALLOC, 0, 1, SNAP_E_NOMEM}, {INJECT_OPEN, 0, 0, SNAP_E_IO},
    {INJECT_MMAP, 0, 0, SNAP_E_IO},      {INJECT_READ, 0, 1, SNAP_E_IO},
};
enum { N_READ_FAULTS = sizeof read_faults / sizeof *read_faults };

START_TEST(reading) {
    ck_assert_int_eq(write_file(0, NULL), 0);
    long n_failed = 0;
    for (long at = 1;; at++) {
        const int fd = read_faults[_i].is_stream ? open(path, O_RDONLY) : -1;
        uint64_t digest;
        snap_error err = {0};
        const long before = inject_live();
        if (fd >= 0) {
            int ends[2];
            ck_assert_int_eq(pipe(ends), 0);
            fcntl(ends[1], F_SETPIPE_SZ, 1 << 20);
            char buffer[4096];
            for (ssize_t n; (n = read(fd, buffer, sizeof buffer)) > 0;)
                ck_assert_int_eq(write(ends[1], buffer, (size_t)n), n);
            close(fd);
            close(ends[1]);
            dup2(ends[0], STDIN_FILENO);
            close(ends[0]);
        }
        inject_arm(read_faults[_i].kind, at, read_faults[_i].is_persistent);
        const int result = read_file(fd >= 0 ? "-" : path, &digest, &err);
        inject_disarm();
        ck_assert_int_eq(inject_live(), before);
        if (!result) {
            ck_assert_uint_eq(digest, expected);
            break;
        }
        ck_assert_int_eq(result, read_faults[_i].code);
        ck_assert_int_eq(err.code, result);
        n_failed++;
    }
    ck_assert_int_gt(n_failed, read_faults[_i].kind == INJECT_MALLOC ? 30 : 0);
}
END_TEST

/* Saving and redacting a file: the same rules as for writing one. */
static int rework(int is_redaction, snap_error *err) {
    char in[96];
    snap_snapshot *s;
    snap_repair_result saved;
    snprintf(in, sizeof in, "%s/in.snap", folder);
    if (!is_redaction)
        return snap_repair(in, path, NULL, &saved, NULL, NULL, err);
    const snap_redact_options o = {.struct_size = sizeof o};
    int result = snap_open(&s, in, NULL, err);
    if (result)
        return result;
    result = snap_redact(s, path, &o, NULL, NULL, err);
    snap_close(s);
    return result;
}

/* read_file compares with what was written, which a redacted file is not. */
static int read_sound(uint64_t *out_digest) {
    snap_snapshot *s;
    int result = snap_open(&s, path, NULL, NULL);
    if (result)
        return result;
    result = sample_digest(s, out_digest, NULL);
    result = result ? result : snap_verify(s, NULL, NULL, NULL);
    snap_close(s);
    return result;
}

START_TEST(reworking) {
    const int is_redaction = _i >= N_FAULTS, kind = _i % N_FAULTS;
    char in[96];
    snprintf(in, sizeof in, "%s/in.snap", folder);
    ck_assert_int_eq(write_file(0, NULL), 0);
    ck_assert_int_eq(rename(path, in), 0);
    long n_failed = 0;
    for (long at = 1;; at++) {
        snap_error err = {0};
        const long before = inject_live();
        inject_arm(faults[kind].kind, at, faults[kind].is_persistent);
        const int result = rework(is_redaction, &err);
        const int has_fired = inject_disarm();
        ck_assert_int_eq(inject_live(), before);
        if (result) {
            ck_assert_int_eq(result, faults[kind].code);
            ck_assert_int_eq(err.code, result);
            ck_assert(*err.message);
            ck_assert_uint_eq(n_files(), 1);
            n_failed++;
        } else {
            uint64_t digest;
            ck_assert_uint_eq(n_files(), 2);
            ck_assert_int_eq(read_sound(&digest), 0);
            ck_assert(is_redaction || digest == expected);
            unlink(path);
        }
        if (!has_fired)
            break;
    }
    unlink(in);
    ck_assert_int_gt(n_failed, 0);
}
END_TEST

int main(void) {
    Suite *const suite = suite_create("codec_fault");
    TCase *const t = tcase_create("codec_fault");
    tcase_add_checked_fixture(t, set_up, tear_down);
    tcase_set_timeout(t, 600);
    tcase_add_loop_test(t, writing, 0, N_FAULTS);
    tcase_add_test(t, overwriting);
    tcase_add_test(t, short_writes);
    tcase_add_loop_test(t, reading, 0, N_READ_FAULTS);
    tcase_add_loop_test(t, reworking, 0, 2 * N_FAULTS);
    suite_add_tcase(suite, t);
    SRunner *const runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    srunner_free(runner);
    return 0;
}
