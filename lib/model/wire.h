/* The capture stream: what the forked copy of a target sends to the process that writes the file
 * (heapsnap-write).
 *
 * Both ends are built together and run on one machine, so records are host structs; the stream is
 * never stored. The sender (lib/capture/collect.c) runs in a forked child where malloc, stdio and
 * the loader must not be called; the receiver (lib/model/ingest.c) has a process of its own and may
 * do anything. A stream without WIRE_END is a child that died: the receiver removes its temporary
 * file.
 *
 * Order: HELLO, TARGET, META, MODULE, STACK, THREAD, REGION, each once, and before STACK the STRING
 * and MANAGED_FRAME sections that it needs; then BLOCK sections as many as there are, then the
 * others, each kind as often as needed, best in the order of enum wire_kind; END. Demanded is only
 * that nothing refers to what comes later, and that all BLOCK, NODE and OBJECT records stand before
 * the first section that refers to nodes. A second META, of completeness rows only, may stand
 * before END: what is known only then. A section is a wire_section followed by `bytes` bytes, a
 * multiple of 8.
 *
 * Ids are index + 1 over all sections of a kind; 0 means none. Node ids count BLOCK records first,
 * then NODE and OBJECT records. Where all of them together are in the order of (domain, address,
 * birth), ids are those of the file, which saves the receiver from sorting.
 *
 * FINAL, an empty section behind REGION, promises that nobody has to find out more about nodes and
 * their references than their records say: so they are written as they come, and the receiver keeps
 * none of them. Behind it stand no sections but STRING, MANAGED_FRAME, TYPE, NODE, OBJECT, WAY,
 * LINK, ROOT, HOOK, RESOURCE and END; types stand before nodes, nodes are in the order above, and
 * roots are none of an image's data. */
#ifndef HEAPSNAP_WIRE_H
#define HEAPSNAP_WIRE_H

#include <stdint.h>

#define WIRE_MAGIC 0x31455249574e5348ull /* "HSNWIRE1" */
#define WIRE_VERSION 6u

enum wire_kind {
    WIRE_HELLO = 1,
    WIRE_TARGET,
    WIRE_META,
    WIRE_MODULE,
    WIRE_STACK,
    WIRE_THREAD,
    WIRE_REGION,
    WIRE_FINAL,
    WIRE_BLOCK,
    WIRE_STRING,
    WIRE_MANAGED_FRAME,
    WIRE_TYPE,
    WIRE_POOL,
    WIRE_NODE,
    WIRE_OBJECT,
    WIRE_NODE_TYPE,
    WIRE_NODE_POOL,
    WIRE_NODE_LABEL,
    WIRE_FRAME,
    WIRE_TLS,
    WIRE_VTABLE,
    WIRE_VPTR,
    WIRE_FUNCTION,
    WIRE_CODE,
    WIRE_EDGE,
    WIRE_REFERENCE,
    WIRE_WAY,
    WIRE_LINK,
    WIRE_ROOT,
    WIRE_HOOK,
    WIRE_RESOURCE,
    WIRE_END
};

struct wire_section {
    uint32_t kind;
    uint32_t n; /* records */
    uint64_t bytes;
};

struct wire_hello {
    uint64_t magic;
    uint32_t version;
    uint32_t flags; /* WIRE_SPOOL */
};
/* The sender holds the target still: take the stream to its end before anything else. The pause is
 * in wire_end then. */
#define WIRE_SPOOL 1u

/* Where the file goes. path_len bytes of the final path follow. */
struct wire_target {
    uint32_t flags; /* WIRE_OVERWRITE, WIRE_UNIQUE */
    uint32_t path_len;
    uint32_t pid, sequence; /* for names made unique */
};
#define WIRE_OVERWRITE 1u /* replace an existing file */
#define WIRE_UNIQUE 2u    /* where the name is taken: put .PID.SEQUENCE before its suffix */

/* One META row; name_len bytes of name, then text_len of text follow, then padding to 8. The text
 * of SNAP_META_COMMAND is the arguments as they are, each ended by NUL. */
