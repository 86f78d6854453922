/* Who keeps process groups, and what they hold. */
#ifndef HEAPSNAP_DIFF_PROCESS_GROUPS_H
#define HEAPSNAP_DIFF_PROCESS_GROUPS_H

#include "diff/result.h"

/* Fills in the holder, the chain and what is retained of a suspect that stands for the process
 * groups made by the stack with a key: those of the last snapshot. Left as it is where there are no
 * references, or more than options allow to read. */
int process_groups_name(struct snap_diff *d, uint64_t stack_key, const snap_diff_options *options,
                        snap_diff_suspect *s, snap_error *err);

#endif
