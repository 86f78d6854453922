/* The recorder's state: threads, the gate, births, counts; and its reading side.
 *
 * Invariants: states of threads are never unmapped, so that the freezer may look at any of them;
 * births are handed out in ranges from one counter and a range is dropped when the gate changes, so
 * that what follows recorder_birth_mark() is above the mark. It does not know what is hooked. */
#include "capture/recorder.h"

#include <dlfcn.h>
#include <errno.h>
#include <limits.h>
#include <linux/futex.h>
#include <linux/membarrier.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>

#include "capture/hook_real.h"
#include "capture/live_quick.h"
#include "capture/notes.h"
#include "capture/python_code.h"
#include "capture/rawmem.h"
#include "capture/unwind.h"

enum { BIRTHS = 1024 };
#define FORK_DEADLINE_NS 1000000000u

__thread struct hook_thread *hook_self;
_Atomic uint32_t hook_gate = HOOK_GATE_EPOCH;

static _Atomic uint64_t births = 1; /* the next one that nobody has */
static uint64_t inherited_mark;
static struct hook_thread *_Atomic threads;
static _Atomic uint32_t freezer; /* tid of the thread that has set HOOK_GATE_FROZEN */
static unsigned freezes;         /* how often it did */
static _Atomic uint32_t pid;
static pthread_key_t exit_key;
static bool has_exit_key;
static uint64_t stack_limit = 8 << 20;
static atomic_int started; /* 0, 1: under way, 2 */
static _Atomic uint32_t starter;
static _Atomic uint64_t n_dropped_states;

/* Stands in hook_self while a state is made: whatever allocates then is not recorded. */
static struct hook_thread no_state = {.mute = 1};

extern void *__libc_stack_end __attribute__((weak));

static uint32_t thread_id(void) {
    return (uint32_t)rawmem_syscall(SYS_gettid, 0, 0, 0, 0, 0, 0);
}

