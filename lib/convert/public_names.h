/* Names that everybody knows; see public_names.c. */
#ifndef HEAPSNAP_PUBLIC_NAMES_H
#define HEAPSNAP_PUBLIC_NAMES_H

#include <stddef.h>

/* 1 if a word may stay: a keyword, a type of a language, a name out of a textbook. */
int public_word(const char *text, size_t length);
/* 1 if it is the name of a package or namespace that is public as a whole: "std", "torch". */
int public_root(const char *text, size_t length);

#endif
