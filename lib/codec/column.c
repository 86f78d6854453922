/* Encodings of number columns. Every encoder has its decoder beside it. Decoders check sizes before
 * they read and never write more than n numbers; encoders trust their input.
 *
 * Planes are made sixteen numbers at a time by unpacking register pairs: the 7-bit address
 * (number 0-15, byte 0-7) of each of 128 bytes is rotated left by one in each round, so four rounds
 * turn numbers into planes and three turn planes into numbers. */
#include "codec/column.h"
#include "base/bytes.h"
#include "base/mem.h"

#include <stdlib.h>

#define HUBS_MAX 255u
#define HUB_SLOTS (SNAP_CHUNK_ROWS_MAX * 2)
#define HUB_LEAST 8u /* occurrences that make a value worth a code */

typedef uint8_t u8x16 __attribute__((vector_size(16)));

#define INLINE static inline __attribute__((always_inline))

INLINE u8x16 unpack_low(u8x16 a, u8x16 b) {
    return __builtin_shufflevector(a, b, 0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23);
}
INLINE u8x16 unpack_high(u8x16 a, u8x16 b) {
    return __builtin_shufflevector(a, b, 8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15,
                                   31);
}

INLINE void rotate(u8x16 r[8]) {
    const u8x16 t[8] = {unpack_low(r[0], r[4]),  unpack_high(r[0], r[4]), unpack_low(r[1], r[5]),
                        unpack_high(r[1], r[5]), unpack_low(r[2], r[6]),  unpack_high(r[2], r[6]),
                        unpack_low(r[3], r[7]),  unpack_high(r[3], r[7])};
    memcpy(r, t, sizeof t);
}

/* With a width known to the compiler what is 0, or not wanted, costs nothing. */
INLINE size_t put_blocks(uint8_t *dst, const uint64_t *v, size_t n, unsigned width) {
    size_t i = 0;
    for (; i + 16 <= n; i += 16) {
        u8x16 r[8];
        memcpy(r, v + i, sizeof r);
        rotate(r);
        rotate(r);
        rotate(r);
        rotate(r);
        for (unsigned p = 0; p < width; p++)
            memcpy(dst + p * n + i, &r[p], 16);
    }
    return i;
}

INLINE size_t get_blocks(uint64_t *v, const uint8_t *src, size_t n, unsigned width) {
    size_t i = 0;
    for (; i + 16 <= n; i += 16) {
        u8x16 r[8] = {{0}};
        for (unsigned p = 0; p < width; p++)
            memcpy(&r[p], src + p * n + i, 16);
        rotate(r);
        rotate(r);
        rotate(r);
        memcpy(v + i, r, sizeof r);
    }
    return i;
}

void column_planes_put(uint8_t *dst, const uint64_t *v, size_t n, unsigned width) {
    size_t i = 0;
#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
    switch (width) {
    case 0: return;
    case 1: i = put_blocks(dst, v, n, 1); break;
    case 2: i = put_blocks(dst, v, n, 2); break;
    case 3: i = put_blocks(dst, v, n, 3); break;
    case 4: i = put_blocks(dst, v, n, 4); break;
    case 5: i = put_blocks(dst, v, n, 5); break;
    case 6: i = put_blocks(dst, v, n, 6); break;
    default: i = put_blocks(dst, v, n, width); break;
    }
#endif
    for (; i < n; i++)
        for (unsigned p = 0; p < width; p++)
            dst[p * n + i] = (uint8_t)(v[i] >> 8 * p);
}

void column_planes_get(uint64_t *v, const uint8_t *src, size_t n, unsigned width) {
    size_t i = 0;
#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
    switch (width) {
    case 0: break;
    case 1: i = get_blocks(v, src, n, 1); break;
    case 2: i = get_blocks(v, src, n, 2); break;
    case 3: i = get_blocks(v, src, n, 3); break;
    case 4: i = get_blocks(v, src, n, 4); break;
    case 5: i = get_blocks(v, src, n, 5); break;
    case 6: i = get_blocks(v, src, n, 6); break;
    default: i = get_blocks(v, src, n, width); break;
    }
#endif
    for (; i < n; i++) {
        v[i] = 0;
        for (unsigned p = 0; p < width; p++)
            v[i] |= (uint64_t)src[p * n + i] << 8 * p;
    }
}

