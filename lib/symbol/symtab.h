/* Symbol tables of ELF files: the function at an address. */
#ifndef HEAPSNAP_SYMBOL_SYMTAB_H
#define HEAPSNAP_SYMBOL_SYMTAB_H

#include "symbol/elf.h"

struct symtab_entry {
    uint64_t start;
    uint64_t end;     /* of its size, or of what it may cover if it has none */
    const char *name; /* mangled, without version; lives as long as the table */
    uint8_t has_size;
    uint8_t rank;   /* lower is better among those with one start */
    uint8_t source; /* SNAP_SYMB_* */
    uint8_t is_plt; /* name is of the function that the entry jumps to */
};

struct symtab {
    struct symtab_entry *entries; /* by start, then best first */
    uint64_t *max_ends;           /* [i]: largest end of the sized entries 0..i */
    size_t n;
    size_t capacity;
    size_t bytes; /* all memory held */
    struct elf_bytes strings[8];
    size_t n_strings;
};

/* Adds the functions of one section of type SHT_SYMTAB or SHT_DYNSYM. 1, 0 (nothing usable) or
 * SNAP_E_NOMEM. */
int symtab_add(struct symtab *table, const struct elf_file *elf, const struct elf_section *section,
               uint8_t source);

/* Adds the entries of procedure linkage tables (x86-64). As above. */
int symtab_add_plt(struct symtab *table, const struct elf_file *elf);

/* To be called once after the last addition and before the first lookup. 1 or SNAP_E_NOMEM. */
int symtab_finish(struct symtab *table);
const struct symtab_entry *symtab_find(const struct symtab *table, uint64_t address);
void symtab_release(struct symtab *table);

#endif
