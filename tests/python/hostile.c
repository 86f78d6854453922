/* Types whose traversals break every rule: they hand over what is no object, do not end, fault, or
 * report one reference many times. A collector that met them would crash: they are tracked only
 * when asked to be. */
#define PY_SSIZE_T_CLEAN
#include <Python.h>

struct hostile {
    PyObject_HEAD PyObject *value;
};

static int visit_junk(PyObject *self, visitproc visit, void *context) {
    static uint64_t junk[8] = {1, 0x4141414141414141u, 0, 0};
    struct hostile *const h = (struct hostile *)self;
    static const uintptr_t addresses[] = {8, 0x10, 0xfffffffffffff000u, 0x7fffffff0000u,
                                          0xdeadbeef};
    visit((PyObject *)junk, context);
    visit((PyObject *)((char *)self + 1), context);
    if (h->value)
        visit(h->value, context);
    for (size_t i = 0; i < sizeof addresses / sizeof *addresses; i++) {
        const int stop = visit((PyObject *)addresses[i], context);
        if (stop)
            return stop;
    }
    return 0;
}

static int visit_forever(PyObject *self, visitproc visit, void *context) {
    struct hostile *const h = (struct hostile *)self;
    static volatile int go_on = 1;
    while (go_on)
        if (h->value)
            visit(h->value, context);
    return 0;
}

static int visit_fault(PyObject *self, visitproc visit, void *context) {
    struct hostile *const h = (struct hostile *)self;
    if (h->value)
        visit(h->value, context);
    const volatile int *volatile nowhere = (int *)16;
    return *nowhere;
}

static int visit_abort(PyObject *self, visitproc visit, void *context) {
    abort();
}

static int visit_often(PyObject *self, visitproc visit, void *context) {
    struct hostile *const h = (struct hostile *)self;
    for (int i = 0; h->value && i < 1000; i++)
        visit(h->value, context);
    return 0;
}

static int visit_wild(PyObject *self, visitproc visit, void *context) {
    int (*volatile nowhere)(void) = (int (*)(void))0x1230;
    return nowhere();
}

static PyObject *set_value(PyObject *self, PyObject *value) {
    struct hostile *const h = (struct hostile *)self;
    Py_XSETREF(h->value, Py_NewRef(value));
    Py_RETURN_NONE;
}

static void deallocate(PyObject *self) {
    if (PyObject_GC_IsTracked(self))
        PyObject_GC_UnTrack(self);
    Py_CLEAR(((struct hostile *)self)->value);
    Py_TYPE(self)->tp_free(self);
}

/* Seen by the collector only between these. */
static PyObject *track(PyObject *self, PyObject *unused) {
    if (!PyObject_GC_IsTracked(self))
        PyObject_GC_Track(self);
    Py_RETURN_NONE;
}

static PyObject *untrack(PyObject *self, PyObject *unused) {
    if (PyObject_GC_IsTracked(self))
        PyObject_GC_UnTrack(self);
    Py_RETURN_NONE;
}

static PyObject *make(PyTypeObject *type, PyObject *args, PyObject *kwargs) {
    struct hostile *const h = PyObject_GC_New(struct hostile, type);
    if (h)
        h->value = NULL;
    return (PyObject *)h;
}

static PyMethodDef methods[] = {
    {"set", set_value, METH_O, NULL},
    {"track", track, METH_NOARGS, NULL},
    {"untrack", untrack, METH_NOARGS, NULL},
    {NULL, NULL, 0, NULL},
};

#define TYPE(name)                                                                                 \
    {                                                                                              \
        PyVarObject_HEAD_INIT(NULL, 0).tp_name = "hostile." #name,                                 \
                                    .tp_basicsize = sizeof(struct hostile),                        \
                                    .tp_flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC,           \
                                    .tp_traverse = visit_##name, .tp_dealloc = deallocate,         \
                                    .tp_new = make, .tp_free = PyObject_GC_Del,                    \
                                    .tp_methods = methods                                          \
    }

static PyTypeObject types[] = {TYPE(junk),  TYPE(forever), TYPE(fault),
                               TYPE(abort), TYPE(often),   TYPE(wild)};

static struct PyModuleDef module = {PyModuleDef_HEAD_INIT, "hostile", NULL, -1, NULL};

PyMODINIT_FUNC PyInit_hostile(void);
PyMODINIT_FUNC PyInit_hostile(void) {
    PyObject *const m = PyModule_Create(&module);
    for (size_t i = 0; m && i < sizeof types / sizeof *types; i++)
        if (PyType_Ready(&types[i]) < 0 || PyModule_AddObject(m, strchr(types[i].tp_name, '.') + 1,
                                                              Py_NewRef((PyObject *)&types[i])) < 0)
            return NULL;
    return m;
}
