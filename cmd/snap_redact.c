/* snap redact: a snapshot that does not tell whose it is. */
#include <heapsnap/convert.h>

#include <stdlib.h>
#include <string.h>

#include "input.h"
#include "opt.h"
#include "verbs.h"

static const char *output, *salt;
static int level = 1, force;
static struct opt_list keep;

static const char *const levels[] = {"paths", "names", NULL};

static const struct opt options[] = {
    {OPT_TEXT, 'o', "output", "FILE", &output, "write to FILE (needed)"},
    {OPT_FLAG, 'f', "force", NULL, &force, "replace an existing file"},
    {OPT_CHOICE, 'l', "level", "LEVEL", &level,
     "paths: remove the host's name, the command line and\ndirectories; names (default): also put "
     "hashes for all\nnames that are not public",
     levels},
    {OPT_LIST, 'k', "keep", "NAME", &keep, "a package, namespace or word that may stay"},
    {OPT_TEXT, 's', "salt", "TEXT", &salt,
     "secret of the hashes: the same for files that are to\nbe compared with each other (default: "
     "$HEAPSNAP_SALT,\nelse a random one)"},
    {OPT_END},
};

static const struct opt_command command = {
    .name = "redact",
    .arguments = "FILE -o FILE",
    .summary = "write a snapshot that does not tell whose it is",
    .options = options,
    .details =
        "Names of the system's libraries, of well-known packages and of the languages stay, and so "
        "do\n"
        "numbers: sizes, addresses, times, the graph. The new file is read again and checked "
        "before "
        "it\n"
        "gets its name. A FILE of '-' is standard input or output.\n",
};

int snap_redact_main(int argc, char **argv) {
    int first, status;
    if (!opt_parse(&command, argc, argv, &first, &status))
        return status;
    if (argc - first != 1)
        return opt_usage_error(&command, "one file is needed");
    if (output == NULL)
        return opt_usage_error(&command, "where to? -o FILE is needed");
    snap_snapshot *s;
    if (input_open(&command, argv[first], &s) != 0)
        return EXIT_TROUBLE;
    const snap_redact_options redact = {
        .struct_size = sizeof redact,
        .level = level == 0 ? SNAP_REDACTION_PATHS : SNAP_REDACTION_NAMES,
        .salt = salt ? salt : getenv("HEAPSNAP_SALT"),
        .keep = keep.items,
        .n_keep = keep.n,
        .writer = {.struct_size = sizeof redact.writer, .overwrite = force},
    };
    struct input_progress progress = {0};
    snap_error err = {0};
    const int result = snap_redact(s, output, &redact, input_progress, &progress, &err);
    input_progress_end(&progress);
    if (result < 0)
        status = input_error(&command, err.code == SNAP_E_IO ? NULL : snap_path(s), &err);
    snap_close(s);
    return result < 0 ? status : EXIT_SAME;
}
