/* The index of nodes by address. See scan_table.h for the idea.
 *
 * Invariant while it is filled: lines up to that of the last entry are complete; scan_table_finish
 * completes the rest of its chunk. Reads no memory but its own; all of it comes from mmap, because
 * it is built where malloc must not be called. */
#include "capture/scan_table.h"

#include <sys/mman.h>

#include "capture/raw.h"

void *scan_array_more(struct scan_array *a, size_t bytes) {
    if (a->length + bytes > a->size) {
        size_t size = a->size ? a->size : (size_t)64 << 10;
        while (size < a->length + bytes)
            size *= 2;
        const int flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE;
        void *const p = a->data ? raw_grow(a->data, a->size, size, flags) : raw_map(size, flags);
        if (!p)
            return NULL;
        a->data = p;
        a->size = size;
        if (size >= (size_t)8 << 20)
            raw_call3(SYS_madvise, (long)p, (long)size, MADV_HUGEPAGE);
    }
    void *const at = a->data + a->length;
    a->length += bytes;
    return at;
}

void scan_array_release(struct scan_array *a) {
    if (a->data)
        raw_unmap(a->data, a->size);
    *a = (struct scan_array){0};
}

struct great {
    uint64_t size;
    uint32_t entry, unused;
};

uint64_t scan_table_great_size(const struct scan_table *t, uint32_t entry) {
    const struct great *const great = (const void *)t->great.data;
    size_t low = 0, high = t->great.length / sizeof *great;
    while (low < high) {
        const size_t middle = (low + high) / 2;
        if (great[middle].entry < entry)
            low = middle + 1;
        else
            high = middle;
    }
    return great[low].size;
}

/* The chunk word of an address, to be changed; NULL: no memory. */
static uint64_t *chunk_at(struct scan_table *t, uint64_t address) {
    uint32_t *const leaf = &t->root[address >> SCAN_LEAF_SHIFT];
    const size_t leaf_bytes = SCAN_LEAF_CHUNKS * sizeof(uint64_t);
    if (*leaf == 0) {
        if (!scan_array_more(&t->leaves, leaf_bytes))
            return NULL;
        *leaf = (uint32_t)(t->leaves.length / leaf_bytes);
    }
    return (uint64_t *)(void *)(t->leaves.data + (size_t)(*leaf - 1) * leaf_bytes) +
           (address >> SCAN_CHUNK_SHIFT & (SCAN_LEAF_CHUNKS - 1));
}

static struct scan_page *lines(const struct scan_table *t, uint64_t chunk) {
    return (struct scan_page *)(void *)t->pages.data + (size_t)(uint32_t)chunk * SCAN_CHUNK_PAGES;
}

/* Gives a chunk its lines; all say that n entries start before them. */
static int make_paged(struct scan_table *t, uint64_t *chunk, uint32_t n) {
    const size_t bytes = SCAN_CHUNK_PAGES * sizeof(struct scan_page);
    if (*chunk & SCAN_CHUNK_PAGED)
        return 0;
    const uint64_t number = t->pages.length / bytes;
    if (number > UINT32_MAX || !scan_array_more(&t->pages, bytes))
        return -1;
    *chunk = (*chunk & SCAN_CHUNK_IMAGE) | SCAN_CHUNK_PAGED | number;
    struct scan_page *const page = lines(t, *chunk);
    for (unsigned i = 0; i < SCAN_CHUNK_PAGES; i++)
        page[i].base = n;
    return 0;
}

/* Lines after that of the last entry, up to page `to` of the same chunk: n entries start before
 * them. */
static void complete(struct scan_table *t, uint64_t to, uint32_t n) {
    if (t->n_entries == 0)
        return;
    const uint64_t chunk = scan_table_chunk(t, t->last_page << SCAN_PAGE_SHIFT);
    const uint64_t end = (t->last_page | (SCAN_CHUNK_PAGES - 1)) + 1;
    for (uint64_t page = t->last_page + 1; page < end && page <= to; page++)
        lines(t, chunk)[page & (SCAN_CHUNK_PAGES - 1)].base = n;
}

static void mark_start(struct scan_page *page, uint64_t address) {
    const unsigned granule = address >> 4 & 255;
    const uint64_t bit = UINT64_C(1) << (granule & 63);
    if ((address & 15) || (page->starts[granule >> 6] & bit))
        page->is_irregular = 1;
    page->n_starts++;
    if (page->starts[granule >> 6] & bit)
        return;
    page->starts[granule >> 6] |= bit;
    for (unsigned i = (granule >> 6) + 1; i < 4; i++)
        page->before[i]++;
}

/* Remembers which entry is around the new one. */
static int note_outer(struct scan_table *t, uint32_t entry, uint64_t address) {
    uint32_t outer = t->n_entries;
    outer = scan_table_around(t, outer, address) + 1;
    if (outer && !t->is_nested) {
        if (!scan_array_more(&t->outer, (size_t)entry * sizeof(uint32_t)))
            return -1;
        t->is_nested = 1;
    }
    if (t->is_nested) {
        uint32_t *const to = scan_array_more(&t->outer, sizeof *to);
        if (!to)
            return -1;
        *to = outer;
    }
    return 0;
}

