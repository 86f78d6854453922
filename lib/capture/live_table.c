/* The exact set of live blocks. See live_table.h for the idea.
 *
 * Invariant: a unit word is either 0 or holds the address of a bucket whose class it names and the
 * number of bits set in the bucket's `used` words; whoever changes a bucket or a unit word holds
 * the word's lock bit. Addresses that are not a multiple of 8 or lie above 2^47, and sizes that do
 * not fit a record, live in one small sorted table under a lock. It never shrinks the radix tree.
 */
#include "capture/live_table.h"

#include <stdatomic.h>
#include <string.h>

#include "capture/live_quick.h"
#include "capture/rawmem.h"

enum { ODD_MAX = 1 << 20, UNIT_BLOCKS = 256 };

#define SIZE_ESCAPE ((UINT64_C(1) << 36) - 1)
#define UNIT_MASK (~(uintptr_t)0 << LIVE_UNIT_SHIFT)

struct live_leaf *_Atomic live_root[1 << LIVE_ROOT_BITS];
static _Atomic uint64_t root_touched[(1 << LIVE_ROOT_BITS) / 64 / 64];

#define LINES(capacity) (((capacity) + LIVE_LINE_TAGS - 1u) / LIVE_LINE_TAGS)

/* Capacities: in small steps, because the unused part of buckets is most of the table's overhead;
 * each such that a bucket fills cache lines. */
const uint16_t live_capacities[LIVE_N_CLASSES] = {2,  4,  8,  12, 16, 20,  24,  28,  32,  36, 40,
                                                  44, 48, 56, 68, 80, 100, 128, 160, 208, 256};
#define AT(capacity) (LINES(capacity) * 64)
const uint16_t live_records_at[LIVE_N_CLASSES] = {
    16,     AT(4),  AT(8),  AT(12), AT(16), AT(20),  AT(24),  AT(28),  AT(32),  AT(36), AT(40),
    AT(44), AT(48), AT(56), AT(68), AT(80), AT(100), AT(128), AT(160), AT(208), AT(256)};

static struct rawmem_lock pool_lock;
static void *pool_free[LIVE_N_CLASSES];

/* Blocks that no unit word can describe, in the order of addresses; `fits` false: only the size is
 * kept here, for a record that stands in the table. */
static struct rawmem_lock odd_lock;
static struct odd {
    struct live_block block;
    bool size_only;
} * odd;
static size_t odd_room;
_Atomic size_t live_n_odd;

static inline size_t bucket_bytes(unsigned class) {
    const size_t bytes =
        live_records_at[class] + live_capacities[class] * sizeof(struct live_record);
    return (bytes + 63) & ~(size_t)63;
}

static inline uint64_t word_make(const void *bucket, unsigned class, unsigned count) {
    return (uint64_t)(uintptr_t)bucket >> 4 << LIVE_WORD_POINTER_SHIFT |
           (uint64_t) class << LIVE_WORD_CLASS_SHIFT | (uint64_t)count << LIVE_WORD_COUNT_SHIFT;
}

