/* No device memory: nothing is hooked. */
#include "capture/hook_cuda.h"
#include "capture/hook_nvtx.h"

#include <stddef.h>

bool hook_cuda_has(const char *symbol) {
    (void)symbol;
    return false;
}

bool hook_dlsym_start(void) {
    return true;
}

void hook_cuda_sample(bool now) {
    (void)now;
}

struct hook_cuda_counts hook_cuda_counts(void) {
    return (struct hook_cuda_counts){0};
}

bool hook_cuda_device(uint32_t device, char *out, size_t size) {
    (void)device, (void)out, (void)size;
    return false;
}

void hook_cuda_after_fork_child(void) {}

void hook_nvtx_start(void) {}
void hook_nvtx_after_fork_child(void) {}