static int add(struct scan_table *t, uint64_t address, uint64_t size, uint32_t node) {
    const uint32_t entry = t->n_entries;
    if (entry == UINT32_MAX - 1 || address >> 47 || size > (UINT64_C(1) << 47) - address)
        return -1;
    const uint64_t last = address + (size ? size - 1 : 0);
    uint64_t *const first_chunk = chunk_at(t, address);
    if (!first_chunk || make_paged(t, first_chunk, entry) < 0)
        return -1;
    for (uint64_t at = (address >> SCAN_CHUNK_SHIFT) + 1; at <= last >> SCAN_CHUNK_SHIFT; at++) {
        uint64_t *const chunk = chunk_at(t, at << SCAN_CHUNK_SHIFT);
        if (!chunk)
            return -1;
        if (*chunk & SCAN_CHUNK_PAGED) /* the end of one around this one */
            for (unsigned i = 0; i < SCAN_CHUNK_PAGES; i++)
                lines(t, *chunk)[i].base = entry + 1;
        else if (at < last >> SCAN_CHUNK_SHIFT)
            *chunk = (*chunk & SCAN_CHUNK_IMAGE) | SCAN_CHUNK_WHOLE | entry;
        else if (make_paged(t, chunk, entry + 1) < 0)
            return -1;
    }
    if (size >= SCAN_SIZE_BIG) {
        struct great *const great = scan_array_more(&t->great, sizeof *great);
        if (!great)
            return -1;
        *great = (struct great){.size = size, .entry = entry};
    }
    if (note_outer(t, entry, address) < 0)
        return -1;
    struct scan_entry *const e = scan_array_more(&t->entries, sizeof *e);
    if (!e)
        return -1;
    *e = (struct scan_entry){.address = address,
                             .size = size < SCAN_SIZE_BIG ? (uint32_t)size : SCAN_SIZE_BIG,
                             .node = node};
    const uint64_t page = address >> SCAN_PAGE_SHIFT;
    complete(t, page, entry);
    struct scan_page *const line = lines(t, scan_table_chunk(t, address));
    const unsigned at_page = page & (SCAN_CHUNK_PAGES - 1);
    if (entry > 0 && line[at_page].base != entry &&
        page / SCAN_CHUNK_PAGES != t->last_page / SCAN_CHUNK_PAGES)
        for (unsigned i = 0; i <= at_page; i++) /* others have ended since this chunk was begun */
            line[i].base = entry;
    mark_start(&line[at_page], address);
    t->last_page = page;
    t->n_entries++;
    if (t->high == 0 || address < t->low)
        t->low = address;
    if (last + 1 > t->high)
        t->high = last + 1;
    return 0;
}

void scan_table_add(struct scan_table *t, uint64_t address, uint64_t size, uint32_t node) {
    if (t->has_failed || add(t, address, size, node) < 0)
        t->has_failed = 1;
}

void scan_table_mark_image(struct scan_table *t, uint64_t start, uint64_t end) {
    if (end >> 47 || start >= end)
        return;
    for (uint64_t at = start >> SCAN_CHUNK_SHIFT; at <= (end - 1) >> SCAN_CHUNK_SHIFT; at++) {
        uint64_t *const chunk = chunk_at(t, at << SCAN_CHUNK_SHIFT);
        if (!chunk) {
            t->has_failed = 1;
            return;
        }
        *chunk |= SCAN_CHUNK_IMAGE;
    }
    if (t->high == 0 || start < t->low)
        t->low = start;
    if (end > t->high)
        t->high = end;
}

void scan_table_finish(struct scan_table *t) {
    complete(t, UINT64_MAX, t->n_entries);
}

void scan_table_release(struct scan_table *t) {
    scan_array_release(&t->leaves);
    scan_array_release(&t->pages);
    scan_array_release(&t->entries);
    scan_array_release(&t->great);
    scan_array_release(&t->outer);
}

uint32_t scan_table_search(const struct scan_table *t, const struct scan_page *page,
                           uint64_t address) {
    const struct scan_entry *const entries = scan_table_entries(t);
    uint32_t low = page->base, high = page->base + page->n_starts;
    while (low < high) {
        const uint32_t middle = low + (high - low) / 2;
        if (entries[middle].address <= address)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

uint32_t scan_table_find(const struct scan_table *t, uint64_t address, uint64_t *out_offset) {
    const uint64_t chunk = address >> 47 ? 0 : scan_table_chunk(t, address);
    uint32_t last = 0;
    if (chunk & SCAN_CHUNK_WHOLE)
        last = (uint32_t)chunk + 1;
    else if (chunk & SCAN_CHUNK_PAGED)
        last = scan_table_last(t, scan_table_page(t, chunk, address), address);
    const uint32_t entry = scan_table_around(t, last, address);
    if (entry == UINT32_MAX)
        return 0;
    *out_offset = address - scan_table_entries(t)[entry].address;
    return scan_table_entries(t)[entry].node;
}
