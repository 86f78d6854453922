/* The writer: rows into open chunks, full chunks to the sink.
 *
 * Invariants: what goes into a chunk, and when it is closed, follows from the rows of its table
 * alone, so the same rows give the same bytes and a file that is read chunk by chunk and written
 * again comes out the same; that threads encode chunks changes nothing, as they are written in the
 * order in which they were closed. After the first failure every call fails with its code. Chunks
 * are closed as soon as they are full; those still open at the end come in the order of the tables.
 */
#include "base/bytes.h"
#include "base/err.h"
#include "base/file.h"
#include "base/strtab.h"
#include "codec/chunk.h"
#include "codec/pack.h"
#include "codec/packline.h"
#include "codec/summary.h"

#include <heapsnap/writer.h>
#include <stdlib.h>
#include <string.h>

#define ZSTD_LEVEL_DEFAULT 1
#define ROWS_LEAST 256u /* room for rows at first; a power of 4 less than SNAP_CHUNK_ROWS_MAX */
#define LINE_ROWS_LEAST 4096u /* in a chunk that is worth a thread */
#define TEXT_WIDTH_MAX 2      /* bytes of a text's length in planes */

struct toc_row {
    uint64_t id, offset, stored_size, raw_size, n_rows;
};

struct meta_row {
    uint32_t key;
    const char *name, *text;
    uint64_t value;
};

struct snap_writer {
    snap_sink sink;
    void *context;
    struct file_new file;
    int is_file, no_sync, level;
    uint32_t summary_rows;

    int failed; /* the first error's code */
    snap_error error;
    int has_rows, has_begun, is_finished, is_unsorted;
    uint64_t bytes, header_hash;

    struct pack_rows open[SNAP_N_TABLES], spare[SNAP_N_TABLES]; /* spare: memory, no rows */
    uint64_t n_rows[SNAP_N_TABLES];                             /* given, by table */
    uint32_t n_summarized[SNAP_N_TABLES];                       /* of the open ones */
    uint64_t max_ref[SNAP_N_TABLES][SNAP_COLUMNS_MAX];          /* greatest id seen */
    uint64_t last_node[3], last_edge_source, last_symbol[2], last_region; /* order of rows */

    struct arena arena; /* metadata */
    struct meta_row *meta;
    size_t n_meta, meta_capacity;
    struct strtab strings;
    struct summary summary;
    struct toc_row *toc;
    size_t n_toc, toc_capacity;

    struct packer packer;
    struct pack_chunks chunks;
    unsigned n_threads;
    struct packline *line; /* NULL: none yet */
};

static int fail_at(snap_writer *w, snap_error *err, int code, snap_table table, const char *text) {
    if (!w->failed) {
        w->failed = code;
        err_set_at(&w->error, code, snap_table_id(table), 0, "%s", text);
    }
    if (err)
        *err = w->error;
    return w->failed;
}

static int fail(snap_writer *w, snap_error *err, int code, const char *text) {
    return fail_at(w, err, code, SNAP_N_TABLES, text);
}

static int no_memory(snap_writer *w, snap_error *err) {
    return fail(w, err, SNAP_E_NOMEM, "no memory for the snapshot");
}

static int emit(snap_writer *w, const void *data, size_t size, snap_error *err) {
    if (w->is_file) {
        const int result = file_new_write(&w->file, data, size, &w->error);
        if (result < 0) {
            w->failed = result;
            return fail(w, err, result, "");
        }
    } else {
        const int result = w->sink(w->context, data, size);
        if (result < 0)
            return fail(w, err, result, "the sink refused the data");
    }
    w->bytes += size;
    return SNAP_OK;
}

/* Appends chunks to the file and to its table of contents. */
static int emit_chunks(snap_writer *w, snap_table table, const struct pack_chunks *c,
                       snap_error *err) {
    uint64_t offset = w->bytes;
    for (size_t i = 0; i < c->n_parts && table != SNAP_TABLE_TOCC; i++) {
        const struct pack_part *const p = &c->parts[i];
        if (w->n_toc == SNAP_CHUNKS_MAX)
            return fail(w, err, SNAP_E_LIMIT, "more chunks than a file can hold");
        if (mem_grow(&w->toc, &w->toc_capacity, w->n_toc + 1, sizeof *w->toc) < 0)
            return no_memory(w, err);
        w->toc[w->n_toc++] =
            (struct toc_row){snap_table_id(table), offset, p->stored_size, p->raw_size, p->n_rows};
        offset += SNAP_CHUNK_HEADER_SIZE + p->stored_size;
    }
    return emit(w, c->bytes, c->size, err);
}

