/* The ranks of one job: what all of them grow by, and which of them differ.
 *
 * Each rank is a process of its own, compared over its snapshots as any other; only steps that all
 * have are taken. The same thing on two ranks is what has the same class, holder and type. A rank
 * differs in a thing if it grew by half as much again as the rank in the middle, and by more than a
 * block or two. With one snapshot of each rank there is no growth: then each rank is compared with
 * the one in the middle, by path. Invariant: a thing is told once, however many ranks have it. */
#include "base/err.h"
#include "diff/result.h"

#include <stdlib.h>
#include <string.h>

#define FASTER 1.5
#define SLACK_BYTES ((int64_t)16 << 10)
#define RANKS_MAX 65536

struct snap_ranks {
    struct arena arena;
    snap_ranks_rank *ranks;
    size_t n;
    snap_ranks_thing *things;
    size_t n_things, capacity;
    int has_steps;
    int64_t first_step, last_step;
    size_t n_steps;
    const char *limits[2];
    size_t n_limits;
};

static int no_memory(snap_error *err) {
    return err_set(err, SNAP_E_NOMEM, "no memory to compare ranks");
}

struct input {
    uint64_t rank;
    const snap_snapshot *snapshot;
    int has_step;
    int64_t step;
    uint64_t sequence;
};

static int compare_inputs(const void *x, const void *y) {
    const struct input *const a = x, *const b = y;
    if (a->rank != b->rank)
        return a->rank < b->rank ? -1 : 1;
    if (a->has_step && b->has_step && a->step != b->step)
        return a->step < b->step ? -1 : 1;
    return a->sequence < b->sequence ? -1 : a->sequence > b->sequence;
}

static size_t count_ranks(const struct input *in, size_t n) {
    size_t n_ranks = 0;
    for (size_t i = 0; i < n; i++)
        n_ranks += i == 0 || in[i].rank != in[i - 1].rank;
    return n_ranks;
}

static int has_step(const struct input *in, size_t n, int64_t step, size_t n_ranks) {
    size_t found = 0;
    for (size_t i = 0; i < n; i++)
        if (in[i].step == step &&
            (i == 0 || in[i - 1].rank != in[i].rank || in[i - 1].step != step))
            found++;
    return found == n_ranks;
}

/* Leaves what all ranks have, *io_n in all: by step, or the same number of snapshots of each.
 * *out_dropped: whether some are not. */
static int keep_common(struct input *in, size_t *io_n, int by_step, int *out_dropped,
                       snap_error *err) {
    const size_t n = *io_n;
    const size_t n_ranks = count_ranks(in, n);
    size_t shortest = n, length = 0, kept = 0;
    for (size_t i = 0; i < n; i++) {
        length = i > 0 && in[i].rank == in[i - 1].rank ? length + 1 : 1;
        if ((i + 1 == n || in[i + 1].rank != in[i].rank) && length < shortest)
            shortest = length;
    }
    struct input *const all = mem_alloc(n, sizeof *all);
    if (all == NULL)
        return no_memory(err);
    memcpy(all, in, n * sizeof *in);
    for (size_t i = 0; i < n; i++) {
        length = i > 0 && all[i].rank == all[i - 1].rank ? length + 1 : 1;
        const int again = i > 0 && all[i].rank == all[i - 1].rank && all[i].step == all[i - 1].step;
        if (by_step ? has_step(all, n, all[i].step, n_ranks) && !again : length <= shortest)
            in[kept++] = all[i];
    }
    free(all);
    *out_dropped = kept < n;
    *io_n = kept;
    return 0;
}

static int compare_growth(const void *x, const void *y) {
    const int64_t a = *(const int64_t *)x, b = *(const int64_t *)y;
    return a < b ? -1 : a > b;
}

/* The lower one of two in the middle: a rank that differs is the larger one. */
static int median(const int64_t *values, size_t n, int64_t *out, snap_error *err) {
    int64_t *const sorted = mem_alloc(n, sizeof *sorted);
    if (sorted == NULL)
        return no_memory(err);
    memcpy(sorted, values, n * sizeof *sorted);
    qsort(sorted, n, sizeof *sorted, compare_growth);
    *out = sorted[(n - 1) / 2];
    free(sorted);
    return 0;
}

static int differs(int64_t growth, int64_t middle) {
    const int64_t least = middle > 0 ? middle : 0;
    return (double)growth > FASTER * (double)least && growth - least > SLACK_BYTES;
}

static int64_t in_use(const snap_diff *d, size_t index) {
    uint64_t bytes = 0;
    for (size_t i = 0; i < d->n_totals; i++)
        bytes = add_sat(bytes, d->totals[i].bytes[index]);
    return bytes < INT64_MAX ? (int64_t)bytes : INT64_MAX;
}

static snap_ranks_thing *find_thing(struct snap_ranks *r, const snap_diff_suspect *s) {
    for (size_t i = 0; i < r->n_things; i++) {
        const snap_diff_suspect *const t = r->things[i].suspect;
        if (t->suspect_class == s->suspect_class && t->domain == s->domain &&
            strcmp(t->holder, s->holder) == 0 && strcmp(t->type, s->type) == 0)
            return &r->things[i];
    }
    return NULL;
}

