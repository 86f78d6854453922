/* Tells positions inside allocators from those of whoever asked for the memory: by the function's
 * name, and by the recorder's own module, whose hooks are the innermost frames of a stack that was
 * not trimmed. Looks at names only. */
#include "symbol/noise.h"

#include <heapsnap/diff.h>

#include <string.h>

int snap_location_is_allocator(const snap_snapshot *s, const snap_location *location) {
    if (symbol_is_allocator(location->function))
        return 1;
    snap_module module;
    if (location->module == 0 || snap_module_get(s, location->module, &module, NULL) < 0)
        return 0;
    const char *const slash = strrchr(module.path, '/');
    const char *const name = slash != NULL ? slash + 1 : module.path;
    return strncmp(name, "libheapsnap-preload.so", sizeof "libheapsnap-preload.so" - 1) == 0;
}
