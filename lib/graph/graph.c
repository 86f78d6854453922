/* The graph: checks the caller's arrays, indexes edges by source and, on demand, by target.
 *
 * Invariant: after snap_graph_new no number of the input needs checking again; every walk, in
 * either direction, sees the same edges as keeping their target alive. Edges sorted by source are
 * used where they lie; others are copied in order of source. */
#include "graph/internal.h"

#include <stdlib.h>
#include <string.h>

int graph_canceled(const snap_graph *g, uint64_t done, uint64_t total, snap_error *err) {
    if (g->progress && g->progress(g->progress_context, done, total))
        return err_set(err, SNAP_E_CANCELED, "canceled");
    return 0;
}

static int check_nodes(snap_graph *g, snap_error *err) {
    const snap_graph_input *in = &g->in;
    uint32_t greatest = 0;
    for (uint64_t i = 0; in->type && i < g->n; i++)
        if (in->type[i] > greatest)
            greatest = in->type[i];
    if ((in->type_key || in->type_size || in->type_rank) && greatest >= in->n_types)
        return err_set(err, SNAP_E_ARG, "type %u of a node is beyond the table of %llu", greatest,
                       (unsigned long long)in->n_types);
    if (greatest == UINT32_MAX)
        return err_set(err, SNAP_E_ARG, "type %u of a node is no type", greatest);
    g->n_types = greatest + 1;
    return 0;
}

static int check_labels(const snap_graph_input *in, const uint32_t *labels, uint64_t count,
                        const char *what, snap_error *err) {
    const uint64_t n_labels = in->n_labels;
    uint64_t i = 0;
    if (!labels || !in->label_key)
        return 0;
    while (i < count && labels[i] < n_labels)
        i++;
    if (i < count)
        return err_set(err, SNAP_E_ARG, "label %u of %s %llu is beyond the table of %llu",
                       labels[i], what, (unsigned long long)i, (unsigned long long)n_labels);
    return 0;
}

static bool row_keeps(const snap_graph *g, uint64_t e) {
    const uint8_t kind = edge_kind(g, e);
    return g->in.edge_source[e] && g->in.edge_target[e] &&
           !(edge_flags(g, e) & SNAP_GRAPH_FLAG_WEAK) && !(kind < 64 && g->weak_kinds >> kind & 1);
}

static int bad_edge(uint64_t e, uint32_t node, uint32_t n, snap_error *err) {
    return err_set(err, SNAP_E_ARG, "edge %llu names node %u of %u", (unsigned long long)e, node,
                   n);
}

/* Checks the ends of the edges [from, to). */
static int check_edges(const snap_graph *g, uint64_t from, uint64_t to, snap_error *err) {
    const uint32_t *const source = g->in.edge_source, *const target = g->in.edge_target;
    const uint32_t n = g->n;
    bool is_bad = false;
    for (uint64_t e = from; e < to; e++)
        is_bad |= source[e] > n || target[e] > n;
    for (uint64_t e = from; is_bad; e++) {
        if (source[e] > n)
            return bad_edge(e, source[e], n, err);
        if (target[e] > n)
            return bad_edge(e, target[e], n, err);
    }
    return 0;
}

/* Whether some of the edges [from, to) are weak, and whether others have low confidence. */
static void look_for_weak(snap_graph *g, uint64_t from, uint64_t to, bool *has_weak) {
    const uint32_t *const source = g->in.edge_source, *const target = g->in.edge_target;
    bool is_weak_kind[256], weak = false, low = false;
    for (unsigned kind = 0; kind < 256; kind++)
        is_weak_kind[kind] = kind < 64 && g->weak_kinds >> kind & 1;
    for (uint64_t e = from; e < to; e++) {
        const uint8_t flags = edge_flags(g, e);
        const bool is_weak = !source[e] | !target[e] | ((flags & SNAP_GRAPH_FLAG_WEAK) != 0) |
                             is_weak_kind[edge_kind(g, e)];
        weak |= is_weak;
        low |= !is_weak & ((flags & SNAP_EDGE_FLAG_LOW) != 0);
    }
    *has_weak |= weak;
    g->has_low |= low;
}

/* Counts edges by source into offset, checks them, finds out whether they are sorted and whether
 * some are weak. */