int column_scratch_init(struct column_scratch *s) {
    if (!s->numbers)
        s->numbers = mem_alloc(SNAP_CHUNK_ROWS_MAX, sizeof *s->numbers);
    if (!s->lengths)
        s->lengths = mem_alloc(SNAP_CHUNK_ROWS_MAX, sizeof *s->lengths);
    if (!s->last)
        s->last = mem_alloc(SNAP_KEYED_SLOTS, sizeof *s->last);
    return s->numbers && s->lengths && s->last ? 0 : -1;
}

int column_scratch_init_encoder(struct column_scratch *s) {
    if (!s->slots)
        s->slots = mem_alloc(HUB_SLOTS, sizeof *s->slots);
    if (!s->keys)
        s->keys = mem_alloc(HUB_SLOTS, sizeof *s->keys);
    return s->slots && s->keys ? column_scratch_init(s) : -1;
}

void column_scratch_release(struct column_scratch *s) {
    free(s->numbers);
    free(s->lengths);
    free(s->last);
    free(s->slots);
    free(s->keys);
    *s = (struct column_scratch){0};
}

size_t column_bound(size_t n) {
    return 16 + HUBS_MAX * 8 + n * 16;
}

static size_t put_planes(uint8_t *dst, const uint64_t *v, size_t n, uint64_t bits,
                         unsigned *out_width) {
    *out_width = column_width(bits);
    column_planes_put(dst, v, n, *out_width);
    return n * *out_width;
}

/* Differences, the first one from 0, into s->numbers; returns their bits. */
static uint64_t put_differences(struct column_scratch *s, const uint64_t *v, size_t n) {
    uint64_t all = s->numbers[0] = column_zigzag(v[0]);
    number_pair bits = {0};
    size_t i = 1;
    for (; i + 1 < n; i += 2) {
        const number_pair number =
            column_zigzag_pair(number_pair_get(v + i) - number_pair_get(v + i - 1));
        bits |= number;
        number_pair_put(s->numbers + i, number);
    }
    if (i < n)
        all |= s->numbers[i] = column_zigzag(v[i] - v[i - 1]);
    return all | bits[0] | bits[1];
}

static size_t put_delta(struct column_scratch *s, uint8_t *dst, const uint64_t *v, size_t n,
                        unsigned *out_width) {
    const uint64_t bits = put_differences(s, v, n);
    return put_planes(dst, s->numbers, n, bits, out_width);
}

static size_t put_runs(struct column_scratch *s, uint8_t *dst, const uint64_t *v, size_t n) {
    size_t n_runs = 0;
    uint64_t previous = 0, value_bits = 0, length_bits = 0;
    for (size_t i = 0; i < n; n_runs++) {
        size_t end = i + 1;
        while (end < n && v[end] == v[i])
            end++;
        value_bits |= s->numbers[n_runs] = column_zigzag(v[i] - previous);
        length_bits |= s->lengths[n_runs] = end - i;
        previous = v[i];
        i = end;
    }
    unsigned wv, wl;
    size_t size = 8;
    size += put_planes(dst + size, s->numbers, n_runs, value_bits, &wv);
    size += put_planes(dst + size, s->lengths, n_runs, length_bits, &wl);
    put_u32(dst, (uint32_t)n_runs);
    dst[4] = (uint8_t)wv;
    dst[5] = (uint8_t)wl;
    put_u16(dst + 6, 0);
    return size;
}

struct hub {
    uint64_t value;
    uint32_t count, at; /* at: its place in the table */
};

static int compare_hubs(const void *a, const void *b) {
    const struct hub *const x = a, *const y = b;
    if (x->count != y->count)
        return x->count > y->count ? -1 : 1;
    return x->value < y->value ? -1 : x->value > y->value;
}

