/* Stacks of allocations. See stacks.h for the idea.
 *
 * Invariants: the frames of a copy ascend strictly in `slot`; frames[i - 1] is what one step from
 * frames[i] gives. A frame's id is that of the innermost `depth` frames from it outwards. Nodes of
 * the tree never change once their id is known; parents have lower ids. It does not follow a stack
 * beyond a switch to another stack, nor code without unwind tables: such stacks are marked cut. */
#include "capture/stacks.h"

#include <stdatomic.h>
#include <string.h>

#include "capture/rawmem.h"
#include "capture/unwind.h"
#include <heapsnap/snapdef.h>

enum {
    NODES_SHIFT = 14, /* nodes per chunk, log 2 */
    N_CHUNKS = (1 << 28) >> NODES_SHIFT,
    TABLE_FIRST = 1 << 14,
    FAR_JUMP = 64 << 10,
    /* offsets in the ucontext that a signal frame's caller finds at its stack pointer */
    UCONTEXT_RBP = 120,
    UCONTEXT_RSP = 160,
    UCONTEXT_RIP = 168
};

/* Bits of a node's pc: user addresses end below them. */
#define PC_TRUNCATED (UINT64_C(1) << 63)
#define PC_EXACT (UINT64_C(1) << 62)
#define PC_MASK ((UINT64_C(1) << 62) - 1)

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
    return (struct stack_node){node->pc & PC_MASK, node->parent,
                               node->pc & PC_TRUNCATED ? SNAP_STAK_FLAG_TRUNCATED : 0,
                               node->pc & PC_EXACT ? SNAP_FRAM_FLAG_EXACT : 0};
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

