/* Which mappings are nobody's: memory that a program or a library has mapped for itself, in which
 * references may stand although nothing is known about it.
 *
 * Left out is what is known: images, threads, the recorder. And the memory of allocators, which
 * holds blocks and what is free: a mapping that the program's hook saw and in which blocks stand is
 * an arena of some allocator; of mappings that no hook saw (malloc maps below the hooks) the
 * surroundings of blocks are. Decides only; reads no more than a word before a block. */
#include <heapsnap/snapdef.h>
#include <string.h>

#include "capture/moment.h"
#include "capture/scan_internal.h"
#include "capture/spans.h"

#define PAGE UINT64_C(4096)
/* glibc's arenas begin at multiples of this and are no greater. */
#define ARENA (UINT64_C(64) << 20)

struct exclusions {
    struct scan_array ranges; /* struct scan_range */
};

static void leave_out(struct exclusions *x, uint64_t start, uint64_t end) {
    struct scan_range *const r = start < end ? scan_array_more(&x->ranges, sizeof *r) : NULL;
    if (r)
        *r = (struct scan_range){.start = start, .end = end};
}

static void leave_out_known(const struct scan *s, struct exclusions *x) {
    const struct scan_range *const own = (const void *)s->own.data;
    for (size_t i = 0; i < s->own.length / sizeof *own; i++)
        leave_out(x, own[i].start, own[i].end);
    const struct scan_image *const images = (const void *)s->images.data;
    for (size_t i = 0; i < s->images.length / sizeof *images; i++)
        leave_out(x, images[i].start, images[i].end);
    const struct scan_thread *const layout = (const void *)s->layout.data;
    for (uint32_t i = 0; i < s->n_threads; i++) {
        leave_out(x, layout[i].area_start, layout[i].area_end);
        leave_out(x, layout[i].local_start, layout[i].local_end);
        leave_out(x, layout[i].stack_start, layout[i].stack_end);
    }
}

static int is_glibc(void) {
    return strcmp(moment_process.allocator, "glibc") == 0;
}

/* The surroundings of a block: all that its allocator got with it. */
static void leave_out_around(const struct scan *s, struct exclusions *x,
                             const struct scan_segment *g, uint32_t entry) {
    const uint64_t start = scan_table_entries(&s->table)[entry].address;
    const uint64_t end = start + scan_table_size(&s->table, entry);
    /* glibc says in the two words before a block if it has a mapping of its own, and its bounds. */
    if (start % 16 == 0 && start - g->start >= 16) {
        const uint64_t *const words = (const uint64_t *)start;
        const uint64_t chunk = start - 16 - words[-2],
                       chunk_end = start - 16 + (words[-1] & ~UINT64_C(7));
        if ((words[-1] & 2) && chunk % PAGE == 0 && chunk_end % PAGE == 0 && chunk < start &&
            chunk_end >= end) {
            leave_out(x, chunk, chunk_end);
            return;
        }
    }
    /* Of others, what no hook saw is left out anyway, and what one saw next to it is not theirs. */
    if (is_glibc())
        leave_out(x, start & ~(ARENA - 1), (end + ARENA - 1) & ~(ARENA - 1));
    else
        leave_out(x, g->start, g->end);
}

/* Entries that start in a segment: all of it is an arena, or the surroundings of each. */
static void leave_out_arenas(const struct scan *s, struct exclusions *x,
                             const struct scan_segment *g, uint32_t *entry) {
    const struct scan_entry *const entries = scan_table_entries(&s->table);
    while (*entry < s->table.n_entries && entries[*entry].address < g->start)
        ++*entry;
    for (; *entry < s->table.n_entries && entries[*entry].address < g->end; ++*entry) {
        if (g->is_known) {
            leave_out(x, g->start, g->end);
            return;
        }
        const size_t n = x->ranges.length / sizeof(struct scan_range);
        const struct scan_range *const last = (const struct scan_range *)(void *)x->ranges.data + n;
        if (n == 0 || entries[*entry].address - last[-1].start >= last[-1].end - last[-1].start)
            leave_out_around(s, x, g, *entry);
    }
}

/* Whether a segment may be somebody's at all. */
static int is_candidate(const struct scan_segment *g) {
    if (!g->is_writable || g->kind == SNAP_REGN_RECORDER)
        return 0;
    if (g->kind == SNAP_REGN_HEAP)
        return (int)g->is_known; /* by the program's own sbrk */
    if (g->is_file || g->is_known)
        return 1;
    /* Other allocators map what they like, and keep their books in it. */
    const uint64_t local = park_main_pointer();
    if (!is_glibc() && !(local - g->start < g->end - g->start))
        return 0;
    return !scan_threads_dead_block(g->start, g->end);
}

/* The stack of a thread that ended, kept by glibc for the next one: its words are stale, but its
 * control block still owns the vector of thread-local storage, second word of it. */
static uint64_t dead_thread(const struct scan_segment *g) {
    return g->is_writable && !g->is_file && g->kind == SNAP_REGN_ANONYMOUS
               ? scan_threads_dead_block(g->start, g->end)
               : 0;
}

void scan_mappings(struct scan *s, void (*fn)(void *context, uint64_t start, uint64_t end),
                   void *context) {
    const struct scan_segment *const segments = (const void *)s->segments.data;
    const size_t n_segments = s->segments.length / sizeof *segments;
    struct exclusions x = {0};
    uint32_t entry = 0;
    leave_out_known(s, &x);
    for (size_t i = 0; i < n_segments; i++)
        leave_out_arenas(s, &x, &segments[i], &entry);
    struct scan_range *const out = (void *)x.ranges.data;
    const size_t n = x.ranges.length / sizeof *out;
    spans_sort(out, sizeof(struct scan_range), n);
    size_t k = 0;
    uint64_t covered = 0; /* everything before it is done with */
    for (size_t i = 0; i < n_segments && !s->error; i++) {
        const struct scan_segment *const g = &segments[i];
        if (!is_candidate(g)) {
            const uint64_t block = dead_thread(g);
            if (block)
                fn(context, block, block + 16);
            continue;
        }
        uint64_t at = g->start;
        for (; k < n && out[k].start < g->end; k++) {
            if (at < covered)
                at = covered;
            if (out[k].start > at)
                fn(context, at, out[k].start);
            if (out[k].end > covered)
                covered = out[k].end;
        }
        if (at < covered)
            at = covered;
        if (at < g->end)
            fn(context, at, g->end);
    }
    scan_array_release(&x.ranges);
}
