/* Identity of stacks across files (snap-format.md, SUMM). Shared by writer and reader. */
#ifndef HEAPSNAP_STACKKEY_H
#define HEAPSNAP_STACKKEY_H

#include <heapsnap/table.h>

/* What identifies a frame: for a native one in a module (path not NULL) build_id, path and offset;
 * for any other function, file and line of its innermost position. */
struct stackkey_frame {
    const char *path, *build_id;
    uint64_t offset;
    const char *function, *file;
    size_t function_length, file_length;
    uint64_t line;
};

/* key(s) from key(parent) and the frame. */
uint64_t stackkey_step(uint64_t parent_key, const struct stackkey_frame *f);

/* Key of a type. */
uint64_t stackkey_type(const char *name, size_t length);

/* The part after the last slash. */
const char *stackkey_base_name(const char *path);

#endif
