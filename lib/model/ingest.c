/* From the capture stream to a file: checks records, fills the heap with them, has the passes find
 * out names and types, and has the rows written.
 *
 * Invariant: the stream comes from a process that may die at any byte or have been damaged by the
 * program it lived in, so every size, count, id and order is checked before use; an array grows
 * with the records that came, never with a number in a head. The stream is taken to its end before
 * anything slow is done, so that the copy of the target can go. Reads no memory of the target and
 * does not know the file format. */
#include "model/ingest.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <heapsnap/writer.h>

#include "base/err.h"
#include "base/mem.h"
#include "model/destination.h"
#include "model/device.h"
#include "model/frames.h"
#include "model/heap.h"
#include "model/output.h"
#include "model/stream.h"
#include "symbol/symbol.h"

#define IDS_MAX (SNAP_ROWS_MAX - 1) /* of nodes and other things numbered by 32 bits */
#define BUILD_ID_MAX 64u

struct ingest {
    const struct ingest_options *options;
    struct stream in;
    struct destination destination;
    snap_writer *writer;
    struct heap heap;
    struct frames frames;
    struct output output;
    struct symbolizer *symbolizer;

    uint32_t seen;             /* bit per kind of section */
    uint32_t *strings, *types; /* by id of the stream - 1 */
    uint32_t n_strings, n_types;
    struct wire_thread *threads;
    struct wire_region *regions; /* reserved: the name, a string of the heap's; so in the others */
    struct wire_pool *pools;
    struct wire_resource *resources;
    uint32_t n_regions, n_pools, n_resources;
    uint64_t block_bytes;
    uint32_t last_source; /* of first_edge, which is filled up to its start */

    struct {
        size_t thread_rows, tls, heap_regions, regions, pools, resources, modules, threads, address,
            size, birth, block_pool, stack, type, flags, domain, objects, strings, types,
            first_edge, edges, references, roots, frames, vtables, functions, vptrs, codes, hooks;
    } capacity;
};

static int no_memory(snap_error *err) {
    return stream_no_memory(err);
}

#define GROW(g, array, name, n)                                                                    \
    (heap_grow(&(g)->heap, &(array), &(g)->capacity.name, (size_t)(n), sizeof *(array)) < 0        \
         ? stream_no_memory(err)                                                                   \
         : 0)

/* --- ids --- */

static int string_of(const struct ingest *g, uint32_t id, uint32_t *out, snap_error *err) {
    if (id > g->n_strings)
        return stream_broken(err, "a string that is not there");
    *out = id ? g->strings[id - 1] : 0;
    return 0;
}

static int type_of(const struct ingest *g, uint32_t id, uint32_t *out, snap_error *err) {
    if (id > g->n_types)
        return stream_broken(err, "a type that is not there");
    *out = id ? g->types[id - 1] : 0;
    return 0;
}

/* --- what is told about the process --- */

static int read_hello(struct ingest *g, uint32_t *out_flags, snap_error *err) {
    struct wire_section section;
    const struct wire_hello *hello;
    SNAP_TRY(stream_section(&g->in, &section, err));
    if (section.kind != WIRE_HELLO || section.bytes != sizeof *hello)
        return stream_broken(err, "not a stream of this version");
    SNAP_TRY(stream_take(&g->in, sizeof *hello, (const void **)&hello, err));
    if (hello->magic != WIRE_MAGIC || hello->version != WIRE_VERSION)
        return stream_broken(err, "not a stream of this version");
    *out_flags = hello->flags;
    return 0;
}

static int read_target(struct ingest *g, snap_error *err) {
    struct wire_section section;
    SNAP_TRY(stream_section(&g->in, &section, err));
    if (section.kind != WIRE_TARGET)
        return stream_broken(err, "an unexpected section");
    SNAP_TRY(destination_read(&g->destination, &g->in, err));
    char *const directory = destination_directory(&g->destination);
    const int result =
        directory ? heap_init(&g->heap, directory, g->options->memory_bytes, err) : no_memory(err);
    free(directory);
    return result;
}

static int read_meta(struct ingest *g, const struct wire_section *section, snap_error *err) {
    if (!g->writer) {
        SNAP_TRY(destination_open(&g->destination, &g->writer, err));
        g->output.writer = g->writer;
        g->output.heap = &g->heap;
    }
    return destination_meta(&g->in, section->n, g->writer, err);
}

/* A copy that lives as long as the heap. */
static const char *keep_text(struct ingest *g, const char *text, size_t length) {
    return heap_text(&g->heap, heap_string_n(&g->heap, text, length));
}

static int read_module(struct ingest *g, struct heap_module *m, uint32_t i, snap_error *err) {
    const struct wire_module *record;
    const char *text;
    SNAP_TRY(stream_take(&g->in, sizeof *record, (const void **)&record, err));
    const struct wire_module w = *record;
    const size_t size = (size_t)w.path_len + w.build_id_len;
    if (w.build_id_len > BUILD_ID_MAX || w.start >= w.end || (i > 0 && w.start < m[-1].end))
        return stream_broken(err, "a module");
    SNAP_TRY(stream_take(&g->in, size, (const void **)&text, err));
    char build_id[2 * BUILD_ID_MAX + 1] = "";
    for (uint32_t k = 0; k < w.build_id_len; k++)
        snprintf(build_id + 2 * (size_t)k, 3, "%02x", (unsigned char)text[w.path_len + k]);
    *m = (struct heap_module){.start = w.start,
                              .end = w.end,
                              .bias = w.bias,
                              .path = keep_text(g, text, w.path_len),
                              .flags = w.flags};
    if (*build_id)
        m->build_id = keep_text(g, build_id, strlen(build_id));
    if (g->symbolizer)
        SNAP_TRY(symbolizer_module(g->symbolizer, m->path, m->build_id, &m->symbols, err));
    return stream_pad(&g->in, size, err);
}