static inline uint32_t intern(struct stack_copy *copy, uint32_t parent, uint64_t pc) {
    const uint64_t h = hash(parent, pc);
    const uint32_t id =
        table_find(atomic_load_explicit(&table, memory_order_acquire), h, parent, pc);
    return __builtin_expect(id != 0, 1) ? id : node_new(copy, h, parent, pc);
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

/* Whether the copy from frames[k] outwards is still the stack. */
static inline bool verify(struct stack_copy *copy, unsigned k) {
    const struct stack_frame *f = &copy->frames[k];
    for (; f > copy->frames; f--) {
        if (__builtin_expect(f->bp_at != 0, 0)) {
            if (__builtin_expect(f->rare, 0)) {
                struct stack_frame frame = *f, caller;
                if (step(copy, &frame, &caller, unwind_rule(f->pc)) != STEP_OK ||
                    caller.slot != f[-1].slot || (f[-1].needs_bp && caller.bp != f[-1].bp))
                    return false;
            } else if (*(const uintptr_t *)f->bp_at != f[-1].bp) {
                return false;
            }
        }
        if (__builtin_expect(*(const uintptr_t *)f[-1].slot != f[-1].pc, 0))
            return false;
    }
    return true;
}

/* Appends the fresh frames (innermost first) to the copy. */
static void append(struct stack_copy *copy, unsigned n_fresh) {
    if (__builtin_expect(copy->n + n_fresh > STACKS_FRAMES, 0)) {
        copy->n = 0; /* extend() walks again what is still wanted of it */
        copy->cut = true;
        copy->broken = false;
    }
    while (n_fresh > 0) {
        struct stack_frame *const to = &copy->frames[copy->n];
        *to = copy->fresh[--n_fresh];
        to->id = 0;
        const bool outer_needs = copy->n > 0 ? to[-1].needs_bp : copy->cut;
        to->needs_bp = to->by_bp || (to->bp_at == 0 && outer_needs);
        if (!outer_needs && !to->rare)
            to->bp_at = 0;
        else if (to->rare && to->bp_at == 0)
            to->bp_at = 1; /* makes verify look at it */
        copy->n++;
    }
}

/* Walks on from the outermost frame of a cut copy, so that the innermost `depth` frames are known
 * again after returns. */
static __attribute__((noinline)) void extend(struct stack_copy *copy) {
    unsigned n = 0;
    bool cut = true, broken = false;
    struct stack_frame *from = &copy->frames[0];
    while (n < depth_limit) {
        struct stack_frame caller;
        const enum step how = step(copy, from, &caller, unwind_rule(from->pc));
        if (how != STEP_OK) {
            cut = false;
            broken = how != STEP_END;
            break;
        }
        copy->fresh[n] = caller;
        from = &copy->fresh[n++];
    }
    /* [kept] is what was verified; it becomes the inner part of a copy made anew. */
    const unsigned kept = copy->n;
    if (kept + n > STACKS_FRAMES)
        return;
    memmove(copy->frames + n, copy->frames, kept * sizeof copy->frames[0]);
    for (unsigned i = 0; i < n; i++)
        copy->frames[n - 1 - i] = copy->fresh[i];
    const unsigned total = n + kept;
    copy->n = 0;
    copy->cut = cut;
    copy->broken = broken;
    for (unsigned i = 0; i < total; i++) {
        copy->fresh[0] = copy->frames[i];
        append(copy, 1);
    }
}

/* The tree id of the innermost `depth` frames from frames[i] outwards. */
static uint32_t frame_id(struct stack_copy *copy, unsigned i) {
    if (copy->frames[i].id != 0)
        return copy->frames[i].id;
    if (i < depth_limit && !copy->cut) {
        unsigned from = i;
        while (from > 0 && copy->frames[from].id == 0)
            from--;
        uint32_t id = copy->frames[from].id;
        if (id == 0) {
            id = intern(copy, 0, copy->frames[0].pc | (copy->broken ? PC_TRUNCATED : 0));
            copy->frames[0].id = id;
            from = 0;
        }
        while (id != 0 && from < i) {
            id = intern(copy, id, copy->frames[++from].pc);
            copy->frames[from].id = id;
        }
        return id;
    }
    const unsigned first = i + 1 > depth_limit ? i + 1 - depth_limit : 0;
    uint32_t id = intern(copy, 0, copy->frames[first].pc | PC_TRUNCATED);
    for (unsigned k = first + 1; id != 0 && k <= i; k++)
        id = intern(copy, id, copy->frames[k].pc);
    copy->frames[i].id = id;
    return id;
}

/* A walk past a signal's frame: the copy is of no use, nor is the walk worth a copy. fresh[0 to
 * n-1] are walked already, all of them return addresses. */
static __attribute__((noinline)) uint32_t walk_fully(struct stack_copy *copy, unsigned n,
                                                     unsigned skip, bool *truncated) {
    bool cut = false;
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
            exact = true;
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
    for (unsigned i = outer; i-- > skip;) {
        const uint64_t pc = copy->fresh[i].pc | (copy->fresh[i].rare ? PC_EXACT : 0) |
                            (cut && i == outer - 1 ? PC_TRUNCATED : 0);
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

uint32_t stacks_capture(struct stack_copy *copy, const struct stack_start *start, bool *truncated) {
    unsigned n_fresh = 0;
    int k = (int)copy->n - 1; /* innermost frame of the copy that may still be on the stack */
    struct stack_frame *frame = &copy->fresh[0];
    frame->slot = start->slot;
    frame->pc = start->pc;
    frame->bp = start->bp;
    bool cut = false, broken = false;
    for (;;) {
        while (k >= 0 && copy->frames[k].slot < frame->slot)
            k--;
        if (k >= 0 && copy->frames[k].slot == frame->slot && copy->frames[k].pc == frame->pc &&
            (!copy->frames[k].needs_bp || copy->frames[k].bp == frame->bp) &&
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
    if (copy->n == 0) {
        copy->cut = cut;
        copy->broken = broken;
    }
    if (n_fresh > 0)
        append(copy, n_fresh);
    if (__builtin_expect(copy->cut && copy->n < depth_limit, 0))
        extend(copy);
    *truncated = copy->cut || copy->broken || copy->n > depth_limit;
    copy->n_truncated += *truncated;
    const uint32_t id = copy->frames[copy->n - 1].id;
    return __builtin_expect(id != 0, 1) ? id : frame_id(copy, copy->n - 1);
}

void stacks_after_fork_child(void) {
    rawmem_unlock(&tree_lock);
}
