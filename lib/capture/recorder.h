/* The recorder: the exact set of live blocks, each with its stack, size and birth, kept while the
 * target runs.
 *
 * Callers: hook_malloc.c (every function below "hooks") and collect.c (everything below "moments").
 * Invariants: nothing in here calls malloc, stdio or the loader on a hot path; all memory is the
 * recorder's own, from mmap, bounded by recorder_limits; a record that cannot be kept is dropped
 * and counted, never an error for the target. */
#ifndef HEAPSNAP_RECORDER_H
#define HEAPSNAP_RECORDER_H

#include <stddef.h>
#include <stdint.h>

struct recorder_block {
    uint64_t address, size, birth;
    uint32_t stack; /* id in the stack tree, 0: none */
    uint32_t flags; /* SNAP_NODE_FLAG_* and kind << 24, as struct wire_block */
};

struct recorder_region { /* anonymous memory mapped by the target itself: mmap, mremap, brk */
    uint64_t address, size, birth;
    uint32_t stack, protection;
};

struct recorder_stack {
    uint64_t pc;            /* with RECORDER_STACK_PYTHON: a python_position */
    uint32_t parent, flags; /* as struct wire_stack */
};
#define RECORDER_STACK_PYTHON (1u << 31)

struct recorder_counts {
    uint64_t live_blocks; /* may lag by what other threads do at the moment */
    uint64_t allocations, frees;
    uint64_t own_bytes; /* memory of the recorder itself, touched */
    uint64_t stacks;    /* nodes of the stack tree */
    uint64_t dropped_blocks, dropped_stacks, dropped_regions; /* not recorded for want of memory */
    uint64_t dropped_annotations; /* what the program said and was not kept */
    uint64_t truncated_stacks;
    uint64_t unknown_frees; /* frees of blocks never seen: before start, or another allocator's */
};

/* Starts; idempotent; called by the first hook that runs or by the constructor, whichever is first.
 */
void recorder_init(void);

/* Path of the object whose malloc the target uses, NULL if unknown. *foreign: that malloc stands
 * before the recorder's (in the executable, say), so that nothing of it is seen. */
const char *recorder_allocator(int *foreign);

/* --- moments --- */

/* Stops all changes to the tables: threads that enter a hook wait. Waits at most deadline_ns,
 * counted from now, and returns the number of threads still inside a hook then (0: consistent), or
 * -1 if another thread keeps the tables frozen: nothing is frozen then. Nests on one thread.
 * Async-signal-safe; the calling thread may itself have been interrupted inside a hook. */
int recorder_freeze(uint64_t deadline_ns);
void recorder_thaw(void);

/* The following read the tables; call them frozen, or in a forked copy. No locks, no memory but the
 * caller's. */
/* Calls fn with runs of live blocks in ascending order of addresses; stops when fn returns other
 * than 0, and returns that. After notes_places_make, of pools, too. */
int recorder_for_each_block(int (*fn)(void *context, const struct recorder_block *blocks, size_t n),
                            void *context);
int recorder_for_each_region(int (*fn)(void *context, const struct recorder_region *regions,
                                       size_t n),
                             void *context);
/* Requested bytes of all live blocks; reads the whole table, about 10 ns per block: a free does not
 * look at the size of its block. */
uint64_t recorder_live_bytes(void);
/* The same without blocks that were inherited from a parent. */
uint64_t recorder_own_bytes(void);
uint32_t recorder_n_stacks(void);                      /* greatest stack id */
struct recorder_stack recorder_stack_get(uint32_t id); /* 1 to recorder_n_stacks() */
uint64_t
recorder_birth_mark(void); /* every later allocation gets a greater birth: starts a new epoch */
void recorder_counts_get(struct recorder_counts *out);

/* In a forked child that goes on as a program of its own: keeps the inherited blocks and marks them
 * so (blocks with a birth at or below the mark at the fork are inherited). Async-signal-safe. */
void recorder_after_fork_child(void);
/* Around fork() in the parent, from pthread_atfork: no hook is half-way while the address space is
 * copied. */
void recorder_before_fork(void);
void recorder_after_fork_parent(void);

/* The current thread must not be recorded (1) or again (0); nests. For the recorder's own work in
 * the target. */
void recorder_mute(int on);

/* The stack of the calling thread as a stack id, as a hook would record it; `skip` innermost frames
 * left out. 0 if none. */
uint32_t recorder_current_stack(unsigned skip);

#endif
