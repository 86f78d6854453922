/* Allocations that fail: any hook says so with oom_report, before the program hears of it, and a
 * snapshot is taken if `snap run --on-oom` asked for that.
 *
 * For whom: hooks of every kind of memory (malloc's family, mappings, the CUDA driver, PyTorch's
 * allocators). */
#ifndef HEAPSNAP_OOM_H
#define HEAPSNAP_OOM_H

#include <stdint.h>

#include "capture/stacks.h"

/* More than any address space has: an overflow or a probe in the program, no want of memory. */
#define OOM_ABSURD_BYTES (UINT64_C(1) << 47)

/* An allocation of `bytes` (0: unknown) by `what` ("malloc", "cuMemAlloc", ...; a constant) at
 * `start` (STACKS_START_HERE() in the hook) cannot be met, and the caller is about to say so to the
 * program. Returns when the snapshot is complete,
 * or at once: where nobody asked for one, the request is absurd, or another failed less than the
 * interval ago.
 *
 * From any thread, in any hook, between hook_real_end and the return; the thread must not be inside
 * the tables (hook_enter) nor hold a lock of the recorder. Locks of the program may be held.
 * Allocates nothing, keeps errno. Costs a load where nobody asked. */
void oom_report(const char *what, uint64_t bytes, const struct stack_start *start)
    __attribute__((cold, visibility("hidden")));

/* --- for preload.c --- */

/* take is called by one thread at a time, at most once per interval_ns. NULL: nobody asks. */
void oom_start(void (*take)(const char *what, uint64_t bytes, uint32_t stack), uint64_t interval_ns)
    __attribute__((visibility("hidden")));
/* The next failure is taken whenever it comes: of a process that has just been forked. */
void oom_after_fork_child(void) __attribute__((visibility("hidden")));

#endif
