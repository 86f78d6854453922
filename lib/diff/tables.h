/* The tables of a comparison while they are made: one row per site, type, module and domain, with a
 * series of sums over the snapshots. */
#ifndef HEAPSNAP_DIFF_TABLES_H
#define HEAPSNAP_DIFF_TABLES_H

#include "base/mem.h"
#include "diff/groups.h"
#include "diff/labels.h"

#include <heapsnap/diff.h>

/* Series of a row, and how many of its blocks stayed. */
struct series {
    uint64_t *counts, *bytes; /* one per snapshot */
    uint64_t later_count;     /* over all intervals that were joined block by block ... */
    uint64_t later_new, later_new_bytes; /* ... and those of them that were new */
    uint64_t newer_count, newer_bytes;   /* of the last snapshot, born after the first */
};

struct row {
    const char *name; /* type's name, module's path; "" for sites and domains */
    uint64_t key;     /* stack key; 0 for others */
    uint32_t domain;
    uint32_t snapshot; /* sites: that has the stack ... */
    uint32_t stack;    /* ... by this id */
    uint32_t type_row; /* sites: row + 1 of the type that stands for blocks without one */
    uint32_t module_row;
    const char *module; /* sites: of the frame that the label names */
    struct series series;
};

struct table {
    struct row *rows;
    size_t n, capacity;
    uint32_t *slots; /* row + 1, 0: free */
    size_t mask;
};

struct tables {
    size_t n_snapshots;
    struct arena arena; /* series and names; lives as long as the result */
    struct table sites, types, modules, totals;
    struct labels labels;
};

int tables_init(struct tables *t, size_t n_snapshots);
void tables_release(struct tables *t); /* all but the arena, which the caller took over */

/* Index + 1 of a table's row, made with series of zeros if absent; 0: no memory. name must live as
 * long as the arena. */
uint32_t tables_row(struct tables *all, struct table *t, uint32_t domain, uint64_t key,
                    const char *name);

/* Adds the sums of snapshot number `index`. was_joined: its new_* say something. */
int tables_add(struct tables *t, const snap_snapshot *s, size_t index, const struct groups *groups,
               int was_joined, snap_error *err);

/* A table over something else than nodes: inits t, and adds what `group` sums by stack in each
 * snapshot. On an error, too, the caller takes the arena and releases the rest. */
int tables_fill(struct tables *t, const snap_snapshot *const *snapshots, size_t n,
                int (*group)(const snap_snapshot *s, struct groups *groups, snap_error *err),
                snap_error *err);

#endif
