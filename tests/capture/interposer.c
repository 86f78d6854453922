/* Another tool that stands in front of libc's functions, and passes every call on: to what its own
 * dlsym finds, if it has one (WITH_DLSYM), else to what libc's finds; malloc and its family only
 * WITH_MALLOC. Says at the end, if asked, how often it was called. */
#include <dlfcn.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

static unsigned n_dlsym, n_malloc, n_free, n_mmap;

#ifdef WITH_DLSYM
typedef void *dlsym_fn(void *, const char *);

void *dlsym(void *restrict handle, const char *restrict name) {
    static dlsym_fn *real;
    if (real == NULL) {
        void *const found = dlvsym(RTLD_NEXT, "dlsym", "GLIBC_2.2.5");
        memcpy(&real, &found, sizeof found);
    }
    n_dlsym++;
    /* Not in the caller's name, as all of these. */
    void *volatile found = real(handle, name);
    return found;
}
#endif

static struct {
    __typeof__(malloc) *malloc;
    __typeof__(free) *free;
    __typeof__(realloc) *realloc;
    __typeof__(posix_memalign) *posix_memalign;
    __typeof__(mmap) *mmap;
} real;

#define LOOK_UP(name)                                                                              \
    do {                                                                                           \
        void *const found = dlsym(RTLD_NEXT, #name);                                               \
        memcpy(&real.name, &found, sizeof found);                                                  \
    } while (0)

static void look_up(void) {
    if (real.mmap != NULL)
        return;
    LOOK_UP(free);
    LOOK_UP(malloc);
    LOOK_UP(realloc);
    LOOK_UP(posix_memalign);
    LOOK_UP(mmap);
}

#ifdef WITH_MALLOC
void *malloc(size_t size) {
    look_up();
    n_malloc++;
    return real.malloc(size);
}

void free(void *block) {
    look_up();
    n_free++;
    real.free(block);
}

void *realloc(void *block, size_t size) {
    look_up();
    n_malloc++;
    return real.realloc(block, size);
}

int posix_memalign(void **out, size_t alignment, size_t size) {
    look_up();
    n_malloc++;
    return real.posix_memalign(out, alignment, size);
}
#endif

void *mmap(void *at, size_t size, int protection, int flags, int fd, off_t offset) {
    look_up();
    n_mmap++;
    return real.mmap(at, size, protection, flags, fd, offset);
}

__attribute__((destructor)) static void report(void) {
    if (getenv("INTERPOSER_SAYS"))
        fprintf(stderr, "dlsym %u malloc %u free %u mmap %u\n", n_dlsym, n_malloc, n_free, n_mmap);
}
