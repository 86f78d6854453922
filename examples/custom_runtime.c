/* Writes a snapshot of a made-up runtime with the public writer alone: no recorder, no malloc
 * hooks.
 *
 *     custom_runtime FILE.snap
 *
 * The runtime has objects of three types that refer to one another by named attributes, a module
 * that keeps them alive, and a bytecode interpreter whose frames were noted at each allocation. Any
 * garbage-collected runtime can do the same from a walk over its heap. */
#include <heapsnap/writer.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { N_SESSIONS = 1000 };

static snap_writer *w;
static snap_error err;

static void check(int result) {
    if (result < 0) {
        fprintf(stderr, "custom_runtime: %s: %s\n", snap_error_name(result), err.message);
        snap_writer_close(w);
        exit(2);
    }
}

static uint64_t string(const char *text) {
    uint32_t id;
    check(snap_writer_string(w, text, &id, &err));
    return id;
}

/* Adds a row and clears it for the next one. */
static uint64_t add(snap_table table, uint64_t *row) {
    uint64_t id;
    check(snap_writer_row(w, table, row, &id, &err));
    memset(row, 0, SNAP_COLUMNS_MAX * sizeof *row);
    return id;
}

static uint64_t row[SNAP_COLUMNS_MAX];

static uint64_t add_type(const char *name, uint64_t size) {
    row[SNAP_TYPE_COL_NAME] = string(name);
    row[SNAP_TYPE_COL_SOURCE] = SNAP_TYPE_RUNTIME;
    row[SNAP_TYPE_COL_SIZE] = size;
    return add(SNAP_TABLE_TYPE, row);
}

/* A managed frame: its position is a number of the runtime's choice, its name comes with a SYMB row
 * at once, since nobody else could find it out later. Returns the stack with this frame on top. */
static uint64_t add_frame(uint64_t caller, uint64_t position, const char *function,
                          const char *file, uint64_t line) {
    row[SNAP_FRAM_COL_KIND] = SNAP_FRAM_OTHER;
    row[SNAP_FRAM_COL_OFFSET] = position;
    const uint64_t frame = add(SNAP_TABLE_FRAM, row);
    row[SNAP_SYMB_COL_FRAME] = frame;
    row[SNAP_SYMB_COL_FUNCTION] = string(function);
    row[SNAP_SYMB_COL_FILE] = string(file);
    row[SNAP_SYMB_COL_LINE] = line;
    row[SNAP_SYMB_COL_SOURCE] = SNAP_SYMB_RUNTIME;
    add(SNAP_TABLE_SYMB, row);
    row[SNAP_STAK_COL_PARENT] = caller;
    row[SNAP_STAK_COL_FRAME] = frame;
    return add(SNAP_TABLE_STAK, row);
}

static uint64_t add_object(uint64_t address, uint64_t size, uint64_t type, uint64_t stack,
                           uint64_t birth, uint64_t refcount) {
    row[SNAP_NODE_COL_DOMAIN] = SNAP_DOMAIN_PYTHON; /* the domain of managed objects */
    row[SNAP_NODE_COL_KIND] = SNAP_NODE_OBJECT;
    row[SNAP_NODE_COL_ADDRESS] = address;
    row[SNAP_NODE_COL_SIZE] = size;
    row[SNAP_NODE_COL_TYPE] = type;
    row[SNAP_NODE_COL_STACK] = stack;
    row[SNAP_NODE_COL_BIRTH] = birth;
    row[SNAP_NODE_COL_REFCOUNT] = refcount;
    return add(SNAP_TABLE_NODE, row);
}

static void add_edge(uint64_t source, uint64_t target, uint64_t kind, const char *label,
                     uint64_t index) {
    row[SNAP_EDGE_COL_SOURCE] = source;
    row[SNAP_EDGE_COL_TARGET] = target;
    row[SNAP_EDGE_COL_KIND] = kind;
    row[SNAP_EDGE_COL_LABEL] = string(label);
    row[SNAP_EDGE_COL_SOURCE_OFFSET] = index;
    add(SNAP_TABLE_EDGE, row);
}

static void write_heap(void) {
    const uint64_t list = add_type("list", 0);
    const uint64_t session = add_type("Session", 48);
    const uint64_t buffer = add_type("Buffer", 0);
    const uint64_t main_stack = add_frame(0, 1, "main", "server.toy", 3);
    const uint64_t accept = add_frame(main_stack, 2, "accept", "server.toy", 17);
    const uint64_t open_buffer = add_frame(accept, 3, "Buffer.open", "buffer.toy", 8);

    /* Objects in the order of their addresses: the list, then pairs of session and buffer. Ids of
     * rows count from 1, so edges may be written before or after what they refer to. */
    uint64_t address = 0x10000, birth = 1;
    const uint64_t sessions = add_object(address, 56 + 8 * N_SESSIONS, list, main_stack, birth, 1);
    address += 16384;
    for (unsigned i = 0; i < N_SESSIONS; i++) {
        add_object(address, 48, session, accept, ++birth, 1);
        address += 64;
        add_object(address, 4096, buffer, open_buffer, ++birth, 1);
        address += 4096;
    }
    /* Edges in the order of their sources. */
    for (unsigned i = 0; i < N_SESSIONS; i++)
        add_edge(sessions, sessions + 1 + 2 * i, SNAP_EDGE_INDEX, NULL, i);
    for (unsigned i = 0; i < N_SESSIONS; i++)
        add_edge(sessions + 1 + 2 * i, sessions + 2 + 2 * i, SNAP_EDGE_ATTRIBUTE, "buffer", 0);

    row[SNAP_ROOT_COL_KIND] = SNAP_ROOT_RUNTIME;
    row[SNAP_ROOT_COL_TARGET] = sessions;
    row[SNAP_ROOT_COL_NAME] = string("server.sessions");
    add(SNAP_TABLE_ROOT, row);
}

int main(int argc, char **argv) {
    if (argc != 2) {
        fprintf(stderr, "usage: custom_runtime FILE.snap\n");
        return 2;
    }
    const snap_writer_options options = {.struct_size = sizeof options, .overwrite = 1};
    check(snap_writer_open_file(&w, argv[1], &options, &err));

    /* What the snapshot is of comes first. */
    check(snap_writer_meta_text(w, SNAP_META_WRITER, "custom_runtime 1.0", &err));
    check(snap_writer_meta_number(w, SNAP_META_PID, (uint64_t)getpid(), &err));
    check(snap_writer_meta_number(w, SNAP_META_SEQUENCE, 1, &err));
    check(snap_writer_meta_text(w, SNAP_META_LABEL, "after 1000 sessions", &err));
    check(snap_writer_meta_named(w, SNAP_META_USER, "sessions", N_SESSIONS, &err));

    write_heap();

    /* Only now does the file get its name. */
    check(snap_writer_finish(w, &err));
    printf("%llu bytes\n", (unsigned long long)snap_writer_bytes(w));
    snap_writer_close(w);
    return 0;
}
