/* snap run: starts a program with the recorder in it, and stands in its place towards whoever
 * started snap: signals are passed on, stops and the exit status are mirrored.
 *
 * What the recorder is to do travels in HEAPSNAP_* variables. Nothing of ours goes to standard
 * output; one line at the end goes to standard error. Does not take snapshots: the program does,
 * and the monitor asks for some. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "monitor.h"
#include "opt.h"
#include "target.h"
#include "verbs.h"

#define RECORDER "libheapsnap-preload.so"
#define WRITER "heapsnap-write"

enum { EXIT_CANNOT_RUN = 126, EXIT_NOT_FOUND = 127 };

static const char *output;
static struct opt_list on_signal, when;
static uint64_t every_ns, exit_timeout_ns = 30000000000u, oom_interval_ns = 60000000000u;
static const char *control_signal;
static int all_processes, at_exit, force, no_edges, no_fork, no_follow, on_oom, python_allocations,
    quiet;

static const struct opt options[] = {
    {OPT_TEXT, 'o', "output", "PATTERN", &output,
     "names of the files; %p is the process, %n the number\n"
     "of the snapshot in it, %r the rank, %% a percent sign\n"
     "(default: heapsnap.%p.%n.snap)"},
    {OPT_FLAG, 'f', "force", NULL, &force, "replace existing files"},
    {OPT_FLAG, 'q', "quiet", NULL, &quiet, "do not say at the end what was written"},
    {OPT_HEADING, 0, NULL, NULL, NULL,
     "Moments (may be combined; with none of them: --at-exit, unless one\n"
     "was taken by 'snap take' or by the program itself)"},
    {OPT_TIME, 0, "every", "TIME", &every_ns, "one every TIME: 10, 0.5, 2m, 1h"},
    {OPT_LIST, 0, "on-signal", "SIGNAL", &on_signal, "one on a signal, such as USR1"},
    {OPT_LIST, 0, "when", "CONDITION", &when,
     "'rss>4G': one when the resident size passes 4 GiB;\n"
     "'growth>512M': one for every growth by 512 MiB"},
    {OPT_FLAG, 0, "at-exit", NULL, &at_exit, "one when a process exits"},
    {OPT_FLAG, 0, "on-oom", NULL, &on_oom,
     "one when an allocation fails, before the program hears\nof it"},
    {OPT_TIME, 0, "oom-interval", "TIME", &oom_interval_ns,
     "after one of these, none for TIME (default: 60 s)"},
    {OPT_HEADING, 0, NULL, NULL, NULL, "How"},
    {OPT_FLAG, 0, "all-processes", NULL, &all_processes,
     "take one at the end of short-lived processes, too, that\nthe program started: shells and "
     "the like"},
    {OPT_FLAG, 0, "no-follow", NULL, &no_follow, "leave out processes that the program starts"},
    {OPT_FLAG, 0, "no-fork", NULL, &no_fork,
     "stop the program while it is read, instead of reading\na copy"},
    {OPT_FLAG, 0, "python-allocations", NULL, &python_allocations,
     "record every block of Python's own allocators, too, each\nwith its stack"},
    {OPT_FLAG, 0, "no-edges", NULL, &no_edges, "record blocks only, not what refers to them"},
    {OPT_TEXT, 0, "control-signal", "SIGNAL", &control_signal,
     "signal by which the recorder stops threads\n(default: RTMAX-7)"},
    {OPT_TIME, 0, "exit-timeout", "TIME", &exit_timeout_ns,
     "at exit, give up on a file that makes no progress\n(default: 30 s)"},
    {OPT_END},
};

static const struct opt_command command = {
    .name = "run",
    .arguments = "[--] COMMAND [ARGUMENT]...",
    .summary = "run a program and take snapshots of it",
    .options = options,
    .stop_at_argument = 1,
    .details =
        "Processes that the program starts are followed; those that lived for less than a second "
        "and\n"
        "hold less than 1 MB of their own get no snapshot at their end. An existing file is left "
        "alone:\n"
        "where a name is taken, .PID.NUMBER is put before its suffix.\n"
        "\n"
        "Exit status: that of the program (if a signal ended it, the same signal); 2 trouble, for "
        "one\n"
        "a program that cannot be tracked; 126 and 127 a program that cannot be run or found.\n",
};

static int trouble(const char *format, const char *subject) {
    return opt_error(&command, format, subject, strerror(errno));
}

/* --- signals by name --- */

