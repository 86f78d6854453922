/* Callbacks: words that hold the start of a function and were put there by the running program.
 *
 * Static data is no registration, whoever fills it in: a word of a global that has its value from
 * the file or the loader; what a library allocates as it is loaded or imported (the
 * tables of a framework's operators); an object of a managed runtime, wherever it stands, such
 * as a type and its slots. Any other word is one, with what holds it (the table), the name of its
 * place (the registry) and the node that the word beside it refers to (the argument). Registry,
 * function, file and line are the identity of a callback between snapshots, so none of them has an
 * index or an address in it. Equal callbacks are listed one by one up to a number, the rest in one
 * row with their count: a heap of a million objects that each hold a function costs no million
 * rows.
 *
 * std::function keeps two functions per object, its manager and its invoker; they are one callback,
 * named by what was put into it. */
#include "model/heap.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "base/map.h"
#include "base/mem.h"
#include "model/frames.h"
#include "model/stream.h"
#include "symbol/image_data.h"
#include "symbol/symbol.h"

#define LISTED_MAX 65536u /* equal callbacks with rows of their own */
#define NAME_BYTES_MAX ((size_t)8400)

/* Callbacks of one identity. */
struct group {
    uint32_t registry, callback, n_listed;
    uint32_t rest; /* row of those that are not listed, index + 1 */
};

struct finder {
    struct heap *h;
    struct heap_hook *hooks; /* of heap_grow */
    size_t capacity, n;
    struct group *groups;
    size_t n_groups, groups_capacity;
    struct map group_of;   /* hash of the identity -> index + 1 */
    struct map root_of;    /* node -> root that names it, index + 1 */
    struct map place_of;   /* hash of type and offset -> registry */
    uint32_t *callbacks;   /* by function - 1: string + 1, once made */
    uint8_t *is_library;   /* by module - 1: C library or loader */
    uint8_t *is_initial;   /* by stack - 1: of an initialiser */
    uint32_t first_global; /* among the roots */
    uint32_t n_globals, n_places;
};

static const struct heap_position *position_of(const struct heap *h, uint32_t function) {
    return &h->positions[h->function_frames[function - 1] - 1];
}

/* --- names of functions --- */

static uint32_t name_of_position(struct heap *h, const struct heap_position *p) {
    if (p->function)
        return heap_string(h, p->function);
    char name[NAME_BYTES_MAX];
    if (p->module) {
        const struct heap_module *const m = &h->modules[p->module - 1];
        const char *const slash = strrchr(m->path, '/');
        snprintf(name, sizeof name, "%.4096s+0x%" PRIx64, slash ? slash + 1 : m->path,
                 p->pc - m->bias);
    } else
        snprintf(name, sizeof name, "0x%" PRIx64, p->pc);
    return heap_string(h, name);
}

static uint32_t callback_name(struct finder *f, uint32_t function) {
    uint32_t *const known = &f->callbacks[function - 1];
    if (!*known)
        *known = name_of_position(f->h, position_of(f->h, function)) + 1;
    return *known - 1;
}

/* A function of libstdc++'s std::function, by its name: what was put in, as text. */
static int is_handler(const struct heap *h, uint32_t function, const char *member, const char **out,
                      size_t *out_length) {
    static const char prefix[] = "std::_Function_handler<";
    const char *const name = position_of(h, function)->function;
    if (!name || strncmp(name, prefix, strlen(prefix)) != 0)
        return 0;
    const char *start = NULL;
    int depth = 0;
    for (const char *p = name + strlen(prefix); *p; p++) {
        if (*p == '<' || *p == '(' || *p == '{' || *p == '[')
            depth++;
        else if (*p == ')' || *p == '}' || *p == ']' || (*p == '>' && depth > 0 && p[-1] != '-'))
            depth--;
        else if (depth == 0 && *p == ',' && !start)
            start = p + 1 + (p[1] == ' ');
        else if (depth == 0 && *p == '>') {
            *out = start;
            *out_length = start ? (size_t)(p - start) : 0;
            while (*out_length > 0 && start[*out_length - 1] == ' ')
                --*out_length;
            return *out_length > 0 && strncmp(p + 1, member, strlen(member)) == 0;
        }
    }
    return 0;
}

static int is_manager(const struct heap *h, uint32_t function) {
    const char *what;
    size_t length;
    return is_handler(h, function, "::_M_manager", &what, &length);
}

/* --- places --- */

