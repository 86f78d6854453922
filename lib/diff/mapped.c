/* Mappings that programs made themselves (mmap, brk), by the stack that made them: memory that
 * grows without any block, such as arenas of allocators that malloc knows nothing of, or stacks of
 * threads.
 *
 * Sums of whole mappings, resident or not; they are never added to those of blocks, which may well
 * lie in them. What malloc maps for itself has no stack and is not here. */
#include "diff/mapped.h"

#include "base/err.h"
#include "diff/rows.h"
#include "diff/trend.h"

#include <stdlib.h>

static int no_memory(snap_error *err) {
    return err_set(err, SNAP_E_NOMEM, "no memory to compare mappings");
}

static int add_region(void *context, const snap_batch *b, uint32_t i, snap_error *err) {
    const uint64_t stack = b->column[SNAP_REGN_COL_STACK][i];
    if (stack == 0)
        return 0;
    return groups_add(context, SNAP_DOMAIN_HOST, stack, b->column[SNAP_REGN_COL_SIZE][i]) < 0
               ? no_memory(err)
               : 0;
}

static int add_regions(const snap_snapshot *s, struct groups *groups, snap_error *err) {
    return rows_each(s, SNAP_TABLE_REGN, 1u << SNAP_REGN_COL_SIZE | 1u << SNAP_REGN_COL_STACK,
                     add_region, groups, err);
}

static int compare_sites(const void *x, const void *y, void *context) {
    const snap_diff_site *const a = x, *const b = y;
    const size_t last = *(const size_t *)context - 1;
    if (a->growth_bytes != b->growth_bytes)
        return a->growth_bytes > b->growth_bytes ? -1 : 1;
    if (a->bytes[last] != b->bytes[last])
        return a->bytes[last] > b->bytes[last] ? -1 : 1;
    return (a->key > b->key) - (a->key < b->key);
}

static int publish(struct snap_diff *d, const struct tables *t, snap_error *err) {
    snap_diff_site *const rows = arena_alloc(&d->arena, (t->sites.n + 1) * sizeof *rows);
    if (rows == NULL)
        return no_memory(err);
    double all = 0;
    for (size_t i = 0; i < t->sites.n; i++) {
        const struct row *const row = &t->sites.rows[i];
        const struct series *const s = &row->series;
        rows[i] = (snap_diff_site){
            .key = row->key,
            .snapshot = row->snapshot,
            .stack = row->stack,
            .domain = row->domain,
            .counts = s->counts,
            .bytes = s->bytes,
            .trend = trend_classify(s->bytes, d->position, d->n, UINT32_MAX),
            .growth_bytes = difference_sat(s->bytes[d->n - 1], s->bytes[0]),
            .growth_count = difference_sat(s->counts[d->n - 1], s->counts[0]),
            .label = t->types.rows[row->type_row - 1].name,
            .module = row->module,
        };
        all += rows[i].growth_bytes > 0 ? (double)rows[i].growth_bytes : 0;
    }
    for (size_t i = 0; i < t->sites.n; i++)
        if (rows[i].growth_bytes > 0)
            rows[i].share_ppm = (uint32_t)(1e6 * (double)rows[i].growth_bytes / all + 0.5);
    if (t->sites.n > 1)
        qsort_r(rows, t->sites.n, sizeof *rows, compare_sites, &d->n);
    d->mapped = rows;
    d->n_mapped = t->sites.n;
    return 0;
}

int mapped_find(struct snap_diff *d, snap_error *err) {
    struct tables tables;
    int result = tables_fill(&tables, d->sources, d->n, add_regions, err);
    if (result == 0)
        result = publish(d, &tables, err);
    /* Series and names stay. */
    d->mapped_arena = tables.arena;
    tables_release(&tables);
    return result;
}

const snap_diff_site *snap_diff_mapped(const snap_diff *d, size_t *out_n) {
    *out_n = d->n_mapped;
    return d->mapped;
}
