/* See hook_cuda.h. The functions themselves stand in cuda_calls.def.
 *
 * Invariants: the driver's function is always called, with the caller's arguments, and its result
 * is returned; arguments are read only after it has succeeded; a record that cannot be kept is
 * counted. A function is replaced only where it is certain which one of its versions it is: by the
 * address that the driver exports it under, else by name, version and stream variant. Of the driver
 * itself only look-ups are called (which context, which device, is the stream being captured),
 * never between hook_enter and hook_leave, and cuGetExportTable is none of our business. */
#include "capture/hook_cuda.h"

#include <dlfcn.h>
#include <string.h>
#include <time.h>

#include "capture/cuda_types.h"
#include "capture/device_table.h"
#include "capture/hook.h"
#include "capture/next.h"
#include "capture/oom.h"
#include "capture/rawmem.h"

enum { VERSION_MAX = 13000 }; /* what cuda_calls.def knows */
#define SAMPLE_NS 10000000u

/* --- the table of functions --- */

enum cuda_id {
#define CUDA_CALL(symbol, ...) CUDA_##symbol,
#include "capture/cuda_calls.def"
    CUDA_cuGetProcAddress,
    CUDA_cuGetProcAddress_v2,
    N_CALLS
};

struct cuda_call {
    const char *symbol, *name;
    int version;
    int per_thread;
    void *ours;
};

#define CUDA_CALL(symbol, name, version, per_thread, parameters, ...)                              \
    HOOK_EXPORT int symbol parameters;
#include "capture/cuda_calls.def"
HOOK_EXPORT int cuGetProcAddress(const char *name, void **out, int version, uint64_t flags);
HOOK_EXPORT int cuGetProcAddress_v2(const char *name, void **out, int version, uint64_t flags,
                                    int *status);

/* By names that nothing can come before: what is handed out must be ours. */
#define CUDA_CALL(symbol, name, version, per_thread, parameters, ...)                              \
    extern __typeof(symbol) own_##symbol __attribute__((alias(#symbol), visibility("hidden")));
#include "capture/cuda_calls.def"
extern __typeof(cuGetProcAddress) own_cuGetProcAddress
    __attribute__((alias("cuGetProcAddress"), visibility("hidden")));
extern __typeof(cuGetProcAddress_v2) own_cuGetProcAddress_v2
    __attribute__((alias("cuGetProcAddress_v2"), visibility("hidden")));

