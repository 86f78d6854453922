/* Layouts of all images together: asks a child process for each, checks what it says, and joins
 * equal types.
 *
 * Invariant: every id in a struct layout is 0 or that of a type that exists, every range of fields
 * is within the table, fields ascend. Nothing of an answer is believed before it is checked: the
 * child has read a file that anybody may have made. Types are joined by their shape as their image
 * tells it (kind, name, size, names and offsets of members), so the joined type speaks for all.
 * Does not read DWARF. */
#include "symbol/layout.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/err.h"
#include "base/map.h"
#include "base/mem.h"
#include "symbol/isolate.h"
#include "symbol/layout_dwarf.h"
#include "symbol/strings.h"
#include "symbol/symbol.h"

#define ANSWER_MAX_BYTES (UINT64_C(1) << 30)
#define READER_MAX_BYTES (UINT64_C(6) << 30)
#define BUDGET_NS_DEFAULT UINT64_C(4000000000)
#define TYPES_TOTAL_MAX 100000000u
#define DEPTH_MAX 64
#define AMBIGUOUS UINT32_MAX

struct layout {
    struct layout_type *types;
    size_t n_types, types_capacity;
    struct layout_field *fields;
    size_t n_fields, fields_capacity;
    uint32_t *arguments;
    size_t n_arguments, arguments_capacity;
    struct layout_variable *variables; /* after layout_finish: ascending by (is_tls, address) */
    size_t n_variables, variables_capacity, n_tls;
    struct layout_local *locals; /* after layout_finish: ascending by pc */
    size_t n_locals, locals_capacity;
    struct map known;   /* by shape */
    struct map by_name; /* complete types by name hash; AMBIGUOUS */
    struct strings strings;
};

/* An answer, its parts in place. */
struct answer {
    struct layout_rows_head head;
    const struct layout_rows_type *types;
    const struct layout_rows_field *fields;
    const uint32_t *arguments;
    const struct layout_rows_variable *variables;
    const struct layout_rows_local *locals;
    const char *text;
    uint32_t *ids; /* id in the layout by row; 0: not joined yet */
};

static uint64_t mix(uint64_t a, uint64_t b) {
    a ^= b + UINT64_C(0x9e3779b97f4a7c15) + (a << 6) + (a >> 2);
    a *= UINT64_C(0xff51afd7ed558ccd);
    return a ^ a >> 32;
}

static uint64_t hash_byte(uint64_t hash, uint8_t byte) {
    return (hash ^ byte) * UINT64_C(0x100000001b3);
}

static uint64_t hash_bytes(uint64_t hash, const char *text, size_t n) {
    for (size_t i = 0; i < n; i++)
        hash = hash_byte(hash, (uint8_t)text[i]);
    return hash;
}

static int is_word(char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' ||
           c == '$' || (unsigned char)c >= 0x80;
}

static int is_text(const char *token, size_t n, const char *word) {
    return strlen(word) == n && memcmp(token, word, n) == 0;
}

/* The bit of a word that names of integers are made of; 0: none of them. */
static unsigned integer_word(const char *token, size_t n) {
    static const char *const words[] = {"unsigned", "signed", "long", "short", "int", "char"};
    for (unsigned i = 0; i < sizeof words / sizeof *words; i++) {
        if (is_text(token, n, words[i]))
            return 1u << i;
    }
    return 0;
}

/* Length of "(type)number", as demanglers write enumerators; 0: it is none. */
static size_t cast_length(const char *at) {
    size_t n = 1;
    while (is_word(at[n]) || at[n] == ':')
        n++;
    if (at[n++] != ')')
        return 0;
    n += at[n] == '-';
    if (at[n] < '0' || at[n] > '9')
        return 0;
    while (at[n] >= '0' && at[n] <= '9')
        n++;
    return n;
}

/* Compilers and demanglers differ in the order of the words of integers, in spaces, in suffixes of
 * numbers, in the place of "const", which is left out, and in how they write an enumerator: of
 * those only that there is one is hashed. */
