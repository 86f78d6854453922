/* Distinct strings that live as long as their set. */
#ifndef HEAPSNAP_SYMBOL_STRINGS_H
#define HEAPSNAP_SYMBOL_STRINGS_H

#include <stddef.h>
#include <stdint.h>

struct strings {
    struct strings_block *blocks;
    const char **slots;
    size_t capacity; /* 0 or a power of two */
    size_t n;
};

/* The one copy of a text; NULL: no memory. */
const char *strings_add(struct strings *set, const char *text, size_t length);
void strings_release(struct strings *set);

#endif
