/* Joins the blocks of two snapshots by identity, keeping which stayed as one bit per block, or
 * which block of the other snapshot each is.
 *
 * For those cases in which pass.c, which reads all blocks anyway, does not tell single ones.
 * Identity is the same as there: domain, address and birth; without a birth domain, address, type
 * and stack. Invariant: bits are by id of the row, whatever the order of rows. */
#include "diff/cohort.h"

#include "base/beside.h"
#include "base/err.h"
#include "base/map.h"
#include "base/mem.h"
#include "base/strtab.h"
#include "diff/rows.h"

#include <stdlib.h>
#include <string.h>

#define COLUMNS                                                                                    \
    (1u << SNAP_NODE_COL_DOMAIN | 1u << SNAP_NODE_COL_ADDRESS | 1u << SNAP_NODE_COL_BIRTH |        \
     1u << SNAP_NODE_COL_TYPE | 1u << SNAP_NODE_COL_STACK | 1u << SNAP_NODE_COL_FLAGS)
#define NO_BIRTH (1ull << 63)

struct key {
    uint64_t address; /* domain in the topmost bits */
    uint64_t identity;
    uint32_t id;
};

struct side {
    const snap_snapshot *snapshot;
    int only_inherited;
    uint64_t alien; /* identity of blocks that cannot be the other's */
    struct key *keys;
    uint32_t n;
    uint64_t *type_key; /* by type; NULL until a block without birth comes */
};

static int no_memory(snap_error *err) {
    return err_set(err, SNAP_E_NOMEM, "no memory to match blocks");
}

static int add_type_key(void *context, const snap_batch *b, uint32_t i, snap_error *err) {
    struct side *const s = context;
    const char *name;
    SNAP_TRY(snap_string(s->snapshot, b->column[SNAP_TYPE_COL_NAME][i], &name, err));
    s->type_key[b->first_id + i] = strtab_key(name, strlen(name));
    return 0;
}

static int read_type_keys(struct side *s, snap_error *err) {
    s->type_key =
        mem_zalloc((size_t)snap_rows(s->snapshot, SNAP_TABLE_TYPE) + 1, sizeof *s->type_key);
    if (s->type_key == NULL)
        return no_memory(err);
    return rows_each(s->snapshot, SNAP_TABLE_TYPE, 1u << SNAP_TYPE_COL_NAME, add_type_key, s, err);
}

static int identify(struct side *s, uint64_t type, uint64_t stack, uint64_t *out, snap_error *err) {
    if (s->type_key == NULL)
        SNAP_TRY(read_type_keys(s, err));
    uint64_t stack_key = 0;
    SNAP_TRY(snap_stack_key(s->snapshot, stack, &stack_key, err));
    if (type > snap_rows(s->snapshot, SNAP_TABLE_TYPE))
        return err_set_at(err, SNAP_E_CORRUPT, SNAP_ID_NODE, 0, "a type that is not in the file");
    const uint64_t parts[2] = {s->type_key[type], stack_key};
    *out = strtab_key((const char *)parts, sizeof parts) | NO_BIRTH;
    return 0;
}

static int compare_keys(const void *x, const void *y) {
    const struct key *const a = x, *const b = y;
    if (a->address != b->address)
        return a->address < b->address ? -1 : 1;
    if (a->identity != b->identity)
        return a->identity < b->identity ? -1 : 1;
    return a->id < b->id ? -1 : a->id > b->id;
}

static int read_side(struct side *s, snap_error *err) {
    const uint64_t n_rows = snap_rows(s->snapshot, SNAP_TABLE_NODE);
    if (n_rows >= UINT32_MAX)
        return err_set(err, SNAP_E_LIMIT, "more than 2^32 blocks");
    s->keys = mem_alloc((size_t)n_rows + 1, sizeof *s->keys);
    if (s->keys == NULL)
        return no_memory(err);
    snap_batch batch;
    snap_batch_init(&batch);
    int result = 0, is_sorted = 1;
    for (uint32_t chunk = 0; result == 0 && chunk < snap_n_chunks(s->snapshot, SNAP_TABLE_NODE);
         chunk++) {
        result = snap_batch_read(s->snapshot, SNAP_TABLE_NODE, chunk, COLUMNS, &batch, err);
        for (uint32_t i = 0; result == 0 && i < batch.n_rows && s->n < n_rows; i++) {
            const uint64_t *const *const c = batch.column;
            struct key *const key = &s->keys[s->n];
            *key = (struct key){
                .address = c[SNAP_NODE_COL_ADDRESS][i] ^ c[SNAP_NODE_COL_DOMAIN][i] << 58,
                .identity = c[SNAP_NODE_COL_BIRTH][i] & ~NO_BIRTH,
                .id = s->n + 1,
            };
            if (s->only_inherited && !(c[SNAP_NODE_COL_FLAGS][i] & SNAP_NODE_FLAG_INHERITED))
                key->identity = s->alien;
            else if (key->identity == 0)
                result = identify(s, c[SNAP_NODE_COL_TYPE][i], c[SNAP_NODE_COL_STACK][i],
                                  &key->identity, err);
            is_sorted &= s->n == 0 || compare_keys(key - 1, key) < 0;
            s->n++;
        }
    }
    snap_batch_release(&batch);
    if (result == 0 && !is_sorted)
        qsort(s->keys, s->n, sizeof *s->keys, compare_keys);
    return result;
}

