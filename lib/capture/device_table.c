/* The table behind device_table.h: shards of open addressing with linear probing, whose gaps are
 * closed when a record goes, so that there are no tombstones.
 *
 * Invariant: a shard is at most three quarters full, and every record can be reached from its own
 * place without crossing an empty one. */
#include "capture/device_table.h"

#include <stdatomic.h>
#include <string.h>

#include "capture/rawmem.h"

enum { SHARDS = 64, FIRST = 64 };

struct shard {
    struct rawmem_lock lock;
    uint32_t n, room; /* room: 0 or a power of two */
    struct device_record *records;
} __attribute__((aligned(64)));

static struct shard shards[SHARDS];
static _Atomic uint64_t serials;

static uint64_t mix(uint32_t space, uint64_t key) {
    uint64_t x = (key ^ (uint64_t)space << 56) * UINT64_C(0x9E3779B97F4A7C15);
    x ^= x >> 32;
    return x * UINT64_C(0xD6E8FEB86659FD93);
}

static struct shard *shard_of(uint64_t hash) {
    return &shards[hash >> 58];
}

uint64_t device_table_mark(void) {
    return atomic_load(&serials);
}

/* The place of a record, or the empty one where it would stand. The shard has room. */
static struct device_record *find(const struct shard *s, uint32_t space, uint64_t key,
                                  uint64_t hash) {
    uint32_t i = (uint32_t)hash & (s->room - 1);
    while (s->records[i].space != DEVICE_NONE &&
           (s->records[i].space != space || s->records[i].key != key))
        i = (i + 1) & (s->room - 1);
    return &s->records[i];
}

static bool grow(struct shard *s) {
    if (s->n + 1 <= s->room / 4 * 3)
        return true;
    const struct shard before = *s;
    const uint32_t room = s->room ? s->room * 2 : FIRST;
    struct device_record *const records = rawmem_map((size_t)room * sizeof *records);
    if (records == NULL)
        return false;
    s->records = records;
    s->room = room;
    for (uint32_t i = 0; i < before.room; i++) {
        const struct device_record *const r = &before.records[i];
        if (r->space != DEVICE_NONE)
            *find(s, r->space, r->key, mix(r->space, r->key)) = *r;
    }
    if (before.records != NULL)
        rawmem_unmap(before.records, (size_t)before.room * sizeof *before.records);
    return true;
}

/* Takes a record out and moves up those behind it that would be cut off. */
static void close_gap(struct shard *s, struct device_record *record) {
    const uint32_t mask = s->room - 1;
    uint32_t hole = (uint32_t)(record - s->records);
    for (uint32_t i = (hole + 1) & mask; s->records[i].space != DEVICE_NONE; i = (i + 1) & mask) {
        const struct device_record *const r = &s->records[i];
        const uint32_t home = (uint32_t)mix(r->space, r->key) & mask;
        if (((i - home) & mask) >= ((i - hole) & mask)) {
            s->records[hole] = *r;
            hole = i;
        }
    }
    s->records[hole] = (struct device_record){0};
    s->n--;
}

int device_table_put(struct device_record *record, struct device_record *old, bool try) {
    const uint64_t hash = mix(record->space, record->key);
    struct shard *const s = shard_of(hash);
    if (!rawmem_lock(&s->lock, try))
        return -1;
    int result = -1;
    if (grow(s)) {
        struct device_record *const r = find(s, record->space, record->key, hash);
        result = r->space != DEVICE_NONE;
        if (result && old != NULL)
            *old = *r;
        s->n += !result;
        record->serial = atomic_fetch_add(&serials, 1) + 1;
        *r = *record;
    }
    rawmem_unlock(&s->lock);
    return result;
}

bool device_table_take(uint32_t space, uint64_t key, uint64_t mark, struct device_record *old,
                       bool try) {
    const uint64_t hash = mix(space, key);
    struct shard *const s = shard_of(hash);
    if (!rawmem_lock(&s->lock, try))
        return false;
    bool found = false;
    if (s->room != 0) {
        struct device_record *const r = find(s, space, key, hash);
        found = r->space != DEVICE_NONE && r->serial <= mark;
        if (found && old != NULL)
            *old = *r;
        if (found)
            close_gap(s, r);
    }
    rawmem_unlock(&s->lock);
    return found;
}

