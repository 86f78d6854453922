/* Names of roots that debug information did not name: variables by symbol tables, stacks and
 * registers by function, thread-local variables by symbol, mappings by what is mapped, and where
 * there is no symbol, image and section.
 *
 * A name is an identity between snapshots, so it never has an absolute address in it, and what is
 * one table has one name however large it is. Does not read DWARF. */
#include "model/heap.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/err.h"
#include "model/stream.h"
#include "symbol/image_data.h"
#include "symbol/symbol.h"

#define STRUCT_BYTES_MAX 512u         /* a larger variable counts as a table */
#define PLACES_MAX 65536u             /* names such as "libfoo.so .bss+0x40" */
#define NAME_BYTES_MAX ((size_t)4200) /* a demangled name and a number */

static const char *base_name(const char *path) {
    const char *const slash = strrchr(path, '/');
    return slash ? slash + 1 : path;
}

/* "g_table+0x18", or "g_table[*]" in what is too large for a struct. */
static uint32_t name_in_object(struct heap *h, const struct image_object *o, uint64_t address) {
    char name[NAME_BYTES_MAX];
    const uint64_t offset = address - o->start;
    if (o->end - o->start > STRUCT_BYTES_MAX)
        snprintf(name, sizeof name, "%s[*]", o->name);
    else if (offset > 0)
        snprintf(name, sizeof name, "%s+0x%" PRIx64, o->name, offset);
    else
        return heap_string(h, o->name);
    return heap_string(h, name);
}

static uint32_t name_of_place(struct heap *h, const struct heap_module *m,
                              const struct image_section *section, uint64_t address,
                              uint32_t *n_places) {
    char name[NAME_BYTES_MAX];
    const char *const image = base_name(m->path);
    const uint64_t start = section ? section->start : m->start - m->bias;
    if (*n_places == PLACES_MAX)
        snprintf(name, sizeof name, "%s %s", image, section ? section->name : "data");
    else {
        ++*n_places;
        snprintf(name, sizeof name, "%s %s+0x%" PRIx64, image, section ? section->name : "data",
                 address - start);
    }
    return heap_string(h, name);
}

int naming_variable(struct heap *h, uint64_t address, uint32_t *n_places, uint32_t *out_name,
                    snap_error *err) {
    const uint32_t module = heap_module_at(h, address);
    *out_name = 0;
    if (!module)
        return 0;
    const struct heap_module *const m = &h->modules[module - 1];
    const struct image_data *data = NULL;
    if (h->symbolizer)
        SNAP_TRY(symbolizer_data(h->symbolizer, m->symbols, &data, err));
    const uint64_t offset = address - m->bias;
    const struct image_object *const object = data ? image_data_object(data, offset) : NULL;
    const struct image_section *const section = data ? image_data_section(data, offset) : NULL;
    *out_name =
        object ? name_in_object(h, object, offset) : name_of_place(h, m, section, offset, n_places);
    return 0;
}

/* The thread's block of an image's thread-local variables that holds an address. */
static const struct heap_tls *find_tls(const struct heap *h, uint32_t thread, uint64_t address) {
    uint32_t low = 0, high = h->n_tls;
    while (low < high) {
        const uint32_t middle = low + (high - low) / 2;
        const struct heap_tls *const t = &h->tls[middle];
        if (t->thread < thread || (t->thread == thread && t->address <= address))
            low = middle + 1;
        else
            high = middle;
    }
    const struct heap_tls *const t = low > 0 ? &h->tls[low - 1] : NULL;
    return t && t->thread == thread && address - t->address < t->size ? t : NULL;
}

static int name_local(struct heap *h, struct heap_root *r, uint32_t *n_places, snap_error *err) {
    const struct heap_tls *const t = find_tls(h, r->thread, r->address);
    if (!t || !h->symbolizer)
        return 0;
    const struct heap_module *const m = &h->modules[t->module - 1];
    const struct image_data *data;
    SNAP_TRY(symbolizer_data(h->symbolizer, m->symbols, &data, err));
    const uint64_t offset = r->address - t->address;
    const struct image_object *const object = image_data_local(data, offset);
    if (object) {
        r->name = name_in_object(h, object, offset);
        return 0;
    }
    char name[NAME_BYTES_MAX];
    if (*n_places == PLACES_MAX)
        return 0;
    ++*n_places;
    snprintf(name, sizeof name, "%s thread-local+0x%" PRIx64, base_name(m->path), offset);
    r->name = heap_string(h, name);
    return 0;
}

/* The thread's innermost frame. */
static uint32_t innermost_frame(const struct heap *h, uint32_t thread) {
    uint32_t low = 0, high = h->n_frames;
    while (low < high) {
        const uint32_t middle = low + (high - low) / 2;
        if (h->frames[middle].thread < thread)
            low = middle + 1;
        else
            high = middle;
    }
    return low < h->n_frames && h->frames[low].thread == thread ? low + 1 : 0;
}

static void name_on_stack(struct heap *h, struct heap_root *r) {
    static const char *const registers[] = {"rax", "rdx", "rcx", "rbx", "rsi", "rdi", "rbp", "rsp",
                                            "r8",  "r9",  "r10", "r11", "r12", "r13", "r14", "r15"};
    const int is_register = r->kind == SNAP_ROOT_REGISTER;
    const uint32_t frame =
        is_register ? innermost_frame(h, r->thread) : heap_frame_at(h, r->thread, r->address);
    if (is_register && !r->label && r->address < sizeof registers / sizeof *registers)
        r->label = heap_string(h, registers[r->address]);
    if (!frame)
        return;
    if (!r->frame)
        r->frame = h->frames[frame - 1].row;
    const char *const function = h->positions[r->frame - 1].function;
    if (!r->name && function)
        r->name = heap_string(h, function);
}

static void name_mapping(struct heap *h, struct heap_root *r) {
    uint32_t low = 0, high = h->n_regions;
    while (low < high) {
        const uint32_t middle = low + (high - low) / 2;
        if (h->regions[middle].address <= r->address)
            low = middle + 1;
        else
            high = middle;
    }
    const struct heap_region *const region = low > 0 ? &h->regions[low - 1] : NULL;
    const int is_inside = region && r->address - region->address < region->size;
    r->name = is_inside && region->name ? region->name : heap_string(h, "anonymous mapping");
}

int naming_pass(struct heap *h, snap_error *err) {
    uint32_t n_places = 0;
    for (uint32_t i = 0; i < h->n_roots; i++) {
        struct heap_root *const r = &h->roots[i];
        switch (r->kind) {
        case SNAP_ROOT_GLOBAL:
            if (!r->name)
                SNAP_TRY(naming_variable(h, r->address, &n_places, &r->name, err));
            break;
        case SNAP_ROOT_TLS:
            if (!r->name)
                SNAP_TRY(name_local(h, r, &n_places, err));
            break;
        case SNAP_ROOT_STACK:
        case SNAP_ROOT_ALT_STACK:
        case SNAP_ROOT_REGISTER: name_on_stack(h, r); break;
        case SNAP_ROOT_MAPPING:
            if (!r->name)
                name_mapping(h, r);
            break;
        default: break;
        }
        /* What has no better name is at least in a thread. */
        if (!r->name && r->thread && *h->threads[r->thread - 1].name) {
            char name[64];
            snprintf(name, sizeof name, "thread %s", h->threads[r->thread - 1].name);
            r->name = heap_string(h, name);
        }
    }
    return heap_failed(h) ? stream_no_memory(err) : 0;
}
