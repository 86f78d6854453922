/* Names of what is in a loaded heap: nodes, references, roots, in the words that reports show.
 *
 * Invariant: a text says only what the file says; what is unknown reads as an offset or as nothing.
 * Strings live in the heap's arena or in the snapshot. */
#include "diff/heapload.h"

#include "base/err.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int no_memory(snap_error *err) {
    return err_set(err, SNAP_E_NOMEM, "no memory for names");
}

char *heap_format(snap_heap *h, const char *format, ...) {
    char text[4096];
    va_list ap;
    va_start(ap, format);
    const int length = vsnprintf(text, sizeof text, format, ap);
    va_end(ap);
    return arena_string(&h->arena, text,
                        length < (int)sizeof text ? (size_t)length : sizeof text - 1);
}

int row_reader_seek(struct row_reader *r, const snap_snapshot *s, uint64_t id, uint32_t *out_row,
                    snap_error *err) {
    if (id == 0 || r->n_chunks == 0 || id >= r->first_id[r->n_chunks])
        return err_set(err, SNAP_E_ARG, "there is no row %" PRIu64, id);
    if (r->chunk == UINT32_MAX || id < r->first_id[r->chunk] || id >= r->first_id[r->chunk + 1]) {
        uint32_t low = 0, high = r->n_chunks - 1;
        while (low < high) {
            const uint32_t middle = low + (high - low + 1) / 2;
            if (r->first_id[middle] <= id)
                low = middle;
            else
                high = middle - 1;
        }
        r->chunk = UINT32_MAX;
        SNAP_TRY(snap_batch_read(s, r->table, low, r->columns, &r->batch, err));
        r->chunk = low;
    }
    *out_row = (uint32_t)(id - r->first_id[r->chunk]);
    return 0;
}

snap_graph *snap_heap_graph(snap_heap *h) {
    return h->graph;
}

uint32_t snap_heap_n_nodes(const snap_heap *h) {
    return h->n_nodes;
}

uint32_t snap_heap_n_types(const snap_heap *h) {
    return h->n_types;
}

const char *snap_heap_type_name(const snap_heap *h, uint32_t type) {
    return type < h->n_types ? h->type_name[type] : "";
}

int snap_heap_label(const snap_heap *h, uint32_t label, const char **out, snap_error *err) {
    if (label > h->n_strings)
        label = label - h->n_strings <= h->n_root_names
                    ? h->root_names[label - h->n_strings - 1].name
                    : 0;
    return snap_string(h->snapshot, label, out, err);
}

int snap_heap_node_get(snap_heap *h, uint32_t node, snap_heap_node *out, snap_error *err) {
    uint32_t row;
    SNAP_TRY(row_reader_seek(&h->nodes, h->snapshot, node, &row, err));
    const uint64_t *const *const c = h->nodes.batch.column;
    const uint32_t type = heap_node_type(h, node);
    *out = (snap_heap_node){
        .type = h->type_name[type],
        .address = c[SNAP_NODE_COL_ADDRESS][row],
        .size_bytes = heap_node_bytes(h, node),
        .birth = c[SNAP_NODE_COL_BIRTH][row],
        .stack = c[SNAP_NODE_COL_STACK][row],
        .domain = (uint32_t)c[SNAP_NODE_COL_DOMAIN][row],
        .kind = (uint32_t)c[SNAP_NODE_COL_KIND][row],
        .flags = (uint32_t)c[SNAP_NODE_COL_FLAGS][row],
        .type_is_known = type != 0 && type <= h->n_file_types,
    };
    return snap_string(h->snapshot, c[SNAP_NODE_COL_LABEL][row], &out->label, err);
}

/* Tid and name of a thread. Threads are few: rows are looked for. */
static int read_thread(const snap_heap *h, uint64_t id, uint64_t *out_tid, const char **out_name,
                       snap_error *err) {
    snap_batch batch;
    snap_batch_init(&batch);
    int result = 0;
    for (uint32_t chunk = 0; result == 0 && chunk < snap_n_chunks(h->snapshot, SNAP_TABLE_THRD);
         chunk++) {
        result = snap_batch_read(h->snapshot, SNAP_TABLE_THRD, chunk,
                                 1u << SNAP_THRD_COL_TID | 1u << SNAP_THRD_COL_NAME, &batch, err);
        if (result == 0 && id >= batch.first_id && id - batch.first_id < batch.n_rows) {
            *out_tid = batch.column[SNAP_THRD_COL_TID][id - batch.first_id];
            result = snap_string(h->snapshot, batch.column[SNAP_THRD_COL_NAME][id - batch.first_id],
                                 out_name, err);
            break;
        }
    }
    snap_batch_release(&batch);
    return result;
}

