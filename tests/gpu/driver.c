/* See driver.h: the first thing that a CUDA runtime does, in its three historical forms. */
#include "driver.h"

#include <dlfcn.h>
#include <string.h>

static int get_v1(void *function, const char *name, void **out, int version, uint64_t flags) {
    int (*get)(const char *, void **, int, uint64_t);
    memcpy(&get, &function, sizeof get);
    return get(name, out, version, flags);
}

static int get_v2(void *function, const char *name, void **out, int version, uint64_t flags) {
    int (*get)(const char *, void **, int, uint64_t, int *);
    int status;
    memcpy(&get, &function, sizeof get);
    return get(name, out, version, flags, &status);
}

int driver_load(struct driver *d, enum driver_protocol protocol, int version, int per_thread) {
    memset(d, 0, sizeof *d);
    d->library = dlopen("libcuda.so.1", RTLD_NOW | RTLD_LOCAL);
    if (!d->library)
        return -1;
    void *const get =
        protocol == DRIVER_DLSYM
            ? NULL
            : dlsym(d->library, protocol == DRIVER_V1 ? "cuGetProcAddress" : "cuGetProcAddress_v2");
    if (protocol != DRIVER_DLSYM && !get)
        return -1;
    const uint64_t flags = per_thread ? 2 : 0;
    int n = 0;
    void *found;
#define DRIVER_GET(name, symbol, symbol_per_thread, parameters)                                    \
    found = NULL;                                                                                  \
    if (protocol == DRIVER_DLSYM)                                                                  \
        found = dlsym(d->library, per_thread ? #symbol_per_thread : #symbol);                      \
    else if (protocol == DRIVER_V1)                                                                \
        get_v1(get, #name, &found, version, flags);                                                \
    else                                                                                           \
        get_v2(get, #name, &found, version, flags);                                                \
    memcpy(&d->name, &found, sizeof found);                                                        \
    n += found != NULL;
    DRIVER_FUNCTIONS(DRIVER_GET)
#undef DRIVER_GET
    return n;
}
