/* A set of strings: open addressing over an arena. Strings never move and are never taken out. */
#include "symbol/strings.h"

#include <stdlib.h>
#include <string.h>

#define BLOCK_BYTES ((size_t)64 * 1024)

struct strings_block {
    struct strings_block *next;
    size_t used;
    size_t size;
    char text[];
};

static uint64_t hash_text(const char *text, size_t length) {
    uint64_t hash = UINT64_C(0xcbf29ce484222325);
    for (size_t i = 0; i < length; i++)
        hash = (hash ^ (uint8_t)text[i]) * UINT64_C(0x100000001b3);
    return hash ^ hash >> 32;
}

static int grow(struct strings *set) {
    const size_t capacity = set->capacity ? set->capacity * 2 : 1024;
    const char **const slots = calloc(capacity, sizeof *slots);
    if (!slots)
        return 0;
    for (size_t i = 0; i < set->capacity; i++) {
        const char *const text = set->slots[i];
        if (!text)
            continue;
        size_t at = hash_text(text, strlen(text)) & (capacity - 1);
        while (slots[at])
            at = (at + 1) & (capacity - 1);
        slots[at] = text;
    }
    free(set->slots);
    set->slots = slots;
    set->capacity = capacity;
    return 1;
}

static char *allocate(struct strings *set, size_t size) {
    if (!set->blocks || set->blocks->size - set->blocks->used < size) {
        const size_t block_size = size > BLOCK_BYTES ? size : BLOCK_BYTES;
        struct strings_block *const block = malloc(sizeof *block + block_size);
        if (!block)
            return NULL;
        *block = (struct strings_block){.next = set->blocks, .size = block_size};
        set->blocks = block;
    }
    char *const text = set->blocks->text + set->blocks->used;
    set->blocks->used += size;
    return text;
}

const char *strings_add(struct strings *set, const char *text, size_t length) {
    if (set->n * 2 >= set->capacity && !grow(set))
        return NULL;
    const size_t mask = set->capacity - 1;
    size_t at = hash_text(text, length) & mask;
    while (set->slots[at]) {
        if (strncmp(set->slots[at], text, length) == 0 && set->slots[at][length] == 0)
            return set->slots[at];
        at = (at + 1) & mask;
    }
    char *const copy = allocate(set, length + 1);
    if (!copy)
        return NULL;
    memcpy(copy, text, length);
    copy[length] = 0;
    set->slots[at] = copy;
    set->n++;
    return copy;
}

void strings_release(struct strings *set) {
    while (set->blocks) {
        struct strings_block *const next = set->blocks->next;
        free(set->blocks);
        set->blocks = next;
    }
    free(set->slots);
    memset(set, 0, sizeof *set);
}