/* Where roots of globals are, and which node has the name of one. */
static int index_roots(struct finder *f) {
    const struct heap *const h = f->h;
    for (uint32_t i = 0; i < h->n_roots; i++) {
        const struct heap_root *const r = &h->roots[i];
        if (r->kind == SNAP_ROOT_GLOBAL && f->n_globals++ == 0)
            f->first_global = i;
        const int is_name =
            r->kind == SNAP_ROOT_GLOBAL || r->kind == SNAP_ROOT_TLS || r->kind == SNAP_ROOT_API;
        if (!is_name || !r->name || r->target_offset != 0 || (r->flags & SNAP_EDGE_FLAG_LOW))
            continue;
        uint32_t *const slot = map_slot(&f->root_of, r->target);
        if (!slot)
            return -1;
        if (!*slot)
            *slot = i + 1;
    }
    return 0;
}

/* The root whose word is at an address of an image; 0: none. */
static uint32_t global_at(const struct finder *f, uint64_t address) {
    const struct heap_root *const roots = f->h->roots + f->first_global;
    uint32_t low = 0, high = f->n_globals;
    while (low < high) {
        const uint32_t middle = low + (high - low) / 2;
        if (roots[middle].address < address)
            low = middle + 1;
        else
            high = middle;
    }
    return low < f->n_globals && roots[low].address == address ? f->first_global + low + 1 : 0;
}

static uint32_t join(struct heap *h, const char *base, const char *field) {
    char name[NAME_BYTES_MAX];
    snprintf(name, sizeof name, "%.4096s%s%.4096s", base, *field && *field != '[' ? "." : "",
             field);
    return heap_string(h, name);
}

/* The field of a node's type at an offset; 0: unknown. */
static uint32_t field_at(struct heap *h, uint32_t node, uint64_t offset) {
    const uint32_t type = h->type[node - 1];
    uint16_t kind = SNAP_EDGE_POINTER, flags = 0;
    if (!h->field || !type)
        return 0;
    return h->field(h, h->field_context, type, offset, h->size[node - 1], &kind, &flags);
}

/* The registry of a word in a node: the variable that refers to the node, or the node's type, and
 * the field. */
static uint32_t registry_in_node(struct finder *f, uint32_t node, uint64_t offset) {
    struct heap *const h = f->h;
    const uint32_t root = map_get(&f->root_of, node), type = h->type[node - 1];
    if (root)
        return join(h, heap_text(h, h->roots[root - 1].name),
                    heap_text(h, field_at(h, node, offset)));
    if (!type)
        return 0;
    uint64_t in_element = offset;
    const struct heap_type *const t = &h->types[type - 1];
    const size_t length = strlen(t->name);
    if (t->size && length > 2 && strcmp(t->name + length - 2, "[]") == 0)
        in_element %= t->size;
    if (!h->field || t->source == SNAP_TYPE_SITE)
        in_element = 0;
    uint32_t *const slot =
        in_element >> 32 ? NULL : map_slot(&f->place_of, in_element << 32 | type);
    if (!slot)
        return join(h, t->name, heap_text(h, field_at(h, node, offset)));
    if (!*slot)
        *slot =
            join(h, t->name, heap_text(h, in_element || h->field ? field_at(h, node, offset) : 0)) +
            1;
    return *slot - 1;
}

static int registry_of_global(struct finder *f, uint64_t address, uint32_t *out, snap_error *err) {
    struct heap *const h = f->h;
    *out = h->variable ? h->variable(h, h->variable_context, address) : 0;
    if (*out)
        return 0;
    SNAP_TRY(naming_variable(h, address, &f->n_places, out, err));
    /* One table has one name: without the offset. */
    const char *const name = heap_text(h, *out), *const plus = strstr(name, "+0x");
    if (plus && !strchr(plus, ' '))
        *out = heap_string_n(h, name, (size_t)(plus - name));
    return 0;
}

/* --- what is a callback --- */

/* Whether a word of an image had this value before the program started. */
static int is_static(struct finder *f, uint32_t module, uint64_t address, uint64_t pc,
                     snap_error *err) {
    struct heap *const h = f->h;
    const struct heap_module *const m = &h->modules[module - 1];
    const struct image_words *words;
    uint64_t value;
    if (!h->symbolizer)
        return 0;
    SNAP_TRY(symbolizer_words(h->symbolizer, m->symbols, &words, err));
    switch (image_words_find(words, address - m->bias, &value)) {
    case IMAGE_WORD_ADDRESS: return value + m->bias == pc;
    case IMAGE_WORD_LINKED: return 1;
    default: return 0;
    }
}

/* The word at an offset of a node as an argument: the node it refers to, unless that is another of
 * the holder's kind, with a function at the same place: then it is the link of a list. */
