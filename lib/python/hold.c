/* When nobody is in the middle of a change: what the recorder asks of the interpreter in the living
 * process, about the global lock and about the end of the program.
 *
 * Invariants: what is called in a signal handler waits for nothing that the interrupted thread may
 * hold; no Python code is run but the registration with atexit, once, where pending calls are made.
 * Does not take snapshots and does not walk. */
#include "python/hold.h"

/* --- the lock --- */

int hold_is_free(void) {
    return !Py_IsInitialized() || !cpython_lock_is_held(_PyRuntime.interpreters.main);
}

static int find_held(void *context, size_t i) {
    int *const is_whole = context;
    PyInterpreterState *interp = cpython_interpreters();
    for (size_t k = 0; interp && k < i; k++)
        interp = interp->next;
    if (interp && cpython_lock_is_held(interp)) {
        const PyThreadState *const holder = cpython_lock_holder(interp);
        *is_whole &= is_whole[1] && holder && holder->thread_id == PyThread_get_thread_ident();
    }
    return !interp;
}

static int not_whole(void *context, size_t i) {
    *(int *)context = 0;
    return 1;
}

int hold_is_whole(int is_caller_fine) {
    int is_whole[2] = {1, is_caller_fine};
    if (!Py_IsInitialized() || guard_start() < 0)
        return 1;
    guard_each(0, find_held, not_whole, is_whole);
    guard_stop();
    return is_whole[0];
}

int hold_call(int (*fn)(void *), void *argument) {
    return Py_IsInitialized() ? cpython_call_soon(fn, argument) : -1;
}

/* --- the end of the program --- */

static void (*at_end)(void);

static PyObject *end(PyObject *self, PyObject *args) {
    at_end();
    Py_RETURN_NONE;
}

static PyMethodDef end_method = {"heapsnap_at_end", end, METH_NOARGS, NULL};

/* Registered before the program has registered anything: called after all that it has. */
static int register_end(void *unused) {
    PyObject *const function = PyCFunction_New(&end_method, NULL);
    PyObject *const module = PyImport_ImportModule("atexit");
    PyObject *const done =
        function && module ? PyObject_CallMethod(module, "register", "O", function) : NULL;
    PyErr_Clear();
    Py_XDECREF(done);
    Py_XDECREF(module);
    Py_XDECREF(function);
    return 0;
}

/* An audit hook is what can be left before there is an interpreter; it goes when it has done its
 * work, since each one makes audited functions slower. */
static int on_event(const char *event, PyObject *args, void *unused) {
    if (!Py_IsInitialized() || PyInterpreterState_Get() != PyInterpreterState_Main())
        return 0;
    _Py_AuditHookEntry **at = cpython_audit_hooks();
    while (*at && (*at)->hookCFunction != on_event)
        at = &(*at)->next;
    if (*at)
        *at = (*at)->next; /* not freed: whoever calls us goes on from there */
    Py_AddPendingCall(register_end, NULL);
    return 0;
}

void hold_start(void (*function)(void)) {
    at_end = function;
    if (at_end && !Py_IsInitialized())
        PySys_AddAuditHook(on_event, NULL);
}

int hold_is_own(PyObject *op) {
    return PyCFunction_Check(op) && PyCFunction_GET_FUNCTION(op) == end;
}
