/* Stacks that came up before, and the capture of a stack, which asks for them first. See trails.h.
 *
 * Invariants: a place is a line of `room` and stays valid until all trails are dropped at once;
 * trails and pieces never change but for trail.next. Whatever does not fit into a trail's numbers
 * becomes none. What find() goes through is short on purpose: measure before it grows. */
#include "capture/trails.h"

#include <string.h>

#if defined(__SSE2__)
#include <emmintrin.h>
#endif

#include "capture/python_code.h"
#include "capture/stacks.h"
#include "capture/unwind.h"

enum {
    TRAIL_LINES = 2,
    FREE_MISSES = 16, /* without credit, one of so many stacks is kept */
    ANEW = 64,        /* what it costs to begin anew, in trails kept */
    WORDS_MAX = 256,
    LINKS_MAX = 128,
    RARE_MAX = 16
};

_Static_assert(sizeof(struct trail) <= TRAIL_LINES * TRAILS_LINE, "fits");
_Static_assert(sizeof(struct trail_words) == TRAILS_LINE, "a line");
_Static_assert(sizeof(struct trail_links) <= TRAILS_LINE, "a line");

static inline struct trail *trail_at(struct trails *trails, uint32_t place) {
    return (struct trail *)(void *)trails->room[place];
}
static inline const struct trail_words *words_at(const struct trails *trails, uint32_t place) {
    return (const struct trail_words *)(const void *)trails->room[place];
}
static inline const struct trail_links *links_at(const struct trails *trails, uint32_t place) {
    return (const struct trail_links *)(const void *)trails->room[place];
}

static inline uint32_t key_of(const struct stack_start *start, unsigned *set) {
    const uint64_t h = (start->pc ^ start->slot << 16) * UINT64_C(0x9E3779B97F4A7C15);
    _Static_assert(TRAILS_SETS == 1 << 8, "the bits above those of the key");
    *set = (unsigned)(h >> 56);
    return (uint32_t)(h >> 24) | 1;
}

/* --- whether a trail is the stack --- */

#if defined(__SSE2__)
static inline __m128i two_differ(const uint64_t *base, const uint16_t *at, const uint64_t *values) {
    const double *const a = (const double *)(const void *)(base + at[0]);
    const double *const b = (const double *)(const void *)(base + at[1]);
    return _mm_xor_si128(_mm_castpd_si128(_mm_loadh_pd(_mm_load_sd(a), b)),
                         _mm_loadu_si128((const __m128i *)(const void *)values));
}
static inline bool all_zero(__m128i a) {
    return _mm_movemask_epi8(_mm_cmpeq_epi8(a, _mm_setzero_si128())) == 0xffff;
}
static inline __m128i piece_differs(const uint64_t *base, const struct trail_words *w) {
    __m128i differ = _mm_setzero_si128();
    for (unsigned i = 0; i < TRAILS_WORDS; i += 2)
        differ = _mm_or_si128(differ, two_differ(base, w->at + i, w->values + i));
    return differ;
}
/* Where trails differ, the innermost words mostly do. */
static inline bool words_hold(const struct trails *trails, const struct trail_words *w) {
    const uint64_t *const base = (const uint64_t *)trails->base;
    __m128i differ = piece_differs(base, w);
    if (!all_zero(differ))
        return false;
    while (w->outer != 0) {
        w = words_at(trails, w->outer);
        differ = _mm_or_si128(differ, piece_differs(base, w));
    }
    return all_zero(differ);
}
#else
static inline bool words_hold(const struct trails *trails, const struct trail_words *w) {
    const uint64_t *const base = (const uint64_t *)trails->base;
    uint64_t differ = 0;
    for (;;) {
        for (unsigned i = 0; i < TRAILS_WORDS; i++)
            differ |= base[w->at[i]] ^ w->values[i];
        if (w->outer == 0)
            return differ == 0;
        w = words_at(trails, w->outer);
    }
}
#endif

/* Each frame is read only after the link to it was found to hold. */
static __attribute__((noinline, hot)) bool links_hold(const struct trails *trails,
                                                      const struct trail *t) {
    const uintptr_t state = trails->state;
    if (trails->state_lasts ? !python_is_plain() : state != python_thread_state_quick())
        return false;
    if (state == 0)
        return true;
    const uintptr_t call = python_call(state);
    if (call != t->call ||
        trails->python_generation != atomic_load_explicit(&python_generation, memory_order_relaxed))
        return false;
    uintptr_t frame = python_call_frame(call);
    for (uint32_t place = t->links; place != 0;) {
        const struct trail_links *const piece = links_at(trails, place);
        for (unsigned i = 0; i < piece->n; i++) {
            /* By the address that is known, so that no load waits for the one before. */
            uintptr_t known = piece->links[i].frame;
            __asm__("" : "+r"(known));
            if (frame != known || !python_stands_at(known, piece->links[i].instruction))
                return false;
            frame = python_previous(known);
        }
        place = piece->outer;
    }
    return frame == 0;
}

