/* Lost nodes: which are lost directly, what hangs below each, which form cycles.
 *
 * Source of the components: D. J. Pearce, "A Space-Efficient Algorithm for Finding Strongly
 * Connected Components" (2016): Tarjan's with one number per node. A component that no other
 * component refers to is lost directly, by the node that leads it; the rest is divided among these,
 * in canonical order. */
#include "graph/internal.h"

#include <stdlib.h>

struct snap_lost {
    snap_graph *g;
    uint32_t *leader; /* by node; 0: not lost */
    snap_lost_block *block;
    uint32_t n_blocks;
    snap_lost_cycle *cycle;
    uint32_t n_cycles;
};

/* Of nodes that are not lost; components have numbers below it, downwards. */
#define NOT_LOST UINT32_MAX
#define FIRST_COMPONENT (UINT32_MAX - 1)

struct frame {
    uint64_t next; /* position to look at */
    uint32_t node;
    bool is_root; /* of its component, as far as seen */
};

struct component {
    uint64_t bytes;
    uint32_t first, count;
    bool is_referred, is_cycle;
};

struct work {
    snap_graph *g;
    uint32_t n_lost;
    uint32_t *number; /* by node: 0 new, then the lowest number it reaches, then its component's */
    struct frame *frame;
    uint64_t depth, frame_capacity;
    uint32_t *stack; /* nodes whose component is not complete; later a queue; n_lost places */
    uint32_t n_stack;
    uint32_t next_number;
    uint32_t n_components;
    struct component *component;
};

static int enter(struct work *w, uint32_t node, snap_error *err) {
    if (w->depth == w->frame_capacity) {
        const uint64_t capacity =
            w->frame_capacity ? w->frame_capacity + w->frame_capacity / 2 : 256;
        SNAP_TRY(graph_array_resize(&w->g->memory, &w->frame, capacity, sizeof *w->frame, err));
        w->frame_capacity = capacity;
    }
    w->number[node] = w->next_number++;
    w->frame[w->depth++] = (struct frame){first_position(w->g, node), node, true};
    return 0;
}

static void complete(struct work *w, const struct frame *f) {
    if (!f->is_root) {
        w->stack[w->n_stack++] = f->node;
        return;
    }
    const uint32_t id = FIRST_COMPONENT - w->n_components++;
    w->next_number--;
    while (w->n_stack && w->number[w->stack[w->n_stack - 1]] >= w->number[f->node]) {
        w->number[w->stack[--w->n_stack]] = id;
        w->next_number--;
    }
    w->number[f->node] = id;
}

static int find_components_from(struct work *w, uint32_t start, snap_error *err) {
    const snap_graph *g = w->g;
    SNAP_TRY(enter(w, start, err));
    while (w->depth) {
        struct frame *f = &w->frame[w->depth - 1];
        const uint64_t end = first_position(g, f->node + 1);
        uint32_t found = 0;
        for (; f->next < end; f->next++) {
            const uint32_t v = g->target[f->next];
            if (!position_keeps(g, f->next))
                continue;
            if (!w->number[v]) {
                found = v; /* it is looked at again after its return */
                break;
            }
            if (w->number[v] < w->number[f->node]) {
                w->number[f->node] = w->number[v];
                f->is_root = false;
            }
        }
        if (found) {
            SNAP_TRY(enter(w, found, err));
            continue;
        }
        const struct frame done = *f;
        w->depth--;
        complete(w, &done);
    }
    return 0;
}

static struct component *component_of(const struct work *w, uint32_t node) {
    return &w->component[FIRST_COMPONENT - w->number[node]];
}

/* Nodes without a birth have the order of their addresses, which is of chance: cycles of the same
 * shape are to be led by the same type. */
static bool leads(const snap_graph *g, uint32_t u, uint32_t v) {
    const uint32_t a = node_type(g, u), b = node_type(g, v);
    int c = compare_u64(type_rank(g, a), type_rank(g, b));
    if (!c && g->in.birth)
        c = compare_u64(g->in.birth[u - 1], g->in.birth[v - 1]);
    if (!c)
        c = compare_u64(type_key(g, a), type_key(g, b));
    return c ? c < 0 : u < v;
}

static int describe_components(struct work *w, snap_error *err) {
    const snap_graph *g = w->g;
    SNAP_TRY(graph_array(&w->g->memory, &w->component, w->n_components, sizeof *w->component, err));
    for (uint32_t u = 1; u <= g->n; u++) {
        if (w->number[u] == NOT_LOST)
            continue;
        struct component *c = component_of(w, u);
        if (!c->count++ || leads(g, u, c->first))
            c->first = u;
        c->is_cycle |= c->count > 1;
        c->bytes += node_bytes(g, u);
        const uint64_t end = first_position(g, u + 1);
        for (uint64_t p = first_position(g, u); p < end; p++) {
            const uint32_t v = g->target[p];
            if (!position_keeps(g, p) || w->number[v] == NOT_LOST)
                continue;
            if (v == u)
                c->is_cycle = true;
            else if (w->number[v] != w->number[u])
                component_of(w, v)->is_referred = true;
        }
    }
    return 0;
}

