/* From two reference graphs to things that grew.
 *
 * Only nodes that the first snapshot does not have (fresh ones) can have grown. A place grew if it
 * has more fresh nodes than nodes of the first are gone from it: so slots of a ring whose nodes are
 * replaced do not grow, nor does a table that was made anew to be larger. The growth of a fresh
 * node counts under the topmost fresh node above it whose place grew: a list of nodes with a buffer
 * each is one thing, and the holder is what refers to its head. After LeakCanary's rule that only
 * the topmost growing node is reported, per node instead of per path. Invariant: every fresh node
 * is in at most one cell. The graphs are in memory one after the other, not together, unless they
 * are small. */
#include "diff/candidates.h"

#include "base/beside.h"
#include "base/err.h"

#include <stdlib.h>
#include <string.h>

/* Two graphs of up to so many nodes and edges in all are in memory at the same time. */
#define TOGETHER_ROWS_MAX 10000000u
#define TOGETHER_ROW_BYTES 100u /* more than a node or an edge takes */

static int no_memory(snap_error *err) {
    return err_set(err, SNAP_E_NOMEM, "no memory for suspects");
}

static uint64_t mix(uint64_t h, uint64_t value) {
    h = (h ^ value) * 0x9e3779b97f4a7c15ull;
    h ^= h >> 32;
    h *= 0xd6e8feb86659fd93ull;
    return h ^ h >> 29;
}

/* Sums over nodes of the first snapshot, and over those of them that are gone, by key of place. */
struct gone {
    struct map index; /* key -> row + 1 */
    struct gone_row {
        uint64_t count, bytes;
        uint64_t all_count, all_bytes;
    } * rows;
    size_t n, capacity;
    int is_known; /* the first snapshot has references */
};

static struct gone_row *gone_row(struct gone *g, uint64_t key) {
    uint32_t *const slot = map_slot(&g->index, key);
    if (slot == NULL)
        return NULL;
    if (*slot == 0) {
        if (mem_grow(&g->rows, &g->capacity, g->n + 1, sizeof *g->rows) < 0)
            return NULL;
        g->rows[g->n++] = (struct gone_row){0};
        *slot = (uint32_t)g->n;
    }
    return &g->rows[*slot - 1];
}

static struct gone_row gone_get(const struct gone *g, uint64_t key) {
    const uint32_t at = map_get(&g->index, key);
    return at != 0 ? g->rows[at - 1] : (struct gone_row){0};
}

int candidates_find_lost(snap_heap *h, const struct places *p, snap_lost **out, snap_error *err) {
    *out = NULL;
    uint32_t v = 1;
    while (v <= h->n_nodes && p->of[v] != 0)
        v++;
    if (v > h->n_nodes)
        return 0;
    snap_reach *reach;
    SNAP_TRY(snap_reach_new(&reach, h->graph, err));
    const int result = snap_lost_new(out, h->graph, reach, err);
    snap_reach_free(reach);
    return result;
}

/* Key of lost nodes: type and site of the one they are counted under. */
int candidates_lost_key(snap_heap *h, uint32_t leader, uint64_t *out, snap_error *err) {
    uint64_t stack = 0;
    SNAP_TRY(snap_stack_key(h->snapshot, heap_node_stack(h, leader), &stack, err));
    *out = mix(mix(3, h->type_key[heap_node_type(h, leader)]), stack);
    return 0;
}

/* Adds the nodes of all places; *out_rows: by place, the number of its row. */
static int add_places(struct gone *g, const struct places *places, uint32_t **out_rows,
                      snap_error *err) {
    uint32_t *const rows = *out_rows = mem_alloc((size_t)places->n + 1, sizeof *rows);
    if (rows == NULL)
        return no_memory(err);
    for (uint32_t p = 1; p <= places->n; p++) {
        struct gone_row *const row = gone_row(g, places->rows[p].key);
        if (row == NULL)
            return no_memory(err);
        row->all_count += places->rows[p].count;
        row->all_bytes = add_sat(row->all_bytes, places->rows[p].bytes);
        rows[p] = (uint32_t)(row - g->rows);
    }
    return 0;
}

/* Adds the nodes that are gone, and those that nothing holds. */
static int add_nodes(struct gone *g, const struct cohort *cohort, snap_heap *h,
                     const struct places *places, const uint32_t *row_of_place,
                     const snap_lost *lost, snap_error *err) {
    for (uint32_t v = 1; v <= h->n_nodes; v++) {
        const int is_gone = cohort_bit(cohort->gone, v), is_held = places->of[v] != 0;
        struct gone_row *row;
        if (is_held) {
            if (!is_gone)
                continue;
            row = &g->rows[row_of_place[places->of[v]]];
        } else if (lost != NULL && snap_lost_leader(lost, v) != 0) {
            uint64_t key;
            SNAP_TRY(candidates_lost_key(h, snap_lost_leader(lost, v), &key, err));
            row = gone_row(g, key);
            if (row == NULL)
                return no_memory(err);
        } else {
            continue;
        }
        const uint64_t bytes = heap_node_bytes(h, v);
        if (!is_held) {
            row->all_count++;
            row->all_bytes = add_sat(row->all_bytes, bytes);
        }
        if (is_gone) {
            row->count++;
            row->bytes = add_sat(row->bytes, bytes);
        }
    }
    return 0;
}

