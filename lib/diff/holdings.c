/* Who retains most, and what nothing holds: the whole heap at a glance.
 *
 * Invariant: retained bytes of a tree's children add up to no more than their parent's; each lost
 * node counts once, directly or under one that is. Shows the biggest only; sums are over all. */
#include "diff/chaintext.h"

#include "base/err.h"

#include <stdlib.h>
#include <string.h>

#define ROOTS_DEFAULT 10
#define CHILDREN_DEFAULT 3
#define DEPTH_DEFAULT 8
#define DEPTH_MAX 64
#define ROWS_MAX 1000
/* A child is shown if it is at least this part of what the node above retains. */
#define SHOWN_DIVISOR 20

struct work {
    snap_heap *h;
    snap_holdings_options options;
    snap_holdings *out;
    snap_reach *reach;
    snap_lost *lost;
    snap_dominators *dominators;
    snap_retained *retained;
    snap_dominator_row *tree;
    size_t n_tree, tree_capacity;
    snap_lost_site *sites;
    size_t n_sites, site_capacity;
};

static int no_memory(snap_error *err) {
    return err_set(err, SNAP_E_NOMEM, "no memory for what the heap holds");
}

/* What a child reads as: siblings that read the same are shown as one row. */
struct look {
    uint64_t bytes, field, size_bytes;
    uint64_t edge;
    uint32_t node, type, n_alike, n_nodes;
};

static int compare_looks(const void *x, const void *y) {
    const struct look *const a = x, *const b = y;
    if (a->bytes != b->bytes)
        return a->bytes > b->bytes ? -1 : 1;
    return a->node < b->node ? -1 : a->node > b->node;
}

static int compare_kinds_of_look(const void *x, const void *y) {
    const struct look *const a = x, *const b = y;
    if (a->type != b->type)
        return a->type < b->type ? -1 : 1;
    if (a->field != b->field)
        return a->field < b->field ? -1 : 1;
    return compare_looks(x, y);
}

/* Finds the references from a node to its children: one pass over what it refers to. */
static int find_edges(const snap_heap *h, uint32_t node, struct look *rows, uint32_t n,
                      snap_error *err) {
    struct map index;
    map_init(&index);
    for (uint32_t i = 0; i < n; i++) {
        uint32_t *const slot = map_slot(&index, rows[i].node);
        if (slot == NULL) {
            map_release(&index);
            return no_memory(err);
        }
        *slot = i + 1;
    }
    uint64_t first;
    const uint64_t n_out = snap_graph_out(h->graph, node, &first);
    for (uint64_t i = 0; i < n_out; i++) {
        const uint64_t edge = snap_graph_out_edge(h->graph, first + i);
        const uint32_t at = map_get(&index, h->edge_target[edge]);
        if (at == 0 || rows[at - 1].edge != UINT64_MAX)
            continue;
        rows[at - 1].edge = edge;
        rows[at - 1].field = snap_edge_field(h->graph, edge);
    }
    map_release(&index);
    return 0;
}

/* Children, alike ones folded, biggest first. *out is malloc'ed. */
static int children_of(struct work *w, uint32_t node, struct look **out, size_t *out_n,
                       snap_error *err) {
    const uint32_t *children;
    uint32_t n;
    SNAP_TRY(snap_dominators_children(w->dominators, node, &children, &n, err));
    struct look *const rows = mem_alloc((size_t)n + 1, sizeof *rows);
    if (rows == NULL)
        return no_memory(err);
    for (uint32_t i = 0; i < n; i++)
        rows[i] = (struct look){.bytes = snap_retained_bytes(w->retained, children[i], 0),
                                .size_bytes = heap_node_bytes(w->h, children[i]),
                                .node = children[i],
                                .type = heap_node_type(w->h, children[i]),
                                .n_nodes = snap_retained_count(w->retained, children[i], 0),
                                .edge = UINT64_MAX,
                                .n_alike = 1};
    size_t n_rows = n;
    if (node == 0) {
        n_rows = 0;
        for (uint32_t i = 0; i < n; i++) /* what is lost has a list of its own */
            if (snap_reach_mask(w->reach, rows[i].node) != 0)
                rows[n_rows++] = rows[i];
    } else if (n > 0) {
        const int result = find_edges(w->h, node, rows, n, err);
        if (result < 0) {
            free(rows);
            return result;
        }
        qsort(rows, n, sizeof *rows, compare_kinds_of_look);
        n_rows = 0;
        for (uint32_t i = 0; i < n; i++) {
            struct look *const last = n_rows > 0 ? &rows[n_rows - 1] : NULL;
            if (last != NULL && last->type == rows[i].type && last->field == rows[i].field) {
                last->bytes = add_sat(last->bytes, rows[i].bytes);
                last->size_bytes = add_sat(last->size_bytes, rows[i].size_bytes);
                last->n_nodes += rows[i].n_nodes;
                last->n_alike++;
            } else {
                rows[n_rows++] = rows[i];
            }
        }
    }
    if (n_rows > 1)
        qsort(rows, n_rows, sizeof *rows, compare_looks);
    *out = rows;
    *out_n = n_rows;
    return 0;
}

