/* Which node an object is: first a hash table, while nodes are added; then, when they are in order
 * of their addresses, the objects' starts as bits, which is a hundredth of the memory that the
 * objects take, so that looking one up is no miss of the cache for every object.
 *
 * Invariants: an entry of the table is tag << 32 | index + 1, 0: free; a page's bits are the starts
 * of the nodes from `first` on, in order, and no node lies outside of the pages. Looks at no
 * object: any word may be asked for. */
#include "python/walker.h"

enum {
    PAGE_SHIFT = 11, /* a bit for each 8 bytes */
    WORDS = 4
};

struct page {
    uint64_t number;
    uint32_t first;        /* index */
    uint8_t before[WORDS]; /* starts in the words before */
    uint64_t starts[WORDS];
};

static inline uint64_t mix(uintptr_t address) {
    return (address >> 4) * 0x9e3779b97f4a7c15u;
}

/* Where the search for an object begins. */
static inline uint64_t *first_slot(const struct managed_walk *w, const void *op) {
    uint64_t *const table = (uint64_t *)(void *)w->index.data;
    return &table[mix((uintptr_t)op) >> 20 & (w->index.length / sizeof *table - 1)];
}

static inline uint64_t *slot_of(struct managed_walk *w, const void *op) {
    uint64_t *const table = (uint64_t *)(void *)w->index.data;
    const size_t mask = w->index.length / sizeof *table - 1;
    const struct node *const nodes = walk_nodes(w);
    const uint64_t h = mix((uintptr_t)op);
    for (size_t at = h >> 20 & mask;; at = (at + 1) & mask)
        if (table[at] == 0 ||
            (table[at] >> 32 == h >> 32 && nodes[(uint32_t)table[at] - 1].object == op))
            return &table[at];
}

static inline void put(struct managed_walk *w, const void *op, uint32_t index) {
    *slot_of(w, op) = mix((uintptr_t)op) >> 32 << 32 | (index + 1);
}

static int make_table(struct managed_walk *w, size_t n_slots) {
    struct memory old = w->index;
    w->index = (struct memory){0};
    if (!memory_zeroed(&w->index, n_slots * sizeof(uint64_t))) {
        w->index = old;
        return -1;
    }
    memory_release(&old);
    for (uint32_t i = 0; i < w->n_nodes; i++)
        put(w, walk_nodes(w)[i].object, i);
    return 0;
}

int index_start(struct managed_walk *w) {
    return make_table(w, (size_t)1 << 18);
}

int index_add(struct managed_walk *w, const void *op, uint32_t index) {
    const size_t n_slots = w->index.length / sizeof(uint64_t);
    if (((size_t)index + 1) * 3 >= n_slots * 2 && make_table(w, n_slots * 2) < 0)
        return -1;
    put(w, op, index);
    return 0;
}

void index_expect(struct managed_walk *w, const void *op) {
    __builtin_prefetch(first_slot(w, op));
    __builtin_prefetch(op);
}

void index_expect_node(struct managed_walk *w, const void *op) {
    const uint32_t index = (uint32_t)*first_slot(w, op);
    if (index)
        __builtin_prefetch(&walk_nodes(w)[index - 1], 1);
}

/* The place of a page in the table of pages. */
static inline uint32_t *page_slot(const struct managed_walk *w, uint64_t number) {
    const struct page *const pages = (const struct page *)(void *)w->pages.data;
    uint32_t *const table = (uint32_t *)(void *)w->index.data;
    const size_t mask = w->index.length / sizeof *table - 1;
    size_t at = number * 0x9e3779b97f4a7c15u >> 32 & mask;
    while (table[at] && pages[table[at] - 1].number != number)
        at = (at + 1) & mask;
    return &table[at];
}

int index_sorted(struct managed_walk *w) {
    const struct node *const nodes = walk_nodes(w);
    uint32_t n_pages = 0;
    uint64_t last = UINT64_MAX;
    for (uint32_t i = 0; i < w->n_nodes; i++) {
        n_pages += (uintptr_t)nodes[i].object >> PAGE_SHIFT != last;
        last = (uintptr_t)nodes[i].object >> PAGE_SHIFT;
    }
    size_t n_slots = 1024;
    while (n_slots < (size_t)n_pages * 2)
        n_slots *= 2;
    memory_release(&w->index);
    struct page *p = memory_zeroed(&w->pages, ((size_t)n_pages + 1) * sizeof *p);
    if (!p || !memory_zeroed(&w->index, n_slots * sizeof(uint32_t)))
        return -1;
    last = UINT64_MAX;
    p--;
    for (uint32_t i = 0; i < w->n_nodes; i++) {
        const uintptr_t address = (uintptr_t)nodes[i].object;
        if (address >> PAGE_SHIFT != last) {
            *++p = (struct page){.number = last = address >> PAGE_SHIFT, .first = i};
            *page_slot(w, last) = (uint32_t)(p - (struct page *)(void *)w->pages.data) + 1;
        }
        const unsigned bit = address >> 3 & 255;
        p->starts[bit >> 6] |= UINT64_C(1) << (bit & 63);
        for (unsigned word = (bit >> 6) + 1; word < WORDS; word++)
            p->before[word]++;
    }
    return 0;
}

static inline uint32_t find_sorted(struct managed_walk *w, uintptr_t address) {
    const uint32_t place = *page_slot(w, address >> PAGE_SHIFT);
    if (place == 0 || address & 7)
        return 0;
    const struct page *const p = &((const struct page *)(void *)w->pages.data)[place - 1];
    const uint64_t starts = p->starts[address >> 9 & 3], bit = UINT64_C(1) << (address >> 3 & 63);
    if (!(starts & bit))
        return 0;
    return p->first + p->before[address >> 9 & 3] +
           (uint32_t)__builtin_popcountll(starts & (bit - 1)) + 1;
}

uint32_t walk_find(struct managed_walk *w, const void *op) {
    return w->pages.data ? find_sorted(w, (uintptr_t)op) : (uint32_t)*slot_of(w, op);
}