int snap_heap_root_get(snap_heap *h, uint64_t root, snap_heap_root *out, snap_error *err) {
    uint32_t row;
    SNAP_TRY(row_reader_seek(&h->roots, h->snapshot, root + 1, &row, err));
    const uint64_t *const *const c = h->roots.batch.column;
    *out = (snap_heap_root){
        .module = "",
        .thread = "",
        .address = c[SNAP_ROOT_COL_ADDRESS][row],
        .kind = (uint32_t)c[SNAP_ROOT_COL_KIND][row],
        .flags = (uint32_t)c[SNAP_ROOT_COL_FLAGS][row],
    };
    const uint64_t thread = c[SNAP_ROOT_COL_THREAD][row], module = c[SNAP_ROOT_COL_MODULE][row];
    SNAP_TRY(snap_string(h->snapshot, c[SNAP_ROOT_COL_NAME][row], &out->name, err));
    SNAP_TRY(snap_string(h->snapshot, c[SNAP_ROOT_COL_LABEL][row], &out->label, err));
    if (module != 0) {
        snap_module m;
        SNAP_TRY(snap_module_get(h->snapshot, module, &m, err));
        out->module = m.path;
    }
    return thread != 0 ? read_thread(h, thread, &out->tid, &out->thread, err) : 0;
}

static const char *const registers[] = {"rax", "rbx", "rcx", "rdx", "rsi", "rdi", "rbp", "rsp",
                                        "r8",  "r9",  "r10", "r11", "r12", "r13", "r14", "r15"};

static const char *base_name(const char *path) {
    const char *const slash = strrchr(path, '/');
    return slash != NULL ? slash + 1 : path;
}

/* A name for a root that the file does not name: where the word is. */
static char *unnamed_root(snap_heap *h, const snap_heap_root *r) {
    const char *const kind = snap_code_name(SNAP_TABLE_ROOT, SNAP_ROOT_COL_KIND, r->kind);
    if (*r->module != '\0')
        return heap_format(h, "%.1000s+0x%" PRIx64, base_name(r->module), r->address);
    switch (r->kind) {
    case SNAP_ROOT_STACK:
    case SNAP_ROOT_ALT_STACK: return heap_format(h, "a stack");
    case SNAP_ROOT_TLS: return heap_format(h, "thread-local memory");
    case SNAP_ROOT_MAPPING: return heap_format(h, "unknown memory at 0x%" PRIx64, r->address);
    case SNAP_ROOT_NATIVE: return heap_format(h, "native code (a hidden reference)");
    default: break;
    }
    if (kind == NULL)
        return heap_format(h, "root of kind %" PRIu32, r->kind);
    return heap_format(h, "%s", kind);
}

static char *root_text(snap_heap *h, const snap_heap_root *r) {
    if (r->kind == SNAP_ROOT_REGISTER) {
        const char *const name = r->address < sizeof registers / sizeof *registers
                                     ? registers[r->address]
                                     : "of a thread";
        if (*r->name != '\0')
            return heap_format(h, "%.1500s() register %s", r->name,
                               *r->label != '\0' ? r->label : name);
        return heap_format(h, "register %s", *r->label != '\0' ? r->label : name);
    }
    if (*r->name == '\0' && *r->label == '\0')
        return unnamed_root(h, r);
    const int is_stack = r->kind == SNAP_ROOT_STACK || r->kind == SNAP_ROOT_ALT_STACK;
    if (is_stack || r->kind == SNAP_ROOT_FRAME) {
        const char *const call = is_stack && strchr(r->name, '(') == NULL ? "()" : "";
        if (*r->label == '\0')
            return heap_format(h, is_stack ? "%.2000s%s stack" : "%.2000s%s", r->name, call);
        if (*r->name == '\0')
            return heap_format(h, "local '%.2000s'", r->label);
        return heap_format(h, "%.2000s%s local '%.1500s'", r->name, call, r->label);
    }
    if (*r->label == '\0')
        return heap_format(h, "%.4000s", r->name);
    if (*r->name == '\0')
        return heap_format(h, "%.4000s", r->label);
    return heap_format(h, "%.2000s%s%.2000s", r->name, *r->label == '[' ? "" : ".", r->label);
}

