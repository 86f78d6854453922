/* The Python functions that the calling thread is in, each with where on the C stack the
 * interpreter's loop runs it: so they can be set between the frames of C functions.
 *
 * Only what the calling thread alone changes is read: its own thread state and the frames that hang
 * on it, which are as the interpreter left them when it called what allocates. A walk from a signal
 * handler may come between two of the interpreter's own stores; it reads with care. */
#ifndef HEAPSNAP_PYTHON_FRAMES_H
#define HEAPSNAP_PYTHON_FRAMES_H

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { PYTHON_FRAMES_MAX = 512 };

struct stack_word { /* of the C stack */
    uintptr_t at, value;
};

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

/* --- for trails.c --- */

struct python_quick {     /* what is asked at every allocation */
    uint16_t thread_call; /* in a thread's state: its innermost call, or frame */
    uint16_t call_frame;  /* in a call: its innermost frame */
    uint16_t frame_previous, frame_instruction;
    bool has_calls, has_key;
    uint32_t key;                  /* of the thread's state, if has_key: then it is quickly found */
    const uintptr_t *finalizing;   /* 0: not so */
    const uintptr_t *interpreters; /* two words, equal where there is one interpreter */
    void *(*current)(void);        /* asked before the key, or NULL */
};
extern struct python_quick python_quick __attribute__((visibility("hidden")));

/* The state of the calling thread, 0: it has none that may be read. */
uintptr_t python_thread_state(void) __attribute__((visibility("hidden")));

/* Whether that state is there as long as the interpreter is. */
bool python_state_lasts(uintptr_t state) __attribute__((visibility("hidden")));

/* Whether no thread has states of several interpreters that only the list of them tells. */
static inline bool python_is_alone(void) {
    return python_quick.interpreters[0] == python_quick.interpreters[1];
}
/* The state of the thread that takes the interpreter down, 0: none does. */
static inline uintptr_t python_finalizing(void) {
    return __atomic_load_n(python_quick.finalizing, __ATOMIC_RELAXED);
}
static inline bool python_is_plain(void) {
    return __builtin_expect(python_finalizing() == 0 && python_is_alone(), 1);
}

/* As python_thread_state(), but may differ where keys were deleted: to be compared, not read. */
static inline uintptr_t python_thread_state_quick(void) {
    const struct python_quick *const q = &python_quick;
    if (__builtin_expect(!q->has_key || !python_is_plain(), 0))
        return python_thread_state();
    const uintptr_t state = q->current != NULL ? (uintptr_t)q->current() : 0;
    return state != 0 ? state : (uintptr_t)pthread_getspecific(q->key);
}

/* Of a state of the calling thread: its innermost call of the interpreter's loop, or frame. */
static inline uintptr_t python_call(uintptr_t state) {
    return *(const uintptr_t *)(state + python_quick.thread_call);
}
/* The innermost frame of that, 0: none. */
static inline uintptr_t python_call_frame(uintptr_t call) {
    return !python_quick.has_calls || call == 0
               ? call
               : *(const uintptr_t *)(call + python_quick.call_frame);
}
static inline uintptr_t python_previous(uintptr_t frame) {
    return *(const uintptr_t *)(frame + python_quick.frame_previous);
}
static inline bool python_stands_at(uintptr_t frame, uintptr_t instruction) {
    return *(const uintptr_t *)(frame + python_quick.frame_instruction) == instruction;
}

struct python_link { /* a frame of the list of frames; the last one's previous one is 0 */
    uintptr_t frame, instruction;
};
/* What a copy just brought up to date hangs on: links from the inside out, which are valid one by
 * one, and words of the C stack, from the outside in. Their number, or -1: they are too many, or
 * something else matters, too. */
int python_links(const struct python_copy *copy, struct python_link *links,
                 struct stack_word *words, unsigned limit, unsigned *n_words)
    __attribute__((visibility("hidden")));

void python_frames_after_fork_child(void) __attribute__((visibility("hidden")));

/* Looks for an interpreter. Once, before it runs. */
void python_frames_start(void) __attribute__((visibility("hidden")));

#endif
