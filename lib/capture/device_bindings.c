/* See device_bindings.h. A library that is linked to the driver and was opened with RTLD_DEEPBIND
 * finds the driver before it finds us; one in a namespace of its own finds another driver.
 *
 * Invariant: only reads, and nothing before it is known to be readable, for a copy may be made in
 * the middle of a change by the loader. What is not bound yet has not been called, and does not
 * count. Libraries that do not say that they need the driver are not looked at: a function that
 * they look up is counted where it is handed out. */
#include "capture/device_bindings.h"

#include <elf.h>
#include <link.h>
#include <stdbool.h>
#include <string.h>

#include "capture/driver_user.h"

enum { OBJECTS_MAX = 1 << 16, NAMESPACES_MAX = 64 };

/* What glibc 2.35 and later have for each namespace, the first one first. */
struct namespace {
    struct r_debug debug;
    const struct namespace *next;
};

static bool is_driver(const struct link_map *l) {
    return driver_user_readable(l->l_name) && driver_user_is_driver(l->l_name);
}

/* Functions that ours should stand for, bound to an image. */
struct count {
    uintptr_t start, end;
    uint64_t n;
};

static void count_bound(void *context, const struct driver_slot *slot) {
    struct count *const c = context;
    c->n += *slot->at - c->start < c->end - c->start;
}

static uint64_t unseen_in(const struct link_map *first, bool is_own) {
    const struct link_map *driver = NULL;
    unsigned left = OBJECTS_MAX;
    for (const struct link_map *l = first; driver_user_readable(l) && left-- > 0 && driver == NULL;
         l = l->l_next)
        if (is_driver(l))
            driver = l;
    struct driver_image image;
    if (driver == NULL)
        return 0;
    const bool is_whole = driver_user_image(driver, &image);
    struct count c = {.start = image.start, .end = image.end};
    left = OBJECTS_MAX;
    for (const struct link_map *l = first; is_whole && driver_user_readable(l) && left-- > 0;
         l = l->l_next) {
        struct driver_user user;
        if (l != driver && driver_user_read(l, &user) && user.needs_driver)
            driver_user_each(&user, count_bound, &c);
    }
    return c.n + !is_own;
}

/* By the program's own pointer: it may have a copy of _r_debug, which has no namespaces. NULL: this
 * glibc does not tell of them. */
static const struct namespace *namespaces(void) {
    const struct link_map *const program = _r_debug.r_map;
    if (!driver_user_readable(program) || !driver_user_readable(program->l_ld))
        return NULL;
    const ElfW(Dyn) *d = program->l_ld;
    while (d->d_tag != DT_NULL && d->d_tag != DT_DEBUG)
        d++;
    const struct namespace *const first = (const void *)d->d_un.d_ptr;
    return d->d_tag == DT_DEBUG && driver_user_readable(first) && first->debug.r_version >= 2
               ? first
               : NULL;
}

uint64_t device_bindings_unseen(void) {
    uint64_t n = unseen_in(_r_debug.r_map, true);
    const struct namespace *space = namespaces();
    space = space != NULL ? space->next : NULL;
    for (unsigned i = 0; driver_user_readable(space) && i < NAMESPACES_MAX;
         i++, space = space->next)
        n += unseen_in(space->debug.r_map, false);
    return n;
}
