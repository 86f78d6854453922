/* Demangling by the C++ runtime's __cxa_demangle: C++ only, for systems without libiberty.
 *
 * It returns whole names only, so long ones are not tried: a hostile name grows with its back
 * references, which a short one cannot do much. */
#include "symbol/demangle_common.h"

#include <stdlib.h>

#define MANGLED_MAX_BYTES 4096

char *__cxa_demangle(const char *name, char *buffer, size_t *size, int *status);

int demangle_is_mangled(const char *name) {
    return demangle_begins_mangled(name);
}

size_t demangle(const char *name, char out[DEMANGLE_MAX_BYTES]) {
    const size_t length = strlen(name);
    if (!demangle_begins_mangled(name) || length > MANGLED_MAX_BYTES)
        return demangle_copy(name, length, out);
    int status = -1;
    char *const text = __cxa_demangle(name, NULL, NULL, &status);
    const size_t n = status == 0 && text ? demangle_copy(text, strlen(text), out)
                                         : demangle_copy(name, length, out);
    free(text);
    return n;
}
