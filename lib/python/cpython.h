/* CPython's structures, where the public headers do not give them: one set of functions for all
 * versions.
 *
 * The only file that knows of private headers. Compiled once per minor version against that
 * version's own headers; cpython_is_known (find.c) checks in the running interpreter that they fit,
 * because a patch release may change what is private. All functions only read and borrow; all may
 * fault on objects that are in the making, which callers survive (guard.h). */
#ifndef HEAPSNAP_CPYTHON_H
#define HEAPSNAP_CPYTHON_H

#define Py_BUILD_CORE 1
#include <Python.h>

#include <stdint.h>
#include <structmember.h>

/* Some private headers warn. */
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wundef"
#pragma GCC diagnostic ignored "-Wunused-function"
#pragma GCC diagnostic ignored "-Wstrict-prototypes"
#pragma GCC diagnostic ignored "-Wshadow"
#pragma GCC diagnostic ignored "-Wpedantic"
#include <internal/pycore_gc.h>
#include <internal/pycore_interp.h>
#include <internal/pycore_object.h>
#include <internal/pycore_pystate.h>
#include <internal/pycore_runtime.h>
#if PY_VERSION_HEX >= 0x030d0000
#include <internal/pycore_ceval.h>
#endif
#if PY_VERSION_HEX >= 0x030b0000
#include <internal/pycore_code.h>
#include <internal/pycore_dict.h>
#include <internal/pycore_frame.h>
#else
#include <frameobject.h>
#endif
#pragma GCC diagnostic pop

#if PY_VERSION_HEX < 0x030a0000 || PY_VERSION_HEX >= 0x030e0000 || defined(Py_GIL_DISABLED)
#error "heapsnap knows CPython 3.10 to 3.13 with the global lock"
#endif

/* --- interpreter and threads --- */

#if PY_VERSION_HEX >= 0x030b0000
static inline PyThreadState *cpython_threads(PyInterpreterState *interp) {
    return interp->threads.head;
}
#else
static inline PyThreadState *cpython_threads(PyInterpreterState *interp) {
    return interp->tstate_head;
}
#endif

static inline PyInterpreterState *cpython_interpreters(void) {
    return _PyRuntime.interpreters.head;
}

/* State of the thread that runs; NULL: none does. */
#if PY_VERSION_HEX >= 0x030d0000
static inline PyThreadState *cpython_current(void) {
    return PyThreadState_GetUnchecked();
}
#else
static inline PyThreadState *cpython_current(void) {
    return _PyThreadState_UncheckedGet();
}
#endif

#if PY_VERSION_HEX >= 0x030c0000
static inline PyObject *cpython_modules(PyInterpreterState *interp) {
    return interp->imports.modules;
}
static inline PyObject *cpython_modules_by_index(PyInterpreterState *interp) {
    return interp->imports.modules_by_index;
}
static inline PyObject *cpython_importlib(PyInterpreterState *interp) {
    return interp->imports.importlib;
}
static inline PyObject *cpython_import_func(PyInterpreterState *interp) {
    return interp->imports.import_func;
}
#else
static inline PyObject *cpython_modules(PyInterpreterState *interp) {
    return interp->modules;
}
static inline PyObject *cpython_modules_by_index(PyInterpreterState *interp) {
    return interp->modules_by_index;
}
static inline PyObject *cpython_importlib(PyInterpreterState *interp) {
    return interp->importlib;
}
static inline PyObject *cpython_import_func(PyInterpreterState *interp) {
    return interp->import_func;
}
#endif

#if PY_VERSION_HEX >= 0x030d0000
static inline void cpython_codecs(PyInterpreterState *interp, PyObject *out[3]) {
    out[0] = interp->codecs.search_path;
    out[1] = interp->codecs.search_cache;
    out[2] = interp->codecs.error_registry;
}
#else
static inline void cpython_codecs(PyInterpreterState *interp, PyObject *out[3]) {
    out[0] = interp->codec_search_path;
    out[1] = interp->codec_search_cache;
    out[2] = interp->codec_error_registry;
}
#endif

