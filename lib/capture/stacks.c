/* Stacks of allocations. See stacks.h for the idea.
 *
 * Invariants: the frames of a copy ascend strictly in `slot`; frames[i - 1] is what one step from
 * frames[i] gives. A frame's id is that of the innermost `depth` frames from it outwards. Nodes of
 * the tree never change once their id is known; parents have lower ids. It does not follow a stack
 * beyond a switch to another stack, nor code without unwind tables: such stacks are marked cut. */
#include "capture/stacks.h"

#include <stdatomic.h>
#include <string.h>

#if defined(__SSE2__)
#include <emmintrin.h>
#endif

#include "capture/rawmem.h"
#include "capture/unwind.h"
#include <heapsnap/snapdef.h>

enum {
    NODES_SHIFT = 14, /* nodes per chunk, log 2 */
    N_CHUNKS = (1 << 28) >> NODES_SHIFT,
    TABLE_FIRST = 1 << 14,
    FAR_JUMP = 64 << 10,
    OWN_STACK_TOP = 64 << 10, /* has room for a thread's static variables */
    /* offsets in the ucontext that a signal frame's caller finds at its stack pointer */
    UCONTEXT_RBP = 120,
    UCONTEXT_RSP = 160,
    UCONTEXT_RIP = 168
};

/* Bits of a node's pc: user addresses end below them. */
#define PC_TRUNCATED (UINT64_C(1) << 63)
#define PC_EXACT (UINT64_C(1) << 62)
#define PC_PYTHON (UINT64_C(1) << 61) /* the rest is a python_position */
#define PC_MASK ((UINT64_C(1) << 61) - 1)

struct node {
    uint64_t pc;
    uint32_t parent, unused;
};

/* Open addressing; an entry is tag << 32 | id, 0 empty. Read without a lock: a table is replaced by
 * a greater one, never changed in place but for filling empty entries. */
struct table {
    uint64_t mask;
    _Atomic uint64_t entries[];
};

static unsigned depth_limit = STACKS_DEPTH_DEFAULT;
static uint32_t node_limit = (1u << 28) - 1;
static struct node *_Atomic chunks[N_CHUNKS];
static struct table *_Atomic table;
static _Atomic uint32_t n_nodes;
static struct rawmem_lock tree_lock;

void stacks_depth_set(unsigned depth) {
    depth_limit = depth < 1 ? 1 : depth > STACKS_DEPTH_MAX ? STACKS_DEPTH_MAX : depth;
}
void stacks_limit(uint32_t limit) {
    node_limit = limit < (1u << 28) - 1 ? limit : (1u << 28) - 1;
}

uint32_t stacks_n_nodes(void) {
    return atomic_load_explicit(&n_nodes, memory_order_acquire);
}

static inline struct node *node_at(uint32_t id) {
    return &atomic_load_explicit(&chunks[id >> NODES_SHIFT],
                                 memory_order_acquire)[id & ((1u << NODES_SHIFT) - 1)];
}

struct stack_node stacks_node(uint32_t id) {
    if (id == 0 || id > stacks_n_nodes())
        return (struct stack_node){0};
    const struct node *const node = node_at(id);
    return (struct stack_node){
        node->pc & PC_MASK, node->parent, node->pc & PC_TRUNCATED ? SNAP_STAK_FLAG_TRUNCATED : 0,
        node->pc & PC_EXACT ? SNAP_FRAM_FLAG_EXACT : 0, (node->pc & PC_PYTHON) != 0};
}

static inline uint64_t hash(uint32_t parent, uint64_t pc) {
    uint64_t h = (pc ^ (uint64_t)parent << 32 ^ parent) * UINT64_C(0x9E3779B97F4A7C15);
    h ^= h >> 29;
    h *= UINT64_C(0xBF58476D1CE4E5B9);
    return h ^ h >> 32;
}

static inline uint32_t table_find(const struct table *t, uint64_t h, uint32_t parent, uint64_t pc) {
    if (t == NULL)
        return 0;
    for (uint64_t i = h & t->mask;; i = (i + 1) & t->mask) {
        const uint64_t entry = atomic_load_explicit(&t->entries[i], memory_order_acquire);
        if (entry == 0)
            return 0;
        if (entry >> 32 == h >> 32) {
            const struct node *const node = node_at((uint32_t)entry);
            if (node->pc == pc && node->parent == parent)
                return (uint32_t)entry;
        }
    }
}

static void table_add(struct table *t, uint64_t h, uint32_t id) {
    uint64_t i = h & t->mask;
    while (atomic_load_explicit(&t->entries[i], memory_order_relaxed) != 0)
        i = (i + 1) & t->mask;
    atomic_store_explicit(&t->entries[i], h >> 32 << 32 | id, memory_order_release);
}

/* A table with room for one more, under the lock. Old ones stay mapped: readers may be in them; all
 * of them together are smaller than the present one. */
static struct table *table_with_room(void) {
    struct table *const t = atomic_load_explicit(&table, memory_order_relaxed);
    const uint32_t n = atomic_load_explicit(&n_nodes, memory_order_relaxed);
    if (t != NULL && (uint64_t)n * 2 < t->mask)
        return t;
    const uint64_t size = t == NULL ? TABLE_FIRST : (t->mask + 1) * 2;
    struct table *const grown = rawmem_map(sizeof *grown + size * 8);
    if (grown == NULL)
        return t != NULL && (uint64_t)n * 8 < t->mask * 7 ? t : NULL;
    grown->mask = size - 1;
    for (uint32_t id = 1; id <= n; id++) {
        const struct node *const node = node_at(id);
        table_add(grown, hash(node->parent, node->pc), id);
    }
    atomic_store_explicit(&table, grown, memory_order_release);
    return grown;
}