/* Emits the oldest chunk in the line, if it is done or has to be. 1, 0 if there is none, or an
 * error. */
static int emit_oldest(snap_writer *w, int must_wait, snap_error *err) {
    struct packline_job *const job = packline_oldest(w->line, must_wait);
    if (!job)
        return 0;
    const int result =
        job->result < 0 ? no_memory(w, err) : emit_chunks(w, job->table, &job->chunks, err);
    struct pack_rows *const spare = &w->spare[job->table];
    if (!spare->capacity) {
        *spare = job->rows;
        job->rows = (struct pack_rows){0};
        pack_rows_clear(spare);
    }
    packline_drop(w->line);
    return result < 0 ? result : 1;
}

/* Ends the line: all its chunks are in the file. */
static int drain(snap_writer *w, snap_error *err) {
    int result = w->line != NULL;
    while (result > 0)
        result = emit_oldest(w, 1, err);
    return result;
}

/* Has the rows of an open chunk encoded, here or in the line, and what is done written. */
static int pack(snap_writer *w, snap_table table, struct pack_rows *rows, snap_error *err) {
    if (!w->line && w->n_threads > 0 && rows->n >= LINE_ROWS_LEAST) {
        w->line = packline_new(w->n_threads, w->level);
        if (!w->line)
            return no_memory(w, err);
    }
    if (!w->line || (rows->n < LINE_ROWS_LEAST && packline_is_empty(w->line))) {
        if (packer_run(&w->packer, table, rows, &w->chunks) < 0)
            return no_memory(w, err);
        return emit_chunks(w, table, &w->chunks, err);
    }
    if (packline_is_full(w->line))
        SNAP_TRY(emit_oldest(w, 1, err));
    packline_put(w->line, table, rows);
    *rows = w->spare[table];
    w->spare[table] = (struct pack_rows){0};
    int result;
    while ((result = emit_oldest(w, 0, err)) > 0)
        ;
    return result;
}

/* Adds up the open rows that have not been. */
static int summarize(snap_writer *w, snap_table table, snap_error *err) {
    struct pack_rows *const open = &w->open[table];
    const char **build_ids = NULL;
    char *text = NULL;
    if (table == SNAP_TABLE_MODS && open->column[SNAP_MODS_COL_BUILD_ID]) {
        const uint64_t *const length = open->column[SNAP_MODS_COL_BUILD_ID];
        build_ids = mem_alloc(open->n, sizeof *build_ids);
        text = mem_alloc(open->text_size[SNAP_MODS_COL_BUILD_ID] + open->n, 1);
        if (!build_ids || !text) {
            free(build_ids);
            free(text);
            return no_memory(w, err);
        }
        const uint8_t *from = open->text[SNAP_MODS_COL_BUILD_ID];
        char *to = text;
        for (uint32_t i = 0; i < open->n; i++) {
            if (length[i])
                memcpy(to, from, length[i]);
            to[length[i]] = 0;
            build_ids[i] = to;
            from += length[i];
            to += length[i] + 1;
        }
    }
    const uint32_t from = w->n_summarized[table];
    const uint64_t *columns[SNAP_COLUMNS_MAX];
    for (unsigned c = 0; c < SNAP_COLUMNS_MAX; c++)
        columns[c] = open->column[c] ? open->column[c] + from : NULL;
    const int result = from < open->n ? summary_add(&w->summary, table, columns, open->constant,
                                                    build_ids, open->n - from)
                                      : SNAP_OK;
    w->n_summarized[table] = open->n;
    free(build_ids);
    free(text);
    if (result == SNAP_E_LIMIT)
        return fail_at(w, err, result, table, "more domains than a summary can hold");
    return result < 0 ? no_memory(w, err) : SNAP_OK;
}

/* Makes room for n rows in all arrays of a table; small tables stay small. */
static int reserve_rows(snap_writer *w, snap_table table, uint32_t n, snap_error *err) {
    struct pack_rows *const open = &w->open[table];
    if (n <= open->capacity)
        return SNAP_OK;
    uint32_t capacity = open->capacity ? open->capacity : ROWS_LEAST;
    while (capacity < n)
        capacity *= 4;
    for (unsigned c = 1; c < SNAP_COLUMNS_MAX; c++) {
        if (!open->memory[c])
            continue;
        uint64_t *const grown = realloc(open->memory[c], capacity * sizeof *grown);
        if (!grown)
            return no_memory(w, err);
        open->memory[c] = grown;
        if (open->column[c])
            open->column[c] = grown;
    }
    open->capacity = capacity;
    return SNAP_OK;
}

