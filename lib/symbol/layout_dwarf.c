/* The walk over a file's DWARF that finds variables and types.
 *
 * Two steps. The first reads every entry once and keeps little: where variables with a fixed
 * address, functions at wanted positions and structs are, with their scopes and a fingerprint of
 * the structs' members. Equal structs of many units (same qualified name, size and members) count
 * as one from then on. The second makes rows of what is wanted: the types of wanted variables,
 * wanted names and sizes, and all types these refer to.
 *
 * A declaration stands for the one definition of its name; with several that differ, for none.
 * Members of virtual bases are not described. Not done: types that change with values (variant
 * parts, arrays whose bounds are computed). */
#include "symbol/layout_dwarf.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/map.h"
#include "base/mem.h"
#include "symbol/debugfile.h"
#include "symbol/dwarf_read.h"
#include "symbol/inplace.h"
#include "symbol/source_path.h"

#define SECTION_MAX_BYTES (UINT64_C(8) << 30)
#define DEPTH_MAX 512
#define CHAIN_MAX 64
#define CANDIDATES_MAX 500000u
#define SPLIT_FILES_MAX 20000u
#define NAME_DEPTH_MAX 64
#define TLS_PUSH_GNU 0xe0
#define TLS_PUSH 0x9b

enum {
    LANGUAGE_C89 = 0x01,
    LANGUAGE_C = 0x02,
    LANGUAGE_C99 = 0x0c,
    LANGUAGE_C11 = 0x1d,
    LANGUAGE_C17 = 0x2c
};

/* A namespace, class or function that others are named in. */
struct scope {
    uint32_t parent; /* index + 1, 0: none */
    const char *name;
};

/* The place of a struct, or of a declared variable, and its scope. */
struct scoped {
    dwarf_ref ref;
    uint32_t scope;
    uint32_t definition; /* index + 1; 0: a declaration */
};

/* Structs that are equal. */
struct definition {
    dwarf_ref ref; /* of the first */
    uint64_t size;
    uint32_t scope, type; /* type: row + 1 once made */
    const char *name;
};

struct variable {
    uint64_t address;
    uint64_t part,
        part_size; /* offset in the variable and size, if it is in pieces; size 0: whole */
    dwarf_ref ref, function; /* function: DWARF_NONE outside */
    uint32_t scope;
    uint8_t is_tls, is_target;
};

struct hit { /* a function that holds a wanted position */
    dwarf_ref ref;
    uint32_t pc;
};

struct pending { /* a struct, union or other type whose row is to be filled */
    dwarf_ref ref;
    uint32_t type;
    uint32_t scoped;   /* index + 1, 0: has no scope */
    const char *alias; /* name of the typedef that names it */
};

/* What a list of children is read for. */
struct level {
    uint64_t fingerprint, size;
    dwarf_ref function;
    uint32_t scope;  /* of what stands in it */
    uint32_t scoped; /* of the struct itself, + 1; 0: no struct */
    const char *name;
    uint8_t tag_kind; /* 0: other */
    uint8_t is_declaration;
    uint16_t tag;
};
enum { LEVEL_OTHER, LEVEL_SCOPE, LEVEL_STRUCT, LEVEL_FUNCTION };

struct text {
    char *data;
    size_t n, capacity;
};

struct reader {
    const struct layout_dwarf_request *request;
    const struct layout_query *query;
    struct dwarf_session dwarf;
    struct dwarf_file main, alt;
    struct elf_file alt_elf;
    struct dwarf_file *splits;
    struct elf_file *split_elfs;
    uint32_t n_splits;
    uint16_t language; /* of the first unit that has one */

    struct scope *scopes;
    size_t n_scopes, scopes_capacity;
    struct map scope_of_name;
    struct scoped *scoped;
    size_t n_scoped, scoped_capacity;
    struct definition *definitions;
    size_t n_definitions, definitions_capacity;
    struct map definition_of;       /* by name and fingerprint */
    struct map by_name;             /* definition + 1; AMBIGUOUS */
    struct inplace_symbols inplace; /* owner: index + 1 in pointers, or AMBIGUOUS */
    struct variable *pointers;      /* variables without a place that these may be of */
    size_t n_pointers, pointers_capacity;
    struct variable *variables;
    size_t n_variables, variables_capacity;
    struct hit *hits;
    size_t n_hits, hits_capacity;

    struct map type_of; /* by reference */
    struct pending *work;
    size_t n_work, work_capacity, done;
    struct layout_rows_type *types;
    size_t n_types, types_capacity;
    struct layout_rows_field *fields;
    size_t n_fields, fields_capacity;
    uint32_t *arguments;
    size_t n_arguments, arguments_capacity;
    struct layout_rows_variable *out_variables;
    size_t n_out_variables, out_variables_capacity;
    struct layout_rows_local *locals;
    size_t n_locals, locals_capacity;
    struct text text;
    struct map text_of;

    uint32_t ticks;
    uint32_t scope_walks;
    int is_failed; /* late or no memory */
};
#define AMBIGUOUS UINT32_MAX

static int fails(struct reader *r) {
    r->is_failed = 1;
    return 0;
}

