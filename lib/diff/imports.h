/* Modules that were imported in between, as one thing. */
#ifndef HEAPSNAP_DIFF_IMPORTS_H
#define HEAPSNAP_DIFF_IMPORTS_H

#include "diff/candidates.h"
#include "diff/result.h"

struct imports {
    uint64_t *series; /* sums of all: counts, then bytes, one per snapshot; NULL: none yet */
    uint32_t *members;
    size_t n_members, capacity;
    uint64_t total_bytes; /* that hang on them */
};

void imports_release(struct imports *m);

/* Adds a candidate with its series, counts first; NOMEM. */
int imports_add(struct imports *m, struct snap_diff *d, const struct candidates *c,
                uint32_t candidate, const uint64_t *series, snap_error *err);

/* The member that grew most, the lead: it stands for all, which are merged into it. */
uint32_t imports_merge(const struct imports *m, struct candidates *c);

/* Says of a suspect that it stands for all members, and names them, the largest first. */
int imports_name(const struct imports *m, struct snap_diff *d, const struct candidates *c,
                 uint32_t lead, snap_diff_suspect *s, snap_error *err);

#endif
