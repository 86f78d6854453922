/* The inner part of the live table, inlined where records are made and removed: a unit's word, its
 * bucket, and the plain cases of put and take. live_table.h has the idea, live_table.c the rest.
 *
 * A unit is 2 KiB of address space. Its bucket begins with header lines of 64 bytes, each of 56
 * tags (bits 3 to 10 of the address) and the word of bits that says which of them are in use; so
 * what is looked for is mostly found in one cache line. Records follow. In the smallest class they
 * stand in the line itself. */
#ifndef HEAPSNAP_LIVE_QUICK_H
#define HEAPSNAP_LIVE_QUICK_H

#include <stdatomic.h>

#if defined(__SSE2__)
#include <emmintrin.h>
#endif

#include "capture/live_table.h"

enum {
    LIVE_UNIT_SHIFT = 11,
    LIVE_LEAF_BITS = 17,
    LIVE_ROOT_BITS = 47 - LIVE_UNIT_SHIFT - LIVE_LEAF_BITS,
    LIVE_GROUP_BITS = 9, /* units per bit of leaf->touched */
    LIVE_LINE_TAGS = 56
};

#define LIVE_WORD_LOCK UINT64_C(1)
#define LIVE_WORD_CLASS_SHIFT 1
/* The bucket stays when the unit becomes empty: nothing to do for who removes the last block. */
#define LIVE_WORD_STAYS (UINT64_C(1) << 6)
#define LIVE_WORD_COUNT_SHIFT 7
#define LIVE_WORD_COUNT_ONE (UINT64_C(1) << LIVE_WORD_COUNT_SHIFT)
#define LIVE_WORD_COUNT_MASK (UINT64_C(0x3ff) << LIVE_WORD_COUNT_SHIFT)
#define LIVE_WORD_POINTER_SHIFT 17
#define LIVE_LINE_FULL ((UINT64_C(1) << LIVE_LINE_TAGS) - 1)

struct live_record {
    uint64_t size_stack;  /* size << 28 | stack */
    uint64_t birth_flags; /* birth << 16 | flags */
};

struct live_line {
    uint8_t tags[LIVE_LINE_TAGS];
    _Atomic uint64_t used;
} __attribute__((aligned(64)));

struct live_leaf {
    _Atomic uint64_t words[1 << LIVE_LEAF_BITS];
    _Atomic uint64_t touched[(1 << (LIVE_LEAF_BITS - LIVE_GROUP_BITS)) / 64];
};

extern struct live_leaf *_Atomic live_root[1 << LIVE_ROOT_BITS]
    __attribute__((visibility("hidden")));
extern const uint16_t live_capacities[LIVE_N_CLASSES] __attribute__((visibility("hidden")));
/* Where a bucket's records begin, by class. */
extern const uint16_t live_records_at[LIVE_N_CLASSES] __attribute__((visibility("hidden")));
/* Blocks that no word can describe. */
extern _Atomic size_t live_n_odd __attribute__((visibility("hidden")));

extern char __libc_single_threaded __attribute__((weak));

static inline bool live_alone(void) {
    return &__libc_single_threaded && __libc_single_threaded;
}

static inline unsigned live_word_class(uint64_t word) {
    return word >> LIVE_WORD_CLASS_SHIFT & 31;
}
static inline unsigned live_word_count(uint64_t word) {
    return (word & LIVE_WORD_COUNT_MASK) >> LIVE_WORD_COUNT_SHIFT;
}
static inline struct live_line *live_word_bucket(uint64_t word) {
    return (struct live_line *)(word >> LIVE_WORD_POINTER_SHIFT << 4);
}
static inline struct live_record *live_records(struct live_line *bucket, unsigned class) {
    return (struct live_record *)((char *)bucket + live_records_at[class]);
}
static inline uint8_t live_tag(uintptr_t address) {
    return (uint8_t)(address >> 3);
}

static inline struct live_leaf *live_leaf_of(uintptr_t address) {
    return atomic_load_explicit(&live_root[address >> (LIVE_UNIT_SHIFT + LIVE_LEAF_BITS)],
                                memory_order_acquire);
}
static inline size_t live_leaf_index(uintptr_t address) {
    return address >> LIVE_UNIT_SHIFT & ((1u << LIVE_LEAF_BITS) - 1);
}

/* Bits of those of a line's tags that are in use and equal `tag`. */
static inline uint64_t live_line_find(const struct live_line *line, uint8_t tag, uint64_t used) {
    uint64_t equal = 0;
#if defined(__SSE2__)
    const __m128i wanted = _mm_set1_epi8((char)tag);
    const __m128i *const at = (const __m128i *)line;
    const unsigned a = (unsigned)_mm_movemask_epi8(_mm_cmpeq_epi8(at[0], wanted));
    const unsigned b = (unsigned)_mm_movemask_epi8(_mm_cmpeq_epi8(at[1], wanted));
    const unsigned c = (unsigned)_mm_movemask_epi8(_mm_cmpeq_epi8(at[2], wanted));
    /* `used` was perhaps stored a moment ago: a wider load over it would wait for the cache. */
    const unsigned d = (unsigned)_mm_movemask_epi8(_mm_cmpeq_epi8(_mm_loadl_epi64(&at[3]), wanted));
    equal = (uint64_t)(c | d << 16) << 32 | (a | b << 16);
#else
    for (unsigned i = 0; i < LIVE_LINE_TAGS; i++)
        equal |= (uint64_t)(line->tags[i] == tag) << i;
#endif
    return equal & used;
}

