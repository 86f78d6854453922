/* The recorder's life in a process: start-up from the environment, the triggers of moments
 * (signals, requests, exit), fork and exec.
 *
 * Configured by environment variables that `snap run` sets (listed in its manual page); without
 * them a preloaded process is recorded, answers requests if it has a directory for its control
 * page, and writes a snapshot at exit. Invariant: whatever goes wrong here, the program runs as if
 * nothing had been preloaded; reasons go to the run's log. */
#include "capture/preload.h"

#include <dlfcn.h>
#include <errno.h>
#include <heapsnap/common.h>
#include <heapsnap/snapdef.h>
#include <link.h>
#include <malloc.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <ucontext.h>
#include <unistd.h>

#include "capture/ctl.h"
#include "capture/defer.h"
#include "capture/device_table.h"
#include "capture/hook_cuda.h"
#include "capture/hook_nvtx.h"
#include "capture/moment.h"
#include "capture/next.h"
#include "capture/notes.h"
#include "capture/notes_send.h"
#include "capture/objects.h"
#include "capture/oom.h"
#include "capture/park.h"
#include "capture/procfs.h"
#include "capture/python_alloc.h"
#include "capture/python_frames.h"
#include "capture/raw.h"
#include "capture/rawmem.h"
#include "capture/recorder.h"
#include "capture/resume.h"

#define EXPORT __attribute__((visibility("default")))
#define MOMENT_STACK_SIZE ((size_t)256 << 10)
#define SIGNALS_MAX 65

/* What a process other than the program itself must have been to get a snapshot at its end: shells
 * that only start something, and the small tools that they run, are nobody's leak. */
#define LIFE_MIN_NS 1000000000u
#define OWN_BYTES_MIN ((uint64_t)1 << 20)

enum at_exit { AT_EXIT_NEVER, AT_EXIT_IF_NONE, AT_EXIT_ALWAYS };

static struct {
    int is_ready;
    int follow;
    enum at_exit at_exit;
    int main_pid;           /* the program that `snap run` started; 0: all processes count alike */
    uint64_t life_start_ns; /* of this process, or of its program since exec */
    char on_signal[SIGNALS_MAX]; /* 1: a moment on this signal */
    char directory[CTL_PATH_SIZE];
    char run[64];
    char ctl_path[CTL_PATH_SIZE];
    char *stack;                 /* for moments taken in a signal handler */
    _Atomic uint32_t *fork_mark; /* in a page that a fork wipes: 1 in the process it was set in */
    _Atomic uint32_t exited;
    uint64_t at_end_ns; /* when the last moment was taken, at the end of a managed runtime; or 0 */
    struct ctl_request request; /* that is being answered; and its number */
    uint32_t request_number;
} preload;

/* --- start-up --- */

static void keep_text(char *to, size_t size, const char *name, const char *fallback) {
    const char *const value = getenv(name);
    struct text t;
    text_init(&t, to, size);
    text_add(&t, value ? value : fallback);
}

static int keep_flag(const char *name, int fallback) {
    const char *const value = getenv(name);
    return value && *value ? strcmp(value, "0") != 0 : fallback;
}

static uint64_t keep_number(const char *name, uint64_t fallback) {
    const char *p = getenv(name);
    if (!p || *p < '0' || *p > '9')
        return fallback;
    return procfs_decimal(&p);
}

/* The writer's environment is a short list of what it may need; LD_* and the like are not its. */
static void keep_environment(void) {
    static const char *const names[] = {"PATH=",
                                        "HOME=",
                                        "LANG=",
                                        "LC_ALL=",
                                        "TZ=",
                                        "TMPDIR=",
                                        "ASAN_OPTIONS=",
                                        "UBSAN_OPTIONS=",
                                        "TSAN_OPTIONS=",
                                        "LSAN_OPTIONS=",
                                        "HEAPSNAP_CACHE=",
                                        "HEAPSNAP_DEBUG_DIRS=",
                                        "HEAPSNAP_TYPES_MS=",
                                        "HEAPSNAP_NVML="};
    char *to = moment_process.environment;
    const char *const end = to + sizeof moment_process.environment - 1;
    for (char **e = environ; e && *e; e++)
        for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
            const size_t length = strlen(*e) + 1;
            if (strncmp(*e, names[i], strlen(names[i])) != 0 || length > (size_t)(end - to))
                continue;
            memcpy(to, *e, length);
            to += length;
        }
    *to = '\0';
}

