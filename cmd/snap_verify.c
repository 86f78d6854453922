/* snap verify: reads whole files and checks every rule of the format. */
#include <inttypes.h>
#include <string.h>

#include <heapsnap/snapshot.h>

#include "input.h"
#include "opt.h"
#include "verbs.h"

static int quiet;

static const struct opt options[] = {
    {OPT_FLAG, 'q', "quiet", NULL, &quiet, "print nothing about sound files"},
    {OPT_END},
};

static const struct opt_command command = {
    .name = "verify",
    .arguments = "FILE...",
    .summary = "check that snapshots are whole and follow the format",
    .options = options,
    .details =
        "A FILE of '-' is standard input. Exit status: 0 all files are sound; 2 one is not.\n",
};

static int verify(const char *path) {
    snap_snapshot *s;
    if (input_open(&command, path, &s) != 0)
        return EXIT_TROUBLE;
    struct input_progress progress = {0};
    snap_error err = {0};
    const int result = snap_verify(s, input_progress, &progress, &err);
    input_progress_end(&progress);
    int status = 0;
    if (result < 0) {
        status = input_error(&command, path, &err);
    } else if (!quiet) {
        char name[4096];
        uint64_t rows = 0;
        for (snap_table table = 0; table < SNAP_TABLE_TOCC; table++)
            rows += snap_rows(s, table);
        snap_escape(name, sizeof name, path);
        printf("%s: ok (%" PRIu64 " blocks, %" PRIu64 " rows, %" PRIu64 " bytes)\n", name,
               snap_rows(s, SNAP_TABLE_NODE), rows, snap_file_bytes(s));
    }
    snap_close(s);
    return status;
}

int snap_verify_main(int argc, char **argv) {
    int first, status;
    if (!opt_parse(&command, argc, argv, &first, &status))
        return status;
    if (first == argc)
        return opt_usage_error(&command, "a file is needed");
    status = EXIT_SAME;
    for (int i = first; i < argc; i++)
        if (verify(argv[i]) != 0)
            status = EXIT_TROUBLE;
    const int closed = opt_close_output(&command);
    return closed != 0 ? closed : status;
}