/* Makes the array of a column that was one number so far, with room for the row that is being
 * added. */
static int open_column(snap_writer *w, snap_table table, unsigned column, snap_error *err) {
    struct pack_rows *const open = &w->open[table];
    if (open->column[column])
        return SNAP_OK;
    SNAP_TRY(reserve_rows(w, table, open->n + 1, err));
    if (!open->memory[column])
        open->memory[column] = mem_alloc(open->capacity, sizeof(uint64_t));
    if (!open->memory[column])
        return no_memory(w, err);
    open->column[column] = open->memory[column];
    for (uint32_t i = 0; i < open->n; i++)
        open->column[column][i] = open->constant[column];
    open->constant[column] = 0;
    return SNAP_OK;
}

static int begin(snap_writer *w, snap_error *err);

/* Closes a table's open chunk. */
static int flush(snap_writer *w, snap_table table, snap_error *err) {
    struct pack_rows *const open = &w->open[table];
    if (!open->n)
        return SNAP_OK;
    if (table != SNAP_TABLE_META)
        SNAP_TRY(begin(w, err));
    for (unsigned c = 1; c < SNAP_COLUMNS_MAX; c++) {
        if (snap_table_column(table, c).type != SNAP_COLUMN_REF)
            continue;
        uint64_t max = w->max_ref[table][c];
        max = open->constant[c] > max ? open->constant[c] : max;
        const uint64_t *const v = open->column[c];
        const int is_greater = v && (max >> 63 || !numbers_are_at_most(v, open->n, max));
        for (uint32_t i = 0; is_greater && i < open->n; i++)
            max = v[i] > max ? v[i] : max;
        w->max_ref[table][c] = max;
        if (max > SNAP_ROWS_MAX)
            return fail_at(w, err, SNAP_E_ARG, table, "a reference is no id of any row");
    }
    if (table == SNAP_TABLE_EDGE) /* the types of the last nodes are asked for */
        SNAP_TRY(summarize(w, SNAP_TABLE_NODE, err));
    SNAP_TRY(summarize(w, table, err));
    SNAP_TRY(pack(w, table, open, err));
    pack_rows_clear(open);
    w->n_summarized[table] = 0;
    return SNAP_OK;
}

/* Gives the row that is being added (index open->n) a text. */
static int add_text(snap_writer *w, snap_table table, unsigned column, const char *text,
                    size_t length, snap_error *err) {
    struct pack_rows *const open = &w->open[table];
    SNAP_TRY(reserve_rows(w, table, open->n + 1, err));
    if (!length && !open->column[column])
        return SNAP_OK;
    SNAP_TRY(open_column(w, table, column, err));
    if (mem_grow(&open->text[column], &open->text_capacity[column],
                 open->text_size[column] + length, 1) < 0)
        return no_memory(w, err);
    if (length)
        memcpy(open->text[column] + open->text_size[column], text, length);
    open->column[column][open->n] = length;
    open->text_size[column] += length;
    open->text_total += length;
    return SNAP_OK;
}

/* Could one more row of the greatest size be too much for a chunk with text? */
static int is_text_full(snap_table table, const struct pack_rows *open) {
    size_t per_row = 0, header = CHUNK_TABLE_HEADER_SIZE, n_text = 0;
    for (unsigned c = 1; c < SNAP_COLUMNS_MAX; c++) {
        const snap_column_type type = snap_table_column(table, c).type;
        if (type == SNAP_COLUMN_NONE)
            continue;
        header += SNAP_COLUMN_ENTRY_SIZE + 8;
        per_row += type == SNAP_COLUMN_BYTES ? TEXT_WIDTH_MAX : 9;
        n_text += type == SNAP_COLUMN_BYTES;
    }
    return n_text &&
           header + ((size_t)open->n + 1) * per_row + open->text_total + n_text * SNAP_BYTES_MAX >
               SNAP_CHUNK_RAW_MAX;
}

static int end_row(snap_writer *w, snap_table table, snap_error *err) {
    struct pack_rows *const open = &w->open[table];
    open->n++;
    w->n_rows[table]++;
    if (open->n == SNAP_CHUNK_ROWS_MAX || is_text_full(table, open))
        return flush(w, table, err);
    return SNAP_OK;
}

