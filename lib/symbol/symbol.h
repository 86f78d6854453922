/* Names of code positions: module file and offset in, functions, files and lines out, inlined ones
 * expanded.
 *
 * Called by the process that writes a file (never in the target). Opens modules by path, finds
 * separate debug files by .gnu_debuglink and build-id directories, falls back from DWARF to .symtab
 * to .dynsym, and refuses a file whose build id is not the one given. Caches per module; built for
 * thousands of offsets in each of hundreds of modules. Not thread-safe. */
#ifndef HEAPSNAP_SYMBOL_H
#define HEAPSNAP_SYMBOL_H

#include <heapsnap/common.h>

struct symbolizer;

struct symbolizer_options {
    const char *const *debug_dirs; /* NULL-terminated; NULL: {"/usr/lib/debug", NULL} and
                                      $HEAPSNAP_DEBUG_DIRS (colons) */
    int no_dwarf;                  /* 1: symbol tables only */
    uint64_t max_module_ns;        /* time budget per module for line information; 0: 2 s. Past it:
                                      function names only */
};

/* Position 0 is the innermost inlined function. Strings live as long as the symbolizer. */
struct symbol_position {
    const char *function; /* demangled; "" if unknown */
    const char *file;     /* "" if unknown */
    uint32_t line;
    uint32_t source; /* SNAP_SYMB_* */
};

int symbolizer_new(struct symbolizer **out, const struct symbolizer_options *options,
                   snap_error *err);
void symbolizer_free(struct symbolizer *s);

/* A module; build_id is lower-case hex or NULL (then not compared). *out_module is a handle for
 * lookups. A file that is missing or is no ELF file is not an error: lookups then find nothing. */
int symbolizer_module(struct symbolizer *s, const char *path, const char *build_id,
                      uint32_t *out_module, snap_error *err);

/* Looks up n ELF virtual addresses (already the ones to look up: return address - 1), ascending, in
 * one module. emit is called for each address with n_positions >= 0 positions. Batched so that each
 * DWARF unit is read once. */
int symbolizer_lookup(struct symbolizer *s, uint32_t module, const uint64_t *offsets, size_t n,
                      void (*emit)(void *context, size_t index,
                                   const struct symbol_position *positions, size_t n_positions),
                      void *context, snap_error *err);

/* Variables of a module by its symbol tables, and the words that its file or the loader filled, as
 * far as its files are there: empty ones otherwise. Read once, borrowed until symbolizer_free. */
struct image_data;
struct image_words;
int symbolizer_data(struct symbolizer *s, uint32_t module, const struct image_data **out,
                    snap_error *err);
int symbolizer_words(struct symbolizer *s, uint32_t module, const struct image_words **out,
                     snap_error *err);

/* Opens the file that has a module's DWARF, the module's own or its separate debug file. *out_path:
 * malloc. 1, 0 if there is none or lines are not wanted, or SNAP_E_NOMEM. */
struct elf_file;
int symbolizer_open_dwarf(struct symbolizer *s, uint32_t module, struct elf_file *out,
                          char **out_path);

/* Where debug files are looked for; NULL-terminated. */
const char *const *symbolizer_debug_dirs(const struct symbolizer *s);

#endif
