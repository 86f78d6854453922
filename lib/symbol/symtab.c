/* Function symbols of a module, sorted by address.
 *
 * Of several symbols at an address the best one is chosen: a function before an untyped label, a
 * global name before a local one, the larger, then the one with fewer leading underscores (malloc
 * before __libc_malloc). A symbol with a size covers exactly that; one without covers up to the
 * next symbol or the end of its section. An address that no symbol covers has no name: the nearest
 * one before it would be a guess, and in a stripped library mostly a wrong one. */
#include "symbol/symtab.h"

#include <elf.h>
#include <stdlib.h>
#include <string.h>

#include <heapsnap/common.h>
#include <heapsnap/snapdef.h>

#define SYMBOLS_MAX_BYTES ((uint64_t)1 << 30)
#define STRINGS_MAX_BYTES ((uint64_t)1 << 30)
#define FIND_MAX_STEPS 4096

static struct symtab_entry *append(struct symtab *table) {
    if (table->n == table->capacity) {
        const size_t capacity = table->capacity ? table->capacity * 2 : 1024;
        struct symtab_entry *const entries =
            realloc(table->entries, capacity * sizeof *table->entries);
        if (!entries)
            return NULL;
        table->entries = entries;
        table->capacity = capacity;
    }
    return &table->entries[table->n++];
}

/* Takes ownership of the strings if it has room for them. */
static int keep_strings(struct symtab *table, struct elf_bytes *strings) {
    if (table->n_strings == sizeof table->strings / sizeof *table->strings)
        return 0;
    table->strings[table->n_strings++] = *strings;
    table->bytes += strings->size;
    return 1;
}

/* Reads the string table that a symbol table links to, ended by a NUL byte, versions cut off. */
static int read_names(struct symtab *table, const struct elf_file *elf, uint32_t link,
                      struct elf_bytes *out) {
    if (link == 0 || link >= elf->n_sections ||
        !elf_read(elf, &elf->sections[link], STRINGS_MAX_BYTES, out))
        return 0;
    if (!out->owned || !keep_strings(table, out)) {
        elf_bytes_release(out);
        return 0;
    }
    char *const text = out->owned;
    for (char *at = memchr(text, '@', out->size); at;
         at = memchr(at + 1, '@', out->size - (size_t)(at + 1 - text)))
        *at = 0;
    return 1;
}

static unsigned underscores(const char *name) {
    unsigned n = 0;
    while (name[n] == '_' && n < 15)
        n++;
    return n;
}

/* The section that holds code at that place, or NULL. */
static const struct elf_section *code_section(const struct elf_file *elf, const Elf64_Sym *symbol) {
    if (symbol->st_shndx == SHN_UNDEF || symbol->st_shndx >= elf->n_sections)
        return NULL;
    const struct elf_section *const section = &elf->sections[symbol->st_shndx];
    if (!(section->flags & SHF_ALLOC) || symbol->st_value < section->address ||
        symbol->st_value - section->address >= section->memory_size)
        return NULL;
    return section;
}

int symtab_add(struct symtab *table, const struct elf_file *elf, const struct elf_section *section,
               uint8_t source) {
    struct elf_bytes symbols, names;
    if (!elf_read(elf, section, SYMBOLS_MAX_BYTES, &symbols))
        return 0;
    if (!read_names(table, elf, section->link, &names)) {
        elf_bytes_release(&symbols);
        return 0;
    }
    int result = 1;
    const size_t n = symbols.size / sizeof(Elf64_Sym);
    for (size_t i = 1; i < n; i++) {
        Elf64_Sym symbol;
        memcpy(&symbol, symbols.data + i * sizeof symbol, sizeof symbol);
        const unsigned type = ELF64_ST_TYPE(symbol.st_info);
        if (type != STT_FUNC && type != STT_GNU_IFUNC && type != STT_NOTYPE)
            continue;
        if (symbol.st_name >= names.size)
            continue;
        const char *const name = (const char *)names.data + symbol.st_name;
        const struct elf_section *const code = code_section(elf, &symbol);
        if (!code || !*name || (type == STT_NOTYPE && !(code->flags & SHF_EXECINSTR)))
            continue;
        struct symtab_entry *const entry = append(table);
        if (!entry) {
            result = SNAP_E_NOMEM;
            break;
        }
        const uint64_t room = code->memory_size - (symbol.st_value - code->address);
        const uint64_t size = symbol.st_size && symbol.st_size < room ? symbol.st_size : room;
        const uint64_t end =
            symbol.st_value > UINT64_MAX - size ? UINT64_MAX : symbol.st_value + size;
        *entry = (struct symtab_entry){
            .start = symbol.st_value,
            .end = end,
            .name = name,
            .has_size = symbol.st_size > 0,
            .rank =
                (uint8_t)((type == STT_NOTYPE) << 1 | (ELF64_ST_BIND(symbol.st_info) == STB_LOCAL)),
            .source = source,
        };
    }
    elf_bytes_release(&symbols);
    return result;
}

