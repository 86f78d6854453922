/* The slow and obvious answers. Every function starts from the definition, not from an algorithm
 * that the library uses. */
#include "oracle.h"

#include <stdlib.h>
#include <string.h>

bool oracle_edge_keeps(const snap_graph_input *in, uint64_t e) {
    if (in->edge_kind &&
        (in->edge_kind[e] == SNAP_EDGE_WEAK || in->edge_kind[e] == SNAP_EDGE_MEMBER))
        return false;
    if (in->edge_flags && in->edge_flags[e] & SNAP_GRAPH_FLAG_WEAK)
        return false;
    return in->edge_source[e] && in->edge_target[e];
}

bool oracle_root_keeps(const snap_graph_input *in, uint64_t r) {
    return in->root_target[r] && !(in->root_flags && in->root_flags[r] & SNAP_GRAPH_FLAG_WEAK);
}

static bool edge_low(const snap_graph_input *in, uint64_t e) {
    return in->edge_flags && in->edge_flags[e] & SNAP_EDGE_FLAG_LOW;
}

static bool root_low(const snap_graph_input *in, uint64_t r) {
    return in->root_flags && in->root_flags[r] & SNAP_EDGE_FLAG_LOW;
}

/* Adds what edges lead to until nothing is added. */
static void close_over(const snap_graph_input *in, uint32_t removed, bool sure_only, bool *out) {
    for (bool changed = true; changed;) {
        changed = false;
        for (uint64_t e = 0; e < in->n_edges; e++) {
            const uint32_t v = in->edge_target[e];
            if (!oracle_edge_keeps(in, e) || (sure_only && edge_low(in, e)) || v == removed)
                continue;
            if (out[in->edge_source[e]] && !out[v])
                out[v] = changed = true;
        }
    }
}

void oracle_reachable(const snap_graph_input *in, uint32_t removed, bool sure_only, int kind,
                      bool *out) {
    memset(out, 0, (in->n_nodes + 1) * sizeof *out);
    for (uint64_t r = 0; r < in->n_roots; r++)
        if (oracle_root_keeps(in, r) && in->root_target[r] != removed &&
            !(sure_only && root_low(in, r)) && (kind < 0 || in->root_kind[r] == kind))
            out[in->root_target[r]] = true;
    close_over(in, removed, sure_only, out);
}

void oracle_reachable_from(const snap_graph_input *in, uint32_t node, bool *out) {
    memset(out, 0, (in->n_nodes + 1) * sizeof *out);
    out[node] = true;
    close_over(in, 0, false, out);
}

void oracle_dominators(const snap_graph_input *in, uint32_t *out) {
    const uint32_t n = (uint32_t)in->n_nodes;
    bool *reached = calloc(n + 1, sizeof *reached), *without = calloc(n + 1, sizeof *without);
    bool *dominates = calloc((size_t)(n + 1) * (n + 1), sizeof *dominates); /* [d][v], d not v */
    uint32_t *depth = calloc(n + 1, sizeof *depth); /* number of dominators */
    oracle_reachable(in, 0, false, -1, reached);
    for (uint32_t d = 1; d <= n; d++) {
        oracle_reachable(in, d, false, -1, without);
        for (uint32_t v = 1; v <= n; v++)
            if (v != d && reached[v] && !without[v]) {
                dominates[(size_t)d * (n + 1) + v] = true;
                depth[v]++;
            }
    }
    /* The dominators of a node are a chain; the immediate one has the most dominators itself. */
    out[0] = SNAP_GRAPH_NONE;
    for (uint32_t v = 1; v <= n; v++) {
        out[v] = reached[v] ? 0 : SNAP_GRAPH_NONE;
        for (uint32_t d = 1; d <= n; d++)
            if (dominates[(size_t)d * (n + 1) + v] && depth[d] + 1 == depth[v])
                out[v] = d;
    }
    free(reached);
    free(without);
    free(dominates);
    free(depth);
}

