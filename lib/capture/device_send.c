/* See device_send.h.
 *
 * Invariant: everything is allocated in one piece before anything is sent, and whatever has no room
 * is left out; rows follow from the table alone, in the order of (domain, address, birth). */
#include "capture/device_send.h"

#include <heapsnap/snapdef.h>
#include <string.h>
#include <sys/mman.h>

#include "capture/device_table.h"
#include "capture/hook_cuda.h"
#include "capture/notes.h"
#include "capture/raw.h"
#include "capture/scan.h"
#include "model/wire.h"

enum item_role { ROLE_NONE, ROLE_NODE, ROLE_POOL, ROLE_MAPPING, ROLE_RESOURCE };

struct device_item {
    const struct device_record *record;
    enum item_role role;
    uint32_t id;      /* of the node or pool, from 1 in each */
    uint64_t address; /* 0: none */
    uint64_t held;    /* of a pool: bytes from the driver */
    uint64_t live;    /* of a pool: bytes handed out */
    uint64_t gap_from, largest_gap;
    int32_t device; /* a range is of the device whose memory is mapped there */
    struct device_item *pool;
    uint32_t name; /* of a pool that the program has told of: of notes.h; 0: of another */
};

/* --- sorting --- */

static int compare_numbers(uint64_t a, uint64_t b) {
    return (a > b) - (a < b);
}

/* Roles keep together; nodes are in the order of rows. */
static int by_row(const void *left, const void *right) {
    const struct device_item *const a = left, *const b = right;
    int result = compare_numbers(a->role, b->role);
    if (result == 0 && a->role == ROLE_NODE)
        result = compare_numbers(a->record->domain, b->record->domain);
    if (result == 0)
        result = compare_numbers(a->address, b->address);
    return result ? result : compare_numbers(a->record->birth, b->record->birth);
}

static int by_address(const void *left, const void *right) {
    const struct device_item *const *const a = left, *const *const b = right;
    return compare_numbers((*a)->address, (*b)->address);
}

static int by_target(const void *left, const void *right) {
    const struct scan_target *const a = left, *const b = right;
    return compare_numbers(a->address, b->address);
}

/* A heap sort: no memory, and no bad cases. qsort would call malloc. */
static void sort(void *base, size_t n, size_t size,
                 int (*compare)(const void *left, const void *right)) {
    char item[sizeof(struct device_item)], *const a = base;
    for (size_t start = n / 2, end = n; end > 1;) {
        if (start > 0) {
            start--;
            memcpy(item, a + start * size, size);
        } else {
            end--;
            memcpy(item, a + end * size, size);
            memcpy(a + end * size, a, size);
        }
        size_t at = start;
        for (size_t child; (child = 2 * at + 1) < end; at = child) {
            if (child + 1 < end && compare(a + child * size, a + (child + 1) * size) < 0)
                child++;
            if (compare(item, a + child * size) >= 0)
                break;
            memcpy(a + at * size, a + child * size, size);
        }
        memcpy(a + at * size, item, size);
    }
}

/* The allocation or range that holds an address; blocks do not count. */
static struct device_item *holder(const struct device_heap *d, uint64_t address) {
    size_t low = 0, high = d->n_by_address;
    while (low < high) {
        const size_t middle = low + (high - low) / 2;
        if (d->by_address[middle]->address <= address)
            low = middle + 1;
        else
            high = middle;
    }
    struct device_item *const item = low > 0 ? d->by_address[low - 1] : NULL;
    return item && address - item->address < item->record->size ? item : NULL;
}

/* Physical memory has no address, so that of a domain stands together, by birth, which is its key.
 */
static struct device_item *physical(const struct device_heap *d, uint64_t key) {
    for (uint32_t domain = 0; domain < DEVICE_DOMAINS; domain++) {
        size_t low = d->physical[domain].first, high = low + d->physical[domain].n;
        while (low < high) {
            const size_t middle = low + (high - low) / 2;
            if (d->items[middle].record->birth == key)
                return &d->items[middle];
            if (d->items[middle].record->birth < key)
                low = middle + 1;
            else
                high = middle;
        }
    }
    return NULL;
}

