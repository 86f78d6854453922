/* The tables of notes: see notes.h.
 *
 * Invariant: whoever changes a shard holds its lock and is inside a hook; a note appears and
 * disappears by one store of its kind, a grown shard by one store of its pointer, so that a reader
 * in a copy made half-way finds each note whole or not at all. Does not look at what a program
 * says beyond null pointers: what cannot be matched with the heap is left out by the sender. */
#include "capture/notes.h"

#include <heapsnap/annotate.h>
#include <heapsnap/common.h>
#include <string.h>

#include "capture/hook.h"
#include "capture/live_table.h"
#include "capture/rawmem.h"

enum {
    SHARD_BITS = 4,
    N_SHARDS = (1 << SHARD_BITS) + 1, /* the last one: exit handlers */
    CAPACITY_FIRST = 256,
    CAPACITY_MAX = 1 << 21, /* of a shard: 2 GiB in all, of which half is used */
    NAMES_MAX = 1 << 16,
    NAME_LENGTH_MAX = 1000,
    POOLS_MAX = 1 << 16,
    INTERIOR_MAX = 64 << 20 /* how far back the start of a block is looked for */
};

struct table {
    uint32_t capacity, n_used; /* used: not NOTE_FREE */
    uint32_t n_live;
    uint32_t n_refused; /* since it was found full */
    struct note notes[];
};

static struct shard {
    struct rawmem_lock lock;
    struct table *_Atomic table;
} shards[N_SHARDS];

struct name {
    uint32_t hash, length;
    char text[];
};

static struct rawmem_lock name_lock, pool_lock;
uint64_t (*notes_device_at)(uint64_t address, bool try);
static struct name *_Atomic *names;
static _Atomic uint32_t *name_index; /* open addressing; ids */
static _Atomic uint32_t n_names;
static struct note_pool *pools;
static _Atomic uint32_t n_pools;
static uint32_t pool_hint;
static _Atomic uint64_t serials;
static _Atomic uint64_t n_dropped;

static uint64_t hash_of(uint32_t kind, const struct note *key);
static struct shard *shard_of(uint32_t kind, uint64_t hash);
static struct note *find_note(const struct shard *s, uint64_t hash, uint32_t kind,
                              const struct note *key, struct note **out_place);

/* --- reading --- */

int notes_for_each(int (*fn)(void *context, const struct note *note), void *context) {
    for (unsigned i = 0; i < N_SHARDS; i++) {
        const struct table *const t = atomic_load(&shards[i].table);
        for (uint32_t k = 0; t != NULL && k < t->capacity; k++)
            if (atomic_load_explicit(&t->notes[k].kind, memory_order_acquire) > NOTE_GONE) {
                const int stop = fn(context, &t->notes[k]);
                if (stop)
                    return stop;
            }
    }
    return 0;
}

uint32_t notes_n_pools(void) {
    return atomic_load(&n_pools);
}
struct note_pool notes_pool(uint32_t pool) {
    return pools[pool - 1];
}

uint32_t notes_n_names(void) {
    return atomic_load(&n_names);
}
const char *notes_name(uint32_t name, uint32_t *out_length) {
    const struct name *const n = names[name - 1];
    *out_length = n->length;
    return n->text;
}

bool notes_is_of_pool(const struct note *note) {
    if (note->pool == 0 || note->pool > atomic_load(&n_pools))
        return false;
    const struct note_pool *const pool = &pools[note->pool - 1];
    return note->extra != 0 &&
           note->extra == (note->kind == NOTE_BLOCK ? pool->epoch : pool->serial);
}

uint64_t notes_birth_at(uint64_t address) {
    const struct note key = {.a = address};
    const uint64_t hash = hash_of(NOTE_BLOCK, &key);
    struct note *place;
    if (atomic_load(&n_pools) > 0) {
        const struct note *const n =
            find_note(shard_of(NOTE_BLOCK, hash), hash, NOTE_BLOCK, &key, &place);
        if (n != NULL && notes_is_of_pool(n))
            return n->birth;
    }
    return notes_malloc_birth_at(address);
}

