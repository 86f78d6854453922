/* Expands and opens names of snapshots. A name that is no file's is taken for a pattern, so that
 * files whose names hold brackets can be given as they are. */
#include "files.h"

#include <glob.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "input.h"

static int add_path(const struct opt_command *command, struct files *f, const char *path) {
    if (f->n == f->capacity) {
        const size_t capacity = f->capacity * 2 + 16;
        char **const paths = realloc(f->paths, capacity * sizeof *paths);
        if (paths == NULL)
            return opt_error(command, "no memory");
        f->paths = paths;
        f->capacity = capacity;
    }
    f->paths[f->n] = strdup(path);
    if (f->paths[f->n] == NULL)
        return opt_error(command, "no memory");
    f->n++;
    return 0;
}

static int compare_names(const void *a, const void *b) {
    return strverscmp(*(char *const *)a, *(char *const *)b);
}

int files_add(const struct opt_command *command, struct files *f, const char *path_or_pattern) {
    if (strpbrk(path_or_pattern, "*?[") == NULL || access(path_or_pattern, F_OK) == 0)
        return add_path(command, f, path_or_pattern);
    glob_t found;
    const int result = glob(path_or_pattern, GLOB_NOSORT, NULL, &found);
    if (result == GLOB_NOMATCH)
        return opt_error(command, "no file matches '%s'", path_or_pattern);
    if (result != 0)
        return opt_error(command, "cannot read the folders of '%s'", path_or_pattern);
    qsort(found.gl_pathv, found.gl_pathc, sizeof *found.gl_pathv, compare_names);
    int status = 0;
    for (size_t i = 0; i < found.gl_pathc && status == 0; i++)
        status = add_path(command, f, found.gl_pathv[i]);
    globfree(&found);
    return status;
}

int files_open(const struct opt_command *command, struct files *f) {
    size_t n_stdin = 0;
    for (size_t i = 0; i < f->n; i++)
        n_stdin += strcmp(f->paths[i], "-") == 0;
    if (n_stdin > 1)
        return opt_usage_error(command, "standard input can be read only once");
    f->snapshots = calloc(f->n + 1, sizeof *f->snapshots);
    if (f->snapshots == NULL)
        return opt_error(command, "no memory");
    int status = 0;
    for (size_t i = 0; i < f->n && status == 0; i++)
        status = input_open(command, f->paths[i], &f->snapshots[i]);
    return status;
}

void files_release(struct files *f) {
    for (size_t i = 0; i < f->n; i++) {
        if (f->snapshots != NULL)
            snap_close(f->snapshots[i]);
        free(f->paths[i]);
    }
    free(f->snapshots);
    free(f->paths);
    memset(f, 0, sizeof *f);
}
