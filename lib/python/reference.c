/* What an object refers to, with names as they are written in a program.
 *
 * Containers are read directly. For all others the collector's traversal says which references
 * there are, and what is known of the object's fields says what they are called: a name is given
 * only to a reference that the traversal has found, so that nothing is claimed twice; the others go
 * out without a name. */
#include "python/walker.h"

#include <heapsnap/snapdef.h>

/* --- what the traversal has found --- */

static int keep_target(PyObject *op, void *context) {
    struct managed_walk *const w = context;
    memory_add(&w->targets, &op, sizeof op);
    return 0;
}

struct found {
    struct managed_walk *walk;
    PyObject **targets;
    uint8_t *claimed;
    size_t n, cursor, steps_left;
};

static int find_references(struct managed_walk *w, const struct node *node, struct found *out) {
    w->targets.length = 0;
    walk_visit(node->object, node->is_gc, keep_target, w);
    *out = (struct found){.walk = w, .n = w->targets.length / sizeof(PyObject *)};
    w->claimed.length = 0;
    if (w->targets.failed || memory_reserve(&w->claimed, out->n + 1) < 0) {
        w->failed = 1;
        return -1;
    }
    memset(w->claimed.data, 0, out->n + 1);
    out->targets = (PyObject **)(void *)w->targets.data;
    out->claimed = (uint8_t *)w->claimed.data;
    out->steps_left = 16 * out->n + 4096;
    return 0;
}

void references_flush(struct managed_walk *w) {
    uint32_t nodes[KEPT_MOST];
    walk_find_all(w, w->kept_targets, w->n_kept, nodes);
    for (uint32_t i = 0; i < w->n_kept; i++)
        if (nodes[i])
            send_reference(w, &w->kept[i], nodes[i]);
    w->n_kept = 0;
}

static void refer(struct managed_walk *w, PyObject *target, uint32_t kind, uint32_t label,
                  uint64_t index) {
    if (w->n_kept == KEPT_MOST)
        references_flush(w);
    w->kept_targets[w->n_kept] = target;
    w->kept[w->n_kept++] =
        (struct reference){.index = index, .source = w->current, .label = label, .kind = kind};
}

/* Names a reference if it is among those found and has no name yet. Fields mostly come in the order
 * of the traversal, so that the search is short. */
static int claim_at(struct found *f, PyObject *target, uint32_t kind, uint32_t label,
                    uint64_t index) {
    for (size_t i = 0; target && i < f->n && f->steps_left > 0; i++, f->steps_left--) {
        const size_t at = (f->cursor + i) % f->n;
        if (f->claimed[at] || f->targets[at] != target)
            continue;
        f->claimed[at] = 1;
        f->cursor = at + 1;
        refer(f->walk, target, kind, label, index);
        return 1;
    }
    return 0;
}

static void claim(struct found *f, PyObject *target, uint32_t kind, const char *label) {
    if (target && f->n)
        claim_at(f, target, kind, name_constant(f->walk, label), 0);
}

/* --- containers --- */

static void dict_items(struct managed_walk *w, PyObject *op, int role, struct found *f) {
    PyDictObject *const dict = (PyDictObject *)op;
    Py_ssize_t at = 0;
    PyObject *key, *value;
    if (cpython_is_view(dict))
        return;
    while (PyDict_Next(op, &at, &key, &value)) {
        const int is_bare = role == ROLE_ATTRIBUTES && PyUnicode_Check(key);
        uint32_t label = name_of_key(w, key, is_bare);
        if (role == ROLE_MODULES)
            label = name_of(w, key);
        const uint32_t kind = is_bare ? SNAP_EDGE_ATTRIBUTE : SNAP_EDGE_VALUE;
        if (f) {
            claim_at(f, key, SNAP_EDGE_KEY, 0, 0);
            claim_at(f, value, kind, label, 0);
            continue;
        }
        if (!dict->ma_values)
            refer(w, key, SNAP_EDGE_KEY, 0, 0);
        refer(w, value, kind, label, 0);
    }
}

