/* Printing what a diff or a snapshot holds: text for people, JSON for programs. Computes nothing.
 */
#ifndef HEAPSNAP_REPORT_H
#define HEAPSNAP_REPORT_H

#include <heapsnap/diff.h>
#include <heapsnap/holder.h>
#include <stdio.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Which table a report puts first. */
typedef enum snap_report_by {
    SNAP_REPORT_BY_SITE,
    SNAP_REPORT_BY_TYPE,
    SNAP_REPORT_BY_MODULE,
    SNAP_REPORT_BY_DOMAIN,
    SNAP_REPORT_BY_HOOK
} snap_report_by;

typedef struct snap_report_options {
    size_t struct_size;
    int color;       /* 1: terminal colours */
    unsigned width;  /* columns of text; 0: 80 */
    unsigned top;    /* rows per table; 0: the report's default */
    unsigned frames; /* frames per stack; 0: the report's default */
    snap_report_by by;
    int all; /* diff as text: 1: all suspects, and tables of what else grew */
} snap_report_options;

/* By name: "text", "json". Errors: IO, NOMEM, NOTFOUND (no such format), and those of reading
 * names. Text is safe for a terminal whatever the files hold. */
SNAP_API int snap_report_diff(const snap_diff *d, const char *format, FILE *out,
                              const snap_report_options *options, snap_error *err);

/* One snapshot, from snap_census_new. The same formats and errors. */
SNAP_API int snap_report_census(const snap_diff *d, const char *format, FILE *out,
                                const snap_report_options *options, snap_error *err);

/* What snap_holders_new found in a snapshot. The same formats and errors. */
SNAP_API int snap_report_holders(const snap_holders *holders, const snap_snapshot *s,
                                 const char *format, FILE *out, const snap_report_options *options,
                                 snap_error *err);

/* What snap_holdings_new found: who retains most, or (lost: 1) what nothing holds. */
SNAP_API int snap_report_holdings(const snap_holdings *holdings, const snap_snapshot *s, int lost,
                                  const char *format, FILE *out, const snap_report_options *options,
                                  snap_error *err);

/* Copies text with all that is not printable written as \xNN, for messages that hold names from
 * files. Terminates if size is not 0; returns the length of the whole. */
SNAP_API size_t snap_escape(char *out, size_t size, const char *text);

#ifdef __cplusplus
}
#endif
#endif
