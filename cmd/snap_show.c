/* snap show: what one snapshot holds. */
#include <heapsnap/diff.h>
#include <heapsnap/holder.h>
#include <heapsnap/report.h>
#include <heapsnap/snapshot.h>

#include "input.h"
#include "opt.h"
#include "verbs.h"

static const char *const by_names[] = {"site", "type", "module", "domain", "hook", NULL};

static const char *top, *frames, *output;
static int by, as_json, by_given, retained, lost;

static const struct opt options[] = {
    {OPT_CHOICE, 'b', "by", "KEY", &by, "what to list", by_names, &by_given},
    {OPT_FLAG, 'r', "retained", NULL, &retained,
     "list who retains most: the biggest trees, and types"},
    {OPT_FLAG, 'l', "lost", NULL, &lost, "list blocks that no reference leads to, by site"},
    {OPT_TEXT, 'n', "top", "N", &top, "show at most N rows, or all; default 10, in JSON 200"},
    {OPT_TEXT, 0, "frames", "N", &frames,
     "show at most N frames of a stack, or all; default 8,\nin JSON 64"},
    {OPT_FLAG, 'j', "json", NULL, &as_json, "print JSON"},
    {OPT_TEXT, 'o', "output", "FILE", &output, "write to FILE"},
    {OPT_END},
};

static const struct opt_command command = {
    .name = "show",
    .arguments = "FILE",
    .summary = "print what a snapshot holds",
    .options = options,
    .details = "A FILE of '-' is standard input.\n",
};

static int show(const snap_snapshot *s, snap_report_options *report_options) {
    struct input_progress progress = {0};
    const snap_diff_options census_options = {
        .hook_bytes = report_options->by == SNAP_REPORT_BY_HOOK,
        .struct_size = sizeof census_options,
        .progress = input_progress,
        .progress_context = &progress,
    };
    snap_diff *d;
    snap_error err = {0};
    int result = snap_census_new(&d, s, &census_options, &err);
    input_progress_end(&progress);
    if (result < 0)
        return input_error(&command, snap_path(s), &err);
    struct input_output out;
    int status = input_output_open(&command, output, &out);
    if (status == 0) {
        input_report_options(&out, report_options);
        result = snap_report_census(d, as_json ? "json" : "text", out.file, report_options, &err);
        status = input_output_close(&command, &out, result == 0);
        if (status == 0 && result < 0)
            status = input_error(&command, snap_path(s), &err);
    }
    snap_diff_free(d);
    return status;
}

/* What the references tell, instead of sums over blocks. */
static int show_references(const snap_snapshot *s, snap_report_options *report_options) {
    struct input_progress progress = {0};
    const snap_heap_options heap_options = input_heap_options(&progress, 0);
    const snap_holdings_options holdings_options = {
        .struct_size = sizeof holdings_options,
        .max_roots = report_options->top,
        .only_lost = lost,
    };
    if (!snap_heap_has_graph(s))
        return opt_error(&command, "'%s' holds no references; take it with edges (the default)",
                         snap_path(s));
    snap_heap *heap = NULL;
    snap_holdings *holdings = NULL;
    snap_error err = {0};
    int result = snap_heap_open(&heap, s, &heap_options, &err), status = 0;
    if (result == 0)
        result = snap_holdings_new(&holdings, heap, &holdings_options, &err);
    input_progress_end(&progress);
    struct input_output out;
    if (result == 0 && (status = input_output_open(&command, output, &out)) == 0) {
        input_report_options(&out, report_options);
        result = snap_report_holdings(holdings, s, lost, as_json ? "json" : "text", out.file,
                                      report_options, &err);
        status = input_output_close(&command, &out, result == 0);
    }
    if (status == 0 && result < 0)
        status = input_error(&command, snap_path(s), &err);
    snap_holdings_free(holdings);
    snap_heap_close(heap);
    return status;
}

int snap_show_main(int argc, char **argv) {
    int first, status;
    snap_report_options report_options = {.struct_size = sizeof report_options};
    if (!opt_parse(&command, argc, argv, &first, &status))
        return status;
    if (input_limit(&command, "--top", top, &report_options.top) != 0 ||
        input_limit(&command, "--frames", frames, &report_options.frames) != 0)
        return EXIT_TROUBLE;
    report_options.by = (snap_report_by)by;
    if (argc - first != 1)
        return opt_usage_error(&command, "one file is needed; snapdiff compares several");
    if (retained + lost + by_given > 1)
        return opt_usage_error(&command, "only one of --by, --retained and --lost can be given");
    snap_snapshot *s;
    if (input_open(&command, argv[first], &s) != 0)
        return EXIT_TROUBLE;
    status = retained || lost ? show_references(s, &report_options) : show(s, &report_options);
    snap_close(s);
    return status;
}
