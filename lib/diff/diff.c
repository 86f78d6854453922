/* Comparing snapshots, from open files to the finished result: order, passes over neighbours,
 * tables, and the getters.
 *
 * Invariant: the result depends on the files and the options alone, not on the number of threads.
 * Reads rows through pass.c only, and decides nothing: that is judge.c's part. */
#include "base/beside.h"
#include "base/err.h"
#include "diff/cohort.h"
#include "diff/devices.h"
#include "diff/judge.h"
#include "diff/mapped.h"
#include "diff/pass.h"
#include "diff/resources.h"
#include "diff/result.h"
#include "diff/summaries.h"
#include "diff/suspects.h"
#include "diff/trend.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int no_memory(snap_error *err) {
    return err_set(err, SNAP_E_NOMEM, "no memory for the comparison");
}

static const char *base_name(const char *path) {
    const char *const slash = strrchr(path, '/');
    return slash != NULL ? slash + 1 : path;
}

int result_is_same_program(const snap_snapshot *a, const snap_snapshot *b, const char **out_a,
                           const char **out_b) {
    static const char deleted[] = " (deleted)";
    *out_a = snap_meta_text(a, SNAP_META_EXECUTABLE);
    *out_b = snap_meta_text(b, SNAP_META_EXECUTABLE);
    if (*out_a == NULL || *out_b == NULL)
        return 1;
    *out_a = base_name(*out_a);
    *out_b = base_name(*out_b);
    size_t length_a = strlen(*out_a), length_b = strlen(*out_b);
    if (length_a > sizeof deleted - 1 &&
        strcmp(*out_a + length_a - (sizeof deleted - 1), deleted) == 0)
        length_a -= sizeof deleted - 1;
    if (length_b > sizeof deleted - 1 &&
        strcmp(*out_b + length_b - (sizeof deleted - 1), deleted) == 0)
        length_b -= sizeof deleted - 1;
    return length_a == 0 || length_b == 0 ||
           (length_a == length_b && memcmp(*out_a, *out_b, length_a) == 0);
}

static uint64_t sequence_of(const snap_snapshot *s) {
    uint64_t sequence;
    return snap_meta_number(s, SNAP_META_SEQUENCE, NULL, &sequence) ? sequence : 0;
}

/* Puts the snapshots of each lineage in the order of their sequence numbers, in the places that the
 * lineage has. Insertion: n is the number of files on a command line. */
static int sort_by_sequence(const snap_snapshot **s, size_t n) {
    int changed = 0;
    for (size_t i = 1; i < n; i++) {
        size_t at = i;
        for (size_t j = i; j-- > 0;) {
            if (!pass_is_same_lineage(s[j], s[at]) || sequence_of(s[j]) <= sequence_of(s[at]))
                continue;
            const snap_snapshot *const moved = s[j];
            s[j] = s[at];
            s[at] = moved;
            at = j;
            changed = 1;
        }
    }
    return changed;
}

static uint64_t process_counter(const snap_snapshot *s, const char *name) {
    uint64_t value;
    return snap_meta_number(s, SNAP_META_PROCESS, name, &value) ? value : 0;
}

/* Whether a completeness counter says that blocks are missing or out of date. Cut stacks and frees
 * of unknown blocks happen in most programs and leave the set of blocks whole, as do blocks whose
 * memory could not be read or whose types nobody knows. */
static int concerns_blocks(const char *name) {
    return strcmp(name, "truncated_stacks") != 0 && strcmp(name, "unknown_frees") != 0 &&
           strcmp(name, "unread_bytes") != 0 && strcmp(name, "untyped_modules") != 0;
}

