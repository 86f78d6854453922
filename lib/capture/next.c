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

struct table {
    const ElfW(Sym) * symbols;
    const char *strings;
    const uint32_t *hash; /* DT_GNU_HASH */
    uintptr_t bias;
};

static uintptr_t at(uintptr_t bias, uintptr_t pointer) {
    return pointer < bias ? bias + pointer : pointer; /* the vdso's are not relocated */
}

static bool read_table(const struct dl_phdr_info *info, struct table *out) {
    const ElfW(Dyn) *d = NULL;
    for (int i = 0; i < info->dlpi_phnum; i++)
        if (info->dlpi_phdr[i].p_type == PT_DYNAMIC)
            d = (const void *)(info->dlpi_addr + info->dlpi_phdr[i].p_vaddr);
    *out = (struct table){.bias = info->dlpi_addr};
    for (; d != NULL && d->d_tag != DT_NULL; d++) {
        const uintptr_t p = at(info->dlpi_addr, d->d_un.d_ptr);
        if (d->d_tag == DT_SYMTAB)
            out->symbols = (const void *)p;
        else if (d->d_tag == DT_STRTAB)
            out->strings = (const void *)p;
        else if (d->d_tag == DT_GNU_HASH)
            out->hash = (const void *)p;
    }
    return out->symbols != NULL && out->strings != NULL && out->hash != NULL;
}

/* A function that the object defines. */
static void *find_symbol(const struct table *t, const char *name) {
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
        if ((h | 1) == (hash | 1) && s->st_shndx != SHN_UNDEF &&
            ELF64_ST_TYPE(s->st_info) == STT_FUNC && strcmp(t->strings + s->st_name, name) == 0)
            return (void *)(t->bias + s->st_value);
        if (h & 1)
            break;
    }
    return NULL;
}

struct wanted {
    const char *name;
    void *found;
};

static int find_in_libc(struct dl_phdr_info *info, size_t size, void *out) {
    struct wanted *const wanted = out;
    struct table t;
    const char *const slash = strrchr(info->dlpi_name, '/');
    const char *const name = slash ? slash + 1 : info->dlpi_name;
    (void)size;
    if ((strncmp(name, "libc.so", 7) == 0 || strncmp(name, "libdl.so", 8) == 0) &&
        read_table(info, &t))
        wanted->found = find_symbol(&t, wanted->name);
    return wanted->found != NULL;
}

void *next_of_libc(const char *name) {
    struct wanted wanted = {.name = name};
    dl_iterate_phdr(find_in_libc, &wanted);
    return wanted.found;
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
