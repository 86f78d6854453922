/* From a file to the arrays of a graph: the only place where both are known.
 *
 * Columns are kept as narrow as their values allow, and only those that the graph or a chain needs
 * for every row; all else is read again for the few rows that are shown. Invariant: numbers of
 * nodes are the ids of the file; types and labels have keys that hold across files, which are
 * hashes of what they are called, never ids. Judges nothing. */
#include "diff/heapload.h"

#include "base/beside.h"
#include "base/err.h"
#include "base/numbers.h"
#include "diff/ahead.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define FLAGS_KEPT 0xffffu
#define FLAGS_OF_EDGES (SNAP_EDGE_FLAG_INTERIOR | SNAP_EDGE_FLAG_LOW | SNAP_EDGE_FLAG_GUESS)

static int no_memory(snap_error *err) {
    return err_set(err, SNAP_E_NOMEM, "no memory for the reference graph");
}

/* n zeroed elements, counted against the budget. */
static int take(snap_heap *h, void *out, uint64_t n, size_t size, snap_error *err) {
    const uint64_t bytes = n * size;
    if (h->options.max_memory_bytes != 0 && bytes > h->options.max_memory_bytes - h->columns_bytes)
        return err_set(err, SNAP_E_LIMIT,
                       "the reference graph needs more than the limit of %llu bytes",
                       (unsigned long long)h->options.max_memory_bytes);
    void *const array = mem_zalloc((size_t)n + 1, size);
    if (array == NULL)
        return no_memory(err);
    h->columns_bytes += bytes;
    memcpy(out, &array, sizeof array);
    return 0;
}

static int has_value(const uint64_t *column, uint32_t n) {
    return numbers_bits(column, n) != 0;
}

/* Copies a chunk's column into an array that is made when the first value other than 0 comes. */
static int put_u8(snap_heap *h, uint8_t **array, uint64_t n, uint64_t at, const uint64_t *column,
                  uint32_t n_rows, snap_error *err) {
    const uint64_t bits = numbers_bits(column, n_rows);
    if (*array == NULL) {
        if (bits == 0)
            return 0;
        SNAP_TRY(take(h, array, n, sizeof **array, err));
    }
    if (bits <= UINT8_MAX)
        numbers_to_u8(*array + at, column, n_rows);
    else
        for (uint32_t i = 0; i < n_rows; i++)
            (*array)[at + i] = column[i] <= UINT8_MAX ? (uint8_t)column[i] : 0;
    return 0;
}

static int put_u32(snap_heap *h, uint32_t **array, uint64_t n, uint64_t at, const uint64_t *column,
                   uint32_t n_rows, snap_error *err) {
    if (*array == NULL) {
        if (!has_value(column, n_rows))
            return 0;
        SNAP_TRY(take(h, array, n, sizeof **array, err));
    }
    numbers_to_u32(*array + at, column, n_rows);
    return 0;
}

static int put_u64(snap_heap *h, uint64_t **array, uint64_t n, uint64_t at, const uint64_t *column,
                   uint32_t n_rows, snap_error *err) {
    if (*array == NULL) {
        if (!has_value(column, n_rows))
            return 0;
        SNAP_TRY(take(h, array, n, sizeof **array, err));
    }
    memcpy(*array + at, column, n_rows * sizeof *column);
    return 0;
}

enum { RANK_PROGRAM, RANK_LIBRARY, RANK_ANY };

struct loading {
    snap_heap *h;
    uint8_t *is_site_type; /* by type of the file */
    uint64_t done, total;  /* rows */
    const snap_batch *batch;
};

static int poll(struct loading *l, uint32_t n_rows, snap_error *err) {
    const snap_heap_options *const o = &l->h->options;
    l->done += n_rows;
    if (o->progress != NULL && o->progress(o->progress_context, l->done, l->total) != 0)
        return err_set(err, SNAP_E_CANCELED, "canceled");
    return 0;
}

