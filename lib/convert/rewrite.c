/* Reading a snapshot and writing it again: see rewrite.h.
 *
 * Invariant: ids of rows only move down, by as many rows as are left out before them, so the order
 * that the format demands stays. A reference to a row that is left out becomes none; a row that is
 * nothing without its reference (an edge, a root, a symbol) goes with it. Unknown ancillary chunks
 * and columns are not carried over: nobody can say what they refer to, or whom they name. */
#include "convert/rewrite.h"

#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "base/mem.h"

/* The rows of one chunk. */
struct piece {
    uint64_t first, n;  /* ids as read */
    uint64_t new_first; /* id of the first one that is written */
    uint32_t *dropped;  /* indices of rows that are left out, ascending; NULL: none */
    uint32_t n_dropped;
    int is_bad;
};

struct rewrite_state {
    struct rewrite *r;
    enum rewrite_loss may_lose;
    struct piece *pieces[SNAP_N_TABLES];
    uint32_t n_pieces[SNAP_N_TABLES];
    int is_plain[SNAP_N_TABLES];        /* ids do not change */
    uint32_t *strings[REWRITE_CLASSES]; /* by old id: new one + 1, 0: not known yet */
    snap_batch batch;
    uint64_t *columns[SNAP_COLUMNS_MAX]; /* SNAP_CHUNK_ROWS_MAX each, as needed */
    uint64_t done, total;
};

static int no_memory(snap_error *err) {
    return err_set(err, SNAP_E_NOMEM, "no memory to write the snapshot again");
}

static uint32_t all_columns(snap_table table) {
    uint32_t columns = 0;
    for (unsigned c = 1; c < SNAP_COLUMNS_MAX; c++)
        columns |= snap_table_column(table, c).name ? 1u << c : 0;
    return columns;
}

/* The column without which a row of a table says nothing; `at` 0, 1. 0: none. */
static unsigned needed_column(snap_table table, unsigned at) {
    switch (table) {
    case SNAP_TABLE_EDGE:
        return at == 0 ? SNAP_EDGE_COL_SOURCE : at == 1 ? SNAP_EDGE_COL_TARGET : 0;
    case SNAP_TABLE_ROOT: return at == 0 ? SNAP_ROOT_COL_TARGET : 0;
    case SNAP_TABLE_SYMB: return at == 0 ? SNAP_SYMB_COL_FRAME : 0;
    default: return 0;
    }
}

static const struct piece *piece_of(const struct rewrite_state *s, snap_table table, uint64_t id) {
    const struct piece *const pieces = s->pieces[table];
    uint32_t low = 0, high = s->n_pieces[table];
    while (low < high) {
        const uint32_t middle = low + (high - low) / 2;
        if (pieces[middle].first + pieces[middle].n <= id)
            low = middle + 1;
        else
            high = middle;
    }
    return low < s->n_pieces[table] && pieces[low].first <= id ? &pieces[low] : NULL;
}

/* How many of the piece's dropped rows stand before row i; *is_one: i is one of them. */
static uint32_t dropped_before(const struct piece *p, uint64_t i, int *is_one) {
    uint32_t low = 0, high = p->n_dropped;
    while (low < high) {
        const uint32_t middle = low + (high - low) / 2;
        if (p->dropped[middle] < i)
            low = middle + 1;
        else
            high = middle;
    }
    *is_one = low < p->n_dropped && p->dropped[low] == i;
    return low;
}

static uint64_t new_id(const struct rewrite_state *s, snap_table table, uint64_t id) {
    if (id == 0 || s->is_plain[table])
        return id;
    const struct piece *const p = piece_of(s, table, id);
    if (p == NULL || p->is_bad)
        return 0;
    int is_dropped;
    const uint32_t before = dropped_before(p, id - p->first, &is_dropped);
    return is_dropped ? 0 : p->new_first + (id - p->first) - before;
}