/* The global lock; of every interpreter its own, or the same. */
#if PY_VERSION_HEX >= 0x030c0000
static inline struct _gil_runtime_state *cpython_lock(PyInterpreterState *interp) {
    return interp->ceval.gil;
}
static inline _Py_AuditHookEntry **cpython_audit_hooks(void) {
    return &_PyRuntime.audit_hooks.head;
}
#else
static inline struct _gil_runtime_state *cpython_lock(PyInterpreterState *interp) {
    return &_PyRuntime.ceval.gil;
}
static inline _Py_AuditHookEntry **cpython_audit_hooks(void) {
    return &_PyRuntime.audit_hook_head;
}
#endif
#if PY_VERSION_HEX >= 0x030d0000
static inline int cpython_lock_is_held(PyInterpreterState *interp) {
    const struct _gil_runtime_state *const lock = cpython_lock(interp);
    return lock && __atomic_load_n(&lock->locked, __ATOMIC_SEQ_CST) > 0;
}
static inline const PyThreadState *cpython_lock_holder(PyInterpreterState *interp) {
    return cpython_lock(interp)->last_holder;
}
/* As _PyEval_AddPendingCall does for the main thread, but never waiting: the thread that has been
 * interrupted may be the one that holds the mutex. */
static inline int cpython_call_soon(int (*fn)(void *), void *argument) {
    struct _pending_calls *const p = &_PyRuntime.ceval.pending_mainthread;
    uint8_t expected = _Py_UNLOCKED;
    int result = -1;
    if (!_PyRuntime.main_tstate ||
        !_Py_atomic_compare_exchange_uint8(&p->mutex._bits, &expected, _Py_LOCKED))
        return -1;
    if (p->npending < p->max) {
        p->calls[p->next] = (struct _pending_call){.func = fn, .arg = argument};
        _Py_atomic_add_int32(&p->npending, 1);
        p->next = (p->next + 1) % PENDINGCALLSARRAYSIZE;
        result = 0;
    }
    PyMutex_Unlock(&p->mutex);
    if (result == 0)
        _Py_set_eval_breaker_bit(_PyRuntime.main_tstate, _PY_CALLS_TO_DO_BIT);
    return result;
}
#else
static inline int cpython_lock_is_held(PyInterpreterState *interp) {
    struct _gil_runtime_state *const lock = cpython_lock(interp);
    return lock && _Py_atomic_load(&lock->locked) > 0;
}
static inline const PyThreadState *cpython_lock_holder(PyInterpreterState *interp) {
    return (const PyThreadState *)_Py_atomic_load(&cpython_lock(interp)->last_holder);
}
/* Py_AddPendingCall waits for a lock that the thread which has been interrupted may hold. If it is
 * free now, that thread does not: others will give it back. */
static inline int cpython_call_soon(int (*fn)(void *), void *argument) {
    const PyThread_type_lock lock = _PyRuntime.interpreters.main->ceval.pending.lock;
    if (!lock || PyThread_acquire_lock_timed(lock, 0, 0) != PY_LOCK_ACQUIRED)
        return -1;
    PyThread_release_lock(lock);
    return Py_AddPendingCall(fn, argument);
}
#endif

/* The exceptions that a thread is raising, and those that it handles. */
#if PY_VERSION_HEX >= 0x030c0000
static inline int cpython_raised(PyThreadState *t, PyObject *out[3]) {
    out[0] = t->current_exception;
    return 1;
}
#else
static inline int cpython_raised(PyThreadState *t, PyObject *out[3]) {
    out[0] = t->curexc_type;
    out[1] = t->curexc_value;
    out[2] = t->curexc_traceback;
    return 3;
}
#endif
#if PY_VERSION_HEX >= 0x030b0000
static inline int cpython_handled(_PyErr_StackItem *item, PyObject *out[3]) {
    out[0] = item->exc_value;
    return 1;
}
#else
static inline int cpython_handled(_PyErr_StackItem *item, PyObject *out[3]) {
    out[0] = item->exc_type;
    out[1] = item->exc_value;
    out[2] = item->exc_traceback;
    return 3;
}
#endif

#if PY_VERSION_HEX >= 0x030c0000
static inline PyObject *cpython_signal_handler(int number) {
    PyObject *handler;
    memcpy(&handler, (const void *)&_PyRuntime.signals.handlers[number].func, sizeof handler);
    return handler;
}
#define CPYTHON_N_SIGNALS Py_NSIG
#else
static inline PyObject *cpython_signal_handler(int number) {
    return NULL; /* in a variable of the signal module that has no name outside */
}
#define CPYTHON_N_SIGNALS 0
#endif

