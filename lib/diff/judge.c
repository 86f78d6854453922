/* From numbers to statements: is it growth, is it a leak, which rows are to blame, which growth is
 * none, and what nobody can say from these files.
 *
 * A row is blamed if it grew by more than noise can explain: more than THRESHOLD_BYTES, more than a
 * share of all memory in use, more than its own largest fall, and not in a way that ended (a
 * plateau, a jump in the first interval) or that only replaces blocks (churn). Growth on a line
 * over three or more snapshots is a leak and has a lower bar, as chance does not draw lines, and so
 * has growth that ended. Benign growth is told, never hidden. Invariant: reads the tables, changes
 * only blame and the sentences.
 */
#include "diff/judge.h"

#include "base/err.h"
#include "base/printable.h"
#include "diff/devices.h"
#include "diff/trend.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define THRESHOLD_BYTES ((uint64_t)64 << 10)
#define THRESHOLD_DIVISOR 100  /* 1% of what is in use */
#define LINE_DIVISOR 1000      /* 0.1% if it grows on a line */
#define LINE_CORRELATION 0.975 /* R^2 of 0.95 */
#define LEAK_SHARE_PPM 100000u /* 10% of all growth */

static int no_memory(snap_error *err) {
    return err_set(err, SNAP_E_NOMEM, "no memory for the comparison");
}

static char *format_text(struct snap_diff *d, const char *format, va_list ap) {
    char text[512];
    const int length = vsnprintf(text, sizeof text, format, ap);
    return arena_string(&d->arena, text,
                        (size_t)length < sizeof text ? (size_t)length : sizeof text - 1);
}

int result_limit(struct snap_diff *d, snap_error *err, const char *format, ...) {
    va_list ap;
    va_start(ap, format);
    char *const text = format_text(d, format, ap);
    va_end(ap);
    if (text == NULL || mem_grow(&d->limits, &d->limit_capacity, d->n_limits + 1, sizeof text) < 0)
        return no_memory(err);
    d->limits[d->n_limits++] = text;
    return 0;
}

int result_not_leak(struct snap_diff *d, snap_error *err, const char *kind, uint64_t bytes,
                    const char *format, ...) {
    va_list ap;
    va_start(ap, format);
    char *const text = format_text(d, format, ap);
    va_end(ap);
    if (text == NULL || mem_grow(&d->not_leaks, &d->not_leak_capacity, d->n_not_leaks + 1,
                                 sizeof *d->not_leaks) < 0)
        return no_memory(err);
    d->not_leaks[d->n_not_leaks++] = (snap_diff_not_leak){kind, bytes, text};
    return 0;
}

struct judgement {
    struct snap_diff *d;
    uint64_t threshold, line_threshold;
};

/* Values of a user's counter over all snapshots; 0 if one lacks it, or if it rises on a line: what
 * counts up step by step, as a leak does, explains nothing. */
static int read_gauge(const struct snap_diff *d, const char *name, double *out) {
    int falls = 0;
    for (size_t i = 0; i < d->n; i++) {
        uint64_t value;
        if (!snap_meta_number(d->sources[i], SNAP_META_USER, name, &value))
            return 0;
        out[i] = (double)(int64_t)value;
        falls |= i > 0 && out[i] < out[i - 1];
    }
    return falls || trend_correlation(d->position, out, d->n) < LINE_CORRELATION;
}

/* Name of a gauge that the series follows; NULL. */
static const char *find_gauge(const struct snap_diff *d, const uint64_t *bytes) {
    if (d->n < 4) /* over three points everything correlates */
        return NULL;
    double *const gauge = mem_alloc(d->n * 2, sizeof *gauge);
    if (gauge == NULL)
        return NULL;
    double *const series = gauge + d->n;
    for (size_t i = 0; i < d->n; i++)
        series[i] = (double)bytes[i];
    const char *found = NULL;
    for (size_t i = 0; i < snap_meta_count(d->sources[0]) && found == NULL; i++) {
        const snap_meta_row row = snap_meta_get(d->sources[0], i);
        if (row.key == SNAP_META_USER && read_gauge(d, row.name, gauge) &&
            trend_correlation(gauge, series, d->n) >= 0.995)
            found = row.name;
    }
    free(gauge);
    return found;
}

