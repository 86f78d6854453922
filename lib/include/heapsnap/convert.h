/* Writing a snapshot in other formats; what is left of a damaged one; and one without names that
 * are nobody's business. */
#ifndef HEAPSNAP_CONVERT_H
#define HEAPSNAP_CONVERT_H

#include <heapsnap/snapshot.h>
#include <heapsnap/writer.h>
#include <stdio.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Names of the formats that snap_convert writes, ended by NULL. Static. */
SNAP_API const char *const *snap_convert_formats(void);

/* Writes the whole content: "json", one document with names resolved, or "jsonl", the canonical
 * form of format/snapcat.py, one row a line and numbers as stored (both are described in
 * snap-convert in snap(1)). Streams: memory does not grow with the file. progress may be NULL; a
 * value other than 0 from it cancels. Errors: those of reading, IO, NOTFOUND (no such format),
 * CANCELED. */
SNAP_API int snap_convert(const snap_snapshot *s, const char *format, FILE *out,
                          int (*progress)(void *context, uint64_t done, uint64_t total),
                          void *context, snap_error *err);

/* Writes a snapshot of PyTorch's CUDA allocator, a pickle of torch.cuda.memory._dump_snapshot or of
 * memory_snapshot(), as a .snap file. The pickle is read by a reader of plain data that runs
 * nothing: whatever else is in it is refused (UNSUPPORTED, with the instruction and its offset).
 * Memory: at most 64 MiB and 64 bytes for each byte of the pickle. Other errors: FORMAT no pickle,
 * or none of such a snapshot; CORRUPT damaged; LIMIT; those of writing. */
SNAP_API int snap_import_torch(const char *path, const char *out_path,
                               const snap_writer_options *options, snap_error *err);

typedef struct snap_repair_result {
    snap_salvage salvage;                 /* what was found */
    uint64_t n_rows[SNAP_N_TABLES];       /* written */
    uint64_t n_lost_rows[SNAP_N_TABLES];  /* known to be lost: in chunks that are damaged */
    uint64_t n_loose_rows[SNAP_N_TABLES]; /* left out because what they refer to is lost */
    int is_whole;                         /* nothing was lost */
} snap_repair_result;

/* Writes what is left of a truncated or damaged file (snap_open_salvage) as a sound one, with a
 * summary and table of contents made anew; unless all was there, the new file says by the
 * completeness counter "lost_rows" that rows are missing. out_path gets its name when it is
 * complete. The old file is only read. Errors: those of reading and writing; CORRUPT nothing can be
 * saved. */
SNAP_API int snap_repair(const char *path, const char *out_path, const snap_writer_options *options,
                         snap_repair_result *out_result,
                         int (*progress)(void *context, uint64_t done, uint64_t total),
                         void *context, snap_error *err);

typedef struct snap_redact_options {
    size_t struct_size;      /* sizeof(snap_redact_options) */
    int level;               /* SNAP_REDACTION_PATHS or SNAP_REDACTION_NAMES; 0: NAMES */
    const char *salt;        /* NULL: a random one; the same for files that are to be compared */
    const char *const *keep; /* n_keep names of packages, namespaces or libraries to be kept */
    size_t n_keep;
    snap_writer_options writer;
} snap_redact_options;

/* Writes a snapshot without what could tell whose it is: host name, command line and directories
 * (SNAP_REDACTION_PATHS); and with salted hashes for all names but those of system libraries, of
 * well-known packages and of the languages' own words (SNAP_REDACTION_NAMES). Numbers, addresses,
 * the graph and the build ids of what is kept stay, so that it can be worked with. The new file is
 * read again and checked before it gets its name. Errors: those of reading and writing; CORRUPT the
 * file is damaged, or a name was found in the new one that should not be there. */
SNAP_API int snap_redact(const snap_snapshot *s, const char *out_path,
                         const snap_redact_options *options,
                         int (*progress)(void *context, uint64_t done, uint64_t total),
                         void *context, snap_error *err);

#ifdef __cplusplus
}
#endif
#endif
