/* Dominator tree: SEMI-NCA on depth-first numbers.
 *
 * Source: L. Georgiadis, "Linear-Time Algorithms for Dominators and Related Problems" (2005), with
 * path compression after Lengauer and Tarjan (1979). Layout decides the speed: after the walk that
 * gives numbers everything works on numbers; an edge of the tree is never stored, since a node's
 * tree parent is known; {ancestor, label} lie side by side, the label being the least semidominator
 * itself; paths are compressed by turning their pointers round, so that no stack is needed. Edges
 * that are not in the tree are counted, then filed, by target in two passes over the graph in its
 * own order: a log of them kept by the walk would take 8 bytes for each. Arrays are released as
 * soon as the next step allows.
 *
 * Does not look at sizes: retained.c does. */
#include "graph/dominator.h"

#include <stdlib.h>

struct link {
    uint32_t ancestor, label;
};

struct work {
    snap_graph *g;
    uint32_t count;       /* numbers given so far */
    uint32_t n_reachable; /* numbers from here on are lost nodes */
    uint32_t *number, *node;
    uint32_t *tree;    /* by number: tree parent */
    uint64_t *visited; /* bit per node */
    uint64_t *cursor;  /* by depth: next position to look at */
    uint64_t cursor_capacity;
    uint64_t *starts;         /* bit per node: child of the virtual root */
    struct offsets in_offset; /* by number, count + 1 */
    uint64_t n_in;
    uint32_t *in; /* numbers */
    struct link *link;
    uint32_t *semi; /* becomes the dominator */
};

static int cursor_grow(struct work *w, uint64_t depth, snap_error *err) {
    if (depth < w->cursor_capacity)
        return 0;
    const uint64_t capacity =
        w->cursor_capacity ? w->cursor_capacity + w->cursor_capacity / 2 : 4096;
    SNAP_TRY(graph_array_resize(&w->g->memory, &w->cursor, capacity, sizeof *w->cursor, err));
    w->cursor_capacity = capacity;
    return 0;
}

static uint32_t visit(struct work *w, uint32_t node, uint32_t tree_parent) {
    const uint32_t number = w->count++;
    bit_set(w->visited, node);
    w->number[node] = number;
    w->node[number] = node;
    w->tree[number] = tree_parent;
    return number;
}

/* Walks depth-first what can be reached from start and was not before. */
static int walk(struct work *w, uint32_t start, snap_error *err) {
    const snap_graph *g = w->g;
    const uint32_t *target = g->target;
    uint32_t here = visit(w, start, 0), node = start;
    uint64_t depth = 0;
    uint64_t p = first_position(g, node), end = first_position(g, node + 1);
    for (;;) {
        uint32_t found = 0;
        while (p < end) {
            const uint32_t to = target[p];
            if (p + 3 < end)
                prefetch_offset(g, target[p + 3]);
            if (!position_keeps(g, p++))
                continue;
            if (!bit_get(w->visited, to)) {
                found = to;
                break;
            }
        }
        if (found) {
            SNAP_TRY(cursor_grow(w, depth, err));
            w->cursor[depth++] = p;
            here = visit(w, found, here);
            SNAP_TRY(graph_poll(g, here, g->n, err));
            node = found;
            p = first_position(g, node);
            end = first_position(g, node + 1);
        } else if (depth) {
            here = w->tree[here];
            node = w->node[here];
            p = w->cursor[--depth];
            end = first_position(g, node + 1);
        } else {
            return 0;
        }
    }
}

static int number_nodes(struct work *w, const snap_lost *lost, snap_error *err) {
    snap_graph *g = w->g;
    struct graph_memory *m = &g->memory;
    SNAP_TRY(graph_array(m, &w->number, (uint64_t)g->n + 1, sizeof *w->number, err));
    SNAP_TRY(graph_array(m, &w->node, (uint64_t)g->n + 1, sizeof *w->node, err));
    SNAP_TRY(graph_array(m, &w->tree, (uint64_t)g->n + 1, sizeof *w->tree, err));
    SNAP_TRY(graph_array(m, &w->visited, bit_words(g->n), sizeof *w->visited, err));
    SNAP_TRY(graph_array(m, &w->starts, bit_words(g->n), sizeof *w->starts, err));
    w->count = 1;
    for (uint64_t i = 0; i < bit_words(g->n); i++)
        w->starts[i] = g->rooted[i];
    for (uint64_t i = 0; i < bit_words(g->n); i++)
        for (uint64_t bits = g->rooted[i]; bits; bits &= bits - 1) {
            const uint32_t node = (uint32_t)(i * 64 + (unsigned)__builtin_ctzll(bits));
            if (!bit_get(w->visited, node))
                SNAP_TRY(walk(w, node, err));
        }
    if (lost) {
        uint32_t n_blocks;
        const snap_lost_block *blocks = snap_lost_blocks(lost, &n_blocks);
        w->n_reachable = w->count;
        for (uint32_t i = 0; i < n_blocks; i++)
            bit_set(w->starts, blocks[i].node);
        for (uint32_t i = 0; i < n_blocks; i++)
            if (!bit_get(w->visited, blocks[i].node))
                SNAP_TRY(walk(w, blocks[i].node, err));
    }
    /* A root's target that was met on the way from another hangs on the virtual root all the same.
     */
    for (uint64_t i = 0; i < bit_words(g->n); i++)
        for (uint64_t bits = w->starts[i]; bits; bits &= bits - 1)
            w->tree[w->number[i * 64 + (unsigned)__builtin_ctzll(bits)]] = 0;
    graph_release(m, &w->visited);
    graph_release(m, &w->cursor);
    if (w->count <= g->n / 2) {
        SNAP_TRY(graph_array_resize(m, &w->node, w->count, sizeof *w->node, err));
        SNAP_TRY(graph_array_resize(m, &w->tree, w->count, sizeof *w->tree, err));
    }
    return 0;
}

