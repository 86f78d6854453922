/* What the descendants of a process have for themselves, by smaps_rollup: pages that were written
 * to, which after a fork are those that they no longer share, and pages of no file, which a fork
 * hands on and only they themselves make more.
 *
 * Reads /proc only; none of the processes is stopped or notices. Copies that the recorder makes of
 * a process are no children: they are made so that their end gives no signal, as children of fork
 * never are. Whom it may not look at, it counts. */
#include "capture/children.h"

#include <string.h>

#include "capture/procfs.h"
#include "capture/raw.h"

#define TASKS_MAX 4096

struct child {
    int pid;
    int is_read;
    uint64_t private_dirty, anonymous;
};

struct children {
    struct child list[CHILDREN_MAX];
    unsigned n;
    unsigned n_left_out;
    unsigned n_tasks;
    int parent;
};

/* The fields of /proc/PID/stat from the third on, which follow the name: its first character is the
 * state; *out_signal: the signal at its end, of field 38. 0, or -1. */
static int read_stat(int pid, char *out_state, uint64_t *out_signal) {
    char path[64], text[1024];
    procfs_path(path, sizeof path, pid, 0, "stat");
    if (procfs_read(path, text, sizeof text) <= 0)
        return -1;
    const char *p = strrchr(text, ')');
    if (!p || p[1] != ' ')
        return -1;
    p += 2;
    *out_state = *p;
    for (int field = 3; field < 38; field++) {
        p = strchr(p, ' ');
        if (!p)
            return -1;
        p++;
    }
    *out_signal = procfs_decimal(&p);
    return 0;
}

static void add_child(struct children *c, int pid) {
    char state;
    uint64_t signal;
    if (read_stat(pid, &state, &signal) < 0 || signal == 0 || state == 'Z' || state == 'X')
        return;
    if (c->n < CHILDREN_MAX)
        c->list[c->n++] = (struct child){.pid = pid};
    else
        c->n_left_out++;
}

/* Adds those that one thread has started. */
static void add_children_of(void *context, int tid) {
    struct children *const c = context;
    char path[64], text[4096];
    if (c->n_tasks++ >= TASKS_MAX)
        return;
    procfs_path(path, sizeof path, c->parent, tid, "children");
    if (procfs_read(path, text, sizeof text) <= 0)
        return;
    for (const char *p = text; *p;) {
        const char *const start = p;
        const uint64_t pid = procfs_decimal(&p);
        /* A number that the end of the buffer has cut is not one. */
        if (p > start && *p && pid <= INT32_MAX)
            add_child(c, (int)pid);
        if (*p)
            p++;
    }
}

static void read_child(struct child *child) {
    char path[64], text[2048];
    uint64_t private_dirty, anonymous;
    procfs_path(path, sizeof path, child->pid, 0, "smaps_rollup");
    if (procfs_read(path, text, sizeof text) <= 0 ||
        procfs_field(text, "Private_Dirty", &private_dirty) < 0 ||
        procfs_field(text, "Anonymous", &anonymous) < 0)
        return;
    child->private_dirty = private_dirty * 1024;
    child->anonymous = anonymous * 1024;
    child->is_read = 1;
}

static void say_of(const struct child *child, const char *what, uint64_t value,
                   void (*say)(void *context, const char *name, uint64_t value), void *context) {
    char name[64];
    struct text t;
    text_init(&t, name, sizeof name);
    text_add(&t, "child");
    text_add_number(&t, (uint64_t)child->pid);
    text_add(&t, what);
    say(context, name, value);
}

void children_read(int pid, uint64_t budget_ns,
                   void (*say)(void *context, const char *name, uint64_t value), void *context) {
    const uint64_t end_ns = raw_clock_ns(CLOCK_MONOTONIC) + budget_ns;
    struct children c = {.parent = pid};
    uint64_t private_dirty = 0, anonymous = 0;
    unsigned n_read = 0;
    procfs_for_each_thread(pid, add_children_of, &c);
    for (unsigned i = 0; i < c.n; i++) {
        if (raw_clock_ns(CLOCK_MONOTONIC) >= end_ns)
            break;
        c.parent = c.list[i].pid;
        procfs_for_each_thread(c.parent, add_children_of, &c);
        read_child(&c.list[i]);
        private_dirty += c.list[i].private_dirty;
        anonymous += c.list[i].anonymous;
        n_read += (unsigned)c.list[i].is_read;
    }
    if (c.n == 0)
        return;
    say(context, "children", c.n + c.n_left_out);
    if (n_read < c.n + c.n_left_out)
        say(context, "children_unread", c.n + c.n_left_out - n_read);
    if (n_read == 0)
        return;
    say(context, "children_private_dirty_bytes", private_dirty);
    say(context, "children_anonymous_bytes", anonymous);
    for (unsigned i = 0; i < c.n; i++) {
        if (!c.list[i].is_read)
            continue;
        say_of(&c.list[i], "_private_dirty_bytes", c.list[i].private_dirty, say, context);
        say_of(&c.list[i], "_anonymous_bytes", c.list[i].anonymous, say, context);
    }
}
