/* A stand-in for the CUDA driver, libcuda.so.1, for machines without a GPU.
 *
 * Written from the documented behaviour of the driver interface. Device memory is memory of the
 * process, physical memory is a file that is mapped where the program says, so that two mappings of
 * one allocation really show the same bytes. It keeps books of all that it gives out, which tests
 * compare with snapshots. It computes nothing, runs no kernel, and has no export tables: whether a
 * driver is NVIDIA's own is for NVIDIA's runtime to find out.
 *
 * Environment: FAKE_CUDA_VERSION (13000); FAKE_CUDA_FAIL=N: the Nth allocation fails,
 * FAKE_CUDA_FAIL=N+: and all after it, FAKE_CUDA_FAIL=/N: each Nth; FAKE_CUDA_ODD=1:
 * cuGetProcAddress returns other addresses than dlsym; FAKE_CUDA_FRESH=NAME: it does for that name
 * from versions after 13.0 on; FAKE_CUDA_LOG=FILE: names asked for, with
 * what they were answered; FAKE_CUDA_BARE=1: linear memory is only numbers, in no books, so that
 * allocating costs next to nothing. */
#include "fake_cuda.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define EXPORT __attribute__((visibility("default")))
#define PAGE ((size_t)4096)
#define GRANULE ((size_t)2 << 20)
#define DEVICES 2

enum {
    OK = 0,
    INVALID_VALUE = 1,
    OUT_OF_MEMORY = 2,
    NOT_INITIALIZED = 3,
    INVALID_CONTEXT = 201,
    INVALID_HANDLE = 400,
    NOT_FOUND = 500,
    NOT_SUPPORTED = 801,
    CAPTURE_UNSUPPORTED = 900,
    CAPTURE_INVALIDATED = 901
};
enum { CAPTURES_GLOBAL = 0, CAPTURES_RELAXED = 2 };

