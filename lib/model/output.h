/* From the heap to rows of a file. */
#ifndef HEAPSNAP_OUTPUT_H
#define HEAPSNAP_OUTPUT_H

#include <heapsnap/writer.h>

#include "model/heap.h"

struct output {
    snap_writer *writer;
    struct heap *heap;
    uint32_t *string_rows; /* by string - 1: row of STRS, once used */
    size_t strings_capacity;
    uint32_t *type_rows; /* by type - 1 */
    size_t types_capacity;
    uint32_t *order; /* nodes in the order of the file; NULL: that of their ids */
    uint32_t *rank;  /* by node - 1: id in the file */
    uint64_t *columns[SNAP_COLUMNS_MAX];
    snap_table columns_table; /* of output_begin */
    struct label *labels;     /* cache of the answers of heap->field */
    uint64_t *element_sizes;  /* by type - 1 */
    int has_labels;           /* in the batch */
};

/* The row of STRS that a string of the heap has in the file. */
int output_string(struct output *o, uint32_t string, uint64_t *out, snap_error *err);

/* For rows that are written as they come: what the heap has of those tables is written after them,
 * and a heap that has nodes or references itself is not for this. */
#define OUTPUT_BATCH_ROWS 4096u /* stays in a cache until the writer takes it */
/* Makes o->columns those of NODE or EDGE, for a batch, if they are not. */
int output_begin(struct output *o, snap_table table, snap_error *err);
/* Writes n rows of them; columns in `unused` (bits) are 0. */
int output_rows(struct output *o, snap_table table, size_t n, uint32_t unused, snap_error *err);
/* The row of a type of the heap, which gets one if it has none. */
int output_type(struct output *o, uint32_t type, uint64_t *out, snap_error *err);

/* Writes TYPE, NODE, EDGE, ROOT and HOOK. */
int output_heap(struct output *o, void (*progress)(void *context), void *context, snap_error *err);
void output_release(struct output *o);

#endif
