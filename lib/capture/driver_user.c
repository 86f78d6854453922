/* See driver_user.h: what an object says of itself in memory, as the loader left it. */
#include "capture/driver_user.h"

#include <elf.h>
#include <string.h>
#include <unistd.h>

#include "capture/hook_cuda.h"
#include "capture/rawmem.h"

bool driver_user_is_driver(const char *path) {
    static const char name[] = "libcuda.so";
    const char *const slash = strrchr(path, '/');
    return strncmp(slash ? slash + 1 : path, name, sizeof name - 1) == 0;
}

bool driver_user_readable(const void *at) {
    return at != NULL && rawmem_readable((uintptr_t)at);
}

bool driver_user_read(const struct link_map *l, struct driver_user *out) {
    *out = (struct driver_user){.object = l};
    if (!driver_user_readable(l->l_ld))
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
    if (!driver_user_readable(out->symbols) || !driver_user_readable(out->strings))
        return false;
    for (const ElfW(Dyn) *d = l->l_ld; d->d_tag != DT_NULL && !out->needs_driver; d++)
        out->needs_driver =
            d->d_tag == DT_NEEDED && driver_user_is_driver(out->strings + d->d_un.d_val);
    return true;
}

bool driver_user_image(const struct link_map *l, struct driver_image *out) {
    const uintptr_t page = (uintptr_t)getpagesize();
    const ElfW(Ehdr) *const header = (const void *)l->l_addr;
    *out = (struct driver_image){.start = l->l_addr};
    if (!driver_user_readable(header) || memcmp(header->e_ident, ELFMAG, SELFMAG) != 0)
        return false;
    const ElfW(Phdr) *const p = (const void *)(l->l_addr + header->e_phoff);
    for (unsigned i = 0; driver_user_readable(p) && i < header->e_phnum; i++) {
        const uintptr_t start = l->l_addr + p[i].p_vaddr, end = start + p[i].p_memsz;
        if (p[i].p_type == PT_LOAD && end > out->end)
            out->end = end;
        if (p[i].p_type == PT_GNU_RELRO)
            out->read_only = start & ~(page - 1), out->read_only_end = end & ~(page - 1);
    }
    return out->end != 0;
}

void driver_user_each(const struct driver_user *user,
                      void (*fn)(void *context, const struct driver_slot *slot), void *context) {
    for (unsigned k = 0; k < 2; k++) {
        if (!driver_user_readable(user->tables[k]))
            continue;
        for (size_t i = 0; i < user->sizes[k] / sizeof *user->tables[k]; i++) {
            const ElfW(Rela) *const r = &user->tables[k][i];
            const ElfW(Sym) *const symbol = &user->symbols[ELF64_R_SYM(r->r_info)];
            if (ELF64_R_SYM(r->r_info) == 0 || symbol->st_shndx != SHN_UNDEF)
                continue;
            const struct driver_slot slot = {.name = user->strings + symbol->st_name,
                                             .at = (void *)(user->object->l_addr + r->r_offset)};
            if (slot.name[0] == 'c' && slot.name[1] == 'u' && hook_cuda_has(slot.name) &&
                driver_user_readable(slot.at))
                fn(context, &slot);
        }
    }
}
