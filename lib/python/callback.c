/* Callbacks that somebody has registered and that stay until somebody takes them away: hooks of
 * PyTorch's modules, optimizers and tensors, of the collector, of weak references, at exit; and
 * caches of results, which grow in the same way.
 *
 * A registry is an attribute with a known name that holds a dictionary or list; whose attribute it
 * is, is said as the program would: the way by which a root reaches the owner (find.c), without the
 * dictionaries in between. */
#include <heapsnap/snapdef.h>

#include "model/wire.h"
#include "python/guard.h"
#include "python/hold.h"
#include "python/walker.h"

#define PATH_SIZE 512
#define DEPTH_MAX 24

struct registry {
    const char *name;
    uint32_t kind;
};

static const struct registry registries[] = {
    {"_forward_hooks", SNAP_HOOK_TORCH_MODULE},
    {"_forward_pre_hooks", SNAP_HOOK_TORCH_MODULE},
    {"_backward_hooks", SNAP_HOOK_TORCH_MODULE},
    {"_backward_pre_hooks", SNAP_HOOK_TORCH_MODULE},
    {"_state_dict_hooks", SNAP_HOOK_TORCH_MODULE},
    {"_state_dict_pre_hooks", SNAP_HOOK_TORCH_MODULE},
    {"_load_state_dict_pre_hooks", SNAP_HOOK_TORCH_MODULE},
    {"_load_state_dict_post_hooks", SNAP_HOOK_TORCH_MODULE},
    {"_global_forward_hooks", SNAP_HOOK_TORCH_MODULE},
    {"_global_forward_pre_hooks", SNAP_HOOK_TORCH_MODULE},
    {"_global_backward_hooks", SNAP_HOOK_TORCH_MODULE},
    {"_global_backward_pre_hooks", SNAP_HOOK_TORCH_MODULE},
    {"_global_buffer_registration_hooks", SNAP_HOOK_TORCH_MODULE},
    {"_global_module_registration_hooks", SNAP_HOOK_TORCH_MODULE},
    {"_global_parameter_registration_hooks", SNAP_HOOK_TORCH_MODULE},
    {"_optimizer_step_pre_hooks", SNAP_HOOK_TORCH_OPTIMIZER},
    {"_optimizer_step_post_hooks", SNAP_HOOK_TORCH_OPTIMIZER},
    {"_optimizer_state_dict_pre_hooks", SNAP_HOOK_TORCH_OPTIMIZER},
    {"_optimizer_state_dict_post_hooks", SNAP_HOOK_TORCH_OPTIMIZER},
    {"_optimizer_load_state_dict_pre_hooks", SNAP_HOOK_TORCH_OPTIMIZER},
    {"_optimizer_load_state_dict_post_hooks", SNAP_HOOK_TORCH_OPTIMIZER},
    {"_global_optimizer_pre_hooks", SNAP_HOOK_TORCH_OPTIMIZER},
    {"_global_optimizer_post_hooks", SNAP_HOOK_TORCH_OPTIMIZER},
};

/* --- where an object is, as a program would write it --- */

/* Dictionaries of a module of PyTorch whose entries are written like attributes. */
static int is_transparent(const char *name) {
    return strcmp(name, "_modules") == 0 || strcmp(name, "_parameters") == 0 ||
           strcmp(name, "_buffers") == 0;
}

static size_t step_in_dict(PyObject *dict, PyObject *child, char *out, size_t size) {
    Py_ssize_t at = 0;
    PyObject *key, *value;
    while (PyDict_Next(dict, &at, &key, &value))
        if (value == child && PyUnicode_Check(key))
            return name_read(key, out, size);
    return 0;
}

static size_t step_in_values(PyObject *op, PyObject *child, char *out, size_t size) {
    struct cpython_attributes a;
    cpython_attributes_read(op, &a);
    for (Py_ssize_t i = 0; i < a.n_values; i++)
        if (a.values[i] == child)
            return name_read(cpython_keys_key(a.keys, i), out, size);
    return 0;
}

static size_t put_number(char *out, Py_ssize_t i) {
    char digits[24];
    size_t n = 0, length = 0;
    do
        digits[n++] = (char)('0' + i % 10);
    while (i /= 10);
    out[length++] = '[';
    while (n > 0)
        out[length++] = digits[--n];
    out[length++] = ']';
    out[length] = '\0';
    return length;
}

