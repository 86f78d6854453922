/* Sends notes, exit handlers, signal handlers and destructors of thread keys.
 *
 * Runs in the copy, after all nodes are known. A note is sent if the block that it speaks of is
 * still the one it was: of the same birth. Does not allocate but by mmap. */
#include "capture/notes_send.h"

#include <dlfcn.h>
#include <elf.h>
#include <heapsnap/snapdef.h>
#include <link.h>
#include <string.h>

#include "capture/notes.h"
#include "capture/raw.h"
#include "capture/scan_table.h"
#include "model/wire.h"

#define REGION_BYTES_MAX ((uint64_t)1 << 30)

/* Names of registries, behind the program's own: their ids are `names` + notes_n_names() + these.
 */
enum registry { REGISTRY_ATEXIT = 1, REGISTRY_KEY, REGISTRY_SIGNAL, N_REGISTRIES = 2 };

/* The image that this is part of. */
extern const char __ehdr_start[] __attribute__((visibility("hidden")));
extern const char _end[] __attribute__((visibility("hidden")));

static int is_own(uint64_t address) {
    return address >= (uintptr_t)__ehdr_start && address < (uintptr_t)_end;
}

/* --- the kernel's and the C library's lists --- */

struct key {         /* the C library's pthread_key_struct */
    uint64_t serial; /* odd: in use */
    uint64_t destructor;
};
enum { KEYS = 1024 };
static uint64_t key_table; /* address */

void notes_find_keys(void) {
    void *const found = dlvsym(RTLD_DEFAULT, "__pthread_keys", "GLIBC_PRIVATE");
    const ElfW(Sym) *symbol = NULL;
    Dl_info info;
    /* It is not for us: taken for what it is only if it has the size that it should have. */
    if (found != NULL && dladdr1(found, &info, (void **)&symbol, RTLD_DL_SYMENT) != 0 &&
        symbol != NULL && symbol->st_size == KEYS * sizeof(struct key))
        key_table = (uintptr_t)found;
}

void notes_read_signals(uint64_t signals[NOTES_SIGNALS]) {
    for (int i = 1; i < NOTES_SIGNALS; i++) {
        struct { /* the kernel's sigaction */
            uint64_t handler;
            unsigned long flags;
            void *restorer;
            uint64_t mask;
        } action = {0};
        signals[i] = 0;
        if (raw_call(SYS_rt_sigaction, i, 0, (long)&action, 8, 0, 0) == 0 && action.handler > 1 &&
            !is_own(action.handler))
            signals[i] = action.handler;
    }
}

static void signal_name(int number, char buffer[32]) {
    static const char *const names[] = {
        "",     "HUP",  "INT",  "QUIT", "ILL",    "TRAP",   "ABRT",  "BUS",  "FPE",  "KILL", "USR1",
        "SEGV", "USR2", "PIPE", "ALRM", "TERM",   "STKFLT", "CHLD",  "CONT", "STOP", "TSTP", "TTIN",
        "TTOU", "URG",  "XCPU", "XFSZ", "VTALRM", "PROF",   "WINCH", "IO",   "PWR",  "SYS"};
    static const char prefix[] = "signal ";
    char *p = buffer;
    memcpy(p, prefix, sizeof prefix - 1);
    p += sizeof prefix - 1;
    if (number < (int)(sizeof names / sizeof *names)) {
        memcpy(p, names[number], strlen(names[number]) + 1);
        return;
    }
    *p++ = (char)('0' + number / 10);
    *p++ = (char)('0' + number % 10);
    *p = '\0';
}

/* --- stacks --- */

struct stacks {
    void (*use)(void *context, uint32_t stack);
    void *context;
};

static int use_stack(void *context, const struct note *n) {
    const struct stacks *const s = context;
    s->use(s->context, n->stack);
    return 0;
}

void notes_stacks(void (*use)(void *context, uint32_t stack), void *context) {
    struct stacks s = {use, context};
    notes_for_each(use_stack, &s);
    for (uint32_t i = 1; i <= notes_n_pools(); i++)
        use(context, notes_pool(i).stack);
}

/* --- names --- */

