/* Memory and system calls of the recorder itself: straight from the kernel, because every function
 * of libc that could be used may be replaced by the target, may lock, or sets errno.
 *
 * Everything here is async-signal-safe and leaves errno alone. */
#ifndef HEAPSNAP_RAWMEM_H
#define HEAPSNAP_RAWMEM_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/syscall.h>

#if defined(__x86_64__)
static inline long rawmem_syscall(long number, long a, long b, long c, long d, long e, long f) {
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
static inline void rawmem_relax(void) {
    __builtin_ia32_pause();
}
#else
long rawmem_syscall(long number, long a, long b, long c, long d, long e, long f);
static inline void rawmem_relax(void) {}
#endif

/* Zeroed pages, NULL when the limit is reached or the kernel refuses. Untouched pages cost nothing.
 */
void *rawmem_map(size_t bytes);
void rawmem_unmap(void *memory, size_t bytes);

/* No more than this many bytes are mapped from now on. Default: no limit but the kernel's. */
void rawmem_limit(uint64_t bytes);

/* Counts memory that the recorder has mapped by other means among its own. */
void rawmem_note(const void *memory, size_t bytes);

/* Calls fn for the recorder's own mappings; not for all when there are very many. */
void rawmem_for_each(void (*fn)(void *context, uintptr_t start, size_t bytes), void *context);

/* Bytes of all mappings that are resident: an upper bound when there are very many mappings. */
uint64_t rawmem_touched(void);

/* Carves `bytes` (a multiple of 64, at most 64 KiB), aligned to 64, from big mappings; never given
 * back to the kernel. 64 more bytes behind it can be read. Takes a lock: NULL instead of waiting if
 * `try`. */
void *rawmem_carve(size_t bytes, bool try);

/* Whether 8 bytes at `address` can be read. */
bool rawmem_readable(uintptr_t address);

/* Before anything else; once. */
void rawmem_init(void);
/* Whether this is the copy of a process by a fork that ran no handlers, so that locks and gates may
 * be held for ever by threads that do not exist here. (vfork's child shares its parent's memory and
 * is no copy.) */
bool rawmem_is_copy(void);

/* A lock for short sections. A thread that holds one may be interrupted by a signal whose handler
 * allocates: such nested users must use try. */
struct rawmem_lock {
    atomic_uint held;
};
static inline bool rawmem_try_lock(struct rawmem_lock *lock) {
    return !atomic_load_explicit(&lock->held, memory_order_relaxed) &&
           !atomic_exchange_explicit(&lock->held, 1, memory_order_acquire);
}
/* Backs off: pause, then yield, then sleep; `turn` counts the calls. */
void rawmem_back_off(unsigned turn);
static inline bool rawmem_lock(struct rawmem_lock *lock, bool try) {
    for (unsigned turn = 0; !rawmem_try_lock(lock); turn++) {
        if (try && turn > 100)
            return false;
        if (turn > 300 && rawmem_is_copy())
            return true;
        rawmem_back_off(turn);
    }
    return true;
}
static inline void rawmem_unlock(struct rawmem_lock *lock) {
    atomic_store_explicit(&lock->held, 0, memory_order_release);
}
/* In a forked child: it is no copy from now on, and its own locks are opened. */
void rawmem_after_fork_child(void);

#endif
