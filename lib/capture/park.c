/* The rendezvous with the other threads. One moment at a time (the caller sees to that). A round
 * has a number, which travels with the signal: one that is delivered late, because its thread had
 * blocked it, finds another round or none and does nothing. */
#include "capture/park.h"

#include <heapsnap/snapdef.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/mman.h>
#include <ucontext.h>

#include "capture/procfs.h"
#include "capture/raw.h"

static struct {
    int signal;
    struct park_thread *threads;
    uint32_t n_threads;
    uint32_t n_found;       /* of the current pass over /proc */
    _Atomic uint32_t round; /* odd: threads wait; a futex */
    _Atomic uint32_t n_parked;
} park;

int park_init(int signal) {
    park.signal = signal;
    if (!park.threads)
        park.threads = raw_map(PARK_THREADS_MAX * sizeof *park.threads,
                               MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE);
    return park.threads ? 0 : -1;
}

struct park_thread *park_threads(void) {
    return park.threads;
}

void park_after_fork(void) {
    atomic_store(&park.round, 0);
    atomic_store(&park.n_parked, 0);
    park.n_threads = 0;
}

static void keep_registers(struct park_thread *t, const ucontext_t *u) {
    t->sp = (uint64_t)u->uc_mcontext.gregs[REG_RSP];
    t->pc = (uint64_t)u->uc_mcontext.gregs[REG_RIP];
    memcpy(t->registers, u->uc_mcontext.gregs, sizeof t->registers);
}

/* A signal queued by park_signal carries the round; where the queue is full it comes bare. */
int park_handle(const siginfo_t *info, const void *context) {
    if (info->si_pid != raw_pid() || (info->si_code != SI_QUEUE && info->si_code != SI_TKILL))
        return 0;
    const uint32_t round = atomic_load(&park.round);
    if (info->si_code == SI_QUEUE && (uint32_t)(uintptr_t)info->si_value.sival_ptr != round)
        return 1;
    if (!(round & 1))
        return 1;
    const uint32_t tid = (uint32_t)raw_tid();
    for (uint32_t i = 1; i < park.n_threads; i++) {
        struct park_thread *const t = &park.threads[i];
        if (t->tid != tid)
            continue;
        keep_registers(t, context);
        atomic_store(&t->flags, SNAP_THRD_FLAG_PARKED);
        atomic_fetch_add(&park.n_parked, 1);
        raw_futex_wake(&park.n_parked);
        while (atomic_load(&park.round) == round)
            raw_futex_wait(&park.round, round, 1000000000);
        return 1;
    }
    return 1;
}

static void read_run_counters(uint32_t tid, uint64_t *out_ran_ns, uint64_t *out_n_runs) {
    char path[64], line[96];
    procfs_path(path, sizeof path, 0, (int)tid, "schedstat");
    *out_ran_ns = *out_n_runs = 0;
    if (procfs_read(path, line, sizeof line) <= 0)
        return;
    const char *p = line;
    *out_ran_ns = procfs_decimal(&p);
    p += *p == ' ';
    procfs_decimal(&p);
    p += *p == ' ';
    *out_n_runs = procfs_decimal(&p);
}

/* /proc/self/task/TID/syscall: "running", or "NR ARGS... SP PC", or "-1 SP PC". 1 if it sleeps. */
static int read_sleep(struct park_thread *t) {
    char path[64], line[256];
    procfs_path(path, sizeof path, 0, (int)t->tid, "syscall");
    const long n = procfs_read(path, line, sizeof line);
    if (n <= 0 || line[0] == 'r')
        return 0;
    const char *words[2] = {NULL, NULL}; /* the last two */
    for (const char *p = line; *p && *p != '\n';) {
        words[0] = words[1];
        words[1] = p;
        while (*p && *p != ' ' && *p != '\n')
            p++;
        while (*p == ' ')
            p++;
    }
    if (!words[0] || strncmp(words[0], "0x", 2) != 0 || strncmp(words[1], "0x", 2) != 0)
        return 0;
    const char *p = words[0] + 2;
    t->sp = procfs_hex(&p);
    p = words[1] + 2;
    t->pc = procfs_hex(&p);
    return 1;
}

