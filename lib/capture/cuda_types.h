/* What the CUDA driver's functions are given, as far as it is read, and the numbers that stand in
 * it: declared here, so that nothing of CUDA is needed. A test compares them with NVIDIA's own
 * header where that is installed. */
#ifndef HEAPSNAP_CUDA_TYPES_H
#define HEAPSNAP_CUDA_TYPES_H

#include <stddef.h>
#include <stdint.h>

enum { DRIVER_OK = 0, DRIVER_OUT_OF_MEMORY = 2, DRIVER_NOT_INITIALIZED = 3 };
enum { LOCATION_DEVICE = 1, ALLOCATION_MANAGED = 2, CAPTURES_RELAXED = 2 };
enum { ARRAY_LAYERED = 1, ARRAY_CUBE = 4, ARRAY_SPARSE = 0x40, ARRAY_MAPPED_LATER = 0x80 };
enum { PER_THREAD_STREAMS = 2, NODE_MEM_ALLOC = 10 };
enum { POOL_RESERVED = 5, POOL_USED = 7, GRAPH_USED = 0, GRAPH_RESERVED = 2 };

struct location {
    int type, id;
};
struct array_v1 {
    unsigned width, height;
    int format;
    unsigned channels;
};
struct array_v2 {
    size_t width, height;
    int format;
    unsigned channels;
};
struct array3d_v1 {
    unsigned width, height, depth;
    int format;
    unsigned channels, flags;
};
struct array3d_v2 {
    size_t width, height, depth;
    int format;
    unsigned channels, flags;
};
struct pool_props {
    int type, handle_types;
    struct location location;
    void *unused;
    size_t max_size;
    unsigned short usage;
    unsigned char reserved[54];
};
struct memory_props {
    int type, handle_types;
    struct location location;
};
struct multicast_props {
    unsigned n_devices;
    size_t size;
};
struct external_buffer {
    unsigned long long offset, size;
};
struct ipc_handle {
    char bytes[64];
};
struct graph_memory {
    struct pool_props pool;
    const void *access;
    size_t n_access, size;
    uint64_t address;
};
struct graph_node {
    int type, reserved[3];
    struct graph_memory memory; /* of that type */
};

#endif