static __attribute__((noinline)) uint32_t node_new(struct stack_copy *copy, uint64_t h,
                                                   uint32_t parent, uint64_t pc) {
    if (!rawmem_lock(&tree_lock, copy->try)) {
        copy->n_dropped++;
        return 0;
    }
    uint32_t id = table_find(atomic_load_explicit(&table, memory_order_relaxed), h, parent, pc);
    if (id == 0) {
        const uint32_t n = atomic_load_explicit(&n_nodes, memory_order_relaxed);
        struct table *const t = n < node_limit ? table_with_room() : NULL;
        struct node *chunk = NULL;
        if (t != NULL) {
            chunk = atomic_load_explicit(&chunks[(n + 1) >> NODES_SHIFT], memory_order_relaxed);
            if (chunk == NULL) {
                chunk = rawmem_map(sizeof *chunk << NODES_SHIFT);
                atomic_store_explicit(&chunks[(n + 1) >> NODES_SHIFT], chunk, memory_order_release);
            }
        }
        if (chunk == NULL) {
            copy->n_dropped++;
        } else {
            id = n + 1;
            *node_at(id) = (struct node){pc, parent, 0};
            atomic_store_explicit(&n_nodes, id, memory_order_release);
            table_add(t, h, id);
        }
    }
    rawmem_unlock(&tree_lock);
    return id;
}

static __attribute__((noinline)) uint32_t intern_slowly(struct stack_copy *copy, uint32_t parent,
                                                        uint64_t pc) {
    const uint64_t h = hash(parent, pc);
    const uint32_t id =
        table_find(atomic_load_explicit(&table, memory_order_acquire), h, parent, pc);
    return id != 0 ? id : node_new(copy, h, parent, pc);
}

/* `hint` says where a step is remembered. It is the parent's id, but for a chain of steps: there it
 * tells the steps apart without the parents, so that none waits for the one before. */
static inline uint32_t intern_hinted(struct stack_copy *copy, uint32_t parent, uint64_t pc,
                                     uint64_t hint) {
    struct stack_recent *const recent =
        copy->recent[((pc ^ hint << 24) * UINT64_C(0x9E3779B97F4A7C15) >> 40) % STACKS_RECENT];
    for (unsigned i = 0; i < STACKS_RECENT_WAYS; i++)
        if (__builtin_expect(recent[i].pc == pc && recent[i].parent == parent, 1))
            return recent[i].id;
    const uint32_t id = intern_slowly(copy, parent, pc);
    if (id != 0) {
        memmove(recent + 1, recent, (STACKS_RECENT_WAYS - 1) * sizeof *recent);
        recent[0] = (struct stack_recent){pc, parent, id};
    }
    return id;
}

static inline uint32_t intern(struct stack_copy *copy, uint32_t parent, uint64_t pc) {
    return intern_hinted(copy, parent, pc, parent);
}

/* Of a step in a chain that begins under a node: of the frame that a slot is of. */
static inline uint64_t chain_hint(uint32_t first, uintptr_t slot) {
    return first ^ (uint64_t)slot << 9;
}

/* Whether 8 bytes at `at`, reached from a frame at `from` through a register that a frame may have
 * left wrong, can be read. */
static inline bool plausible(const struct stack_copy *copy, uintptr_t from, uintptr_t at) {
    if (at <= from || at & 7)
        return false;
    if (__builtin_expect(from >= copy->stack_low && from < copy->stack_high, 1)) {
        if (at >= copy->stack_high)
            return false;
        if (at - from < FAR_JUMP)
            return true;
    } else if ((at ^ from) >> 12 == 0) {
        return true;
    }
    return rawmem_readable(at);
}

enum step { STEP_OK, STEP_END, STEP_CUT, STEP_SIGNAL };

/* From a frame to its caller. Fills caller->slot, pc, bp, and of the frame what says how its caller
 * was found: bp_at (0: rbp was kept), rare. */
