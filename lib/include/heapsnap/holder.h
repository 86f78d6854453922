/* The reference graph of a snapshot: loading it from a file, names of what is in it, and who holds
 * what.
 *
 *     snap_heap *h;
 *     snap_heap_open(&h, snapshot, NULL, &err);
 *     snap_graph *g = snap_heap_graph(h);      -- everything of graph.h
 *     snap_heap_node_get(h, node, &info, &err);
 *     snap_heap_close(h);
 *
 * Nodes are numbered as in the file (id of the row in NODE). Loading decodes NODE, EDGE, ROOT once:
 * O(nodes + edges); 29 B per node (25 without births), 22 B per edge (8 less where nothing has an
 * offset, and so on: columns that the file does not have are not kept), 10 B per root, and what the
 * graph takes itself. The snapshot must outlive the heap. A heap belongs to one thread at a time.
 * Strings that getters return live until snap_heap_close. */
#ifndef HEAPSNAP_HOLDER_H
#define HEAPSNAP_HOLDER_H

#include <heapsnap/graph.h>
#include <heapsnap/snapshot.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct snap_heap snap_heap;

typedef struct snap_heap_options {
    size_t struct_size;
    uint64_t max_memory_bytes; /* for columns, graph and results together; 0: no limit */
    int (*progress)(void *context, uint64_t done, uint64_t total); /* other than 0: cancel */
    void *progress_context;
    /* 1: references from stacks and registers count as low confidence, so that chains begin at
     * variables that last wherever there is one. snap_heap_root_get still tells the flags of the
     * file. */
    int lasting_roots_first;
    unsigned threads; /* that read: 0: two if there are two cores; 1: the caller's alone */
} snap_heap_options;

/* 1 if a snapshot has references or roots at all. */
SNAP_API int snap_heap_has_graph(const snap_snapshot *s);

/* Errors: those of reading, LIMIT (over max_memory_bytes, or more than a graph can have), NOMEM,
 * CANCELED. */
SNAP_API int snap_heap_open(snap_heap **out, const snap_snapshot *s,
                            const snap_heap_options *options, snap_error *err);
SNAP_API void snap_heap_close(snap_heap *h);
/* Borrowed. Types of nodes are numbers of snap_heap_type_name; labels of edges and names of roots
 * numbers of snap_heap_label. Both have keys that are the same in every file. */
SNAP_API snap_graph *snap_heap_graph(snap_heap *h);
SNAP_API uint32_t snap_heap_n_nodes(const snap_heap *h);
SNAP_API uint32_t snap_heap_n_types(const snap_heap *h); /* types are below it; 0: unknown */

/* Blocks without a type have one made of their site: "allocated in FUNCTION", or, where
 * Python asked for them, "allocated in FILE:LINE FUNCTION". */
SNAP_API const char *snap_heap_type_name(const snap_heap *h, uint32_t type);
SNAP_API int snap_heap_label(const snap_heap *h, uint32_t label, const char **out, snap_error *err);

typedef struct snap_heap_node {
    const char *type; /* "" if unknown */
    const char *label;
    uint64_t address, size_bytes; /* size with external bytes */
    uint64_t birth, stack;        /* stack: id for snap_stack */
    uint32_t domain, kind, flags; /* SNAP_DOMAIN_*, SNAP_NODE_*, SNAP_NODE_FLAG_* */
    int type_is_known;            /* 0: the type is made of the site, or "" */
} snap_heap_node;
/* O(1) for nodes near the last one asked for, else one decoded chunk. */
SNAP_API int snap_heap_node_get(snap_heap *h, uint32_t node, snap_heap_node *out, snap_error *err);

typedef struct snap_heap_root {
    const char *name, *label; /* as in the file; "" if none */
    const char *module;       /* path; "" if none */
    uint64_t address;         /* of the word; minus the module's bias if there is a module */
    uint64_t tid;             /* 0: no thread */
    const char *thread;       /* its name */
    uint32_t kind, flags;     /* SNAP_ROOT_*, SNAP_EDGE_FLAG_* */
} snap_heap_root;
SNAP_API int snap_heap_root_get(snap_heap *h, uint64_t root, snap_heap_root *out, snap_error *err);

/* The node that holds an address; *out_offset (may be NULL): how far inside. 0: none. Builds a
 * sorted index on the first call (12 B/node). */
SNAP_API int snap_heap_find(snap_heap *h, uint64_t address, uint32_t *out_node,
                            uint64_t *out_offset, snap_error *err);

/* ---- Who holds nodes ---- */

/* One step of a chain; a run of equal steps is one. */
typedef struct snap_holder_step {
    const char *edge; /* field, key, index as written in the source, with the "." or "[" before it;
                         "" for the first */
    const char *node; /* its type */
    const char *label;
    uint32_t id;      /* of the (last) node */
    uint32_t repeat;  /* steps in the run, at least 1 */
    uint32_t n_nodes; /* that have this place in all chains of the group */
    uint64_t address, size_bytes, retained_bytes; /* of the (last) node */
    int is_interior, is_low, is_guess;
} snap_holder_step;

