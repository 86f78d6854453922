/* Modules that were imported in between, as one thing: each is imported once, a program that
 * imports one imports a hundred, and none of them is the culprit.
 *
 * What is summed up are modules of a managed runtime that hang on nothing but the table of modules;
 * whether their sum is growth, and whether one goes on growing by itself, is decided in suspects.c.
 * Invariant: a suspect made of several names them as far as there is room. */
#include "diff/imports.h"

#include "base/err.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define NAMES_MAX 12

static int no_memory(snap_error *err) {
    return err_set(err, SNAP_E_NOMEM, "no memory for suspects");
}

void imports_release(struct imports *m) {
    free(m->members);
    memset(m, 0, sizeof *m);
}

int imports_add(struct imports *m, struct snap_diff *d, const struct candidates *c,
                uint32_t candidate, const uint64_t *series, snap_error *err) {
    if (m->series == NULL) {
        m->series = arena_alloc(&d->arena, 2 * d->n * sizeof *m->series);
        if (m->series == NULL)
            return no_memory(err);
        memset(m->series, 0, 2 * d->n * sizeof *m->series);
    }
    if (mem_grow(&m->members, &m->capacity, m->n_members + 1, sizeof *m->members) < 0)
        return no_memory(err);
    m->members[m->n_members++] = candidate;
    m->total_bytes = add_sat(m->total_bytes, c->rows[candidate].total_bytes);
    for (size_t k = 0; k < 2 * d->n; k++)
        m->series[k] = add_sat(m->series[k], series[k]);
    return 0;
}

uint32_t imports_merge(const struct imports *m, struct candidates *c) {
    uint32_t lead = m->members[0];
    for (size_t i = 1; i < m->n_members; i++)
        if (c->rows[m->members[i]].net_bytes > c->rows[lead].net_bytes)
            lead = m->members[i];
    for (size_t i = 0; i < m->n_members; i++)
        if (m->members[i] != lead)
            c->rows[m->members[i]].merged_into = lead + 1;
    return lead;
}

/* Modules by the package that they are in. */
struct package {
    const char *name;
    size_t length, n_modules;
    uint64_t bytes;
};

struct packages {
    struct package *rows;
    size_t n, capacity, n_modules;
};

static int add_module(struct packages *p, const char *name, uint64_t bytes, snap_error *err) {
    const size_t length = strcspn(name, ".");
    size_t i = 0;
    while (i < p->n && (p->rows[i].length != length || memcmp(p->rows[i].name, name, length) != 0))
        i++;
    if (i == p->n) {
        if (mem_grow(&p->rows, &p->capacity, p->n + 1, sizeof *p->rows) < 0)
            return no_memory(err);
        p->rows[p->n++] = (struct package){.name = name, .length = length};
    }
    p->rows[i].n_modules++;
    p->rows[i].bytes = add_sat(p->rows[i].bytes, bytes);
    p->n_modules++;
    return 0;
}

static int compare_packages(const void *x, const void *y) {
    const struct package *const a = x, *const b = y;
    if (a->bytes != b->bytes)
        return a->bytes > b->bytes ? -1 : 1;
    const size_t shorter = a->length < b->length ? a->length : b->length;
    const int order = memcmp(a->name, b->name, shorter);
    return order != 0 ? order : (a->length > b->length) - (a->length < b->length);
}

/* The table of modules has each by its name, whatever else refers to it. */
static int collect(const struct candidates *c, uint32_t lead, struct packages *out,
                   snap_error *err) {
    snap_heap *const h = c->heap;
    for (uint64_t i = 0; i < h->n_roots; i++) {
        const uint32_t node = h->root_target[i];
        if (h->root_kind == NULL || h->root_kind[i] != SNAP_ROOT_MODULE || node == 0 ||
            !(c->is_top[node >> 6] >> (node & 63) & 1) || c->entry[node] == 0 ||
            candidates_lead(c, c->entry[node] - 1) != lead)
            continue;
        const char *name;
        SNAP_TRY(heap_root_text(h, i, &name, err));
        SNAP_TRY(add_module(out, name, c->place_total_bytes[c->places.of[node]], err));
    }
    if (out->n > 1)
        qsort(out->rows, out->n, sizeof *out->rows, compare_packages);
    return 0;
}

static const char *sentence(struct snap_diff *d, const struct packages *p) {
    char text[1200];
    size_t used = (size_t)snprintf(
        text, sizeof text, "%zu modules that were imported in between, each once:", p->n_modules);
    for (size_t i = 0; i < p->n && i < NAMES_MAX; i++) {
        const struct package *const at = &p->rows[i];
        used += (size_t)snprintf(text + used, sizeof text - used, "%s %.*s", i > 0 ? "," : "",
                                 (int)(at->length < 60 ? at->length : 60), at->name);
        if (at->n_modules > 1)
            used += (size_t)snprintf(text + used, sizeof text - used, " (%zu)", at->n_modules);
    }
    if (p->n > NAMES_MAX)
        used += (size_t)snprintf(text + used, sizeof text - used, " and %zu more packages",
                                 p->n - NAMES_MAX);
    return arena_string(&d->arena, text, used);
}

int imports_name(const struct imports *m, struct snap_diff *d, const struct candidates *c,
                 uint32_t lead, snap_diff_suspect *s, snap_error *err) {
    struct packages packages = {0};
    snap_diff_step *const step = arena_alloc(&d->arena, sizeof *step);
    int result = step != NULL ? collect(c, lead, &packages, err) : no_memory(err);
    if (result == 0 && packages.n_modules > 1) {
        s->usual = sentence(d, &packages);
        if (s->usual == NULL)
            result = no_memory(err);
    }
    free(packages.rows);
    if (result < 0)
        return result;
    *step = (snap_diff_step){
        .edge = "sys.modules[*]",
        .label = "",
        .node = s->type,
        .count = m->series[d->n - 1],
        .bytes = m->total_bytes,
        .is_suspect = 1,
    };
    s->chain = step;
    s->n_chain = 1;
    s->holder = step->edge;
    s->root_kind = snap_code_name(SNAP_TABLE_ROOT, SNAP_ROOT_COL_KIND, SNAP_ROOT_MODULE);
    s->root_module = s->thread = "";
    s->is_doubtful = 0;
    return 0;
}
