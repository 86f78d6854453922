/* DWARF through libdwarf: units, line tables, functions and chains of inlined ones. The only file
 * that includes its headers.
 *
 * libdwarf sees a file only through the checked sections of elf.h (its own ELF reader is not used),
 * and only the debug sections. Units are found by one pass over their headers and ranges; then each
 * unit that has an address is read once: its line table, and the DIEs on the way to the functions
 * that hold the addresses. References are followed within the file, into the file of
 * .gnu_debugaltlink, and from a skeleton into its .dwo. A function without a linkage name (a
 * lambda, a local class) gets its scopes from an index of its unit, made when first needed. Not
 * done: .dwp packages, .debug_types. */
#include "symbol/dwarf.h"

#include DWARF_H
#include LIBDWARF_H
#include <elf.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "symbol/debugfile.h"
#include "symbol/demangle.h"
#include "symbol/source_path.h"
#include "symbol/split.h"

#define SECTION_MAX_BYTES ((uint64_t)4 << 30)
#define REFERENCES_MAX 16
#define DEPTH_MAX 200
#define NO_FILE UINT64_MAX /* 0 is a file since DWARF 5 */
#define UNITS_MAX 4000000
#define RANGES_MAX 1000000

#ifndef DW_FORM_GNU_ref_alt
#define DW_FORM_GNU_ref_alt 0x1f20
#endif
#define AT_GNU_DWO_NAME 0x2130
#define AT_GNU_DWO_ID 0x2131
#define AT_DWO_NAME 0x76

/* The interface of object access was renamed with version 0.3, which also is the first to define
 * its version as a number. */
#ifdef DW_LIBDWARF_VERSION_MAJOR
typedef Dwarf_Obj_Access_Interface_a object_interface;
typedef Dwarf_Obj_Access_Methods_a object_methods;
typedef Dwarf_Obj_Access_Section_a object_section;
typedef Dwarf_Small object_order;
typedef Dwarf_Unsigned object_size;
#define OBJECT_FIELD(name) as_##name
#define OBJECT_INTERFACE(object, table)                                                            \
    { .ai_object = (object), .ai_methods = (table) }
#define METHOD(name) om_##name
#define ENTRYSIZE as_entrysize
#define ORDER_LITTLE DW_END_little
#define free_ranges dwarf_dealloc_ranges
#define object_finish(dbg, error) dwarf_object_finish(dbg)
#if DW_LIBDWARF_VERSION_MAJOR > 0 || DW_LIBDWARF_VERSION_MINOR >= 7
typedef Dwarf_Unsigned object_index;
#else
typedef Dwarf_Half object_index;
#endif
#else
typedef Dwarf_Obj_Access_Interface object_interface;
typedef Dwarf_Obj_Access_Methods object_methods;
typedef Dwarf_Obj_Access_Section object_section;
typedef Dwarf_Endianness object_order;
typedef Dwarf_Unsigned object_size;
#define OBJECT_FIELD(name) name
#define OBJECT_INTERFACE(object_, table)                                                           \
    { .object = (object_), .methods = (table) }
#define METHOD(name) name
#define ENTRYSIZE entrysize
#define ORDER_LITTLE DW_OBJECT_LSB
#define free_ranges dwarf_ranges_dealloc
#define object_finish(dbg, error) dwarf_object_finish(dbg, error)
typedef Dwarf_Half object_index;
#endif

/* One file opened by libdwarf. It looks at the first byte to tell its own kinds of objects by their
 * letters; a zero is none of them. */
struct object {
    uint64_t zero;
    struct elf_file *elf;
    struct elf_bytes *loaded; /* one per section */
    object_interface interface;
    Dwarf_Debug dbg;
};

struct range {
    uint64_t low;
    uint64_t high;
};

struct unit {
    Dwarf_Off die;
    uint64_t signature;
    uint32_t n_targets;
};

struct link {
    Dwarf_Off die;
    uint64_t call_file;
    uint32_t call_line;
};

/* An address that is looked for in the unit at hand. */
struct target {
    uint64_t address;
    size_t index;
    uint64_t file;
    uint32_t line;
    uint8_t has_line;
    uint32_t n_links; /* outermost first */
    uint32_t capacity;
    struct link *links;
};

/* A resolved name by the offset of its DIE, in the space of offsets it belongs to. */
struct name {
    Dwarf_Off die;
    uint32_t space_plus_1; /* 0: empty slot */
    uint32_t is_linkage;
    uint32_t declaration_file; /* 0 if unknown */
    char *text;
};

enum { SPACE_MAIN = 0, SPACE_ALT = 1, SPACE_DWO = 2 };

/* A namespace, class or function outside of functions, by the range of offsets of its tree. */
struct scope {
    Dwarf_Off start;
    Dwarf_Off end; /* UINT64_MAX: that of its parent */
    uint32_t parent_plus_1;
    uint32_t is_function;
};

/* The scopes of one unit, in the order of their starts. */
struct scope_index {
    Dwarf_Off unit_die;
    uint32_t space_plus_1; /* 0: unused */
    uint32_t has_scopes;   /* 0: of a language without */
    struct scope *scopes;
    size_t n;
    size_t capacity;
};

#define SCOPE_INDEXES 16

struct session {
    const struct dwarf_request *request;
    dwarf_emit *emit;
    void *context;
    struct object main;
    struct object alt;
    struct elf_file alt_elf;
    int has_alt;
    struct unit *units;
    size_t n_units;
    size_t units_capacity;
    uint32_t *unit_of;   /* per address: unit + 1, 0: none */
    struct split *split; /* not NULL while a split DWARF 5 unit is read */
    Dwarf_Debug split_dbg;
    struct range *ranges;
    size_t n_ranges;
    size_t ranges_capacity;
    struct name *names;
    size_t names_capacity; /* a power of two */
    size_t n_names;
    struct scope_index indexes[SCOPE_INDEXES];
    unsigned next_index;
    unsigned naming_depth;
    uint32_t ticks;
    int is_late;
};

/* What walking one unit needs. */
struct walk {
    struct session *session;
    Dwarf_Debug dbg; /* of the tree of DIEs */
    uint32_t space;
    uint64_t base; /* of DWARF 4 ranges */
    struct target *targets;
    size_t n_targets;
    int is_deep;
};

struct file_table {
    Dwarf_Line_Context context;
    Dwarf_Half version;
    const char *compilation_directory;
    char **paths; /* by file number; NULL: not made yet */
    size_t n_paths;
};

static int is_late(struct session *session) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    if ((uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec >= session->request->deadline_ns)
        session->is_late = 1;
    return session->is_late;
}

/* Whether a call found something; drops its error otherwise. */
static int found(Dwarf_Debug dbg, int result, Dwarf_Error *error) {
    if (result == DW_DLV_ERROR && *error)
        dwarf_dealloc_error(dbg, *error);
    *error = NULL;
    return result == DW_DLV_OK;
}

static int is_debug_section(const struct elf_section *section) {
    return section->size > 0 && strncmp(section->name, ".debug_", 7) == 0;
}

