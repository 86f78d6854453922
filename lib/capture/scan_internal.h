/* What the parts of the scan share. */
#ifndef HEAPSNAP_SCAN_INTERNAL_H
#define HEAPSNAP_SCAN_INTERNAL_H

#include <stdatomic.h>

#include "capture/park.h"
#include "capture/scan.h"
#include "capture/scan_table.h"
#include "model/wire.h"

enum {
    SCAN_WORDS_MAX = 256, /* candidates looked up together */
    SCAN_SHARD_BYTES = 512 << 10,
    SCAN_SHARD_ENTRIES = 16 << 10,
    SCAN_WORKERS_MAX = 4, /* with the one that sends */
    SCAN_SLOTS = 3 * SCAN_WORKERS_MAX,
    SCAN_CACHE_BITS = 12
};

/* A word whose value may be an address of interest. */
struct scan_word {
    uint64_t value;
    uint32_t node; /* that it stands in; 0: none, a root */
    uint32_t word; /* offset / 8 */
};

/* A word that holds the start of a function, or the address of a virtual table. */
struct scan_pointer {
    uint64_t value;
    uint32_t node, word;
};

/* What a pass over some memory has found, in the order of the memory. The arrays are large enough
 * for whatever that memory holds. */
struct scan_found {
    struct wire_edge *edges;
    struct scan_pointer *codes, *vptrs;
    uint32_t n_edges, n_codes, n_vptrs;
    uint64_t unread_bytes;
};

/* A part of a loaded image. */
struct scan_range {
    uint64_t start, end;
    uint32_t image;
    uint32_t is_code;
};

struct scan_image {
    uint64_t start, end;
    const unsigned char *unwind_table; /* .eh_frame_hdr */
    const int32_t *starts;             /* its sorted pairs */
    uint32_t n_starts;
    int has_looked;
    uint64_t slots_start, slots_end; /* of the procedure linkage table */
    int is_own;                      /* the recorder's */
    uint32_t module;                 /* in the stream */
    uint32_t local_number;           /* of its thread-local variables; 0: unknown, or none */
    uint64_t local_bytes;
};

/* Memory that can be read, and how: see scan_memory.c. */
struct scan_segment {
    uint64_t start, end;
    uint32_t is_file;
    uint32_t kind, is_known, is_writable; /* for roots */
};

/* One that scans: its state is its own. */
struct scan_worker {
    struct scan *scan;
    uint32_t number;
    int pid;
    _Atomic int tid;
    int pagemap;
    struct scan_found *found;
    struct scan_word words[SCAN_WORDS_MAX + 16];
    uint32_t n_words;
    int is_careful;
    volatile int is_armed;
    void *jump[5];
    /* Values that were looked up: value << 2 | answer, 0: empty. */
    uint64_t functions[1 << SCAN_CACHE_BITS], vtables[1 << SCAN_CACHE_BITS];
};

struct scan_shard {
    const struct scan_entry *first, *end;
    uint64_t offset, size; /* of the only entry; size 0: all of them whole */
};

enum { SCAN_SLOT_FREE, SCAN_SLOT_TAKEN, SCAN_SLOT_DONE };

struct scan_slot {
    _Atomic uint64_t state; /* shard << 8 | worker << 4 | SCAN_SLOT_* */
    struct scan_found found;
};

struct scan_map { /* from addresses to ids */
    struct entry_of_map {
        uint64_t key;
        uint32_t value, unused;
    } * entries;
    size_t size; /* a power of two */
    uint32_t n;
};

struct scan {
    struct scan_sink sink;
    int error; /* of the sink */
    uint32_t n_blocks;
    uint64_t n_edges, n_roots, unread_bytes;
    struct scan_table table;

    const struct scan_target *targets;
    size_t n_targets, next_target;
    struct scan_array target_entries; /* those that are read, in the order of nodes */

    struct scan_array images, ranges, globals; /* globals: struct scan_range */
    struct scan_array segments;
    struct scan_array own;    /* struct scan_range: memory of the recorder */
    struct scan_array layout; /* struct scan_thread, one per thread */
    struct scan_array locals; /* struct scan_local */
    struct scan_array stale;  /* struct scan_range: parts of stacks that hold no live words */

    const struct park_thread *threads;
    uint32_t n_threads;

    struct scan_array shards;
    uint64_t n_shards;
    _Atomic uint64_t n_sent;
    _Atomic uint32_t turn; /* changes when a slot does; a futex */
    _Atomic int is_over;
    struct scan_slot slots[SCAN_SLOTS];
    uint32_t n_workers; /* besides the one that sends, which is number 0 */
    struct scan_worker *workers[SCAN_WORKERS_MAX];
    char *stacks;

    struct scan_map function_ids, vtable_ids;
    struct scan_array scratch, roots;
};