static int count_edges(snap_graph *g, bool *is_sorted, bool *has_weak, snap_error *err) {
    enum { STEP = 1 << 16 }; /* stays in a cache */
    const uint32_t *const source = g->in.edge_source;
    uint32_t previous = 0;
    bool is_less = false;
    *has_weak = false;
    for (uint64_t e = 0; e < g->m;) {
        const uint64_t end = g->m - e < STEP ? g->m : e + STEP;
        SNAP_TRY(graph_poll(g, e, g->m, err));
        SNAP_TRY(check_edges(g, e, end, err));
        look_for_weak(g, e, end, has_weak);
        for (; e < end; e++) {
            is_less |= source[e] < previous;
            previous = source[e];
            offsets_increment(&g->offset, (uint64_t)source[e] + 1);
        }
    }
    *is_sorted = !is_less;
    for (uint64_t u = 1; u <= (uint64_t)g->n + 1; u++)
        offsets_set(&g->offset, u, offsets_get(&g->offset, u) + offsets_get(&g->offset, u - 1));
    return 0;
}

/* Stable counting sort: input order stays within a source. */
static int sort_edges(snap_graph *g, snap_error *err) {
    SNAP_TRY(graph_array(&g->memory, &g->target_sorted, g->m, sizeof *g->target_sorted, err));
    SNAP_TRY(offsets_new(&g->row, &g->memory, g->m, g->m, err));
    /* offset[u] is the start of u; it ends as the start of u + 1, and is moved back by one. */
    for (uint64_t e = 0; e < g->m; e++) {
        SNAP_TRY(graph_poll(g, e, g->m, err));
        const uint64_t p = offsets_increment(&g->offset, g->in.edge_source[e]);
        g->target_sorted[p] = g->in.edge_target[e];
        offsets_set(&g->row, p, e);
    }
    for (uint64_t u = (uint64_t)g->n + 1; u > 0; u--)
        offsets_set(&g->offset, u, offsets_get(&g->offset, u - 1));
    offsets_set(&g->offset, 0, 0);
    g->target = g->target_sorted;
    return 0;
}

static int index_edges(snap_graph *g, snap_error *err) {
    bool is_sorted, has_weak;
    SNAP_TRY(offsets_new(&g->offset, &g->memory, (uint64_t)g->n + 2, g->m, err));
    SNAP_TRY(count_edges(g, &is_sorted, &has_weak, err));
    g->target = g->in.edge_target;
    if (!is_sorted)
        SNAP_TRY(sort_edges(g, err));
    if (!has_weak)
        return 0;
    SNAP_TRY(graph_array(&g->memory, &g->keeps, bit_words(g->m), sizeof *g->keeps, err));
    for (uint64_t p = 0; p < g->m; p++)
        if (row_keeps(g, position_row(g, p)))
            bit_set(g->keeps, p);
    return 0;
}

static int index_roots(snap_graph *g, snap_error *err) {
    SNAP_TRY(graph_array(&g->memory, &g->rooted, bit_words(g->n), sizeof *g->rooted, err));
    for (uint64_t r = 0; r < g->n_roots; r++) {
        const uint32_t node = g->in.root_target[r];
        if (node > g->n)
            return err_set(err, SNAP_E_ARG, "root %llu names node %u of %u", (unsigned long long)r,
                           node, g->n);
        if (!root_keeps(g, r))
            continue;
        bit_set(g->rooted, node);
        if (root_is_low(g, r))
            g->has_low = true;
    }
    return 0;
}

static int check_sizes(const snap_graph_input *in, snap_error *err) {
    if (in->n_nodes > SNAP_GRAPH_NODES_MAX)
        return err_set(err, SNAP_E_LIMIT, "%llu nodes are more than %u",
                       (unsigned long long)in->n_nodes, SNAP_GRAPH_NODES_MAX);
    if (in->n_roots > SNAP_GRAPH_NODES_MAX)
        return err_set(err, SNAP_E_LIMIT, "%llu roots are more than %u",
                       (unsigned long long)in->n_roots, SNAP_GRAPH_NODES_MAX);
    if (in->n_edges > (1ull << 62))
        return err_set(err, SNAP_E_LIMIT, "%llu edges are more than 2^62",
                       (unsigned long long)in->n_edges);
    if (in->n_edges && (!in->edge_source || !in->edge_target))
        return err_set(err, SNAP_E_ARG, "edges without source or target");
    if (in->n_roots && !in->root_target)
        return err_set(err, SNAP_E_ARG, "roots without target");
    if (in->label_key && !in->n_labels)
        return err_set(err, SNAP_E_ARG, "a table of labels without row 0");
    return 0;
}

