/* What keeps process groups that are not destroyed: the chain to the dictionary that PyTorch has
 * them in, and how much hangs on them all.
 *
 * A program may refer to its groups, too, and by a shorter way; that they live on is due to that
 * dictionary, so the chain through it is told where there is one. Reads the references once more,
 * which only those pay for who have such a suspect. */
#include "diff/process_groups.h"

#include <heapsnap/snapdef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "diff/chaintext.h"
#include "diff/rows.h"
#include "diff/suspects.h"

#define REGISTRY "._pg_map"

struct members {
    const snap_snapshot *snapshot;
    uint64_t stack_key;
    uint64_t *handles; /* nodes, once they have been looked up */
    size_t n, capacity;
    const char *name; /* of the last one */
};

static int no_memory(snap_error *err) {
    return err_set(err, SNAP_E_NOMEM, "no memory for process groups");
}

static int add_member(void *context, const snap_batch *b, uint32_t i, snap_error *err) {
    struct members *const m = context;
    uint64_t key;
    if (b->column[SNAP_RSRC_COL_KIND][i] != SNAP_RSRC_PROCESS_GROUP)
        return 0;
    SNAP_TRY(snap_stack_key(m->snapshot, b->column[SNAP_RSRC_COL_STACK][i], &key, err));
    if (key != m->stack_key)
        return 0;
    if (mem_grow(&m->handles, &m->capacity, m->n + 1, sizeof *m->handles) < 0)
        return no_memory(err);
    m->handles[m->n++] = b->column[SNAP_RSRC_COL_HANDLE][i];
    return snap_string(m->snapshot, b->column[SNAP_RSRC_COL_NAME][i], &m->name, err);
}

/* What starts at the addresses, in place of them. */
static int find_nodes(struct members *m, snap_heap *h, snap_error *err) {
    size_t n = 0;
    for (size_t i = 0; i < m->n; i++) {
        uint32_t node;
        uint64_t offset;
        SNAP_TRY(snap_heap_find(h, m->handles[i], &node, &offset, err));
        if (node != 0 && offset == 0)
            m->handles[n++] = node;
    }
    m->n = n;
    return 0;
}

static int is_registry(snap_heap *h, const snap_paths *paths, uint32_t node, int *out,
                       snap_error *err) {
    uint64_t edge;
    const char *text;
    const uint32_t from = snap_paths_step(paths, node, &edge);
    *out = 0;
    if (from == 0 || from == SNAP_GRAPH_NONE)
        return 0;
    SNAP_TRY(heap_edge_text(h, edge, &text, err));
    *out = strcmp(text, REGISTRY) == 0;
    return 0;
}

/* The chain to the dictionary with a node as its key and one link more, or the best one. */
static int find_chain(snap_heap *h, const snap_paths *paths, uint32_t node, snap_chain *out,
                      snap_error *err) {
    for (uint64_t e = 0; h->edge_kind != NULL && e < h->n_edges; e++) {
        int is_it = 0;
        if (h->edge_target[e] == node && h->edge_kind[e] == SNAP_EDGE_KEY)
            SNAP_TRY(is_registry(h, paths, h->edge_source[e], &is_it, err));
        if (!is_it)
            continue;
        SNAP_TRY(snap_paths_chain(paths, h->edge_source[e], out, err));
        snap_chain_link *const links =
            realloc(out->links, ((size_t)out->n_links + 1) * sizeof *links);
        if (links == NULL)
            return no_memory(err);
        links[out->n_links++] = (snap_chain_link){.edge = e, .node = node};
        out->links = links;
        return 0;
    }
    return snap_paths_length(paths, node) > 0 ? snap_paths_chain(paths, node, out, err) : 0;
}

static const char *keep(struct snap_diff *d, const char *text) {
    return arena_string(&d->arena, text, strlen(text));
}