static void keep_rank(void) {
    static const char *const names[] = {"HEAPSNAP_RANK", "RANK",     "OMPI_COMM_WORLD_RANK",
                                        "PMIX_RANK",     "PMI_RANK", "SLURM_PROCID",
                                        "LOCAL_RANK"};
    moment_process.rank = -1;
    for (size_t i = 0; i < sizeof names / sizeof *names && moment_process.rank < 0; i++)
        moment_process.rank = (int64_t)keep_number(names[i], UINT64_MAX);
}

/* Beside the recorder, or where it was to be installed. */
static void keep_writer(void) {
    Dl_info info;
    struct text t;
    keep_text(moment_process.writer, sizeof moment_process.writer, "HEAPSNAP_WRITE", "");
    if (moment_process.writer[0])
        return;
    text_init(&t, moment_process.writer, sizeof moment_process.writer);
    if (dladdr(&preload, &info) && info.dli_fname) {
        const char *const slash = strrchr(info.dli_fname, '/');
        text_add_n(&t, info.dli_fname, slash ? (size_t)(slash + 1 - info.dli_fname) : 0);
    }
    text_add(&t, "heapsnap-write");
    if (access(moment_process.writer, X_OK) == 0)
        return;
    text_init(&t, moment_process.writer, sizeof moment_process.writer);
    text_add(&t, HEAPSNAP_WRITER);
}

/* Whose malloc is behind ours, by the file that holds it. */
static void keep_allocator(void) {
    static const char *const names[] = {"jemalloc", "tcmalloc", "mimalloc", "hoard", "snmalloc"};
    void *const next = next_symbol(RTLD_NEXT, "malloc");
    Dl_info info;
    const char *name = "";
    if (next && dladdr(next, &info) && info.dli_fname) {
        if (strstr(info.dli_fname, "libc.so") || strstr(info.dli_fname, "libc-2"))
            name = "glibc";
        for (size_t i = 0; i < sizeof names / sizeof *names; i++)
            if (strstr(info.dli_fname, names[i]))
                name = names[i];
    }
    struct text t;
    text_init(&t, moment_process.allocator, sizeof moment_process.allocator);
    text_add(&t, name);
}

static void new_lineage(void) {
    unsigned char random[16];
    if (raw_call3(SYS_getrandom, (long)random, sizeof random, 1 /* GRND_NONBLOCK */) !=
        sizeof random) {
        const uint64_t seeds[2] = {raw_clock_ns(CLOCK_REALTIME) * 0x9e3779b97f4a7c15u,
                                   (uint64_t)raw_pid() << 32 ^ (uint64_t)(uintptr_t)random};
        memcpy(random, seeds, sizeof random);
    }
    for (size_t i = 0; i < sizeof random; i++) {
        moment_process.lineage[2 * i] = "0123456789abcdef"[random[i] >> 4];
        moment_process.lineage[2 * i + 1] = "0123456789abcdef"[random[i] & 15];
    }
    moment_process.lineage[32] = '\0';
}

static void log_line(const char *kind, const char *message) {
    char line[CTL_TEXT_MAX + 64];
    struct text t;
    if (!moment_process.log[0])
        return;
    text_init(&t, line, sizeof line - 1);
    text_add(&t, kind);
    text_add(&t, " ");
    text_add_number(&t, (uint64_t)raw_pid());
    text_add(&t, " ");
    text_add(&t, message);
    line[t.length] = '\n';
    const int fd = raw_open(moment_process.log, O_WRONLY | O_APPEND | O_NOFOLLOW, 0);
    if (fd < 0)
        return;
    raw_write(fd, line, t.length + 1);
    raw_close(fd);
}

