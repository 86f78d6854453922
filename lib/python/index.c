/* Which node an object is. While objects are found, only their starts are known, as bits: a
 * hundredth of the memory that they take, so that asking for one is no miss of the cache for every
 * object. When all are found, nodes are numbered in the order of their addresses, and the number is
 * what is counted before a start.
 *
 * Invariant: no start lies outside of the regions, each of which has a place in the table. Looks at
 * no object: any word may be asked for. */
#include "python/walker.h"

#include "capture/spans.h"

enum {
    REGION_SHIFT = 22, /* bits of an address in a region */
    WORD_SHIFT = 9,    /* a word has a bit for each 8 bytes */
    N_WORDS = 1 << (REGION_SHIFT - WORD_SHIFT),
    INDEX_BITS = 20, /* of a region in a slot */
    FIRST_SLOTS = 1024
};

struct region {
    struct word {
        uint64_t starts;
        uint32_t before; /* starts of all regions before this word; once all are found */
        uint32_t unused;
    } words[N_WORDS];
    uint64_t attributes[N_WORDS]; /* of the starts: see ROLE_ATTRIBUTES */
};

/* Slots of the table: number of a region << INDEX_BITS | index + 1; 0: free. */
static inline uint64_t *slot_of(const struct managed_walk *w, uint64_t number) {
    uint64_t *const table = (uint64_t *)(void *)w->index.data;
    const size_t mask = w->index.length / sizeof *table - 1;
    size_t at = (size_t)(number * 0x9e3779b97f4a7c15u >> 32) & mask;
    while (table[at] && table[at] >> INDEX_BITS != number)
        at = (at + 1) & mask;
    return &table[at];
}

static inline struct region *region_at(const struct managed_walk *w, uint64_t slot) {
    const uint64_t index = slot & (((uint64_t)1 << INDEX_BITS) - 1);
    return &((struct region *)(void *)w->regions.data)[index - 1];
}

/* NULL: there is no object near it. */
static inline struct region *region_of(const struct managed_walk *w, uintptr_t address) {
    const uint64_t slot = *slot_of(w, address >> REGION_SHIFT);
    return slot && address % 8 == 0 ? region_at(w, slot) : NULL;
}

static inline size_t word_of(uintptr_t address) {
    return address >> WORD_SHIFT & (N_WORDS - 1);
}

static inline uint64_t bit_of(uintptr_t address) {
    return UINT64_C(1) << (address >> 3 & 63);
}

/* Not every processor that this runs on has an instruction for it. */
static inline uint32_t count_bits(uint64_t bits) {
    bits -= bits >> 1 & 0x5555555555555555u;
    bits = (bits & 0x3333333333333333u) + (bits >> 2 & 0x3333333333333333u);
    return (uint32_t)(((bits + (bits >> 4)) & 0x0f0f0f0f0f0f0f0fu) * 0x0101010101010101u >> 56);
}

static uint32_t n_regions(const struct managed_walk *w) {
    return (uint32_t)(w->regions.length / sizeof(struct region));
}

static int grow_table(struct managed_walk *w) {
    struct memory old = w->index;
    w->index = (struct memory){0};
    if (!memory_zeroed(&w->index, old.length ? old.length * 2 : FIRST_SLOTS * sizeof(uint64_t))) {
        w->index = old;
        return -1;
    }
    const uint64_t *const slots = (const uint64_t *)(const void *)old.data;
    for (size_t i = 0; i < old.length / sizeof *slots; i++)
        if (slots[i])
            *slot_of(w, slots[i] >> INDEX_BITS) = slots[i];
    memory_release(&old);
    return 0;
}

static struct region *add_region(struct managed_walk *w, uint64_t number) {
    if (n_regions(w) >= ((uint32_t)1 << INDEX_BITS) - 1 ||
        ((size_t)n_regions(w) * 2 >= w->index.length / sizeof(uint64_t) && grow_table(w) < 0) ||
        memory_reserve(&w->regions, sizeof(struct region)) < 0)
        return NULL;
    w->regions.length += sizeof(struct region);
    uint64_t *const slot = slot_of(w, number);
    *slot = number << INDEX_BITS | n_regions(w);
    return region_at(w, *slot);
}

