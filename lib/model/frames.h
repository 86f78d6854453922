/* Stacks and code positions of a snapshot: their rows and names, and the label of a block by the
 * function that allocated it. */
#ifndef HEAPSNAP_FRAMES_H
#define HEAPSNAP_FRAMES_H

#include <heapsnap/writer.h>

#include "model/heap.h"
#include "model/wire.h"

struct frames {
    struct wire_stack *stacks; /* of heap_grow */
    size_t stacks_capacity;
    uint32_t n_stacks;
    struct wire_managed_frame *managed; /* of heap_grow; strings are the heap's */
    size_t managed_capacity;
    uint32_t n_managed;

    uint32_t *stack_frames;   /* by stack: frame */
    uint32_t *stack_managed;  /* by stack: that of its innermost frame of a managed runtime, or 0 */
    uint32_t *stack_types;    /* by stack: type + 1, once looked up */
    uint32_t *position_types; /* by frame: type + 1, once looked up */
};

/* Gives each position of stacks, threads' frames and functions its row of FRAM. */
int frames_collect(struct frames *f, struct heap *h, snap_error *err);

/* Finds out the names, and writes FRAM, SYMB and STAK. */
int frames_name(struct frames *f, struct heap *h, snap_writer *w, void (*progress)(void *context),
                void *context, snap_error *err);

/* The frame of a managed frame's id. */
uint32_t frames_managed(const struct frames *f, const struct heap *h, uint32_t managed);

/* Whether an image is the CUDA driver, its runtime, or the recorder: what it allocates, it
 * allocates for others. */
int frames_is_service(const struct heap *h, uint32_t module);
/* The image that a stack works for: that of its innermost frame outside of such images; 0: none. */
uint32_t frames_owner(const struct frames *f, const struct heap *h, uint32_t stack);
/* The image of a stack's innermost frame; 0: none. */
uint32_t frames_innermost(const struct frames *f, const struct heap *h, uint32_t stack);

/* *out[stack - 1]: whether what the stack made was made by an initialiser: of an image that the
 * loader was loading, or of a library's or extension module that Python was importing. After
 * frames_name. The caller frees it. */
int frames_find_initial(const struct frames *f, const struct heap *h, uint8_t **out,
                        snap_error *err);

/* Types the nodes that have none by the function that allocated them. */
int frames_type_sites(struct frames *f, struct heap *h, snap_error *err);
void frames_release(struct frames *f);

#endif
