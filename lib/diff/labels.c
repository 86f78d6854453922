/* "allocated in FUNCTION": what a stack's blocks are filed under where their type is not known, and
 * the module that the function is in.
 *
 * Stacks share their outer frames, and most of a hundred thousand of them say the same. So what a
 * frame says is found out once, what lies further out once per stack however many end there, and a
 * label is made once for each pair of frames that it depends on. Invariant: a label depends on the
 * names alone, never on what was asked before. */
#include "diff/labels.h"

#include "base/err.h"
#include "base/strtab.h"
#include "symbol/noise.h"

#include <heapsnap/diff.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { SAYS_PLACE = 1, SAYS_MANAGED = 2, SAYS_KNOWN = 4 };

/* Positions of one frame: functions inlined into one another. */
#define INLINED_MAX 32

/* By stack: whatever was looked for is in no frame of it; greater by one than a stack. */
#define NOWHERE 1u

static int no_memory(snap_error *err) {
    return err_set(err, SNAP_E_NOMEM, "no memory for the labels of sites");
}

void labels_init(struct labels *l, struct arena *arena) {
    memset(l, 0, sizeof *l);
    l->arena = arena;
    map_init(&l->noise);
    map_init(&l->made[0]);
    map_init(&l->made[1]);
}

static void forget(struct labels *l) {
    free(l->parent);
    free(l->frame);
    free(l->place);
    free(l->managed);
    free(l->frame_says);
    l->parent = l->frame = l->place = l->managed = NULL;
    l->frame_says = NULL;
    l->snapshot = NULL;
    l->n_rows = 0;
    map_clear(&l->made[0]);
    map_clear(&l->made[1]);
}

void labels_release(struct labels *l) {
    forget(l);
    free(l->rows);
    map_release(&l->noise);
    map_release(&l->made[0]);
    map_release(&l->made[1]);
    memset(l, 0, sizeof *l);
}

static int read_stacks(struct labels *l, const snap_snapshot *s, snap_error *err) {
    const uint64_t n_stacks = snap_rows(s, SNAP_TABLE_STAK),
                   n_frames = snap_rows(s, SNAP_TABLE_FRAM);
    forget(l);
    if (n_stacks >= UINT32_MAX || n_frames >= UINT32_MAX)
        return err_set(err, SNAP_E_LIMIT, "more stacks than can be told apart");
    l->n_stacks = (uint32_t)n_stacks;
    l->n_frames = (uint32_t)n_frames;
    l->parent = mem_zalloc((size_t)n_stacks + 1, sizeof *l->parent);
    l->frame = mem_zalloc((size_t)n_stacks + 1, sizeof *l->frame);
    l->place = mem_zalloc((size_t)n_stacks + 1, sizeof *l->place);
    l->managed = mem_zalloc((size_t)n_stacks + 1, sizeof *l->managed);
    l->frame_says = mem_zalloc((size_t)n_frames + 1, sizeof *l->frame_says);
    if (l->parent == NULL || l->frame == NULL || l->place == NULL || l->managed == NULL ||
        l->frame_says == NULL)
        return no_memory(err);
    snap_batch batch;
    snap_batch_init(&batch);
    int result = 0;
    for (uint32_t i = 0; result == 0 && i < snap_n_chunks(s, SNAP_TABLE_STAK); i++) {
        result =
            snap_batch_read(s, SNAP_TABLE_STAK, i,
                            1u << SNAP_STAK_COL_PARENT | 1u << SNAP_STAK_COL_FRAME, &batch, err);
        for (uint32_t k = 0; result == 0 && k < batch.n_rows; k++) {
            const uint64_t id = batch.first_id + k;
            const uint64_t parent = batch.column[SNAP_STAK_COL_PARENT][k];
            l->parent[id] = parent < id ? (uint32_t)parent : 0; /* a circle would have no end */
            l->frame[id] = (uint32_t)batch.column[SNAP_STAK_COL_FRAME][k];
        }
    }
    snap_batch_release(&batch);
    if (result == 0)
        l->snapshot = s;
    return result;
}

static int is_noise(struct labels *l, const snap_location *at) {
    uint32_t *const slot =
        *at->function != '\0' ? map_slot(&l->noise, (uint64_t)(uintptr_t)at->function) : NULL;
    if (slot == NULL)
        return snap_location_is_allocator(l->snapshot, at);
    if (*slot == 0)
        *slot = snap_location_is_allocator(l->snapshot, at) ? 2 : 1;
    return *slot == 2;
}

static int is_managed(const snap_location *at) {
    return at->kind != SNAP_FRAM_NATIVE && (*at->function != '\0' || *at->file != '\0');
}

/* The positions of a stack's own frame. */
static int own_positions(const struct labels *l, uint32_t stack, snap_location out[INLINED_MAX],
                         size_t *out_n, snap_error *err) {
    size_t n, own = 0;
    SNAP_TRY(snap_stack(l->snapshot, stack, out, INLINED_MAX, &n, NULL, err));
    while (own < n && out[own].frame == l->frame[stack] &&
           (own == 0 || out[own].depth > out[own - 1].depth))
        own++;
    *out_n = own;
    return 0;
}

