/* When a failed allocation is worth a snapshot: rarely, and once for all threads that fail
 * together.
 *
 * Invariant: whatever happens here, errno and the result that the program gets are those of the
 * real function. Does not take the snapshot: preload.c does. */
#include "capture/oom.h"

#include <errno.h>
#include <stdatomic.h>
#include <stddef.h>
#include <time.h>

#include "capture/hook.h"
#include "capture/raw.h"

static void (*_Atomic taker)(const char *what, uint64_t bytes, uint32_t stack);
static uint64_t interval_ns;
static _Atomic uint64_t next_ns; /* CLOCK_MONOTONIC: none before */

void oom_start(void (*take)(const char *what, uint64_t bytes, uint32_t stack), uint64_t interval) {
    interval_ns = interval;
    atomic_store(&taker, take);
}

void oom_after_fork_child(void) {
    atomic_store(&next_ns, 0);
}

static uint32_t stack_of(const struct stack_start *start) {
    struct hook_thread *const t = hook_begin();
    bool truncated;
    if (t == NULL || !hook_enter(t))
        return 0;
    const uint32_t stack = stacks_capture(&t->stacks, start, &truncated);
    hook_leave(t);
    return stack;
}

void oom_report(const char *what, uint64_t bytes, const struct stack_start *start) {
    void (*const take)(const char *, uint64_t, uint32_t) = atomic_load(&taker);
    if (take == NULL || bytes >= OOM_ABSURD_BYTES)
        return;
    const uint64_t now_ns = raw_clock_ns(CLOCK_MONOTONIC);
    uint64_t next = atomic_load(&next_ns);
    if (now_ns < next || !atomic_compare_exchange_strong(&next_ns, &next, UINT64_MAX))
        return;
    const int errno_before = errno;
    take(what, bytes, stack_of(start));
    atomic_store(&next_ns, raw_clock_ns(CLOCK_MONOTONIC) + interval_ns);
    errno = errno_before;
}
