/* What the hooks share: the state of a thread, the gate, and the recording of one allocation or
 * free.
 *
 * A hook runs: hook_begin (once per thread: attach), the real function with `real` set, then the
 * record between hook_enter and hook_leave. Whoever freezes sets the gate, makes every processor
 * see it (membarrier) and waits for `inside` of all threads to fall; so entering costs a store and
 * a load, no fence. A signal handler that allocates while its thread is inside uses a second state.
 */
#ifndef HEAPSNAP_HOOK_H
#define HEAPSNAP_HOOK_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <heapsnap/snapdef.h>

#include "capture/live_table.h"
#include "capture/recorder.h"
#include "capture/stacks.h"

#define HOOK_EXPORT __attribute__((visibility("default")))
#define HOOK_LIKELY(x) __builtin_expect(!!(x), 1)
#define HOOK_UNLIKELY(x) __builtin_expect(!!(x), 0)

/* The gate: flags and, above them, an epoch. Threads drop what they remember when it changes. */
enum {
    HOOK_GATE_FROZEN = 1, /* hooks wait */
    HOOK_GATE_FENCE = 2,  /* no membarrier: every hook makes its own fence */
    HOOK_GATE_EPOCH = 4   /* one step of the epoch */
};

/* Flags of a block in the live table: kind in the low 4 bits, then these. */
enum { HOOK_FLAG_ALIGNED = 1 << 4, HOOK_FLAG_TRUNCATED = 1 << 5 };

struct hook_pending { /* what a nested hook could not do */
    struct live_block block;
    bool take;
};

struct hook_thread {
    uint8_t inside; /* changing the tables */
    uint8_t real;   /* in the real allocator: what it allocates is its own affair */
    uint8_t mute;   /* recorder_mute */
    uint32_t gate;  /* value of the gate that the thread has acted upon */
    uint64_t birth_next, birth_end;
    struct live_cache cache;
    uint64_t n_allocations, n_frees, n_unknown, n_dropped, n_nested;
    _Atomic uint32_t waiting; /* a hook of this thread waits for the gate: nothing changes */
    _Atomic uint32_t owner;   /* tid, 0: free for any thread */
    struct hook_thread *next; /* all states ever made */
    struct hook_thread *nested;
    uint32_t n_pending;
    struct hook_pending pending[16];
    struct stack_copy stacks;
};

extern __thread struct hook_thread *hook_self
    __attribute__((tls_model("initial-exec"), visibility("hidden")));
extern _Atomic uint32_t hook_gate __attribute__((visibility("hidden")));

/* The state to use when hook_self is of no use as it is; NULL: do not record. */
struct hook_thread *hook_begin_slowly(void) __attribute__((visibility("hidden")));
/* The gate has changed; false: leave at once, nothing may be recorded. */
bool hook_gate_slowly(struct hook_thread *t) __attribute__((visibility("hidden")));
void hook_births(struct hook_thread *t) __attribute__((visibility("hidden")));
/* Puts a block where the quick way did not work; what cannot be kept is counted. */
void hook_put_slowly(struct hook_thread *t, const struct live_block *block)
    __attribute__((visibility("hidden")));
/* Removes a block likewise; true if it was there. *known: false if it was never seen. */
bool hook_take_slowly(struct hook_thread *t, uintptr_t address, struct live_block *old, bool *known)
    __attribute__((visibility("hidden")));

/* Memory for what is allocated before the real functions are known. */
void *hook_boot_allocate(size_t size, size_t alignment) __attribute__((visibility("hidden")));
bool hook_boot_owns(const void *block) __attribute__((visibility("hidden")));
size_t hook_boot_size(const void *block) __attribute__((visibility("hidden")));

/* Finds the real functions; in hook_malloc.c, hook_new.c and hook_mmap.c. */
void hook_malloc_init(void) __attribute__((visibility("hidden")));
void hook_new_init(void) __attribute__((visibility("hidden")));
void hook_mmap_init(void) __attribute__((visibility("hidden")));
void hook_regions_after_fork_child(void) __attribute__((visibility("hidden")));
uint64_t hook_regions_dropped(void) __attribute__((visibility("hidden")));

/* Each is loaded by itself, as wide as it was stored a moment ago: a load across several of them
 * would not be served from the store buffer, but wait until all stores before, many of them misses,
 * have reached the cache. */
static inline bool hook_busy(const struct hook_thread *t) {
    return *(const volatile uint8_t *)&t->inside | *(const volatile uint8_t *)&t->real |
           *(const volatile uint8_t *)&t->mute;
}

static inline struct hook_thread *hook_begin(void) {
    struct hook_thread *const t = hook_self;
    return HOOK_LIKELY(t != NULL && !hook_busy(t)) ? t : hook_begin_slowly();
}

static inline bool hook_enter(struct hook_thread *t) {
    *(volatile uint8_t *)&t->inside = 1;
    atomic_signal_fence(memory_order_seq_cst);
    return HOOK_LIKELY(atomic_load_explicit(&hook_gate, memory_order_relaxed) == t->gate) ||
           hook_gate_slowly(t);
}

static inline void hook_leave(struct hook_thread *t) {
    atomic_signal_fence(memory_order_seq_cst);
    __atomic_store_n(&t->inside, 0, __ATOMIC_RELEASE);
}

static inline void hook_real_begin(struct hook_thread *t) {
    *(volatile uint8_t *)&t->real = 1;
    atomic_signal_fence(memory_order_seq_cst);
}
static inline void hook_real_end(struct hook_thread *t) {
    atomic_signal_fence(memory_order_seq_cst);
    *(volatile uint8_t *)&t->real = 0;
}

/* One copy of each for all hooks: the fewer lines of code an allocation goes through, the fewer of
 * the target's it pushes out. */
void hook_record(struct hook_thread *t, void *address, size_t size, uint32_t flags,
                 const struct stack_start *start) __attribute__((visibility("hidden")));
/* Removes a record; true if there was one. old: NULL, or filled with it. *known: false if the block
 * was never seen. */
bool hook_forget(struct hook_thread *t, void *address, struct live_block *old, bool *known)
    __attribute__((visibility("hidden")));

#endif
