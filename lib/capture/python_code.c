/* Code objects by address, and what they say. See python_code.h.
 *
 * Two tables, both of the recorder's own memory: from the address of a live code object to its
 * serial, and from what a code object says to the serial that says it. Read without a lock, added
 * to under one; replaced by greater ones, never moved in place. A place in the first is emptied
 * when its object goes, which is seen by standing before PyCode_Type's own deallocator: whoever has
 * a frame of a code object may rely on its place. Runs inside malloc: no allocation, nothing of
 * Python is called. */
#include "capture/python_code.h"

#include <string.h>

#include "capture/rawmem.h"

enum {
    CHUNK_SHIFT = 10,
    CHUNKS = 1 << 10, /* codes at most: CHUNKS << CHUNK_SHIFT */
    FIRST = 1 << 10,
    NAME_MAX_BYTES = 4096,
    LINES_MAX_BYTES = 4 << 20,
    CARVE_MAX = 64 << 10,
    UNITS_MAX = 1 << 24,
    TYPE_DEALLOC = 48, /* PyTypeObject.tp_dealloc, since 3.8 */
    OBJECT_TYPE = 8,   /* PyObject.ob_type */
    OBJECT_SIZE = 16,  /* PyVarObject.ob_size */
    STRING_LENGTH = 16,
    STRING_STATE = 32,
    BYTES_DATA = 32,
    FIRST_TRACEABLE_BELOW = 16 /* _co_firsttraceable stands so far before the instructions */
};

struct code {
    const char *text; /* file, function, table of lines */
    uint64_t hash;    /* of all that it says */
    uint32_t file_length, function_length, lines_length;
    int32_t line; /* the first */
    uint32_t n_units;
    const uint32_t *unit_lines; /* of each instruction; 0: unknown */
};

struct by_address {
    uint64_t mask;
    struct {
        _Atomic uintptr_t code; /* 0: empty, GONE: passed over */
        _Atomic uint32_t serial;
    } places[];
};
enum { GONE = 1 };

struct by_content {
    uint64_t mask;
    uint32_t serials[]; /* 0: empty; only used under the lock */
};

_Atomic uint64_t python_generation = 1;

static struct code *_Atomic chunks[CHUNKS];
static _Atomic uint32_t n_codes;
static struct by_address *_Atomic addresses;
static uint64_t n_places; /* used or gone */
static struct by_content *contents;
static struct rawmem_lock lock;
static void (*real_dealloc)(void *);
static uint8_t minor; /* of the interpreter's version */

static inline uintptr_t word(uintptr_t at) {
    return *(const uintptr_t *)at;
}

static inline uint64_t mix(uint64_t x) {
    x *= UINT64_C(0x9E3779B97F4A7C15);
    return x ^ x >> 32;
}

static struct code *code_at(uint32_t serial) {
    return &atomic_load_explicit(&chunks[serial >> CHUNK_SHIFT],
                                 memory_order_acquire)[serial & ((1u << CHUNK_SHIFT) - 1)];
}

uint32_t python_n_codes(void) {
    return atomic_load_explicit(&n_codes, memory_order_acquire);
}

static uint32_t find_address(const struct by_address *t, uintptr_t code) {
    if (t == NULL)
        return 0;
    for (uint64_t i = mix(code >> 4) & t->mask;; i = (i + 1) & t->mask) {
        const uintptr_t at = atomic_load_explicit(&t->places[i].code, memory_order_acquire);
        if (at == code)
            return atomic_load_explicit(&t->places[i].serial, memory_order_relaxed);
        if (at == 0)
            return 0;
    }
}

/* Puts what is not there. Whether a place that was never used was taken. */
static bool put_address(struct by_address *t, uintptr_t code, uint32_t serial) {
    uint64_t i = mix(code >> 4) & t->mask;
    while (atomic_load_explicit(&t->places[i].code, memory_order_relaxed) > GONE)
        i = (i + 1) & t->mask;
    const bool is_new = t->places[i].code == 0;
    atomic_store_explicit(&t->places[i].serial, serial, memory_order_relaxed);
    atomic_store_explicit(&t->places[i].code, code, memory_order_release);
    return is_new;
}