uint64_t notes_malloc_birth_at(uint64_t address) {
    struct live_block block;
    return live_table_find(address, INTERIOR_MAX, &block) ? block.birth : 0;
}

uint64_t notes_dropped(void) {
    return atomic_load(&n_dropped);
}

void notes_after_fork_child(void) {
    for (unsigned i = 0; i < N_SHARDS; i++)
        rawmem_unlock(&shards[i].lock);
    rawmem_unlock(&name_lock);
    rawmem_unlock(&pool_lock);
}

/* --- names --- */

static uint32_t hash_text(const char *text, size_t length) {
    uint64_t hash = 14695981039346656037u;
    for (size_t i = 0; i < length; i++)
        hash = (hash ^ (unsigned char)text[i]) * 1099511628211u;
    return (uint32_t)(hash ^ hash >> 32);
}

/* The id of a name, or where it belongs in the index. */
static uint32_t find_name(const char *text, uint32_t length, uint32_t hash, uint32_t *out_place) {
    const uint32_t mask = 2 * NAMES_MAX - 1;
    for (uint32_t i = hash & mask;; i = (i + 1) & mask) {
        const uint32_t id = atomic_load_explicit(&name_index[i], memory_order_acquire);
        *out_place = i;
        if (id == 0)
            return 0;
        const struct name *const n = names[id - 1];
        if (n->hash == hash && n->length == length && memcmp(n->text, text, length) == 0)
            return id;
    }
}

/* 0, or SNAP_E_*. Found without a lock, added under one. */
static int intern(struct hook_thread *t, const char *text, bool add, uint32_t *out) {
    const uint32_t length = (uint32_t)strnlen(text, NAME_LENGTH_MAX);
    const uint32_t hash = hash_text(text, length);
    uint32_t place;
    *out = __atomic_load_n(&name_index, __ATOMIC_ACQUIRE) != NULL
               ? find_name(text, length, hash, &place)
               : 0;
    if (*out != 0)
        return 0;
    if (!add)
        return SNAP_E_NOTFOUND;
    if (!rawmem_lock(&name_lock, t->cache.try))
        return SNAP_E_LIMIT;
    int result = 0;
    if (name_index == NULL) {
        names = rawmem_map(NAMES_MAX * sizeof *names);
        _Atomic uint32_t *const index =
            names != NULL ? rawmem_map(2 * NAMES_MAX * sizeof *name_index) : NULL;
        if (index == NULL)
            result = SNAP_E_NOMEM;
        __atomic_store_n(&name_index, index, __ATOMIC_RELEASE);
    }
    if (result == 0 && (*out = find_name(text, length, hash, &place)) == 0) {
        const uint32_t n = atomic_load(&n_names);
        struct name *const name =
            n < NAMES_MAX
                ? rawmem_carve((sizeof *name + length + 1 + 63) & ~(size_t)63, t->cache.try)
                : NULL;
        if (name == NULL)
            result = n < NAMES_MAX ? SNAP_E_NOMEM : SNAP_E_LIMIT;
        else {
            name->hash = hash;
            name->length = length;
            memcpy(name->text, text, length);
            name->text[length] = '\0';
            names[n] = name;
            atomic_store(&n_names, n + 1);
            atomic_store_explicit(&name_index[place], n + 1, memory_order_release);
            *out = n + 1;
        }
    }
    rawmem_unlock(&name_lock);
    return result;
}

/* --- shards --- */

static bool has_name_in_key(uint32_t kind) {
    return kind == NOTE_EDGE || kind == NOTE_ROOT;
}
static bool has_b_in_key(uint32_t kind) {
    return kind == NOTE_EDGE || kind == NOTE_EXIT;
}