/* Size of a section once inflated; 0: not to be used. */
static uint64_t inflated_size(struct object *object, const struct elf_section *section) {
    if (!(section->flags & SHF_COMPRESSED))
        return section->size;
    Elf64_Chdr header;
    if (section->size < sizeof header || !object->elf->map)
        return 0;
    memcpy(&header, object->elf->map + section->offset, sizeof header);
    return header.ch_size <= SECTION_MAX_BYTES ? header.ch_size : 0;
}

static int get_section_info(void *context, object_index index, object_section *out, int *error) {
    struct object *const object = context;
    memset(out, 0, sizeof *out);
    out->OBJECT_FIELD(name) = "";
    if (index >= object->elf->n_sections)
        return DW_DLV_NO_ENTRY;
    const struct elf_section *const section = &object->elf->sections[index];
    if (!is_debug_section(section))
        return DW_DLV_OK;
    out->OBJECT_FIELD(name) = section->name;
    out->OBJECT_FIELD(type) = section->type;
    out->OBJECT_FIELD(size) = inflated_size(object, section);
    out->ENTRYSIZE = section->entry_size;
    return DW_DLV_OK;
}

static object_order get_byte_order(void *context) {
    return ORDER_LITTLE;
}
static Dwarf_Small get_eight(void *context) {
    return 8;
}

static object_size get_section_count(void *context) {
    const struct object *const object = context;
    return object->elf->n_sections;
}

static int load_section(void *context, object_index index, Dwarf_Small **out, int *error) {
    struct object *const object = context;
    if (index >= object->elf->n_sections || !is_debug_section(&object->elf->sections[index]))
        return DW_DLV_NO_ENTRY;
    struct elf_bytes *const bytes = &object->loaded[index];
    if (!bytes->data &&
        !elf_read(object->elf, &object->elf->sections[index], SECTION_MAX_BYTES, bytes)) {
        *error = DW_DLE_ALLOC_FAIL;
        return DW_DLV_ERROR;
    }
    *out = (Dwarf_Small *)bytes->data;
    return DW_DLV_OK;
}

#ifdef DW_LIBDWARF_VERSION_MAJOR
static Dwarf_Unsigned get_file_size(void *context) {
    const struct object *const object = context;
    return object->elf->size;
}
#endif

static const object_methods methods = {
    .METHOD(get_section_info) = get_section_info,
    .METHOD(get_byte_order) = get_byte_order,
    .METHOD(get_length_size) = get_eight,
    .METHOD(get_pointer_size) = get_eight,
    .METHOD(load_section) = load_section,
#ifdef DW_LIBDWARF_VERSION_MAJOR
    .METHOD(get_filesize) = get_file_size,
#endif
    .METHOD(get_section_count) = get_section_count,
};

static int object_open(struct object *object, struct elf_file *elf, unsigned group) {
    memset(object, 0, sizeof *object);
    object->elf = elf;
    if (elf->n_sections == 0 || elf->n_sections > 0xff00 || !elf_map(elf))
        return 0;
    object->loaded = calloc(elf->n_sections, sizeof *object->loaded);
    if (!object->loaded)
        return 0;
    const object_interface interface = OBJECT_INTERFACE(object, &methods);
    object->interface = interface;
    Dwarf_Error error = NULL;
    if (dwarf_object_init_b(&object->interface, NULL, NULL, group, &object->dbg, &error) !=
        DW_DLV_OK) {
        object->dbg = NULL;
        free(object->loaded);
        object->loaded = NULL;
        return 0;
    }
    return 1;
}

static void object_close(struct object *object) {
    Dwarf_Error error = NULL;
    (void)error;
    if (object->dbg)
        object_finish(object->dbg, &error);
    if (object->loaded) {
        for (uint32_t i = 0; i < object->elf->n_sections; i++)
            elf_bytes_release(&object->loaded[i]);
    }
    free(object->loaded);
    memset(object, 0, sizeof *object);
}

static char *copy_text(const char *text) {
    const size_t length = strnlen(text, DWARF_TEXT_MAX_BYTES - 1);
    char *const copy = malloc(length + 1);
    if (copy) {
        memcpy(copy, text, length);
        copy[length] = 0;
    }
    return copy;
}

/* Text of an attribute; NULL if there is none. Borrowed from the section. */
static const char *text_of(const struct session *session, Dwarf_Debug dbg, Dwarf_Die die,
                           Dwarf_Half number) {
    Dwarf_Error error = NULL;
    char *text = NULL;
    if (session->split && session->split_dbg == dbg) {
        Dwarf_Attribute attribute = NULL;
        Dwarf_Unsigned index = 0;
        if (!found(dbg, dwarf_attr(die, number, &attribute, &error), &error))
            return NULL;
        const int is_indexed =
            found(dbg, dwarf_get_debug_str_index(attribute, &index, &error), &error);
        dwarf_dealloc_attribute(attribute);
        if (is_indexed)
            return split_string(session->split, index);
    }
    return found(dbg, dwarf_die_text(die, number, &text, &error), &error) ? text : NULL;
}

static int number_of(Dwarf_Debug dbg, Dwarf_Die die, Dwarf_Half number, uint64_t *out) {
    Dwarf_Error error = NULL;
    Dwarf_Attribute attribute = NULL;
    if (!found(dbg, dwarf_attr(die, number, &attribute, &error), &error))
        return 0;
    Dwarf_Unsigned value = 0;
    Dwarf_Signed signed_value = 0;
    int ok = found(dbg, dwarf_formudata(attribute, &value, &error), &error);
    if (ok) {
        *out = value;
    } else if (found(dbg, dwarf_formsdata(attribute, &signed_value, &error), &error) &&
               signed_value >= 0) {
        *out = (uint64_t)signed_value;
        ok = 1;
    }
    dwarf_dealloc_attribute(attribute);
    return ok;
}

static int has_attribute(Dwarf_Debug dbg, Dwarf_Die die, Dwarf_Half number) {
    Dwarf_Error error = NULL;
    Dwarf_Bool has = 0;
    return found(dbg, dwarf_hasattr(die, number, &has, &error), &error) && has;
}

static Dwarf_Half version_of(Dwarf_Debug dbg, Dwarf_Die die) {
    Dwarf_Half version = 0, offset_size = 0;
    return dwarf_get_version_of_die(die, &version, &offset_size) == DW_DLV_OK ? version : 0;
}

static int add_range(struct session *session, uint64_t low, uint64_t high) {
    /* Address 0 holds the ELF header: it is what a linker leaves of code that it dropped. */
    if (low == 0 || low >= high)
        return 1;
    if (session->n_ranges == session->ranges_capacity) {
        const size_t capacity = session->ranges_capacity ? session->ranges_capacity * 2 : 64;
        struct range *const grown = realloc(session->ranges, capacity * sizeof *grown);
        if (!grown || capacity > RANGES_MAX)
            return 0;
        session->ranges = grown;
        session->ranges_capacity = capacity;
    }
    session->ranges[session->n_ranges++] = (struct range){low, high};
    return 1;
}

static int add_range_of_split(void *context, uint64_t low, uint64_t high) {
    return add_range(context, low, high);
}

