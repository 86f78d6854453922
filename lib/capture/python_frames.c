/* Walks the frames of the interpreter that run on the calling thread. See python_frames.h.
 *
 * Invariants: bounds never descend from the inside out and lie on the calling thread's stack above
 * the walk's start, or the walk ends there; so another thread's state, should one be found, gives
 * nothing. A frame is read only if a live structure of this thread points at it. With the
 * interpreter going down (its threads' states may be freed by another thread) nothing is read but
 * by the thread that takes it down. Does not walk C frames. */
#include "capture/python_frames.h"

#include <string.h>

#include "capture/python_code.h"
#include "capture/python_layout.h"
#include "capture/rawmem.h"

enum {
    STACK_MAX = 64 << 20,
    HEADER_BYTES = 104,
    CODE_BYTES = 192,
    OWNED_BY_C = 3,
    NEAR = 4,
    TRIES = 2
};

bool python_frames_known;

static struct python_runtime python;

static inline uintptr_t word(uintptr_t at) {
    return *(const uintptr_t *)at;
}

void python_frames_start(void) {
    if (!python_runtime_find(&python))
        return;
    python_code_start(&python);
    python_frames_known = true;
}

/* --- the state of this thread --- */

/* Whether there is one interpreter: new ones stand before it in the list, whose start and main one
 * are neighbours. */
static bool is_alone(void) {
    const uintptr_t head = (uintptr_t)python.runtime + python.layout.runtime_interpreters;
    return word(head) == word(head + 8);
}

/* Up to 3.11 one thread is current at a time, perhaps another one, whose state may go any moment:
 * it matters only where a thread has several states, of several interpreters. */
static uintptr_t state_before_12(void) {
    const uintptr_t own = (uintptr_t)python.own();
    const uintptr_t current = (uintptr_t)python.current();
    if (current == own || current == 0 || is_alone())
        return own;
    const uintptr_t id = current + python.layout.thread_id;
    return rawmem_readable(id) && word(id) == (uintptr_t)__builtin_thread_pointer() ? current : own;
}

static inline uintptr_t thread_state(void) {
    uintptr_t state;
    if (python.layout.minor < 12)
        state = state_before_12();
    else if ((state = (uintptr_t)python.current()) == 0)
        state = (uintptr_t)python.own();
    const uintptr_t finalizing = __atomic_load_n(
        (const uintptr_t *)(const void *)(python.runtime + python.layout.runtime_finalizing),
        __ATOMIC_RELAXED);
    return __builtin_expect(finalizing == 0, 1) || finalizing == state ? state : 0;
}

/* --- the walk --- */

struct walk {
    const struct python_place_on_stack *place;
    uintptr_t frame, call, root;
    uintptr_t bound; /* of the call under way; before that, the start */
    bool is_in_call; /* `frame` is of the call `bound` */
    bool careful;
};

/* An address on this thread's stack, further out than what was seen before. */
static inline bool is_next_bound(const struct walk *w, uintptr_t at) {
    if (at <= w->bound || at & 7)
        return false;
    return w->careful ? at - w->place->sp < STACK_MAX && rawmem_readable(at) &&
                            rawmem_readable(at + HEADER_BYTES - 8)
                      : at < w->place->high;
}

static inline bool is_frame(const struct walk *w, uintptr_t frame) {
    if (frame < 4096 || frame & 7 || frame >> 47)
        return false;
    return __builtin_expect(!w->careful, 1) ||
           (rawmem_readable(frame) && rawmem_readable(frame + HEADER_BYTES - 8));
}

static inline bool walk_start(struct walk *w, const struct python_place_on_stack *place) {
    const struct python_layout *const l = &python.layout;
    const uintptr_t state = thread_state();
    *w = (struct walk){.place = place, .bound = place->sp};
    w->careful = place->careful || place->sp < place->low || place->sp >= place->high;
    if (state == 0)
        return false;
    if (l->thread_calls != 0) {
        w->call = word(state + l->thread_calls);
        w->root = state + l->thread_root;
    }
    if (l->thread_frame != 0)
        w->frame = word(state + l->thread_frame);
    else if (l->chain == PYTHON_ENTRIES)
        w->frame = w->call != 0 ? word(w->call + l->call_frame) : 0;
    return true;
}

/* One frame further out. */
static inline bool walk_lists(struct walk *w, struct python_frame *out) {
    const struct python_layout *const l = &python.layout;
    if (w->call == w->root || !is_next_bound(w, w->call) || !is_frame(w, w->frame))
        return false;
    w->bound = w->call;
    *out = (struct python_frame){w->frame, *(const uint32_t *)(w->frame + l->frame_instruction),
                                 w->bound};
    w->call = word(w->call + l->call_previous);
    w->frame = word(w->frame + l->frame_previous);
    return true;
}