/* Chunks of a table, one after the other, with the check that they are as many rows as promised. */
static int for_chunks(struct loading *l, snap_table table, uint32_t columns, uint64_t n_rows,
                      struct row_reader *reader,
                      int (*take_chunk)(struct loading *l, uint64_t at, snap_error *err),
                      snap_error *err) {
    const snap_snapshot *const s = l->h->snapshot;
    const uint32_t n_chunks = snap_n_chunks(s, table);
    if (reader != NULL) {
        *reader = (struct row_reader){.table = table, .n_chunks = n_chunks, .chunk = UINT32_MAX};
        snap_batch_init(&reader->batch);
        SNAP_TRY(
            take(l->h, &reader->first_id, (uint64_t)n_chunks + 1, sizeof *reader->first_id, err));
    }
    struct ahead ahead;
    ahead_start(&ahead, s, table, columns, beside_threads(l->h->options.threads, 2));
    uint64_t at = 0;
    int result = 0;
    for (uint32_t chunk = 0; result == 0 && chunk < n_chunks; chunk++) {
        result = ahead_next(&ahead, &l->batch, err);
        if (result < 0)
            break;
        if (l->batch->n_rows > n_rows - at) {
            result = err_set_at(err, SNAP_E_CORRUPT, snap_table_id(table), 0,
                                "more rows than the table of contents says");
            break;
        }
        if (reader != NULL)
            reader->first_id[chunk] = at + 1;
        result = take_chunk(l, at, err);
        at += l->batch->n_rows;
        if (result == 0)
            result = poll(l, l->batch->n_rows, err);
    }
    ahead_stop(&ahead);
    if (result < 0)
        return result;
    if (reader != NULL)
        reader->first_id[n_chunks] = at + 1;
    if (at != n_rows)
        return err_set_at(err, SNAP_E_CORRUPT, snap_table_id(table), 0,
                          "fewer rows than the table of contents says");
    return 0;
}

#define NODE_COLUMNS                                                                               \
    (1u << SNAP_NODE_COL_DOMAIN | 1u << SNAP_NODE_COL_KIND | 1u << SNAP_NODE_COL_SIZE |            \
     1u << SNAP_NODE_COL_TYPE | 1u << SNAP_NODE_COL_STACK | 1u << SNAP_NODE_COL_BIRTH |            \
     1u << SNAP_NODE_COL_FLAGS | 1u << SNAP_NODE_COL_EXTERNAL)

static int take_nodes(struct loading *l, uint64_t at, snap_error *err) {
    snap_heap *const h = l->h;
    const uint64_t *const *const c = l->batch->column;
    const uint32_t n = l->batch->n_rows;
    SNAP_TRY(put_u8(h, &h->domain, h->n_nodes, at, c[SNAP_NODE_COL_DOMAIN], n, err));
    SNAP_TRY(put_u32(h, &h->type, h->n_nodes, at, c[SNAP_NODE_COL_TYPE], n, err));
    SNAP_TRY(put_u32(h, &h->stack, h->n_nodes, at, c[SNAP_NODE_COL_STACK], n, err));
    SNAP_TRY(put_u64(h, &h->birth, h->n_nodes, at, c[SNAP_NODE_COL_BIRTH], n, err));
    if (h->flags == NULL && has_value(c[SNAP_NODE_COL_FLAGS], n))
        SNAP_TRY(take(h, &h->flags, h->n_nodes, sizeof *h->flags, err));
    if (h->size == NULL)
        SNAP_TRY(take(h, &h->size, h->n_nodes, sizeof *h->size, err));
    const uint64_t *const restrict kind = c[SNAP_NODE_COL_KIND];
    const uint64_t *const restrict size = c[SNAP_NODE_COL_SIZE];
    const uint64_t *const restrict external = c[SNAP_NODE_COL_EXTERNAL];
    uint64_t *const restrict sizes = h->size + at;
    /* Memory that another node or process holds is shown there. */
    for (uint32_t i = 0; i < n; i++)
        sizes[i] = SNAP_NODE_IS_COUNTED(kind[i]) ? add_sat(size[i], external[i]) : 0;
    for (uint32_t i = 0; h->flags != NULL && i < n; i++)
        h->flags[at + i] = (uint16_t)(c[SNAP_NODE_COL_FLAGS][i] & FLAGS_KEPT);
    uint8_t *const domain = h->domain != NULL ? h->domain + at : NULL;
    for (uint32_t i = 0; domain != NULL && i < n; i++)
        domain[i] = domain[i] > 31 ? 0 : domain[i];
    return 0;
}