static inline enum step step(const struct stack_copy *copy, struct stack_frame *frame,
                             struct stack_frame *caller, uint32_t rule) {
    const uintptr_t sp = frame->slot + 8;
    uintptr_t cfa;
    frame->bp_at = 0;
    frame->rare = false;
    frame->by_bp = false;
    caller->bp = frame->bp;
    if (__builtin_expect(UNWIND_KIND(rule) == UNWIND_SP, 1)) {
        cfa = sp + UNWIND_CFA(rule);
        if (__builtin_expect(copy->stack_high - sp < copy->stack_high - copy->stack_low &&
                                 cfa > copy->stack_high,
                             0))
            return STEP_CUT;
    } else if (UNWIND_KIND(rule) == UNWIND_BP) {
        cfa = frame->bp + UNWIND_CFA(rule);
        frame->by_bp = true;
        if (__builtin_expect(!plausible(copy, frame->slot, cfa - 8), 0))
            return STEP_CUT;
    } else if (UNWIND_KIND(rule) == UNWIND_RARE) {
        const struct unwind_rare *const rare = unwind_rare_get(rule);
        frame->rare = frame->by_bp = true;
        cfa =
            (rare->cfa_base == UNWIND_BP ? frame->bp : sp) + (uintptr_t)(intptr_t)rare->cfa_offset;
        if (rare->cfa_load) {
            if (!plausible(copy, frame->slot, cfa))
                return STEP_CUT;
            cfa = *(const uintptr_t *)cfa + (uintptr_t)(intptr_t)rare->cfa_add;
        }
        if (!plausible(copy, frame->slot, cfa - 8))
            return STEP_CUT;
        if (rare->bp_saved) {
            const uintptr_t base = rare->bp_base == 2           ? cfa
                                   : rare->bp_base == UNWIND_BP ? frame->bp
                                                                : sp;
            frame->bp_at = base + (uintptr_t)(intptr_t)rare->bp_offset;
            if (!plausible(copy, frame->slot, frame->bp_at))
                return STEP_CUT;
            caller->bp = *(const uintptr_t *)frame->bp_at;
        }
        goto found;
    } else if (rule == UNWIND_GUESS) {
        cfa = frame->bp + 16;
        frame->bp_at = cfa - 16;
        frame->by_bp = true;
        if (!plausible(copy, frame->slot, cfa - 16) || !plausible(copy, frame->slot, cfa - 8) ||
            !unwind_after_call(*(const uintptr_t *)(cfa - 8)))
            return STEP_CUT;
        caller->bp = *(const uintptr_t *)frame->bp_at;
        goto found;
    } else {
        return rule == UNWIND_END ? STEP_END : rule == UNWIND_SIGNAL ? STEP_SIGNAL : STEP_CUT;
    }
    if (UNWIND_BP_BELOW(rule) != 0) {
        frame->bp_at = cfa - UNWIND_BP_BELOW(rule);
        caller->bp = *(const uintptr_t *)frame->bp_at;
    }
found:
    caller->slot = cfa - 8;
    caller->pc = *(const uintptr_t *)caller->slot;
    if (__builtin_expect(caller->slot <= frame->slot, 0))
        return STEP_CUT;
    return caller->pc == 0 ? STEP_END : STEP_OK;
}

static inline struct stack_frame frame_get(const struct stack_copy *copy, unsigned i) {
    const struct stack_kept *const f = &copy->frames[i];
    return (struct stack_frame){.slot = f->slot,
                                .pc = f->pc,
                                .bp = f->bp,
                                .bp_at = f->how.saved ? copy->saves[f->n_saves - 1].at
                                         : i == 0     ? copy->first_bp_at
                                                      : 0,
                                .by_bp = f->how.by_bp,
                                .rare = f->how.rare};
}

static inline bool holds(uintptr_t at, uintptr_t value) {
    return *(const uintptr_t *)at == value;
}

/* Whether the n frames before `end`, all on the thread's own stack, have their return addresses. */
static inline bool frames_stand(const struct stack_kept *end, unsigned n) {
    const struct stack_kept *f = end;
    for (; n >= 4; n -= 4, f -= 4)
        if (!holds(f[-1].slot, f[-1].pc) || !holds(f[-2].slot, f[-2].pc) ||
            !holds(f[-3].slot, f[-3].pc) || !holds(f[-4].slot, f[-4].pc))
            return false;
    for (; n > 0; n--, f--)
        if (!holds(f[-1].slot, f[-1].pc))
            return false;
    return true;
}
static inline bool saves_stand(const struct stack_word *w, unsigned n) {
    for (; n >= 4; n -= 4, w += 4)
        if (!holds(w[0].at, w[0].value) || !holds(w[1].at, w[1].value) ||
            !holds(w[2].at, w[2].value) || !holds(w[3].at, w[3].value))
            return false;
    for (; n > 0; n--, w++)
        if (!holds(w->at, w->value))
            return false;
    return true;
}

/* Each word is read only after the step to it was found to be the one that a walk would take. */
static __attribute__((noinline)) bool verify_slowly(const struct stack_copy *copy, unsigned k) {
    for (; k > 0; k--) {
        const struct stack_kept *const f = &copy->frames[k], *const outer = f - 1;
        if (f->how.rare) {
            struct stack_frame frame = frame_get(copy, k), caller;
            if (step(copy, &frame, &caller, unwind_rule(frame.pc)) != STEP_OK ||
                caller.slot != outer->slot || (outer->how.needs_bp && caller.bp != outer->bp))
                return false;
        } else if (f->how.saved) {
            const struct stack_word *const save = &copy->saves[f->n_saves - 1];
            if (!holds(save->at, save->value))
                return false;
        }
        if (!holds(outer->slot, outer->pc))
            return false;
    }
    return true;
}

/* Whether the copy from frame k outwards is still the stack; k itself is known to be. */
static inline bool verify(const struct stack_copy *copy, unsigned k) {
    const struct stack_kept *const f = &copy->frames[k];
    return __builtin_expect(f->how.plain, 1)
               ? frames_stand(f, k) && saves_stand(copy->saves, f->n_saves)
               : verify_slowly(copy, k);
}

/* Whether the outermost frame of a walk is that of the thread's own stack, between which and the
 * walk's start all is mapped: near the top. Other stacks may lie within its bounds, which are
 * guessed, where it is a small one. */
static inline bool is_on_own_stack(const struct stack_copy *copy, uintptr_t slot) {
    return !copy->cut && !copy->broken && copy->stack_high - slot - 1 < OWN_STACK_TOP;
}

