/* Handlers that are to run at exit, as they are registered: atexit() and on_exit(), and C++
 * destructors of static objects. (atexit is a part of the program that calls __cxa_atexit.)
 *
 * The C library's own list is neither exported nor plain: its pointers are mangled. So the
 * registration is watched: the real function is called with what the program gave, and what it
 * returned is returned. Many handlers of one function of one image are one note, with their
 * number: a program has thousands of static objects. Handlers that have run stay noted: by then
 * the process ends; those of a closed library go with it. */
#include "capture/hook_real.h"

#include <dlfcn.h>
#include <string.h>

#include "capture/next.h"
#include "capture/notes.h"

typedef void (*exit_function)(void *);
typedef void (*on_exit_function)(int, void *);

HOOK_EXPORT int __cxa_atexit(exit_function function, void *argument, void *image);

HOOK_EXPORT int __cxa_atexit(exit_function function, void *argument, void *image) {
    static int (*_Atomic real)(exit_function, void *, void *);
    const struct stack_start start = STACKS_START_HERE();
    int (*next)(exit_function, void *, void *) = atomic_load(&real);
    if (next == NULL) {
        void *const found = next_symbol(RTLD_NEXT, "__cxa_atexit");
        if (found == NULL)
            return -1;
        memcpy(&next, &found, sizeof next);
        atomic_store(&real, next);
    }
    const int result = next(function, argument, image);
    if (result == 0)
        notes_exit_add((uintptr_t)function, (uintptr_t)argument, (uintptr_t)image, &start);
    return result;
}

HOOK_EXPORT int on_exit(on_exit_function function, void *argument) {
    static int (*_Atomic real)(on_exit_function, void *);
    const struct stack_start start = STACKS_START_HERE();
    int (*next)(on_exit_function, void *) = atomic_load(&real);
    if (next == NULL) {
        void *const found = next_symbol(RTLD_NEXT, "on_exit");
        if (found == NULL)
            return -1;
        memcpy(&next, &found, sizeof next);
        atomic_store(&real, next);
    }
    const int result = next(function, argument);
    if (result == 0)
        notes_exit_add((uintptr_t)function, (uintptr_t)argument, 0, &start);
    return result;
}
