/* From sums by (domain, type, stack) of each snapshot to rows with a series over all snapshots.
 *
 * Ids mean something in one file only; rows are found by what holds across files: a stack's key, a
 * type's name, a module's path. Blocks without a type are filed under their site's label.
 * Invariant: each block adds to exactly one row of each table, so every table has the same sums.
 * Rows come in the order of first sight; sorting is up to the caller. */
#include "diff/tables.h"

#include "base/err.h"
#include "base/strtab.h"
#include "symbol/noise.h"

#include <stdio.h>
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
    map_init(&t->labels);
    map_init(&t->noise);
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
    map_release(&t->labels);
    map_release(&t->noise);
    free(t->label_texts);
    t->label_texts = NULL;
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

static const char *base_name(const char *path) {
    const char *const slash = strrchr(path, '/');
    return slash != NULL ? slash + 1 : path;
}

/* "allocated in FUNCTION", made once per function name. */
static const char *label_of_function(struct tables *t, const char *function) {
    uint32_t *const slot = map_slot(&t->labels, (uint64_t)(uintptr_t)function);
    if (slot == NULL)
        return NULL;
    if (*slot == 0) {
        static const char prefix[] = "allocated in ";
        const size_t length = strlen(function);
        char *const text = arena_bytes(&t->arena, sizeof prefix + length);
        if (text == NULL ||
            mem_grow(&t->label_texts, &t->label_capacity, t->n_labels + 1, sizeof text) < 0)
            return NULL;
        memcpy(text, prefix, sizeof prefix - 1);
        memcpy(text + sizeof prefix - 1, function, length + 1);
        t->label_texts[t->n_labels++] = text;
        *slot = (uint32_t)t->n_labels;
    }
    return t->label_texts[*slot - 1];
}

static const char *label_of_address(struct tables *t, const char *module, uint64_t offset) {
    char text[300];
    const int length =
        snprintf(text, sizeof text, "allocated in %.200s+0x%llx",
                 *module != '\0' ? base_name(module) : "unknown code", (unsigned long long)offset);
    return arena_string(&t->arena, text, (size_t)length);
}

static const char *label_of_managed(struct tables *t, const char *place) {
    char text[600];
    const int length = snprintf(text, sizeof text, "allocated in %s", place);
    return arena_string(&t->arena, text, (size_t)length);
}

static int is_noise(struct tables *t, const snap_snapshot *s, const snap_location *l) {
    if (*l->function == '\0')
        return snap_location_is_allocator(s, l);
    uint32_t *const slot = map_slot(&t->noise, (uint64_t)(uintptr_t)l->function);
    if (slot == NULL)
        return snap_location_is_allocator(s, l);
    if (*slot == 0)
        *slot = snap_location_is_allocator(s, l) ? 2 : 1;
    return *slot == 2;
}

/* The line if it is known, so that copies of an inlined function are one place; else the offset. */
static uint64_t place_of(const snap_location *l, const char *module) {
    const char *const where = base_name(l->line != 0 ? l->file : module);
    const uint64_t parts[2] = {strtab_key(where, strlen(where)),
                               l->line != 0 ? l->line : l->offset};
    return strtab_key((const char *)parts, sizeof parts);
}

/* Whether a snapshot has frames of a managed runtime: else nobody needs to look for them far out.
 */
static int has_managed(struct tables *t, const snap_snapshot *s, int *out, snap_error *err) {
    int result = 0;
    if (t->asked != s) {
        snap_batch batch;
        snap_batch_init(&batch);
        const uint32_t n_chunks = snap_n_chunks(s, SNAP_TABLE_FRAM);
        t->has_managed = 0;
        for (uint32_t i = 0; result == 0 && !t->has_managed && i < n_chunks; i++) {
            result = snap_batch_read(s, SNAP_TABLE_FRAM, i, 1u << SNAP_FRAM_COL_KIND, &batch, err);
            for (uint32_t k = 0; result == 0 && k < batch.n_rows; k++)
                t->has_managed |= batch.column[SNAP_FRAM_COL_KIND][k] != SNAP_FRAM_NATIVE;
        }
        snap_batch_release(&batch);
        t->asked = result == 0 ? s : NULL;
    }
    *out = t->has_managed;
    return result;
}

/* The first position outside of allocators (n: none), and the first of a managed runtime, + 1. */
static size_t find_places(struct tables *t, const snap_snapshot *s, const snap_location *all,
                          size_t n, size_t *out_managed) {
    size_t found = 0, managed = 0;
    while (managed < n && (all[managed].kind == SNAP_FRAM_NATIVE ||
                           (*all[managed].function == '\0' && *all[managed].file == '\0')))
        managed++;
    *out_managed = managed < n ? managed + 1 : 0;
    while (found < n && is_noise(t, s, &all[found]))
        found++;
    return found;
}

int tables_label(struct tables *t, const snap_snapshot *s, uint64_t stack, const char **out_label,
                 const char **out_module, struct table_place *out_place, snap_error *err) {
    *out_module = "";
    if (out_place != NULL)
        *out_place = (struct table_place){0};
    if (stack == 0) {
        *out_label = "allocated without a stack";
        return 0;
    }
    enum { NEAR = 12, FAR = 256 };
    snap_location near[NEAR], *all = near;
    size_t n = 0, found = 0;
    int truncated = 0;
    size_t managed = 0; /* + 1 */
    int is_mixed = 0;
    SNAP_TRY(has_managed(t, s, &is_mixed, err));
    SNAP_TRY(snap_stack(s, stack, near, NEAR, &n, &truncated, err));
    found = find_places(t, s, all, n, &managed);
    if (truncated && (found == n || (is_mixed && managed == 0))) {
        all = mem_alloc(FAR, sizeof *all);
        if (all == NULL)
            return no_memory(err);
        const int result = snap_stack(s, stack, all, FAR, &n, &truncated, err);
        if (result < 0) {
            free(all);
            return result;
        }
        found = find_places(t, s, all, n, &managed);
    }
    if (found == n)
        found = 0;
    const char *label = "allocated without a stack";
    int result = 0;
    if (n > 0) {
        const snap_location *const l = &all[found];
        snap_module module = {.path = ""};
        if (l->module != 0)
            result = snap_module_get(s, l->module, &module, err);
        *out_module = module.path;
        struct table_place place = {place_of(l, module.path), l->line};
        if (managed != 0) {
            const snap_location *const m = &all[managed - 1];
            char text[512];
            symbol_managed_place(text, sizeof text, m->file, m->line, m->function);
            label = label_of_managed(t, text);
            const uint64_t parts[2] = {place.key, strtab_key(text, strlen(text))};
            place = (struct table_place){strtab_key((const char *)parts, sizeof parts), 0};
        } else {
            label = *l->function != '\0' ? label_of_function(t, l->function)
                                         : label_of_address(t, module.path, l->offset);
        }
        if (out_place != NULL)
            *out_place = place;
    }
    if (all != near)
        free(all);
    if (result == 0 && label == NULL)
        return no_memory(err);
    *out_label = label;
    return result;
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
        const char *label;
        SNAP_TRY(tables_label(t, s, g->stack, &label, &site->module, NULL, err));
        site->type_row = tables_row(t, &t->types, g->domain, 0, label);
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
