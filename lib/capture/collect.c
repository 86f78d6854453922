/* Reads the target's state in its copy and sends it as a capture stream (model/wire.h) to
 * heapsnap-write, which this starts.
 *
 * Runs in a process of its own whose memory is the target's (a copy, or with --no-fork the very
 * same), while locks of malloc, stdio and the loader may be held by threads that do not exist here:
 * so raw system calls and mapped memory only. Whatever cannot be read is left out; what goes wrong
 * ends up in the slot as a message. The target's memory is only ever read, and only through
 * process_vm_readv where it might not be there. */
#include "capture/collect.h"

#include <elf.h>
#include <heapsnap/common.h>
#include <heapsnap/snapdef.h>
#include <malloc.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/uio.h>
#include <sys/utsname.h>
#include <sys/wait.h>

#include "capture/children.h"
#include "capture/device_bindings.h"
#include "capture/device_send.h"
#include "capture/hook_cuda.h"
#include "capture/memory.h"
#include "capture/notes.h"
#include "capture/notes_send.h"
#include "capture/objects.h"
#include "capture/procfs.h"
#include "capture/python_send.h"
#include "capture/raw.h"
#include "capture/rawmem.h"
#include "capture/scan.h"
#include "model/wire.h"

#define STREAM_SIZE ((size_t)1 << 20)
#define HELPER_STACK_SIZE ((size_t)64 << 10)
#define READY_WAIT_NS 2000000000u
#define MALLINFO_WAIT_NS 300000000u
/* How much larger than the smallest that can have a label; for how many there is room. */
#define LABEL_SIZE_RANGE 256
#define LABELLED_BYTES_MAX ((size_t)64 << 20)
/* Where the target waits meanwhile. */
#define CHILDREN_IN_PLACE_NS 20000000u

struct copy {
    struct collect *collect;
    struct moment_slot *slot;
    int target_pid;

    int stream_fd, status_fd, null_fd;
    int writer_pid;
    int writer_error; /* errno of a writer that did not start */
    int error;        /* -errno of the stream */
    char *stream;
    size_t stream_length;

    char *helper_stack;
    struct memory scratch;  /* a section in the making */
    struct memory maps;     /* what smaps says, kept for all its uses */
    struct memory labelled; /* struct managed_block */
    uint64_t label_size;    /* the walker's */
    uint32_t *stack_ids;    /* new id of each stack of the recorder, 0: not used */
    uint32_t *managed;      /* managed frame of each stack of the recorder, 0: a native one */
    uint32_t n_stacks_old;
    size_t stack_ids_size;
    struct python_send python;
    uint64_t n_blocks, block_bytes;
    uint32_t n_pools, n_nodes; /* sent so far */
    struct device_heap device;
    struct notes_sink notes;
    struct objects objects;
    struct managed_sink ids; /* what has been given out in the stream */
    uint32_t *n_meta;        /* rows of metadata in the making */
    struct scan *scan;       /* NULL: no references are wanted, or no memory */
};

/* --- memory --- */

/* Reads the target's memory where it may be missing or unreadable. 0, or -1. */
static int peek(const struct copy *c, uint64_t address, void *out, size_t size) {
    const struct iovec to = {out, size}, from = {(void *)(uintptr_t)address, size};
    const long n = raw_call(SYS_process_vm_readv, raw_pid(), (long)&to, 1, (long)&from, 1, 0);
    if (n == (long)size)
        return 0;
    if (n != -EPERM && n != -ENOSYS)
        return -1;
    const int fd = raw_open("/proc/self/mem", O_RDONLY, 0);
    if (fd < 0)
        return -1;
    const long got = raw_call(SYS_pread64, fd, (long)out, (long)size, (long)address, 0, 0);
    raw_close(fd);
    return got == (long)size ? 0 : -1;
}

/* --- the writer process and the stream to it --- */

static void default_action(int signal) {
    struct { /* the kernel's sigaction */
        void *handler;
        unsigned long flags;
        void *restorer;
        uint64_t mask;
    } action = {0};
    raw_call(SYS_rt_sigaction, signal, (long)&action, 0, 8, 0, 0);
}

/* In the process that becomes heapsnap-write; shares our memory until it has. */
static int exec_writer(void *context) {
    struct copy *const c = context;
    static char name[] = "heapsnap-write";
    char *const argv[] = {name, NULL};
    char *envp[64];
    size_t n = 0;
    for (char *e = moment_process.environment; *e && n < sizeof envp / sizeof *envp - 1;
         e += strlen(e) + 1)
        envp[n++] = e;
    envp[n] = NULL;

    /* The pipe's ends were made above 3, so that these do not collide. */
    raw_call3(SYS_dup3, c->stream_fd, 0, 0);
    raw_call3(SYS_dup3, c->null_fd, 1, 0);
    raw_call3(SYS_dup3, c->null_fd, 2, 0);
    raw_call3(SYS_dup3, c->status_fd, WIRE_STATUS_FD, 0);
    for (int i = 1; i < 65; i++)
        if (i != SIGKILL && i != SIGSTOP)
            default_action(i);
    const uint64_t none = 0;
    raw_call(SYS_rt_sigprocmask, 2 /* SIG_SETMASK */, (long)&none, 0, 8, 0, 0);
    const long error = raw_call3(SYS_execve, (long)moment_process.writer, (long)argv, (long)envp);
    c->writer_error = (int)-error;
    raw_call3(SYS_exit_group, 127, 0, 0);
    return 0;
}

static int high_fd(int fd) {
    const long high = raw_call3(SYS_fcntl, fd, F_DUPFD_CLOEXEC, 16);
    raw_close(fd);
    return (int)high;
}

static int start_writer(struct copy *c) {
    int data[2], status[2];
    long failed = raw_call3(SYS_pipe2, (long)data, O_CLOEXEC, 0);
    if (!failed)
        failed = raw_call3(SYS_pipe2, (long)status, O_CLOEXEC, 0);
    if (failed)
        return (int)failed;
    for (int i = 0; i < 2; i++) {
        data[i] = high_fd(data[i]);
        status[i] = high_fd(status[i]);
    }
    raw_call3(SYS_fcntl, data[1], 1031 /* F_SETPIPE_SZ */, (long)STREAM_SIZE);
    c->stream_fd = data[0];
    c->status_fd = status[1];
    c->writer_pid = clone(exec_writer, c->helper_stack + HELPER_STACK_SIZE,
                          CLONE_VM | CLONE_VFORK | SIGCHLD, c);
    const int error = c->writer_pid < 0 ? errno : 0;
    raw_close(data[0]);
    raw_close(status[1]);
    c->stream_fd = data[1];
    c->status_fd = status[0];
    return -error;
}

/* A sign of life, for whoever waits. */
static void tick(const struct copy *c) {
    struct ctl_page *const ctl = moment_process.ctl;
    atomic_fetch_add(&c->slot->progress, 1);
    if (ctl && c->slot->ctl_number && atomic_load(&ctl->asked) == c->slot->ctl_number)
        atomic_fetch_add(&ctl->response.progress, 1);
}

