/* Who holds given nodes: groups of nodes held in the same way, with sizes and chains.
 *
 * Invariant: each node found is in one group, and the groups' retained bytes add up to those of all
 * found (a node retained by another one that was found counts with that). */
#include "diff/chaintext.h"
#include "diff/places.h"

#include "base/err.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define GROUPS_DEFAULT 20

struct found {
    uint32_t node;
    uint32_t group;
};

struct work {
    snap_heap *h;
    const snap_holders_query *query;
    struct places places;
    snap_reach *reach;
    snap_lost *lost;
    snap_dominators *dominators;
    snap_retained *retained;
    uint8_t *covered;      /* by node: 0 unknown, 1 no found node retains it, 2 one does */
    uint8_t *is_found;     /* by node */
    uint8_t *has_function; /* by stack: 0 unknown, 1 no, 2 yes */
    uint32_t *nodes;
    size_t n_nodes, node_capacity;
    snap_holder_group *groups;
    uint64_t *keys; /* of groups */
    size_t n_groups, group_capacity, key_capacity;
    struct map by_key;
};

static int no_memory(snap_error *err) {
    return err_set(err, SNAP_E_NOMEM, "no memory for the holders of blocks");
}

static int stack_has(struct work *w, uint32_t stack, int *out, snap_error *err) {
    if (stack == 0) {
        *out = 0;
        return 0;
    }
    if (w->has_function[stack] == 0) {
        enum { MAX = 512 };
        snap_location *const frames = mem_alloc(MAX, sizeof *frames);
        size_t n = 0;
        if (frames == NULL)
            return no_memory(err);
        const int result = snap_stack(w->h->snapshot, stack, frames, MAX, &n, NULL, err);
        w->has_function[stack] = 1;
        for (size_t i = 0; result == 0 && i < n; i++)
            if (strcmp(frames[i].function, w->query->function) == 0)
                w->has_function[stack] = 2;
        free(frames);
        SNAP_TRY(result);
    }
    *out = w->has_function[stack] == 2;
    return 0;
}

static int add(struct work *w, uint32_t node, snap_error *err) {
    if (mem_grow(&w->nodes, &w->node_capacity, w->n_nodes + 1, sizeof *w->nodes) < 0)
        return no_memory(err);
    w->nodes[w->n_nodes++] = node;
    w->is_found[node] = 1;
    return 0;
}

/* Types made of sites are found with and without the line. */
static int is_named(const snap_heap *h, uint32_t type, const char *name) {
    const char *const own = h->type_name[type];
    const size_t length = strlen(name);
    if (strcmp(own, name) == 0)
        return 1;
    return type > h->n_file_types && strncmp(own, name, length) == 0 && own[length] == ':' &&
           own[length + 1 + strspn(own + length + 1, "0123456789")] == '\0';
}

static int find_nodes(struct work *w, snap_error *err) {
    snap_heap *const h = w->h;
    const snap_holders_query *const q = w->query;
    w->is_found = mem_zalloc((size_t)h->n_nodes + 1, 1);
    w->has_function = mem_zalloc((size_t)snap_rows(h->snapshot, SNAP_TABLE_STAK) + 1, 1);
    uint8_t *const is_type = mem_zalloc(h->n_types, 1);
    int result =
        w->is_found != NULL && w->has_function != NULL && is_type != NULL ? 0 : no_memory(err);
    for (uint32_t t = 0; result == 0 && t < h->n_types; t++)
        is_type[t] = q->type == NULL || is_named(h, t, q->type);
    uint32_t at_address = 0;
    if (result == 0 && q->address != 0)
        result = snap_heap_find(h, q->address, &at_address, NULL, err);
    for (uint32_t v = 1; result == 0 && v <= h->n_nodes; v++) {
        if (!is_type[heap_node_type(h, v)] || (q->address != 0 && v != at_address))
            continue;
        int matches = 1;
        if (q->function != NULL)
            result = stack_has(w, heap_node_stack(h, v), &matches, err);
        if (result == 0 && matches)
            result = add(w, v, err);
    }
    free(is_type);
    return result;
}