/* Finds the rows of a chunk that are nothing without what they refer to. */
static int find_loose(struct rewrite_state *s, snap_table table, struct piece *p, snap_error *err) {
    const snap_batch *const b = &s->batch;
    uint32_t n = 0;
    for (unsigned pass = 0; pass < 2; pass++) {
        n = 0;
        for (uint32_t i = 0; i < b->n_rows; i++) {
            int is_loose = 0;
            for (unsigned k = 0, c; (c = needed_column(table, k)) != 0; k++)
                is_loose |= (b->column[c][i] != 0 || s->may_lose == REWRITE_CUT) &&
                            new_id(s, snap_table_column(table, c).target, b->column[c][i]) == 0;
            if (is_loose && pass == 1)
                p->dropped[n] = i;
            n += (uint32_t)is_loose;
        }
        if (n == 0)
            return 0;
        if (pass == 0 && !(p->dropped = mem_alloc(n, sizeof *p->dropped)))
            return no_memory(err);
    }
    p->n_dropped = n;
    s->r->n_loose[table] += n;
    return 0;
}

/* Which chunks of a table are there, and what their rows will be called. Tables that others refer
 * to come first: their ids have to be known. */
static int survey_table(struct rewrite_state *s, snap_table table, snap_error *err) {
    const uint32_t n = snap_n_chunks(s->r->from, table);
    uint32_t wanted = 0;
    for (unsigned k = 0, c; (c = needed_column(table, k)) != 0; k++)
        wanted |= 1u << c;
    s->is_plain[table] = 1;
    s->pieces[table] = mem_zalloc(n ? n : 1, sizeof(struct piece));
    if (s->pieces[table] == NULL)
        return no_memory(err);
    uint64_t next = 1, seen = 0, end = 1;
    for (uint32_t i = 0; i < n; i++) {
        struct piece *const p = &s->pieces[table][s->n_pieces[table]++];
        /* All columns are decoded: one that is damaged spoils its chunk. */
        const int result =
            snap_batch_read(s->r->from, table, i, all_columns(table), &s->batch, err);
        if (result == SNAP_E_CORRUPT) {
            s->r->n_bad_chunks++;
            s->is_plain[table] = 0;
            p->is_bad = 1;
            p->first = end;
            continue;
        }
        if (result < 0)
            return result;
        p->first = s->batch.first_id;
        p->n = s->batch.n_rows;
        p->new_first = next;
        if (wanted && s->may_lose)
            SNAP_TRY(find_loose(s, table, p, err));
        next += p->n - p->n_dropped;
        seen += p->n;
        end = p->first + p->n;
        s->is_plain[table] &= p->n_dropped == 0 && p->first == p->new_first;
    }
    const uint64_t rows = snap_rows(s->r->from, table);
    s->r->n_gone[table] = rows > seen ? rows - seen : 0;
    s->is_plain[table] &= rows == seen;
    return 0;
}

static int new_string(struct rewrite_state *s, snap_table table, unsigned column, uint32_t row,
                      uint64_t id, uint64_t *out, snap_error *err) {
    struct rewrite *const r = s->r;
    const unsigned class =
        r->string != NULL ? r->class(r->context, table, column, &s->batch, row) : 0;
    *out = 0;
    if (id == 0)
        return 0;
    if (s->strings[class] == NULL) {
        const uint64_t n = snap_rows(r->from, SNAP_TABLE_STRS);
        s->strings[class] = mem_zalloc((size_t)n + 1, sizeof *s->strings[class]);
        if (s->strings[class] == NULL)
            return no_memory(err);
    }
    uint32_t *const known = &s->strings[class][id];
    if (*known == 0) {
        const char *text;
        uint32_t fresh = 0;
        SNAP_TRY(snap_string(r->from, id, &text, err));
        if (r->string != NULL)
            SNAP_TRY(r->string(r->context, class, text, &text, err));
        SNAP_TRY(snap_writer_string(r->to, text, &fresh, err));
        *known = fresh + 1;
    }
    *out = *known - 1;
    return 0;
}

