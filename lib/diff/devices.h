/* Device memory by device: what is live, what allocators cache, what graphs hold, and what is left
 * of what the driver says. */
#ifndef HEAPSNAP_DIFF_DEVICES_H
#define HEAPSNAP_DIFF_DEVICES_H

#include "diff/result.h"

/* Fills devices. Returns 0, NOMEM, or an error of a file. */
int devices_find(struct snap_diff *d, snap_error *err);

/* Tells what is cached more and more although what is live does not grow. Growth of up to
 * threshold bytes is none. Returns 0 or NOMEM. */
int devices_judge(struct snap_diff *d, uint64_t threshold, snap_error *err);

#endif