static void stream_flush(struct copy *c) {
    for (size_t at = 0; at < c->stream_length && !c->error;) {
        const long n = raw_write(c->stream_fd, c->stream + at, c->stream_length - at);
        if (n < 0)
            c->error = (int)n;
        else
            at += (size_t)n;
        tick(c);
    }
    c->stream_length = 0;
}

static void stream_put(struct copy *c, const void *data, size_t n) {
    const char *from = data;
    if (n >= STREAM_SIZE / 4) { /* not worth a copy */
        stream_flush(c);
        for (long done; n > 0 && !c->error; from += done, n -= (size_t)done) {
            done = raw_write(c->stream_fd, from, n);
            if (done < 0) {
                c->error = (int)done;
                return;
            }
            tick(c);
        }
        return;
    }
    while (n > 0 && !c->error) {
        const size_t room = STREAM_SIZE - c->stream_length;
        const size_t part = n < room ? n : room;
        memcpy(c->stream + c->stream_length, from, part);
        c->stream_length += part;
        from += part;
        n -= part;
        if (c->stream_length == STREAM_SIZE)
            stream_flush(c);
    }
}

static void put_section(struct copy *c, uint32_t kind, uint32_t n, const void *data, size_t bytes) {
    const struct wire_section section = {.kind = kind, .n = n, .bytes = bytes};
    stream_put(c, &section, sizeof section);
    stream_put(c, data, bytes);
}

/* Sends what has gathered in scratch, and empties it. */
static void put_scratch(struct copy *c, uint32_t kind, uint32_t n) {
    if (c->scratch.failed)
        c->error = -ENOMEM;
    put_section(c, kind, n, c->scratch.data, c->scratch.length);
    c->scratch.length = 0;
}

/* --- what the snapshot is about --- */

static void meta(struct copy *c, uint32_t *n, uint32_t key, const char *name, const char *text,
                 size_t text_length, uint64_t value) {
    const struct wire_meta m = {.key = key,
                                .name_len = (uint32_t)strlen(name),
                                .text_len = (uint32_t)text_length,
                                .value = value};
    memory_add(&c->scratch, &m, sizeof m);
    memory_add(&c->scratch, name, m.name_len);
    memory_add(&c->scratch, text, text_length);
    memory_pad(&c->scratch);
    ++*n;
}

static void meta_number(struct copy *c, uint32_t *n, uint32_t key, uint64_t value) {
    meta(c, n, key, "", "", 0, value);
}

static void meta_text(struct copy *c, uint32_t *n, uint32_t key, const char *text) {
    if (*text)
        meta(c, n, key, "", text, strlen(text), 0);
}

static void meta_process(struct copy *c, uint32_t *n, const char *name, uint64_t value) {
    meta(c, n, SNAP_META_PROCESS, name, "", 0, value);
}

static void meta_missing(struct copy *c, uint32_t *n, const char *name, uint64_t value) {
    if (value)
        meta(c, n, SNAP_META_COMPLETENESS, name, "", 0, value);
}

struct malloc_numbers {
    uint32_t done;
    uint64_t in_use, mapped, free;
};

static int read_mallinfo(void *context) {
    struct malloc_numbers *const numbers = context;
    const struct mallinfo2 info = mallinfo2();
    numbers->in_use = info.uordblks + info.hblkhd;
    numbers->mapped = info.hblkhd;
    numbers->free = info.fordblks;
    __atomic_store_n(&numbers->done, 1, __ATOMIC_RELEASE);
    raw_call3(SYS_exit_group, 0, 0, 0);
    return 0;
}

/* mallinfo2 takes the locks of malloc's arenas, which a thread may have held when the copy was
 * made. So a process that shares our memory tries, and is killed if it does not return: it only
 * reads. Only in a copy: in the target's own memory a lock taken by a killed process would stay. */
static int malloc_numbers(struct copy *c, struct malloc_numbers *out) {
    static struct malloc_numbers numbers;
    if (c->collect->in_place || strcmp(moment_process.allocator, "glibc") != 0)
        return -1;
    const int pid =
        clone(read_mallinfo, c->helper_stack + HELPER_STACK_SIZE, CLONE_VM | SIGCHLD, &numbers);
    if (pid < 0)
        return -1;
    const uint64_t end_ns = raw_clock_ns(CLOCK_MONOTONIC) + MALLINFO_WAIT_NS;
    uint64_t sleep_ns = 20000;
    long got;
    while ((got = raw_call(SYS_wait4, pid, 0, WNOHANG | __WALL, 0, 0, 0)) == 0 &&
           raw_clock_ns(CLOCK_MONOTONIC) < end_ns) {
        raw_sleep_ns(sleep_ns);
        sleep_ns += sleep_ns / 2;
    }
    if (got == 0) {
        raw_call3(SYS_kill, pid, SIGKILL, 0);
        raw_call(SYS_wait4, pid, 0, __WALL, 0, 0, 0);
    }
    if (!__atomic_load_n(&numbers.done, __ATOMIC_ACQUIRE))
        return -1;
    *out = numbers;
    return 0;
}

static void add_child_counter(void *context, const char *name, uint64_t value) {
    struct copy *const c = context;
    meta_process(c, c->n_meta, name, value);
}

static void meta_counters(struct copy *c, uint32_t *n) {
    const struct collect *const m = c->collect;
    const struct moment_request *const r = m->request;
    static const struct {
        const char *field, *name;
    } fields[] = {
        {"VmRSS", "rss_bytes"},          {"VmHWM", "rss_peak_bytes"},
        {"RssAnon", "rss_anon_bytes"},   {"RssFile", "rss_file_bytes"},
        {"RssShmem", "rss_shmem_bytes"}, {"VmSize", "virtual_bytes"},
        {"VmSwap", "swap_bytes"},
    };
    char path[64], status[4096];
    procfs_path(path, sizeof path, c->target_pid, 0, "status");
    if (procfs_read(path, status, sizeof status) > 0) {
        uint64_t kib;
        for (size_t i = 0; i < sizeof fields / sizeof *fields; i++)
            if (procfs_field(status, fields[i].field, &kib) == 0)
                meta_process(c, n, fields[i].name, kib * 1024);
    }
    if (r->pss_bytes)
        meta_process(c, n, "pss_bytes", r->pss_bytes);
    if (r->private_dirty_bytes)
        meta_process(c, n, "private_dirty_bytes", r->private_dirty_bytes);
    struct malloc_numbers numbers = {.in_use = r->malloc_in_use_bytes,
                                     .mapped = r->malloc_mapped_bytes,
                                     .free = r->malloc_free_bytes};
    if (numbers.in_use != UINT64_MAX || malloc_numbers(c, &numbers) == 0) {
        meta_process(c, n, "malloc_in_use_bytes", numbers.in_use);
        meta_process(c, n, "malloc_mapped_bytes", numbers.mapped);
        meta_process(c, n, "malloc_free_bytes", numbers.free);
    }
    c->n_meta = n;
    children_read(c->target_pid, m->in_place ? CHILDREN_IN_PLACE_NS : CHILDREN_NS,
                  add_child_counter, c);
    meta_process(c, n, "threads", m->threads.n_threads);
    meta_process(c, n, "recorder_bytes", m->counts.own_bytes);
    meta_process(c, n, "allocations", m->counts.allocations);
    meta_process(c, n, "frees", m->counts.frees);

    const struct hook_cuda_counts device = hook_cuda_counts();
    meta_missing(c, n, "dropped_blocks", m->counts.dropped_blocks + device.dropped);
    meta_missing(c, n, "dropped_stacks", m->counts.dropped_stacks);
    meta_missing(c, n, "dropped_regions", m->counts.dropped_regions);
    meta_missing(c, n, "dropped_annotations", m->counts.dropped_annotations);
    meta_missing(c, n, "truncated_stacks", m->counts.truncated_stacks);
    meta_missing(c, n, "unknown_frees", m->counts.unknown_frees + device.unknown);
    meta_missing(c, n, "unseen_device_calls", device.unseen + device_bindings_unseen());
    meta_missing(c, n, "hooks_in_flight", m->n_inside_hooks);
    uint64_t n_unstopped = 0;
    for (size_t i = 0; i < sizeof c->slot->woke / sizeof *c->slot->woke; i++)
        n_unstopped += (uint64_t)__builtin_popcountll(c->slot->woke[i]);
    meta_missing(c, n, "unstopped_threads", n_unstopped);
}