static void add_ranges_4(struct session *session, Dwarf_Debug dbg, Dwarf_Die die, Dwarf_Off offset,
                         uint64_t base) {
    Dwarf_Error error = NULL;
    Dwarf_Ranges *list = NULL;
    Dwarf_Signed n = 0;
    Dwarf_Off real_offset = 0;
    Dwarf_Unsigned n_bytes = 0;
    if (!found(dbg, dwarf_get_ranges_b(dbg, offset, die, &real_offset, &list, &n, &n_bytes, &error),
               &error))
        return;
    for (Dwarf_Signed i = 0; i < n; i++) {
        if (list[i].dwr_type == DW_RANGES_END)
            break;
        if (list[i].dwr_type == DW_RANGES_ADDRESS_SELECTION)
            base = list[i].dwr_addr2;
        else if (!add_range(session, list[i].dwr_addr1 + base, list[i].dwr_addr2 + base))
            break;
    }
    free_ranges(dbg, list, n);
}

static int rnglists_entry(Dwarf_Rnglists_Head head, Dwarf_Unsigned i, unsigned *code,
                          Dwarf_Unsigned *low, Dwarf_Unsigned *high, Dwarf_Error *error) {
    unsigned length = 0;
    Dwarf_Unsigned raw_low = 0, raw_high = 0;
#ifdef DW_LIBDWARF_VERSION_MAJOR
    Dwarf_Bool is_unavailable = 0;
    const int result = dwarf_get_rnglists_entry_fields_a(
        head, i, &length, code, &raw_low, &raw_high, &is_unavailable, low, high, error);
    return result == DW_DLV_OK && is_unavailable ? DW_DLV_NO_ENTRY : result;
#else
    return dwarf_get_rnglists_entry_fields(head, i, &length, code, &raw_low, &raw_high, low, high,
                                           error);
#endif
}

static void add_ranges_5(struct session *session, Dwarf_Debug dbg, Dwarf_Attribute attribute,
                         Dwarf_Half form, Dwarf_Unsigned value) {
    Dwarf_Error error = NULL;
    Dwarf_Rnglists_Head head = NULL;
    Dwarf_Unsigned n = 0, offset = 0;
    if (!found(dbg, dwarf_rnglists_get_rle_head(attribute, form, value, &head, &n, &offset, &error),
               &error))
        return;
    for (Dwarf_Unsigned i = 0; i < n; i++) {
        unsigned code = 0;
        Dwarf_Unsigned low = 0, high = 0;
        if (!found(dbg, rnglists_entry(head, i, &code, &low, &high, &error), &error))
            continue;
        if (code == DW_RLE_end_of_list)
            break;
        if (code == DW_RLE_base_address || code == DW_RLE_base_addressx)
            continue;
        if (!add_range(session, low, high))
            break;
    }
    dwarf_dealloc_rnglists_head(head);
}

/* The start of a DIE's code. For split DWARF 5 units the index is looked up here: libdwarf before
 * 0.4 takes the address table of the wrong unit. */
static int read_low_pc(struct session *session, Dwarf_Debug dbg, Dwarf_Die die, uint64_t *out) {
    Dwarf_Error error = NULL;
    Dwarf_Addr low = 0;
    if (!session->split) {
        if (!found(dbg, dwarf_lowpc(die, &low, &error), &error))
            return 0;
        *out = low;
        return 1;
    }
    Dwarf_Attribute attribute = NULL;
    Dwarf_Unsigned index = 0;
    if (!found(dbg, dwarf_attr(die, DW_AT_low_pc, &attribute, &error), &error))
        return 0;
    const int result =
        found(dbg, dwarf_get_debug_addr_index(attribute, &index, &error), &error)
            ? split_address(session->split, index, out)
            : found(dbg, dwarf_formaddr(attribute, &low, &error), &error) && (*out = low, 1);
    dwarf_dealloc_attribute(attribute);
    return result;
}

/* Puts the address ranges of a DIE into session->ranges. Returns whether it has any attribute that
 * speaks of them. */
static int read_ranges(struct session *session, Dwarf_Debug dbg, Dwarf_Die die, uint64_t base) {
    Dwarf_Error error = NULL;
    Dwarf_Attribute attribute = NULL;
    session->n_ranges = 0;
    if (found(dbg, dwarf_attr(die, DW_AT_ranges, &attribute, &error), &error)) {
        Dwarf_Half form = 0;
        Dwarf_Unsigned value = 0;
        Dwarf_Off offset = 0;
        int ok = found(dbg, dwarf_whatform(attribute, &form, &error), &error);
        if (ok && form == DW_FORM_rnglistx)
            ok = found(dbg, dwarf_formudata(attribute, &value, &error), &error);
        else if (ok) {
            ok = found(dbg, dwarf_global_formref(attribute, &offset, &error), &error) ||
                 found(dbg, dwarf_formudata(attribute, &value, &error), &error);
            if (offset)
                value = offset;
        }
        if (ok) {
            if (form == DW_FORM_rnglistx && session->split)
                split_ranges(session->split, value, add_range_of_split, session);
            else if (version_of(dbg, die) >= 5)
                add_ranges_5(session, dbg, attribute, form, value);
            else
                add_ranges_4(session, dbg, die, value, base);
        }
        dwarf_dealloc_attribute(attribute);
        return 1;
    }
    uint64_t low = 0;
    Dwarf_Addr high = 0;
    Dwarf_Half form = 0;
    enum Dwarf_Form_Class class = DW_FORM_CLASS_UNKNOWN;
    if (!read_low_pc(session, dbg, die, &low) ||
        !found(dbg, dwarf_highpc_b(die, &high, &form, &class, &error), &error))
        return 0;
    add_range(session, low, class == DW_FORM_CLASS_ADDRESS ? high : low + high);
    return 1;
}

/* Index of the first of n ascending addresses that is not below the given one. */
static size_t lower_bound(const uint64_t *addresses, size_t n, uint64_t address) {
    size_t low = 0;
    while (n > 0) {
        const size_t half = n / 2;
        if (addresses[low + half] < address) {
            low += half + 1;
            n -= half + 1;
        } else
            n = half;
    }
    return low;
}

/* Notes which of the wanted addresses a unit's ranges hold. */
static void claim_addresses(struct session *session, size_t unit) {
    const struct dwarf_request *const request = session->request;
    for (size_t i = 0; i < session->n_ranges; i++) {
        const struct range range = session->ranges[i];
        for (size_t k = lower_bound(request->addresses, request->n, range.low);
             k < request->n && request->addresses[k] < range.high; k++) {
            if (session->unit_of[k])
                continue;
            session->unit_of[k] = (uint32_t)unit + 1;
            session->units[unit].n_targets++;
        }
    }
}

static uint64_t signature_number(const Dwarf_Sig8 *signature) {
    uint64_t number;
    memcpy(&number, signature->signature, sizeof number);
    return number;
}

