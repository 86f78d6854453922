/* Walking the NODE rows of a snapshot in the order (domain, address, birth), part by part. */
#ifndef HEAPSNAP_DIFF_WALK_H
#define HEAPSNAP_DIFF_WALK_H

#include <heapsnap/snapshot.h>

/* The columns that a comparison needs. */
enum walk_column {
    WALK_DOMAIN,
    WALK_KIND,
    WALK_ADDRESS,
    WALK_SIZE,
    WALK_TYPE,
    WALK_STACK,
    WALK_BIRTH,
    WALK_FLAGS,
    WALK_EXTERNAL,
    WALK_N_COLUMNS
};

/* A snapshot's rows: straight from its chunks if they are sorted, else a sorted copy in memory. */
struct source {
    const snap_snapshot *snapshot;
    uint32_t n_blocks;
    uint64_t n_rows;
    uint64_t *sorted; /* WALK_N_COLUMNS arrays of n_rows; NULL: read chunks */
};

struct walk_key {
    uint64_t domain, address;
};
struct walk_position {
    uint32_t block, row;
};

/* A part of a source: positions [from, to) and the bounds that its keys obey if the rows are
 * sorted. */
struct walk_range {
    struct walk_position from, to;
    struct walk_key low, high;
    int has_low, has_high;
};

/* One row after the other. `row` runs from its first value to `n`, then walk_load fetches more. */
struct cursor {
    const struct source *source;
    struct walk_range range;
    const uint64_t *column[WALK_N_COLUMNS];
    uint32_t row, n;
    uint32_t next_block;
    int is_open, check_order;
    struct walk_key last;
    uint64_t last_birth;
    snap_batch batch;
};

/* The source must be released; a META key that says unsorted makes a sorted copy. */
int source_init(struct source *s, const snap_snapshot *snapshot, snap_error *err);
int source_sort(struct source *s, snap_error *err);
void source_release(struct source *s);

/* Where the rows with a key of at least `key` start. */
int source_find(const struct source *s, struct walk_key key, struct walk_position *out,
                snap_error *err);
int source_first_key(const struct source *s, uint32_t block, struct walk_key *out, snap_error *err);

void cursor_init(struct cursor *c, const struct source *source, const struct walk_range *range,
                 int check_order);
void cursor_release(struct cursor *c);

#define WALK_END 1
#define WALK_UNSORTED 2
/* Fetches the next rows: 0, WALK_END, WALK_UNSORTED (the order that the file promised is broken),
 * or an error. */
int walk_load(struct cursor *c, snap_error *err);

static inline int walk_key_compare(struct walk_key a, struct walk_key b) {
    if (a.domain != b.domain)
        return a.domain < b.domain ? -1 : 1;
    return a.address < b.address ? -1 : a.address > b.address;
}

#endif
