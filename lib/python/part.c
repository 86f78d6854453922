/* Parts of PyTorch's modules by the path that named_parameters() gives them:
 * "encoder.layer.3.weight".
 *
 * A module keeps its children, parameters and buffers in three dictionaries of its own. Each part
 * remembers one module that has it (walk_owner); the path is put together when it is asked for. A
 * part of several modules has the path by the first. Reads only. */
#include "python/guard.h"
#include "python/walker.h"

#define PART_DEPTH_MAX 32

static int is_dictionary_of_parts(PyObject *name) {
    static const char *const names[] = {"_parameters", "_modules", "_buffers"};
    char text[16];
    const size_t n = name && PyUnicode_Check(name) ? name_read(name, text, sizeof text) : 0;
    for (size_t i = 0; i < sizeof names / sizeof *names && n > 0; i++)
        if (strcmp(text, names[i]) == 0)
            return 1;
    return 0;
}

/* Calls fn with each of a module's dictionaries until it does not return 0. */
static int each_dictionary(PyObject *module, int (*fn)(void *context, PyObject *dict),
                           void *context) {
    struct cpython_attributes a;
    Py_ssize_t at = 0;
    PyObject *key, *value;
    int result = 0;
    cpython_attributes_read(module, &a);
    for (Py_ssize_t i = 0; i < a.n_values && !result; i++)
        if (a.values[i] && PyDict_Check(a.values[i]) &&
            is_dictionary_of_parts(cpython_keys_key(a.keys, i)))
            result = fn(context, a.values[i]);
    while (!result && a.dict && PyDict_Check(a.dict) && PyDict_Next(a.dict, &at, &key, &value))
        if (PyDict_Check(value) && is_dictionary_of_parts(key))
            result = fn(context, value);
    return result;
}

struct part_search {
    struct managed_walk *walk;
    PyObject *module, *part, *key;
};

static int take_parts(void *context, PyObject *dict) {
    const struct part_search *const s = context;
    Py_ssize_t at = 0;
    PyObject *key, *value;
    while (PyDict_Next(dict, &at, &key, &value)) {
        const uint32_t node = PyUnicode_Check(key) ? walk_find(s->walk, value) : 0;
        struct node *const n = node ? &walk_nodes(s->walk)[node - 1] : NULL;
        if (n && value != s->module && n->role == ROLE_NONE)
            walk_set_owner(s->walk, n, ROLE_PART, s->module);
    }
    return 0;
}

static int find_of_one(void *context, size_t i) {
    struct managed_walk *const w = context;
    if (i >= w->n_nodes)
        return 1;
    const struct node node = walk_nodes(w)[i];
    struct part_search s = {.walk = w, .module = node.object};
    if (walk_types(w)[node.type].special == SPECIAL_MODULE && !node.is_bad)
        each_dictionary(node.object, take_parts, &s);
    return 0;
}

static int skip_parts(void *context, size_t i) {
    return 0;
}

void parts_find(struct managed_walk *w) {
    int has_modules = 0;
    for (uint32_t i = 0; i < w->types_size; i++)
        has_modules |= walk_types(w)[i].special == SPECIAL_MODULE;
    if (has_modules) /* else no object needs to be looked at */
        guard_each(0, find_of_one, skip_parts, w);
}

static int find_key(void *context, PyObject *dict) {
    struct part_search *const s = context;
    Py_ssize_t at = 0;
    PyObject *key, *value;
    while (PyDict_Next(dict, &at, &key, &value))
        if (value == s->part && PyUnicode_Check(key)) {
            s->key = key;
            return 1;
        }
    return 0;
}

size_t part_path(struct managed_walk *w, PyObject *part, char *out, size_t size) {
    char text[64];
    size_t start = size;
    for (unsigned depth = 0; depth < PART_DEPTH_MAX; depth++) {
        const uint32_t node = walk_find(w, part);
        if (!node || walk_nodes(w)[node - 1].role != ROLE_PART)
            break;
        struct part_search s = {.part = part, .module = walk_owner(w, &walk_nodes(w)[node - 1])};
        if (!each_dictionary(s.module, find_key, &s))
            break;
        const size_t n = name_read(s.key, text, sizeof text);
        const int is_number = n > 0 && strspn(text, "0123456789") == n;
        if ((!name_is_identifier(text, n) && !is_number) || n + 1 > start)
            break;
        if (start < size)
            out[--start] = '.';
        start -= n;
        memcpy(out + start, text, n);
        part = s.module;
    }
    memmove(out, out + start, size - start);
    return size - start;
}
