/* Mappings that programs made themselves, by stack. */
#ifndef HEAPSNAP_DIFF_MAPPED_H
#define HEAPSNAP_DIFF_MAPPED_H

#include "diff/result.h"

/* Fills d->mapped. */
int mapped_find(struct snap_diff *d, snap_error *err);

#endif
