/* A library as cuDNN is one: it has functions of the same names as another one, finds those by name
 * when it is first called, and passes all calls on. INNER: the other one. */
#include <dlfcn.h>
#include <stdlib.h>
#include <string.h>

int cudnnCreate(void **out);
int cudnnDestroy(void *handle);

#ifdef INNER
int cudnnCreate(void **out) {
    *out = malloc(16);
    return *out ? 0 : 2;
}
int cudnnDestroy(void *handle) {
    free(handle);
    return 0;
}
#else
static void find(const char *name, void *out) {
    void *const library = dlopen("libdispatch_inner.so", RTLD_NOW | RTLD_LOCAL);
    void *const found = library ? dlsym(library, name) : NULL;
    if (!found)
        abort();
    memcpy(out, &found, sizeof found);
}
int cudnnCreate(void **out) {
    static __typeof(cudnnCreate) *create;
    if (!create)
        find("cudnnCreate", &create);
    return create(out);
}
int cudnnDestroy(void *handle) {
    static __typeof(cudnnDestroy) *destroy;
    if (!destroy)
        find("cudnnDestroy", &destroy);
    return destroy(handle);
}
#endif