static int describe(snap_diff_snapshot *out, const snap_snapshot *s, snap_error *err) {
    *out = (snap_diff_snapshot){.snapshot = s, .file = snap_path(s), .complete = 1};
    uint64_t value;
    const char *const label = snap_meta_text(s, SNAP_META_LABEL);
    out->label = label != NULL ? label : "";
    if (snap_meta_number(s, SNAP_META_STEP, NULL, &value)) {
        out->has_step = 1;
        out->step = (int64_t)value;
    }
    if (snap_meta_number(s, SNAP_META_RANK, NULL, &value)) {
        out->has_rank = 1;
        out->rank = value;
    }
    out->sequence = sequence_of(s);
    if (snap_meta_number(s, SNAP_META_PID, NULL, &value))
        out->pid = value;
    if (snap_meta_number(s, SNAP_META_TIME_NS, NULL, &value))
        out->time_ns = value;
    for (size_t i = 0; i < snap_meta_count(s); i++) {
        const snap_meta_row row = snap_meta_get(s, i);
        if (row.key == SNAP_META_COMPLETENESS && row.value != 0 && concerns_blocks(row.name))
            out->complete = 0;
    }
    out->rss_bytes = process_counter(s, "rss_bytes");
    out->malloc_in_use_bytes = process_counter(s, "malloc_in_use_bytes");
    out->malloc_free_bytes = process_counter(s, "malloc_free_bytes");
    const snap_summary_row *rows;
    size_t n_rows;
    SNAP_TRY(snap_summary(s, &rows, &n_rows, err));
    for (size_t i = 0; i < n_rows; i++)
        if (rows[i].kind == SNAP_SUMM_TOTAL && rows[i].domain <= SNAP_DOMAIN_MANAGED)
            out->totals[rows[i].domain].cached_bytes = rows[i].cached;
    return 0;
}

/* Steps if every snapshot has a greater one than that before it, else 0, 1, 2, ... */
static void set_positions(struct snap_diff *d) {
    d->position_is_step = 1;
    for (size_t i = 0; i < d->n; i++)
        if (!d->snapshots[i].has_step ||
            (i > 0 && d->snapshots[i].step <= d->snapshots[i - 1].step))
            d->position_is_step = 0;
    for (size_t i = 0; i < d->n; i++)
        d->position[i] = d->position_is_step
                             ? (double)d->snapshots[i].step - (double)d->snapshots[0].step
                             : (double)i;
}

static uint64_t sum_bytes(const struct groups *g, uint64_t *out_count) {
    uint64_t bytes = 0;
    *out_count = 0;
    for (size_t i = 0; i < g->n; i++) {
        bytes = add_sat(bytes, g->rows[i].bytes);
        *out_count = add_sat(*out_count, g->rows[i].count);
    }
    return bytes;
}

static uint64_t minus(uint64_t a, uint64_t b) {
    return a > b ? a - b : 0;
}

/* The interval between two snapshots whose blocks were joined. */
static void set_joined_interval(snap_diff_interval *out, const struct pass_result *r) {
    uint64_t count_a, count_b;
    const uint64_t bytes_a = sum_bytes(&r->earlier, &count_a);
    const uint64_t bytes_b = sum_bytes(&r->later, &count_b);
    *out = (snap_diff_interval){
        .new_count = minus(count_b, r->surviving_count),
        .new_bytes = minus(bytes_b, r->surviving_bytes),
        .freed_count = minus(count_a, r->surviving_count),
        .freed_bytes = minus(bytes_a, r->surviving_bytes),
        .surviving_count = r->surviving_count,
        .surviving_bytes = r->surviving_bytes,
        .match = r->by_address ? SNAP_MATCH_ADDRESS : SNAP_MATCH_EXACT,
    };
}

/* The interval between snapshots of two processes: sums by site. */
static void set_path_interval(snap_diff_interval *out, const struct table *sites, size_t index) {
    *out = (snap_diff_interval){.match = SNAP_MATCH_PATH};
    for (size_t i = 0; i < sites->n; i++) {
        const struct series *const s = &sites->rows[i].series;
        const uint64_t count_a = s->counts[index], count_b = s->counts[index + 1];
        const uint64_t bytes_a = s->bytes[index], bytes_b = s->bytes[index + 1];
        const uint64_t count = count_a < count_b ? count_a : count_b;
        const uint64_t bytes = bytes_a < bytes_b ? bytes_a : bytes_b;
        out->surviving_count = add_sat(out->surviving_count, count);
        out->surviving_bytes = add_sat(out->surviving_bytes, bytes);
        out->new_count = add_sat(out->new_count, count_b - count);
        out->new_bytes = add_sat(out->new_bytes, bytes_b - bytes);
        out->freed_count = add_sat(out->freed_count, count_a - count);
        out->freed_bytes = add_sat(out->freed_bytes, bytes_a - bytes);
    }
}

/* The greatest rate is for nothing freed only: one in a million is not rounded away. */
static void set_match_rates(struct snap_diff *d) {
    for (size_t i = 0; i + 1 < d->n; i++) {
        snap_diff_interval *const v = &d->intervals[i];
        const uint64_t earlier = add_sat(v->surviving_count, v->freed_count);
        if (earlier != 0)
            v->match_ppm = (uint32_t)(1e6 * ((double)v->surviving_count / (double)earlier));
    }
}

