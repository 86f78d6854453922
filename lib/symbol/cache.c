/* Files of names. See cache.h.
 *
 * A file is a head, entries, positions and texts, as host structs: it is read on the machine and by
 * the version that wrote it, by the user that wrote it, or not at all. It is written under another
 * name and renamed, so that it is whole for whoever opens it; of two that write at once, one wins.
 * Everything in it is checked before use. */
#include "symbol/cache.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <heapsnap/snapdef.h>

#include "base/mem.h"

#define FILE_MAX_BYTES ((uint64_t)256 << 20)
#define POSITIONS_MAX 128u                /* of one address */
#define CACHE_MAGIC 0x3145484341434e53ull /* "SNCACHE1" */

struct head {
    uint64_t magic;
    char version[16];
    uint64_t n_entries, n_positions, text_bytes;
};

struct stored {
    uint32_t function, file; /* offsets in the texts */
    uint32_t line, source;
};

static int is_ours(const struct stat *st) {
    return st->st_uid == geteuid() && !(st->st_mode & 077);
}

const char *cache_directory(void) {
    const char *const path = getenv("HEAPSNAP_CACHE");
    struct stat st;
    return path && *path == '/' && lstat(path, &st) == 0 && S_ISDIR(st.st_mode) && is_ours(&st)
               ? path
               : NULL;
}

/* The name is part of a path: nothing but hexadecimal digits. NULL: not cached, or no memory. */
static char *path_of(const char *directory, const char *build_id, const char *ending) {
    char *path;
    if (!build_id || strlen(build_id) < 16 || strlen(build_id) > 128 ||
        build_id[strspn(build_id, "0123456789abcdef")] != '\0' ||
        asprintf(&path, "%s/%s%s", directory, build_id, ending) < 0)
        return NULL;
    return path;
}

/* --- reading --- */

static int read_all(int fd, void *to, size_t size) {
    for (size_t at = 0; at < size;) {
        const ssize_t n = read(fd, (char *)to + at, size - at);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return -1;
        at += (size_t)n;
    }
    return 0;
}

/* The whole file, if it is one of ours. */
static char *read_file(const char *path, size_t *out_size) {
    const int fd = open(path, O_RDONLY | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK);
    struct stat st;
    char *data = NULL;
    if (fd < 0)
        return NULL;
    if (fstat(fd, &st) == 0 && S_ISREG(st.st_mode) && is_ours(&st) &&
        (uint64_t)st.st_size >= sizeof(struct head) && (uint64_t)st.st_size <= FILE_MAX_BYTES) {
        data = mem_alloc((size_t)st.st_size, 1);
        if (data && read_all(fd, data, (size_t)st.st_size) < 0) {
            free(data);
            data = NULL;
        }
        *out_size = (size_t)st.st_size;
    }
    close(fd);
    return data;
}

static int text_at(const char *texts, uint64_t size, uint32_t at, struct strings *strings,
                   const char **out) {
    if (at >= size)
        return -1;
    *out = strings_add(strings, texts + at, strlen(texts + at));
    return *out ? 0 : -1;
}

static int take(struct cache *c, const char *data, size_t size, struct strings *strings) {
    struct head h;
    memcpy(&h, data, sizeof h);
    if (h.magic != CACHE_MAGIC || strncmp(h.version, snap_version(), sizeof h.version) != 0 ||
        h.n_entries > size / sizeof(struct cache_entry) ||
        h.n_positions > size / sizeof(struct stored) || h.text_bytes > size ||
        sizeof h + h.n_entries * sizeof(struct cache_entry) +
                h.n_positions * sizeof(struct stored) + h.text_bytes !=
            size ||
        h.text_bytes == 0 || data[size - 1] != '\0')
        return -1;
    const char *const entries = data + sizeof h;
    const char *const positions = entries + h.n_entries * sizeof(struct cache_entry);
    const char *const texts = positions + h.n_positions * sizeof(struct stored);
    if (mem_grow(&c->entries, &c->entries_capacity, (size_t)h.n_entries + 1, sizeof *c->entries) <
            0 ||
        mem_grow(&c->positions, &c->positions_capacity, (size_t)h.n_positions + 1,
                 sizeof *c->positions) < 0)
        return -1;
    for (size_t i = 0; i < h.n_entries; i++) {
        struct cache_entry *const e = &c->entries[i];
        memcpy(e, entries + i * sizeof *e, sizeof *e);
        if ((i > 0 && e->offset <= e[-1].offset) || e->n > POSITIONS_MAX ||
            e->first > h.n_positions || e->n > h.n_positions - e->first)
            return -1;
    }
    for (size_t i = 0; i < h.n_positions; i++) {
        struct symbol_position *const p = &c->positions[i];
        struct stored s;
        memcpy(&s, positions + i * sizeof s, sizeof s);
        if (text_at(texts, h.text_bytes, s.function, strings, &p->function) < 0 ||
            text_at(texts, h.text_bytes, s.file, strings, &p->file) < 0)
            return -1;
        p->line = s.line;
        p->source = s.source;
    }
    c->n = (size_t)h.n_entries;
    c->n_positions = (size_t)h.n_positions;
    return 0;
}

