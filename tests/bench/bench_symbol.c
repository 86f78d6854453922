/* bench_symbol PID N: names N random code positions in every module that a process has mapped, and
 * prints the time and what was found per module, slowest first. */
#include "symbol/symbol.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define MODULES_MAX 4096

struct module {
    char path[512];
    uint64_t low; /* of executable bytes, in the file */
    uint64_t high;
    double seconds;
    size_t n_named;
    size_t n_lines;
};

static struct module modules[MODULES_MAX];
static size_t n_modules;

static void count(void *context, size_t index, const struct symbol_position *positions, size_t n) {
    struct module *const module = context;
    module->n_named += n > 0;
    module->n_lines += n > 0 && positions[0].line > 0;
}

static int read_modules(const char *pid) {
    char path[64], line[1024];
    snprintf(path, sizeof path, "/proc/%s/maps", pid);
    FILE *const maps = fopen(path, "r");
    if (!maps)
        return 0;
    while (fgets(line, sizeof line, maps)) {
        uint64_t start, end, offset;
        char flags[8], name[512];
        if (sscanf(line, "%" SCNx64 "-%" SCNx64 " %7s %" SCNx64 " %*s %*s %511[^\n]", &start, &end,
                   flags, &offset, name) != 5 ||
            flags[2] != 'x' || name[0] != '/' || n_modules == MODULES_MAX)
            continue;
        struct module *const module = &modules[n_modules++];
        snprintf(module->path, sizeof module->path, "%s", name);
        /* Of most files, code lies at the addresses of its offsets in the file. */
        module->low = offset;
        module->high = offset + (end - start);
    }
    fclose(maps);
    return 1;
}

static int compare_addresses(const void *a, const void *b) {
    const uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

static int compare_modules(const void *a, const void *b) {
    const struct module *const x = a, *const y = b;
    return (x->seconds < y->seconds) - (x->seconds > y->seconds);
}

static double now(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec + (double)time.tv_nsec * 1e-9;
}

int main(int argc, char **argv) {
    const size_t n = argc == 3 ? strtoull(argv[2], NULL, 10) : 0;
    if (n == 0 || !read_modules(argv[1])) {
        fprintf(stderr, "usage: bench_symbol PID N\n");
        return 2;
    }
    struct symbolizer *s;
    snap_error err;
    uint64_t *const offsets = calloc(n, sizeof *offsets);
    if (!offsets || symbolizer_new(&s, NULL, &err) < 0) {
        free(offsets);
        return 2;
    }
    srandom(1);
    double total = 0;
    for (size_t i = 0; i < n_modules; i++) {
        struct module *const module = &modules[i];
        for (size_t k = 0; k < n; k++)
            offsets[k] = module->low + (uint64_t)random() % (module->high - module->low);
        qsort(offsets, n, sizeof *offsets, compare_addresses);
        uint32_t id;
        const double start = now();
        if (symbolizer_module(s, module->path, NULL, &id, &err) < 0 ||
            symbolizer_lookup(s, id, offsets, n, count, module, &err) < 0) {
            fprintf(stderr, "%s: %s\n", module->path, err.message);
            symbolizer_free(s);
            free(offsets);
            return 2;
        }
        module->seconds = now() - start;
        total += module->seconds;
    }
    qsort(modules, n_modules, sizeof *modules, compare_modules);
    printf("%8s %6s %6s  %s\n", "ms", "named", "lines", "module");
    for (size_t i = 0; i < n_modules && i < 15; i++)
        printf("%8.1f %5.0f%% %5.0f%%  %s\n", modules[i].seconds * 1e3,
               100.0 * (double)modules[i].n_named / (double)n,
               100.0 * (double)modules[i].n_lines / (double)n, modules[i].path);
    printf("%zu modules, %zu positions: %.3f s, %.1f ms per module\n", n_modules, n * n_modules,
           total, n_modules ? total * 1e3 / (double)n_modules : 0);
    symbolizer_free(s);
    free(offsets);
    return 0;
}