enum growth judge_series(const struct snap_diff *d, const uint64_t *bytes, snap_trend *trend,
                         uint64_t threshold, uint64_t line_threshold, const char **out_gauge) {
    const uint64_t first = bytes[0], last = bytes[d->n - 1];
    const uint64_t grown = last > first ? last - first : 0;
    if (*trend == SNAP_TREND_CHURN)
        return last > threshold ? GROWTH_REPLACING : GROWTH_NONE;
    if (*trend == SNAP_TREND_LINEAR)
        return grown > line_threshold ? GROWTH_BLAMED : GROWTH_NONE;
    /* What filled up once and leaks since. */
    if (*trend != SNAP_TREND_FLAT && grown > line_threshold) {
        const size_t since = trend_tail(bytes, d->position, d->n);
        if (since != 0 && last - bytes[since] > line_threshold) {
            *trend = SNAP_TREND_LINEAR;
            return GROWTH_BLAMED;
        }
    }
    if (grown <= line_threshold || grown <= trend_noise(bytes, d->n) || *trend == SNAP_TREND_FLAT)
        return GROWTH_NONE;
    if (*trend == SNAP_TREND_PLATEAU)
        return GROWTH_ENDED;
    if (*trend == SNAP_TREND_STEP && trend_jump(bytes, d->n) == 0)
        return GROWTH_WARM_UP;
    if (grown <= threshold)
        return GROWTH_NONE;
    *out_gauge = find_gauge(d, bytes);
    return *out_gauge != NULL ? GROWTH_WITH_LOAD : GROWTH_BLAMED;
}

static enum growth growth_of(const struct judgement *j, const uint64_t *bytes, snap_trend *trend,
                             const char **out_gauge) {
    return judge_series(j->d, bytes, trend, j->threshold, j->line_threshold, out_gauge);
}

static int is_leak(const struct snap_diff *d, snap_trend trend) {
    return d->n > 2 && (trend == SNAP_TREND_LINEAR || trend == SNAP_TREND_MONOTONIC);
}

static void raise_verdict(struct snap_diff *d, snap_verdict verdict) {
    if (verdict > d->finding.verdict)
        d->finding.verdict = verdict;
}

/* Sites that show one kind of benign growth, for one sentence about all. */
struct benign {
    uint32_t n;
    uint64_t bytes;
    const char *largest; /* label; sites come largest growth first */
    const char *gauge;
};

static void add_benign(struct benign *b, const char *label, uint64_t bytes, const char *gauge) {
    if (b->n++ == 0) {
        b->largest = label;
        b->gauge = gauge;
    }
    b->bytes = b->bytes + bytes < bytes ? UINT64_MAX : b->bytes + bytes;
}

static int tell_benign(struct snap_diff *d, const struct benign *b, const char *kind,
                       const char *what, snap_error *err) {
    if (b->n == 0)
        return 0;
    char size[TEXT_SIZE_MAX];
    return result_not_leak(
        d, err, kind, b->bytes, "%s %s at %" PRIu32 " site%s: %s%s%s%s", text_size(size, b->bytes),
        what, b->n, b->n == 1 ? "" : "s", b->largest, b->n > 1 ? " and others" : "",
        b->gauge != NULL ? ", as the counter " : "", b->gauge != NULL ? b->gauge : "");
}