uint64_t layout_name_hash(const char *name) {
    uint64_t hash = UINT64_C(0xcbf29ce484222325);
    unsigned words = 0, n_longs = 0;
    while (*name) {
        size_t n = 0;
        while (is_word(name[n]))
            n++;
        const unsigned bit = n ? integer_word(name, n) : 0;
        if (bit) {
            n_longs += bit == 4;
            words |= bit;
            name += n;
            continue;
        }
        if (*name == ' ') {
            name++;
            continue;
        }
        if (words) {
            /* "int" says nothing beside another word, "signed" nothing but beside "char". */
            if (!(words & 32))
                words = (words & ~2u) & 15 ? words & 13 : 16;
            hash = mix(hash, words | n_longs << 8);
            words = n_longs = 0;
        }
        size_t cast;
        if (n == 0 && *name == '(' && (cast = cast_length(name)) > 0) {
            hash = hash_byte(hash, '#');
            name += cast;
        } else if (n == 0 && strncmp(name, "[abi:", 5) == 0) {
            while (*name && *name != ']')
                name++;
            name += *name == ']';
        } else if (n == 0)
            hash = hash_byte(hash, (uint8_t)*name++);
        else if (is_text(name, n, "__gnu_cxx") && strncmp(name + n, "::_S_", 5) == 0) {
            hash = hash_byte(hash, '#');
            name += n + 5;
            while (is_word(*name))
                name++;
        } else {
            size_t used = n;
            if (*name >= '0' && *name <= '9') {
                while (used > 1 && strchr("uUlL", name[used - 1]))
                    used--;
            }
            if (!is_text(name, n, "struct") && !is_text(name, n, "union") &&
                !is_text(name, n, "class") && !is_text(name, n, "enum") &&
                !is_text(name, n, "const") && !is_text(name, n, "volatile"))
                hash = hash_bytes(hash, name, used);
            name += n;
        }
    }
    return words ? mix(hash, words | n_longs << 8) : hash;
}

int layout_new(struct layout **out, snap_error *err) {
    struct layout *const l = calloc(1, sizeof *l);
    if (!l)
        return err_set(err, SNAP_E_NOMEM, "out of memory");
    map_init(&l->known);
    map_init(&l->by_name);
    *out = l;
    return SNAP_OK;
}

void layout_free(struct layout *l) {
    if (!l)
        return;
    free(l->types);
    free(l->fields);
    free(l->arguments);
    free(l->variables);
    free(l->locals);
    map_release(&l->known);
    map_release(&l->by_name);
    strings_release(&l->strings);
    free(l);
}

/* Takes n rows of a size off the front. 0: there are fewer. */
static int take_rows(const uint8_t **at, size_t *left, uint64_t n, size_t size, const void *out) {
    if (n > LAYOUT_ROWS_MAX || n * size > *left)
        return 0;
    memcpy((void *)out, at, sizeof *at);
    *at += n * size;
    *left -= n * size;
    return 1;
}

static int is_range(uint32_t first, uint32_t n, uint32_t total) {
    return n == 0 || (first <= total && n <= total - first);
}

static int check_types(const struct answer *a) {
    const struct layout_rows_head *const head = &a->head;
    for (uint32_t i = 0; i < head->n_types; i++) {
        const struct layout_rows_type *const type = &a->types[i];
        if (type->kind < LAYOUT_SCALAR || type->kind > LAYOUT_ARRAY ||
            type->target > head->n_types || (type->name && type->name >= head->n_text) ||
            !is_range(type->first_field, type->n_fields, head->n_fields) ||
            !is_range(type->first_argument, type->n_arguments, head->n_arguments))
            return 0;
        for (uint32_t k = 1; k < type->n_fields; k++) {
            if (a->fields[type->first_field + k].offset <
                a->fields[type->first_field + k - 1].offset)
                return 0;
        }
    }
    return 1;
}

/* Finds the parts of an answer and checks all that is used as an index later. */
static int open_answer(struct answer *a, const uint8_t *bytes, size_t size) {
    memset(a, 0, sizeof *a);
    if (size < sizeof a->head)
        return 0;
    memcpy(&a->head, bytes, sizeof a->head);
    const struct layout_rows_head *const head = &a->head;
    const uint8_t *at = bytes + sizeof a->head;
    size_t left = size - sizeof a->head;
    if (head->magic != LAYOUT_MAGIC || head->n_types > LAYOUT_TYPES_MAX)
        return 0;
    /* Rows of 4 bytes come in pairs or behind all others of 8: their addresses are aligned. */
    if (!take_rows(&at, &left, head->n_types, sizeof *a->types, &a->types) ||
        !take_rows(&at, &left, head->n_fields, sizeof *a->fields, &a->fields) ||
        !take_rows(&at, &left, head->n_variables, sizeof *a->variables, &a->variables) ||
        !take_rows(&at, &left, head->n_locals, sizeof *a->locals, &a->locals) ||
        !take_rows(&at, &left, head->n_arguments, sizeof *a->arguments, &a->arguments) ||
        left != head->n_text)
        return 0;
    a->text = (const char *)at;
    if (head->n_text && (at[0] != 0 || at[head->n_text - 1] != 0))
        return 0;
    for (uint32_t i = 0; i < head->n_fields; i++) {
        if ((a->fields[i].name && a->fields[i].name >= head->n_text) ||
            a->fields[i].type > head->n_types)
            return 0;
    }
    for (uint32_t i = 0; i < head->n_arguments; i++) {
        if (a->arguments[i] > head->n_types)
            return 0;
    }
    for (uint32_t i = 0; i < head->n_variables; i++) {
        const struct layout_rows_variable *const variable = &a->variables[i];
        if ((variable->name && variable->name >= head->n_text) ||
            (variable->function && variable->function >= head->n_text) ||
            variable->type > head->n_types)
            return 0;
    }
    for (uint32_t i = 0; i < head->n_locals; i++) {
        if ((a->locals[i].name && a->locals[i].name >= head->n_text) ||
            a->locals[i].type > head->n_types)
            return 0;
    }
    return check_types(a);
}

