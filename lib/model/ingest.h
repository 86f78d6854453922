/* The receiving end of the capture stream: from records (wire.h) to a .snap file. */
#ifndef HEAPSNAP_INGEST_H
#define HEAPSNAP_INGEST_H

#include <heapsnap/common.h>

struct ingest_options {
    void (*progress)(void *context); /* called often while there is progress; NULL: not */
    void *context;
    int no_symbols;        /* 1: addresses only */
    int64_t types_ns;      /* for types in one module; 0: a default, negative: none are read */
    uint64_t memory_bytes; /* more than that goes to an unlinked file beside the snapshot; 0: a
                              default */
};

/* Reads a whole stream from fd and writes the file that it asks for. *out_path (freed by the
 * caller) gets the name, which differs from the one asked for when that was taken and the stream
 * allows another. Errors: CORRUPT a stream that ends early or breaks its rules, and those of the
 * writer. On an error there is no file. */
int ingest(int fd, const struct ingest_options *options, char **out_path, snap_error *err);

#endif
