/* The functions behind the hooks. */
#ifndef HEAPSNAP_HOOK_REAL_H
#define HEAPSNAP_HOOK_REAL_H

#include <malloc.h>
#include <stdlib.h>
#include <sys/types.h>

#include "capture/hook.h"

struct hook_real {
#define HOOK_MALLOC(result, name, parameters) result(*name) parameters;
#include "capture/hooks.def"
};
/* What the target calls by these names, or what is behind ours where that is us. Never NULL: serves
 * from boot memory until they are known. */
extern struct hook_real hook_real __attribute__((visibility("hidden")));

/* Our own free, whatever the target calls by that name. */
void hook_free(void *block) __attribute__((visibility("hidden")));

/* Removes the record of a block that is freed where nothing is recorded (inside the real allocator,
 * or muted), as far as that can be done. */
void hook_forget_passing(void *block) __attribute__((visibility("hidden")));
/* What was allocated without a record, passed on; where the thread is muted, its free will not
 * count as that of a block that was missed. */
void *hook_passed(void *block) __attribute__((visibility("hidden")));
/* Puts back what hook_forget removed. */
void hook_restore(struct hook_thread *t, const struct live_block *block)
    __attribute__((visibility("hidden")));

/* Path of the object whose malloc the target uses; not our own. */
extern const char *hook_allocator_path __attribute__((visibility("hidden")));
/* The target finds another malloc before ours, for instance its own, and that has not called ours:
 * nothing of it is seen. */
extern bool hook_malloc_is_foreign __attribute__((visibility("hidden")));

#endif
