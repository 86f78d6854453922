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

/* Addresses for the mappings of a copy. Where the target has memory that its copies do not get
 * (MADV_DONTFORK), the copy has nothing: what the kernel would put there would be read as if it
 * were the target's. And whatever is in the room is known not to be the target's when its mappings
 * are listed, though it may be gone or elsewhere when they are read. */
struct raw_room {
    uint64_t start;
    uint64_t next, end; /* end 0: anywhere */
};
/* One for all files of an image. */
__attribute__((weak, visibility("hidden"))) struct raw_room raw_room = {0};

/* In a copy, or where the process is read in place, before the first mapping: looks for more room
 * than any such memory takes. */
static inline void raw_room_find(void) {
    raw_room = (struct raw_room){0};
    for (uint64_t size = UINT64_C(1) << 42; size >= UINT64_C(1) << 32 && !raw_room.end;
         size >>= 1) {
        const long p = raw_call(SYS_mmap, 0, (long)size, 0 /* PROT_NONE */,
                                0x4022 /* private, anonymous, MAP_NORESERVE */, -1, 0);
        if (raw_failed(p))
            continue;
        raw_call3(SYS_munmap, p, (long)size, 0);
        raw_room.start = raw_room.next = (uint64_t)p;
        raw_room.end = (uint64_t)p + size;
    }
}

static inline int raw_room_holds(uint64_t address) {
    return raw_room.start <= address && address < raw_room.end;
}

/* A part of the room for another image, which has a room of its own; both 0: anywhere. */
static inline void raw_room_split(uint64_t *start, uint64_t *end) {
    const uint64_t size = (raw_room.end - raw_room.start) / 4;
    *start = size ? __atomic_fetch_add(&raw_room.next, size, __ATOMIC_RELAXED) : 0;
    *end = *start + size;
}

static inline void raw_room_use(uint64_t start, uint64_t end) {
    raw_room = (struct raw_room){.start = start, .next = start, .end = end};
}

static inline long raw_room_take(size_t size) {
    const uint64_t align = size < (2u << 20) ? 4096 : 2u << 20;
    if (!raw_room.end)
        return 0;
    const uint64_t bytes = ((uint64_t)size + 2 * align - 1) & ~(align - 1);
    const uint64_t at =
        (__atomic_fetch_add(&raw_room.next, bytes, __ATOMIC_RELAXED) + align - 1) & ~(align - 1);
    return at + bytes <= raw_room.end ? (long)at : 0;
}

/* NULL if there is no memory. */
static inline void *raw_map(size_t size, int flags) {
    const long p = raw_call(SYS_mmap, raw_room_take(size), (long)size,
                            3 /* PROT_READ | PROT_WRITE */, flags, -1, 0);
    return raw_failed(p) ? NULL : (void *)p;
}

/* Makes a mapping larger, at any address; flags are those of a new one. NULL if there is no memory:
 * the old one stays. */
static inline void *raw_grow(void *old, size_t old_size, size_t size, int flags) {
    enum { MAY_MOVE = 1, FIXED = 2 };
    void *const to = raw_room.end ? raw_map(size, flags) : NULL;
    const long p = raw_call(SYS_mremap, (long)old, (long)old_size, (long)size,
                            MAY_MOVE | (to ? FIXED : 0), (long)to, 0);
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
