/* Sums of the tables for SUMM. Invariant: every sum depends on the set of rows alone, so a file
 * read and written again gets the same summary. Labels are for people and are cut; keys identify.
 */
#include "codec/summary.h"
#include "base/err.h"
#include "codec/stackkey.h"
#include "symbol/noise.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

#define STACK_WALK_MAX 4096
#define COLUMN(c, i) (columns[c] ? columns[c][i] : constants[c])

void summary_init(struct summary *s) {
    *s = (struct summary){0};
}

static void release_group(struct summary_group *g) {
    map_release(&g->map);
    free(g->cells);
    free(g->keys);
}

void summary_release(struct summary *s) {
    for (size_t i = 0; i < s->n_node_chunks; i++)
        free(s->nodes[i].classes);
    map_release(&s->domain_map);
    free(s->domains);
    release_group(&s->types);
    release_group(&s->sites);
    release_group(&s->type_edges);
    free(s->modules);
    free(s->frames);
    free(s->stacks);
    free(s->symbols);
    free(s->type_names);
    free(s->hooks);
    free(s->small);
    free(s->nodes);
    free(s->pending);
    free(s->stack_keys);
    arena_release(&s->arena);
    summary_init(s);
}

/* Index of a key's cell, made if absent; negative without memory. */
static int64_t cell_of(struct summary_group *g, uint64_t key) {
    uint32_t *const slot = map_slot(&g->map, key);
    if (!slot)
        return -1;
    if (!*slot) {
        if (mem_grow(&g->cells, &g->cell_capacity, g->n + 1, sizeof *g->cells) < 0 ||
            mem_grow(&g->keys, &g->key_capacity, g->n + 1, sizeof *g->keys) < 0) {
            *slot = 0;
            g->map.n--;
            return -1;
        }
        g->cells[g->n] = (struct summary_cell){0};
        g->keys[g->n] = key;
        *slot = (uint32_t)++g->n;
    }
    return *slot - 1;
}

static int domain_index(struct summary *s, uint64_t domain) {
    uint32_t *const slot = map_slot(&s->domain_map, domain);
    if (!slot)
        return SNAP_E_NOMEM;
    if (!*slot) {
        /* The last place is the host's, which every summary has. */
        const int is_full = s->n_domains >= SUMMARY_DOMAINS_MAX - (domain != SNAP_DOMAIN_HOST);
        if (is_full ||
            mem_grow(&s->domains, &s->domain_capacity, s->n_domains + 1, sizeof *s->domains) < 0) {
            s->domain_map.n--;
            return is_full ? SNAP_E_LIMIT : SNAP_E_NOMEM;
        }
        s->domains[s->n_domains] = (struct summary_domain){.domain = domain};
        *slot = (uint32_t)++s->n_domains;
    }
    return (int)*slot - 1;
}

/* cell_of among the sites; those that came last are found without a search. */
static int64_t site_cell(struct summary *s, uint64_t key) {
    struct summary_recent *const r =
        &s->recent[key * 0x9e3779b97f4a7c15ull >> (64 - SUMMARY_RECENT_BITS)];
    if (r->cell && r->key == key)
        return (int64_t)r->cell - 1;
    const int64_t cell = cell_of(&s->sites, key);
    *r = (struct summary_recent){key, (uint64_t)(cell + 1)};
    return cell;
}

static inline uint32_t class_at(const struct summary_nodes *chunk, size_t i) {
    if (!chunk->classes)
        return chunk->one_class;
    switch (chunk->width) {
    case 1: return ((const uint8_t *)chunk->classes)[i];
    case 2: return ((const uint16_t *)chunk->classes)[i];
    default: return ((const uint32_t *)chunk->classes)[i];
    }
}

static inline void set_class(struct summary_nodes *chunk, size_t i, uint32_t class) {
    switch (chunk->width) {
    case 1: ((uint8_t *)chunk->classes)[i] = (uint8_t) class; break;
    case 2: ((uint16_t *)chunk->classes)[i] = (uint16_t) class; break;
    default: ((uint32_t *)chunk->classes)[i] = class; break;
    }
}

/* Makes a chunk's classes, of which there are n so far, wide enough for one more, and not wider:
 * they are asked for in any order, and narrow ones stay in a cache. */
static int widen_classes(struct summary_nodes *chunk, size_t n, uint32_t class) {
    struct summary_nodes wide = *chunk;
    wide.width = class <= UINT8_MAX ? 1 : class <= UINT16_MAX ? 2 : 4;
    wide.width = wide.width < chunk->width ? chunk->width : wide.width;
    wide.classes = mem_alloc(chunk->n, wide.width);
    if (!wide.classes)
        return SNAP_E_NOMEM;
    for (size_t i = 0; i < n; i++)
        set_class(&wide, i, class_at(chunk, i));
    free(chunk->classes);
    *chunk = wide;
    return SNAP_OK;
}