static void note_unknown(const char *version) {
    char message[CTL_TEXT_MAX];
    struct text t;
    if (!version)
        return;
    text_init(&t, message, sizeof message);
    text_add(&t, "no objects of Python's are in snapshots, only blocks: no reader for CPython ");
    text_add_n(&t, version, strcspn(version, " "));
    if (strstr(version, "free-threading"))
        text_add(&t, " without the global lock");
    text_add(&t, " is installed");
    log_line("note", message);
}

/* --- moments in signal handlers --- */

/* Calls fn(argument) on another stack: the interrupted one may be a small one of a coroutine, or
 * nearly full. */
static void call_on_stack(void (*fn)(void *), void *argument, char *stack_end) {
    __asm__ volatile("movq %%rsp, %%rbx\n\t"
                     "movq %%rsi, %%rsp\n\t"
                     "callq *%%rax\n\t"
                     "movq %%rbx, %%rsp\n\t"
                     : "+a"(fn), "+D"(argument), "+S"(stack_end)
                     :
                     : "rbx", "rcx", "rdx", "r8", "r9", "r10", "r11", "xmm0", "xmm1", "xmm2",
                       "xmm3", "xmm4", "xmm5", "xmm6", "xmm7", "xmm8", "xmm9", "xmm10", "xmm11",
                       "xmm12", "xmm13", "xmm14", "xmm15", "memory", "cc");
}

struct handled {
    int signal;
    const void *context;
};

static void init_request(struct moment_request *r, uint32_t trigger) {
    *r = (struct moment_request){.trigger = trigger,
                                 .overwrite = moment_process.overwrite,
                                 .no_fork = moment_process.no_fork,
                                 .no_edges = moment_process.no_edges,
                                 .unique = 1,
                                 .malloc_in_use_bytes = UINT64_MAX,
                                 .malloc_free_bytes = UINT64_MAX};
}

static void answer_failed(struct ctl_page *ctl, uint32_t number, int code, const char *message) {
    struct text t;
    ctl->response.code = code;
    text_init(&t, ctl->response.message, sizeof ctl->response.message);
    text_add(&t, message);
    atomic_store(&ctl->response.answer, CTL_FAILED);
    atomic_store(&ctl->answered, number);
    raw_futex_wake(&ctl->answered);
}

/* A request is kept here as long as it waits: one at a time. */
static void handle_request(struct ctl_page *ctl, const void *context) {
    static _Atomic uint32_t in_use, seen;
    const uint32_t number = atomic_load(&ctl->asked);
    if (number == atomic_load(&seen) || number == atomic_load(&ctl->answered) ||
        atomic_exchange(&in_use, 1))
        return;
    struct ctl_request *const request = &preload.request;
    atomic_store(&seen, number);
    if (preload.request_number && preload.request_number != number)
        answer_failed(ctl, number, SNAP_E_LIMIT, "another snapshot is being taken");
    else {
        memcpy(request, &ctl->request, sizeof *request);
        request->label[sizeof request->label - 1] = '\0';
        request->path[sizeof request->path - 1] = '\0';
        preload.request_number = number;
        if (defer_moment(DEFER_REQUEST, context) < 0)
            answer_failed(ctl, number, SNAP_E_LIMIT, "another snapshot is being taken");
    }
    atomic_store(&in_use, 0);
}