int index_start(struct managed_walk *w) {
    return grow_table(w);
}

int index_has(const struct managed_walk *w, const void *op) {
    const uintptr_t address = (uintptr_t)op;
    const struct region *const r = region_of(w, address);
    return r && r->words[word_of(address)].starts & bit_of(address);
}

int index_add(struct managed_walk *w, const void *op) {
    const uintptr_t address = (uintptr_t)op;
    struct region *r = region_of(w, address);
    if (!r)
        r = add_region(w, address >> REGION_SHIFT);
    if (!r)
        return -1;
    r->words[word_of(address)].starts |= bit_of(address);
    return 0;
}

void index_expect(const struct managed_walk *w, const void *op) {
    const uintptr_t address = (uintptr_t)op;
    const struct region *const r = region_of(w, address);
    if (r)
        __builtin_prefetch(&r->words[word_of(address)]);
}

void index_set_attributes(struct managed_walk *w, const void *op) {
    const uintptr_t address = (uintptr_t)op;
    struct region *const r = region_of(w, address);
    if (r)
        r->attributes[word_of(address)] |= bit_of(address);
}

int index_sort(struct managed_walk *w) {
    uint32_t n = 0;
    for (size_t i = 0; i < w->index.length / sizeof(uint64_t); i++) {
        const uint64_t slot = ((const uint64_t *)(const void *)w->index.data)[i];
        if (slot)
            memory_add(&w->region_order, &slot, sizeof slot);
    }
    if (w->region_order.failed)
        return -1;
    spans_sort(w->region_order.data, sizeof(uint64_t), n_regions(w));
    for (uint32_t i = 0; i < n_regions(w); i++) {
        struct region *const r =
            region_at(w, ((const uint64_t *)(const void *)w->region_order.data)[i]);
        for (size_t k = 0; k < N_WORDS; k++) {
            r->words[k].before = n;
            n += count_bits(r->words[k].starts);
        }
    }
    return 0;
}

const void *index_next(const struct managed_walk *w, struct index_place *at, int *is_attributes) {
    const uint64_t *const order = (const uint64_t *)(const void *)w->region_order.data;
    while (!at->left) {
        if (at->word == 0 && at->region == n_regions(w))
            return NULL;
        at->left = region_at(w, order[at->region])->words[at->word].starts;
        at->first = (order[at->region] >> INDEX_BITS << REGION_SHIFT) + (at->word << WORD_SHIFT);
        at->attributes = at->left ? region_at(w, order[at->region])->attributes[at->word] : 0;
        at->word = (at->word + 1) % N_WORDS;
        at->region += at->word == 0;
    }
    const unsigned bit = (unsigned)__builtin_ctzll(at->left);
    at->left &= at->left - 1;
    *is_attributes = (int)(at->attributes >> bit & 1);
    const uintptr_t address = at->first + bit * 8;
    return (const void *)address; /* NOLINT(performance-no-int-to-ptr): is what it was made of */
}

static inline uint32_t find_in(const struct region *r, uintptr_t address) {
    const struct word *const word = &r->words[word_of(address)];
    const uint64_t bit = bit_of(address);
    return word->starts & bit ? word->before + count_bits(word->starts & (bit - 1)) + 1 : 0;
}

uint32_t walk_find(const struct managed_walk *w, const void *op) {
    const struct region *const r = region_of(w, (uintptr_t)op);
    return r ? find_in(r, (uintptr_t)op) : 0;
}

void walk_find_all(const struct managed_walk *w, const void *const *ops, size_t n, uint32_t *out) {
    enum { AT_ONCE = 64 };
    const struct region *regions[AT_ONCE];
    for (size_t first = 0; first < n; first += AT_ONCE) {
        const size_t end = n - first < AT_ONCE ? n : first + AT_ONCE;
        for (size_t i = first; i < end; i++) {
            regions[i - first] = region_of(w, (uintptr_t)ops[i]);
            if (regions[i - first])
                __builtin_prefetch(&regions[i - first]->words[word_of((uintptr_t)ops[i])]);
        }
        for (size_t i = first; i < end; i++)
            out[i] = regions[i - first] ? find_in(regions[i - first], (uintptr_t)ops[i]) : 0;
    }
}
