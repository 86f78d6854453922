/* What the preloaded recorder offers to the library in the same process (take.c finds it by name).
 * Both are of one version; struct_size says so. */
#ifndef HEAPSNAP_PRELOAD_H
#define HEAPSNAP_PRELOAD_H

#include <stddef.h>
#include <stdint.h>

struct preload_counter {
    const char *name;
    int64_t value;
};

struct preload_take {
    size_t struct_size;
    const char *path;  /* a pattern; NULL: that of the run */
    const char *label; /* NULL: none */
    int64_t step;
    int has_step, overwrite, no_fork, no_edges;
    const struct preload_counter *counters;
    size_t n_counters;
    int64_t rank;
    int has_rank;
    void (*copied)(void *context); /* called once, as soon as the program may go on; NULL: nobody */
    void *copied_context;
};

/* Takes a snapshot of the calling process and waits until the file is complete. 0, or SNAP_E_* with
 * the reason in message. Not for signal handlers. */
#define PRELOAD_TAKE_NAME "heapsnap_preload_take"
int heapsnap_preload_take(const struct preload_take *take, char *message, size_t message_size);
typedef int (*preload_take_fn)(const struct preload_take *take, char *message, size_t message_size);

/* --- between the recorder's own parts --- */

/* Around exec: the control signal is ignored, files in the making are complete. Both do nothing in
 * a child of vfork. */
void preload_before_exec(void);
void preload_exec_failed(void);
void exec_init(void);

#endif
