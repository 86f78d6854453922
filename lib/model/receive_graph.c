/* Reads the graph: nodes, what their memory holds, references, roots and callbacks. Every id is
 * looked up, every offset lies in its node, and what the heap keeps sorted has to come sorted. */
#include "model/ingest_state.h"

#include <string.h>

#include "base/err.h"

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

int receive_blocks(struct ingest *g, const struct wire_section *section, snap_error *err) {
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
    SNAP_TRY(receive_type(g, n->type, &type, err));
    SNAP_TRY(receive_string(g, n->label, &label, err));
    if (n->stack > g->frames.n_stacks || n->thread > h->n_threads || n->pool > g->n_pools ||
        n->kind > UINT8_MAX || n->domain == 0 || n->domain > UINT8_MAX)
        return stream_broken(err, "a node");
    SNAP_TRY(grow_nodes(g, 1, err));
    SNAP_TRY(GROW(g, h->domain, domain, k + 1u));
    SNAP_TRY(GROW(g, h->objects, objects, object + 1u));
    SNAP_TRY(GROW(g, h->large_objects, large_objects, h->n_large_objects + (size_t)1));
    h->address[k] = n->address;
    h->size[k] = n->size;
    h->birth[k] = n->birth;
    h->stack[k] = n->stack;
    h->type[k] = type;
    h->flags[k] = (n->flags & 0xffffff) | (uint32_t)n->kind << 24;
    h->domain[k] = (uint8_t)n->domain;
    h->large_objects[h->n_large_objects++] = (struct heap_object){.external = n->external,
                                                                  .refcount = n->refcount,
                                                                  .hidden = n->hidden,
                                                                  .thread = n->thread,
                                                                  .device = n->device,
                                                                  .pool = n->pool,
                                                                  .label = label};
    h->objects[object].large = h->n_large_objects;
    h->n_nodes++;
    return 0;
}

/* Domains of blocks, before the first other node. */
static int begin_domains(struct ingest *g, uint32_t n, snap_error *err) {
    struct heap *const h = &g->heap;
    if (h->n_nodes > h->n_blocks || n == 0)
        return 0;
    SNAP_TRY(GROW(g, h->domain, domain, h->n_nodes + (size_t)1));
    memset(h->domain, SNAP_DOMAIN_HOST, h->n_nodes);
    return 0;
}

static int read_object(struct ingest *g, const struct wire_object *o, snap_error *err) {
    struct heap *const h = &g->heap;
    const uint32_t k = h->n_nodes;
    if (o->label) {
        const struct wire_node n = {.address = o->address,
                                    .size = o->size,
                                    .birth = o->birth,
                                    .external = o->external,
                                    .refcount = o->refcount,
                                    .hidden = o->hidden,
                                    .type = o->type,
                                    .stack = o->stack,
                                    .flags = o->flags & 0xffffff,
                                    .label = o->label,
                                    .domain = SNAP_DOMAIN_PYTHON,
                                    .kind = (uint16_t)(o->flags >> 24)};
        return read_node(g, &n, err);
    }
    if (o->stack > g->frames.n_stacks || o->type > g->n_types)
        return stream_broken(err, "an object");
    h->address[k] = o->address;
    h->size[k] = o->size;
    if (o->birth) /* where all is 0, memory is never touched */
        h->birth[k] = o->birth;
    if (o->stack)
        h->stack[k] = o->stack;
    h->type[k] = o->type ? g->types[o->type - 1] : 0;
    h->flags[k] = o->flags;
    h->domain[k] = SNAP_DOMAIN_PYTHON;
    h->objects[k - h->n_blocks] =
        (struct heap_small){.external = o->external, .refcount = o->refcount, .hidden = o->hidden};
    h->n_nodes++;
    return 0;
}

int receive_objects(struct ingest *g, const struct wire_section *section, snap_error *err) {
    struct heap *const h = &g->heap;
    SNAP_TRY(begin_domains(g, section->n, err));
    for (uint32_t left = section->n, n; left > 0; left -= n) {
        const struct wire_object *w;
        SNAP_TRY(stream_records(&g->in, sizeof *w, left, (const void **)&w, &n, err));
        SNAP_TRY(grow_nodes(g, n, err));
        SNAP_TRY(GROW(g, h->domain, domain, h->n_nodes + (size_t)n));
        SNAP_TRY(GROW(g, h->objects, objects, h->n_nodes - h->n_blocks + (size_t)n));
        for (uint32_t i = 0; i < n; i++)
            SNAP_TRY(read_object(g, &w[i], err));
    }
    return 0;
}

