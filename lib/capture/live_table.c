/* The exact set of live blocks. See live_table.h for the idea.
 *
 * Invariant: a page word is either 0 or holds the address of a bucket whose class it names and the
 * number of bits set in the bucket's `used` words; whoever changes a bucket or a page word holds
 * the word's lock bit. Addresses that are not a multiple of 8 or lie above 2^47, and sizes that do
 * not fit a record, live in one small sorted table under a lock. It never shrinks the radix tree.
 */
#include "capture/live_table.h"

#include <stdatomic.h>
#include <string.h>

#include "capture/rawmem.h"

#if defined(__SSE2__)
#include <emmintrin.h>
#endif

enum {
    PAGE_SHIFT = 12,
    LEAF_BITS = 17,
    ROOT_BITS = 47 - PAGE_SHIFT - LEAF_BITS,
    GROUP_BITS = 9, /* pages per bit of leaf->touched */
    ODD_MAX = 1 << 20
};

#define WORD_LOCK UINT64_C(1)
#define WORD_CLASS_SHIFT 1
#define WORD_HALVES (UINT64_C(1) << 6) /* some block starts 8 bytes into its granule */
#define WORD_COUNT_SHIFT 7
#define WORD_COUNT_ONE (UINT64_C(1) << WORD_COUNT_SHIFT)
#define WORD_COUNT_MASK (UINT64_C(0x3ff) << WORD_COUNT_SHIFT)
#define WORD_POINTER_SHIFT 17
#define SIZE_ESCAPE ((UINT64_C(1) << 36) - 1)
#define FLAG_HIGH_HALF 0x8000u /* the block starts 8 bytes into its granule */

struct record {
    uint64_t size_stack;  /* size << 28 | stack */
    uint64_t birth_flags; /* birth << 16 | flags */
};

struct leaf {
    _Atomic uint64_t words[1 << LEAF_BITS];
    _Atomic uint64_t touched[(1 << (LEAF_BITS - GROUP_BITS)) / 64];
};

static struct leaf *_Atomic root[1 << ROOT_BITS];
static _Atomic uint64_t root_touched[(1 << ROOT_BITS) / 64 / 64];

/* Capacities: steps of about 8, because the unused part of buckets is most of the table's overhead;
 * each such that a bucket fills cache lines, so that used words and tags of most pages are one
 * line. */
static const uint16_t capacities[LIVE_N_CLASSES] = {3,  7,   14,  22,  29,  37,  44,  52,  63, 74,
                                                    85, 100, 127, 156, 190, 254, 317, 410, 512};

/* Where a bucket's records begin, by class. */
#define RECORDS_AT(capacity) ((((capacity) + 63) / 64 * 8 + (capacity) + 15) & ~15)
static const uint16_t records_at[LIVE_N_CLASSES] = {
    RECORDS_AT(3),   RECORDS_AT(7),   RECORDS_AT(14),  RECORDS_AT(22),  RECORDS_AT(29),
    RECORDS_AT(37),  RECORDS_AT(44),  RECORDS_AT(52),  RECORDS_AT(63),  RECORDS_AT(74),
    RECORDS_AT(85),  RECORDS_AT(100), RECORDS_AT(127), RECORDS_AT(156), RECORDS_AT(190),
    RECORDS_AT(254), RECORDS_AT(317), RECORDS_AT(410), RECORDS_AT(512)};

static struct rawmem_lock pool_lock;
static void *pool_free[LIVE_N_CLASSES];

/* Blocks that no page word can describe, in the order of addresses; `fits` false: only the size is
 * kept here, for a record that stands in the table. */
static struct rawmem_lock odd_lock;
static struct odd {
    struct live_block block;
    bool size_only;
} * odd;
static size_t odd_room;
static _Atomic size_t n_odd;

extern char __libc_single_threaded __attribute__((weak));

static inline bool alone(void) {
    return &__libc_single_threaded && __libc_single_threaded;
}

static inline unsigned n_words(unsigned capacity) {
    return (capacity + 63) / 64;
}
static inline size_t header_bytes(unsigned capacity) {
    return RECORDS_AT(capacity);
}
static inline size_t bucket_bytes(unsigned capacity) {
    return header_bytes(capacity) + capacity * sizeof(struct record);
}

