/* Capture streams made by hand, for tests of the receiver. */
#ifndef HEAPSNAP_TEST_WIRE_STREAM_H
#define HEAPSNAP_TEST_WIRE_STREAM_H

#include "model/ingest.h"
#include "model/wire.h"
#include "support/sample.h"

struct wire_stream {
    struct bytes bytes;
    size_t section; /* where the open section starts */
    uint64_t n_blocks, block_bytes;
};

void wire_open(struct wire_stream *s, uint32_t kind);
void wire_put(struct wire_stream *s, const void *record, size_t size);
void wire_text(struct wire_stream *s, const char *text); /* behind a record, padded */
void wire_close(struct wire_stream *s);
void wire_section(struct wire_stream *s, uint32_t kind, const void *records, uint32_t n,
                  size_t size);

/* HELLO and TARGET. */
void wire_begin(struct wire_stream *s, uint32_t hello_flags, const char *path,
                uint32_t target_flags);
void wire_string(struct wire_stream *s, const char *text); /* a section of one */
void wire_block(struct wire_stream *s, uint64_t address, uint64_t size, uint32_t stack,
                uint32_t flags); /* in an open section; births are numbered */
void wire_vtable(struct wire_stream *s, uint64_t address, uint64_t type_info,
                 uint64_t type_info_vtable, int64_t offset_to_top, const char *name);
void wire_end(struct wire_stream *s);
void wire_release(struct wire_stream *s);

/* Gives the bytes to the receiver. */
int wire_ingest(const void *data, size_t size, const struct ingest_options *options,
                char **out_path, snap_error *err);

/* META to REGION of a process that has the calling program's image (numbered 1) and two threads.
 * Stacks 1 to 3 are of functions of no image. */
void wire_process(struct wire_stream *s);

/* The rest: every kind of section, each with good records. */
void wire_example(struct wire_stream *s);

/* Likewise, of objects only and WIRE_FINAL_LINKS references between them, with WIRE_FINAL or
 * without: what comes of it should be the same. */
#define WIRE_FINAL_LINKS 20000u
void wire_final_example(struct wire_stream *s, int is_final);

#endif
