/* The chunks of a table in their order, decoded by the caller's thread and one beside it. */
#ifndef HEAPSNAP_DIFF_AHEAD_H
#define HEAPSNAP_DIFF_AHEAD_H

#include <pthread.h>

#include <heapsnap/snapshot.h>

#include "base/beside.h"

enum { AHEAD_SLOTS = 3 };

struct ahead_slot {
    snap_batch batch;
    int is_done, result;
    snap_error error;
};

struct ahead {
    const snap_snapshot *snapshot;
    snap_table table;
    uint32_t columns, n_chunks;
    uint32_t claimed, given; /* chunks that someone decodes or has decoded; that the caller got */
    int is_stopped;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    struct beside helper;
    struct ahead_slot slots[AHEAD_SLOTS];
};

/* threads: 1 for none beside the caller's. */
void ahead_start(struct ahead *a, const snap_snapshot *s, snap_table table, uint32_t columns,
                 unsigned threads);
/* 1: *out is the next chunk, until the next call; 0: there is none; or a reader's error. */
int ahead_next(struct ahead *a, const snap_batch **out, snap_error *err);
void ahead_stop(struct ahead *a);

#endif
