/* From the capture stream to a file: checks records, fills the heap with them, has the passes find
 * out names and types, and has the rows written.
 *
 * Invariant: the stream comes from a process that may die at any byte or have been damaged by the
 * program it lived in, so every size, count, id and order is checked before use; an array grows
 * with the records that came, never with a number in a head. The stream is taken to its end before
 * anything slow is done, so that the copy of the target can go; but what is final as it comes is
 * written at once (receive_final.c), while the copy is at work on what follows. Reads no memory of
 * the target and does not know the file format. */
#include "model/ingest_state.h"

#include <stdlib.h>

#include "base/err.h"
#include "model/device.h"
#include "symbol/symbol.h"

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
    const int result = directory ? heap_init(&g->heap, directory, g->options->memory_bytes, err)
                                 : stream_no_memory(err);
    free(directory);
    return result;
}

/* --- sections --- */

#define BIT(kind) (1u << (kind))
#define EARLY (BIT(WIRE_META) | BIT(WIRE_MODULE) | BIT(WIRE_STACK) | BIT(WIRE_THREAD))
#define NODES (BIT(WIRE_NODE) | BIT(WIRE_OBJECT))

#define HAS_NODES BIT(0) /* as a kind: a section referred to nodes */

/* What is read how, and what must have been there before, or must not. */
static const struct section_rule {
    int (*read)(struct ingest *g, const struct wire_section *section, snap_error *err);
    uint32_t size;   /* of a record; 0: varies */
    uint32_t after;  /* kinds */
    uint32_t before; /* likewise */
    uint8_t once, has_nodes;
} rules[WIRE_END] = {
    [WIRE_META] = {.read = receive_meta},
    [WIRE_MODULE] = {.read = receive_modules, .once = 1, .after = BIT(WIRE_META)},
    [WIRE_STACK] = {.read = receive_stacks,
                    .size = sizeof(struct wire_stack),
                    .once = 1,
                    .after = BIT(WIRE_META)},
    [WIRE_THREAD] = {.read = receive_threads,
                     .size = sizeof(struct wire_thread),
                     .once = 1,
                     .after = BIT(WIRE_META) | BIT(WIRE_STACK)},
    [WIRE_REGION] = {.read = receive_regions, .once = 1, .after = BIT(WIRE_META) | BIT(WIRE_STACK)},
    [WIRE_FINAL] = {.read = receive_final,
                    .once = 1,
                    .after = EARLY,
                    .before = HAS_NODES | NODES | BIT(WIRE_BLOCK) | BIT(WIRE_POOL)},
    [WIRE_BLOCK] = {.read = receive_blocks,
                    .size = sizeof(struct wire_block),
                    .after = EARLY,
                    .before = HAS_NODES},
    [WIRE_STRING] = {.read = receive_strings, .after = BIT(WIRE_META)},
    [WIRE_MANAGED_FRAME] = {.read = receive_managed_frames,
                            .size = sizeof(struct wire_managed_frame),
                            .after = BIT(WIRE_META)},
    [WIRE_TYPE] = {.read = receive_types, .size = sizeof(struct wire_type), .after = EARLY},
    [WIRE_POOL] = {.read = receive_pools, .size = sizeof(struct wire_pool), .after = EARLY},
    [WIRE_NODE] = {.read = receive_nodes,
                   .size = sizeof(struct wire_node),
                   .after = EARLY,
                   .before = HAS_NODES},
    [WIRE_OBJECT] = {.read = receive_objects,
                     .size = sizeof(struct wire_object),
                     .after = EARLY,
                     .before = HAS_NODES},
    [WIRE_NODE_TYPE] = {.read = receive_node_types,
                        .size = sizeof(struct wire_node_type),
                        .after = EARLY,
                        .has_nodes = 1},
    [WIRE_NODE_POOL] = {.read = receive_node_pools,
                        .size = sizeof(struct wire_node_pool),
                        .after = EARLY,
                        .has_nodes = 1},
    [WIRE_NODE_LABEL] = {.read = receive_node_labels,
                         .size = sizeof(struct wire_node_label),
                         .after = EARLY,
                         .has_nodes = 1},
    [WIRE_FRAME] = {.read = receive_frames, .size = sizeof(struct wire_frame), .after = EARLY},
    [WIRE_TLS] = {.read = receive_tls, .size = sizeof(struct wire_tls), .after = EARLY},
    [WIRE_VTABLE] = {.read = receive_vtables, .after = EARLY},
    [WIRE_VPTR] = {.read = receive_vptrs,
                   .size = sizeof(struct wire_vptr),
                   .after = EARLY,
                   .has_nodes = 1},
    [WIRE_FUNCTION] = {.read = receive_functions,
                       .size = sizeof(struct wire_function),
                       .after = EARLY},
    [WIRE_CODE] = {.read = receive_codes,
                   .size = sizeof(struct wire_code),
                   .after = EARLY,
                   .has_nodes = 1},
    [WIRE_EDGE] = {.read = receive_edges,
                   .size = sizeof(struct wire_edge),
                   .after = EARLY,
                   .has_nodes = 1},
    [WIRE_REFERENCE] = {.read = receive_references,
                        .size = sizeof(struct wire_reference),
                        .after = EARLY,
                        .has_nodes = 1},
    [WIRE_WAY] = {.read = receive_ways, .size = sizeof(struct wire_way), .after = EARLY},
    [WIRE_LINK] = {.read = receive_links,
                   .size = sizeof(struct wire_link),
                   .after = EARLY,
                   .has_nodes = 1},
    [WIRE_ROOT] = {.read = receive_roots,
                   .size = sizeof(struct wire_root),
                   .after = EARLY,
                   .has_nodes = 1},
    [WIRE_HOOK] = {.read = receive_hooks,
                   .size = sizeof(struct wire_hook),
                   .after = EARLY,
                   .has_nodes = 1},
    [WIRE_RESOURCE] = {.read = receive_resources,
                       .size = sizeof(struct wire_resource),
                       .after = EARLY},
};

