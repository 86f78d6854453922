/* See hook_nvtx.h. Structures and numbers are those of NVTX 3 (nvToolsExtMem.h, nvtxTypes.h,
 * nvtxExtTypes.h).
 *
 * Invariant: of NVTX's functions only those are taken that make domains and strings, which have
 * names, and those of memory; all others stay without a function, so that ranges and marks cost
 * what they cost without a tool. A heap that is no sub-allocator is no pool: its regions are not
 * allocated, and only their names are kept. What a heap of a form that is not known here holds is
 * not guessed at, but counted as not kept. */
#include "capture/hook_nvtx.h"

#include <heapsnap/annotate.h>
#include <string.h>
#include <wchar.h>

#include "capture/hook.h"
#include "capture/notes.h"
#include "capture/rawmem.h"

/* --- NVTX's structures --- */

enum { TABLE_CALLBACKS = 1, MODULE_CORE2 = 5, MODULE_MEMORY = 1, MEMORY_COMPATIBLE = 0x0102 };
enum { REGISTER_STRING_A = 10, REGISTER_STRING_W = 11, CREATE_A = 12, CREATE_W = 13 };
enum {
    HEAP_REGISTER,
    HEAP_UNREGISTER,
    HEAP_RESET,
    REGIONS_REGISTER,
    REGIONS_RESIZE,
    REGIONS_UNREGISTER,
    REGIONS_NAME
};
enum { MESSAGE_ASCII = 1, MESSAGE_UNICODE = 2, MESSAGE_REGISTERED = 3 };
enum { USAGE_SUB_ALLOCATOR = 1, TYPE_VIRTUAL_ADDRESS = 1 };

struct core_callbacks {
    size_t struct_size;
    int (*get_table)(int module, void ***out_table, unsigned *out_size);
};
struct segment {
    size_t id, n_slots;
    void **slots;
};
struct module_info {
    uint16_t version, struct_size, module, compatible;
    size_t n_segments;
    struct segment *segments;
};
struct range {
    size_t size;
    const char *start;
};
struct heap {
    uint16_t compatible, struct_size;
    uint32_t reserved, usage, type;
    size_t range_size;
    const struct range *range;
    uint32_t category, message_type;
    const void *message;
};
struct regions {
    uint16_t compatible, struct_size;
    uint32_t type;
    const void *heap;
    size_t n, element_size;
    const char *elements; /* struct range */
    const void **handles;
};
struct resized {
    uint16_t compatible, struct_size;
    uint32_t type;
    size_t n, element_size;
    const char *elements; /* struct range */
};
struct unregistered {
    uint16_t compatible, struct_size;
    uint32_t reference_type; /* a handle of ours is the address, too */
    size_t n, element_size;
    const char *elements; /* addresses */
};
struct region_name {
    uint32_t reference_type, message_type;
    const void *region;
    const void *message;
};
struct region_names {
    uint16_t compatible, struct_size;
    uint32_t reserved;
    size_t n, element_size;
    const char *elements; /* struct region_name */
};

_Static_assert(sizeof(struct range) == 16 && sizeof(struct heap) == 48, "as in nvToolsExtMem.h");
_Static_assert(sizeof(struct regions) == 48 && sizeof(struct resized) == 32, "likewise");
_Static_assert(sizeof(struct unregistered) == 32 && sizeof(struct region_names) == 32, "likewise");

/* --- names --- */

enum { STRINGS_MAX = 4096, STRING_BYTES = 256 };

/* Names of domains, and strings that the program has registered; it holds them by their address. */
struct string {
    struct string *next;
    char text[];
};
static struct {
    struct rawmem_lock lock;
    uint32_t n;
    struct string *first;
} strings;

static const char *find_string(const char *text) {
    for (const struct string *s = strings.first; s != NULL; s = s->next)
        if (strcmp(s->text, text) == 0)
            return s->text;
    return NULL;
}

static const char *add_string(const char *text, bool try) {
    const size_t length = strlen(text);
    struct string *const s = strings.n < STRINGS_MAX
                                 ? rawmem_carve((sizeof *s + length + 1 + 63) & ~(size_t)63, try)
                                 : NULL;
    if (s == NULL)
        return NULL;
    memcpy(s->text, text, length + 1);
    s->next = strings.first;
    strings.first = s;
    strings.n++;
    return s->text;
}

/* The one that is kept with this text; NULL: it cannot be kept, which is no name to NVTX. */
static const char *keep_string(const char *text) {
    struct hook_thread *const t = hook_begin();
    if (text == NULL || t == NULL || !hook_enter(t))
        return NULL;
    const char *kept = NULL;
    if (rawmem_lock(&strings.lock, t->cache.try)) {
        kept = find_string(text);
        if (kept == NULL)
            kept = add_string(text, t->cache.try);
        rawmem_unlock(&strings.lock);
    }
    hook_leave(t);
    return kept;
}

