/* Open addressing with linear probing. Keys may come from files, so where a key goes depends on
 * where the table lies in memory, which the maker of a file does not know. Nothing visible hangs on
 * it: there is no way to walk a map. */
#include "base/map.h"
#include "base/mem.h"

#include <stdlib.h>
#include <string.h>

static uint64_t mix(uint64_t x) {
    x ^= x >> 32;
    x *= 0xd6e8feb86659fd93ull;
    x ^= x >> 32;
    x *= 0xd6e8feb86659fd93ull;
    return x ^ x >> 32;
}

void map_init(struct map *m) {
    *m = (struct map){0};
}

void map_release(struct map *m) {
    free(m->keys);
    free(m->values);
    map_init(m);
}

void map_clear(struct map *m) {
    if (m->values)
        memset(m->values, 0, (m->mask + 1) * sizeof *m->values);
    m->n = 0;
}

static size_t find(const struct map *m, uint64_t key) {
    size_t i = mix(key ^ (uint64_t)(uintptr_t)m->values) & m->mask;
    while (m->values[i] && m->keys[i] != key)
        i = (i + 1) & m->mask;
    return i;
}

uint32_t map_get(const struct map *m, uint64_t key) {
    return m->values ? m->values[find(m, key)] : 0;
}

static int grow(struct map *m) {
    const size_t n = m->values ? (m->mask + 1) * 2 : 64;
    struct map larger = {mem_alloc(n, sizeof *larger.keys), mem_zalloc(n, sizeof *larger.values),
                         n - 1, m->n};
    if (!larger.keys || !larger.values) {
        map_release(&larger);
        return -1;
    }
    for (size_t i = 0; m->values && i <= m->mask; i++)
        if (m->values[i]) {
            const size_t at = find(&larger, m->keys[i]);
            larger.keys[at] = m->keys[i];
            larger.values[at] = m->values[i];
        }
    map_release(m);
    *m = larger;
    return 0;
}

uint32_t *map_slot(struct map *m, uint64_t key) {
    if (m->values) {
        const size_t i = find(m, key);
        if (m->values[i])
            return &m->values[i];
    }
    if (!m->values || (m->n + 1) * 3 > (m->mask + 1) * 2)
        if (grow(m) < 0)
            return NULL;
    const size_t i = find(m, key);
    m->keys[i] = key;
    m->n++;
    return &m->values[i];
}
