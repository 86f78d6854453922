/* The tree of paths: nodes reached over the same kinds, fields and types are one group.
 *
 * Source of the idea: LeakCanary's ObjectGrowthDetector (Square), there with plain queues; here
 * layer by layer, so that which group a node falls into does not depend on the order of references.
 *
 * Invariant: when a layer is complete its new groups are sorted by their keys and numbered; so
 * numbers of groups are canonical, and a parent's is less than its children's. */
#include "graph/layers.h"

#include <stdlib.h>

struct snap_path_tree {
    snap_graph *g;
    uint32_t *group_of; /* by node */
    snap_path_group *group;
    uint32_t n_groups;
};

struct search {
    snap_graph *g;
    uint32_t *group_of;
    snap_path_group *group; /* 1 to n_groups */
    uint32_t n_groups, capacity;
    uint32_t n_final; /* groups numbered for good */
    uint32_t *slot;   /* hash table of groups, by what tells them apart; 0: free */
    uint32_t n_slots; /* a power of two, at least twice n_groups */
    uint32_t *order;  /* room for a layer's new groups: numbers, then slots */
    uint64_t order_capacity;
};

static uint64_t hash_group(const struct search *s, const snap_path_group *k) {
    uint64_t h = hash_mix(k->parent, (uint64_t)k->kind << 8 | k->is_low);
    h = hash_mix(h, k->field);
    return hash_mix(h, type_key(s->g, k->type));
}

/* Canonical order of groups; 0: the same. */
static int compare_groups(const struct search *s, const snap_path_group *a,
                          const snap_path_group *b) {
    int c = compare_u64(a->parent, b->parent);
    if (!c)
        c = compare_u64(a->is_low, b->is_low);
    if (!c)
        c = compare_u64(a->kind, b->kind);
    if (!c)
        c = compare_u64(a->field, b->field);
    return c ? c : compare_u64(type_key(s->g, a->type), type_key(s->g, b->type));
}

static int compare_numbers(const void *context, uint32_t a, uint32_t b) {
    const struct search *s = context;
    return compare_groups(s, &s->group[a], &s->group[b]);
}

static uint32_t find_slot(const struct search *s, const snap_path_group *k) {
    uint32_t i = (uint32_t)hash_group(s, k) & (s->n_slots - 1);
    while (s->slot[i] && compare_groups(s, &s->group[s->slot[i]], k))
        i = (i + 1) & (s->n_slots - 1);
    return i;
}

static int grow(struct search *s, snap_error *err) {
    struct graph_memory *m = &s->g->memory;
    if (s->n_groups + 1 >= s->capacity) {
        const uint64_t capacity = s->capacity ? s->capacity + s->capacity / 2u : 256;
        if (capacity > SNAP_GRAPH_NODES_MAX)
            return err_set(err, SNAP_E_LIMIT, "more than %u groups of paths", s->n_groups);
        SNAP_TRY(graph_array_resize(m, &s->group, capacity, sizeof *s->group, err));
        s->capacity = (uint32_t)capacity;
    }
    if ((uint64_t)2 * (s->n_groups + 1) < s->n_slots)
        return 0;
    const uint32_t n_slots = s->n_slots ? 2 * s->n_slots : 1024;
    if (!n_slots)
        return err_set(err, SNAP_E_LIMIT, "more than %u groups of paths", s->n_groups);
    graph_release(m, &s->slot);
    s->n_slots = 0;
    SNAP_TRY(graph_array(m, &s->slot, n_slots, sizeof *s->slot, err));
    s->n_slots = n_slots;
    for (uint32_t i = 1; i <= s->n_groups; i++)
        s->slot[find_slot(s, &s->group[i])] = i;
    return 0;
}