struct entry {
    struct entry *next;
    int class;
    uint64_t key, size;
    uint64_t context, link, offset;
    int device, handles, maps, fd, captures;
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct entry *buckets[1 << 16];
static struct fake_books books;
static struct entry *default_pools[DEVICES], *current_pools[DEVICES], *primaries[DEVICES];
static int primary_refs[DEVICES];
static uint64_t n_allocations;
static uint64_t free_handles[1 << 16], next_handle = 1;
static unsigned n_free_handles;
static __thread uint64_t current_context;
static __thread int capture_mode = CAPTURES_GLOBAL;
static int n_global_captures, are_captures_valid = 1;

/* --- the books --- */

static struct entry **bucket(int class, uint64_t key) {
    return &buckets[((key ^ (uint64_t) class << 40) * UINT64_C(0x9E3779B97F4A7C15)) >> 48];
}

static struct entry *find(int class, uint64_t key) {
    struct entry *e = *bucket(class, key);
    while (e && (e->class != class || e->key != key))
        e = e->next;
    return e;
}

static int current_device(void);

static struct entry *add(int class, uint64_t key, uint64_t size) {
    struct entry *const e = calloc(1, sizeof *e);
    struct entry **const b = bucket(class, key);
    *e = (struct entry){.class = class, .key = key, .size = size, .next = *b, .fd = -1};
    e->context = current_context;
    e->device = current_device();
    *b = e;
    books.count[class]++;
    books.bytes[class] += size;
    return e;
}

static void drop(struct entry *e) {
    struct entry **at = bucket(e->class, e->key);
    while (*at != e)
        at = &(*at)->next;
    *at = e->next;
    books.count[e->class]--;
    books.bytes[e->class] -= e->size;
    if (e->fd >= 0)
        close(e->fd);
    free(e);
}

EXPORT const char *fake_cuda_class(int class) {
    static const char *const names[FAKE_CLASSES] = {
        "linear",        "managed",      "pinned",  "registered",      "array",
        "async",         "physical",     "virtual", "multicast",       "imported",
        "external",      "graph-memory", "pool",    "stream",          "event",
        "graph",         "exec",         "module",  "library",         "context",
        "texture",       "surface",      "linker",  "external-memory", "external-semaphore",
        "external-array"};
    return names[class];
}

EXPORT void fake_cuda_books(struct fake_books *out) {
    pthread_mutex_lock(&lock);
    *out = books;
    pthread_mutex_unlock(&lock);
}

EXPORT uint64_t fake_cuda_device_bytes(int device, uint64_t overhead) {
    uint64_t bytes = 0;
    pthread_mutex_lock(&lock);
    for (size_t i = 0; i < sizeof buckets / sizeof *buckets; i++)
        for (const struct entry *e = buckets[i]; e; e = e->next) {
            if (e->device != device)
                continue;
            if (e->class == FAKE_LINEAR || e->class == FAKE_ARRAY || e->class == FAKE_PHYSICAL ||
                e->class == FAKE_POOL)
                bytes += e->size;
            bytes += e->class == FAKE_CONTEXT ? overhead : 0;
        }
    pthread_mutex_unlock(&lock);
    return bytes;
}

static int driver_version(void) {
    static int version;
    if (!version) {
        const char *const text = getenv("FAKE_CUDA_VERSION");
        version = text ? atoi(text) : 13000;
    }
    return version;
}

static int should_fail(void) {
    static const char *text;
    static int is_read;
    if (!is_read) {
        text = getenv("FAKE_CUDA_FAIL");
        is_read = 1;
    }
    const uint64_t i = __atomic_add_fetch(&n_allocations, 1, __ATOMIC_RELAXED);
    if (!text || !*text)
        return 0;
    if (*text == '/')
        return i % strtoull(text + 1, NULL, 10) == 0;
    char *end;
    const uint64_t n = strtoull(text, &end, 10);
    return *end == '+' ? i >= n : i == n;
}

static int current_device(void) {
    struct entry *const e = current_context ? find(FAKE_CONTEXT, current_context) : NULL;
    return e ? e->device : -1;
}

/* --- memory --- */

static uint64_t map(uint64_t size) {
    void *const p = mmap(NULL, (size + PAGE - 1) & ~(PAGE - 1), PROT_READ | PROT_WRITE,
                         MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    return p == MAP_FAILED ? 0 : (uint64_t)(uintptr_t)p;
}

static void unmap(uint64_t address, uint64_t size) {
    munmap((void *)(uintptr_t)address, (size + PAGE - 1) & ~(PAGE - 1));
}

static int is_bare(void) {
    static int bare = -1;
    if (bare < 0)
        bare = getenv("FAKE_CUDA_BARE") != NULL;
    return bare;
}

static int allocate(int class, uint64_t size, uint64_t *out) {
    static uint64_t next = UINT64_C(1) << 40;
    if (is_bare()) {
        *out = __atomic_fetch_add(&next, 512, __ATOMIC_RELAXED);
        return OK;
    }
    if (size == 0)
        return INVALID_VALUE;
    pthread_mutex_lock(&lock);
    int result = current_device() < 0 ? INVALID_CONTEXT : should_fail() ? OUT_OF_MEMORY : OK;
    if (result == OK && (*out = map(size)) == 0)
        result = OUT_OF_MEMORY;
    if (result == OK)
        add(class, *out, size);
    pthread_mutex_unlock(&lock);
    return result;
}

static void pool_used(struct entry *pool, int64_t bytes) {
    pool->offset += (uint64_t)bytes;
    books.pool_used += (uint64_t)bytes;
    if (pool->offset > pool->size) {
        const uint64_t more = (pool->offset - pool->size + GRANULE - 1) & ~(uint64_t)(GRANULE - 1);
        pool->size += more;
        books.pool_reserved += more;
        books.bytes[FAKE_POOL] += more;
    }
}

static int release(uint64_t address, int n, const int *classes) {
    if (is_bare())
        return OK;
    pthread_mutex_lock(&lock);
    int result =
        current_device() < 0 && classes[0] != FAKE_VIRTUAL ? INVALID_CONTEXT : INVALID_VALUE;
    for (int i = 0; i < n && result == INVALID_VALUE; i++) {
        struct entry *const e = find(classes[i], address);
        if (!e)
            continue;
        if (e->class == FAKE_ASYNC)
            pool_used((struct entry *)(uintptr_t)e->link, -(int64_t)e->size);
        unmap(address, e->size ? e->size : PAGE);
        drop(e);
        result = OK;
    }
    pthread_mutex_unlock(&lock);
    return result;
}

EXPORT int cuMemAlloc_v2(uint64_t *out, size_t size) {
    return allocate(FAKE_LINEAR, size, out);
}
/* The same by names that are nobody's business. */
int cuMemFree_v2(uint64_t address);
EXPORT int fake_bare_allocate(uint64_t *out, size_t size) {
    return cuMemAlloc_v2(out, size);
}
EXPORT int fake_bare_release(uint64_t address) {
    return cuMemFree_v2(address);
}
EXPORT int cuMemAlloc(uint32_t *out, unsigned size) {
    return NOT_SUPPORTED;
}
EXPORT int cuMemAllocPitch_v2(uint64_t *out, size_t *pitch, size_t width, size_t height,
                              unsigned element) {
    *pitch = (width + 511) & ~(size_t)511;
    return allocate(FAKE_LINEAR, *pitch * height, out);
}
EXPORT int cuMemAllocPitch(uint32_t *out, unsigned *pitch, unsigned width, unsigned height,
                           unsigned element) {
    return NOT_SUPPORTED;
}
EXPORT int cuMemFree_v2(uint64_t address) {
    static const int classes[] = {FAKE_LINEAR, FAKE_MANAGED, FAKE_ASYNC, FAKE_EXTERNAL};
    return address ? release(address, 4, classes) : OK;
}
EXPORT int cuMemFree(uint32_t address) {
    return NOT_SUPPORTED;
}
EXPORT int cuMemAllocManaged(uint64_t *out, size_t size, unsigned flags) {
    return allocate(FAKE_MANAGED, size, out);
}
EXPORT int cuMemHostAlloc(void **out, size_t size, unsigned flags) {
    uint64_t address;
    const int result = allocate(FAKE_PINNED, size, &address);
    if (result == OK)
        *out = (void *)(uintptr_t)address;
    return result;
}
EXPORT int cuMemAllocHost_v2(void **out, size_t size) {
    return cuMemHostAlloc(out, size, 0);
}
EXPORT int cuMemAllocHost(void **out, unsigned size) {
    return NOT_SUPPORTED;
}
EXPORT int cuMemFreeHost(void *address) {
    static const int classes[] = {FAKE_PINNED};
    return release((uintptr_t)address, 1, classes);
}
EXPORT int cuMemHostRegister_v2(void *address, size_t size, unsigned flags) {
    pthread_mutex_lock(&lock);
    int result =
        !address || !size || find(FAKE_REGISTERED, (uintptr_t)address) ? INVALID_VALUE : OK;
    if (result == OK)
        add(FAKE_REGISTERED, (uintptr_t)address, size);
    pthread_mutex_unlock(&lock);
    return result;
}
EXPORT int cuMemHostRegister(void *address, size_t size, unsigned flags) {
    return cuMemHostRegister_v2(address, size, flags);
}

static int forget(int class, uint64_t key, int error) {
    pthread_mutex_lock(&lock);
    struct entry *const e = find(class, key);
    if (e)
        drop(e);
    pthread_mutex_unlock(&lock);
    return e ? OK : error;
}

EXPORT int cuMemHostUnregister(void *address) {
    return forget(FAKE_REGISTERED, (uintptr_t)address, INVALID_VALUE);
}

/* --- handles: the address of a small block, so that they come again --- */

static int make(int class, uint64_t size, int device, void **out) {
    pthread_mutex_lock(&lock);
    const int here = current_device();
    int result = here < 0 && device < 0 ? INVALID_CONTEXT : should_fail() ? OUT_OF_MEMORY : OK;
    if (result == OK) {
        *out = malloc(16);
        struct entry *const e = add(class, (uintptr_t)*out, size);
        e->device = device < 0 ? here : device;
    }
    pthread_mutex_unlock(&lock);
    return result;
}

static int destroy(int class, void *handle) {
    const int result = forget(class, (uintptr_t)handle, INVALID_HANDLE);
    if (result == OK)
        free(handle);
    return result;
}

struct array2d {
    size_t width, height;
    int format;
    unsigned channels;
};
struct array3d {
    size_t width, height, depth;
    int format;
    unsigned channels, flags;
};
enum {
    LAYERS = 1 | 4,
    NO_MEMORY_OF_ITS_OWN = 0x40 | 0x80 /* sparse, or to be mapped later */
};

static uint64_t texels(uint64_t width, uint64_t height, uint64_t depth, int format,
                       unsigned channels) {
    const uint64_t bytes = format == 1 || format == 8                   ? 1
                           : format == 2 || format == 9 || format == 16 ? 2
                                                                        : 4;
    return (width ? width : 1) * (height ? height : 1) * (depth ? depth : 1) * bytes * channels;
}

EXPORT int cuArrayCreate_v2(void **out, const struct array2d *a) {
    return make(FAKE_ARRAY, texels(a->width, a->height, 0, a->format, a->channels), -1, out);
}
EXPORT int cuArrayCreate(void **out, const void *a) {
    return NOT_SUPPORTED;
}
EXPORT int cuArray3DCreate_v2(void **out, const struct array3d *a) {
    const uint64_t size = texels(a->width, a->height, a->depth, a->format, a->channels);
    return make(FAKE_ARRAY, a->flags & NO_MEMORY_OF_ITS_OWN ? 0 : size, -1, out);
}
EXPORT int cuArray3DCreate(void **out, const void *a) {
    return NOT_SUPPORTED;
}
EXPORT int cuMipmappedArrayCreate(void **out, const struct array3d *a, unsigned levels) {
    uint64_t size = 0;
    const size_t depth = a->flags & LAYERS ? 0 : a->depth;
    size_t longest = a->width > a->height ? a->width : a->height;
    longest = longest > depth ? longest : depth;
    for (unsigned i = 0; i == 0 || (i < levels && longest >> i > 0); i++)
        size += texels(a->width >> i, a->height >> i, a->flags & LAYERS ? a->depth : a->depth >> i,
                       a->format, a->channels);
    return make(FAKE_ARRAY, a->flags & NO_MEMORY_OF_ITS_OWN ? 0 : size, -1, out);
}
EXPORT int cuArrayDestroy(void *array) {
    return destroy(FAKE_ARRAY, array);
}
EXPORT int cuMipmappedArrayDestroy(void *array) {
    const int result = destroy(FAKE_ARRAY, array);
    return result == OK ? OK : destroy(FAKE_EXTERNAL_ARRAY, array);
}
/* --- pools, and memory in the order of streams --- */

static struct entry *default_pool(int device) {
    if (!default_pools[device]) {
        default_pools[device] = add(FAKE_POOL, (uintptr_t)malloc(16), 0);
        default_pools[device]->device = device;
        default_pools[device]->context = 0;
        if (!current_pools[device])
            current_pools[device] = default_pools[device];
    }
    return default_pools[device];
}

static struct entry *current_pool(int device) {
    default_pool(device);
    return current_pools[device];
}

static struct entry *stream_of(void *stream) {
    return (uintptr_t)stream > 2 ? find(FAKE_STREAM, (uintptr_t)stream) : NULL;
}

static int allocate_async(uint64_t *out, size_t size, void *pool, void *stream) {
    if (size == 0)
        return INVALID_VALUE;
    pthread_mutex_lock(&lock);
    struct entry *const s = stream_of(stream);
    const int device = current_device();
    int result = device < 0 ? INVALID_CONTEXT : should_fail() ? OUT_OF_MEMORY : OK;
    struct entry *const p = device < 0 ? NULL
                            : pool     ? find(FAKE_POOL, (uintptr_t)pool)
                                       : current_pool(device);
    if (result == OK && !p)
        result = INVALID_VALUE;
    if (result == OK && (*out = map(size)) == 0)
        result = OUT_OF_MEMORY;
    if (result == OK && s && s->captures) {
        add(FAKE_GRAPH_MEMORY, *out, size)->link = s->link;
    } else if (result == OK) {
        add(FAKE_ASYNC, *out, size)->link = (uintptr_t)p;
        pool_used(p, (int64_t)size);
    }
    pthread_mutex_unlock(&lock);
    return result;
}

static int free_async(uint64_t address, void *stream) {
    static const int classes[] = {FAKE_ASYNC, FAKE_LINEAR};
    pthread_mutex_lock(&lock);
    struct entry *const s = stream_of(stream);
    const int captures = s && s->captures;
    pthread_mutex_unlock(&lock);
    return captures ? OK : release(address, 2, classes);
}

EXPORT int cuMemAllocAsync(uint64_t *out, size_t size, void *stream) {
    return allocate_async(out, size, NULL, stream);
}
EXPORT int cuMemAllocAsync_ptsz(uint64_t *out, size_t size, void *stream) {
    return allocate_async(out, size, NULL, stream);
}
EXPORT int cuMemAllocFromPoolAsync(uint64_t *out, size_t size, void *pool, void *stream) {
    return allocate_async(out, size, pool, stream);
}
EXPORT int cuMemAllocFromPoolAsync_ptsz(uint64_t *out, size_t size, void *pool, void *stream) {
    return allocate_async(out, size, pool, stream);
}
EXPORT int cuMemFreeAsync(uint64_t address, void *stream) {
    return free_async(address, stream);
}
EXPORT int cuMemFreeAsync_ptsz(uint64_t address, void *stream) {
    return free_async(address, stream);
}

struct props {
    int type, handle_types, location, id;
};

EXPORT int cuMemPoolCreate(void **out, const struct props *props) {
    return make(FAKE_POOL, 0, props->id, out);
}
EXPORT int cuMemPoolImportFromShareableHandle(void **out, void *shared, int type,
                                              unsigned long long flags) {
    return make(FAKE_POOL, 0, -1, out);
}
EXPORT int cuMemPoolExportToShareableHandle(void *out, void *pool, int type,
                                            unsigned long long flags) {
    return OK;
}
EXPORT int cuMemPoolTrimTo(void *pool, size_t keep) {
    pthread_mutex_lock(&lock);
    struct entry *const p = find(FAKE_POOL, (uintptr_t)pool);
    if (p) {
        uint64_t size = p->offset > keep ? p->offset : keep;
        size = (size + GRANULE - 1) & ~(uint64_t)(GRANULE - 1);
        if (size < p->size) {
            books.pool_reserved -= p->size - size;
            books.bytes[FAKE_POOL] -= p->size - size;
            p->size = size;
        }
    }
    pthread_mutex_unlock(&lock);
    return p ? OK : INVALID_VALUE;
}
EXPORT int cuMemPoolDestroy(void *pool) {
    pthread_mutex_lock(&lock);
    struct entry *const p = find(FAKE_POOL, (uintptr_t)pool);
    int result =
        p && p->offset == 0 && p != default_pools[0] && p != default_pools[1] ? OK : INVALID_VALUE;
    if (result == OK) {
        books.pool_reserved -= p->size;
        for (int i = 0; i < DEVICES; i++)
            if (current_pools[i] == p)
                current_pools[i] = default_pools[i];
        drop(p);
        free(pool);
    }
    pthread_mutex_unlock(&lock);
    return result;
}
/* What a capture cannot see is an error in both while a stream is being captured, unless the thread
 * says that it knows; nobody says of which questions this is true, so here of this one. */
EXPORT int cuMemPoolGetAttribute(void *pool, int attribute, uint64_t *out) {
    pthread_mutex_lock(&lock);
    if (n_global_captures > 0 && capture_mode != CAPTURES_RELAXED) {
        are_captures_valid = 0;
        pthread_mutex_unlock(&lock);
        return CAPTURE_UNSUPPORTED;
    }
    struct entry *const p = find(FAKE_POOL, (uintptr_t)pool);
    if (p)
        *out = attribute == 5 || attribute == 6   ? p->size
               : attribute == 7 || attribute == 8 ? p->offset
                                                  : 0;
    pthread_mutex_unlock(&lock);
    return p ? OK : INVALID_VALUE;
}
EXPORT int cuDeviceGetDefaultMemPool(void **out, int device) {
    if (device < 0 || device >= DEVICES)
        return INVALID_VALUE;
    pthread_mutex_lock(&lock);
    *out = (void *)(uintptr_t)default_pool(device)->key;
    pthread_mutex_unlock(&lock);
    return OK;
}
EXPORT int cuDeviceGetMemPool(void **out, int device) {
    if (device < 0 || device >= DEVICES)
        return INVALID_VALUE;
    pthread_mutex_lock(&lock);
    *out = (void *)(uintptr_t)current_pool(device)->key;
    pthread_mutex_unlock(&lock);
    return OK;
}
EXPORT int cuMemGetDefaultMemPool(void **out, const int *location, int type) {
    return location[0] == 1 ? cuDeviceGetDefaultMemPool(out, location[1]) : NOT_SUPPORTED;
}
EXPORT int cuMemGetMemPool(void **out, const int *location, int type) {
    return location[0] == 1 ? cuDeviceGetMemPool(out, location[1]) : NOT_SUPPORTED;
}
EXPORT int cuDeviceSetMemPool(int device, void *pool) {
    pthread_mutex_lock(&lock);
    struct entry *const p = find(FAKE_POOL, (uintptr_t)pool);
    if (p)
        current_pools[device] = p;
    pthread_mutex_unlock(&lock);
    return p ? OK : INVALID_VALUE;
}
EXPORT int cuMemPoolExportPointer(void *out, uint64_t address) {
    memcpy(out, &address, sizeof address);
    return OK;
}
EXPORT int cuMemPoolImportPointer(uint64_t *out, void *pool, void *data) {
    return allocate(FAKE_IMPORTED, PAGE, out);
}

/* --- physical memory and ranges of addresses --- */

static uint64_t new_handle(void) {
    return n_free_handles ? free_handles[--n_free_handles] : next_handle++;
}

/* Handles are entries of class multicast or physical under key `handle`; memory that is still
 * mapped after its last handle lives on under a key of its own. */
static struct entry *physical(uint64_t handle) {
    struct entry *const e = find(FAKE_PHYSICAL, handle);
    return e ? e : find(FAKE_MULTICAST, handle);
}

static void move(struct entry *e, uint64_t key) {
    struct entry **at = bucket(e->class, e->key);
    while (*at != e)
        at = &(*at)->next;
    *at = e->next;
    e->key = key;
    at = bucket(e->class, key);
    e->next = *at;
    *at = e;
}

static void let_go(struct entry *e) {
    if (e->handles == 0 && e->key < UINT64_C(1) << 32) {
        if (n_free_handles < sizeof free_handles / sizeof *free_handles)
            free_handles[n_free_handles++] = e->key;
        move(e, (uint64_t)(uintptr_t)e);
    }
    if (e->handles == 0 && e->maps == 0)
        drop(e);
}

static int create(int class, uint64_t size, int device, int fd, uint64_t *out) {
    pthread_mutex_lock(&lock);
    const int result = should_fail() ? OUT_OF_MEMORY : OK;
    if (result == OK) {
        *out = new_handle();
        struct entry *const e = add(class, *out, size);
        e->fd = fd >= 0 ? fd : memfd_create("fake device memory", MFD_CLOEXEC);
        e->handles = 1;
        e->device = device;
        e->context = 0;
        if (fd < 0 && (e->fd < 0 || ftruncate(e->fd, (off_t)size) != 0))
            abort();
    }
    pthread_mutex_unlock(&lock);
    return result;
}

EXPORT int cuMemCreate(uint64_t *out, size_t size, const struct props *props,
                       unsigned long long flags) {
    if (size == 0 || size % PAGE)
        return INVALID_VALUE;
    return create(FAKE_PHYSICAL, size, props->id, -1, out);
}
EXPORT int cuMulticastCreate(uint64_t *out, const size_t *props) {
    return create(FAKE_MULTICAST, props[1], 0, -1, out);
}
EXPORT int cuMemExportToShareableHandle(int *out, uint64_t handle, int type,
                                        unsigned long long flags) {
    pthread_mutex_lock(&lock);
    struct entry *const e = physical(handle);
    if (e)
        *out = dup(e->fd);
    pthread_mutex_unlock(&lock);
    return e ? OK : INVALID_VALUE;
}
EXPORT int cuMemImportFromShareableHandle(uint64_t *out, void *shared, int type) {
    const int fd = dup((int)(intptr_t)shared);
    return fd < 0 ? INVALID_VALUE : create(FAKE_IMPORTED, 0, 0, fd, out);
}
EXPORT int cuMemRelease(uint64_t handle) {
    pthread_mutex_lock(&lock);
    struct entry *e = physical(handle);
    if (!e)
        e = find(FAKE_IMPORTED, handle);
    if (e) {
        e->handles--;
        let_go(e);
    }
    pthread_mutex_unlock(&lock);
    return e ? OK : INVALID_VALUE;
}
EXPORT int cuMemAddressReserve(uint64_t *out, size_t size, size_t alignment, uint64_t address,
                               unsigned long long flags) {
    pthread_mutex_lock(&lock);
    void *const p = mmap((void *)(uintptr_t)address, size, PROT_NONE,
                         MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (p != MAP_FAILED) {
        *out = (uint64_t)(uintptr_t)p;
        add(FAKE_VIRTUAL, *out, size)->context = 0;
    }
    pthread_mutex_unlock(&lock);
    return p == MAP_FAILED ? OUT_OF_MEMORY : OK;
}
EXPORT int cuMemAddressFree(uint64_t address, size_t size) {
    static const int classes[] = {FAKE_VIRTUAL};
    return release(address, 1, classes);
}

/* Mappings have no class in the books. */
struct mapping {
    struct mapping *next;
    uint64_t address, size;
    struct entry *memory;
};
static struct mapping *mappings;

EXPORT int cuMemMap(uint64_t address, size_t size, size_t offset, uint64_t handle,
                    unsigned long long flags) {
    pthread_mutex_lock(&lock);
    struct entry *e = physical(handle);
    if (!e)
        e = find(FAKE_IMPORTED, handle);
    int result =
        e && offset + size <= (e->class == FAKE_IMPORTED ? SIZE_MAX : e->size) ? OK : INVALID_VALUE;
    for (const struct mapping *m = mappings; m && result == OK; m = m->next)
        if (m->address < address + size && address < m->address + m->size)
            result = INVALID_VALUE;
    if (result == OK && mmap((void *)(uintptr_t)address, size, PROT_READ | PROT_WRITE,
                             MAP_SHARED | MAP_FIXED, e->fd, (off_t)offset) == MAP_FAILED)
        result = INVALID_VALUE;
    if (result == OK) {
        struct mapping *const m = malloc(sizeof *m);
        *m = (struct mapping){mappings, address, size, e};
        mappings = m;
        e->maps++;
    }
    pthread_mutex_unlock(&lock);
    return result;
}
EXPORT int cuMemUnmap(uint64_t address, size_t size) {
    int n = 0;
    pthread_mutex_lock(&lock);
    for (struct mapping **at = &mappings; *at;) {
        struct mapping *const m = *at;
        if (m->address < address || m->address + m->size > address + size) {
            at = &m->next;
            continue;
        }
        *at = m->next;
        m->memory->maps--;
        let_go(m->memory);
        free(m);
        n++;
    }
    if (n > 0 && mmap((void *)(uintptr_t)address, size, PROT_NONE,
                      MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED | MAP_NORESERVE, -1, 0) == MAP_FAILED)
        abort();
    pthread_mutex_unlock(&lock);
    return n > 0 ? OK : INVALID_VALUE;
}
EXPORT int cuMemSetAccess(uint64_t address, size_t size, const void *access, size_t n) {
    return OK;
}
/* The handle that is there, or a new one if there is none any more. */
EXPORT int cuMemRetainAllocationHandle(uint64_t *out, void *address) {
    int result = INVALID_VALUE;
    pthread_mutex_lock(&lock);
    for (const struct mapping *m = mappings; m && result != OK; m = m->next) {
        if ((uintptr_t)address - m->address >= m->size)
            continue;
        if (m->memory->handles == 0)
            move(m->memory, new_handle());
        m->memory->handles++;
        *out = m->memory->key;
        result = OK;
    }
    pthread_mutex_unlock(&lock);
    return result;
}

/* --- other processes, other interfaces --- */

struct ipc {
    char bytes[64];
};

EXPORT int cuIpcGetMemHandle(struct ipc *out, uint64_t address) {
    memset(out, 0, sizeof *out);
    memcpy(out, &address, sizeof address);
    return OK;
}
EXPORT int cuIpcOpenMemHandle_v2(uint64_t *out, struct ipc handle, unsigned flags) {
    return allocate(FAKE_IMPORTED, PAGE, out);
}
EXPORT int cuIpcOpenMemHandle(uint64_t *out, struct ipc handle, unsigned flags) {
    return allocate(FAKE_IMPORTED, PAGE, out);
}
EXPORT int cuIpcCloseMemHandle(uint64_t address) {
    static const int classes[] = {FAKE_IMPORTED};
    return release(address, 1, classes);
}
EXPORT int cuImportExternalMemory(void **out, const void *description) {
    return make(FAKE_EXTERNAL_MEMORY, 0, -1, out);
}
EXPORT int cuImportExternalSemaphore(void **out, const void *description) {
    return make(FAKE_EXTERNAL_SEMAPHORE, 0, -1, out);
}
EXPORT int cuDestroyExternalSemaphore(void *semaphore) {
    return destroy(FAKE_EXTERNAL_SEMAPHORE, semaphore);
}
EXPORT int cuExternalMemoryGetMappedMipmappedArray(void **out, void *memory,
                                                   const void *description) {
    return make(FAKE_EXTERNAL_ARRAY, 0, -1, out);
}
EXPORT int cuExternalMemoryGetMappedBuffer(uint64_t *out, void *memory,
                                           const unsigned long long *buffer) {
    return allocate(FAKE_EXTERNAL, buffer[1], out);
}
EXPORT int cuDestroyExternalMemory(void *memory) {
    return destroy(FAKE_EXTERNAL_MEMORY, memory);
}

/* --- graphs --- */

EXPORT int cuGraphCreate(void **out, unsigned flags) {
    return make(FAKE_GRAPH, 0, 0, out);
}
EXPORT int cuGraphClone(void **out, void *graph) {
    return make(FAKE_GRAPH, 0, 0, out);
}
EXPORT int cuGraphDestroy(void *graph) {
    pthread_mutex_lock(&lock);
    for (size_t i = 0; i < sizeof buckets / sizeof *buckets; i++)
        for (struct entry *e = buckets[i], *next; e; e = next) {
            next = e->next;
            if (e->class == FAKE_GRAPH_MEMORY && e->link == (uintptr_t)graph) {
                unmap(e->key, e->size);
                drop(e);
            }
        }
    pthread_mutex_unlock(&lock);
    return destroy(FAKE_GRAPH, graph);
}

struct graph_memory {
    struct props props;
    char rest[72];
    const void *access;
    size_t n_access, size;
    uint64_t address;
};
_Static_assert(sizeof(struct graph_memory) == 120, "as the driver has it");

static int add_graph_memory(void **out, void *graph, struct graph_memory *memory) {
    static char node;
    const int result = allocate(FAKE_GRAPH_MEMORY, memory->size, &memory->address);
    if (result != OK)
        return result;
    pthread_mutex_lock(&lock);
    find(FAKE_GRAPH_MEMORY, memory->address)->link = (uintptr_t)graph;
    pthread_mutex_unlock(&lock);
    *out = &node;
    return OK;
}

EXPORT int cuGraphAddMemAllocNode(void **out, void *graph, void *const *after, size_t n,
                                  struct graph_memory *memory) {
    return add_graph_memory(out, graph, memory);
}
EXPORT int cuGraphAddNode(void **out, void *graph, void *const *after, size_t n, int *node) {
    return *node == 10 ? add_graph_memory(out, graph, (void *)(node + 4)) : NOT_SUPPORTED;
}
EXPORT int cuGraphAddNode_v2(void **out, void *graph, void *const *after, const void *data,
                             size_t n, int *node) {
    return cuGraphAddNode(out, graph, after, n, node);
}
EXPORT int cuGraphInstantiate(void **out, void *graph, void **node, char *log, size_t size) {
    return make(FAKE_EXEC, 0, -1, out);
}
EXPORT int cuGraphInstantiate_v2(void **out, void *graph, void **node, char *log, size_t size) {
    return make(FAKE_EXEC, 0, -1, out);
}
EXPORT int cuGraphInstantiateWithFlags(void **out, void *graph, unsigned long long flags) {
    return make(FAKE_EXEC, 0, -1, out);
}
EXPORT int cuGraphInstantiateWithParams(void **out, void *graph, void *params) {
    return make(FAKE_EXEC, 0, -1, out);
}
EXPORT int cuGraphInstantiateWithParams_ptsz(void **out, void *graph, void *params) {
    return make(FAKE_EXEC, 0, -1, out);
}
EXPORT int cuGraphExecDestroy(void *exec) {
    return destroy(FAKE_EXEC, exec);
}
EXPORT int cuDeviceGraphMemTrim(int device) {
    return OK;
}
EXPORT int cuDeviceGetGraphMemAttribute(int device, int attribute, uint64_t *out) {
    *out = 0;
    return OK;
}

/* --- streams and events --- */

EXPORT int cuStreamCreate(void **out, unsigned flags) {
    return make(FAKE_STREAM, 0, -1, out);
}
EXPORT int cuStreamCreateWithPriority(void **out, unsigned flags, int priority) {
    return make(FAKE_STREAM, 0, -1, out);
}
EXPORT int cuGreenCtxStreamCreate(void **out, void *context, unsigned flags, int priority) {
    return make(FAKE_STREAM, 0, -1, out);
}
EXPORT int cuStreamDestroy_v2(void *stream) {
    return destroy(FAKE_STREAM, stream);
}
EXPORT int cuStreamDestroy(void *stream) {
    return destroy(FAKE_STREAM, stream);
}
EXPORT int cuEventCreate(void **out, unsigned flags) {
    return make(FAKE_EVENT, 0, -1, out);
}
EXPORT int cuIpcOpenEventHandle(void **out, struct ipc handle) {
    return make(FAKE_EVENT, 0, -1, out);
}
EXPORT int cuEventDestroy_v2(void *event) {
    return destroy(FAKE_EVENT, event);
}
EXPORT int cuEventDestroy(void *event) {
    return destroy(FAKE_EVENT, event);
}

EXPORT int cuThreadExchangeStreamCaptureMode(int *mode) {
    const int before = capture_mode;
    capture_mode = *mode;
    *mode = before;
    return OK;
}
static int begin_capture(void *stream, void *graph, int mode) {
    void *made = graph;
    if (!made && make(FAKE_GRAPH, 0, 0, &made) != OK)
        return OUT_OF_MEMORY;
    pthread_mutex_lock(&lock);
    struct entry *const s = stream_of(stream);
    if (s) {
        s->captures = 1 + (mode == CAPTURES_GLOBAL);
        s->link = (uintptr_t)made;
        n_global_captures += mode == CAPTURES_GLOBAL;
    }
    pthread_mutex_unlock(&lock);
    return s ? OK : INVALID_HANDLE;
}
static int end_capture(void *stream, void **out) {
    pthread_mutex_lock(&lock);
    struct entry *const s = stream_of(stream);
    const int result = !s || !s->captures   ? INVALID_HANDLE
                       : are_captures_valid ? OK
                                            : CAPTURE_INVALIDATED;
    if (s && s->captures) {
        n_global_captures -= s->captures - 1;
        s->captures = 0;
        *out = result == OK ? (void *)(uintptr_t)s->link : NULL;
    }
    pthread_mutex_unlock(&lock);
    return result;
}

EXPORT int cuStreamBeginCapture_v2(void *stream, int mode) {
    return begin_capture(stream, NULL, mode);
}
EXPORT int cuStreamBeginCapture_v2_ptsz(void *stream, int mode) {
    return begin_capture(stream, NULL, mode);
}
EXPORT int cuStreamBeginCaptureToGraph(void *stream, void *graph, const void *after,
                                       const void *data, size_t n, int mode) {
    return begin_capture(stream, graph, mode);
}
EXPORT int cuStreamEndCapture(void *stream, void **out) {
    return end_capture(stream, out);
}
EXPORT int cuStreamEndCapture_ptsz(void *stream, void **out) {
    return end_capture(stream, out);
}
EXPORT int cuStreamIsCapturing(void *stream, int *out) {
    pthread_mutex_lock(&lock);
    struct entry *const s = stream_of(stream);
    *out = s && s->captures;
    pthread_mutex_unlock(&lock);
    return OK;
}
EXPORT int cuStreamIsCapturing_ptsz(void *stream, int *out) {
    return cuStreamIsCapturing(stream, out);
}
EXPORT int cuStreamGetCaptureInfo_v2(void *stream, int *out, uint64_t *id, void **graph,
                                     const void **after, size_t *n) {
    pthread_mutex_lock(&lock);
    struct entry *const s = stream_of(stream);
    *out = s && s->captures;
    if (graph && *out)
        *graph = (void *)(uintptr_t)s->link;
    pthread_mutex_unlock(&lock);
    return OK;
}
EXPORT int cuStreamGetCaptureInfo_v2_ptsz(void *stream, int *out, uint64_t *id, void **graph,
                                          const void **after, size_t *n) {
    return cuStreamGetCaptureInfo_v2(stream, out, id, graph, after, n);
}
EXPORT int cuStreamSynchronize(void *stream) {
    return OK;
}
EXPORT int cuStreamSynchronize_ptsz(void *stream) {
    return OK;
}

/* --- code --- */

EXPORT int cuModuleLoad(void **out, const char *path) {
    return make(FAKE_MODULE, 0, -1, out);
}
EXPORT int cuModuleLoadData(void **out, const void *image) {
    return make(FAKE_MODULE, 0, -1, out);
}
EXPORT int cuModuleLoadDataEx(void **out, const void *image, unsigned n, int *options,
                              void **values) {
    return make(FAKE_MODULE, 0, -1, out);
}
EXPORT int cuModuleLoadFatBinary(void **out, const void *image) {
    return make(FAKE_MODULE, 0, -1, out);
}
EXPORT int cuModuleUnload(void *module) {
    return destroy(FAKE_MODULE, module);
}
EXPORT int cuLibraryLoadData(void **out, const void *code, int *a, void **b, unsigned c, int *d,
                             void **e, unsigned f) {
    return make(FAKE_LIBRARY, 0, 0, out);
}
EXPORT int cuLibraryLoadFromFile(void **out, const char *path, int *a, void **b, unsigned c, int *d,
                                 void **e, unsigned f) {
    return make(FAKE_LIBRARY, 0, 0, out);
}
EXPORT int cuLibraryUnload(void *library) {
    return destroy(FAKE_LIBRARY, library);
}
EXPORT int cuTexObjectCreate(uint64_t *out, const void *a, const void *b, const void *c) {
    void *object;
    const int result = make(FAKE_TEXTURE, 0, -1, &object);
    if (result == OK)
        *out = (uintptr_t)object;
    return result;
}
EXPORT int cuTexObjectDestroy(uint64_t object) {
    return destroy(FAKE_TEXTURE, (void *)(uintptr_t)object);
}

EXPORT int cuSurfObjectCreate(uint64_t *out, const void *resource) {
    void *object;
    const int result = make(FAKE_SURFACE, 0, -1, &object);
    if (result == OK)
        *out = (uintptr_t)object;
    return result;
}
EXPORT int cuSurfObjectDestroy(uint64_t object) {
    return destroy(FAKE_SURFACE, (void *)(uintptr_t)object);
}
EXPORT int cuLinkCreate_v2(unsigned n, int *options, void **values, void **out) {
    return make(FAKE_LINKER, 0, -1, out);
}
EXPORT int cuLinkCreate(unsigned n, int *options, void **values, void **out) {
    return make(FAKE_LINKER, 0, -1, out);
}
EXPORT int cuLinkDestroy(void *linker) {
    return destroy(FAKE_LINKER, linker);
}

/* --- devices and contexts --- */

EXPORT int cuInit(unsigned flags) {
    return flags == 0 ? OK : INVALID_VALUE;
}
EXPORT int cuDriverGetVersion(int *out) {
    *out = driver_version();
    return OK;
}
EXPORT int cuDeviceGetCount(int *out) {
    *out = DEVICES;
    return OK;
}
EXPORT int cuDeviceGet(int *out, int ordinal) {
    *out = ordinal;
    return ordinal >= 0 && ordinal < DEVICES ? OK : INVALID_VALUE;
}
EXPORT int cuDeviceGetName(char *name, int size, int device) {
    snprintf(name, (size_t)size, "Fake device %d", device);
    return OK;
}
EXPORT int cuDeviceTotalMem_v2(size_t *out, int device) {
    *out = (size_t)16 << 30;
    return OK;
}
EXPORT int cuDeviceGetAttribute(int *out, int attribute, int device) {
    *out = 1;
    return OK;
}
EXPORT int cuDeviceGetUuid_v2(char *out, int device) {
    memset(out, 'a' + device, 16);
    return OK;
}
EXPORT int cuCtxGetCurrent(void **out) {
    *out = (void *)(uintptr_t)current_context;
    return OK;
}
EXPORT int cuCtxSetCurrent(void *context) {
    current_context = (uintptr_t)context;
    return OK;
}
EXPORT int cuCtxGetDevice(int *out) {
    pthread_mutex_lock(&lock);
    const int device = current_device();
    pthread_mutex_unlock(&lock);
    *out = device;
    return device < 0 ? INVALID_CONTEXT : OK;
}
EXPORT int cuCtxSynchronize(void) {
    return OK;
}

static int create_context(void **out, int device) {
    if (device < 0 || device >= DEVICES)
        return INVALID_VALUE;
    pthread_mutex_lock(&lock);
    *out = malloc(16);
    struct entry *const e = add(FAKE_CONTEXT, (uintptr_t)*out, 0);
    e->device = device;
    e->context = 0;
    pthread_mutex_unlock(&lock);
    current_context = (uintptr_t)*out;
    return OK;
}

/* All that was made in a context goes with it. */
static int destroy_context(uint64_t context) {
    pthread_mutex_lock(&lock);
    for (size_t i = 0; i < sizeof buckets / sizeof *buckets; i++)
        for (struct entry *e = buckets[i], *next; e; e = next) {
            next = e->next;
            if (e->context != context || e->class == FAKE_GRAPH || e->class == FAKE_LIBRARY ||
                e->class == FAKE_POOL || e->class == FAKE_GRAPH_MEMORY)
                continue;
            if (e->class == FAKE_ASYNC)
                pool_used((struct entry *)(uintptr_t)e->link, -(int64_t)e->size);
            drop(e);
        }
    struct entry *const e = find(FAKE_CONTEXT, context);
    if (e)
        drop(e);
    pthread_mutex_unlock(&lock);
    if (current_context == context)
        current_context = 0;
    return e ? OK : INVALID_CONTEXT;
}

EXPORT int cuCtxCreate(void **out, unsigned flags, int device) {
    return create_context(out, device);
}
EXPORT int cuCtxCreate_v2(void **out, unsigned flags, int device) {
    return create_context(out, device);
}
EXPORT int cuCtxCreate_v3(void **out, void *params, int n, unsigned flags, int device) {
    return create_context(out, device);
}
EXPORT int cuCtxCreate_v4(void **out, void *params, unsigned flags, int device) {
    return create_context(out, device);
}
EXPORT int cuCtxDestroy_v2(void *context) {
    return destroy_context((uintptr_t)context);
}
EXPORT int cuCtxDestroy(void *context) {
    return destroy_context((uintptr_t)context);
}
EXPORT int cuGreenCtxCreate(void **out, void *description, int device, unsigned flags) {
    return make(FAKE_CONTEXT, 0, device, out);
}
EXPORT int cuGreenCtxDestroy(void *context) {
    return destroy(FAKE_CONTEXT, context);
}
EXPORT int cuDevicePrimaryCtxRetain(void **out, int device) {
    if (device < 0 || device >= DEVICES)
        return INVALID_VALUE;
    pthread_mutex_lock(&lock);
    if (!primaries[device]) {
        primaries[device] = add(FAKE_CONTEXT, (uintptr_t)malloc(16), 0);
        primaries[device]->device = device;
        primaries[device]->context = 0;
    }
    primary_refs[device]++;
    *out = (void *)(uintptr_t)primaries[device]->key;
    pthread_mutex_unlock(&lock);
    return OK;
}
/* As NVIDIA's runtime comes by it: through a table of functions that have no names. */
EXPORT int fake_private_primary(void **out, int device) {
    return cuDevicePrimaryCtxRetain(out, device);
}
static int reset_primary(int device) {
    pthread_mutex_lock(&lock);
    const uint64_t key = primaries[device] ? primaries[device]->key : 0;
    primaries[device] = NULL;
    pthread_mutex_unlock(&lock);
    return key ? destroy_context(key) : OK;
}
EXPORT int cuDevicePrimaryCtxRelease_v2(int device) {
    pthread_mutex_lock(&lock);
    const int refs = primary_refs[device] > 0 ? --primary_refs[device] : -1;
    pthread_mutex_unlock(&lock);
    return refs < 0 ? INVALID_CONTEXT : refs == 0 ? reset_primary(device) : OK;
}
EXPORT int cuDevicePrimaryCtxRelease(int device) {
    return cuDevicePrimaryCtxRelease_v2(device);
}
EXPORT int cuDevicePrimaryCtxReset_v2(int device) {
    return reset_primary(device);
}
EXPORT int cuDevicePrimaryCtxReset(int device) {
    return reset_primary(device);
}
EXPORT int cuDevicePrimaryCtxGetState(int device, unsigned *flags, int *active) {
    *flags = 0;
    *active = primaries[device] != NULL;
    return OK;
}
EXPORT int cuGetExportTable(const void **out, const void *id) {
    return NOT_FOUND;
}

/* --- cuGetProcAddress --- */

EXPORT int cuGetProcAddress(const char *name, void **out, int version, uint64_t flags);
EXPORT int cuGetProcAddress_v2(const char *name, void **out, int version, uint64_t flags,
                               int *status);

/* Another address of the same function. */
#define ENTRY(name, version, per_thread, symbol)                                                   \
    void odd_##symbol(void);                                                                       \
    __asm__(".pushsection .text\n"                                                                 \
            ".hidden odd_" #symbol "\n.globl odd_" #symbol "\n.type odd_" #symbol ", @function\n"  \
            "odd_" #symbol ":\n  endbr64\n  jmp " #symbol "@PLT\n.popsection\n");
#include "fake_entries.def"

static const struct {
    const char *name;
    int version, per_thread;
    void *address, *odd;
} entries[] = {
#define ENTRY(name, version, per_thread, symbol)                                                   \
    {#name, version, per_thread, (void *)symbol, (void *)odd_##symbol},
#include "fake_entries.def"
};

static void log_answer(const char *name, int version, uint64_t flags, const void *address) {
    const char *const path = getenv("FAKE_CUDA_LOG");
    if (!path)
        return;
    char line[256];
    const int n = snprintf(line, sizeof line, "%s %d %llu %d\n", name, version,
                           (unsigned long long)flags, address != NULL);
    FILE *const f = fopen(path, "a");
    if (f) {
        fwrite(line, 1, (size_t)n, f);
        fclose(f);
    }
}

static int look_up(const char *name, void **out, int version, uint64_t flags) {
    const int per_thread = (flags & 2) != 0;
    int best = -1;
    for (int i = 0; i < (int)(sizeof entries / sizeof *entries); i++)
        if (strcmp(entries[i].name, name) == 0 && entries[i].version <= version &&
            entries[i].version <= driver_version() && entries[i].per_thread <= per_thread &&
            (best < 0 || entries[i].per_thread > entries[best].per_thread ||
             (entries[i].per_thread == entries[best].per_thread &&
              entries[i].version > entries[best].version)))
            best = i;
    const char *const odd = getenv("FAKE_CUDA_ODD"), *const fresh = getenv("FAKE_CUDA_FRESH");
    const int is_fresh = fresh && version > 13000 && strcmp(fresh, name) == 0;
    *out = best < 0 ? NULL : (odd && *odd) || is_fresh ? entries[best].odd : entries[best].address;
    log_answer(name, version, flags, *out);
    return best < 0 ? NOT_FOUND : OK;
}

EXPORT int cuGetProcAddress(const char *name, void **out, int version, uint64_t flags) {
    return look_up(name, out, version, flags);
}
EXPORT int cuGetProcAddress_v2(const char *name, void **out, int version, uint64_t flags,
                               int *status) {
    const int result = look_up(name, out, version, flags);
    if (status)
        *status = result == OK ? 0 : 1;
    return name[0] == '\0' ? OK : result;
}
