/* Writing a snapshot in other formats. */
#ifndef HEAPSNAP_CONVERT_H
#define HEAPSNAP_CONVERT_H

#include <heapsnap/snapshot.h>
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

#ifdef __cplusplus
}
#endif
#endif