static int add_thing(struct snap_ranks *r, size_t rank, const snap_diff_suspect *s,
                     snap_error *err) {
    snap_ranks_thing *t = find_thing(r, s);
    if (t == NULL) {
        int64_t *const growth = arena_alloc(&r->arena, r->n * sizeof *growth);
        if (growth == NULL ||
            mem_grow(&r->things, &r->capacity, r->n_things + 1, sizeof *r->things) < 0)
            return no_memory(err);
        memset(growth, 0, r->n * sizeof *growth);
        t = &r->things[r->n_things++];
        *t = (snap_ranks_thing){.suspect = s, .rank = rank, .growth_bytes = growth};
    }
    int64_t *const growth = (int64_t *)(uintptr_t)t->growth_bytes;
    t->n_ranks += growth[rank] == 0;
    growth[rank] += s->growth_bytes;
    if (growth[rank] > growth[t->rank]) {
        t->rank = rank;
        t->suspect = s;
    }
    return 0;
}

static int judge_things(struct snap_ranks *r, snap_error *err) {
    for (size_t i = 0; i < r->n_things; i++) {
        snap_ranks_thing *const t = &r->things[i];
        SNAP_TRY(median(t->growth_bytes, r->n, &t->median_bytes, err));
        for (size_t k = 0; k < r->n; k++)
            t->n_deviating += differs(t->growth_bytes[k], t->median_bytes);
        t->is_common = t->n_deviating == 0;
    }
    return 0;
}

/* What some ranks have alone comes first; then the larger. */
static int compare_things(const void *x, const void *y) {
    const snap_ranks_thing *const a = x, *const b = y;
    if (a->is_common != b->is_common)
        return a->is_common - b->is_common;
    const int64_t growth_a = a->growth_bytes[a->rank], growth_b = b->growth_bytes[b->rank];
    if (growth_a != growth_b)
        return growth_a > growth_b ? -1 : 1;
    const int order = strcmp(a->suspect->holder, b->suspect->holder);
    return order != 0 ? order : strcmp(a->suspect->type, b->suspect->type);
}

/* Sizes or growth of whole ranks against the one in the middle. */
static int judge_ranks(struct snap_ranks *r, size_t *out_middle, snap_error *err) {
    int64_t *const values = mem_alloc(r->n, sizeof *values);
    if (values == NULL)
        return no_memory(err);
    for (size_t i = 0; i < r->n; i++)
        values[i] = r->n_steps > 1 ? r->ranks[i].growth_bytes : r->ranks[i].bytes;
    int64_t middle = 0;
    const int result = median(values, r->n, &middle, err);
    *out_middle = 0;
    for (size_t i = 0; result == 0 && i < r->n; i++) {
        r->ranks[i].deviation_bytes = values[i] - middle;
        if (values[i] == middle)
            *out_middle = i;
        const int64_t noise = (int64_t)snap_diff_get_finding(r->ranks[i].diff)->threshold_bytes;
        r->ranks[i].is_deviating = r->n_steps > 1
                                       ? differs(values[i], middle) && values[i] - middle > noise
                                       : values[i] - middle > middle / 20 + SLACK_BYTES;
    }
    free(values);
    return result;
}

/* One snapshot a rank: those that differ against the one in the middle. */
static int compare_with_middle(struct snap_ranks *r, const struct input *in, size_t middle,
                               const snap_diff_options *options, snap_error *err) {
    for (size_t i = 0; i < r->n; i++) {
        if (!r->ranks[i].is_deviating)
            continue;
        const snap_snapshot *const pair[2] = {in[middle].snapshot, in[i].snapshot};
        snap_diff *d;
        SNAP_TRY(snap_diff_new(&d, pair, 2, options, err));
        snap_diff_free(r->ranks[i].diff);
        r->ranks[i].diff = d;
    }
    return 0;
}

static int collect_things(struct snap_ranks *r, snap_error *err) {
    for (size_t i = 0; i < r->n; i++) {
        size_t n;
        const snap_diff_suspect *const s = snap_diff_suspects(r->ranks[i].diff, &n);
        for (size_t k = 0; k < n; k++)
            SNAP_TRY(add_thing(r, i, &s[k], err));
    }
    SNAP_TRY(judge_things(r, err));
    if (r->n_things > 1)
        qsort(r->things, r->n_things, sizeof *r->things, compare_things);
    return 0;
}

