/* Words of types, by descent through members, and the insides of the C++ library's containers.
 *
 * A container's nodes are of types that no pointer of it says: a tree's header points at a base
 * class of all nodes of all trees. So the descent remembers which container it is in, and where a
 * word's declared target is such a base class it answers with a node that is made up from the
 * container's template arguments. Members are found by their names and declared types, never by
 * offsets that were written down: a library that is laid out in another way is not recognised, and
 * its words are what they are declared to be. Paths end at a container's own name: what is inside
 * is its library's business.
 *
 * Words in unions are something only if all members that have a pointer there agree. Does not look
 * at memory. */
#include "model/word.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define DEPTH_MAX 64
#define STEPS_MAX 20000 /* of one descent: unions in unions would take for ever */
#define LABEL_MAX 512
#define SHAPE_MAX_BYTES (UINT64_C(1) << 16)
#define NAME_MAX_BYTES 4096

enum trait {
    TRAIT_NONE,
    TRAIT_OPAQUE, /* its own name says enough */
    TRAIT_NAMED,  /* likewise, and people name the container in it so */
    TRAIT_STRING,
    TRAIT_VECTOR,
    TRAIT_TREE,
    TRAIT_HASH,
    TRAIT_LIST,
    TRAIT_FORWARD_LIST,
    TRAIT_DEQUE,
    TRAIT_STORAGE, /* room for an object of its first argument */
    TRAIT_VALUE    /* has an object in its members named so: std::optional, std::array */
};

/* What a descent is in. */
struct descent {
    struct words *w;
    char text[LABEL_MAX];
    size_t n;    /* of text */
    int is_cut;  /* names are not written any more */
    size_t mark; /* length of text where the outermost library type began; SIZE_MAX: outside */
    enum trait container;
    uint32_t container_type, outer_type; /* innermost container; type that people name it by */
    const char *last;                    /* name of the last member */
    unsigned *steps;                     /* left */
};

void words_init(struct words *w, struct layout *layout) {
    *w = (struct words){.layout = layout};
    strtab_init(&w->labels);
    map_init(&w->by_content);
    map_init(&w->nodes);
    map_init(&w->traits);
}

void words_release(struct words *w) {
    strtab_release(&w->labels);
    map_release(&w->by_content);
    map_release(&w->nodes);
    map_release(&w->traits);
    for (size_t i = 0; i < w->n_shapes; i++)
        free(w->shapes[i]);
    free(w->shapes);
    free(w->known);
}

/* Names. */

/* The name behind "std::" and the library's inline namespaces; NULL: of somebody else. */
static const char *library_name(const char *name) {
    if (strncmp(name, "std::", 5) != 0)
        return NULL;
    name += 5;
    for (;;) {
        if (strncmp(name, "__cxx11::", 9) == 0)
            name += 9;
        else if (strncmp(name, "__1::", 5) == 0)
            name += 5;
        else
            return name;
    }
}

static int starts(const char *name, const char *prefix) {
    return strncmp(name, prefix, strlen(prefix)) == 0;
}

/* Length of a template argument: up to a ',' or '>' of its own level. */
static size_t argument_length(const char *at) {
    int depth = 0;
    size_t n = 0;
    for (; at[n]; n++) {
        const char c = at[n];
        if (c == '<' || c == '(' || c == '[')
            depth++;
        else if (depth > 0 && (c == '>' || c == ')' || c == ']'))
            depth--;
        else if (depth == 0 && (c == ',' || c == '>'))
            break;
    }
    return n;
}

