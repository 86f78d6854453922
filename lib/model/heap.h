/* The heap of one snapshot in memory, between the capture stream and the file: what is needed to
 * find out types, names of references, roots and callbacks before rows are written.
 *
 * Filled by ingest.c, completed by the passes (vtable.c, typing.c, naming.c, hook.c), written by
 * output.c. Columns rather than records, because 10^7 nodes and 10^8 references have to fit: 44 B
 * per node, 12 B per reference between blocks, 8 B per reference by name. Large arrays come from
 * heap_grow, which takes them from an unlinked file beside the snapshot when they pass a limit. Ids
 * of nodes, types, strings, threads, stacks, frames are index + 1; id 0: none. */
#ifndef HEAPSNAP_HEAP_H
#define HEAPSNAP_HEAP_H

#include <heapsnap/common.h>
#include <heapsnap/snapdef.h>
#include <stddef.h>

struct frames;
struct symbolizer;

#define HEAP_ALIGNED_MAX                                                                           \
    64 /* what a program leaves free at a block's start to align what it keeps */

struct heap_module {
    uint64_t start, end, bias;
    const char *path, *build_id; /* build_id: lower-case hex, NULL if none */
    uint32_t flags, symbols;     /* symbols: handle of the symbolizer */
};

struct heap_thread {
    uint64_t stack_low, stack_high;
    const char *name;
    uint32_t tid, flags;
};

struct heap_region {
    uint64_t address, size;
    uint32_t kind, name;
};

/* Where a thread has an image's thread-local variables. */
struct heap_tls {
    uint64_t address, size;
    uint32_t thread, module;
};

/* A row of FRAM: native ones ascending by (pc, is_exact), then managed ones. */
struct heap_position {
    uint64_t pc;          /* address; managed: 0 */
    const char *function; /* that has the code, demangled; NULL: unknown */
    const char *file;     /* of the function's code at the pc; NULL: unknown */
    uint32_t line;
    uint32_t module;
    uint8_t kind; /* SNAP_FRAM_* */
    uint8_t is_exact;
    const char
        *caller; /* innermost function there, inlined or not, that is no allocator; or NULL */
};

/* Types are added by passes and by the stream; equal (name, source) are one. */
struct heap_type {
    const char *name;
    const char *mangled; /* of a C++ class known by its vtable: as type_info gives it; else NULL */
    uint64_t size;       /* bytes of one instance, 0: varies or unknown */
    uint32_t source, flags, module;
};

/* What a node has that is no block of malloc. */
struct heap_object {
    uint64_t external, refcount;
    int64_t hidden;
    uint32_t thread, device, pool, label;
};

/* The same, as it is kept: large ones and those of a device are few. */
struct heap_small {
    uint32_t external, refcount;
    int32_t hidden;
    uint32_t large; /* index + 1 in large_objects: all is there */
};

/* A reference of one word; those of a node are first_edge[node - 1] to first_edge[node] - 1,
 * ascending by source_word. */
struct heap_edge {
    uint32_t target;
    uint32_t source_word;   /* offset in the source / 8 */
    uint32_t target_offset; /* bytes; UINT32_MAX: that much or more */
};

/* What a reference by name is called; many have the same. */
struct heap_way {
    uint64_t source_offset, target_offset;
    uint32_t label;
    uint16_t kind, flags;
};

/* A reference by name; those of a node are first_reference[node - 1] to first_reference[node] - 1.
 * way: below HEAP_WAYS the index of an element, else index in ways + HEAP_WAYS. */
struct heap_reference {
    uint32_t target, way;
};
#define HEAP_WAYS 0x80000000u

struct heap_root {
    uint64_t address; /* of the word; of a register: its number; 0: not a word */
    uint64_t target_offset;
    uint32_t target, kind, flags, thread;
    uint32_t module;      /* that has the address; 0: none */
    uint32_t name, label; /* strings; name: variable with the path in it ("g_server.sessions"), or
                             function; label: local variable with the path in it */
    uint32_t frame;
};

struct heap_frame { /* of a thread's stack; see wire_frame */
    uint64_t sp, pc;
    uint32_t thread, is_exact;
    uint32_t row; /* frame */
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
    uint32_t frame;
};

/* In the order of what belongs together: there is one per graph.
 * NOLINTNEXTLINE(clang-analyzer-optin.performance.Padding) */
