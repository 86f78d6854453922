/* What text reports are made of. */
#ifndef HEAPSNAP_REPORT_PAGE_H
#define HEAPSNAP_REPORT_PAGE_H

#include "report/report.h"

struct page {
    FILE *out;
    unsigned width, top, frames;
    int color, top_given;
};

enum color { PLAIN, BOLD, RED, YELLOW, GREEN, DIM };

struct page page_start(FILE *out, const snap_report_options *o);
void page_color(struct page *p, enum color c);

/* Columns that escaped text takes on a terminal. */
unsigned page_columns(const char *text);

/* A name from a file, in at most `columns` columns. out holds NAME_MAX_BYTES. */
#define NAME_MAX_BYTES 2048
const char *page_name(char *out, const char *text, unsigned columns);

/* Prints text after a prefix, broken at spaces, with later lines indented by the prefix's width. */
void page_wrapped(struct page *p, const char *prefix, const char *text);
/* The same, escaped. */
void page_note(struct page *p, const char *prefix, const char *text);

const char *page_percent(char text[24], uint32_t ppm);
const char *page_plural(int64_t n);

/* The frames worth showing, one a line. */
int page_stack(struct page *p, const snap_snapshot *s, uint64_t stack, snap_error *err);

#endif
