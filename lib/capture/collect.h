/* The copy's work: reading what the target held at the moment, and sending it to heapsnap-write. */
#ifndef HEAPSNAP_COLLECT_H
#define HEAPSNAP_COLLECT_H

#include <stdint.h>

#include "capture/moment.h"
#include "capture/park.h"
#include "capture/recorder.h"

/* All that the copy needs to know; in its memory when it starts. */
struct collect {
    const struct moment_request *request;
    struct moment_slot *slot;
    struct park_result threads;
    struct recorder_counts counts;
    uint64_t birth_mark;
    uint64_t time_ns, uptime_ns;
    uint32_t sequence;
    uint32_t n_inside_hooks; /* threads that were half-way through a hook */
    int in_place;            /* shares the target's memory, which holds still until slot->sent */
    int failed;
};

/* Runs in the copy; never returns to the caller's world: ends the process. */
int collect_main(void *collect);

#endif