static int add_string(struct scan_array *a, const char *text, size_t length) {
    static const char zeros[8];
    const struct wire_string head = {.length = (uint32_t)length};
    char *const to = scan_array_more(a, sizeof head + ((length + 7) & ~(size_t)7));
    if (to == NULL)
        return -1;
    memcpy(to, &head, sizeof head);
    memcpy(to + sizeof head, text, length);
    memcpy(to + sizeof head + length, zeros, -length & 7);
    return 0;
}

static int send_strings(struct notes_sink *s) {
    static const char *const registries[N_REGISTRIES] = {"atexit", "pthread_key_create"};
    struct scan_array a = {0};
    const uint32_t n = notes_n_names();
    uint32_t n_sent = 0;
    for (uint32_t i = 1; i <= n; i++, n_sent++) {
        uint32_t length;
        const char *const text = notes_name(i, &length);
        if (add_string(&a, text, length) < 0)
            break;
    }
    for (size_t i = 0; i < N_REGISTRIES && n_sent == n + i; i++)
        n_sent += add_string(&a, registries[i], strlen(registries[i])) == 0;
    for (int i = 1; i < NOTES_SIGNALS && n_sent >= n + N_REGISTRIES; i++) {
        char name[32];
        if (s->signals[i]) {
            signal_name(i, name);
            n_sent += add_string(&a, name, strlen(name)) == 0;
        }
    }
    s->names = s->n_strings;
    s->n_strings += n_sent;
    const int result = s->put(s->context, WIRE_STRING, n_sent, a.data, a.length);
    scan_array_release(&a);
    return result;
}

struct types {
    uint32_t *ids; /* by name: index + 1 over ours */
    uint32_t n;
    struct notes_sink *s;
    struct scan_array records;
};

static int add_type(void *context, const struct note *n) {
    struct types *const t = context;
    if (n->kind != NOTE_TYPE || n->name == 0 || t->ids[n->name - 1])
        return 0;
    struct wire_type *const w = scan_array_more(&t->records, sizeof *w);
    if (w == NULL)
        return -1;
    *w = (struct wire_type){.name = t->s->names + n->name, .source = SNAP_TYPE_API};
    t->ids[n->name - 1] = ++t->n;
    return 0;
}

static uint32_t *type_ids; /* by name - 1, from one of the functions below to the other */
static size_t type_ids_bytes;

static int send_types(struct notes_sink *s) {
    const uint32_t n_names = notes_n_names();
    type_ids_bytes = (size_t)n_names * sizeof *type_ids;
    type_ids = n_names ? raw_map(type_ids_bytes, 0x22 /* private, anonymous */) : NULL;
    if (type_ids == NULL)
        return 0;
    struct types t = {.ids = type_ids, .s = s};
    notes_for_each(add_type, &t);
    s->types = s->n_types;
    s->n_types += t.n;
    const int result =
        t.n ? s->put(s->context, WIRE_TYPE, t.n, t.records.data, t.records.length) : 0;
    scan_array_release(&t.records);
    return result;
}

/* Memory of devices has rows of its own. */
static int has_row(uint32_t pool) {
    const struct note_places *const p = notes_places();
    return notes_pool(pool).serial != 0 && !(p && p->is_device[pool - 1]);
}

