/* Pools of the program's own in memory of a device, of which it tells the recorder; then a snapshot
 * of itself. Prints the books of each pool. Arguments: FILE, seed. */
#include <heapsnap/annotate.h>
#include <heapsnap/capture.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include "runtime/mini_cuda.h"

enum { SLOT = 4096, SLOTS = 512, SIZE = SLOT * SLOTS };

static char *memory(int is_managed) {
    void *at;
    if (is_managed ? cudaMallocManaged(&at, SIZE, 1) : cudaMalloc(&at, SIZE))
        exit(3);
    return at;
}

/* Hands out slots, some of them cut short, and takes back some. */
static void use(const char *name, uint64_t pool, char *at) {
    size_t sizes[SLOTS] = {0}, live = 0, n = 0, gap = 0, from = 0;
    for (int i = 0; i < 4 * SLOTS; i++) {
        const int k = rand() % SLOTS;
        if (sizes[k])
            snap_block_remove(at + (size_t)k * SLOT);
        sizes[k] = rand() % 3 ? 1 + (size_t)rand() % SLOT : 0;
        if (sizes[k])
            snap_block_add(pool, at + (size_t)k * SLOT, sizes[k]);
    }
    for (size_t k = 0; k < SLOTS; k++) {
        if (!sizes[k])
            continue;
        live += sizes[k];
        n++;
        gap = k * SLOT - from > gap ? k * SLOT - from : gap;
        from = k * SLOT + sizes[k];
    }
    gap = SIZE - from > gap ? SIZE - from : gap;
    printf("%s %zu %zu %zu\n", name, n, live, gap);
}

int main(int argc, char **argv) {
    if (argc != 3)
        return 2;
    srand((unsigned)atoi(argv[2]));
    char *const device = memory(0), *const managed = memory(1), *const reset = memory(0),
                *const opaque = memory(0), *const removed = memory(0), *gone = memory(0);
    char *const host = malloc(SIZE);
    const char *const names[] = {"device", "managed", "reset", "opaque", "removed", "gone", "both"};
    char *const places[] = {device, managed, reset, opaque, removed, gone, host};
    uint64_t pools[7];
    for (int i = 0; i < 7; i++) {
        pools[i] = snap_pool_add(names[i]);
        snap_pool_grow(pools[i], places[i], SIZE);
    }
    /* One pool in memory of both kinds. */
    char *const second = memory(0);
    snap_pool_grow(pools[6], second, SIZE);
    for (int i = 0; i < 2; i++)
        use(names[i], pools[i], places[i]);
    use("discarded", pools[2], reset);
    snap_pool_reset(pools[2]);
    snap_block_add(pools[2], reset + SLOT, 100);
    use("discarded", pools[4], removed);
    snap_pool_remove(pools[4]);
    /* The pool is not told that its memory is given back; another block gets it. */
    use("discarded", pools[5], gone);
    cudaFree(gone);
    gone = memory(0);
    use("host", pools[6], host);
    use("both", pools[6], second);
    snap_error err = {0};
    const snap_take_options options = {.struct_size = sizeof options};
    if (snap_take(argv[1], &options, &err) != 0) {
        fprintf(stderr, "%s\n", err.message);
        return 1;
    }
    printf("places %p %p %p %p %p\n", (void *)device, (void *)managed, (void *)reset,
           (void *)second, (void *)host);
    return 0;
}