static int take_request(struct moment_request *r, const void *context) {
    const struct ctl_request *const request = &preload.request;
    struct ctl_page *const ctl = moment_process.ctl;
    const uint32_t number = preload.request_number;
    r->trigger = request->trigger;
    r->ctl_number = number;
    r->only_if_idle = request->trigger == SNAP_TRIGGER_INTERVAL;
    r->has_step = (request->flags & CTL_HAS_STEP) != 0;
    r->step = request->step;
    r->no_fork |= (request->flags & CTL_NO_FORK) != 0;
    r->no_edges |= (request->flags & CTL_NO_EDGES) != 0;
    r->label = request->label[0] ? request->label : NULL;
    r->pss_bytes = request->pss_bytes;
    r->private_dirty_bytes = request->private_dirty_bytes;
    if (request->path[0]) { /* a name that somebody chose is taken as it is */
        r->pattern = request->path;
        r->unique = 0;
        r->overwrite = (request->flags & CTL_OVERWRITE) != 0;
    }
    struct moment_slot *slot;
    char message[CTL_TEXT_MAX];
    const int result = moment_take(r, context, &slot, message, sizeof message);
    if (result == MOMENT_NOT_NOW)
        return result;
    if (result < 0)
        answer_failed(ctl, number, result, message);
    else {
        uint32_t pending = CTL_PENDING;
        ctl->response.child_pid = slot->child;
        atomic_compare_exchange_strong(&ctl->response.answer, &pending, CTL_ACCEPTED);
    }
    preload.request_number = 0;
    return result;
}

static int take_deferred(enum defer_kind kind, const void *context, enum defer_how how) {
    struct moment_request r;
    struct moment_slot *slot;
    char message[CTL_TEXT_MAX];
    init_request(&r, SNAP_TRIGGER_SIGNAL);
    r.only_if_free = how == DEFER_IF_FREE;
    r.is_held = how == DEFER_HELD;
    if (kind == DEFER_REQUEST)
        return take_request(&r, context);
    const int result = moment_take(&r, context, &slot, message, sizeof message);
    if (result < 0)
        log_line("failed", message);
    return result;
}

static void handle(void *argument) {
    struct handled *const h = argument;
    if (preload.on_signal[h->signal]) {
        if (defer_moment(DEFER_SIGNAL, h->context) < 0)
            log_line("failed", "another snapshot is being taken");
        return;
    }
    defer_tick(h->context);
    if (moment_process.ctl)
        handle_request(moment_process.ctl, h->context);
}

static void on_signal(int signal, siginfo_t *info, void *context) {
    static _Atomic uint32_t stack_in_use;
    const int errno_before = errno;
    struct handled h = {.signal = signal, .context = context};
    struct ctl_sleep sleep = {0};
    if (signal == moment_process.signal) {
        if (park_handle(info, context)) {
            sleep = (struct ctl_sleep){.tid = (int32_t)raw_tid(), .number = CTL_RAN};
            resume_sleep(signal, context, &sleep);
            errno = errno_before;
            return;
        }
        /* At once: when the answer is out the next may ask. */
        if (moment_process.ctl)
            sleep = moment_process.ctl->request.sleep;
    }
    /* In a copy or a child of vfork the page is the parent's. */
    if (raw_pid() == moment_process.pid && !atomic_exchange(&stack_in_use, 1)) {
        call_on_stack(handle, &h, preload.stack + MOMENT_STACK_SIZE);
        atomic_store(&stack_in_use, 0);
    } else if (preload.on_signal[signal])
        log_line("failed", "another snapshot is being taken");
    resume_sleep(signal, context, &sleep);
    errno = errno_before;
}

static void install(int signal) {
    struct sigaction action;
    memset(&action, 0, sizeof action);
    action.sa_sigaction = on_signal;
    action.sa_flags = SA_RESTART | SA_SIGINFO | SA_ONSTACK;
    sigfillset(&action.sa_mask);
    sigaction(signal, &action, NULL);
}

/* "10,12" */
static void install_on_signals(void) {
    const char *p = getenv("HEAPSNAP_ON_SIGNAL");
    while (p && *p >= '0' && *p <= '9') {
        const uint64_t signal = procfs_decimal(&p);
        if (signal > 0 && signal < SIGNALS_MAX && (int)signal != moment_process.signal) {
            preload.on_signal[signal] = 1;
            install((int)signal);
        }
        if (*p == ',')
            p++;
    }
}

/* --- fork --- */