static int put_steps(struct snap_diff *d, const snap_holder_chain *chain, const char *name,
                     snap_diff_suspect *s, snap_error *err) {
    snap_diff_step *const steps = arena_alloc(&d->arena, (chain->n_steps + 1) * sizeof *steps);
    char holder[1200];
    if (steps == NULL)
        return no_memory(err);
    size_t used = (size_t)snprintf(holder, sizeof holder, "%.300s", chain->root);
    for (uint32_t i = 0; i < chain->n_steps; i++) {
        const snap_holder_step *const from = &chain->steps[i];
        const int is_last = i + 1 == chain->n_steps;
        steps[i] = (snap_diff_step){
            .edge = keep(d, i == 0 ? chain->root : from->edge),
            .node = keep(d, from->node),
            .label = keep(d, is_last ? name : from->label),
            .count = is_last ? s->counts[d->n - 1] : from->repeat,
            .bytes = is_last ? s->retained_bytes : from->size_bytes,
            .is_suspect = is_last,
        };
        if (steps[i].edge == NULL || steps[i].node == NULL || steps[i].label == NULL)
            return no_memory(err);
        if (i > 0 && strcmp(from->edge, ".__dict__") != 0 && used + 130 < sizeof holder)
            used += (size_t)snprintf(holder + used, sizeof holder - used, "%.120s", from->edge);
    }
    s->chain = steps;
    s->n_chain = chain->n_steps;
    s->holder = keep(d, holder);
    s->root_kind = keep(d, chain->root_kind);
    s->root_module = keep(d, chain->root_module);
    s->thread = keep(d, chain->root_thread);
    s->is_doubtful = chain->n_low > 0;
    return s->holder != NULL && s->root_kind != NULL && s->root_module != NULL && s->thread != NULL
               ? 0
               : no_memory(err);
}

static int put_chain(struct snap_diff *d, snap_heap *h, const struct members *m,
                     snap_diff_suspect *s, snap_error *err) {
    snap_paths *paths = NULL;
    snap_chain chain = {0};
    snap_holder_chain text;
    SNAP_TRY(snap_paths_new(&paths, snap_heap_graph(h), err));
    int result = find_chain(h, paths, (uint32_t)m->handles[m->n - 1], &chain, err);
    if (result == 0 && chain.n_links > 0)
        result = chain_text(h, &chain, NULL, &text, err);
    if (result == 0 && chain.n_links > 0)
        result = put_steps(d, &text, m->name, s, err);
    snap_chain_release(&chain);
    snap_paths_free(paths);
    return result;
}

static int measure(snap_heap *h, const struct members *m, snap_diff_suspect *s, snap_error *err) {
    uint32_t *const nodes = mem_zalloc(m->n * 2, sizeof *nodes);
    snap_leak_share share = {0};
    if (nodes == NULL)
        return no_memory(err);
    for (size_t i = 0; i < m->n; i++)
        nodes[i] = (uint32_t)m->handles[i];
    const int result = snap_leak_share_compute(snap_heap_graph(h), nodes, nodes + m->n, m->n, 1,
                                               SNAP_GRAPH_ALL_DOMAINS, &share, err);
    s->retained_bytes = share.reach_bytes;
    free(nodes);
    return result;
}

int process_groups_name(struct snap_diff *d, uint64_t stack_key, const snap_diff_options *options,
                        snap_diff_suspect *s, snap_error *err) {
    const uint32_t columns = 1u << SNAP_RSRC_COL_KIND | 1u << SNAP_RSRC_COL_STACK |
                             1u << SNAP_RSRC_COL_HANDLE | 1u << SNAP_RSRC_COL_NAME;
    const snap_heap_options heap_options = suspects_heap_options(options);
    struct members m = {.snapshot = d->sources[d->n - 1], .stack_key = stack_key, .name = ""};
    snap_heap *h = NULL;
    snap_error local = {0};
    int result = rows_each(m.snapshot, SNAP_TABLE_RSRC, columns, add_member, &m, err);
    if (result == 0 && d->has_graph && m.n > 0) {
        result = snap_heap_open(&h, m.snapshot, &heap_options, &local);
        if (result == 0)
            result = find_nodes(&m, h, &local);
        if (result == 0 && m.n > 0)
            result = measure(h, &m, s, &local);
        if (result == 0 && m.n > 0)
            result = put_chain(d, h, &m, s, &local);
        if (result == SNAP_E_LIMIT)
            result = 0; /* has been said */
        else if (result < 0 && err != NULL)
            *err = local;
    }
    snap_heap_close(h);
    free(m.handles);
    return result;
}