/* A list is one row: follows the child of the same type over the same field. */
static int fold_run(struct work *w, struct look *look, snap_error *err) {
    uint32_t node = look->node;
    for (;;) {
        const uint32_t *children;
        uint32_t n, next = 0;
        SNAP_TRY(snap_dominators_children(w->dominators, node, &children, &n, err));
        for (uint32_t i = 0; i < n && i < 64 && next == 0; i++) {
            struct look child = {.node = children[i], .edge = UINT64_MAX};
            if (heap_node_type(w->h, children[i]) != look->type)
                continue;
            SNAP_TRY(find_edges(w->h, node, &child, 1, err));
            if (child.edge != UINT64_MAX && child.field == look->field)
                next = children[i];
        }
        if (next == 0)
            return 0;
        node = next;
        look->size_bytes = add_sat(look->size_bytes, heap_node_bytes(w->h, node));
        look->n_alike++;
    }
}

static int put_row(struct work *w, const struct look *look, uint32_t depth, snap_error *err) {
    snap_heap *const h = w->h;
    snap_heap_node node;
    SNAP_TRY(snap_heap_node_get(h, look->node, &node, err));
    snap_dominator_row row = {
        .depth = depth,
        .edge = "",
        .node = node.type,
        .label = node.label,
        .root = "",
        .id = look->node,
        .n_nodes = look->n_nodes,
        .n_alike = look->n_alike,
        .address = node.address,
        .size_bytes = look->size_bytes,
        .retained_bytes = look->bytes,
    };
    if (look->edge != UINT64_MAX)
        SNAP_TRY(heap_edge_text(h, look->edge, &row.edge, err));
    if (mem_grow(&w->tree, &w->tree_capacity, w->n_tree + 1, sizeof *w->tree) < 0)
        return no_memory(err);
    w->tree[w->n_tree++] = row;
    return 0;
}

/* Preorder without recursion: a row's children are pushed last first. */
struct pending {
    struct look look;
    uint32_t depth;
};

/* Pushes those children that explain something of what the node above retains. */
static int push_children(struct work *w, uint32_t node, uint64_t bytes, uint32_t type,
                         uint32_t depth, struct pending **stack, size_t *n, size_t *capacity,
                         snap_error *err) {
    struct look *rows = NULL;
    size_t n_rows = 0;
    SNAP_TRY(children_of(w, node, &rows, &n_rows, err));
    const size_t most = node == 0 ? w->options.max_roots : w->options.max_children;
    if (n_rows > most)
        n_rows = most;
    int result = 0;
    if (mem_grow(stack, capacity, *n + n_rows + 1, sizeof **stack) < 0)
        result = no_memory(err);
    for (size_t i = n_rows; result == 0 && i-- > 0;) {
        if (node != 0 && rows[i].bytes < bytes / SHOWN_DIVISOR)
            continue;
        if (node != 0 && type != 0 && rows[i].type == type && rows[i].n_alike == 1 &&
            rows[i].edge != UINT64_MAX)
            result = fold_run(w, &rows[i], err);
        (*stack)[(*n)++] = (struct pending){rows[i], depth};
    }
    free(rows);
    return result;
}

static int put_tree(struct work *w, snap_error *err) {
    struct pending *stack = NULL;
    size_t n = 0, capacity = 0;
    int result = push_children(w, 0, 0, 0, 0, &stack, &n, &capacity, err);
    while (result == 0 && n > 0 && w->n_tree < ROWS_MAX) {
        const struct pending top = stack[--n];
        result = put_row(w, &top.look, top.depth, err);
        if (result == 0 && top.depth + 1 < w->options.max_depth && top.look.n_alike == 1)
            result = push_children(w, top.look.node, top.look.bytes, top.look.type, top.depth + 1,
                                   &stack, &n, &capacity, err);
    }
    free(stack);
    return result;
}

