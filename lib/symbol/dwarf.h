/* Functions, files and lines from DWARF. */
#ifndef HEAPSNAP_SYMBOL_DWARF_H
#define HEAPSNAP_SYMBOL_DWARF_H

#include "symbol/elf.h"

#define DWARF_TEXT_MAX_BYTES 4096
#define DWARF_FRAMES_MAX 128

struct dwarf_frame {
    const char *function; /* "" if unknown; mangled if is_linkage, else the plain name */
    const char *file;     /* "" if unknown; normalised */
    uint32_t line;        /* 0 if unknown */
    int is_linkage;
};

struct dwarf_request {
    struct elf_file *elf;      /* open; has .debug_info; gets mapped */
    const char *path;          /* of it */
    const char *const *dirs;   /* of debug files; NULL-terminated */
    const uint64_t *addresses; /* ascending */
    size_t n;
    uint64_t deadline_ns; /* CLOCK_MONOTONIC; what is not found by then is not found */
};

/* Innermost first; at least one frame. Addresses that no unit describes are not emitted. Order of
 * emission is that of the units. */
typedef void dwarf_emit(void *context, size_t index, const struct dwarf_frame *frames, size_t n);

/* 0: built without libdwarf, dwarf_lookup finds nothing. */
int dwarf_is_built(void);

/* Trusts libdwarf with the file's content, leaks into the process on damaged files and may crash on
 * hostile ones: to be run in a process of its own (isolate.h). */
void dwarf_lookup(const struct dwarf_request *request, dwarf_emit *emit, void *context);

#endif