typedef struct snap_holder_chain {
    const char *root;        /* "g_server.sessions", "main() local 'p'", "register rbx" */
    const char *root_kind;   /* "global", "stack", ...: code names of ROOT.kind */
    const char *root_module; /* path; "" if none */
    const char *root_thread; /* "thread 4711 'worker'"; "" if none */
    const snap_holder_step *steps;
    uint32_t n_steps;
    uint32_t n_low; /* references of low confidence, the root's included */
} snap_holder_chain;

typedef enum snap_holder_class {
    SNAP_HOLDER_ROOTED,
    SNAP_HOLDER_POSSIBLY_LOST, /* only references of low confidence lead there */
    SNAP_HOLDER_LOST           /* no reference from a root leads there */
} snap_holder_class;

/* Nodes whose chains mean the same: position in lists and tables does not count. */
typedef struct snap_holder_group {
    uint64_t fingerprint;
    snap_holder_class holder_class;
    uint64_t count, bytes;
    uint64_t retained_bytes;         /* together, nothing counted twice */
    const snap_holder_chain *chains; /* of one of the nodes; the first is the best, the others share
                                        no node with it. None: lost */
    uint32_t n_chains;
    uint32_t node; /* that the chains lead to */
} snap_holder_group;

typedef struct snap_holders_query {
    size_t struct_size;
    const char *type;     /* type's name; NULL: any */
    const char *function; /* on the allocation stack, by name; NULL: any */
    uint64_t address;     /* inside the node; 0: any */
    uint32_t max_groups;  /* 0: 20 */
    uint32_t max_chains;  /* 1 to 3; 0: 3 */
} snap_holders_query;

typedef struct snap_holders {
    uint64_t count, bytes, retained_bytes; /* of all that the query found */
    uint64_t n_groups;                     /* all of them; more than there are in groups if cut */
    const snap_holder_group *groups;       /* most bytes retained first */
    uint32_t n_shown;
    const char *const *limits; /* what the answer does not know */
    size_t n_limits;
    void *internal;
} snap_holders;

/* NOTFOUND: no node matches. */
SNAP_API int snap_holders_new(snap_holders **out, snap_heap *h, const snap_holders_query *query,
                              snap_error *err);
SNAP_API void snap_holders_free(snap_holders *holders);

/* ---- Who retains most, and what is lost ---- */

/* A node in the dominator tree, in preorder. */
typedef struct snap_dominator_row {
    uint32_t depth;   /* 0: no other node retains it */
    const char *edge; /* from the node above, "" if none leads there directly */
    const char *node, *label;
    const char *root;     /* at depth 0: what refers to it; "" otherwise */
    uint32_t id, n_nodes; /* n_nodes: retained by it, with itself */
    uint32_t n_alike;     /* siblings of the same type and edge that this row stands for, too */
    uint64_t address, size_bytes, retained_bytes; /* of all that the row stands for */
} snap_dominator_row;

typedef struct snap_retained_row {
    const char *type;
    uint64_t count, bytes, retained_bytes; /* nothing counted twice inside a type */
} snap_retained_row;

typedef struct snap_lost_site {
    const char *type;
    uint64_t stack; /* that allocated them; for snap_stack */
    snap_holder_class holder_class;
    uint64_t count, bytes;                   /* directly lost */
    uint64_t indirect_count, indirect_bytes; /* held by them alone */
    int is_cycle;                            /* they refer to one another in a circle */
    uint32_t node;                           /* one of them */
} snap_lost_site;

typedef struct snap_holdings {
    uint64_t total_bytes, reachable_bytes;
    uint64_t lost_count, lost_bytes; /* direct and indirect */
    uint64_t possibly_lost_count, possibly_lost_bytes;
    const snap_retained_row *types; /* most retained first */
    size_t n_types;
    const snap_dominator_row *tree; /* the biggest */
    size_t n_tree;
    const snap_lost_site *lost; /* most bytes first, possibly lost ones last */
    size_t n_lost;
    void *internal;
} snap_holdings;

typedef struct snap_holdings_options {
    size_t struct_size;
    uint32_t max_roots;    /* trees to show; 0: 10 */
    uint32_t max_children; /* of each node; 0: 3 */
    uint32_t max_depth;    /* 0: 8 */
    int only_lost;         /* 1: no dominators are computed */
} snap_holdings_options;

SNAP_API int snap_holdings_new(snap_holdings **out, snap_heap *h,
                               const snap_holdings_options *options, snap_error *err);
SNAP_API void snap_holdings_free(snap_holdings *holdings);

#ifdef __cplusplus
}
#endif
#endif