static int find_group(struct search *s, const snap_path_group *k, uint32_t *out, snap_error *err) {
    SNAP_TRY(grow(s, err));
    const uint32_t i = find_slot(s, k);
    if (!s->slot[i]) {
        s->group[++s->n_groups] = *k;
        s->slot[i] = s->n_groups;
    }
    *out = s->slot[i];
    /* Labels with one key are one name: any would do, but always the same. */
    if (k->label < s->group[*out].label)
        s->group[*out].label = k->label;
    return 0;
}

static void choose(struct search *s, uint32_t node, uint32_t group, bool is_first) {
    if (is_first || compare_numbers(s, group, s->group_of[node]) < 0)
        s->group_of[node] = group;
}

static int offer_root(void *context, uint32_t node, uint32_t r, bool is_first, snap_error *err) {
    struct search *s = context;
    const uint32_t name = root_name(s->g, r);
    const snap_path_group k = {.kind = root_kind(s->g, r),
                               .is_low = root_is_low(s->g, r),
                               .label = name,
                               .field = label_key(s->g, name),
                               .type = node_type(s->g, node)};
    uint32_t group;
    SNAP_TRY(find_group(s, &k, &group, err));
    choose(s, node, group, is_first);
    return 0;
}

static void expand(void *context, uint32_t node) {}

static int offer_edge(void *context, uint32_t from, uint32_t to, uint64_t e, bool is_first,
                      snap_error *err) {
    struct search *s = context;
    const uint32_t parent = s->group_of[from];
    const uint8_t kind = edge_kind(s->g, e);
    snap_path_group *p = &s->group[parent];
    const snap_path_group k = {.parent = parent,
                               .kind = kind,
                               .is_low = p->is_low || edge_is_low(s->g, e),
                               .label = kind_is_folded(s->g, kind) ? 0 : edge_label(s->g, e),
                               .field = snap_edge_field(s->g, e),
                               .type = node_type(s->g, to)};
    uint32_t group = parent;
    if (p->parent && p->kind == kind && p->is_low == k.is_low && p->field == k.field &&
        type_key(s->g, p->type) == type_key(s->g, k.type))
        p->is_list = 1;
    else
        SNAP_TRY(find_group(s, &k, &group, err));
    choose(s, to, group, is_first);
    return 0;
}

/* Gives the new groups their places in canonical order: in the table, in the layer's nodes, and by
 * moving their records along the cycles of the permutation. */
static void renumber(struct search *s, const uint32_t *slot_of, uint32_t *place,
                     const uint32_t *nodes, uint32_t count) {
    const uint32_t first = s->n_final + 1, n_new = s->n_groups - s->n_final;
    for (uint32_t i = 0; i < n_new; i++)
        s->slot[slot_of[i]] = first + place[i];
    for (uint32_t i = 0; i < count; i++)
        if (s->group_of[nodes[i]] >= first)
            s->group_of[nodes[i]] = first + place[s->group_of[nodes[i]] - first];
    for (uint32_t i = 0; i < n_new; i++)
        while (place[i] != i) {
            const uint32_t to = place[i];
            const snap_path_group moved = s->group[first + to];
            s->group[first + to] = s->group[first + i];
            s->group[first + i] = moved;
            place[i] = place[to];
            place[to] = to;
        }
}

static int sort_new_groups(struct search *s, const uint32_t *nodes, uint32_t count,
                           snap_error *err) {
    const uint32_t first = s->n_final + 1, n_new = s->n_groups - s->n_final;
    if (3 * (uint64_t)n_new > s->order_capacity) {
        const uint64_t capacity = 6 * (uint64_t)n_new;
        SNAP_TRY(graph_array_resize(&s->g->memory, &s->order, capacity, sizeof *s->order, err));
        s->order_capacity = capacity;
    }
    uint32_t *order = s->order, *slot_of = order + n_new, *place = slot_of + n_new;
    for (uint32_t i = 0; i < n_new; i++) {
        order[i] = first + i;
        slot_of[i] = find_slot(s, &s->group[first + i]);
    }
    SNAP_TRY(graph_sort(s->g, order, n_new, compare_numbers, s, err));
    for (uint32_t i = 0; i < n_new; i++)
        place[order[i] - first] = i;
    renumber(s, slot_of, place, nodes, count);
    return 0;
}