struct heap {
    struct symbolizer *symbolizer; /* NULL: no names wanted */
    uint64_t types_ns;             /* for types in the debug information of one module */

    uint32_t n_modules;
    struct heap_module *modules; /* ascending by address */
    uint32_t n_threads;
    struct heap_thread *threads;
    uint32_t n_regions, n_tls;
    struct heap_region *regions; /* ascending */
    struct heap_tls *tls;
    uint32_t n_positions;
    struct heap_position *positions;

    /* Nodes: row i is node i + 1; the first n_blocks are blocks of malloc, ascending by address. */
    uint32_t n_nodes, n_blocks;
    uint64_t *address, *size, *birth;
    uint32_t *block_pool;       /* of blocks, row of POOL; NULL: no block has one */
    uint32_t *block_label;      /* of blocks, string; NULL: no block has one */
    uint32_t *stack, *type;     /* type: 0 until a pass knows it */
    uint32_t *flags;            /* SNAP_NODE_FLAG_*; kind << 24 */
    uint8_t *domain;            /* NULL: all host */
    struct heap_small *objects; /* row i is node n_blocks + i + 1 */
    uint32_t n_large_objects;
    struct heap_object *large_objects;

    uint32_t n_types;
    struct heap_type *types;

    uint64_t n_edges;
    uint64_t *first_edge; /* n_nodes + 1 */
    struct heap_edge *edges;
    uint64_t n_references;
    uint32_t *first_reference; /* n_nodes + 1 */
    struct heap_reference *references;
    uint32_t n_ways;
    struct heap_way *ways;
    uint32_t n_roots;
    struct heap_root *roots; /* ascending by (kind, thread, address) */

    uint32_t n_frames;
    struct heap_frame *frames; /* ascending by (thread, sp) */
    uint32_t n_vtables, n_functions;
    struct heap_vtable *vtables;
    uint64_t *functions;       /* addresses */
    uint32_t *function_frames; /* of each */
    uint64_t n_vptrs, n_codes;
    struct heap_vptr *vptrs;
    struct heap_code *codes; /* ascending by (node, address) */
    uint32_t n_hooks;
    struct heap_hook *hooks;

    /* What a reference between blocks is called. Set by the pass that knows layouts; NULL: nobody
     * does. Writes the path of the field at an offset in a node of that type, such as "next",
     * "sessions[*]", "[*].key", without a leading dot; returns a string id, 0: unknown. Depends on
     * type and offset only (arrays: on the offset in the element), so that callers may keep
     * answers. *kind (SNAP_EDGE_POINTER before) may be set to another kind, *flags (0 before) to
     * SNAP_EDGE_FLAG_LOW. */
    uint32_t (*field)(struct heap *h, void *context, uint32_t type, uint64_t offset,
                      uint64_t node_size, uint16_t *kind, uint16_t *flags);
    void *field_context;
    /* Likewise what a word at an address of an image's data is called: "g_server.sessions",
     * "table.entries[*].function". A string id, 0: unknown. */
    uint32_t (*variable)(struct heap *h, void *context, uint64_t address);
    void *variable_context;
    /* By block - 1: of its memory a container uses so many bytes + 1, and what is in the rest is
     * left over from others; 0: all of it, or unknown. NULL: nobody knows. Part of field_context.
     */
    const uint32_t *used;
    /* Frees field_context, which variable_context is part of; called by heap_release. */
    void (*release_field)(void *context);

    struct heap_internal *internal; /* strings, memory: of heap.c */
};

/* Large arrays spill to an unlinked file in `directory` (copied) when all of them together pass
 * limit_bytes (0: a default). */
int heap_init(struct heap *h, const char *directory, uint64_t limit_bytes, snap_error *err);
void heap_release(struct heap *h);

/* Makes *array hold at least need elements of `size` bytes; new ones are zero. *array is NULL and
 * *capacity 0 at first; freed with the heap. Addresses change. 0, or -1 without memory or disk (the
 * heap remembers). */
int heap_grow(struct heap *h, void *array, size_t *capacity, size_t need, size_t size);
/* Gives an array of heap_grow back before its time and sets it to NULL. */
void heap_drop(struct heap *h, void *array);

/* Ids of strings and types; 0: no memory (the heap remembers, heap_failed says so). Text of strings
 * stays where it is as long as the heap. */
