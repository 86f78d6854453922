/* Writes a file of random content with the library's writer, reads it, writes what was read again
 * and compares the two byte by byte.
 *
 *     writec SEED FILE
 *
 * The content obeys the rules of the format (references in range, sorted tables) and is otherwise
 * as wild as the seed makes it: all tables, values of every width, ramps, runs and hubs, so that
 * the writer takes every encoding; strings that are no UTF-8; some seeds fill several chunks. */
#include <heapsnap/snapshot.h>
#include <heapsnap/writer.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static uint64_t state;

/* splitmix64 */
static uint64_t next(void) {
    uint64_t z = state += 0x9e3779b97f4a7c15u;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return z ^ z >> 31;
}

/* 0 to n - 1 */
static uint64_t below(uint64_t n) {
    return n ? next() % n : 0;
}

static snap_error err;

static void check(int rc, const char *what) {
    if (rc == 0)
        return;
    printf("%s: %s %s\n", what, snap_error_name(rc), err.message);
    exit(1);
}

enum { N_STYLES = 8 };

/* The next value of a column in one of several styles; `last` is the one before. */
static uint64_t value(unsigned style, uint64_t row, uint64_t last) {
    switch (style) {
    case 0: return 0;
    case 1: return next() >> below(64);
    case 2: return last + below(64) * 16;
    case 3: return below(20) ? last : next() >> 40;
    case 4: return below(3) ? 7 + below(3) * 1000 : next() >> 32;
    case 5: return 0x7fff00000000u;
    case 6: return row * row;
    default: return last - below(5);
    }
}

static const snap_table order[] = {SNAP_TABLE_FRAM, SNAP_TABLE_STAK, SNAP_TABLE_SYMB,
                                   SNAP_TABLE_TYPE, SNAP_TABLE_THRD, SNAP_TABLE_POOL,
                                   SNAP_TABLE_NODE, SNAP_TABLE_EDGE, SNAP_TABLE_ROOT,
                                   SNAP_TABLE_HOOK, SNAP_TABLE_REGN, SNAP_TABLE_RSRC};
enum { N_ORDER = sizeof order / sizeof *order };

static uint64_t counts[SNAP_N_TABLES];

static void make_strings(snap_writer *w) {
    counts[SNAP_TABLE_STRS] = 1 + below(300);
    for (uint64_t i = 1; i <= counts[SNAP_TABLE_STRS]; i++) {
        char text[400];
        size_t n = 0, length = below(10) ? below(20) : below(sizeof text - 30);
        n += (size_t)snprintf(text, sizeof text, "%" PRIu64 "-", i);
        for (size_t k = 0; k < length; k++)
            text[n++] = (char)(below(3) ? 'a' + below(26) : 1 + below(255));
        uint32_t id;
        check(snap_writer_string_n(w, text, n, &id, &err), "string");
        if (id != i) {
            printf("string %" PRIu64 " has the id %" PRIu32 "\n", i, id);
            exit(1);
        }
    }
}

static void make_table(snap_writer *w, snap_table table) {
    uint64_t n = counts[table], last[SNAP_COLUMNS_MAX] = {0};
    unsigned style[SNAP_COLUMNS_MAX];
    for (unsigned c = 0; c < SNAP_COLUMNS_MAX; c++)
        style[c] = (unsigned)below(N_STYLES);
    for (uint64_t row = 1; row <= n; row++) {
        uint64_t r[SNAP_COLUMNS_MAX] = {0}, id;
        for (unsigned c = 1; c < SNAP_COLUMNS_MAX; c++) {
            snap_column_info info = snap_table_column(table, c);
            if (!info.name || info.type == SNAP_COLUMN_BYTES)
                continue;
            r[c] = last[c] = value(style[c], row, last[c]);
            if (info.type == SNAP_COLUMN_REF)
                r[c] %= counts[info.target] + 1;
        }
        if (table == SNAP_TABLE_STAK)
            r[SNAP_STAK_COL_PARENT] = below(4) ? (row - 1) : below(row);
        if (table == SNAP_TABLE_NODE)
            r[SNAP_NODE_COL_DOMAIN] = 1 + below(5);
        if (table == SNAP_TABLE_EDGE)
            r[SNAP_EDGE_COL_SOURCE] = row * counts[SNAP_TABLE_NODE] / n;
        if (table == SNAP_TABLE_REGN)
            r[SNAP_REGN_COL_ADDRESS] = row << 20;
        if (table == SNAP_TABLE_SYMB) {
            r[SNAP_SYMB_COL_FRAME] = 1 + (row - 1) / 2;
            r[SNAP_SYMB_COL_DEPTH] = (row - 1) % 2;
        }
        check(snap_writer_row(w, table, r, &id, &err), "row");
        if (id != row) {
            printf("row %" PRIu64 " has the id %" PRIu64 "\n", row, id);
            exit(1);
        }
    }
}

