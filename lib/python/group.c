/* Process groups of torch.distributed that were made and not destroyed. Each has connections,
 * threads and buffers, next to none of which is memory of Python's, so they are resources.
 *
 * They are the keys of dictionaries of a module of PyTorch's, which keeps them until it is asked to
 * destroy them: what the program itself still refers to does not matter. Only reads; what is in
 * those dictionaries is believed to be what PyTorch puts there as far as its types say so. */
#include <heapsnap/snapdef.h>

#include "model/wire.h"
#include "python/guard.h"
#include "python/walker.h"

#define MODULE "torch.distributed.distributed_c10d"
#define GROUPS_MAX ((size_t)1 << 16)
#define RANKS_MAX 4096
#define WORD_SIZE 64 /* of a backend, of a group's name */
#define TEXT_SIZE 320
#define RANGES_SIZE 120

struct registry {
    PyObject *dict;
    Py_ssize_t at; /* behind the entry that was found last */
};

struct groups {
    struct managed_walk *walk;
    struct registry backends, names, ranks;
};

/* What a dictionary has under an object itself. All of these dictionaries have the same keys in the
 * same order: the next entry is looked at first. */
static PyObject *find(struct registry *r, const PyObject *group) {
    PyObject *key, *value;
    const Py_ssize_t start = r->at;
    if (!r->dict || !PyDict_Check(r->dict))
        return NULL;
    for (int is_again = 0; is_again < 2; is_again++) {
        while ((!is_again || r->at < start) && PyDict_Next(r->dict, &r->at, &key, &value))
            if (key == group)
                return value;
        r->at = is_again ? start : 0;
    }
    return NULL;
}

/* A word as names of backends and groups are; else nothing, for it may be data. */
static size_t put_word(PyObject *op, char *out) {
    const size_t n = name_read(op, out, WORD_SIZE);
    for (size_t i = 0; i < n; i++) {
        const char c = out[i];
        if (!((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
              strchr("_-:,./", c)))
            return 0;
    }
    return n;
}

static size_t put_text(char *out, const char *text) {
    const size_t n = strlen(text);
    memcpy(out, text, n);
    return n;
}

/* "0-3,8": the keys of a dictionary, as they come; "..." for what is too much. */
static size_t put_ranks(PyObject *dict, char *out) {
    Py_ssize_t at = 0;
    PyObject *key, *value;
    size_t length = 0;
    int32_t first = -1, last = -1, rank;
    for (size_t i = 0; i <= RANKS_MAX; i++) {
        const int is_there = i < RANKS_MAX && PyDict_Next(dict, &at, &key, &value);
        if (is_there && (!name_read_number(key, &rank) || rank < 0))
            return 0;
        if (is_there && i > 0 && rank == last + 1) {
            last = rank;
            continue;
        }
        if (i > 0) {
            length += name_of_number((uint32_t)first, out + length);
            if (last > first) {
                out[length++] = '-';
                length += name_of_number((uint32_t)last, out + length);
            }
        }
        if (!is_there && i < RANKS_MAX)
            return length;
        if (!is_there || length + 32 > RANGES_SIZE)
            break;
        if (i > 0)
            out[length++] = ',';
        first = last = rank;
    }
    return length + put_text(out + length, ",...");
}

/* "gloo '3', 2 ranks: 0-1", as far as it is known. */
static uint32_t name_of_group(struct groups *g, PyObject *group, PyObject *kept) {
    char text[TEXT_SIZE];
    size_t length = 0;
    if (kept && PyTuple_Check(kept) && Py_SIZE(kept) > 0)
        length += put_word(PyTuple_GET_ITEM(kept, 0), text);
    PyObject *const name = find(&g->names, group), *const ranks = find(&g->ranks, group);
    char word[WORD_SIZE];
    const size_t n = name ? put_word(name, word) : 0;
    if (n > 0) {
        length += put_text(text + length, length > 0 ? " '" : "'");
        memcpy(text + length, word, n);
        length += n;
        text[length++] = '\'';
    }
    if (ranks && PyDict_Check(ranks) && ((PyDictObject *)ranks)->ma_used > 0) {
        char ranges[RANGES_SIZE + 8];
        const uint32_t n_ranks = (uint32_t)((PyDictObject *)ranks)->ma_used;
        const size_t n_ranges = put_ranks(ranks, ranges);
        if (length > 0)
            length += put_text(text + length, ", ");
        length += name_of_number(n_ranks, text + length);
        length += put_text(text + length, n_ranks == 1 ? " rank" : " ranks");
        if (n_ranges > 0) {
            length += put_text(text + length, ": ");
            memcpy(text + length, ranges, n_ranges);
            length += n_ranges;
        }
    }
    return name_add(g->walk, text, length);
}

static int add_group(void *context, size_t i) {
    struct groups *const g = context;
    struct managed_walk *const w = g->walk;
    PyObject *group, *kept;
    if (i >= GROUPS_MAX || !PyDict_Next(g->backends.dict, &g->backends.at, &group, &kept))
        return 1;
    if (!walk_find(w, group))
        return 0;
    const struct wire_resource r = {.kind = SNAP_RSRC_PROCESS_GROUP,
                                    .handle = (uintptr_t)group,
                                    .name = name_of_group(g, group, kept)};
    memory_add(&w->groups, &r, sizeof r);
    if (w->groups.failed)
        w->failed = 1;
    return w->failed;
}

static int lose_rest(void *context, size_t i) {
    ((struct groups *)context)->walk->n_bad++;
    return 1;
}

static int find_registries(void *context, size_t i) {
    struct groups *const g = context;
    const struct managed_walk *const w = g->walk;
    const struct root *const roots = (const struct root *)(const void *)w->roots.data;
    if (i >= w->n_roots)
        return 1;
    if (roots[i].kind != SNAP_ROOT_MODULE || !PyModule_Check(roots[i].target) ||
        strcmp(name_text(w, roots[i].name), MODULE) != 0)
        return 0;
    PyObject *const dict = PyModule_GetDict(roots[i].target);
    g->backends.dict = name_entry(dict, "_pg_map");
    g->names.dict = name_entry(dict, "_pg_names");
    g->ranks.dict = name_entry(dict, "_pg_group_ranks");
    return 1;
}

void groups_find(struct managed_walk *w) {
    struct groups g = {.walk = w};
    guard_each(0, find_registries, NULL, &g);
    if (g.backends.dict && PyDict_Check(g.backends.dict))
        guard_each(0, add_group, lose_rest, &g);
}