static int read_first(struct gone *g, const struct cohort *cohort, const snap_snapshot *first,
                      const snap_heap_options *options, snap_error *err) {
    snap_heap *h;
    struct places places = {0};
    snap_lost *lost = NULL;
    uint32_t *row_of_place = NULL;
    SNAP_TRY(snap_heap_open(&h, first, options, err));
    int result = places_init(&places, h, cohort->gone, err);
    if (result == 0)
        result = candidates_find_lost(h, &places, &lost, err);
    if (result == 0)
        result = add_places(g, &places, &row_of_place, err);
    if (result == 0)
        result = add_nodes(g, cohort, h, &places, row_of_place, lost, err);
    free(row_of_place);
    g->is_known = 1;
    if (lost != NULL)
        snap_lost_free(lost);
    places_release(&places);
    snap_heap_close(h);
    return result;
}

/* How much of what is fresh in a place is more than there was, and how much it gained by nodes that
 * moved there. */
struct settled {
    uint64_t count, bytes;             /* of what is fresh: growth */
    uint64_t moved_count, moved_bytes; /* beyond that: growth by nodes that are not fresh */
};

static uint64_t minus(uint64_t a, uint64_t b) {
    return a > b ? a - b : 0;
}

static uint64_t least(uint64_t a, uint64_t b) {
    return a < b ? a : b;
}

static struct settled settle(const struct gone *gone, uint64_t key, uint64_t fresh_count,
                             uint64_t fresh_bytes, uint64_t all_count, uint64_t all_bytes) {
    const struct gone_row g = gone_get(gone, key);
    struct settled s = {minus(fresh_count, g.count), minus(fresh_bytes, g.bytes), 0, 0};
    if (!gone->is_known)
        return s;
    const uint64_t count = minus(all_count, g.all_count), bytes = minus(all_bytes, g.all_bytes);
    s.count = least(s.count, count);
    s.bytes = least(s.bytes, bytes);
    s.moved_count = count - s.count;
    s.moved_bytes = bytes - s.bytes;
    return s;
}

struct work {
    struct candidates *c;
    struct gone gone;
    snap_lost *lost;
    struct settled *places; /* by place */
    struct map cell_index;
    uint32_t *stack;
    size_t stack_capacity;
};

static struct candidate *add_candidate(struct candidates *c, enum candidate_kind kind,
                                       uint32_t place, uint32_t type) {
    if (mem_grow(&c->rows, &c->capacity, c->n + 1, sizeof *c->rows) < 0)
        return NULL;
    c->rows[c->n] = (struct candidate){.kind = kind, .place = place, .type = type};
    return &c->rows[c->n++];
}

static int is_fresh(const struct candidates *c, uint32_t v) {
    return cohort_bit(c->cohort.fresh, v);
}

/* Whether a place has more nodes than it had. */
static int place_grew(const struct work *w, uint32_t place) {
    return w->places[place].count > 0;
}

/* Whether a place is in a graph of autograd: below one of its nodes. */
static int is_autograd(const struct candidates *c, uint32_t place) {
    static const char prefix[] = "torch::autograd::";
    for (; place != 0; place = c->places.rows[place].parent) {
        const struct place *const p = &c->places.rows[place];
        const char *const name = c->heap->type_name[p->type];
        if ((p->parent != 0 && (p->kind == SNAP_EDGE_NEXT || p->kind == SNAP_EDGE_SAVED)) ||
            (strncmp(name, prefix, sizeof prefix - 1) == 0 && strstr(name, "Meta") == NULL))
            return 1;
    }
    return 0;
}

static struct cell *cell_of(struct work *w, uint32_t candidate, uint32_t node) {
    struct candidates *const c = w->c;
    const snap_heap *const h = c->heap;
    const uint32_t place = c->places.of[node], stack = heap_node_stack(h, node),
                   type = stack != 0 ? 0 : heap_node_type(h, node),
                   domain = heap_node_domain(h, node);
    const uint64_t owner = mix((uint64_t)candidate << 32 | place, 0);
    uint32_t *const slot =
        map_slot(&w->cell_index, mix(mix(owner, (uint64_t)stack << 32 | type), domain));
    if (slot == NULL)
        return NULL;
    if (*slot == 0) {
        if (mem_grow(&c->cells, &c->cell_capacity, c->n_cells + 1, sizeof *c->cells) < 0)
            return NULL;
        c->cells[c->n_cells++] = (struct cell){candidate, place, stack, type, domain};
        *slot = (uint32_t)c->n_cells;
    }
    return &c->cells[*slot - 1];
}