/* Appends one frame at the inner end of the copy, without its node. */
static inline void append_frame(struct stack_copy *copy, const struct stack_frame *frame) {
    const unsigned n = copy->n++;
    struct stack_kept *const f = &copy->frames[n];
    const bool outer_needs = n > 0 ? f[-1].how.needs_bp : copy->cut;
    const bool saved = n > 0 && outer_needs && frame->bp_at != 0;
    unsigned n_saves = n > 0 ? f[-1].n_saves : 0;
    if (n == 0)
        copy->first_bp_at = outer_needs ? frame->bp_at : 0;
    if (saved)
        copy->saves[n_saves++] = (struct stack_word){frame->bp_at, f[-1].bp};
    const bool own = frame->slot >= copy->stack_low &&
                     (n > 0 ? f[-1].how.own : is_on_own_stack(copy, frame->slot));
    *f = (struct stack_kept){.slot = frame->slot,
                             .pc = frame->pc,
                             .bp = frame->bp,
                             .n_saves = (uint16_t)n_saves,
                             .how = {.saved = saved,
                                     .by_bp = frame->by_bp,
                                     .needs_bp = frame->by_bp || (frame->bp_at == 0 && outer_needs),
                                     .rare = frame->rare,
                                     .own = own,
                                     .plain = own && !frame->rare && (n == 0 || f[-1].how.plain)}};
}

/* The same, with its node where that hangs on its caller's alone. */
static inline void append(struct stack_copy *copy, const struct stack_frame *frame) {
    const unsigned n = copy->n;
    append_frame(copy, frame);
    struct stack_kept *const f = &copy->frames[n];
    if (__builtin_expect(!copy->cut && n < depth_limit && copy->python.n == 0, 1)) {
        if (n == 0)
            f->id = intern(copy, 0, frame->pc | (copy->broken ? PC_TRUNCATED : 0));
        else if (f[-1].id != 0)
            f->id = intern(copy, f[-1].id, frame->pc);
    }
}

/* Walks on from the outermost frame of a cut copy, so that the innermost `depth` frames are known
 * again after returns. */
static __attribute__((noinline)) void extend(struct stack_copy *copy) {
    unsigned n = 0;
    bool cut = true, broken = false;
    const unsigned kept = copy->n;
    struct stack_frame first = frame_get(copy, 0);
    struct stack_frame *from = &first;
    while (n < depth_limit) {
        const enum step how = step(copy, from, &copy->fresh[n], unwind_rule(from->pc));
        if (how != STEP_OK) {
            cut = false;
            broken = how != STEP_END;
            break;
        }
        from = &copy->fresh[n++];
    }
    if (kept + n > STACKS_FRAMES)
        return;
    /* What was kept becomes the inner part of a copy made anew: what its frames need of rbp, and
     * their ids, follow from the outer ones. */
    for (unsigned i = 0; i < kept; i++)
        copy->fresh[n + i] = frame_get(copy, i);
    copy->fresh[n] = first;
    copy->n = 0;
    copy->cut = cut;
    copy->broken = broken;
    for (unsigned i = n; i-- > 0;)
        append(copy, &copy->fresh[i]);
    for (unsigned i = 0; i < kept; i++)
        append(copy, &copy->fresh[n + i]);
}

/* --- Python's frames between those of C functions --- */

/* The node of Python's frames whose bounds lie between two slots, under a parent; *at: the frame of
 * Python to begin with, counted from the outermost, and on return the first that is further in.
 * `first`: under which the chain of steps begins. */
static inline uint32_t fold_python(struct stack_copy *copy, uint32_t parent, unsigned *at,
                                   uintptr_t inner, uintptr_t outer, uint64_t flag,
                                   uint32_t first) {
    const struct python_copy *const p = &copy->python;
    for (; *at < p->n; ++*at) {
        const struct python_frame *const f = &p->frames[*at];
        if (f->bound <= inner)
            break;
        if (f->bound >= outer || f->position == 0)
            continue;
        parent = intern_hinted(copy, parent, f->position | PC_PYTHON | flag,
                               chain_hint(first, f->frame));
        flag = 0;
        if (parent == 0)
            break;
    }
    return parent;
}

/* Python's frames further out than what a slot bounds: counted from the inside, where it is. */
static unsigned python_beyond(const struct stack_copy *copy, uintptr_t slot) {
    const struct python_copy *const p = &copy->python;
    unsigned beyond = p->n;
    while (beyond > 0 && p->frames[beyond - 1].bound <= slot)
        beyond--;
    return beyond;
}

/* Brings Python's frames up to date, and forgets the ids that hang on what changed. */
static __attribute__((noinline)) void sync_python_slowly(struct stack_copy *copy, uintptr_t sp,
                                                         bool careful) {
    const struct python_place_on_stack place = {.sp = sp,
                                                .low = copy->stack_low,
                                                .high = copy->stack_high,
                                                .limit = depth_limit,
                                                .careful = careful,
                                                .try = copy->try};
    const uintptr_t changed = python_frames_sync(&copy->python, &place, &copy->n_dropped);
    if (changed == 0)
        return;
    for (unsigned i = copy->n; i-- > 0;) {
        copy->frames[i].inner = 0; /* of the one that runs it, too */
        if (copy->frames[i].slot >= changed)
            break;
        copy->frames[i].id = 0;
    }
}
static inline void sync_python(struct stack_copy *copy, uintptr_t sp, bool careful) {
    if (careful || !python_frames_stand(&copy->python, sp, copy->stack_low, copy->stack_high))
        sync_python_slowly(copy, sp, careful);
}

/* The node under which stands what frame i calls, where the nodes are those of whole stacks. */
static inline uint32_t inner_id(struct stack_copy *copy, unsigned i, uint32_t first) {
    const uint32_t id = copy->frames[i].id;
    if (copy->frames[i].inner == 0 && id != 0) {
        unsigned at = python_beyond(copy, copy->frames[i].slot);
        copy->frames[i].inner =
            fold_python(copy, id, &at, copy->frames[i + 1].slot, copy->frames[i].slot, 0, first);
    }
    return copy->frames[i].inner;
}