/* Empties the place of a code object, unless it is that of another serial; the serial it had. */
static uint32_t forget(struct by_address *t, uintptr_t code, uint32_t serial) {
    if (t == NULL)
        return 0;
    for (uint64_t i = mix(code >> 4) & t->mask;; i = (i + 1) & t->mask) {
        const uintptr_t at = atomic_load_explicit(&t->places[i].code, memory_order_acquire);
        if (at == 0)
            return 0;
        const uint32_t found = atomic_load_explicit(&t->places[i].serial, memory_order_relaxed);
        if (at != code || (serial != 0 && found != serial))
            continue;
        atomic_store(&t->places[i].code, GONE);
        return found;
    }
}

/* Under the lock: a table with room for one more. The one that it replaces stays for its readers.
 */
static struct by_address *addresses_with_room(void) {
    struct by_address *const t = atomic_load_explicit(&addresses, memory_order_relaxed);
    if (t != NULL && n_places * 2 < t->mask)
        return t;
    uint64_t n_live = 0, size = FIRST;
    for (uint64_t i = 0; t != NULL && i <= t->mask; i++)
        n_live += t->places[i].code > GONE;
    while (size < (n_live + 1) * 4)
        size *= 2;
    struct by_address *const grown = rawmem_map(sizeof *grown + size * sizeof grown->places[0]);
    if (grown == NULL)
        return NULL;
    grown->mask = size - 1;
    for (uint64_t i = 0; t != NULL && i <= t->mask; i++) {
        const uintptr_t code = t->places[i].code;
        if (code > GONE)
            put_address(grown, code, t->places[i].serial);
    }
    n_places = n_live;
    atomic_store(&addresses, grown);
    /* What went from the old one before the new one was seen. */
    for (uint64_t i = 0; i < size; i++) {
        const uintptr_t code = grown->places[i].code;
        if (code > GONE && find_address(t, code) == 0)
            forget(grown, code, 0);
    }
    return grown;
}

static bool add_address(uintptr_t code, uint32_t serial) {
    struct by_address *const t = addresses_with_room();
    if (t != NULL)
        n_places += put_address(t, code, serial);
    return t != NULL;
}

/* --- what a code object says --- */

/* UTF-8 of a string object, `room` bytes at most; how many. */
static uint32_t read_string(const struct python_layout *l, uintptr_t string, char *out,
                            uint32_t room) {
    const uint64_t length = string != 0 ? word(string + STRING_LENGTH) : 0;
    const uint32_t state = length != 0 ? *(const uint32_t *)(string + STRING_STATE) : 0;
    /* 3.14 has 16 bits before the kind, others 2. */
    const uint32_t bits = l->minor >= 14 ? state >> 16 : state >> 2;
    const unsigned kind = bits & 7;
    const bool is_compact = bits >> 3 & 1, is_ascii = bits >> 4 & 1;
    uint32_t n = 0;
    if (!is_compact || (kind != 1 && kind != 2 && kind != 4))
        return 0;
    const uint8_t *const data =
        (const uint8_t *)string + (is_ascii ? l->string_ascii : l->string_compact);
    for (uint64_t i = 0; i < length && n + 4 <= room; i++) {
        uint32_t c = kind == 1   ? data[i]
                     : kind == 2 ? ((const uint16_t *)(const void *)data)[i]
                                 : ((const uint32_t *)(const void *)data)[i];
        if ((c >= 0xd800 && c < 0xe000) || c > 0x10ffff)
            c = 0xfffd; /* file names that are no text have such */
        if (c < 0x80) {
            out[n++] = (char)c;
        } else if (c < 0x800) {
            out[n++] = (char)(0xc0 | c >> 6);
            out[n++] = (char)(0x80 | (c & 63));
        } else if (c < 0x10000) {
            out[n++] = (char)(0xe0 | c >> 12);
            out[n++] = (char)(0x80 | (c >> 6 & 63));
            out[n++] = (char)(0x80 | (c & 63));
        } else {
            out[n++] = (char)(0xf0 | c >> 18);
            out[n++] = (char)(0x80 | (c >> 12 & 63));
            out[n++] = (char)(0x80 | (c >> 6 & 63));
            out[n++] = (char)(0x80 | (c & 63));
        }
    }
    return n;
}

