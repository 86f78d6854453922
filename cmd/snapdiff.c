/* snapdiff: compares two or more snapshots and says what grew and where it was allocated. All
 * judgement is the library's; this turns it into an exit status. */
#include <stdlib.h>
#include <string.h>

#include <heapsnap/diff.h>
#include <heapsnap/holder.h>
#include <heapsnap/report.h>
#include <heapsnap/snapshot.h>

#include "input.h"
#include "opt.h"

static const char *const by_names[] = {"site", "type", "module", "domain", "hook", NULL};

static const char *top, *frames, *output, *html, *junit;
static int by, as_json, force, keep_order, all, no_graph;
static struct opt_list rules;

static const struct opt options[] = {
    {OPT_CHOICE, 'b', "by", "KEY", &by, "what to list first", by_names},
    {OPT_FLAG, 'a', "all", NULL, &all,
     "show all suspects, not only five, and all tables of\nwhat grew"},
    {OPT_TEXT, 'n', "top", "N", &top,
     "show at most N rows of a table, or all; default 10,\nin JSON 200"},
    {OPT_TEXT, 0, "frames", "N", &frames,
     "show at most N frames of a stack, or all; default 8,\nin JSON 64"},
    {OPT_FLAG, 'j', "json", NULL, &as_json, "print JSON, schema 1"},
    {OPT_TEXT, 'o', "output", "FILE", &output, "write to FILE"},
    {OPT_TEXT, 0, "html", "FILE", &html,
     "write a page for a browser to FILE, too: one file\nthat needs nothing else"},
    {OPT_TEXT, 0, "junit", "FILE", &junit,
     "write JUnit's XML to FILE, too: a test case for\neach --fail-on, else one for the verdict"},
    {OPT_LIST, 'F', "fail-on", "RULE", &rules,
     "end with 1 only if RULE is broken, such as\n'host>1MB', 'count>100/step',\n'type:NAME>0' or "
     "'hook>0';\nmay be given many times"},
    {OPT_FLAG, 'f', "force", NULL, &force, "compare snapshots of different programs, too"},
    {OPT_FLAG, 0, "no-edges", NULL, &no_graph,
     "leave references unread: faster, but only sites are\nnamed, not holders"},
    {OPT_FLAG, 0, "keep-order", NULL, &keep_order,
     "keep the order given even if the snapshots were\ntaken in another"},
    {OPT_END},
};

static const struct opt_command command = {
    .name = "snapdiff",
    .arguments = "FILE FILE...",
    .summary = "compare snapshots: what grew, and who holds it",
    .options = options,
    .details = "A FILE of '-' is standard input.\n"
               "Exit status: 0 nothing grew; 1 growth, a leak, or a broken rule; 2 trouble.\n",
    .is_program = 1,
};

/* Rules are checked before any file is read: a typing error should not cost minutes. */
static int check_rules(void) {
    for (size_t i = 0; i < rules.n; i++) {
        snap_error err = {0};
        if (snap_diff_rule_check(NULL, rules.items[i], NULL, &err) < 0)
            return opt_usage_error(&command, "%s", err.message);
    }
    return 0;
}

static int apply_rules(const snap_diff *d, snap_report_rule *checked) {
    for (size_t i = 0; i < rules.n; i++) {
        snap_error err = {0};
        checked[i].rule = rules.items[i];
        if (snap_diff_rule_check(d, rules.items[i], &checked[i].result, &err) < 0)
            return input_error(&command, NULL, &err);
    }
    return 0;
}

static int say_broken(const snap_report_rule *checked) {
    int status = EXIT_SAME;
    fflush(stdout);
    for (size_t i = 0; i < rules.n; i++) {
        if (!checked[i].result.broken)
            continue;
        fprintf(stderr, "snapdiff: limit '%s' is broken: %+lld %s\n", checked[i].rule,
                (long long)checked[i].result.value, checked[i].result.unit);
        status = EXIT_FOUND;
    }
    return status;
}

static int write_report(const snap_diff *d, const char *format, const char *path,
                        const snap_report_options *given) {
    snap_report_options report_options = *given;
    struct input_output out;
    snap_error err = {0};
    if (input_output_open(&command, path, &out) != 0)
        return EXIT_TROUBLE;
    input_report_options(&out, &report_options);
    const int result = snap_report_diff(d, format, out.file, &report_options, &err);
    if (input_output_close(&command, &out, result == 0) != 0)
        return EXIT_TROUBLE;
    return result < 0 ? input_error(&command, NULL, &err) : 0;
}

