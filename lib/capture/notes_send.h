/* What the program said, and what the C library and the kernel know of callbacks, as sections of
 * the capture stream. */
#ifndef HEAPSNAP_NOTES_SEND_H
#define HEAPSNAP_NOTES_SEND_H

#include <stddef.h>
#include <stdint.h>

enum { NOTES_SIGNALS = 65 };

struct notes_sink {
    void *context;
    int (*put)(void *context, uint32_t kind, uint32_t n, const void *data, size_t bytes);
    /* Id of a recorder's stack in the stream. */
    uint32_t (*stack)(void *context, uint32_t stack);
    /* The node that holds an address, 0: none. */
    uint32_t (*find)(void *context, uint64_t address, uint64_t *out_offset);
    /* Reads the target's memory: how much could be. */
    size_t (*read)(void *context, uint64_t address, void *out, size_t size);
    uint64_t signals[NOTES_SIGNALS];      /* handlers by number; 0: none of the program's */
    uint32_t n_strings, n_types, n_pools; /* ids given out so far; counted on */
    uint32_t n_blocks;                    /* nodes that are blocks */

    uint32_t names, types, pools; /* first ids of ours, less 1; used by these functions */
};

/* Where the C library keeps the destructors of pthread keys; when the recorder starts. */
void notes_find_keys(void);
/* What the target does with signals; before anything is changed. */
void notes_read_signals(uint64_t signals[NOTES_SIGNALS]);

/* Stacks that the sections will refer to. */
void notes_stacks(void (*use)(void *context, uint32_t stack), void *context);

/* Strings, types and pools: while nodes may still be sent. */
void notes_send_names(struct notes_sink *s);
/* All that refers to nodes. References have blocks as sources only, so they come before those of
 * other nodes. */
void notes_send_facts(struct notes_sink *s);

#endif
