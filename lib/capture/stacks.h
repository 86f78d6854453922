/* Stacks of allocations: a prefix tree of return addresses, and per thread a copy of the last walk
 * that makes the next one cheap.
 *
 * The copy holds for each frame the address of its return-address slot and the return address. A
 * walk steps from the top, by cached unwind rules, until it meets a slot that the copy has with the
 * same return address; then it checks that every outer slot still holds its value (and every saved
 * frame pointer on which an outer frame's position hangs), from the inside out, so that each word
 * is read only after the step to it was proved to be the one a full walk would take. What is left
 * of the copy is the rest of the stack, with the tree ids of its frames.
 *
 * A stack deeper than the limit is kept as its innermost `depth` frames, exactly, under a node that
 * says that it is cut.
 *
 * Where the thread runs Python, the functions of a call of the interpreter's loop stand behind that
 * call's frame, as nodes of their own kind, at most `depth` of them in all. Frames of C functions
 * know nothing of that but their tree ids, which are void where Python's frames changed. */
#ifndef HEAPSNAP_STACKS_H
#define HEAPSNAP_STACKS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "capture/python_frames.h"

enum {
    STACKS_DEPTH_DEFAULT = 128,
    STACKS_DEPTH_MAX = 512,
    STACKS_FRAMES = 2 * STACKS_DEPTH_MAX,
    STACKS_RECENT = 8192,
    STACKS_SEGMENTS = 128,
    STACKS_SEGMENT_FRAMES = 23
};

struct stack_recent { /* a step in the tree taken not long ago */
    uint64_t pc;
    uint32_t parent, id;
};

struct stack_more {  /* of a frame, what a check of the plain case does not read */
    uintptr_t bp;    /* rbp after the return */
    uintptr_t bp_at; /* where this frame saved its caller's rbp, if a frame further out needs it */
    uint32_t id;     /* in the tree; 0: not known yet */
    bool by_bp;      /* its own CFA hangs on bp */
    bool needs_bp;   /* its own or an outer frame's CFA hangs on bp */
    bool rare;       /* its caller was found by an unwind_rare: step again instead of comparing */
    bool plain;      /* from here outwards all that counts is the return addresses */
};

struct stack_frame {
    uintptr_t slot; /* where the return address stands */
    uintptr_t pc;   /* the return address */
    struct stack_more more;
};

/* The inner end of a walk: frames from a hook's caller to one that the copy had. What leaves each
 * of them is its return address and the stack pointer alone, so that the same words in the same
 * places are the same walk. */
struct stack_segment {
    uint32_t n;          /* frames before that one */
    uint32_t generation; /* unwind_generation */
    uint32_t parent, id; /* where Python runs: a node, and that of the whole stack under it */
    uintptr_t slots[STACKS_SEGMENT_FRAMES + 1], pcs[STACKS_SEGMENT_FRAMES + 1]; /* outwards */
};

struct stack_copy {
    unsigned n;                      /* frames; [0] is the outermost */
    bool cut;                        /* [0] is not the outermost frame of the stack */
    bool broken;                     /* [0] is the outermost one that could be reached */
    bool try;                        /* never wait for a lock */
    uintptr_t stack_low, stack_high; /* the thread's own stack, 0 if not known */
    uint64_t n_truncated, n_dropped;
    uintptr_t slots[STACKS_FRAMES], pcs[STACKS_FRAMES];
    struct stack_more more[STACKS_FRAMES];
    struct stack_recent recent[STACKS_RECENT];
    struct stack_segment segments[STACKS_SEGMENTS];
    struct stack_frame fresh[STACKS_FRAMES]; /* new frames of the walk under way, innermost first */
    struct python_copy python;
};

/* The registers of a function that has just been returned into. */
struct stack_start {
    uintptr_t slot, pc, bp;
};

/* Innermost frames kept; at most STACKS_DEPTH_MAX. Before the first stack. */
void stacks_depth_set(unsigned depth);
/* Nodes kept at most. */
void stacks_limit(uint32_t n_nodes);

/* The tree id of the stack at `start`; 0: none (no memory). Sets *truncated if it is cut. */
uint32_t stacks_capture(struct stack_copy *copy, const struct stack_start *start, bool *truncated);

/* The same by a full walk, as plain addresses, innermost first: for tests and rare callers. `skip`
 * frames are left out. Does not touch the copy's frames. */
uint32_t stacks_capture_fully(struct stack_copy *copy, const struct stack_start *start,
                              unsigned skip, bool *truncated);

struct stack_node {
    uint64_t pc; /* is_python: a python_position */
    uint32_t parent;
    uint16_t stack_flags; /* SNAP_STAK_FLAG_* */
    uint16_t frame_flags; /* SNAP_FRAM_FLAG_* */
    bool is_python;
};
uint32_t stacks_n_nodes(void); /* the greatest id */
struct stack_node stacks_node(uint32_t id);

void stacks_after_fork_child(void);

/* The caller of the function in which this stands, which must keep a frame pointer. */
#define STACKS_START_HERE()                                                                        \
    ((struct stack_start){(uintptr_t)__builtin_frame_address(0) + 8,                               \
                          ((const uintptr_t *)__builtin_frame_address(0))[1],                      \
                          ((const uintptr_t *)__builtin_frame_address(0))[0]})

#endif