static int count_node(struct work *w, uint32_t candidate, uint32_t node) {
    struct cell *const cell = cell_of(w, candidate, node);
    if (cell == NULL)
        return -1;
    const snap_heap *const h = w->c->heap;
    const uint64_t bytes = heap_node_bytes(h, node);
    struct candidate *const r = &w->c->rows[candidate];
    if (!is_fresh(w->c, node)) {
        cell->old_count++;
        cell->old_bytes = add_sat(cell->old_bytes, bytes);
        return 0;
    }
    cell->count++;
    cell->bytes = add_sat(cell->bytes, bytes);
    if (heap_node_flags(h, node) & SNAP_NODE_FLAG_GARBAGE)
        r->garbage_bytes = add_sat(r->garbage_bytes, bytes);
    if (heap_node_domain(h, node) == SNAP_DOMAIN_DEVICE ||
        heap_node_domain(h, node) == SNAP_DOMAIN_PINNED ||
        heap_node_domain(h, node) == SNAP_DOMAIN_MANAGED)
        r->device_bytes = add_sat(r->device_bytes, bytes);
    return 0;
}

static void count_entry(struct work *w, uint32_t candidate, uint32_t node) {
    struct candidates *const c = w->c;
    struct candidate *const r = &c->rows[candidate];
    r->n_entries++;
    c->is_top[node >> 6] |= 1ull << (node & 63);
    /* The newest stands for all: it is where the leak still happens. */
    if (r->node == 0 || heap_node_birth(c->heap, node) > heap_node_birth(c->heap, r->node))
        r->node = node;
}

/* The candidate of a place that grew, made if absent; 0: no memory. */
static uint32_t candidate_of_place(struct work *w, uint32_t place) {
    struct candidates *const c = w->c;
    if (c->place_candidate[place] == 0) {
        const enum candidate_kind kind = place_grew(w, place) ? CANDIDATE_HELD : CANDIDATE_BUFFER;
        if (add_candidate(c, kind, place, c->places.rows[place].type) == NULL)
            return 0;
        c->place_candidate[place] = (uint32_t)c->n;
    }
    return c->place_candidate[place];
}

#define UNSET UINT32_MAX

/* Decides for a node and for all on its chain above it. */
static int resolve(struct work *w, uint32_t node) {
    struct candidates *const c = w->c;
    size_t n = 0;
    uint64_t row;
    uint32_t above = node;
    while (above != 0 && c->entry[above] == UNSET) {
        if (mem_grow(&w->stack, &w->stack_capacity, n + 1, sizeof *w->stack) < 0)
            return -1;
        w->stack[n++] = above;
        above = snap_paths_step(c->places.paths, above, &row);
    }
    uint32_t inherited = above != 0 ? c->entry[above] : 0;
    while (n-- > 0) {
        const uint32_t v = w->stack[n], place = c->places.of[v];
        if (!is_fresh(c, v)) {
            inherited = 0;
        } else if (inherited == 0 && place_grew(w, place)) {
            inherited = candidate_of_place(w, place);
            if (inherited == 0)
                return -1;
            count_entry(w, inherited - 1, v);
        }
        c->entry[v] = inherited;
    }
    return 0;
}

static int sum_places(struct work *w, snap_error *err) {
    struct candidates *const c = w->c;
    const size_t n = (size_t)c->places.n + 1;
    c->place_fresh_count = mem_zalloc(n, sizeof *c->place_fresh_count);
    c->place_fresh_bytes = mem_zalloc(n, sizeof *c->place_fresh_bytes);
    c->place_total_bytes = mem_zalloc(n, sizeof *c->place_total_bytes);
    c->place_candidate = mem_zalloc(n, sizeof *c->place_candidate);
    w->places = mem_zalloc(n, sizeof *w->places);
    if (c->place_fresh_count == NULL || c->place_fresh_bytes == NULL ||
        c->place_total_bytes == NULL || c->place_candidate == NULL || w->places == NULL)
        return no_memory(err);
    for (uint32_t v = 1; v <= c->heap->n_nodes; v++)
        if (c->places.of[v] != 0 && is_fresh(c, v)) {
            c->place_fresh_count[c->places.of[v]]++;
            c->place_fresh_bytes[c->places.of[v]] += heap_node_bytes(c->heap, v);
        }
    for (uint32_t p = 1; p <= c->places.n; p++) {
        const struct place *const r = &c->places.rows[p];
        w->places[p] = settle(&w->gone, r->key, c->place_fresh_count[p], c->place_fresh_bytes[p],
                              r->count, r->bytes);
    }
    return 0;
}

static int find_held(struct work *w, snap_error *err) {
    struct candidates *const c = w->c;
    c->entry = mem_alloc((size_t)c->heap->n_nodes + 1, sizeof *c->entry);
    c->is_top = mem_zalloc((size_t)c->heap->n_nodes / 64 + 1, sizeof *c->is_top);
    if (c->entry == NULL || c->is_top == NULL)
        return no_memory(err);
    memset(c->entry, 0xff, ((size_t)c->heap->n_nodes + 1) * sizeof *c->entry);
    c->entry[0] = 0;
    for (uint32_t v = 1; v <= c->heap->n_nodes; v++) {
        const uint32_t place = c->places.of[v];
        if (place == 0)
            continue;
        if (c->entry[v] == UNSET && resolve(w, v) < 0)
            return no_memory(err);
        if (!is_fresh(c, v))
            continue;
        uint32_t candidate = c->entry[v];
        if (candidate == 0) {
            if (w->places[place].bytes == 0)
                continue; /* it took the place of others */
            candidate = candidate_of_place(w, place);
            if (candidate == 0)
                return no_memory(err);
            count_entry(w, candidate - 1, v);
        }
        if (count_node(w, candidate - 1, v) < 0)
            return no_memory(err);
    }
    return 0;
}