bool device_table_get(uint32_t space, uint64_t key, struct device_record *out, bool try) {
    const uint64_t hash = mix(space, key);
    struct shard *const s = shard_of(hash);
    if (!rawmem_lock(&s->lock, try))
        return false;
    bool found = false;
    if (s->room != 0) {
        const struct device_record *const r = find(s, space, key, hash);
        found = r->space != DEVICE_NONE;
        if (found)
            *out = *r;
    }
    rawmem_unlock(&s->lock);
    return found;
}

bool device_table_change(uint32_t space, uint64_t key, uint64_t mark,
                         const struct device_change *change, struct device_record *after,
                         bool try) {
    const uint64_t hash = mix(space, key);
    struct shard *const s = shard_of(hash);
    if (!rawmem_lock(&s->lock, try))
        return false;
    bool found = false;
    if (s->room != 0) {
        struct device_record *const r = find(s, space, key, hash);
        found = r->space != DEVICE_NONE && r->serial <= mark;
        if (found) {
            r->handles += (uint32_t)change->handles;
            r->maps += (uint32_t)change->maps;
            r->flags |= change->set_flags;
            if (change->sample) {
                r->size = change->size;
                r->offset = change->offset;
            }
            if (after != NULL)
                *after = *r;
            if ((change->handles || change->maps) && r->handles == 0 && r->maps == 0)
                close_gap(s, r);
        }
    }
    rawmem_unlock(&s->lock);
    return found;
}

void device_table_sweep(bool (*is_gone)(const void *context, const struct device_record *record),
                        void (*gone)(void *context, const struct device_record *record),
                        void *context, bool try) {
    for (unsigned k = 0; k < SHARDS; k++) {
        struct shard *const s = &shards[k];
        for (uint32_t i = 0;;) { /* one at a time: `gone` may come back to this very shard */
            struct device_record record;
            if (!rawmem_lock(&s->lock, try))
                break;
            while (i < s->room &&
                   (s->records[i].space == DEVICE_NONE || !is_gone(context, &s->records[i])))
                i++;
            const bool found = i < s->room;
            if (found) {
                record = s->records[i];
                close_gap(s, &s->records[i]); /* another may stand here now: i is looked at again */
            }
            rawmem_unlock(&s->lock);
            if (!found)
                break;
            if (gone != NULL)
                gone(context, &record);
        }
    }
}

bool device_table_search(bool (*fits)(const void *context, const struct device_record *record),
                         const void *context, struct device_record *out, bool try) {
    bool found = false;
    for (unsigned k = 0; k < SHARDS && !found; k++) {
        struct shard *const s = &shards[k];
        if (s->n == 0 || !rawmem_lock(&s->lock, try))
            continue;
        for (uint32_t i = 0; i < s->room && !found; i++) {
            found = s->records[i].space != DEVICE_NONE && fits(context, &s->records[i]);
            if (found)
                *out = s->records[i];
        }
        rawmem_unlock(&s->lock);
    }
    return found;
}

int device_table_for_each(int (*fn)(void *context, const struct device_record *record),
                          void *context) {
    for (unsigned k = 0; k < SHARDS; k++)
        for (uint32_t i = 0; i < shards[k].room; i++)
            if (shards[k].records[i].space != DEVICE_NONE) {
                const int stop = fn(context, &shards[k].records[i]);
                if (stop)
                    return stop;
            }
    return 0;
}

size_t device_table_count(void) {
    size_t n = 0;
    for (unsigned k = 0; k < SHARDS; k++)
        n += shards[k].n;
    return n;
}

void device_table_after_fork_child(void) {
    for (unsigned k = 0; k < SHARDS; k++)
        rawmem_unlock(&shards[k].lock);
}
