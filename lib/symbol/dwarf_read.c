/* Units, abbreviations and entries (DWARF 2 to 5, 64-bit targets, with the GNU forms of dwz and of
 * split units before DWARF 5).
 *
 * libdwarf hands out an object per entry and finds abbreviations by search: a walk over all entries
 * of a program takes it minutes where this takes a second. Invariant: every read is checked against
 * the end of its section, so any bytes may be walked; what is damaged ends the unit. Nothing here
 * loops: offsets only grow, and references are followed by callers that count. Keeps pointers into
 * the sections, which the caller owns. Not done: .dwp packages, supplementary files of DWARF 5
 * (those of dwz are), type units by signature in other .dwo files. */
#include "symbol/dwarf_read.h"

#include <stdlib.h>
#include <string.h>

#include "base/mem.h"

#define CODES_MAX 1000000u
#define ATTRIBUTES_MAX 65536u
#define SCOPE_UNITS_MAX 8000000u

enum {
    AT_SIBLING = 0x01,
    AT_LOCATION = 0x02,
    AT_NAME = 0x03,
    AT_BYTE_SIZE = 0x0b,
    AT_BIT_SIZE = 0x0d,
    AT_LOW_PC = 0x11,
    AT_HIGH_PC = 0x12,
    AT_LANGUAGE = 0x13,
    AT_COMP_DIR = 0x1b,
    AT_INLINE = 0x20,
    AT_UPPER_BOUND = 0x2f,
    AT_ABSTRACT_ORIGIN = 0x31,
    AT_ARTIFICIAL = 0x34,
    AT_COUNT = 0x37,
    AT_MEMBER_LOCATION = 0x38,
    AT_DECLARATION = 0x3c,
    AT_EXTERNAL = 0x3f,
    AT_FRAME_BASE = 0x40,
    AT_SPECIFICATION = 0x47,
    AT_TYPE = 0x49,
    AT_VIRTUALITY = 0x4c,
    AT_RANGES = 0x55,
    AT_SIGNATURE = 0x69,
    AT_LINKAGE_NAME = 0x6e,
    AT_STRING_OFFSETS_BASE = 0x72,
    AT_ADDRESS_BASE = 0x73,
    AT_RANGE_LISTS_BASE = 0x74,
    AT_DWO_NAME = 0x76,
    AT_EXPORT_SYMBOLS = 0x89,
    AT_LOCATION_LISTS_BASE = 0x8c,
    AT_MIPS_LINKAGE_NAME = 0x2007,
    AT_GNU_DWO_NAME = 0x2130,
    AT_GNU_DWO_ID = 0x2131,
    AT_GNU_RANGES_BASE = 0x2132,
    AT_GNU_ADDRESS_BASE = 0x2133
};

enum {
    FORM_ADDRESS = 0x01,
    FORM_BLOCK2 = 0x03,
    FORM_BLOCK4 = 0x04,
    FORM_DATA2 = 0x05,
    FORM_DATA4 = 0x06,
    FORM_DATA8 = 0x07,
    FORM_STRING = 0x08,
    FORM_BLOCK = 0x09,
    FORM_BLOCK1 = 0x0a,
    FORM_DATA1 = 0x0b,
    FORM_FLAG = 0x0c,
    FORM_SDATA = 0x0d,
    FORM_STRP = 0x0e,
    FORM_UDATA = 0x0f,
    FORM_REF_ADDRESS = 0x10,
    FORM_REF1 = 0x11,
    FORM_REF2 = 0x12,
    FORM_REF4 = 0x13,
    FORM_REF8 = 0x14,
    FORM_REF_UDATA = 0x15,
    FORM_INDIRECT = 0x16,
    FORM_SECTION_OFFSET = 0x17,
    FORM_EXPRESSION = 0x18,
    FORM_FLAG_PRESENT = 0x19,
    FORM_STRX = 0x1a,
    FORM_ADDRX = 0x1b,
    FORM_REF_SUP4 = 0x1c,
    FORM_STRP_SUP = 0x1d,
    FORM_DATA16 = 0x1e,
    FORM_LINE_STRP = 0x1f,
    FORM_REF_SIG8 = 0x20,
    FORM_IMPLICIT_CONST = 0x21,
    FORM_LOCATION_LISTX = 0x22,
    FORM_RANGE_LISTX = 0x23,
    FORM_REF_SUP8 = 0x24,
    FORM_STRX1 = 0x25,
    FORM_STRX2 = 0x26,
    FORM_STRX3 = 0x27,
    FORM_STRX4 = 0x28,
    FORM_ADDRX1 = 0x29,
    FORM_ADDRX2 = 0x2a,
    FORM_ADDRX3 = 0x2b,
    FORM_ADDRX4 = 0x2c,
    FORM_GNU_ADDRESS_INDEX = 0x1f01,
    FORM_GNU_STRING_INDEX = 0x1f02,
    FORM_GNU_REF_ALT = 0x1f20,
    FORM_GNU_STRP_ALT = 0x1f21
};

