/* Where a snapshot goes, and what it says about itself: the file's name, its temporary one, and the
 * rows of META. A name is only ever taken by a complete file. */
#include "model/destination.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/err.h"
#include "base/mem.h"
#include "model/driver_memory.h"

#define PATH_SIZE_MAX 65536u

void destination_release(struct destination *d) {
    if (d->partial)
        unlink(d->partial);
    free(d->partial);
    free(d->path);
}

int destination_read(struct destination *d, struct stream *in, snap_error *err) {
    const struct wire_target *t;
    const char *path;
    SNAP_TRY(stream_take(in, sizeof *t, (const void **)&t, err));
    d->target = *t;
    SNAP_TRY(stream_take(in, d->target.path_len, (const void **)&path, err));
    if (d->target.path_len == 0 || d->target.path_len > PATH_SIZE_MAX)
        return stream_broken(err, "the path");
    d->path = strndup(path, d->target.path_len);
    if (!d->path)
        return stream_no_memory(err);
    return stream_pad(in, d->target.path_len, err);
}

char *destination_directory(const struct destination *d) {
    const char *const slash = strrchr(d->path, '/');
    if (!slash)
        return strdup(".");
    return strndup(d->path, slash == d->path ? 1 : (size_t)(slash - d->path));
}

/* "out.snap" -> "out.PID.SEQUENCE.snap", then "out.PID.SEQUENCE-2.snap", ... */
static char *unique_path(const struct destination *d, unsigned attempt) {
    if (attempt == 0)
        return strdup(d->path);
    const char *const slash = strrchr(d->path, '/');
    const char *const name = slash ? slash + 1 : d->path;
    const char *dot = strrchr(name, '.');
    if (!dot || dot == name)
        dot = name + strlen(name);
    char again[16] = "";
    if (attempt > 1)
        snprintf(again, sizeof again, "-%u", attempt);
    char *path;
    if (asprintf(&path, "%.*s.%u.%u%s%s", (int)(dot - d->path), d->path, d->target.pid,
                 d->target.sequence, again, dot) < 0)
        return NULL;
    return path;
}

/* One besides this one where there is a processor for it: more would be the target's. */
static uint32_t n_threads(void) {
    return sysconf(_SC_NPROCESSORS_ONLN) > 1;
}

/* A name that may have to change is found only when the file is complete: until then it is written
 * under a hidden one, which cannot be taken. */
int destination_open(struct destination *d, snap_writer **out, snap_error *err) {
    const snap_writer_options options = {.struct_size = sizeof options,
                                         .overwrite = (d->target.flags & WIRE_OVERWRITE) != 0,
                                         .n_threads = n_threads()};
    const char *path = d->path;
    struct stat st;
    const int is_file = stat(path, &st) != 0 || S_ISREG(st.st_mode); /* else a device, or a pipe */
    if ((d->target.flags & WIRE_UNIQUE) && !options.overwrite && is_file) {
        const char *const slash = strrchr(d->path, '/');
        const int directory = slash ? (int)(slash + 1 - d->path) : 0;
        if (asprintf(&d->partial, "%.*s.heapsnap-%u.%u.%ld", directory, d->path, d->target.pid,
                     d->target.sequence, (long)getpid()) < 0) {
            d->partial = NULL;
            return stream_no_memory(err);
        }
        path = d->partial;
    }
    /* NOLINTNEXTLINE(clang-analyzer-unix.Malloc): d->path is freed with the rest of d */
    return snap_writer_open_file(out, path, &options, err);
}

static int write_error(snap_error *err, const char *path, int error) {
    return err_set(err, SNAP_E_IO, "cannot write '%s': %s", path, strerror(error));
}

/* Moves the complete file to the first name that is free. */
int destination_commit(struct destination *d, snap_error *err) {
    enum { ATTEMPTS = 1000 };
    for (unsigned attempt = 0; d->partial && attempt < ATTEMPTS; attempt++) {
        char *const path = unique_path(d, attempt);
        if (!path)
            return stream_no_memory(err);
        int failed = renameat2(AT_FDCWD, d->partial, AT_FDCWD, path, RENAME_NOREPLACE);
        if (failed && (errno == EINVAL || errno == ENOSYS)) {
            failed = link(d->partial, path);
            if (!failed)
                unlink(d->partial);
        }
        if (failed && (errno == EPERM || errno == ENOTSUP || errno == ENOSYS)) {
            failed = access(path, F_OK) == 0;
            errno = EEXIST;
            if (!failed)
                failed = rename(d->partial, path);
        }
        if (failed && errno == EEXIST) {
            free(path);
            continue;
        }
        const int error = errno;
        free(d->path);
        d->path = path;
        if (failed)
            return write_error(err, d->path, error);
        free(d->partial);
        d->partial = NULL;
    }
    return d->partial ? write_error(err, d->path, EEXIST) : 0;
}

