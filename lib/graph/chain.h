/* Making chains: shared by the shortest-path forest and the search for disjoint chains. */
#ifndef HEAPSNAP_CHAIN_H
#define HEAPSNAP_CHAIN_H

#include "graph/internal.h"

/* A chain of n_links (at least 1) to be filled in; NOMEM. */
int chain_init(snap_chain *c, uint32_t n_links, snap_error *err);
/* Counts the references of low confidence once the links are there. */
void chain_finish(const snap_graph *g, snap_chain *c);

#endif
