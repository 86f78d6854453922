/* Finds all objects: those in the collector's lists, frozen ones too, and all that they, the roots
 * and each other refer to.
 *
 * Reads only: no object is made or freed, no reference count is touched, no Python code runs. What
 * an object refers to is what its type's traversal tells the collector, which is C code of anybody:
 * it runs guarded (guard.h), and whatever it hands over is checked before it is believed. Knows
 * nothing of names (reference.c). */
#include "python/walker.h"

#include <heapsnap/snapdef.h>

#include "python/guard.h"
#include "python/hold.h"

/* --- types --- */

static int is_type(PyTypeObject *type) {
    if ((uintptr_t)type & 7 || (uintptr_t)type < 4096)
        return 0;
    PyTypeObject *const meta = Py_TYPE(type);
    if ((uintptr_t)meta & 7 || (uintptr_t)meta < 4096)
        return 0;
    return (meta->tp_flags & Py_TPFLAGS_TYPE_SUBCLASS) && (type->tp_flags & Py_TPFLAGS_READY) &&
           Py_REFCNT(type) > 0;
}

static enum special special_of(PyTypeObject *type) {
    static const struct {
        const char *name;
        enum special special;
    } names[] = {
        {"numpy.ndarray", SPECIAL_ARRAY},         {"collections.deque", SPECIAL_DEQUE},
        {"array.array", SPECIAL_PYARRAY},         {"functools._lru_cache_wrapper", SPECIAL_LRU},
        {"functools.partial", SPECIAL_PARTIAL},   {"torch._C.TensorBase", SPECIAL_TENSOR},
        {"torch._C._TensorBase", SPECIAL_TENSOR}, {"torch.dtype", SPECIAL_DTYPE},
    };
    char text[32];
    for (PyTypeObject *t = type; t; t = t->tp_base) {
        if (t->tp_flags & Py_TPFLAGS_HEAPTYPE && strcmp(t->tp_name, "Module") == 0 &&
            name_read_entry(t->tp_dict, "__module__", text, sizeof text) &&
            strcmp(text, "torch.nn.modules.module") == 0)
            return SPECIAL_MODULE;
        for (size_t i = 0; i < sizeof names / sizeof *names; i++)
            if (t->tp_name && strcmp(t->tp_name, names[i].name) == 0)
                return names[i].special;
    }
    return SPECIAL_NONE;
}

static struct type_entry *type_slot(struct managed_walk *w, PyTypeObject *type) {
    struct type_entry *const table = walk_types(w);
    size_t at = ((uintptr_t)type >> 4) * 0x9e3779b97f4a7c15u >> 20 & (w->types_size - 1);
    while (table[at].type && table[at].type != type)
        at = (at + 1) & (w->types_size - 1);
    return &table[at];
}

/* Before there are nodes, which name types by their place in the table. */
static int types_grow(struct managed_walk *w) {
    struct memory old = w->types;
    const uint32_t old_size = w->types_size;
    w->types = (struct memory){0};
    w->types_size = old_size * 2;
    if (!memory_zeroed(&w->types, w->types_size * sizeof(struct type_entry))) {
        w->types = old;
        w->types_size = old_size;
        return -1;
    }
    const struct type_entry *const entries = (struct type_entry *)(void *)old.data;
    for (uint32_t i = 0; i < old_size; i++)
        if (entries[i].type)
            *type_slot(w, entries[i].type) = entries[i];
    memory_release(&old);
    return 0;
}

/* Strings and numbers themselves: nothing of them is visited (walk_visit), and no attribute. */
static int is_leaf(PyTypeObject *type) {
    const unsigned long kinds =
        Py_TPFLAGS_UNICODE_SUBCLASS | Py_TPFLAGS_LONG_SUBCLASS | Py_TPFLAGS_BYTES_SUBCLASS;
    return (type->tp_flags & kinds || type == &PyFloat_Type) &&
           !(type->tp_flags & (Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_HEAPTYPE)) && !type->tp_is_gc &&
           !type->tp_members && !type->tp_dictoffset;
}

/* Of a class that derives from `object` and others like itself only, and has nothing in its objects
 * but slots, a dictionary and weak references. */
static int is_plain(PyTypeObject *type) {
    size_t bytes = sizeof(PyObject) + (type->tp_dictoffset > 0 ? sizeof(PyObject *) : 0) +
                   (type->tp_weaklistoffset > 0 ? sizeof(PyObject *) : 0);
    for (PyTypeObject *t = type; t != &PyBaseObject_Type; t = t->tp_base) {
        if (!t || !(t->tp_flags & Py_TPFLAGS_HEAPTYPE) || t->tp_itemsize)
            return 0;
        const PyMemberDef *const slots = cpython_slots(t);
        for (Py_ssize_t i = 0; i < Py_SIZE(t); i++, bytes += sizeof(PyObject *))
            if (slots[i].type != T_OBJECT_EX)
                return 0;
    }
    return (size_t)type->tp_basicsize <= bytes;
}