/* Places in the source: four bytes each, until one comes that needs more. */
static int put_offsets(snap_heap *h, uint64_t at, const uint64_t *column, uint32_t n,
                       snap_error *err) {
    if (h->edge_offset_wide == NULL && numbers_bits(column, n) <= UINT32_MAX)
        return put_u32(h, &h->edge_offset, h->n_edges, at, column, n, err);
    SNAP_TRY(put_u64(h, &h->edge_offset_wide, h->n_edges, at, column, n, err));
    if (h->edge_offset == NULL)
        return 0;
    for (uint64_t i = 0; i < at; i++)
        h->edge_offset_wide[i] = h->edge_offset[i];
    free(h->edge_offset);
    h->edge_offset = NULL;
    h->columns_bytes -= h->n_edges * sizeof *h->edge_offset;
    return 0;
}

#define EDGE_COLUMNS                                                                               \
    (1u << SNAP_EDGE_COL_SOURCE | 1u << SNAP_EDGE_COL_TARGET | 1u << SNAP_EDGE_COL_KIND |          \
     1u << SNAP_EDGE_COL_LABEL | 1u << SNAP_EDGE_COL_SOURCE_OFFSET |                               \
     1u << SNAP_EDGE_COL_TARGET_OFFSET | 1u << SNAP_EDGE_COL_FLAGS)

static int take_edges(struct loading *l, uint64_t at, snap_error *err) {
    snap_heap *const h = l->h;
    const uint64_t *const *const c = l->batch->column;
    const uint32_t n = l->batch->n_rows;
    SNAP_TRY(put_u32(h, &h->edge_source, h->n_edges, at, c[SNAP_EDGE_COL_SOURCE], n, err));
    SNAP_TRY(put_u32(h, &h->edge_target, h->n_edges, at, c[SNAP_EDGE_COL_TARGET], n, err));
    SNAP_TRY(put_u8(h, &h->edge_kind, h->n_edges, at, c[SNAP_EDGE_COL_KIND], n, err));
    SNAP_TRY(put_u32(h, &h->edge_label, h->n_edges, at, c[SNAP_EDGE_COL_LABEL], n, err));
    SNAP_TRY(put_offsets(h, at, c[SNAP_EDGE_COL_SOURCE_OFFSET], n, err));
    SNAP_TRY(put_u8(h, &h->edge_flags, h->n_edges, at, c[SNAP_EDGE_COL_FLAGS], n, err));
    for (uint32_t i = 0; h->edge_flags != NULL && i < n; i++)
        h->edge_flags[at + i] &= FLAGS_OF_EDGES;
    /* Of the target's offset only "inside" matters to chains; that is a flag. */
    if (!has_value(c[SNAP_EDGE_COL_TARGET_OFFSET], n))
        return 0;
    for (uint32_t i = 0; i < n; i++) {
        if (c[SNAP_EDGE_COL_TARGET_OFFSET][i] == 0)
            continue;
        if (h->edge_flags == NULL)
            SNAP_TRY(take(h, &h->edge_flags, h->n_edges, sizeof *h->edge_flags, err));
        h->edge_flags[at + i] |= SNAP_EDGE_FLAG_INTERIOR;
    }
    return 0;
}

/* Number of a root's name: names are the same if name, local variable and module are. */
static int root_label(snap_heap *h, uint32_t name, uint32_t label, uint32_t module, uint64_t root,
                      uint32_t *out, snap_error *err) {
    uint32_t *const texts = map_slot(&h->root_name_map, (uint64_t)name << 32 | label);
    if (texts == NULL)
        return no_memory(err);
    if (*texts == 0)
        *texts = (uint32_t)h->root_name_map.n + 1;
    uint32_t *const slot = map_slot(&h->root_module_map, (uint64_t)*texts << 32 | module);
    if (slot == NULL || mem_grow(&h->root_names, &h->root_name_capacity, h->n_root_names + 1,
                                 sizeof *h->root_names) < 0)
        return no_memory(err);
    if (*slot == 0) {
        h->root_names[h->n_root_names++] = (struct root_name){name, label, module, root};
        *slot = (uint32_t)h->n_root_names;
    }
    *out = h->n_strings + *slot;
    return 0;
}

#define ROOT_COLUMNS                                                                               \
    (1u << SNAP_ROOT_COL_KIND | 1u << SNAP_ROOT_COL_TARGET | 1u << SNAP_ROOT_COL_TARGET_OFFSET |   \
     1u << SNAP_ROOT_COL_NAME | 1u << SNAP_ROOT_COL_MODULE | 1u << SNAP_ROOT_COL_LABEL |           \
     1u << SNAP_ROOT_COL_FLAGS)

