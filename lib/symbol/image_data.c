/* Variables and initial words of images, from ELF files.
 *
 * Of several symbols at an address the innermost that holds it is chosen, then a global one before
 * a local one, then the one with fewer leading underscores. Only what the program can write is
 * kept. Every size is checked by elf.c; what does not fit is left out. */
#include "symbol/image_data.h"

#include <elf.h>
#include <stdlib.h>
#include <string.h>

#include <heapsnap/common.h>

#include "symbol/demangle.h"

#define SECTION_MAX_BYTES ((uint64_t)1 << 30)
#define FIND_MAX_STEPS 4096

static const char *keep(struct image_data *d, const char *text, size_t length) {
    return arena_string(&d->arena, text, length);
}

/* Suffixes by which compilers tell apart what has one name in the source: "count.0",
 * "count.lto_priv.1", "count.llvm.123". */
static size_t plain_length(const char *name, size_t length) {
    static const char *const suffixes[] = {".lto_priv", ".llvm", ".constprop",
                                           ".isra",     ".part", ".body"};
    for (;;) {
        size_t at = length;
        while (at > 0 && name[at - 1] >= '0' && name[at - 1] <= '9')
            at--;
        if (at > 1 && at < length && name[at - 1] == '.') {
            length = at - 1;
            continue;
        }
        size_t cut = 0;
        for (size_t i = 0; i < sizeof suffixes / sizeof *suffixes; i++) {
            const size_t n = strlen(suffixes[i]);
            if (length > n && memcmp(name + length - n, suffixes[i], n) == 0)
                cut = n;
        }
        if (cut == 0)
            return length;
        length -= cut;
    }
}

static const char *readable(struct image_data *d, const char *name) {
    char text[DEMANGLE_MAX_BYTES], plain[DEMANGLE_MAX_BYTES];
    size_t length = strcspn(name, "@");
    length = plain_length(name, length < sizeof plain ? length : sizeof plain - 1);
    memcpy(plain, name, length);
    plain[length] = '\0';
    length = demangle(plain, text);
    return keep(d, text, length);
}

static unsigned underscores(const char *name) {
    unsigned n = 0;
    while (name[n] == '_' && n < 15)
        n++;
    return n;
}

static int add_object(struct image_data *d, struct image_objects *to, const Elf64_Sym *symbol,
                      const char *name, uint8_t source) {
    if (mem_grow(&to->all, &to->capacity, to->n + 1, sizeof *to->all) < 0)
        return SNAP_E_NOMEM;
    const char *const kept = readable(d, name);
    if (!kept)
        return SNAP_E_NOMEM;
    to->all[to->n++] = (struct image_object){
        .start = symbol->st_value,
        .end = symbol->st_value + symbol->st_size,
        .name = kept,
        .rank = (uint8_t)((ELF64_ST_BIND(symbol->st_info) == STB_LOCAL) << 4 | underscores(name)),
        .source = source};
    return 0;
}

/* The table that a symbol belongs to; NULL if it is no variable that can be written. */
static struct image_objects *table_of(struct image_data *d, const struct elf_file *elf,
                                      const Elf64_Sym *symbol) {
    const unsigned type = ELF64_ST_TYPE(symbol->st_info);
    if (symbol->st_size == 0 || symbol->st_value > UINT64_MAX - symbol->st_size ||
        symbol->st_shndx == SHN_UNDEF || symbol->st_shndx >= elf->n_sections)
        return NULL;
    const struct elf_section *const section = &elf->sections[symbol->st_shndx];
    if (!(section->flags & SHF_WRITE) || !(section->flags & SHF_ALLOC))
        return NULL;
    if (type == STT_TLS)
        return &d->locals;
    const int is_inside = symbol->st_value >= section->address &&
                          symbol->st_value - section->address < section->memory_size;
    return type == STT_OBJECT && is_inside ? &d->objects : NULL;
}