/* --- reading the table --- */

static int is_address(const struct device_record *r) {
    return r->space == DEVICE_MEMORY;
}

static int add_item(void *context, const struct device_record *r) {
    struct device_heap *const d = context;
    struct device_item item = {.record = r, .device = r->device};
    switch (r->space) {
    case DEVICE_MEMORY:
        item.role = r->flags & DEVICE_FLAG_POOL ? ROLE_POOL : ROLE_NODE;
        item.address = r->key;
        break;
    case DEVICE_REGISTERED:
    case DEVICE_ARRAY:
    case DEVICE_BLOCK:
        item.role = ROLE_NODE;
        item.address = r->key;
        break;
    case DEVICE_PHYSICAL: item.role = ROLE_NODE; break;
    case DEVICE_POOL: item.role = ROLE_POOL; break;
    case DEVICE_MAPPING:
        item.role = ROLE_MAPPING;
        item.address = r->key;
        break;
    case DEVICE_HANDLE: return 0;
    default: item.role = ROLE_RESOURCE; break;
    }
    d->items[d->n_items++] = item;
    return 0;
}

static struct device_item *pool_of_handle(const struct device_heap *d, uint64_t handle) {
    for (size_t i = d->first_pool; i < d->first_pool + d->n_driver_pools; i++)
        if (d->items[i].record->key == handle)
            return &d->items[i];
    return NULL;
}

/* Which allocations are pools of a framework: it has handed out a block of them. */
static void find_pools(struct device_heap *d) {
    for (size_t i = 0; i < d->n_items; i++) {
        struct device_item *const item = &d->items[i];
        if (item->record->space != DEVICE_BLOCK)
            continue;
        struct device_item *const pool = holder(d, item->address);
        if (pool)
            pool->role = ROLE_POOL;
    }
}

/* What is mapped into a pool is the pool's; elsewhere, range and memory are nodes. */
static void fill_pools(struct device_heap *d) {
    for (size_t i = 0; i < d->n_items; i++) {
        struct device_item *const item = &d->items[i];
        if (item->role == ROLE_POOL && is_address(item->record) &&
            item->record->kind != SNAP_NODE_DEVICE_VIRTUAL)
            item->held = item->record->size;
        else if (item->record->space == DEVICE_POOL)
            item->held = item->record->size;
    }
    for (size_t i = 0; i < d->n_items; i++) {
        struct device_item *const item = &d->items[i];
        if (item->role != ROLE_MAPPING)
            continue;
        struct device_item *const range = holder(d, item->address);
        struct device_item *const memory = physical(d, item->record->link);
        if (range && memory && range->device < 0)
            range->device = memory->device;
        if (!range || range->role != ROLE_POOL)
            continue;
        range->held += item->record->size;
        item->role = ROLE_NONE;
        if (memory)
            memory->role = ROLE_NONE;
    }
}

static void gap(struct device_item *pool, uint64_t from, uint64_t to) {
    if (to > from && to - from > pool->largest_gap)
        pool->largest_gap = to - from;
}

/* Nodes in the order of addresses within a domain, so gaps are found in one pass. */
static void hand_out(struct device_heap *d) {
    struct device_item *last_pool = NULL;
    for (size_t i = 0; i < d->n_items; i++) {
        struct device_item *const item = &d->items[i];
        const struct device_record *const r = item->record;
        if (item->role != ROLE_NODE)
            continue;
        if (r->space == DEVICE_BLOCK) {
            struct device_item *const pool = holder(d, item->address);
            if (!pool)
                continue;
            item->pool = pool;
            pool->live += r->size;
            if (pool->record->kind == SNAP_NODE_DEVICE_VIRTUAL)
                continue;
            gap(pool, pool->gap_from ? pool->gap_from : pool->address, item->address);
            pool->gap_from = item->address + r->size;
        } else if (r->kind == SNAP_NODE_DEVICE_ASYNC && r->link) {
            if (!last_pool || last_pool->record->key != r->link)
                last_pool = pool_of_handle(d, r->link);
            item->pool = last_pool;
            if (last_pool)
                last_pool->live += r->size;
        }
    }
    for (size_t i = 0; i < d->n_items; i++) {
        struct device_item *const pool = &d->items[i];
        if (pool->role != ROLE_POOL)
            continue;
        if (pool->record->kind == SNAP_POOL_CUDA_GRAPH && pool->record->space == DEVICE_POOL)
            pool->live = pool->record->offset;
        if (pool->held < pool->live) /* asked a while ago */
            pool->held = pool->live;
        if (!is_address(pool->record) || pool->record->kind == SNAP_NODE_DEVICE_VIRTUAL)
            continue;
        gap(pool, pool->gap_from ? pool->gap_from : pool->address,
            pool->address + pool->record->size);
    }
}

