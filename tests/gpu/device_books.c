/* Seeded random programs for the driver: what the recorder keeps of them must be what the driver's
 * own books say, class by class, byte for byte.
 *
 * The recorder is linked into this program, so its table can be read. With LOG=1 it prints a line
 * per class. Arguments: protocol (dlsym, v1, v2), version, per-thread streams (0, 1), threads,
 * operations, seed. */
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <heapsnap/snapdef.h>

#include "capture/device_table.h"
#include "capture/hook_cuda.h"
#include "driver.h"
#include "fake/fake_cuda.h"
#include "random_driver.h"

static struct driver driver;
static void *contexts[2];

static int n_bad;

/* The class of a record, -1: none in the books. */
static int class_of(const struct device_record *r) {
    static const int resources[] = {[SNAP_RSRC_STREAM] = FAKE_STREAM,
                                    [SNAP_RSRC_EVENT] = FAKE_EVENT,
                                    [SNAP_RSRC_GRAPH] = FAKE_GRAPH,
                                    [SNAP_RSRC_GRAPH_EXEC] = FAKE_EXEC,
                                    [SNAP_RSRC_DEVICE_MODULE] = FAKE_MODULE,
                                    [SNAP_RSRC_LIBRARY] = FAKE_LIBRARY,
                                    [SNAP_RSRC_CONTEXT] = FAKE_CONTEXT,
                                    [SNAP_RSRC_TEXTURE] = FAKE_TEXTURE,
                                    [SNAP_RSRC_SURFACE] = FAKE_SURFACE,
                                    [SNAP_RSRC_LINKER] = FAKE_LINKER,
                                    [SNAP_RSRC_EXTERNAL_MEMORY] = FAKE_EXTERNAL_MEMORY,
                                    [SNAP_RSRC_EXTERNAL_SEMAPHORE] = FAKE_EXTERNAL_SEMAPHORE};
    if (r->space > DEVICE_RESOURCE)
        return resources[r->kind];
    switch (r->space) {
    case DEVICE_REGISTERED: return FAKE_REGISTERED;
    case DEVICE_ARRAY:
        return r->kind == SNAP_NODE_DEVICE_EXTERNAL ? FAKE_EXTERNAL_ARRAY : FAKE_ARRAY;
    case DEVICE_POOL: return r->kind == SNAP_POOL_CUDA_MEMPOOL ? FAKE_POOL : -1;
    case DEVICE_PHYSICAL:
        return r->kind == SNAP_NODE_DEVICE_MULTICAST  ? FAKE_MULTICAST
               : r->kind == SNAP_NODE_DEVICE_IMPORTED ? FAKE_IMPORTED
                                                      : FAKE_PHYSICAL;
    case DEVICE_MEMORY: break;
    default: return -1;
    }
    switch (r->kind) {
    case SNAP_NODE_DEVICE_ASYNC: return FAKE_ASYNC;
    case SNAP_NODE_DEVICE_VIRTUAL: return FAKE_VIRTUAL;
    case SNAP_NODE_DEVICE_IMPORTED: return FAKE_IMPORTED;
    case SNAP_NODE_DEVICE_EXTERNAL: return FAKE_EXTERNAL;
    case SNAP_NODE_DEVICE_GRAPH: return FAKE_GRAPH_MEMORY;
    default:
        return r->domain == SNAP_DOMAIN_MANAGED  ? FAKE_MANAGED
               : r->domain == SNAP_DOMAIN_PINNED ? FAKE_PINNED
                                                 : FAKE_LINEAR;
    }
}

static int add(void *context, const struct device_record *r) {
    struct fake_books *const books = context;
    const int class = class_of(r);
    if (class < 0)
        return 0;
    books->count[class]++;
    books->bytes[class] += r->size;
    if (r->stack == 0)
        n_bad++;
    return 0;
}