static inline size_t hub_hash(uint64_t value, unsigned bits) {
    return (value * 0x9e3779b97f4a7c15ull) >> (64 - bits);
}

/* Numbers of the rows whose values may be hubs, in rows[]: most values of most columns come a few
 * times only, and a count of small numbers of values together, which stays in the nearest cache,
 * says so. */
static size_t find_candidates(struct column_scratch *s, const uint64_t *v, size_t n,
                              uint32_t *rows) {
    enum { BITS = 16 };
    uint8_t *const counts = (uint8_t *)s->last;
    memset(counts, 0, (size_t)1 << BITS);
    for (size_t i = 0; i < n; i++) {
        uint8_t *const count = &counts[hub_hash(v[i], BITS)];
        *count = (uint8_t)(*count + (*count < HUB_LEAST));
    }
    size_t n_rows = 0;
    for (size_t i = 0; i < n; i++) {
        rows[n_rows] = (uint32_t)i;
        n_rows += counts[hub_hash(v[i], BITS)] == HUB_LEAST;
    }
    return n_rows;
}

/* The most frequent values, at most HUBS_MAX; codes[i] gets the code of v[i], 0: no hub. */
static unsigned find_hubs(struct column_scratch *s, const uint64_t *v, size_t n,
                          uint64_t hub_values[HUBS_MAX], uint8_t *codes) {
    /* Both fit into the lengths; the numbers hold the hubs, at most n / HUB_LEAST. */
    uint32_t *const rows = (uint32_t *)(void *)s->lengths;
    uint32_t *const places = rows + SNAP_CHUNK_ROWS_MAX;
    struct hub *const hubs = (struct hub *)(void *)s->numbers;
    size_t n_hubs = 0;
    const size_t n_rows = find_candidates(s, v, n, rows);
    memset(codes, 0, n);
    if (!n_rows)
        return 0;
    unsigned bits = 4;
    while ((size_t)1 << bits < n_rows * 2)
        bits++;
    const size_t mask = ((size_t)1 << bits) - 1;
    memset(s->slots, 0, (mask + 1) * sizeof *s->slots);
    for (size_t k = 0; k < n_rows; k++) {
        const uint64_t value = v[rows[k]];
        size_t at = hub_hash(value, bits);
        while (s->slots[at] && s->keys[at] != value)
            at = (at + 1) & mask;
        s->keys[at] = value;
        places[k] = (uint32_t)at;
        if (++s->slots[at] == HUB_LEAST)
            hubs[n_hubs++] = (struct hub){value, 0, (uint32_t)at};
    }
    for (size_t k = 0; k < n_hubs; k++)
        hubs[k].count = s->slots[hubs[k].at];
    qsort(hubs, n_hubs, sizeof *hubs, compare_hubs);
    if (n_hubs > HUBS_MAX)
        n_hubs = HUBS_MAX;
    /* From counts to codes: those of hubs only. */
    memset(s->slots, 0, (mask + 1) * sizeof *s->slots);
    for (size_t k = 0; k < n_hubs; k++) {
        s->slots[hubs[k].at] = (uint32_t)k + 1;
        hub_values[k] = hubs[k].value;
    }
    for (size_t k = 0; k < n_rows; k++)
        codes[rows[k]] = (uint8_t)s->slots[places[k]];
    return (unsigned)n_hubs;
}

/* Differences of the values that are no hubs, into s->numbers; returns their bits. */
static uint64_t put_rest(struct column_scratch *s, const uint64_t *v, size_t n,
                         const uint8_t *codes, size_t *out_n) {
    uint64_t *const numbers = s->numbers;
    uint64_t previous = 0, bits = 0;
    size_t n_rest = 0;
    for (size_t i = 0; i < n; i++) {
        const uint64_t value = codes[i] ? previous : v[i];
        const uint64_t number = column_zigzag(value - previous); /* 0 for hubs */
        numbers[n_rest] = number;
        bits |= number;
        previous = value;
        n_rest += codes[i] == 0;
    }
    *out_n = n_rest;
    return bits;
}

