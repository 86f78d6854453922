/* Runs work on debug information in a forked child and reads its answer through a pipe: frames of
 * dwarf_lookup, or bytes.
 *
 * Debug information is a large attack and accident surface: the libdwarf of the oldest supported
 * system crashes, spins or allocates without bound on damaged files. A child costs a fork per
 * module that has DWARF (a millisecond, more if this process is large), gives exact limits, and its
 * memory goes with it. Not for multi-threaded callers that hold locks of malloc: like fork. */
#include "symbol/isolate.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <heapsnap/common.h>

#define GRACE_NS UINT64_C(300000000)
#define MEMORY_MAX_BYTES (UINT64_C(4) << 30)
#define OUTPUT_MAX_BYTES (UINT64_C(1) << 30)
#define RECORD_MAX_BYTES                                                                           \
    (sizeof(struct record_head) +                                                                  \
     DWARF_FRAMES_MAX * (sizeof(struct record_frame) + 2 * DWARF_TEXT_MAX_BYTES))

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define LIMIT_MEMORY 0 /* shadow memory is terabytes of address space */
#else
#define LIMIT_MEMORY 1
#endif

#define END_INDEX UINT64_MAX

/* A record of the pipe: a head, then n_frames times a frame and its two texts without NUL. The last
 * one is a head with END_INDEX. */
struct record_head {
    uint64_t index;
    uint32_t n_frames;
    uint32_t n_bytes; /* of all that follows */
};

struct record_frame {
    uint32_t line;
    uint32_t is_linkage;
    uint32_t n_function;
    uint32_t n_file;
};

