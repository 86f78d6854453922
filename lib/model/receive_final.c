/* Reads nodes and references that are as they will be (WIRE_FINAL): from records to rows, of which
 * nothing is kept, so that the file grows while the stream comes and a heap of any size takes the
 * memory of a few chunks.
 *
 * Invariant: whatever the format demands of the order of rows is checked here, where a record that
 * breaks it is a damaged stream. */
#include "model/ingest_state.h"

#include "base/err.h"

#define COLUMN(c) (1u << (c))

int receive_final(struct ingest *g, const struct wire_section *section, snap_error *err) {
    /* Of a stream that is spooled something belongs into metadata that comes last. */
    if (section->n || section->bytes || g->in.is_spooled || g->heap.n_nodes)
        return stream_broken(err, "an unexpected section");
    g->is_final = 1;
    return 0;
}

/* --- nodes --- */

static int begin_nodes(struct ingest *g, uint32_t n, snap_error *err) {
    if (n > IDS_MAX - g->n_final_nodes)
        return err_set(err, SNAP_E_LIMIT, "more nodes than a snapshot can hold");
    return output_begin(&g->output, SNAP_TABLE_NODE, err);
}

static int is_behind(struct ingest *g, uint64_t domain, uint64_t address, uint64_t birth) {
    const uint64_t *const last = g->last_node;
    const int result = domain != last[0]    ? domain > last[0]
                       : address != last[1] ? address > last[1]
                                            : birth >= last[2];
    g->last_node[0] = domain;
    g->last_node[1] = address;
    g->last_node[2] = birth;
    return result;
}

static int read_node(struct ingest *g, const struct wire_node *n, snap_error *err) {
    uint64_t *const *const c = g->output.columns;
    uint32_t type = 0, label = 0;
    SNAP_TRY(receive_type(g, n->type, &type, err));
    SNAP_TRY(receive_string(g, n->label, &label, err));
    if (n->stack > g->frames.n_stacks || n->thread > g->heap.n_threads || n->pool || n->kind == 0 ||
        n->kind > UINT8_MAX || n->domain == 0 || n->domain > UINT8_MAX ||
        !is_behind(g, n->domain, n->address, n->birth))
        return stream_broken(err, "a node");
    c[SNAP_NODE_COL_DOMAIN][0] = n->domain;
    c[SNAP_NODE_COL_KIND][0] = n->kind;
    c[SNAP_NODE_COL_ADDRESS][0] = n->address;
    c[SNAP_NODE_COL_SIZE][0] = n->size;
    SNAP_TRY(output_type(&g->output, type, &c[SNAP_NODE_COL_TYPE][0], err));
    c[SNAP_NODE_COL_STACK][0] = n->stack;
    c[SNAP_NODE_COL_BIRTH][0] = n->birth;
    c[SNAP_NODE_COL_FLAGS][0] = n->flags & 0xffffff;
    c[SNAP_NODE_COL_POOL][0] = 0;
    SNAP_TRY(output_string(&g->output, label, &c[SNAP_NODE_COL_LABEL][0], err));
    c[SNAP_NODE_COL_REFCOUNT][0] = n->refcount;
    c[SNAP_NODE_COL_HIDDEN][0] = (uint64_t)n->hidden;
    c[SNAP_NODE_COL_THREAD][0] = n->thread;
    c[SNAP_NODE_COL_DEVICE][0] = n->device;
    c[SNAP_NODE_COL_EXTERNAL][0] = n->external;
    g->n_final_nodes++;
    return output_rows(&g->output, SNAP_TABLE_NODE, 1, 0, err);
}

/* There are few. */
int receive_final_nodes(struct ingest *g, const struct wire_section *section, snap_error *err) {
    for (uint32_t left = section->n, n; left > 0; left -= n) {
        const struct wire_node *w;
        SNAP_TRY(stream_records(&g->in, sizeof *w, left, (const void **)&w, &n, err));
        SNAP_TRY(begin_nodes(g, n, err));
        for (uint32_t i = 0; i < n; i++)
            SNAP_TRY(read_node(g, &w[i], err));
    }
    return 0;
}

