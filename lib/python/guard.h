/* Reading what may be broken: faults and endless loops end the work on one object, not the walk.
 *
 * Only in the copy of a process, whose handlers of signals are its own: guard_start replaces those
 * of SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT and SIGALRM. */
#ifndef HEAPSNAP_PYTHON_GUARD_H
#define HEAPSNAP_PYTHON_GUARD_H

#include <stddef.h>

/* 0, or -1: the copy has no memory for it. guard_stop gives the signals back. */
int guard_start(void);
void guard_stop(void);

/* Calls work(context, i) for i from first on until it returns other than 0; returns that i. Where
 * it faults or does not end, is_bad(context, i) is called instead of what remains of it (NULL:
 * nothing is); other than 0 ends it all. Not to be nested. */
size_t guard_each(size_t first, int (*work)(void *context, size_t i),
                  int (*is_bad)(void *context, size_t i), void *context);

/* Around what may take long for reasons of its own and must not be left in its middle, such as
 * writing to a pipe. Gives what guard_resume takes. */
int guard_pause(void);
void guard_resume(int was_at_work);

#endif