static int complete_layer(void *context, const uint32_t *nodes, uint32_t count, snap_error *err) {
    struct search *s = context;
    if (s->n_groups - s->n_final > 1)
        SNAP_TRY(sort_new_groups(s, nodes, count, err));
    s->n_final = s->n_groups;
    for (uint32_t i = 0; i < count; i++) {
        snap_path_group *k = &s->group[s->group_of[nodes[i]]];
        k->count++;
        k->bytes += node_bytes(s->g, nodes[i]);
    }
    return 0;
}

/* Removes the groups that every candidate left for a better one; sums up; names the paths. */
static int finish(struct search *s, snap_error *err) {
    uint32_t *number;
    SNAP_TRY(graph_array(&s->g->memory, &number, (uint64_t)s->n_groups + 1, sizeof *number, err));
    uint32_t n = 0;
    for (uint32_t i = 1; i <= s->n_groups; i++) {
        snap_path_group k = s->group[i];
        if (!k.count)
            continue;
        number[i] = ++n;
        k.parent = number[k.parent];
        k.total_count = k.count;
        k.total_bytes = k.bytes;
        k.key = hash_mix(k.parent ? s->group[k.parent].key : 0, (uint64_t)k.kind << 8 | k.is_low);
        k.key = hash_mix(hash_mix(k.key, k.field), type_key(s->g, k.type));
        s->group[n] = k;
    }
    for (uint32_t v = 1; v <= s->g->n; v++)
        s->group_of[v] = number[s->group_of[v]];
    graph_release(&s->g->memory, &number);
    s->n_groups = n;
    s->group[0] = (snap_path_group){0};
    for (uint32_t i = n; i > 0; i--) {
        s->group[s->group[i].parent].total_count += s->group[i].total_count;
        s->group[s->group[i].parent].total_bytes += s->group[i].total_bytes;
    }
    return 0;
}

static int search_groups(struct search *s, struct layers *l, snap_error *err) {
    static const struct layers_receiver receiver = {offer_root, expand, offer_edge, complete_layer};
    struct graph_memory *m = &s->g->memory;
    SNAP_TRY(graph_array(m, &s->group_of, (uint64_t)s->g->n + 1, sizeof *s->group_of, err));
    SNAP_TRY(grow(s, err));
    SNAP_TRY(layers_init(l, s->g, err));
    SNAP_TRY(layers_run(s->g, l, &receiver, s, err));
    layers_release(l, s->g);
    graph_release(m, &s->slot);
    return finish(s, err);
}

int snap_path_tree_new(snap_path_tree **out, snap_graph *g, snap_error *err) {
    snap_path_tree *t = calloc(1, sizeof *t);
    if (!t)
        return err_set(err, SNAP_E_NOMEM, "no memory for a tree of paths");
    struct search s = {.g = g};
    struct layers l = {0};
    const int result = search_groups(&s, &l, err);
    layers_release(&l, g);
    graph_release(&g->memory, &s.slot);
    graph_release(&g->memory, &s.order);
    *t = (snap_path_tree){g, s.group_of, s.group, s.n_groups};
    if (result < 0) {
        snap_path_tree_free(t);
        return result;
    }
    *out = t;
    return 0;
}

void snap_path_tree_free(snap_path_tree *t) {
    if (!t)
        return;
    graph_release(&t->g->memory, &t->group_of);
    graph_release(&t->g->memory, &t->group);
    free(t);
}

const snap_path_group *snap_path_tree_groups(const snap_path_tree *t, uint32_t *out_n) {
    *out_n = t->n_groups;
    return t->group;
}

uint32_t snap_path_tree_group(const snap_path_tree *t, uint32_t node) {
    return node && node <= t->g->n ? t->group_of[node] : 0;
}
