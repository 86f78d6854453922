/* The Python functions that the calling thread is in, each with where on the C stack the
 * interpreter's loop runs it: so they can be set between the frames of C functions.
 *
 * Only what the calling thread alone changes is read: its own thread state and the frames that hang
 * on it, which are as the interpreter left them when it called what allocates. A walk from a signal
 * handler may come between two of the interpreter's own stores; it reads with care. */
#ifndef HEAPSNAP_PYTHON_FRAMES_H
#define HEAPSNAP_PYTHON_FRAMES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { PYTHON_FRAMES_MAX = 512 };

struct python_frame {
    uintptr_t frame;       /* the interpreter's */
    uintptr_t instruction; /* as the frame has it */
    uintptr_t previous;    /* likewise: what the walk goes on from */
    uintptr_t code;        /* where the instruction does not tell it (3.10), else 0 */
    uintptr_t bound;       /* an address inside the C frame that runs it */
    uint64_t position;     /* python_position; 0: not shown */
};

/* The frames of the last walk, outermost first. */
struct python_copy {
    unsigned n;
    bool cut;       /* there were more, further out */
    bool is_linked; /* each frame's words lead to the next one further out as frames_hold() asks */
    uint64_t generation;
    uintptr_t last; /* where the outermost call leads */
    struct python_frame frames[PYTHON_FRAMES_MAX];
    struct python_frame fresh[PYTHON_FRAMES_MAX]; /* of the walk under way, innermost first */
};

/* Whether this process has an interpreter whose frames can be read. */
extern bool python_frames_known __attribute__((visibility("hidden")));

struct python_place_on_stack {
    uintptr_t sp;        /* of a frame of the calling thread: everything of interest is above */
    uintptr_t low, high; /* the thread's stack, 0: not known */
    unsigned limit;      /* frames wanted, at most PYTHON_FRAMES_MAX */
    bool careful;        /* the interpreter may have been interrupted anywhere */
    bool try;            /* never wait for a lock */
};

/* Makes the copy what the stack is now. Returns an address that everything on the C stack whose
 * Python frames changed lies below; 0: nothing changed. */
uintptr_t python_frames_sync(struct python_copy *copy, const struct python_place_on_stack *place,
                             uint64_t *dropped) __attribute__((visibility("hidden")));

/* Whether it would return 0 and change nothing, where that is quickly told: the thread is at `sp`
 * of its own stack, and was not interrupted. */
bool python_frames_stand(const struct python_copy *copy, uintptr_t sp, uintptr_t low,
                         uintptr_t high) __attribute__((visibility("hidden")));

/* Looks for an interpreter. Once, before it runs. */
void python_frames_start(void) __attribute__((visibility("hidden")));

#endif
