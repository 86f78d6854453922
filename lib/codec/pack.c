/* Encoding and compression of chunks. The same rows give the same bytes, in any thread. Knows
 * nothing of the file around a chunk. */
#include "codec/pack.h"

#include <stdlib.h>
#include <string.h>
#include <zstd.h>

#include "base/bytes.h"
#include "base/err.h"
#include "base/mem.h"
#include "codec/choose.h"
#include "codec/chunk.h"

void pack_rows_clear(struct pack_rows *r) {
    r->n = 0;
    r->text_total = 0;
    memset(r->text_size, 0, sizeof r->text_size);
    memset(r->column, 0, sizeof r->column);
    memset(r->constant, 0, sizeof r->constant);
}

void pack_rows_release(struct pack_rows *r) {
    for (unsigned c = 0; c < SNAP_COLUMNS_MAX; c++) {
        free(r->memory[c]);
        free(r->text[c]);
    }
    *r = (struct pack_rows){0};
}

void pack_chunks_release(struct pack_chunks *c) {
    free(c->bytes);
    free(c->parts);
    *c = (struct pack_chunks){0};
}

int packer_has_level(int level) {
    return level >= ZSTD_minCLevel() && level <= ZSTD_maxCLevel();
}

int packer_init(struct packer *p, int level) {
    p->zstd = ZSTD_createCCtx();
    if (!p->zstd || column_scratch_init_encoder(&p->scratch) < 0 ||
        ZSTD_isError(ZSTD_CCtx_setParameter(p->zstd, ZSTD_c_compressionLevel, level)))
        return SNAP_E_NOMEM;
    return 0;
}

void packer_release(struct packer *p) {
    column_scratch_release(&p->scratch);
    ZSTD_freeCCtx(p->zstd);
    free(p->raw);
    *p = (struct packer){0};
}

/* Rows [from, from + n) as a payload in p->raw; its size, or 0 without memory. */
static size_t build_payload(struct packer *p, snap_table table, const struct pack_rows *rows,
                            size_t from, size_t n) {
    const uint64_t *columns[SNAP_COLUMNS_MAX] = {0};
    size_t bound = CHUNK_TABLE_HEADER_SIZE, n_columns = 0;
    for (unsigned c = 1; c < SNAP_COLUMNS_MAX; c++)
        if (rows->column[c] || rows->constant[c]) {
            columns[c] = rows->column[c] ? rows->column[c] + from : NULL;
            bound += SNAP_COLUMN_ENTRY_SIZE + column_bound(n) + rows->text_size[c];
        }
    if (mem_grow(&p->raw, &p->raw_capacity, bound, 1) < 0)
        return 0;
    struct choice choices[SNAP_COLUMNS_MAX];
    for (unsigned c = 1; c < SNAP_COLUMNS_MAX; c++) {
        choices[c] = columns[c] ? choose_encoding(table, c, columns, n, p->scratch.last)
                                : (struct choice){rows->constant[c] ? SNAP_ENC_CONST : 0, 0};
        n_columns += choices[c].encoding != 0;
    }
    put_u32(p->raw, (uint32_t)n);
    put_u16(p->raw + 4, (uint16_t)n_columns);
    put_u16(p->raw + 6, 0);
    uint8_t *entry = p->raw + CHUNK_TABLE_HEADER_SIZE;
    uint8_t *data = entry + n_columns * SNAP_COLUMN_ENTRY_SIZE;
    for (unsigned c = 1; c < SNAP_COLUMNS_MAX; c++) {
        if (!choices[c].encoding)
            continue;
        unsigned encoding = choices[c].encoding, width;
        size_t size;
        if (snap_table_column(table, c).type == SNAP_COLUMN_BYTES) {
            encoding = SNAP_ENC_BYTES;
            size =
                column_encode(&p->scratch, SNAP_ENC_PLANES, columns[c], n, 0, NULL, data, &width);
            memcpy(data + size, rows->text[c], rows->text_size[c]);
            size += rows->text_size[c];
        } else {
            const uint64_t *const key =
                choices[c].key_column ? columns[choices[c].key_column] : NULL;
            const uint64_t *const v = columns[c] ? columns[c] : &rows->constant[c];
            size = column_encode(&p->scratch, encoding, v, n, choices[c].key_column, key, data,
                                 &width);
        }
        chunk_column_put(entry, &(struct chunk_column){(uint16_t)c, (uint8_t)encoding,
                                                       (uint8_t)width, (uint32_t)size});
        entry += SNAP_COLUMN_ENTRY_SIZE;
        data += size;
    }
    return (size_t)(data - p->raw);
}

/* Appends a chunk around the payload in p->raw. */
static int add_chunk(struct packer *p, uint32_t id, size_t raw_size, uint32_t n_rows,
                     struct pack_chunks *out) {
    const size_t bound = ZSTD_compressBound(raw_size);
    if (mem_grow(&out->bytes, &out->capacity, out->size + SNAP_CHUNK_HEADER_SIZE + bound, 1) < 0 ||
        mem_grow(&out->parts, &out->parts_capacity, out->n_parts + 1, sizeof *out->parts) < 0)
        return SNAP_E_NOMEM;
    uint8_t *const header = out->bytes + out->size;
    uint8_t *const payload = header + SNAP_CHUNK_HEADER_SIZE;
    const size_t packed = ZSTD_compress2(p->zstd, payload, bound, p->raw, raw_size);
    if (ZSTD_isError(packed))
        return SNAP_E_NOMEM;
    struct chunk_header h = {.id = id,
                             .codec = SNAP_CODEC_ZSTD,
                             .layout = SNAP_LAYOUT_TABLE,
                             .stored_size = packed,
                             .raw_size = raw_size};
    if (packed >= raw_size) {
        memcpy(payload, p->raw, raw_size);
        h.codec = SNAP_CODEC_RAW;
        h.stored_size = raw_size;
    }
    chunk_header_put(header, &h);
    h.hash = chunk_hash(header, payload, h.stored_size);
    chunk_header_put(header, &h);
    out->parts[out->n_parts++] = (struct pack_part){h.stored_size, raw_size, n_rows};
    out->size += SNAP_CHUNK_HEADER_SIZE + h.stored_size;
    return 0;
}

/* Rows [from, from + n) as one chunk, or, if they do not fit one, their halves. Text columns always
 * fit: the writer closes a chunk in time. */
static int pack_range(struct packer *p, snap_table table, const struct pack_rows *rows, size_t from,
                      size_t n, struct pack_chunks *out) {
    const size_t size = build_payload(p, table, rows, from, n);
    if (!size)
        return SNAP_E_NOMEM;
    if (size <= SNAP_CHUNK_RAW_MAX)
        return add_chunk(p, snap_table_id(table), size, (uint32_t)n, out);
    const size_t half = n / 2;
    SNAP_TRY(pack_range(p, table, rows, from, half, out));
    return pack_range(p, table, rows, from + half, n - half, out);
}

int packer_run(struct packer *p, snap_table table, const struct pack_rows *rows,
               struct pack_chunks *out) {
    out->size = 0;
    out->n_parts = 0;
    return pack_range(p, table, rows, 0, rows->n, out);
}
