/* Exactness: random allocation programs on several threads; at checkpoints the live set under
 * freeze equals the programs' own bookkeeping.
 *
 * The recorder is linked in, so its hooks are this program's malloc. Bookkeeping lives in mapped
 * memory. Blocks pass between threads through a table of mailboxes. Usage: recorder_exact [threads]
 * [operations] [seed]. */
#include <malloc.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "capture/rawmem.h"
#include "capture/recorder.h"

enum { SLOTS = 4096, MAILBOXES = 256, CHECKPOINTS = 4, MAX_THREADS = 64 };

struct held {
    void *block;
    size_t size;
};

static struct held *slots[MAX_THREADS];
static struct held *_Atomic mailboxes[MAILBOXES]; /* each points at a held of its own */
static unsigned n_threads = 4;
static uint64_t n_operations = 1000000, seed = 1;
static pthread_barrier_t barrier;
static void *(*volatile plain_malloc)(size_t) = malloc;

static uint64_t next(uint64_t *state) {
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    return *state;
}

static size_t some_size(uint64_t *state) {
    const uint64_t r = next(state);
    switch (r & 15) {
    case 0: return 0;
    case 1: return r >> 8 & 0xffff;
    case 2: return r >> 8 & 0xfff;
    case 3: return (r & 0xff00) == 0 ? r >> 16 & 0x3fffff : 24;
    default: return r >> 8 & 0xff;
    }
}

static __attribute__((noinline)) void *allocate(uint64_t *state, size_t size, unsigned depth) {
    if (depth > 0) {
        char *volatile result = allocate(state, size, depth - 1);
        return result;
    }
    void *block = NULL;
    switch (next(state) % 10) {
    case 0: return calloc(1, size);
    case 1: return posix_memalign(&block, 64, size) == 0 ? block : NULL;
    case 2: return aligned_alloc(32, size);
    case 3: return memalign(4096, size);
    case 4: return reallocarray(NULL, size, 1);
    default: return plain_malloc(size);
    }
}

static void *run(void *argument) {
    const unsigned me = (unsigned)(uintptr_t)argument;
    uint64_t state = seed * 1000003 + me * 7919 + 1;
    struct held *const mine = slots[me];
    for (unsigned checkpoint = 0; checkpoint < CHECKPOINTS; checkpoint++) {
        pthread_barrier_wait(&barrier); /* the checker looks between these two */
        pthread_barrier_wait(&barrier);
        for (uint64_t i = 0; i < n_operations / n_threads / CHECKPOINTS; i++) {
            struct held *const h = &mine[next(&state) % SLOTS];
            const size_t size = some_size(&state);
            switch (next(&state) % 8) {
            case 0: { /* swap with another thread */
                struct held *_Atomic *const box = &mailboxes[next(&state) % MAILBOXES];
                struct held *const taken = atomic_exchange(box, NULL);
                if (taken != NULL) {
                    const struct held mail = *taken;
                    *taken = *h;
                    *h = mail;
                    atomic_store(box, taken);
                }
                break;
            }
            case 1:
            case 2:
                if (h->block != NULL && size != 0) {
                    h->block = realloc(h->block, size);
                    h->size = size;
                }
                break;
            default:
                if (h->block != NULL) {
                    free(h->block);
                    h->block = NULL;
                } else {
                    h->block = allocate(&state, size, next(&state) % 20);
                    h->size = size;
                }
            }
        }
    }
    pthread_barrier_wait(&barrier);
    pthread_barrier_wait(&barrier);
    return NULL;
}

struct comparison {
    struct recorder_block *blocks;
    size_t n, room;
};

static int keep(void *context, const struct recorder_block *blocks, size_t n) {
    struct comparison *const c = context;
    if (c->n + n > c->room)
        return -1;
    memcpy(c->blocks + c->n, blocks, n * sizeof *blocks);
    c->n += n;
    return 0;
}

static int by_address(const void *a, const void *b) {
    const struct held *const x = a, *const y = b;
    return x->block < y->block ? -1 : x->block > y->block;
}

/* In place, without malloc. */
static void sort(struct held *held, size_t n) {
    for (size_t gap = n / 2; gap > 0; gap /= 2)
        for (size_t i = gap; i < n; i++)
            for (size_t k = i; k >= gap && by_address(&held[k - gap], &held[k]) > 0; k -= gap) {
                const struct held h = held[k];
                held[k] = held[k - gap];
                held[k - gap] = h;
            }
}

static int by_birth(const void *a, const void *b) {
    const uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return x < y ? -1 : x > y;
}

/* Number of differences between the table and the bookkeeping; *n_others counts recorded blocks
 * that are not the programs'. */