int image_data_add(struct image_data *d, const struct elf_file *elf,
                   const struct elf_section *section, uint8_t source) {
    struct elf_bytes symbols, names;
    if (section->link == 0 || section->link >= elf->n_sections ||
        !elf_read(elf, section, SECTION_MAX_BYTES, &symbols))
        return 0;
    if (!elf_read(elf, &elf->sections[section->link], SECTION_MAX_BYTES, &names)) {
        elf_bytes_release(&symbols);
        return 0;
    }
    int result = 0;
    const size_t n = symbols.size / sizeof(Elf64_Sym);
    for (size_t i = 1; i < n && result == 0; i++) {
        Elf64_Sym symbol;
        memcpy(&symbol, symbols.data + i * sizeof symbol, sizeof symbol);
        struct image_objects *const table = table_of(d, elf, &symbol);
        if (!table || symbol.st_name >= names.size)
            continue;
        const char *const name = (const char *)names.data + symbol.st_name;
        if (*name && memchr(name, 0, names.size - symbol.st_name))
            result = add_object(d, table, &symbol, name, source);
    }
    elf_bytes_release(&symbols);
    elf_bytes_release(&names);
    return result;
}

int image_data_add_sections(struct image_data *d, const struct elf_file *elf) {
    for (uint32_t i = 0; i < elf->n_sections; i++) {
        const struct elf_section *const s = &elf->sections[i];
        if (!(s->flags & SHF_WRITE) || !(s->flags & SHF_ALLOC) || (s->flags & SHF_TLS) ||
            s->memory_size == 0 || s->address > UINT64_MAX - s->memory_size)
            continue;
        const char *const name = keep(d, s->name, strlen(s->name));
        if (!name || mem_grow(&d->sections, &d->sections_capacity, d->n_sections + 1,
                              sizeof *d->sections) < 0)
            return SNAP_E_NOMEM;
        d->sections[d->n_sections++] =
            (struct image_section){s->address, s->address + s->memory_size, name};
    }
    return 0;
}

static int compare_objects(const void *a, const void *b) {
    const struct image_object *const x = a, *const y = b;
    if (x->start != y->start)
        return x->start < y->start ? -1 : 1;
    if (x->rank != y->rank)
        return x->rank < y->rank ? -1 : 1;
    if (x->end != y->end)
        return x->end > y->end ? -1 : 1;
    const int names = strcmp(x->name, y->name);
    return names ? names : (x->source > y->source) - (x->source < y->source);
}

static int compare_sections(const void *a, const void *b) {
    const struct image_section *const x = a, *const y = b;
    return (x->start > y->start) - (x->start < y->start);
}

static int finish_objects(struct image_objects *o) {
    if (o->n == 0)
        return 0;
    qsort(o->all, o->n, sizeof *o->all, compare_objects);
    o->max_ends = mem_alloc(o->n, sizeof *o->max_ends);
    if (!o->max_ends)
        return SNAP_E_NOMEM;
    uint64_t max = 0;
    for (size_t i = 0; i < o->n; i++) {
        max = o->all[i].end > max ? o->all[i].end : max;
        o->max_ends[i] = max;
    }
    return 0;
}

int image_data_finish(struct image_data *d) {
    if (d->n_sections > 0)
        qsort(d->sections, d->n_sections, sizeof *d->sections, compare_sections);
    return finish_objects(&d->objects) < 0 || finish_objects(&d->locals) < 0 ? SNAP_E_NOMEM : 0;
}

static const struct image_object *find_object(const struct image_objects *o, uint64_t address) {
    size_t low = 0, high = o->n;
    while (low < high) {
        const size_t middle = low + (high - low) / 2;
        if (o->all[middle].start <= address)
            low = middle + 1;
        else
            high = middle;
    }
    const struct image_object *best = NULL;
    for (size_t i = low, steps = 0; i-- > 0 && steps < FIND_MAX_STEPS; steps++) {
        if (best && o->all[i].start != best->start)
            break;
        if (address < o->all[i].end)
            best = &o->all[i]; /* those of one start lie best first */
        if (!best && o->max_ends[i] <= address)
            break;
    }
    return best;
}

