/* Files for tests. See sample.h. */
#include "support/sample.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#define XXH_STATIC_LINKING_ONLY /* states on the stack */
#include <xxhash.h>

#define TRY(call)                                                                                  \
    do {                                                                                           \
        const int result_ = (call);                                                                \
        if (result_ < 0)                                                                           \
            return result_;                                                                        \
    } while (0)

int bytes_sink(void *context, const void *data, size_t size) {
    struct bytes *const b = context;
    if (b->capacity - b->size < size) {
        const size_t capacity = (b->size + size) * 2;
        uint8_t *const grown = realloc(b->data, capacity);
        if (!grown)
            return SNAP_E_NOMEM;
        b->data = grown;
        b->capacity = capacity;
    }
    memcpy(b->data + b->size, data, size);
    b->size += size;
    return 0;
}

void bytes_release(struct bytes *b) {
    free(b->data);
    *b = (struct bytes){0};
}

uint64_t sample_next(uint64_t *state) {
    uint64_t z = *state += 0x9e3779b97f4a7c15u;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return z ^ z >> 31;
}

static uint64_t below(uint64_t *state, uint64_t n) {
    return n ? sample_next(state) % n : 0;
}

/* Rows of each table for one unit of scale. */
static const unsigned share[SNAP_N_TABLES] = {
    [SNAP_TABLE_FRAM] = 2, [SNAP_TABLE_STAK] = 3, [SNAP_TABLE_SYMB] = 2, [SNAP_TABLE_TYPE] = 1,
    [SNAP_TABLE_THRD] = 1, [SNAP_TABLE_NODE] = 8, [SNAP_TABLE_EDGE] = 6, [SNAP_TABLE_ROOT] = 1,
    [SNAP_TABLE_HOOK] = 1, [SNAP_TABLE_POOL] = 1, [SNAP_TABLE_REGN] = 1, [SNAP_TABLE_RSRC] = 1,
};

struct maker {
    snap_writer *w;
    snap_error *err;
    uint64_t state;
    uint64_t n[SNAP_N_TABLES]; /* how many rows there will be */
    uint64_t done[SNAP_N_TABLES];
    uint64_t address;
};

static uint64_t any_value(struct maker *m) {
    switch (below(&m->state, 6)) {
    case 0: return 0;
    case 1: return below(&m->state, 8);
    case 2: return sample_next(&m->state);
    case 3: return (uint64_t)0 - below(&m->state, 100);
    default: return below(&m->state, 70000);
    }
}

static int make_row(struct maker *m, snap_table table) {
    const uint64_t id = m->done[table] + 1;
    uint64_t row[SNAP_COLUMNS_MAX] = {0}, got;
    for (unsigned c = 1; c < SNAP_COLUMNS_MAX; c++) {
        const snap_column_info info = snap_table_column(table, c);
        if (info.type == SNAP_COLUMN_REF)
            row[c] = below(&m->state, m->n[info.target] + 1);
        else if (info.type == SNAP_COLUMN_NUMBER)
            row[c] = any_value(m);
    }
    m->address += 16 + below(&m->state, 8) * 16;
    if (table == SNAP_TABLE_STAK)
        row[SNAP_STAK_COL_PARENT] = below(&m->state, id);
    if (table == SNAP_TABLE_FRAM)
        row[SNAP_FRAM_COL_KIND] = below(&m->state, 4);
    if (table == SNAP_TABLE_SYMB) {
        row[SNAP_SYMB_COL_FRAME] = (id + 1) / 2;
        row[SNAP_SYMB_COL_DEPTH] = (id + 1) % 2;
    }
    if (table == SNAP_TABLE_NODE) {
        row[SNAP_NODE_COL_DOMAIN] = 1 + 3 * (id - 1) / m->n[table];
        row[SNAP_NODE_COL_KIND] = 1 + below(&m->state, 18);
        row[SNAP_NODE_COL_ADDRESS] = m->address;
    }
    if (table == SNAP_TABLE_EDGE)
        row[SNAP_EDGE_COL_SOURCE] = 1 + (id - 1) * m->n[SNAP_TABLE_NODE] / m->n[table];
    if (table == SNAP_TABLE_POOL)
        row[SNAP_POOL_COL_DOMAIN] = 1 + below(&m->state, 6);
    if (table == SNAP_TABLE_REGN)
        row[SNAP_REGN_COL_ADDRESS] = id << 20;
    TRY(snap_writer_row(m->w, table, row, &got, m->err));
    m->done[table]++;
    return got == id ? SNAP_OK : SNAP_E_NOTFOUND;
}

static int make_meta(struct maker *m) {
    TRY(snap_writer_meta_text(m->w, SNAP_META_WRITER, "sample", m->err));
    TRY(snap_writer_meta_number(m->w, SNAP_META_PID, 4711, m->err));
    TRY(snap_writer_meta_number(m->w, SNAP_META_STEP, (uint64_t)-3, m->err));
    TRY(snap_writer_meta_named(m->w, SNAP_META_USER, "samples", 12, m->err));
    TRY(snap_writer_meta_named(m->w, SNAP_META_PROCESS, "rss_bytes", 1 << 20, m->err));
    return snap_writer_meta_text(m->w, SNAP_META_LABEL, "a sample \xc3\xa4", m->err);
}

