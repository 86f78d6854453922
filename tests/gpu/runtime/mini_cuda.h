/* The part of CUDA's runtime that the tests' programs use, with its names; linked as the real one
 * is, static or shared. */
#ifndef MINI_CUDA_H
#define MINI_CUDA_H

#include <stddef.h>

int cudaSetDevice(int device);
int cudaMalloc(void **out, size_t size);
int cudaFree(void *address);
int cudaMallocManaged(void **out, size_t size, unsigned flags);
int cudaHostAlloc(void **out, size_t size, unsigned flags);
int cudaFreeHost(void *address);
int cudaHostRegister(void *address, size_t size, unsigned flags);
int cudaHostUnregister(void *address);
int cudaMallocAsync(void **out, size_t size, void *stream);
int cudaFreeAsync(void *address, void *stream);
int cudaStreamCreate(void **out);
int cudaStreamCreateWithFlags(void **out, unsigned flags);
int cudaStreamDestroy(void *stream);
int cudaStreamBeginCapture(void *stream, int mode);
int cudaStreamEndCapture(void *stream, void **graph);
int cudaEventCreate(void **out);
int cudaEventDestroy(void *event);

#endif
