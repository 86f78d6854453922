/* The driver's functions as a CUDA runtime gets at them: by dlsym, or by either form of
 * cuGetProcAddress. */
#ifndef HEAPSNAP_TEST_DRIVER_H
#define HEAPSNAP_TEST_DRIVER_H

#include <stddef.h>
#include <stdint.h>

struct driver_location {
    int type, handle_types, location, device;
    void *unused;
    uint64_t max_size;
    unsigned short usage;
    unsigned char reserved[54];
};
struct driver_array {
    size_t width, height;
    int format;
    unsigned channels;
};
struct driver_array3d {
    size_t width, height, depth;
    int format;
    unsigned channels, flags;
};
struct driver_graph_memory {
    struct driver_location pool;
    const void *access;
    size_t n_access, size;
    uint64_t address;
};
struct driver_graph_node {
    int type, reserved[3];
    struct driver_graph_memory memory;
    char rest[120];
};
struct driver_ipc {
    char bytes[64];
};

/* name for cuGetProcAddress, name for dlsym, name for dlsym with per-thread streams */
#define DRIVER_FUNCTIONS(X)                                                                        \
    X(cuInit, cuInit, cuInit, (unsigned))                                                          \
    X(cuDevicePrimaryCtxRetain, cuDevicePrimaryCtxRetain, cuDevicePrimaryCtxRetain,                \
      (void **, int))                                                                              \
    X(cuDevicePrimaryCtxRelease, cuDevicePrimaryCtxRelease_v2, cuDevicePrimaryCtxRelease_v2,       \
      (int))                                                                                       \
    X(cuDevicePrimaryCtxReset, cuDevicePrimaryCtxReset_v2, cuDevicePrimaryCtxReset_v2, (int))      \
    X(cuCtxSetCurrent, cuCtxSetCurrent, cuCtxSetCurrent, (void *))                                 \
    X(cuCtxCreate, cuCtxCreate_v2, cuCtxCreate_v2, (void **, unsigned, int))                       \
    X(cuCtxDestroy, cuCtxDestroy_v2, cuCtxDestroy_v2, (void *))                                    \
    X(cuMemAlloc, cuMemAlloc_v2, cuMemAlloc_v2, (uint64_t *, size_t))                              \
    X(cuMemAllocPitch, cuMemAllocPitch_v2, cuMemAllocPitch_v2,                                     \
      (uint64_t *, size_t *, size_t, size_t, unsigned))                                            \
    X(cuMemFree, cuMemFree_v2, cuMemFree_v2, (uint64_t))                                           \
    X(cuMemAllocManaged, cuMemAllocManaged, cuMemAllocManaged, (uint64_t *, size_t, unsigned))     \
    X(cuMemHostAlloc, cuMemHostAlloc, cuMemHostAlloc, (void **, size_t, unsigned))                 \
    X(cuMemFreeHost, cuMemFreeHost, cuMemFreeHost, (void *))                                       \
    X(cuMemHostRegister, cuMemHostRegister_v2, cuMemHostRegister_v2, (void *, size_t, unsigned))   \
    X(cuMemHostUnregister, cuMemHostUnregister, cuMemHostUnregister, (void *))                     \
    X(cuArrayCreate, cuArrayCreate_v2, cuArrayCreate_v2, (void **, const struct driver_array *))   \
    X(cuArray3DCreate, cuArray3DCreate_v2, cuArray3DCreate_v2,                                     \
      (void **, const struct driver_array3d *))                                                    \
    X(cuMipmappedArrayCreate, cuMipmappedArrayCreate, cuMipmappedArrayCreate,                      \
      (void **, const struct driver_array3d *, unsigned))                                          \
    X(cuArrayDestroy, cuArrayDestroy, cuArrayDestroy, (void *))                                    \
    X(cuMipmappedArrayDestroy, cuMipmappedArrayDestroy, cuMipmappedArrayDestroy, (void *))         \
    X(cuMemAllocAsync, cuMemAllocAsync, cuMemAllocAsync_ptsz, (uint64_t *, size_t, void *))        \
    X(cuMemAllocFromPoolAsync, cuMemAllocFromPoolAsync, cuMemAllocFromPoolAsync_ptsz,              \
      (uint64_t *, size_t, void *, void *))                                                        \
    X(cuMemFreeAsync, cuMemFreeAsync, cuMemFreeAsync_ptsz, (uint64_t, void *))                     \
    X(cuMemPoolCreate, cuMemPoolCreate, cuMemPoolCreate,                                           \
      (void **, const struct driver_location *))                                                   \
    X(cuMemPoolDestroy, cuMemPoolDestroy, cuMemPoolDestroy, (void *))                              \
    X(cuMemPoolTrimTo, cuMemPoolTrimTo, cuMemPoolTrimTo, (void *, size_t))                         \
    X(cuMemCreate, cuMemCreate, cuMemCreate,                                                       \
      (uint64_t *, size_t, const struct driver_location *, unsigned long long))                    \
    X(cuMemRelease, cuMemRelease, cuMemRelease, (uint64_t))                                        \
    X(cuMemRetainAllocationHandle, cuMemRetainAllocationHandle, cuMemRetainAllocationHandle,       \
      (uint64_t *, void *))                                                                        \
    X(cuMemAddressReserve, cuMemAddressReserve, cuMemAddressReserve,                               \
      (uint64_t *, size_t, size_t, uint64_t, unsigned long long))                                  \
    X(cuMemAddressFree, cuMemAddressFree, cuMemAddressFree, (uint64_t, size_t))                    \
    X(cuMemMap, cuMemMap, cuMemMap, (uint64_t, size_t, size_t, uint64_t, unsigned long long))      \
    X(cuMemUnmap, cuMemUnmap, cuMemUnmap, (uint64_t, size_t))                                      \
    X(cuMulticastCreate, cuMulticastCreate, cuMulticastCreate, (uint64_t *, const size_t *))       \
    X(cuIpcOpenMemHandle, cuIpcOpenMemHandle_v2, cuIpcOpenMemHandle_v2,                            \
      (uint64_t *, struct driver_ipc, unsigned))                                                   \
    X(cuIpcCloseMemHandle, cuIpcCloseMemHandle, cuIpcCloseMemHandle, (uint64_t))                   \
    X(cuExternalMemoryGetMappedBuffer, cuExternalMemoryGetMappedBuffer,                            \
      cuExternalMemoryGetMappedBuffer, (uint64_t *, void *, const unsigned long long *))           \
    X(cuGraphCreate, cuGraphCreate, cuGraphCreate, (void **, unsigned))                            \
    X(cuGraphClone, cuGraphClone, cuGraphClone, (void **, void *))                                 \
    X(cuGraphDestroy, cuGraphDestroy, cuGraphDestroy, (void *))                                    \
    X(cuGraphAddMemAllocNode, cuGraphAddMemAllocNode, cuGraphAddMemAllocNode,                      \
      (void **, void *, void *const *, size_t, struct driver_graph_memory *))                      \
    X(cuGraphAddNode, cuGraphAddNode_v2, cuGraphAddNode_v2,                                        \
      (void **, void *, void *const *, const void *, size_t, struct driver_graph_node *))          \
    X(cuGraphInstantiateWithFlags, cuGraphInstantiateWithFlags, cuGraphInstantiateWithFlags,       \
      (void **, void *, unsigned long long))                                                       \
    X(cuGraphExecDestroy, cuGraphExecDestroy, cuGraphExecDestroy, (void *))                        \
    X(cuStreamBeginCapture, cuStreamBeginCapture_v2, cuStreamBeginCapture_v2_ptsz, (void *, int))  \
    X(cuStreamEndCapture, cuStreamEndCapture, cuStreamEndCapture_ptsz, (void *, void **))          \
    X(cuStreamCreate, cuStreamCreate, cuStreamCreate, (void **, unsigned))                         \
    X(cuStreamCreateWithPriority, cuStreamCreateWithPriority, cuStreamCreateWithPriority,          \
      (void **, unsigned, int))                                                                    \
    X(cuStreamDestroy, cuStreamDestroy_v2, cuStreamDestroy_v2, (void *))                           \
    X(cuEventCreate, cuEventCreate, cuEventCreate, (void **, unsigned))                            \
    X(cuIpcOpenEventHandle, cuIpcOpenEventHandle, cuIpcOpenEventHandle,                            \
      (void **, struct driver_ipc))                                                                \
    X(cuEventDestroy, cuEventDestroy_v2, cuEventDestroy_v2, (void *))                              \
    X(cuModuleLoadData, cuModuleLoadData, cuModuleLoadData, (void **, const void *))               \
    X(cuModuleUnload, cuModuleUnload, cuModuleUnload, (void *))                                    \
    X(cuLibraryLoadData, cuLibraryLoadData, cuLibraryLoadData,                                     \
      (void **, const void *, int *, void **, unsigned, int *, void **, unsigned))                 \
    X(cuLibraryUnload, cuLibraryUnload, cuLibraryUnload, (void *))                                 \
    X(cuTexObjectCreate, cuTexObjectCreate, cuTexObjectCreate,                                     \
      (uint64_t *, const void *, const void *, const void *))                                      \
    X(cuTexObjectDestroy, cuTexObjectDestroy, cuTexObjectDestroy, (uint64_t))                      \
    X(cuSurfObjectCreate, cuSurfObjectCreate, cuSurfObjectCreate, (uint64_t *, const void *))      \
    X(cuSurfObjectDestroy, cuSurfObjectDestroy, cuSurfObjectDestroy, (uint64_t))                   \
    X(cuLinkCreate, cuLinkCreate_v2, cuLinkCreate_v2, (unsigned, int *, void **, void **))         \
    X(cuLinkDestroy, cuLinkDestroy, cuLinkDestroy, (void *))                                       \
    X(cuMemExportToShareableHandle, cuMemExportToShareableHandle, cuMemExportToShareableHandle,    \
      (int *, uint64_t, int, unsigned long long))                                                  \
    X(cuMemImportFromShareableHandle, cuMemImportFromShareableHandle,                              \
      cuMemImportFromShareableHandle, (uint64_t *, void *, int))                                   \
    X(cuImportExternalMemory, cuImportExternalMemory, cuImportExternalMemory,                      \
      (void **, const void *))                                                                     \
    X(cuDestroyExternalMemory, cuDestroyExternalMemory, cuDestroyExternalMemory, (void *))         \
    X(cuImportExternalSemaphore, cuImportExternalSemaphore, cuImportExternalSemaphore,             \
      (void **, const void *))                                                                     \
    X(cuDestroyExternalSemaphore, cuDestroyExternalSemaphore, cuDestroyExternalSemaphore,          \
      (void *))                                                                                    \
    X(cuExternalMemoryGetMappedMipmappedArray, cuExternalMemoryGetMappedMipmappedArray,            \
      cuExternalMemoryGetMappedMipmappedArray, (void **, void *, const void *))

struct driver {
    void *library;
#define DRIVER_MEMBER(name, symbol, per_thread, parameters) int(*name) parameters;
    DRIVER_FUNCTIONS(DRIVER_MEMBER)
#undef DRIVER_MEMBER
};

enum driver_protocol { DRIVER_DLSYM, DRIVER_V1, DRIVER_V2 };

/* Functions that the driver does not have stay NULL. Returns the number of those it has, -1 without
 * a driver. */
int driver_load(struct driver *d, enum driver_protocol protocol, int version, int per_thread);

#endif
