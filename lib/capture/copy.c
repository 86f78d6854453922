/* The process is copied, so that it may go on while its objects are read; the copy walks them and
 * sends them to heapsnap-write.
 *
 * What is not in memory, such as counters and mappings, is written down before, with the process's
 * own malloc. In the copy other threads do not exist and may have held any lock: raw system calls
 * and mapped memory only. The copy is a child with exit signal 0, so that neither wait() nor
 * SIGCHLD of the program ever sees it, and it lets go of all of the program's files. */
#include "capture/copy.h"

#include <heapsnap/snapdef.h>

#include <dirent.h>
#include <dlfcn.h>
#include <fcntl.h>
#include <inttypes.h>
#include <link.h>
#include <malloc.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/utsname.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/err.h"
#include "base/mem.h"
#include "capture/children.h"
#include "capture/raw.h"
#include "model/mapping.h"
#include "model/wire.h"

#define STACK_SIZE ((size_t)256 << 10)
#define PATH_SIZE 4096

/* --- what is written down before --- */

struct part {
    char *data;
    size_t length;
    FILE *out;
    uint32_t n;
};

static int part_begin(struct part *p) {
    p->out = open_memstream(&p->data, &p->length);
    return p->out ? 0 : -1;
}

static void put_padded(struct part *p, const void *data, size_t n) {
    static const char zeros[8];
    fwrite(data, 1, n, p->out);
    fwrite(zeros, 1, -n & 7, p->out);
}

static void put_text(struct part *p, const void *record, size_t size, const char *a, size_t a_n,
                     const char *b, size_t b_n) {
    static const char zeros[8];
    fwrite(record, 1, size, p->out);
    fwrite(a, 1, a_n, p->out);
    fwrite(b, 1, b_n, p->out);
    fwrite(zeros, 1, -(size + a_n + b_n) & 7, p->out);
    p->n++;
}

static void meta(struct part *p, uint32_t key, const char *name, const char *text, size_t length,
                 uint64_t value) {
    const struct wire_meta m = {.key = key,
                                .name_len = (uint32_t)strlen(name),
                                .text_len = (uint32_t)length,
                                .value = value};
    put_text(p, &m, sizeof m, name, m.name_len, text, length);
}

static void meta_number(struct part *p, uint32_t key, uint64_t value) {
    meta(p, key, "", "", 0, value);
}

static void meta_text(struct part *p, uint32_t key, const char *text) {
    if (text && *text)
        meta(p, key, "", text, strlen(text), 0);
}

static void meta_counters(struct part *p, const char *path, const char *const (*fields)[2],
                          size_t n) {
    FILE *const f = fopen(path, "re");
    char *line = NULL;
    size_t size = 0;
    while (f && getline(&line, &size, f) > 0)
        for (size_t i = 0; i < n; i++) {
            const size_t length = strlen(fields[i][0]);
            if (strncmp(line, fields[i][0], length) == 0 && line[length] == ':')
                meta(p, SNAP_META_PROCESS, fields[i][1], "", 0,
                     strtoull(line + length + 1, NULL, 10) * 1024);
        }
    free(line);
    if (f)
        fclose(f);
}

static void meta_command(struct part *p) {
    char arguments[16384];
    FILE *const f = fopen("/proc/self/cmdline", "re");
    if (!f)
        return;
    const size_t n = fread(arguments, 1, sizeof arguments, f);
    fclose(f);
    if (n > 0)
        meta(p, SNAP_META_COMMAND, "", arguments, n, 0);
}