/* Nodes that are not fresh may have come from another place: those in and below a place that grew
 * by more than what is fresh there. */
static int find_moved(struct work *w, snap_error *err) {
    struct candidates *const c = w->c;
    if (!w->gone.is_known)
        return 0;
    uint32_t *const nearest = mem_zalloc((size_t)c->places.n + 1, sizeof *nearest);
    if (nearest == NULL)
        return no_memory(err);
    for (uint32_t p = 1; p <= c->places.n; p++)
        nearest[p] =
            c->place_candidate[p] != 0 ? c->place_candidate[p] : nearest[c->places.rows[p].parent];
    int result = 0;
    for (uint32_t v = 1; result == 0 && v <= c->heap->n_nodes; v++) {
        const uint32_t place = c->places.of[v];
        if (place == 0 || nearest[place] == 0 || is_fresh(c, v) ||
            w->places[place].moved_bytes == 0)
            continue;
        if (count_node(w, nearest[place] - 1, v) < 0)
            result = no_memory(err);
    }
    free(nearest);
    return result;
}

static int is_managed(const snap_heap *h, uint32_t node) {
    return heap_node_domain(h, node) == SNAP_DOMAIN_PYTHON;
}

/* Blocks with a count of references, by what standard libraries and Boost call them; where the type
 * is not known, by the function that made them. */
static int counts_references(const char *name) {
    static const char *const words[] = {"_Sp_counted", "sp_counted", "shared_ptr", "make_shared",
                                        "allocate_shared"};
    for (size_t i = 0; i < sizeof words / sizeof *words; i++)
        if (strstr(name, words[i]) != NULL)
            return 1;
    return 0;
}

/* A circle of blocks that count references is one that counting cannot free. One of objects is the
 * collector's, unless native blocks, which it does not see, are part of it. */
static int find_cycles(struct work *w, snap_error *err) {
    struct candidates *const c = w->c;
    snap_heap *const h = c->heap;
    uint32_t n_cycles;
    const snap_lost_cycle *const cycles = snap_lost_cycles(w->lost, &n_cycles);
    (void)err;
    for (uint32_t i = 0; i < n_cycles; i++) {
        const uint32_t candidate = c->entry[cycles[i].node];
        if (candidate != 0 && cycles[i].bytes > c->rows[candidate - 1].cycle_bytes) {
            c->rows[candidate - 1].cycle_bytes = cycles[i].bytes;
            c->rows[candidate - 1].cycle_node = cycles[i].node;
        }
        const char *const name = h->type_name[heap_node_type(h, cycles[i].node)];
        if (candidate != 0 && counts_references(name))
            c->rows[candidate - 1].is_cycle = 1;
        if (candidate != 0 && is_managed(h, cycles[i].node))
            c->rows[candidate - 1].is_garbage = 1;
    }
    for (uint64_t e = 0; e < h->n_edges; e++) {
        const uint32_t from = h->edge_source[e], to = h->edge_target[e];
        if (c->places.of[from] != 0 || c->places.of[to] != 0 || c->entry[from] == 0 ||
            !is_managed(h, to) || is_managed(h, from))
            continue;
        /* One that merely refers to objects is in no circle. */
        struct candidate *const r = &c->rows[c->entry[from] - 1];
        if (r->cycle_bytes != 0 && snap_lost_leader(w->lost, from) == snap_lost_leader(w->lost, to))
            r->is_cycle = 1;
    }
    return 0;
}

static int find_lost_nodes(struct work *w, snap_error *err) {
    struct candidates *const c = w->c;
    snap_heap *const h = c->heap;
    if (w->lost == NULL)
        return 0;
    c->is_leader = mem_zalloc((size_t)h->n_nodes / 64 + 1, sizeof *c->is_leader);
    if (c->is_leader == NULL)
        return no_memory(err);
    for (uint32_t v = 1; v <= h->n_nodes; v++) {
        const uint32_t leader = c->places.of[v] == 0 ? snap_lost_leader(w->lost, v) : 0;
        c->entry[v] = c->entry[v] == UNSET ? 0 : c->entry[v];
        if (leader == 0)
            continue;
        uint64_t key;
        SNAP_TRY(candidates_lost_key(h, leader, &key, err));
        uint32_t *const slot = map_slot(&c->lost, key);
        if (slot == NULL)
            return no_memory(err);
        if (*slot == 0) {
            if (add_candidate(c, CANDIDATE_LOST, 0, heap_node_type(h, leader)) == NULL)
                return no_memory(err);
            *slot = (uint32_t)c->n;
        }
        const uint32_t candidate = *slot - 1;
        struct candidate *const r = &c->rows[candidate];
        r->total_bytes = add_sat(r->total_bytes, heap_node_bytes(h, v));
        r->total_count += v == leader;
        c->is_leader[v >> 6] |= (uint64_t)(v == leader) << (v & 63);
        c->entry[v] = candidate + 1;
        if (v == leader && is_fresh(c, v))
            count_entry(w, candidate, v);
        if (r->node == 0)
            r->node = leader;
        if (count_node(w, candidate, v) < 0)
            return no_memory(err);
    }
    return find_cycles(w, err);
}

