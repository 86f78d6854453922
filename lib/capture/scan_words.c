/* The inner loops: filter words by value, look up many at once, note what they refer to.
 *
 * The filter compares four or eight words with the range of all that is known; what passes is
 * gathered and looked up together, so that the misses of the cache overlap. Two versions of all of
 * it: for any x86-64, and with AVX2 and POPCNT. Which memory may be read is decided elsewhere
 * (scan_memory.c). */
#include <heapsnap/snapdef.h>
#include <immintrin.h>
#include <string.h>

#include "capture/scan_internal.h"

#define INLINE static inline __attribute__((always_inline))
#define AVX2 __attribute__((target("avx2,popcnt,bmi")))

/* What the filter needs: values from low to high - 1 pass. */
struct filter {
    int64_t below_low, high;
};

INLINE struct filter filter_of(const struct scan_table *t) {
    return (struct filter){(int64_t)t->low - 1, (int64_t)t->high};
}

/* Bit i: p[i] passes; of 8 words. All addresses are positive, so signed comparisons do. */
AVX2 INLINE unsigned pass_avx2(const uint64_t *p, __m256i below_low, __m256i high) {
    const __m256i a = _mm256_loadu_si256((const __m256i *)(const void *)p);
    const __m256i b = _mm256_loadu_si256((const __m256i *)(const void *)(p + 4));
    const __m256i a_in =
        _mm256_and_si256(_mm256_cmpgt_epi64(a, below_low), _mm256_cmpgt_epi64(high, a));
    const __m256i b_in =
        _mm256_and_si256(_mm256_cmpgt_epi64(b, below_low), _mm256_cmpgt_epi64(high, b));
    return (unsigned)_mm256_movemask_pd(_mm256_castsi256_pd(a_in)) |
           (unsigned)_mm256_movemask_pd(_mm256_castsi256_pd(b_in)) << 4;
}

/* By the high halves only, which SSE2 can compare: lets more pass. */
INLINE unsigned pass_sse2(const uint64_t *p, __m128i below_low, __m128i above_high) {
    unsigned passed = 0;
    for (unsigned i = 0; i < 8; i += 4) {
        const __m128 a = _mm_loadu_ps((const float *)(const void *)(p + i));
        const __m128 b = _mm_loadu_ps((const float *)(const void *)(p + i + 2));
        const __m128i halves = _mm_castps_si128(_mm_shuffle_ps(a, b, _MM_SHUFFLE(3, 1, 3, 1)));
        const __m128i in =
            _mm_and_si128(_mm_cmpgt_epi32(halves, below_low), _mm_cmplt_epi32(halves, above_high));
        passed |= (unsigned)_mm_movemask_ps(_mm_castsi128_ps(in)) << i;
    }
    return passed;
}

/* Looks up what has gathered. */
INLINE void look_up(struct scan_worker *w) {
    const struct scan_table *const t = &w->scan->table;
    const struct scan_entry *const entries = scan_table_entries(t);
    struct scan_found *const found = w->found;
    uint64_t chunks[SCAN_WORDS_MAX + 16];
    uint32_t last[SCAN_WORDS_MAX + 16];
    const uint32_t n = w->n_words;
    w->n_words = 0;
    for (uint32_t i = 0; i < n; i++) {
        const uint64_t value = w->words[i].value;
        const uint64_t chunk = value >> 47 ? 0 : scan_table_chunk(t, value);
        chunks[i] = chunk;
        if (chunk & SCAN_CHUNK_PAGED)
            __builtin_prefetch(scan_table_page(t, chunk, value));
    }
    for (uint32_t i = 0; i < n; i++) {
        const uint64_t value = w->words[i].value;
        last[i] = 0;
        if (chunks[i] & SCAN_CHUNK_PAGED) {
            last[i] = scan_table_last(t, scan_table_page(t, chunks[i], value), value);
            __builtin_prefetch(&entries[last[i] - (last[i] > 0)]);
        } else if (chunks[i] & SCAN_CHUNK_WHOLE)
            last[i] = (uint32_t)chunks[i] + 1;
    }
    for (uint32_t i = 0; i < n; i++) {
        const struct scan_word *const word = &w->words[i];
        const uint32_t entry = scan_table_around(t, last[i], word->value);
        if (entry != UINT32_MAX) {
            const uint64_t offset = word->value - entries[entry].address;
            found->edges[found->n_edges++] = (struct wire_edge){
                .source = word->node,
                .target = entries[entry].node,
                .source_word = word->word,
                .target_offset = offset < UINT32_MAX ? (uint32_t)offset : UINT32_MAX};
        } else if (chunks[i] & SCAN_CHUNK_IMAGE) {
            const struct scan_pointer pointer = {word->value, word->node, word->word};
            if (word->node && word->word < 3 && scan_images_is_vtable(w, word->value))
                found->vptrs[found->n_vptrs++] = pointer;
            else if (scan_images_is_function(w, word->value))
                found->codes[found->n_codes++] = pointer;
        }
    }
}

INLINE void gather(struct scan_worker *w, unsigned passed, const uint64_t *p, uint32_t node,
                   uint32_t word) {
    struct scan_word *to = &w->words[w->n_words];
    w->n_words += (uint32_t)__builtin_popcount(passed);
    for (; passed; passed &= passed - 1, to++) {
        const unsigned i = (unsigned)__builtin_ctz(passed);
        *to = (struct scan_word){p[i], node, word + i};
    }
}

