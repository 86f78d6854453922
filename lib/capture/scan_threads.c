/* Threads: where their stacks and thread-local storage are, and the frames on their stacks.
 *
 * The C library puts a thread's control block at the top of its stack, below it the static
 * thread-local storage, below that the frames. The control block of a thread that was stopped is
 * known by its thread pointer; that of one that slept is looked for above its stack pointer, by
 * what is in it: its own address twice, and the thread's id. Frames are found by the recorder's own
 * unwinder. What cannot be found is left empty; reads only memory that is plainly there. */
#include <heapsnap/snapdef.h>
#include <string.h>
#include <ucontext.h>

#include "capture/moment.h"
#include "capture/scan_internal.h"
#include "capture/unwind.h"

enum {
    FRAMES_MAX = 512,
    /* of glibc's control block on x86-64 */
    BLOCK_SIZE = 2368,
    BLOCK_SIZE_MIN = 1024,
    BLOCK_SIZE_MAX = 4096,
    BLOCK_ALIGNMENT = 64,
    BLOCK_SELF = 16,
    BLOCK_TID = 720,
    LOCAL_DEFAULT = 4096,
    /* in the ucontext that a signal frame's caller finds at its stack pointer */
    UCONTEXT_RBP = 120,
    UCONTEXT_RSP = 160,
    UCONTEXT_RIP = 168
};
#define SEARCH_MAX (UINT64_C(64) << 20)
#define BP_SEARCH_MAX (UINT64_C(64) << 10)

static int read_word(const struct scan *s, uint64_t address, uint64_t *out) {
    size_t hint = 0;
    if (address % 8 != 0 || !scan_memory_is_plain(s, address, address + 8, &hint))
        return -1;
    *out = *(const uint64_t *)address;
    return 0;
}

/* --- where things are --- */

static int is_block(uint64_t at) {
    const uint64_t *const words = (const uint64_t *)at;
    return words[0] == at && words[BLOCK_SELF / 8] == at;
}

static uint64_t find_block(const struct park_thread *t, const struct scan_segment *g) {
    uint64_t at = (t->sp + BLOCK_ALIGNMENT - 1) & ~(uint64_t)(BLOCK_ALIGNMENT - 1);
    const uint64_t end = g->end - t->sp < SEARCH_MAX ? g->end : t->sp + SEARCH_MAX;
    for (; at + BLOCK_SIZE <= end; at += BLOCK_ALIGNMENT)
        if (is_block(at) && *(const uint32_t *)(at + BLOCK_TID) == t->tid)
            return at;
    return 0;
}

/* The control block at the end of a mapping; its size differs between versions. 0: there is none.
 */
static uint64_t block_at_end(uint64_t start, uint64_t end) {
    if (end - start < BLOCK_SIZE_MAX)
        return 0;
    for (uint64_t size = BLOCK_SIZE_MAX; size >= BLOCK_SIZE_MIN; size -= BLOCK_ALIGNMENT)
        if (is_block(end - size))
            return end - size;
    return 0;
}

uint64_t scan_threads_dead_block(uint64_t start, uint64_t end) {
    const uint64_t block = block_at_end(start, end);
    return block && *(const int32_t *)(block + BLOCK_TID) <= 0 ? block : 0;
}

/* The control block of a thread that sleeps on another stack than its own. */
static uint64_t find_block_elsewhere(const struct scan *s, uint32_t tid) {
    const struct scan_segment *const segments = (const void *)s->segments.data;
    const size_t n = s->segments.length / sizeof *segments;
    for (size_t i = 0; i < n; i++) {
        const struct scan_segment *const g = &segments[i];
        if (g->is_file || g->is_known || !g->is_writable || g->kind != SNAP_REGN_ANONYMOUS)
            continue;
        const uint64_t block = block_at_end(g->start, g->end);
        if (block && *(const uint32_t *)(block + BLOCK_TID) == tid)
            return block;
    }
    return 0;
}