/* Whether a node above in the dominator tree was found. Each node is asked once. */
static int is_covered(struct work *w, uint32_t node) {
    uint32_t top = node;
    uint8_t answer = 1;
    while (w->covered[top] == 0) {
        const uint32_t parent = snap_dominators_parent(w->dominators, top);
        if (parent == 0 || parent == SNAP_GRAPH_NONE) {
            w->covered[top] = 1;
            break;
        }
        if (w->is_found[parent]) {
            w->covered[top] = 2;
            break;
        }
        top = parent;
    }
    answer = w->covered[top];
    for (uint32_t v = node; v != top; v = snap_dominators_parent(w->dominators, v))
        w->covered[v] = answer;
    return answer == 2;
}

static snap_holder_group *group_of(struct work *w, uint64_t key) {
    uint32_t *const slot = map_slot(&w->by_key, key);
    if (slot == NULL)
        return NULL;
    if (*slot == 0) {
        if (mem_grow(&w->groups, &w->group_capacity, w->n_groups + 1, sizeof *w->groups) < 0)
            return NULL;
        w->groups[w->n_groups++] = (snap_holder_group){.fingerprint = key};
        *slot = (uint32_t)w->n_groups;
    }
    return &w->groups[*slot - 1];
}

static int fill_groups(struct work *w, snap_error *err) {
    snap_heap *const h = w->h;
    for (size_t i = 0; i < w->n_nodes; i++) {
        const uint32_t v = w->nodes[i];
        const uint32_t place = w->places.of[v];
        const uint64_t parts[3] = {heap_node_stack(h, v), heap_node_type(h, v), 1};
        const uint64_t key =
            place != 0 ? w->places.rows[place].key : strtab_key((const char *)parts, sizeof parts);
        snap_holder_group *const g = group_of(w, key);
        if (g == NULL)
            return no_memory(err);
        const uint64_t bytes = heap_node_bytes(h, v);
        const uint64_t retained = snap_retained_bytes(w->retained, v, 0);
        g->count++;
        g->bytes = add_sat(g->bytes, bytes);
        if (place == 0)
            g->holder_class = SNAP_HOLDER_LOST;
        if (!is_covered(w, v))
            g->retained_bytes = add_sat(g->retained_bytes, retained);
        /* The one that retains most stands for the group. */
        if (g->node == 0 || retained > snap_retained_bytes(w->retained, g->node, 0))
            g->node = v;
    }
    return 0;
}

static int compare_groups(const void *x, const void *y) {
    const snap_holder_group *const a = x, *const b = y;
    if (a->retained_bytes != b->retained_bytes)
        return a->retained_bytes > b->retained_bytes ? -1 : 1;
    if (a->bytes != b->bytes)
        return a->bytes > b->bytes ? -1 : 1;
    if (a->count != b->count)
        return a->count > b->count ? -1 : 1;
    return a->fingerprint < b->fingerprint ? -1 : a->fingerprint > b->fingerprint;
}

static int put_chains(struct work *w, snap_holder_group *g, snap_error *err) {
    const snap_disjoint_options options = {
        .struct_size = sizeof options,
        .max_chains =
            w->query->max_chains != 0 && w->query->max_chains <= 3 ? w->query->max_chains : 3,
    };
    snap_chain chains[3] = {{0}};
    uint32_t n = 0;
    /* The best chain first: it is what put the node into its place. */
    snap_holder_chain *const out = arena_alloc(&w->h->arena, 4 * sizeof *out);
    if (out == NULL)
        return no_memory(err);
    snap_chain best = {0};
    SNAP_TRY(snap_paths_chain(w->places.paths, g->node, &best, err));
    int result = chain_text(w->h, &best, w->retained, &out[0], err);
    g->n_chains = result == 0;
    if (result == 0 && options.max_chains > 1)
        result = snap_chains_disjoint(w->h->graph, g->node, &options, chains, &n, NULL, err);
    /* Chains that share no node with one another, without that which is the best itself. */
    for (uint32_t i = 0; i < n; i++) {
        int is_best = 0;
        for (uint32_t k = 0; k + 1 < chains[i].n_links && !is_best; k++)
            for (uint32_t j = 0; j + 1 < best.n_links && !is_best && j < 1000; j++)
                is_best = chains[i].links[k].node == best.links[j].node;
        is_best |= chains[i].n_links == 1 && best.n_links == 1 &&
                   chains[i].links[0].edge == best.links[0].edge;
        if (result == 0 && !is_best && g->n_chains < options.max_chains) {
            result = chain_text(w->h, &chains[i], w->retained, &out[g->n_chains], err);
            g->n_chains += result == 0;
        }
        snap_chain_release(&chains[i]);
    }
    snap_chain_release(&best);
    g->chains = out;
    if (result == 0 && g->n_chains > 0 && out[0].n_low > 0)
        g->holder_class = SNAP_HOLDER_POSSIBLY_LOST;
    return result;
}

