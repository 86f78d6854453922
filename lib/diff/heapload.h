/* The reference graph of one snapshot in memory: the arrays that the graph borrows, and what is
 * needed to tell names. Private side of holder.h. */
#ifndef HEAPSNAP_DIFF_HEAPLOAD_H
#define HEAPSNAP_DIFF_HEAPLOAD_H

#include "base/map.h"
#include "base/strtab.h"
#include "diff/tables.h"

#include <heapsnap/holder.h>

/* Rows of a table near the last one asked for. */
struct row_reader {
    snap_table table;
    uint32_t columns;
    uint64_t *first_id; /* by chunk, one more at the end */
    uint32_t n_chunks;
    uint32_t chunk; /* decoded; UINT32_MAX: none */
    snap_batch batch;
};

/* What roots are known by: names, and the module that tells equal ones apart. */
struct root_name {
    uint32_t name, label, module; /* STRS, STRS, MODS */
    uint64_t root;                /* row of the first root with it */
};

struct snap_heap {
    const snap_snapshot *snapshot;
    snap_heap_options options;
    struct arena arena;
    uint64_t columns_bytes;

    uint32_t n_nodes, n_types, n_strings, n_labels;
    uint64_t n_edges, n_roots;
    uint64_t *size, *birth; /* by node - 1 */
    uint8_t *domain;
    uint16_t *flags;
    uint32_t *type, *stack;
    uint32_t *edge_source, *edge_target, *edge_label;
    uint8_t *edge_kind, *edge_flags;
    uint32_t *edge_offset; /* NULL if one does not fit: all are in the other */
    uint64_t *edge_offset_wide;
    uint32_t *root_target, *root_label;
    uint8_t *root_kind, *root_flags;

    const char **type_name; /* by type */
    uint64_t *type_key, *type_size;
    uint8_t *type_rank;    /* the lower, the more of the program's own */
    uint32_t n_file_types; /* types above are made of sites */
    uint64_t *label_key;   /* by label: strings of the file, then root_names */
    uint64_t *owner_key;   /* by root_names */
    struct root_name *root_names;
    size_t n_root_names, root_name_capacity;
    struct map root_name_map, root_module_map;

    struct row_reader nodes, edges, roots;
    uint32_t *by_address; /* nodes; NULL until asked for */
    uint64_t *address;    /* in that order */

    snap_graph *graph;
};

/* The row with an id, in reader->batch at *out_row. */
int row_reader_seek(struct row_reader *r, const snap_snapshot *s, uint64_t id, uint32_t *out_row,
                    snap_error *err);

/* A hash of the variable that a root is in: the same for all of its words and fields. */
uint64_t heap_root_owner(const snap_heap *h, uint64_t root);

/* "g_server.sessions", "main() local 'p'", "register rbx"; lives as long as the heap. */
int heap_root_text(snap_heap *h, uint64_t root, const char **out, snap_error *err);

/* How an edge reads after the node that it leaves: ".next", "[*].key", "+0x18", "". */
int heap_edge_text(snap_heap *h, uint64_t edge, const char **out, snap_error *err);

/* Text in the heap's arena; NULL: no memory. */
char *heap_format(snap_heap *h, const char *format, ...) SNAP_PRINTF(2, 3);

static inline uint64_t heap_edge_offset(const snap_heap *h, uint64_t edge) {
    if (h->edge_offset != NULL)
        return h->edge_offset[edge];
    return h->edge_offset_wide != NULL ? h->edge_offset_wide[edge] : 0;
}
static inline uint64_t heap_node_bytes(const snap_heap *h, uint32_t node) {
    return h->size != NULL ? h->size[node - 1] : 0;
}
static inline uint32_t heap_node_type(const snap_heap *h, uint32_t node) {
    return h->type != NULL ? h->type[node - 1] : 0;
}
static inline uint32_t heap_node_stack(const snap_heap *h, uint32_t node) {
    return h->stack != NULL ? h->stack[node - 1] : 0;
}
static inline uint64_t heap_node_birth(const snap_heap *h, uint32_t node) {
    return h->birth != NULL ? h->birth[node - 1] : 0;
}
static inline uint32_t heap_node_flags(const snap_heap *h, uint32_t node) {
    return h->flags != NULL ? h->flags[node - 1] : 0;
}
static inline uint32_t heap_node_domain(const snap_heap *h, uint32_t node) {
    return h->domain != NULL ? h->domain[node - 1] : 0;
}

#endif