static uint64_t hash_of(uint32_t kind, const struct note *key) {
    uint64_t h = (key->a ^ (uint64_t)kind << 56) * 0x9e3779b97f4a7c15u;
    if (has_b_in_key(kind))
        h = (h ^ h >> 29 ^ key->b) * 0xbf58476d1ce4e5b9u;
    if (has_name_in_key(kind))
        h = (h ^ h >> 29 ^ key->name) * 0x94d049bb133111ebu;
    return h ^ h >> 32;
}

static bool is_same(uint32_t kind, const struct note *n, const struct note *key) {
    return n->kind == kind && n->a == key->a && (!has_b_in_key(kind) || n->b == key->b) &&
           (!has_name_in_key(kind) || n->name == key->name);
}

static struct shard *shard_of(uint32_t kind, uint64_t hash) {
    return kind == NOTE_EXIT ? &shards[N_SHARDS - 1]
                             : &shards[hash >> (32 - SHARD_BITS) & ((1 << SHARD_BITS) - 1)];
}

/* The note of the key, or NULL and the place for a new one (NULL if the table is full or none). */
static struct note *find_note(const struct shard *s, uint64_t hash, uint32_t kind,
                              const struct note *key, struct note **out_place) {
    struct table *const t = atomic_load_explicit(&s->table, memory_order_relaxed);
    *out_place = NULL;
    if (t == NULL)
        return NULL;
    for (uint32_t i = (uint32_t)hash & (t->capacity - 1);; i = (i + 1) & (t->capacity - 1)) {
        struct note *const n = &t->notes[i];
        if (n->kind == NOTE_FREE || (n->kind == NOTE_GONE && *out_place == NULL))
            *out_place = *out_place == NULL ? n : *out_place;
        if (n->kind == NOTE_FREE)
            return NULL;
        if (is_same(kind, n, key))
            return n;
    }
}

/* --- which blocks they speak of --- */

static int birth_of_pool_block(struct hook_thread *t, uint64_t address, uint64_t *out) {
    const struct note key = {.a = address};
    const uint64_t hash = hash_of(NOTE_BLOCK, &key);
    struct shard *const s = shard_of(NOTE_BLOCK, hash);
    struct note *place;
    if (!rawmem_lock(&s->lock, t->cache.try))
        return SNAP_E_LIMIT;
    const struct note *const n = find_note(s, hash, NOTE_BLOCK, &key, &place);
    const bool found = n != NULL && notes_is_of_pool(n);
    *out = found ? n->birth : 0;
    rawmem_unlock(&s->lock);
    return found ? 0 : SNAP_E_NOTFOUND;
}

/* Birth of the block that holds an address; 0: none. */
static uint64_t birth_at(struct hook_thread *t, uint64_t address) {
    uint64_t birth;
    struct live_block block;
    if (atomic_load_explicit(&n_pools, memory_order_relaxed) > 0 &&
        birth_of_pool_block(t, address, &birth) == 0)
        return birth;
    return live_table_look(&t->cache, address, INTERIOR_MAX, &block) == LIVE_FOUND ? block.birth
                                                                                   : 0;
}

/* Whether a pool has a block of that birth at an address, as far as can be told while the lock of
 * a shard is held: 1 if in doubt. */
static bool pool_may_have(const struct shard *locked, uint64_t address, uint64_t birth) {
    const struct note key = {.a = address};
    const uint64_t hash = hash_of(NOTE_BLOCK, &key);
    struct shard *const s = shard_of(NOTE_BLOCK, hash);
    struct note *place;
    if (atomic_load_explicit(&n_pools, memory_order_relaxed) == 0)
        return false;
    if (s != locked && !rawmem_try_lock(&s->lock))
        return true;
    const struct note *const n = find_note(s, hash, NOTE_BLOCK, &key, &place);
    const bool has = n != NULL && n->birth == birth && notes_is_of_pool(n);
    if (s != locked)
        rawmem_unlock(&s->lock);
    return has;
}