static int run(struct work *w, snap_holders *out, snap_error *err) {
    snap_heap *const h = w->h;
    const uint32_t all = SNAP_GRAPH_ALL_DOMAINS;
    SNAP_TRY(find_nodes(w, err));
    if (w->n_nodes == 0)
        return err_set(err, SNAP_E_NOTFOUND, "no block or object matches");
    SNAP_TRY(snap_reach_new(&w->reach, h->graph, err));
    SNAP_TRY(snap_lost_new(&w->lost, h->graph, w->reach, err));
    snap_reach_free(w->reach);
    w->reach = NULL;
    SNAP_TRY(snap_dominators_new(&w->dominators, h->graph, w->lost, err));
    SNAP_TRY(snap_retained_new(&w->retained, w->dominators, &all, 1, err));
    SNAP_TRY(places_init(&w->places, h, NULL, err));
    w->covered = mem_zalloc((size_t)h->n_nodes + 1, 1);
    if (w->covered == NULL)
        return no_memory(err);
    SNAP_TRY(fill_groups(w, err));
    if (w->n_groups > 1)
        qsort(w->groups, w->n_groups, sizeof *w->groups, compare_groups);
    const size_t most = w->query->max_groups != 0 ? w->query->max_groups : GROUPS_DEFAULT;
    for (size_t i = 0; i < w->n_groups; i++) {
        const snap_holder_group *const g = &w->groups[i];
        out->count += g->count;
        out->bytes = add_sat(out->bytes, g->bytes);
        out->retained_bytes = add_sat(out->retained_bytes, g->retained_bytes);
        if (i < most && g->holder_class != SNAP_HOLDER_LOST)
            SNAP_TRY(put_chains(w, &w->groups[i], err));
    }
    out->n_groups = w->n_groups;
    out->n_shown = (uint32_t)(w->n_groups < most ? w->n_groups : most);
    out->groups = w->groups;
    out->internal = w->groups;
    w->groups = NULL;
    return 0;
}

static void put_limits(const snap_heap *h, snap_holders *out) {
    static const char *const no_graph[] = {
        "the file holds no references: who holds what is unknown (taken without edges, or by an "
        "older version)"};
    static const char *const no_roots[] = {"the file holds no roots: every block looks lost"};
    if (h->n_roots != 0)
        return;
    out->limits = h->n_edges == 0 ? no_graph : no_roots;
    out->n_limits = 1;
}

int snap_holders_new(snap_holders **out, snap_heap *h, const snap_holders_query *given,
                     snap_error *err) {
    snap_holders_query query = {0};
    if (given != NULL)
        memcpy(&query, given,
               given->struct_size == 0 || given->struct_size > sizeof query ? sizeof query
                                                                            : given->struct_size);
    snap_holders *const holders = mem_zalloc(1, sizeof *holders);
    if (holders == NULL)
        return no_memory(err);
    struct work w = {.h = h, .query = &query};
    map_init(&w.by_key);
    int result = run(&w, holders, err);
    if (result == 0)
        put_limits(h, holders);
    places_release(&w.places);
    if (w.retained != NULL)
        snap_retained_free(w.retained);
    if (w.dominators != NULL)
        snap_dominators_free(w.dominators);
    if (w.lost != NULL)
        snap_lost_free(w.lost);
    if (w.reach != NULL)
        snap_reach_free(w.reach);
    free(w.covered);
    free(w.is_found);
    free(w.has_function);
    free(w.nodes);
    free(w.groups);
    map_release(&w.by_key);
    if (result < 0) {
        snap_holders_free(holders);
        return result;
    }
    *out = holders;
    return 0;
}

void snap_holders_free(snap_holders *holders) {
    if (holders == NULL)
        return;
    free(holders->internal);
    free(holders);
}