/* Gaps in ranges lie between blocks, and only where memory is mapped: mappings and blocks both
 * ascend. */
static void find_gaps_of_ranges(struct device_heap *d) {
    struct device_item *pool = NULL;
    uint64_t from = 0, end = 0; /* of what is mapped without a hole, from where it is free */
    size_t k = 0;
    for (size_t i = 0; i < d->n_items; i++) {
        const struct device_item *const mapping = &d->items[i];
        if (mapping->record->space != DEVICE_MAPPING)
            continue;
        struct device_item *const range = holder(d, mapping->address);
        if (range != pool || mapping->address != end) {
            if (pool)
                gap(pool, from, end);
            from = mapping->address;
        }
        pool = range && range->role == ROLE_POOL ? range : NULL;
        end = mapping->address + mapping->record->size;
        for (; k < d->n_items &&
               (d->items[k].record->space != DEVICE_BLOCK || d->items[k].address < end);
             k++) {
            const struct device_item *const block = &d->items[k];
            if (block->record->space != DEVICE_BLOCK || block->address < from)
                continue;
            if (pool)
                gap(pool, from, block->address);
            from = block->address + block->record->size;
        }
    }
    if (pool)
        gap(pool, from, end);
}

static void number(struct device_heap *d, uint32_t n_nodes_before) {
    struct scan_target *const targets = (void *)d->targets;
    for (size_t i = 0; i < d->n_items; i++) {
        struct device_item *const item = &d->items[i];
        if (item->role == ROLE_POOL)
            item->id = ++d->n_pools;
        if (item->role != ROLE_NODE)
            continue;
        item->id = ++d->n_nodes;
        const uint32_t space = item->record->space;
        if (space == DEVICE_MEMORY || space == DEVICE_BLOCK)
            targets[d->n_targets++] = (struct scan_target){.address = item->address,
                                                           .size = item->record->size,
                                                           .node = n_nodes_before + item->id};
    }
    sort(targets, d->n_targets, sizeof *targets, by_target);
}

/* Where the driver's pools and physical memory stand: both have no address. */
static void find_runs(struct device_heap *d) {
    for (size_t i = 0; i < d->n_items; i++) {
        const struct device_record *const r = d->items[i].record;
        if (r->space == DEVICE_POOL) {
            if (d->n_driver_pools++ == 0)
                d->first_pool = i;
        } else if (r->space == DEVICE_PHYSICAL && r->domain < DEVICE_DOMAINS) {
            if (d->physical[r->domain].n++ == 0)
                d->physical[r->domain].first = i;
        }
    }
}

static void put_in_order(struct device_heap *d) {
    sort(d->items, d->n_items, sizeof *d->items, by_row);
    d->n_by_address = 0;
    for (size_t i = 0; i < d->n_items; i++)
        if (is_address(d->items[i].record))
            d->by_address[d->n_by_address++] = &d->items[i];
    sort(d->by_address, d->n_by_address, sizeof *d->by_address, by_address);
}

/* Blocks of pools that the program has told of, in memory that is still what it was. Not in a
 * framework's segment, which has blocks of its own, nor in memory of the driver's pools or of
 * another process, which is counted elsewhere. */
