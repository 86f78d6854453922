/* Prints a .snap file as snapcat.py does, through the public interface of the library, so that the
 * two readers can be compared; with --mutate, the verdicts on changed copies of it.
 *
 *     catc FILE                       canonical JSON lines, or one error line and exit status 2
 *     catc --mutate FILE EVERY [all|few]  every truncation and every one-byte change of the file
 *
 * A change is made twice: with checksums left as they were ("set"), where any result but an error
 * or the same content is a fault, and with the checksums made right again ("repaired"), which
 * leads past them; there each position takes ten values, or all with `all`; with `few` ten in
 * both ways, for builds with a sanitizer. Each EVERY-th verdict
 * is printed as `kind position value error chunk offset digest`, so that the other reader can be
 * asked for the same; each fault is, too. The last line is `total N harmless N faults N`. */
#include <heapsnap/snapshot.h>
#include <inttypes.h>
#include <malloc.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

typedef struct text {
    char *data;
    size_t length, capacity;
} text;

static void text_add(text *t, const char *data, size_t n) {
    if (t->capacity - t->length < n + 1) {
        t->capacity = 2 * t->capacity + n + 4096;
        t->data = realloc(t->data, t->capacity);
        if (!t->data)
            abort();
    }
    memcpy(t->data + t->length, data, n);
    t->length += n;
    t->data[t->length] = 0;
}

static void text_string(text *t, const char *s) {
    text_add(t, s, strlen(s));
}

SNAP_PRINTF(2, 3) static void text_format(text *t, const char *format, ...) {
    char line[160];
    va_list arguments;
    va_start(arguments, format);
    int n = vsnprintf(line, sizeof line, format, arguments);
    va_end(arguments);
    text_add(t, line, n < (int)sizeof line ? (size_t)n : sizeof line - 1);
}

/* Length of the UTF-8 sequence at s, 0 if it is none; *out is its code point. */
static size_t utf8_decode(const unsigned char *s, size_t n, uint32_t *out) {
    size_t length = s[0] < 0x80 ? 1 : s[0] < 0xc2 ? 0 : s[0] < 0xe0 ? 2 : s[0] < 0xf0 ? 3 : 4;
    if (length == 0 || s[0] > 0xf4 || length > n)
        return 0;
    uint32_t c = length == 1 ? s[0] : s[0] & (0x7fu >> length);
    for (size_t i = 1; i < length; i++) {
        if ((s[i] & 0xc0) != 0x80)
            return 0;
        c = c << 6 | (s[i] & 0x3f);
    }
    if ((length == 3 && c < 0x800) || (length == 4 && c < 0x10000) || c > 0x10ffff ||
        (c >= 0xd800 && c < 0xe000))
        return 0;
    *out = c;
    return length;
}

static void text_json(text *t, const char *value, size_t n) {
    static const char names[] = "\b\f\n\r\t", letters[] = "bfnrt";
    const unsigned char *s = (const unsigned char *)value;
    text_string(t, "\"");
    for (size_t i = 0; i < n;) {
        uint32_t c;
        size_t length = utf8_decode(s + i, n - i, &c);
        if (length == 0) {
            text_format(t, "\\u%04x", 0xdc00u + s[i]);
            i++;
            continue;
        }
        i += length;
        const char *name = c && c < 32 ? strchr(names, (int)c) : NULL;
        if (name)
            text_format(t, "\\%c", letters[name - names]);
        else if (c == '"' || c == '\\')
            text_format(t, "\\%c", (char)c);
        else if (c >= 32 && c < 127)
            text_format(t, "%c", (char)c);
        else if (c < 0x10000)
            text_format(t, "\\u%04x", c);
        else
            text_format(t, "\\u%04x\\u%04x", 0xd800 + ((c - 0x10000) >> 10), 0xdc00 + (c & 0x3ff));
    }
    text_string(t, "\"");
}

static void table_name(snap_table table, char name[5]) {
    uint32_t id = snap_table_id(table);
    for (int i = 0; i < 4; i++)
        name[i] = (char)(id >> 8 * i);
    name[4] = 0;
}

