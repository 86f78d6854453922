/* Chunks encoded by several threads, taken in the order in which their rows were given. */
#ifndef HEAPSNAP_PACKLINE_H
#define HEAPSNAP_PACKLINE_H

#include "codec/pack.h"

struct packline;

struct packline_job {
    snap_table table;
    struct pack_rows rows;
    struct pack_chunks chunks;
    int result; /* of packer_run */
    int state;
};

/* n_threads besides the caller's. NULL: no memory. Threads that cannot be started are done without.
 */
struct packline *packline_new(unsigned n_threads, int level);
void packline_free(struct packline *l);

int packline_is_full(const struct packline *l);
int packline_is_empty(const struct packline *l);
/* Gives rows away, which become empty. Not when it is full. */
void packline_put(struct packline *l, snap_table table, struct pack_rows *rows);
/* The oldest job, once it is done; NULL if it is not, or there is none. must_wait: helps, and waits
 * for it. It stays the line's until packline_drop, its rows may be taken. */
struct packline_job *packline_oldest(struct packline *l, int must_wait);
void packline_drop(struct packline *l);

#endif
