/* What the program itself says about its memory (heapsnap/annotate.h), and its exit handlers.
 *
 * Kept in hash tables of the recorder's own memory, each a shard under a lock of its own, and
 * changed only between hook_enter and hook_leave: so they hold still whenever the live table does.
 * A note is bound to the births of the blocks it speaks of. Freeing such a block does nothing here:
 * notes whose block is gone are left out when they are read, and dropped when a shard is full. */
#ifndef HEAPSNAP_NOTES_H
#define HEAPSNAP_NOTES_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "capture/stacks.h"

enum note_kind {
    NOTE_FREE,
    NOTE_GONE, /* a place that searches pass over */
    NOTE_TYPE,
    NOTE_EDGE,
    NOTE_ROOT,
    NOTE_REGION,
    NOTE_HOOK,
    NOTE_RANGE, /* memory of a pool */
    NOTE_BLOCK, /* of a pool */
    NOTE_EXIT   /* handlers of one function of one image */
};

struct note {
    _Atomic uint32_t kind; /* set last, cleared first */
    uint32_t name;         /* 0: none */
    uint64_t a;            /* address; hook: id; exit: function */
    uint64_t b;       /* edge: target; region, range, block: size; hook: function; exit: image */
    uint64_t birth_a; /* of the block that holds a; 0: none */
    uint64_t birth_b; /* of the block that holds b, or the hook's argument; range: serial of the
                       * device memory that holds it */
    uint32_t stack;
    uint32_t pool;  /* range, block: its index + 1; exit: how many handlers */
    uint64_t birth; /* of hook, range, block, exit */
    uint64_t
        extra; /* hook: argument; range: serial of the pool; block: its epoch; exit: argument */
};

struct note_pool {
    uint64_t serial; /* 0: free */
    uint64_t epoch;  /* blocks of another one are gone */
    uint64_t birth;
    uint32_t name, stack;
};

/* The following read; call them frozen or in a copy. fn returns other than 0 to stop. */
int notes_for_each(int (*fn)(void *context, const struct note *note), void *context);
/* 1 to notes_n_pools(); serial 0: none. */
uint32_t notes_n_pools(void);
struct note_pool notes_pool(uint32_t pool);
/* Names: 1 to notes_n_names(). */
uint32_t notes_n_names(void);
const char *notes_name(uint32_t name, uint32_t *out_length);
/* Whether a range or block belongs to a pool that still has it. */
bool notes_is_of_pool(const struct note *note);
uint64_t notes_dropped(void);

/* What snap_type and so on do, said by someone else: where and in whose name is `start`. */
struct snap_annotation;
int64_t notes_annotate(const struct snap_annotation *annotation, const struct stack_start *start);
/* Id of the pool that has memory which starts at an address; 0: none. */
uint64_t notes_pool_at(uint64_t start);
/* A block of a pool, if it is one, has another size now. */
void notes_block_resize(uint64_t address, uint64_t size_bytes);
/* Something was said that cannot be kept. */
void notes_not_kept(void);

/* Birth of the block of a pool or of malloc that holds an address; 0: none does. */
uint64_t notes_birth_at(uint64_t address);
/* Only of malloc. */
uint64_t notes_malloc_birth_at(uint64_t address);
/* Serial of the device memory that holds an address, 0: none does. NULL where none is recorded. */
extern uint64_t (*notes_device_at)(uint64_t address, bool try)
    __attribute__((visibility("hidden")));

/* --- pools as they are: notes_blocks.c --- */

/* A block of a pool, and memory of one. */
struct note_block {
    uint64_t address, size, birth;
    uint32_t stack, pool;
    uint64_t device; /* serial of the device memory that it is in; 0: it is in none */
};
struct note_range {
    uint64_t start, end, birth;
    uint32_t stack, pool;
    uint64_t device;
    uint64_t live, largest_gap; /* of its blocks */
};
struct note_places {
    struct note_block *blocks; /* ascending, disjoint */
    struct note_range *ranges; /* ascending */
    uint32_t n_blocks, n_ranges;
    uint8_t *has_blocks; /* by pool - 1 */
    /* In device memory, when they were put there: apart from those above. */
    struct note_block *device_blocks;
    uint32_t n_device_blocks;
    uint8_t *is_device; /* by pool - 1: all of its ranges are there */
};
/* Makes the lists above, and from now on recorder_for_each_block tells of the blocks of pools in
 * place of the blocks of malloc that are their memory. Frozen or in a copy; once, then release. */
int notes_places_make(void);
const struct note_places *notes_places(void); /* NULL: not made, or no pool has anything */
void notes_places_release(void);

/* The first place that has not been passed. */
struct note_cursor {
    uint32_t block, range;
};
/* The next block of a pool that starts before an address, NULL: none does. */
const struct note_block *notes_next_block(struct note_cursor *cursor, uint64_t before);
/* Whether a block of malloc is the memory of a pool that hands out blocks; addresses ascend. */
bool notes_is_memory(struct note_cursor *cursor, uint64_t address, uint64_t size);

/* Sorts n keyed items by the low `bits` of their keys, stably; `other` is room for as many. The
 * result is in `items`. */
struct note_key {
    uint64_t key;
    uint32_t index, unused;
};
void notes_sort(struct note_key *items, struct note_key *other, size_t n, unsigned bits);

/* An exit handler is registered; and after dlclose, those of images that are gone go. */
void notes_exit_add(uint64_t function, uint64_t argument, uint64_t image,
                    const struct stack_start *start);
void notes_after_dlclose(void);

void notes_after_fork_child(void);

#endif