/* The next unit's DIE and signature; NULL at the end. */
static Dwarf_Die next_unit(Dwarf_Debug dbg, uint64_t *signature, Dwarf_Half *kind) {
    Dwarf_Error error = NULL;
    Dwarf_Unsigned length = 0, type_offset = 0, next = 0;
    Dwarf_Off abbreviations = 0;
    Dwarf_Half version = 0, address_size = 0, offset_size = 0, extension = 0;
    Dwarf_Sig8 sig8;
    Dwarf_Die die = NULL;
    memset(&sig8, 0, sizeof sig8);
    *kind = 0;
    if (!found(dbg,
               dwarf_next_cu_header_d(dbg, 1, &length, &version, &abbreviations, &address_size,
                                      &offset_size, &extension, &sig8, &type_offset, &next, kind,
                                      &error),
               &error))
        return NULL;
    *signature = signature_number(&sig8);
    return found(dbg, dwarf_siblingof_b(dbg, NULL, 1, &die, &error), &error) ? die : NULL;
}

static uint64_t low_pc(Dwarf_Debug dbg, Dwarf_Die die) {
    Dwarf_Error error = NULL;
    Dwarf_Addr low = 0;
    return found(dbg, dwarf_lowpc(die, &low, &error), &error) ? low : 0;
}

/* One pass over the units: keeps those that hold wanted addresses. */
static void scan_units(struct session *session) {
    const Dwarf_Debug dbg = session->main.dbg;
    for (size_t n = 0; n < UNITS_MAX && !(n % 64 == 0 && is_late(session)); n++) {
        uint64_t signature = 0;
        Dwarf_Half kind = 0;
        const Dwarf_Die die = next_unit(dbg, &signature, &kind);
        if (!die)
            break;
        Dwarf_Error error = NULL;
        Dwarf_Off offset = 0;
        if (session->n_units == session->units_capacity) {
            const size_t capacity = session->units_capacity ? session->units_capacity * 2 : 256;
            struct unit *const grown = realloc(session->units, capacity * sizeof *grown);
            if (!grown)
                return;
            session->units = grown;
            session->units_capacity = capacity;
        }
        if (kind != DW_UT_type && found(dbg, dwarf_dieoffset(die, &offset, &error), &error) &&
            read_ranges(session, dbg, die, low_pc(dbg, die))) {
            session->units[session->n_units] = (struct unit){.die = offset, .signature = signature};
            claim_addresses(session, session->n_units);
            if (session->units[session->n_units].n_targets)
                session->n_units++;
        }
        dwarf_dealloc_die(die);
    }
}

/* Adds a link to the targets within session->ranges that lie at that depth of functions. Returns
 * how many there are. NULL: only counts. */
static size_t match_targets(struct walk *walk, uint32_t depth, const struct link *link) {
    struct session *const session = walk->session;
    size_t n_matched = 0;
    for (size_t i = 0; i < session->n_ranges; i++) {
        const struct range range = session->ranges[i];
        size_t low = 0, n = walk->n_targets;
        while (n > 0) {
            const size_t half = n / 2;
            if (walk->targets[low + half].address < range.low) {
                low += half + 1;
                n -= half + 1;
            } else
                n = half;
        }
        for (; low < walk->n_targets && walk->targets[low].address < range.high; low++) {
            struct target *const target = &walk->targets[low];
            if (target->n_links != depth)
                continue;
            n_matched++;
            if (!link)
                continue;
            if (target->n_links == target->capacity) {
                const uint32_t capacity = target->capacity ? target->capacity * 2 : 4;
                struct link *const grown = realloc(target->links, capacity * sizeof *grown);
                if (!grown)
                    continue;
                target->links = grown;
                target->capacity = capacity;
            }
            target->links[target->n_links++] = *link;
        }
    }
    return n_matched;
}

static void walk_children(struct walk *walk, Dwarf_Die parent, uint32_t depth, unsigned level);

/* A function or an inlined one. */
static void visit_function(struct walk *walk, Dwarf_Die die, int is_inlined, uint32_t depth,
                           unsigned level) {
    Dwarf_Error error = NULL;
    struct link link = {.call_file = NO_FILE};
    size_t n_matched = 0;
    if (depth < DWARF_FRAMES_MAX && read_ranges(walk->session, walk->dbg, die, walk->base) &&
        match_targets(walk, depth, NULL) > 0 &&
        found(walk->dbg, dwarf_dieoffset(die, &link.die, &error), &error)) {
        uint64_t line = 0;
        if (is_inlined) {
            number_of(walk->dbg, die, DW_AT_call_file, &link.call_file);
            number_of(walk->dbg, die, DW_AT_call_line, &line);
            link.call_line = line <= UINT32_MAX ? (uint32_t)line : 0;
        }
        n_matched = match_targets(walk, depth, &link);
    }
    if (n_matched > 0)
        walk_children(walk, die, depth + 1, level + 1);
    else if (walk->is_deep && !is_inlined)
        walk_children(walk, die, 0, level + 1);
}

static void visit(struct walk *walk, Dwarf_Die die, uint32_t depth, unsigned level) {
    Dwarf_Error error = NULL;
    Dwarf_Half tag = 0;
    if (!found(walk->dbg, dwarf_tag(die, &tag, &error), &error))
        return;
    switch (tag) {
    case DW_TAG_subprogram:
    case DW_TAG_entry_point:
        /* A function within a function is not called from there. */
        visit_function(walk, die, 0, 0, level);
        break;
    case DW_TAG_inlined_subroutine:
        if (depth > 0)
            visit_function(walk, die, 1, depth, level);
        break;
    case DW_TAG_lexical_block:
    case DW_TAG_try_block:
    case DW_TAG_catch_block:
        if (walk->is_deep || !read_ranges(walk->session, walk->dbg, die, walk->base) ||
            match_targets(walk, depth, NULL) > 0)
            walk_children(walk, die, depth, level + 1);
        break;
    case DW_TAG_namespace:
    case DW_TAG_module: walk_children(walk, die, depth, level + 1); break;
    case DW_TAG_class_type:
    case DW_TAG_structure_type:
    case DW_TAG_union_type:
        if (depth == 0 || walk->is_deep)
            walk_children(walk, die, depth, level + 1);
        break;
    default: break;
    }
}

static void walk_children(struct walk *walk, Dwarf_Die parent, uint32_t depth, unsigned level) {
    Dwarf_Error error = NULL;
    Dwarf_Die die = NULL;
    if (level > DEPTH_MAX || walk->session->is_late ||
        !found(walk->dbg, dwarf_child(parent, &die, &error), &error))
        return;
    while (die) {
        if (++walk->session->ticks % 1024 == 0)
            is_late(walk->session);
        visit(walk, die, depth, level);
        Dwarf_Die next = NULL;
        if (walk->session->is_late ||
            !found(walk->dbg, dwarf_siblingof_b(walk->dbg, die, 1, &next, &error), &error))
            next = NULL;
        dwarf_dealloc_die(die);
        die = next;
    }
}

/* The DIE that an attribute refers to, and the space its offset is in; is_far: in another unit,
 * maybe. NULL: none. */