struct passes {
    struct snap_diff *d;
    struct tables *tables;
    struct source *sources;
    int *is_added; /* per snapshot: its sums are in the tables */
    uint64_t first_mark;
    unsigned threads;
    const snap_diff_options *options;
    uint64_t done, total;
};

static int run_pass(struct passes *p, struct source *earlier, struct source *later,
                    struct pass_relation relation, struct pass_result *result, snap_error *err) {
    struct pass_input in = {
        .earlier = earlier,
        .later = later,
        .relation = relation,
        .cohort = p->d->n == 2 && !p->options->no_graph ? &p->d->cohort : NULL,
        .newer_than = later == &p->sources[p->d->n - 1] ? p->first_mark : UINT64_MAX,
        .threads = p->threads,
        .progress = p->options->progress,
        .progress_context = p->options->progress_context,
        .progress_done = p->done,
        .progress_total = p->total,
    };
    const int status = pass_run(&in, result, err);
    p->done += later->n_rows + (earlier != NULL ? earlier->n_rows : 0);
    return status;
}

static int add_once(struct passes *p, size_t index, const struct groups *groups, int was_joined,
                    snap_error *err) {
    if (p->is_added[index])
        return 0;
    p->is_added[index] = 1;
    return tables_add(p->tables, p->d->sources[index], index, groups, was_joined, err);
}

/* Joins neighbours that are of related processes; whatever is in no join is summed up alone. */
static int run_passes(struct passes *p, snap_error *err) {
    struct snap_diff *const d = p->d;
    for (size_t i = 0; i < d->n; i++) {
        const struct pass_relation before =
            i > 0 ? pass_relation_of(d->sources[i - 1], d->sources[i]) : (struct pass_relation){0};
        const struct pass_relation after = i + 1 < d->n
                                               ? pass_relation_of(d->sources[i], d->sources[i + 1])
                                               : (struct pass_relation){0};
        struct pass_result result = {0};
        int status = 0;
        if (before.match) {
            status = run_pass(p, &p->sources[i - 1], &p->sources[i], before, &result, err);
            if (status == 0) {
                set_joined_interval(&d->intervals[i - 1], &result);
                d->by_address |= result.by_address;
                status = add_once(p, i - 1, &result.earlier, 0, err);
            }
            if (status == 0)
                status = add_once(p, i, &result.later, 1, err);
        } else if (!after.match) {
            status = run_pass(p, NULL, &p->sources[i], before, &result, err);
            if (status == 0)
                status = add_once(p, i, &result.later, 0, err);
        }
        pass_result_release(&result);
        if (status < 0)
            return status;
        /* The sorted copy of an unsorted file is large; nobody needs it after its neighbours. */
        if (i > 0)
            source_release(&p->sources[i - 1]);
    }
    return 0;
}

struct order {
    size_t n;
};

static int compare_rows(const void *x, const void *y, void *context) {
    const struct row *const a = x, *const b = y;
    const size_t last = ((const struct order *)context)->n - 1;
    const int64_t growth_a = difference_sat(a->series.bytes[last], a->series.bytes[0]);
    const int64_t growth_b = difference_sat(b->series.bytes[last], b->series.bytes[0]);
    if (growth_a != growth_b)
        return growth_a > growth_b ? -1 : 1;
    if (a->series.bytes[last] != b->series.bytes[last])
        return a->series.bytes[last] > b->series.bytes[last] ? -1 : 1;
    if (a->domain != b->domain)
        return a->domain < b->domain ? -1 : 1;
    if (a->key != b->key)
        return a->key < b->key ? -1 : 1;
    return strcmp(a->name, b->name);
}

static int compare_domains(const void *x, const void *y) {
    const struct row *const a = x, *const b = y;
    return a->domain < b->domain ? -1 : a->domain > b->domain;
}

static snap_trend trend_of(const struct snap_diff *d, const struct series *s) {
    uint32_t overlap_ppm = UINT32_MAX;
    if (s->later_count > 0)
        overlap_ppm =
            (uint32_t)(1e6 * (double)minus(s->later_count, s->later_new) / (double)s->later_count);
    return trend_classify(s->bytes, d->position, d->n, overlap_ppm);
}

/* Sum of what grew, for shares. */
static double growth_of(const struct table *t, size_t n) {
    double sum = 0;
    for (size_t i = 0; i < t->n; i++) {
        const struct series *const s = &t->rows[i].series;
        sum += (double)minus(s->bytes[n - 1], s->bytes[0]);
    }
    return sum;
}

