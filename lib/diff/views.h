/* Views of tensors: what they show, and what they keep. */
#ifndef HEAPSNAP_DIFF_VIEWS_H
#define HEAPSNAP_DIFF_VIEWS_H

#include "diff/candidates.h"

struct views {
    uint64_t count, shown_bytes, kept_bytes; /* kept: of fresh storages, each once */
};

/* By place: fresh views of fresh storages that are in it or below; NULL: there are none. The caller
 * frees it. Reads the labels of all nodes; if one of them is of a view, all references. */
int views_find(const struct candidates *c, struct views **out, snap_error *err);

#endif
