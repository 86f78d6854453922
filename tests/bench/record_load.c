/* A load of malloc and free for the bench: every call about 21 frames deep, a live set of mixed
 * small sizes, call paths that differ in their inner frames from one visit to the next.
 *
 * Prints nanoseconds per pair, elapsed and of processor time, the anonymous resident bytes at the
 * end and the number of live blocks. Usage: record_load THREADS BLOCKS PAIRS */
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#if __has_attribute(noclone) /* not in clang, which makes no clones */
#define KEEP __attribute__((noinline, noclone))
#else
#define KEEP __attribute__((noinline))
#endif

enum { OUTER = 12, INNER = 6, PAIRS_PER_VISIT = 16 };

struct worker {
    pthread_t thread;
    char **blocks;
    uint64_t n_blocks, n_pairs, state;
};

static pthread_barrier_t barrier;

static inline uint64_t next(uint64_t *state) {
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    return *state;
}

/* 16 to 143 bytes, most below 64; now and then up to 1 KiB. */
static inline size_t some_size(uint64_t r) {
    return (r & 31) == 0 ? 128 + (r >> 8 & 1023) : 16 + (r >> 8 & r >> 16 & 127);
}

/* The frames that change: one of four functions on each of INNER levels. */
typedef void visit_function(struct worker *w, uint64_t path, unsigned depth);
static visit_function *const visits[4];

static KEEP void leaf(struct worker *w) {
    for (unsigned i = 0; i < PAIRS_PER_VISIT; i++) {
        const uint64_t r = next(&w->state);
        char **const slot = &w->blocks[(r >> 32) % w->n_blocks];
        free(*slot);
        if (r & 64)
            *slot = malloc(some_size(r));
        else if (r & 128)
            *slot = malloc(some_size(r >> 1) + 8);
        else
            *slot = calloc(1, some_size(r));
        (*slot)[0] = 1;
    }
}

#define VISIT(name, locals)                                                                        \
    static KEEP void name(struct worker *w, uint64_t path, unsigned depth) {                       \
        volatile char used[locals];                                                                \
        used[0] = (char)depth;                                                                     \
        if (depth == 0)                                                                            \
            leaf(w);                                                                               \
        else                                                                                       \
            visits[path & 3](w, path >> 2, depth - 1);                                             \
        used[locals - 1] = used[0];                                                                \
    }
VISIT(parse, 24)
VISIT(expand, 56)
VISIT(resolve, 120)
VISIT(append, 40)
static visit_function *const visits[4] = {parse, expand, resolve, append};

static KEEP void outer(struct worker *w, unsigned depth) {
    volatile unsigned keep = depth;
    if (depth > 0) {
        outer(w, depth - 1);
    } else {
        uint64_t path = 0;
        for (uint64_t i = 0; i < w->n_pairs / PAIRS_PER_VISIT; i++) {
            if (i % 4 == 0) /* now the whole path changes, now only its last call */
                path = next(&w->state);
            visits[path & 3](w, path >> 2, INNER - 1);
        }
    }
    keep++;
}

static KEEP void fill(struct worker *w) {
    for (uint64_t i = 0; i < w->n_blocks; i++)
        w->blocks[i] = malloc(some_size(next(&w->state)));
}

static void *work(void *argument) {
    struct worker *const w = argument;
    fill(w);
    pthread_barrier_wait(&barrier);
    pthread_barrier_wait(&barrier);
    outer(w, OUTER - 1);
    pthread_barrier_wait(&barrier);
    pthread_barrier_wait(&barrier);
    return NULL;
}

static uint64_t clock_ns(clockid_t clock) {
    struct timespec t;
    clock_gettime(clock, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}
static uint64_t now_ns(void) {
    return clock_ns(CLOCK_MONOTONIC);
}
static uint64_t cpu_ns(void) {
    return clock_ns(CLOCK_PROCESS_CPUTIME_ID);
}

static unsigned long resident(void) {
    char line[256];
    unsigned long kib = 0;
    FILE *const file = fopen("/proc/self/status", "r");
    while (file != NULL && fgets(line, sizeof line, file) != NULL)
        if (sscanf(line, "RssAnon: %lu", &kib) == 1)
            break;
    if (file != NULL)
        fclose(file);
    return kib * 1024;
}

static void report(uint64_t elapsed, uint64_t used, uint64_t n_pairs, uint64_t n_blocks) {
    printf("%.2f %.2f %lu %lu\n", (double)elapsed / (double)n_pairs, (double)used / (double)n_pairs,
           resident(), n_blocks);
}

int main(int argc, char **argv) {
    const unsigned n = argc > 1 ? (unsigned)atoi(argv[1]) : 1;
    const uint64_t n_blocks = argc > 2 ? strtoull(argv[2], NULL, 10) : 200000;
    const uint64_t n_pairs = argc > 3 ? strtoull(argv[3], NULL, 10) : 4000000;
    if (n < 1 || n > 64 || n_blocks < n)
        return 2;
    struct worker *const workers = calloc(n, sizeof *workers);
    pthread_barrier_init(&barrier, NULL, n + 1);
    for (unsigned i = 0; i < n; i++) {
        workers[i] = (struct worker){
            .n_blocks = n_blocks / n, .n_pairs = n_pairs / n, .state = 88172645463325252u + i};
        workers[i].blocks = calloc(workers[i].n_blocks, sizeof(char *));
    }
    for (unsigned i = 1; i < n; i++)
        pthread_create(&workers[i].thread, NULL, work, &workers[i]);
    if (n == 1) { /* a process that never had a second thread */
        fill(&workers[0]);
        const uint64_t start = now_ns(), cpu = cpu_ns();
        outer(&workers[0], OUTER - 1);
        const uint64_t spent = now_ns() - start, used = cpu_ns() - cpu;
        report(spent, used, n_pairs, n_blocks);
    } else {
        pthread_create(&workers[0].thread, NULL, work, &workers[0]);
        pthread_barrier_wait(&barrier);
        const uint64_t start = now_ns(), cpu = cpu_ns();
        pthread_barrier_wait(&barrier);
        pthread_barrier_wait(&barrier);
        const uint64_t spent = now_ns() - start, used = cpu_ns() - cpu;
        report(spent, used, n_pairs, n_blocks);
        pthread_barrier_wait(&barrier);
        for (unsigned i = 0; i < n; i++)
            pthread_join(workers[i].thread, NULL);
    }
    return 0;
}
