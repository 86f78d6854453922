/* Device memory in the heap of a snapshot. */
#ifndef HEAPSNAP_DEVICE_H
#define HEAPSNAP_DEVICE_H

#include "model/frames.h"
#include "model/heap.h"

/* Leaves out references to device memory that are the driver's own. After frames_collect; before
 * roots are given numbers. */
int device_pass(struct heap *h, const struct frames *f, snap_error *err);

#endif
