/* What a finished comparison means: verdict, blamed rows, growth that is no leak, and what the
 * evidence cannot support. */
#ifndef HEAPSNAP_DIFF_JUDGE_H
#define HEAPSNAP_DIFF_JUDGE_H

#include "diff/result.h"

/* Fills trends, shares and blame of all rows, the finding, not_leaks and limits. Returns 0 or
 * NOMEM. */
int judge(struct snap_diff *d, snap_error *err);

#endif
