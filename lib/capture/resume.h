/* Putting a thread back to sleep that our signal has woken, so that the program does not notice. */
#ifndef HEAPSNAP_RESUME_H
#define HEAPSNAP_RESUME_H

#include "capture/ctl.h"

/* 1 if a system call that our signal cuts short can go on as if nothing had been: by the kernel
 * (SA_RESTART), or by resume_sleep. */
int resume_is_possible(int number, const uint64_t arguments[6]);

/* At the end of the handler of `signal`, with all signals blocked: edits where it returns to (a
 * ucontext_t). sleep: what the thread was doing just before it was signalled, tid 0 if that is
 * unknown. With number CTL_RAN it ran, and a call that our signal has ended has only begun since.
 */
void resume_sleep(int signal, void *context, const struct ctl_sleep *sleep);

#endif