static void add_told_blocks(struct device_heap *d, const struct note_places *told,
                            struct device_record *records) {
    const size_t n_before = d->n_items;
    for (uint32_t i = 0; i < told->n_device_blocks; i++) {
        const struct note_block *const b = &told->device_blocks[i];
        struct device_item *const of = holder(d, b->address);
        if (of == NULL || of->record->serial != b->device || of->role == ROLE_POOL ||
            b->size > of->address + of->record->size - b->address ||
            (of->record->kind != SNAP_NODE_DEVICE_LINEAR &&
             of->record->kind != SNAP_NODE_DEVICE_VIRTUAL))
            continue;
        const struct note_pool pool = notes_pool(b->pool);
        of->name = pool.name;
        records[i] = (struct device_record){.space = DEVICE_BLOCK,
                                            .kind = SNAP_NODE_DEVICE_BLOCK,
                                            .domain = of->record->domain,
                                            .device = of->record->device,
                                            .key = b->address,
                                            .size = b->size,
                                            .birth = b->birth,
                                            .stack = b->stack};
        d->items[d->n_items++] = (struct device_item){.record = &records[i],
                                                      .role = ROLE_NODE,
                                                      .address = b->address,
                                                      .device = of->record->device};
    }
    if (d->n_items > n_before)
        put_in_order(d);
}

void device_heap_open(struct device_heap *d, uint32_t n_nodes_before) {
    *d = (struct device_heap){0};
    const size_t n = device_table_count();
    if (n == 0)
        return;
    const struct note_places *const told = notes_places();
    const size_t n_told = told ? told->n_device_blocks : 0, room = n + n_told + 1;
    d->bytes = room * (sizeof *d->items + sizeof(struct scan_target) + sizeof *d->by_address) +
               n_told * sizeof(struct device_record);
    d->memory = raw_map(d->bytes, MAP_PRIVATE | MAP_ANONYMOUS);
    if (!d->memory)
        return;
    d->items = (void *)d->memory;
    d->targets = d->memory + room * sizeof *d->items;
    d->by_address = (void *)(d->targets + room * sizeof(struct scan_target));
    device_table_for_each(add_item, d);
    put_in_order(d);
    if (told)
        add_told_blocks(d, told, (void *)(d->by_address + room));
    find_runs(d);
    find_pools(d);
    fill_pools(d);
    hand_out(d);
    find_gaps_of_ranges(d);
    number(d, n_nodes_before);
}

void device_heap_close(struct device_heap *d) {
    if (d->memory)
        raw_unmap(d->memory, d->bytes);
    *d = (struct device_heap){0};
}

void device_heap_stacks(const struct device_heap *d, void (*use)(void *context, uint32_t stack),
                        void *context) {
    for (size_t i = 0; i < d->n_items; i++)
        if (d->items[i].role != ROLE_NONE && d->items[i].role != ROLE_MAPPING)
            use(context, d->items[i].record->stack);
}

/* --- sending --- */

enum { RUN = 256 };

/* Records of one kind, sent by runs. */
struct run {
    const struct device_sink *sink;
    uint32_t kind, n;
    size_t size;
    int failed;
    union {
        struct wire_pool pools[RUN];
        struct wire_node nodes[RUN];
        struct wire_reference references[RUN];
        struct wire_resource resources[RUN];
    };
};

static void run_begin(struct run *r, const struct device_sink *sink, uint32_t kind, size_t size) {
    r->sink = sink;
    r->kind = kind;
    r->n = 0;
    r->size = size;
    r->failed = 0;
}

static void run_end(struct run *r) {
    if (r->n > 0 && !r->failed)
        r->failed = r->sink->put(r->sink->context, r->kind, r->n, r->pools, r->n * r->size);
    r->n = 0;
}

static void run_next(struct run *r) {
    if (++r->n == RUN)
        run_end(r);
}

static uint32_t device_of(const struct device_item *item) {
    return item->device < 0 ? 0 : (uint32_t)item->device + 1;
}

static uint32_t flags_of(const struct device_record *r) {
    return (r->flags & DEVICE_FLAG_TRUNCATED ? SNAP_NODE_FLAG_STACK_TRUNCATED : 0) |
           (r->flags & DEVICE_FLAG_EXPORTED ? SNAP_NODE_FLAG_EXPORTED : 0);
}