static void set_bit(uint64_t *bits, uint32_t id) {
    bits[id >> 6] |= 1ull << (id & 63);
}

static int order_of(const struct key *x, const struct key *y) {
    if (x->address != y->address)
        return x->address < y->address ? -1 : 1;
    return x->identity < y->identity ? -1 : x->identity > y->identity;
}

static void join(struct cohort *c, const struct side *a, const struct side *b) {
    uint32_t i = 0, j = 0;
    while (i < a->n || j < b->n) {
        const int order = i == a->n ? 1 : j == b->n ? -1 : order_of(&a->keys[i], &b->keys[j]);
        if (order < 0) {
            set_bit(c->gone, a->keys[i++].id);
            c->n_gone++;
        } else if (order > 0) {
            set_bit(c->fresh, b->keys[j++].id);
            c->n_fresh++;
        } else {
            i++;
            j++;
        }
    }
}

struct reading {
    struct side *side;
    snap_error error;
};

static int read_beside(void *context) {
    struct reading *const r = context;
    return read_side(r->side, &r->error);
}

static int read_sides(struct side *a, struct side *b, const snap_snapshot *first,
                      const snap_snapshot *last, struct pass_relation relation, unsigned threads,
                      snap_error *err) {
    *a = (struct side){
        .snapshot = first, .only_inherited = relation.only_inherited_a, .alien = UINT64_MAX};
    *b = (struct side){
        .snapshot = last, .only_inherited = relation.only_inherited_b, .alien = UINT64_MAX - 1};
    struct reading later = {.side = b};
    struct beside helper;
    beside_start(&helper, threads > 1, read_beside, &later);
    const int result = read_side(a, err), result_later = beside_finish(&helper);
    if (result == 0 && result_later < 0 && err != NULL)
        *err = later.error;
    return result < 0 ? result : result_later;
}

static void release_sides(struct side *a, struct side *b) {
    free(a->keys);
    free(b->keys);
    free(a->type_key);
    free(b->type_key);
}

int cohort_init(struct cohort *c, const snap_snapshot *first, const snap_snapshot *last,
                struct pass_relation relation, unsigned threads, snap_error *err) {
    memset(c, 0, sizeof *c);
    if (!relation.match) {
        c->n_fresh = snap_rows(last, SNAP_TABLE_NODE);
        c->n_gone = snap_rows(first, SNAP_TABLE_NODE);
        return 0;
    }
    struct side a, b = {0};
    int result = read_sides(&a, &b, first, last, relation, threads, err);
    if (result == 0) {
        c->gone = mem_zalloc((size_t)a.n / 64 + 2, sizeof *c->gone);
        c->fresh = mem_zalloc((size_t)b.n / 64 + 2, sizeof *c->fresh);
        if (c->gone == NULL || c->fresh == NULL)
            result = no_memory(err);
        else
            join(c, &a, &b);
    }
    release_sides(&a, &b);
    if (result < 0)
        cohort_release(c);
    return result;
}

int cohort_partners(const snap_snapshot *from, const snap_snapshot *to,
                    struct pass_relation relation, unsigned threads, uint32_t **out,
                    snap_error *err) {
    struct side a, b = {0};
    uint32_t *partner = NULL;
    int result = read_sides(&a, &b, from, to, relation, threads, err);
    if (result == 0) {
        partner = mem_zalloc((size_t)a.n + 1, sizeof *partner);
        result = partner != NULL ? 0 : no_memory(err);
    }
    for (uint32_t i = 0, j = 0; result == 0 && i < a.n && j < b.n;) {
        const int order = order_of(&a.keys[i], &b.keys[j]);
        if (order == 0)
            partner[a.keys[i].id] = b.keys[j].id;
        i += order <= 0;
        j += order >= 0;
    }
    release_sides(&a, &b);
    if (result == 0)
        *out = partner;
    return result;
}

void cohort_release(struct cohort *c) {
    free(c->fresh);
    free(c->gone);
    memset(c, 0, sizeof *c);
}