/* Postorder numbers by an explicit stack; 0: not reached. */
static uint32_t number_postorder(const snap_graph_input *in, uint32_t *order, uint32_t *at) {
    const uint32_t n = (uint32_t)in->n_nodes;
    uint32_t *stack = calloc(n + 1, sizeof *stack);
    uint64_t *next = calloc(n + 1, sizeof *next);
    bool *seen = calloc(n + 1, sizeof *seen);
    uint32_t count = 0;
    for (uint64_t r = 0; r < in->n_roots; r++) {
        if (!oracle_root_keeps(in, r) || seen[in->root_target[r]])
            continue;
        uint32_t depth = 1;
        stack[0] = in->root_target[r];
        seen[stack[0]] = true;
        while (depth) {
            const uint32_t u = stack[depth - 1];
            while (next[u] < in->n_edges &&
                   (in->edge_source[next[u]] != u || !oracle_edge_keeps(in, next[u]) ||
                    seen[in->edge_target[next[u]]]))
                next[u]++;
            if (next[u] < in->n_edges) {
                stack[depth] = in->edge_target[next[u]];
                seen[stack[depth++]] = true;
            } else {
                order[u] = ++count;
                at[count] = u;
                depth--;
            }
        }
    }
    free(stack);
    free(next);
    free(seen);
    return count;
}

void oracle_dominators_iterative(const snap_graph_input *in, uint32_t *out) {
    const uint32_t n = (uint32_t)in->n_nodes;
    uint32_t *order = calloc(n + 2, sizeof *order), *at = calloc(n + 2, sizeof *at);
    uint32_t *idom = calloc(n + 2, sizeof *idom); /* by postorder number; 0: none yet */
    const uint32_t count = number_postorder(in, order, at), root = count + 1;
    idom[root] = root;
    for (bool changed = true; changed;) {
        changed = false;
        for (uint32_t i = count; i > 0; i--) {
            uint32_t best = 0;
            for (uint64_t r = 0; r < in->n_roots; r++)
                if (oracle_root_keeps(in, r) && in->root_target[r] == at[i])
                    best = root;
            for (uint64_t e = 0; e < in->n_edges; e++) {
                if (in->edge_target[e] != at[i] || !oracle_edge_keeps(in, e))
                    continue;
                uint32_t a = order[in->edge_source[e]];
                if (!a || !idom[a])
                    continue;
                uint32_t b = best ? best : a;
                while (a != b) {
                    while (a < b)
                        a = idom[a];
                    while (b < a)
                        b = idom[b];
                }
                best = a;
            }
            if (idom[i] != best) {
                idom[i] = best;
                changed = true;
            }
        }
    }
    for (uint32_t v = 0; v <= n; v++)
        out[v] = !order[v] ? SNAP_GRAPH_NONE : idom[order[v]] == root ? 0 : at[idom[order[v]]];
    free(order);
    free(at);
    free(idom);
}

/* Whether a root leads to node over others than itself, when a and b are taken away. */
static bool is_connected(const snap_graph_input *in, uint32_t node, uint32_t a, uint32_t b,
                         bool *seen) {
    memset(seen, 0, (in->n_nodes + 1) * sizeof *seen);
    for (uint64_t r = 0; r < in->n_roots; r++)
        if (oracle_root_keeps(in, r) && in->root_target[r] != node)
            seen[in->root_target[r]] = true;
    if (a)
        seen[a] = false;
    if (b)
        seen[b] = false;
    for (bool changed = true; changed;) {
        changed = false;
        for (uint64_t e = 0; e < in->n_edges; e++) {
            const uint32_t u = in->edge_source[e], v = in->edge_target[e];
            if (oracle_edge_keeps(in, e) && u != node && seen[u] && !seen[v] && v != a && v != b)
                seen[v] = changed = true;
        }
    }
    return seen[node];
}

uint32_t oracle_disjoint(const snap_graph_input *in, uint32_t node) {
    const uint32_t n = (uint32_t)in->n_nodes;
    uint32_t direct = 0, cut = 3;
    for (uint64_t r = 0; r < in->n_roots; r++)
        direct += oracle_root_keeps(in, r) && in->root_target[r] == node;
    bool *seen = calloc(n + 1, sizeof *seen);
    if (!is_connected(in, node, 0, 0, seen))
        cut = 0;
    for (uint32_t a = 1; a <= n && cut > 1; a++) {
        if (a == node)
            continue;
        if (!is_connected(in, node, a, 0, seen))
            cut = 1;
        for (uint32_t b = a + 1; b <= n && cut > 2; b++)
            if (b != node && !is_connected(in, node, a, b, seen))
                cut = 2;
    }
    free(seen);
    return direct + cut < 3 ? direct + cut : 3;
}

static int compare(uint64_t a, uint64_t b) {
    return a < b ? -1 : a > b;
}