static int add_numbers(snap_writer *w, snap_table table, const uint64_t *row, snap_error *err) {
    struct pack_rows *const open = &w->open[table];
    SNAP_TRY(reserve_rows(w, table, open->n + 1, err));
    for (unsigned c = 1; c < SNAP_COLUMNS_MAX; c++) {
        const snap_column_type type = snap_table_column(table, c).type;
        if (type == SNAP_COLUMN_NONE || type == SNAP_COLUMN_BYTES)
            continue;
        if (!open->column[c] && (open->n == 0 || open->constant[c] == row[c])) {
            open->constant[c] = row[c];
            continue;
        }
        SNAP_TRY(open_column(w, table, c, err));
        open->column[c][open->n] = row[c];
    }
    return SNAP_OK;
}

static int compare_meta(const void *a, const void *b) {
    const struct meta_row *const x = a, *const y = b;
    if (x->key != y->key)
        return x->key < y->key ? -1 : 1;
    return strcmp(x->name, y->name);
}

static size_t text_length(const char *text) {
    return text ? strnlen(text, SNAP_BYTES_MAX) : 0;
}

static int put_meta(snap_writer *w, uint32_t key, const char *name, uint64_t value,
                    const char *text, snap_error *err) {
    const struct meta_row row = {
        .key = key,
        .name = arena_string(&w->arena, name, text_length(name)),
        .text = arena_string(&w->arena, text, text_length(text)),
        .value = value,
    };
    if (!row.name || !row.text)
        return no_memory(w, err);
    for (size_t i = 0; i < w->n_meta; i++)
        if (!compare_meta(&w->meta[i], &row)) {
            w->meta[i] = row;
            return SNAP_OK;
        }
    if (mem_grow(&w->meta, &w->meta_capacity, w->n_meta + 1, sizeof *w->meta) < 0)
        return no_memory(w, err);
    w->meta[w->n_meta++] = row;
    return SNAP_OK;
}

/* META has to say who wrote the file. */
static int give_writer(snap_writer *w, snap_error *err) {
    for (size_t i = 0; i < w->n_meta; i++)
        if (w->meta[i].key == SNAP_META_WRITER)
            return SNAP_OK;
    return put_meta(w, SNAP_META_WRITER, "", 0, "heapsnap", err);
}

/* Writes header and META, once. */
static int begin(snap_writer *w, snap_error *err) {
    if (w->has_begun)
        return SNAP_OK;
    SNAP_TRY(give_writer(w, err));
    w->has_begun = 1;
    uint8_t header[SNAP_HEADER_SIZE];
    w->header_hash = chunk_file_header_put(header);
    SNAP_TRY(emit(w, header, sizeof header, err));
    qsort(w->meta, w->n_meta, sizeof *w->meta, compare_meta);
    for (size_t i = 0; i < w->n_meta; i++) {
        const struct meta_row *const m = &w->meta[i];
        uint64_t row[SNAP_COLUMNS_MAX] = {0};
        row[SNAP_META_COL_KEY] = m->key;
        row[SNAP_META_COL_VALUE] = m->value;
        SNAP_TRY(add_numbers(w, SNAP_TABLE_META, row, err));
        SNAP_TRY(add_text(w, SNAP_TABLE_META, SNAP_META_COL_NAME, m->name, strlen(m->name), err));
        SNAP_TRY(add_text(w, SNAP_TABLE_META, SNAP_META_COL_TEXT, m->text, strlen(m->text), err));
        SNAP_TRY(end_row(w, SNAP_TABLE_META, err));
        if (!w->open[SNAP_TABLE_META].n && i + 1 < w->n_meta)
            return fail_at(w, err, SNAP_E_LIMIT, SNAP_TABLE_META,
                           "more metadata than a file can hold");
    }
    return flush(w, SNAP_TABLE_META, err);
}

static int open_writer(snap_writer **out, const snap_writer_options *options, snap_error *err) {
    snap_writer_options o = {0};
    if (options) {
        if (options->struct_size < sizeof options->struct_size)
            return err_set(err, SNAP_E_ARG, "struct_size of the options is not set");
        memcpy(&o, options, options->struct_size < sizeof o ? options->struct_size : sizeof o);
    }
    const int level = o.zstd_level ? o.zstd_level : ZSTD_LEVEL_DEFAULT;
    if (!packer_has_level(level))
        return err_set(err, SNAP_E_ARG, "no zstd level %d", level);
    snap_writer *const w = mem_zalloc(1, sizeof *w);
    if (!w)
        return err_set(err, SNAP_E_NOMEM, "no memory for the writer");
    w->file.fd = -1;
    w->level = level;
    w->no_sync = o.no_sync;
    w->n_threads = o.n_threads;
    w->summary_rows = o.summary_rows ? o.summary_rows : SUMMARY_ROWS_DEFAULT;
    if (w->summary_rows > SUMMARY_ROWS_MAX)
        w->summary_rows = SUMMARY_ROWS_MAX;
    summary_init(&w->summary);
    strtab_init(&w->strings);
    arena_init(&w->arena);
    if (packer_init(&w->packer, level) < 0) {
        snap_writer_close(w);
        return err_set(err, SNAP_E_NOMEM, "no memory for the writer");
    }
    *out = w;
    return SNAP_OK;
}

