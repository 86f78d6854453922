/* The reader: header, footer and table of contents at opening, chunks when asked for.
 *
 * Nothing that a file says is believed: sizes are compared with the bytes that are left and the
 * limits of the format before they are used, references with the rows of their table when a column
 * is decoded. So code behind snap_batch_read may index with them. Does not judge what concerns
 * several chunks; that is verify.c's. */
#include "codec/snapread.h"
#include "base/bytes.h"
#include "base/err.h"
#include "codec/stackkey.h"

#include <stdlib.h>
#include <string.h>

#define MAX_MEMORY_DEFAULT ((uint64_t)8 << 30)
#define STACK_WALK_MAX 4096
#define FORGET_MIN ((uint64_t)32 << 10)
#define FRAME_WINDOW_MAX ((uint64_t)8 << 20)

/* The values of columns that a chunk does not have. */
static const uint64_t *zeros(void) {
    static uint64_t rows[SNAP_CHUNK_ROWS_MAX];
    return rows;
}

static int corrupt(snap_error *err, uint32_t id, uint64_t offset, const char *what) {
    return err_set_at(err, SNAP_E_CORRUPT, id, offset, "%s chunk at offset %llu: %s",
                      chunk_name(id).text, (unsigned long long)offset, what);
}

static int unsupported(snap_error *err, uint32_t id, uint64_t offset, const char *what) {
    return err_set_at(err, SNAP_E_UNSUPPORTED, id, offset, "%s chunk at offset %llu: %s",
                      chunk_name(id).text, (unsigned long long)offset, what);
}

static int no_memory(snap_error *err) {
    return err_set(err, SNAP_E_NOMEM, "no memory to read the snapshot");
}

int read_chunk_header(const snap_snapshot *s, const struct read_chunk *c, struct chunk_header *out,
                      const uint8_t **out_payload, snap_error *err) {
    const uint64_t end = c->end;
    if (c->offset > end || end - c->offset < SNAP_CHUNK_HEADER_SIZE)
        return corrupt(err, c->id, c->offset, "its header does not fit the file");
    const uint8_t *const header = s->data + c->offset;
    *out = chunk_header_get(header);
    if (out->raw_size > SNAP_CHUNK_RAW_MAX || out->stored_size > out->raw_size ||
        out->stored_size > end - c->offset - SNAP_CHUNK_HEADER_SIZE)
        return corrupt(err, c->id, c->offset, "its size is out of bounds");
    *out_payload = header + SNAP_CHUNK_HEADER_SIZE;
    if (chunk_hash(header, *out_payload, out->stored_size) != out->hash)
        return corrupt(err, c->id, c->offset, "its hash does not match its bytes");
    if (out->id != c->id || out->raw_size != c->raw_size || out->stored_size != c->stored_size)
        return corrupt(err, c->id, c->offset, "the table of contents says otherwise");
    return SNAP_OK;
}

/* What the format demands of a zstd frame (RFC 8878, section 3.1.1.1), beyond what decompression
 * finds: NULL, or what is wrong. */
static const char *check_frame(const uint8_t *frame, size_t size, uint64_t raw_size) {
    if (size < 6 || get_u32(frame) != ZSTD_MAGICNUMBER)
        return "its payload is no zstd frame";
    const unsigned descriptor = frame[4], is_single = descriptor >> 5 & 1;
    if (!is_single) {
        const uint64_t base = (uint64_t)1 << (10 + (frame[5] >> 3));
        if (base + base / 8 * (frame[5] & 7) > FRAME_WINDOW_MAX)
            return "its zstd frame needs a larger window than the format allows";
    }
    if (ZSTD_getDictID_fromFrame(frame, size))
        return "its zstd frame needs a dictionary";
    if ((!is_single && !(descriptor >> 6)) || ZSTD_getFrameContentSize(frame, size) != raw_size ||
        ZSTD_findFrameCompressedSize(frame, size) != size)
        return "its zstd frame has another size";
    return NULL;
}

/* The chunk's payload, decompressed into the batch if need be. */
static int read_payload(const snap_snapshot *s, const struct read_chunk *c, struct batch_state *b,
                        const uint8_t **out, size_t *out_size, snap_error *err) {
    struct chunk_header h;
    const uint8_t *stored;
    SNAP_TRY(read_chunk_header(s, c, &h, &stored, err));
    if (h.codec > SNAP_CODEC_ZSTD)
        return unsupported(err, c->id, c->offset, "an unknown codec");
    if (h.layout != SNAP_LAYOUT_TABLE)
        return unsupported(err, c->id, c->offset, "an unknown layout");
    if (h.reserved)
        return unsupported(err, c->id, c->offset, "a reserved field is not zero");
    *out_size = h.raw_size;
    if (h.codec == SNAP_CODEC_RAW) {
        if (h.raw_size != h.stored_size)
            return corrupt(err, c->id, c->offset, "stored as it is with two sizes");
        *out = stored;
        return SNAP_OK;
    }
    const char *const wrong = check_frame(stored, h.stored_size, h.raw_size);
    if (wrong)
        return corrupt(err, c->id, c->offset, wrong);
    if (mem_grow(&b->raw, &b->raw_capacity, h.raw_size, 1) < 0)
        return no_memory(err);
    if (!b->zstd && !(b->zstd = ZSTD_createDCtx()))
        return no_memory(err);
    if (ZSTD_decompressDCtx(b->zstd, b->raw, h.raw_size, stored, h.stored_size) != h.raw_size)
        return corrupt(err, c->id, c->offset, "its zstd frame is damaged");
    /* Else all of the file would count as memory when its last chunk has been read. */
    if (h.stored_size >= FORGET_MIN)
        file_view_forget(&s->view, stored, h.stored_size);
    *out = b->raw;
    return SNAP_OK;
}

void snap_batch_init(snap_batch *b) {
    *b = (snap_batch){0};
}

void snap_batch_release(snap_batch *b) {
    struct batch_state *const state = b->internal;
    if (state) {
        ZSTD_freeDCtx(state->zstd);
        column_scratch_release(&state->scratch);
        free(state->raw);
        for (unsigned c = 0; c < SNAP_COLUMNS_MAX; c++) {
            free(state->column[c]);
            free(state->text_offset[c]);
        }
        free(state);
    }
    snap_batch_init(b);
}

static struct batch_state *batch_state(snap_batch *b) {
    if (!b->internal)
        b->internal = mem_zalloc(1, sizeof(struct batch_state));
    struct batch_state *const state = b->internal;
    return state && column_scratch_init(&state->scratch) == 0 ? state : NULL;
}

/* Makes sure that arrays made from now on have room for n rows; small ones go. */
static void reserve_rows(struct batch_state *b, uint32_t n) {
    if (n <= b->capacity)
        return;
    uint32_t capacity = 256;
    while (capacity < n)
        capacity *= 4;
    b->capacity = capacity;
    for (unsigned c = 0; c < SNAP_COLUMNS_MAX; c++) {
        free(b->column[c]);
        free(b->text_offset[c]);
        b->column[c] = NULL;
        b->text_offset[c] = NULL;
    }
}

