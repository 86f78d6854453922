/* Which functions only pass an allocation on, so that a label such as "allocated in FUNCTION" can
 * name the first one that does not. */
#ifndef HEAPSNAP_SYMBOL_NOISE_H
#define HEAPSNAP_SYMBOL_NOISE_H

/* 1 if a function is part of an allocator or of a container, string or smart pointer that allocates
 * on behalf of its caller; else 0. The name is demangled, with or without parameters, template
 * arguments, return type, `@plt` and clone suffixes. "" and NULL: 0. Reads at most 64 KiB. */
int symbol_is_allocator(const char *function);

#endif
