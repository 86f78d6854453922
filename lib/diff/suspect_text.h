/* Holder, chain and advice of a suspect, as text. */
#ifndef HEAPSNAP_DIFF_SUSPECT_TEXT_H
#define HEAPSNAP_DIFF_SUSPECT_TEXT_H

#include "diff/candidates.h"
#include "diff/result.h"
#include "diff/views.h"

struct naming {
    struct snap_diff *d;
    struct candidates *c;
    uint64_t *fresh_below; /* by place: fresh bytes of it and all below */
    uint32_t *heaviest;    /* by place: child with most of these; 0: none */
    struct views *views;   /* by place; NULL: none */
};

int naming_init(struct naming *n, struct snap_diff *d, struct candidates *c, snap_error *err);
void naming_release(struct naming *n);

/* Fills holder, root, thread, chain, is_doubtful and advice; class, type, domain and hook are set.
 * Strings live in the result's arena. */
int naming_suspect(struct naming *n, const struct candidate *r, snap_diff_suspect *s,
                   snap_error *err);

/* A sentence that names what to call. Static. */
const char *naming_advice(const snap_diff_suspect *s);

#endif
