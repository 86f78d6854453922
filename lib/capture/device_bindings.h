/* Calls of the CUDA driver that go past the recorder, found by what the loader has bound. */
#ifndef HEAPSNAP_DEVICE_BINDINGS_H
#define HEAPSNAP_DEVICE_BINDINGS_H

#include <stdint.h>

/* How many functions of the driver libraries are bound to in place of ours, and drivers in
 * namespaces of their own (dlmopen). In a copy, or where the loader changes nothing meanwhile. */
uint64_t device_bindings_unseen(void) __attribute__((visibility("hidden")));

#endif
