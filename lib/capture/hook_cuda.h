/* The CUDA driver's functions as the target calls them, whatever way it came to their addresses.
 *
 * A target reaches the driver in four ways: linked to it, by dlsym, by cuGetProcAddress, or through
 * the CUDA runtime, which does one of the latter even where it is part of the executable. So dlsym
 * (hook_dlsym.c) and cuGetProcAddress hand out our functions in place of the driver's, and ours
 * stand under the same names for programs that link the driver. Nothing of CUDA is needed to build
 * or to run this. */
#ifndef HEAPSNAP_HOOK_CUDA_H
#define HEAPSNAP_HOOK_CUDA_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Whether ours stands for that function of the driver. */
bool hook_cuda_has(const char *symbol) __attribute__((visibility("hidden")));

/* Whether the driver is loaded, in whatever way. */
bool hook_cuda_is_loaded(void) __attribute__((visibility("hidden")));

/* What a library that is linked to the driver shall call in place of what the loader has bound a
 * name to; NULL: that. handle: the library's; bound: NULL if it is not bound yet. */
void *hook_cuda_instead(void *handle, const char *symbol, const void *bound)
    __attribute__((visibility("hidden")));

/* What dlsym returns for a name of the driver. */
struct hook_answer {
    void *address;
    uint64_t is_known; /* 0: ask the real dlsym, in the caller's name */
};
struct hook_answer hook_cuda_find(void *handle, const char *name, const void *caller)
    __attribute__((visibility("hidden")));

/* dlsym behind our stub: the next one in the order of the loader. */
void *hook_dlsym_next(void *handle, const char *name) __attribute__((visibility("hidden")));

/* What the caller's dlsym would find if we were not there, never ours; RTLD_DEFAULT, too. NULL: as
 * for dlsym. */
void *hook_dlsym_behind(void *handle, const char *name, const void *caller,
                        bool (*is_ours)(const void *address)) __attribute__((visibility("hidden")));

/* At the start: libraries that will look for dlsym in libc first find ours. False: they will not.
 */
bool hook_dlsym_start(void) __attribute__((visibility("hidden")));

/* A framework's allocator has handed out a part of what it holds, or taken it back. */
void hook_cuda_block(uint64_t address, uint64_t size, int32_t device, bool is_free, uintptr_t slot,
                     uintptr_t pc, uintptr_t bp) __attribute__((visibility("hidden")));

/* A resource that a library on top of the driver has made for the target, or destroyed; keys of two
 * libraries differ above HOOK_HANDLE_SHIFT. mark: hook_cuda_mark() from before it was destroyed. */
enum { HOOK_HANDLE_SHIFT = 56 };
struct stack_start;
uint64_t hook_cuda_mark(void) __attribute__((visibility("hidden")));
void hook_cuda_resource(uint32_t kind, uint64_t key, const struct stack_start *start)
    __attribute__((visibility("hidden")));
void hook_cuda_resource_gone(uint32_t kind, uint64_t key, uint64_t mark)
    __attribute__((visibility("hidden")));

/* Asks the driver how much its pools hold. Not in signal handlers, nor in a forked child. now:
 * however short ago that was done. */
void hook_cuda_sample(bool now) __attribute__((visibility("hidden")));

/* What the driver calls a device that the process uses: UUID, a space, its name. False: no such
 * device is known. */
bool hook_cuda_device(uint32_t device, char *out, size_t size)
    __attribute__((visibility("hidden")));

struct hook_cuda_counts {
    uint64_t dropped; /* records that could not be kept */
    uint64_t unknown; /* things given back that were never seen */
    uint64_t unseen;  /* functions of the driver that were handed out as they are */
    uint64_t handed;  /* ours, handed out in place of the driver's */
    bool has_driver;  /* the target has got at least one function of the driver */
};
struct hook_cuda_counts hook_cuda_counts(void) __attribute__((visibility("hidden")));

void hook_cuda_after_fork_child(void) __attribute__((visibility("hidden")));

#endif
