/* All rows of a table of a snapshot, one after the other. */
#ifndef HEAPSNAP_DIFF_ROWS_H
#define HEAPSNAP_DIFF_ROWS_H

#include <heapsnap/snapshot.h>

/* Takes row `row` of a batch, whose columns are those asked for. A negative result ends the walk
 * and is that of rows_each(). */
typedef int rows_take(void *context, const snap_batch *batch, uint32_t row, snap_error *err);

/* columns: bit c asks for column id c. Decodes one chunk at a time. */
int rows_each(const snap_snapshot *s, snap_table table, uint32_t columns, rows_take *take,
              void *context, snap_error *err);

#endif
