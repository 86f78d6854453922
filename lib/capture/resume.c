/* System calls and our signal: with SA_RESTART the kernel starts some again, others end with EINTR.
 *
 * Two things are mended where the handler returns to. A call that ended with EINTR is started again
 * if that is exact: it has no time-out, an absolute one, or one of which the kernel has written
 * back what is left, or it has only begun since the thread was looked at. (Between the look and the
 * signal any thread may begin to sleep. One exception is known: poll alone ends with EINTR also
 * when its time was up and its thread waited for a processor; it then sleeps once more. Late is
 * allowed, interrupted by nothing is not.) And a call that will be started again must end with
 * EINTR after all if a signal of the program's came while ours was handled: its handler would run
 * before the call, which would then sleep through what it waited for. Knows nothing of snapshots.
 */
#include "capture/resume.h"

#include <linux/futex.h>
#include <signal.h>
#include <time.h>
#include <ucontext.h>

#include "capture/raw.h"

enum { N_SIGNALS = 64 };

/* Calls that wait for a file or a socket. The kernel starts them again, but for a socket with a
 * time-out: there they end with EINTR, and nothing is done. */
static int is_transfer(long number) {
    switch (number) {
    case SYS_read:
    case SYS_readv:
    case SYS_write:
    case SYS_writev:
    case SYS_recvfrom:
    case SYS_recvmsg:
    case SYS_sendto:
    case SYS_sendmsg:
    case SYS_accept:
    case SYS_accept4: return 1;
    default: return 0;
    }
}

/* Started again by the kernel. Those that sleep, that is; for a call that does not, EINTR would be
 * wrong. */
static int is_restarted(long number) {
    switch (number) {
    case SYS_connect:
    case SYS_wait4:
    case SYS_waitid:
    case SYS_flock:
    case SYS_openat: return 1;
    default: return is_transfer(number);
    }
}

enum ending { ENDS_WITH_EINTR, STARTS_AGAIN, STARTS_AGAIN_WITH_REST };

/* What to do about a call that our signal has ended. */
static enum ending ending(int number, const uint64_t a[6]) {
    switch (number) {
    case SYS_pause:
    case SYS_rt_sigsuspend:
    case SYS_ppoll:    /* the kernel writes back the time that is left */
    case SYS_pselect6: /* likewise */
    case SYS_select: return STARTS_AGAIN;
    case SYS_poll: return (int)a[2] < 0 ? STARTS_AGAIN : ENDS_WITH_EINTR;
    case SYS_epoll_wait:
    case SYS_epoll_pwait: return (int)a[3] < 0 ? STARTS_AGAIN : ENDS_WITH_EINTR;
    case SYS_epoll_pwait2: return a[3] == 0 ? STARTS_AGAIN : ENDS_WITH_EINTR;
    case SYS_rt_sigtimedwait: return a[2] == 0 ? STARTS_AGAIN : ENDS_WITH_EINTR;
    case SYS_futex:
        return (a[1] & FUTEX_CMD_MASK) == FUTEX_WAIT_BITSET ? STARTS_AGAIN : ENDS_WITH_EINTR;
    case SYS_nanosleep: return a[1] ? STARTS_AGAIN_WITH_REST : ENDS_WITH_EINTR;
    case SYS_clock_nanosleep:
        return a[1] & TIMER_ABSTIME ? STARTS_AGAIN
               : a[3]               ? STARTS_AGAIN_WITH_REST
                                    : ENDS_WITH_EINTR;
    default: return ENDS_WITH_EINTR;
    }
}

/* Calls of which EINTR says that nothing was done, so that one which has just begun may begin
 * again. Others (close, connect, what submits and waits in one) must not. */
static int may_begin_again(int number, const uint64_t a[6]) {
    switch (number) {
    case SYS_poll:
    case SYS_epoll_wait:
    case SYS_epoll_pwait:
    case SYS_epoll_pwait2:
    case SYS_nanosleep:
    case SYS_clock_nanosleep:
    case SYS_rt_sigtimedwait:
    case SYS_semop:
    case SYS_semtimedop:
    case SYS_msgsnd:
    case SYS_msgrcv:
    case SYS_io_getevents: return 1;
    case SYS_futex: return (a[1] & FUTEX_CMD_MASK) == FUTEX_WAIT;
    default: return is_transfer(number);
    }
}

int resume_is_possible(int number, const uint64_t arguments[6]) {
    if (number == SYS_futex && arguments[3] == 0)
        return 1; /* no time-out: the kernel starts it again */
    return is_restarted(number) || ending(number, arguments) != ENDS_WITH_EINTR;
}

struct action { /* the kernel's sigaction */
    void (*handler)(int);
    unsigned long flags;
    void (*restorer)(void);
    uint64_t mask;
};

