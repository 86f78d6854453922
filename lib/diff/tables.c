/* From sums by (domain, type, stack) of each snapshot to rows with a series over all snapshots.
 *
 * Ids mean something in one file only; rows are found by what holds across files: a stack's key, a
 * type's name, a module's path. Blocks without a type are filed under their site's label.
 * Invariant: each block adds to exactly one row of each table, so every table has the same sums.
 * Rows come in the order of first sight; sorting is up to the caller. */
#include "diff/tables.h"

#include "base/err.h"

#include <stdlib.h>
#include <string.h>

static int no_memory(snap_error *err) {
    return err_set(err, SNAP_E_NOMEM, "no memory for the tables of sites and types");
}

static int table_init(struct table *t) {
    memset(t, 0, sizeof *t);
    t->mask = 63;
    t->slots = mem_zalloc(t->mask + 1, sizeof *t->slots);
    return t->slots == NULL ? -1 : 0;
}

static void table_release(struct table *t) {
    free(t->rows);
    free(t->slots);
    memset(t, 0, sizeof *t);
}

int tables_init(struct tables *t, size_t n_snapshots) {
    memset(t, 0, sizeof *t);
    t->n_snapshots = n_snapshots;
    arena_init(&t->arena);
    labels_init(&t->labels, &t->arena);
    if (table_init(&t->sites) < 0 || table_init(&t->types) < 0 || table_init(&t->modules) < 0 ||
        table_init(&t->totals) < 0) {
        tables_release(t);
        return -1;
    }
    return 0;
}

void tables_release(struct tables *t) {
    table_release(&t->sites);
    table_release(&t->types);
    table_release(&t->modules);
    table_release(&t->totals);
    labels_release(&t->labels);
}

static size_t hash(uint32_t domain, uint64_t key, const char *name) {
    uint64_t x = key ^ domain * 0x9e3779b97f4a7c15ull;
    for (; *name != '\0'; name++)
        x = (x ^ (unsigned char)*name) * 0x100000001b3ull;
    x = (x ^ x >> 32) * 0xd6e8feb86659fd93ull;
    return (size_t)(x ^ x >> 32);
}

static int rehash(struct table *t) {
    const size_t n_slots = (t->mask + 1) * 2;
    uint32_t *const slots = mem_zalloc(n_slots, sizeof *slots);
    if (slots == NULL)
        return -1;
    for (size_t i = 0; i < t->n; i++) {
        size_t at = hash(t->rows[i].domain, t->rows[i].key, t->rows[i].name) & (n_slots - 1);
        while (slots[at] != 0)
            at = (at + 1) & (n_slots - 1);
        slots[at] = (uint32_t)i + 1;
    }
    free(t->slots);
    t->slots = slots;
    t->mask = n_slots - 1;
    return 0;
}

uint32_t tables_row(struct tables *all, struct table *t, uint32_t domain, uint64_t key,
                    const char *name) {
    size_t at = hash(domain, key, name) & t->mask;
    for (; t->slots[at] != 0; at = (at + 1) & t->mask) {
        const struct row *const row = &t->rows[t->slots[at] - 1];
        if (row->key == key && row->domain == domain && strcmp(row->name, name) == 0)
            return t->slots[at];
    }
    if (t->n >= UINT32_MAX - 1 || mem_grow(&t->rows, &t->capacity, t->n + 1, sizeof *t->rows) < 0)
        return 0;
    uint64_t *const series = arena_alloc(&all->arena, all->n_snapshots * 2 * sizeof *series);
    if (series == NULL)
        return 0;
    memset(series, 0, all->n_snapshots * 2 * sizeof *series);
    t->rows[t->n++] = (struct row){
        .name = name,
        .key = key,
        .domain = domain,
        .series = {.counts = series, .bytes = series + all->n_snapshots},
    };
    const uint32_t found = (uint32_t)t->n;
    t->slots[at] = found;
    if (t->n * 2 > t->mask && rehash(t) < 0)
        return 0;
    return found;
}

static void add(struct series *s, const struct tables *t, size_t index, const struct group *g,
                int was_joined) {
    s->counts[index] = add_sat(s->counts[index], g->count);
    s->bytes[index] = add_sat(s->bytes[index], g->bytes);
    if (was_joined) {
        s->later_count = add_sat(s->later_count, g->count);
        s->later_new = add_sat(s->later_new, g->new_count);
        s->later_new_bytes = add_sat(s->later_new_bytes, g->new_bytes);
    }
    if (index + 1 == t->n_snapshots) {
        s->newer_count = add_sat(s->newer_count, g->newer_count);
        s->newer_bytes = add_sat(s->newer_bytes, g->newer_bytes);
    }
}