/* A column of texts: offsets into the payload. */
static int decode_text(struct batch_state *b, unsigned column, const struct chunk_column *e,
                       const uint8_t *src, uint32_t n) {
    if (e->width > 8 || e->size < (uint64_t)n * e->width)
        return SNAP_E_CORRUPT;
    if (!b->text_offset[column] &&
        !(b->text_offset[column] = mem_alloc(b->capacity + 1, sizeof(uint32_t))))
        return SNAP_E_NOMEM;
    column_planes_get(b->scratch.lengths, src, n, e->width);
    const uint32_t text_size = e->size - n * e->width;
    const uint8_t *const text = src + (size_t)n * e->width;
    uint32_t at = 0;
    for (uint32_t i = 0; i < n; i++) {
        const uint64_t length = b->scratch.lengths[i];
        if (length > SNAP_BYTES_MAX || length > text_size - at)
            return SNAP_E_CORRUPT;
        b->text_offset[column][i] = at;
        at += (uint32_t)length;
    }
    b->text_offset[column][n] = at;
    if (at != text_size || memchr(text, 0, text_size))
        return SNAP_E_CORRUPT;
    b->text[column] = text;
    return SNAP_OK;
}

/* Where the columns of a payload are. */
struct directory {
    uint32_t n_rows;
    struct chunk_column entry[SNAP_COLUMNS_MAX];
    const uint8_t *data[SNAP_COLUMNS_MAX]; /* NULL: absent */
};

static int read_directory(const struct read_chunk *c, const uint8_t *payload, size_t size,
                          struct directory *d, snap_error *err) {
    *d = (struct directory){0};
    if (size < CHUNK_TABLE_HEADER_SIZE)
        return corrupt(err, c->id, c->offset, "too short for a table");
    d->n_rows = get_u32(payload);
    const size_t n_columns = get_u16(payload + 4);
    if (!d->n_rows || d->n_rows > SNAP_CHUNK_ROWS_MAX)
        return corrupt(err, c->id, c->offset, "its number of rows is out of bounds");
    if (get_u16(payload + 6))
        return unsupported(err, c->id, c->offset, "a reserved field is not zero");
    if (n_columns * SNAP_COLUMN_ENTRY_SIZE > size - CHUNK_TABLE_HEADER_SIZE)
        return corrupt(err, c->id, c->offset, "its columns do not fit");
    const uint8_t *entry = payload + CHUNK_TABLE_HEADER_SIZE;
    const uint8_t *data = entry + n_columns * SNAP_COLUMN_ENTRY_SIZE;
    size_t left = size - (size_t)(data - payload);
    int last_id = -1;
    uint64_t sum = 0;
    for (size_t i = 0; i < n_columns; i++) {
        const struct chunk_column e = chunk_column_get(entry + i * SNAP_COLUMN_ENTRY_SIZE);
        if (e.id <= last_id)
            return corrupt(err, c->id, c->offset, "its columns are not in order");
        last_id = e.id;
        sum += e.size;
    }
    if (sum != left)
        return corrupt(err, c->id, c->offset, "the sizes of its columns do not add up");
    for (size_t i = 0; i < n_columns; i++) {
        const struct chunk_column e = chunk_column_get(entry + i * SNAP_COLUMN_ENTRY_SIZE);
        const snap_column_type type = snap_table_column(c->table, e.id).type;
        if (type == SNAP_COLUMN_NONE) {
            if (e.id < SNAP_COLUMN_ANCILLARY)
                return unsupported(err, c->id, c->offset, "an unknown column");
        } else if (e.encoding > SNAP_ENC_KEYED) {
            return unsupported(err, c->id, c->offset, "an unknown encoding");
        } else if (!e.encoding || (type == SNAP_COLUMN_BYTES) != (e.encoding == SNAP_ENC_BYTES)) {
            return corrupt(err, c->id, c->offset, "a column has an encoding of another type");
        } else {
            d->entry[e.id] = e;
            d->data[e.id] = data;
        }
        data += e.size;
    }
    return SNAP_OK;
}

/* The key column that a column needs; 0 if it is not KEYED. */
static int key_of(const struct read_chunk *c, const struct directory *d, unsigned column,
                  unsigned *out, snap_error *err) {
    *out = 0;
    if (!d->data[column] || d->entry[column].encoding != SNAP_ENC_KEYED)
        return SNAP_OK;
    unsigned key;
    const int result = column_key_column(d->data[column], d->entry[column].size, &key);
    if (result == SNAP_E_UNSUPPORTED)
        return unsupported(err, c->id, c->offset, "a reserved field is not zero");
    const snap_column_type type =
        result < 0 ? SNAP_COLUMN_NONE : snap_table_column(c->table, key).type;
    if ((type != SNAP_COLUMN_NUMBER && type != SNAP_COLUMN_REF) || key >= column ||
        (d->data[key] && d->entry[key].encoding == SNAP_ENC_KEYED))
        return corrupt(err, c->id, c->offset, "a column is keyed by what cannot be a key");
    *out = key;
    return SNAP_OK;
}

static int decode_column(const struct read_chunk *c, const struct directory *d,
                         struct batch_state *b, unsigned column, const uint64_t *key,
                         snap_error *err) {
    const snap_column_info info = snap_table_column(c->table, column);
    const struct chunk_column *const e = &d->entry[column];
    int result;
    if (info.type == SNAP_COLUMN_BYTES) {
        result = decode_text(b, column, e, d->data[column], d->n_rows);
    } else {
        if (!b->column[column] && !(b->column[column] = mem_alloc(b->capacity, sizeof(uint64_t))))
            return no_memory(err);
        result = column_decode(&b->scratch, e->encoding, e->width, d->data[column], e->size,
                               d->n_rows, key, b->column[column]);
    }
    if (result == SNAP_E_NOMEM)
        return no_memory(err);
    if (result == SNAP_E_UNSUPPORTED)
        return unsupported(err, c->id, c->offset, "a reserved field is not zero");
    if (result < 0)
        return err_set_at(err, result, c->id, c->offset,
                          "%s chunk at offset %llu: column '%s' does not decode",
                          chunk_name(c->id).text, (unsigned long long)c->offset, info.name);
    return SNAP_OK;
}

/* Of a salvaged file: references to rows that are gone become none. */
static void drop_references(const snap_snapshot *s, const struct read_chunk *c, unsigned column,
                            uint64_t *v, uint32_t n) {
    const int is_parent = c->table == SNAP_TABLE_STAK && column == SNAP_STAK_COL_PARENT;
    const uint64_t max = s->n_rows[snap_table_column(c->table, column).target];
    for (uint32_t i = 0; i < n; i++)
        if (v[i] > max || (is_parent && v[i] >= c->first_id + i))
            v[i] = 0;
}

static int check_references(const snap_snapshot *s, const struct read_chunk *c, unsigned column,
                            const uint64_t *v, uint32_t n, snap_error *err) {
    const snap_column_info info = snap_table_column(c->table, column);
    uint64_t late = 0;
    if (c->table == SNAP_TABLE_STAK && column == SNAP_STAK_COL_PARENT)
        for (uint32_t i = 0; i < n; i++)
            late |= v[i] >= c->first_id + i;
    if (!numbers_are_at_most(v, n, s->n_rows[info.target]) || late)
        return err_set_at(err, SNAP_E_CORRUPT, c->id, c->offset,
                          "%s chunk at offset %llu: column '%s' refers to no row",
                          chunk_name(c->id).text, (unsigned long long)c->offset, info.name);
    return SNAP_OK;
}

