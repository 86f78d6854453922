/* snap paths: why blocks are still there: chains of references from roots. */
#include <stdlib.h>
#include <string.h>

#include <heapsnap/holder.h>
#include <heapsnap/report.h>
#include <heapsnap/snapshot.h>

#include "input.h"
#include "opt.h"
#include "verbs.h"

static const char *type, *address, *site, *top, *output;
static uint64_t max_chains = 3;
static int as_json;

static const struct opt options[] = {
    {OPT_TEXT, 't', "type", "TYPE", &type, "blocks and objects of this type"},
    {OPT_TEXT, 'a', "addr", "ADDRESS", &address, "the one that holds this address"},
    {OPT_TEXT, 's', "site", "FUNCTION", &site,
     "those with this function on their allocation stack"},
    {OPT_NUMBER, 'c', "chains", "N", &max_chains,
     "show at most N chains of each, 1 to 3; default 3.\nThey share no block with one another"},
    {OPT_TEXT, 'n', "top", "N", &top, "show at most N ways of being held, or all; default 20"},
    {OPT_FLAG, 'j', "json", NULL, &as_json, "print JSON"},
    {OPT_TEXT, 'o', "output", "FILE", &output, "write to FILE"},
    {OPT_END},
};

static const struct opt_command command = {
    .name = "paths",
    .arguments = "FILE",
    .summary = "print who holds given blocks, by chains from roots",
    .options = options,
    .details = "At least one of --type, --addr and --site is needed; together all must hold.\n"
               "A FILE of '-' is standard input.\n"
               "Exit status: 0 found; 1 no block matches; 2 trouble.\n",
};

static int print(const snap_holders *holders, const snap_snapshot *s) {
    snap_report_options report_options = {.struct_size = sizeof report_options};
    struct input_output out;
    snap_error err = {0};
    if (input_output_open(&command, output, &out) != 0)
        return EXIT_TROUBLE;
    input_report_options(&out, &report_options);
    const int result =
        snap_report_holders(holders, s, as_json ? "json" : "text", out.file, &report_options, &err);
    const int status = input_output_close(&command, &out, result == 0);
    return status == 0 && result < 0 ? input_error(&command, snap_path(s), &err) : status;
}

static int find(const snap_snapshot *s, const snap_holders_query *query) {
    struct input_progress progress = {0};
    const snap_heap_options heap_options = input_heap_options(&progress, 1);
    snap_heap *heap = NULL;
    snap_holders *holders = NULL;
    snap_error err = {0};
    int result = snap_heap_open(&heap, s, &heap_options, &err);
    if (result == 0)
        result = snap_holders_new(&holders, heap, query, &err);
    input_progress_end(&progress);
    int status;
    if (result == SNAP_E_NOTFOUND) {
        opt_error(&command, "%s", err.message);
        status = EXIT_FOUND;
    } else if (result < 0) {
        status = input_error(&command, snap_path(s), &err);
    } else {
        status = print(holders, s);
    }
    snap_holders_free(holders);
    snap_heap_close(heap);
    return status;
}

static int parse_address(const char *text, uint64_t *out) {
    char *end;
    *out = strtoull(text, &end, 16);
    return *text == '\0' || *text == '-' || *end != '\0' || *out == 0 ? -1 : 0;
}

int snap_paths_main(int argc, char **argv) {
    int first, status;
    if (!opt_parse(&command, argc, argv, &first, &status))
        return status;
    snap_holders_query query = {
        .struct_size = sizeof query, .type = type, .function = site, .max_chains = 3};
    unsigned max_groups = 0;
    if (input_limit(&command, "--top", top, &max_groups) != 0)
        return EXIT_TROUBLE;
    if (max_chains < 1 || max_chains > 3)
        return opt_usage_error(&command, "option '--chains': 1 to 3");
    query.max_groups = max_groups;
    query.max_chains = (uint32_t)max_chains;
    if (address != NULL && parse_address(address, &query.address) < 0)
        return opt_usage_error(&command, "option '--addr': '%s' is no hexadecimal address",
                               address);
    if (type == NULL && site == NULL && address == NULL)
        return opt_usage_error(&command, "one of --type, --addr and --site is needed");
    if (argc - first != 1)
        return opt_usage_error(&command, "one file is needed");
    snap_snapshot *s;
    if (input_open(&command, argv[first], &s) != 0)
        return EXIT_TROUBLE;
    status = snap_heap_has_graph(s)
                 ? find(s, &query)
                 : opt_error(&command, "'%s' holds no references; take it with edges (the default)",
                             snap_path(s));
    snap_close(s);
    return status;
}
