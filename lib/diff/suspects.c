/* Suspects: candidates whose growth is beyond noise, with series, holder, chain, site and advice,
 * the culprit first.
 *
 * Candidates come from the graphs of the first and the last snapshot. A candidate's growth at a
 * site is at first no more than the site's own, which is known exactly: what one holder gained as
 * another lost it is churn. Those that matter are then measured in the graphs of all the other
 * snapshots; in files without references, and where those are too many to be read, a candidate has
 * the shape over time of its sites. One that itself grew from each snapshot to the next has that
 * growth, whatever else its sites freed meanwhile. Invariant: the growth of all other suspects
 * together is at most that of all sites that grew; the order is by what was found, then
 * canonical. Benign growth is told by judge.c from sites; here it is only left out. */
#include "diff/suspects.h"

#include "base/err.h"
#include "base/printable.h"
#include "diff/candidates.h"
#include "diff/imports.h"
#include "diff/judge.h"
#include "diff/series.h"
#include "diff/suspect_text.h"
#include "diff/trend.h"
#include "diff/usual.h"

#include <stdlib.h>
#include <string.h>

/* Growth of a candidate up to here is noise, if it is on a line over as many snapshots. */
#define LINE_4_BYTES ((uint64_t)4 << 10)
#define LINE_3_BYTES ((uint64_t)16 << 10)
#define RSS_DIVISOR 1000
#define LEAK_SHARE_PPM 100000u
#define CHANCE_PPM 10000u
#define SHARED_MAX 64 /* suspects for which what they hold alone is worked out */
/* A block that is not larger is nothing but the registration of a callback. */
#define REGISTRATION_BYTES 96

static int no_memory(snap_error *err) {
    return err_set(err, SNAP_E_NOMEM, "no memory for suspects");
}

static uint64_t mix(uint64_t h, uint64_t value) {
    h = (h ^ value) * 0x9e3779b97f4a7c15ull;
    h ^= h >> 32;
    h *= 0xd6e8feb86659fd93ull;
    return h ^ h >> 29;
}

static uint64_t minus(uint64_t a, uint64_t b) {
    return a > b ? a - b : 0;
}

/* The row of sites (blocks with a stack) or types (those without) that a cell's blocks are in. */
struct source_row {
    const uint64_t *counts, *bytes;
    double net, moved; /* bytes of all cells with it */
};

/* Growth whatever the row did. */
struct own_growth {
    double count, bytes;
};

struct work {
    struct snap_diff *d;
    struct candidates c;
    struct map sites, types; /* -> index + 1 in d */
    struct source_row *rows; /* d->n_sites, then d->n_types */
    struct own_growth *own;  /* by cell */
    uint32_t *row_of;        /* by cell: index + 1 in rows; 0: none */
    double *site_covered;    /* by site: growth that suspects explain */
    uint32_t *hook_of;       /* by candidate: index + 1 in d->hooks */
    struct suspect_row {
        snap_diff_suspect s;
        uint32_t candidate; /* + 1; 0: of a site only */
        int tier;
    } * suspects;
    size_t n_suspects, capacity;
    struct naming naming;
    /* What grew in caches with a bound of their own; the largest. */
    uint64_t bounded_bytes, bounded_most;
    const char *bounded_holder, *bound;
    uint32_t bounded_domains; /* bit per domain */
};

static int index_rows(struct work *w, snap_error *err) {
    struct snap_diff *const d = w->d;
    w->rows = mem_zalloc(d->n_sites + d->n_types + 1, sizeof *w->rows);
    w->site_covered = mem_zalloc(d->n_sites + 1, sizeof *w->site_covered);
    if (w->rows == NULL || w->site_covered == NULL)
        return no_memory(err);
    for (size_t i = 0; i < d->n_sites; i++) {
        uint32_t *const slot = map_slot(&w->sites, mix(d->sites[i].key, d->sites[i].domain));
        if (slot == NULL)
            return no_memory(err);
        *slot = (uint32_t)i + 1;
        w->rows[i] = (struct source_row){d->sites[i].counts, d->sites[i].bytes, 0, 0};
    }
    for (size_t i = 0; i < d->n_types; i++) {
        const char *const name = d->types[i].name;
        uint32_t *const slot =
            map_slot(&w->types, mix(strtab_key(name, strlen(name)), d->types[i].domain));
        if (slot == NULL)
            return no_memory(err);
        *slot = (uint32_t)(d->n_sites + i) + 1;
        w->rows[d->n_sites + i] = (struct source_row){d->types[i].counts, d->types[i].bytes, 0, 0};
    }
    return 0;
}

static uint64_t growth_of_row(const struct work *w, const struct source_row *r) {
    return minus(r->bytes[w->d->n - 1], r->bytes[0]);
}

/* Finds each cell's row, and takes off what is more than the row's own growth. */
static int cap_by_rows(struct work *w, snap_error *err) {
    struct candidates *const c = &w->c;
    w->row_of = mem_zalloc(c->n_cells + 1, sizeof *w->row_of);
    w->own = mem_zalloc(c->n_cells + 1, sizeof *w->own);
    if (w->row_of == NULL || w->own == NULL)
        return no_memory(err);
    for (size_t i = 0; i < c->n_cells; i++) {
        const struct cell *const cell = &c->cells[i];
        w->own[i] = (struct own_growth){cell->net_count, cell->net_bytes};
        uint64_t key = 0;
        SNAP_TRY(snap_stack_key(c->heap->snapshot, cell->stack, &key, err));
        const uint32_t type = cell->type;
        uint32_t row = 0;
        if (cell->stack == 0 && type != 0)
            row = map_get(&w->types, mix(c->heap->type_key[type], cell->domain));
        if (row == 0)
            row = map_get(&w->sites, mix(key, cell->domain));
        w->row_of[i] = row;
        if (row != 0) {
            w->rows[row - 1].net += cell->net_bytes;
            w->rows[row - 1].moved += cell->moved_bytes;
        }
    }
    for (size_t i = 0; i < c->n_cells; i++) {
        if (w->row_of[i] == 0)
            continue;
        struct cell *const cell = &c->cells[i];
        const struct source_row *const r = &w->rows[w->row_of[i] - 1];
        const double growth = (double)growth_of_row(w, r);
        if (r->net > growth) {
            cell->net_bytes *= growth / r->net;
            cell->net_count *= growth / r->net;
        } else if (r->moved > 0) {
            /* Blocks that moved here made room there, and what is fresh there does not count as
             * growth: it is growth of the place they moved to. */
            const double part = growth - r->net < r->moved ? (growth - r->net) / r->moved : 1;
            cell->net_bytes += cell->moved_bytes * part;
            cell->net_count += cell->moved_count * part;
        }
    }
    return 0;
}

