/* One function that runs in a thread beside its caller. */
#ifndef HEAPSNAP_BASE_BESIDE_H
#define HEAPSNAP_BASE_BESIDE_H

#include <pthread.h>

struct beside {
    int (*fn)(void *context);
    void *context;
    int result, is_running;
    pthread_t thread;
};

/* Starts fn. Without a thread (none wanted, or none to be had) it runs in beside_finish. */
void beside_start(struct beside *b, int is_wanted, int (*fn)(void *context), void *context);
/* Waits; returns what fn returned. */
int beside_finish(struct beside *b);

/* Threads that calculate: wanted, or if 0 one per core, at most `most`. */
unsigned beside_threads(unsigned wanted, unsigned most);

#endif
