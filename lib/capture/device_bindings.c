/* See device_bindings.h. A library that is linked to the driver and was opened with RTLD_DEEPBIND
 * finds the driver before it finds us; one in a namespace of its own finds another driver.
 *
 * Invariant: only reads, and nothing before it is known to be readable, for a copy may be made in
 * the middle of a change by the loader. What is not bound yet has not been called, and does not
 * count. Libraries that do not say that they need the driver are not looked at: a function that
 * they look up is counted where it is handed out. */
#include "capture/device_bindings.h"

#include <elf.h>
#include <link.h>
#include <stdbool.h>
#include <string.h>

#include "capture/hook_cuda.h"
#include "capture/rawmem.h"

enum { OBJECTS_MAX = 1 << 16, NAMESPACES_MAX = 64 };

/* What glibc 2.35 and later have for each namespace, the first one first. */
struct namespace {
    struct r_debug debug;
    const struct namespace *next;
};

struct object {
    const ElfW(Sym) * symbols;
    const char *strings;
    const ElfW(Rela) * tables[2];
    size_t sizes[2];
    bool needs_driver;
};

static bool is_driver_name(const char *path) {
    static const char name[] = "libcuda.so";
    const char *const slash = strrchr(path, '/');
    return strncmp(slash ? slash + 1 : path, name, sizeof name - 1) == 0;
}

static bool readable(const void *at) {
    return at != NULL && rawmem_readable((uintptr_t)at);
}

static bool is_driver(const struct link_map *l) {
    return readable(l->l_name) && is_driver_name(l->l_name);
}

/* Where an image ends; 0: it is not as it should be. */
static uintptr_t end_of(const struct link_map *l) {
    const ElfW(Ehdr) *const header = (const void *)l->l_addr;
    uintptr_t end = 0;
    if (!readable(header) || memcmp(header->e_ident, ELFMAG, SELFMAG) != 0)
        return 0;
    const ElfW(Phdr) *const p = (const void *)(l->l_addr + header->e_phoff);
    for (unsigned i = 0; readable(p) && i < header->e_phnum; i++)
        if (p[i].p_type == PT_LOAD && l->l_addr + p[i].p_vaddr + p[i].p_memsz > end)
            end = l->l_addr + p[i].p_vaddr + p[i].p_memsz;
    return end;
}

static bool read_object(const struct link_map *l, struct object *out) {
    *out = (struct object){.needs_driver = false};
    if (!readable(l->l_ld))
        return false;
    for (const ElfW(Dyn) *d = l->l_ld; d->d_tag != DT_NULL; d++) {
        const uintptr_t p = d->d_un.d_ptr < l->l_addr ? l->l_addr + d->d_un.d_ptr : d->d_un.d_ptr;
        switch (d->d_tag) {
        case DT_SYMTAB: out->symbols = (const void *)p; break;
        case DT_STRTAB: out->strings = (const void *)p; break;
        case DT_RELA: out->tables[0] = (const void *)p; break;
        case DT_RELASZ: out->sizes[0] = d->d_un.d_val; break;
        case DT_JMPREL: out->tables[1] = (const void *)p; break;
        case DT_PLTRELSZ: out->sizes[1] = d->d_un.d_val; break;
        default: break;
        }
    }
    if (!readable(out->symbols) || !readable(out->strings))
        return false;
    for (const ElfW(Dyn) *d = l->l_ld; d->d_tag != DT_NULL && !out->needs_driver; d++)
        out->needs_driver = d->d_tag == DT_NEEDED && is_driver_name(out->strings + d->d_un.d_val);
    return true;
}

/* How many functions that ours should stand for an object has from an image. */
static uint64_t bound_to(const struct link_map *l, const struct object *o, uintptr_t start,
                         uintptr_t end) {
    uint64_t n = 0;
    for (unsigned k = 0; k < 2; k++) {
        if (!readable(o->tables[k]))
            continue;
        for (size_t i = 0; i < o->sizes[k] / sizeof *o->tables[k]; i++) {
            const ElfW(Rela) *const r = &o->tables[k][i];
            const ElfW(Sym) *const symbol = &o->symbols[ELF64_R_SYM(r->r_info)];
            if (ELF64_R_SYM(r->r_info) == 0 || symbol->st_shndx != SHN_UNDEF)
                continue;
            const char *const name = o->strings + symbol->st_name;
            const uintptr_t *const at = (const void *)(l->l_addr + r->r_offset);
            if (name[0] == 'c' && name[1] == 'u' && hook_cuda_has(name) && readable(at))
                n += *at - start < end - start;
        }
    }
    return n;
}

static uint64_t unseen_in(const struct link_map *first, bool is_own) {
    const struct link_map *driver = NULL;
    uint64_t n = 0;
    unsigned left = OBJECTS_MAX;
    for (const struct link_map *l = first; readable(l) && left-- > 0 && driver == NULL;
         l = l->l_next)
        if (is_driver(l))
            driver = l;
    const uintptr_t end = driver != NULL ? end_of(driver) : 0;
    if (driver == NULL)
        return 0;
    left = OBJECTS_MAX;
    for (const struct link_map *l = first; end != 0 && readable(l) && left-- > 0; l = l->l_next) {
        struct object o;
        if (l != driver && read_object(l, &o) && o.needs_driver)
            n += bound_to(l, &o, driver->l_addr, end);
    }
    return n + !is_own;
}

/* By the program's own pointer: it may have a copy of _r_debug, which has no namespaces. NULL: this
 * glibc does not tell of them. */
static const struct namespace *namespaces(void) {
    const struct link_map *const program = _r_debug.r_map;
    if (!readable(program) || !readable(program->l_ld))
        return NULL;
    const ElfW(Dyn) *d = program->l_ld;
    while (d->d_tag != DT_NULL && d->d_tag != DT_DEBUG)
        d++;
    const struct namespace *const first = (const void *)d->d_un.d_ptr;
    return d->d_tag == DT_DEBUG && readable(first) && first->debug.r_version >= 2 ? first : NULL;
}

uint64_t device_bindings_unseen(void) {
    uint64_t n = unseen_in(_r_debug.r_map, true);
    const struct namespace *space = namespaces();
    space = space != NULL ? space->next : NULL;
    for (unsigned i = 0; readable(space) && i < NAMESPACES_MAX; i++, space = space->next)
        n += unseen_in(space->debug.r_map, false);
    return n;
}