enum {
    UNIT_COMPILE = 1,
    UNIT_TYPE = 2,
    UNIT_PARTIAL = 3,
    UNIT_SKELETON = 4,
    UNIT_SPLIT_COMPILE = 5,
    UNIT_SPLIT_TYPE = 6
};

struct attribute {
    uint16_t name, form;
    int64_t constant;
};

struct abbrev {
    uint32_t first, n; /* in attributes */
    uint16_t tag;
    uint8_t has_children, is_used;
};

struct dwarf_abbrevs {
    struct dwarf_abbrevs *next;
    const struct dwarf_file *file;
    uint64_t offset;
    struct abbrev *codes; /* by code - 1 */
    uint32_t n_codes;
    struct attribute *attributes;
    size_t n_attributes, attributes_capacity, codes_capacity;
};

struct dwarf_signature {
    uint64_t signature;
    uint32_t unit;
};

/* What one attribute holds. */
enum value_class {
    VALUE_NONE,
    VALUE_CONSTANT,
    VALUE_ADDRESS,
    VALUE_ADDRESS_INDEX,
    VALUE_TEXT,
    VALUE_BLOCK,
    VALUE_REFERENCE,
    VALUE_SECTION_OFFSET,
    VALUE_LIST_INDEX,
    VALUE_SIGNED
};
struct value {
    uint64_t number; /* or size of the block */
    const uint8_t *block;
    const char *text;
    enum value_class class;
};

struct cursor {
    const uint8_t *at, *end;
};

uint64_t dwarf_uleb(const uint8_t **at, const uint8_t *end) {
    uint64_t value = 0;
    unsigned shift = 0;
    const uint8_t *p = *at;
    while (p && p < end) {
        const uint8_t byte = *p++;
        if (shift < 64)
            value |= (uint64_t)(byte & 0x7f) << shift;
        shift += 7;
        if (!(byte & 0x80)) {
            *at = p;
            return value;
        }
    }
    *at = NULL;
    return 0;
}

int64_t dwarf_sleb(const uint8_t **at, const uint8_t *end) {
    uint64_t value = 0;
    unsigned shift = 0;
    const uint8_t *p = *at;
    while (p && p < end) {
        const uint8_t byte = *p++;
        if (shift < 64)
            value |= (uint64_t)(byte & 0x7f) << shift;
        shift += 7;
        if (!(byte & 0x80)) {
            if (shift < 64 && (byte & 0x40))
                value |= UINT64_MAX << shift;
            *at = p;
            return (int64_t)value;
        }
    }
    *at = NULL;
    return 0;
}

/* A little-endian number of up to 8 bytes; past the end: 0, and the cursor is dead. */
static uint64_t fixed(struct cursor *c, unsigned n) {
    uint64_t value = 0;
    if (!c->at || (size_t)(c->end - c->at) < n) {
        c->at = NULL;
        return 0;
    }
    memcpy(&value, c->at, n);
    c->at += n;
    return value;
}

static uint64_t uleb(struct cursor *c) {
    return dwarf_uleb(&c->at, c->end);
}

static const uint8_t *skip(struct cursor *c, uint64_t n) {
    if (!c->at || (uint64_t)(c->end - c->at) < n) {
        c->at = NULL;
        return NULL;
    }
    const uint8_t *const at = c->at;
    c->at += n;
    return at;
}

/* A NUL-terminated text of a section; NULL if it does not end there. */
static const char *text_at(const struct elf_bytes *bytes, uint64_t offset) {
    if (offset >= bytes->size)
        return NULL;
    if (bytes->data[bytes->size - 1] != 0 && !memchr(bytes->data + offset, 0, bytes->size - offset))
        return NULL;
    return (const char *)bytes->data + offset;
}

static const char *text_by_index(const struct dwarf_unit *unit, const struct dwarf_file *file,
                                 uint64_t index) {
    const struct elf_bytes *const offsets = &file->string_offsets;
    const uint64_t width = unit->offset_size;
    if (index > UINT32_MAX || unit->base_strings > offsets->size)
        return NULL;
    const uint64_t at = unit->base_strings + index * width;
    if (at > offsets->size || width > offsets->size - at)
        return NULL;
    uint64_t offset = 0;
    memcpy(&offset, offsets->data + at, width);
    return text_at(&file->strings, offset);
}

int dwarf_address(const struct dwarf_session *session, const struct dwarf_unit *unit,
                  uint64_t index, uint64_t *out) {
    const struct dwarf_file *file = session->spaces[unit->space].file;
    if (file->skeleton)
        file = file->skeleton;
    const struct elf_bytes *const bytes = &file->addresses;
    if (index > UINT32_MAX || unit->base_addresses > bytes->size)
        return 0;
    const uint64_t at = unit->base_addresses + index * 8;
    if (at > bytes->size || 8 > bytes->size - at)
        return 0;
    memcpy(out, bytes->data + at, 8);
    return 1;
}

static int compare_signatures(const void *a, const void *b) {
    const struct dwarf_signature *const left = a, *const right = b;
    return left->signature < right->signature ? -1 : left->signature > right->signature;
}

