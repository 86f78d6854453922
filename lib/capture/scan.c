/* The order of a scan: who reads what, and that it is sent in order.
 *
 * Memory is cut into shards of about half a MiB. Workers (processes that share this one's memory)
 * take shards from a window and leave what they find in slots; the process that sends takes shards,
 * too, and sends slots in the order of shards, so that the stream is the same however many work. A
 * shard whose worker has died is done again by the sender. Memory is bounded by the slots. What a
 * word means is decided in scan_words.c and scan_images.c. */
#include "capture/scan.h"

#include <heapsnap/snapdef.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>

#include "capture/raw.h"
#include "capture/scan_internal.h"

#define STACK_SIZE ((size_t)128 << 10)
#define WINDOW ((uint64_t)SCAN_SLOTS)
/* Words of a shard at most: its last entry may begin where it is nearly full. */
#define SHARD_WORDS ((size_t)SCAN_SHARD_BYTES / 8 * 2)

/* --- memory --- */

static void *map(size_t bytes) {
    return raw_map(bytes, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE);
}

static int found_new(struct scan_found *f) {
    f->edges = map(SHARD_WORDS * sizeof *f->edges);
    f->codes = map(SHARD_WORDS * sizeof *f->codes);
    f->vptrs = map(SHARD_WORDS * sizeof *f->vptrs);
    return f->edges && f->codes && f->vptrs ? 0 : -1;
}

static void found_free(struct scan_found *f) {
    if (f->edges)
        raw_unmap(f->edges, SHARD_WORDS * sizeof *f->edges);
    if (f->codes)
        raw_unmap(f->codes, SHARD_WORDS * sizeof *f->codes);
    if (f->vptrs)
        raw_unmap(f->vptrs, SHARD_WORDS * sizeof *f->vptrs);
    *f = (struct scan_found){0};
}

static struct scan_worker *worker_new(struct scan *s, uint32_t number) {
    struct scan_worker *const w = map(sizeof *w);
    if (w) {
        w->scan = s;
        w->number = number;
        w->pagemap = -1;
    }
    return w;
}

struct scan *scan_new(const struct scan_sink *sink) {
    struct scan *const s = map(sizeof *s);
    if (!s)
        return NULL;
    s->sink = *sink;
    return s;
}

void scan_free(struct scan *s) {
    if (!s)
        return;
    for (size_t i = 0; i < SCAN_SLOTS; i++)
        found_free(&s->slots[i].found);
    for (size_t i = 0; i < SCAN_WORKERS_MAX; i++)
        if (s->workers[i])
            raw_unmap(s->workers[i], sizeof *s->workers[i]);
    if (s->stacks)
        raw_unmap(s->stacks, SCAN_WORKERS_MAX * STACK_SIZE);
    if (s->function_ids.entries)
        raw_unmap(s->function_ids.entries, s->function_ids.size * sizeof *s->function_ids.entries);
    if (s->vtable_ids.entries)
        raw_unmap(s->vtable_ids.entries, s->vtable_ids.size * sizeof *s->vtable_ids.entries);
    scan_array_release(&s->target_entries);
    scan_array_release(&s->images);
    scan_array_release(&s->ranges);
    scan_array_release(&s->globals);
    scan_array_release(&s->segments);
    scan_array_release(&s->own);
    scan_array_release(&s->layout);
    scan_array_release(&s->locals);
    scan_array_release(&s->stale);
    scan_array_release(&s->shards);
    scan_array_release(&s->scratch);
    scan_array_release(&s->roots);
    scan_table_release(&s->table);
    raw_unmap(s, sizeof *s);
}

int scan_put(struct scan *s, uint32_t kind, uint32_t n, const void *data, size_t bytes) {
    if (n > 0 && !s->error)
        s->error = s->sink.put(s->sink.context, kind, n, data, bytes);
    return s->error;
}

/* --- nodes --- */

/* Node ids of targets are put in when the number of blocks is known. */
#define TARGET_NODE UINT32_MAX

