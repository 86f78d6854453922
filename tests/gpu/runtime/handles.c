/* Functions of cuBLAS, cuFFT and NCCL that make and destroy handles, with their names and nothing
 * in them; handles take up memory of the device, as the real ones do. */
#include <stdlib.h>

#include "mini_cuda.h"

struct id {
    char bytes[128];
};

int cublasCreate_v2(void **out);
int cublasDestroy_v2(void *handle);
int cufftPlan1d(int *out, int n, int type, int batch);
int cufftDestroy(int plan);
int ncclCommInitRank(void **out, int n, struct id id, int rank);
int ncclCommInitAll(void **out, int n, const int *devices);
int ncclCommDestroy(void *communicator);

int cublasCreate_v2(void **out) {
    return cudaMalloc(out, 4 << 20);
}
int cublasDestroy_v2(void *handle) {
    return cudaFree(handle);
}
int cufftPlan1d(int *out, int n, int type, int batch) {
    static int last;
    *out = ++last;
    return n > 0 && type == 41 && batch == 1 ? 0 : 2;
}
int cufftDestroy(int plan) {
    return plan > 0 ? 0 : 1;
}
int ncclCommInitRank(void **out, int n, struct id id, int rank) {
    *out = id.bytes[127] == 'z' && rank < n ? malloc(16) : NULL;
    return *out ? 0 : 4;
}
int ncclCommInitAll(void **out, int n, const int *devices) {
    for (int i = 0; i < n; i++)
        out[i] = malloc(16);
    return 0;
}
int ncclCommDestroy(void *communicator) {
    free(communicator);
    return 0;
}
