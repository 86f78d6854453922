/* Memory of the library: allocation with checked sizes, growing arrays, and an arena. Not for the
 * recorder, which never calls malloc. */
#ifndef HEAPSNAP_MEM_H
#define HEAPSNAP_MEM_H

#include <stddef.h>
#include <stdint.h>

/* n * size bytes, zeroed or not; NULL when there is no memory or the product overflows. Freed with
 * free(). */
void *mem_alloc(size_t n, size_t size);
void *mem_zalloc(size_t n, size_t size);

/* Makes *array hold at least need elements of `size` bytes, growing by half; *capacity counts
 * elements. Returns 0, or -1 with everything as it was. */
int mem_grow(void *array, size_t *capacity, size_t need, size_t size);

/* Allocations that are freed all at once. Blocks are stable: an address handed out stays good until
 * arena_release. */
struct arena {
    struct arena_block *block;
    size_t used, capacity;
    uint64_t bytes; /* taken from the system so far */
};

void arena_init(struct arena *a);
void arena_release(struct arena *a);
void *arena_alloc(struct arena *a, size_t size); /* aligned to 8; NULL: no memory */
void *arena_bytes(struct arena *a, size_t size); /* not aligned, for text */
char *arena_string(struct arena *a, const char *text, size_t length); /* NUL-terminated copy */

#endif