/* As UTF-8, cut where there is no room for more. */
static const char *narrow(const wchar_t *text, char out[STRING_BYTES]) {
    size_t n = 0;
    for (; text != NULL && *text && n + 5 <= STRING_BYTES; text++) {
        const uint32_t c = (uint32_t)*text < 0x110000 ? (uint32_t)*text : 0xfffd;
        if (c < 0x80) {
            out[n++] = (char)c;
            continue;
        }
        static const uint32_t first[] = {0, 0xc0, 0xe0, 0xf0};
        const unsigned more = c < 0x800 ? 1 : c < 0x10000 ? 2 : 3;
        out[n++] = (char)(first[more] | c >> 6 * more);
        for (unsigned i = more; i-- > 0;)
            out[n++] = (char)(0x80 | (c >> 6 * i & 0x3f));
    }
    out[n] = '\0';
    return out;
}

/* A text no longer than what is kept; a shorter one as it is. */
static const char *cut(const char *text, char out[STRING_BYTES]) {
    if (text == NULL || strnlen(text, STRING_BYTES) < STRING_BYTES)
        return text;
    size_t n = STRING_BYTES - 1;
    while (n > 0 && ((unsigned char)text[n] & 0xc0) == 0x80) /* not within a character */
        n--;
    memcpy(out, text, n);
    out[n] = '\0';
    return out;
}

/* NULL: it has none. */
static const char *message_text(uint32_t type, const void *message, char out[STRING_BYTES]) {
    const char *const text = type == MESSAGE_ASCII || type == MESSAGE_REGISTERED ? message
                             : type == MESSAGE_UNICODE ? narrow(message, out)
                                                       : NULL;
    return text != NULL && *text ? cut(text, out) : NULL;
}

static const void *create(const char *name) {
    char out[STRING_BYTES];
    return keep_string(cut(name, out));
}
static const void *create_wide(const wchar_t *name) {
    char out[STRING_BYTES];
    return keep_string(narrow(name, out));
}
static const void *register_string(const void *domain, const char *text) {
    (void)domain;
    return create(text);
}
static const void *register_string_wide(const void *domain, const wchar_t *text) {
    (void)domain;
    return create_wide(text);
}

/* --- heaps and regions --- */

static int64_t say(uint32_t what, const void *a, const void *b, uint64_t number, const char *name,
                   const struct stack_start *start) {
    const snap_annotation annotation = {
        (uint32_t)sizeof annotation, what, a, b, number, name, NULL};
    return notes_annotate(&annotation, start);
}

/* What the program is given for a heap is its address, as NVTX has it. */
static const void *heap_register(const void *domain, const struct heap *h) {
    const struct stack_start start = STACKS_START_HERE();
    char out[STRING_BYTES];
    if (h == NULL || h->struct_size < sizeof *h || h->type != TYPE_VIRTUAL_ADDRESS ||
        h->range == NULL || h->range_size < sizeof *h->range || h->range->start == NULL ||
        h->range->size == 0) {
        notes_not_kept();
        return NULL;
    }
    const struct range *const r = h->range;
    if (h->usage != USAGE_SUB_ALLOCATOR)
        return r->start;
    const char *name = message_text(h->message_type, h->message, out);
    name = name != NULL ? name : domain != NULL ? domain : "NVTX";
    const int64_t pool = say(SNAP_ANNOTATE_POOL, NULL, NULL, 0, name, &start);
    if (pool > 0)
        say(SNAP_ANNOTATE_POOL_GROW, r->start, r->start + r->size, (uint64_t)pool, NULL, &start);
    return r->start;
}

static void say_of_heap(uint32_t what, const void *heap, const struct stack_start *start) {
    const uint64_t pool = notes_pool_at((uintptr_t)heap);
    if (pool != 0)
        say(what, NULL, NULL, pool, NULL, start);
}

static void heap_unregister(const void *domain, const void *heap) {
    const struct stack_start start = STACKS_START_HERE();
    (void)domain;
    say_of_heap(SNAP_ANNOTATE_POOL_REMOVE, heap, &start);
}

static void heap_reset(const void *domain, const void *heap) {
    const struct stack_start start = STACKS_START_HERE();
    (void)domain;
    say_of_heap(SNAP_ANNOTATE_POOL_RESET, heap, &start);
}

