/* The symbolizer: its parts, this very program as its own subject, and damaged files.
 *
 * argv[1]: a small program with debug information. $SYMBOL_MUTATIONS: how many damaged copies of it
 * to read; the seed is fixed, so that a failure can be repeated. */
#include "symbol/demangle.h"
#include "symbol/isolate.h"
#include "symbol/source_path.h"
#include "symbol/strings.h"
#include "symbol/symbol.h"

#include <check.h>
#include <elf.h>
#include <link.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <heapsnap/snapdef.h>

static const char *fixture_path;

struct seen {
    size_t n_calls;
    size_t n_named;
    char function[256];
    char file[256];
    uint32_t line;
    uint32_t source;
};

static void see(void *context, size_t index, const struct symbol_position *positions, size_t n) {
    struct seen *const seen = context;
    ck_assert_uint_eq(index, seen->n_calls);
    seen->n_calls++;
    seen->n_named += n > 0;
    for (size_t i = 0; i < n; i++) {
        ck_assert_ptr_nonnull(positions[i].function);
        ck_assert_ptr_nonnull(positions[i].file);
        ck_assert_uint_lt(strlen(positions[i].function), DEMANGLE_MAX_BYTES + 8);
        ck_assert_uint_lt(strlen(positions[i].file), DWARF_TEXT_MAX_BYTES);
    }
    if (n > 0) {
        snprintf(seen->function, sizeof seen->function, "%s", positions[n - 1].function);
        snprintf(seen->file, sizeof seen->file, "%s", positions[n - 1].file);
        seen->line = positions[n - 1].line;
        seen->source = positions[n - 1].source;
    }
}

static struct symbolizer *make_symbolizer(const struct symbolizer_options *options) {
    struct symbolizer *s = NULL;
    ck_assert_int_eq(symbolizer_new(&s, options, NULL), SNAP_OK);
    return s;
}

static struct seen look_up(struct symbolizer *s, const char *path, const char *build_id,
                           const uint64_t *offsets, size_t n) {
    struct seen seen = {.n_calls = 0};
    uint32_t module;
    snap_error err;
    ck_assert_int_eq(symbolizer_module(s, path, build_id, &module, &err), SNAP_OK);
    ck_assert_int_eq(symbolizer_lookup(s, module, offsets, n, see, &seen, &err), SNAP_OK);
    ck_assert_uint_eq(seen.n_calls, n);
    return seen;
}

static int take_bias(struct dl_phdr_info *info, size_t size, void *context) {
    *(uint64_t *)context = info->dlpi_addr; /* the first one is the program */
    return 1;
}

int symbol_landmark(int x);

enum { LANDMARK_LINE = __LINE__ + 2 };

__attribute__((noinline)) int symbol_landmark(int x) {
    return x * 3 + 1;
}

START_TEST(names_itself) {
    uint64_t bias = 0;
    dl_iterate_phdr(take_bias, &bias);
    const uint64_t offset = (uint64_t)(uintptr_t)&symbol_landmark - bias;
    for (int no_dwarf = 0; no_dwarf < 2; no_dwarf++) {
        const struct symbolizer_options options = {.no_dwarf = no_dwarf};
        struct symbolizer *const s = make_symbolizer(&options);
        const struct seen seen = look_up(s, "/proc/self/exe", NULL, &offset, 1);
        ck_assert_str_eq(seen.function, "symbol_landmark");
        if (!no_dwarf && dwarf_is_built()) {
            /* of its name or of its body */
            ck_assert_uint_ge(seen.line, LANDMARK_LINE);
            ck_assert_uint_le(seen.line, LANDMARK_LINE + 1);
            ck_assert_ptr_nonnull(strstr(seen.file, "test_symbol.c"));
            ck_assert_uint_eq(seen.source, SNAP_SYMB_DWARF);
        } else {
            ck_assert_uint_eq(seen.source, SNAP_SYMB_SYMTAB);
            ck_assert_uint_eq(seen.line, 0);
        }
        symbolizer_free(s);
    }
}
END_TEST

START_TEST(finds_nothing_without_a_file) {
    static const char *const paths[] = {
        "",      "/",         "/no such file", "/dev/null",
        "/proc", "[vdso]",    "//anon",        "/usr/lib/libgone.so (deleted)",
        ".",     "/dev/zero",
    };
    const uint64_t offsets[] = {0, 1, 4096, UINT64_MAX};
    struct symbolizer *const s = make_symbolizer(NULL);
    for (size_t i = 0; i < sizeof paths / sizeof *paths; i++)
        ck_assert_uint_eq(look_up(s, paths[i], NULL, offsets, 4).n_named, 0);
    ck_assert_uint_eq(look_up(s, fixture_path, "00", offsets, 4).n_named, 0);
    ck_assert_uint_eq(look_up(s, fixture_path, "not hexadecimal", offsets, 4).n_named, 0);
    symbolizer_free(s);
}
END_TEST

