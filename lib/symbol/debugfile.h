/* Separate debug files: where they lie and whether they belong to a module. */
#ifndef HEAPSNAP_SYMBOL_DEBUGFILE_H
#define HEAPSNAP_SYMBOL_DEBUGFILE_H

#include "symbol/elf.h"

/* Finds and opens the debug file of a module by its build id (bytes; may be 0 long), then by its
 * .gnu_debuglink (elf may be NULL: build id only). Only a file with the same build id, or without
 * one but with the right checksum, is taken. dirs: NULL-terminated. 1 and *out open, *out_path
 * (malloc); 0; or SNAP_E_NOMEM. */
int debugfile_open(struct elf_file *out, char **out_path, const char *path,
                   const struct elf_file *elf, const uint8_t *build_id, size_t n_build_id,
                   const char *const *dirs);

/* The same for the file that .gnu_debugaltlink of a debug file names (made by dwz). */
int debugfile_open_alt(struct elf_file *out, const char *path, const struct elf_file *elf,
                       const char *const *dirs);

#endif