/* Sums over places with all below them, but not over those that are candidates themselves. */
static void sum_totals(struct candidates *c) {
    for (uint32_t p = c->places.n; p > 0; p--) {
        const struct place *const r = &c->places.rows[p];
        c->place_total_bytes[p] = add_sat(c->place_total_bytes[p], r->bytes);
        if (r->parent != 0 && c->place_candidate[p] == 0)
            c->place_total_bytes[r->parent] =
                add_sat(c->place_total_bytes[r->parent], c->place_total_bytes[p]);
    }
    for (size_t i = 0; i < c->n; i++) {
        struct candidate *const r = &c->rows[i];
        if (r->kind == CANDIDATE_LOST)
            continue;
        r->total_count = c->places.rows[r->place].count;
        r->total_bytes = c->place_total_bytes[r->place];
    }
}

struct sums {
    double own_count, own_bytes, other_count, other_bytes; /* fresh */
    double old_count, old_bytes;
};

static double ratio(double part, double whole) {
    return whole > 0 && part > 0 ? (part < whole ? part / whole : 1) : 0;
}

/* The growth of a place is divided among its cells. What only took the place of others is first
 * taken off from topmost nodes, for such a node hangs on an old one. */
static void settle_cell(const struct candidates *c, struct cell *cell, const struct sums *sums,
                        const struct settled *s) {
    const int is_own = c->rows[cell->candidate].place == cell->place;
    const double count = (double)s->count, bytes = (double)s->bytes;
    if (is_own) {
        cell->net_count = (double)cell->count * ratio(count - sums->other_count, sums->own_count);
        cell->net_bytes = (double)cell->bytes * ratio(bytes - sums->other_bytes, sums->own_bytes);
    } else {
        cell->net_count = (double)cell->count * ratio(count, sums->other_count);
        cell->net_bytes = (double)cell->bytes * ratio(bytes, sums->other_bytes);
    }
    cell->moved_count = (double)cell->old_count * ratio((double)s->moved_count, sums->old_count);
    cell->moved_bytes = (double)cell->old_bytes * ratio((double)s->moved_bytes, sums->old_bytes);
}

static void add_to_sums(const struct candidates *c, const struct cell *cell, struct sums *sums) {
    const int is_own = c->rows[cell->candidate].place == cell->place;
    *(is_own ? &sums->own_count : &sums->other_count) += (double)cell->count;
    *(is_own ? &sums->own_bytes : &sums->other_bytes) += (double)cell->bytes;
    sums->old_count += (double)cell->old_count;
    sums->old_bytes += (double)cell->old_bytes;
}

static int settle_cells(struct work *w, snap_error *err) {
    struct candidates *const c = w->c;
    struct sums *const of_place = mem_zalloc((size_t)c->places.n + 1, sizeof *of_place);
    struct sums *const of_lost = mem_zalloc(c->n + 1, sizeof *of_lost);
    struct settled *const lost = mem_zalloc(c->n + 1, sizeof *lost);
    int result = of_place != NULL && of_lost != NULL && lost != NULL ? 0 : no_memory(err);
    for (size_t i = 0; result == 0 && i < c->n_cells; i++) {
        const struct cell *const cell = &c->cells[i];
        add_to_sums(c, cell, cell->place != 0 ? &of_place[cell->place] : &of_lost[cell->candidate]);
    }
    for (size_t i = 0; result == 0 && i < c->n; i++) {
        const struct candidate *const r = &c->rows[i];
        if (r->kind != CANDIDATE_LOST || r->node == 0)
            continue;
        const struct sums *const s = &of_lost[i];
        uint64_t key;
        result = candidates_lost_key(c->heap, snap_lost_leader(w->lost, r->node), &key, err);
        if (result == 0)
            lost[i] = settle(&w->gone, key, (uint64_t)s->own_count, (uint64_t)s->own_bytes,
                             (uint64_t)(s->own_count + s->old_count),
                             (uint64_t)(s->own_bytes + s->old_bytes));
    }
    for (size_t i = 0; result == 0 && i < c->n_cells; i++) {
        struct cell *const cell = &c->cells[i];
        if (cell->place != 0)
            settle_cell(c, cell, &of_place[cell->place], &w->places[cell->place]);
        else
            settle_cell(c, cell, &of_lost[cell->candidate], &lost[cell->candidate]);
    }
    free(of_place);
    free(of_lost);
    free(lost);
    return result;
}