/* A row for each pool, then one for each of its ranges. */
static int send_pools(struct notes_sink *s) {
    const struct note_places *const p = notes_places();
    const uint32_t n_pools = notes_n_pools();
    struct scan_array a = {0};
    uint32_t *const rows =
        n_pools ? raw_map((size_t)n_pools * sizeof *rows, 0x22 /* private, anonymous */) : NULL;
    uint32_t n = 0;
    s->pools = s->n_pools;
    for (uint32_t i = 1; rows && i <= n_pools; i++) {
        const struct note_pool pool = notes_pool(i);
        struct wire_pool *const w = has_row(i) ? scan_array_more(&a, sizeof *w) : NULL;
        if (w == NULL)
            continue;
        *w = (struct wire_pool){.kind = SNAP_POOL_API,
                                .domain = SNAP_DOMAIN_HOST,
                                .name = s->names + pool.name,
                                .birth = pool.birth,
                                .stack = s->stack(s->context, pool.stack),
                                .flags = p && p->has_blocks[i - 1] ? 0 : SNAP_POOL_FLAG_OPAQUE};
        rows[i - 1] = ++n;
    }
    for (uint32_t i = 0; rows && p && i < p->n_ranges; i++) {
        const struct note_range *const r = &p->ranges[i];
        const int is_opaque = !p->has_blocks[r->pool - 1];
        const uint64_t size = r->end - r->start;
        const uint64_t live = is_opaque || r->live > size ? size : r->live;
        struct wire_pool *const w = rows[r->pool - 1] ? scan_array_more(&a, sizeof *w) : NULL;
        if (w == NULL)
            continue;
        struct wire_pool *const parent = (struct wire_pool *)(void *)a.data + rows[r->pool - 1] - 1;
        parent->size += size;
        parent->live += live;
        parent->cached += size - live;
        if (!is_opaque && r->largest_gap > parent->largest_gap)
            parent->largest_gap = r->largest_gap;
        *w = (struct wire_pool){.address = r->start,
                                .size = size,
                                .live = live,
                                .cached = size - live,
                                .largest_gap = is_opaque ? 0 : r->largest_gap,
                                .birth = r->birth,
                                .kind = SNAP_POOL_API,
                                .domain = SNAP_DOMAIN_HOST,
                                .name = parent->name,
                                .stack = s->stack(s->context, r->stack),
                                .parent = s->pools + rows[r->pool - 1],
                                .flags = parent->flags};
        n++;
    }
    s->n_pools += n;
    const int result = n ? s->put(s->context, WIRE_POOL, n, a.data, a.length) : 0;
    scan_array_release(&a);
    if (rows)
        raw_unmap(rows, (size_t)n_pools * sizeof *rows);
    return result;
}

void notes_send_names(struct notes_sink *s) {
    if (send_strings(s) == 0 && send_types(s) == 0)
        send_pools(s);
}

/* --- what refers to nodes --- */

/* Records with a node that they are to be sorted by. */
struct sorted {
    struct scan_array keys, records;
    size_t size;
};

static void *add_sorted(struct sorted *a, uint32_t node) {
    const size_t n = a->keys.length / sizeof(struct note_key);
    struct note_key *const key = scan_array_more(&a->keys, sizeof *key);
    void *const record = key ? scan_array_more(&a->records, a->size) : NULL;
    if (record == NULL)
        return NULL;
    *key = (struct note_key){.key = node, .index = (uint32_t)n};
    return record;
}

/* Sends them in their order, in sections of a bounded size. */
static void send_sorted(const struct notes_sink *s, struct sorted *a, uint32_t kind) {
    enum { PER_SECTION = 1024 };
    const size_t n = a->records.length / a->size;
    struct scan_array other = {0}, out = {0};
    struct note_key *const keys = (void *)a->keys.data;
    if (n > 0 && scan_array_more(&other, n * sizeof *keys) &&
        scan_array_more(&out, PER_SECTION * a->size)) {
        notes_sort(keys, (void *)other.data, n, 32);
        for (size_t i = 0; i < n;) {
            size_t k = 0;
            for (; k < PER_SECTION && i < n; i++, k++)
                memcpy(out.data + k * a->size, a->records.data + keys[i].index * a->size, a->size);
            if (s->put(s->context, kind, (uint32_t)k, out.data, k * a->size) != 0)
                break;
        }
    }
    scan_array_release(&other);
    scan_array_release(&out);
    scan_array_release(&a->keys);
    scan_array_release(&a->records);
}

struct facts {
    struct notes_sink *s;
    struct sorted types, pools, references;
    struct scan_array roots, hooks;
};

/* The node that a note speaks of; 0: it is gone, or was none. */
static uint32_t node_of(const struct facts *f, uint64_t address, uint64_t birth,
                        uint64_t *out_offset) {
    return birth && notes_birth_at(address) == birth
               ? f->s->find(f->s->context, address, out_offset)
               : 0;
}

static int add_root(struct facts *f, const struct wire_root *root) {
    struct wire_root *const w = scan_array_more(&f->roots, sizeof *w);
    if (w == NULL)
        return -1;
    *w = *root;
    w->kind = SNAP_ROOT_API;
    w->flags = w->target_offset ? SNAP_EDGE_FLAG_INTERIOR : 0;
    return 0;
}

