/* A caching allocator as frameworks have them: segments from the driver, blocks inside them, each
 * block reported to whoever asks. For tests; its books say what is true. */
#ifndef CACHING_H
#define CACHING_H

#include <stddef.h>

/* CACHING=segments (default): cudaMalloc; expandable: one range of addresses, into which memory is
 * mapped as needed; none: every block is cudaMalloc's; async: cudaMallocAsync's. */
void *caching_allocate(size_t size);
void caching_free(void *block);
/* Gives back what nobody uses, but for what graphs hold. */
void caching_empty(void);
/* From now on, or no longer, blocks are captured into a graph and come from segments of its own. */
void caching_capture(int on);

struct caching_stats {
    size_t allocated, reserved; /* bytes in blocks; bytes from the driver */
    size_t returnable;          /* what caching_empty would give back */
    size_t largest_gap;
    size_t private_reserved, private_allocated; /* of these, for graphs */
};
struct caching_stats caching_stats(void);

#endif
