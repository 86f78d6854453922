/* The state of the calling process as far as anybody can see it, straight into a writer. Runs in
 * the program's own thread, with its malloc. Knows no blocks. */
#include "model/untracked.h"

#include <dirent.h>
#include <errno.h>
#include <inttypes.h>
#include <link.h>
#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/utsname.h>
#include <time.h>
#include <unistd.h>

#include <heapsnap/writer.h>

#include "base/err.h"
#include "model/mapping.h"

/* A call to the writer, with its error kept: the first one counts. */
struct out {
    snap_writer *writer;
    snap_error *err;
    int result;
};

static void number(struct out *o, uint32_t key, uint64_t value) {
    if (o->result == 0)
        o->result = snap_writer_meta_number(o->writer, key, value, o->err);
}

static void text(struct out *o, uint32_t key, const char *value) {
    if (o->result == 0 && value && *value)
        o->result = snap_writer_meta_text(o->writer, key, value, o->err);
}

static void named(struct out *o, uint32_t key, const char *name, uint64_t value) {
    if (o->result == 0)
        o->result = snap_writer_meta_named(o->writer, key, name, value, o->err);
}

static uint64_t string(struct out *o, const char *value) {
    uint32_t id = 0;
    if (o->result == 0)
        o->result = snap_writer_string(o->writer, value, &id, o->err);
    return id;
}

static void row(struct out *o, snap_table table, const uint64_t *values) {
    if (o->result == 0)
        o->result = snap_writer_row(o->writer, table, values, NULL, o->err);
}

static uint64_t clock_value_ns(clockid_t clock) {
    struct timespec t = {0};
    clock_gettime(clock, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

/* Counters of status and smaps_rollup, in KiB there. */
static void write_counters(struct out *o, const char *path, const char *const (*fields)[2],
                           size_t n) {
    FILE *const f = fopen(path, "re");
    char *line = NULL;
    size_t size = 0;
    while (f && getline(&line, &size, f) > 0)
        for (size_t i = 0; i < n; i++) {
            const size_t length = strlen(fields[i][0]);
            if (strncmp(line, fields[i][0], length) == 0 && line[length] == ':')
                named(o, SNAP_META_PROCESS, fields[i][1],
                      strtoull(line + length + 1, NULL, 10) * 1024);
        }
    free(line);
    if (f)
        fclose(f);
}

static void write_command(struct out *o) {
    char arguments[4096];
    FILE *const f = fopen("/proc/self/cmdline", "re");
    if (!f)
        return;
    const size_t n = fread(arguments, 1, sizeof arguments - 1, f);
    fclose(f);
    for (size_t i = 0; i + 1 < n; i++)
        if (arguments[i] == '\0')
            arguments[i] = ' ';
    arguments[n] = '\0';
    text(o, SNAP_META_COMMAND, arguments);
}

static void write_meta(struct out *o, const struct untracked *u) {
    static const char *const status[][2] = {
        {"VmRSS", "rss_bytes"},          {"VmHWM", "rss_peak_bytes"},
        {"RssAnon", "rss_anon_bytes"},   {"RssFile", "rss_file_bytes"},
        {"RssShmem", "rss_shmem_bytes"}, {"VmSize", "virtual_bytes"},
        {"VmSwap", "swap_bytes"}};
    static const char *const rollup[][2] = {{"Pss", "pss_bytes"},
                                            {"Private_Dirty", "private_dirty_bytes"}};
    char buffer[4096];
    struct utsname uts;
    snprintf(buffer, sizeof buffer, "heapsnap %s", snap_version());
    text(o, SNAP_META_WRITER, buffer);
    text(o, SNAP_META_LINEAGE, u->lineage);
    number(o, SNAP_META_SEQUENCE, u->sequence);
    number(o, SNAP_META_PID, (uint64_t)getpid());
    number(o, SNAP_META_PARENT_PID, (uint64_t)getppid());
    if (u->rank >= 0)
        number(o, SNAP_META_RANK, (uint64_t)u->rank);
    if (u->has_step)
        number(o, SNAP_META_STEP, (uint64_t)u->step);
    text(o, SNAP_META_LABEL, u->label);
    number(o, SNAP_META_TIME_NS, clock_value_ns(CLOCK_REALTIME));
    write_command(o);
    const ssize_t n = readlink("/proc/self/exe", buffer, sizeof buffer - 1);
    buffer[n > 0 ? n : 0] = '\0';
    text(o, SNAP_META_EXECUTABLE, buffer);
    if (uname(&uts) == 0) {
        text(o, SNAP_META_HOST, uts.nodename);
        text(o, SNAP_META_ARCH, uts.machine);
    }
    number(o, SNAP_META_PAGE_SIZE, (uint64_t)sysconf(_SC_PAGESIZE));
    number(o, SNAP_META_POINTER_SIZE, sizeof(void *));
    number(o, SNAP_META_TRIGGER, SNAP_TRIGGER_API);
    number(o, SNAP_META_CONSISTENCY, SNAP_CONSISTENCY_RUNNING);
    number(o, SNAP_META_TRACKED, 0);
    for (size_t i = 0; i < u->n_counters; i++)
        named(o, SNAP_META_USER, u->counters[i].name, (uint64_t)u->counters[i].value);
    write_counters(o, "/proc/self/status", status, sizeof status / sizeof *status);
    write_counters(o, "/proc/self/smaps_rollup", rollup, sizeof rollup / sizeof *rollup);
#ifdef __GLIBC__
    const struct mallinfo2 info = mallinfo2();
    named(o, SNAP_META_PROCESS, "malloc_in_use_bytes", info.uordblks + info.hblkhd);
    named(o, SNAP_META_PROCESS, "malloc_mapped_bytes", info.hblkhd);
    named(o, SNAP_META_PROCESS, "malloc_free_bytes", info.fordblks);
#endif
}

/* The build id among the notes, in hexadecimal; "" if there is none. */
static void read_build_id(const struct dl_phdr_info *info, char out[129]) {
    out[0] = '\0';
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
                for (uint32_t b = 0; b < note->n_descsz; b++)
                    snprintf(out + 2 * (size_t)b, 3, "%02x", (unsigned char)notes[data + b]);
                return;
            }
            at = end;
        }
    }
}