void scan_set_targets(struct scan *s, const struct scan_target *targets, size_t n) {
    s->targets = targets;
    s->n_targets = n;
}

void scan_add_targets(struct scan *s, const struct scan_target *targets, size_t n) {
    const size_t total = s->n_targets + n, bytes = total * sizeof *targets;
    struct scan_target *const both = n > 0 ? map(bytes) : NULL;
    if (!both)
        return;
    for (size_t i = 0, a = 0, b = 0; i < total; i++)
        both[i] = b == n || (a < s->n_targets && s->targets[a].address <= targets[b].address)
                      ? s->targets[a++]
                      : targets[b++];
    scan_add_own(s, (uintptr_t)both, (uintptr_t)both + bytes);
    scan_set_targets(s, both, total);
}

static void take_targets(struct scan *s, uint64_t before) {
    for (; s->next_target < s->n_targets && s->targets[s->next_target].address < before;
         s->next_target++) {
        const struct scan_target *const t = &s->targets[s->next_target];
        scan_table_add(&s->table, t->address, t->size, TARGET_NODE - t->node);
    }
}

int scan_add_block(struct scan *s, uint64_t address, uint64_t size) {
    take_targets(s, address);
    for (size_t i = s->next_target; i < s->n_targets && s->targets[i].address - address < size; i++)
        if (s->targets[i].flags & SCAN_TARGET_ABSORBS)
            return 0;
    scan_table_add(&s->table, address, size, ++s->n_blocks);
    return 1;
}

static void finish_nodes(struct scan *s) {
    take_targets(s, UINT64_MAX);
    scan_table_finish(&s->table);
    if (s->n_targets == 0)
        return;
    struct scan_entry *const entries = (void *)s->table.entries.data;
    uint32_t n_nodes = 0;
    for (uint32_t i = 0; i < s->table.n_entries; i++)
        if (entries[i].node > s->n_blocks) {
            entries[i].node = s->n_blocks + (TARGET_NODE - entries[i].node);
            n_nodes = entries[i].node > n_nodes ? entries[i].node : n_nodes;
        }
    /* By node: those that are read, as entries of their own. */
    const size_t n = n_nodes - s->n_blocks;
    struct scan_entry *const by_node =
        n ? scan_array_more(&s->target_entries, n * sizeof *by_node) : NULL;
    for (size_t i = 0; by_node && i < s->n_targets; i++) {
        const struct scan_target *const t = &s->targets[i];
        if ((t->flags & SCAN_TARGET_READABLE) && t->node - 1 < n)
            by_node[t->node - 1] = (struct scan_entry){
                .address = t->address,
                .size = t->size < SCAN_SIZE_BIG ? (uint32_t)t->size : SCAN_SIZE_BIG - 1,
                .node = s->n_blocks + t->node};
    }
}

void scan_add_own(struct scan *s, uint64_t start, uint64_t end) {
    struct scan_range *const r = start < end ? scan_array_more(&s->own, sizeof *r) : NULL;
    if (r)
        *r = (struct scan_range){.start = start, .end = end};
}

/* --- shards --- */

static void shard_add(struct scan *s, const struct scan_shard *shard) {
    struct scan_shard *const to = scan_array_more(&s->shards, sizeof *to);
    if (to) {
        *to = *shard;
        s->n_shards++;
    } else
        s->table.has_failed = 1;
}

