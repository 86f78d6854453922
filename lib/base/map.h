/* Hash table from 64-bit keys to 32-bit values that are not 0. Open addressing, grows at two thirds
 * full, no removal. */
#ifndef HEAPSNAP_MAP_H
#define HEAPSNAP_MAP_H

#include <stddef.h>
#include <stdint.h>

struct map {
    uint64_t *keys;
    uint32_t *values; /* 0: free */
    size_t mask, n;
};

void map_init(struct map *m);
void map_release(struct map *m);
void map_clear(struct map *m); /* keeps the memory */

/* Value of a key, 0 if absent. */
uint32_t map_get(const struct map *m, uint64_t key);

/* Place of the key's value, made with 0 if absent; the caller stores a value other than 0 before
 * the next call. NULL: no memory. */
uint32_t *map_slot(struct map *m, uint64_t key);

#endif