static const char *answer_text(const struct answer *a, uint32_t offset) {
    return offset ? a->text + offset : "";
}

static const char *keep(struct layout *l, const char *text) {
    return *text ? strings_add(&l->strings, text, strlen(text)) : "";
}

/* Adds a type without fields. 0: no memory. */
static uint32_t add_type(struct layout *l, const struct layout_type *type) {
    if (l->n_types >= TYPES_TOTAL_MAX ||
        mem_grow(&l->types, &l->types_capacity, l->n_types + 1, sizeof *l->types) != 0)
        return 0;
    l->types[l->n_types++] = *type;
    return (uint32_t)l->n_types;
}

static uint64_t struct_key(const struct answer *a, const struct layout_rows_type *type) {
    const char *const name = answer_text(a, type->name);
    uint64_t key = mix(hash_bytes(type->kind, name, strlen(name)), type->size);
    key = mix(key, type->is_declaration);
    for (uint32_t i = 0; i < type->n_fields; i++) {
        const struct layout_rows_field *const field = &a->fields[type->first_field + i];
        const char *const field_name = answer_text(a, field->name);
        key = mix(hash_bytes(key, field_name, strlen(field_name)), field->offset);
    }
    return key;
}

/* Gives a struct or union its id; fields are filled in once all ids are known. */
static int join_struct(struct layout *l, struct answer *a, uint32_t row, uint8_t *is_new) {
    const struct layout_rows_type *const from = &a->types[row];
    uint32_t *slot = NULL;
    if (from->name) {
        slot = map_slot(&l->known, struct_key(a, from));
        if (!slot)
            return 0;
        if (*slot) {
            a->ids[row] = *slot;
            return 1;
        }
    }
    const struct layout_type type = {.name = keep(l, answer_text(a, from->name)),
                                     .size = from->size,
                                     .kind = from->kind,
                                     .is_declaration = from->is_declaration != 0,
                                     .has_vtable = from->has_vtable != 0,
                                     .has_virtual_base = from->has_virtual_base != 0};
    if (!type.name || !(a->ids[row] = add_type(l, &type)))
        return 0;
    if (slot)
        *slot = a->ids[row];
    is_new[row] = 1;
    return 1;
}

/* The id of a row, joined if it is not yet; 0: unknown, too deep, or no memory. */
static uint32_t join(struct layout *l, struct answer *a, uint32_t id, unsigned depth) {
    if (id == 0 || depth == DEPTH_MAX)
        return 0;
    if (a->ids[id - 1])
        return a->ids[id - 1];
    const struct layout_rows_type *const from = &a->types[id - 1];
    struct layout_type type = {.kind = from->kind, .size = from->size, .name = ""};
    type.target = join(l, a, from->target, depth + 1);
    type.n_elements = from->kind == LAYOUT_ARRAY ? from->n_elements : 0;
    if (from->kind == LAYOUT_ARRAY &&
        __builtin_mul_overflow(type.n_elements, type.target ? l->types[type.target - 1].size : 0,
                               &type.size))
        type.size = type.n_elements = 0;
    const char *const name = answer_text(a, from->name);
    if (!(type.name = keep(l, name)))
        return 0;
    const uint64_t key =
        mix(mix(mix(hash_bytes(type.kind, name, strlen(name)), type.size), type.target),
            type.n_elements);
    uint32_t *const slot = map_slot(&l->known, key);
    if (!slot)
        return 0;
    if (!*slot) {
        const uint32_t new_id = add_type(l, &type);
        if (!new_id)
            return 0;
        *slot = new_id;
    }
    return a->ids[id - 1] = *slot;
}

