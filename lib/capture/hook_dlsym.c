/* dlsym: looks at names of the CUDA driver and of libraries on top of it, passes everything else on
 * untouched. dlvsym is left alone: none of these names has a version, so it finds none of them.
 *
 * What the real dlsym answers for RTLD_NEXT and RTLD_DEFAULT depends on who calls it, by its return
 * address. So ours is a stub that jumps there, and calls nothing on the way but for names of the
 * driver. The real ones are found without dlsym: in the symbol table of the library that has them.
 *
 * A library that was opened with RTLD_DEEPBIND looks for dlsym in libc before it comes to us, and
 * may have a CUDA runtime of its own in it. So libc's table of symbols names a second stub of ours,
 * with libc's dlsym behind it. Nothing needs to be noticed when a library is opened or closed, and
 * nothing of it is written to. What was there at the start is passed on by that stub even for names
 * of the driver: an interposer that calls libc's dlsym must not be given what calls it. */
#include "capture/hook_cuda.h"
#include "capture/hook_handles.h"

#include <dlfcn.h>
#include <link.h>
#include <string.h>

#include "capture/hook.h"
#include "capture/next.h"
#include "capture/rebind.h"

typedef void *dlsym_fn(void *handle, const char *name);
typedef void *dlvsym_fn(void *handle, const char *name, const char *version);

/* What the stub jumps to; at first, to code that finds out. */
dlsym_fn *hook_dlsym_real __attribute__((visibility("hidden")));
dlsym_fn *hook_dlsym_libc __attribute__((visibility("hidden")));
void hook_dlsym_init(void) __attribute__((visibility("hidden")));

__asm__(".pushsection .text\n"
        ".macro SNAP_DL_SAVE\n"
        "  pushq %rdi\n"
        "  .cfi_adjust_cfa_offset 8\n"
        "  pushq %rsi\n"
        "  .cfi_adjust_cfa_offset 8\n"
        "  pushq %rdx\n"
        "  .cfi_adjust_cfa_offset 8\n"
        ".endm\n"
        ".macro SNAP_DL_RESTORE\n"
        "  popq %rdx\n"
        "  .cfi_adjust_cfa_offset -8\n"
        "  popq %rsi\n"
        "  .cfi_adjust_cfa_offset -8\n"
        "  popq %rdi\n"
        "  .cfi_adjust_cfa_offset -8\n"
        ".endm\n"
        ".macro SNAP_DL_STUB name real find\n"
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
        "  SNAP_DL_SAVE\n"
        "  movq 24(%rsp), %rdx\n" /* who called */
        "  call \\find\n"
        "  movq %rdx, %rcx\n"
        "  SNAP_DL_RESTORE\n"
        "  testq %rcx, %rcx\n"
        "  je 4f\n"
        "  ret\n"
        "2:\n"
        "  SNAP_DL_SAVE\n"
        "  call hook_dlsym_init\n"
        "  SNAP_DL_RESTORE\n"
        "  cmpq $0, \\real(%rip)\n"
        "  jne 1b\n"
        "  xorl %eax, %eax\n"
        "  ret\n"
        "4:\n"
        "  leaq 1(%rdi), %rax\n"
        "  cmpq $1, %rax\n" /* RTLD_NEXT, RTLD_DEFAULT: nothing that was opened */
        "  jbe 6f\n"
        "  SNAP_DL_SAVE\n"
        "  call hook_dlsym_opened\n"
        "  SNAP_DL_RESTORE\n"
        "6:\n"
        "  jmp *\\real(%rip)\n"
        "  .cfi_endproc\n"
        ".size \\name, . - \\name\n"
        ".endm\n"
        ".globl dlsym\n"
        "SNAP_DL_STUB dlsym hook_dlsym_real hook_dlsym_find\n"
        "SNAP_DL_STUB hook_dlsym_deep hook_dlsym_libc hook_dlsym_find_deep\n"
        ".popsection\n");

extern char hook_dlsym_deep[] __attribute__((visibility("hidden")));
void hook_dlsym_opened(void *handle) __attribute__((visibility("hidden")));
struct hook_answer hook_dlsym_find(void *handle, const char *name, const void *caller)
    __attribute__((visibility("hidden")));
struct hook_answer hook_dlsym_find_deep(void *handle, const char *name, const void *caller)
    __attribute__((visibility("hidden")));

/* Where a name is looked up in what dlopen returned. Another's dlsym behind ours may have handles
 * of its own; libc's are the loader's objects, and its dlsym reads them, too. */
void hook_dlsym_opened(void *handle) {
    if (hook_dlsym_libc != NULL && hook_dlsym_real == hook_dlsym_libc)
        rebind_opened(handle);
}

/* The driver's names go on with a capital letter. */
struct hook_answer hook_dlsym_find(void *handle, const char *name, const void *caller) {
    return name[0] == 'c' && name[2] >= 'A' && name[2] <= 'Z'
               ? hook_cuda_find(handle, name, caller)
               : hook_handles_find(handle, name, caller);
}

/* The first and the last object that were there at the start; they and those between stay. */
static const struct link_map *first_object, *last_object;

static bool came_later(const void *caller) {
    Dl_info info;
    void *found;
    if (dladdr1(caller, &info, &found, RTLD_DL_LINKMAP) == 0)
        return false;
    for (const struct link_map *l = first_object; l != found; l = l->l_next)
        if (l == last_object)
            return true;
    return false;
}

struct hook_answer hook_dlsym_find_deep(void *handle, const char *name, const void *caller) {
    return came_later(caller) ? hook_dlsym_find(handle, name, caller)
                              : (struct hook_answer){NULL, 0};
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

/* In the libraries that the caller's own object needs, which no other object may see. */
static void *find_nearby(const char *name, const void *caller) {
    Dl_info info;
    recorder_mute(1);
    void *const object = dladdr(caller, &info) != 0 && info.dli_fname != NULL
                             ? dlopen(info.dli_fname, RTLD_LAZY | RTLD_NOLOAD)
                             : NULL;
    void *const found = object != NULL ? hook_dlsym_next(object, name) : NULL;
    if (object != NULL)
        dlclose(object);
    next_forget_error();
    recorder_mute(0);
    return found;
}

void *hook_dlsym_behind(void *handle, const char *name, const void *caller,
                        bool (*is_ours)(const void *address)) {
    void *found = hook_dlsym_next(handle != RTLD_DEFAULT ? handle : RTLD_NEXT, name);
    if (found == NULL && handle == RTLD_DEFAULT)
        found = find_nearby(name, caller);
    /* Through a handle of the whole program. Where it has none, dlerror shall say so. */
    if (handle == RTLD_DEFAULT ? found == NULL : is_ours(found))
        found = hook_dlsym_next(RTLD_NEXT, name);
    return found != NULL && !is_ours(found) ? found : NULL;
}

bool hook_dlsym_start(void) {
    Dl_info info;
    void *object, *const in_libc = next_of_libc("dlsym");
    if (hook_dlsym_real == NULL)
        hook_dlsym_init();
    if (in_libc == NULL || hook_dlsym_real == NULL ||
        dladdr1((const void *)hook_dlsym_start, &info, &object, RTLD_DL_LINKMAP) == 0)
        return false;
    for (first_object = object; first_object->l_prev != NULL;)
        first_object = first_object->l_prev;
    for (last_object = object; last_object->l_next != NULL;)
        last_object = last_object->l_next;
    memcpy(&hook_dlsym_libc, &in_libc, sizeof in_libc);
    return next_replace_in_libc("dlsym", hook_dlsym_deep);
}