static void cut_into_shards(struct scan *s, const struct scan_entry *entries, uint32_t n,
                            int is_table) {
    const struct scan_entry *first = entries;
    uint64_t bytes = 0;
    for (uint32_t i = 0; i < n; i++) {
        const struct scan_entry *const e = &entries[i];
        const uint64_t size = is_table ? scan_table_size(&s->table, i) : e->size;
        const int is_large = size > SCAN_SHARD_BYTES;
        if (is_large || bytes + size > SCAN_SHARD_BYTES ||
            (size_t)(e - first) >= SCAN_SHARD_ENTRIES) {
            if (e > first)
                shard_add(s, &(struct scan_shard){.first = first, .end = e});
            first = e;
            bytes = 0;
        }
        if (!is_large) {
            bytes += size;
            continue;
        }
        /* Words after 8 << 32 bytes have no number. */
        const uint64_t last = size < (UINT64_C(8) << 32) ? size : UINT64_C(8) << 32;
        for (uint64_t at = 0; at < last; at += SCAN_SHARD_BYTES) {
            const uint64_t part = last - at < SCAN_SHARD_BYTES ? last - at : SCAN_SHARD_BYTES;
            shard_add(s, &(struct scan_shard){e, e + 1, at, part});
        }
        s->unread_bytes += size - last;
        first = e + 1;
    }
    if (first < entries + n)
        shard_add(s, &(struct scan_shard){.first = first, .end = entries + n});
}

static void scan_shard(struct scan_worker *w, const void *shard) {
    scan_words_entries(w, shard);
}

static uint64_t shard_bytes(const struct scan_shard *shard) {
    uint64_t bytes = shard->size;
    for (const struct scan_entry *e = shard->first; !shard->size && e < shard->end; e++)
        bytes += e->size;
    return bytes;
}

static void clear(struct scan_worker *w) {
    w->found->n_edges = w->found->n_codes = w->found->n_vptrs = 0;
    w->found->unread_bytes = 0;
    w->n_words = 0;
}

void scan_attempt(struct scan_worker *w, void (*fn)(struct scan_worker *w, const void *context),
                  const void *context, uint64_t bytes) {
    for (w->is_careful = 0; w->is_careful < 2; w->is_careful++) {
        clear(w);
        if (scan_memory_guard(w, fn, context) == 0)
            return;
    }
    clear(w);
    w->found->unread_bytes = bytes;
}

static void do_shard(struct scan_worker *w, const struct scan_shard *shard,
                     struct scan_found *found) {
    w->found = found;
    scan_attempt(w, scan_shard, shard, shard_bytes(shard));
}

#define STATE(shard, worker, state) ((shard) << 8 | (uint64_t)(worker) << 4 | (state))

/* Takes the first shard of the window that nobody has; 0: there is none. */
static int take_shard(struct scan_worker *w, uint64_t *out_shard) {
    struct scan *const s = w->scan;
    const uint64_t n_sent = atomic_load(&s->n_sent);
    for (uint64_t k = n_sent; k < s->n_shards && k < n_sent + WINDOW; k++) {
        _Atomic uint64_t *const state = &s->slots[k % SCAN_SLOTS].state;
        uint64_t seen = atomic_load(state);
        if (seen == STATE(k, 0, SCAN_SLOT_FREE) &&
            atomic_compare_exchange_strong(state, &seen, STATE(k, w->number, SCAN_SLOT_TAKEN))) {
            *out_shard = k;
            return 1;
        }
    }
    return 0;
}

static void turn(struct scan *s) {
    atomic_fetch_add(&s->turn, 1);
    raw_futex_wake(&s->turn);
}

static void do_taken(struct scan_worker *w, uint64_t k) {
    struct scan *const s = w->scan;
    struct scan_slot *const slot = &s->slots[k % SCAN_SLOTS];
    do_shard(w, (const struct scan_shard *)(const void *)s->shards.data + k, &slot->found);
    atomic_store(&slot->state, STATE(k, w->number, SCAN_SLOT_DONE));
    turn(s);
}

/* --- workers --- */

static int work(void *context) {
    struct scan_worker *const w = context;
    struct scan *const s = w->scan;
    raw_call3(SYS_prctl, PR_SET_PDEATHSIG, SIGKILL, 0);
    atomic_store(&w->tid, raw_tid());
    scan_memory_catch(s);
    scan_memory_open(w);
    while (!atomic_load(&s->is_over) && atomic_load(&s->n_sent) < s->n_shards) {
        const uint32_t seen = atomic_load(&s->turn);
        uint64_t k;
        if (take_shard(w, &k))
            do_taken(w, k);
        else
            raw_futex_wait(&s->turn, seen, 100000000);
    }
    raw_call3(SYS_exit_group, 0, 0, 0);
    return 0;
}

