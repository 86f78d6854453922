/* The order of a moment, and the bookkeeping of files in the making.
 *
 * Invariants: nothing is allocated between freeze and thaw; every path from park_stop passes
 * park_release; the copies are children with exit signal 0, so that neither wait() nor SIGCHLD of
 * the target ever sees them. Does not read the heap and does not know the stream. */
#include "capture/moment.h"

#include <heapsnap/common.h>
#include <heapsnap/snapdef.h>
#include <sched.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>

#include "capture/collect.h"
#include "capture/objects.h"
#include "capture/park.h"
#include "capture/procfs.h"
#include "capture/raw.h"
#include "capture/rawmem.h"
#include "capture/recorder.h"
#include "capture/scan.h"

#define FREEZE_NS 50000000u
#define PARK_NS 50000000u
#define BUSY_WAIT_NS 1000000000u
/* With more threads than this, checking them all would prolong the pause: it is done afterwards, at
 * the price of some that are said to have run. */
#define CHECK_STOPPED_MAX 64u
#define COPY_STACK_SIZE ((size_t)256 << 10)

struct moment_process moment_process;

static struct {
    _Atomic uint32_t busy; /* tid of the thread that takes one */
    struct moment_slot *slots;
    char *stacks; /* of the copies, one per slot */
    struct collect collect;
} moment;

static void note(const void *memory, size_t bytes) {
    if (memory)
        rawmem_note(memory, bytes);
}

int moment_init(void) {
    if (!moment.slots) {
        moment.slots = raw_map(MOMENT_SLOTS * sizeof *moment.slots, MAP_SHARED | MAP_ANONYMOUS);
        note(moment.slots, MOMENT_SLOTS * sizeof *moment.slots);
    }
    if (!moment.stacks) {
        moment.stacks =
            raw_map(MOMENT_SLOTS * COPY_STACK_SIZE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE);
        note(moment.stacks, MOMENT_SLOTS * COPY_STACK_SIZE);
    }
    scan_locals_init();
    return moment.slots && moment.stacks && park_init(moment_process.signal) == 0 ? 0 : -1;
}

void moment_after_fork(void) {
    atomic_store(&moment.busy, 0);
    moment.slots = NULL; /* shared with the parent: not ours */
    park_after_fork();
}

static int fail(char *message, uint32_t size, int code, const char *text, long error) {
    struct text t;
    text_init(&t, message, size);
    text_add(&t, text);
    if (error) {
        text_add(&t, " (error ");
        text_add_number(&t, (uint64_t)-error);
        text_add(&t, ")");
    }
    return code;
}

/* Takes the slot's child off the kernel's list if it has ended. A copy that was killed has left no
 * result; that is one, too. */
static int reap(struct moment_slot *slot) {
    int status = 0;
    const int child = slot->child;
    if (child == 0)
        return 1;
    const long got = raw_call(SYS_wait4, child, (long)&status, WNOHANG | __WCLONE, 0, 0, 0);
    if (got == 0)
        return 0;
    slot->child = 0;
    if (atomic_load(&slot->state) == MOMENT_DONE)
        return 1;
    slot->result = SNAP_E_IO;
    struct text t;
    text_init(&t, slot->message, sizeof slot->message);
    text_add(&t, "the copy of the process was killed");
    if (got == child && WIFSIGNALED(status)) {
        text_add(&t, " by signal ");
        text_add_number(&t, (uint64_t)WTERMSIG(status));
    }
    struct ctl_page *const ctl = moment_process.ctl;
    if (ctl && slot->ctl_number && atomic_load(&ctl->asked) == slot->ctl_number) {
        memcpy(ctl->response.message, slot->message, sizeof ctl->response.message);
        ctl->response.code = slot->result;
        atomic_store(&ctl->response.answer, CTL_FAILED);
        atomic_store(&ctl->answered, slot->ctl_number);
        raw_futex_wake(&ctl->answered);
    }
    atomic_store(&slot->state, MOMENT_DONE);
    return 1;
}