static void find_layout(const struct scan *s, const struct park_thread *t, uint64_t local_bytes,
                        struct scan_thread *out) {
    const struct scan_segment *const g = t->sp ? scan_memory_segment(s, t->sp) : NULL;
    const int is_main = t->tid == (uint32_t)moment_process.pid;
    uint64_t block = t->pointer;
    *out = (struct scan_thread){0};
    if (!block && is_main)
        block = park_main_pointer();
    if (!block && g && !g->is_file)
        block = find_block(t, g);
    if (!block)
        block = find_block_elsewhere(s, t->tid);
    const struct scan_segment *const b = block ? scan_memory_segment(s, block) : NULL;
    if (b) {
        out->block = block;
        out->local_start = block - b->start > local_bytes ? block - local_bytes : b->start;
        out->local_end = b->end - block > BLOCK_SIZE ? block + BLOCK_SIZE : b->end;
    }
    if (b && !is_main) {
        out->area_start = b->start;
        out->area_end = (out->local_end + 4095) & ~(uint64_t)4095;
    }
    if (!g)
        return;
    /* The caller's words below its stack pointer are stale; a leaf function's are not. */
    const uint64_t red_zone = atomic_load(&t->flags) == SNAP_THRD_FLAG_TAKER ? 0 : 128;
    out->stack_start = t->sp - g->start > red_zone ? t->sp - red_zone : g->start;
    out->stack_end = g->end;
    if (g == b && t->sp < out->local_start)
        out->stack_end = out->local_start;
    else if (is_main && g->kind == SNAP_REGN_STACK)
        out->area_start = g->start, out->area_end = g->end;
    else
        out->is_foreign = 1;
}

/* --- frames --- */

struct walk {
    const struct scan *scan;
    uint64_t sp, pc, bp;
    int is_exact, knows_bp;
};

/* A frame that keeps its pointer: where it keeps that of its caller, above sp. For threads whose
 * registers are not known. */
static uint64_t guess_bp(const struct walk *w) {
    for (uint64_t at = w->sp; at < w->sp + BP_SEARCH_MAX; at += 8) {
        uint64_t saved, back;
        if (read_word(w->scan, at, &saved) < 0 || read_word(w->scan, at + 8, &back) < 0)
            return 0;
        if ((saved < 2 || (saved > at && saved % 8 == 0 && saved - at < (UINT64_C(8) << 20))) &&
            unwind_after_call(back))
            return at;
    }
    return 0;
}

static int load_bp(struct walk *w, uint64_t address) {
    w->knows_bp = read_word(w->scan, address, &w->bp) == 0;
    return w->knows_bp ? 0 : -1;
}

static int need_bp(struct walk *w) {
    if (!w->knows_bp) {
        w->bp = guess_bp(w);
        w->knows_bp = w->bp != 0;
    }
    return w->knows_bp ? 0 : -1;
}

static int step_rare(struct walk *w, uint32_t rule, uint64_t *cfa) {
    const struct unwind_rare *const r = unwind_rare_get(rule);
    if ((r->cfa_base == UNWIND_BP || (r->bp_saved && r->bp_base == UNWIND_BP)) && need_bp(w) < 0)
        return -1;
    *cfa = (r->cfa_base == UNWIND_BP ? w->bp : w->sp) + (uint64_t)(int64_t)r->cfa_offset;
    if (r->cfa_load) {
        if (read_word(w->scan, *cfa, cfa) < 0)
            return -1;
        *cfa += (uint64_t)(int64_t)r->cfa_add;
    }
    if (!r->bp_saved)
        return 0;
    const uint64_t base = r->bp_base == 2 ? *cfa : r->bp_base == UNWIND_BP ? w->bp : w->sp;
    return load_bp(w, base + (uint64_t)(int64_t)r->bp_offset);
}

/* From a signal handler's frame to what it interrupted. */
static int step_signal(struct walk *w) {
    uint64_t sp, pc, bp;
    if (read_word(w->scan, w->sp + UCONTEXT_RSP, &sp) < 0 ||
        read_word(w->scan, w->sp + UCONTEXT_RIP, &pc) < 0 ||
        read_word(w->scan, w->sp + UCONTEXT_RBP, &bp) < 0 || sp == w->sp)
        return -1;
    *w = (struct walk){w->scan, sp, pc, bp, 1, 1};
    return 0;
}

