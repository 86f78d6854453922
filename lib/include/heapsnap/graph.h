/* The reference graph: what is reachable, what is lost, who retains how much, through which chain.
 *
 * Input are plain arrays; nothing here knows files. Nodes are numbered 1 to n_nodes, as `ref NODE`
 * in a file; 0 is the virtual root, which refers to the target of every root. Per-node results are
 * asked for by node number.
 *
 * One predicate decides for every function, in both directions, which references keep their target
 * alive: not those of a kind in weak_kinds (by default SNAP_EDGE_WEAK and SNAP_EDGE_MEMBER), not
 * those flagged SNAP_GRAPH_FLAG_WEAK, not those from or to node 0.
 *
 * Results do not depend on the order of edges and roots in the input. Where several answers are
 * equally good, the canonical one is given: nodes are ordered by birth, then by number; labels,
 * names and types by their key. To compare graphs, give births and keys.
 *
 * All algorithms are iterative. A graph and the results made from it belong to one thread at a
 * time; results must be freed before their graph. Functions return 0 or SNAP_E_NOMEM, SNAP_E_LIMIT
 * (the memory budget of the graph would be exceeded), SNAP_E_CANCELED (progress said so),
 * SNAP_E_ARG; *out is untouched then and nothing stays allocated.
 *
 * Memory is given in bytes per node (B/node) and per edge; offsets into the edges take 4 B, and 8
 * from 2^32 edges on. n is the number of nodes, m of edges. */
#ifndef HEAPSNAP_GRAPH_H
#define HEAPSNAP_GRAPH_H

#include <heapsnap/common.h>
#include <heapsnap/snapdef.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Most nodes, and most roots, that a graph can have. */
#define SNAP_GRAPH_NODES_MAX 0xfffffffeu
/* In place of a node: none. */
#define SNAP_GRAPH_NONE 0xffffffffu
/* Flag of an edge or a root beside SNAP_EDGE_FLAG_*: keeps nothing alive. */
#define SNAP_GRAPH_FLAG_WEAK 128u
/* Domain masks: bit d stands for SNAP_DOMAIN_*. */
#define SNAP_GRAPH_DOMAIN(d) (1u << (d))
#define SNAP_GRAPH_ALL_DOMAINS 0xffffffffu

/* ---- The graph ---- */

typedef struct snap_graph snap_graph;

/* The arrays are borrowed until snap_graph_free and must not change. NULL where "or NULL" stands
 * means 0 in every row. */
typedef struct snap_graph_input {
    size_t struct_size;

    uint64_t n_nodes;           /* row i describes node i + 1 */
    const uint64_t *size_bytes; /* or NULL */
    const uint8_t *domain;      /* SNAP_DOMAIN_*, below 32; or NULL */
    const uint32_t *type;       /* a number of the caller's; or NULL */
    const uint64_t *birth;      /* 0: unknown; or NULL */

    uint64_t n_edges;              /* fastest and smallest when sorted by source */
    const uint32_t *edge_source;   /* node */
    const uint32_t *edge_target;   /* node */
    const uint8_t *edge_kind;      /* SNAP_EDGE_*; or NULL */
    const uint32_t *edge_label;    /* a number of the caller's; or NULL */
    const uint64_t *source_offset; /* bytes, or the index; or NULL */
    const uint64_t *target_offset; /* bytes, 0: the start; or NULL */
    const uint8_t *edge_flags;     /* SNAP_EDGE_FLAG_*, SNAP_GRAPH_FLAG_WEAK; or NULL */

    uint64_t n_roots;
    const uint32_t *root_target; /* node; 0 is ignored */
    const uint8_t *root_kind;    /* SNAP_ROOT_*; or NULL */
    const uint32_t *root_name;   /* a label; or NULL */
    const uint8_t *root_flags;   /* as edge_flags; or NULL */

    /* What labels (and names of roots) and types are called across graphs, such as a hash of the
     * string; row i belongs to label or type i. NULL: the number itself. */
    uint64_t n_labels;
    const uint64_t *label_key;
    uint64_t n_types;
    const uint64_t *type_key;
    const uint64_t *type_size; /* bytes of one instance, 0: unknown or varying; or NULL */

    const uint32_t *source_offset_narrow; /* instead of source_offset, if all fit; or NULL */
    const uint8_t *type_rank; /* a cycle is led by a node whose type has the lowest; or NULL */
} snap_graph_input;

