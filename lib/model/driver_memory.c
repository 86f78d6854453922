/* See driver_memory.h. NVML is asked by the process that writes snapshots, never by the target, for
 * which it could take long or go wrong.
 *
 * The library is found as every program finds it, or where HEAPSNAP_NVML says. Its structures are
 * declared here as far as they are read; whatever it does not have or refuses is unknown. */
#include "model/driver_memory.h"

#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { PROCESSES_MAX = 4096, NO_INSTANCE = -1 };
#define NOT_KNOWN UINT64_MAX /* what it gives for what it may not tell */

struct memory {
    unsigned long long total, free, used;
};
struct process {
    unsigned pid;
    unsigned long long bytes;
    unsigned gpu_instance, compute_instance;
};

typedef int no_arguments(void);
typedef int get_handle(const char *uuid, void **device);
typedef int get_memory(void *device, struct memory *out);
typedef int get_processes(void *device, unsigned *n, struct process *out);
typedef int get_parent(void *device, void **out);
typedef int get_instance(void *device, unsigned *out);

static int find(void *library, const char *name, void *function) {
    void *const found = dlsym(library, name);
    memcpy(function, &found, sizeof found);
    return found != NULL;
}

/* A device, or a part of one: those have names of another kind. */
static int get_device(void *library, const char *uuid, void **out, int *is_part) {
    get_handle *get;
    char name[80];
    if (!find(library, "nvmlDeviceGetHandleByUUID", &get))
        return 0;
    for (*is_part = 0; *is_part < 2; ++*is_part) {
        snprintf(name, sizeof name, "%s-%.60s", *is_part ? "MIG" : "GPU", uuid);
        if (get(name, out) == 0)
            return 1;
    }
    return 0;
}

/* Processes are told of whole devices; instance: only those of that part. */
static uint64_t bytes_of(void *library, void *device, uint32_t pid, int64_t instance) {
    static const char *const names[] = {
        "nvmlDeviceGetComputeRunningProcesses_v3", "nvmlDeviceGetComputeRunningProcesses_v2",
        "nvmlDeviceGetMPSComputeRunningProcesses_v3", "nvmlDeviceGetGraphicsRunningProcesses_v3"};
    struct process *const list = calloc(PROCESSES_MAX, sizeof *list);
    uint64_t sum = 0;
    for (size_t k = 0; list != NULL && sum == 0 && k < sizeof names / sizeof *names; k++) {
        get_processes *get;
        unsigned n = PROCESSES_MAX;
        if (!find(library, names[k], &get) || get(device, &n, list) != 0)
            continue;
        for (unsigned i = 0; i < n && i < PROCESSES_MAX; i++)
            if (list[i].pid == pid && list[i].bytes != NOT_KNOWN &&
                (instance == NO_INSTANCE || list[i].gpu_instance == instance))
                sum += list[i].bytes;
    }
    free(list);
    return sum;
}

static void read_device(void *library, void *device, int is_part, uint32_t pid,
                        struct driver_memory *out) {
    get_memory *memory;
    struct memory m = {0};
    if (find(library, "nvmlDeviceGetMemoryInfo", &memory) && memory(device, &m) == 0) {
        out->used_bytes = m.used;
        out->total_bytes = m.total;
    }
    get_parent *parent;
    get_instance *get;
    void *whole = device;
    unsigned instance = 0;
    const int has_parent =
        is_part && find(library, "nvmlDeviceGetDeviceHandleFromMigDeviceHandle", &parent) &&
        parent(device, &whole) == 0 && find(library, "nvmlDeviceGetGpuInstanceId", &get) &&
        get(device, &instance) == 0;
    out->process_bytes =
        bytes_of(library, whole, pid, has_parent ? (int64_t)instance : NO_INSTANCE);
}

int driver_memory_read(const char *uuid, uint32_t pid, struct driver_memory *out) {
    const char *const path = getenv("HEAPSNAP_NVML");
    void *const library =
        dlopen(path != NULL && *path ? path : "libnvidia-ml.so.1", RTLD_NOW | RTLD_LOCAL);
    no_arguments *start, *stop;
    int found = 0;
    *out = (struct driver_memory){0};
    if (library == NULL)
        return 0;
    if (find(library, "nvmlInit_v2", &start) && find(library, "nvmlShutdown", &stop) &&
        start() == 0) {
        void *device;
        int is_part;
        found = get_device(library, uuid, &device, &is_part);
        if (found)
            read_device(library, device, is_part, pid, out);
        stop();
    }
    dlclose(library);
    return found;
}