/* Series of all candidates: what the last snapshot has, less what the sites had less before, in
 * proportion. */
static int make_series(struct work *w, double **out, snap_error *err) {
    const size_t n = w->d->n;
    const struct candidates *const c = &w->c;
    double *const less = mem_zalloc(c->n * 2 * n + 1, sizeof *less);
    if (less == NULL)
        return no_memory(err);
    for (size_t i = 0; i < c->n_cells; i++) {
        const struct cell *const cell = &c->cells[i];
        if (w->row_of[i] == 0 || cell->net_bytes <= 0)
            continue;
        const struct source_row *const r = &w->rows[w->row_of[i] - 1];
        const double bytes = (double)growth_of_row(w, r);
        const double count = (double)minus(r->counts[n - 1], r->counts[0]);
        const struct candidate *const owner = &c->rows[cell->candidate];
        const int is_head = owner->kind == CANDIDATE_LOST
                                ? cell->stack == heap_node_stack(c->heap, owner->node)
                                : cell->place == owner->place;
        double *const row = less + cell->candidate * 2 * n;
        for (size_t k = 0; k < n && bytes > 0; k++) {
            row[k] += cell->net_bytes / bytes * ((double)r->bytes[n - 1] - (double)r->bytes[k]);
            if (!is_head)
                continue;
            row[n + k] += count > 0 ? cell->net_count / count *
                                          ((double)r->counts[n - 1] - (double)r->counts[k])
                                    : (k == 0 ? cell->net_count : 0);
        }
    }
    *out = less;
    return 0;
}

/* All nodes of the snapshots between: more, and series are estimated. */
#define MEASURED_NODES_MAX ((uint64_t)200000000)

static uint64_t nodes_to_measure(const struct snap_diff *d) {
    uint64_t n = 0;
    for (size_t k = 0; k + 1 < d->n; k++)
        n = add_sat(n, snap_rows(d->sources[k], SNAP_TABLE_NODE));
    return n;
}

static double apart(double a, double b) {
    return a > b ? a - b : b - a;
}

/* What one candidate had less in each snapshot, from its points there (every c.n-th): measured in
 * the way that agrees better with the growth that is known, in proportion to it. Measurements that
 * are far off it leave the estimate. */
static void take_measured(const struct work *w, size_t candidate, const struct series_point *points,
                          double *row) {
    const size_t n = w->d->n, stride = w->c.n;
    const struct candidate *const r = &w->c.rows[candidate];
    const struct series_point *const p = points + candidate;
    const double bytes = (double)r->total_bytes, count = (double)r->total_count;
    int by_node = 1;
    for (size_t k = 0; k + 1 < n; k++)
        by_node &= p[k * stride].has_nodes;
    if (apart(bytes - (double)p->bytes, row[0]) < apart(bytes - (double)p->bytes_by_node, row[0]))
        by_node = 0;
    const double less = bytes - (double)(by_node ? p->bytes_by_node : p->bytes);
    const double less_count = count - (double)(by_node ? p->count_by_node : p->count);
    if (less <= row[0] / 2 || less > row[0] * 2)
        return;
    const double scale = row[0] / less;
    /* Cells tell those that lost blocks are counted under from what hangs below only by their stack
     * or type. */
    const int is_told = r->kind != CANDIDATE_LOST && less_count > 0 && row[n] > 0;
    const double scale_count = is_told ? row[n] / less_count : 1;
    for (size_t k = 0; k + 1 < n; k++) {
        const struct series_point *const at = &p[k * stride];
        row[k] = scale * (bytes - (double)(by_node ? at->bytes_by_node : at->bytes));
        row[n + k] = scale_count * (count - (double)(by_node ? at->count_by_node : at->count));
    }
}

/* So many snapshots are needed to tell steady growth from churn. */
#define STEADY_SNAPSHOTS_MIN 4

/* Whether a series, last the total, is larger each time than the time before. */
static int is_steady(const struct series_point *p, size_t stride, size_t n, uint64_t total,
                     int by_node) {
    for (size_t k = 0; k < n; k++) {
        const struct series_point *const at = &p[k * stride], *const next = at + stride;
        const uint64_t before = by_node ? at->bytes_by_node : at->bytes;
        const uint64_t after = k + 1 == n ? total : by_node ? next->bytes_by_node : next->bytes;
        if (after <= before)
            return 0;
    }
    return 1;
}

/* A candidate that its sites' growth bounds, though it grew steadily itself however it is counted:
 * its growth is its own. What is made anew for one holder as another lets go of it does not do
 * that. */
static void take_own(const struct work *w, size_t candidate, const struct series_point *points,
                     const struct own_growth *own, double *row) {
    const size_t n = w->d->n, stride = w->c.n;
    const struct candidate *const r = &w->c.rows[candidate];
    const struct series_point *const p = points + candidate;
    for (size_t k = 0; k + 1 < n; k++)
        if (!p[k * stride].has_nodes)
            return;
    if (!is_steady(p, stride, n - 1, r->total_bytes, 0) ||
        !is_steady(p, stride, n - 1, r->total_bytes, 1))
        return;
    const double less = (double)r->total_bytes - (double)p->bytes;
    if (less <= own->bytes / 2 || less > own->bytes * 2)
        return;
    /* Never more than what is fresh and took nobody's place. */
    const double scale = less > own->bytes ? own->bytes / less : 1;
    for (size_t k = 0; k + 1 < n; k++) {
        const struct series_point *const at = &p[k * stride];
        row[k] = scale * ((double)r->total_bytes - (double)at->bytes);
        row[n + k] = (double)r->total_count - (double)at->count;
    }
    for (size_t i = 0; i < w->c.n_cells; i++)
        if (w->c.cells[i].candidate == candidate) {
            w->c.cells[i].net_bytes = w->own[i].bytes;
            w->c.cells[i].net_count = w->own[i].count;
        }
}

