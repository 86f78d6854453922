/* The fixed text of a report as a page, made at build from page/: report_html writes the reports of
 * the other formats between its parts. */
#ifndef HEAPSNAP_REPORT_HTML_PAGE_H
#define HEAPSNAP_REPORT_HTML_PAGE_H

#include <stddef.h>

struct html_part {
    size_t size;
    const char *text;
};

/* Between them stand the report as text and the report as JSON. */
#define HTML_PARTS 3
extern const struct html_part html_parts[HTML_PARTS];

#endif
