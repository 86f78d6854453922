/* Runs a fuzz target over files and folders, and over changed copies of them from a seed, where
 * libFuzzer is not at hand.
 *
 *     TARGET [-n CHANGES] FILE|FOLDER... */
#include "fuzz/fuzz.h"
#include "support/sample.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

static unsigned n_changes = 200, n_run;

/* An exact-size block, so that a sanitizer sees reads past the end of input. */
static void run(const uint8_t *data, size_t size) {
    uint8_t *const exact = malloc(size ? size : 1);
    if (!exact)
        abort();
    memcpy(exact, data, size);
    LLVMFuzzerTestOneInput(exact, size);
    free(exact);
    n_run++;
}

static void run_changed(const uint8_t *data, size_t size, uint64_t seed) {
    uint8_t *const copy = malloc(size + 1);
    if (!copy)
        abort();
    for (unsigned i = 0; i < n_changes && size; i++) {
        memcpy(copy, data, size);
        for (uint64_t k = 1 + sample_next(&seed) % 4; k; k--)
            copy[sample_next(&seed) % size] = (uint8_t)sample_next(&seed);
        run(copy, sample_next(&seed) % 8 ? size : sample_next(&seed) % size);
    }
    free(copy);
}

static int run_file(const char *path) {
    FILE *const f = fopen(path, "rb");
    if (!f)
        return -1;
    struct bytes file = {0};
    uint8_t buffer[65536];
    for (size_t n; (n = fread(buffer, 1, sizeof buffer, f)) > 0;)
        if (bytes_sink(&file, buffer, n))
            abort();
    fclose(f);
    run(file.data ? file.data : buffer, file.size);
    run_changed(file.data, file.size, file.size);
    bytes_release(&file);
    return 0;
}

static int run_path(const char *path) {
    struct stat st;
    if (stat(path, &st) < 0)
        return -1;
    if (!S_ISDIR(st.st_mode))
        return run_file(path);
    DIR *const d = opendir(path);
    if (!d)
        return -1;
    int result = 0;
    for (const struct dirent *e; (e = readdir(d)) && !result;) {
        char name[4096];
        snprintf(name, sizeof name, "%s/%s", path, e->d_name);
        if (e->d_name[0] != '.')
            result = run_path(name);
    }
    closedir(d);
    return result;
}

int main(int argc, char **argv) {
    int at = 1;
    if (argc > 2 && !strcmp(argv[1], "-n")) {
        n_changes = (unsigned)atoi(argv[2]);
        at = 3;
    }
    /* Files that no folder needs to hold: the writer makes them. */
    for (uint64_t seed = 1; seed <= 4; seed++) {
        struct bytes file = {0};
        if (sample_make(&file, seed, seed, NULL))
            abort();
        run(file.data, file.size);
        run_changed(file.data, file.size, seed);
        bytes_release(&file);
    }
    for (; at < argc; at++)
        if (run_path(argv[at]) < 0) {
            fprintf(stderr, "cannot read '%s'\n", argv[at]);
            return 1;
        }
    printf("%u inputs\n", n_run);
    return 0;
}
