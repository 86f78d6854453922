/* Types of C++ objects by their virtual tables, without debug information.
 *
 * A word that looks like a pointer to a virtual table is one if the std::type_info it leads to is
 * an object of the C++ ABI's classes for classes. That needs no symbols: a type_info is an object
 * with a virtual table, too, so its class is known by the same two steps, and must be one of three
 * names, of which __si_class_type_info describes all three (Itanium C++ ABI, 2.9.5). So it works
 * for stripped programs and for C++ libraries linked statically, and data that happens to look like
 * a table is not taken for one.
 *
 * A dynamic class has a table pointer at its start, whose offset to top is 0. Other table pointers
 * are of bases or members and must not decide. Does not know sizes of classes: an array of objects
 * can be told from one only by a second table pointer. */
#include "model/heap.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/map.h"
#include "base/mem.h"
#include "model/stream.h"
#include "symbol/demangle.h"

#define SI_CLASS "N10__cxxabiv120__si_class_type_infoE"

static int is_name_of_class_type_info(const char *name) {
    return strcmp(name, SI_CLASS) == 0 || strcmp(name, "N10__cxxabiv117__class_type_infoE") == 0 ||
           strcmp(name, "N10__cxxabiv121__vmi_class_type_infoE") == 0;
}

/* Records by the address of the table. */
struct tables {
    const struct heap *heap;
    struct map by_address; /* index + 1 */
};

static const struct heap_vtable *find_table(const struct tables *t, uint64_t address) {
    const uint32_t i = map_get(&t->by_address, address);
    return i ? &t->heap->vtables[i - 1] : NULL;
}

/* Whether a table belongs to a class: its type_info is of the ABI's class K, and K's own type_info
 * is of __si_class_type_info, which is of itself. */
static int is_of_class(const struct tables *t, const struct heap_vtable *v) {
    const struct heap_vtable *const kind = find_table(t, v->type_info_vtable);
    if (!kind || !is_name_of_class_type_info(kind->name) || kind->offset_to_top != 0)
        return 0;
    const struct heap_vtable *const si = find_table(t, kind->type_info_vtable);
    return si && strcmp(si->name, SI_CLASS) == 0 && si->type_info_vtable == si->address &&
           si->offset_to_top == 0;
}

/* Whether `text` starts at a template's name; *out gets its first argument. */
static int first_argument(const char *text, const char *template_name, const char **out,
                          size_t *out_length) {
    const size_t length = strlen(template_name);
    if (strncmp(text, template_name, length) != 0)
        return 0;
    const char *const start = text + length;
    int depth = 0;
    for (const char *p = start; *p; p++) {
        if (*p == '<' || *p == '(' || *p == '{' || *p == '[')
            depth++;
        else if (*p == ')' || *p == '}' || *p == ']' || (*p == '>' && depth > 0))
            depth--;
        else if (depth == 0 && (*p == ',' || *p == '>')) {
            *out = start;
            *out_length = (size_t)(p - start);
            return p > start;
        }
    }
    return 0;
}

/* What people call the blocks behind shared pointers. */
static int name_of_control_block(const char *name, char *out, size_t size) {
    static const struct {
        const char *template_name, *format;
    } known[] = {
        {"std::_Sp_counted_ptr_inplace<", "std::make_shared<%.*s>"},
        {"std::__1::__shared_ptr_emplace<", "std::make_shared<%.*s>"},
        {"std::_Sp_counted_ptr<", "std::shared_ptr<%.*s> control block"},
        {"std::_Sp_counted_deleter<", "std::shared_ptr<%.*s> control block"},
        {"std::__1::__shared_ptr_pointer<", "std::shared_ptr<%.*s> control block"},
    };
    for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
        const char *argument;
        size_t length;
        if (!first_argument(name, known[i].template_name, &argument, &length))
            continue;
        if (i > 1) /* a pointer to it */
            while (length > 0 && (argument[length - 1] == '*' || argument[length - 1] == ' '))
                length--;
        /* NOLINTNEXTLINE(clang-diagnostic-format-nonliteral): one of the table above */
        snprintf(out, size, known[i].format, (int)length, argument);
        return 1;
    }
    return 0;
}