int read_chunk(const snap_snapshot *s, const struct read_chunk *c, uint32_t columns, snap_batch *b,
               snap_error *err) {
    struct batch_state *const state = batch_state(b);
    if (!state)
        return no_memory(err);
    const uint8_t *payload;
    size_t size;
    struct directory d;
    memset(b->column, 0, sizeof b->column);
    memset(state->text, 0, sizeof state->text);
    b->n_rows = 0;
    SNAP_TRY(read_payload(s, c, state, &payload, &size, err));
    SNAP_TRY(read_directory(c, payload, size, &d, err));
    reserve_rows(state, d.n_rows);
    uint32_t wanted = columns;
    for (unsigned column = 1; column < SNAP_COLUMNS_MAX; column++) {
        unsigned key;
        /* What is wrong with a key is reported in the column's turn, below. */
        if (columns >> column & 1 && key_of(c, &d, column, &key, NULL) == SNAP_OK)
            wanted |= 1u << key;
    }
    for (unsigned column = 1; column < SNAP_COLUMNS_MAX; column++) {
        if (!(wanted >> column & 1))
            continue;
        if (d.data[column]) {
            unsigned key;
            SNAP_TRY(key_of(c, &d, column, &key, err));
            SNAP_TRY(decode_column(c, &d, state, column, key ? b->column[key] : NULL, err));
            b->column[column] = state->column[column];
        } else {
            b->column[column] = zeros();
        }
        if (snap_table_column(c->table, column).type == SNAP_COLUMN_BYTES)
            b->column[column] = NULL;
    }
    if (c->n_rows != d.n_rows)
        return corrupt(err, c->id, c->offset, "the table of contents has another number of rows");
    for (unsigned column = 1; column < SNAP_COLUMNS_MAX; column++)
        if (wanted >> column & 1 && d.data[column] &&
            snap_table_column(c->table, column).type == SNAP_COLUMN_REF) {
            if (s->is_salvaged)
                drop_references(s, c, column, state->column[column], d.n_rows);
            SNAP_TRY(check_references(s, c, column, b->column[column], d.n_rows, err));
        }
    b->first_id = c->first_id;
    b->n_rows = state->n_rows = d.n_rows;
    return SNAP_OK;
}

int snap_batch_read(const snap_snapshot *s, snap_table table, uint32_t index, uint32_t columns,
                    snap_batch *b, snap_error *err) {
    if ((unsigned)table >= SNAP_N_TABLES || index >= s->n_table_chunks[table])
        return err_set(err, SNAP_E_ARG, "no such chunk");
    return read_chunk(s, &s->chunks[s->table_chunks[table][index]], columns, b, err);
}

const char *snap_batch_bytes(const snap_batch *b, unsigned column, uint32_t row,
                             size_t *out_length) {
    const struct batch_state *const state = b->internal;
    if (!state || column >= SNAP_COLUMNS_MAX || row >= b->n_rows || !state->text[column]) {
        *out_length = 0;
        return "";
    }
    const uint32_t *const offset = state->text_offset[column];
    *out_length = offset[row + 1] - offset[row];
    return (const char *)state->text[column] + offset[row];
}

static int read_file_header(snap_snapshot *s, uint32_t *out_size, snap_error *err) {
    const uint8_t *const h = s->data;
    if (s->size < SNAP_MAGIC_SIZE || memcmp(h, SNAP_MAGIC, SNAP_MAGIC_SIZE))
        return err_set(err, SNAP_E_FORMAT, "'%s' is not a .snap file", s->path);
    if (s->size < SNAP_HEADER_SIZE)
        return err_set_at(err, SNAP_E_CORRUPT, 0, 56, "the file ends within its header");
    s->header_hash = get_u64(h + 56);
    if (chunk_file_header_hash(h) != s->header_hash)
        return err_set_at(err, SNAP_E_CORRUPT, 0, 56, "the header's hash does not match its bytes");
    if (get_u16(h + 12) != SNAP_VERSION_MAJOR)
        return err_set_at(err, SNAP_E_UNSUPPORTED, 0, 12, "version %u of the format",
                          get_u16(h + 12));
    if (get_u64(h + 16))
        return err_set_at(err, SNAP_E_UNSUPPORTED, 0, 16, "unknown features %#llx",
                          (unsigned long long)get_u64(h + 16));
    if (get_u64(h + 32) || get_u64(h + 40) || get_u64(h + 48))
        return err_set_at(err, SNAP_E_UNSUPPORTED, 0, 32,
                          "a reserved field of the header is not zero");
    *out_size = get_u32(h + 8);
    if (*out_size < SNAP_HEADER_SIZE || *out_size > SNAP_HEADER_SIZE_MAX || *out_size % 8 ||
        *out_size > s->size)
        return err_set_at(err, SNAP_E_CORRUPT, 0, 8, "the header's size is out of bounds");
    return SNAP_OK;
}

static int read_footer(const snap_snapshot *s, uint32_t header_size, uint64_t *out_toc,
                       snap_error *err) {
    if (s->size < header_size + SNAP_FOOTER_SIZE)
        return err_set_at(err, SNAP_E_CORRUPT, 0, s->size - 8, "the file is truncated");
    const uint64_t at = s->size - SNAP_FOOTER_SIZE;
    const uint8_t *const f = s->data + at;
    if (memcmp(f + 24, SNAP_END_MAGIC, SNAP_MAGIC_SIZE))
        return err_set_at(err, SNAP_E_CORRUPT, 0, at + 24,
                          "the file is truncated: it does not end with a footer");
    if (chunk_footer_hash(f, s->header_hash) != get_u64(f + 16))
        return err_set_at(err, SNAP_E_CORRUPT, 0, at + 16,
                          "the footer's hash does not match its bytes");
    if (get_u64(f + 8) != s->size)
        return err_set_at(err, SNAP_E_CORRUPT, 0, at + 8,
                          "the file's size is not the one that its footer states");
    *out_toc = get_u64(f);
    if (*out_toc < header_size || *out_toc > at || at - *out_toc < SNAP_CHUNK_HEADER_SIZE)
        return err_set_at(err, SNAP_E_CORRUPT, 0, at, "the table of contents is out of bounds");
    return SNAP_OK;
}

static int is_id(uint64_t id) {
    for (unsigned i = 0; i < 4; i++) {
        const unsigned letter = id >> 8 * i & 0xdf;
        if (letter < 'A' || letter > 'Z')
            return 0;
    }
    return id >> 32 == 0;
}

/* Makes the lists of each table's chunks from the first n chunks. */
static int index_chunks(snap_snapshot *s, uint32_t n, const uint32_t n_of_table[SNAP_N_TABLES],
                        uint64_t toc_offset, snap_error *err) {
    for (unsigned t = 0; t < SNAP_N_TABLES; t++)
        if (s->n_rows[t] > SNAP_ROWS_MAX)
            return corrupt(err, SNAP_ID_TOCC, toc_offset, "more rows than a table can hold");
    for (unsigned t = 0; t < SNAP_N_TABLES; t++) {
        s->table_chunks[t] = arena_alloc(&s->arena, (n_of_table[t] + 1) * sizeof(uint32_t));
        if (!s->table_chunks[t])
            return no_memory(err);
    }
    for (uint32_t i = 0; i < n; i++) {
        const snap_table table = s->chunks[i].table;
        if (table != SNAP_N_TABLES && !s->chunks[i].is_lost)
            s->table_chunks[table][s->n_table_chunks[table]++] = i;
    }
    return SNAP_OK;
}