/* What leads from a parent to a child; "" if it is nothing that one writes. out: 96 bytes. */
static void step(PyObject *parent, PyObject *child, char *out) {
    size_t n = 0;
    out[0] = '\0';
    if (PyDict_Check(parent))
        n = step_in_dict(parent, child, out, 96);
    else if (PyList_Check(parent) || PyTuple_Check(parent)) {
        for (Py_ssize_t i = 0; i < Py_SIZE(parent); i++)
            if (PySequence_Fast_ITEMS(parent)[i] == child) {
                put_number(out, i);
                return;
            }
    } else if (!PyType_Check(parent))
        n = step_in_values(parent, child, out, 96);
    if (n > 0 && !name_is_identifier(out, n) && strspn(out, "0123456789") != n)
        out[0] = '\0'; /* may be data */
}

static size_t append(char *to, size_t length, const char *text) {
    const size_t n = strlen(text);
    if (length + n >= PATH_SIZE)
        return length;
    memcpy(to + length, text, n + 1);
    return length + n;
}

static size_t path_root(struct managed_walk *w, const struct root *root, char *out) {
    const char *const name = name_text(w, root->name);
    out[0] = '\0';
    if (root->kind == SNAP_ROOT_FRAME)
        return append(out, 0, name_text(w, root->label));
    if (root->kind == SNAP_ROOT_MODULE && strcmp(name, "__main__") == 0)
        return 0;
    return append(out, 0, name);
}

static size_t path_of(struct managed_walk *w, uint32_t index, char *out) {
    uint32_t way[DEPTH_MAX];
    int depth = 0;
    uint32_t at = index;
    size_t length = 0;
    out[0] = '\0';
    for (;; at = walk_nodes(w)[at].via - 1) {
        if (depth == DEPTH_MAX || walk_nodes(w)[at].via == 0)
            return append(out, 0, "...");
        way[depth++] = at;
        if (walk_nodes(w)[at].via & VIA_ROOT)
            break;
    }
    const struct root *const roots = (const struct root *)(const void *)w->roots.data;
    length = path_root(w, &roots[walk_nodes(w)[at].via & ~VIA_ROOT], out);
    for (int i = depth - 1; i > 0; i--) {
        char name[128];
        step(walk_nodes(w)[way[i]].object, walk_nodes(w)[way[i - 1]].object, name);
        if (!*name || is_transparent(name))
            continue;
        if (length > 0 && *name != '[')
            length = append(out, length, ".");
        length = append(out, length, name);
    }
    return length;
}

/* --- callbacks --- */

static PyObject *function_of(PyObject *op) {
    for (int i = 0; op && i < 8; i++) {
        if (PyMethod_Check(op))
            op = ((PyMethodObject *)op)->im_func;
        else if (strcmp(Py_TYPE(op)->tp_name, "functools.partial") == 0)
            op = *(PyObject **)(void *)((char *)op + sizeof(PyObject)); /* its first member, func */
        else
            break;
    }
    return op;
}

static void name_callback(struct managed_walk *w, PyObject *op, struct wire_hook *out) {
    PyObject *const fn = function_of(op);
    if (fn && PyFunction_Check(fn)) {
        PyCodeObject *const code = (PyCodeObject *)((PyFunctionObject *)fn)->func_code;
        out->callback = name_of(w, ((PyFunctionObject *)fn)->func_qualname);
        out->file = name_of(w, code->co_filename);
        out->line = (uint32_t)code->co_firstlineno;
    } else if (fn && PyCFunction_Check(fn)) {
        const char *const name = ((PyCFunctionObject *)fn)->m_ml->ml_name;
        out->callback = name_add(w, name, strnlen(name, 256));
    } else if (fn && PyType_Check(fn))
        out->callback = name_of_type(w, (PyTypeObject *)fn);
    if (fn && !out->callback)
        out->callback = name_of_type(w, Py_TYPE(fn));
}

static void add_hook(struct managed_walk *w, uint32_t registry, uint32_t kind, PyObject *holder,
                     PyObject *callback, uint32_t count) {
    struct wire_hook r = {.registry = registry, .kind = kind, .count = count};
    const uint32_t node = walk_find(w, callback), registered = holder ? walk_find(w, holder) : 0;
    if (!node)
        return;
    name_callback(w, callback, &r);
    r.argument = node;
    r.holder = registered;
    memory_add(&w->hooks, &r, sizeof r);
    if (w->hooks.failed)
        w->failed = 1;
}

