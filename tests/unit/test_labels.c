/* Labels of stacks against the rule told plainly, over the whole stack each time: random stacks
 * with inlined functions, allocators all the way, frames of a runtime, frames without a name. */
#include "diff/labels.h"

#include "base/strtab.h"
#include "support/sample.h"
#include "symbol/noise.h"

#include <heapsnap/diff.h>

#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { N_FRAMES = 90, N_STACKS = 3000, POSITIONS_MAX = 4096 };

static snap_error err;

static void check(int result) {
    ck_assert_msg(result >= 0, "%s: %s", snap_error_name(result), err.message);
}

static uint64_t string(snap_writer *w, const char *text) {
    uint32_t id;
    check(snap_writer_string(w, text, &id, &err));
    return id;
}

static void write_frames(snap_writer *w, uint64_t *state) {
    static const char *const functions[] = {"malloc", "operator new(unsigned long)", "xmalloc",
                                            "load",   "parse(char const*)",          "main"};
    for (uint32_t i = 1; i <= N_FRAMES; i++) {
        uint64_t row[SNAP_COLUMNS_MAX] = {0};
        const int managed = sample_next(state) % 5 == 0;
        row[SNAP_FRAM_COL_KIND] = managed ? SNAP_FRAM_PYTHON : SNAP_FRAM_NATIVE;
        row[SNAP_FRAM_COL_MODULE] = managed ? 0 : sample_next(state) % 3;
        row[SNAP_FRAM_COL_OFFSET] = i * 16;
        check(snap_writer_row(w, SNAP_TABLE_FRAM, row, NULL, &err));
        const size_t n_inlined = sample_next(state) % 4; /* none: without a name */
        for (size_t k = 0; k < n_inlined; k++) {
            memset(row, 0, sizeof row);
            row[SNAP_SYMB_COL_FRAME] = i;
            row[SNAP_SYMB_COL_DEPTH] = k;
            row[SNAP_SYMB_COL_FUNCTION] = string(w, functions[sample_next(state) % 6]);
            row[SNAP_SYMB_COL_FILE] = string(w, sample_next(state) % 2 ? "/src/a.c" : "");
            row[SNAP_SYMB_COL_LINE] = sample_next(state) % 3;
            check(snap_writer_row(w, SNAP_TABLE_SYMB, row, NULL, &err));
        }
    }
}

static void make_file(struct bytes *out, uint64_t seed) {
    snap_writer *w;
    uint64_t state = seed;
    check(snap_writer_open_sink(&w, bytes_sink, out, NULL, &err));
    check(snap_writer_meta_text(w, SNAP_META_WRITER, "test", &err));
    check(snap_writer_module(w, "/bin/prog", "abcd", 0x400000, 0x900000, 0x400000, 1, NULL, &err));
    check(
        snap_writer_module(w, "/lib/libc.so.6", "ef", 0xa00000, 0xb00000, 0xa00000, 0, NULL, &err));
    write_frames(w, &state);
    for (uint64_t i = 1; i <= N_STACKS; i++) {
        uint64_t row[SNAP_COLUMNS_MAX] = {0};
        /* Deep ones, flat ones, and recursion. */
        row[SNAP_STAK_COL_PARENT] = sample_next(&state) % 3 ? i - 1 : sample_next(&state) % i;
        if (sample_next(&state) % 50 == 0)
            row[SNAP_STAK_COL_PARENT] = 0;
        row[SNAP_STAK_COL_FRAME] = sample_next(&state) % (N_FRAMES + 1);
        check(snap_writer_row(w, SNAP_TABLE_STAK, row, NULL, &err));
    }
    check(snap_writer_finish(w, &err));
    snap_writer_close(w);
}

static const char *base_name(const char *path) {
    const char *const slash = strrchr(path, '/');
    return slash != NULL ? slash + 1 : path;
}

/* The rule, over all positions of a stack. */
static void expect(const snap_snapshot *s, uint64_t stack, const struct site_label *label) {
    static snap_location at[POSITIONS_MAX];
    size_t n, place = 0, managed = 0;
    char text[700];
    check(snap_stack(s, stack, at, POSITIONS_MAX, &n, NULL, &err));
    if (n == 0) {
        ck_assert_str_eq(label->label, "allocated without a stack");
        ck_assert_str_eq(label->module, "");
        return;
    }
    while (place < n && snap_location_is_allocator(s, &at[place]))
        place++;
    if (place == n)
        place = 0;
    while (managed < n && (at[managed].kind == SNAP_FRAM_NATIVE ||
                           (*at[managed].function == '\0' && *at[managed].file == '\0')))
        managed++;
    snap_module module = {.path = ""};
    if (at[place].module != 0)
        check(snap_module_get(s, at[place].module, &module, &err));
    ck_assert_str_eq(label->module, module.path);
    const char *const where = base_name(at[place].line != 0 ? at[place].file : module.path);
    const uint64_t parts[2] = {strtab_key(where, strlen(where)),
                               at[place].line != 0 ? at[place].line : at[place].offset};
    uint64_t key = strtab_key((const char *)parts, sizeof parts), line = at[place].line;
    if (managed < n) {
        char name[512];
        symbol_managed_place(name, sizeof name, at[managed].file, at[managed].line,
                             at[managed].function);
        snprintf(text, sizeof text, "allocated in %s", name);
        const uint64_t both[2] = {key, strtab_key(name, strlen(name))};
        key = strtab_key((const char *)both, sizeof both);
        line = 0;
    } else if (*at[place].function != '\0') {
        snprintf(text, sizeof text, "allocated in %s", at[place].function);
    } else {
        snprintf(text, sizeof text, "allocated in %s+0x%llx",
                 *module.path != '\0' ? base_name(module.path) : "unknown code",
                 (unsigned long long)at[place].offset);
    }
    ck_assert_str_eq(label->label, text);
    ck_assert_uint_eq(label->place.key, key);
    ck_assert_uint_eq(label->place.line, line);
}

START_TEST(labels_are_those_of_the_rule) {
    struct bytes file[2] = {0};
    snap_snapshot *s[2];
    struct arena arena;
    struct labels labels;
    uint64_t state = (uint64_t)_i + 100;
    arena_init(&arena);
    labels_init(&labels, &arena);
    for (int k = 0; k < 2; k++) {
        make_file(&file[k], (uint64_t)_i * 2 + (uint64_t)k);
        check(snap_open_memory(&s[k], file[k].data, file[k].size, NULL, &err));
    }
    struct site_label label;
    for (int round = 0; round < 4; round++) /* one, the other, and both once more */
        for (int i = 0; i < N_STACKS; i++) {
            const uint64_t stack = sample_next(&state) % (N_STACKS + 1);
            check(labels_of(&labels, s[round % 2], stack, &label, &err));
            expect(s[round % 2], stack, &label);
        }
    ck_assert_int_eq(labels_of(&labels, s[0], N_STACKS + 1, &label, &err), SNAP_E_ARG);
    labels_release(&labels);
    arena_release(&arena);
    for (int k = 0; k < 2; k++) {
        snap_close(s[k]);
        bytes_release(&file[k]);
    }
}
END_TEST

int main(void) {
    Suite *const s = suite_create("labels");
    TCase *const c = tcase_create("labels");
    tcase_set_timeout(c, 300);
    tcase_add_loop_test(c, labels_are_those_of_the_rule, 0, 6);
    suite_add_tcase(s, c);
    SRunner *const r = srunner_create(s);
    srunner_run_all(r, CK_ENV);
    const int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed != 0;
}
