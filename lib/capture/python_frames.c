/* Walks the frames of the interpreter that run on the calling thread. See python_frames.h.
 *
 * Invariants: bounds never descend from the inside out and lie on the calling thread's stack above
 * the walk's start, or the walk ends there; so another thread's state, should one be found, gives
 * nothing. A frame is read only if a live structure of this thread points at it. With the
 * interpreter going down (its threads' states may be freed by another thread) nothing is read but
 * by the thread that takes it down. Does not walk C frames. */
#include "capture/python_frames.h"

#include <limits.h>
#include <pthread.h>
#include <stdatomic.h>
#include <string.h>

#include "capture/python_code.h"
#include "capture/python_layout.h"
#include "capture/rawmem.h"

enum {
    STACK_MAX = 64 << 20,
    HEADER_BYTES = 104,
    CODE_BYTES = 192,
    OWNED_BY_C = 3,
    NEAR = 4,    /* frames of the copy that are looked at for the one where a walk is */
    FRESH = 16,  /* steps of a walk until it gives up to meet the copy */
    CHANGES = 16 /* frames that may stand at another instruction */
};

bool python_frames_known;
struct python_quick python_quick;

static struct python_runtime python;

static inline uintptr_t word(uintptr_t at) {
    return *(const uintptr_t *)at;
}

void python_frames_start(void) {
    if (!python_runtime_find(&python))
        return;
    python_code_start(&python);
    static const uintptr_t nobody[2];
    const struct python_layout *const l = &python.layout;
    python_quick = (struct python_quick){
        .thread_call = l->thread_frame != 0 ? l->thread_frame : l->thread_calls,
        .call_frame = l->call_frame,
        .has_calls = l->thread_frame == 0,
        .frame_previous = l->frame_previous,
        .frame_instruction = l->frame_instruction,
        .finalizing = (const uintptr_t *)(const void *)(python.runtime + l->runtime_finalizing),
        /* Later ones say which state is current on this thread. */
        .interpreters = l->minor < 12 ? (const uintptr_t *)(const void *)(python.runtime +
                                                                          l->runtime_interpreters)
                                      : nobody,
        .current = l->minor < 12 ? NULL : python.current};
    python_frames_known = true;
}

/* --- the state of this thread --- */

/* The first state that there was: of the thread that started the interpreter, and it lasts as long
 * as that. 0: not known, or gone. */
static _Atomic uintptr_t first_state;
static _Atomic bool first_was_asked;

/* Also finds the key under which the interpreter keeps each thread's state, where exactly one has
 * this one: nobody else can have stored it so early. */
static __attribute__((noinline)) void keep_first(uintptr_t state) {
    if (atomic_exchange(&first_was_asked, true))
        return;
    atomic_store(&first_state, state);
    unsigned n = 0, key = 0;
    for (unsigned k = 0; k < PTHREAD_KEYS_MAX; k++)
        if ((uintptr_t)pthread_getspecific(k) == state) {
            key = k;
            n++;
        }
    if (n != 1)
        return;
    python_quick.key = key;
    __atomic_store_n(&python_quick.has_key, true, __ATOMIC_RELEASE);
}

/* States go, and the key with them. */
static __attribute__((noinline)) void note_end(void) {
    __atomic_store_n(&python_quick.has_key, false, __ATOMIC_RELAXED);
    if (atomic_exchange(&first_state, 0) != 0)
        atomic_fetch_add(&python_generation, 1);
}

bool python_state_lasts(uintptr_t state) {
    return state == first_state;
}

void python_frames_after_fork_child(void) {
    if (python_frames_known && (uintptr_t)python.own() != first_state)
        note_end();
    python_quick.has_key = false; /* the interpreter makes a new one */
}

/* Up to 3.11 one thread is current at a time, perhaps another one, whose state may go any moment:
 * it matters only where a thread has several states, of several interpreters: new ones stand before
 * the main one in their list. */