/* What candidates grew by, whatever their sites did; NULL: no memory. */
static struct own_growth *sum_own(const struct work *w) {
    struct own_growth *const own = mem_zalloc(w->c.n + 1, sizeof *own);
    for (size_t i = 0; own != NULL && i < w->c.n_cells; i++) {
        own[w->c.cells[i].candidate].bytes += w->own[i].bytes;
        own[w->c.cells[i].candidate].count += w->own[i].count;
    }
    return own;
}

static int is_bounded(const struct work *w, double less, const struct own_growth *own,
                      double line) {
    return w->d->n >= STEADY_SNAPSHOTS_MIN && own->bytes >= line && less < own->bytes * 0.99;
}

/* Measures candidates in all snapshots but the last: their own growth instead of that of their
 * sites, or else a shape instead of an estimate. */
static int measure_candidates(struct work *w, double *less, double line,
                              const struct own_growth *own, const snap_heap_options *options,
                              snap_error *err) {
    struct snap_diff *const d = w->d;
    const size_t n = d->n, n_candidates = w->c.n;
    size_t n_worth = 0;
    for (size_t i = 0; i < n_candidates; i++)
        n_worth += w->c.rows[i].merged_into == 0 &&
                   (less[i * 2 * n] >= line || is_bounded(w, less[i * 2 * n], &own[i], line));
    if (n_worth == 0)
        return 0;
    if (nodes_to_measure(d) > MEASURED_NODES_MAX)
        return result_limit(d, err,
                            "the snapshots between the first and the last are too large to be read "
                            "in full: series of suspects are estimated from those of their sites");
    struct series_point *const points = mem_alloc(n_candidates * (n - 1), sizeof *points);
    if (points == NULL)
        return no_memory(err);
    int result = 0;
    for (size_t k = 0; result == 0 && k + 1 < n; k++)
        result = series_measure(&w->c, d->sources[k], options, points + k * n_candidates, err);
    for (size_t i = 0; result == 0 && i < n_candidates; i++) {
        double *const row = less + i * 2 * n;
        if (w->c.rows[i].merged_into != 0)
            continue;
        const int bounded = is_bounded(w, row[0], &own[i], line);
        if (row[0] >= line)
            take_measured(w, i, points, row);
        if (bounded)
            take_own(w, i, points, &own[i], row);
    }
    free(points);
    return result;
}

static int measure_series(struct work *w, double *less, double line,
                          const snap_heap_options *options, snap_error *err) {
    const struct snap_diff *const d = w->d;
    if (d->n < 3)
        return 0;
    for (size_t k = 0; k + 1 < d->n; k++)
        if (!snap_heap_has_graph(d->sources[k]))
            return 0;
    struct own_growth *const own = sum_own(w);
    const int result =
        own != NULL ? measure_candidates(w, less, line, own, options, err) : no_memory(err);
    free(own);
    return result;
}

static uint64_t rounded_less(uint64_t total, double less) {
    if (less <= 0)
        return add_sat(total, (uint64_t)(-less + 0.5));
    return less >= (double)total ? 0 : total - (uint64_t)(less + 0.5);
}

/* Callbacks of the last snapshot by the nodes that they are registered with. */
struct hook_nodes {
    struct map argument, holder; /* node -> index + 1 in d->hooks */
};

static uint64_t hook_key(const char *registry, const char *callback, const char *file,
                         uint64_t line) {
    return mix(mix(mix(mix(7, strtab_key(registry, strlen(registry))),
                       strtab_key(callback, strlen(callback))),
                   strtab_key(file, strlen(file))),
               line);
}

static int read_hook_nodes(struct work *w, struct hook_nodes *out, snap_error *err) {
    const struct snap_diff *const d = w->d;
    const snap_snapshot *const s = d->sources[d->n - 1];
    struct map index;
    map_init(&index);
    int result = 0;
    for (size_t i = 0; i < d->n_hooks && result == 0; i++) {
        const snap_diff_hook *const h = &d->hooks[i];
        uint32_t *const slot =
            map_slot(&index, hook_key(h->registry, h->callback, h->file, h->line));
        if (slot == NULL)
            result = no_memory(err);
        else
            *slot = (uint32_t)i + 1;
    }
    const uint32_t columns = 1u << SNAP_HOOK_COL_REGISTRY | 1u << SNAP_HOOK_COL_CALLBACK |
                             1u << SNAP_HOOK_COL_FILE | 1u << SNAP_HOOK_COL_LINE |
                             1u << SNAP_HOOK_COL_HOLDER | 1u << SNAP_HOOK_COL_ARGUMENT;
    snap_batch batch;
    snap_batch_init(&batch);
    for (uint32_t chunk = 0; result == 0 && chunk < snap_n_chunks(s, SNAP_TABLE_HOOK); chunk++) {
        result = snap_batch_read(s, SNAP_TABLE_HOOK, chunk, columns, &batch, err);
        for (uint32_t i = 0; result == 0 && i < batch.n_rows; i++) {
            const char *text[3];
            const unsigned column[3] = {SNAP_HOOK_COL_REGISTRY, SNAP_HOOK_COL_CALLBACK,
                                        SNAP_HOOK_COL_FILE};
            for (int k = 0; k < 3 && result == 0; k++)
                result = snap_string(s, batch.column[column[k]][i], &text[k], err);
            if (result < 0)
                break;
            const uint32_t hook = map_get(
                &index, hook_key(text[0], text[1], text[2], batch.column[SNAP_HOOK_COL_LINE][i]));
            const uint64_t nodes[2] = {batch.column[SNAP_HOOK_COL_ARGUMENT][i],
                                       batch.column[SNAP_HOOK_COL_HOLDER][i]};
            for (int k = 0; k < 2 && result == 0; k++) {
                if (nodes[k] == 0 || hook == 0)
                    continue;
                uint32_t *const slot = map_slot(k == 0 ? &out->argument : &out->holder, nodes[k]);
                if (slot == NULL)
                    result = no_memory(err);
                else if (*slot == 0 || hook < *slot) /* hooks that grew most come first */
                    *slot = hook;
            }
        }
    }
    snap_batch_release(&batch);
    map_release(&index);
    return result;
}

static int64_t hook_growth(const struct snap_diff *d, size_t hook) {
    const uint64_t *const counts = d->hooks[hook].counts;
    return (int64_t)(counts[d->n - 1] - counts[0]);
}