static const struct cuda_call calls[N_CALLS] = {
#define CUDA_CALL(symbol, name, version, per_thread, ...)                                          \
    {#symbol, name, version, per_thread, (void *)own_##symbol},
#include "capture/cuda_calls.def"
    {"cuGetProcAddress", "cuGetProcAddress", 11030, 0, (void *)own_cuGetProcAddress},
    {"cuGetProcAddress_v2", "cuGetProcAddress", 12000, 0, (void *)own_cuGetProcAddress_v2},
};

static void *_Atomic reals[N_CALLS];   /* what ours call */
static void *_Atomic exports[N_CALLS]; /* where the driver exports it */
static _Atomic int exports_known;
static _Atomic uint64_t n_dropped, n_missed, n_replaced, n_unseen, n_handed;
static _Atomic bool has_driver, is_forked;

static bool is_ours(const void *address) {
    for (int i = 0; i < N_CALLS; i++)
        if (calls[i].ours == address)
            return true;
    return false;
}

static int by_symbol(const char *symbol) {
    int id = 0;
    while (id < N_CALLS && strcmp(calls[id].symbol, symbol) != 0)
        id++;
    return id;
}

bool hook_cuda_has(const char *symbol) {
    return by_symbol(symbol) < N_CALLS;
}

/* The driver as it is loaded; NULL: it is not. To be closed. Takes the loader's lock. */
static void *open_driver(void) {
    void *const driver = dlopen("libcuda.so.1", RTLD_LAZY | RTLD_NOLOAD);
    return driver != NULL ? driver : dlopen("libcuda.so", RTLD_LAZY | RTLD_NOLOAD);
}

/* A function that the driver exports, in whatever way it was loaded. */
static void *driver_symbol(const char *name) {
    void *found = NULL;
    recorder_mute(1);
    void *const driver = open_driver();
    if (driver != NULL) {
        found = hook_dlsym_next(driver, name);
        dlclose(driver);
    }
    if (found == NULL)
        found = hook_dlsym_next(RTLD_NEXT, name);
    next_forget_error();
    recorder_mute(0);
    return found != NULL && !is_ours(found) ? found : NULL;
}

static const void *object_of(const void *address) {
    Dl_info info;
    return dladdr(address, &info) != 0 ? info.dli_fbase : NULL;
}

/* What ours call must stay: a library that is linked to the driver may be closed, and the driver
 * with it, and another one opened. */
static void pin(const void *address) {
    static const void *_Atomic pinned;
    Dl_info info;
    if (dladdr(address, &info) == 0 || info.dli_fname == NULL ||
        atomic_exchange(&pinned, info.dli_fbase) == info.dli_fbase)
        return;
    recorder_mute(1);
    dlopen(info.dli_fname, RTLD_LAZY | RTLD_NOLOAD | RTLD_NODELETE);
    next_forget_error();
    recorder_mute(0);
}

/* What ours shall call. False if it already calls another object's function: two drivers in one
 * process (in a namespace of its own, say) must not be mixed. */
static bool set_real(enum cuda_id id, void *address) {
    void *before = NULL;
    if (is_ours(address))
        return false;
    atomic_store(&has_driver, true);
    if (atomic_compare_exchange_strong(&reals[id], &before, address))
        pin(address);
    if (before == NULL || before == address)
        return true;
    const void *const object = object_of(before);
    return object != NULL && object == object_of(address);
}

static __attribute__((noinline)) void *find_real(enum cuda_id id) {
    void *const real = driver_symbol(calls[id].symbol);
    return real != NULL && set_real(id, real) ? real : atomic_load(&reals[id]);
}

static inline void *get_real(enum cuda_id id) {
    void *const real = atomic_load_explicit(&reals[id], memory_order_acquire);
    return HOOK_LIKELY(real != NULL) ? real : find_real(id);
}

struct hook_answer hook_cuda_find(void *handle, const char *name, const void *caller) {
    const int id = by_symbol(name);
    if (id == N_CALLS)
        return (struct hook_answer){NULL, 0};
    void *const found = hook_dlsym_behind(handle, name, caller, is_ours);
    if (found == NULL || set_real(id, found))
        return (struct hook_answer){found != NULL ? calls[id].ours : NULL, 1};
    atomic_fetch_add(&n_unseen, 1);
    return (struct hook_answer){found, 1};
}

bool hook_cuda_is_loaded(void) {
    void *const driver = open_driver();
    if (driver != NULL)
        dlclose(driver);
    return driver != NULL;
}

/* What is not bound yet would be bound to us or, if the library's own are searched first, to the
 * driver; unless somebody stands in front of us, or the library has another driver. */
void *hook_cuda_instead(void *handle, const char *symbol, const void *bound) {
    const int id = by_symbol(symbol);
    void *const real = id < N_CALLS ? driver_symbol(symbol) : NULL;
    if (real == NULL || (bound != NULL && bound != real))
        return NULL;
    if (bound == NULL && (hook_dlsym_next(handle, symbol) != real ||
                          !is_ours(hook_dlsym_next(RTLD_DEFAULT, symbol))))
        return NULL;
    return set_real(id, real) ? calls[id].ours : NULL;
}

static void find_exports(void *get_proc_address) {
    Dl_info info;
    if (atomic_load(&exports_known) || dladdr(get_proc_address, &info) == 0)
        return;
    recorder_mute(1);
    void *const library = dlopen(info.dli_fname, RTLD_LAZY | RTLD_NOLOAD);
    for (int i = 0; i < N_CALLS && library != NULL; i++) {
        void *const found = hook_dlsym_next(library, calls[i].symbol);
        if (found != NULL && !is_ours(found))
            atomic_store(&exports[i], found);
    }
    if (library != NULL)
        dlclose(library);
    next_forget_error();
    recorder_mute(0);
    atomic_store(&exports_known, 1);
}

/* The entry that a name means at a version; -1: none of ours. */
static int by_name(const char *name, int version, bool per_thread) {
    int found = -1;
    for (int i = 0; i < N_CALLS; i++)
        if (calls[i].version <= version && strcmp(calls[i].name, name) == 0 &&
            (!calls[i].per_thread || per_thread) &&
            (found < 0 || calls[i].per_thread > calls[found].per_thread ||
             (calls[i].per_thread == calls[found].per_thread &&
              calls[i].version >= calls[found].version)))
            found = i;
    return found;
}

typedef int get_v1(const char *, void **, int, uint64_t);
typedef int get_v2(const char *, void **, int, uint64_t, int *);

/* What the driver's own cuGetProcAddress says, in either form. */
static void *ask(enum cuda_id id, void *real, const char *name, int version, uint64_t flags) {
    void *address = NULL;
    int result, status = 0;
    if (id == CUDA_cuGetProcAddress) {
        get_v1 *get;
        memcpy(&get, &real, sizeof get);
        result = get(name, &address, version, flags);
    } else {
        get_v2 *get;
        memcpy(&get, &real, sizeof get);
        result = get(name, &address, version, flags, &status);
    }
    return result == DRIVER_OK ? address : NULL;
}

/* What to hand out in place of the address that the driver returned for a name. */
static void *substitute(enum cuda_id asker, void *real, const char *name, void *address,
                        int version, uint64_t flags) {
    int named = -1;
    for (int i = 0; i < N_CALLS && named < 0; i++)
        if (strcmp(calls[i].name, name) == 0)
            named = i;
    if (named < 0 || is_ours(address))
        return address;
    find_exports(real);
    int id = -1;
    for (int i = 0; i < N_CALLS && id < 0; i++)
        if (atomic_load(&exports[i]) == address)
            id = i;
    if (id < 0) {
        /* A version after our time may mean a function of another form; it does not where the
         * driver returns the same one for the newest version that we know. */
        if (version > VERSION_MAX && ask(asker, real, name, VERSION_MAX, flags) == address)
            version = VERSION_MAX;
        if (version <= VERSION_MAX)
            id = by_name(name, version, (flags & PER_THREAD_STREAMS) != 0);
    }
    if (id >= 0 && set_real(id, address)) {
        atomic_fetch_add(&n_handed, 1);
        return calls[id].ours;
    }
    atomic_fetch_add(&n_unseen, 1);
    return address;
}

int cuGetProcAddress(const char *name, void **out, int version, uint64_t flags) {
    void *const address = get_real(CUDA_cuGetProcAddress);
    get_v1 *real;
    if (address == NULL)
        return DRIVER_NOT_INITIALIZED;
    memcpy(&real, &address, sizeof real);
    const int result = real(name, out, version, flags);
    if (result == DRIVER_OK && name != NULL && out != NULL && *out != NULL)
        *out = substitute(CUDA_cuGetProcAddress, address, name, *out, version, flags);
    return result;
}

int cuGetProcAddress_v2(const char *name, void **out, int version, uint64_t flags, int *status) {
    void *const address = get_real(CUDA_cuGetProcAddress_v2);
    get_v2 *real;
    if (address == NULL)
        return DRIVER_NOT_INITIALIZED;
    memcpy(&real, &address, sizeof real);
    const int result = real(name, out, version, flags, status);
    if (result == DRIVER_OK && name != NULL && out != NULL && *out != NULL)
        *out = substitute(CUDA_cuGetProcAddress_v2, address, name, *out, version, flags);
    return result;
}

/* --- look-ups in the driver --- */

enum query {
    QUERY_cuCtxGetCurrent,
    QUERY_cuCtxGetDevice,
    QUERY_cuStreamIsCapturing,
    QUERY_cuStreamIsCapturing_ptsz,
    QUERY_cuStreamGetCaptureInfo_v2,
    QUERY_cuStreamGetCaptureInfo_v2_ptsz,
    QUERY_cuDevicePrimaryCtxGetState,
    QUERY_cuThreadExchangeStreamCaptureMode,
    QUERY_cuDeviceGetMemPool,
    QUERY_cuMemPoolGetAttribute,
    QUERY_cuDeviceGetGraphMemAttribute,
    QUERY_cuDeviceGetUuid_v2,
    QUERY_cuDeviceGetUuid,
    QUERY_cuDeviceGetName,
    N_QUERIES
};

static void *_Atomic queries[N_QUERIES];
static char absent;

static __attribute__((noinline)) void *find_query(enum query which) {
    static const char *const names[N_QUERIES] = {"cuCtxGetCurrent",
                                                 "cuCtxGetDevice",
                                                 "cuStreamIsCapturing",
                                                 "cuStreamIsCapturing_ptsz",
                                                 "cuStreamGetCaptureInfo_v2",
                                                 "cuStreamGetCaptureInfo_v2_ptsz",
                                                 "cuDevicePrimaryCtxGetState",
                                                 "cuThreadExchangeStreamCaptureMode",
                                                 "cuDeviceGetMemPool",
                                                 "cuMemPoolGetAttribute",
                                                 "cuDeviceGetGraphMemAttribute",
                                                 "cuDeviceGetUuid_v2",
                                                 "cuDeviceGetUuid",
                                                 "cuDeviceGetName"};
    void *const found = driver_symbol(names[which]);
    void *const address = found != NULL ? found : &absent;
    atomic_store(&queries[which], address);
    return address;
}

static inline void *query(enum query which) {
    void *const known = atomic_load_explicit(&queries[which], memory_order_relaxed);
    void *const address = HOOK_LIKELY(known != NULL) ? known : find_query(which);
    return address != &absent ? address : NULL;
}

/* One of the driver's functions; 0 if it has succeeded, so a missing one has not. */
#define QUERY(name, parameters, arguments)                                                         \
    __extension__({                                                                                \
        int(*function_) parameters;                                                                \
        void *const address_ = query(QUERY_##name);                                                \
        memcpy(&function_, &address_, sizeof function_);                                           \
        address_ != NULL ? function_ arguments : DRIVER_NOT_INITIALIZED;                           \
    })

/* --- one call --- */

struct call {
    struct stack_start start;
    struct hook_thread *t;
    struct device_mark mark; /* of what it gives back */
    uint32_t space;          /* and which that is */
    uint64_t key;
    uint64_t physical; /* whose mapping is under way */
};

struct place {
    uint64_t context;
    int32_t device;
};

static _Atomic uint32_t contexts_gone; /* another may get the handle of one that is gone */

/* Before something is given back, and before much may go at once. */
static void going(struct call *c, uint32_t space, uint64_t key) {
    c->mark = device_table_mark(space, key);
    c->space = space;
    c->key = key;
}
static void resource_going(struct call *c, uint32_t kind, const void *handle) {
    going(c, DEVICE_RESOURCE + kind, (uintptr_t)handle);
}
static void all_going(struct call *c) {
    c->mark = device_table_mark_all();
}
static void contexts_go(struct call *c) {
    atomic_fetch_add(&contexts_gone, 1);
    all_going(c);
}

static void meet_context(struct call *c, void *context, int device);

/* A context is of one device for all its life. */
static struct place current_place(struct call *c) {
    static __thread struct {
        struct place place;
        uint32_t gone;
    } last __attribute__((tls_model("initial-exec")));
    void *context = NULL;
    int device = -1;
    const uint32_t gone = atomic_load(&contexts_gone);
    if (QUERY(cuCtxGetCurrent, (void **), (&context)) != DRIVER_OK)
        context = NULL;
    if (context != NULL && (uintptr_t)context == last.place.context && gone == last.gone)
        return last.place;
    if (QUERY(cuCtxGetDevice, (int *), (&device)) != DRIVER_OK)
        return (struct place){(uintptr_t)context, -1};
    last.place = (struct place){(uintptr_t)context, device};
    last.gone = gone;
    meet_context(c, context, device);
    return last.place;
}

/* Between these, the table may be changed; no function of the driver may be called. */
static inline bool open(struct call *c) {
    c->t = hook_begin();
    if (c->t == NULL) {
        atomic_fetch_add(&n_dropped, 1);
        return false;
    }
    return hook_enter(c->t);
}
static inline void close(struct call *c) {
    hook_leave(c->t);
}

static void put(struct call *c, struct device_record *r, struct device_record *old) {
    struct hook_thread *const t = c->t;
    bool truncated;
    r->stack = stacks_capture(&t->stacks, &c->start, &truncated);
    r->flags |= truncated ? DEVICE_FLAG_TRUNCATED : 0;
    if (r->birth == 0) {
        if (t->birth_next == t->birth_end)
            hook_births(t);
        r->birth = t->birth_next++;
    }
    const int result = device_table_put(r, old, t->cache.try);
    if (result < 0)
        atomic_fetch_add(&n_dropped, 1);
    /* The driver has given out again what another thread is just giving back: that thread will miss
     * it, which is nothing unknown. */
    if (result == 1 && r->space != DEVICE_POOL && r->space != DEVICE_MAPPING)
        atomic_fetch_add(&n_replaced, 1);
}

static uint64_t next_birth(struct call *c) {
    if (c->t->birth_next == c->t->birth_end)
        hook_births(c->t);
    return c->t->birth_next++;
}

static void keep(struct call *c, struct device_record *r) {
    if (!open(c))
        return;
    put(c, r, NULL);
    close(c);
}

/* --- captures --- */

/* Streams that are being captured. A framework puts what it allocates meanwhile into a pool of the
 * graph's own, which does not give back what is free. */
static struct {
    struct rawmem_lock lock;
    _Atomic uint32_t n;
    void *streams[16];
} captures;

static void captures_change(struct call *c, void *stream, bool add) {
    if (!open(c))
        return;
    if (rawmem_lock(&captures.lock, c->t->cache.try)) {
        uint32_t n = atomic_load(&captures.n), i = 0;
        while (i < n && captures.streams[i] != stream)
            i++;
        if (!add && i < n)
            captures.streams[i] = captures.streams[--n];
        else if (add && i == n && n < sizeof captures.streams / sizeof *captures.streams)
            captures.streams[n++] = stream;
        atomic_store(&captures.n, n);
        rawmem_unlock(&captures.lock);
    }
    close(c);
}

static void capture_begins(struct call *c, void *stream) {
    captures_change(c, stream, true);
}

/* Before the driver is asked: whatever it answers, the capture is over. Also where its stream is
 * destroyed. */
static void capture_ends(struct call *c, void *stream) {
    if (atomic_load(&captures.n) > 0 && !atomic_load(&is_forked))
        captures_change(c, stream, false);
}

static uint32_t captured_flag(void) {
    return atomic_load_explicit(&captures.n, memory_order_relaxed) > 0 ? DEVICE_FLAG_CAPTURED : 0;
}

/* --- memory --- */

static void got_memory(struct call *c, uint64_t address, uint64_t size, uint32_t domain) {
    const struct place place = current_place(c);
    keep(c, &(struct device_record){.space = DEVICE_MEMORY,
                                    .kind = SNAP_NODE_DEVICE_LINEAR,
                                    .domain = domain,
                                    .key = address,
                                    .size = size,
                                    .flags = captured_flag(),
                                    .context = place.context,
                                    .device = place.device});
}

static void got_registered(struct call *c, uint64_t address, uint64_t size) {
    const struct place place = current_place(c);
    keep(c, &(struct device_record){.space = DEVICE_REGISTERED,
                                    .kind = SNAP_NODE_REGISTERED,
                                    .domain = SNAP_DOMAIN_PINNED,
                                    .key = address,
                                    .size = size,
                                    .context = place.context,
                                    .device = place.device});
}

static void lost(struct call *c) {
    if (c->key == 0 || !open(c))
        return;
    if (HOOK_UNLIKELY(!device_table_take(c->space, c->key, c->mark, NULL, c->t->cache.try)))
        atomic_fetch_add(&n_missed, 1);
    close(c);
}

static void exported(struct call *c, uint32_t space, uint64_t key) {
    static const struct device_change change = {.set_flags = DEVICE_FLAG_EXPORTED};
    if (!open(c))
        return;
    device_table_change(space, key, DEVICE_ANY, &change, NULL, c->t->cache.try);
    close(c);
}

/* Memory that another process or another interface owns. */
static void got_foreign(struct call *c, uint64_t address, uint64_t size, uint32_t kind) {
    const struct place place = current_place(c);
    keep(c, &(struct device_record){.space = DEVICE_MEMORY,
                                    .kind = kind,
                                    .domain = SNAP_DOMAIN_DEVICE,
                                    .key = address,
                                    .size = size,
                                    .flags = DEVICE_FLAG_IMPORTED,
                                    .context = place.context,
                                    .device = place.device});
}

static uint64_t format_bytes(int format) {
    switch (format) {
    case 1:
    case 8: return 1;
    case 2:
    case 9:
    case 0x10: return 2;
    default: return 4;
    }
}

/* The driver does not say what an array takes, so its texels are counted; none where physical
 * memory is mapped into it, which is counted itself. Levels end with the one of a single texel;
 * layers are as many in each. */
static void got_array(struct call *c, void *array, const struct array3d_v2 *a, unsigned levels) {
    const struct place place = current_place(c);
    const bool is_layered = (a->flags & (ARRAY_LAYERED | ARRAY_CUBE)) != 0;
    uint64_t w = a->width, h = a->height, d = a->depth, size = 0;
    bool is_more = (a->flags & (ARRAY_SPARSE | ARRAY_MAPPED_LATER)) == 0;
    while (is_more) {
        size += (w ? w : 1) * (h ? h : 1) * (d ? d : 1) * format_bytes(a->format) * a->channels;
        is_more = levels-- > 1 && (w > 1 || h > 1 || (d > 1 && !is_layered));
        w /= 2, h /= 2, d /= is_layered ? 1 : 2;
    }
    keep(c, &(struct device_record){.space = DEVICE_ARRAY,
                                    .kind = SNAP_NODE_DEVICE_ARRAY,
                                    .domain = SNAP_DOMAIN_DEVICE,
                                    .key = (uintptr_t)array,
                                    .size = size,
                                    .context = place.context,
                                    .device = place.device});
}

/* Of memory that another interface owns. */
static void got_foreign_array(struct call *c, void *array) {
    const struct place place = current_place(c);
    keep(c, &(struct device_record){.space = DEVICE_ARRAY,
                                    .kind = SNAP_NODE_DEVICE_EXTERNAL,
                                    .domain = SNAP_DOMAIN_DEVICE,
                                    .key = (uintptr_t)array,
                                    .flags = DEVICE_FLAG_IMPORTED,
                                    .context = place.context,
                                    .device = place.device});
}

/* --- devices --- */

enum { DEVICES_MAX = 64, NAME_MAX_BYTES = 96 };

/* Asked once for each, when the first context of it is made. */
static struct identity {
    _Atomic int state;        /* 1: being asked, 2: known */
    _Atomic uint64_t primary; /* its primary context, where that has been seen; 0: not */
    unsigned char uuid[16];
    char name[NAME_MAX_BYTES];
} identities[DEVICES_MAX];

static void identify(int device) {
    if (device < 0 || device >= DEVICES_MAX)
        return;
    struct identity *const d = &identities[device];
    int state = 0;
    if (atomic_load(&d->state) != 0 || !atomic_compare_exchange_strong(&d->state, &state, 1))
        return;
    if (QUERY(cuDeviceGetUuid_v2, (void *, int), (d->uuid, device)) != DRIVER_OK &&
        QUERY(cuDeviceGetUuid, (void *, int), (d->uuid, device)) != DRIVER_OK)
        return;
    if (QUERY(cuDeviceGetName, (char *, int, int), (d->name, (int)sizeof d->name - 1, device)) !=
        DRIVER_OK)
        d->name[0] = '\0';
    atomic_store(&d->state, 2);
}

/* --- in the order of streams --- */

static bool is_capturing(void *stream, int per_thread) {
    int status = 0;
    const int result = per_thread
                           ? QUERY(cuStreamIsCapturing_ptsz, (void *, int *), (stream, &status))
                           : QUERY(cuStreamIsCapturing, (void *, int *), (stream, &status));
    return result == DRIVER_OK && status != 0;
}

/* The graph that a stream is being captured into; 0: unknown. */
static uint64_t captured_graph(void *stream, int per_thread) {
    void *graph = NULL;
    int status = 0;
    const int result = per_thread ? QUERY(cuStreamGetCaptureInfo_v2_ptsz,
                                          (void *, int *, void *, void **, void *, void *),
                                          (stream, &status, NULL, &graph, NULL, NULL))
                                  : QUERY(cuStreamGetCaptureInfo_v2,
                                          (void *, int *, void *, void **, void *, void *),
                                          (stream, &status, NULL, &graph, NULL, NULL));
    return result == DRIVER_OK ? (uintptr_t)graph : 0;
}

/* The pools that are asked how much they hold. */
static struct {
    struct rawmem_lock lock;
    unsigned n;
    struct pool_key {
        uint64_t key; /* handle; of graph memory: device + 1 */
        uint32_t kind;
        int32_t device;
    } pools[256];
} sampled;

static void sampled_change(struct call *c, const struct pool_key *pool, bool add) {
    if (!rawmem_lock(&sampled.lock, c->t->cache.try))
        return;
    unsigned i = 0;
    while (i < sampled.n &&
           (sampled.pools[i].key != pool->key || sampled.pools[i].kind != pool->kind))
        i++;
    if (!add && i < sampled.n)
        sampled.pools[i] = sampled.pools[--sampled.n];
    else if (add && i < sizeof sampled.pools / sizeof *sampled.pools) {
        sampled.n += i == sampled.n;
        sampled.pools[i] = *pool;
    }
    rawmem_unlock(&sampled.lock);
}

/* Between open and close. */
static void put_pool(struct call *c, uint64_t key, uint32_t kind, uint32_t domain, int32_t device,
                     uint32_t flags) {
    struct device_record r = {.space = DEVICE_POOL,
                              .kind = kind,
                              .domain = domain,
                              .key = key,
                              .flags = flags,
                              .device = device};
    put(c, &r, NULL);
    sampled_change(c, &(struct pool_key){key, kind, device}, true);
}

/* location: NULL if the pool comes from elsewhere. type: of allocations. */
static void got_pool(struct call *c, void *pool, const struct location *location, int type,
                     uint32_t flags) {
    const struct place place = current_place(c);
    const bool is_device = location == NULL || location->type == LOCATION_DEVICE;
    const int32_t device = !is_device ? -1 : location != NULL ? location->id : place.device;
    identify(device);
    if (!open(c))
        return;
    put_pool(c, (uintptr_t)pool, SNAP_POOL_CUDA_MEMPOOL,
             type == ALLOCATION_MANAGED ? SNAP_DOMAIN_MANAGED
             : is_device                ? SNAP_DOMAIN_DEVICE
                                        : SNAP_DOMAIN_PINNED,
             device, flags);
    close(c);
}

/* The driver's own pool for a place, or the one that the program has put there: it may be known. */
static void got_standing_pool(struct call *c, void *pool, const struct location *location,
                              int type) {
    struct device_record r;
    if (!open(c))
        return;
    const bool is_known = device_table_get(DEVICE_POOL, (uintptr_t)pool, &r, c->t->cache.try);
    close(c);
    if (!is_known)
        got_pool(c, pool, location, type, DEVICE_FLAG_DEFAULT);
}

static void got_async(struct call *c, uint64_t address, uint64_t size, void *pool, void *stream,
                      int per_thread) {
    const struct place place = current_place(c);
    struct device_record r = {.space = DEVICE_MEMORY,
                              .kind = SNAP_NODE_DEVICE_ASYNC,
                              .domain = SNAP_DOMAIN_DEVICE,
                              .key = address,
                              .size = size,
                              .context = place.context,
                              .device = place.device};
    const bool is_default = pool == NULL;
    if (is_capturing(stream, per_thread)) {
        r.kind = SNAP_NODE_DEVICE_GRAPH; /* memory only while the graph runs */
        r.link = captured_graph(stream, per_thread);
        r.context = 0;
    } else if (!is_default || QUERY(cuDeviceGetMemPool, (void **, int), (&pool, place.device)) == 0)
        r.link = (uintptr_t)pool;
    if (!open(c))
        return;
    struct device_record p;
    if (r.kind == SNAP_NODE_DEVICE_GRAPH) {
        if (place.device >= 0 &&
            !device_table_get(DEVICE_POOL, (uint64_t)place.device + 1, &p, c->t->cache.try))
            put_pool(c, (uint64_t)place.device + 1, SNAP_POOL_CUDA_GRAPH, SNAP_DOMAIN_DEVICE,
                     place.device, 0);
    } else if (r.link != 0 && device_table_get(DEVICE_POOL, r.link, &p, c->t->cache.try)) {
        r.device = p.device;
        r.domain = p.domain;
    } else if (r.link != 0) {
        put_pool(c, r.link, SNAP_POOL_CUDA_MEMPOOL, SNAP_DOMAIN_DEVICE, place.device,
                 is_default ? DEVICE_FLAG_DEFAULT : 0);
    }
    put(c, &r, NULL);
    close(c);
    hook_cuda_sample(false);
}

static void lost_async(struct call *c, void *stream, int per_thread) {
    /* In a capture this makes a node that frees when the graph runs. */
    if (!is_capturing(stream, per_thread))
        lost(c);
    hook_cuda_sample(false);
}

/* What is handed out of it stays until it is freed. */
static void lost_pool(struct call *c) {
    lost(c);
    if (!open(c))
        return;
    sampled_change(c, &(struct pool_key){c->key, SNAP_POOL_CUDA_MEMPOOL, 0}, false);
    close(c);
}

static void sample_all(void) {
    struct call c = {0};
    for (unsigned i = 0;; i++) {
        struct pool_key pool = {0};
        if (!open(&c))
            return;
        const bool locked = rawmem_lock(&sampled.lock, c.t->cache.try);
        if (locked && i < sampled.n)
            pool = sampled.pools[i];
        if (locked)
            rawmem_unlock(&sampled.lock);
        close(&c);
        if (pool.kind == 0)
            return;
        struct device_change change = {.sample = true};
        void *const handle = (void *)(uintptr_t)pool.key;
        int failed;
        if (pool.kind == SNAP_POOL_CUDA_GRAPH)
            failed = QUERY(cuDeviceGetGraphMemAttribute, (int, int, void *),
                           (pool.device, GRAPH_RESERVED, &change.size)) ||
                     QUERY(cuDeviceGetGraphMemAttribute, (int, int, void *),
                           (pool.device, GRAPH_USED, &change.offset));
        else
            failed = QUERY(cuMemPoolGetAttribute, (void *, int, void *),
                           (handle, POOL_RESERVED, &change.size)) ||
                     QUERY(cuMemPoolGetAttribute, (void *, int, void *),
                           (handle, POOL_USED, &change.offset));
        if (failed || !open(&c))
            continue;
        device_table_change(DEVICE_POOL, pool.key, DEVICE_ANY, &change, NULL, c.t->cache.try);
        close(&c);
    }
}

void hook_cuda_sample(bool now) {
    static _Atomic uint64_t last_ns;
    struct timespec time = {0};
    if (sampled.n == 0 || atomic_load(&is_forked))
        return;
    clock_gettime(now ? CLOCK_MONOTONIC : CLOCK_MONOTONIC_COARSE, &time);
    const uint64_t time_ns = (uint64_t)time.tv_sec * 1000000000u + (uint64_t)time.tv_nsec;
    uint64_t before = atomic_load(&last_ns);
    if (!now && (time_ns < before + SAMPLE_NS ||
                 !atomic_compare_exchange_strong(&last_ns, &before, time_ns)))
        return;
    /* Whatever is being captured, by this thread or another, these questions are none of its. */
    int mode = CAPTURES_RELAXED;
    const bool is_changed = QUERY(cuThreadExchangeStreamCaptureMode, (int *), (&mode)) == DRIVER_OK;
    sample_all();
    if (is_changed)
        QUERY(cuThreadExchangeStreamCaptureMode, (int *), (&mode));
}

/* --- physical memory and ranges of addresses --- */

static const struct device_change one_handle = {.handles = 1}, no_handle = {.handles = -1},
                                  one_map = {.maps = 1}, no_map = {.maps = -1};

static void change_physical(struct call *c, uint64_t physical, const struct device_change *change) {
    if (physical != 0)
        device_table_change(DEVICE_PHYSICAL, physical, DEVICE_ANY, change, NULL, c->t->cache.try);
}

/* A handle that the driver gives out again has lost its old meaning. */
static void put_handle(struct call *c, uint64_t handle, uint64_t physical) {
    struct device_record old = {0};
    struct device_record r = {
        .space = DEVICE_HANDLE, .key = handle, .link = physical, .handles = 1, .device = -1};
    put(c, &r, &old);
    for (uint32_t i = 0; i < old.handles; i++)
        change_physical(c, old.link, &no_handle);
}

static void put_physical(struct call *c, uint64_t handle, struct device_record *r) {
    if (!open(c))
        return;
    r->space = DEVICE_PHYSICAL;
    r->key = r->birth = next_birth(c);
    r->handles = 1;
    put(c, r, NULL);
    put_handle(c, handle, r->key);
    close(c);
}

static void got_physical(struct call *c, uint64_t handle, uint64_t size,
                         const struct location *location) {
    const bool is_device = location->type == LOCATION_DEVICE;
    identify(is_device ? location->id : -1);
    put_physical(
        c, handle,
        &(struct device_record){.kind = SNAP_NODE_DEVICE_PHYSICAL,
                                .domain = is_device ? SNAP_DOMAIN_DEVICE : SNAP_DOMAIN_PINNED,
                                .size = size,
                                .device = is_device ? location->id : -1});
}

static void got_multicast(struct call *c, uint64_t handle, uint64_t size) {
    put_physical(c, handle,
                 &(struct device_record){.kind = SNAP_NODE_DEVICE_MULTICAST,
                                         .domain = SNAP_DOMAIN_DEVICE,
                                         .size = size,
                                         .device = -1});
}

static void got_imported_physical(struct call *c, uint64_t handle) {
    const struct place place = current_place(c);
    put_physical(c, handle,
                 &(struct device_record){.kind = SNAP_NODE_DEVICE_IMPORTED,
                                         .domain = SNAP_DOMAIN_DEVICE,
                                         .flags = DEVICE_FLAG_IMPORTED,
                                         .device = place.device});
}

static void exported_physical(struct call *c, uint64_t handle) {
    static const struct device_change change = {.set_flags = DEVICE_FLAG_EXPORTED};
    struct device_record r;
    if (!open(c))
        return;
    if (device_table_get(DEVICE_HANDLE, handle, &r, c->t->cache.try))
        change_physical(c, r.link, &change);
    close(c);
}

static bool maps_address(const void *context, const struct device_record *r) {
    return r->space == DEVICE_MAPPING && *(const uint64_t *)context - r->key < r->size;
}

static void retained_physical(struct call *c, uint64_t handle, uint64_t address) {
    struct device_record r, mapping;
    if (!open(c))
        return;
    const bool try = c->t->cache.try;
    if (!device_table_search(maps_address, &address, &mapping, try))
        atomic_fetch_add(&n_missed, 1);
    else {
        change_physical(c, mapping.link, &one_handle);
        if (!device_table_get(DEVICE_HANDLE, handle, &r, try) || r.link != mapping.link)
            put_handle(c, handle, mapping.link);
        else
            device_table_change(DEVICE_HANDLE, handle, DEVICE_ANY, &one_handle, NULL, try);
    }
    close(c);
}

static void released_physical(struct call *c) {
    struct device_record r;
    if (!open(c))
        return;
    if (device_table_change(DEVICE_HANDLE, c->key, c->mark, &no_handle, &r, c->t->cache.try))
        change_physical(c, r.link, &no_handle);
    else
        atomic_fetch_add(&n_missed, 1);
    close(c);
}

static void got_range(struct call *c, uint64_t address, uint64_t size) {
    keep(c, &(struct device_record){.space = DEVICE_MEMORY,
                                    .kind = SNAP_NODE_DEVICE_VIRTUAL,
                                    .domain = SNAP_DOMAIN_DEVICE,
                                    .key = address,
                                    .size = size,
                                    .flags = captured_flag(),
                                    .device = -1});
}

/* Before the mapping: the handle may be released as soon as it exists. */
static void physical_of(struct call *c, uint64_t handle) {
    struct device_record r;
    if (!open(c))
        return;
    if (device_table_get(DEVICE_HANDLE, handle, &r, c->t->cache.try)) {
        c->physical = r.link;
        change_physical(c, c->physical, &one_map);
    } else {
        atomic_fetch_add(&n_missed, 1);
    }
    close(c);
}

static void not_mapped(struct call *c) {
    if (c->physical == 0 || !open(c))
        return;
    change_physical(c, c->physical, &no_map);
    close(c);
}

static void mapped(struct call *c, uint64_t address, uint64_t size, uint64_t offset) {
    struct device_record old = {0};
    struct device_record r = {.space = DEVICE_MAPPING,
                              .key = address,
                              .size = size,
                              .link = c->physical,
                              .offset = offset,
                              .device = -1};
    if (!open(c))
        return;
    put(c, &r, &old);
    change_physical(c, old.link, &no_map);
    close(c);
}

struct range {
    struct call *call;
    uint64_t start, size;
    struct device_mark mark;
};

static bool is_mapping_in(const void *context, const struct device_record *r) {
    const struct range *const range = context;
    return r->space == DEVICE_MAPPING && device_is_older(r, range->mark) &&
           r->key - range->start < range->size;
}

static void mapping_gone(void *context, const struct device_record *r) {
    struct range *const range = context;
    change_physical(range->call, r->link, &no_map);
}

static void unmapped(struct call *c, uint64_t address, uint64_t size) {
    struct range range = {c, address, size, c->mark};
    struct device_record r;
    if (!open(c))
        return;
    if (device_table_get(DEVICE_MAPPING, address, &r, c->t->cache.try) && r.size == size) {
        if (device_table_take(DEVICE_MAPPING, address, c->mark, &r, c->t->cache.try))
            mapping_gone(&range, &r);
    } else {
        device_table_sweep(is_mapping_in, mapping_gone, &range, c->t->cache.try);
    }
    close(c);
}

/* --- resources and graphs --- */

/* A graph or library is not of the context that happened to be current. */
static void got(struct call *c, uint32_t kind, void *handle) {
    const bool is_free = kind == SNAP_RSRC_GRAPH || kind == SNAP_RSRC_LIBRARY;
    const struct place place = is_free ? (struct place){0, -1} : current_place(c);
    keep(c, &(struct device_record){.space = DEVICE_RESOURCE + kind,
                                    .kind = kind,
                                    .key = (uintptr_t)handle,
                                    .context = place.context,
                                    .device = place.device});
}

static void lost_stream(struct call *c, void *stream) {
    capture_ends(c, stream);
    lost(c);
}

/* A capture into a graph that the program made itself returns that graph. */
static void got_captured(struct call *c, void *graph) {
    struct device_record r;
    if (graph == NULL || !open(c))
        return;
    const bool is_known =
        device_table_get(DEVICE_RESOURCE + SNAP_RSRC_GRAPH, (uintptr_t)graph, &r, c->t->cache.try);
    close(c);
    if (!is_known)
        got(c, SNAP_RSRC_GRAPH, graph);
}

static void got_graph_memory(struct call *c, void *graph, const struct graph_memory *memory) {
    const struct location *const location = &memory->pool.location;
    struct device_record p, r = {.space = DEVICE_MEMORY,
                                 .kind = SNAP_NODE_DEVICE_GRAPH,
                                 .domain = SNAP_DOMAIN_DEVICE,
                                 .key = memory->address,
                                 .size = memory->size,
                                 .link = (uintptr_t)graph,
                                 .device = location->type == LOCATION_DEVICE ? location->id : -1};
    if (!open(c))
        return;
    const uint64_t key = (uint64_t)r.device + 1;
    if (r.device >= 0 && !device_table_get(DEVICE_POOL, key, &p, c->t->cache.try))
        put_pool(c, key, SNAP_POOL_CUDA_GRAPH, SNAP_DOMAIN_DEVICE, r.device, 0);
    put(c, &r, NULL);
    close(c);
}

static void got_graph_node(struct call *c, void *graph, const struct graph_node *node) {
    if (node->type == NODE_MEM_ALLOC)
        got_graph_memory(c, graph, &node->memory);
}

struct owner {
    uint64_t key;
    struct device_mark mark;
};

static bool is_of_graph(const void *context, const struct device_record *r) {
    const struct owner *const o = context;
    return r->space == DEVICE_MEMORY && r->kind == SNAP_NODE_DEVICE_GRAPH && r->link == o->key &&
           device_is_older(r, o->mark);
}

static void lost_graph(struct call *c, void *graph) {
    struct owner owner = {(uintptr_t)graph, c->mark};
    c->space = DEVICE_RESOURCE + SNAP_RSRC_GRAPH;
    c->key = (uintptr_t)graph;
    lost(c);
    if (sampled.n == 0 || !open(c)) /* no pool, so no memory of graphs */
        return;
    device_table_sweep(is_of_graph, NULL, &owner, c->t->cache.try);
    close(c);
}

bool hook_cuda_device(uint32_t device, char *out, size_t size) {
    static const char digits[] = "0123456789abcdef";
    size_t n = 0;
    if (device >= DEVICES_MAX || atomic_load(&identities[device].state) != 2 ||
        size < 40 + NAME_MAX_BYTES)
        return false;
    const struct identity *const d = &identities[device];
    for (int i = 0; i < 16; i++) {
        if (i == 4 || i == 6 || i == 8 || i == 10)
            out[n++] = '-';
        out[n++] = digits[d->uuid[i] >> 4];
        out[n++] = digits[d->uuid[i] & 15];
    }
    out[n++] = ' ';
    for (const char *p = d->name; *p; p++)
        out[n++] = *p;
    while (out[n - 1] == ' ')
        n--;
    out[n] = '\0';
    return true;
}

/* --- contexts --- */

static void got_context(struct call *c, void *context, int device) {
    identify(device);
    keep(c, &(struct device_record){.space = DEVICE_RESOURCE + SNAP_RSRC_CONTEXT,
                                    .kind = SNAP_RSRC_CONTEXT,
                                    .key = (uintptr_t)context,
                                    .device = device});
}

static bool is_known_context(struct call *c, const void *context) {
    struct device_record r;
    if (!open(c))
        return true;
    const bool is_known = device_table_get(DEVICE_RESOURCE + SNAP_RSRC_CONTEXT, (uintptr_t)context,
                                           &r, c->t->cache.try);
    close(c);
    return is_known;
}

static void keep_primary(struct call *c, void *context, int device) {
    keep(c, &(struct device_record){.space = DEVICE_RESOURCE + SNAP_RSRC_CONTEXT,
                                    .kind = SNAP_RSRC_CONTEXT,
                                    .key = (uintptr_t)context,
                                    .flags = DEVICE_FLAG_DEFAULT,
                                    .device = device});
}

static void got_primary(struct call *c, void *context, int device) {
    identify(device);
    if (device >= 0 && device < DEVICES_MAX)
        atomic_store(&identities[device].primary, (uintptr_t)context);
    if (!is_known_context(c, context))
        keep_primary(c, context, device);
}

/* A context that nobody was seen to make is the device's primary one: CUDA's runtime gets it
 * through a table without names. The first one only; others are made of green contexts, and go with
 * those.
 */
static void meet_context(struct call *c, void *context, int device) {
    uint64_t none = 0;
    identify(device);
    if (context == NULL || device < 0 || device >= DEVICES_MAX || is_known_context(c, context))
        return;
    if (atomic_compare_exchange_strong(&identities[device].primary, &none, (uintptr_t)context))
        keep_primary(c, context, device);
}

/* A context takes with it all that was made in it. */
static bool is_of_context(const void *context, const struct device_record *r) {
    const struct owner *const o = context;
    return device_is_older(r, o->mark) &&
           (r->context == o->key ||
            (r->space == DEVICE_RESOURCE + SNAP_RSRC_CONTEXT && r->key == o->key));
}

static void lost_context(struct call *c, void *context) {
    struct owner owner = {(uintptr_t)context, c->mark};
    atomic_fetch_add(&contexts_gone, 1);
    atomic_store(&captures.n, 0);
    for (int i = 0; i < DEVICES_MAX; i++) {
        uint64_t primary = (uintptr_t)context;
        atomic_compare_exchange_strong(&identities[i].primary, &primary, 0);
    }
    if (context == NULL || !open(c))
        return;
    device_table_sweep(is_of_context, NULL, &owner, c->t->cache.try);
    close(c);
}

static bool is_primary(const void *context, const struct device_record *r) {
    return r->space == DEVICE_RESOURCE + SNAP_RSRC_CONTEXT && (r->flags & DEVICE_FLAG_DEFAULT) &&
           r->device == *(const int *)context;
}

static void lost_primary(struct call *c, int device) {
    struct device_record r;
    if (!open(c))
        return;
    const bool is_known = device_table_search(is_primary, &device, &r, c->t->cache.try);
    close(c);
    if (is_known)
        lost_context(c, (void *)(uintptr_t)r.key);
}

static void released_primary(struct call *c, int device) {
    unsigned flags;
    int is_active = 1;
    if (QUERY(cuDevicePrimaryCtxGetState, (int, unsigned *, int *), (device, &flags, &is_active)) ==
            DRIVER_OK &&
        !is_active)
        lost_primary(c, device);
}

/* --- the functions --- */

/* Of a description in another form. */
#define GOT_ARRAY(width_, height_, depth_, flags_)                                                 \
    got_array(c, *out,                                                                             \
              &(struct array3d_v2){.width = (width_),                                              \
                                   .height = (height_),                                            \
                                   .depth = (depth_),                                              \
                                   .format = a->format,                                            \
                                   .channels = a->channels,                                        \
                                   .flags = (flags_)},                                             \
              1)

static void failed(struct call *c, int result, const char *what) {
    not_mapped(c);
    if (result == DRIVER_OUT_OF_MEMORY)
        oom_report(what, 0, &c->start);
}

/* In a forked child the driver is dead: whatever it says changes nothing. */
#define CUDA_CALL(symbol, name, version, per_thread, parameters, arguments, before, after)         \
    int symbol parameters {                                                                        \
        struct call call = {.start = STACKS_START_HERE()};                                         \
        struct call *const c = &call;                                                              \
        void *const address_ = get_real(CUDA_##symbol);                                            \
        int(*real_) parameters;                                                                    \
        if (HOOK_UNLIKELY(address_ == NULL))                                                       \
            return DRIVER_NOT_INITIALIZED;                                                         \
        memcpy(&real_, &address_, sizeof real_);                                                   \
        before;                                                                                    \
        const int result = real_ arguments;                                                        \
        if (HOOK_UNLIKELY(atomic_load_explicit(&is_forked, memory_order_relaxed)))                 \
            return result;                                                                         \
        if (HOOK_LIKELY(result == DRIVER_OK)) {                                                    \
            after;                                                                                 \
        } else {                                                                                   \
            failed(c, result, #symbol);                                                            \
        }                                                                                          \
        return result;                                                                             \
    }
#include "capture/cuda_calls.def"

/* --- blocks of frameworks --- */

void hook_cuda_block(uint64_t address, uint64_t size, int32_t device, bool is_free, uintptr_t slot,
                     uintptr_t pc, uintptr_t bp) {
    static const struct device_change is_pool = {.set_flags = DEVICE_FLAG_POOL};
    struct call call = {.start = {slot, pc, bp}}, *const c = &call;
    if (atomic_load(&is_forked))
        return;
    if (is_free) {
        going(c, DEVICE_BLOCK, address);
        lost(c);
        return;
    }
    struct device_record r = {.space = DEVICE_BLOCK,
                              .kind = SNAP_NODE_DEVICE_BLOCK,
                              .domain = SNAP_DOMAIN_DEVICE,
                              .key = address,
                              .size = size,
                              .device = device};
    if (!open(c))
        return;
    put(c, &r, NULL);
    /* The first block of a segment starts where it starts. */
    device_table_change(DEVICE_MEMORY, address, DEVICE_ANY, &is_pool, NULL, c->t->cache.try);
    close(c);
}

/* --- resources of libraries --- */

uint64_t hook_cuda_mark(void) {
    return device_table_mark_all().epoch;
}

void hook_cuda_resource(uint32_t kind, uint64_t key, const struct stack_start *start) {
    struct call call = {.start = *start};
    if (!atomic_load(&is_forked))
        got(&call, kind, (void *)(uintptr_t)key);
}

void hook_cuda_resource_gone(uint32_t kind, uint64_t key, uint64_t mark) {
    struct call call = {.mark = {UINT64_MAX, mark}, .space = DEVICE_RESOURCE + kind, .key = key};
    if (!atomic_load(&is_forked))
        lost(&call);
}

struct hook_cuda_counts hook_cuda_counts(void) {
    const uint64_t missed = atomic_load(&n_missed), replaced = atomic_load(&n_replaced);
    return (struct hook_cuda_counts){.dropped = atomic_load(&n_dropped),
                                     .unknown = missed > replaced ? missed - replaced : 0,
                                     .unseen = atomic_load(&n_unseen),
                                     .handed = atomic_load(&n_handed),
                                     .has_driver = atomic_load(&has_driver)};
}

void hook_cuda_after_fork_child(void) {
    atomic_store(&is_forked, true);
    rawmem_unlock(&sampled.lock);
    rawmem_unlock(&captures.lock);
    device_table_after_fork_child();
}
