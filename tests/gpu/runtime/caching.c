/* See caching.h. Sizes as PyTorch has them: blocks are multiples of 512 bytes; up to 1 MiB come
 * from segments of 2 MiB, larger ones from segments of 20 MiB or, from 10 MiB on, of their own
 * size. One device, one stream, no threads. */
#include "caching.h"

#include <dlfcn.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "mini_cuda.h"

enum { MAX = 4096 };
#define MIB ((size_t)1 << 20)
#define RANGE ((size_t)1 << 36)

struct block {
    uintptr_t address;
    size_t size;
    int segment, is_used;
};
struct segment {
    uintptr_t address;
    size_t size;
    int is_small, is_private;
};

static struct block blocks[MAX]; /* by address within a segment */
static struct segment segments[MAX];
static int n_blocks, n_segments;
static size_t allocated, reserved;
static int is_captured;

/* c10::reportMemoryUsageToProfiler(void *, int64_t, size_t, size_t, c10::Device), of c10.c */
struct device {
    int8_t type, index;
};
void _ZN3c1027reportMemoryUsageToProfilerEPvlmmNS_6DeviceE(void *, int64_t, size_t, size_t,
                                                           struct device);
void _ZN3c1027reportOutOfMemoryToProfilerElmmNS_6DeviceE(int64_t, size_t, size_t, struct device);

static void report(uintptr_t address, int64_t size) {
    _ZN3c1027reportMemoryUsageToProfilerEPvlmmNS_6DeviceE((void *)address, size, allocated,
                                                          reserved, (struct device){1, 0});
}

static int is_mode(const char *mode) {
    const char *const given = getenv("CACHING");
    return strcmp(given ? given : "segments", mode) == 0;
}

/* --- the driver's functions for mapping, one by one by name --- */

struct props {
    int type, handle_types, location, device;
    void *unused;
    uint64_t rest[2];
};
static int (*reserve)(uint64_t *, size_t, size_t, uint64_t, unsigned long long);
static int (*create)(uint64_t *, size_t, const struct props *, unsigned long long);
static int (*map)(uint64_t, size_t, size_t, uint64_t, unsigned long long);

static int grow_range(size_t size) {
    static const struct props props = {.type = 1, .location = 1};
    if (n_segments == 0) {
        if (cudaSetDevice(0) != 0)
            return -1;
        void *const driver = dlopen("libcuda.so.1", RTLD_NOW | RTLD_NOLOAD);
        void *const found[] = {dlsym(driver, "cuMemAddressReserve"), dlsym(driver, "cuMemCreate"),
                               dlsym(driver, "cuMemMap")};
        memcpy(&reserve, &found[0], sizeof reserve);
        memcpy(&create, &found[1], sizeof create);
        memcpy(&map, &found[2], sizeof map);
        uint64_t range;
        if (reserve(&range, RANGE, 0, 0, 0) != 0)
            return -1;
        segments[n_segments++] = (struct segment){.address = range};
    }
    struct segment *const s = &segments[0];
    uint64_t memory;
    if (create(&memory, size, &props, 0) != 0 || map(s->address + s->size, size, 0, memory, 0) != 0)
        return -1;
    struct block *const last = n_blocks ? &blocks[n_blocks - 1] : NULL;
    if (last && !last->is_used)
        last->size += size;
    else
        blocks[n_blocks++] = (struct block){s->address + s->size, size, 0, 0};
    s->size += size;
    reserved += size;
    return 0;
}

static int add_segment(size_t size, int is_small) {
    void *address;
    if (is_mode("expandable"))
        return grow_range(is_small ? 2 * MIB : (size + 20 * MIB - 1) / (20 * MIB) * (20 * MIB));
    const size_t whole = is_small          ? 2 * MIB
                         : size < 10 * MIB ? 20 * MIB
                                           : (size + 2 * MIB - 1) / (2 * MIB) * (2 * MIB);
    if (cudaMalloc(&address, whole) != 0)
        return -1;
    segments[n_segments] = (struct segment){(uintptr_t)address, whole, is_small, is_captured};
    blocks[n_blocks++] = (struct block){(uintptr_t)address, whole, n_segments++, 0};
    reserved += whole;
    return 0;
}