static int read_modules(struct ingest *g, const struct wire_section *section, snap_error *err) {
    struct heap *const h = &g->heap;
    for (uint32_t i = 0; i < section->n; i++) {
        SNAP_TRY(GROW(g, h->modules, modules, i + 1u));
        SNAP_TRY(read_module(g, &h->modules[i], i, err));
        h->n_modules++;
    }
    return heap_failed(h) ? no_memory(err) : 0;
}

static int read_stacks(struct ingest *g, const struct wire_section *section, snap_error *err) {
    struct frames *const f = &g->frames;
    if (section->n > IDS_MAX)
        return stream_broken(err, "the number of stacks");
    for (uint32_t left = section->n, n; left > 0; left -= n) {
        const struct wire_stack *s;
        SNAP_TRY(stream_records(&g->in, sizeof *s, left, (const void **)&s, &n, err));
        if (heap_grow(&g->heap, &f->stacks, &f->stacks_capacity, (size_t)f->n_stacks + n,
                      sizeof *s) < 0)
            return no_memory(err);
        for (uint32_t i = 0; i < n; i++) {
            if (s[i].parent > f->n_stacks)
                return stream_broken(err, "a stack");
            f->stacks[f->n_stacks++] = s[i];
        }
    }
    return 0;
}

static int read_thread(struct ingest *g, snap_error *err) {
    struct heap *const h = &g->heap;
    const struct wire_thread *t;
    SNAP_TRY(stream_take(&g->in, sizeof *t, (const void **)&t, err));
    if (t->stack > g->frames.n_stacks)
        return stream_broken(err, "a thread");
    SNAP_TRY(GROW(g, h->threads, threads, h->n_threads + 1u));
    const uint32_t name = heap_string_n(h, t->name, strnlen(t->name, sizeof t->name));
    h->threads[h->n_threads++] = (struct heap_thread){.stack_low = t->stack_low,
                                                      .stack_high = t->stack_high,
                                                      .name = heap_text(h, name),
                                                      .tid = t->tid,
                                                      .flags = t->flags};
    SNAP_TRY(GROW(g, g->threads, thread_rows, h->n_threads));
    g->threads[h->n_threads - 1] = *t;
    return 0;
}

static int read_threads(struct ingest *g, const struct wire_section *section, snap_error *err) {
    for (uint32_t i = 0; i < section->n; i++)
        SNAP_TRY(read_thread(g, err));
    return heap_failed(&g->heap) ? no_memory(err) : 0;
}

static int read_regions(struct ingest *g, const struct wire_section *section, snap_error *err) {
    for (uint32_t i = 0; i < section->n; i++) {
        const struct wire_region *record;
        const char *text;
        SNAP_TRY(stream_take(&g->in, sizeof *record, (const void **)&record, err));
        struct wire_region w = *record;
        if (w.stack > g->frames.n_stacks)
            return stream_broken(err, "a region");
        SNAP_TRY(stream_take(&g->in, w.name_len, (const void **)&text, err));
        w.reserved = heap_string_n(&g->heap, text, w.name_len); /* from here on: the name */
        if (g->n_regions > 0 && w.address < g->regions[g->n_regions - 1].address)
            return stream_broken(err, "regions out of order");
        SNAP_TRY(GROW(g, g->regions, regions, g->n_regions + 1u));
        g->regions[g->n_regions++] = w;
        struct heap *const h = &g->heap;
        SNAP_TRY(GROW(g, h->regions, heap_regions, h->n_regions + 1u));
        h->regions[h->n_regions++] = (struct heap_region){
            .address = w.address, .size = w.size, .kind = w.kind, .name = w.reserved};
        SNAP_TRY(stream_pad(&g->in, w.name_len, err));
    }
    return heap_failed(&g->heap) ? no_memory(err) : 0;
}

static int read_strings(struct ingest *g, const struct wire_section *section, snap_error *err) {
    for (uint32_t i = 0; i < section->n; i++) {
        const struct wire_string *record;
        const char *text;
        SNAP_TRY(stream_take(&g->in, sizeof *record, (const void **)&record, err));
        const uint32_t length = record->length;
        SNAP_TRY(stream_take(&g->in, length, (const void **)&text, err));
        if (g->n_strings == IDS_MAX)
            return stream_broken(err, "the number of strings");
        SNAP_TRY(GROW(g, g->strings, strings, g->n_strings + 1u));
        g->strings[g->n_strings++] = heap_string_n(&g->heap, text, length);
        SNAP_TRY(stream_pad(&g->in, length, err));
    }
    return heap_failed(&g->heap) ? no_memory(err) : 0;
}

static int read_managed_frames(struct ingest *g, const struct wire_section *section,
                               snap_error *err) {
    struct frames *const f = &g->frames;
    for (uint32_t i = 0; i < section->n; i++) {
        const struct wire_managed_frame *record;
        SNAP_TRY(stream_take(&g->in, sizeof *record, (const void **)&record, err));
        struct wire_managed_frame m = *record;
        SNAP_TRY(string_of(g, m.function, &m.function, err));
        SNAP_TRY(string_of(g, m.file, &m.file, err));
        if (m.kind == SNAP_FRAM_NATIVE || m.kind > UINT8_MAX || f->n_managed == IDS_MAX)
            return stream_broken(err, "a managed frame");
        if (heap_grow(&g->heap, &f->managed, &f->managed_capacity, f->n_managed + 1u, sizeof m) < 0)
            return no_memory(err);
        f->managed[f->n_managed++] = m;
    }
    return 0;
}

static int read_types(struct ingest *g, const struct wire_section *section, snap_error *err) {
    struct heap *const h = &g->heap;
    for (uint32_t i = 0; i < section->n; i++) {
        const struct wire_type *t;
        uint32_t name = 0;
        SNAP_TRY(stream_take(&g->in, sizeof *t, (const void **)&t, err));
        SNAP_TRY(string_of(g, t->name, &name, err));
        if (!name || t->module > h->n_modules || g->n_types == IDS_MAX)
            return stream_broken(err, "a type");
        SNAP_TRY(GROW(g, g->types, types, g->n_types + 1u));
        g->types[g->n_types] =
            heap_type_add(h, heap_text(h, name), t->source, t->size, t->flags, t->module);
        if (!g->types[g->n_types++])
            return no_memory(err);
    }
    return 0;
}

