/* What the formats of a report have in common. One file per format, one row in report.c's table. */
#ifndef HEAPSNAP_REPORT_REPORT_H
#define HEAPSNAP_REPORT_REPORT_H

#include <heapsnap/report.h>

/* A writer of one format; what it does not write is NULL. options are complete: no zeros that mean
 * a default, except top and frames, whose defaults are the format's. */
struct report_format {
    const char *name;
    int (*diff)(const snap_diff *d, FILE *out, const snap_report_options *options, snap_error *err);
    int (*census)(const snap_diff *d, FILE *out, const snap_report_options *options,
                  snap_error *err);
    int (*holders)(const snap_holders *holders, const snap_snapshot *s, FILE *out,
                   const snap_report_options *options, snap_error *err);
    int (*holdings)(const snap_holdings *holdings, const snap_snapshot *s, int lost, FILE *out,
                    const snap_report_options *options, snap_error *err);
    int (*ranks)(const snap_ranks *r, FILE *out, const snap_report_options *options,
                 snap_error *err);
};

extern const struct report_format report_text, report_json, report_html, report_junit;

/* What report_json writes of a comparison, on one line. */
int report_json_compact(const snap_diff *d, FILE *out, const snap_report_options *options,
                        snap_error *err);

/* Of report_text, in text_holders.c. */
int text_holders(const snap_holders *holders, const snap_snapshot *s, FILE *out,
                 const snap_report_options *options, snap_error *err);
int text_holdings(const snap_holdings *holdings, const snap_snapshot *s, int lost, FILE *out,
                  const snap_report_options *options, snap_error *err);

/* The verdict and the suspects, or the sites to blame: the first part of a report as text. */
int text_findings(const snap_diff *d, FILE *out, const snap_report_options *options,
                  snap_error *err);

/* Of report_text, in text_ranks.c. */
int text_ranks(const snap_ranks *r, FILE *out, const snap_report_options *options, snap_error *err);

struct page;
/* The suspects of a comparison, five of them unless all are wanted. */
int text_suspects(struct page *p, const snap_diff *d, snap_error *err);

int text_suspect(struct page *p, const snap_diff *d, const snap_diff_suspect *s, size_t rank,
                 snap_error *err);

/* Word for a class: "rooted", "possibly-lost", "lost". */
const char *report_holder_class(snap_holder_class c);

/* The last part of a path. Borrowed from it. */
const char *report_base_name(const char *path);

/* Name of a domain, "domain 9" for one that is not known; text holds at least 24 bytes. */
const char *report_domain(char *text, uint32_t domain);

/* The frames of a site worth showing: all but allocators at the inner end and the start of the
 * process or thread at the outer end. At most max; if there are more and Python asked for the
 * memory, the innermost two that are native, then functions of Python alone. */
struct report_stack {
    snap_location *frames; /* of malloc */
    size_t n;
    size_t gap_at, n_gap; /* so many native frames are left out before frame gap_at */
    size_t n_more;        /* left out further out; at least 1 if the stack was cut */
};
int report_stack(const snap_snapshot *s, uint64_t stack, unsigned max, struct report_stack *out,
                 snap_error *err);

#endif
