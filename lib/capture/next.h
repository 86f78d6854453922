/* What the loader knows by a name, whoever stands in front of dlsym. */
#ifndef HEAPSNAP_NEXT_H
#define HEAPSNAP_NEXT_H

#include <stdbool.h>

/* libc's dlsym, called by us: RTLD_NEXT is behind us. What it does not find leaves no error. */
void *next_symbol(void *handle, const char *name) __attribute__((visibility("hidden")));

/* No error of ours is left for the target to read or to free; while muted. */
void next_forget_error(void) __attribute__((visibility("hidden")));

/* A function of libc (or libdl, which was a library of its own) by its symbol table. */
void *next_of_libc(const char *name) __attribute__((visibility("hidden")));

/* A function of whatever object was loaded first that has one of that name, but ours. */
void *next_anywhere(const char *name, bool (*is_ours)(const void *address))
    __attribute__((visibility("hidden")));

/* From now on the loader finds ours under that name in libc, too; what it has found before stays.
 * The caller knows libc's own by then. False, and nothing or not all is replaced: the table cannot
 * be written. */
bool next_replace_in_libc(const char *name, void *ours) __attribute__((visibility("hidden")));

#endif
