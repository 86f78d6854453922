/* The reader's inside, for verify.c: the table of contents and single chunks. */
#ifndef HEAPSNAP_SNAPREAD_H
#define HEAPSNAP_SNAPREAD_H

#include "base/file.h"
#include "base/mem.h"
#include "codec/chunk.h"
#include "codec/column.h"

#include <heapsnap/snapshot.h>
#include <pthread.h>
#include <zstd.h>

struct read_chunk {
    uint32_t id;
    snap_table table; /* SNAP_N_TABLES: unknown, ancillary */
    uint32_t n_rows;
    uint64_t offset, stored_size, raw_size;
    uint64_t end; /* that its bytes do not pass: TOCC, and of that the footer */
    uint64_t first_id;
    int is_lost; /* damaged, in a file opened to be salvaged */
};

/* Strings of one STRS chunk, made when first asked for. */
struct read_strings {
    uint32_t *offset; /* n + 1, into text; each text ends with NUL */
    char *text;
};

struct read_stack_table {
    uint32_t *parent, *frame; /* by id - 1 */
    uint8_t *flags;
    uint64_t n;
};

struct read_frame {
    uint64_t offset;
    uint32_t module, kind;
    uint32_t first_symbol; /* index + 1 of its first symbol, 0: none */
};

struct read_symbol {
    uint64_t line;
    uint32_t frame, depth, function, file, source;
};

struct snap_snapshot {
    char *path;
    struct file_view view; /* empty when opened from memory */
    const uint8_t *data;
    uint64_t size, max_memory_bytes;
    uint64_t header_hash;
    int is_salvaged; /* references to rows that are not there are none, rather than an error */
    struct read_chunk *chunks; /* by file order, TOCC last */
    uint32_t n_chunks;
    uint32_t *table_chunks[SNAP_N_TABLES]; /* indices of chunks */
    uint32_t n_table_chunks[SNAP_N_TABLES];
    uint64_t n_rows[SNAP_N_TABLES];
    struct arena arena;
    snap_meta_row *meta;
    size_t n_meta;

    /* Caches, made under the lock; what a pointer leads to never changes once it is set. */
    pthread_mutex_t lock;
    uint64_t cached_bytes;
    struct snap_batch batch;      /* for filling them */
    struct read_strings *strings; /* by STRS chunk */
    snap_summary_row *summary;
    size_t n_summary;
    int has_summary, has_modules, has_stacks, has_keys;
    snap_module *modules;
    uint64_t n_modules;
    struct read_stack_table stacks;
    struct read_frame *frames;
    struct read_symbol *symbols;
    uint64_t n_frames, n_symbols;
    uint64_t *stack_keys; /* by id */
};

/* What a batch keeps. */
struct batch_state {
    ZSTD_DCtx *zstd;
    uint8_t *raw;
    size_t raw_capacity;
    struct column_scratch scratch;
    uint32_t capacity; /* rows that the arrays below have room for */
    uint64_t *column[SNAP_COLUMNS_MAX];
    const uint8_t *text[SNAP_COLUMNS_MAX];   /* in raw */
    uint32_t *text_offset[SNAP_COLUMNS_MAX]; /* n_rows + 1 */
    uint32_t n_rows;
};

/* Decodes a chunk of a known table. Checks of the chunk itself, in the order of the specification,
 * then of the columns asked for. */
int read_chunk(const snap_snapshot *s, const struct read_chunk *c, uint32_t columns, snap_batch *b,
               snap_error *err);

/* Header and hash of any chunk; *out_payload is its stored payload. */
int read_chunk_header(const snap_snapshot *s, const struct read_chunk *c, struct chunk_header *out,
                      const uint8_t **out_payload, snap_error *err);

#endif
