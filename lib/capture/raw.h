/* System calls without libc: no errno, no cancellation point, no hook of ours in between.
 *
 * For code that runs in signal handlers and in the copies of a target, where errno belongs to
 * somebody else. Results are the kernel's: negative numbers are -errno. x86-64 Linux. */
#ifndef HEAPSNAP_RAW_H
#define HEAPSNAP_RAW_H

#include <errno.h>
#include <fcntl.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/syscall.h>
#include <time.h>

static inline long raw_call(long number, long a, long b, long c, long d, long e, long f) {
    long result;
    register long r10 __asm__("r10") = d;
    register long r8 __asm__("r8") = e;
    register long r9 __asm__("r9") = f;
    __asm__ volatile("syscall"
                     : "=a"(result)
                     : "a"(number), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9)
                     : "rcx", "r11", "memory");
    return result;
}

static inline long raw_call3(long number, long a, long b, long c) {
    return raw_call(number, a, b, c, 0, 0, 0);
}

static inline int raw_failed(long result) {
    return (unsigned long)result > -4096ul;
}

static inline int raw_open(const char *path, int flags, int mode) {
    return (int)raw_call(SYS_openat, AT_FDCWD, (long)path, flags | O_CLOEXEC, mode, 0, 0);
}

static inline void raw_close(int fd) {
    raw_call3(SYS_close, fd, 0, 0);
}

static inline long raw_read(int fd, void *buffer, size_t size) {
    long n;
    do
        n = raw_call3(SYS_read, fd, (long)buffer, (long)size);
    while (n == -EINTR);
    return n;
}

static inline long raw_write(int fd, const void *data, size_t size) {
    long n;
    do
        n = raw_call3(SYS_write, fd, (long)data, (long)size);
    while (n == -EINTR);
    return n;
}

/* NULL if there is no memory. */
static inline void *raw_map(size_t size, int flags) {
    const long p = raw_call(SYS_mmap, 0, (long)size, 3 /* PROT_READ | PROT_WRITE */, flags, -1, 0);
    return raw_failed(p) ? NULL : (void *)p;
}

static inline void raw_unmap(void *p, size_t size) {
    raw_call3(SYS_munmap, (long)p, (long)size, 0);
}

static inline int raw_pid(void) {
    return (int)raw_call3(SYS_getpid, 0, 0, 0);
}

static inline int raw_tid(void) {
    return (int)raw_call3(SYS_gettid, 0, 0, 0);
}

static inline uint64_t raw_clock_ns(clockid_t clock) {
    struct timespec t = {0};
    raw_call3(SYS_clock_gettime, clock, (long)&t, 0);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static inline void raw_sleep_ns(uint64_t ns) {
    const struct timespec t = {(time_t)(ns / 1000000000u), (long)(ns % 1000000000u)};
    raw_call3(SYS_nanosleep, (long)&t, 0, 0);
}

/* Waits while *word is value, at most timeout_ns; between processes, too. */
static inline long raw_futex_wait(const volatile void *word, uint32_t value, uint64_t timeout_ns) {
    const struct timespec t = {(time_t)(timeout_ns / 1000000000u),
                               (long)(timeout_ns % 1000000000u)};
    return raw_call(SYS_futex, (long)word, 0 /* FUTEX_WAIT */, value, (long)&t, 0, 0);
}

static inline void raw_futex_wake(const volatile void *word) {
    raw_call(SYS_futex, (long)word, 1 /* FUTEX_WAKE */, 0x7fffffff, 0, 0, 0);
}

#endif
