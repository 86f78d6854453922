/* The capture stream: what the forked copy of a target sends to the process that writes the file
 * (heapsnap-write).
 *
 * Both ends are built together and run on one machine, so records are host structs; the stream is
 * never stored. The sender (lib/capture/collect.c) runs in a forked child where malloc, stdio and
 * the loader must not be called; the receiver (lib/model/ingest.c) has a process of its own and may
 * do anything. A stream without WIRE_END is a child that died: the receiver removes its temporary
 * file.
 *
 * Order: HELLO, TARGET, META, MODULE, STACK, THREAD, REGION, then BLOCK sections as many as there
 * are, END. A section is a wire_section followed by `bytes` bytes. Ids of modules, stacks and
 * threads are index + 1 over their sections. */
#ifndef HEAPSNAP_WIRE_H
#define HEAPSNAP_WIRE_H

#include <stdint.h>

#define WIRE_MAGIC 0x31455249574e5348ull /* "HSNWIRE1" */
#define WIRE_VERSION 1u

enum wire_kind {
    WIRE_HELLO = 1,
    WIRE_TARGET,
    WIRE_META,
    WIRE_MODULE,
    WIRE_STACK,
    WIRE_THREAD,
    WIRE_REGION,
    WIRE_BLOCK,
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
 * SNAP_FRAM_FLAG_EXACT << 16. */
struct wire_stack {
    uint32_t parent;
    uint32_t flags; /* low 16 bits SNAP_STAK_FLAG_*, high 16 bits SNAP_FRAM_FLAG_* */
    uint64_t pc;
};

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

struct wire_end {
    uint64_t n_blocks, block_bytes;
    uint64_t pause_ns; /* with WIRE_SPOOL; else in META already */
};

/* What the receiver answers, on file descriptor WIRE_STATUS_FD: any number of '.' as signs of life,
 * then one line, "ok PATH" or "error CODE MESSAGE". */
#define WIRE_STATUS_FD 3

#endif
