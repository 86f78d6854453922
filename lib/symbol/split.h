/* Range lists and addresses of split DWARF 5 units, which libdwarf before 0.4 does not read well.
 */
#ifndef HEAPSNAP_SYMBOL_SPLIT_H
#define HEAPSNAP_SYMBOL_SPLIT_H

#include "symbol/elf.h"

/* The sections that a unit of a .dwo file draws on. */
struct split {
    struct elf_bytes lists;     /* .debug_rnglists.dwo; its first table is the unit's */
    struct elf_bytes offsets;   /* .debug_str_offsets.dwo, likewise */
    struct elf_bytes strings;   /* .debug_str.dwo */
    struct elf_bytes addresses; /* .debug_addr of the file that has the skeleton */
    uint64_t addresses_base;    /* of the unit, in .debug_addr */
    uint64_t base;              /* the unit's low_pc */
};

/* Calls add(context, low, high) for each range of list number `index` until it returns 0. 1, or 0
 * if the list is damaged; what comes before the damage has been added. */
int split_ranges(const struct split *from, uint64_t index,
                 int (*add)(void *context, uint64_t low, uint64_t high), void *context);

/* Address number `index` of the unit. 1, or 0 if there is none. */
int split_address(const struct split *from, uint64_t index, uint64_t *out);

/* String number `index`; NULL if there is none. Borrowed from the section. */
const char *split_string(const struct split *from, uint64_t index);

#endif