/* All that can be reached from the block's node and belongs to none before. */
static void claim(struct work *w, uint32_t *leader, snap_lost_block *block) {
    const snap_graph *g = w->g;
    uint32_t head = 0, tail = 0;
    leader[block->node] = block->node;
    w->stack[tail++] = block->node;
    while (head < tail) {
        const uint32_t u = w->stack[head++];
        block->n_nodes++;
        block->bytes += node_bytes(g, u);
        const uint64_t end = first_position(g, u + 1);
        for (uint64_t p = first_position(g, u); p < end; p++) {
            const uint32_t v = g->target[p];
            if (!position_keeps(g, p) || w->number[v] == NOT_LOST || leader[v])
                continue;
            leader[v] = block->node;
            w->stack[tail++] = v;
        }
    }
}

static int find_blocks(struct work *w, snap_lost *l, snap_error *err) {
    snap_graph *g = w->g;
    for (uint32_t i = 0; i < w->n_components; i++)
        if (!w->component[i].is_referred)
            w->stack[l->n_blocks++] = w->component[i].first;
    SNAP_TRY(graph_sort(g, w->stack, l->n_blocks, graph_compare_nodes, g, err));
    SNAP_TRY(graph_array(&g->memory, &l->block, l->n_blocks, sizeof *l->block, err));
    for (uint32_t i = 0; i < l->n_blocks; i++)
        l->block[i].node = w->stack[i];
    for (uint32_t i = 0; i < l->n_blocks; i++) {
        SNAP_TRY(graph_poll(g, i, l->n_blocks, err));
        claim(w, l->leader, &l->block[i]);
    }
    return 0;
}

static int find_cycles(struct work *w, snap_lost *l, snap_error *err) {
    snap_graph *g = w->g;
    for (uint32_t i = 0; i < w->n_components; i++)
        if (w->component[i].is_cycle)
            w->stack[l->n_cycles++] = w->component[i].first;
    SNAP_TRY(graph_sort(g, w->stack, l->n_cycles, graph_compare_nodes, g, err));
    SNAP_TRY(graph_array(&g->memory, &l->cycle, l->n_cycles, sizeof *l->cycle, err));
    for (uint32_t i = 0; i < l->n_cycles; i++) {
        const struct component *c = component_of(w, w->stack[i]);
        l->cycle[i] = (snap_lost_cycle){c->first, c->count, c->bytes};
    }
    return 0;
}

static int build(struct work *w, snap_lost *l, const snap_reach *reach, snap_error *err) {
    snap_graph *g = w->g;
    struct graph_memory *m = &g->memory;
    SNAP_TRY(graph_array(m, &l->leader, (uint64_t)g->n + 1, sizeof *l->leader, err));
    SNAP_TRY(graph_array(m, &w->number, (uint64_t)g->n + 1, sizeof *w->number, err));
    w->number[0] = NOT_LOST;
    for (uint32_t u = 1; u <= g->n; u++) {
        const bool is_lost = !snap_reach_mask(reach, u);
        w->number[u] = is_lost ? 0 : NOT_LOST;
        w->n_lost += is_lost;
    }
    SNAP_TRY(graph_array(m, &w->stack, w->n_lost, sizeof *w->stack, err));
    w->next_number = 1;
    for (uint32_t u = 1; u <= g->n; u++) {
        SNAP_TRY(graph_poll(g, u, g->n, err));
        if (!w->number[u])
            SNAP_TRY(find_components_from(w, u, err));
    }
    graph_release(m, &w->frame);
    SNAP_TRY(describe_components(w, err));
    SNAP_TRY(find_blocks(w, l, err));
    return find_cycles(w, l, err);
}

int snap_lost_new(snap_lost **out, snap_graph *g, const snap_reach *reach, snap_error *err) {
    snap_lost *l = calloc(1, sizeof *l);
    if (!l)
        return err_set(err, SNAP_E_NOMEM, "no memory for lost nodes");
    l->g = g;
    struct work w = {.g = g};
    const int result = build(&w, l, reach, err);
    graph_release(&g->memory, &w.number);
    graph_release(&g->memory, &w.frame);
    graph_release(&g->memory, &w.stack);
    graph_release(&g->memory, &w.component);
    if (result < 0) {
        snap_lost_free(l);
        return result;
    }
    *out = l;
    return 0;
}

void snap_lost_free(snap_lost *l) {
    if (!l)
        return;
    graph_release(&l->g->memory, &l->leader);
    graph_release(&l->g->memory, &l->block);
    graph_release(&l->g->memory, &l->cycle);
    free(l);
}

uint32_t snap_lost_leader(const snap_lost *l, uint32_t node) {
    return node && node <= l->g->n ? l->leader[node] : 0;
}

const snap_lost_block *snap_lost_blocks(const snap_lost *l, uint32_t *out_n) {
    *out_n = l->n_blocks;
    return l->block;
}

const snap_lost_cycle *snap_lost_cycles(const snap_lost *l, uint32_t *out_n) {
    *out_n = l->n_cycles;
    return l->cycle;
}
