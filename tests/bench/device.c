/* What the recorder adds to an allocation of device memory and its release, with stacks, on the
 * stand-in for the driver (which does nothing else): ns per pair, driver alone and hooked, in
 * turns. Usage: bench_device PAIRS, with FAKE_CUDA_BARE=1. */
#include <dlfcn.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "gpu/driver.h"

enum { ROUNDS = 9, HELD = 256, DEPTH = 20, WANTED_NS = 100 };

typedef int allocate_fn(uint64_t *out, size_t size);
typedef int free_fn(uint64_t address);

/* Of this thread: others may want the processor, too. */
static double now_ns(void) {
    struct timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (double)t.tv_sec * 1e9 + (double)t.tv_nsec;
}

static __attribute__((noinline)) uint64_t run(allocate_fn *allocate, free_fn *release, uint64_t n) {
    static uint64_t held[HELD];
    for (uint64_t i = 0; i < n; i++) {
        uint64_t *const h = &held[i % HELD];
        if (*h)
            release(*h);
        allocate(h, 4096);
    }
    for (int i = 0; i < HELD; i++) {
        release(held[i]);
        held[i] = 0;
    }
    return n;
}

static __attribute__((noinline)) uint64_t deep(int depth, allocate_fn *allocate, free_fn *release,
                                               uint64_t n) {
    volatile uint64_t result =
        depth > 0 ? deep(depth - 1, allocate, release, n) : run(allocate, release, n);
    return result;
}

static int by_size(const void *a, const void *b) {
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

int main(int argc, char **argv) {
    static struct driver hooked;
    void *context, *found[2];
    allocate_fn *allocate;
    free_fn *release;
    const uint64_t n = argc > 1 ? strtoull(argv[1], NULL, 10) : 200000;
    if (driver_load(&hooked, DRIVER_V2, 13000, 0) < 0 || hooked.cuInit(0) != 0 ||
        hooked.cuDevicePrimaryCtxRetain(&context, 0) != 0)
        return 1;
    hooked.cuCtxSetCurrent(context);
    found[0] = dlsym(hooked.library, "fake_bare_allocate");
    found[1] = dlsym(hooked.library, "fake_bare_release");
    if (!found[0] || !found[1])
        return 1;
    memcpy(&allocate, &found[0], sizeof allocate);
    memcpy(&release, &found[1], sizeof release);
    double added[ROUNDS], alone[ROUNDS];
    deep(DEPTH, hooked.cuMemAlloc, hooked.cuMemFree, n / 10);
    for (int i = 0; i < ROUNDS; i++) {
        const double t0 = now_ns();
        deep(DEPTH, allocate, release, n);
        const double t1 = now_ns();
        deep(DEPTH, hooked.cuMemAlloc, hooked.cuMemFree, n);
        alone[i] = (t1 - t0) / (double)n;
        added[i] = (now_ns() - t1) / (double)n - alone[i];
    }
    qsort(added, ROUNDS, sizeof *added, by_size);
    qsort(alone, ROUNDS, sizeof *alone, by_size);
    printf("driver alone %.1f ns, added %.1f ns (median), %.1f ns (best) per pair; median is "
           "%.2f of the %d ns wanted\n",
           alone[ROUNDS / 2], added[ROUNDS / 2], added[0], added[ROUNDS / 2] / WANTED_NS,
           WANTED_NS);
    return 0;
}