static int compare_each(struct snap_ranks *r, const struct input *in,
                        const snap_diff_options *options, snap_error *err) {
    const snap_snapshot **const of_rank = mem_alloc(r->n_steps, sizeof *of_rank);
    if (of_rank == NULL)
        return no_memory(err);
    int result = 0;
    for (size_t i = 0; result == 0 && i < r->n; i++) {
        const struct input *const mine = in + i * r->n_steps;
        for (size_t k = 0; k < r->n_steps; k++)
            of_rank[k] = mine[k].snapshot;
        r->ranks[i].rank = mine[0].rank;
        result = r->n_steps > 1
                     ? snap_diff_new(&r->ranks[i].diff, of_rank, r->n_steps, options, err)
                     : snap_census_new(&r->ranks[i].diff, of_rank[0], options, err);
        if (result < 0)
            break;
        const snap_diff *const d = r->ranks[i].diff;
        r->ranks[i].bytes = in_use(d, d->n - 1);
        r->ranks[i].growth_bytes = r->ranks[i].bytes - in_use(d, 0);
    }
    free(of_rank);
    return result;
}

static int make(struct snap_ranks *r, struct input *in, size_t n, const snap_diff_options *options,
                snap_error *err) {
    qsort(in, n, sizeof *in, compare_inputs);
    r->has_steps = 1;
    for (size_t i = 0; i < n; i++)
        r->has_steps &= in[i].has_step;
    int was_dropped = 0;
    SNAP_TRY(keep_common(in, &n, r->has_steps, &was_dropped, err));
    r->n = count_ranks(in, n);
    if (r->n < 2 || r->n > RANKS_MAX)
        return err_set(err, SNAP_E_ARG,
                       r->n > RANKS_MAX
                           ? "too many ranks"
                           : "snapshots of two ranks or more at the same steps are needed");
    r->n_steps = n / r->n;
    if (r->has_steps) {
        r->first_step = in[0].step;
        r->last_step = in[r->n_steps - 1].step;
    }
    if (was_dropped)
        r->limits[r->n_limits++] =
            "some snapshots have no counterpart on every rank and were left out";
    if (r->n_steps == 1)
        r->limits[r->n_limits++] =
            "one step is no growth: ranks are compared with the one in the middle";
    r->ranks = mem_zalloc(r->n, sizeof *r->ranks);
    if (r->ranks == NULL)
        return no_memory(err);
    size_t middle = 0;
    SNAP_TRY(compare_each(r, in, options, err));
    SNAP_TRY(judge_ranks(r, &middle, err));
    if (r->n_steps == 1)
        SNAP_TRY(compare_with_middle(r, in, middle, options, err));
    return collect_things(r, err);
}

int snap_ranks_new(snap_ranks **out, const snap_snapshot *const *snapshots, const uint64_t *ranks,
                   size_t n, const snap_diff_options *options, snap_error *err) {
    struct input *const in = mem_alloc(n + 1, sizeof *in);
    struct snap_ranks *const r = mem_zalloc(1, sizeof *r);
    int result = in != NULL && r != NULL ? 0 : no_memory(err);
    if (r != NULL)
        arena_init(&r->arena);
    for (size_t i = 0; result == 0 && i < n; i++) {
        uint64_t step = 0, sequence = 0;
        in[i] = (struct input){.rank = ranks[i], .snapshot = snapshots[i]};
        in[i].has_step = snap_meta_number(snapshots[i], SNAP_META_STEP, NULL, &step);
        in[i].step = (int64_t)step;
        if (snap_meta_number(snapshots[i], SNAP_META_SEQUENCE, NULL, &sequence))
            in[i].sequence = sequence;
    }
    if (result == 0)
        result = n == 0 ? err_set(err, SNAP_E_ARG, "no snapshots") : make(r, in, n, options, err);
    free(in);
    if (result < 0)
        snap_ranks_free(r);
    else
        *out = r;
    return result;
}

void snap_ranks_free(snap_ranks *r) {
    if (r == NULL)
        return;
    for (size_t i = 0; i < r->n && r->ranks != NULL; i++)
        snap_diff_free(r->ranks[i].diff);
    arena_release(&r->arena);
    free(r->ranks);
    free(r->things);
    free(r);
}

const snap_ranks_rank *snap_ranks_ranks(const snap_ranks *r, size_t *out_n) {
    *out_n = r->n;
    return r->ranks;
}

const snap_ranks_thing *snap_ranks_things(const snap_ranks *r, size_t *out_n) {
    *out_n = r->n_things;
    return r->things;
}

const char *const *snap_ranks_limits(const snap_ranks *r, size_t *out_n) {
    *out_n = r->n_limits;
    return r->limits;
}

size_t snap_ranks_steps(const snap_ranks *r, int *out_has_steps, int64_t *out_first,
                        int64_t *out_last) {
    *out_has_steps = r->has_steps;
    *out_first = r->first_step;
    *out_last = r->last_step;
    return r->n_steps;
}

snap_verdict snap_ranks_verdict(const snap_ranks *r) {
    snap_verdict verdict = SNAP_VERDICT_NO_GROWTH;
    for (size_t i = 0; i < r->n; i++) {
        const snap_verdict own =
            r->ranks[i].diff->n < 2 ? SNAP_VERDICT_NO_GROWTH : snap_diff_verdict(r->ranks[i].diff);
        verdict = own > verdict ? own : verdict;
        if (r->ranks[i].is_deviating && verdict < SNAP_VERDICT_GROWTH)
            verdict = SNAP_VERDICT_GROWTH;
    }
    return verdict;
}
