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
    uint32_t *order;     /* nodes in the order of the file; NULL: that of their ids */
    uint32_t *rank;      /* by node - 1: id in the file */
    uint64_t *columns[SNAP_COLUMNS_MAX];
    struct label *labels;    /* cache of the answers of heap->field */
    uint64_t *element_sizes; /* by type - 1 */
    int has_labels;          /* in the batch */
};

/* The row of STRS that a string of the heap has in the file. */
int output_string(struct output *o, uint32_t string, uint64_t *out, snap_error *err);

/* Writes TYPE, NODE, EDGE, ROOT and HOOK. */
int output_heap(struct output *o, void (*progress)(void *context), void *context, snap_error *err);
void output_release(struct output *o);

#endif
