/* A snapshot of a process without a recorder that has a managed runtime. */
#ifndef HEAPSNAP_COPY_H
#define HEAPSNAP_COPY_H

#include "capture/take.h"
#include "model/untracked.h"

/* Copies the process, and lets the copy and heapsnap-write make the file. managed->copied is called
 * as soon as the process may go on. Errors: IO, NOMEM, and those of the writer. */
int copy_write(const struct untracked *u, const struct take_managed *managed, snap_error *err);

#endif
