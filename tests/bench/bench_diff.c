/* Time and memory of snapdiff on pairs of large snapshots of one process, and of the summaries of
 * ten.
 *
 *     bench_diff SNAPDIFF [BLOCKS [REFERENCES]]
 *
 * Makes two files of BLOCKS blocks in a temporary directory: 20,000 stacks of some 20 frames, sizes
 * as programs have them (many small, few large), 70% of the blocks of the first in the second, the
 * rest with new births, some at addresses that were freed; and REFERENCES (2) from each to others,
 * most of them near, from 1,000 roots. Then runs SNAPDIFF on them three times and prints wall time,
 * processor time and peak memory of each run, and what is wanted. Without BLOCKS: pairs of 1, 4
 * (also without references) and 10 million blocks, and how long it takes to open ten files of the
 * first kind and read their summaries. Decides nothing: times depend on the machine. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <heapsnap/snapshot.h>
#include <heapsnap/writer.h>

#define N_STACKS 20000
#define N_FRAMES 6000
#define DEPTH 20

static uint64_t seed = 42;
static size_t n_references;

static uint64_t next_random(void) {
    seed ^= seed << 13;
    seed ^= seed >> 7;
    seed ^= seed << 17;
    return seed;
}

static void check(int result, const snap_error *err) {
    if (result < 0) {
        fprintf(stderr, "bench_diff: %s: %s\n", snap_error_name(result), err->message);
        exit(2);
    }
}

struct block {
    uint64_t address, size, birth;
    uint32_t stack;
};

/* Modules, frames, symbols and stacks: the same for both files. Stacks share their outer frames as
 * call trees do: each starts from a random earlier one. */
static void write_stacks(snap_writer *w, uint32_t *leaves) {
    snap_error err;
    for (int i = 0; i < 60; i++) {
        char path[64], build_id[48];
        snprintf(path, sizeof path, "/usr/lib/libmodule%d.so.1", i);
        snprintf(build_id, sizeof build_id, "%040x", 0x1000 + i);
        check(snap_writer_module(w, path, build_id, (uint64_t)i << 24,
                                 ((uint64_t)i << 24) + 0xfff000, (uint64_t)i << 24, 0, NULL, &err),
              &err);
    }
    uint64_t row[SNAP_COLUMNS_MAX];
    for (uint64_t i = 0; i < N_FRAMES; i++) {
        char text[96];
        uint32_t string;
        memset(row, 0, sizeof row);
        row[SNAP_FRAM_COL_MODULE] = i % 60 + 1;
        row[SNAP_FRAM_COL_OFFSET] = 0x1000 + i * 48;
        check(snap_writer_row(w, SNAP_TABLE_FRAM, row, NULL, &err), &err);
        memset(row, 0, sizeof row);
        row[SNAP_SYMB_COL_FRAME] = i + 1;
        row[SNAP_SYMB_COL_LINE] = i % 900 + 1;
        row[SNAP_SYMB_COL_SOURCE] = SNAP_SYMB_DWARF;
        snprintf(text, sizeof text, "application::module_%d::Handler<int>::process_%d",
                 (int)(i % 60), (int)(i / 3));
        check(snap_writer_string(w, text, &string, &err), &err);
        row[SNAP_SYMB_COL_FUNCTION] = string;
        snprintf(text, sizeof text, "/home/build/src/module_%d/file_%d.cc", (int)(i % 60),
                 (int)(i / 12));
        check(snap_writer_string(w, text, &string, &err), &err);
        row[SNAP_SYMB_COL_FILE] = string;
        check(snap_writer_row(w, SNAP_TABLE_SYMB, row, NULL, &err), &err);
    }
    uint64_t n_rows = 0;
    for (int i = 0; i < N_STACKS; i++) {
        uint64_t parent = n_rows == 0 ? 0 : next_random() % n_rows + 1;
        for (int depth = n_rows == 0 ? DEPTH : 1 + (int)(next_random() % 4); depth > 0; depth--) {
            memset(row, 0, sizeof row);
            row[SNAP_STAK_COL_PARENT] = parent;
            row[SNAP_STAK_COL_FRAME] = next_random() % N_FRAMES + 1;
            check(snap_writer_row(w, SNAP_TABLE_STAK, row, &parent, &err), &err);
            n_rows++;
        }
        leaves[i] = (uint32_t)parent;
    }
}

