/* Which node an object is: first a hash table, while nodes are added; then, when they are in order
 * of their addresses, the objects' starts as bits, which is a hundredth of the memory that the
 * objects take, so that looking one up is no miss of the cache for every object.
 *
 * Invariants: an entry of the table is tag << 32 | index + 1, 0: free; a page's bits are the starts
 * of the nodes from `first` on, in order, and no node lies outside of the pages. Looks at no
 * object: any word may be asked for. */
#include "python/walker.h"

#include "capture/spans.h"

enum {
    PAGE_SHIFT = 11, /* a bit for each 8 bytes */
    WORDS = 4
};

struct page {
    uint64_t number;
    uint32_t first;        /* index */
    uint8_t before[WORDS]; /* starts in the words before */
    uint64_t starts[WORDS];
    uint64_t unused[2]; /* in one line of a cache */
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
    for (size_t at = (size_t)(first_slot(w, op) - table);; at = (at + 1) & mask)
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

/* Where the search for a page begins in the table of pages. */
static inline uint32_t *page_slot_first(const struct managed_walk *w, uint64_t number) {
    uint32_t *const table = (uint32_t *)(void *)w->index.data;
    return &table[number * 0x9e3779b97f4a7c15u >> 32 & (w->index.length / sizeof *table - 1)];
}

/* The place of a page in it. */
static inline uint32_t *page_slot(const struct managed_walk *w, uint64_t number) {
    const struct page *const pages = (const struct page *)(void *)w->pages.data;
    uint32_t *const table = (uint32_t *)(void *)w->index.data;
    const size_t mask = w->index.length / sizeof *table - 1;
    size_t at = (size_t)(page_slot_first(w, number) - table);
    while (table[at] && pages[table[at] - 1].number != number)
        at = (at + 1) & mask;
    return &table[at];
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

static struct page *all_pages(const struct managed_walk *w) {
    return (struct page *)(void *)w->pages.data;
}

static uint32_t n_pages(const struct managed_walk *w) {
    return (uint32_t)(w->pages.length / sizeof(struct page));
}

/* A table of pages, of twice as many slots as there are. */
static int place_pages(struct managed_walk *w, size_t n_slots) {
    memory_release(&w->index);
    if (!memory_zeroed(&w->index, n_slots * sizeof(uint32_t)))
        return -1;
    for (uint32_t i = 0; i < n_pages(w); i++)
        *page_slot(w, all_pages(w)[i].number) = i + 1;
    return 0;
}

static int mark_start(struct managed_walk *w, uintptr_t address) {
    const uint64_t number = address >> PAGE_SHIFT;
    uint32_t *at = page_slot(w, number);
    if (!*at) {
        const size_t n_slots = w->index.length / sizeof *at;
        if ((size_t)n_pages(w) * 2 >= n_slots) {
            if (place_pages(w, n_slots * 2) < 0)
                return -1;
            at = page_slot(w, number);
        }
        memory_add(&w->pages, &(struct page){.number = number}, sizeof(struct page));
        if (w->pages.failed)
            return -1;
        *at = n_pages(w);
    }
    all_pages(w)[*at - 1].starts[address >> 9 & 3] |= UINT64_C(1) << (address >> 3 & 63);
    return 0;
}

int index_sort(struct managed_walk *w) {
    struct memory other = {0};
    w->pages.length = 0;
    if (w->n_nodes == 0)
        return 0;
    if (memory_reserve(&w->pages, sizeof(struct page)) < 0 || place_pages(w, 4096) < 0)
        return -1;
    for (uint32_t i = 0; i < w->n_nodes; i++)
        if (mark_start(w, (uintptr_t)walk_nodes(w)[i].object) < 0)
            return -1;
    spans_sort(w->pages.data, sizeof(struct page), n_pages(w));
    uint32_t n = 0;
    for (uint32_t i = 0; i < n_pages(w); i++) {
        struct page *const p = &all_pages(w)[i];
        p->first = n;
        for (unsigned word = 0; word < WORDS; word++) {
            p->before[word] = (uint8_t)(n - p->first);
            n += (uint32_t)__builtin_popcountll(p->starts[word]);
        }
    }
    if (place_pages(w, w->index.length / sizeof(uint32_t)) < 0 ||
        memory_reserve(&other, w->nodes.length) < 0)
        return -1;
    for (uint32_t i = 0; i < w->n_nodes; i++) {
        const struct node *const from = &walk_nodes(w)[i];
        const uint32_t to = find_sorted(w, (uintptr_t)from->object);
        ((struct node *)(void *)other.data)[to - 1] = *from;
    }
    other.length = w->nodes.length;
    memory_release(&w->nodes);
    w->nodes = other;
    return 0;
}

uint32_t walk_find(struct managed_walk *w, const void *op) {
    return w->pages.data ? find_sorted(w, (uintptr_t)op) : (uint32_t)*slot_of(w, op);
}

void walk_find_all(struct managed_walk *w, const void *const *ops, size_t n, uint32_t *out) {
    for (size_t i = 0; w->pages.data && i < n; i++)
        __builtin_prefetch(page_slot_first(w, (uintptr_t)ops[i] >> PAGE_SHIFT));
    for (size_t i = 0; w->pages.data && i < n; i++) {
        const uint32_t place = *page_slot_first(w, (uintptr_t)ops[i] >> PAGE_SHIFT);
        if (place)
            __builtin_prefetch(&all_pages(w)[place - 1]);
    }
    for (size_t i = 0; i < n; i++)
        out[i] = walk_find(w, ops[i]);
}
