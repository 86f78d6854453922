/* The heap of one snapshot in memory, between the capture stream and the file: what is needed to
 * find out types, names of references, roots and callbacks before rows are written.
 *
 * Filled by ingest.c, completed by the passes (vtable.c, typing.c, naming.c, hook.c), written by
 * output.c. Columns rather than records, because 10^7 nodes and 10^8 references have to fit: 28 B
 * per block, 12 B per reference between blocks. Large arrays come from heap_alloc, which takes them
 * from an unlinked file beside the snapshot when they pass a limit. Ids of nodes, types, strings,
 * threads, stacks are index + 1; id 0: none. */
#ifndef HEAPSNAP_HEAP_H
#define HEAPSNAP_HEAP_H

#include <heapsnap/common.h>
#include <heapsnap/snapdef.h>

struct symbolizer;

struct heap_module {
    uint64_t start, end, bias;
    const char *path, *build_id; /* build_id: lower-case hex, NULL if none */
    uint32_t flags, symbols;     /* symbols: handle of the symbolizer */
};

/* Types are added by passes and by the stream; equal (name, source) are one. */
struct heap_type {
    const char *name;
    uint64_t size; /* bytes of one instance, 0: varies or unknown */
    uint32_t source, flags, module;
};

/* A reference of one word; those of a node are first_edge[node - 1] to first_edge[node] - 1,
 * ascending by source_word. */
struct heap_edge {
    uint32_t target;
    uint32_t source_word;   /* offset in the source / 8 */
    uint32_t target_offset; /* bytes; UINT32_MAX: that much or more */
};

/* A reference by name; ascending by source. */
struct heap_reference {
    uint64_t source_offset, target_offset;
    uint32_t source, target, label;
    uint16_t kind, flags;
};

struct heap_root {
    uint64_t address; /* of the word; of a register: its number; 0: not a word */
    uint64_t target_offset;
    uint32_t target, kind, flags, thread;
    uint32_t module;      /* that has the address; 0: none */
    uint32_t name, label; /* strings; name: variable with the path in it ("g_server.sessions"), or
                             function; label: local variable with the path in it */
    uint32_t frame;       /* row of FRAM */
};

struct heap_frame { /* of a thread's stack; see wire_frame */
    uint64_t sp, pc;
    uint32_t thread, is_exact;
    uint32_t row; /* of FRAM */
};

struct heap_vtable {
    uint64_t address, type_info, type_info_vtable;
    int64_t offset_to_top;
    const char *name; /* mangled, of the type: as type_info::name() gives it */
};

struct heap_vptr {
    uint32_t node, offset, vtable;
};

struct heap_code {
    uint64_t address; /* offset in the node, or address of the global's word */
    uint32_t node, function;
};

struct heap_hook {
    uint64_t pc, holder_offset, birth;
    uint32_t registry, callback, file, line;
    uint32_t holder, argument, stack, count, kind, root;
    uint32_t frame; /* row of FRAM */
};

struct heap {
    struct symbolizer *symbolizer; /* NULL: no names wanted */

    uint32_t n_modules;
    struct heap_module *modules; /* ascending by address */

    /* Nodes: row i is node i + 1; the first n_blocks are blocks of malloc, ascending by address. */
    uint32_t n_nodes, n_blocks;
    uint64_t *address, *size, *birth;
    uint32_t *stack, *type; /* type: 0 until a pass knows it */
    uint32_t *flags;        /* SNAP_NODE_FLAG_*; kind << 24 */
    uint8_t *domain;        /* NULL: all host */

    uint32_t n_types;
    struct heap_type *types;

    uint64_t n_edges;
    uint64_t *first_edge; /* n_nodes + 1 */
    struct heap_edge *edges;
    uint64_t n_references;
    struct heap_reference *references;
    uint32_t n_roots;
    struct heap_root *roots; /* ascending by (kind, address) */

    uint32_t n_frames;
    struct heap_frame *frames; /* ascending by (thread, sp) */
    uint32_t n_vtables, n_functions;
    struct heap_vtable *vtables;
    uint64_t *functions; /* addresses */
    uint64_t n_vptrs, n_codes;
    struct heap_vptr *vptrs;
    struct heap_code *codes;
    uint32_t n_hooks;
    struct heap_hook *hooks;

    /* What a reference between blocks is called. Set by the pass that knows layouts; NULL: nobody
     * does. Writes the path of the field at an offset in a node of that type, such as "next",
     * "sessions[*]", "[*].key", without a leading dot; returns a string id, 0: unknown. Depends on
     * type and offset only (arrays: on the offset in the element), so that callers may keep
     * answers. *kind (SNAP_EDGE_POINTER before) may be set to another kind. */
    uint32_t (*field)(struct heap *h, void *context, uint32_t type, uint64_t offset,
                      uint64_t node_size, uint16_t *kind);
    void *field_context;

    struct heap_internal *internal; /* strings, memory: of heap.c */
};

/* Ids of strings and types; 0: no memory (the heap remembers, heap_failed says so). */
uint32_t heap_string(struct heap *h, const char *text);
uint32_t heap_string_n(struct heap *h, const char *text, size_t length);
const char *heap_text(const struct heap *h, uint32_t string); /* "" for 0 */
uint32_t heap_type_add(struct heap *h, const char *name, uint32_t source, uint64_t size,
                       uint32_t flags, uint32_t module);
int heap_failed(const struct heap *h);

/* The node that holds an address (start <= address < start + max(size, 1)); 0: none. O(log n). */
uint32_t heap_find(const struct heap *h, uint64_t address);
/* The module whose image holds an address; 0: none. */
uint32_t heap_module_at(const struct heap *h, uint64_t address);
/* First reference of a node from a word on; ends at first_edge[node]. O(log of its references). */
uint64_t heap_edge_from(const struct heap *h, uint32_t node, uint64_t offset);

/* The passes, in this order. Each adds what it finds and leaves alone what a better source knows
 * (API over vtable over DWARF over guess over site; domain python: runtime). Return 0 or NOMEM:
 * what cannot be found out is left out. */
int vtable_pass(struct heap *h, snap_error *err); /* vtable.c: types by C++ run-time type info */
int typing_pass(struct heap *h, snap_error *err); /* typing.c: DWARF, from typed roots and nodes */
int naming_pass(struct heap *h, snap_error *err); /* naming.c: names of roots left without one */
int hook_pass(struct heap *h, snap_error *err);   /* hook.c: callbacks among codes */

#endif