static int judge_sites(struct judgement *j, snap_error *err) {
    struct snap_diff *const d = j->d;
    struct benign ended = {0}, warm_up = {0}, churn = {0}, load = {0};
    for (size_t i = 0; i < d->n_sites; i++) {
        snap_diff_site *const s = &d->sites[i];
        const char *gauge = NULL;
        const uint64_t grown = s->growth_bytes > 0 ? (uint64_t)s->growth_bytes : 0;
        switch (growth_of(j, s->bytes, &s->trend, &gauge)) {
        case GROWTH_NONE: break;
        case GROWTH_BLAMED:
            s->blamed = 1;
            d->finding.n_blamed++;
            raise_verdict(d, is_leak(d, s->trend) && s->share_ppm >= LEAK_SHARE_PPM
                                 ? SNAP_VERDICT_LEAK
                                 : SNAP_VERDICT_GROWTH);
            break;
        case GROWTH_ENDED: add_benign(&ended, s->label, grown, NULL); break;
        case GROWTH_WARM_UP: add_benign(&warm_up, s->label, grown, NULL); break;
        case GROWTH_REPLACING: add_benign(&churn, s->label, s->bytes[d->n - 1], NULL); break;
        case GROWTH_WITH_LOAD: add_benign(&load, s->label, grown, gauge); break;
        }
    }
    SNAP_TRY(tell_benign(d, &ended, "plateau", "grew and then stopped", err));
    SNAP_TRY(tell_benign(d, &warm_up, "warm-up", "grew only between the first two snapshots", err));
    SNAP_TRY(tell_benign(d, &load, "load-proportional", "follows the load", err));
    return tell_benign(d, &churn, "churn", "of blocks that are replaced all the time", err);
}

static void judge_rows(struct judgement *j, snap_diff_type *rows, size_t n, uint32_t leak_share) {
    for (size_t i = 0; i < n; i++) {
        const char *gauge = NULL;
        if (growth_of(j, rows[i].bytes, &rows[i].trend, &gauge) != GROWTH_BLAMED)
            continue;
        rows[i].blamed = 1;
        raise_verdict(j->d, is_leak(j->d, rows[i].trend) && rows[i].share_ppm >= leak_share
                                ? SNAP_VERDICT_LEAK
                                : SNAP_VERDICT_GROWTH);
    }
}

static uint64_t in_use(const struct snap_diff *d, size_t index) {
    uint64_t bytes = 0;
    for (size_t i = 0; i < d->n_totals; i++)
        bytes = add_sat(bytes, d->totals[i].bytes[index]);
    return bytes;
}

/* Shape and sum of the blamed sites together; of everything if growth is spread too thin. */
static int sum_up_finding(struct snap_diff *d, snap_error *err) {
    uint64_t *const sum = mem_zalloc(d->n, sizeof *sum);
    if (sum == NULL)
        return no_memory(err);
    snap_diff_finding *const f = &d->finding;
    for (size_t i = 0; i < d->n_sites && f->n_blamed > 0; i++) {
        if (!d->sites[i].blamed)
            continue;
        f->share_ppm += d->sites[i].share_ppm;
        for (size_t k = 0; k < d->n; k++)
            sum[k] = add_sat(sum[k], d->sites[i].bytes[k]);
    }
    for (size_t k = 0; k < d->n && f->n_blamed == 0; k++)
        sum[k] = in_use(d, k);
    f->trend = trend_classify(sum, d->position, d->n, UINT32_MAX);
    if (f->n_blamed > 0)
        f->blamed_growth = (int64_t)(sum[d->n - 1] - sum[0]);
    if (f->share_ppm > 1000000)
        f->share_ppm = 1000000; /* shares are rounded one by one */
    f->total_growth = (int64_t)(in_use(d, d->n - 1) - in_use(d, 0));
    free(sum);
    return 0;
}