static uintptr_t state_before_12(void) {
    const uintptr_t own = (uintptr_t)python.own();
    if (__builtin_expect(python_is_alone(), 1))
        return own;
    const uintptr_t current = (uintptr_t)python.current();
    if (current == own || current == 0)
        return own;
    const uintptr_t id = current + python.layout.thread_id;
    return rawmem_readable(id) && word(id) == (uintptr_t)__builtin_thread_pointer() ? current : own;
}

uintptr_t python_thread_state(void) {
    uintptr_t state;
    if (python.layout.minor < 12)
        state = state_before_12();
    else if ((state = (uintptr_t)python.current()) == 0)
        state = (uintptr_t)python.own();
    const uintptr_t finalizing = python_finalizing();
    if (__builtin_expect(finalizing != 0, 0)) {
        note_end();
        return finalizing == state ? state : 0;
    }
    if (__builtin_expect(!first_was_asked, 0) && state != 0 && state == (uintptr_t)python.own())
        keep_first(state);
    return state;
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

/* The frame that a thread is in. */
static inline uintptr_t innermost_frame(uintptr_t state) {
    return python_call_frame(python_call(state));
}

/* From the state of this thread, if it has one. */
static inline bool walk_start(struct walk *w, const struct python_place_on_stack *place,
                              uintptr_t state) {
    const struct python_layout *const l = &python.layout;
    *w = (struct walk){.place = place, .bound = place->sp};
    w->careful = place->careful || place->sp < place->low || place->sp >= place->high;
    if (state == 0)
        return false;
    if (l->thread_calls != 0) {
        w->call = word(state + l->thread_calls);
        w->root = state + l->thread_root;
    }
    if (l->chain != PYTHON_CALLS) /* there each call says its own */
        w->frame = innermost_frame(state);
    return true;
}

/* One frame further out. */
static inline bool walk_lists(struct walk *w, struct python_frame *out) {
    const struct python_layout *const l = &python.layout;
    if (w->call == w->root || !is_next_bound(w, w->call) || !is_frame(w, w->frame))
        return false;
    w->bound = w->call;
    *out =
        (struct python_frame){.frame = w->frame,
                              .instruction = *(const uint32_t *)(w->frame + l->frame_instruction),
                              .previous = word(w->frame + l->frame_previous),
                              .code = word(w->frame + l->frame_code),
                              .bound = w->bound};
    w->call = word(w->call + l->call_previous);
    w->frame = out->previous;
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
    *out = (struct python_frame){.frame = w->frame,
                                 .instruction = word(w->frame + l->frame_instruction),
                                 .previous = word(w->frame + l->frame_previous),
                                 .bound = w->bound};
    if (*(const uint8_t *)(w->frame + l->frame_mark)) {
        w->call = word(w->call + l->call_previous);
        w->is_in_call = false;
    }
    w->frame = out->previous;
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
        *out = (struct python_frame){.bound = w->bound};
    } else {
        *out = (struct python_frame){.frame = w->frame,
                                     .instruction = word(w->frame + l->frame_instruction)};
    }
    out->previous = word(w->frame + l->frame_previous);
    w->frame = out->previous;
    return true;
}

/* What walk_lists() and the others read of a frame. */
static inline uintptr_t instruction_of(uintptr_t frame) {
    const uintptr_t at = frame + python.layout.frame_instruction;
    return python.layout.chain == PYTHON_LISTS ? *(const uint32_t *)at : word(at);
}
static inline uintptr_t code_of(uintptr_t frame) {
    return python.layout.chain == PYTHON_LISTS ? word(frame + python.layout.frame_code) : 0;
}

static inline bool walk_step(struct walk *w, struct python_frame *out) {
    switch (python.layout.chain) {
    case PYTHON_LISTS: return walk_lists(w, out);
    case PYTHON_CALLS: return walk_calls(w, out);
    default: return walk_entries(w, out);
    }
}

static inline bool is_same(const struct python_frame *a, const struct python_frame *b) {
    return a->frame == b->frame && a->instruction == b->instruction && a->code == b->code &&
           a->bound == b->bound;
}

/* In a signal handler the interpreter may be just about to link a frame: what stands there may lead
 * in a circle. It is noticed as Brent does it (An improved Monte Carlo factorization algorithm,
 * 1980): each frame is compared with one that is moved on at distances that double. */
