/* Waiting for a managed runtime, in a process that must not be held up and in which no thread is
 * ours.
 *
 * Three ways to a moment at which all objects are whole, whichever is first: nobody is in the
 * runtime (blocked in a system call, computing outside of the lock); the runtime calls us back
 * between two steps of the program; and after a deadline it is taken as it is, which the file says.
 * For the first and the last a timer of the kernel's looks again: it sends the control signal.
 * Invariant: a moment that waits is claimed by exactly one of them. */
#include "capture/defer.h"

#include <signal.h>
#include <stdatomic.h>
#include <stdint.h>
#include <string.h>
#include <time.h>

#include "capture/moment.h"
#include "capture/objects.h"
#include "capture/raw.h"

#define DEADLINE_NS 1000000000u
#define TICK_NS 20000000

enum { IDLE, STARTING, WAITING, TAKING };

static struct {
    int (*take)(enum defer_kind kind, const void *context, enum defer_how how);
    int signal;
    struct {
        _Atomic uint32_t state;
        uint64_t since_ns;
    } kinds[DEFER_KINDS];
    _Atomic int timer; /* number + 1; 0: none */
} defer;

void defer_init(int (*take)(enum defer_kind kind, const void *context, enum defer_how how),
                int signal) {
    defer.signal = signal;
    defer.take = take;
}

void defer_after_fork_child(void) {
    for (int i = 0; i < DEFER_KINDS; i++)
        atomic_store(&defer.kinds[i].state, IDLE);
    atomic_store(&defer.timer, 0); /* timers are not inherited */
}

static void start_timer(void) {
    const struct itimerspec interval = {{0, TICK_NS}, {0, TICK_NS}};
    struct sigevent event;
    int id = 0, none = 0;
    memset(&event, 0, sizeof event);
    event.sigev_notify = SIGEV_SIGNAL;
    event.sigev_signo = defer.signal;
    if (atomic_load(&defer.timer) ||
        raw_call3(SYS_timer_create, CLOCK_MONOTONIC, (long)&event, (long)&id) != 0)
        return;
    if (atomic_compare_exchange_strong(&defer.timer, &none, id + 1))
        raw_call(SYS_timer_settime, id, 0, (long)&interval, 0, 0, 0);
    else
        raw_call3(SYS_timer_delete, id, 0, 0);
}

static void stop_timer(void) {
    for (int i = 0; i < DEFER_KINDS; i++)
        if (atomic_load(&defer.kinds[i].state) != IDLE)
            return;
    const int timer = atomic_exchange(&defer.timer, 0);
    if (timer)
        raw_call3(SYS_timer_delete, timer - 1, 0, 0);
}

/* Takes one that waits, if nobody else does. */
static void take(int kind, const void *context, enum defer_how how) {
    uint32_t waiting = WAITING;
    if (!atomic_compare_exchange_strong(&defer.kinds[kind].state, &waiting, TAKING))
        return;
    const int result = defer.take((enum defer_kind)kind, context, how);
    atomic_store(&defer.kinds[kind].state, result == MOMENT_NOT_NOW ? WAITING : IDLE);
}

/* Called by the runtime: it is held by this thread. */
static int take_all(void *unused) {
    for (int i = 0; i < DEFER_KINDS; i++)
        take(i, NULL, DEFER_HELD);
    stop_timer();
    return 0;
}

int defer_moment(enum defer_kind kind, const void *context) {
    uint32_t idle = IDLE;
    if (!atomic_compare_exchange_strong(&defer.kinds[kind].state, &idle, STARTING))
        return -1;
    if (objects_are_free() && defer.take(kind, context, DEFER_IF_FREE) != MOMENT_NOT_NOW) {
        atomic_store(&defer.kinds[kind].state, IDLE);
        return 0;
    }
    defer.kinds[kind].since_ns = raw_clock_ns(CLOCK_MONOTONIC);
    atomic_store(&defer.kinds[kind].state, WAITING);
    objects_call(take_all, NULL); /* if it cannot, the ticks remain */
    start_timer();
    return 1;
}

void defer_tick(const void *context) {
    if (!atomic_load(&defer.timer))
        return;
    const uint64_t now_ns = raw_clock_ns(CLOCK_MONOTONIC);
    for (int i = 0; i < DEFER_KINDS; i++) {
        if (atomic_load(&defer.kinds[i].state) != WAITING)
            continue;
        if (objects_are_free())
            take(i, context, DEFER_IF_FREE);
        else if (now_ns - defer.kinds[i].since_ns > DEADLINE_NS)
            take(i, context, DEFER_ANYHOW);
    }
    stop_timer();
}
