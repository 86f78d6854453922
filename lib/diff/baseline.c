/* Control against treatment: what a run that is known to be good grows by as well is no news.
 *
 * The same thing is what has the same class, holder and type, or, where nobody holds it, the same
 * site: all of these are equal in two processes of one program. Growth is compared over equally
 * many steps. Invariant: nothing is hidden; what is known comes last and is told as such. */
#include "base/err.h"
#include "base/printable.h"
#include "diff/pass.h"
#include "diff/result.h"

#include <stdlib.h>
#include <string.h>

/* Twice as fast is another thing; what differs by less than a block or two is not. */
#define FASTER 1.5
#define SLACK_BYTES 4096

/* How long a comparison is, by what both can say: steps, or sequence numbers, which count snapshots
 * that were not given as well, or snapshots. */
static int64_t span(const struct snap_diff *d, int by_step, int by_sequence) {
    const snap_diff_snapshot *const first = &d->snapshots[0], *const last = &d->snapshots[d->n - 1];
    return by_step       ? last->step - first->step
           : by_sequence ? (int64_t)(last->sequence - first->sequence)
                         : (int64_t)d->n - 1;
}

static int has_sequence(const struct snap_diff *d) {
    return pass_is_same_lineage(d->sources[0], d->sources[d->n - 1]) &&
           d->snapshots[d->n - 1].sequence > d->snapshots[0].sequence;
}

int64_t result_as_long(const struct snap_diff *d, const struct snap_diff *other, int64_t growth) {
    const int by_step = d->position_is_step && other->position_is_step,
              by_sequence = has_sequence(d) && has_sequence(other);
    const double scaled = (double)growth * (double)span(d, by_step, by_sequence) /
                          (double)span(other, by_step, by_sequence);
    return scaled > -9e18 && scaled < 9e18 ? (int64_t)scaled : growth;
}

static int site_key(const struct snap_diff *d, const snap_diff_suspect *s, uint64_t *out,
                    snap_error *err) {
    return snap_stack_key(d->snapshots[s->snapshot].snapshot, s->stack, out, err);
}

static int is_same_thing(const struct snap_diff *d, const snap_diff_suspect *s,
                         const struct snap_diff *other, const snap_diff_suspect *t, int *out,
                         snap_error *err) {
    *out = 0;
    if (s->suspect_class != t->suspect_class || s->domain != t->domain ||
        strcmp(s->holder, t->holder) != 0 || strcmp(s->type, t->type) != 0)
        return 0;
    if (*s->holder != '\0' || s->stack == 0 || t->stack == 0) {
        *out = 1;
        return 0;
    }
    uint64_t a, b;
    SNAP_TRY(site_key(d, s, &a, err));
    SNAP_TRY(site_key(other, t, &b, err));
    *out = a == b;
    return 0;
}

static int mark_suspect(struct snap_diff *d, const struct snap_diff *other, snap_diff_suspect *s,
                        snap_error *err) {
    for (size_t i = 0; i < other->n_suspects; i++) {
        const snap_diff_suspect *const t = &other->suspects[i];
        int is_same;
        SNAP_TRY(is_same_thing(d, s, other, t, &is_same, err));
        if (!is_same)
            continue;
        s->baseline_growth_bytes = result_as_long(d, other, t->growth_bytes);
        const double count = (double)result_as_long(d, other, t->growth_count);
        s->is_known =
            (double)s->growth_bytes <= FASTER * (double)s->baseline_growth_bytes + SLACK_BYTES &&
            (s->suspect_class != SNAP_SUSPECT_RESOURCE ||
             (double)s->growth_count <= FASTER * count + 1);
        return 0;
    }
    return 0;
}

/* Keeps the order among those that are new and among those that are known. */
static int put_known_last(struct snap_diff *d, snap_error *err) {
    snap_diff_suspect *const all = arena_alloc(&d->arena, (d->n_suspects + 1) * sizeof *all);
    if (all == NULL)
        return err_set(err, SNAP_E_NOMEM, "no memory to compare with the baseline");
    size_t n = 0;
    for (int known = 0; known < 2; known++)
        for (size_t i = 0; i < d->n_suspects; i++)
            if (d->suspects[i].is_known == known)
                all[n++] = d->suspects[i];
    d->suspects = all;
    return 0;
}

/* Growth of whole domains beyond that of the baseline is growth even where no suspect has it. */
static int has_new_growth(const struct snap_diff *d, const struct snap_diff *other) {
    for (size_t i = 0; i < d->n_totals; i++) {
        if (!d->totals[i].blamed)
            continue;
        int64_t known = 0;
        for (size_t k = 0; k < other->n_totals; k++)
            if (other->totals[k].domain == d->totals[i].domain)
                known = result_as_long(d, other, other->totals[k].growth_bytes);
        const double limit =
            FASTER * (double)(known > 0 ? known : 0) + (double)d->finding.threshold_bytes;
        if ((double)d->totals[i].growth_bytes > limit)
            return 1;
    }
    return 0;
}

static int tell_known(struct snap_diff *d, snap_error *err) {
    uint64_t bytes = 0, n = 0;
    const snap_diff_suspect *first = NULL;
    for (size_t i = 0; i < d->n_suspects; i++) {
        if (!d->suspects[i].is_known)
            continue;
        first = first != NULL ? first : &d->suspects[i];
        bytes = add_sat(bytes, (uint64_t)d->suspects[i].growth_bytes);
        n++;
    }
    if (n == 0)
        return 0;
    char size[TEXT_SIZE_MAX];
    return result_not_leak(d, err, "baseline", bytes, "%s grew in the baseline as well: %.200s%s",
                           text_size(size, bytes),
                           *first->holder != '\0' ? first->holder : first->type,
                           n > 1 ? " and others" : "");
}

int snap_diff_set_baseline(snap_diff *d, const snap_diff *baseline, int force, snap_error *err) {
    const char *a, *b;
    if (d->n < 2 || baseline->n < 2 || d->baseline != NULL)
        return err_set(err, SNAP_E_ARG, "a baseline is a comparison of two snapshots or more");
    if (!force && !result_is_same_program(d->sources[0], baseline->sources[0], &a, &b))
        return err_set(err, SNAP_E_ARG, "the baseline is of another program: '%.80s' and '%.80s'",
                       a, b);
    for (size_t i = 0; i < d->n_suspects; i++)
        SNAP_TRY(mark_suspect(d, baseline, &d->suspects[i], err));
    SNAP_TRY(put_known_last(d, err));
    SNAP_TRY(tell_known(d, err));
    d->baseline = baseline;
    const int has_new = d->n_suspects > 0 && !d->suspects[0].is_known;
    snap_diff_finding *const f = &d->finding;
    if (!has_new)
        f->verdict = has_new_growth(d, baseline) ? SNAP_VERDICT_GROWTH : SNAP_VERDICT_NO_GROWTH;
    if (has_new) {
        uint64_t share = 0;
        f->blamed_growth = 0;
        for (size_t i = 0; i < d->n_suspects && !d->suspects[i].is_known; i++) {
            f->blamed_growth += d->suspects[i].growth_bytes;
            share += d->suspects[i].share_ppm;
        }
        f->share_ppm = share < 1000000 ? (uint32_t)share : 1000000;
        f->trend = d->suspects[0].trend;
    }
    return 0;
}
