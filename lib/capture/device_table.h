/* What the program holds from the CUDA driver: memory, address ranges, pools, resources.
 *
 * A sharded hash table of records; each shard has a lock and grows on its own. Driver calls are
 * rare next to malloc, so a record is plain and large. Keys of different spaces never meet: a
 * handle may have the value of an address.
 *
 * Order: every record gets a serial when it is put, which is after the driver has given it out. Who
 * gives something back takes a mark before the driver's call and removes, after its success, only
 * what is not younger: another thread may have been given the same address in between. So nothing
 * has to be undone when the driver refuses. Serials ascend among the records that one key may have
 * and are one counter for each shard, under its lock; a mark that holds for all records advances an
 * epoch, which is rare.
 *
 * Callers stand between hook_enter and hook_leave, except for reading, which is as in recorder.h.
 */
#ifndef HEAPSNAP_DEVICE_TABLE_H
#define HEAPSNAP_DEVICE_TABLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum device_space {
    DEVICE_NONE,       /* an empty place in the table */
    DEVICE_MEMORY,     /* key: address of an allocation, also a reserved range */
    DEVICE_REGISTERED, /* key: address of host memory pinned in place */
    DEVICE_ARRAY,      /* key: handle of an array */
    DEVICE_HANDLE,     /* key: handle of physical memory; link: its serial; refs: of this handle */
    DEVICE_PHYSICAL,   /* key: serial of the first handle */
    DEVICE_MAPPING,    /* key: virtual address; link: the physical memory; offset: in it */
    DEVICE_POOL,       /* key: handle; size: reserved, offset: used, when last asked */
    DEVICE_BLOCK,      /* key: address of what a framework's allocator handed out */
    DEVICE_RESOURCE    /* + SNAP_RSRC_*; key: handle */
};

enum {
    DEVICE_FLAG_TRUNCATED = 1, /* the stack is cut */
    DEVICE_FLAG_EXPORTED = 2,  /* shared with another process */
    DEVICE_FLAG_POOL = 4,      /* a framework hands out parts of it */
    DEVICE_FLAG_DEFAULT = 8,   /* pool of the driver's own making */
    DEVICE_FLAG_IMPORTED = 16,
    DEVICE_FLAG_CAPTURED = 32 /* allocated while a stream was being captured into a graph */
};

struct device_record {
    uint64_t key, size, birth, serial;
    uint64_t link, offset, context, epoch;
    uint32_t space, kind; /* kind: SNAP_NODE_*, of resources SNAP_RSRC_* */
    uint32_t domain, flags;
    uint32_t stack;
    int32_t device;         /* -1: unknown */
    uint32_t handles, maps; /* physical memory lives while it has either */
};

/* What is older. With all bits clear nothing is. */
struct device_mark {
    uint64_t serial, epoch;
};
#define DEVICE_ANY ((struct device_mark){UINT64_MAX, UINT64_MAX})
/* For the records of one key: a load. */
struct device_mark device_table_mark(uint32_t space, uint64_t key);
/* For all: an atomic addition. */
struct device_mark device_table_mark_all(void);
static inline bool device_is_older(const struct device_record *record, struct device_mark mark) {
    return record->serial <= mark.serial && record->epoch <= mark.epoch;
}

/* Keeps a record, whose serial and epoch need not be set. 1: *old, which had the same key, was
 * replaced; 0: kept; -1: no memory, or `try` and the lock was taken. */
int device_table_put(const struct device_record *record, struct device_record *old, bool try);
/* Removes a record not younger than mark. */
bool device_table_take(uint32_t space, uint64_t key, struct device_mark mark,
                       struct device_record *old, bool try);
bool device_table_get(uint32_t space, uint64_t key, struct device_record *out, bool try);

/* Changes a record in place and reads it; removes it if it is not younger than mark and `handles`
 * and `maps` are then both 0. */
struct device_change {
    int32_t handles, maps; /* added */
    uint32_t set_flags;
    bool sample; /* size and offset, as below */
    uint64_t size, offset;
};
bool device_table_change(uint32_t space, uint64_t key, struct device_mark mark,
                         const struct device_change *change, struct device_record *after, bool try);

/* Removes all records for which `is_gone` says so. Records that go are told to `gone` after the
 * locks are open again, so that it may change others; NULL: nobody is told. */
void device_table_sweep(bool (*is_gone)(const void *context, const struct device_record *record),
                        void (*gone)(void *context, const struct device_record *record),
                        void *context, bool try);
/* The first record that fits. */
bool device_table_search(bool (*fits)(const void *context, const struct device_record *record),
                         const void *context, struct device_record *out, bool try);

/* Serial of the memory that holds an address, 0: none does. As slow as searching the table. */
uint64_t device_table_serial_at(uint64_t address, bool try);

/* Frozen, or in a copy: calls fn for every record, in no order; stops at non-zero. */
int device_table_for_each(int (*fn)(void *context, const struct device_record *record),
                          void *context);
size_t device_table_count(void);
void device_table_after_fork_child(void);

#endif
