/* Resources that grow in number, as suspects. */
#ifndef HEAPSNAP_DIFF_RESOURCES_H
#define HEAPSNAP_DIFF_RESOURCES_H

#include "diff/result.h"

/* Adds to d->suspects; after suspects_find. */
int resources_find(struct snap_diff *d, const snap_diff_options *options, snap_error *err);

#endif