/* At most a batch of objects; *unused: columns that have nothing. */
static int read_objects(struct ingest *g, const struct wire_object *w, size_t n, uint32_t *unused,
                        snap_error *err) {
    uint64_t *const *const c = g->output.columns;
    uint32_t stacks = 0, labels = 0, last_type = 0;
    uint64_t births = 0, type_row = 0;
    for (size_t i = 0; i < n; i++, w++) {
        uint32_t type = 0, label = 0;
        if (w->stack > g->frames.n_stacks || w->flags >> 24 == 0 ||
            !is_behind(g, SNAP_DOMAIN_PYTHON, w->address, w->birth))
            return stream_broken(err, "an object");
        if (w->type != last_type) {
            SNAP_TRY(receive_type(g, w->type, &type, err));
            SNAP_TRY(output_type(&g->output, type, &type_row, err));
            last_type = w->type;
        }
        stacks |= w->stack;
        births |= w->birth;
        c[SNAP_NODE_COL_DOMAIN][i] = SNAP_DOMAIN_PYTHON;
        c[SNAP_NODE_COL_KIND][i] = w->flags >> 24;
        c[SNAP_NODE_COL_FLAGS][i] = w->flags & 0xffffff;
        c[SNAP_NODE_COL_ADDRESS][i] = w->address;
        c[SNAP_NODE_COL_SIZE][i] = w->size;
        c[SNAP_NODE_COL_TYPE][i] = type_row;
        c[SNAP_NODE_COL_STACK][i] = w->stack;
        c[SNAP_NODE_COL_BIRTH][i] = w->birth;
        c[SNAP_NODE_COL_REFCOUNT][i] = w->refcount;
        c[SNAP_NODE_COL_HIDDEN][i] = (uint64_t)(int64_t)w->hidden;
        c[SNAP_NODE_COL_EXTERNAL][i] = w->external;
        c[SNAP_NODE_COL_LABEL][i] = 0;
        if (w->label) {
            labels = 1;
            SNAP_TRY(receive_string(g, w->label, &label, err));
            SNAP_TRY(output_string(&g->output, label, &c[SNAP_NODE_COL_LABEL][i], err));
        }
    }
    *unused = COLUMN(SNAP_NODE_COL_POOL) | COLUMN(SNAP_NODE_COL_THREAD) |
              COLUMN(SNAP_NODE_COL_DEVICE) | (stacks ? 0 : COLUMN(SNAP_NODE_COL_STACK)) |
              (births ? 0 : COLUMN(SNAP_NODE_COL_BIRTH)) |
              (labels ? 0 : COLUMN(SNAP_NODE_COL_LABEL));
    return 0;
}

int receive_final_objects(struct ingest *g, const struct wire_section *section, snap_error *err) {
    for (uint32_t left = section->n, n; left > 0; left -= n) {
        const struct wire_object *w;
        uint32_t unused = 0;
        const uint32_t most = left < OUTPUT_BATCH_ROWS ? left : OUTPUT_BATCH_ROWS;
        SNAP_TRY(stream_records(&g->in, sizeof *w, most, (const void **)&w, &n, err));
        SNAP_TRY(begin_nodes(g, n, err));
        SNAP_TRY(read_objects(g, w, n, &unused, err));
        SNAP_TRY(output_rows(&g->output, SNAP_TABLE_NODE, n, unused, err));
        g->n_final_nodes += n;
    }
    return 0;
}

/* --- references --- */

int receive_final_ways(struct ingest *g, const struct wire_section *section, snap_error *err) {
    for (uint32_t left = section->n, n; left > 0; left -= n) {
        const struct wire_way *w;
        SNAP_TRY(stream_records(&g->in, sizeof *w, left, (const void **)&w, &n, err));
        if (n > WIRE_SOURCE - WIRE_WAYS - g->n_ways)
            return stream_broken(err, "the number of names of references");
        SNAP_TRY(GROW(g, g->final_ways, final_ways, (size_t)g->n_ways + n));
        for (uint32_t i = 0; i < n; i++, w++) {
            uint32_t label = 0;
            uint64_t row;
            SNAP_TRY(receive_string(g, w->label, &label, err));
            SNAP_TRY(output_string(&g->output, label, &row, err));
            g->final_ways[g->n_ways++] = (struct heap_way){.source_offset = w->source_offset,
                                                           .target_offset = w->target_offset,
                                                           .label = (uint32_t)row,
                                                           .kind = w->kind,
                                                           .flags = w->flags};
        }
    }
    return 0;
}