static Dwarf_Die follow(struct session *session, Dwarf_Debug *dbg, uint32_t *space, int *is_far,
                        Dwarf_Die die, Dwarf_Half number) {
    Dwarf_Error error = NULL;
    Dwarf_Attribute attribute = NULL;
    if (!found(*dbg, dwarf_attr(die, number, &attribute, &error), &error))
        return NULL;
    Dwarf_Half form = 0;
    Dwarf_Off offset = 0;
    int ok = found(*dbg, dwarf_whatform(attribute, &form, &error), &error) &&
             form != DW_FORM_ref_sig8 &&
             found(*dbg, dwarf_global_formref(attribute, &offset, &error), &error);
    dwarf_dealloc_attribute(attribute);
    const int is_alt =
        form == DW_FORM_GNU_ref_alt || form == DW_FORM_ref_sup4 || form == DW_FORM_ref_sup8;
    if (is_alt) {
        ok = ok && session->has_alt;
        *dbg = session->alt.dbg;
        *space = SPACE_ALT;
    }
    *is_far |= is_alt || form == DW_FORM_ref_addr;
    Dwarf_Die next = NULL;
    if (!ok || !found(*dbg, dwarf_offdie_b(*dbg, offset, 1, &next, &error), &error))
        return NULL;
    return next;
}

static int is_scope_tag(Dwarf_Half tag) {
    return tag == DW_TAG_namespace || tag == DW_TAG_class_type || tag == DW_TAG_structure_type ||
           tag == DW_TAG_union_type || tag == DW_TAG_module || tag == DW_TAG_interface_type;
}

/* Appends the scopes below a DIE, not into functions. */
static void index_scopes(struct session *session, struct scope_index *index, Dwarf_Debug dbg,
                         Dwarf_Die parent, uint32_t parent_plus_1, unsigned level) {
    Dwarf_Error error = NULL;
    Dwarf_Die die = NULL;
    if (level > DEPTH_MAX || !found(dbg, dwarf_child(parent, &die, &error), &error))
        return;
    size_t last = SIZE_MAX;
    while (die) {
        Dwarf_Half tag = 0;
        Dwarf_Off offset = 0;
        if (++session->ticks % 1024 == 0)
            is_late(session);
        if (found(dbg, dwarf_dieoffset(die, &offset, &error), &error) && last != SIZE_MAX)
            index->scopes[last].end = offset;
        last = SIZE_MAX;
        if (found(dbg, dwarf_tag(die, &tag, &error), &error) &&
            (is_scope_tag(tag) || tag == DW_TAG_subprogram)) {
            if (index->n == index->capacity) {
                const size_t capacity = index->capacity ? index->capacity * 2 : 256;
                struct scope *const grown = realloc(index->scopes, capacity * sizeof *grown);
                if (!grown) {
                    dwarf_dealloc_die(die);
                    return;
                }
                index->scopes = grown;
                index->capacity = capacity;
            }
            last = index->n++;
            index->scopes[last] = (struct scope){.start = offset,
                                                 .end = UINT64_MAX,
                                                 .parent_plus_1 = parent_plus_1,
                                                 .is_function = tag == DW_TAG_subprogram};
            if (tag != DW_TAG_subprogram)
                index_scopes(session, index, dbg, die, (uint32_t)last + 1, level + 1);
        }
        Dwarf_Die next = NULL;
        if (session->is_late || !found(dbg, dwarf_siblingof_b(dbg, die, 1, &next, &error), &error))
            next = NULL;
        dwarf_dealloc_die(die);
        die = next;
    }
}

/* Whether functions of a language have scopes that belong to their names. */
static int has_scopes(Dwarf_Debug dbg, Dwarf_Die unit_die) {
    uint64_t language = 0;
    number_of(dbg, unit_die, DW_AT_language, &language);
    switch (language) {
    case 0x04: /* C++, also 03, 11, 14, 17, 20 */
    case 0x19:
    case 0x1a:
    case 0x21:
    case 0x2a:
    case 0x2b:
    case 0x11: /* Objective-C++ */
    case 0x13: /* D */
    case 0x1c: /* Rust */
    case 0x27: /* Zig */ return 1;
    default: return 0;
    }
}

/* The index of the unit that has a DIE, made on first use; a few are kept. NULL: none. */
static const struct scope_index *index_of(struct session *session, Dwarf_Debug dbg, uint32_t space,
                                          Dwarf_Die die) {
    Dwarf_Error error = NULL;
    Dwarf_Off offset = 0, unit_offset = 0;
    Dwarf_Die unit_die = NULL;
    if (!found(dbg, dwarf_dieoffset(die, &offset, &error), &error) ||
        !found(dbg, dwarf_CU_dieoffset_given_die(die, &unit_offset, &error), &error))
        return NULL;
    for (size_t i = 0; i < SCOPE_INDEXES; i++) {
        if (session->indexes[i].space_plus_1 == space + 1 &&
            session->indexes[i].unit_die == unit_offset)
            return &session->indexes[i];
    }
    if (!found(dbg, dwarf_offdie_b(dbg, unit_offset, 1, &unit_die, &error), &error))
        return NULL;
    struct scope_index *const index = &session->indexes[session->next_index++ % SCOPE_INDEXES];
    free(index->scopes);
    *index = (struct scope_index){.unit_die = unit_offset, .space_plus_1 = space + 1};
    index->has_scopes = has_scopes(dbg, unit_die);
    if (index->has_scopes)
        index_scopes(session, index, dbg, unit_die, 0, 0);
    dwarf_dealloc_die(unit_die);
    return index;
}

/* The innermost scope that holds an offset, itself excluded; plus 1, 0: none. */
static uint32_t find_scope(const struct scope_index *index, Dwarf_Off offset) {
    size_t low = 0, n = index->n;
    while (n > 0) {
        const size_t half = n / 2;
        if (index->scopes[low + half].start < offset) {
            low += half + 1;
            n -= half + 1;
        } else
            n = half;
    }
    /* The last one that starts before it, or the parent of the outermost around it that ends
     * before. */
    uint32_t best = (uint32_t)low;
    for (uint32_t at = best; at; at = index->scopes[at - 1].parent_plus_1) {
        if (index->scopes[at - 1].end <= offset)
            best = index->scopes[at - 1].parent_plus_1;
    }
    return best;
}

static const struct name *name_of(struct session *session, Dwarf_Debug dbg, uint32_t space,
                                  Dwarf_Off die);

struct scoped_name {
    char text[DWARF_TEXT_MAX_BYTES];
    size_t length;
};

/* What does not fit is left out: the name stays a name, if a less exact one. */
static void append_scope(struct scoped_name *name, const char *text) {
    const size_t n = strnlen(text, sizeof name->text);
    const size_t separator = name->length > 0 ? 2 : 0;
    if (name->length + separator + n + 1 > sizeof name->text)
        return;
    memcpy(name->text + name->length, "::", separator);
    memcpy(name->text + name->length + separator, text, n + 1);
    name->length += separator + n;
}

static void append_function(struct session *session, Dwarf_Debug dbg, uint32_t space, Dwarf_Off die,
                            struct scoped_name *out) {
    char text[DEMANGLE_MAX_BYTES];
    const struct name *const name =
        session->naming_depth < 4 ? name_of(session, dbg, space, die) : NULL;
    if (!name || !*name->text)
        return;
    /* It has its own scopes already. */
    out->length = 0;
    if (!name->is_linkage) {
        append_scope(out, name->text);
        return;
    }
    demangle(name->text, text);
    append_scope(out, text);
}

