/* Interned strings: each text once, with ids 1, 2, 3, ... in the order of first use; 0 is "". */
#ifndef HEAPSNAP_STRTAB_H
#define HEAPSNAP_STRTAB_H

#include "base/mem.h"

struct strtab {
    struct arena arena;
    const char **text; /* by id - 1, NUL-terminated */
    uint32_t *length;
    size_t text_capacity, length_capacity;
    uint32_t n;
    uint32_t *slots; /* id, 0: free */
    uint64_t *hashes;
    size_t mask;
};

void strtab_init(struct strtab *t);
void strtab_release(struct strtab *t);

/* Id of a text; *is_new (may be NULL) says whether it was added. Returns 0, or -1 without memory or
 * ids. */
int strtab_intern(struct strtab *t, const char *text, size_t length, uint32_t *out_id, int *is_new);

/* Borrowed until strtab_release; "" for id 0. id is at most n. */
const char *strtab_text(const struct strtab *t, uint32_t id, size_t *out_length);

/* The hash that strings are known by across files (XXH3); 0 for "". */
uint64_t strtab_key(const char *text, size_t length);

#endif
