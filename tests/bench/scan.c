/* How long references take: 4 M blocks of 1 GiB with 33 M references between them, from the call to
 * the complete file; and memory without any, in bytes per second.
 *
 * usage: scan [BLOCKS [MIB]], under `snap run`; scan plain BLOCKS MIB, for the same heap without
 * it. */
#include <heapsnap/capture.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <time.h>

static uint64_t now_ns(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

/* Of the copy and of the process that writes, which it has waited for. */
static double children_seconds(void) {
    struct rusage r;
    getrusage(RUSAGE_CHILDREN, &r);
    return (double)(r.ru_utime.tv_sec + r.ru_stime.tv_sec) +
           (double)(r.ru_utime.tv_usec + r.ru_stime.tv_usec) / 1e6;
}

static uint64_t seed = 88172645463325252u;

static uint64_t draw(void) {
    seed ^= seed << 13;
    seed ^= seed >> 7;
    seed ^= seed << 17;
    return seed;
}

struct heap {
    size_t n;
    uint64_t **blocks;
    uint32_t *words;
};

/* Blocks of 16 bytes to twice the average. */
static int build(struct heap *h, size_t n, size_t bytes) {
    *h = (struct heap){n, malloc(n * sizeof *h->blocks), malloc(n * sizeof *h->words)};
    const uint64_t steps = 2 * (bytes / n) / 16;
    for (size_t i = 0; h->blocks && h->words && i < n; i++) {
        h->words[i] = (uint32_t)(2 + draw() % steps * 2);
        h->blocks[i] = malloc((size_t)h->words[i] * 8);
        if (!h->blocks[i])
            return -1;
    }
    return h->blocks && h->words ? 0 : -1;
}

/* Of four words one refers to a block, one is 0, two are anything. */
static size_t connect_blocks(const struct heap *h) {
    size_t n_edges = 0;
    for (size_t i = 0; i < h->n; i++)
        for (uint32_t k = 0; k < h->words[i]; k++) {
            const uint64_t r = draw();
            const int is_edge = (r & 3) == 0;
            h->blocks[i][k] = is_edge        ? (uint64_t)h->blocks[(r >> 8) % h->n] + (r >> 4 & 8)
                              : (r & 3) == 1 ? 0
                                             : r >> (r >> 8 & 31);
            n_edges += (size_t)is_edge;
        }
    return n_edges;
}

static int take(const char *what) {
    snap_error err;
    const snap_take_options o = {.struct_size = sizeof o, .overwrite = 1};
    const uint64_t start_ns = now_ns();
    const double before = children_seconds();
    if (snap_take("scan.snap", &o, &err) < 0) {
        fprintf(stderr, "scan: %s\n", err.message);
        return -1;
    }
    struct stat st;
    const double seconds = (double)(now_ns() - start_ns) / 1e9;
    printf("%s: %.2f s from call to file, %.2f s of one core, %.1f MiB\n", what, seconds,
           children_seconds() - before,
           stat("scan.snap", &st) == 0 ? (double)st.st_size / 1048576.0 : 0);
    remove("scan.snap");
    return 0;
}

int main(int argc, char **argv) {
    const size_t n = argc > 1 ? strtoul(argv[1], NULL, 10) : 4000000;
    const size_t mib = argc > 2 ? strtoul(argv[2], NULL, 10) : 1024;
    struct heap h;
    if (!snap_is_tracked()) {
        fprintf(stderr, "scan: run it under `snap run`\n");
        return 2;
    }
    if (build(&h, n, mib << 20) < 0)
        return 2;
    const size_t n_edges = connect_blocks(&h);
    printf("%zu blocks, %zu MiB, %zu references\n", n, mib, n_edges);
    for (int i = 0; i < 3; i++)
        if (take("all") < 0)
            return 2;
    return 0;
}
