/* Snapshots as JSON: one document for any program, and canonical lines for comparing readers.
 *
 * Invariant: a stream, chunk by chunk, straight from the tables: nothing is sorted, summed or left
 * out but columns that are 0 or empty. What columns and codes are called is asked of table.h, so a
 * new column needs no change here. Does not use the JSON library: documents can be larger than
 * memory. */
#include <heapsnap/convert.h>

#include "base/err.h"
#include "base/printable.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>

struct stream {
    const snap_snapshot *s;
    FILE *out;
    int resolve; /* strings and codes by name instead of by number */
    int (*progress)(void *context, uint64_t done, uint64_t total);
    void *context;
    uint64_t done, total;
};

struct format {
    const char *name;
    int (*write)(struct stream *t, snap_error *err);
};

/* Decimal digits without printf: half of the time goes here. */
static void put_number(FILE *out, uint64_t value) {
    char digits[20];
    size_t n = sizeof digits;
    do {
        digits[--n] = (char)('0' + value % 10);
        value /= 10;
    } while (value != 0);
    fwrite(digits + n, 1, sizeof digits - n, out);
}

/* A JSON string in ASCII. A byte that is not UTF-8 becomes a lone low surrogate, U+DC00 plus the
 * byte, which no valid text can give. */
static void put_string(FILE *out, const char *text, size_t length) {
    fputc('"', out);
    for (size_t i = 0; i < length;) {
        const unsigned char c = (unsigned char)text[i];
        if (c >= 0x20 && c < 0x7f) {
            if (c == '"' || c == '\\')
                fputc('\\', out);
            fputc(c, out);
            i++;
            continue;
        }
        uint32_t code = 0;
        /* The text ends with a NUL, so a character cut short is no valid one. */
        const unsigned n = text_utf8(text + i, &code);
        if (n == 0)
            fprintf(out, "\\udc%02x", c);
        else if (code >= 0x10000)
            fprintf(out, "\\u%04x\\u%04x", (unsigned)(0xd800 + ((code - 0x10000) >> 10)),
                    (unsigned)(0xdc00 + ((code - 0x10000) & 0x3ff)));
        else
            fprintf(out, "\\u%04x", (unsigned)code);
        i += n == 0 ? 1 : n;
    }
    fputc('"', out);
}

static void put_table_name(FILE *out, snap_table table) {
    const uint32_t id = snap_table_id(table);
    for (int i = 0; i < 4; i++)
        fputc((int)(id >> (8 * i) & 0xff), out);
}

static void put_key(FILE *out, const char *name) {
    fputs(",\"", out);
    fputs(name, out);
    fputs("\":", out);
}

static int put_value(struct stream *t, snap_table table, unsigned column,
                     const snap_column_info *info, uint64_t value, snap_error *err) {
    if (t->resolve && info->type == SNAP_COLUMN_REF && info->target == SNAP_TABLE_STRS) {
        const char *text;
        SNAP_TRY(snap_string(t->s, value, &text, err));
        put_string(t->out, text, strlen(text));
        return 0;
    }
    const char *const name = t->resolve ? snap_code_name(table, column, value) : NULL;
    if (name != NULL)
        put_string(t->out, name, strlen(name));
    else
        put_number(t->out, value);
    return 0;
}

static int put_row(struct stream *t, snap_table table, const snap_column_info *columns,
                   const snap_batch *batch, uint32_t row, snap_error *err) {
    fputs("\"id\":", t->out);
    put_number(t->out, batch->first_id + row);
    for (unsigned c = 1; c < SNAP_COLUMNS_MAX; c++) {
        if (columns[c].name == NULL)
            continue;
        if (columns[c].type == SNAP_COLUMN_BYTES) {
            size_t length;
            const char *const text = snap_batch_bytes(batch, c, row, &length);
            if (length == 0)
                continue;
            put_key(t->out, columns[c].name);
            put_string(t->out, text, length);
        } else if (batch->column[c][row] != 0) {
            put_key(t->out, columns[c].name);
            SNAP_TRY(put_value(t, table, c, &columns[c], batch->column[c][row], err));
        }
    }
    return 0;
}