static int add_reference(struct facts *f, const struct note *n) {
    uint64_t source_offset = 0, target_offset = 0;
    const uint32_t target = node_of(f, n->b, n->birth_b, &target_offset);
    const uint32_t source = node_of(f, n->a, n->birth_a, &source_offset);
    if (target == 0)
        return 0;
    if (source == 0) /* from memory that is no block: it must not have become one */
        return n->birth_a || notes_birth_at(n->a)
                   ? 0
                   : add_root(f, &(struct wire_root){.target = target,
                                                     .target_offset = target_offset,
                                                     .name = f->s->names + n->name});
    if (source > f->s->n_blocks)
        return 0;
    struct wire_reference *const w = add_sorted(&f->references, source);
    if (w)
        *w = (struct wire_reference){.source_offset = source_offset,
                                     .target_offset = target_offset,
                                     .source = source,
                                     .target = target,
                                     .label = f->s->names + n->name,
                                     .kind = SNAP_EDGE_API,
                                     .flags = target_offset ? SNAP_EDGE_FLAG_INTERIOR : 0};
    return w ? 0 : -1;
}

static int add_region(struct facts *f, const struct note *n) {
    static uint64_t words[8192];
    uint64_t at = (n->a + 7) & ~UINT64_C(7);
    const uint64_t end = n->a + (n->b < REGION_BYTES_MAX ? n->b : REGION_BYTES_MAX);
    while (at < end && end - at >= 8) {
        const size_t part =
            end - at < sizeof words ? (size_t)(end - at) & ~(size_t)7 : sizeof words;
        const size_t got = f->s->read(f->s->context, at, words, part);
        for (size_t i = 0; i < got / 8; i++) {
            uint64_t offset;
            const uint32_t node = words[i] ? f->s->find(f->s->context, words[i], &offset) : 0;
            if (node && add_root(f, &(struct wire_root){.address = at + i * 8,
                                                        .target = node,
                                                        .target_offset = offset,
                                                        .name = f->s->names + n->name}) < 0)
                return -1;
        }
        /* What cannot be read is passed over by pages. */
        at += got == part ? part : 4096 - ((at + got) & 4095) + got;
    }
    return 0;
}

static int add_hook(struct facts *f, const struct wire_hook *hook) {
    struct wire_hook *const w = is_own(hook->pc) ? NULL : scan_array_more(&f->hooks, sizeof *w);
    if (w)
        *w = *hook;
    return 0;
}

static int add_type_of(struct facts *f, const struct note *n) {
    uint64_t offset;
    const uint32_t node = node_of(f, n->a, n->birth_a, &offset);
    const uint32_t type = type_ids && n->name ? type_ids[n->name - 1] : 0;
    if (node == 0 || offset != 0 || type == 0 || node > f->s->n_blocks)
        return 0;
    struct wire_node_type *const w = add_sorted(&f->types, node);
    if (w)
        *w = (struct wire_node_type){.node = node, .type = f->s->types + type};
    return w ? 0 : -1;
}

static int add_fact(void *context, const struct note *n) {
    struct facts *const f = context;
    struct notes_sink *const s = f->s;
    uint64_t offset;
    const uint32_t kind = atomic_load_explicit(&n->kind, memory_order_relaxed);
    switch (kind) {
    case NOTE_TYPE: return add_type_of(f, n);
    case NOTE_EDGE: return add_reference(f, n);
    case NOTE_ROOT: {
        const uint32_t node = node_of(f, n->a, n->birth_a, &offset);
        return node ? add_root(f, &(struct wire_root){.target = node,
                                                      .target_offset = offset,
                                                      .name = s->names + n->name})
                    : 0;
    }
    case NOTE_REGION: return add_region(f, n);
    case NOTE_HOOK:
        return add_hook(f,
                        &(struct wire_hook){.pc = n->b,
                                            .birth = n->birth,
                                            .registry = s->names + n->name,
                                            .argument = node_of(f, n->extra, n->birth_b, &offset),
                                            .stack = s->stack(s->context, n->stack),
                                            .kind = SNAP_HOOK_API});
    case NOTE_EXIT:
        return add_hook(f, &(struct wire_hook){
                               .pc = n->a,
                               .birth = n->birth,
                               .registry = s->names + notes_n_names() + REGISTRY_ATEXIT,
                               .argument = n->extra ? s->find(s->context, n->extra, &offset) : 0,
                               .stack = s->stack(s->context, n->stack),
                               .count = n->pool,
                               .kind = SNAP_HOOK_ATEXIT});
    default: return 0;
    }
}