START_TEST(a_pipe_does_not_block) {
    char path[64];
    snprintf(path, sizeof path, "/tmp/snap-fifo-%ld", (long)getpid());
    ck_assert_int_eq(mkfifo(path, 0600), 0);
    const uint64_t offset = 4096;
    struct symbolizer *const s = make_symbolizer(NULL);
    const struct seen seen = look_up(s, path, NULL, &offset, 1);
    unlink(path);
    ck_assert_uint_eq(seen.n_named, 0);
    symbolizer_free(s);
}
END_TEST

START_TEST(refuses_misuse) {
    struct symbolizer *const s = make_symbolizer(NULL);
    struct seen seen = {.n_calls = 0};
    const uint64_t descending[] = {2, 1};
    uint32_t module;
    snap_error err;
    ck_assert_int_eq(symbolizer_lookup(s, 0, descending, 1, see, &seen, &err), SNAP_E_ARG);
    ck_assert_int_eq(symbolizer_module(s, fixture_path, NULL, &module, &err), SNAP_OK);
    ck_assert_int_eq(symbolizer_lookup(s, module, descending, 2, see, &seen, &err), SNAP_E_ARG);
    ck_assert_int_eq(symbolizer_lookup(s, module, NULL, 0, see, &seen, &err), SNAP_OK);
    ck_assert_uint_eq(seen.n_calls, 0);
    symbolizer_free(s);
    symbolizer_free(NULL);
}
END_TEST

START_TEST(paths_are_joined) {
    static const struct {
        const char *compilation_directory, *directory, *name, *joined;
    } cases[] = {
        {"/src/build", "../lib", "a.c", "/src/lib/a.c"},
        {"/src/build", NULL, "../a.c", "/src/a.c"},
        {"/src", "/usr/include", "x.h", "/usr/include/x.h"},
        {"/src", "inc", "/abs/../y.h", "/y.h"},
        {NULL, "lib/./sub//", "a.c", "lib/sub/a.c"},
        {NULL, NULL, "../../a.c", "../../a.c"},
        {NULL, "a/..", "../b.c", "../b.c"},
        {"/", "../..", "a.c", "/a.c"},
        {"", "", "a.c", "a.c"},
        {"/src", "x", "", ""},
        {NULL, NULL, NULL, ""},
    };
    char out[4096];
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        source_path_join(out, sizeof out, cases[i].compilation_directory, cases[i].directory,
                         cases[i].name);
        ck_assert_str_eq(out, cases[i].joined);
    }
    char small[8];
    source_path_join(small, sizeof small, "/1234", NULL, "5");
    ck_assert_str_eq(small, "/1234/5");
    source_path_join(small, sizeof small, "/1234", NULL, "56");
    ck_assert_str_eq(small, "");
}
END_TEST

START_TEST(names_are_demangled_within_bounds) {
    char out[DEMANGLE_MAX_BYTES];
    ck_assert_uint_eq(demangle("main", out), 4);
    ck_assert_str_eq(out, "main");
    demangle("_ZN3app5Cache3putEi", out);
    if (strcmp(out, "_ZN3app5Cache3putEi") != 0) /* there is a demangler */
        ck_assert_str_eq(out, "app::Cache::put(int)");
    /* Every level doubles the text: 2^60 characters if it were made whole. */
    char bomb[1024] = "_Z1fI1AIiiE";
    size_t length = strlen(bomb);
    for (int i = 0; i < 60; i++) {
        const char *const level = i ? "1BIS0_S0_E" : "1BIS_S_E";
        length += (size_t)snprintf(bomb + length, sizeof bomb - length, "%s", level);
    }
    snprintf(bomb + length, sizeof bomb - length, "Evv");
    ck_assert_uint_lt(demangle(bomb, out), sizeof out);
    char *const large = malloc(1 << 20);
    ck_assert_ptr_nonnull(large);
    memset(large, 'P', 1 << 20);
    memcpy(large, "_Z1f", 4);
    large[(1 << 20) - 1] = 0;
    ck_assert_uint_eq(demangle(large, out), sizeof out - 1);
    ck_assert_str_eq(out + sizeof out - 4, "...");
    for (size_t cut = 100000; cut > 10; cut /= 3) {
        large[cut] = 0;
        ck_assert_uint_lt(demangle(large, out), sizeof out);
    }
    /* A long one that is right: f(int, int, ...). */
    memset(large, 'i', 1500);
    memcpy(large, "_Z1f", 4);
    large[1500] = 0;
    const size_t n = demangle(large, out);
    if (out[0] != '_') { /* there is a demangler */
        ck_assert_uint_eq(n, sizeof out - 1);
        ck_assert_int_eq(strncmp(out, "f(int, int, ", 12), 0);
    }
    free(large);
}
END_TEST

START_TEST(strings_are_kept_once) {
    struct strings set = {.n = 0};
    const char *kept[3000];
    char text[32];
    for (int round = 0; round < 2; round++) {
        for (int i = 0; i < 3000; i++) {
            const int n = snprintf(text, sizeof text, "string %d", i);
            const char *const at = strings_add(&set, text, (size_t)n);
            ck_assert_str_eq(at, text);
            if (round)
                ck_assert_ptr_eq(at, kept[i]);
            kept[i] = at;
        }
    }
    ck_assert_ptr_ne(strings_add(&set, "string 1", 7), kept[1]);
    strings_release(&set);
}
END_TEST