uint32_t heap_string(struct heap *h, const char *text);
uint32_t heap_string_n(struct heap *h, const char *text, size_t length);
const char *heap_text(const struct heap *h, uint32_t string); /* "" for 0 */
uint32_t heap_n_strings(const struct heap *h);
/* The size of a type that is given several ones is 0: varies. */
uint32_t heap_type_add(struct heap *h, const char *name, uint32_t source, uint64_t size,
                       uint32_t flags, uint32_t module);
int heap_failed(const struct heap *h);
/* What references are called, to be named by; those that came last are found again. 0, or -1: no
 * memory, or too many. */
int heap_way_add(struct heap *h, const struct heap_way *way, uint32_t *out);
static inline struct heap_way heap_way(const struct heap *h, const struct heap_reference *r) {
    if (r->way >= HEAP_WAYS)
        return h->ways[r->way - HEAP_WAYS];
    return (struct heap_way){.source_offset = r->way, .kind = SNAP_EDGE_INDEX};
}

/* The node that holds an address of host memory (start <= address < start + max(size, 1)), a
 * managed object before the block it lies in; 0: none. O(log n). */
uint32_t heap_find(struct heap *h, uint64_t address);
/* The module whose image holds an address; 0: none. */
uint32_t heap_module_at(const struct heap *h, uint64_t address);
/* First reference of a node at or after an offset; ends at first_edge[node]. O(log of its
 * references). */
uint64_t heap_edge_from(const struct heap *h, uint32_t node, uint64_t offset);
/* Whether a word of a node is in memory that its container has, but does not use. */
static inline int heap_is_unused(const struct heap *h, uint32_t node, uint64_t offset) {
    return h->used && node - 1 < h->n_blocks && h->used[node - 1] &&
           offset >= h->used[node - 1] - 1;
}
/* Whether a word that looks like a reference is rather a number: one of a managed object, whose
 * references its runtime tells by itself, that points far into a block. Who has a block has its
 * start, or little behind it what was aligned, or counts the references to it. */
static inline int heap_is_chance(const struct heap *h, uint32_t source, uint32_t target,
                                 uint64_t target_offset) {
    return source > h->n_blocks && target <= h->n_blocks &&
           (target_offset > HEAP_ALIGNED_MAX || target_offset % 8 != 0);
}
/* What a node has that is no block; of a block: nothing. */
static inline struct heap_object heap_object(const struct heap *h, uint32_t node) {
    if (node <= h->n_blocks)
        return (struct heap_object){0};
    const struct heap_small *const o = &h->objects[node - h->n_blocks - 1];
    if (o->large)
        return h->large_objects[o->large - 1];
    return (struct heap_object){
        .external = o->external, .refcount = o->refcount, .hidden = o->hidden};
}
/* Takes roots away, and renumbers what names them. 0, or -1 without memory. */
int heap_drop_roots(struct heap *h,
                    int (*is_dropped)(const void *context, const struct heap_root *root),
                    const void *context);
/* The frame of a thread's stack that an address lies in: index + 1 in `frames`, 0: none. */
uint32_t heap_frame_at(const struct heap *h, uint32_t thread, uint64_t address);
static inline uint32_t heap_domain(const struct heap *h, uint32_t node) {
    return h->domain ? h->domain[node - 1] : SNAP_DOMAIN_HOST;
}

/* What the word at an address of an image is called by symbol tables alone: a string, 0 unknown.
 * *n_places counts names without a symbol, of which there may be too many; 0 at first. */
int naming_variable(struct heap *h, uint64_t address, uint32_t *n_places, uint32_t *out_name,
                    snap_error *err);

/* The passes, in this order. Each adds what it finds and leaves alone what a better source knows
 * (API over vtable over DWARF over guess over site; domain python: runtime). Return 0 or NOMEM:
 * what cannot be found out is left out. */
int static_word_pass(struct heap *h, snap_error *err); /* static_word.c: roots that are none */
int vtable_pass(struct heap *h, snap_error *err); /* vtable.c: types by C++ run-time type info */
int typing_pass(struct heap *h, snap_error *err); /* typing.c: DWARF, from typed roots and nodes */
int autograd_pass(struct heap *h, snap_error *err); /* autograd.c: what PyTorch's references mean */
int naming_pass(struct heap *h, snap_error *err);   /* naming.c: names of roots left without one */
int hook_pass(struct heap *h, const struct frames *frames,
              snap_error *err); /* hook.c: callbacks among codes */

#endif