static unsigned compare(struct comparison *c, struct held *expected, size_t *n_others,
                        uint64_t *birth_mark) {
    unsigned wrong = 0;
    size_t n_expected = 0;
    for (unsigned t = 0; t < n_threads; t++)
        for (unsigned i = 0; i < SLOTS; i++)
            if (slots[t][i].block != NULL)
                expected[n_expected++] = slots[t][i];
    for (unsigned i = 0; i < MAILBOXES; i++)
        if (mailboxes[i]->block != NULL)
            expected[n_expected++] = *mailboxes[i];
    sort(expected, n_expected);
    if (recorder_freeze(1000000000) != 0) {
        fprintf(stderr, "threads are inside\n");
        wrong++;
    }
    c->n = 0;
    wrong += recorder_for_each_block(keep, c) != 0;
    struct recorder_counts counts;
    recorder_counts_get(&counts);
    *birth_mark = recorder_birth_mark();
    recorder_thaw();
    if (counts.live_blocks != c->n) {
        fprintf(stderr, "%lu blocks counted, %zu in the table\n", counts.live_blocks, c->n);
        wrong++;
    }
    if (counts.dropped_blocks || counts.unknown_frees) {
        fprintf(stderr, "%lu dropped, %lu unknown\n", counts.dropped_blocks, counts.unknown_frees);
        wrong++;
    }
    size_t k = 0;
    *n_others = 0;
    for (size_t i = 0; i < c->n; i++) {
        const struct recorder_block *const b = &c->blocks[i];
        if (i > 0 && b->address <= c->blocks[i - 1].address) {
            fprintf(stderr, "%#lx out of order\n", b->address);
            wrong++;
        }
        if (b->birth == 0 || b->birth > *birth_mark || b->stack == 0) {
            fprintf(stderr, "%#lx birth %lu stack %u\n", b->address, b->birth, b->stack);
            wrong++;
        }
        while (k < n_expected && (uintptr_t)expected[k].block < b->address) {
            fprintf(stderr, "%p of %zu is not recorded\n", expected[k].block, expected[k].size);
            wrong++;
            k++;
        }
        if (k < n_expected && (uintptr_t)expected[k].block == b->address) {
            if (expected[k].size != b->size) {
                fprintf(stderr, "%p of %zu is recorded with %lu\n", expected[k].block,
                        expected[k].size, b->size);
                wrong++;
            }
            k++;
        } else {
            (*n_others)++;
        }
    }
    if (k != n_expected) {
        fprintf(stderr, "%zu blocks are not recorded\n", n_expected - k);
        wrong++;
    }
    uint64_t *const births = (uint64_t *)expected;
    for (size_t i = 0; i < c->n; i++)
        births[i] = c->blocks[i].birth;
    recorder_mute(1);
    qsort(births, c->n, sizeof *births, by_birth);
    recorder_mute(0);
    for (size_t i = 1; i < c->n; i++)
        if (births[i] == births[i - 1]) {
            fprintf(stderr, "birth %lu twice\n", births[i]);
            wrong++;
        }
    return wrong;
}

int main(int argc, char **argv) {
    if (argc > 1)
        n_threads = (unsigned)atoi(argv[1]);
    if (argc > 2)
        n_operations = strtoull(argv[2], NULL, 10);
    if (argc > 3)
        seed = strtoull(argv[3], NULL, 10);
    if (n_threads < 1 || n_threads > MAX_THREADS)
        return 2;
    setvbuf(stderr, NULL, _IONBF, 0);
    setvbuf(stdout, NULL, _IONBF, 0);
    const size_t n_held = (size_t)SLOTS * n_threads + MAILBOXES;
    struct held *const held = rawmem_map(n_held * sizeof *held);
    for (unsigned t = 0; t < n_threads; t++)
        slots[t] = held + (size_t)t * SLOTS;
    for (unsigned i = 0; i < MAILBOXES; i++)
        mailboxes[i] = held + (size_t)n_threads * SLOTS + i;
    struct comparison c = {.room = n_held + 100000};
    c.blocks = rawmem_map(c.room * sizeof *c.blocks);
    struct held *const expected = rawmem_map(c.room * sizeof *expected);
    pthread_barrier_init(&barrier, NULL, n_threads + 1);
    pthread_t threads[MAX_THREADS];
    for (unsigned t = 0; t < n_threads; t++)
        pthread_create(&threads[t], NULL, run, (void *)(uintptr_t)t);
    unsigned wrong = 0;
    size_t n_others[CHECKPOINTS + 1];
    uint64_t mark, mark_before = 0;
    for (unsigned checkpoint = 0; checkpoint <= CHECKPOINTS; checkpoint++) {
        pthread_barrier_wait(&barrier);
        wrong += compare(&c, expected, &n_others[checkpoint], &mark);
        if (mark <= mark_before || n_others[checkpoint] != n_others[0]) {
            fprintf(stderr, "mark %lu after %lu, %zu others\n", mark, mark_before,
                    n_others[checkpoint]);
            wrong++;
        }
        mark_before = mark;
        pthread_barrier_wait(&barrier);
    }
    for (unsigned t = 0; t < n_threads; t++)
        pthread_join(threads[t], NULL);
    printf("%u threads, %lu operations, seed %lu: %zu blocks at the end, %zu others, %u wrong\n",
           n_threads, n_operations, seed, c.n, n_others[CHECKPOINTS], wrong);
    return wrong != 0;
}
