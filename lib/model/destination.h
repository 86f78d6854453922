/* Where a snapshot goes, and what it says about itself. */
#ifndef HEAPSNAP_DESTINATION_H
#define HEAPSNAP_DESTINATION_H

#include <heapsnap/writer.h>

#include "model/stream.h"

struct destination {
    struct wire_target target;
    char *path;    /* as asked for; the final one after destination_commit */
    char *partial; /* written under this name first; NULL: under its own */
};

/* Reads the WIRE_TARGET section. */
int destination_read(struct destination *d, struct stream *in, snap_error *err);
char *destination_directory(const struct destination *d); /* of malloc; NULL: no memory */
int destination_open(struct destination *d, snap_writer **out, snap_error *err);

/* Reads the n records of the WIRE_META section into a file. */
int destination_meta(struct stream *in, uint32_t n, snap_writer *w, snap_error *err);

/* Gives a finished file its name. */
int destination_commit(struct destination *d, snap_error *err);
void destination_release(struct destination *d); /* removes a file without a name */

#endif
