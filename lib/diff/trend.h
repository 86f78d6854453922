/* The shape of a series of sizes over snapshots. */
#ifndef HEAPSNAP_DIFF_TREND_H
#define HEAPSNAP_DIFF_TREND_H

#include <heapsnap/diff.h>

/* Classifies y[0..n-1] over positions x[0..n-1] (strictly increasing: steps, or 0, 1, 2, ...).
 * overlap_ppm: of the blocks in the later snapshots, how many were there in the one before;
 * UINT32_MAX if nothing is known about identity. */
snap_trend trend_classify(const uint64_t *y, const double *x, size_t n, uint32_t overlap_ppm);

/* Where a line begins that goes on to the end, over half of the series and four points or more,
 * after something else: a leak on top of what filled up once. 0: there is none, or it is all one
 * line. */
size_t trend_tail(const uint64_t *y, const double *x, size_t n);

struct trend_fit {
    double slope; /* per unit of x: the median of the slopes between all pairs (Theil, Sen) */
    uint32_t chance_ppm; /* how likely a series without a trend rises as much (Mann, Kendall;
                            one-sided); says little below five points */
};
/* O(n^2), for a series of thousands O(n). 0, or -1 without memory. */
int trend_fit(const uint64_t *y, const double *x, size_t n, struct trend_fit *out);

/* Pearson's correlation of two series; 0 where it is not defined. */
double trend_correlation(const double *x, const double *y, size_t n);

/* Index i of the only jump, from y[i] up to y[i + 1], with all before and all after it standing
 * still; -1: there is none. */
long trend_jump(const uint64_t *y, size_t n);

/* The largest fall from one snapshot to the next: how much the series moves by itself. */
uint64_t trend_noise(const uint64_t *y, size_t n);

#endif
