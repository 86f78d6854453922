/* Any bytes: the import of pickles ends, in an error or with a snapshot that is sound, and never
 * makes more rows than the pickle has bytes. */
#include "fuzz/fuzz.h"

#include <heapsnap/snapshot.h>
#include <heapsnap/writer.h>
#include <stdlib.h>
#include <string.h>

#include "convert/import_torch.h"

struct bytes {
    uint8_t *data;
    size_t size, capacity;
};

static int keep(void *context, const void *data, size_t size) {
    struct bytes *const b = context;
    if (b->size + size > b->capacity) {
        b->capacity = 2 * (b->size + size);
        uint8_t *const more = realloc(b->data, b->capacity);
        if (!more)
            return SNAP_E_NOMEM;
        b->data = more;
    }
    memcpy(b->data + b->size, data, size);
    b->size += size;
    return 0;
}

static void check(const struct bytes *b, size_t size) {
    snap_snapshot *s;
    snap_error err = {0};
    if (snap_open_memory(&s, b->data, b->size, NULL, &err) != 0 ||
        snap_verify(s, NULL, NULL, &err) != 0)
        abort();
    if (snap_rows(s, SNAP_TABLE_NODE) + snap_rows(s, SNAP_TABLE_POOL) > size)
        abort();
    snap_close(s);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct bytes out = {0};
    snap_writer *w;
    snap_error err = {0};
    if (snap_writer_open_sink(&w, keep, &out, NULL, &err) != 0)
        abort();
    const int result = import_torch(w, data, size, "-", &err);
    snap_writer_close(w);
    if (result == 0)
        check(&out, size);
    else if (result == SNAP_E_ARG || result == SNAP_E_IO || !*err.message)
        abort();
    free(out.data);
    return 0;
}