typedef struct snap_graph_options {
    size_t struct_size;
    uint64_t max_memory_bytes; /* for the graph and its results together; 0: no limit */
    /* Called now and then (at least every 2^16 nodes); a value other than 0 cancels. The numbers
     * count the steps of the present phase; done passes total where nodes are visited again. */
    int (*progress)(void *context, uint64_t done, uint64_t total);
    void *progress_context;
    /* Bit k: edges of kind k keep nothing alive. 0: WEAK and MEMBER; ~0: none is weak. */
    uint64_t weak_kinds;
    /* Bit k: fields of kind k differ by their source only, as elements of an array do: all read
     * [*]. 0: SNAP_EDGE_INDEX. See snap_edge_field. */
    uint64_t folded_kinds;
} snap_graph_options;

/* Checks the arrays and indexes the edges by source. ARG: a node number above n_nodes, a label or
 * type beyond its table. LIMIT: more than SNAP_GRAPH_NODES_MAX nodes or roots.
 * O(n + m); 4 B/node when edges are sorted by source, plus 1 bit per edge if some are weak; else 8
 * B per edge more (12 from 2^32 edges on). */
SNAP_API int snap_graph_new(snap_graph **out, const snap_graph_input *input,
                            const snap_graph_options *options, snap_error *err);
SNAP_API void snap_graph_free(snap_graph *g);

/* Bytes allocated now for the graph and its results (the input not counted), and the most so far.
 */
SNAP_API uint64_t snap_graph_memory_used(const snap_graph *g);
SNAP_API uint64_t snap_graph_memory_peak(const snap_graph *g);
SNAP_API void snap_graph_memory_reset_peak(snap_graph *g);

/* References out of a node, weak ones included, are the positions *first to *first + (result) - 1;
 * their order is the input's. */
SNAP_API uint64_t snap_graph_out(const snap_graph *g, uint32_t node, uint64_t *first);
/* The row of the input at a position, and whether it keeps its target alive. */
SNAP_API uint64_t snap_graph_out_edge(const snap_graph *g, uint64_t position);
SNAP_API int snap_graph_out_keeps(const snap_graph *g, uint64_t position);
/* References into a node: the same, but only those that keep it alive. The index is built on the
 * first call of snap_graph_index_referrers (O(n + m); 4 B/node, 4 B per edge, 8 from 2^32 edges on)
 * and must be there before the other two are called. */
SNAP_API int snap_graph_index_referrers(snap_graph *g, snap_error *err);
SNAP_API uint64_t snap_graph_in(const snap_graph *g, uint32_t node, uint64_t *first);
SNAP_API uint64_t snap_graph_in_edge(const snap_graph *g, uint64_t position);

/* Which field of its source an edge is, as a number that is the same for all sources of one type: 0
 * for folded kinds; the label's key if it has one; else, if the source's type has a known size, the
 * offset modulo that size plus 1; else 0. */
SNAP_API uint64_t snap_edge_field(const snap_graph *g, uint64_t edge);

/* ---- Reachability ---- */

/* From which classes of roots a node can be reached. */
enum {
    SNAP_REACH_GLOBAL = 1,   /* GLOBAL, MAPPING */
    SNAP_REACH_THREAD = 2,   /* STACK, REGISTER, TLS, ALT_STACK */
    SNAP_REACH_API = 4,      /* API */
    SNAP_REACH_PYTHON = 8,   /* MODULE to EVENT_LOOP */
    SNAP_REACH_RUNTIME = 16, /* NATIVE, RUNTIME and unknown kinds */
    SNAP_REACH_DEVICE = 32,  /* DEVICE */
    SNAP_REACH_SURE = 128    /* from some root, and nothing on the way has SNAP_EDGE_FLAG_LOW */
};