static void add_counter(void *context, uint32_t key, const char *name, uint64_t value) {
    struct copy *const c = context;
    meta(c, c->n_meta, key, name, "", 0, value);
}

static void put_meta(struct copy *c) {
    const struct collect *const m = c->collect;
    const struct moment_request *const r = m->request;
    const struct moment_process *const p = &moment_process;
    static char text[128 << 10];
    struct utsname uts;
    uint32_t n = 0;

    meta_text(c, &n, SNAP_META_LINEAGE, p->lineage);
    meta_text(c, &n, SNAP_META_PARENT_LINEAGE, p->parent_lineage);
    meta_number(c, &n, SNAP_META_SEQUENCE, m->sequence);
    meta_number(c, &n, SNAP_META_PID, (uint64_t)p->pid);
    char path[64];
    procfs_path(path, sizeof path, c->target_pid, 0, "status");
    uint64_t parent_pid;
    if (procfs_read(path, text, sizeof text) > 0 && procfs_field(text, "PPid", &parent_pid) == 0)
        meta_number(c, &n, SNAP_META_PARENT_PID, parent_pid);
    if (p->rank >= 0)
        meta_number(c, &n, SNAP_META_RANK, (uint64_t)p->rank);
    if (r->has_step)
        meta_number(c, &n, SNAP_META_STEP, (uint64_t)r->step);
    if (r->label)
        meta_text(c, &n, SNAP_META_LABEL, r->label);
    meta_number(c, &n, SNAP_META_TIME_NS, m->time_ns);
    meta_number(c, &n, SNAP_META_UPTIME_NS, m->uptime_ns);
    const long length = procfs_read("/proc/self/cmdline", text, sizeof text);
    if (length > 0)
        meta(c, &n, SNAP_META_COMMAND, "", text, (size_t)length, 0);
    const long link =
        raw_call3(SYS_readlink, (long)"/proc/self/exe", (long)text, (long)sizeof text - 1);
    if (link > 0) {
        text[link] = '\0';
        meta_text(c, &n, SNAP_META_EXECUTABLE, text);
    }
    if (raw_call3(SYS_uname, (long)&uts, 0, 0) == 0) {
        meta_text(c, &n, SNAP_META_HOST, uts.nodename);
        meta_text(c, &n, SNAP_META_ARCH, uts.machine);
    }
    meta_number(c, &n, SNAP_META_PAGE_SIZE, 4096);
    meta_number(c, &n, SNAP_META_POINTER_SIZE, sizeof(void *));
    meta_number(c, &n, SNAP_META_TRIGGER, r->trigger);
    meta_number(c, &n, SNAP_META_CONSISTENCY,
                m->in_place ? SNAP_CONSISTENCY_STOPPED : SNAP_CONSISTENCY_FORK);
    if (!m->in_place)
        meta_number(c, &n, SNAP_META_PAUSE_NS, c->slot->pause_ns);
    meta_number(c, &n, SNAP_META_BIRTH_MARK, m->birth_mark);
    meta_number(c, &n, SNAP_META_TRACKED,
                SNAP_TRACKED_MALLOC | SNAP_TRACKED_MMAP | SNAP_TRACKED_STACKS |
                    (c->scan ? SNAP_TRACKED_EDGES : 0) |
                    (c->objects.walk ? SNAP_TRACKED_PYTHON : 0) |
                    (hook_cuda_counts().has_driver ? SNAP_TRACKED_CUDA : 0));
    meta_text(c, &n, SNAP_META_ALLOCATOR, p->allocator);
    for (uint32_t i = 0; i < 64; i++) {
        char device[160];
        if (hook_cuda_device(i, device, sizeof device))
            meta(c, &n, SNAP_META_DEVICE, device, "", 0, i);
    }
    for (uint32_t i = 0; i < r->n_counters; i++)
        meta(c, &n, SNAP_META_USER, r->counters[i].name, "", 0, (uint64_t)r->counters[i].value);
    meta_counters(c, &n);
    if (c->objects.walk) {
        struct managed_sink sink = {.context = c, .counter = add_counter};
        c->n_meta = &n;
        c->objects.walker->send_counters(c->objects.walk, &sink);
    } else if (c->objects.walker || c->objects.is_unknown)
        meta_missing(c, &n, "python_objects_unread", 1);
    if (c->objects.walk && c->objects.is_moving)
        meta_missing(c, &n, "python_objects_moving", 1);
    put_scratch(c, WIRE_META, n);
}

/* --- mappings --- */

/* One mapping as kept in c->maps; name_length bytes and padding to 8 follow. */
struct map_entry {
    uint64_t start, end, offset, inode, device, resident;
    uint32_t protection, name_length;
};

static const char *map_name(const struct map_entry *e) {
    return (const char *)(e + 1);
}

static const struct map_entry *map_next(const struct copy *c, const struct map_entry *e) {
    const char *const next =
        e ? (const char *)(e + 1) + ((e->name_length + 1 + 7u) & ~7u) : c->maps.data;
    return next < c->maps.data + c->maps.length ? (const void *)next : NULL;
}

/* In a copy, smaps: it says what is resident and costs the target nothing. In place, maps. What the
 * copy has mapped is not the target's. */
static void read_maps(struct copy *c) {
    static char text[16 << 10];
    struct procfs_lines lines;
    if (procfs_lines_open(&lines, c->collect->in_place ? "/proc/self/maps" : "/proc/self/smaps",
                          text, sizeof text) < 0)
        return;
    size_t last = SIZE_MAX;
    for (char *line; (line = procfs_lines_next(&lines));) {
        struct procfs_mapping m;
        if (!procfs_mapping_parse(line, &m)) {
            uint64_t kib;
            if (last != SIZE_MAX && line[0] == 'R' && procfs_field(line, "Rss", &kib) == 0)
                ((struct map_entry *)(c->maps.data + last))->resident = kib * 1024;
            continue;
        }
        last = SIZE_MAX;
        if (raw_room_holds(m.start))
            continue;
        const struct map_entry e = {.start = m.start,
                                    .end = m.end,
                                    .offset = m.offset,
                                    .inode = m.inode,
                                    .device = m.device,
                                    .protection = m.protection,
                                    .name_length = (uint32_t)strlen(m.name)};
        last = c->maps.length;
        memory_add(&c->maps, &e, sizeof e);
        memory_add(&c->maps, m.name, e.name_length + 1);
        memory_pad(&c->maps);
    }
    procfs_lines_close(&lines);
}

