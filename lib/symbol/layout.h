/* Types and variables of loaded images, from DWARF: which variable is at an address, what its type
 * is, which fields a type has.
 *
 * For the process that writes a file. Reading DWARF goes through libdwarf in a process of its own
 * (isolate.h) with limits; the result is a plain table. Types are numbered from 1 within a layout;
 * equal types of several units and images (same kind, name, size and fields) are one. */
#ifndef HEAPSNAP_LAYOUT_H
#define HEAPSNAP_LAYOUT_H

#include <heapsnap/common.h>

enum layout_kind {
    LAYOUT_SCALAR = 1, /* numbers, enumerations, pointers to members */
    LAYOUT_POINTER,    /* target: what it points at, 0: void or unknown */
    LAYOUT_FUNCTION,   /* as the target of a pointer */
    LAYOUT_STRUCT,     /* struct and class; fields; base classes are fields with is_base */
    LAYOUT_UNION,      /* fields overlap */
    LAYOUT_ARRAY       /* target: the element; n_elements, 0: flexible */
};

struct layout_type {
    const char *name; /* "struct session" for C, "Session" or "ns::Session<int>" for C++; "" for
                         types without a name */
    uint64_t size;    /* bytes */
    uint64_t n_elements;
    uint32_t target;
    uint32_t first_field, n_fields; /* ascending by offset */
    uint8_t kind;                   /* enum layout_kind */
    uint8_t is_declaration;         /* incomplete here */
    uint8_t has_vtable;
};

struct layout_field {
    const char *name; /* "" for base classes and unnamed members */
    uint64_t offset;
    uint32_t type;
    uint8_t is_base, is_bit_field;
};

struct layout_variable {
    uint64_t address; /* run-time address (bias added); in a frame: offset from the CFA, signed; of
                         TLS: offset in the image's TLS block */
    uint64_t size;
    const char *name;     /* with its scope: "g_server", "ns::cache", "count" */
    const char *function; /* static local or local: its function; else NULL */
    uint32_t type;
    uint8_t is_tls;
};

struct layout;
struct symbolizer;

#endif