static dwarf_ref ref_by_signature(const struct dwarf_session *session, uint64_t signature) {
    const struct dwarf_signature key = {.signature = signature};
    const struct dwarf_signature *const found =
        session->n_signatures ? bsearch(&key, session->signatures, session->n_signatures,
                                        sizeof key, compare_signatures)
                              : NULL;
    if (!found)
        return DWARF_NONE;
    const struct dwarf_unit *const unit = &session->units[found->unit];
    return DWARF_REF(unit->space, unit->type_offset);
}

static void read_value(const struct dwarf_session *session, const struct dwarf_unit *unit,
                       uint32_t form, int64_t constant, struct cursor *c, struct value *out) {
    const struct dwarf_space *const space = &session->spaces[unit->space];
    const struct dwarf_file *const file = space->file;
    const unsigned width = unit->offset_size;
    *out = (struct value){.class = VALUE_CONSTANT};
    /* One step of indirection: a form that is itself indirect again is damage. */
    if (form == FORM_INDIRECT) {
        form = (uint32_t)uleb(c);
        if (form == FORM_INDIRECT || form == FORM_IMPLICIT_CONST) {
            c->at = NULL;
            return;
        }
    }
    switch (form) {
    case FORM_ADDRESS:
        out->class = VALUE_ADDRESS;
        out->number = fixed(c, 8);
        break;
    case FORM_DATA1:
    case FORM_FLAG: out->number = fixed(c, 1); break;
    case FORM_DATA2: out->number = fixed(c, 2); break;
    case FORM_DATA4: out->number = fixed(c, 4); break;
    case FORM_DATA8: out->number = fixed(c, 8); break;
    case FORM_DATA16:
        skip(c, 16);
        out->class = VALUE_NONE;
        break;
    case FORM_SDATA:
        out->number = (uint64_t)dwarf_sleb(&c->at, c->end);
        out->class = VALUE_SIGNED;
        break;
    case FORM_UDATA: out->number = uleb(c); break;
    case FORM_FLAG_PRESENT: out->number = 1; break;
    case FORM_IMPLICIT_CONST: out->number = (uint64_t)constant; break;
    case FORM_BLOCK1:
    case FORM_BLOCK2:
    case FORM_BLOCK4:
    case FORM_BLOCK:
    case FORM_EXPRESSION:
        out->class = VALUE_BLOCK;
        out->number = form == FORM_BLOCK1   ? fixed(c, 1)
                      : form == FORM_BLOCK2 ? fixed(c, 2)
                      : form == FORM_BLOCK4 ? fixed(c, 4)
                                            : uleb(c);
        out->block = skip(c, out->number);
        break;
    case FORM_STRING: {
        const uint8_t *const start = c->at;
        const uint8_t *const end = start ? memchr(start, 0, (size_t)(c->end - start)) : NULL;
        out->class = VALUE_TEXT;
        out->text = end ? (const char *)start : NULL;
        c->at = end ? end + 1 : NULL;
        break;
    }
    case FORM_STRP:
        out->class = VALUE_TEXT;
        out->text = text_at(&file->strings, fixed(c, width));
        break;
    case FORM_LINE_STRP:
        out->class = VALUE_TEXT;
        out->text = text_at(&file->line_strings, fixed(c, width));
        break;
    case FORM_STRP_SUP:
    case FORM_GNU_STRP_ALT: {
        const uint64_t offset = fixed(c, width);
        out->class = VALUE_TEXT;
        out->text = file->alt ? text_at(&file->alt->strings, offset) : NULL;
        break;
    }
    case FORM_STRX:
    case FORM_GNU_STRING_INDEX:
    case FORM_STRX1:
    case FORM_STRX2:
    case FORM_STRX3:
    case FORM_STRX4: {
        const uint64_t index = form == FORM_STRX || form == FORM_GNU_STRING_INDEX
                                   ? uleb(c)
                                   : fixed(c, form - FORM_STRX1 + 1);
        out->class = VALUE_TEXT;
        out->text = text_by_index(unit, file, index);
        break;
    }
    case FORM_ADDRX:
    case FORM_GNU_ADDRESS_INDEX:
    case FORM_ADDRX1:
    case FORM_ADDRX2:
    case FORM_ADDRX3:
    case FORM_ADDRX4:
        out->class = VALUE_ADDRESS_INDEX;
        out->number = form == FORM_ADDRX || form == FORM_GNU_ADDRESS_INDEX
                          ? uleb(c)
                          : fixed(c, form - FORM_ADDRX1 + 1);
        break;
    case FORM_REF1:
    case FORM_REF2:
    case FORM_REF4:
    case FORM_REF8:
    case FORM_REF_UDATA: {
        const uint64_t offset = form == FORM_REF1   ? fixed(c, 1)
                                : form == FORM_REF2 ? fixed(c, 2)
                                : form == FORM_REF4 ? fixed(c, 4)
                                : form == FORM_REF8 ? fixed(c, 8)
                                                    : uleb(c);
        out->class = VALUE_REFERENCE;
        out->number = offset < unit->end - unit->start
                          ? DWARF_REF(unit->space, unit->start + offset)
                          : DWARF_NONE;
        break;
    }
    case FORM_REF_ADDRESS: {
        const uint64_t offset = fixed(c, unit->version == 2 ? 8 : width);
        out->class = VALUE_REFERENCE;
        out->number = offset >> 47 ? DWARF_NONE : DWARF_REF(file->space_info, offset);
        break;
    }
    case FORM_REF_SUP4:
    case FORM_REF_SUP8:
    case FORM_GNU_REF_ALT: {
        const uint64_t offset = fixed(c, form == FORM_REF_SUP4   ? 4
                                         : form == FORM_REF_SUP8 ? 8
                                                                 : width);
        out->class = VALUE_REFERENCE;
        out->number = offset >> 47 || !file->alt ? DWARF_NONE : DWARF_REF(file->space_alt, offset);
        break;
    }
    case FORM_REF_SIG8:
        out->class = VALUE_REFERENCE;
        out->number = ref_by_signature(session, fixed(c, 8));
        break;
    case FORM_SECTION_OFFSET:
        out->class = VALUE_SECTION_OFFSET;
        out->number = fixed(c, width);
        break;
    case FORM_LOCATION_LISTX:
    case FORM_RANGE_LISTX:
        out->class = VALUE_LIST_INDEX;
        out->number = uleb(c);
        break;
    default: c->at = NULL;
    }
}

