/* The Python module heapsnap._heapsnap: snap_take, snap_diff and the report for Python.
 *
 * Thin: everything that is more convenient in Python is in heapsnap/__init__.py. Arguments are
 * turned into C before the process is copied, and the interpreter is held until it has been. */
#define PY_SSIZE_T_CLEAN
#include "capture/take.h"
#include "python/cpython.h"

#define COUNTERS_MAX 64

extern const struct managed_walker heapsnap_walker;

static PyObject *snap_exception; /* heapsnap.Error */

static PyObject *raise_error(int code, const snap_error *err) {
    PyObject *const arguments = Py_BuildValue("(is)", code, err->message);
    if (arguments) {
        PyErr_SetObject(code == SNAP_E_NOMEM ? PyExc_MemoryError
                        : code == SNAP_E_ARG ? PyExc_ValueError
                                             : snap_exception,
                        code == SNAP_E_NOMEM || code == SNAP_E_ARG ? PyTuple_GET_ITEM(arguments, 1)
                                                                   : arguments);
        Py_DECREF(arguments);
    }
    return NULL;
}

/* --- snap --- */

static int read_counters(PyObject *dict, snap_counter *out, size_t *n) {
    Py_ssize_t at = 0;
    PyObject *key, *value;
    *n = 0;
    if (dict == Py_None)
        return 0;
    if (!PyDict_Check(dict)) {
        PyErr_SetString(PyExc_TypeError, "counters must be a dict of whole numbers by name");
        return -1;
    }
    while (PyDict_Next(dict, &at, &key, &value)) {
        if (*n == COUNTERS_MAX) {
            PyErr_Format(PyExc_ValueError, "more than %d counters", COUNTERS_MAX);
            return -1;
        }
        out[*n].name = PyUnicode_Check(key) ? PyUnicode_AsUTF8(key) : NULL;
        if (!out[*n].name) {
            if (!PyErr_Occurred())
                PyErr_SetString(PyExc_TypeError, "names of counters must be strings");
            return -1;
        }
        out[*n].value = PyLong_AsLongLong(value);
        if (out[*n].value == -1 && PyErr_Occurred())
            return -1;
        ++*n;
    }
    return 0;
}

static void let_go(void *context) {
    *(PyThreadState **)context = PyEval_SaveThread();
}

static int optional_number(PyObject *o, int64_t *out, int *has) {
    *has = o != Py_None;
    if (!*has)
        return 0;
    *out = PyLong_AsLongLong(o);
    return *out == -1 && PyErr_Occurred() ? -1 : 0;
}

PyDoc_STRVAR(snap_doc, "_snap(path, label, step, rank, counters, overwrite)");

static PyObject *snap(PyObject *self, PyObject *args) {
    PyObject *path = NULL, *step, *rank, *counters;
    const char *label;
    int overwrite;
    snap_counter list[COUNTERS_MAX];
    snap_take_options o = {.struct_size = sizeof o, .counters = list};
    if (!PyArg_ParseTuple(args, "O&zOOOp", PyUnicode_FSConverter, &path, &label, &step, &rank,
                          &counters, &overwrite))
        return NULL;
    o.label = label;
    o.overwrite = overwrite;
    PyObject *done = NULL;
    if (optional_number(step, &o.step, &o.has_step) == 0 &&
        optional_number(rank, &o.rank, &o.has_rank) == 0 &&
        read_counters(counters, list, &o.n_counters) == 0) {
        PyThreadState *state = NULL;
        snap_error err = {0};
        const struct take_managed managed = {
            .walker = &heapsnap_walker, .copied = let_go, .context = (void *)&state};
        const int result = take_managed(PyBytes_AS_STRING(path), &o, &managed, &err);
        if (state)
            PyEval_RestoreThread(state);
        done = result < 0 ? raise_error(result, &err) : Py_NewRef(Py_None);
    }
    Py_DECREF(path);
    return done;
}

PyDoc_STRVAR(tracked_doc, "is_tracked()\n--\n\n"
                          "True if this process was started by `snap run`.");

static PyObject *tracked(PyObject *self, PyObject *args) {
    return PyBool_FromLong(snap_is_tracked());
}

static PyMethodDef methods[] = {
    {"_snap", snap, METH_VARARGS, snap_doc},
    {"is_tracked", tracked, METH_NOARGS, tracked_doc},
    {NULL, NULL, 0, NULL},
};

static struct PyModuleDef module = {
    .m_base = PyModuleDef_HEAD_INIT,
    .m_name = "heapsnap._heapsnap",
    .m_doc = "The part of heapsnap that is written in C.",
    .m_size = -1,
    .m_methods = methods,
};

PyMODINIT_FUNC PyInit__heapsnap(void);
PyMODINIT_FUNC PyInit__heapsnap(void) {
    PyObject *const m = PyModule_Create(&module);
    if (!m)
        return NULL;
    snap_exception = PyErr_NewExceptionWithDoc(
        "heapsnap.Error", "A snapshot could not be taken, read or compared. args: (code, message).",
        PyExc_OSError, NULL);
    if (!snap_exception || PyModule_AddObjectRef(m, "Error", snap_exception) < 0 ||
        PyModule_AddStringConstant(m, "version", snap_version()) < 0) {
        Py_DECREF(m);
        return NULL;
    }
    return m;
}