static uint64_t now_ns(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

struct sender {
    int fd;
    size_t used;
    uint8_t buffer[1 << 16];
};

static void flush(struct sender *sender) {
    size_t at = 0;
    while (at < sender->used) {
        const ssize_t n = write(sender->fd, sender->buffer + at, sender->used - at);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            _exit(1);
        at += (size_t)n;
    }
    sender->used = 0;
}

static void put(struct sender *sender, const void *data, size_t size) {
    const uint8_t *at = data;
    while (size > 0) {
        if (sender->used == sizeof sender->buffer)
            flush(sender);
        const size_t room = sizeof sender->buffer - sender->used;
        const size_t part = size < room ? size : room;
        memcpy(sender->buffer + sender->used, at, part);
        sender->used += part;
        at += part;
        size -= part;
    }
}

static uint32_t text_length(const char *text) {
    return (uint32_t)strnlen(text, DWARF_TEXT_MAX_BYTES - 1);
}

static void send_frames(void *context, size_t index, const struct dwarf_frame *frames, size_t n) {
    struct sender *const sender = context;
    if (n > DWARF_FRAMES_MAX)
        n = DWARF_FRAMES_MAX;
    struct record_head head = {.index = index, .n_frames = (uint32_t)n};
    for (size_t i = 0; i < n; i++)
        head.n_bytes += (uint32_t)sizeof(struct record_frame) + text_length(frames[i].function) +
                        text_length(frames[i].file);
    put(sender, &head, sizeof head);
    for (size_t i = 0; i < n; i++) {
        const struct record_frame frame = {.line = frames[i].line,
                                           .is_linkage = frames[i].is_linkage != 0,
                                           .n_function = text_length(frames[i].function),
                                           .n_file = text_length(frames[i].file)};
        put(sender, &frame, sizeof frame);
        put(sender, frames[i].function, frame.n_function);
        put(sender, frames[i].file, frame.n_file);
    }
}

static void set_limit(int resource, uint64_t value) {
    struct rlimit limit;
    if (getrlimit(resource, &limit) != 0)
        return;
    limit.rlim_cur =
        limit.rlim_max == RLIM_INFINITY || value < limit.rlim_max ? value : limit.rlim_max;
    setrlimit(resource, &limit);
}

static uint64_t address_space_bytes(void) {
    char text[64] = "";
    const int fd = open("/proc/self/statm", O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return 0;
    const ssize_t n = read(fd, text, sizeof text - 1);
    close(fd);
    return n > 0 ? strtoull(text, NULL, 10) * (uint64_t)sysconf(_SC_PAGESIZE) : 0;
}

static void enter_child(uint64_t deadline_ns, uint64_t memory_bytes) {
    /* A crash here is expected and handled: no core, and not through the host's handlers. */
    static const int fatal[] = {SIGSEGV, SIGBUS,  SIGFPE,  SIGILL,
                                SIGABRT, SIGXCPU, SIGPIPE, SIGTERM};
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    prctl(PR_SET_DUMPABLE, 0);
    for (size_t i = 0; i < sizeof fatal / sizeof *fatal; i++)
        signal(fatal[i], SIG_DFL);
    sigset_t none;
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    const uint64_t now = now_ns();
    const uint64_t left_ns = deadline_ns > now ? deadline_ns - now : 0;
    set_limit(RLIMIT_CORE, 0);
    set_limit(RLIMIT_CPU, left_ns / 1000000000u + 2);
    if (LIMIT_MEMORY)
        set_limit(RLIMIT_AS, address_space_bytes() + memory_bytes);
}

static _Noreturn void run_child(const struct dwarf_request *request, int fd) {
    enter_child(request->deadline_ns, request->elf->size + MEMORY_MAX_BYTES);
    struct sender *const sender = malloc(sizeof *sender);
    if (!sender)
        _exit(1);
    sender->fd = fd;
    sender->used = 0;
    dwarf_lookup(request, send_frames, sender);
    const struct record_head end = {.index = END_INDEX};
    put(sender, &end, sizeof end);
    flush(sender);
    _exit(0);
}

struct receiver {
    const struct dwarf_request *request;
    dwarf_emit *emit;
    void *context;
    uint8_t *seen; /* one byte per address */
    uint8_t *buffer;
    size_t used;
    int is_complete;
    char texts[DWARF_FRAMES_MAX][2][DWARF_TEXT_MAX_BYTES];
};

/* Emits one record. 0 if it is not well formed. */
static int receive_record(struct receiver *receiver, const struct record_head *head,
                          const uint8_t *at) {
    const uint8_t *const end = at + head->n_bytes;
    struct dwarf_frame frames[DWARF_FRAMES_MAX];
    if (head->index >= receiver->request->n || receiver->seen[head->index])
        return 0;
    for (size_t i = 0; i < head->n_frames; i++) {
        struct record_frame frame;
        if ((size_t)(end - at) < sizeof frame)
            return 0;
        memcpy(&frame, at, sizeof frame);
        at += sizeof frame;
        if (frame.n_function >= DWARF_TEXT_MAX_BYTES || frame.n_file >= DWARF_TEXT_MAX_BYTES ||
            (size_t)(end - at) < (size_t)frame.n_function + frame.n_file)
            return 0;
        char *const function = receiver->texts[i][0], *const file = receiver->texts[i][1];
        memcpy(function, at, frame.n_function);
        function[frame.n_function] = 0;
        at += frame.n_function;
        memcpy(file, at, frame.n_file);
        file[frame.n_file] = 0;
        at += frame.n_file;
        frames[i] = (struct dwarf_frame){.function = function,
                                         .file = file,
                                         .line = frame.line,
                                         .is_linkage = (int)frame.is_linkage};
    }
    if (at != end)
        return 0;
    receiver->seen[head->index] = 1;
    receiver->emit(receiver->context, head->index, frames, head->n_frames);
    return 1;
}

/* Takes the whole records out of the buffer. 0 after the last one or one that is not well formed.
 */
static int receive_records(struct receiver *receiver) {
    size_t at = 0;
    struct record_head head;
    while (receiver->used - at >= sizeof head) {
        memcpy(&head, receiver->buffer + at, sizeof head);
        if (head.index == END_INDEX) {
            receiver->is_complete = 1;
            return 0;
        }
        if (head.n_frames == 0 || head.n_frames > DWARF_FRAMES_MAX ||
            head.n_bytes > RECORD_MAX_BYTES - sizeof head)
            return 0;
        if (receiver->used - at - sizeof head < head.n_bytes)
            break;
        if (!receive_record(receiver, &head, receiver->buffer + at + sizeof head))
            return 0;
        at += sizeof head + head.n_bytes;
    }
    memmove(receiver->buffer, receiver->buffer + at, receiver->used - at);
    receiver->used -= at;
    return 1;
}

/* Reads until the child closes the pipe, says nonsense, or is late. */
static void receive_all(struct receiver *receiver, int fd) {
    const uint64_t deadline = receiver->request->deadline_ns + GRACE_NS;
    uint64_t total = 0;
    while (total < OUTPUT_MAX_BYTES) {
        const uint64_t now = now_ns();
        if (now >= deadline)
            return;
        struct pollfd ready = {.fd = fd, .events = POLLIN};
        const int n_ready = poll(&ready, 1, (int)((deadline - now) / 1000000u) + 1);
        if (n_ready < 0 && errno == EINTR)
            continue;
        if (n_ready <= 0)
            return;
        const ssize_t n =
            read(fd, receiver->buffer + receiver->used, RECORD_MAX_BYTES - receiver->used);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return;
        total += (uint64_t)n;
        receiver->used += (size_t)n;
        if (!receive_records(receiver))
            return;
    }
}

int isolate_dwarf_lookup(const struct dwarf_request *request, dwarf_emit *emit, void *context) {
    int fds[2];
    if (request->n == 0)
        return 1;
    struct receiver *const receiver = malloc(sizeof *receiver);
    uint8_t *const buffer = malloc(RECORD_MAX_BYTES);
    uint8_t *const seen = calloc(request->n, 1);
    if (!receiver || !buffer || !seen || pipe2(fds, O_CLOEXEC) != 0) {
        free(receiver);
        free(buffer);
        free(seen);
        return 0;
    }
    receiver->request = request;
    receiver->emit = emit;
    receiver->context = context;
    receiver->seen = seen;
    receiver->buffer = buffer;
    receiver->used = 0;
    receiver->is_complete = 0;
    const pid_t child = fork();
    if (child == 0) {
        close(fds[0]);
        run_child(request, fds[1]);
    }
    close(fds[1]);
    if (child > 0) {
        receive_all(receiver, fds[0]);
        /* It has said all, or is late or confused, or has died: nothing more is wanted of it. */
        kill(child, SIGKILL);
        while (waitpid(child, NULL, 0) < 0 && errno == EINTR)
            continue;
    }
    close(fds[0]);
    const int is_complete = child > 0 && receiver->is_complete;
    free(receiver);
    free(buffer);
    free(seen);
    return is_complete;
}

/* Appends what comes from fd until its end, the deadline or the limit. */
static int receive_bytes(int fd, const struct isolate_limits *limits, uint8_t **out,
                         size_t *out_size) {
    const uint64_t deadline = limits->deadline_ns + GRACE_NS;
    size_t capacity = 1 << 16, used = 0;
    uint8_t *bytes = malloc(capacity);
    if (!bytes)
        return SNAP_E_NOMEM;
    while (used < limits->output_bytes) {
        const uint64_t now = now_ns();
        if (now >= deadline)
            break;
        struct pollfd ready = {.fd = fd, .events = POLLIN};
        const int n_ready = poll(&ready, 1, (int)((deadline - now) / 1000000u) + 1);
        if (n_ready < 0 && errno == EINTR)
            continue;
        if (n_ready <= 0)
            break;
        if (used == capacity) {
            uint8_t *const grown = realloc(bytes, capacity * 2);
            if (!grown) {
                free(bytes);
                return SNAP_E_NOMEM;
            }
            bytes = grown;
            capacity *= 2;
        }
        const ssize_t n = read(fd, bytes + used, capacity - used);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            break;
        used += (size_t)n;
    }
    *out = bytes;
    *out_size = used;
    return SNAP_OK;
}

int isolate_run(isolate_work *work, void *context, const struct isolate_limits *limits,
                uint8_t **out, size_t *out_size) {
    int fds[2];
    if (pipe2(fds, O_CLOEXEC) != 0)
        return SNAP_E_NOMEM;
    const pid_t child = fork();
    if (child == 0) {
        close(fds[0]);
        enter_child(limits->deadline_ns, limits->memory_bytes);
        _exit(work(context, fds[1]) ? 0 : 1);
    }
    close(fds[1]);
    int result = SNAP_E_NOMEM;
    if (child > 0) {
        result = receive_bytes(fds[0], limits, out, out_size);
        kill(child, SIGKILL);
        while (waitpid(child, NULL, 0) < 0 && errno == EINTR)
            continue;
    }
    close(fds[0]);
    return result;
}
