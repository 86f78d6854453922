/* The tables of a comparison from the summaries of files alone. */
#ifndef HEAPSNAP_DIFF_SUMMARIES_H
#define HEAPSNAP_DIFF_SUMMARIES_H

#include "diff/tables.h"

/* Adds totals, types and sites of n snapshots to t, which is initialized for as many. Reads META
 * and SUMM of each, nothing else. Sites have no stacks, and there are no modules. *out_unlisted:
 * rows that a summary had no room for. */
int summaries_fill(struct tables *t, const snap_snapshot *const *snapshots, size_t n,
                   size_t *out_unlisted, snap_error *err);

#endif