/* A candidate most of whose topmost nodes are registered with one callback, of which there are
 * more than before, is a matter of that callback. */
static int find_hooks(struct work *w, snap_error *err) {
    const struct candidates *const c = &w->c;
    struct hook_nodes nodes;
    struct map votes; /* candidate, hook -> number */
    map_init(&nodes.argument);
    map_init(&nodes.holder);
    map_init(&votes);
    w->hook_of = mem_zalloc(c->n + 1, sizeof *w->hook_of);
    uint32_t *const most = mem_zalloc(c->n + 1, sizeof *most);
    int result = w->hook_of != NULL && most != NULL ? 0 : no_memory(err);
    if (result == 0 && w->d->n_hooks > 0)
        result = read_hook_nodes(w, &nodes, err);
    for (uint32_t v = 1; result == 0 && w->d->n_hooks > 0 && v <= c->heap->n_nodes; v++) {
        if (c->entry[v] == 0 && !(c->is_top[v >> 6] >> (v & 63) & 1))
            continue;
        if (!(c->is_top[v >> 6] >> (v & 63) & 1))
            continue;
        const uint32_t place = c->places.of[v];
        const uint32_t candidate = c->entry[v] != 0 ? c->entry[v]
                                   : place != 0     ? c->place_candidate[place]
                                                    : 0;
        if (candidate == 0)
            continue;
        uint32_t hook = map_get(&nodes.argument, v);
        if (hook == 0 && (c->rows[candidate - 1].kind == CANDIDATE_BUFFER ||
                          heap_node_bytes(c->heap, v) <= REGISTRATION_BYTES))
            hook = map_get(&nodes.holder, v);
        if (hook == 0 || hook_growth(w->d, hook - 1) <= 0)
            continue;
        uint32_t *const slot = map_slot(&votes, (uint64_t)candidate << 32 | hook);
        if (slot == NULL) {
            result = no_memory(err);
            break;
        }
        if (++*slot > most[candidate - 1]) {
            most[candidate - 1] = *slot;
            w->hook_of[candidate - 1] = hook;
        }
    }
    for (size_t i = 0; result == 0 && i < c->n; i++)
        if ((uint64_t)most[i] * 2 < c->rows[i].n_entries)
            w->hook_of[i] = 0;
    map_release(&nodes.argument);
    map_release(&nodes.holder);
    map_release(&votes);
    free(most);
    return result;
}

static snap_suspect_class class_of(const struct work *w, size_t candidate) {
    const struct candidate *const r = &w->c.rows[candidate];
    const uint64_t half = r->net_bytes / 2;
    if (r->kind == CANDIDATE_LOST && r->is_cycle)
        return SNAP_SUSPECT_NATIVE_CYCLE;
    if (r->garbage_bytes > half || r->is_garbage)
        return SNAP_SUSPECT_GARBAGE;
    if (r->device_bytes > half)
        return SNAP_SUSPECT_DEVICE;
    if (r->kind == CANDIDATE_LOST)
        return SNAP_SUSPECT_LOST;
    if (w->hook_of[candidate] != 0)
        return SNAP_SUSPECT_HOOK;
    if (r->autograd_bytes > half)
        return SNAP_SUSPECT_AUTOGRAD;
    uint32_t top = r->place;
    while (w->c.places.rows[top].parent != 0)
        top = w->c.places.rows[top].parent;
    return w->c.places.rows[top].kind == SNAP_ROOT_NATIVE ? SNAP_SUSPECT_NATIVE_HELD
                                                          : SNAP_SUSPECT_ROOTED;
}

static snap_match match_of(const struct snap_diff *d) {
    snap_match match = d->by_address ? SNAP_MATCH_ADDRESS : SNAP_MATCH_EXACT;
    for (size_t i = 0; i + 1 < d->n; i++)
        if (d->intervals[i].match > match)
            match = d->intervals[i].match;
    return match;
}

static uint32_t share_of(const struct snap_diff *d, int64_t growth) {
    double all = 0;
    for (size_t i = 0; i < d->n_sites; i++)
        all += (double)minus(d->sites[i].bytes[d->n - 1], d->sites[i].bytes[0]);
    if (growth <= 0 || all <= 0)
        return 0;
    const double share = 1e6 * (double)growth / all + 0.5;
    return share < 1e6 ? (uint32_t)share : 1000000;
}

/* The cell that most of a candidate's growth is in, if possible of the topmost nodes themselves. */
static const struct cell *main_cell(const struct work *w, size_t candidate) {
    const struct candidates *const c = &w->c;
    const struct candidate *const r = &c->rows[candidate];
    const struct cell *best = NULL;
    int best_is_head = 0;
    for (size_t i = 0; i < c->n_cells; i++) {
        const struct cell *const cell = &c->cells[i];
        if (cell->candidate != candidate || cell->count == 0)
            continue;
        const int is_head = r->kind == CANDIDATE_LOST
                                ? cell->stack == heap_node_stack(c->heap, r->node)
                                : cell->place == r->place;
        if (best == NULL || is_head > best_is_head ||
            (is_head == best_is_head && cell->net_bytes > best->net_bytes)) {
            best = cell;
            best_is_head = is_head;
        }
    }
    return best;
}

static struct suspect_row *add_suspect(struct work *w) {
    if (mem_grow(&w->suspects, &w->capacity, w->n_suspects + 1, sizeof *w->suspects) < 0)
        return NULL;
    struct suspect_row *const row = &w->suspects[w->n_suspects];
    *row = (struct suspect_row){0};
    return row;
}

/* Sets the slope of a suspect's bytes. */
static int fit(const struct snap_diff *d, snap_diff_suspect *s, snap_error *err) {
    struct trend_fit f;
    if (trend_fit(s->bytes, d->position, d->n, &f) < 0)
        return no_memory(err);
    s->slope_bytes = f.slope < 9e18 && f.slope > -9e18 ? (int64_t)f.slope : 0;
    s->chance_ppm = f.chance_ppm;
    return 0;
}

/* Added to the tier of what is usual: then it is no leak. */
#define TIER_BEHIND 2

/* How far a trend speaks for a leak. What goes up and down, but up beyond chance, does so, too. */
static int tier_of(const struct snap_diff *d, const snap_diff_suspect *s) {
    if (d->n > 2 && (s->trend == SNAP_TREND_LINEAR || s->trend == SNAP_TREND_MONOTONIC))
        return 0;
    if (d->n > 4 && s->trend == SNAP_TREND_NOISY && s->chance_ppm <= CHANCE_PPM)
        return 0;
    return d->n == 2 ? 0 : 1;
}

