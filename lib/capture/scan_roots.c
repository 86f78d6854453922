/* Roots: words outside of all nodes that refer to nodes.
 *
 * Each is sent with its kind and the address of its word; what it is called is found out by the
 * receiver. Memory that may hold stale words (mappings that nobody knows, stacks that are not in
 * use by the rules) gives roots of low confidence, one per node. Memory of allocators is no root:
 * blocks in it are nodes, the rest is free. */
#include <heapsnap/snapdef.h>
#include <string.h>

#include "capture/raw.h"
#include "capture/scan_internal.h"

enum { ROOTS_PER_SECTION = 4096 };

struct roots {
    struct scan *scan;
    struct scan_worker *worker;
    int are_kept;  /* in scan->roots, not sent */
    uint64_t *low; /* a bit per node: has a root of low confidence */
    uint32_t n;
    struct wire_root rows[ROOTS_PER_SECTION];
};

static void flush(struct roots *r) {
    scan_put(r->scan, WIRE_ROOT, r->n, r->rows, r->n * sizeof *r->rows);
    r->n = 0;
}

static void add(struct roots *r, const struct wire_root *row) {
    if (row->flags & SNAP_EDGE_FLAG_LOW && r->low) {
        uint64_t *const word = &r->low[row->target / 64];
        const uint64_t bit = UINT64_C(1) << row->target % 64;
        if (*word & bit)
            return;
        *word |= bit;
    }
    r->scan->n_roots++;
    if (r->are_kept) {
        struct wire_root *const to = scan_array_more(&r->scan->roots, sizeof *to);
        if (to)
            *to = *row;
        return;
    }
    r->rows[r->n++] = *row;
    if (r->n == ROOTS_PER_SECTION)
        flush(r);
}

struct part {
    uint64_t start, end;
};

static void scan_part(struct scan_worker *w, const void *context) {
    const struct part *const p = context;
    scan_words_range(w, p->start, p->end);
}

/* All words of a range, as roots of one kind. */
static void add_range(struct roots *r, uint64_t start, uint64_t end, uint32_t kind, uint32_t flags,
                      uint32_t thread) {
    struct scan *const s = r->scan;
    const struct scan_found *const f = r->worker->found;
    start = (start + 7) & ~UINT64_C(7);
    for (uint64_t next; start < end && !s->error; start = next) {
        next = end - start < SCAN_SHARD_BYTES ? end : start + SCAN_SHARD_BYTES;
        const struct part part = {start, next};
        scan_attempt(r->worker, scan_part, &part, next - start);
        for (uint32_t i = 0; i < f->n_edges; i++) {
            const struct wire_edge *const e = &f->edges[i];
            add(r, &(struct wire_root){.address = start + (uint64_t)e->source_word * 8,
                                       .target = e->target,
                                       .target_offset = e->target_offset,
                                       .kind = kind,
                                       .flags =
                                           flags | (e->target_offset ? SNAP_EDGE_FLAG_INTERIOR : 0),
                                       .thread = thread});
        }
        if (kind == SNAP_ROOT_GLOBAL)
            scan_put_codes(s, f, start);
        s->sink.tick(s->sink.context);
    }
}

static struct roots *roots_new(struct scan *s, struct scan_worker *w) {
    struct roots *const r = raw_map(sizeof *r, 0x22 /* private, anonymous */);
    if (r) {
        r->scan = s;
        r->worker = w;
    }
    return r;
}

void scan_roots_globals(struct scan *s, struct scan_worker *w) {
    struct roots *const r = roots_new(s, w);
    if (!r)
        return;
    const struct scan_range *const globals = (const void *)s->globals.data;
    r->are_kept = 1;
    for (size_t i = 0; i < s->globals.length / sizeof *globals; i++) {
        const struct scan_range state = scan_malloc_state(w, globals[i].start, globals[i].end);
        if (state.end)
            add_range(r, globals[i].start, state.start, SNAP_ROOT_GLOBAL, 0, 0);
        add_range(r, state.end ? state.end : globals[i].start, globals[i].end, SNAP_ROOT_GLOBAL, 0,
                  0);
    }
    raw_unmap(r, sizeof *r);
}

/* --- threads --- */

/* Numbers that DWARF gives the registers, by their place in a ucontext. */
static const uint8_t register_numbers[16] = {8, 9, 10, 11, 12, 13, 14, 15, 5, 4, 6, 3, 1, 0, 2, 7};