/* The build id in the note segment of a loaded image; its length. */
static uint32_t build_id(const struct copy *c, uint64_t address, uint64_t size,
                         unsigned char out[64]) {
    _Alignas(8) unsigned char notes[2048];
    if (size > sizeof notes)
        size = sizeof notes;
    if (size < sizeof(Elf64_Nhdr) || peek(c, address, notes, size) < 0)
        return 0;
    for (size_t at = 0; at + sizeof(Elf64_Nhdr) <= size;) {
        const Elf64_Nhdr *const note = (const void *)(notes + at);
        const size_t name = at + sizeof *note;
        const size_t data = name + (((size_t)note->n_namesz + 3) & ~(size_t)3);
        if (data > size || note->n_descsz > size - data)
            return 0;
        if (note->n_type == NT_GNU_BUILD_ID && note->n_namesz == 4 &&
            memcmp(notes + name, "GNU", 4) == 0 && note->n_descsz <= 64) {
            memcpy(out, notes + data, note->n_descsz);
            return note->n_descsz;
        }
        at = data + (((size_t)note->n_descsz + 3) & ~(size_t)3);
    }
    return 0;
}

enum { SEGMENTS_MAX = 128 };

/* An image that starts with mapping e: fills w but for its texts, and segments. How many those are,
 * or -1 if it is none. */
static int read_image(const struct copy *c, const struct map_entry *e, struct wire_module *w,
                      unsigned char id[64], Elf64_Phdr segments[SEGMENTS_MAX]) {
    Elf64_Ehdr header;
    if (e->offset != 0 || !(e->protection & 1) || peek(c, e->start, &header, sizeof header) < 0 ||
        memcmp(header.e_ident, ELFMAG, SELFMAG) != 0 || header.e_phentsize != sizeof(Elf64_Phdr) ||
        header.e_phnum == 0 || header.e_phnum > SEGMENTS_MAX)
        return -1;
    if (peek(c, e->start + header.e_phoff, segments, header.e_phnum * sizeof *segments) < 0)
        return -1;
    uint64_t low = UINT64_MAX, high = 0, bias = 0;
    for (unsigned i = 0; i < header.e_phnum; i++) {
        const Elf64_Phdr *const s = &segments[i];
        if (s->p_type != PT_LOAD)
            continue;
        if (low == UINT64_MAX) {
            low = s->p_vaddr & ~(uint64_t)4095;
            bias = e->start - (s->p_vaddr - s->p_offset);
        }
        high = s->p_vaddr + s->p_memsz > high ? s->p_vaddr + s->p_memsz : high;
    }
    if (low == UINT64_MAX)
        return -1;
    *w = (struct wire_module){
        .start = bias + low, .end = bias + ((high + 4095) & ~(uint64_t)4095), .bias = bias};
    for (unsigned i = 0; i < header.e_phnum && !w->build_id_len; i++)
        if (segments[i].p_type == PT_NOTE)
            w->build_id_len = build_id(c, bias + segments[i].p_vaddr, segments[i].p_memsz, id);
    return header.e_phnum;
}

/* A file that is only looked at is no image: one part must be executable. */
static int is_executable(const struct copy *c, const struct map_entry *first, uint64_t end) {
    for (const struct map_entry *e = first; e && e->start < end; e = map_next(c, e))
        if (e->protection & 4)
            return 1;
    return 0;
}

static void put_modules(struct copy *c) {
    static const char deleted[] = " (deleted)";
    char exe[4096];
    const long exe_length =
        raw_call3(SYS_readlink, (long)"/proc/self/exe", (long)exe, (long)sizeof exe);
    uint32_t n = 0;
    uint64_t covered = 0;
    for (const struct map_entry *e = NULL; (e = map_next(c, e));) {
        const int is_vdso = strcmp(map_name(e), "[vdso]") == 0;
        struct wire_module w;
        unsigned char id[64];
        Elf64_Phdr segments[SEGMENTS_MAX];
        if (e->start < covered || (map_name(e)[0] != '/' && !is_vdso))
            continue;
        const int n_segments = read_image(c, e, &w, id, segments);
        if (n_segments < 0 || !is_executable(c, e, w.end))
            continue;
        covered = w.end;
        if (c->scan && objects_is_own(w.start, w.end))
            scan_add_own(c->scan, w.start, w.end);
        else if (c->scan && !is_vdso)
            scan_add_image(c->scan, n + 1, w.start, w.end, w.bias, segments, (unsigned)n_segments);
        w.path_len = e->name_length;
        if (exe_length > 0 && (size_t)exe_length == e->name_length &&
            memcmp(exe, map_name(e), e->name_length) == 0)
            w.flags |= SNAP_MODS_FLAG_MAIN;
        if (w.path_len > sizeof deleted - 1 &&
            strcmp(map_name(e) + w.path_len - (sizeof deleted - 1), deleted) == 0) {
            w.path_len -= (uint32_t)sizeof deleted - 1;
            w.flags |= SNAP_MODS_FLAG_DELETED;
        }
        memory_add(&c->scratch, &w, sizeof w);
        memory_add(&c->scratch, map_name(e), w.path_len);
        memory_add(&c->scratch, id, w.build_id_len);
        memory_pad(&c->scratch);
        n++;
    }
    put_scratch(c, WIRE_MODULE, n);
}

struct regions {
    struct copy *copy;
    uint32_t n;
    struct recorder_region *known; /* ascending */
    size_t n_known;
};

static int starts_with(const char *s, const char *prefix) {
    return strncmp(s, prefix, strlen(prefix)) == 0;
}

static int holds_stack(const struct copy *c, const struct map_entry *e) {
    const struct park_thread *const t = park_threads();
    for (uint32_t i = 0; i < c->collect->threads.n_threads; i++)
        if (t[i].sp >= e->start && t[i].sp < e->end)
            return 1;
    return 0;
}

static uint32_t region_kind(const struct copy *c, const struct map_entry *e) {
    const char *const name = map_name(e);
    if (strcmp(name, "[heap]") == 0)
        return SNAP_REGN_HEAP;
    if (starts_with(name, "[stack"))
        return SNAP_REGN_STACK;
    if (starts_with(name, "[anon:heapsnap"))
        return SNAP_REGN_RECORDER;
    if (starts_with(name, "[v"))
        return SNAP_REGN_SPECIAL;
    if (starts_with(name, "/dev/shm/") || starts_with(name, "/memfd:") ||
        starts_with(name, "/SYSV") || starts_with(name, "/dev/zero") ||
        starts_with(name, "[anon_shmem:"))
        return SNAP_REGN_SHARED_MEMORY;
    if (starts_with(name, "/dev/"))
        return SNAP_REGN_DEVICE;
    if (name[0] == '/')
        return SNAP_REGN_FILE;
    if (name[0] == '\0' || starts_with(name, "[anon:"))
        return holds_stack(c, e) ? SNAP_REGN_STACK : SNAP_REGN_ANONYMOUS;
    return SNAP_REGN_SPECIAL;
}