static struct moment_slot *slot_get(void) {
    for (unsigned i = 0; moment.slots && i < MOMENT_SLOTS; i++) {
        struct moment_slot *const slot = &moment.slots[i];
        if (atomic_load(&slot->state) == MOMENT_FREE)
            return slot;
    }
    return NULL;
}

/* Files that nobody waits for are done with when their copy has ended. Returns how many are still
 * in the making. */
static unsigned reap_all(void) {
    unsigned n = 0;
    for (unsigned i = 0; moment.slots && i < MOMENT_SLOTS; i++) {
        struct moment_slot *const slot = &moment.slots[i];
        if (atomic_load(&slot->state) == MOMENT_FREE)
            continue;
        if (!slot->waited && reap(slot))
            atomic_store(&slot->state, MOMENT_FREE);
        else
            n++;
    }
    return n;
}

/* In place, the copy shares our memory and we hold still until it has read everything. */
static void wait_until_sent(struct moment_slot *slot) {
    while (!atomic_load(&slot->sent) && atomic_load(&slot->state) == MOMENT_RUNNING) {
        raw_futex_wait(&slot->sent, 0, 10000000);
        if (reap(slot))
            break;
    }
}

static int acquire(uint64_t wait_ns) {
    const uint64_t end_ns = raw_clock_ns(CLOCK_MONOTONIC) + wait_ns;
    const uint32_t tid = (uint32_t)raw_tid();
    for (;;) {
        uint32_t owner = 0;
        if (atomic_compare_exchange_strong(&moment.busy, &owner, tid))
            return 0;
        if (owner == tid || raw_clock_ns(CLOCK_MONOTONIC) >= end_ns)
            return -1;
        raw_sleep_ns(1000000);
    }
}

static int copy_and_go_on(const struct moment_request *request, const void *context,
                          struct moment_slot *slot, char *message, uint32_t message_size) {
    struct collect *const c = &moment.collect;
    memset(c, 0, sizeof *c);
    c->request = request;
    c->slot = slot;
    c->in_place = request->no_fork;

    const uint64_t start_ns = raw_clock_ns(CLOCK_MONOTONIC);
    const int n_inside = recorder_freeze(FREEZE_NS);
    c->n_inside_hooks = n_inside > 0 ? (uint32_t)n_inside : 0;
    struct park_here here = {0};
    PARK_HERE(&here);
    park_stop(context, &here, PARK_NS, &c->threads);
    if (request->only_if_free && !objects_are_free()) {
        recorder_thaw();
        park_release();
        return MOMENT_NOT_NOW;
    }
    c->time_ns = raw_clock_ns(CLOCK_REALTIME);
    c->uptime_ns = raw_clock_ns(CLOCK_MONOTONIC) - moment_process.start_ns;
    c->birth_mark = recorder_birth_mark();
    recorder_counts_get(&c->counts);
    c->sequence = moment_process.sequence + 1;

    const int flags = c->in_place ? CLONE_VM : 0;
    char *const stack_end = moment.stacks + (size_t)(slot - moment.slots + 1) * COPY_STACK_SIZE;
    int child = clone(collect_main, stack_end, flags, c);
    /* No memory for a copy, of all moments now: then it is read in place. */
    if (child < 0 && !c->in_place && request->trigger == SNAP_TRIGGER_OUT_OF_MEMORY) {
        c->in_place = 1;
        child = clone(collect_main, stack_end, CLONE_VM, c);
    }
    const int error = child < 0 ? errno : 0;
    if (child > 0) {
        slot->child = child;
        moment_process.sequence = c->sequence;
        if (c->in_place)
            wait_until_sent(slot);
        if (c->threads.n_threads <= CHECK_STOPPED_MAX)
            park_check(&c->threads);
    }
    recorder_thaw();
    park_release();
    slot->pause_ns = raw_clock_ns(CLOCK_MONOTONIC) - start_ns;
    if (child < 0)
        return fail(message, message_size, SNAP_E_NOMEM, "cannot copy the process", -error);

    if (c->threads.n_threads > CHECK_STOPPED_MAX)
        park_check(&c->threads);
    for (uint32_t i = 0; i < c->threads.n_threads && i < sizeof slot->woke * 8; i++)
        if (atomic_load(&park_threads()[i].flags) == SNAP_THRD_FLAG_UNSTOPPED)
            slot->woke[i / 64] |= (uint64_t)1 << i % 64;
    atomic_store(&slot->ready, 1);
    raw_futex_wake(&slot->ready);
    return 0;
}

