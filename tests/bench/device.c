/* What the recorder adds to an allocation of device memory and its release, with stacks, on the
 * stand-in for the driver (which does nothing else): ns per pair, driver alone and hooked, in
 * turns so short that most fit between two switches of the processor to others; the first decile
 * is what it costs where no other work was in the way. A chain of additions that each wait for the
 * one before, one a cycle, says how long a cycle was. Usage: bench_device PAIRS, with
 * FAKE_CUDA_BARE=1. */
#include <dlfcn.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "gpu/driver.h"

enum { ROUNDS = 500, HELD = 256, DEPTH = 20, WANTED_NS = 100, CHAIN = 20000 };

typedef int allocate_fn(uint64_t *out, size_t size);
typedef int free_fn(uint64_t address);

/* Of this thread: others may want the processor, too. */
static double now_ns(void) {
    struct timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (double)t.tv_sec * 1e9 + (double)t.tv_nsec;
}

static double cycle_ns(void) {
    uint64_t sum = 0;
    const double t0 = now_ns();
    for (int i = 0; i < CHAIN; i += 8) {
        for (int k = 0; k < 8; k++) {
            sum += (uint64_t)k + 1;
            __asm__ volatile("" : "+r"(sum));
        }
    }
    return (now_ns() - t0) / CHAIN;
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
    const uint64_t n = argc > 1 ? strtoull(argv[1], NULL, 10) : 1000000;
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
    static double added[ROUNDS], alone[ROUNDS], cycle[ROUNDS];
    deep(DEPTH, hooked.cuMemAlloc, hooked.cuMemFree, n);
    for (int i = 0; i < ROUNDS; i++) {
        cycle[i] = cycle_ns();
        const double t0 = now_ns();
        deep(DEPTH, allocate, release, n / ROUNDS);
        const double t1 = now_ns();
        deep(DEPTH, hooked.cuMemAlloc, hooked.cuMemFree, n / ROUNDS);
        alone[i] = (t1 - t0) / (double)(n / ROUNDS);
        added[i] = (now_ns() - t1) / (double)(n / ROUNDS) - alone[i];
    }
    qsort(added, ROUNDS, sizeof *added, by_size);
    qsort(alone, ROUNDS, sizeof *alone, by_size);
    qsort(cycle, ROUNDS, sizeof *cycle, by_size);
    const double quiet = added[ROUNDS / 10], middle = added[ROUNDS / 2];
    printf("driver alone %.1f ns; added per pair: %.1f ns (first decile), %.1f ns (median), at "
           "%.3f ns per cycle %.0f and %.0f cycles; first decile is %.2f of the %d ns wanted\n",
           alone[ROUNDS / 10], quiet, middle, cycle[ROUNDS / 10], quiet / cycle[ROUNDS / 10],
           middle / cycle[ROUNDS / 2], quiet / WANTED_NS, WANTED_NS);
    return 0;
}