static int keep_regions(void *context, const struct recorder_region *regions, size_t n) {
    memory_add(context, regions, n * sizeof *regions);
    return 0;
}

static void put_region(struct regions *r, const struct map_entry *e, uint32_t kind, uint64_t start,
                       uint64_t end, const struct recorder_region *known) {
    struct copy *const c = r->copy;
    const struct wire_region w = {
        .address = start,
        .size = end - start,
        .kind = kind,
        .protection = e->protection,
        .name_len = e->name_length,
        .birth = known ? known->birth : 0,
        .stack = known && known->stack <= c->n_stacks_old ? c->stack_ids[known->stack] : 0,
        /* What is resident is only known of the whole mapping. */
        .resident = start == e->start && end == e->end ? e->resident : 0,
    };
    memory_add(&c->scratch, &w, sizeof w);
    memory_add(&c->scratch, map_name(e), e->name_length);
    memory_pad(&c->scratch);
    r->n++;
    if (c->scan)
        scan_add_mapping(c->scan, &(struct scan_mapping){.start = start,
                                                         .end = end,
                                                         .protection = e->protection,
                                                         .kind = kind,
                                                         .is_file = e->inode != 0,
                                                         .is_known = known != NULL});
}

/* The kernel joins neighbours and splits what was mapped at once; a region that the target mapped
 * itself is cut out of the kernel's mapping, so that each has its stack. */
static void put_regions(struct copy *c, const struct memory *known_regions) {
    struct regions r = {.copy = c,
                        .known = (void *)known_regions->data,
                        .n_known = known_regions->length / sizeof(struct recorder_region)};
    size_t k = 0;
    for (const struct map_entry *e = NULL; (e = map_next(c, e));) {
        const uint32_t kind = region_kind(c, e);
        uint64_t at = e->start;
        while (k < r.n_known && r.known[k].address + r.known[k].size <= at)
            k++;
        for (size_t i = k; i < r.n_known && r.known[i].address < e->end && at < e->end; i++) {
            const struct recorder_region *const known = &r.known[i];
            const uint64_t start = known->address > at ? known->address : at;
            const uint64_t known_end = known->address + known->size;
            const uint64_t end = known_end < e->end ? known_end : e->end;
            if (end <= start)
                continue;
            if (start > at)
                put_region(&r, e, kind, at, start, NULL);
            put_region(&r, e, kind, start, end, known);
            at = end;
        }
        if (at < e->end)
            put_region(&r, e, kind, at, e->end, NULL);
    }
    put_scratch(c, WIRE_REGION, r.n);
}

/* --- stacks, threads, blocks --- */

/* Marks a stack and all its callers. */
static void use_stack(struct copy *c, uint32_t id) {
    while (id && id <= c->n_stacks_old && !c->stack_ids[id]) {
        c->stack_ids[id] = 1;
        id = recorder_stack_get(id).parent;
    }
}

static int use_stacks_of_blocks(void *context, const struct recorder_block *blocks, size_t n) {
    struct copy *const c = context;
    for (size_t i = 0; i < n; i++) {
        const uint32_t id = blocks[i].stack;
        if (id && id <= c->n_stacks_old && !c->stack_ids[id])
            use_stack(c, id);
    }
    return 0;
}

static int put_part(void *context, uint32_t kind, uint32_t n, const void *data, size_t bytes) {
    struct copy *const c = context;
    put_section(c, kind, n, data, bytes);
    return c->error;
}

/* Sends what frames of Python functions are called, where stacks that are used have such. */
static void put_python_frames(struct copy *c) {
    uint32_t n = 0;
    for (uint32_t id = 1; id <= c->n_stacks_old; id++)
        n += c->stack_ids[id] && recorder_stack_get(id).flags & RECORDER_STACK_PYTHON;
    if (n == 0 || c->error)
        return;
    c->python = (struct python_send){.context = c, .put = put_part};
    c->error = python_send_open(&c->python, n);
    for (uint32_t id = 1; id <= c->n_stacks_old && !c->error; id++) {
        const struct recorder_stack s = recorder_stack_get(id);
        if (c->stack_ids[id] && s.flags & RECORDER_STACK_PYTHON)
            c->managed[id] = python_send_position(&c->python, s.pc, &c->error);
    }
    python_send_close(&c->python);
    c->notes.n_strings = c->python.n_strings;
    c->ids.n_frames = c->python.n_frames;
}

/* Sends those that are used, in the order in which they were made (parents first), with ids from 1.
 */
static void put_stacks(struct copy *c) {
    uint32_t n = 0;
    for (uint32_t id = 1; id <= c->n_stacks_old; id++)
        if (c->stack_ids[id])
            c->stack_ids[id] = ++n;
    const struct wire_section section = {
        .kind = WIRE_STACK, .n = n, .bytes = (uint64_t)n * sizeof(struct wire_stack)};
    stream_put(c, &section, sizeof section);
    for (uint32_t id = 1; id <= c->n_stacks_old && !c->error; id++) {
        if (!c->stack_ids[id])
            continue;
        const struct recorder_stack s = recorder_stack_get(id);
        struct wire_stack w = {
            .parent = s.parent < id ? c->stack_ids[s.parent] : 0, .flags = s.flags, .pc = s.pc};
        if (s.flags & RECORDER_STACK_PYTHON) {
            w.flags = (s.flags & ~RECORDER_STACK_PYTHON) | WIRE_STACK_MANAGED;
            w.pc = c->managed[id];
        }
        stream_put(c, &w, sizeof w);
    }
}

static void put_threads(struct copy *c) {
    const struct park_thread *const threads = park_threads();
    const uint32_t n = c->collect->threads.n_threads;
    for (uint32_t i = 0; i < n; i++) {
        const struct park_thread *const t = &threads[i];
        struct wire_thread w = {.tid = t->tid, .sp = t->sp};
        w.flags = atomic_load(&t->flags);
        if (i < sizeof c->slot->woke * 8 && (c->slot->woke[i / 64] >> i % 64 & 1))
            w.flags = SNAP_THRD_FLAG_UNSTOPPED;
        if (t->tid == (uint32_t)moment_process.pid)
            w.flags |= SNAP_THRD_FLAG_MAIN;
        for (const struct map_entry *e = NULL; (e = map_next(c, e));)
            if (t->sp >= e->start && t->sp < e->end) {
                w.stack_low = e->start;
                w.stack_high = e->end;
            }
        if (i == 0 && c->collect->request->stack <= c->n_stacks_old)
            w.stack = c->stack_ids[c->collect->request->stack];
        char path[64], name[32];
        procfs_path(path, sizeof path, c->target_pid, (int)t->tid, "comm");
        if (procfs_read(path, name, sizeof name) > 0) {
            size_t length = strcspn(name, "\n");
            length = length < sizeof w.name ? length : sizeof w.name - 1;
            memcpy(w.name, name, length);
        }
        memory_add(&c->scratch, &w, sizeof w);
    }
    put_scratch(c, WIRE_THREAD, n);
}

