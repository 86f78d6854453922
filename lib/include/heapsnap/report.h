/* Printing what a diff or a snapshot holds: text for people, JSON for programs. Computes nothing.
 */
#ifndef HEAPSNAP_REPORT_H
#define HEAPSNAP_REPORT_H

#include <heapsnap/diff.h>
#include <stdio.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct snap_report_options {
    size_t struct_size;
    int color;       /* 1: terminal colours */
    unsigned width;  /* columns of text; 0: 80 */
    unsigned top;    /* rows per table; 0: the report's default */
    unsigned frames; /* frames per stack; 0: the report's default */
} snap_report_options;

/* By name: "text", "json". Errors: IO, NOMEM, NOTFOUND (no such format). */
SNAP_API int snap_report_diff(const snap_diff *d, const char *format, FILE *out,
                              const snap_report_options *options, snap_error *err);

#ifdef __cplusplus
}
#endif
#endif