static void sum_net(struct candidates *c) {
    for (size_t i = 0; i < c->n; i++)
        c->rows[i].net_bytes = 0;
    for (size_t i = 0; i < c->n_cells; i++) {
        struct candidate *const r = &c->rows[c->cells[i].candidate];
        r->net_bytes = add_sat(r->net_bytes, (uint64_t)c->cells[i].net_bytes);
        if (c->cells[i].place != 0 && is_autograd(c, c->cells[i].place))
            r->autograd_bytes = add_sat(r->autograd_bytes, (uint64_t)c->cells[i].net_bytes);
    }
}

static void move_cells(struct candidates *c) {
    for (size_t i = 0; i < c->n_cells; i++) {
        const uint32_t into = c->rows[c->cells[i].candidate].merged_into;
        if (into != 0)
            c->cells[i].candidate = into - 1;
    }
}

/* A table that became larger belongs to what grew in it: to the candidate below that grew most. */
static int merge_buffers(struct candidates *c, snap_error *err) {
    uint32_t *const best = mem_zalloc((size_t)c->places.n + 1, sizeof *best); /* candidate + 1 */
    if (best == NULL)
        return no_memory(err);
    for (uint32_t p = c->places.n; p > 0; p--) {
        const uint32_t own = c->place_candidate[p], parent = c->places.rows[p].parent;
        if (own != 0 && c->rows[own - 1].kind == CANDIDATE_HELD &&
            c->rows[own - 1].merged_into == 0 &&
            (best[p] == 0 || c->rows[own - 1].net_bytes >= c->rows[best[p] - 1].net_bytes))
            best[p] = own;
        if (parent != 0 && best[p] != 0 &&
            (best[parent] == 0 ||
             c->rows[best[p] - 1].net_bytes >= c->rows[best[parent] - 1].net_bytes))
            best[parent] = best[p];
    }
    for (size_t i = 0; i < c->n; i++) {
        struct candidate *const buffer = &c->rows[i];
        if (buffer->kind != CANDIDATE_BUFFER)
            continue;
        /* Below it, or beside it: some containers have their slots apart from what is in them. */
        const uint32_t parent = c->places.rows[buffer->place].parent;
        const uint32_t to = best[buffer->place] != 0 ? best[buffer->place]
                            : parent != 0            ? best[parent]
                                                     : 0;
        struct candidate *const into = to != 0 ? &c->rows[to - 1] : NULL;
        if (into == NULL || into->net_bytes < buffer->net_bytes / 2)
            continue;
        buffer->merged_into = to;
        into->net_bytes = add_sat(into->net_bytes, buffer->net_bytes);
        into->total_bytes = add_sat(into->total_bytes, c->places.rows[buffer->place].bytes);
    }
    free(best);
    move_cells(c);
    return 0;
}

int candidates_is_module(const struct candidates *c, const struct candidate *r) {
    const struct place *const p = &c->places.rows[r->place];
    return r->kind == CANDIDATE_HELD && p->parent == 0 && r->node != 0 &&
           (p->kind == SNAP_ROOT_MODULE || p->kind == SNAP_ROOT_GLOBAL) &&
           is_managed(c->heap, r->node) && strcmp(c->heap->type_name[r->type], "module") == 0;
}

/* Which candidates are one thing: elements of one table, though of several types; and nodes of one
 * type that one owner refers to over several fields, as over both ends of a list. */
static uint64_t owner_key(const struct candidates *c, const struct candidate *r, int by_type) {
    const struct place *const p = &c->places.rows[r->place];
    const uint64_t type = c->heap->type_key[p->type];
    if (p->parent != 0)
        return mix(mix(mix(11, p->parent), by_type ? type : p->field), (unsigned)by_type);
    return mix(mix(mix(13, heap_root_owner(c->heap, p->row)), by_type ? type : p->field),
               (unsigned)by_type << 8 | p->kind);
}

/* Whether a place is known to be entered over one and the same field by all of its nodes. */
static int has_field(const struct candidates *c, const struct candidate *r) {
    const struct place *const p = &c->places.rows[r->place];
    return p->field != 0 || !p->is_list;
}

static int merge_by(struct candidates *c, int by_type, snap_error *err) {
    struct map best; /* owner -> candidate + 1 that grew most */
    map_init(&best);
    int result = 0;
    for (int round = 0; round < 2 && result == 0; round++)
        for (size_t i = 0; i < c->n && result == 0; i++) {
            struct candidate *const r = &c->rows[i];
            /* Modules of one package are no more one thing than others; suspects.c joins them. */
            if (r->kind != CANDIDATE_HELD || r->merged_into != 0 ||
                (!by_type && !has_field(c, r)) || candidates_is_module(c, r))
                continue;
            uint32_t *const slot = map_slot(&best, owner_key(c, r, by_type));
            if (slot == NULL) {
                result = no_memory(err);
            } else if (round == 0) {
                if (*slot == 0 || r->net_bytes > c->rows[*slot - 1].net_bytes)
                    *slot = (uint32_t)i + 1;
            } else if (*slot != i + 1) {
                struct candidate *const into = &c->rows[*slot - 1];
                r->merged_into = *slot;
                into->net_bytes = add_sat(into->net_bytes, r->net_bytes);
                into->total_bytes = add_sat(into->total_bytes, r->total_bytes);
                into->total_count = add_sat(into->total_count, r->total_count);
                into->n_entries += r->n_entries;
                into->garbage_bytes = add_sat(into->garbage_bytes, r->garbage_bytes);
                into->device_bytes = add_sat(into->device_bytes, r->device_bytes);
                into->autograd_bytes = add_sat(into->autograd_bytes, r->autograd_bytes);
            }
        }
    map_release(&best);
    move_cells(c);
    return result;
}