/* "USR1", "SIGUSR1", "10", "RTMIN+3", "RTMAX-7"; 0 if it is none. */
static int parse_signal(const char *text) {
    uint64_t number;
    if (opt_number(text, &number) == 0)
        return number > 0 && number <= (uint64_t)SIGRTMAX ? (int)number : 0;
    if (strncasecmp(text, "SIG", 3) == 0)
        text += 3;
    if (strncasecmp(text, "RTMIN+", 6) == 0 && opt_number(text + 6, &number) == 0)
        return number <= (uint64_t)(SIGRTMAX - SIGRTMIN) ? SIGRTMIN + (int)number : 0;
    if (strncasecmp(text, "RTMAX-", 6) == 0 && opt_number(text + 6, &number) == 0)
        return number <= (uint64_t)(SIGRTMAX - SIGRTMIN) ? SIGRTMAX - (int)number : 0;
    for (int i = 1; i < SIGRTMIN; i++) {
        const char *const name = sigabbrev_np(i);
        if (name && strcasecmp(name, text) == 0)
            return i;
    }
    return 0;
}

/* --- the private directory --- */

struct run {
    char directory[PATH_MAX - 128]; /* of control pages */
    char name[48];
    char log[PATH_MAX];
    char cache[PATH_MAX]; /* names of functions found so far; "": none */
    char recorder[PATH_MAX], writer[PATH_MAX];
    char original_directory[PATH_MAX];
};

static int is_private_directory(const char *path) {
    struct stat st;
    return lstat(path, &st) == 0 && S_ISDIR(st.st_mode) && st.st_uid == geteuid() &&
           !(st.st_mode & 077);
}

static int make_directory(struct run *r) {
    const char *const bases[] = {getenv("XDG_RUNTIME_DIR"), getenv("TMPDIR"), "/tmp"};
    for (size_t i = 0; i < sizeof bases / sizeof *bases; i++) {
        if (!bases[i] || bases[i][0] != '/' || strlen(bases[i]) > sizeof r->directory - 64)
            continue;
        snprintf(r->directory, sizeof r->directory, "%s/heapsnap-%u", bases[i],
                 (unsigned)geteuid());
        if ((mkdir(r->directory, 0700) == 0 || errno == EEXIST) &&
            is_private_directory(r->directory))
            return 0;
    }
    return opt_error(&command, "cannot use '%s' as a private directory: it must be yours alone",
                     r->directory);
}