struct slot {
    uint64_t address; /* of the word that the entry jumps through */
    uint32_t symbol;
};

static int compare_slots(const void *a, const void *b) {
    const struct slot *const x = a, *const y = b;
    return (x->address > y->address) - (x->address < y->address);
}

/* The words that the dynamic linker fills with addresses of functions. */
static struct slot *read_slots(const struct elf_file *elf, size_t *out_n) {
    static const char *const names[] = {".rela.plt", ".rela.dyn"};
    struct slot *slots = NULL;
    size_t n = 0;
    for (size_t k = 0; k < 2; k++) {
        const struct elf_section *const section = elf_find(elf, names[k]);
        struct elf_bytes bytes;
        if (!section || !elf_read(elf, section, SYMBOLS_MAX_BYTES, &bytes))
            continue;
        const size_t n_relocations = bytes.size / sizeof(Elf64_Rela);
        size_t n_wanted = 0;
        for (int pass = 0; pass < 2; pass++) {
            for (size_t i = 0; i < n_relocations; i++) {
                Elf64_Rela rela;
                memcpy(&rela, bytes.data + i * sizeof rela, sizeof rela);
                const uint64_t type = ELF64_R_TYPE(rela.r_info);
                if (type != R_X86_64_JUMP_SLOT && type != R_X86_64_GLOB_DAT)
                    continue;
                if (pass == 0)
                    n_wanted++;
                else
                    slots[n++] = (struct slot){rela.r_offset, (uint32_t)(rela.r_info >> 32)};
            }
            if (pass == 0) {
                struct slot *const grown = realloc(slots, (n + n_wanted + 1) * sizeof *slots);
                if (!grown)
                    break;
                slots = grown;
            }
        }
        elf_bytes_release(&bytes);
    }
    if (n > 1)
        qsort(slots, n, sizeof *slots, compare_slots);
    *out_n = n;
    return slots;
}

/* The word that `jmp *word(%rip)` within one entry goes through; 0 if there is no such jump. */
static uint64_t jump_word(const uint8_t *code, size_t size, uint64_t address) {
    for (size_t i = 0; i + 6 <= size; i++) {
        if (code[i] == 0xff && code[i + 1] == 0x25) {
            int32_t displacement;
            memcpy(&displacement, code + i + 2, sizeof displacement);
            return address + i + 6 + (uint64_t)(int64_t)displacement;
        }
    }
    return 0;
}

struct plt_names {
    const struct elf_bytes *symbols;
    const struct elf_bytes *names;
    const struct slot *slots;
    size_t n_slots;
};

static int add_plt_section(struct symtab *table, const struct elf_section *section,
                           const struct elf_bytes *code, const struct plt_names *from) {
    const size_t step = strcmp(section->name, ".plt.got") == 0 && section->entry_size == 8 ? 8 : 16;
    for (size_t at = 0; at + step <= code->size; at += step) {
        const struct slot key = {.address =
                                     jump_word(code->data + at, step, section->address + at)};
        const struct slot *const slot =
            bsearch(&key, from->slots, from->n_slots, sizeof key, compare_slots);
        Elf64_Sym symbol;
        if (!slot || slot->symbol >= from->symbols->size / sizeof symbol)
            continue;
        memcpy(&symbol, from->symbols->data + slot->symbol * sizeof symbol, sizeof symbol);
        if (symbol.st_name == 0 || symbol.st_name >= from->names->size)
            continue;
        struct symtab_entry *const entry = append(table);
        if (!entry)
            return SNAP_E_NOMEM;
        *entry = (struct symtab_entry){.start = section->address + at,
                                       .end = section->address + at + step,
                                       .name = (const char *)from->names->data + symbol.st_name,
                                       .has_size = 1,
                                       .source = SNAP_SYMB_DYNSYM,
                                       .is_plt = 1};
    }
    return 1;
}

