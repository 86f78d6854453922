/* The objects of a managed runtime in a moment: found before the blocks are sent, joined with them
 * by the scan. */
#ifndef HEAPSNAP_OBJECTS_H
#define HEAPSNAP_OBJECTS_H

#include "capture/managed.h"

struct recorder_block;
struct scan_target;

struct object_origin { /* of the block that an object stands in */
    uint64_t birth;
    uint32_t stack, flags; /* in the stream */
};

/* --- in the target --- */

/* Loads the walker for the runtime that the program consists of. NULL, or the version of a runtime
 * that there is none for: its objects are missing in every moment. */
const char *objects_load(void);
/* The functions of struct managed_walker, also where there is none: all is at rest then. */
void objects_start(void (*at_end)(void));
int objects_are_free(void);
int objects_call(int (*fn)(void *), void *argument);

/* --- in the copy --- */

struct objects {
    const struct managed_walker *walker; /* NULL: no runtime, or an unknown one */
    int is_unknown;
    struct managed_walk *walk; /* NULL: it could not be read */
    const struct managed_object *list;
    size_t n;
    struct scan_target *targets; /* n of them, for the scan */
    size_t targets_size;
    uint8_t *held; /* by native memory: one of each object */
    struct object_origin *origins;
    uint32_t n_sent;
    uint32_t n_blocks;
    int is_moving; /* a thread was in the runtime: some objects may be in the middle of a change */
};

/* Whether an image is the walker's: its memory refers to what it has looked at. */
int objects_is_own(uint64_t start, uint64_t end);
/* Finds all objects. is_caller_fine: the thread that was copied holds the runtime, and is not in
 * the middle of a change. */
void objects_open(struct objects *o, int is_caller_fine, int is_shared);
void objects_close(struct objects *o);

/* The first object in a block that objects have taken the place of has its origin. */
void objects_take_block(struct objects *o, const struct recorder_block *block, uint32_t stack);
/* Puts origins into a section of NODE or OBJECT records, in the order in which they are sent. */
void objects_put_origins(struct objects *o, uint32_t kind, uint32_t n, void *records);

/* Takes out of a section of the scan what is not to be sent: references between objects, whose
 * names the walker knows, and words that happen to hold an object's address. Returns the number of
 * records left, at the start of data. */
uint32_t objects_filter(struct objects *o, uint32_t kind, uint32_t n, void *data);

#endif