/* RSS against what the program holds. */
static int judge_rss(struct snap_diff *d, snap_error *err) {
    const snap_diff_snapshot *const first = &d->snapshots[0], *const last = &d->snapshots[d->n - 1];
    if (first->rss_bytes == 0 || last->rss_bytes <= first->rss_bytes)
        return 0;
    const uint64_t grown = last->rss_bytes - first->rss_bytes;
    if (grown < (uint64_t)1 << 20 || grown < first->rss_bytes / 50)
        return 0;
    const uint64_t host_first = first->totals[SNAP_DOMAIN_HOST].bytes,
                   host_last = last->totals[SNAP_DOMAIN_HOST].bytes;
    const uint64_t used = host_last > host_first ? host_last - host_first : 0;
    if (used > grown / 2)
        return 0;
    const uint64_t rest = grown - used;
    const uint64_t idle = last->malloc_free_bytes > first->malloc_free_bytes
                              ? last->malloc_free_bytes - first->malloc_free_bytes
                              : 0;
    char rss_text[TEXT_SIZE_MAX], used_text[TEXT_SIZE_MAX], rest_text[TEXT_SIZE_MAX];
    text_size(rss_text, grown);
    text_size(used_text, used);
    if (idle >= rest / 2)
        return result_not_leak(
            d, err, "allocator-free", idle < rest ? idle : rest,
            "RSS +%s but in use +%s: the allocator holds %s free (fragmentation)", rss_text,
            used_text, text_size(rest_text, last->malloc_free_bytes));
    return result_limit(d, err,
                        "RSS grew by %s but tracked blocks by %s: the rest is not in blocks "
                        "(stacks, mapped files, memory obtained without malloc)",
                        rss_text, used_text);
}

static uint64_t process_counter(const struct snap_diff *d, size_t index, const char *name) {
    uint64_t value;
    return snap_meta_number(d->sources[index], SNAP_META_PROCESS, name, &value) ? value : 0;
}

/* What the processes that are children in the first snapshot and in the last one have. */
struct workers {
    uint32_t n;
    uint64_t private_first, private_last, anonymous_first, anonymous_last;
    uint64_t pid, most; /* the one that made most, and how much */
};

static void find_workers(const struct snap_diff *d, struct workers *out) {
    static const char prefix[] = "child", suffix[] = "_private_dirty_bytes";
    *out = (struct workers){0};
    for (size_t i = 0; i < snap_meta_count(d->sources[d->n - 1]); i++) {
        const snap_meta_row row = snap_meta_get(d->sources[d->n - 1], i);
        char name[64];
        uint64_t before;
        if (row.key != SNAP_META_PROCESS || strncmp(row.name, prefix, sizeof prefix - 1) != 0)
            continue;
        const size_t digits = strspn(row.name + sizeof prefix - 1, "0123456789");
        if (digits == 0 || digits > 20 ||
            strcmp(row.name + sizeof prefix - 1 + digits, suffix) != 0 ||
            !snap_meta_number(d->sources[0], SNAP_META_PROCESS, row.name, &before))
            continue;
        snprintf(name, sizeof name, "%.*s_anonymous_bytes", (int)(sizeof prefix - 1 + digits),
                 row.name);
        out->n++;
        out->private_first = add_sat(out->private_first, before);
        out->private_last = add_sat(out->private_last, row.value);
        const uint64_t first = process_counter(d, 0, name),
                       last = process_counter(d, d->n - 1, name);
        out->anonymous_first = add_sat(out->anonymous_first, first);
        out->anonymous_last = add_sat(out->anonymous_last, last);
        if (last > first && last - first > out->most) {
            out->most = last - first;
            out->pid = strtoull(row.name + sizeof prefix - 1, NULL, 10);
        }
    }
}

/* Private memory of child processes. Pages that they have had since they were forked, and that they
 * no longer share, are no leak of anybody; what they made themselves is told by snapshots of
 * theirs. *is_told: they explain why pages of this process are no longer shared. */
static int judge_children(struct snap_diff *d, int *is_told, snap_error *err) {
    struct workers w;
    find_workers(d, &w);
    *is_told = 0;
    if (w.private_last <= w.private_first)
        return 0;
    const uint64_t grown = w.private_last - w.private_first;
    const uint64_t made =
        w.anonymous_last > w.anonymous_first ? w.anonymous_last - w.anonymous_first : 0;
    char private_text[TEXT_SIZE_MAX], made_text[TEXT_SIZE_MAX];
    text_size(private_text, grown);
    text_size(made_text, made);
    if (grown < (uint64_t)1 << 20 || grown < w.anonymous_first / 50)
        return 0;
    if (made > grown / 2)
        return result_limit(d, err,
                            "memory that %" PRIu32 " child process%s made grew by %s, nowhere more "
                            "than in process %" PRIu64 ": snapshots of this process do not tell "
                            "what it is, those of that one do",
                            w.n, w.n == 1 ? "" : "es", made_text, w.pid);
    *is_told = 1;
    return result_not_leak(
        d, err, "copy-on-write", grown - made,
        "private pages of %" PRIu32
        " child process%s +%s, %s of it made there: the rest was shared "
        "with this process and written to, as reading objects of Python does (it counts "
        "references). No leak here, and over when all is copied; data for workers, of a DataLoader "
        "say, costs less in arrays (numpy, torch.Tensor, pyarrow) than in lists",
        w.n, w.n == 1 ? "" : "es", private_text, made_text);
}