static int add_class(struct summary_nodes *chunk, size_t i, uint32_t class) {
    if (i == 0)
        chunk->one_class = class;
    if (!chunk->classes && class == chunk->one_class)
        return SNAP_OK;
    const uint32_t most = class > chunk->one_class ? class : chunk->one_class;
    if (!chunk->classes || (chunk->width < 4 && most >> 8 * chunk->width))
        SNAP_TRY(widen_classes(chunk, i, most));
    set_class(chunk, i, class);
    return SNAP_OK;
}

static int add_nodes(struct summary *s, const uint64_t *const *columns, const uint64_t *constants,
                     size_t n) {
    if (mem_grow(&s->nodes, &s->node_capacity, s->n_node_chunks + 1, sizeof *s->nodes) < 0)
        return SNAP_E_NOMEM;
    struct summary_nodes *const chunk = &s->nodes[s->n_node_chunks];
    *chunk = (struct summary_nodes){.first_id = s->n_nodes + 1, .n = (uint32_t)n};
    s->n_node_chunks++;
    uint64_t type_key = 0, site_key = 0;
    int64_t type = -1, site = -1;
    uint64_t domain = 0;
    int at = -1;
    for (size_t i = 0; i < n; i++) {
        if (at < 0 || COLUMN(SNAP_NODE_COL_DOMAIN, i) != domain) {
            domain = COLUMN(SNAP_NODE_COL_DOMAIN, i);
            at = domain_index(s, domain);
            if (at < 0)
                return at;
        }
        const uint64_t high = (uint64_t)at << 32;
        if (type < 0 || type_key != (high | COLUMN(SNAP_NODE_COL_TYPE, i))) {
            type_key = high | COLUMN(SNAP_NODE_COL_TYPE, i);
            type = cell_of(&s->types, type_key);
        }
        if (site < 0 || site_key != (high | COLUMN(SNAP_NODE_COL_STACK, i))) {
            site_key = high | COLUMN(SNAP_NODE_COL_STACK, i);
            site = site_cell(s, site_key);
        }
        if (type < 0 || site < 0)
            return SNAP_E_NOMEM;
        SNAP_TRY(add_class(chunk, i, (uint32_t)type));
        if (!SNAP_NODE_IS_COUNTED(COLUMN(SNAP_NODE_COL_KIND, i)))
            continue;
        const uint64_t bytes = COLUMN(SNAP_NODE_COL_SIZE, i) + COLUMN(SNAP_NODE_COL_EXTERNAL, i);
        s->domains[at].total.count++;
        s->domains[at].total.bytes += bytes;
        s->types.cells[type].count++;
        s->types.cells[type].bytes += bytes;
        s->sites.cells[site].count++;
        s->sites.cells[site].bytes += bytes;
    }
    s->n_nodes += n;
    return SNAP_OK;
}

/* The chunk of a node whose number does not tell it: the one before is not full. */
static __attribute__((noinline)) const struct summary_nodes *find_chunk(const struct summary *s,
                                                                        uint64_t node) {
    size_t low = 0, high = s->n_node_chunks;
    while (high - low > 1) {
        const size_t middle = low + (high - low) / 2;
        if (s->nodes[middle].first_id <= node)
            low = middle;
        else
            high = middle;
    }
    return &s->nodes[low];
}

static inline uint32_t class_of(const struct summary *s, uint64_t node) {
    const size_t guess = (size_t)((node - 1) / SNAP_CHUNK_ROWS_MAX); /* full as a rule */
    const struct summary_nodes *chunk = &s->nodes[guess < s->n_node_chunks ? guess : 0];
    if (__builtin_expect(node - chunk->first_id >= chunk->n, 0))
        chunk = find_chunk(s, node);
    return class_at(chunk, (size_t)(node - chunk->first_id));
}

/* That the class of a node is asked for soon; a guess. */
static inline void expect_class_of(const struct summary *s, uint64_t node) {
    const size_t at = (size_t)((node - 1) / SNAP_CHUNK_ROWS_MAX);
    if (at >= s->n_node_chunks)
        return;
    const struct summary_nodes *const chunk = &s->nodes[at];
    const size_t i = (size_t)(node - chunk->first_id);
    if (chunk->classes && i < chunk->n)
        __builtin_prefetch((const char *)chunk->classes + i * chunk->width);
}

