/* Stopping the other threads of the process for a moment, and knowing where each one is.
 *
 * A thread that sleeps in a system call is left alone: a signal would cut its sleep short. Where it
 * is comes from /proc; that it slept through is checked afterwards. A thread that runs gets the
 * control signal and waits in the handler; if it fell asleep before the signal came, that sleep can
 * begin again (resume.h). All of it is async-signal-safe and has a deadline:
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
    /* gregs in the order of ucontext: of a parked thread and of the caller; of one that sleeps the
     * arguments of its system call, others 0 */
    uint64_t registers[16];
    uint64_t pointer; /* thread pointer, 0: unknown */
};

struct park_result {
    uint32_t n_threads; /* in park_threads, the caller first */
    uint32_t n_unstopped;
};

/* Gets memory; once per process. 0, or -1. */
int park_init(int signal);

/* Where the caller of park_here stands, as a context that says so. */
struct park_here {
    uint64_t pc, registers[16];
};
#define PARK_HERE(here)                                                                            \
    __asm__ volatile("movq %%rbx, 88(%0)\n\t"                                                      \
                     "movq %%rbp, 80(%0)\n\t"                                                      \
                     "movq %%rsp, 120(%0)\n\t"                                                     \
                     "movq %%r12, 32(%0)\n\t"                                                      \
                     "movq %%r13, 40(%0)\n\t"                                                      \
                     "movq %%r14, 48(%0)\n\t"                                                      \
                     "movq %%r15, 56(%0)\n\t"                                                      \
                     "leaq 1f(%%rip), %%rax\n\t"                                                   \
                     "movq %%rax, %1\n"                                                            \
                     "1:"                                                                          \
                     :                                                                             \
                     : "r"((here)->registers), "m"((here)->pc)                                     \
                     : "rax", "memory")

/* Stops the others. The calling thread stands where context says (of a signal), or else `here`. */
void park_stop(const void *context, const struct park_here *here, uint64_t deadline_ns,
               struct park_result *out);
/* Checks again the threads that slept, and flags those that have run since as unstopped. */
void park_check(struct park_result *result);
/* Lets them go. */
void park_release(void);

struct park_thread *park_threads(void);
/* Thread pointer of the thread whose id is the process's; 0: unknown. */
uint64_t park_main_pointer(void);
/* Bytes of static thread-local storage below a thread pointer; 0: unknown. */
uint64_t park_local_bytes(void);

/* The handler's part: 1 if the signal was one of ours to park (then the thread has waited). It may
 * have come late; its thread ran just before it was sent. */
int park_handle(const siginfo_t *info, const void *context);

/* In a forked child: nobody is parked. */
void park_after_fork(void);

#endif
