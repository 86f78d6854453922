/* Names that were found before are the ones that would be found, come from the file, and only from
 * one that nobody else can have written; damaged files, and many writers, change nothing. */
#include "symbol/symbol.h"

#include <check.h>
#include <dirent.h>
#include <elf.h>
#include <fcntl.h>
#include <link.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>
#include <zstd.h>

static char directory[64], path[320], module_path[256], build_id[136];
static uint64_t base;

/* A library that mostly comes without debug information, so that it is read quickly. */
static int find_module(struct dl_phdr_info *info, size_t size, void *context) {
    (void)size;
    (void)context;
    if (!strstr(info->dlpi_name, "/libzstd.so"))
        return 0;
    for (int i = 0; i < info->dlpi_phnum; i++) {
        const ElfW(Phdr) *const p = &info->dlpi_phdr[i];
        if (p->p_type != PT_NOTE)
            continue;
        const char *at = (const char *)(info->dlpi_addr + p->p_vaddr), *const end = at + p->p_memsz;
        while (at + sizeof(ElfW(Nhdr)) < end) {
            const ElfW(Nhdr) *const note = (const void *)at;
            const char *const name = at + sizeof *note;
            const unsigned char *const data =
                (const unsigned char *)name + ((note->n_namesz + 3) & ~3u);
            if (note->n_type == NT_GNU_BUILD_ID && !strcmp(name, "GNU"))
                for (unsigned k = 0; k < note->n_descsz && k < 64; k++)
                    snprintf(build_id + 2 * k, 3, "%02x", data[k]);
            at = (const char *)data + ((note->n_descsz + 3) & ~3u);
        }
    }
    snprintf(module_path, sizeof module_path, "%s", info->dlpi_name);
    base = info->dlpi_addr;
    return 1;
}