/* --- the collector --- */

#define CPYTHON_N_LISTS (NUM_GENERATIONS + 1)

/* List i of tracked objects; the last one is that of frozen objects. */
static inline PyGC_Head *cpython_gc_list(PyInterpreterState *interp, int i) {
    return i < NUM_GENERATIONS ? &interp->gc.generations[i].head
                               : &interp->gc.permanent_generation.head;
}

static inline int cpython_is_tracked(PyObject *op) {
    return _PyObject_GC_IS_TRACKED(op);
}

#if PY_VERSION_HEX >= 0x030c0000
static inline int cpython_is_immortal(PyObject *op) {
    return _Py_IsImmortal(op);
}
#else
static inline int cpython_is_immortal(PyObject *op) {
    return Py_REFCNT(op) > 500000000; /* of 3.11, for what is compiled in */
}
#endif

/* Bytes in front of an object. */
#if PY_VERSION_HEX >= 0x030b0000
static inline size_t cpython_header_size(PyTypeObject *type) {
    return _PyType_PreHeaderSize(type);
}
#else
static inline size_t cpython_header_size(PyTypeObject *type) {
    return PyType_HasFeature(type, Py_TPFLAGS_HAVE_GC) ? sizeof(PyGC_Head) : 0;
}
#endif

/* --- frames --- */

struct cpython_frame {
    PyCodeObject *code; /* NULL: not a frame of Python code */
    PyObject *function, *globals, *locals, *frame_object;
    PyObject **values; /* locals, cells, free variables, then temporaries */
    int n_values;
};

#if PY_VERSION_HEX >= 0x030b0000
typedef struct _PyInterpreterFrame cpython_raw_frame;

static inline cpython_raw_frame *cpython_frame_previous(cpython_raw_frame *f) {
    return f->previous;
}
static inline int cpython_n_names(PyCodeObject *code) {
    return code->co_nlocalsplus;
}
static inline PyObject *cpython_local_name(PyCodeObject *code, int i) {
    PyObject *const names = code->co_localsplusnames;
    return names && PyTuple_Check(names) && i < PyTuple_GET_SIZE(names) ? PyTuple_GET_ITEM(names, i)
                                                                        : NULL;
}
static inline PyObject *cpython_free_name(PyCodeObject *code, Py_ssize_t i) {
    return cpython_local_name(code, code->co_nlocalsplus - code->co_nfreevars + (int)i);
}
static inline PyObject *cpython_code_name(PyCodeObject *code) {
    return code->co_qualname ? code->co_qualname : code->co_name;
}
#if PY_VERSION_HEX >= 0x030d0000
static inline cpython_raw_frame *cpython_thread_frame(PyThreadState *t) {
    return t->current_frame;
}
static inline PyObject *cpython_frame_code(cpython_raw_frame *f) {
    return f->f_executable;
}
static inline PyObject *cpython_frame_function(cpython_raw_frame *f) {
    return f->f_funcobj;
}
#elif PY_VERSION_HEX >= 0x030c0000
static inline cpython_raw_frame *cpython_thread_frame(PyThreadState *t) {
    return t->cframe ? t->cframe->current_frame : NULL;
}
static inline PyObject *cpython_frame_code(cpython_raw_frame *f) {
    return (PyObject *)f->f_code;
}
static inline PyObject *cpython_frame_function(cpython_raw_frame *f) {
    return f->f_funcobj;
}
#else
static inline cpython_raw_frame *cpython_thread_frame(PyThreadState *t) {
    return t->cframe ? t->cframe->current_frame : NULL;
}
static inline PyObject *cpython_frame_code(cpython_raw_frame *f) {
    return (PyObject *)f->f_code;
}
static inline PyObject *cpython_frame_function(cpython_raw_frame *f) {
    return (PyObject *)f->f_func;
}
#endif
#if PY_VERSION_HEX >= 0x030c0000
static inline int cpython_is_c_frame(cpython_raw_frame *f) {
    return f->owner == FRAME_OWNED_BY_CSTACK;
}
#else
static inline int cpython_is_c_frame(cpython_raw_frame *f) {
    return 0;
}
#endif