struct wire_meta {
    uint32_t key, name_len, text_len, reserved;
    uint64_t value;
};

/* A loaded image; path_len bytes, then build_id_len bytes of raw build id, then padding to 8. */
struct wire_module {
    uint64_t start, end, bias;
    uint32_t flags, path_len, build_id_len, reserved;
};

/* A node of the stack tree: parent is a lower id or 0. pc: return address, or exact with the flag
 * SNAP_FRAM_FLAG_EXACT << 16; with WIRE_STACK_MANAGED the id of a managed frame, 0: nothing is
 * known of it. */
struct wire_stack {
    uint32_t parent;
    uint32_t flags; /* low 16 bits SNAP_STAK_FLAG_*, the next 15 SNAP_FRAM_FLAG_* */
    uint64_t pc;
};
#define WIRE_STACK_MANAGED (1u << 31)

struct wire_thread {
    uint64_t sp, stack_low, stack_high;
    uint32_t tid, flags, stack, reserved;
    char name[16];
};

/* A mapping; name_len bytes follow, then padding to 8. */
struct wire_region {
    uint64_t address, size, birth, resident;
    uint32_t kind, protection, stack, flags, name_len, reserved;
};

/* A live block; sections are in the order of addresses over the whole stream. */
struct wire_block {
    uint64_t address, size, birth;
    uint32_t stack;
    uint32_t flags; /* SNAP_NODE_FLAG_*, bits 24-31: SNAP_NODE_* kind */
};

/* A name; length bytes follow, then padding to 8. Names of variables, functions, files, types,
 * attributes: never a value. */
struct wire_string {
    uint32_t length, reserved;
};

/* A position in a managed runtime's code, by name. */
struct wire_managed_frame {
    uint32_t function, file; /* strings */
    uint32_t line, kind;     /* SNAP_FRAM_* but native */
};

struct wire_type {
    uint64_t size; /* bytes of one instance, 0: varies */
    uint32_t name; /* string */
    uint32_t source, flags, module;
};

/* A row of POOL. name: string; parent: of a record before it. */
struct wire_pool {
    uint64_t address, size, live, cached, largest_gap, birth;
    uint32_t kind, domain, device, name, module, stack, parent, flags;
};

/* A node that is no block of malloc: a managed object, a device allocation. kind: below 256. */
struct wire_node {
    uint64_t address, size, birth, external, refcount;
    int64_t hidden;
    uint32_t type, stack, flags, thread, device, pool, label;
    uint16_t domain, kind;
};

/* The same of an object of Python whose numbers are small: there are many. */
struct wire_object {
    uint64_t address, birth;
    uint32_t size, external, refcount;
    int32_t hidden;
    uint32_t type, stack, label;
    uint32_t flags; /* SNAP_NODE_FLAG_*, bits 24-31: SNAP_NODE_* kind */
};

/* What the program said by snap_type: the node's type. Ascending by node. */
struct wire_node_type {
    uint32_t node, type;
};

/* The pool that a block lives in. Ascending by node. */
struct wire_node_pool {
    uint32_t node, pool;
};

/* What tells a block from others of its type. Ascending by node. */
struct wire_node_label {
    uint32_t node, label; /* label: string */
};

/* A frame of a thread's stack at the moment, innermost first: the frame of the function at pc takes
 * the stack from sp up to the next frame's sp. pc is a return address, but for the innermost frame
 * (is_exact). Sorted by thread, then sp. */
struct wire_frame {
    uint64_t sp, pc;
    uint32_t thread, is_exact;
};

/* Where a thread has the thread-local variables of an image (its PT_TLS segment), so that roots of
 * kind tls get the names of variables. Ascending by thread, address. */
struct wire_tls {
    uint64_t address, size;
    uint32_t thread, module;
};

