/* One pass over the blocks of a snapshot, or over those of two side by side. */
#ifndef HEAPSNAP_DIFF_PASS_H
#define HEAPSNAP_DIFF_PASS_H

#include "diff/groups.h"
#include "diff/walk.h"

#include <heapsnap/diff.h>

/* Which blocks can be the same in both: births tell blocks of one lineage apart, so of two related
 * lineages only the blocks that were inherited at the fork can be. */
struct pass_relation {
    int match;            /* 0: other processes; only sums */
    int only_inherited_a; /* the earlier snapshot is of a forked child */
    int only_inherited_b;
};

struct pass_relation pass_relation_of(const snap_snapshot *a, const snap_snapshot *b);
int pass_is_same_lineage(const snap_snapshot *a, const snap_snapshot *b);

/* Which blocks of the later snapshot are new since the earlier one, and which of that are gone. */
struct cohort {
    uint64_t *fresh; /* bit per node of the later snapshot, by id */
    uint64_t *gone;  /* bit per node of the earlier */
    uint64_t n_fresh, n_gone;
};

struct pass_input {
    struct source *earlier; /* NULL: sums of `later` alone */
    struct source *later;
    struct pass_relation relation;
    /* NULL: not wanted. Empty at first, and afterwards if it takes more than a pass to know: where
     * blocks have no birth, were inherited, or were not in order. The caller frees the bits. */
    struct cohort *cohort;
    uint64_t newer_than; /* births above are "newer"; UINT64_MAX: none */
    unsigned threads;
    int (*progress)(void *context, uint64_t done, uint64_t total);
    void *progress_context;
    uint64_t progress_done, progress_total; /* in rows, over all passes */
};

struct pass_result {
    struct groups earlier, later;
    uint64_t surviving_count, surviving_bytes;
    uint64_t max_birth; /* of the later snapshot */
    int by_address;     /* blocks without birth took part */
};

/* Runs it. `result` must be released, also after a failure. */
int pass_run(struct pass_input *in, struct pass_result *result, snap_error *err);
void pass_result_release(struct pass_result *r);

#endif
