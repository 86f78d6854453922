/* Finds tensors that keep a larger storage than they show, by their labels, which end in
 * ", N of M bytes" (format/registry.md), and by the references of kind storage that lead from what
 * they stand for to the storage.
 *
 * Invariants: a label that does not end so says nothing. A storage counts once in a place and in
 * those above it, however many views it has; not where it was there before, nor where a tensor that
 * is no view has it and is not kept by the view: it would stay without it. What views show is added
 * up, so that what several show of the same bytes is rather too much than too little. */
#include "diff/views.h"

#include "base/err.h"
#include "diff/rows.h"

#include <stdlib.h>
#include <string.h>

/* The number that ends before `end`; NULL: there is none, or it is too large. Else its start. */
static const char *number_before(const char *text, const char *end, uint64_t *out) {
    uint64_t factor = 1;
    const char *at = end;
    for (*out = 0; at > text && at[-1] >= '0' && at[-1] <= '9'; at--, factor *= 10) {
        if (end - at > 17)
            return NULL;
        *out += (uint64_t)(at[-1] - '0') * factor;
    }
    return at < end ? at : NULL;
}

/* The start of `word`, if it is what stands before `end`. */
static const char *word_before(const char *text, const char *end, const char *word) {
    const size_t n = strlen(word);
    return end != NULL && (size_t)(end - text) >= n && memcmp(end - n, word, n) == 0 ? end - n
                                                                                     : NULL;
}

static int read_label(const char *text, uint64_t *shown, uint64_t *kept) {
    const char *at = word_before(text, text + strlen(text), " bytes");
    at = at != NULL ? number_before(text, at, kept) : NULL;
    at = word_before(text, at, " of ");
    at = at != NULL ? number_before(text, at, shown) : NULL;
    at = word_before(text, at, ", ");
    return at != NULL && memchr(text, ']', (size_t)(at - text)) != NULL && *shown < *kept;
}

struct view {
    uint32_t node, place, storage; /* storage: node; 0: unknown */
    uint64_t shown, kept;
};

struct search {
    const struct candidates *c;
    struct view *views;
    size_t n, capacity;
    uint32_t *storage_of; /* by node: what a reference of that kind leads to; 0: nothing */
    uint32_t *view_place; /* by node: a place of a view of that storage; 0: it has none */
    uint8_t *is_whole;    /* by node: a storage that would be kept without its views, too */
};

static int no_memory(snap_error *err) {
    return err_set(err, SNAP_E_NOMEM, "no memory for views");
}

static int add_row(void *context, const snap_batch *b, uint32_t i, snap_error *err) {
    struct search *const s = context;
    const struct candidates *const c = s->c;
    const uint64_t node = b->first_id + i, label = b->column[SNAP_NODE_COL_LABEL][i];
    struct view v = {.node = (uint32_t)node};
    const char *text;
    if (label == 0 || node > c->heap->n_nodes || c->places.of[node] == 0)
        return 0;
    SNAP_TRY(snap_string(c->heap->snapshot, label, &text, err));
    if (!read_label(text, &v.shown, &v.kept))
        return 0;
    v.place = c->places.of[node];
    if (mem_grow(&s->views, &s->capacity, s->n + 1, sizeof v) < 0)
        return no_memory(err);
    s->views[s->n++] = v;
    return 0;
}

/* From a tensor over what it stands for to its storage, and from there to the bytes. */
static uint32_t storage_of(const struct search *s, uint32_t node) {
    for (unsigned steps = 0; steps < 8 && s->storage_of[node] != 0; steps++)
        node = s->storage_of[node];
    return node;
}

static int is_below(const struct places *p, uint32_t place, uint32_t above) {
    const uint32_t first = place;
    while (place > above)
        place = p->rows[place].parent;
    return place == above && place != first;
}