int receive_nodes(struct ingest *g, const struct wire_section *section, snap_error *err) {
    SNAP_TRY(begin_domains(g, section->n, err));
    for (uint32_t left = section->n, n; left > 0; left -= n) {
        const struct wire_node *w;
        SNAP_TRY(stream_records(&g->in, sizeof *w, left, (const void **)&w, &n, err));
        for (uint32_t i = 0; i < n; i++)
            SNAP_TRY(read_node(g, &w[i], err));
    }
    return 0;
}

int receive_node_types(struct ingest *g, const struct wire_section *section, snap_error *err) {
    struct heap *const h = &g->heap;
    for (uint32_t left = section->n, n; left > 0; left -= n) {
        const struct wire_node_type *w;
        SNAP_TRY(stream_records(&g->in, sizeof *w, left, (const void **)&w, &n, err));
        for (uint32_t i = 0; i < n; i++) {
            if (w[i].node == 0 || w[i].node > h->n_nodes)
                return stream_broken(err, "a node's type");
            SNAP_TRY(receive_type(g, w[i].type, &h->type[w[i].node - 1], err));
        }
    }
    return 0;
}

/* One more column of blocks, if there is none yet. */
static int begin_block_column(struct ingest *g, uint32_t **column, size_t *capacity,
                              snap_error *err) {
    const size_t n = (size_t)g->heap.n_blocks + 1;
    if (*column)
        return 0;
    return heap_grow(&g->heap, column, capacity, n, sizeof **column) < 0 ? stream_no_memory(err)
                                                                         : 0;
}

int receive_node_labels(struct ingest *g, const struct wire_section *section, snap_error *err) {
    struct heap *const h = &g->heap;
    SNAP_TRY(begin_block_column(g, &h->block_label, &g->capacity.block_label, err));
    for (uint32_t left = section->n, n; left > 0; left -= n) {
        const struct wire_node_label *w;
        SNAP_TRY(stream_records(&g->in, sizeof *w, left, (const void **)&w, &n, err));
        for (uint32_t i = 0; i < n; i++) {
            if (w[i].node == 0 || w[i].node > h->n_blocks)
                return stream_broken(err, "a block's label");
            SNAP_TRY(receive_string(g, w[i].label, &h->block_label[w[i].node - 1], err));
        }
    }
    return 0;
}