/* Takes over the rows of TOCC, which are in b, and checks that they cover the file. */
static int take_toc(snap_snapshot *s, const snap_batch *b, uint64_t header_size,
                    uint64_t toc_offset, snap_error *err) {
    uint64_t at = header_size;
    uint32_t n_of_table[SNAP_N_TABLES] = {0};
    for (uint32_t i = 0; i < b->n_rows; i++) {
        const uint64_t id = b->column[SNAP_TOCC_COL_ID][i];
        const uint64_t stored = b->column[SNAP_TOCC_COL_STORED_SIZE][i];
        const uint64_t raw = b->column[SNAP_TOCC_COL_RAW_SIZE][i];
        const uint64_t n_rows = b->column[SNAP_TOCC_COL_N_ROWS][i];
        if (b->column[SNAP_TOCC_COL_OFFSET][i] != at)
            return corrupt(err, SNAP_ID_TOCC, toc_offset, "a chunk does not start where one ends");
        if (raw > SNAP_CHUNK_RAW_MAX || stored > raw ||
            toc_offset - at < SNAP_CHUNK_HEADER_SIZE + stored)
            return corrupt(err, SNAP_ID_TOCC, toc_offset, "the size of a chunk is out of bounds");
        if (!is_id(id))
            return corrupt(err, SNAP_ID_TOCC, toc_offset, "an id is not four letters");
        const snap_table table = snap_table_of_id((uint32_t)id);
        const int is_known = table != SNAP_N_TABLES;
        if ((table == SNAP_TABLE_META) != (i == 0) || table == SNAP_TABLE_TOCC ||
            (table == SNAP_TABLE_SUMM && i + 1 != b->n_rows))
            return corrupt(err, SNAP_ID_TOCC, toc_offset, "a chunk is out of its place");
        if (!is_known && (id & 0xff) <= 'Z')
            return unsupported(err, (uint32_t)id, at, "an unknown critical chunk");
        if (is_known ? !n_rows || n_rows > SNAP_CHUNK_ROWS_MAX : n_rows != 0)
            return corrupt(err, SNAP_ID_TOCC, toc_offset, "a number of rows is out of bounds");
        s->chunks[i] = (struct read_chunk){.id = (uint32_t)id,
                                           .table = table,
                                           .n_rows = (uint32_t)n_rows,
                                           .offset = at,
                                           .end = toc_offset,
                                           .stored_size = stored,
                                           .raw_size = raw};
        if (is_known) {
            s->chunks[i].first_id = s->n_rows[table] + 1;
            s->n_rows[table] += n_rows;
            n_of_table[table]++;
        }
        at += SNAP_CHUNK_HEADER_SIZE + stored;
    }
    if (s->chunks[b->n_rows - 1].table != SNAP_TABLE_SUMM || at != toc_offset)
        return corrupt(err, SNAP_ID_TOCC, toc_offset, "it does not cover the file");
    return index_chunks(s, b->n_rows, n_of_table, toc_offset, err);
}

static int read_toc(snap_snapshot *s, uint32_t header_size, uint64_t toc_offset, snap_error *err) {
    const uint64_t end = s->size - SNAP_FOOTER_SIZE;
    struct read_chunk toc = {.id = SNAP_ID_TOCC,
                             .table = SNAP_TABLE_TOCC,
                             .offset = toc_offset,
                             .end = end,
                             .first_id = 1};
    const struct chunk_header h = chunk_header_get(s->data + toc_offset);
    toc.raw_size = h.raw_size;
    toc.stored_size = h.stored_size;
    struct chunk_header checked;
    const uint8_t *payload;
    size_t size;
    struct batch_state *const state = batch_state(&s->batch);
    if (!state)
        return no_memory(err);
    SNAP_TRY(read_chunk_header(s, &toc, &checked, &payload, err));
    if (toc_offset + SNAP_CHUNK_HEADER_SIZE + h.stored_size != end)
        return corrupt(err, SNAP_ID_TOCC, toc_offset, "it does not end at the footer");
    SNAP_TRY(read_payload(s, &toc, state, &payload, &size, err));
    toc.n_rows = size < 4 ? 0 : get_u32(payload);
    SNAP_TRY(read_chunk(s, &toc, ~0u, &s->batch, err));
    s->n_chunks = toc.n_rows + 1;
    s->chunks = arena_alloc(&s->arena, s->n_chunks * sizeof *s->chunks);
    if (!s->chunks)
        return no_memory(err);
    SNAP_TRY(take_toc(s, &s->batch, header_size, toc_offset, err));
    s->chunks[toc.n_rows] = toc;
    s->n_rows[SNAP_TABLE_TOCC] = toc.n_rows;
    s->table_chunks[SNAP_TABLE_TOCC][0] = toc.n_rows;
    s->n_table_chunks[SNAP_TABLE_TOCC] = 1;
    return SNAP_OK;
}

/* NUL-terminated copy in the snapshot's arena. */
static const char *keep(snap_snapshot *s, const snap_batch *b, unsigned column, uint32_t row) {
    size_t length;
    const char *const text = snap_batch_bytes(b, column, row, &length);
    return length ? arena_string(&s->arena, text, length) : "";
}

static int read_meta(snap_snapshot *s, snap_error *err) {
    SNAP_TRY(snap_batch_read(s, SNAP_TABLE_META, 0, ~0u, &s->batch, err));
    const snap_batch *const b = &s->batch;
    s->meta = arena_alloc(&s->arena, b->n_rows * sizeof *s->meta);
    if (!s->meta)
        return no_memory(err);
    uint64_t last_key = 0;
    const char *last_name = NULL;
    for (uint32_t i = 0; i < b->n_rows; i++) {
        const uint64_t key = b->column[SNAP_META_COL_KEY][i];
        const snap_meta_row row = {.key = (uint32_t)key,
                                   .name = keep(s, b, SNAP_META_COL_NAME, i),
                                   .text = keep(s, b, SNAP_META_COL_TEXT, i),
                                   .value = b->column[SNAP_META_COL_VALUE][i]};
        if (!row.name || !row.text)
            return no_memory(err);
        if (last_name && (last_key > key || (last_key == key && strcmp(last_name, row.name) >= 0)))
            return corrupt(err, SNAP_ID_META, s->chunks[0].offset, "its rows are not in order");
        last_key = key;
        last_name = row.name;
        /* A wider key is none that this library could know. */
        if (key <= UINT32_MAX)
            s->meta[s->n_meta++] = row;
    }
    return SNAP_OK;
}

static int open_view(snap_snapshot *s, snap_error *err) {
    uint32_t header_size = 0;
    uint64_t toc_offset = 0;
    SNAP_TRY(read_file_header(s, &header_size, err));
    SNAP_TRY(read_footer(s, header_size, &toc_offset, err));
    SNAP_TRY(read_toc(s, header_size, toc_offset, err));
    return read_meta(s, err);
}

/* --- what is left of a damaged file --- */

/* One chunk at `offset`, known from its own header only. 1: it is whole; 0: it is not, or the table
 * of contents. */
