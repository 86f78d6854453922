/* Watching the processes of a run. A process of its own, so that no thread and no timer has to live
 * in the programs that are watched; it looks at their control pages' names and at /proc, and asks
 * through snap_take_process.
 *
 * A condition fires when it is crossed: "rss>S" when the resident size exceeds S, again only after
 * it has been below 90% of S; "growth>S" when it exceeds what it was at the last firing (or when
 * the process was first seen) by S. */
#include "monitor.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <heapsnap/capture.h>
#include <heapsnap/snapdef.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "opt.h"

#define LOOK_NS 50000000u /* how often to look for processes and at their sizes */
#define ASK_TIMEOUT_NS 2000000000u
#define SUFFIX ".ctl"

struct watched {
    long pid;
    int is_seen; /* in this pass */
    uint64_t due_ns;
    uint64_t base_bytes;                  /* for growth */
    int is_above[MONITOR_CONDITIONS_MAX]; /* has fired, and is not below again */
};

static struct {
    struct watched *processes;
    size_t n, capacity;
} watch;

int monitor_condition_parse(const char *text, struct monitor_condition *out) {
    static const struct {
        const char *name;
        enum monitor_quantity quantity;
    } names[] = {{"rss>", MONITOR_RSS}, {"growth>", MONITOR_GROWTH}};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        const size_t length = strlen(names[i].name);
        if (strncmp(text, names[i].name, length) != 0)
            continue;
        out->quantity = names[i].quantity;
        return opt_size(text + length, &out->bytes) == 0 && out->bytes > 0 ? 0 : -1;
    }
    return -1;
}

