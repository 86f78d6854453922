/* Writing .snap files, from any runtime: rows in, chunks out.
 *
 * A writer takes rows table by table, packs them into chunks and hands bytes to a sink. Its memory
 * is bounded: one open chunk per table in use, the strings, the stack tree for the summary's keys,
 * and the summary's accumulators. The same calls give the same bytes. It computes SUMM and TOCC
 * itself. Not thread-safe: one thread at a time per writer.
 *
 *     snap_writer *w;
 *     snap_writer_open_file(&w, "a.snap", NULL, &err);
 *     snap_writer_meta_number(w, SNAP_META_PID, getpid(), &err);
 *     uint64_t node[SNAP_COLUMNS_MAX] = {0};
 *     node[SNAP_NODE_COL_DOMAIN] = SNAP_DOMAIN_HOST; ...
 *     snap_writer_row(w, SNAP_TABLE_NODE, node, &node_id, &err);
 *     snap_writer_finish(w, &err);
 *     snap_writer_close(w);
 */
#ifndef HEAPSNAP_WRITER_H
#define HEAPSNAP_WRITER_H

#include <heapsnap/table.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct snap_writer snap_writer;

/* Takes `size` bytes; returns 0, or a negative SNAP_E_* (then the writer fails with it). */
typedef int (*snap_sink)(void *context, const void *data, size_t size);

typedef struct snap_writer_options {
    size_t struct_size;    /* sizeof(snap_writer_options) */
    int zstd_level;        /* 0: the default, 1 */
    int overwrite;         /* files: replace an existing one; 0: refuse with SNAP_E_IO */
    int no_sync;           /* files: 1: no fsync before the rename */
    uint32_t summary_rows; /* most rows of each kind in SUMM; 0: 256 */
    uint32_t n_threads; /* that encode besides the caller's, at most 8; 0: none. The bytes are the
                           same, and the sink is only called by the caller's thread */
} snap_writer_options;

/* Starts a file. The bytes go to a temporary file in the same directory, which gets its name in
 * snap_writer_finish, so that a partly written file never carries it. "-" is standard output.
 * Errors: IO, NOMEM, ARG. */
SNAP_API int snap_writer_open_file(snap_writer **out, const char *path,
                                   const snap_writer_options *options, snap_error *err);

/* Starts a file into a sink. */
SNAP_API int snap_writer_open_sink(snap_writer **out, snap_sink sink, void *context,
                                   const snap_writer_options *options, snap_error *err);

/* Metadata. Keys are SNAP_META_*; name is NULL except for the named keys. All metadata MUST be
 * given before the first row of any table (else ARG): META is the file's first chunk. */
SNAP_API int snap_writer_meta_number(snap_writer *w, uint32_t key, uint64_t value, snap_error *err);
SNAP_API int snap_writer_meta_text(snap_writer *w, uint32_t key, const char *text, snap_error *err);
SNAP_API int snap_writer_meta_named(snap_writer *w, uint32_t key, const char *name, uint64_t value,
                                    snap_error *err);

/* Id of a string, for `ref STRS` columns; the same string always gives the same id. NULL and ""
 * give 0. A string over SNAP_BYTES_MAX is cut and one with NUL bytes ends there. */
SNAP_API int snap_writer_string(snap_writer *w, const char *text, uint32_t *out_id,
                                snap_error *err);
SNAP_API int snap_writer_string_n(snap_writer *w, const char *text, size_t length, uint32_t *out_id,
                                  snap_error *err);

/* Adds a row: row[c] is the value of column id c, 0 for those not given; row[0] is not used.
 * *out_id, if not NULL, gets the row's id (index + 1). Tables: all but META, STRS, SUMM, TOCC. Refs
 * to rows not yet written are allowed and checked in snap_writer_finish (ARG), except STAK.parent,
 * which must exist. MODS.build_id is a bytes column: pass it with snap_writer_module. Rows come in
 * the order that the format demands (ARG): EDGE by source, SYMB by frame and depth, REGN by
 * address, and NODE by domain, address and birth unless the metadata say SNAP_META_UNSORTED 1.
 * Errors: NOMEM, LIMIT, ARG, IO. */
SNAP_API int snap_writer_row(snap_writer *w, snap_table table, const uint64_t *row,
                             uint64_t *out_id, snap_error *err);

/* Many rows at once: columns[c] points to n values of column id c, or is NULL. Ids are consecutive;
 * *out_first_id as above. */
SNAP_API int snap_writer_rows(snap_writer *w, snap_table table, const uint64_t *const *columns,
                              size_t n, uint64_t *out_first_id, snap_error *err);

/* Adds a MODS row. build_id is lower-case hex or NULL. */
SNAP_API int snap_writer_module(snap_writer *w, const char *path, const char *build_id,
                                uint64_t start, uint64_t end, uint64_t bias, uint64_t flags,
                                uint64_t *out_id, snap_error *err);

/* The same with the row as numbers, path being a `ref STRS`. */
SNAP_API int snap_writer_module_row(snap_writer *w, const uint64_t *row, const char *build_id,
                                    uint64_t *out_id, snap_error *err);

/* Ends the file: writes what is open, STRS, SUMM, TOCC and the footer; for files then fsync, rename
 * to the final name and fsync of the directory. After an error the temporary file is removed by
 * close. */
SNAP_API int snap_writer_finish(snap_writer *w, snap_error *err);

/* Bytes handed to the sink so far. */
SNAP_API uint64_t snap_writer_bytes(const snap_writer *w);

/* Frees; without a successful finish the temporary file is removed. NULL is fine. */
SNAP_API void snap_writer_close(snap_writer *w);

#ifdef __cplusplus
}
#endif
#endif