void cache_read(struct cache *c, const char *directory, const char *build_id,
                struct strings *strings) {
    char *const path = path_of(directory, build_id, ".names");
    size_t size = 0;
    char *const data = path ? read_file(path, &size) : NULL;
    if (data && take(c, data, size, strings) < 0)
        c->n = c->n_positions = 0;
    free(data);
    free(path);
}

const struct cache_entry *cache_find(const struct cache *c, uint64_t offset) {
    size_t low = 0, high = c->n;
    while (low < high) {
        const size_t middle = low + (high - low) / 2;
        if (c->entries[middle].offset < offset)
            low = middle + 1;
        else
            high = middle;
    }
    return low < c->n && c->entries[low].offset == offset ? &c->entries[low] : NULL;
}

/* --- writing --- */

void cache_add(struct cache *c, uint64_t offset, const struct symbol_position *positions,
               size_t n) {
    if (n > POSITIONS_MAX || c->n >= UINT32_MAX / 2 || c->n_positions >= UINT32_MAX / 2 ||
        mem_grow(&c->entries, &c->entries_capacity, c->n + 1, sizeof *c->entries) < 0 ||
        mem_grow(&c->positions, &c->positions_capacity, c->n_positions + n, sizeof *c->positions) <
            0)
        return;
    c->entries[c->n++] = (struct cache_entry){offset, (uint32_t)c->n_positions, (uint32_t)n};
    if (n > 0)
        memcpy(c->positions + c->n_positions, positions, n * sizeof *positions);
    c->n_positions += n;
    c->has_more = 1;
}

static int compare_entries(const void *x, const void *y) {
    const struct cache_entry *const a = x, *const b = y;
    return (a->offset > b->offset) - (a->offset < b->offset);
}

struct text {
    char *data;
    size_t n, capacity;
};

/* Where a text stands; one that follows itself is written once. */
static int put_text(struct text *t, const char *text, const char **last, uint32_t *last_at,
                    uint32_t *out) {
    if (text != *last) { /* texts are kept once, so equal ones are one */
        const size_t length = strlen(text) + 1;
        if (t->n + length > UINT32_MAX || mem_grow(&t->data, &t->capacity, t->n + length, 1) < 0)
            return -1;
        memcpy(t->data + t->n, text, length);
        *last = text;
        *last_at = (uint32_t)t->n;
        t->n += length;
    }
    *out = *last_at;
    return 0;
}

static int write_all(int fd, const void *data, size_t size) {
    for (size_t at = 0; at < size;) {
        const ssize_t n = write(fd, (const char *)data + at, size - at);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return -1;
        at += (size_t)n;
    }
    return 0;
}

static int write_to(int fd, const struct cache *c) {
    struct text texts = {0};
    struct stored *const stored = mem_alloc(c->n_positions + 1, sizeof *stored);
    const char *last[2] = {NULL, NULL};
    uint32_t last_at[2] = {0, 0};
    int result = stored ? 0 : -1;
    for (size_t i = 0; i < c->n_positions && result == 0; i++) {
        const struct symbol_position *const p = &c->positions[i];
        stored[i] = (struct stored){.line = p->line, .source = p->source};
        result = put_text(&texts, p->function, &last[0], &last_at[0], &stored[i].function);
        if (result == 0)
            result = put_text(&texts, p->file, &last[1], &last_at[1], &stored[i].file);
    }
    if (result == 0 && texts.n == 0) {
        const char *none = NULL;
        uint32_t at = 0;
        result = put_text(&texts, "", &none, &at, &at);
    }
    struct head h = {.magic = CACHE_MAGIC,
                     .n_entries = c->n,
                     .n_positions = c->n_positions,
                     .text_bytes = texts.n};
    snprintf(h.version, sizeof h.version, "%s", snap_version());
    if (result == 0)
        result = write_all(fd, &h, sizeof h);
    if (result == 0)
        result = write_all(fd, c->entries, c->n * sizeof *c->entries);
    if (result == 0)
        result = write_all(fd, stored, c->n_positions * sizeof *stored);
    if (result == 0)
        result = write_all(fd, texts.data, texts.n);
    free(stored);
    free(texts.data);
    return result;
}

void cache_write(struct cache *c, const char *directory, const char *build_id) {
    if (!c->has_more)
        return;
    if (c->n > 1)
        qsort(c->entries, c->n, sizeof *c->entries, compare_entries);
    c->has_more = 0;
    char ending[32];
    snprintf(ending, sizeof ending, ".%ld.tmp", (long)getpid());
    char *const path = path_of(directory, build_id, ".names");
    char *const temporary = path ? path_of(directory, build_id, ending) : NULL;
    const int fd = temporary
                       ? open(temporary, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600)
                       : -1;
    if (fd >= 0) {
        const int failed = write_to(fd, c) < 0;
        if (close(fd) != 0 || failed || rename(temporary, path) != 0)
            unlink(temporary);
    }
    free(temporary);
    free(path);
}

void cache_release(struct cache *c) {
    free(c->entries);
    free(c->positions);
    *c = (struct cache){0};
}