static int is_weakref(PyTypeObject *type) {
    return PyType_IsSubtype(type, &_PyWeakref_RefType) || type == &_PyWeakref_ProxyType ||
           type == &_PyWeakref_CallableProxyType;
}

/* NULL: no type. The entry is made before the type is looked at: if that faults, it stays bad. */
static struct type_entry *type_get(struct managed_walk *w, PyTypeObject *type) {
    struct type_entry *e = type_slot(w, type);
    if (e->type)
        return e->is_bad ? NULL : e;
    if (w->n_types * 2 >= w->types_size) {
        if (w->types_size * 2 > TYPES_MOST || types_grow(w) < 0) {
            w->failed = 1;
            return NULL;
        }
        e = type_slot(w, type);
    }
    w->n_types++;
    *e = (struct type_entry){.type = type, .is_bad = 1};
    if (!is_type(type))
        return NULL;
    e->special = (uint8_t)special_of(type);
    e->is_leaf = is_leaf(type) != 0;
    e->is_plain = is_plain(type) != 0;
    e->is_weakref = is_weakref(type) != 0;
    e->is_set = PyType_IsSubtype(type, &PySet_Type) || PyType_IsSubtype(type, &PyFrozenSet_Type);
    e->is_bytearray = PyType_IsSubtype(type, &PyByteArray_Type) != 0;
    e->is_bad = 0;
    return e;
}

/* --- adding --- */

int walk_add(struct managed_walk *w, PyObject *op) {
    if (!op || (uintptr_t)op & 7 || (uintptr_t)op < 4096)
        return 0;
    if (index_has(w, op))
        return 1;
    if (w->failed || Py_REFCNT(op) <= 0 || !Py_TYPE(op))
        return 0;
    const struct type_entry *const type = type_get(w, Py_TYPE(op));
    if (!type)
        return 0;
    if (!type->is_leaf) {
        memory_add(&w->found, &op, sizeof op);
        memory_add(&w->bad, "", 1);
    }
    if (w->n_nodes >= VIA_ROOT - 1 || w->found.failed || w->bad.failed || index_add(w, op) < 0) {
        w->failed = 1;
        return 0;
    }
    w->n_nodes++;
    return 1;
}

static PyObject *const *found(const struct managed_walk *w) {
    return (PyObject *const *)(void *)w->found.data;
}

static size_t n_found(const struct managed_walk *w) {
    return w->bad.length;
}

void walk_tell(struct managed_walk *w, PyObject *op, uint32_t role, PyObject *owner) {
    memory_add(&w->early, &(struct early){op, owner, role}, sizeof(struct early));
    if (w->early.failed)
        w->failed = 1;
}

void walk_set_owner(struct managed_walk *w, struct node *node, uint32_t role, PyObject *owner) {
    memory_add(&w->owners, &owner, sizeof owner);
    if (w->owners.failed) {
        w->failed = 1;
        return;
    }
    node->role = role & 7;
    node->owner = (uint32_t)(w->owners.length / sizeof owner);
}

PyObject *walk_owner(const struct managed_walk *w, const struct node *node) {
    return node->owner ? ((PyObject *const *)(void *)w->owners.data)[node->owner - 1] : NULL;
}

/* --- what an object refers to --- */

static void visit_members(PyObject *op, visitproc visit, void *context) {
    for (PyTypeObject *t = Py_TYPE(op); t; t = t->tp_base)
        for (const PyMemberDef *m = t->tp_members; m && m->name; m++)
            if ((m->type == T_OBJECT || m->type == T_OBJECT_EX) && m->offset > 0) {
                PyObject *const value = *(PyObject **)(void *)((char *)op + m->offset);
                if (value)
                    visit(value, context);
            }
}

static void visit_static_type(PyTypeObject *type, visitproc visit, void *context) {
    PyObject *state[2] = {NULL, NULL};
    cpython_type_state(cpython_interpreters(), type, state);
    PyObject *const all[] = {
        type->tp_dict,  type->tp_mro, type->tp_bases, (PyObject *)type->tp_base,
        type->tp_cache, state[0],     state[1],
    };
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        if (all[i] && (i != 5 || all[5] != all[0]))
            visit(all[i], context);
}

static void visit_dict(PyObject *op, visitproc visit, void *context) {
    PyDictObject *const dict = (PyDictObject *)op;
    if (cpython_is_view(dict))
        return;
    Py_ssize_t at = 0;
    PyObject *key, *value;
    while (PyDict_Next(op, &at, &key, &value)) {
        if (!dict->ma_values)
            visit(key, context);
        visit(value, context);
    }
}

