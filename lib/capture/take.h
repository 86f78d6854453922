/* What a managed runtime in this process offers to snap_take (take.c). */
#ifndef HEAPSNAP_TAKE_H
#define HEAPSNAP_TAKE_H

#include <heapsnap/capture.h>

#include "capture/managed.h"

struct take_managed {
    const struct managed_walker *walker;
    void (*copied)(void *context); /* the process may go on: its state has been copied */
    void *context;
};

/* snap_take with a walker for processes that have no recorder; the caller holds the runtime still
 * until `copied` is called, which is always. */
int take_managed(const char *path, const snap_take_options *options,
                 const struct take_managed *managed, snap_error *err);

#endif