/* Where a thread's memory is; ranges are empty where unknown. */
struct scan_thread {
    uint64_t stack_start, stack_end; /* what is in use */
    uint64_t local_start, local_end; /* thread-local storage and the thread's control block */
    uint64_t block;                  /* the control block */
    uint64_t area_start, area_end;   /* the whole mapping that the C library gave the thread */
    int is_foreign;                  /* the stack pointer is on no stack that the library gave */
};

/* Thread-local variables that a thread does not have with its others. */
struct scan_local {
    uint64_t start, end;
    uint32_t thread;
};

/* Does not look at the sink's result: s->error keeps it. */
int scan_put(struct scan *s, uint32_t kind, uint32_t n, const void *data, size_t bytes);
/* Sends words that hold starts of functions; offsets of those in no node count from base. */
void scan_put_codes(struct scan *s, const struct scan_found *f, uint64_t base);
/* Fills w->found by fn, carefully if it has to be; what it cannot read is counted as `bytes`. */
void scan_attempt(struct scan_worker *w, void (*fn)(struct scan_worker *w, const void *context),
                  const void *context, uint64_t bytes);

/* --- scan_words.c --- */

/* Words of blocks that refer to something: appends to w->found. */
void scan_words_entries(struct scan_worker *w, const struct scan_shard *shard);
/* The same for memory that is no node: edges have source 0, offsets count from `start`. At most
 * 8 << 32 bytes. */
void scan_words_range(struct scan_worker *w, uint64_t start, uint64_t end);

/* --- scan_memory.c --- */

int scan_memory_open(struct scan_worker *w);
void scan_memory_close(struct scan_worker *w);
/* Calls fn for the parts of [start, end) that can be read and have been written to; the rest that
 * should have been readable is counted in w->found->unread_bytes. */
void scan_memory_parts(struct scan_worker *w, uint64_t start, uint64_t end,
                       void (*fn)(struct scan_worker *w, void *context, uint64_t start,
                                  uint64_t end),
                       void *context);
/* Whether all of [start, end) can be read right away; *hint is kept by the caller, 0 at first. */
int scan_memory_is_plain(const struct scan *s, uint64_t start, uint64_t end, size_t *hint);
/* Runs fn; 0, or -1 if it touched memory that is not there, and was left where it stood. */
int scan_memory_guard(struct scan_worker *w, void (*fn)(struct scan_worker *w, const void *context),
                      const void *context);
/* The readable mapping that holds an address, NULL: none. */
const struct scan_segment *scan_memory_segment(const struct scan *s, uint64_t address);
/* Handlers for memory that is not there; in every process that scans. */
void scan_memory_catch(struct scan *s);

/* --- scan_images.c --- */

/* Finds the tables of all images; before any of the following. */
void scan_images_look(struct scan *s);
/* What a value that points into a loaded image means. */
int scan_images_is_function(struct scan_worker *w, uint64_t value);
int scan_images_is_vtable(struct scan_worker *w, uint64_t value);
/* Whether an address is in the recorder's own image. */
struct scan_image *scan_images_find(const struct scan *s, uint64_t address);
int scan_images_is_own(const struct scan *s, uint64_t address);
/* Whether a word of a global is a slot that the loader fills. */
int scan_images_is_slot(const struct scan *s, uint64_t address);
/* Appends to s->scratch the records of a virtual table and of the tables of its type_info; returns
 * its id. */
uint32_t scan_images_vtable_id(struct scan *s, uint64_t vtable, uint32_t *n_new);

/* Id of a key; *is_new is set if it had none. 0: no memory. */
uint32_t scan_map_id(struct scan_map *m, uint64_t key, int *is_new);

/* --- scan_malloc.c --- */

/* Where the state of glibc's malloc is among the globals in [start, end); empty if it is not. */
struct scan_range scan_malloc_state(struct scan_worker *w, uint64_t start, uint64_t end);

/* --- scan_roots.c --- */

void scan_roots_globals(struct scan *s, struct scan_worker *w); /* kept in s->roots */
void scan_roots_rest(struct scan *s, struct scan_worker *w);    /* sent */

/* --- scan_mappings.c --- */

/* Calls fn for the parts of writable mappings that are nobody's: no image's, no allocator's, no
 * thread's, not the recorder's. */
void scan_mappings(struct scan *s, void (*fn)(void *context, uint64_t start, uint64_t end),
                   void *context);

/* --- scan_locals.c --- */

/* Sends where threads have the thread-local variables of images; after scan_threads. */
void scan_locals(struct scan_worker *w);

/* --- scan_threads.c --- */

/* Finds s->layout and sends the frames of all stacks. */
void scan_threads(struct scan *s, struct scan_worker *w);
/* The control block of a thread that has ended, if a mapping is its stack, kept by the C library
 * for another; else 0. */
uint64_t scan_threads_dead_block(uint64_t start, uint64_t end);

#endif