static void set_up(void) {
    snprintf(directory, sizeof directory, "/tmp/heapsnap-test-XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(directory));
    dl_iterate_phdr(find_module, NULL);
    ck_assert_uint_gt(strlen(build_id), 15);
    snprintf(path, sizeof path, "%s/%s.names", directory, build_id);
    setenv("HEAPSNAP_CACHE", directory, 1);
}

static void tear_down(void) {
    chmod(directory, 0700);
    unlink(path);
    ck_assert_int_eq(rmdir(directory), 0); /* nothing else was left in it */
}

struct names {
    char text[64][300];
    size_t n;
};

static void take(void *context, size_t index, const struct symbol_position *positions, size_t n) {
    struct names *const names = context;
    ck_assert_uint_eq(index, names->n);
    char *const to = names->text[names->n++];
    to[0] = '\0';
    for (size_t i = 0; i < n; i++) {
        const size_t length = strlen(to);
        snprintf(to + length, 300 - length, "%s %s:%u %u;", positions[i].function,
                 positions[i].file, positions[i].line, positions[i].source);
    }
}

static int compare(const void *a, const void *b) {
    const uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

/* Names at places of it, every step-th from the first. */
static struct names look_up(size_t first, size_t step) {
    unsigned (*const version)(void) = ZSTD_versionNumber;
    size_t (*const bound)(size_t) = ZSTD_compressBound;
    unsigned (*const is_error)(size_t) = ZSTD_isError;
    uint64_t functions[3], offsets[48];
    memcpy(&functions[0], &version, sizeof version);
    memcpy(&functions[1], &bound, sizeof bound);
    memcpy(&functions[2], &is_error, sizeof is_error);
    for (size_t i = 0; i < 48; i++)
        offsets[i] = functions[i % 3] - base + i / 3 * 7;
    qsort(offsets, 48, sizeof *offsets, compare);
    size_t n = 0;
    for (size_t i = first; i < 48; i += step)
        offsets[n++] = offsets[i];
    static struct names names;
    struct symbolizer *s = NULL;
    uint32_t module;
    memset(&names, 0, sizeof names);
    ck_assert_int_eq(symbolizer_new(&s, NULL, NULL), 0);
    ck_assert_int_eq(symbolizer_module(s, module_path, build_id, &module, NULL), 0);
    ck_assert_int_eq(symbolizer_lookup(s, module, offsets, n, take, &names, NULL), 0);
    ck_assert_uint_eq(names.n, n);
    symbolizer_free(s);
    return names;
}

static void expect_same(const struct names *a, const struct names *b, size_t step) {
    for (size_t i = 0; i < b->n; i++)
        ck_assert_str_eq(a->text[i * step], b->text[i]);
}

START_TEST(names_are_those_that_would_be_found) {
    unsetenv("HEAPSNAP_CACHE");
    const struct names plain = look_up(0, 1);
    ck_assert_int_ne(access(path, F_OK), 0);
    setenv("HEAPSNAP_CACHE", directory, 1);
    for (int i = 0; i < 2; i++) {
        const struct names some = look_up(0, 3);
        expect_same(&plain, &some, 3);
    }
    for (int i = 0; i < 2; i++) {
        const struct names all = look_up(0, 1);
        expect_same(&plain, &all, 1);
    }
    struct stat st;
    ck_assert_int_eq(stat(path, &st), 0);
    ck_assert_int_eq(st.st_mode & 0777, 0600);
}
END_TEST

static char *read_file(size_t *size) {
    FILE *const in = fopen(path, "rb");
    ck_assert_ptr_nonnull(in);
    char *const data = malloc(1 << 20);
    *size = fread(data, 1, 1 << 20, in);
    fclose(in);
    return data;
}

static void write_file(const char *data, size_t size) {
    const int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    ck_assert_int_ge(fd, 0);
    ck_assert_int_eq(write(fd, data, size), (ssize_t)size);
    close(fd);
}

/* Puts another name into the file: whoever believes it has read it. */
static void plant(void) {
    size_t size;
    char *const data = read_file(&size);
    char *const at = memmem(data, size, "ZSTD_", 5);
    ck_assert_ptr_nonnull(at);
    memcpy(at, "QSTD_", 5);
    write_file(data, size);
    free(data);
}

static int is_believed(void) {
    const struct names names = look_up(0, 1);
    for (size_t i = 0; i < names.n; i++)
        if (strstr(names.text[i], "QSTD_"))
            return 1;
    return 0;
}

START_TEST(only_a_file_of_ours_is_believed) {
    look_up(0, 1);
    plant();
    ck_assert(is_believed());
    chmod(path, 0644);
    ck_assert(!is_believed()); /* and written anew */
    plant();
    ck_assert(is_believed());
    chmod(directory, 0755);
    ck_assert(!is_believed());
    chmod(directory, 0700);
    ck_assert(is_believed());
    /* A link is nobody's file. */
    char other[400];
    snprintf(other, sizeof other, "%s.other", path);
    ck_assert_int_eq(rename(path, other), 0);
    ck_assert_int_eq(symlink(other, path), 0);
    ck_assert(!is_believed());
    unlink(other);
    setenv("HEAPSNAP_CACHE", "relative", 1);
    ck_assert(!is_believed());
}
END_TEST

START_TEST(damaged_files_are_survived) {
    unsetenv("HEAPSNAP_CACHE");
    const struct names plain = look_up(0, 1);
    setenv("HEAPSNAP_CACHE", directory, 1);
    look_up(0, 1);
    size_t size;
    char *const data = read_file(&size);
    for (size_t cut = 0; cut < size; cut += 1 + size / 150) {
        write_file(data, cut);
        const struct names names = look_up(0, 1);
        expect_same(&plain, &names, 1);
    }
    for (size_t at = 0; at < size; at += 1 + size / 400) {
        data[at] ^= 0x55;
        write_file(data, size);
        data[at] ^= 0x55;
        look_up(0, 1); /* names may be wrong, if they are names */
    }
    free(data);
}
END_TEST

START_TEST(many_may_write) {
    unsetenv("HEAPSNAP_CACHE");
    const struct names plain = look_up(0, 1);
    setenv("HEAPSNAP_CACHE", directory, 1);
    enum { N = 8 };
    pid_t children[N];
    for (size_t i = 0; i < N; i++) {
        children[i] = fork();
        if (children[i] != 0)
            continue;
        for (size_t round = 0; round < 20; round++) {
            const struct names names = look_up((i + round) % 3, 3);
            for (size_t k = 0; k < names.n; k++)
                if (strcmp(names.text[k], plain.text[(i + round) % 3 + 3 * k]) != 0)
                    _exit(1);
            if (round % 5 == 4)
                unlink(path);
        }
        _exit(0);
    }
    for (size_t i = 0; i < N; i++) {
        int status;
        ck_assert_int_eq(waitpid(children[i], &status, 0), children[i]);
        ck_assert_int_eq(status, 0);
    }
    const struct names names = look_up(0, 1);
    expect_same(&plain, &names, 1);
}
END_TEST

int main(void) {
    Suite *const suite = suite_create("symbol_cache");
    TCase *const t = tcase_create("symbol_cache");
    tcase_add_checked_fixture(t, set_up, tear_down);
    tcase_set_timeout(t, 120);
    tcase_add_test(t, names_are_those_that_would_be_found);
    tcase_add_test(t, only_a_file_of_ours_is_believed);
    tcase_add_test(t, damaged_files_are_survived);
    tcase_add_test(t, many_may_write);
    suite_add_tcase(suite, t);
    SRunner *const runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    srunner_free(runner);
    return 0;
}