typedef struct snap_reach snap_reach;

/* Propagates a mask over the graph. O((n + m) * classes) at worst, two or three passes as a
 * rule; 1 B/node kept, 5 more while it runs. */
SNAP_API int snap_reach_new(snap_reach **out, snap_graph *g, snap_error *err);
SNAP_API void snap_reach_free(snap_reach *r);
/* SNAP_REACH_* of a node; 0: no root leads to it. */
SNAP_API unsigned snap_reach_mask(const snap_reach *r, uint32_t node);

/* ---- Unreachable nodes ---- */

/* A directly lost node: no lost node outside its own cycle refers to it. Of a cycle it is the first
 * node by rank of its type, then birth, then key of its type, then number, so that cycles of one
 * shape are led by one type, one that tells whose they are (valgrind takes any node of such a
 * cycle; LeakSanitizer calls every one indirect). What can be reached from a directly lost node,
 * and from none before it in canonical order, is its indirect loss. So each lost node counts once.
 */
typedef struct snap_lost_block {
    uint32_t node;
    uint32_t n_nodes; /* with itself */
    uint64_t bytes;   /* of these */
} snap_lost_block;

/* Lost nodes that refer to one another in a circle (a strongly connected component of more than
 * one, or with a reference to itself), so that counting references cannot free them. */
typedef struct snap_lost_cycle {
    uint32_t node; /* the one that leads it, as above */
    uint32_t n_nodes;
    uint64_t bytes;
} snap_lost_cycle;

typedef struct snap_lost snap_lost;

/* Tarjan's components in the form of Pearce (2016), over the nodes that reach does not hold. O(n +
 * edges of lost nodes); 4 B/node kept, 4 more while it runs, and up to 28 B per lost node. reach
 * may be freed afterwards. */
SNAP_API int snap_lost_new(snap_lost **out, snap_graph *g, const snap_reach *reach,
                           snap_error *err);
SNAP_API void snap_lost_free(snap_lost *l);
/* The directly lost node that a lost node is counted under (itself: directly lost); 0: not lost. */
SNAP_API uint32_t snap_lost_leader(const snap_lost *l, uint32_t node);
/* In canonical order. Borrowed. */
SNAP_API const snap_lost_block *snap_lost_blocks(const snap_lost *l, uint32_t *out_n);
SNAP_API const snap_lost_cycle *snap_lost_cycles(const snap_lost *l, uint32_t *out_n);

/* ---- Dominators and retained sizes ---- */

typedef struct snap_dominators snap_dominators;

/* The immediate dominator of a node is the last other node that every chain from a root to it
 * passes: what would free it. SEMI-NCA (Georgiadis 2005), on depth-first numbers, without the
 * tree's own edges, with packed {ancestor, label}. lost may be NULL; given, each directly lost node
 * counts as one more root, so that lost nodes have dominators, too; reachable nodes are not
 * influenced. O(m log n) at worst, near-linear on heaps; 12 B/node kept, at most 28 B/node + 4 B
 * per edge that is not in the tree while it runs. */
SNAP_API int snap_dominators_new(snap_dominators **out, snap_graph *g, const snap_lost *lost,
                                 snap_error *err);
SNAP_API void snap_dominators_free(snap_dominators *d);
/* 0: no single node; SNAP_GRAPH_NONE: the node is not covered, or is 0. */
SNAP_API uint32_t snap_dominators_parent(const snap_dominators *d, uint32_t node);
/* Number of nodes covered. */
SNAP_API uint32_t snap_dominators_count(const snap_dominators *d);
/* The nodes that a node (or 0) dominates immediately, ascending. Borrowed. The index is built on
 * the first call (O(n), 8 B/node). */
SNAP_API int snap_dominators_children(snap_dominators *d, uint32_t node, const uint32_t **out,
                                      uint32_t *out_n, snap_error *err);