/* The strings that name attributes of a class's objects. */
static void visit_cached_keys(PyObject *op, visitproc visit, void *context) {
    PyDictKeysObject *const keys = ((PyHeapTypeObject *)op)->ht_cached_keys;
    const Py_ssize_t n = keys ? cpython_keys_used(keys) : 0;
    for (Py_ssize_t i = 0; i < n; i++) {
        PyObject *const key = cpython_keys_key(keys, i);
        if (key)
            visit(key, context);
    }
}

void walk_visit(PyObject *op, int is_gc, visitproc visit, void *context) {
    PyTypeObject *const type = Py_TYPE(op);
    if (PyDict_CheckExact(op)) {
        visit_dict(op, visit, context);
        return;
    }
    if (is_gc) {
        if (type->tp_traverse)
            type->tp_traverse(op, visit, context);
        if (PyType_Check(op))
            visit_cached_keys(op, visit, context);
        else if (PyDict_Check(op) && !((PyDictObject *)op)->ma_values &&
                 !cpython_visits_keys((PyDictObject *)op)) {
            Py_ssize_t at = 0;
            PyObject *key, *value;
            while (PyDict_Next(op, &at, &key, &value))
                visit(key, context);
        }
    } else if (PyType_Check(op))
        visit_static_type((PyTypeObject *)op, visit, context);
    else if (!PyUnicode_Check(op) && !PyLong_Check(op) && !PyBytes_Check(op) && !PyFloat_Check(op))
        visit_members(op, visit, context);
    else if (type->tp_members)
        visit_members(op, visit, context);
    if (PyCode_Check(op)) {
        PyObject *names[2];
        cpython_code_names((PyCodeObject *)op, names);
        for (int i = 0; i < 2; i++)
            if (names[i])
                visit(names[i], context);
    }
}

/* What belongs to an object and cannot be known from itself. */
static void give_roles(struct managed_walk *w, PyObject *op) {
    struct cpython_attributes attributes;
    PyObject *names = NULL, *closure = NULL, *code = NULL;
    if (PyType_Check(op)) {
        PyObject *state[2] = {NULL, NULL};
        cpython_type_state(cpython_interpreters(), (PyTypeObject *)op, state);
        names = ((PyTypeObject *)op)->tp_dict ? ((PyTypeObject *)op)->tp_dict : state[0];
    } else if (PyFunction_Check(op)) {
        names = ((PyFunctionObject *)op)->func_dict;
        closure = ((PyFunctionObject *)op)->func_closure;
        code = ((PyFunctionObject *)op)->func_code;
    } else if (Py_TYPE(op)->tp_dictoffset || Py_TYPE(op)->tp_flags & Py_TPFLAGS_HEAPTYPE) {
        cpython_attributes_read(op, &attributes);
        names = attributes.dict;
    }
    if (names)
        index_set_attributes(w, names);
    if (closure)
        walk_tell(w, closure, ROLE_CLOSURE, code);
}

void walk_count_root(struct managed_walk *w, PyObject *target) {
    if (walk_add(w, target))
        walk_tell(w, target, ROLE_NONE, NULL);
}

/* --- finding all --- */

#define PENDING_MOST 4096u

struct list {
    struct managed_walk *walk;
    PyGC_Head *head, *at;
};

static int add_listed(void *context, size_t i) {
    struct list *const l = context;
    if (!l->at || l->at == l->head || l->walk->failed)
        return 1;
    if (index_has(l->walk, l->at + 1)) { /* a list that does not end */
        l->walk->n_unlisted++;
        return 1;
    }
    walk_add(l->walk, (PyObject *)(l->at + 1));
    l->at = (PyGC_Head *)(l->at->_gc_next & ~(uintptr_t)1);
    return 0;
}

/* The rest of the list is lost, but for what others refer to. */
static int lose_list(void *context, size_t i) {
    ((struct list *)context)->walk->n_unlisted++;
    return 1;
}

static void add_lists(struct managed_walk *w) {
    for (PyInterpreterState *interp = cpython_interpreters(); interp; interp = interp->next) {
        w->is_collecting |= interp->gc.collecting;
        for (int i = 0; i < CPYTHON_N_LISTS; i++) {
            PyGC_Head *const head = cpython_gc_list(interp, i);
            struct list list = {.walk = w, .head = head, .at = _PyGCHead_NEXT(head)};
            size_t frozen[2] = {n_found(w), 0};
            guard_each(0, add_listed, lose_list, &list);
            frozen[1] = n_found(w);
            if (i == CPYTHON_N_LISTS - 1)
                memory_add(&w->frozen, frozen, sizeof frozen);
        }
    }
}

/* A reference that has been found and not counted yet. */
struct pending {
    PyObject *target;
    uint32_t source; /* index in found */
};

