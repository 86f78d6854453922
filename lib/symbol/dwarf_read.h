/* Debugging information entries straight from the sections, for whole-program walks over types and
 * variables. Functions and lines are dwarf.h's, through libdwarf. */
#ifndef HEAPSNAP_SYMBOL_DWARF_READ_H
#define HEAPSNAP_SYMBOL_DWARF_READ_H

#include "symbol/elf.h"

/* The part of the standard (DWARF 5, sections 7.5 and 7.7) that types and variables need. */
enum {
    DWARF_TAG_ARRAY = 0x01,
    DWARF_TAG_CLASS = 0x02,
    DWARF_TAG_ENUMERATION = 0x04,
    DWARF_TAG_FORMAL_PARAMETER = 0x05,
    DWARF_TAG_LEXICAL_BLOCK = 0x0b,
    DWARF_TAG_MEMBER = 0x0d,
    DWARF_TAG_POINTER = 0x0f,
    DWARF_TAG_REFERENCE = 0x10,
    DWARF_TAG_COMPILE_UNIT = 0x11,
    DWARF_TAG_STRUCTURE = 0x13,
    DWARF_TAG_SUBROUTINE_TYPE = 0x15,
    DWARF_TAG_TYPEDEF = 0x16,
    DWARF_TAG_UNION = 0x17,
    DWARF_TAG_INHERITANCE = 0x1c,
    DWARF_TAG_INLINED_SUBROUTINE = 0x1d,
    DWARF_TAG_POINTER_TO_MEMBER = 0x1f,
    DWARF_TAG_SUBRANGE = 0x21,
    DWARF_TAG_BASE_TYPE = 0x24,
    DWARF_TAG_CONST = 0x26,
    DWARF_TAG_SUBPROGRAM = 0x2e,
    DWARF_TAG_TEMPLATE_TYPE = 0x2f,
    DWARF_TAG_VARIABLE = 0x34,
    DWARF_TAG_VOLATILE = 0x35,
    DWARF_TAG_RESTRICT = 0x37,
    DWARF_TAG_NAMESPACE = 0x39,
    DWARF_TAG_IMPORTED_UNIT = 0x3d,
    DWARF_TAG_PARTIAL_UNIT = 0x3c,
    DWARF_TAG_UNSPECIFIED = 0x3b,
    DWARF_TAG_TYPE_UNIT = 0x41,
    DWARF_TAG_RVALUE_REFERENCE = 0x42,
    DWARF_TAG_ATOMIC = 0x47,
    DWARF_TAG_SKELETON_UNIT = 0x4a,
    DWARF_TAG_GNU_TEMPLATE_PACK = 0x4107
};

/* Where an entry lies: the index of its section among those of a session, and the offset in it. */
typedef uint64_t dwarf_ref;
#define DWARF_REF(space, offset) ((uint64_t)(space) << 48 | (offset))
#define DWARF_REF_SPACE(ref) ((uint32_t)((ref) >> 48))
#define DWARF_REF_OFFSET(ref) ((ref) & ((UINT64_C(1) << 48) - 1))
#define DWARF_NONE UINT64_MAX
#define DWARF_SPACES_MAX 0x8000u

/* The sections that entries of one file draw on. */
struct dwarf_file {
    struct elf_bytes abbrev, strings, line_strings, string_offsets, addresses, locations,
        location_lists, ranges, range_lists;
    const struct dwarf_file *alt;      /* of .gnu_debugaltlink */
    const struct dwarf_file *skeleton; /* of a .dwo file: the file that has the addresses */
    uint32_t space_info, space_alt;    /* spaces of references into .debug_info */
    int is_split;
};

/* One .debug_info or .debug_types section. */
struct dwarf_space {
    const struct dwarf_file *file;
    struct elf_bytes data;
    uint32_t first_unit, n_units; /* in dwarf_session.units */
    int is_types;
};

struct dwarf_abbrev;