static void append_type_or_namespace(struct session *session, Dwarf_Debug dbg, Dwarf_Die die,
                                     struct scoped_name *out) {
    Dwarf_Error error = NULL;
    Dwarf_Half tag = 0;
    const char *const text = text_of(session, dbg, die, DW_AT_name);
    if (text)
        append_scope(out, text);
    else if (found(dbg, dwarf_tag(die, &tag, &error), &error))
        append_scope(out, tag == DW_TAG_namespace ? "(anonymous namespace)" : "(anonymous class)");
}

/* Appends the classes within a function that lead to an offset. */
static void append_local_scopes(struct session *session, Dwarf_Debug dbg, Dwarf_Off function,
                                Dwarf_Off offset, struct scoped_name *out) {
    Dwarf_Error error = NULL;
    Dwarf_Die parent = NULL;
    if (!found(dbg, dwarf_offdie_b(dbg, function, 1, &parent, &error), &error))
        return;
    for (unsigned level = 0; parent && level < DEPTH_MAX; level++) {
        Dwarf_Die die = NULL, last = NULL;
        Dwarf_Off at = 0;
        if (!found(dbg, dwarf_child(parent, &die, &error), &error))
            die = NULL;
        dwarf_dealloc_die(parent);
        parent = NULL;
        while (die && found(dbg, dwarf_dieoffset(die, &at, &error), &error) && at < offset) {
            Dwarf_Die next = NULL;
            if (last)
                dwarf_dealloc_die(last);
            last = die;
            if (++session->ticks % 1024 == 0)
                is_late(session);
            if (session->is_late ||
                !found(dbg, dwarf_siblingof_b(dbg, die, 1, &next, &error), &error))
                next = NULL;
            die = next;
        }
        const int is_there = die && at == offset;
        if (die)
            dwarf_dealloc_die(die);
        if (is_there || !last) {
            if (last)
                dwarf_dealloc_die(last);
            break;
        }
        Dwarf_Half tag = 0;
        if (found(dbg, dwarf_tag(last, &tag, &error), &error) && is_scope_tag(tag))
            append_type_or_namespace(session, dbg, last, out);
        parent = last;
    }
    if (parent)
        dwarf_dealloc_die(parent);
}

/* Puts the scopes of a DIE before its name. */
static void qualify(struct session *session, Dwarf_Debug dbg, uint32_t space, Dwarf_Die die,
                    const char *plain, struct scoped_name *out) {
    Dwarf_Error error = NULL;
    Dwarf_Off offset = 0;
    const struct scope_index *const index = index_of(session, dbg, space, die);
    if (index && index->has_scopes && found(dbg, dwarf_dieoffset(die, &offset, &error), &error)) {
        struct scope path[DEPTH_MAX];
        size_t n = 0;
        /* Copied, because naming a function may drop the index. */
        for (uint32_t at = find_scope(index, offset); at && n < DEPTH_MAX;
             at = index->scopes[at - 1].parent_plus_1)
            path[n++] = index->scopes[at - 1];
        while (n-- > 0) {
            if (path[n].is_function) {
                append_function(session, dbg, space, path[n].start, out);
                append_local_scopes(session, dbg, path[n].start, offset, out);
                continue;
            }
            Dwarf_Die scope = NULL;
            if (found(dbg, dwarf_offdie_b(dbg, path[n].start, 1, &scope, &error), &error)) {
                append_type_or_namespace(session, dbg, scope, out);
                dwarf_dealloc_die(scope);
            }
        }
    }
    append_scope(out, plain);
}

/* Finds the name of a function along its origins and specifications. Copied, so that a name from a
 * file that gets closed stays. */
static void find_name(struct session *session, Dwarf_Debug dbg, struct name *out) {
    uint32_t space = out->space_plus_1 - 1;
    Dwarf_Error error = NULL;
    Dwarf_Die die = NULL;
    struct scoped_name scoped = {.length = 0};
    const char *linkage = NULL;
    int has_file = 0;
    if (!found(dbg, dwarf_offdie_b(dbg, out->die, 1, &die, &error), &error))
        die = NULL;
    for (unsigned i = 0; die && i < REFERENCES_MAX; i++) {
        uint64_t file = 0;
        if (!has_file && number_of(dbg, die, DW_AT_decl_file, &file)) {
            out->declaration_file = file <= UINT32_MAX ? (uint32_t)file : 0;
            has_file = 1;
        }
        if (!linkage)
            linkage = text_of(session, dbg, die, DW_AT_linkage_name);
        if (!linkage)
            linkage = text_of(session, dbg, die, DW_AT_MIPS_linkage_name);
        if (linkage && has_file)
            break;
        Dwarf_Debug next_dbg = dbg;
        uint32_t next_space = space;
        Dwarf_Die next =
            follow(session, &next_dbg, &next_space, &has_file, die, DW_AT_abstract_origin);
        if (!next)
            next = follow(session, &next_dbg, &next_space, &has_file, die, DW_AT_specification);
        const char *const plain = linkage || next ? NULL : text_of(session, dbg, die, DW_AT_name);
        if (plain)
            qualify(session, dbg, space, die, plain, &scoped);
        dwarf_dealloc_die(die);
        die = next;
        dbg = next_dbg;
        space = next_space;
    }
    if (die)
        dwarf_dealloc_die(die);
    out->is_linkage = linkage != NULL;
    out->text = linkage ? copy_text(linkage) : copy_text(scoped.length ? scoped.text : "");
}

static size_t hash_name(Dwarf_Off die, uint32_t space) {
    uint64_t hash =
        ((uint64_t)die + space * UINT64_C(0x9e3779b97f4a7c15)) * UINT64_C(0xff51afd7ed558ccd);
    return (size_t)(hash ^ hash >> 32);
}

static int grow_names(struct session *session) {
    const size_t capacity = session->names_capacity ? session->names_capacity * 2 : 1024;
    struct name *const grown = calloc(capacity, sizeof *grown);
    if (!grown)
        return 0;
    for (size_t i = 0; i < session->names_capacity; i++) {
        const struct name *const name = &session->names[i];
        if (!name->space_plus_1)
            continue;
        size_t at = hash_name(name->die, name->space_plus_1) & (capacity - 1);
        while (grown[at].space_plus_1)
            at = (at + 1) & (capacity - 1);
        grown[at] = *name;
    }
    free(session->names);
    session->names = grown;
    session->names_capacity = capacity;
    return 1;
}

static struct name *find_slot(struct session *session, Dwarf_Off die, uint32_t space) {
    const size_t mask = session->names_capacity - 1;
    size_t at = hash_name(die, space + 1) & mask;
    while (session->names[at].space_plus_1 &&
           (session->names[at].die != die || session->names[at].space_plus_1 != space + 1))
        at = (at + 1) & mask;
    return &session->names[at];
}

/* The name of the function at an offset, from the cache if it was asked for before. NULL: no
 * memory.
 */