static bool walk_whole(struct python_copy *copy, const struct python_place_on_stack *place,
                       unsigned *out_n) {
    struct walk w;
    struct python_frame now;
    unsigned n = 0, n_bound = 0;
    uint64_t n_steps = 0;
    uintptr_t seen = 0;
    bool cut = false;
    if (walk_start(&w, place, python_thread_state()))
        while (walk_step(&w, &now)) {
            if (now.frame != 0 && now.frame == seen)
                break;
            n_steps++;
            if (now.frame != 0 && (n_steps & (n_steps - 1)) == 0)
                seen = now.frame;
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

/* --- whether the copy still holds --- */

struct changes { /* frames that stand at another instruction, from the inside out */
    unsigned n;
    uint16_t at[CHANGES];
};

static inline bool note_change(struct changes *c, unsigned i) {
    if (c == NULL || c->n == CHANGES)
        return false;
    c->at[c->n++] = (uint16_t)i;
    return true;
}

/* Whether all links from frame i outwards are as the copy has them, so that a walk would take the
 * same way; frame i is known to be one of this thread now. Each word is read only after the one
 * that leads to it was found to hold. Marks of frames (who was entered from C) follow from where
 * the calls' frames are. `changes`: NULL if none may stand at another instruction. */
static inline __attribute__((always_inline)) bool frames_hold(const struct python_copy *copy,
                                                              unsigned i, struct changes *changes) {
    const struct python_layout *const l = &python.layout;
    const uintptr_t at_previous = l->frame_previous, at_instruction = l->frame_instruction;
    const struct python_frame *f = &copy->frames[i];
    switch (l->chain) {
    case PYTHON_LISTS:
        for (;; i--, f--) {
            if (word(f->frame + at_previous) != f->previous ||
                word(f->bound + l->call_previous) != (i > 0 ? f[-1].bound : copy->last))
                return false;
            if ((*(const uint32_t *)(f->frame + at_instruction) != f->instruction ||
                 word(f->frame + l->frame_code) != f->code) &&
                !note_change(changes, i))
                return false;
            if (i == 0)
                return true;
        }
    case PYTHON_CALLS:
        for (;; i--, f--) {
            if (word(f->frame + at_previous) != f->previous)
                return false;
            if (word(f->frame + at_instruction) != f->instruction && !note_change(changes, i))
                return false;
            if (i == 0)
                return word(f->bound + l->call_previous) == copy->last;
            if (f->bound != f[-1].bound && (word(f->bound + l->call_previous) != f[-1].bound ||
                                            word(f[-1].bound + l->call_frame) != f[-1].frame))
                return false;
        }
    default:
        for (;; i--, f--) {
            if (word(f->frame + at_previous) != f->previous)
                return false;
            if (word(f->frame + at_instruction) != f->instruction && !note_change(changes, i))
                return false;
            if (f->previous == f->bound &&
                word(f->bound + at_previous) != (i > 0 ? f[-1].frame : copy->last))
                return false;
            if (i == 0)
                return true;
        }
    }
}

/* The same, once for all that ask it seldom. */
static bool frames_hold_but(const struct python_copy *copy, unsigned i, struct changes *changes) {
    return frames_hold(copy, i, changes);
}

/* Whether a copy just made is what frames_hold() takes it for. */
static bool is_linked(struct python_copy *copy) {
    const struct python_layout *const l = &python.layout;
    if (copy->n == 0)
        return false;
    const struct python_frame *const first = &copy->frames[0];
    copy->last =
        word(first->bound + (l->chain == PYTHON_ENTRIES ? l->frame_previous : l->call_previous));
    for (unsigned i = 0; i < copy->n; i++) {
        const struct python_frame *const f = &copy->frames[i];
        const bool ends_call = i == 0 || f->bound != f[-1].bound;
        if (l->chain == PYTHON_ENTRIES ? ends_call != (f->previous == f->bound)
                                       : i > 0 && f->previous != f[-1].frame)
            return false;
    }
    struct changes changes = {0};
    return frames_hold_but(copy, copy->n - 1, &changes) && changes.n == 0;
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
               is_same(&copy->fresh[n - 1 - same], &copy->frames[same]))
            same++;
    uintptr_t changed = 0;
    if (copy->cut || cut)
        changed = UINTPTR_MAX; /* the outermost frame that is kept is another one */
    else if (n != before || same != n) {
        changed = same < before ? copy->frames[same].bound : 0;
        if (same < n && copy->fresh[n - 1 - same].bound > changed)
            changed = copy->fresh[n - 1 - same].bound;
    }
    for (unsigned i = 0; i < n; i++) {
        struct python_frame *const f = &copy->frames[i];
        const uint64_t position = f->position;
        *f = copy->fresh[n - 1 - i];
        f->position = i < same ? position : position_of(f, place, dropped);
    }
    copy->n = n;
    copy->cut = cut;
    copy->generation = generation;
    copy->is_linked = !cut && !place->careful && is_linked(copy);
    return changed;
}

/* Makes the copy what its frames are now that only stand elsewhere. As python_frames_sync(). */
static inline uintptr_t apply_changes(struct python_copy *copy, const struct changes *changes,
                                      const struct python_place_on_stack *place,
                                      uint64_t *dropped) {
    uintptr_t changed = 0;
    for (unsigned i = 0; i < changes->n; i++) {
        struct python_frame *const f = &copy->frames[changes->at[i]];
        const uint64_t before = f->position;
        f->instruction = instruction_of(f->frame);
        f->code = code_of(f->frame);
        f->position = position_of(f, place, dropped);
        if (f->position != before) /* else: another instruction of the same line */
            changed = f->bound;
    }
    return changed;
}

/* Whether the first step of a walk gives the innermost frame of the copy: what walk_start() and
 * walk_step() would tell, by fewer words, of a walk that needs no care. */
static inline bool is_innermost(const struct python_copy *copy, uintptr_t state, uintptr_t sp,
                                uintptr_t high) {
    const struct python_layout *const l = &python.layout;
    const struct python_frame *const f = &copy->frames[copy->n - 1];
    if (l->chain != PYTHON_ENTRIES &&
        (f->bound <= sp || f->bound >= high || word(state + l->thread_calls) != f->bound))
        return false;
    return innermost_frame(state) == f->frame;
}

/* One walk that steps until it meets a frame of the copy, then checks that all links further out
 * hold. False: it did not meet it soon, or they do not; the copy is untouched. */
static inline bool sync_inner(struct python_copy *copy, const struct python_place_on_stack *place,
                              uint64_t *dropped, uintptr_t *out_changed) {
    struct walk w;
    struct python_frame now;
    struct changes changes;
    unsigned n_fresh = 0, n_bound = 0, at;
    bool is_call_ended = false;
    const uintptr_t state = python_thread_state();
    if (state == 0)
        return false;
    if (place->careful || place->sp < place->low || place->sp >= place->high)
        return false;
    changes.n = 0;
    if (is_innermost(copy, state, place->sp, place->high)) {
        if (!frames_hold_but(copy, copy->n - 1, &changes))
            return false;
        *out_changed = changes.n == 0 ? 0 : apply_changes(copy, &changes, place, dropped);
        return true;
    }
    walk_start(&w, place, state);
    for (unsigned kept = copy->n;;) { /* frames of the copy not yet left behind */
        if (!walk_step(&w, &now))
            return false;
        if (now.frame == 0) {
            if (is_call_ended)
                return false;
            is_call_ended = true;
            while (n_bound < n_fresh)
                copy->fresh[n_bound++].bound = now.bound;
            while (kept > 0 && copy->frames[kept - 1].bound <= now.bound)
                kept--;
            continue;
        }
        is_call_ended = false;
        while (now.bound != 0 && kept > 0 && copy->frames[kept - 1].bound < now.bound)
            kept--;
        for (at = kept; at > 0 && at + NEAR > kept && copy->frames[at - 1].frame != now.frame;)
            at--;
        if (at > 0 && copy->frames[at - 1].frame == now.frame)
            break;
        if (n_fresh == FRESH)
            return false;
        copy->fresh[n_fresh++] = now;
    }
    const unsigned met = at - 1;
    if ((now.bound != 0 && now.bound != copy->frames[met].bound) || at + n_fresh > place->limit ||
        !frames_hold_but(copy, met, &changes))
        return false;
    for (; n_bound < n_fresh; n_bound++) /* those of the call under way */
        if (copy->fresh[n_bound].bound == 0)
            copy->fresh[n_bound].bound = copy->frames[met].bound;
    uintptr_t changed = apply_changes(copy, &changes, place, dropped);
    if (at < copy->n && copy->frames[at].bound > changed)
        changed = copy->frames[at].bound;
    if (n_fresh > 0 && copy->fresh[n_fresh - 1].bound > changed)
        changed = copy->fresh[n_fresh - 1].bound;
    while (n_fresh > 0) {
        struct python_frame *const f = &copy->frames[at++];
        *f = copy->fresh[--n_fresh];
        f->position = position_of(f, place, dropped);
    }
    copy->n = at;
    *out_changed = changed;
    return true;
}

static inline bool is_known(const struct python_copy *copy) {
    return copy->is_linked &&
           copy->generation == atomic_load_explicit(&python_generation, memory_order_relaxed);
}

bool python_frames_stand(const struct python_copy *copy, uintptr_t sp, uintptr_t low,
                         uintptr_t high) {
    if (__builtin_expect(!is_known(copy) || sp < low || sp >= high, 0))
        return false;
    const uintptr_t state = python_thread_state();
    return state != 0 && is_innermost(copy, state, sp, high) &&
           frames_hold(copy, copy->n - 1, NULL);
}

uintptr_t python_frames_sync(struct python_copy *copy, const struct python_place_on_stack *place,
                             uint64_t *dropped) {
    uintptr_t changed;
    if (is_known(copy) && sync_inner(copy, place, dropped, &changed))
        return changed;
    return sync_slowly(copy, place, dropped);
}

/* --- what a trail hangs on --- */

int python_links(const struct python_copy *copy, struct python_link *links,
                 struct stack_word *words, unsigned limit, unsigned *n_words) {
    const struct python_layout *const l = &python.layout;
    const uintptr_t state = python_thread_state(), call = state != 0 ? python_call(state) : 0;
    unsigned n = 0, n_out = 0;
    *n_words = 0;
    if (l->chain == PYTHON_LISTS)
        return -1;
    if (copy->n == 0)
        return python_call_frame(call) == 0 ? 0 : -1;
    if (!is_known(copy) || state == 0 || 2 * copy->n > limit)
        return -1;
    const bool has_calls = l->chain == PYTHON_CALLS;
    if ((has_calls ? copy->frames[0].previous : copy->last) != 0 ||
        python_call_frame(call) != copy->frames[copy->n - 1].frame)
        return -1;
    for (unsigned i = 0; i < copy->n; i++) {
        const struct python_frame *const f = &copy->frames[i];
        if (!has_calls || (i > 0 && f->bound == f[-1].bound))
            continue;
        /* Of the list of calls: the innermost one is where the thread is. */
        unsigned last = i;
        while (last + 1 < copy->n && copy->frames[last + 1].bound == f->bound)
            last++;
        struct stack_word pair[2] = {
            {f->bound + l->call_frame, copy->frames[last].frame},
            {f->bound + l->call_previous, i > 0 ? f[-1].bound : copy->last}};
        const unsigned outer = pair[0].at < pair[1].at;
        words[n_out++] = pair[outer];
        words[n_out++] = pair[!outer];
    }
    for (unsigned i = copy->n; i-- > 0;) {
        const struct python_frame *const f = &copy->frames[i];
        links[n++] = (struct python_link){f->frame, f->instruction};
        if (!has_calls && f->previous == f->bound) /* the frame that stands on the C stack */
            links[n++] = (struct python_link){f->bound, word(f->bound + l->frame_instruction)};
    }
    *n_words = n_out;
    return (int)n;
}