static int read_abbrevs(struct dwarf_abbrevs *table, const struct elf_bytes *bytes) {
    if (table->offset >= bytes->size)
        return 0;
    struct cursor c = {bytes->data + table->offset, bytes->data + bytes->size};
    for (;;) {
        const uint64_t code = uleb(&c);
        if (!c.at || code == 0)
            return c.at != NULL;
        const uint64_t tag = uleb(&c);
        const uint64_t has_children = fixed(&c, 1);
        if (!c.at || code > CODES_MAX)
            return 0;
        if (code > table->n_codes) {
            if (mem_grow(&table->codes, &table->codes_capacity, code, sizeof *table->codes) != 0)
                return -1;
            memset(table->codes + table->n_codes, 0,
                   (code - table->n_codes) * sizeof *table->codes);
            table->n_codes = (uint32_t)code;
        }
        struct abbrev *const abbrev = &table->codes[code - 1];
        *abbrev = (struct abbrev){.first = (uint32_t)table->n_attributes,
                                  .tag = tag < 0xffff ? (uint16_t)tag : 0xffff,
                                  .has_children = has_children != 0,
                                  .is_used = 1};
        for (;;) {
            const uint64_t name = uleb(&c), form = uleb(&c);
            const int64_t constant = form == FORM_IMPLICIT_CONST ? dwarf_sleb(&c.at, c.end) : 0;
            if (!c.at)
                return 0;
            if (name == 0 && form == 0)
                break;
            if (mem_grow(&table->attributes, &table->attributes_capacity, table->n_attributes + 1,
                         sizeof *table->attributes) != 0)
                return -1;
            if (++abbrev->n > ATTRIBUTES_MAX)
                return 0;
            table->attributes[table->n_attributes++] =
                (struct attribute){.name = name < 0xffff ? (uint16_t)name : 0xffff,
                                   .form = form < 0xffff ? (uint16_t)form : 0xffff,
                                   .constant = constant};
        }
    }
}

/* The table of a unit. Neighbours that share one read it once; those that come back later read it
 * again, but each table is kept by its unit. */
static struct dwarf_abbrevs *abbrevs_of(struct dwarf_session *session, struct dwarf_unit *unit) {
    if (unit->abbrevs)
        return unit->abbrevs;
    const struct dwarf_file *const file = session->spaces[unit->space].file;
    if (session->recent && session->recent_file == file &&
        session->recent_offset == unit->abbrev_offset)
        return unit->abbrevs = session->recent;
    struct dwarf_abbrevs *const table = calloc(1, sizeof *table);
    if (!table)
        return NULL;
    table->file = file;
    table->offset = unit->abbrev_offset;
    table->next = session->all_abbrevs;
    session->all_abbrevs = table;
    /* A damaged table is used up to the damage. */
    if (read_abbrevs(table, &file->abbrev) < 0)
        return NULL;
    session->recent = table;
    session->recent_file = file;
    session->recent_offset = unit->abbrev_offset;
    return unit->abbrevs = table;
}

static void take_location(struct dwarf_location *out, const struct value *value) {
    switch (value->class) {
    case VALUE_BLOCK:
        *out = (struct dwarf_location){
            .data = value->block, .size = value->number, .kind = DWARF_LOCATION_BLOCK};
        break;
    case VALUE_SECTION_OFFSET:
    case VALUE_CONSTANT: /* DWARF 3 has no form of its own for offsets */
        *out = (struct dwarf_location){.list = value->number, .kind = DWARF_LOCATION_LIST};
        break;
    case VALUE_LIST_INDEX:
        *out = (struct dwarf_location){.list = value->number, .kind = DWARF_LOCATION_LIST_INDEX};
        break;
    default: break;
    }
}

