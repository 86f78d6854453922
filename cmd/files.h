/* Snapshots named on a command line, patterns among them, opened together. */
#ifndef HEAPSNAP_CMD_FILES_H
#define HEAPSNAP_CMD_FILES_H

#include <heapsnap/snapshot.h>

#include "opt.h"

struct files {
    char **paths;
    snap_snapshot **snapshots; /* of the same index; NULL before files_open */
    size_t n, capacity;
};

/* Adds a path, or what a pattern with * ? [ matches, in the order of numbers in the names ("e2"
 * before "e10"). 0, or EXIT_TROUBLE after a message. */
int files_add(const struct opt_command *command, struct files *f, const char *path_or_pattern);
int files_open(const struct opt_command *command, struct files *f);
void files_release(struct files *f);

#endif