const struct image_object *image_data_object(const struct image_data *d, uint64_t address) {
    return find_object(&d->objects, address);
}

const struct image_object *image_data_local(const struct image_data *d, uint64_t offset) {
    return find_object(&d->locals, offset);
}

const struct image_section *image_data_section(const struct image_data *d, uint64_t address) {
    size_t low = 0, high = d->n_sections;
    while (low < high) {
        const size_t middle = low + (high - low) / 2;
        if (d->sections[middle].start <= address)
            low = middle + 1;
        else
            high = middle;
    }
    return low > 0 && address < d->sections[low - 1].end ? &d->sections[low - 1] : NULL;
}

static void release_objects(struct image_objects *o) {
    free(o->all);
    free(o->max_ends);
}

void image_data_release(struct image_data *d) {
    release_objects(&d->objects);
    release_objects(&d->locals);
    free(d->sections);
    arena_release(&d->arena);
    *d = (struct image_data){0};
}

/* --- initial words --- */

static int add_word(struct image_words *w, uint64_t start, uint64_t size, uint64_t value,
                    enum image_word_kind kind) {
    if (start > UINT64_MAX - size)
        return 0;
    if (mem_grow(&w->all, &w->capacity, w->n + 1, sizeof *w->all) < 0)
        return SNAP_E_NOMEM;
    w->all[w->n++] = (struct image_word){start, start + size, value, kind};
    return 0;
}

/* The symbol that a relocation names; one of zeros if it cannot be had. */
static Elf64_Sym symbol_of(const struct elf_bytes *symbols, uint64_t index) {
    Elf64_Sym symbol = {0};
    if (index < symbols->size / sizeof symbol)
        memcpy(&symbol, symbols->data + index * sizeof symbol, sizeof symbol);
    return symbol;
}

static int add_rela(struct image_words *w, const struct elf_bytes *bytes,
                    const struct elf_bytes *symbols) {
    int result = 0;
    for (size_t i = 0; i < bytes->size / sizeof(Elf64_Rela) && result == 0; i++) {
        Elf64_Rela rela;
        memcpy(&rela, bytes->data + i * sizeof rela, sizeof rela);
        const uint64_t addend = (uint64_t)rela.r_addend;
        const Elf64_Sym symbol = symbol_of(symbols, ELF64_R_SYM(rela.r_info));
        switch (ELF64_R_TYPE(rela.r_info)) {
        case R_X86_64_RELATIVE:
            result = add_word(w, rela.r_offset, 8, addend, IMAGE_WORD_ADDRESS);
            break;
        case R_X86_64_64:
            result =
                symbol.st_shndx != SHN_UNDEF
                    ? add_word(w, rela.r_offset, 8, symbol.st_value + addend, IMAGE_WORD_ADDRESS)
                    : add_word(w, rela.r_offset, 8, 0, IMAGE_WORD_LINKED);
            break;
        case R_X86_64_COPY:
            result = add_word(w, rela.r_offset, symbol.st_size, 0, IMAGE_WORD_LINKED);
            break;
        default: result = add_word(w, rela.r_offset, 8, 0, IMAGE_WORD_LINKED); break;
        }
    }
    return result;
}

static uint64_t word_at(const struct elf_file *elf, uint64_t address) {
    for (uint32_t i = 0; i < elf->n_sections; i++) {
        const struct elf_section *const s = &elf->sections[i];
        uint64_t word;
        if (!(s->flags & SHF_ALLOC) || address < s->address || s->size < 8 ||
            address - s->address > s->size - 8)
            continue;
        const struct elf_section part = {.offset = s->offset + (address - s->address), .size = 8};
        struct elf_bytes bytes;
        if (!elf_read(elf, &part, 8, &bytes))
            return 0;
        memcpy(&word, bytes.data, sizeof word);
        elf_bytes_release(&bytes);
        return word;
    }
    return 0;
}

/* Relative relocations as bit maps: an even entry is an address, an odd one says which of the next
 * 63 words are meant, too. */
