/* Failing allocations and system calls. See inject.h.
 *
 * The next malloc is looked up rather than called as __libc_malloc, so that a sanitizer keeps its
 * own behind this one. dlsym itself allocates at times: those few bytes come from a fixed buffer.
 */
#include "support/inject.h"

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

static struct {
    enum inject_kind kind;
    long at, seen;
    int is_persistent, has_fired;
} armed;
static long live;

static char early[65536];
static size_t early_used;
static int is_looking;
static void *(*next_malloc)(size_t);
static void *(*next_calloc)(size_t, size_t);
static void *(*next_realloc)(void *, size_t);
static void (*next_free)(void *);

void inject_arm(enum inject_kind kind, long at, int is_persistent) {
    armed.kind = kind;
    armed.at = at;
    armed.is_persistent = is_persistent;
    armed.seen = armed.has_fired = 0;
}

int inject_disarm(void) {
    armed.kind = INJECT_NONE;
    return armed.has_fired;
}

long inject_live(void) {
#ifdef __SANITIZE_ADDRESS__
    return 0; /* its strdup does not come through here; it looks for leaks itself */
#else
    return __atomic_load_n(&live, __ATOMIC_RELAXED);
#endif
}

static int fails(enum inject_kind kind) {
    if (armed.kind != kind)
        return 0;
    armed.seen++;
    if (armed.seen != armed.at && !(armed.is_persistent && armed.seen > armed.at))
        return 0;
    armed.has_fired = 1;
    return 1;
}

static int look_up(void) {
    if (next_free)
        return 1;
    if (is_looking)
        return 0;
    is_looking = 1;
    next_malloc = (void *(*)(size_t))dlsym(RTLD_NEXT, "malloc");
    next_calloc = (void *(*)(size_t, size_t))dlsym(RTLD_NEXT, "calloc");
    next_realloc = (void *(*)(void *, size_t))dlsym(RTLD_NEXT, "realloc");
    next_free = (void (*)(void *))dlsym(RTLD_NEXT, "free");
    is_looking = 0;
    return next_free != NULL;
}

static void *take_early(size_t size) {
    size = (size + 15) & ~(size_t)15;
    if (size > sizeof early - early_used)
        return NULL;
    early_used += size;
    return early + early_used - size;
}

static int is_early(const void *p) {
    return (uintptr_t)p - (uintptr_t)early < sizeof early;
}

static void *count(void *p) {
    if (p)
        __atomic_add_fetch(&live, 1, __ATOMIC_RELAXED);
    return p;
}

static void *no_memory(void) {
    errno = ENOMEM;
    return NULL;
}

void *malloc(size_t size) {
    if (!look_up())
        return take_early(size);
    return fails(INJECT_MALLOC) ? no_memory() : count(next_malloc(size));
}

void *calloc(size_t n, size_t size) {
    if (!look_up())
        return take_early(n * size);
    return fails(INJECT_MALLOC) ? no_memory() : count(next_calloc(n, size));
}

void *realloc(void *old, size_t size) {
    if (!old || is_early(old)) {
        void *const p = malloc(size);
        if (p && old)
            memcpy(p, old, size);
        return p;
    }
    if (!look_up() || fails(INJECT_MALLOC))
        return no_memory();
    return next_realloc(old, size);
}

void free(void *p) {
    if (!p || is_early(p) || !look_up())
        return;
    __atomic_sub_fetch(&live, 1, __ATOMIC_RELAXED);
    next_free(p);
}

static int refuse(int e) {
    errno = e;
    return -1;
}

int open(const char *path, int flags, ...) {
    va_list ap;
    va_start(ap, flags);
    const int mode = flags & (O_CREAT | __O_TMPFILE) ? va_arg(ap, int) : 0;
    va_end(ap);
    return fails(INJECT_OPEN) ? refuse(EMFILE)
                              : (int)syscall(SYS_openat, AT_FDCWD, path, flags, mode);
}

ssize_t read(int fd, void *data, size_t size) {
    return fails(INJECT_READ) ? refuse(EIO) : syscall(SYS_read, fd, data, size);
}

void *mmap(void *at, size_t size, int protection, int flags, int fd, off_t offset) {
    if (fd >= 0 && fails(INJECT_MMAP)) {
        errno = ENOMEM;
        return MAP_FAILED;
    }
    return (void *)syscall(SYS_mmap, at, size, protection, flags, fd, offset);
}

ssize_t write(int fd, const void *data, size_t size) {
    if (fails(INJECT_WRITE))
        return refuse(ENOSPC);
    if (armed.kind == INJECT_WRITE_SHORT && size > 1) {
        armed.has_fired = 1;
        if (++armed.seen % 2)
            return refuse(EINTR);
        size = 1 + size / 3;
    }
    return syscall(SYS_write, fd, data, size);
}

int fsync(int fd) {
    return fails(INJECT_FSYNC) ? refuse(EIO) : (int)syscall(SYS_fsync, fd);
}

int rename(const char *from, const char *to) {
    return fails(INJECT_RENAME) ? refuse(EIO) : (int)syscall(SYS_rename, from, to);
}

int renameat2(int from_fd, const char *from, int to_fd, const char *to, unsigned flags) {
    return fails(INJECT_RENAME) ? refuse(EIO)
                                : (int)syscall(SYS_renameat2, from_fd, from, to_fd, to, flags);
}