/* The cell of a pair of classes. */
static int64_t edge_cell(struct summary *s, uint32_t from, uint32_t to) {
    return cell_of(&s->type_edges, (uint64_t)from << 32 | to);
}

static int add_edge(struct summary *s, uint64_t source, uint64_t target) {
    const int64_t cell = edge_cell(s, class_of(s, source), class_of(s, target));
    if (cell < 0)
        return SNAP_E_NOMEM;
    s->type_edges.cells[cell].count++;
    return SNAP_OK;
}

static int add_pending(struct summary *s, uint64_t source, uint64_t target) {
    if (mem_grow(&s->pending, &s->pending_capacity, s->n_pending + 2, sizeof *s->pending) < 0)
        return SNAP_E_NOMEM;
    s->pending[s->n_pending++] = (uint32_t)source;
    s->pending[s->n_pending++] = (uint32_t)target;
    return SNAP_OK;
}

/* Edges of one source come together, and most pairs of classes come often. */
static int add_edges(struct summary *s, const uint64_t *const *columns, const uint64_t *constants,
                     size_t n) {
    enum { SLOTS = 256, AHEAD = 16 };
    struct {
        uint64_t pair, cell;
    } known[SLOTS];
    memset(known, 0xff, sizeof known); /* no pair of classes */
    const uint64_t n_nodes = s->n_nodes;
    struct summary_cell *cells = s->type_edges.cells;
    uint64_t last_source = 0, from = 0;
    s->n_edges += n;
    for (size_t i = 0; i < n; i++) {
        const uint64_t source = COLUMN(SNAP_EDGE_COL_SOURCE, i);
        const uint64_t target = COLUMN(SNAP_EDGE_COL_TARGET, i);
        if (i + AHEAD < n)
            expect_class_of(s, COLUMN(SNAP_EDGE_COL_TARGET, i + AHEAD));
        if (source - 1 >= n_nodes || target - 1 >= n_nodes) {
            if (source && target)
                SNAP_TRY(add_pending(s, source, target));
            continue;
        }
        if (source != last_source) {
            from = class_of(s, source);
            last_source = source;
        }
        const uint32_t to = class_of(s, target);
        const uint64_t pair = from << 32 | to;
        const size_t at = (from * 31 + to) % SLOTS;
        if (known[at].pair != pair) {
            const int64_t cell = cell_of(&s->type_edges, pair);
            if (cell < 0)
                return SNAP_E_NOMEM;
            cells = s->type_edges.cells;
            known[at].pair = pair;
            known[at].cell = (uint64_t)cell;
        }
        cells[known[at].cell].count++;
    }
    return SNAP_OK;
}

/* Kinds with few rows: found by a walk, the last one first. */
static int add_small(struct summary *s, const struct summary_small *row) {
    for (size_t i = s->n_small; i-- > 0;) {
        struct summary_small *const old = &s->small[i];
        if (old->kind == row->kind && old->domain == row->domain && old->key == row->key &&
            old->key2 == row->key2) {
            old->count += row->count;
            old->bytes += row->bytes;
            old->cached += row->cached;
            return SNAP_OK;
        }
        if (s->n_small - i > SUMMARY_ROWS_MAX)
            break; /* merged when built */
    }
    if (mem_grow(&s->small, &s->small_capacity, s->n_small + 1, sizeof *s->small) < 0)
        return SNAP_E_NOMEM;
    s->small[s->n_small++] = *row;
    return SNAP_OK;
}

static int add_pools(struct summary *s, const uint64_t *const *columns, const uint64_t *constants,
                     size_t n) {
    for (size_t i = 0; i < n; i++) {
        const uint64_t cached = COLUMN(SNAP_POOL_COL_CACHED, i);
        const int at = domain_index(s, COLUMN(SNAP_POOL_COL_DOMAIN, i));
        if (at < 0)
            return at;
        if (!COLUMN(SNAP_POOL_COL_PARENT, i))
            s->domains[at].cached += cached;
        SNAP_TRY(add_small(s, &(struct summary_small){.kind = SNAP_SUMM_POOL,
                                                      .domain = COLUMN(SNAP_POOL_COL_DOMAIN, i),
                                                      .key = COLUMN(SNAP_POOL_COL_KIND, i),
                                                      .key2 = COLUMN(SNAP_POOL_COL_DEVICE, i),
                                                      .count = 1,
                                                      .bytes = COLUMN(SNAP_POOL_COL_SIZE, i),
                                                      .cached = cached}));
    }
    return SNAP_OK;
}

