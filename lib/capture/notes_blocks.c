/* Pools at a moment: which of their blocks and ranges are there, in the order of addresses, and
 * which blocks of malloc they take the place of.
 *
 * Invariant: blocks are disjoint, so that all nodes are: of two that overlap the one that starts
 * later is kept, for an allocator may get its memory from another. A range is gone when the block
 * of malloc that it lay in is; blocks that lie in no range of a pool that has some are gone with
 * it. Memory comes from the kernel and is given back by notes_places_release. */
#include <heapsnap/common.h>
#include <string.h>

#include "capture/notes.h"
#include "capture/rawmem.h"

static struct {
    struct note_places places;
    bool is_made;
    size_t blocks_size, ranges_size, flags_size; /* bytes */
    uint8_t *has_ranges;                         /* by pool - 1 */
} view;

/* --- sorting --- */

void notes_sort(struct note_key *items, struct note_key *other, size_t n, unsigned bits) {
    enum { DIGIT = 11, VALUES = 1 << DIGIT };
    unsigned turns = 0;
    for (unsigned shift = 0; shift < bits; shift += DIGIT, turns++) {
        size_t counts[VALUES] = {0};
        for (size_t i = 0; i < n; i++)
            counts[items[i].key >> shift & (VALUES - 1)]++;
        size_t at = 0;
        for (unsigned v = 0; v < VALUES; v++) {
            const size_t count = counts[v];
            counts[v] = at;
            at += count;
        }
        for (size_t i = 0; i < n; i++)
            other[counts[items[i].key >> shift & (VALUES - 1)]++] = items[i];
        struct note_key *const swap = items;
        items = other;
        other = swap;
    }
    if (turns & 1)
        memcpy(other, items, n * sizeof *items);
}

/* --- gathering --- */

struct gather {
    size_t n_blocks, n_ranges;
    bool is_filling;
};

static bool is_there(const struct note *n) {
    return notes_is_of_pool(n) &&
           (n->kind != NOTE_RANGE || n->birth_a == 0 || notes_malloc_birth_at(n->a) == n->birth_a);
}

static int gather(void *context, const struct note *n) {
    struct gather *const g = context;
    if ((n->kind != NOTE_BLOCK && n->kind != NOTE_RANGE) || !notes_is_of_pool(n))
        return 0;
    if (n->kind == NOTE_RANGE && g->is_filling)
        view.has_ranges[n->pool - 1] = 1;
    if (!is_there(n))
        return 0;
    if (n->kind == NOTE_BLOCK) {
        if (g->is_filling)
            view.places.blocks[g->n_blocks] = (struct note_block){.address = n->a,
                                                                  .size = n->b,
                                                                  .birth = n->birth,
                                                                  .stack = n->stack,
                                                                  .pool = n->pool};
        g->n_blocks++;
    } else {
        if (g->is_filling)
            view.places.ranges[g->n_ranges] = (struct note_range){.start = n->a,
                                                                  .end = n->a + n->b,
                                                                  .birth = n->birth,
                                                                  .stack = n->stack,
                                                                  .pool = n->pool,
                                                                  .device = n->birth_b};
        g->n_ranges++;
    }
    return 0;
}

/* Sorts records of `size` bytes by the address that they start with. */
static int sort_records(void *records, size_t n, size_t size) {
    const size_t bytes = n * sizeof(struct note_key);
    struct note_key *const items = rawmem_map(2 * bytes);
    char *const sorted = items != NULL ? rawmem_map(n * size) : NULL;
    if (sorted != NULL) {
        for (size_t i = 0; i < n; i++) {
            memcpy(&items[i].key, (char *)records + i * size, sizeof items[i].key);
            items[i].index = (uint32_t)i;
        }
        notes_sort(items, items + n, n, 48);
        for (size_t i = 0; i < n; i++)
            memcpy(sorted + i * size, (char *)records + items[i].index * size, size);
        memcpy(records, sorted, n * size);
        rawmem_unmap(sorted, n * size);
    }
    if (items != NULL)
        rawmem_unmap(items, 2 * bytes);
    return sorted != NULL ? 0 : -1;
}

/* The range of the block's own pool that holds it; NULL: none. Ranges of different pools may be
 * nested, so more than the last one before it is looked at. */
static struct note_range *range_of(const struct note_block *b) {
    enum { NESTED_MAX = 8 };
    const struct note_places *const p = &view.places;
    uint32_t low = 0, high = p->n_ranges;
    while (low < high) {
        const uint32_t middle = low + (high - low) / 2;
        if (p->ranges[middle].start <= b->address)
            low = middle + 1;
        else
            high = middle;
    }
    for (unsigned i = 0; low > 0 && i < NESTED_MAX; i++) {
        struct note_range *const r = &p->ranges[--low];
        if (r->pool == b->pool && b->address < r->end && b->size <= r->end - b->address)
            return r;
    }
    return NULL;
}