static void regions_register(const void *domain, const struct regions *d) {
    const struct stack_start start = STACKS_START_HERE();
    (void)domain;
    if (d == NULL || d->struct_size < sizeof *d || d->type != TYPE_VIRTUAL_ADDRESS ||
        d->element_size < sizeof(struct range)) {
        notes_not_kept();
        return;
    }
    const uint64_t pool = notes_pool_at((uintptr_t)d->heap);
    for (size_t i = 0; i < d->n; i++) {
        const struct range *const r = (const void *)(d->elements + i * d->element_size);
        if (d->handles != NULL)
            d->handles[i] = r->start;
        if (pool != 0)
            say(SNAP_ANNOTATE_BLOCK, r->start, r->start + r->size, pool, NULL, &start);
    }
}

static void regions_resize(const void *domain, const struct resized *d) {
    (void)domain;
    if (d == NULL || d->struct_size < sizeof *d || d->type != TYPE_VIRTUAL_ADDRESS ||
        d->element_size < sizeof(struct range)) {
        notes_not_kept();
        return;
    }
    for (size_t i = 0; i < d->n; i++) {
        const struct range *const r = (const void *)(d->elements + i * d->element_size);
        notes_block_resize((uintptr_t)r->start, r->size);
    }
}

static void regions_unregister(const void *domain, const struct unregistered *d) {
    const struct stack_start start = STACKS_START_HERE();
    (void)domain;
    if (d == NULL || d->struct_size < sizeof *d || d->element_size < sizeof(void *)) {
        notes_not_kept();
        return;
    }
    for (size_t i = 0; i < d->n; i++)
        say(SNAP_ANNOTATE_BLOCK_REMOVE,
            *(const void *const *)(const void *)(d->elements + i * d->element_size), NULL, 0, NULL,
            &start);
}

static void regions_name(const void *domain, const struct region_names *d) {
    const struct stack_start start = STACKS_START_HERE();
    (void)domain;
    if (d == NULL || d->struct_size < sizeof *d || d->element_size < sizeof(struct region_name)) {
        notes_not_kept();
        return;
    }
    for (size_t i = 0; i < d->n; i++) {
        char out[STRING_BYTES];
        const struct region_name *const n = (const void *)(d->elements + i * d->element_size);
        const char *const name = message_text(n->message_type, n->message, out);
        if (name != NULL)
            say(SNAP_ANNOTATE_TYPE, n->region, NULL, 0, name, &start);
    }
}

void hook_nvtx_after_fork_child(void) {
    rawmem_unlock(&strings.lock);
}

/* --- what NVTX looks for --- */

static _Atomic bool is_started;

void hook_nvtx_start(void) {
    atomic_store(&is_started, true);
}

HOOK_EXPORT int InitializeInjectionNvtx2(const void *(*get_export_table)(uint32_t id));
HOOK_EXPORT int InitializeInjectionNvtxExtension(struct module_info *module);

static void set(void **table, size_t n, size_t at, void *ours) {
    if (at < n && table[at] != NULL)
        *(void **)table[at] = ours;
}

/* 0: it shall go on as without a tool. */
int InitializeInjectionNvtx2(const void *(*get_export_table)(uint32_t id)) {
    const struct core_callbacks *const callbacks =
        atomic_load(&is_started) ? get_export_table(TABLE_CALLBACKS) : NULL;
    void **table;
    unsigned n;
    if (callbacks == NULL || callbacks->struct_size < sizeof *callbacks ||
        callbacks->get_table(MODULE_CORE2, &table, &n) == 0)
        return 0;
    set(table, n, REGISTER_STRING_A, (void *)register_string);
    set(table, n, REGISTER_STRING_W, (void *)register_string_wide);
    set(table, n, CREATE_A, (void *)create);
    set(table, n, CREATE_W, (void *)create_wide);
    return 1;
}

int InitializeInjectionNvtxExtension(struct module_info *module) {
    static void *const ours[] = {[HEAP_REGISTER] = (void *)heap_register,
                                 [HEAP_UNREGISTER] = (void *)heap_unregister,
                                 [HEAP_RESET] = (void *)heap_reset,
                                 [REGIONS_REGISTER] = (void *)regions_register,
                                 [REGIONS_RESIZE] = (void *)regions_resize,
                                 [REGIONS_UNREGISTER] = (void *)regions_unregister,
                                 [REGIONS_NAME] = (void *)regions_name};
    if (!atomic_load(&is_started) || module->struct_size < sizeof *module ||
        module->module != MODULE_MEMORY || module->n_segments == 0)
        return 0;
    if (module->compatible != MEMORY_COMPATIBLE) {
        notes_not_kept();
        return 0;
    }
    for (size_t i = 0; i < sizeof ours / sizeof *ours && i < module->segments[0].n_slots; i++)
        module->segments[0].slots[i] = ours[i];
    return 1;
}
