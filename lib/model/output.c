/* Rows of types, nodes, references, roots and hooks. Rows follow from the heap alone, so that one
 * heap gives one file. Changes nothing in the heap but its strings. */
#include "model/output.h"

#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "base/mem.h"
#include "model/stream.h"

#define LABEL_SLOTS 16384u /* a power of two */

/* What a reference at an offset of a type is called. */
struct label {
    uint64_t offset;
    uint32_t type, string_row;
    uint16_t kind, flags;
};

int output_string(struct output *o, uint32_t string, uint64_t *out, snap_error *err) {
    *out = 0;
    if (!string)
        return 0;
    const size_t before = o->strings_capacity;
    if (mem_grow(&o->string_rows, &o->strings_capacity, string, sizeof *o->string_rows) < 0)
        return stream_no_memory(err);
    memset(o->string_rows + before, 0, (o->strings_capacity - before) * sizeof *o->string_rows);
    uint32_t *const row = &o->string_rows[string - 1];
    if (!*row)
        SNAP_TRY(snap_writer_string(o->writer, heap_text(o->heap, string), row, err));
    *out = *row;
    return 0;
}

static int need_columns(struct output *o, const unsigned *ids, size_t n, snap_error *err) {
    for (unsigned c = 0; c < SNAP_COLUMNS_MAX; c++) {
        free(o->columns[c]);
        o->columns[c] = NULL;
    }
    for (size_t i = 0; i < n; i++) {
        o->columns[ids[i]] = mem_zalloc(OUTPUT_BATCH_ROWS, sizeof(uint64_t));
        if (!o->columns[ids[i]])
            return stream_no_memory(err);
    }
    return 0;
}

int output_rows(struct output *o, snap_table table, size_t n, uint32_t unused, snap_error *err) {
    const uint64_t *columns[SNAP_COLUMNS_MAX];
    for (unsigned c = 0; c < SNAP_COLUMNS_MAX; c++)
        columns[c] = unused >> c & 1 ? NULL : o->columns[c];
    return n ? snap_writer_rows(o->writer, table, columns, n, NULL, err) : 0;
}

/* --- the order of nodes --- */

static int compare_nodes(const struct heap *h, uint32_t a, uint32_t b) {
    const uint32_t x = heap_domain(h, a), y = heap_domain(h, b);
    if (x != y)
        return x < y ? -1 : 1;
    if (h->address[a - 1] != h->address[b - 1])
        return h->address[a - 1] < h->address[b - 1] ? -1 : 1;
    return (h->birth[a - 1] > h->birth[b - 1]) - (h->birth[a - 1] < h->birth[b - 1]);
}

static int compare_for_order(const void *a, const void *b, void *context) {
    const uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    const int result = compare_nodes(context, x, y);
    return result ? result : (x > y) - (x < y);
}

static int order_nodes(struct output *o, snap_error *err) {
    struct heap *const h = o->heap;
    uint32_t node = h->n_blocks ? h->n_blocks : 1;
    while (node < h->n_nodes && compare_nodes(h, node, node + 1) <= 0)
        node++;
    if (node >= h->n_nodes)
        return 0;
    size_t order_capacity = 0, rank_capacity = 0;
    if (heap_grow(h, &o->order, &order_capacity, h->n_nodes, sizeof *o->order) < 0 ||
        heap_grow(h, &o->rank, &rank_capacity, h->n_nodes, sizeof *o->rank) < 0)
        return stream_no_memory(err);
    for (uint32_t i = 0; i < h->n_nodes; i++)
        o->order[i] = i + 1;
    qsort_r(o->order, h->n_nodes, sizeof *o->order, compare_for_order, h);
    for (uint32_t i = 0; i < h->n_nodes; i++)
        o->rank[o->order[i] - 1] = i + 1;
    return 0;
}

static inline uint64_t row_of(const struct output *o, uint32_t node) {
    return o->rank && node ? o->rank[node - 1] : node;
}