static int add_modules(struct summary *s, const uint64_t *const *columns, const uint64_t *constants,
                       const char *const *build_ids, size_t n) {
    if (mem_grow(&s->modules, &s->module_capacity, s->n_modules + n, sizeof *s->modules) < 0)
        return SNAP_E_NOMEM;
    for (size_t i = 0; i < n; i++) {
        const char *const id = build_ids && build_ids[i] ? build_ids[i] : "";
        char *const copy = arena_string(&s->arena, id, strlen(id));
        if (!copy)
            return SNAP_E_NOMEM;
        s->modules[s->n_modules++] = (struct summary_module){COLUMN(SNAP_MODS_COL_PATH, i), copy};
    }
    return SNAP_OK;
}

static int add_names(struct summary *s, snap_table table, const uint64_t *const *columns,
                     const uint64_t *constants, size_t n) {
    if (table == SNAP_TABLE_FRAM) {
        if (mem_grow(&s->frames, &s->frame_capacity, s->n_frames + n, sizeof *s->frames) < 0)
            return SNAP_E_NOMEM;
        for (size_t i = 0; i < n; i++)
            s->frames[s->n_frames++] = (struct summary_frame){
                .offset = COLUMN(SNAP_FRAM_COL_OFFSET, i),
                .module = (uint32_t)COLUMN(SNAP_FRAM_COL_MODULE, i),
                .is_native = COLUMN(SNAP_FRAM_COL_KIND, i) == SNAP_FRAM_NATIVE};
    } else if (table == SNAP_TABLE_STAK) {
        if (mem_grow(&s->stacks, &s->stack_capacity, s->n_stacks + n, sizeof *s->stacks) < 0)
            return SNAP_E_NOMEM;
        for (size_t i = 0; i < n; i++)
            s->stacks[s->n_stacks++] =
                (struct summary_stack){(uint32_t)COLUMN(SNAP_STAK_COL_PARENT, i),
                                       (uint32_t)COLUMN(SNAP_STAK_COL_FRAME, i)};
    } else if (table == SNAP_TABLE_SYMB) {
        if (mem_grow(&s->symbols, &s->symbol_capacity, s->n_symbols + n, sizeof *s->symbols) < 0)
            return SNAP_E_NOMEM;
        for (size_t i = 0; i < n; i++)
            s->symbols[s->n_symbols++] =
                (struct summary_symbol){.line = COLUMN(SNAP_SYMB_COL_LINE, i),
                                        .frame = (uint32_t)COLUMN(SNAP_SYMB_COL_FRAME, i),
                                        .function = (uint32_t)COLUMN(SNAP_SYMB_COL_FUNCTION, i),
                                        .file = (uint32_t)COLUMN(SNAP_SYMB_COL_FILE, i),
                                        .depth = (uint32_t)COLUMN(SNAP_SYMB_COL_DEPTH, i)};
    } else {
        if (mem_grow(&s->type_names, &s->type_capacity, s->n_types + n, sizeof *s->type_names) < 0)
            return SNAP_E_NOMEM;
        for (size_t i = 0; i < n; i++)
            s->type_names[s->n_types++] = COLUMN(SNAP_TYPE_COL_NAME, i);
    }
    return SNAP_OK;
}

static int add_hooks(struct summary *s, const uint64_t *const *columns, const uint64_t *constants,
                     size_t n) {
    if (mem_grow(&s->hooks, &s->hook_capacity, s->n_hooks + n, sizeof *s->hooks) < 0)
        return SNAP_E_NOMEM;
    for (size_t i = 0; i < n; i++) {
        const uint64_t count = COLUMN(SNAP_HOOK_COL_COUNT, i);
        s->hooks[s->n_hooks++] =
            (struct summary_hook){.count = count ? count : 1,
                                  .line = COLUMN(SNAP_HOOK_COL_LINE, i),
                                  .registry = (uint32_t)COLUMN(SNAP_HOOK_COL_REGISTRY, i),
                                  .callback = (uint32_t)COLUMN(SNAP_HOOK_COL_CALLBACK, i),
                                  .file = (uint32_t)COLUMN(SNAP_HOOK_COL_FILE, i)};
    }
    return SNAP_OK;
}

static int add_resources(struct summary *s, const uint64_t *const *columns,
                         const uint64_t *constants, size_t n) {
    for (size_t i = 0; i < n; i++)
        SNAP_TRY(add_small(s, &(struct summary_small){.kind = SNAP_SUMM_RESOURCE,
                                                      .key = COLUMN(SNAP_RSRC_COL_KIND, i),
                                                      .key2 = COLUMN(SNAP_RSRC_COL_DEVICE, i),
                                                      .count = 1,
                                                      .bytes = COLUMN(SNAP_RSRC_COL_SIZE, i)}));
    return SNAP_OK;
}