/* Names of the roots that refer to the trees shown: one pass over all roots. */
static int name_roots(struct work *w, snap_error *err) {
    snap_heap *const h = w->h;
    struct map wanted;
    map_init(&wanted);
    int result = 0;
    for (size_t i = 0; i < w->n_tree && result == 0; i++)
        if (w->tree[i].depth == 0) {
            uint32_t *const slot = map_slot(&wanted, w->tree[i].id);
            if (slot == NULL)
                result = no_memory(err);
            else
                *slot = (uint32_t)i + 1;
        }
    for (int passing = 0; passing < 2 && result == 0; passing++)
        for (uint64_t r = 0; r < h->n_roots && result == 0; r++) {
            const uint32_t at = h->root_target[r] != 0 ? map_get(&wanted, h->root_target[r]) : 0;
            const int is_low = (h->root_flags[r] & SNAP_EDGE_FLAG_LOW) != 0;
            if (at != 0 && is_low == passing && *w->tree[at - 1].root == '\0')
                result = heap_root_text(h, r, &w->tree[at - 1].root, err);
        }
    map_release(&wanted);
    return result;
}

static int compare_types(const void *x, const void *y) {
    const snap_retained_row *const a = x, *const b = y;
    if (a->retained_bytes != b->retained_bytes)
        return a->retained_bytes > b->retained_bytes ? -1 : 1;
    if (a->bytes != b->bytes)
        return a->bytes > b->bytes ? -1 : 1;
    return strcmp(a->type, b->type);
}

static int put_types(struct work *w, snap_error *err) {
    snap_heap *const h = w->h;
    snap_retained_type *types;
    uint64_t n_types = 0;
    SNAP_TRY(snap_retained_types(w->retained, 0, &types, &n_types, err));
    snap_retained_row *const rows = arena_alloc(&h->arena, ((size_t)h->n_types + 1) * sizeof *rows);
    if (rows == NULL) {
        free(types);
        return no_memory(err);
    }
    memset(rows, 0, ((size_t)h->n_types + 1) * sizeof *rows);
    for (uint32_t v = 1; v <= h->n_nodes; v++) {
        snap_retained_row *const row = &rows[heap_node_type(h, v)];
        row->count++;
        row->bytes = add_sat(row->bytes, heap_node_bytes(h, v));
    }
    size_t n = 0;
    for (uint32_t t = 0; t < h->n_types; t++) {
        if (rows[t].count == 0)
            continue;
        rows[n] = rows[t];
        rows[n].type = h->type_name[t];
        rows[n].retained_bytes = t < n_types ? types[t].bytes : 0;
        n++;
    }
    free(types);
    if (n > 1)
        qsort(rows, n, sizeof *rows, compare_types);
    w->out->types = rows;
    w->out->n_types = n;
    return 0;
}

static snap_lost_site *site_of(struct work *w, struct map *by_key, uint32_t node,
                               snap_holder_class holder_class) {
    const uint64_t parts[3] = {heap_node_stack(w->h, node), heap_node_type(w->h, node),
                               (uint64_t)holder_class};
    uint32_t *const slot = map_slot(by_key, strtab_key((const char *)parts, sizeof parts));
    if (slot == NULL)
        return NULL;
    if (*slot == 0) {
        if (mem_grow(&w->sites, &w->site_capacity, w->n_sites + 1, sizeof *w->sites) < 0)
            return NULL;
        w->sites[w->n_sites++] = (snap_lost_site){
            .type = w->h->type_name[heap_node_type(w->h, node)],
            .stack = heap_node_stack(w->h, node),
            .holder_class = holder_class,
            .node = node,
        };
        *slot = (uint32_t)w->n_sites;
    }
    return &w->sites[*slot - 1];
}

static int compare_sites(const void *x, const void *y) {
    const snap_lost_site *const a = x, *const b = y;
    if (a->holder_class != b->holder_class)
        return a->holder_class == SNAP_HOLDER_LOST ? -1 : 1;
    const uint64_t bytes_a = add_sat(a->bytes, a->indirect_bytes);
    const uint64_t bytes_b = add_sat(b->bytes, b->indirect_bytes);
    if (bytes_a != bytes_b)
        return bytes_a > bytes_b ? -1 : 1;
    return a->node < b->node ? -1 : a->node > b->node;
}

/* Lost blocks by site and type. Those that only doubtful references keep alive are "possibly lost",
 * each by itself: who is held by whom is as doubtful. */