static inline void cpython_frame_read(cpython_raw_frame *f, struct cpython_frame *out) {
    *out = (struct cpython_frame){0};
    PyObject *const code = cpython_frame_code(f);
    if (cpython_is_c_frame(f) || !code || Py_TYPE(code) != &PyCode_Type)
        return;
    out->code = (PyCodeObject *)code;
    out->function = cpython_frame_function(f);
    out->globals = f->f_globals;
    out->locals = f->f_locals;
    out->frame_object = (PyObject *)f->frame_obj;
    out->values = f->localsplus;
    /* Above the variables stand temporaries; how many, only frames that wait for another know. */
    const int n_names = out->code->co_nlocalsplus, n_stack = out->code->co_stacksize;
    out->n_values =
        f->stacktop >= n_names && f->stacktop <= n_names + n_stack ? f->stacktop : n_names;
}

static inline cpython_raw_frame *cpython_object_frame(PyObject *frame_object) {
    return ((PyFrameObject *)frame_object)->f_frame;
}
static inline int cpython_object_owns_frame(PyObject *frame_object) {
    return cpython_object_frame(frame_object)->owner == FRAME_OWNED_BY_FRAME_OBJECT;
}
static inline cpython_raw_frame *cpython_generator_frame(PyObject *generator) {
    PyGenObject *const g = (PyGenObject *)generator;
    return g->gi_frame_state < FRAME_CLEARED ? (cpython_raw_frame *)(void *)g->gi_iframe : NULL;
}
/* Frames and generators say that they have items, but are no PyVarObject: their number is that of
 * what their code needs. -1: not one of them. */
static inline Py_ssize_t cpython_n_slots(PyObject *op) {
    cpython_raw_frame *f;
    if (PyFrame_Check(op))
        f = cpython_object_frame(op);
    else if (PyGen_CheckExact(op) || PyCoro_CheckExact(op) || PyAsyncGen_CheckExact(op))
        f = cpython_generator_frame(op);
    else
        return -1;
    PyObject *const code = f ? cpython_frame_code(f) : NULL;
    if (!code || Py_TYPE(code) != &PyCode_Type)
        return 0;
    return ((PyCodeObject *)code)->co_nlocalsplus + ((PyCodeObject *)code)->co_stacksize;
}
#else
static inline Py_ssize_t cpython_n_slots(PyObject *op) {
    return -1;
}
typedef PyFrameObject cpython_raw_frame;

static inline cpython_raw_frame *cpython_frame_previous(cpython_raw_frame *f) {
    return f->f_back;
}
static inline int cpython_n_names(PyCodeObject *code) {
    return (int)(code->co_nlocals + PyTuple_GET_SIZE(code->co_cellvars) +
                 PyTuple_GET_SIZE(code->co_freevars));
}
static inline PyObject *cpython_local_name(PyCodeObject *code, int i) {
    PyObject *const lists[] = {code->co_varnames, code->co_cellvars, code->co_freevars};
    for (int l = 0; l < 3; l++) {
        if (i < PyTuple_GET_SIZE(lists[l]))
            return PyTuple_GET_ITEM(lists[l], i);
        i -= (int)PyTuple_GET_SIZE(lists[l]);
    }
    return NULL;
}
static inline PyObject *cpython_free_name(PyCodeObject *code, Py_ssize_t i) {
    return i < PyTuple_GET_SIZE(code->co_freevars) ? PyTuple_GET_ITEM(code->co_freevars, i) : NULL;
}
static inline PyObject *cpython_code_name(PyCodeObject *code) {
    return code->co_name;
}
static inline cpython_raw_frame *cpython_thread_frame(PyThreadState *t) {
    return t->frame;
}
static inline void cpython_frame_read(cpython_raw_frame *f, struct cpython_frame *out) {
    *out = (struct cpython_frame){0};
    out->code = f->f_code;
    out->globals = f->f_globals;
    out->locals = f->f_locals;
    out->frame_object = (PyObject *)f;
    out->values = f->f_localsplus;
    const int n_names = cpython_n_names(f->f_code);
    out->n_values = n_names;
    if (f->f_stackdepth > 0 && f->f_stackdepth <= f->f_code->co_stacksize)
        out->n_values += f->f_stackdepth;
}
static inline cpython_raw_frame *cpython_object_frame(PyObject *frame_object) {
    return (PyFrameObject *)frame_object;
}
static inline int cpython_object_owns_frame(PyObject *frame_object) {
    return 1;
}
static inline cpython_raw_frame *cpython_generator_frame(PyObject *generator) {
    return NULL; /* has a frame object */
}
#endif

