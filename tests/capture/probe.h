/* What the recorder of the tests shows of itself to the program that it is loaded into. */
#ifndef HEAPSNAP_TEST_PROBE_H
#define HEAPSNAP_TEST_PROBE_H

#include "capture/recorder.h"

#ifdef __cplusplus
extern "C" {
#endif

struct probe {
    /* The record of a live block or of the region with an address; 0 if there is none. */
    int (*block)(const void *address, struct recorder_block *out);
    int (*region)(const void *address, struct recorder_region *out);
    void (*counts)(struct recorder_counts *out);
    int (*freeze)(uint64_t deadline_ns);
    void (*thaw)(void);
    uint64_t (*birth_mark)(void);
    void (*before_fork)(void);
    void (*after_fork_parent)(void);
    void (*after_fork_child)(void);
    void (*mute)(int on);
    struct recorder_stack (*stack)(uint32_t id);
    const char *(*allocator)(int *foreign);
};

/* Looked up by dlsym. */
extern const struct probe heapsnap_probe;

#ifdef __cplusplus
}
#endif

#endif