static uint64_t now_ns(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static void log_line(const struct monitor *m, const char *kind, long pid, const char *message) {
    const int fd = open(m->log, O_WRONLY | O_APPEND | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0)
        return;
    dprintf(fd, "%s %ld %s\n", kind, pid, message);
    close(fd);
}

/* 0: unknown. */
static uint64_t resident_bytes(long pid) {
    char path[64];
    unsigned long pages = 0;
    snprintf(path, sizeof path, "/proc/%ld/statm", pid);
    FILE *const f = fopen(path, "re");
    if (!f)
        return 0;
    if (fscanf(f, "%*s %lu", &pages) != 1)
        pages = 0;
    fclose(f);
    return (uint64_t)pages * (uint64_t)sysconf(_SC_PAGESIZE);
}

static struct watched *find(long pid) {
    for (size_t i = 0; i < watch.n; i++)
        if (watch.processes[i].pid == pid)
            return &watch.processes[i];
    return NULL;
}

static struct watched *add(const struct monitor *m, long pid) {
    if (watch.n == watch.capacity) {
        const size_t capacity = watch.capacity ? 2 * watch.capacity : 16;
        struct watched *const p = realloc(watch.processes, capacity * sizeof *p);
        if (!p)
            return NULL;
        watch.processes = p;
        watch.capacity = capacity;
    }
    struct watched *const w = &watch.processes[watch.n++];
    *w = (struct watched){
        .pid = pid, .due_ns = now_ns() + m->every_ns, .base_bytes = resident_bytes(pid)};
    return w;
}

static void ask(const struct monitor *m, const struct watched *w, uint32_t trigger) {
    const snap_process_options o = {
        .struct_size = sizeof o, .trigger = trigger, .no_wait = 1, .timeout_ns = ASK_TIMEOUT_NS};
    snap_error err = {0};
    const int result = snap_take_process(w->pid, NULL, &o, NULL, 0, &err);
    if (result < 0 && result != SNAP_E_NOTFOUND) /* one that has just ended is no trouble */
        log_line(m, result == SNAP_E_LIMIT ? "skipped" : "failed", w->pid, err.message);
}

static int condition_fires(const struct monitor_condition *c, struct watched *w, int *is_above,
                           uint64_t bytes) {
    if (c->quantity == MONITOR_GROWTH) {
        if (bytes < w->base_bytes + c->bytes)
            return 0;
        w->base_bytes = bytes;
        return 1;
    }
    if (bytes < c->bytes - c->bytes / 10)
        *is_above = 0;
    if (*is_above || bytes <= c->bytes)
        return 0;
    *is_above = 1;
    return 1;
}

static void look_at(const struct monitor *m, struct watched *w) {
    const uint64_t now = now_ns();
    if (m->every_ns && now >= w->due_ns) {
        w->due_ns += m->every_ns;
        if (w->due_ns < now) /* late: do not catch up */
            w->due_ns = now + m->every_ns;
        ask(m, w, SNAP_TRIGGER_INTERVAL);
    }
    if (m->n_conditions == 0)
        return;
    const uint64_t bytes = resident_bytes(w->pid);
    int fires = 0;
    for (size_t i = 0; bytes && i < m->n_conditions; i++)
        fires |= condition_fires(&m->conditions[i], w, &w->is_above[i], bytes);
    if (fires)
        ask(m, w, SNAP_TRIGGER_CONDITION);
}

/* RUN.PID.ctl; 0 if the name is none of ours. */
static long pid_of_page(const struct monitor *m, const char *name) {
    const size_t length = strlen(m->run);
    if (strncmp(name, m->run, length) != 0 || name[length] != '.')
        return 0;
    char *end;
    const long pid = strtol(name + length + 1, &end, 10);
    return pid > 0 && strcmp(end, SUFFIX) == 0 ? pid : 0;
}

/* Looks at each process of the run; returns how many there are. */
static size_t look(const struct monitor *m) {
    DIR *const pages = opendir(m->directory);
    if (!pages)
        return 0;
    for (size_t i = 0; i < watch.n; i++)
        watch.processes[i].is_seen = 0;
    for (const struct dirent *e; (e = readdir(pages));) {
        const long pid = pid_of_page(m, e->d_name);
        if (!pid)
            continue;
        if (kill((pid_t)pid, 0) != 0 && errno == ESRCH) { /* killed: it left its page behind */
            unlinkat(dirfd(pages), e->d_name, 0);
            continue;
        }
        struct watched *w = find(pid);
        if (!w)
            w = add(m, pid);
        if (w)
            w->is_seen = 1;
    }
    closedir(pages);
    size_t n = 0;
    for (size_t i = 0; i < watch.n; i++)
        if (watch.processes[i].is_seen)
            watch.processes[n++] = watch.processes[i];
    watch.n = n;
    for (size_t i = 0; i < watch.n; i++)
        look_at(m, &watch.processes[i]);
    return n;
}

static void monitor_main(const struct monitor *m, int caller_fd) {
    int caller_is_there = 1;
    for (;;) {
        struct pollfd p = {.fd = caller_fd, .events = POLLIN};
        const struct timespec wait = {0, LOOK_NS};
        if (ppoll(&p, caller_is_there, &wait, NULL) > 0)
            caller_is_there = 0;
        if (look(m) == 0 && !caller_is_there)
            break;
    }
}

int monitor_start(const struct monitor *m, int *out_fd) {
    int fds[2];
    if (pipe2(fds, O_CLOEXEC) != 0)
        return -1;
    const pid_t child = fork();
    if (child < 0)
        return -1;
    if (child > 0) {
        close(fds[0]);
        int status = 0;
        while (waitpid(child, &status, 0) < 0 && errno == EINTR)
            ;
        *out_fd = fds[1];
        return WIFEXITED(status) && WEXITSTATUS(status) == 0 ? 0 : -1;
    }
    setsid();
    const pid_t grandchild = fork();
    if (grandchild != 0)
        _exit(grandchild < 0);
    const int null_fd = open("/dev/null", O_RDWR);
    for (int i = 0; i < 3; i++)
        dup2(null_fd, i);
    dup2(fds[0], 3);
    syscall(SYS_close_range, 4, ~0u, 0);
    if (chdir("/") != 0)
        _exit(1);
    sigset_t none;
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    signal(SIGPIPE, SIG_IGN);
    monitor_main(m, 3);
    _exit(0);
}