static uint32_t argument_at(const struct finder *f, uint32_t node, uint64_t offset,
                            uint64_t own_offset) {
    const struct heap *const h = f->h;
    const uint64_t e = heap_edge_from(h, node, offset);
    if (e == h->first_edge[node] || (uint64_t)h->edges[e].source_word * 8 != offset)
        return 0;
    const uint32_t target = h->edges[e].target;
    if (target == node)
        return 0;
    uint64_t low = 0, high = h->n_codes;
    while (low < high) {
        const uint64_t middle = low + (high - low) / 2;
        const struct heap_code *const c = &h->codes[middle];
        if (c->node < target || (c->node == target && c->address < own_offset))
            low = middle + 1;
        else
            high = middle;
    }
    const int is_like = low < h->n_codes && h->codes[low].node == target &&
                        h->codes[low].address == own_offset &&
                        h->size[target - 1] == h->size[node - 1] && offset != own_offset + 8;
    return is_like ? 0 : target;
}

static int add_hook(struct finder *f, const struct heap_hook *k, snap_error *err) {
    struct heap *const h = f->h;
    const uint64_t key = ((uint64_t)k->registry << 32 | k->callback) * 0x9e3779b97f4a7c15u ^
                         k->line ^ (uint64_t)k->file << 17;
    uint32_t *const slot = map_slot(&f->group_of, key);
    if (!slot)
        return stream_no_memory(err);
    if (!*slot) {
        if (mem_grow(&f->groups, &f->groups_capacity, f->n_groups + 1, sizeof *f->groups) < 0)
            return stream_no_memory(err);
        f->groups[f->n_groups] = (struct group){.registry = k->registry, .callback = k->callback};
        *slot = (uint32_t)++f->n_groups;
    }
    struct group *const g = &f->groups[*slot - 1];
    if (g->rest) {
        f->hooks[g->rest - 1].count++;
        return 0;
    }
    if (f->n >= SNAP_ROWS_MAX ||
        heap_grow(h, &f->hooks, &f->capacity, f->n + 1, sizeof *f->hooks) < 0)
        return stream_no_memory(err);
    f->hooks[f->n] = *k;
    if (++g->n_listed > LISTED_MAX) {
        g->rest = (uint32_t)f->n + 1;
        f->hooks[f->n].holder = f->hooks[f->n].argument = f->hooks[f->n].root = 0;
        f->hooks[f->n].holder_offset = 0;
        f->hooks[f->n].count = 1;
    }
    f->n++;
    return 0;
}

/* Fills in what the function is. */
static void describe(struct finder *f, struct heap_hook *k, uint32_t function) {
    struct heap *const h = f->h;
    const struct heap_position *const p = position_of(h, function);
    k->frame = h->function_frames[function - 1];
    k->callback = callback_name(f, function);
    k->file = p->file ? heap_string(h, p->file) : 0;
    k->line = p->file ? p->line : 0;
    k->kind = SNAP_HOOK_NATIVE;
}

/* A std::function whose manager is code i: its target's name, and where it starts. */
static void describe_function_object(struct finder *f, struct heap_hook *k, uint64_t i,
                                     const struct heap_code *target) {
    struct heap *const h = f->h;
    const char *what;
    size_t length;
    const struct heap_code *const manager = &h->codes[i];
    if (target) {
        describe(f, k, target->function);
    } else if (is_handler(h, manager->function, "::_M_manager", &what, &length)) {
        describe(f, k, manager[1].function);
        k->callback = heap_string_n(h, what, length);
        k->file = k->line = 0; /* those of the library's header */
    }
    k->holder_offset = manager->address - 16;
}

static int is_made_initially(const struct finder *f, uint32_t node) {
    const uint32_t stack = f->h->stack[node - 1];
    return stack && f->is_initial[stack - 1];
}

/* Whether a word of an image is part of an object. */
static int is_in_object(struct heap *h, uint64_t address) {
    const uint32_t node = heap_find(h, address);
    return node && heap_domain(h, node) == SNAP_DOMAIN_PYTHON;
}

