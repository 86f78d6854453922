/* What a label such as "allocated in FUNCTION" names: where a stack has frames of a managed runtime
 * (Python), the innermost of them, whatever native functions it went on through; else the innermost
 * function that does not only pass an allocation on. */
#ifndef HEAPSNAP_SYMBOL_NOISE_H
#define HEAPSNAP_SYMBOL_NOISE_H

#include <stddef.h>
#include <stdint.h>

/* 1 if a function is part of an allocator or of a container, string or smart pointer that allocates
 * on behalf of its caller; else 0. The name is demangled, with or without parameters, template
 * arguments, return type, `@plt` and clone suffixes. "" and NULL: 0. Reads at most 64 KiB. */
int symbol_is_allocator(const char *function);

/* A place in a managed runtime, as a label names it: "train.py:37 add_sums", the file without its
 * folders, what is unknown left out. At most size bytes with the NUL, cut between characters. */
void symbol_managed_place(char *out, size_t size, const char *file, uint64_t line,
                          const char *function);

#endif