static void make_ctl(void) {
    moment_process.ctl = ctl_create(preload.directory, preload.run, moment_process.signal,
                                    preload.ctl_path, sizeof preload.ctl_path);
    if (moment_process.ctl)
        atomic_store(&moment_process.ctl->state, CTL_READY);
}

static void before_fork(void) {
    recorder_before_fork();
}

static void after_fork_parent(void) {
    recorder_after_fork_parent();
}

static void after_fork_child(void) {
    recorder_after_fork_child();
    hook_cuda_after_fork_child();
    hook_nvtx_after_fork_child();
    if (preload.fork_mark)
        atomic_store(preload.fork_mark, 1);
    moment_after_fork();
    oom_after_fork_child();
    defer_after_fork_child();
    preload.at_end_ns = 0;
    preload.request_number = 0;
    memcpy(moment_process.parent_lineage, moment_process.lineage,
           sizeof moment_process.parent_lineage);
    new_lineage();
    moment_process.pid = raw_pid();
    moment_process.sequence = 0;
    preload.life_start_ns = raw_clock_ns(CLOCK_MONOTONIC);
    atomic_store(&preload.exited, 0);
    /* The parent's page stays mapped, and stays the parent's. */
    moment_process.ctl = NULL;
    preload.ctl_path[0] = '\0';
    if (!preload.follow)
        preload.at_exit = AT_EXIT_NEVER;
    else if (moment_init() == 0)
        make_ctl();
}

/* A page that is zero again in a child of fork, but not in one of vfork, which shares our memory.
 * So children that were made without the handlers above are noticed. */
static void make_fork_mark(void) {
    void *const page = raw_map(4096, MAP_PRIVATE | MAP_ANONYMOUS);
    if (!page || madvise(page, 4096, MADV_WIPEONFORK) != 0)
        return;
    preload.fork_mark = page;
    atomic_store(preload.fork_mark, 1);
}

/* 1 if this is the process that preload's state is about. */
static int is_own_process(void) {
    if (raw_pid() == moment_process.pid)
        return 1;
    if (!preload.fork_mark || atomic_load(preload.fork_mark))
        return 0;       /* a child of vfork */
    after_fork_child(); /* a child of clone() or _Fork() */
    return 1;
}

/* --- the end --- */

static void read_private_bytes(struct moment_request *r) {
    char text[2048];
    uint64_t kib;
    if (procfs_read("/proc/self/smaps_rollup", text, sizeof text) <= 0)
        return;
    if (procfs_field(text, "Pss", &kib) == 0)
        r->pss_bytes = kib * 1024;
    if (procfs_field(text, "Private_Dirty", &kib) == 0)
        r->private_dirty_bytes = kib * 1024;
}

/* Whether a snapshot at the end is worth its file. */
static int is_worth_it(void) {
    if (!preload.main_pid || preload.main_pid == moment_process.pid ||
        moment_process.sequence > 0 ||
        raw_clock_ns(CLOCK_MONOTONIC) - preload.life_start_ns >= LIFE_MIN_NS)
        return 1;
    uint64_t own_bytes = UINT64_MAX;
    if (recorder_freeze(LIFE_MIN_NS) >= 0) {
        own_bytes = recorder_own_bytes();
        recorder_thaw();
    }
    if (own_bytes >= OWN_BYTES_MIN)
        return 1;
    log_line("short", "");
    return 0;
}

/* The last moment. */
static void take_last(void) {
    if (preload.at_exit == AT_EXIT_NEVER ||
        (preload.at_exit == AT_EXIT_IF_NONE && moment_process.sequence != 0) || !is_worth_it())
        return;
    struct moment_request r;
    char message[CTL_TEXT_MAX];
    init_request(&r, SNAP_TRIGGER_EXIT);
    struct moment_slot *slot;
    read_private_bytes(&r);
    r.waited = 1;
    r.is_held = 1;
    const int result = moment_take(&r, NULL, &slot, message, sizeof message);
    if (result < 0)
        log_line("failed", message);
    else if (moment_wait(slot, moment_process.exit_timeout_ns, NULL, 0, message, sizeof message) <
                 0 &&
             atomic_load(&slot->state) == MOMENT_RUNNING)
        log_line("failed", message);
}

