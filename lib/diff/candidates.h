/* What grew between two snapshots, as few things as possible: candidates for suspects. */
#ifndef HEAPSNAP_DIFF_CANDIDATES_H
#define HEAPSNAP_DIFF_CANDIDATES_H

#include "diff/cohort.h"
#include "diff/places.h"

enum candidate_kind {
    CANDIDATE_HELD,   /* more nodes in a place */
    CANDIDATE_BUFFER, /* as many nodes as before, but larger ones */
    CANDIDATE_LOST    /* nodes that no root leads to */
};

struct candidate {
    enum candidate_kind kind;
    uint32_t place; /* lost: 0 */
    uint32_t node;  /* the newest of the topmost fresh nodes */
    uint32_t type;
    uint64_t n_entries;                   /* topmost fresh nodes */
    uint64_t net_bytes;                   /* fresh minus gone */
    uint64_t total_count;                 /* of the place (lost: of such lost nodes) */
    uint64_t total_bytes;                 /* with all below, but for other candidates */
    uint64_t garbage_bytes, device_bytes; /* of what is fresh */
    uint64_t autograd_bytes;
    uint32_t merged_into; /* candidate + 1; 0: none */
    int is_below;         /* merged into one above it: none of its nodes is topmost */
    int is_cycle;         /* lost: a circle that counts references */
    int is_garbage;       /* lost: a circle of objects under a collector */
    uint32_t cycle_node;  /* lost: one of the largest circle; 0: none */
    uint64_t cycle_bytes;
};

/* Fresh nodes of a candidate in one place from one stack. */
struct cell {
    uint32_t candidate, place, stack, type, domain;
    uint64_t count, bytes;           /* fresh */
    uint64_t old_count, old_bytes;   /* others, if some of them may have moved here */
    double net_count, net_bytes;     /* of the fresh ones, without those that took others' place */
    double moved_count, moved_bytes; /* of the others, growth of this place but not of the heap */
};

struct candidates {
    snap_heap *heap; /* of the last snapshot */
    struct places places;
    struct cohort cohort;
    struct candidate *rows;
    size_t n, capacity;
    struct cell *cells;
    size_t n_cells, cell_capacity;
    uint32_t *entry;           /* by node: candidate + 1 that it is counted under; 0: none */
    uint64_t *is_top;          /* bit per node: topmost of its candidate */
    uint64_t *is_leader;       /* bit per node: lost nodes are counted under it; NULL: none */
    uint32_t *place_candidate; /* by place: candidate + 1 */
    uint64_t *place_fresh_count, *place_fresh_bytes, *place_total_bytes;
    struct map lost;         /* candidates_lost_key -> candidate + 1 */
    uint32_t *place_owner;   /* by place: struct owner, packed */
    struct map owner_of_key; /* place.key -> the same */
};

/* The candidate that another was merged into; itself if into none. */
static inline uint32_t candidates_lead(const struct candidates *c, uint32_t candidate) {
    while (c->rows[candidate].merged_into != 0)
        candidate = c->rows[candidate].merged_into - 1;
    return candidate;
}

/* Whether a candidate is a module of a managed runtime that is held by the table of modules, or by
 * an extension's own variable. */
int candidates_is_module(const struct candidates *c, const struct candidate *r);

/* Which candidate counts the nodes of a place, and whether they are its topmost ones. */
struct owner {
    uint32_t candidate; /* + 1, never one that was merged into another; 0: none */
    int is_top;
};

static inline struct owner owner_unpack(uint32_t packed) {
    return (struct owner){packed >> 2, (int)(packed >> 1 & 1)};
}

/* Of a place known in the last snapshot, by its key; else what it inherits from the place above it.
 * *out_packed: to inherit from. */
uint32_t candidates_owner(const struct candidates *c, uint64_t place_key, uint32_t inherited,
                          struct owner *out);

/* known: what a pass over both found out, if it did; taken. first without references, or not
 * related to the last: what is gone is unknown, and all of the last is fresh. LIMIT: the references
 * need more than max_bytes (0: no limit). */
int candidates_init(struct candidates *c, const snap_snapshot *first, const snap_snapshot *last,
                    struct pass_relation relation, struct cohort *known,
                    const snap_heap_options *options, snap_error *err);
void candidates_release(struct candidates *c);

/* Of a file's heap; leader: of snap_lost_leader. Equal in all files. */
int candidates_lost_key(snap_heap *h, uint32_t leader, uint64_t *out, snap_error *err);
/* Unreachable nodes: what they are counted under; NULL if there are none. */
int candidates_find_lost(snap_heap *h, const struct places *p, snap_lost **out, snap_error *err);

#endif