/* Whether a note of a shard whose lock is held speaks of a block that is gone. */
static bool is_stale(struct hook_thread *t, const struct shard *s, const struct note *n) {
    if (n->kind == NOTE_BLOCK || n->kind == NOTE_RANGE)
        return !notes_is_of_pool(n);
    if ((n->kind != NOTE_TYPE && n->kind != NOTE_EDGE && n->kind != NOTE_ROOT) || n->birth_a == 0)
        return false;
    struct live_block block;
    const enum live_result found = live_table_look(&t->cache, n->a, INTERIOR_MAX, &block);
    return found != LIVE_BUSY && (found != LIVE_FOUND || block.birth != n->birth_a) &&
           !pool_may_have(s, n->a, n->birth_a);
}

static uint32_t capacity_for(uint32_t n_live) {
    uint32_t capacity = CAPACITY_FIRST;
    while (capacity < CAPACITY_MAX && n_live > capacity / 2)
        capacity *= 2;
    return capacity;
}

/* Makes the shard's table anew, without what is gone and with room for more. Under its lock. */
static int rebuild(struct hook_thread *t, struct shard *s) {
    struct table *const before = atomic_load(&s->table);
    uint32_t n_live = 0;
    if (before != NULL && before->n_refused > 0 && ++before->n_refused < before->capacity / 8)
        return SNAP_E_LIMIT; /* looking through all of it again would tell nothing new */
    for (uint32_t i = 0; before != NULL && i < before->capacity; i++) {
        struct note *const n = &before->notes[i];
        if (n->kind <= NOTE_GONE)
            continue;
        if (is_stale(t, s, n))
            atomic_store_explicit(&n->kind, NOTE_GONE, memory_order_release);
        else
            n_live++;
    }
    const uint32_t capacity = capacity_for(n_live + 1);
    if (n_live >= CAPACITY_MAX / 2) {
        before->n_refused = 1;
        return SNAP_E_LIMIT;
    }
    struct table *const fresh = rawmem_map(sizeof *fresh + capacity * sizeof *fresh->notes);
    if (fresh == NULL)
        return SNAP_E_NOMEM;
    fresh->capacity = capacity;
    fresh->n_used = fresh->n_live = n_live;
    for (uint32_t i = 0; before != NULL && i < before->capacity; i++) {
        const struct note *const n = &before->notes[i];
        if (n->kind <= NOTE_GONE)
            continue;
        uint32_t at = (uint32_t)hash_of(n->kind, n) & (capacity - 1);
        while (fresh->notes[at].kind != NOTE_FREE)
            at = (at + 1) & (capacity - 1);
        fresh->notes[at] = *n;
    }
    atomic_store(&s->table, fresh);
    if (before != NULL)
        rawmem_unmap(before, sizeof *before + before->capacity * sizeof *before->notes);
    return 0;
}

/* Keeps a note; the one of the same key is replaced, or given to `merge` under the lock. */
static int put(struct hook_thread *t, uint32_t kind, const struct note *note,
               void (*merge)(struct note *there, const struct note *fresh)) {
    const uint64_t hash = hash_of(kind, note);
    struct shard *const s = shard_of(kind, hash);
    if (!rawmem_lock(&s->lock, t->cache.try))
        return SNAP_E_LIMIT;
    struct note *place;
    struct note *n = find_note(s, hash, kind, note, &place);
    int result = 0;
    if (n != NULL && merge != NULL)
        merge(n, note);
    else {
        const struct table *const table = atomic_load(&s->table);
        if (n == NULL && (place == NULL ||
                          (place->kind == NOTE_FREE && table->n_used >= table->capacity / 4 * 3))) {
            result = rebuild(t, s);
            if (result == 0)
                find_note(s, hash, kind, note, &place);
        }
        if (result == 0) {
            struct table *const now = atomic_load(&s->table);
            now->n_used += n == NULL && place->kind == NOTE_FREE;
            now->n_live += n == NULL;
            n = n != NULL ? n : place;
            atomic_store_explicit(&n->kind, NOTE_GONE, memory_order_relaxed);
            atomic_signal_fence(memory_order_seq_cst);
            n->name = note->name;
            n->a = note->a;
            n->b = note->b;
            n->birth_a = note->birth_a;
            n->birth_b = note->birth_b;
            n->stack = note->stack;
            n->pool = note->pool;
            n->birth = note->birth;
            n->extra = note->extra;
            atomic_store_explicit(&n->kind, kind, memory_order_release);
        }
    }
    rawmem_unlock(&s->lock);
    return result;
}