static int is_passing(uint64_t kind) {
    return kind == SNAP_ROOT_STACK || kind == SNAP_ROOT_REGISTER || kind == SNAP_ROOT_ALT_STACK;
}

static int take_roots(struct loading *l, uint64_t at, snap_error *err) {
    snap_heap *const h = l->h;
    const uint64_t *const *const c = l->batch->column;
    const uint32_t n = l->batch->n_rows;
    SNAP_TRY(put_u32(h, &h->root_target, h->n_roots, at, c[SNAP_ROOT_COL_TARGET], n, err));
    SNAP_TRY(put_u8(h, &h->root_kind, h->n_roots, at, c[SNAP_ROOT_COL_KIND], n, err));
    if (h->root_flags == NULL)
        SNAP_TRY(take(h, &h->root_flags, h->n_roots, sizeof *h->root_flags, err));
    if (h->root_label == NULL)
        SNAP_TRY(take(h, &h->root_label, h->n_roots, sizeof *h->root_label, err));
    for (uint32_t i = 0; i < n; i++) {
        const uint64_t kind = c[SNAP_ROOT_COL_KIND][i];
        uint8_t flags =
            (uint8_t)(c[SNAP_ROOT_COL_FLAGS][i] & (SNAP_EDGE_FLAG_INTERIOR | SNAP_EDGE_FLAG_LOW));
        if (c[SNAP_ROOT_COL_TARGET_OFFSET][i] != 0)
            flags |= SNAP_EDGE_FLAG_INTERIOR;
        if (h->options.lasting_roots_first && is_passing(kind))
            flags |= SNAP_EDGE_FLAG_LOW;
        h->root_flags[at + i] = flags;
        const uint32_t name = (uint32_t)c[SNAP_ROOT_COL_NAME][i],
                       label = (uint32_t)c[SNAP_ROOT_COL_LABEL][i],
                       module = (uint32_t)c[SNAP_ROOT_COL_MODULE][i];
        if ((name | label | module) != 0)
            SNAP_TRY(root_label(h, name, label, module, at + i, &h->root_label[at + i], err));
    }
    return 0;
}

/* Words of one variable that have no names of their own read "variable+0x10": they are one name, as
 * both ends of a list are. */
static size_t base_length(const char *name) {
    size_t length = strlen(name);
    for (;;) {
        size_t at = length;
        while (at > 0 && strchr("0123456789abcdef", name[at - 1]) != NULL)
            at--;
        if (at == length || at < 4 || memcmp(name + at - 3, "+0x", 3) != 0)
            return length;
        length = at - 3;
    }
}

static int take_strings(struct loading *l, uint64_t at, snap_error *err) {
    (void)err;
    for (uint32_t i = 0; i < l->batch->n_rows; i++) {
        size_t length;
        const char *const text = snap_batch_bytes(l->batch, SNAP_STRS_COL_TEXT, i, &length);
        l->h->label_key[at + i + 1] = strtab_key(text, length);
    }
    return 0;
}

/* Of the frames and modules that hold something, those of the script that was started come first:
 * what they call is what its author knows. Its functions come before its methods, which are more
 * often called back by what the functions have called, and sooner over. */
static uint64_t own_first(uint64_t key, const char *name) {
    static const char own[] = "__main__";
    const size_t length = sizeof own - 1;
    uint64_t rank = 2;
    if (strncmp(name, own, length) == 0 && strchr(":.", name[length]) != NULL)
        rank = strchr(name + length, '.') != NULL;
    return rank << 62 | key >> 2;
}

/* Keys of all strings, then of the names of roots, which are also their canonical order. */
static int load_labels(struct loading *l, snap_error *err) {
    snap_heap *const h = l->h;
    h->n_labels = h->n_strings + 1 + (uint32_t)h->n_root_names;
    SNAP_TRY(take(h, &h->label_key, h->n_labels, sizeof *h->label_key, err));
    SNAP_TRY(take(h, &h->owner_key, h->n_root_names, sizeof *h->owner_key, err));
    SNAP_TRY(for_chunks(l, SNAP_TABLE_STRS, 1u << SNAP_STRS_COL_TEXT, h->n_strings, NULL,
                        take_strings, err));
    for (size_t i = 0; i < h->n_root_names; i++) {
        const struct root_name *const r = &h->root_names[i];
        snap_module module = {.path = ""};
        if (r->module != 0)
            SNAP_TRY(snap_module_get(h->snapshot, r->module, &module, err));
        const char *const slash = strrchr(module.path, '/');
        const char *const name = slash != NULL ? slash + 1 : module.path;
        const char *variable = "";
        SNAP_TRY(snap_string(h->snapshot, r->name, &variable, err));
        const uint64_t parts[3] = {strtab_key(variable, base_length(variable)),
                                   h->label_key[r->label], strtab_key(name, strlen(name))};
        const uint64_t owner[3] = {strtab_key(variable, strcspn(variable, ".[+")), 0, parts[2]};
        h->owner_key[i] = strtab_key((const char *)owner, sizeof owner);
        h->label_key[h->n_strings + 1 + i] =
            own_first(strtab_key((const char *)parts, sizeof parts), variable);
    }
    return 0;
}

