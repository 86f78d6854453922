/* The table behind device_table.h: shards of an index of open addressing with linear probing, whose
 * gaps are closed when a record goes, so that there are no tombstones; records stay where they are,
 * and the place of the last one that went is the next one's, which is still in the cache.
 *
 * Invariants: a shard's index is at most three quarters full, and every entry can be reached from
 * its own place without crossing an empty one. A shard's serial only ascends; the number of the
 * shard is in its low bits, so that no two records have the same. */
#include "capture/device_table.h"

#include <stdatomic.h>
#include <string.h>

#include "capture/rawmem.h"

enum { SHARDS_BITS = 6, SHARDS = 1 << SHARDS_BITS, FIRST = 32 };

struct entry {
    uint32_t hash, at; /* at: 1 + place of the record; 0: empty */
};

struct shard {
    struct rawmem_lock lock;
    uint32_t n, room; /* room: of the index, 0 or a power of two */
    uint32_t used;    /* records that are kept or have been; of those, `link` leads to the next */
    uint32_t free;    /* 1 + place of the last that went; 0: none */
    _Atomic uint64_t serial; /* of the youngest, without the number of the shard */
    struct entry *index;
    struct device_record *records; /* behind the index, in one mapping */
} __attribute__((aligned(64)));

static struct shard shards[SHARDS];
static _Atomic uint64_t epochs;

static uint64_t mix(uint32_t space, uint64_t key) {
    uint64_t x = (key ^ (uint64_t)space << 56) * UINT64_C(0x9E3779B97F4A7C15);
    x ^= x >> 32;
    return x * UINT64_C(0xD6E8FEB86659FD93);
}

static struct shard *shard_of(uint64_t hash) {
    return &shards[hash >> (64 - SHARDS_BITS)];
}

struct device_mark device_table_mark(uint32_t space, uint64_t key) {
    const struct shard *const s = shard_of(mix(space, key));
    const uint64_t serial = atomic_load_explicit(&s->serial, memory_order_acquire);
    return (struct device_mark){serial << SHARDS_BITS | (SHARDS - 1), UINT64_MAX};
}

struct device_mark device_table_mark_all(void) {
    return (struct device_mark){UINT64_MAX, atomic_fetch_add(&epochs, 1)};
}

static size_t bytes_of(uint32_t room) {
    return room * sizeof(struct entry) + (size_t)room / 4 * 3 * sizeof(struct device_record);
}

/* The entry of a record, or the empty one where it would stand. The shard has room. */
static inline struct entry *find(const struct shard *s, uint32_t space, uint64_t key,
                                 uint64_t hash) {
    const uint32_t mask = s->room - 1;
    uint32_t i = (uint32_t)hash & mask;
    for (; s->index[i].at != 0; i = (i + 1) & mask) {
        if (s->index[i].hash != (uint32_t)hash)
            continue;
        const struct device_record *const r = &s->records[s->index[i].at - 1];
        if (r->space == space && r->key == key)
            break;
    }
    return &s->index[i];
}

static struct device_record *find_record(const struct shard *s, uint32_t space, uint64_t key,
                                         uint64_t hash) {
    const struct entry *const e = s->room != 0 ? find(s, space, key, hash) : NULL;
    return e != NULL && e->at != 0 ? &s->records[e->at - 1] : NULL;
}

static __attribute__((noinline)) bool grow(struct shard *s) {
    const struct shard before = *s;
    const uint32_t room = s->room ? s->room * 2 : FIRST, mask = room - 1;
    struct entry *const index = rawmem_map(bytes_of(room));
    if (index == NULL)
        return false;
    s->index = index;
    s->records = (struct device_record *)(index + room);
    s->room = room;
    for (uint32_t k = 0; k < before.room; k++) {
        uint32_t i = before.index[k].hash & mask;
        if (before.index[k].at == 0)
            continue;
        while (index[i].at != 0)
            i = (i + 1) & mask;
        index[i] = before.index[k];
    }
    if (before.index != NULL) {
        memcpy(s->records, before.records, before.used * sizeof *s->records);
        rawmem_unmap(before.index, bytes_of(before.room));
    }
    return true;
}