int symtab_add_plt(struct symtab *table, const struct elf_file *elf) {
    static const char *const names[] = {".plt", ".plt.sec", ".plt.got"};
    const struct elf_section *const dynsym = elf_find(elf, ".dynsym");
    struct elf_bytes symbols, strings;
    if (elf->machine != EM_X86_64 || !dynsym || !elf_read(elf, dynsym, SYMBOLS_MAX_BYTES, &symbols))
        return 0;
    if (!read_names(table, elf, dynsym->link, &strings)) {
        elf_bytes_release(&symbols);
        return 0;
    }
    struct plt_names from = {.symbols = &symbols, .names = &strings};
    struct slot *const slots = read_slots(elf, &from.n_slots);
    from.slots = slots;
    int result = 0;
    for (size_t i = 0; from.n_slots > 0 && result >= 0 && i < sizeof names / sizeof *names; i++) {
        const struct elf_section *const section = elf_find(elf, names[i]);
        struct elf_bytes code;
        if (!section || section->address > UINT64_MAX - section->size ||
            !elf_read(elf, section, SYMBOLS_MAX_BYTES, &code))
            continue;
        result = add_plt_section(table, section, &code, &from);
        elf_bytes_release(&code);
    }
    free(slots);
    elf_bytes_release(&symbols);
    return result;
}

static int compare_entries(const void *a, const void *b) {
    const struct symtab_entry *const x = a, *const y = b;
    if (x->start != y->start)
        return x->start < y->start ? -1 : 1;
    if (x->rank != y->rank)
        return x->rank < y->rank ? -1 : 1;
    if (x->has_size != y->has_size)
        return x->has_size ? -1 : 1;
    if (x->end != y->end)
        return x->end > y->end ? -1 : 1;
    const unsigned x_underscores = underscores(x->name), y_underscores = underscores(y->name);
    if (x_underscores != y_underscores)
        return x_underscores < y_underscores ? -1 : 1;
    const int names = strcmp(x->name, y->name);
    return names ? names : (x->source > y->source) - (x->source < y->source);
}

int symtab_finish(struct symtab *table) {
    if (table->n == 0)
        return 1;
    qsort(table->entries, table->n, sizeof *table->entries, compare_entries);
    table->max_ends = malloc(table->n * sizeof *table->max_ends);
    if (!table->max_ends)
        return SNAP_E_NOMEM;
    /* What has no size ends where the next symbol starts. */
    uint64_t next = UINT64_MAX;
    for (size_t i = table->n; i-- > 0;) {
        struct symtab_entry *const entry = &table->entries[i];
        if (i + 1 < table->n && table->entries[i + 1].start > entry->start)
            next = table->entries[i + 1].start;
        if (!entry->has_size && entry->end > next)
            entry->end = next;
    }
    uint64_t max_end = 0;
    for (size_t i = 0; i < table->n; i++) {
        if (table->entries[i].has_size && table->entries[i].end > max_end)
            max_end = table->entries[i].end;
        table->max_ends[i] = max_end;
    }
    table->bytes += table->capacity * sizeof *table->entries + table->n * sizeof *table->max_ends;
    return 1;
}

const struct symtab_entry *symtab_find(const struct symtab *table, uint64_t address) {
    /* low: number of entries that start at or before the address */
    size_t low = 0, high = table->n;
    while (low < high) {
        const size_t middle = low + (high - low) / 2;
        if (table->entries[middle].start <= address)
            low = middle + 1;
        else
            high = middle;
    }
    if (low == 0)
        return NULL;
    const struct symtab_entry *const last = &table->entries[low - 1];
    const struct symtab_entry *best = NULL;
    /* The innermost sized symbol that contains the address; entries of one start lie best first. */
    for (size_t i = low, steps = 0; i-- > 0 && steps < FIND_MAX_STEPS; steps++) {
        const struct symtab_entry *const entry = &table->entries[i];
        if (best && entry->start != best->start)
            break;
        if (entry->has_size && address < entry->end)
            best = entry;
        if (!best && table->max_ends[i] <= address)
            break;
    }
    if (best)
        return best;
    for (size_t i = low; i-- > 0 && table->entries[i].start == last->start;) {
        const struct symtab_entry *const entry = &table->entries[i];
        if (!entry->has_size && address < entry->end)
            best = entry;
    }
    return best;
}

void symtab_release(struct symtab *table) {
    for (size_t i = 0; i < table->n_strings; i++)
        elf_bytes_release(&table->strings[i]);
    free(table->entries);
    free(table->max_ends);
    memset(table, 0, sizeof *table);
}