static int copy_members(struct layout *l, struct answer *a, uint32_t row) {
    const struct layout_rows_type *const from = &a->types[row];
    const uint32_t id = a->ids[row];
    if (mem_grow(&l->fields, &l->fields_capacity, l->n_fields + from->n_fields,
                 sizeof *l->fields) != 0 ||
        mem_grow(&l->arguments, &l->arguments_capacity, l->n_arguments + from->n_arguments,
                 sizeof *l->arguments) != 0)
        return 0;
    l->types[id - 1].first_field = (uint32_t)l->n_fields;
    l->types[id - 1].first_argument = (uint32_t)l->n_arguments;
    for (uint32_t i = 0; i < from->n_fields; i++) {
        const struct layout_rows_field *const field = &a->fields[from->first_field + i];
        const char *const name = keep(l, answer_text(a, field->name));
        if (!name)
            return 0;
        l->fields[l->n_fields++] = (struct layout_field){.name = name,
                                                         .offset = field->offset,
                                                         .type = join(l, a, field->type, 0),
                                                         .is_base = field->is_base != 0,
                                                         .is_bit_field = field->is_bit_field != 0};
    }
    for (uint32_t i = 0; i < from->n_arguments; i++)
        l->arguments[l->n_arguments++] = join(l, a, a->arguments[from->first_argument + i], 0);
    l->types[id - 1].n_fields = from->n_fields;
    l->types[id - 1].n_arguments = from->n_arguments;
    return 1;
}

static int copy_variables(struct layout *l, struct answer *a, const struct layout_query *query) {
    if (mem_grow(&l->variables, &l->variables_capacity, l->n_variables + a->head.n_variables,
                 sizeof *l->variables) != 0 ||
        mem_grow(&l->locals, &l->locals_capacity, l->n_locals + a->head.n_locals,
                 sizeof *l->locals) != 0)
        return 0;
    for (uint32_t i = 0; i < a->head.n_variables; i++) {
        const struct layout_rows_variable *const from = &a->variables[i];
        struct layout_variable variable = {
            .address = from->address + (from->is_tls ? 0 : query->bias),
            .name = keep(l, answer_text(a, from->name)),
            .function = from->function ? keep(l, answer_text(a, from->function)) : NULL,
            .type = join(l, a, from->type, 0),
            .module = query->number,
            .part = from->part,
            .is_tls = from->is_tls != 0,
            .is_target = from->is_target != 0};
        uint64_t whole = variable.type ? l->types[variable.type - 1].size : 0;
        if (from->is_target) {
            if (whole == 0 || from->part_size % whole)
                continue;
            if (from->part_size > whole &&
                !(variable.type = layout_add_array(l, variable.type, from->part_size / whole)))
                return 0;
            whole = from->part_size;
        }
        if (from->part >= whole)
            continue;
        variable.size = from->part_size && from->part_size < whole - from->part
                            ? from->part_size
                            : whole - from->part;
        if (!variable.name || (from->function && !variable.function))
            return 0;
        l->variables[l->n_variables++] = variable;
    }
    for (uint32_t i = 0; i < a->head.n_locals; i++) {
        const struct layout_rows_local *const from = &a->locals[i];
        if (from->pc >= query->n_pcs)
            continue;
        const struct layout_local local = {.pc = query->pcs[from->pc] + query->bias,
                                           .offset = from->offset,
                                           .name = keep(l, answer_text(a, from->name)),
                                           .type = join(l, a, from->type, 0),
                                           .is_parameter = from->is_parameter != 0,
                                           .is_of_sp = from->is_of_sp != 0};
        if (!local.name)
            return 0;
        l->locals[l->n_locals++] = local;
    }
    return 1;
}

static int is_aggregate(uint8_t kind) {
    return kind == LAYOUT_STRUCT || kind == LAYOUT_UNION;
}

static int join_answer(struct layout *l, struct answer *a, const struct layout_query *query) {
    a->ids = mem_zalloc(a->head.n_types, sizeof *a->ids);
    uint8_t *const is_new = mem_zalloc(a->head.n_types, 1);
    int ok = a->ids && is_new;
    for (uint32_t i = 0; ok && i < a->head.n_types; i++)
        ok = !is_aggregate(a->types[i].kind) || join_struct(l, a, i, is_new);
    for (uint32_t i = 0; ok && i < a->head.n_types; i++)
        ok = !is_new[i] || copy_members(l, a, i);
    ok = ok && copy_variables(l, a, query);
    free(a->ids);
    free(is_new);
    return ok;
}