static int write_module(struct dl_phdr_info *info, size_t size, void *context) {
    struct out *const o = context;
    uint64_t low = UINT64_MAX, high = 0;
    for (unsigned i = 0; i < info->dlpi_phnum; i++) {
        const ElfW(Phdr) *const segment = &info->dlpi_phdr[i];
        if (segment->p_type != PT_LOAD)
            continue;
        const uint64_t start = segment->p_vaddr & ~(uint64_t)4095;
        const uint64_t end = (segment->p_vaddr + segment->p_memsz + 4095) & ~(uint64_t)4095;
        low = start < low ? start : low;
        high = end > high ? end : high;
    }
    char id[129], exe[4096];
    const char *path = info->dlpi_name;
    uint64_t flags = 0;
    if (!path || !*path) { /* the program itself comes first and has no name */
        const ssize_t n = readlink("/proc/self/exe", exe, sizeof exe - 1);
        exe[n > 0 ? n : 0] = '\0';
        path = exe;
        flags = SNAP_MODS_FLAG_MAIN;
    } else if (*path != '/')
        path = "[vdso]";
    read_build_id(info, id);
    if (low < high && o->result == 0)
        o->result =
            snap_writer_module(o->writer, path, *id ? id : NULL, info->dlpi_addr + low,
                               info->dlpi_addr + high, info->dlpi_addr, flags, NULL, o->err);
    return o->result;
}

static void write_threads(struct out *o) {
    DIR *const tasks = opendir("/proc/self/task");
    for (const struct dirent *e; tasks && (e = readdir(tasks));) {
        const unsigned long tid = strtoul(e->d_name, NULL, 10);
        char path[64], name[32] = "";
        if (!tid)
            continue;
        snprintf(path, sizeof path, "/proc/self/task/%lu/comm", tid);
        FILE *const f = fopen(path, "re");
        if (f && fgets(name, sizeof name, f))
            name[strcspn(name, "\n")] = '\0';
        if (f)
            fclose(f);
        uint64_t r[SNAP_COLUMNS_MAX] = {0};
        r[SNAP_THRD_COL_TID] = tid;
        r[SNAP_THRD_COL_NAME] = string(o, name);
        r[SNAP_THRD_COL_FLAGS] =
            SNAP_THRD_FLAG_UNSTOPPED | (tid == (unsigned long)getpid() ? SNAP_THRD_FLAG_MAIN : 0u);
        row(o, SNAP_TABLE_THRD, r);
    }
    if (tasks)
        closedir(tasks);
}

static void write_regions(struct out *o) {
    FILE *const f = fopen("/proc/self/maps", "re");
    char *line = NULL;
    size_t size = 0;
    while (f && getline(&line, &size, f) > 0) {
        struct mapping m;
        if (!mapping_parse(line, &m))
            continue;
        uint64_t r[SNAP_COLUMNS_MAX] = {0};
        r[SNAP_REGN_COL_ADDRESS] = m.start;
        r[SNAP_REGN_COL_SIZE] = m.end - m.start;
        r[SNAP_REGN_COL_KIND] = m.kind;
        r[SNAP_REGN_COL_PROTECTION] = m.protection;
        r[SNAP_REGN_COL_NAME] = string(o, m.name);
        row(o, SNAP_TABLE_REGN, r);
    }
    free(line);
    if (f)
        fclose(f);
}

int untracked_write(const struct untracked *u, snap_error *err) {
    const snap_writer_options options = {.struct_size = sizeof options, .overwrite = u->overwrite};
    struct out o = {.err = err};
    SNAP_TRY(snap_writer_open_file(&o.writer, u->path, &options, err));
    write_meta(&o, u);
    dl_iterate_phdr(write_module, &o);
    write_threads(&o);
    write_regions(&o);
    if (o.result == 0)
        o.result = snap_writer_finish(o.writer, err);
    snap_writer_close(o.writer);
    return o.result;
}