static const struct name *name_of(struct session *session, Dwarf_Debug dbg, uint32_t space,
                                  Dwarf_Off die) {
    if (session->n_names * 2 >= session->names_capacity && !grow_names(session))
        return NULL;
    const struct name *const known = find_slot(session, die, space);
    if (known->space_plus_1)
        return known->text ? known : NULL;
    struct name name = {.die = die, .space_plus_1 = space + 1};
    session->naming_depth++;
    find_name(session, dbg, &name);
    session->naming_depth--;
    /* Naming it may have named others, itself too if it goes round in a circle. */
    struct name *const slot = find_slot(session, die, space);
    if (slot->space_plus_1)
        free(slot->text);
    else
        session->n_names++;
    *slot = name;
    return slot->text ? slot : NULL;
}

/* Finds the rows of the line table that hold the targets. */
static void find_lines(struct walk *walk, Dwarf_Debug dbg, Dwarf_Line_Context context) {
    Dwarf_Error error = NULL;
    Dwarf_Line *lines = NULL;
    Dwarf_Signed n = 0;
    if (!found(dbg, dwarf_srclines_from_linecontext(context, &lines, &n, &error), &error))
        return;
    Dwarf_Addr address = 0;
    Dwarf_Bool is_end = 1;
    for (Dwarf_Signed i = 0; i < n; i++) {
        const int was_end = is_end;
        const uint64_t from = address;
        if (!found(dbg, dwarf_lineaddr(lines[i], &address, &error), &error) ||
            !found(dbg, dwarf_lineendsequence(lines[i], &is_end, &error), &error))
            return;
        if (was_end || from >= address || from > walk->targets[walk->n_targets - 1].address ||
            address <= walk->targets[0].address)
            continue;
        size_t low = 0, n_left = walk->n_targets;
        while (n_left > 0) {
            const size_t half = n_left / 2;
            if (walk->targets[low + half].address < from) {
                low += half + 1;
                n_left -= half + 1;
            } else
                n_left = half;
        }
        for (; low < walk->n_targets && walk->targets[low].address < address; low++) {
            struct target *const target = &walk->targets[low];
            Dwarf_Unsigned line = 0, file = 0;
            if (target->has_line ||
                !found(dbg, dwarf_lineno(lines[i - 1], &line, &error), &error) ||
                !found(dbg, dwarf_line_srcfileno(lines[i - 1], &file, &error), &error))
                continue;
            target->has_line = 1;
            target->line = line <= UINT32_MAX ? (uint32_t)line : 0;
            target->file = file;
        }
    }
}

/* The normalised path of a file number of the unit; "" if there is none. */
static const char *path_of(struct file_table *files, Dwarf_Debug dbg, uint64_t number) {
    if (!files->context || number > 0x7fffffff)
        return "";
    if (number >= files->n_paths) {
        const size_t n = (size_t)number + 64;
        char **const grown = n < 1000000 ? realloc(files->paths, n * sizeof *grown) : NULL;
        if (!grown)
            return "";
        memset(grown + files->n_paths, 0, (n - files->n_paths) * sizeof *grown);
        files->paths = grown;
        files->n_paths = n;
    }
    if (files->paths[number])
        return files->paths[number];
    Dwarf_Error error = NULL;
    const char *name = NULL, *directory = NULL;
    Dwarf_Unsigned directory_index = 0, time = 0, length = 0;
    char path[DWARF_TEXT_MAX_BYTES] = "";
    if (found(dbg,
              dwarf_srclines_files_data_b(files->context, (Dwarf_Signed)number, &name,
                                          &directory_index, &time, &length, NULL, &error),
              &error) &&
        name) {
        if ((files->version >= 5 || directory_index > 0) &&
            !found(dbg,
                   dwarf_srclines_include_dir_data(files->context, (Dwarf_Signed)directory_index,
                                                   &directory, &error),
                   &error))
            directory = NULL;
        source_path_join(path, sizeof path, files->compilation_directory, directory, name);
    }
    files->paths[number] = strdup(path);
    return files->paths[number] ? files->paths[number] : "";
}

/* The file of a row of the line table. Before version 2, libdwarf starts a DWARF 5 sequence with
 * file 0 where the standard says 1, which differs with clang: the function's own file decides. */
static uint64_t row_file(const struct file_table *files, const struct target *target,
                         const struct name *innermost) {
    if (files->version >= 5 && target->file == 0 && innermost && innermost->declaration_file == 1)
        return 1;
    return target->file;
}

static void emit_target(struct walk *walk, Dwarf_Debug lines_dbg, struct file_table *files,
                        const struct target *target) {
    struct dwarf_frame frames[DWARF_FRAMES_MAX];
    size_t n = 0;
    const char *file = "";
    uint32_t line = target->has_line ? target->line : 0;
    for (size_t i = target->n_links; i-- > 0;) {
        const struct link *const link = &target->links[i];
        const struct name *const name = name_of(walk->session, walk->dbg, walk->space, link->die);
        if (n == 0 && target->has_line)
            file = path_of(files, lines_dbg, row_file(files, target, name));
        frames[n++] = (struct dwarf_frame){.function = name ? name->text : "",
                                           .file = file,
                                           .line = line,
                                           .is_linkage = name && name->is_linkage};
        file = path_of(files, lines_dbg, link->call_file);
        line = link->call_line;
    }
    if (n == 0 && target->has_line)
        frames[n++] = (struct dwarf_frame){
            .function = "", .file = path_of(files, lines_dbg, target->file), .line = line};
    if (n > 0)
        walk->session->emit(walk->session->context, target->index, frames, n);
}

static int has_unmatched(const struct walk *walk) {
    for (size_t i = 0; i < walk->n_targets; i++) {
        if (walk->targets[i].n_links == 0)
            return 1;
    }
    return 0;
}

/* Walks the functions below a unit's DIE; a second time into local classes if the first left some
 * addresses without a function. */
static void walk_functions(struct walk *walk, Dwarf_Die unit_die) {
    walk_children(walk, unit_die, 0, 0);
    if (!walk->session->is_late && has_unmatched(walk)) {
        for (size_t i = 0; i < walk->n_targets; i++)
            walk->targets[i].n_links = 0;
        walk->is_deep = 1;
        walk_children(walk, unit_die, 0, 0);
    }
}

/* Bytes of a section that libdwarf may have loaded, too; borrowed from the object. */
static struct elf_bytes bytes_of(struct object *object, const char *name) {
    const struct elf_section *const section = elf_find(object->elf, name);
    Dwarf_Small *data = NULL;
    int error = 0;
    if (!section)
        return (struct elf_bytes){.data = NULL};
    const size_t index = (size_t)(section - object->elf->sections);
    if (load_section(object, (object_index)index, &data, &error) != DW_DLV_OK)
        return (struct elf_bytes){.data = NULL};
    return (struct elf_bytes){.data = data, .size = object->loaded[index].size};
}

