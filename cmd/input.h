/* What the commands that read snapshots share: opening files with messages that help, progress, and
 * where the output goes. */
#ifndef HEAPSNAP_INPUT_H
#define HEAPSNAP_INPUT_H

#include <stdio.h>

#include <heapsnap/holder.h>
#include <heapsnap/report.h>
#include <heapsnap/snapshot.h>

#include "opt.h"

/* Prints an error of the library about a file (NULL: none in particular): what, where, what to do.
 * Returns EXIT_TROUBLE. */
int input_error(const struct opt_command *command, const char *path, const snap_error *err);

/* Opens a snapshot; 0, or EXIT_TROUBLE after a message. */
int input_open(const struct opt_command *command, const char *path, snap_snapshot **out);

/* A progress bar on standard error if that is a terminal, once the work has taken a while. Give
 * input_progress and a zeroed struct to the library; end with input_progress_end. */
struct input_progress {
    double started_s;
    int shown_percent, is_shown;
};
int input_progress(void *context, uint64_t done, uint64_t total);
void input_progress_end(struct input_progress *p);

/* To load references with that bar. */
snap_heap_options input_heap_options(struct input_progress *p, int lasting_roots_first);

/* Where the report goes: path, or standard output for NULL and "-". 0, or EXIT_TROUBLE. */
struct input_output {
    FILE *file;
    const char *path; /* NULL: standard output */
};
int input_output_open(const struct opt_command *command, const char *path,
                      struct input_output *out);
/* Closes; a report that could not be written whole is removed. 0, or EXIT_TROUBLE. */
int input_output_close(const struct opt_command *command, struct input_output *out, int keep);

/* Colours and width for a report that goes there. */
void input_report_options(const struct input_output *out, snap_report_options *options);

/* A number of rows or frames from the command line; "all" is all. 0, or EXIT_TROUBLE. */
int input_limit(const struct opt_command *command, const char *option, const char *text,
                unsigned *out);

#endif