/* --- types and nodes --- */

int output_type(struct output *o, uint32_t type, uint64_t *out, snap_error *err) {
    const struct heap *const h = o->heap;
    *out = 0;
    if (!type)
        return 0;
    const size_t before = o->types_capacity;
    if (mem_grow(&o->type_rows, &o->types_capacity, type, sizeof *o->type_rows) < 0)
        return stream_no_memory(err);
    memset(o->type_rows + before, 0, (o->types_capacity - before) * sizeof *o->type_rows);
    uint32_t *const type_row = &o->type_rows[type - 1];
    if (!*type_row) {
        const struct heap_type *const t = &h->types[type - 1];
        uint64_t row[SNAP_COLUMNS_MAX] = {0}, id;
        uint32_t name;
        SNAP_TRY(snap_writer_string(o->writer, t->name, &name, err));
        row[SNAP_TYPE_COL_NAME] = name;
        row[SNAP_TYPE_COL_SOURCE] = t->source;
        row[SNAP_TYPE_COL_SIZE] = t->size;
        row[SNAP_TYPE_COL_FLAGS] = t->flags;
        row[SNAP_TYPE_COL_MODULE] = t->module;
        SNAP_TRY(snap_writer_row(o->writer, SNAP_TABLE_TYPE, row, &id, err));
        *type_row = (uint32_t)id;
    }
    *out = *type_row;
    return 0;
}

static int write_types(struct output *o, snap_error *err) {
    const struct heap *const h = o->heap;
    uint8_t *const is_used = mem_zalloc((size_t)h->n_types + 1, 1);
    if (!is_used)
        return stream_no_memory(err);
    for (uint32_t i = 0; i < h->n_nodes; i++)
        is_used[h->type[i]] = 1;
    int result = 0;
    uint64_t row;
    for (uint32_t type = 1; type <= h->n_types && result == 0; type++)
        if (is_used[type])
            result = output_type(o, type, &row, err);
    free(is_used);
    return result;
}

static uint32_t pool_of(const struct heap *h, uint32_t node) {
    if (node <= h->n_blocks)
        return h->block_pool ? h->block_pool[node - 1] : 0;
    const uint32_t large = h->objects[node - h->n_blocks - 1].large;
    return large ? h->large_objects[large - 1].pool : 0;
}

/* What all nodes have, of n nodes, column by column. */
static void put_nodes(const struct output *o, const uint32_t *nodes, size_t n) {
    const struct heap *const h = o->heap;
    uint64_t *const *const c = o->columns;
    for (size_t i = 0; i < n; i++)
        c[SNAP_NODE_COL_DOMAIN][i] = heap_domain(h, nodes[i]);
    for (size_t i = 0; i < n; i++) {
        const uint32_t flags = h->flags[nodes[i] - 1], kind = flags >> 24;
        c[SNAP_NODE_COL_KIND][i] = kind ? kind : SNAP_NODE_BLOCK;
        c[SNAP_NODE_COL_FLAGS][i] = flags & 0xffffff;
    }
    for (size_t i = 0; i < n; i++)
        c[SNAP_NODE_COL_ADDRESS][i] = h->address[nodes[i] - 1];
    for (size_t i = 0; i < n; i++)
        c[SNAP_NODE_COL_SIZE][i] = h->size[nodes[i] - 1];
    for (size_t i = 0; i < n; i++) {
        const uint32_t type = h->type[nodes[i] - 1];
        c[SNAP_NODE_COL_TYPE][i] = type ? o->type_rows[type - 1] : 0;
    }
    for (size_t i = 0; i < n; i++)
        c[SNAP_NODE_COL_STACK][i] = h->stack[nodes[i] - 1];
    for (size_t i = 0; i < n; i++)
        c[SNAP_NODE_COL_BIRTH][i] = h->birth[nodes[i] - 1];
    for (size_t i = 0; i < n; i++)
        c[SNAP_NODE_COL_POOL][i] = pool_of(h, nodes[i]);
}