static int is_number(const struct value *value) {
    return value->class == VALUE_CONSTANT ||
           (value->class == VALUE_SIGNED && (int64_t)value->number >= 0);
}

/* The offset of a member: a constant, or DW_OP_plus_uconst N. */
static void take_member_offset(struct dwarf_die *out, const struct value *value) {
    if (is_number(value)) {
        out->member_offset = value->number;
        out->has_member_offset = 1;
    } else if (value->class == VALUE_BLOCK && value->block) {
        const uint8_t *at = value->block;
        const uint8_t *const end = at + value->number;
        if (value->number < 2 || *at++ != 0x23) {
            out->is_virtual_base = 1;
            return;
        }
        const uint64_t offset = dwarf_uleb(&at, end);
        if (at == end) {
            out->member_offset = offset;
            out->has_member_offset = 1;
        } else
            out->is_virtual_base = 1;
    }
}

static void take_address(const struct dwarf_session *session, const struct dwarf_unit *unit,
                         const struct value *value, uint64_t *out, uint8_t *has) {
    if (value->class == VALUE_ADDRESS) {
        *out = value->number;
        *has = 1;
    } else if (value->class == VALUE_ADDRESS_INDEX &&
               dwarf_address(session, unit, value->number, out))
        *has = 1;
}

static void take(const struct dwarf_session *session, const struct dwarf_unit *unit,
                 struct dwarf_die *out, uint32_t name, const struct value *value) {
    switch (name) {
    case AT_NAME: out->name = value->text; break;
    case AT_LINKAGE_NAME:
    case AT_MIPS_LINKAGE_NAME: out->linkage_name = value->text; break;
    case AT_TYPE:
        if (value->class == VALUE_REFERENCE)
            out->type = value->number;
        break;
    case AT_SPECIFICATION:
    case AT_ABSTRACT_ORIGIN:
    case AT_SIGNATURE:
        if (value->class == VALUE_REFERENCE) {
            out->origin = value->number;
            out->is_specification = name == AT_SPECIFICATION;
        }
        break;
    case AT_BYTE_SIZE:
        if (is_number(value)) {
            out->byte_size = value->number;
            out->has_byte_size = 1;
        }
        break;
    case AT_BIT_SIZE: out->is_bit_field = 1; break;
    case AT_MEMBER_LOCATION: take_member_offset(out, value); break;
    case AT_DECLARATION: out->is_declaration = value->number != 0; break;
    case AT_EXTERNAL: out->is_external = value->number != 0; break;
    case AT_ARTIFICIAL: out->is_artificial = value->number != 0; break;
    case AT_EXPORT_SYMBOLS: out->is_inline_namespace = value->number != 0; break;
    case AT_VIRTUALITY: break;
    case AT_INLINE: out->is_inline = value->number != 0; break;
    case AT_UPPER_BOUND:
        if (value->class == VALUE_CONSTANT || value->class == VALUE_SIGNED) {
            out->upper_bound = value->number;
            out->has_upper_bound = 1;
        }
        break;
    case AT_COUNT:
        if (is_number(value)) {
            out->count = value->number;
            out->has_count = 1;
        }
        break;
    case AT_LOCATION: take_location(&out->location, value); break;
    case AT_FRAME_BASE: take_location(&out->frame_base, value); break;
    case AT_LOW_PC: take_address(session, unit, value, &out->low_pc, &out->has_low_pc); break;
    case AT_HIGH_PC:
        if (is_number(value)) {
            out->high_pc = value->number;
            out->has_high_pc = out->is_high_offset = 1;
        } else
            take_address(session, unit, value, &out->high_pc, &out->has_high_pc);
        break;
    case AT_RANGES:
        out->ranges = value->number;
        out->has_ranges = 1;
        out->is_ranges_index = value->class == VALUE_LIST_INDEX;
        break;
    case AT_LANGUAGE: out->language = (uint16_t)value->number; break;
    case AT_COMP_DIR: out->comp_dir = value->text; break;
    case AT_DWO_NAME:
    case AT_GNU_DWO_NAME: out->dwo_name = value->text; break;
    case AT_GNU_DWO_ID:
        out->dwo_id = value->number;
        out->has_dwo_id = 1;
        break;
    case AT_SIBLING:
        if (value->class == VALUE_REFERENCE && value->number != DWARF_NONE &&
            DWARF_REF_SPACE(value->number) == unit->space)
            out->sibling = DWARF_REF_OFFSET(value->number);
        break;
    default: break;
    }
}

static int is_wanted(uint32_t name) {
    switch (name) {
    case 0x3a: /* decl_file, decl_line, decl_column, accessibility, prototyped */
    case 0x3b:
    case 0x39:
    case 0x32:
    case 0x27: return 0;
    default: return 1;
    }
}

static const struct abbrev *abbrev_at(struct dwarf_session *session, struct dwarf_unit *unit,
                                      struct cursor *c, const struct dwarf_abbrevs **out_table,
                                      int *out_result) {
    const uint64_t code = uleb(c);
    *out_result = -1;
    if (!c->at)
        return NULL;
    if (code == 0) {
        *out_result = 0;
        return NULL;
    }
    const struct dwarf_abbrevs *const table = abbrevs_of(session, unit);
    if (!table || code > table->n_codes || !table->codes[code - 1].is_used)
        return NULL;
    *out_table = table;
    *out_result = 1;
    return &table->codes[code - 1];
}

