/* Sums up blocks by group, and joins the blocks of two snapshots.
 *
 * A block never moves: whoever moves one frees it and makes another with a birth of its own. So two
 * files sorted by address are joined like two sorted lists, in one step per row and with one
 * decoded chunk of each in memory; equal address and equal birth is the same block. Blocks without
 * a birth are the same if address, type and stack are. The key space is cut into as many parts as
 * there are threads; sums do not depend on where.
 *
 * Invariant: per group count = new + surviving, per pass likewise. A file whose rows turn out to be
 * in another order is sorted in memory and the pass starts again. */
#include "diff/pass.h"

#include "base/err.h"
#include "base/mem.h"
#include "diff/cohort.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#define MAX_PARTS 16
/* Fewer chunks for a thread and it would have nothing to do. */
#define CHUNKS_PER_PART 1

struct shared {
    const struct pass_input *in;
    atomic_uint_fast64_t done;
    atomic_int stop;
};

/* Bits that a part has set: words are collected here, as parts share those where they meet. */
struct marks {
    uint64_t *bits; /* NULL: nobody wants them */
    uint64_t word, value, n;
};

/* What one thread does: its part of both key spaces, its own sums. */
struct part {
    struct shared *shared;
    unsigned index;
    struct cursor a, b;
    struct groups groups_a, groups_b;
    struct marks gone, fresh;
    uint64_t surviving_count, surviving_bytes, max_birth;
    int by_address;
    int is_unsure; /* whether a block without birth is the same takes more than its key */
    int result;    /* 0, SNAP_E_*, or WALK_UNSORTED */
    int unsorted_earlier;
    snap_error error;
    pthread_t thread;
    int is_running;
};

static void marks_flush(struct marks *m) {
    if (m->value != 0)
        __atomic_fetch_or(&m->bits[m->word], m->value, __ATOMIC_RELAXED);
    m->value = 0;
}

/* Marks the row that a cursor stands on: the other snapshot does not have it. */
static inline void mark(struct marks *m, const struct cursor *c) {
    if (m->bits == NULL)
        return;
    const uint64_t id = c->batch.first_id + c->row;
    if (id >> 6 != m->word) {
        marks_flush(m);
        m->word = id >> 6;
    }
    m->value |= 1ull << (id & 63);
    m->n++;
}

/* Memory that another node or process holds is shown there. */
static inline int is_counted(const struct cursor *c, uint32_t row) {
    return SNAP_NODE_IS_COUNTED(c->column[WALK_KIND][row]);
}

static inline uint64_t bytes_of(const struct cursor *c, uint32_t row) {
    return add_sat(c->column[WALK_SIZE][row], c->column[WALK_EXTERNAL][row]);
}

static struct group *group_of(struct groups *groups, const struct cursor *c, uint32_t row) {
    const uint64_t domain = c->column[WALK_DOMAIN][row];
    struct group *const g = groups_get(groups, domain < UINT32_MAX ? domain : UINT32_MAX,
                                       c->column[WALK_TYPE][row], c->column[WALK_STACK][row]);
    if (g == NULL)
        return NULL;
    g->count = add_sat(g->count, 1);
    g->bytes = add_sat(g->bytes, bytes_of(c, row));
    return g;
}

static int no_memory(struct part *p) {
    return err_set(&p->error, SNAP_E_NOMEM, "no memory for the sums over blocks");
}

static int take_earlier(struct part *p) {
    struct cursor *const c = &p->a;
    const uint32_t row = c->row++;
    return !is_counted(c, row) || group_of(&p->groups_a, c, row) != NULL ? 0 : no_memory(p);
}

static struct group *take_later(struct part *p, uint32_t row) {
    struct group *const g = group_of(&p->groups_b, &p->b, row);
    const uint64_t birth = p->b.column[WALK_BIRTH][row];
    if (g != NULL && birth > p->shared->in->newer_than) {
        g->newer_count = add_sat(g->newer_count, 1);
        g->newer_bytes = add_sat(g->newer_bytes, bytes_of(&p->b, row));
    }
    if (birth > p->max_birth)
        p->max_birth = birth;
    return g;
}