static unsigned n_processors(void) {
    uint64_t set[128] = {0};
    const long n = raw_call3(SYS_sched_getaffinity, 0, sizeof set, (long)set);
    unsigned count = 0;
    for (long i = 0; i < n / 8; i++)
        count += (unsigned)__builtin_popcountll(set[i]);
    return count ? count : 1;
}

static void start_workers(struct scan *s) {
    unsigned wanted = n_processors();
    if (wanted > SCAN_WORKERS_MAX)
        wanted = SCAN_WORKERS_MAX;
    if (wanted > s->n_shards / 4)
        wanted = (unsigned)(s->n_shards / 4);
    if (wanted < 2)
        return;
    s->stacks = map(SCAN_WORKERS_MAX * STACK_SIZE);
    for (uint32_t i = 1; s->stacks && i < wanted; i++) {
        struct scan_worker *const w = worker_new(s, i);
        if (!w)
            return;
        s->workers[i] = w;
        w->pid = clone(work, s->stacks + (i + 1) * STACK_SIZE, CLONE_VM | CLONE_FS | SIGCHLD, w);
        if (w->pid < 0)
            return;
        s->n_workers = i;
    }
}

/* Notices workers that have ended before their time. */
static int has_died(struct scan *s, uint32_t number) {
    struct scan_worker *const w = number && number <= s->n_workers ? s->workers[number] : NULL;
    if (!w)
        return 0;
    if (w->pid && raw_call(SYS_wait4, w->pid, 0, WNOHANG | __WALL, 0, 0, 0) != 0)
        w->pid = 0;
    return w->pid == 0;
}

static void stop_workers(struct scan *s) {
    atomic_store(&s->is_over, 1);
    turn(s);
    for (uint32_t i = 1; i <= s->n_workers; i++)
        if (s->workers[i]->pid)
            raw_call(SYS_wait4, s->workers[i]->pid, 0, __WALL, 0, 0, 0);
}

/* --- sending --- */

/* Words that point at virtual tables, with the tables that are new. */
static void put_vptrs(struct scan *s, const struct scan_found *f) {
    uint32_t n_new = 0;
    struct wire_vptr *const to = (void *)f->vptrs; /* the same size: written over what was read */
    s->scratch.length = 0;
    for (uint32_t i = 0; i < f->n_vptrs; i++) {
        const struct scan_pointer p = f->vptrs[i];
        to[i] = (struct wire_vptr){.node = p.node,
                                   .offset = p.word * 8,
                                   .vtable = scan_images_vtable_id(s, p.value, &n_new)};
    }
    scan_put(s, WIRE_VTABLE, n_new, s->scratch.data, s->scratch.length);
    scan_put(s, WIRE_VPTR, f->n_vptrs, to, f->n_vptrs * sizeof *to);
}

_Static_assert(sizeof(struct wire_vptr) == sizeof(struct scan_pointer), "written over");
_Static_assert(sizeof(struct wire_code) == sizeof(struct scan_pointer), "written over");

void scan_put_codes(struct scan *s, const struct scan_found *f, uint64_t base) {
    struct wire_code *const to = (void *)f->codes;
    uint32_t n = 0, n_new = 0;
    s->scratch.length = 0;
    for (uint32_t i = 0; i < f->n_codes; i++) {
        const struct scan_pointer p = f->codes[i];
        const uint64_t address = base + (uint64_t)p.word * 8;
        int is_new = 0;
        if (p.node == 0 && scan_images_is_slot(s, address))
            continue;
        const uint32_t id = scan_map_id(&s->function_ids, p.value, &is_new);
        if (is_new) {
            struct wire_function *const function = scan_array_more(&s->scratch, sizeof *function);
            if (!function)
                break;
            function->pc = p.value;
            n_new++;
        }
        to[n++] = (struct wire_code){.address = address, .node = p.node, .function = id};
    }
    scan_put(s, WIRE_FUNCTION, n_new, s->scratch.data, s->scratch.length);
    scan_put(s, WIRE_CODE, n, to, n * sizeof *to);
}