int moment_take(const struct moment_request *request, const void *context,
                struct moment_slot **out_slot, char *message, uint32_t message_size) {
    if (!moment.slots)
        return fail(message, message_size, SNAP_E_NOMEM, "no memory for snapshots", 0);
    /* In a handler, whoever is busy may be the very code that was interrupted. */
    if (acquire(context ? 0 : BUSY_WAIT_NS) < 0)
        return fail(message, message_size, SNAP_E_LIMIT, "another snapshot is being taken", 0);
    const int errno_before = errno;
    uint64_t all = ~(uint64_t)0, mask = 0;
    raw_call(SYS_rt_sigprocmask, 2 /* SIG_SETMASK */, (long)&all, (long)&mask, 8, 0, 0);
    recorder_mute(1);

    int result;
    const unsigned n_running = reap_all();
    struct moment_slot *const slot = slot_get();
    if (n_running && request->only_if_idle)
        result = fail(message, message_size, SNAP_E_LIMIT,
                      "the last snapshot is still being written", 0);
    else if (!slot)
        result = fail(message, message_size, SNAP_E_LIMIT,
                      "too many snapshots are still being written", 0);
    else {
        const uint32_t generation = slot->generation + 1;
        memset(slot, 0, sizeof *slot);
        slot->generation = generation;
        slot->ctl_number = request->ctl_number;
        slot->waited = request->waited;
        atomic_store(&slot->state, MOMENT_RUNNING);
        result = copy_and_go_on(request, context, slot, message, message_size);
        if (result != 0)
            atomic_store(&slot->state, MOMENT_FREE);
        else if (moment_process.ctl)
            atomic_fetch_add(&moment_process.ctl->n_taken, 1);
    }

    recorder_mute(0);
    raw_call(SYS_rt_sigprocmask, 2, (long)&mask, 0, 8, 0, 0);
    errno = errno_before;
    atomic_store(&moment.busy, 0);
    if (result == 0)
        *out_slot = slot;
    return result;
}

static void copy_text(char *to, uint32_t size, const char *from) {
    struct text t;
    if (!to)
        return;
    text_init(&t, to, size);
    text_add(&t, from);
}

int moment_wait(struct moment_slot *slot, uint64_t timeout_ns, char *path, uint32_t path_size,
                char *message, uint32_t message_size) {
    uint64_t progress = atomic_load(&slot->progress);
    uint64_t moved_ns = raw_clock_ns(CLOCK_MONOTONIC);
    while (atomic_load(&slot->state) == MOMENT_RUNNING) {
        raw_futex_wait(&slot->state, MOMENT_RUNNING, 20000000);
        if (reap(slot))
            break;
        const uint64_t now_ns = raw_clock_ns(CLOCK_MONOTONIC);
        const uint64_t progress_now = atomic_load(&slot->progress);
        if (progress_now != progress) {
            progress = progress_now;
            moved_ns = now_ns;
        } else if (timeout_ns && now_ns - moved_ns > timeout_ns) {
            /* The slot stays with the copy, which may still write to it. */
            slot->waited = 0;
            return fail(message, message_size, SNAP_E_IO, "the file is not written in time", 0);
        }
    }
    const int result = slot->result;
    copy_text(path, path_size, slot->path);
    copy_text(message, message_size, slot->message);
    /* The copy ends right after it has said that it is done. */
    while (!reap(slot))
        raw_sleep_ns(200000);
    atomic_store(&slot->state, MOMENT_FREE);
    return result;
}

void moment_wait_all(uint64_t timeout_ns) {
    for (unsigned i = 0; moment.slots && i < MOMENT_SLOTS; i++) {
        char message[CTL_TEXT_MAX];
        if (atomic_load(&moment.slots[i].state) != MOMENT_FREE && !moment.slots[i].waited)
            moment_wait(&moment.slots[i], timeout_ns, NULL, 0, message, sizeof message);
    }
}