static int take_new(struct part *p) {
    const uint32_t row = p->b.row++;
    if (!is_counted(&p->b, row))
        return 0;
    struct group *const g = take_later(p, row);
    if (g == NULL)
        return no_memory(p);
    g->new_count = add_sat(g->new_count, 1);
    g->new_bytes = add_sat(g->new_bytes, bytes_of(&p->b, row));
    return 0;
}

/* Identity of a group across files: a hash of the stack's key and of the type's name. */
static int identify(const struct source *source, struct group *g, snap_error *err) {
    if (g->has_identity)
        return 0;
    uint64_t key = 0;
    SNAP_TRY(snap_stack_key(source->snapshot, g->stack, &key, err));
    const char *name = "";
    if (g->type != 0) {
        uint64_t string = 0;
        snap_batch batch;
        snap_batch_init(&batch);
        /* Rows of all chunks but the last number the same in practice, but nothing says so. */
        uint32_t chunk = 0;
        int result = 0;
        for (; result == 0 && chunk < snap_n_chunks(source->snapshot, SNAP_TABLE_TYPE); chunk++) {
            result = snap_batch_read(source->snapshot, SNAP_TABLE_TYPE, chunk,
                                     1u << SNAP_TYPE_COL_NAME, &batch, err);
            if (result == 0 && g->type >= batch.first_id &&
                g->type - batch.first_id < batch.n_rows) {
                string = batch.column[SNAP_TYPE_COL_NAME][g->type - batch.first_id];
                break;
            }
        }
        snap_batch_release(&batch);
        if (result < 0)
            return result;
        SNAP_TRY(snap_string(source->snapshot, string, &name, err));
    }
    for (; *name != '\0'; name++)
        key = (key ^ (unsigned char)*name) * 0x100000001b3ull;
    g->identity = key;
    g->has_identity = 1;
    return 0;
}

static int same_group(struct part *p, struct group *a, struct group *b, int *out) {
    SNAP_TRY(identify(p->a.source, a, &p->error));
    SNAP_TRY(identify(p->b.source, b, &p->error));
    *out = a->identity == b->identity;
    return 0;
}

/* Both cursors stand on the same domain, address and birth. */
static int take_both(struct part *p) {
    const struct pass_relation *const relation = &p->shared->in->relation;
    const uint32_t row_a = p->a.row, row_b = p->b.row;
    int match = is_counted(&p->a, row_a) && is_counted(&p->b, row_b);
    if (relation->only_inherited_a && !(p->a.column[WALK_FLAGS][row_a] & SNAP_NODE_FLAG_INHERITED))
        match = 0;
    if (relation->only_inherited_b && !(p->b.column[WALK_FLAGS][row_b] & SNAP_NODE_FLAG_INHERITED))
        match = 0;
    if (!match) {
        SNAP_TRY(take_earlier(p));
        return take_new(p);
    }
    struct group *const a = group_of(&p->groups_a, &p->a, row_a);
    struct group *const b = take_later(p, row_b);
    if (a == NULL || b == NULL)
        return no_memory(p);
    const uint64_t bytes_a = bytes_of(&p->a, row_a), bytes_b = bytes_of(&p->b, row_b);
    p->a.row++;
    p->b.row++;
    if (p->b.column[WALK_BIRTH][row_b] == 0) {
        p->by_address = 1;
        SNAP_TRY(same_group(p, a, b, &match));
        if (!match) {
            b->new_count = add_sat(b->new_count, 1);
            b->new_bytes = add_sat(b->new_bytes, bytes_b);
            return 0;
        }
    }
    p->surviving_count = add_sat(p->surviving_count, 1);
    p->surviving_bytes = add_sat(p->surviving_bytes, bytes_a < bytes_b ? bytes_a : bytes_b);
    if (bytes_b > bytes_a)
        b->new_bytes = add_sat(b->new_bytes, bytes_b - bytes_a);
    return 0;
}

/* Fetches rows for a cursor that ran out. *out_end: there are none. */
static int refill(struct part *p, struct cursor *c, int *out_end) {
    *out_end = 0;
    if (c->row < c->n)
        return 0;
    if (atomic_load_explicit(&p->shared->stop, memory_order_relaxed))
        return SNAP_E_CANCELED;
    const struct pass_input *const in = p->shared->in;
    const uint64_t done = atomic_fetch_add(&p->shared->done, c->n);
    if (p->index == 0 && in->progress != NULL &&
        in->progress(in->progress_context, in->progress_done + done, in->progress_total) != 0)
        return err_set(&p->error, SNAP_E_CANCELED, "canceled");
    const int result = walk_load(c, &p->error);
    if (result == WALK_UNSORTED)
        p->unsorted_earlier = c == &p->a;
    if (result == WALK_END) {
        *out_end = 1;
        return 0;
    }
    return result;
}

