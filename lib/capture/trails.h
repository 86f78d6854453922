/* Stacks that came up before, found again by the words that lead along them.
 *
 * A trail is all that a walk from a hook's caller hangs on: the return addresses in their slots,
 * the saved frame pointers on which frames further out hang, and the links between the
 * interpreter's frames with where each of them stands. If from the same start all of these still
 * are what they were, a walk would give the same stack, and nothing else has to be brought up to
 * date. Every word is compared whole; nothing is guessed. A step of a training loop allocates from
 * the same few hundred stacks each time, mostly in the same order, so each trail knows which one
 * came after it.
 *
 * What is gone over at every allocation pushes the target's own code and data out of the nearest
 * caches, which costs as much as the going over. So what trails have in common, which is most of
 * the outer part, is kept once, in pieces of one cache line, each of which knows the next one
 * further out; and the code is small.
 *
 * Only stacks that are whole and lie on the thread's own stack become trails: all words of that
 * can be read. The interpreter's frames are read each after the link that leads to it. */
#ifndef HEAPSNAP_TRAILS_H
#define HEAPSNAP_TRAILS_H

#include <stdbool.h>
#include <stdint.h>

#include "capture/python_frames.h"

enum {
    TRAILS_LINE = 64,
    TRAILS_SETS = 256,
    TRAILS_WAYS = 4,
    TRAILS_WORDS = 6,       /* in a piece */
    TRAILS_LINKS = 3,       /* likewise */
    TRAILS_REACH = 8 << 16, /* bytes below the stack's end that words may stand in */
    TRAILS_KNOWN = 1024,    /* pieces that are found by their content */
    TRAILS_SEEN = 4096,
    TRAILS_ROOM = 8192,  /* lines, for all trails of a thread */
    TRAILS_CREDIT = 1024 /* trails kept beyond as many as were found again */
};

struct trail_words { /* of the C stack: a piece, or the inner end of a trail */
    uint64_t values[TRAILS_WORDS];
    uint16_t at[TRAILS_WORDS]; /* in units of 8 bytes, from TRAILS_REACH below the stack's end */
    uint32_t outer;            /* the place of the next piece, 0: none */
};

struct trail_links {                        /* a piece */
    struct python_link links[TRAILS_LINKS]; /* from the inside out */
    uint32_t n, outer;
};

struct trail {
    uintptr_t slot, pc, bp; /* where the walk starts */
    uintptr_t call;         /* python_call() */
    uint32_t id;            /* of the stack */
    uint32_t next;          /* the trail that came after this one the last time, 0: none */
    uint32_t links;         /* the place of the first piece, 0: none */
    bool needs_bp;
    struct trail_words words;
};

struct trails {
    uint32_t last;              /* the trail that was found or kept last: its place; 0: none */
    uint32_t generation;        /* unwind_generation under which all of them were kept */
    uint64_t python_generation; /* likewise */
    uintptr_t state;            /* of the interpreter's thread, likewise; 0: it has none */
    uintptr_t base;             /* TRAILS_REACH below the stack's end */
    bool state_lasts;           /* as long as the interpreter */
    uint64_t n_found, n_kept;   /* what is found pays for what is kept: see keep_paid() */
    uint32_t n_used; /* lines of `room`, whose first ones are nobody's; 0: not set up yet */
    uint32_t n_missed;
    uint32_t keys[TRAILS_SETS][TRAILS_WAYS] __attribute__((aligned(64))); /* 0: none */
    uint32_t places[TRAILS_SETS][TRAILS_WAYS];
    uint32_t known[TRAILS_KNOWN]; /* places of pieces */
    uint32_t seen[TRAILS_SEEN];   /* ids of stacks that were walked */
    char room[TRAILS_ROOM][TRAILS_LINE] __attribute__((aligned(64)));
};

/* Forgets all: the thread is another one. */
void trails_forget(struct trails *trails) __attribute__((visibility("hidden")));

#endif
