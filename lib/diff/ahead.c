/* Decodes the chunks of a table with two threads and hands them out in order.
 *
 * Whoever has nothing else to do claims the next chunk: the helper as long as there is a free slot,
 * the caller while the chunk that he waits for is not ready. Invariant: chunk i is in slot i modulo
 * their number, and no chunk is claimed before the one that was in its slot is used up. An error is
 * told when its chunk's turn comes, so that it does not depend on who was faster. */
#include "diff/ahead.h"

#include <string.h>

/* With the lock, which is open meanwhile. */
static void decode_next(struct ahead *a) {
    const uint32_t chunk = a->claimed++;
    struct ahead_slot *const slot = &a->slots[chunk % AHEAD_SLOTS];
    slot->is_done = 0;
    pthread_mutex_unlock(&a->lock);
    memset(&slot->error, 0, sizeof slot->error);
    slot->result =
        snap_batch_read(a->snapshot, a->table, chunk, a->columns, &slot->batch, &slot->error);
    pthread_mutex_lock(&a->lock);
    slot->is_done = 1;
    pthread_cond_broadcast(&a->changed);
}

/* The chunk before `given` is still the caller's. */
static int has_room(const struct ahead *a) {
    const uint32_t used_up = a->given > 0 ? a->given - 1 : 0;
    return a->claimed < a->n_chunks && a->claimed - used_up < AHEAD_SLOTS;
}

static int help(void *context) {
    struct ahead *const a = context;
    pthread_mutex_lock(&a->lock);
    while (!a->is_stopped && a->claimed < a->n_chunks)
        if (has_room(a))
            decode_next(a);
        else
            pthread_cond_wait(&a->changed, &a->lock);
    pthread_mutex_unlock(&a->lock);
    return 0;
}

void ahead_start(struct ahead *a, const snap_snapshot *s, snap_table table, uint32_t columns,
                 unsigned threads) {
    *a = (struct ahead){
        .snapshot = s, .table = table, .columns = columns, .n_chunks = snap_n_chunks(s, table)};
    for (unsigned i = 0; i < AHEAD_SLOTS; i++)
        snap_batch_init(&a->slots[i].batch);
    pthread_mutex_init(&a->lock, NULL);
    pthread_cond_init(&a->changed, NULL);
    beside_start(&a->helper, threads > 1 && a->n_chunks > 1, help, a);
}

int ahead_next(struct ahead *a, const snap_batch **out, snap_error *err) {
    if (a->given == a->n_chunks)
        return 0;
    struct ahead_slot *const slot = &a->slots[a->given % AHEAD_SLOTS];
    pthread_mutex_lock(&a->lock);
    a->given++;
    pthread_cond_broadcast(&a->changed);
    while (a->claimed < a->given || !slot->is_done)
        if (a->claimed < a->given || has_room(a))
            decode_next(a);
        else
            pthread_cond_wait(&a->changed, &a->lock);
    pthread_mutex_unlock(&a->lock);
    if (slot->result < 0) {
        if (err != NULL)
            *err = slot->error;
        return slot->result;
    }
    *out = &slot->batch;
    return 1;
}

void ahead_stop(struct ahead *a) {
    pthread_mutex_lock(&a->lock);
    a->is_stopped = 1;
    pthread_cond_broadcast(&a->changed);
    pthread_mutex_unlock(&a->lock);
    if (a->helper.is_running)
        beside_finish(&a->helper);
    for (unsigned i = 0; i < AHEAD_SLOTS; i++)
        snap_batch_release(&a->slots[i].batch);
    pthread_cond_destroy(&a->changed);
    pthread_mutex_destroy(&a->lock);
}
