/* Names: of types, attributes, variables, functions, files. Never values.
 *
 * Every name is stored once and known by its number. What a dictionary's key says is a name only if
 * it could be one in a program (an identifier) or is a whole number; anything else may be
 * somebody's data and stays out. */
#include "python/walker.h"

#define NAME_MAX_SIZE 512
#define KEY_MAX_SIZE 96

/* --- the table --- */

static uint64_t hash(const char *text, size_t length) {
    uint64_t h = 0xcbf29ce484222325u;
    for (size_t i = 0; i < length; i++)
        h = (h ^ (unsigned char)text[i]) * 0x100000001b3u;
    return h ^ h >> 29;
}

static const char *text_at(const struct strings *s, uint32_t i) {
    return s->text.data + ((const uint64_t *)(const void *)s->offsets.data)[i];
}

const char *name_text(const struct managed_walk *w, uint32_t name) {
    return name ? text_at(&w->strings, name - 1) : "";
}

static uint32_t *slot(struct strings *s, const char *text, size_t length) {
    uint32_t *const table = (uint32_t *)(void *)s->table.data;
    const size_t mask = s->table.length / sizeof *table - 1;
    size_t at = hash(text, length) & mask;
    for (; table[at]; at = (at + 1) & mask) {
        const char *const other = text_at(s, table[at] - 1);
        if (strncmp(other, text, length) == 0 && other[length] == '\0')
            break;
    }
    return &table[at];
}

static int grow(struct strings *s) {
    struct memory old = s->table;
    const size_t bytes = old.length ? old.length * 2 : (size_t)64 << 10;
    s->table = (struct memory){0};
    if (!memory_zeroed(&s->table, bytes)) {
        s->table = old;
        return -1;
    }
    memory_release(&old);
    for (uint32_t i = 0; i < s->n; i++)
        *slot(s, text_at(s, i), strlen(text_at(s, i))) = i + 1;
    return 0;
}

uint32_t name_add(struct managed_walk *w, const char *text, size_t length) {
    struct strings *const s = &w->strings;
    if (length == 0)
        return 0;
    if ((size_t)s->n * 2 * sizeof(uint32_t) >= s->table.length && grow(s) < 0) {
        w->failed = 1;
        return 0;
    }
    uint32_t *const at = slot(s, text, length);
    if (*at)
        return *at;
    const uint64_t offset = s->text.length;
    memory_add(&s->text, text, length);
    memory_add(&s->text, "", 1);
    memory_add(&s->offsets, &offset, sizeof offset);
    if (s->text.failed || s->offsets.failed) {
        w->failed = 1;
        return 0;
    }
    *at = ++s->n;
    return *at;
}

uint32_t name_constant(struct managed_walk *w, const char *text) {
    const uint64_t mixed = (uintptr_t)text * 0x9e3779b97f4a7c15u;
    const size_t at = mixed >> 32 & (NAMES_KNOWN - 1);
    if (w->strings.known[at].text != text) {
        w->strings.known[at].name = name_add(w, text, strlen(text));
        w->strings.known[at].text = text;
    }
    return w->strings.known[at].name;
}

/* --- text of objects --- */

static size_t encode(uint32_t c, char out[4]) {
    if (c < 0x80) {
        out[0] = (char)c;
        return 1;
    }
    if (c < 0x800) {
        out[0] = (char)(0xc0 | c >> 6);
        out[1] = (char)(0x80 | (c & 0x3f));
        return 2;
    }
    if (c < 0x10000) {
        if (c >= 0xd800 && c < 0xe000)
            c = '?';
        else {
            out[0] = (char)(0xe0 | c >> 12);
            out[1] = (char)(0x80 | (c >> 6 & 0x3f));
            out[2] = (char)(0x80 | (c & 0x3f));
            return 3;
        }
        out[0] = (char)c;
        return 1;
    }
    out[0] = (char)(0xf0 | c >> 18);
    out[1] = (char)(0x80 | (c >> 12 & 0x3f));
    out[2] = (char)(0x80 | (c >> 6 & 0x3f));
    out[3] = (char)(0x80 | (c & 0x3f));
    return 4;
}

size_t name_read(PyObject *op, char *out, size_t size) {
    size_t length = 0;
    if (!op || !PyUnicode_Check(op) || !cpython_string_is_ready(op))
        return 0;
    const PyASCIIObject *const a = (PyASCIIObject *)op;
    const unsigned kind = a->state.kind;
    const void *data = ((PyUnicodeObject *)op)->data.any;
    if (a->state.compact)
        data = a->state.ascii ? (const void *)(a + 1)
                              : (const void *)((const PyCompactUnicodeObject *)op + 1);
    for (Py_ssize_t i = 0; i < a->length && length + 4 < size; i++) {
        uint32_t c = ((const uint8_t *)data)[i];
        if (kind == PyUnicode_2BYTE_KIND)
            c = ((const uint16_t *)data)[i];
        else if (kind == PyUnicode_4BYTE_KIND)
            c = ((const uint32_t *)data)[i];
        if (c == 0)
            break;
        length += encode(c, out + length);
    }
    out[length] = '\0';
    return length;
}

