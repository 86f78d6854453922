/* Which blocks are the same in two snapshots, whatever it takes to know; struct cohort is in
 * pass.h. */
#ifndef HEAPSNAP_DIFF_COHORT_H
#define HEAPSNAP_DIFF_COHORT_H

#include "diff/pass.h"

static inline int cohort_bit(const uint64_t *bits, uint64_t id) {
    return bits != NULL ? (int)(bits[id >> 6] >> (id & 63) & 1) : 1;
}

/* Without a relation nothing is the same: all are fresh, all are gone. O(n log n) if a file is not
 * sorted, else O(n); 24 B per node of both while it runs, 1 bit kept. threads: 1, or 2 for both
 * files at a time. */
int cohort_init(struct cohort *c, const snap_snapshot *first, const snap_snapshot *last,
                struct pass_relation relation, unsigned threads, snap_error *err);
void cohort_release(struct cohort *c);

/* By id of a block of `from`: the id of the same block in `to`; 0: it is not there. The caller
 * frees it. relation must match. As cohort_init, and 4 B per node kept. */
int cohort_partners(const snap_snapshot *from, const snap_snapshot *to,
                    struct pass_relation relation, unsigned threads, uint32_t **out,
                    snap_error *err);

#endif