static uint64_t now_ns(void) {
    struct timespec t = {0};
    rawmem_syscall(SYS_clock_gettime, CLOCK_MONOTONIC, (long)&t, 0, 0, 0, 0);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static bool thread_is_gone(uint32_t tid) {
    return rawmem_syscall(SYS_tgkill, (long)atomic_load(&pid), (long)tid, 0, 0, 0, 0) == -ESRCH;
}

/* A free state, or one whose thread is gone, or a new one. */
static struct hook_thread *state_get(uint32_t tid, bool nested) {
    static atomic_uint n_states;
    static atomic_uint n_checked;
    for (struct hook_thread *t = atomic_load(&threads); t; t = t->next) {
        uint32_t nobody = 0;
        if (atomic_load_explicit(&t->owner, memory_order_relaxed) == 0 &&
            atomic_compare_exchange_strong(&t->owner, &nobody, tid))
            return t;
    }
    /* Threads that ended without a destructor: asked for when the number of states has doubled. */
    const unsigned n = atomic_load(&n_states);
    if (!nested && n >= 16 && n >= 2 * atomic_load(&n_checked)) {
        struct hook_thread *mine = NULL;
        atomic_store(&n_checked, n);
        for (struct hook_thread *t = atomic_load(&threads); t; t = t->next) {
            uint32_t owner = atomic_load(&t->owner);
            if (owner == 0 || (owner != tid && !thread_is_gone(owner)) || t->inside)
                continue;
            if (mine == NULL && atomic_compare_exchange_strong(&t->owner, &owner, tid))
                mine = t;
            else
                atomic_compare_exchange_strong(&t->owner, &owner, 0);
        }
        if (mine != NULL)
            return mine;
    }
    struct hook_thread *const t = rawmem_map(sizeof *t);
    if (t == NULL)
        return NULL;
    atomic_fetch_add(&n_states, 1);
    t->owner = tid;
    t->next = atomic_load(&threads);
    while (!atomic_compare_exchange_weak(&threads, &t->next, t))
        continue;
    return t;
}

static void state_reset(struct hook_thread *t) {
    t->inside = t->real = t->mute = 0;
    t->gate = 0;
    t->birth_next = t->birth_end = 0;
    t->cache.try = false;
    t->waiting = 0;
    t->nested = NULL;
    t->n_pending = 0;
    t->stacks.n = 0;
    t->stacks.try = false;
    trails_forget(&t->stacks.trails);
}

static void state_release(void *state) {
    struct hook_thread *const t = state;
    if (t->n_pending && hook_enter(t))
        hook_leave(t);
    if (hook_self == t)
        hook_self = NULL; /* a later hook of this thread attaches again */
    if (t->nested != NULL)
        atomic_store(&t->nested->owner, 0);
    t->nested = NULL;
    atomic_store(&t->owner, 0);
}

/* The bounds of the stack of a thread that runs on the stack its library gave it: a thread's
 * control block stands at the top of its stack. Others stay unknown, which is merely slower. */
static void find_stack(struct stack_copy *copy) {
    const uintptr_t here = (uintptr_t)__builtin_frame_address(0);
    const uintptr_t block = (uintptr_t)__builtin_thread_pointer();
    const uintptr_t main_end = &__libc_stack_end ? (uintptr_t)__libc_stack_end : 0;
    copy->stack_low = copy->stack_high = 0;
    if (main_end - here < stack_limit)
        copy->stack_high = main_end;
    else if (block - here < stack_limit)
        copy->stack_high = block;
    if (copy->stack_high != 0)
        copy->stack_low = copy->stack_high > stack_limit ? copy->stack_high - stack_limit : 0;
}

static struct hook_thread *attach(void) {
    hook_self = &no_state;
    struct hook_thread *const t = state_get(thread_id(), false);
    if (t == NULL) {
        atomic_fetch_add(&n_dropped_states, 1);
        hook_self = NULL;
        return NULL;
    }
    state_reset(t);
    find_stack(&t->stacks);
    if (has_exit_key)
        pthread_setspecific(exit_key, t);
    hook_self = t;
    return t;
}

struct hook_thread *hook_begin_slowly(void) {
    struct hook_thread *t = hook_self;
    if (t == NULL) {
        if (atomic_load_explicit(&started, memory_order_acquire) != 2) {
            recorder_init();
            if (atomic_load(&started) != 2)
                return NULL;
        }
        return attach();
    }
    if (t == &no_state || t->mute || t->real)
        return NULL;
    /* A signal handler over a hook. */
    struct hook_thread *n = t->nested;
    if (n == NULL) {
        n = state_get(thread_id(), true);
        if (n == NULL)
            return NULL;
        state_reset(n);
        n->cache.try = n->stacks.try = true;
        t->nested = n;
    }
    if (hook_busy(n))
        return NULL;
    t->n_nested++;
    return n;
}

static void wait_at_gate(struct hook_thread *t, uint32_t gate) {
    /* An outer hook of this thread stands still as long as this one waits. */
    struct hook_thread *const outer = hook_self;
    atomic_store(&outer->waiting, 1);
    __atomic_store_n(&t->inside, 0, __ATOMIC_SEQ_CST);
    const struct timespec limit = {1, 0};
    rawmem_syscall(SYS_futex, (long)&hook_gate, FUTEX_WAIT_PRIVATE, (long)gate, (long)&limit, 0, 0);
    if (rawmem_is_copy())
        recorder_after_fork_child(); /* whoever would thaw does not exist here */
    __atomic_store_n(&t->inside, 1, __ATOMIC_SEQ_CST);
    atomic_store(&outer->waiting, 0);
}

static bool keep_pending(struct hook_thread *t, const struct live_block *block, bool take) {
    struct hook_thread *const outer = hook_self;
    if (outer == t || outer->n_pending == sizeof outer->pending / sizeof outer->pending[0])
        return false;
    outer->pending[outer->n_pending++] = (struct hook_pending){*block, take};
    outer->gate = 0; /* its next hook comes by do_pending */
    return true;
}

/* Blocks allocated by a thread that was muted, such as what the loader keeps of a look-up of ours:
 * the target gives them back later, and that is no block that was missed. Open addressing in a
 * window; what finds no place is not remembered. */
enum { PASSED = 1024, PASSED_WINDOW = 16 };
static _Atomic uintptr_t passed[PASSED];
static _Atomic uint32_t n_passed;

static _Atomic uintptr_t *passed_at(uintptr_t address, unsigned i) {
    const uint64_t hash = (address >> 4) * UINT64_C(0x9E3779B97F4A7C15) >> 40;
    return &passed[(hash + i) % PASSED];
}

static bool passed_take(uintptr_t address) {
    if (atomic_load_explicit(&n_passed, memory_order_relaxed) == 0)
        return false;
    for (unsigned i = 0; i < PASSED_WINDOW; i++) {
        uintptr_t expected = address;
        if (atomic_load_explicit(passed_at(address, i), memory_order_relaxed) == address &&
            atomic_compare_exchange_strong(passed_at(address, i), &expected, 0)) {
            atomic_fetch_sub(&n_passed, 1);
            return true;
        }
    }
    return false;
}

void *hook_passed(void *block) {
    const struct hook_thread *const t = hook_self;
    if (block == NULL || t == NULL || !t->mute || t->real)
        return block;
    for (unsigned i = 0; i < PASSED_WINDOW; i++) {
        uintptr_t expected = 0;
        if (atomic_load_explicit(passed_at((uintptr_t)block, i), memory_order_relaxed) == 0 &&
            atomic_compare_exchange_strong(passed_at((uintptr_t)block, i), &expected,
                                           (uintptr_t)block)) {
            atomic_fetch_add(&n_passed, 1);
            break;
        }
    }
    return block;
}

void hook_put_slowly(struct hook_thread *t, const struct live_block *block) {
    struct live_block old;
    const enum live_result result = live_table_put(&t->cache, block, &old);
    if (result == LIVE_FOUND)
        t->n_frees++; /* the block that was there went without our seeing it */
    else if (result != LIVE_ABSENT && !(result == LIVE_BUSY && keep_pending(t, block, false)))
        t->n_dropped++;
}

bool hook_take_slowly(struct hook_thread *t, uintptr_t address, struct live_block *old,
                      bool *known) {
    const enum live_result result = live_table_take(&t->cache, address, old);
    *known = true;
    if (result == LIVE_FOUND)
        return true;
    const struct live_block block = {.address = address};
    if (result == LIVE_BUSY && keep_pending(t, &block, true))
        return false;
    if (!passed_take(address)) {
        t->n_unknown++;
        *known = false;
    }
    return false;
}

__attribute__((hot)) void hook_record(struct hook_thread *t, void *address, size_t size,
                                      uint32_t flags, const struct stack_start *start) {
    if (!hook_enter(t))
        return;
    bool truncated;
    _Atomic uint64_t *const unit = live_table_prefetch((uintptr_t)address);
    const uint32_t stack = stacks_capture(&t->stacks, start, &truncated);
    flags |= truncated ? HOOK_FLAG_TRUNCATED : 0;
    if (HOOK_UNLIKELY(t->birth_next == t->birth_end))
        hook_births(t);
    const uint64_t birth = t->birth_next++;
    t->n_allocations++;
    if (HOOK_UNLIKELY(live_table_put_quickly(unit, (uintptr_t)address, size, stack, birth, flags) !=
                      LIVE_ABSENT))
        hook_put_slowly(t, &(struct live_block){(uintptr_t)address, size, birth, stack, flags});
    hook_leave(t);
}

__attribute__((hot)) bool hook_forget(struct hook_thread *t, void *address, struct live_block *old,
                                      bool *known) {
    *known = false;
    if (!hook_enter(t))
        return false;
    *known = true;
    const bool found =
        HOOK_LIKELY(old == NULL && live_table_take_quickly((uintptr_t)address) == LIVE_FOUND) ||
        hook_take_slowly(t, (uintptr_t)address, old, known);
    t->n_frees += found;
    hook_leave(t);
    return found;
}

static void do_pending(struct hook_thread *t) {
    const uint32_t n = t->n_pending;
    t->n_pending = 0;
    for (uint32_t i = 0; i < n; i++) {
        const struct hook_pending *const p = &t->pending[i];
        bool known;
        if (p->take)
            t->n_frees += hook_take_slowly(t, p->block.address, NULL, &known);
        else
            hook_put_slowly(t, &p->block);
    }
}

bool hook_gate_slowly(struct hook_thread *t) {
    for (;;) {
        atomic_thread_fence(memory_order_seq_cst);
        const uint32_t gate = atomic_load(&hook_gate);
        if (!(gate & HOOK_GATE_FROZEN)) {
            if ((gate & ~(uint32_t)HOOK_GATE_FENCE) != t->gate) {
                t->birth_next = t->birth_end;
                t->stacks.n = 0;
            }
            /* With fences the gate never equals what the thread keeps: it always comes here. */
            t->gate = gate & ~(uint32_t)HOOK_GATE_FENCE;
            if (t->n_pending)
                do_pending(t);
            return true;
        }
        if (atomic_load(&freezer) == thread_id()) {
            t->inside = 0;
            return false;
        }
        wait_at_gate(t, gate);
    }
}

void hook_births(struct hook_thread *t) {
    t->birth_next = atomic_fetch_add(&births, BIRTHS);
    t->birth_end = t->birth_next + BIRTHS;
}

static void register_membarrier(void) {
    if (rawmem_syscall(SYS_membarrier, MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED, 0, 0, 0, 0, 0) !=
        0)
        atomic_fetch_or(&hook_gate, HOOK_GATE_FENCE);
}

void hook_restore(struct hook_thread *t, const struct live_block *block) {
    if (!hook_enter(t))
        return;
    t->n_frees--;
    hook_put_slowly(t, block);
    hook_leave(t);
}

void hook_forget_passing(void *block) {
    struct hook_thread *const t = hook_self;
    if ((t != NULL && t->mute && !t->real && passed_take((uintptr_t)block)) || t == NULL ||
        t == &no_state || t->inside || !hook_enter(t))
        return;
    t->n_frees += live_table_take(&t->cache, (uintptr_t)block, NULL) == LIVE_FOUND;
    hook_leave(t);
}

void recorder_init(void) {
    const uint32_t me = thread_id();
    int expected = 0;
    if (!atomic_compare_exchange_strong(&started, &expected, 1)) {
        for (unsigned turn = 0; atomic_load(&started) == 1 && atomic_load(&starter) != me; turn++)
            rawmem_back_off(turn);
        return;
    }
    atomic_store(&starter, me);
    hook_self = &no_state;
    atomic_store(&pid, (uint32_t)rawmem_syscall(SYS_getpid, 0, 0, 0, 0, 0, 0));
    rawmem_init();
    register_membarrier();
    struct rlimit limit;
    if (rawmem_syscall(SYS_prlimit64, 0, RLIMIT_STACK, 0, (long)&limit, 0, 0) == 0 &&
        limit.rlim_cur != RLIM_INFINITY && limit.rlim_cur > stack_limit)
        stack_limit = limit.rlim_cur;
    unwind_init();
    hook_malloc_init();
    hook_new_init();
    hook_mmap_init();
    dlerror();
    has_exit_key = pthread_key_create(&exit_key, state_release) == 0;
    hook_self = NULL;
    atomic_store_explicit(&started, 2, memory_order_release);
}

/* The environment is there only now, not when the loader allocates. */
static __attribute__((constructor)) void read_environment(void) {
    const char *const depth = getenv("HEAPSNAP_STACK_DEPTH");
    const char *const limit = getenv("HEAPSNAP_RECORDER_LIMIT");
    recorder_init();
    if (depth != NULL && atoi(depth) > 0) {
        stacks_depth_set((unsigned)atoi(depth));
        if (hook_self != NULL && hook_self != &no_state)
            hook_self->stacks.n = 0;
    }
    if (limit != NULL && strtoull(limit, NULL, 10) > 0)
        rawmem_limit(strtoull(limit, NULL, 10));
}

int recorder_freeze(uint64_t deadline_ns) {
    const uint32_t me = thread_id();
    const uint64_t end = now_ns() + deadline_ns;
    if (atomic_load(&freezer) == me) {
        freezes++;
        return 0;
    }
    uint32_t nobody = 0;
    for (unsigned turn = 0; !atomic_compare_exchange_strong(&freezer, &nobody, me); turn++) {
        nobody = 0;
        if (now_ns() > end)
            return -1;
        rawmem_back_off(turn);
    }
    freezes = 1;
    atomic_fetch_or(&hook_gate, HOOK_GATE_FROZEN);
    rawmem_syscall(SYS_membarrier, MEMBARRIER_CMD_PRIVATE_EXPEDITED, 0, 0, 0, 0, 0);
    for (unsigned turn = 0;; turn++) {
        int n_inside = 0;
        struct hook_thread *t = atomic_load(&threads);
        for (; t != NULL; t = t->next)
            if (__atomic_load_n(&t->inside, __ATOMIC_ACQUIRE) && !atomic_load(&t->waiting) &&
                atomic_load(&t->owner) != me && atomic_load(&t->owner) != 0)
                n_inside++;
        if (n_inside == 0 || now_ns() > end)
            return n_inside;
        rawmem_back_off(turn < 16 ? turn : turn < 32 ? 128 : 256);
    }
}

void recorder_thaw(void) {
    if (atomic_load(&freezer) != thread_id() || --freezes > 0)
        return;
    atomic_store(&freezer, 0);
    atomic_fetch_and(&hook_gate, ~(uint32_t)HOOK_GATE_FROZEN);
    rawmem_syscall(SYS_futex, (long)&hook_gate, FUTEX_WAKE_PRIVATE, INT_MAX, 0, 0, 0);
}

uint64_t recorder_birth_mark(void) {
    atomic_fetch_add(&hook_gate, HOOK_GATE_EPOCH);
    return atomic_load(&births) - 1;
}

const char *recorder_allocator(int *foreign) {
    *foreign = hook_malloc_is_foreign;
    return hook_allocator_path;
}

static int add_sizes(void *context, const struct live_block *blocks, size_t n) {
    for (size_t i = 0; i < n; i++)
        *(uint64_t *)context += blocks[i].size;
    return 0;
}

uint64_t recorder_live_bytes(void) {
    uint64_t bytes = 0;
    live_table_for_each(add_sizes, &bytes);
    return bytes;
}

static int add_own_sizes(void *context, const struct live_block *blocks, size_t n) {
    for (size_t i = 0; i < n; i++)
        *(uint64_t *)context += blocks[i].birth > inherited_mark ? blocks[i].size : 0;
    return 0;
}

uint64_t recorder_own_bytes(void) {
    uint64_t bytes = 0;
    live_table_for_each(add_own_sizes, &bytes);
    return bytes;
}

struct block_reader {
    int (*fn)(void *, const struct recorder_block *, size_t);
    void *context;
    struct note_cursor cursor;
    bool has_pools;
    size_t n;
    struct recorder_block blocks[1024];
};

static int give_block(struct block_reader *r, const struct recorder_block *block) {
    r->blocks[r->n++] = *block;
    if (r->n < sizeof r->blocks / sizeof r->blocks[0])
        return 0;
    r->n = 0;
    return r->fn(r->context, r->blocks, sizeof r->blocks / sizeof r->blocks[0]);
}

/* Blocks of pools that start before an address. */
static int give_pool_blocks(struct block_reader *r, uint64_t before) {
    const struct note_block *b;
    int stop = 0;
    while (!stop && (b = notes_next_block(&r->cursor, before)) != NULL)
        stop = give_block(
            r, &(struct recorder_block){
                   .address = b->address,
                   .size = b->size,
                   .birth = b->birth,
                   .stack = b->stack,
                   .flags = (uint32_t)SNAP_NODE_API_BLOCK << 24 |
                            (b->birth <= inherited_mark ? SNAP_NODE_FLAG_INHERITED : 0)});
    return stop;
}

static int read_blocks(void *context, const struct live_block *from, size_t n) {
    struct block_reader *const r = context;
    int stop = 0;
    for (size_t i = 0; i < n && !stop; i++) {
        const uint32_t flags = from[i].flags;
        if (r->has_pools) {
            stop = give_pool_blocks(r, from[i].address);
            if (stop || notes_is_memory(&r->cursor, from[i].address, from[i].size))
                continue;
        }
        stop = give_block(
            r, &(struct recorder_block){
                   .address = from[i].address,
                   .size = from[i].size,
                   .birth = from[i].birth,
                   .stack = from[i].stack,
                   .flags = (flags & 15) << 24 |
                            (flags & HOOK_FLAG_ALIGNED ? SNAP_NODE_FLAG_ALIGNED : 0) |
                            (flags & HOOK_FLAG_TRUNCATED ? SNAP_NODE_FLAG_STACK_TRUNCATED : 0) |
                            (from[i].birth <= inherited_mark ? SNAP_NODE_FLAG_INHERITED : 0)});
    }
    return stop;
}

int recorder_for_each_block(int (*fn)(void *context, const struct recorder_block *blocks, size_t n),
                            void *context) {
    struct block_reader r;
    r.fn = fn;
    r.context = context;
    r.cursor = (struct note_cursor){0};
    r.has_pools = notes_places() != NULL;
    r.n = 0;
    int stop = live_table_for_each(read_blocks, &r);
    if (!stop && r.has_pools)
        stop = give_pool_blocks(&r, UINT64_MAX);
    return stop ? stop : r.n > 0 ? fn(context, r.blocks, r.n) : 0;
}

uint32_t recorder_n_stacks(void) {
    return stacks_n_nodes();
}

struct recorder_stack recorder_stack_get(uint32_t id) {
    const struct stack_node node = stacks_node(id);
    return (struct recorder_stack){.pc = node.pc,
                                   .parent = node.parent,
                                   .flags = node.stack_flags | (uint32_t)node.frame_flags << 16 |
                                            (node.is_python ? RECORDER_STACK_PYTHON : 0)};
}

void recorder_counts_get(struct recorder_counts *out) {
    struct recorder_counts c = {0};
    for (struct hook_thread *t = atomic_load(&threads); t; t = t->next) {
        c.allocations += t->n_allocations;
        c.frees += t->n_frees;
        c.unknown_frees += t->n_unknown;
        c.dropped_blocks += t->n_dropped;
        c.dropped_stacks += t->stacks.n_dropped;
        c.truncated_stacks += t->stacks.n_truncated;
    }
    const uint64_t gone = c.frees + c.dropped_blocks;
    c.live_blocks = c.allocations > gone ? c.allocations - gone : 0;
    c.stacks = stacks_n_nodes();
    c.dropped_regions = hook_regions_dropped();
    c.dropped_annotations = notes_dropped();
    c.own_bytes = rawmem_touched();
    *out = c;
}

void recorder_before_fork(void) {
    recorder_freeze(FORK_DEADLINE_NS);
}
void recorder_after_fork_parent(void) {
    recorder_thaw();
}

void recorder_after_fork_child(void) {
    struct hook_thread *const mine = hook_self;
    atomic_store(&pid, (uint32_t)rawmem_syscall(SYS_getpid, 0, 0, 0, 0, 0, 0));
    const uint32_t me = thread_id();
    bool torn = false;
    for (struct hook_thread *t = atomic_load(&threads); t; t = t->next) {
        if (t == mine || (mine != NULL && t == mine->nested)) {
            t->owner = me;
            t->waiting = 0;
            continue;
        }
        torn |= t->inside;
        if (t->owner != 0)
            state_reset(t);
        t->owner = 0;
    }
    rawmem_after_fork_child();
    stacks_after_fork_child();
    python_frames_after_fork_child();
    python_code_after_fork_child();
    hook_regions_after_fork_child();
    notes_after_fork_child();
    if (torn)
        live_table_after_fork_child();
    inherited_mark = atomic_load(&births) - 1;
    register_membarrier();
    atomic_store(&freezer, 0);
    freezes = 0;
    atomic_fetch_add(&hook_gate, HOOK_GATE_EPOCH);
    atomic_fetch_and(&hook_gate, ~(uint32_t)HOOK_GATE_FROZEN);
}

void recorder_mute(int on) {
    struct hook_thread *t = hook_self;
    if (t == NULL)
        t = hook_begin_slowly();
    if (t == NULL || t == &no_state)
        return;
    if (on)
        t->mute++;
    else if (t->mute > 0)
        t->mute--;
}

uint32_t __attribute__((noinline)) recorder_current_stack(unsigned skip) {
    struct hook_thread *t = hook_self;
    if (t == NULL)
        t = hook_begin_slowly();
    if (t != NULL && t != &no_state && t->inside)
        t = hook_begin_slowly();
    if (t == NULL || t == &no_state)
        return 0;
    const struct stack_start start = STACKS_START_HERE();
    bool truncated;
    const bool entered = hook_enter(t), try = t->stacks.try;
    t->stacks.try |= !entered; /* frozen: whoever is stuck inside may hold a lock */
    const uint32_t id = stacks_capture_fully(&t->stacks, &start, skip, &truncated);
    t->stacks.try = try;
    if (entered)
        hook_leave(t);
    return id;
}
