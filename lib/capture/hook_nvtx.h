/* Pools that speak NVTX: what a program says of its heaps and their regions by NVTX's extension for
 * memory (nvToolsExtMem.h) is kept as what it says by snap_pool_*.
 *
 * NVTX is a header: a copy of it in each library that uses it asks the library that
 * NVTX_INJECTION64_PATH names for functions, at its first call. `snap run` names the recorder there
 * unless another tool is named already. */
#ifndef HEAPSNAP_HOOK_NVTX_H
#define HEAPSNAP_HOOK_NVTX_H

/* From now on NVTX is answered. Not called where the recorder came too late to record. */
void hook_nvtx_start(void) __attribute__((visibility("hidden")));
void hook_nvtx_after_fork_child(void) __attribute__((visibility("hidden")));

#endif