static int look_at_chunk(snap_snapshot *s, uint64_t offset, struct read_chunk *out,
                         snap_error *err) {
    if (s->size < offset || s->size - offset < SNAP_CHUNK_HEADER_SIZE)
        return 0;
    const struct chunk_header h = chunk_header_get(s->data + offset);
    *out = (struct read_chunk){.id = h.id,
                               .table = is_id(h.id) ? snap_table_of_id(h.id) : SNAP_N_TABLES,
                               .offset = offset,
                               .end = s->size,
                               .stored_size = h.stored_size,
                               .raw_size = h.raw_size};
    struct chunk_header checked;
    const uint8_t *payload;
    size_t size;
    if (!is_id(h.id) || out->table == SNAP_TABLE_TOCC ||
        read_chunk_header(s, out, &checked, &payload, NULL) < 0)
        return 0;
    if (out->table == SNAP_N_TABLES)
        return (h.id & 0xff) <= 'Z' ? unsupported(err, h.id, offset, "an unknown critical chunk")
                                    : 1;
    struct batch_state *const state = batch_state(&s->batch);
    if (!state)
        return no_memory(err);
    const int result = read_payload(s, out, state, &payload, &size, err);
    if (result < 0)
        return result == SNAP_E_CORRUPT ? 0 : result;
    out->n_rows = size < 4 ? 0 : get_u32(payload);
    return out->n_rows > 0 && out->n_rows <= SNAP_CHUNK_ROWS_MAX;
}

/* Chunk after chunk from the start, up to the first that is not whole. */
static int walk_chunks(snap_snapshot *s, uint32_t header_size, snap_salvage *report,
                       snap_error *err) {
    uint32_t n_of_table[SNAP_N_TABLES] = {0}, capacity = 0, n = 0;
    struct read_chunk *found = NULL, chunk;
    uint64_t at = header_size;
    int more = 0;
    while (n < SNAP_CHUNK_ROWS_MAX && (more = look_at_chunk(s, at, &chunk, err)) > 0) {
        if ((chunk.table == SNAP_TABLE_META) != (n == 0))
            break;
        if (n == capacity) {
            struct read_chunk *const grown =
                arena_alloc(&s->arena, ((size_t)capacity * 2 + 16) * sizeof *grown);
            if (!grown)
                return no_memory(err);
            if (n)
                memcpy(grown, found, n * sizeof *grown);
            found = grown;
            capacity = capacity * 2 + 16;
        }
        if (chunk.table != SNAP_N_TABLES) {
            chunk.first_id = s->n_rows[chunk.table] + 1;
            s->n_rows[chunk.table] += chunk.n_rows;
            n_of_table[chunk.table]++;
        }
        found[n++] = chunk;
        at += SNAP_CHUNK_HEADER_SIZE + chunk.stored_size;
        if (chunk.table == SNAP_TABLE_SUMM)
            break;
    }
    if (more < 0)
        return more;
    if (n == 0)
        return err_set_at(err, SNAP_E_CORRUPT, SNAP_ID_META, header_size,
                          "'%s' has no whole chunk to be saved", s->path);
    s->chunks = found;
    s->n_chunks = n;
    report->kept_bytes = at;
    report->has_all_chunks = found[n - 1].table == SNAP_TABLE_SUMM;
    return index_chunks(s, n, n_of_table, at, err);
}

/* The table of contents is sound: which of its chunks are not? */
static int check_chunks(snap_snapshot *s, snap_salvage *report, snap_error *err) {
    for (unsigned t = 0; t < SNAP_N_TABLES; t++)
        s->n_table_chunks[t] = 0;
    for (uint32_t i = 0; i < s->n_chunks; i++) {
        struct read_chunk *const c = &s->chunks[i];
        struct chunk_header h;
        const uint8_t *payload;
        c->is_lost = read_chunk_header(s, c, &h, &payload, err) < 0;
        if (c->is_lost && c->table == SNAP_TABLE_META)
            return SNAP_E_CORRUPT;
        if (c->is_lost) {
            report->n_lost_chunks++;
            if (c->table != SNAP_N_TABLES)
                report->lost_rows[c->table] += c->n_rows;
        } else {
            report->kept_bytes += SNAP_CHUNK_HEADER_SIZE + c->stored_size;
            if (c->table != SNAP_N_TABLES)
                s->table_chunks[c->table][s->n_table_chunks[c->table]++] = i;
        }
    }
    report->has_all_chunks = 1;
    return SNAP_OK;
}

static int salvage_view(snap_snapshot *s, snap_salvage *report, snap_error *err) {
    uint32_t header_size = 0;
    uint64_t toc_offset = 0;
    SNAP_TRY(read_file_header(s, &header_size, err));
    int result = read_footer(s, header_size, &toc_offset, err);
    if (result == SNAP_OK)
        result = read_toc(s, header_size, toc_offset, err);
    if (result != SNAP_OK && result != SNAP_E_CORRUPT)
        return result;
    if (result == SNAP_OK)
        SNAP_TRY(check_chunks(s, report, err));
    else {
        for (unsigned t = 0; t < SNAP_N_TABLES; t++) {
            s->n_rows[t] = 0;
            s->n_table_chunks[t] = 0;
        }
        report->is_cut = 1;
        SNAP_TRY(walk_chunks(s, header_size, report, err));
    }
    s->is_salvaged = 1;
    return read_meta(s, err);
}

static int new_snapshot(snap_snapshot **out, const char *path, const snap_open_options *options,
                        snap_error *err) {
    uint64_t max = 0;
    if (options) {
        if (options->struct_size < sizeof options->struct_size)
            return err_set(err, SNAP_E_ARG, "struct_size of the options is not set");
        if (options->struct_size >= sizeof *options)
            max = options->max_memory_bytes;
    }
    snap_snapshot *const s = mem_zalloc(1, sizeof *s);
    if (!s || !(s->path = strdup(path)) || pthread_mutex_init(&s->lock, NULL)) {
        if (s)
            free(s->path);
        free(s);
        return no_memory(err);
    }
    s->max_memory_bytes = max ? max : MAX_MEMORY_DEFAULT;
    arena_init(&s->arena);
    snap_batch_init(&s->batch);
    *out = s;
    return SNAP_OK;
}

int snap_open_memory(snap_snapshot **out, const void *data, size_t size,
                     const snap_open_options *options, snap_error *err) {
    snap_snapshot *s;
    if (!out || (!data && size))
        return err_set(err, SNAP_E_ARG, "no bytes to read");
    SNAP_TRY(new_snapshot(&s, "memory", options, err));
    s->data = data;
    s->size = size;
    const int result = open_view(s, err);
    if (result < 0) {
        snap_close(s);
        return result;
    }
    *out = s;
    return SNAP_OK;
}

int snap_open(snap_snapshot **out, const char *path, const snap_open_options *options,
              snap_error *err) {
    snap_snapshot *s;
    if (!out || !path)
        return err_set(err, SNAP_E_ARG, "no file to read");
    SNAP_TRY(new_snapshot(&s, path, options, err));
    int result = file_view_open(&s->view, path, s->max_memory_bytes, err);
    if (result == SNAP_OK) {
        s->data = s->view.data;
        s->size = s->view.size;
        result = open_view(s, err);
    }
    if (result < 0) {
        snap_close(s);
        return result;
    }
    *out = s;
    return SNAP_OK;
}

