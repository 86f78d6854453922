/* Looks at the file that would be executed: the dynamic loader of glibc must run, and honour
 * LD_PRELOAD. Follows `#!` lines, since it is the interpreter that is loaded. Reads only the first
 * page and the program headers, and trusts neither. */
#include "target.h"

#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#define INTERPRETERS_MAX 5
#define HEAD_SIZE 4096

static enum target_verdict verdict(enum target_verdict v, char *message, size_t size,
                                   const char *format, ...) __attribute__((format(printf, 4, 5)));

static enum target_verdict verdict(enum target_verdict v, char *message, size_t size,
                                   const char *format, ...) {
    va_list ap;
    va_start(ap, format);
    vsnprintf(message, size, format, ap);
    va_end(ap);
    return v;
}

/* What execvp would run. *out_error: EACCES if something was found that may not be executed. */
static char *find(const char *command, int *out_error) {
    *out_error = ENOENT;
    if (strchr(command, '/')) {
        if (access(command, F_OK) != 0)
            *out_error = errno;
        return access(command, F_OK) == 0 ? strdup(command) : NULL;
    }
    const char *path = getenv("PATH");
    if (!path)
        path = "/bin:/usr/bin";
    for (const char *p = path;; p++) {
        const size_t length = strcspn(p, ":");
        char *candidate;
        if (asprintf(&candidate, "%.*s%s%s", (int)length, p, length ? "/" : "./", command) < 0)
            return NULL;
        struct stat st;
        if (stat(candidate, &st) == 0 && S_ISREG(st.st_mode)) {
            if (access(candidate, X_OK) == 0)
                return candidate;
            *out_error = EACCES;
        }
        free(candidate);
        p += length;
        if (!*p)
            return NULL;
    }
}

/* The path of the dynamic loader; "" for a static program. -1 if the file is broken. */
static int read_loader(int fd, const Elf64_Ehdr *header, char *out, size_t size) {
    *out = '\0';
    if (header->e_phentsize != sizeof(Elf64_Phdr) || header->e_phnum > 512)
        return -1;
    for (unsigned i = 0; i < header->e_phnum; i++) {
        Elf64_Phdr segment;
        if (pread(fd, &segment, sizeof segment, (off_t)(header->e_phoff + i * sizeof segment)) !=
            sizeof segment)
            return -1;
        if (segment.p_type != PT_INTERP)
            continue;
        if (segment.p_filesz == 0 || segment.p_filesz >= size ||
            pread(fd, out, segment.p_filesz, (off_t)segment.p_offset) != (ssize_t)segment.p_filesz)
            return -1;
        out[segment.p_filesz] = '\0';
        return 0;
    }
    return 0;
}

static enum target_verdict check_elf(const char *path, int fd, const Elf64_Ehdr *header,
                                     char *message, size_t size) {
    char loader[256];
    if (header->e_ident[EI_CLASS] == ELFCLASS32)
        return verdict(TARGET_UNFIT, message, size,
                       "'%s' is a 32-bit program; only x86-64 programs can be tracked", path);
    if (header->e_machine != EM_X86_64)
        return verdict(TARGET_UNFIT, message, size,
                       "'%s' is for another processor; only x86-64 programs can be tracked", path);
    if (read_loader(fd, header, loader, sizeof loader) < 0)
        return verdict(TARGET_UNFIT, message, size, "'%s' is a damaged program", path);
    if (!*loader)
        return verdict(TARGET_UNFIT, message, size,
                       "'%s' is statically linked; only dynamically linked programs can be tracked",
                       path);
    if (strstr(loader, "musl"))
        return verdict(TARGET_UNFIT, message, size,
                       "'%s' is linked with musl; only programs of glibc can be tracked", path);
    return TARGET_FINE;
}

/* The loader ignores LD_PRELOAD in a program that runs with more rights than whoever started it. */
static enum target_verdict check_rights(const char *path, const struct stat *st, char *message,
                                        size_t size) {
    const char *what = NULL;
    if ((st->st_mode & S_ISUID) && st->st_uid != geteuid())
        what = "setuid";
    else if ((st->st_mode & S_ISGID) && (st->st_mode & S_IXGRP) && st->st_gid != getegid())
        what = "setgid";
    else if (geteuid() != 0 && getxattr(path, "security.capability", NULL, 0) > 0)
        what = "given capabilities";
    if (!what)
        return TARGET_FINE;
    return verdict(TARGET_UNFIT, message, size,
                   "'%s' is %s, so that nothing can be preloaded into it; run it as its owner, or "
                   "run %s as root",
                   path, what, "snap");
}

static enum target_verdict check_file(const char *path, int depth, char *message, size_t size) {
    struct stat st;
    if (stat(path, &st) != 0)
        return verdict(TARGET_MISSING, message, size, "cannot run '%s': %s", path, strerror(errno));
    if (!S_ISREG(st.st_mode) || access(path, X_OK) != 0)
        return verdict(TARGET_FORBIDDEN, message, size, "cannot run '%s': %s", path,
                       S_ISDIR(st.st_mode) ? "it is a directory" : strerror(EACCES));
    const int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) /* executable, but not readable: taken on trust */
        return check_rights(path, &st, message, size);
    char head[HEAD_SIZE];
    const ssize_t n = pread(fd, head, sizeof head - 1, 0);
    head[n > 0 ? n : 0] = '\0';
    enum target_verdict v;
    if (n >= (ssize_t)sizeof(Elf64_Ehdr) && memcmp(head, ELFMAG, SELFMAG) == 0) {
        Elf64_Ehdr header;
        memcpy(&header, head, sizeof header);
        v = check_elf(path, fd, &header, message, size);
        if (v == TARGET_FINE)
            v = check_rights(path, &st, message, size);
    } else if (n > 2 && head[0] == '#' && head[1] == '!' && depth < INTERPRETERS_MAX) {
        char *const interpreter = head + 2 + strspn(head + 2, " \t");
        interpreter[strcspn(interpreter, " \t\n")] = '\0';
        v = check_file(interpreter, depth + 1, message, size);
    } else /* execvp gives it to the shell */
        v = depth < INTERPRETERS_MAX ? check_file("/bin/sh", depth + 1, message, size)
                                     : TARGET_FINE;
    close(fd);
    return v;
}

enum target_verdict target_check(const char *command, char **out_path, char *message,
                                 size_t message_size) {
    int error;
    *out_path = find(command, &error);
    if (!*out_path)
        return verdict(error == EACCES ? TARGET_FORBIDDEN : TARGET_MISSING, message, message_size,
                       "cannot run '%s': %s", command, strerror(error));
    return check_file(*out_path, 0, message, message_size);
}
