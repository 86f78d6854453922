/* See rebind.h. A library that is linked to the driver and was opened with RTLD_DEEPBIND has found
 * the driver before us. The first thing that is done with it is to look up a name in it, and then
 * its own pointers to the driver's functions are exchanged for ours.
 *
 * Invariant: an address is exchanged only for the one that means the same, in one step, and only if
 * it is still there: whoever calls through it meanwhile gets either. Memory that the loader has
 * made read-only is made writable and left so, since nobody can know who else is about to write to
 * it. What was called before goes past us, and so does all in another namespace, whose driver is
 * another one. */
#include "capture/rebind.h"

#include <dlfcn.h>
#include <stdatomic.h>
#include <sys/mman.h>
#include <unistd.h>

#include "capture/driver_user.h"
#include "capture/hook.h"
#include "capture/hook_cuda.h"
#include "capture/next.h"

enum { SEEN_MAX = 512, NEEDED_MAX = 64 };

/* Handles that were looked at. When anything has been closed, another object may get one. */
static void *_Atomic seen[SEEN_MAX];
static _Atomic uint64_t n_closed;

static int read_closed(struct dl_phdr_info *info, size_t size, void *out) {
    *(uint64_t *)out = info->dlpi_subs;
    return 1;
}

static bool is_seen(void *handle) {
    uint64_t now = 0;
    dl_iterate_phdr(read_closed, &now);
    if (atomic_exchange(&n_closed, now) != now)
        for (size_t i = 0; i < SEEN_MAX; i++)
            atomic_store(&seen[i], NULL);
    return atomic_load(&seen[(uintptr_t)handle / 64 % SEEN_MAX]) == handle;
}

struct pass {
    const struct link_map *done[NEEDED_MAX];
    unsigned n_done;
};

struct user {
    void *handle;
    struct driver_image image;
};

static void rebind_slot(void *context, const struct driver_slot *slot) {
    const struct user *const user = context;
    const struct driver_image *const image = &user->image;
    const uintptr_t at = (uintptr_t)slot->at, page = (uintptr_t)getpagesize();
    void *_Atomic *const place = (void *)slot->at;
    void *bound = atomic_load(place);
    const bool is_unbound = (uintptr_t)bound - image->start < image->end - image->start;
    void *const ours = hook_cuda_instead(user->handle, slot->name, is_unbound ? NULL : bound);
    if (ours == NULL || (at - image->read_only < image->read_only_end - image->read_only &&
                         mprotect((void *)(at & ~(page - 1)), page, PROT_READ | PROT_WRITE) != 0))
        return;
    atomic_compare_exchange_strong(place, &bound, ours);
}

static bool is_done(struct pass *pass, const struct link_map *l) {
    for (unsigned i = 0; i < pass->n_done; i++)
        if (pass->done[i] == l)
            return true;
    if (pass->n_done == NEEDED_MAX)
        return true;
    pass->done[pass->n_done++] = l;
    return false;
}

/* An object and what it needs, which was searched before us for all of them. */
static void rebind_object(struct pass *pass, struct link_map *l) {
    struct driver_user object;
    struct user user = {.handle = l};
    if (is_done(pass, l) || driver_user_is_driver(l->l_name) || !driver_user_read(l, &object))
        return;
    if (object.needs_driver && driver_user_image(l, &user.image))
        driver_user_each(&object, rebind_slot, &user);
    for (const ElfW(Dyn) *d = l->l_ld; d->d_tag != DT_NULL; d++) {
        if (d->d_tag != DT_NEEDED)
            continue;
        void *const needed = dlopen(object.strings + d->d_un.d_val, RTLD_LAZY | RTLD_NOLOAD);
        if (needed == NULL)
            continue;
        rebind_object(pass, needed);
        dlclose(needed);
    }
}

void rebind_opened(void *handle) {
    if (is_seen(handle))
        return;
    recorder_mute(1);
    if (hook_cuda_is_loaded()) {
        struct pass pass = {.n_done = 0};
        rebind_object(&pass, handle);
        next_forget_error();
    }
    recorder_mute(0);
    atomic_store(&seen[(uintptr_t)handle / 64 % SEEN_MAX], handle);
}
