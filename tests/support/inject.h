/* Makes the Nth allocation or system call fail, once or from then on. The program that links this
 * has its own malloc, write, ...: they reach every library in the process, zstd among them. */
#ifndef HEAPSNAP_TEST_INJECT_H
#define HEAPSNAP_TEST_INJECT_H

enum inject_kind {
    INJECT_NONE,
    INJECT_MALLOC,
    INJECT_OPEN,
    INJECT_READ,
    INJECT_MMAP,
    INJECT_WRITE,
    INJECT_WRITE_SHORT, /* one byte at a time, and EINTR in between: no failure */
    INJECT_FSYNC,
    INJECT_RENAME
};

/* Arms: call number `at` (from 1) of that kind fails, with is_persistent all later ones, too. */
void inject_arm(enum inject_kind kind, long at, int is_persistent);

/* Disarms; 1 if anything failed since. */
int inject_disarm(void);

/* Blocks that are allocated and not freed; always 0 under AddressSanitizer. */
long inject_live(void);

#endif