/* The node of frame i as the outermost one that is kept, under those of Python that bound it. */
static uint32_t first_under_python(struct stack_copy *copy, unsigned i) {
    unsigned at = 0;
    const uint32_t id =
        fold_python(copy, 0, &at, copy->frames[i].slot, UINTPTR_MAX, PC_TRUNCATED, 0);
    return intern(copy, id, copy->frames[i].pc | (id == 0 ? PC_TRUNCATED : 0));
}

/* frame_id() where Python runs. */
static __attribute__((noinline)) uint32_t frame_id_python(struct stack_copy *copy, unsigned i) {
    const struct python_copy *const p = &copy->python;
    const bool is_whole = i < depth_limit && !copy->cut && !p->cut;
    unsigned from = i;
    uint32_t id;
    if (is_whole) {
        struct stack_kept *const frames = copy->frames;
        while (from > 0 && frames[from].id == 0)
            from--;
        if (frames[from].id == 0)
            frames[from].id = copy->broken ? first_under_python(copy, from)
                                           : intern(copy, 0, copy->frames[from].pc);
        const uint32_t first = frames[from].id;
        for (; from < i && (id = inner_id(copy, from, first)) != 0; from++)
            frames[from + 1].id = intern_hinted(copy, id, copy->frames[from + 1].pc,
                                                chain_hint(first, copy->frames[from + 1].slot));
        return frames[i].id;
    } else {
        const unsigned first = i + 1 > depth_limit ? i + 1 - depth_limit : 0;
        const uintptr_t outermost = p->cut ? p->frames[0].bound : UINTPTR_MAX;
        for (from = first; from < i && copy->frames[from].slot >= outermost;)
            from++;
        id = copy->frames[from].slot < outermost && outermost != UINTPTR_MAX &&
                     (from > first || (first == 0 && !copy->cut))
                 ? first_under_python(copy, from)
                 : intern(copy, 0, copy->frames[from].pc | PC_TRUNCATED);
    }
    unsigned at = python_beyond(copy, copy->frames[from].slot);
    for (; id != 0 && from < i; from++) {
        id =
            fold_python(copy, id, &at, copy->frames[from + 1].slot, copy->frames[from].slot, 0, id);
        if (id != 0)
            id = intern(copy, id, copy->frames[from + 1].pc);
    }
    return id;
}

/* The tree id of the innermost `depth` frames from frame i outwards. */
static __attribute__((noinline)) uint32_t frame_id(struct stack_copy *copy, unsigned i) {
    struct stack_kept *const frames = copy->frames;
    if (copy->python.n > 0)
        return frame_id_python(copy, i);
    if (i < depth_limit && !copy->cut) {
        unsigned from = i;
        while (from > 0 && frames[from].id == 0)
            from--;
        if (frames[from].id == 0)
            frames[from].id =
                intern(copy, 0, copy->frames[from].pc | (copy->broken ? PC_TRUNCATED : 0));
        for (; frames[from].id != 0 && from < i; from++)
            frames[from + 1].id = intern(copy, frames[from].id, copy->frames[from + 1].pc);
        return frames[i].id;
    }
    const unsigned first = i + 1 > depth_limit ? i + 1 - depth_limit : 0;
    uint32_t id = intern(copy, 0, copy->frames[first].pc | PC_TRUNCATED);
    for (unsigned k = first + 1; id != 0 && k <= i; k++)
        id = intern(copy, id, copy->frames[k].pc);
    frames[i].id = id;
    return id;
}

/* A walk past a signal's frame: the copy is of no use, nor is the walk worth a copy. fresh[0 to
 * n-1] are walked already, all of them return addresses. */
static __attribute__((noinline)) uint32_t walk_fully(struct stack_copy *copy, unsigned n,
                                                     unsigned skip, bool *truncated) {
    bool cut = false, is_interrupted = false;
    struct stack_frame from = copy->fresh[n - 1];
    bool exact = from.rare;
    for (;;) {
        if (n == STACKS_FRAMES || n > depth_limit + skip) {
            cut = true;
            break;
        }
        struct stack_frame caller;
        memset(&caller, 0, sizeof caller);
        enum step how = step(copy, &from, &caller, unwind_rule(from.pc + exact));
        exact = false;
        if (how == STEP_SIGNAL) {
            const uintptr_t context = from.slot + 8;
            caller.slot = *(const uintptr_t *)(context + UCONTEXT_RSP) - 8;
            caller.pc = *(const uintptr_t *)(context + UCONTEXT_RIP);
            caller.bp = *(const uintptr_t *)(context + UCONTEXT_RBP);
            exact = is_interrupted = true;
        } else if (how != STEP_OK) {
            cut = how == STEP_CUT;
            break;
        }
        from = caller;
        copy->fresh[n] = caller;
        copy->fresh[n++].rare = exact; /* here: this pc is exact */
    }
    if (n <= skip)
        return 0;
    unsigned outer = n;
    if (outer - skip > depth_limit) {
        outer = skip + depth_limit;
        cut = true;
    }
    uint32_t id = 0;
    unsigned at = 0;
    if (python_frames_known)
        sync_python(copy, copy->fresh[0].slot, is_interrupted);
    for (unsigned i = outer; i-- > skip;) {
        const uint64_t pc = copy->fresh[i].pc | (copy->fresh[i].rare ? PC_EXACT : 0) |
                            (cut && i == outer - 1 ? PC_TRUNCATED : 0);
        if (i == outer - 1)
            at = python_beyond(copy, copy->fresh[i].slot);
        else
            id = fold_python(copy, id, &at, copy->fresh[i].slot, copy->fresh[i + 1].slot, 0, id);
        if (id == 0 && i < outer - 1)
            break;
        id = intern(copy, id, pc);
        if (id == 0)
            break;
    }
    *truncated = cut;
    copy->n_truncated += cut;
    return id;
}