static int read_pools(struct ingest *g, const struct wire_section *section, snap_error *err) {
    for (uint32_t i = 0; i < section->n; i++) {
        const struct wire_pool *p;
        SNAP_TRY(stream_take(&g->in, sizeof *p, (const void **)&p, err));
        if (p->module > g->heap.n_modules || p->stack > g->frames.n_stacks ||
            p->parent > g->n_pools || g->n_pools == IDS_MAX)
            return stream_broken(err, "a pool");
        SNAP_TRY(GROW(g, g->pools, pools, g->n_pools + 1u));
        struct wire_pool *const pool = &g->pools[g->n_pools];
        *pool = *p;
        SNAP_TRY(string_of(g, p->name, &pool->name, err));
        g->n_pools++;
    }
    return 0;
}

static int read_resources(struct ingest *g, const struct wire_section *section, snap_error *err) {
    for (uint32_t i = 0; i < section->n; i++) {
        const struct wire_resource *r;
        SNAP_TRY(stream_take(&g->in, sizeof *r, (const void **)&r, err));
        if (r->module > g->heap.n_modules || r->stack > g->frames.n_stacks ||
            r->thread > g->heap.n_threads)
            return stream_broken(err, "a resource");
        SNAP_TRY(GROW(g, g->resources, resources, g->n_resources + 1u));
        struct wire_resource *const resource = &g->resources[g->n_resources];
        *resource = *r;
        SNAP_TRY(string_of(g, r->name, &resource->name, err));
        g->n_resources++;
    }
    return 0;
}

/* --- nodes --- */

static int grow_nodes(struct ingest *g, uint32_t n, snap_error *err) {
    struct heap *const h = &g->heap;
    if (n > IDS_MAX - h->n_nodes)
        return err_set(err, SNAP_E_LIMIT, "more nodes than a snapshot can hold");
    const size_t need = (size_t)h->n_nodes + n;
    SNAP_TRY(GROW(g, h->address, address, need));
    SNAP_TRY(GROW(g, h->size, size, need));
    SNAP_TRY(GROW(g, h->birth, birth, need));
    SNAP_TRY(GROW(g, h->stack, stack, need));
    SNAP_TRY(GROW(g, h->type, type, need));
    return GROW(g, h->flags, flags, need);
}

static int read_blocks(struct ingest *g, const struct wire_section *section, snap_error *err) {
    struct heap *const h = &g->heap;
    if (h->n_nodes > h->n_blocks)
        return stream_broken(err, "a block behind other nodes");
    for (uint32_t left = section->n, n; left > 0; left -= n) {
        const struct wire_block *b;
        SNAP_TRY(stream_records(&g->in, sizeof *b, left, (const void **)&b, &n, err));
        SNAP_TRY(grow_nodes(g, n, err));
        for (uint32_t i = 0; i < n; i++, b++) {
            const uint32_t k = h->n_nodes;
            if (b->stack > g->frames.n_stacks || (k > 0 && b->address <= h->address[k - 1]))
                return stream_broken(err, "a block");
            h->address[k] = b->address;
            h->size[k] = b->size;
            h->birth[k] = b->birth;
            h->stack[k] = b->stack;
            h->flags[k] = b->flags;
            g->block_bytes += b->size;
            h->n_nodes++;
        }
        h->n_blocks = h->n_nodes;
    }
    return 0;
}

static int read_node(struct ingest *g, const struct wire_node *n, snap_error *err) {
    struct heap *const h = &g->heap;
    const uint32_t k = h->n_nodes, object = k - h->n_blocks;
    uint32_t type = 0, label = 0;
    SNAP_TRY(type_of(g, n->type, &type, err));
    SNAP_TRY(string_of(g, n->label, &label, err));
    if (n->stack > g->frames.n_stacks || n->thread > h->n_threads || n->pool > g->n_pools ||
        n->kind > UINT8_MAX || n->domain == 0 || n->domain > UINT8_MAX)
        return stream_broken(err, "a node");
    SNAP_TRY(grow_nodes(g, 1, err));
    SNAP_TRY(GROW(g, h->domain, domain, k + 1u));
    SNAP_TRY(GROW(g, h->objects, objects, object + 1u));
    h->address[k] = n->address;
    h->size[k] = n->size;
    h->birth[k] = n->birth;
    h->stack[k] = n->stack;
    h->type[k] = type;
    h->flags[k] = (n->flags & 0xffffff) | (uint32_t)n->kind << 24;
    h->domain[k] = (uint8_t)n->domain;
    h->objects[object] = (struct heap_object){.external = n->external,
                                              .refcount = n->refcount,
                                              .hidden = n->hidden,
                                              .thread = n->thread,
                                              .device = n->device,
                                              .pool = n->pool,
                                              .label = label};
    h->n_nodes++;
    return 0;
}

static int read_nodes(struct ingest *g, const struct wire_section *section, snap_error *err) {
    struct heap *const h = &g->heap;
    if (h->n_nodes == h->n_blocks && section->n > 0) {
        SNAP_TRY(GROW(g, h->domain, domain, h->n_nodes + 1u));
        memset(h->domain, SNAP_DOMAIN_HOST, h->n_nodes);
    }
    for (uint32_t left = section->n, n; left > 0; left -= n) {
        const struct wire_node *w;
        SNAP_TRY(stream_records(&g->in, sizeof *w, left, (const void **)&w, &n, err));
        for (uint32_t i = 0; i < n; i++)
            SNAP_TRY(read_node(g, &w[i], err));
    }
    return 0;
}

static int read_node_types(struct ingest *g, const struct wire_section *section, snap_error *err) {
    struct heap *const h = &g->heap;
    for (uint32_t left = section->n, n; left > 0; left -= n) {
        const struct wire_node_type *w;
        SNAP_TRY(stream_records(&g->in, sizeof *w, left, (const void **)&w, &n, err));
        for (uint32_t i = 0; i < n; i++) {
            if (w[i].node == 0 || w[i].node > h->n_nodes)
                return stream_broken(err, "a node's type");
            SNAP_TRY(type_of(g, w[i].type, &h->type[w[i].node - 1], err));
        }
    }
    return 0;
}

