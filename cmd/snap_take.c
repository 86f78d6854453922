/* snap take: asks a running process for a snapshot, and waits until the file is complete. All that
 * it does with processes is snap_take_process's. */
#include <heapsnap/capture.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "opt.h"
#include "verbs.h"

static const char *output, *label;
static int64_t step;
static int step_given, force, no_edges, no_fork, quiet;
static uint64_t timeout_ns;

static const struct opt options[] = {
    {OPT_TEXT, 'o', "output", "PATTERN", &output,
     "write there; %p is the process, %n the number of the\n"
     "snapshot, %r the rank, %% a percent sign\n"
     "(default: what the process was started with)"},
    {OPT_FLAG, 'f', "force", NULL, &force, "replace an existing file"},
    {OPT_TEXT, 'l', "label", "TEXT", &label, "a label, kept in the snapshot"},
    {OPT_INTEGER, 's', "step", "N", &step, "a step or epoch, kept in the snapshot",
     .given = &step_given},
    {OPT_FLAG, 0, "no-fork", NULL, &no_fork,
     "stop the process while it is read, instead of\nreading a copy"},
    {OPT_FLAG, 0, "no-edges", NULL, &no_edges, "record blocks only, not what refers to them"},
    {OPT_TIME, 0, "timeout", "TIME", &timeout_ns,
     "give up after so long without an answer or progress\n(default: 30 s)"},
    {OPT_FLAG, 'q', "quiet", NULL, &quiet, "do not print the file's name"},
    {OPT_END},
};

static const struct opt_command command = {
    .name = "take",
    .arguments = "PID...",
    .summary = "ask running processes for a snapshot",
    .options = options,
    .details =
        "The process must have been started by 'snap run' (or be a descendant of one that was), "
        "and\n"
        "be yours. It writes the file itself; the name is printed when the file is complete.\n"
        "Exit status: 0 all written; 2 trouble.",
};

/* The process has a directory of its own; a name given here means ours. NULL: no memory. */
static char *absolute(const char *path) {
    char directory[PATH_MAX], *out = NULL;
    if (*path == '/' || !getcwd(directory, sizeof directory))
        return strdup(path);
    for (char *p = directory; *p; p++)
        if (*p == '%') /* would be taken for a pattern */
            return strdup(path);
    return asprintf(&out, "%s/%s", directory, path) < 0 ? NULL : out;
}

int snap_take_main(int argc, char **argv) {
    int first, status;
    if (!opt_parse(&command, argc, argv, &first, &status))
        return status;
    if (first == argc)
        return opt_usage_error(&command, "no process given");
    char *const path = output ? absolute(output) : NULL;
    if (output && !path)
        return opt_error(&command, "no memory");

    status = EXIT_SAME;
    for (int i = first; i < argc; i++) {
        uint64_t pid;
        if (opt_number(argv[i], &pid) < 0 || pid == 0 || pid > INT_MAX) {
            status = opt_usage_error(&command, "'%s' is no process number", argv[i]);
            continue;
        }
        const snap_process_options o = {.struct_size = sizeof o,
                                        .label = label,
                                        .step = step,
                                        .has_step = step_given,
                                        .overwrite = force,
                                        .no_fork = no_fork,
                                        .no_edges = no_edges,
                                        .timeout_ns = timeout_ns};
        char written[PATH_MAX];
        snap_error err = {0};
        if (snap_take_process((long)pid, path, &o, written, sizeof written, &err) < 0)
            status = opt_error(&command, "%s", err.message);
        else if (!quiet)
            printf("%s\n", written);
    }
    free(path);
    return opt_close_output(&command) ? EXIT_TROUBLE : status;
}