static void add_signals(struct facts *f) {
    uint32_t registry = f->s->names + notes_n_names() + REGISTRY_SIGNAL;
    for (int i = 1; i < NOTES_SIGNALS; i++)
        if (f->s->signals[i])
            add_hook(f, &(struct wire_hook){.pc = f->s->signals[i],
                                            .registry = registry++,
                                            .kind = SNAP_HOOK_SIGNAL});
}

static void add_keys(struct facts *f) {
    static struct key all[KEYS];
    if (!key_table || f->s->read(f->s->context, key_table, all, sizeof all) != sizeof all)
        return;
    for (unsigned i = 0; i < KEYS; i++)
        if ((all[i].serial & 1) && all[i].destructor)
            add_hook(f,
                     &(struct wire_hook){.pc = all[i].destructor,
                                         .registry = f->s->names + notes_n_names() + REGISTRY_KEY,
                                         .kind = SNAP_HOOK_THREAD_KEY});
}

/* Blocks of pools, and blocks of malloc that are the memory of opaque ones. */
static void add_pools(struct facts *f) {
    const struct note_places *const p = notes_places();
    struct notes_sink *const s = f->s;
    if (!p)
        return;
    /* Rows of pools that are there come first, then those of ranges, in this order. */
    uint32_t row = s->pools, n_rows = 0;
    for (uint32_t i = 1; i <= notes_n_pools(); i++)
        n_rows += (uint32_t)has_row(i);
    row += n_rows;
    uint32_t next = 0;
    for (uint32_t i = 0; i < p->n_ranges; i++) {
        const struct note_range *const r = &p->ranges[i];
        uint64_t offset;
        row++;
        if (!p->has_blocks[r->pool - 1]) {
            const uint32_t node = s->find(s->context, r->start, &offset);
            struct wire_node_pool *const w =
                node && node <= s->n_blocks ? add_sorted(&f->pools, node) : NULL;
            if (w)
                *w = (struct wire_node_pool){.node = node, .pool = row};
            continue;
        }
        while (next < p->n_blocks && p->blocks[next].address < r->start)
            next++;
        for (uint32_t k = next; k < p->n_blocks && p->blocks[k].address < r->end; k++) {
            const uint32_t node = p->blocks[k].pool == r->pool
                                      ? s->find(s->context, p->blocks[k].address, &offset)
                                      : 0;
            struct wire_node_pool *const w =
                node && offset == 0 ? add_sorted(&f->pools, node) : NULL;
            if (w)
                *w = (struct wire_node_pool){.node = node, .pool = row};
        }
    }
}

void notes_send_facts(struct notes_sink *s) {
    enum { PER_SECTION = 1024 };
    struct facts f = {.s = s,
                      .types.size = sizeof(struct wire_node_type),
                      .pools.size = sizeof(struct wire_node_pool),
                      .references.size = sizeof(struct wire_reference)};
    notes_for_each(add_fact, &f);
    add_pools(&f);
    add_signals(&f);
    add_keys(&f);
    send_sorted(s, &f.pools, WIRE_NODE_POOL);
    send_sorted(s, &f.types, WIRE_NODE_TYPE);
    send_sorted(s, &f.references, WIRE_REFERENCE);
    const struct {
        struct scan_array *array;
        size_t size;
        uint32_t kind;
    } rest[] = {{&f.roots, sizeof(struct wire_root), WIRE_ROOT},
                {&f.hooks, sizeof(struct wire_hook), WIRE_HOOK}};
    for (size_t i = 0; i < sizeof rest / sizeof *rest; i++) {
        const size_t n = rest[i].array->length / rest[i].size;
        for (size_t at = 0; at < n; at += PER_SECTION) {
            const size_t part = n - at < PER_SECTION ? n - at : PER_SECTION;
            if (s->put(s->context, rest[i].kind, (uint32_t)part,
                       rest[i].array->data + at * rest[i].size, part * rest[i].size) != 0)
                break;
        }
        scan_array_release(rest[i].array);
    }
    if (type_ids)
        raw_unmap(type_ids, type_ids_bytes);
    type_ids = NULL;
}
