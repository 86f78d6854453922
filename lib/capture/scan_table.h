/* From an address to the node that holds it, in three loads.
 *
 * 2 MiB chunks of address space are found through a table of two levels; a chunk has a line of 64
 * bytes per page, which says at which 16-byte granules nodes start and how many start before the
 * page. So counting bits gives the index of the last node that starts at or before an address. The
 * index costs 1.6% of the address space in which nodes start. */
#ifndef HEAPSNAP_SCAN_TABLE_H
#define HEAPSNAP_SCAN_TABLE_H

#include <stddef.h>
#include <stdint.h>

/* Mapped memory that grows. */
struct scan_array {
    char *data;
    size_t size, length; /* bytes */
};
/* Room for `bytes` more, NULL: no memory. */
void *scan_array_more(struct scan_array *a, size_t bytes);
void scan_array_release(struct scan_array *a);

struct scan_entry {
    uint64_t address;
    uint32_t size; /* SCAN_SIZE_BIG: in the table of great ones */
    uint32_t node;
};
#define SCAN_SIZE_BIG UINT32_MAX

enum {
    SCAN_PAGE_SHIFT = 12,
    SCAN_CHUNK_SHIFT = 21,
    SCAN_LEAF_SHIFT = 33,
    SCAN_CHUNK_PAGES = 1 << (SCAN_CHUNK_SHIFT - SCAN_PAGE_SHIFT),
    SCAN_LEAF_CHUNKS = 1 << (SCAN_LEAF_SHIFT - SCAN_CHUNK_SHIFT),
    SCAN_ROOT_LEAVES = 1 << (47 - SCAN_LEAF_SHIFT)
};

struct scan_page {
    uint64_t starts[4];   /* bit per granule */
    uint32_t base;        /* entries that start before the page */
    uint16_t n_starts;    /* entries that start in it */
    uint8_t is_irregular; /* bits do not tell them apart: search */
    uint8_t before[4];    /* bits set in the words before this one */
    uint8_t unused[21];
};

/* A word per chunk: flags, and the number of its lines or the index of the one entry in it. */
#define SCAN_CHUNK_PAGED (UINT64_C(1) << 32)
#define SCAN_CHUNK_WHOLE (UINT64_C(1) << 33)
#define SCAN_CHUNK_IMAGE (UINT64_C(1) << 34) /* part of a loaded image is here */

struct scan_table {
    uint32_t root[SCAN_ROOT_LEAVES]; /* leaf number + 1 */
    struct scan_array leaves, pages, entries, great, outer;
    uint32_t n_entries;
    int is_nested; /* `outer` holds for each entry the index + 1 of the one around it */
    int has_failed;
    uint64_t low, high; /* all that is in here */
    /* while it is filled */
    uint64_t last_page; /* number of the page of the last entry */
};

/* Entries in the order of addresses. What there is no memory for is left out, has_failed says so.
 */
void scan_table_add(struct scan_table *t, uint64_t address, uint64_t size, uint32_t node);
/* Marks chunks that an image has part of. */
void scan_table_mark_image(struct scan_table *t, uint64_t start, uint64_t end);
/* No more entries. */
void scan_table_finish(struct scan_table *t);
void scan_table_release(struct scan_table *t);
uint64_t scan_table_great_size(const struct scan_table *t, uint32_t entry);

static inline const struct scan_entry *scan_table_entries(const struct scan_table *t) {
    return (const void *)t->entries.data;
}

static inline uint64_t scan_table_size(const struct scan_table *t, uint32_t entry) {
    const uint32_t size = scan_table_entries(t)[entry].size;
    return size != SCAN_SIZE_BIG ? size : scan_table_great_size(t, entry);
}

/* The chunk word of an address below 2^47; 0: nothing is there. */
static inline uint64_t scan_table_chunk(const struct scan_table *t, uint64_t address) {
    const uint32_t leaf = t->root[address >> SCAN_LEAF_SHIFT];
    if (leaf == 0)
        return 0;
    const uint64_t *const chunks = (const void *)t->leaves.data;
    return chunks[(size_t)(leaf - 1) * SCAN_LEAF_CHUNKS +
                  (address >> SCAN_CHUNK_SHIFT & (SCAN_LEAF_CHUNKS - 1))];
}

static inline const struct scan_page *scan_table_page(const struct scan_table *t, uint64_t chunk,
                                                      uint64_t address) {
    return (const struct scan_page *)(const void *)t->pages.data +
           (size_t)(uint32_t)chunk * SCAN_CHUNK_PAGES +
           (address >> SCAN_PAGE_SHIFT & (SCAN_CHUNK_PAGES - 1));
}

/* For a page that is irregular. */
uint32_t scan_table_search(const struct scan_table *t, const struct scan_page *page,
                           uint64_t address);

/* Index + 1 of the last entry that starts at or before an address of the page; 0: none. */
static inline uint32_t scan_table_last(const struct scan_table *t, const struct scan_page *page,
                                       uint64_t address) {
    if (__builtin_expect(page->is_irregular, 0))
        return scan_table_search(t, page, address);
    const unsigned granule = address >> 4 & 255;
    return page->base + page->before[granule >> 6] +
           (uint32_t)__builtin_popcountll(page->starts[granule >> 6] &
                                          ~UINT64_C(0) >> (63 - (granule & 63)));
}

/* Index of the entry around an address, given the last one that starts before it (index + 1), or
 * UINT32_MAX. */
static inline uint32_t scan_table_around(const struct scan_table *t, uint32_t last,
                                         uint64_t address) {
    while (last) {
        const struct scan_entry *const e = &scan_table_entries(t)[last - 1];
        const uint64_t size = scan_table_size(t, last - 1);
        if (address - e->address < (size ? size : 1))
            return last - 1;
        if (!t->is_nested)
            break;
        last = ((const uint32_t *)(const void *)t->outer.data)[last - 1];
    }
    return UINT32_MAX;
}

/* The node that holds an address, 0: none. */
uint32_t scan_table_find(const struct scan_table *t, uint64_t address, uint64_t *out_offset);

#endif