#define N_ROOTS 1000
#define N_TYPES 400

/* Types go with the field that refers, as in programs: see write_references. */
static uint64_t type_of(size_t i, size_t n) {
    const size_t part = n / N_ROOTS + 1, position = i % part;
    if (n_references == 0)
        return 0;
    const size_t parent = position > 0 ? (position - 1) / n_references : 0;
    const size_t field = position > 0 ? (position - 1) % n_references : 0;
    const size_t label = (i / part * part + parent + field) % 4;
    return 1 + label + 4 * (i / part % (N_TYPES / 4));
}

/* A stack makes blocks of one type. */
static uint32_t stack_of(const struct block *b, size_t i, size_t n) {
    const uint32_t stacks = N_STACKS / N_TYPES;
    const uint64_t type = type_of(i, n);
    return type == 0 ? b->stack : (uint32_t)(type - 1) * stacks + b->stack % stacks;
}

static void write_types(snap_writer *w) {
    snap_error err;
    for (int i = 0; i < N_TYPES && n_references > 0; i++) {
        char name[48];
        uint32_t string;
        uint64_t row[SNAP_COLUMNS_MAX] = {0};
        snprintf(name, sizeof name, "application::Type<%d>", i);
        check(snap_writer_string(w, name, &string, &err), &err);
        row[SNAP_TYPE_COL_NAME] = string;
        row[SNAP_TYPE_COL_SOURCE] = SNAP_TYPE_DWARF;
        check(snap_writer_row(w, SNAP_TABLE_TYPE, row, NULL, &err), &err);
    }
}

/* Trees with cross-references: block i hangs on an earlier one of its thousand, which a root holds.
 */
static void write_references(snap_writer *w, size_t n) {
    static const char *const labels[] = {"next", "left", "items[*]", "buffer"};
    snap_error err;
    uint32_t strings[4], names[N_ROOTS];
    for (int i = 0; i < 4; i++)
        check(snap_writer_string(w, labels[i], &strings[i], &err), &err);
    for (int i = 0; i < N_ROOTS; i++) {
        char name[32];
        snprintf(name, sizeof name, "g_variable_%d", i);
        check(snap_writer_string(w, name, &names[i], &err), &err);
    }
    const size_t part = n / N_ROOTS + 1;
    for (size_t i = 0; i < n && n_references > 0; i++) {
        const size_t base = i / part * part, position = i - base;
        for (size_t k = 0; k < n_references; k++) {
            size_t target = base + position * n_references + k + 1;
            if (target >= base + part || target >= n)
                target = base + next_random() % (position + 1);
            uint64_t row[SNAP_COLUMNS_MAX] = {0};
            row[SNAP_EDGE_COL_SOURCE] = i + 1;
            row[SNAP_EDGE_COL_TARGET] = target + 1;
            row[SNAP_EDGE_COL_KIND] = SNAP_EDGE_POINTER;
            row[SNAP_EDGE_COL_LABEL] = strings[(i + k) % 4];
            row[SNAP_EDGE_COL_SOURCE_OFFSET] = 8 * k;
            check(snap_writer_row(w, SNAP_TABLE_EDGE, row, NULL, &err), &err);
        }
    }
    for (size_t i = 0; i < N_ROOTS && i * part < n && n_references > 0; i++) {
        uint64_t row[SNAP_COLUMNS_MAX] = {0};
        row[SNAP_ROOT_COL_KIND] = SNAP_ROOT_GLOBAL;
        row[SNAP_ROOT_COL_TARGET] = i * part + 1;
        row[SNAP_ROOT_COL_NAME] = names[i];
        check(snap_writer_row(w, SNAP_TABLE_ROOT, row, NULL, &err), &err);
    }
}