/* Column c of the batch with its references as they will be. */
static int map_column(struct rewrite_state *s, snap_table table, unsigned c, const uint64_t **out,
                      snap_error *err) {
    const snap_column_info info = snap_table_column(table, c);
    const snap_batch *const b = &s->batch;
    *out = b->column[c];
    if (info.type != SNAP_COLUMN_REF ||
        (info.target != SNAP_TABLE_STRS && s->is_plain[info.target]))
        return 0;
    if (!s->columns[c] && !(s->columns[c] = mem_alloc(SNAP_CHUNK_ROWS_MAX, sizeof(uint64_t))))
        return no_memory(err);
    uint64_t *const to = s->columns[c];
    for (uint32_t i = 0; i < b->n_rows; i++)
        if (info.target == SNAP_TABLE_STRS)
            SNAP_TRY(new_string(s, table, c, i, b->column[c][i], &to[i], err));
        else
            to[i] = new_id(s, info.target, b->column[c][i]);
    *out = to;
    return 0;
}

static int write_modules(struct rewrite_state *s, const uint64_t *const *columns, snap_error *err) {
    const snap_batch *const b = &s->batch;
    for (uint32_t i = 0; i < b->n_rows; i++) {
        uint64_t row[SNAP_COLUMNS_MAX] = {0};
        char build_id[SNAP_BYTES_MAX + 1];
        size_t length;
        const char *const text = snap_batch_bytes(b, SNAP_MODS_COL_BUILD_ID, i, &length);
        memcpy(build_id, text, length);
        build_id[length] = '\0';
        for (unsigned c = 1; c < SNAP_COLUMNS_MAX; c++)
            row[c] = columns[c] ? columns[c][i] : 0;
        const char *const id =
            s->r->build_id ? s->r->build_id(s->r->context, b, i, build_id) : build_id;
        SNAP_TRY(snap_writer_module_row(s->r->to, row, *id ? id : NULL, NULL, err));
    }
    return 0;
}

/* Moves the rows that stay together. */
static uint32_t compact(struct rewrite_state *s, const struct piece *p,
                        const uint64_t *columns[SNAP_COLUMNS_MAX], snap_error *err) {
    uint32_t n = 0;
    for (unsigned c = 1; c < SNAP_COLUMNS_MAX; c++) {
        if (columns[c] == NULL)
            continue;
        if (!s->columns[c] && !(s->columns[c] = mem_alloc(SNAP_CHUNK_ROWS_MAX, sizeof(uint64_t)))) {
            no_memory(err);
            return UINT32_MAX;
        }
        uint32_t next = 0;
        n = 0;
        for (uint32_t i = 0; i < s->batch.n_rows; i++)
            if (next < p->n_dropped && p->dropped[next] == i)
                next++;
            else
                s->columns[c][n++] = columns[c][i];
        columns[c] = s->columns[c];
    }
    return n;
}

static int write_chunk(struct rewrite_state *s, snap_table table, uint32_t index,
                       const struct piece *p, snap_error *err) {
    const uint64_t *columns[SNAP_COLUMNS_MAX] = {0};
    SNAP_TRY(snap_batch_read(s->r->from, table, index, all_columns(table), &s->batch, err));
    for (unsigned c = 1; c < SNAP_COLUMNS_MAX; c++)
        if (s->batch.column[c] != NULL)
            SNAP_TRY(map_column(s, table, c, &columns[c], err));
    uint32_t n = s->batch.n_rows;
    if (p->n_dropped > 0 && (n = compact(s, p, columns, err)) == UINT32_MAX)
        return SNAP_E_NOMEM;
    if (table == SNAP_TABLE_MODS)
        SNAP_TRY(write_modules(s, columns, err));
    else if (n > 0)
        SNAP_TRY(snap_writer_rows(s->r->to, table, columns, n, NULL, err));
    s->r->n_rows[table] += n;
    return 0;
}

