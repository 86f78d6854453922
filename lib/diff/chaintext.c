/* Turns a chain of rows into steps with names.
 *
 * Invariant: a step stands for one or more links that read the same; the first step is what the
 * root refers to. Costs one reading of names per step, not per link, so that a list of a million
 * costs as much as one of two. */
#include "diff/chaintext.h"

#include "base/err.h"

#include <stdlib.h>
#include <string.h>

static int no_memory(snap_error *err) {
    return err_set(err, SNAP_E_NOMEM, "no memory for a chain");
}

static uint32_t label_of(const snap_heap *h, uint64_t edge) {
    return h->edge_label != NULL ? h->edge_label[edge] : 0;
}

/* Whether link i reads as link i - period. */
static int repeats(const snap_heap *h, const snap_chain *c, uint32_t i, uint32_t period) {
    if (i < period + 1) /* the first link is a root */
        return 0;
    const snap_chain_link *const a = &c->links[i], *const b = &c->links[i - period];
    return heap_node_type(h, a->node) == heap_node_type(h, b->node) &&
           label_of(h, a->edge) == label_of(h, b->edge) &&
           snap_edge_field(h->graph, a->edge) == snap_edge_field(h->graph, b->edge);
}

int chain_root_is_low(snap_heap *h, uint64_t root, int *out, snap_error *err) {
    snap_heap_root r;
    SNAP_TRY(snap_heap_root_get(h, root, &r, err));
    *out = (r.flags & SNAP_EDGE_FLAG_LOW) != 0;
    return 0;
}

static int put_root(snap_heap *h, uint64_t root, snap_holder_chain *out, snap_error *err) {
    snap_heap_root r;
    SNAP_TRY(heap_root_text(h, root, &out->root, err));
    SNAP_TRY(snap_heap_root_get(h, root, &r, err));
    const char *const kind = snap_code_name(SNAP_TABLE_ROOT, SNAP_ROOT_COL_KIND, r.kind);
    out->root_kind = kind != NULL ? kind : heap_format(h, "kind %u", r.kind);
    out->root_module = r.module;
    out->root_thread = "";
    if (r.tid != 0)
        out->root_thread =
            *r.thread != '\0'
                ? heap_format(h, "thread %llu '%.200s'", (unsigned long long)r.tid, r.thread)
                : heap_format(h, "thread %llu", (unsigned long long)r.tid);
    out->n_low += (r.flags & SNAP_EDGE_FLAG_LOW) != 0;
    return out->root_kind != NULL && out->root_thread != NULL ? 0 : no_memory(err);
}

static int put_step(snap_heap *h, const snap_chain *c, uint32_t i, const snap_retained *retained,
                    snap_holder_step *out, snap_error *err) {
    const snap_chain_link *const link = &c->links[i];
    snap_heap_node node;
    SNAP_TRY(snap_heap_node_get(h, link->node, &node, err));
    *out = (snap_holder_step){
        .edge = "",
        .node = node.type,
        .label = node.label,
        .id = link->node,
        .repeat = 1,
        .n_nodes = 1,
        .address = node.address,
        .size_bytes = node.size_bytes,
        .retained_bytes = retained != NULL ? snap_retained_bytes(retained, link->node, 0) : 0,
    };
    uint8_t flags = h->root_flags != NULL && i == 0 ? h->root_flags[link->edge] : 0;
    if (i > 0) {
        flags = h->edge_flags != NULL ? h->edge_flags[link->edge] : 0;
        SNAP_TRY(heap_edge_text(h, link->edge, &out->edge, err));
        out->is_low = (flags & SNAP_EDGE_FLAG_LOW) != 0;
        out->is_guess = (flags & SNAP_EDGE_FLAG_GUESS) != 0;
    }
    out->is_interior = (flags & SNAP_EDGE_FLAG_INTERIOR) != 0;
    return 0;
}

int chain_text(snap_heap *h, const snap_chain *c, const snap_retained *retained,
               snap_holder_chain *out, snap_error *err) {
    *out = (snap_holder_chain){.root = ""};
    uint32_t n = 0;
    for (uint32_t i = 0; i < c->n_links; i++)
        n += !repeats(h, c, i, 1);
    snap_holder_step *const steps = arena_alloc(&h->arena, ((size_t)n + 1) * sizeof *steps);
    if (steps == NULL)
        return no_memory(err);
    SNAP_TRY(put_root(h, c->links[0].edge, out, err));
    for (uint32_t i = 0; i < c->n_links; i++) {
        if (i > 0 && h->edge_flags != NULL && h->edge_flags[c->links[i].edge] & SNAP_EDGE_FLAG_LOW)
            out->n_low++;
        const int is_run = repeats(h, c, i, 1);
        const int goes_on = i + 1 < c->n_links && repeats(h, c, i + 1, 1);
        const uint32_t repeat = is_run ? steps[out->n_steps - 1].repeat + 1 : 1;
        if (is_run && goes_on) { /* only the ends of a run are read */
            steps[out->n_steps - 1].repeat = repeat;
            continue;
        }
        snap_holder_step step;
        SNAP_TRY(put_step(h, c, i, retained, &step, err));
        step.repeat = repeat;
        out->n_steps += !is_run;
        steps[out->n_steps - 1] = step;
    }
    out->steps = steps;
    return 0;
}