/* Another trail with that start, from *way on; 0: none. */
static __attribute__((noinline)) uint32_t
candidate(const struct trails *trails, const struct stack_start *start, unsigned *way) {
    unsigned set;
    const uint32_t key = key_of(start, &set);
    while (*way < TRAILS_WAYS) {
        const unsigned i = (*way)++;
        if (trails->keys[set][i] == key)
            return trails->places[set][i];
    }
    return 0;
}

/* The stack's id, 0: it is not known. */
static inline uint32_t find(struct trails *trails, const struct stack_start *start) {
    if (trails->generation != atomic_load_explicit(&unwind_generation, memory_order_relaxed))
        return 0;
    struct trail *const last = trail_at(trails, trails->last);
    uint32_t place = last->next;
    for (unsigned way = 0;;) {
        struct trail *const t = trail_at(trails, place);
        if (t->slot == start->slot && t->pc == start->pc && (!t->needs_bp || t->bp == start->bp) &&
            (!python_frames_known || links_hold(trails, t)) && words_hold(trails, &t->words)) {
            const char *const next = trails->room[t->next];
            for (unsigned i = 0; i < TRAIL_LINES; i++)
                __builtin_prefetch(next + (size_t)i * TRAILS_LINE);
            last->next = trails->last = place;
            trails->n_found++;
            return t->id;
        }
        place = candidate(trails, start, &way);
        if (place == 0)
            return 0;
    }
}

/* --- keeping --- */

static void drop_all(struct trails *trails) {
    memset(trails->keys, 0, sizeof trails->keys);
    memset(trails->known, 0, sizeof trails->known);
    memset(trails->room, 0, (size_t)TRAIL_LINES * TRAILS_LINE);
    trails->last = 0;
    trails->n_used = TRAIL_LINES;
}

void trails_forget(struct trails *trails) {
    if (trails->n_used != 0)
        drop_all(trails);
    trails->n_found = trails->n_kept = 0;
}

/* The place of a piece of that content; 0: no room. */
static uint32_t piece_place(struct trails *trails, const void *content) {
    const uint64_t *const words = content;
    uint64_t h = 0;
    for (size_t i = 0; i < TRAILS_LINE / 8; i++) {
        h = (h ^ words[i]) * UINT64_C(0x9E3779B97F4A7C15);
        h ^= h >> 29;
    }
    uint32_t *const known = &trails->known[h >> 32 & (TRAILS_KNOWN - 1)];
    if (*known != 0 && memcmp(trails->room[*known], content, TRAILS_LINE) == 0)
        return *known;
    if (trails->n_used == TRAILS_ROOM)
        return 0;
    memcpy(trails->room[trails->n_used], content, TRAILS_LINE);
    return *known = trails->n_used++;
}

enum kept { KEPT, KEPT_NOT, KEPT_NO_ROOM };

/* All words of the C stack that the copy hangs on, outermost first; their number, or -1. */
static int words_of(const struct stack_copy *copy, const struct stack_word *python,
                    unsigned n_python, struct stack_word *out) {
    struct stack_word rare[RARE_MAX];
    const int n_rare = stacks_rare_words(copy, rare, RARE_MAX);
    const unsigned n_frames = copy->n - 1, n_saves = copy->frames[n_frames].n_saves;
    if (n_rare < 0 || n_frames + n_saves + n_python + (unsigned)n_rare > WORDS_MAX)
        return -1;
    const struct {
        const struct stack_word *words;
        unsigned n;
    } lists[] = {{copy->saves, n_saves}, {python, n_python}, {rare, (unsigned)n_rare}};
    unsigned n = 0, done[3] = {0};
    for (unsigned i = 0;; n++) {
        int list = -1;
        if (i < n_frames)
            out[n] = (struct stack_word){copy->frames[i].slot, copy->frames[i].pc};
        else
            out[n].at = 0;
        for (int k = 0; k < 3; k++)
            if (done[k] < lists[k].n && lists[k].words[done[k]].at > out[n].at)
                out[n] = lists[list = k].words[done[k]];
        if (list >= 0)
            done[list]++;
        else if (i++ == n_frames)
            return (int)n;
        if (out[n].at - copy->trails.base >= TRAILS_REACH || out[n].at & 7)
            return -1;
    }
}

static struct trail_words words_pack(const struct trails *trails, const struct stack_word *from,
                                     uint32_t outer) {
    struct trail_words w = {.outer = outer};
    for (unsigned i = 0; i < TRAILS_WORDS; i++) {
        w.values[i] = from[i].value;
        w.at[i] = (uint16_t)((from[i].at - trails->base) / 8);
    }
    return w;
}

