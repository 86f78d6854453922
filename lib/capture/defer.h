/* Moments that somebody asks for from outside wait until nobody is in the middle of a change in a
 * managed runtime, for a while. */
#ifndef HEAPSNAP_DEFER_H
#define HEAPSNAP_DEFER_H

/* One of each kind can wait. */
enum defer_kind { DEFER_REQUEST, DEFER_SIGNAL, DEFER_KINDS };

/* How a moment is to be taken. */
enum defer_how {
    DEFER_IF_FREE, /* only if no thread is in the runtime, else MOMENT_NOT_NOW */
    DEFER_HELD,    /* the calling thread holds the runtime, and all is whole */
    DEFER_ANYHOW   /* it has waited long enough */
};

/* take: takes a moment of a kind; the result is moment_take's. context: of the signal handler, or
 * NULL. signal: the handler of it calls defer_tick. */
void defer_init(int (*take)(enum defer_kind kind, const void *context, enum defer_how how),
                int signal);

/* Takes one now, or soon. In a signal handler. 1: it waits; 0: what take was, whatever it
 * returned; -1: one of this kind waits already. */
int defer_moment(enum defer_kind kind, const void *context);
/* Looks after those that wait. In a signal handler, of a thread that need not be in the runtime. */
void defer_tick(const void *context);
/* In a forked child: what the parent waits for is the parent's. */
void defer_after_fork_child(void);

#endif