static int run_reader(void *context, int fd) {
    return layout_dwarf_write(context, fd);
}

int layout_is_described(struct symbolizer *s, uint32_t module) {
    struct elf_file elf;
    char *path = NULL;
    const int found = symbolizer_open_dwarf(s, module, &elf, &path);
    if (found <= 0)
        return found;
    elf_close(&elf);
    free(path);
    return 1;
}

int layout_load(struct layout *l, struct symbolizer *s, const struct layout_query *query,
                int *out_result, snap_error *err) {
    struct elf_file elf;
    char *path = NULL;
    const int found = symbolizer_open_dwarf(s, query->module, &elf, &path);
    if (found < 0)
        return err_set(err, SNAP_E_NOMEM, "out of memory");
    *out_result = LAYOUT_NONE;
    if (found == 0)
        return SNAP_OK;
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    struct layout_dwarf_request request = {
        .elf = &elf,
        .path = path,
        .dirs = symbolizer_debug_dirs(s),
        .query = query,
        .deadline_ns = (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec +
                       (query->budget_ns ? query->budget_ns : BUDGET_NS_DEFAULT)};
    const struct isolate_limits limits = {.deadline_ns = request.deadline_ns,
                                          .memory_bytes = elf.size + READER_MAX_BYTES,
                                          .output_bytes = ANSWER_MAX_BYTES};
    uint8_t *bytes = NULL;
    size_t size = 0;
    const int result = isolate_run(run_reader, &request, &limits, &bytes, &size);
    elf_close(&elf);
    free(path);
    if (result < 0)
        return err_set(err, result, "out of memory");
    struct answer answer;
    int ok = 1;
    *out_result = LAYOUT_LATE;
    if (open_answer(&answer, bytes, size)) {
        *out_result = LAYOUT_LOADED;
        ok = join_answer(l, &answer, query);
    }
    free(bytes);
    return ok ? SNAP_OK : err_set(err, SNAP_E_NOMEM, "out of memory");
}

static int compare_variables(const void *a, const void *b) {
    const struct layout_variable *const left = a, *const right = b;
    if (left->is_tls != right->is_tls)
        return left->is_tls < right->is_tls ? -1 : 1;
    if (left->is_tls && left->module != right->module)
        return left->module < right->module ? -1 : 1;
    return left->address < right->address ? -1 : left->address > right->address;
}

static int compare_locals(const void *a, const void *b) {
    const struct layout_local *const left = a, *const right = b;
    return left->pc < right->pc ? -1 : left->pc > right->pc;
}

int layout_finish(struct layout *l, snap_error *err) {
    if (l->n_variables)
        qsort(l->variables, l->n_variables, sizeof *l->variables, compare_variables);
    if (l->n_locals)
        qsort(l->locals, l->n_locals, sizeof *l->locals, compare_locals);
    l->n_tls = 0;
    for (size_t i = 0; i < l->n_variables; i++)
        l->n_tls += l->variables[i].is_tls;
    for (size_t i = 0; i < l->n_types; i++) {
        const struct layout_type *const type = &l->types[i];
        if (!is_aggregate(type->kind) || type->is_declaration || !*type->name)
            continue;
        uint32_t *const slot = map_slot(&l->by_name, layout_name_hash(type->name));
        if (!slot)
            return err_set(err, SNAP_E_NOMEM, "out of memory");
        /* Spelled differently, of the same size: they differ in the place of a const. */
        if (*slot && *slot != AMBIGUOUS && l->types[*slot - 1].size == type->size &&
            strcmp(l->types[*slot - 1].name, type->name) != 0)
            continue;
        *slot = *slot && *slot != i + 1 ? AMBIGUOUS : (uint32_t)i + 1;
    }
    for (size_t i = 0; i < l->n_types; i++) {
        struct layout_type *const type = &l->types[i];
        if (!type->target || !l->types[type->target - 1].is_declaration)
            continue;
        const uint32_t complete = layout_by_name(l, l->types[type->target - 1].name);
        if (complete)
            type->target = complete;
    }
    return SNAP_OK;
}

uint32_t layout_n_types(const struct layout *l) {
    return (uint32_t)l->n_types;
}

const struct layout_type *layout_type_get(const struct layout *l, uint32_t type) {
    return &l->types[type - 1];
}

const struct layout_field *layout_fields(const struct layout *l, uint32_t type) {
    return l->fields + l->types[type - 1].first_field;
}

uint32_t layout_argument(const struct layout *l, uint32_t type, uint32_t index) {
    const struct layout_type *const t = &l->types[type - 1];
    return index < t->n_arguments ? l->arguments[t->first_argument + index] : 0;
}

/* The last variable of those given that starts at or before an address, if it reaches it. */
static const struct layout_variable *search(const struct layout *l, size_t low, size_t high,
                                            uint64_t address) {
    const size_t first = low;
    while (low < high) {
        const size_t middle = low + (high - low) / 2;
        if (l->variables[middle].address <= address)
            low = middle + 1;
        else
            high = middle;
    }
    if (low == first)
        return NULL;
    const struct layout_variable *const variable = &l->variables[low - 1];
    return address - variable->address < variable->size ? variable : NULL;
}

const struct layout_variable *layout_variable_at(const struct layout *l, uint64_t address) {
    return search(l, 0, l->n_variables - l->n_tls, address);
}

const struct layout_variable *layout_tls_at(const struct layout *l, uint32_t module,
                                            uint64_t offset) {
    size_t first = l->n_variables - l->n_tls;
    while (first < l->n_variables && l->variables[first].module < module)
        first++;
    size_t end = first;
    while (end < l->n_variables && l->variables[end].module == module)
        end++;
    return search(l, first, end, offset);
}

size_t layout_locals(const struct layout *l, uint64_t pc, const struct layout_local **out) {
    size_t low = 0, high = l->n_locals;
    while (low < high) {
        const size_t middle = low + (high - low) / 2;
        if (l->locals[middle].pc < pc)
            low = middle + 1;
        else
            high = middle;
    }
    size_t end = low;
    while (end < l->n_locals && l->locals[end].pc == pc)
        end++;
    *out = l->locals + low;
    return end - low;
}

uint32_t layout_by_name(const struct layout *l, const char *name) {
    const uint32_t found = map_get(&l->by_name, layout_name_hash(name));
    return found == AMBIGUOUS ? 0 : found;
}

uint32_t layout_add_struct(struct layout *l, const char *name, uint64_t size,
                           const struct layout_field *fields, uint32_t n_fields) {
    const struct layout_type type = {.name = keep(l, name),
                                     .size = size,
                                     .kind = LAYOUT_STRUCT,
                                     .first_field = (uint32_t)l->n_fields,
                                     .n_fields = n_fields};
    if (!type.name ||
        mem_grow(&l->fields, &l->fields_capacity, l->n_fields + n_fields, sizeof *l->fields) != 0)
        return 0;
    for (uint32_t i = 0; i < n_fields; i++) {
        l->fields[l->n_fields + i] = fields[i];
        if (!(l->fields[l->n_fields + i].name = keep(l, fields[i].name)))
            return 0;
    }
    l->n_fields += n_fields;
    return add_type(l, &type);
}

uint32_t layout_add_pointer(struct layout *l, uint32_t target) {
    const struct layout_type type = {
        .name = "", .size = 8, .kind = LAYOUT_POINTER, .target = target};
    return add_type(l, &type);
}

uint32_t layout_add_array(struct layout *l, uint32_t element, uint64_t n_elements) {
    struct layout_type type = {
        .name = "", .kind = LAYOUT_ARRAY, .target = element, .n_elements = n_elements};
    if (__builtin_mul_overflow(n_elements, l->types[element - 1].size, &type.size))
        return 0;
    return add_type(l, &type);
}

uint32_t layout_add_scalar(struct layout *l, const char *name, uint64_t size) {
    const struct layout_type type = {.name = keep(l, name), .size = size, .kind = LAYOUT_SCALAR};
    return type.name ? add_type(l, &type) : 0;
}

int layout_define(struct layout *l, uint32_t type, uint64_t size,
                  const struct layout_field *field) {
    if (mem_grow(&l->fields, &l->fields_capacity, l->n_fields + 1, sizeof *l->fields) != 0)
        return SNAP_E_NOMEM;
    struct layout_field copy = *field;
    if (!(copy.name = keep(l, field->name)))
        return SNAP_E_NOMEM;
    struct layout_type *const t = &l->types[type - 1];
    t->kind = LAYOUT_STRUCT;
    t->size = size;
    t->is_declaration = 0;
    t->first_field = (uint32_t)l->n_fields;
    t->n_fields = 1;
    l->fields[l->n_fields++] = copy;
    return SNAP_OK;
}