int snap_open_salvage(snap_snapshot **out, const char *path, const snap_open_options *options,
                      snap_salvage *out_report, snap_error *err) {
    snap_snapshot *s;
    if (!out || !path || !out_report)
        return err_set(err, SNAP_E_ARG, "no file to read");
    SNAP_TRY(new_snapshot(&s, path, options, err));
    snap_salvage report = {0};
    int result = file_view_open(&s->view, path, s->max_memory_bytes, err);
    if (result == SNAP_OK) {
        s->data = s->view.data;
        s->size = report.file_bytes = s->view.size;
        result = salvage_view(s, &report, err);
    }
    if (result < 0) {
        snap_close(s);
        return result;
    }
    *out_report = report;
    *out = s;
    return SNAP_OK;
}

void snap_close(snap_snapshot *s) {
    if (!s)
        return;
    for (uint32_t i = 0; s->strings && i < s->n_table_chunks[SNAP_TABLE_STRS]; i++) {
        free(s->strings[i].offset);
        free(s->strings[i].text);
    }
    free(s->strings);
    free(s->modules);
    free(s->stacks.parent);
    free(s->stacks.frame);
    free(s->stacks.flags);
    free(s->frames);
    free(s->symbols);
    free(s->stack_keys);
    snap_batch_release(&s->batch);
    arena_release(&s->arena);
    file_view_close(&s->view);
    pthread_mutex_destroy(&s->lock);
    free(s->path);
    free(s);
}

const char *snap_path(const snap_snapshot *s) {
    return s->path;
}
uint64_t snap_file_bytes(const snap_snapshot *s) {
    return s->size;
}
size_t snap_meta_count(const snap_snapshot *s) {
    return s->n_meta;
}

snap_meta_row snap_meta_get(const snap_snapshot *s, size_t index) {
    return index < s->n_meta ? s->meta[index] : (snap_meta_row){.name = "", .text = ""};
}

static const snap_meta_row *find_meta(const snap_snapshot *s, uint32_t key, const char *name) {
    for (size_t i = 0; i < s->n_meta; i++)
        if (s->meta[i].key == key && !strcmp(s->meta[i].name, name ? name : ""))
            return &s->meta[i];
    return NULL;
}

int snap_meta_number(const snap_snapshot *s, uint32_t key, const char *name, uint64_t *out) {
    const snap_meta_row *const row = find_meta(s, key, name);
    if (row)
        *out = row->value;
    return row != NULL;
}

const char *snap_meta_text(const snap_snapshot *s, uint32_t key) {
    const snap_meta_row *const row = find_meta(s, key, NULL);
    return row ? row->text : NULL;
}

uint64_t snap_rows(const snap_snapshot *s, snap_table table) {
    return (unsigned)table < SNAP_N_TABLES ? s->n_rows[table] : 0;
}

uint32_t snap_n_chunks(const snap_snapshot *s, snap_table table) {
    return (unsigned)table < SNAP_N_TABLES ? s->n_table_chunks[table] : 0;
}

/* The caches below are filled under the lock. A snapshot is const to its users; what is filled in
 * is not visible to them. */
static snap_snapshot *lock(const snap_snapshot *s) {
    snap_snapshot *const mutable = (snap_snapshot *)s;
    pthread_mutex_lock(&mutable->lock);
    return mutable;
}

static void unlock(snap_snapshot *s) {
    pthread_mutex_unlock(&s->lock);
}

/* Memory of a cache, n elements, within the budget. */
static void *cache_alloc(snap_snapshot *s, uint64_t n, size_t size, int *out_result,
                         snap_error *err) {
    if (n > (s->max_memory_bytes - s->cached_bytes) / size) {
        *out_result = err_set(err, SNAP_E_LIMIT,
                              "the snapshot needs more than the memory budget of %llu bytes",
                              (unsigned long long)s->max_memory_bytes);
        return NULL;
    }
    void *const p = mem_zalloc((size_t)n, size);
    if (!p)
        *out_result = no_memory(err);
    else
        s->cached_bytes += n * size;
    return p;
}

/* Makes the texts of one STRS chunk. */
static int fill_strings(snap_snapshot *s, uint32_t index, snap_error *err) {
    struct read_strings *const r = &s->strings[index];
    int result = SNAP_OK;
    SNAP_TRY(snap_batch_read(s, SNAP_TABLE_STRS, index, 1u << SNAP_STRS_COL_TEXT, &s->batch, err));
    const uint32_t n = s->batch.n_rows;
    uint64_t size = n;
    for (uint32_t i = 0; i < n; i++) {
        size_t length;
        snap_batch_bytes(&s->batch, SNAP_STRS_COL_TEXT, i, &length);
        size += length;
    }
    char *const text = cache_alloc(s, size, 1, &result, err);
    uint32_t *const offset = text ? cache_alloc(s, n, sizeof *offset, &result, err) : NULL;
    if (!offset) {
        free(text);
        return result;
    }
    uint32_t at = 0;
    for (uint32_t i = 0; i < n; i++) {
        size_t length;
        const char *const from = snap_batch_bytes(&s->batch, SNAP_STRS_COL_TEXT, i, &length);
        offset[i] = at;
        memcpy(text + at, from, length);
        at += (uint32_t)length;
        text[at++] = 0;
    }
    r->text = text;
    __atomic_store_n(&r->offset, offset, __ATOMIC_RELEASE);
    return SNAP_OK;
}

/* Which chunk of a table has a row. */
static uint32_t chunk_of(const snap_snapshot *s, snap_table table, uint64_t id) {
    uint32_t low = 0, high = s->n_table_chunks[table];
    while (high - low > 1) {
        const uint32_t middle = low + (high - low) / 2;
        if (s->chunks[s->table_chunks[table][middle]].first_id <= id)
            low = middle;
        else
            high = middle;
    }
    return low;
}

/* Of a salvaged file: whether a row's chunk is there. */
static int is_missing(const snap_snapshot *s, snap_table table, uint64_t id) {
    if (!s->is_salvaged || !id || id > s->n_rows[table])
        return 0;
    if (!s->n_table_chunks[table])
        return 1;
    const struct read_chunk *const c = &s->chunks[s->table_chunks[table][chunk_of(s, table, id)]];
    return id < c->first_id || id - c->first_id >= c->n_rows;
}

static int string_locked(snap_snapshot *s, uint64_t id, const char **out, snap_error *err) {
    int result = SNAP_OK;
    if (!id || is_missing(s, SNAP_TABLE_STRS, id)) {
        *out = "";
        return SNAP_OK;
    }
    if (id > s->n_rows[SNAP_TABLE_STRS])
        return err_set(err, SNAP_E_ARG, "no string %llu", (unsigned long long)id);
    if (!s->strings) {
        struct read_strings *const strings =
            cache_alloc(s, s->n_table_chunks[SNAP_TABLE_STRS], sizeof *strings, &result, err);
        if (!strings)
            return result;
        __atomic_store_n(&s->strings, strings, __ATOMIC_RELEASE);
    }
    const uint32_t index = chunk_of(s, SNAP_TABLE_STRS, id);
    if (!s->strings[index].offset)
        SNAP_TRY(fill_strings(s, index, err));
    const uint64_t first = s->chunks[s->table_chunks[SNAP_TABLE_STRS][index]].first_id;
    *out = s->strings[index].text + s->strings[index].offset[id - first];
    return SNAP_OK;
}