static void sequence_items(struct managed_walk *w, PyObject *const *items, Py_ssize_t n,
                           const struct node *node, struct found *f) {
    for (Py_ssize_t i = 0; i < n; i++) {
        uint32_t kind = SNAP_EDGE_INDEX, label = 0;
        if (node->role == ROLE_CLOSURE && walk_owner(w, node)) {
            PyCodeObject *const code = (PyCodeObject *)walk_owner(w, node);
            label = name_of(w, cpython_free_name(code, i));
            kind = label ? SNAP_EDGE_CELL : SNAP_EDGE_INDEX;
        }
        if (!items[i])
            continue;
        if (f)
            claim_at(f, items[i], kind, label, (uint64_t)i);
        else
            refer(w, items[i], kind, label, (uint64_t)i);
    }
}

/* --- fields --- */

static void members(struct found *f, PyObject *op) {
    for (PyTypeObject *t = Py_TYPE(op); t; t = t->tp_base) {
        const PyMemberDef *m = t->tp_members;
        Py_ssize_t n = -1; /* ends with a row of zeros */
        if (t->tp_flags & Py_TPFLAGS_HEAPTYPE) {
            m = cpython_slots(t);
            n = Py_SIZE(t);
        }
        for (; m && n != 0 && (n > 0 || m->name); m++, n -= n > 0) {
            if ((m->type != T_OBJECT && m->type != T_OBJECT_EX) || m->offset <= 0 || !m->name)
                continue;
            PyObject *const value = *(PyObject **)(void *)((char *)op + m->offset);
            const int is_slot = (t->tp_flags & Py_TPFLAGS_HEAPTYPE) != 0;
            claim(f, value, is_slot ? SNAP_EDGE_SLOT : SNAP_EDGE_ATTRIBUTE, m->name);
        }
    }
}

static void attributes(struct found *f, PyObject *op) {
    struct cpython_attributes a;
    cpython_attributes_read(op, &a);
    for (Py_ssize_t i = 0; i < a.n_values; i++) {
        if (!a.values[i])
            continue;
        PyObject *const key = cpython_keys_key(a.keys, i);
        claim_at(f, a.values[i], SNAP_EDGE_ATTRIBUTE, key ? name_of_key(f->walk, key, 1) : 0, 0);
    }
    claim(f, a.dict, SNAP_EDGE_ATTRIBUTE, "__dict__");
}

/* "normalize.<locals>.scaled": frames are told apart by their functions. */
static uint32_t name_of_local(struct managed_walk *w, PyCodeObject *code, int i) {
    static const char between[] = ".<locals>.";
    char text[512];
    size_t n = name_read(cpython_code_name(code), text, sizeof text / 2);
    if (n) {
        memcpy(text + n, between, sizeof between - 1);
        n += sizeof between - 1;
    }
    return name_add(w, text, n + name_read(cpython_local_name(code, i), text + n, sizeof text - n));
}

static void frame_values(struct found *f, cpython_raw_frame *raw) {
    struct cpython_frame frame;
    cpython_frame_read(raw, &frame);
    if (!frame.code)
        return;
    const int n_names = cpython_n_names(frame.code);
    for (int i = 0; i < frame.n_values; i++) {
        PyObject *const value = frame.values[i];
        if (value)
            claim_at(f, value, SNAP_EDGE_LOCAL,
                     i < n_names ? name_of_local(f->walk, frame.code, i) : 0, 0);
    }
    claim(f, (PyObject *)frame.code, SNAP_EDGE_ATTRIBUTE, "f_code");
    claim(f, frame.function, SNAP_EDGE_INTERNAL, "f_func");
    claim(f, frame.locals, SNAP_EDGE_ATTRIBUTE, "f_locals");
    claim(f, frame.globals, SNAP_EDGE_ATTRIBUTE, "f_globals");
}