static enum trait find_trait(const struct words *w, uint32_t type) {
    static const struct {
        const char *name;
        enum trait trait;
    } known[] = {
        {"vector<", TRAIT_VECTOR},
        {"_Rb_tree<", TRAIT_TREE},
        {"map<", TRAIT_NAMED},
        {"multimap<", TRAIT_NAMED},
        {"set<", TRAIT_NAMED},
        {"multiset<", TRAIT_NAMED},
        {"_Hashtable<", TRAIT_HASH},
        {"unordered_map<", TRAIT_NAMED},
        {"unordered_multimap<", TRAIT_NAMED},
        {"unordered_set<", TRAIT_NAMED},
        {"unordered_multiset<", TRAIT_NAMED},
        {"list<", TRAIT_LIST},
        {"forward_list<", TRAIT_FORWARD_LIST},
        {"deque<", TRAIT_DEQUE},
        {"stack<", TRAIT_OPAQUE},
        {"queue<", TRAIT_OPAQUE},
        {"priority_queue<", TRAIT_OPAQUE},
        {"basic_string<", TRAIT_STRING},
        {"unique_ptr<", TRAIT_OPAQUE},
        {"shared_ptr<", TRAIT_OPAQUE},
        {"__shared_ptr<", TRAIT_OPAQUE},
        {"weak_ptr<", TRAIT_OPAQUE},
        {"__weak_ptr<", TRAIT_OPAQUE},
        {"function<", TRAIT_OPAQUE},
        {"variant<", TRAIT_OPAQUE},
        {"any", TRAIT_OPAQUE},
        {"atomic<", TRAIT_OPAQUE},
        {"tuple<", TRAIT_OPAQUE},
        {"optional<", TRAIT_VALUE},
        {"array<", TRAIT_VALUE},
        {"_Sp_counted_ptr_inplace<", TRAIT_OPAQUE},
        {"_Sp_counted_ptr<", TRAIT_OPAQUE},
        {"_Sp_counted_deleter<", TRAIT_OPAQUE},
    };
    const char *const name = layout_type_get(w->layout, type)->name;
    if (starts(name, "__gnu_cxx::__aligned_buffer<") ||
        starts(name, "__gnu_cxx::__aligned_membuf<"))
        return layout_argument(w->layout, type, 0) ? TRAIT_STORAGE : TRAIT_NONE;
    const char *const rest = library_name(name);
    for (size_t i = 0; rest && i < sizeof known / sizeof *known; i++) {
        const size_t length = strlen(known[i].name);
        if (!starts(rest, known[i].name))
            continue;
        /* Not what is declared in it. */
        const char *at = rest + length;
        if (rest[length - 1] == '<') {
            for (at += argument_length(at); *at == ',';)
                at += 1 + argument_length(at + 1);
            at += *at == '>';
        }
        return *at ? TRAIT_NONE : known[i].trait;
    }
    return TRAIT_NONE;
}

static enum trait trait_of(struct words *w, uint32_t type) {
    uint32_t *const slot = map_slot(&w->traits, type);
    if (!slot)
        return TRAIT_NONE;
    if (!*slot)
        *slot = (uint32_t)find_trait(w, type) + 1;
    return (enum trait)(*slot - 1);
}

/* Whether an argument of a template that starts here is one that the library adds by itself. */
static int is_default_argument(const char *at) {
    static const char *const names[] = {"std::allocator<", "std::char_traits<",
                                        "std::less<",      "std::hash<",
                                        "std::equal_to<",  "std::default_delete<"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        if (starts(at, names[i]))
            return 1;
    }
    return 0;
}

static int is_word(char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_';
}

/* The shortest spelling of an integer type that stands here, as "long unsigned int"; its length in
 * *length. NULL: none stands here. */
static const char *integer_name(const char *at, size_t *length) {
    static const char *const words[] = {"unsigned", "signed", "long", "short", "int", "char"};
    enum { UNSIGNED = 1, SIGNED = 2, LONG = 4, SHORT = 8, INT = 16, CHAR = 32 };
    unsigned seen = 0, n_longs = 0;
    size_t n = 0;
    for (;;) {
        size_t end = n + (n > 0 && at[n] == ' ');
        unsigned bit = 0;
        for (unsigned i = 0; i < sizeof words / sizeof *words && !bit; i++) {
            if (starts(at + end, words[i]) && !is_word(at[end + strlen(words[i])])) {
                bit = 1u << i;
                end += strlen(words[i]);
            }
        }
        if (!bit)
            break;
        seen |= bit;
        n_longs += bit == LONG;
        n = end;
    }
    *length = n;
    const int is_unsigned = (seen & UNSIGNED) != 0;
    /* "long double" is none. */
    if (n == 0 || starts(at + n, " double"))
        return NULL;
    if (seen & CHAR)
        return is_unsigned ? "unsigned char" : seen & SIGNED ? "signed char" : "char";
    if (seen & SHORT)
        return is_unsigned ? "unsigned short" : "short";
    if (n_longs == 0)
        return is_unsigned ? "unsigned int" : "int";
    if (n_longs == 1)
        return is_unsigned ? "unsigned long" : "long";
    return is_unsigned ? "unsigned long long" : "long long";
}

