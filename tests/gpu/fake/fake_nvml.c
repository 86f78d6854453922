/* A stand-in for NVML, libnvidia-ml.so.1: says what the file fake_nvml in TMPDIR says, a line per
 * device: name, pid, bytes of that process, bytes used by all, bytes there are. A name that begins
 * with MIG- is that of a part: instance 7 of the device of which it is one. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define EXPORT __attribute__((visibility("default")))

struct memory {
    unsigned long long total, free, used;
};
struct process {
    unsigned pid;
    unsigned long long bytes;
    unsigned gpu_instance, compute_instance;
};

static struct device {
    char name[80];
    unsigned pid;
    unsigned long long process, used, total;
} devices[16];
static int n_devices, is_started;

EXPORT int nvmlInit_v2(void) {
    char path[4096];
    const char *const directory = getenv("TMPDIR");
    snprintf(path, sizeof path, "%s/fake_nvml", directory ? directory : "/nowhere");
    FILE *const f = fopen(path, "r");
    if (!f)
        return 9; /* the driver is not loaded */
    struct device *d = devices;
    for (n_devices = 0; n_devices < 16 && fscanf(f, "%79s %u %llu %llu %llu", d->name, &d->pid,
                                                 &d->process, &d->used, &d->total) == 5;
         n_devices++)
        d++;
    fclose(f);
    is_started = 1;
    return 0;
}
EXPORT int nvmlShutdown(void) {
    is_started = 0;
    return 0;
}
EXPORT int nvmlDeviceGetHandleByUUID(const char *uuid, void **out) {
    for (int i = 0; i < n_devices && is_started; i++)
        if (strcmp(devices[i].name, uuid) == 0) {
            *out = &devices[i];
            return 0;
        }
    return 6;
}
EXPORT int nvmlDeviceGetMemoryInfo(struct device *d, struct memory *out) {
    *out = (struct memory){d->total, d->total - d->used, d->used};
    return 0;
}
EXPORT int nvmlDeviceGetDeviceHandleFromMigDeviceHandle(struct device *d, void **out) {
    *out = d;
    return 0;
}
EXPORT int nvmlDeviceGetGpuInstanceId(struct device *d, unsigned *out) {
    *out = 7;
    return 0;
}
EXPORT int nvmlDeviceGetComputeRunningProcesses_v3(struct device *d, unsigned *n,
                                                   struct process *out) {
    const unsigned instance = strncmp(d->name, "MIG-", 4) == 0 ? 7 : ~0u;
    if (*n < 3)
        return 7;
    out[0] = (struct process){d->pid + 1, 12345, instance, ~0u};
    out[1] = (struct process){d->pid, d->process, instance, ~0u};
    out[2] = (struct process){d->pid, 999, instance == 7 ? 3 : instance, ~0u};
    *n = instance == 7 ? 3 : 2; /* the last: in another part of the same device */
    return 0;
}