int heap_root_text(snap_heap *h, uint64_t root, const char **out, snap_error *err) {
    snap_heap_root r;
    SNAP_TRY(snap_heap_root_get(h, root, &r, err));
    *out = root_text(h, &r);
    return *out != NULL ? 0 : no_memory(err);
}

int heap_edge_text(snap_heap *h, uint64_t edge, const char **out, snap_error *err) {
    const uint32_t label = h->edge_label != NULL ? h->edge_label[edge] : 0;
    const uint64_t offset = heap_edge_offset(h, edge);
    const unsigned kind = h->edge_kind != NULL ? h->edge_kind[edge] : 0;
    const char *text = "";
    if (label != 0)
        SNAP_TRY(snap_string(h->snapshot, label, &text, err));
    const char *made;
    if (*text != '\0')
        made = *text == '[' || *text == '.' ? text : heap_format(h, ".%.4000s", text);
    else if (kind == SNAP_EDGE_INDEX)
        made = "[*]";
    else if (kind == SNAP_EDGE_POINTER)
        made = heap_format(h, "+0x%" PRIx64, offset);
    else {
        const char *const name = snap_code_name(SNAP_TABLE_EDGE, SNAP_EDGE_COL_KIND, kind);
        made = name != NULL ? heap_format(h, ".<%s>", name) : "";
    }
    *out = made;
    return made != NULL ? 0 : no_memory(err);
}

struct address_row {
    uint64_t address;
    uint32_t node;
};

static int compare_addresses(const void *x, const void *y) {
    const struct address_row *const a = x, *const b = y;
    if (a->address != b->address)
        return a->address < b->address ? -1 : 1;
    return a->node < b->node ? -1 : a->node > b->node;
}

static int index_addresses(snap_heap *h, snap_error *err) {
    struct address_row *const rows = mem_alloc((size_t)h->n_nodes + 1, sizeof *rows);
    h->address = mem_alloc((size_t)h->n_nodes + 1, sizeof *h->address);
    uint32_t *const nodes = mem_alloc((size_t)h->n_nodes + 1, sizeof *nodes);
    snap_batch batch;
    snap_batch_init(&batch);
    int result = rows != NULL && h->address != NULL && nodes != NULL ? 0 : no_memory(err);
    int is_sorted = 1;
    uint32_t n = 0;
    for (uint32_t chunk = 0; result == 0 && chunk < h->nodes.n_chunks; chunk++) {
        result = snap_batch_read(h->snapshot, SNAP_TABLE_NODE, chunk, 1u << SNAP_NODE_COL_ADDRESS,
                                 &batch, err);
        for (uint32_t i = 0; result == 0 && i < batch.n_rows && n < h->n_nodes; i++, n++) {
            rows[n] = (struct address_row){batch.column[SNAP_NODE_COL_ADDRESS][i], n + 1};
            is_sorted &= n == 0 || rows[n - 1].address <= rows[n].address;
        }
    }
    snap_batch_release(&batch);
    if (result == 0 && !is_sorted)
        qsort(rows, n, sizeof *rows, compare_addresses);
    for (uint32_t i = 0; result == 0 && i < n; i++) {
        h->address[i] = rows[i].address;
        nodes[i] = rows[i].node;
    }
    free(rows);
    if (result < 0) {
        free(nodes);
        free(h->address);
        h->address = NULL;
        return result;
    }
    h->by_address = nodes;
    return 0;
}

int snap_heap_find(snap_heap *h, uint64_t address, uint32_t *out_node, uint64_t *out_offset,
                   snap_error *err) {
    if (h->by_address == NULL)
        SNAP_TRY(index_addresses(h, err));
    *out_node = 0;
    uint32_t low = 0, high = h->n_nodes;
    while (low < high) {
        const uint32_t middle = low + (high - low) / 2;
        if (h->address[middle] <= address)
            low = middle + 1;
        else
            high = middle;
    }
    /* Nodes may start at one address (of several devices, or of no size): the nearest that holds
     * it. */
    for (uint32_t i = low; i-- > 0 && low - i <= 16;) {
        const uint32_t node = h->by_address[i];
        const uint64_t size = heap_node_bytes(h, node), offset = address - h->address[i];
        if (offset < (size != 0 ? size : 1)) {
            *out_node = node;
            if (out_offset != NULL)
                *out_offset = offset;
            break;
        }
    }
    return 0;
}
