/* Taking a snapshot of the calling process: stop, copy, go on; the copy sends (collect.c).
 *
 * Everything here is async-signal-safe except moment_init and moment_wait. One moment at a time;
 * several files may be in the making. */
#ifndef HEAPSNAP_MOMENT_H
#define HEAPSNAP_MOMENT_H

#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

#include "capture/ctl.h"

#define MOMENT_COUNTERS_MAX 64
#define MOMENT_NAME_SIZE 64
#define MOMENT_SLOTS 8
#define MOMENT_ENVIRONMENT_SIZE 8192

struct moment_counter {
    char name[MOMENT_NAME_SIZE];
    int64_t value;
};

/* What is wanted. Lives until moment_take returns. */
struct moment_request {
    uint32_t trigger;    /* SNAP_TRIGGER_* */
    uint32_t ctl_number; /* of the request in the control page that this answers; 0: none */
    int overwrite, no_fork, no_edges, has_step, unique;
    int waited;       /* the caller will call moment_wait */
    int only_if_idle; /* not while another file is in the making */
    int only_if_free; /* not while a thread is in a managed runtime: MOMENT_NOT_NOW */
    int is_held;      /* the calling thread may be in it: its objects are whole */
    int64_t step;
    uint32_t stack;                          /* of the calling thread, 0: unknown */
    uint64_t pss_bytes, private_dirty_bytes; /* 0: unknown */
    uint64_t malloc_in_use_bytes, malloc_mapped_bytes, malloc_free_bytes; /* UINT64_MAX: unknown */
    const char *label;                                                    /* NULL: none */
    const char *pattern; /* NULL: that of the process */
    const struct moment_counter *counters;
    uint32_t n_counters;
};

enum { MOMENT_NOT_NOW = 1 };

enum moment_state { MOMENT_FREE, MOMENT_RUNNING, MOMENT_DONE };

/* One file in the making; in memory shared with the process that makes it. */
struct moment_slot {
    _Atomic uint32_t state; /* enum moment_state; a futex */
    _Atomic uint32_t ready; /* what follows is filled in by the target; a futex */
    uint64_t pause_ns;
    uint64_t
        woke[1024]; /* bit i: thread i of the table slept, but has run before the copy was made */
    _Atomic uint32_t sent; /* no-fork: all has been read; a futex */
    _Atomic uint64_t progress;
    int32_t child; /* pid; 0: reaped */
    uint32_t ctl_number;
    uint32_t generation;
    int32_t result; /* 0 or SNAP_E_* */
    int32_t waited; /* somebody is in moment_wait for it */
    char message[CTL_TEXT_MAX];
    char path[CTL_PATH_SIZE];
};

/* What a process is, for its snapshots. Filled in by preload.c. */
struct moment_process {
    int pid;
    int signal; /* control signal */
    int overwrite, no_fork, no_edges;
    int64_t rank; /* -1: unknown */
    char lineage[33], parent_lineage[33];
    uint32_t sequence;
    uint64_t start_ns; /* CLOCK_MONOTONIC when the recorder started */
    uint64_t exit_timeout_ns;
    char pattern[CTL_PATH_SIZE];
    char writer[CTL_PATH_SIZE]; /* path of heapsnap-write */
    char log[CTL_PATH_SIZE];    /* of the run: a line per file; "": none */
    char allocator[32];
    char environment[MOMENT_ENVIRONMENT_SIZE]; /* for the writer: NAME=VALUE, each ended by NUL */
    struct ctl_page *ctl;
    /* Address space that a copy gives back first: room to work in where the target has none left.
     * NULL: none. */
    void *reserve;
    size_t reserve_bytes;
};
extern struct moment_process moment_process;

int moment_init(void);

/* Takes one. context: of the signal handler (ucontext_t), or NULL. Returns when the process runs
 * on: 0 and *out_slot, or SNAP_E_* with the reason in message, or MOMENT_NOT_NOW. */
int moment_take(const struct moment_request *request, const void *context,
                struct moment_slot **out_slot, char *message, uint32_t message_size);

/* Waits until the file is complete, or nothing has moved for timeout_ns (0: for ever). 0 or
 * SNAP_E_*; the slot is given back; path and message (each may be NULL) are copied out. */
int moment_wait(struct moment_slot *slot, uint64_t timeout_ns, char *path, uint32_t path_size,
                char *message, uint32_t message_size);

/* Waits for all files in the making, as moment_wait. */
void moment_wait_all(uint64_t timeout_ns);

/* In a forked child: nothing is in the making. */
void moment_after_fork(void);

#endif