static void compare(void (*get)(struct fake_books *), const char *when) {
    struct fake_books theirs, ours = {0};
    hook_cuda_sample(true);
    get(&theirs);
    device_table_for_each(add, &ours);
    for (int i = 0; i < FAKE_CLASSES; i++) {
        const int is_counted = i != FAKE_IMPORTED; /* nobody says how large that is */
        const int is_good =
            ours.count[i] == theirs.count[i] && (!is_counted || ours.bytes[i] == theirs.bytes[i]);
        if (!is_good || getenv("LOG"))
            printf("%s%s: class %d: %lu of %lu, %lu bytes of %lu\n", is_good ? "# " : "not ok - ",
                   when, i, ours.count[i], theirs.count[i], ours.bytes[i], theirs.bytes[i]);
        n_bad += !is_good;
    }
}

/* A framework's segment and the blocks in it, as PyTorch reports them. */
struct device {
    int8_t type, index;
};
void _ZN3c1027reportMemoryUsageToProfilerEPvlmmNS_6DeviceE(void *address, int64_t size,
                                                           size_t allocated, size_t reserved,
                                                           struct device device);

static void report_blocks(void) {
    enum { SEGMENT = 20 << 20, BLOCK = 1 << 20 };
    struct device_record r;
    uint64_t segment = 0;
    driver.cuCtxSetCurrent(contexts[1]);
    while (driver.cuMemAlloc(&segment, SEGMENT) != 0)
        continue;
    for (uint64_t i = 0; i < 3; i++)
        _ZN3c1027reportMemoryUsageToProfilerEPvlmmNS_6DeviceE(
            (void *)(uintptr_t)(segment + i * BLOCK), BLOCK, 0, 0, (struct device){1, 1});
    _ZN3c1027reportMemoryUsageToProfilerEPvlmmNS_6DeviceE((void *)(uintptr_t)segment, BLOCK, 0, 0,
                                                          (struct device){0, -1}); /* not CUDA's */
    _ZN3c1027reportMemoryUsageToProfilerEPvlmmNS_6DeviceE((void *)(uintptr_t)(segment + BLOCK),
                                                          -BLOCK, 0, 0, (struct device){1, 1});
    const int is_good = device_table_get(DEVICE_MEMORY, segment, &r, false) &&
                        (r.flags & DEVICE_FLAG_POOL) && r.device == 1 &&
                        device_table_get(DEVICE_BLOCK, segment, &r, false) && r.size == BLOCK &&
                        !device_table_get(DEVICE_BLOCK, segment + BLOCK, &r, false) &&
                        device_table_get(DEVICE_BLOCK, segment + 2 * BLOCK, &r, false);
    if (!is_good)
        printf("not ok - blocks of a segment\n");
    n_bad += !is_good;
}

int main(int argc, char **argv) {
    if (argc < 7)
        return 2;
    const enum driver_protocol protocol = strcmp(argv[1], "dlsym") == 0 ? DRIVER_DLSYM
                                          : strcmp(argv[1], "v1") == 0  ? DRIVER_V1
                                                                        : DRIVER_V2;
    const int n_threads = atoi(argv[4]);
    const uint64_t n_operations = strtoull(argv[5], NULL, 10);
    const uint64_t seed = strtoull(argv[6], NULL, 10);
    if (driver_load(&driver, protocol, atoi(argv[2]), atoi(argv[3])) < 0) {
        printf("not ok - no driver\n");
        return 1;
    }
    void (*books)(struct fake_books *);
    void *found = dlsym(driver.library, "fake_cuda_books");
    memcpy(&books, &found, sizeof books);
    driver.cuInit(0);
    for (int i = 0; i < 2; i++)
        driver.cuDevicePrimaryCtxRetain(&contexts[i], i);
    const uint64_t n_failed =
        random_driver_run(&driver, contexts[0], n_threads, n_operations, seed);
    compare(books, "after the work");
    report_blocks();
    driver.cuDevicePrimaryCtxReset(0);
    compare(books, "after a reset");
    driver.cuDevicePrimaryCtxRelease(1);
    compare(books, "after a release");
    const struct hook_cuda_counts counts = hook_cuda_counts();
    if (counts.dropped || counts.unseen || counts.unknown) {
        printf("not ok - %lu dropped, %lu unseen, %lu unknown\n", counts.dropped, counts.unseen,
               counts.unknown);
        n_bad++;
    }
    if (n_bad == 0)
        printf("ok - %s %s, %d threads, %lu refused\n", argv[1], argv[2], n_threads, n_failed);
    return n_bad != 0;
}