/* All rows of a table. before and after stand around each row, between stands between two. */
static int put_rows(struct stream *t, snap_table table, const char *before, const char *after,
                    const char *between, snap_error *err) {
    snap_column_info columns[SNAP_COLUMNS_MAX] = {{0}};
    uint32_t wanted = 0;
    for (unsigned c = 1; c < SNAP_COLUMNS_MAX; c++) {
        columns[c] = snap_table_column(table, c);
        wanted |= columns[c].name != NULL ? 1u << c : 0;
    }
    snap_batch batch;
    snap_batch_init(&batch);
    int result = 0;
    for (uint32_t chunk = 0; chunk < snap_n_chunks(t->s, table) && result == 0; chunk++) {
        result = snap_batch_read(t->s, table, chunk, wanted, &batch, err);
        for (uint32_t row = 0; result == 0 && row < batch.n_rows; row++) {
            fputs(chunk > 0 || row > 0 ? between : "", t->out);
            fputs(before, t->out);
            result = put_row(t, table, columns, &batch, row, err);
            fputs(after, t->out);
        }
        if (result < 0)
            break;
        t->done += batch.n_rows;
        if (ferror(t->out))
            result = err_set(err, SNAP_E_IO, "cannot write: %s", strerror(errno));
        else if (t->progress != NULL && t->progress(t->context, t->done, t->total) != 0)
            result = err_set(err, SNAP_E_CANCELED, "canceled");
    }
    snap_batch_release(&batch);
    return result;
}

static int write_lines(struct stream *t, snap_error *err) {
    for (snap_table table = 0; table < SNAP_TABLE_TOCC; table++) {
        const uint32_t id = snap_table_id(table);
        char before[32];
        snprintf(before, sizeof before, "{\"table\":\"%c%c%c%c\",", (int)(id & 0xff),
                 (int)(id >> 8 & 0xff), (int)(id >> 16 & 0xff), (int)(id >> 24 & 0xff));
        SNAP_TRY(put_rows(t, table, before, "}\n", "", err));
    }
    return 0;
}

static int write_document(struct stream *t, snap_error *err) {
    t->resolve = 1;
    fprintf(t->out, "{\"schema\":1,\n\"tables\":{");
    int is_first = 1;
    for (snap_table table = 0; table < SNAP_TABLE_TOCC; table++) {
        if (table == SNAP_TABLE_STRS) /* every reference to them is resolved */
            continue;
        fputs(is_first ? "\n\"" : ",\n\"", t->out);
        is_first = 0;
        put_table_name(t->out, table);
        fputs("\":[", t->out);
        SNAP_TRY(put_rows(t, table, "\n{", "}", ",", err));
        fputc(']', t->out);
    }
    fputs("}}\n", t->out);
    return 0;
}

static const struct format formats[] = {{"json", write_document}, {"jsonl", write_lines}};

const char *const *snap_convert_formats(void) {
    static const char *const names[] = {"json", "jsonl", NULL};
    return names;
}

int snap_convert(const snap_snapshot *s, const char *format, FILE *out,
                 int (*progress)(void *context, uint64_t done, uint64_t total), void *context,
                 snap_error *err) {
    struct stream t = {.s = s, .out = out, .progress = progress, .context = context};
    for (snap_table table = 0; table < SNAP_TABLE_TOCC; table++)
        t.total += snap_rows(s, table);
    for (size_t i = 0; i < sizeof formats / sizeof *formats; i++) {
        if (strcmp(formats[i].name, format) != 0)
            continue;
        SNAP_TRY(formats[i].write(&t, err));
        errno = 0;
        if (fflush(out) != 0 || ferror(out))
            return err_set(err, SNAP_E_IO, "cannot write: %s", strerror(errno));
        return 0;
    }
    return err_set(err, SNAP_E_NOTFOUND, "no format '%.60s'", format);
}