static int put_label_of_block(struct output *o, size_t i, uint32_t node, snap_error *err) {
    const struct heap *const h = o->heap;
    o->columns[SNAP_NODE_COL_LABEL][i] = 0;
    return h->block_label && node <= h->n_blocks
               ? output_string(o, h->block_label[node - 1], &o->columns[SNAP_NODE_COL_LABEL][i],
                               err)
               : 0;
}

static int put_object(struct output *o, size_t i, uint32_t node, snap_error *err) {
    const struct heap_object object = heap_object(o->heap, node);
    uint64_t *const *const c = o->columns;
    c[SNAP_NODE_COL_REFCOUNT][i] = object.refcount;
    c[SNAP_NODE_COL_HIDDEN][i] = (uint64_t)object.hidden;
    c[SNAP_NODE_COL_THREAD][i] = object.thread;
    c[SNAP_NODE_COL_DEVICE][i] = object.device;
    c[SNAP_NODE_COL_EXTERNAL][i] = object.external;
    return node <= o->heap->n_blocks
               ? put_label_of_block(o, i, node, err)
               : output_string(o, object.label, &c[SNAP_NODE_COL_LABEL][i], err);
}

static const unsigned node_columns[] = {
    SNAP_NODE_COL_DOMAIN, SNAP_NODE_COL_KIND, SNAP_NODE_COL_ADDRESS, SNAP_NODE_COL_SIZE,
    SNAP_NODE_COL_TYPE, SNAP_NODE_COL_STACK, SNAP_NODE_COL_BIRTH, SNAP_NODE_COL_FLAGS,
    SNAP_NODE_COL_POOL,
    /* of few blocks */
    SNAP_NODE_COL_LABEL,
    /* of objects only */
    SNAP_NODE_COL_REFCOUNT, SNAP_NODE_COL_HIDDEN, SNAP_NODE_COL_THREAD, SNAP_NODE_COL_DEVICE,
    SNAP_NODE_COL_EXTERNAL};
#define N_NODE_COLUMNS (sizeof node_columns / sizeof *node_columns)

static int write_nodes(struct output *o, void (*progress)(void *context), void *context,
                       snap_error *err) {
    const struct heap *const h = o->heap;
    const int has_objects = h->n_nodes > h->n_blocks;
    const size_t n_used = has_objects ? N_NODE_COLUMNS : h->block_label ? 10 : 9;
    SNAP_TRY(need_columns(o, node_columns, n_used, err));
    uint32_t nodes[OUTPUT_BATCH_ROWS];
    for (uint32_t k = 0; k < h->n_nodes;) {
        const size_t n = h->n_nodes - k < OUTPUT_BATCH_ROWS ? h->n_nodes - k : OUTPUT_BATCH_ROWS;
        for (size_t i = 0; i < n; i++, k++)
            nodes[i] = o->order ? o->order[k] : k + 1;
        put_nodes(o, nodes, n);
        for (size_t i = 0; has_objects && i < n; i++)
            SNAP_TRY(put_object(o, i, nodes[i], err));
        for (size_t i = 0; !has_objects && h->block_label && i < n; i++)
            SNAP_TRY(put_label_of_block(o, i, nodes[i], err));
        SNAP_TRY(output_rows(o, SNAP_TABLE_NODE, n, 0, err));
        if (progress)
            progress(context);
    }
    return 0;
}

/* --- references --- */

/* Sizes of the elements of arrays, whose answers do not depend on the element; 0: no array. */
static int find_elements(struct output *o, snap_error *err) {
    const struct heap *const h = o->heap;
    o->element_sizes = mem_zalloc((size_t)h->n_types + 1, sizeof *o->element_sizes);
    if (!o->element_sizes)
        return stream_no_memory(err);
    for (uint32_t i = 0; i < h->n_types; i++) {
        const struct heap_type *const t = &h->types[i];
        const size_t length = strlen(t->name);
        if (length > 2 && strcmp(t->name + length - 2, "[]") == 0)
            o->element_sizes[i] = t->size;
    }
    return 0;
}