static uint32_t add_type(struct heap *h, const struct heap_vtable *v, int is_array) {
    static const char prefix[] = "typeinfo for ";
    /* A class of an unnamed namespace has a '*' before its name: not to be compared as text. */
    const char *const mangled = v->name + (*v->name == '*');
    char *symbol, text[DEMANGLE_MAX_BYTES], readable[DEMANGLE_MAX_BYTES + 64];
    if (asprintf(&symbol, "_ZTI%s", mangled) < 0)
        return 0;
    demangle(symbol, text);
    free(symbol);
    const char *const name =
        strncmp(text, prefix, strlen(prefix)) == 0 ? text + strlen(prefix) : mangled;
    if (!name_of_control_block(name, readable, sizeof readable))
        snprintf(readable, sizeof readable, "%s%s", name, is_array ? "[]" : "");
    const uint32_t type =
        heap_type_add(h, readable, SNAP_TYPE_VTABLE, 0, 0, heap_module_at(h, v->type_info));
    if (type)
        h->types[type - 1].mangled = v->name;
    return type;
}

/* What the table pointers of one node say: the table of its class, or none. */
static uint32_t decide(const struct heap *h, const uint8_t *is_class, uint64_t first, uint64_t end,
                       int *is_array) {
    const struct heap_vptr *const p = &h->vptrs[first];
    *is_array = 0;
    if (p->offset != 0 || !is_class[p->vtable - 1] || h->vtables[p->vtable - 1].offset_to_top != 0)
        return 0;
    for (uint64_t i = first + 1; i < end; i++)
        *is_array |= h->vptrs[i].vtable == p->vtable;
    return p->vtable;
}

static int may_be_typed(const struct heap *h, uint32_t node) {
    const uint32_t type = h->type[node - 1];
    return heap_domain(h, node) == SNAP_DOMAIN_HOST &&
           (!type || h->types[type - 1].source > SNAP_TYPE_VTABLE);
}

int vtable_pass(struct heap *h, snap_error *err) {
    if (h->n_vptrs == 0)
        return 0;
    struct tables t = {.heap = h};
    map_init(&t.by_address);
    uint8_t *const is_class = mem_zalloc(h->n_vtables, 1);
    uint32_t *const types = mem_zalloc((size_t)h->n_vtables * 2, sizeof *types);
    int result = is_class && types ? 0 : SNAP_E_NOMEM;
    for (uint32_t i = 0; i < h->n_vtables && result == 0; i++) {
        uint32_t *const slot = map_slot(&t.by_address, h->vtables[i].address);
        if (!slot)
            result = SNAP_E_NOMEM;
        else if (!*slot)
            *slot = i + 1;
    }
    for (uint32_t i = 0; i < h->n_vtables && result == 0; i++)
        is_class[i] = *h->vtables[i].name && is_of_class(&t, &h->vtables[i]);
    for (uint64_t first = 0, end; first < h->n_vptrs && result == 0; first = end) {
        const uint32_t node = h->vptrs[first].node;
        for (end = first + 1; end < h->n_vptrs && h->vptrs[end].node == node;)
            end++;
        int is_array;
        const uint32_t table = decide(h, is_class, first, end, &is_array);
        if (!table || !may_be_typed(h, node))
            continue;
        uint32_t *const type = &types[2 * (size_t)(table - 1) + (unsigned)is_array];
        if (!*type)
            *type = add_type(h, &h->vtables[table - 1], is_array);
        if (*type)
            h->type[node - 1] = *type;
        else
            result = SNAP_E_NOMEM;
    }
    map_release(&t.by_address);
    free(is_class);
    free(types);
    return result ? stream_no_memory(err) : 0;
}
