/* Whole files in and out. Invariant: at every moment of its life a file under the final name is
 * complete, and on the disk if syncing was not turned off; after close no temporary file is left.
 * Short and interrupted system calls are continued. */
#include "base/file.h"
#include "base/err.h"
#include "base/mem.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#define READ_STEP_BYTES ((size_t)1 << 20)
#define TEMPORARY_NAME_BYTES 40
#define TEMPORARY_TRIES 16

static int read_stream(struct file_view *out, int fd, const char *path, uint64_t max_bytes,
                       snap_error *err) {
    uint8_t *data = NULL;
    size_t size = 0, capacity = 0;
    for (;;) {
        if (size == capacity && mem_grow(&data, &capacity, size + READ_STEP_BYTES, 1) < 0) {
            free(data);
            return err_set(err, SNAP_E_NOMEM, "no memory to read '%s'", path);
        }
        const ssize_t n = read(fd, data + size, capacity - size);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0) {
            const int e = errno;
            free(data);
            return err_set(err, SNAP_E_IO, "cannot read '%s': %s", path, strerror(e));
        }
        if (!n)
            break;
        size += (size_t)n;
        if (size > max_bytes) {
            free(data);
            return err_set(err, SNAP_E_LIMIT, "'%s' is larger than the memory budget of %llu bytes",
                           path, (unsigned long long)max_bytes);
        }
    }
    *out = (struct file_view){.data = data, .size = size, .owned = data};
    return SNAP_OK;
}

static int view_fd(struct file_view *out, int fd, const char *path, uint64_t max_bytes,
                   snap_error *err) {
    struct stat st;
    if (fstat(fd, &st) < 0)
        return err_set(err, SNAP_E_IO, "cannot read '%s': %s", path, strerror(errno));
    if (S_ISDIR(st.st_mode))
        return err_set(err, SNAP_E_IO, "cannot read '%s': %s", path, strerror(EISDIR));
    /* Files of /proc and the like say 0 bytes and have some; a stream may start in its middle. */
    if (!S_ISREG(st.st_mode) || !st.st_size || lseek(fd, 0, SEEK_CUR) != 0)
        return read_stream(out, fd, path, max_bytes, err);
    if ((uint64_t)st.st_size > SIZE_MAX)
        return err_set(err, SNAP_E_LIMIT, "'%s' does not fit the address space", path);
    void *const data = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
    if (data == MAP_FAILED)
        return err_set(err, SNAP_E_IO, "cannot map '%s': %s", path, strerror(errno));
    *out = (struct file_view){.data = data, .size = (size_t)st.st_size, .is_mapped = 1};
    return SNAP_OK;
}

int file_view_open(struct file_view *out, const char *path, uint64_t max_bytes, snap_error *err) {
    if (!strcmp(path, "-"))
        return view_fd(out, STDIN_FILENO, "standard input", max_bytes, err);
    const int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY);
    if (fd < 0)
        return err_set(err, SNAP_E_IO, "cannot open '%s': %s", path, strerror(errno));
    const int result = view_fd(out, fd, path, max_bytes, err);
    close(fd);
    return result;
}

void file_view_forget(const struct file_view *v, const uint8_t *data, size_t size) {
    const uintptr_t page = 4096, start = ((uintptr_t)data + page - 1) & ~(page - 1),
                    end = ((uintptr_t)data + size) & ~(page - 1);
    if (v->is_mapped && start < end)
        madvise((void *)start, end - start, MADV_DONTNEED);
}

void file_view_close(struct file_view *v) {
    if (v->is_mapped)
        munmap((void *)v->data, v->size);
    free(v->owned);
    *v = (struct file_view){0};
}

static int refuse(struct file_new *f, const char *what, snap_error *err) {
    return err_set(err, SNAP_E_IO, "cannot %s '%s': %s", what, f->path, strerror(errno));
}