struct dwarf_unit {
    uint64_t start, first_die, end; /* offsets in the space */
    uint64_t abbrev_offset;
    uint64_t signature, type_offset; /* of type units: offset in the space */
    uint64_t base_strings, base_addresses, base_lists, base_ranges; /* from the unit's entry */
    uint64_t low_pc;
    uint32_t space;
    uint16_t language;
    uint8_t version, offset_size, unit_type;
    uint8_t has_bases;
    struct dwarf_abbrevs *abbrevs; /* NULL: not read */
};

struct dwarf_session {
    struct dwarf_space *spaces;
    uint32_t n_spaces;
    struct dwarf_unit *units; /* those of a space lie together, ascending */
    uint32_t n_units;
    size_t spaces_capacity, units_capacity;
    struct dwarf_abbrevs *recent; /* read by units one after another */
    uint64_t recent_offset;
    const struct dwarf_file *recent_file;
    struct dwarf_signature *signatures; /* of type units */
    size_t n_signatures, signatures_capacity;
    struct dwarf_abbrevs *all_abbrevs; /* list, to be freed */
};

/* An expression or a list of them. */
struct dwarf_location {
    const uint8_t *data; /* NULL: none */
    uint64_t size;
    uint64_t list; /* offset or index */
    uint8_t kind;  /* enum below */
};
enum { DWARF_LOCATION_NONE, DWARF_LOCATION_BLOCK, DWARF_LOCATION_LIST, DWARF_LOCATION_LIST_INDEX };

/* What one entry says, as far as it is of use. Texts are borrowed from sections. */
struct dwarf_die {
    uint64_t offset;  /* in the space */
    uint64_t next;    /* of the entry after this one, its child if it has any */
    uint64_t sibling; /* 0: not said */
    const char *name, *linkage_name, *dwo_name, *comp_dir;
    dwarf_ref type, origin; /* DWARF_NONE; origin: specification or abstract origin */
    uint64_t byte_size, member_offset, upper_bound, count, low_pc, high_pc, dwo_id, ranges;
    struct dwarf_location location, frame_base;
    uint16_t tag, language;
    uint8_t has_children, is_declaration, is_external, is_bit_field, is_artificial, is_inline;
    uint8_t has_byte_size, has_member_offset, has_upper_bound, has_count, has_low_pc, has_high_pc;
    uint8_t is_high_offset, has_ranges, is_ranges_index, is_specification, has_dwo_id;
    uint8_t is_inline_namespace, is_virtual_base;
};

void dwarf_session_release(struct dwarf_session *session);

/* Adds the units of a section. Returns the space, or -1: no memory. Damaged units end the list. */
int dwarf_space_add(struct dwarf_session *session, const struct dwarf_file *file,
                    struct elf_bytes data, int is_types);

/* The unit that holds a reference; NULL if none. */
struct dwarf_unit *dwarf_unit_of(struct dwarf_session *session, dwarf_ref ref);

/* Reads an entry of a unit. 1; 0: a null entry (ends a list of children; out->next is set); -1:
 * damaged or no memory. */
int dwarf_die_read(struct dwarf_session *session, struct dwarf_unit *unit, uint64_t offset,
                   struct dwarf_die *out);

/* Offset of the entry after this one and its children. 0: damaged. */
uint64_t dwarf_die_after(struct dwarf_session *session, struct dwarf_unit *unit,
                         const struct dwarf_die *die);

/* Address number `index` of a unit. 1 or 0. */
int dwarf_address(const struct dwarf_session *session, const struct dwarf_unit *unit,
                  uint64_t index, uint64_t *out);

/* Whether the ranges or low_pc and high_pc of an entry hold an address. */
int dwarf_die_covers(const struct dwarf_session *session, const struct dwarf_unit *unit,
                     const struct dwarf_die *die, uint64_t address);

/* The expression that is valid at an address, out of a block or a list. 1 or 0. */
int dwarf_location_at(const struct dwarf_session *session, const struct dwarf_unit *unit,
                      const struct dwarf_location *location, uint64_t address, const uint8_t **out,
                      uint64_t *out_size);

/* LEB128; *at is moved. An overrun sets *at to NULL. */
uint64_t dwarf_uleb(const uint8_t **at, const uint8_t *end);
int64_t dwarf_sleb(const uint8_t **at, const uint8_t *end);

#endif