void words_plain_name(const char *name, char *out, size_t size) {
    static const char string_name[] = "basic_string<char";
    size_t n = 0;
    while (*name && n + 24 < size) {
        size_t length;
        const char *const integer =
            n == 0 || !is_word(out[n - 1]) ? integer_name(name, &length) : NULL;
        if (integer) {
            const size_t used = strlen(integer);
            memcpy(out + n, integer, used);
            n += used;
            name += length;
            continue;
        }
        if ((n == 0 || strchr("<, (*&:", out[n - 1])) && starts(name, "std::")) {
            const char *const rest = library_name(name);
            if (rest && starts(rest, string_name) &&
                (rest[strlen(string_name)] == ',' || rest[strlen(string_name)] == '>')) {
                const size_t arguments = strlen("basic_string<");
                const char *at = rest + arguments;
                for (at += argument_length(at); *at == ',';)
                    at += 2 + argument_length(at + 2);
                memcpy(out + n, "std::string", 11);
                n += 11;
                name = at + (*at == '>');
                continue;
            }
            if (rest) {
                memcpy(out + n, "std::", 5);
                n += 5;
                name = rest;
                continue;
            }
        }
        if (name[0] == ',' && name[1] == ' ' && is_default_argument(name + 2)) {
            name += 2 + argument_length(name + 2);
            continue;
        }
        /* "> >" of old, "T *" of clang */
        if (*name == ' ' && (name[1] == '>' || name[1] == '*' || name[1] == '&')) {
            name++;
            continue;
        }
        out[n++] = *name++;
    }
    out[n] = 0;
}

void words_type_name(const struct words *w, uint32_t type, char *out, size_t size) {
    unsigned n_stars = 0;
    const struct layout_type *t = layout_type_get(w->layout, type);
    while ((t->kind == LAYOUT_POINTER || t->kind == LAYOUT_ARRAY) && t->target && n_stars < 8) {
        n_stars += t->kind == LAYOUT_POINTER;
        t = layout_type_get(w->layout, t->target);
    }
    const char *name = t->name;
    if (t->kind == LAYOUT_POINTER) {
        n_stars++;
        name = "void";
    } else if (t->kind == LAYOUT_FUNCTION)
        name = "function";
    if (size < n_stars + 32)
        return;
    words_plain_name(name, out, size - n_stars - 1);
    size_t n = strlen(out);
    while (n_stars-- > 0)
        out[n++] = '*';
    out[n] = 0;
}

void words_complete(struct words *w) {
    static const char name[] = "std::__cxx11::basic_string<char, std::char_traits<char>, ";
    static const char inner[] = ">::_Alloc_hider";
    enum { STRING_BYTES = 32, POINTER_BYTES = 8 };
    uint32_t pointer = 0;
    const uint32_t n = layout_n_types(w->layout);
    for (uint32_t type = 1; type <= n; type++) {
        const struct layout_type *const t = layout_type_get(w->layout, type);
        if (!t->is_declaration || !starts(t->name, name))
            continue;
        const char *const end = strstr(t->name, ">::");
        if (end && strcmp(end, inner) != 0)
            continue;
        if (!pointer) {
            const uint32_t text = layout_add_scalar(w->layout, "char", 1);
            pointer = text ? layout_add_pointer(w->layout, text) : 0;
        }
        const struct layout_field field = {.name = "_M_p", .type = pointer};
        if (!pointer ||
            layout_define(w->layout, type, end ? POINTER_BYTES : STRING_BYTES, &field) != 0)
            return;
    }
}

/* Sizes and members. */

