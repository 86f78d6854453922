/* Reading /proc without malloc and stdio: whole small files, lines of long ones, numbers.
 *
 * Async-signal-safe; all memory is the caller's. */
#ifndef HEAPSNAP_PROCFS_H
#define HEAPSNAP_PROCFS_H

#include <stddef.h>
#include <stdint.h>

/* Text built up in a buffer of the caller; cut, and always NUL-terminated, when it is full. */
struct text {
    char *data;
    size_t size, length;
    int cut;
};
void text_init(struct text *t, char *buffer, size_t size);
void text_add(struct text *t, const char *s);
void text_add_n(struct text *t, const char *s, size_t n);
void text_add_number(struct text *t, uint64_t n);
void text_add_hex(struct text *t, uint64_t n);

/* Reads at most size - 1 bytes and terminates them; bytes read, or -errno. */
long procfs_read(const char *path, char *buffer, size_t size);

/* "/proc/PID/task/TID/NAME"; pid 0 means self, tid 0 leaves the task out. */
void procfs_path(char *buffer, size_t size, int pid, int tid, const char *name);

/* A reader of lines. Lines longer than the buffer are cut. */
struct procfs_lines {
    int fd;
    char *buffer;
    size_t size, start, end;
    int skip; /* in the middle of an overlong line */
};
int procfs_lines_open(struct procfs_lines *l, const char *path, char *buffer, size_t size);
char *procfs_lines_next(struct procfs_lines *l); /* NULL at the end */
void procfs_lines_close(struct procfs_lines *l);

/* Numbers at *p, which moves past them. */
uint64_t procfs_decimal(const char **p);
uint64_t procfs_hex(const char **p);

/* The number after "NAME:" in the text of a status file; -1 if there is none. */
int procfs_field(const char *text, const char *name, uint64_t *out);

/* A line of maps or smaps. */
struct procfs_mapping {
    uint64_t start, end, offset, inode, device;
    uint32_t protection; /* bit 0 read, 1 write, 2 execute, 3 shared, as REGN.protection */
    const char *name;    /* in the line; "" if anonymous */
};
/* 1 if the line is one. */
int procfs_mapping_parse(char *line, struct procfs_mapping *out);

/* Calls fn for every thread id of a process, 0: the calling one; 0, or -errno. */
int procfs_for_each_thread(int pid, void (*fn)(void *context, int tid), void *context);

#endif
