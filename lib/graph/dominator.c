/* Dominator tree: SEMI-NCA on depth-first numbers.
 *
 * Source: L. Georgiadis, "Linear-Time Algorithms for Dominators and Related Problems" (2005), with
 * path compression after Lengauer and Tarjan (1979). Layout decides the speed: after the walk that
 * gives numbers everything works on numbers; an edge of the tree is never stored, since a node's
 * tree parent is known; {ancestor, label} lie side by side, the label being the least semidominator
 * itself; paths are compressed by turning their pointers round, so that no stack is needed. The
 * walk writes edges that are not in the tree to a log in blocks, which are freed while the log is
 * sorted by target. Arrays are released as soon as the next step allows.
 *
 * Does not look at sizes: retained.c does. */
#include "graph/dominator.h"

#include <stdlib.h>

/* An edge outside the tree: from a number to a node (later: to a number). */
struct log_entry {
    uint32_t from, to;
};

#define LOG_BLOCK_ENTRIES (1u << 16)

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
    uint64_t *starts; /* bit per node: child of the virtual root */
    struct log_entry **block;
    uint64_t n_blocks, block_capacity;
    uint64_t n_log;
    struct offsets in_offset; /* by number, count + 1 */
    uint32_t *in;             /* numbers */
    struct link *link;
    uint32_t *semi; /* becomes the dominator */
};

static int log_grow(struct work *w, snap_error *err) {
    struct graph_memory *m = &w->g->memory;
    if (w->n_blocks == w->block_capacity) {
        const uint64_t capacity = w->block_capacity ? 2 * w->block_capacity : 64;
        SNAP_TRY(graph_array_resize(m, &w->block, capacity, sizeof(void *), err));
        w->block_capacity = capacity;
    }
    struct log_entry *block;
    SNAP_TRY(graph_array(m, &block, LOG_BLOCK_ENTRIES, sizeof *block, err));
    w->block[w->n_blocks++] = block;
    return 0;
}

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
    uint32_t here = visit(w, start, 0), node = start, last = 0;
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
            /* Neighbours in an array often point at the same node: one edge says it all. */
            if (to == last || to == node || bit_get(w->starts, to) ||
                (w->n_reachable && w->number[to] < w->n_reachable))
                continue;
            last = to;
            if (w->n_log == w->n_blocks * LOG_BLOCK_ENTRIES)
                SNAP_TRY(log_grow(w, err));
            w->block[w->n_log / LOG_BLOCK_ENTRIES][w->n_log % LOG_BLOCK_ENTRIES] =
                (struct log_entry){here, to};
            w->n_log++;
        }
        if (found) {
            SNAP_TRY(cursor_grow(w, depth, err));
            w->cursor[depth++] = p;
            here = visit(w, found, here);
            SNAP_TRY(graph_poll(g, here, g->n, err));
            node = found;
            p = first_position(g, node);
            end = first_position(g, node + 1);
            last = 0;
        } else if (depth) {
            last = node;
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
    graph_release(m, &w->starts);
    graph_release(m, &w->cursor);
    if (w->count <= g->n / 2) {
        SNAP_TRY(graph_array_resize(m, &w->node, w->count, sizeof *w->node, err));
        SNAP_TRY(graph_array_resize(m, &w->tree, w->count, sizeof *w->tree, err));
    }
    return 0;
}

/* Number of entries in block b. */
static uint64_t block_entries(const struct work *w, uint64_t b) {
    const uint64_t rest = w->n_log - b * LOG_BLOCK_ENTRIES;
    return rest < LOG_BLOCK_ENTRIES ? rest : LOG_BLOCK_ENTRIES;
}

/* Sorts the log by target into in, by counting; frees it on the way. */
static int sort_log(struct work *w, snap_error *err) {
    enum { AHEAD = 24 };
    struct graph_memory *m = &w->g->memory;
    SNAP_TRY(offsets_new(&w->in_offset, m, (uint64_t)w->count + 1, w->n_log, err));
    for (uint64_t b = 0; b < w->n_blocks; b++) {
        SNAP_TRY(graph_poll(w->g, b * LOG_BLOCK_ENTRIES, w->n_log, err));
        struct log_entry *entry = w->block[b];
        const uint64_t count = block_entries(w, b);
        for (uint64_t i = 0; i < count; i++) {
            if (i + AHEAD < count)
                __builtin_prefetch(&w->number[entry[i + AHEAD].to]);
            entry[i].to = w->number[entry[i].to];
            offsets_increment(&w->in_offset, entry[i].to);
        }
    }
    uint64_t sum = 0;
    for (uint32_t i = 0; i < w->count; i++) {
        sum += offsets_get(&w->in_offset, i);
        offsets_set(&w->in_offset, i, sum);
    }
    offsets_set(&w->in_offset, w->count, sum);
    SNAP_TRY(graph_array(m, &w->in, w->n_log, sizeof *w->in, err));
    for (uint64_t b = 0; b < w->n_blocks; b++) {
        SNAP_TRY(graph_poll(w->g, b * LOG_BLOCK_ENTRIES, w->n_log, err));
        const struct log_entry *entry = w->block[b];
        const uint64_t count = block_entries(w, b);
        for (uint64_t i = 0; i < count; i++)
            w->in[offsets_decrement(&w->in_offset, entry[i].to)] = entry[i].from;
        graph_release(m, &w->block[b]);
    }
    w->n_blocks = 0;
    graph_release(m, &w->block);
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
    SNAP_TRY(graph_array(m, &w->semi, w->count, sizeof *w->semi, err));
    struct link *link = w->link;
    for (uint32_t i = 0; i < w->count; i++)
        link[i] = (struct link){w->tree[i], i};
    uint64_t end = w->n_log;
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
    for (uint64_t b = 0; b < w->n_blocks; b++)
        graph_release(m, &w->block[b]);
    graph_release(m, &w->block);
    graph_release(m, &w->number);
    graph_release(m, &w->node);
    graph_release(m, &w->tree);
    graph_release(m, &w->visited);
    graph_release(m, &w->starts);
    graph_release(m, &w->cursor);
    offsets_release(&w->in_offset, m);
    graph_release(m, &w->in);
    graph_release(m, &w->link);
    graph_release(m, &w->semi);
}

static int build(struct work *w, const snap_lost *lost, snap_error *err) {
    SNAP_TRY(number_nodes(w, lost, err));
    SNAP_TRY(sort_log(w, err));
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