uint32_t stacks_capture_fully(struct stack_copy *copy, const struct stack_start *start,
                              unsigned skip, bool *truncated) {
    memset(&copy->fresh[0], 0, sizeof copy->fresh[0]);
    copy->fresh[0].slot = start->slot;
    copy->fresh[0].pc = start->pc;
    copy->fresh[0].bp = start->bp;
    return walk_fully(copy, 1, skip, truncated);
}

/* --- inner ends of walks, remembered --- */

/* Tells apart the starts of walks; not 0. *set: where their inner ends are kept. */
static inline uint32_t segment_key(const struct stack_start *start, unsigned *set) {
    const uint64_t h = (start->pc ^ start->slot << 16) * UINT64_C(0x9E3779B97F4A7C15);
    _Static_assert(STACKS_SEGMENT_SETS == 1 << 7, "the bits above those of the key");
    *set = (unsigned)(h >> 57);
    return (uint32_t)(h >> 25) | 1;
}

/* Bits of the ways that have a key. Without a branch for each: most would be told wrong. */
static inline unsigned segment_ways(const struct stack_copy *copy, unsigned set, uint32_t key) {
    const uint32_t *const keys = copy->segment_keys[set];
    unsigned ways = 0;
#if defined(__SSE2__)
    _Static_assert(STACKS_SEGMENT_WAYS == 8, "two vectors of keys");
    const __m128i wanted = _mm_set1_epi32((int)key), *const at =
                                                         (const __m128i *)(const void *)keys;
    ways = (unsigned)_mm_movemask_epi8(_mm_packs_epi16(
        _mm_packs_epi32(_mm_cmpeq_epi32(at[0], wanted), _mm_cmpeq_epi32(at[1], wanted)),
        _mm_setzero_si128()));
#else
    for (unsigned i = 0; i < STACKS_SEGMENT_WAYS; i++)
        ways |= (unsigned)(keys[i] == key) << i;
#endif
    return ways;
}

static inline struct stack_segment *segment_at(struct stack_copy *copy, unsigned set,
                                               unsigned way) {
    struct segment_set *const s = &copy->segments[set];
    return way < STACKS_SEGMENT_SHORT ? &s->places[way].segment
                                      : &s->longer[way - STACKS_SEGMENT_SHORT].segment;
}

static inline struct stack_kept *segment_frames(struct stack_segment *s) {
    return (struct stack_kept *)(void *)(s + 1);
}
static inline struct stack_word *segment_saves(struct stack_segment *s) {
    return (struct stack_word *)(void *)(segment_frames(s) + s->n);
}

/* Keeps the frames inside frame k, where a walk from `start` met the copy. */
static inline void segment_keep(struct stack_copy *copy, const struct stack_start *start,
                                unsigned k) {
    const struct stack_kept *const outer = &copy->frames[k];
    const unsigned n = copy->n - 1 - k, n_saves = outer[n].n_saves - outer->n_saves;
    const size_t bytes = n * sizeof(struct stack_kept) + n_saves * sizeof(struct stack_word);
    if (n == 0 || bytes > STACKS_SEGMENT_LONGER || !outer[n].how.plain)
        return;
    const bool is_short = bytes <= STACKS_SEGMENT_BYTES;
    unsigned set;
    const uint32_t key = segment_key(start, &set);
    unsigned way = copy->n_segments++;
    way = is_short ? way % STACKS_SEGMENT_SHORT
                   : STACKS_SEGMENT_SHORT + way % (STACKS_SEGMENT_WAYS - STACKS_SEGMENT_SHORT);
    for (unsigned i = is_short ? 0 : STACKS_SEGMENT_SHORT; i < STACKS_SEGMENT_WAYS; i++) {
        const struct stack_segment *const old = segment_at(copy, set, i);
        /* Instead of one that is a part of it, if there is one. */
        if (copy->segment_keys[set][i] == 0 ||
            (copy->segment_keys[set][i] == key && old->n < n &&
             outer[n - old->n].slot == old->outer.at && outer[n - old->n].pc == old->outer.value)) {
            way = i;
            break;
        }
    }
    struct stack_segment *const s = segment_at(copy, set, way);
    copy->segment_keys[set][way] = key;
    *s = (struct stack_segment){.slot = start->slot,
                                .pc = start->pc,
                                .bp = start->bp,
                                .outer = {outer->slot, outer->pc},
                                .outer_bp = outer->bp,
                                .generation =
                                    atomic_load_explicit(&unwind_generation, memory_order_relaxed),
                                .n = (uint8_t)n,
                                .n_saves = (uint8_t)n_saves,
                                .outer_saves = outer->n_saves,
                                .n_outer = (uint16_t)(k + 1),
                                .needs_bp = outer[n].how.needs_bp,
                                .outer_needs_bp = outer->how.needs_bp};
    memcpy(segment_frames(s), outer + 1, n * sizeof *outer);
    memcpy(segment_saves(s), &copy->saves[outer->n_saves], n_saves * sizeof copy->saves[0]);
}

/* How many frames of the copy there are from the one in that slot outwards; 0: there is none.
 * Mostly as many as the last time, so that no frame is looked at that was left behind. */
static inline unsigned outwards_from(const struct stack_copy *copy, uintptr_t slot, unsigned last) {
    unsigned k = last;
    if (__builtin_expect(k > copy->n || copy->frames[k - 1].slot != slot, 0)) {
        k = copy->n;
        while (k > 0 && copy->frames[k - 1].slot < slot)
            k--;
        if (k > 0 && copy->frames[k - 1].slot != slot)
            return 0;
    }
    return k;
}

