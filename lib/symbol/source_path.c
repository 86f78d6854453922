/* Joins and normalises names of source files by their text alone: the files are on another machine,
 * or gone, so symbolic links are not followed. */
#include "symbol/source_path.h"

#include <string.h>

/* Appends the components of one path to out, of which `root` bytes cannot be taken back. */
static int append(char *out, size_t size, size_t *length, size_t root, const char *path) {
    while (*path) {
        while (*path == '/')
            path++;
        const size_t n = strcspn(path, "/");
        if (n == 0 || (n == 1 && path[0] == '.')) {
            path += n;
            continue;
        }
        if (n == 2 && path[0] == '.' && path[1] == '.' && *length > root) {
            size_t last = *length;
            while (last > root && out[last - 1] != '/')
                last--;
            if (!(*length - last == 2 && out[last] == '.' && out[last + 1] == '.')) {
                *length = last > root ? last - 1 : root;
                path += n;
                continue;
            }
        } else if (n == 2 && path[0] == '.' && path[1] == '.' && root > 0) {
            path += n; /* the parent of / is / */
            continue;
        }
        const size_t slash = *length > root;
        if (n + slash + 1 > size - *length)
            return 0;
        if (slash)
            out[(*length)++] = '/';
        memcpy(out + *length, path, n);
        *length += n;
        path += n;
    }
    return 1;
}

void source_path_join(char *out, size_t size, const char *compilation_directory,
                      const char *directory, const char *name) {
    const char *const parts[] = {compilation_directory ? compilation_directory : "",
                                 directory ? directory : "", name ? name : ""};
    size_t first = 0;
    for (size_t i = 1; i < 3; i++) {
        if (parts[i][0] == '/')
            first = i;
    }
    size_t length = 0;
    const size_t root = parts[first][0] == '/';
    out[0] = '/';
    length = root;
    int fits = size > 2 && parts[2][0];
    for (size_t i = first; fits && i < 3; i++)
        fits = append(out, size, &length, root, parts[i]);
    out[fits ? length : 0] = 0;
}
