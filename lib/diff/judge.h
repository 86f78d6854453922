/* What a finished comparison means: verdict, blamed rows, growth that is no leak, and what the
 * evidence cannot support. */
#ifndef HEAPSNAP_DIFF_JUDGE_H
#define HEAPSNAP_DIFF_JUDGE_H

#include "diff/result.h"

/* What kind of growth a series shows. */
enum growth {
    GROWTH_NONE,      /* not enough to speak of */
    GROWTH_BLAMED,    /* goes on */
    GROWTH_ENDED,     /* plateau */
    GROWTH_WARM_UP,   /* only between the first two snapshots of three or more */
    GROWTH_REPLACING, /* churn */
    GROWTH_WITH_LOAD  /* follows a counter of the user */
};

/* Growth up to threshold (on a line: line_threshold) is none. *trend is made linear for a line that
 * begins after something else. *out_gauge: the counter that it follows, if it does. */
enum growth judge_series(const struct snap_diff *d, const uint64_t *bytes, snap_trend *trend,
                         uint64_t threshold, uint64_t line_threshold, const char **out_gauge);

/* Fills trends, shares and blame of all rows, the finding, not_leaks and limits. Returns 0 or
 * NOMEM. */
int judge(struct snap_diff *d, snap_error *err);

#endif
