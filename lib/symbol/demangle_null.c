/* Names as they are, where no demangler was found. */
#include "symbol/demangle_common.h"

int demangle_is_mangled(const char *name) {
    return demangle_begins_mangled(name);
}

size_t demangle(const char *name, char out[DEMANGLE_MAX_BYTES]) {
    return demangle_copy(name, strlen(name), out);
}