static inline bool walk_calls(struct walk *w, struct python_frame *out) {
    const struct python_layout *const l = &python.layout;
    if (!w->is_in_call) {
        if (w->call == w->root || !is_next_bound(w, w->call))
            return false;
        const uintptr_t first = word(w->call + l->call_frame);
        /* What the call inside was entered from. */
        if (w->frame != 0 && first != w->frame)
            return false;
        w->frame = first;
        w->bound = w->call;
        w->is_in_call = true;
    }
    if (!is_frame(w, w->frame))
        return false;
    *out = (struct python_frame){w->frame, word(w->frame + l->frame_instruction), w->bound};
    if (*(const uint8_t *)(w->frame + l->frame_mark)) {
        w->call = word(w->call + l->call_previous);
        w->is_in_call = false;
    }
    w->frame = word(w->frame + l->frame_previous);
    if (w->frame == 0)
        w->call = w->root;
    return true;
}

/* Here the bound comes after the frames that it bounds: out->bound is 0 until then. */
static inline bool walk_entries(struct walk *w, struct python_frame *out) {
    const struct python_layout *const l = &python.layout;
    if (!is_frame(w, w->frame))
        return false;
    if (*(const uint8_t *)(w->frame + l->frame_mark) >= OWNED_BY_C) {
        if (!is_next_bound(w, w->frame))
            return false;
        w->bound = w->frame;
        *out = (struct python_frame){0, 0, w->bound};
    } else {
        *out = (struct python_frame){w->frame, word(w->frame + l->frame_instruction), 0};
    }
    w->frame = word(w->frame + l->frame_previous);
    return true;
}

static inline bool walk_step(struct walk *w, struct python_frame *out) {
    switch (python.layout.chain) {
    case PYTHON_LISTS: return walk_lists(w, out);
    case PYTHON_CALLS: return walk_calls(w, out);
    default: return walk_entries(w, out);
    }
}

static inline bool is_same(const struct python_frame *a, const struct python_frame *b) {
    return a->frame == b->frame && a->instruction == b->instruction && a->bound == b->bound;
}

/* Whether the rest of a walk gives what the copy has from frame i on: by reading side by side. */
static inline bool is_rest_unchanged(const struct python_copy *copy, struct walk *w, unsigned i) {
    struct python_frame now;
    while (walk_step(w, &now)) {
        if (now.frame == 0) { /* ends a call: all of its frames have this bound */
            if ((i > 0 && copy->frames[i - 1].bound != now.bound) ||
                (i < copy->n && copy->frames[i].bound == now.bound))
                return false;
        } else {
            if (i == copy->n || now.frame != copy->frames[i].frame ||
                now.instruction != copy->frames[i].instruction ||
                (now.bound != 0 && now.bound != copy->frames[i].bound))
                return false;
            i++;
        }
    }
    return i == copy->n;
}

static bool walk_whole(struct python_copy *copy, const struct python_place_on_stack *place,
                       unsigned *out_n) {
    struct walk w;
    struct python_frame now;
    unsigned n = 0, n_bound = 0;
    bool cut = false;
    if (walk_start(&w, place))
        while (walk_step(&w, &now)) {
            if (now.frame == 0) {
                while (n_bound < n)
                    copy->fresh[n_bound++].bound = now.bound;
                if (cut)
                    break;
            } else if (n == place->limit) {
                cut = true;
                if (now.bound != 0)
                    break; /* else: on to the bound of those that are kept */
            } else {
                copy->fresh[n++] = now;
            }
        }
    /* Frames whose call was not found belong nowhere. */
    while (n > 0 && copy->fresh[n - 1].bound == 0)
        n--;
    *out_n = n;
    return cut;
}

static uint64_t position_of(const struct python_frame *frame,
                            const struct python_place_on_stack *place, uint64_t *dropped) {
    const uintptr_t code =
        word(frame->frame + python.layout.frame_code) & ~(uintptr_t)python.layout.code_tag;
    if (place->careful && !(rawmem_readable(code) && rawmem_readable(code + CODE_BYTES)))
        return 0;
    return python_code_position(&python, code, frame->instruction, place->try, dropped);
}

