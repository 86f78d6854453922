/* Says who holds a suspect, in the words of the program's source: the variable, the fields on the
 * way, what grew, and what weighs most in it; and what to do about it.
 *
 * Invariant: every string is the result's own, for the graph is gone when the report is written.
 * Decides nothing but which branch is shown. */
#include "diff/suspect_text.h"

#include "base/err.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CHAIN_MAX 40
#define HOLDER_PARTS 6

static int no_memory(snap_error *err) {
    return err_set(err, SNAP_E_NOMEM, "no memory for suspects");
}

int naming_init(struct naming *n, struct snap_diff *d, struct candidates *c, snap_error *err) {
    const size_t n_places = (size_t)c->places.n + 1;
    *n = (struct naming){.d = d, .c = c};
    n->fresh_below = mem_zalloc(n_places, sizeof *n->fresh_below);
    n->heaviest = mem_zalloc(n_places, sizeof *n->heaviest);
    if (n->fresh_below == NULL || n->heaviest == NULL)
        return no_memory(err);
    for (uint32_t p = c->places.n; p > 0; p--) {
        const uint32_t parent = c->places.rows[p].parent;
        n->fresh_below[p] = add_sat(n->fresh_below[p], c->place_fresh_bytes[p]);
        if (parent == 0)
            continue;
        n->fresh_below[parent] = add_sat(n->fresh_below[parent], n->fresh_below[p]);
        const uint32_t best = n->heaviest[parent];
        if (best == 0 || n->fresh_below[p] > n->fresh_below[best] ||
            (n->fresh_below[p] == n->fresh_below[best] &&
             c->places.rows[p].key < c->places.rows[best].key))
            n->heaviest[parent] = p;
    }
    return views_find(c, &n->views, err);
}

void naming_release(struct naming *n) {
    free(n->views);
    free(n->fresh_below);
    free(n->heaviest);
}

static const char *keep(struct naming *n, const char *text) {
    return arena_string(&n->d->arena, text, strlen(text));
}

static int edge_text(struct naming *n, const struct place *p, const char **out, snap_error *err) {
    /* Entries that come and go stand for all of them. */
    if ((p->kind == SNAP_EDGE_KEY || p->kind == SNAP_EDGE_VALUE) && p->field == 0) {
        *out = p->kind == SNAP_EDGE_KEY ? ".<key>" : "[*]";
        return 0;
    }
    return heap_edge_text(n->c->heap, p->row, out, err);
}

static int put_root(struct naming *n, uint64_t root, snap_diff_suspect *s, const char **out_text,
                    snap_error *err) {
    snap_heap_root r;
    char thread[400];
    SNAP_TRY(heap_root_text(n->c->heap, root, out_text, err));
    SNAP_TRY(snap_heap_root_get(n->c->heap, root, &r, err));
    const char *const kind = snap_code_name(SNAP_TABLE_ROOT, SNAP_ROOT_COL_KIND, r.kind);
    s->root_kind = kind != NULL ? kind : "";
    s->root_module = keep(n, r.module);
    *thread = '\0';
    if (r.tid != 0)
        snprintf(thread, sizeof thread,
                 *r.thread != '\0' ? "thread %llu '%.300s'" : "thread %llu%s",
                 (unsigned long long)r.tid, r.thread);
    s->thread = keep(n, thread);
    *out_text = keep(n, *out_text);
    return s->root_module != NULL && s->thread != NULL && *out_text != NULL ? 0 : no_memory(err);
}

/* Places from the root down to `place`; the uppermost CHAIN_MAX / 2 and the lowest if there are
 * too many. */
static size_t path_to(const struct places *p, uint32_t place, uint32_t out[CHAIN_MAX]) {
    size_t n = 0;
    for (uint32_t at = place; at != 0; at = p->rows[at].parent)
        n++;
    const size_t half = CHAIN_MAX / 2;
    size_t at = n;
    for (uint32_t q = place; q != 0; q = p->rows[q].parent) {
        at--;
        if (n <= CHAIN_MAX)
            out[at] = q;
        else if (at < half)
            out[at] = q;
        else if (at >= n - half)
            out[at - (n - CHAIN_MAX)] = q;
    }
    return n < CHAIN_MAX ? n : CHAIN_MAX;
}