_Static_assert(sizeof(struct recorder_block) == sizeof(struct wire_block), "sent as they are");

/* Blocks that the walker may have a label for. */
static void keep_for_label(struct copy *c, const struct recorder_block *block, uint32_t node) {
    const struct managed_block b = {.address = block->address, .node = node};
    if (c->label_size && block->size >= c->label_size &&
        block->size - c->label_size <= LABEL_SIZE_RANGE && c->labelled.length < LABELLED_BYTES_MAX)
        memory_add(&c->labelled, &b, sizeof b);
}

static int put_blocks(void *context, const struct recorder_block *blocks, size_t n) {
    enum { RUN = 1024 };
    struct copy *const c = context;
    while (n > 0 && !c->error) {
        struct wire_block run[RUN];
        const size_t part = n < RUN ? n : RUN;
        size_t n_run = 0;
        for (size_t i = 0; i < part; i++) {
            const uint32_t stack = blocks[i].stack;
            if (c->scan && !scan_add_block(c->scan, blocks[i].address, blocks[i].size)) {
                objects_take_block(&c->objects, &blocks[i],
                                   stack <= c->n_stacks_old ? c->stack_ids[stack] : 0);
                continue;
            }
            keep_for_label(c, &blocks[i], (uint32_t)(c->n_blocks + n_run) + 1);
            run[n_run++] =
                (struct wire_block){.address = blocks[i].address,
                                    .size = blocks[i].size,
                                    .birth = blocks[i].birth,
                                    .stack = stack <= c->n_stacks_old ? c->stack_ids[stack] : 0,
                                    .flags = blocks[i].flags};
            c->block_bytes += blocks[i].size;
        }
        c->n_blocks += n_run;
        if (n_run > 0)
            put_section(c, WIRE_BLOCK, (uint32_t)n_run, run, n_run * sizeof *run);
        blocks += part;
        n -= part;
    }
    return c->error;
}

/* --- the whole --- */

/* The final path: the pattern with %p, %n, %r and %%. A "%r" without a rank is "0". */
static void expand_pattern(struct text *t, const char *pattern, const struct collect *m,
                           int *out_is_unique) {
    int has_pid = 0, has_sequence = 0;
    for (const char *p = pattern; *p; p++) {
        if (*p != '%' || !p[1]) {
            text_add_n(t, p, 1);
            continue;
        }
        switch (*++p) {
        case 'p':
            text_add_number(t, (uint64_t)moment_process.pid);
            has_pid = 1;
            break;
        case 'n':
            text_add_number(t, m->sequence);
            has_sequence = 1;
            break;
        case 'r':
            text_add_number(t, moment_process.rank < 0 ? 0 : (uint64_t)moment_process.rank);
            break;
        case '%': text_add(t, "%"); break;
        default: text_add_n(t, p - 1, 2); break;
        }
    }
    *out_is_unique = has_pid && has_sequence;
}

static void put_target(struct copy *c) {
    const struct moment_request *const r = c->collect->request;
    struct text t;
    int is_unique;
    text_init(&t, c->slot->path, sizeof c->slot->path);
    expand_pattern(&t, r->pattern ? r->pattern : moment_process.pattern, c->collect, &is_unique);
    const struct wire_target w = {
        .flags = (r->overwrite ? WIRE_OVERWRITE : 0) | (r->unique ? WIRE_UNIQUE : 0),
        .path_len = (uint32_t)t.length,
        .pid = (uint32_t)moment_process.pid,
        .sequence = c->collect->sequence,
    };
    memory_add(&c->scratch, &w, sizeof w);
    memory_add(&c->scratch, t.data, t.length);
    memory_pad(&c->scratch);
    put_scratch(c, WIRE_TARGET, 1);
}

static int put_scanned(void *context, uint32_t kind, uint32_t n, const void *data, size_t bytes) {
    struct copy *const c = context;
    if (c->objects.walk && n > 0 && (kind == WIRE_EDGE || kind == WIRE_ROOT)) {
        c->scratch.length = 0;
        memory_add(&c->scratch, data, bytes);
        const uint32_t left = objects_filter(&c->objects, kind, n, c->scratch.data);
        c->scratch.length = bytes / n * left;
        if (left > 0)
            put_scratch(c, kind, left);
        c->ids.n_roots += kind == WIRE_ROOT ? left : 0;
        return c->error;
    }
    put_section(c, kind, n, data, bytes);
    return c->error;
}

static int put_walked(void *context, uint32_t kind, uint32_t n, const void *data, size_t bytes) {
    struct copy *const c = context;
    c->n_pools += kind == WIRE_POOL ? n : 0;
    c->n_nodes += kind == WIRE_NODE || kind == WIRE_OBJECT ? n : 0;
    put_section(c, kind, n, data, bytes);
    return c->error;
}

static int put_objects_part(void *context, uint32_t kind, uint32_t n, const void *data,
                            size_t bytes) {
    struct copy *const c = context;
    if ((kind != WIRE_NODE && kind != WIRE_OBJECT) || n == 0)
        return put_walked(context, kind, n, data, bytes);
    c->n_nodes += n;
    c->scratch.length = 0;
    memory_add(&c->scratch, data, bytes);
    if (!c->scratch.failed)
        objects_put_origins(&c->objects, kind, n, c->scratch.data);
    put_scratch(c, kind, n);
    return c->error;
}

/* The number of a thread in the stream. */
static uint32_t thread_number(void *context, uint32_t tid) {
    const struct copy *const c = context;
    for (uint32_t i = 0; i < c->collect->threads.n_threads; i++)
        if (park_threads()[i].tid == tid)
            return i + 1;
    return 0;
}

static void put_objects(struct copy *c) {
    c->objects.n_blocks = (uint32_t)c->n_blocks;
    c->ids = (struct managed_sink){.context = c,
                                   .section = put_objects_part,
                                   .thread = thread_number,
                                   .n_nodes = (uint32_t)c->n_blocks,
                                   .n_strings = c->notes.n_strings,
                                   .n_frames = c->ids.n_frames,
                                   .n_types = c->notes.n_types};
    if (c->objects.walk && !c->error)
        c->error = c->objects.walker->send_nodes(c->objects.walk, &c->ids);
}

static void put_object_references(struct copy *c) {
    struct objects *const o = &c->objects;
    if (o->walk && !c->error && !c->collect->request->no_edges)
        c->error = o->walker->send_references(o->walk, &c->ids);
    if (o->walk && !c->error && !c->collect->request->no_edges)
        c->error = o->walker->send_roots(o->walk, &c->ids, o->held);
    if (o->walk && !c->error && !c->labelled.failed)
        c->error = o->walker->send_labels(o->walk, &c->ids, (const void *)c->labelled.data,
                                          c->labelled.length / sizeof(struct managed_block));
}

static void tick_scanned(void *context) {
    tick(context);
}

