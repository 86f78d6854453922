/* snap convert: a snapshot in another format, and what others have written as a snapshot. */
#include <stdio.h>
#include <string.h>

#include <heapsnap/convert.h>

#include "input.h"
#include "opt.h"
#include "verbs.h"

static const char *to = "json", *from, *output;

static const struct opt options[] = {
    {OPT_TEXT, 't', "to", "FORMAT", &to,
     "json (default): one document, names resolved;\njsonl: a row a line, numbers as stored"},
    {OPT_TEXT, 'f', "from", "FORMAT", &from,
     "torch: FILE is a pickle of PyTorch's CUDA allocator\n(_dump_snapshot); it becomes a "
     "snapshot"},
    {OPT_TEXT, 'o', "output", "FILE", &output, "write to FILE"},
    {OPT_END},
};

static const struct opt_command command = {
    .name = "convert",
    .arguments = "FILE",
    .summary = "write a snapshot in another format",
    .options = options,
    .details = "A FILE of '-' is standard input.\n",
};

static int is_format(const char *name) {
    for (const char *const *f = snap_convert_formats(); *f != NULL; f++)
        if (strcmp(*f, name) == 0)
            return 1;
    return 0;
}

/* A binary pickle begins with its protocol; nothing else that belongs here does. */
static int is_pickle(const char *path) {
    unsigned char start[2] = {0};
    FILE *const f = strcmp(path, "-") != 0 ? fopen(path, "rb") : NULL;
    if (f == NULL)
        return 0;
    const size_t n = fread(start, 1, sizeof start, f);
    fclose(f);
    return n == sizeof start && start[0] == 0x80 && start[1] >= 2 && start[1] <= 5;
}

static int import_pickle(const char *path) {
    snap_error err = {0};
    if (output == NULL)
        return opt_usage_error(&command, "a pickle becomes a snapshot: say with -o which file");
    const int result = snap_import_torch(path, output, NULL, &err);
    return result < 0 ? input_error(&command, path, &err) : 0;
}

int snap_convert_main(int argc, char **argv) {
    int first, status;
    if (!opt_parse(&command, argc, argv, &first, &status))
        return status;
    if (!is_format(to))
        return opt_usage_error(&command, "unknown format '%s'; there are json and jsonl", to);
    if (argc - first != 1)
        return opt_usage_error(&command, "one file is needed");
    if (from != NULL && strcmp(from, "torch") != 0)
        return opt_usage_error(&command, "unknown format '%s'; there is torch", from);
    if (from != NULL || is_pickle(argv[first]))
        return import_pickle(argv[first]);
    snap_snapshot *s;
    if (input_open(&command, argv[first], &s) != 0)
        return EXIT_TROUBLE;
    struct input_output out;
    status = input_output_open(&command, output, &out);
    if (status == 0) {
        struct input_progress progress = {0};
        snap_error err = {0};
        const int result = snap_convert(s, to, out.file, input_progress, &progress, &err);
        input_progress_end(&progress);
        status = input_output_close(&command, &out, result == 0);
        if (status == 0 && result < 0)
            status = input_error(&command, snap_path(s), &err);
    }
    snap_close(s);
    return status;
}
