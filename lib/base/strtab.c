/* Interned strings over XXH3, which also makes chosen collisions costly to find; equal hashes are
 * compared byte by byte. */
#include "base/strtab.h"

#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

void strtab_init(struct strtab *t) {
    *t = (struct strtab){0};
}

void strtab_release(struct strtab *t) {
    arena_release(&t->arena);
    free(t->text);
    free(t->length);
    free(t->slots);
    free(t->hashes);
    strtab_init(t);
}

static int grow(struct strtab *t) {
    const size_t n = t->slots ? (t->mask + 1) * 2 : 256;
    uint32_t *const slots = mem_zalloc(n, sizeof *slots);
    uint64_t *const hashes = mem_alloc(n, sizeof *hashes);
    if (!slots || !hashes) {
        free(slots);
        free(hashes);
        return -1;
    }
    for (size_t i = 0; t->slots && i <= t->mask; i++)
        if (t->slots[i]) {
            size_t at = t->hashes[i] & (n - 1);
            while (slots[at])
                at = (at + 1) & (n - 1);
            slots[at] = t->slots[i];
            hashes[at] = t->hashes[i];
        }
    free(t->slots);
    free(t->hashes);
    t->slots = slots;
    t->hashes = hashes;
    t->mask = n - 1;
    return 0;
}

int strtab_intern(struct strtab *t, const char *text, size_t length, uint32_t *out_id,
                  int *is_new) {
    if (is_new)
        *is_new = 0;
    if (!length) {
        *out_id = 0;
        return 0;
    }
    if ((!t->slots || ((size_t)t->n + 1) * 3 > (t->mask + 1) * 2) && grow(t) < 0)
        return -1;
    const uint64_t hash = XXH3_64bits(text, length);
    size_t at = hash & t->mask;
    for (; t->slots[at]; at = (at + 1) & t->mask) {
        const uint32_t id = t->slots[at];
        if (t->hashes[at] == hash && t->length[id - 1] == length &&
            !memcmp(t->text[id - 1], text, length)) {
            *out_id = id;
            return 0;
        }
    }
    if (t->n == UINT32_MAX - 1 || length > UINT32_MAX ||
        mem_grow(&t->text, &t->text_capacity, (size_t)t->n + 1, sizeof *t->text) < 0 ||
        mem_grow(&t->length, &t->length_capacity, (size_t)t->n + 1, sizeof *t->length) < 0)
        return -1;
    const char *const copy = arena_string(&t->arena, text, length);
    if (!copy)
        return -1;
    t->text[t->n] = copy;
    t->length[t->n] = (uint32_t)length;
    t->slots[at] = ++t->n;
    t->hashes[at] = hash;
    *out_id = t->n;
    if (is_new)
        *is_new = 1;
    return 0;
}

const char *strtab_text(const struct strtab *t, uint32_t id, size_t *out_length) {
    if (out_length)
        *out_length = id ? t->length[id - 1] : 0;
    return id ? t->text[id - 1] : "";
}

uint64_t strtab_key(const char *text, size_t length) {
    return length != 0 ? XXH3_64bits(text, length) : 0;
}
