/* From the summary chunks of files to the tables of a comparison, so that a trend over many files
 * opens no table of blocks.
 *
 * A summary lists the largest types and sites and adds up the rest. What one file lists and another
 * does not is there at most as large as the smallest that is listed, and is taken to be so, but not
 * larger than it was before: growth is then understated, never invented. Invariant: a listed value
 * is never changed. */
#include "diff/summaries.h"

#include "base/err.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Domains are few, but for those that a stranger's file makes up; theirs are not filled in. */
#define DOMAINS_MAX 16

/* What a summary does not list of one kind and domain. */
struct rest {
    uint64_t count, bytes;                   /* sum of it; 0: nothing is left out */
    uint64_t smallest_count, smallest_bytes; /* of what is listed */
    int has_rows;
};

struct filling {
    struct tables *t;
    struct rest *types, *sites; /* n_snapshots x DOMAINS_MAX */
    size_t unlisted;
};

static int no_memory(snap_error *err) {
    return err_set(err, SNAP_E_NOMEM, "no memory for the summaries");
}

static void add(struct row *row, size_t index, const snap_summary_row *from) {
    row->series.counts[index] = add_sat(row->series.counts[index], from->count);
    row->series.bytes[index] = add_sat(row->series.bytes[index], from->bytes);
}

static void note_rest(struct rest *all, size_t index, const snap_summary_row *row) {
    if (row->domain >= DOMAINS_MAX)
        return;
    struct rest *const rest = &all[index * DOMAINS_MAX + row->domain];
    if (row->key == 0) {
        rest->count = row->count;
        rest->bytes = row->bytes;
        return;
    }
    if (!rest->has_rows || row->bytes < rest->smallest_bytes)
        rest->smallest_bytes = row->bytes;
    if (!rest->has_rows || row->count < rest->smallest_count)
        rest->smallest_count = row->count;
    rest->has_rows = 1;
}

static const char *site_label(struct tables *t, const snap_summary_row *row) {
    if (row->key == 0)
        return "allocated without a stack, or elsewhere";
    char text[300];
    const int length = snprintf(text, sizeof text, "allocated in %.250s",
                                *row->label != '\0' ? row->label : "unknown code");
    return arena_string(&t->arena, text, (size_t)length);
}

/* A type is known by its name, which the summary cuts; its key is of the whole name. */
static int add_type(struct filling *f, size_t index, const snap_summary_row *row, snap_error *err) {
    const char *const name = row->key == 0 ? "no type, or a small one" : row->label;
    const uint32_t found = tables_row(f->t, &f->t->types, row->domain, row->key, name);
    if (found == 0)
        return no_memory(err);
    add(&f->t->types.rows[found - 1], index, row);
    note_rest(f->types, index, row);
    return 0;
}

static int add_site(struct filling *f, size_t index, const snap_summary_row *row, snap_error *err) {
    const uint32_t found = tables_row(f->t, &f->t->sites, row->domain, row->key, "");
    if (found == 0)
        return no_memory(err);
    struct row *const site = &f->t->sites.rows[found - 1];
    if (site->type_row == 0) {
        const char *const label = site_label(f->t, row);
        if (label == NULL)
            return no_memory(err);
        site->type_row = tables_row(f->t, &f->t->types, row->domain, 0, label);
        if (site->type_row == 0)
            return no_memory(err);
        site->module = "";
    }
    site->snapshot = (uint32_t)index;
    add(site, index, row);
    note_rest(f->sites, index, row);
    return 0;
}

static int add_total(struct filling *f, size_t index, const snap_summary_row *row,
                     snap_error *err) {
    const uint32_t found = tables_row(f->t, &f->t->totals, row->domain, 0, "");
    if (found == 0)
        return no_memory(err);
    add(&f->t->totals.rows[found - 1], index, row);
    return 0;
}

static int add_summary(struct filling *f, const snap_snapshot *s, size_t index, snap_error *err) {
    const snap_summary_row *rows;
    size_t n;
    SNAP_TRY(snap_summary(s, &rows, &n, err));
    for (size_t i = 0; i < n; i++) {
        switch (rows[i].kind) {
        case SNAP_SUMM_TOTAL: SNAP_TRY(add_total(f, index, &rows[i], err)); break;
        case SNAP_SUMM_TYPE: SNAP_TRY(add_type(f, index, &rows[i], err)); break;
        case SNAP_SUMM_SITE: SNAP_TRY(add_site(f, index, &rows[i], err)); break;
        default: break;
        }
    }
    return 0;
}

static uint64_t smaller(uint64_t a, uint64_t b) {
    return a < b ? a : b;
}

/* Rows that a file does not list, though it leaves some out. */
static void fill_in(struct filling *f, struct table *table, const struct rest *all) {
    for (size_t i = 0; i < table->n; i++) {
        struct row *const row = &table->rows[i];
        if (row->key == 0 || row->domain >= DOMAINS_MAX)
            continue;
        for (size_t k = 0; k < f->t->n_snapshots; k++) {
            const struct rest *const rest = &all[k * DOMAINS_MAX + row->domain];
            if (row->series.counts[k] != 0 || rest->count == 0)
                continue;
            uint64_t count = smaller(rest->count, rest->smallest_count);
            uint64_t bytes = smaller(rest->bytes, rest->smallest_bytes);
            if (k > 0) {
                count = smaller(count, row->series.counts[k - 1]);
                bytes = smaller(bytes, row->series.bytes[k - 1]);
            }
            row->series.counts[k] = count;
            row->series.bytes[k] = bytes;
            f->unlisted++;
        }
    }
}

static int is_typed(const struct table *types, uint32_t domain) {
    for (size_t i = 0; i < types->n; i++)
        if (types->rows[i].domain == domain && types->rows[i].key != 0)
            return 1;
    return 0;
}

/* In a domain without any types, sites stand for them, as in a comparison of blocks. */
static void stand_in(struct tables *t) {
    for (size_t i = 0; i < t->types.n; i++) {
        struct row *const type = &t->types.rows[i];
        if (type->key == 0 && !is_typed(&t->types, type->domain))
            for (size_t k = 0; k < t->n_snapshots; k++)
                type->series.counts[k] = type->series.bytes[k] = 0;
    }
    for (size_t i = 0; i < t->sites.n; i++) {
        const struct row *const site = &t->sites.rows[i];
        if (is_typed(&t->types, site->domain))
            continue;
        struct series *const s = &t->types.rows[site->type_row - 1].series;
        for (size_t k = 0; k < t->n_snapshots; k++) {
            s->counts[k] = add_sat(s->counts[k], site->series.counts[k]);
            s->bytes[k] = add_sat(s->bytes[k], site->series.bytes[k]);
        }
    }
}

int summaries_fill(struct tables *t, const snap_snapshot *const *snapshots, size_t n,
                   size_t *out_unlisted, snap_error *err) {
    struct filling f = {
        .t = t,
        .types = mem_zalloc(n * DOMAINS_MAX, sizeof *f.types),
        .sites = mem_zalloc(n * DOMAINS_MAX, sizeof *f.sites),
    };
    int result = f.types != NULL && f.sites != NULL ? 0 : no_memory(err);
    for (size_t i = 0; i < n && result == 0; i++)
        result = add_summary(&f, snapshots[i], i, err);
    if (result == 0) {
        fill_in(&f, &t->types, f.types);
        fill_in(&f, &t->sites, f.sites);
        stand_in(t);
    }
    *out_unlisted = f.unlisted;
    free(f.types);
    free(f.sites);
    return result;
}
