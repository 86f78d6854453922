/* Growing arrays straight from the kernel, for where malloc's locks may be held for ever. */
#ifndef HEAPSNAP_MEMORY_H
#define HEAPSNAP_MEMORY_H

#include <string.h>
#include <sys/mman.h>

#include "capture/raw.h"

struct memory {
    char *data;
    size_t size, length; /* bytes */
    int failed;
};

/* Tables that are looked up here and there are large: without large pages every look waits for the
 * page's place, too. */
#define MEMORY_HUGE_LEAST ((size_t)4 << 20)

static __attribute__((noinline, unused)) int memory_extend(struct memory *m, size_t more) {
    size_t size = m->size ? m->size : (size_t)64 << 10;
    while (size < m->length + more)
        size *= 2;
    void *const p = m->data ? raw_grow(m->data, m->size, size, MAP_PRIVATE | MAP_ANONYMOUS)
                            : raw_map(size, MAP_PRIVATE | MAP_ANONYMOUS);
    if (!p) {
        m->failed = 1;
        return -1;
    }
    if (size >= MEMORY_HUGE_LEAST)
        raw_call3(SYS_madvise, (long)p, (long)size, MADV_HUGEPAGE);
    m->data = p;
    m->size = size;
    return 0;
}

/* Room for `more` bytes behind length. 0, or -1 for ever. */
static inline int memory_reserve(struct memory *m, size_t more) {
    return m->length + more <= m->size ? 0 : memory_extend(m, more);
}

static inline void memory_add(struct memory *m, const void *data, size_t n) {
    if (m->failed || memory_reserve(m, n) < 0)
        return;
    memcpy(m->data + m->length, data, n);
    m->length += n;
}

static inline void memory_pad(struct memory *m) {
    static const char zeros[8];
    memory_add(m, zeros, -m->length & 7);
}

/* A zeroed array of a known size. NULL: no memory. */
static inline void *memory_zeroed(struct memory *m, size_t bytes) {
    if (memory_reserve(m, bytes) < 0)
        return NULL;
    m->length = bytes;
    return m->data;
}

static inline void memory_release(struct memory *m) {
    if (m->data)
        raw_unmap(m->data, m->size);
    *m = (struct memory){0};
}

#endif
