/* The rendezvous with the other threads. One moment at a time (the caller sees to that). A round
 * has a number, which travels with the signal: one that is delivered late, because its thread had
 * blocked it, finds another round or none and does nothing. */
#include "capture/park.h"

#include <dlfcn.h>
#include <heapsnap/snapdef.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/mman.h>
#include <ucontext.h>

#include "capture/next.h"
#include "capture/procfs.h"
#include "capture/raw.h"
#include "capture/rawmem.h"

static struct {
    int signal;
    struct park_thread *threads;
    uint32_t n_threads;
    uint32_t n_found;       /* of the current pass over /proc */
    _Atomic uint32_t round; /* odd: threads wait; a futex */
    _Atomic uint32_t n_parked;
    uint64_t main_pointer, local_bytes;
} park;

static uint64_t thread_pointer(void) {
    return (uint64_t)(uintptr_t)__builtin_thread_pointer();
}

static void note_main(void) {
    if (raw_tid() == raw_pid())
        park.main_pointer = thread_pointer();
}

/* glibc tells how small a stack may be: a page, its constant, and thread-local storage with the
 * thread's control block. */
static void ask_for_local_bytes(void) {
    enum { CONSTANT = 4096 + 16384, BLOCK_SIZE = 2368, LIMIT = 1 << 24 };
    size_t (*smallest)(const void *attributes);
    void *const found = next_symbol(RTLD_DEFAULT, "__pthread_get_minstack");
    memcpy(&smallest, &found, sizeof found);
    const size_t bytes = found ? smallest(NULL) : 0;
    if (bytes > CONSTANT + BLOCK_SIZE && bytes < LIMIT)
        park.local_bytes = bytes - CONSTANT - BLOCK_SIZE;
}

int park_init(int signal) {
    park.signal = signal;
    note_main();
    ask_for_local_bytes();
    if (!park.threads) {
        park.threads = raw_map(PARK_THREADS_MAX * sizeof *park.threads,
                               MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE);
        if (park.threads)
            rawmem_note(park.threads, PARK_THREADS_MAX * sizeof *park.threads);
    }
    return park.threads ? 0 : -1;
}

struct park_thread *park_threads(void) {
    return park.threads;
}

uint64_t park_local_bytes(void) {
    return park.local_bytes;
}

uint64_t park_main_pointer(void) {
    return park.main_pointer;
}

void park_after_fork(void) {
    atomic_store(&park.round, 0);
    atomic_store(&park.n_parked, 0);
    park.n_threads = 0;
    note_main();
}

static void keep_registers(struct park_thread *t, const ucontext_t *u) {
    t->sp = (uint64_t)u->uc_mcontext.gregs[REG_RSP];
    t->pc = (uint64_t)u->uc_mcontext.gregs[REG_RIP];
    memcpy(t->registers, u->uc_mcontext.gregs, sizeof t->registers);
    t->pointer = thread_pointer();
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
    enum { WORDS = 9 };
    static const uint8_t of_argument[6] = {REG_RDI, REG_RSI, REG_RDX, REG_R10, REG_R8, REG_R9};
    const char *words[WORDS];
    unsigned n_words = 0;
    for (const char *p = line; *p && *p != '\n' && n_words < WORDS;) {
        words[n_words++] = p;
        while (*p && *p != ' ' && *p != '\n')
            p++;
        while (*p == ' ')
            p++;
    }
    uint64_t values[WORDS];
    for (unsigned i = 1; i < n_words; i++) {
        const char *p = words[i] + 2;
        if (strncmp(words[i], "0x", 2) != 0)
            return 0;
        values[i] = procfs_hex(&p);
    }
    if (n_words < 3)
        return 0;
    t->sp = values[n_words - 2];
    t->pc = values[n_words - 1];
    for (unsigned i = 0; i < 6 && n_words == WORDS; i++)
        t->registers[of_argument[i]] = values[i + 1];
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

void park_stop(const void *context, const struct park_here *here, uint64_t deadline_ns,
               struct park_result *out) {
    const uint64_t end_ns = raw_clock_ns(CLOCK_MONOTONIC) + deadline_ns;
    struct park_thread *const self = &park.threads[0];
    memset(self, 0, sizeof *self);
    self->tid = (uint32_t)raw_tid();
    self->pointer = thread_pointer();
    if (context)
        keep_registers(self, context);
    else {
        memcpy(self->registers, here->registers, sizeof self->registers);
        self->sp = here->registers[REG_RSP];
        self->pc = here->pc;
    }
    atomic_store(&self->flags, SNAP_THRD_FLAG_TAKER);
    park.n_threads = 1;
    atomic_store(&park.n_parked, 0);
    struct pass pass = {.round = atomic_fetch_add(&park.round, 1) + 1};

    /* Threads that run may start others until they are stopped, so: passes until nothing is new. */
    do {
        pass.n_new = 0;
        park.n_found = 0;
        procfs_for_each_thread(0, classify, &pass);
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