/* Names of the types that occur, by id; NULL where not needed. */
static int read_type_names(const snap_snapshot *s, const struct groups *groups, const char ***out,
                           snap_error *err) {
    const uint64_t n_types = snap_rows(s, SNAP_TABLE_TYPE);
    uint32_t most = 0;
    for (size_t i = 0; i < groups->n; i++)
        most = groups->rows[i].type > most ? groups->rows[i].type : most;
    if (most > n_types)
        return err_set_at(err, SNAP_E_CORRUPT, SNAP_ID_NODE, 0, "a type that is not in the file");
    const char **const names = mem_zalloc((size_t)most + 1, sizeof *names);
    if (names == NULL)
        return no_memory(err);
    for (size_t i = 0; i < groups->n; i++)
        names[groups->rows[i].type] = "";
    snap_batch batch;
    snap_batch_init(&batch);
    int result = 0;
    const uint32_t n_chunks = most != 0 ? snap_n_chunks(s, SNAP_TABLE_TYPE) : 0;
    for (uint32_t chunk = 0; chunk < n_chunks && result == 0; chunk++) {
        result = snap_batch_read(s, SNAP_TABLE_TYPE, chunk, 1u << SNAP_TYPE_COL_NAME, &batch, err);
        for (uint32_t row = 0; result == 0 && row < batch.n_rows; row++) {
            const uint64_t id = batch.first_id + row;
            if (id <= most && names[id] != NULL)
                result = snap_string(s, batch.column[SNAP_TYPE_COL_NAME][row], &names[id], err);
        }
    }
    snap_batch_release(&batch);
    if (result < 0)
        free(names);
    else
        *out = names;
    return result;
}

/* The site of a group, with its label, the type that stands for it, and its module. */
static int find_site(struct tables *t, const snap_snapshot *s, size_t index, const struct group *g,
                     struct row **out, snap_error *err) {
    uint64_t key;
    SNAP_TRY(snap_stack_key(s, g->stack, &key, err));
    const uint32_t found = tables_row(t, &t->sites, g->domain, key, "");
    if (found == 0)
        return no_memory(err);
    struct row *const site = &t->sites.rows[found - 1];
    if (site->type_row == 0) {
        struct site_label label;
        SNAP_TRY(labels_of(&t->labels, s, g->stack, &label, err));
        site->module = label.module;
        site->type_row = tables_row(t, &t->types, g->domain, 0, label.label);
        site->module_row = tables_row(t, &t->modules, g->domain, 0, site->module);
        if (site->type_row == 0 || site->module_row == 0)
            return no_memory(err);
    }
    site->snapshot = (uint32_t)index;
    site->stack = g->stack;
    *out = site;
    return 0;
}

int tables_add(struct tables *t, const snap_snapshot *s, size_t index, const struct groups *groups,
               int was_joined, snap_error *err) {
    const char **type_names = NULL;
    SNAP_TRY(read_type_names(s, groups, &type_names, err));
    int result = 0;
    for (size_t i = 0; i < groups->n && result == 0; i++) {
        const struct group *const g = &groups->rows[i];
        struct row *site = NULL;
        result = find_site(t, s, index, g, &site, err);
        if (result < 0)
            break;
        uint32_t type_row = site->type_row;
        if (*type_names[g->type] != '\0')
            type_row = tables_row(t, &t->types, g->domain, 0, type_names[g->type]);
        const uint32_t total_row = tables_row(t, &t->totals, g->domain, 0, "");
        if (type_row == 0 || total_row == 0) {
            result = no_memory(err);
            break;
        }
        add(&site->series, t, index, g, was_joined);
        add(&t->types.rows[type_row - 1].series, t, index, g, was_joined);
        add(&t->modules.rows[site->module_row - 1].series, t, index, g, was_joined);
        add(&t->totals.rows[total_row - 1].series, t, index, g, was_joined);
    }
    free(type_names);
    return result;
}

int tables_fill(struct tables *t, const snap_snapshot *const *snapshots, size_t n,
                int (*group)(const snap_snapshot *s, struct groups *groups, snap_error *err),
                snap_error *err) {
    if (tables_init(t, n) < 0)
        return no_memory(err);
    int result = 0;
    for (size_t i = 0; i < n && result == 0; i++) {
        struct groups groups;
        result = groups_init(&groups, 0) < 0 ? no_memory(err) : 0;
        if (result == 0)
            result = group(snapshots[i], &groups, err);
        if (result == 0 && groups.n > 0)
            result = tables_add(t, snapshots[i], i, &groups, 0, err);
        groups_release(&groups);
    }
    return result;
}