static uint32_t share_of(int64_t growth, double all) {
    return growth > 0 && all > 0 ? (uint32_t)(1e6 * (double)growth / all + 0.5) : 0;
}

static int publish_types(struct snap_diff *d, struct table *t, snap_diff_type **out, size_t *out_n,
                         snap_error *err) {
    snap_diff_type *const rows = arena_alloc(&d->arena, (t->n + 1) * sizeof *rows);
    if (rows == NULL)
        return no_memory(err);
    const double all = growth_of(t, d->n);
    for (size_t i = 0; i < t->n; i++) {
        const struct row *const row = &t->rows[i];
        const struct series *const s = &row->series;
        const int64_t growth = difference_sat(s->bytes[d->n - 1], s->bytes[0]);
        rows[i] = (snap_diff_type){
            .name = row->name,
            .domain = row->domain,
            .counts = s->counts,
            .bytes = s->bytes,
            .trend = trend_of(d, s),
            .growth_bytes = growth,
            .growth_count = difference_sat(s->counts[d->n - 1], s->counts[0]),
            .share_ppm = share_of(growth, all),
        };
    }
    *out = rows;
    *out_n = t->n;
    return 0;
}

/* Blocks of the last snapshot that the first did not have: two snapshots were joined, and over more
 * births tell if they are of one lineage; else what the last has more. */
static void set_new(const struct snap_diff *d, snap_diff_site *site, const struct series *s,
                    int births_tell) {
    if (d->n == 2 && d->intervals[0].match != SNAP_MATCH_PATH) {
        site->new_count = s->later_new;
        site->new_bytes = s->later_new_bytes;
        return;
    }
    if (births_tell && !d->by_address) {
        site->new_count = s->newer_count;
        site->new_bytes = s->newer_bytes;
        return;
    }
    site->new_count = minus(s->counts[d->n - 1], s->counts[0]);
    site->new_bytes = minus(s->bytes[d->n - 1], s->bytes[0]);
}

static int publish_sites(struct snap_diff *d, struct tables *t, int births_tell, snap_error *err) {
    snap_diff_site *const rows = arena_alloc(&d->arena, (t->sites.n + 1) * sizeof *rows);
    if (rows == NULL)
        return no_memory(err);
    const double all = growth_of(&t->sites, d->n);
    for (size_t i = 0; i < t->sites.n; i++) {
        const struct row *const row = &t->sites.rows[i];
        const struct series *const s = &row->series;
        const int64_t growth = difference_sat(s->bytes[d->n - 1], s->bytes[0]);
        rows[i] = (snap_diff_site){
            .key = row->key,
            .snapshot = row->snapshot,
            .stack = row->stack,
            .domain = row->domain,
            .counts = s->counts,
            .bytes = s->bytes,
            .trend = trend_of(d, s),
            .growth_bytes = growth,
            .growth_count = difference_sat(s->counts[d->n - 1], s->counts[0]),
            .share_ppm = share_of(growth, all),
            .label = row->name,
            .module = row->module,
        };
        set_new(d, &rows[i], s, births_tell);
    }
    d->sites = rows;
    d->n_sites = t->sites.n;
    return 0;
}

static void sort_rows(struct table *t, size_t n_snapshots) {
    struct order order = {n_snapshots};
    if (t->n > 1)
        qsort_r(t->rows, t->n, sizeof *t->rows, compare_rows, &order);
}

static int publish(struct snap_diff *d, struct tables *t, int births_tell, snap_error *err) {
    /* The label of a site is the name of the type that stands for it; sorting moves types. */
    for (size_t i = 0; i < t->sites.n; i++)
        t->sites.rows[i].name = t->types.rows[t->sites.rows[i].type_row - 1].name;
    sort_rows(&t->sites, d->n);
    /* Types that stand only for sites all of whose blocks have a type of their own are empty. */
    size_t n_types = 0;
    for (size_t i = 0; i < t->types.n; i++) {
        uint64_t all = 0;
        for (size_t k = 0; k < d->n; k++)
            all |= t->types.rows[i].series.counts[k];
        if (all != 0)
            t->types.rows[n_types++] = t->types.rows[i];
    }
    t->types.n = n_types;
    sort_rows(&t->types, d->n);
    sort_rows(&t->modules, d->n);
    if (t->totals.n > 1)
        qsort(t->totals.rows, t->totals.n, sizeof *t->totals.rows, compare_domains);
    SNAP_TRY(publish_sites(d, t, births_tell, err));
    SNAP_TRY(publish_types(d, &t->types, &d->types, &d->n_types, err));
    SNAP_TRY(publish_types(d, &t->modules, &d->modules, &d->n_modules, err));
    SNAP_TRY(publish_types(d, &t->totals, &d->totals, &d->n_totals, err));
    for (size_t i = 0; i < d->n_totals; i++)
        for (size_t k = 0; k < d->n && d->totals[i].domain <= SNAP_DOMAIN_MANAGED; k++) {
            d->snapshots[k].totals[d->totals[i].domain].count = d->totals[i].counts[k];
            d->snapshots[k].totals[d->totals[i].domain].bytes = d->totals[i].bytes[k];
        }
    return 0;
}

