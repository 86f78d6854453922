/* What holds objects from outside of the graph of objects: modules, interpreters, threads and the
 * variables of their frames, and the registries that are kept in C. */
#include "python/walker.h"

#include <heapsnap/snapdef.h>

#include "python/guard.h"

static uint32_t literal(struct managed_walk *w, const char *text) {
    return name_add(w, text, strlen(text));
}

/* is_owner: the place holds a reference of its own, which the object's count has, too. */
static void add(struct managed_walk *w, PyObject *target, uint32_t kind, uint32_t name,
                uint32_t label, int is_owner) {
    const struct root root = {.target = target,
                              .kind = kind,
                              .name = name,
                              .label = label,
                              .is_owner = (uint32_t)is_owner};
    if (!walk_add(w, target))
        return;
    memory_add(&w->roots, &root, sizeof root);
    if (w->roots.failed)
        w->failed = 1;
    else
        w->n_roots++;
}

static void add_named(struct managed_walk *w, PyObject *target, uint32_t kind, const char *name) {
    if (target)
        add(w, target, kind, literal(w, name), 0, 1);
}

/* A module may stand under several names; its own is the same under all. */
static uint32_t name_of_module(struct managed_walk *w, PyObject *key, PyObject *value) {
    const uint32_t name =
        PyModule_Check(value) ? name_of_entry(w, PyModule_GetDict(value), "__name__") : 0;
    return name ? name : name_of(w, key);
}

/* The dictionary of modules is the interpreter's; a module is known by its name. */
static void modules(struct managed_walk *w, PyInterpreterState *interp) {
    PyObject *const dict = cpython_modules(interp), *key, *value;
    Py_ssize_t at = 0;
    if (!dict || !PyDict_CheckExact(dict))
        return;
    while (PyDict_Next(dict, &at, &key, &value))
        add(w, value, SNAP_ROOT_MODULE, name_of_module(w, key, value), 0, 0);
    add_named(w, dict, SNAP_ROOT_INTERPRETER, "sys.modules");
    walk_tell(w, dict, ROLE_MODULES, NULL);
}

static void atexit_callbacks(struct managed_walk *w, PyInterpreterState *interp) {
    for (int i = 0; i < interp->atexit.ncallbacks; i++) {
        if (!interp->atexit.callbacks || !interp->atexit.callbacks[i])
            continue;
        add_named(w, interp->atexit.callbacks[i]->func, SNAP_ROOT_ATEXIT, "atexit");
        add_named(w, interp->atexit.callbacks[i]->args, SNAP_ROOT_ATEXIT, "atexit.args");
        add_named(w, interp->atexit.callbacks[i]->kwargs, SNAP_ROOT_ATEXIT, "atexit.kwargs");
    }
}

static void interpreter(struct managed_walk *w, PyInterpreterState *interp) {
    PyObject *codecs[3];
    cpython_codecs(interp, codecs);
    add_named(w, codecs[0], SNAP_ROOT_CODEC, "codecs.search_path");
    add_named(w, codecs[1], SNAP_ROOT_CODEC, "codecs.search_cache");
    add_named(w, codecs[2], SNAP_ROOT_CODEC, "codecs.error_registry");
    add_named(w, cpython_modules_by_index(interp), SNAP_ROOT_INTERPRETER, "modules_by_index");
    add_named(w, cpython_importlib(interp), SNAP_ROOT_INTERPRETER, "importlib");
    add_named(w, cpython_import_func(interp), SNAP_ROOT_INTERPRETER, "__import__");
    add_named(w, interp->sysdict, SNAP_ROOT_INTERPRETER, "sys");
    add_named(w, interp->builtins, SNAP_ROOT_INTERPRETER, "builtins");
    add_named(w, interp->builtins_copy, SNAP_ROOT_INTERPRETER, "builtins_copy");
    add_named(w, interp->dict, SNAP_ROOT_INTERPRETER, "interpreter.dict");
    add_named(w, interp->audit_hooks, SNAP_ROOT_INTERPRETER, "sys.addaudithook");
    add_named(w, interp->before_forkers, SNAP_ROOT_INTERPRETER, "os.register_at_fork before");
    add_named(w, interp->after_forkers_parent, SNAP_ROOT_INTERPRETER,
              "os.register_at_fork after_in_parent");
    add_named(w, interp->after_forkers_child, SNAP_ROOT_INTERPRETER,
              "os.register_at_fork after_in_child");
    add_named(w, interp->gc.callbacks, SNAP_ROOT_COLLECTOR, "gc.callbacks");
    add_named(w, interp->gc.garbage, SNAP_ROOT_COLLECTOR, "gc.garbage");
}

static void signals(struct managed_walk *w) {
    static const char name[] = "signal ";
    for (int i = 1; i < CPYTHON_N_SIGNALS; i++) {
        PyObject *const handler = cpython_signal_handler(i);
        char text[16];
        if (!handler || handler == Py_None || PyLong_Check(handler))
            continue;
        memcpy(text, name, sizeof name);
        text[7] = (char)('0' + i / 10);
        text[8] = (char)('0' + i % 10);
        text[9] = '\0';
        add_named(w, handler, SNAP_ROOT_SIGNAL, i < 10 ? "signal" : text);
    }
}

/* --- threads --- */

