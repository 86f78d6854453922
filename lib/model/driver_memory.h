/* What the driver of devices says a process has, by its management library (NVML). */
#ifndef HEAPSNAP_DRIVER_MEMORY_H
#define HEAPSNAP_DRIVER_MEMORY_H

#include <stddef.h>
#include <stdint.h>

struct driver_memory {
    uint64_t process_bytes; /* of the process; 0: the driver does not say */
    uint64_t used_bytes;    /* of all; 0: unknown */
    uint64_t total_bytes;   /* that there is; 0: unknown */
};

/* uuid: as the driver interface has it, 32 hex digits with dashes. False where there is no such
 * library or device. Loads the library for the time of the call. */
int driver_memory_read(const char *uuid, uint32_t pid, struct driver_memory *out);

#endif