static int take(struct hook_thread *t, uint32_t kind, const struct note *key) {
    const uint64_t hash = hash_of(kind, key);
    struct shard *const s = shard_of(kind, hash);
    struct note *place;
    if (!rawmem_lock(&s->lock, t->cache.try))
        return SNAP_E_LIMIT;
    struct note *const n = find_note(s, hash, kind, key, &place);
    if (n != NULL) {
        struct table *const table = atomic_load(&s->table);
        const uint32_t next = (uint32_t)(n - table->notes + 1) & (table->capacity - 1);
        const bool is_last = table->notes[next].kind == NOTE_FREE;
        atomic_store_explicit(&n->kind, is_last ? NOTE_FREE : NOTE_GONE, memory_order_release);
        table->n_used -= is_last;
        table->n_live--;
    }
    rawmem_unlock(&s->lock);
    return n != NULL ? 0 : SNAP_E_NOTFOUND;
}

/* --- pools --- */

enum { POOL_BITS = 16 };

/* The id that the program gets: never that of another pool, as long as 2^47 have not been made. */
static int64_t pool_id(uint32_t index, uint64_t serial) {
    return (int64_t)(serial << POOL_BITS | index);
}

static struct note_pool *pool_get(uint64_t id, uint32_t *out) {
    const uint32_t index = id & (POOLS_MAX - 1);
    if (id >> POOL_BITS == 0 || index >= atomic_load(&n_pools) ||
        __atomic_load_n(&pools[index].serial, __ATOMIC_RELAXED) != id >> POOL_BITS)
        return NULL;
    *out = index + 1;
    return &pools[index];
}

static uint64_t new_serial(void) {
    return atomic_fetch_add(&serials, 1) + 1;
}

static int64_t pool_add(struct hook_thread *t, const struct note *from) {
    if (!rawmem_lock(&pool_lock, t->cache.try))
        return SNAP_E_LIMIT;
    int64_t result = SNAP_E_LIMIT;
    if (pools == NULL)
        pools = rawmem_map(POOLS_MAX * sizeof *pools);
    const uint32_t n = atomic_load(&n_pools);
    uint32_t i = n;
    for (uint32_t k = 0; n == POOLS_MAX && k < POOLS_MAX && i == n; k++)
        if (pools[(pool_hint + k) & (POOLS_MAX - 1)].serial == 0)
            i = (pool_hint + k) & (POOLS_MAX - 1);
    if (pools == NULL)
        result = SNAP_E_NOMEM;
    else if (i < POOLS_MAX) {
        const uint64_t serial = new_serial();
        pools[i] = (struct note_pool){
            .epoch = serial, .birth = from->birth, .name = from->name, .stack = from->stack};
        __atomic_store_n(&pools[i].serial, serial, __ATOMIC_RELEASE);
        if (i == n)
            atomic_store(&n_pools, n + 1);
        pool_hint = i + 1;
        result = pool_id(i, serial);
    }
    rawmem_unlock(&pool_lock);
    return result;
}

