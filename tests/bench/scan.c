/* How long references take: 4 M blocks of 1 GiB with 33 M references between them, from the call to
 * the complete file; and memory without any, in bytes per second, beside the speed at which two
 * threads read it at all, in the process and in a copy of it.
 *
 * usage: scan [BLOCKS [MIB [local]]], or scan numbers MIB, under `snap run`. Without "local" every
 * reference goes to any block: then chance alone, which is printed, is most of the file. */
#include <heapsnap/capture.h>
#include <math.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "scan_heap.h"

/* Seconds from the call to the complete file, negative if there is none. */
static double take(const char *what, int no_edges, size_t n_edges, const char *wanted) {
    snap_error err;
    const snap_take_options o = {.struct_size = sizeof o, .overwrite = 1, .no_edges = no_edges};
    const uint64_t start_ns = now_ns();
    const double before = processor_seconds(RUSAGE_CHILDREN);
    if (snap_take("scan.snap", &o, &err) < 0) {
        fprintf(stderr, "scan: %s\n", err.message);
        return -1;
    }
    const double seconds = (double)(now_ns() - start_ns) / 1e9;
    struct stat st;
    const double size = stat("scan.snap", &st) == 0 ? (double)st.st_size / 1048576.0 : 0;
    printf("%s: %.2f s from call to file, %.2f s of one core, %.1f MiB", what, seconds,
           processor_seconds(RUSAGE_CHILDREN) - before, size);
    if (n_edges > 0)
        printf(", %.2f bytes a reference, its block and all", size * 1048576 / (double)n_edges);
    printf("%s\n", wanted);
    remove("scan.snap");
    return seconds;
}

/* Bytes that no encoding of a reference can go below: what connect_blocks draws. */
static double chance(size_t n, int is_local) {
    const double place = 0.8113 * 4, offset = 1, any = log2((double)n);
    const double target =
        is_local ? 1.272 + 0.5 * log2(255) + 0.4375 * log2(64) + 0.0625 * any : any;
    return (place + offset + target) / 8;
}

enum { BLOCK_MIB = 4 };

/* Blocks that some threads read once and add up. */
struct reading {
    double *const *blocks;
    size_t n;
    atomic_size_t next;
};

static void *sum_numbers(void *context) {
    struct reading *const r = context;
    uint64_t sums[8] = {0};
    for (size_t i; (i = atomic_fetch_add(&r->next, 1)) < r->n;) {
        const uint64_t *const words = (const uint64_t *)(const void *)r->blocks[i];
        for (size_t k = 0; k < ((size_t)BLOCK_MIB << 20) / sizeof *words; k += 8)
            for (size_t j = 0; j < 8; j++)
                sums[j] += words[k + j];
    }
    __asm__ volatile("" : : "r"(sums) : "memory"); /* is needed */
    return NULL;
}

/* Seconds that two threads need to do no more than read all blocks. */
static double read_numbers(double *const *blocks, size_t n) {
    struct reading r = {.blocks = blocks, .n = n};
    pthread_t other;
    const uint64_t start_ns = now_ns();
    if (pthread_create(&other, NULL, sum_numbers, &r) != 0)
        return -1;
    sum_numbers(&r);
    pthread_join(other, NULL);
    return (double)(now_ns() - start_ns) / 1e9;
}

/* The same in a copy of the process, which is what a scan reads: fork leaves every page marked as
 * not yet accessed, and the processor sets that mark again page by page, which can take longer than
 * the reading. No scan in a copy can be faster. */
static double read_copied_numbers(double *const *blocks, size_t n) {
    int fds[2];
    double seconds = -1;
    if (pipe(fds) < 0)
        return -1;
    const pid_t pid = fork();
    if (pid == 0) {
        seconds = read_numbers(blocks, n);
        _exit(write(fds[1], &seconds, sizeof seconds) != sizeof seconds);
    }
    close(fds[1]);
    if (pid < 0 || read(fds[0], &seconds, sizeof seconds) != sizeof seconds)
        seconds = -1;
    close(fds[0]);
    if (pid > 0)
        waitpid(pid, NULL, 0);
    return seconds;
}

static double least(double a, double b) {
    return a < b ? a : b;
}

/* Blocks of numbers: nothing in them is an address. */
static int scan_numbers(size_t mib) {
    double best = 1e9, best_without = 1e9, best_here = 1e9, best_copied = 1e9;
    double **const blocks = malloc(mib / BLOCK_MIB * sizeof *blocks);
    for (size_t i = 0; i < mib / BLOCK_MIB; i++) {
        double *const numbers = blocks ? blocks[i] = malloc((size_t)BLOCK_MIB << 20) : NULL;
        if (!numbers)
            return -1;
        for (size_t k = 0; k < ((size_t)BLOCK_MIB << 20) / sizeof *numbers; k++)
            numbers[k] = (double)(draw() >> 11) / 9007199254740992.0 - 0.5;
    }
    for (int i = 0; i < 4; i++) {
        const double with = take("numbers", 0, 0, ""),
                     without = take("numbers, no references", 1, 0, "");
        if (with < 0 || without < 0)
            return -1;
        best = least(best, with);
        best_without = least(best_without, without);
        const double here = read_numbers(blocks, mib / BLOCK_MIB),
                     copied = read_copied_numbers(blocks, mib / BLOCK_MIB);
        if (here < 0 || copied < 0)
            return -1;
        best_here = least(best_here, here);
        best_copied = least(best_copied, copied);
    }
    const double gb = (double)(mib << 20) / 1e9;
    printf(
        "numbers: %zu MiB in %.3f s, %.1f GB/s   wanted: >= 8 GB/s\n"
        "numbers: two threads read and add them up at %.1f GB/s, in a copy by fork at %.1f GB/s: "
        "the scan is at %.2f of that\n",
        mib, best - best_without, gb / (best - best_without), gb / best_here, gb / best_copied,
        best_copied / (best - best_without));
    return 0;
}

int main(int argc, char **argv) {
    const int is_numbers = argc > 1 && strcmp(argv[1], "numbers") == 0;
    const size_t n = argc > 1 ? strtoul(argv[1], NULL, 10) : 4000000;
    const size_t mib = argc > 2 ? strtoul(argv[2], NULL, 10) : 1024;
    struct heap h;
    if (!snap_is_tracked()) {
        fprintf(stderr, "scan: run it under `snap run`\n");
        return 2;
    }
    if (is_numbers)
        return scan_numbers(mib) < 0 ? 2 : 0;
    if (build(&h, n, mib << 20) < 0)
        return 2;
    const int is_local = argc > 3 && strcmp(argv[3], "local") == 0;
    const size_t n_edges = connect_blocks(&h, is_local);
    printf("%zu blocks, %zu MiB, %zu references, %s: chance alone is %.2f bytes each\n", n, mib,
           n_edges, is_local ? "most of them near or to few" : "each to any block",
           chance(n, is_local));
    for (int i = 0; i < 3; i++)
        if (take("references", 0, n_edges, "   wanted: <= 3 s, and little more than chance") < 0)
            return 2;
    return 0;
}