int receive_node_pools(struct ingest *g, const struct wire_section *section, snap_error *err) {
    struct heap *const h = &g->heap;
    SNAP_TRY(begin_block_column(g, &h->block_pool, &g->capacity.block_pool, err));
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

int receive_frames(struct ingest *g, const struct wire_section *section, snap_error *err) {
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

int receive_tls(struct ingest *g, const struct wire_section *section, snap_error *err) {
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

int receive_vtables(struct ingest *g, const struct wire_section *section, snap_error *err) {
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
        h->vtables[h->n_vtables++] =
            (struct heap_vtable){.address = w.address,
                                 .type_info = w.type_info,
                                 .type_info_vtable = w.type_info_vtable,
                                 .offset_to_top = w.offset_to_top,
                                 .name = receive_text(g, text, w.name_len)};
        SNAP_TRY(stream_pad(&g->in, w.name_len, err));
    }
    return heap_failed(h) ? stream_no_memory(err) : 0;
}

/* Whether the word at an offset lies in a node. */
static int has_word(const struct heap *h, uint32_t node, uint64_t offset) {
    return node > 0 && node <= h->n_nodes && h->size[node - 1] >= 8 &&
           offset <= h->size[node - 1] - 8;
}

int receive_vptrs(struct ingest *g, const struct wire_section *section, snap_error *err) {
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

int receive_functions(struct ingest *g, const struct wire_section *section, snap_error *err) {
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

int receive_codes(struct ingest *g, const struct wire_section *section, snap_error *err) {
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
static int end_of_sources(struct ingest *g, uint64_t source, snap_error *err) {
    struct heap *const h = &g->heap;
    SNAP_TRY(GROW(g, h->first_edge, first_edge, h->n_nodes + 1u));
    if (h->n_edges == 0) /* all is 0 as it came: need not be touched */
        g->last_source = (uint32_t)source;
    while (g->last_source < source)
        h->first_edge[g->last_source++] = h->n_edges;
    return 0;
}

int receive_edges(struct ingest *g, const struct wire_section *section, snap_error *err) {
    struct heap *const h = &g->heap;
    for (uint32_t left = section->n, n; left > 0; left -= n) {
        const struct wire_edge *w;
        SNAP_TRY(stream_records(&g->in, sizeof *w, left, (const void **)&w, &n, err));
        if (h->n_edges + n > SNAP_ROWS_MAX)
            return err_set(err, SNAP_E_LIMIT, "more references than a snapshot can hold");
        SNAP_TRY(GROW(g, h->edges, edges, h->n_edges + n));
        const uint32_t n_nodes = h->n_nodes;
        uint32_t source = g->last_source;
        uint64_t last_word = 0, words = 0;
        if (source) {
            const uint64_t first = h->first_edge[source - 1];
            last_word = h->n_edges > first ? h->edges[h->n_edges - 1].source_word + 1u : 0;
            words = h->size[source - 1] / 8;
        }
        struct heap_edge *to = h->edges + h->n_edges;
        for (const struct wire_edge *const end = w + n; w < end; w++, to++) {
            if (w->source != source) {
                if (w->source < source || w->source == 0 || w->source > n_nodes)
                    return stream_broken(err, "the source of a reference");
                h->n_edges = (uint64_t)(to - h->edges);
                source = w->source;
                SNAP_TRY(end_of_sources(g, source, err));
                last_word = 0;
                words = h->size[source - 1] / 8;
            }
            /* From last_word to words - 1, which is never less; and from 1 to n_nodes. */
            if (w->source_word - last_word >= words - last_word || w->target - 1 >= n_nodes)
                return stream_broken(err, "a reference");
            last_word = w->source_word + 1u;
            *to = (struct heap_edge){.target = w->target,
                                     .source_word = w->source_word,
                                     .target_offset = w->target_offset};
        }
        h->n_edges = (uint64_t)(to - h->edges);
    }
    return 0;
}

/* The same of references by name. */
static int end_of_referrers(struct ingest *g, uint64_t source, snap_error *err) {
    struct heap *const h = &g->heap;
    SNAP_TRY(GROW(g, h->first_reference, first_reference, h->n_nodes + (size_t)1));
    while (g->last_referrer < source)
        h->first_reference[g->last_referrer++] = (uint32_t)h->n_references;
    return 0;
}

/* All references are there. */
int receive_end_of_references(struct ingest *g, snap_error *err) {
    const uint64_t end = (uint64_t)g->heap.n_nodes + 1;
    SNAP_TRY(end_of_sources(g, end, err));
    return end_of_referrers(g, end, err);
}

/* What a reference is called; its label is one of the stream's strings, still. */
static int receive_way(struct ingest *g, struct heap_way way, uint32_t *out, snap_error *err) {
    SNAP_TRY(receive_string(g, way.label, &way.label, err));
    return heap_way_add(&g->heap, &way, out) < 0 ? stream_no_memory(err) : 0;
}

int receive_ways(struct ingest *g, const struct wire_section *section, snap_error *err) {
    for (uint32_t left = section->n, n; left > 0; left -= n) {
        const struct wire_way *w;
        SNAP_TRY(stream_records(&g->in, sizeof *w, left, (const void **)&w, &n, err));
        if (n > WIRE_SOURCE - WIRE_WAYS - g->n_ways)
            return stream_broken(err, "the number of names of references");
        SNAP_TRY(GROW(g, g->ways, ways, (size_t)g->n_ways + n));
        for (uint32_t i = 0; i < n; i++, w++) {
            const struct heap_way way = {.source_offset = w->source_offset,
                                         .target_offset = w->target_offset,
                                         .label = w->label,
                                         .kind = w->kind,
                                         .flags = w->flags};
            SNAP_TRY(receive_way(g, way, &g->ways[g->n_ways], err));
            g->n_ways++;
        }
    }
    return 0;
}

int receive_links(struct ingest *g, const struct wire_section *section, snap_error *err) {
    struct heap *const h = &g->heap;
    for (uint32_t left = section->n, n; left > 0; left -= n) {
        const struct wire_link *w;
        SNAP_TRY(stream_records(&g->in, sizeof *w, left, (const void **)&w, &n, err));
        if (h->n_references + n > SNAP_ROWS_MAX)
            return err_set(err, SNAP_E_LIMIT, "more references than a snapshot can hold");
        SNAP_TRY(GROW(g, h->references, references, h->n_references + n));
        const uint32_t n_nodes = h->n_nodes, n_ways = g->n_ways;
        struct heap_reference *to = h->references + h->n_references;
        for (const struct wire_link *const end = w + n; w < end; w++) {
            if (w->target - 1 >= n_nodes) /* 0 is none, too */
                return stream_broken(err, "a reference of an object");
            if (w->way == WIRE_SOURCE) {
                h->n_references = (uint64_t)(to - h->references);
                if (w->target < g->last_referrer)
                    return stream_broken(err, "the source of a reference");
                SNAP_TRY(end_of_referrers(g, w->target, err));
                continue;
            }
            if (w->way >= WIRE_WAYS && w->way - WIRE_WAYS >= n_ways)
                return stream_broken(err, "the name of a reference");
            *to++ = (struct heap_reference){
                w->target, w->way < WIRE_WAYS ? w->way : g->ways[w->way - WIRE_WAYS]};
        }
        h->n_references = (uint64_t)(to - h->references);
        if (h->n_references > 0 && g->last_referrer == 0)
            return stream_broken(err, "a reference without a source");
    }
    return 0;
}

int receive_references(struct ingest *g, const struct wire_section *section, snap_error *err) {
    struct heap *const h = &g->heap;
    for (uint32_t left = section->n, n; left > 0; left -= n) {
        const struct wire_reference *w;
        SNAP_TRY(stream_records(&g->in, sizeof *w, left, (const void **)&w, &n, err));
        if (h->n_references + n > SNAP_ROWS_MAX)
            return err_set(err, SNAP_E_LIMIT, "more references than a snapshot can hold");
        SNAP_TRY(GROW(g, h->references, references, h->n_references + n));
        for (uint32_t i = 0; i < n; i++, w++) {
            if (w->source == 0 || w->source > h->n_nodes || w->target == 0 ||
                w->target > h->n_nodes || w->source < g->last_referrer)
                return stream_broken(err, "a reference by name");
            SNAP_TRY(end_of_referrers(g, w->source, err));
            struct heap_reference *const r = &h->references[h->n_references];
            r->target = w->target;
            const struct heap_way way = {.source_offset = w->source_offset,
                                         .target_offset = w->target_offset,
                                         .label = w->label,
                                         .kind = w->kind,
                                         .flags = w->flags};
            SNAP_TRY(receive_way(g, way, &r->way, err));
            h->n_references++;
        }
    }
    return 0;
}

int receive_roots(struct ingest *g, const struct wire_section *section, snap_error *err) {
    struct heap *const h = &g->heap;
    for (uint32_t left = section->n, n; left > 0; left -= n) {
        const struct wire_root *w;
        SNAP_TRY(stream_records(&g->in, sizeof *w, left, (const void **)&w, &n, err));
        if (n > IDS_MAX - h->n_roots)
            return stream_broken(err, "the number of roots");
        SNAP_TRY(GROW(g, h->roots, roots, (size_t)h->n_roots + n));
        for (uint32_t i = 0; i < n; i++, w++) {
            struct heap_root *const r = &h->roots[h->n_roots];
            if (w->target == 0 || w->target > receive_n_nodes(g) || w->thread > h->n_threads ||
                w->frame > g->frames.n_managed || w->kind == 0)
                return stream_broken(err, "a root");
            *r = (struct heap_root){.address = w->address,
                                    .target_offset = w->target_offset,
                                    .target = w->target,
                                    .kind = w->kind,
                                    .flags = w->flags,
                                    .thread = w->thread,
                                    .frame = w->frame};
            SNAP_TRY(receive_string(g, w->name, &r->name, err));
            SNAP_TRY(receive_string(g, w->label, &r->label, err));
            if (r->kind == SNAP_ROOT_GLOBAL || r->kind == SNAP_ROOT_TLS) {
                if (g->is_final)
                    return stream_broken(err, "a root of an image's data");
                r->module = heap_module_at(h, r->address);
            }
            h->n_roots++;
        }
    }
    return 0;
}

static int read_hook(struct ingest *g, const struct wire_hook *w, struct heap_hook *k,
                     snap_error *err) {
    const struct heap *const h = &g->heap;
    const uint32_t n_nodes = receive_n_nodes(g);
    if (w->holder > n_nodes || w->argument > n_nodes || w->stack > g->frames.n_stacks ||
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
    SNAP_TRY(receive_string(g, w->registry, &k->registry, err));
    SNAP_TRY(receive_string(g, w->callback, &k->callback, err));
    return receive_string(g, w->file, &k->file, err);
}

int receive_hooks(struct ingest *g, const struct wire_section *section, snap_error *err) {
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
