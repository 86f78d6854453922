/* Measures candidates in an earlier snapshot: which of its nodes were what later grew.
 *
 * A node that the last snapshot still has belongs to the candidate that has it there; one that is
 * gone by then to the candidate of its place. Alone, places mistake a shorter way for a holder of
 * its own, and identity takes what moved for what was always there: so both are counted, and the
 * caller takes what agrees with the growth that he knows. Invariant: the sums of the last snapshot
 * by the same rule are the candidates' total_count and total_bytes. */
#include "diff/series.h"

#include "base/beside.h"
#include "base/err.h"

#include <stdlib.h>
#include <string.h>

static int no_memory(snap_error *err) {
    return err_set(err, SNAP_E_NOMEM, "no memory for series");
}

struct measure {
    struct candidates *c;
    snap_heap *heap;
    struct places places;
    snap_lost *lost;
    uint32_t *partner;    /* node -> that of the last snapshot; NULL: none are related */
    uint64_t *is_passing; /* bit per node: not in both the first snapshot and the last */
    struct owner *of_place;
};

static int find_partners(struct measure *m, const snap_snapshot *s, unsigned threads,
                         snap_error *err) {
    const struct candidates *const c = m->c;
    const snap_snapshot *const last = c->heap->snapshot;
    const struct pass_relation relation = pass_relation_of(s, last);
    if (!relation.match)
        return 0;
    SNAP_TRY(cohort_partners(s, last, relation, threads, &m->partner, err));
    const size_t n = (size_t)snap_rows(s, SNAP_TABLE_NODE);
    m->is_passing = mem_zalloc(n / 64 + 1, sizeof *m->is_passing);
    if (m->is_passing == NULL)
        return no_memory(err);
    for (size_t v = 1; v <= n; v++)
        if (m->partner[v] == 0 || cohort_bit(c->cohort.fresh, m->partner[v]))
            m->is_passing[v >> 6] |= 1ull << (v & 63);
    return 0;
}

static int find_owners(struct measure *m, snap_error *err) {
    const size_t n = (size_t)m->places.n + 1;
    m->of_place = mem_zalloc(n, sizeof *m->of_place);
    uint32_t *const below = mem_zalloc(n, sizeof *below);
    if (m->of_place == NULL || below == NULL) {
        free(below);
        return no_memory(err);
    }
    for (uint32_t p = 1; p <= m->places.n; p++)
        below[p] = candidates_owner(m->c, m->places.rows[p].key, below[m->places.rows[p].parent],
                                    &m->of_place[p]);
    free(below);
    return 0;
}

/* Of lost nodes: by type and site of the one that they are counted under. */
static int owner_of_lost(struct measure *m, uint32_t node, struct owner *out, snap_error *err) {
    const uint32_t leader = m->lost != NULL ? snap_lost_leader(m->lost, node) : 0;
    *out = (struct owner){0};
    if (leader == 0)
        return 0;
    uint64_t key;
    SNAP_TRY(candidates_lost_key(m->heap, leader, &key, err));
    *out = (struct owner){map_get(&m->c->lost, key), node == leader};
    return 0;
}

/* Who has a node of the last snapshot. */
static struct owner owner_there(const struct candidates *c, uint32_t node) {
    const uint32_t place = c->places.of[node];
    if (place != 0)
        return owner_unpack(c->place_owner[place]);
    if (c->is_leader == NULL)
        return (struct owner){0};
    return (struct owner){c->entry[node], (int)(c->is_leader[node >> 6] >> (node & 63) & 1)};
}

static int count_nodes(struct measure *m, struct series_point *out, snap_error *err) {
    for (uint32_t v = 1; v <= m->heap->n_nodes; v++) {
        const uint32_t place = m->places.of[v];
        struct owner here = m->of_place[place];
        if (place == 0)
            SNAP_TRY(owner_of_lost(m, v, &here, err));
        const struct owner by_node =
            m->partner != NULL && m->partner[v] != 0 ? owner_there(m->c, m->partner[v]) : here;
        const uint64_t bytes = heap_node_bytes(m->heap, v);
        if (here.candidate != 0) {
            struct series_point *const p = &out[here.candidate - 1];
            p->count += (unsigned)here.is_top;
            p->bytes = add_sat(p->bytes, bytes);
        }
        if (by_node.candidate != 0) {
            struct series_point *const p = &out[by_node.candidate - 1];
            p->count_by_node += (unsigned)by_node.is_top;
            p->bytes_by_node = add_sat(p->bytes_by_node, bytes);
        }
    }
    return 0;
}

int series_measure(struct candidates *c, const snap_snapshot *s, const snap_heap_options *options,
                   struct series_point *out, snap_error *err) {
    struct measure m = {.c = c};
    int result = find_partners(&m, s, beside_threads(options->threads, 2), err);
    if (result == 0)
        result = snap_heap_open(&m.heap, s, options, err);
    if (result == 0)
        result = places_init(&m.places, m.heap, m.is_passing, err);
    if (result == 0)
        result = candidates_find_lost(m.heap, &m.places, &m.lost, err);
    if (result == 0)
        result = find_owners(&m, err);
    for (size_t i = 0; i < c->n; i++)
        out[i] = (struct series_point){.has_nodes = m.partner != NULL};
    if (result == 0)
        result = count_nodes(&m, out, err);
    if (m.lost != NULL)
        snap_lost_free(m.lost);
    places_release(&m.places);
    snap_heap_close(m.heap);
    free(m.partner);
    free(m.is_passing);
    free(m.of_place);
    return result;
}
