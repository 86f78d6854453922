/* Resources that are no memory (streams, events, graphs, process groups, ...) and grow in number,
 * by the stack that made them: each such stack is a suspect of its own, judged by counts alone.
 *
 * Needs three snapshots: what a program makes once, when it first needs it, is no leak. Without a
 * stack only those count that live until the program ends them, whoever made them. */
#include "diff/resources.h"

#include <heapsnap/snapdef.h>
#include <string.h>

#include "base/err.h"
#include "diff/process_groups.h"
#include "diff/rows.h"
#include "diff/trend.h"

/* Bytes: a stream of CUDA, say, takes a quarter of a MiB. Events cost less, graphs more. */
#define COST ((int64_t)64 << 10)

static int no_memory(snap_error *err) {
    return err_set(err, SNAP_E_NOMEM, "no memory to compare resources");
}

static int add_resource(void *context, const snap_batch *b, uint32_t i, snap_error *err) {
    const uint64_t kind = b->column[SNAP_RSRC_COL_KIND][i];
    const uint64_t stack = b->column[SNAP_RSRC_COL_STACK][i];
    if ((stack == 0 && kind != SNAP_RSRC_PROCESS_GROUP) || kind > SNAP_RSRC_SURFACE)
        return 0;
    return groups_add(context, kind, stack, b->column[SNAP_RSRC_COL_SIZE][i]) < 0 ? no_memory(err)
                                                                                  : 0;
}

static int add_resources(const snap_snapshot *s, struct groups *groups, snap_error *err) {
    const uint32_t columns =
        1u << SNAP_RSRC_COL_KIND | 1u << SNAP_RSRC_COL_STACK | 1u << SNAP_RSRC_COL_SIZE;
    return rows_each(s, SNAP_TABLE_RSRC, columns, add_resource, groups, err);
}

static const char *advice_of(uint32_t kind) {
    if (kind == SNAP_RSRC_PROCESS_GROUP)
        return "end each group with torch.distributed.destroy_process_group() when it is done "
               "with, or make it once and keep it: del does not end it";
    return "give it back with the counterpart of what made it (cudaStreamDestroy(), destroy, "
           "close())";
}

/* Fills a suspect; 0: it is none. */
static int suspect_of(const struct snap_diff *d, const struct row *row, const char *label,
                      snap_diff_suspect *out) {
    const struct series *const s = &row->series;
    const snap_trend trend = trend_classify(s->counts, d->position, d->n, UINT32_MAX);
    if (d->n < 3 || (trend != SNAP_TREND_LINEAR && trend != SNAP_TREND_MONOTONIC))
        return 0;
    *out = (snap_diff_suspect){
        .suspect_class = SNAP_SUSPECT_RESOURCE,
        .domain = SNAP_DOMAIN_HOST,
        .type = label,
        .counts = s->counts,
        .bytes = s->bytes,
        .growth_bytes = difference_sat(s->bytes[d->n - 1], s->bytes[0]),
        .growth_count = difference_sat(s->counts[d->n - 1], s->counts[0]),
        .trend = trend,
        .match = SNAP_MATCH_EXACT,
        .holder = "",
        .root_kind = "",
        .root_module = "",
        .thread = "",
        .snapshot = row->snapshot,
        .stack = row->stack,
        .advice = advice_of(row->domain),
        .usual = "",
    };
    return out->growth_count > 0;
}

/* What grows beside them is mostly what they need themselves: they come before anything that grew
 * by less than such resources are known to cost. */
static size_t place_of(const snap_diff_suspect *suspects, size_t n, const snap_diff_suspect *s) {
    const int64_t cost = s->growth_count < INT64_MAX / COST ? s->growth_count * COST : INT64_MAX;
    size_t i = 0;
    while (i < n && (suspects[i].growth_bytes >= cost ||
                     (suspects[i].suspect_class == SNAP_SUSPECT_RESOURCE &&
                      suspects[i].growth_count >= s->growth_count)))
        i++;
    return i;
}

static int publish(struct snap_diff *d, const struct tables *t, const snap_diff_options *options,
                   snap_error *err) {
    snap_diff_suspect *const all =
        arena_alloc(&d->arena, (d->n_suspects + t->sites.n + 1) * sizeof *all);
    if (all == NULL)
        return no_memory(err);
    size_t n = d->n_suspects;
    for (size_t i = 0; i < n; i++)
        all[i] = d->suspects[i];
    for (size_t i = 0; i < t->sites.n; i++) {
        const struct row *const row = &t->sites.rows[i];
        const char *const kind = snap_code_name(SNAP_TABLE_RSRC, SNAP_RSRC_COL_KIND, row->domain);
        snap_diff_suspect suspect;
        if (!suspect_of(d, row, kind != NULL ? kind : "resource", &suspect))
            continue;
        if (row->domain == SNAP_RSRC_PROCESS_GROUP)
            SNAP_TRY(process_groups_name(d, row->key, options, &suspect, err));
        const size_t at = place_of(all, n, &suspect);
        memmove(&all[at + 1], &all[at], (n - at) * sizeof *all);
        all[at] = suspect;
        n++;
    }
    if (n > d->n_suspects && d->finding.verdict < SNAP_VERDICT_LEAK)
        d->finding.verdict = SNAP_VERDICT_LEAK;
    d->suspects = all;
    d->n_suspects = n;
    return 0;
}

int resources_find(struct snap_diff *d, const snap_diff_options *options, snap_error *err) {
    struct tables tables;
    int result = tables_fill(&tables, d->sources, d->n, add_resources, err);
    if (result == 0 && tables.sites.n > 0)
        result = publish(d, &tables, options, err);
    d->resource_arena = tables.arena; /* the series stay */
    tables_release(&tables);
    return result;
}
