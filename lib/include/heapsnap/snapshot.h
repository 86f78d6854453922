/* Reading .snap files: by need, chunk by chunk, from a mapping.
 *
 * Opening reads header, footer, TOCC and META; all else is read when asked for. An open snapshot is
 * immutable and may be shared by threads: functions that fill caches (strings, stacks) lock inside.
 * All pointers that getters return are borrowed and live until snap_close. File contents are never
 * trusted: each function that reads some can return CORRUPT, UNSUPPORTED, LIMIT, NOMEM or IO. */
#ifndef HEAPSNAP_SNAPSHOT_H
#define HEAPSNAP_SNAPSHOT_H

#include <heapsnap/table.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct snap_snapshot snap_snapshot;

typedef struct snap_open_options {
    size_t struct_size;
    uint64_t max_memory_bytes; /* most memory for caches of strings, stacks, symbols; 0: 8 GiB */
} snap_open_options;

/* Opens a file; "-" reads standard input into memory. */
SNAP_API int snap_open(snap_snapshot **out, const char *path, const snap_open_options *options,
                       snap_error *err);
/* The same over bytes that the caller keeps alive until snap_close. */
SNAP_API int snap_open_memory(snap_snapshot **out, const void *data, size_t size,
                              const snap_open_options *options, snap_error *err);
SNAP_API void snap_close(snap_snapshot *s);

/* What is left of a damaged file. */
typedef struct snap_salvage {
    uint64_t file_bytes;
    uint64_t kept_bytes;    /* of whole chunks */
    int is_cut;             /* the table of contents is gone: read up to the last whole chunk */
    int has_all_chunks;     /* nothing but the table of contents may be missing, apart from: */
    uint32_t n_lost_chunks; /* damaged ones that the table of contents tells of */
    uint64_t lost_rows[SNAP_N_TABLES]; /* in these */
} snap_salvage;
/* Opens what can be saved of a truncated or damaged file: the chunks that the table of contents
 * names and that are whole, or, without one, all chunks before the first that is not. Rows keep
 * their ids (snap_batch.first_id tells them), snap_rows counts lost ones, too, and references to
 * rows after the end are 0. META has to be whole (else CORRUPT). Reads a sound file as snap_open
 * does. */
SNAP_API int snap_open_salvage(snap_snapshot **out, const char *path,
                               const snap_open_options *options, snap_salvage *out_report,
                               snap_error *err);

/* The name it was opened by. */
SNAP_API const char *snap_path(const snap_snapshot *s);
SNAP_API uint64_t snap_file_bytes(const snap_snapshot *s);

/* Metadata: 1 and *out if the key is there (with that name, NULL for keys that are not named), else
 * 0. */
SNAP_API int snap_meta_number(const snap_snapshot *s, uint32_t key, const char *name,
                              uint64_t *out);
SNAP_API const char *snap_meta_text(const snap_snapshot *s, uint32_t key); /* NULL if absent */
typedef struct snap_meta_row {
    uint32_t key;
    const char *name, *text; /* "" if none */
    uint64_t value;
} snap_meta_row;
SNAP_API size_t snap_meta_count(const snap_snapshot *s);
SNAP_API snap_meta_row snap_meta_get(const snap_snapshot *s, size_t index);

/* Rows of a table (from TOCC), and how many chunks they are in. */
SNAP_API uint64_t snap_rows(const snap_snapshot *s, snap_table table);
SNAP_API uint32_t snap_n_chunks(const snap_snapshot *s, snap_table table);

/* The rows of one chunk. A batch can be used again for chunk after chunk, of any table and
 * snapshot; it keeps its memory. */
typedef struct snap_batch {
    uint64_t first_id; /* id of the first row */
    uint32_t n_rows;
    const uint64_t *column[SNAP_COLUMNS_MAX]; /* by column id; never NULL for a number column that
                                                 was asked for */
    void *internal;
} snap_batch;

SNAP_API void snap_batch_init(snap_batch *b);
SNAP_API void snap_batch_release(snap_batch *b);
/* Decodes chunk `index` (0 to snap_n_chunks - 1) of a table; columns: bit c set asks for column id
 * c. References are checked. */
SNAP_API int snap_batch_read(const snap_snapshot *s, snap_table table, uint32_t index,
                             uint32_t columns, snap_batch *b, snap_error *err);
/* A bytes column of the batch last read (asked for in columns): row 0 to n_rows - 1. Borrowed until
 * the next read. */
SNAP_API const char *snap_batch_bytes(const snap_batch *b, unsigned column, uint32_t row,
                                      size_t *out_length);

/* A string by id; NUL-terminated. On id 0 "". */
SNAP_API int snap_string(const snap_snapshot *s, uint64_t id, const char **out, snap_error *err);

/* SUMM, read without anything else. */
typedef struct snap_summary_row {
    uint32_t kind, domain;
    uint64_t key, key2, count, bytes, cached;
    const char *label;
} snap_summary_row;
SNAP_API int snap_summary(const snap_snapshot *s, const snap_summary_row **out, size_t *out_n,
                          snap_error *err);

typedef struct snap_module {
    const char *path, *build_id;
    uint64_t start, end, bias, flags;
} snap_module;
SNAP_API int snap_module_get(const snap_snapshot *s, uint64_t id, snap_module *out,
                             snap_error *err);

/* A source position of a frame; a frame with inlined functions has several. */
typedef struct snap_location {
    uint64_t frame;  /* ref FRAM */
    uint32_t kind;   /* SNAP_FRAM_* */
    uint32_t depth;  /* 0: innermost inlined */
    uint64_t module; /* ref MODS */
    uint64_t offset;
    const char *function, *file; /* "" if unknown */
    uint64_t line;               /* 0 if unknown */
    uint32_t source;             /* SNAP_SYMB_*, 0: no symbol */
} snap_location;

/* The positions of a stack, innermost first, inlined ones expanded, at most max (64-bit stacks ids;
 * 0 gives none). *out_n is the number stored; *out_truncated (may be NULL) says that there was
 * more, in the file or over max. */
SNAP_API int snap_stack(const snap_snapshot *s, uint64_t stack, snap_location *out, size_t max,
                        size_t *out_n, int *out_truncated, snap_error *err);

/* Identity of a stack across files (snap-format.md, SUMM). 0 for stack 0. */
SNAP_API int snap_stack_key(const snap_snapshot *s, uint64_t stack, uint64_t *out, snap_error *err);

/* Reads the whole file and checks every rule of the format that concerns more than one chunk, too
 * (sorting, uniqueness, references, summary against tables). progress may be NULL; a value other
 * than 0 from it cancels. */
SNAP_API int snap_verify(const snap_snapshot *s,
                         int (*progress)(void *context, uint64_t done, uint64_t total),
                         void *context, snap_error *err);

#ifdef __cplusplus
}
#endif
#endif
