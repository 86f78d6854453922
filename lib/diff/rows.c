/* A walk over a table, chunk by chunk.
 *
 * Invariant: rows come in the order of the file, and not after one that was refused. Does not look
 * at what they hold. */
#include "diff/rows.h"

int rows_each(const snap_snapshot *s, snap_table table, uint32_t columns, rows_take *take,
              void *context, snap_error *err) {
    const uint32_t n_chunks = snap_n_chunks(s, table);
    snap_batch batch;
    int result = 0;
    snap_batch_init(&batch);
    for (uint32_t chunk = 0; result == 0 && chunk < n_chunks; chunk++) {
        result = snap_batch_read(s, table, chunk, columns, &batch, err);
        for (uint32_t row = 0; result == 0 && row < batch.n_rows; row++)
            result = take(context, &batch, row, err);
    }
    snap_batch_release(&batch);
    return result;
}