/* Whether the stack at `start` is that segment and, further out, the copy, of which *out_k frames
 * are not left behind. */
static inline bool segment_holds(const struct stack_copy *copy, struct stack_segment *s,
                                 const struct stack_start *start, unsigned *out_k) {
    if (s->slot != start->slot || s->pc != start->pc ||
        s->generation != atomic_load_explicit(&unwind_generation, memory_order_relaxed) ||
        (s->needs_bp && s->bp != start->bp))
        return false;
    const unsigned k = outwards_from(copy, s->outer.at, s->n_outer);
    if (k == 0 || k + s->n > depth_limit)
        return false;
    const struct stack_kept *const outer = &copy->frames[k - 1];
    if (outer->pc != s->outer.value || outer->how.needs_bp != s->outer_needs_bp ||
        (s->outer_needs_bp && outer->bp != s->outer_bp) || !outer->how.plain ||
        !frames_stand(segment_frames(s) + s->n, s->n) ||
        !saves_stand(segment_saves(s), s->n_saves) || !holds(outer->slot, outer->pc) ||
        !verify(copy, k - 1))
        return false;
    s->n_outer = (uint16_t)k;
    *out_k = k;
    return true;
}

/* Gives the frames from k inwards, which were just copied from a segment, their ids if they are not
 * the segment's; the innermost one's. */
static inline uint32_t segment_id(struct stack_copy *copy, struct stack_segment *s, unsigned k) {
    const struct python_copy *const p = &copy->python;
    struct stack_kept *const frames = &copy->frames[k], *const kept = segment_frames(s);
    if (p->n > 0 && (p->cut || p->frames[p->n - 1].bound <= frames->slot)) {
        /* Python stands further in, too. */
        for (unsigned i = 0; i < s->n; i++)
            frames[i].id = frames[i].inner = 0;
        return frame_id(copy, copy->n - 1);
    }
    if (frames[-1].id == 0)
        frame_id(copy, k - 1);
    const uint32_t parent = inner_id(copy, k - 1, frames[-1].id);
    if (__builtin_expect(s->parent == parent && parent != 0, 1))
        return frames[s->n - 1].id;
    uint32_t id = parent;
    for (unsigned i = 0; i < s->n; i++) {
        if (id != 0)
            id = intern_hinted(copy, id, frames[i].pc, chain_hint(parent, frames[i].slot));
        frames[i].inner = frames[i].id = kept[i].inner = kept[i].id = id;
    }
    s->parent = id != 0 ? parent : 0;
    return id;
}

/* A walk whose inner end is a segment and whose rest is the copy's. False: it is not so; the copy
 * is untouched. */
static inline bool capture_segment(struct stack_copy *copy, const struct stack_start *start,
                                   uint32_t *out_id) {
    unsigned set, k;
    const uint32_t key = segment_key(start, &set);
    unsigned ways = segment_ways(copy, set, key);
    struct stack_segment *s;
    for (;; ways &= ways - 1) {
        if (ways == 0)
            return false;
        s = segment_at(copy, set, (unsigned)__builtin_ctz(ways));
        if (segment_holds(copy, s, start, &k))
            break;
    }
    const struct stack_kept *const kept = segment_frames(s);
    const struct stack_word *const saves = segment_saves(s);
    const unsigned n = s->n, first_save = copy->frames[k - 1].n_saves;
    copy->n = k;
    if (python_frames_known)
        sync_python(copy, start->slot, false);
    struct stack_kept *const frames = &copy->frames[k];
    for (unsigned i = 0; i < n; i++)
        frames[i] = kept[i];
    for (unsigned i = 0; i < s->n_saves; i++)
        copy->saves[first_save + i] = saves[i];
    if (__builtin_expect(first_save != s->outer_saves, 0))
        for (unsigned i = 0; i < n; i++)
            frames[i].n_saves = (uint16_t)(frames[i].n_saves - s->outer_saves + first_save);
    copy->n = k + n;
    *out_id = segment_id(copy, s, k);
    return true;
}

/* Frames further in than k may be gone; k itself was not found to be the caller of the hook. */
static __attribute__((noinline)) uint32_t
capture_slowly(struct stack_copy *copy, const struct stack_start *start, int k, bool *truncated) {
    unsigned n_fresh = 0;
    struct stack_frame *frame = &copy->fresh[0];
    frame->slot = start->slot;
    frame->pc = start->pc;
    frame->bp = start->bp;
    bool cut = false, broken = false;
    for (;;) {
        while (k >= 0 && copy->frames[k].slot < frame->slot)
            k--;
        if (k >= 0 && copy->frames[k].slot == frame->slot && copy->frames[k].pc == frame->pc &&
            (!copy->frames[k].how.needs_bp || copy->frames[k].bp == frame->bp) &&
            verify(copy, (unsigned)k)) {
            copy->n = (unsigned)k + 1;
            break;
        }
        n_fresh++;
        const enum step how = step(copy, frame, frame + 1, unwind_rule(frame->pc));
        if (__builtin_expect(how != STEP_OK, 0)) {
            if (how == STEP_SIGNAL) {
                for (unsigned i = 0; i < n_fresh; i++)
                    copy->fresh[i].rare = false;
                copy->is_last = false;
                return walk_fully(copy, n_fresh, 0, truncated);
            }
            copy->n = 0;
            broken = how == STEP_CUT;
            break;
        }
        if (__builtin_expect(n_fresh > depth_limit, 0)) {
            copy->n = 0;
            cut = true;
            break;
        }
        frame++;
    }
    if (copy->n + n_fresh > STACKS_FRAMES) {
        copy->n = 0; /* extend() walks again what is still wanted of it */
        cut = true;
    }
    if (copy->n == 0) {
        copy->cut = cut;
        copy->broken = broken;
    }
    if (python_frames_known)
        sync_python(copy, start->slot, false);
    const unsigned kept = copy->n;
    for (unsigned i = n_fresh; i-- > 0;)
        append(copy, &copy->fresh[i]);
    if (kept > 0 && !copy->cut && !copy->broken)
        segment_keep(copy, start, kept - 1);
    if (copy->cut && copy->n < depth_limit)
        extend(copy);
    *truncated = copy->cut || copy->broken || copy->n > depth_limit || copy->python.cut;
    copy->n_truncated += *truncated;
    const uint32_t id = copy->frames[copy->n - 1].id;
    return id != 0 ? id : frame_id(copy, copy->n - 1);
}