static size_t put_hubs(struct column_scratch *s, uint8_t *dst, const uint64_t *v, size_t n) {
    /* The codes are made where they belong if there are 255 hubs, and moved if there are fewer. */
    unsigned wh, wr;
    uint8_t *const made = dst + 8 + HUBS_MAX * 8;
    uint64_t hubs[HUBS_MAX];
    const unsigned n_hubs = find_hubs(s, v, n, hubs, made);
    size_t size = 8;
    size += put_planes(dst + size, hubs, n_hubs, numbers_bits(hubs, n_hubs), &wh);
    uint8_t *const codes = dst + size;
    memmove(codes, made, n);
    size += n;
    size_t n_rest = n;
    const uint64_t bits = n_hubs ? put_rest(s, v, n, codes, &n_rest) : put_differences(s, v, n);
    size += put_planes(dst + size, s->numbers, n_rest, bits, &wr);
    put_u32(dst, (uint32_t)n_rest);
    dst[4] = (uint8_t)n_hubs;
    dst[5] = (uint8_t)wh;
    dst[6] = (uint8_t)wr;
    dst[7] = 0;
    return size;
}

void column_clear_last(uint64_t *last, const uint64_t *key, size_t n) {
    if (n > SNAP_KEYED_SLOTS / 16) {
        memset(last, 0, SNAP_KEYED_SLOTS * sizeof *last);
        return;
    }
    last[0] = 0;
    for (size_t i = 0; key && i < n; i++)
        last[key[i] % SNAP_KEYED_SLOTS] = 0;
}

static size_t put_keyed(struct column_scratch *s, uint8_t *dst, const uint64_t *v, size_t n,
                        unsigned key_column, const uint64_t *key, unsigned *out_width) {
    column_clear_last(s->last, key, n);
    uint64_t bits = 0;
    for (size_t i = 0; i < n; i++) {
        uint64_t *const last = &s->last[key ? key[i] % SNAP_KEYED_SLOTS : 0];
        bits |= s->numbers[i] = column_zigzag(v[i] - *last);
        *last = v[i];
    }
    put_u16(dst, (uint16_t)key_column);
    put_u16(dst + 2, 0);
    return 4 + put_planes(dst + 4, s->numbers, n, bits, out_width);
}

size_t column_encode(struct column_scratch *s, unsigned encoding, const uint64_t *v, size_t n,
                     unsigned key_column, const uint64_t *key, uint8_t *dst, unsigned *out_width) {
    *out_width = 0;
    switch (encoding) {
    case SNAP_ENC_CONST: put_u64(dst, v[0]); return 8;
    case SNAP_ENC_PLANES: return put_planes(dst, v, n, numbers_bits(v, n), out_width);
    case SNAP_ENC_DELTA: return put_delta(s, dst, v, n, out_width);
    case SNAP_ENC_RUNS: return put_runs(s, dst, v, n);
    case SNAP_ENC_HUBS: return put_hubs(s, dst, v, n);
    default: return put_keyed(s, dst, v, n, key_column, key, out_width);
    }
}

static int get_runs(struct column_scratch *s, unsigned width, const uint8_t *src, size_t size,
                    size_t n, uint64_t *v) {
    if (size < 8)
        return SNAP_E_CORRUPT;
    const size_t n_runs = get_u32(src);
    const unsigned wv = src[4], wl = src[5];
    if (get_u16(src + 6))
        return SNAP_E_UNSUPPORTED;
    if (width || n_runs > n || wv > 8 || wl > 8 || size != 8 + n_runs * (wv + wl))
        return SNAP_E_CORRUPT;
    column_planes_get(s->numbers, src + 8, n_runs, wv);
    column_planes_get(s->lengths, src + 8 + n_runs * wv, n_runs, wl);
    size_t at = 0;
    uint64_t value = 0;
    for (size_t r = 0; r < n_runs; r++) {
        value += column_unzigzag(s->numbers[r]);
        if (!s->lengths[r] || s->lengths[r] > n - at)
            return SNAP_E_CORRUPT;
        for (const size_t end = at + s->lengths[r]; at < end; at++)
            v[at] = value;
    }
    return at == n ? SNAP_OK : SNAP_E_CORRUPT;
}

