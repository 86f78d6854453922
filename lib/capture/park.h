/* Stopping the other threads of the process for a moment, and knowing where each one is.
 *
 * A thread that sleeps in a system call is left alone: a signal would cut its sleep short. Where it
 * is comes from /proc; that it slept through is checked afterwards. A thread that runs gets the
 * control signal and waits in the handler. All of it is async-signal-safe and has a deadline:
 * a thread that does not answer is listed as unstopped. */
#ifndef HEAPSNAP_PARK_H
#define HEAPSNAP_PARK_H

#include <signal.h>
#include <stdint.h>

#define PARK_THREADS_MAX 65536u

struct park_thread {
    uint32_t tid;
    _Atomic uint32_t flags;  /* SNAP_THRD_FLAG_* */
    uint64_t sp, pc;         /* 0: unknown */
    uint64_t ran_ns, n_runs; /* before: the scheduler's counters */
    uint64_t registers[16];  /* gregs of a parked thread, in the order of ucontext */
};

struct park_result {
    uint32_t n_threads; /* in park_threads, the caller first */
    uint32_t n_unstopped;
};

/* Gets memory; once per process. 0, or -1. */
int park_init(int signal);

/* Stops the others. context: where the calling thread was interrupted, or NULL with its own sp. */
void park_stop(const void *context, uint64_t sp, uint64_t deadline_ns, struct park_result *out);
/* Checks again the threads that slept, and flags those that have run since as unstopped. */
void park_check(struct park_result *result);
/* Lets them go. */
void park_release(void);

struct park_thread *park_threads(void);

/* The handler's part: 1 if the signal was one of ours to park (then the thread has waited). */
int park_handle(const siginfo_t *info, const void *context);

/* In a forked child: nobody is parked. */
void park_after_fork(void);

#endif