static void write_file(const char *path, uint64_t sequence, uint64_t mark,
                       const struct block *blocks, size_t n) {
    static uint32_t leaves[N_STACKS];
    const snap_writer_options options = {
        .struct_size = sizeof options, .overwrite = 1, .no_sync = 1};
    snap_writer *w;
    snap_error err;
    const uint64_t stack_seed = seed;
    seed = 7;
    check(snap_writer_open_file(&w, path, &options, &err), &err);
    check(snap_writer_meta_text(w, SNAP_META_WRITER, "bench_diff", &err), &err);
    check(snap_writer_meta_text(w, SNAP_META_LINEAGE, "0123456789abcdef0123456789abcdef", &err),
          &err);
    check(snap_writer_meta_number(w, SNAP_META_SEQUENCE, sequence, &err), &err);
    check(snap_writer_meta_number(w, SNAP_META_BIRTH_MARK, mark, &err), &err);
    write_stacks(w, leaves);
    write_types(w);
    seed = stack_seed;
    for (size_t i = 0; i < n; i++) {
        uint64_t row[SNAP_COLUMNS_MAX] = {0};
        row[SNAP_NODE_COL_DOMAIN] = SNAP_DOMAIN_HOST;
        row[SNAP_NODE_COL_KIND] = SNAP_NODE_BLOCK;
        row[SNAP_NODE_COL_ADDRESS] = blocks[i].address;
        row[SNAP_NODE_COL_SIZE] = blocks[i].size;
        row[SNAP_NODE_COL_TYPE] = type_of(i, n);
        row[SNAP_NODE_COL_STACK] = leaves[stack_of(&blocks[i], i, n)];
        row[SNAP_NODE_COL_BIRTH] = blocks[i].birth;
        check(snap_writer_row(w, SNAP_TABLE_NODE, row, NULL, &err), &err);
    }
    write_references(w, n);
    check(snap_writer_finish(w, &err), &err);
    snap_writer_close(w);
    struct stat st;
    if (stat(path, &st) == 0)
        printf("%s: %zu blocks, %.1f MB, %.2f bytes a block\n", path, n, (double)st.st_size / 1e6,
               (double)st.st_size / (double)n);
}

static void fill(struct block *b, uint64_t birth) {
    /* Half of all stacks' blocks come from a few hot ones. */
    const uint64_t r = next_random();
    b->stack = (uint32_t)(r % 2 == 0 ? r / 2 % N_STACKS : r / 2 % 200);
    b->size = 16 + (r >> 40) % (r % 64 == 0 ? 4096 : 160);
    b->birth = birth;
}

static void make_files(size_t n) {
    struct block *const blocks = calloc(n, sizeof *blocks);
    if (blocks == NULL)
        exit(2);
    uint64_t address = 0x7f0000000000;
    /* Births in no order over addresses, each once: an odd factor permutes 2^k numbers. */
    uint64_t k = 1;
    while (k < n * 4)
        k *= 2;
    for (size_t i = 0; i < n; i++) {
        fill(&blocks[i], (i * 2654435761u & (k - 1)) + 1);
        blocks[i].address = address;
        address += (blocks[i].size + 23) / 16 * 16 + (next_random() % 4 == 0 ? 64 : 0);
    }
    write_file("a.snap", 1, k, blocks, n);
    uint64_t birth = k;
    for (size_t i = 0; i < n; i++) {
        if (next_random() % 10 < 7)
            continue;
        const uint64_t old_size = blocks[i].size;
        fill(&blocks[i], ++birth);
        blocks[i].size = old_size;
        if (next_random() % 2 == 0)
            blocks[i].address += 16;
    }
    write_file("b.snap", 2, birth, blocks, n);
    free(blocks);
}

static double seconds(struct timeval t) {
    return (double)t.tv_sec + (double)t.tv_usec * 1e-6;
}