/* At most a batch of links, of which *out_n are references; *unused as above. */
static int read_links(struct ingest *g, const struct wire_link *w, size_t n, size_t *out_n,
                      uint32_t *unused, snap_error *err) {
    uint64_t *const *const c = g->output.columns;
    uint64_t *const restrict sources = c[SNAP_EDGE_COL_SOURCE];
    uint64_t *const restrict targets = c[SNAP_EDGE_COL_TARGET];
    uint64_t *const restrict kinds = c[SNAP_EDGE_COL_KIND];
    uint64_t *const restrict labels = c[SNAP_EDGE_COL_LABEL];
    uint64_t *const restrict offsets = c[SNAP_EDGE_COL_SOURCE_OFFSET];
    const uint32_t n_nodes = g->n_final_nodes;
    uint64_t all_labels = 0, all_flags = 0, all_target_offsets = 0;
    uint32_t source = g->last_referrer;
    size_t at = 0;
    for (const struct wire_link *const end = w + n; w < end; w++) {
        if (w->target - 1 >= n_nodes) /* 0 is none, too */
            return stream_broken(err, "a reference of an object");
        if (w->way == WIRE_SOURCE) {
            if (w->target < source)
                return stream_broken(err, "the source of a reference");
            source = w->target;
            continue;
        }
        if (w->way >= WIRE_WAYS && w->way - WIRE_WAYS >= g->n_ways)
            return stream_broken(err, "the name of a reference");
        const struct heap_way way =
            w->way >= WIRE_WAYS
                ? g->final_ways[w->way - WIRE_WAYS]
                : (struct heap_way){.source_offset = w->way, .kind = SNAP_EDGE_INDEX};
        sources[at] = source;
        targets[at] = w->target;
        kinds[at] = way.kind;
        labels[at] = way.label;
        offsets[at] = way.source_offset;
        c[SNAP_EDGE_COL_TARGET_OFFSET][at] = way.target_offset;
        c[SNAP_EDGE_COL_FLAGS][at] = way.flags;
        all_labels |= way.label;
        all_target_offsets |= way.target_offset;
        all_flags |= way.flags;
        at++;
    }
    if (at > 0 && sources[0] == 0)
        return stream_broken(err, "a reference without a source");
    g->last_referrer = source;
    *out_n = at;
    *unused = (all_labels ? 0 : COLUMN(SNAP_EDGE_COL_LABEL)) |
              (all_target_offsets ? 0 : COLUMN(SNAP_EDGE_COL_TARGET_OFFSET)) |
              (all_flags ? 0 : COLUMN(SNAP_EDGE_COL_FLAGS));
    return 0;
}

int receive_final_links(struct ingest *g, const struct wire_section *section, snap_error *err) {
    SNAP_TRY(output_begin(&g->output, SNAP_TABLE_EDGE, err));
    for (uint32_t left = section->n, n; left > 0; left -= n) {
        const struct wire_link *w;
        uint32_t unused = 0;
        size_t n_rows = 0;
        const uint32_t most = left < OUTPUT_BATCH_ROWS ? left : OUTPUT_BATCH_ROWS;
        SNAP_TRY(stream_records(&g->in, sizeof *w, most, (const void **)&w, &n, err));
        SNAP_TRY(read_links(g, w, n, &n_rows, &unused, err));
        if (n_rows > SNAP_ROWS_MAX - g->n_final_references)
            return err_set(err, SNAP_E_LIMIT, "more references than a snapshot can hold");
        SNAP_TRY(output_rows(&g->output, SNAP_TABLE_EDGE, n_rows, unused, err));
        g->n_final_references += n_rows;
    }
    return 0;
}