static uint64_t alignment(const struct words *w, uint32_t type, unsigned depth, unsigned *steps) {
    if (!type || depth == DEPTH_MAX || *steps == 0)
        return 1;
    --*steps;
    const struct layout_type *const t = layout_type_get(w->layout, type);
    if (t->kind == LAYOUT_ARRAY)
        return alignment(w, t->target, depth + 1, steps);
    if (t->kind == LAYOUT_SCALAR || t->kind == LAYOUT_POINTER)
        return t->size >= 16 ? 16 : t->size >= 8 ? 8 : t->size >= 4 ? 4 : t->size >= 2 ? 2 : 1;
    uint64_t most = t->has_vtable ? 8 : 1;
    const struct layout_field *const fields = layout_fields(w->layout, type);
    for (uint32_t i = 0; i < t->n_fields; i++) {
        const uint64_t part = alignment(w, fields[i].type, depth + 1, steps);
        most = part > most ? part : most;
    }
    return most;
}

static uint64_t align_up(uint64_t value, uint64_t to) {
    return (value + to - 1) / to * to;
}

static uint64_t size_of(const struct words *w, uint32_t type) {
    return type ? layout_type_get(w->layout, type)->size : 0;
}

int words_is_flexible(const struct words *w, uint32_t type, uint64_t *out_offset,
                      uint64_t *out_size) {
    uint64_t base = 0;
    for (unsigned depth = 0; type && depth < DEPTH_MAX; depth++) {
        const struct layout_type *const t = layout_type_get(w->layout, type);
        if (t->kind != LAYOUT_STRUCT || t->n_fields == 0)
            return 0;
        const struct layout_field *const last = &layout_fields(w->layout, type)[t->n_fields - 1];
        if (!last->type)
            return 0;
        const struct layout_type *const member = layout_type_get(w->layout, last->type);
        base += last->offset;
        if (member->kind == LAYOUT_ARRAY && member->n_elements <= 1 && member->target) {
            *out_offset = base;
            *out_size = size_of(w, member->target);
            return *out_size > 0;
        }
        type = last->type;
    }
    return 0;
}

/* The member that holds an offset: the last that starts at or before it and reaches it; a flexible
 * one reaches everything. UINT32_MAX: none. */
static uint32_t member_at(const struct words *w, uint32_t type, uint64_t offset) {
    const struct layout_type *const t = layout_type_get(w->layout, type);
    const struct layout_field *const fields = layout_fields(w->layout, type);
    uint32_t low = 0, high = t->n_fields;
    while (low < high) {
        const uint32_t middle = low + (high - low) / 2;
        if (fields[middle].offset <= offset)
            low = middle + 1;
        else
            high = middle;
    }
    for (unsigned steps = 0; low > 0 && steps < DEPTH_MAX; steps++) {
        const struct layout_field *const field = &fields[--low];
        const uint64_t size = size_of(w, field->type);
        /* An empty base class has a size, but no memory of its own. */
        const int is_empty =
            size == 1 && layout_type_get(w->layout, field->type)->kind == LAYOUT_STRUCT;
        if (!field->is_bit_field && !is_empty && offset - field->offset < size)
            return low;
    }
    uint64_t from, element;
    return offset >= t->size && words_is_flexible(w, type, &from, &element) ? t->n_fields - 1
                                                                            : UINT32_MAX;
}

int words_has_part(const struct words *w, uint32_t type, uint64_t offset, uint32_t part) {
    for (unsigned depth = 0; type && depth < DEPTH_MAX; depth++) {
        if (offset == 0 && type == part)
            return 1;
        const struct layout_type *const t = layout_type_get(w->layout, type);
        if (t->kind == LAYOUT_ARRAY) {
            const uint64_t size = size_of(w, t->target);
            if (size == 0 || offset >= t->size)
                return 0;
            offset %= size;
            type = t->target;
        } else if (t->kind == LAYOUT_STRUCT) {
            const uint32_t member = member_at(w, type, offset);
            if (member == UINT32_MAX)
                return 0;
            const struct layout_field *const field = &layout_fields(w->layout, type)[member];
            offset -= field->offset;
            type = field->type;
        } else
            return 0;
    }
    return 0;
}