/* A word that some node starts with (or has in its first 24 bytes) points into a loaded image's
 * data, and what stands before it looks like a C++ virtual table: two words before it the offset to
 * top, one before it the address of a std::type_info. All of this is the image's memory, not the
 * user's. name_len bytes of the mangled name follow, then padding to 8.
 *
 * Each type_info_vtable is an object's word, too (a type_info is an object): its record, and the
 * record of its own type_info_vtable, are sent with it. They are how the receiver knows a type_info
 * without any symbol: by the name of its class, which has to be one of the C++ ABI's. */
struct wire_vtable {
    uint64_t address;          /* what the object's word holds */
    uint64_t type_info;        /* address */
    uint64_t type_info_vtable; /* the type_info's own first word: says which class of type_info */
    int64_t offset_to_top;
    uint32_t name_len, reserved;
};

/* The word at offset of a node points at a vtable. Ascending by node, offset. */
struct wire_vptr {
    uint32_t node, offset, vtable, reserved;
};

/* The start of a function in executable memory of an image: what unwind tables call a start. */
struct wire_function {
    uint64_t pc;
};

/* A word holds the start of a function. node 0: address is that of a word of an image's writable
 * data; else the offset in the node. Ascending by node, address. */
struct wire_code {
    uint64_t address;
    uint32_t node, function;
};

/* A word of a node's memory that points into a node. Ascending by source, then source_offset. */
struct wire_edge {
    uint32_t source, target;
    uint32_t source_word;   /* offset in the source / 8 */
    uint32_t target_offset; /* bytes; UINT32_MAX: that much or more */
};

/* Any other reference. Ascending by source over all sections, those of LINK as well. */
struct wire_reference {
    uint64_t source_offset; /* or the index */
    uint64_t target_offset;
    uint32_t source, target;
    uint32_t label;       /* string */
    uint16_t kind, flags; /* SNAP_EDGE_*, SNAP_EDGE_FLAG_* */
};

/* What a reference is called: what many have in common. */
struct wire_way {
    uint64_t source_offset, target_offset;
    uint32_t label; /* string */
    uint16_t kind, flags;
};

/* A reference of which there are many. way: below WIRE_WAYS the index of one of kind
 * SNAP_EDGE_INDEX that has nothing else, from there on number of a way + WIRE_WAYS (the first is
 * 0); WIRE_SOURCE: this is none, but those behind it are of node `target`. */
struct wire_link {
    uint32_t target, way;
};
#define WIRE_WAYS 0x80000000u
#define WIRE_SOURCE 0xffffffffu

/* What refers to a node from outside: a word of memory or a register, or something with a name. */
struct wire_root {
    uint64_t address;       /* of the word; of a register: its number; 0: not a word */
    uint64_t target_offset; /* bytes */
    uint32_t target;
    uint32_t kind, flags; /* SNAP_ROOT_*, SNAP_EDGE_FLAG_* */
    uint32_t thread;
    uint32_t name, label; /* strings; 0: to be found out from the address */
    uint32_t frame;       /* managed frame; 0: none */
    uint32_t reserved;
};

/* A registered callback that somebody knows by name: the program itself, the C library's lists, a
 * managed runtime. */
struct wire_hook {
    uint64_t pc; /* start of a native function; 0: by name */
    uint64_t holder_offset, birth;
    uint32_t registry, callback, file, line; /* strings but for line */
    uint32_t holder, argument, stack, count; /* nodes; a stack id; 0 and 1: one */
    uint32_t kind, root;                     /* SNAP_HOOK_*; index + 1 over ROOT */
};

/* A row of RSRC. */
struct wire_resource {
    uint64_t handle, birth, size;
    uint32_t kind, name, module, stack, device, flags, thread, reserved;
};

struct wire_end {
    uint64_t n_blocks, block_bytes;
    uint64_t pause_ns; /* with WIRE_SPOOL; else in META already */
};

/* What the receiver answers, on file descriptor WIRE_STATUS_FD: any number of '.' as signs of life,
 * then one line, "ok PATH" or "error CODE MESSAGE". */
#define WIRE_STATUS_FD 3

#endif
