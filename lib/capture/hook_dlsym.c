/* dlsym and dlvsym: looks at names of the CUDA driver and of libraries on top of it, passes
 * everything else on untouched.
 *
 * What the real dlsym answers for RTLD_NEXT and RTLD_DEFAULT depends on who calls it, by its return
 * address. So ours are stubs that jump there, and call nothing on the way but for names of the
 * driver. The real ones are found without dlsym: in the symbol table of the library that has them.
 */
#include "capture/hook_cuda.h"
#include "capture/hook_handles.h"

#include <dlfcn.h>
#include <elf.h>
#include <link.h>
#include <string.h>

typedef void *dlsym_fn(void *handle, const char *name);
typedef void *dlvsym_fn(void *handle, const char *name, const char *version);

/* What the stubs jump to; at first, to code that finds out. */
dlsym_fn *hook_dlsym_real __attribute__((visibility("hidden")));
dlvsym_fn *hook_dlvsym_real __attribute__((visibility("hidden")));
void hook_dlsym_init(void) __attribute__((visibility("hidden")));

__asm__(".pushsection .text\n"
        ".macro SNAP_DL_STUB name real\n"
        ".globl \\name\n"
        ".type \\name, @function\n"
        "\\name:\n"
        "  .cfi_startproc\n"
        "  endbr64\n"
        "  cmpq $0, \\real(%rip)\n"
        "  je 2f\n"
        "1:\n"
        "  cmpb $'c', (%rsi)\n"
        "  jne 3f\n"
        "  cmpb $'u', 1(%rsi)\n"
        "  jne 4f\n"
        "  jmp 5f\n"
        "3:\n"
        "  cmpb $'n', (%rsi)\n"
        "  jne 4f\n"
        "  cmpb $'c', 1(%rsi)\n"
        "  jne 4f\n"
        "  cmpb $'c', 2(%rsi)\n"
        "  jne 4f\n"
        "  cmpb $'l', 3(%rsi)\n"
        "  jne 4f\n"
        "5:\n"
        "  cmpq $-1, %rdi\n" /* RTLD_NEXT: of the caller, and after us */
        "  je 4f\n"
        "  pushq %rdi\n"
        "  .cfi_adjust_cfa_offset 8\n"
        "  pushq %rsi\n"
        "  .cfi_adjust_cfa_offset 8\n"
        "  pushq %rdx\n"
        "  .cfi_adjust_cfa_offset 8\n"
        "  call hook_dlsym_find\n"
        "  movq %rdx, %rcx\n"
        "  popq %rdx\n"
        "  .cfi_adjust_cfa_offset -8\n"
        "  popq %rsi\n"
        "  .cfi_adjust_cfa_offset -8\n"
        "  popq %rdi\n"
        "  .cfi_adjust_cfa_offset -8\n"
        "  testq %rcx, %rcx\n"
        "  je 4f\n"
        "  ret\n"
        "2:\n"
        "  pushq %rdi\n"
        "  .cfi_adjust_cfa_offset 8\n"
        "  pushq %rsi\n"
        "  .cfi_adjust_cfa_offset 8\n"
        "  pushq %rdx\n"
        "  .cfi_adjust_cfa_offset 8\n"
        "  call hook_dlsym_init\n"
        "  popq %rdx\n"
        "  .cfi_adjust_cfa_offset -8\n"
        "  popq %rsi\n"
        "  .cfi_adjust_cfa_offset -8\n"
        "  popq %rdi\n"
        "  .cfi_adjust_cfa_offset -8\n"
        "  cmpq $0, \\real(%rip)\n"
        "  jne 1b\n"
        "  xorl %eax, %eax\n"
        "  ret\n"
        "4:\n"
        "  jmp *\\real(%rip)\n"
        "  .cfi_endproc\n"
        ".size \\name, . - \\name\n"
        ".endm\n"
        "SNAP_DL_STUB dlsym hook_dlsym_real\n"
        "SNAP_DL_STUB dlvsym hook_dlvsym_real\n"
        ".popsection\n");

struct hook_answer hook_dlsym_find(void *handle, const char *name)
    __attribute__((visibility("hidden")));

/* The driver's names go on with a capital letter. */
struct hook_answer hook_dlsym_find(void *handle, const char *name) {
    return name[0] == 'c' && name[2] >= 'A' && name[2] <= 'Z' ? hook_cuda_find(handle, name)
                                                              : hook_handles_find(handle, name);
}

/* --- the real ones --- */

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

static int find_dlvsym(struct dl_phdr_info *info, size_t size, void *out) {
    struct table t;
    const char *const slash = strrchr(info->dlpi_name, '/');
    const char *const name = slash ? slash + 1 : info->dlpi_name;
    if ((strncmp(name, "libc.so", 7) != 0 && strncmp(name, "libdl.so", 8) != 0) ||
        !read_table(info, &t))
        return 0;
    void *const found = find_symbol(&t, "dlvsym");
    if (found == NULL)
        return 0;
    memcpy(out, &found, sizeof found);
    return 1;
}

void hook_dlsym_init(void) {
    static const char *const versions[] = {"GLIBC_2.34", "GLIBC_2.2.5"};
    dlvsym_fn *dlvsym_of_libc = NULL;
    dl_iterate_phdr(find_dlvsym, &dlvsym_of_libc);
    if (dlvsym_of_libc == NULL)
        return;
    for (size_t i = 0; i < 2; i++) {
        void *const next = dlvsym_of_libc(RTLD_NEXT, "dlsym", versions[i]);
        void *const next_v = dlvsym_of_libc(RTLD_NEXT, "dlvsym", versions[i]);
        if (next != NULL && hook_dlsym_real == NULL)
            memcpy(&hook_dlsym_real, &next, sizeof next);
        if (next_v != NULL && hook_dlvsym_real == NULL)
            memcpy(&hook_dlvsym_real, &next_v, sizeof next_v);
    }
    if (hook_dlvsym_real == NULL)
        hook_dlvsym_real = dlvsym_of_libc;
    if (hook_dlsym_real == NULL)
        return;
    /* Another interposer's, if one stands behind us: those have no version, which dlvsym passes
     * over. */
    void *const behind = hook_dlsym_real(RTLD_NEXT, "dlsym");
    void *const behind_v = hook_dlsym_real(RTLD_NEXT, "dlvsym");
    if (behind_v != NULL)
        memcpy(&hook_dlvsym_real, &behind_v, sizeof behind_v);
    if (behind != NULL)
        memcpy(&hook_dlsym_real, &behind, sizeof behind);
}

void *hook_dlsym_next(void *handle, const char *name) {
    if (hook_dlsym_real == NULL)
        hook_dlsym_init();
    return hook_dlsym_real != NULL ? hook_dlsym_real(handle, name) : NULL;
}

/* The first call takes the text, the second frees it. */
void hook_dlsym_forget_error(void) {
    dlerror();
    dlerror();
}
