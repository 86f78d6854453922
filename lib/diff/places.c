/* Groups nodes by how they are held, along the best chain to each.
 *
 * Source of the idea: LeakCanary's ObjectGrowthDetector; here over the best chain of each node
 * instead of shortest paths of groups, so that a variable that lasts goes before a stack, and with
 * recursive types folded, so that growth in a tree is one place. Invariant: a node is in the place
 * that its chain leads to, a place's number is greater than its parent's, and keys depend on names
 * alone. */
#include "diff/places.h"

#include "base/err.h"

#include <stdlib.h>
#include <string.h>

/* How far up a recursive type is looked for. */
#define FOLD_DEPTH 24

static int no_memory(snap_error *err) {
    return err_set(err, SNAP_E_NOMEM, "no memory for the places of blocks");
}

static uint64_t mix(uint64_t h, uint64_t value) {
    h = (h ^ value) * 0x9e3779b97f4a7c15ull;
    h ^= h >> 32;
    h *= 0xd6e8feb86659fd93ull;
    return h ^ h >> 29;
}

struct step {
    uint32_t parent, type;
    uint8_t kind;
    uint64_t field;
};

static int is_step(const struct place *p, const struct step *s) {
    return p->parent == s->parent && p->type == s->type && p->kind == s->kind &&
           p->field == s->field;
}

static uint64_t hash(const struct step *s) {
    return mix(mix((uint64_t)s->parent << 32 | s->type, s->kind), s->field);
}

static int grow_slots(struct places *p) {
    const size_t n_slots = p->mask != 0 ? (p->mask + 1) * 2 : 1024;
    struct place_slot *const slots = mem_zalloc(n_slots, sizeof *slots);
    if (slots == NULL)
        return -1;
    for (uint32_t i = 1; i <= p->n; i++) {
        const struct place *const r = &p->rows[i];
        const struct step s = {r->parent, r->type, r->kind, r->field};
        const uint64_t h = hash(&s);
        size_t at = h & (n_slots - 1);
        while (slots[at].place != 0)
            at = (at + 1) & (n_slots - 1);
        slots[at] = (struct place_slot){i, (uint32_t)(h >> 32)};
    }
    free(p->slots);
    p->slots = slots;
    p->mask = n_slots - 1;
    return 0;
}

static uint64_t type_key(const snap_heap *h, uint32_t type) {
    return type < h->n_types ? h->type_key[type] : 0;
}

/* The place that a step leads to, made if absent; 0: no memory. */
static uint32_t find(struct places *p, const snap_heap *h, const struct step *s, uint64_t row,
                     int is_low) {
    if ((uint64_t)p->n * 2 >= p->mask && grow_slots(p) < 0)
        return 0;
    const uint64_t code = hash(s);
    size_t at = code & p->mask;
    for (; p->slots[at].place != 0; at = (at + 1) & p->mask)
        if (p->slots[at].tag == (uint32_t)(code >> 32) && is_step(&p->rows[p->slots[at].place], s))
            return p->slots[at].place;
    if (mem_grow(&p->rows, &p->capacity, (size_t)p->n + 2, sizeof *p->rows) < 0)
        return 0;
    const struct place *const parent = &p->rows[s->parent];
    const uint64_t above = s->parent != 0 ? parent->key : 1;
    p->rows[++p->n] = (struct place){
        .parent = s->parent,
        .type = s->type,
        .row = row,
        .field = s->field,
        .kind = s->kind,
        .key = mix(mix(mix(above, s->kind), s->field), type_key(h, s->type)),
        .depth = s->parent != 0 ? parent->depth + 1 : 0,
        .is_low = (uint8_t)(is_low || (s->parent != 0 && parent->is_low)),
    };
    p->slots[at] = (struct place_slot){p->n, (uint32_t)(code >> 32)};
    return p->n;
}

/* Types of a managed runtime are too general to tell a recursion by themselves: a dict in a dict is
 * none. */
