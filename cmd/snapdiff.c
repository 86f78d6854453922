/* snapdiff: compares two or more snapshots and says what grew and where it was allocated. All
 * judgement is the library's; this turns it into an exit status. */
#include <fnmatch.h>
#include <malloc.h>
#include <stdlib.h>
#include <string.h>

#include <heapsnap/diff.h>
#include <heapsnap/holder.h>
#include <heapsnap/report.h>
#include <heapsnap/snapshot.h>

#include "files.h"
#include "input.h"
#include "opt.h"

static const char *const by_names[] = {"site", "type", "module", "domain", "hook", NULL};

static const char *top, *frames, *output, *html, *junit;
static int by, as_json, force, keep_order, all, no_graph, summary_only;
static struct opt_list rules, baselines, rank_patterns;

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
    {OPT_LIST, 0, "baseline", "FILES", &baselines,
     "files of a run that is known to be good, or a\npattern: only what is new counts; may be "
     "given\nmany times"},
    {OPT_LIST, 0, "ranks", "FILES", &rank_patterns,
     "files of the ranks of a job, or a pattern; %r\nstands for the rank where the files do not "
     "tell"},
    {OPT_FLAG, 'f', "force", NULL, &force, "compare snapshots of different programs, too"},
    {OPT_FLAG, 0, "no-edges", NULL, &no_graph,
     "leave references unread: faster, but only sites are\nnamed, not holders"},
    {OPT_FLAG, 's', "summary", NULL, &summary_only,
     "read the summaries of the files only: a trend over\na hundred files at once; the largest "
     "types and\nsites, without stacks and holders"},
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

