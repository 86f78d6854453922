/* The recorder's and the tests' idea of the CUDA driver's structures and numbers against NVIDIA's
 * own header. It holds where this compiles; there is nothing to run. */
#define __CUDA_API_VERSION_INTERNAL /* forms of old, too */
#include <cuda.h>
#include <stdio.h>

#include "capture/cuda_types.h"
#include "driver.h"

#define NUMBER(ours, theirs) _Static_assert((int)(ours) == (int)(theirs), #theirs);
#define MEMBER(ours, a, theirs, b)                                                                 \
    _Static_assert(offsetof(struct ours, a) == offsetof(theirs, b) &&                              \
                       sizeof(((struct ours *)0)->a) == sizeof(((theirs *)0)->b),                  \
                   #theirs "." #b);
#define WHOLE(ours, theirs) _Static_assert(sizeof(struct ours) == sizeof(theirs), #theirs);

NUMBER(DRIVER_OK, CUDA_SUCCESS)
NUMBER(DRIVER_OUT_OF_MEMORY, CUDA_ERROR_OUT_OF_MEMORY)
NUMBER(DRIVER_NOT_INITIALIZED, CUDA_ERROR_NOT_INITIALIZED)
NUMBER(LOCATION_DEVICE, CU_MEM_LOCATION_TYPE_DEVICE)
NUMBER(CAPTURES_RELAXED, CU_STREAM_CAPTURE_MODE_RELAXED)
NUMBER(ARRAY_LAYERED, CUDA_ARRAY3D_LAYERED)
NUMBER(ARRAY_CUBE, CUDA_ARRAY3D_CUBEMAP)
NUMBER(ARRAY_SPARSE, CUDA_ARRAY3D_SPARSE)
NUMBER(ARRAY_MAPPED_LATER, CUDA_ARRAY3D_DEFERRED_MAPPING)
NUMBER(PER_THREAD_STREAMS, CU_GET_PROC_ADDRESS_PER_THREAD_DEFAULT_STREAM)
NUMBER(NODE_MEM_ALLOC, CU_GRAPH_NODE_TYPE_MEM_ALLOC)
NUMBER(POOL_RESERVED, CU_MEMPOOL_ATTR_RESERVED_MEM_CURRENT)
NUMBER(POOL_USED, CU_MEMPOOL_ATTR_USED_MEM_CURRENT)
NUMBER(GRAPH_USED, CU_GRAPH_MEM_ATTR_USED_MEM_CURRENT)
NUMBER(GRAPH_RESERVED, CU_GRAPH_MEM_ATTR_RESERVED_MEM_CURRENT)
#if CUDA_VERSION >= 13000
NUMBER(ALLOCATION_MANAGED, CU_MEM_ALLOCATION_TYPE_MANAGED)
#endif

MEMBER(location, type, CUmemLocation, type)
MEMBER(location, id, CUmemLocation, id)
#define ARRAY(ours, theirs)                                                                        \
    WHOLE(ours, theirs)                                                                            \
    MEMBER(ours, width, theirs, Width)                                                             \
    MEMBER(ours, height, theirs, Height)                                                           \
    MEMBER(ours, format, theirs, Format)                                                           \
    MEMBER(ours, channels, theirs, NumChannels)
#define ARRAY3D(ours, theirs)                                                                      \
    ARRAY(ours, theirs)                                                                            \
    MEMBER(ours, depth, theirs, Depth)                                                             \
    MEMBER(ours, flags, theirs, Flags)
ARRAY(array_v1, CUDA_ARRAY_DESCRIPTOR_v1)
ARRAY(array_v2, CUDA_ARRAY_DESCRIPTOR)
ARRAY3D(array3d_v1, CUDA_ARRAY3D_DESCRIPTOR_v1)
ARRAY3D(array3d_v2, CUDA_ARRAY3D_DESCRIPTOR)
WHOLE(pool_props, CUmemPoolProps)
MEMBER(pool_props, type, CUmemPoolProps, allocType)
MEMBER(pool_props, location, CUmemPoolProps, location)
MEMBER(memory_props, type, CUmemAllocationProp, type)
MEMBER(memory_props, location, CUmemAllocationProp, location)
MEMBER(multicast_props, size, CUmulticastObjectProp, size)
MEMBER(external_buffer, size, CUDA_EXTERNAL_MEMORY_BUFFER_DESC, size)
WHOLE(ipc_handle, CUipcMemHandle)
WHOLE(ipc_handle, CUipcEventHandle)
#define GRAPH_MEMORY(theirs)                                                                       \
    WHOLE(graph_memory, theirs)                                                                    \
    MEMBER(graph_memory, pool, theirs, poolProps)                                                  \
    MEMBER(graph_memory, size, theirs, bytesize)                                                   \
    MEMBER(graph_memory, address, theirs, dptr)
GRAPH_MEMORY(CUDA_MEM_ALLOC_NODE_PARAMS)
#if CUDA_VERSION >= 12020
GRAPH_MEMORY(CUDA_MEM_ALLOC_NODE_PARAMS_v2)
MEMBER(graph_node, type, CUgraphNodeParams, type)
MEMBER(graph_node, memory, CUgraphNodeParams, alloc)
WHOLE(driver_graph_node, CUgraphNodeParams)
#endif

ARRAY(driver_array, CUDA_ARRAY_DESCRIPTOR)
ARRAY3D(driver_array3d, CUDA_ARRAY3D_DESCRIPTOR)
WHOLE(driver_location, CUmemPoolProps)
MEMBER(driver_location, location, CUmemPoolProps, location.type)
MEMBER(driver_location, device, CUmemPoolProps, location.id)
_Static_assert(sizeof(struct driver_location) >= sizeof(CUmemAllocationProp), "read past its end");
WHOLE(driver_graph_memory, CUDA_MEM_ALLOC_NODE_PARAMS)
WHOLE(driver_ipc, CUipcMemHandle)

int main(void) {
    printf("ok - as in the header of CUDA %d\n", CUDA_VERSION);
    return 0;
}
