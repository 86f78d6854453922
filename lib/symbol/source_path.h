/* Names of source files. */
#ifndef HEAPSNAP_SYMBOL_SOURCE_PATH_H
#define HEAPSNAP_SYMBOL_SOURCE_PATH_H

#include <stddef.h>

/* Joins the three as far as the later ones are relative, and takes out `.`, `//` and `a/..`. Any
 * may be NULL or "". What does not fit becomes "". */
void source_path_join(char *out, size_t size, const char *compilation_directory,
                      const char *directory, const char *name);

#endif
