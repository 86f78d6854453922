/* Seeded random graphs of many shapes, for tests of the graph library. */
#ifndef HEAPSNAP_RANDOM_GRAPH_H
#define HEAPSNAP_RANDOM_GRAPH_H

#include <heapsnap/graph.h>

/* xorshift64*; the state must not be 0. */
uint64_t random_next(uint64_t *state);
/* Below limit. */
uint64_t random_below(uint64_t *state, uint64_t limit);

/* A graph that owns its columns; input points at them. */
struct random_graph {
    snap_graph_input input;
    uint64_t *size_bytes, *birth, *source_offset, *target_offset, *label_key, *type_key, *type_size;
    uint8_t *domain, *edge_kind, *edge_flags, *root_kind, *root_flags, *type_rank;
    uint32_t *type, *edge_source, *edge_target, *edge_label, *root_target, *root_name;
};

/* At most n_max nodes. The seed decides the shape (tree, DAG, cycles, list, hub, islands, multiple
 * edges, self references) and how many edges are weak, of low confidence or point inside. */
void random_graph_init(struct random_graph *r, uint64_t seed, uint32_t n_max);
void random_graph_release(struct random_graph *r);

/* Puts edges and roots into another order. */
void random_graph_shuffle(struct random_graph *r, uint64_t seed);
/* Gives nodes other numbers; out_number[old] = new, n_nodes + 1 of them. Births stay with their
 * nodes; there must be some. */
void random_graph_renumber(struct random_graph *r, uint64_t seed, uint32_t *out_number);
/* Sorts edges by source, as files have them. */
void random_graph_sort(struct random_graph *r);

#endif
