/* Types of blocks and names of roots from debug information.
 *
 * A root is a word of a variable, whose declared type says what the block it points at is; the
 * block's own pointers say it of the next blocks, and so on, breadth first. Nothing is believed
 * that the block's size contradicts: a pointer to T at the start of a block makes it a T if the
 * sizes are equal or T ends in a flexible array, an array of T if the size is a multiple. Where two
 * certain sources disagree and neither contains the other, the block stays without a type, and all
 * that was concluded from it is concluded anew without it.
 *
 * After that come guesses, kept apart by their source: blocks that only a void pointer or a pointer
 * into their middle refers to, where one struct alone has that size and agrees with the block's own
 * references and those to it. A guess never changes what is certain.
 *
 * Blocks that have a type by a better source keep it; a C++ class that its virtual table named
 * counts as certain, and its members lead on. Does not read memory: all there is are references
 * between words. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/err.h"
#include "base/map.h"
#include "base/mem.h"
#include "model/heap.h"
#include "model/word.h"
#include "symbol/demangle.h"
#include "symbol/layout.h"

#define MODULES_WAITED_FOR 3
#define ROUNDS_MAX 5
#define EDGES_CHECKED_MAX 256
#define NAME_MAX_BYTES 4096

/* How well a type of a block is founded; a higher one wins over a lower one. */
enum strength { STRENGTH_NONE, STRENGTH_BYTES, STRENGTH_ARRAY, STRENGTH_WHOLE, STRENGTH_GIVEN };

enum {
    NODE_STRENGTH = 7,
    NODE_ARRAY = 8,
    NODE_GUESS = 16,
    NODE_BARRED = 32, /* certain sources disagree */
    NODE_FORCED = 64, /* decided in an earlier round, holds once the block is reached */
    NODE_VOID = 128   /* a pointer to anything starts here */
};

/* Words of stacks may be left over from a function that has ended: what they say is believed where
 * nothing else is known. */
enum phase { PHASE_CERTAIN, PHASE_STACKS, PHASE_GUESSES };

/* What a type of the heap is in the layout. */
struct known_type {
    uint32_t type;
    uint8_t is_array;
};

/* A struct and what it starts with. */
struct derived {
    uint32_t base, type;
};

struct typing {
    struct heap *heap;
    struct layout *layout;
    struct words words;
    uint32_t *type; /* by node - 1: type, or element of an array */
    uint8_t *state;
    uint32_t *queue;
    size_t n_queue, done, queue_capacity;
    enum phase phase;
    int round, has_changed; /* has_changed: a round has to be repeated */
    uint32_t *hint_type;    /* by node - 1: a pointer into the middle: to what */
    uint32_t *hint_offset;
    uint32_t *limit;  /* by node - 1: of a vector's block: bytes of elements + 1; 0: all. Of a
                         string's: 1, for there are only characters in it */
    uint32_t *hinted; /* nodes with a hint or NODE_VOID */
    size_t n_hinted, hinted_capacity;

    struct known_type *known; /* by heap type - 1 */
    size_t n_known, known_capacity;
    struct map given;      /* heap type by (type, is_array, source) */
    struct map labels;     /* heap string by label */
    struct map root_names; /* heap string by (variable, label) */
    uint32_t *candidates;  /* structs ascending by size */
    size_t n_candidates, candidates_capacity;
    struct derived *derived; /* ascending by base */
    size_t n_derived, derived_capacity;
    int is_out_of_memory;
};

static const struct layout_type *get(const struct typing *t, uint32_t type) {
    return layout_type_get(t->layout, type);
}

static int is_struct(const struct typing *t, uint32_t type) {
    const uint8_t kind = get(t, type)->kind;
    return kind == LAYOUT_STRUCT || kind == LAYOUT_UNION;
}

static void out_of_memory(struct typing *t) {
    t->is_out_of_memory = 1;
}

/* What is asked of the images. */

static int compare_numbers(const void *a, const void *b) {
    const uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return x < y ? -1 : x > y;
}

/* Names of classes, as hashes, ascending. */
struct wanted {
    uint64_t *names;
    size_t n_names, names_capacity;
    uint8_t sizes[LAYOUT_SIZES / 8];
};

/* The name of a class of which a table or a type is known, without what others made of it. */
static void class_name(const struct heap_type *type, char out[DEMANGLE_MAX_BYTES]) {
    static const char prefix[] = "typeinfo for ";
    out[0] = 0;
    if (!type->mangled) {
        const size_t length = strnlen(type->name, DEMANGLE_MAX_BYTES - 1);
        memcpy(out, type->name, length);
        out[length] = 0;
        return;
    }
    char symbol[DEMANGLE_MAX_BYTES], text[DEMANGLE_MAX_BYTES];
    const char *const mangled = type->mangled + (*type->mangled == '*');
    const int n = snprintf(symbol, sizeof symbol, "_ZTI%s", mangled);
    if (n < 0 || (size_t)n >= sizeof symbol)
        return;
    demangle(symbol, text);
    if (strncmp(text, prefix, strlen(prefix)) == 0)
        memmove(out, text + strlen(prefix), strlen(text + strlen(prefix)) + 1);
}