static inline unsigned word_class(uint64_t word) {
    return word >> WORD_CLASS_SHIFT & 31;
}
static inline unsigned word_count(uint64_t word) {
    return (word & WORD_COUNT_MASK) >> WORD_COUNT_SHIFT;
}
static inline char *word_bucket(uint64_t word) {
    return (char *)(word >> WORD_POINTER_SHIFT << 4);
}
static inline uint64_t word_make(const void *bucket, unsigned class, unsigned count) {
    return (uint64_t)(uintptr_t)bucket >> 4 << WORD_POINTER_SHIFT |
           (uint64_t) class << WORD_CLASS_SHIFT | (uint64_t)count << WORD_COUNT_SHIFT;
}

static inline _Atomic uint64_t *bucket_used(char *bucket) {
    return (_Atomic uint64_t *)bucket;
}
static inline uint8_t *bucket_tags(char *bucket, unsigned capacity) {
    return (uint8_t *)bucket + n_words(capacity) * 8;
}
static inline struct record *bucket_records(char *bucket, unsigned capacity) {
    return (struct record *)(bucket + header_bytes(capacity));
}

/* Bits of those of 64 tags that equal `tag`. There may be fewer: what is read beyond them is part
 * of the bucket or follows it in the same mapping. That may belong to another page and change
 * meanwhile; the caller masks it out, so ThreadSanitizer need not look. */
__attribute__((no_sanitize("thread"))) static inline uint64_t tags_equal(const uint8_t *tags,
                                                                         uint8_t tag) {
#if defined(__SSE2__)
    const __m128i wanted = _mm_set1_epi8((char)tag);
    const __m128i *const at = (const __m128i *)tags;
    const unsigned a = (unsigned)_mm_movemask_epi8(_mm_cmpeq_epi8(_mm_loadu_si128(at), wanted));
    const unsigned b = (unsigned)_mm_movemask_epi8(_mm_cmpeq_epi8(_mm_loadu_si128(at + 1), wanted));
    const unsigned c = (unsigned)_mm_movemask_epi8(_mm_cmpeq_epi8(_mm_loadu_si128(at + 2), wanted));
    const unsigned d = (unsigned)_mm_movemask_epi8(_mm_cmpeq_epi8(_mm_loadu_si128(at + 3), wanted));
    return (uint64_t)(c | d << 16) << 32 | (a | b << 16);
#else
    uint64_t equal = 0;
    for (unsigned i = 0; i < 64; i++)
        equal |= (uint64_t)(tags[i] == tag) << i;
    return equal;
#endif
}

/* Index of the record of tag and half, or -1. Reads records only where halves occur. */
static inline int bucket_find(uint64_t word, uint8_t tag, unsigned half) {
    char *const bucket = word_bucket(word);
    const unsigned capacity = capacities[word_class(word)];
    const uint8_t *const tags = bucket_tags(bucket, capacity);
    for (unsigned w = 0; w * 64 < capacity; w++) {
        uint64_t equal = tags_equal(tags + w * 64, tag) &
                         atomic_load_explicit(&bucket_used(bucket)[w], memory_order_relaxed);
        if (equal != 0 && __builtin_expect(!(word & WORD_HALVES), 1))
            return half ? -1 : (int)(w * 64 + (unsigned)__builtin_ctzll(equal));
        for (; equal; equal &= equal - 1) {
            const unsigned i = w * 64 + (unsigned)__builtin_ctzll(equal);
            if ((bucket_records(bucket, capacity)[i].birth_flags & FLAG_HIGH_HALF) == half)
                return (int)i;
        }
    }
    return -1;
}

static void *bucket_new(struct live_cache *cache, unsigned class) {
    void *bucket = cache->free[class];
    if (bucket != NULL) {
        memcpy(&cache->free[class], bucket, sizeof bucket);
        cache->n_free[class]--;
    } else {
        if (!rawmem_lock(&pool_lock, cache->try))
            return NULL;
        bucket = pool_free[class];
        if (bucket != NULL)
            memcpy(&pool_free[class], bucket, sizeof bucket);
        rawmem_unlock(&pool_lock);
        if (bucket == NULL)
            bucket = rawmem_carve(bucket_bytes(capacities[class]), cache->try);
    }
    if (bucket != NULL)
        memset(bucket, 0, n_words(capacities[class]) * 8);
    return bucket;
}

static void bucket_free(struct live_cache *cache, void *bucket, unsigned class) {
    if (cache->n_free[class] >= 16 && rawmem_lock(&pool_lock, cache->try)) {
        memcpy(bucket, &pool_free[class], sizeof bucket);
        pool_free[class] = bucket;
        rawmem_unlock(&pool_lock);
        return;
    }
    memcpy(bucket, &cache->free[class], sizeof bucket);
    cache->free[class] = bucket;
    cache->n_free[class]++;
}