int snap_writer_open_file(snap_writer **out, const char *path, const snap_writer_options *options,
                          snap_error *err) {
    snap_writer *w;
    if (!out || !path || !*path)
        return err_set(err, SNAP_E_ARG, "no name for the snapshot");
    SNAP_TRY(open_writer(&w, options, err));
    w->is_file = 1;
    const int overwrite =
        options && options->struct_size >= offsetof(snap_writer_options, overwrite) + sizeof(int) &&
        options->overwrite;
    const int result = file_new_open(&w->file, path, overwrite, err);
    if (result < 0) {
        snap_writer_close(w);
        return result;
    }
    *out = w;
    return SNAP_OK;
}

int snap_writer_open_sink(snap_writer **out, snap_sink sink, void *context,
                          const snap_writer_options *options, snap_error *err) {
    snap_writer *w;
    if (!out || !sink)
        return err_set(err, SNAP_E_ARG, "no sink for the snapshot");
    SNAP_TRY(open_writer(&w, options, err));
    w->sink = sink;
    w->context = context;
    *out = w;
    return SNAP_OK;
}

static int check_open(snap_writer *w, snap_error *err) {
    if (w->failed)
        return fail(w, err, w->failed, "");
    if (w->is_finished)
        return err_set(err, SNAP_E_ARG, "the snapshot is finished");
    return SNAP_OK;
}

static int add_meta(snap_writer *w, uint32_t key, const char *name, uint64_t value,
                    const char *text, snap_error *err) {
    SNAP_TRY(check_open(w, err));
    if (w->has_rows || w->has_begun)
        return err_set(err, SNAP_E_ARG, "metadata after the first row");
    if (key == SNAP_META_UNSORTED && !*name)
        w->is_unsorted = value != 0;
    return put_meta(w, key, name, value, text, err);
}

int snap_writer_meta_number(snap_writer *w, uint32_t key, uint64_t value, snap_error *err) {
    return add_meta(w, key, "", value, "", err);
}

int snap_writer_meta_text(snap_writer *w, uint32_t key, const char *text, snap_error *err) {
    return add_meta(w, key, "", 0, text ? text : "", err);
}

int snap_writer_meta_named(snap_writer *w, uint32_t key, const char *name, uint64_t value,
                           snap_error *err) {
    return add_meta(w, key, name ? name : "", value, "", err);
}

int snap_writer_string_n(snap_writer *w, const char *text, size_t length, uint32_t *out_id,
                         snap_error *err) {
    SNAP_TRY(check_open(w, err));
    if (!text)
        length = 0;
    length = length > SNAP_BYTES_MAX ? SNAP_BYTES_MAX : length;
    length = length ? strnlen(text, length) : 0;
    int is_new;
    uint32_t id;
    if (strtab_intern(&w->strings, text, length, &id, &is_new) < 0)
        return no_memory(w, err);
    if (is_new) {
        SNAP_TRY(add_text(w, SNAP_TABLE_STRS, SNAP_STRS_COL_TEXT, text, length, err));
        SNAP_TRY(end_row(w, SNAP_TABLE_STRS, err));
    }
    *out_id = id;
    return SNAP_OK;
}

int snap_writer_string(snap_writer *w, const char *text, uint32_t *out_id, snap_error *err) {
    return snap_writer_string_n(w, text, text_length(text), out_id, err);
}

/* Whether rows [from, to) of a column of references (NULL: all `constant`), at least one, go on
 * from *last, which becomes the last of them. Numbers that are no references are found elsewhere.
 */
static int is_ascending(const uint64_t *column, uint32_t from, uint32_t to, uint64_t constant,
                        uint64_t *last) {
    uint64_t steps = (column ? column[from] : constant) - *last;
    number_pair more = {0};
    uint32_t i = from + 1;
    for (; column && i + 1 < to; i += 2)
        more |= number_pair_get(column + i) - number_pair_get(column + i - 1);
    if (column && i < to)
        steps |= column[i] - column[i - 1];
    *last = column ? column[to - 1] : constant;
    return (steps | more[0] | more[1]) >> 63 == 0;
}