/* Leaves out what is gone or lies around other blocks, and adds up ranges. */
static void settle(void) {
    struct note_places *const p = &view.places;
    uint32_t n = 0;
    for (uint32_t i = 0; i < p->n_blocks; i++) {
        const struct note_block *const b = &p->blocks[i];
        const bool is_outer = i + 1 < p->n_blocks && b[1].address - b->address < b->size;
        if (!is_outer && (range_of(b) != NULL || !view.has_ranges[b->pool - 1]))
            p->blocks[n++] = *b;
    }
    p->n_blocks = n;
    for (uint32_t i = 0; i < n; i++) {
        const struct note_block *const b = &p->blocks[i];
        struct note_range *const r = range_of(b);
        p->has_blocks[b->pool - 1] = 1;
        if (r != NULL) {
            r->live += b->size;
            p->blocks[i].device = r->device;
        }
    }
    for (uint32_t k = 0; k < p->n_ranges; k++) {
        struct note_range *const r = &p->ranges[k];
        uint32_t low = 0, high = n;
        while (low < high) {
            const uint32_t middle = low + (high - low) / 2;
            if (p->blocks[middle].address < r->start)
                low = middle + 1;
            else
                high = middle;
        }
        uint64_t at = r->start;
        for (; low < n && p->blocks[low].address < r->end; low++) {
            const uint64_t gap = p->blocks[low].address - at;
            r->largest_gap = gap > r->largest_gap ? gap : r->largest_gap;
            at = p->blocks[low].address + p->blocks[low].size;
        }
        if (at < r->end && r->end - at > r->largest_gap)
            r->largest_gap = r->end - at;
    }
}

/* What is in device memory is no node of the host's. */
static void part(void) {
    struct note_places *const p = &view.places;
    uint32_t n = 0;
    for (uint32_t i = 0; i < p->n_ranges; i++)
        if (p->ranges[i].device != 0)
            p->is_device[p->ranges[i].pool - 1] = 1;
    for (uint32_t i = 0; i < p->n_ranges; i++) {
        if (p->ranges[i].device != 0)
            continue;
        p->is_device[p->ranges[i].pool - 1] = 0;
        p->ranges[n++] = p->ranges[i];
    }
    p->n_ranges = n;
    n = 0;
    for (uint32_t i = 0; i < p->n_blocks; i++) {
        if (p->blocks[i].device != 0)
            p->device_blocks[p->n_device_blocks++] = p->blocks[i];
        else
            p->blocks[n++] = p->blocks[i];
    }
    p->n_blocks = n;
}

int notes_places_make(void) {
    struct gather g = {0};
    notes_for_each(gather, &g);
    struct note_places *const p = &view.places;
    if (g.n_blocks + g.n_ranges == 0)
        return 0;
    view.flags_size = 3 * (size_t)notes_n_pools();
    view.blocks_size = 2 * (g.n_blocks + 1) * sizeof *p->blocks;
    view.ranges_size = (g.n_ranges + 1) * sizeof *p->ranges;
    p->blocks = rawmem_map(view.blocks_size);
    p->ranges = rawmem_map(view.ranges_size);
    p->has_blocks = rawmem_map(view.flags_size);
    view.is_made = true;
    if (p->blocks == NULL || p->ranges == NULL || p->has_blocks == NULL) {
        notes_places_release();
        return SNAP_E_NOMEM;
    }
    p->device_blocks = p->blocks + g.n_blocks + 1;
    view.has_ranges = p->has_blocks + notes_n_pools();
    p->is_device = view.has_ranges + notes_n_pools();
    const struct gather counted = g;
    g = (struct gather){.is_filling = true};
    notes_for_each(gather, &g);
    p->n_blocks = (uint32_t)counted.n_blocks;
    p->n_ranges = (uint32_t)counted.n_ranges;
    if (sort_records(p->blocks, p->n_blocks, sizeof *p->blocks) < 0 ||
        sort_records(p->ranges, p->n_ranges, sizeof *p->ranges) < 0) {
        notes_places_release();
        return SNAP_E_NOMEM;
    }
    settle();
    part();
    return 0;
}

const struct note_places *notes_places(void) {
    return view.is_made ? &view.places : NULL;
}

void notes_places_release(void) {
    if (view.places.blocks != NULL)
        rawmem_unmap(view.places.blocks, view.blocks_size);
    if (view.places.ranges != NULL)
        rawmem_unmap(view.places.ranges, view.ranges_size);
    if (view.places.has_blocks != NULL)
        rawmem_unmap(view.places.has_blocks, view.flags_size);
    memset(&view, 0, sizeof view);
}

const struct note_block *notes_next_block(struct note_cursor *cursor, uint64_t before) {
    const struct note_places *const p = &view.places;
    return cursor->block < p->n_blocks && p->blocks[cursor->block].address < before
               ? &p->blocks[cursor->block++]
               : NULL;
}

bool notes_is_memory(struct note_cursor *cursor, uint64_t address, uint64_t size) {
    const struct note_places *const p = &view.places;
    const uint64_t end = address + (size ? size : 1);
    if (cursor->block < p->n_blocks && p->blocks[cursor->block].address < end)
        return true;
    while (cursor->range < p->n_ranges && p->ranges[cursor->range].start < address)
        cursor->range++;
    for (uint32_t i = cursor->range; i < p->n_ranges && p->ranges[i].start < end; i++)
        if (p->ranges[i].end <= end && p->has_blocks[p->ranges[i].pool - 1])
            return true;
    return false;
}