struct said {
    char file[NAME_MAX_BYTES], function[NAME_MAX_BYTES];
    uint32_t file_length, function_length, lines_length;
    const char *lines;
    int32_t line;
    uint64_t hash;
};

static uint64_t hash_bytes(uint64_t h, const char *at, uint32_t n) {
    uint64_t part;
    h ^= n;
    for (; n >= 8; at += 8, n -= 8) {
        memcpy(&part, at, 8);
        h = mix(h ^ part);
    }
    part = 0;
    memcpy(&part, at, n);
    return mix(h ^ part);
}

static void read_code(const struct python_layout *l, uintptr_t code, struct said *out) {
    out->file_length = read_string(l, word(code + l->code_file), out->file, sizeof out->file);
    out->function_length =
        read_string(l, word(code + l->code_name), out->function, sizeof out->function);
    const uintptr_t lines = word(code + l->code_lines);
    const uint64_t length = lines != 0 ? word(lines + OBJECT_SIZE) : 0;
    out->lines = (const char *)lines + BYTES_DATA;
    out->lines_length = length <= LINES_MAX_BYTES ? (uint32_t)length : 0;
    out->line = *(const int32_t *)(code + l->code_line);
    uint64_t h = hash_bytes((uint32_t)out->line, out->file, out->file_length);
    h = hash_bytes(h, out->function, out->function_length);
    out->hash = hash_bytes(h, out->lines, out->lines_length);
}

static bool says(const struct code *c, const struct said *s) {
    return c->hash == s->hash && c->line == s->line && c->file_length == s->file_length &&
           c->function_length == s->function_length && c->lines_length == s->lines_length &&
           memcmp(c->text, s->file, s->file_length) == 0 &&
           memcmp(c->text + s->file_length, s->function, s->function_length) == 0 &&
           memcmp(c->text + s->file_length + s->function_length, s->lines, s->lines_length) == 0;
}

static uint32_t *find_content(struct by_content *t, const struct said *s) {
    uint64_t i = s->hash & t->mask;
    while (t->serials[i] != 0 && !says(code_at(t->serials[i]), s))
        i = (i + 1) & t->mask;
    return &t->serials[i];
}

static bool grow_contents(void) {
    const uint32_t n = python_n_codes();
    struct by_content *const before = contents;
    if (before != NULL && (uint64_t)n * 2 < before->mask)
        return true;
    const uint64_t size = before == NULL ? FIRST : (before->mask + 1) * 2;
    struct by_content *const grown = rawmem_map(sizeof *grown + size * 4);
    if (grown == NULL)
        return before != NULL && n < before->mask;
    grown->mask = size - 1;
    for (uint32_t serial = 1; serial <= n; serial++) {
        uint64_t i = code_at(serial)->hash & grown->mask;
        while (grown->serials[i] != 0)
            i = (i + 1) & grown->mask;
        grown->serials[i] = serial;
    }
    contents = grown;
    if (before != NULL)
        rawmem_unmap(before, sizeof *before + (before->mask + 1) * 4);
    return true;
}

/* --- lines --- */

struct reader {
    const uint8_t *at, *end;
};

static uint32_t read_varint(struct reader *r) {
    uint32_t value = 0;
    for (unsigned shift = 0; r->at < r->end && shift < 32; shift += 6) {
        const uint8_t byte = *r->at++;
        value |= (uint32_t)(byte & 63) << shift;
        if (!(byte & 64))
            break;
    }
    return value;
}

