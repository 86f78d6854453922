/* A snapshot of the calling process without a recorder: what /proc says. */
#ifndef HEAPSNAP_UNTRACKED_H
#define HEAPSNAP_UNTRACKED_H

#include <heapsnap/common.h>

struct untracked_counter {
    const char *name;
    int64_t value;
};

struct untracked {
    const char *path;
    const char *label; /* NULL: none */
    int64_t step;
    int has_step, overwrite;
    const char *lineage; /* 32 hexadecimal digits */
    uint64_t sequence;
    int64_t rank; /* -1: unknown */
    const struct untracked_counter *counters;
    size_t n_counters;
};

/* Writes the file: metadata, process counters, modules, threads, mappings; no nodes. */
int untracked_write(const struct untracked *u, snap_error *err);

#endif