static void frame_object(struct found *f, PyObject *op) {
    PyFrameObject *const frame = (PyFrameObject *)op;
    claim(f, (PyObject *)frame->f_back, SNAP_EDGE_ATTRIBUTE, "f_back");
    claim(f, frame->f_trace, SNAP_EDGE_ATTRIBUTE, "f_trace");
    if (cpython_object_owns_frame(op))
        frame_values(f, cpython_object_frame(op));
}

static void function(struct found *f, PyObject *op) {
    PyFunctionObject *const fn = (PyFunctionObject *)op;
    claim(f, fn->func_code, SNAP_EDGE_ATTRIBUTE, "__code__");
    claim(f, fn->func_closure, SNAP_EDGE_ATTRIBUTE, "__closure__");
    claim(f, fn->func_defaults, SNAP_EDGE_ATTRIBUTE, "__defaults__");
    claim(f, fn->func_kwdefaults, SNAP_EDGE_ATTRIBUTE, "__kwdefaults__");
    claim(f, fn->func_globals, SNAP_EDGE_ATTRIBUTE, "__globals__");
    claim(f, fn->func_name, SNAP_EDGE_ATTRIBUTE, "__name__");
    claim(f, fn->func_qualname, SNAP_EDGE_ATTRIBUTE, "__qualname__");
    claim(f, fn->func_annotations, SNAP_EDGE_ATTRIBUTE, "__annotations__");
    claim(f, fn->func_dict, SNAP_EDGE_ATTRIBUTE, "__dict__");
}

static void exception(struct found *f, PyObject *op) {
    PyBaseExceptionObject *const e = (PyBaseExceptionObject *)op;
    claim(f, e->traceback, SNAP_EDGE_ATTRIBUTE, "__traceback__");
    claim(f, e->context, SNAP_EDGE_ATTRIBUTE, "__context__");
    claim(f, e->cause, SNAP_EDGE_ATTRIBUTE, "__cause__");
    claim(f, e->args, SNAP_EDGE_ATTRIBUTE, "args");
}

static void type_object(struct found *f, PyObject *op) {
    PyTypeObject *const type = (PyTypeObject *)op;
    PyObject *state[2] = {NULL, NULL};
    cpython_type_state(cpython_interpreters(), type, state);
    claim(f, type->tp_dict ? type->tp_dict : state[0], SNAP_EDGE_ATTRIBUTE, "__dict__");
    claim(f, type->tp_mro, SNAP_EDGE_ATTRIBUTE, "__mro__");
    claim(f, type->tp_bases, SNAP_EDGE_ATTRIBUTE, "__bases__");
    claim(f, (PyObject *)type->tp_base, SNAP_EDGE_ATTRIBUTE, "__base__");
    claim(f, state[1], SNAP_EDGE_INTERNAL, "__subclasses__");
    if (type->tp_flags & Py_TPFLAGS_HEAPTYPE)
        claim(f, ((PyHeapTypeObject *)type)->ht_module, SNAP_EDGE_ATTRIBUTE, "__module__");
}

static void set_items(struct found *f, PyObject *op) {
    const PySetObject *const set = (PySetObject *)op;
    for (Py_ssize_t i = 0; i <= set->mask; i++)
        if (set->table[i].key && set->table[i].hash != -1)
            claim_at(f, set->table[i].key, SNAP_EDGE_VALUE, name_add(f->walk, "[*]", 3), 0);
}