static int get_hubs(struct column_scratch *s, unsigned width, const uint8_t *src, size_t size,
                    size_t n, uint64_t *v) {
    if (size < 8)
        return SNAP_E_CORRUPT;
    const size_t n_rest = get_u32(src);
    const unsigned n_hubs = src[4], wh = src[5], wr = src[6];
    if (src[7])
        return SNAP_E_UNSUPPORTED;
    if (width || n_rest > n || wh > 8 || wr > 8 || size != 8 + n_hubs * wh + n + n_rest * wr)
        return SNAP_E_CORRUPT;
    uint64_t hubs[HUBS_MAX + 1];
    column_planes_get(hubs + 1, src + 8, n_hubs, wh);
    const uint8_t *const codes = src + 8 + n_hubs * wh;
    column_planes_get(s->numbers, codes + n, n_rest, wr);
    size_t rest = 0;
    uint64_t previous = 0;
    for (size_t i = 0; i < n; i++) {
        const unsigned code = codes[i];
        if (code > n_hubs || (!code && rest == n_rest))
            return SNAP_E_CORRUPT;
        if (!code)
            previous += column_unzigzag(s->numbers[rest++]);
        v[i] = code ? hubs[code] : previous;
    }
    return rest == n_rest ? SNAP_OK : SNAP_E_CORRUPT;
}

static int get_keyed(struct column_scratch *s, unsigned width, const uint8_t *src, size_t size,
                     size_t n, const uint64_t *key, uint64_t *v) {
    if (size != 4 + n * width)
        return SNAP_E_CORRUPT;
    column_planes_get(v, src + 4, n, width);
    column_clear_last(s->last, key, n);
    for (size_t i = 0; i < n; i++) {
        uint64_t *const last = &s->last[key ? key[i] % SNAP_KEYED_SLOTS : 0];
        *last += column_unzigzag(v[i]);
        v[i] = *last;
    }
    return SNAP_OK;
}

int column_key_column(const uint8_t *src, size_t size, unsigned *out) {
    if (size < 4)
        return SNAP_E_CORRUPT;
    if (get_u16(src + 2))
        return SNAP_E_UNSUPPORTED;
    *out = get_u16(src);
    return SNAP_OK;
}

/* From zigzagged differences to numbers. */
static void add_up(uint64_t *v, size_t n) {
    number_pair value = {0};
    size_t i = 0;
    for (; i + 2 <= n; i += 2) {
        const number_pair z = number_pair_get(v + i);
        const number_pair d = z >> 1 ^ (0 - (z & 1));
        value += d + __builtin_shufflevector((number_pair){0}, d, 0, 2);
        number_pair_put(v + i, value);
        value = __builtin_shufflevector(value, value, 1, 1);
    }
    if (i < n)
        v[i] = value[0] + column_unzigzag(v[i]);
}

int column_decode(struct column_scratch *s, unsigned encoding, unsigned width, const uint8_t *src,
                  size_t size, size_t n, const uint64_t *key, uint64_t *v) {
    if (width > 8 && encoding != SNAP_ENC_RUNS && encoding != SNAP_ENC_HUBS)
        return SNAP_E_CORRUPT;
    switch (encoding) {
    case SNAP_ENC_CONST:
        if (size != 8 || width)
            return SNAP_E_CORRUPT;
        numbers_fill(v, n, get_u64(src));
        return SNAP_OK;
    case SNAP_ENC_PLANES:
    case SNAP_ENC_DELTA:
        if (size != n * width)
            return SNAP_E_CORRUPT;
        column_planes_get(v, src, n, width);
        if (encoding == SNAP_ENC_DELTA)
            add_up(v, n);
        return SNAP_OK;
    case SNAP_ENC_RUNS: return get_runs(s, width, src, size, n, v);
    case SNAP_ENC_HUBS: return get_hubs(s, width, src, size, n, v);
    case SNAP_ENC_KEYED: return get_keyed(s, width, src, size, n, key, v);
    default: return SNAP_E_CORRUPT;
    }
}
