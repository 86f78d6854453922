/* A comparison for continuous integration, as JUnit's XML: each limit is a test case, which a
 * broken one fails with the suspects as its text; without limits the verdict is the only case.
 *
 * Invariant: well-formed XML 1.0 whatever names hold; equal input gives equal bytes, so there are
 * no times in it. */
#include "report/markup.h"
#include "report/report.h"

#include "base/err.h"
#include "base/printable.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define TEXT_WIDTH 100

/* What was measured and what was allowed: "+3.1 MB, limit +1.0 MB". */
static void put_measure(FILE *out, const snap_diff_rule_result *r) {
    char value[TEXT_SIZE_MAX], limit[TEXT_SIZE_MAX];
    if (strcmp(r->unit, "bytes") == 0)
        fprintf(out, "%s, limit %s", text_signed_size(value, r->value),
                text_signed_size(limit, r->limit));
    else
        fprintf(out, "%+" PRId64 " %s, limit %+" PRId64, r->value, r->unit, r->limit);
}

static void put_case(FILE *out, const char *rule, const snap_diff_rule_result *r,
                     const char *findings) {
    char name[600];
    text_escape(name, sizeof name, rule);
    fputs("  <testcase classname=\"snapdiff\" name=\"", out);
    markup_text(out, name);
    if (!r->broken) {
        fputs("\"/>\n", out);
        return;
    }
    fputs("\">\n   <failure type=\"limit\" message=\"", out);
    put_measure(out, r);
    fputs("\">", out);
    markup_text(out, findings);
    fputs("</failure>\n  </testcase>\n", out);
}

static void put_verdict_case(FILE *out, const snap_diff *d, const char *findings) {
    const snap_diff_finding *const f = snap_diff_get_finding(d);
    char size[TEXT_SIZE_MAX];
    fputs("  <testcase classname=\"snapdiff\" name=\"no-growth\"", out);
    if (f->verdict == SNAP_VERDICT_NO_GROWTH) {
        fputs("/>\n", out);
        return;
    }
    fprintf(out, ">\n   <failure type=\"%s\" message=\"%s in use\">", snap_verdict_name(f->verdict),
            text_signed_size(size, f->total_growth));
    markup_text(out, findings);
    fputs("</failure>\n  </testcase>\n", out);
}

static int junit_diff(const snap_diff *d, FILE *out, const snap_report_options *options,
                      snap_error *err) {
    const snap_report_options text_options = {
        .struct_size = sizeof text_options, .width = TEXT_WIDTH, .all = options->all};
    const size_t n = snap_diff_n_snapshots(d);
    size_t n_broken = 0, size;
    char *findings = NULL, suite[1200];
    FILE *const memory = open_memstream(&findings, &size);
    if (memory == NULL)
        return err_set(err, SNAP_E_NOMEM, "no memory for the report");
    int result = text_findings(d, memory, &text_options, err);
    if (fclose(memory) != 0 && result == 0)
        result = err_set(err, SNAP_E_NOMEM, "no memory for the report");
    if (result < 0) {
        free(findings);
        return result;
    }
    for (size_t i = 0; i < options->n_rules; i++)
        n_broken += options->rules[i].result.broken != 0;
    if (options->n_rules == 0)
        n_broken = snap_diff_verdict(d) != SNAP_VERDICT_NO_GROWTH;
    const size_t n_cases = options->n_rules != 0 ? options->n_rules : 1;
    char first[500], last[500];
    text_escape(first, sizeof first, snap_diff_snapshots(d)[0].file);
    text_escape(last, sizeof last, snap_diff_snapshots(d)[n - 1].file);
    snprintf(suite, sizeof suite, "%s to %s", first, last);
    fputs("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n", out);
    fprintf(out, "<testsuites tests=\"%zu\" failures=\"%zu\" errors=\"0\">\n", n_cases, n_broken);
    fputs(" <testsuite name=\"", out);
    markup_text(out, suite);
    fprintf(out, "\" tests=\"%zu\" failures=\"%zu\" errors=\"0\" skipped=\"0\">\n", n_cases,
            n_broken);
    for (size_t i = 0; i < options->n_rules; i++)
        put_case(out, options->rules[i].rule, &options->rules[i].result, findings);
    if (options->n_rules == 0)
        put_verdict_case(out, d, findings);
    fputs(" </testsuite>\n</testsuites>\n", out);
    free(findings);
    return 0;
}

const struct report_format report_junit = {.name = "junit", .diff = junit_diff};
