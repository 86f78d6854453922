/* Handles of NVIDIA's libraries, as the target makes and destroys them. */
#ifndef HEAPSNAP_HOOK_HANDLES_H
#define HEAPSNAP_HOOK_HANDLES_H

#include "capture/hook_cuda.h"

/* What dlsym returns for a name of such a function. */
struct hook_answer hook_handles_find(void *handle, const char *name, const void *caller)
    __attribute__((visibility("hidden")));

#endif
