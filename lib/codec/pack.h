/* Rows of one table to chunks as they stand in a file. */
#ifndef HEAPSNAP_PACK_H
#define HEAPSNAP_PACK_H

#include "codec/column.h"

/* Rows of an open chunk. A column is one number until a row has another one; its array is kept for
 * the next chunk. */
struct pack_rows {
    uint32_t n, capacity;               /* rows */
    uint64_t *column[SNAP_COLUMNS_MAX]; /* numbers, of text columns the lengths; NULL: constant */
    uint64_t constant[SNAP_COLUMNS_MAX];
    uint64_t *memory[SNAP_COLUMNS_MAX]; /* of columns */
    uint8_t *text[SNAP_COLUMNS_MAX];
    size_t text_size[SNAP_COLUMNS_MAX], text_capacity[SNAP_COLUMNS_MAX];
    size_t text_total;
};
void pack_rows_clear(struct pack_rows *r); /* keeps the memory */
void pack_rows_release(struct pack_rows *r);

/* Whole chunks, one after the other. */
struct pack_part {
    size_t stored_size, raw_size; /* without the chunk's header */
    uint32_t n_rows;
};
struct pack_chunks {
    uint8_t *bytes;
    size_t size, capacity;
    struct pack_part *parts;
    size_t n_parts, parts_capacity;
};
void pack_chunks_release(struct pack_chunks *c);

/* What a thread needs to encode. */
struct packer {
    struct column_scratch scratch;
    void *zstd;
    uint8_t *raw;
    size_t raw_capacity;
};
int packer_has_level(int level);
int packer_init(struct packer *p, int level); /* 0 or SNAP_E_NOMEM */
void packer_release(struct packer *p);

/* Replaces *out by the chunks of the rows, of which there is at least one: one chunk, or several
 * where they do not fit. Depends on the rows alone. 0 or SNAP_E_NOMEM. */
int packer_run(struct packer *p, snap_table table, const struct pack_rows *rows,
               struct pack_chunks *out);

#endif