int sample_write(snap_writer *w, uint64_t seed, size_t scale, snap_error *err) {
    struct maker m = {.w = w, .err = err, .state = seed, .address = 0x555555556000};
    TRY(make_meta(&m));
    m.n[SNAP_TABLE_STRS] = 4 * scale;
    m.n[SNAP_TABLE_MODS] = 2;
    for (uint64_t i = 1; i <= m.n[SNAP_TABLE_STRS]; i++) {
        char text[64];
        uint32_t id;
        snprintf(text, sizeof text, "%s%llu", i % 3 ? "function_" : "/usr/lib/",
                 (unsigned long long)i);
        TRY(snap_writer_string(w, text, &id, err));
    }
    for (int i = 0; i < 2; i++)
        TRY(snap_writer_module(w, i ? "/usr/lib/3" : "/usr/lib/6", i ? "" : "00ffaa17", 4096, 8192,
                               4096, (uint64_t)i, NULL, err));
    size_t n_tables = 0;
    snap_table left[SNAP_N_TABLES];
    for (unsigned t = 0; t < SNAP_N_TABLES; t++) {
        m.n[t] += share[t] * scale;
        if (share[t] && m.n[t])
            left[n_tables++] = (snap_table)t;
    }
    while (n_tables) {
        const size_t at = below(&m.state, n_tables);
        const snap_table table = left[at];
        for (uint64_t k = 1 + below(&m.state, scale); k && m.done[table] < m.n[table]; k--)
            TRY(make_row(&m, table));
        if (m.done[table] == m.n[table])
            left[at] = left[--n_tables];
    }
    return SNAP_OK;
}

int sample_make(struct bytes *out, uint64_t seed, size_t scale, snap_error *err) {
    snap_writer *w;
    TRY(snap_writer_open_sink(&w, bytes_sink, out, NULL, err));
    int result = sample_write(w, seed, scale, err);
    if (!result)
        result = snap_writer_finish(w, err);
    snap_writer_close(w);
    return result;
}

static void hash_chunk(XXH3_state_t *state, snap_table table, const snap_batch *b) {
    for (unsigned c = 1; c < SNAP_COLUMNS_MAX; c++) {
        const snap_column_type type = snap_table_column(table, c).type;
        if (type == SNAP_COLUMN_NUMBER || type == SNAP_COLUMN_REF)
            XXH3_64bits_update(state, b->column[c], b->n_rows * sizeof(uint64_t));
        for (uint32_t i = 0; type == SNAP_COLUMN_BYTES && i < b->n_rows; i++) {
            size_t length;
            const char *const text = snap_batch_bytes(b, c, i, &length);
            XXH3_64bits_update(state, &length, sizeof length);
            XXH3_64bits_update(state, text, length);
        }
    }
}

int sample_digest(const snap_snapshot *s, uint64_t *out, snap_error *err) {
    XXH3_state_t state;
    XXH3_64bits_reset(&state);
    snap_batch b;
    snap_batch_init(&b);
    int result = SNAP_OK;
    for (unsigned t = 0; t < SNAP_TABLE_TOCC && !result; t++)
        for (uint32_t k = 0; k < snap_n_chunks(s, (snap_table)t) && !result; k++) {
            result = snap_batch_read(s, (snap_table)t, k, ~0u, &b, err);
            if (!result)
                hash_chunk(&state, (snap_table)t, &b);
        }
    snap_batch_release(&b);
    *out = XXH3_64bits_digest(&state);
    return result;
}

static int replay_meta(const snap_snapshot *s, snap_writer *w, snap_error *err) {
    for (size_t i = 0; i < snap_meta_count(s); i++) {
        const snap_meta_row row = snap_meta_get(s, i);
        if (*row.name)
            TRY(snap_writer_meta_named(w, row.key, row.name, row.value, err));
        else if (*row.text)
            TRY(snap_writer_meta_text(w, row.key, row.text, err));
        else
            TRY(snap_writer_meta_number(w, row.key, row.value, err));
    }
    return SNAP_OK;
}

static int replay_chunk(snap_table table, const snap_batch *b, snap_writer *w, snap_error *err) {
    if (table == SNAP_TABLE_STRS) {
        for (uint32_t i = 0; i < b->n_rows; i++) {
            size_t length;
            uint32_t id;
            const char *const text = snap_batch_bytes(b, SNAP_STRS_COL_TEXT, i, &length);
            TRY(snap_writer_string_n(w, text, length, &id, err));
        }
        return SNAP_OK;
    }
    if (table != SNAP_TABLE_MODS)
        return snap_writer_rows(w, table, b->column, b->n_rows, NULL, err);
    for (uint32_t i = 0; i < b->n_rows; i++) {
        uint64_t row[SNAP_COLUMNS_MAX] = {0};
        char build_id[256];
        size_t length;
        const char *const text = snap_batch_bytes(b, SNAP_MODS_COL_BUILD_ID, i, &length);
        snprintf(build_id, sizeof build_id, "%.*s", (int)length, text);
        for (unsigned c = 1; c < SNAP_COLUMNS_MAX; c++)
            row[c] = b->column[c] ? b->column[c][i] : 0;
        TRY(snap_writer_module_row(w, row, build_id, NULL, err));
    }
    return SNAP_OK;
}

int sample_replay(const snap_snapshot *s, snap_writer *w, snap_error *err) {
    uint32_t next[SNAP_N_TABLES] = {0};
    snap_batch toc, b;
    snap_batch_init(&toc);
    snap_batch_init(&b);
    int result = replay_meta(s, w, err);
    if (!result)
        result = snap_batch_read(s, SNAP_TABLE_TOCC, 0, ~0u, &toc, err);
    for (uint32_t i = 0; !result && i < toc.n_rows; i++) {
        const snap_table table = snap_table_of_id((uint32_t)toc.column[SNAP_TOCC_COL_ID][i]);
        if (table == SNAP_TABLE_META || table == SNAP_TABLE_SUMM || table == SNAP_N_TABLES)
            continue;
        result = snap_batch_read(s, table, next[table]++, ~0u, &b, err);
        if (!result)
            result = replay_chunk(table, &b, w, err);
    }
    snap_batch_release(&toc);
    snap_batch_release(&b);
    return result;
}
