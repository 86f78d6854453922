/* What layout.c asks of one file with DWARF, and the answer as bytes. */
#ifndef HEAPSNAP_SYMBOL_LAYOUT_DWARF_H
#define HEAPSNAP_SYMBOL_LAYOUT_DWARF_H

#include "symbol/elf.h"
#include "symbol/layout.h"

#define LAYOUT_TEXT_MAX_BYTES 4096u
#define LAYOUT_TYPES_MAX 8000000u
#define LAYOUT_ROWS_MAX 64000000u
#define LAYOUT_MAGIC UINT64_C(0x3154554f59414c48)

/* The answer: the head, then the rows of types, fields, variables, locals and arguments (one number
 * each), then the text. Ids of types are
 * index + 1, 0: none; names are offsets in the text, whose parts end by NUL, and 0 is "". */
struct layout_rows_head {
    uint64_t magic, n_text;
    uint32_t n_types, n_fields, n_arguments, n_variables, n_locals, reserved;
};
struct layout_rows_type {
    uint64_t size, n_elements;
    uint32_t name, target, first_field, n_fields, first_argument, n_arguments;
    uint8_t kind, is_declaration, has_vtable, has_virtual_base;
    uint32_t reserved;
};
struct layout_rows_field {
    uint64_t offset;
    uint32_t name, type;
    uint8_t is_base, is_bit_field;
    uint8_t reserved[6];
};
struct layout_rows_variable {
    uint64_t address, part, part_size; /* part_size 0: the whole variable */
    uint32_t name, function, type;
    uint8_t is_tls;
    uint8_t is_target; /* what the variable points at stands here, part_size bytes: of that type */
    uint8_t reserved[2];
};
struct layout_rows_local {
    int64_t offset;
    uint32_t pc; /* index in the query */
    uint32_t name, type;
    uint8_t is_parameter, is_of_sp;
    uint8_t reserved[2];
};

struct layout_dwarf_request {
    struct elf_file *elf; /* open; has .debug_info; gets mapped */
    const char *path;     /* of it */
    const char *const *dirs;
    const struct layout_query *query;
    uint64_t deadline_ns;
};

/* Writes the answer to fd. 1; 0: nothing (late, no memory). Trusts that the file does not shrink,
 * leaks: to be run in a process of its own. */
int layout_dwarf_write(const struct layout_dwarf_request *request, int fd);

#endif