/* --- dictionaries --- */

#if PY_VERSION_HEX >= 0x030b0000
static inline size_t cpython_keys_size(PyDictKeysObject *keys) {
    const size_t n_entries =
        (size_t)((keys->dk_usable > 0 ? keys->dk_usable : 0) + keys->dk_nentries);
    return sizeof *keys + ((size_t)1 << keys->dk_log2_index_bytes) +
           n_entries * (DK_IS_UNICODE(keys) ? sizeof(PyDictUnicodeEntry) : sizeof(PyDictKeyEntry));
}
static inline Py_ssize_t cpython_keys_used(PyDictKeysObject *keys) {
    return keys->dk_nentries;
}
static inline PyObject *cpython_keys_key(PyDictKeysObject *keys, Py_ssize_t i) {
    return DK_IS_UNICODE(keys) ? DK_UNICODE_ENTRIES(keys)[i].me_key : DK_ENTRIES(keys)[i].me_key;
}
/* Whether the collector's traversal of a dictionary visits its keys. */
static inline int cpython_visits_keys(PyDictObject *dict) {
    return !DK_IS_UNICODE(dict->ma_keys);
}
#else
struct cpython_keys { /* of 3.10; no header has it */
    Py_ssize_t dk_refcnt, dk_size;
    void *dk_lookup;
    Py_ssize_t dk_usable, dk_nentries;
    char dk_indices[];
};
struct cpython_entry {
    Py_hash_t me_hash;
    PyObject *me_key, *me_value;
};
static inline size_t cpython_index_bytes(struct cpython_keys *k) {
    const size_t size = (size_t)k->dk_size;
    if (size <= 0xff)
        return size;
    if (size <= 0xffff)
        return size * 2;
    return size <= 0xffffffff ? size * 4 : size * 8;
}
static inline size_t cpython_keys_size(PyDictKeysObject *keys) {
    struct cpython_keys *const k = (struct cpython_keys *)(void *)keys;
    const size_t n_entries = (size_t)((k->dk_usable > 0 ? k->dk_usable : 0) + k->dk_nentries);
    return sizeof *k + cpython_index_bytes(k) + n_entries * sizeof(struct cpython_entry);
}
static inline Py_ssize_t cpython_keys_used(PyDictKeysObject *keys) {
    return ((struct cpython_keys *)(void *)keys)->dk_nentries;
}
static inline PyObject *cpython_keys_key(PyDictKeysObject *keys, Py_ssize_t i) {
    struct cpython_keys *const k = (struct cpython_keys *)(void *)keys;
    return ((struct cpython_entry *)(void *)(k->dk_indices + cpython_index_bytes(k)))[i].me_key;
}
static inline int cpython_visits_keys(PyDictObject *dict) {
    /* The function that looks up keys of any type is the one that an empty, general table has; it
     * has no name outside. A table with a key that is no string is general. */
    Py_ssize_t at = 0;
    PyObject *key, *value;
    while (PyDict_Next((PyObject *)dict, &at, &key, &value))
        if (!PyUnicode_CheckExact(key))
            return 1;
    return 0;
}
#endif

/* A dictionary that only shows the values inside an object: the object refers to them. */
#if PY_VERSION_HEX >= 0x030d0000
static inline int cpython_is_view(PyDictObject *dict) {
    return dict->ma_values && dict->ma_values->embedded;
}
static inline size_t cpython_values_size(PyDictObject *dict) {
    const PyDictValues *const v = dict->ma_values;
    return v && !v->embedded ? sizeof *v + (size_t)v->capacity * (sizeof(PyObject *) + 1) : 0;
}
#else
static inline int cpython_is_view(PyDictObject *dict) {
    return 0;
}
static inline size_t cpython_values_size(PyDictObject *dict) {
    return dict->ma_values ? (size_t)cpython_keys_used(dict->ma_keys) * sizeof(PyObject *) : 0;
}
#endif