static int read_node_pools(struct ingest *g, const struct wire_section *section, snap_error *err) {
    struct heap *const h = &g->heap;
    if (!h->block_pool && section->n > 0) {
        SNAP_TRY(GROW(g, h->block_pool, block_pool, h->n_blocks + 1u));
        memset(h->block_pool, 0, ((size_t)h->n_blocks + 1) * sizeof *h->block_pool);
    }
    for (uint32_t left = section->n, n; left > 0; left -= n) {
        const struct wire_node_pool *w;
        SNAP_TRY(stream_records(&g->in, sizeof *w, left, (const void **)&w, &n, err));
        for (uint32_t i = 0; i < n; i++) {
            if (w[i].node == 0 || w[i].node > h->n_blocks || w[i].pool > g->n_pools)
                return stream_broken(err, "a block's pool");
            h->block_pool[w[i].node - 1] = w[i].pool;
        }
    }
    return 0;
}

/* --- what memory holds --- */

static int read_frames(struct ingest *g, const struct wire_section *section, snap_error *err) {
    struct heap *const h = &g->heap;
    for (uint32_t left = section->n, n; left > 0; left -= n) {
        const struct wire_frame *w;
        SNAP_TRY(stream_records(&g->in, sizeof *w, left, (const void **)&w, &n, err));
        if (n > IDS_MAX - h->n_frames)
            return stream_broken(err, "the number of frames");
        SNAP_TRY(GROW(g, h->frames, frames, (size_t)h->n_frames + n));
        for (uint32_t i = 0; i < n; i++, w++) {
            const struct heap_frame *const last = h->n_frames ? &h->frames[h->n_frames - 1] : NULL;
            if (w->thread == 0 || w->thread > h->n_threads ||
                (last &&
                 (w->thread < last->thread || (w->thread == last->thread && w->sp < last->sp))))
                return stream_broken(err, "a frame");
            h->frames[h->n_frames++] = (struct heap_frame){
                .sp = w->sp, .pc = w->pc, .thread = w->thread, .is_exact = w->is_exact};
        }
    }
    return 0;
}

static int read_tls(struct ingest *g, const struct wire_section *section, snap_error *err) {
    struct heap *const h = &g->heap;
    for (uint32_t i = 0; i < section->n; i++) {
        const struct wire_tls *w;
        SNAP_TRY(stream_take(&g->in, sizeof *w, (const void **)&w, err));
        const struct heap_tls *const last = h->n_tls ? &h->tls[h->n_tls - 1] : NULL;
        if (w->thread == 0 || w->thread > h->n_threads || w->module == 0 ||
            (last && (w->thread < last->thread ||
                      (w->thread == last->thread && w->address < last->address))) ||
            w->module > h->n_modules || h->n_tls == IDS_MAX)
            return stream_broken(err, "thread-local storage");
        SNAP_TRY(GROW(g, h->tls, tls, h->n_tls + 1u));
        h->tls[h->n_tls++] = (struct heap_tls){
            .address = w->address, .size = w->size, .thread = w->thread, .module = w->module};
    }
    return 0;
}

static int read_vtables(struct ingest *g, const struct wire_section *section, snap_error *err) {
    struct heap *const h = &g->heap;
    for (uint32_t i = 0; i < section->n; i++) {
        const struct wire_vtable *record;
        const char *text;
        SNAP_TRY(stream_take(&g->in, sizeof *record, (const void **)&record, err));
        const struct wire_vtable w = *record;
        SNAP_TRY(stream_take(&g->in, w.name_len, (const void **)&text, err));
        if (h->n_vtables == IDS_MAX)
            return stream_broken(err, "the number of virtual tables");
        SNAP_TRY(GROW(g, h->vtables, vtables, h->n_vtables + 1u));
        h->vtables[h->n_vtables++] = (struct heap_vtable){.address = w.address,
                                                          .type_info = w.type_info,
                                                          .type_info_vtable = w.type_info_vtable,
                                                          .offset_to_top = w.offset_to_top,
                                                          .name = keep_text(g, text, w.name_len)};
        SNAP_TRY(stream_pad(&g->in, w.name_len, err));
    }
    return heap_failed(h) ? no_memory(err) : 0;
}

/* Whether the word at an offset lies in a node. */
static int has_word(const struct heap *h, uint32_t node, uint64_t offset) {
    return node > 0 && node <= h->n_nodes && h->size[node - 1] >= 8 &&
           offset <= h->size[node - 1] - 8;
}

static int read_vptrs(struct ingest *g, const struct wire_section *section, snap_error *err) {
    struct heap *const h = &g->heap;
    for (uint32_t left = section->n, n; left > 0; left -= n) {
        const struct wire_vptr *w;
        SNAP_TRY(stream_records(&g->in, sizeof *w, left, (const void **)&w, &n, err));
        SNAP_TRY(GROW(g, h->vptrs, vptrs, h->n_vptrs + n));
        for (uint32_t i = 0; i < n; i++, w++) {
            const struct heap_vptr *const last = h->n_vptrs ? &h->vptrs[h->n_vptrs - 1] : NULL;
            if (!has_word(h, w->node, w->offset) || w->vtable == 0 || w->vtable > h->n_vtables ||
                (last &&
                 (w->node < last->node || (w->node == last->node && w->offset <= last->offset))))
                return stream_broken(err, "a pointer to a virtual table");
            h->vptrs[h->n_vptrs++] =
                (struct heap_vptr){.node = w->node, .offset = w->offset, .vtable = w->vtable};
        }
    }
    return 0;
}