static int dump_table(const snap_snapshot *s, snap_table table, snap_batch *b, text *out,
                      snap_error *err) {
    char name[5];
    uint32_t columns = 0;
    table_name(table, name);
    for (unsigned c = 1; c < SNAP_COLUMNS_MAX; c++)
        if (snap_table_column(table, c).name)
            columns |= 1u << c;
    uint64_t next_id = 1;
    for (uint32_t i = 0; i < snap_n_chunks(s, table); i++) {
        int rc = snap_batch_read(s, table, i, columns, b, err);
        if (rc != 0)
            return rc;
        if (b->first_id != next_id) {
            fprintf(stderr, "catc: first_id of %s chunk %" PRIu32 " is wrong\n", name, i);
            exit(3);
        }
        next_id += b->n_rows;
        for (uint32_t row = 0; row < b->n_rows; row++) {
            text_format(out, "{\"table\":\"%s\",\"id\":%" PRIu64, name, b->first_id + row);
            for (unsigned c = 1; c < SNAP_COLUMNS_MAX; c++) {
                snap_column_info info = snap_table_column(table, c);
                if (!info.name)
                    continue;
                if (info.type == SNAP_COLUMN_BYTES) {
                    size_t n;
                    const char *value = snap_batch_bytes(b, c, row, &n);
                    if (n) {
                        text_format(out, ",\"%s\":", info.name);
                        text_json(out, value, n);
                    }
                } else if (b->column[c][row]) {
                    text_format(out, ",\"%s\":%" PRIu64, info.name, b->column[c][row]);
                }
            }
            text_string(out, "}\n");
        }
    }
    if (next_id != snap_rows(s, table) + 1) {
        fprintf(stderr, "catc: snap_rows of %s is wrong\n", name);
        exit(3);
    }
    return 0;
}

/* What the getters of metadata and summary say has to be what the tables say. */
static void getters_agree(const snap_snapshot *s) {
    const snap_summary_row *rows;
    size_t n;
    snap_error err;
    if (snap_summary(s, &rows, &n, &err) != 0 || n != snap_rows(s, SNAP_TABLE_SUMM) ||
        snap_meta_count(s) > snap_rows(s, SNAP_TABLE_META)) {
        fprintf(stderr, "catc: snap_summary or snap_meta_count is wrong\n");
        exit(3);
    }
    for (size_t i = 0; i < snap_meta_count(s); i++) {
        snap_meta_row row = snap_meta_get(s, i);
        uint64_t value = ~row.value;
        if (row.text[0] && !row.name[0] && snap_meta_text(s, row.key) == NULL) {
            fprintf(stderr, "catc: snap_meta_text does not know key %u\n", row.key);
            exit(3);
        }
        if (row.value && (!snap_meta_number(s, row.key, row.name, &value) || value != row.value)) {
            fprintf(stderr, "catc: snap_meta_number does not know key %u\n", row.key);
            exit(3);
        }
    }
}

/* Whole check and content of a file; 0 or the error. */
static int judge(const void *data, size_t size, snap_batch *b, text *out, snap_error *err) {
    snap_snapshot *s;
    out->length = 0;
    int rc = snap_open_memory(&s, data, size, NULL, err);
    if (rc != 0)
        return rc;
    rc = snap_verify(s, NULL, NULL, err);
    for (int t = 0; rc == 0 && t < SNAP_N_TABLES; t++)
        if (t != SNAP_TABLE_TOCC)
            rc = dump_table(s, (snap_table)t, b, out, err);
    snap_close(s);
    return rc;
}

/* `ERROR_NAME chunk offset` */
static const char *verdict(const snap_error *err, char line[64]) {
    char name[5] = "-";
    if (err->chunk)
        for (int i = 0; i < 5; i++)
            name[i] = i < 4 ? (char)(err->chunk >> 8 * i) : 0;
    for (int i = 0; name[i]; i++)
        if (name[i] < '!' || name[i] > '~')
            name[i] = '?';
    snprintf(line, 64, "%s %s %" PRIu64, snap_error_name(err->code), name, err->offset);
    return line;
}

static uint64_t load64(const unsigned char *p) {
    uint64_t v;
    memcpy(&v, p, 8);
    return v;
}

static void store64(unsigned char *p, uint64_t v) {
    memcpy(p, &v, 8);
}

/* Makes all checksums of `data` right, at the places where the sound file `original` has them. */
static void repair(unsigned char *data, const unsigned char *original, size_t size) {
    uint32_t header_size;
    memcpy(&header_size, original + 8, 4);
    store64(data + 56, XXH3_64bits(data, 56));
    for (size_t at = header_size; at < size - SNAP_FOOTER_SIZE;) {
        size_t stored = (size_t)load64(original + at + 8);
        XXH3_state_t *state = XXH3_createState();
        XXH3_64bits_reset(state);
        XXH3_64bits_update(state, data + at, 24);
        XXH3_64bits_update(state, data + at + 32, stored);
        store64(data + at + 24, XXH3_64bits_digest(state));
        XXH3_freeState(state);
        at += 32 + stored;
    }
    unsigned char covered[24];
    memcpy(covered, data + 56, 8);
    memcpy(covered + 8, data + size - 32, 16);
    store64(data + size - 16, XXH3_64bits(covered, 24));
}

typedef struct mutation {
    const unsigned char *original;
    size_t size;
    uint64_t digest; /* of the original's content */
    unsigned long every, n, n_harmless, n_faults;
    text out;
    snap_batch batch;
} mutation;