typedef struct snap_retained snap_retained;

/* Sums over what each node dominates, itself included, for each of n_masks (1 to 8) sets of domains
 * (SNAP_GRAPH_DOMAIN bits), in one backward pass. O(n * n_masks); 12 B/node and mask. Bytes wrap
 * modulo 2^64. */
SNAP_API int snap_retained_new(snap_retained **out, snap_dominators *d, const uint32_t *masks,
                               uint32_t n_masks, snap_error *err);
SNAP_API void snap_retained_free(snap_retained *r);
/* Of set number `mask` (its index). Node 0: of all. A node that is not covered: 0. */
SNAP_API uint64_t snap_retained_bytes(const snap_retained *r, uint32_t node, uint32_t mask);
SNAP_API uint32_t snap_retained_count(const snap_retained *r, uint32_t node, uint32_t mask);

/* What a type's nodes retain together, nothing counted twice: a node counts if none above it in the
 * dominator tree has its type. */
typedef struct snap_retained_type {
    uint64_t bytes;   /* retained by the outermost nodes of the type */
    uint32_t count;   /* nodes retained by them */
    uint32_t n_outer; /* outermost nodes */
} snap_retained_type;
/* *out_n rows, row t for type t; free() them. One walk over the dominator tree: O(n), 8 B/node for
 * the index of children, 12 B per type and 8 B per level of depth. */
SNAP_API int snap_retained_types(snap_retained *r, uint32_t mask, snap_retained_type **out,
                                 uint64_t *out_n, snap_error *err);

/* ---- Chains ---- */

typedef struct snap_chain_link {
    uint64_t edge; /* row of the edge that leads to node; in the first link: row of the root */
    uint32_t node;
} snap_chain_link;

typedef struct snap_chain {
    snap_chain_link *links; /* root's target first, the node asked for last */
    uint32_t n_links;
    uint32_t n_low; /* references with SNAP_EDGE_FLAG_LOW, the root's included */
} snap_chain;

SNAP_API void snap_chain_release(snap_chain *c);

typedef struct snap_paths snap_paths;

/* The best chain from a root to every node: fewest references of low confidence, then shortest;
 * among those, step by step from the end: a pointer to the start before one into the inside, the
 * root's kind, the root's name, the canonical order of the node that refers, then the edge's kind,
 * label, offsets. Breadth-first, in layers. O(n + m); 12 B/node kept, 8 more while it runs. */
SNAP_API int snap_paths_new(snap_paths **out, snap_graph *g, snap_error *err);
SNAP_API void snap_paths_free(snap_paths *p);
/* References in the chain to a node, the root's included; 0: no chain. */
SNAP_API uint32_t snap_paths_length(const snap_paths *p, uint32_t node);
/* Last step of the chain to a node: the node that refers (0: a root; SNAP_GRAPH_NONE: there is no
 * chain), and the row of the edge or root. Walking on from there gives the chain from its end. */
SNAP_API uint32_t snap_paths_step(const snap_paths *p, uint32_t node, uint64_t *out_row);
/* Writes the chain to a node; release it. NOTFOUND: no root leads to it. O(length). */
SNAP_API int snap_paths_chain(const snap_paths *p, uint32_t node, snap_chain *out, snap_error *err);

typedef struct snap_disjoint_options {
    size_t struct_size;
    uint32_t max_chains;  /* 1 to 3; 0: 3 */
    uint32_t max_visited; /* nodes that one search may touch; 0: 1,000,000 */
} snap_disjoint_options;

/* Up to three chains to a node that share no other node: the answer to "why is it held although I
 * cut that reference". As many as there are (Menger), by augmenting paths in the residual graph
 * with split nodes, searched from the node towards the roots; references of low confidence only
 * when nothing else is left. Shortest first; short, but together not the shortest. *out_exhausted
 * (may be NULL) is 0 if max_visited ended a search, so that there may be more. Needs the index of
 * referrers (builds it). Time and memory: O(visited) per chain. */
