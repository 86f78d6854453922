/* A recorder that checks itself: every stack that a hook captures is compared with a full walk by
 * libunwind.
 *
 * Linked with --wrap=stacks_capture into a preload library of its own. libunwind is opened
 * privately because linking it would replace the C++ runtime's unwinder in the target. At exit a
 * line with the counts is appended to the file that HEAPSNAP_CHECK_STACKS names; the first
 * differences are shown there, too. */
#define UNW_LOCAL_ONLY
#include <libunwind.h>

#include <dlfcn.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <ucontext.h>
#include <unistd.h>

#include "capture/hook.h"

uint32_t __real_stacks_capture(struct stack_copy *copy, const struct stack_start *start,
                               bool *truncated);
uint32_t __wrap_stacks_capture(struct stack_copy *copy, const struct stack_start *start,
                               bool *truncated);

enum { FRAMES = 600, SHOWN = 20 };

static int (*get_context)(unw_context_t *);
static int (*init_local)(unw_cursor_t *, unw_context_t *);
static int (*step)(unw_cursor_t *);
static int (*get_reg)(unw_cursor_t *, int, unw_word_t *);
static int (*is_signal_frame)(unw_cursor_t *);
static atomic_int ready; /* 1: libunwind is there, -1: it is not */
static atomic_ulong n_stacks, n_frames, n_truncated, n_signals, n_different, n_unchecked, n_none,
    n_early, n_again;
static __thread int checking __attribute__((tls_model("initial-exec")));

/* Looked at once: a hook may run while the environment is being moved. */
static char path[4096];
static __attribute__((constructor)) void read_path(void) {
    const char *const given = getenv("HEAPSNAP_CHECK_STACKS");
    if (given != NULL && strlen(given) < sizeof path)
        memcpy(path, given, strlen(given) + 1);
}

/* Where a coroutine returns to: libc's __start_context, which has no name outside. It is the word
 * at the top of a stack that makecontext has laid out. */
static uintptr_t coroutine_start;
static void nothing(void) {}
static __attribute__((constructor)) void find_coroutine_start(void) {
    static _Alignas(16) char stack[4096];
    ucontext_t context;
    if (getcontext(&context) != 0)
        return;
    context.uc_stack.ss_sp = stack;
    context.uc_stack.ss_size = sizeof stack;
    context.uc_link = NULL;
    makecontext(&context, nothing, 0);
    memcpy(&coroutine_start, (void *)context.uc_mcontext.gregs[REG_RSP], sizeof coroutine_start);
}

static void look_up(void *library, const char *name, void *to) {
    void *const found = dlsym(library, name);
    memcpy(to, &found, sizeof found);
}

static void open_libunwind(void) {
    void *const library = dlopen("libunwind.so.8", RTLD_NOW | RTLD_LOCAL);
    if (library == NULL) {
        ready = -1;
        return;
    }
    look_up(library, "_Ux86_64_getcontext", &get_context);
    look_up(library, "_ULx86_64_init_local", &init_local);
    look_up(library, "_ULx86_64_step", &step);
    look_up(library, "_ULx86_64_get_reg", &get_reg);
    look_up(library, "_ULx86_64_is_signal_frame", &is_signal_frame);
    ready = get_context && init_local && step && get_reg && is_signal_frame ? 1 : -1;
}

static __attribute__((format(printf, 1, 2))) void say(const char *format, ...) {
    char text[4096];
    va_list list;
    va_start(list, format);
    const int n = vsnprintf(text, sizeof text, format, list);
    va_end(list);
    const int fd = path[0] ? open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0666) : -1;
    if (fd < 0 || n <= 0)
        return;
    if (write(fd, text, (size_t)n < sizeof text ? (size_t)n : sizeof text - 1) < 0)
        abort();
    close(fd);
}

