/* Functions behind ours by name, whoever stands in front of dlsym.
 *
 * Another tool in front of us may have taken dlsym and call the real one itself; RTLD_NEXT is then
 * what comes behind that tool, which is us, and a hook that calls what it was given calls itself.
 * So the real dlsym is found without any: in the symbol table of the library that has it. */
#include "capture/next.h"

#include <dlfcn.h>
#include <elf.h>
#include <link.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

struct table {
    const ElfW(Sym) * symbols;
    const char *strings;
    const uint32_t *hash; /* DT_GNU_HASH */
    uintptr_t bias;
};

/* The C library's own may be another tool's, and that tool not ready. */
static bool starts_with(const char *text, const char *start) {
    while (*start && *text == *start)
        text++, start++;
    return !*start;
}
static bool is_same(const char *a, const char *b) {
    while (*a && *a == *b)
        a++, b++;
    return *a == *b;
}

static uintptr_t at(uintptr_t bias, uintptr_t pointer) {
    return pointer < bias ? bias + pointer : pointer; /* the vdso's are not relocated */
}

static bool read_dynamic(uintptr_t bias, const ElfW(Dyn) * d, struct table *out) {
    *out = (struct table){.bias = bias};
    for (; d != NULL && d->d_tag != DT_NULL; d++) {
        const uintptr_t p = at(bias, d->d_un.d_ptr);
        if (d->d_tag == DT_SYMTAB)
            out->symbols = (const void *)p;
        else if (d->d_tag == DT_STRTAB)
            out->strings = (const void *)p;
        else if (d->d_tag == DT_GNU_HASH)
            out->hash = (const void *)p;
    }
    return out->symbols != NULL && out->strings != NULL && out->hash != NULL;
}

static bool read_table(const struct dl_phdr_info *info, struct table *out) {
    const ElfW(Dyn) *d = NULL;
    for (int i = 0; i < info->dlpi_phnum; i++)
        if (info->dlpi_phdr[i].p_type == PT_DYNAMIC)
            d = (const void *)(info->dlpi_addr + info->dlpi_phdr[i].p_vaddr);
    return read_dynamic(info->dlpi_addr, d, out);
}

/* A function that the object defines; `after`: the next one of that name, which another version of
 * it may have. */
static const ElfW(Sym) *
    find_symbol(const struct table *t, const char *name, const ElfW(Sym) * after) {
    uint32_t hash = 5381;
    for (const char *p = name; *p; p++)
        hash = hash * 33 + (unsigned char)*p;
    const uint32_t n_buckets = t->hash[0], first = t->hash[1], bloom = t->hash[2];
    const uint32_t *const buckets = t->hash + 4 + bloom * (sizeof(ElfW(Addr)) / 4);
    const uint32_t *const chain = buckets + n_buckets;
    if (n_buckets == 0)
        return NULL;
    for (uint32_t i = buckets[hash % n_buckets]; i >= first && i != 0; i++) {
        const uint32_t h = chain[i - first];
        const ElfW(Sym) *const s = &t->symbols[i];
        if (s > after && (h | 1) == (hash | 1) && s->st_shndx != SHN_UNDEF &&
            ELF64_ST_TYPE(s->st_info) == STT_FUNC && is_same(t->strings + s->st_name, name))
            return s;
        if (h & 1)
            break;
    }
    return NULL;
}

struct wanted {
    const char *name;
    void *ours; /* to be put in its place */
    bool is_replaced;
};

/* Writes to a table that nobody else writes, and only where it is data: the loader reads one word
 * of it, old or new. */
static bool replace(const struct dl_phdr_info *info, const ElfW(Sym) * symbol, uintptr_t value) {
    const uintptr_t page_size = (uintptr_t)getpagesize(), at_word = (uintptr_t)&symbol->st_value;
    const uintptr_t page = at_word & ~(page_size - 1);
    const ElfW(Phdr) *segment = NULL;
    for (int i = 0; i < info->dlpi_phnum; i++) {
        const ElfW(Phdr) *const p = &info->dlpi_phdr[i];
        if (p->p_type == PT_LOAD && at_word - (info->dlpi_addr + p->p_vaddr) < p->p_memsz)
            segment = p;
    }
    if (segment == NULL || (segment->p_flags & (PF_R | PF_W | PF_X)) != PF_R ||
        mprotect((void *)page, page_size, PROT_READ | PROT_WRITE) != 0)
        return false;
    __atomic_store_n((ElfW(Addr) *)at_word, value, __ATOMIC_RELAXED);
    mprotect((void *)page, page_size, PROT_READ);
    return true;
}