/* The program has ended, but what it made in a managed runtime is still there. One that goes on for
 * long has another end. */
static void at_end(void) {
    if (!preload.is_ready || !is_own_process())
        return;
    const int errno_before = errno;
    take_last();
    preload.at_end_ns = raw_clock_ns(CLOCK_MONOTONIC);
    errno = errno_before;
}

/* --- allocations that fail --- */

/* Address space only. */
#define RESERVE_BYTES ((size_t)64 << 20)

/* The file is complete when the program hears of its failure, which it may not survive. */
static void take_on_oom(const char *what, uint64_t bytes, uint32_t stack) {
    if (!is_own_process())
        return;
    char label[CTL_TEXT_MAX], message[CTL_TEXT_MAX];
    struct moment_slot *slot;
    struct moment_request r;
    struct text t;
    text_init(&t, label, sizeof label);
    text_add(&t, what);
    if (bytes) {
        text_add(&t, " of ");
        text_add_number(&t, bytes);
        text_add(&t, " bytes");
    }
    text_add(&t, " failed");
    init_request(&r, SNAP_TRIGGER_OUT_OF_MEMORY);
    r.is_held = 1;
    r.label = label;
    r.stack = stack;
    r.waited = 1;
    if (moment_take(&r, NULL, &slot, message, sizeof message) < 0)
        log_line("failed", message);
    else /* what came of it the copy has said in the log */
        moment_wait(slot, moment_process.exit_timeout_ns, NULL, 0, message, sizeof message);
}