/* Whether an edge tells more than the tree does: not if it is of the tree, if its target hangs on
 * the virtual root, or if it leads from a lost node to one that is none. Only edges of the tree and
 * others to what is below their source lead to greater numbers. */
static bool matters(const struct work *w, uint32_t from, uint32_t to) {
    if (to > from)
        return w->tree[to] && w->tree[to] != from;
    return to != from && w->tree[to] && (to >= w->n_reachable || from < w->n_reachable);
}

/* Files the edges that matter by target; if in is not there yet, counts them. */
static int pass_edges(struct work *w, snap_error *err) {
    enum { AHEAD = 32 };
    const snap_graph *g = w->g;
    const uint32_t *target = g->target;
    for (uint32_t node = 1; node <= g->n; node++) {
        SNAP_TRY(graph_poll(g, node, g->n, err));
        const uint32_t from = w->number[node];
        if (!from)
            continue;
        const uint64_t end = first_position(g, node + 1);
        uint32_t last = 0;
        for (uint64_t p = first_position(g, node); p < end; p++) {
            if (p + AHEAD < g->m)
                __builtin_prefetch(&w->number[target[p + AHEAD]]);
            /* Neighbours in an array often point at the same node: one edge says it all. */
            if (target[p] == last || bit_get(w->starts, target[p]) || !position_keeps(g, p))
                continue;
            last = target[p];
            const uint32_t to = w->number[last];
            if (!matters(w, from, to))
                continue;
            if (w->in)
                w->in[offsets_decrement(&w->in_offset, to)] = from;
            else
                offsets_increment(&w->in_offset, to);
        }
    }
    return 0;
}

/* Sorts edges by target into in, by counting. */
static int sort_edges(struct work *w, snap_error *err) {
    struct graph_memory *m = &w->g->memory;
    SNAP_TRY(offsets_new(&w->in_offset, m, (uint64_t)w->count + 1, w->g->m, err));
    SNAP_TRY(pass_edges(w, err));
    for (uint32_t i = 0; i < w->count; i++) {
        w->n_in += offsets_get(&w->in_offset, i);
        offsets_set(&w->in_offset, i, w->n_in);
    }
    offsets_set(&w->in_offset, w->count, w->n_in);
    SNAP_TRY(graph_array(m, &w->in, w->n_in, sizeof *w->in, err));
    SNAP_TRY(pass_edges(w, err));
    graph_release(m, &w->starts);
    return 0;
}

/* The least semidominator on the path from number `from` up to, not including, the first ancestor
 * that is not linked yet (at most `current`). Compresses the path: upwards the pointers are turned
 * round, downwards they are set to the end. */
static uint32_t evaluate(struct link *link, uint32_t from, uint32_t current) {
    uint32_t above = link[from].ancestor;
    if (above <= current)
        return link[from].label;
    uint32_t below = 0, x = from;
    while (above > current) {
        link[x].ancestor = below;
        below = x;
        x = above;
        above = link[x].ancestor;
    }
    uint32_t least = link[x].label;
    while (below) {
        const uint32_t y = below;
        below = link[y].ancestor;
        link[y].ancestor = above;
        if (link[y].label > least)
            link[y].label = least;
        else
            least = link[y].label;
    }
    return least;
}