static void add_own(void *context, uintptr_t start, size_t bytes) {
    scan_add_own(context, start, start + bytes);
}

/* Mapped when the list of mappings was read. */
static void add_all_own(const struct copy *c) {
    rawmem_for_each(add_own, c->scan);
    add_own(c->scan, (uintptr_t)c->stream, STREAM_SIZE);
    add_own(c->scan, (uintptr_t)c->helper_stack, HELPER_STACK_SIZE);
    add_own(c->scan, (uintptr_t)c->stack_ids, c->stack_ids_size);
    add_own(c->scan, (uintptr_t)c->managed, c->stack_ids_size);
    add_own(c->scan, (uintptr_t)c->device.memory, c->device.bytes);
}

static void put_references(struct copy *c) {
    struct scan_counts counts = {0};
    if (!c->scan || c->error)
        return;
    add_all_own(c);
    scan_run(c->scan, park_threads(), c->collect->threads.n_threads, &counts);
    uint32_t n = 0;
    meta_missing(c, &n, "unread_bytes", counts.unread_bytes);
    if (n > 0)
        put_scratch(c, WIRE_META, n);
}

/* --- what the program said --- */

static uint32_t sent_stack(void *context, uint32_t stack) {
    const struct copy *const c = context;
    return stack <= c->n_stacks_old ? c->stack_ids[stack] : 0;
}

static void use_other_stack(void *context, uint32_t stack) {
    use_stack(context, stack);
}

static uint32_t find_node(void *context, uint64_t address, uint64_t *out_offset) {
    const struct copy *const c = context;
    return c->scan ? scan_find(c->scan, address, out_offset) : 0;
}

static size_t read_some(void *context, uint64_t address, void *out, size_t size) {
    const struct iovec to = {out, size}, from = {(void *)(uintptr_t)address, size};
    const long n = raw_call(SYS_process_vm_readv, raw_pid(), (long)&to, 1, (long)&from, 1, 0);
    if (n != -EPERM && n != -ENOSYS)
        return n > 0 ? (size_t)n : 0;
    return peek(context, address, out, size) == 0 ? size : 0;
}

static void init_notes(struct copy *c) {
    struct notes_sink *const s = &c->notes;
    s->context = c;
    s->put = put_walked;
    s->stack = sent_stack;
    s->find = find_node;
    s->read = read_some;
}

/* --- device memory --- */

static struct device_sink device_sink(struct copy *c) {
    return (struct device_sink){.context = c,
                                .put = put_scanned,
                                .stack = sent_stack,
                                .n_pools = c->n_pools,
                                .names = c->notes.names};
}

static void put_device_nodes(struct copy *c) {
    const struct device_sink sink = device_sink(c);
    if (!c->error)
        device_heap_send_nodes(&c->device, &sink);
}

static void put_device_references(struct copy *c) {
    const struct device_sink sink = device_sink(c);
    if (!c->error)
        device_heap_send_references(&c->device, &sink, c->n_nodes - c->device.n_nodes);
    if (!c->error)
        device_heap_send_resources(&c->device, &sink);
}

static void send_all(struct copy *c) {
    const struct wire_hello hello = {.magic = WIRE_MAGIC,
                                     .version = WIRE_VERSION,
                                     .flags = c->collect->in_place ? WIRE_SPOOL : 0};
    put_section(c, WIRE_HELLO, 1, &hello, sizeof hello);
    put_target(c);
    read_maps(c);
    put_meta(c);
    put_modules(c);

    struct memory known = {0};
    recorder_for_each_region(keep_regions, &known);
    recorder_for_each_block(use_stacks_of_blocks, c);
    notes_stacks(use_other_stack, c);
    device_heap_stacks(&c->device, use_other_stack, c);
    for (size_t i = 0; i < known.length / sizeof(struct recorder_region); i++)
        use_stack(c, ((struct recorder_region *)(void *)known.data)[i].stack);
    use_stack(c, c->collect->request->stack);
    put_python_frames(c);
    put_stacks(c);
    put_threads(c);
    put_regions(c, &known);
    memory_release(&known);
    c->label_size = c->objects.walk ? c->objects.walker->label_size(c->objects.walk) : 0;
    recorder_for_each_block(put_blocks, c);
    c->notes.n_blocks = (uint32_t)c->n_blocks;
    c->n_nodes = (uint32_t)c->n_blocks;
    notes_send_names(&c->notes);
    put_objects(c); /* names of ours from here on */
    put_device_nodes(c);
    put_references(c);
    notes_send_facts(&c->notes);
    put_object_references(c);
    put_device_references(c);
}

static int prepare(struct copy *c) {
    raw_room_find();
    c->stream = raw_map(STREAM_SIZE, MAP_PRIVATE | MAP_ANONYMOUS);
    c->helper_stack = raw_map(HELPER_STACK_SIZE, MAP_PRIVATE | MAP_ANONYMOUS);
    c->n_stacks_old = recorder_n_stacks();
    c->stack_ids_size = ((size_t)c->n_stacks_old + 1) * sizeof *c->stack_ids;
    c->stack_ids = raw_map(c->stack_ids_size, MAP_PRIVATE | MAP_ANONYMOUS);
    c->managed = raw_map(c->stack_ids_size, MAP_PRIVATE | MAP_ANONYMOUS);
    objects_open(&c->objects, c->collect->request->is_held, c->collect->in_place);
    notes_places_make();
    device_heap_open(&c->device, c->objects.walk ? (uint32_t)c->objects.n : 0);
    const struct scan_sink sink = {.context = c, .put = put_scanned, .tick = tick_scanned};
    if (!c->collect->request->no_edges)
        c->scan = scan_new(&sink);
    if (c->scan && c->objects.walk)
        scan_set_targets(c->scan, c->objects.targets, c->objects.n);
    if (c->scan)
        scan_add_targets(c->scan, (void *)c->device.targets, c->device.n_targets);
    return c->stream && c->helper_stack && c->stack_ids && c->managed ? 0 : -ENOMEM;
}

static void release(struct copy *c) {
    memory_release(&c->scratch);
    memory_release(&c->labelled);
    memory_release(&c->maps);
    if (c->stream)
        raw_unmap(c->stream, STREAM_SIZE);
    if (c->stack_ids)
        raw_unmap(c->stack_ids, c->stack_ids_size);
    if (c->managed)
        raw_unmap(c->managed, c->stack_ids_size);
    scan_free(c->scan);
    c->scan = NULL;
    notes_places_release();
    objects_close(&c->objects);
    device_heap_close(&c->device);
}

static void say(struct copy *c, int result, const char *text) {
    struct text t;
    c->slot->result = result;
    text_init(&t, c->slot->message, sizeof c->slot->message);
    text_add(&t, text);
}

