/* dlsym: looks at names of the CUDA driver and of libraries on top of it, passes everything else on
 * untouched. dlvsym is left alone: none of these names has a version, so it finds none of them.
 *
 * What the real dlsym answers for RTLD_NEXT and RTLD_DEFAULT depends on who calls it, by its return
 * address. So ours is a stub that jumps there, and calls nothing on the way but for names of the
 * driver. The real ones are found without dlsym: in the symbol table of the library that has them.
 */
#include "capture/hook_cuda.h"
#include "capture/hook_handles.h"

#include <dlfcn.h>
#include <string.h>

#include "capture/next.h"

typedef void *dlsym_fn(void *handle, const char *name);
typedef void *dlvsym_fn(void *handle, const char *name, const char *version);

/* What the stub jumps to; at first, to code that finds out. */
dlsym_fn *hook_dlsym_real __attribute__((visibility("hidden")));
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
        ".popsection\n");

struct hook_answer hook_dlsym_find(void *handle, const char *name)
    __attribute__((visibility("hidden")));

/* The driver's names go on with a capital letter. */
struct hook_answer hook_dlsym_find(void *handle, const char *name) {
    return name[0] == 'c' && name[2] >= 'A' && name[2] <= 'Z' ? hook_cuda_find(handle, name)
                                                              : hook_handles_find(handle, name);
}

/* --- the real ones --- */

void hook_dlsym_init(void) {
    static const char *const versions[] = {"GLIBC_2.34", "GLIBC_2.2.5"};
    dlvsym_fn *dlvsym_of_libc;
    void *const in_libc = next_of_libc("dlvsym");
    if (in_libc == NULL)
        return;
    memcpy(&dlvsym_of_libc, &in_libc, sizeof in_libc);
    for (size_t i = 0; i < 2 && hook_dlsym_real == NULL; i++) {
        void *const next = dlvsym_of_libc(RTLD_NEXT, "dlsym", versions[i]);
        if (next != NULL)
            memcpy(&hook_dlsym_real, &next, sizeof next);
    }
    if (hook_dlsym_real == NULL)
        return;
    /* Another interposer's, if one stands behind us: it has no version, which dlvsym passes over.
     */
    void *const behind = hook_dlsym_real(RTLD_NEXT, "dlsym");
    if (behind != NULL)
        memcpy(&hook_dlsym_real, &behind, sizeof behind);
}

void *hook_dlsym_next(void *handle, const char *name) {
    if (hook_dlsym_real == NULL)
        hook_dlsym_init();
    return hook_dlsym_real != NULL ? hook_dlsym_real(handle, name) : NULL;
}
