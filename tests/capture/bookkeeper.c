/* A program that keeps books of its blocks: THREADS threads allocate, resize and free at random; at
 * each of ROUNDS moments it takes a snapshot and writes "address size" of every block that it holds
 * to the file ROUND.books. Usage: bookkeeper THREADS STEPS ROUNDS SEED [racing]
 *
 * At rest all threads wait while the snapshot is taken, so books and file must be equal. With
 * "racing" half of the threads go on; the books then hold the other half's blocks only, and the
 * racing blocks have sizes of at least RACING_SIZE, which tells them apart. */
#include <heapsnap/heapsnap.h>

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { N_BLOCKS = 2000, RACING_SIZE = 5000 };

struct worker {
    pthread_t thread;
    uint64_t state;
    unsigned n_steps, is_racing;
    void *blocks[N_BLOCKS];
    size_t sizes[N_BLOCKS];
};

static pthread_barrier_t before, after;
static unsigned n_rounds;
static int ended;

static uint64_t next(struct worker *w) {
    w->state ^= w->state << 13;
    w->state ^= w->state >> 7;
    w->state ^= w->state << 17;
    return w->state;
}

static void step(struct worker *w) {
    const uint64_t r = next(w);
    const unsigned i = r % N_BLOCKS;
    const size_t size = (w->is_racing ? RACING_SIZE : 1) + (r >> 20) % 2000;
    void *block = NULL;
    switch (r >> 40 & 7) {
    case 0:
        block = realloc(w->blocks[i], size);
        w->blocks[i] = NULL;
        break;
    case 1: block = calloc(1, size); break;
    case 2:
        if (posix_memalign(&block, 64, size) != 0)
            block = NULL;
        break;
    case 3: w->sizes[i] = 0; break;
    default: block = malloc(size); break;
    }
    free(w->blocks[i]);
    w->blocks[i] = block;
    w->sizes[i] = size;
}

static void *work(void *argument) {
    struct worker *const w = argument;
    if (w->is_racing) {
        while (!__atomic_load_n(&ended, __ATOMIC_RELAXED))
            step(w);
        return NULL;
    }
    for (unsigned round = 0; round < n_rounds; round++) {
        for (unsigned i = 0; i < w->n_steps; i++)
            step(w);
        pthread_barrier_wait(&before);
        pthread_barrier_wait(&after);
    }
    return NULL;
}

static void write_books(const struct worker *workers, unsigned n, unsigned round) {
    char name[32];
    snprintf(name, sizeof name, "%u.books", round);
    FILE *const file = fopen(name, "w");
    if (file == NULL)
        exit(3);
    for (unsigned i = 0; i < n; i++)
        for (unsigned k = 0; k < N_BLOCKS && !workers[i].is_racing; k++)
            if (workers[i].blocks[k] != NULL)
                fprintf(file, "%zu %zu\n", (size_t)workers[i].blocks[k], workers[i].sizes[k]);
    if (fclose(file) != 0)
        exit(3);
}

int main(int argc, char **argv) {
    if (argc < 5)
        return 2;
    const unsigned n = (unsigned)atoi(argv[1]);
    const int is_racing = argc > 5;
    n_rounds = (unsigned)atoi(argv[3]);
    struct worker *const workers = calloc(n, sizeof *workers);
    const unsigned n_calm = is_racing ? n - n / 2 : n;
    pthread_barrier_init(&before, NULL, n_calm + 1);
    pthread_barrier_init(&after, NULL, n_calm + 1);
    for (unsigned i = 0; i < n; i++) {
        workers[i].n_steps = (unsigned)atoi(argv[2]);
        workers[i].is_racing = i >= n_calm;
        workers[i].state = 88172645463325252u + (uint64_t)atoi(argv[4]) * 1000 + i;
        pthread_create(&workers[i].thread, NULL, work, &workers[i]);
    }
    for (unsigned round = 0; round < n_rounds; round++) {
        pthread_barrier_wait(&before);
        char name[32];
        snprintf(name, sizeof name, "%u.snap", round);
        snap_error err = {0};
        if (snap_take(name, NULL, &err) < 0) {
            fprintf(stderr, "%s\n", err.message);
            return 1;
        }
        write_books(workers, n, round);
        pthread_barrier_wait(&after);
    }
    __atomic_store_n(&ended, 1, __ATOMIC_RELAXED);
    for (unsigned i = 0; i < n; i++)
        pthread_join(workers[i].thread, NULL);
    return 0;
}
