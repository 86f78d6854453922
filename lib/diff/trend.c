/* The shape of a series: flat, linear, monotonic, step, plateau, churn or noisy.
 *
 * Invariant: a class says what the numbers do, never whether that is bad; two snapshots are no
 * trend, so they only ever give flat or monotonic. A series that never rises is flat here, for the
 * question is what grows. Knows no thresholds in bytes: whether a rise matters is decided in
 * judge.c. */
#include "diff/trend.h"

#include <math.h>

/* Values within 1/20 of the series' whole range of one another stand still. */
#define STILL_DIVISOR 20

static uint64_t range_of(const uint64_t *y, size_t n, uint64_t *out_max) {
    uint64_t low = y[0], high = y[0];
    for (size_t i = 1; i < n; i++) {
        low = y[i] < low ? y[i] : low;
        high = y[i] > high ? y[i] : high;
    }
    *out_max = high;
    return high - low;
}

static int is_still(const uint64_t *y, size_t n, uint64_t still) {
    uint64_t high;
    return range_of(y, n, &high) <= still;
}

double trend_correlation(const double *x, const double *y, size_t n) {
    double mean_x = 0, mean_y = 0, xx = 0, yy = 0, xy = 0;
    for (size_t i = 0; i < n; i++) {
        mean_x += x[i] / (double)n;
        mean_y += y[i] / (double)n;
    }
    for (size_t i = 0; i < n; i++) {
        const double dx = x[i] - mean_x, dy = y[i] - mean_y;
        xx += dx * dx;
        yy += dy * dy;
        xy += dx * dy;
    }
    return xx > 0 && yy > 0 ? xy / sqrt(xx * yy) : 0;
}

/* R^2 of the least-squares line, without a copy of the series; over y - y[0], so that small growth
 * on top of much memory is not lost in rounding. y only rises here. */
static double r_squared_of_rise(const double *x, const uint64_t *y, size_t n) {
    double mean_x = 0, mean_y = 0, xx = 0, yy = 0, xy = 0;
    for (size_t i = 0; i < n; i++) {
        mean_x += x[i] / (double)n;
        mean_y += (double)(y[i] - y[0]) / (double)n;
    }
    for (size_t i = 0; i < n; i++) {
        const double dx = x[i] - mean_x, dy = (double)(y[i] - y[0]) - mean_y;
        xx += dx * dx;
        yy += dy * dy;
        xy += dx * dy;
    }
    return xx > 0 && yy > 0 ? xy * xy / (xx * yy) : 0;
}

long trend_jump(const uint64_t *y, size_t n) {
    uint64_t high;
    const uint64_t still = range_of(y, n, &high) / STILL_DIVISOR;
    size_t best = 0;
    for (size_t i = 0; i + 1 < n; i++)
        if (y[i + 1] > y[i] && (y[best + 1] <= y[best] || y[i + 1] - y[i] > y[best + 1] - y[best]))
            best = i;
    if (n < 2 || y[best + 1] <= y[best])
        return -1;
    return is_still(y, best + 1, still) && is_still(y + best + 1, n - best - 1, still) ? (long)best
                                                                                       : -1;
}

uint64_t trend_noise(const uint64_t *y, size_t n) {
    uint64_t noise = 0;
    for (size_t i = 0; i + 1 < n; i++)
        if (y[i] > y[i + 1] && y[i] - y[i + 1] > noise)
            noise = y[i] - y[i + 1];
    return noise;
}

snap_trend trend_classify(const uint64_t *y, const double *x, size_t n, uint32_t overlap_ppm) {
    if (n < 2)
        return SNAP_TREND_FLAT;
    if (n == 2)
        return y[1] > y[0] ? SNAP_TREND_MONOTONIC : SNAP_TREND_FLAT;
    size_t n_up = 0, n_down = 0;
    for (size_t i = 0; i + 1 < n; i++) {
        n_up += y[i + 1] > y[i];
        n_down += y[i + 1] < y[i];
    }
    uint64_t high;
    const uint64_t range = range_of(y, n, &high), still = range / STILL_DIVISOR;
    const int linear = n_up == n - 1 && r_squared_of_rise(x, y, n) >= 0.98;
    /* Four points on a line are no chance, even where most blocks come and go: a small leak on top
     * of much churn. */
    if (linear && n > 3)
        return SNAP_TREND_LINEAR;
    /* Most blocks are new each time while the size moves by under a tenth. */
    if (overlap_ppm < 500000 && range <= high / 10)
        return SNAP_TREND_CHURN;
    if (n_up == 0)
        return SNAP_TREND_FLAT;
    if (linear)
        return SNAP_TREND_LINEAR;
    if (n_up < n - 1 && range <= high / 100)
        return SNAP_TREND_FLAT;
    if (trend_jump(y, n) >= 0)
        return SNAP_TREND_STEP;
    const size_t tail = n / 3 < 2 ? 2 : n / 3;
    if (n > 3 && y[n - 1] > y[0] && y[n - 1] - y[0] >= range / 2 &&
        is_still(y + n - tail, tail, still))
        return SNAP_TREND_PLATEAU;
    return n_down == 0 ? SNAP_TREND_MONOTONIC : SNAP_TREND_NOISY;
}