static void put_found(struct scan *s, const struct scan_found *f) {
    put_vptrs(s, f);
    scan_put_codes(s, f, 0);
    scan_put(s, WIRE_EDGE, f->n_edges, f->edges, f->n_edges * sizeof *f->edges);
    s->n_edges += f->n_edges;
    s->unread_bytes += f->unread_bytes;
}

/* Sends the next shard if it is done; 0 if not. */
static int send_next(struct scan *s, uint64_t *n_sent) {
    struct scan_slot *const slot = &s->slots[*n_sent % SCAN_SLOTS];
    const uint64_t state = atomic_load(&slot->state);
    const uint32_t worker = state >> 4 & 15;
    if ((state & 15) == SCAN_SLOT_TAKEN && has_died(s, worker)) {
        atomic_store(&slot->state, STATE(*n_sent, 0, SCAN_SLOT_TAKEN));
        do_taken(s->workers[0], *n_sent);
    } else if ((state & 15) != SCAN_SLOT_DONE)
        return 0;
    put_found(s, &slot->found);
    atomic_store(&slot->state, STATE(*n_sent + SCAN_SLOTS, 0, SCAN_SLOT_FREE));
    ++*n_sent;
    atomic_store(&s->n_sent, *n_sent);
    turn(s);
    return 1;
}

static void send_all(struct scan *s) {
    uint64_t n_sent = 0;
    for (uint64_t i = 0; i < SCAN_SLOTS; i++)
        atomic_store(&s->slots[i].state, STATE(i, 0, SCAN_SLOT_FREE));
    start_workers(s);
    while (n_sent < s->n_shards && !s->error) {
        const uint32_t seen = atomic_load(&s->turn);
        uint64_t k;
        if (send_next(s, &n_sent))
            s->sink.tick(s->sink.context);
        else if (take_shard(s->workers[0], &k))
            do_taken(s->workers[0], k);
        else
            raw_futex_wait(&s->turn, seen, 20000000);
    }
    stop_workers(s);
}

/* --- the whole --- */

static int prepare(struct scan *s) {
    s->workers[0] = worker_new(s, 0);
    if (!s->workers[0])
        return -1;
    for (size_t i = 0; i < SCAN_SLOTS; i++)
        if (found_new(&s->slots[i].found) < 0)
            return -1;
    atomic_store(&s->workers[0]->tid, raw_tid());
    scan_memory_catch(s);
    scan_memory_open(s->workers[0]);
    scan_images_look(s);
    return 0;
}

static void count_all_unread(struct scan *s) {
    s->unread_bytes = 0;
    for (uint32_t i = 0; i < s->table.n_entries; i++)
        s->unread_bytes += scan_table_size(&s->table, i);
}

void scan_run(struct scan *s, const struct park_thread *threads, uint32_t n_threads,
              struct scan_counts *out) {
    s->threads = threads;
    s->n_threads = n_threads;
    finish_nodes(s);
    if (prepare(s) == 0) {
        struct scan_worker *const w = s->workers[0];
        scan_threads(s, w);
        scan_locals(w);
        w->found = &s->slots[0].found;
        scan_roots_globals(s, w);
        cut_into_shards(s, scan_table_entries(&s->table), s->table.n_entries, 1);
        cut_into_shards(s, (const void *)s->target_entries.data,
                        (uint32_t)(s->target_entries.length / sizeof(struct scan_entry)), 0);
        send_all(s);
        w->found = &s->slots[0].found;
        scan_roots_rest(s, w);
        scan_memory_close(w);
    } else
        count_all_unread(s);
    *out = (struct scan_counts){s->n_edges, s->n_roots, s->unread_bytes};
}

uint32_t scan_find(const struct scan *s, uint64_t address, uint64_t *out_offset) {
    return scan_table_find(&s->table, address, out_offset);
}