/* Nodes of containers. */

enum node_kind { NODE_OBJECT, NODE_BUCKET, NODE_CHUNKS, NODE_CHUNK };

static uint64_t node_key(const struct descent *d, enum node_kind kind) {
    return (uint64_t)d->container_type << 34 ^ (uint64_t)d->outer_type << 2 ^ kind;
}

static uint32_t remember(struct descent *d, enum node_kind kind, uint32_t type) {
    uint32_t *const slot = type ? map_slot(&d->w->nodes, node_key(d, kind)) : NULL;
    if (slot)
        *slot = type;
    return slot ? type : 0;
}

static void node_name(const struct descent *d, const char *suffix, char *out, size_t size) {
    words_type_name(d->w, d->outer_type, out, size - 16);
    memcpy(out + strlen(out), suffix, strlen(suffix) + 1);
}

/* Adds what a node holds: the two halves of a pair by their meaning, or one thing. */
static uint32_t add_value(const struct words *w, uint32_t value, uint64_t offset, const char *name,
                          struct layout_field *fields) {
    const struct layout_type *const t = layout_type_get(w->layout, value);
    const char *const rest = library_name(t->name);
    const struct layout_field *const members = layout_fields(w->layout, value);
    uint32_t n = 0;
    if (rest && starts(rest, "pair<")) {
        for (uint32_t i = 0; i < t->n_fields && n < 2; i++) {
            const int is_first = strcmp(members[i].name, "first") == 0;
            if (!is_first && strcmp(members[i].name, "second") != 0)
                continue;
            fields[n++] = (struct layout_field){.name = is_first ? "key" : "value",
                                                .offset = offset + members[i].offset,
                                                .type = members[i].type};
        }
    }
    if (n == 0)
        fields[n++] = (struct layout_field){.name = name, .offset = offset, .type = value};
    return n;
}

/* Whether nodes of a hash table have the value's hash behind it. */
static int keeps_hashes(const struct descent *d) {
    const uint32_t traits = layout_argument(d->w->layout, d->container_type, 9);
    const char *const name =
        traits ? library_name(layout_type_get(d->w->layout, traits)->name) : NULL;
    return name && starts(name, "__detail::_Hashtable_traits<true");
}

/* The type of a container's nodes: the links of the base class, then the value. */
static uint32_t make_node(struct descent *d, uint32_t base) {
    enum { LINKS_MAX = 4 };
    struct words *const w = d->w;
    struct layout_field fields[LINKS_MAX + 2];
    uint32_t n = 0;
    const uint32_t value =
        layout_argument(w->layout, d->container_type,
                        d->container == TRAIT_TREE || d->container == TRAIT_HASH ? 1 : 0);
    const uint64_t base_size = size_of(w, base);
    if (!value || size_of(w, value) == 0 || base_size == 0)
        return 0;
    const uint32_t made = map_get(&w->nodes, node_key(d, NODE_OBJECT));
    if (made)
        return made;
    /* The node is not there yet, and its id is known: the next but one, behind the pointer to it.
     */
    const uint32_t link = layout_add_pointer(w->layout, layout_n_types(w->layout) + 2);
    if (!link)
        return 0;
    const struct layout_type *const t = layout_type_get(w->layout, base);
    for (uint32_t i = 0; i < t->n_fields && n < LINKS_MAX; i++) {
        const struct layout_field *const field = &layout_fields(w->layout, base)[i];
        if (field->type && layout_type_get(w->layout, field->type)->kind == LAYOUT_POINTER)
            fields[n++] =
                (struct layout_field){.name = "[*]", .offset = field->offset, .type = link};
    }
    const uint64_t align = alignment(w, value, 0, d->steps);
    const uint64_t offset = align_up(base_size, align);
    const char *const name = library_name(layout_type_get(w->layout, d->outer_type)->name);
    const int is_set =
        name && strstr(name, "set<") != NULL && strchr(name, '<') > strstr(name, "set<");
    n += add_value(w, value, offset, is_set ? "key" : "value", fields + n);
    char text[NAME_MAX_BYTES];
    node_name(d, "::node", text, sizeof text);
    uint64_t size = align_up(offset + size_of(w, value), 8);
    if (d->container == TRAIT_HASH && keeps_hashes(d))
        size += 8;
    const uint32_t node =
        layout_add_struct(w->layout, text, align_up(size, align > 8 ? align : 8), fields, n);
    return remember(d, NODE_OBJECT, node);
}