static int make_log(struct run *r) {
    unsigned random = 0;
    if (getrandom(&random, sizeof random, 0) != sizeof random)
        return trouble("cannot get random numbers%s: %s", "");
    snprintf(r->name, sizeof r->name, "%ld-%08x", (long)getpid(), random);
    snprintf(r->log, sizeof r->log, "%s/%s.log", r->directory, r->name);
    const int fd = open(r->log, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (fd < 0)
        return trouble("cannot create '%s': %s", r->log);
    close(fd);
    return 0;
}

/* A directory of the writer's own. Without it every snapshot finds all names anew. One that the
 * user has set is left as it is, and stays. */
static void make_cache(struct run *r) {
    const char *const given = getenv("HEAPSNAP_CACHE");
    if (given && *given)
        return;
    snprintf(r->cache, sizeof r->cache, "%s/%s.cache", r->directory, r->name);
    if (mkdir(r->cache, 0700) != 0)
        r->cache[0] = '\0';
}

static void remove_cache(const struct run *r) {
    DIR *const files = r->cache[0] ? opendir(r->cache) : NULL;
    for (const struct dirent *e; files && (e = readdir(files));)
        if (e->d_name[0] != '.')
            unlinkat(dirfd(files), e->d_name, 0);
    if (files)
        closedir(files);
    if (r->cache[0])
        rmdir(r->cache);
}

/* --- the recorder --- */

/* "BASE/FOLDER/NAME", as the system knows it. 1 if it is there. */
static int try_file(char out[PATH_MAX], const char *base, const char *folder, const char *name) {
    char path[PATH_MAX];
    if (snprintf(path, sizeof path, "%s/%s/%s", base, folder, name) >= PATH_MAX)
        return 0;
    return realpath(path, out) != NULL;
}

static int try_folders(struct run *r, const char *base, const char *lib, const char *libexec) {
    return try_file(r->recorder, base, lib, RECORDER) && try_file(r->writer, base, libexec, WRITER);
}

/* Beside the command where it was built or installed to, wherever that has been moved; then where
 * it was to be installed. */
static int find_recorder(struct run *r) {
    char self[PATH_MAX];
    const ssize_t n = readlink("/proc/self/exe", self, sizeof self - 1);
    self[n > 0 ? n : 0] = '\0';
    char *const slash = strrchr(self, '/');
    if (slash)
        *slash = '\0';
    const char *const override = getenv("HEAPSNAP_LIBDIR");
    if ((override && try_folders(r, override, ".", ".")) ||
        try_folders(r, self, "../lib", "../lib") || try_folders(r, self, ".", ".") ||
        try_folders(r, self, SNAP_LIBDIR_RELATIVE, SNAP_LIBEXECDIR_RELATIVE) ||
        try_folders(r, "", SNAP_LIBDIR, SNAP_LIBEXECDIR))
        return 0;
    return opt_error(&command, "cannot find %s and %s; is heapsnap installed whole?", RECORDER,
                     WRITER);
}

/* LD_PRELOAD is a list with blanks and colons between: a path that has one gets another name. */
static int avoid_separators(struct run *r) {
    if (!strpbrk(r->recorder, " :\t\n"))
        return 0;
    char link[PATH_MAX];
    uint64_t hash = 14695981039346656037u;
    for (const char *p = r->recorder; *p; p++)
        hash = (hash ^ (unsigned char)*p) * 1099511628211u;
    snprintf(link, sizeof link, "%s/recorder-%016llx.so", r->directory, (unsigned long long)hash);
    if (strpbrk(link, " :\t\n"))
        return opt_error(&command,
                         "cannot preload '%s': its path has a blank or colon, and so has "
                         "that of the temporary directory",
                         r->recorder);
    unlink(link);
    if (symlink(r->recorder, link) != 0)
        return trouble("cannot create '%s': %s", link);
    memcpy(r->recorder, link, strlen(link) + 1);
    return 0;
}

/* --- where the files go --- */

static int check_pattern(const char *pattern) {
    for (const char *p = pattern; *p; p++)
        if (*p == '%' && (!*++p || !strchr("pnr%", *p)))
            return opt_usage_error(&command, "'%s': after %% comes one of p, n, r, %%", pattern);
    if (!*pattern || pattern[strlen(pattern) - 1] == '/')
        return opt_usage_error(&command, "'%s' names no file", pattern);
    return 0;
}

/* Relative names mean our directory, not one that the program changes to. NULL: no memory. */
static char *absolute_pattern(const char *pattern, const char *directory) {
    if (*pattern == '/')
        return strdup(pattern);
    char *const out = malloc(2 * strlen(directory) + strlen(pattern) + 2);
    if (!out)
        return NULL;
    char *to = out;
    for (const char *p = directory; *p; p++) {
        *to++ = *p;
        if (*p == '%')
            *to++ = '%';
    }
    *to++ = '/';
    memcpy(to, pattern, strlen(pattern) + 1);
    return out;
}

/* Whether a file can be made in a directory: only trying tells. */
static int try_directory(const char *directory) {
    char *name;
    if (asprintf(&name, "%s/.heapsnap-XXXXXX", directory) < 0)
        return opt_error(&command, "no memory");
    const int fd = mkostemp(name, O_CLOEXEC);
    const int error = errno;
    if (fd >= 0) {
        unlink(name);
        close(fd);
    }
    free(name);
    errno = error;
    return fd < 0 ? trouble("cannot write to directory '%s': %s", directory) : 0;
}

/* Tells of a directory that cannot be written to before the program has run for a day. One whose
 * name depends on the process is left to be found out, and so is a device. */
static int check_output(const char *pattern) {
    char *const directory = strdup(pattern);
    if (!directory)
        return opt_error(&command, "no memory");
    char *const slash = strrchr(directory, '/');
    slash[slash == directory] = '\0';
    int status = 0, is_fixed = 1;
    char *to = directory;
    for (const char *p = directory; *p; p++) {
        is_fixed &= *p != '%' || p[1] == '%';
        p += *p == '%' && p[1] == '%';
        *to++ = *p;
    }
    *to = '\0';
    struct stat st;
    if (is_fixed && (stat(pattern, &st) != 0 || S_ISREG(st.st_mode)))
        status = try_directory(directory);
    free(directory);
    return status;
}

/* --- the environment of the program --- */

static int set(const char *name, const char *value) {
    return setenv(name, value, 1) == 0 ? 0 : opt_error(&command, "no memory");
}

static int set_number(const char *name, uint64_t value) {
    char text[24];
    snprintf(text, sizeof text, "%llu", (unsigned long long)value);
    return set(name, text);
}

static int set_signals(int control) {
    char list[PATH_MAX] = "";
    for (size_t i = 0; i < on_signal.n; i++) {
        const int number = parse_signal(on_signal.items[i]);
        if (!number || number == SIGKILL || number == SIGSTOP)
            return opt_usage_error(&command, "'%s' is no signal that a program can handle",
                                   on_signal.items[i]);
        if (number == control)
            return opt_usage_error(&command,
                                   "'%s' is the control signal; --control-signal changes it",
                                   on_signal.items[i]);
        snprintf(list + strlen(list), sizeof list - strlen(list), "%s%d", i ? "," : "", number);
    }
    return set("HEAPSNAP_ON_SIGNAL", list);
}

static int set_preload(const struct run *r) {
    const char *const others = getenv("LD_PRELOAD");
    char *value;
    if (asprintf(&value, "%s%s%s", r->recorder, others && *others ? ":" : "",
                 others ? others : "") < 0)
        return opt_error(&command, "no memory");
    const int status = set("LD_PRELOAD", value);
    free(value);
    return status;
}

/* NVTX asks one tool only; one that was named before us keeps it. */
static int set_nvtx(const struct run *r) {
    const char *const other = getenv("NVTX_INJECTION64_PATH");
    return other && *other ? 0 : set("NVTX_INJECTION64_PATH", r->recorder);
}

static int set_environment(const struct run *r, const char *pattern) {
    int control = SIGRTMAX - 7;
    if (control_signal && (!(control = parse_signal(control_signal)) || control == SIGKILL ||
                           control == SIGSTOP || control == SIGSEGV || control == SIGCHLD))
        return opt_usage_error(&command, "'%s' is no signal for this use", control_signal);
    const int has_moment = every_ns || on_signal.n || when.n || on_oom;
    int status = set_signals(control);
    status = status ? status : set_nvtx(r);
    status = status ? status : set("HEAPSNAP_OUTPUT", pattern);
    status = status ? status : set("HEAPSNAP_DIR", r->directory);
    status = status ? status : set("HEAPSNAP_RUN", r->name);
    status = status ? status : set("HEAPSNAP_LOG", r->log);
    if (r->cache[0])
        status = status ? status : set("HEAPSNAP_CACHE", r->cache);
    status = status ? status : set("HEAPSNAP_WRITE", r->writer);
    status = status ? status : set_number("HEAPSNAP_SIGNAL", (uint64_t)control);
    status = status ? status : set_number("HEAPSNAP_AT_EXIT", at_exit ? 2 : has_moment ? 0 : 1);
    status = status ? status : set_number("HEAPSNAP_FORCE", (uint64_t)force);
    if (on_oom)
        status = status ? status : set_number("HEAPSNAP_ON_OOM", oom_interval_ns / 1000000);
    status = status ? status : set_number("HEAPSNAP_NO_FORK", (uint64_t)no_fork);
    status = status ? status : set_number("HEAPSNAP_NO_EDGES", (uint64_t)no_edges);
    if (python_allocations)
        status = status ? status : set_number("HEAPSNAP_PYTHON_ALLOCATIONS", 1);
    status = status ? status : set_number("HEAPSNAP_FOLLOW", !no_follow);
    status =
        status ? status
               : set_number("HEAPSNAP_EXIT_TIMEOUT", (exit_timeout_ns + 999999999u) / 1000000000u);
    return status ? status : set_preload(r);
}

static int parse_conditions(struct monitor *m) {
    for (size_t i = 0; i < when.n; i++) {
        if (i == MONITOR_CONDITIONS_MAX)
            return opt_usage_error(&command, "more than %d conditions", MONITOR_CONDITIONS_MAX);
        if (monitor_condition_parse(when.items[i], &m->conditions[i]) < 0)
            return opt_usage_error(&command,
                                   "'%s' is no condition; there are 'rss>SIZE' and 'growth>SIZE'",
                                   when.items[i]);
    }
    m->n_conditions = when.n;
    return 0;
}

/* --- the program --- */

static pid_t start_program(const char *path, char **argv, const sigset_t *mask) {
    int report[2];
    if (pipe2(report, O_CLOEXEC) != 0)
        return -1;
    const pid_t child = fork();
    if (child == 0) {
        sigprocmask(SIG_SETMASK, mask, NULL);
        char pid[24];
        snprintf(pid, sizeof pid, "%ld", (long)getpid());
        if (!all_processes && setenv("HEAPSNAP_MAIN", pid, 1) != 0)
            _exit(EXIT_CANNOT_RUN);
        execvp(path, argv);
        const int error = errno;
        const ssize_t ignored = write(report[1], &error, sizeof error);
        (void)ignored;
        _exit(EXIT_CANNOT_RUN);
    }
    close(report[1]);
    int error = 0;
    if (child > 0 && read(report[0], &error, sizeof error) == sizeof error) {
        waitpid(child, NULL, 0);
        errno = error;
        close(report[0]);
        return -1;
    }
    close(report[0]);
    return child;
}

/* What we pass on: everything but what can only be about ourselves. */
static void forwarded_signals(sigset_t *set) {
    static const int ours[] = {SIGKILL, SIGSTOP, SIGSEGV, SIGBUS, SIGFPE,
                               SIGILL,  SIGTRAP, SIGSYS,  SIGABRT};
    sigfillset(set);
    for (size_t i = 0; i < sizeof ours / sizeof *ours; i++)
        sigdelset(set, ours[i]);
}

/* Waits for the program's end; returns its wait status. A signal that the terminal sent went to the
 * program as well (it is in the same process group): only those from other processes are passed
 * on. When job control stops the program, we stop, so that the shell sees it; continued, it is
 * continued. A program that somebody stops with SIGSTOP is theirs to continue. */
static int attend(pid_t child, const sigset_t *signals) {
    for (;;) {
        siginfo_t info;
        const int signal = sigwaitinfo(signals, &info);
        if (signal == SIGCHLD) {
            int status;
            while (waitpid(child, &status, WNOHANG | WUNTRACED) == child) {
                if (!WIFSTOPPED(status))
                    return status;
                if (WSTOPSIG(status) == SIGSTOP)
                    continue;
                kill(getpid(), SIGSTOP);
                kill(child, SIGCONT);
            }
        } else if (signal > 0 && info.si_code <= 0 && info.si_pid != child && signal != SIGCONT)
            kill(child, signal);
        else if (signal == SIGCONT)
            kill(child, SIGCONT);
    }
}

/* --- what came of it --- */

/* Different notes that the line has room for: every process of a run may have some. */
#define NOTES_SHOWN 4

struct outcome {
    unsigned n_written, n_skipped, n_failed, n_short;
    char last_written[PATH_MAX];
    char last_skip[512], last_failure[512];
    unsigned n_notes, n_notes_more; /* that are shown, all different; further ones */
    char notes[NOTES_SHOWN][512];
};

static void keep(char *to, size_t size, const char *text) {
    snprintf(to, size, "%.*s", (int)size - 1, text);
}

static void keep_note(struct outcome *o, const char *text) {
    char note[sizeof o->notes[0]];
    keep(note, sizeof note, text);
    for (unsigned i = 0; i < o->n_notes; i++)
        if (strcmp(o->notes[i], note) == 0)
            return;
    if (o->n_notes < NOTES_SHOWN)
        keep(o->notes[o->n_notes++], sizeof note, note);
    else
        o->n_notes_more++;
}

static void read_log(const struct run *r, struct outcome *o) {
    FILE *const f = fopen(r->log, "re");
    char *line = NULL;
    size_t size = 0;
    for (ssize_t n; f && (n = getline(&line, &size, f)) > 0;) {
        char kind[16];
        int at = 0;
        if (line[n - 1] == '\n')
            line[n - 1] = '\0';
        if (sscanf(line, "%15s %*d %n", kind, &at) != 1 || at == 0)
            continue;
        if (strcmp(kind, "ok") == 0) {
            o->n_written++;
            keep(o->last_written, sizeof o->last_written, line + at);
        } else if (strcmp(kind, "failed") == 0) {
            o->n_failed++;
            keep(o->last_failure, sizeof o->last_failure, line + at);
        } else if (strcmp(kind, "skipped") == 0) {
            o->n_skipped++;
            keep(o->last_skip, sizeof o->last_skip, line + at);
        } else if (strcmp(kind, "short") == 0)
            o->n_short++;
        else if (strcmp(kind, "note") == 0)
            keep_note(o, line + at);
    }
    free(line);
    if (f)
        fclose(f);
}

/* A path below our directory is shown without it. */
static const char *shown(const char *path, const char *directory) {
    const size_t length = strlen(directory);
    return strncmp(path, directory, length) == 0 && path[length] == '/' ? path + length + 1 : path;
}

/* The one line, on standard error. Control characters in names do not reach the terminal. */
static void tell(const struct run *r, int status) {
    struct outcome o = {0};
    read_log(r, &o);
    char *text = NULL;
    size_t size = 0;
    FILE *const out = open_memstream(&text, &size);
    if (!out)
        return;
    if (o.n_written == 1)
        fprintf(out, "wrote %s", shown(o.last_written, r->original_directory));
    else if (o.n_written > 1)
        fprintf(out, "wrote %u snapshots, the last is %s", o.n_written,
                shown(o.last_written, r->original_directory));
    else
        fputs("no snapshot was written", out);
    if (WIFSIGNALED(status))
        fprintf(out, "; signal %d (%s) ended the program, so none was taken at its end",
                WTERMSIG(status), strsignal(WTERMSIG(status)));
    if (o.n_failed)
        fprintf(out, "; %u failed: %s", o.n_failed, o.last_failure);
    if (o.n_skipped)
        fprintf(out, "; %u left out: %s", o.n_skipped, o.last_skip);
    if (o.n_short)
        fprintf(out, "; %u short-lived process%s left out (--all-processes)", o.n_short,
                o.n_short == 1 ? "" : "es");
    for (unsigned i = 0; i < o.n_notes; i++)
        fprintf(out, "; %s", o.notes[i]);
    if (o.n_notes_more)
        fprintf(out, "; and %u more notes", o.n_notes_more);
    fclose(out);
    for (char *p = text; p && *p; p++)
        if ((unsigned char)*p < 32 || *p == 127)
            *p = '?';
    if (text)
        opt_error(&command, "%s", text);
    free(text);
}

/* Pages of processes that were killed stay behind. */
static void clean(const struct run *r) {
    DIR *const pages = opendir(r->directory);
    const size_t length = strlen(r->name);
    for (const struct dirent *e; pages && (e = readdir(pages));) {
        if (strncmp(e->d_name, r->name, length) != 0 || e->d_name[length] != '.')
            continue;
        const long pid = strtol(e->d_name + length + 1, NULL, 10);
        if (pid > 0 && kill((pid_t)pid, 0) != 0 && errno == ESRCH)
            unlinkat(dirfd(pages), e->d_name, 0);
    }
    if (pages)
        closedir(pages);
    unlink(r->log);
    remove_cache(r);
}

/* Ends as the program did. */
static int mirror(int status) {
    if (WIFEXITED(status))
        return WEXITSTATUS(status);
    const struct rlimit no_core = {0, 0};
    const int number = WTERMSIG(status);
    sigset_t set;
    setrlimit(RLIMIT_CORE, &no_core);
    signal(number, SIG_DFL);
    sigemptyset(&set);
    sigaddset(&set, number);
    raise(number);
    sigprocmask(SIG_UNBLOCK, &set, NULL);
    return 128 + number;
}

/* Whoever reads the program's output sees its end when the program closes it. */
static void leave_standard_streams(void) {
    const int null_fd = open("/dev/null", O_RDWR | O_CLOEXEC);
    if (null_fd < 0)
        return;
    dup2(null_fd, STDIN_FILENO);
    dup2(null_fd, STDOUT_FILENO);
    if (null_fd > STDERR_FILENO)
        close(null_fd);
}

static int run(struct run *r, const char *path, char **argv) {
    struct monitor monitor = {
        .directory = r->directory, .run = r->name, .log = r->log, .every_ns = every_ns};
    int monitor_fd = -1;
    int status = parse_conditions(&monitor);
    if (status)
        return status;
    if ((monitor.every_ns || monitor.n_conditions) && monitor_start(&monitor, &monitor_fd) < 0)
        return trouble("cannot start the monitor%s: %s", "");

    sigset_t signals, before;
    forwarded_signals(&signals);
    sigprocmask(SIG_BLOCK, &signals, &before);
    signal(SIGCHLD, SIG_DFL);
    const pid_t child = start_program(path, argv, &before);
    if (child < 0) {
        const int error = errno;
        opt_error(&command, "cannot run '%s': %s", path, strerror(error));
        return error == ENOENT ? EXIT_NOT_FOUND : EXIT_CANNOT_RUN;
    }
    leave_standard_streams();
    const int wait_status = attend(child, &signals);
    if (!quiet)
        tell(r, wait_status);
    clean(r);
    return mirror(wait_status);
}

int snap_run_main(int argc, char **argv) {
    static struct run r;
    int first, status;
    if (!opt_parse(&command, argc, argv, &first, &status))
        return status;
    if (first == argc)
        return opt_usage_error(&command, "no program given");

    char message[512], *path;
    const enum target_verdict verdict = target_check(argv[first], &path, message, sizeof message);
    if (verdict != TARGET_FINE) {
        opt_error(&command, "%s", message);
        return verdict == TARGET_MISSING     ? EXIT_NOT_FOUND
               : verdict == TARGET_FORBIDDEN ? EXIT_CANNOT_RUN
                                             : EXIT_TROUBLE;
    }
    if (!getcwd(r.original_directory, sizeof r.original_directory))
        return trouble("cannot tell the current directory%s: %s", "");
    const char *const given = output ? output : "heapsnap.%p.%n.snap";
    status = check_pattern(given);
    char *const pattern = absolute_pattern(given, r.original_directory);
    if (!status && !pattern)
        status = opt_error(&command, "no memory");
    status = status ? status : check_output(pattern);
    status = status ? status : find_recorder(&r);
    status = status ? status : make_directory(&r);
    status = status ? status : avoid_separators(&r);
    status = status ? status : make_log(&r);
    if (!status)
        make_cache(&r);
    status = status ? status : set_environment(&r, pattern);
    if (!status)
        status = run(&r, path, argv + first);
    else if (r.log[0]) {
        unlink(r.log);
        remove_cache(&r);
    }
    free(pattern);
    free(path);
    return status;
}