static int read_functions(struct ingest *g, const struct wire_section *section, snap_error *err) {
    struct heap *const h = &g->heap;
    for (uint32_t left = section->n, n; left > 0; left -= n) {
        const struct wire_function *w;
        SNAP_TRY(stream_records(&g->in, sizeof *w, left, (const void **)&w, &n, err));
        if (n > IDS_MAX - h->n_functions)
            return stream_broken(err, "the number of functions");
        SNAP_TRY(GROW(g, h->functions, functions, (size_t)h->n_functions + n));
        for (uint32_t i = 0; i < n; i++)
            h->functions[h->n_functions++] = w[i].pc;
    }
    return 0;
}

static int read_codes(struct ingest *g, const struct wire_section *section, snap_error *err) {
    struct heap *const h = &g->heap;
    for (uint32_t left = section->n, n; left > 0; left -= n) {
        const struct wire_code *w;
        SNAP_TRY(stream_records(&g->in, sizeof *w, left, (const void **)&w, &n, err));
        SNAP_TRY(GROW(g, h->codes, codes, h->n_codes + n));
        for (uint32_t i = 0; i < n; i++, w++) {
            const struct heap_code *const last = h->n_codes ? &h->codes[h->n_codes - 1] : NULL;
            if ((w->node && !has_word(h, w->node, w->address)) || w->function == 0 ||
                w->function > h->n_functions ||
                (last &&
                 (w->node < last->node || (w->node == last->node && w->address <= last->address))))
                return stream_broken(err, "a pointer to a function");
            h->codes[h->n_codes++] =
                (struct heap_code){.address = w->address, .node = w->node, .function = w->function};
        }
    }
    return 0;
}

/* --- references --- */

/* References of nodes up to `source` - 1 are all there. */
static int end_sources(struct ingest *g, uint64_t source, snap_error *err) {
    struct heap *const h = &g->heap;
    SNAP_TRY(GROW(g, h->first_edge, first_edge, h->n_nodes + 1u));
    while (g->last_source < source)
        h->first_edge[g->last_source++] = h->n_edges;
    return 0;
}

static int read_edges(struct ingest *g, const struct wire_section *section, snap_error *err) {
    struct heap *const h = &g->heap;
    for (uint32_t left = section->n, n; left > 0; left -= n) {
        const struct wire_edge *w;
        SNAP_TRY(stream_records(&g->in, sizeof *w, left, (const void **)&w, &n, err));
        if (h->n_edges + n > SNAP_ROWS_MAX)
            return err_set(err, SNAP_E_LIMIT, "more references than a snapshot can hold");
        SNAP_TRY(GROW(g, h->edges, edges, h->n_edges + n));
        uint64_t last_word = 0, words = 0;
        if (g->last_source) {
            const uint64_t first = h->first_edge[g->last_source - 1];
            last_word = h->n_edges > first ? h->edges[h->n_edges - 1].source_word + 1u : 0;
            words = h->size[g->last_source - 1] / 8;
        }
        for (uint32_t i = 0; i < n; i++, w++) {
            if (w->source != g->last_source) {
                if (w->source < g->last_source || w->source == 0 || w->source > h->n_nodes)
                    return stream_broken(err, "the source of a reference");
                SNAP_TRY(end_sources(g, w->source, err));
                last_word = 0;
                words = h->size[w->source - 1] / 8;
            }
            if (w->source_word < last_word || w->source_word >= words || w->target == 0 ||
                w->target > h->n_nodes)
                return stream_broken(err, "a reference");
            last_word = w->source_word + 1u;
            h->edges[h->n_edges++] = (struct heap_edge){.target = w->target,
                                                        .source_word = w->source_word,
                                                        .target_offset = w->target_offset};
        }
    }
    return 0;
}

static int read_references(struct ingest *g, const struct wire_section *section, snap_error *err) {
    struct heap *const h = &g->heap;
    for (uint32_t left = section->n, n; left > 0; left -= n) {
        const struct wire_reference *w;
        SNAP_TRY(stream_records(&g->in, sizeof *w, left, (const void **)&w, &n, err));
        if (h->n_references + n > SNAP_ROWS_MAX)
            return err_set(err, SNAP_E_LIMIT, "more references than a snapshot can hold");
        SNAP_TRY(GROW(g, h->references, references, h->n_references + n));
        for (uint32_t i = 0; i < n; i++, w++) {
            uint32_t label = 0;
            SNAP_TRY(string_of(g, w->label, &label, err));
            if (w->source == 0 || w->source > h->n_nodes || w->target == 0 ||
                w->target > h->n_nodes ||
                (h->n_references && w->source < h->references[h->n_references - 1].source))
                return stream_broken(err, "a reference by name");
            h->references[h->n_references++] =
                (struct heap_reference){.source_offset = w->source_offset,
                                        .target_offset = w->target_offset,
                                        .source = w->source,
                                        .target = w->target,
                                        .label = label,
                                        .kind = w->kind,
                                        .flags = w->flags};
        }
    }
    return 0;
}

static int read_roots(struct ingest *g, const struct wire_section *section, snap_error *err) {
    struct heap *const h = &g->heap;
    for (uint32_t left = section->n, n; left > 0; left -= n) {
        const struct wire_root *w;
        SNAP_TRY(stream_records(&g->in, sizeof *w, left, (const void **)&w, &n, err));
        if (n > IDS_MAX - h->n_roots)
            return stream_broken(err, "the number of roots");
        SNAP_TRY(GROW(g, h->roots, roots, (size_t)h->n_roots + n));
        for (uint32_t i = 0; i < n; i++, w++) {
            struct heap_root *const r = &h->roots[h->n_roots];
            if (w->target == 0 || w->target > h->n_nodes || w->thread > h->n_threads ||
                w->frame > g->frames.n_managed || w->kind == 0)
                return stream_broken(err, "a root");
            *r = (struct heap_root){.address = w->address,
                                    .target_offset = w->target_offset,
                                    .target = w->target,
                                    .kind = w->kind,
                                    .flags = w->flags,
                                    .thread = w->thread,
                                    .frame = w->frame};
            SNAP_TRY(string_of(g, w->name, &r->name, err));
            SNAP_TRY(string_of(g, w->label, &r->label, err));
            if (r->kind == SNAP_ROOT_GLOBAL || r->kind == SNAP_ROOT_TLS)
                r->module = heap_module_at(h, r->address);
            h->n_roots++;
        }
    }
    return 0;
}