static int is_late(struct reader *r) {
    if (++r->ticks % 1024 == 0) {
        struct timespec now;
        clock_gettime(CLOCK_MONOTONIC, &now);
        if ((uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec >= r->request->deadline_ns)
            r->is_failed = 1;
    }
    return r->is_failed;
}

static uint64_t mix(uint64_t a, uint64_t b) {
    a ^= b + UINT64_C(0x9e3779b97f4a7c15) + (a << 6) + (a >> 2);
    a *= UINT64_C(0xff51afd7ed558ccd);
    return a ^ a >> 32;
}

static uint64_t hash_text(const char *text) {
    uint64_t hash = UINT64_C(0xcbf29ce484222325);
    for (; *text; text++)
        hash = (hash ^ (uint8_t)*text) * UINT64_C(0x100000001b3);
    return hash;
}

/* Whether any of the ascending values lies in [low, high). */
static int any_within(const uint64_t *values, size_t n, uint64_t low, uint64_t high) {
    size_t a = 0, b = n;
    while (a < b) {
        const size_t middle = a + (b - a) / 2;
        if (values[middle] < low)
            a = middle + 1;
        else
            b = middle;
    }
    return a < n && values[a] < high;
}

static int has_value(const uint64_t *values, size_t n, uint64_t value) {
    return value != UINT64_MAX && any_within(values, n, value, value + 1);
}

/* Scopes and names. */

static uint32_t scope_add(struct reader *r, uint32_t parent, const char *name) {
    uint32_t *const slot = map_slot(&r->scope_of_name, mix(parent, hash_text(name)));
    if (!slot || (!*slot && mem_grow(&r->scopes, &r->scopes_capacity, r->n_scopes + 1,
                                     sizeof *r->scopes) != 0)) {
        fails(r);
        return parent;
    }
    if (!*slot) {
        r->scopes[r->n_scopes++] = (struct scope){.parent = parent, .name = name};
        *slot = (uint32_t)r->n_scopes;
    }
    return *slot;
}

/* "ns::Class" + "::" + name; as much as fits. */
static size_t write_name(const struct reader *r, uint32_t scope, const char *name, char *out,
                         size_t size) {
    const char *parts[NAME_DEPTH_MAX];
    size_t n = 0, used = 0;
    for (; scope && n < NAME_DEPTH_MAX - 1; scope = r->scopes[scope - 1].parent)
        parts[n++] = r->scopes[scope - 1].name;
    while (n > 0) {
        const size_t length = strnlen(parts[--n], size - used);
        if (length + 3 > size - used)
            break;
        memcpy(out + used, parts[n], length);
        memcpy(out + used + length, "::", 2);
        used += length + 2;
    }
    const size_t length = strnlen(name, size - used - 1);
    memcpy(out + used, name, length);
    out[used + length] = 0;
    return used + length;
}

static uint32_t text_add(struct reader *r, const char *text) {
    const size_t length = strnlen(text, LAYOUT_TEXT_MAX_BYTES - 1);
    if (length == 0)
        return 0;
    uint64_t hash = UINT64_C(0xcbf29ce484222325);
    for (size_t i = 0; i < length; i++)
        hash = (hash ^ (uint8_t)text[i]) * UINT64_C(0x100000001b3);
    uint32_t *const slot = map_slot(&r->text_of, hash);
    if (!slot)
        return (uint32_t)fails(r);
    if (*slot && memcmp(r->text.data + *slot, text, length) == 0 && !r->text.data[*slot + length])
        return *slot;
    if (r->text.n + length + 1 >= UINT32_MAX ||
        mem_grow(&r->text.data, &r->text.capacity, r->text.n + length + 2, 1) != 0)
        return (uint32_t)fails(r);
    if (r->text.n == 0)
        r->text.data[r->text.n++] = 0;
    const uint32_t at = (uint32_t)r->text.n;
    memcpy(r->text.data + at, text, length);
    r->text.data[at + length] = 0;
    r->text.n += length + 1;
    *slot = at;
    return at;
}

/* First step. */

static int add_scoped(struct reader *r, dwarf_ref ref, uint32_t scope) {
    if (r->n_scoped >= UINT32_MAX - 1 ||
        mem_grow(&r->scoped, &r->scoped_capacity, r->n_scoped + 1, sizeof *r->scoped) != 0)
        return fails(r);
    r->scoped[r->n_scoped++] = (struct scoped){.ref = ref, .scope = scope};
    return 1;
}

/* Row + 1 of a place; 0: not kept. Places come in ascending order. */
static uint32_t find_scoped(const struct reader *r, dwarf_ref ref) {
    size_t low = 0, high = r->n_scoped;
    while (low < high) {
        const size_t middle = low + (high - low) / 2;
        if (r->scoped[middle].ref < ref)
            low = middle + 1;
        else
            high = middle;
    }
    return low < r->n_scoped && r->scoped[low].ref == ref ? (uint32_t)low + 1 : 0;
}

static uint64_t name_key(uint32_t scope, const char *name) {
    return mix(mix(scope, 1), hash_text(name));
}

/* A struct is read to its end: it is a new one, or one that was met before. */
static void end_struct(struct reader *r, const struct level *level) {
    struct scoped *const scoped = &r->scoped[level->scoped - 1];
    if (level->is_declaration)
        return;
    const char *const name = level->name ? level->name : "";
    const uint64_t by_name = name_key(scoped->scope, name);
    uint64_t key = mix(mix(mix(by_name, level->fingerprint), level->size), level->tag);
    if (!*name)
        key = mix(key, scoped->ref);
    uint32_t *slot = map_slot(&r->definition_of, key);
    if (!slot) {
        fails(r);
        return;
    }
    if (*slot) {
        scoped->definition = *slot;
        return;
    }
    if (mem_grow(&r->definitions, &r->definitions_capacity, r->n_definitions + 1,
                 sizeof *r->definitions) != 0) {
        fails(r);
        return;
    }
    r->definitions[r->n_definitions++] = (struct definition){
        .ref = scoped->ref, .size = level->size, .scope = scoped->scope, .name = name};
    scoped->definition = *slot = (uint32_t)r->n_definitions;
    if (!*name)
        return;
    slot = map_slot(&r->by_name, by_name);
    if (!slot)
        fails(r);
    else
        *slot = *slot ? AMBIGUOUS : (uint32_t)r->n_definitions;
}

/* Reads the address that an expression goes on with. 1, 0 if it is something else. */
static int read_address(struct reader *r, const struct dwarf_unit *unit, const uint8_t **at,
                        const uint8_t *end, uint64_t *out, uint8_t *is_tls) {
    uint64_t value = 0;
    int is_number = 0;
    if (*at == end)
        return 0;
    const uint8_t operation = *(*at)++;
    switch (operation) {
    case 0x03: /* DW_OP_addr */
    case 0x0e: /* DW_OP_const8u */
        if (end - *at < 8)
            return 0;
        memcpy(&value, *at, 8);
        *at += 8;
        is_number = operation == 0x0e;
        break;
    case 0x0c: /* DW_OP_const4u */
        if (end - *at < 4)
            return 0;
        memcpy(&value, *at, 4);
        *at += 4;
        is_number = 1;
        break;
    case 0xa1: /* DW_OP_addrx, DW_OP_constx and what they were called before */
    case 0xa2:
    case 0xfb:
    case 0xfc: {
        const uint64_t index = dwarf_uleb(at, end);
        if (!*at || !dwarf_address(&r->dwarf, unit, index, &value))
            return 0;
        is_number = operation == 0xa2 || operation == 0xfc;
        break;
    }
    default: return 0;
    }
    *is_tls = *at < end && (**at == TLS_PUSH || **at == TLS_PUSH_GNU);
    *at += *is_tls;
    *out = value;
    return (!is_number || *is_tls) && (*is_tls || value != 0);
}

static void add_variable_place(struct reader *r, const struct variable *variable) {
    if (mem_grow(&r->variables, &r->variables_capacity, r->n_variables + 1, sizeof *r->variables) !=
        0)
        fails(r);
    else
        r->variables[r->n_variables++] = *variable;
}

/* Adds the places of a variable: one, or one per piece that is in memory. Returns how many. */
static unsigned add_places(struct reader *r, const struct dwarf_unit *unit,
                           const struct dwarf_location *location, struct variable variable) {
    enum { OP_PIECE = 0x93 };
    if (location->kind != DWARF_LOCATION_BLOCK || !location->data || location->size < 2)
        return 0;
    const uint8_t *at = location->data;
    const uint8_t *const end = at + location->size;
    unsigned n = 0;
    while (at < end) {
        /* A piece without an address before it is not kept anywhere. */
        const int has_address = *at != OP_PIECE;
        if (has_address && !read_address(r, unit, &at, end, &variable.address, &variable.is_tls))
            return n;
        if (at < end) {
            if (*at++ != OP_PIECE)
                return n;
            variable.part_size = dwarf_uleb(&at, end);
            if (!at || variable.part_size == 0)
                return n;
        }
        if (has_address) {
            add_variable_place(r, &variable);
            n++;
        }
        variable.part += variable.part_size;
    }
    return n;
}

/* A variable without a place: maybe a pointer whose target has taken it. One that several variables
 * may be of is nobody's. */
static void see_pointer(struct reader *r, const struct dwarf_die *die,
                        const struct variable *variable) {
    const char *const name = die->linkage_name ? die->linkage_name : die->name;
    const int is_local = variable->function != DWARF_NONE;
    uint32_t at = name ? inplace_find(&r->inplace, name, is_local, 0) : 0;
    if (!at)
        return;
    if (mem_grow(&r->pointers, &r->pointers_capacity, r->n_pointers + 1, sizeof *r->pointers) !=
        0) {
        fails(r);
        return;
    }
    r->pointers[r->n_pointers++] = *variable;
    for (; at; at = inplace_find(&r->inplace, name, is_local, at)) {
        uint64_t *const owner = &r->inplace.all[at - 1].owner;
        *owner = *owner ? AMBIGUOUS : r->n_pointers;
    }
}

static void see_variable(struct reader *r, const struct dwarf_unit *unit,
                         const struct dwarf_die *die, dwarf_ref ref, const struct level *level) {
    const struct variable variable = {
        .ref = ref, .function = level->function, .scope = level->scope};
    const int is_declared = die->location.kind == DWARF_LOCATION_NONE;
    if (level->tag_kind == LEVEL_SCOPE || (is_declared && level->tag_kind == LEVEL_STRUCT))
        add_scoped(r, ref, level->scope);
    if (!is_declared)
        add_places(r, unit, &die->location, variable);
    else if (r->inplace.n && !die->is_declaration)
        see_pointer(r, die, &variable);
}

static void see_function(struct reader *r, const struct dwarf_unit *unit,
                         const struct dwarf_die *die, dwarf_ref ref) {
    const struct layout_query *const query = r->query;
    if (query->n_pcs == 0 || (!die->has_low_pc && !die->has_ranges))
        return;
    if (die->has_low_pc && die->has_high_pc &&
        !any_within(query->pcs, query->n_pcs, die->low_pc,
                    die->is_high_offset ? die->low_pc + die->high_pc : die->high_pc))
        return;
    for (size_t i = 0; i < query->n_pcs; i++) {
        if (!dwarf_die_covers(&r->dwarf, unit, die, query->pcs[i]))
            continue;
        if (mem_grow(&r->hits, &r->hits_capacity, r->n_hits + 1, sizeof *r->hits) != 0) {
            fails(r);
            return;
        }
        r->hits[r->n_hits++] = (struct hit){.ref = ref, .pc = (uint32_t)i};
    }
}

/* Makes the level of a struct's children; ends it at once if it has none. */
static void begin_struct(struct reader *r, const struct dwarf_die *die, dwarf_ref ref,
                         const struct level *outer, struct level *level) {
    const char *name = die->name;
    uint32_t scope = outer->scope;
    if (die->origin != DWARF_NONE) {
        /* Declared before in its scope, or defined in a type unit that has its name. */
        const uint32_t declared = die->is_specification ? find_scoped(r, die->origin) : 0;
        struct dwarf_unit *const unit = dwarf_unit_of(&r->dwarf, die->origin);
        struct dwarf_die origin;
        if (declared)
            scope = r->scoped[declared - 1].scope;
        if (!name && unit &&
            dwarf_die_read(&r->dwarf, unit, DWARF_REF_OFFSET(die->origin), &origin) == 1)
            name = origin.name;
    }
    if (!add_scoped(r, ref, scope))
        return;
    *level = (struct level){.tag_kind = LEVEL_STRUCT,
                            .scoped = (uint32_t)r->n_scoped,
                            .scope = name ? scope_add(r, scope, name) : scope,
                            .function = outer->function,
                            .name = name,
                            .size = die->byte_size,
                            .tag = die->tag == DWARF_TAG_CLASS ? DWARF_TAG_STRUCTURE : die->tag,
                            .is_declaration = die->is_declaration || !die->has_byte_size};
    if (!die->has_children)
        end_struct(r, level);
}

/* Looks at one entry. 1: its children are to be read, at *level. */
static int see(struct reader *r, const struct dwarf_unit *unit, const struct dwarf_die *die,
               struct level *outer, struct level *level) {
    const dwarf_ref ref = DWARF_REF(unit->space, die->offset);
    *level = *outer;
    level->tag_kind = LEVEL_OTHER;
    level->scoped = 0;
    switch (die->tag) {
    case DWARF_TAG_NAMESPACE:
        level->scope = scope_add(r, outer->scope, die->name ? die->name : "(anonymous namespace)");
        level->tag_kind = LEVEL_SCOPE;
        return 1;
    case DWARF_TAG_STRUCTURE:
    case DWARF_TAG_CLASS:
    case DWARF_TAG_UNION: begin_struct(r, die, ref, outer, level); return level->scoped != 0;
    case DWARF_TAG_MEMBER:
        if (outer->tag_kind == LEVEL_STRUCT) {
            if (die->is_external || die->is_declaration)
                add_scoped(r, ref, outer->scope);
            else
                outer->fingerprint =
                    mix(outer->fingerprint,
                        mix(hash_text(die->name ? die->name : ""), die->member_offset));
        }
        return 0;
    case DWARF_TAG_INHERITANCE:
        outer->fingerprint = mix(outer->fingerprint, die->member_offset + 1);
        return 0;
    case DWARF_TAG_VARIABLE: see_variable(r, unit, die, ref, outer); return 0;
    case DWARF_TAG_SUBPROGRAM:
        if (die->is_declaration)
            return 0;
        see_function(r, unit, die, ref);
        level->function = ref;
        level->tag_kind = LEVEL_FUNCTION;
        return 1;
    case DWARF_TAG_LEXICAL_BLOCK:
    case DWARF_TAG_INLINED_SUBROUTINE: level->tag_kind = LEVEL_FUNCTION; return 1;
    case DWARF_TAG_COMPILE_UNIT:
    case DWARF_TAG_PARTIAL_UNIT:
    case DWARF_TAG_TYPE_UNIT: level->tag_kind = LEVEL_SCOPE; return 1;
    default: return 0;
    }
}

static void scan_unit(struct reader *r, struct dwarf_unit *unit) {
    struct level levels[DEPTH_MAX];
    uint32_t depth = 0;
    uint64_t at = unit->first_die;
    struct dwarf_die die;
    levels[0] = (struct level){.function = DWARF_NONE};
    while (at < unit->end && !is_late(r)) {
        const int result = dwarf_die_read(&r->dwarf, unit, at, &die);
        if (result < 0)
            break;
        at = die.next;
        if (result == 0) {
            if (depth == 0)
                break;
            if (levels[depth].tag_kind == LEVEL_STRUCT && levels[depth].scoped)
                end_struct(r, &levels[depth]);
            depth--;
            continue;
        }
        struct level level;
        const int is_inside = see(r, unit, &die, &levels[depth], &level);
        if (!die.has_children)
            continue;
        if (is_inside && depth + 1 < DEPTH_MAX)
            levels[++depth] = level;
        else if (!(at = dwarf_die_after(&r->dwarf, unit, &die)))
            break;
    }
    if (unit->language && !r->language)
        r->language = unit->language;
}

/* Second step. */

static int is_c(const struct reader *r, const struct dwarf_unit *unit) {
    const uint16_t language = unit->language ? unit->language : r->language;
    return language == LANGUAGE_C89 || language == LANGUAGE_C || language == LANGUAGE_C99 ||
           language == LANGUAGE_C11 || language == LANGUAGE_C17;
}

static uint32_t row_add(struct reader *r, uint8_t kind) {
    if (r->n_types >= LAYOUT_TYPES_MAX ||
        mem_grow(&r->types, &r->types_capacity, r->n_types + 1, sizeof *r->types) != 0)
        return (uint32_t)fails(r);
    r->types[r->n_types++] = (struct layout_rows_type){.kind = kind};
    return (uint32_t)r->n_types;
}

static uint32_t push(struct reader *r, dwarf_ref ref, uint8_t kind, uint32_t scoped,
                     const char *alias) {
    const uint32_t type = row_add(r, kind);
    if (!type || mem_grow(&r->work, &r->work_capacity, r->n_work + 1, sizeof *r->work) != 0)
        return (uint32_t)fails(r);
    r->work[r->n_work++] =
        (struct pending){.ref = ref, .type = type, .scoped = scoped, .alias = alias};
    return type;
}

static uint32_t definition_type(struct reader *r, uint32_t definition, const char *alias) {
    struct definition *const d = &r->definitions[definition - 1];
    if (!d->type)
        d->type = push(r, d->ref, LAYOUT_STRUCT, find_scoped(r, d->ref), alias);
    return d->type;
}

/* The row of a struct at a place: of the one that stands for all equal ones. */
static uint32_t struct_type(struct reader *r, dwarf_ref ref, const struct dwarf_die *die,
                            const char *alias) {
    const uint32_t scoped = find_scoped(r, ref);
    if (scoped && r->scoped[scoped - 1].definition)
        return definition_type(r, r->scoped[scoped - 1].definition, alias);
    if (scoped && die->name && (die->is_declaration || !die->has_byte_size)) {
        const uint32_t found =
            map_get(&r->by_name, name_key(r->scoped[scoped - 1].scope, die->name));
        if (found && found != AMBIGUOUS)
            return definition_type(r, found, NULL);
    }
    uint32_t *const slot = map_slot(&r->type_of, ref + 1);
    if (!slot)
        return (uint32_t)fails(r);
    if (!*slot) {
        const uint32_t type = push(r, ref, LAYOUT_STRUCT, scoped, alias);
        if (type)
            *slot = type;
        return type;
    }
    return *slot;
}

/* The row of the type at a place; 0: void, unknown, or no memory. */
static uint32_t type_at(struct reader *r, dwarf_ref ref) {
    const char *alias = NULL;
    for (unsigned i = 0; i < CHAIN_MAX && ref != DWARF_NONE; i++) {
        struct dwarf_unit *const unit = dwarf_unit_of(&r->dwarf, ref);
        struct dwarf_die die;
        if (!unit || dwarf_die_read(&r->dwarf, unit, DWARF_REF_OFFSET(ref), &die) != 1)
            return 0;
        uint8_t kind = LAYOUT_SCALAR;
        switch (die.tag) {
        case DWARF_TAG_TYPEDEF:
            alias = die.name;
            ref = die.type;
            continue;
        case DWARF_TAG_CONST:
        case DWARF_TAG_VOLATILE:
        case DWARF_TAG_RESTRICT:
        case DWARF_TAG_ATOMIC: ref = die.type; continue;
        case DWARF_TAG_STRUCTURE:
        case DWARF_TAG_CLASS:
        case DWARF_TAG_UNION:
            if (die.origin != DWARF_NONE && !die.is_specification) {
                ref = die.origin; /* stands for a type unit */
                continue;
            }
            return struct_type(r, ref, &die, alias);
        case DWARF_TAG_POINTER:
        case DWARF_TAG_REFERENCE:
        case DWARF_TAG_RVALUE_REFERENCE: kind = LAYOUT_POINTER; break;
        case DWARF_TAG_ARRAY: kind = LAYOUT_ARRAY; break;
        case DWARF_TAG_SUBROUTINE_TYPE: kind = LAYOUT_FUNCTION; break;
        case DWARF_TAG_BASE_TYPE:
        case DWARF_TAG_ENUMERATION:
        case DWARF_TAG_POINTER_TO_MEMBER: break;
        default: return 0;
        }
        uint32_t *const slot = map_slot(&r->type_of, ref + 1);
        if (!slot)
            return (uint32_t)fails(r);
        if (*slot)
            return *slot;
        const uint32_t type = push(r, ref, kind, 0, NULL);
        if (type)
            *slot = type;
        return type;
    }
    return 0;
}

static void add_field(struct reader *r, const struct layout_rows_field *field) {
    if (r->n_fields >= LAYOUT_ROWS_MAX ||
        mem_grow(&r->fields, &r->fields_capacity, r->n_fields + 1, sizeof *r->fields) != 0)
        fails(r);
    else
        r->fields[r->n_fields++] = *field;
}

static void add_argument(struct reader *r, uint32_t type) {
    if (r->n_arguments >= LAYOUT_ROWS_MAX ||
        mem_grow(&r->arguments, &r->arguments_capacity, r->n_arguments + 1, sizeof *r->arguments) !=
            0)
        fails(r);
    else
        r->arguments[r->n_arguments++] = type;
}

/* Calls see for each child; one that says 1 is gone into: its children follow as children. */
typedef int see_child(struct reader *r, struct dwarf_unit *unit, const struct dwarf_die *die,
                      void *context);

static void for_children(struct reader *r, struct dwarf_unit *unit, const struct dwarf_die *parent,
                         see_child *see_one, void *context) {
    uint64_t at = parent->next;
    unsigned depth = 1;
    struct dwarf_die die;
    if (!parent->has_children)
        return;
    while (depth > 0 && at && !is_late(r)) {
        const int result = dwarf_die_read(&r->dwarf, unit, at, &die);
        if (result < 0)
            return;
        at = die.next;
        if (result == 0)
            depth--;
        else if (see_one(r, unit, &die, context))
            depth += die.has_children;
        else if (die.has_children)
            at = dwarf_die_after(&r->dwarf, unit, &die);
    }
}

static int see_argument(struct reader *r, struct dwarf_unit *unit, const struct dwarf_die *die,
                        void *context) {
    if (die->tag == DWARF_TAG_TEMPLATE_TYPE)
        add_argument(r, type_at(r, die->type));
    return die->tag == DWARF_TAG_GNU_TEMPLATE_PACK;
}

static int see_member(struct reader *r, struct dwarf_unit *unit, const struct dwarf_die *die,
                      void *context) {
    struct layout_rows_type *const row = context;
    struct layout_rows_field field = {.offset = die->member_offset,
                                      .is_bit_field = die->is_bit_field};
    switch (die->tag) {
    case DWARF_TAG_MEMBER:
        if (die->is_external || die->is_declaration)
            return 0;
        if (die->name && (strncmp(die->name, "_vptr", 5) == 0)) {
            row->has_vtable = 1;
            return 0;
        }
        if (die->is_virtual_base || (die->is_bit_field && !die->has_member_offset))
            return 0;
        field.name = text_add(r, die->name ? die->name : "");
        break;
    case DWARF_TAG_INHERITANCE:
        if (die->is_virtual_base || !die->has_member_offset) {
            row->has_virtual_base = 1;
            return 0;
        }
        field.is_base = 1;
        break;
    default: return 0;
    }
    field.type = type_at(r, die->type);
    add_field(r, &field);
    return 0;
}

static int compare_fields(const void *a, const void *b) {
    const struct layout_rows_field *const left = a, *const right = b;
    if (left->offset != right->offset)
        return left->offset < right->offset ? -1 : 1;
    return left->name < right->name ? -1 : left->name > right->name;
}

static void fill_struct(struct reader *r, const struct pending *pending, struct dwarf_unit *unit,
                        const struct dwarf_die *die) {
    struct layout_rows_type row = r->types[pending->type - 1];
    char name[LAYOUT_TEXT_MAX_BYTES];
    size_t used = 0;
    const char *own = die->name;
    if (!own && die->origin != DWARF_NONE && die->is_specification) {
        struct dwarf_unit *const origin_unit = dwarf_unit_of(&r->dwarf, die->origin);
        struct dwarf_die origin;
        if (origin_unit &&
            dwarf_die_read(&r->dwarf, origin_unit, DWARF_REF_OFFSET(die->origin), &origin) == 1)
            own = origin.name;
    }
    if (own && is_c(r, unit)) {
        const char *const word = die->tag == DWARF_TAG_UNION ? "union " : "struct ";
        used = strlen(word);
        memcpy(name, word, used);
    }
    if (own)
        write_name(r, pending->scoped ? r->scoped[pending->scoped - 1].scope : 0, own, name + used,
                   sizeof name - used);
    row.kind = die->tag == DWARF_TAG_UNION ? LAYOUT_UNION : LAYOUT_STRUCT;
    row.name = text_add(r, own ? name : pending->alias ? pending->alias : "");
    row.size = die->byte_size;
    row.is_declaration = die->is_declaration || !die->has_byte_size;
    if (!row.is_declaration) {
        row.first_argument = (uint32_t)r->n_arguments;
        for_children(r, unit, die, see_argument, NULL);
        row.n_arguments = (uint32_t)r->n_arguments - row.first_argument;
        row.first_field = (uint32_t)r->n_fields;
        for_children(r, unit, die, see_member, &row);
        row.n_fields = (uint32_t)r->n_fields - row.first_field;
        if (row.n_fields)
            qsort(r->fields + row.first_field, row.n_fields, sizeof *r->fields, compare_fields);
    }
    r->types[pending->type - 1] = row;
}

static int see_subrange(struct reader *r, struct dwarf_unit *unit, const struct dwarf_die *die,
                        void *context) {
    uint64_t *const n = context;
    uint64_t count = 0;
    if (die->tag != DWARF_TAG_SUBRANGE)
        return 0;
    if (die->has_count)
        count = die->count;
    else if (die->has_upper_bound && die->upper_bound < UINT64_MAX)
        count = die->upper_bound + 1;
    if (__builtin_mul_overflow(*n, count, n))
        *n = 0;
    return 0;
}

static void fill(struct reader *r, const struct pending *pending) {
    struct dwarf_unit *const unit = dwarf_unit_of(&r->dwarf, pending->ref);
    struct dwarf_die die;
    if (!unit || dwarf_die_read(&r->dwarf, unit, DWARF_REF_OFFSET(pending->ref), &die) != 1)
        return;
    struct layout_rows_type *row = &r->types[pending->type - 1];
    uint32_t target = 0;
    uint64_t n = 1;
    switch (row->kind) {
    case LAYOUT_STRUCT: fill_struct(r, pending, unit, &die); return;
    case LAYOUT_POINTER:
        target = type_at(r, die.type);
        row = &r->types[pending->type - 1];
        row->target = target;
        row->size = die.has_byte_size ? die.byte_size : 8;
        return;
    case LAYOUT_ARRAY:
        for_children(r, unit, &die, see_subrange, &n);
        target = type_at(r, die.type);
        row = &r->types[pending->type - 1];
        row->target = target;
        row->n_elements = die.has_children ? n : 0;
        return;
    case LAYOUT_SCALAR: {
        const uint32_t name = text_add(r, die.name ? die.name : "");
        row->name = name;
        row->size = die.has_byte_size                        ? die.byte_size
                    : die.tag == DWARF_TAG_POINTER_TO_MEMBER ? 8
                                                             : 0;
        return;
    }
    default: return;
    }
}

static void fill_all(struct reader *r) {
    while (r->done < r->n_work && !is_late(r)) {
        const struct pending pending = r->work[r->done++];
        fill(r, &pending);
    }
}

/* Name and type of a variable, from its own entry or from those that it completes. */
struct described {
    const char *name;
    dwarf_ref type;
    uint32_t scope; /* UINT32_MAX: not said */
};

static struct described describe(struct reader *r, dwarf_ref ref) {
    struct described out = {.type = DWARF_NONE, .scope = UINT32_MAX};
    for (unsigned i = 0; i < 4 && ref != DWARF_NONE; i++) {
        struct dwarf_unit *const unit = dwarf_unit_of(&r->dwarf, ref);
        struct dwarf_die die;
        if (!unit || dwarf_die_read(&r->dwarf, unit, DWARF_REF_OFFSET(ref), &die) != 1)
            break;
        const uint32_t scoped = find_scoped(r, ref);
        if (scoped)
            out.scope = r->scoped[scoped - 1].scope;
        if (!out.name)
            out.name = die.name;
        if (out.type == DWARF_NONE)
            out.type = die.type;
        ref = die.origin;
    }
    return out;
}

/* The scope of a place that was not kept: by a walk over its unit down to it. */
static uint32_t search_scope(struct reader *r, dwarf_ref ref) {
    enum { WALKS_MAX = 256, WALK_DEPTH_MAX = 64 };
    struct dwarf_unit *const unit = dwarf_unit_of(&r->dwarf, ref);
    uint32_t scopes[WALK_DEPTH_MAX] = {0};
    unsigned depth = 0;
    const uint64_t wanted = DWARF_REF_OFFSET(ref);
    struct dwarf_die die;
    if (!unit || r->scope_walks >= WALKS_MAX)
        return 0;
    r->scope_walks++;
    for (uint64_t at = unit->first_die; at && at < unit->end && !is_late(r);) {
        if (at == wanted)
            return scopes[depth];
        const int result = dwarf_die_read(&r->dwarf, unit, at, &die);
        if (result < 0)
            return 0;
        at = die.next;
        if (result == 0) {
            if (depth == 0)
                return 0;
            depth--;
        } else if (die.has_children) {
            const uint64_t after =
                die.sibling > die.offset && die.sibling < unit->end ? die.sibling : 0;
            const int is_scope = die.tag == DWARF_TAG_NAMESPACE || die.tag == DWARF_TAG_STRUCTURE ||
                                 die.tag == DWARF_TAG_CLASS;
            if (after && after <= wanted)
                at = after;
            else if (depth + 1 == WALK_DEPTH_MAX)
                return 0;
            else {
                scopes[depth + 1] =
                    is_scope
                        ? scope_add(r, scopes[depth], die.name ? die.name : "(anonymous namespace)")
                        : scopes[depth];
                depth++;
            }
        }
    }
    return 0;
}

static uint32_t function_text(struct reader *r, dwarf_ref ref) {
    char name[LAYOUT_TEXT_MAX_BYTES];
    const char *own = NULL;
    dwarf_ref outer = ref;
    for (unsigned i = 0; i < 4 && ref != DWARF_NONE; i++) {
        struct dwarf_unit *const unit = dwarf_unit_of(&r->dwarf, ref);
        struct dwarf_die die;
        if (!unit || dwarf_die_read(&r->dwarf, unit, DWARF_REF_OFFSET(ref), &die) != 1)
            break;
        if (!own)
            own = die.name;
        outer = ref;
        ref = die.origin;
    }
    if (!own)
        return 0;
    struct dwarf_unit *const unit = dwarf_unit_of(&r->dwarf, outer);
    write_name(r, unit && !is_c(r, unit) ? search_scope(r, outer) : 0, own, name, sizeof name);
    return text_add(r, name);
}

static int compare_variables(const void *a, const void *b) {
    const struct variable *const left = a, *const right = b;
    if (left->is_tls != right->is_tls)
        return left->is_tls < right->is_tls ? -1 : 1;
    if (left->address != right->address)
        return left->address < right->address ? -1 : 1;
    return left->ref < right->ref ? -1 : left->ref > right->ref;
}

/* What a pointer points at; 0: void or no pointer. */
static uint32_t target_type_at(struct reader *r, dwarf_ref ref) {
    for (unsigned i = 0; i < CHAIN_MAX && ref != DWARF_NONE; i++) {
        struct dwarf_unit *const unit = dwarf_unit_of(&r->dwarf, ref);
        struct dwarf_die die;
        if (!unit || dwarf_die_read(&r->dwarf, unit, DWARF_REF_OFFSET(ref), &die) != 1)
            return 0;
        switch (die.tag) {
        case DWARF_TAG_TYPEDEF:
        case DWARF_TAG_CONST:
        case DWARF_TAG_VOLATILE:
        case DWARF_TAG_RESTRICT:
        case DWARF_TAG_ATOMIC: ref = die.type; continue;
        case DWARF_TAG_POINTER: return type_at(r, die.type);
        default: return 0;
        }
    }
    return 0;
}

static void add_variable(struct reader *r, const struct variable *variable) {
    char name[LAYOUT_TEXT_MAX_BYTES];
    const struct described d = describe(r, variable->ref);
    if (!d.name || mem_grow(&r->out_variables, &r->out_variables_capacity, r->n_out_variables + 1,
                            sizeof *r->out_variables) != 0)
        return;
    struct layout_rows_variable row = {.address = variable->address,
                                       .part = variable->part,
                                       .part_size = variable->part_size,
                                       .is_tls = variable->is_tls,
                                       .is_target = variable->is_target};
    const int is_local = variable->function != DWARF_NONE;
    write_name(r,
               is_local                ? 0
               : d.scope != UINT32_MAX ? d.scope
                                       : variable->scope,
               d.name, name, sizeof name);
    row.name = text_add(r, name);
    row.function = is_local ? function_text(r, variable->function) : 0;
    row.type = variable->is_target ? target_type_at(r, d.type) : type_at(r, d.type);
    r->out_variables[r->n_out_variables++] = row;
}

/* Whether a variable in a function is the one a symbol is named after: "function.name". */
static int is_of_function(struct reader *r, const struct inplace_symbol *symbol, dwarf_ref ref,
                          size_t name_length) {
    for (unsigned i = 0; i < 4 && ref != DWARF_NONE; i++) {
        struct dwarf_unit *const unit = dwarf_unit_of(&r->dwarf, ref);
        struct dwarf_die die;
        if (!unit || dwarf_die_read(&r->dwarf, unit, DWARF_REF_OFFSET(ref), &die) != 1)
            return 0;
        const char *const name = die.linkage_name ? die.linkage_name : die.name;
        if (name)
            return strlen(name) + 1 + name_length == symbol->length &&
                   memcmp(symbol->name, name, strlen(name)) == 0;
        ref = die.origin;
    }
    return 0;
}

/* Memory in the place of pointers. */
static void add_targets(struct reader *r) {
    for (size_t i = 0; i < r->inplace.n; i++) {
        const struct inplace_symbol *const symbol = &r->inplace.all[i];
        if (symbol->owner == 0 || symbol->owner == AMBIGUOUS)
            continue;
        struct variable variable = r->pointers[symbol->owner - 1];
        const char *const dot = memrchr(symbol->name, '.', symbol->length);
        if (dot && !is_of_function(r, symbol, variable.function,
                                   symbol->length - (size_t)(dot + 1 - symbol->name)))
            continue;
        variable.address = symbol->address;
        variable.part_size = symbol->size;
        variable.is_target = 1;
        add_variable_place(r, &variable);
    }
}

/* Of the variables, those that may hold a wanted word: the last one before each. */
static void want_variables(struct reader *r) {
    const struct layout_query *const query = r->query;
    if (r->n_variables)
        qsort(r->variables, r->n_variables, sizeof *r->variables, compare_variables);
    size_t n = 0; /* the first of several at one address stands for them */
    for (size_t i = 0; i < r->n_variables; i++) {
        if (n == 0 || r->variables[n - 1].address != r->variables[i].address ||
            r->variables[n - 1].is_tls != r->variables[i].is_tls)
            r->variables[n++] = r->variables[i];
    }
    r->n_variables = n;
    for (size_t i = 0; i < n && !r->is_failed; i++) {
        const struct variable *const variable = &r->variables[i];
        const int is_last = i + 1 == n || r->variables[i + 1].is_tls != variable->is_tls;
        const uint64_t end = is_last ? UINT64_MAX : r->variables[i + 1].address;
        if (variable->is_tls
                ? any_within(query->tls_words, query->n_tls_words, variable->address, end)
                : any_within(query->words, query->n_words, variable->address, end))
            add_variable(r, variable);
    }
}

/* Types asked for by name or by size. */
static void want_types(struct reader *r) {
    const struct layout_query *const query = r->query;
    char name[LAYOUT_TEXT_MAX_BYTES];
    uint32_t n_candidates = 0;
    for (size_t i = 0; query->n_names && i < r->n_definitions && !is_late(r); i++) {
        const struct definition *const d = &r->definitions[i];
        if (!*d->name)
            continue;
        write_name(r, d->scope, d->name, name, sizeof name);
        if (has_value(query->names, query->n_names, layout_name_hash(name)))
            definition_type(r, (uint32_t)i + 1, NULL);
    }
    for (size_t i = 0; query->sizes && i < r->n_definitions && !is_late(r); i++) {
        const uint64_t size = r->definitions[i].size;
        if (size >= 8 && size < LAYOUT_SIZES && (query->sizes[size / 8] >> size % 8 & 1) &&
            *r->definitions[i].name && n_candidates++ < CANDIDATES_MAX)
            definition_type(r, (uint32_t)i + 1, NULL);
    }
}

/* Local variables in memory. */
struct locals {
    struct reader *r;
    const struct dwarf_die *function;
    uint64_t pc;
    uint32_t index;
};

/* N of "frame base + N"; of what: 0 CFA, 1 stack pointer. */
static int frame_offset(struct locals *locals, struct dwarf_unit *unit, const uint8_t *at,
                        uint64_t size, int64_t *out, uint8_t *is_of_sp) {
    const uint8_t *end = at + size;
    if (size < 2)
        return 0;
    const uint8_t operation = *at++;
    const int64_t offset = dwarf_sleb(&at, end);
    if (!at || at != end)
        return 0;
    *out = offset;
    *is_of_sp = 0;
    if (operation == 0x77) { /* DW_OP_breg7: rsp */
        *is_of_sp = 1;
        return 1;
    }
    if (operation != 0x91) /* DW_OP_fbreg */
        return 0;
    const uint8_t *base;
    uint64_t base_size;
    if (!dwarf_location_at(&locals->r->dwarf, unit, &locals->function->frame_base, locals->pc,
                           &base, &base_size) ||
        base_size == 0)
        return 0;
    end = base + base_size;
    switch (*base++) {
    case 0x9c: /* DW_OP_call_frame_cfa */ return base == end;
    case 0x56: /* DW_OP_reg6: rbp, which compilers that say so have set up: CFA - 16 */
        *out -= 16;
        return base == end;
    case 0x57: /* DW_OP_reg7 */ *is_of_sp = 1; return base == end;
    case 0x76: /* DW_OP_breg6 */ *out += dwarf_sleb(&base, end) - 16; return base == end;
    case 0x77:
        *out += dwarf_sleb(&base, end);
        *is_of_sp = 1;
        return base == end;
    default: return 0;
    }
}

static int see_local(struct reader *r, struct dwarf_unit *unit, const struct dwarf_die *die,
                     void *context) {
    struct locals *const locals = context;
    const uint8_t *expression;
    uint64_t size;
    struct layout_rows_local row = {.pc = locals->index};
    switch (die->tag) {
    case DWARF_TAG_LEXICAL_BLOCK:
    case DWARF_TAG_INLINED_SUBROUTINE:
        /* A block without a place of its own belongs to its function. */
        return (!die->has_low_pc && !die->has_ranges) ||
               dwarf_die_covers(&r->dwarf, unit, die, locals->pc);
    case DWARF_TAG_FORMAL_PARAMETER: row.is_parameter = 1; break;
    case DWARF_TAG_VARIABLE: break;
    default: return 0;
    }
    if (!dwarf_location_at(&r->dwarf, unit, &die->location, locals->pc, &expression, &size) ||
        !frame_offset(locals, unit, expression, size, &row.offset, &row.is_of_sp))
        return 0;
    const struct described d = describe(r, DWARF_REF(unit->space, die->offset));
    if (!d.name || r->n_locals >= LAYOUT_ROWS_MAX)
        return 0;
    row.name = text_add(r, d.name);
    row.type = type_at(r, d.type);
    if (mem_grow(&r->locals, &r->locals_capacity, r->n_locals + 1, sizeof *r->locals) != 0)
        fails(r);
    else
        r->locals[r->n_locals++] = row;
    return 0;
}

static void want_locals(struct reader *r) {
    for (size_t i = 0; i < r->n_hits && !is_late(r); i++) {
        struct dwarf_unit *const unit = dwarf_unit_of(&r->dwarf, r->hits[i].ref);
        struct dwarf_die die;
        if (!unit || dwarf_die_read(&r->dwarf, unit, DWARF_REF_OFFSET(r->hits[i].ref), &die) != 1)
            continue;
        struct locals locals = {
            .r = r, .function = &die, .pc = r->query->pcs[r->hits[i].pc], .index = r->hits[i].pc};
        for_children(r, unit, &die, see_local, &locals);
    }
}

/* Files. */

static struct elf_bytes load(struct reader *r, const struct elf_file *elf, const char *name) {
    struct elf_bytes bytes = {.data = NULL};
    const struct elf_section *const section = elf_find(elf, name);
    if (!section || !elf_read(elf, section, SECTION_MAX_BYTES, &bytes))
        return (struct elf_bytes){.data = NULL};
    return bytes;
}

static void load_file(struct reader *r, struct dwarf_file *file, const struct elf_file *elf,
                      int is_split) {
    file->is_split = is_split;
    file->abbrev = load(r, elf, is_split ? ".debug_abbrev.dwo" : ".debug_abbrev");
    file->strings = load(r, elf, is_split ? ".debug_str.dwo" : ".debug_str");
    file->string_offsets = load(r, elf, is_split ? ".debug_str_offsets.dwo" : ".debug_str_offsets");
    file->location_lists = load(r, elf, is_split ? ".debug_loclists.dwo" : ".debug_loclists");
    file->range_lists = load(r, elf, is_split ? ".debug_rnglists.dwo" : ".debug_rnglists");
    if (is_split)
        return;
    file->line_strings = load(r, elf, ".debug_line_str");
    file->addresses = load(r, elf, ".debug_addr");
    file->locations = load(r, elf, ".debug_loc");
    file->ranges = load(r, elf, ".debug_ranges");
}

static int add_spaces(struct reader *r, struct dwarf_file *file, const struct elf_file *elf,
                      int is_split) {
    const struct elf_bytes info = load(r, elf, is_split ? ".debug_info.dwo" : ".debug_info");
    const struct elf_bytes types = load(r, elf, is_split ? ".debug_types.dwo" : ".debug_types");
    file->space_info = r->dwarf.n_spaces;
    if (info.data && dwarf_space_add(&r->dwarf, file, info, 0) < 0)
        return 0;
    return !types.data || dwarf_space_add(&r->dwarf, file, types, 1) >= 0;
}

static int open_alt(struct reader *r) {
    if (debugfile_open_alt(&r->alt_elf, r->request->path, r->request->elf, r->request->dirs) != 1)
        return 1;
    if (!elf_map(&r->alt_elf))
        return 1;
    load_file(r, &r->alt, &r->alt_elf, 0);
    if (!add_spaces(r, &r->alt, &r->alt_elf, 0))
        return 0;
    r->main.alt = &r->alt;
    r->main.space_alt = r->alt.space_info;
    return 1;
}

/* The file of the split unit that a skeleton names. */
static int open_split(struct reader *r, const struct dwarf_die *skeleton, uint32_t unit_index) {
    char path[4096];
    struct dwarf_file *const file = &r->splits[r->n_splits];
    struct elf_file *const elf = &r->split_elfs[r->n_splits];
    source_path_join(path, sizeof path, skeleton->comp_dir, NULL, skeleton->dwo_name);
    if (elf_open(elf, path) != 1)
        return 1;
    if (!elf_find(elf, ".debug_info.dwo") || !elf_map(elf)) {
        elf_close(elf);
        return 1;
    }
    load_file(r, file, elf, 1);
    file->skeleton = &r->main;
    const uint32_t first = r->dwarf.n_units;
    if (!add_spaces(r, file, elf, 1))
        return 0;
    r->n_splits++;
    const struct dwarf_unit from = r->dwarf.units[unit_index];
    for (uint32_t i = first; i < r->dwarf.n_units; i++) {
        struct dwarf_unit *const unit = &r->dwarf.units[i];
        struct dwarf_die die;
        unit->base_addresses = from.base_addresses;
        unit->base_ranges = from.base_ranges;
        if (dwarf_die_read(&r->dwarf, unit, unit->first_die, &die) != 1)
            continue;
        unit->low_pc = from.low_pc;
        /* A file of another build: nothing of it is read. */
        if (die.tag == DWARF_TAG_COMPILE_UNIT &&
            (unit->version >= 5 ? unit->signature != from.signature
                                : !die.has_dwo_id || die.dwo_id != skeleton->dwo_id))
            unit->first_die = unit->end;
    }
    return 1;
}

static int open_splits(struct reader *r) {
    const uint32_t n = r->dwarf.n_units;
    uint32_t n_skeletons = 0;
    uint32_t *const units = mem_alloc(n, sizeof *units);
    if (!units)
        return 0;
    struct dwarf_die die;
    for (uint32_t i = 0; i < n && n_skeletons < SPLIT_FILES_MAX; i++) {
        struct dwarf_unit *const unit = &r->dwarf.units[i];
        if (unit->first_die < unit->end &&
            dwarf_die_read(&r->dwarf, unit, unit->first_die, &die) == 1 && die.dwo_name)
            units[n_skeletons++] = i;
    }
    r->splits = mem_zalloc(n_skeletons, sizeof *r->splits);
    r->split_elfs = mem_zalloc(n_skeletons, sizeof *r->split_elfs);
    int ok = r->splits && r->split_elfs;
    for (uint32_t i = 0; ok && i < n_skeletons && !is_late(r); i++) {
        struct dwarf_unit *const unit = &r->dwarf.units[units[i]];
        if (dwarf_die_read(&r->dwarf, unit, unit->first_die, &die) == 1)
            ok = open_split(r, &die, units[i]);
    }
    free(units);
    return ok;
}

static int write_all(int fd, const void *data, size_t size) {
    const uint8_t *at = data;
    while (size > 0) {
        const ssize_t n = write(fd, at, size < (1u << 30) ? size : 1u << 30);
        if (n <= 0)
            return 0;
        at += n;
        size -= (size_t)n;
    }
    return 1;
}

static int send(struct reader *r, int fd) {
    const struct layout_rows_head head = {.magic = LAYOUT_MAGIC,
                                          .n_text = r->text.n,
                                          .n_types = (uint32_t)r->n_types,
                                          .n_fields = (uint32_t)r->n_fields,
                                          .n_arguments = (uint32_t)r->n_arguments,
                                          .n_variables = (uint32_t)r->n_out_variables,
                                          .n_locals = (uint32_t)r->n_locals};
    return write_all(fd, &head, sizeof head) &&
           write_all(fd, r->types, r->n_types * sizeof *r->types) &&
           write_all(fd, r->fields, r->n_fields * sizeof *r->fields) &&
           write_all(fd, r->out_variables, r->n_out_variables * sizeof *r->out_variables) &&
           write_all(fd, r->locals, r->n_locals * sizeof *r->locals) &&
           write_all(fd, r->arguments, r->n_arguments * sizeof *r->arguments) &&
           write_all(fd, r->text.data, r->text.n);
}

int layout_dwarf_write(const struct layout_dwarf_request *request, int fd) {
    struct reader *const r = elf_map(request->elf) ? calloc(1, sizeof *r) : NULL;
    if (!r)
        return 0;
    r->request = request;
    r->query = request->query;
    map_init(&r->scope_of_name);
    map_init(&r->definition_of);
    map_init(&r->by_name);
    map_init(&r->type_of);
    map_init(&r->text_of);
    load_file(r, &r->main, request->elf, 0);
    if (!inplace_load(&r->inplace, request->elf) || !add_spaces(r, &r->main, request->elf, 0) ||
        !open_alt(r) || !open_splits(r))
        return 0;
    for (uint32_t i = 0; i < r->dwarf.n_units && !r->is_failed; i++)
        scan_unit(r, &r->dwarf.units[i]);
    if (!r->is_failed) {
        add_targets(r);
        want_variables(r);
        want_types(r);
        want_locals(r);
        fill_all(r);
    }
    return !r->is_failed && send(r, fd);
}