/* Whether rows of NODE are of the last row's domain and birth, and go on from its address: the
 * order of most, without a look at all three of each. If so, the last of them is the last row. */
static int are_ascending_nodes(snap_writer *w, uint32_t from, uint32_t to) {
    const struct pack_rows *const open = &w->open[SNAP_TABLE_NODE];
    const uint64_t *const address = open->column[SNAP_NODE_COL_ADDRESS];
    uint64_t last = w->last_node[1];
    if (!address || (numbers_bits(address + from, to - from) | last) >> 63 ||
        open->column[SNAP_NODE_COL_DOMAIN] || open->column[SNAP_NODE_COL_BIRTH] ||
        open->constant[SNAP_NODE_COL_DOMAIN] != w->last_node[0] ||
        open->constant[SNAP_NODE_COL_BIRTH] != w->last_node[2] ||
        !is_ascending(address, from, to, 0, &last))
        return 0;
    w->last_node[1] = last;
    return 1;
}

/* Checks of the rows [from, open->n) that were just copied in: what the format demands of their
 * order. */
static int check_rows(snap_writer *w, snap_table table, uint32_t from, uint32_t to,
                      snap_error *err) {
    const struct pack_rows *const open = &w->open[table];
    uint64_t *const *const column = open->column;
#define VALUE(c, i) (column[c] ? column[c][i] : open->constant[c])
    switch (table) {
    case SNAP_TABLE_NODE:
        if (w->is_unsorted || are_ascending_nodes(w, from, to))
            return SNAP_OK;
        for (uint32_t i = from; i < to; i++) {
            const uint64_t key[3] = {VALUE(SNAP_NODE_COL_DOMAIN, i),
                                     VALUE(SNAP_NODE_COL_ADDRESS, i),
                                     VALUE(SNAP_NODE_COL_BIRTH, i)};
            const uint64_t *const last = w->last_node;
            if (key[0] < last[0] || (key[0] == last[0] &&
                                     (key[1] < last[1] || (key[1] == last[1] && key[2] < last[2]))))
                return fail_at(w, err, SNAP_E_ARG, table,
                               "nodes are not in order and the key 'unsorted' is not set");
            memcpy(w->last_node, key, sizeof key);
        }
        return SNAP_OK;
    case SNAP_TABLE_EDGE:
        if (!is_ascending(column[SNAP_EDGE_COL_SOURCE], from, to,
                          open->constant[SNAP_EDGE_COL_SOURCE], &w->last_edge_source))
            return fail_at(w, err, SNAP_E_ARG, table, "edges are not in the order of sources");
        return SNAP_OK;
    case SNAP_TABLE_SYMB:
        for (uint32_t i = from; i < to; i++) {
            const uint64_t frame = VALUE(SNAP_SYMB_COL_FRAME, i);
            const uint64_t depth = VALUE(SNAP_SYMB_COL_DEPTH, i);
            const int is_first = !w->n_rows[table] && i == from;
            if (!is_first && (frame < w->last_symbol[0] ||
                              (frame == w->last_symbol[0] && depth <= w->last_symbol[1])))
                return fail_at(w, err, SNAP_E_ARG, table,
                               "symbols are not in the order of frames and depths");
            w->last_symbol[0] = frame;
            w->last_symbol[1] = depth;
        }
        return SNAP_OK;
    case SNAP_TABLE_REGN:
        for (uint32_t i = from; i < to; i++) {
            const uint64_t address = VALUE(SNAP_REGN_COL_ADDRESS, i);
            if (address < w->last_region)
                return fail_at(w, err, SNAP_E_ARG, table, "regions are not in order");
            w->last_region = address;
        }
        return SNAP_OK;
    case SNAP_TABLE_STAK:
        for (uint32_t i = from; i < to; i++)
            if (VALUE(SNAP_STAK_COL_PARENT, i) > w->n_rows[table] + (i - from))
                return fail_at(w, err, SNAP_E_ARG, table, "a stack comes before its parent");
        return SNAP_OK;
    default: return SNAP_OK;
    }
#undef VALUE
}