static uint64_t random_state = 20;

static uint64_t next_random(void) {
    random_state ^= random_state << 13;
    random_state ^= random_state >> 7;
    random_state ^= random_state << 17;
    return random_state;
}

static uint8_t *read_fixture(size_t *out_size, uint64_t *out_text, uint64_t *out_text_size) {
    struct elf_file elf;
    ck_assert_int_eq(elf_open(&elf, fixture_path), 1);
    const struct elf_section *const text = elf_find(&elf, ".text");
    ck_assert_ptr_nonnull(text);
    *out_text = text->address;
    *out_text_size = text->size;
    *out_size = elf.size;
    uint8_t *const data = malloc(elf.size);
    ck_assert_ptr_nonnull(data);
    ck_assert_int_eq(pread(elf.fd, data, elf.size, 0), (ssize_t)elf.size);
    elf_close(&elf);
    return data;
}

static void write_file(const char *path, const uint8_t *data, size_t size) {
    FILE *const file = fopen(path, "wb");
    ck_assert_ptr_nonnull(file);
    ck_assert_uint_eq(fwrite(data, 1, size, file), size);
    ck_assert_int_eq(fclose(file), 0);
}

enum { N_OFFSETS = 64 };

/* Reads a damaged file by symbol tables in this process and, if asked for, by DWARF in a child. */
static void survive(const char *path, const uint64_t *offsets, int with_dwarf) {
    const struct symbolizer_options options = {.no_dwarf = !with_dwarf,
                                               .max_module_ns = 1000000000};
    struct symbolizer *const s = make_symbolizer(&options);
    look_up(s, path, NULL, offsets, N_OFFSETS);
    symbolizer_free(s);
}

START_TEST(damaged_files_are_survived) {
    const char *const given = getenv("SYMBOL_MUTATIONS");
    const unsigned long n = given ? strtoul(given, NULL, 10) : 300;
    uint64_t offsets[N_OFFSETS], text, text_size;
    size_t size;
    uint8_t *const data = read_fixture(&size, &text, &text_size);
    for (size_t i = 0; i < N_OFFSETS; i++)
        offsets[i] = text + text_size * i / N_OFFSETS;
    char path[64];
    snprintf(path, sizeof path, "/tmp/snap-damaged-%ld", (long)getpid());
    write_file(path, data, size);
    struct symbolizer *const s = make_symbolizer(NULL);
    ck_assert_uint_gt(look_up(s, path, NULL, offsets, N_OFFSETS).n_named, N_OFFSETS / 2);
    symbolizer_free(s);
    for (unsigned long i = 0; i < n; i++) {
        const size_t at = i % 4 == 0   ? next_random() % sizeof(Elf64_Ehdr)
                          : i % 4 == 1 ? size - 1 - next_random() % (size < 4096 ? size : 4096)
                                       : next_random() % size;
        const uint8_t was = data[at];
        data[at] = (uint8_t)next_random();
        const size_t kept = i % 16 == 15 ? next_random() % size : size;
        write_file(path, data, kept);
        data[at] = was;
        survive(path, offsets, 0);
        survive(path, offsets, 1);
    }
    unlink(path);
    free(data);
}
END_TEST

static void count_answers(void *context, size_t index, const struct dwarf_frame *frames, size_t n) {
    ++*(size_t *)context;
}

START_TEST(a_deadline_that_has_passed_finds_nothing) {
    uint64_t offset, text_size;
    size_t size, n_answers = 0;
    free(read_fixture(&size, &offset, &text_size));
    struct elf_file elf;
    ck_assert_int_eq(elf_open(&elf, fixture_path), 1);
    static const char *const no_dirs[] = {NULL};
    struct dwarf_request request = {.elf = &elf,
                                    .path = fixture_path,
                                    .dirs = no_dirs,
                                    .addresses = &offset,
                                    .n = 1,
                                    .deadline_ns = 1};
    isolate_dwarf_lookup(&request, count_answers, &n_answers);
    ck_assert_uint_eq(n_answers, 0);
    elf_close(&elf);
}
END_TEST

int main(int argc, char **argv) {
    fixture_path = argc > 1 ? argv[1] : "symbol_fixture";
    Suite *const suite = suite_create("symbol");
    TCase *const tcase = tcase_create("symbol");
    tcase_set_timeout(tcase, 600);
    tcase_add_test(tcase, names_itself);
    tcase_add_test(tcase, finds_nothing_without_a_file);
    tcase_add_test(tcase, a_pipe_does_not_block);
    tcase_add_test(tcase, refuses_misuse);
    tcase_add_test(tcase, paths_are_joined);
    tcase_add_test(tcase, names_are_demangled_within_bounds);
    tcase_add_test(tcase, strings_are_kept_once);
    tcase_add_test(tcase, damaged_files_are_survived);
    tcase_add_test(tcase, a_deadline_that_has_passed_finds_nothing);
    suite_add_tcase(suite, tcase);
    SRunner *const runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    srunner_free(runner);
    return 0;
}
