/* Any rows: what the writer accepts is a sound file, gives the rows back, and written again is the
 * same file. The input is a list of calls with their values. */
#include "fuzz/fuzz.h"
#include "support/sample.h"

#include <stdlib.h>
#include <string.h>

struct input {
    const uint8_t *data;
    size_t left;
};

static uint64_t take(struct input *in, unsigned width) {
    uint64_t v = 0;
    for (unsigned i = 0; i < width && in->left; i++, in->left--)
        v |= (uint64_t)*in->data++ << 8 * i;
    return v;
}

/* A value of any width, references small so that many are good. */
static uint64_t value(struct input *in, snap_column_type type) {
    const unsigned shape = (unsigned)take(in, 1);
    return type == SNAP_COLUMN_REF ? shape % 8 : take(in, shape % 9);
}

/* Rows that all references of value() can go to. */
static int add_targets(snap_writer *w) {
    int result = 0;
    for (uint32_t i = 1; i <= 8 && !result; i++) {
        uint32_t id;
        const char text[2] = {(char)('0' + i)};
        result = snap_writer_string(w, text, &id, NULL);
        for (unsigned t = SNAP_TABLE_MODS; t < SNAP_TABLE_SUMM && !result; t++) {
            uint64_t row[SNAP_COLUMNS_MAX] = {0};
            row[SNAP_SYMB_COL_FRAME] = t == SNAP_TABLE_SYMB ? i : 0;
            row[SNAP_NODE_COL_DOMAIN] = t == SNAP_TABLE_NODE ? 1 : row[SNAP_NODE_COL_DOMAIN];
            result = snap_writer_row(w, (snap_table)t, row, NULL, NULL);
        }
    }
    return result;
}

/* Brings a row into the order of its table. */
static void put_in_order(struct input *in, unsigned table, uint64_t *row) {
    static uint64_t serial;
    serial++;
    if (table == SNAP_TABLE_EDGE)
        row[SNAP_EDGE_COL_SOURCE] = 8;
    if (table == SNAP_TABLE_REGN)
        row[SNAP_REGN_COL_ADDRESS] = (serial << 16) + take(in, 2);
    if (table == SNAP_TABLE_SYMB) {
        row[SNAP_SYMB_COL_FRAME] = 8;
        row[SNAP_SYMB_COL_DEPTH] = serial;
    }
}

static int call(struct input *in, snap_writer *w, int is_ordered) {
    const unsigned table = (unsigned)take(in, 1) % SNAP_N_TABLES;
    uint64_t rows[SNAP_COLUMNS_MAX] = {0};
    uint32_t id;
    if (table == SNAP_TABLE_META) {
        const uint32_t key = (uint32_t)take(in, 1);
        char name[3] = {(char)take(in, 1), (char)take(in, 1)};
        return key % 3 == 0   ? snap_writer_meta_number(w, key, take(in, 8), NULL)
               : key % 3 == 1 ? snap_writer_meta_text(w, key, name, NULL)
                              : snap_writer_meta_named(w, key, name, take(in, 8), NULL);
    }
    if (table == SNAP_TABLE_STRS) {
        size_t n = take(in, 1) % 32;
        n = n < in->left ? n : in->left;
        const int result = snap_writer_string_n(w, (const char *)in->data, n, &id, NULL);
        in->data += n;
        in->left -= n;
        return result;
    }
    for (unsigned c = 1; c < SNAP_COLUMNS_MAX; c++) {
        const snap_column_type type = snap_table_column((snap_table)table, c).type;
        if (type == SNAP_COLUMN_NUMBER || type == SNAP_COLUMN_REF)
            rows[c] = value(in, type);
    }
    if (is_ordered)
        put_in_order(in, table, rows);
    if (table == SNAP_TABLE_MODS)
        return snap_writer_module_row(w, rows, take(in, 1) % 2 ? "c0ffee" : NULL, NULL, NULL);
    return snap_writer_row(w, (snap_table)table, rows, NULL, NULL);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct input in = {data, size};
    struct bytes first = {0}, second = {0};
    snap_writer *w;
    snap_snapshot *s;
    if (snap_writer_open_sink(&w, bytes_sink, &first, NULL, NULL))
        abort();
    const unsigned mode = (unsigned)take(&in, 1);
    int result = snap_writer_meta_number(w, SNAP_META_UNSORTED, mode % 4 != 0, NULL);
    if (!result && mode % 4)
        result = add_targets(w);
    while (in.left && (result == 0 || result == SNAP_E_ARG)) {
        result = call(&in, w, mode % 4 != 0);
        uint32_t id;
        if (result == SNAP_E_ARG && snap_writer_string(w, "", &id, NULL))
            break; /* the writer has failed for good */
    }
    const int finished = snap_writer_finish(w, NULL);
    snap_writer_close(w);
    if (finished) {
        bytes_release(&first);
        return 0;
    }
    if (snap_open_memory(&s, first.data, first.size, NULL, NULL) ||
        snap_verify(s, NULL, NULL, NULL) ||
        snap_writer_open_sink(&w, bytes_sink, &second, NULL, NULL) || sample_replay(s, w, NULL) ||
        snap_writer_finish(w, NULL))
        abort();
    if (first.size != second.size || memcmp(first.data, second.data, first.size))
        abort();
    snap_writer_close(w);
    snap_close(s);
    bytes_release(&first);
    bytes_release(&second);
    return 0;
}