static int is_callback(PyObject *op) {
    return PyFunction_Check(op) || PyMethod_Check(op) || PyCFunction_Check(op) ||
           Py_TYPE(op)->tp_call != NULL;
}

static void add_registered(struct managed_walk *w, uint32_t registry, uint32_t kind,
                           PyObject *holder) {
    Py_ssize_t at = 0;
    PyObject *key, *value;
    if (PyDict_Check(holder)) {
        while (PyDict_Next(holder, &at, &key, &value)) {
            /* Some registries keep the callback with its options. */
            if (PyTuple_Check(value) && Py_SIZE(value) > 0)
                value = PyTuple_GET_ITEM(value, 0);
            if (is_callback(value))
                add_hook(w, registry, kind, holder, value, 1);
        }
    } else if (PyList_Check(holder))
        for (Py_ssize_t i = 0; i < Py_SIZE(holder); i++)
            if (is_callback(PyList_GET_ITEM(holder, i)))
                add_hook(w, registry, kind, holder, PyList_GET_ITEM(holder, i), 1);
}

/* --- finding registries --- */

static void named_registry(struct managed_walk *w, uint32_t owner, PyObject *key, PyObject *value) {
    char name[64], path[PATH_SIZE];
    const Py_ssize_t length = PyUnicode_Check(key) ? ((PyASCIIObject *)key)->length : 0;
    if (length < 12 || length > 40 || !value || !PyDict_Check(value) ||
        ((PyDictObject *)value)->ma_used == 0 || !name_read(key, name, sizeof name))
        return;
    for (size_t i = 0; i < sizeof registries / sizeof *registries; i++)
        if (strcmp(registries[i].name, name) == 0) {
            size_t n = path_of(w, owner, path);
            n = append(path, n, n ? "." : "");
            n = append(path, n, name);
            add_registered(w, name_add(w, path, n), registries[i].kind, value);
        }
}

/* Attributes in a dictionary or inside the object. The owner of a dictionary reached it, and is
 * left out of the path as dictionaries are. */
static void attribute_registries(struct managed_walk *w, uint32_t i) {
    PyObject *const op = walk_nodes(w)[i].object;
    if (PyDict_Check(op)) {
        Py_ssize_t at = 0;
        PyObject *key, *value;
        while (walk_nodes(w)[i].role == ROLE_ATTRIBUTES && PyDict_Next(op, &at, &key, &value))
            named_registry(w, i, key, value);
        return;
    }
    struct cpython_attributes a;
    if (PyType_Check(op))
        return;
    cpython_attributes_read(op, &a);
    for (Py_ssize_t k = 0; k < a.n_values; k++) {
        PyObject *const key = a.values[k] ? cpython_keys_key(a.keys, k) : NULL;
        if (key)
            named_registry(w, i, key, a.values[k]);
    }
}

/* A tensor keeps its hooks in fields that no Python object describes: the dictionaries among its
 * words. */
static void tensor_hooks(struct managed_walk *w, uint32_t i) {
    PyObject *const op = walk_nodes(w)[i].object;
    PyObject *const *const words = (PyObject *const *)(const void *)op;
    const size_t n = (size_t)Py_TYPE(op)->tp_basicsize / sizeof *words;
    struct cpython_attributes a;
    cpython_attributes_read(op, &a);
    for (size_t k = sizeof(PyObject) / sizeof *words; k < n && k < 16; k++) {
        char path[PATH_SIZE];
        const uint32_t target = walk_find(w, words[k]);
        if (!target || words[k] == a.dict || !PyDict_Check(words[k]) ||
            ((PyDictObject *)words[k])->ma_used == 0)
            continue;
        size_t length = path_of(w, i, path);
        length = append(path, length, length ? "._backward_hooks" : "_backward_hooks");
        add_registered(w, name_add(w, path, length), SNAP_HOOK_TORCH_TENSOR, words[k]);
    }
}