/* A struct of one pointer without a name: what the array of a hash table's buckets, or of a deque's
 * chunks, consists of. */
static uint32_t make_cell(struct descent *d, enum node_kind kind, uint32_t target) {
    struct words *const w = d->w;
    const uint32_t made = map_get(&w->nodes, node_key(d, kind));
    if (made || !target)
        return made;
    char text[NAME_MAX_BYTES];
    const struct layout_field field = {.name = "", .type = layout_add_pointer(w->layout, target)};
    if (!field.type)
        return 0;
    if (kind == NODE_BUCKET)
        node_name(d, "::bucket", text, sizeof text);
    else
        words_type_name(w, field.type, text, sizeof text);
    const uint32_t cell = layout_add_struct(w->layout, text, 8, &field, 1);
    return remember(d, kind, cell);
}

static uint32_t chunk_of(struct descent *d, uint32_t element) {
    enum { CHUNK_BYTES = 512 };
    const uint64_t size = size_of(d->w, element);
    const uint32_t made = map_get(&d->w->nodes, node_key(d, NODE_CHUNK));
    if (made || size == 0)
        return made;
    return remember(
        d, NODE_CHUNK,
        layout_add_array(d->w->layout, element, size < CHUNK_BYTES ? CHUNK_BYTES / size : 1));
}

static int is_named(const struct words *w, uint32_t type, const char *name) {
    const char *const rest = type ? library_name(layout_type_get(w->layout, type)->name) : NULL;
    return rest && strcmp(rest, name) == 0;
}

/* What a pointer in a container is really at. Returns 1 if that is decided. */
static int container_target(struct descent *d, uint32_t declared, struct word *out) {
    struct words *const w = d->w;
    const uint32_t next = declared && layout_type_get(w->layout, declared)->kind == LAYOUT_POINTER
                              ? layout_type_get(w->layout, declared)->target
                              : 0;
    const char *base = NULL;
    switch (d->container) {
    case TRAIT_STRING: out->flags |= WORD_ARRAY | WORD_TEXT; return 0;
    case TRAIT_VECTOR:
        if (strcmp(d->last, "_M_start") == 0 || strcmp(d->last, "__begin_") == 0 ||
            strcmp(d->last, "_M_p") == 0) {
            out->flags |= WORD_ARRAY;
            return 0;
        }
        /* The others are past elements: the end of the last may be the start of what follows. */
        if (strcmp(d->last, "_M_finish") == 0 || strcmp(d->last, "__end_") == 0)
            out->flags |= WORD_END;
        return 1;
    case TRAIT_TREE: base = "_Rb_tree_node_base"; break;
    case TRAIT_HASH:
        base = "__detail::_Hash_node_base";
        if (is_named(w, next, base)) {
            out->target = make_cell(d, NODE_BUCKET, make_node(d, next));
            out->flags |= WORD_ARRAY | WORD_CONTAINER;
            return 1;
        }
        break;
    case TRAIT_LIST: base = "__detail::_List_node_base"; break;
    case TRAIT_FORWARD_LIST: base = "_Fwd_list_node_base"; break;
    case TRAIT_DEQUE: {
        const uint32_t element = layout_argument(w->layout, d->container_type, 0);
        if (!element)
            return 0;
        if (next == element && strcmp(d->last, "_M_map") == 0) {
            out->target = make_cell(d, NODE_CHUNKS, chunk_of(d, element));
            out->flags |= WORD_ARRAY | WORD_CONTAINER;
        } else if (declared == element && strcmp(d->last, "_M_first") == 0) {
            out->target = chunk_of(d, element);
            out->flags |= WORD_CONTAINER;
        }
        return 1;
    }
    default: return 0;
    }
    if (!is_named(w, declared, base))
        return 0;
    out->target = make_node(d, declared);
    out->flags |= WORD_CONTAINER;
    return 1;
}

