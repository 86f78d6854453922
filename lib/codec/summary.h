/* The rows of SUMM, computed from the other tables: by the writer to write them, by snap_verify to
 * compare. Sums do not depend on the order in which tables come.
 *
 * Memory: 8 bytes per stack, 16 per frame, 24 per symbol, 16 per distinct type, stack and type
 * edge; per chunk of nodes of more than one type 1 byte per node, 2 or 4 where there are more than
 * 256 or 65536 types; 8 bytes per edge whose nodes have not come yet. */
#ifndef HEAPSNAP_SUMMARY_H
#define HEAPSNAP_SUMMARY_H

#include "base/map.h"
#include "base/mem.h"

#include <heapsnap/table.h>

#define SUMMARY_ROWS_DEFAULT 256u
#define SUMMARY_ROWS_MAX                                                                           \
    1024u /* so that SUMM fits one chunk with labels of the greatest length                        \
           */
#define SUMMARY_LABEL_MAX 512u
#define SUMMARY_DOMAINS_MAX 4096u /* as above */

struct summary_cell {
    uint64_t count, bytes;
};

struct summary_domain {
    uint64_t domain, cached;
    struct summary_cell total;
};

/* Accumulators by key. */
struct summary_group {
    struct map map;
    struct summary_cell *cells; /* by the map's value - 1 */
    uint64_t *keys;
    size_t n, cell_capacity, key_capacity;
};

struct summary_row {
    uint32_t kind;
    uint64_t domain, key, key2, count, bytes, cached;
    const char *label;
    uint32_t label_length;
    uint64_t order; /* which of equal rows gives the label */
};

struct summary_module {
    uint64_t path; /* ref STRS */
    char *build_id;
};
struct summary_frame {
    uint64_t offset;
    uint32_t module;
    uint32_t is_native;
};
struct summary_stack {
    uint32_t parent, frame;
};
struct summary_symbol {
    uint64_t line;
    uint32_t frame, function, file, depth;
};
struct summary_hook {
    uint64_t count, line;
    uint32_t registry, callback, file;
};
struct summary_small {
    uint32_t kind;
    uint64_t domain, key, key2, count, bytes, cached;
};
struct summary_nodes {
    uint64_t first_id;
    void *classes; /* index in `types`, by row; NULL: all one_class */
    uint32_t one_class;
    uint32_t n;
    unsigned width; /* bytes of a class: 1, 2, 4 */
};

#define SUMMARY_RECENT_BITS 12
struct summary_recent {
    uint64_t key, cell; /* cell + 1; 0: none */
};

struct summary {
    struct arena arena;
    struct map domain_map; /* index + 1 by domain */
    struct summary_domain *domains;
    size_t n_domains, domain_capacity;
    struct summary_group types;      /* key: domain index << 32 | type */
    struct summary_group sites;      /* key: domain index << 32 | stack */
    struct summary_group type_edges; /* key: class of source << 32 | class of target */
    struct summary_module *modules;
    struct summary_frame *frames;
    struct summary_stack *stacks;
    struct summary_symbol *symbols;
    uint64_t *type_names;
    struct summary_hook *hooks;
    struct summary_small *small;
    struct summary_nodes *nodes; /* by call of summary_add */
    uint32_t *pending;           /* pairs of source and target */
    size_t n_modules, n_frames, n_stacks, n_symbols, n_types, n_hooks, n_small, n_node_chunks,
        n_pending;
    size_t module_capacity, frame_capacity, stack_capacity, symbol_capacity, type_capacity,
        hook_capacity, small_capacity, node_capacity, pending_capacity;
    uint64_t n_nodes, n_edges;
    uint64_t *stack_keys;                                   /* by id, made by summary_build */
    struct summary_recent recent[1 << SUMMARY_RECENT_BITS]; /* of sites */
};

void summary_init(struct summary *s);
void summary_release(struct summary *s);

/* Adds n rows; columns[c] is the values of column id c or NULL for all constants[c]. Rows of each
 * table come in order. build_ids (MODS only): text by row. Returns 0, SNAP_E_NOMEM, or SNAP_E_LIMIT
 * (domains).
 */
int summary_add(struct summary *s, snap_table table, const uint64_t *const *columns,
                const uint64_t *constants, const char *const *build_ids, size_t n);

/* Text of a string id; NULL: failed, which summary_build passes on. */
typedef const char *(*summary_text)(void *context, uint64_t id, size_t *out_length);

/* The rows, sorted, at most max_rows of each kind apart from totals. All references have been
 * checked. *out lives until summary_release. */
int summary_build(struct summary *s, summary_text text, void *context, uint32_t max_rows,
                  struct summary_row **out, size_t *out_n);

#endif
