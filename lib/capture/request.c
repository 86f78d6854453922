/* Asking another process for a snapshot: finding its control page, signalling the thread that minds
 * least, waiting for the answer.
 *
 * Nothing is trusted that another user could have made: the page must be a plain file of the user
 * that the process runs as, mapped by that very process. Whoever asks may sit in another container;
 * the page is reached through /proc/PID/root. Does not stop or read the process. */
#include <heapsnap/capture.h>
#include <heapsnap/snapdef.h>

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "base/err.h"
#include "capture/ctl.h"
#include "capture/resume.h"

#define TIMEOUT_DEFAULT_NS 30000000000u
#define SIGNAL_AGAIN_NS 1000000000u
#define BLOCKED_WAIT_NS 2000000000u
#define POLL_MS 10

struct client {
    long pid;
    long inner_pid; /* as the process sees itself */
    int pidfd;      /* -1: not supported */
    int ctl_fd;
    struct ctl_page *page;
    int same_namespace;
};

static uint64_t now_ns(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

/* /proc/PID/NAME as text; bytes, or -1 with errno. */
static ssize_t read_proc(long pid, const char *name, char *buffer, size_t size) {
    char path[96];
    snprintf(path, sizeof path, "/proc/%ld/%s", pid, name);
    const int fd = open(path, O_RDONLY | O_CLOEXEC);
    buffer[0] = '\0';
    if (fd < 0)
        return -1;
    size_t length = 0;
    ssize_t n;
    while (length < size - 1 && (n = read(fd, buffer + length, size - 1 - length)) > 0)
        length += (size_t)n;
    buffer[length] = '\0';
    close(fd);
    return (ssize_t)length;
}

/* The text after "NAME:" in a status file; NULL if there is none. */
static const char *field(const char *status, const char *name) {
    char key[32];
    snprintf(key, sizeof key, "\n%s:", name);
    const char *const at = strstr(status, key);
    return at ? at + strlen(key) + strspn(at + strlen(key), " \t") : NULL;
}

static uint64_t kibibytes(const char *text, const char *name) {
    const char *const value = field(text, name);
    return value ? strtoull(value, NULL, 10) * 1024 : 0;
}

static int no_such_process(long pid, snap_error *err) {
    return err_set(err, SNAP_E_NOTFOUND, "no process %ld", pid);
}

static int read_inner_pid(struct client *c, snap_error *err) {
    char status[4096], ours[64], theirs[64];
    if (read_proc(c->pid, "status", status, sizeof status) <= 0)
        return no_such_process(c->pid, err);
    c->inner_pid = c->pid;
    const char *p = field(status, "NSpid");
    for (char *end; p && *p && *p != '\n'; p = end + strspn(end, " \t")) {
        c->inner_pid = strtol(p, &end, 10);
        if (end == p)
            break;
    }
    char path[64];
    snprintf(path, sizeof path, "/proc/%ld/ns/pid", c->pid);
    const ssize_t a = readlink("/proc/self/ns/pid", ours, sizeof ours);
    const ssize_t b = readlink(path, theirs, sizeof theirs);
    c->same_namespace = a > 0 && a == b && memcmp(ours, theirs, (size_t)a) == 0;
    return 0;
}

/* Opens a candidate for the page. 0, 1 if it is none, or SNAP_E_*. */
static int open_page(struct client *c, const char *path, unsigned long inode, uid_t owner,
                     snap_error *err) {
    char *name;
    if (asprintf(&name, "/proc/%ld/root%s", c->pid, path) < 0)
        return err_set(err, SNAP_E_NOMEM, "no memory");
    const int fd = open(name, O_RDWR | O_NOFOLLOW | O_CLOEXEC);
    const int error = errno;
    free(name);
    if (fd < 0 && error == ENOENT)
        return 1;
    if (fd < 0)
        return err_set(err, SNAP_E_IO, "cannot open the control page of process %ld: %s", c->pid,
                       strerror(error));
    struct stat st;
    void *page = MAP_FAILED;
    if (fstat(fd, &st) == 0 && S_ISREG(st.st_mode) && st.st_ino == inode && st.st_uid == owner &&
        !(st.st_mode & 077) && st.st_size >= (off_t)sizeof(struct ctl_page))
        page = mmap(NULL, sizeof(struct ctl_page), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (page == MAP_FAILED) {
        close(fd);
        return 1;
    }
    c->page = page;
    c->ctl_fd = fd;
    if (c->page->magic != CTL_MAGIC || c->page->pid != c->inner_pid) {
        munmap(page, sizeof(struct ctl_page));
        close(fd);
        c->page = NULL;
        c->ctl_fd = -1;
        return 1;
    }
    if (c->page->version != CTL_VERSION || c->page->size != sizeof(struct ctl_page))
        return err_set(err, SNAP_E_UNSUPPORTED,
                       "process %ld is tracked by another version of heapsnap", c->pid);
    return 0;
}

static int find_page(struct client *c, snap_error *err) {
    char path[64];
    struct stat process;
    snprintf(path, sizeof path, "/proc/%ld", c->pid);
    if (stat(path, &process) != 0)
        return no_such_process(c->pid, err);
    if (geteuid() != 0 && process.st_uid != geteuid())
        return err_set(err, SNAP_E_IO, "process %ld belongs to another user", c->pid);
    snprintf(path, sizeof path, "/proc/%ld/maps", c->pid);
    FILE *const maps = fopen(path, "re");
    if (!maps)
        return errno == ENOENT || errno == ESRCH
                   ? no_such_process(c->pid, err)
                   : err_set(err, SNAP_E_IO, "cannot look into process %ld: %s", c->pid,
                             strerror(errno));
    char suffix[48];
    snprintf(suffix, sizeof suffix, ".%ld" CTL_SUFFIX, c->inner_pid);
    char *line = NULL;
    size_t size = 0;
    int result = 1;
    for (ssize_t n; result == 1 && (n = getline(&line, &size, maps)) > 0;) {
        if (line[n - 1] == '\n')
            line[--n] = '\0';
        char *const name = strchr(line, '/');
        unsigned long inode;
        if (name && (size_t)n > strlen(suffix) && strcmp(line + n - strlen(suffix), suffix) == 0 &&
            sscanf(line, "%*s %*s %*s %*s %lu", &inode) == 1)
            result = open_page(c, name, inode, process.st_uid, err);
    }
    free(line);
    fclose(maps);
    if (result == 1)
        return err_set(err, SNAP_E_NOTFOUND,
                       "process %ld is not tracked; only processes started by `snap run` are",
                       c->pid);
    return result;
}

struct choice {
    long tid;
    struct ctl_sleep sleep;
    int score;
    int n_threads, n_blocking;
    int is_caught;
};

enum look { UNKNOWN, RUNS, SLEEPS };

/* "running", or "NUMBER ARGUMENT*6 SP PC"; UNKNOWN if it may not be looked at. The numbers of
 * threads in the page are the process's own. */
static enum look read_sleep(const struct client *c, long tid, struct ctl_sleep *out) {
    char name[64], text[512];
    unsigned long long a[8];
    int number;
    snprintf(name, sizeof name, "task/%ld/syscall", tid);
    *out = (struct ctl_sleep){.tid = c->same_namespace ? (int32_t)tid : 0, .number = CTL_RAN};
    if (read_proc(c->pid, name, text, sizeof text) <= 0)
        return UNKNOWN;
    if (text[0] == 'r')
        return RUNS;
    if (sscanf(text, "%d %llx %llx %llx %llx %llx %llx %llx %llx", &number, &a[0], &a[1], &a[2],
               &a[3], &a[4], &a[5], &a[6], &a[7]) != 9 ||
        number < 0)
        return UNKNOWN;
    out->number = number;
    out->sp = a[6];
    out->pc = a[7];
    for (int i = 0; i < 6; i++)
        out->arguments[i] = a[i];
    return SLEEPS;
}

static void judge_thread(const struct client *c, long tid, int signal, struct choice *choice) {
    char name[64], text[4096];
    snprintf(name, sizeof name, "task/%ld/status", tid);
    if (read_proc(c->pid, name, text, sizeof text) <= 0)
        return;
    const char *const state = field(text, "State");
    const char *const blocked = field(text, "SigBlk");
    const char *const caught = field(text, "SigCgt");
    const uint64_t bit = (uint64_t)1 << (signal - 1);
    if (!state || !blocked || !caught || *state == 'Z' || *state == 'X')
        return;
    choice->n_threads++;
    choice->is_caught |= (strtoull(caught, NULL, 16) & bit) != 0;
    if (strtoull(blocked, NULL, 16) & bit) {
        choice->n_blocking++;
        return;
    }
    struct ctl_sleep sleep = {0};
    int score = 1; /* stopped */
    if (*state != 'T' && *state != 't') {
        enum look look = read_sleep(c, tid, &sleep);
        if (look == UNKNOWN && *state == 'R')
            look = RUNS;
        if (look == UNKNOWN)
            sleep.tid = 0;
        score = look == RUNS                                        ? 4
                : look == UNKNOWN                                   ? 2
                : resume_is_possible(sleep.number, sleep.arguments) ? 3
                                                                    : 1;
    }
    if (score > choice->score) {
        choice->score = score;
        choice->tid = tid;
        choice->sleep = sleep;
    }
}

/* Sends the control signal to the thread that minds least: one that runs, else one whose system
 * call is restarted. */
static int send_signal(const struct client *c, snap_error *err) {
    const int signal = c->page->signal;
    struct choice choice = {0};
    char path[64];
    snprintf(path, sizeof path, "/proc/%ld/task", c->pid);
    DIR *const tasks = opendir(path);
    if (!tasks)
        return no_such_process(c->pid, err);
    if (signal < 1 || signal > 64) {
        closedir(tasks);
        return err_set(err, SNAP_E_CORRUPT, "the control page of process %ld is damaged", c->pid);
    }
    for (const struct dirent *e; (e = readdir(tasks));) {
        const long tid = strtol(e->d_name, NULL, 10);
        if (tid > 0)
            judge_thread(c, tid, signal, &choice);
    }
    closedir(tasks);
    if (choice.n_threads == 0)
        return err_set(err, SNAP_E_NOTFOUND, "process %ld has ended", c->pid);
    if (!choice.is_caught)
        return err_set(err, SNAP_E_LIMIT,
                       "process %ld does not handle signal %d, the recorder's control signal",
                       c->pid, signal);
    if (!choice.tid)
        return err_set(err, SNAP_E_LIMIT, "process %ld blocks signal %d in all of its threads",
                       c->pid, signal);
    c->page->request.sleep = choice.sleep;
    if (syscall(SYS_tgkill, c->pid, choice.tid, signal) == 0)
        return 0;
    return errno == ESRCH
               ? err_set(err, SNAP_E_NOTFOUND, "process %ld has ended", c->pid)
               : err_set(err, SNAP_E_IO, "cannot signal process %ld: %s", c->pid, strerror(errno));
}

/* The same, patiently: all signals are blocked for a moment while a thread is started or a process
 * forked, and while a program replaces itself none is handled. */
static int send_signal_patiently(const struct client *c, uint64_t patience_ns, snap_error *err) {
    const uint64_t end_ns = now_ns() + patience_ns;
    int result;
    while ((result = send_signal(c, err)) == SNAP_E_LIMIT && now_ns() < end_ns)
        poll(NULL, 0, POLL_MS);
    return result;
}

static int has_ended(const struct client *c) {
    struct pollfd p = {.fd = c->pidfd, .events = POLLIN};
    if (c->pidfd >= 0)
        return poll(&p, 1, 0) > 0;
    return kill((pid_t)c->pid, 0) != 0 && errno == ESRCH;
}

/* 1 if the process that writes is known to have ended: gone, or waiting to be reaped. */
static int writer_has_ended(const struct client *c) {
    char stat[512];
    const long child = c->page->response.child_pid;
    if (!c->same_namespace || child <= 0)
        return 0;
    if (read_proc(child, "stat", stat, sizeof stat) <= 0)
        return 1;
    const char *const state = strrchr(stat, ')');
    return state && (state[1] == ' ' && (state[2] == 'Z' || state[2] == 'X'));
}

static int failed(const struct client *c, snap_error *err) {
    char message[CTL_TEXT_MAX];
    memcpy(message, c->page->response.message, sizeof message);
    message[sizeof message - 1] = '\0';
    const int code = c->page->response.code;
    return err_set(err, code < 0 && code > -100 ? code : SNAP_E_IO, "%s",
                   message[0] ? message : "the snapshot failed");
}

static int is_answered(const struct client *c, uint32_t number) {
    return atomic_load(&c->page->answered) == number;
}

static int await(const struct client *c, uint32_t number, const snap_process_options *o,
                 snap_error *err) {
    const uint64_t timeout_ns = o->timeout_ns ? o->timeout_ns : TIMEOUT_DEFAULT_NS;
    uint64_t moved_ns = now_ns(), signalled_ns = moved_ns, progress = 0;
    while (!is_answered(c, number)) {
        poll(NULL, 0, POLL_MS);
        const uint64_t now = now_ns();
        const int is_accepted = atomic_load(&c->page->response.answer) == CTL_ACCEPTED;
        if (is_accepted && o->no_wait)
            return 0;
        /* What has ended may have answered just before: look again. */
        if (is_accepted ? writer_has_ended(c) : has_ended(c)) {
            if (is_answered(c, number))
                break;
            return err_set(err, SNAP_E_IO,
                           is_accepted ? "the process that writes the snapshot of %ld was killed"
                                       : "process %ld ended before it took the snapshot",
                           c->pid);
        }
        if (!is_accepted && now - signalled_ns > SIGNAL_AGAIN_NS) {
            SNAP_TRY(send_signal(c, err));
            signalled_ns = now;
        }
        const uint64_t progress_now =
            atomic_load(&c->page->response.progress) + (uint64_t)is_accepted;
        if (progress_now != progress) {
            progress = progress_now;
            moved_ns = now;
        } else if (now - moved_ns > timeout_ns)
            return err_set(err, SNAP_E_LIMIT,
                           is_accepted ? "the snapshot of process %ld makes no progress"
                                       : "process %ld does not answer",
                           c->pid);
    }
    return atomic_load(&c->page->response.answer) == CTL_WRITTEN ? 0 : failed(c, err);
}

static int copy_text(char *to, size_t size, const char *from, const char *what, snap_error *err) {
    to[0] = '\0';
    if (!from)
        return 0;
    if (strlen(from) >= size)
        return err_set(err, SNAP_E_ARG, "the %s is too long", what);
    memcpy(to, from, strlen(from) + 1);
    return 0;
}

static int ask(struct client *c, const char *path, const snap_process_options *o, snap_error *err) {
    /* Released by the system when we die. */
    if (flock(c->ctl_fd, LOCK_EX | LOCK_NB) != 0) {
        if (o->no_wait)
            return err_set(err, SNAP_E_LIMIT, "process %ld is being asked by another", c->pid);
        while (flock(c->ctl_fd, LOCK_EX) != 0)
            if (errno != EINTR)
                return err_set(err, SNAP_E_IO, "cannot lock the control page: %s", strerror(errno));
    }
    if (atomic_load(&c->page->state) != CTL_READY)
        return err_set(err, SNAP_E_NOTFOUND, "process %ld is ending", c->pid);
    struct ctl_request *const r = &c->page->request;
    char text[4096];
    r->trigger = o->trigger ? o->trigger : SNAP_TRIGGER_TAKE;
    r->flags = (o->overwrite ? CTL_OVERWRITE : 0u) | (o->no_fork ? CTL_NO_FORK : 0u) |
               (o->has_step ? CTL_HAS_STEP : 0u) | (o->no_edges ? CTL_NO_EDGES : 0u);
    r->step = o->step;
    SNAP_TRY(copy_text(r->label, sizeof r->label, o->label, "label", err));
    SNAP_TRY(copy_text(r->path, sizeof r->path, path, "path", err));
    /* Read from here it costs the process nothing. */
    r->pss_bytes = r->private_dirty_bytes = 0;
    if (read_proc(c->pid, "smaps_rollup", text, sizeof text) > 0) {
        r->pss_bytes = kibibytes(text, "Pss");
        r->private_dirty_bytes = kibibytes(text, "Private_Dirty");
    }
    atomic_store(&c->page->response.answer, CTL_PENDING);
    atomic_store(&c->page->response.progress, 0);
    c->page->response.child_pid = 0;
    const uint32_t number = atomic_load(&c->page->asked) + 1;
    atomic_store(&c->page->asked, number);
    SNAP_TRY(send_signal_patiently(c, o->no_wait ? 0 : BLOCKED_WAIT_NS, err));
    return await(c, number, o, err);
}

int snap_take_process(long pid, const char *path, const snap_process_options *options,
                      char *out_path, size_t out_size, snap_error *err) {
    snap_process_options o = {0};
    if (options) {
        const size_t size = options->struct_size ? options->struct_size : sizeof o;
        memcpy(&o, options, size < sizeof o ? size : sizeof o);
    }
    if (pid <= 0)
        return err_set(err, SNAP_E_ARG, "no process has number %ld", pid);
    struct client c = {.pid = pid, .ctl_fd = -1};
    c.pidfd = (int)syscall(SYS_pidfd_open, pid, 0);
    int result = read_inner_pid(&c, err);
    if (result == 0)
        result = find_page(&c, err);
    if (result == 0)
        result = ask(&c, path, &o, err);
    if (result == 0 && out_path && out_size > 0) {
        out_path[0] = '\0';
        if (!o.no_wait)
            snprintf(out_path, out_size, "%.*s", CTL_PATH_SIZE - 1, c.page->response.path);
    }
    if (c.page)
        munmap(c.page, sizeof *c.page);
    if (c.ctl_fd >= 0)
        close(c.ctl_fd);
    if (c.pidfd >= 0)
        close(c.pidfd);
    return result;
}
