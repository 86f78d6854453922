/* Places: nodes that are held in the same way, as the top of a chain from a root tells it. */
#ifndef HEAPSNAP_DIFF_PLACES_H
#define HEAPSNAP_DIFF_PLACES_H

#include "diff/heapload.h"

/* A place is the step from another one over references of one kind and field to nodes of one type;
 * or, at the top, what roots of one kind and name refer to. Elements of a table share a place, the
 * nodes of a list do, and so do those of a tree: a step that leads back to a type met above leads
 * back to its place. */
struct place {
    uint32_t parent; /* less than its own number; 0: at a root */
    uint32_t type;
    uint64_t row; /* of a reference (parent 0: a root) that leads into it */
    uint64_t field;
    uint64_t key; /* of the whole path: the same in every file */
    uint32_t count;
    uint32_t depth;
    uint64_t bytes;
    uint8_t kind;    /* SNAP_EDGE_*, or SNAP_ROOT_* if parent is 0 */
    uint8_t is_list; /* its nodes refer to others of it */
    uint8_t is_low;  /* a reference of low confidence is on the way */
};

struct places {
    struct place *rows; /* 1 to n */
    uint32_t n;
    size_t capacity;
    uint32_t *of; /* by node; 0: no chain leads there */
    snap_paths *paths;
    const uint64_t *marked;
    struct place_slot {
        uint32_t place, tag; /* 0: free; part of the hash, so that few rows are looked at */
    } * slots;
    size_t mask;
};

/* Entries of a dictionary that are marked (bit per node; NULL: none) have one place, as elements of
 * an array do: what came and goes is not told by its key, what stays is. O(nodes); 4 B/node, 64 B
 * per place, and what chains take. */
int places_init(struct places *p, snap_heap *h, const uint64_t *marked, snap_error *err);
void places_release(struct places *p);

#endif