int snap_string(const snap_snapshot *s, uint64_t id, const char **out, snap_error *err) {
    const struct read_strings *const strings = __atomic_load_n(&s->strings, __ATOMIC_ACQUIRE);
    if (strings && id && id <= s->n_rows[SNAP_TABLE_STRS] && !is_missing(s, SNAP_TABLE_STRS, id)) {
        const uint32_t index = chunk_of(s, SNAP_TABLE_STRS, id);
        const uint32_t *const offset = __atomic_load_n(&strings[index].offset, __ATOMIC_ACQUIRE);
        if (offset) {
            const uint64_t first = s->chunks[s->table_chunks[SNAP_TABLE_STRS][index]].first_id;
            *out = strings[index].text + offset[id - first];
            return SNAP_OK;
        }
    }
    snap_snapshot *const m = lock(s);
    const int result = string_locked(m, id, out, err);
    unlock(m);
    return result;
}

static int fill_summary(snap_snapshot *s, snap_error *err) {
    SNAP_TRY(snap_batch_read(s, SNAP_TABLE_SUMM, 0, ~0u, &s->batch, err));
    const snap_batch *const b = &s->batch;
    snap_summary_row *const rows = arena_alloc(&s->arena, b->n_rows * sizeof *rows);
    if (!rows)
        return no_memory(err);
    for (uint32_t i = 0; i < b->n_rows; i++) {
        const uint64_t kind = b->column[SNAP_SUMM_COL_KIND][i];
        const uint64_t domain = b->column[SNAP_SUMM_COL_DOMAIN][i];
        rows[i] = (snap_summary_row){.kind = kind > UINT32_MAX ? UINT32_MAX : (uint32_t)kind,
                                     .domain = domain > UINT32_MAX ? UINT32_MAX : (uint32_t)domain,
                                     .key = b->column[SNAP_SUMM_COL_KEY][i],
                                     .key2 = b->column[SNAP_SUMM_COL_KEY2][i],
                                     .count = b->column[SNAP_SUMM_COL_COUNT][i],
                                     .bytes = b->column[SNAP_SUMM_COL_BYTES][i],
                                     .cached = b->column[SNAP_SUMM_COL_CACHED][i],
                                     .label = keep(s, b, SNAP_SUMM_COL_LABEL, i)};
        if (!rows[i].label)
            return no_memory(err);
    }
    s->summary = rows;
    s->n_summary = b->n_rows;
    s->has_summary = 1;
    return SNAP_OK;
}

int snap_summary(const snap_snapshot *s, const snap_summary_row **out, size_t *out_n,
                 snap_error *err) {
    snap_snapshot *const m = lock(s);
    const int result = m->has_summary ? SNAP_OK : fill_summary(m, err);
    if (result == SNAP_OK) {
        *out = m->summary;
        *out_n = m->n_summary;
    }
    unlock(m);
    return result;
}

static int fill_modules(snap_snapshot *s, snap_error *err) {
    int result = SNAP_OK;
    const uint64_t n = s->n_rows[SNAP_TABLE_MODS];
    snap_module *const modules = cache_alloc(s, n, sizeof *modules, &result, err);
    if (!modules)
        return result;
    uint64_t *paths = mem_zalloc((size_t)n, sizeof *paths);
    if (!paths)
        result = no_memory(err);
    for (uint32_t k = 0; !result && k < s->n_table_chunks[SNAP_TABLE_MODS]; k++) {
        result = snap_batch_read(s, SNAP_TABLE_MODS, k, ~0u, &s->batch, err);
        const snap_batch *const b = &s->batch;
        for (uint32_t i = 0; !result && i < b->n_rows; i++) {
            snap_module *const m = &modules[b->first_id - 1 + i];
            paths[b->first_id - 1 + i] = b->column[SNAP_MODS_COL_PATH][i];
            *m = (snap_module){.path = "",
                               .build_id = keep(s, b, SNAP_MODS_COL_BUILD_ID, i),
                               .start = b->column[SNAP_MODS_COL_START][i],
                               .end = b->column[SNAP_MODS_COL_END][i],
                               .bias = b->column[SNAP_MODS_COL_BIAS][i],
                               .flags = b->column[SNAP_MODS_COL_FLAGS][i]};
            if (!m->build_id)
                result = no_memory(err);
        }
    }
    for (uint64_t i = 0; !result && i < n; i++) {
        modules[i].build_id = modules[i].build_id ? modules[i].build_id : "";
        result = string_locked(s, paths[i], &modules[i].path, err);
    }
    free(paths);
    if (result < 0) {
        s->cached_bytes -= n * sizeof *modules;
        free(modules);
        return result;
    }
    s->modules = modules;
    s->n_modules = n;
    s->has_modules = 1;
    return SNAP_OK;
}

int snap_module_get(const snap_snapshot *s, uint64_t id, snap_module *out, snap_error *err) {
    if (!id || id > s->n_rows[SNAP_TABLE_MODS])
        return err_set(err, SNAP_E_ARG, "no module %llu", (unsigned long long)id);
    snap_snapshot *const m = lock(s);
    const int result = m->has_modules ? SNAP_OK : fill_modules(m, err);
    if (result == SNAP_OK)
        *out = m->modules[id - 1];
    unlock(m);
    return result;
}

static int fill_stack_rows(snap_snapshot *s, snap_error *err) {
    struct read_stack_table *const t = &s->stacks;
    for (uint32_t k = 0; k < s->n_table_chunks[SNAP_TABLE_STAK]; k++) {
        SNAP_TRY(snap_batch_read(s, SNAP_TABLE_STAK, k, ~0u, &s->batch, err));
        const snap_batch *const b = &s->batch;
        for (uint32_t i = 0; i < b->n_rows; i++) {
            const uint64_t at = b->first_id - 1 + i;
            t->parent[at] = (uint32_t)b->column[SNAP_STAK_COL_PARENT][i];
            t->frame[at] = (uint32_t)b->column[SNAP_STAK_COL_FRAME][i];
            t->flags[at] = (uint8_t)b->column[SNAP_STAK_COL_FLAGS][i];
        }
    }
    return SNAP_OK;
}

static int fill_frame_rows(snap_snapshot *s, snap_error *err) {
    for (uint32_t k = 0; k < s->n_table_chunks[SNAP_TABLE_FRAM]; k++) {
        SNAP_TRY(snap_batch_read(s, SNAP_TABLE_FRAM, k, ~0u, &s->batch, err));
        const snap_batch *const b = &s->batch;
        for (uint32_t i = 0; i < b->n_rows; i++) {
            const uint64_t kind = b->column[SNAP_FRAM_COL_KIND][i];
            s->frames[b->first_id - 1 + i] =
                (struct read_frame){.offset = b->column[SNAP_FRAM_COL_OFFSET][i],
                                    .module = (uint32_t)b->column[SNAP_FRAM_COL_MODULE][i],
                                    .kind = kind > UINT32_MAX ? UINT32_MAX : (uint32_t)kind};
        }
    }
    uint32_t last = 0;
    uint64_t at = 0;
    for (uint32_t k = 0; k < s->n_table_chunks[SNAP_TABLE_SYMB]; k++) {
        SNAP_TRY(snap_batch_read(s, SNAP_TABLE_SYMB, k, ~0u, &s->batch, err));
        const snap_batch *const b = &s->batch;
        for (uint32_t i = 0; i < b->n_rows; i++, at++) {
            const uint32_t frame = (uint32_t)b->column[SNAP_SYMB_COL_FRAME][i];
            if (frame < last)
                return corrupt(err, SNAP_ID_SYMB,
                               s->chunks[s->table_chunks[SNAP_TABLE_SYMB][k]].offset,
                               "its rows are not in order");
            last = frame;
            s->symbols[at] =
                (struct read_symbol){.line = b->column[SNAP_SYMB_COL_LINE][i],
                                     .frame = frame,
                                     .depth = (uint32_t)b->column[SNAP_SYMB_COL_DEPTH][i],
                                     .function = (uint32_t)b->column[SNAP_SYMB_COL_FUNCTION][i],
                                     .file = (uint32_t)b->column[SNAP_SYMB_COL_FILE][i],
                                     .source = (uint32_t)b->column[SNAP_SYMB_COL_SOURCE][i]};
            if (frame && !s->frames[frame - 1].first_symbol)
                s->frames[frame - 1].first_symbol = (uint32_t)at + 1;
        }
    }
    return SNAP_OK;
}

