/* A library with a CUDA runtime of its own keeps a plan on the device for each size it is asked
 * for. leak: plans are never dropped. fixed: the last one is. */
#include "rounds.h"

int fourier_plan(unsigned size, int keep);

enum { PLANS_PER_ROUND = 20 };

int main(int argc, char **argv) {
    const int leak = rounds_leak(argc, argv);
    unsigned size = 0;
    for (int round = 0; round <= N_ROUNDS; round++) {
        for (unsigned i = 0; i < PLANS_PER_ROUND; i++)
            if (fourier_plan(++size, leak) != 0)
                exit(3);
        rounds_end(round, leak ? (size_t)round * PLANS_PER_ROUND * 65536 : 0);
    }
    return 0;
}