static void show(const char *what, const uintptr_t *pcs, unsigned n) {
    char text[3500];
    size_t used = 0;
    for (unsigned i = 0; i < n && i < 40 && used < sizeof text - 200; i++) {
        Dl_info info = {0};
        const int known = dladdr((void *)(pcs[i] - 1), &info);
        const char *const slash = known && info.dli_fname ? strrchr(info.dli_fname, '/') : NULL;
        used += (size_t)snprintf(text + used, sizeof text - used, "  %#lx %.40s+%#lx %.60s\n",
                                 pcs[i], slash ? slash + 1 : "?",
                                 known ? pcs[i] - (uintptr_t)info.dli_fbase : 0,
                                 known && info.dli_sname ? info.dli_sname : "");
    }
    say("%s, %u frames\n%s", what, n, text);
}

static void check(uint32_t id, const struct stack_start *start, bool truncated) {
    uintptr_t wanted[FRAMES], got[FRAMES];
    unsigned n_wanted = 0, n_got = 0;
    bool crossed_signal = false;
    unw_context_t context;
    unw_cursor_t cursor;
    get_context(&context);
    if (init_local(&cursor, &context) != 0)
        return;
    bool inside = false;
    do {
        unw_word_t ip = 0;
        if (get_reg(&cursor, UNW_REG_IP, &ip) != 0)
            break;
        unw_word_t sp = 0;
        get_reg(&cursor, UNW_REG_SP, &sp);
        inside |= ip == start->pc && sp == start->slot + 8;
        if (inside && ip != 0) {
            wanted[n_wanted++] = ip;
            crossed_signal |= is_signal_frame(&cursor) > 0;
        }
    } while (n_wanted < FRAMES && step(&cursor) > 0);
    if (!inside) {
        n_unchecked++;
        return;
    }
    for (uint32_t at = id; at != 0 && n_got < FRAMES;) {
        const struct stack_node node = stacks_node(at);
        got[n_got++] = node.pc;
        at = node.parent;
    }
    n_stacks++;
    n_frames += n_got;
    n_truncated += truncated;
    n_signals += crossed_signal;
    n_none += id == 0;
    /* Nothing marks the end of a coroutine's stack, and libunwind takes the word behind it,
     * whatever it is, for one more frame: what is in no module is none. */
    Dl_info known;
    if (n_got > 0 && got[n_got - 1] == coroutine_start && n_wanted == n_got + 1 &&
        dladdr((void *)(wanted[n_got] - 1), &known) == 0)
        n_wanted--;
    const bool same = (truncated ? n_got <= n_wanted : n_got == n_wanted) &&
                      memcmp(wanted, got, n_got * sizeof *got) == 0;
    if (!same && n_different++ < SHOWN) {
        show("a full walk", wanted, n_wanted);
        show(truncated ? "the copy (cut)" : "the copy", got, n_got);
    } else if (truncated && n_got < STACKS_DEPTH_DEFAULT && n_early++ < SHOWN) {
        show("cut early: a full walk", wanted, n_wanted);
        show("the copy", got, n_got);
    }
}

uint32_t __wrap_stacks_capture(struct stack_copy *copy, const struct stack_start *start,
                               bool *truncated) {
    const uint64_t n_found = copy->trails.n_found;
    const uint32_t id = __real_stacks_capture(copy, start, truncated);
    n_again += copy->trails.n_found > n_found;
    struct hook_thread *const t = hook_self;
    if (checking || t == NULL)
        return id;
    checking = 1;
    t->mute++;
    if (ready == 0 && path[0])
        open_libunwind();
    if (ready == 1)
        check(id, start, *truncated);
    t->mute--;
    checking = 0;
    return id;
}

static __attribute__((destructor)) void report(void) {
    recorder_mute(1);
    if (ready == 1)
        say("pid %d: %lu stacks, %lu frames, %lu cut, %lu of them early, %lu through signals, "
            "%lu none, %lu unchecked, %lu found again, %lu different\n",
            (int)getpid(), n_stacks, n_frames, n_truncated, n_early, n_signals, n_none, n_unchecked,
            n_again, n_different);
    recorder_mute(0);
}
