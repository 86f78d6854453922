/* One column of a chunk: numbers to bytes and back, by the seven encodings of snap-format.md,
 * section 7. Shared by writer and reader. */
#ifndef HEAPSNAP_COLUMN_H
#define HEAPSNAP_COLUMN_H

#include "base/numbers.h"

#include <heapsnap/table.h>

/* Bytes that the least plane count for a value takes: 0 for 0, 8 for the greatest. */
static inline unsigned column_width(uint64_t any_bits) {
    return any_bits ? (71u - (unsigned)__builtin_clzll(any_bits)) / 8 : 0;
}

static inline uint64_t column_zigzag(uint64_t d) {
    return d << 1 ^ (0 - (d >> 63));
}
static inline number_pair column_zigzag_pair(number_pair d) {
    return d << 1 ^ (0 - (d >> 63));
}
static inline uint64_t column_unzigzag(uint64_t z) {
    return z >> 1 ^ (0 - (z & 1));
}

/* planes(n, width): what and from where. dst holds n * width bytes. */
void column_planes_put(uint8_t *dst, const uint64_t *v, size_t n, unsigned width);
void column_planes_get(uint64_t *v, const uint8_t *src, size_t n, unsigned width);

/* Working memory of encoder and decoder; zero-initialized, freed by column_scratch_release. */
struct column_scratch {
    uint64_t *numbers; /* SNAP_CHUNK_ROWS_MAX */
    uint64_t *lengths; /* SNAP_CHUNK_ROWS_MAX */
    uint64_t *last;    /* SNAP_KEYED_SLOTS */
    uint32_t *slots;   /* of the hub counter */
    uint64_t *keys;
};
/* For decoders, and what encoders need beyond that. 0, or -1: no memory. */
int column_scratch_init(struct column_scratch *s);
int column_scratch_init_encoder(struct column_scratch *s);
void column_scratch_release(struct column_scratch *s);

/* Most bytes that a number column of n rows can take in any encoding. */
size_t column_bound(size_t n);

/* Encodes v (n at least 1) into dst, which holds column_bound(n). key_column and key (NULL: all 0)
 * are for KEYED. Returns the size; *out_width is for the column's entry. */
size_t column_encode(struct column_scratch *s, unsigned encoding, const uint64_t *v, size_t n,
                     unsigned key_column, const uint64_t *key, uint8_t *dst, unsigned *out_width);

/* Decodes size bytes into n numbers. key as above (KEYED only). 0, SNAP_E_CORRUPT when size or
 * contents do not fit, SNAP_E_UNSUPPORTED when a reserved field is not zero. */
int column_decode(struct column_scratch *s, unsigned encoding, unsigned width, const uint8_t *src,
                  size_t size, size_t n, const uint64_t *key, uint64_t *v);

/* Makes the elements of last that n rows with these keys (NULL: all 0) use 0. */
void column_clear_last(uint64_t *last, const uint64_t *key, size_t n);

/* The key column that a KEYED column names. 0, or as column_decode, which trusts that this was
 * called. */
int column_key_column(const uint8_t *src, size_t size, unsigned *out);

#endif
