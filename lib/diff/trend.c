/* The shape of a series: flat, linear, monotonic, step, plateau, churn or noisy.
 *
 * Invariant: a class says what the numbers do, never whether that is bad; two snapshots are no
 * trend, so they only ever give flat or monotonic. A series that never rises is flat here, for the
 * question is what grows. Knows no thresholds in bytes: whether a rise matters is decided in
 * judge.c. */
#include "diff/trend.h"

#include <math.h>
#include <stdlib.h>

#include "base/mem.h"

/* From here on a line may bend back now and then, if chance is out of the question. */
#define ROBUST_MIN 5
#define CHANCE_PPM 10000u
#define EXACT_MAX 10
#define ALL_PAIRS_MAX 400
#define TAIL_MIN 4

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

static double minus(uint64_t a, uint64_t b) {
    return a >= b ? (double)(a - b) : -(double)(b - a);
}

/* R^2 of the least-squares line, without a copy of the series; over y - y[0], so that small growth
 * on top of much memory is not lost in rounding. */
static double r_squared(const double *x, const uint64_t *y, size_t n) {
    double mean_x = 0, mean_y = 0, xx = 0, yy = 0, xy = 0;
    for (size_t i = 0; i < n; i++) {
        mean_x += x[i] / (double)n;
        mean_y += minus(y[i], y[0]) / (double)n;
    }
    for (size_t i = 0; i < n; i++) {
        const double dx = x[i] - mean_x, dy = minus(y[i], y[0]) - mean_y;
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

/* The part of all orders of n different values that have at least s more pairs that rise than pairs
 * that fall: those with at most (n (n - 1) / 2 - s) / 2 inversions. */
static double exact_chance(size_t n, long s) {
    double orders[EXACT_MAX * (EXACT_MAX - 1) / 2 + 1] = {1}, all = 1, part = 0;
    long most = 0;
    for (size_t k = 2; k <= n; k++) {
        const long last = most;
        most += (long)k - 1;
        all *= (double)k;
        for (long i = most; i >= 0; i--) {
            double sum = 0;
            for (long j = i - (long)k + 1 > 0 ? i - (long)k + 1 : 0; j <= i && j <= last; j++)
                sum += orders[j];
            orders[i] = sum;
        }
    }
    for (long i = 0; i <= (most - s) / 2; i++)
        part += orders[i];
    return part / all;
}

static uint32_t chance_of_rise(const uint64_t *y, size_t n) {
    double s = 0, tied = 0;
    for (size_t i = 0; i < n; i++) {
        double equal = 0;
        for (size_t j = 0; j < n; j++) {
            equal += y[j] == y[i];
            if (j > i)
                s += (double)(y[j] > y[i]) - (double)(y[j] < y[i]);
        }
        tied += (equal - 1) * (2 * equal + 5);
    }
    const double m = (double)n, variance = (m * (m - 1) * (2 * m + 5) - tied) / 18;
    double chance;
    if (tied == 0 && n <= EXACT_MAX)
        chance = exact_chance(n, (long)s);
    else if (variance <= 0)
        chance = 1;
    else
        chance = 0.5 * erfc((s - (s > 0) + (s < 0)) / sqrt(2 * variance));
    return (uint32_t)(1e6 * chance + 0.5);
}

static int compare_slopes(const void *a, const void *b) {
    const double x = *(const double *)a, y = *(const double *)b;
    return x < y ? -1 : x > y;
}

int trend_fit(const uint64_t *y, const double *x, size_t n, struct trend_fit *out) {
    *out = (struct trend_fit){0, 1000000};
    if (n < 2)
        return 0;
    /* Of very long series each point only with the one half a series later. */
    const int all = n <= ALL_PAIRS_MAX;
    double *const slopes = mem_alloc(all ? n * (n - 1) / 2 : n - n / 2, sizeof *slopes);
    if (slopes == NULL)
        return -1;
    size_t m = 0;
    for (size_t i = 0; i < n; i++)
        for (size_t j = all ? i + 1 : i + n / 2; j < n; j = all ? j + 1 : n)
            slopes[m++] = minus(y[j], y[i]) / (x[j] - x[i]);
    qsort(slopes, m, sizeof *slopes, compare_slopes);
    out->slope = m % 2 ? slopes[m / 2] : (slopes[m / 2 - 1] + slopes[m / 2]) / 2;
    free(slopes);
    out->chance_ppm = chance_of_rise(y, n);
    return 0;
}

size_t trend_tail(const uint64_t *y, const double *x, size_t n) {
    for (size_t i = 1; i + TAIL_MIN <= n && i <= n / 2; i++)
        if (trend_classify(y + i, x + i, n - i, UINT32_MAX) == SNAP_TREND_LINEAR)
            return i;
    return 0;
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
    const int linear = (n_up == n - 1 || (n >= ROBUST_MIN && y[n - 1] > y[0])) &&
                       r_squared(x, y, n) >= 0.98 &&
                       (n_up == n - 1 || chance_of_rise(y, n) <= CHANCE_PPM);
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