static __attribute__((noinline)) uintptr_t sync_slowly(struct python_copy *copy,
                                                       const struct python_place_on_stack *place,
                                                       uint64_t *dropped) {
    const uint64_t generation = atomic_load_explicit(&python_generation, memory_order_acquire);
    const unsigned before = copy->n;
    unsigned n, same = 0;
    const bool cut = walk_whole(copy, place, &n);
    if (copy->generation == generation && !copy->cut && !cut)
        while (same < n && same < before &&
               is_same(&copy->fresh[n - 1 - same], &copy->frames[before - 1 - same]))
            same++;
    uintptr_t changed = 0;
    if (copy->cut || cut)
        changed = UINTPTR_MAX; /* the outermost frame that is kept is another one */
    else if (n != before || same != n) {
        changed = same < before ? copy->frames[before - 1 - same].bound : 0;
        if (same < n && copy->fresh[n - 1 - same].bound > changed)
            changed = copy->fresh[n - 1 - same].bound;
    }
    memmove(copy->positions + (n - same), copy->positions + (before - same),
            same * sizeof copy->positions[0]);
    memcpy(copy->frames, copy->fresh, n * sizeof copy->frames[0]);
    copy->n = n;
    copy->cut = cut;
    copy->generation = generation;
    for (unsigned i = 0; i < n - same; i++)
        copy->positions[i] = position_of(&copy->frames[i], place, dropped);
    return changed;
}

/* The copy's frames further in than `inner` give way to the first n of the fresh ones. Returns what
 * python_frames_sync() does. */
static inline uintptr_t replace_inner(struct python_copy *copy, unsigned inner, unsigned n,
                                      const struct python_place_on_stack *place,
                                      uint64_t *dropped) {
    uintptr_t changed = inner > 0 ? copy->frames[inner - 1].bound : 0;
    const unsigned same = copy->n - inner;
    if (n != inner) {
        memmove(copy->frames + n, copy->frames + inner, same * sizeof copy->frames[0]);
        memmove(copy->positions + n, copy->positions + inner, same * sizeof copy->positions[0]);
        copy->n = n + same;
    }
    for (unsigned i = 0; i < n; i++) {
        copy->frames[i] = copy->fresh[i];
        copy->positions[i] = position_of(&copy->frames[i], place, dropped);
    }
    if (n > 0 && copy->frames[n - 1].bound > changed)
        changed = copy->frames[n - 1].bound;
    return changed;
}

/* One walk that steps until it meets a frame of the copy, then checks that all further out is as
 * the copy has it. False: it did not meet it soon; the copy is untouched. */
static inline bool sync_inner(struct python_copy *copy, const struct python_place_on_stack *place,
                              uint64_t *dropped, uintptr_t *changed) {
    struct walk w, rest;
    struct python_frame now;
    unsigned n = 0, n_bound = 0, k = 0, n_tries = 0; /* k: frames of the copy left behind */
    *changed = 0;
    if (!walk_start(&w, place))
        return copy->n == 0;
    while (walk_step(&w, &now)) {
        if (now.frame == 0) {
            while (n_bound < n)
                copy->fresh[n_bound++].bound = now.bound;
            while (k < copy->n && copy->frames[k].bound <= now.bound)
                k++;
            continue;
        }
        while (now.bound != 0 && k < copy->n && copy->frames[k].bound < now.bound)
            k++;
        unsigned at = k;
        while (at < copy->n && at < k + NEAR && copy->frames[at].frame != now.frame)
            at++;
        if (at < copy->n && copy->frames[at].frame == now.frame) {
            k = at + 1;
            if (copy->frames[at].instruction == now.instruction &&
                (now.bound == 0 || now.bound == copy->frames[at].bound)) {
                rest = w;
                if (n + (copy->n - at) <= place->limit && is_rest_unchanged(copy, &rest, k)) {
                    for (; n_bound < n; n_bound++) /* those of the call under way */
                        if (copy->fresh[n_bound].bound == 0)
                            copy->fresh[n_bound].bound = copy->frames[at].bound;
                    *changed = replace_inner(copy, at, n, place, dropped);
                    return true;
                }
                if (++n_tries == TRIES)
                    return false;
            }
        }
        if (n == place->limit)
            return false;
        copy->fresh[n++] = now;
    }
    return n == 0 && copy->n == 0;
}

uintptr_t python_frames_sync(struct python_copy *copy, const struct python_place_on_stack *place,
                             uint64_t *dropped) {
    uintptr_t changed;
    if (__builtin_expect(copy->generation ==
                                 atomic_load_explicit(&python_generation, memory_order_relaxed) &&
                             !copy->cut && sync_inner(copy, place, dropped, &changed),
                         1))
        return changed;
    return sync_slowly(copy, place, dropped);
}
