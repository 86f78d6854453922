/* The result of a comparison, behind the opaque type of diff.h. */
#ifndef HEAPSNAP_DIFF_RESULT_H
#define HEAPSNAP_DIFF_RESULT_H

#include "base/mem.h"
#include "diff/pass.h"
#include "diff/tables.h"

#include <heapsnap/diff.h>

struct snap_diff {
    /* All below lives there, but for the arrays that grow. */
    struct arena arena, table_arena, mapped_arena, resource_arena;
    size_t n;
    const snap_snapshot **sources; /* in the order of the comparison */
    snap_diff_snapshot *snapshots;
    snap_diff_interval *intervals;
    double *position; /* of each snapshot on the axis of trends */
    int position_is_step;
    struct cohort cohort; /* of two snapshots, if their pass told it; the suspects take it */
    int by_address;       /* blocks without birth were matched */
    int was_sorted;       /* the order given was changed */
    int from_summaries;   /* nothing else was read: sites have no stacks */
    snap_diff_site *sites;
    snap_diff_type *types, *modules, *totals;
    size_t n_sites, n_types, n_modules, n_totals;
    snap_diff_site *mapped;
    size_t n_mapped;
    snap_diff_device *devices;
    size_t n_devices;
    snap_diff_hook *hooks;
    size_t n_hooks;
    snap_diff_suspect *suspects;
    size_t n_suspects;
    int has_graph; /* suspects come from references */
    snap_diff_finding finding;
    const struct snap_diff *baseline; /* NULL: none; the caller's */
    const char **limits;
    size_t n_limits, limit_capacity;
    snap_diff_not_leak *not_leaks;
    size_t n_not_leaks, not_leak_capacity;
};

/* Adds a sentence, printf-like; NOMEM. */
int result_limit(struct snap_diff *d, snap_error *err, const char *format, ...) SNAP_PRINTF(3, 4);
int result_not_leak(struct snap_diff *d, snap_error *err, const char *kind, uint64_t bytes,
                    const char *format, ...) SNAP_PRINTF(5, 6);

/* Two snapshots are of one program if the file names of their executables agree: a path changes
 * with the container, the mount or the build directory. */
int result_is_same_program(const snap_snapshot *a, const snap_snapshot *b, const char **out_a,
                           const char **out_b);

/* Steps from the first snapshot to the last; snapshots where there are no steps. */
int64_t result_n_steps(const struct snap_diff *d);

/* What growth of another comparison would be over as many steps as this has. */
int64_t result_as_long(const struct snap_diff *d, const struct snap_diff *other, int64_t growth);

#endif
