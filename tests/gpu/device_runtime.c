/* NVIDIA's own runtime, linked to this program as it is to most: it asks the driver for its
 * functions before anything else, and must be handed the recorder's in place of every one that the
 * recorder knows. The runtime then finds that this driver is not NVIDIA's and refuses, which is all
 * right: what is tested has happened by then. */
#include <stddef.h>

#include "asked.h"

int cudaFree(void *address);
int cudaMalloc(void **out, size_t size);

int main(void) {
    void *p;
    cudaFree(NULL);
    cudaMalloc(&p, 1000);
    return asked_compare();
}