static __attribute__((noinline)) struct leaf *leaf_new(uintptr_t address) {
    const size_t i = address >> (PAGE_SHIFT + LEAF_BITS);
    struct leaf *const fresh = rawmem_map(sizeof *fresh);
    struct leaf *expected = NULL;
    if (fresh == NULL)
        return NULL;
    if (!atomic_compare_exchange_strong(&root[i], &expected, fresh)) {
        rawmem_unmap(fresh, sizeof *fresh);
        return expected;
    }
    atomic_fetch_or(&root_touched[i / 64 / 64], UINT64_C(1) << (i / 64 % 64));
    return fresh;
}

static inline struct leaf *leaf_of(uintptr_t address) {
    return atomic_load_explicit(&root[address >> (PAGE_SHIFT + LEAF_BITS)], memory_order_acquire);
}
static inline size_t leaf_index(uintptr_t address) {
    return address >> PAGE_SHIFT & ((1u << LEAF_BITS) - 1);
}

/* Locks a page word; false only with try. *word is its value without the lock. */
static __attribute__((noinline)) bool word_lock_slowly(_Atomic uint64_t *at, uint64_t *word,
                                                       bool try) {
    for (unsigned turn = 0;; turn++) {
        uint64_t seen = atomic_load_explicit(at, memory_order_relaxed) & ~WORD_LOCK;
        if (atomic_compare_exchange_strong_explicit(at, &seen, seen | WORD_LOCK,
                                                    memory_order_acquire, memory_order_relaxed)) {
            *word = seen;
            return true;
        }
        if (try && turn > 100)
            return false;
        if (turn > 300 && rawmem_is_copy()) {
            *word = atomic_load_explicit(at, memory_order_relaxed) & ~WORD_LOCK;
            return true;
        }
        rawmem_back_off(turn);
    }
}
/* Locks a page word seen unlocked; false if it has changed. */
static inline bool word_lock_once(_Atomic uint64_t *at, uint64_t seen) {
    if (alone()) {
        atomic_store_explicit(at, seen | WORD_LOCK, memory_order_relaxed);
        atomic_signal_fence(memory_order_seq_cst);
        return true;
    }
    return atomic_compare_exchange_strong_explicit(at, &seen, seen | WORD_LOCK,
                                                   memory_order_acquire, memory_order_relaxed);
}
static inline bool word_lock(_Atomic uint64_t *at, uint64_t *word, bool try) {
    uint64_t seen = atomic_load_explicit(at, memory_order_relaxed);
    if (__builtin_expect(!(seen & WORD_LOCK), 1)) {
        *word = seen;
        if (word_lock_once(at, seen))
            return true;
    }
    return word_lock_slowly(at, word, try);
}
static inline void word_unlock(_Atomic uint64_t *at, uint64_t word) {
    atomic_store_explicit(at, word, memory_order_release);
}

static inline bool is_odd(uintptr_t address) {
    return __builtin_expect(address >> 47 || address & 7, 0);
}