static void drop_stacks(snap_snapshot *s) {
    free(s->stacks.parent);
    free(s->stacks.frame);
    free(s->stacks.flags);
    free(s->frames);
    free(s->symbols);
    s->stacks = (struct read_stack_table){0};
    s->frames = NULL;
    s->symbols = NULL;
}

/* Makes the tables that stacks are walked by. */
static int fill_stacks(snap_snapshot *s, snap_error *err) {
    if (s->has_stacks)
        return SNAP_OK;
    if (!s->has_modules)
        SNAP_TRY(fill_modules(s, err));
    int result = SNAP_OK;
    const uint64_t before = s->cached_bytes;
    s->stacks.n = s->n_rows[SNAP_TABLE_STAK];
    s->n_frames = s->n_rows[SNAP_TABLE_FRAM];
    s->n_symbols = s->n_rows[SNAP_TABLE_SYMB];
    if ((s->stacks.parent = cache_alloc(s, s->stacks.n, sizeof(uint32_t), &result, err)) &&
        (s->stacks.frame = cache_alloc(s, s->stacks.n, sizeof(uint32_t), &result, err)) &&
        (s->stacks.flags = cache_alloc(s, s->stacks.n, 1, &result, err)) &&
        (s->frames = cache_alloc(s, s->n_frames, sizeof *s->frames, &result, err)) &&
        (s->symbols = cache_alloc(s, s->n_symbols, sizeof *s->symbols, &result, err))) {
        result = fill_stack_rows(s, err);
        if (result == SNAP_OK)
            result = fill_frame_rows(s, err);
    }
    if (result < 0) {
        drop_stacks(s);
        s->cached_bytes = before;
        return result;
    }
    s->has_stacks = 1;
    return SNAP_OK;
}

/* The positions of one frame, from index *at in out on. Returns 1 when out is full. */
static int locate(snap_snapshot *s, uint32_t frame, snap_location *out, size_t max, size_t *at,
                  snap_error *err) {
    const struct read_frame *const f = &s->frames[frame - 1];
    snap_location location = {.frame = frame,
                              .kind = f->kind,
                              .module = f->module,
                              .offset = f->offset,
                              .function = "",
                              .file = ""};
    if (!f->first_symbol) {
        if (*at == max)
            return 1;
        out[(*at)++] = location;
        return SNAP_OK;
    }
    for (uint64_t i = f->first_symbol - 1; i < s->n_symbols && s->symbols[i].frame == frame; i++) {
        const struct read_symbol *const symbol = &s->symbols[i];
        if (*at == max)
            return 1;
        location.depth = symbol->depth;
        location.line = symbol->line;
        location.source = symbol->source;
        SNAP_TRY(string_locked(s, symbol->function, &location.function, err));
        SNAP_TRY(string_locked(s, symbol->file, &location.file, err));
        out[(*at)++] = location;
    }
    return SNAP_OK;
}

static int stack_locked(snap_snapshot *s, uint64_t stack, snap_location *out, size_t max,
                        size_t *out_n, int *out_truncated, snap_error *err) {
    SNAP_TRY(fill_stacks(s, err));
    size_t n = 0;
    int is_truncated = 0;
    for (unsigned walked = 0; stack; walked++) {
        if (walked == STACK_WALK_MAX) {
            is_truncated = 1;
            break;
        }
        const uint32_t frame = s->stacks.frame[stack - 1];
        if (s->stacks.flags[stack - 1] & SNAP_STAK_FLAG_TRUNCATED)
            is_truncated = 1;
        const int result = frame ? locate(s, frame, out, max, &n, err) : SNAP_OK;
        if (result < 0)
            return result;
        if (result) {
            is_truncated = 1;
            break;
        }
        stack = s->stacks.parent[stack - 1];
    }
    *out_n = n;
    if (out_truncated)
        *out_truncated = is_truncated;
    return SNAP_OK;
}

static int check_stack(const snap_snapshot *s, uint64_t stack, snap_error *err) {
    return stack <= s->n_rows[SNAP_TABLE_STAK]
               ? SNAP_OK
               : err_set(err, SNAP_E_ARG, "no stack %llu", (unsigned long long)stack);
}

int snap_stack(const snap_snapshot *s, uint64_t stack, snap_location *out, size_t max,
               size_t *out_n, int *out_truncated, snap_error *err) {
    SNAP_TRY(check_stack(s, stack, err));
    snap_snapshot *const m = lock(s);
    const int result = stack_locked(m, stack, out, max, out_n, out_truncated, err);
    unlock(m);
    return result;
}

static int fill_keys(snap_snapshot *s, snap_error *err) {
    SNAP_TRY(fill_stacks(s, err));
    int result = SNAP_OK;
    const uint64_t before = s->cached_bytes;
    uint64_t *const keys = cache_alloc(s, s->stacks.n + 1, sizeof *keys, &result, err);
    if (!keys)
        return result;
    for (uint64_t i = 0; !result && i < s->stacks.n; i++) {
        struct stackkey_frame f = {.function = "", .file = ""};
        const uint32_t id = s->stacks.frame[i];
        const struct read_frame *const frame = id ? &s->frames[id - 1] : NULL;
        if (frame && frame->kind == SNAP_FRAM_NATIVE && frame->module) {
            f.path = s->modules[frame->module - 1].path;
            f.build_id = s->modules[frame->module - 1].build_id;
            f.offset = frame->offset;
        } else if (frame && frame->first_symbol && !s->symbols[frame->first_symbol - 1].depth) {
            const struct read_symbol *const symbol = &s->symbols[frame->first_symbol - 1];
            result = string_locked(s, symbol->function, &f.function, err);
            if (!result)
                result = string_locked(s, symbol->file, &f.file, err);
            f.function_length = result ? 0 : strlen(f.function);
            f.file_length = result ? 0 : strlen(f.file);
            f.line = symbol->line;
        }
        keys[i + 1] = stackkey_step(keys[s->stacks.parent[i]], &f);
    }
    if (result < 0) {
        free(keys);
        s->cached_bytes = before;
        return result;
    }
    s->stack_keys = keys;
    s->has_keys = 1;
    return SNAP_OK;
}

int snap_stack_key(const snap_snapshot *s, uint64_t stack, uint64_t *out, snap_error *err) {
    SNAP_TRY(check_stack(s, stack, err));
    snap_snapshot *const m = lock(s);
    const int result = m->has_keys || !stack ? SNAP_OK : fill_keys(m, err);
    if (result == SNAP_OK)
        *out = stack ? m->stack_keys[stack] : 0;
    unlock(m);
    return result;
}
