/* The reference writer's choice of encodings. It depends on the rows of the chunk alone, and never
 * on what zstd makes of them, so that it is the same for every level and version of zstd. */
#include "codec/choose.h"

static unsigned fixed_encoding(snap_table table, unsigned column) {
#define FIXED(t, c) SNAP_TABLE_##t << 8 | SNAP_##t##_COL_##c
    switch ((unsigned)table << 8 | column) {
    case FIXED(MODS, START):
    case FIXED(FRAM, OFFSET):
    case FIXED(STAK, PARENT):
    case FIXED(STAK, FRAME):
    case FIXED(SYMB, FRAME):
    case FIXED(NODE, ADDRESS):
    case FIXED(EDGE, SOURCE):
    case FIXED(REGN, ADDRESS):
    case FIXED(TOCC, OFFSET): return SNAP_ENC_DELTA;
    case FIXED(EDGE, TARGET):
    case FIXED(ROOT, TARGET): return SNAP_ENC_HUBS;
    case FIXED(NODE, BIRTH): return SNAP_ENC_KEYED;
    default: return 0;
    }
#undef FIXED
}

/* Bytes before compression of PLANES and of RUNS. */
static unsigned smaller_of_planes_and_runs(const uint64_t *v, size_t n) {
    uint64_t bits = v[0], steps = column_zigzag(v[0]), lengths = 0;
    size_t n_runs = 1, start = 0;
    for (size_t i = 1; i < n; i++) {
        bits |= v[i];
        if (v[i] != v[i - 1]) {
            steps |= column_zigzag(v[i] - v[i - 1]);
            lengths |= i - start;
            start = i;
            n_runs++;
        }
    }
    lengths |= n - start;
    const size_t runs = 8 + n_runs * (column_width(steps) + column_width(lengths));
    return runs < n * column_width(bits) ? SNAP_ENC_RUNS : SNAP_ENC_PLANES;
}

struct choice choose_encoding(snap_table table, unsigned column, const uint64_t *const *columns,
                              size_t n) {
    const uint64_t *const v = columns[column];
    if (!v)
        return (struct choice){0, 0};
    uint64_t other = 0;
    for (size_t i = 1; i < n; i++)
        other |= v[i] ^ v[0];
    if (!other)
        return (struct choice){v[0] ? SNAP_ENC_CONST : 0, 0};
    unsigned encoding = fixed_encoding(table, column);
    if (encoding == SNAP_ENC_KEYED)
        return (struct choice){encoding, SNAP_NODE_COL_STACK};
    if (!encoding)
        encoding = smaller_of_planes_and_runs(v, n);
    return (struct choice){encoding, 0};
}
