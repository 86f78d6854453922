/* Seeded random programs for the driver: what the recorder keeps of them must be what the driver's
 * own books say, class by class, byte for byte.
 *
 * The recorder is linked into this program, so its table can be read. With LOG=1 it prints a line
 * per class. Arguments: protocol (dlsym, v1, v2), version, per-thread streams (0, 1), threads,
 * operations, seed. */
#include <dlfcn.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <heapsnap/snapdef.h>

#include "capture/device_table.h"
#include "capture/hook_cuda.h"
#include "driver.h"
#include "fake/fake_cuda.h"

#define HELD 64

static struct driver driver;
static void *contexts[2];
static uint64_t n_operations, seed;

struct held {
    int kind;
    uint64_t key, size, other;
};

struct random {
    uint64_t state;
};
static uint64_t next(struct random *r) {
    r->state ^= r->state << 13;
    r->state ^= r->state >> 7;
    r->state ^= r->state << 17;
    return r->state * UINT64_C(0x2545F4914F6CDD1D) >> 16;
}

enum {
    LINEAR,
    PITCHED,
    MANAGED,
    PINNED,
    REGISTERED,
    ARRAY,
    ARRAY3D,
    MIPMAP,
    ASYNC,
    FROM_POOL,
    PHYSICAL,
    MAPPED,
    MULTICAST,
    IPC,
    EXTERNAL,
    STREAM,
    EVENT,
    GRAPH,
    CAPTURE,
    EXEC,
    MODULE,
    LIBRARY,
    TEXTURE,
    CONTEXT,
    KINDS
};

struct worker {
    struct random random;
    struct held held[HELD];
    void *pool, *stream;
    uint64_t n_failed;
};

