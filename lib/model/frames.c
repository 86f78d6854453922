/* Code positions: each once, in the order of addresses, named by the symbolizer, written as FRAM,
 * SYMB and STAK; and "allocated in FUNCTION", the type of last resort. Does not unwind. */
#include "model/frames.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "base/mem.h"
#include "model/stream.h"
#include "symbol/noise.h"
#include "symbol/symbol.h"

struct key {
    uint64_t pc;
    uint64_t is_exact;
};

static int compare_keys(const void *a, const void *b) {
    const struct key *const x = a, *const y = b;
    if (x->pc != y->pc)
        return x->pc < y->pc ? -1 : 1;
    return (x->is_exact > y->is_exact) - (x->is_exact < y->is_exact);
}

static struct key key_of_stack(const struct wire_stack *s) {
    return (struct key){s->pc, s->flags >> 16 & SNAP_FRAM_FLAG_EXACT};
}

/* The address to look a frame up by: a return address belongs to the call before it. */
static uint64_t lookup_address(const struct heap_position *p) {
    return p->is_exact || p->pc == 0 ? p->pc : p->pc - 1;
}

static uint32_t frame_of(const struct key *keys, uint32_t n, struct key key) {
    const struct key *const found = bsearch(&key, keys, n, sizeof key, compare_keys);
    return (uint32_t)(found - keys) + 1;
}

static uint32_t sort_keys(struct key *keys, size_t n) {
    uint32_t kept = 0;
    if (n > 0)
        qsort(keys, n, sizeof *keys, compare_keys);
    for (size_t i = 0; i < n; i++)
        if (kept == 0 || compare_keys(&keys[i], &keys[kept - 1]) != 0)
            keys[kept++] = keys[i];
    return kept;
}

/* Makes the positions, native and managed. */
static int make_positions(struct frames *f, struct heap *h, const struct key *keys, uint32_t n) {
    size_t capacity = 0;
    if (heap_grow(h, &h->positions, &capacity, (size_t)n + f->n_managed + 1, sizeof *h->positions) <
        0)
        return -1;
    for (uint32_t i = 0; i < n; i++) {
        struct heap_position *const p = &h->positions[i];
        *p = (struct heap_position){
            .pc = keys[i].pc, .is_exact = keys[i].is_exact != 0, .kind = SNAP_FRAM_NATIVE};
        p->module = heap_module_at(h, lookup_address(p));
    }
    for (uint32_t i = 0; i < f->n_managed; i++) {
        const struct wire_managed_frame *const m = &f->managed[i];
        h->positions[n + i] = (struct heap_position){
            .function = m->function ? heap_text(h, m->function) : NULL,
            .file = m->file ? heap_text(h, m->file) : NULL,
            .line = m->line,
            .kind = (uint8_t)m->kind,
            .caller = m->function ? heap_text(h, m->function) : NULL,
        };
    }
    h->n_positions = n + f->n_managed;
    return 0;
}

int frames_collect(struct frames *f, struct heap *h, snap_error *err) {
    const size_t most = (size_t)f->n_stacks + h->n_frames + h->n_functions + h->n_hooks;
    if (most + f->n_managed > SNAP_ROWS_MAX)
        return err_set(err, SNAP_E_LIMIT, "more code positions than a snapshot can hold");
    struct key *keys = NULL;
    size_t n = 0, capacity = 0, functions_capacity = 0;
    f->stack_frames = mem_alloc((size_t)f->n_stacks + 1, sizeof *f->stack_frames);
    if (!f->stack_frames || heap_grow(h, &keys, &capacity, most + 1, sizeof *keys) < 0 ||
        heap_grow(h, &h->function_frames, &functions_capacity, (size_t)h->n_functions + 1,
                  sizeof *h->function_frames) < 0)
        return stream_no_memory(err);
    for (uint32_t i = 0; i < f->n_stacks; i++)
        if (!(f->stacks[i].flags & WIRE_STACK_MANAGED))
            keys[n++] = key_of_stack(&f->stacks[i]);
    for (uint32_t i = 0; i < h->n_frames; i++)
        keys[n++] = (struct key){h->frames[i].pc, h->frames[i].is_exact != 0};
    for (uint32_t i = 0; i < h->n_functions; i++)
        keys[n++] = (struct key){h->functions[i], 1};
    for (uint32_t i = 0; i < h->n_hooks; i++)
        if (h->hooks[i].pc)
            keys[n++] = (struct key){h->hooks[i].pc, 1};
    const uint32_t n_keys = sort_keys(keys, n);
    if (make_positions(f, h, keys, n_keys) < 0)
        return stream_no_memory(err);
    for (uint32_t i = 0; i < f->n_stacks; i++)
        f->stack_frames[i] = f->stacks[i].flags & WIRE_STACK_MANAGED
                                 ? frames_managed(f, h, (uint32_t)f->stacks[i].pc)
                                 : frame_of(keys, n_keys, key_of_stack(&f->stacks[i]));
    for (uint32_t i = 0; i < h->n_frames; i++)
        h->frames[i].row =
            frame_of(keys, n_keys, (struct key){h->frames[i].pc, h->frames[i].is_exact != 0});
    for (uint32_t i = 0; i < h->n_functions; i++)
        h->function_frames[i] = frame_of(keys, n_keys, (struct key){h->functions[i], 1});
    for (uint32_t i = 0; i < h->n_hooks; i++)
        if (h->hooks[i].pc)
            h->hooks[i].frame = frame_of(keys, n_keys, (struct key){h->hooks[i].pc, 1});
    heap_drop(h, &keys);
    return 0;
}