static int check_table(snap_writer *w, snap_table table, size_t n, snap_error *err) {
    SNAP_TRY(check_open(w, err));
    if ((unsigned)table >= SNAP_TABLE_SUMM || table == SNAP_TABLE_META || table == SNAP_TABLE_STRS)
        return err_set(err, SNAP_E_ARG, "rows of this table are not the caller's");
    if (n > SNAP_ROWS_MAX - w->n_rows[table])
        return fail_at(w, err, SNAP_E_LIMIT, table, "more rows than a table can hold");
    w->has_rows = 1;
    return SNAP_OK;
}

/* Adds a row whose text columns have been given. */
static int add_row(snap_writer *w, snap_table table, const uint64_t *row, uint64_t *out_id,
                   snap_error *err) {
    const uint32_t at = w->open[table].n;
    SNAP_TRY(add_numbers(w, table, row, err));
    SNAP_TRY(check_rows(w, table, at, at + 1, err));
    SNAP_TRY(end_row(w, table, err));
    if (out_id)
        *out_id = w->n_rows[table];
    return SNAP_OK;
}

int snap_writer_row(snap_writer *w, snap_table table, const uint64_t *row, uint64_t *out_id,
                    snap_error *err) {
    SNAP_TRY(check_table(w, table, 1, err));
    if (table == SNAP_TABLE_MODS)
        return snap_writer_module_row(w, row, NULL, out_id, err);
    return add_row(w, table, row, out_id, err);
}

int snap_writer_module_row(snap_writer *w, const uint64_t *row, const char *build_id,
                           uint64_t *out_id, snap_error *err) {
    SNAP_TRY(check_table(w, SNAP_TABLE_MODS, 1, err));
    SNAP_TRY(
        add_text(w, SNAP_TABLE_MODS, SNAP_MODS_COL_BUILD_ID, build_id, text_length(build_id), err));
    return add_row(w, SNAP_TABLE_MODS, row, out_id, err);
}

int snap_writer_module(snap_writer *w, const char *path, const char *build_id, uint64_t start,
                       uint64_t end, uint64_t bias, uint64_t flags, uint64_t *out_id,
                       snap_error *err) {
    uint32_t path_id;
    SNAP_TRY(snap_writer_string(w, path, &path_id, err));
    uint64_t row[SNAP_COLUMNS_MAX] = {0};
    row[SNAP_MODS_COL_PATH] = path_id;
    row[SNAP_MODS_COL_START] = start;
    row[SNAP_MODS_COL_END] = end;
    row[SNAP_MODS_COL_BIAS] = bias;
    row[SNAP_MODS_COL_FLAGS] = flags;
    return snap_writer_module_row(w, row, build_id, out_id, err);
}

int snap_writer_rows(snap_writer *w, snap_table table, const uint64_t *const *columns, size_t n,
                     uint64_t *out_first_id, snap_error *err) {
    SNAP_TRY(check_table(w, table, n, err));
    if (table == SNAP_TABLE_MODS)
        return err_set(err, SNAP_E_ARG, "modules are added one by one");
    struct pack_rows *const open = &w->open[table];
    const uint64_t first_id = w->n_rows[table] + 1;
    for (size_t done = 0; done < n;) {
        size_t part = SNAP_CHUNK_ROWS_MAX - open->n;
        if (part > n - done)
            part = n - done;
        SNAP_TRY(reserve_rows(w, table, open->n + (uint32_t)part, err));
        for (unsigned c = 1; c < SNAP_COLUMNS_MAX; c++) {
            if (snap_table_column(table, c).type == SNAP_COLUMN_NONE)
                continue;
            const uint64_t *const v = columns[c] ? columns[c] + done : NULL;
            const uint64_t first = v ? v[0] : 0;
            if (!open->column[c] && (open->n == 0 || open->constant[c] == first) &&
                (!v || numbers_are_one(v, part))) {
                open->constant[c] = first;
                continue;
            }
            SNAP_TRY(open_column(w, table, c, err));
            if (v)
                memcpy(open->column[c] + open->n, v, part * sizeof(uint64_t));
            else
                memset(open->column[c] + open->n, 0, part * sizeof(uint64_t));
        }
        SNAP_TRY(check_rows(w, table, open->n, open->n + (uint32_t)part, err));
        open->n += (uint32_t)part;
        w->n_rows[table] += part;
        done += part;
        if (open->n == SNAP_CHUNK_ROWS_MAX)
            SNAP_TRY(flush(w, table, err));
    }
    if (out_first_id)
        *out_first_id = first_id;
    return SNAP_OK;
}