int oracle_compare_nodes(const snap_graph_input *in, uint32_t a, uint32_t b) {
    const int c = in->birth ? compare(in->birth[a - 1], in->birth[b - 1]) : 0;
    return c ? c : compare(a, b);
}

static int compare_roots(const snap_graph_input *in, uint64_t a, uint64_t b) {
    int c = compare(in->root_kind[a], in->root_kind[b]);
    c = c ? c : compare(in->label_key[in->root_name[a]], in->label_key[in->root_name[b]]);
    c = c ? c : oracle_compare_nodes(in, in->root_target[a], in->root_target[b]);
    return c ? c : compare(in->root_flags[a], in->root_flags[b]);
}

static int compare_ends(const snap_graph_input *in, const uint64_t *root, uint64_t a, uint64_t b) {
    const uint32_t u = in->edge_source[a], v = in->edge_source[b];
    int c = compare(in->target_offset[a] || in->edge_flags[a] & SNAP_EDGE_FLAG_INTERIOR,
                    in->target_offset[b] || in->edge_flags[b] & SNAP_EDGE_FLAG_INTERIOR);
    c = c ? c : compare_roots(in, root[u], root[v]);
    c = c ? c : oracle_compare_nodes(in, u, v);
    c = c ? c : compare(in->edge_kind[a], in->edge_kind[b]);
    c = c ? c : compare(in->label_key[in->edge_label[a]], in->label_key[in->edge_label[b]]);
    c = c ? c : compare(in->source_offset[a], in->source_offset[b]);
    c = c ? c : compare(in->target_offset[a], in->target_offset[b]);
    return c ? c : compare(in->edge_flags[a], in->edge_flags[b]);
}

/* Costs by relaxing until nothing changes; then ends, in order of cost. */
void oracle_paths(const snap_graph_input *in, uint64_t *via, uint32_t *length, uint32_t *n_low) {
    const uint32_t n = (uint32_t)in->n_nodes;
    uint64_t *cost = calloc(n + 1, sizeof *cost), *root = calloc(n + 1, sizeof *root);
    for (uint32_t v = 0; v <= n; v++) {
        cost[v] = via[v] = UINT64_MAX;
        length[v] = n_low[v] = 0;
    }
    for (uint64_t r = 0; r < in->n_roots; r++) {
        const uint64_t c = ((uint64_t)root_low(in, r) << 32) + 1;
        if (oracle_root_keeps(in, r) && c < cost[in->root_target[r]])
            cost[in->root_target[r]] = c;
    }
    for (bool changed = true; changed;) {
        changed = false;
        for (uint64_t e = 0; e < in->n_edges; e++) {
            const uint64_t c = cost[in->edge_source[e]];
            const uint64_t to = c + ((uint64_t)edge_low(in, e) << 32) + 1;
            if (oracle_edge_keeps(in, e) && c != UINT64_MAX && to < cost[in->edge_target[e]]) {
                cost[in->edge_target[e]] = to;
                changed = true;
            }
        }
    }
    for (uint64_t done = 0;;) {
        uint64_t next = UINT64_MAX;
        for (uint32_t v = 1; v <= n; v++)
            if (cost[v] > done && cost[v] < next)
                next = cost[v];
        if (next == UINT64_MAX)
            break;
        for (uint64_t r = 0; r < in->n_roots; r++) {
            const uint32_t v = in->root_target[r];
            if (!oracle_root_keeps(in, r) || cost[v] != next ||
                ((uint64_t)root_low(in, r) << 32) + 1 != next)
                continue;
            if (via[v] == UINT64_MAX || compare_roots(in, r, via[v] - in->n_edges) < 0)
                via[v] = in->n_edges + r;
        }
        for (uint64_t e = 0; e < in->n_edges; e++) {
            const uint32_t u = in->edge_source[e], v = in->edge_target[e];
            if (!oracle_edge_keeps(in, e) || cost[u] == UINT64_MAX || cost[v] != next ||
                cost[u] + ((uint64_t)edge_low(in, e) << 32) + 1 != next)
                continue;
            if (via[v] == UINT64_MAX || compare_ends(in, root, e, via[v]) < 0)
                via[v] = e;
        }
        for (uint32_t v = 1; v <= n; v++)
            if (cost[v] == next) {
                root[v] =
                    via[v] >= in->n_edges ? via[v] - in->n_edges : root[in->edge_source[via[v]]];
                length[v] = (uint32_t)next;
                n_low[v] = (uint32_t)(next >> 32);
            }
        done = next;
    }
    free(cost);
    free(root);
}
