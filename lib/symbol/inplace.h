/* Symbols of memory that stands in the place of a pointer: LLVM makes a variable NAME.body of the
 * one allocation that a global pointer NAME is ever set to, and debug information says no address
 * of either. */
#ifndef HEAPSNAP_SYMBOL_INPLACE_H
#define HEAPSNAP_SYMBOL_INPLACE_H

#include "base/map.h"
#include "symbol/elf.h"

struct inplace_symbol {
    uint64_t address, size; /* as in the file */
    uint64_t owner;         /* for the caller; 0 first */
    uint32_t next;          /* + 1: the next of its hash */
    const char *name;       /* of the pointer, mangled if it can be, not NUL-terminated; a local
                               variable's has its function's before it: "main.cache" */
    size_t length;
};

struct inplace_symbols {
    struct inplace_symbol *all;
    size_t n, capacity;
    struct map by_name;
    struct elf_bytes strings;
};

/* Zeroed storage is empty. 1 or 0: no memory. */
int inplace_load(struct inplace_symbols *s, const struct elf_file *elf);
void inplace_release(struct inplace_symbols *s);

/* The first symbol of a pointer, or the next one after `index`; names of local variables are
 * without their functions. Returns an index + 1, 0: none (left). To begin with, index + 1 is 0. */
uint32_t inplace_find(const struct inplace_symbols *s, const char *name, int is_local,
                      uint32_t after);

#endif
