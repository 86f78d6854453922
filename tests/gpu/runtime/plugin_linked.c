/* A library that is linked to the driver itself, and calls it without a CUDA runtime. */
#include "plugin.h"

#include <stddef.h>
#include <stdint.h>

int cuInit(unsigned flags);
int cuDevicePrimaryCtxRetain(void **context, int device);
int cuCtxSetCurrent(void *context);
int cuMemAlloc_v2(uint64_t *out, size_t size);
int cuMemFree_v2(uint64_t address);

__attribute__((visibility("default"))) int plugin_run(void **out, int n) {
    void *context;
    uint64_t first = 0;
    if (cuInit(0) != 0 || cuDevicePrimaryCtxRetain(&context, 0) != 0 ||
        cuCtxSetCurrent(context) != 0)
        return 1;
    for (int i = 0; i < n; i++) {
        uint64_t address;
        if (cuMemAlloc_v2(&address, 100000 + (size_t)i) != 0)
            return 1;
        out[i] = (void *)address;
        first = i == 0 ? address : first;
    }
    return n > 0 ? cuMemFree_v2(first) : 0;
}

__attribute__((visibility("default"))) int plugin_look(void) {
    return 1;
}