/* With births of one lineage, "born after the first" is "birth above the first's mark". */
static int find_first_mark(const struct snap_diff *d, uint64_t *out) {
    *out = UINT64_MAX;
    for (size_t i = 0; i + 1 < d->n; i++) {
        const struct pass_relation r = pass_relation_of(d->sources[i], d->sources[i + 1]);
        if (!r.match || r.only_inherited_a || r.only_inherited_b)
            return 0;
    }
    return d->n > 1 && sequence_of(d->sources[0]) <= sequence_of(d->sources[d->n - 1]) &&
           snap_meta_number(d->sources[0], SNAP_META_BIRTH_MARK, NULL, out);
}

static int compare(struct snap_diff *d, const snap_diff_options *options, snap_error *err) {
    struct tables tables;
    struct passes passes = {.d = d, .tables = &tables, .options = options};
    int status = tables_init(&tables, d->n) < 0 ? no_memory(err) : 0;
    passes.sources = mem_zalloc(d->n, sizeof *passes.sources);
    passes.is_added = mem_zalloc(d->n, sizeof *passes.is_added);
    if (status == 0 && (passes.sources == NULL || passes.is_added == NULL))
        status = no_memory(err);
    for (size_t i = 0; i < d->n && status == 0; i++) {
        status = source_init(&passes.sources[i], d->sources[i], err);
        passes.total += passes.sources[i].n_rows * (i > 0 && i + 1 < d->n ? 2 : 1);
    }
    const int births_tell = find_first_mark(d, &passes.first_mark);
    passes.threads = beside_threads(options->threads, 4);
    if (status == 0)
        status = run_passes(&passes, err);
    for (size_t i = 0; i + 1 < d->n && status == 0; i++)
        if (!pass_relation_of(d->sources[i], d->sources[i + 1]).match)
            set_path_interval(&d->intervals[i], &tables.sites, i);
    set_match_rates(d);
    if (status == 0)
        status = publish(d, &tables, births_tell, err);
    /* Series and names stay; the rest was scaffolding. */
    d->table_arena = tables.arena;
    for (size_t i = 0; i < d->n && passes.sources != NULL; i++)
        source_release(&passes.sources[i]);
    free(passes.sources);
    free(passes.is_added);
    tables_release(&tables);
    return status;
}

/* The same from summaries: which blocks are the same nobody knows then. */
static int compare_summaries(struct snap_diff *d, snap_error *err) {
    struct tables tables;
    size_t n_unlisted = 0;
    d->from_summaries = 1;
    int status = tables_init(&tables, d->n) < 0 ? no_memory(err) : 0;
    if (status == 0)
        status = summaries_fill(&tables, d->sources, d->n, &n_unlisted, err);
    for (size_t i = 0; i + 1 < d->n && status == 0; i++)
        set_path_interval(&d->intervals[i], &tables.sites, i);
    set_match_rates(d);
    if (status == 0)
        status = publish(d, &tables, 0, err);
    d->table_arena = tables.arena;
    tables_release(&tables);
    if (status == 0)
        status = result_limit(d, err,
                              "only the summaries were read: who holds what grew, and which blocks "
                              "are new, is not known");
    if (status == 0 && n_unlisted > 0)
        status = result_limit(d, err,
                              "summaries list the largest types and sites: one that is missing in "
                              "a file is taken to be as large there as the smallest listed");
    return status;
}

struct hook_row {
    snap_diff_hook hook;
    size_t snapshot;
    uint64_t count;
};

