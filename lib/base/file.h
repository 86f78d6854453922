/* Files: views of whole files for reading, and new files that get their name only when complete. */
#ifndef HEAPSNAP_FILE_H
#define HEAPSNAP_FILE_H

#include <heapsnap/common.h>

/* A whole file's bytes. */
struct file_view {
    const uint8_t *data;
    size_t size;
    int is_mapped;
    void *owned; /* what a stream was read into */
};

/* Maps a regular file; reads anything else (pipes, "-" for standard input) to its end, at most
 * max_bytes (LIMIT). The size is the one at opening: a file that is truncated while mapped raises
 * SIGBUS in the reader, as with every mapping; nothing that heapsnap writes is ever changed in
 * place. Errors: IO, NOMEM, LIMIT. */
int file_view_open(struct file_view *out, const char *path, uint64_t max_bytes, snap_error *err);
/* The pages within these bytes of the view are not needed for now: a mapped file gives them back,
 * and reads them again when they are looked at. */
void file_view_forget(const struct file_view *v, const uint8_t *data, size_t size);
void file_view_close(struct file_view *v);

/* A file being written. */
struct file_new {
    int fd;
    int is_direct; /* not a regular file (standard output, a pipe, a device): no name to give */
    int owns_fd;
    int overwrite;
    char *path, *temporary, *directory;
};

/* Creates the temporary file, in the directory of path, so that the rename stays in one file
 * system. "-" is standard output. Without overwrite an existing file is refused at once. */
int file_new_open(struct file_new *f, const char *path, int overwrite, snap_error *err);
int file_new_write(struct file_new *f, const void *data, size_t size, snap_error *err);

/* fsync, rename, fsync of the directory; then the file is closed. Without overwrite the rename
 * never replaces a file, not even one made a moment ago. */
int file_new_commit(struct file_new *f, int no_sync, snap_error *err);

/* Closes and removes the temporary file, if it has not been renamed; frees. */
void file_new_close(struct file_new *f);

#endif