/* Arguments, each ended by NUL, as one line that a shell would take apart again. */
static char *quote_command(const char *arguments, size_t size) {
    static const char plain[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
                                "_-+=./:,@%^";
    char *const out = mem_alloc(size * 4 + 4, 1);
    if (!out)
        return NULL;
    char *to = out;
    /* A program that writes its title over its arguments fills the rest with NUL. */
    while (size > 1 && arguments[size - 1] == '\0' && arguments[size - 2] == '\0')
        size--;
    for (size_t at = 0; at < size;) {
        const size_t length = strnlen(arguments + at, size - at);
        const char *const word = arguments + at;
        int is_plain = length > 0;
        for (size_t i = 0; i < length; i++)
            is_plain &= strchr(plain, word[i]) != NULL;
        if (to != out)
            *to++ = ' ';
        if (is_plain) {
            memcpy(to, word, length);
            to += length;
        } else {
            *to++ = '\'';
            for (size_t i = 0; i < length; i++)
                if (word[i] == '\'') {
                    memcpy(to, "'\\''", 4);
                    to += 4;
                } else
                    *to++ = word[i];
            *to++ = '\'';
        }
        at += length + 1;
    }
    *to = '\0';
    return out;
}

/* Text keys of META; all others are numbers. */
static int is_text_key(uint32_t key) {
    switch (key) {
    case SNAP_META_LINEAGE:
    case SNAP_META_PARENT_LINEAGE:
    case SNAP_META_LABEL:
    case SNAP_META_COMMAND:
    case SNAP_META_EXECUTABLE:
    case SNAP_META_HOST:
    case SNAP_META_ARCH:
    case SNAP_META_ALLOCATOR: return 1;
    default: return 0;
    }
}

static int write_meta_text(snap_writer *w, uint32_t key, const char *text, size_t length,
                           snap_error *err) {
    char *copy = key == SNAP_META_COMMAND ? quote_command(text, length) : strndup(text, length);
    if (!copy)
        return stream_no_memory(err);
    if (strlen(copy) > SNAP_BYTES_MAX)
        copy[SNAP_BYTES_MAX] = '\0';
    const int result = *copy ? snap_writer_meta_text(w, key, copy, err) : 0;
    free(copy);
    return result;
}

static int write_meta_named(snap_writer *w, const struct wire_meta *m, const char *name,
                            snap_error *err) {
    char *const copy = strndup(name, m->name_len);
    if (!copy)
        return stream_no_memory(err);
    const int result = snap_writer_meta_named(w, m->key, copy, m->value, err);
    free(copy);
    return result;
}

/* What the driver says about a device, beside what the process knows itself. */
static int write_driver_memory(snap_writer *w, uint64_t device, const char *name, uint64_t pid,
                               snap_error *err) {
    char uuid[64];
    struct driver_memory memory;
    snprintf(uuid, sizeof uuid, "%.*s", (int)strcspn(name, " "), name);
    if (!driver_memory_read(uuid, (uint32_t)pid, &memory))
        return 0;
    const struct {
        const char *name;
        uint64_t value;
    } facts[] = {{"process", memory.process_bytes},
                 {"used", memory.used_bytes},
                 {"total", memory.total_bytes}};
    for (size_t i = 0; i < sizeof facts / sizeof *facts; i++) {
        char key[64];
        snprintf(key, sizeof key, "device%" PRIu64 "_%s_bytes", device, facts[i].name);
        if (facts[i].value != 0)
            SNAP_TRY(snap_writer_meta_named(w, SNAP_META_PROCESS, key, facts[i].value, err));
    }
    return 0;
}

int destination_meta(struct stream *in, uint32_t n, snap_writer *w, snap_error *err) {
    char writer[64], name[256];
    uint64_t pid = 0;
    snprintf(writer, sizeof writer, "heapsnap %s", snap_version());
    SNAP_TRY(snap_writer_meta_text(w, SNAP_META_WRITER, writer, err));
    for (uint32_t i = 0; i < n; i++) {
        const struct wire_meta *record;
        const char *text;
        SNAP_TRY(stream_take(in, sizeof *record, (const void **)&record, err));
        const struct wire_meta m = *record;
        const size_t size = (size_t)m.name_len + m.text_len;
        SNAP_TRY(stream_take(in, size, (const void **)&text, err));
        if (m.key == SNAP_META_PID)
            pid = m.value;
        if (m.key == SNAP_META_DEVICE && m.name_len < sizeof name) {
            snprintf(name, sizeof name, "%.*s", (int)m.name_len, text);
            SNAP_TRY(write_driver_memory(w, m.value, name, pid, err));
        }
        if (m.name_len > 0)
            SNAP_TRY(write_meta_named(w, &m, text, err));
        else if (is_text_key(m.key))
            SNAP_TRY(write_meta_text(w, m.key, text, m.text_len, err));
        else
            SNAP_TRY(snap_writer_meta_number(w, m.key, m.value, err));
        SNAP_TRY(stream_pad(in, size, err));
    }
    return 0;
}