static int build(snap_graph *g, snap_error *err) {
    const snap_graph_input *in = &g->in;
    SNAP_TRY(check_nodes(g, err));
    SNAP_TRY(check_labels(in, in->edge_label, in->n_edges, "edge", err));
    SNAP_TRY(check_labels(in, in->root_name, in->n_roots, "root", err));
    SNAP_TRY(index_edges(g, err));
    return index_roots(g, err);
}

int snap_graph_new(snap_graph **out, const snap_graph_input *input,
                   const snap_graph_options *options, snap_error *err) {
    snap_graph_input in = {0};
    snap_graph_options opt = {0};
    if (!input || input->struct_size > sizeof in || (options && options->struct_size > sizeof opt))
        return err_set(err, SNAP_E_ARG, "input or options of an unknown size");
    memcpy(&in, input, input->struct_size ? input->struct_size : sizeof in);
    if (options)
        memcpy(&opt, options, options->struct_size ? options->struct_size : sizeof opt);
    SNAP_TRY(check_sizes(&in, err));
    snap_graph *g = calloc(1, sizeof *g);
    if (!g)
        return err_set(err, SNAP_E_NOMEM, "no memory for a graph");
    g->in = in;
    g->memory.limit = opt.max_memory_bytes;
    g->progress = opt.progress;
    g->progress_context = opt.progress_context;
    g->weak_kinds = opt.weak_kinds == UINT64_MAX ? 0
                    : opt.weak_kinds             ? opt.weak_kinds
                                     : 1ull << SNAP_EDGE_WEAK | 1ull << SNAP_EDGE_MEMBER;
    g->folded_kinds = opt.folded_kinds ? opt.folded_kinds : 1ull << SNAP_EDGE_INDEX;
    g->n = (uint32_t)in.n_nodes;
    g->m = in.n_edges;
    g->n_roots = (uint32_t)in.n_roots;
    g->n_types = 1;
    const int result = build(g, err);
    if (result < 0) {
        snap_graph_free(g);
        return result;
    }
    *out = g;
    return 0;
}

void snap_graph_free(snap_graph *g) {
    if (!g)
        return;
    offsets_release(&g->offset, &g->memory);
    graph_release(&g->memory, &g->target_sorted);
    offsets_release(&g->row, &g->memory);
    graph_release(&g->memory, &g->keeps);
    graph_release(&g->memory, &g->rooted);
    offsets_release(&g->in_offset, &g->memory);
    offsets_release(&g->in_position, &g->memory);
    free(g);
}

uint64_t snap_graph_memory_used(const snap_graph *g) {
    return g->memory.used;
}
uint64_t snap_graph_memory_peak(const snap_graph *g) {
    return g->memory.peak;
}
void snap_graph_memory_reset_peak(snap_graph *g) {
    g->memory.peak = g->memory.used;
}

uint64_t snap_graph_out(const snap_graph *g, uint32_t node, uint64_t *first) {
    if (!node || node > g->n) {
        *first = 0;
        return 0;
    }
    *first = first_position(g, node);
    return first_position(g, node + 1) - *first;
}

uint64_t snap_graph_out_edge(const snap_graph *g, uint64_t position) {
    return position_row(g, position);
}

int snap_graph_out_keeps(const snap_graph *g, uint64_t position) {
    return position_keeps(g, position);
}