/* 0: made. */
static int make(struct worker *w, struct held *h) {
    static const struct driver_location here = {.location = 1, .device = 0};
    const uint64_t r = next(&w->random);
    const size_t size = 1 + r % 100000, whole = (1 + r % 8) << 12;
    const struct driver_array a = {1 + r % 64, r >> 8 & 31, 32, 2};
    const struct driver_array3d a3 = {1 + r % 64, r >> 8 & 31, r >> 16 & 7, 1, 4, 0};
    void *handle = NULL;
    uint64_t address = 0;
    int result = 1;
    size_t pitch;
    *h = (struct held){.kind = (int)(next(&w->random) % KINDS), .size = size};
    switch (h->kind) {
    case LINEAR: result = driver.cuMemAlloc(&address, size); break;
    case PITCHED:
        result = driver.cuMemAllocPitch(&address, &pitch, 1 + r % 999, 1 + r % 7, 4);
        break;
    case MANAGED: result = driver.cuMemAllocManaged(&address, size, 1); break;
    case PINNED: result = driver.cuMemHostAlloc(&handle, size, 0); break;
    case REGISTERED:
        handle = malloc(size);
        result = driver.cuMemHostRegister(handle, size, 0);
        break;
    case ARRAY: result = driver.cuArrayCreate(&handle, &a); break;
    case ARRAY3D: result = driver.cuArray3DCreate(&handle, &a3); break;
    case MIPMAP: result = driver.cuMipmappedArrayCreate(&handle, &a3, 1 + r % 3); break;
    case ASYNC:
        if (driver.cuMemAllocAsync)
            result = driver.cuMemAllocAsync(&address, size, w->stream);
        break;
    case FROM_POOL:
        if (w->pool)
            result = driver.cuMemAllocFromPoolAsync(&address, size, w->pool, w->stream);
        break;
    case PHYSICAL: result = driver.cuMemCreate(&address, whole, &here, 0); break;
    case MAPPED:
        result = driver.cuMemCreate(&address, whole, &here, 0);
        if (result == 0) {
            uint64_t range;
            h->size = whole;
            if (driver.cuMemAddressReserve(&range, whole, 0, 0, 0) != 0 ||
                driver.cuMemMap(range, whole, 0, address, 0) != 0)
                abort();
            if (driver.cuMemMap(range, whole, 0, address, 0) == 0) /* twice at one place */
                abort();
            h->other = range;
            uint64_t again;
            if (driver.cuMemRetainAllocationHandle && r & 64) {
                if (driver.cuMemRetainAllocationHandle(&again, (void *)(range + 4000)) != 0)
                    abort();
                driver.cuMemRelease(again);
            }
            if (r & 32) { /* only the mapping keeps it */
                driver.cuMemRelease(address);
                address = 0;
                if (driver.cuMemRetainAllocationHandle && r & 128)
                    driver.cuMemRetainAllocationHandle(&address, (void *)range);
            }
        }
        break;
    case MULTICAST:
        if (driver.cuMulticastCreate)
            result = driver.cuMulticastCreate(&address, (size_t[]){2, whole});
        break;
    case IPC: result = driver.cuIpcOpenMemHandle(&address, (struct driver_ipc){{0}}, 1); break;
    case EXTERNAL:
        result =
            driver.cuExternalMemoryGetMappedBuffer(&address, w, (unsigned long long[]){0, size});
        break;
    case STREAM:
        result = r & 1 ? driver.cuStreamCreate(&handle, 0)
                       : driver.cuStreamCreateWithPriority(&handle, 0, 1);
        break;
    case EVENT: result = driver.cuEventCreate(&handle, 0); break;
    case GRAPH:
        result = driver.cuGraphCreate(&handle, 0);
        if (result == 0 && driver.cuGraphAddMemAllocNode) {
            struct driver_graph_memory memory = {.pool = here, .size = size};
            struct driver_graph_node node = {.type = 10, .memory = {.pool = here, .size = size}};
            void *made;
            driver.cuGraphAddMemAllocNode(&made, handle, NULL, 0, &memory);
            if (driver.cuGraphAddNode)
                driver.cuGraphAddNode(&made, handle, NULL, NULL, 0, &node);
        }
        break;
    case CAPTURE:
        result = driver.cuStreamBeginCapture(w->stream, 0);
        if (result == 0) {
            if (driver.cuMemAllocAsync && driver.cuMemAllocAsync(&address, size, w->stream) == 0)
                driver.cuMemFreeAsync(address, w->stream);
            result = driver.cuStreamEndCapture(w->stream, &handle);
        }
        address = 0;
        break;
    case EXEC:
        if (driver.cuGraphInstantiateWithFlags)
            result = driver.cuGraphInstantiateWithFlags(&handle, w, 0);
        break;
    case MODULE: result = driver.cuModuleLoadData(&handle, ""); break;
    case LIBRARY:
        if (driver.cuLibraryLoadData)
            result = driver.cuLibraryLoadData(&handle, "", NULL, NULL, 0, NULL, NULL, 0);
        break;
    case TEXTURE: result = driver.cuTexObjectCreate(&address, NULL, NULL, NULL); break;
    case CONTEXT: /* with something in it, which goes with it */
        result = driver.cuCtxCreate(&handle, 0, 0);
        if (result == 0) {
            uint64_t inside;
            void *stream;
            driver.cuMemAlloc(&inside, size);
            driver.cuStreamCreate(&stream, 0);
            driver.cuCtxSetCurrent(contexts[0]);
        }
        break;
    default: break;
    }
    h->key = handle ? (uintptr_t)handle : address;
    if (result != 0 && h->kind == REGISTERED)
        free(handle);
    if (result != 0)
        h->kind = -1;
    return result;
}

static void expect(int result, const struct held *h) {
    if (result == 0)
        return;
    printf("not ok - kind %d was not taken back: %d\n", h->kind, result);
    exit(1);
}

static void drop(struct worker *w, struct held *h) {
    void *const handle = (void *)(uintptr_t)h->key;
    switch (h->kind) {
    case LINEAR:
    case PITCHED:
    case MANAGED:
    case EXTERNAL: expect(driver.cuMemFree(h->key), h); break;
    case PINNED: expect(driver.cuMemFreeHost(handle), h); break;
    case REGISTERED:
        expect(driver.cuMemHostUnregister(handle), h);
        free(handle);
        break;
    case ARRAY:
    case ARRAY3D: expect(driver.cuArrayDestroy(handle), h); break;
    case MIPMAP: expect(driver.cuMipmappedArrayDestroy(handle), h); break;
    case ASYNC:
    case FROM_POOL:
        expect(h->size & 1 ? driver.cuMemFree(h->key) : driver.cuMemFreeAsync(h->key, w->stream),
               h);
        break;
    case MAPPED:
        expect(driver.cuMemUnmap(h->other, h->size), h);
        expect(driver.cuMemAddressFree(h->other, h->size), h);
        if (h->key)
            expect(driver.cuMemRelease(h->key), h);
        break;
    case PHYSICAL:
    case MULTICAST: expect(driver.cuMemRelease(h->key), h); break;
    case IPC: expect(driver.cuIpcCloseMemHandle(h->key), h); break;
    case STREAM: expect(driver.cuStreamDestroy(handle), h); break;
    case EVENT: expect(driver.cuEventDestroy(handle), h); break;
    case GRAPH:
    case CAPTURE: expect(driver.cuGraphDestroy(handle), h); break;
    case EXEC: expect(driver.cuGraphExecDestroy(handle), h); break;
    case MODULE: expect(driver.cuModuleUnload(handle), h); break;
    case LIBRARY: expect(driver.cuLibraryUnload(handle), h); break;
    case TEXTURE: expect(driver.cuTexObjectDestroy(h->key), h); break;
    case CONTEXT: expect(driver.cuCtxDestroy(handle), h); break;
    default: break;
    }
    h->kind = -1;
}