static int add_regions(struct summary *s, const uint64_t *const *columns, const uint64_t *constants,
                       size_t n) {
    for (size_t i = 0; i < n; i++)
        SNAP_TRY(add_small(s, &(struct summary_small){.kind = SNAP_SUMM_REGION,
                                                      .key = COLUMN(SNAP_REGN_COL_KIND, i),
                                                      .count = 1,
                                                      .bytes = COLUMN(SNAP_REGN_COL_SIZE, i)}));
    return SNAP_OK;
}

int summary_add(struct summary *s, snap_table table, const uint64_t *const *columns,
                const uint64_t *constants, const char *const *build_ids, size_t n) {
    switch (table) {
    case SNAP_TABLE_NODE: return add_nodes(s, columns, constants, n);
    case SNAP_TABLE_EDGE: return add_edges(s, columns, constants, n);
    case SNAP_TABLE_MODS: return add_modules(s, columns, constants, build_ids, n);
    case SNAP_TABLE_FRAM:
    case SNAP_TABLE_STAK:
    case SNAP_TABLE_SYMB:
    case SNAP_TABLE_TYPE: return add_names(s, table, columns, constants, n);
    case SNAP_TABLE_HOOK: return add_hooks(s, columns, constants, n);
    case SNAP_TABLE_POOL: return add_pools(s, columns, constants, n);
    case SNAP_TABLE_RSRC: return add_resources(s, columns, constants, n);
    case SNAP_TABLE_REGN: return add_regions(s, columns, constants, n);
    default: return SNAP_OK;
    }
}

/* What summary_build works on. */
struct builder {
    struct summary *s;
    summary_text text;
    void *context;
    struct summary_row *rows;
    size_t n, capacity;
};

/* Index of the first symbol of a frame, n_symbols if none: rows ascend by frame. */
static size_t first_symbol(const struct summary *s, uint64_t frame) {
    size_t low = 0, high = s->n_symbols;
    while (low < high) {
        const size_t middle = low + (high - low) / 2;
        if (s->symbols[middle].frame < frame)
            low = middle + 1;
        else
            high = middle;
    }
    return low < s->n_symbols && s->symbols[low].frame == frame ? low : s->n_symbols;
}

static int make_stack_keys(struct builder *b) {
    struct summary *const s = b->s;
    s->stack_keys = mem_alloc(s->n_stacks + 1, sizeof *s->stack_keys);
    if (!s->stack_keys)
        return SNAP_E_NOMEM;
    s->stack_keys[0] = 0;
    for (size_t i = 0; i < s->n_stacks; i++) {
        struct stackkey_frame f = {.function = "", .file = ""};
        const uint32_t id = s->stacks[i].frame;
        if (id) {
            const struct summary_frame *const frame = &s->frames[id - 1];
            size_t length;
            f.offset = frame->offset;
            if (frame->is_native && frame->module) {
                f.path = b->text(b->context, s->modules[frame->module - 1].path, &length);
                f.build_id = s->modules[frame->module - 1].build_id;
                if (!f.path)
                    return SNAP_E_CORRUPT;
            } else {
                const size_t at = first_symbol(s, id);
                if (at < s->n_symbols && !s->symbols[at].depth) {
                    f.function = b->text(b->context, s->symbols[at].function, &f.function_length);
                    f.file = b->text(b->context, s->symbols[at].file, &f.file_length);
                    f.line = s->symbols[at].line;
                    if (!f.function || !f.file)
                        return SNAP_E_CORRUPT;
                }
            }
        }
        s->stack_keys[i + 1] = stackkey_step(s->stack_keys[s->stacks[i].parent], &f);
    }
    return SNAP_OK;
}

static int set_label(struct builder *b, struct summary_row *row, const char *label) {
    size_t length = strlen(label);
    if (length > SUMMARY_LABEL_MAX)
        length = SUMMARY_LABEL_MAX;
    while (length && length == SUMMARY_LABEL_MAX && (label[length] & 0xc0) == 0x80)
        length--; /* not within a UTF-8 sequence */
    row->label = arena_string(&b->s->arena, label, length);
    row->label_length = (uint32_t)length;
    return row->label ? SNAP_OK : SNAP_E_NOMEM;
}

/* A frame of a managed runtime. */
static int label_managed(struct builder *b, struct summary_row *row, uint32_t frame) {
    const struct summary *const s = b->s;
    const size_t at = first_symbol(s, frame);
    char buffer[2 * SUMMARY_LABEL_MAX];
    size_t length;
    if (at == s->n_symbols || s->symbols[at].frame != frame)
        return set_label(b, row, "");
    const char *const function = b->text(b->context, s->symbols[at].function, &length);
    const char *const file = b->text(b->context, s->symbols[at].file, &length);
    if (!function || !file)
        return SNAP_E_CORRUPT;
    symbol_managed_place(buffer, sizeof buffer, file, s->symbols[at].line, function);
    return set_label(b, row, buffer);
}