/* Up to seven words that are left. */
INLINE void gather_rest(struct scan_worker *w, const struct filter *f, const uint64_t *p,
                        const uint64_t *end, uint32_t node, uint32_t word) {
    for (; p < end; p++, word++)
        if ((int64_t)*p > f->below_low && (int64_t)*p < f->high)
            w->words[w->n_words++] = (struct scan_word){*p, node, word};
}

AVX2 INLINE void words_avx2(struct scan_worker *w, const struct filter *f, const uint64_t *p,
                            const uint64_t *end, uint32_t node, uint32_t word) {
    const __m256i below_low = _mm256_set1_epi64x(f->below_low);
    const __m256i high = _mm256_set1_epi64x(f->high);
    for (; end - p >= 8; p += 8, word += 8) {
        const unsigned passed = pass_avx2(p, below_low, high);
        if (!passed)
            continue;
        gather(w, passed, p, node, word);
        if (w->n_words >= SCAN_WORDS_MAX - 8)
            look_up(w);
    }
    gather_rest(w, f, p, end, node, word);
    if (w->n_words >= SCAN_WORDS_MAX - 8)
        look_up(w);
}

INLINE void words_sse2(struct scan_worker *w, const struct filter *f, const uint64_t *p,
                       const uint64_t *end, uint32_t node, uint32_t word) {
    const __m128i below_low = _mm_set1_epi32((int)((f->below_low + 1) >> 32) - 1);
    const __m128i above_high = _mm_set1_epi32((int)(f->high >> 32) + 1);
    for (; end - p >= 8; p += 8, word += 8) {
        const unsigned passed = pass_sse2(p, below_low, above_high);
        if (!passed)
            continue;
        gather(w, passed, p, node, word);
        if (w->n_words >= SCAN_WORDS_MAX - 8)
            look_up(w);
    }
    gather_rest(w, f, p, end, node, word);
    if (w->n_words >= SCAN_WORDS_MAX - 8)
        look_up(w);
}

/* A run of memory: of a node from its offset on, or of none. */
struct run {
    struct scan_worker *worker;
    uint64_t base; /* where offsets count from */
    uint32_t node;
};

AVX2 __attribute__((flatten)) static void run_avx2(struct scan_worker *w, const struct run *r,
                                                   uint64_t start, uint64_t end) {
    const struct filter f = filter_of(&w->scan->table);
    words_avx2(w, &f, (const uint64_t *)start, (const uint64_t *)end, r->node,
               (uint32_t)((start - r->base) / 8));
}

static void run_sse2(struct scan_worker *w, const struct run *r, uint64_t start, uint64_t end) {
    const struct filter f = filter_of(&w->scan->table);
    words_sse2(w, &f, (const uint64_t *)start, (const uint64_t *)end, r->node,
               (uint32_t)((start - r->base) / 8));
}

AVX2 static void finish_avx2(struct scan_worker *w) {
    look_up(w);
}
static void finish_sse2(struct scan_worker *w) {
    look_up(w);
}

static int has_avx2(void) {
    static int answer; /* 1: no, 2: yes */
    if (!answer) {
        __builtin_cpu_init();
        answer = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("popcnt") &&
                         __builtin_cpu_supports("bmi")
                     ? 2
                     : 1;
    }
    return answer == 2;
}

static void run_part(struct scan_worker *w, void *context, uint64_t start, uint64_t end) {
    start = (start + 7) & ~UINT64_C(7);
    end &= ~UINT64_C(7);
    if (start >= end)
        return;
    if (has_avx2())
        run_avx2(w, context, start, end);
    else
        run_sse2(w, context, start, end);
}

static void finish(struct scan_worker *w) {
    if (has_avx2())
        finish_avx2(w);
    else
        finish_sse2(w);
}

/* Entries one after the other; most lie in memory that is simply there. */
void scan_words_entries(struct scan_worker *w, const struct scan_shard *shard) {
    const struct scan *const s = w->scan;
    const struct scan_entry *const all = scan_table_entries(&s->table);
    size_t hint = 0;
    for (const struct scan_entry *e = shard->first; e < shard->end; e++) {
        if (all <= e && e < all + s->table.n_entries && e->node > s->n_blocks)
            continue; /* a target: read with the others of its kind, if at all */
        struct run r = {.base = e->address, .node = e->node};
        uint64_t start = e->address, end;
        if (shard->size) {
            start += shard->offset;
            end = start + shard->size;
        } else
            end = start + e->size;
        if (end - start < 8)
            continue;
        if (!w->is_careful && end - start < (uint64_t)SCAN_SHARD_BYTES / 2 &&
            scan_memory_is_plain(s, start, end, &hint))
            run_part(w, &r, start, end);
        else
            scan_memory_parts(w, start, end, run_part, &r);
    }
    finish(w);
}

void scan_words_range(struct scan_worker *w, uint64_t start, uint64_t end) {
    struct run r = {.base = start};
    scan_memory_parts(w, start, end, run_part, &r);
    finish(w);
}
