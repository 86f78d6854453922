/* What reports that are marked up have in common. Errors stay in the FILE. */
#ifndef HEAPSNAP_REPORT_MARKUP_H
#define HEAPSNAP_REPORT_MARKUP_H

#include <stdio.h>

/* Text, or the value of an attribute in quotes: nothing in it is a tag, an entity or a quote. */
void markup_text(FILE *out, const char *text);

/* JSON with all that could end the element it stands in escaped; its value is the same. */
void markup_json(FILE *out, const char *text);

#endif
