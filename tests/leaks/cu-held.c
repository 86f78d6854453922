/* A server keeps what it has computed for a request on the device.
 * leak: entries are never evicted. fixed: the oldest one goes when there are eight. */
#include "../gpu/runtime/mini_cuda.h"
#include "rounds.h"

enum { REQUESTS_PER_ROUND = 40, BUFFER_BYTES = 128 << 10, KEPT = 8 };

struct result {
    unsigned long request;
    void *device_buffer;
    struct result *older;
};

struct result_store {
    unsigned n_results;
    struct result *newest;
};

static struct result_store results;

static void keep(unsigned long request) {
    struct result *const r = malloc(sizeof *r);
    if (r == NULL || cudaMalloc(&r->device_buffer, BUFFER_BYTES) != 0)
        exit(3);
    r->request = request;
    r->older = results.newest;
    results.newest = r;
    results.n_results++;
}

static void evict(void) {
    struct result **at = &results.newest;
    while ((*at)->older != NULL)
        at = &(*at)->older;
    struct result *const oldest = *at;
    *at = NULL;
    cudaFree(oldest->device_buffer);
    free(oldest);
    results.n_results--;
}

int main(int argc, char **argv) {
    const int leak = rounds_leak(argc, argv);
    unsigned long request = 0;
    for (int round = 0; round <= N_ROUNDS; round++) {
        for (unsigned i = 0; i < REQUESTS_PER_ROUND; i++) {
            keep(request++);
            while (!leak && results.n_results > KEPT)
                evict();
        }
        rounds_end(round, leak ? (size_t)round * REQUESTS_PER_ROUND * BUFFER_BYTES : 0);
    }
    return 0;
}