static int find_block(size_t size, int is_small) {
    int best = -1;
    const int any = is_mode("expandable");
    for (int i = 0; i < n_blocks; i++)
        if (!blocks[i].is_used && blocks[i].size >= size &&
            (any || (segments[blocks[i].segment].is_small == is_small &&
                     segments[blocks[i].segment].is_private == is_captured)) &&
            (best < 0 || blocks[i].size < blocks[best].size))
            best = i;
    return best;
}

void *caching_allocate(size_t size) {
    void *address = NULL;
    size = (size + 511) & ~(size_t)511;
    if (is_mode("none") || is_mode("async")) {
        const int result =
            is_mode("none") ? cudaMalloc(&address, size) : cudaMallocAsync(&address, size, NULL);
        if (result != 0)
            return NULL;
        blocks[n_blocks++] = (struct block){(uintptr_t)address, size, -1, 1};
        allocated += size;
        reserved += size;
        return address;
    }
    const int is_small = size <= MIB;
    int i = find_block(size, is_small);
    if (i < 0) {
        if (add_segment(size, is_small) != 0) {
            _ZN3c1027reportOutOfMemoryToProfilerElmmNS_6DeviceE((int64_t)size, allocated, reserved,
                                                                (struct device){1, 0});
            return NULL;
        }
        i = find_block(size, is_small);
    }
    struct block *const b = &blocks[i];
    if (b->size - size >= (is_small ? 512 : MIB + 1)) {
        memmove(b + 2, b + 1, (size_t)(n_blocks - i - 1) * sizeof *b);
        n_blocks++;
        b[1] = (struct block){b->address + size, b->size - size, b->segment, 0};
        b->size = size;
    }
    b->is_used = 1;
    allocated += b->size;
    report(b->address, (int64_t)b->size);
    return (void *)b->address;
}

static void take_out(int i) {
    memmove(&blocks[i], &blocks[i + 1], (size_t)(n_blocks - i - 1) * sizeof *blocks);
    n_blocks--;
}

void caching_free(void *address) {
    int i = 0;
    while (i < n_blocks && (blocks[i].address != (uintptr_t)address || !blocks[i].is_used))
        i++;
    if (i == n_blocks)
        abort();
    allocated -= blocks[i].size;
    if (blocks[i].segment < 0) {
        reserved -= blocks[i].size;
        if (is_mode("none"))
            cudaFree(address);
        else
            cudaFreeAsync(address, NULL);
        take_out(i);
        return;
    }
    blocks[i].is_used = 0;
    report(blocks[i].address, -(int64_t)blocks[i].size);
    if (i + 1 < n_blocks && !blocks[i + 1].is_used && blocks[i + 1].segment == blocks[i].segment) {
        blocks[i].size += blocks[i + 1].size;
        take_out(i + 1);
    }
    if (i > 0 && !blocks[i - 1].is_used && blocks[i - 1].segment == blocks[i].segment) {
        blocks[i - 1].size += blocks[i].size;
        take_out(i);
    }
}

void caching_capture(int on) {
    static void *stream;
    void *graph;
    if ((!stream && cudaStreamCreateWithFlags(&stream, 1 /* does not wait for stream 0 */) != 0) ||
        (on ? cudaStreamBeginCapture(stream, 2 /* relaxed */)
            : cudaStreamEndCapture(stream, &graph)) != 0)
        abort();
    is_captured = on;
}

void caching_empty(void) {
    for (int i = 0; i < n_blocks;) {
        struct block *const b = &blocks[i];
        if (b->is_used || b->segment < 0 || is_mode("expandable") ||
            segments[b->segment].is_private || b->size != segments[b->segment].size) {
            i++;
            continue;
        }
        cudaFree((void *)b->address);
        reserved -= b->size;
        take_out(i);
    }
}

struct caching_stats caching_stats(void) {
    struct caching_stats s = {.allocated = allocated, .reserved = reserved};
    for (int i = 0; i < n_blocks; i++) {
        const int is_private = blocks[i].segment >= 0 && segments[blocks[i].segment].is_private;
        s.private_reserved += is_private ? blocks[i].size : 0;
        s.private_allocated += is_private && blocks[i].is_used ? blocks[i].size : 0;
        if (blocks[i].is_used)
            continue;
        if (blocks[i].size > s.largest_gap)
            s.largest_gap = blocks[i].size;
        if (!is_private && blocks[i].size == segments[blocks[i].segment].size)
            s.returnable += blocks[i].size;
    }
    return s;
}