static int read_hook(struct ingest *g, const struct wire_hook *w, struct heap_hook *k,
                     snap_error *err) {
    const struct heap *const h = &g->heap;
    if (w->holder > h->n_nodes || w->argument > h->n_nodes || w->stack > g->frames.n_stacks ||
        w->root > h->n_roots)
        return stream_broken(err, "a hook");
    *k = (struct heap_hook){.pc = w->pc,
                            .holder_offset = w->holder_offset,
                            .birth = w->birth,
                            .line = w->line,
                            .holder = w->holder,
                            .argument = w->argument,
                            .stack = w->stack,
                            .count = w->count,
                            .kind = w->kind,
                            .root = w->root};
    SNAP_TRY(string_of(g, w->registry, &k->registry, err));
    SNAP_TRY(string_of(g, w->callback, &k->callback, err));
    return string_of(g, w->file, &k->file, err);
}

static int read_hooks(struct ingest *g, const struct wire_section *section, snap_error *err) {
    struct heap *const h = &g->heap;
    for (uint32_t i = 0; i < section->n; i++) {
        const struct wire_hook *w;
        SNAP_TRY(stream_take(&g->in, sizeof *w, (const void **)&w, err));
        if (h->n_hooks == IDS_MAX)
            return stream_broken(err, "the number of hooks");
        SNAP_TRY(GROW(g, h->hooks, hooks, h->n_hooks + 1u));
        SNAP_TRY(read_hook(g, w, &h->hooks[h->n_hooks], err));
        h->n_hooks++;
    }
    return 0;
}

/* --- sections --- */

#define BIT(kind) (1u << (kind))
#define EARLY (BIT(WIRE_META) | BIT(WIRE_MODULE) | BIT(WIRE_STACK) | BIT(WIRE_THREAD))

/* What is read how, and what must have been there before. */
static const struct section_rule {
    int (*read)(struct ingest *g, const struct wire_section *section, snap_error *err);
    uint32_t size;  /* of a record; 0: varies */
    uint32_t after; /* kinds */
    uint8_t once, has_nodes, makes_nodes;
} rules[WIRE_END] = {
    [WIRE_META] = {.read = read_meta},
    [WIRE_MODULE] = {.read = read_modules, .once = 1, .after = BIT(WIRE_META)},
    [WIRE_STACK] = {.read = read_stacks,
                    .size = sizeof(struct wire_stack),
                    .once = 1,
                    .after = BIT(WIRE_META)},
    [WIRE_THREAD] = {.read = read_threads,
                     .size = sizeof(struct wire_thread),
                     .once = 1,
                     .after = BIT(WIRE_META) | BIT(WIRE_STACK)},
    [WIRE_REGION] = {.read = read_regions, .once = 1, .after = BIT(WIRE_META) | BIT(WIRE_STACK)},
    [WIRE_BLOCK] = {.read = read_blocks,
                    .size = sizeof(struct wire_block),
                    .after = EARLY,
                    .makes_nodes = 1},
    [WIRE_STRING] = {.read = read_strings, .after = EARLY},
    [WIRE_MANAGED_FRAME] = {.read = read_managed_frames,
                            .size = sizeof(struct wire_managed_frame),
                            .after = EARLY},
    [WIRE_TYPE] = {.read = read_types, .size = sizeof(struct wire_type), .after = EARLY},
    [WIRE_POOL] = {.read = read_pools, .size = sizeof(struct wire_pool), .after = EARLY},
    [WIRE_NODE] = {.read = read_nodes,
                   .size = sizeof(struct wire_node),
                   .after = EARLY,
                   .makes_nodes = 1},
    [WIRE_NODE_TYPE] = {.read = read_node_types,
                        .size = sizeof(struct wire_node_type),
                        .after = EARLY,
                        .has_nodes = 1},
    [WIRE_NODE_POOL] = {.read = read_node_pools,
                        .size = sizeof(struct wire_node_pool),
                        .after = EARLY,
                        .has_nodes = 1},
    [WIRE_FRAME] = {.read = read_frames, .size = sizeof(struct wire_frame), .after = EARLY},
    [WIRE_TLS] = {.read = read_tls, .size = sizeof(struct wire_tls), .after = EARLY},
    [WIRE_VTABLE] = {.read = read_vtables, .after = EARLY},
    [WIRE_VPTR] = {.read = read_vptrs,
                   .size = sizeof(struct wire_vptr),
                   .after = EARLY,
                   .has_nodes = 1},
    [WIRE_FUNCTION] = {.read = read_functions,
                       .size = sizeof(struct wire_function),
                       .after = EARLY},
    [WIRE_CODE] = {.read = read_codes,
                   .size = sizeof(struct wire_code),
                   .after = EARLY,
                   .has_nodes = 1},
    [WIRE_EDGE] = {.read = read_edges,
                   .size = sizeof(struct wire_edge),
                   .after = EARLY,
                   .has_nodes = 1},
    [WIRE_REFERENCE] = {.read = read_references,
                        .size = sizeof(struct wire_reference),
                        .after = EARLY,
                        .has_nodes = 1},
    [WIRE_ROOT] = {.read = read_roots,
                   .size = sizeof(struct wire_root),
                   .after = EARLY,
                   .has_nodes = 1},
    [WIRE_HOOK] = {.read = read_hooks,
                   .size = sizeof(struct wire_hook),
                   .after = EARLY,
                   .has_nodes = 1},
    [WIRE_RESOURCE] = {.read = read_resources,
                       .size = sizeof(struct wire_resource),
                       .after = EARLY},
};

#define HAS_NODES BIT(0) /* in `seen`: a section referred to nodes */

