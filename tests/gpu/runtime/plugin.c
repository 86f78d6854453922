/* A library that has a CUDA runtime of its own in it and shows none of its names. It allocates as
 * it is loaded, and then when asked; it says what its dlsym says. */
#include "plugin.h"

#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>

#include "mini_cuda.h"

static void *at_start;

__attribute__((constructor)) static void start(void) {
    if (getenv("PLUGIN_AT_START") && cudaMalloc(&at_start, 70000) != 0)
        abort();
}

__attribute__((visibility("default"))) int plugin_run(void **out, int n) {
    for (int i = 0; i < n; i++)
        if (cudaMalloc(&out[i], 100000 + (size_t)i) != 0)
            return 1;
    return n > 0 ? cudaFree(out[0]) : 0;
}

/* Each depends on who asks, and in what order the libraries that it needs are searched. */
__attribute__((visibility("default"))) int plugin_look(void) {
    void *const whole = getenv("PLUGIN_WHOLE") ? dlopen(NULL, RTLD_LAZY) : NULL;
    const int look[] = {
        dlsym(RTLD_NEXT, "plugin_run") == NULL,
        dlsym(RTLD_DEFAULT, "plugin_run") != NULL,
        dlsym(RTLD_NEXT, "cuMemAlloc_v2") == NULL,
        dlsym(RTLD_DEFAULT, "cuMemAlloc_v2") == NULL,
        dlsym(RTLD_DEFAULT, "cuda_is_no_such_name") == NULL && dlerror() != NULL,
        dlsym(RTLD_NEXT, "dlsym") != NULL,
        dlvsym(RTLD_NEXT, "dlsym", "GLIBC_2.2.5") != NULL,
        dlsym(RTLD_NEXT, "ncclCommDestroy") == NULL,
        dlsym(RTLD_DEFAULT, "main_of_program") != NULL,
        whole && dlsym(whole, "cuMemAlloc_v2") == NULL && dlerror() != NULL,
        whole && dlsym(whole, "ncclCommDestroy") == NULL && dlerror() != NULL,
    };
    int bits = 0;
    for (size_t i = 0; i < sizeof look / sizeof *look; i++)
        bits |= look[i] << i;
    return bits;
}
