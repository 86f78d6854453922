/* Memory of devices that tensors keep, where no recorder tells what the driver has given out: of
 * each storage that is not in the processor's memory where its bytes are and how many.
 *
 * A tensor says which device it is on (tensor.c), its storage how large it is (tensor.c, too) and
 * where; which of a storage's words that is says what all storages have in common that free their
 * own bytes (native.c). Storages of the same bytes, or of parts of them, are one range each time,
 * so that sums are of bytes that are there once. What no tensor keeps is not known: what an
 * allocator holds back, and what other libraries have. Nothing on a device is read. */
#include "python/walker.h"

#include <heapsnap/snapdef.h>

#include "capture/spans.h"
#include "model/wire.h"
#include "python/guard.h"

/* First the number of the device, then the address, as one number that sorts. */
#define NUMBER_SHIFT 56
#define ADDRESS_MASK ((UINT64_C(1) << NUMBER_SHIFT) - 1)

struct found {
    uint64_t key;
    uint64_t size;
    uint64_t block; /* of the storage: index */
};

struct range {
    uint64_t key, size;
};

static struct range *ranges(const struct managed_walk *w) {
    return (struct range *)(void *)w->devices.ranges.data;
}

static uint32_t *range_of_block(const struct managed_walk *w) {
    return (uint32_t *)(void *)w->devices.of_block.data;
}

static int find_one(void *context, size_t i) {
    struct managed_walk *const w = context;
    struct tensor_storage s;
    if (i >= w->natives.n_blocks)
        return 1;
    const uint64_t tensor = natives_blocks(w)[i].address;
    if (natives_class(w, tensor) != NATIVE_TENSOR ||
        !tensor_storage(w, (const uint64_t *)tensor, &s) || !s.is_device)
        return 0;
    const uint32_t block = natives_block_at(w, (uintptr_t)s.words);
    if (block == 0 || range_of_block(w)[block - 1])
        return 0;
    const unsigned word = w->natives.data_word;
    if (!w->tensors.size_word || !word) {
        w->natives.n_missed++;
        return 0;
    }
    const struct found f = {.key =
                                (uint64_t)s.device << NUMBER_SHIFT | (s.words[word] & ADDRESS_MASK),
                            .size = s.words[w->tensors.size_word],
                            .block = block - 1};
    if ((f.key & ADDRESS_MASK) == 0 || f.size == 0 || f.size > SIZE_MAX_BYTES)
        return 0;
    range_of_block(w)[block - 1] = 1; /* of the first, till all are known */
    memory_add(&w->devices.found, &f, sizeof f);
    return 0;
}

static int miss(void *context, size_t i) {
    ((struct managed_walk *)context)->natives.n_missed++;
    return 0;
}

void devices_find(struct managed_walk *w) {
    struct devices *const d = &w->devices;
    if (!w->tensors.word || w->natives.n_blocks == 0)
        return;
    if (!memory_zeroed(&d->of_block, (size_t)w->natives.n_blocks * sizeof(uint32_t))) {
        w->natives.n_missed++;
        return;
    }
    guard_each(0, find_one, miss, w);
    const size_t n = d->found.length / sizeof(struct found);
    const struct found *const all = (const void *)d->found.data;
    spans_sort(d->found.data, sizeof *all, n);
    for (size_t i = 0; i < n; i++) {
        struct range *const last = d->n_ranges ? &ranges(w)[d->n_ranges - 1] : NULL;
        const uint64_t behind = last ? all[i].key - last->key : 0;
        if (last && behind < last->size) {
            if (all[i].size > last->size - behind)
                last->size = behind + all[i].size;
        } else {
            memory_add(&d->ranges, &(struct range){all[i].key, all[i].size}, sizeof(struct range));
            d->n_ranges++;
        }
        range_of_block(w)[all[i].block] = d->n_ranges;
    }
    if (d->found.failed || d->ranges.failed) {
        w->natives.n_missed += n + 1;
        d->n_ranges = 0;
    }
}

uint32_t device_range(const struct managed_walk *w, uint32_t block, uint64_t address,
                      uint64_t *out_offset) {
    const struct devices *const d = &w->devices;
    const uint32_t range = d->n_ranges ? range_of_block(w)[block] : 0;
    if (!range)
        return 0;
    *out_offset = (address & ADDRESS_MASK) - (ranges(w)[range - 1].key & ADDRESS_MASK);
    return *out_offset < ranges(w)[range - 1].size ? range : 0;
}

void devices_send_type(struct managed_walk *w) {
    static const char name[] = "tensor data";
    if (w->devices.n_ranges == 0)
        return;
    const struct wire_type r = {.name = w->first_string + name_add(w, name, sizeof name - 1),
                                .source = SNAP_TYPE_GUESS};
    w->devices.type = ++w->sink->n_types;
    send_record(w, WIRE_TYPE, &r, sizeof r);
}

void devices_send_nodes(struct managed_walk *w) {
    const struct devices *const d = &w->devices;
    for (uint32_t i = 0; i < d->n_ranges; i++) {
        const struct wire_node r = {.address = ranges(w)[i].key & ADDRESS_MASK,
                                    .size = ranges(w)[i].size,
                                    .type = d->type,
                                    .device = (uint32_t)(ranges(w)[i].key >> NUMBER_SHIFT),
                                    .domain = SNAP_DOMAIN_DEVICE,
                                    .kind = SNAP_NODE_DEVICE_BLOCK};
        send_record(w, WIRE_NODE, &r, sizeof r);
    }
    send_flush(w, WIRE_NODE);
    w->sink->n_nodes += d->n_ranges;
}

void devices_release(struct managed_walk *w) {
    memory_release(&w->devices.found);
    memory_release(&w->devices.ranges);
    memory_release(&w->devices.of_block);
}
