/* A thread for each tenant imports its records and keeps one small index entry for every 49 of
 * them. The records are freed, but the entries between them keep the allocator from giving the
 * memory back, and each thread has an arena of its own. No leak: the resident size grows, memory in
 * use hardly does. fixed: entries live in arrays that were there before any record. */
#include "rounds.h"

#include <pthread.h>

enum { N_GROUPS = 120, RECORDS_PER_GROUP = 49, RECORD_BYTES = 4000 };

struct index_entry {
    unsigned first, n_records;
    unsigned char digest[24];
};

struct tenant {
    pthread_t thread;
    unsigned number;
    int is_apart; /* entries stand among the records */
    struct index_entry *entries[N_GROUPS], array[N_GROUPS];
    int is_done, may_end;
    pthread_mutex_t lock;
    pthread_cond_t changed;
};

static struct tenant tenants[N_ROUNDS + 1];

static void digest(unsigned char *out, const unsigned char *record) {
    for (unsigned i = 0; i < RECORD_BYTES; i++)
        out[i % 24] = (unsigned char)(out[i % 24] * 31 + record[i]);
}

static void import_records(struct tenant *t) {
    static _Thread_local unsigned char *records[N_GROUPS * RECORDS_PER_GROUP];
    for (unsigned g = 0; g < N_GROUPS; g++) {
        struct index_entry *const e = t->is_apart ? calloc(1, sizeof *e) : &t->array[g];
        if (e == NULL)
            abort();
        e->first = g * RECORDS_PER_GROUP;
        e->n_records = RECORDS_PER_GROUP;
        for (unsigned i = e->first; i < e->first + RECORDS_PER_GROUP; i++) {
            if ((records[i] = malloc(RECORD_BYTES)) == NULL)
                abort();
            memset(records[i], (int)(i + t->number), RECORD_BYTES);
            digest(e->digest, records[i]);
        }
        t->entries[g] = e;
    }
    for (unsigned i = 0; i < N_GROUPS * RECORDS_PER_GROUP; i++)
        free(records[i]);
}

static void *serve_tenant(void *argument) {
    struct tenant *const t = argument;
    import_records(t);
    pthread_mutex_lock(&t->lock);
    t->is_done = 1;
    pthread_cond_broadcast(&t->changed);
    while (!t->may_end)
        pthread_cond_wait(&t->changed, &t->lock);
    pthread_mutex_unlock(&t->lock);
    return NULL;
}

int main(int argc, char **argv) {
    const int leak = rounds_leak(argc, argv);
    for (int round = 0; round <= N_ROUNDS; round++) {
        struct tenant *const t = &tenants[round];
        t->number = (unsigned)round;
        t->is_apart = leak;
        pthread_mutex_init(&t->lock, NULL);
        pthread_cond_init(&t->changed, NULL);
        if (pthread_create(&t->thread, NULL, serve_tenant, t) != 0)
            return 3;
        pthread_mutex_lock(&t->lock);
        while (!t->is_done)
            pthread_cond_wait(&t->changed, &t->lock);
        pthread_mutex_unlock(&t->lock);
        rounds_end(round, 0);
    }
    for (int round = 0; round <= N_ROUNDS; round++) {
        struct tenant *const t = &tenants[round];
        pthread_mutex_lock(&t->lock);
        t->may_end = 1;
        pthread_cond_broadcast(&t->changed);
        pthread_mutex_unlock(&t->lock);
        pthread_join(t->thread, NULL);
    }
    return 0;
}
