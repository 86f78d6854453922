/* From candidates to the suspects of a result. */
#ifndef HEAPSNAP_DIFF_SUSPECTS_H
#define HEAPSNAP_DIFF_SUSPECTS_H

#include <heapsnap/holder.h>

#include "diff/pass.h"
#include "diff/result.h"

/* Finds, judges, names and ranks suspects, after judge(); sets the verdict anew if they come from
 * references. relation: of the first snapshot and the last. */
int suspects_find(struct snap_diff *d, struct pass_relation relation,
                  const snap_diff_options *options, snap_error *err);

/* The same by sites alone, where nothing else was read; the verdict stays. */
int suspects_from_sites(struct snap_diff *d, snap_error *err);

/* Fills retained_bytes of the hooks of a single snapshot: what can be reached through their
 * arguments only. */
int hooks_measure(struct snap_diff *d, const snap_diff_options *options, snap_error *err);

/* How references are read for suspects. */
snap_heap_options suspects_heap_options(const snap_diff_options *options);

#endif