static void put_pool(struct run *r, const struct device_item *item) {
    const struct device_record *const d = item->record;
    const int is_segment = is_address(d), is_private = (d->flags & DEVICE_FLAG_CAPTURED) != 0;
    r->pools[r->n] = (struct wire_pool){
        .address = item->address,
        .size = item->held,
        .live = item->live,
        .cached = item->held - item->live,
        .largest_gap = item->largest_gap,
        .birth = d->birth,
        .kind = item->name    ? SNAP_POOL_API
                : !is_segment ? d->kind
                : is_private  ? SNAP_POOL_TORCH_PRIVATE
                              : SNAP_POOL_TORCH_SEGMENT,
        .name = item->name ? r->sink->names + item->name : 0,
        .domain = d->domain,
        .device = device_of(item),
        .stack = r->sink->stack(r->sink->context, d->stack),
        .flags = d->kind == SNAP_NODE_DEVICE_VIRTUAL && is_segment ? SNAP_POOL_FLAG_EXPANDABLE : 0,
    };
    run_next(r);
}

static void put_node(struct run *r, const struct device_item *item) {
    const struct device_record *const d = item->record;
    r->nodes[r->n] = (struct wire_node){
        .address = item->address,
        .size = d->size,
        .birth = d->birth,
        .stack = r->sink->stack(r->sink->context, d->stack),
        .flags = flags_of(d),
        .device = device_of(item),
        .pool = item->pool ? r->sink->n_pools + item->pool->id : 0,
        .domain = (uint16_t)d->domain,
        .kind = (uint16_t)d->kind,
    };
    run_next(r);
}

int device_heap_send_nodes(const struct device_heap *d, const struct device_sink *sink) {
    static struct run r;
    run_begin(&r, sink, WIRE_POOL, sizeof *r.pools);
    for (size_t i = 0; i < d->n_items; i++)
        if (d->items[i].role == ROLE_POOL)
            put_pool(&r, &d->items[i]);
    run_end(&r);
    const int failed = r.failed;
    run_begin(&r, sink, WIRE_NODE, sizeof *r.nodes);
    for (size_t i = 0; i < d->n_items; i++)
        if (d->items[i].role == ROLE_NODE)
            put_node(&r, &d->items[i]);
    run_end(&r);
    return failed ? failed : r.failed;
}

/* From ranges to the memory that is mapped there: mappings and ranges both ascend. */
int device_heap_send_references(const struct device_heap *d, const struct device_sink *sink,
                                uint32_t n_before) {
    static struct run r;
    run_begin(&r, sink, WIRE_REFERENCE, sizeof *r.references);
    for (size_t i = 0; i < d->n_items; i++) {
        const struct device_item *const item = &d->items[i];
        if (item->role != ROLE_MAPPING)
            continue;
        const struct device_item *const range = holder(d, item->address);
        const struct device_item *const memory = physical(d, item->record->link);
        if (!range || !memory || range->role != ROLE_NODE || memory->role != ROLE_NODE)
            continue;
        r.references[r.n] = (struct wire_reference){
            .source = n_before + range->id,
            .target = n_before + memory->id,
            .source_offset = item->address - range->address,
            .target_offset = item->record->offset,
            .kind = SNAP_EDGE_MAPPING,
        };
        run_next(&r);
    }
    run_end(&r);
    return r.failed;
}

int device_heap_send_resources(const struct device_heap *d, const struct device_sink *sink) {
    static struct run r;
    run_begin(&r, sink, WIRE_RESOURCE, sizeof *r.resources);
    for (size_t i = 0; i < d->n_items; i++) {
        const struct device_item *const item = &d->items[i];
        const struct device_record *const record = item->record;
        if (item->role != ROLE_RESOURCE)
            continue;
        r.resources[r.n] = (struct wire_resource){
            .handle = record->key & ((UINT64_C(1) << HOOK_HANDLE_SHIFT) - 1),
            .birth = record->birth,
            .kind = record->kind,
            .stack = sink->stack(sink->context, record->stack),
            .device = device_of(item),
            .flags = flags_of(record),
        };
        run_next(&r);
    }
    run_end(&r);
    return r.failed;
}
