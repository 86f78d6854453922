/* What tests ask of the stand-in for the CUDA driver: its own books. */
#ifndef HEAPSNAP_FAKE_CUDA_H
#define HEAPSNAP_FAKE_CUDA_H

#include <stdint.h>

enum fake_class {
    FAKE_LINEAR,
    FAKE_MANAGED,
    FAKE_PINNED,
    FAKE_REGISTERED,
    FAKE_ARRAY,
    FAKE_ASYNC,
    FAKE_PHYSICAL, /* until neither handles nor mappings are left */
    FAKE_VIRTUAL,
    FAKE_MULTICAST,
    FAKE_IMPORTED,
    FAKE_EXTERNAL,
    FAKE_GRAPH_MEMORY,
    FAKE_POOL,
    FAKE_STREAM,
    FAKE_EVENT,
    FAKE_GRAPH,
    FAKE_EXEC,
    FAKE_MODULE,
    FAKE_LIBRARY,
    FAKE_CONTEXT,
    FAKE_TEXTURE,
    FAKE_SURFACE,
    FAKE_LINKER,
    FAKE_EXTERNAL_MEMORY,
    FAKE_EXTERNAL_SEMAPHORE,
    FAKE_EXTERNAL_ARRAY,
    FAKE_CLASSES
};

struct fake_books {
    uint64_t count[FAKE_CLASSES], bytes[FAKE_CLASSES];
    uint64_t pool_reserved, pool_used; /* over all pools */
};

void fake_cuda_books(struct fake_books *out);
/* What the driver has taken of a device for this process, with `overhead` bytes for each context.
 */
uint64_t fake_cuda_device_bytes(int device, uint64_t overhead);
const char *fake_cuda_class(int class);

#endif