static int find_storages(struct search *s, snap_error *err) {
    const snap_heap *const h = s->c->heap;
    const struct places *const p = &s->c->places;
    const size_t n = (size_t)h->n_nodes + 1;
    s->storage_of = mem_zalloc(n, sizeof *s->storage_of);
    s->view_place = mem_zalloc(n, sizeof *s->view_place);
    s->is_whole = mem_zalloc(n, sizeof *s->is_whole);
    if (s->storage_of == NULL || s->view_place == NULL || s->is_whole == NULL)
        return no_memory(err);
    for (uint64_t e = 0; h->edge_kind != NULL && e < h->n_edges; e++)
        if (h->edge_kind[e] == SNAP_EDGE_STORAGE)
            s->storage_of[h->edge_source[e]] = h->edge_target[e];
    for (size_t i = 0; i < s->n; i++) {
        struct view *const v = &s->views[i];
        const uint32_t storage = storage_of(s, v->node);
        v->storage = storage != v->node ? storage : 0;
        s->view_place[v->storage] = v->place;
        s->is_whole[v->node] = 1; /* not to be taken for a tensor that is no view */
    }
    for (uint32_t node = 1; node <= h->n_nodes; node++) {
        if (s->storage_of[node] == 0 || s->is_whole[node] || p->of[node] == 0 ||
            heap_node_domain(h, node) != SNAP_DOMAIN_PYTHON)
            continue;
        /* The tensor that a view was made of hangs on the view. */
        const uint32_t storage = storage_of(s, node), view = s->view_place[storage];
        s->is_whole[storage] |= view != 0 && !is_below(p, p->of[node], view);
    }
    return 0;
}

static int by_storage(const void *a, const void *b) {
    const struct view *const x = a, *const y = b;
    if (x->storage != y->storage)
        return x->storage < y->storage ? -1 : 1;
    return (x->node > y->node) - (x->node < y->node);
}

static int add_up(struct search *s, struct views *all, snap_error *err) {
    const struct candidates *const c = s->c;
    uint32_t *const last = mem_zalloc((size_t)c->places.n + 1, sizeof *last);
    if (last == NULL)
        return no_memory(err);
    qsort(s->views, s->n, sizeof *s->views, by_storage);
    for (size_t i = 0; i < s->n; i++) {
        const struct view *const v = &s->views[i];
        if (v->storage == 0 || s->is_whole[v->storage] || !cohort_bit(c->cohort.fresh, v->node) ||
            !cohort_bit(c->cohort.fresh, v->storage))
            continue;
        all[v->place].count++;
        all[v->place].shown_bytes = add_sat(all[v->place].shown_bytes, v->shown);
        for (uint32_t p = v->place; last[p] != v->storage; p = c->places.rows[p].parent) {
            last[p] = v->storage;
            all[p].kept_bytes = add_sat(all[p].kept_bytes, v->kept);
            if (p == 0)
                break;
        }
    }
    for (uint32_t p = c->places.n; p > 0; p--) {
        struct views *const up = &all[c->places.rows[p].parent];
        up->count += all[p].count;
        up->shown_bytes = add_sat(up->shown_bytes, all[p].shown_bytes);
    }
    free(last);
    return 0;
}

int views_find(const struct candidates *c, struct views **out, snap_error *err) {
    struct search s = {.c = c};
    struct views *all = NULL;
    int result =
        rows_each(c->heap->snapshot, SNAP_TABLE_NODE, 1u << SNAP_NODE_COL_LABEL, add_row, &s, err);
    if (result >= 0 && s.n > 0) {
        all = mem_zalloc((size_t)c->places.n + 1, sizeof *all);
        result = all != NULL ? find_storages(&s, err) : no_memory(err);
        if (result >= 0)
            result = add_up(&s, all, err);
    }
    free(s.views);
    free(s.storage_of);
    free(s.view_place);
    free(s.is_whole);
    if (result < 0) {
        free(all);
        return result;
    }
    *out = all;
    return 0;
}
