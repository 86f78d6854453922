/* The positions in Python functions that stacks name, as sections of the capture stream. */
#ifndef HEAPSNAP_PYTHON_SEND_H
#define HEAPSNAP_PYTHON_SEND_H

#include <stddef.h>
#include <stdint.h>

struct python_send {
    void *context;
    int (*put)(void *context, uint32_t kind, uint32_t n, const void *data, size_t bytes);
    uint32_t n_strings, n_frames; /* ids given out; counted on */

    uint32_t *strings; /* by serial: of the file, then of the function; 0: not sent */
    struct python_sent *sent;
    size_t strings_bytes, sent_bytes;
    uint64_t mask;
};

/* Room for so many positions. 0, or -ENOMEM. */
int python_send_open(struct python_send *s, uint32_t n_positions);
/* The managed frame of a position, which is sent before if it is new: its id; 0: it has none. */
uint32_t python_send_position(struct python_send *s, uint64_t position, int *error);
void python_send_close(struct python_send *s);

#endif