static int compare_hook_rows(const void *x, const void *y) {
    const snap_diff_hook *const a = &((const struct hook_row *)x)->hook;
    const snap_diff_hook *const b = &((const struct hook_row *)y)->hook;
    int order = strcmp(a->registry, b->registry);
    if (order == 0)
        order = strcmp(a->callback, b->callback);
    if (order == 0)
        order = strcmp(a->file, b->file);
    return order != 0 ? order : a->line < b->line ? -1 : a->line > b->line;
}

static int compare_hooks(const void *x, const void *y, void *context) {
    const snap_diff_hook *const a = x, *const b = y;
    const size_t last = ((const struct order *)context)->n - 1;
    const int64_t growth_a = difference_sat(a->counts[last], a->counts[0]);
    const int64_t growth_b = difference_sat(b->counts[last], b->counts[0]);
    if (growth_a != growth_b)
        return growth_a > growth_b ? -1 : 1;
    return compare_hook_rows(&(struct hook_row){.hook = *a}, &(struct hook_row){.hook = *b});
}

static int read_hooks(const snap_snapshot *s, size_t index, struct hook_row **rows, size_t *n,
                      size_t *capacity, snap_error *err) {
    const uint32_t columns = 1u << SNAP_HOOK_COL_REGISTRY | 1u << SNAP_HOOK_COL_CALLBACK |
                             1u << SNAP_HOOK_COL_FILE | 1u << SNAP_HOOK_COL_LINE |
                             1u << SNAP_HOOK_COL_COUNT;
    snap_batch batch;
    snap_batch_init(&batch);
    int result = 0;
    for (uint32_t chunk = 0; result == 0 && chunk < snap_n_chunks(s, SNAP_TABLE_HOOK); chunk++) {
        result = snap_batch_read(s, SNAP_TABLE_HOOK, chunk, columns, &batch, err);
        if (result == 0 && mem_grow(rows, capacity, *n + batch.n_rows, sizeof **rows) < 0)
            result = no_memory(err);
        for (uint32_t i = 0; result == 0 && i < batch.n_rows; i++) {
            struct hook_row *const row = &(*rows)[*n];
            *row = (struct hook_row){.snapshot = index};
            row->hook.line = batch.column[SNAP_HOOK_COL_LINE][i];
            row->count = batch.column[SNAP_HOOK_COL_COUNT][i];
            row->count = row->count == 0 ? 1 : row->count;
            result =
                snap_string(s, batch.column[SNAP_HOOK_COL_REGISTRY][i], &row->hook.registry, err);
            if (result == 0)
                result = snap_string(s, batch.column[SNAP_HOOK_COL_CALLBACK][i],
                                     &row->hook.callback, err);
            if (result == 0)
                result = snap_string(s, batch.column[SNAP_HOOK_COL_FILE][i], &row->hook.file, err);
            *n += result == 0;
        }
    }
    snap_batch_release(&batch);
    return result;
}

static int fold_hooks(struct snap_diff *d, struct hook_row *rows, size_t n, snap_error *err) {
    if (n == 0)
        return 0;
    qsort(rows, n, sizeof *rows, compare_hook_rows);
    d->hooks = arena_alloc(&d->arena, n * sizeof *d->hooks);
    if (d->hooks == NULL)
        return no_memory(err);
    for (size_t i = 0; i < n; i++) {
        if (i == 0 || compare_hook_rows(&rows[i - 1], &rows[i]) != 0) {
            uint64_t *const counts = arena_alloc(&d->arena, d->n * sizeof *counts);
            if (counts == NULL)
                return no_memory(err);
            memset(counts, 0, d->n * sizeof *counts);
            rows[i].hook.counts = counts;
            d->hooks[d->n_hooks++] = rows[i].hook;
        } else {
            rows[i].hook.counts = rows[i - 1].hook.counts;
        }
        uint64_t *const count = (uint64_t *)(uintptr_t)&rows[i].hook.counts[rows[i].snapshot];
        *count = add_sat(*count, rows[i].count);
    }
    struct order order = {d->n};
    qsort_r(d->hooks, d->n_hooks, sizeof *d->hooks, compare_hooks, &order);
    return 0;
}

static int collect_hooks(struct snap_diff *d, snap_error *err) {
    struct hook_row *rows = NULL;
    size_t n = 0, capacity = 0;
    int status = 0;
    for (size_t i = 0; i < d->n && status == 0; i++)
        status = read_hooks(d->sources[i], i, &rows, &n, &capacity, err);
    if (status == 0)
        status = fold_hooks(d, rows, n, err);
    free(rows);
    return status;
}