/* Attributes of an object: a dictionary, or values whose names its type has, or neither. */
struct cpython_attributes {
    PyObject *dict;
    PyObject **values;
    PyDictKeysObject *keys;
    Py_ssize_t n_values;
    size_t bytes; /* of values that are not inside the object */
};

static inline PyObject **cpython_dict_slot(PyObject *op, Py_ssize_t offset) {
    if (offset < 0) {
        Py_ssize_t n = Py_SIZE(op);
        if (n < 0)
            n = -n;
        offset += (Py_ssize_t)_PyObject_VAR_SIZE(Py_TYPE(op), n);
    }
    return (PyObject **)(void *)((char *)op + offset);
}

static inline void cpython_name_values(PyObject *op, struct cpython_attributes *out) {
    out->keys = ((PyHeapTypeObject *)Py_TYPE(op))->ht_cached_keys;
    if (!out->keys)
        out->values = NULL;
    out->n_values = out->values ? cpython_keys_used(out->keys) : 0;
}

#if PY_VERSION_HEX >= 0x030d0000
static inline void cpython_managed_attributes(PyObject *op, struct cpython_attributes *out) {
    out->dict = (PyObject *)_PyObject_GetManagedDict(op);
    if (PyType_HasFeature(Py_TYPE(op), Py_TPFLAGS_INLINE_VALUES)) {
        PyDictValues *const values =
            (PyDictValues *)(void *)((char *)op + Py_TYPE(op)->tp_basicsize);
        out->bytes = sizeof *values; /* the rest is counted with the names below */
        if (values->valid) {
            out->values = values->values;
            cpython_name_values(op, out);
        }
        out->bytes = sizeof *values + (size_t)values->capacity * (sizeof(PyObject *) + 1);
    }
}
#elif PY_VERSION_HEX >= 0x030c0000
static inline void cpython_managed_attributes(PyObject *op, struct cpython_attributes *out) {
    const PyDictOrValues both = *_PyObject_DictOrValuesPointer(op);
    if (!_PyDictOrValues_IsValues(both)) {
        out->dict = _PyDictOrValues_GetDict(both);
        return;
    }
    out->values = _PyDictOrValues_GetValues(both)->values;
    cpython_name_values(op, out);
    out->bytes = (size_t)out->n_values * (sizeof(PyObject *) + 1) + 2;
}
#elif PY_VERSION_HEX >= 0x030b0000
static inline void cpython_managed_attributes(PyObject *op, struct cpython_attributes *out) {
    PyDictValues *const values = *_PyObject_ValuesPointer(op);
    out->dict = *_PyObject_ManagedDictPointer(op);
    if (!values)
        return;
    out->values = values->values;
    cpython_name_values(op, out);
    out->bytes = (size_t)out->n_values * (sizeof(PyObject *) + 1) + 2;
}
#endif

#if PY_VERSION_HEX >= 0x030b0000
#define CPYTHON_MANAGED_DICT Py_TPFLAGS_MANAGED_DICT
#else
#define CPYTHON_MANAGED_DICT 0UL
static inline void cpython_managed_attributes(PyObject *op, struct cpython_attributes *out) {}
#endif

static inline void cpython_attributes_read(PyObject *op, struct cpython_attributes *out) {
    PyTypeObject *const type = Py_TYPE(op);
    *out = (struct cpython_attributes){0};
    if (type->tp_flags & CPYTHON_MANAGED_DICT)
        cpython_managed_attributes(op, out);
    else if (type->tp_dictoffset)
        out->dict = *cpython_dict_slot(op, type->tp_dictoffset);
}

/* --- types and others --- */

/* Where the members of a class with __slots__ are described. */
static inline PyMemberDef *cpython_slots(PyTypeObject *type) {
    return (PyMemberDef *)(void *)((char *)type + Py_TYPE(type)->tp_basicsize);
}