static int merge_siblings(struct candidates *c, snap_error *err) {
    SNAP_TRY(merge_by(c, 1, err));
    return merge_by(c, 0, err);
}

/* Nothing is not 0, which stands for "not known" in the map. What a merged buffer holds beside what
 * grew in it stays out; the buffer itself is counted. */
#define OWNER_NONE 1u

static uint32_t pack_owner(const struct candidates *c, uint32_t candidate, int is_top) {
    return (candidates_lead(c, candidate) + 1) << 2 | (uint32_t)is_top << 1 | 1;
}

uint32_t candidates_owner(const struct candidates *c, uint64_t place_key, uint32_t inherited,
                          struct owner *out) {
    const uint32_t known = map_get(&c->owner_of_key, place_key);
    const uint32_t packed = known != 0 ? known : inherited;
    *out = owner_unpack(packed);
    if (out->candidate == 0)
        return OWNER_NONE;
    /* Of what is below a place nothing is topmost, and below a buffer that went to another
     * candidate nothing is that candidate's. */
    return packed & 1 ? packed & ~2u : OWNER_NONE;
}

static int find_owners(struct candidates *c, snap_error *err) {
    c->place_owner = mem_alloc((size_t)c->places.n + 1, sizeof *c->place_owner);
    if (c->place_owner == NULL)
        return no_memory(err);
    uint32_t *const below = mem_alloc((size_t)c->places.n + 1, sizeof *below);
    if (below == NULL)
        return no_memory(err);
    c->place_owner[0] = below[0] = OWNER_NONE;
    int result = 0;
    for (uint32_t p = 1; result == 0 && p <= c->places.n; p++) {
        const uint32_t own = c->place_candidate[p];
        c->place_owner[p] = below[p] = below[c->places.rows[p].parent];
        if (own != 0) {
            const struct candidate *const r = &c->rows[own - 1];
            const int is_merged_buffer = r->kind == CANDIDATE_BUFFER && r->merged_into != 0;
            c->place_owner[p] = pack_owner(c, own - 1, !is_merged_buffer && !r->is_below);
            below[p] = is_merged_buffer ? OWNER_NONE : c->place_owner[p] & ~2u;
            if (is_merged_buffer)
                c->place_owner[p] &= ~1u;
        }
        uint32_t *const slot = map_slot(&c->owner_of_key, c->places.rows[p].key);
        if (slot == NULL)
            result = no_memory(err);
        else
            *slot = c->place_owner[p];
    }
    free(below);
    return result;
}

/* The candidate of the nearest place above that has one; 0: none. */
static uint32_t candidate_above(const struct candidates *c, uint32_t place) {
    do
        place = c->places.rows[place].parent;
    while (place != 0 && c->place_candidate[place] == 0);
    return place != 0 ? c->place_candidate[place] : 0;
}

/* Fresh nodes on nodes that are not: one thing with what is above, if what is fresh there has at
 * least as much in that place. So it is where some of the nodes above came from elsewhere, or look
 * like earlier ones at their addresses; but not where something grows in what was there before. */
static int merge_below(struct candidates *c, snap_error *err) {
    double *const own = mem_zalloc(c->n + 1, sizeof *own);
    double *const above = mem_zalloc(c->n + 1, sizeof *above);
    if (own == NULL || above == NULL) {
        free(own);
        free(above);
        return no_memory(err);
    }
    for (size_t i = 0; i < c->n_cells; i++) {
        const struct cell *const cell = &c->cells[i];
        const uint32_t of_place = cell->place != 0 ? c->place_candidate[cell->place] : 0;
        if (of_place == 0)
            continue;
        if (cell->candidate == of_place - 1)
            own[of_place - 1] += cell->net_bytes;
        else if (cell->candidate + 1 == candidate_above(c, cell->place))
            above[of_place - 1] += cell->net_bytes;
    }
    for (size_t i = 0; i < c->n; i++) {
        struct candidate *const r = &c->rows[i];
        if (r->kind != CANDIDATE_HELD || above[i] <= 0 || above[i] < own[i])
            continue;
        const uint32_t to = candidate_above(c, r->place);
        struct candidate *const into = &c->rows[to - 1];
        if (into->kind != CANDIDATE_HELD)
            continue;
        r->merged_into = to;
        r->is_below = 1;
    }
    /* Places come after those above them, their candidates in no order. */
    for (size_t i = 0; i < c->n; i++) {
        const struct candidate *const r = &c->rows[i];
        if (r->merged_into == 0)
            continue;
        struct candidate *const into = &c->rows[candidates_lead(c, (uint32_t)i)];
        into->net_bytes = add_sat(into->net_bytes, r->net_bytes);
        into->total_bytes = add_sat(into->total_bytes, r->total_bytes);
        into->garbage_bytes = add_sat(into->garbage_bytes, r->garbage_bytes);
        into->device_bytes = add_sat(into->device_bytes, r->device_bytes);
        into->autograd_bytes = add_sat(into->autograd_bytes, r->autograd_bytes);
    }
    free(own);
    free(above);
    for (size_t i = 0; i < c->n_cells; i++)
        c->cells[i].candidate = candidates_lead(c, c->cells[i].candidate);
    return 0;
}