/* Names keep their ids where they may: the file is the same then. */
static int write_strings(struct rewrite_state *s, snap_error *err) {
    const uint64_t n = snap_rows(s->r->from, SNAP_TABLE_STRS);
    for (uint64_t id = 1; id <= n && s->r->string == NULL; id++) {
        const char *text;
        uint32_t fresh;
        SNAP_TRY(snap_string(s->r->from, id, &text, err));
        SNAP_TRY(snap_writer_string(s->r->to, text, &fresh, err));
        s->r->n_rows[SNAP_TABLE_STRS] += *text != '\0'; /* "": lost */
    }
    return 0;
}

static int progress(struct rewrite_state *s, uint64_t rows, snap_error *err) {
    s->done += rows;
    return s->r->progress && s->r->progress(s->r->progress_context, s->done, s->total) != 0
               ? err_set(err, SNAP_E_CANCELED, "canceled")
               : 0;
}

static int survey_all(struct rewrite_state *s, snap_error *err) {
    for (snap_table t = SNAP_TABLE_MODS; t < SNAP_TABLE_SUMM; t++)
        SNAP_TRY(survey_table(s, t, err));
    /* err says which, then. */
    return !s->may_lose && s->r->n_bad_chunks > 0 ? SNAP_E_CORRUPT : 0;
}

int rewrite_survey(struct rewrite *r, enum rewrite_loss may_lose, snap_error *err) {
    struct rewrite_state *const s = mem_zalloc(1, sizeof *s);
    if (s == NULL)
        return no_memory(err);
    r->state = s;
    s->r = r;
    s->may_lose = may_lose;
    snap_batch_init(&s->batch);
    for (snap_table t = SNAP_TABLE_MODS; t < SNAP_TABLE_SUMM; t++)
        s->total += snap_rows(r->from, t);
    return survey_all(s, err);
}

int rewrite_rows(struct rewrite *r, snap_error *err) {
    struct rewrite_state *const s = r->state;
    SNAP_TRY(write_strings(s, err));
    for (snap_table t = SNAP_TABLE_MODS; t < SNAP_TABLE_SUMM; t++)
        for (uint32_t i = 0; i < s->n_pieces[t]; i++)
            if (!s->pieces[t][i].is_bad) {
                SNAP_TRY(write_chunk(s, t, i, &s->pieces[t][i], err));
                SNAP_TRY(progress(s, s->pieces[t][i].n, err));
            }
    return 0;
}

void rewrite_release(struct rewrite *r) {
    struct rewrite_state *const s = r->state;
    if (s == NULL)
        return;
    for (snap_table t = 0; t < SNAP_N_TABLES; t++) {
        for (uint32_t i = 0; i < s->n_pieces[t]; i++)
            free(s->pieces[t][i].dropped);
        free(s->pieces[t]);
    }
    for (unsigned c = 0; c < SNAP_COLUMNS_MAX; c++)
        free(s->columns[c]);
    for (unsigned c = 0; c < REWRITE_CLASSES; c++)
        free(s->strings[c]);
    snap_batch_release(&s->batch);
    free(s);
    r->state = NULL;
}

int rewrite_meta(const struct rewrite *r, int (*skip)(const snap_meta_row *row), snap_error *err) {
    for (size_t i = 0; i < snap_meta_count(r->from); i++) {
        const snap_meta_row row = snap_meta_get(r->from, i);
        if (skip != NULL && skip(&row))
            continue;
        if (*row.name)
            SNAP_TRY(snap_writer_meta_named(r->to, row.key, row.name, row.value, err));
        else if (*row.text)
            SNAP_TRY(snap_writer_meta_text(r->to, row.key, row.text, err));
        else
            SNAP_TRY(snap_writer_meta_number(r->to, row.key, row.value, err));
    }
    return 0;
}
