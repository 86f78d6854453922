/* Reads what the stream says about the process, and writes it: metadata, images, stacks, threads,
 * mappings, names, types, pools, resources. Every record is checked against what came before it. */
#include "model/ingest_state.h"

#include <stdio.h>
#include <string.h>

#include "base/err.h"
#include "symbol/symbol.h"

#define BUILD_ID_MAX 64u

/* --- ids --- */

int receive_string(const struct ingest *g, uint32_t id, uint32_t *out, snap_error *err) {
    if (id > g->n_strings)
        return stream_broken(err, "a string that is not there");
    *out = id ? g->strings[id - 1] : 0;
    return 0;
}

int receive_type(const struct ingest *g, uint32_t id, uint32_t *out, snap_error *err) {
    if (id > g->n_types)
        return stream_broken(err, "a type that is not there");
    *out = id ? g->types[id - 1] : 0;
    return 0;
}

int receive_meta(struct ingest *g, const struct wire_section *section, snap_error *err) {
    if (!g->writer) {
        SNAP_TRY(destination_open(&g->destination, &g->writer, err));
        g->output.writer = g->writer;
        g->output.heap = &g->heap;
    }
    return destination_meta(&g->in, section->n, g->writer, err);
}

const char *receive_text(struct ingest *g, const char *text, size_t length) {
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
                              .path = receive_text(g, text, w.path_len),
                              .flags = w.flags};
    if (*build_id)
        m->build_id = receive_text(g, build_id, strlen(build_id));
    if (g->symbolizer)
        SNAP_TRY(symbolizer_module(g->symbolizer, m->path, m->build_id, &m->symbols, err));
    return stream_pad(&g->in, size, err);
}

int receive_modules(struct ingest *g, const struct wire_section *section, snap_error *err) {
    struct heap *const h = &g->heap;
    for (uint32_t i = 0; i < section->n; i++) {
        SNAP_TRY(GROW(g, h->modules, modules, i + 1u));
        SNAP_TRY(read_module(g, &h->modules[i], i, err));
        h->n_modules++;
    }
    return heap_failed(h) ? stream_no_memory(err) : 0;
}

int receive_stacks(struct ingest *g, const struct wire_section *section, snap_error *err) {
    struct frames *const f = &g->frames;
    if (section->n > IDS_MAX)
        return stream_broken(err, "the number of stacks");
    for (uint32_t left = section->n, n; left > 0; left -= n) {
        const struct wire_stack *s;
        SNAP_TRY(stream_records(&g->in, sizeof *s, left, (const void **)&s, &n, err));
        if (heap_grow(&g->heap, &f->stacks, &f->stacks_capacity, (size_t)f->n_stacks + n,
                      sizeof *s) < 0)
            return stream_no_memory(err);
        for (uint32_t i = 0; i < n; i++) {
            if (s[i].parent > f->n_stacks ||
                (s[i].flags & WIRE_STACK_MANAGED && s[i].pc > f->n_managed))
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

int receive_threads(struct ingest *g, const struct wire_section *section, snap_error *err) {
    for (uint32_t i = 0; i < section->n; i++)
        SNAP_TRY(read_thread(g, err));
    return heap_failed(&g->heap) ? stream_no_memory(err) : 0;
}

int receive_regions(struct ingest *g, const struct wire_section *section, snap_error *err) {
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
    return heap_failed(&g->heap) ? stream_no_memory(err) : 0;
}

int receive_strings(struct ingest *g, const struct wire_section *section, snap_error *err) {
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
    return heap_failed(&g->heap) ? stream_no_memory(err) : 0;
}

int receive_managed_frames(struct ingest *g, const struct wire_section *section, snap_error *err) {
    struct frames *const f = &g->frames;
    for (uint32_t i = 0; i < section->n; i++) {
        const struct wire_managed_frame *record;
        SNAP_TRY(stream_take(&g->in, sizeof *record, (const void **)&record, err));
        struct wire_managed_frame m = *record;
        SNAP_TRY(receive_string(g, m.function, &m.function, err));
        SNAP_TRY(receive_string(g, m.file, &m.file, err));
        if (m.kind == SNAP_FRAM_NATIVE || m.kind > UINT8_MAX || f->n_managed == IDS_MAX)
            return stream_broken(err, "a managed frame");
        if (heap_grow(&g->heap, &f->managed, &f->managed_capacity, f->n_managed + 1u, sizeof m) < 0)
            return stream_no_memory(err);
        f->managed[f->n_managed++] = m;
    }
    return 0;
}

int receive_types(struct ingest *g, const struct wire_section *section, snap_error *err) {
    struct heap *const h = &g->heap;
    for (uint32_t i = 0; i < section->n; i++) {
        const struct wire_type *t;
        uint32_t name = 0;
        SNAP_TRY(stream_take(&g->in, sizeof *t, (const void **)&t, err));
        SNAP_TRY(receive_string(g, t->name, &name, err));
        if (!name || t->module > h->n_modules || g->n_types == IDS_MAX)
            return stream_broken(err, "a type");
        SNAP_TRY(GROW(g, g->types, types, g->n_types + 1u));
        g->types[g->n_types] =
            heap_type_add(h, heap_text(h, name), t->source, t->size, t->flags, t->module);
        if (!g->types[g->n_types++])
            return stream_no_memory(err);
    }
    return 0;
}

int receive_pools(struct ingest *g, const struct wire_section *section, snap_error *err) {
    for (uint32_t i = 0; i < section->n; i++) {
        const struct wire_pool *p;
        SNAP_TRY(stream_take(&g->in, sizeof *p, (const void **)&p, err));
        if (p->module > g->heap.n_modules || p->stack > g->frames.n_stacks ||
            p->parent > g->n_pools || g->n_pools == IDS_MAX)
            return stream_broken(err, "a pool");
        SNAP_TRY(GROW(g, g->pools, pools, g->n_pools + 1u));
        struct wire_pool *const pool = &g->pools[g->n_pools];
        *pool = *p;
        SNAP_TRY(receive_string(g, p->name, &pool->name, err));
        g->n_pools++;
    }
    return 0;
}

int receive_resources(struct ingest *g, const struct wire_section *section, snap_error *err) {
    for (uint32_t i = 0; i < section->n; i++) {
        const struct wire_resource *r;
        SNAP_TRY(stream_take(&g->in, sizeof *r, (const void **)&r, err));
        if (r->module > g->heap.n_modules || r->stack > g->frames.n_stacks ||
            r->thread > g->heap.n_threads)
            return stream_broken(err, "a resource");
        SNAP_TRY(GROW(g, g->resources, resources, g->n_resources + 1u));
        struct wire_resource *const resource = &g->resources[g->n_resources];
        *resource = *r;
        SNAP_TRY(receive_string(g, r->name, &resource->name, err));
        g->n_resources++;
    }
    return 0;
}

int receive_write_completeness(struct ingest *g, snap_error *err) {
    uint64_t n_untyped = 0;
    for (uint32_t i = 0; i < g->heap.n_modules; i++)
        n_untyped += (g->heap.modules[i].flags & SNAP_MODS_FLAG_TYPES_UNREAD) != 0;
    return n_untyped ? snap_writer_meta_named(g->writer, SNAP_META_COMPLETENESS, "untyped_modules",
                                              n_untyped, err)
                     : 0;
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

int receive_write(struct ingest *g, snap_error *err) {
    SNAP_TRY(write_modules(g, err));
    SNAP_TRY(write_threads(g, err));
    SNAP_TRY(write_regions(g, err));
    SNAP_TRY(write_pools(g, err));
    return write_resources(g, err);
}