/* Its ranges and blocks are known as gone by the serial and the epoch. */
static void pool_remove(struct note_pool *pool) {
    __atomic_store_n(&pool->serial, 0, __ATOMIC_RELEASE);
    __atomic_store_n(&pool->epoch, 0, __ATOMIC_RELEASE);
}

/* --- what the program says --- */

static uint64_t new_birth(struct hook_thread *t) {
    if (t->birth_next == t->birth_end)
        hook_births(t);
    return t->birth_next++;
}

/* The stack of the program's call: the library's own frames, if any, are above `caller`. */
static uint32_t stack_of(struct hook_thread *t, const struct stack_start *start,
                         const void *caller) {
    enum { OWN_FRAMES_MAX = 4 };
    bool truncated;
    const uint32_t id = stacks_capture(&t->stacks, start, &truncated);
    uint32_t at = id;
    for (unsigned i = 0; caller != NULL && at != 0 && i < OWN_FRAMES_MAX; i++) {
        const struct stack_node node = stacks_node(at);
        if (node.pc == (uintptr_t)caller)
            return at;
        at = node.parent;
    }
    return id;
}

static int64_t do_type(struct hook_thread *t, const snap_annotation *a, struct note *n) {
    if (a->name == NULL)
        return take(t, NOTE_TYPE, n);
    n->birth_a = birth_at(t, n->a);
    return put(t, NOTE_TYPE, n, NULL);
}

static int64_t do_edge(struct hook_thread *t, struct note *n) {
    n->birth_a = birth_at(t, n->a);
    n->birth_b = birth_at(t, n->b);
    return put(t, NOTE_EDGE, n, NULL);
}

static int64_t do_root(struct hook_thread *t, struct note *n) {
    n->birth_a = birth_at(t, n->a);
    return put(t, NOTE_ROOT, n, NULL);
}

static int64_t do_hook(struct hook_thread *t, struct note *n) {
    const uint64_t function = n->a, argument = n->b;
    n->a = new_serial();
    n->b = function;
    n->extra = argument;
    n->birth_b = argument ? birth_at(t, argument) : 0;
    const int result = put(t, NOTE_HOOK, n, NULL);
    return result < 0 ? result : (int64_t)n->a;
}

static int64_t do_range_or_block(struct hook_thread *t, const snap_annotation *a, struct note *n) {
    const struct note_pool *const pool = pool_get(a->number, &n->pool);
    if (pool == NULL || n->b < n->a)
        return SNAP_E_ARG;
    n->b -= n->a;
    if (a->what == SNAP_ANNOTATE_BLOCK) {
        n->extra = pool->epoch;
        return put(t, NOTE_BLOCK, n, NULL);
    }
    struct live_block block;
    n->extra = pool->serial;
    if (live_table_look(&t->cache, n->a, INTERIOR_MAX, &block) == LIVE_FOUND)
        n->birth_a = block.birth;
    else if (notes_device_at != NULL)
        n->birth_b = notes_device_at(n->a, t->cache.try);
    return put(t, NOTE_RANGE, n, NULL);
}

static int64_t do_pool(struct hook_thread *t, const snap_annotation *a, const struct note *n) {
    if (a->what == SNAP_ANNOTATE_POOL)
        return pool_add(t, n);
    uint32_t index;
    struct note_pool *const pool = pool_get(a->number, &index);
    if (pool == NULL)
        return SNAP_E_ARG;
    if (a->what == SNAP_ANNOTATE_POOL_REMOVE)
        pool_remove(pool);
    else
        __atomic_store_n(&pool->epoch, new_serial(), __ATOMIC_RELEASE);
    return 0;
}

