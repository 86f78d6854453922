/* The bytes of the capture stream. The stream comes from a process that may die at any byte or have
 * been damaged by the program it lived in: nothing is handed out that its section does not have,
 * and no size is allocated that a limit does not bound. Does not know what records mean. */
#include "model/stream.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/err.h"
#include "base/mem.h"

#define READ_SIZE ((size_t)1 << 20)

int stream_broken(snap_error *err, const char *what) {
    return err_set(err, SNAP_E_CORRUPT, "the capture stream is damaged: %s", what);
}

int stream_no_memory(snap_error *err) {
    return err_set(err, SNAP_E_NOMEM, "no memory to write the snapshot");
}

int stream_open(struct stream *s, int fd, snap_error *err) {
    s->fd = fd;
    s->capacity = READ_SIZE;
    s->buffer = mem_alloc(READ_SIZE, 1);
    return s->buffer ? 0 : stream_no_memory(err);
}

void stream_release(struct stream *s) {
    if (!s->is_spooled)
        free(s->buffer);
    s->buffer = NULL;
}

/* Reads once, behind what is there. 1: something came; 0: the end. */
static int fill(struct stream *s, snap_error *err) {
    ssize_t n;
    do
        n = read(s->fd, s->buffer + s->end, s->capacity - s->end);
    while (n < 0 && errno == EINTR);
    if (n < 0)
        return err_set(err, SNAP_E_IO, "cannot read the capture stream: %s", strerror(errno));
    s->end += (size_t)n;
    if (s->progress)
        s->progress(s->context);
    return n > 0;
}

int stream_spool(struct stream *s, struct heap *h, snap_error *err) {
    struct stream whole = *s;
    whole.buffer = NULL;
    whole.capacity = whole.start = 0;
    whole.end = s->end - s->start;
    if (heap_grow(h, &whole.buffer, &whole.capacity, whole.end + READ_SIZE, 1) < 0)
        return err_set(err, SNAP_E_NOMEM, "no memory to keep the capture stream");
    memcpy(whole.buffer, s->buffer + s->start, whole.end);
    free(s->buffer);
    *s = whole;
    s->is_spooled = 1;
    for (int more = 1; more;) {
        if (heap_grow(h, &s->buffer, &s->capacity, s->end + READ_SIZE, 1) < 0)
            return err_set(err, SNAP_E_NOMEM, "no memory to keep the capture stream");
        SNAP_TRY(more = fill(s, err));
    }
    return 0;
}

/* Makes the next `size` bytes lie in one piece. */
static int gather(struct stream *s, size_t size, snap_error *err) {
    if (s->end - s->start >= size)
        return 0;
    if (s->is_spooled)
        return err_set(err, SNAP_E_CORRUPT, "the capture stream ends early");
    memmove(s->buffer, s->buffer + s->start, s->end - s->start);
    s->end -= s->start;
    s->start = 0;
    if (mem_grow(&s->buffer, &s->capacity, size, 1) < 0)
        return stream_no_memory(err);
    while (s->end - s->start < size) {
        int more;
        SNAP_TRY(more = fill(s, err));
        if (!more)
            return err_set(err, SNAP_E_CORRUPT, "the copy of the process was killed");
    }
    return 0;
}

int stream_section(struct stream *s, struct wire_section *out, snap_error *err) {
    if (s->left != 0)
        return stream_broken(err, "a section longer than its records");
    SNAP_TRY(gather(s, sizeof *out, err));
    memcpy(out, s->buffer + s->start, sizeof *out);
    s->start += sizeof *out;
    if (out->bytes % 8 != 0)
        return stream_broken(err, "the size of a section");
    s->left = out->bytes;
    return 0;
}

int stream_take(struct stream *s, size_t size, const void **out, snap_error *err) {
    if (size > s->left || size > STREAM_TAKE_MAX)
        return stream_broken(err, "a section shorter than its records");
    SNAP_TRY(gather(s, size, err));
    *out = s->buffer + s->start;
    s->start += size;
    s->left -= size;
    return 0;
}

int stream_pad(struct stream *s, size_t size, snap_error *err) {
    const void *padding;
    return stream_take(s, -size & 7, &padding, err);
}

int stream_records(struct stream *s, size_t size, uint32_t most, const void **out, uint32_t *out_n,
                   snap_error *err) {
    SNAP_TRY(gather(s, size <= s->left ? size : 0, err));
    size_t n = (s->end - s->start) / size;
    n = n < most ? n : most;
    n = n * size <= STREAM_TAKE_MAX ? n : STREAM_TAKE_MAX / size;
    *out_n = (uint32_t)(n ? n : 1);
    return stream_take(s, *out_n * size, out, err);
}