static int32_t read_signed(struct reader *r) {
    const uint32_t value = read_varint(r);
    return value & 1 ? -(int32_t)(value >> 1) : (int32_t)(value >> 1);
}

/* So many instructions more are of a line (0 or less: of none). */
static void put_lines(uint32_t *out, uint64_t *n, uint64_t more, int32_t line) {
    for (; more > 0 && *n < UNITS_MAX; more--, ++*n)
        if (out != NULL)
            out[*n] = line > 0 ? (uint32_t)line : 0;
}

/* From 3.11 on: entries of a first byte with its top bit set, code and length, then what the code
 * says (Objects/locations.md of CPython). How many instructions; their lines to `out`, or NULL. */
static uint64_t lines_of_entries(struct reader r, int32_t line, uint32_t *out) {
    uint64_t n = 0;
    while (r.at < r.end) {
        const unsigned first = *r.at++;
        const unsigned code = first >> 3 & 15;
        bool has_line = true;
        switch (code) {
        case 15: has_line = false; break;
        case 14:
            line += read_signed(&r);
            read_varint(&r);
            read_varint(&r);
            read_varint(&r);
            break;
        case 13: line += read_signed(&r); break;
        case 12:
        case 11:
        case 10: line += (int32_t)code - 10; break;
        default: break;
        }
        while (r.at < r.end && !(*r.at & 128))
            r.at++;
        put_lines(out, &n, (first & 7) + 1, has_line ? line : 0);
    }
    return n;
}

/* 3.10: pairs of bytes: how many bytes of code, and how many lines further on they are. */
static uint64_t lines_of_pairs(struct reader r, int32_t line, uint32_t *out) {
    uint64_t n = 0;
    for (; r.end - r.at >= 2; r.at += 2) {
        const int8_t step = (int8_t)r.at[1];
        if (step != -128)
            line += step;
        put_lines(out, &n, r.at[0] / 2, step != -128 ? line : 0);
    }
    return n;
}

static uint64_t lines_of(const struct said *s, uint32_t *out) {
    const struct reader r = {(const uint8_t *)s->lines,
                             (const uint8_t *)s->lines + s->lines_length};
    return minor == 10 ? lines_of_pairs(r, s->line, out) : lines_of_entries(r, s->line, out);
}

static void *get_room(size_t bytes, bool try) {
    const size_t room = (bytes + 64) & ~(size_t)63;
    return room <= CARVE_MAX ? rawmem_carve(room, try) : rawmem_map(room);
}

static uint32_t new_code(const struct said *s, bool try) {
    const uint32_t serial = python_n_codes() + 1;
    if (serial >> CHUNK_SHIFT >= CHUNKS)
        return 0;
    struct code *chunk = chunks[serial >> CHUNK_SHIFT];
    if (chunk == NULL) {
        chunk = rawmem_map(sizeof *chunk << CHUNK_SHIFT);
        if (chunk == NULL)
            return 0;
        atomic_store_explicit(&chunks[serial >> CHUNK_SHIFT], chunk, memory_order_release);
    }
    const size_t length = (size_t)s->file_length + s->function_length + s->lines_length;
    const uint64_t n_units = lines_of(s, NULL);
    char *const text = get_room(length, try);
    uint32_t *const unit_lines = text != NULL ? get_room(n_units * sizeof *unit_lines, try) : NULL;
    if (unit_lines == NULL)
        return 0;
    lines_of(s, unit_lines);
    memcpy(text, s->file, s->file_length);
    memcpy(text + s->file_length, s->function, s->function_length);
    memcpy(text + s->file_length + s->function_length, s->lines, s->lines_length);
    *code_at(serial) = (struct code){.text = text,
                                     .hash = s->hash,
                                     .file_length = s->file_length,
                                     .function_length = s->function_length,
                                     .lines_length = s->lines_length,
                                     .line = s->line,
                                     .n_units = (uint32_t)n_units,
                                     .unit_lines = unit_lines};
    atomic_store_explicit(&n_codes, serial, memory_order_release);
    return serial;
}