/* Reads the bases of a unit's indexed forms, which may stand behind the first use of one. */
static void read_bases(struct dwarf_session *session, struct dwarf_unit *unit) {
    const struct dwarf_space *const space = &session->spaces[unit->space];
    unit->has_bases = 1;
    if (unit->version >= 5 && space->file->is_split) {
        /* Of a .dwo file: the first table of each section, behind its header. */
        unit->base_strings = unit->offset_size == 8 ? 16 : 8;
        unit->base_lists = unit->base_ranges = unit->offset_size == 8 ? 20 : 12;
    }
    struct cursor c = {space->data.data + unit->first_die, space->data.data + unit->end};
    const struct dwarf_abbrevs *table = NULL;
    int result = 0;
    const struct abbrev *const abbrev = abbrev_at(session, unit, &c, &table, &result);
    if (!abbrev)
        return;
    uint64_t low_index = UINT64_MAX;
    for (uint32_t i = 0; i < abbrev->n && c.at; i++) {
        const struct attribute *const attribute = &table->attributes[abbrev->first + i];
        struct value value;
        read_value(session, unit, attribute->form, attribute->constant, &c, &value);
        if (!c.at)
            return;
        switch (attribute->name) {
        case AT_STRING_OFFSETS_BASE: unit->base_strings = value.number; break;
        case AT_ADDRESS_BASE:
        case AT_GNU_ADDRESS_BASE: unit->base_addresses = value.number; break;
        case AT_LOCATION_LISTS_BASE: unit->base_lists = value.number; break;
        case AT_RANGE_LISTS_BASE:
        case AT_GNU_RANGES_BASE: unit->base_ranges = value.number; break;
        case AT_LOW_PC:
            if (value.class == VALUE_ADDRESS)
                unit->low_pc = value.number;
            else if (value.class == VALUE_ADDRESS_INDEX)
                low_index = value.number;
            break;
        case AT_LANGUAGE: unit->language = (uint16_t)value.number; break;
        default: break;
        }
    }
    if (low_index != UINT64_MAX)
        dwarf_address(session, unit, low_index, &unit->low_pc);
}

int dwarf_die_read(struct dwarf_session *session, struct dwarf_unit *unit, uint64_t offset,
                   struct dwarf_die *out) {
    const struct dwarf_space *const space = &session->spaces[unit->space];
    memset(out, 0, sizeof *out);
    out->offset = offset;
    out->type = out->origin = DWARF_NONE;
    if (offset < unit->first_die || offset >= unit->end)
        return -1;
    if (!unit->has_bases)
        read_bases(session, unit);
    struct cursor c = {space->data.data + offset, space->data.data + unit->end};
    const struct dwarf_abbrevs *table = NULL;
    int result = 0;
    const struct abbrev *const abbrev = abbrev_at(session, unit, &c, &table, &result);
    if (abbrev) {
        out->tag = abbrev->tag;
        out->has_children = abbrev->has_children;
        for (uint32_t i = 0; i < abbrev->n; i++) {
            const struct attribute *const attribute = &table->attributes[abbrev->first + i];
            struct value value;
            read_value(session, unit, attribute->form, attribute->constant, &c, &value);
            if (!c.at)
                return -1;
            if (is_wanted(attribute->name))
                take(session, unit, out, attribute->name, &value);
        }
    }
    if (c.at)
        out->next = (uint64_t)(c.at - space->data.data);
    return result;
}

uint64_t dwarf_die_after(struct dwarf_session *session, struct dwarf_unit *unit,
                         const struct dwarf_die *die) {
    if (!die->has_children)
        return die->next;
    if (die->sibling > die->offset && die->sibling < unit->end)
        return die->sibling;
    uint64_t at = die->next;
    uint64_t depth = 1;
    struct dwarf_die child;
    while (depth > 0) {
        const int result = dwarf_die_read(session, unit, at, &child);
        if (result < 0)
            return 0;
        if (result == 0)
            depth--;
        else if (child.has_children) {
            if (child.sibling > child.offset && child.sibling < unit->end) {
                at = child.sibling;
                continue;
            }
            depth++;
        }
        at = child.next;
    }
    return at;
}

