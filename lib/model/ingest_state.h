/* The state of one run of the receiver, and the readers of its sections. Of ingest.c and the files
 * that read for it. */
#ifndef HEAPSNAP_INGEST_STATE_H
#define HEAPSNAP_INGEST_STATE_H

#include <heapsnap/writer.h>

#include "model/destination.h"
#include "model/frames.h"
#include "model/heap.h"
#include "model/ingest.h"
#include "model/output.h"
#include "model/stream.h"

#define IDS_MAX (SNAP_ROWS_MAX - 1) /* of nodes and other things numbered by 32 bits */

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
    uint32_t last_source;   /* of first_edge, which is filled up to its start */
    uint32_t last_referrer; /* likewise of first_reference */
    uint32_t *ways;         /* by number in the stream: as heap_reference has it */
    uint32_t n_ways;

    int is_final;           /* WIRE_FINAL has come; what follows is of no use before */
    uint32_t n_final_nodes; /* none is in the heap */
    uint64_t n_final_references;
    struct heap_way *final_ways; /* by number in the stream; label: row of STRS */
    uint64_t last_node[3];       /* domain, address, birth */

    struct {
        size_t thread_rows, tls, heap_regions, regions, pools, resources, modules, threads, address,
            size, birth, block_pool, block_label, stack, type, flags, domain, objects,
            large_objects, strings, types, first_edge, edges, first_reference, references, ways,
            final_ways, roots, frames, vtables, functions, vptrs, codes, hooks;
    } capacity;
};

#define GROW(g, array, name, n)                                                                    \
    (heap_grow(&(g)->heap, &(array), &(g)->capacity.name, (size_t)(n), sizeof *(array)) < 0        \
         ? stream_no_memory(err)                                                                   \
         : 0)

/* Readers of the sections of one kind, whose records are of the right size in all. */
int receive_meta(struct ingest *g, const struct wire_section *section, snap_error *err);
int receive_modules(struct ingest *g, const struct wire_section *section, snap_error *err);
int receive_stacks(struct ingest *g, const struct wire_section *section, snap_error *err);
int receive_threads(struct ingest *g, const struct wire_section *section, snap_error *err);
int receive_regions(struct ingest *g, const struct wire_section *section, snap_error *err);
int receive_strings(struct ingest *g, const struct wire_section *section, snap_error *err);
int receive_managed_frames(struct ingest *g, const struct wire_section *section, snap_error *err);
int receive_types(struct ingest *g, const struct wire_section *section, snap_error *err);
int receive_pools(struct ingest *g, const struct wire_section *section, snap_error *err);
int receive_resources(struct ingest *g, const struct wire_section *section, snap_error *err);
int receive_blocks(struct ingest *g, const struct wire_section *section, snap_error *err);
int receive_nodes(struct ingest *g, const struct wire_section *section, snap_error *err);
int receive_objects(struct ingest *g, const struct wire_section *section, snap_error *err);
int receive_node_types(struct ingest *g, const struct wire_section *section, snap_error *err);
int receive_node_pools(struct ingest *g, const struct wire_section *section, snap_error *err);
int receive_node_labels(struct ingest *g, const struct wire_section *section, snap_error *err);
int receive_frames(struct ingest *g, const struct wire_section *section, snap_error *err);
int receive_tls(struct ingest *g, const struct wire_section *section, snap_error *err);
int receive_vtables(struct ingest *g, const struct wire_section *section, snap_error *err);
int receive_vptrs(struct ingest *g, const struct wire_section *section, snap_error *err);
int receive_functions(struct ingest *g, const struct wire_section *section, snap_error *err);
int receive_codes(struct ingest *g, const struct wire_section *section, snap_error *err);
int receive_edges(struct ingest *g, const struct wire_section *section, snap_error *err);
int receive_references(struct ingest *g, const struct wire_section *section, snap_error *err);
int receive_ways(struct ingest *g, const struct wire_section *section, snap_error *err);
int receive_links(struct ingest *g, const struct wire_section *section, snap_error *err);
int receive_roots(struct ingest *g, const struct wire_section *section, snap_error *err);
int receive_hooks(struct ingest *g, const struct wire_section *section, snap_error *err);
/* Of those behind WIRE_FINAL. */
int receive_final(struct ingest *g, const struct wire_section *section, snap_error *err);
int receive_final_nodes(struct ingest *g, const struct wire_section *section, snap_error *err);
int receive_final_objects(struct ingest *g, const struct wire_section *section, snap_error *err);
int receive_final_ways(struct ingest *g, const struct wire_section *section, snap_error *err);
int receive_final_links(struct ingest *g, const struct wire_section *section, snap_error *err);

/* Nodes that came. */
static inline uint32_t receive_n_nodes(const struct ingest *g) {
    return g->is_final ? g->n_final_nodes : g->heap.n_nodes;
}

/* Ids of the stream to those of the heap. CORRUPT if there is no such thing yet. */
int receive_string(const struct ingest *g, uint32_t id, uint32_t *out, snap_error *err);
int receive_type(const struct ingest *g, uint32_t id, uint32_t *out, snap_error *err);
/* A copy of a text that lives as long as the heap; "" without memory, which the heap remembers. */
const char *receive_text(struct ingest *g, const char *text, size_t length);
int receive_end_of_references(struct ingest *g, snap_error *err);

/* Writes modules, threads, mappings, pools and resources, which no pass changes. */
int receive_write(struct ingest *g, snap_error *err);
/* What became known to be missing: metadata, before the first row. */
int receive_write_completeness(struct ingest *g, snap_error *err);

#endif