static struct pending *pending(const struct managed_walk *w) {
    return (struct pending *)(void *)w->pending.data;
}

static size_t n_pending(const struct managed_walk *w) {
    return w->pending.length / sizeof(struct pending);
}

static int keep_pending(PyObject *op, void *context) {
    struct managed_walk *const w = context;
    memory_add(&w->pending, &(struct pending){op, w->current}, sizeof(struct pending));
    return 0;
}

static int visit_node(void *context, size_t i) {
    enum { AHEAD = 4 };
    struct managed_walk *const w = context;
    const size_t n = n_found(w);
    if (i >= n || w->pending.failed || n_pending(w) >= PENDING_MOST)
        return 1;
    if (i + AHEAD < n)
        __builtin_prefetch(found(w)[i + AHEAD]);
    PyObject *const op = found(w)[i];
    w->current = (uint32_t)i;
    walk_visit(op, PyObject_IS_GC(op), keep_pending, w);
    return 0;
}

static int mark_bad(void *context, size_t i) {
    struct managed_walk *const w = context;
    w->bad.data[i] = 1;
    w->n_bad++;
    return 0;
}

/* Starts are asked for in some memory, and objects only if they are new. */
static int add_pending(void *context, size_t i) {
    enum { AHEAD = 8 };
    struct managed_walk *const w = context;
    const struct pending *const p = pending(w);
    const size_t n = n_pending(w);
    if (i >= n || w->failed)
        return 1;
    if (i + 2 * AHEAD < n)
        index_expect(w, p[i + 2 * AHEAD].target);
    if (i + AHEAD < n && !index_has(w, p[i + AHEAD].target))
        __builtin_prefetch(p[i + AHEAD].target);
    if (p[i].source + 1 != w->cut)
        walk_add(w, p[i].target);
    return 0;
}

/* What the traversal handed over is no object: nothing behind it is believed. */
static int cut_source(void *context, size_t i) {
    struct managed_walk *const w = context;
    const uint32_t source = pending(w)[i].source;
    w->cut = source + 1;
    return w->bad.data[source] ? 0 : mark_bad(w, source);
}

static int give_roles_of(void *context, size_t i) {
    struct managed_walk *const w = context;
    if (i > w->current)
        return 1;
    if (!w->bad.data[i])
        give_roles(w, found(w)[i]);
    return 0;
}

/* Some objects at a time, whose references are looked at when all are known: where those lead is in
 * no cache, and can be fetched ahead. */
static void close_over(struct managed_walk *w) {
    for (size_t first = 0, end; first < n_found(w) && !w->failed; first = end) {
        w->pending.length = 0;
        w->cut = 0;
        end = guard_each(first, visit_node, mark_bad, w);
        if (w->pending.failed)
            w->failed = 1;
        guard_each(0, add_pending, cut_source, w);
        w->current = (uint32_t)end - 1;
        guard_each(first, give_roles_of, mark_bad, w);
    }
}

/* --- from objects to nodes --- */

struct order {
    struct managed_walk *walk;
    struct index_place at;
    PyTypeObject *last_type; /* NULL: none yet */
    uint32_t last_place;     /* of it */
};

static int make_node(void *context, size_t i) {
    struct order *const o = context;
    struct managed_walk *const w = o->walk;
    int is_attributes;
    if (i >= w->n_nodes)
        return 1;
    struct node *const n = &walk_nodes(w)[i];
    n->object = (PyObject *)index_next(w, &o->at, &is_attributes);
    n->role = is_attributes ? ROLE_ATTRIBUTES : ROLE_NONE;
    PyTypeObject *const type = Py_TYPE(n->object);
    if (type != o->last_type) {
        o->last_place = (uint32_t)(type_slot(w, type) - walk_types(w));
        o->last_type = type;
    }
    n->type = o->last_place & (TYPES_MOST - 1);
    n->is_gc = PyObject_IS_GC(n->object) != 0;
    n->is_tracked = n->is_gc && cpython_is_tracked(n->object);
    return 0;
}

static int make_bad(void *context, size_t i) {
    struct managed_walk *const w = ((struct order *)context)->walk;
    walk_nodes(w)[i].is_bad = 1;
    w->n_bad++;
    return 0;
}

static struct node *node_of(struct managed_walk *w, PyObject *op) {
    const uint32_t node = walk_find(w, op);
    return node ? &walk_nodes(w)[node - 1] : NULL;
}