static void make(snap_writer *w, uint64_t seed) {
    static const struct {
        uint32_t key;
        const char *name;
    } named[] = {{SNAP_META_USER, "samples"},
                 {SNAP_META_USER, "zeit \xc3\xa4"},
                 {SNAP_META_PROCESS, "rss_bytes"},
                 {SNAP_META_COMPLETENESS, "dropped_blocks"}};
    check(snap_writer_meta_text(w, SNAP_META_WRITER, "writec", &err), "meta");
    check(snap_writer_meta_number(w, SNAP_META_SEQUENCE, seed, &err), "meta");
    check(snap_writer_meta_number(w, SNAP_META_STEP, (uint64_t) - (int64_t)seed, &err), "meta");
    check(snap_writer_meta_number(w, SNAP_META_UNSORTED, 1, &err), "meta");
    check(snap_writer_meta_text(w, SNAP_META_COMMAND, "a 'b c' \xff", &err), "meta");
    for (size_t i = 0; i < sizeof named / sizeof *named; i++)
        check(snap_writer_meta_named(w, named[i].key, named[i].name, next() >> below(64), &err),
              "meta");

    for (int t = 0; t < N_ORDER; t++)
        counts[order[t]] = below(4) ? below(200) : 0;
    if (seed % 4 == 3)
        counts[SNAP_TABLE_EDGE] = 140000;
    if (seed % 4 == 2)
        counts[SNAP_TABLE_NODE] = 70000;
    if (seed % 4 == 1)
        counts[SNAP_TABLE_STAK] = 66000;
    if (counts[SNAP_TABLE_SYMB] > 2 * counts[SNAP_TABLE_FRAM])
        counts[SNAP_TABLE_SYMB] = 2 * counts[SNAP_TABLE_FRAM];
    make_strings(w);
    counts[SNAP_TABLE_MODS] = below(6);
    for (uint64_t i = 1; i <= counts[SNAP_TABLE_MODS]; i++) {
        char path[64];
        uint64_t start = i << 32;
        snprintf(path, sizeof path, "/usr/lib/lib%" PRIu64 ".so", below(3));
        check(snap_writer_module(w, path, i % 2 ? "00ff17" : NULL, start, start + 4096, start,
                                 below(8), NULL, &err),
              "module");
    }
    for (int t = 0; t < N_ORDER; t++)
        make_table(w, order[t]);
}

typedef struct memory {
    char *data;
    size_t size, capacity;
} memory;

static int memory_sink(void *context, const void *data, size_t size) {
    memory *m = context;
    if (m->capacity - m->size < size) {
        m->capacity = 2 * m->capacity + size;
        char *grown = realloc(m->data, m->capacity);
        if (!grown)
            return SNAP_E_NOMEM;
        m->data = grown;
    }
    memcpy(m->data + m->size, data, size);
    m->size += size;
    return 0;
}

static void copy_meta(const snap_snapshot *s, snap_writer *w) {
    for (size_t i = 0; i < snap_meta_count(s); i++) {
        snap_meta_row row = snap_meta_get(s, i);
        if (row.text[0])
            check(snap_writer_meta_text(w, row.key, row.text, &err), "meta again");
        else if (row.name[0])
            check(snap_writer_meta_named(w, row.key, row.name, row.value, &err), "meta again");
        else
            check(snap_writer_meta_number(w, row.key, row.value, &err), "meta again");
    }
}

static void copy(const snap_snapshot *s, snap_writer *w) {
    snap_batch b;
    snap_batch_init(&b);
    copy_meta(s, w);
    for (uint32_t i = 0; i < snap_n_chunks(s, SNAP_TABLE_STRS); i++) {
        check(snap_batch_read(s, SNAP_TABLE_STRS, i, 1u << SNAP_STRS_COL_TEXT, &b, &err), "read");
        for (uint32_t row = 0; row < b.n_rows; row++) {
            size_t n;
            uint32_t id;
            const char *text = snap_batch_bytes(&b, SNAP_STRS_COL_TEXT, row, &n);
            check(snap_writer_string_n(w, text, n, &id, &err), "string again");
        }
    }
    for (uint64_t i = 1; i <= snap_rows(s, SNAP_TABLE_MODS); i++) {
        snap_module m;
        check(snap_module_get(s, i, &m, &err), "module");
        check(
            snap_writer_module(w, m.path, m.build_id, m.start, m.end, m.bias, m.flags, NULL, &err),
            "module again");
    }
    for (int t = 0; t < N_ORDER; t++)
        for (uint32_t i = 0; i < snap_n_chunks(s, order[t]); i++) {
            check(snap_batch_read(s, order[t], i, ~0u, &b, &err), "read");
            check(snap_writer_rows(w, order[t], b.column, b.n_rows, NULL, &err), "rows again");
        }
    snap_batch_release(&b);
}

int main(int argc, char **argv) {
    if (argc != 3) {
        printf("usage: writec SEED FILE\n");
        return 1;
    }
    uint64_t seed = strtoull(argv[1], NULL, 10);
    state = seed;
    memory first = {0}, second = {0};
    snap_writer_options options = {.struct_size = sizeof options,
                                   .zstd_level = seed % 3 ? 0 : 6,
                                   .summary_rows = seed % 5 ? 0 : 3};
    snap_writer *w;
    check(snap_writer_open_sink(&w, memory_sink, &first, &options, &err), "open");
    make(w, seed);
    check(snap_writer_finish(w, &err), "finish");
    if (snap_writer_bytes(w) != first.size) {
        printf("snap_writer_bytes is wrong\n");
        return 1;
    }
    snap_writer_close(w);

    FILE *f = fopen(argv[2], "wb");
    if (!f || fwrite(first.data, 1, first.size, f) != first.size || fclose(f) != 0) {
        printf("cannot write '%s'\n", argv[2]);
        return 1;
    }

    snap_snapshot *s;
    check(snap_open(&s, argv[2], NULL, &err), "open");
    check(snap_verify(s, NULL, NULL, &err), "verify");
    check(snap_writer_open_sink(&w, memory_sink, &second, &options, &err), "open again");
    copy(s, w);
    check(snap_writer_finish(w, &err), "finish again");
    snap_writer_close(w);
    snap_close(s);
    size_t same = 0;
    while (same < first.size && same < second.size && first.data[same] == second.data[same])
        same++;
    if (first.size != second.size || same != first.size) {
        printf("written again, the file differs from byte %zu on (%zu and %zu bytes)\n", same,
               first.size, second.size);
        return 1;
    }
    free(first.data);
    free(second.data);
    return 0;
}