static void write_meta(struct part *p, const struct untracked *u) {
    static const char *const status[][2] = {
        {"VmRSS", "rss_bytes"},          {"VmHWM", "rss_peak_bytes"},
        {"RssAnon", "rss_anon_bytes"},   {"RssFile", "rss_file_bytes"},
        {"RssShmem", "rss_shmem_bytes"}, {"VmSize", "virtual_bytes"},
        {"VmSwap", "swap_bytes"}};
    static const char *const rollup[][2] = {{"Pss", "pss_bytes"},
                                            {"Private_Dirty", "private_dirty_bytes"}};
    char path[PATH_SIZE];
    struct utsname uts;
    struct timespec now = {0};
    meta_text(p, SNAP_META_LINEAGE, u->lineage);
    meta_number(p, SNAP_META_SEQUENCE, u->sequence);
    meta_number(p, SNAP_META_PID, (uint64_t)getpid());
    meta_number(p, SNAP_META_PARENT_PID, (uint64_t)getppid());
    if (u->rank >= 0)
        meta_number(p, SNAP_META_RANK, (uint64_t)u->rank);
    if (u->has_step)
        meta_number(p, SNAP_META_STEP, (uint64_t)u->step);
    meta_text(p, SNAP_META_LABEL, u->label);
    clock_gettime(CLOCK_REALTIME, &now);
    meta_number(p, SNAP_META_TIME_NS, (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec);
    meta_command(p);
    const ssize_t n = readlink("/proc/self/exe", path, sizeof path - 1);
    path[n > 0 ? n : 0] = '\0';
    meta_text(p, SNAP_META_EXECUTABLE, path);
    if (uname(&uts) == 0) {
        meta_text(p, SNAP_META_HOST, uts.nodename);
        meta_text(p, SNAP_META_ARCH, uts.machine);
    }
    meta_number(p, SNAP_META_PAGE_SIZE, (uint64_t)sysconf(_SC_PAGESIZE));
    meta_number(p, SNAP_META_POINTER_SIZE, sizeof(void *));
    meta_number(p, SNAP_META_TRIGGER, SNAP_TRIGGER_API);
    meta_number(p, SNAP_META_CONSISTENCY, SNAP_CONSISTENCY_FORK);
    meta_number(p, SNAP_META_TRACKED, SNAP_TRACKED_PYTHON);
    for (size_t i = 0; i < u->n_counters; i++)
        meta(p, SNAP_META_USER, u->counters[i].name, "", 0, (uint64_t)u->counters[i].value);
    meta_counters(p, "/proc/self/status", status, sizeof status / sizeof *status);
    meta_counters(p, "/proc/self/smaps_rollup", rollup, sizeof rollup / sizeof *rollup);
#ifdef __GLIBC__
    const struct mallinfo2 info = mallinfo2();
    meta(p, SNAP_META_PROCESS, "malloc_in_use_bytes", "", 0, info.uordblks + info.hblkhd);
    meta(p, SNAP_META_PROCESS, "malloc_mapped_bytes", "", 0, info.hblkhd);
    meta(p, SNAP_META_PROCESS, "malloc_free_bytes", "", 0, info.fordblks);
#endif
}

/* The build id among the notes; its length, 0 if there is none. */
static size_t read_build_id(const struct dl_phdr_info *info, const char **out) {
    for (unsigned i = 0; i < info->dlpi_phnum; i++) {
        const ElfW(Phdr) *const segment = &info->dlpi_phdr[i];
        if (segment->p_type != PT_NOTE)
            continue;
        const char *const notes = (const char *)(info->dlpi_addr + segment->p_vaddr);
        for (size_t at = 0; at + sizeof(ElfW(Nhdr)) <= segment->p_memsz;) {
            const ElfW(Nhdr) *const note = (const void *)(notes + at);
            const size_t name = at + sizeof *note;
            const size_t data = name + (((size_t)note->n_namesz + 3) & ~(size_t)3);
            const size_t end = data + (((size_t)note->n_descsz + 3) & ~(size_t)3);
            if (end > segment->p_memsz)
                break;
            if (note->n_type == NT_GNU_BUILD_ID && note->n_namesz == 4 && note->n_descsz <= 64 &&
                memcmp(notes + name, "GNU", 4) == 0) {
                *out = notes + data;
                return note->n_descsz;
            }
            at = end;
        }
    }
    return 0;
}

struct image {
    struct wire_module module;
    char *path;
    const char *build_id;
};

struct images {
    struct image *list;
    size_t n, size;
};

static int add_image(struct dl_phdr_info *info, size_t size, void *context) {
    struct images *const images = context;
    struct image image = {.module = {.start = UINT64_MAX, .bias = info->dlpi_addr}};
    struct wire_module *const m = &image.module;
    for (unsigned i = 0; i < info->dlpi_phnum; i++) {
        const ElfW(Phdr) *const segment = &info->dlpi_phdr[i];
        if (segment->p_type != PT_LOAD)
            continue;
        const uint64_t start = segment->p_vaddr & ~(uint64_t)4095;
        const uint64_t end = (segment->p_vaddr + segment->p_memsz + 4095) & ~(uint64_t)4095;
        m->start = start < m->start ? start : m->start;
        m->end = end > m->end ? end : m->end;
    }
    if (m->start >= m->end ||
        mem_grow(&images->list, &images->size, images->n + 1, sizeof image) < 0)
        return 0;
    m->start += info->dlpi_addr;
    m->end += info->dlpi_addr;
    char exe[PATH_SIZE];
    const char *path = info->dlpi_name;
    if (!path || !*path) { /* the program itself comes first and has no name */
        const ssize_t n = readlink("/proc/self/exe", exe, sizeof exe - 1);
        exe[n > 0 ? n : 0] = '\0';
        path = exe;
        m->flags = SNAP_MODS_FLAG_MAIN;
    } else if (*path != '/')
        path = "[vdso]";
    image.path = strdup(path);
    if (!image.path)
        return 0;
    m->path_len = (uint32_t)strlen(path);
    m->build_id_len = (uint32_t)read_build_id(info, &image.build_id);
    images->list[images->n++] = image;
    return 0;
}

static int compare_images(const void *a, const void *b) {
    const uint64_t x = ((const struct image *)a)->module.start;
    const uint64_t y = ((const struct image *)b)->module.start;
    return (x > y) - (x < y);
}

static void write_modules(struct part *p) {
    struct images images = {0};
    dl_iterate_phdr(add_image, &images);
    if (images.n)
        qsort(images.list, images.n, sizeof *images.list, compare_images);
    for (size_t i = 0; i < images.n; i++) {
        const struct image *const image = &images.list[i];
        put_text(p, &image->module, sizeof image->module, image->path, image->module.path_len,
                 image->build_id, image->module.build_id_len);
        free(image->path);
    }
    free(images.list);
}

/* Only what the copy cannot have: the names. */
static void write_threads(struct part *p) {
    DIR *const tasks = opendir("/proc/self/task");
    for (const struct dirent *e; tasks && (e = readdir(tasks));) {
        const unsigned long tid = strtoul(e->d_name, NULL, 10);
        char path[64];
        if (!tid)
            continue;
        struct wire_thread t = {.tid = (uint32_t)tid};
        t.flags = tid == (unsigned long)getpid() ? SNAP_THRD_FLAG_MAIN : 0;
        if (tid == (unsigned long)raw_tid())
            t.flags |= SNAP_THRD_FLAG_TAKER;
        else
            t.flags |= SNAP_THRD_FLAG_UNSTOPPED;
        snprintf(path, sizeof path, "/proc/self/task/%lu/comm", tid);
        FILE *const f = fopen(path, "re");
        if (f && fgets(t.name, sizeof t.name, f))
            t.name[strcspn(t.name, "\n")] = '\0';
        if (f)
            fclose(f);
        put_padded(p, &t, sizeof t);
        p->n++;
    }
    if (tasks)
        closedir(tasks);
}

static void write_regions(struct part *p) {
    FILE *const f = fopen("/proc/self/maps", "re");
    char *line = NULL;
    size_t size = 0;
    while (f && getline(&line, &size, f) > 0) {
        struct mapping m;
        if (!mapping_parse(line, &m))
            continue;
        const struct wire_region r = {
            .address = m.start,
            .size = m.end - m.start,
            .kind = m.kind,
            .protection = m.protection,
            .name_len = (uint32_t)strlen(m.name),
        };
        put_text(p, &r, sizeof r, m.name, r.name_len, "", 0);
    }
    free(line);
    if (f)
        fclose(f);
}

/* --- the copy --- */

enum { PART_META, PART_MODULE, PART_THREAD, PART_REGION, N_PARTS };

struct copy {
    const struct untracked *u;
    const struct managed_walker *walker;
    struct part parts[N_PARTS];
    char writer[PATH_SIZE];
    char **environment;
    char *stack, *helper_stack;
    int status[2]; /* the pipe for the answer */
    int target_pid;
    int stream_fd, writer_end, null_fd;
    int error; /* -errno of the stream */
};

static void put(struct copy *c, const void *data, size_t n) {
    const char *from = data;
    while (n > 0 && !c->error) {
        const long written = raw_write(c->stream_fd, from, n);
        if (written < 0)
            c->error = (int)written;
        else {
            from += written;
            n -= (size_t)written;
        }
    }
}

static void put_section(struct copy *c, uint32_t kind, uint32_t n, const void *data, size_t bytes) {
    const struct wire_section section = {.kind = kind, .n = n, .bytes = bytes};
    put(c, &section, sizeof section);
    put(c, data, bytes);
}

static int sink_section(void *context, uint32_t kind, uint32_t n, const void *data, size_t bytes) {
    struct copy *const c = context;
    put_section(c, kind, n, data, bytes);
    return c->error;
}

/* Counters of the copy's own and of the walk; kept until metadata are sent. */
#define COUNTERS_SIZE 16384
static char counters[COUNTERS_SIZE];
static size_t counters_length;
static uint32_t n_counters;

static void sink_counter(void *context, uint32_t key, const char *name, uint64_t value) {
    const struct wire_meta m = {.key = key, .name_len = (uint32_t)strlen(name), .value = value};
    const size_t size = sizeof m + (((size_t)m.name_len + 7) & ~(size_t)7);
    if (size > sizeof counters - counters_length)
        return;
    memcpy(counters + counters_length, &m, sizeof m);
    memcpy(counters + counters_length + sizeof m, name, m.name_len);
    counters_length += size;
    n_counters++;
}

static void child_counter(void *context, const char *name, uint64_t value) {
    sink_counter(context, SNAP_META_PROCESS, name, value);
}

static uint32_t sink_thread(void *context, uint32_t tid) {
    const struct part *const p = &((struct copy *)context)->parts[PART_THREAD];
    const struct wire_thread *const threads = (const struct wire_thread *)(const void *)p->data;
    for (uint32_t i = 0; i < p->n; i++)
        if (threads[i].tid == tid)
            return i + 1;
    return 0;
}

static void default_action(int signal) {
    struct { /* the kernel's sigaction */
        void *handler;
        unsigned long flags;
        void *restorer;
        uint64_t mask;
    } action = {0};
    raw_call(SYS_rt_sigaction, signal, (long)&action, 0, 8, 0, 0);
}

/* In the process that becomes heapsnap-write; shares the copy's memory until it has. */
static int exec_writer(void *context) {
    struct copy *const c = context;
    static char name[] = "heapsnap-write";
    char *const argv[] = {name, NULL};
    raw_call3(SYS_dup3, c->writer_end, 0, 0);
    raw_call3(SYS_dup3, c->null_fd, 1, 0);
    raw_call3(SYS_dup3, c->null_fd, 2, 0);
    raw_call3(SYS_dup3, c->status[1], WIRE_STATUS_FD, 0);
    for (int i = 1; i < 65; i++)
        if (i != SIGKILL && i != SIGSTOP)
            default_action(i);
    const uint64_t none = 0;
    raw_call(SYS_rt_sigprocmask, 2 /* SIG_SETMASK */, (long)&none, 0, 8, 0, 0);
    raw_call3(SYS_execve, (long)c->writer, (long)argv, (long)c->environment);
    raw_call3(SYS_exit_group, 127, 0, 0);
    return 0;
}

static int high_fd(int fd) {
    const long high = raw_call3(SYS_fcntl, fd, F_DUPFD_CLOEXEC, 64);
    return (int)high;
}

static void answer(const struct copy *c, const char *text) {
    raw_write(c->status[1], text, strlen(text));
}

/* Lets go of all of the program's files but the pipe for the answer. */
static int leave_program(struct copy *c) {
    int data[2];
    c->status[1] = high_fd(c->status[1]);
    if (c->status[1] < 64)
        return -1;
    raw_call3(SYS_close_range, 0, c->status[1] - 1, 0);
    raw_call3(SYS_close_range, c->status[1] + 1, 0xffffffffu, 0);
    const int null_fd = raw_open("/dev/null", O_RDWR, 0);
    c->null_fd = high_fd(null_fd);
    if (raw_call3(SYS_pipe2, (long)data, O_CLOEXEC, 0))
        return -1;
    c->writer_end = high_fd(data[0]);
    c->stream_fd = high_fd(data[1]);
    raw_call3(SYS_close_range, 0, 63, 0);
    raw_call3(SYS_fcntl, c->stream_fd, 1031 /* F_SETPIPE_SZ */, 1 << 20);
    raw_call3(SYS_setpgid, 0, 0, 0); /* but stays in the session: see leave_target() */
    raw_call3(SYS_prctl, PR_SET_NAME, (long)"heapsnap", 0);
    return c->null_fd < 0 || c->writer_end < 0 || c->stream_fd < 0 ? -1 : 0;
}

static void send_start(struct copy *c) {
    const struct wire_hello hello = {.magic = WIRE_MAGIC, .version = WIRE_VERSION};
    put_section(c, WIRE_HELLO, 1, &hello, sizeof hello);
    const struct wire_target t = {.flags = c->u->overwrite ? WIRE_OVERWRITE : 0,
                                  .path_len = (uint32_t)strlen(c->u->path),
                                  .pid = (uint32_t)raw_pid(),
                                  .sequence = (uint32_t)c->u->sequence};
    const struct wire_section section = {
        .kind = WIRE_TARGET, .n = 1, .bytes = sizeof t + (((size_t)t.path_len + 7) & ~(size_t)7)};
    static const char zeros[8];
    put(c, &section, sizeof section);
    put(c, &t, sizeof t);
    put(c, c->u->path, t.path_len);
    put(c, zeros, -t.path_len & 7);
}

static void send_part(struct copy *c, uint32_t kind, int part) {
    put_section(c, kind, c->parts[part].n, c->parts[part].data, c->parts[part].length);
}

static void send_meta(struct copy *c) {
    const struct part *const p = &c->parts[PART_META];
    const struct wire_section section = {
        .kind = WIRE_META, .n = p->n + n_counters, .bytes = p->length + counters_length};
    put(c, &section, sizeof section);
    put(c, p->data, p->length);
    put(c, counters, counters_length);
}

static int send_all(struct copy *c) {
    struct managed_sink sink = {
        .context = c, .section = sink_section, .counter = sink_counter, .thread = sink_thread};
    struct managed_walk *const walk = c->walker->open(0);
    children_read(c->target_pid, CHILDREN_NS, child_counter, c);
    if (walk)
        c->walker->send_counters(walk, &sink);
    else
        sink_counter(c, SNAP_META_COMPLETENESS, "python_objects_unread", 1);
    send_start(c);
    send_meta(c);
    send_part(c, WIRE_MODULE, PART_MODULE);
    put_section(c, WIRE_STACK, 0, NULL, 0);
    send_part(c, WIRE_THREAD, PART_THREAD);
    send_part(c, WIRE_REGION, PART_REGION);
    int failed = 0;
    if (walk)
        failed = c->walker->send_blocks(walk, &sink);
    const uint32_t n_blocks = sink.n_nodes;
    if (walk && n_blocks == 0) /* nothing but objects, of which all is said */
        put_section(c, WIRE_FINAL, 0, NULL, 0);
    if (walk && !failed)
        failed = c->walker->send_nodes(walk, &sink);
    if (walk && !failed)
        failed = c->walker->send_references(walk, &sink);
    if (walk && !failed)
        failed = c->walker->send_roots(walk, &sink, NULL);
    if (walk && !failed)
        failed = c->walker->send_labels(walk, &sink, NULL, 0);
    if (walk)
        c->walker->close(walk); /* the writer is not done for a while */
    if (failed)
        return failed;
    const struct wire_end end = {.n_blocks = n_blocks, .block_bytes = sink.block_bytes};
    put_section(c, WIRE_END, 1, &end, sizeof end);
    return c->error;
}

static int copy_main(void *context) {
    struct copy *const c = context;
    if (leave_program(c) < 0) {
        answer(c, "error 2 the copy of the process has no files\n");
        raw_call3(SYS_exit_group, 1, 0, 0);
    }
    default_action(SIGPIPE);
    const uint64_t pipe_bit = (uint64_t)1 << (SIGPIPE - 1);
    raw_call(SYS_rt_sigprocmask, 0 /* SIG_BLOCK */, (long)&pipe_bit, 0, 8, 0, 0);
    const int writer =
        clone(exec_writer, c->helper_stack + STACK_SIZE, CLONE_VM | CLONE_VFORK | SIGCHLD, c);
    raw_close(c->writer_end);
    const int failed = writer < 0 ? writer : send_all(c);
    raw_close(c->stream_fd);
    int status = 0;
    if (writer > 0)
        raw_call(SYS_wait4, writer, (long)&status, __WALL, 0, 0, 0);
    if (writer < 0 || (WIFEXITED(status) && WEXITSTATUS(status) == 127))
        answer(c, "error 2 cannot start heapsnap-write\n");
    else if (failed == -ENOMEM)
        answer(c, "error 1 no memory to read the objects\n");
    raw_call3(SYS_exit_group, 0, 0, 0);
    return 0;
}

/* --- the process --- */

/* Beside this library, or where it was to be installed. */
static void find_writer(char *out, size_t size) {
    static const char *const places[] = {"heapsnap-write", "../heapsnap-write",
                                         "heapsnap/heapsnap-write", "../../heapsnap-write",
                                         "bin/heapsnap-write"};
    const char *const given = getenv("HEAPSNAP_WRITE");
    Dl_info info;
    if (given && *given) {
        snprintf(out, size, "%s", given);
        return;
    }
    if (dladdr(counters, &info) && info.dli_fname) {
        const char *const slash = strrchr(info.dli_fname, '/');
        const int directory = slash ? (int)(slash + 1 - info.dli_fname) : 0;
        for (size_t i = 0; i < sizeof places / sizeof *places; i++) {
            snprintf(out, size, "%.*s%s", directory, info.dli_fname, places[i]);
            if (access(out, X_OK) == 0)
                return;
        }
    }
    snprintf(out, size, "%s", HEAPSNAP_WRITER);
}

static int prepare(struct copy *c) {
    for (size_t i = 0; i < N_PARTS; i++)
        if (part_begin(&c->parts[i]) < 0)
            return -1;
    write_meta(&c->parts[PART_META], c->u);
    write_modules(&c->parts[PART_MODULE]);
    write_threads(&c->parts[PART_THREAD]);
    write_regions(&c->parts[PART_REGION]);
    int failed = 0;
    for (size_t i = 0; i < N_PARTS; i++) {
        failed |= fclose(c->parts[i].out) != 0;
        c->parts[i].out = NULL;
    }
    find_writer(c->writer, sizeof c->writer);
    c->stack = raw_map(STACK_SIZE, MAP_PRIVATE | MAP_ANONYMOUS);
    c->helper_stack = raw_map(STACK_SIZE, MAP_PRIVATE | MAP_ANONYMOUS);
    return failed || !c->stack || !c->helper_stack ? -1 : 0;
}

static void release(struct copy *c) {
    for (size_t i = 0; i < N_PARTS; i++) {
        if (c->parts[i].out)
            fclose(c->parts[i].out);
        free(c->parts[i].data);
    }
    if (c->stack)
        raw_unmap(c->stack, STACK_SIZE);
    if (c->helper_stack)
        raw_unmap(c->helper_stack, STACK_SIZE);
}

/* Reads the answer until nobody can give one any more. */
static int hear(int fd, snap_error *err) {
    char line[PATH_SIZE + 512];
    size_t length = 0;
    for (;;) {
        char part[512];
        const long n = raw_read(fd, part, sizeof part);
        if (n <= 0)
            break;
        for (long i = 0; i < n; i++)
            if ((part[i] != '.' || length > 0) && length < sizeof line - 1)
                line[length++] = part[i];
    }
    line[length] = '\0';
    line[strcspn(line, "\n")] = '\0';
    if (strncmp(line, "ok ", 3) == 0)
        return 0;
    if (strncmp(line, "error ", 6) != 0)
        return err_set(err, SNAP_E_IO, "the copy of the process ended without a result");
    char *rest;
    const long code = strtol(line + 6, &rest, 10);
    return err_set(err, code > 0 && code < 100 ? (int)-code : SNAP_E_IO, "%s",
                   rest + (*rest == ' '));
}

static int copy_process(struct copy *c, const struct take_managed *managed, snap_error *err) {
    if (pipe2(c->status, O_CLOEXEC) != 0) {
        managed->copied(managed->context);
        return err_set(err, SNAP_E_IO, "no pipe for the copy of the process: %s", strerror(errno));
    }
    uint64_t all = ~(uint64_t)0, mask = 0;
    raw_call(SYS_rt_sigprocmask, 2 /* SIG_SETMASK */, (long)&all, (long)&mask, 8, 0, 0);
    const int child = clone(copy_main, c->stack + STACK_SIZE, 0, c);
    const int error = errno;
    raw_call(SYS_rt_sigprocmask, 2, (long)&mask, 0, 8, 0, 0);
    raw_close(c->status[1]);
    managed->copied(managed->context);
    int result = child < 0
                     ? err_set(err, SNAP_E_NOMEM, "cannot copy the process: %s", strerror(error))
                     : hear(c->status[0], err);
    raw_close(c->status[0]);
    if (child > 0)
        raw_call(SYS_wait4, child, 0, __WCLONE, 0, 0, 0);
    return result;
}

int copy_write(const struct untracked *u, const struct take_managed *managed, snap_error *err) {
    struct copy c = {
        .u = u, .walker = managed->walker, .environment = environ, .target_pid = getpid()};
    int result;
    if (prepare(&c) < 0) {
        managed->copied(managed->context);
        result = err_set(err, SNAP_E_NOMEM, "no memory to take a snapshot");
    } else
        result = copy_process(&c, managed, err);
    release(&c);
    return result;
}