#if PY_VERSION_HEX >= 0x030c0000
static inline size_t cpython_int_size(PyObject *op) {
    const uintptr_t n = ((PyLongObject *)op)->long_value.lv_tag >> 3;
    return offsetof(PyLongObject, long_value.ob_digit) + (n ? n : 1) * sizeof(digit);
}
static inline const digit *cpython_int_digits(PyObject *op) {
    return ((PyLongObject *)op)->long_value.ob_digit;
}
static inline int cpython_int_sign(PyObject *op) {
    return 1 - (int)(((PyLongObject *)op)->long_value.lv_tag & 3);
}
/* A type that every interpreter has its own dictionary and subclasses of. */
static inline void cpython_type_state(PyInterpreterState *interp, PyTypeObject *type,
                                      PyObject *out[2]) {
    if (!(type->tp_flags & (1UL << 1) /* _Py_TPFLAGS_STATIC_BUILTIN */))
        return;
#if PY_VERSION_HEX >= 0x030d0000
    const size_t i = (size_t)type->tp_subclasses;
    if (i == 0 || i > _Py_MAX_MANAGED_STATIC_BUILTIN_TYPES)
        return;
    if (interp->types.builtins.initialized[i - 1].type != type)
        return;
    out[0] = interp->types.builtins.initialized[i - 1].tp_dict;
    out[1] = interp->types.builtins.initialized[i - 1].tp_subclasses;
#else
    const size_t i = (size_t)type->tp_subclasses;
    if (i == 0 || i > _Py_MAX_STATIC_BUILTIN_TYPES)
        return;
    if (interp->types.builtins[i - 1].type != type)
        return;
    out[0] = interp->types.builtins[i - 1].tp_dict;
    out[1] = interp->types.builtins[i - 1].tp_subclasses;
#endif
}
#else
static inline size_t cpython_int_size(PyObject *op) {
    const Py_ssize_t n = Py_SIZE(op);
    return offsetof(PyLongObject, ob_digit) + (size_t)(n < 0 ? -n : n) * sizeof(digit);
}
static inline const digit *cpython_int_digits(PyObject *op) {
    return ((PyLongObject *)op)->ob_digit;
}
static inline int cpython_int_sign(PyObject *op) {
    return (Py_SIZE(op) > 0) - (Py_SIZE(op) < 0);
}
static inline void cpython_type_state(PyInterpreterState *interp, PyTypeObject *type,
                                      PyObject *out[2]) {
    out[1] = (PyObject *)type->tp_subclasses;
}
#endif

/* What a code object has beyond its members. */
#if PY_VERSION_HEX >= 0x030b0000
static inline void cpython_code_names(PyCodeObject *code, PyObject *out[2]) {
    out[0] = code->co_localsplusnames;
    out[1] = code->co_localspluskinds;
}
#else
static inline void cpython_code_names(PyCodeObject *code, PyObject *out[2]) {
    out[0] = out[1] = NULL;
}
#endif

#if PY_VERSION_HEX >= 0x030b0000
static inline uint32_t cpython_thread_id(PyThreadState *t) {
    return (uint32_t)t->native_thread_id;
}
#else
static inline uint32_t cpython_thread_id(PyThreadState *t) {
    return 0; /* only pthread's is known */
}
#endif

#if PY_VERSION_HEX >= 0x030c0000
static inline int cpython_string_is_ready(PyObject *op) {
    return 1;
}
#else
static inline int cpython_string_is_ready(PyObject *op) {
    return PyUnicode_IS_READY(op) != 0;
}
#endif

#if PY_VERSION_HEX >= 0x030c0000
static inline void cpython_string_external(PyObject *op, size_t *out) {
    const PyASCIIObject *const a = (PyASCIIObject *)op;
    const PyCompactUnicodeObject *const c = (PyCompactUnicodeObject *)op;
    if (a->state.compact && !a->state.ascii && c->utf8)
        *out += (size_t)c->utf8_length + 1;
    if (!a->state.compact && ((PyUnicodeObject *)op)->data.any)
        *out += ((size_t)a->length + 1) * a->state.kind;
}
#else
static inline void cpython_string_external(PyObject *op, size_t *out) {
    const PyASCIIObject *const a = (PyASCIIObject *)op;
    const PyCompactUnicodeObject *const c = (PyCompactUnicodeObject *)op;
    if (a->state.compact && !a->state.ascii && c->utf8)
        *out += (size_t)c->utf8_length + 1;
    if (!a->state.compact && a->state.ready && ((PyUnicodeObject *)op)->data.any)
        *out += ((size_t)a->length + 1) * a->state.kind;
}
#endif

#endif
