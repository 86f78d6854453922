/* Checks that concern more than one chunk, or that readers need not make. */
#include "base/err.h"
#include "codec/snapread.h"

int snap_verify(const snap_snapshot *s,
                int (*progress)(void *context, uint64_t done, uint64_t total), void *context,
                snap_error *err) {
    snap_batch b;
    int result = SNAP_OK;
    snap_batch_init(&b);
    for (uint32_t i = 0; i < s->n_chunks && !result; i++) {
        struct chunk_header h;
        const uint8_t *payload;
        const struct read_chunk *const c = &s->chunks[i];
        result = c->table == SNAP_N_TABLES ? read_chunk_header(s, c, &h, &payload, err)
                                           : read_chunk(s, c, ~0u, &b, err);
        if (!result && progress && progress(context, c->offset + c->stored_size, s->size))
            result = err_set(err, SNAP_E_CANCELED, "canceled");
    }
    snap_batch_release(&b);
    return result;
}