static uint32_t place_of(struct managed_walk *w, const struct cpython_frame *f, uint32_t function) {
    const struct place place = {.function = function,
                                .file = name_of(w, f->code->co_filename),
                                .line = (uint32_t)f->code->co_firstlineno};
    memory_add(&w->places, &place, sizeof place);
    return w->places.failed ? 0 : ++w->n_places;
}

static void frame(struct managed_walk *w, cpython_raw_frame *raw, uint32_t tid) {
    struct cpython_frame f;
    cpython_frame_read(raw, &f);
    if (!f.code)
        return;
    const uint32_t function = name_of_code(w, f.code, f.globals);
    const uint32_t place = place_of(w, &f, function);
    const int n_names = cpython_n_names(f.code);
    const uint32_t first = w->n_roots;
    for (int i = 0; i < f.n_values; i++)
        if (f.values[i])
            add(w, f.values[i], SNAP_ROOT_FRAME, function,
                i < n_names ? name_of(w, cpython_local_name(f.code, i)) : 0, 1);
    if (f.locals && f.locals != f.globals)
        add(w, f.locals, SNAP_ROOT_FRAME, function, literal(w, "locals()"), 1);
    else if (f.locals)
        walk_count_root(w, f.locals);
    if (f.frame_object)
        add(w, f.frame_object, SNAP_ROOT_FRAME, function, 0, 1);
    walk_count_root(w, f.function);
    walk_count_root(w, (PyObject *)f.code);
    for (uint32_t i = first; i < w->n_roots; i++) {
        ((struct root *)(void *)w->roots.data)[i].thread = tid;
        ((struct root *)(void *)w->roots.data)[i].frame = place;
    }
}

struct stack {
    struct managed_walk *walk;
    PyThreadState *thread;
    cpython_raw_frame *at;
    uint32_t tid;
};

static int add_frame(void *context, size_t i) {
    enum { FRAMES_MAX = 1 << 20 };
    struct stack *const s = context;
    if (i == 0)
        s->at = cpython_thread_frame(s->thread);
    if (!s->at || i >= FRAMES_MAX || s->walk->failed)
        return 1;
    frame(s->walk, s->at, s->tid);
    s->at = cpython_frame_previous(s->at);
    return 0;
}

static void thread(struct managed_walk *w, PyThreadState *t) {
    const uint32_t first = w->n_roots;
    PyObject *raised[3];
    add_named(w, t->dict, SNAP_ROOT_THREAD, "thread.dict");
    add_named(w, t->context, SNAP_ROOT_CONTEXT, "contextvars");
    add_named(w, t->async_exc, SNAP_ROOT_THREAD, "asynchronous exception");
    add_named(w, t->async_gen_firstiter, SNAP_ROOT_THREAD, "sys.set_asyncgen_hooks firstiter");
    add_named(w, t->async_gen_finalizer, SNAP_ROOT_THREAD, "sys.set_asyncgen_hooks finalizer");
    add_named(w, t->c_traceobj, SNAP_ROOT_TRACE, "sys.settrace");
    add_named(w, t->c_profileobj, SNAP_ROOT_TRACE, "sys.setprofile");
    for (int n = cpython_raised(t, raised), i = 0; i < n; i++)
        add_named(w, raised[i], SNAP_ROOT_THREAD, "exception being raised");
    int depth = 0;
    for (_PyErr_StackItem *e = t->exc_info; e && depth < 10000; e = e->previous_item, depth++)
        for (int n = cpython_handled(e, raised), i = 0; i < n; i++)
            if (raised[i] && raised[i] != Py_None)
                add_named(w, raised[i], SNAP_ROOT_THREAD, "exception being handled");
    for (uint32_t i = first; i < w->n_roots; i++)
        ((struct root *)(void *)w->roots.data)[i].thread = cpython_thread_id(t);
}

struct steps {
    struct managed_walk *walk;
    PyInterpreterState *interp;
    PyThreadState *thread;
};

static int add_of_interpreter(void *context, size_t i) {
    const struct steps *const s = context;
    switch (i) {
    case 0: modules(s->walk, s->interp); return 0;
    case 1: interpreter(s->walk, s->interp); return 0;
    case 2: atexit_callbacks(s->walk, s->interp); return 0;
    case 3: signals(s->walk); return 0;
    default: return 1;
    }
}

static int add_of_thread(void *context, size_t i) {
    const struct steps *const s = context;
    if (i == 0)
        thread(s->walk, s->thread);
    return i != 0;
}

static int go_on(void *context, size_t i) {
    (*(struct managed_walk **)context)->n_bad++;
    return 0;
}

static int end(void *context, size_t i) {
    (*(struct managed_walk **)context)->n_bad++;
    return 1;
}

void roots_find(struct managed_walk *w) {
    struct steps s = {.walk = w, .interp = cpython_interpreters()};
    for (; s.interp && !w->failed; s.interp = s.interp->next) {
        guard_each(0, add_of_interpreter, go_on, &s);
        for (s.thread = cpython_threads(s.interp); s.thread; s.thread = s.thread->next) {
            struct stack stack = {
                .walk = w, .thread = s.thread, .tid = cpython_thread_id(s.thread)};
            guard_each(0, add_of_thread, go_on, &s);
            guard_each(0, add_frame, end, &stack);
        }
    }
}