static void *work(void *argument) {
    struct worker *const w = argument;
    driver.cuCtxSetCurrent(contexts[0]);
    for (int i = 0; i < HELD; i++)
        w->held[i].kind = -1;
    while (driver.cuStreamCreate(&w->stream, 0) != 0)
        w->n_failed++;
    if (driver.cuMemPoolCreate)
        driver.cuMemPoolCreate(&w->pool, &(struct driver_location){.location = 1, .device = 1});
    for (uint64_t i = 0; i < n_operations; i++) {
        struct held *const h = &w->held[next(&w->random) % HELD];
        if (h->kind >= 0)
            drop(w, h);
        else if (make(w, h) != 0)
            w->n_failed++;
        if (next(&w->random) % 16 == 0) /* what the driver refuses must change nothing */
            driver.cuMemFree(next(&w->random) | 1);
    }
    return NULL;
}

static int n_bad;

/* The class of a record, -1: none in the books. */
static int class_of(const struct device_record *r) {
    static const int resources[] = {
        [SNAP_RSRC_STREAM] = FAKE_STREAM,        [SNAP_RSRC_EVENT] = FAKE_EVENT,
        [SNAP_RSRC_GRAPH] = FAKE_GRAPH,          [SNAP_RSRC_GRAPH_EXEC] = FAKE_EXEC,
        [SNAP_RSRC_DEVICE_MODULE] = FAKE_MODULE, [SNAP_RSRC_LIBRARY] = FAKE_LIBRARY,
        [SNAP_RSRC_CONTEXT] = FAKE_CONTEXT,      [SNAP_RSRC_TEXTURE] = FAKE_TEXTURE};
    if (r->space > DEVICE_RESOURCE)
        return resources[r->kind];
    switch (r->space) {
    case DEVICE_REGISTERED: return FAKE_REGISTERED;
    case DEVICE_ARRAY: return FAKE_ARRAY;
    case DEVICE_POOL: return r->kind == SNAP_POOL_CUDA_MEMPOOL ? FAKE_POOL : -1;
    case DEVICE_PHYSICAL:
        return r->kind == SNAP_NODE_DEVICE_MULTICAST ? FAKE_MULTICAST : FAKE_PHYSICAL;
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
    n_operations = strtoull(argv[5], NULL, 10);
    seed = strtoull(argv[6], NULL, 10);
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
    static struct worker workers[64];
    pthread_t threads[64];
    uint64_t n_failed = 0;
    for (int i = 0; i < n_threads; i++) {
        workers[i].random.state = seed * 1000003 + (uint64_t)i + 1;
        pthread_create(&threads[i], NULL, work, &workers[i]);
    }
    for (int i = 0; i < n_threads; i++) {
        pthread_join(threads[i], NULL);
        n_failed += workers[i].n_failed;
    }
    compare(books, "after the work");
    report_blocks();
    driver.cuDevicePrimaryCtxReset(0);
    compare(books, "after a reset");
    driver.cuDevicePrimaryCtxRelease(1);
    compare(books, "after a release");
    const struct hook_cuda_counts counts = hook_cuda_counts();
    if (counts.dropped || counts.unseen) {
        printf("not ok - %lu dropped, %lu unseen\n", counts.dropped, counts.unseen);
        n_bad++;
    }
    if (n_bad == 0)
        printf("ok - %s %s, %d threads, %lu refused\n", argv[1], argv[2], n_threads, n_failed);
    return n_bad != 0;
}
