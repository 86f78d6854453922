/* Whose a class is: the program's own, a library's, or compiled code's.
 *
 * Evidence is the module that the class names and the file that the module was read from. Where one
 * of them is missing nothing is said: a class of the program's must not be taken for one by
 * default, for what is said of it comes before all else in a report. */
#include "python/walker.h"

#include <heapsnap/snapdef.h>

#include "python/guard.h"

enum origin { ORIGIN_UNKNOWN, ORIGIN_PROGRAM, ORIGIN_LIBRARY };

#define PATH_SIZE 4096

struct reading {
    struct managed_walk *walk;
    PyInterpreterState *interp;
    char standard[PATH_SIZE]; /* folder of the standard library, with a slash; "": not known */
};

static size_t read_file(PyObject *module, char *out) {
    PyObject *const dict = PyModule_Check(module) ? PyModule_GetDict(module) : NULL;
    return name_read_entry(dict, "__file__", out, PATH_SIZE);
}

static int ends_in(const char *text, size_t length, const char *end) {
    const size_t n = strlen(end);
    return length >= n && memcmp(text + length - n, end, n) == 0;
}

static enum origin origin_of_file(const struct reading *r, const char *file, size_t length) {
    if (!ends_in(file, length, ".py") && !ends_in(file, length, ".pyc"))
        return ORIGIN_UNKNOWN;
    const size_t n = strlen(r->standard);
    return strstr(file, "/site-packages/") || strstr(file, "/dist-packages/") ||
                   (n && strncmp(file, r->standard, n) == 0)
               ? ORIGIN_LIBRARY
               : ORIGIN_PROGRAM;
}

static void set_origin(struct managed_walk *w, uint32_t name, enum origin origin) {
    while (w->origins.length <= name && !w->origins.failed)
        memory_add(&w->origins, "", 1);
    if (w->origins.failed)
        w->failed = 1;
    else
        w->origins.data[name] = (char)origin;
}

/* The script, or what stands for one, may be read from anywhere. */
static void read_module(struct reading *r, PyObject *key, PyObject *value) {
    char name[16], file[PATH_SIZE];
    struct managed_walk *const w = r->walk;
    const int is_main = name_read(key, name, sizeof name) != 0 && strcmp(name, "__main__") == 0;
    const size_t length = read_file(value, file);
    const enum origin origin = is_main ? ORIGIN_PROGRAM : origin_of_file(r, file, length);
    if (origin != ORIGIN_UNKNOWN)
        set_origin(w, name_of(w, key), origin);
}

static void read_standard(struct reading *r, PyObject *dict) {
    PyObject *key, *value;
    Py_ssize_t at = 0;
    char name[8];
    while (!*r->standard && PyDict_Next(dict, &at, &key, &value)) {
        if (!name_read(key, name, sizeof name) || strcmp(name, "os") != 0 ||
            !read_file(value, r->standard))
            continue;
        char *const slash = strrchr(r->standard, '/');
        if (slash)
            slash[1] = '\0';
        else
            *r->standard = '\0';
    }
}

static int read_modules(void *context, size_t i) {
    struct reading *const r = context;
    PyObject *const dict = cpython_modules(r->interp), *key, *value;
    Py_ssize_t at = 0;
    if (i > 0 || !dict || !PyDict_CheckExact(dict))
        return 1;
    read_standard(r, dict);
    while (PyDict_Next(dict, &at, &key, &value))
        read_module(r, key, value);
    return 0;
}

void origins_find(struct managed_walk *w) {
    struct reading r = {.walk = w, .interp = cpython_interpreters()};
    for (; r.interp && !w->failed; r.interp = r.interp->next)
        guard_each(0, read_modules, NULL, &r);
}

uint32_t origin_flags(struct managed_walk *w, PyTypeObject *type) {
    if (!(type->tp_flags & Py_TPFLAGS_HEAPTYPE) || type->tp_flags & Py_TPFLAGS_IMMUTABLETYPE)
        return 0;
    const uint32_t name = name_of_entry(w, type->tp_dict, "__module__");
    const enum origin origin =
        name < w->origins.length ? (enum origin)w->origins.data[name] : ORIGIN_UNKNOWN;
    return origin == ORIGIN_UNKNOWN   ? 0
           : origin == ORIGIN_LIBRARY ? SNAP_TYPE_FLAG_CLASS | SNAP_TYPE_FLAG_LIBRARY
                                      : SNAP_TYPE_FLAG_CLASS;
}