/* Descent. */

static void append(struct descent *d, const char *text) {
    const size_t length = strnlen(text, LABEL_MAX);
    const int has_dot = d->n > 0 && *text != '[' && *text;
    if (d->is_cut || d->n + length + 2 > LABEL_MAX)
        return;
    if (has_dot)
        d->text[d->n++] = '.';
    memcpy(d->text + d->n, text, length);
    d->n += length;
}

static struct word descend(struct descent *d, uint32_t type, uint64_t offset, unsigned depth);

static int same_target(const struct words *w, uint32_t a, uint32_t b) {
    if (a == b)
        return 1;
    if (!a || !b)
        return 0;
    const struct layout_type *const x = layout_type_get(w->layout, a), *const y = layout_type_get(
                                                                           w->layout, b);
    return x->kind == LAYOUT_FUNCTION && y->kind == LAYOUT_FUNCTION;
}

/* All members of a union that have a pointer at an offset have to agree. */
static struct word descend_union(struct descent *d, uint32_t type, uint64_t offset,
                                 unsigned depth) {
    struct words *const w = d->w;
    const uint32_t n = layout_type_get(w->layout, type)->n_fields;
    struct descent best = *d;
    struct word result = {.flags = 0};
    unsigned n_found = 0, n_members = 0, n_text = 0;
    for (uint32_t i = 0; i < n && i < 256; i++) {
        const struct layout_field field = layout_fields(w->layout, type)[i];
        if (offset - field.offset >= size_of(w, field.type))
            continue;
        n_members++;
        struct descent one = *d;
        one.last = field.name;
        const int opens = d->is_cut && strcmp(field.name, "_M_value") == 0;
        if (opens)
            one.is_cut = 0;
        else
            append(&one, field.name);
        const struct word word = descend(&one, field.type, offset - field.offset, depth + 1);
        if (!(word.flags & WORD_POINTER)) {
            n_text += word.flags & WORD_TEXT ? 1 : 0;
            continue;
        }
        if (n_found++ == 0) {
            result = word;
            best = one;
        } else if (!same_target(w, result.target, word.target)) {
            return (struct word){.flags = WORD_POINTER};
        }
    }
    if (n_text > 0 && n_text == n_members)
        result.flags = WORD_TEXT;
    if (n_found == 1 || (n_found > 1 && n_found == n_members)) {
        memcpy(d->text, best.text, best.n);
        d->n = best.n;
    }
    return result;
}

/* Takes note of a library type that the descent enters. 1: goes on with *type. */
static void enter(struct descent *d, uint32_t *type) {
    const enum trait trait = trait_of(d->w, *type);
    if (trait == TRAIT_NONE)
        return;
    if (trait == TRAIT_STORAGE) {
        /* An object of the user's again. */
        if (d->mark != SIZE_MAX) {
            d->n = d->mark;
            d->is_cut = 0;
        }
        d->mark = SIZE_MAX;
        d->container = TRAIT_NONE;
        d->outer_type = 0;
        *type = layout_argument(d->w->layout, *type, 0);
        return;
    }
    if (trait == TRAIT_NAMED || trait >= TRAIT_LIST || trait == TRAIT_VECTOR ||
        trait == TRAIT_STRING || !d->outer_type)
        d->outer_type = *type;
    if (d->mark == SIZE_MAX)
        d->mark = d->n;
    d->is_cut = 1;
    if (trait >= TRAIT_STRING && trait <= TRAIT_DEQUE) {
        d->container = trait;
        d->container_type = *type;
    }
}