uint32_t frames_managed(const struct frames *f, const struct heap *h, uint32_t managed) {
    return managed ? h->n_positions - f->n_managed + managed : 0;
}

/* --- names --- */

struct naming {
    struct heap *heap;
    snap_writer *writer;
    uint32_t first; /* position of index 0 */
    int result;
    snap_error *err;
};

static int write_symbol(snap_writer *w, uint32_t frame, size_t depth, const char *function,
                        const char *file, uint32_t line, uint32_t source, snap_error *err) {
    uint32_t function_row, file_row;
    SNAP_TRY(snap_writer_string(w, function, &function_row, err));
    SNAP_TRY(snap_writer_string(w, file, &file_row, err));
    uint64_t row[SNAP_COLUMNS_MAX] = {0};
    row[SNAP_SYMB_COL_FRAME] = frame;
    row[SNAP_SYMB_COL_DEPTH] = depth;
    row[SNAP_SYMB_COL_FUNCTION] = function_row;
    row[SNAP_SYMB_COL_FILE] = file_row;
    row[SNAP_SYMB_COL_LINE] = line;
    row[SNAP_SYMB_COL_SOURCE] = source;
    return snap_writer_row(w, SNAP_TABLE_SYMB, row, NULL, err);
}

static void name_position(void *context, size_t index, const struct symbol_position *positions,
                          size_t n_positions) {
    struct naming *const n = context;
    struct heap_position *const p = &n->heap->positions[n->first + index];
    for (size_t i = 0; i < n_positions && n->result == 0; i++) {
        const struct symbol_position *const at = &positions[i];
        if (*at->function) {
            p->function = at->function;
            p->file = *at->file ? at->file : NULL;
            p->line = at->line;
            if (!p->caller && !symbol_is_allocator(at->function))
                p->caller = at->function;
        }
        n->result = write_symbol(n->writer, n->first + (uint32_t)index + 1, i, at->function,
                                 at->file, at->line, at->source, n->err);
    }
}

static int name_module(struct heap *h, snap_writer *w, uint32_t first, uint32_t end,
                       uint64_t *offsets, snap_error *err) {
    const struct heap_module *const m = &h->modules[h->positions[first].module - 1];
    struct naming naming = {.heap = h, .writer = w, .first = first, .err = err};
    for (uint32_t i = first; i < end; i++)
        offsets[i - first] = lookup_address(&h->positions[i]) - m->bias;
    SNAP_TRY(symbolizer_lookup(h->symbolizer, m->symbols, offsets, end - first, name_position,
                               &naming, err));
    return naming.result;
}

static int write_positions(struct heap *h, snap_writer *w, snap_error *err) {
    for (uint32_t i = 0; i < h->n_positions; i++) {
        const struct heap_position *const p = &h->positions[i];
        uint64_t row[SNAP_COLUMNS_MAX] = {0};
        row[SNAP_FRAM_COL_KIND] = p->kind;
        row[SNAP_FRAM_COL_MODULE] = p->module;
        row[SNAP_FRAM_COL_OFFSET] = p->kind != SNAP_FRAM_NATIVE ? i
                                    : p->module ? p->pc - h->modules[p->module - 1].bias
                                                : p->pc;
        row[SNAP_FRAM_COL_FLAGS] = p->is_exact ? SNAP_FRAM_FLAG_EXACT : 0;
        SNAP_TRY(snap_writer_row(w, SNAP_TABLE_FRAM, row, NULL, err));
    }
    return 0;
}

