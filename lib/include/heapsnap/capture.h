/* Taking a snapshot of the calling process.
 *
 * In a process started by `snap run` this asks the recorder, which knows every block and its stack.
 * In any other process it still writes a file, with fewer facts: counters, modules, mappings. Safe
 * to call from any thread, not from a signal handler. */
#ifndef HEAPSNAP_CAPTURE_H
#define HEAPSNAP_CAPTURE_H

#include <heapsnap/common.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct snap_counter {
    const char *name;
    int64_t value;
} snap_counter;

typedef struct snap_take_options {
    size_t struct_size; /* sizeof(snap_take_options); 0 is taken for the version at hand */
    const char *label;  /* NULL: none */
    int64_t step;       /* used if has_step */
    int has_step;
    int overwrite;                /* 1: replace an existing file */
    int no_fork;                  /* 1: read in place instead of from a forked copy */
    const snap_counter *counters; /* n_counters of them, such as {"samples", 1024} */
    size_t n_counters;
    int64_t rank; /* in a parallel job, used if has_rank; else that of the environment */
    int has_rank;
    int no_edges; /* 1: blocks only, without what refers to them */
} snap_take_options;

/* Writes a snapshot and returns when the file is complete. path may hold %p (pid), %n (sequence),
 * %r (rank), %%; NULL: the pattern given to `snap run`, else "heapsnap.%p.%n.snap". Errors: IO
 * (with the reason), NOMEM, ARG, LIMIT. A failure leaves the program as it was. */
SNAP_API int snap_take(const char *path, const snap_take_options *options, snap_error *err);

/* 1 if a recorder runs in this process. */
SNAP_API int snap_is_tracked(void);

typedef struct snap_process_options {
    size_t struct_size; /* sizeof(snap_process_options) */
    const char *label;  /* NULL: none */
    int64_t step;       /* used if has_step */
    int has_step;
    int overwrite;       /* 1: replace an existing file */
    int no_fork;         /* 1: read in place */
    uint32_t trigger;    /* SNAP_TRIGGER_*; 0: SNAP_TRIGGER_TAKE */
    int no_wait;         /* 1: return when the process runs on, before the file is complete */
    uint64_t timeout_ns; /* without an answer or progress; 0: 30 s */
    int no_edges;        /* 1: blocks only, without what refers to them */
} snap_process_options;

/* Asks a tracked process of the same user for a snapshot; the process itself writes it, in its own
 * view of the file system. path as for snap_take; a relative one is relative to the process's
 * directory. out_path (out_size bytes, may be NULL) gets the file's name, "" with no_wait. Errors:
 * NOTFOUND no such process, or not tracked; IO another user's, or the process could not write;
 * LIMIT it is busy with another snapshot or does not answer in time; NOMEM, ARG. */
SNAP_API int snap_take_process(long pid, const char *path, const snap_process_options *options,
                               char *out_path, size_t out_size, snap_error *err);

#ifdef __cplusplus
}
#endif
#endif
