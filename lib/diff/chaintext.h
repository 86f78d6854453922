/* Chains as reports show them: runs of equal steps folded, references in the words of the source.
 */
#ifndef HEAPSNAP_DIFF_CHAINTEXT_H
#define HEAPSNAP_DIFF_CHAINTEXT_H

#include "diff/heapload.h"

/* Strings live in the heap's arena. */
int chain_text(snap_heap *h, const snap_chain *c, const snap_retained *retained,
               snap_holder_chain *out, snap_error *err);

/* Whether the reference that leads into a step has low confidence in the file's own opinion. */
int chain_root_is_low(snap_heap *h, uint64_t root, int *out, snap_error *err);

#endif
