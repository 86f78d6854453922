/* The exact set of live blocks: address -> size, stack, birth, flags.
 *
 * A radix tree over the address space leads to one word per 2 KiB unit, and that to a bucket with
 * one 16-byte record per live block of the unit, found by an 8-bit tag (the block's place in the
 * unit) with SSE2 compares, mostly within one cache line. So the table costs 16 bytes per block, a
 * line per unit and some slack, whatever the distance of blocks is (a slot per granule costs a
 * share of the heap instead), and it can be walked in the order of addresses. Each word carries a
 * lock bit; it is a plain store while the process has one thread.
 *
 * Publication: a record appears and disappears by one store of its bit (or of the word), so
 * that the table can be read whenever no other thread changes it, even by a signal handler that
 * interrupted a change. */
#ifndef HEAPSNAP_LIVE_TABLE_H
#define HEAPSNAP_LIVE_TABLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    LIVE_N_CLASSES = 21,
    LIVE_VACANT = 64, /* units that may be empty and keep their buckets, by thread */
    /* flags of a block: 15 bits of the caller's, passed through */
    LIVE_FLAGS_MASK = 0x7fff
};

#define LIVE_STACK_MAX ((1u << 28) - 1)
#define LIVE_BIRTH_MAX ((UINT64_C(1) << 48) - 1)

struct live_block {
    uint64_t address, size, birth;
    uint32_t stack, flags;
};

/* Free buckets of one thread, by class, and units that one made empty: blocks come and go in the
 * same places, and the bucket is there when the next one comes. Zero is empty. */
struct live_cache {
    void *free[LIVE_N_CLASSES];
    uint8_t n_free[LIVE_N_CLASSES];
    bool try; /* never wait for a lock: the thread may itself hold it, further out */
    uint8_t turn;
    uintptr_t vacant[LIVE_VACANT];
};

enum live_result {
    LIVE_ABSENT = 0, /* put: kept, nothing was there; take: not there */
    LIVE_FOUND = 1,  /* put: kept, and *old was there before; take: removed */
    LIVE_NO_MEMORY = 2,
    LIVE_BUSY = 3 /* only with cache->try */
};

/* Keeps a block; *old is filled if there was a record of the same address, which is replaced. */
enum live_result live_table_put(struct live_cache *cache, const struct live_block *block,
                                struct live_block *old);
/* Removes the record of an address. old may be NULL, which is faster: the record is not read. */
enum live_result live_table_take(struct live_cache *cache, uintptr_t address,
                                 struct live_block *old);

/* The block that contains an address (start <= address < start + max(size, 1)), looked for no
 * further back than max_bytes, while other threads change the table: LIVE_FOUND, LIVE_ABSENT, or
 * LIVE_BUSY with try. About 30 ns at a block's start, more the further inside it is. */
enum live_result live_table_look(const struct live_cache *cache, uintptr_t address,
                                 uint64_t max_bytes, struct live_block *out);

/* The following need a table that no other thread changes. */
/* Calls fn with runs of up to 256 blocks in ascending order of addresses; stops at non-zero. */
int live_table_for_each(int (*fn)(void *context, const struct live_block *blocks, size_t n),
                        void *context);
/* The block that contains an address (start <= address < start + max(size, 1)), looked for no
 * further back than max_bytes. */
bool live_table_find(uintptr_t address, uint64_t max_bytes, struct live_block *out);
/* Opens all locks: in a forked child whose parent had threads inside. */
void live_table_after_fork_child(void);

#endif