/* The answer of heap->field for a type and offset; made where it is not known. */
static int find_label(struct output *o, uint32_t type, uint64_t offset, uint64_t node_size,
                      const struct label **out, snap_error *err) {
    struct heap *const h = o->heap;
    if (o->element_sizes[type - 1])
        offset %= o->element_sizes[type - 1];
    const uint64_t hash = (offset * 0x9e3779b97f4a7c15u) ^ (type * 0xd6e8feb86659fd93u);
    struct label *const l = &o->labels[hash >> 40 & (LABEL_SLOTS - 1)];
    if (l->type != type || l->offset != offset) {
        uint64_t row;
        *l = (struct label){.offset = offset, .type = type, .kind = SNAP_EDGE_POINTER};
        const uint32_t string =
            h->field(h, h->field_context, type, offset, node_size, &l->kind, &l->flags);
        SNAP_TRY(output_string(o, string, &row, err));
        l->string_row = (uint32_t)row;
    }
    *out = l;
    return 0;
}

/* Plain references of one node, at rows i to i + n - 1 of the batch. */
static void put_edges(struct output *o, size_t i, uint64_t source_row, uint32_t source,
                      const struct heap_edge *e, size_t n) {
    uint64_t *const restrict sources = o->columns[SNAP_EDGE_COL_SOURCE] + i;
    uint64_t *const restrict targets = o->columns[SNAP_EDGE_COL_TARGET] + i;
    uint64_t *const restrict source_offsets = o->columns[SNAP_EDGE_COL_SOURCE_OFFSET] + i;
    uint64_t *const restrict target_offsets = o->columns[SNAP_EDGE_COL_TARGET_OFFSET] + i;
    uint64_t *const restrict flags = o->columns[SNAP_EDGE_COL_FLAGS] + i;
    for (size_t k = 0; k < n; k++) {
        sources[k] = source_row;
        targets[k] = e[k].target;
        source_offsets[k] = (uint64_t)e[k].source_word * 8;
        target_offsets[k] = e[k].target_offset;
        flags[k] = e[k].target_offset ? SNAP_EDGE_FLAG_INTERIOR : 0;
    }
    for (size_t k = 0; o->rank && k < n; k++)
        targets[k] = row_of(o, e[k].target);
    for (size_t k = 0; source > o->heap->n_blocks && k < n; k++)
        if (heap_is_chance(o->heap, source, e[k].target, e[k].target_offset))
            flags[k] |= SNAP_EDGE_FLAG_LOW;
}

/* Labels that are all 0 need not be looked at. */
static uint32_t unused_of(const struct output *o) {
    return o->has_labels ? 0 : 1u << SNAP_EDGE_COL_LABEL;
}

/* Kinds and labels of a batch are as before the first one that is not plain. */
static void reset_labels(struct output *o) {
    for (size_t i = 0; i < OUTPUT_BATCH_ROWS; i++) {
        o->columns[SNAP_EDGE_COL_KIND][i] = SNAP_EDGE_POINTER;
        o->columns[SNAP_EDGE_COL_LABEL][i] = 0;
    }
    o->has_labels = 0;
}

static int put_label(struct output *o, size_t i, uint32_t source, uint32_t type, uint64_t offset,
                     snap_error *err) {
    const struct label *l;
    SNAP_TRY(find_label(o, type, offset, o->heap->size[source - 1], &l, err));
    o->columns[SNAP_EDGE_COL_KIND][i] = l->kind;
    o->columns[SNAP_EDGE_COL_LABEL][i] = l->string_row;
    o->columns[SNAP_EDGE_COL_FLAGS][i] |= l->flags;
    if (heap_is_unused(o->heap, source, offset))
        o->columns[SNAP_EDGE_COL_FLAGS][i] |= SNAP_EDGE_FLAG_LOW;
    o->has_labels = 1;
    return 0;
}

