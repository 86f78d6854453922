/* What the copy of a process asks of a managed runtime in it: which objects there are, what they
 * refer to, what holds them.
 *
 * A walker (lib/python for CPython) runs where the capture stream is made: in a copy of the process
 * whose other threads do not exist and whose locks may be held by them. It calls neither malloc nor
 * the runtime, only reads, and survives objects that are in the making or broken. Objects take part
 * in the stream as NODE records; the ids of everything in a stream count on, so a walker is told
 * how many there are already. */
#ifndef HEAPSNAP_MANAGED_H
#define HEAPSNAP_MANAGED_H

#include <stddef.h>
#include <stdint.h>

#define MANAGED_VERSION 5u

/* Where a walker's sections go. */
struct managed_sink {
    void *context;
    /* Takes a section of the capture stream (model/wire.h): 0, or negative: stop. */
    int (*section)(void *context, uint32_t kind, uint32_t n, const void *data, size_t bytes);
    /* Takes a counter for META: key SNAP_META_PROCESS or SNAP_META_COMPLETENESS. */
    void (*counter)(void *context, uint32_t key, const char *name, uint64_t value);
    /* The stream's id of a thread, 0: it has none. */
    uint32_t (*thread)(void *context, uint32_t tid);
    /* Numbers given out so far in the stream; the walker counts on. */
    uint32_t n_nodes, n_strings, n_types, n_frames, n_roots;
    uint64_t block_bytes; /* of the blocks that the walker has sent */
};

struct managed_object {
    uint64_t address, size;
    uint32_t flags, reserved; /* MANAGED_* */
};
enum {
    MANAGED_HIDDEN = 1,  /* somebody that the walker does not know holds a reference */
    MANAGED_READABLE = 2 /* may hold addresses of native memory */
};

/* A block of malloc, by its number in the stream. */
struct managed_block {
    uint64_t address;
    uint32_t node, reserved;
};

struct managed_walk;

struct managed_walker {
    uint32_t version;    /* MANAGED_VERSION */
    const char *runtime; /* such as "CPython 3.11" */
    /* In the copy, before all else. From room_start to room_end are addresses for the walker's own
     * memory, where nobody takes it for the program's; both 0: anywhere. is_shared: the memory is
     * the program's own, in which nothing may be changed. */
    void (*enter)(uint64_t room_start, uint64_t room_end, int is_shared);
    /* Finds all objects. NULL: the runtime is not up, or there is no memory. has_blocks: somebody
     * else tells of all blocks of malloc, and memory that objects have from it is not counted with
     * them; otherwise the walker looks for what native memory its objects lead to. */
    struct managed_walk *(*open)(int has_blocks);
    /* The nodes that it will send, in the order in which it will send them. */
    size_t (*objects)(const struct managed_walk *walk, const struct managed_object **out);
    /* In this order. 0, or what the sink returned, or -ENOMEM. */
    int (*send_counters)(struct managed_walk *walk, struct managed_sink *sink);
    int (*send_blocks)(struct managed_walk *walk, struct managed_sink *sink); /* not has_blocks */
    int (*send_nodes)(struct managed_walk *walk, struct managed_sink *sink);
    int (*send_references)(struct managed_walk *walk, struct managed_sink *sink);
    /* held[i]: who holds object i has been found in native memory; NULL: nobody has looked. */
    int (*send_roots)(struct managed_walk *walk, struct managed_sink *sink, const uint8_t *held);
    /* What blocks are that the runtime's objects stand for, or might: blocks of label_size() bytes
     * and more come into question, not many more; 0: none do. Ascending by node; without has_blocks
     * none are given, and the walker's own are looked at. */
    uint64_t (*label_size)(const struct managed_walk *walk);
    int (*send_labels)(struct managed_walk *walk, struct managed_sink *sink,
                       const struct managed_block *blocks, size_t n);
    void (*close)(struct managed_walk *walk);

    /* --- in the living process --- */

    /* Before the runtime has been started. at_end (or NULL): to be called when the program has
     * ended, by a thread that holds the runtime, before its objects are taken apart. */
    void (*start)(void (*at_end)(void));
    /* Whether no thread holds the runtime: then all objects are whole. Async-signal-safe. */
    int (*is_free)(void);
    /* The same, in the copy, and of all of the runtime's parts; a part that the calling thread
     * holds is no obstacle if is_caller_fine. */
    int (*is_whole)(int is_caller_fine);
    /* Has fn called soon, by a thread that holds the runtime and between two steps of the program.
     * 0, or -1: not now. Async-signal-safe. */
    int (*call)(int (*fn)(void *), void *argument);
};

/* Name of the walker in a library that has one. */
#define MANAGED_WALKER_NAME "heapsnap_walker"

#endif