/* Behind WIRE_FINAL. */
static const struct section_rule final_rules[WIRE_END] = {
    [WIRE_STRING] = {.read = receive_strings},
    [WIRE_MANAGED_FRAME] = {.read = receive_managed_frames,
                            .size = sizeof(struct wire_managed_frame)},
    [WIRE_TYPE] = {.read = receive_types, .size = sizeof(struct wire_type), .before = NODES},
    [WIRE_NODE] = {.read = receive_final_nodes,
                   .size = sizeof(struct wire_node),
                   .before = HAS_NODES},
    [WIRE_OBJECT] = {.read = receive_final_objects,
                     .size = sizeof(struct wire_object),
                     .before = HAS_NODES},
    [WIRE_WAY] = {.read = receive_final_ways, .size = sizeof(struct wire_way)},
    [WIRE_LINK] = {.read = receive_final_links, .size = sizeof(struct wire_link), .has_nodes = 1},
    [WIRE_ROOT] = {.read = receive_roots, .size = sizeof(struct wire_root), .has_nodes = 1},
    [WIRE_HOOK] = {.read = receive_hooks, .size = sizeof(struct wire_hook), .has_nodes = 1},
    [WIRE_RESOURCE] = {.read = receive_resources, .size = sizeof(struct wire_resource)},
};

static int read_section(struct ingest *g, const struct wire_section *section, snap_error *err) {
    const struct section_rule *const all = g->is_final ? final_rules : rules;
    const struct section_rule *const rule = &all[section->kind < WIRE_END ? section->kind : 0];
    if (!rule->read || (g->seen & rule->after) != rule->after || (g->seen & rule->before) ||
        (rule->once && (g->seen & BIT(section->kind))))
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
    return receive_end_of_references(g, err);
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
    if (g->options->types_ns != 0)
        g->heap.types_ns = g->options->types_ns > 0 ? (uint64_t)g->options->types_ns : 0;
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
        return stream_no_memory(err);
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

/* The stack that made what a managed object stands for: the object's own, or that of the first
 * block that it refers to. 0: unknown. */
static uint32_t stack_of_object(struct heap *h, uint64_t address) {
    const uint32_t node = heap_find(h, address);
    if (!node || h->address[node - 1] != address)
        return 0;
    uint32_t stack = h->stack[node - 1];
    for (uint64_t e = h->first_edge[node - 1]; !stack && e < h->first_edge[node]; e++)
        stack = h->stack[h->edges[e].target - 1];
    return stack;
}

static void complete_resource(struct ingest *g, struct wire_resource *r) {
    if (r->kind == SNAP_RSRC_PROCESS_GROUP && !r->stack)
        r->stack = stack_of_object(&g->heap, r->handle);
    if (!r->module)
        r->module = frames_owner(&g->frames, &g->heap, r->stack);
}

static int complete(struct ingest *g, snap_error *err) {
    struct heap *const h = &g->heap;
    SNAP_TRY(frames_collect(&g->frames, h, err));
    for (uint32_t i = 0; i < g->n_pools; i++)
        if (!g->pools[i].module)
            g->pools[i].module = frames_owner(&g->frames, h, g->pools[i].stack);
    for (uint32_t i = 0; i < g->n_resources; i++)
        complete_resource(g, &g->resources[i]);
    SNAP_TRY(device_pass(h, &g->frames, err));
    for (uint32_t i = 0; i < h->n_roots; i++)
        h->roots[i].frame = frames_managed(&g->frames, h, h->roots[i].frame);
    SNAP_TRY(sort_roots(h, err));
    SNAP_TRY(static_word_pass(h, err));
    SNAP_TRY(vtable_pass(h, err));
    progress(g);
    if (!g->is_final) { /* else there is nothing to type */
        SNAP_TRY(typing_pass(h, err));
        progress(g);
        SNAP_TRY(receive_write_completeness(g, err)); /* before the first row */
    }
    SNAP_TRY(frames_name(&g->frames, h, g->writer, g->options->progress, g->options->context, err));
    progress(g);
    SNAP_TRY(autograd_pass(h, err));
    progress(g);
    SNAP_TRY(naming_pass(h, err));
    SNAP_TRY(frames_type_sites(&g->frames, h, err));
    progress(g);
    SNAP_TRY(hook_pass(h, &g->frames, err));
    progress(g);
    return heap_failed(h) ? stream_no_memory(err) : 0;
}

static int run(struct ingest *g, snap_error *err) {
    SNAP_TRY(read_stream(g, err));
    SNAP_TRY(complete(g, err));
    SNAP_TRY(receive_write(g, err));
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
