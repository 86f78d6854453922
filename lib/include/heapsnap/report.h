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

/* A limit and what became of it, from snap_diff_rule_check. */
typedef struct snap_report_rule {
    const char *rule;
    snap_diff_rule_result result;
} snap_report_rule;

typedef struct snap_report_options {
    size_t struct_size;
    int color;       /* 1: terminal colours */
    unsigned width;  /* columns of text; 0: 80 */
    unsigned top;    /* rows per table; 0: the report's default */
    unsigned frames; /* frames per stack; 0: the report's default */
    snap_report_by by;
    int all;                       /* diff as text: 1: all suspects, and tables of what else grew */
    const snap_holdings *holdings; /* diff as json or html: of the last snapshot; NULL: not shown */
    const snap_report_rule *rules; /* diff as junit: a test case each; none: the verdict is one */
    size_t n_rules;
} snap_report_options;

/* By name: "text", "json", "html" (a page for a browser, whole in itself, 10 MB at most), "junit"
 * (XML). Errors: IO, NOMEM, NOTFOUND (no such format), UNSUPPORTED (built without "html"), LIMIT (a
 * page cannot be kept that small), and those of reading names. Text is safe for a terminal, markup
 * for a browser, whatever the files hold. */
SNAP_API int snap_report_diff(const snap_diff *d, const char *format, FILE *out,
                              const snap_report_options *options, snap_error *err);

/* The ranks of a job, from snap_ranks_new. As "text" or "json", as are those below. */
SNAP_API int snap_report_ranks(const snap_ranks *r, const char *format, FILE *out,
                               const snap_report_options *options, snap_error *err);

/* One snapshot, from snap_census_new. As "text" or "json", as are those below. */
SNAP_API int snap_report_census(const snap_diff *d, const char *format, FILE *out,
                                const snap_report_options *options, snap_error *err);

/* What snap_holders_new found in a snapshot. */
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
