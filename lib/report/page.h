/* What text reports are made of. */
#ifndef HEAPSNAP_REPORT_PAGE_H
#define HEAPSNAP_REPORT_PAGE_H

#include "report/report.h"

struct page {
    FILE *out;
    unsigned width, top, frames;
    int color, top_given, all;
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

/* Text on the left, cut to leave room, and a size at the right margin. */
void page_with_size(struct page *p, unsigned indent, const char *text, const char *size);

/* Which snapshots to show beside one another: all, or some evenly chosen with first and last. */
#define COLUMNS_MAX 5
size_t page_choose(size_t n, size_t out[COLUMNS_MAX]);

/* "1.0 MB -> 5.1 MB -> 9.2 MB", with ".." where some are left out. */
void page_series(struct page *p, const char *title, const uint64_t *values, size_t n, int is_size);

/* The frames worth showing, one a line. */
int page_stack(struct page *p, const snap_snapshot *s, uint64_t stack, snap_error *err);

#endif
