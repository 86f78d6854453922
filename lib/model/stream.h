/* Reading the capture stream: sections, taken apart record by record. */
#ifndef HEAPSNAP_STREAM_H
#define HEAPSNAP_STREAM_H

#include "model/heap.h"
#include "model/wire.h"

struct stream {
    int fd;
    void (*progress)(void *context); /* called often while there is progress; may be NULL */
    void *context;
    char *buffer; /* of malloc; or all the rest of a spooled stream, the heap's */
    size_t capacity, start, end;
    int is_spooled;
    uint64_t left; /* bytes of the section that is being read */
};

int stream_open(struct stream *s, int fd, snap_error *err);
void stream_release(struct stream *s);

/* Takes the rest of the stream into memory of the heap. */
int stream_spool(struct stream *s, struct heap *h, snap_error *err);

/* Reads the head of the next section, whose bytes must all be taken before the next. */
int stream_section(struct stream *s, struct wire_section *out, snap_error *err);

/* The next `size` bytes of the section, at most STREAM_TAKE_MAX, aligned to 8 if those before were
 * multiples of 8; *out is good until the next call. CORRUPT if the section has fewer. */
#define STREAM_TAKE_MAX ((size_t)16 << 20)
int stream_take(struct stream *s, size_t size, const void **out, snap_error *err);

/* Skips padding after `size` bytes of text. */
int stream_pad(struct stream *s, size_t size, snap_error *err);

/* As many whole records of `size` bytes as lie ready, at least one and at most `most`, which the
 * section must have left. */
int stream_records(struct stream *s, size_t size, uint32_t most, const void **out, uint32_t *out_n,
                   snap_error *err);

/* CORRUPT, with what is damaged. */
int stream_broken(snap_error *err, const char *what);
int stream_no_memory(snap_error *err);

#endif