/* What the types of the language have beyond their members. */
static void fields(struct found *f, PyObject *op, const struct node *node) {
    if (PyFunction_Check(op))
        function(f, op);
    else if (PyCell_Check(op))
        claim(f, ((PyCellObject *)op)->ob_ref, SNAP_EDGE_CELL, "cell_contents");
    else if (PyMethod_Check(op)) {
        claim(f, ((PyMethodObject *)op)->im_self, SNAP_EDGE_ATTRIBUTE, "__self__");
        claim(f, ((PyMethodObject *)op)->im_func, SNAP_EDGE_ATTRIBUTE, "__func__");
    } else if (PyCFunction_Check(op)) {
        claim(f, ((PyCFunctionObject *)op)->m_self, SNAP_EDGE_ATTRIBUTE, "__self__");
        claim(f, ((PyCFunctionObject *)op)->m_module, SNAP_EDGE_ATTRIBUTE, "__module__");
    } else if (PyModule_Check(op))
        claim(f, PyModule_GetDict(op), SNAP_EDGE_ATTRIBUTE, "__dict__");
    else if (PyType_Check(op))
        type_object(f, op);
    else if (PyExceptionInstance_Check(op))
        exception(f, op);
    else if (PyTraceBack_Check(op)) {
        claim(f, (PyObject *)((PyTracebackObject *)op)->tb_next, SNAP_EDGE_ATTRIBUTE, "tb_next");
        claim(f, (PyObject *)((PyTracebackObject *)op)->tb_frame, SNAP_EDGE_ATTRIBUTE, "tb_frame");
    } else if (PyFrame_Check(op))
        frame_object(f, op);
    else if (PyWeakref_Check(op))
        claim(f, ((PyWeakReference *)op)->wr_callback, SNAP_EDGE_HOOK, "__callback__");
    else if (PyAnySet_Check(op))
        set_items(f, op);
    else if (PyGen_Check(op) || PyCoro_CheckExact(op) || PyAsyncGen_CheckExact(op)) {
        cpython_raw_frame *const frame = cpython_generator_frame(op);
        if (frame)
            frame_values(f, frame);
    }
    if (PyDict_Check(op))
        dict_items(f->walk, op, ROLE_NONE, f);
    else if (PyList_Check(op))
        sequence_items(f->walk, ((PyListObject *)op)->ob_item, Py_SIZE(op), node, f);
    else if (PyTuple_Check(op))
        sequence_items(f->walk, ((PyTupleObject *)op)->ob_item, Py_SIZE(op), node, f);
}

/* What is left: the elements of a deque or a cache, and what no field is known for. */
static void rest(struct found *f, const struct node *node) {
    struct managed_walk *const w = f->walk;
    const int special = walk_types(w)[node->type].special;
    uint64_t index = 0;
    for (size_t i = 0; i < f->n; i++) {
        PyObject *const target = f->targets[i];
        if (f->claimed[i])
            continue;
        if (special == SPECIAL_DEQUE)
            refer(w, target, SNAP_EDGE_INDEX, 0, index++);
        else if (special == SPECIAL_LRU && PyDict_CheckExact(target))
            refer(w, target, SNAP_EDGE_ATTRIBUTE, name_add(w, "cache", 5), 0);
        else if (special == SPECIAL_LRU && !PyType_Check(target) && !PyFunction_Check(target))
            refer(w, target, SNAP_EDGE_VALUE, name_add(w, "cache[*]", 8), 0);
        else
            refer(w, target, SNAP_EDGE_INTERNAL, 0, 0);
    }
}

void references_send(struct managed_walk *w, uint32_t index) {
    const struct node node = walk_nodes(w)[index];
    PyObject *const op = node.object;
    struct found f;
    if (node.is_bad || walk_types(w)[node.type].is_leaf)
        return;
    if (PyDict_CheckExact(op)) {
        dict_items(w, op, node.role, NULL);
        return;
    }
    if (PyList_CheckExact(op) && node.is_gc) {
        sequence_items(w, ((PyListObject *)op)->ob_item, Py_SIZE(op), &node, NULL);
        return;
    }
    if (PyTuple_CheckExact(op)) {
        sequence_items(w, ((PyTupleObject *)op)->ob_item, Py_SIZE(op), &node, NULL);
        return;
    }
    if (find_references(w, &node, &f) < 0 || f.n == 0)
        return;
    members(&f, op);
    if (!PyType_Check(op))
        attributes(&f, op);
    if (!walk_types(w)[node.type].is_plain)
        fields(&f, op, &node);
    claim(&f, (PyObject *)Py_TYPE(op), SNAP_EDGE_TYPE, "__class__");
    rest(&f, &node);
}