struct reading_first {
    struct work *work;
    const snap_snapshot *first;
    snap_heap_options options;
    snap_error error;
};

static int read_first_beside(void *context) {
    struct reading_first *const r = context;
    return snap_heap_has_graph(r->first)
               ? read_first(&r->work->gone, &r->work->c->cohort, r->first, &r->options, &r->error)
               : 0;
}

/* Whether both graphs may be in memory together, each in a thread of its own. */
static int are_small(const snap_snapshot *first, const snap_snapshot *last,
                     const snap_heap_options *options) {
    const uint64_t rows =
        add_sat(add_sat(snap_rows(first, SNAP_TABLE_NODE), snap_rows(first, SNAP_TABLE_EDGE)),
                add_sat(snap_rows(last, SNAP_TABLE_NODE), snap_rows(last, SNAP_TABLE_EDGE)));
    return rows <= TOGETHER_ROWS_MAX && (options->max_memory_bytes == 0 ||
                                         rows * TOGETHER_ROW_BYTES <= options->max_memory_bytes);
}

static int run(struct work *w, const snap_snapshot *first, const snap_snapshot *last,
               struct pass_relation relation, struct cohort *known,
               const snap_heap_options *options, snap_error *err) {
    struct candidates *const c = w->c;
    const unsigned threads = beside_threads(options->threads, 2);
    c->cohort = *known;
    *known = (struct cohort){0};
    if (c->cohort.fresh == NULL)
        SNAP_TRY(cohort_init(&c->cohort, first, last, relation, threads, err));
    if (c->cohort.n_fresh == 0)
        return 0;
    const int is_beside = threads > 1 && are_small(first, last, options);
    struct reading_first reading = {.work = w, .first = first, .options = *options};
    if (is_beside) {
        reading.options.threads = 1;
        reading.options.progress = NULL;
    }
    struct beside helper;
    beside_start(&helper, is_beside, read_first_beside, &reading);
    int result_first = is_beside ? 0 : beside_finish(&helper);
    int result = result_first;
    if (result == 0)
        result = snap_heap_open(&c->heap, last, options, err);
    if (result == 0)
        result = places_init(&c->places, c->heap, c->cohort.fresh, err);
    if (is_beside)
        result_first = beside_finish(&helper);
    if (result_first < 0 && err != NULL)
        *err = reading.error;
    if (result_first < 0 || result < 0)
        return result_first < 0 ? result_first : result;
    SNAP_TRY(candidates_find_lost(c->heap, &c->places, &w->lost, err));
    SNAP_TRY(sum_places(w, err));
    SNAP_TRY(find_held(w, err));
    SNAP_TRY(find_moved(w, err));
    SNAP_TRY(find_lost_nodes(w, err));
    sum_totals(c);
    SNAP_TRY(settle_cells(w, err));
    sum_net(c);
    SNAP_TRY(merge_below(c, err));
    SNAP_TRY(merge_buffers(c, err));
    SNAP_TRY(merge_siblings(c, err));
    return find_owners(c, err);
}

int candidates_init(struct candidates *c, const snap_snapshot *first, const snap_snapshot *last,
                    struct pass_relation relation, struct cohort *known,
                    const snap_heap_options *options, snap_error *err) {
    memset(c, 0, sizeof *c);
    struct work w = {.c = c};
    map_init(&w.gone.index);
    map_init(&c->lost);
    map_init(&c->owner_of_key);
    map_init(&w.cell_index);
    const int result = run(&w, first, last, relation, known, options, err);
    if (w.lost != NULL)
        snap_lost_free(w.lost);
    map_release(&w.gone.index);
    map_release(&w.cell_index);
    free(w.gone.rows);
    free(w.places);
    free(w.stack);
    if (result < 0)
        candidates_release(c);
    return result;
}

void candidates_release(struct candidates *c) {
    places_release(&c->places);
    snap_heap_close(c->heap);
    cohort_release(&c->cohort);
    free(c->rows);
    free(c->cells);
    free(c->entry);
    free(c->is_top);
    free(c->is_leader);
    free(c->place_candidate);
    free(c->place_fresh_count);
    free(c->place_fresh_bytes);
    free(c->place_total_bytes);
    free(c->place_owner);
    map_release(&c->lost);
    map_release(&c->owner_of_key);
    memset(c, 0, sizeof *c);
}