/* Private pages that became more while neither the resident size nor what is in use did: they were
 * shared with another process and have been written to. */
static int judge_private_pages(struct snap_diff *d, snap_error *err) {
    int is_told;
    SNAP_TRY(judge_children(d, &is_told, err));
    if (is_told)
        return 0;
    const uint64_t first = process_counter(d, 0, "private_dirty_bytes"),
                   last = process_counter(d, d->n - 1, "private_dirty_bytes");
    const uint64_t rss_first = d->snapshots[0].rss_bytes,
                   rss_last = d->snapshots[d->n - 1].rss_bytes;
    if (first == 0 || last <= first)
        return 0;
    const uint64_t grown = last - first, used_first = in_use(d, 0), used_last = in_use(d, d->n - 1);
    uint64_t other = rss_last > rss_first ? rss_last - rss_first : 0;
    if (used_last > used_first && used_last - used_first > other)
        other = used_last - used_first;
    if (grown <= other || grown - other < (uint64_t)1 << 20 || grown - other < grown / 2)
        return 0;
    char private_text[TEXT_SIZE_MAX], rss_text[TEXT_SIZE_MAX], used_text[TEXT_SIZE_MAX];
    return result_not_leak(
        d, err, "copy-on-write", grown - other,
        "private pages +%s but RSS %s and in use %s: pages shared with another process were "
        "written to (reference counts do that after a fork)",
        text_size(private_text, grown), text_signed_size(rss_text, (int64_t)(rss_last - rss_first)),
        text_signed_size(used_text, (int64_t)(used_last - used_first)));
}

/* One sentence for all snapshots: what is missing in one of them is usually missing in each. */
static int tell_completeness(struct snap_diff *d, snap_error *err) {
    enum { NAMES_MAX = 16 };
    struct {
        const char *name;
        uint64_t most;
    } missing[NAMES_MAX];
    size_t n_missing = 0, n_incomplete = 0, incomplete = 0;
    for (size_t i = 0; i < d->n; i++) {
        if (d->snapshots[i].complete)
            continue;
        n_incomplete++;
        incomplete = i;
        const snap_snapshot *const s = d->snapshots[i].snapshot;
        for (size_t m = 0; m < snap_meta_count(s); m++) {
            const snap_meta_row row = snap_meta_get(s, m);
            if (row.key != SNAP_META_COMPLETENESS || row.value == 0)
                continue;
            size_t k = 0;
            while (k < n_missing && strcmp(missing[k].name, row.name) != 0)
                k++;
            if (k == NAMES_MAX)
                continue;
            if (k == n_missing)
                missing[n_missing++].name = row.name, missing[k].most = 0;
            if (row.value > missing[k].most)
                missing[k].most = row.value;
        }
    }
    if (n_incomplete == 0)
        return 0;
    char text[320] = "";
    for (size_t k = 0; k < n_missing; k++) {
        const size_t length = strlen(text);
        snprintf(text + length, sizeof text - length, "%s%s %s%" PRIu64, k > 0 ? ", " : "",
                 missing[k].name, n_incomplete > 1 ? "up to " : "", missing[k].most);
    }
    if (n_incomplete == 1)
        return result_limit(d, err, "%.150s is not complete: %s", d->snapshots[incomplete].file,
                            text);
    return result_limit(d, err, "%zu of %zu snapshots are not complete: %s", n_incomplete, d->n,
                        text);
}