/* A page shows who retains what in the last snapshot, too. Without that it is still a page. */
static int write_page(const snap_diff *d, const snap_report_options *given) {
    const snap_snapshot *const s = snap_diff_snapshots(d)[snap_diff_n_snapshots(d) - 1].snapshot;
    snap_report_options report_options = *given;
    struct input_progress progress = {0};
    const snap_heap_options heap_options = input_heap_options(&progress, 1);
    const snap_holdings_options holdings_options = {
        .struct_size = sizeof holdings_options, .max_roots = 60, .max_children = 16};
    snap_heap *heap = NULL;
    snap_holdings *holdings = NULL;
    snap_error err = {0};
    if (!no_graph && snap_heap_has_graph(s)) {
        int result = snap_heap_open(&heap, s, &heap_options, &err);
        if (result == 0)
            result = snap_holdings_new(&holdings, heap, &holdings_options, &err);
        input_progress_end(&progress);
        if (result < 0)
            fprintf(stderr, "snapdiff: the page does not show who retains what: %s\n", err.message);
    }
    report_options.holdings = holdings;
    const int status = write_report(d, "html", html, &report_options);
    snap_holdings_free(holdings);
    snap_heap_close(heap);
    return status;
}

static int is_stdout(const char *path) {
    return path != NULL && strcmp(path, "-") == 0;
}

static int report(const snap_diff *d, const snap_report_options *given) {
    snap_report_rule checked[OPT_LIST_MAX];
    snap_report_options report_options = *given;
    if (apply_rules(d, checked) != 0)
        return EXIT_TROUBLE;
    report_options.all = all;
    report_options.rules = checked;
    report_options.n_rules = rules.n;
    /* What was asked for on standard output takes the place of what goes there by itself. */
    const int is_taken = output == NULL && (is_stdout(html) || is_stdout(junit));
    if (!is_taken && write_report(d, as_json ? "json" : "text", output, &report_options) != 0)
        return EXIT_TROUBLE;
    if (html != NULL && write_page(d, &report_options) != 0)
        return EXIT_TROUBLE;
    if (junit != NULL && write_report(d, "junit", junit, &report_options) != 0)
        return EXIT_TROUBLE;
    if (rules.n > 0)
        return say_broken(checked);
    return snap_diff_verdict(d) != SNAP_VERDICT_NO_GROWTH ? EXIT_FOUND : EXIT_SAME;
}

static int compare(const snap_snapshot *const *snapshots, size_t n,
                   const snap_report_options *report_options) {
    struct input_progress progress = {0};
    const snap_diff_options diff_options = {
        .struct_size = sizeof diff_options,
        .progress = input_progress,
        .progress_context = &progress,
        .force = force,
        .keep_order = keep_order,
        .no_graph = no_graph,
    };
    snap_diff *d;
    snap_error err = {0};
    const int result = snap_diff_new(&d, snapshots, n, &diff_options, &err);
    input_progress_end(&progress);
    if (result == SNAP_E_ARG && !force)
        return opt_error(&command, "%s; --force compares them nevertheless", err.message);
    if (result < 0)
        return input_error(&command, NULL, &err);
    const int status = report(d, report_options);
    snap_diff_free(d);
    return status;
}

int main(int argc, char **argv) {
    int first, status;
    snap_report_options report_options = {.struct_size = sizeof report_options};
    if (!opt_parse(&command, argc, argv, &first, &status))
        return status;
    if (input_limit(&command, "--top", top, &report_options.top) != 0 ||
        input_limit(&command, "--frames", frames, &report_options.frames) != 0 ||
        check_rules() != 0)
        return EXIT_TROUBLE;
    report_options.by = (snap_report_by)by;
    const size_t n = (size_t)(argc - first);
    if (n < 2)
        return opt_usage_error(&command, "two files or more are needed%s",
                               n == 1 ? "; 'snap show' shows a single one" : "");
    if (is_stdout(html) + is_stdout(junit) + is_stdout(output) > 1)
        return opt_usage_error(&command, "only one report can go to standard output");
    int n_stdin = 0;
    for (int i = first; i < argc; i++)
        n_stdin += strcmp(argv[i], "-") == 0;
    if (n_stdin > 1)
        return opt_usage_error(&command, "standard input can be read only once");

    snap_snapshot **const snapshots = calloc(n, sizeof *snapshots);
    if (snapshots == NULL)
        return opt_error(&command, "no memory");
    status = EXIT_SAME;
    for (size_t i = 0; i < n && status == EXIT_SAME; i++)
        status = input_open(&command, argv[(size_t)first + i], &snapshots[i]);
    if (status == EXIT_SAME)
        status = compare((const snap_snapshot *const *)snapshots, n, &report_options);
    for (size_t i = 0; i < n; i++)
        snap_close(snapshots[i]);
    free(snapshots);
    return status;
}
