/* The control page, on the side of the tracked process: making and removing it. The file lives in a
 * private directory; a directory or file that is not this user's alone is not used, so nobody else
 * can ask a process for a snapshot or make it write somewhere. */
#include "capture/ctl.h"

#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "capture/procfs.h"
#include "capture/raw.h"

/* 0 if path is a directory of the effective user that nobody else may write to; made if missing. */
static int private_directory(const char *path, uint32_t uid) {
    raw_call3(SYS_mkdir, (long)path, 0700, 0);
    const int fd = raw_open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW, 0);
    if (fd < 0)
        return -1;
    struct stat st;
    const long failed =
        raw_call(SYS_newfstatat, fd, (long)"", (long)&st, 0x1000 /* AT_EMPTY_PATH */, 0, 0);
    raw_close(fd);
    return !failed && st.st_uid == uid && !(st.st_mode & 077) ? 0 : -1;
}

struct ctl_page *ctl_create(const char *directory, const char *run, int signal, char *out_path,
                            uint32_t path_size) {
    const uint32_t uid = (uint32_t)raw_call3(SYS_geteuid, 0, 0, 0);
    out_path[0] = '\0';
    if (!*directory || private_directory(directory, uid) < 0)
        return NULL;
    struct text t;
    text_init(&t, out_path, path_size);
    text_add(&t, directory);
    text_add(&t, "/");
    text_add(&t, run);
    text_add(&t, ".");
    text_add_number(&t, (uint64_t)raw_pid());
    text_add(&t, CTL_SUFFIX);

    /* A leftover of an earlier process with this number: its mapping, if any, stays whole. */
    raw_call3(SYS_unlink, (long)out_path, 0, 0);
    const int fd = t.cut ? -1 : raw_open(out_path, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW, 0600);
    if (fd < 0)
        return NULL;
    const size_t size = (sizeof(struct ctl_page) + 4095) & ~(size_t)4095;
    /* Allocated now, so that a full disk shows here and not as SIGBUS later. */
    long failed = raw_call(SYS_fallocate, fd, 0, 0, (long)size, 0, 0);
    if (failed == -EOPNOTSUPP)
        failed = raw_call3(SYS_ftruncate, fd, (long)size, 0);
    long mapped = -1;
    if (!failed)
        mapped = raw_call(SYS_mmap, 0, (long)size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    raw_close(fd);
    if (raw_failed(mapped)) {
        raw_call3(SYS_unlink, (long)out_path, 0, 0);
        out_path[0] = '\0';
        return NULL;
    }
    struct ctl_page *const page = (struct ctl_page *)mapped;
    page->version = CTL_VERSION;
    page->size = sizeof *page;
    page->pid = raw_pid();
    page->signal = signal;
    page->magic = CTL_MAGIC;
    return page;
}

void ctl_remove(struct ctl_page *page, const char *path) {
    if (!page)
        return;
    atomic_store(&page->state, CTL_LEAVING);
    if (*path)
        raw_call3(SYS_unlink, (long)path, 0, 0);
}
