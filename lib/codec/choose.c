/* The reference writer's choice of encodings. It depends on the rows of the chunk alone, and never
 * on what zstd makes of them, so that it is the same for every level and version of zstd. */
#include "codec/choose.h"

static unsigned fixed_encoding(snap_table table, unsigned column) {
#define FIXED(t, c) SNAP_TABLE_##t << 8 | SNAP_##t##_COL_##c
    switch ((unsigned)table << 8 | column) {
    case FIXED(MODS, START):
    case FIXED(STAK, PARENT):
    case FIXED(STAK, FRAME):
    case FIXED(SYMB, FRAME):
    case FIXED(NODE, ADDRESS):
    case FIXED(EDGE, SOURCE):
    case FIXED(REGN, ADDRESS):
    case FIXED(TOCC, OFFSET): return SNAP_ENC_DELTA;
    case FIXED(EDGE, TARGET):
    case FIXED(ROOT, TARGET): return SNAP_ENC_HUBS;
    default: return 0;
    }
#undef FIXED
}

static unsigned significant_bits(uint64_t v) {
    return v ? 64 - (unsigned)__builtin_clzll(v) : 0;
}

/* Starts of runs in (from, to], and the bits of the steps there. */
static size_t count_runs(const uint64_t *v, size_t from, size_t to, uint64_t *steps) {
    number_pair n_runs = {0}, bits = {0};
    size_t i = from + 1;
    for (; i + 1 <= to; i += 2) {
        const number_pair step = number_pair_get(v + i) - number_pair_get(v + i - 1);
        n_runs += (step | (0 - step)) >> 63; /* 1 for each that is not 0 */
        bits |= column_zigzag_pair(step);
    }
    *steps |= bits[0] | bits[1];
    if (i > to)
        return n_runs[0] + n_runs[1];
    *steps |= column_zigzag(v[i] - v[i - 1]);
    return n_runs[0] + n_runs[1] + (v[i] != v[i - 1]);
}

static int has_run_of(size_t length, const uint64_t *v, size_t n) {
    for (size_t i = 1, start = 0; i <= n; i++) {
        if (i < n && v[i] == v[i - 1])
            continue;
        if (i - start >= length)
            return 1;
        start = i;
    }
    return 0;
}

/* The one of PLANES and RUNS that is smaller before compression. Ends as soon as runs cannot be.
 * Lengths of runs, which are less than n, take two bytes if one is LONG or longer: it would hold a
 * whole step of half of that. */
static unsigned smaller_of_planes_and_runs(const uint64_t *v, size_t n) {
    enum { LONG = 256, STEP = LONG / 2 };
    uint64_t steps = column_zigzag(v[0]);
    size_t n_runs = 1;
    int may_be_long = 0;
    const size_t planes = n * column_width(numbers_bits(v, n));
    for (size_t i = 0; i + 1 < n; i += STEP) {
        const size_t n_new = count_runs(v, i, n - 1 - i < STEP ? n - 1 : i + STEP, &steps);
        may_be_long |= n_new == 0;
        n_runs += n_new;
        if (8 + n_runs * (column_width(steps) + 1) >= planes)
            return SNAP_ENC_PLANES;
    }
    const size_t if_long = 8 + n_runs * (column_width(steps) + 2);
    return if_long < planes || !may_be_long || !has_run_of(LONG, v, n) ? SNAP_ENC_RUNS
                                                                       : SNAP_ENC_PLANES;
}

/* DELTA, or KEYED where that leaves fewer significant bits in all. */
static struct choice delta_or_keyed(const uint64_t *v, const uint64_t *key, size_t n,
                                    unsigned key_column, uint64_t *last) {
    uint64_t delta_bits = 0, keyed_bits = 0, previous = 0;
    if (!key)
        return (struct choice){SNAP_ENC_DELTA, 0};
    column_clear_last(last, key, n);
    for (size_t i = 0; i < n; i++) {
        uint64_t *const slot = &last[key[i] % SNAP_KEYED_SLOTS];
        delta_bits += significant_bits(column_zigzag(v[i] - previous));
        keyed_bits += significant_bits(column_zigzag(v[i] - *slot));
        *slot = previous = v[i];
    }
    return keyed_bits < delta_bits ? (struct choice){SNAP_ENC_KEYED, key_column}
                                   : (struct choice){SNAP_ENC_DELTA, 0};
}

struct choice choose_encoding(snap_table table, unsigned column, const uint64_t *const *columns,
                              size_t n, uint64_t *last) {
    const uint64_t *const v = columns[column];
    if (!v)
        return (struct choice){0, 0};
    if (numbers_are_one(v, n))
        return (struct choice){v[0] ? SNAP_ENC_CONST : 0, 0};
    if (table == SNAP_TABLE_FRAM && column == SNAP_FRAM_COL_OFFSET)
        return (struct choice){SNAP_ENC_KEYED, SNAP_FRAM_COL_MODULE};
    if (table == SNAP_TABLE_NODE && column == SNAP_NODE_COL_BIRTH)
        return delta_or_keyed(v, columns[SNAP_NODE_COL_STACK], n, SNAP_NODE_COL_STACK, last);
    const unsigned encoding = fixed_encoding(table, column);
    return (struct choice){encoding ? encoding : smaller_of_planes_and_runs(v, n), 0};
}