/* Among the words of a cache are its function and the dictionary of results. */
static void result_cache(struct managed_walk *w, PyObject *op) {
    PyObject *const *const words = (PyObject *const *)(const void *)op;
    PyObject *function = NULL, *cache = NULL;
    struct cpython_attributes a;
    cpython_attributes_read(op, &a);
    const size_t n = (size_t)Py_TYPE(op)->tp_basicsize / sizeof *words;
    for (size_t k = sizeof(PyObject) / sizeof *words; k < n && k < 32; k++) {
        PyObject *const word = words[k];
        if (!walk_find(w, word) || word == a.dict || word == op)
            continue;
        if (!cache && PyDict_CheckExact(word))
            cache = word;
        else if (!function && is_callback(word) && !PyType_Check(word))
            function = word;
    }
    if (cache && function && ((PyDictObject *)cache)->ma_used > 0)
        add_hook(w, name_add(w, "lru_cache", 9), SNAP_HOOK_CACHE, cache, function,
                 (uint32_t)((PyDictObject *)cache)->ma_used);
}

/* Is it a tensor, by the names of its types? */
static int hooks_of_node(void *context, size_t i) {
    struct managed_walk *const w = context;
    if (i >= w->n_nodes || w->failed)
        return 1;
    const struct node *const node = &walk_nodes(w)[i];
    PyObject *const op = node->object;
    const struct type_entry *const e = &walk_types(w)[node->type];
    if (node->is_bad || !node->is_gc)
        return 0;
    if (PyType_HasFeature(e->type, Py_TPFLAGS_DICT_SUBCLASS)
            ? node->role == ROLE_ATTRIBUTES
            : PyType_HasFeature(e->type, CPYTHON_MANAGED_DICT))
        attribute_registries(w, (uint32_t)i);
    if (e->is_weakref && ((PyWeakReference *)op)->wr_callback)
        add_hook(w, name_add(w, "weakref", 7), SNAP_HOOK_WEAKREF, op,
                 ((PyWeakReference *)op)->wr_callback, 1);
    else if (walk_types(w)[node->type].special == SPECIAL_LRU)
        result_cache(w, op);
    else if (walk_types(w)[node->type].special == SPECIAL_TENSOR)
        tensor_hooks(w, (uint32_t)i);
    return 0;
}

static int hooks_of_roots(void *context, size_t i) {
    struct managed_walk *const w = context;
    if (i >= w->n_roots || w->failed)
        return 1;
    const struct root root = ((struct root *)(void *)w->roots.data)[i];
    const int is_function = is_callback(root.target);
    if (root.kind == SNAP_ROOT_ATEXIT && is_function && !hold_is_own(root.target))
        add_hook(w, root.name, SNAP_HOOK_ATEXIT, NULL, root.target, 1);
    else if (root.kind == SNAP_ROOT_SIGNAL && is_function)
        add_hook(w, root.name, SNAP_HOOK_SIGNAL, NULL, root.target, 1);
    else if (root.kind == SNAP_ROOT_TRACE && is_function)
        add_hook(w, root.name, SNAP_HOOK_PYTHON, NULL, root.target, 1);
    else if (root.kind == SNAP_ROOT_COLLECTOR)
        add_registered(w, root.name, SNAP_HOOK_COLLECTOR, root.target);
    return 0;
}

/* Those of one registry and callback that came one after the other are one row; weak references
 * come by the thousand. */
static size_t join_equal(struct wire_hook *hooks, size_t n) {
    enum { SLOTS = 1024 };
    static uint32_t slots[SLOTS]; /* index + 1 of the last one with a hash */
    size_t n_left = 0;
    memset(slots, 0, sizeof slots);
    for (size_t i = 0; i < n; i++) {
        const struct wire_hook h = hooks[i];
        const uint32_t hash =
            (h.registry * 31u + h.callback * 17u + h.file * 7u + h.line * 131u) % SLOTS;
        struct wire_hook *const other = slots[hash] ? &hooks[slots[hash] - 1] : NULL;
        if (h.kind == SNAP_HOOK_WEAKREF && other && other->registry == h.registry &&
            other->callback == h.callback && other->file == h.file && other->line == h.line) {
            other->count++;
            continue;
        }
        hooks[n_left] = h;
        slots[hash] = (uint32_t)++n_left;
    }
    return n_left;
}

void hooks_find(struct managed_walk *w) {
    guard_each(0, hooks_of_roots, NULL, w);
    guard_each(0, hooks_of_node, NULL, w);
    w->n_hooks = join_equal((struct wire_hook *)(void *)w->hooks.data,
                            w->hooks.length / sizeof(struct wire_hook));
}