/* Reads the writer's answer until it ends. */
static void hear(struct copy *c) {
    char line[CTL_PATH_SIZE + 64];
    size_t length = 0;
    for (;;) {
        char part[512];
        const long n = raw_read(c->status_fd, part, sizeof part);
        if (n <= 0)
            break;
        tick(c);
        for (long i = 0; i < n; i++)
            if ((part[i] != '.' || length > 0) && length < sizeof line - 1)
                line[length++] = part[i];
    }
    while (length > 0 && line[length - 1] == '\n')
        length--;
    line[length] = '\0';
    if (starts_with(line, "ok ")) {
        struct text t;
        text_init(&t, c->slot->path, sizeof c->slot->path);
        text_add(&t, line + 3);
        c->slot->result = 0;
    } else if (starts_with(line, "error ")) {
        const char *p = line + 6;
        const uint64_t code = procfs_decimal(&p);
        p += *p == ' ';
        say(c, code && code < 100 ? -(int)code : SNAP_E_IO, p);
    } else
        say(c, SNAP_E_IO, "");
}

static void wait_for_writer(struct copy *c) {
    hear(c);
    int status = 0;
    raw_call(SYS_wait4, c->writer_pid, (long)&status, __WALL, 0, 0, 0);
    if (c->slot->result == 0 || c->slot->message[0])
        return;
    struct text t;
    text_init(&t, c->slot->message, sizeof c->slot->message);
    if (c->writer_error) {
        text_add(&t, "cannot start '");
        text_add(&t, moment_process.writer);
        text_add(&t, "' (error ");
        text_add_number(&t, (uint64_t)c->writer_error);
        text_add(&t, ")");
    } else {
        text_add(&t, "heapsnap-write ended without a result, ");
        text_add(&t, WIFSIGNALED(status) ? "killed by signal " : "status ");
        text_add_number(&t,
                        (uint64_t)(WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status)));
    }
}

/* A line for `snap run`, which tells its user at the end. */
static void log_result(const struct copy *c) {
    if (!moment_process.log[0])
        return;
    char line[CTL_PATH_SIZE + CTL_TEXT_MAX + 64];
    struct text t;
    text_init(&t, line, sizeof line);
    text_add(&t, c->slot->result ? "failed " : "ok ");
    text_add_number(&t, (uint64_t)moment_process.pid);
    text_add(&t, " ");
    text_add(&t, c->slot->result ? c->slot->message : c->slot->path);
    text_add(&t, "\n");
    const int fd = raw_open(moment_process.log, O_WRONLY | O_APPEND | O_NOFOLLOW, 0);
    if (fd < 0)
        return;
    raw_write(fd, line, t.length);
    raw_close(fd);
}

static void answer(const struct copy *c) {
    struct ctl_page *const ctl = moment_process.ctl;
    const struct moment_slot *const slot = c->slot;
    if (!ctl || !slot->ctl_number || atomic_load(&ctl->asked) != slot->ctl_number)
        return;
    memcpy(ctl->response.message, slot->message, sizeof ctl->response.message);
    memcpy(ctl->response.path, slot->path, sizeof ctl->response.path);
    ctl->response.code = slot->result;
    atomic_store(&ctl->response.answer, slot->result ? CTL_FAILED : CTL_WRITTEN);
    atomic_store(&ctl->answered, slot->ctl_number);
    raw_futex_wake(&ctl->answered);
}

/* Lets go of all that is the target's but its memory, so that a pipe it closes is closed; and gets
 * out of the way of terminals, core files and the killer of processes short of memory. The group is
 * its own, so that a terminal's Ctrl-C is not meant for it, but not the session: Linux weighs
 * sessions against each other (autogroup), and a copy that weighs as much as all of the target
 * takes too much from it, or, as seen on Linux 6.18 with a busy target, gets nothing for half a
 * minute. */
static void leave_target(struct copy *c) {
    raw_call3(SYS_close_range, 0, 0xffffffffu, 0);
    c->null_fd = raw_open("/dev/null", O_RDWR, 0);
    if (c->null_fd == 0)
        c->null_fd = high_fd(c->null_fd);
    raw_call3(SYS_setpgid, 0, 0, 0);
    raw_call3(SYS_prctl, PR_SET_NAME, (long)"heapsnap", 0);
    const struct rlimit no_core = {0, 0};
    raw_call3(SYS_setrlimit, RLIMIT_CORE, (long)&no_core, 0);
    /* In place it would be the target's, too. */
    const int fd = c->collect->in_place ? -1 : raw_open("/proc/self/oom_score_adj", O_WRONLY, 0);
    if (fd >= 0) {
        raw_write(fd, "1000", 4);
        raw_close(fd);
    }
    default_action(SIGCHLD);
}

/* Where the target has used up its address space, the copy has none either: it gets what was kept
 * for it, and as much as the target might have asked for. The reserve of a target that is read in
 * place stays. */
static void make_room(const struct copy *c) {
    struct rlimit limit;
    if (moment_process.reserve && !c->collect->in_place)
        raw_unmap(moment_process.reserve, moment_process.reserve_bytes);
    if (raw_call(SYS_prlimit64, 0, RLIMIT_AS, 0, (long)&limit, 0, 0) != 0)
        return;
    const struct rlimit none = {RLIM_INFINITY, RLIM_INFINITY};
    limit.rlim_cur = limit.rlim_max;
    if (raw_call(SYS_prlimit64, 0, RLIMIT_AS, (long)&none, 0, 0, 0) != 0)
        raw_call(SYS_prlimit64, 0, RLIMIT_AS, (long)&limit, 0, 0, 0);
}

static void wait_until_ready(const struct copy *c, uint64_t timeout_ns) {
    const uint64_t end_ns = raw_clock_ns(CLOCK_MONOTONIC) + timeout_ns;
    while (!atomic_load(&c->slot->ready) && raw_clock_ns(CLOCK_MONOTONIC) < end_ns)
        raw_futex_wait(&c->slot->ready, 0, 100000000);
}

int collect_main(void *context) {
    struct copy copy = {.collect = context}, *const c = &copy;
    c->slot = c->collect->slot;
    c->target_pid = moment_process.pid;
    const int in_place = c->collect->in_place;
    init_notes(c);
    notes_read_signals(c->notes.signals);
    leave_target(c);
    make_room(c);

    say(c, SNAP_E_IO, "");
    int failed = prepare(c);
    if (!failed)
        failed = start_writer(c);
    if (!failed) {
        if (!in_place)
            wait_until_ready(c, READY_WAIT_NS);
        send_all(c);
        if (in_place) {
            stream_flush(c);
            atomic_store(&c->slot->sent, 1);
            raw_futex_wake(&c->slot->sent);
            wait_until_ready(c, READY_WAIT_NS);
        }
        const struct wire_end end = {
            .n_blocks = c->n_blocks, .block_bytes = c->block_bytes, .pause_ns = c->slot->pause_ns};
        if (!c->error)
            put_section(c, WIRE_END, 1, &end, sizeof end);
        stream_flush(c);
        raw_close(c->stream_fd);
        release(c);
        wait_for_writer(c);
    } else {
        release(c);
        say(c, SNAP_E_NOMEM,
            failed == -ENOMEM ? "no memory to read the process" : "cannot start heapsnap-write");
    }
    log_result(c);
    answer(c);
    atomic_store(&c->slot->state, MOMENT_DONE);
    raw_futex_wake(&c->slot->state);
    raw_call3(SYS_exit_group, 0, 0, 0);
    return 0;
}