/* To the caller; -1: there is none, or it cannot be found. */
static int step(struct walk *w) {
    const uint32_t rule = unwind_rule(w->pc + (uint64_t)w->is_exact);
    uint64_t cfa;
    switch (UNWIND_KIND(rule)) {
    case UNWIND_SP: cfa = w->sp + UNWIND_CFA(rule); break;
    case UNWIND_BP:
        if (need_bp(w) < 0)
            return -1;
        cfa = w->bp + UNWIND_CFA(rule);
        break;
    case UNWIND_RARE:
        if (step_rare(w, rule, &cfa) < 0)
            return -1;
        break;
    default:
        if (rule == UNWIND_SIGNAL)
            return step_signal(w);
        if (rule != UNWIND_GUESS || need_bp(w) < 0)
            return -1;
        cfa = w->bp + 16;
        if (load_bp(w, w->bp) < 0)
            return -1;
    }
    if (UNWIND_KIND(rule) <= UNWIND_BP && UNWIND_BP_BELOW(rule) != 0 &&
        load_bp(w, cfa - UNWIND_BP_BELOW(rule)) < 0)
        return -1;
    uint64_t pc;
    if (cfa <= w->sp || read_word(w->scan, cfa - 8, &pc) < 0 || pc == 0)
        return -1;
    w->sp = cfa;
    w->pc = pc;
    w->is_exact = 0;
    return 0;
}

static uint32_t walk_stack(const struct scan *s, const struct park_thread *t, uint32_t number,
                           struct wire_frame frames[FRAMES_MAX]) {
    struct walk w = {.scan = s, .sp = t->sp, .pc = t->pc, .is_exact = 1};
    w.bp = t->registers[REG_RBP];
    w.knows_bp = w.bp != 0;
    uint32_t n = 0;
    if (!t->sp || !t->pc)
        return 0;
    do {
        /* Stacks may be changed on the way, by a signal handler on one of its own. */
        uint32_t i = n++;
        for (; i > 0 && frames[i - 1].sp > w.sp; i--)
            frames[i] = frames[i - 1];
        frames[i] = (struct wire_frame){w.sp, w.pc, number, (uint32_t)w.is_exact};
    } while (n < FRAMES_MAX && step(&w) == 0);
    return n;
}

/* Frames of the recorder itself, under the call that asked for the snapshot: what is in them was
 * left there by others, but for the registers that they save right below their return address. */
static void find_stale(struct scan *s, const struct wire_frame *frames, uint32_t n) {
    enum { SAVED_BYTES = 64 };
    for (uint32_t i = 0; i + 1 < n && scan_images_is_own(s, frames[i].pc); i++) {
        const uint64_t end = frames[i + 1].sp - SAVED_BYTES;
        struct scan_range *const r =
            frames[i].sp < end ? scan_array_more(&s->stale, sizeof *r) : NULL;
        if (r)
            *r = (struct scan_range){.start = frames[i].sp, .end = end};
    }
}

static void find_all(struct scan_worker *w, const void *context) {
    struct scan *const s = w->scan;
    static struct wire_frame frames[FRAMES_MAX];
    struct scan_thread *const layout = (void *)s->layout.data;
    uint32_t n = 0;
    (void)context;
    for (uint32_t i = 0; i < s->n_threads; i++)
        find_layout(s, &s->threads[i], park_local_bytes() ? park_local_bytes() : LOCAL_DEFAULT,
                    &layout[i]);
    if (!unwind_never_locks())
        return;
    s->scratch.length = 0;
    for (uint32_t i = 0; i < s->n_threads; i++) {
        const uint32_t n_frames = walk_stack(s, &s->threads[i], i + 1, frames);
        find_stale(s, frames, n_frames);
        void *const to = scan_array_more(&s->scratch, n_frames * sizeof *frames);
        if (!to)
            break;
        memcpy(to, frames, n_frames * sizeof *frames);
        n += n_frames;
    }
    scan_put(s, WIRE_FRAME, n, s->scratch.data, s->scratch.length);
}

void scan_threads(struct scan *s, struct scan_worker *w) {
    struct scan_thread *const layout =
        scan_array_more(&s->layout, s->n_threads * sizeof(struct scan_thread));
    if (!layout) {
        s->n_threads = 0;
        return;
    }
    memset(layout, 0, s->n_threads * sizeof *layout);
    scan_memory_guard(w, find_all, NULL);
}