static enum kept keep(struct stack_copy *copy, const struct stack_start *start, uint32_t id) {
    struct trails *const trails = &copy->trails;
    struct stack_word python[LINKS_MAX], words[WORDS_MAX + TRAILS_WORDS];
    struct python_link links[LINKS_MAX];
    struct trail t = {.slot = start->slot,
                      .pc = start->pc,
                      .bp = start->bp,
                      .id = id,
                      .needs_bp = copy->frames[copy->n - 1].how.needs_bp};
    unsigned n_python = 0;
    if (start->slot - trails->base >= TRAILS_REACH || start->slot & 7)
        return KEPT_NOT;
    if (python_frames_known) {
        const int n = python_links(&copy->python, links, python, LINKS_MAX, &n_python);
        if (n < 0)
            return KEPT_NOT;
        t.call = trails->state != 0 ? python_call(trails->state) : 0;
        for (int end = n; end > 0; end -= TRAILS_LINKS) {
            struct trail_links piece = {.outer = t.links};
            const int first = end > TRAILS_LINKS ? end - TRAILS_LINKS : 0;
            for (int i = first; i < end; i++)
                piece.links[piece.n++] = links[i];
            char line[TRAILS_LINE] = {0};
            memcpy(line, &piece, sizeof piece);
            if ((t.links = piece_place(trails, line)) == 0)
                return KEPT_NO_ROOM;
        }
    }
    const int n = words_of(copy, python, n_python, words);
    if (n < 0)
        return KEPT_NOT;
    uint32_t outer = 0;
    int done = 0;
    for (; n - done >= TRAILS_WORDS; done += TRAILS_WORDS) {
        const struct trail_words piece = words_pack(trails, &words[done], outer);
        if ((outer = piece_place(trails, &piece)) == 0)
            return KEPT_NO_ROOM;
    }
    /* The trail's own ones are filled up with one that is there anyway. */
    for (int i = n; i < done + TRAILS_WORDS; i++)
        words[i] = (struct stack_word){start->slot, start->pc};
    t.words = words_pack(trails, &words[done], outer);
    if (TRAILS_ROOM - trails->n_used < TRAIL_LINES)
        return KEPT_NO_ROOM;
    const uint32_t place = trails->n_used;
    trails->n_used += TRAIL_LINES;
    *trail_at(trails, place) = t;
    unsigned set, way = (unsigned)(trails->n_kept % TRAILS_WAYS);
    const uint32_t key = key_of(start, &set);
    for (unsigned i = 0; i < TRAILS_WAYS; i++)
        if (trails->keys[set][i] == 0) {
            way = i;
            break;
        }
    trails->keys[set][way] = key;
    trails->places[set][way] = place;
    trail_at(trails, trails->last)->next = place;
    trails->last = place;
    return KEPT;
}

/* What was just captured, for the next time. Where little is found again, little is kept. */
static void keep_paid(struct stack_copy *copy, const struct stack_start *start, uint32_t id) {
    struct trails *const trails = &copy->trails;
    if (id == 0 || !copy->is_last || copy->cut || copy->broken ||
        !copy->frames[copy->n - 1].how.own)
        return;
    /* Not at first sight. Of two that meet in one place one of them gets it in the end. */
    uint32_t *const seen = &trails->seen[id % TRAILS_SEEN];
    trails->n_missed++;
    if (*seen != id) {
        if (*seen == 0 || trails->n_missed % 2 == 0)
            *seen = id;
        return;
    }
    if (trails->n_found > trails->n_kept)
        trails->n_found = trails->n_kept;
    if (trails->n_kept - trails->n_found >= TRAILS_CREDIT && trails->n_missed % FREE_MISSES != 0)
        return;
    const uint32_t generation = atomic_load_explicit(&unwind_generation, memory_order_relaxed);
    const uint64_t python = atomic_load_explicit(&python_generation, memory_order_relaxed);
    const uintptr_t state = python_frames_known ? python_thread_state() : 0;
    if (trails->n_used == 0 || trails->generation != generation || trails->state != state ||
        trails->python_generation != python || trails->base + TRAILS_REACH != copy->stack_high) {
        trails->n_kept += trails->n_used > TRAIL_LINES ? ANEW : 0;
        drop_all(trails);
        trails->generation = generation;
        trails->python_generation = python;
        trails->state = state;
        trails->state_lasts = state != 0 && python_state_lasts(state);
        trails->base = copy->stack_high - TRAILS_REACH;
    }
    trails->n_kept++;
    if (keep(copy, start, id) == KEPT_NO_ROOM)
        drop_all(trails);
}

/* --- the capture of a stack --- */

static __attribute__((noinline)) uint32_t
walk_and_keep(struct stack_copy *copy, const struct stack_start *start, bool *truncated) {
    const uint32_t id = stacks_walk(copy, start, truncated);
    if (!*truncated)
        keep_paid(copy, start, id);
    return id;
}

__attribute__((hot)) uint32_t stacks_capture(struct stack_copy *copy,
                                             const struct stack_start *start, bool *truncated) {
    const uint32_t id = find(&copy->trails, start);
    *truncated = false;
    return __builtin_expect(id != 0, 1) ? id : walk_and_keep(copy, start, truncated);
}