/* What symbol/noise.h says; a native frame without a name is "module+0x1234". */
static int label_site(struct builder *b, struct summary_row *row, uint64_t stack) {
    const struct summary *const s = b->s;
    const char *fallback = "";
    char buffer[SUMMARY_LABEL_MAX + 32];
    uint64_t at_stack = stack;
    for (unsigned depth = 0; at_stack && depth < STACK_WALK_MAX; depth++) {
        const uint32_t id = s->stacks[at_stack - 1].frame;
        if (id && !s->frames[id - 1].is_native)
            return label_managed(b, row, id);
        at_stack = s->stacks[at_stack - 1].parent;
    }
    for (unsigned depth = 0; stack && depth < STACK_WALK_MAX; depth++) {
        const uint32_t id = s->stacks[stack - 1].frame;
        stack = s->stacks[stack - 1].parent;
        if (!id)
            continue;
        int is_named = 0;
        for (size_t at = first_symbol(s, id); at < s->n_symbols && s->symbols[at].frame == id;
             at++) {
            size_t length;
            const char *const function = b->text(b->context, s->symbols[at].function, &length);
            if (!function)
                return SNAP_E_CORRUPT;
            if (!*function)
                continue;
            is_named = 1;
            if (!symbol_is_allocator(function))
                return set_label(b, row, function);
            if (!*fallback)
                fallback = function;
        }
        if (is_named)
            continue;
        const struct summary_frame *const frame = &s->frames[id - 1];
        const char *path = "";
        size_t length;
        if (frame->module &&
            !(path = b->text(b->context, s->modules[frame->module - 1].path, &length)))
            return SNAP_E_CORRUPT;
        snprintf(buffer, sizeof buffer, "%.*s%s0x%llx", (int)SUMMARY_LABEL_MAX,
                 stackkey_base_name(path), *path ? "+" : "", (unsigned long long)frame->offset);
        return set_label(b, row, buffer);
    }
    return set_label(b, row, fallback);
}

static int add_row(struct builder *b, const struct summary_row *row) {
    if (mem_grow(&b->rows, &b->capacity, b->n + 1, sizeof *b->rows) < 0)
        return SNAP_E_NOMEM;
    b->rows[b->n++] = *row;
    return SNAP_OK;
}

static int build_totals(struct builder *b) {
    struct summary *const s = b->s;
    SNAP_TRY(domain_index(s, SNAP_DOMAIN_HOST)); /* so that SUMM is never empty */
    for (size_t i = 0; i < s->n_domains; i++)
        SNAP_TRY(add_row(b, &(struct summary_row){.kind = SNAP_SUMM_TOTAL,
                                                  .domain = s->domains[i].domain,
                                                  .count = s->domains[i].total.count,
                                                  .bytes = s->domains[i].total.bytes,
                                                  .cached = s->domains[i].cached}));
    return SNAP_OK;
}

/* Name of a type; "" for none. */
static const char *type_name(struct builder *b, uint64_t type, size_t *length) {
    *length = 0;
    return type ? b->text(b->context, b->s->type_names[type - 1], length) : "";
}

static int build_types(struct builder *b) {
    const struct summary *const s = b->s;
    for (size_t i = 0; i < s->types.n; i++) {
        const uint64_t type = s->types.keys[i] & UINT32_MAX;
        if (!s->types.cells[i].count)
            continue;
        size_t length;
        const char *const name = type_name(b, type, &length);
        if (!name)
            return SNAP_E_CORRUPT;
        SNAP_TRY(
            add_row(b, &(struct summary_row){.kind = SNAP_SUMM_TYPE,
                                             .domain = s->domains[s->types.keys[i] >> 32].domain,
                                             .key = type ? stackkey_type(name, length) : 0,
                                             .count = s->types.cells[i].count,
                                             .bytes = s->types.cells[i].bytes,
                                             .order = type}));
    }
    return SNAP_OK;
}

static int build_sites(struct builder *b) {
    const struct summary *const s = b->s;
    for (size_t i = 0; i < s->sites.n; i++) {
        const uint64_t stack = s->sites.keys[i] & UINT32_MAX;
        if (!s->sites.cells[i].count)
            continue;
        SNAP_TRY(
            add_row(b, &(struct summary_row){.kind = SNAP_SUMM_SITE,
                                             .domain = s->domains[s->sites.keys[i] >> 32].domain,
                                             .key = s->stack_keys[stack],
                                             .count = s->sites.cells[i].count,
                                             .bytes = s->sites.cells[i].bytes,
                                             .order = stack}));
    }
    return SNAP_OK;
}