static void rank_behind(struct suspect_row *row) {
    row->tier += TIER_BEHIND;
    row->s.advice =
        "take the first snapshot later to see past it; if it ends there is nothing to do";
}

/* What many programs have comes behind, unless it grows on. */
static int explain(struct work *w, struct suspect_row *row, snap_error *err) {
    const struct snap_diff *const d = w->d;
    snap_diff_suspect *const s = &row->s;
    SNAP_TRY(usual_growth(s, d->sources[s->snapshot], &s->usual, err));
    const int tier = tier_of(d, s);
    row->tier = tier + s->is_doubtful;
    if (*s->usual != '\0' && (d->n == 2 || tier > 0))
        rank_behind(row);
    return 0;
}

static int name_suspect(struct work *w, size_t candidate, struct suspect_row *row,
                        snap_error *err) {
    struct snap_diff *const d = w->d;
    const struct candidate *const r = &w->c.rows[candidate];
    snap_diff_suspect *const s = &row->s;
    row->candidate = (uint32_t)candidate + 1;
    s->suspect_class = class_of(w, candidate);
    s->match = match_of(d);
    s->snapshot = (uint32_t)d->n - 1;
    const struct cell *const cell = main_cell(w, candidate);
    s->domain = cell != NULL ? cell->domain : SNAP_DOMAIN_HOST;
    s->stack = cell != NULL ? cell->stack : 0;
    s->type = w->c.heap->type_name[r->type];
    if (s->suspect_class == SNAP_SUSPECT_HOOK)
        s->hook = &d->hooks[w->hook_of[candidate] - 1];
    return naming_suspect(&w->naming, r, s, err);
}

/* Growth up to here is none. */
static uint64_t line_of(const struct snap_diff *d) {
    const size_t n = d->n;
    uint64_t line = n > 3 ? LINE_4_BYTES : n == 3 ? LINE_3_BYTES : d->finding.threshold_bytes;
    /* What is a thousandth of the process's growth explains nothing of it. */
    const uint64_t rss = minus(d->snapshots[n - 1].rss_bytes, d->snapshots[0].rss_bytes);
    return line < rss / RSS_DIVISOR ? rss / RSS_DIVISOR : line;
}

/* Whether a suspect is a cache that is known to end by itself: then it is none. */
static int add_bounded(struct work *w, const snap_diff_suspect *s) {
    const char *const bound = usual_bound(s);
    if (bound == NULL || s->suspect_class != SNAP_SUSPECT_ROOTED || s->growth_bytes <= 0)
        return 0;
    const uint64_t grown = (uint64_t)s->growth_bytes;
    w->bounded_bytes = add_sat(w->bounded_bytes, grown);
    w->bounded_domains |= 1u << (s->domain & 31);
    if (grown > w->bounded_most) {
        w->bounded_most = grown;
        w->bounded_holder = s->holder;
        w->bound = bound;
    }
    return 1;
}

/* Blocks without a stack are in the row of their type, but they are one site, too. */
static uint32_t site_of(const struct work *w, size_t cell, uint64_t no_stack) {
    const uint32_t row = w->row_of[cell];
    if (row > w->d->n_sites && w->c.cells[cell].stack == 0)
        return map_get(&w->sites, mix(no_stack, w->c.cells[cell].domain));
    return row <= w->d->n_sites ? row : 0;
}

/* The growth of a candidate's cells is explained. */
static int cover_sites(struct work *w, size_t candidate, snap_error *err) {
    uint64_t no_stack = 0;
    SNAP_TRY(snap_stack_key(w->c.heap->snapshot, 0, &no_stack, err));
    for (size_t k = 0; k < w->c.n_cells; k++) {
        const uint32_t site = w->c.cells[k].candidate == candidate ? site_of(w, k, no_stack) : 0;
        if (site != 0)
            w->site_covered[site - 1] += w->c.cells[k].net_bytes;
    }
    return 0;
}

/* What a suspect did over time: counts, then bytes, one per snapshot. */
struct shape {
    const uint64_t *series;
    snap_trend trend;
};

/* The suspect of a candidate behind all others; it is not yet counted. */
static int make_suspect(struct work *w, size_t candidate, struct shape shape, uint64_t retained,
                        struct suspect_row **out, snap_error *err) {
    struct snap_diff *const d = w->d;
    const size_t n = d->n;
    *out = add_suspect(w);
    if (*out == NULL)
        return no_memory(err);
    snap_diff_suspect *const s = &(*out)->s;
    s->counts = shape.series;
    s->bytes = shape.series + n;
    s->trend = shape.trend;
    s->growth_bytes = (int64_t)(s->bytes[n - 1] - s->bytes[0]);
    s->growth_count = (int64_t)(s->counts[n - 1] - s->counts[0]);
    s->share_ppm = share_of(d, s->growth_bytes);
    s->retained_bytes = retained;
    SNAP_TRY(fit(d, s, err));
    SNAP_TRY(name_suspect(w, candidate, *out, err));
    return explain(w, *out, err);
}

static int is_blamed(const struct snap_diff *d, const uint64_t *series, uint64_t line,
                     snap_trend *out) {
    const char *gauge = NULL;
    *out = trend_classify(series + d->n, d->position, d->n, UINT32_MAX);
    return judge_series(d, series + d->n, out, d->finding.threshold_bytes, line, &gauge) ==
           GROWTH_BLAMED;
}

static int judge_candidate(struct work *w, size_t candidate, const double *row, uint64_t line,
                           struct imports *imports, snap_error *err) {
    struct snap_diff *const d = w->d;
    const size_t n = d->n;
    const struct candidate *const r = &w->c.rows[candidate];
    const int is_module = row[0] > 0 && candidates_is_module(&w->c, r);
    if (row[0] < (double)line && !is_module)
        return 0;
    uint64_t *const series = arena_alloc(&d->arena, 2 * n * sizeof *series);
    if (series == NULL)
        return no_memory(err);
    for (size_t k = 0; k < n; k++) {
        series[k] = rounded_less(r->total_count, row[n + k]);
        series[n + k] = rounded_less(r->total_bytes, row[k]);
    }
    struct shape shape = {series, SNAP_TREND_FLAT};
    const int blamed = is_blamed(d, series, line, &shape.trend);
    /* What goes on growing in a module is a matter of that module. */
    const int goes_on = blamed && n > 2 &&
                        (shape.trend == SNAP_TREND_LINEAR || shape.trend == SNAP_TREND_MONOTONIC);
    if (is_module && !goes_on)
        return imports_add(imports, d, &w->c, (uint32_t)candidate, series, err);
    if (!blamed)
        return 0;
    struct suspect_row *suspect;
    SNAP_TRY(make_suspect(w, candidate, shape, r->total_bytes, &suspect, err));
    if (!add_bounded(w, &suspect->s))
        w->n_suspects++;
    return cover_sites(w, candidate, err);
}

