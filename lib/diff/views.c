/* Finds tensors that keep a larger storage than they show, by their labels, which end in
 * ", N of M bytes" (format/registry.md).
 *
 * Invariant: a label that does not end so says nothing. Several views of one storage count it once
 * each: who needs what is kept in fact has to ask the graph, too. */
#include "diff/views.h"

#include "base/err.h"

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

static int find_in(const struct candidates *c, const snap_batch *b, struct views **all,
                   snap_error *err) {
    const uint64_t *const labels = b->column[SNAP_NODE_COL_LABEL];
    for (uint32_t i = 0; i < b->n_rows; i++) {
        const uint64_t node = b->first_id + i;
        const char *text;
        uint64_t shown, kept;
        if (labels[i] == 0 || node > c->heap->n_nodes)
            continue;
        const uint32_t place = c->places.of[node];
        if (place == 0 || !cohort_bit(c->cohort.fresh, node))
            continue;
        SNAP_TRY(snap_string(c->heap->snapshot, labels[i], &text, err));
        if (!read_label(text, &shown, &kept))
            continue;
        if (*all == NULL && (*all = mem_zalloc((size_t)c->places.n + 1, sizeof **all)) == NULL)
            return err_set(err, SNAP_E_NOMEM, "no memory for views");
        struct views *const v = &(*all)[place];
        v->count++;
        v->shown_bytes = add_sat(v->shown_bytes, shown);
        v->kept_bytes = add_sat(v->kept_bytes, kept);
    }
    return 0;
}

int views_find(const struct candidates *c, struct views **out, snap_error *err) {
    const snap_snapshot *const s = c->heap->snapshot;
    struct views *all = NULL;
    snap_batch batch;
    int result = 0;
    snap_batch_init(&batch);
    for (uint32_t i = 0; result == 0 && i < snap_n_chunks(s, SNAP_TABLE_NODE); i++) {
        result = snap_batch_read(s, SNAP_TABLE_NODE, i, 1u << SNAP_NODE_COL_LABEL, &batch, err);
        if (result == 0)
            result = find_in(c, &batch, &all, err);
    }
    snap_batch_release(&batch);
    if (result < 0) {
        free(all);
        return result;
    }
    for (uint32_t p = c->places.n; all != NULL && p > 0; p--) {
        struct views *const up = &all[c->places.rows[p].parent];
        up->count += all[p].count;
        up->shown_bytes = add_sat(up->shown_bytes, all[p].shown_bytes);
        up->kept_bytes = add_sat(up->kept_bytes, all[p].kept_bytes);
    }
    *out = all;
    return 0;
}
