/* Libraries that the loader has linked to the CUDA driver past us. */
#ifndef HEAPSNAP_REBIND_H
#define HEAPSNAP_REBIND_H

/* What dlopen returned, before the first name is looked up in it. The object and all that it needs
 * are relocated by then, and stay for as long as the caller holds the handle. */
void rebind_opened(void *handle) __attribute__((visibility("hidden")));

#endif