static int is_handled(int signal, struct action *out) {
    *out = (struct action){0};
    raw_call(SYS_rt_sigaction, signal, 0, (long)out, sizeof out->mask, 0, 0);
    return out->handler != SIG_DFL && out->handler != SIG_IGN;
}

/* Signals that came while all were blocked and that the program handles: 1 if there is any, 2 if
 * one of them does not let system calls start again. */
static int came_meanwhile(const ucontext_t *u) {
    uint64_t pending = 0, mask;
    __builtin_memcpy(&mask, &u->uc_sigmask, sizeof mask);
    raw_call3(SYS_rt_sigpending, (long)&pending, sizeof pending, 0);
    pending &= ~mask;
    int result = 0;
    for (int signal = 1; pending && signal <= N_SIGNALS; signal++) {
        struct action action;
        if (!(pending >> (signal - 1) & 1) || !is_handled(signal, &action))
            continue;
        if (!(action.flags & SA_RESTART))
            return 2;
        result = 1;
    }
    return result;
}

/* 1 if a handler of the program that keeps our signal out may have run just before: then nothing is
 * started again, as an EINTR too many is less bad than one too few. Where both signals come before
 * the thread gets a processor, such a handler runs first, and ours when it returns, to the very
 * instruction where its signal, not ours, has ended a call. Others are interrupted by ours at their
 * start. */
static int may_come_second(int signal) {
    struct action own, action;
    is_handled(signal, &own);
    for (int other = 1; other <= N_SIGNALS; other++)
        if (is_handled(other, &action) && action.handler != own.handler &&
            (action.mask >> (signal - 1) & 1))
            return 1;
    return 0;
}

static int is_syscall_instruction(uint64_t address) {
    const unsigned char *const code = (const unsigned char *)(uintptr_t)address;
    return code[0] == 0x0f && code[1] == 0x05;
}

static int is_same(const greg_t *r, const struct ctl_sleep *s) {
    return (uint64_t)r[REG_RIP] == s->pc && (uint64_t)r[REG_RSP] == s->sp &&
           (uint64_t)r[REG_RDI] == s->arguments[0] && (uint64_t)r[REG_RSI] == s->arguments[1] &&
           (uint64_t)r[REG_RDX] == s->arguments[2] && (uint64_t)r[REG_R10] == s->arguments[3] &&
           (uint64_t)r[REG_R8] == s->arguments[4] && (uint64_t)r[REG_R9] == s->arguments[5];
}

/* The number of the system call that has ended before `address`, where the code says so itself:
 * "mov $number, %eax; syscall", as the functions of glibc do. -1: unknown. */
static int number_before(uint64_t address) {
    enum { LENGTH = 7, PAGE = 4096, MOV_EAX = 0xb8, LIMIT = 1024 };
    if (address % PAGE < LENGTH) /* the page before need not be there */
        return -1;
    const unsigned char *const code = (const unsigned char *)(uintptr_t)(address - LENGTH);
    uint32_t number;
    __builtin_memcpy(&number, code + 1, sizeof number);
    return code[0] == MOV_EAX && number < LIMIT ? (int)number : -1;
}

/* Puts the call that has ended back to its start, if that may be. */
static void start_again(greg_t *r, int number, int has_just_begun) {
    const uint64_t a[6] = {(uint64_t)r[REG_RDI], (uint64_t)r[REG_RSI], (uint64_t)r[REG_RDX],
                           (uint64_t)r[REG_R10], (uint64_t)r[REG_R8],  (uint64_t)r[REG_R9]};
    const enum ending e = ending(number, a);
    if (e == ENDS_WITH_EINTR && !(has_just_begun && may_begin_again(number, a)))
        return;
    if (e == STARTS_AGAIN_WITH_REST && number == SYS_nanosleep)
        r[REG_RDI] = r[REG_RSI];
    else if (e == STARTS_AGAIN_WITH_REST)
        r[REG_RDX] = r[REG_R10];
    r[REG_RAX] = number;
    r[REG_RIP] -= 2;
}

void resume_sleep(int signal, void *context, const struct ctl_sleep *sleep) {
    ucontext_t *const u = context;
    greg_t *const r = u->uc_mcontext.gregs;
    const int came = came_meanwhile(u);
    const int is_known = sleep->tid && sleep->tid == raw_tid();
    if (r[REG_RAX] == -EINTR && !came && is_known &&
        is_syscall_instruction((uint64_t)r[REG_RIP] - 2) && !may_come_second(signal)) {
        if (sleep->number == CTL_RAN)
            start_again(r, number_before((uint64_t)r[REG_RIP]), 1);
        else if (is_same(r, sleep))
            start_again(r, sleep->number, 0);
    } else if (came == 2 && is_restarted(r[REG_RAX]) &&
               is_syscall_instruction((uint64_t)r[REG_RIP])) {
        r[REG_RAX] = -EINTR;
        r[REG_RIP] += 2;
    }
}