static void start_on_oom(void) {
    const uint64_t interval_ms = keep_number("HEAPSNAP_ON_OOM", UINT64_MAX);
    if (interval_ms == UINT64_MAX)
        return;
    const long reserve = raw_call(SYS_mmap, 0, RESERVE_BYTES, PROT_NONE,
                                  MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (!raw_failed(reserve)) {
        moment_process.reserve = (void *)reserve;
        moment_process.reserve_bytes = RESERVE_BYTES;
        rawmem_note(moment_process.reserve, RESERVE_BYTES);
    }
    oom_start(take_on_oom, interval_ms * 1000000);
}

/* Libraries that are preloaded stand before libc. NVTX opens us where the preloading was undone but
 * its own variable was not, which is too late to record anything. */
static bool is_late(void) {
    Dl_info info;
    void *own, *libc, *const in_libc = next_of_libc("dlsym");
    if (in_libc == NULL || dladdr1((const void *)is_late, &info, &own, RTLD_DL_LINKMAP) == 0 ||
        dladdr1(in_libc, &info, &libc, RTLD_DL_LINKMAP) == 0)
        return false;
    for (const struct link_map *l = own; l != NULL; l = l->l_prev)
        if (l == libc)
            return true;
    return false;
}

static void start_nvtx(void) {
    Dl_info info;
    const char *const named = getenv("NVTX_INJECTION64_PATH");
    hook_nvtx_start();
    if (named && *named && dladdr((const void *)start_nvtx, &info) != 0 &&
        strcmp(named, info.dli_fname) != 0)
        log_line("note", "NVTX speaks to another tool: pools that tell only NVTX of their blocks "
                         "are not seen");
}

__attribute__((constructor)) static void start(void) {
    if (preload.is_ready || is_late())
        return;
    recorder_init();
    recorder_mute(1);
    struct moment_process *const p = &moment_process;
    p->pid = raw_pid();
    p->start_ns = preload.life_start_ns = raw_clock_ns(CLOCK_MONOTONIC);
    const uint64_t signal = keep_number("HEAPSNAP_SIGNAL", 0);
    p->signal = signal > 0 && signal < SIGNALS_MAX ? (int)signal : SIGRTMAX - 7;
    p->overwrite = keep_flag("HEAPSNAP_FORCE", 0);
    p->no_fork = keep_flag("HEAPSNAP_NO_FORK", 0);
    p->no_edges = keep_flag("HEAPSNAP_NO_EDGES", 0);
    p->exit_timeout_ns = keep_number("HEAPSNAP_EXIT_TIMEOUT", 30) * 1000000000u;
    keep_text(p->pattern, sizeof p->pattern, "HEAPSNAP_OUTPUT", "heapsnap.%p.%n.snap");
    keep_text(p->log, sizeof p->log, "HEAPSNAP_LOG", "");
    keep_text(preload.directory, sizeof preload.directory, "HEAPSNAP_DIR", "");
    keep_text(preload.run, sizeof preload.run, "HEAPSNAP_RUN", "run");
    preload.follow = keep_flag("HEAPSNAP_FOLLOW", 1);
    preload.at_exit = (enum at_exit)keep_number("HEAPSNAP_AT_EXIT", AT_EXIT_IF_NONE);
    preload.main_pid = (int)keep_number("HEAPSNAP_MAIN", 0);
    keep_environment();
    keep_rank();
    keep_writer();
    keep_allocator();
    notes_find_keys();
    exec_init();
    new_lineage();
    python_frames_start();
    if (keep_flag("HEAPSNAP_PYTHON_ALLOCATIONS", 0))
        python_alloc_start();
    note_unknown(objects_load());
    notes_device_at = device_table_serial_at;
    if (!hook_dlsym_start())
        log_line("note", "CUDA runtimes inside libraries opened with RTLD_DEEPBIND are not seen");
    start_nvtx();
    preload.stack = raw_map(MOMENT_STACK_SIZE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE);
    if (preload.stack)
        rawmem_note(preload.stack, MOMENT_STACK_SIZE);
    if (preload.stack && moment_init() == 0) {
        make_fork_mark();
        start_on_oom();
        defer_init(take_deferred, p->signal);
        objects_start(preload.at_exit == AT_EXIT_NEVER ? NULL : at_end);
        install(p->signal);
        install_on_signals();
        make_ctl(); /* last: whoever sees it may send the signal */
        pthread_atfork(before_fork, after_fork_parent, after_fork_child);
        if (!preload.follow) {
            unsetenv("LD_PRELOAD");
            unsetenv("HEAPSNAP_RUN");
        }
        preload.is_ready = 1;
    } else
        log_line("failed", "no memory to take snapshots");
    recorder_mute(0);
}

/* --- the library's entry --- */

static void read_malloc_numbers(struct moment_request *r) {
    if (strcmp(moment_process.allocator, "glibc") != 0)
        return;
    const struct mallinfo2 info = mallinfo2();
    r->malloc_in_use_bytes = info.uordblks + info.hblkhd;
    r->malloc_mapped_bytes = info.hblkhd;
    r->malloc_free_bytes = info.fordblks;
}

static int take_and_wait(struct moment_request *r, uint64_t timeout_ns,
                         void (*copied)(void *context), void *copied_context, char *message,
                         size_t message_size) {
    struct moment_slot *slot;
    recorder_mute(1);
    read_private_bytes(r);
    if (r->no_fork)
        read_malloc_numbers(r);
    recorder_mute(0);
    hook_cuda_sample(true);
    r->waited = 1;
    const int result = moment_take(r, NULL, &slot, message, (uint32_t)message_size);
    if (copied)
        copied(copied_context);
    return result < 0 ? result
                      : moment_wait(slot, timeout_ns, NULL, 0, message, (uint32_t)message_size);
}

EXPORT int heapsnap_preload_take(const struct preload_take *take, char *message,
                                 size_t message_size) {
    static struct moment_counter counters[MOMENT_COUNTERS_MAX];
    static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
    if (take->struct_size != sizeof *take || !preload.is_ready || !is_own_process()) {
        struct text t;
        text_init(&t, message, message_size);
        text_add(&t, take->struct_size != sizeof *take ? "recorder and library differ in version"
                                                       : "the recorder has not started");
        if (take->struct_size == sizeof *take && take->copied)
            take->copied(take->copied_context);
        return SNAP_E_ARG;
    }
    pthread_mutex_lock(&lock);
    if (take->has_rank)
        moment_process.rank = take->rank;
    struct moment_request r;
    init_request(&r, SNAP_TRIGGER_API);
    r.stack = recorder_current_stack(2);
    r.is_held = 1;
    r.label = take->label;
    r.has_step = take->has_step;
    r.step = take->step;
    r.no_fork |= take->no_fork;
    r.no_edges |= take->no_edges;
    r.pattern = take->path;
    if (take->path) {
        r.overwrite = take->overwrite;
        r.unique = strchr(take->path, '%') != NULL;
    }
    r.counters = counters;
    for (size_t i = 0; i < take->n_counters && i < MOMENT_COUNTERS_MAX; i++) {
        struct text t;
        text_init(&t, counters[i].name, sizeof counters[i].name);
        text_add(&t, take->counters[i].name);
        counters[i].value = take->counters[i].value;
        r.n_counters++;
    }
    const int result =
        take_and_wait(&r, 0, take->copied, take->copied_context, message, message_size);
    pthread_mutex_unlock(&lock);
    return result;
}

/* --- exec and exit --- */

void preload_before_exec(void) {
    if (!preload.is_ready || raw_pid() != moment_process.pid)
        return;
    struct sigaction ignore;
    memset(&ignore, 0, sizeof ignore);
    ignore.sa_handler = SIG_IGN;
    if (moment_process.ctl)
        atomic_store(&moment_process.ctl->state, CTL_LEAVING);
    sigaction(moment_process.signal, &ignore, NULL);
    moment_wait_all(moment_process.exit_timeout_ns);
}

void preload_exec_failed(void) {
    if (!preload.is_ready || raw_pid() != moment_process.pid)
        return;
    install(moment_process.signal);
    if (moment_process.ctl)
        atomic_store(&moment_process.ctl->state, CTL_READY);
}

/* Says so when a signal that should take snapshots has been taken over by the program. */
static void check_signals(void) {
    for (int i = 1; i < SIGNALS_MAX; i++) {
        struct sigaction action;
        if (!preload.on_signal[i] || sigaction(i, NULL, &action) != 0 ||
            action.sa_sigaction == on_signal)
            continue;
        char message[96];
        struct text t;
        text_init(&t, message, sizeof message);
        text_add(&t, "the program handles signal ");
        text_add_number(&t, (uint64_t)i);
        text_add(&t, " itself: it takes no snapshots");
        log_line("note", message);
    }
}

/* The last moment, and the end of the control page. Waits until all files are complete. */
static void leave(void) {
    if (!preload.is_ready || !is_own_process() || atomic_exchange(&preload.exited, 1))
        return;
    const int errno_before = errno;
    struct ctl_page *const ctl = moment_process.ctl;
    if (ctl)
        atomic_store(&ctl->state, CTL_LEAVING);
    check_signals();
    if (!preload.at_end_ns || raw_clock_ns(CLOCK_MONOTONIC) - preload.at_end_ns > LIFE_MIN_NS)
        take_last();
    moment_wait_all(moment_process.exit_timeout_ns);
    ctl_remove(ctl, preload.ctl_path);
    errno = errno_before;
}

__attribute__((destructor)) static void finish(void) {
    leave();
}

EXPORT __attribute__((noreturn)) void _exit(int status) {
    leave();
    for (;;)
        raw_call3(SYS_exit_group, status, 0, 0);
}

EXPORT __attribute__((noreturn)) void _Exit(int status) {
    _exit(status);
}

EXPORT __attribute__((noreturn)) void quick_exit(int status) {
    static void (*next)(int) __attribute__((noreturn));
    if (!next)
        *(void **)&next = next_symbol(RTLD_NEXT, "quick_exit");
    leave();
    if (next)
        next(status);
    _exit(status);
}