/* All versions that are one function. */
static bool replace_all(const struct dl_phdr_info *info, const struct table *t,
                        const struct wanted *wanted, const ElfW(Sym) * s) {
    const uintptr_t value = s->st_value;
    for (; s != NULL; s = find_symbol(t, wanted->name, s))
        if (s->st_value == value && !replace(info, s, (uintptr_t)wanted->ours - t->bias))
            return false;
    return true;
}

static bool is_libc(const char *path) {
    const char *name = path;
    for (; *path; path++)
        name = *path == '/' ? path + 1 : name;
    return starts_with(name, "libc.so") || starts_with(name, "libdl.so");
}

static int replace_in_libc(struct dl_phdr_info *info, size_t size, void *out) {
    struct wanted *const wanted = out;
    struct table t;
    (void)size;
    if (!is_libc(info->dlpi_name) || !read_table(info, &t))
        return 0;
    const ElfW(Sym) *const s = find_symbol(&t, wanted->name, NULL);
    if (s == NULL)
        return 0;
    wanted->is_replaced = replace_all(info, &t, wanted, s);
    return 1;
}

/* By the list that the loader keeps for debuggers: this may be the first that is called in a
 * process, when another tool's dl_iterate_phdr does not work yet. libc is among what was loaded at
 * the start, which is never taken out. */
void *next_of_libc(const char *name) {
    for (const struct link_map *l = _r_debug.r_map; l != NULL; l = l->l_next) {
        struct table t;
        const ElfW(Sym) *s = NULL;
        if (l->l_name != NULL && is_libc(l->l_name) && read_dynamic(l->l_addr, l->l_ld, &t))
            s = find_symbol(&t, name, NULL);
        if (s != NULL)
            return (void *)(t.bias + s->st_value);
    }
    return NULL;
}

struct anywhere {
    const char *name;
    bool (*is_ours)(const void *address);
    void *found;
};

static int find_anywhere(struct dl_phdr_info *info, size_t size, void *out) {
    struct anywhere *const wanted = out;
    struct table t;
    (void)size;
    const ElfW(Sym) *const s = read_table(info, &t) ? find_symbol(&t, wanted->name, NULL) : NULL;
    void *const found = s != NULL ? (void *)(t.bias + s->st_value) : NULL;
    if (found != NULL && !wanted->is_ours(found))
        wanted->found = found;
    return wanted->found != NULL;
}

void *next_anywhere(const char *name, bool (*is_ours)(const void *address)) {
    struct anywhere wanted = {.name = name, .is_ours = is_ours};
    dl_iterate_phdr(find_anywhere, &wanted);
    return wanted.found;
}

bool next_replace_in_libc(const char *name, void *ours) {
    struct wanted wanted = {.name = name, .ours = ours};
    dl_iterate_phdr(replace_in_libc, &wanted);
    return wanted.is_replaced;
}

typedef void *dlsym_fn(void *handle, const char *name);
static dlsym_fn *_Atomic real_dlsym;

void *next_symbol(void *handle, const char *name) {
    dlsym_fn *function = atomic_load_explicit(&real_dlsym, memory_order_relaxed);
    if (function == NULL) {
        void *const found = next_of_libc("dlsym");
        if (found != NULL)
            memcpy(&function, &found, sizeof found);
        else
            function = dlsym;
        atomic_store_explicit(&real_dlsym, function, memory_order_relaxed);
    }
    void *const found = function(handle, name);
    if (found == NULL)
        next_forget_error();
    return found;
}

/* The first call takes the text, the second frees it. */
void next_forget_error(void) {
    dlerror();
    dlerror();
}