/* Whose a circle of objects is, a class of the program's says; then one of a library's; last what
 * is everywhere: lists, dictionaries, functions. */
static uint8_t rank_of_flags(uint64_t flags) {
    if (!(flags & SNAP_TYPE_FLAG_CLASS))
        return RANK_ANY;
    return flags & SNAP_TYPE_FLAG_LIBRARY ? RANK_LIBRARY : RANK_PROGRAM;
}

#define TYPE_COLUMNS                                                                               \
    (1u << SNAP_TYPE_COL_NAME | 1u << SNAP_TYPE_COL_SIZE | 1u << SNAP_TYPE_COL_FLAGS)

static int take_types(struct loading *l, uint64_t at, snap_error *err) {
    snap_heap *const h = l->h;
    for (uint32_t i = 0; i < l->batch->n_rows; i++) {
        const uint64_t id = at + i + 1;
        SNAP_TRY(snap_string(h->snapshot, l->batch->column[SNAP_TYPE_COL_NAME][i],
                             &h->type_name[id], err));
        h->type_key[id] = strtab_key(h->type_name[id], strlen(h->type_name[id]));
        h->type_size[id] = l->batch->column[SNAP_TYPE_COL_SIZE][i];
        h->type_rank[id] = rank_of_flags(l->batch->column[SNAP_TYPE_COL_FLAGS][i]);
    }
    return 0;
}

static int take_sources(struct loading *l, uint64_t at, snap_error *err) {
    (void)err;
    for (uint32_t i = 0; i < l->batch->n_rows; i++)
        l->is_site_type[at + i + 1] = l->batch->column[SNAP_TYPE_COL_SOURCE][i] == SNAP_TYPE_SITE;
    return 0;
}

/* A type that only says where blocks are allocated: here it is told more closely. */
static int is_site_type(const struct loading *l, uint32_t type) {
    return type <= l->h->n_file_types && l->is_site_type[type];
}

/* Number of the type that stands for what a place in the code allocates: its label, NUL, and the
 * hash of the place. */
static int site_type(snap_heap *h, struct labels *labels, struct strtab *types, uint32_t stack,
                     uint32_t *out, snap_error *err) {
    struct site_label label;
    SNAP_TRY(labels_of(labels, h->snapshot, stack, &label, err));
    const struct site_place *const place = &label.place;
    char text[1024];
    const int written = place->line != 0 ? snprintf(text, sizeof text - 16, "%s:%llu", label.label,
                                                    (unsigned long long)place->line)
                                         : snprintf(text, sizeof text - 16, "%s", label.label);
    const size_t length = written < (int)sizeof text - 16 ? (size_t)written : sizeof text - 16 - 1;
    memcpy(text + length + 1, &place->key, sizeof place->key);
    return strtab_intern(types, text, length + 1 + sizeof place->key, out, NULL) < 0
               ? no_memory(err)
               : 0;
}

