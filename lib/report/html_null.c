/* In place of html.c where the chart library was not there at build. */
#include "report/report.h"

#include "base/err.h"

static int html_diff(const snap_diff *d, FILE *out, const snap_report_options *options,
                     snap_error *err) {
    return err_set(err, SNAP_E_UNSUPPORTED,
                   "built without reports as a page: D3 was not found (meson option html)");
}

const struct report_format report_html = {.name = "html", .diff = html_diff};
