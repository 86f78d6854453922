/* What is known of growth that many programs show and then end: modules that are imported, names
 * that are interned, caches of libraries and compilers, an optimizer's state.
 *
 * Each rule rests on who made or who holds the memory, in the names of CPython, PyTorch and the
 * loader, never on the program's own. A rule explains and ranks down, and hides nothing: what grows
 * on after it should have ended is a suspect like any other, but for caches that are known to be
 * bounded by their number of entries: they grow on until they are full, and are told as no leak. */
#include "diff/usual.h"

#include <string.h>

#define FRAMES_MAX 96

static int is_one_of(const char *text, const char *const *names, size_t n) {
    for (size_t i = 0; i < n; i++)
        if (strcmp(text, names[i]) == 0)
            return 1;
    return 0;
}

#define IS_ONE_OF(text, names) is_one_of(text, names, sizeof(names) / sizeof *(names))

/* Text is prefix, or goes on with a step: "re._cache" and "re._cache[*]", not "re._cachet". */
static int starts_with(const char *text, const char *prefix) {
    const size_t n = strlen(prefix);
    return strncmp(text, prefix, n) == 0 && (text[n] == '\0' || strchr(".[", text[n]) != NULL);
}

/* Made while a module was imported, by the import itself or by the module's own lines, not by a
 * function that the module calls; or while a library was loaded. */
static int is_import(const snap_location *frames, size_t n) {
    static const char *const loaders[] = {"_dl_open", "dlopen"};
    for (size_t i = 0; i < n; i++) {
        if (frames[i].kind != SNAP_FRAM_PYTHON) {
            if (IS_ONE_OF(frames[i].function, loaders))
                return 1;
        } else if (strncmp(frames[i].file, "<frozen importlib", 17) == 0)
            return 1;
        else if (strcmp(frames[i].function, "<module>") != 0)
            return 0;
    }
    return 0;
}

static int is_interning(const snap_location *frames, size_t n) {
    static const char *const functions[] = {
        "PyUnicode_InternInPlace", "PyUnicode_InternFromString", "PyUnicode_InternImmortal",
        "_PyUnicode_InternMortal", "_PyUnicode_InternImmortal",  "intern_string_constants"};
    /* The table of names grows within a few calls of these. */
    for (size_t i = 0; i < n && i < 12; i++) {
        if (IS_ONE_OF(frames[i].function, functions))
            return 1;
        if (frames[i].kind == SNAP_FRAM_PYTHON)
            return 0;
    }
    return 0;
}

static int is_library_cache(const char *holder) {
    static const char *const caches[] = {
        "linecache.cache", "re._cache",        "re._cache2", "_strptime._regex_cache",
        "fnmatch",         "encodings._cache", "typing",     "sys.path_importer_cache",
        "inspect",         "tokenize",         "zipimport",  "torch._dynamo",
        "torch._inductor", "torch._functorch", "torch.fx",   "torch.jit",
        "sympy",           "numba.core"};
    for (size_t i = 0; i < sizeof caches / sizeof *caches; i++)
        if (starts_with(holder, caches[i]))
            return 1;
    return 0;
}

/* .state of an object of PyTorch's optimizers. */
static int is_optimizer_state(const snap_diff_suspect *s) {
    for (size_t i = 1; i < s->n_chain; i++)
        if (strncmp(s->chain[i].edge, ".state", 6) == 0 &&
            (strstr(s->chain[i - 1].node, "torch.optim.") != NULL ||
             (i > 1 && strcmp(s->chain[i - 1].node, "dict") == 0 &&
              strstr(s->chain[i - 2].node, "torch.optim.") != NULL)))
            return 1;
    return 0;
}

int usual_growth(const snap_diff_suspect *s, const snap_snapshot *of, const char **out,
                 snap_error *err) {
    *out = "";
    if (s->domain == SNAP_DOMAIN_PYTHON && strcmp(s->type, "module") == 0) {
        *out = "modules that were imported in between; each is imported once";
        return 0;
    }
    if (is_library_cache(s->holder)) {
        *out = "a cache of a library or compiler, which fills up with what the program uses";
        return 0;
    }
    if (is_optimizer_state(s)) {
        *out = "the state of an optimizer, which its first step makes";
        return 0;
    }
    if (s->stack == 0 || of == NULL)
        return 0;
    snap_location frames[FRAMES_MAX];
    size_t n;
    const int result = snap_stack(of, s->stack, frames, FRAMES_MAX, &n, NULL, err);
    if (result < 0)
        return result;
    if (is_interning(frames, n))
        *out = "the interpreter's table of interned names";
    else if (is_import(frames, n))
        *out = "made while a module or library was loaded, which happens once";
    return 0;
}

/* By the variable that a library keeps it in. */
const char *usual_bound(const snap_diff_suspect *s) {
    static const struct {
        const char *holder, *bound;
    } caches[] = {
        {"dnnl::impl::global_primitive_cache()::",
         "oneDNN keeps what it compiled for 1,024 shapes (ONEDNN_PRIMITIVE_CACHE_CAPACITY)"},
        {"ideep::utils::computation_cache<",
         "PyTorch keeps what oneDNN described for 1,024 shapes of each operator "
         "(LRU_CACHE_CAPACITY)"},
    };
    for (size_t i = 0; i < sizeof caches / sizeof *caches; i++)
        if (strncmp(s->holder, caches[i].holder, strlen(caches[i].holder)) == 0)
            return caches[i].bound;
    return NULL;
}