static int says(struct labels *l, uint32_t stack, unsigned what, int *out, snap_error *err) {
    const uint32_t frame = l->frame[stack];
    *out = 0;
    if (frame == 0 || frame > l->n_frames)
        return 0;
    uint8_t *const known = &l->frame_says[frame];
    if (!(*known & SAYS_KNOWN)) {
        snap_location at[INLINED_MAX];
        size_t n;
        SNAP_TRY(own_positions(l, stack, at, &n, err));
        *known = SAYS_KNOWN;
        for (size_t i = 0; i < n; i++)
            *known |=
                (is_noise(l, &at[i]) ? 0 : SAYS_PLACE) | (is_managed(&at[i]) ? SAYS_MANAGED : 0);
    }
    *out = (*known & what) != 0;
    return 0;
}

/* The innermost of a stack and those around it whose own frame says that, + 1, or NOWHERE. */
static int innermost(struct labels *l, uint32_t stack, unsigned what, uint32_t *of_stack,
                     uint32_t *out, snap_error *err) {
    uint32_t found = NOWHERE, at = stack;
    for (; at != 0; at = l->parent[at]) {
        int does;
        if (of_stack[at] != 0) {
            found = of_stack[at];
            break;
        }
        SNAP_TRY(says(l, at, what, &does, err));
        if (does) {
            found = at + 1;
            break;
        }
    }
    for (uint32_t up = stack; up != at; up = l->parent[up])
        of_stack[up] = found;
    if (at != 0)
        of_stack[at] = found;
    *out = found;
    return 0;
}

static const char *base_name(const char *path) {
    const char *const slash = strrchr(path, '/');
    return slash != NULL ? slash + 1 : path;
}

static const char *text_of_address(struct labels *l, const char *module, uint64_t offset) {
    char text[300];
    const int length =
        snprintf(text, sizeof text, "allocated in %.200s+0x%llx",
                 *module != '\0' ? base_name(module) : "unknown code", (unsigned long long)offset);
    return arena_string(l->arena, text, (size_t)length);
}

static const char *text_of_place(struct labels *l, const char *place) {
    static const char prefix[] = "allocated in ";
    const size_t length = strlen(place);
    char *const text = arena_bytes(l->arena, sizeof prefix + length);
    if (text == NULL)
        return NULL;
    memcpy(text, prefix, sizeof prefix - 1);
    memcpy(text + sizeof prefix - 1, place, length + 1);
    return text;
}

/* The line if it is known, so that copies of an inlined function are one place; else the offset. */
static uint64_t key_of_place(const snap_location *at, const char *module) {
    const char *const where = base_name(at->line != 0 ? at->file : module);
    const uint64_t parts[2] = {strtab_key(where, strlen(where)),
                               at->line != 0 ? at->line : at->offset};
    return strtab_key((const char *)parts, sizeof parts);
}

/* place: a stack whose own frame has the place, or (is_first) nothing but allocators; managed: one
 * whose own frame is of a managed runtime, or 0. */
static int make(struct labels *l, uint32_t place, int is_first, uint32_t managed,
                struct site_label *out, snap_error *err) {
    snap_location at[INLINED_MAX];
    size_t n, i = 0;
    SNAP_TRY(own_positions(l, place, at, &n, err));
    while (!is_first && i + 1 < n && is_noise(l, &at[i]))
        i++;
    const snap_location found = at[i];
    snap_module module = {.path = ""};
    if (found.module != 0)
        SNAP_TRY(snap_module_get(l->snapshot, found.module, &module, err));
    *out = (struct site_label){.module = module.path,
                               .place = {key_of_place(&found, module.path), found.line}};
    if (managed != 0) {
        char text[512];
        SNAP_TRY(own_positions(l, managed, at, &n, err));
        for (i = 0; i + 1 < n && !is_managed(&at[i]);)
            i++;
        symbol_managed_place(text, sizeof text, at[i].file, at[i].line, at[i].function);
        out->label = text_of_place(l, text);
        const uint64_t parts[2] = {out->place.key, strtab_key(text, strlen(text))};
        out->place = (struct site_place){strtab_key((const char *)parts, sizeof parts), 0};
    } else {
        out->label = *found.function != '\0' ? text_of_place(l, found.function)
                                             : text_of_address(l, module.path, found.offset);
    }
    return out->label != NULL ? 0 : no_memory(err);
}

int labels_of(struct labels *l, const snap_snapshot *s, uint64_t stack, struct site_label *out,
              snap_error *err) {
    *out = (struct site_label){.label = "allocated without a stack", .module = ""};
    if (stack == 0)
        return 0;
    if (l->snapshot != s)
        SNAP_TRY(read_stacks(l, s, err));
    if (stack > l->n_stacks)
        return err_set(err, SNAP_E_ARG, "no stack %llu", (unsigned long long)stack);
    uint32_t place, managed;
    SNAP_TRY(innermost(l, (uint32_t)stack, SAYS_PLACE, l->place, &place, err));
    SNAP_TRY(innermost(l, (uint32_t)stack, SAYS_MANAGED, l->managed, &managed, err));
    managed--;
    const int is_first = place == NOWHERE;
    for (place = is_first ? (uint32_t)stack : place - 1; place != 0 && l->frame[place] == 0;)
        place = l->parent[place];
    if (place == 0)
        return 0;
    uint32_t *const slot = map_slot(&l->made[is_first], (uint64_t)l->frame[place] << 32 |
                                                            (managed != 0 ? l->frame[managed] : 0));
    if (slot == NULL || mem_grow(&l->rows, &l->capacity, l->n_rows + 1, sizeof *l->rows) < 0)
        return no_memory(err);
    if (*slot == 0) {
        SNAP_TRY(make(l, place, is_first, managed, &l->rows[l->n_rows], err));
        *slot = (uint32_t)++l->n_rows;
    }
    *out = l->rows[*slot - 1];
    return 0;
}
