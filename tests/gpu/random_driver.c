/* See random_driver.h. */
#include "random_driver.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define HELD 64

struct held {
    int kind;
    uint64_t key, size, other;
};

static struct driver driver;
static void *context;
static uint64_t n_operations;
static pthread_mutex_t exchange_lock = PTHREAD_MUTEX_INITIALIZER;
static struct held exchange[HELD]; /* what one thread has made and another gives back */

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
    SURFACE,
    LINKER,
    POOL,
    SHARED,
    EXTERNAL_MEMORY,
    EXTERNAL_SEMAPHORE,
    EXTERNAL_ARRAY,
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
    const struct driver_array3d a3 = {1 + r % 64, r >> 8 & 31, r >> 16 & 7,
                                      1,          4,           r & 4096 ? 0 : r >> 7 & 0xc1};
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
    case MIPMAP: result = driver.cuMipmappedArrayCreate(&handle, &a3, 1 + r % 9); break;
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
            const size_t n = r & 256 ? 2 : 1; /* the same bytes at two places */
            h->size = n * whole;
            if (driver.cuMemAddressReserve(&range, n * whole, 0, 0, 0) != 0)
                abort();
            for (size_t i = 0; i < n; i++)
                if (driver.cuMemMap(range + i * whole, whole, 0, address, 0) != 0)
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
    case EVENT:
        result = r & 1 ? driver.cuEventCreate(&handle, 0)
                       : driver.cuIpcOpenEventHandle(&handle, (struct driver_ipc){{0}});
        break;
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
    case SURFACE: result = driver.cuSurfObjectCreate(&address, NULL); break;
    case LINKER: result = driver.cuLinkCreate(0, NULL, NULL, &handle); break;
    case POOL:
        if (driver.cuMemPoolCreate)
            result = driver.cuMemPoolCreate(&handle, &here);
        if (result == 0 && driver.cuMemAllocFromPoolAsync(&h->other, size, handle, w->stream) != 0)
            h->other = 0;
        break;
    case SHARED: /* exported and imported again, as two processes would */
        result = driver.cuMemCreate(&address, whole, &here, 0);
        if (result == 0) {
            int fd = -1;
            if (driver.cuMemExportToShareableHandle(&fd, address, 1, 0) != 0)
                abort();
            if (driver.cuMemImportFromShareableHandle(&h->other, (void *)(intptr_t)fd, 1) != 0)
                h->other = 0;
            close(fd);
        }
        break;
    case EXTERNAL_MEMORY: result = driver.cuImportExternalMemory(&handle, NULL); break;
    case EXTERNAL_SEMAPHORE: result = driver.cuImportExternalSemaphore(&handle, NULL); break;
    case EXTERNAL_ARRAY:
        result = driver.cuExternalMemoryGetMappedMipmappedArray(&handle, w, NULL);
        break;
    case CONTEXT: /* with something in it, which goes with it */
        result = driver.cuCtxCreate(&handle, 0, 0);
        if (result == 0) {
            uint64_t inside;
            void *stream;
            driver.cuMemAlloc(&inside, size);
            driver.cuStreamCreate(&stream, 0);
            driver.cuCtxSetCurrent(context);
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
    case SURFACE: expect(driver.cuSurfObjectDestroy(h->key), h); break;
    case LINKER: expect(driver.cuLinkDestroy(handle), h); break;
    case POOL:
        if (h->other)
            expect(driver.cuMemFreeAsync(h->other, w->stream), h);
        driver.cuMemPoolTrimTo(handle, 0);
        expect(driver.cuMemPoolDestroy(handle), h);
        break;
    case SHARED:
        if (h->other)
            expect(driver.cuMemRelease(h->other), h);
        expect(driver.cuMemRelease(h->key), h);
        break;
    case EXTERNAL_MEMORY: expect(driver.cuDestroyExternalMemory(handle), h); break;
    case EXTERNAL_SEMAPHORE: expect(driver.cuDestroyExternalSemaphore(handle), h); break;
    case EXTERNAL_ARRAY: expect(driver.cuMipmappedArrayDestroy(handle), h); break;
    case CONTEXT: expect(driver.cuCtxDestroy(handle), h); break;
    default: break;
    }
    h->kind = -1;
}

static void *work(void *argument) {
    struct worker *const w = argument;
    driver.cuCtxSetCurrent(context);
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
        if (next(&w->random) % 8 == 0) {
            struct held *const other = &exchange[next(&w->random) % HELD];
            pthread_mutex_lock(&exchange_lock);
            const struct held swapped = *other;
            *other = *h;
            *h = swapped;
            pthread_mutex_unlock(&exchange_lock);
        }
        if (next(&w->random) % 16 == 0) /* what the driver refuses must change nothing */
            driver.cuMemFree(next(&w->random) | 1);
    }
    return NULL;
}

uint64_t random_driver_run(const struct driver *d, void *current, int n_threads, uint64_t n,
                           uint64_t seed) {
    static struct worker workers[64];
    pthread_t threads[64];
    uint64_t n_failed = 0;
    driver = *d;
    context = current;
    n_operations = n;
    for (int i = 0; i < HELD; i++)
        exchange[i].kind = -1;
    for (int i = 0; i < n_threads; i++) {
        workers[i].random.state = seed * 1000003 + (uint64_t)i + 1;
        pthread_create(&threads[i], NULL, work, &workers[i]);
    }
    for (int i = 0; i < n_threads; i++) {
        pthread_join(threads[i], NULL);
        n_failed += workers[i].n_failed;
    }
    return n_failed;
}
