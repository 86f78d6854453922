/* Signals that end the work on one object. A timer ticks four times a second; an object that is
 * still the same after eight ticks is given up. Outside of guarded work a fault ends the process as
 * it would without this. */
#include "python/guard.h"

#include <setjmp.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/time.h>

#include "capture/raw.h"

#define STACK_SIZE ((size_t)64 << 10)
#define TICK_US 250000
#define TICKS_MAX 8

static struct {
    sigjmp_buf jump;
    volatile size_t at;
    volatile int is_at_work;
    size_t seen;
    volatile unsigned ticks;
} guard;

static const int signals[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT, SIGALRM};
#define N_SIGNALS (sizeof signals / sizeof *signals)
static struct sigaction before[N_SIGNALS];

static void end_process(int signal) {
    struct sigaction action;
    memset(&action, 0, sizeof action);
    action.sa_handler = SIG_DFL;
    sigaction(signal, &action, NULL);
    raw_call3(SYS_tgkill, raw_pid(), raw_tid(), signal);
}

static void on_signal(int signal) {
    if (signal == SIGALRM) {
        if (!guard.is_at_work)
            return;
        if (guard.at != guard.seen) {
            guard.seen = guard.at;
            guard.ticks = 0;
            return;
        }
        if (++guard.ticks < TICKS_MAX)
            return;
        guard.ticks = 0;
    }
    if (guard.is_at_work)
        siglongjmp(guard.jump, 1);
    end_process(signal);
}

static void set_timer(long interval_us) {
    const struct itimerval timer = {{0, interval_us}, {0, interval_us}};
    raw_call3(SYS_setitimer, ITIMER_REAL, (long)&timer, 0);
}

int guard_start(void) {
    static char *stack;
    if (!stack)
        stack = raw_map(STACK_SIZE, MAP_PRIVATE | MAP_ANONYMOUS);
    if (!stack)
        return -1;
    const stack_t alternative = {.ss_sp = stack, .ss_size = STACK_SIZE};
    sigaltstack(&alternative, NULL);
    struct sigaction action;
    memset(&action, 0, sizeof action);
    action.sa_handler = on_signal;
    action.sa_flags = SA_NODEFER | SA_ONSTACK | SA_RESTART;
    uint64_t mask = 0;
    for (size_t i = 0; i < N_SIGNALS; i++) {
        sigaction(signals[i], &action, &before[i]);
        mask |= (uint64_t)1 << (signals[i] - 1);
    }
    raw_call(SYS_rt_sigprocmask, 1 /* SIG_UNBLOCK */, (long)&mask, 0, 8, 0, 0);
    set_timer(TICK_US);
    return 0;
}

void guard_stop(void) {
    set_timer(0);
    for (size_t i = 0; i < N_SIGNALS; i++)
        sigaction(signals[i], &before[i], NULL);
}

int guard_pause(void) {
    const int was_at_work = guard.is_at_work;
    guard.is_at_work = 0;
    return was_at_work;
}

void guard_resume(int was_at_work) {
    guard.ticks = 0;
    guard.is_at_work = was_at_work;
}

size_t guard_each(size_t first, int (*work)(void *context, size_t i),
                  int (*is_bad)(void *context, size_t i), void *context) {
    guard.at = first;
    if (sigsetjmp(guard.jump, 0)) {
        guard.is_at_work = 0;
        if (is_bad && is_bad(context, guard.at))
            return guard.at;
        guard.at = guard.at + 1;
    }
    guard.is_at_work = 1;
    while (work(context, guard.at) == 0)
        guard.at = guard.at + 1;
    guard.is_at_work = 0;
    return guard.at;
}
