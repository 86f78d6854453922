/* A comparison as one page for a browser: the page that the build made, with the report as text
 * (for readers without scripts, and to be copied) and as JSON (which the page's script shows)
 * inside.
 *
 * Invariant: the page is whole in itself, is at most PAGE_MAX bytes, and nothing that a snapshot
 * holds is markup in it. Rows are left out until it fits; the page says how many there are. */
#include "report/html_page.h"
#include "report/markup.h"
#include "report/report.h"

#include "base/err.h"

#include <stdlib.h>
#include <string.h>

#define PAGE_MAX 10000000
#define TOP_DEFAULT 300
#define TEXT_WIDTH 100

/* Size of what markup_json writes. */
static size_t json_size(const char *text) {
    size_t size = strlen(text);
    for (const char *p = text; (p = strpbrk(p, "<>&")) != NULL; p++)
        size += 5;
    return size;
}

typedef int writer(const snap_diff *d, FILE *out, const snap_report_options *options,
                   snap_error *err);

/* A report in memory, free() it. */
static int to_memory(writer *write, const snap_diff *d, const snap_report_options *options,
                     char **out, snap_error *err) {
    char *text = NULL;
    size_t size;
    FILE *const memory = open_memstream(&text, &size);
    if (memory == NULL)
        return err_set(err, SNAP_E_NOMEM, "no memory for the report");
    int result = write(d, memory, options, err);
    if (fclose(memory) != 0 && result == 0)
        result = err_set(err, SNAP_E_NOMEM, "no memory for the report");
    if (result < 0)
        free(text);
    else
        *out = text;
    return result;
}

static int data_that_fits(const snap_diff *d, const snap_report_options *given, size_t room,
                          char **out, snap_error *err) {
    snap_report_options options = *given;
    if (options.top == 0)
        options.top = TOP_DEFAULT;
    for (;;) {
        SNAP_TRY(to_memory(report_json_compact, d, &options, out, err));
        if (json_size(*out) <= room)
            return 0;
        free(*out);
        *out = NULL;
        if (options.top > TOP_DEFAULT)
            options.top = TOP_DEFAULT;
        else if (options.top > 1)
            options.top /= 2;
        else
            return err_set(err, SNAP_E_LIMIT, "the page would be larger than %d MB",
                           PAGE_MAX / 1000000);
    }
}

static int html_diff(const snap_diff *d, FILE *out, const snap_report_options *options,
                     snap_error *err) {
    const snap_report_options text_options = {.struct_size = sizeof text_options,
                                              .width = TEXT_WIDTH};
    char *text = NULL, *data = NULL;
    SNAP_TRY(to_memory(report_text.diff, d, &text_options, &text, err));
    size_t used = strlen(text) * 6; /* the longest that a character becomes */
    for (size_t i = 0; i < HTML_PARTS; i++)
        used += html_parts[i].size;
    const int result = used < PAGE_MAX
                           ? data_that_fits(d, options, PAGE_MAX - used, &data, err)
                           : err_set(err, SNAP_E_LIMIT, "the report as text is too large");
    if (result == 0) {
        fwrite(html_parts[0].text, 1, html_parts[0].size, out);
        markup_text(out, text);
        fwrite(html_parts[1].text, 1, html_parts[1].size, out);
        markup_json(out, data);
        fwrite(html_parts[2].text, 1, html_parts[2].size, out);
    }
    free(text);
    free(data);
    return result;
}

const struct report_format report_html = {.name = "html", .diff = html_diff};
