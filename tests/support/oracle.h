/* What the graph library should say, computed the slow and obvious way: straight from definitions,
 * over lists of edges, for graphs of some hundred nodes. Uses nothing of the library. */
#ifndef HEAPSNAP_ORACLE_H
#define HEAPSNAP_ORACLE_H

#include <heapsnap/graph.h>
#include <stdbool.h>

bool oracle_edge_keeps(const snap_graph_input *in, uint64_t e);
bool oracle_root_keeps(const snap_graph_input *in, uint64_t r);

/* out[v], n + 1 of them: whether a root leads to v when node `removed` (0: none) is taken away.
 * sure_only: over roots and edges without SNAP_EDGE_FLAG_LOW. kind: only roots of this kind; -1:
 * all.
 */
void oracle_reachable(const snap_graph_input *in, uint32_t removed, bool sure_only, int kind,
                      bool *out);
/* The same from one node. */
void oracle_reachable_from(const snap_graph_input *in, uint32_t node, bool *out);

/* Immediate dominators by taking away each node in turn; SNAP_GRAPH_NONE: not reachable. n + 1 of
 * them. O(n * n * m). */
void oracle_dominators(const snap_graph_input *in, uint32_t *out);
/* Immediate dominators by Cooper, Harvey and Kennedy's iteration (2001). */
void oracle_dominators_iterative(const snap_graph_input *in, uint32_t *out);

/* Number of chains to a node that share no other node, counted up to 3 by looking for sets of nodes
 * that separate it from the roots. O(n * n * m). */
uint32_t oracle_disjoint(const snap_graph_input *in, uint32_t node);

/* For each node the row of the edge (n_edges + row of the root) that its canonical best chain ends
 * with, UINT64_MAX if there is none, and the chain's length and references of low confidence. */
void oracle_paths(const snap_graph_input *in, uint64_t *via, uint32_t *length, uint32_t *n_low);

/* Canonical order of nodes. */
int oracle_compare_nodes(const snap_graph_input *in, uint32_t a, uint32_t b);

#endif