static void park_signal(struct park_thread *t, uint32_t round) {
    siginfo_t info;
    memset(&info, 0, sizeof info);
    info.si_signo = park.signal;
    info.si_code = SI_QUEUE;
    info.si_pid = raw_pid();
    info.si_uid = (uint32_t)raw_call3(SYS_getuid, 0, 0, 0);
    info.si_value.sival_ptr = (void *)(uintptr_t)round;
    const long failed =
        raw_call(SYS_rt_tgsigqueueinfo, info.si_pid, t->tid, park.signal, (long)&info, 0, 0);
    if (failed == -EAGAIN)
        raw_call3(SYS_tgkill, info.si_pid, t->tid, park.signal);
}

struct pass {
    uint32_t round;
    uint32_t n_signalled; /* over all passes */
    uint32_t n_new;       /* in this pass */
};

/* A thread of the process, seen in /proc: known, asleep, or to be stopped. */
static void classify(void *context, int tid) {
    struct pass *const pass = context;
    for (uint32_t i = 0; i < park.n_threads; i++) {
        /* The list of the kernel keeps its order, so the next one is found at once. */
        const uint32_t k = (park.n_found + i) % park.n_threads;
        if (park.threads[k].tid == (uint32_t)tid) {
            park.n_found = k + 1;
            return;
        }
    }
    if (park.n_threads == PARK_THREADS_MAX)
        return;
    struct park_thread *const t = &park.threads[park.n_threads];
    memset(t, 0, sizeof *t);
    t->tid = (uint32_t)tid;
    pass->n_new++;
    read_run_counters(t->tid, &t->ran_ns, &t->n_runs);
    const int sleeps = read_sleep(t);
    atomic_store(&t->flags, sleeps ? SNAP_THRD_FLAG_BLOCKED : SNAP_THRD_FLAG_UNSTOPPED);
    atomic_thread_fence(memory_order_seq_cst);
    park.n_threads++;
    if (!sleeps) {
        pass->n_signalled++;
        park_signal(t, pass->round);
    }
}

void park_stop(const void *context, uint64_t sp, uint64_t deadline_ns, struct park_result *out) {
    const uint64_t end_ns = raw_clock_ns(CLOCK_MONOTONIC) + deadline_ns;
    struct park_thread *const self = &park.threads[0];
    memset(self, 0, sizeof *self);
    self->tid = (uint32_t)raw_tid();
    self->sp = sp;
    if (context)
        keep_registers(self, context);
    atomic_store(&self->flags, SNAP_THRD_FLAG_TAKER);
    park.n_threads = 1;
    atomic_store(&park.n_parked, 0);
    struct pass pass = {.round = atomic_fetch_add(&park.round, 1) + 1};

    /* Threads that run may start others until they are stopped, so: passes until nothing is new. */
    do {
        pass.n_new = 0;
        park.n_found = 0;
        procfs_for_each_thread(classify, &pass);
        uint32_t n_parked;
        while ((n_parked = atomic_load(&park.n_parked)) < pass.n_signalled) {
            const uint64_t now_ns = raw_clock_ns(CLOCK_MONOTONIC);
            if (now_ns >= end_ns)
                break;
            raw_futex_wait(&park.n_parked, n_parked, end_ns - now_ns);
        }
    } while (pass.n_new > 0 && raw_clock_ns(CLOCK_MONOTONIC) < end_ns);

    out->n_threads = park.n_threads;
    out->n_unstopped = 0;
    for (uint32_t i = 1; i < park.n_threads; i++)
        out->n_unstopped += atomic_load(&park.threads[i].flags) == SNAP_THRD_FLAG_UNSTOPPED;
}

void park_check(struct park_result *result) {
    for (uint32_t i = 1; i < result->n_threads; i++) {
        struct park_thread *const t = &park.threads[i];
        if (atomic_load(&t->flags) != SNAP_THRD_FLAG_BLOCKED)
            continue;
        uint64_t ran_ns, n_runs;
        read_run_counters(t->tid, &ran_ns, &n_runs);
        if (ran_ns != t->ran_ns || n_runs != t->n_runs) {
            atomic_store(&t->flags, SNAP_THRD_FLAG_UNSTOPPED);
            result->n_unstopped++;
        }
    }
}

void park_release(void) {
    atomic_fetch_add(&park.round, 1);
    raw_futex_wake(&park.round);
}