static int create_temporary(struct file_new *f, snap_error *err) {
    const size_t size = strlen(f->directory) + TEMPORARY_NAME_BYTES;
    f->temporary = mem_alloc(size, 1);
    if (!f->temporary)
        return err_set(err, SNAP_E_NOMEM, "no memory for the name of a file");
    for (int i = 0; i < TEMPORARY_TRIES; i++) {
        uint64_t random = 0;
        if (getrandom(&random, sizeof random, GRND_NONBLOCK) != sizeof random)
            random = (uint64_t)getpid() << 32 | (unsigned)i;
        snprintf(f->temporary, size, "%s/.heapsnap-%016llx.tmp", f->directory,
                 (unsigned long long)random);
        f->fd = open(f->temporary, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0666);
        if (f->fd >= 0) {
            f->owns_fd = 1;
            return SNAP_OK;
        }
        if (errno != EEXIST)
            break;
    }
    free(f->temporary);
    f->temporary = NULL;
    return refuse(f, "create", err);
}

static int open_target(struct file_new *f, snap_error *err) {
    struct stat st;
    if (!strcmp(f->path, "-")) {
        f->fd = STDOUT_FILENO;
        f->is_direct = 1;
        return SNAP_OK;
    }
    if (!stat(f->path, &st) && !S_ISREG(st.st_mode)) {
        f->fd = open(f->path, O_WRONLY | O_CLOEXEC | O_NOCTTY);
        if (f->fd < 0)
            return refuse(f, "write", err);
        f->is_direct = f->owns_fd = 1;
        return SNAP_OK;
    }
    if (!f->overwrite && !lstat(f->path, &st)) {
        errno = EEXIST;
        return refuse(f, "create", err);
    }
    const char *const slash = strrchr(f->path, '/');
    f->directory = !slash             ? strdup(".")
                   : slash == f->path ? strdup("/")
                                      : strndup(f->path, (size_t)(slash - f->path));
    if (!f->directory)
        return err_set(err, SNAP_E_NOMEM, "no memory for the name of a file");
    return create_temporary(f, err);
}

int file_new_open(struct file_new *f, const char *path, int overwrite, snap_error *err) {
    *f = (struct file_new){.fd = -1, .overwrite = overwrite, .path = strdup(path)};
    if (!f->path)
        return err_set(err, SNAP_E_NOMEM, "no memory for the name of a file");
    const int result = open_target(f, err);
    if (result < 0)
        file_new_close(f);
    return result;
}

int file_new_write(struct file_new *f, const void *data, size_t size, snap_error *err) {
    const uint8_t *p = data;
    while (size) {
        const ssize_t n = write(f->fd, p, size);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0) {
            if (!n)
                errno = EIO;
            return refuse(f, "write", err);
        }
        p += n;
        size -= (size_t)n;
    }
    return SNAP_OK;
}

/* Gives the temporary file its name without replacing another. File systems that cannot do so in
 * one step get a second name instead, which is as exclusive. */
static int rename_exclusive(const struct file_new *f) {
    if (!renameat2(AT_FDCWD, f->temporary, AT_FDCWD, f->path, RENAME_NOREPLACE))
        return 0;
    if (errno != EINVAL && errno != ENOSYS)
        return -1;
    if (link(f->temporary, f->path) < 0)
        return -1;
    unlink(f->temporary);
    return 0;
}

/* Makes the new name durable. A failure is not one of the file, which is complete and has its name:
 * nothing that a caller could do about it would be better than going on. */
static void sync_directory(const struct file_new *f) {
    const int fd = open(f->directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return;
    (void)fsync(fd);
    close(fd);
}

int file_new_commit(struct file_new *f, int no_sync, snap_error *err) {
    if (!f->is_direct) {
        if (!no_sync && fsync(f->fd) < 0)
            return refuse(f, "write", err);
        const int closed = close(f->fd);
        f->fd = -1;
        f->owns_fd = 0;
        if (closed < 0)
            return refuse(f, "write", err);
        if ((f->overwrite ? rename(f->temporary, f->path) : rename_exclusive(f)) < 0)
            return refuse(f, "create", err);
        free(f->temporary);
        f->temporary = NULL;
        if (!no_sync)
            sync_directory(f);
    } else if (f->owns_fd) {
        const int closed = close(f->fd);
        f->fd = -1;
        f->owns_fd = 0;
        if (closed < 0)
            return refuse(f, "write", err);
    }
    return SNAP_OK;
}

void file_new_close(struct file_new *f) {
    if (f->owns_fd && f->fd >= 0)
        close(f->fd);
    if (f->temporary)
        unlink(f->temporary);
    free(f->temporary);
    free(f->directory);
    free(f->path);
    *f = (struct file_new){.fd = -1};
}
