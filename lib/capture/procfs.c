/* /proc, read with raw system calls into the caller's memory. Knows the layout of the files, not
 * what they are read for. Nothing here fails hard: a file that is missing or odd reads as empty. */
#include "capture/procfs.h"

#include <string.h>

#include "capture/raw.h"

void text_init(struct text *t, char *buffer, size_t size) {
    *t = (struct text){.data = buffer, .size = size};
    buffer[0] = '\0';
}

void text_add_n(struct text *t, const char *s, size_t n) {
    if (n >= t->size - t->length) {
        n = t->size - t->length - 1;
        t->cut = 1;
    }
    memcpy(t->data + t->length, s, n);
    t->length += n;
    t->data[t->length] = '\0';
}

void text_add(struct text *t, const char *s) {
    text_add_n(t, s, strlen(s));
}

static void add_digits(struct text *t, uint64_t n, unsigned base) {
    char digits[24];
    size_t at = sizeof digits;
    do
        digits[--at] = "0123456789abcdef"[n % base];
    while (n /= base);
    text_add_n(t, digits + at, sizeof digits - at);
}

void text_add_number(struct text *t, uint64_t n) {
    add_digits(t, n, 10);
}

void text_add_hex(struct text *t, uint64_t n) {
    add_digits(t, n, 16);
}

long procfs_read(const char *path, char *buffer, size_t size) {
    const int fd = raw_open(path, O_RDONLY, 0);
    buffer[0] = '\0';
    if (fd < 0)
        return fd;
    size_t length = 0;
    long n = 0;
    while (length < size - 1 && (n = raw_read(fd, buffer + length, size - 1 - length)) > 0)
        length += (size_t)n;
    raw_close(fd);
    buffer[length] = '\0';
    return n < 0 && length == 0 ? n : (long)length;
}

void procfs_path(char *buffer, size_t size, int pid, int tid, const char *name) {
    struct text t;
    text_init(&t, buffer, size);
    text_add(&t, "/proc/");
    if (pid)
        text_add_number(&t, (uint64_t)pid);
    else
        text_add(&t, "self");
    if (tid) {
        text_add(&t, "/task/");
        text_add_number(&t, (uint64_t)tid);
    }
    text_add(&t, "/");
    text_add(&t, name);
}

int procfs_lines_open(struct procfs_lines *l, const char *path, char *buffer, size_t size) {
    *l = (struct procfs_lines){.buffer = buffer, .size = size};
    l->fd = raw_open(path, O_RDONLY, 0);
    return l->fd < 0 ? l->fd : 0;
}

void procfs_lines_close(struct procfs_lines *l) {
    if (l->fd >= 0)
        raw_close(l->fd);
    l->fd = -1;
}

char *procfs_lines_next(struct procfs_lines *l) {
    for (;;) {
        char *const line = l->buffer + l->start;
        char *const newline = memchr(line, '\n', l->end - l->start);
        if (newline) {
            *newline = '\0';
            l->start = (size_t)(newline + 1 - l->buffer);
            if (!l->skip)
                return line;
            l->skip = 0;
            continue;
        }
        if (l->start > 0) {
            memmove(l->buffer, line, l->end - l->start);
            l->end -= l->start;
            l->start = 0;
        }
        if (l->end == l->size - 1) {
            const int was_skipping = l->skip;
            l->buffer[l->end] = '\0';
            l->start = l->end;
            l->skip = 1;
            if (!was_skipping)
                return l->buffer;
            continue;
        }
        const long n = raw_read(l->fd, l->buffer + l->end, l->size - 1 - l->end);
        if (n > 0) {
            l->end += (size_t)n;
            continue;
        }
        if (l->end == 0 || l->skip)
            return NULL;
        l->buffer[l->end] = '\0';
        l->end = 0;
        return l->buffer;
    }
}

uint64_t procfs_decimal(const char **p) {
    uint64_t value = 0;
    for (; **p >= '0' && **p <= '9'; ++*p)
        value = value * 10 + (uint64_t)(**p - '0');
    return value;
}

uint64_t procfs_hex(const char **p) {
    uint64_t value = 0;
    for (;; ++*p) {
        const char c = **p;
        if (c >= '0' && c <= '9')
            value = value << 4 | (uint64_t)(c - '0');
        else if (c >= 'a' && c <= 'f')
            value = value << 4 | (uint64_t)(c - 'a' + 10);
        else
            return value;
    }
}

int procfs_field(const char *text, const char *name, uint64_t *out) {
    const size_t length = strlen(name);
    for (const char *line = text; *line;) {
        if (strncmp(line, name, length) == 0 && line[length] == ':') {
            const char *p = line + length + 1;
            while (*p == ' ' || *p == '\t')
                p++;
            if (*p < '0' || *p > '9')
                return -1;
            *out = procfs_decimal(&p);
            return 0;
        }
        const char *const newline = strchr(line, '\n');
        if (!newline)
            break;
        line = newline + 1;
    }
    return -1;
}

int procfs_mapping_parse(char *line, struct procfs_mapping *out) {
    const char *p = line;
    out->start = procfs_hex(&p);
    if (p == line || *p++ != '-')
        return 0;
    out->end = procfs_hex(&p);
    if (*p++ != ' ' || strlen(p) < 5)
        return 0;
    out->protection = (p[0] == 'r' ? 1u : 0u) | (p[1] == 'w' ? 2u : 0u) | (p[2] == 'x' ? 4u : 0u) |
                      (p[3] == 's' ? 8u : 0u);
    p += 5;
    out->offset = procfs_hex(&p);
    if (*p++ != ' ')
        return 0;
    out->device = procfs_hex(&p) << 32;
    if (*p++ != ':')
        return 0;
    out->device |= procfs_hex(&p);
    if (*p++ != ' ')
        return 0;
    out->inode = procfs_decimal(&p);
    while (*p == ' ')
        p++;
    out->name = p;
    return 1;
}

struct directory_entry { /* linux_dirent64 */
    uint64_t inode;
    int64_t offset;
    unsigned short size;
    unsigned char type;
    char name[];
};

int procfs_for_each_thread(int pid, void (*fn)(void *context, int tid), void *context) {
    char path[64];
    procfs_path(path, sizeof path, pid, 0, "task");
    const int fd = raw_open(path, O_RDONLY | O_DIRECTORY, 0);
    if (fd < 0)
        return fd;
    _Alignas(8) char buffer[4096];
    long n;
    while ((n = raw_call3(SYS_getdents64, fd, (long)buffer, sizeof buffer)) > 0)
        for (long at = 0; at < n;) {
            const struct directory_entry *const e = (const void *)(buffer + at);
            const char *p = e->name;
            const uint64_t tid = procfs_decimal(&p);
            if (tid)
                fn(context, (int)tid);
            at += e->size;
        }
    raw_close(fd);
    return (int)n;
}