static void mutation_judge(mutation *m, const char *kind, const unsigned char *data, size_t size,
                           size_t position, unsigned value) {
    snap_error err = {0};
    /* An allocation of the exact size, so that a sanitizer sees each byte read past the end. */
    unsigned char *copy = malloc(size ? size : 1);
    if (!copy)
        abort();
    memcpy(copy, data, size);
    int rc = judge(copy, size, &m->batch, &m->out, &err);
    free(copy);
    uint64_t digest = rc == 0 ? XXH3_64bits(m->out.data, m->out.length) : 0;
    int fault = 0;
    if (strcmp(kind, "repaired") != 0 && rc == 0) {
        m->n_harmless++;
        fault = digest != m->digest;
    }
    if (rc != 0 && (rc != err.code || !err.message[0] || strchr(err.message, '\n')))
        fault = 1;
    m->n_faults += (unsigned long)fault;
    if (fault || m->n++ % m->every == 0) {
        char line[64];
        printf("%s %s %zu %u %s %016" PRIx64 "\n", fault ? "fault" : "sample", kind, position,
               value, rc == 0 ? "OK - 0" : verdict(&err, line), digest);
    }
}

static int mutate(const unsigned char *data, size_t size, unsigned long every, int all, int few) {
    mutation m = {.original = data, .size = size, .every = every};
    snap_error err = {0};
    snap_batch_init(&m.batch);
    if (judge(data, size, &m.batch, &m.out, &err) != 0) {
        fprintf(stderr, "catc: the file to change is not sound: %s\n", err.message);
        return 2;
    }
    m.digest = XXH3_64bits(m.out.data, m.out.length);
    unsigned char *changed = malloc(size);
    if (!changed)
        abort();
    for (size_t i = 0; i < size; i++) {
        mutation_judge(&m, "cut", data, i, i, 0);
        for (unsigned value = 0; value < 256; value++) {
            if (value == data[i])
                continue;
            const unsigned flipped = value ^ data[i];
            const int is_chosen = value == 0 || value == 255 || (flipped & (flipped - 1)) == 0;
            memcpy(changed, data, size);
            changed[i] = (unsigned char)value;
            if (!few || is_chosen)
                mutation_judge(&m, "set", changed, size, i, value);
            if (all || is_chosen) {
                repair(changed, data, size);
                mutation_judge(&m, "repaired", changed, size, i, value);
            }
        }
    }
    printf("total %lu harmless %lu faults %lu\n", m.n, m.n_harmless, m.n_faults);
    free(changed);
    free(m.out.data);
    snap_batch_release(&m.batch);
    return 0;
}

static int cat(const char *path) {
    snap_snapshot *s;
    snap_error err = {0};
    char line[64];
    text out = {0};
    snap_batch b;
    snap_batch_init(&b);
    int rc = snap_open(&s, path, NULL, &err);
    if (rc == 0) {
        rc = snap_verify(s, NULL, NULL, &err);
        for (int t = 0; rc == 0 && t < SNAP_N_TABLES; t++)
            if (t != SNAP_TABLE_TOCC)
                rc = dump_table(s, (snap_table)t, &b, &out, &err);
        if (rc == 0)
            getters_agree(s);
        snap_close(s);
    }
    if (rc == 0)
        fwrite(out.data, 1, out.length, stdout);
    else
        fprintf(stderr, "%s %s\n", verdict(&err, line), err.message);
    free(out.data);
    snap_batch_release(&b);
    return rc == 0 ? 0 : 2;
}

int main(int argc, char **argv) {
    if (argc == 2)
        return cat(argv[1]);
    if (argc < 4 || strcmp(argv[1], "--mutate") != 0) {
        fprintf(stderr, "usage: catc FILE | catc --mutate FILE EVERY [all|few]\n");
        return 3;
    }
    FILE *f = fopen(argv[2], "rb");
    static unsigned char data[1 << 20];
    size_t size = f ? fread(data, 1, sizeof data, f) : 0;
    if (!f || size == 0) {
        fprintf(stderr, "catc: cannot read '%s'\n", argv[2]);
        return 3;
    }
    fclose(f);
    /* Millions of openings, each with large buffers: keep the pages from one to the next, and do
     * without the pattern that meson has malloc write into them. */
    mallopt(M_PERTURB, 0);
    mallopt(M_MMAP_THRESHOLD, 1 << 30);
    mallopt(M_TRIM_THRESHOLD, 1 << 30);
    unsigned long every = strtoul(argv[3], NULL, 10);
    return mutate(data, size, every ? every : 1, argc > 4 && strcmp(argv[4], "all") == 0,
                  argc > 4 && strcmp(argv[4], "few") == 0);
}