/* Where nobody hears the driver, what tensors keep is all that is seen of devices. */
static int has_tensors_alone(const struct snap_diff *d, size_t i) {
    uint64_t tracked = 0;
    return d->snapshots[i].totals[SNAP_DOMAIN_DEVICE].count > 0 &&
           snap_meta_number(d->sources[i], SNAP_META_TRACKED, NULL, &tracked) &&
           (tracked & (SNAP_TRACKED_PYTHON | SNAP_TRACKED_CUDA)) == SNAP_TRACKED_PYTHON;
}

static int tell_limits(struct snap_diff *d, snap_error *err) {
    if (d->n == 2)
        SNAP_TRY(result_limit(d, err,
                              "two snapshots are not a trend: what grew may be filling "
                              "up once; take three or more"));
    SNAP_TRY(tell_completeness(d, err));
    int paths = 0, inherited = 0, no_counters = 0, is_cut = 0, tensors_alone = 0;
    for (size_t i = 0; i < d->n; i++) {
        if (snap_rows(d->sources[i], SNAP_TABLE_NODE) == 0)
            SNAP_TRY(result_limit(d, err, "%.150s holds no blocks: the process was not tracked",
                                  d->snapshots[i].file));
        no_counters |= d->snapshots[i].rss_bytes == 0;
        is_cut |= in_use(d, i) == UINT64_MAX;
        tensors_alone |= has_tensors_alone(d, i);
        if (i == 0)
            continue;
        const char *const a = snap_meta_text(d->sources[i - 1], SNAP_META_LINEAGE);
        const char *const b = snap_meta_text(d->sources[i], SNAP_META_LINEAGE);
        const int same = a != NULL && b != NULL && strcmp(a, b) == 0;
        paths |= !same && d->intervals[i - 1].match == SNAP_MATCH_PATH;
        inherited |= !same && d->intervals[i - 1].match != SNAP_MATCH_PATH;
    }
    if (paths)
        SNAP_TRY(result_limit(d, err,
                              "snapshots of different processes: sites and types are "
                              "compared, single blocks are not"));
    if (inherited)
        SNAP_TRY(result_limit(d, err,
                              "snapshots of a process and its fork: only inherited blocks "
                              "can be the same"));
    if (d->by_address)
        SNAP_TRY(result_limit(d, err,
                              "blocks without a birth were matched by address, type and "
                              "site: a freed one may look like a survivor"));
    if (tensors_alone)
        SNAP_TRY(result_limit(d, err,
                              "device memory is what tensors keep: what allocators hold back "
                              "and what other libraries have needs `snap run`"));
    if (is_cut)
        SNAP_TRY(result_limit(d, err, "some sums are beyond 2^64 bytes and are cut there"));
    if (no_counters)
        SNAP_TRY(result_limit(d, err,
                              "no process counters in some snapshots: memory outside of "
                              "blocks is unknown"));
    return 0;
}

int judge(struct snap_diff *d, snap_error *err) {
    if (d->n < 2)
        return tell_completeness(d, err);
    const uint64_t first = in_use(d, 0), last = in_use(d, d->n - 1);
    const uint64_t most = first > last ? first : last;
    struct judgement j = {.d = d, .threshold = THRESHOLD_BYTES, .line_threshold = THRESHOLD_BYTES};
    if (most / THRESHOLD_DIVISOR > j.threshold)
        j.threshold = most / THRESHOLD_DIVISOR;
    if (most / LINE_DIVISOR > j.line_threshold)
        j.line_threshold = most / LINE_DIVISOR;
    d->finding.threshold_bytes = j.threshold;
    SNAP_TRY(judge_sites(&j, err));
    judge_rows(&j, d->types, d->n_types, LEAK_SHARE_PPM);
    judge_rows(&j, d->totals, d->n_totals, 0);
    judge_rows(&j, d->modules, d->n_modules, LEAK_SHARE_PPM);
    SNAP_TRY(sum_up_finding(d, err));
    SNAP_TRY(judge_rss(d, err));
    SNAP_TRY(devices_judge(d, j.threshold, err));
    SNAP_TRY(judge_private_pages(d, err));
    return tell_limits(d, err);
}