static int64_t dispatch(struct hook_thread *t, const snap_annotation *a, struct note *n) {
    switch (a->what) {
    case SNAP_ANNOTATE_TYPE: return do_type(t, a, n);
    case SNAP_ANNOTATE_EDGE: return do_edge(t, n);
    case SNAP_ANNOTATE_EDGE_REMOVE: return take(t, NOTE_EDGE, n);
    case SNAP_ANNOTATE_ROOT: return do_root(t, n);
    case SNAP_ANNOTATE_ROOT_REMOVE: return take(t, NOTE_ROOT, n);
    case SNAP_ANNOTATE_REGION: n->b = a->number; return put(t, NOTE_REGION, n, NULL);
    case SNAP_ANNOTATE_REGION_REMOVE: return take(t, NOTE_REGION, n);
    case SNAP_ANNOTATE_HOOK: return do_hook(t, n);
    case SNAP_ANNOTATE_HOOK_REMOVE: n->a = a->number; return take(t, NOTE_HOOK, n);
    case SNAP_ANNOTATE_POOL:
    case SNAP_ANNOTATE_POOL_REMOVE:
    case SNAP_ANNOTATE_POOL_RESET: return do_pool(t, a, n);
    case SNAP_ANNOTATE_POOL_SHRINK: return take(t, NOTE_RANGE, n);
    case SNAP_ANNOTATE_POOL_GROW:
    case SNAP_ANNOTATE_BLOCK: return do_range_or_block(t, a, n);
    case SNAP_ANNOTATE_BLOCK_REMOVE: return take(t, NOTE_BLOCK, n);
    default: return SNAP_E_ARG;
    }
}

/* What must be given, and what is kept with it. */
enum { NEEDS_A = 1, NEEDS_B = 2, NEEDS_NAME = 4, ADDS = 8, HAS_STACK = 16 };

static unsigned demands(uint32_t what) {
    static const uint8_t table[] = {
        [SNAP_ANNOTATE_TYPE] = NEEDS_A | ADDS,
        [SNAP_ANNOTATE_EDGE] = NEEDS_A | NEEDS_B | NEEDS_NAME | ADDS,
        [SNAP_ANNOTATE_EDGE_REMOVE] = NEEDS_A | NEEDS_B | NEEDS_NAME,
        [SNAP_ANNOTATE_ROOT] = NEEDS_A | NEEDS_NAME | ADDS,
        [SNAP_ANNOTATE_ROOT_REMOVE] = NEEDS_A | NEEDS_NAME,
        [SNAP_ANNOTATE_REGION] = NEEDS_A | NEEDS_NAME | ADDS,
        [SNAP_ANNOTATE_REGION_REMOVE] = NEEDS_A,
        [SNAP_ANNOTATE_HOOK] = NEEDS_A | NEEDS_NAME | ADDS | HAS_STACK,
        [SNAP_ANNOTATE_POOL] = NEEDS_NAME | ADDS | HAS_STACK,
        [SNAP_ANNOTATE_POOL_GROW] = NEEDS_A | ADDS | HAS_STACK,
        [SNAP_ANNOTATE_POOL_SHRINK] = NEEDS_A,
        [SNAP_ANNOTATE_BLOCK] = NEEDS_A | ADDS | HAS_STACK,
        [SNAP_ANNOTATE_BLOCK_REMOVE] = NEEDS_A,
    };
    return what < sizeof table ? table[what] : 0;
}

__attribute__((visibility("default"))) int64_t heapsnap_preload_annotate(const snap_annotation *a);

int64_t heapsnap_preload_annotate(const snap_annotation *a) {
    const struct stack_start start = STACKS_START_HERE();
    return notes_annotate(a, &start);
}

