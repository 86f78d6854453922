/* Types and variables of loaded images, from DWARF: which variable is at an address, what its type
 * is, which fields a type has.
 *
 * For the process that writes a file. DWARF is read by a process of its own (isolate.h) with
 * limits; the result is a plain table whose every number is checked. Types are numbered from 1
 * within a layout; equal types of several units and images (same kind, name, size and fields) are
 * one. Not thread-safe. */
#ifndef HEAPSNAP_LAYOUT_H
#define HEAPSNAP_LAYOUT_H

#include <stddef.h>

#include <heapsnap/common.h>

enum layout_kind {
    LAYOUT_SCALAR = 1, /* numbers, enumerations, pointers to members */
    LAYOUT_POINTER,    /* and references; target: what it points at, 0: void or unknown */
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
    uint32_t first_field, n_fields;       /* ascending by offset */
    uint32_t first_argument, n_arguments; /* types among the arguments of a template */
    uint8_t kind;                         /* enum layout_kind */
    uint8_t is_declaration;               /* incomplete in all images */
    uint8_t has_vtable;
    uint8_t has_virtual_base; /* whose place only the vtable knows; no field */
};

struct layout_field {
    const char *name; /* "" for base classes and unnamed members */
    uint64_t offset;
    uint32_t type;
    uint8_t is_base, is_bit_field;
};

struct layout_variable {
    uint64_t address; /* of the run (bias added); of TLS: offset in the image's TLS block */
    uint64_t size;
    uint64_t part;    /* offset in the variable of what is at the address: not 0 where a compiler
                         has taken a variable apart */
    const char *name; /* with its scope: "g_server", "ns::cache", "count" */
    const char *function; /* static local: its function; else NULL */
    uint32_t type, module;
    uint8_t is_tls;
    uint8_t is_target; /* the variable is a pointer to this memory, which has been put into its
                          place: type and size are those of the memory */
};

/* A local variable or parameter that is in memory at one of the positions asked for. */
struct layout_local {
    uint64_t pc; /* the position asked for, of the run */
    int64_t offset;
    const char *name;
    uint32_t type;
    uint8_t is_parameter;
    uint8_t is_of_sp; /* 1: offset from the stack pointer there, 0: from the frame's CFA */
};

struct layout;
struct symbolizer;

/* What is wanted of one image: addresses as in its file. */
struct layout_query {
    uint32_t module; /* of the symbolizer */
    uint32_t number; /* becomes layout_variable.module */
    uint64_t bias;
    const uint64_t *words; /* ascending: the variables that hold them are wanted */
    size_t n_words;
    const uint64_t *tls_words; /* ascending: likewise, offsets in the image's TLS block */
    size_t n_tls_words;
    const uint64_t *pcs; /* ascending: the local variables of the functions at them are wanted;
                            a return address - 1 */
    size_t n_pcs;
    const uint64_t *names; /* ascending: types with these names (layout_name_hash) are wanted */
    size_t n_names;
    const uint8_t *sizes; /* LAYOUT_SIZES bits: structs of these sizes are wanted; NULL: none */
    uint64_t budget_ns;
};
#define LAYOUT_SIZES 65536u

enum layout_result {
    LAYOUT_NONE = 0, /* no debugging information */
    LAYOUT_LOADED = 1,
    LAYOUT_LATE = 2 /* over budget, or damaged so that its reader died: nothing is known */
};

int layout_new(struct layout **out, snap_error *err);
void layout_free(struct layout *l);

/* Whether an image has debugging information. 1, 0 or SNAP_E_NOMEM. */
int layout_is_described(struct symbolizer *s, uint32_t module);

/* Adds what an image knows. *out_result: enum layout_result. Types of the queries of all images
 * count as known together only after layout_finish. */
int layout_load(struct layout *l, struct symbolizer *s, const struct layout_query *query,
                int *out_result, snap_error *err);

/* Ends loading: types declared in one image and defined in another are joined, variables sorted. */
int layout_finish(struct layout *l, snap_error *err);

uint32_t layout_n_types(const struct layout *l);
const struct layout_type *layout_type_get(const struct layout *l, uint32_t type); /* type >= 1 */
const struct layout_field *layout_fields(const struct layout *l, uint32_t type);
uint32_t layout_argument(const struct layout *l, uint32_t type, uint32_t index); /* 0: none */

/* The variable that holds an address; NULL: none. O(log n). */
const struct layout_variable *layout_variable_at(const struct layout *l, uint64_t address);
const struct layout_variable *layout_tls_at(const struct layout *l, uint32_t module,
                                            uint64_t offset);
/* Local variables at a position asked for (of the run); how many. */
size_t layout_locals(const struct layout *l, uint64_t pc, const struct layout_local **out);

/* The complete type of a name, however it is spelled by a demangler or a compiler; 0: none, or
 * several that differ. */
uint32_t layout_by_name(const struct layout *l, const char *name);
uint64_t layout_name_hash(const char *name);

/* Adds a struct that no compiler described, such as the node of a container. Fields are copied,
 * must be ascending. 0: no memory. */
uint32_t layout_add_struct(struct layout *l, const char *name, uint64_t size,
                           const struct layout_field *fields, uint32_t n_fields);
uint32_t layout_add_pointer(struct layout *l, uint32_t target);
uint32_t layout_add_scalar(struct layout *l, const char *name, uint64_t size);
/* Makes a declared type complete, as a struct with one member. 0 or SNAP_E_NOMEM. */
int layout_define(struct layout *l, uint32_t type, uint64_t size, const struct layout_field *field);
uint32_t layout_add_array(struct layout *l, uint32_t element, uint64_t n_elements);

#endif
