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
    STACKS_SEGMENTS = 512,
    STACKS_SEGMENT_WAYS = 4, /* places for those of one start */
    STACKS_SEGMENT_FRAMES = 20,
    STACKS_SEGMENT_WORDS = 32
};

struct stack_recent { /* a step in the tree taken not long ago */
    uint64_t pc;
    uint32_t parent, id;
};

struct stack_word { /* of the stack */
    uintptr_t at, value;
};

struct stack_more { /* of a frame, what a check of the copy does not read */
    uintptr_t bp;   /* rbp after the return */
    uint32_t id;    /* in the tree; 0: not known yet */
    uint16_t word;  /* its return address among the words of the copy; before that, if `saved`,
                       where it saved its caller's rbp */
    bool saved : 1;
    bool by_bp : 1;    /* its own CFA hangs on bp */
    bool needs_bp : 1; /* its own or an outer frame's CFA hangs on bp */
    bool rare : 1;     /* its caller was found by an unwind_rare: step again instead of comparing */
    bool plain : 1;    /* from here outwards all that counts is the words */
};

struct stack_frame { /* of a walk under way */
    uintptr_t slot;  /* where the return address stands */
    uintptr_t pc;    /* the return address */
    uintptr_t bp;    /* rbp after the return */
    uintptr_t bp_at; /* where it saved its caller's rbp; 0: it kept it */
    bool by_bp, rare;
};

/* The inner end of a walk: frames from a hook's caller to one that the copy had. Where they end
 * follows from rbp in the hook's caller, if that matters, and from these words alone, so that the
 * same words in the same places are the same walk. Outermost first, as in the copy. */
struct stack_segment {
    uintptr_t slot, pc; /* of the innermost frame */
    uint32_t n, n_words;
    uint32_t generation; /* unwind_generation */
    uint32_t parent;     /* a node under which its frames have their ids; 0: they have none */
    bool outer_needs_bp;
    uintptr_t outer_bp;
    struct stack_word outer;                       /* the frame of the copy that it led to */
    struct stack_word words[STACKS_SEGMENT_WORDS]; /* of its frames */
    struct stack_more more[STACKS_SEGMENT_FRAMES]; /* likewise; `word` is counted from words[] */
};

struct stack_copy {
    unsigned n;                      /* frames; [0] is the outermost */
    bool cut;                        /* [0] is not the outermost frame of the stack */
    bool broken;                     /* [0] is the outermost one that could be reached */
    bool try;                        /* never wait for a lock */
    uintptr_t stack_low, stack_high; /* the thread's own stack, 0 if not known */
    uint64_t n_truncated, n_dropped;
    uintptr_t first_bp_at; /* stack_frame.bp_at of [0], if an outer frame may need it */
    uintptr_t slots[STACKS_FRAMES], pcs[STACKS_FRAMES];
    struct stack_word words[2 * STACKS_FRAMES]; /* what has to hold for the frames to be these */
    struct stack_more more[STACKS_FRAMES];
    /* The node under which stands what a frame calls: behind Python's functions that it runs. */
    uint32_t inner[STACKS_FRAMES]; /* 0: not known yet */
    struct stack_recent recent[STACKS_RECENT];
    uint64_t segment_keys[STACKS_SEGMENTS] __attribute__((aligned(64))); /* 0: none */
    struct stack_segment segments[STACKS_SEGMENTS];
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