/* Reads the header of the unit at *offset and moves on behind it. 1, or 0: no more. */
static int read_unit(const struct dwarf_space *space, uint64_t *offset, struct dwarf_unit *out) {
    if (*offset >= space->data.size)
        return 0;
    const uint8_t *const data = space->data.data;
    struct cursor c = {data + *offset, data + space->data.size};
    uint64_t length = fixed(&c, 4);
    memset(out, 0, sizeof *out);
    out->offset_size = 4;
    if (length == 0xffffffff) {
        length = fixed(&c, 8);
        out->offset_size = 8;
    }
    if (!c.at || length > (uint64_t)(c.end - c.at))
        return 0;
    out->start = *offset;
    out->end = (uint64_t)(c.at - data) + length;
    *offset = out->end;
    c.end = data + out->end;
    out->version = (uint8_t)fixed(&c, 2);
    uint64_t address_size;
    if (out->version >= 5) {
        out->unit_type = (uint8_t)fixed(&c, 1);
        address_size = fixed(&c, 1);
        out->abbrev_offset = fixed(&c, out->offset_size);
        if (out->unit_type == UNIT_SKELETON || out->unit_type == UNIT_SPLIT_COMPILE)
            out->signature = fixed(&c, 8);
    } else {
        out->abbrev_offset = fixed(&c, out->offset_size);
        address_size = fixed(&c, 1);
        out->unit_type = space->is_types ? UNIT_TYPE : UNIT_COMPILE;
    }
    if (out->unit_type == UNIT_TYPE || out->unit_type == UNIT_SPLIT_TYPE) {
        out->signature = fixed(&c, 8);
        out->type_offset = fixed(&c, out->offset_size);
        out->type_offset =
            out->type_offset < out->end - out->start ? out->start + out->type_offset : 0;
    }
    out->first_die = c.at ? (uint64_t)(c.at - data) : out->end;
    /* What cannot be read is kept as an empty unit: units after it are good. */
    if (!c.at || out->version < 2 || out->version > 5 || address_size != 8)
        out->first_die = out->end;
    return 1;
}

int dwarf_space_add(struct dwarf_session *session, const struct dwarf_file *file,
                    struct elf_bytes data, int is_types) {
    if (session->n_spaces == DWARF_SPACES_MAX ||
        mem_grow(&session->spaces, &session->spaces_capacity, session->n_spaces + 1,
                 sizeof *session->spaces) != 0)
        return -1;
    struct dwarf_space *const space = &session->spaces[session->n_spaces];
    *space = (struct dwarf_space){
        .file = file, .data = data, .first_unit = session->n_units, .is_types = is_types};
    if (data.size >> 47)
        return -1;
    uint64_t offset = 0;
    struct dwarf_unit unit;
    while (session->n_units < SCOPE_UNITS_MAX && read_unit(space, &offset, &unit)) {
        if (mem_grow(&session->units, &session->units_capacity, session->n_units + 1,
                     sizeof *session->units) != 0)
            return -1;
        unit.space = session->n_spaces;
        if (unit.type_offset) {
            if (mem_grow(&session->signatures, &session->signatures_capacity,
                         session->n_signatures + 1, sizeof *session->signatures) != 0)
                return -1;
            session->signatures[session->n_signatures++] =
                (struct dwarf_signature){.signature = unit.signature, .unit = session->n_units};
        }
        session->units[session->n_units++] = unit;
        space->n_units++;
    }
    if (session->n_signatures)
        qsort(session->signatures, session->n_signatures, sizeof *session->signatures,
              compare_signatures);
    return (int)session->n_spaces++;
}

struct dwarf_unit *dwarf_unit_of(struct dwarf_session *session, dwarf_ref ref) {
    if (ref == DWARF_NONE || DWARF_REF_SPACE(ref) >= session->n_spaces)
        return NULL;
    const struct dwarf_space *const space = &session->spaces[DWARF_REF_SPACE(ref)];
    const uint64_t offset = DWARF_REF_OFFSET(ref);
    uint32_t low = 0, high = space->n_units;
    struct dwarf_unit *const units = session->units + space->first_unit;
    while (low < high) {
        const uint32_t middle = low + (high - low) / 2;
        if (units[middle].end <= offset)
            low = middle + 1;
        else
            high = middle;
    }
    if (low == space->n_units || offset < units[low].first_die)
        return NULL;
    return &units[low];
}

/* Calls see for each part of a list of DWARF 4 until it returns 1; with_data: a location list. */
struct part {
    uint64_t low, high;
    const uint8_t *data;
    uint64_t size;
};

static int find_in_list_4(const struct elf_bytes *bytes, uint64_t offset, uint64_t base,
                          int with_data, uint64_t address, struct part *out) {
    if (offset >= bytes->size)
        return 0;
    struct cursor c = {bytes->data + offset, bytes->data + bytes->size};
    for (;;) {
        const uint64_t low = fixed(&c, 8), high = fixed(&c, 8);
        if (!c.at || (low == 0 && high == 0))
            return 0;
        if (low == UINT64_MAX) {
            base = high;
            continue;
        }
        *out = (struct part){.low = low + base, .high = high + base};
        if (with_data) {
            out->size = fixed(&c, 2);
            out->data = skip(&c, out->size);
            if (!c.at)
                return 0;
        }
        if (address >= out->low && address < out->high)
            return 1;
    }
}

/* The same of DWARF 5. The kinds of range lists and location lists differ by one from 5 on, where
 * location lists have a default. */