static int check_programs(const snap_snapshot *const *s, size_t n, snap_error *err) {
    for (size_t i = 1; i < n; i++) {
        const char *a, *b;
        if (!result_is_same_program(s[0], s[i], &a, &b))
            return err_set(err, SNAP_E_ARG, "snapshots of different programs: '%.80s' and '%.80s'",
                           a, b);
    }
    return 0;
}

static int note_order(struct snap_diff *d, const snap_diff_options *options, snap_error *err) {
    if (d->was_sorted)
        SNAP_TRY(result_limit(d, err,
                              "the snapshots were put in the order of their sequence "
                              "numbers, not in the order given"));
    int is_backward = 0, is_same = 0, is_foreign = 0;
    for (size_t i = 0; i < d->n; i++)
        for (size_t j = i + 1; j < d->n; j++) {
            const char *a, *b;
            const int related = pass_is_same_lineage(d->sources[i], d->sources[j]);
            is_backward |= related && sequence_of(d->sources[i]) > sequence_of(d->sources[j]);
            is_same |= related && sequence_of(d->sources[i]) == sequence_of(d->sources[j]);
            is_foreign |= !result_is_same_program(d->sources[i], d->sources[j], &a, &b);
        }
    if (is_backward)
        SNAP_TRY(result_limit(d, err,
                              "the order given runs against time: growth means less memory "
                              "later"));
    if (is_same)
        SNAP_TRY(result_limit(d, err, "one snapshot occurs more than once"));
    if (is_foreign)
        SNAP_TRY(result_limit(d, err, "the snapshots are of different programs"));
    return 0;
}

static int make(struct snap_diff *d, const snap_snapshot *const *snapshots,
                const snap_diff_options *options, snap_error *err) {
    const size_t n = d->n;
    d->sources = arena_alloc(&d->arena, n * sizeof *d->sources);
    d->snapshots = arena_alloc(&d->arena, n * sizeof *d->snapshots);
    d->intervals = arena_alloc(&d->arena, n * sizeof *d->intervals);
    d->position = arena_alloc(&d->arena, n * sizeof *d->position);
    if (d->sources == NULL || d->snapshots == NULL || d->intervals == NULL || d->position == NULL)
        return no_memory(err);
    memcpy(d->sources, snapshots, n * sizeof *d->sources);
    memset(d->intervals, 0, n * sizeof *d->intervals);
    if (!options->keep_order)
        d->was_sorted = sort_by_sequence(d->sources, n);
    for (size_t i = 0; i < n; i++)
        SNAP_TRY(describe(&d->snapshots[i], d->sources[i], err));
    set_positions(d);
    if (options->summary_only) {
        SNAP_TRY(compare_summaries(d, err));
    } else {
        SNAP_TRY(compare(d, options, err));
        SNAP_TRY(collect_hooks(d, err));
        SNAP_TRY(mapped_find(d, err));
        SNAP_TRY(devices_find(d, err));
    }
    SNAP_TRY(note_order(d, options, err));
    SNAP_TRY(judge(d, err));
    if (options->summary_only && d->n > 1)
        return suspects_from_sites(d, err);
    if (d->n < 2)
        return options->hook_bytes ? hooks_measure(d, options, err) : 0;
    SNAP_TRY(suspects_find(d, pass_relation_of(d->sources[0], d->sources[n - 1]), options, err));
    return resources_find(d, options, err);
}

static int new_result(snap_diff **out, const snap_snapshot *const *snapshots, size_t n,
                      const snap_diff_options *given, snap_error *err) {
    snap_diff_options options = {0};
    if (given != NULL)
        memcpy(&options, given,
               given->struct_size == 0 || given->struct_size > sizeof options ? sizeof options
                                                                              : given->struct_size);
    if (!options.force)
        SNAP_TRY(check_programs(snapshots, n, err));
    struct snap_diff *const d = mem_zalloc(1, sizeof *d);
    if (d == NULL)
        return no_memory(err);
    arena_init(&d->arena);
    arena_init(&d->table_arena);
    arena_init(&d->mapped_arena);
    arena_init(&d->resource_arena);
    d->n = n;
    const int status = make(d, snapshots, &options, err);
    if (status < 0) {
        snap_diff_free(d);
        return status;
    }
    *out = d;
    return 0;
}

