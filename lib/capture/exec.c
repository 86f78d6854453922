/* The exec family, hooked: a program that replaces itself must not be hit by the recorder's control
 * signal before the recorder has started again in the new one, where the signal's default action
 * would end the program. So it is ignored across exec, and files in the making are waited for, as
 * their copies are children that the new program does not know. Nothing else of exec is touched;
 * posix_spawn and system need nothing, for their children have never been tracked. */
#include <dlfcn.h>
#include <errno.h>
#include <stdarg.h>
#include <stddef.h>
#include <unistd.h>

#include "capture/next.h"
#include "capture/preload.h"

#define EXPORT __attribute__((visibility("default")))

/* The functions behind ours. Looked up when the recorder starts, since the loader's lock may be
 * held by a thread that a child of fork does not have; a program may exec before that, too. */
static struct {
    __typeof__(execve) *execve;
    __typeof__(execv) *execv;
    __typeof__(execvp) *execvp;
    __typeof__(execvpe) *execvpe;
    __typeof__(fexecve) *fexecve;
    __typeof__(execveat) *execveat;
} next;

#define LOOK_UP(name) (*(void **)&next.name = next_symbol(RTLD_NEXT, #name))

void exec_init(void) {
    LOOK_UP(execve);
    LOOK_UP(execv);
    LOOK_UP(execvp);
    LOOK_UP(execvpe);
    LOOK_UP(fexecve);
    LOOK_UP(execveat);
}

static int missing(void) {
    errno = ENOSYS;
    return -1;
}

#define CALL(name, ...)                                                                            \
    do {                                                                                           \
        if (!next.name && !LOOK_UP(name))                                                          \
            return missing();                                                                      \
        preload_before_exec();                                                                     \
        return failed(next.name(__VA_ARGS__));                                                     \
    } while (0)

static int failed(int result) {
    const int error = errno;
    preload_exec_failed();
    errno = error;
    return result;
}

EXPORT int execve(const char *path, char *const argv[], char *const envp[]) {
    CALL(execve, path, argv, envp);
}

EXPORT int execv(const char *path, char *const argv[]) {
    CALL(execv, path, argv);
}

EXPORT int execvp(const char *file, char *const argv[]) {
    CALL(execvp, file, argv);
}

EXPORT int execvpe(const char *file, char *const argv[], char *const envp[]) {
    CALL(execvpe, file, argv, envp);
}

EXPORT int fexecve(int fd, char *const argv[], char *const envp[]) {
    CALL(fexecve, fd, argv, envp);
}

EXPORT int execveat(int directory, const char *path, char *const argv[], char *const envp[],
                    int flags) {
    CALL(execveat, directory, path, argv, envp, flags);
}

static size_t count(const char *first, va_list ap) {
    size_t n = 1;
    if (first)
        for (; va_arg(ap, const char *); n++)
            ;
    return n;
}

/* The arguments after `first` up to NULL, as an array; *envp, if wanted, follows the NULL. On the
 * stack, as in libc: the caller may be a child of vfork. */
#define COLLECT(first, has_envp)                                                                   \
    va_list ap;                                                                                    \
    va_start(ap, first);                                                                           \
    const size_t n = count(first, ap);                                                             \
    va_end(ap);                                                                                    \
    char **const argv = __builtin_alloca((n + 1) * sizeof *argv);                                  \
    va_start(ap, first);                                                                           \
    argv[0] = (char *)(size_t)(first);                                                             \
    for (size_t i = 1; i <= n && argv[i - 1]; i++)                                                 \
        argv[i] = va_arg(ap, char *);                                                              \
    char *const *const envp = (has_envp) ? va_arg(ap, char *const *) : environ;                    \
    va_end(ap)

EXPORT int execl(const char *path, const char *argument, ...) {
    COLLECT(argument, 0);
    return execve(path, argv, envp);
}

EXPORT int execlp(const char *file, const char *argument, ...) {
    COLLECT(argument, 0);
    return execvpe(file, argv, envp);
}

EXPORT int execle(const char *path, const char *argument, ...) {
    COLLECT(argument, 1);
    return execve(path, argv, envp);
}