static int is_managed(const snap_heap *h, uint32_t node) {
    return heap_node_domain(h, node) == SNAP_DOMAIN_PYTHON;
}

static int is_entry(unsigned kind) {
    return kind == SNAP_EDGE_KEY || kind == SNAP_EDGE_VALUE;
}

static int is_marked(const struct places *p, uint32_t node) {
    return p->marked != NULL && p->marked[node >> 6] >> (node & 63) & 1;
}

static uint32_t place_of_step(struct places *p, snap_heap *h, uint32_t node, uint32_t parent,
                              uint64_t row) {
    struct step s = {.parent = parent, .type = heap_node_type(h, node)};
    int is_low;
    if (parent == 0) {
        s.kind = h->root_kind != NULL ? h->root_kind[row] : 0;
        s.field = h->root_label[row] != 0 ? h->label_key[h->root_label[row]] : 0;
        is_low = h->root_flags[row] & SNAP_EDGE_FLAG_LOW;
        return find(p, h, &s, row, is_low);
    }
    s.kind = h->edge_kind != NULL ? h->edge_kind[row] : 0;
    s.field = is_entry(s.kind) && is_marked(p, node) ? 0 : snap_edge_field(h->graph, row);
    is_low = h->edge_flags != NULL && h->edge_flags[row] & SNAP_EDGE_FLAG_LOW;
    const int by_edge = s.type == 0 || is_managed(h, node);
    uint32_t above = parent;
    for (int i = 0; i < FOLD_DEPTH && above != 0; i++, above = p->rows[above].parent) {
        struct place *const a = &p->rows[above];
        if (a->type != s.type ||
            (by_edge && (a->parent == 0 || a->kind != s.kind || a->field != s.field)))
            continue;
        a->is_list = 1;
        return above;
    }
    return find(p, h, &s, row, is_low);
}

/* A node without a place yet, and the row that its chain ends with. */
struct climbed {
    uint32_t node;
    uint64_t row;
};

/* Gives places to a node and to all on its chain that have none. */
static int assign(struct places *p, snap_heap *h, uint32_t node, struct climbed **stack,
                  size_t *capacity) {
    size_t n = 0;
    uint32_t above = node;
    while (above != 0 && p->of[above] == 0) {
        if (mem_grow(stack, capacity, n + 1, sizeof **stack) < 0)
            return -1;
        struct climbed *const c = &(*stack)[n++];
        c->node = above;
        above = snap_paths_step(p->paths, above, &c->row);
    }
    while (n-- > 0) {
        const struct climbed next = (*stack)[n];
        const uint32_t place =
            place_of_step(p, h, next.node, above != 0 ? p->of[above] : 0, next.row);
        if (place == 0)
            return -1;
        p->of[next.node] = place;
        struct place *const r = &p->rows[place];
        r->count++;
        r->bytes = add_sat(r->bytes, heap_node_bytes(h, next.node));
        above = next.node;
    }
    return 0;
}

int places_init(struct places *p, snap_heap *h, const uint64_t *marked, snap_error *err) {
    memset(p, 0, sizeof *p);
    p->marked = marked;
    p->of = mem_zalloc((size_t)h->n_nodes + 1, sizeof *p->of);
    if (p->of == NULL || mem_grow(&p->rows, &p->capacity, 64, sizeof *p->rows) < 0)
        return no_memory(err);
    p->rows[0] = (struct place){0};
    SNAP_TRY(snap_paths_new(&p->paths, h->graph, err));
    struct climbed *stack = NULL;
    size_t capacity = 0;
    int failed = 0;
    for (uint32_t v = 1; v <= h->n_nodes && !failed; v++)
        if (p->of[v] == 0 && snap_paths_length(p->paths, v) != 0)
            failed = assign(p, h, v, &stack, &capacity) < 0;
    free(stack);
    return failed ? no_memory(err) : 0;
}

void places_release(struct places *p) {
    snap_paths_free(p->paths);
    free(p->rows);
    free(p->of);
    free(p->slots);
    memset(p, 0, sizeof *p);
}