/* Position of the first entry at or after address. */
static size_t odd_position(uintptr_t address) {
    size_t low = 0, high = n_odd;
    while (low < high) {
        const size_t middle = (low + high) / 2;
        if (odd[middle].block.address < address)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

static __attribute__((noinline)) enum live_result odd_put(struct live_cache *cache,
                                                          const struct live_block *block,
                                                          bool size_only, struct live_block *old) {
    if (!rawmem_lock(&odd_lock, cache->try))
        return LIVE_BUSY;
    enum live_result result = LIVE_NO_MEMORY;
    const size_t i = odd_position(block->address);
    if (i < n_odd && odd[i].block.address == block->address) {
        *old = odd[i].block;
        odd[i] = (struct odd){*block, size_only};
        result = LIVE_FOUND;
    } else {
        if (n_odd == odd_room && odd_room < ODD_MAX) {
            const size_t room = odd_room ? odd_room * 2 : 256;
            struct odd *const grown = rawmem_map(room * sizeof *grown);
            if (grown != NULL) {
                struct odd *const before = odd;
                if (n_odd)
                    memcpy(grown, before, n_odd * sizeof *grown);
                odd = grown;
                if (before != NULL)
                    rawmem_unmap(before, odd_room * sizeof *before);
                odd_room = room;
            }
        }
        if (n_odd < odd_room) {
            memmove(odd + i + 1, odd + i, (n_odd - i) * sizeof *odd);
            odd[i] = (struct odd){*block, size_only};
            n_odd++;
            result = LIVE_ABSENT;
        }
    }
    rawmem_unlock(&odd_lock);
    return result;
}

static __attribute__((noinline)) enum live_result
odd_take(struct live_cache *cache, uintptr_t address, struct live_block *old) {
    if (!rawmem_lock(&odd_lock, cache->try))
        return LIVE_BUSY;
    enum live_result result = LIVE_ABSENT;
    const size_t i = odd_position(address);
    if (i < n_odd && odd[i].block.address == address) {
        if (old != NULL)
            *old = odd[i].block;
        memmove(odd + i, odd + i + 1, (n_odd - i - 1) * sizeof *odd);
        n_odd--;
        result = LIVE_FOUND;
    }
    rawmem_unlock(&odd_lock);
    return result;
}

static inline void record_get(const struct record *record, uintptr_t address,
                              struct live_block *out) {
    out->address = address;
    out->size = record->size_stack >> 28;
    out->stack = record->size_stack & LIVE_STACK_MAX;
    out->birth = record->birth_flags >> 16;
    out->flags = record->birth_flags & LIVE_FLAGS_MASK;
}

/* The class that a page starts with: somewhat fewer blocks than fit if all are of that size. */
static unsigned first_class(uint64_t size) {
    const uint64_t likely = size < 4096 ? 2500 / (size + 24) : 0;
    unsigned class = 0;
    while (class < 8 && capacities[class + 1] <= likely)
        class ++;
    return class;
}

/* Replaces the bucket of a locked page by a greater one (or makes the first). 0: no memory. */
static __attribute__((noinline)) uint64_t page_grow(struct live_cache *cache, struct leaf *leaf,
                                                    size_t index, uint64_t word, uint64_t size) {
    if (word == 0) {
        const unsigned class = first_class(size);
        void *const bucket = bucket_new(cache, class);
        if (bucket == NULL)
            return 0;
        const size_t group = index >> GROUP_BITS;
        const uint64_t bit = UINT64_C(1) << group % 64;
        if (!(atomic_load_explicit(&leaf->touched[group / 64], memory_order_relaxed) & bit))
            atomic_fetch_or(&leaf->touched[group / 64], bit);
        return word_make(bucket, class, 0);
    }
    const unsigned class = word_class(word);
    if (class + 1 >= LIVE_N_CLASSES)
        return 0;
    const unsigned capacity = capacities[class], wider = capacities[class + 1];
    char *const before = word_bucket(word);
    char *const bucket = bucket_new(cache, class + 1);
    if (bucket == NULL)
        return 0;
    for (unsigned w = 0; w < n_words(capacity); w++)
        bucket_used(bucket)[w] = bucket_used(before)[w];
    memcpy(bucket_tags(bucket, wider), bucket_tags(before, capacity), capacity);
    memcpy(bucket_records(bucket, wider), bucket_records(before, capacity),
           capacity * sizeof(struct record));
    const uint64_t grown = word_make(bucket, class + 1, word_count(word)) | (word & WORD_HALVES);
    atomic_store_explicit(&leaf->words[index], grown | WORD_LOCK, memory_order_release);
    bucket_free(cache, before, class);
    return grown;
}

enum live_result live_table_put_quickly(uintptr_t address, uint64_t size, uint32_t stack,
                                        uint64_t birth, uint32_t flags) {
    if (__builtin_expect((address >> 47) | (address & 15) | (size >> 35), 0))
        return LIVE_BUSY;
    struct leaf *const leaf = leaf_of(address);
    if (__builtin_expect(leaf == NULL, 0))
        return LIVE_BUSY;
    _Atomic uint64_t *const at = &leaf->words[leaf_index(address)];
    uint64_t word = atomic_load_explicit(at, memory_order_relaxed);
    const unsigned class = word_class(word), count = word_count(word);
    if (__builtin_expect((word & (WORD_LOCK | WORD_HALVES)) || word == 0 ||
                             count == capacities[class] || !word_lock_once(at, word),
                         0))
        return LIVE_BUSY;
    char *const bucket = word_bucket(word);
    _Atomic uint64_t *used = bucket_used(bucket);
    uint8_t *tags = (uint8_t *)used + ((capacities[class] + 63u) / 64 * 8);
    struct record *record = (struct record *)(bucket + records_at[class]);
    uint64_t mask = atomic_load_explicit(used, memory_order_relaxed);
    if (__builtin_expect(
            (tags_equal(tags, (uint8_t)(address >> 4)) & mask) || capacities[class] > 64, 0)) {
        if (bucket_find(word, (uint8_t)(address >> 4), 0) >= 0) {
            word_unlock(at, word);
            return LIVE_BUSY;
        }
        while (mask == UINT64_MAX) {
            mask = atomic_load_explicit(++used, memory_order_relaxed);
            tags += 64;
            record += 64;
        }
    }
    const unsigned i = (unsigned)__builtin_ctzll(~mask);
    record[i].size_stack = size << 28 | stack;
    record[i].birth_flags = birth << 16 | flags;
    tags[i] = (uint8_t)(address >> 4);
    atomic_store_explicit(used, mask | UINT64_C(1) << i, memory_order_release);
    word_unlock(at, word + WORD_COUNT_ONE);
    return LIVE_ABSENT;
}

void live_table_prefetch(uintptr_t address) {
    const struct leaf *const leaf = address >> 47 ? NULL : leaf_of(address);
    if (__builtin_expect(leaf != NULL, 1)) {
        const uint64_t word =
            atomic_load_explicit(&leaf->words[leaf_index(address)], memory_order_relaxed);
        __builtin_prefetch(word_bucket(word));
    }
}

enum live_result live_table_take_quickly(uintptr_t address) {
    if (__builtin_expect((address >> 47) | (address & 15) |
                             atomic_load_explicit(&n_odd, memory_order_relaxed),
                         0))
        return LIVE_BUSY;
    struct leaf *const leaf = leaf_of(address);
    if (__builtin_expect(leaf == NULL, 0))
        return LIVE_BUSY;
    _Atomic uint64_t *const at = &leaf->words[leaf_index(address)];
    uint64_t word = atomic_load_explicit(at, memory_order_relaxed);
    if (__builtin_expect((word & (WORD_LOCK | WORD_HALVES)) ||
                             (word & WORD_COUNT_MASK) <= WORD_COUNT_ONE ||
                             !word_lock_once(at, word),
                         0))
        return LIVE_BUSY;
    const unsigned capacity = capacities[word_class(word)];
    _Atomic uint64_t *used = bucket_used(word_bucket(word));
    const uint8_t *tags = (const uint8_t *)used + ((capacity + 63) / 64 * 8);
    for (unsigned left = capacity;; left -= 64, used++, tags += 64) {
        const uint64_t mask = atomic_load_explicit(used, memory_order_relaxed);
        const uint64_t equal = tags_equal(tags, (uint8_t)(address >> 4)) & mask;
        if (__builtin_expect(equal != 0, 1)) {
            atomic_store_explicit(used, mask & ~equal, memory_order_release);
            word_unlock(at, word - WORD_COUNT_ONE);
            return LIVE_FOUND;
        }
        if (left <= 64) {
            word_unlock(at, word);
            return LIVE_ABSENT;
        }
    }
}

enum live_result live_table_put(struct live_cache *cache, const struct live_block *block,
                                struct live_block *old) {
    const uintptr_t address = block->address;
    if (is_odd(address))
        return odd_put(cache, block, false, old);
    struct leaf *leaf = leaf_of(address);
    if (__builtin_expect(leaf == NULL, 0)) {
        leaf = leaf_new(address);
        if (leaf == NULL)
            return LIVE_NO_MEMORY;
    }
    const size_t index = leaf_index(address);
    _Atomic uint64_t *const at = &leaf->words[index];
    const uint8_t tag = address >> 4;
    const unsigned half = address & 8 ? FLAG_HIGH_HALF : 0;
    uint64_t size = block->size;
    if (__builtin_expect(size >= SIZE_ESCAPE, 0)) {
        struct live_block ignored;
        const enum live_result kept = odd_put(cache, block, true, &ignored);
        if (kept > LIVE_FOUND)
            return kept;
        size = SIZE_ESCAPE;
    }
    const struct record fresh = {size << 28 | (block->stack & LIVE_STACK_MAX),
                                 block->birth << 16 | (block->flags & LIVE_FLAGS_MASK) | half};
    uint64_t word;
    if (__builtin_expect(!word_lock(at, &word, cache->try), 0))
        return LIVE_BUSY;
    enum live_result result = LIVE_ABSENT;
    int i = -1;
    if (__builtin_expect(word != 0, 1)) {
        char *const bucket = word_bucket(word);
        const unsigned capacity = capacities[word_class(word)];
        i = bucket_find(word, tag, half);
        if (__builtin_expect(i >= 0, 0)) {
            /* A free that was never seen. Absent for a moment rather than half of each. */
            struct record *const record = &bucket_records(bucket, capacity)[i];
            record_get(record, address, old);
            _Atomic uint64_t *const used = &bucket_used(bucket)[i / 64];
            *used &= ~(UINT64_C(1) << i % 64);
            *record = fresh;
            atomic_signal_fence(memory_order_seq_cst);
            *used |= UINT64_C(1) << i % 64;
            word_unlock(at, word);
            return LIVE_FOUND;
        }
    }
    if (__builtin_expect(word == 0 || word_count(word) == capacities[word_class(word)], 0)) {
        const uint64_t grown = page_grow(cache, leaf, index, word, block->size);
        if (grown == 0) {
            word_unlock(at, word);
            return LIVE_NO_MEMORY;
        }
        word = grown;
        /* A word with a bucket is published before the bit: see the header. */
        atomic_store_explicit(at, word | WORD_LOCK, memory_order_release);
    }
    char *const bucket = word_bucket(word);
    const unsigned capacity = capacities[word_class(word)];
    _Atomic uint64_t *used = bucket_used(bucket);
    unsigned w = 0;
    uint64_t mask = atomic_load_explicit(&used[0], memory_order_relaxed);
    while (mask == UINT64_MAX)
        mask = atomic_load_explicit(&used[++w], memory_order_relaxed);
    const unsigned bit = (unsigned)__builtin_ctzll(~mask);
    i = (int)(w * 64 + bit);
    bucket_records(bucket, capacity)[i] = fresh;
    bucket_tags(bucket, capacity)[i] = tag;
    if (__builtin_expect(half != 0, 0)) /* before the bit: a reader may interrupt */
        atomic_store_explicit(at, word | WORD_HALVES | WORD_LOCK, memory_order_release);
    atomic_store_explicit(&used[w], mask | UINT64_C(1) << bit, memory_order_release);
    word_unlock(at, (word + WORD_COUNT_ONE) | (half ? WORD_HALVES : 0));
    return result;
}

enum live_result live_table_take(struct live_cache *cache, uintptr_t address,
                                 struct live_block *old) {
    if (is_odd(address))
        return odd_take(cache, address, old);
    struct leaf *const leaf = leaf_of(address);
    if (__builtin_expect(leaf == NULL, 0))
        return LIVE_ABSENT;
    const size_t index = leaf_index(address);
    _Atomic uint64_t *const at = &leaf->words[index];
    const uint8_t tag = address >> 4;
    const unsigned half = address & 8 ? FLAG_HIGH_HALF : 0;
    if (__builtin_expect(atomic_load_explicit(at, memory_order_relaxed) == 0, 0))
        return LIVE_ABSENT;
    uint64_t word;
    if (__builtin_expect(!word_lock(at, &word, cache->try), 0))
        return LIVE_BUSY;
    if (word == 0) {
        word_unlock(at, word);
        return LIVE_ABSENT;
    }
    char *const bucket = word_bucket(word);
    const unsigned class = word_class(word), capacity = capacities[class];
    const int i = bucket_find(word, tag, half);
    if (__builtin_expect(i < 0, 0)) {
        word_unlock(at, word);
        return LIVE_ABSENT;
    }
    /* The record is far from the tags: it is read only if its content is asked for. */
    const bool read = old != NULL || n_odd != 0;
    struct live_block block;
    if (__builtin_expect(read, 0))
        record_get(&bucket_records(bucket, capacity)[i], address, &block);
    _Atomic uint64_t *const used = &bucket_used(bucket)[i / 64];
    atomic_store_explicit(
        used, atomic_load_explicit(used, memory_order_relaxed) & ~(UINT64_C(1) << i % 64),
        memory_order_release);
    word -= WORD_COUNT_ONE;
    if (__builtin_expect(word_count(word) == 0 && class > 0, 0)) {
        word_unlock(at, 0);
        bucket_free(cache, bucket, class);
    } else {
        word_unlock(at, word);
    }
    if (__builtin_expect(read, 0)) {
        struct live_block full;
        if (block.size == SIZE_ESCAPE && odd_take(cache, address, &full) == LIVE_FOUND)
            block.size = full.size;
        if (old != NULL)
            *old = block;
    }
    return LIVE_FOUND;
}

static uint64_t odd_size(uintptr_t address) {
    const size_t i = odd_position(address);
    return i < n_odd && odd[i].block.address == address ? odd[i].block.size : SIZE_ESCAPE;
}

/* The blocks of one page in the order of addresses; returns how many. */
static size_t page_blocks(uint64_t word, uintptr_t page, struct live_block blocks[512]) {
    char *const bucket = word_bucket(word);
    const unsigned capacity = capacities[word_class(word)];
    const uint8_t *const tags = bucket_tags(bucket, capacity);
    const struct record *const records = bucket_records(bucket, capacity);
    uint16_t at[512]; /* index + 1 by granule and half */
    uint64_t present[8] = {0};
    for (unsigned w = 0; w < n_words(capacity); w++)
        for (uint64_t used = bucket_used(bucket)[w]; used; used &= used - 1) {
            const unsigned i = w * 64 + (unsigned)__builtin_ctzll(used);
            const unsigned place = tags[i] * 2u + (records[i].birth_flags & FLAG_HIGH_HALF ? 1 : 0);
            at[place] = (uint16_t)i;
            present[place / 64] |= UINT64_C(1) << place % 64;
        }
    size_t n = 0;
    for (unsigned w = 0; w < 8; w++)
        for (uint64_t left = present[w]; left; left &= left - 1) {
            const unsigned place = w * 64 + (unsigned)__builtin_ctzll(left);
            struct live_block *const block = &blocks[n++];
            record_get(&records[at[place]], page + place * 8, block);
            if (block->size == SIZE_ESCAPE)
                block->size = odd_size(block->address);
        }
    return n;
}

/* The next page word that is not empty, at or after *page (an address); false: none. */
static bool next_page(uintptr_t *page, uint64_t *word) {
    uintptr_t at = *page;
    while (at >> 47 == 0) {
        const size_t r = at >> (PAGE_SHIFT + LEAF_BITS);
        if (r % 64 == 0 && !(root_touched[r / 64 / 64] >> (r / 64 % 64) & 1)) {
            at = (r + 64) << (PAGE_SHIFT + LEAF_BITS);
            continue;
        }
        struct leaf *const leaf = root[r];
        if (leaf == NULL) {
            at = (r + 1) << (PAGE_SHIFT + LEAF_BITS);
            continue;
        }
        for (size_t i = leaf_index(at); i < 1u << LEAF_BITS;) {
            const size_t group = i >> GROUP_BITS;
            if (!(leaf->touched[group / 64] >> group % 64 & 1)) {
                i = (group + 1) << GROUP_BITS;
                continue;
            }
            const uint64_t found =
                atomic_load_explicit(&leaf->words[i], memory_order_acquire) & ~WORD_LOCK;
            if (found != 0) {
                *page = (r << LEAF_BITS | i) << PAGE_SHIFT;
                *word = found;
                return true;
            }
            i++;
        }
        at = (r + 1) << (PAGE_SHIFT + LEAF_BITS);
    }
    return false;
}

int live_table_for_each(int (*fn)(void *context, const struct live_block *blocks, size_t n),
                        void *context) {
    struct live_block blocks[512];
    size_t next_odd = 0;
    uintptr_t page = 0;
    for (uint64_t word;; page += 1u << PAGE_SHIFT) {
        const bool more = next_page(&page, &word);
        const size_t n = more ? page_blocks(word, page, blocks) : 0;
        size_t done = 0;
        for (; next_odd < n_odd; next_odd++) {
            if (odd[next_odd].size_only)
                continue;
            const struct live_block *const one = &odd[next_odd].block;
            if (more && one->address >= page + (1u << PAGE_SHIFT))
                break;
            size_t upto = done;
            while (upto < n && blocks[upto].address < one->address)
                upto++;
            int stop = upto > done ? fn(context, blocks + done, upto - done) : 0;
            if (!stop)
                stop = fn(context, one, 1);
            if (stop)
                return stop;
            done = upto;
        }
        if (!more)
            return 0;
        if (n > done) {
            const int stop = fn(context, blocks + done, n - done);
            if (stop)
                return stop;
        }
    }
}

bool live_table_find(uintptr_t address, uint64_t max_bytes, struct live_block *out) {
    struct live_block blocks[512];
    const uintptr_t lowest = address > max_bytes ? address - max_bytes : 0;
    bool found = false;
    for (uintptr_t page = address >> PAGE_SHIFT << PAGE_SHIFT; address >> 47 == 0;
         page -= 1u << PAGE_SHIFT) {
        const struct leaf *const leaf = leaf_of(page);
        if (leaf == NULL) {
            page = page >> (PAGE_SHIFT + LEAF_BITS) << (PAGE_SHIFT + LEAF_BITS);
        } else {
            const uint64_t word = leaf->words[leaf_index(page)] & ~WORD_LOCK;
            size_t n = word ? page_blocks(word, page, blocks) : 0;
            while (n > 0 && blocks[n - 1].address > address)
                n--;
            if (n > 0) {
                *out = blocks[n - 1];
                found = true;
                break;
            }
        }
        if (page == 0 || page <= lowest)
            break;
    }
    for (size_t i = n_odd; i-- > 0;)
        if (!odd[i].size_only && odd[i].block.address <= address) {
            if (!found || odd[i].block.address > out->address)
                *out = odd[i].block;
            found = true;
            break;
        }
    return found && address - out->address < (out->size ? out->size : 1);
}

/* The record of an address in a locked page, if there is one. */
static bool page_get(uint64_t word, uintptr_t address, struct live_block *out) {
    const unsigned capacity = capacities[word_class(word)];
    const int i = bucket_find(word, (uint8_t)(address >> 4), address & 8 ? FLAG_HIGH_HALF : 0);
    if (i >= 0)
        record_get(&bucket_records(word_bucket(word), capacity)[i], address, out);
    return i >= 0;
}

/* The last block of a locked page that starts at or before an address. */
static __attribute__((noinline)) bool page_get_before(uint64_t word, uintptr_t page,
                                                      uintptr_t address, struct live_block *out) {
    struct live_block blocks[512];
    size_t n = page_blocks(word, page, blocks);
    while (n > 0 && blocks[n - 1].address > address)
        n--;
    if (n > 0)
        *out = blocks[n - 1];
    return n > 0;
}

/* Sizes that do not fit a record, and blocks that no page has, are in the sorted table. */
static enum live_result look_at_odd(const struct live_cache *cache, uintptr_t address, bool found,
                                    struct live_block *out) {
    if (!rawmem_lock(&odd_lock, cache->try))
        return LIVE_BUSY;
    if (found && out->size == SIZE_ESCAPE)
        out->size = odd_size(out->address);
    for (size_t i = odd_position(address + 1); i-- > 0;)
        if (!odd[i].size_only) {
            if (!found || odd[i].block.address > out->address)
                *out = odd[i].block;
            found = true;
            break;
        }
    rawmem_unlock(&odd_lock);
    return found ? LIVE_FOUND : LIVE_ABSENT;
}

enum live_result live_table_look(const struct live_cache *cache, uintptr_t address,
                                 uint64_t max_bytes, struct live_block *out) {
    const uintptr_t lowest = address > max_bytes ? address - max_bytes : 0;
    bool found = false;
    for (uintptr_t page = address >> PAGE_SHIFT << PAGE_SHIFT; address >> 47 == 0 && !found;
         page -= 1u << PAGE_SHIFT) {
        struct leaf *const leaf = leaf_of(page);
        if (leaf == NULL)
            page = page >> (PAGE_SHIFT + LEAF_BITS) << (PAGE_SHIFT + LEAF_BITS);
        else {
            _Atomic uint64_t *const at = &leaf->words[leaf_index(page)];
            uint64_t word = atomic_load_explicit(at, memory_order_relaxed);
            if (word != 0) {
                if (!word_lock(at, &word, cache->try))
                    return LIVE_BUSY;
                found = word != 0 && ((page == address >> PAGE_SHIFT << PAGE_SHIFT &&
                                       !(address & 7) && page_get(word, address, out)) ||
                                      page_get_before(word, page, address, out));
                word_unlock(at, word);
            }
        }
        if (page == 0 || page <= lowest)
            break;
    }
    if (atomic_load_explicit(&n_odd, memory_order_relaxed) != 0) {
        const enum live_result result = look_at_odd(cache, address, found, out);
        if (result == LIVE_BUSY)
            return LIVE_BUSY;
        found = result == LIVE_FOUND;
    }
    return found && address - out->address < (out->size ? out->size : 1) ? LIVE_FOUND : LIVE_ABSENT;
}

void live_table_after_fork_child(void) {
    rawmem_unlock(&pool_lock);
    rawmem_unlock(&odd_lock);
    uintptr_t page = 0;
    for (uint64_t word; next_page(&page, &word); page += 1u << PAGE_SHIFT) {
        struct leaf *const leaf = leaf_of(page);
        atomic_store_explicit(&leaf->words[leaf_index(page)], word, memory_order_relaxed);
    }
}