static struct word descend(struct descent *d, uint32_t type, uint64_t offset, unsigned depth) {
    struct words *const w = d->w;
    struct word out = {.flags = 0};
    for (; type && depth<DEPTH_MAX && * d->steps> 0; depth++) {
        const uint8_t kind = layout_type_get(w->layout, type)->kind;
        --*d->steps;
        if (kind == LAYOUT_STRUCT) {
            const uint32_t before = type;
            enter(d, &type);
            if (type != before)
                continue;
            const uint32_t member = member_at(w, type, offset);
            if (member == UINT32_MAX)
                break;
            const struct layout_field *const field = &layout_fields(w->layout, type)[member];
            if (d->is_cut &&
                (strcmp(field->name, "_M_value") == 0 || strcmp(field->name, "_M_elems") == 0)) {
                d->is_cut = 0;
                d->mark = SIZE_MAX;
                d->outer_type = 0;
            } else if (!field->is_base)
                append(d, field->name);
            if (!field->is_base)
                d->last = field->name;
            offset -= field->offset;
            type = field->type;
        } else if (kind == LAYOUT_ARRAY) {
            const uint32_t element = layout_type_get(w->layout, type)->target;
            const uint64_t size = size_of(w, element);
            if (size == 0)
                return out;
            append(d, "[*]");
            offset %= size;
            type = element;
        } else if (kind == LAYOUT_UNION) {
            return descend_union(d, type, offset, depth);
        } else if (kind == LAYOUT_POINTER) {
            if (offset != 0)
                return out;
            out.flags = WORD_POINTER;
            const uint32_t declared = layout_type_get(w->layout, type)->target;
            if (d->container != TRAIT_NONE && container_target(d, declared, &out)) {
                if (out.flags & WORD_CONTAINER && d->container >= TRAIT_TREE &&
                    d->container <= TRAIT_FORWARD_LIST && !(out.flags & WORD_ARRAY)) {
                    d->is_cut = 0;
                    append(d, "[*]");
                }
                return out;
            }
            out.target = declared;
            if (!declared)
                out.flags |= WORD_VOID;
            return out;
        } else
            break;
    }
    if (d->container == TRAIT_STRING)
        out.flags = WORD_TEXT;
    return out;
}

/* Answers. */

static uint32_t keep(struct words *w, const struct word *word) {
    uint32_t *const slot = map_slot(&w->by_content, (uint64_t)word->label << 38 ^
                                                        (uint64_t)word->target << 6 ^ word->flags);
    if (!slot)
        return 0;
    if (*slot && memcmp(&w->known[*slot - 1], word, sizeof *word) == 0)
        return *slot;
    if (mem_grow(&w->known, &w->known_capacity, w->n_known + 1, sizeof *w->known) != 0)
        return 0;
    w->known[w->n_known++] = *word;
    return *slot = (uint32_t)w->n_known;
}

static struct word find(struct words *w, uint32_t type, uint64_t offset) {
    unsigned steps = STEPS_MAX;
    struct descent d = {.w = w, .mark = SIZE_MAX, .last = "", .steps = &steps};
    struct word word = descend(&d, type, offset, 0);
    if (strtab_intern(&w->labels, d.text, d.n, &word.label, NULL) != 0)
        word.label = 0;
    if (d.n == 0)
        word.label = 0;
    return word;
}

struct word words_at(struct words *w, uint32_t type, uint64_t offset) {
    const uint64_t size = size_of(w, type);
    if (offset >= size || size > SHAPE_MAX_BYTES || offset % 8 != 0)
        return find(w, type, offset);
    if (type > w->n_shapes) {
        const size_t n = w->n_shapes;
        if (mem_grow(&w->shapes, &w->shapes_capacity, type, sizeof *w->shapes) != 0)
            return find(w, type, offset);
        memset(w->shapes + n, 0, (type - n) * sizeof *w->shapes);
        w->n_shapes = type;
    }
    struct word_shape *shape = w->shapes[type - 1];
    if (!shape) {
        const uint32_t n = (uint32_t)((size + 7) / 8);
        shape = calloc(1, sizeof *shape + n * sizeof shape->words[0]);
        if (!shape)
            return find(w, type, offset);
        shape->n = n;
        w->shapes[type - 1] = shape;
    }
    uint32_t *const slot = &shape->words[offset / 8];
    if (!*slot) {
        const struct word word = find(w, type, offset);
        *slot = keep(w, &word);
        return word;
    }
    return w->known[*slot - 1];
}