static void hear_early(struct managed_walk *w) {
    const struct early *const early = (const struct early *)(const void *)w->early.data;
    for (size_t i = 0; i < w->early.length / sizeof *early; i++) {
        struct node *const n = node_of(w, early[i].object);
        if (n && early[i].role == ROLE_NONE)
            n->n_references++;
        else if (n)
            walk_set_owner(w, n, early[i].role, early[i].owner);
    }
    const struct root *const roots = (const struct root *)(const void *)w->roots.data;
    for (uint32_t i = 0; i < w->n_roots; i++) {
        struct node *const n = node_of(w, roots[i].target);
        if (n)
            n->n_references += roots[i].is_owner;
    }
    for (size_t i = 0; i < n_found(w); i++)
        if (w->bad.data[i])
            node_of(w, found(w)[i])->is_bad = 1;
    const size_t *const frozen = (const size_t *)(const void *)w->frozen.data;
    for (size_t k = 0; k + 1 < w->frozen.length / sizeof *frozen; k += 2)
        for (size_t i = frozen[k]; i < frozen[k + 1]; i++)
            node_of(w, found(w)[i])->is_frozen = 1;
    memory_release(&w->early);
    memory_release(&w->found);
    memory_release(&w->bad);
    memory_release(&w->pending);
}

/* Nodes are in the order of their addresses, as a snapshot has them. */
static int order_nodes(struct managed_walk *w) {
    struct order o = {.walk = w};
    if (w->frozen.failed || index_sort(w) < 0 ||
        !memory_zeroed(&w->nodes, ((size_t)w->n_nodes + 1) * sizeof(struct node)))
        return -1;
    guard_each(0, make_node, make_bad, &o);
    hear_early(w);
    return 0;
}

/* --- what is reached, and what is garbage --- */

enum { REACH_SEEN_MOST = 64 };

struct reach {
    struct managed_walk *walk;
    struct memory queue;   /* uint32_t: indices of what refers to something */
    struct memory reached; /* bits by index */
    int is_counting;       /* the references that are seen */
    int is_reaching;       /* what they refer to */
    size_t at;
    uint32_t via;
    uint32_t n_seen; /* references that are to be looked at */
    const void *seen[REACH_SEEN_MOST];
    uint32_t seen_via[REACH_SEEN_MOST];
};

static inline uint64_t *reached_word(const struct reach *r, uint32_t index) {
    return &((uint64_t *)(void *)r->reached.data)[index / 64];
}

static inline int is_reached(const struct reach *r, uint32_t index) {
    return (int)(*reached_word(r, index) >> index % 64 & 1);
}

static void reach_seen(struct reach *r) {
    uint32_t nodes[REACH_SEEN_MOST];
    walk_find_all(r->walk, r->seen, r->n_seen, nodes);
    for (uint32_t i = 0; r->is_counting && i < r->n_seen; i++)
        if (nodes[i])
            __builtin_prefetch(&walk_nodes(r->walk)[nodes[i] - 1], 1);
    for (uint32_t i = 0; i < r->n_seen; i++) {
        const uint32_t index = nodes[i] - 1;
        if (nodes[i] && r->is_counting)
            walk_nodes(r->walk)[index].n_references++;
        if (nodes[i] == 0 || !r->is_reaching || is_reached(r, index))
            continue;
        struct node *const node = &walk_nodes(r->walk)[index];
        *reached_word(r, index) |= UINT64_C(1) << index % 64;
        node->via = r->seen_via[i];
        if (!walk_types(r->walk)[node->type].is_leaf)
            memory_add(&r->queue, &index, sizeof index);
    }
    r->n_seen = 0;
}

static int reach_visit(PyObject *op, void *context) {
    struct reach *const r = context;
    if (r->n_seen == REACH_SEEN_MOST)
        reach_seen(r);
    r->seen[r->n_seen] = op;
    r->seen_via[r->n_seen++] = r->via;
    return 0;
}

static int reach_node(void *context, size_t i) {
    enum { AHEAD = 4 };
    struct reach *const r = context;
    if (i >= r->queue.length / sizeof(uint32_t))
        reach_seen(r);
    const uint32_t *const queue = (const uint32_t *)(const void *)r->queue.data;
    const struct node *const nodes = walk_nodes(r->walk);
    const size_t n = r->queue.length / sizeof *queue;
    if (i >= n)
        return 1;
    if (i + 2 * AHEAD < n)
        __builtin_prefetch(&nodes[queue[i + 2 * AHEAD]]);
    if (i + AHEAD < n)
        __builtin_prefetch(nodes[queue[i + AHEAD]].object);
    const struct node *const node = &nodes[queue[i]];
    r->via = queue[i] + 1;
    if (!node->is_bad)
        walk_visit(node->object, node->is_gc, reach_visit, r);
    return 0;
}

/* The references of what is not reached count, too. */
static int count_node(void *context, size_t i) {
    struct reach *const r = context;
    if (i >= r->walk->n_nodes)
        return 1;
    const struct node *const node = &walk_nodes(r->walk)[i];
    if (!is_reached(r, (uint32_t)i) && !node->is_bad && !walk_types(r->walk)[node->type].is_leaf)
        walk_visit(node->object, node->is_gc, reach_visit, r);
    return 0;
}