static int sum_up(struct part *p) {
    for (int end;;) {
        const int result = refill(p, &p->b, &end);
        if (result != 0 || end)
            return result;
        while (p->b.row < p->b.n)
            SNAP_TRY(take_new(p));
    }
}

/* Rows up to where one of the two chunks at hand ends. */
static int join_chunks(struct part *p) {
    struct cursor *const a = &p->a, *const b = &p->b;
    const uint64_t *const domain_a = a->column[WALK_DOMAIN], *const domain_b =
                                                                 b->column[WALK_DOMAIN];
    const uint64_t *const address_a = a->column[WALK_ADDRESS], *const address_b =
                                                                   b->column[WALK_ADDRESS];
    const uint64_t *const birth_a = a->column[WALK_BIRTH], *const birth_b = b->column[WALK_BIRTH];
    while (a->row < a->n && b->row < b->n) {
        const uint32_t i = a->row, j = b->row;
        int order = 0;
        if (address_a[i] != address_b[j])
            order = address_a[i] < address_b[j] ? -1 : 1;
        else if (birth_a[i] != birth_b[j])
            order = birth_a[i] < birth_b[j] ? -1 : 1;
        if (domain_a[i] != domain_b[j])
            order = domain_a[i] < domain_b[j] ? -1 : 1;
        if (order < 0)
            mark(&p->gone, a);
        else if (order > 0)
            mark(&p->fresh, b);
        else
            p->is_unsure |= birth_b[j] == 0;
        SNAP_TRY(order < 0 ? take_earlier(p) : order > 0 ? take_new(p) : take_both(p));
    }
    return 0;
}

static int join(struct part *p) {
    for (;;) {
        int end_a, end_b, result;
        if ((result = refill(p, &p->a, &end_a)) != 0 || (result = refill(p, &p->b, &end_b)) != 0)
            return result;
        if (end_a && end_b)
            return 0;
        if (end_a) {
            while (p->b.row < p->b.n) {
                mark(&p->fresh, &p->b);
                SNAP_TRY(take_new(p));
            }
        } else if (end_b) {
            while (p->a.row < p->a.n) {
                mark(&p->gone, &p->a);
                SNAP_TRY(take_earlier(p));
            }
        } else {
            SNAP_TRY(join_chunks(p));
        }
    }
}

static void *run_part(void *argument) {
    struct part *const p = argument;
    const struct pass_input *const in = p->shared->in;
    if (groups_init(&p->groups_b, snap_rows(in->later->snapshot, SNAP_TABLE_STAK)) < 0 ||
        (in->earlier != NULL &&
         groups_init(&p->groups_a, snap_rows(in->earlier->snapshot, SNAP_TABLE_STAK)) < 0))
        p->result = no_memory(p);
    else
        p->result = in->earlier != NULL ? join(p) : sum_up(p);
    marks_flush(&p->gone);
    marks_flush(&p->fresh);
    if (p->result != 0)
        atomic_store(&p->shared->stop, 1);
    return NULL;
}

/* Sums without a join can be cut anywhere. */
static void cut_by_chunks(struct part *parts, unsigned n, const struct source *source) {
    for (unsigned i = 0; i < n; i++) {
        const struct walk_range range = {
            .from = {(uint32_t)((uint64_t)source->n_blocks * i / n), 0},
            .to = {(uint32_t)((uint64_t)source->n_blocks * (i + 1) / n), 0}};
        cursor_init(&parts[i].b, source, &range, 0);
    }
}