static int write_stacks(const struct frames *f, snap_writer *w, snap_error *err) {
    for (uint32_t i = 0; i < f->n_stacks; i++) {
        uint64_t row[SNAP_COLUMNS_MAX] = {0};
        row[SNAP_STAK_COL_PARENT] = f->stacks[i].parent;
        row[SNAP_STAK_COL_FRAME] = f->stack_frames[i];
        row[SNAP_STAK_COL_FLAGS] = f->stacks[i].flags & 0xffff;
        SNAP_TRY(snap_writer_row(w, SNAP_TABLE_STAK, row, NULL, err));
    }
    return 0;
}

int frames_name(struct frames *f, struct heap *h, snap_writer *w, void (*progress)(void *context),
                void *context, snap_error *err) {
    SNAP_TRY(write_positions(h, w, err));
    SNAP_TRY(write_stacks(f, w, err));
    const uint32_t n_native = h->n_positions - f->n_managed;
    uint64_t *const offsets = h->symbolizer ? mem_alloc(n_native, sizeof *offsets) : NULL;
    if (h->symbolizer && !offsets)
        return stream_no_memory(err);
    int result = 0;
    /* Positions are in the order of addresses, so those of a module are one run. */
    for (uint32_t first = 0, end; offsets && first < n_native && result == 0; first = end) {
        end = first + 1;
        while (end < n_native && h->positions[end].module == h->positions[first].module)
            end++;
        if (h->positions[first].module)
            result = name_module(h, w, first, end, offsets, err);
        if (progress)
            progress(context);
    }
    free(offsets);
    for (uint32_t i = n_native; i < h->n_positions && result == 0; i++) {
        const struct heap_position *const p = &h->positions[i];
        result = write_symbol(w, i + 1, 0, p->function ? p->function : "", p->file ? p->file : "",
                              p->line, SNAP_SYMB_RUNTIME, err);
    }
    return result;
}

/* --- where a block was allocated, as its type --- */

static int add_site_type(struct heap *h, const char *name, uint32_t *out) {
    char *label;
    if (asprintf(&label, "allocated in %s", name) < 0)
        return -1;
    *out = heap_type_add(h, label, SNAP_TYPE_SITE, 0, 0, 0);
    free(label);
    return *out ? 0 : -1;
}

int frames_is_service(const struct heap *h, uint32_t module) {
    static const char *const names[] = {"libcuda.so", "libcudart.so", "libnvidia-",
                                        "libheapsnap-preload.so"};
    if (!module)
        return 0;
    const char *const path = h->modules[module - 1].path;
    const char *const slash = strrchr(path, '/');
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (strncmp(slash ? slash + 1 : path, names[i], strlen(names[i])) == 0)
            return 1;
    return 0;
}

uint32_t frames_innermost(const struct frames *f, const struct heap *h, uint32_t stack) {
    const uint32_t frame = stack ? f->stack_frames[stack - 1] : 0;
    return frame ? h->positions[frame - 1].module : 0;
}

uint32_t frames_owner(const struct frames *f, const struct heap *h, uint32_t stack) {
    for (; stack; stack = f->stacks[stack - 1].parent) {
        const uint32_t module = frames_innermost(f, h, stack);
        if (module && !frames_is_service(h, module))
            return module;
    }
    return 0;
}

/* musl's is its C library, too, which calls main. */
static int is_loader(const struct heap *h, uint32_t module) {
    static const char *const names[] = {"ld-linux", "ld-2."};
    const char *const path = module ? h->modules[module - 1].path : "";
    const char *const slash = strrchr(path, '/');
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (strncmp(slash ? slash + 1 : path, names[i], strlen(names[i])) == 0)
            return 1;
    return 0;
}

/* Python code that comes with it or in a package, the machinery of the import statement included.
 */
static int is_library_code(const struct heap_position *p) {
    static const char *const parts[] = {"/site-packages/", "/dist-packages/", "/lib/python3.",
                                        "/lib64/python3."};
    if (!p->file || strncmp(p->file, "<frozen ", 8) == 0)
        return 1;
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++)
        if (strstr(p->file, parts[i]))
            return 1;
    return 0;
}

/* Whether a function initialises an extension module, by what CPython calls it (its own may have
 * ended in a jump), or is the body of a library's module. */
static int is_import(const struct heap_position *p) {
    static const char *const names[] = {"<module>", "ExtensionFileLoader.create_module",
                                        "ExtensionFileLoader.exec_module"};
    if (!p->function)
        return 0;
    if (p->kind == SNAP_FRAM_NATIVE)
        return strncmp(p->function, "PyInit_", 7) == 0 ||
               strcmp(p->function, "PyModule_ExecDef") == 0;
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (strcmp(p->function, names[i]) == 0)
            return is_library_code(p);
    return 0;
}

