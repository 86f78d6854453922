/* See mini_cuda.h. MINI_CUDA_PROTOCOL: how it gets at the driver. */
#include "mini_cuda.h"

#include <pthread.h>
#include <stdint.h>

#include "../driver.h"

static struct driver driver;
static int version = MINI_CUDA_PROTOCOL == 2 ? 13000 : MINI_CUDA_PROTOCOL == 1 ? 11080 : 11020;
static __thread int is_current;

static void start(void) {
    void *context;
    if (driver_load(&driver, MINI_CUDA_PROTOCOL, version, 0) < 0 || driver.cuInit(0) != 0 ||
        driver.cuDevicePrimaryCtxRetain(&context, 0) != 0)
        driver.library = NULL;
}

/* The first call of a thread: 0, or the error of a machine without a driver. */
static int begin(void) {
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, start);
    if (!driver.library)
        return 35;
    if (!is_current) {
        void *context;
        driver.cuDevicePrimaryCtxRetain(&context, 0);
        driver.cuDevicePrimaryCtxRelease(0);
        driver.cuCtxSetCurrent(context);
        is_current = 1;
    }
    return 0;
}

#define CALL(call)                                                                                 \
    const int failed = begin();                                                                    \
    return failed ? failed : (call)

int cudaSetDevice(int device) {
    CALL(device == 0 ? 0 : 101);
}
int cudaMalloc(void **out, size_t size) {
    CALL(driver.cuMemAlloc((uint64_t *)(void *)out, size));
}
int cudaFree(void *address) {
    CALL(driver.cuMemFree((uintptr_t)address));
}
int cudaMallocManaged(void **out, size_t size, unsigned flags) {
    CALL(driver.cuMemAllocManaged((uint64_t *)(void *)out, size, flags));
}
int cudaHostAlloc(void **out, size_t size, unsigned flags) {
    CALL(driver.cuMemHostAlloc(out, size, flags));
}
int cudaFreeHost(void *address) {
    CALL(driver.cuMemFreeHost(address));
}
int cudaHostRegister(void *address, size_t size, unsigned flags) {
    CALL(driver.cuMemHostRegister(address, size, flags));
}
int cudaHostUnregister(void *address) {
    CALL(driver.cuMemHostUnregister(address));
}
int cudaMallocAsync(void **out, size_t size, void *stream) {
    CALL(driver.cuMemAllocAsync((uint64_t *)(void *)out, size, stream));
}
int cudaFreeAsync(void *address, void *stream) {
    CALL(driver.cuMemFreeAsync((uintptr_t)address, stream));
}
int cudaStreamCreate(void **out) {
    CALL(driver.cuStreamCreate(out, 0));
}
int cudaStreamCreateWithFlags(void **out, unsigned flags) {
    CALL(driver.cuStreamCreate(out, flags));
}
int cudaStreamDestroy(void *stream) {
    CALL(driver.cuStreamDestroy(stream));
}
int cudaStreamBeginCapture(void *stream, int mode) {
    CALL(driver.cuStreamBeginCapture(stream, mode));
}
int cudaStreamEndCapture(void *stream, void **graph) {
    CALL(driver.cuStreamEndCapture(stream, graph));
}
int cudaEventCreate(void **out) {
    CALL(driver.cuEventCreate(out, 0));
}
int cudaEventDestroy(void *event) {
    CALL(driver.cuEventDestroy(event));
}