static int cut_by_keys(struct part *parts, unsigned n, const struct source *a,
                       const struct source *b, snap_error *err) {
    const struct source *const larger = a->n_blocks > b->n_blocks ? a : b;
    struct walk_range range_a = {.to = {0, 0}}, range_b = range_a;
    for (unsigned i = 0; i < n; i++) {
        if (i + 1 < n) {
            struct walk_key key;
            SNAP_TRY(source_first_key(larger, (uint32_t)((uint64_t)larger->n_blocks * (i + 1) / n),
                                      &key, err));
            if (i > 0 && walk_key_compare(key, range_a.low) < 0)
                key = range_a.low; /* not sorted: the parts will notice */
            SNAP_TRY(source_find(a, key, &range_a.to, err));
            SNAP_TRY(source_find(b, key, &range_b.to, err));
            range_a.high = range_b.high = key;
            range_a.has_high = range_b.has_high = 1;
        } else {
            range_a.to = (struct walk_position){a->n_blocks, 0};
            range_b.to = (struct walk_position){b->n_blocks, 0};
            range_a.has_high = range_b.has_high = 0;
        }
        cursor_init(&parts[i].a, a, &range_a, 1);
        cursor_init(&parts[i].b, b, &range_b, 1);
        range_a.from = range_a.to;
        range_b.from = range_b.to;
        range_a.low = range_b.low = range_a.high;
        range_a.has_low = range_b.has_low = 1;
    }
    return 0;
}

static int reduce(struct part *parts, unsigned n, struct pass_result *result, snap_error *err) {
    /* The first part's sums become the result's, and the others are added. */
    result->earlier = parts[0].groups_a;
    result->later = parts[0].groups_b;
    memset(&parts[0].groups_a, 0, sizeof parts[0].groups_a);
    memset(&parts[0].groups_b, 0, sizeof parts[0].groups_b);
    for (unsigned i = 0; i < n; i++) {
        const struct part *const p = &parts[i];
        result->surviving_count = add_sat(result->surviving_count, p->surviving_count);
        result->surviving_bytes = add_sat(result->surviving_bytes, p->surviving_bytes);
        result->by_address |= p->by_address;
        if (p->max_birth > result->max_birth)
            result->max_birth = p->max_birth;
        if (i > 0 && (groups_merge(&result->earlier, &p->groups_a) < 0 ||
                      groups_merge(&result->later, &p->groups_b) < 0))
            return err_set(err, SNAP_E_NOMEM, "no memory for the sums over blocks");
    }
    return 0;
}

/* Makes room for the bits where one pass can tell them. */
static int begin_bits(struct pass_input *in, snap_error *err) {
    struct cohort *const c = in->cohort;
    if (c == NULL || in->earlier == NULL || !in->relation.match || in->relation.only_inherited_a ||
        in->relation.only_inherited_b || in->earlier->sorted != NULL || in->later->sorted != NULL)
        return 0;
    c->gone = mem_zalloc((size_t)in->earlier->n_rows / 64 + 2, sizeof *c->gone);
    c->fresh = mem_zalloc((size_t)in->later->n_rows / 64 + 2, sizeof *c->fresh);
    return c->gone != NULL && c->fresh != NULL
               ? 0
               : err_set(err, SNAP_E_NOMEM, "no memory to match blocks");
}

/* Keeps the bits, with their numbers, of a pass that was able to tell them. */
static void finish_bits(const struct pass_input *in, const struct part *parts, unsigned n,
                        int status) {
    struct cohort *const c = in->cohort;
    int is_unsure = 0;
    if (c == NULL || (c->gone == NULL && c->fresh == NULL))
        return;
    for (unsigned i = 0; i < n; i++) {
        c->n_gone += parts[i].gone.n;
        c->n_fresh += parts[i].fresh.n;
        is_unsure |= parts[i].is_unsure;
    }
    if (status != 0 || is_unsure)
        cohort_release(c);
}

/* The error to report: of the first part that failed by itself. */
static int result_of(struct part *parts, unsigned n, int *out_unsorted_earlier, snap_error *err) {
    int result = 0;
    for (unsigned i = 0; i < n; i++) {
        const struct part *const p = &parts[i];
        if (p->result == WALK_UNSORTED) {
            *out_unsorted_earlier = p->unsorted_earlier;
            return WALK_UNSORTED;
        }
        if (p->result < 0 && (result == 0 || p->error.code != 0)) {
            if (result == 0 || (err != NULL && err->code == 0))
                result = p->result;
            if (err != NULL && p->error.code != 0 && err->code == 0)
                *err = p->error;
        }
    }
    return result;
}

