/* Opening snapshots and outputs for the commands that analyse them. Prints messages; decides no
 * exit status but that of trouble. */
#include "input.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

int input_error(const struct opt_command *command, const char *path, const snap_error *err) {
    char message[1024], name[1024], place[64] = "";
    snap_escape(message, sizeof message, err->message);
    snap_escape(name, sizeof name, path != NULL ? path : "");
    if (err->chunk != 0) {
        const char id[5] = {(char)err->chunk, (char)(err->chunk >> 8), (char)(err->chunk >> 16),
                            (char)(err->chunk >> 24), 0};
        char safe[32];
        snap_escape(safe, sizeof safe, id);
        if (strstr(message, safe) == NULL)
            snprintf(place, sizeof place, " (chunk %s at offset %llu)", safe,
                     (unsigned long long)err->offset);
    } else if (err->code == SNAP_E_CORRUPT ||
               (err->code == SNAP_E_UNSUPPORTED && err->offset != 0)) {
        snprintf(place, sizeof place, " (at offset %llu)", (unsigned long long)err->offset);
    }
    /* What this build cannot do lies in no file. */
    const int in_file = err->chunk != 0 || err->offset != 0;
    const char *advice = "";
    switch (err->code) {
    case SNAP_E_FORMAT: advice = "; give it a file written by heapsnap"; break;
    case SNAP_E_CORRUPT:
        advice =
            "; the file is damaged or was cut short: take it again, or save what is left by repair";
        break;
    case SNAP_E_UNSUPPORTED: advice = in_file ? "; it needs a newer heapsnap" : ""; break;
    default: break;
    }
    /* The system's message for a file often names it already. */
    const int named = *name == '\0' || strstr(message, name) != NULL;
    return opt_error(command, "%s%s%s%s%s", named ? "" : name, named ? "" : ": ", message, place,
                     advice);
}

int input_open(const struct opt_command *command, const char *path, snap_snapshot **out) {
    snap_error err = {0};
    if (snap_open(out, path, NULL, &err) < 0)
        return input_error(command, strcmp(path, "-") == 0 ? "standard input" : path, &err);
    return 0;
}

static double now_s(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec * 1e-9;
}

int input_progress(void *context, uint64_t done, uint64_t total) {
    struct input_progress *const p = context;
    if (total == 0 || !isatty(STDERR_FILENO))
        return 0;
    const double now = now_s();
    if (p->started_s == 0)
        p->started_s = now;
    const int percent = (int)(100.0 * (double)done / (double)total);
    if (now - p->started_s < 0.5 || percent == p->shown_percent)
        return 0;
    char bar[41];
    for (int i = 0; i < 40; i++)
        bar[i] = i < percent * 40 / 100 ? '#' : '.';
    bar[40] = '\0';
    fprintf(stderr, "\r%s %3d%%", bar, percent);
    fflush(stderr);
    p->shown_percent = percent;
    p->is_shown = 1;
    return 0;
}

snap_heap_options input_heap_options(struct input_progress *p, int lasting_roots_first) {
    return (snap_heap_options){
        .struct_size = sizeof(snap_heap_options),
        .progress = input_progress,
        .progress_context = p,
        .lasting_roots_first = lasting_roots_first,
    };
}

void input_progress_end(struct input_progress *p) {
    if (p->is_shown)
        fprintf(stderr, "\r%46s\r", "");
}

int input_output_open(const struct opt_command *command, const char *path,
                      struct input_output *out) {
    *out = (struct input_output){stdout, NULL};
    if (path == NULL || strcmp(path, "-") == 0)
        return 0;
    out->path = path;
    out->file = fopen(path, "we");
    if (out->file == NULL)
        return opt_error(command, "cannot write '%s': %s", path, strerror(errno));
    return 0;
}

int input_output_close(const struct opt_command *command, struct input_output *out, int keep) {
    if (out->path == NULL)
        return keep ? opt_close_output(command) : 0;
    /* Half a report is removed; a device, a pipe or a link to one is not ours to remove. */
    struct stat s;
    const int is_file = lstat(out->path, &s) == 0 && S_ISREG(s.st_mode);
    errno = 0;
    const int failed = ferror(out->file) | (fclose(out->file) != 0);
    out->file = NULL;
    if (failed || !keep) {
        const int reason = errno;
        if (is_file)
            unlink(out->path);
        if (keep)
            return opt_error(command, "cannot write '%s': %s", out->path,
                             reason != 0 ? strerror(reason) : "write error");
    }
    return 0;
}

void input_report_options(const struct input_output *out, snap_report_options *options) {
    const char *const no_color = getenv("NO_COLOR"), *const terminal = getenv("TERM");
    const int is_terminal = isatty(fileno(out->file));
    options->color = is_terminal && (no_color == NULL || *no_color == '\0') &&
                     (terminal == NULL || strcmp(terminal, "dumb") != 0);
    options->width = 80;
    struct winsize size;
    if (is_terminal && ioctl(fileno(out->file), TIOCGWINSZ, &size) == 0 && size.ws_col >= 60)
        options->width = size.ws_col < 200 ? size.ws_col : 200;
}

int input_limit(const struct opt_command *command, const char *option, const char *text,
                unsigned *out) {
    if (text == NULL)
        return 0;
    uint64_t value;
    if (strcmp(text, "all") == 0) {
        *out = UINT32_MAX;
        return 0;
    }
    if (opt_number(text, &value) < 0 || value == 0)
        return opt_usage_error(command, "option '%s': '%s' is neither a number above 0 nor 'all'",
                               option, text);
    *out = value < UINT32_MAX ? (unsigned)value : UINT32_MAX;
    return 0;
}