static void reach_run(struct reach *r) {
    r->at = guard_each(r->at, reach_node, NULL, r);
}

int64_t walk_hidden(const struct node *node) {
    if (cpython_is_immortal(node->object))
        return 0;
    return (int64_t)Py_REFCNT(node->object) - (int64_t)node->n_references;
}

/* Counts all references, and finds what is reached. First what the named roots reach; then what is
 * held by references that no object and no root owns: those are roots, too, and what holds them is
 * unknown. What remains only holds itself. */
static void find_garbage(struct managed_walk *w) {
    struct reach r = {.walk = w, .is_reaching = 1};
    const struct root *roots = (struct root *)(void *)w->roots.data;
    const uint32_t n_named = w->n_roots;
    if (!memory_zeroed(&r.reached, ((size_t)w->n_nodes / 64 + 1) * sizeof(uint64_t))) {
        w->failed = 1;
        return;
    }
    for (uint32_t i = 0; i < n_named; i++) {
        r.via = VIA_ROOT | i;
        reach_visit(roots[i].target, &r);
    }
    reach_seen(&r);
    r.is_counting = 1;
    reach_run(&r);
    r.is_reaching = 0;
    guard_each(0, count_node, NULL, &r);
    reach_seen(&r);
    r.is_counting = 0;
    r.is_reaching = 1;
    const struct node *nodes = walk_nodes(w);
    for (uint32_t i = 0; i < w->n_nodes && !r.queue.failed; i++) {
        /* The collector's own sum for what it tracks: a traversal that keeps a reference to itself
         * makes an object look held, never the other way round. */
        if (is_reached(&r, i) || (walk_hidden(&nodes[i]) <= 0 && !nodes[i].is_bad &&
                                  !cpython_is_immortal(nodes[i].object)))
            continue;
        const struct root root = {
            .target = nodes[i].object, .kind = SNAP_ROOT_NATIVE, .flags = SNAP_EDGE_FLAG_LOW};
        memory_add(&w->roots, &root, sizeof root);
        r.via = VIA_ROOT | w->n_roots++;
        reach_visit(nodes[i].object, &r);
        reach_run(&r);
        nodes = walk_nodes(w);
    }
    for (uint32_t i = 0; i < w->n_nodes; i++) {
        struct node *const node = &walk_nodes(w)[i];
        const int is_garbage = !is_reached(&r, i);
        if (is_garbage)
            node->is_garbage = 1;
        w->n_garbage += (uint64_t)is_garbage;
        w->n_frozen += node->is_frozen;
    }
    if (r.queue.failed || w->roots.failed)
        w->failed = 1;
    memory_release(&r.queue);
    memory_release(&r.reached);
}

/* --- sizes --- */

static uint64_t array_bytes(PyObject *op) {
    struct array { /* numpy's; part of its binary interface */
        PyObject_HEAD char *data;
        int nd;
        Py_ssize_t *dimensions, *strides;
        PyObject *base, *descr;
        int flags;
    };
    const struct array *const a = (struct array *)(void *)op;
    enum { OWNS_DATA = 4 };
    if (!(a->flags & OWNS_DATA) || !a->data || a->nd < 0 || a->nd > 64)
        return 0;
    uint64_t bytes = 0;
    for (int i = 0; i < a->nd; i++) {
        const Py_ssize_t stride = a->strides[i] < 0 ? -a->strides[i] : a->strides[i];
        const uint64_t n = (uint64_t)a->dimensions[i] * (uint64_t)stride;
        if (a->dimensions[i] == 0)
            return 0;
        bytes = n > bytes ? n : bytes;
    }
    return bytes ? bytes : 8;
}

static uint64_t pyarray_bytes(PyObject *op) {
    struct pyarray {
        PyObject_VAR_HEAD char *item;
        Py_ssize_t allocated;
        const struct {
            char typecode;
            int itemsize;
        } * descr;
    };
    const struct pyarray *const a = (struct pyarray *)(void *)op;
    return a->item && a->descr ? (uint64_t)a->allocated * (uint64_t)a->descr->itemsize : 0;
}

/* What objects have from malloc is counted there if malloc is recorded: Python's own allocator asks
 * it for all that is larger than 512 bytes. */
static size_t piece(const struct managed_walk *w, size_t bytes) {
    enum { SMALL_MAX = 512 };
    return w->has_blocks && bytes > SMALL_MAX ? 0 : bytes;
}