static int run_once(struct pass_input *in, struct pass_result *result, int *out_unsorted_earlier,
                    snap_error *err) {
    struct shared shared = {.in = in};
    struct part *const parts = mem_zalloc(MAX_PARTS, sizeof *parts);
    if (parts == NULL)
        return err_set(err, SNAP_E_NOMEM, "no memory for the sums over blocks");
    uint32_t n_chunks = in->later->n_blocks;
    if (in->earlier != NULL && in->earlier->n_blocks > n_chunks)
        n_chunks = in->earlier->n_blocks;
    unsigned n = in->threads < MAX_PARTS ? in->threads : MAX_PARTS;
    if (n > n_chunks / CHUNKS_PER_PART)
        n = n_chunks / CHUNKS_PER_PART;
    n = n == 0 ? 1 : n;
    int status = begin_bits(in, err);
    if (status == 0 && in->earlier != NULL)
        status = cut_by_keys(parts, n, in->earlier, in->later, err);
    else if (status == 0)
        cut_by_chunks(parts, n, in->later);
    for (unsigned i = 0; i < n && status == 0; i++) {
        parts[i].shared = &shared;
        parts[i].index = i;
        if (in->cohort != NULL) {
            parts[i].gone.bits = in->cohort->gone;
            parts[i].fresh.bits = in->cohort->fresh;
        }
    }
    for (unsigned i = 1; i < n && status == 0; i++)
        parts[i].is_running = pthread_create(&parts[i].thread, NULL, run_part, &parts[i]) == 0;
    for (unsigned i = 0; i < n && status == 0; i++)
        if (!parts[i].is_running) /* the first, and those the system had no thread for */
            run_part(&parts[i]);
    for (unsigned i = 1; i < n; i++)
        if (parts[i].is_running)
            pthread_join(parts[i].thread, NULL);
    if (status == 0)
        status = result_of(parts, n, out_unsorted_earlier, err);
    if (status == 0)
        status = reduce(parts, n, result, err);
    finish_bits(in, parts, n, status);
    for (unsigned i = 0; i < n; i++) {
        if (parts[i].a.source != NULL)
            cursor_release(&parts[i].a);
        if (parts[i].b.source != NULL)
            cursor_release(&parts[i].b);
        groups_release(&parts[i].groups_a);
        groups_release(&parts[i].groups_b);
    }
    free(parts);
    return status;
}

int pass_run(struct pass_input *in, struct pass_result *result, snap_error *err) {
    memset(result, 0, sizeof *result);
    snap_error unused = {0};
    if (err == NULL)
        err = &unused;
    for (;;) {
        int unsorted_earlier = 0;
        snap_error error = {0};
        const int status = run_once(in, result, &unsorted_earlier, &error);
        if (status < 0)
            *err = error;
        if (status != WALK_UNSORTED)
            return status;
        SNAP_TRY(source_sort(unsorted_earlier ? in->earlier : in->later, err));
    }
}

void pass_result_release(struct pass_result *r) {
    groups_release(&r->earlier);
    groups_release(&r->later);
}

static int has_same_text(const char *a, const char *b) {
    return a != NULL && b != NULL && *a != '\0' && strcmp(a, b) == 0;
}

int pass_is_same_lineage(const snap_snapshot *a, const snap_snapshot *b) {
    return has_same_text(snap_meta_text(a, SNAP_META_LINEAGE),
                         snap_meta_text(b, SNAP_META_LINEAGE));
}

struct pass_relation pass_relation_of(const snap_snapshot *a, const snap_snapshot *b) {
    const char *const lineage_a = snap_meta_text(a, SNAP_META_LINEAGE);
    const char *const lineage_b = snap_meta_text(b, SNAP_META_LINEAGE);
    const char *const parent_a = snap_meta_text(a, SNAP_META_PARENT_LINEAGE);
    const char *const parent_b = snap_meta_text(b, SNAP_META_PARENT_LINEAGE);
    if (has_same_text(lineage_a, lineage_b))
        return (struct pass_relation){.match = 1};
    if (has_same_text(lineage_a, parent_b))
        return (struct pass_relation){.match = 1, .only_inherited_b = 1};
    if (has_same_text(parent_a, lineage_b))
        return (struct pass_relation){.match = 1, .only_inherited_a = 1};
    if (has_same_text(parent_a, parent_b))
        return (struct pass_relation){.match = 1, .only_inherited_a = 1, .only_inherited_b = 1};
    return (struct pass_relation){0};
}