static int find_semidominators(struct work *w, snap_error *err) {
    enum { AHEAD = 8 };
    struct graph_memory *m = &w->g->memory;
    SNAP_TRY(graph_array(m, &w->link, w->count, sizeof *w->link, err));
    /* An offset is not needed once its number is done: the semidominator takes its place. */
    w->semi = w->in_offset.narrow;
    if (!w->semi)
        SNAP_TRY(graph_array(m, &w->semi, w->count, sizeof *w->semi, err));
    struct link *link = w->link;
    for (uint32_t i = 0; i < w->count; i++)
        link[i] = (struct link){w->tree[i], i};
    uint64_t end = w->n_in;
    for (uint32_t i = w->count - 1; i > 0; i--) {
        SNAP_TRY(graph_poll(w->g, w->count - i, w->count, err));
        const uint64_t start = offsets_get(&w->in_offset, i);
        uint32_t least = w->tree[i];
        for (uint64_t p = start; p < end && least; p++) {
            if (p + AHEAD < end)
                __builtin_prefetch(&link[w->in[p + AHEAD]]);
            const uint32_t from = w->in[p];
            const uint32_t value = from <= i ? from : evaluate(link, from, i);
            if (value < least)
                least = value;
        }
        end = start;
        w->semi[i] = least;
        link[i].label = least;
    }
    graph_release(m, &w->link);
    graph_release(m, &w->in);
    w->in_offset.narrow = NULL;
    offsets_release(&w->in_offset, m);
    return 0;
}

/* The dominator is the nearest common ancestor of tree parent and semidominator: climb from the
 * former in the finished part of the dominator tree. */
static void find_dominators(struct work *w) {
    for (uint32_t i = 1; i < w->count; i++) {
        uint32_t d = w->tree[i];
        while (d > w->semi[i])
            d = w->semi[d];
        w->semi[i] = d;
    }
}

static void release_work(struct work *w) {
    struct graph_memory *m = &w->g->memory;
    graph_release(m, &w->number);
    graph_release(m, &w->node);
    graph_release(m, &w->tree);
    graph_release(m, &w->visited);
    graph_release(m, &w->starts);
    graph_release(m, &w->cursor);
    if (w->semi == w->in_offset.narrow)
        w->semi = NULL;
    offsets_release(&w->in_offset, m);
    graph_release(m, &w->in);
    graph_release(m, &w->link);
    graph_release(m, &w->semi);
}

static int build(struct work *w, const snap_lost *lost, snap_error *err) {
    SNAP_TRY(number_nodes(w, lost, err));
    SNAP_TRY(sort_edges(w, err));
    SNAP_TRY(find_semidominators(w, err));
    find_dominators(w);
    graph_release(&w->g->memory, &w->tree);
    return 0;
}

int snap_dominators_new(snap_dominators **out, snap_graph *g, const snap_lost *lost,
                        snap_error *err) {
    snap_dominators *d = calloc(1, sizeof *d);
    if (!d)
        return err_set(err, SNAP_E_NOMEM, "no memory for dominators");
    struct work w = {.g = g};
    const int result = build(&w, lost, err);
    if (result < 0) {
        release_work(&w);
        free(d);
        return result;
    }
    *d = (snap_dominators){
        .g = g, .count = w.count, .number = w.number, .node = w.node, .parent = w.semi};
    *out = d;
    return 0;
}

void snap_dominators_free(snap_dominators *d) {
    if (!d)
        return;
    struct graph_memory *m = &d->g->memory;
    graph_release(m, &d->number);
    graph_release(m, &d->node);
    graph_release(m, &d->parent);
    graph_release(m, &d->child_offset);
    graph_release(m, &d->child);
    free(d);
}

uint32_t snap_dominators_parent(const snap_dominators *d, uint32_t node) {
    if (!node || node > d->g->n || !d->number[node])
        return SNAP_GRAPH_NONE;
    return d->node[d->parent[d->number[node]]];
}

uint32_t snap_dominators_count(const snap_dominators *d) {
    return d->count - 1;
}

int dominators_index_children(snap_dominators *d, snap_error *err) {
    if (d->child)
        return 0;
    struct graph_memory *m = &d->g->memory;
    uint32_t *offset = NULL, *child = NULL;
    SNAP_TRY(graph_array(m, &offset, (uint64_t)d->count + 1, sizeof *offset, err));
    const int result = graph_array(m, &child, d->count, sizeof *child, err);
    if (result < 0) {
        graph_release(m, &offset);
        return result;
    }
    for (uint32_t i = 1; i < d->count; i++)
        offset[d->parent[i]]++;
    for (uint32_t i = 1; i <= d->count; i++)
        offset[i] += offset[i - 1];
    /* Backwards in order of nodes, so that each part ascends whatever order the walk had. */
    for (uint32_t v = d->g->n; v > 0; v--)
        if (d->number[v])
            child[--offset[d->parent[d->number[v]]]] = v;
    d->child_offset = offset;
    d->child = child;
    return 0;
}

int snap_dominators_children(snap_dominators *d, uint32_t node, const uint32_t **out,
                             uint32_t *out_n, snap_error *err) {
    if (node > d->g->n)
        return err_set(err, SNAP_E_ARG, "node %u of %u", node, d->g->n);
    SNAP_TRY(dominators_index_children(d, err));
    const uint32_t number = d->number[node];
    if (node && !number) {
        *out = d->child;
        *out_n = 0;
        return 0;
    }
    *out = d->child + d->child_offset[number];
    *out_n = d->child_offset[number + 1] - d->child_offset[number];
    return 0;
}