/* Types of the file, and one per place of a site that made blocks without a type. */
static int load_types(struct loading *l, snap_error *err) {
    snap_heap *const h = l->h;
    const uint64_t n_stacks = snap_rows(h->snapshot, SNAP_TABLE_STAK);
    uint32_t *type_of_stack = NULL; /* type + 1 */
    struct strtab types;
    struct arena texts;
    struct labels labels;
    strtab_init(&types);
    arena_init(&texts);
    labels_init(&labels, &texts);
    int result = take(h, &type_of_stack, n_stacks + 1, sizeof *type_of_stack, err);
    h->n_file_types = (uint32_t)snap_rows(h->snapshot, SNAP_TABLE_TYPE);
    if (result == 0)
        result = take(h, &l->is_site_type, (uint64_t)h->n_file_types + 1, 1, err);
    if (result == 0)
        result = for_chunks(l, SNAP_TABLE_TYPE, 1u << SNAP_TYPE_COL_SOURCE, h->n_file_types, NULL,
                            take_sources, err);
    if (result == 0 && h->stack != NULL && h->type == NULL)
        result = take(h, &h->type, h->n_nodes, sizeof *h->type, err);
    for (uint32_t i = 0; result == 0 && h->stack != NULL && i < h->n_nodes; i++) {
        const uint32_t stack = h->stack[i];
        if (stack == 0 || (h->type[i] != 0 && !is_site_type(l, h->type[i])))
            continue;
        if (stack > n_stacks) {
            result = err_set_at(err, SNAP_E_CORRUPT, SNAP_ID_NODE, 0, "a stack that is not there");
        } else if (type_of_stack[stack] == 0) {
            uint32_t id = 0;
            result = site_type(h, &labels, &types, stack, &id, err);
            type_of_stack[stack] = h->n_file_types + id;
        }
        if (result == 0)
            h->type[i] = type_of_stack[stack];
    }
    h->n_types = h->n_file_types + types.n + 1;
    if (result == 0)
        result = take(h, &h->type_name, h->n_types, sizeof *h->type_name, err);
    if (result == 0)
        result = take(h, &h->type_key, h->n_types, sizeof *h->type_key, err);
    if (result == 0)
        result = take(h, &h->type_size, h->n_types, sizeof *h->type_size, err);
    if (result == 0)
        result = take(h, &h->type_rank, h->n_types, sizeof *h->type_rank, err);
    if (result == 0) {
        h->type_name[0] = "";
        memset(h->type_rank, RANK_ANY, h->n_types);
        result =
            for_chunks(l, SNAP_TABLE_TYPE, TYPE_COLUMNS, h->n_file_types, NULL, take_types, err);
    }
    for (uint32_t id = 1; result == 0 && id <= types.n; id++) {
        size_t length;
        const char *const text = strtab_text(&types, id, &length);
        h->type_name[h->n_file_types + id] = arena_string(&h->arena, text, strlen(text));
        h->type_key[h->n_file_types + id] = strtab_key(text, length);
        if (h->type_name[h->n_file_types + id] == NULL)
            result = no_memory(err);
    }
    free(type_of_stack);
    strtab_release(&types);
    labels_release(&labels);
    arena_release(&texts);
    return result;
}

static int build_graph(snap_heap *h, snap_error *err) {
    const snap_graph_input in = {
        .struct_size = sizeof in,
        .n_nodes = h->n_nodes,
        .size_bytes = h->size,
        .domain = h->domain,
        .type = h->type,
        .birth = h->birth,
        .n_edges = h->n_edges,
        .edge_source = h->edge_source,
        .edge_target = h->edge_target,
        .edge_kind = h->edge_kind,
        .edge_label = h->edge_label,
        .source_offset = h->edge_offset_wide,
        .source_offset_narrow = h->edge_offset,
        .edge_flags = h->edge_flags,
        .n_roots = h->n_roots,
        .root_target = h->root_target,
        .root_kind = h->root_kind,
        .root_name = h->root_label,
        .root_flags = h->root_flags,
        .n_labels = h->n_labels,
        .label_key = h->label_key,
        .n_types = h->n_types,
        .type_key = h->type_key,
        .type_size = h->type_size,
        .type_rank = h->type_rank,
    };
    snap_graph_options options = {
        .struct_size = sizeof options,
        .progress = h->options.progress,
        .progress_context = h->options.progress_context,
    };
    if (h->options.max_memory_bytes != 0) {
        options.max_memory_bytes = h->options.max_memory_bytes - h->columns_bytes;
        if (options.max_memory_bytes == 0)
            options.max_memory_bytes = 1;
    }
    return snap_graph_new(&h->graph, &in, &options, err);
}