/* Modules that did not grow on by themselves: each came once, but more and more may come. */
static int judge_imports(struct work *w, const struct imports *m, uint64_t line, snap_error *err) {
    struct shape shape = {m->series, SNAP_TREND_FLAT};
    if (m->n_members == 0 || !is_blamed(w->d, m->series, line, &shape.trend))
        return 0;
    const uint32_t lead = imports_merge(m, &w->c);
    struct suspect_row *suspect;
    SNAP_TRY(make_suspect(w, lead, shape, m->total_bytes, &suspect, err));
    /* Imports in two intervals are none that go on. */
    const int goes_on = w->d->n >= STEADY_SNAPSHOTS_MIN && shape.trend == SNAP_TREND_LINEAR;
    if (!goes_on && suspect->tier < TIER_BEHIND)
        rank_behind(suspect);
    if (m->n_members > 1)
        SNAP_TRY(imports_name(m, w->d, &w->c, lead, &suspect->s, err));
    w->n_suspects++;
    for (size_t i = 0; i < m->n_members; i++)
        SNAP_TRY(cover_sites(w, m->members[i], err));
    return 0;
}

static int judge_candidates(struct work *w, const double *less, snap_error *err) {
    const uint64_t line = line_of(w->d);
    struct imports imports = {0};
    int result = 0;
    for (size_t i = 0; i < w->c.n && result == 0; i++)
        if (w->c.rows[i].merged_into == 0)
            result = judge_candidate(w, i, less + i * 2 * w->d->n, line, &imports, err);
    if (result == 0)
        result = judge_imports(w, &imports, line, err);
    imports_release(&imports);
    return result;
}

static int tell_bounded(struct work *w, snap_error *err) {
    if (w->bound == NULL)
        return 0;
    char size[TEXT_SIZE_MAX];
    return result_not_leak(w->d, err, "warm-up", w->bounded_bytes,
                           "%s in caches that end at a bound of their own: %.150s; %s",
                           text_size(size, w->bounded_bytes), w->bounded_holder, w->bound);
}

/* A site that is to blame and that no suspect explains, because its blocks are spread over many
 * holders: named by itself, with the holder of most of them. */
static int add_site(struct work *w, size_t index, snap_error *err) {
    struct snap_diff *const d = w->d;
    const snap_diff_site *const site = &d->sites[index];
    struct suspect_row *const row = add_suspect(w);
    if (row == NULL)
        return no_memory(err);
    size_t best = w->c.n_cells;
    for (size_t i = 0; i < w->c.n_cells; i++)
        if (w->row_of[i] == index + 1 &&
            (best == w->c.n_cells || w->c.cells[i].net_bytes > w->c.cells[best].net_bytes))
            best = i;
    if (best < w->c.n_cells) {
        SNAP_TRY(name_suspect(w, w->c.cells[best].candidate, row, err));
        row->candidate = 0;
    } else {
        row->s = (snap_diff_suspect){
            .suspect_class =
                site->domain == SNAP_DOMAIN_DEVICE ? SNAP_SUSPECT_DEVICE : SNAP_SUSPECT_NATIVE_HELD,
            .match = match_of(d),
            .type = site->label,
            .holder = "",
            .root_kind = "",
            .root_module = "",
            .thread = "",
        };
        row->s.advice = naming_advice(&row->s);
    }
    snap_diff_suspect *const s = &row->s;
    s->domain = site->domain;
    s->counts = site->counts;
    s->bytes = site->bytes;
    s->growth_bytes = site->growth_bytes;
    s->growth_count = site->growth_count;
    s->share_ppm = site->share_ppm;
    s->retained_bytes = site->bytes[d->n - 1];
    s->trend = site->trend;
    s->snapshot = site->snapshot;
    s->stack = site->stack;
    SNAP_TRY(fit(d, s, err));
    SNAP_TRY(explain(w, row, err));
    w->n_suspects++;
    return 0;
}

static int add_uncovered_sites(struct work *w, snap_error *err) {
    for (size_t i = 0; i < w->d->n_sites; i++) {
        const snap_diff_site *const site = &w->d->sites[i];
        const double covered = w->site_covered != NULL ? w->site_covered[i] : 0;
        /* Objects without a stack have nothing in common but that. */
        if (site->domain == SNAP_DOMAIN_PYTHON && site->stack == 0 && w->d->has_graph)
            continue;
        /* Whatever a summary does not list is no site. */
        if (w->d->from_summaries && site->key == 0)
            continue;
        if (site->blamed && covered < (double)site->growth_bytes / 2)
            SNAP_TRY(add_site(w, i, err));
    }
    return 0;
}