static int add_relr(struct image_words *w, const struct elf_file *elf,
                    const struct elf_bytes *bytes) {
    uint64_t at = 0;
    int result = 0;
    for (size_t i = 0; i < bytes->size / 8 && result == 0; i++) {
        uint64_t entry;
        memcpy(&entry, bytes->data + i * 8, sizeof entry);
        if (!(entry & 1)) {
            result = add_word(w, entry, 8, word_at(elf, entry), IMAGE_WORD_ADDRESS);
            at = entry + 8;
            continue;
        }
        for (unsigned bit = 0; bit < 63 && result == 0; bit++)
            if (entry >> (bit + 1) & 1)
                result = add_word(w, at + 8 * (uint64_t)bit, 8,
                                  word_at(elf, at + 8 * (uint64_t)bit), IMAGE_WORD_ADDRESS);
        at += 63 * (uint64_t)8;
    }
    return result;
}

static int compare_words(const void *a, const void *b) {
    const struct image_word *const x = a, *const y = b;
    return (x->start > y->start) - (x->start < y->start);
}

/* Contents of sections of an image that is loaded where it was linked. */
static void keep_contents(struct image_words *w, const struct elf_file *elf) {
    for (uint32_t i = 0; i < elf->n_sections; i++) {
        const struct elf_section *const s = &elf->sections[i];
        if ((s->flags & (SHF_WRITE | SHF_ALLOC)) != (SHF_WRITE | SHF_ALLOC) ||
            w->n_contents == sizeof w->contents / sizeof *w->contents ||
            !elf_read(elf, s, SECTION_MAX_BYTES, &w->contents[w->n_contents]))
            continue;
        w->starts[w->n_contents++] = s->address;
    }
}

int image_words_load(struct image_words *w, const struct elf_file *elf) {
    static const char *const names[] = {".rela.dyn", ".rela.plt", ".relr.dyn"};
    struct elf_bytes symbols = {0}, bytes;
    const struct elf_section *const dynsym = elf_find(elf, ".dynsym");
    if (dynsym && !elf_read(elf, dynsym, SECTION_MAX_BYTES, &symbols))
        symbols = (struct elf_bytes){0};
    int result = 0;
    for (size_t i = 0; i < sizeof names / sizeof *names && result == 0; i++) {
        const struct elf_section *const section = elf_find(elf, names[i]);
        if (elf->machine != EM_X86_64 || !section ||
            !elf_read(elf, section, SECTION_MAX_BYTES, &bytes))
            continue;
        result = i < 2 ? add_rela(w, &bytes, &symbols) : add_relr(w, elf, &bytes);
        elf_bytes_release(&bytes);
    }
    elf_bytes_release(&symbols);
    if (w->n > 1)
        qsort(w->all, w->n, sizeof *w->all, compare_words);
    if (result == 0 && elf->type == ET_EXEC)
        keep_contents(w, elf);
    return result;
}

void image_words_release(struct image_words *w) {
    for (size_t i = 0; i < w->n_contents; i++)
        elf_bytes_release(&w->contents[i]);
    free(w->all);
    *w = (struct image_words){0};
}

enum image_word_kind image_words_find(const struct image_words *w, uint64_t address,
                                      uint64_t *out_value) {
    size_t low = 0, high = w->n;
    while (low < high) {
        const size_t middle = low + (high - low) / 2;
        if (w->all[middle].start <= address)
            low = middle + 1;
        else
            high = middle;
    }
    *out_value = 0;
    if (low > 0 && address < w->all[low - 1].end) {
        *out_value = w->all[low - 1].value;
        return (enum image_word_kind)w->all[low - 1].kind;
    }
    for (size_t i = 0; i < w->n_contents; i++) {
        const struct elf_bytes *const bytes = &w->contents[i];
        if (address < w->starts[i] || bytes->size < 8 || address - w->starts[i] > bytes->size - 8)
            continue;
        memcpy(out_value, bytes->data + (address - w->starts[i]), sizeof *out_value);
        return *out_value ? IMAGE_WORD_ADDRESS : IMAGE_WORD_FREE;
    }
    return IMAGE_WORD_FREE;
}