int frames_find_initial(const struct frames *f, const struct heap *h, uint8_t **out,
                        snap_error *err) {
    uint8_t *const loads = mem_zalloc((size_t)h->n_positions + 1, 1); /* by frame - 1 */
    uint8_t *const initial = mem_zalloc((size_t)f->n_stacks + 1, 1);
    if (!loads || !initial) {
        free(loads);
        free(initial);
        return stream_no_memory(err);
    }
    for (uint32_t i = 0; i < h->n_positions; i++)
        loads[i] = (uint8_t)is_loader(h, h->positions[i].module);
    for (uint32_t i = 0; i < f->n_stacks; i++) { /* callers come before what they call */
        const uint32_t caller = f->stacks[i].parent;
        const uint32_t frame = f->stack_frames[i], outer = caller ? f->stack_frames[caller - 1] : 0;
        const struct heap_position *const p = frame ? &h->positions[frame - 1] : NULL;
        /* The program's own code may run in it, and does as it likes. */
        const int is_own = p && p->kind != SNAP_FRAM_NATIVE && !is_library_code(p);
        initial[i] = (caller && initial[caller - 1] && !is_own) || (p && is_import(p)) ||
                     (p && p->module && !loads[frame - 1] && outer && loads[outer - 1] &&
                      !frames_is_service(h, p->module));
    }
    free(loads);
    *out = initial;
    return 0;
}

/* What a position says about the blocks allocated through it: 0 if it only passes them on. */
static int type_of_position(struct frames *f, struct heap *h, uint32_t frame, uint32_t *out) {
    uint32_t *const known = &f->position_types[frame - 1];
    *out = 0;
    if (!*known) {
        const struct heap_position *const p = &h->positions[frame - 1];
        int result = 0;
        if (p->kind != SNAP_FRAM_NATIVE) {
            char place[512];
            symbol_managed_place(place, sizeof place, p->file ? p->file : "", p->line,
                                 p->function ? p->function : "");
            result = *place ? add_site_type(h, place, out) : 0;
        } else if (p->caller)
            result = add_site_type(h, p->caller, out);
        else if (!p->function && p->module && !frames_is_service(h, p->module)) {
            const char *const path = h->modules[p->module - 1].path;
            const char *const slash = strrchr(path, '/');
            result = add_site_type(h, slash ? slash + 1 : path, out);
        }
        if (result < 0)
            return -1;
        *known = *out + 1;
    }
    *out = *known - 1;
    return 0;
}

static int type_of_stack(struct frames *f, struct heap *h, uint32_t stack, uint32_t *out) {
    uint32_t type = 0;
    const uint32_t first = f->stack_managed[stack - 1] ? f->stack_managed[stack - 1] : stack;
    for (uint32_t id = first; id && !type; id = f->stacks[id - 1].parent) {
        if (f->stack_types[id - 1]) {
            type = f->stack_types[id - 1] - 1;
            break;
        }
        if (type_of_position(f, h, f->stack_frames[id - 1], &type) < 0)
            return -1;
    }
    f->stack_types[stack - 1] = type + 1;
    *out = type;
    return 0;
}

int frames_type_sites(struct frames *f, struct heap *h, snap_error *err) {
    f->stack_types = mem_zalloc((size_t)f->n_stacks + 1, sizeof *f->stack_types);
    f->position_types = mem_zalloc((size_t)h->n_positions + 1, sizeof *f->position_types);
    f->stack_managed = mem_alloc((size_t)f->n_stacks + 1, sizeof *f->stack_managed);
    if (!f->stack_managed || !f->stack_types || !f->position_types)
        return stream_no_memory(err);
    for (uint32_t i = 0; i < f->n_stacks; i++) { /* callers come before what they call */
        const uint32_t caller = f->stacks[i].parent;
        f->stack_managed[i] = f->stacks[i].flags & WIRE_STACK_MANAGED ? i + 1
                              : caller                                ? f->stack_managed[caller - 1]
                                                                      : 0;
    }
    for (uint32_t i = 0; i < h->n_nodes; i++) {
        const uint32_t stack = h->stack[i];
        if (h->type[i] || !stack)
            continue;
        if (f->stack_types[stack - 1])
            h->type[i] = f->stack_types[stack - 1] - 1;
        else if (type_of_stack(f, h, stack, &h->type[i]) < 0)
            return stream_no_memory(err);
    }
    return 0;
}

void frames_release(struct frames *f) {
    free(f->stack_frames);
    free(f->stack_managed);
    free(f->stack_types);
    free(f->position_types);
}