static void want(struct typing *t, struct wanted *wanted) {
    const struct heap *const h = t->heap;
    char name[DEMANGLE_MAX_BYTES];
    for (uint32_t i = 0; i < h->n_blocks; i++) {
        if (h->size[i] < LAYOUT_SIZES)
            wanted->sizes[h->size[i] / 8] |= (uint8_t)(1u << h->size[i] % 8);
    }
    for (uint32_t i = 0; i < h->n_types; i++) {
        const struct heap_type *const type = &h->types[i];
        if (type->source != SNAP_TYPE_VTABLE && type->source != SNAP_TYPE_API)
            continue;
        class_name(type, name);
        size_t length = strlen(name);
        if (length > 2 && strcmp(name + length - 2, "[]") == 0)
            name[length - 2] = 0;
        if (mem_grow(&wanted->names, &wanted->names_capacity, wanted->n_names + 1,
                     sizeof *wanted->names) != 0)
            out_of_memory(t);
        else
            wanted->names[wanted->n_names++] = layout_name_hash(name);
    }
    if (wanted->n_names)
        qsort(wanted->names, wanted->n_names, sizeof *wanted->names, compare_numbers);
}

static uint64_t now_ns(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

/* Addresses of one image that something is wanted of. */
struct addresses {
    uint64_t *values;
    size_t n, capacity;
};

static void add_address(struct typing *t, struct addresses *to, uint64_t value) {
    if (mem_grow(&to->values, &to->capacity, to->n + 1, sizeof *to->values) != 0)
        out_of_memory(t);
    else
        to->values[to->n++] = value;
}

static void sort_addresses(struct addresses *addresses) {
    if (addresses->n)
        qsort(addresses->values, addresses->n, sizeof *addresses->values, compare_numbers);
    size_t n = 0;
    for (size_t i = 0; i < addresses->n; i++) {
        if (n == 0 || addresses->values[n - 1] != addresses->values[i])
            addresses->values[n++] = addresses->values[i];
    }
    addresses->n = n;
}

/* The thread's block of an image's thread-local variables that holds a root; NULL: none. */
static const struct heap_tls *tls_of(const struct heap *h, const struct heap_root *root) {
    uint32_t low = 0, high = h->n_tls;
    while (low < high) {
        const uint32_t middle = low + (high - low) / 2;
        const struct heap_tls *const tls = &h->tls[middle];
        if (tls->thread < root->thread ||
            (tls->thread == root->thread && tls->address <= root->address))
            low = middle + 1;
        else
            high = middle;
    }
    const struct heap_tls *const tls = low > 0 ? &h->tls[low - 1] : NULL;
    return tls && tls->thread == root->thread && root->address - tls->address < tls->size &&
                   tls->module && tls->module <= h->n_modules
               ? tls
               : NULL;
}

/* What is asked of one image. */
struct image_query {
    struct addresses words, tls_words, pcs;
};

static void collect_addresses(struct typing *t, struct image_query *queries) {
    const struct heap *const h = t->heap;
    for (uint32_t i = 0; i < h->n_roots; i++) {
        const struct heap_root *const root = &h->roots[i];
        const uint32_t module =
            root->kind == SNAP_ROOT_GLOBAL ? heap_module_at(h, root->address) : 0;
        const struct heap_tls *const tls = root->kind == SNAP_ROOT_TLS ? tls_of(h, root) : NULL;
        if (module)
            add_address(t, &queries[module - 1].words, root->address - h->modules[module - 1].bias);
        if (tls)
            add_address(t, &queries[tls->module - 1].tls_words, root->address - tls->address);
    }
    for (uint64_t i = 0; i < h->n_codes; i++) {
        const uint32_t module = h->codes[i].node == 0 ? heap_module_at(h, h->codes[i].address) : 0;
        if (module)
            add_address(t, &queries[module - 1].words,
                        h->codes[i].address - h->modules[module - 1].bias);
    }
    for (uint32_t i = 0; i < h->n_frames; i++) {
        const struct heap_frame *const frame = &h->frames[i];
        const uint64_t pc = frame->pc - !frame->is_exact;
        const uint32_t module = heap_module_at(h, pc);
        if (module)
            add_address(t, &queries[module - 1].pcs, pc - h->modules[module - 1].bias);
    }
    for (uint32_t i = 0; i < h->n_modules; i++) {
        sort_addresses(&queries[i].words);
        sort_addresses(&queries[i].tls_words);
        sort_addresses(&queries[i].pcs);
    }
}

static int load_layouts(struct typing *t, snap_error *err) {
    struct heap *const h = t->heap;
    const uint64_t module_ns = h->types_ns;
    const uint64_t deadline = now_ns() + MODULES_WAITED_FOR * module_ns;
    struct image_query *const queries = mem_zalloc(h->n_modules, sizeof *queries);
    struct wanted *const wanted = mem_zalloc(1, sizeof *wanted);
    int result = queries && wanted ? SNAP_OK : err_set(err, SNAP_E_NOMEM, "no memory for types");
    if (result == SNAP_OK) {
        want(t, wanted);
        collect_addresses(t, queries);
    }
    for (uint32_t i = 0; result == SNAP_OK && i < h->n_modules; i++) {
        const uint64_t now = now_ns();
        int found = LAYOUT_NONE;
        const struct layout_query query = {
            .module = h->modules[i].symbols,
            .number = i + 1,
            .bias = h->modules[i].bias,
            .words = queries[i].words.values,
            .n_words = queries[i].words.n,
            .tls_words = queries[i].tls_words.values,
            .n_tls_words = queries[i].tls_words.n,
            .pcs = queries[i].pcs.values,
            .n_pcs = queries[i].pcs.n,
            .names = wanted->names,
            .n_names = wanted->n_names,
            .sizes = wanted->sizes,
            .budget_ns = now + module_ns < deadline ? module_ns : deadline - now};
        /* Types alone are wanted of an image only if a class's members may be described there. */
        if (query.n_words + query.n_tls_words + query.n_pcs + query.n_names == 0)
            continue;
        if (now < deadline)
            result = layout_load(t->layout, h->symbolizer, &query, &found, err);
        else if (layout_is_described(h->symbolizer, query.module) == 1)
            found = LAYOUT_LATE;
        if (found == LAYOUT_LATE)
            h->modules[i].flags |= SNAP_MODS_FLAG_TYPES_UNREAD;
    }
    for (uint32_t i = 0; queries && i < h->n_modules; i++) {
        free(queries[i].words.values);
        free(queries[i].tls_words.values);
        free(queries[i].pcs.values);
    }
    free(queries);
    if (wanted)
        free(wanted->names);
    free(wanted);
    return result == SNAP_OK ? layout_finish(t->layout, err) : result;
}

/* The types of the heap that others gave. */

static void know(struct typing *t, uint32_t heap_type, uint32_t type, int is_array) {
    if (heap_type > t->n_known) {
        const size_t n = t->n_known;
        if (mem_grow(&t->known, &t->known_capacity, heap_type, sizeof *t->known) != 0) {
            out_of_memory(t);
            return;
        }
        memset(t->known + n, 0, (heap_type - n) * sizeof *t->known);
        t->n_known = heap_type;
    }
    t->known[heap_type - 1] = (struct known_type){.type = type, .is_array = is_array != 0};
}

static void know_given(struct typing *t) {
    const struct heap *const h = t->heap;
    char name[DEMANGLE_MAX_BYTES];
    for (uint32_t i = 0; i < h->n_types; i++) {
        const struct heap_type *const type = &h->types[i];
        if (type->source != SNAP_TYPE_VTABLE && type->source != SNAP_TYPE_API)
            continue;
        class_name(type, name);
        const size_t length = strlen(name), own = strlen(type->name);
        int is_array = own > 2 && strcmp(type->name + own - 2, "[]") == 0;
        if (length > 2 && strcmp(name + length - 2, "[]") == 0)
            name[length - 2] = 0;
        const uint32_t found = layout_by_name(t->layout, name);
        if (found)
            know(t, i + 1, found, is_array);
    }
}

/* All structs. */

static int compare_candidates(const void *a, const void *b, void *context) {
    const struct typing *const t = context;
    const uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    const uint64_t left = get(t, x)->size, right = get(t, y)->size;
    if (left != right)
        return left < right ? -1 : 1;
    return x < y ? -1 : x > y;
}

static int compare_derived(const void *a, const void *b) {
    const struct derived *const x = a, *const y = b;
    if (x->base != y->base)
        return x->base < y->base ? -1 : 1;
    return x->type < y->type ? -1 : x->type > y->type;
}

/* Notes the structs that a struct starts with. */
static void add_derived(struct typing *t, uint32_t type) {
    enum { DEPTH_MAX = 16 };
    uint32_t base = type;
    for (int depth = 0; depth < DEPTH_MAX && get(t, base)->kind == LAYOUT_STRUCT; depth++) {
        const struct layout_field *const first = layout_fields(t->layout, base);
        if (get(t, base)->n_fields == 0 || first->offset != 0 || !first->type)
            return;
        base = first->type;
        if (!is_struct(t, base))
            return;
        if (mem_grow(&t->derived, &t->derived_capacity, t->n_derived + 1, sizeof *t->derived) !=
            0) {
            out_of_memory(t);
            return;
        }
        t->derived[t->n_derived++] = (struct derived){.base = base, .type = type};
    }
}

/* Whether a block of a size may be one or more of a struct that only starts with `base`. */
static int may_be_derived(const struct typing *t, uint32_t base, uint64_t size) {
    size_t low = 0, high = t->n_derived;
    while (low < high) {
        const size_t middle = low + (high - low) / 2;
        if (t->derived[middle].base < base)
            low = middle + 1;
        else
            high = middle;
    }
    for (; low < t->n_derived && t->derived[low].base == base; low++) {
        const uint64_t derived = get(t, t->derived[low].type)->size;
        if (derived > get(t, base)->size && size % derived == 0)
            return 1;
    }
    return 0;
}

static void collect_candidates(struct typing *t) {
    const uint32_t n = layout_n_types(t->layout);
    for (uint32_t type = 1; type <= n; type++) {
        const struct layout_type *const l = get(t, type);
        if (l->kind != LAYOUT_STRUCT || l->is_declaration || !*l->name || l->n_fields == 0 ||
            l->size < 8)
            continue;
        if (mem_grow(&t->candidates, &t->candidates_capacity, t->n_candidates + 1,
                     sizeof *t->candidates) != 0) {
            out_of_memory(t);
            return;
        }
        t->candidates[t->n_candidates++] = type;
    }
    for (size_t i = 0; i < t->n_candidates; i++)
        add_derived(t, t->candidates[i]);
    if (t->n_derived)
        qsort(t->derived, t->n_derived, sizeof *t->derived, compare_derived);
    if (t->n_candidates)
        qsort_r(t->candidates, t->n_candidates, sizeof *t->candidates, compare_candidates, t);
}

/* Proposals. */

static void enqueue(struct typing *t, uint32_t node) {
    if (mem_grow(&t->queue, &t->queue_capacity, t->n_queue + 1, sizeof *t->queue) != 0)
        out_of_memory(t);
    else
        t->queue[t->n_queue++] = node;
}

/* Whether all references of a block are at words that the type, as the element of an array, has
 * pointers at; one that is at a number is a number that looks like an address, or the wrong type.
 */
static int agrees(struct typing *t, uint32_t node, uint32_t type, int is_array) {
    const struct heap *const h = t->heap;
    const uint64_t size = get(t, type)->size;
    uint64_t n = 0;
    for (uint64_t i = h->first_edge[node - 1]; i < h->first_edge[node]; i++) {
        const uint64_t offset = (uint64_t)h->edges[i].source_word * 8;
        if (n++ == EDGES_CHECKED_MAX)
            return 1;
        if (is_array && offset % size % 8 != 0)
            continue;
        if (!(words_at(&t->words, type, is_array ? offset % size : offset).flags &
              (WORD_POINTER | WORD_TEXT)))
            return 0;
    }
    return 1;
}

static int has_references(const struct heap *h, uint32_t node) {
    return h->first_edge[node] > h->first_edge[node - 1];
}

/* Whether a block may be nothing but numbers or text: a reference here and there is what is left
 * over from a block that was in its place before. */
static int may_be_plain(const struct heap *h, uint32_t node) {
    const uint64_t first = h->first_edge[node - 1];
    const uint64_t n = h->first_edge[node] - first;
    return n == 0 || (h->edges[first].source_word != 0 && n * 2 <= h->size[node - 1] / 8);
}

/* What a block of a size is that a pointer to `type` starts at. */
static enum strength fit(struct typing *t, uint32_t node, uint32_t *type, uint32_t flags,
                         int *is_array) {
    const struct heap *const h = t->heap;
    const uint64_t size = h->size[node - 1];
    const struct layout_type *to = get(t, *type);
    *is_array = 0;
    if (to->is_declaration || to->kind == LAYOUT_FUNCTION || to->size == 0 || size < to->size)
        return STRENGTH_NONE;
    if (to->kind == LAYOUT_ARRAY) {
        if (!to->target || (size != to->size && (flags & WORD_CONTAINER || size % to->size)))
            return STRENGTH_NONE;
        *type = to->target;
        *is_array = 1;
        return STRENGTH_ARRAY;
    }
    if (to->kind == LAYOUT_SCALAR) {
        *is_array = 1;
        return size % to->size || (!(flags & WORD_ARRAY) && !may_be_plain(h, node))
                   ? STRENGTH_NONE
                   : STRENGTH_BYTES;
    }
    uint64_t from, element;
    if (size == to->size && !(flags & WORD_ARRAY))
        return STRENGTH_WHOLE;
    if (size > to->size && to->kind == LAYOUT_STRUCT &&
        words_is_flexible(&t->words, *type, &from, &element))
        return STRENGTH_WHOLE;
    if (size % to->size)
        return STRENGTH_NONE;
    /* More than one object of a class with virtual functions would have shown a table each. */
    if (to->has_vtable && size != to->size)
        return STRENGTH_NONE;
    *is_array = 1;
    if (size > to->size && !(flags & WORD_ARRAY) &&
        (may_be_derived(t, *type, size) || !agrees(t, node, *type, 1)))
        return STRENGTH_NONE;
    return STRENGTH_ARRAY;
}

/* Whether the object that a block of `outer` starts with, or is an array of, starts with one of
 * `inner`. */
static int starts_with(const struct typing *t, uint32_t outer, uint32_t inner) {
    return outer != inner && words_has_part(&t->words, outer, 0, inner);
}

static void hint(struct typing *t, uint32_t node, uint32_t offset, uint32_t type, int is_void) {
    const uint32_t i = node - 1;
    if (t->state[i] & NODE_STRENGTH || t->state[i] & NODE_BARRED || t->heap->type[i])
        return;
    if (is_void ? t->state[i] & NODE_VOID : t->hint_type[i] != 0)
        return;
    if (mem_grow(&t->hinted, &t->hinted_capacity, t->n_hinted + 1, sizeof *t->hinted) != 0) {
        out_of_memory(t);
        return;
    }
    if (is_void)
        t->state[i] |= NODE_VOID;
    else {
        t->hint_type[i] = type;
        t->hint_offset[i] = offset;
    }
    t->hinted[t->n_hinted++] = node;
}

static void set_type(struct typing *t, uint32_t node, uint32_t type, enum strength strength,
                     int is_array) {
    uint8_t *const state = &t->state[node - 1];
    t->type[node - 1] = type;
    *state = (uint8_t)((*state & (NODE_VOID | NODE_FORCED)) | strength |
                       (is_array ? NODE_ARRAY : 0) | (t->phase == PHASE_GUESSES ? NODE_GUESS : 0));
    if (has_references(t->heap, node) && get(t, type)->kind != LAYOUT_SCALAR)
        enqueue(t, node);
}

/* Two types for one block. */
static void settle(struct typing *t, uint32_t node, uint32_t type, enum strength strength,
                   int is_array) {
    uint8_t *const state = &t->state[node - 1];
    const uint32_t old = t->type[node - 1];
    const unsigned old_strength = *state & NODE_STRENGTH;
    if (t->phase != PHASE_CERTAIN || *state & NODE_FORCED)
        return;
    if (starts_with(t, old, type))
        return;
    if (starts_with(t, type, old)) {
        /* What followed from the base follows from the derived type, too, but for arrays of it. */
        t->has_changed |= (*state & NODE_ARRAY) != 0;
        if (*state & NODE_ARRAY)
            *state |= NODE_FORCED;
        set_type(t, node, type, strength, is_array);
        return;
    }
    if (strength < old_strength)
        return;
    if (strength == old_strength) {
        *state = NODE_BARRED;
        t->type[node - 1] = 0;
        t->has_changed = 1;
        return;
    }
    t->has_changed |= old_strength > STRENGTH_BYTES;
    *state |= NODE_FORCED;
    set_type(t, node, type, strength, is_array);
}

/* The memory of a vector behind its last element holds what is left over from others. */
static void limit(struct typing *t, uint32_t node, uint64_t used) {
    if (node <= t->heap->n_blocks && used < UINT32_MAX - 1 && !t->limit[node - 1])
        t->limit[node - 1] = (uint32_t)used + 1;
}

/* A word with that meaning points at an offset of a node. */
static void propose(struct typing *t, uint32_t node, uint64_t offset, const struct word *word) {
    struct heap *const h = t->heap;
    if (node > h->n_blocks || !(word->flags & WORD_POINTER))
        return;
    const uint32_t i = node - 1;
    if (!word->target) {
        if (word->flags & WORD_VOID && offset == 0)
            hint(t, node, 0, 0, 1);
        return;
    }
    const uint8_t state = t->state[i];
    if (state & NODE_BARRED || (state & NODE_STRENGTH) == STRENGTH_GIVEN)
        return;
    uint32_t type = word->target;
    if (offset != 0) {
        if (is_struct(t, type) && offset < UINT32_MAX && !(state & NODE_STRENGTH))
            hint(t, node, (uint32_t)offset, type, 0);
        return;
    }
    if (state & NODE_FORCED && !(state & NODE_STRENGTH)) {
        /* Decided in a round before this one. */
        const int was_array = state & NODE_ARRAY;
        set_type(t, node, t->type[i], was_array ? STRENGTH_ARRAY : STRENGTH_WHOLE, was_array);
        return;
    }
    if (state & NODE_STRENGTH && t->type[i] == type && !(word->flags & WORD_ARRAY))
        return;
    int is_array = 0;
    const enum strength strength = fit(t, node, &type, word->flags, &is_array);
    if (strength == STRENGTH_NONE) {
        if (is_struct(t, type) && !get(t, type)->is_declaration)
            hint(t, node, 0, type, 0);
        return;
    }
    if (!(state & NODE_STRENGTH)) {
        set_type(t, node, type, strength, is_array);
        if (word->flags & WORD_TEXT)
            limit(t, node, 0);
        return;
    }
    if (t->type[i] == type) {
        /* One object and an array of one are the same. */
        if (is_array && t->phase == PHASE_CERTAIN)
            t->state[i] |= NODE_ARRAY;
        return;
    }
    settle(t, node, type, strength, is_array);
}

static void follow(struct typing *t, uint32_t node) {
    const struct heap *const h = t->heap;
    const uint64_t used = t->limit[node - 1] ? t->limit[node - 1] - 1 : UINT64_MAX;
    const uint32_t type = t->type[node - 1];
    const uint64_t size = get(t, type)->size;
    const int is_array = (t->state[node - 1] & NODE_ARRAY) != 0;
    if (size == 0)
        return;
    const uint64_t end = h->first_edge[node];
    for (uint64_t i = h->first_edge[node - 1]; i < end; i++) {
        enum { AHEAD = 8 }; /* targets lie anywhere */
        const struct heap_edge *const edge = &h->edges[i];
        uint64_t offset = (uint64_t)edge->source_word * 8;
        if (i + AHEAD < end && edge[AHEAD].target <= h->n_blocks)
            __builtin_prefetch(&t->type[edge[AHEAD].target - 1]);
        if (offset >= used)
            return;
        if (is_array)
            offset %= size;
        const struct word *const known = words_known(&t->words, type, offset);
        /* Most often it is said once more what is known. */
        if (known && known->target && !(known->flags & WORD_ARRAY) && edge->target_offset == 0 &&
            t->round == 0 && edge->target <= h->n_blocks &&
            t->type[edge->target - 1] == known->target)
            continue;
        const struct word word = known ? *known : words_at(&t->words, type, offset);
        if (word.flags & WORD_ARRAY && i + 1 < end &&
            edge[1].source_word == edge->source_word + 1 && edge[1].target == edge->target &&
            words_at(&t->words, type, offset + 8).flags & WORD_END)
            limit(t, edge->target, edge[1].target_offset);
        propose(t, edge->target, edge->target_offset, &word);
    }
}

static void run(struct typing *t) {
    while (t->done < t->n_queue && !t->is_out_of_memory)
        follow(t, t->queue[t->done++]);
    t->n_queue = t->done = 0;
}

/* Roots. */

static struct word word_of_variable(struct typing *t, const struct layout_variable *variable,
                                    uint64_t offset) {
    /* Elements of an array are alike: asked for once. */
    const struct layout_type *const type = get(t, variable->type);
    if (type->kind == LAYOUT_ARRAY && type->target && get(t, type->target)->size)
        offset %= get(t, type->target)->size;
    return words_at(&t->words, variable->type, offset);
}

static uint32_t variable_text(struct typing *t, const struct layout_variable *variable,
                              const struct word *word) {
    uint32_t *const slot =
        map_slot(&t->root_names, (uint64_t)(uintptr_t)variable << 20 ^ (uint64_t)word->label);
    char text[NAME_MAX_BYTES];
    size_t length;
    const char *const label = strtab_text(&t->words.labels, word->label, &length);
    if (!slot || *slot)
        return slot ? *slot : 0;
    const char *const joint = *label == '[' || !*label ? "" : variable->is_target ? "->" : ".";
    int n = snprintf(text, sizeof text, "%s%s%s%s%s", variable->function ? variable->function : "",
                     variable->function ? "::" : "", variable->name, joint, label);
    if (n < 0)
        n = 0;
    *slot = heap_string_n(t->heap, text, (size_t)n < sizeof text ? (size_t)n : sizeof text - 1);
    if (!*slot) {
        out_of_memory(t);
        t->root_names.n--;
    }
    return *slot;
}

static const struct layout_variable *
variable_of(const struct typing *t, const struct heap_root *root, uint64_t *out_offset) {
    const struct layout_variable *variable = NULL;
    uint64_t address = root->address;
    if (root->kind == SNAP_ROOT_GLOBAL)
        variable = layout_variable_at(t->layout, address);
    else if (root->kind == SNAP_ROOT_TLS) {
        const struct heap_tls *const tls = tls_of(t->heap, root);
        if (tls) {
            address -= tls->address;
            variable = layout_tls_at(t->layout, tls->module, address);
        }
    }
    if (variable)
        *out_offset = address - variable->address + variable->part;
    return variable;
}

static void follow_variables(struct typing *t, int is_first) {
    struct heap *const h = t->heap;
    for (uint32_t i = 0; i < h->n_roots && !t->is_out_of_memory; i++) {
        struct heap_root *const root = &h->roots[i];
        uint64_t offset = 0;
        const struct layout_variable *const variable = variable_of(t, root, &offset);
        if (!variable)
            continue;
        const struct word word = word_of_variable(t, variable, offset);
        if (is_first && !root->name)
            root->name = variable_text(t, variable, &word);
        if (word.flags & WORD_ARRAY && i + 1 < h->n_roots && root[1].address == root->address + 8 &&
            root[1].kind == root->kind && root[1].target == root->target &&
            word_of_variable(t, variable, offset + 8).flags & WORD_END)
            limit(t, root->target, root[1].target_offset);
        propose(t, root->target, root->target_offset, &word);
    }
}

/* The local variable that holds a word of a stack: the smallest of several, where blocks share
 * memory. */
static const struct layout_local *local_at(const struct typing *t, uint32_t frame_number,
                                           uint64_t address, uint64_t *out_offset) {
    const struct heap *const h = t->heap;
    const struct heap_frame *const frame = &h->frames[frame_number - 1];
    const struct heap_frame *const caller =
        frame_number < h->n_frames && frame[1].thread == frame->thread ? &frame[1] : NULL;
    const struct layout_local *locals, *best = NULL;
    const size_t n = layout_locals(t->layout, frame->pc - !frame->is_exact, &locals);
    uint64_t best_size = UINT64_MAX;
    for (size_t i = 0; i < n; i++) {
        const uint64_t size = locals[i].type ? get(t, locals[i].type)->size : 0;
        const uint64_t base = locals[i].is_of_sp ? frame->sp : caller ? caller->sp : 0;
        const uint64_t start = base + (uint64_t)locals[i].offset;
        if (base == 0 || address - start >= size || size >= best_size)
            continue;
        best = &locals[i];
        best_size = size;
        *out_offset = address - start;
    }
    return best;
}

static void follow_locals(struct typing *t) {
    struct heap *const h = t->heap;
    char text[NAME_MAX_BYTES];
    t->phase = PHASE_STACKS;
    for (uint32_t i = 0; i < h->n_roots && !t->is_out_of_memory; i++) {
        struct heap_root *const root = &h->roots[i];
        uint64_t offset = 0;
        const uint32_t frame =
            root->kind == SNAP_ROOT_STACK ? heap_frame_at(h, root->thread, root->address) : 0;
        const struct layout_local *const local =
            frame ? local_at(t, frame, root->address, &offset) : NULL;
        if (!local)
            continue;
        const struct word word = words_at(&t->words, local->type, offset);
        if (!root->label) {
            size_t length;
            const char *const label = strtab_text(&t->words.labels, word.label, &length);
            snprintf(text, sizeof text, "%s%s%s", local->name, *label && *label != '[' ? "." : "",
                     label);
            root->label = heap_string(h, text);
        }
        propose(t, root->target, root->target_offset, &word);
    }
    run(t);
}

/* Blocks whose types others gave. */
static void follow_given(struct typing *t) {
    const struct heap *const h = t->heap;
    for (uint32_t i = 0; i < h->n_blocks; i++) {
        const uint32_t type = h->type[i];
        if (!type || type > t->n_known || !t->known[type - 1].type)
            continue;
        const struct known_type known = t->known[type - 1];
        if (h->size[i] < get(t, known.type)->size)
            continue;
        t->type[i] = known.type;
        t->state[i] = STRENGTH_GIVEN | (known.is_array ? NODE_ARRAY : 0);
        if (has_references(h, i + 1))
            enqueue(t, i + 1);
    }
}

/* Blocks with a type from elsewhere that is no layout's keep it. */
static void keep_given(struct typing *t) {
    const struct heap *const h = t->heap;
    for (uint32_t i = 0; i < h->n_blocks; i++) {
        const uint32_t type = h->type[i];
        if (type && h->types[type - 1].source != SNAP_TYPE_GUESS &&
            h->types[type - 1].source != SNAP_TYPE_SITE &&
            (t->state[i] & NODE_STRENGTH) != STRENGTH_GIVEN)
            t->state[i] = NODE_BARRED;
    }
}

/* Everything that is certain. */
static void conclude(struct typing *t) {
    for (t->round = 0; t->round < ROUNDS_MAX; t->round++) {
        t->has_changed = 0;
        keep_given(t);
        follow_given(t);
        follow_variables(t, t->round == 0);
        run(t);
        if (!t->has_changed || t->is_out_of_memory || t->round + 1 == ROUNDS_MAX)
            return;
        for (uint32_t i = 0; i < t->heap->n_blocks; i++) {
            uint8_t *const state = &t->state[i];
            if (*state & NODE_FORCED)
                *state &= NODE_FORCED | NODE_ARRAY;
            else if (!(*state & NODE_BARRED)) {
                *state = 0;
                t->type[i] = 0;
            }
            t->hint_type[i] = 0;
        }
        t->n_hinted = 0;
    }
}

/* Guesses. */

static size_t first_candidate(const struct typing *t, uint64_t size) {
    size_t low = 0, high = t->n_candidates;
    while (low < high) {
        const size_t middle = low + (high - low) / 2;
        if (get(t, t->candidates[middle])->size < size)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

/* Whether the blocks that a block would refer to as a `type` are what that says. */
static int agrees_with_targets(struct typing *t, uint32_t node, uint32_t type) {
    const struct heap *const h = t->heap;
    uint64_t n = 0;
    for (uint64_t i = h->first_edge[node - 1]; i < h->first_edge[node]; i++) {
        const struct heap_edge *const edge = &h->edges[i];
        if (n++ == EDGES_CHECKED_MAX)
            return 1;
        const struct word word = words_at(&t->words, type, (uint64_t)edge->source_word * 8);
        if (!word.target || edge->target > h->n_blocks)
            continue;
        if (edge->target == node) {
            if (is_struct(t, word.target) &&
                !words_has_part(&t->words, type, edge->target_offset, word.target))
                return 0;
            continue;
        }
        const uint8_t state = t->state[edge->target - 1];
        if (!(state & NODE_STRENGTH) || state & NODE_GUESS || state & NODE_ARRAY)
            continue;
        if (is_struct(t, word.target) && !get(t, word.target)->is_declaration &&
            !words_has_part(&t->words, t->type[edge->target - 1], edge->target_offset, word.target))
            return 0;
    }
    return 1;
}

/* The one struct that a block can be, of those with its size; 0: none or several. */
static uint32_t single_candidate(struct typing *t, uint32_t node) {
    const struct heap *const h = t->heap;
    const uint64_t size = h->size[node - 1];
    const uint32_t part = t->hint_type[node - 1], offset = t->hint_offset[node - 1];
    uint32_t found = 0;
    unsigned n_tried = 0;
    for (size_t i = first_candidate(t, size);
         i < t->n_candidates && get(t, t->candidates[i])->size == size; i++) {
        const uint32_t type = t->candidates[i];
        if (part && !words_has_part(&t->words, type, offset, part))
            continue;
        if (++n_tried > 64)
            return 0;
        if (get(t, type)->has_vtable || !agrees(t, node, type, 0) ||
            !agrees_with_targets(t, node, type))
            continue;
        if (found)
            return 0;
        found = type;
    }
    return found;
}

static void guess(struct typing *t) {
    t->phase = PHASE_GUESSES;
    for (size_t i = 0; i < t->n_hinted && !t->is_out_of_memory; i++) {
        const uint32_t node = t->hinted[i];
        const uint8_t state = t->state[node - 1];
        if (state & (NODE_STRENGTH | NODE_BARRED))
            continue;
        /* Of a void pointer's target the size alone says too little. */
        if (!has_references(t->heap, node) && !t->hint_type[node - 1])
            continue;
        const uint32_t type = single_candidate(t, node);
        if (!type)
            continue;
        set_type(t, node, type, STRENGTH_WHOLE, 0);
        run(t);
    }
}

/* Results. */

static uint32_t heap_type_of(struct typing *t, uint32_t type, int is_array, uint32_t source) {
    const uint64_t key = (uint64_t)type << 8 | source << 1 | (is_array != 0);
    uint32_t *const slot = map_slot(&t->given, key);
    if (!slot) {
        out_of_memory(t);
        return 0;
    }
    if (*slot)
        return *slot;
    char name[NAME_MAX_BYTES];
    uint64_t from, element;
    words_type_name(&t->words, type, name, sizeof name - 2);
    if (!*name) {
        t->given.n--;
        return 0;
    }
    if (is_array)
        memcpy(name + strlen(name), "[]", sizeof "[]");
    const int varies = !is_array && words_is_flexible(&t->words, type, &from, &element);
    *slot = heap_type_add(t->heap, name, source, varies ? 0 : get(t, type)->size, 0, 0);
    if (!*slot) {
        t->given.n--;
        out_of_memory(t);
        return 0;
    }
    know(t, *slot, type, is_array);
    return *slot;
}

static void give_types(struct typing *t) {
    struct heap *const h = t->heap;
    for (uint32_t i = 0; i < h->n_blocks && !t->is_out_of_memory; i++) {
        const uint8_t state = t->state[i];
        const unsigned strength = state & NODE_STRENGTH;
        /* What is used of a block is known only where the type is that of who said so. */
        if (!(state & NODE_ARRAY) || state & NODE_BARRED)
            t->limit[i] = 0;
        if (strength == STRENGTH_NONE || strength == STRENGTH_GIVEN || state & NODE_BARRED)
            continue;
        const uint32_t type = heap_type_of(t, t->type[i], state & NODE_ARRAY,
                                           state & NODE_GUESS ? SNAP_TYPE_GUESS : SNAP_TYPE_DWARF);
        if (type)
            h->type[i] = type;
    }
}

/* What references are called. */

static uint32_t label_text(struct typing *t, uint32_t label, int is_array) {
    size_t length;
    const char *const text = strtab_text(&t->words.labels, label, &length);
    char joined[NAME_MAX_BYTES];
    uint32_t *const slot = map_slot(&t->labels, (uint64_t)label << 1 | (is_array != 0));
    if (!slot || *slot)
        return slot ? *slot : 0;
    const int n = snprintf(joined, sizeof joined, "%s%s%s", is_array ? "[*]" : "",
                           is_array && length && *text != '[' ? "." : "", text);
    *slot = n > 0 ? heap_string_n(t->heap, joined,
                                  (size_t)n < sizeof joined ? (size_t)n : sizeof joined - 1)
                  : 0;
    if (!*slot)
        t->labels.n--;
    return *slot;
}

static uint32_t name_field(struct heap *h, void *context, uint32_t type, uint64_t offset,
                           uint64_t node_size, uint16_t *kind, uint16_t *flags) {
    struct typing *const t = context;
    if (type == 0 || type > t->n_known || !t->known[type - 1].type)
        return 0;
    const struct known_type known = t->known[type - 1];
    const uint64_t size = get(t, known.type)->size;
    if (known.is_array && size)
        offset %= size;
    const struct word word = words_at(&t->words, known.type, offset);
    if (word.flags & WORD_TEXT && !(word.flags & WORD_POINTER))
        *flags = SNAP_EDGE_FLAG_LOW;
    if (!word.label && !known.is_array)
        return 0;
    return label_text(t, word.label, known.is_array);
}

static uint32_t name_variable(struct heap *h, void *context, uint64_t address) {
    struct typing *const t = context;
    const struct layout_variable *const variable = layout_variable_at(t->layout, address);
    if (!variable)
        return 0;
    const struct word word =
        word_of_variable(t, variable, address - variable->address + variable->part);
    return variable_text(t, variable, &word);
}

static void release(void *context) {
    struct typing *const t = context;
    words_release(&t->words);
    layout_free(t->layout);
    map_release(&t->given);
    map_release(&t->labels);
    map_release(&t->root_names);
    free(t->type);
    free(t->state);
    free(t->queue);
    free(t->hint_type);
    free(t->hint_offset);
    free(t->limit);
    free(t->hinted);
    free(t->known);
    free(t->candidates);
    free(t->derived);
    free(t);
}

static void drop_working_memory(struct typing *t) {
    free(t->type);
    free(t->state);
    free(t->queue);
    free(t->hint_type);
    free(t->hint_offset);
    free(t->hinted);
    free(t->candidates);
    free(t->derived);
    t->derived = NULL;
    t->type = t->queue = t->hint_type = t->hint_offset = t->hinted = t->candidates = NULL;
    t->state = NULL;
}

int typing_pass(struct heap *h, snap_error *err) {
    if (!h->symbolizer || h->n_modules == 0)
        return SNAP_OK;
    struct typing *const t = mem_zalloc(1, sizeof *t);
    if (!t)
        return err_set(err, SNAP_E_NOMEM, "no memory to find types");
    t->heap = h;
    map_init(&t->given);
    map_init(&t->labels);
    map_init(&t->root_names);
    int result = layout_new(&t->layout, err);
    words_init(&t->words, t->layout);
    if (result == SNAP_OK)
        result = load_layouts(t, err);
    if (result == SNAP_OK) {
        t->type = mem_zalloc(h->n_blocks, sizeof *t->type);
        t->state = mem_zalloc(h->n_blocks, 1);
        t->hint_type = mem_zalloc(h->n_blocks, sizeof *t->hint_type);
        t->hint_offset = mem_zalloc(h->n_blocks, sizeof *t->hint_offset);
        t->limit = mem_zalloc(h->n_blocks, sizeof *t->limit);
        if (!t->type || !t->state || !t->hint_type || !t->hint_offset || !t->limit)
            out_of_memory(t);
        else if (layout_n_types(t->layout) > 0) {
            words_complete(&t->words);
            know_given(t);
            collect_candidates(t);
            conclude(t);
            follow_locals(t);
            guess(t);
            give_types(t);
        }
        if (t->is_out_of_memory)
            result = err_set(err, SNAP_E_NOMEM, "no memory to find types");
    }
    if (result != SNAP_OK) {
        release(t);
        return result;
    }
    drop_working_memory(t);
    h->field = name_field;
    h->field_context = t;
    h->variable = name_variable;
    h->variable_context = t;
    h->used = t->limit;
    h->release_field = release;
    return SNAP_OK;
}
