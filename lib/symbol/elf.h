/* ELF files as tables of sections: little-endian, 64 bits, any content. */
#ifndef HEAPSNAP_SYMBOL_ELF_H
#define HEAPSNAP_SYMBOL_ELF_H

#include <stddef.h>
#include <stdint.h>

#define ELF_BUILD_ID_MAX 64

struct elf_section {
    const char *name; /* "" if the file has no names */
    uint32_t type;
    uint32_t link;
    uint64_t flags;
    uint64_t address;
    uint64_t offset;
    uint64_t size; /* in the file; 0 for sections without bytes. offset + size is within the file */
    uint64_t memory_size; /* as the header says */
    uint64_t entry_size;
};

struct elf_file {
    int fd;
    uint64_t size;
    uint16_t type; /* ET_* */
    uint16_t machine;
    uint32_t n_sections;
    struct elf_section *sections;
    char *names;
    const uint8_t *map; /* NULL until elf_map */
    size_t n_build_id;  /* 0: none */
    uint8_t build_id[ELF_BUILD_ID_MAX];
};

/* A section's bytes, decompressed. */
struct elf_bytes {
    const uint8_t *data;
    size_t size;
    void *owned; /* NULL: borrowed from the mapping */
};

/* Opens and reads the headers. 1: opened, 0: missing, no regular file or no ELF file of this kind,
 * or SNAP_E_NOMEM. Damaged parts are left out, never reported. */
int elf_open(struct elf_file *out, const char *path);
void elf_close(struct elf_file *elf);

/* Maps the whole file, so that elf_read borrows from it. A file that shrinks afterwards kills the
 * process: only for one that may die. 1 or 0. */
int elf_map(struct elf_file *elf);

/* The first section of that name that has bytes; NULL if there is none. */
const struct elf_section *elf_find(const struct elf_file *elf, const char *name);

/* Reads a section, at most limit bytes decompressed. Owned data is followed by a NUL byte. 1 or 0
 * (too large, damaged, short file, memory). */
int elf_read(const struct elf_file *elf, const struct elf_section *section, uint64_t limit,
             struct elf_bytes *out);
void elf_bytes_release(struct elf_bytes *bytes);

/* Inflates a section that starts with an Elf64_Chdr into size bytes. 1 or 0. A type that was not
 * built in: 0. */
int elf_inflate(uint32_t type, const uint8_t *from, size_t from_size, uint8_t *to, size_t to_size);

/* Whether the build id is that of the hexadecimal text, in either case. */
int elf_build_id_is(const struct elf_file *elf, const char *hex);

#endif
