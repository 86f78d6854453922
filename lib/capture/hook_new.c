/* C++ operator new and delete by their mangled names.
 *
 * With the default operators (libstdc++, libc++) a block is allocated by the real malloc, and only
 * when that fails the real operator is called, which runs the new-handler and throws. Allocators
 * that define the operators themselves are called as such, and recorded at that level. Compiled
 * with -fexceptions: what the real operator throws passes through. */
#include "capture/hook_real.h"

#include <dlfcn.h>
#include <string.h>

#include "capture/next.h"
#include "capture/oom.h"

static struct {
#define HOOK_NEW(name, parameters, arguments, alignment, quiet_name, quiet_arguments)              \
    void *(*name)parameters;
#define HOOK_DELETE(name, parameters, arguments) void(*name) parameters;
#include "capture/hooks.def"
} real;

/* The operators are the C++ library's own, or there are none (yet). */
static bool are_default = true;

static bool is_cxx_library(const void *function) {
    Dl_info info;
    if (dladdr(function, &info) == 0 || info.dli_fname == NULL)
        return false;
    const char *const slash = strrchr(info.dli_fname, '/');
    const char *const name = slash ? slash + 1 : info.dli_fname;
    return strncmp(name, "libstdc++.", 10) == 0 || strncmp(name, "libc++.", 7) == 0 ||
           strncmp(name, "libc++abi.", 10) == 0;
}

void hook_new_init(void) {
    void *found = next_symbol(RTLD_NEXT, "_Znwm");
    if (found == NULL)
        return;
#define HOOK_NEW(name, parameters, arguments, alignment, quiet_name, quiet_arguments)              \
    found = next_symbol(RTLD_NEXT, #name);                                                         \
    memcpy(&real.name, &found, sizeof found);
#define HOOK_DELETE(name, parameters, arguments)                                                   \
    found = next_symbol(RTLD_NEXT, #name);                                                         \
    memcpy(&real.name, &found, sizeof found);
#include "capture/hooks.def"
    memcpy(&found, &real._Znwm, sizeof found);
    are_default = is_cxx_library(found);
}

/* The real operator, also of a C++ library that was loaded later and privately. */
static void *real_operator(void *known, const char *name) {
    if (known != NULL)
        return known;
    void *const library = dlopen("libstdc++.so.6", RTLD_LAZY | RTLD_NOLOAD);
    return library != NULL ? next_symbol(library, name) : NULL;
}

static inline void *allocate(size_t size, size_t alignment) {
    if (alignment == 0)
        return hook_real.malloc(size ? size : 1);
    void *block;
    return hook_real.posix_memalign(&block, alignment < sizeof(void *) ? sizeof(void *) : alignment,
                                    size ? size : 1) == 0
               ? block
               : NULL;
}

/* Not the default ones: first the form that does not throw, as nothing here cleans up when an
 * exception passes; only then the one that was called. */
#define HOOK_NEW(name, parameters, arguments, alignment, quiet_name, quiet_arguments)              \
    HOOK_EXPORT void *name parameters;                                                             \
    HOOK_EXPORT void *name parameters {                                                            \
        static const char nothrow_object;                                                          \
        struct hook_thread *const t = hook_begin();                                                \
        void *block = NULL;                                                                        \
        (void)nothrow_object;                                                                      \
        if (HOOK_LIKELY(t != NULL)) {                                                              \
            hook_real_begin(t);                                                                    \
            block = HOOK_LIKELY(are_default) ? allocate(size, alignment)                           \
                    : real.quiet_name        ? real.quiet_name quiet_arguments                     \
                                             : NULL;                                                      \
            hook_real_end(t);                                                                      \
        } else if (are_default) {                                                                  \
            block = allocate(size, alignment);                                                     \
        }                                                                                          \
        if (HOOK_UNLIKELY(block == NULL)) {                                                        \
            void *(*function)parameters;                                                           \
            void *found;                                                                           \
            if (t != NULL) {                                                                       \
                const struct stack_start start = STACKS_START_HERE();                              \
                oom_report("operator new", size, &start);                                          \
            }                                                                                      \
            memcpy(&found, &real.name, sizeof found);                                              \
            found = real_operator(found, #name);                                                   \
            memcpy(&function, &found, sizeof found);                                               \
            if (function == NULL)                                                                  \
                abort(); /* as the C++ library does when nobody can catch */                       \
            block = function arguments;                                                            \
        }                                                                                          \
        if (HOOK_LIKELY(t != NULL && block != NULL)) {                                             \
            const struct stack_start start = STACKS_START_HERE();                                  \
            hook_record(t, block, size, SNAP_NODE_NEW | ((alignment) ? HOOK_FLAG_ALIGNED : 0),     \
                        &start);                                                                   \
        }                                                                                          \
        return block;                                                                              \
    }

#define HOOK_DELETE(name, parameters, arguments)                                                   \
    HOOK_EXPORT void name parameters;                                                              \
    HOOK_EXPORT void name parameters {                                                             \
        if (HOOK_LIKELY(are_default || real.name == NULL)) {                                       \
            hook_free(block);                                                                      \
            return;                                                                                \
        }                                                                                          \
        struct hook_thread *const t = hook_begin();                                                \
        if (t == NULL || block == NULL) {                                                          \
            real.name arguments;                                                                   \
            return;                                                                                \
        }                                                                                          \
        bool known;                                                                                \
        hook_forget(t, block, NULL, &known);                                                       \
        hook_real_begin(t);                                                                        \
        real.name arguments;                                                                       \
        hook_real_end(t);                                                                          \
    }
#include "capture/hooks.def"