/* Locks a word seen unlocked; false if it has changed. */
static inline bool live_word_lock_once(_Atomic uint64_t *at, uint64_t seen) {
    if (live_alone()) {
        atomic_store_explicit(at, seen | LIVE_WORD_LOCK, memory_order_relaxed);
        atomic_signal_fence(memory_order_seq_cst);
        return true;
    }
    return atomic_compare_exchange_strong_explicit(at, &seen, seen | LIVE_WORD_LOCK,
                                                   memory_order_acquire, memory_order_relaxed);
}
static inline void live_word_unlock(_Atomic uint64_t *at, uint64_t word) {
    atomic_store_explicit(at, word, memory_order_release);
}

/* Starts to fetch what a put of the address will look at: its unit's word; NULL: there is none, or
 * the plain case is not this one. */
static inline _Atomic uint64_t *live_table_prefetch(uintptr_t address) {
    if (__builtin_expect((address >> 47) | (address & 7), 0))
        return NULL;
    struct live_leaf *const leaf = live_leaf_of(address);
    if (__builtin_expect(leaf == NULL, 0))
        return NULL;
    _Atomic uint64_t *const at = &leaf->words[live_leaf_index(address)];
    __builtin_prefetch(live_word_bucket(atomic_load_explicit(at, memory_order_relaxed)), 1);
    return at;
}

/* The end of a put into a locked unit of several lines with room, or LIVE_BUSY. */
enum live_result live_table_put_wide(_Atomic uint64_t *at, uint64_t word, uintptr_t address,
                                     struct live_record fresh)
    __attribute__((visibility("hidden")));

/* Put (`at`: live_table_prefetch) and take for the plain case, with no cache and nothing to tell:
 * LIVE_ABSENT (put) or LIVE_FOUND and LIVE_ABSENT (take), or LIVE_BUSY: nothing was done, call the
 * other one. */
static inline enum live_result live_table_put_quickly(_Atomic uint64_t *at, uintptr_t address,
                                                      uint64_t size, uint32_t stack, uint64_t birth,
                                                      uint32_t flags) {
    if (__builtin_expect(at == NULL || (size >> 35) != 0, 0))
        return LIVE_BUSY;
    const uint64_t word = atomic_load_explicit(at, memory_order_relaxed);
    const unsigned class = live_word_class(word), capacity = live_capacities[class];
    if (__builtin_expect((word & LIVE_WORD_LOCK) || word == 0 ||
                             live_word_count(word) == capacity || !live_word_lock_once(at, word),
                         0))
        return LIVE_BUSY;
    struct live_line *const line = live_word_bucket(word);
    const uint64_t used = atomic_load_explicit(&line->used, memory_order_relaxed);
    if (__builtin_expect(live_line_find(line, live_tag(address), used) != 0, 0)) {
        live_word_unlock(at, word);
        return LIVE_BUSY;
    }
    if (__builtin_expect(capacity > LIVE_LINE_TAGS, 0))
        return live_table_put_wide(at, word, address,
                                   (struct live_record){size << 28 | stack, birth << 16 | flags});
    const unsigned i = (unsigned)__builtin_ctzll(~used);
    live_records(line, class)[i] = (struct live_record){size << 28 | stack, birth << 16 | flags};
    line->tags[i] = live_tag(address);
    atomic_store_explicit(&line->used, used | UINT64_C(1) << i, memory_order_release);
    live_word_unlock(at, word + LIVE_WORD_COUNT_ONE);
    return LIVE_ABSENT;
}

static inline enum live_result live_table_take_quickly(uintptr_t address) {
    if (__builtin_expect((address >> 47) | (address & 7) |
                             atomic_load_explicit(&live_n_odd, memory_order_relaxed),
                         0))
        return LIVE_BUSY;
    struct live_leaf *const leaf = live_leaf_of(address);
    if (__builtin_expect(leaf == NULL, 0))
        return LIVE_BUSY;
    _Atomic uint64_t *const at = &leaf->words[live_leaf_index(address)];
    const uint64_t word = atomic_load_explicit(at, memory_order_relaxed);
    if (__builtin_expect((word & LIVE_WORD_LOCK) ||
                             (word & (LIVE_WORD_COUNT_MASK | LIVE_WORD_STAYS)) <=
                                 LIVE_WORD_COUNT_ONE ||
                             !live_word_lock_once(at, word),
                         0))
        return LIVE_BUSY;
    struct live_line *line = live_word_bucket(word);
    uint64_t used = atomic_load_explicit(&line->used, memory_order_relaxed);
    uint64_t equal = live_line_find(line, live_tag(address), used);
    if (__builtin_expect(equal == 0, 0)) {
        const unsigned capacity = live_capacities[live_word_class(word)];
        for (unsigned i = LIVE_LINE_TAGS; equal == 0 && i < capacity; i += LIVE_LINE_TAGS) {
            used = atomic_load_explicit(&(++line)->used, memory_order_relaxed);
            equal = live_line_find(line, live_tag(address), used);
        }
        if (equal == 0) {
            live_word_unlock(at, word);
            return LIVE_ABSENT;
        }
    }
    atomic_store_explicit(&line->used, used & ~equal, memory_order_release);
    live_word_unlock(at, word - LIVE_WORD_COUNT_ONE);
    return LIVE_FOUND;
}

#endif