static int build_type_edges(struct builder *b) {
    struct summary *const s = b->s;
    for (size_t i = 0; i < s->n_pending; i += 2)
        SNAP_TRY(add_edge(s, s->pending[i], s->pending[i + 1]));
    s->n_pending = 0;
    for (size_t i = 0; i < s->type_edges.n; i++) {
        const uint64_t from = s->types.keys[s->type_edges.keys[i] >> 32];
        const uint64_t to = s->types.keys[s->type_edges.keys[i] & UINT32_MAX];
        const uint64_t from_type = from & UINT32_MAX, to_type = to & UINT32_MAX;
        struct summary_row row = {.kind = SNAP_SUMM_TYPE_EDGE,
                                  .domain = s->domains[from >> 32].domain,
                                  .count = s->type_edges.cells[i].count,
                                  .order = from_type << 32 | to_type};
        if (from_type && to_type) {
            size_t from_length, to_length;
            const char *const from_name = type_name(b, from_type, &from_length);
            const char *const to_name = type_name(b, to_type, &to_length);
            if (!from_name || !to_name)
                return SNAP_E_CORRUPT;
            row.key = stackkey_type(from_name, from_length);
            row.key2 = stackkey_type(to_name, to_length);
        }
        SNAP_TRY(add_row(b, &row));
    }
    return SNAP_OK;
}

static int build_hooks(struct builder *b) {
    const struct summary *const s = b->s;
    for (size_t i = 0; i < s->n_hooks; i++) {
        const struct summary_hook *const h = &s->hooks[i];
        const uint32_t part[3] = {h->registry, h->callback, h->file};
        uint64_t key = 0;
        for (unsigned p = 0; p < 3; p++) {
            size_t length;
            const char *const text = b->text(b->context, part[p], &length);
            if (!text)
                return SNAP_E_CORRUPT;
            key = XXH3_64bits_withSeed(text, length, key);
        }
        SNAP_TRY(add_row(b, &(struct summary_row){.kind = SNAP_SUMM_HOOK,
                                                  .key = key,
                                                  .key2 = h->line,
                                                  .count = h->count,
                                                  .order = i}));
    }
    return SNAP_OK;
}

static int build_small(struct builder *b) {
    const struct summary *const s = b->s;
    for (size_t i = 0; i < s->n_small; i++) {
        const struct summary_small *const r = &s->small[i];
        SNAP_TRY(add_row(b, &(struct summary_row){.kind = r->kind,
                                                  .domain = r->domain,
                                                  .key = r->key,
                                                  .key2 = r->key2,
                                                  .count = r->count,
                                                  .bytes = r->bytes,
                                                  .cached = r->cached}));
    }
    return SNAP_OK;
}

#define COMPARE(x, y)                                                                              \
    do {                                                                                           \
        if ((x) != (y))                                                                            \
            return (x) < (y) ? -1 : 1;                                                             \
    } while (0)

static int compare_identity(const void *x, const void *y) {
    const struct summary_row *const a = x, *const b = y;
    COMPARE(a->kind, b->kind);
    COMPARE(a->domain, b->domain);
    COMPARE(a->key, b->key);
    COMPARE(a->key2, b->key2);
    COMPARE(a->order, b->order);
    return 0;
}

/* Largest first within a kind, over all domains: which rows are kept. */
static int compare_weight(const void *x, const void *y) {
    const struct summary_row *const a = x, *const b = y;
    COMPARE(a->kind, b->kind);
    COMPARE(b->bytes, a->bytes);
    COMPARE(b->count, a->count);
    COMPARE(a->key, b->key);
    COMPARE(a->key2, b->key2);
    COMPARE(a->domain, b->domain);
    return 0;
}

static int compare_final(const void *x, const void *y) {
    const struct summary_row *const a = x, *const b = y;
    COMPARE(a->kind, b->kind);
    COMPARE(a->domain, b->domain);
    COMPARE(b->bytes, a->bytes);
    COMPARE(b->count, a->count);
    COMPARE(a->key, b->key);
    COMPARE(a->key2, b->key2);
    return 0;
}