static int put_reference(struct output *o, size_t i, uint64_t source_row,
                         const struct heap_reference *r, snap_error *err) {
    const struct heap_way way = heap_way(o->heap, r);
    uint64_t *const *const c = o->columns;
    c[SNAP_EDGE_COL_SOURCE][i] = source_row;
    c[SNAP_EDGE_COL_TARGET][i] = row_of(o, r->target);
    c[SNAP_EDGE_COL_SOURCE_OFFSET][i] = way.source_offset;
    c[SNAP_EDGE_COL_TARGET_OFFSET][i] = way.target_offset;
    c[SNAP_EDGE_COL_FLAGS][i] = way.flags;
    c[SNAP_EDGE_COL_KIND][i] = way.kind;
    o->has_labels = 1;
    return output_string(o, way.label, &c[SNAP_EDGE_COL_LABEL][i], err);
}

static const unsigned edge_columns[] = {SNAP_EDGE_COL_SOURCE,        SNAP_EDGE_COL_TARGET,
                                        SNAP_EDGE_COL_KIND,          SNAP_EDGE_COL_LABEL,
                                        SNAP_EDGE_COL_SOURCE_OFFSET, SNAP_EDGE_COL_TARGET_OFFSET,
                                        SNAP_EDGE_COL_FLAGS};
#define N_EDGE_COLUMNS (sizeof edge_columns / sizeof *edge_columns)

static int write_edges(struct output *o, void (*progress)(void *context), void *context,
                       snap_error *err) {
    const struct heap *const h = o->heap;
    if (h->n_edges + h->n_references == 0)
        return 0;
    if (h->n_edges + h->n_references > SNAP_ROWS_MAX)
        return err_set(err, SNAP_E_LIMIT, "more references than a snapshot can hold");
    SNAP_TRY(need_columns(o, edge_columns, N_EDGE_COLUMNS, err));
    o->labels = mem_zalloc(LABEL_SLOTS, sizeof *o->labels);
    if (!o->labels)
        return stream_no_memory(err);
    SNAP_TRY(find_elements(o, err));
    reset_labels(o);
    size_t n = 0;
    for (uint32_t k = 0; k < h->n_nodes; k++) {
        const uint32_t node = o->order ? o->order[k] : k + 1;
        uint64_t e = h->first_edge[node - 1];
        const uint64_t end = h->first_edge[node];
        const uint32_t type = h->type[node - 1];
        const int has_fields = h->field && type && h->types[type - 1].source != SNAP_TYPE_SITE;
        uint64_t reference = h->first_reference[node - 1];
        while (e < end || reference < h->first_reference[node]) {
            if (e < end) {
                const size_t part =
                    end - e < OUTPUT_BATCH_ROWS - n ? end - e : OUTPUT_BATCH_ROWS - n;
                put_edges(o, n, k + 1u, node, &h->edges[e], part);
                for (size_t i = 0; has_fields && i < part; i++)
                    SNAP_TRY(put_label(o, n + i, node, type,
                                       (uint64_t)h->edges[e + i].source_word * 8, err));
                e += part;
                n += part;
            } else
                SNAP_TRY(put_reference(o, n++, k + 1u, &h->references[reference++], err));
            if (n == OUTPUT_BATCH_ROWS) {
                SNAP_TRY(output_rows(o, SNAP_TABLE_EDGE, n, unused_of(o), err));
                n = 0;
                if (o->has_labels)
                    reset_labels(o);
                if (progress)
                    progress(context);
            }
        }
    }
    return output_rows(o, SNAP_TABLE_EDGE, n, unused_of(o), err);
}

/* --- rows as they come --- */