int64_t notes_annotate(const snap_annotation *a, const struct stack_start *start) {
    if (a->struct_size < sizeof *a)
        return SNAP_E_ARG;
    const unsigned needs = demands(a->what);
    if (((needs & NEEDS_A) && a->a == NULL) || ((needs & NEEDS_B) && a->b == NULL) ||
        ((needs & NEEDS_NAME) && (a->name == NULL || !*a->name)))
        return SNAP_E_ARG;
    struct hook_thread *const t = hook_begin();
    if (t == NULL || !hook_enter(t)) {
        if (needs & ADDS)
            atomic_fetch_add(&n_dropped, 1);
        return SNAP_E_LIMIT;
    }
    struct note note = {.a = (uintptr_t)a->a, .b = (uintptr_t)a->b};
    int64_t result =
        a->name != NULL && *a->name ? intern(t, a->name, (needs & ADDS) != 0, &note.name) : 0;
    if (result == 0 && (needs & HAS_STACK)) {
        note.stack = stack_of(t, start, a->caller);
        note.birth = new_birth(t);
    }
    if (result == 0)
        result = dispatch(t, a, &note);
    hook_leave(t);
    if ((needs & ADDS) && (result == SNAP_E_NOMEM || result == SNAP_E_LIMIT))
        atomic_fetch_add(&n_dropped, 1);
    return result;
}

uint64_t notes_pool_at(uint64_t start) {
    const struct note key = {.a = start};
    const uint64_t hash = hash_of(NOTE_RANGE, &key);
    struct shard *const s = shard_of(NOTE_RANGE, hash);
    struct note *place;
    struct hook_thread *const t = hook_begin();
    if (t == NULL || !hook_enter(t))
        return 0;
    uint64_t id = 0;
    if (rawmem_lock(&s->lock, t->cache.try)) {
        const struct note *const n = find_note(s, hash, NOTE_RANGE, &key, &place);
        if (n != NULL && notes_is_of_pool(n))
            id = (uint64_t)pool_id(n->pool - 1, n->extra);
        rawmem_unlock(&s->lock);
    }
    hook_leave(t);
    return id;
}

void notes_block_resize(uint64_t address, uint64_t size_bytes) {
    const struct note key = {.a = address};
    const uint64_t hash = hash_of(NOTE_BLOCK, &key);
    struct shard *const s = shard_of(NOTE_BLOCK, hash);
    struct note *place;
    struct hook_thread *const t = hook_begin();
    if (t == NULL || !hook_enter(t)) {
        notes_not_kept();
        return;
    }
    if (rawmem_lock(&s->lock, t->cache.try)) {
        struct note *const n = find_note(s, hash, NOTE_BLOCK, &key, &place);
        if (n != NULL)
            n->b = size_bytes;
        rawmem_unlock(&s->lock);
    }
    hook_leave(t);
}

void notes_not_kept(void) {
    atomic_fetch_add(&n_dropped, 1);
}

/* --- exit handlers --- */

static void add_handler(struct note *there, const struct note *fresh) {
    there->pool++;
    there->extra = fresh->extra;
}

void notes_exit_add(uint64_t function, uint64_t argument, uint64_t image,
                    const struct stack_start *start) {
    struct hook_thread *const t = hook_begin();
    if (t == NULL || !hook_enter(t))
        return;
    struct note note = {.a = function, .b = image, .extra = argument, .pool = 1};
    bool truncated;
    note.stack = stacks_capture(&t->stacks, start, &truncated);
    note.birth = new_birth(t);
    const int result = put(t, NOTE_EXIT, &note, add_handler);
    hook_leave(t);
    if (result < 0)
        atomic_fetch_add(&n_dropped, 1);
}

void notes_after_dlclose(void) {
    struct shard *const s = &shards[N_SHARDS - 1];
    struct hook_thread *const t = hook_begin();
    if (t == NULL || !hook_enter(t))
        return;
    if (rawmem_lock(&s->lock, t->cache.try)) {
        struct table *const table = atomic_load(&s->table);
        for (uint32_t i = 0; table != NULL && i < table->capacity; i++) {
            struct note *const n = &table->notes[i];
            if (n->kind == NOTE_EXIT && n->b != 0 && !rawmem_readable(n->b)) {
                atomic_store_explicit(&n->kind, NOTE_GONE, memory_order_release);
                table->n_live--;
            }
        }
        rawmem_unlock(&s->lock);
    }
    hook_leave(t);
}
