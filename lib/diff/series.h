/* How many nodes and bytes each candidate had in every snapshot. */
#ifndef HEAPSNAP_DIFF_SERIES_H
#define HEAPSNAP_DIFF_SERIES_H

#include "diff/candidates.h"

/* A candidate's sums in one snapshot, counted in two ways. They differ where nodes moved from one
 * place to another, or where a shorter way led to them at that time. */
struct series_point {
    uint64_t count, bytes;                 /* what was in the candidate's places then */
    uint64_t count_by_node, bytes_by_node; /* what the last snapshot has is the candidate's that it
                                              is there, the rest by places */
    int has_nodes; /* the processes are related, so that nodes can be told */
};

/* The candidates' sums in s, an earlier snapshot than that of c: out has c->n. Reads the references
 * of s, which are in memory beside those of the last snapshot meanwhile, and 5 B per node. */
int series_measure(struct candidates *c, const snap_snapshot *s, const snap_heap_options *options,
                   struct series_point *out, snap_error *err);

#endif
