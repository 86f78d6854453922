/* Every job works on a stream of its own.
 * leak: it is not destroyed when the job is done. fixed: it is. */
#include "../gpu/runtime/mini_cuda.h"
#include "rounds.h"

enum { JOBS_PER_ROUND = 25 };

static void run_job(int leak) {
    void *stream, *done;
    if (cudaStreamCreate(&stream) != 0 || cudaEventCreate(&done) != 0)
        exit(3);
    cudaEventDestroy(done);
    if (!leak)
        cudaStreamDestroy(stream);
}

int main(int argc, char **argv) {
    const int leak = rounds_leak(argc, argv);
    for (int round = 0; round <= N_ROUNDS; round++) {
        for (unsigned i = 0; i < JOBS_PER_ROUND; i++)
            run_job(leak);
        rounds_end(round, leak ? (size_t)round * JOBS_PER_ROUND : 0); /* streams, not bytes */
    }
    return 0;
}
