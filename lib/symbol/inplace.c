/* Symbols NAME.body, by NAME.
 *
 * Whether NAME is a pointer that has lost its memory, and to what, is for those who read the debug
 * information to say: a dot is in no name of C or C++, but a symbol's name is only a name. Damage
 * is left out. */
#include "symbol/inplace.h"

#include <elf.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"

#define SECTION_MAX_BYTES ((uint64_t)1 << 30)
#define SYMBOLS_MAX 1000000u

static uint64_t hash_of(const char *text, size_t n) {
    uint64_t hash = UINT64_C(0xcbf29ce484222325);
    for (size_t i = 0; i < n; i++)
        hash = (hash ^ (uint8_t)text[i]) * UINT64_C(0x100000001b3);
    return hash;
}

/* Length of the name of a variable in that of its memory; 0: it is no such symbol's. */
static size_t pointer_length(const char *name) {
    static const char suffix[] = ".body";
    size_t n = strlen(name), digits = n;
    while (digits > 0 && name[digits - 1] >= '0' && name[digits - 1] <= '9')
        digits--;
    /* "x.body.0": made smaller, or renamed by a linker. */
    if (digits < n && digits > 0 && name[digits - 1] == '.')
        n = digits - 1;
    return n > strlen(suffix) && memcmp(name + n - strlen(suffix), suffix, strlen(suffix)) == 0
               ? n - strlen(suffix)
               : 0;
}

static const char *last_part(const char *name, size_t length, size_t *out_length) {
    size_t at = length;
    while (at > 0 && name[at - 1] != '.')
        at--;
    *out_length = length - at;
    return name + at;
}

static int add(struct inplace_symbols *s, const Elf64_Sym *symbol, const char *name,
               size_t length) {
    size_t n;
    const char *const last = last_part(name, length, &n);
    uint32_t *const slot = map_slot(&s->by_name, hash_of(last, n));
    if (!slot || mem_grow(&s->all, &s->capacity, s->n + 1, sizeof *s->all) != 0)
        return 0;
    s->all[s->n++] = (struct inplace_symbol){.address = symbol->st_value,
                                             .size = symbol->st_size,
                                             .next = *slot,
                                             .name = name,
                                             .length = length};
    *slot = (uint32_t)s->n;
    return 1;
}

int inplace_load(struct inplace_symbols *s, const struct elf_file *elf) {
    const struct elf_section *const section = elf_find(elf, ".symtab");
    struct elf_bytes symbols;
    int ok = 1;
    map_init(&s->by_name);
    if (!section || section->link == 0 || section->link >= elf->n_sections ||
        !elf_read(elf, section, SECTION_MAX_BYTES, &symbols))
        return 1;
    if (elf_read(elf, &elf->sections[section->link], SECTION_MAX_BYTES, &s->strings)) {
        const char *const names = (const char *)s->strings.data;
        const size_t n = symbols.size / sizeof(Elf64_Sym);
        for (size_t i = 1; ok && i < n && s->n < SYMBOLS_MAX; i++) {
            Elf64_Sym symbol;
            memcpy(&symbol, symbols.data + i * sizeof symbol, sizeof symbol);
            if (ELF64_ST_TYPE(symbol.st_info) != STT_OBJECT || symbol.st_size < 8 ||
                symbol.st_name >= s->strings.size ||
                !memchr(names + symbol.st_name, 0, s->strings.size - symbol.st_name))
                continue;
            const size_t length = pointer_length(names + symbol.st_name);
            if (length)
                ok = add(s, &symbol, names + symbol.st_name, length);
        }
    }
    elf_bytes_release(&symbols);
    return ok;
}

void inplace_release(struct inplace_symbols *s) {
    free(s->all);
    map_release(&s->by_name);
    elf_bytes_release(&s->strings);
    *s = (struct inplace_symbols){.n = 0};
}

uint32_t inplace_find(const struct inplace_symbols *s, const char *name, int is_local,
                      uint32_t after) {
    const size_t length = strlen(name);
    uint32_t at = after       ? s->all[after - 1].next
                  : s->n == 0 ? 0
                              : map_get(&s->by_name, hash_of(name, length));
    for (; at; at = s->all[at - 1].next) {
        const struct inplace_symbol *const symbol = &s->all[at - 1];
        size_t n;
        const char *const last = last_part(symbol->name, symbol->length, &n);
        if (n == length && memcmp(last, name, n) == 0 && (n < symbol->length) == (is_local != 0))
            return at;
    }
    return 0;
}
