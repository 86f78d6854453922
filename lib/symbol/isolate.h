/* Work on untrusted files in a process of its own. */
#ifndef HEAPSNAP_SYMBOL_ISOLATE_H
#define HEAPSNAP_SYMBOL_ISOLATE_H

#include "symbol/dwarf.h"

/* Like dwarf_lookup, in a forked child with limits on time, memory and output; whatever happens to
 * the child, the caller gets what it had said before. Each index is emitted at most once. Returns 1
 * if the child ended well. */
int isolate_dwarf_lookup(const struct dwarf_request *request, dwarf_emit *emit, void *context);

/* Work that writes its answer to fd. Its result is not looked at: the answer has to say itself
 * whether it is whole. */
typedef int isolate_work(void *context, int fd);
struct isolate_limits {
    uint64_t deadline_ns;  /* CLOCK_MONOTONIC */
    uint64_t memory_bytes; /* of address space, beyond what there is */
    uint64_t output_bytes;
};

/* Runs work in a forked child and takes what it writes; whatever happens to the child. *out:
 * malloc, at least a byte. 0, or SNAP_E_NOMEM. */
int isolate_run(isolate_work *work, void *context, const struct isolate_limits *limits,
                uint8_t **out, size_t *out_size);

#endif