static void add_registers(struct roots *r, const struct park_thread *t, uint32_t number) {
    for (unsigned k = 0; k < 16; k++)
        for (unsigned i = 0; i < 16; i++) {
            uint64_t value = t->registers[i], offset;
            if (register_numbers[i] != k)
                continue;
            if (k == 7)
                value = t->sp; /* known of threads that sleep, too */
            const uint32_t node = scan_table_find(&r->scan->table, value, &offset);
            if (node)
                add(r, &(struct wire_root){.address = k,
                                           .target = node,
                                           .target_offset = offset,
                                           .kind = SNAP_ROOT_REGISTER,
                                           .flags = offset ? SNAP_EDGE_FLAG_INTERIOR : 0,
                                           .thread = number});
        }
}

/* What is in use of a stack, but for parts that hold no live words. */
static void add_stack(struct roots *r, uint64_t start, uint64_t end, uint32_t thread) {
    const struct scan_range *const stale = (const void *)r->scan->stale.data;
    for (size_t i = 0; i < r->scan->stale.length / sizeof *stale; i++)
        if (stale[i].start >= start && stale[i].end <= end) {
            add_range(r, start, stale[i].start, SNAP_ROOT_STACK, 0, thread);
            start = stale[i].end;
        }
    add_range(r, start, end, SNAP_ROOT_STACK, 0, thread);
}

static void add_threads(struct roots *r) {
    const struct scan *const s = r->scan;
    const struct scan_thread *const layout = (const void *)s->layout.data;
    for (uint32_t i = 0; i < s->n_threads; i++)
        if (!layout[i].is_foreign)
            add_stack(r, layout[i].stack_start, layout[i].stack_end, i + 1);
    for (uint32_t i = 0; i < s->n_threads; i++)
        add_registers(r, &s->threads[i], i + 1);
    for (uint32_t i = 0; i < s->n_threads; i++)
        add_range(r, layout[i].local_start, layout[i].local_end, SNAP_ROOT_TLS, 0, i + 1);
    /* These are in blocks, which are nodes; but nobody would know the variables by them. */
    const struct scan_local *const locals = (const void *)s->locals.data;
    for (size_t i = 0; i < s->locals.length / sizeof *locals; i++)
        add_range(r, locals[i].start, locals[i].end, SNAP_ROOT_TLS, 0, locals[i].thread);
}

/* Stacks where nothing says what is in use, and a thread's own stack while it is on another. */
static void add_odd_stacks(struct roots *r) {
    const struct scan *const s = r->scan;
    const struct scan_thread *const layout = (const void *)s->layout.data;
    for (uint32_t i = 0; i < s->n_threads; i++) {
        const struct scan_thread *const t = &layout[i];
        if (t->is_foreign)
            add_range(r, t->stack_start, t->stack_end, SNAP_ROOT_ALT_STACK, SNAP_EDGE_FLAG_LOW,
                      i + 1);
        if (t->is_foreign && t->area_start < t->local_start)
            add_range(r, t->area_start, t->local_start, SNAP_ROOT_STACK, SNAP_EDGE_FLAG_LOW, i + 1);
    }
}

static void add_mapping(void *context, uint64_t start, uint64_t end) {
    add_range(context, start, end, SNAP_ROOT_MAPPING, SNAP_EDGE_FLAG_LOW, 0);
}

void scan_roots_rest(struct scan *s, struct scan_worker *w) {
    for (size_t at = 0, n = s->roots.length / sizeof(struct wire_root); at < n;) {
        const size_t part = n - at < ROOTS_PER_SECTION ? n - at : ROOTS_PER_SECTION;
        scan_put(s, WIRE_ROOT, (uint32_t)part, s->roots.data + at * sizeof(struct wire_root),
                 part * sizeof(struct wire_root));
        at += part;
    }
    struct roots *const r = roots_new(s, w);
    if (!r)
        return;
    const size_t low_bytes = ((size_t)s->n_blocks + s->n_targets) / 64 * 8 + 16;
    r->low = raw_map(low_bytes, 0x22);
    add_threads(r);
    if (r->low) {
        add_odd_stacks(r);
        scan_mappings(s, add_mapping, r);
        raw_unmap(r->low, low_bytes);
    }
    flush(r);
    raw_unmap(r, sizeof *r);
}
