/* What dominator.c leaves for retained.c: the dominator tree in depth-first numbers.
 *
 * Number 0 is the virtual root; the nodes that are covered have 1 to count - 1, each a greater one
 * than its dominator. */
#ifndef HEAPSNAP_DOMINATOR_H
#define HEAPSNAP_DOMINATOR_H

#include "graph/internal.h"

struct snap_dominators {
    snap_graph *g;
    uint32_t count;         /* numbers in use, 0 included */
    uint32_t *number;       /* by node; 0: not covered */
    uint32_t *node;         /* by number */
    uint32_t *parent;       /* by number: number of the immediate dominator */
    uint32_t *child_offset; /* by number, count + 1 of them; NULL until asked for */
    uint32_t *child;        /* nodes */
};

/* Builds child_offset and child if they are not there. */
int dominators_index_children(snap_dominators *d, snap_error *err);

#endif