static int index_referrers(snap_graph *g, snap_error *err) {
    uint64_t n_kept = 0;
    SNAP_TRY(offsets_new(&g->in_offset, &g->memory, (uint64_t)g->n + 2, g->m, err));
    for (uint64_t p = 0; p < g->m; p++) {
        SNAP_TRY(graph_poll(g, p, g->m, err));
        if (position_keeps(g, p)) {
            offsets_increment(&g->in_offset, g->target[p]);
            n_kept++;
        }
    }
    /* in_offset[v] becomes the end of v's part, and its start when that has been filled. */
    for (uint64_t v = 1; v <= (uint64_t)g->n + 1; v++)
        offsets_set(&g->in_offset, v,
                    offsets_get(&g->in_offset, v) + offsets_get(&g->in_offset, v - 1));
    SNAP_TRY(offsets_new(&g->in_position, &g->memory, n_kept, g->m, err));
    for (uint64_t p = g->m; p-- > 0;) {
        SNAP_TRY(graph_poll(g, p, g->m, err));
        if (position_keeps(g, p))
            offsets_set(&g->in_position, offsets_decrement(&g->in_offset, g->target[p]), p);
    }
    return 0;
}

int snap_graph_index_referrers(snap_graph *g, snap_error *err) {
    if (g->has_referrers)
        return 0;
    const int result = index_referrers(g, err);
    if (result < 0) {
        offsets_release(&g->in_offset, &g->memory);
        offsets_release(&g->in_position, &g->memory);
        return result;
    }
    g->has_referrers = true;
    return 0;
}

uint64_t snap_graph_in(const snap_graph *g, uint32_t node, uint64_t *first) {
    if (!node || node > g->n || !g->has_referrers) {
        *first = 0;
        return 0;
    }
    *first = offsets_get(&g->in_offset, node);
    return offsets_get(&g->in_offset, (uint64_t)node + 1) - *first;
}

uint64_t snap_graph_in_edge(const snap_graph *g, uint64_t position) {
    return position_row(g, offsets_get(&g->in_position, position));
}

uint64_t snap_edge_field(const snap_graph *g, uint64_t edge) {
    if (kind_is_folded(g, edge_kind(g, edge)))
        return 0;
    const uint32_t label = edge_label(g, edge);
    if (label)
        return label_key(g, label);
    const uint32_t source = g->in.edge_source[edge];
    if (!g->in.type_size || !source)
        return 0;
    const uint64_t size = g->in.type_size[node_type(g, source)];
    return size ? source_offset(g, edge) % size + 1 : 0;
}

int compare_roots(const snap_graph *g, uint64_t a, uint64_t b) {
    int c = compare_u64(root_kind(g, a), root_kind(g, b));
    if (!c)
        c = compare_u64(label_key(g, root_name(g, a)), label_key(g, root_name(g, b)));
    if (!c)
        c = compare_nodes(g, g->in.root_target[a], g->in.root_target[b]);
    return c ? c : compare_u64(root_flags(g, a), root_flags(g, b));
}

int graph_compare_nodes(const void *graph, uint32_t a, uint32_t b) {
    return compare_nodes(graph, a, b);
}

int graph_compare_roots(const void *graph, uint32_t a, uint32_t b) {
    return compare_roots(graph, a, b);
}

static void merge(const uint32_t *from, uint32_t *to, uint64_t start, uint64_t middle, uint64_t end,
                  graph_compare *compare, const void *context) {
    uint64_t a = start, b = middle;
    for (uint64_t i = start; i < end; i++)
        to[i] = b == end || (a < middle && compare(context, from[a], from[b]) <= 0) ? from[a++]
                                                                                    : from[b++];
}

int graph_sort(snap_graph *g, uint32_t *items, uint64_t count, graph_compare *compare,
               const void *context, snap_error *err) {
    uint64_t i = 1;
    while (i < count && compare(context, items[i - 1], items[i]) <= 0)
        i++;
    if (i >= count)
        return 0;
    uint32_t *spare;
    SNAP_TRY(graph_array(&g->memory, &spare, count, sizeof *spare, err));
    uint32_t *from = items, *to = spare;
    for (uint64_t width = 1; width < count; width *= 2) {
        for (uint64_t start = 0; start < count; start += 2 * width) {
            const uint64_t middle = start + width < count ? start + width : count;
            const uint64_t end = middle + width < count ? middle + width : count;
            merge(from, to, start, middle, end, compare, context);
        }
        uint32_t *swapped = from;
        from = to;
        to = swapped;
    }
    if (from != items)
        memcpy(items, from, count * sizeof *items);
    graph_release(&g->memory, &spare);
    return 0;
}
