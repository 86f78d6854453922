/* Libraries that are linked to the CUDA driver, and where the loader has put its functions. */
#ifndef HEAPSNAP_DRIVER_USER_H
#define HEAPSNAP_DRIVER_USER_H

#include <link.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct driver_user {
    const struct link_map *object;
    const ElfW(Sym) * symbols;
    const char *strings;
    const ElfW(Rela) * tables[2];
    size_t sizes[2];
    bool needs_driver; /* it says so */
};

/* A place that holds the address of a function that ours stands for, or of the loader's code that
 * finds it when it is called first. */
struct driver_slot {
    const char *name;
    uintptr_t *at;
};

/* An object in memory, from its base address to its end; of it, what the loader makes read-only. */
struct driver_image {
    uintptr_t start, end, read_only, read_only_end;
};

bool driver_user_readable(const void *at) __attribute__((visibility("hidden")));
bool driver_user_is_driver(const char *path) __attribute__((visibility("hidden")));

/* Only reads, and nothing before it is known to be readable. False: the object is not as it should
 * be. */
bool driver_user_read(const struct link_map *object, struct driver_user *out)
    __attribute__((visibility("hidden")));

/* Likewise. */
bool driver_user_image(const struct link_map *object, struct driver_image *out)
    __attribute__((visibility("hidden")));

void driver_user_each(const struct driver_user *user,
                      void (*fn)(void *context, const struct driver_slot *slot), void *context)
    __attribute__((visibility("hidden")));

#endif