static struct split read_split(struct session *session, struct object *split, Dwarf_Die skeleton) {
    const Dwarf_Debug dbg = session->main.dbg;
    Dwarf_Error error = NULL;
    Dwarf_Attribute attribute = NULL;
    Dwarf_Off base = 0;
    if (found(dbg, dwarf_attr(skeleton, DW_AT_addr_base, &attribute, &error), &error)) {
        if (!found(dbg, dwarf_global_formref(attribute, &base, &error), &error))
            base = 0;
        dwarf_dealloc_attribute(attribute);
    }
    return (struct split){.lists = bytes_of(split, ".debug_rnglists.dwo"),
                          .offsets = bytes_of(split, ".debug_str_offsets.dwo"),
                          .strings = bytes_of(split, ".debug_str.dwo"),
                          .addresses = bytes_of(&session->main, ".debug_addr"),
                          .addresses_base = base,
                          .base = low_pc(dbg, skeleton)};
}

/* The file of the split unit that a skeleton names, if it is there and the right one: walks it
 * instead. Returns 0 if not. Everything of it has to be emitted before it is closed, hence the
 * continuation. */
static int walk_split(struct walk *walk, const struct unit *unit, Dwarf_Die skeleton,
                      Dwarf_Debug lines_dbg, struct file_table *files) {
    struct session *const session = walk->session;
    const Dwarf_Debug dbg = session->main.dbg;
    const char *name = text_of(session, dbg, skeleton, AT_DWO_NAME);
    if (!name)
        name = text_of(session, dbg, skeleton, AT_GNU_DWO_NAME);
    if (!name)
        return 0;
    char path[DWARF_TEXT_MAX_BYTES];
    source_path_join(path, sizeof path, text_of(session, dbg, skeleton, DW_AT_comp_dir), NULL,
                     name);
    struct elf_file elf;
    if (elf_open(&elf, path) != 1)
        return 0;
    struct object object;
    int is_walked = 0;
    if (elf_find(&elf, ".debug_info.dwo") && object_open(&object, &elf, DW_GROUPNUMBER_DWO)) {
        Dwarf_Error error = NULL;
        uint64_t signature = 0, wanted = unit->signature;
        Dwarf_Half kind = 0;
        Dwarf_Die die = NULL;
        if (found(object.dbg, dwarf_set_tied_dbg(object.dbg, dbg, &error), &error))
            die = next_unit(object.dbg, &signature, &kind);
        number_of(dbg, skeleton, AT_GNU_DWO_ID, &wanted);
        if (die) {
            number_of(object.dbg, die, AT_GNU_DWO_ID, &signature);
            if (signature == wanted) {
                struct split split = read_split(session, &object, skeleton);
                session->split = version_of(object.dbg, die) >= 5 ? &split : NULL;
                session->split_dbg = object.dbg;
                walk->dbg = object.dbg;
                walk->space = SPACE_DWO + (uint32_t)(unit - session->units);
                walk_functions(walk, die);
                for (size_t i = 0; !session->is_late && i < walk->n_targets; i++)
                    emit_target(walk, lines_dbg, files, &walk->targets[i]);
                session->split = NULL;
                is_walked = 1;
            }
            dwarf_dealloc_die(die);
        }
        dwarf_set_tied_dbg(object.dbg, NULL, &error);
        object_close(&object);
    }
    elf_close(&elf);
    return is_walked;
}

static void read_unit(struct session *session, const struct unit *unit, struct target *targets) {
    const Dwarf_Debug dbg = session->main.dbg;
    struct walk walk = {.session = session,
                        .dbg = dbg,
                        .space = SPACE_MAIN,
                        .targets = targets,
                        .n_targets = unit->n_targets};
    Dwarf_Error error = NULL;
    Dwarf_Die die = NULL;
    if (!found(dbg, dwarf_offdie_b(dbg, unit->die, 1, &die, &error), &error))
        return;
    walk.base = low_pc(dbg, die);
    struct file_table files = {.compilation_directory = text_of(session, dbg, die, DW_AT_comp_dir)};
    Dwarf_Unsigned version = 0;
    Dwarf_Small n_tables = 0;
    if (has_attribute(dbg, die, DW_AT_stmt_list) &&
        found(dbg, dwarf_srclines_b(die, &version, &n_tables, &files.context, &error), &error)) {
        files.version = (Dwarf_Half)version;
        if (n_tables == 1)
            find_lines(&walk, dbg, files.context);
    } else
        files.context = NULL;
    if (!walk_split(&walk, unit, die, dbg, &files)) {
        walk_functions(&walk, die);
        /* What a late walk has found may lack its innermost functions. */
        for (size_t i = 0; !session->is_late && i < walk.n_targets; i++)
            emit_target(&walk, dbg, &files, &walk.targets[i]);
    }
    if (files.context)
        dwarf_srclines_dealloc_b(files.context);
    for (size_t i = 0; i < files.n_paths; i++)
        free(files.paths[i]);
    free(files.paths);
    dwarf_dealloc_die(die);
}

/* Distributes the addresses over the units and reads each unit that has some. */
static void read_units(struct session *session) {
    const size_t n = session->request->n;
    size_t *const firsts = calloc(session->n_units + 1, sizeof *firsts);
    struct target *const targets = calloc(n + 1, sizeof *targets);
    if (firsts && targets) {
        for (size_t i = 0; i < session->n_units; i++)
            firsts[i + 1] = firsts[i] + session->units[i].n_targets;
        for (size_t i = 0; i < n; i++) {
            if (!session->unit_of[i])
                continue;
            struct target *const target = &targets[firsts[session->unit_of[i] - 1]++];
            target->address = session->request->addresses[i];
            target->index = i;
        }
        size_t first = 0;
        for (size_t i = 0; i < session->n_units && !is_late(session); i++) {
            read_unit(session, &session->units[i], targets + first);
            for (size_t k = first; k < first + session->units[i].n_targets; k++)
                free(targets[k].links);
            first += session->units[i].n_targets;
        }
    }
    free(firsts);
    free(targets);
}

static void open_alt(struct session *session) {
    Dwarf_Error error = NULL;
    if (debugfile_open_alt(&session->alt_elf, session->request->path, session->request->elf,
                           session->request->dirs) != 1)
        return;
    if (object_open(&session->alt, &session->alt_elf, DW_GROUPNUMBER_ANY) &&
        found(session->main.dbg, dwarf_set_tied_dbg(session->main.dbg, session->alt.dbg, &error),
              &error))
        session->has_alt = 1;
}

int dwarf_is_built(void) {
    return 1;
}

void dwarf_lookup(const struct dwarf_request *request, dwarf_emit *emit, void *context) {
    struct session session = {.request = request, .emit = emit, .context = context};
    session.alt_elf.fd = -1;
    /* Everything is freed by name or goes with the process. */
    dwarf_set_de_alloc_flag(0);
    session.unit_of = calloc(request->n + 1, sizeof *session.unit_of);
    if (session.unit_of && object_open(&session.main, request->elf, DW_GROUPNUMBER_ANY)) {
        open_alt(&session);
        scan_units(&session);
        read_units(&session);
        object_close(&session.main);
        object_close(&session.alt);
    }
    elf_close(&session.alt_elf);
    for (size_t i = 0; i < session.names_capacity; i++)
        free(session.names[i].text);
    for (size_t i = 0; i < SCOPE_INDEXES; i++)
        free(session.indexes[i].scopes);
    free(session.names);
    free(session.units);
    free(session.unit_of);
    free(session.ranges);
}