static int read_section(struct ingest *g, const struct wire_section *section, snap_error *err) {
    const struct section_rule *const rule =
        section->kind < WIRE_END ? &rules[section->kind] : &rules[0];
    if (!rule->read || (g->seen & rule->after) != rule->after ||
        (rule->once && (g->seen & BIT(section->kind))) ||
        (rule->makes_nodes && (g->seen & HAS_NODES)))
        return stream_broken(err, "an unexpected section");
    if (rule->size && section->bytes != (uint64_t)section->n * rule->size)
        return stream_broken(err, "the size of a section");
    g->seen |= BIT(section->kind) | (rule->has_nodes ? HAS_NODES : 0);
    return rule->read(g, section, err);
}

static int read_end(struct ingest *g, const struct wire_section *section, snap_error *err) {
    const struct wire_end *end;
    if (section->bytes != sizeof *end || (g->seen & EARLY) != EARLY)
        return stream_broken(err, "an unexpected end");
    SNAP_TRY(stream_take(&g->in, sizeof *end, (const void **)&end, err));
    if (end->n_blocks != g->heap.n_blocks || end->block_bytes != g->block_bytes)
        return stream_broken(err, "blocks are missing");
    if (g->in.is_spooled)
        SNAP_TRY(snap_writer_meta_number(g->writer, SNAP_META_PAUSE_NS, end->pause_ns, err));
    return end_sources(g, (uint64_t)g->heap.n_nodes + 1, err);
}

static int read_stream(struct ingest *g, snap_error *err) {
    uint32_t flags = 0;
    SNAP_TRY(stream_open(&g->in, g->in.fd, err));
    SNAP_TRY(read_hello(g, &flags, err));
    SNAP_TRY(read_target(g, err));
    if (!g->options->no_symbols) {
        SNAP_TRY(symbolizer_new(&g->symbolizer, NULL, err));
        g->heap.symbolizer = g->symbolizer;
    }
    if (flags & WIRE_SPOOL)
        SNAP_TRY(stream_spool(&g->in, &g->heap, err));
    for (;;) {
        struct wire_section section;
        SNAP_TRY(stream_section(&g->in, &section, err));
        if (section.kind == WIRE_END)
            return read_end(g, &section, err);
        SNAP_TRY(read_section(g, &section, err));
    }
}

/* --- rows that no pass changes --- */

static int write_modules(struct ingest *g, snap_error *err) {
    for (uint32_t i = 0; i < g->heap.n_modules; i++) {
        const struct heap_module *const m = &g->heap.modules[i];
        SNAP_TRY(snap_writer_module(g->writer, m->path, m->build_id, m->start, m->end, m->bias,
                                    m->flags, NULL, err));
    }
    return 0;
}

static int write_threads(struct ingest *g, snap_error *err) {
    for (uint32_t i = 0; i < g->heap.n_threads; i++) {
        const struct wire_thread *const t = &g->threads[i];
        uint64_t row[SNAP_COLUMNS_MAX] = {0};
        uint32_t name = 0;
        SNAP_TRY(
            snap_writer_string_n(g->writer, t->name, strnlen(t->name, sizeof t->name), &name, err));
        row[SNAP_THRD_COL_TID] = t->tid;
        row[SNAP_THRD_COL_NAME] = name;
        row[SNAP_THRD_COL_FLAGS] = t->flags;
        row[SNAP_THRD_COL_SP] = t->sp;
        row[SNAP_THRD_COL_STACK_LOW] = t->stack_low;
        row[SNAP_THRD_COL_STACK_HIGH] = t->stack_high;
        row[SNAP_THRD_COL_STACK] = t->stack;
        SNAP_TRY(snap_writer_row(g->writer, SNAP_TABLE_THRD, row, NULL, err));
    }
    return 0;
}

static int write_regions(struct ingest *g, snap_error *err) {
    for (uint32_t i = 0; i < g->n_regions; i++) {
        const struct wire_region *const w = &g->regions[i];
        uint64_t row[SNAP_COLUMNS_MAX] = {0};
        row[SNAP_REGN_COL_ADDRESS] = w->address;
        row[SNAP_REGN_COL_SIZE] = w->size;
        row[SNAP_REGN_COL_KIND] = w->kind;
        row[SNAP_REGN_COL_PROTECTION] = w->protection;
        SNAP_TRY(output_string(&g->output, w->reserved, &row[SNAP_REGN_COL_NAME], err));
        row[SNAP_REGN_COL_STACK] = w->stack;
        row[SNAP_REGN_COL_BIRTH] = w->birth;
        row[SNAP_REGN_COL_RESIDENT] = w->resident;
        row[SNAP_REGN_COL_FLAGS] = w->flags;
        SNAP_TRY(snap_writer_row(g->writer, SNAP_TABLE_REGN, row, NULL, err));
    }
    return 0;
}

static int write_pools(struct ingest *g, snap_error *err) {
    for (uint32_t i = 0; i < g->n_pools; i++) {
        const struct wire_pool *const p = &g->pools[i];
        uint64_t row[SNAP_COLUMNS_MAX] = {0};
        row[SNAP_POOL_COL_KIND] = p->kind;
        row[SNAP_POOL_COL_DOMAIN] = p->domain;
        row[SNAP_POOL_COL_DEVICE] = p->device;
        SNAP_TRY(output_string(&g->output, p->name, &row[SNAP_POOL_COL_NAME], err));
        row[SNAP_POOL_COL_ADDRESS] = p->address;
        row[SNAP_POOL_COL_SIZE] = p->size;
        row[SNAP_POOL_COL_LIVE] = p->live;
        row[SNAP_POOL_COL_CACHED] = p->cached;
        row[SNAP_POOL_COL_LARGEST_GAP] = p->largest_gap;
        row[SNAP_POOL_COL_MODULE] = p->module;
        row[SNAP_POOL_COL_STACK] = p->stack;
        row[SNAP_POOL_COL_BIRTH] = p->birth;
        row[SNAP_POOL_COL_PARENT] = p->parent;
        row[SNAP_POOL_COL_FLAGS] = p->flags;
        SNAP_TRY(snap_writer_row(g->writer, SNAP_TABLE_POOL, row, NULL, err));
    }
    return 0;
}