uint32_t name_of(struct managed_walk *w, PyObject *op) {
    char text[NAME_MAX_SIZE];
    return op ? name_add(w, text, name_read(op, text, sizeof text)) : 0;
}

int name_is_identifier(const char *text, size_t length) {
    if (length == 0 || length >= KEY_MAX_SIZE || (*text >= '0' && *text <= '9'))
        return 0;
    for (size_t i = 0; i < length; i++) {
        const char c = text[i];
        if (!((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
              c == '_' || c & 0x80))
            return 0;
    }
    return 1;
}

int name_read_number(PyObject *op, int32_t *out) {
    if (!PyLong_CheckExact(op))
        return 0;
    const digit *const digits = cpython_int_digits(op);
    const int sign = cpython_int_sign(op);
    if ((const char *)(digits + 1) < (const char *)op + cpython_int_size(op))
        return 0;
    *out = sign == 0 ? 0 : sign * (int32_t)digits[0];
    return 1;
}

size_t name_of_number(uint32_t value, char *out) {
    char reversed[16];
    size_t n = 0, length = 0;
    do
        reversed[n++] = (char)('0' + value % 10);
    while (value /= 10);
    while (n > 0)
        out[length++] = reversed[--n];
    return length;
}

/* "['encoder.weight']": what optimizers keep by parameters. */
static uint32_t name_of_part(struct managed_walk *w, PyObject *key) {
    char text[NAME_MAX_SIZE] = "['";
    const size_t n = part_path(w, key, text + 2, sizeof text - 4);
    memcpy(text + 2 + n, "']", 2);
    return n ? name_add(w, text, n + 4) : 0;
}

uint32_t name_of_key(struct managed_walk *w, PyObject *key, int is_bare) {
    char text[KEY_MAX_SIZE + 8];
    size_t length = 0;
    if (PyUnicode_Check(key)) {
        char name[KEY_MAX_SIZE + 4];
        const size_t n = name_read(key, name, sizeof name);
        const int is_number = n > 0 && n < 10 && strspn(name, "0123456789") == n;
        if (!name_is_identifier(name, n) && !is_number)
            return 0;
        if (is_bare && !is_number)
            return name_add(w, name, n);
        memcpy(text, "['", 2);
        memcpy(text + 2, name, n);
        memcpy(text + 2 + n, "']", 2);
        length = n + 4;
    } else if (PyLong_CheckExact(key)) {
        int32_t number;
        if (!name_read_number(key, &number))
            return 0;
        text[length++] = '[';
        if (number < 0)
            text[length++] = '-';
        length += name_of_number((uint32_t)(number < 0 ? -number : number), text + length);
        text[length++] = ']';
    } else
        return name_of_part(w, key);
    return name_add(w, text, length);
}

PyObject *name_entry(PyObject *dict, const char *name) {
    Py_ssize_t at = 0;
    PyObject *key, *value;
    char text[32];
    if (!dict || !PyDict_Check(dict))
        return NULL;
    while (PyDict_Next(dict, &at, &key, &value))
        if (PyUnicode_CheckExact(key) &&
            ((PyASCIIObject *)key)->length == (Py_ssize_t)strlen(name) &&
            name_read(key, text, sizeof text) == strlen(name) && strcmp(text, name) == 0)
            return value;
    return NULL;
}

size_t name_read_entry(PyObject *dict, const char *name, char *out, size_t size) {
    return name_read(name_entry(dict, name), out, size);
}

uint32_t name_of_entry(struct managed_walk *w, PyObject *dict, const char *name) {
    return name_of(w, name_entry(dict, name));
}

static uint32_t join(struct managed_walk *w, PyObject *module, const char *between,
                     PyObject *name) {
    char text[NAME_MAX_SIZE];
    size_t length = name_read(module, text, sizeof text / 2);
    if (length) {
        memcpy(text + length, between, strlen(between));
        length += strlen(between);
    }
    return name_add(w, text, length + name_read(name, text + length, sizeof text - length));
}

uint32_t name_of_type(struct managed_walk *w, PyTypeObject *type) {
    if (!(type->tp_flags & Py_TPFLAGS_HEAPTYPE))
        return name_add(w, type->tp_name, strnlen(type->tp_name, NAME_MAX_SIZE));
    PyObject *const module = name_entry(type->tp_dict, "__module__");
    PyObject *const name = ((PyHeapTypeObject *)type)->ht_qualname;
    char text[16];
    if (module && name_read(module, text, sizeof text) && strcmp(text, "builtins") == 0)
        return name_of(w, name);
    return join(w, module, ".", name);
}

uint32_t name_of_code(struct managed_walk *w, PyCodeObject *code, PyObject *globals) {
    return join(w, name_entry(globals, "__name__"), ":", cpython_code_name(code));
}
