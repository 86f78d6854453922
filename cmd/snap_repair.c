/* snap repair: what is left of a truncated or damaged file, as a sound one. */
#include <heapsnap/convert.h>

#include <inttypes.h>
#include <string.h>

#include "input.h"
#include "opt.h"
#include "verbs.h"

static const char *output;
static int force, quiet;

static const struct opt options[] = {
    {OPT_TEXT, 'o', "output", "FILE", &output, "write to FILE (needed)"},
    {OPT_FLAG, 'f', "force", NULL, &force, "replace an existing file"},
    {OPT_FLAG, 'q', "quiet", NULL, &quiet, "do not say what was saved and lost"},
    {OPT_END},
};

static const struct opt_command command = {
    .name = "repair",
    .arguments = "FILE -o FILE",
    .summary = "save what is left of a truncated or damaged snapshot",
    .options = options,
    .details = "Takes the parts that are whole and writes them as a sound file that says that rows "
               "are\n"
               "missing: up to the last whole part of a file that was cut, all but the damaged "
               "ones of\n"
               "another. A FILE of '-' is standard input. Exit status: 0 nothing was lost; 1 "
               "something\n"
               "was; 2 nothing can be saved.\n",
};

static void print_table(const snap_repair_result *r, snap_table table) {
    const uint32_t id = snap_table_id(table);
    const uint64_t lost = r->n_lost_rows[table], loose = r->n_loose_rows[table];
    if (r->n_rows[table] == 0 && lost == 0 && loose == 0)
        return;
    printf("  %.4s  %12" PRIu64 " rows", (const char *)&id, r->n_rows[table]);
    if (lost)
        printf(", %" PRIu64 " lost", lost);
    if (loose)
        printf(", %" PRIu64 " left out that referred to lost ones", loose);
    putchar('\n');
}

static void print_result(const char *path, const snap_repair_result *r) {
    const snap_salvage *const s = &r->salvage;
    char name[4096];
    snap_escape(name, sizeof name, path);
    printf("%s: %" PRIu64 " of %" PRIu64 " bytes are whole", name, s->kept_bytes, s->file_bytes);
    if (r->is_whole && s->is_cut)
        printf("; only the table of contents was missing\n");
    else if (r->is_whole)
        printf("; nothing was wrong\n");
    else if (s->is_cut)
        printf("; the file ends there or is damaged, and nobody knows how many rows followed\n");
    else
        printf("; %" PRIu32 " parts are damaged\n", s->n_lost_chunks);
    for (snap_table table = SNAP_TABLE_STRS; table < SNAP_TABLE_SUMM; table++)
        print_table(r, table);
}

int snap_repair_main(int argc, char **argv) {
    int first, status;
    if (!opt_parse(&command, argc, argv, &first, &status))
        return status;
    if (argc - first != 1)
        return opt_usage_error(&command, "one file is needed");
    if (output == NULL)
        return opt_usage_error(&command, "where to? -o FILE is needed");
    const snap_writer_options writer = {.struct_size = sizeof writer, .overwrite = force};
    struct input_progress progress = {0};
    snap_repair_result result;
    snap_error err = {0};
    const int code =
        snap_repair(argv[first], output, &writer, &result, input_progress, &progress, &err);
    input_progress_end(&progress);
    if (code < 0)
        return input_error(&command, err.code == SNAP_E_IO ? NULL : argv[first], &err);
    if (!quiet && strcmp(output, "-") != 0)
        print_result(argv[first], &result);
    const int closed = opt_close_output(&command);
    return closed != 0 ? closed : result.is_whole ? EXIT_SAME : EXIT_FOUND;
}
