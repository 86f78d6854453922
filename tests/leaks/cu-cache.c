/* Batches of changing size through a caching allocator.
 * leak: each batch is a little larger than all before it, so no segment that is there fits it and
 * none is ever given back. fixed: they are padded to one size. Neither holds anything between
 * rounds: this is no leak. */
#include "../gpu/runtime/caching.h"
#include "rounds.h"

enum { BATCHES_PER_ROUND = 4, SMALLEST = 12 << 20, STEP = 3 << 20 };

int main(int argc, char **argv) {
    const int changes = rounds_leak(argc, argv);
    size_t n = 0;
    void *const weights = caching_allocate(6 << 20);
    for (int round = 0; round <= N_ROUNDS; round++) {
        for (int i = 0; i < BATCHES_PER_ROUND; i++) {
            void *const batch = caching_allocate(SMALLEST + (changes ? n++ : 0) * STEP);
            void *const mask = caching_allocate(300 << 10);
            if (batch == NULL || mask == NULL)
                exit(3);
            caching_free(batch);
            caching_free(mask);
        }
        rounds_end(round, 0);
    }
    caching_free(weights);
    return 0;
}