/* A call whose caller's caller stands in the copy as frame i - 1: one frame is new, and frames
 * further in than that are gone. False: it is not so simple. */
static inline bool capture_one(struct stack_copy *copy, const struct stack_start *start,
                               unsigned i) {
    const struct stack_kept *const outer = &copy->frames[i - 1];
    const uintptr_t slot = copy->frames[i - 1].slot;
    const uint32_t rule = unwind_rule(start->pc);
    if (UNWIND_KIND(rule) != UNWIND_SP || start->slot + UNWIND_CFA(rule) != slot ||
        (outer->id == 0 && copy->python.n == 0))
        return false;
    uintptr_t bp = start->bp, bp_at = 0;
    if (UNWIND_BP_BELOW(rule) != 0) {
        bp_at = slot + 8 - UNWIND_BP_BELOW(rule);
        bp = *(const uintptr_t *)bp_at;
    }
    if ((outer->how.needs_bp && outer->bp != bp) ||
        *(const uintptr_t *)slot != copy->frames[i - 1].pc || !verify(copy, i - 1))
        return false;
    /* Where Python runs, the node depends on what of it stands in between. */
    const uint32_t id = copy->python.n == 0 ? intern(copy, outer->id, start->pc) : 0;
    copy->n = i;
    append_frame(copy,
                 &(struct stack_frame){start->slot, start->pc, start->bp, bp_at, false, false});
    copy->frames[i].id = id;
    return true;
}

/* Of a copy that is whole, Python's frames may be cut. */
static inline uint32_t tell_cut(struct stack_copy *copy, uint32_t id, bool *truncated) {
    *truncated = copy->python.cut;
    copy->n_truncated += *truncated;
    return id;
}

/* Whether it is the same call of the same function as that which frame i tells. */
static inline bool is_same_call(const struct stack_copy *copy, const struct stack_start *start,
                                unsigned i) {
    const struct stack_kept *const f = &copy->frames[i];
    return f->slot == start->slot && f->pc == start->pc && (f->id != 0 || copy->python.n != 0) &&
           (!f->how.needs_bp || f->bp == start->bp) && verify(copy, i);
}

uint32_t stacks_walk(struct stack_copy *copy, const struct stack_start *start, bool *truncated) {
    unsigned k = copy->n;
    copy->is_last = true;
    if (__builtin_expect(k > 0 && !copy->cut && !copy->broken, 1)) {
        uint32_t id;
        bool found = k < depth_limit && is_same_call(copy, start, k - 1);
        if (!found) {
            if (capture_segment(copy, start, &id))
                return tell_cut(copy, id, truncated);
            while (k > 0 && copy->frames[k - 1].slot < start->slot)
                k--;
            if (k > 0 && k < depth_limit) {
                const struct stack_kept *const last = &copy->frames[k - 1];
                if (last->slot != start->slot)
                    found = capture_one(copy, start, k);
                else if (last->pc != start->pc)
                    found = k > 1 && capture_one(copy, start, k - 1);
                else if ((found = k < copy->n && is_same_call(copy, start, k - 1)))
                    copy->n = k;
            }
        }
        if (__builtin_expect(found, 1)) {
            if (python_frames_known)
                sync_python(copy, start->slot, false);
            const unsigned i = copy->n - 1;
            id = copy->frames[i].id;
            if (id == 0 && i > 0 && copy->frames[i - 1].inner != 0)
                copy->frames[i].inner = copy->frames[i].id = id =
                    intern(copy, copy->frames[i - 1].inner, start->pc);
            return tell_cut(copy, id != 0 && !copy->python.cut ? id : frame_id(copy, i), truncated);
        }
    }
    return capture_slowly(copy, start, (int)k - 1, truncated);
}

int stacks_rare_words(const struct stack_copy *copy, struct stack_word *out, unsigned limit) {
    unsigned n = 0;
    for (unsigned k = 0; k < copy->n; k++) {
        const struct stack_kept *const f = &copy->frames[k];
        if (!f->how.rare)
            continue;
        const uint32_t rule = unwind_rule(f->pc);
        if (UNWIND_KIND(rule) != UNWIND_RARE || n == limit)
            return -1;
        const struct unwind_rare *const rare = unwind_rare_get(rule);
        if (!rare->cfa_load)
            continue;
        const uintptr_t at = (rare->cfa_base == UNWIND_BP ? f->bp : f->slot + 8) +
                             (uintptr_t)(intptr_t)rare->cfa_offset;
        if (at <= f->slot || at >= copy->stack_high || at & 7)
            return -1;
        out[n++] = (struct stack_word){at, *(const uintptr_t *)at};
    }
    return (int)n;
}

void stacks_after_fork_child(void) {
    rawmem_unlock(&tree_lock);
}