static double since(const struct timespec *start) {
    struct timespec end;
    clock_gettime(CLOCK_MONOTONIC, &end);
    return (double)(end.tv_sec - start->tv_sec) + (double)(end.tv_nsec - start->tv_nsec) * 1e-9;
}

static void measure(const char *snapdiff, const char *wanted) {
    struct timespec start;
    struct rusage usage;
    int status = 0;
    clock_gettime(CLOCK_MONOTONIC, &start);
    const pid_t pid = fork();
    if (pid == 0) {
        execl(snapdiff, "snapdiff", "-o", "out.txt", "a.snap", "b.snap", (char *)NULL);
        _exit(127);
    }
    if (pid < 0 || wait4(pid, &status, 0, &usage) < 0 || !WIFEXITED(status) ||
        WEXITSTATUS(status) > 1) {
        fprintf(stderr, "bench_diff: snapdiff failed (status %d)\n", status);
        exit(2);
    }
    printf("snapdiff: %.2f s, user %.2f s, sys %.2f s, peak %.0f MB%s\n", since(&start),
           seconds(usage.ru_utime), seconds(usage.ru_stime), (double)usage.ru_maxrss / 1024,
           wanted);
}

/* Ten files in turn, so that nothing is warm that another call left behind. */
static void measure_summaries(void) {
    enum { FILES = 10 };
    snap_error err;
    struct timespec start;
    for (int run = 0; run < 3; run++) {
        uint64_t n_blocks = 0;
        clock_gettime(CLOCK_MONOTONIC, &start);
        for (int i = 0; i < FILES; i++) {
            snap_snapshot *s;
            const snap_summary_row *rows;
            size_t n_rows;
            check(snap_open(&s, i % 2 ? "b.snap" : "a.snap", NULL, &err), &err);
            check(snap_summary(s, &rows, &n_rows, &err), &err);
            for (size_t k = 0; k < n_rows; k++)
                n_blocks += rows[k].count;
            snap_close(s);
        }
        printf("%d summaries: %.1f ms (counts add up to %" PRIu64 ")   wanted: <= 50 ms\n", FILES,
               since(&start) * 1e3, n_blocks);
    }
}

static void run_case(const char *snapdiff, size_t n, size_t references, const char *wanted) {
    n_references = references;
    make_files(n);
    for (int i = 0; i < 3; i++)
        measure(snapdiff, wanted);
}

int main(int argc, char **argv) {
    char directory[] = "/tmp/bench_diff.XXXXXX";
    char *const snapdiff = argc > 1 ? realpath(argv[1], NULL) : NULL;
    const size_t n = argc > 2 ? (size_t)strtoull(argv[2], NULL, 10) : 0;
    const size_t references = argc > 3 ? (size_t)strtoull(argv[3], NULL, 10) : 2;
    if (snapdiff == NULL || (argc > 2 && n == 0)) {
        fprintf(stderr, "Usage: bench_diff SNAPDIFF [BLOCKS [REFERENCES]]\n");
        return 2;
    }
    setvbuf(stdout, NULL, _IOLBF, 0);
    if (mkdtemp(directory) == NULL || chdir(directory) != 0) {
        perror("bench_diff: temporary directory");
        return 2;
    }
    if (n != 0) {
        run_case(snapdiff, n, references, "");
    } else {
        run_case(snapdiff, 1000000, 2, "   wanted: <= 0.5 s");
        measure_summaries();
        puts("without references:");
        run_case(snapdiff, 4000000, 0, "   wanted: <= 1 s, <= 400 MB");
        puts("with two from each block, and chains:");
        run_case(snapdiff, 4000000, 2, "   wanted: <= 1 s, <= 400 MB");
        run_case(snapdiff, 10000000, 2, "   wanted: <= 12 s, <= 1200 MB");
    }
    unlink("a.snap");
    unlink("b.snap");
    unlink("out.txt");
    if (chdir("/") == 0)
        rmdir(directory);
    free(snapdiff);
    return 0;
}
