/* Names that were found before, by another process of the same run: files in a private directory,
 * one per build id.
 *
 * A snapshot of a running program looks up mostly what the one before did. Nothing depends on the
 * cache: what cannot be read or written, or does not look right, is as if it were not there. */
#ifndef HEAPSNAP_SYMBOL_CACHE_H
#define HEAPSNAP_SYMBOL_CACHE_H

#include "symbol/strings.h"
#include "symbol/symbol.h"

/* Names of one module. */
struct cache {
    struct cache_entry *entries; /* ascending by offset */
    struct symbol_position *positions;
    size_t n, n_positions, entries_capacity, positions_capacity;
    int has_more; /* than its file */
};

struct cache_entry {
    uint64_t offset;
    uint32_t first, n; /* positions */
};

/* $HEAPSNAP_CACHE if it is a directory that belongs to us alone; else NULL. */
const char *cache_directory(void);

/* Fills an empty cache from its file; texts are kept in `strings`. */
void cache_read(struct cache *c, const char *directory, const char *build_id,
                struct strings *strings);
/* NULL: not known. */
const struct cache_entry *cache_find(const struct cache *c, uint64_t offset);
/* Adds what cache_find does not know, with texts that live as long as the cache; to be followed by
 * cache_write, which sorts. */
void cache_add(struct cache *c, uint64_t offset, const struct symbol_position *positions, size_t n);
/* Sorts, and writes the file if there is more than in it. */
void cache_write(struct cache *c, const char *directory, const char *build_id);
void cache_release(struct cache *c);

#endif