int output_begin(struct output *o, snap_table table, snap_error *err) {
    if (o->columns_table == table)
        return 0;
    o->columns_table = table;
    return table == SNAP_TABLE_NODE ? need_columns(o, node_columns, N_NODE_COLUMNS, err)
                                    : need_columns(o, edge_columns, N_EDGE_COLUMNS, err);
}

/* --- roots and hooks --- */

static int write_roots(struct output *o, snap_error *err) {
    const struct heap *const h = o->heap;
    for (uint32_t i = 0; i < h->n_roots; i++) {
        const struct heap_root *const r = &h->roots[i];
        uint64_t row[SNAP_COLUMNS_MAX] = {0};
        row[SNAP_ROOT_COL_KIND] = r->kind;
        row[SNAP_ROOT_COL_TARGET] = row_of(o, r->target);
        row[SNAP_ROOT_COL_TARGET_OFFSET] = r->target_offset;
        SNAP_TRY(output_string(o, r->name, &row[SNAP_ROOT_COL_NAME], err));
        row[SNAP_ROOT_COL_MODULE] = r->module;
        row[SNAP_ROOT_COL_ADDRESS] =
            r->module ? r->address - h->modules[r->module - 1].bias : r->address;
        row[SNAP_ROOT_COL_THREAD] = r->thread;
        row[SNAP_ROOT_COL_FRAME] = r->frame;
        row[SNAP_ROOT_COL_FLAGS] = r->flags | (r->target_offset ? SNAP_EDGE_FLAG_INTERIOR : 0);
        SNAP_TRY(output_string(o, r->label, &row[SNAP_ROOT_COL_LABEL], err));
        SNAP_TRY(snap_writer_row(o->writer, SNAP_TABLE_ROOT, row, NULL, err));
    }
    return 0;
}

static int write_hooks(struct output *o, snap_error *err) {
    const struct heap *const h = o->heap;
    for (uint32_t i = 0; i < h->n_hooks; i++) {
        const struct heap_hook *const k = &h->hooks[i];
        uint64_t row[SNAP_COLUMNS_MAX] = {0};
        SNAP_TRY(output_string(o, k->registry, &row[SNAP_HOOK_COL_REGISTRY], err));
        SNAP_TRY(output_string(o, k->callback, &row[SNAP_HOOK_COL_CALLBACK], err));
        SNAP_TRY(output_string(o, k->file, &row[SNAP_HOOK_COL_FILE], err));
        row[SNAP_HOOK_COL_LINE] = k->line;
        row[SNAP_HOOK_COL_FRAME] = k->frame;
        row[SNAP_HOOK_COL_HOLDER] = row_of(o, k->holder);
        row[SNAP_HOOK_COL_HOLDER_OFFSET] = k->holder_offset;
        row[SNAP_HOOK_COL_ARGUMENT] = row_of(o, k->argument);
        row[SNAP_HOOK_COL_STACK] = k->stack;
        row[SNAP_HOOK_COL_BIRTH] = k->birth;
        row[SNAP_HOOK_COL_COUNT] = k->count;
        row[SNAP_HOOK_COL_KIND] = k->kind;
        row[SNAP_HOOK_COL_ROOT] = k->root;
        SNAP_TRY(snap_writer_row(o->writer, SNAP_TABLE_HOOK, row, NULL, err));
    }
    return 0;
}

int output_heap(struct output *o, void (*progress)(void *context), void *context, snap_error *err) {
    SNAP_TRY(order_nodes(o, err));
    SNAP_TRY(write_types(o, err));
    SNAP_TRY(write_nodes(o, progress, context, err));
    SNAP_TRY(write_edges(o, progress, context, err));
    SNAP_TRY(write_roots(o, err));
    return write_hooks(o, err);
}

void output_release(struct output *o) {
    for (unsigned c = 0; c < SNAP_COLUMNS_MAX; c++)
        free(o->columns[c]);
    free(o->string_rows);
    free(o->type_rows);
    free(o->labels);
    free(o->element_sizes);
}