/* What suspects hold alone, of what is new. */
static int find_exclusive(struct work *w, snap_error *err) {
    const struct candidates *const c = &w->c;
    uint32_t n_groups = 0;
    uint32_t *const group_of = mem_zalloc(c->n + 1, sizeof *group_of); /* + 1 */
    uint32_t *nodes = NULL, *groups = NULL;
    size_t n = 0, node_capacity = 0, group_capacity = 0;
    snap_leak_share shares[SHARED_MAX];
    int result = group_of != NULL ? 0 : no_memory(err);
    for (size_t i = 0; result == 0 && i < w->n_suspects && n_groups < SHARED_MAX; i++)
        if (w->suspects[i].candidate != 0)
            group_of[w->suspects[i].candidate - 1] = ++n_groups;
    for (size_t i = 0; result == 0 && i < c->n; i++) /* what was merged is of the group, too */
        if (group_of[i] == 0 && c->rows[i].merged_into != 0)
            group_of[i] = group_of[candidates_lead(c, (uint32_t)i)];
    for (uint32_t v = 1; result == 0 && n_groups > 0 && v <= c->heap->n_nodes; v++) {
        if (!(c->is_top[v >> 6] >> (v & 63) & 1) || c->entry[v] == 0)
            continue;
        const uint32_t group = group_of[c->entry[v] - 1];
        if (group == 0)
            continue;
        if (mem_grow(&nodes, &node_capacity, n + 1, sizeof *nodes) < 0 ||
            mem_grow(&groups, &group_capacity, n + 1, sizeof *groups) < 0)
            result = no_memory(err);
        else {
            nodes[n] = v;
            groups[n++] = group - 1;
        }
    }
    if (result == 0 && n > 0) {
        result = snap_leak_share_compute(c->heap->graph, nodes, groups, n, n_groups,
                                         SNAP_GRAPH_ALL_DOMAINS, shares, err);
        for (size_t i = 0; result == 0 && i < w->n_suspects; i++) {
            const uint32_t group =
                w->suspects[i].candidate != 0 ? group_of[w->suspects[i].candidate - 1] : 0;
            if (group != 0)
                w->suspects[i].s.exclusive_bytes = shares[group - 1].exclusive_bytes;
        }
    }
    free(group_of);
    free(nodes);
    free(groups);
    return result;
}

/* The culprit first. What is small beside the largest is no culprit, however steady. */
static int compare_suspects(const void *x, const void *y, void *context) {
    const struct suspect_row *const a = x, *const b = y;
    const int64_t small = *(const int64_t *)context;
    const int small_a = a->s.growth_bytes < small, small_b = b->s.growth_bytes < small;
    if (small_a != small_b)
        return small_a - small_b;
    if (a->tier != b->tier)
        return a->tier - b->tier;
    if (a->s.growth_bytes != b->s.growth_bytes)
        return a->s.growth_bytes > b->s.growth_bytes ? -1 : 1;
    if (a->s.retained_bytes != b->s.retained_bytes)
        return a->s.retained_bytes > b->s.retained_bytes ? -1 : 1;
    if (a->s.suspect_class != b->s.suspect_class)
        return a->s.suspect_class < b->s.suspect_class ? -1 : 1;
    const int order = strcmp(a->s.holder, b->s.holder);
    return order != 0 ? order : strcmp(a->s.type, b->s.type);
}

static int publish(struct work *w, snap_error *err) {
    struct snap_diff *const d = w->d;
    d->suspects = arena_alloc(&d->arena, (w->n_suspects + 1) * sizeof *d->suspects);
    if (d->suspects == NULL)
        return no_memory(err);
    int64_t most = 0;
    for (size_t i = 0; i < w->n_suspects; i++)
        if (w->suspects[i].s.growth_bytes > most)
            most = w->suspects[i].s.growth_bytes;
    int64_t small = most / 50;
    if (w->n_suspects > 1)
        qsort_r(w->suspects, w->n_suspects, sizeof *w->suspects, compare_suspects, &small);
    for (size_t i = 0; i < w->n_suspects; i++) {
        d->suspects[i] = w->suspects[i].s;
        if (d->suspects[i].hook != NULL) {
            snap_diff_hook *const hook = &d->hooks[d->suspects[i].hook - d->hooks];
            hook->retained_bytes = add_sat(hook->retained_bytes, d->suspects[i].retained_bytes);
        }
    }
    d->n_suspects = w->n_suspects;
    return 0;
}

/* Whether more grew in a domain than caches that end by themselves, as far as noise allows. */
static int grew_beyond_bounded(const struct work *w, const snap_diff_type *total) {
    if (!(w->bounded_domains >> (total->domain & 31) & 1) || total->growth_bytes <= 0)
        return 1;
    const uint64_t rest = minus((uint64_t)total->growth_bytes, w->bounded_bytes);
    return rest > LINE_3_BYTES && rest > w->bounded_bytes / 5;
}

/* The verdict is that of the suspects; growth that is spread too thin for any is still growth. */
static void set_verdict(const struct work *w) {
    struct snap_diff *const d = w->d;
    snap_diff_finding *const f = &d->finding;
    f->verdict = SNAP_VERDICT_NO_GROWTH;
    for (size_t i = 0; i < d->n_totals; i++)
        if (d->totals[i].blamed && grew_beyond_bounded(w, &d->totals[i]))
            f->verdict = SNAP_VERDICT_GROWTH;
    if (d->n_suspects == 0)
        return;
    f->verdict = SNAP_VERDICT_GROWTH;
    uint64_t share = 0;
    f->blamed_growth = 0;
    for (size_t i = 0; i < d->n_suspects; i++) {
        const snap_diff_suspect *const s = &d->suspects[i];
        share += s->share_ppm;
        f->blamed_growth += s->growth_bytes;
        if (d->n > 2 && w->suspects[i].tier < TIER_BEHIND &&
            (s->trend == SNAP_TREND_LINEAR || s->trend == SNAP_TREND_MONOTONIC) &&
            (i == 0 || s->share_ppm >= LEAK_SHARE_PPM))
            f->verdict = SNAP_VERDICT_LEAK;
    }
    f->share_ppm = share < 1000000 ? (uint32_t)share : 1000000;
    f->trend = d->suspects[0].trend;
}

/* What all sites and types gained, those that lost left out. Blocks that have both count twice. */
static uint64_t all_growth(const struct snap_diff *d) {
    uint64_t all = 0;
    for (size_t i = 0; i < d->n_sites; i++)
        all = add_sat(all, minus(d->sites[i].bytes[d->n - 1], d->sites[i].bytes[0]));
    for (size_t i = 0; i < d->n_types; i++)
        all = add_sat(all, minus(d->types[i].bytes[d->n - 1], d->types[i].bytes[0]));
    return all;
}

/* Whether there can be a suspect: else the references, which take most of the time, stay unread.
 * Growth of a candidate is within that of its sites, and those of blocks without one their types'.
 */
static int has_grown(const struct snap_diff *d) {
    if (d->n < STEADY_SNAPSHOTS_MIN)
        return all_growth(d) >= line_of(d);
    for (size_t i = 0; i < d->n_sites; i++)
        if (d->sites[i].growth_bytes > (int64_t)LINE_4_BYTES)
            return 1;
    for (size_t i = 0; i < d->n_types; i++)
        if (d->types[i].growth_bytes > (int64_t)LINE_4_BYTES)
            return 1;
    /* A site that frees more than it keeps can hide what it keeps; that came in every interval. */
    for (size_t k = 0; k + 1 < d->n; k++)
        if (d->intervals[k].new_bytes <= LINE_4_BYTES / d->n)
            return 0;
    return 1;
}

