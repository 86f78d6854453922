/* What the demanglers share. */
#ifndef HEAPSNAP_SYMBOL_DEMANGLE_COMMON_H
#define HEAPSNAP_SYMBOL_DEMANGLE_COMMON_H

#include <string.h>

#include "symbol/demangle.h"

/* Copies a name, cut to fit, marking the cut. */
static inline size_t demangle_copy(const char *name, size_t length, char out[DEMANGLE_MAX_BYTES]) {
    const int is_cut = length > DEMANGLE_MAX_BYTES - 1;
    if (is_cut)
        length = DEMANGLE_MAX_BYTES - 1;
    memcpy(out, name, length);
    if (is_cut)
        memcpy(out + length - 3, "...", 3);
    out[length] = 0;
    return length;
}

static inline int demangle_begins_mangled(const char *name) {
    return name[0] == '_' && (name[1] == 'Z' || name[1] == 'R' ||
                              (name[1] == '_' && name[2] == '_' && name[3] == 'Z') ||
                              (name[1] == '_' && name[2] == 'Z'));
}

#endif