static int load(struct loading *l, snap_error *err) {
    snap_heap *const h = l->h;
    const snap_snapshot *const s = h->snapshot;
    const uint64_t n_nodes = snap_rows(s, SNAP_TABLE_NODE);
    h->n_edges = snap_rows(s, SNAP_TABLE_EDGE);
    h->n_roots = snap_rows(s, SNAP_TABLE_ROOT);
    if (n_nodes > SNAP_GRAPH_NODES_MAX)
        return err_set(err, SNAP_E_LIMIT, "%llu nodes are more than %u",
                       (unsigned long long)n_nodes, SNAP_GRAPH_NODES_MAX);
    h->n_nodes = (uint32_t)n_nodes;
    h->n_strings = (uint32_t)snap_rows(s, SNAP_TABLE_STRS);
    l->total = n_nodes + h->n_edges + h->n_roots + h->n_strings + snap_rows(s, SNAP_TABLE_TYPE);
    SNAP_TRY(for_chunks(l, SNAP_TABLE_NODE, NODE_COLUMNS, n_nodes, &h->nodes, take_nodes, err));
    SNAP_TRY(for_chunks(l, SNAP_TABLE_EDGE, EDGE_COLUMNS, h->n_edges, &h->edges, take_edges, err));
    SNAP_TRY(for_chunks(l, SNAP_TABLE_ROOT, ROOT_COLUMNS, h->n_roots, &h->roots, take_roots, err));
    SNAP_TRY(load_labels(l, err));
    SNAP_TRY(load_types(l, err));
    h->nodes.columns = NODE_COLUMNS | 1u << SNAP_NODE_COL_ADDRESS | 1u << SNAP_NODE_COL_LABEL;
    h->edges.columns = EDGE_COLUMNS;
    h->roots.columns = ROOT_COLUMNS | 1u << SNAP_ROOT_COL_ADDRESS | 1u << SNAP_ROOT_COL_THREAD;
    return build_graph(h, err);
}

uint64_t heap_root_owner(const snap_heap *h, uint64_t root) {
    const uint32_t label = h->root_label[root];
    if (label <= h->n_strings)
        return 0;
    /* Locals of a function have no owner in common. */
    const struct root_name *const r = &h->root_names[label - h->n_strings - 1];
    return r->label != 0 ? h->label_key[label] : h->owner_key[label - h->n_strings - 1];
}

int snap_heap_has_graph(const snap_snapshot *s) {
    /* A process whose blocks are all lost has no reference at all; that is a finding, too. */
    uint64_t tracked = 0;
    snap_meta_number(s, SNAP_META_TRACKED, NULL, &tracked);
    return (tracked & SNAP_TRACKED_EDGES) != 0 || snap_rows(s, SNAP_TABLE_EDGE) != 0 ||
           snap_rows(s, SNAP_TABLE_ROOT) != 0;
}

int snap_heap_open(snap_heap **out, const snap_snapshot *s, const snap_heap_options *options,
                   snap_error *err) {
    snap_heap *const h = mem_zalloc(1, sizeof *h);
    if (h == NULL)
        return no_memory(err);
    h->snapshot = s;
    arena_init(&h->arena);
    map_init(&h->root_name_map);
    map_init(&h->root_module_map);
    if (options != NULL)
        memcpy(&h->options, options,
               options->struct_size == 0 || options->struct_size > sizeof h->options
                   ? sizeof h->options
                   : options->struct_size);
    struct loading l = {.h = h};
    const int result = load(&l, err);
    free(l.is_site_type);
    if (result < 0) {
        snap_heap_close(h);
        return result;
    }
    *out = h;
    return 0;
}

static void row_reader_release(struct row_reader *r) {
    if (r->first_id == NULL)
        return;
    free(r->first_id);
    snap_batch_release(&r->batch);
}

void snap_heap_close(snap_heap *h) {
    if (h == NULL)
        return;
    if (h->graph != NULL)
        snap_graph_free(h->graph);
    void *const arrays[] = {
        h->size,       h->birth,       h->domain,           h->flags,       h->type,
        h->stack,      h->edge_source, h->edge_target,      h->edge_label,  h->edge_kind,
        h->edge_flags, h->edge_offset, h->edge_offset_wide, h->root_target, h->root_label,
        h->root_kind,  h->root_flags,  h->type_name,        h->type_key,    h->type_size,
        h->type_rank,  h->label_key,   h->owner_key,        h->root_names,  h->by_address,
        h->address};
    for (size_t i = 0; i < sizeof arrays / sizeof *arrays; i++)
        free(arrays[i]);
    map_release(&h->root_name_map);
    map_release(&h->root_module_map);
    row_reader_release(&h->nodes);
    row_reader_release(&h->edges);
    row_reader_release(&h->roots);
    arena_release(&h->arena);
    free(h);
}