static int say_broken(const snap_report_rule *checked, const char *of) {
    int status = EXIT_SAME;
    fflush(stdout);
    for (size_t i = 0; i < rules.n; i++) {
        if (!checked[i].result.broken)
            continue;
        fprintf(stderr, "snapdiff: %slimit '%s' is broken: %+lld %s\n", of, checked[i].rule,
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
    if (!no_graph && !summary_only && snap_heap_has_graph(s)) {
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
        return say_broken(checked, "");
    return snap_diff_verdict(d) != SNAP_VERDICT_NO_GROWTH ? EXIT_FOUND : EXIT_SAME;
}

static snap_diff_options diff_options_of(struct input_progress *progress) {
    return (snap_diff_options){
        .struct_size = sizeof(snap_diff_options),
        .progress = input_progress,
        .progress_context = progress,
        .force = force,
        .keep_order = keep_order,
        .no_graph = no_graph,
        .summary_only = summary_only,
    };
}

static int failed(int result, const snap_error *err) {
    if (result == SNAP_E_ARG && !force)
        return opt_error(&command, "%s; --force compares them nevertheless", err->message);
    return input_error(&command, NULL, err);
}

static int make_diff(const struct files *files, snap_diff **out) {
    struct input_progress progress = {0};
    const snap_diff_options how = diff_options_of(&progress);
    snap_error err = {0};
    const int result =
        snap_diff_new(out, (const snap_snapshot *const *)files->snapshots, files->n, &how, &err);
    input_progress_end(&progress);
    return result < 0 ? failed(result, &err) : EXIT_SAME;
}

static int compare(const struct files *files, const struct files *control,
                   const snap_report_options *report_options) {
    snap_diff *d = NULL, *baseline = NULL;
    snap_error err = {0};
    int status = make_diff(files, &d);
    if (status == EXIT_SAME && control->n > 0)
        status = make_diff(control, &baseline);
    if (status == EXIT_SAME && baseline != NULL) {
        const int result = snap_diff_set_baseline(d, baseline, force, &err);
        if (result < 0)
            status = failed(result, &err);
    }
    if (status == EXIT_SAME)
        status = report(d, report_options);
    snap_diff_free(d);
    snap_diff_free(baseline);
    return status;
}

/* The number in a path where a pattern has %r: what is before it must match, wildcards and all. */
static int rank_in_path(const char *pattern, const char *path, uint64_t *out) {
    const char *const mark = strstr(pattern, "%r");
    if (mark == NULL)
        return 0;
    char *const before = strndup(pattern, (size_t)(mark - pattern));
    int found = 0;
    for (const char *p = path; *p != '\0' && before != NULL && !found; p++) {
        if (*p < '0' || *p > '9' || (p > path && p[-1] >= '0' && p[-1] <= '9'))
            continue;
        char *const head = strndup(path, (size_t)(p - path));
        found = head != NULL && fnmatch(before, head, FNM_PATHNAME) == 0;
        free(head);
        if (found)
            *out = strtoull(p, NULL, 10);
    }
    free(before);
    return found;
}

/* A pattern with * for %r. */
static int add_ranks(struct files *files, const char *pattern) {
    char *const plain = strdup(pattern);
    if (plain == NULL)
        return opt_error(&command, "no memory");
    for (char *mark; (mark = strstr(plain, "%r")) != NULL;) {
        mark[0] = '*';
        memmove(mark + 1, mark + 2, strlen(mark + 2) + 1);
    }
    const int status = files_add(&command, files, plain);
    free(plain);
    return status;
}

static int report_ranks(const snap_ranks *r, const snap_report_options *given) {
    snap_report_options report_options = *given;
    struct input_output out;
    snap_error err = {0};
    if (input_output_open(&command, output, &out) != 0)
        return EXIT_TROUBLE;
    input_report_options(&out, &report_options);
    report_options.all = all;
    const int result =
        snap_report_ranks(r, as_json ? "json" : "text", out.file, &report_options, &err);
    if (input_output_close(&command, &out, result == 0) != 0)
        return EXIT_TROUBLE;
    if (result < 0)
        return input_error(&command, NULL, &err);
    if (rules.n == 0)
        return snap_ranks_verdict(r) != SNAP_VERDICT_NO_GROWTH ? EXIT_FOUND : EXIT_SAME;
    int status = EXIT_SAME;
    size_t n;
    snap_report_rule checked[OPT_LIST_MAX];
    const snap_ranks_rank *const ranks = snap_ranks_ranks(r, &n);
    for (size_t i = 0; i < n && status != EXIT_TROUBLE; i++) {
        char name[32];
        snprintf(name, sizeof name, "rank %llu: ", (unsigned long long)ranks[i].rank);
        if (apply_rules(ranks[i].diff, checked) != 0)
            return EXIT_TROUBLE;
        const int own = say_broken(checked, name);
        status = own > status ? own : status;
    }
    return status;
}

static int compare_ranks(const struct files *files, const uint64_t *ranks,
                         const snap_report_options *report_options) {
    struct input_progress progress = {0};
    const snap_diff_options how = diff_options_of(&progress);
    snap_ranks *r = NULL;
    snap_error err = {0};
    const int result = snap_ranks_new(&r, (const snap_snapshot *const *)files->snapshots, ranks,
                                      files->n, &how, &err);
    input_progress_end(&progress);
    if (result < 0)
        return input_error(&command, NULL, &err);
    const int status = report_ranks(r, report_options);
    snap_ranks_free(r);
    return status;
}

static int find_ranks(const struct files *files, const size_t *pattern_of, uint64_t *ranks) {
    for (size_t i = 0; i < files->n; i++) {
        const char *const pattern = rank_patterns.items[pattern_of[i]];
        if (!rank_in_path(pattern, files->paths[i], &ranks[i]) &&
            !snap_meta_number(files->snapshots[i], SNAP_META_RANK, NULL, &ranks[i]))
            return opt_error(
                &command,
                "%s does not say which rank it is of; write %%r into the pattern where "
                "the name has the number",
                files->paths[i]);
    }
    return EXIT_SAME;
}

static int run_ranks(struct files *files, const snap_report_options *report_options) {
    size_t *pattern_of = NULL;
    int status = EXIT_SAME;
    for (size_t i = 0; i < rank_patterns.n && status == EXIT_SAME; i++) {
        const size_t before = files->n;
        status = add_ranks(files, rank_patterns.items[i]);
        size_t *const more = realloc(pattern_of, (files->n + 1) * sizeof *more);
        if (more == NULL && status == EXIT_SAME)
            status = opt_error(&command, "no memory");
        pattern_of = more != NULL ? more : pattern_of;
        for (size_t k = before; status == EXIT_SAME && k < files->n; k++)
            pattern_of[k] = i;
    }
    uint64_t *const ranks = calloc(files->n + 1, sizeof *ranks);
    if (ranks == NULL && status == EXIT_SAME)
        status = opt_error(&command, "no memory");
    if (status == EXIT_SAME)
        status = files_open(&command, files);
    if (status == EXIT_SAME)
        status = find_ranks(files, pattern_of, ranks);
    if (status == EXIT_SAME)
        status = compare_ranks(files, ranks, report_options);
    free(ranks);
    free(pattern_of);
    return status;
}

static int run_files(struct files *files, struct files *control, int n, char **names,
                     const snap_report_options *report_options) {
    int status = EXIT_SAME;
    for (int i = 0; i < n && status == EXIT_SAME; i++)
        status = files_add(&command, files, names[i]);
    for (size_t i = 0; i < baselines.n && status == EXIT_SAME; i++)
        status = files_add(&command, control, baselines.items[i]);
    if (status != EXIT_SAME)
        return status;
    if (files->n < 2)
        return opt_usage_error(&command, "two files or more are needed%s",
                               files->n == 1 ? "; 'snap show' shows a single one" : "");
    if (control->n == 1)
        return opt_usage_error(&command, "--baseline: two files or more are needed");
    status = files_open(&command, files);
    if (status == EXIT_SAME)
        status = files_open(&command, control);
    return status == EXIT_SAME ? compare(files, control, report_options) : status;
}

/* Snapshots are loaded one after the other, each into arrays of the same sizes. Memory that is kept
 * in the process is not asked for, and not made zero, a second time: of two snapshots of four
 * million blocks that is a tenth of the time. */
static void keep_freed_memory(void) {
    mallopt(M_MMAP_MAX, 0);
    mallopt(M_TRIM_THRESHOLD, -1);
    mallopt(M_TOP_PAD, 16 << 20);
    mallopt(M_ARENA_MAX, 1); /* an arena of a thread keeps for that thread alone */
}

int main(int argc, char **argv) {
    int first, status;
    keep_freed_memory();
    snap_report_options report_options = {.struct_size = sizeof report_options};
    if (!opt_parse(&command, argc, argv, &first, &status))
        return status;
    if (input_limit(&command, "--top", top, &report_options.top) != 0 ||
        input_limit(&command, "--frames", frames, &report_options.frames) != 0 ||
        check_rules() != 0)
        return EXIT_TROUBLE;
    report_options.by = (snap_report_by)by;
    if (is_stdout(html) + is_stdout(junit) + is_stdout(output) > 1)
        return opt_usage_error(&command, "only one report can go to standard output");
    struct files files = {0}, control = {0};
    if (rank_patterns.n == 0)
        status = run_files(&files, &control, argc - first, argv + first, &report_options);
    else if (argc > first || baselines.n > 0)
        status = opt_usage_error(&command, "--ranks names all files, and has no baseline");
    else if (html != NULL || junit != NULL)
        status = opt_usage_error(&command, "--ranks is reported as text and JSON only");
    else
        status = run_ranks(&files, &report_options);
    files_release(&files);
    files_release(&control);
    return status;
}