size_t walk_size(struct managed_walk *w, const struct node *node, uint64_t *external) {
    PyObject *const op = node->object;
    PyTypeObject *const type = Py_TYPE(op);
    const struct type_entry *const e = &walk_types(w)[node->type];
    size_t size = (size_t)type->tp_basicsize, out = cpython_header_size(type);
    if (PyType_Check(op) && !(((PyTypeObject *)op)->tp_flags & Py_TPFLAGS_HEAPTYPE))
        size = sizeof(PyTypeObject); /* static: the rest of a type's is not there */
    else if (PyLong_Check(op))
        size =
            cpython_int_size(op) +
            (PyLong_CheckExact(op) ? 0
                                   : (size_t)type->tp_basicsize - (size_t)PyLong_Type.tp_basicsize);
    else if (PyUnicode_Check(op)) {
        const PyASCIIObject *const a = (PyASCIIObject *)op;
        if (PyUnicode_CheckExact(op) && a->state.compact)
            size = a->state.ascii
                       ? sizeof(PyASCIIObject) + (size_t)a->length + 1
                       : sizeof(PyCompactUnicodeObject) + ((size_t)a->length + 1) * a->state.kind;
        cpython_string_external(op, &out);
    } else if (type->tp_itemsize) {
        const Py_ssize_t n_slots = cpython_n_slots(op), n = n_slots < 0 ? Py_SIZE(op) : n_slots;
        size += (size_t)(n < 0 ? -n : n) * (size_t)type->tp_itemsize;
    }
    if (!node->is_gc && PyType_Check(op))
        out = 0;
    if (PyDict_Check(op)) {
        PyDictObject *const dict = (PyDictObject *)op;
        if (!dict->ma_values && dict->ma_used > 0)
            out += piece(w, cpython_keys_size(dict->ma_keys));
        out += piece(w, cpython_values_size(dict));
    } else if (PyList_Check(op))
        out += piece(w, (size_t)((PyListObject *)op)->allocated * sizeof(PyObject *));
    else if (e->is_set) {
        const PySetObject *const set = (PySetObject *)op;
        if (set->table != set->smalltable)
            out += piece(w, ((size_t)set->mask + 1) * sizeof(setentry));
    } else if (e->is_bytearray)
        out += piece(w, (size_t)((PyByteArrayObject *)op)->ob_alloc);
    else if (PyType_Check(op) && type->tp_flags & Py_TPFLAGS_TYPE_SUBCLASS && node->is_gc &&
             ((PyHeapTypeObject *)op)->ht_cached_keys)
        out += piece(w, cpython_keys_size(((PyHeapTypeObject *)op)->ht_cached_keys));
    switch (e->special) {
    case SPECIAL_ARRAY: out += w->has_blocks ? 0 : array_bytes(op); break;
    case SPECIAL_PYARRAY: out += piece(w, pyarray_bytes(op)); break;
    case SPECIAL_DEQUE:
        out += piece(w, ((size_t)Py_SIZE(op) / 64 + 1) * 66 * sizeof(PyObject *));
        break;
    default: break;
    }
    if (type->tp_flags & CPYTHON_MANAGED_DICT) {
        struct cpython_attributes attributes;
        cpython_attributes_read(op, &attributes);
        out += attributes.bytes;
    }
    *external = out;
    return size;
}

/* --- the whole --- */

/* Values are bytes that only look like addresses; tuples and code refer to objects only. */
static int may_hold_addresses(PyObject *op) {
    return !PyUnicode_Check(op) && !PyBytes_Check(op) && !PyLong_Check(op) && !PyFloat_Check(op) &&
           !PyComplex_Check(op) && !PyTuple_CheckExact(op) && !PyCode_Check(op);
}

static int list_object(void *context, size_t i) {
    struct managed_walk *const w = context;
    struct managed_object *const o = &((struct managed_object *)(void *)w->objects.data)[i];
    uint64_t external;
    if (i >= w->n_nodes)
        return 1;
    const struct node *const node = &walk_nodes(w)[i];
    o->address = (uintptr_t)node->object;
    o->size = sizeof(PyObject);
    o->flags = (walk_hidden(node) > 0 ? MANAGED_HIDDEN : 0u) |
               (may_hold_addresses(node->object) ? MANAGED_READABLE : 0u);
    o->size = walk_size(w, node, &external);
    return 0;
}

static int list_objects(struct managed_walk *w) {
    if (!memory_zeroed(&w->objects, ((size_t)w->n_nodes + 1) * sizeof(struct managed_object)))
        return -1;
    guard_each(0, list_object, NULL, w);
    return 0;
}