static int find_in_list_5(const struct dwarf_session *session, const struct dwarf_unit *unit,
                          const struct elf_bytes *bytes, uint64_t offset, int with_data,
                          uint64_t address, struct part *out) {
    uint64_t base = unit->low_pc;
    if (offset >= bytes->size)
        return 0;
    struct cursor c = {bytes->data + offset, bytes->data + bytes->size};
    for (;;) {
        uint64_t kind = fixed(&c, 1), index = 0, low = 0, high = 0;
        int is_part = 1, ok = 1;
        if (!c.at || kind == 0)
            return 0;
        if (with_data && kind == 5)
            kind = 100;
        else if (with_data && kind > 5)
            kind--;
        switch (kind) {
        case 1:
            index = uleb(&c);
            ok = c.at && dwarf_address(session, unit, index, &base);
            is_part = 0;
            break;
        case 2:
            index = uleb(&c);
            ok = c.at && dwarf_address(session, unit, index, &low);
            index = uleb(&c);
            ok = ok && c.at && dwarf_address(session, unit, index, &high);
            break;
        case 3:
            index = uleb(&c);
            ok = c.at && dwarf_address(session, unit, index, &low);
            high = low + uleb(&c);
            break;
        case 4:
            low = base + uleb(&c);
            high = base + uleb(&c);
            break;
        case 5:
            base = fixed(&c, 8);
            is_part = 0;
            break;
        case 6:
            low = fixed(&c, 8);
            high = fixed(&c, 8);
            break;
        case 7:
            low = fixed(&c, 8);
            high = low + uleb(&c);
            break;
        case 100: high = UINT64_MAX; break;
        default: return 0;
        }
        if (!c.at)
            return 0;
        if (!is_part)
            continue;
        *out = (struct part){.low = low, .high = high};
        if (with_data) {
            out->size = uleb(&c);
            out->data = skip(&c, out->size);
            if (!c.at)
                return 0;
        }
        if (ok && address >= low && address < high)
            return 1;
    }
}

/* Offset of list number `index` in a table of offsets that starts at base. */
static int list_offset(const struct elf_bytes *bytes, const struct dwarf_unit *unit, uint64_t base,
                       uint64_t index, uint64_t *out) {
    if (index > UINT32_MAX || base > bytes->size)
        return 0;
    const uint64_t at = base + index * unit->offset_size;
    if (at > bytes->size || unit->offset_size > bytes->size - at)
        return 0;
    uint64_t offset = 0;
    memcpy(&offset, bytes->data + at, unit->offset_size);
    *out = base + offset;
    return offset <= bytes->size;
}

int dwarf_die_covers(const struct dwarf_session *session, const struct dwarf_unit *unit,
                     const struct dwarf_die *die, uint64_t address) {
    if (die->has_low_pc && die->has_high_pc) {
        const uint64_t high = die->is_high_offset ? die->low_pc + die->high_pc : die->high_pc;
        return die->low_pc != 0 && address >= die->low_pc && address < high;
    }
    if (!die->has_ranges)
        return 0;
    const struct dwarf_file *const file = session->spaces[unit->space].file;
    struct part part;
    if (unit->version < 5) {
        const struct dwarf_file *const from = file->skeleton ? file->skeleton : file;
        return find_in_list_4(&from->ranges, die->ranges + (file->skeleton ? unit->base_ranges : 0),
                              unit->low_pc, 0, address, &part);
    }
    uint64_t offset = die->ranges;
    if (die->is_ranges_index &&
        !list_offset(&file->range_lists, unit, unit->base_ranges, die->ranges, &offset))
        return 0;
    return find_in_list_5(session, unit, &file->range_lists, offset, 0, address, &part);
}

int dwarf_location_at(const struct dwarf_session *session, const struct dwarf_unit *unit,
                      const struct dwarf_location *location, uint64_t address, const uint8_t **out,
                      uint64_t *out_size) {
    const struct dwarf_file *const file = session->spaces[unit->space].file;
    struct part part = {.data = location->data, .size = location->size};
    uint64_t offset = location->list;
    switch (location->kind) {
    case DWARF_LOCATION_BLOCK: break;
    case DWARF_LOCATION_LIST_INDEX:
        if (!list_offset(&file->location_lists, unit, unit->base_lists, location->list, &offset))
            return 0;
        if (!find_in_list_5(session, unit, &file->location_lists, offset, 1, address, &part))
            return 0;
        break;
    case DWARF_LOCATION_LIST:
        /* Lists of split units before DWARF 5 have kinds of their own: left out. */
        if (unit->version < 5 && file->is_split)
            return 0;
        if (!(unit->version < 5
                  ? find_in_list_4(&file->locations, offset, unit->low_pc, 1, address, &part)
                  : find_in_list_5(session, unit, &file->location_lists, offset, 1, address,
                                   &part)))
            return 0;
        break;
    default: return 0;
    }
    if (!part.data)
        return 0;
    *out = part.data;
    *out_size = part.size;
    return 1;
}

void dwarf_session_release(struct dwarf_session *session) {
    while (session->all_abbrevs) {
        struct dwarf_abbrevs *const table = session->all_abbrevs;
        session->all_abbrevs = table->next;
        free(table->codes);
        free(table->attributes);
        free(table);
    }
    free(session->signatures);
    free(session->spaces);
    free(session->units);
    memset(session, 0, sizeof *session);
}