/* Takes a record out and moves up those of the index behind it that would be cut off. */
static inline void remove_entry(struct shard *s, const struct entry *entry) {
    const uint32_t mask = s->room - 1;
    uint32_t hole = (uint32_t)(entry - s->index);
    struct device_record *const record = &s->records[entry->at - 1];
    record->space = DEVICE_NONE;
    record->link = s->free;
    s->free = entry->at;
    s->n--;
    for (uint32_t i = (hole + 1) & mask; s->index[i].at != 0; i = (i + 1) & mask)
        if (((i - s->index[i].hash) & mask) >= ((i - hole) & mask)) {
            s->index[hole] = s->index[i];
            hole = i;
        }
    s->index[hole].at = 0;
}

static inline struct device_record *new_record(struct shard *s, struct entry *entry,
                                               uint64_t hash) {
    uint32_t at = s->free;
    if (at != 0)
        s->free = (uint32_t)s->records[at - 1].link;
    else
        at = ++s->used;
    *entry = (struct entry){(uint32_t)hash, at};
    s->n++;
    return &s->records[at - 1];
}

int device_table_put(const struct device_record *record, struct device_record *old, bool try) {
    const uint64_t hash = mix(record->space, record->key);
    struct shard *const s = shard_of(hash);
    if (!rawmem_lock(&s->lock, try))
        return -1;
    int result = -1;
    if (s->n < s->room / 4 * 3 || grow(s)) {
        struct entry *const e = find(s, record->space, record->key, hash);
        result = e->at != 0;
        struct device_record *const r = result ? &s->records[e->at - 1] : new_record(s, e, hash);
        if (result && old != NULL)
            *old = *r;
        const uint64_t serial = atomic_load_explicit(&s->serial, memory_order_relaxed) + 1;
        atomic_store_explicit(&s->serial, serial, memory_order_release);
        *r = *record;
        r->serial = serial << SHARDS_BITS | (uint64_t)(s - shards);
        r->epoch = atomic_load_explicit(&epochs, memory_order_relaxed);
    }
    rawmem_unlock(&s->lock);
    return result;
}

bool device_table_take(uint32_t space, uint64_t key, struct device_mark mark,
                       struct device_record *old, bool try) {
    const uint64_t hash = mix(space, key);
    struct shard *const s = shard_of(hash);
    if (!rawmem_lock(&s->lock, try))
        return false;
    bool found = false;
    if (s->room != 0) {
        const struct entry *const e = find(s, space, key, hash);
        found = e->at != 0 && device_is_older(&s->records[e->at - 1], mark);
        if (found && old != NULL)
            *old = s->records[e->at - 1];
        if (found)
            remove_entry(s, e);
    }
    rawmem_unlock(&s->lock);
    return found;
}

bool device_table_get(uint32_t space, uint64_t key, struct device_record *out, bool try) {
    const uint64_t hash = mix(space, key);
    struct shard *const s = shard_of(hash);
    if (!rawmem_lock(&s->lock, try))
        return false;
    const struct device_record *const r = find_record(s, space, key, hash);
    if (r != NULL)
        *out = *r;
    rawmem_unlock(&s->lock);
    return r != NULL;
}

bool device_table_change(uint32_t space, uint64_t key, struct device_mark mark,
                         const struct device_change *change, struct device_record *after,
                         bool try) {
    const uint64_t hash = mix(space, key);
    struct shard *const s = shard_of(hash);
    if (!rawmem_lock(&s->lock, try))
        return false;
    struct device_record *const r = find_record(s, space, key, hash);
    const bool found = r != NULL && device_is_older(r, mark);
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
            remove_entry(s, find(s, space, key, hash));
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
            while (i < s->used &&
                   (s->records[i].space == DEVICE_NONE || !is_gone(context, &s->records[i])))
                i++;
            const bool found = i < s->used;
            if (found) {
                record = s->records[i];
                remove_entry(s, find(s, record.space, record.key, mix(record.space, record.key)));
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
        for (uint32_t i = 0; i < s->used && !found; i++) {
            found = s->records[i].space != DEVICE_NONE && fits(context, &s->records[i]);
            if (found)
                *out = s->records[i];
        }
        rawmem_unlock(&s->lock);
    }
    return found;
}

static bool holds_address(const void *context, const struct device_record *r) {
    return r->space == DEVICE_MEMORY && *(const uint64_t *)context - r->key < r->size;
}

uint64_t device_table_serial_at(uint64_t address, bool try) {
    struct device_record r;
    return device_table_search(holds_address, &address, &r, try) ? r.serial : 0;
}

int device_table_for_each(int (*fn)(void *context, const struct device_record *record),
                          void *context) {
    for (unsigned k = 0; k < SHARDS; k++)
        for (uint32_t i = 0; i < shards[k].used; i++)
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