static int take_code(struct finder *f, uint64_t *index, snap_error *err) {
    struct heap *const h = f->h;
    const uint64_t i = *index;
    const struct heap_code *const c = &h->codes[i], *const end = h->codes + h->n_codes;
    const struct heap_code *target = NULL, *manager = NULL;
    if (c->node && (heap_is_unused(h, c->node, c->address) || is_made_initially(f, c->node))) {
        *index = i + 1;
        return 0;
    }
    /* { target or captures, -, manager, invoker } */
    if (c + 2 < end && c[1].node == c->node && c[1].address == c->address + 16 &&
        is_manager(h, c[1].function)) {
        target = c;
        manager = c + 1;
    } else if (is_manager(h, c->function)) {
        manager = c;
    }
    if (manager && (manager + 1 == end || manager->address < 16 || manager[1].node != c->node ||
                    manager[1].address != manager->address + 8))
        target = manager = NULL;
    *index = manager ? (uint64_t)(manager - h->codes) + 2 : i + 1;

    struct heap_hook k = {.holder = c->node, .holder_offset = c->address};
    const uint64_t place = manager ? manager->address - 16 : c->address;
    if (manager)
        describe_function_object(f, &k, (uint64_t)(manager - h->codes), target);
    else
        describe(f, &k, c->function);
    if (c->node) {
        if (heap_domain(h, c->node) == SNAP_DOMAIN_PYTHON)
            return 0;
        k.registry = registry_in_node(f, c->node, place);
        if (manager)
            k.argument = target ? 0 : argument_at(f, c->node, place, place);
        else {
            k.argument = argument_at(f, c->node, place + 8, place);
            if (!k.argument && place >= 8)
                k.argument = argument_at(f, c->node, place - 8, place);
        }
        return add_hook(f, &k, err);
    }
    const uint32_t module = heap_module_at(h, c->address);
    const uint32_t function_module = position_of(h, c->function)->module;
    if (!module ||
        (f->is_library[module - 1] && function_module && f->is_library[function_module - 1]) ||
        is_in_object(h, c->address))
        return 0;
    const int known = is_static(f, module, c->address, h->functions[c->function - 1], err);
    if (known)
        return known < 0 ? known : 0;
    k.holder_offset = 0;
    SNAP_TRY(registry_of_global(f, place, &k.registry, err));
    k.root = manager ? global_at(f, place) : global_at(f, place + 8);
    if (!k.root && !manager)
        k.root = global_at(f, place - 8);
    if (k.root)
        k.argument = h->roots[k.root - 1].target;
    return add_hook(f, &k, err);
}

/* What somebody else knows gets the names that it lacks. */
static void complete_known(struct heap *h) {
    for (uint32_t i = 0; i < h->n_hooks; i++) {
        struct heap_hook *const k = &h->hooks[i];
        if (!k->kind)
            k->kind = SNAP_HOOK_NATIVE;
        if (!k->frame)
            continue;
        const struct heap_position *const p = &h->positions[k->frame - 1];
        if (!k->callback)
            k->callback = name_of_position(h, p);
        if (!k->file && p->file) {
            k->file = heap_string(h, p->file);
            k->line = p->line;
        }
    }
}

static void find_libraries(struct finder *f) {
    static const char *const names[] = {"libc.so.", "libc-2.", "ld-linux",
                                        "ld-2.",    "ld-musl", "libpthread"};
    for (uint32_t i = 0; i < f->h->n_modules; i++) {
        const char *const path = f->h->modules[i].path, *const slash = strrchr(path, '/');
        for (size_t k = 0; k < sizeof names / sizeof *names; k++)
            f->is_library[i] |= strncmp(slash ? slash + 1 : path, names[k], strlen(names[k])) == 0;
    }
}

static int find_hooks(struct finder *f, const struct frames *frames, snap_error *err) {
    struct heap *const h = f->h;
    f->callbacks = mem_zalloc((size_t)h->n_functions + 1, sizeof *f->callbacks);
    f->is_library = mem_zalloc((size_t)h->n_modules + 1, 1);
    if (!f->callbacks || !f->is_library || index_roots(f) < 0 ||
        heap_grow(h, &f->hooks, &f->capacity, (size_t)h->n_hooks + 1, sizeof *f->hooks) < 0)
        return stream_no_memory(err);
    find_libraries(f);
    SNAP_TRY(frames_find_initial(frames, h, &f->is_initial, err));
    for (uint32_t i = 0; i < h->n_hooks; i++)
        f->hooks[f->n++] = h->hooks[i];
    for (uint64_t i = 0; i < h->n_codes;)
        SNAP_TRY(take_code(f, &i, err));
    heap_drop(h, &h->hooks);
    h->hooks = f->hooks;
    h->n_hooks = (uint32_t)f->n;
    return heap_failed(h) ? stream_no_memory(err) : 0;
}

int hook_pass(struct heap *h, const struct frames *frames, snap_error *err) {
    complete_known(h);
    if (h->n_codes == 0)
        return 0;
    struct finder f = {.h = h};
    map_init(&f.group_of);
    map_init(&f.root_of);
    map_init(&f.place_of);
    const int result = find_hooks(&f, frames, err);
    map_release(&f.group_of);
    map_release(&f.root_of);
    map_release(&f.place_of);
    free(f.callbacks);
    free(f.is_library);
    free(f.is_initial);
    free(f.groups);
    return result;
}
