/* Which encoding the reference writer gives a column; the rule is written down in registry.md. */
#ifndef HEAPSNAP_CHOOSE_H
#define HEAPSNAP_CHOOSE_H

#include "codec/column.h"

struct choice {
    unsigned encoding; /* SNAP_ENC_*, 0: omit the column */
    unsigned key_column;
};

/* columns[c]: the n values of column id c, NULL: all 0. last: working memory,
 * SNAP_KEYED_SLOTS numbers. */
struct choice choose_encoding(snap_table table, unsigned column, const uint64_t *const *columns,
                              size_t n, uint64_t *last);

#endif
