/* Readable names of functions. */
#ifndef HEAPSNAP_SYMBOL_DEMANGLE_H
#define HEAPSNAP_SYMBOL_DEMANGLE_H

#include <stddef.h>

/* Longest name kept, with the NUL byte; longer ones end in "...". */
#define DEMANGLE_MAX_BYTES 4096

/* Writes the readable form of a symbol's name to out (size: DEMANGLE_MAX_BYTES). A name that is not
 * mangled, or not understood, is copied. Returns the length. */
size_t demangle(const char *name, char out[DEMANGLE_MAX_BYTES]);

/* Whether a name looks mangled. */
int demangle_is_mangled(const char *name);

#endif