int snap_diff_new(snap_diff **out, const snap_snapshot *const *snapshots, size_t n,
                  const snap_diff_options *options, snap_error *err) {
    if (n < 2)
        return err_set(err, SNAP_E_ARG, "a comparison needs two snapshots or more");
    return new_result(out, snapshots, n, options, err);
}

int snap_census_new(snap_diff **out, const snap_snapshot *snapshot,
                    const snap_diff_options *options, snap_error *err) {
    return new_result(out, &snapshot, 1, options, err);
}

void snap_diff_free(snap_diff *d) {
    if (d == NULL)
        return;
    arena_release(&d->arena);
    arena_release(&d->table_arena);
    arena_release(&d->mapped_arena);
    arena_release(&d->resource_arena);
    cohort_release(&d->cohort);
    free(d->limits);
    free(d->not_leaks);
    free(d);
}

const snap_diff_finding *snap_diff_get_finding(const snap_diff *d) {
    return &d->finding;
}

snap_verdict snap_diff_verdict(const snap_diff *d) {
    return d->finding.verdict;
}

size_t snap_diff_n_snapshots(const snap_diff *d) {
    return d->n;
}

const snap_diff_snapshot *snap_diff_snapshots(const snap_diff *d) {
    return d->snapshots;
}

const snap_diff_interval *snap_diff_intervals(const snap_diff *d) {
    return d->intervals;
}

const snap_diff_type *snap_diff_types(const snap_diff *d, size_t *out_n) {
    *out_n = d->n_types;
    return d->types;
}

const snap_diff_type *snap_diff_modules(const snap_diff *d, size_t *out_n) {
    *out_n = d->n_modules;
    return d->modules;
}

const snap_diff_site *snap_diff_sites(const snap_diff *d, size_t *out_n) {
    *out_n = d->n_sites;
    return d->sites;
}

const snap_diff_type *snap_diff_totals(const snap_diff *d, size_t *out_n) {
    *out_n = d->n_totals;
    return d->totals;
}

const snap_diff_hook *snap_diff_hooks(const snap_diff *d, size_t *out_n) {
    *out_n = d->n_hooks;
    return d->hooks;
}

const snap_diff_suspect *snap_diff_suspects(const snap_diff *d, size_t *out_n) {
    *out_n = d->n_suspects;
    return d->suspects;
}

const char *const *snap_diff_limits(const snap_diff *d, size_t *out_n) {
    *out_n = d->n_limits;
    return d->limits;
}

const snap_diff_not_leak *snap_diff_not_leaks(const snap_diff *d, size_t *out_n) {
    *out_n = d->n_not_leaks;
    return d->not_leaks;
}

const char *snap_trend_name(snap_trend trend) {
    switch (trend) {
    case SNAP_TREND_FLAT: return "flat";
    case SNAP_TREND_LINEAR: return "linear";
    case SNAP_TREND_MONOTONIC: return "monotonic";
    case SNAP_TREND_STEP: return "step";
    case SNAP_TREND_PLATEAU: return "plateau";
    case SNAP_TREND_CHURN: return "churn";
    case SNAP_TREND_NOISY: return "noisy";
    }
    return "?";
}

const char *snap_verdict_name(snap_verdict verdict) {
    switch (verdict) {
    case SNAP_VERDICT_NO_GROWTH: return "no-growth";
    case SNAP_VERDICT_GROWTH: return "growth";
    case SNAP_VERDICT_LEAK: return "leak";
    }
    return "?";
}

const char *snap_match_name(snap_match match) {
    switch (match) {
    case SNAP_MATCH_EXACT: return "exact";
    case SNAP_MATCH_ADDRESS: return "address";
    case SNAP_MATCH_PATH: return "path";
    }
    return "?";
}

const char *snap_suspect_class_name(snap_suspect_class suspect_class) {
    switch (suspect_class) {
    case SNAP_SUSPECT_ROOTED: return "rooted";
    case SNAP_SUSPECT_HOOK: return "hook";
    case SNAP_SUSPECT_AUTOGRAD: return "autograd";
    case SNAP_SUSPECT_GARBAGE: return "garbage";
    case SNAP_SUSPECT_NATIVE_CYCLE: return "native-cycle";
    case SNAP_SUSPECT_NATIVE_HELD: return "native-held";
    case SNAP_SUSPECT_LOST: return "lost";
    case SNAP_SUSPECT_DEVICE: return "device";
    case SNAP_SUSPECT_RESOURCE: return "resource";
    }
    return "?";
}
