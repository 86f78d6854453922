/* Allocation with checked sizes. Sizes that come from files pass through here only after their
 * owner compared them with a limit. */
#include "base/mem.h"

#include <stdlib.h>
#include <string.h>

#define ARENA_BLOCK_BYTES ((size_t)64 << 10)

struct arena_block {
    struct arena_block *next;
    unsigned char data[];
};

void *mem_alloc(size_t n, size_t size) {
    size_t bytes;
    if (__builtin_mul_overflow(n, size, &bytes))
        return NULL;
    return malloc(bytes ? bytes : 1);
}

void *mem_zalloc(size_t n, size_t size) {
    return calloc(n ? n : 1, size ? size : 1);
}

int mem_grow(void *array, size_t *capacity, size_t need, size_t size) {
    if (need <= *capacity)
        return 0;
    size_t wanted = *capacity + *capacity / 2;
    if (wanted < need)
        wanted = need;
    if (wanted < 16)
        wanted = 16;
    size_t bytes;
    if (__builtin_mul_overflow(wanted, size, &bytes))
        return -1;
    void *old;
    memcpy(&old, array, sizeof old);
    void *grown = realloc(old, bytes);
    if (!grown)
        return -1;
    memcpy(array, &grown, sizeof grown);
    *capacity = wanted;
    return 0;
}

void arena_init(struct arena *a) {
    *a = (struct arena){0};
}

void arena_release(struct arena *a) {
    while (a->block) {
        struct arena_block *const next = a->block->next;
        free(a->block);
        a->block = next;
    }
    arena_init(a);
}

static void *take(struct arena *a, size_t size, size_t align) {
    const size_t at = (a->used + align - 1) & ~(align - 1);
    if (a->block && at <= a->capacity && size <= a->capacity - at) {
        a->used = at + size;
        return a->block->data + at;
    }
    /* A large piece gets a block of its own behind the open one, so that the open one's rest is not
     * lost. */
    const int large = a->block && size > ARENA_BLOCK_BYTES / 4;
    const size_t capacity = size > ARENA_BLOCK_BYTES / 4 ? size : ARENA_BLOCK_BYTES;
    if (capacity > PTRDIFF_MAX - sizeof(struct arena_block)) /* larger than any object */
        return NULL;
    struct arena_block *const block = malloc(sizeof *block + capacity);
    if (!block)
        return NULL;
    a->bytes += sizeof *block + capacity;
    if (large) {
        block->next = a->block->next;
        a->block->next = block;
        return block->data;
    }
    block->next = a->block;
    a->block = block;
    a->capacity = capacity;
    a->used = size;
    return block->data;
}

void *arena_alloc(struct arena *a, size_t size) {
    return take(a, size, 8);
}

void *arena_bytes(struct arena *a, size_t size) {
    return take(a, size, 1);
}

char *arena_string(struct arena *a, const char *text, size_t length) {
    if (length == SIZE_MAX)
        return NULL;
    char *const copy = take(a, length + 1, 1);
    if (!copy)
        return NULL;
    if (length)
        memcpy(copy, text, length);
    copy[length] = 0;
    return copy;
}
