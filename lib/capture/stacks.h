/* Stacks of allocations: a prefix tree of return addresses, and per thread a copy of the last walk
 * that makes the next one cheap.
 *
 * The copy holds for each frame the address of its return-address slot and the return address. A
 * walk steps from the top, by cached unwind rules, until it meets a slot that the copy has with the
 * same return address; then it checks that every outer slot still holds its value (and every saved
 * frame pointer on which an outer frame's position hangs). On the thread's own stack all of that
 * can be read; elsewhere each word is read only after the step to it was proved to be the one a
 * full walk would take. What is left of the copy is the rest of the stack, with the tree ids of its
 * frames.
 *
 * A stack that came up a while ago is found by its trail (trails.h) before the copy is asked; the
 * copy then stays that of the last walk.
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
#include "capture/trails.h"

enum {
    STACKS_DEPTH_DEFAULT = 128,
    STACKS_DEPTH_MAX = 512,
    STACKS_FRAMES = 2 * STACKS_DEPTH_MAX,
    STACKS_RECENT = 2048, /* lines of memory, each with some */
    STACKS_RECENT_WAYS = 4,
    STACKS_SEGMENT_SETS = 128,
    STACKS_SEGMENT_WAYS = 8,     /* places for those of one start */
    STACKS_SEGMENT_SHORT = 6,    /* of them, the others are for long ones */
    STACKS_SEGMENT_BYTES = 320,  /* of the frames of one, and of what they saved */
    STACKS_SEGMENT_LONGER = 1344 /* likewise, of a long one */
};

struct stack_recent { /* a step in the tree taken not long ago */
    uint64_t pc;
    uint32_t parent, id;
};

struct stack_how {     /* a frame's caller was found */
    bool saved : 1;    /* it saved its caller's rbp, on which an outer frame hangs */
    bool by_bp : 1;    /* its own CFA hangs on bp */
    bool needs_bp : 1; /* its own or an outer frame's CFA hangs on bp */
    bool rare : 1;     /* its caller was found by an unwind_rare: step again instead of comparing */
    bool own : 1;      /* from here outwards all is on the thread's own stack, whole */
    bool plain : 1;    /* likewise, and nothing is rare */
};

struct stack_kept {     /* a frame of the copy */
    uintptr_t slot, pc; /* where the return address stands, and what it is */
    uintptr_t bp;       /* rbp after the return, where how.needs_bp */
    uint32_t id;        /* in the tree; 0: not known yet */
    uint32_t inner;     /* the node under which stands what it calls: behind Python's functions
                           that it runs; 0: not known yet */
    uint16_t n_saves;   /* of it and of the frames further out; the last one is its, if how.saved */
    struct stack_how how;
};

struct stack_frame { /* of a walk under way */
    uintptr_t slot;  /* where the return address stands */
    uintptr_t pc;    /* the return address */
    uintptr_t bp;    /* rbp after the return */
    uintptr_t bp_at; /* where it saved its caller's rbp; 0: it kept it */
    bool by_bp, rare;
};

/* The inner end of a walk: frames from a hook's caller to one that the copy had. Where they end
 * follows from rbp in the hook's caller, if that matters, and from what stands in their slots and
 * where they saved rbp, so that the same words in the same places are the same walk. All of them
 * are plain. */
struct stack_segment {
    uintptr_t slot, pc, bp;  /* of the innermost frame */
    struct stack_word outer; /* the frame of the copy that it led to */
    uintptr_t outer_bp;
    uint32_t parent;      /* a node under which its frames have their ids; 0: they have none */
    uint32_t generation;  /* unwind_generation */
    uint8_t n, n_saves;   /* behind this: its frames, outermost first as in the copy, then what
                             they saved */
    uint16_t outer_saves; /* n_saves of `outer`, from which those of the frames go on */
    uint16_t n_outer;     /* frames of the copy from `outer` outwards, the last time */
    bool needs_bp, outer_needs_bp;
};

/* A few lines of memory, so that they are found in caches of memory and of its pages. */
struct segment_set {
    struct {
        struct stack_segment segment;
        char rest[STACKS_SEGMENT_BYTES];
    } __attribute__((aligned(64))) places[STACKS_SEGMENT_SHORT];
    struct {
        struct stack_segment segment;
        char rest[STACKS_SEGMENT_LONGER];
    } __attribute__((aligned(64))) longer[STACKS_SEGMENT_WAYS - STACKS_SEGMENT_SHORT];
};

struct stack_copy {
    struct trails trails;            /* trails.h; its first line is looked at each time */
    unsigned n;                      /* frames; [0] is the outermost */
    bool cut;                        /* [0] is not the outermost frame of the stack */
    bool broken;                     /* [0] is the outermost one that could be reached */
    bool is_last;                    /* it is the stack that was walked last */
    bool try;                        /* never wait for a lock */
    uintptr_t stack_low, stack_high; /* the thread's own stack, 0 if not known */
    uint64_t n_truncated, n_dropped;
    uintptr_t first_bp_at; /* stack_frame.bp_at of [0], if an outer frame may need it */
    struct stack_kept frames[STACKS_FRAMES];
    struct stack_word saves[STACKS_FRAMES]; /* of rbp, likewise outermost first */
    struct stack_recent recent[STACKS_RECENT][STACKS_RECENT_WAYS] __attribute__((aligned(64)));
    uint32_t segment_keys[STACKS_SEGMENT_SETS][STACKS_SEGMENT_WAYS]
        __attribute__((aligned(64))); /* 0: none */
    struct segment_set segments[STACKS_SEGMENT_SETS];
    unsigned n_segments;                     /* ever kept */
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
/* The same without a look at the trails: brings the copy up to date. */
uint32_t stacks_walk(struct stack_copy *copy, const struct stack_start *start, bool *truncated)
    __attribute__((visibility("hidden")));

/* The same by a full walk, as plain addresses, innermost first: for tests and rare callers. `skip`
 * frames are left out. Does not touch the copy's frames. */
uint32_t stacks_capture_fully(struct stack_copy *copy, const struct stack_start *start,
                              unsigned skip, bool *truncated);

/* The words that rare steps in the copy load to find a caller, outermost first; their number, or -1
 * if they do not fit. */
int stacks_rare_words(const struct stack_copy *copy, struct stack_word *out, unsigned limit)
    __attribute__((visibility("hidden")));

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
