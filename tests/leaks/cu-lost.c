/* An operator takes a workspace on the device for each batch.
 * leak: a batch that has to be split forgets it. fixed: it is freed. */
#include "../gpu/runtime/mini_cuda.h"
#include "rounds.h"

enum { BATCHES_PER_ROUND = 64, WORKSPACE_BYTES = 96 << 10 };

static size_t leaked;

static int run_batch(unsigned batch, int leak) {
    void *workspace = NULL;
    if (cudaMalloc(&workspace, WORKSPACE_BYTES) != 0)
        exit(3);
    if (batch % 4 == 3 && leak) {
        leaked += WORKSPACE_BYTES;
        return 1;
    }
    cudaFree(workspace);
    return 0;
}

int main(int argc, char **argv) {
    const int leak = rounds_leak(argc, argv);
    unsigned n_split = 0;
    for (int round = 0; round <= N_ROUNDS; round++) {
        for (unsigned i = 0; i < BATCHES_PER_ROUND; i++)
            n_split += (unsigned)run_batch(i, leak);
        if (round == 0)
            leaked = 0;
        rounds_end(round, leaked);
    }
    return n_split > 1000000;
}
