/* Another tool that stands in front of the driver, as tools for sharing GPUs do: it takes dlsym,
 * hands out a cuMemAlloc of its own, and says at the end how often that was called. */
#include <dlfcn.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef void *dlsym_fn(void *, const char *);
typedef int allocate_fn(uint64_t *, size_t);
static allocate_fn *real_allocate;
static int n_calls;

static dlsym_fn *real_dlsym(void) {
    dlsym_fn *function;
    void *const found = dlvsym(RTLD_NEXT, "dlsym", "GLIBC_2.2.5");
    memcpy(&function, &found, sizeof function);
    return function;
}

static int allocate(uint64_t *out, size_t size) {
    n_calls++;
    return real_allocate(out, size);
}

void *dlsym(void *restrict handle, const char *restrict name) {
    void *const found = real_dlsym()(handle, name);
    if (found == NULL || strcmp(name, "cuMemAlloc_v2") != 0)
        return found;
    memcpy(&real_allocate, &found, sizeof found);
    return (void *)allocate;
}

__attribute__((destructor)) static void report(void) {
    if (getenv("INTERPOSER_SAYS"))
        fprintf(stderr, "interposed %d\n", n_calls);
}