/* Index of the record of an address, or -1. */
static inline int bucket_find(uint64_t word, uintptr_t address) {
    struct live_line *const bucket = live_word_bucket(word);
    const unsigned n = LINES(live_capacities[live_word_class(word)]);
    for (unsigned l = 0; l < n; l++) {
        const uint64_t equal =
            live_line_find(&bucket[l], live_tag(address),
                           atomic_load_explicit(&bucket[l].used, memory_order_relaxed));
        if (equal != 0)
            return (int)(l * LIVE_LINE_TAGS + (unsigned)__builtin_ctzll(equal));
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
            bucket = rawmem_carve(bucket_bytes(class), cache->try);
    }
    for (unsigned l = 0; bucket != NULL && l < LINES(live_capacities[class]); l++)
        atomic_store_explicit(&((struct live_line *)bucket)[l].used, 0, memory_order_relaxed);
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

static __attribute__((noinline)) struct live_leaf *leaf_new(uintptr_t address) {
    const size_t i = address >> (LIVE_UNIT_SHIFT + LIVE_LEAF_BITS);
    struct live_leaf *const fresh = rawmem_map(sizeof *fresh);
    struct live_leaf *expected = NULL;
    if (fresh == NULL)
        return NULL;
    if (!atomic_compare_exchange_strong(&live_root[i], &expected, fresh)) {
        rawmem_unmap(fresh, sizeof *fresh);
        return expected;
    }
    atomic_fetch_or(&root_touched[i / 64 / 64], UINT64_C(1) << (i / 64 % 64));
    return fresh;
}

/* Locks a unit word; false only with try. *word is its value without the lock. */
static __attribute__((noinline)) bool word_lock_slowly(_Atomic uint64_t *at, uint64_t *word,
                                                       bool try) {
    for (unsigned turn = 0;; turn++) {
        uint64_t seen = atomic_load_explicit(at, memory_order_relaxed) & ~LIVE_WORD_LOCK;
        if (atomic_compare_exchange_strong_explicit(at, &seen, seen | LIVE_WORD_LOCK,
                                                    memory_order_acquire, memory_order_relaxed)) {
            *word = seen;
            return true;
        }
        if (try && turn > 100)
            return false;
        if (turn > 300 && rawmem_is_copy()) {
            *word = atomic_load_explicit(at, memory_order_relaxed) & ~LIVE_WORD_LOCK;
            return true;
        }
        rawmem_back_off(turn);
    }
}
static inline bool word_lock(_Atomic uint64_t *at, uint64_t *word, bool try) {
    uint64_t seen = atomic_load_explicit(at, memory_order_relaxed);
    if (__builtin_expect(!(seen & LIVE_WORD_LOCK), 1)) {
        *word = seen;
        if (live_word_lock_once(at, seen))
            return true;
    }
    return word_lock_slowly(at, word, try);
}
static inline bool is_odd(uintptr_t address) {
    return __builtin_expect(address >> 47 || address & 7, 0);
}

/* Position of the first entry at or after address. */
static size_t odd_position(uintptr_t address) {
    size_t low = 0, high = live_n_odd;
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
    if (i < live_n_odd && odd[i].block.address == block->address) {
        *old = odd[i].block;
        odd[i] = (struct odd){*block, size_only};
        result = LIVE_FOUND;
    } else {
        if (live_n_odd == odd_room && odd_room < ODD_MAX) {
            const size_t room = odd_room ? odd_room * 2 : 256;
            struct odd *const grown = rawmem_map(room * sizeof *grown);
            if (grown != NULL) {
                struct odd *const before = odd;
                if (live_n_odd)
                    memcpy(grown, before, live_n_odd * sizeof *grown);
                odd = grown;
                if (before != NULL)
                    rawmem_unmap(before, odd_room * sizeof *before);
                odd_room = room;
            }
        }
        if (live_n_odd < odd_room) {
            memmove(odd + i + 1, odd + i, (live_n_odd - i) * sizeof *odd);
            odd[i] = (struct odd){*block, size_only};
            live_n_odd++;
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
    if (i < live_n_odd && odd[i].block.address == address) {
        if (old != NULL)
            *old = odd[i].block;
        memmove(odd + i, odd + i + 1, (live_n_odd - i - 1) * sizeof *odd);
        live_n_odd--;
        result = LIVE_FOUND;
    }
    rawmem_unlock(&odd_lock);
    return result;
}

static inline void record_get(const struct live_record *record, uintptr_t address,
                              struct live_block *out) {
    out->address = address;
    out->size = record->size_stack >> 28;
    out->stack = record->size_stack & LIVE_STACK_MAX;
    out->birth = record->birth_flags >> 16;
    out->flags = record->birth_flags & LIVE_FLAGS_MASK;
}

/* The class that a unit starts with: somewhat fewer blocks than fit if all are of that size. */
static unsigned first_class(uint64_t size) {
    const uint64_t likely = size < 2048 ? 1250 / (size + 24) : 0;
    unsigned class = 0;
    while (class < 13 && live_capacities[class + 1] <= likely)
        class ++;
    return class;
}

/* Replaces the bucket of a locked unit by a greater one (or makes the first). 0: no memory. */
static __attribute__((noinline)) uint64_t unit_grow(struct live_cache *cache,
                                                    struct live_leaf *leaf, size_t index,
                                                    uint64_t word, uint64_t size) {
    if (word == 0) {
        const unsigned class = first_class(size);
        void *const bucket = bucket_new(cache, class);
        if (bucket == NULL)
            return 0;
        const size_t group = index >> LIVE_GROUP_BITS;
        const uint64_t bit = UINT64_C(1) << group % 64;
        if (!(atomic_load_explicit(&leaf->touched[group / 64], memory_order_relaxed) & bit))
            atomic_fetch_or(&leaf->touched[group / 64], bit);
        return word_make(bucket, class, 0) | (class == 0 ? LIVE_WORD_STAYS : 0);
    }
    const unsigned class = live_word_class(word);
    if (class + 1 >= LIVE_N_CLASSES)
        return 0;
    const unsigned capacity = live_capacities[class];
    struct live_line *const before = live_word_bucket(word);
    struct live_line *const bucket = bucket_new(cache, class + 1);
    if (bucket == NULL)
        return 0;
    for (unsigned l = 0, left = capacity; l < LINES(capacity); l++, left -= LIVE_LINE_TAGS) {
        memcpy(bucket[l].tags, before[l].tags, left < LIVE_LINE_TAGS ? left : LIVE_LINE_TAGS);
        bucket[l].used = before[l].used;
    }
    memcpy(live_records(bucket, class + 1), live_records(before, class),
           capacity * sizeof(struct live_record));
    const uint64_t grown = word_make(bucket, class + 1, live_word_count(word));
    atomic_store_explicit(&leaf->words[index], grown | LIVE_WORD_LOCK, memory_order_release);
    bucket_free(cache, before, class);
    return grown;
}

/* The bucket of a unit that has just become empty stays for a while; the one that has done so
 * longest goes instead, if its unit is still empty. (Where a signal's handler may not wait for that
 * unit's lock, its bucket stays for good.) */
static void keep_vacant(struct live_cache *cache, uintptr_t unit) {
    uintptr_t *const place = &cache->vacant[cache->turn++ % LIVE_VACANT];
    const uintptr_t oldest = *place;
    *place = unit;
    struct live_leaf *const leaf = oldest != 0 ? live_leaf_of(oldest) : NULL;
    if (leaf == NULL)
        return;
    _Atomic uint64_t *const at = &leaf->words[live_leaf_index(oldest)];
    uint64_t word;
    if (!(atomic_load_explicit(at, memory_order_relaxed) & LIVE_WORD_STAYS) ||
        !word_lock(at, &word, cache->try))
        return;
    const unsigned class = live_word_class(word);
    if (!(word & LIVE_WORD_STAYS) || class == 0) {
        live_word_unlock(at, word);
    } else if (live_word_count(word) != 0) {
        live_word_unlock(at, word & ~LIVE_WORD_STAYS);
    } else {
        live_word_unlock(at, 0);
        bucket_free(cache, live_word_bucket(word), class);
    }
}

/* Puts a record where there is room for it; the unit is locked, and is unlocked. */
static inline void put_into(_Atomic uint64_t *at, uint64_t word, uintptr_t address,
                            const struct live_record *fresh) {
    struct live_line *const bucket = live_word_bucket(word), *line = bucket;
    uint64_t used = atomic_load_explicit(&line->used, memory_order_relaxed);
    while (used == LIVE_LINE_FULL)
        used = atomic_load_explicit(&(++line)->used, memory_order_relaxed);
    const unsigned bit = (unsigned)__builtin_ctzll(~used);
    live_records(bucket, live_word_class(word))[(line - bucket) * LIVE_LINE_TAGS + bit] = *fresh;
    line->tags[bit] = live_tag(address);
    atomic_store_explicit(&line->used, used | UINT64_C(1) << bit, memory_order_release);
    live_word_unlock(at, word + LIVE_WORD_COUNT_ONE);
}

enum live_result live_table_put_wide(_Atomic uint64_t *at, uint64_t word, uintptr_t address,
                                     struct live_record fresh) {
    if (__builtin_expect(bucket_find(word, address) >= 0, 0)) {
        live_word_unlock(at, word);
        return LIVE_BUSY;
    }
    put_into(at, word, address, &fresh);
    return LIVE_ABSENT;
}

enum live_result live_table_put(struct live_cache *cache, const struct live_block *block,
                                struct live_block *old) {
    const uintptr_t address = block->address;
    if (is_odd(address))
        return odd_put(cache, block, false, old);
    struct live_leaf *leaf = live_leaf_of(address);
    if (__builtin_expect(leaf == NULL, 0)) {
        leaf = leaf_new(address);
        if (leaf == NULL)
            return LIVE_NO_MEMORY;
    }
    const size_t index = live_leaf_index(address);
    _Atomic uint64_t *const at = &leaf->words[index];
    uint64_t size = block->size;
    if (__builtin_expect(size >= SIZE_ESCAPE, 0)) {
        struct live_block ignored;
        const enum live_result kept = odd_put(cache, block, true, &ignored);
        if (kept > LIVE_FOUND)
            return kept;
        size = SIZE_ESCAPE;
    }
    const struct live_record fresh = {size << 28 | (block->stack & LIVE_STACK_MAX),
                                      block->birth << 16 | (block->flags & LIVE_FLAGS_MASK)};
    uint64_t word;
    if (__builtin_expect(!word_lock(at, &word, cache->try), 0))
        return LIVE_BUSY;
    const int there = word == 0 ? -1 : bucket_find(word, address);
    if (__builtin_expect(there >= 0, 0)) {
        /* A free that was never seen. Absent for a moment rather than half of each. */
        struct live_line *const bucket = live_word_bucket(word);
        struct live_record *const record = &live_records(bucket, live_word_class(word))[there];
        record_get(record, address, old);
        _Atomic uint64_t *const used = &bucket[there / LIVE_LINE_TAGS].used;
        *used &= ~(UINT64_C(1) << there % LIVE_LINE_TAGS);
        *record = fresh;
        atomic_signal_fence(memory_order_seq_cst);
        *used |= UINT64_C(1) << there % LIVE_LINE_TAGS;
        live_word_unlock(at, word);
        return LIVE_FOUND;
    }
    if (__builtin_expect(
            word == 0 || live_word_count(word) == live_capacities[live_word_class(word)], 0)) {
        const uint64_t grown = unit_grow(cache, leaf, index, word, block->size);
        if (grown == 0) {
            live_word_unlock(at, word);
            return LIVE_NO_MEMORY;
        }
        word = grown;
        /* A word with a bucket is published before the bit: see the header. */
        atomic_store_explicit(at, word | LIVE_WORD_LOCK, memory_order_release);
    }
    put_into(at, word, address, &fresh);
    return LIVE_ABSENT;
}

enum live_result live_table_take(struct live_cache *cache, uintptr_t address,
                                 struct live_block *old) {
    if (is_odd(address))
        return odd_take(cache, address, old);
    struct live_leaf *const leaf = live_leaf_of(address);
    if (__builtin_expect(leaf == NULL, 0))
        return LIVE_ABSENT;
    const size_t index = live_leaf_index(address);
    _Atomic uint64_t *const at = &leaf->words[index];
    if (__builtin_expect(atomic_load_explicit(at, memory_order_relaxed) == 0, 0))
        return LIVE_ABSENT;
    uint64_t word;
    if (__builtin_expect(!word_lock(at, &word, cache->try), 0))
        return LIVE_BUSY;
    if (word == 0) {
        live_word_unlock(at, word);
        return LIVE_ABSENT;
    }
    struct live_line *const bucket = live_word_bucket(word);
    const unsigned class = live_word_class(word);
    const int i = bucket_find(word, address);
    if (__builtin_expect(i < 0, 0)) {
        live_word_unlock(at, word);
        return LIVE_ABSENT;
    }
    /* The record is far from the tags: it is read only if its content is asked for. */
    const bool read = old != NULL || live_n_odd != 0;
    struct live_block block;
    if (__builtin_expect(read, 0))
        record_get(&live_records(bucket, class)[i], address, &block);
    _Atomic uint64_t *const used = &bucket[i / LIVE_LINE_TAGS].used;
    atomic_store_explicit(used,
                          atomic_load_explicit(used, memory_order_relaxed) &
                              ~(UINT64_C(1) << i % LIVE_LINE_TAGS),
                          memory_order_release);
    word -= LIVE_WORD_COUNT_ONE;
    if (__builtin_expect(live_word_count(word) == 0 && !(word & LIVE_WORD_STAYS), 0)) {
        live_word_unlock(at, word | LIVE_WORD_STAYS);
        keep_vacant(cache, address & UNIT_MASK);
    } else {
        live_word_unlock(at, word);
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
    return i < live_n_odd && odd[i].block.address == address ? odd[i].block.size : SIZE_ESCAPE;
}

/* The blocks of one unit in the order of addresses; returns how many. */
static size_t unit_blocks(uint64_t word, uintptr_t unit, struct live_block blocks[UNIT_BLOCKS]) {
    struct live_line *const bucket = live_word_bucket(word);
    const unsigned class = live_word_class(word);
    const struct live_record *const records = live_records(bucket, class);
    uint8_t at[UNIT_BLOCKS]; /* index by tag */
    uint64_t present[UNIT_BLOCKS / 64] = {0};
    for (unsigned l = 0; l < LINES(live_capacities[class]); l++)
        for (uint64_t used = bucket[l].used; used; used &= used - 1) {
            const unsigned i = (unsigned)__builtin_ctzll(used), tag = bucket[l].tags[i];
            at[tag] = (uint8_t)(l * LIVE_LINE_TAGS + i);
            present[tag / 64] |= UINT64_C(1) << tag % 64;
        }
    size_t n = 0;
    for (unsigned w = 0; w < UNIT_BLOCKS / 64; w++)
        for (uint64_t left = present[w]; left; left &= left - 1) {
            const unsigned tag = w * 64 + (unsigned)__builtin_ctzll(left);
            struct live_block *const block = &blocks[n++];
            record_get(&records[at[tag]], unit + tag * 8, block);
            if (block->size == SIZE_ESCAPE)
                block->size = odd_size(block->address);
        }
    return n;
}

/* The next unit word that is not empty, at or after *unit (an address); false: none. */
static bool next_unit(uintptr_t *unit, uint64_t *word) {
    uintptr_t at = *unit;
    while (at >> 47 == 0) {
        const size_t r = at >> (LIVE_UNIT_SHIFT + LIVE_LEAF_BITS);
        if (r % 64 == 0 && !(root_touched[r / 64 / 64] >> (r / 64 % 64) & 1)) {
            at = (r + 64) << (LIVE_UNIT_SHIFT + LIVE_LEAF_BITS);
            continue;
        }
        struct live_leaf *const leaf = live_root[r];
        if (leaf == NULL) {
            at = (r + 1) << (LIVE_UNIT_SHIFT + LIVE_LEAF_BITS);
            continue;
        }
        for (size_t i = live_leaf_index(at); i < 1u << LIVE_LEAF_BITS;) {
            const size_t group = i >> LIVE_GROUP_BITS;
            if (!(leaf->touched[group / 64] >> group % 64 & 1)) {
                i = (group + 1) << LIVE_GROUP_BITS;
                continue;
            }
            const uint64_t found =
                atomic_load_explicit(&leaf->words[i], memory_order_acquire) & ~LIVE_WORD_LOCK;
            if (found != 0) {
                *unit = (r << LIVE_LEAF_BITS | i) << LIVE_UNIT_SHIFT;
                *word = found;
                return true;
            }
            i++;
        }
        at = (r + 1) << (LIVE_UNIT_SHIFT + LIVE_LEAF_BITS);
    }
    return false;
}

int live_table_for_each(int (*fn)(void *context, const struct live_block *blocks, size_t n),
                        void *context) {
    struct live_block blocks[UNIT_BLOCKS];
    size_t next_odd = 0;
    uintptr_t unit = 0;
    for (uint64_t word;; unit += 1u << LIVE_UNIT_SHIFT) {
        const bool more = next_unit(&unit, &word);
        const size_t n = more ? unit_blocks(word, unit, blocks) : 0;
        size_t done = 0;
        for (; next_odd < live_n_odd; next_odd++) {
            if (odd[next_odd].size_only)
                continue;
            const struct live_block *const one = &odd[next_odd].block;
            if (more && one->address >= unit + (1u << LIVE_UNIT_SHIFT))
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
    struct live_block blocks[UNIT_BLOCKS];
    const uintptr_t lowest = address > max_bytes ? address - max_bytes : 0;
    bool found = false;
    for (uintptr_t unit = address & UNIT_MASK; address >> 47 == 0; unit -= 1u << LIVE_UNIT_SHIFT) {
        const struct live_leaf *const leaf = live_leaf_of(unit);
        if (leaf == NULL) {
            unit = unit >> (LIVE_UNIT_SHIFT + LIVE_LEAF_BITS) << (LIVE_UNIT_SHIFT + LIVE_LEAF_BITS);
        } else {
            const uint64_t word = leaf->words[live_leaf_index(unit)] & ~LIVE_WORD_LOCK;
            size_t n = word ? unit_blocks(word, unit, blocks) : 0;
            while (n > 0 && blocks[n - 1].address > address)
                n--;
            if (n > 0) {
                *out = blocks[n - 1];
                found = true;
                break;
            }
        }
        if (unit == 0 || unit <= lowest)
            break;
    }
    for (size_t i = live_n_odd; i-- > 0;)
        if (!odd[i].size_only && odd[i].block.address <= address) {
            if (!found || odd[i].block.address > out->address)
                *out = odd[i].block;
            found = true;
            break;
        }
    return found && address - out->address < (out->size ? out->size : 1);
}

/* The record of an address in a locked unit, if there is one. */
static bool unit_get(uint64_t word, uintptr_t address, struct live_block *out) {
    const int i = bucket_find(word, address);
    if (i >= 0)
        record_get(&live_records(live_word_bucket(word), live_word_class(word))[i], address, out);
    return i >= 0;
}

/* The last block of a locked unit that starts at or before an address. */
static __attribute__((noinline)) bool unit_get_before(uint64_t word, uintptr_t unit,
                                                      uintptr_t address, struct live_block *out) {
    struct live_block blocks[UNIT_BLOCKS];
    size_t n = unit_blocks(word, unit, blocks);
    while (n > 0 && blocks[n - 1].address > address)
        n--;
    if (n > 0)
        *out = blocks[n - 1];
    return n > 0;
}

/* Sizes that do not fit a record, and blocks that no unit has, are in the sorted table. */
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
    for (uintptr_t unit = address & UNIT_MASK; address >> 47 == 0 && !found;
         unit -= 1u << LIVE_UNIT_SHIFT) {
        struct live_leaf *const leaf = live_leaf_of(unit);
        if (leaf == NULL)
            unit = unit >> (LIVE_UNIT_SHIFT + LIVE_LEAF_BITS) << (LIVE_UNIT_SHIFT + LIVE_LEAF_BITS);
        else {
            _Atomic uint64_t *const at = &leaf->words[live_leaf_index(unit)];
            uint64_t word = atomic_load_explicit(at, memory_order_relaxed);
            if (word != 0) {
                if (!word_lock(at, &word, cache->try))
                    return LIVE_BUSY;
                found = word != 0 && ((unit == (address & UNIT_MASK) && !(address & 7) &&
                                       unit_get(word, address, out)) ||
                                      unit_get_before(word, unit, address, out));
                live_word_unlock(at, word);
            }
        }
        if (unit == 0 || unit <= lowest)
            break;
    }
    if (atomic_load_explicit(&live_n_odd, memory_order_relaxed) != 0) {
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
    uintptr_t unit = 0;
    for (uint64_t word; next_unit(&unit, &word); unit += 1u << LIVE_UNIT_SHIFT) {
        struct live_leaf *const leaf = live_leaf_of(unit);
        atomic_store_explicit(&leaf->words[live_leaf_index(unit)], word, memory_order_relaxed);
    }
}