/* Makes one of rows of one identity; the first gives the label. */
static void merge(struct builder *b) {
    if (!b->n)
        return;
    qsort(b->rows, b->n, sizeof *b->rows, compare_identity);
    size_t kept = 0;
    for (size_t i = 1; i < b->n; i++) {
        struct summary_row *const row = &b->rows[kept];
        const struct summary_row *const next = &b->rows[i];
        if (row->kind == next->kind && row->domain == next->domain && row->key == next->key &&
            row->key2 == next->key2) {
            row->count += next->count;
            row->bytes += next->bytes;
            row->cached += next->cached;
        } else {
            b->rows[++kept] = *next;
        }
    }
    b->n = kept + 1;
}

static int is_rest(const struct summary_row *row) {
    return !row->key && !row->key2 && row->kind != SNAP_SUMM_TOTAL;
}

/* Keeps the max_rows largest of each kind and adds the others to the row with key 0. */
static void cut(struct builder *b, uint32_t max_rows) {
    qsort(b->rows, b->n, sizeof *b->rows, compare_weight);
    uint32_t n_of_kind = 0;
    int is_cut = 0;
    for (size_t i = 0; i < b->n; i++) {
        struct summary_row *const row = &b->rows[i];
        if (i && row->kind != b->rows[i - 1].kind)
            n_of_kind = 0;
        if (row->kind == SNAP_SUMM_TOTAL || is_rest(row))
            continue;
        if (++n_of_kind > max_rows) {
            row->key = row->key2 = 0;
            is_cut = 1;
        }
    }
    if (is_cut)
        merge(b);
}

static int label_rows(struct builder *b) {
    const struct summary *const s = b->s;
    for (size_t i = 0; i < b->n; i++) {
        struct summary_row *const row = &b->rows[i];
        row->label = "";
        if (is_rest(row) || row->kind == SNAP_SUMM_TOTAL)
            continue;
        size_t length;
        char buffer[2 * SUMMARY_LABEL_MAX + 16];
        const char *label = buffer;
        const char *first = NULL, *second = NULL;
        switch (row->kind) {
        case SNAP_SUMM_TYPE:
            if (!(label = type_name(b, row->order, &length)))
                return SNAP_E_CORRUPT;
            break;
        case SNAP_SUMM_SITE: SNAP_TRY(label_site(b, row, row->order)); continue;
        case SNAP_SUMM_TYPE_EDGE:
            first = type_name(b, row->order >> 32, &length);
            second = type_name(b, row->order & UINT32_MAX, &length);
            if (!first || !second)
                return SNAP_E_CORRUPT;
            snprintf(buffer, sizeof buffer, "%.*s -> %.*s", SUMMARY_LABEL_MAX / 2 - 2, first,
                     SUMMARY_LABEL_MAX / 2 - 2, second);
            break;
        case SNAP_SUMM_HOOK:
            first = b->text(b->context, s->hooks[row->order].registry, &length);
            second = b->text(b->context, s->hooks[row->order].callback, &length);
            if (!first || !second)
                return SNAP_E_CORRUPT;
            snprintf(buffer, sizeof buffer, "%.*s: %.*s", SUMMARY_LABEL_MAX / 2 - 1, first,
                     SUMMARY_LABEL_MAX / 2 - 1, second);
            break;
        case SNAP_SUMM_POOL:
            label = snap_code_name(SNAP_TABLE_POOL, SNAP_POOL_COL_KIND, row->key);
            break;
        case SNAP_SUMM_RESOURCE:
            label = snap_code_name(SNAP_TABLE_RSRC, SNAP_RSRC_COL_KIND, row->key);
            break;
        default: label = snap_code_name(SNAP_TABLE_REGN, SNAP_REGN_COL_KIND, row->key); break;
        }
        SNAP_TRY(set_label(b, row, label ? label : ""));
    }
    return SNAP_OK;
}

int summary_build(struct summary *s, summary_text text, void *context, uint32_t max_rows,
                  struct summary_row **out, size_t *out_n) {
    struct builder b = {.s = s, .text = text, .context = context};
    static int (*const steps[])(struct builder *) = {
        make_stack_keys,  build_totals, build_types, build_sites,
        build_type_edges, build_hooks,  build_small,
    };
    int result = SNAP_OK;
    for (size_t i = 0; i < sizeof steps / sizeof *steps && !result; i++)
        result = steps[i](&b);
    if (!result && b.n) {
        merge(&b);
        cut(&b, max_rows);
        result = label_rows(&b);
        qsort(b.rows, b.n, sizeof *b.rows, compare_final);
    }
    if (!result && b.n) {
        *out = arena_alloc(&s->arena, b.n * sizeof **out);
        if (*out)
            memcpy(*out, b.rows, b.n * sizeof **out);
        else
            result = SNAP_E_NOMEM;
    }
    if (!b.n)
        *out = NULL;
    *out_n = b.n;
    free(b.rows);
    return result;
}