static int check_references(snap_writer *w, snap_error *err) {
    for (unsigned t = 0; t < SNAP_N_TABLES; t++)
        for (unsigned c = 1; c < SNAP_COLUMNS_MAX; c++) {
            const snap_column_info info = snap_table_column((snap_table)t, c);
            if (info.type == SNAP_COLUMN_REF && w->max_ref[t][c] > w->n_rows[info.target])
                return fail_at(w, err, SNAP_E_ARG, (snap_table)t,
                               "a reference is to a row that was never written");
        }
    return SNAP_OK;
}

static const char *string_text(void *context, uint64_t id, size_t *out_length) {
    return strtab_text(context, (uint32_t)id, out_length);
}

static int write_summary(snap_writer *w, snap_error *err) {
    struct summary_row *rows;
    size_t n;
    if (summary_build(&w->summary, string_text, &w->strings, w->summary_rows, &rows, &n) < 0)
        return no_memory(w, err);
    for (size_t i = 0; i < n; i++) {
        uint64_t row[SNAP_COLUMNS_MAX] = {0};
        row[SNAP_SUMM_COL_KIND] = rows[i].kind;
        row[SNAP_SUMM_COL_DOMAIN] = rows[i].domain;
        row[SNAP_SUMM_COL_KEY] = rows[i].key;
        row[SNAP_SUMM_COL_KEY2] = rows[i].key2;
        row[SNAP_SUMM_COL_COUNT] = rows[i].count;
        row[SNAP_SUMM_COL_BYTES] = rows[i].bytes;
        row[SNAP_SUMM_COL_CACHED] = rows[i].cached;
        SNAP_TRY(add_numbers(w, SNAP_TABLE_SUMM, row, err));
        SNAP_TRY(add_text(w, SNAP_TABLE_SUMM, SNAP_SUMM_COL_LABEL, rows[i].label,
                          rows[i].label_length, err));
        w->open[SNAP_TABLE_SUMM].n++;
    }
    return flush(w, SNAP_TABLE_SUMM, err);
}

static int write_toc(snap_writer *w, snap_error *err) {
    const uint64_t toc_offset = w->bytes;
    for (size_t i = 0; i < w->n_toc; i++) {
        const struct toc_row *const r = &w->toc[i];
        uint64_t row[SNAP_COLUMNS_MAX] = {0};
        row[SNAP_TOCC_COL_ID] = r->id;
        row[SNAP_TOCC_COL_OFFSET] = r->offset;
        row[SNAP_TOCC_COL_STORED_SIZE] = r->stored_size;
        row[SNAP_TOCC_COL_RAW_SIZE] = r->raw_size;
        row[SNAP_TOCC_COL_N_ROWS] = r->n_rows;
        SNAP_TRY(add_numbers(w, SNAP_TABLE_TOCC, row, err));
        w->open[SNAP_TABLE_TOCC].n++;
    }
    SNAP_TRY(flush(w, SNAP_TABLE_TOCC, err));
    uint8_t footer[SNAP_FOOTER_SIZE];
    chunk_footer_put(footer, w->header_hash, toc_offset, w->bytes + SNAP_FOOTER_SIZE);
    return emit(w, footer, sizeof footer, err);
}

int snap_writer_finish(snap_writer *w, snap_error *err) {
    SNAP_TRY(check_open(w, err));
    SNAP_TRY(begin(w, err));
    for (unsigned t = SNAP_TABLE_STRS; t < SNAP_TABLE_SUMM; t++)
        SNAP_TRY(flush(w, (snap_table)t, err));
    SNAP_TRY(drain(w, err));
    SNAP_TRY(check_references(w, err));
    SNAP_TRY(write_summary(w, err));
    SNAP_TRY(write_toc(w, err));
    if (w->is_file) {
        const int result = file_new_commit(&w->file, w->no_sync, &w->error);
        if (result < 0) {
            w->failed = result;
            return fail(w, err, result, "");
        }
    }
    w->is_finished = 1;
    return SNAP_OK;
}

uint64_t snap_writer_bytes(const snap_writer *w) {
    return w->bytes;
}

void snap_writer_close(snap_writer *w) {
    if (!w)
        return;
    if (w->is_file)
        file_new_close(&w->file);
    packline_free(w->line);
    for (unsigned t = 0; t < SNAP_N_TABLES; t++) {
        pack_rows_release(&w->open[t]);
        pack_rows_release(&w->spare[t]);
    }
    summary_release(&w->summary);
    strtab_release(&w->strings);
    arena_release(&w->arena);
    packer_release(&w->packer);
    pack_chunks_release(&w->chunks);
    free(w->meta);
    free(w->toc);
    free(w);
}