static int put_lost(struct work *w, snap_error *err) {
    snap_heap *const h = w->h;
    struct map by_key;
    map_init(&by_key);
    uint32_t n_blocks, n_cycles;
    const snap_lost_block *const blocks = snap_lost_blocks(w->lost, &n_blocks);
    const snap_lost_cycle *const cycles = snap_lost_cycles(w->lost, &n_cycles);
    uint8_t *const in_cycle = mem_zalloc((size_t)h->n_nodes + 1, 1);
    int result = in_cycle != NULL ? 0 : no_memory(err);
    for (uint32_t i = 0; result == 0 && i < n_cycles; i++)
        in_cycle[cycles[i].node] = 1;
    for (uint32_t i = 0; result == 0 && i < n_blocks; i++) {
        snap_lost_site *const s = site_of(w, &by_key, blocks[i].node, SNAP_HOLDER_LOST);
        if (s == NULL) {
            result = no_memory(err);
            break;
        }
        const uint64_t bytes = heap_node_bytes(h, blocks[i].node);
        s->count++;
        s->bytes = add_sat(s->bytes, bytes);
        s->indirect_count += blocks[i].n_nodes - 1;
        s->indirect_bytes = add_sat(s->indirect_bytes, blocks[i].bytes - bytes);
        s->is_cycle |= in_cycle[blocks[i].node];
        w->out->lost_count += blocks[i].n_nodes;
        w->out->lost_bytes = add_sat(w->out->lost_bytes, blocks[i].bytes);
    }
    for (uint32_t v = 1; result == 0 && v <= h->n_nodes; v++) {
        const unsigned mask = snap_reach_mask(w->reach, v);
        const uint64_t bytes = heap_node_bytes(h, v);
        w->out->total_bytes = add_sat(w->out->total_bytes, bytes);
        if (mask != 0)
            w->out->reachable_bytes = add_sat(w->out->reachable_bytes, bytes);
        if (mask == 0 || mask & SNAP_REACH_SURE)
            continue;
        snap_lost_site *const s = site_of(w, &by_key, v, SNAP_HOLDER_POSSIBLY_LOST);
        if (s == NULL) {
            result = no_memory(err);
            break;
        }
        s->count++;
        s->bytes = add_sat(s->bytes, bytes);
        w->out->possibly_lost_count++;
        w->out->possibly_lost_bytes = add_sat(w->out->possibly_lost_bytes, bytes);
    }
    free(in_cycle);
    map_release(&by_key);
    if (result == 0 && w->n_sites > 1)
        qsort(w->sites, w->n_sites, sizeof *w->sites, compare_sites);
    return result;
}

static int run(struct work *w, snap_error *err) {
    const uint32_t all = SNAP_GRAPH_ALL_DOMAINS;
    SNAP_TRY(snap_reach_new(&w->reach, w->h->graph, err));
    SNAP_TRY(snap_lost_new(&w->lost, w->h->graph, w->reach, err));
    SNAP_TRY(put_lost(w, err));
    if (w->options.only_lost)
        return 0;
    SNAP_TRY(snap_dominators_new(&w->dominators, w->h->graph, w->lost, err));
    SNAP_TRY(snap_retained_new(&w->retained, w->dominators, &all, 1, err));
    SNAP_TRY(put_types(w, err));
    SNAP_TRY(put_tree(w, err));
    return name_roots(w, err);
}

struct kept {
    snap_dominator_row *tree;
    snap_lost_site *sites;
};

int snap_holdings_new(snap_holdings **out, snap_heap *h, const snap_holdings_options *given,
                      snap_error *err) {
    struct work w = {.h = h};
    if (given != NULL)
        memcpy(&w.options, given,
               given->struct_size == 0 || given->struct_size > sizeof w.options
                   ? sizeof w.options
                   : given->struct_size);
    if (w.options.max_roots == 0)
        w.options.max_roots = ROOTS_DEFAULT;
    if (w.options.max_children == 0)
        w.options.max_children = CHILDREN_DEFAULT;
    if (w.options.max_depth == 0)
        w.options.max_depth = DEPTH_DEFAULT;
    if (w.options.max_depth > DEPTH_MAX)
        w.options.max_depth = DEPTH_MAX;
    w.out = mem_zalloc(1, sizeof *w.out);
    struct kept *const kept = mem_zalloc(1, sizeof *kept);
    int result = w.out != NULL && kept != NULL ? run(&w, err) : no_memory(err);
    if (w.retained != NULL)
        snap_retained_free(w.retained);
    if (w.dominators != NULL)
        snap_dominators_free(w.dominators);
    if (w.lost != NULL)
        snap_lost_free(w.lost);
    if (w.reach != NULL)
        snap_reach_free(w.reach);
    if (result < 0) {
        free(w.out);
        free(kept);
        free(w.tree);
        free(w.sites);
        return result;
    }
    *kept = (struct kept){w.tree, w.sites};
    w.out->tree = w.tree;
    w.out->n_tree = w.n_tree;
    w.out->lost = w.sites;
    w.out->n_lost = w.n_sites;
    w.out->internal = kept;
    *out = w.out;
    return 0;
}

void snap_holdings_free(snap_holdings *holdings) {
    if (holdings == NULL)
        return;
    struct kept *const kept = holdings->internal;
    free(kept->tree);
    free(kept->sites);
    free(kept);
    free(holdings);
}