/* One that is being made or taken down has no modules: nothing is told by it. */
static int interpreter_is_known(PyInterpreterState *interp) {
    PyObject *const modules = cpython_modules(interp);
    if (!modules)
        return 1;
    for (int i = 0; i < CPYTHON_N_LISTS; i++) {
        PyGC_Head *const head = cpython_gc_list(interp, i);
        PyGC_Head *const next = (PyGC_Head *)(head->_gc_next & ~(uintptr_t)1);
        PyGC_Head *const previous = _PyGCHead_PREV(head);
        if (!next || !previous || _PyGCHead_PREV(next) != head || _PyGCHead_NEXT(previous) != head)
            return 0;
    }
    const PyThreadState *const thread = cpython_threads(interp);
    return PyDict_CheckExact(modules) && (!thread || thread->interp == interp);
}

/* Whether the headers that this was compiled with are the running interpreter's: the lists begin
 * where they are looked for, and are closed. An interpreter that nothing runs in has no thread. */
static int cpython_is_known(void) {
    int n_told = 0;
    for (PyInterpreterState *interp = cpython_interpreters(); interp; interp = interp->next) {
        if (!interpreter_is_known(interp))
            return 0;
        n_told += cpython_modules(interp) && cpython_threads(interp);
    }
    return n_told > 0;
}

static int look(void *known, size_t i) {
    *(int *)known = cpython_is_known();
    return 1;
}

static int give_up(void *known, size_t i) {
    return 1;
}

static int is_known(void) {
    int known = 0;
    guard_each(0, look, give_up, &known);
    return known;
}

static void walk_close(struct managed_walk *w) {
    struct memory *const all[] = {
        &w->nodes,         &w->index,   &w->regions, &w->region_order, &w->found,
        &w->bad,           &w->early,   &w->frozen,  &w->owners,       &w->types,
        &w->roots,         &w->places,  &w->hooks,   &w->groups,       &w->names,
        &w->objects,       &w->targets, &w->claimed, &w->strings.text, &w->strings.offsets,
        &w->strings.table, &w->records, &w->origins, &w->pending,      &w->ways,
        &w->way_slots};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        memory_release(all[i]);
    natives_release(w);
    devices_release(w);
    raw_unmap(w, (size_t)64 << 10);
}

static int walk_all(struct managed_walk *w) {
    w->types_size = 4096;
    if (!memory_zeroed(&w->types, w->types_size * sizeof(struct type_entry)) || index_start(w) < 0)
        return -1;
    add_lists(w);
    roots_find(w);
    close_over(w);
    if (w->failed || order_nodes(w) < 0)
        return -1;
    find_garbage(w);
    parts_find(w);
    if (w->failed || (w->has_blocks && list_objects(w) < 0))
        return -1;
    if (!w->has_blocks)
        natives_find(w);
    tensors_learn(w);
    if (!w->has_blocks)
        devices_find(w);
    return 0;
}

/* Some types' own traversals ask for the running thread's state, and there is none while all
 * threads sleep. Which one it is does not matter. */
static int take_thread_state(void *context, size_t i) {
    PyThreadState *state = cpython_threads(PyInterpreterState_Main());
    while (state && state->next)
        state = state->next; /* the first one that was made */
    if (state && !cpython_current())
        PyThreadState_Swap(state);
    return 1;
}

static int is_memory_shared; /* with the program: what changes here changes there */

static void walk_enter(uint64_t room_start, uint64_t room_end, int is_shared) {
    raw_room_use(room_start, room_end);
    is_memory_shared = is_shared;
}

static struct managed_walk *walk_open(int has_blocks) {
    struct memory self = {0};
    struct managed_walk *w = NULL;
    if (!Py_IsInitialized() || guard_start() < 0)
        return NULL;
    if (is_known()) {
        if (!is_memory_shared)
            guard_each(0, take_thread_state, give_up, NULL);
        w = memory_zeroed(&self, sizeof *w);
    }
    if (w) {
        w->has_blocks = has_blocks;
        if (walk_all(w) < 0) {
            walk_close(w);
            w = NULL;
        }
    }
    guard_stop();
    return w;
}

static size_t walk_objects(const struct managed_walk *w, const struct managed_object **out) {
    *out = (const struct managed_object *)(const void *)w->objects.data;
    return w->n_nodes;
}

#define TEXT_(x) #x
#define TEXT(x) TEXT_(x)

__attribute__((visibility("default"))) const struct managed_walker heapsnap_walker = {
    .version = MANAGED_VERSION,
    .runtime = "CPython " TEXT(PY_MAJOR_VERSION) "." TEXT(PY_MINOR_VERSION),
    .enter = walk_enter,
    .open = walk_open,
    .objects = walk_objects,
    .send_counters = send_counters,
    .send_blocks = send_blocks,
    .send_nodes = send_nodes,
    .send_references = send_references,
    .send_roots = send_roots,
    .label_size = send_label_size,
    .send_labels = send_labels,
    .close = walk_close,
    .start = hold_start,
    .is_free = hold_is_free,
    .is_whole = hold_is_whole,
    .call = hold_call,
};