SNAP_API int snap_chains_disjoint(snap_graph *g, uint32_t node,
                                  const snap_disjoint_options *options, snap_chain out[3],
                                  uint32_t *out_n, int *out_exhausted, snap_error *err);

/* A number that is the same for chains with the same meaning, in any graph with the same keys: over
 * links first to last (indices, inclusive), kinds and fields of edges and types of nodes (and kind
 * and name of the root if first is 0). Elements of arrays are one, and so is a run of up to four
 * steps that repeats, so that position in a list or a table does not matter. last is cut at the
 * end.
 */
SNAP_API uint64_t snap_chain_fingerprint(const snap_graph *g, const snap_chain *c, uint32_t first,
                                         uint32_t last);

/* ---- The tree of paths ---- */

/* All nodes that are reached over the same path from a root: same kind and name of root, same kinds
 * and fields of edges, same types. */
typedef struct snap_path_group {
    uint32_t parent; /* number of a group, less than its own; 0: held by a root */
    uint32_t type;
    uint32_t label;  /* of the edge, or name of the root; 0 if folded */
    uint8_t kind;    /* SNAP_EDGE_*, or SNAP_ROOT_* if parent is 0 */
    uint8_t is_list; /* nodes of it hold further nodes of it by the same edge */
    uint8_t is_low;  /* a reference of low confidence is on the path */
    uint32_t count;
    uint64_t field; /* snap_edge_field, or key of the root's name */
    uint64_t key; /* the whole path, as a hash that is the same in every graph with the same keys */
    uint64_t bytes;
    uint64_t total_count, total_bytes; /* with the groups below */
} snap_path_group;

typedef struct snap_path_tree snap_path_tree;

/* Shortest-path tree over groups instead of nodes, after LeakCanary's ObjectGrowthDetector. A node
 * belongs to the first group in canonical order among the shortest paths to it; paths with fewer
 * references of low confidence go first. A step from a group by the edge and to the type that led
 * to it stays in it. O(n + m) and sorting of groups; 4 B/node kept, 8 more while it runs; 80 B per
 * group. */
SNAP_API int snap_path_tree_new(snap_path_tree **out, snap_graph *g, snap_error *err);
SNAP_API void snap_path_tree_free(snap_path_tree *t);
/* Groups 1 to *out_n at [1] to [*out_n]; [0] is the sum of all. Borrowed. */
SNAP_API const snap_path_group *snap_path_tree_groups(const snap_path_tree *t, uint32_t *out_n);
/* Group of a node; 0: it cannot be reached. */
SNAP_API uint32_t snap_path_tree_group(const snap_path_tree *t, uint32_t node);

/* ---- LeakShare ---- */

typedef struct snap_leak_share {
    uint64_t share_bytes; /* its part of what groups hold; the parts add up to all that they hold */
    uint64_t exclusive_bytes; /* what no other group holds */
    uint64_t reach_bytes;     /* what it holds at all */
    uint32_t exclusive_count, reach_count;
} snap_leak_share;

/* How much each of n_groups sets of nodes is to blame for (LeakShare: Vilk and Berger, BLeak, PLDI
 * 2018; 64 groups at a time as in LeakCanary): of the nodes that can be reached through groups
 * only, each is divided equally among the groups that reach it (a rest of less than their number
 * goes to the first). Row i says that node nodes[i] is in group group[i] (below n_groups); a node
 * in two groups belongs to both; nodes that no root reaches count, too. out: n_groups rows of the
 * caller's. domains: mask. O((n + m) * passes), at most 64 per 64 groups, a few as a rule, twice
 * that for more than 64 groups; 25 B/node while it runs, 29 for more than 64 groups. */
SNAP_API int snap_leak_share_compute(snap_graph *g, const uint32_t *nodes, const uint32_t *group,
                                     uint64_t n_rows, uint32_t n_groups, uint32_t domains,
                                     snap_leak_share *out, snap_error *err);

#ifdef __cplusplus
}
#endif
#endif