/* Steps that nobody writes in a program. */
static int is_unwritten(const char *edge) {
    static const char *const names[] = {".__dict__", "._modules", "._parameters", "._buffers"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (strcmp(edge, names[i]) == 0)
            return 1;
    return 0;
}

static int put_holder(struct naming *n, const char *root, const char *const *edges, size_t n_edges,
                      snap_diff_suspect *s, snap_error *err) {
    char text[1200];
    size_t used = (size_t)snprintf(text, sizeof text, "%.300s", root);
    for (size_t i = 0; i < n_edges; i++) {
        if (n_edges > HOLDER_PARTS && i >= 2 && i + 4 < n_edges) {
            if (i == 2)
                used += (size_t)snprintf(text + used, sizeof text - used, "...");
            continue;
        }
        used += (size_t)snprintf(text + used, sizeof text - used, "%.120s", edges[i]);
    }
    s->holder = keep(n, text);
    return s->holder != NULL ? 0 : no_memory(err);
}

/* Of a node that the place's reference leads to: one for all. */
static int label_of(struct naming *n, const struct place *p, const char **out, snap_error *err) {
    snap_heap *const h = n->c->heap;
    snap_heap_node node;
    SNAP_TRY(snap_heap_node_get(h, p->parent == 0 ? h->root_target[p->row] : h->edge_target[p->row],
                                &node, err));
    *out = keep(n, node.label);
    return *out != NULL ? 0 : no_memory(err);
}

static int put_step(struct naming *n, uint32_t place, const char *edge, int is_suspect,
                    snap_diff_step *out, snap_error *err) {
    const struct place *const p = &n->c->places.rows[place];
    *out = (snap_diff_step){
        .edge = keep(n, edge),
        .node = keep(n, n->c->heap->type_name[p->type]),
        .count = p->count,
        .bytes = p->bytes,
        .is_list = p->is_list,
        .is_suspect = is_suspect,
    };
    SNAP_TRY(label_of(n, p, &out->label, err));
    return out->edge != NULL && out->node != NULL ? 0 : no_memory(err);
}

/* Whether a place below that of a candidate belongs to another one. */
static int is_of_another(const struct candidates *c, uint32_t place, const struct candidate *r) {
    const uint32_t own = c->place_candidate[place];
    return own != 0 && (!c->rows[own - 1].is_below || &c->rows[candidates_lead(c, own - 1)] != r);
}

static int put_chain(struct naming *n, const struct candidate *r, snap_diff_suspect *s,
                     snap_error *err) {
    const struct places *const places = &n->c->places;
    uint32_t path[CHAIN_MAX];
    const size_t n_path = path_to(places, r->place, path);
    snap_diff_step *const steps = arena_alloc(&n->d->arena, 2 * CHAIN_MAX * sizeof *steps);
    if (steps == NULL)
        return no_memory(err);
    const char *edges[CHAIN_MAX];
    size_t n_edges = 0;
    for (size_t i = 0; i < n_path; i++) {
        const struct place *const p = &places->rows[path[i]];
        const char *edge;
        if (p->parent == 0) {
            SNAP_TRY(put_root(n, p->row, s, &edge, err));
        } else {
            SNAP_TRY(edge_text(n, p, &edge, err));
            if (i + 1 == n_path || !is_unwritten(edge))
                edges[n_edges++] = edge;
        }
        SNAP_TRY(put_step(n, path[i], edge, i + 1 == n_path, &steps[s->n_chain++], err));
    }
    SNAP_TRY(put_holder(n, steps[0].edge, edges, n_edges, s, err));
    /* On to what weighs most, as long as one branch has a third of it all. */
    const uint64_t all = n->fresh_below[r->place];
    for (uint32_t p = n->heaviest[r->place]; p != 0 && s->n_chain < 2 * CHAIN_MAX - 1;
         p = n->heaviest[p]) {
        const char *edge;
        if (n->fresh_below[p] < all / 3 || n->fresh_below[p] == 0 || is_of_another(n->c, p, r))
            break;
        SNAP_TRY(edge_text(n, &places->rows[p], &edge, err));
        SNAP_TRY(put_step(n, p, edge, 0, &steps[s->n_chain++], err));
    }
    s->chain = steps;
    s->is_doubtful = places->rows[r->place].is_low;
    return 0;
}

/* --- circles --- */

#define CYCLE_NODES_MAX ((size_t)1 << 20) /* that are looked at */
#define CYCLE_STEPS_MAX 32

/* How a node was reached from the one that the circle starts at. */
struct reached {
    uint32_t node, from; /* from: index */
    uint64_t edge;
};

static int is_in_cycle(const struct candidates *c, uint64_t position, uint64_t edge) {
    const snap_heap *const h = c->heap;
    return snap_graph_out_keeps(h->graph, position) && c->places.of[h->edge_target[edge]] == 0 &&
           (h->edge_flags == NULL || !(h->edge_flags[edge] & SNAP_EDGE_FLAG_LOW));
}

/* A reference from one lost node to another in *out_edge; 0: there is none. */
static int find_edge(const struct candidates *c, uint32_t from, uint32_t to, uint64_t *out_edge) {
    const snap_heap *const h = c->heap;
    uint64_t first;
    const uint64_t n = snap_graph_out(h->graph, from, &first);
    for (uint64_t p = first; p < first + n; p++) {
        *out_edge = snap_graph_out_edge(h->graph, p);
        if (h->edge_target[*out_edge] == to && is_in_cycle(c, p, *out_edge))
            return 1;
    }
    return 0;
}

struct circle {
    struct reached *list; /* the first n_halves: the start, and those that it is one thing with */
    size_t n, n_halves, capacity;
    struct map seen; /* index + 1 in list */
};

static int reach(struct circle *o, uint32_t node, size_t from, uint64_t edge, snap_error *err) {
    uint32_t *const slot = map_slot(&o->seen, node);
    if (slot == NULL || mem_grow(&o->list, &o->capacity, o->n + 1, sizeof *o->list) < 0)
        return no_memory(err);
    *slot = (uint32_t)o->n + 1;
    o->list[o->n++] = (struct reached){node, (uint32_t)from, edge};
    return 0;
}

/* Two nodes that refer to each other are mostly halves of one thing, such as an object and what it
 * stands for: a circle that says something leads through others, too. */
static int find_halves(const struct candidates *c, uint32_t start, struct circle *o,
                       snap_error *err) {
    const snap_heap *const h = c->heap;
    uint64_t first, back;
    SNAP_TRY(reach(o, start, 0, 0, err));
    const uint64_t n = snap_graph_out(h->graph, start, &first);
    for (uint64_t p = first; p < first + n; p++) {
        const uint64_t edge = snap_graph_out_edge(h->graph, p);
        const uint32_t target = h->edge_target[edge];
        if (is_in_cycle(c, p, edge) && map_get(&o->seen, target) == 0 &&
            find_edge(c, target, start, &back))
            SNAP_TRY(reach(o, target, 0, edge, err));
    }
    o->n_halves = o->n;
    return 0;
}

/* Breadth first from the halves to one of them again: *end gets the index + 1 of the node that
 * *last leaves; 0: there is no such circle. */
static int search_circle(const struct candidates *c, struct circle *o, size_t *end, uint64_t *last,
                         snap_error *err) {
    const snap_heap *const h = c->heap;
    *end = 0;
    for (size_t i = 0; i < o->n && o->n < CYCLE_NODES_MAX; i++) {
        uint64_t first;
        const uint64_t n = snap_graph_out(h->graph, o->list[i].node, &first);
        for (uint64_t p = first; p < first + n; p++) {
            const uint64_t edge = snap_graph_out_edge(h->graph, p);
            if (!is_in_cycle(c, p, edge))
                continue;
            const uint32_t known = map_get(&o->seen, h->edge_target[edge]);
            if (known == 0) {
                SNAP_TRY(reach(o, h->edge_target[edge], i, edge, err));
            } else if (known <= o->n_halves && i >= o->n_halves) {
                *end = i + 1;
                *last = edge;
                return 0;
            }
        }
    }
    return 0;
}

/* The shortest way from a node, or from its other half, back over lost nodes. *out gets the rows of
 * references, last one first. */
static int find_cycle(const struct candidates *c, uint32_t start, uint64_t out[CYCLE_STEPS_MAX],
                      size_t *n_out, snap_error *err) {
    struct circle o = {0};
    size_t end = 0;
    uint64_t last = 0, link;
    map_init(&o.seen);
    int result = find_halves(c, start, &o, err);
    if (result == 0)
        result = search_circle(c, &o, &end, &last, err);
    *n_out = 0;
    if (end == 0 && o.n_halves > 1) {
        end = 2;
        if (!find_edge(c, o.list[1].node, start, &last))
            end = 0;
    }
    if (result == 0 && end != 0) {
        size_t i = end;
        size_t n = 1;
        out[0] = last;
        for (; i > o.n_halves && n < CYCLE_STEPS_MAX; i = (size_t)o.list[i - 1].from + 1)
            out[n++] = o.list[i - 1].edge;
        if (end <= o.n_halves) {
            out[n++] = o.list[1].edge;
        } else if (c->heap->edge_target[last] != o.list[i - 1].node && n < CYCLE_STEPS_MAX &&
                   find_edge(c, c->heap->edge_target[last], o.list[i - 1].node, &link)) {
            memmove(out + 1, out, n++ * sizeof *out);
            out[0] = link;
        }
        *n_out = n;
    }
    map_release(&o.seen);
    free(o.list);
    return result;
}

/* The circle in place of a chain: it starts and ends at one node. */
static int put_cycle(struct naming *n, const struct candidate *r, snap_diff_suspect *s,
                     snap_error *err) {
    snap_heap *const h = n->c->heap;
    uint64_t edges[CYCLE_STEPS_MAX];
    size_t n_edges;
    SNAP_TRY(find_cycle(n->c, r->cycle_node, edges, &n_edges, err));
    if (n_edges == 0 || n_edges == CYCLE_STEPS_MAX)
        return 0;
    snap_diff_step *const steps = arena_alloc(&n->d->arena, (n_edges + 1) * sizeof *steps);
    if (steps == NULL)
        return no_memory(err);
    for (size_t i = 0; i <= n_edges; i++) {
        const uint32_t node =
            i == 0 ? h->edge_source[edges[n_edges - 1]] : h->edge_target[edges[n_edges - i]];
        const char *edge = "circle";
        if (i > 0)
            SNAP_TRY(heap_edge_text(h, edges[n_edges - i], &edge, err));
        steps[i] = (snap_diff_step){
            .edge = keep(n, edge),
            .node = keep(n, h->type_name[heap_node_type(h, node)]),
            .label = "",
            .count = 1,
            .bytes = heap_node_bytes(h, node),
            .is_suspect = i == 0,
        };
        if (steps[i].edge == NULL || steps[i].node == NULL)
            return no_memory(err);
    }
    s->chain = steps;
    s->n_chain = n_edges + 1;
    return 0;
}

static int has(const snap_diff_suspect *s, const char *text) {
    for (size_t i = 0; i < s->n_chain; i++)
        if (strstr(s->chain[i].node, text) != NULL || strstr(s->chain[i].edge, text) != NULL)
            return 1;
    return strstr(s->type, text) != NULL || strstr(s->holder, text) != NULL;
}

static const char *advice_rooted(const snap_diff_suspect *s) {
    if (strcmp(s->root_kind, "stack") == 0 || strcmp(s->root_kind, "register") == 0)
        return "a local variable of a running function holds it: free() it or leave it out there, "
               "or return from that function";
    if (s->domain == SNAP_DOMAIN_PYTHON)
        return "remove entries with del, pop() or clear() when they are done with, or bound the "
               "container (functools.lru_cache(maxsize=...), collections.deque(maxlen=...))";
    if (strcmp(s->root_kind, "frame") == 0)
        return "a local variable of a running function holds it: del it, or clear() it, in there";
    if (has(s, "map<") || has(s, "set<"))
        return "call erase() for entries that are done with, or give the container a bound";
    if (has(s, "std::vector") || has(s, "std::deque") || has(s, "std::list"))
        return "call erase() or clear() for elements that are done with, or give the container a "
               "bound";
    if (has(s, "shared_ptr") || has(s, "_Sp_counted"))
        return "drop the reference with reset() when it is done with, or hold a std::weak_ptr";
    return "unlink what is done with and free() it, or give the holder a bound";
}

const char *naming_advice(const snap_diff_suspect *s) {
    switch (s->suspect_class) {
    case SNAP_SUSPECT_ROOTED: return advice_rooted(s);
    case SNAP_SUSPECT_HOOK:
        return s->domain == SNAP_DOMAIN_PYTHON
                   ? "keep the handle that registering returns and call its remove(), or register "
                     "once"
                   : "unregister the callback when its owner ends, or register it once: the call "
                     "that is the opposite of the one that registered it";
    case SNAP_SUSPECT_AUTOGRAD:
        return "keep numbers, not graphs: call item() or detach() on what is stored, or wrap it "
               "into torch.no_grad()";
    case SNAP_SUSPECT_GARBAGE:
        return "objects in a cycle wait for the collector: call gc.collect(), or gc.enable() if it "
               "was disabled";
    case SNAP_SUSPECT_NATIVE_CYCLE:
        return "a circle of counted references frees itself never: make one of them a "
               "std::weak_ptr (Python: weakref.ref)";
    case SNAP_SUSPECT_NATIVE_HELD:
        return *s->root_kind != '\0' || s->domain == SNAP_DOMAIN_PYTHON
                   ? "native code holds a reference that no object owns: look for a missing "
                     "Py_DECREF"
                   : "free() what this site allocates; snapshots with references tell "
                     "who "
                     "holds it";
    case SNAP_SUSPECT_LOST:
        return "nothing refers to it any more: call free() (or delete) before the last pointer is "
               "overwritten or its function returns, on error paths, too";
    case SNAP_SUSPECT_DEVICE:
        return "free it with the counterpart of what allocated it (cudaFree(), del of the tensor) "
               "when it is done with";
    case SNAP_SUSPECT_RESOURCE:
        return "give it back with the counterpart of what made it (destroy, close(), join())";
    }
    return "";
}

/* Where tensors show a small part of what they keep, as a whole and each for itself. */
static int put_views(struct naming *n, const struct candidate *r, snap_diff_suspect *s,
                     snap_error *err) {
    if (n->views == NULL || r->kind == CANDIDATE_LOST || n->views[r->place].count == 0)
        return 0;
    const struct views *const v = &n->views[r->place];
    const uint64_t fresh = n->fresh_below[r->place];
    const uint64_t kept = v->kept_bytes < fresh ? v->kept_bytes : fresh;
    if (kept < fresh / 2 || v->shown_bytes > kept / 2)
        return 0;
    s->views_count = v->count;
    s->views_shown_bytes = v->shown_bytes;
    s->views_kept_bytes = kept;
    if (s->suspect_class != SNAP_SUSPECT_ROOTED)
        return 0;
    char text[400];
    snprintf(text, sizeof text,
             "%llu tensors of what is new are views that show %llu bytes and keep storages of "
             "%llu: keep a copy of what is needed, made by clone(), or bound the container",
             (unsigned long long)v->count, (unsigned long long)v->shown_bytes,
             (unsigned long long)kept);
    s->advice = keep(n, text);
    return s->advice != NULL ? 0 : no_memory(err);
}

int naming_suspect(struct naming *n, const struct candidate *r, snap_diff_suspect *s,
                   snap_error *err) {
    s->holder = s->root_kind = s->root_module = s->thread = "";
    s->type = keep(n, s->type);
    if (s->type == NULL)
        return no_memory(err);
    if (r->kind != CANDIDATE_LOST)
        SNAP_TRY(put_chain(n, r, s, err));
    else if (r->cycle_node != 0)
        SNAP_TRY(put_cycle(n, r, s, err));
    s->advice = naming_advice(s);
    return put_views(n, r, s, err);
}