static __attribute__((noinline)) uint32_t serial_slowly(const struct python_layout *l,
                                                        uintptr_t code, bool try) {
    static struct said said; /* too much for a stack that may be small; under the lock */
    if (!rawmem_lock(&lock, try))
        return 0;
    uint32_t serial = find_address(atomic_load_explicit(&addresses, memory_order_relaxed), code);
    if (serial == 0 && grow_contents()) {
        read_code(l, code, &said);
        uint32_t *const at = find_content(contents, &said);
        serial = *at != 0 ? *at : new_code(&said, try);
        *at = serial;
        if (serial != 0 && !add_address(code, serial))
            serial = 0;
    }
    rawmem_unlock(&lock);
    return serial;
}

python_position python_code_position(const struct python_runtime *python, uintptr_t code,
                                     uintptr_t instruction, bool try, uint64_t *dropped) {
    const struct python_layout *const l = &python->layout;
    if (code == 0 || code & 7 || word(code + OBJECT_TYPE) != (uintptr_t)python->code_type)
        return 0;
    int64_t unit;
    if (l->code_instructions != 0) {
        const uintptr_t first = code + l->code_instructions;
        const int64_t n = (int64_t)word(code + OBJECT_SIZE);
        /* A frame of the interpreter's own making, all of it before the first line. */
        if (*(const int32_t *)(first - FIRST_TRACEABLE_BELOW) >= n)
            return 0;
        unit = ((int64_t)instruction - (int64_t)first) / 2;
        if (unit >= n)
            return 0;
    } else {
        unit = (int32_t)instruction;
    }
    uint32_t serial = find_address(atomic_load_explicit(&addresses, memory_order_acquire), code);
    if (serial == 0)
        serial = serial_slowly(l, code, try);
    if (serial == 0) {
        ++*dropped;
        return 0;
    }
    const struct code *const c = code_at(serial);
    const uint64_t at = unit < 0 ? 0 : (uint64_t)unit;
    uint32_t line = at < c->n_units ? c->unit_lines[at] : 0;
    if (line == 0 && c->line > 0)
        line = (uint32_t)c->line;
    const uint32_t most = (1u << PYTHON_LINE_BITS) - 1;
    return (uint64_t)serial << PYTHON_LINE_BITS | (line < most ? line : most);
}

/* --- the end of code objects --- */

/* No lock: a signal handler that allocates may come in between, and wait for it. Whoever replaces
 * the table meanwhile looks again at what went. */
static void code_goes(void *object) {
    struct by_address *t = atomic_load(&addresses), *again;
    uint32_t serial = forget(t, (uintptr_t)object, 0);
    if (serial != 0) {
        while ((again = atomic_load(&addresses)) != t) {
            forget(again, (uintptr_t)object, serial);
            t = again;
        }
        atomic_fetch_add(&python_generation, 1);
    }
    real_dealloc(object);
}

void python_code_start(const struct python_runtime *python) {
    void (**const slot)(void *) = (void (**)(void *))((uintptr_t)python->code_type + TYPE_DEALLOC);
    minor = python->layout.minor;
    real_dealloc = *slot;
    *slot = code_goes;
}

void python_code_after_fork_child(void) {
    rawmem_unlock(&lock);
}

bool python_place_get(python_position position, struct python_place *out) {
    const uint32_t serial = (uint32_t)(position >> PYTHON_LINE_BITS);
    if (serial == 0 || serial > python_n_codes())
        return false;
    const struct code *const c = code_at(serial);
    *out = (struct python_place){.file = c->text,
                                 .function = c->text + c->file_length,
                                 .file_length = c->file_length,
                                 .function_length = c->function_length,
                                 .line = (uint32_t)position & ((1u << PYTHON_LINE_BITS) - 1)};
    return true;
}