static int find_in_graphs(struct work *w, const snap_heap_options *options, snap_error *err) {
    double *less = NULL;
    SNAP_TRY(index_rows(w, err));
    SNAP_TRY(cap_by_rows(w, err));
    SNAP_TRY(find_hooks(w, err));
    SNAP_TRY(naming_init(&w->naming, w->d, &w->c, err));
    SNAP_TRY(make_series(w, &less, err));
    int result = measure_series(w, less, (double)line_of(w->d), options, err);
    if (result == 0)
        result = judge_candidates(w, less, err);
    free(less);
    if (result == 0)
        result = add_uncovered_sites(w, err);
    if (result == 0)
        result = find_exclusive(w, err);
    if (result == 0)
        result = publish(w, err);
    if (result == 0)
        result = tell_bounded(w, err);
    if (result == 0)
        set_verdict(w);
    return result;
}

static int tell_limits(struct snap_diff *d, int is_too_large, snap_error *err) {
    if (is_too_large)
        return result_limit(d, err,
                            "the references do not fit into the limit on memory: who holds what "
                            "grew is not known");
    if (!d->has_graph && d->n_suspects > 0)
        return result_limit(d, err,
                            "no references in these files: where memory was allocated is known, "
                            "who holds it is not");
    return 0;
}

snap_heap_options suspects_heap_options(const snap_diff_options *options) {
    return (snap_heap_options){
        .struct_size = sizeof(snap_heap_options),
        .max_memory_bytes = options->max_graph_bytes,
        .progress = options->progress,
        .progress_context = options->progress_context,
        .lasting_roots_first = 1,
        .threads = options->threads,
    };
}

int suspects_find(struct snap_diff *d, struct pass_relation relation,
                  const snap_diff_options *options, snap_error *err) {
    const snap_snapshot *const first = d->sources[0], *const last = d->sources[d->n - 1];
    struct work w = {.d = d};
    map_init(&w.sites);
    map_init(&w.types);
    int result = 0, is_too_large = 0;
    if (!options->no_graph && snap_heap_has_graph(last) && has_grown(d)) {
        const snap_heap_options heap_options = suspects_heap_options(options);
        snap_error local = {0};
        result = candidates_init(&w.c, first, last, relation, &d->cohort, &heap_options, &local);
        if (result == SNAP_E_LIMIT) {
            result = 0;
            is_too_large = 1;
        } else if (result < 0) {
            if (err != NULL)
                *err = local;
        } else if (w.c.heap != NULL) {
            d->has_graph = 1;
            result = find_in_graphs(&w, &heap_options, err);
        }
    } else if (!options->no_graph && snap_heap_has_graph(last)) {
        d->has_graph = 1;
    }
    if (result == 0 && !d->has_graph) {
        result = add_uncovered_sites(&w, err);
        if (result == 0)
            result = publish(&w, err);
    }
    d->finding.has_references = d->has_graph;
    if (result == 0)
        result = tell_limits(d, is_too_large, err);
    naming_release(&w.naming);
    candidates_release(&w.c);
    map_release(&w.sites);
    map_release(&w.types);
    free(w.rows);
    free(w.row_of);
    free(w.own);
    free(w.site_covered);
    free(w.hook_of);
    free(w.suspects);
    return result;
}

int suspects_from_sites(struct snap_diff *d, snap_error *err) {
    struct work w = {.d = d};
    map_init(&w.sites);
    map_init(&w.types);
    int result = add_uncovered_sites(&w, err);
    if (result == 0)
        result = publish(&w, err);
    map_release(&w.sites);
    map_release(&w.types);
    free(w.rows);
    free(w.suspects);
    return result;
}

/* The arguments of each callback as a group for LeakShare. */
static int measure(struct work *w, snap_heap *h, struct hook_nodes *nodes, snap_error *err) {
    const size_t n_hooks = w->d->n_hooks;
    uint32_t *const node = mem_alloc((size_t)h->n_nodes + 1, sizeof *node);
    uint32_t *const group = mem_alloc((size_t)h->n_nodes + 1, sizeof *group);
    snap_leak_share *const shares = mem_zalloc(n_hooks + 1, sizeof *shares);
    int result = node != NULL && group != NULL && shares != NULL ? 0 : no_memory(err);
    size_t n = 0;
    for (uint32_t v = 1; result == 0 && v <= h->n_nodes; v++) {
        const uint32_t hook = map_get(&nodes->argument, v);
        if (hook == 0)
            continue;
        node[n] = v;
        group[n++] = hook - 1;
    }
    if (result == 0 && n > 0)
        result = snap_leak_share_compute(h->graph, node, group, n, (uint32_t)n_hooks,
                                         SNAP_GRAPH_ALL_DOMAINS, shares, err);
    for (size_t i = 0; result == 0 && n > 0 && i < n_hooks; i++)
        w->d->hooks[i].retained_bytes = shares[i].reach_bytes;
    free(node);
    free(group);
    free(shares);
    return result;
}

int hooks_measure(struct snap_diff *d, const snap_diff_options *options, snap_error *err) {
    const snap_snapshot *const s = d->sources[d->n - 1];
    if (d->n_hooks == 0 || d->n_hooks >= UINT32_MAX || !snap_heap_has_graph(s))
        return 0;
    const snap_heap_options heap_options = {
        .struct_size = sizeof heap_options,
        .max_memory_bytes = options->max_graph_bytes,
        .progress = options->progress,
        .progress_context = options->progress_context,
        .threads = options->threads,
    };
    struct work w = {.d = d};
    struct hook_nodes nodes;
    snap_heap *h = NULL;
    map_init(&nodes.argument);
    map_init(&nodes.holder);
    int result = snap_heap_open(&h, s, &heap_options, err);
    if (result == 0)
        result = read_hook_nodes(&w, &nodes, err);
    if (result == 0)
        result = measure(&w, h, &nodes, err);
    snap_heap_close(h);
    map_release(&nodes.argument);
    map_release(&nodes.holder);
    return result;
}