static int write_resources(struct ingest *g, snap_error *err) {
    for (uint32_t i = 0; i < g->n_resources; i++) {
        const struct wire_resource *const r = &g->resources[i];
        uint64_t row[SNAP_COLUMNS_MAX] = {0};
        row[SNAP_RSRC_COL_KIND] = r->kind;
        row[SNAP_RSRC_COL_HANDLE] = r->handle;
        SNAP_TRY(output_string(&g->output, r->name, &row[SNAP_RSRC_COL_NAME], err));
        row[SNAP_RSRC_COL_MODULE] = r->module;
        row[SNAP_RSRC_COL_STACK] = r->stack;
        row[SNAP_RSRC_COL_BIRTH] = r->birth;
        row[SNAP_RSRC_COL_DEVICE] = r->device;
        row[SNAP_RSRC_COL_SIZE] = r->size;
        row[SNAP_RSRC_COL_FLAGS] = r->flags;
        row[SNAP_RSRC_COL_THREAD] = r->thread;
        SNAP_TRY(snap_writer_row(g->writer, SNAP_TABLE_RSRC, row, NULL, err));
    }
    return 0;
}

static int write_process(struct ingest *g, snap_error *err) {
    SNAP_TRY(write_modules(g, err));
    SNAP_TRY(write_threads(g, err));
    SNAP_TRY(write_regions(g, err));
    SNAP_TRY(write_pools(g, err));
    return write_resources(g, err);
}

/* --- the whole --- */

static void progress(const struct ingest *g) {
    if (g->options->progress)
        g->options->progress(g->options->context);
}

static int compare_roots(const void *a, const void *b, void *context) {
    const struct heap_root *const roots = context;
    const uint32_t i = *(const uint32_t *)a, k = *(const uint32_t *)b;
    const struct heap_root *const x = &roots[i], *const y = &roots[k];
    if (x->kind != y->kind)
        return x->kind < y->kind ? -1 : 1;
    if (x->thread != y->thread)
        return x->thread < y->thread ? -1 : 1;
    if (x->address != y->address)
        return x->address < y->address ? -1 : 1;
    return i < k ? -1 : 1;
}

/* Brings the roots into their order; hooks refer to them. */
static int sort_roots(struct heap *h, snap_error *err) {
    uint32_t sorted = 1;
    const uint32_t pair[] = {0, 1};
    while (sorted < h->n_roots && compare_roots(&pair[0], &pair[1], &h->roots[sorted - 1]) < 0)
        sorted++;
    if (sorted >= h->n_roots)
        return 0;
    uint32_t *order = NULL, *rank = NULL;
    struct heap_root *roots = NULL;
    size_t order_capacity = 0, rank_capacity = 0, roots_capacity = 0;
    if (heap_grow(h, &order, &order_capacity, h->n_roots, sizeof *order) < 0 ||
        heap_grow(h, &rank, &rank_capacity, h->n_roots, sizeof *rank) < 0 ||
        heap_grow(h, &roots, &roots_capacity, h->n_roots, sizeof *roots) < 0)
        return no_memory(err);
    for (uint32_t i = 0; i < h->n_roots; i++)
        order[i] = i;
    qsort_r(order, h->n_roots, sizeof *order, compare_roots, h->roots);
    for (uint32_t i = 0; i < h->n_roots; i++) {
        roots[i] = h->roots[order[i]];
        rank[order[i]] = i + 1;
    }
    for (uint32_t i = 0; i < h->n_hooks; i++)
        if (h->hooks[i].root)
            h->hooks[i].root = rank[h->hooks[i].root - 1];
    heap_drop(h, &h->roots);
    heap_drop(h, &order);
    heap_drop(h, &rank);
    h->roots = roots;
    return 0;
}

static int complete(struct ingest *g, snap_error *err) {
    struct heap *const h = &g->heap;
    SNAP_TRY(frames_collect(&g->frames, h, err));
    for (uint32_t i = 0; i < g->n_pools; i++)
        if (!g->pools[i].module)
            g->pools[i].module = frames_owner(&g->frames, h, g->pools[i].stack);
    for (uint32_t i = 0; i < g->n_resources; i++)
        if (!g->resources[i].module)
            g->resources[i].module = frames_owner(&g->frames, h, g->resources[i].stack);
    SNAP_TRY(device_pass(h, &g->frames, err));
    for (uint32_t i = 0; i < h->n_roots; i++)
        h->roots[i].frame = frames_managed(&g->frames, h, h->roots[i].frame);
    SNAP_TRY(sort_roots(h, err));
    SNAP_TRY(frames_name(&g->frames, h, g->writer, g->options->progress, g->options->context, err));
    SNAP_TRY(vtable_pass(h, err));
    progress(g);
    SNAP_TRY(typing_pass(h, err));
    progress(g);
    SNAP_TRY(naming_pass(h, err));
    SNAP_TRY(frames_type_sites(&g->frames, h, err));
    progress(g);
    SNAP_TRY(hook_pass(h, err));
    progress(g);
    return heap_failed(h) ? no_memory(err) : 0;
}

static int run(struct ingest *g, snap_error *err) {
    SNAP_TRY(read_stream(g, err));
    SNAP_TRY(write_process(g, err));
    SNAP_TRY(complete(g, err));
    SNAP_TRY(output_heap(&g->output, g->options->progress, g->options->context, err));
    SNAP_TRY(snap_writer_finish(g->writer, err));
    return destination_commit(&g->destination, err);
}

int ingest(int fd, const struct ingest_options *options, char **out_path, snap_error *err) {
    static const struct ingest_options no_options;
    struct ingest g = {.options = options ? options : &no_options};
    g.in.fd = fd;
    g.in.progress = g.options->progress;
    g.in.context = g.options->context;
    const int result = run(&g, err);
    snap_writer_close(g.writer);
    stream_release(&g.in);
    output_release(&g.output);
    frames_release(&g.frames);
    heap_release(&g.heap);
    symbolizer_free(g.symbolizer);
    if (result == 0) {
        *out_path = g.destination.path;
        g.destination.path = NULL;
    }
    destination_release(&g.destination);
    return result;
}
