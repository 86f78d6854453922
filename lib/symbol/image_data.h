/* Data of loaded images as their files describe it without DWARF: variables by symbol tables,
 * sections, and the words that are filled before the program starts. */
#ifndef HEAPSNAP_SYMBOL_IMAGE_DATA_H
#define HEAPSNAP_SYMBOL_IMAGE_DATA_H

#include "base/mem.h"
#include "symbol/elf.h"

/* A variable: addresses as in the file; of thread-local ones offsets in the image's block. */
struct image_object {
    uint64_t start, end;
    const char *name; /* readable: demangled, without a compiler's suffixes */
    uint8_t rank;     /* lower is better among those with one start */
    uint8_t source;   /* SNAP_SYMB_* */
};

struct image_section {
    uint64_t start, end;
    const char *name;
};

struct image_objects {
    struct image_object *all;
    uint64_t *max_ends; /* [i]: largest end of 0..i */
    size_t n, capacity;
};

struct image_data {
    struct arena arena;
    struct image_objects objects, locals; /* locals: of thread-local storage */
    struct image_section *sections;       /* writable ones, ascending */
    size_t n_sections, sections_capacity;
};

/* Adds the variables of one section of type SHT_SYMTAB or SHT_DYNSYM. Damage is left out. 0 or
 * SNAP_E_NOMEM. */
int image_data_add(struct image_data *d, const struct elf_file *elf,
                   const struct elf_section *symbols, uint8_t source);
int image_data_add_sections(struct image_data *d, const struct elf_file *elf);
/* Once, after the last addition. */
int image_data_finish(struct image_data *d);
void image_data_release(struct image_data *d);

/* What holds an address; NULL: none. O(log n). */
const struct image_object *image_data_object(const struct image_data *d, uint64_t address);
const struct image_object *image_data_local(const struct image_data *d, uint64_t offset);
const struct image_section *image_data_section(const struct image_data *d, uint64_t address);

/* What a word held when the program started. */
enum image_word_kind {
    IMAGE_WORD_FREE = 0, /* nothing that points */
    IMAGE_WORD_ADDRESS,  /* address of the image, as in the file */
    IMAGE_WORD_LINKED    /* the loader put something there: an address of another image, a copy */
};
struct image_word {
    uint64_t start, end; /* of a copy more than 8 bytes */
    uint64_t value;
    uint64_t kind;
};
struct image_words {
    struct image_word *all;
    size_t n, capacity;
    struct elf_bytes contents[8]; /* of an image that is loaded where it was linked: no relocation
                                     says what points */
    uint64_t starts[8];
    size_t n_contents;
};

int image_words_load(struct image_words *w, const struct elf_file *elf);
void image_words_release(struct image_words *w);
enum image_word_kind image_words_find(const struct image_words *w, uint64_t address,
                                      uint64_t *out_value);

#endif
