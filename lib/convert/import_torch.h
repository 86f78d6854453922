/* The import of PyTorch's pickles into a writer of any kind. */
#ifndef HEAPSNAP_IMPORT_TORCH_H
#define HEAPSNAP_IMPORT_TORCH_H

#include <heapsnap/writer.h>

/* Writes what data holds, and finishes the writer. path: where it was read from, for its time. */
int import_torch(snap_writer *w, const void *data, size_t size, const char *path, snap_error *err);

#endif
