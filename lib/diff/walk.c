/* NODE rows in the order (domain, address, birth), from chunks or from a sorted copy.
 *
 * Invariant: memory is one decoded chunk per cursor as long as files keep the order that the format
 * asks for. The order is checked, not trusted: a part checks that its rows ascend and stay within
 * its bounds, so that all parts together prove the order of the whole. Does not interpret rows. */
#include "diff/walk.h"

#include "base/err.h"
#include "base/mem.h"

#include <stdlib.h>
#include <string.h>

#define BLOCK_ROWS SNAP_CHUNK_ROWS_MAX

static const unsigned char column_of[WALK_N_COLUMNS] = {
    [WALK_DOMAIN] = SNAP_NODE_COL_DOMAIN,     [WALK_KIND] = SNAP_NODE_COL_KIND,
    [WALK_ADDRESS] = SNAP_NODE_COL_ADDRESS,   [WALK_SIZE] = SNAP_NODE_COL_SIZE,
    [WALK_TYPE] = SNAP_NODE_COL_TYPE,         [WALK_STACK] = SNAP_NODE_COL_STACK,
    [WALK_BIRTH] = SNAP_NODE_COL_BIRTH,       [WALK_FLAGS] = SNAP_NODE_COL_FLAGS,
    [WALK_EXTERNAL] = SNAP_NODE_COL_EXTERNAL,
};
#define KEY_COLUMNS (1u << SNAP_NODE_COL_DOMAIN | 1u << SNAP_NODE_COL_ADDRESS)

static uint32_t all_columns(void) {
    uint32_t columns = 0;
    for (int i = 0; i < WALK_N_COLUMNS; i++)
        columns |= 1u << column_of[i];
    return columns;
}

int source_init(struct source *s, const snap_snapshot *snapshot, snap_error *err) {
    *s = (struct source){.snapshot = snapshot,
                         .n_blocks = snap_n_chunks(snapshot, SNAP_TABLE_NODE),
                         .n_rows = snap_rows(snapshot, SNAP_TABLE_NODE)};
    uint64_t unsorted;
    if (snap_meta_number(snapshot, SNAP_META_UNSORTED, NULL, &unsorted) && unsorted != 0)
        return source_sort(s, err);
    return 0;
}

void source_release(struct source *s) {
    free(s->sorted);
    memset(s, 0, sizeof *s);
}

struct sort_key {
    uint64_t domain, address, birth, row;
};

static int compare_sort_keys(const void *a, const void *b) {
    const struct sort_key *const x = a, *const y = b;
    if (x->domain != y->domain)
        return x->domain < y->domain ? -1 : 1;
    if (x->address != y->address)
        return x->address < y->address ? -1 : 1;
    if (x->birth != y->birth)
        return x->birth < y->birth ? -1 : 1;
    return x->row < y->row ? -1 : x->row > y->row;
}

static int read_all(const struct source *s, uint64_t *rows, snap_error *err) {
    snap_batch batch;
    snap_batch_init(&batch);
    uint64_t at = 0;
    int result = 0;
    for (uint32_t block = 0; block < s->n_blocks && result == 0; block++) {
        result = snap_batch_read(s->snapshot, SNAP_TABLE_NODE, block, all_columns(), &batch, err);
        if (result < 0)
            break;
        if (batch.n_rows > s->n_rows - at) {
            result = err_set(err, SNAP_E_CORRUPT, "more blocks than the table of contents says");
            break;
        }
        for (int i = 0; i < WALK_N_COLUMNS; i++)
            memcpy(rows + (uint64_t)i * s->n_rows + at, batch.column[column_of[i]],
                   batch.n_rows * sizeof *rows);
        at += batch.n_rows;
    }
    if (result == 0 && at != s->n_rows)
        result = err_set(err, SNAP_E_CORRUPT, "fewer blocks than the table of contents says");
    snap_batch_release(&batch);
    return result;
}

int source_sort(struct source *s, snap_error *err) {
    if (s->n_rows == 0)
        return 0;
    const size_t n = (size_t)s->n_rows;
    uint64_t *const rows = mem_alloc(n, WALK_N_COLUMNS * sizeof *rows);
    struct sort_key *const keys = mem_alloc(n, sizeof *keys);
    uint64_t *const moved = mem_alloc(n, sizeof *moved);
    int result = 0;
    if (rows == NULL || keys == NULL || moved == NULL)
        result = err_set(err, SNAP_E_NOMEM, "no memory to sort %llu blocks", (unsigned long long)n);
    if (result == 0)
        result = read_all(s, rows, err);
    if (result == 0) {
        for (size_t i = 0; i < n; i++)
            keys[i] = (struct sort_key){rows[WALK_DOMAIN * n + i], rows[WALK_ADDRESS * n + i],
                                        rows[WALK_BIRTH * n + i], i};
        qsort(keys, n, sizeof *keys, compare_sort_keys);
        for (size_t c = 0; c < WALK_N_COLUMNS; c++) {
            for (size_t i = 0; i < n; i++)
                moved[i] = rows[c * n + keys[i].row];
            memcpy(rows + c * n, moved, n * sizeof *rows);
        }
        s->sorted = rows;
        s->n_blocks = (uint32_t)((n + BLOCK_ROWS - 1) / BLOCK_ROWS);
    } else {
        free(rows);
    }
    free(keys);
    free(moved);
    return result;
}

/* Rows of a block; *out gets the columns asked for. */
static int load_block(const struct source *s, uint32_t block, uint32_t columns, snap_batch *batch,
                      const uint64_t **out, uint32_t *out_n, snap_error *err) {
    if (s->sorted != NULL) {
        const uint64_t first = (uint64_t)block * BLOCK_ROWS;
        const uint64_t left = s->n_rows - first;
        for (int i = 0; i < WALK_N_COLUMNS; i++)
            out[i] = s->sorted + (uint64_t)i * s->n_rows + first;
        *out_n = left < BLOCK_ROWS ? (uint32_t)left : BLOCK_ROWS;
        return 0;
    }
    SNAP_TRY(snap_batch_read(s->snapshot, SNAP_TABLE_NODE, block, columns, batch, err));
    for (int i = 0; i < WALK_N_COLUMNS; i++)
        out[i] = batch->column[column_of[i]];
    *out_n = batch->n_rows;
    return 0;
}

static struct walk_key key_at(const uint64_t *const *column, uint32_t row) {
    return (struct walk_key){column[WALK_DOMAIN][row], column[WALK_ADDRESS][row]};
}

int source_first_key(const struct source *s, uint32_t block, struct walk_key *out,
                     snap_error *err) {
    snap_batch batch;
    snap_batch_init(&batch);
    const uint64_t *column[WALK_N_COLUMNS];
    uint32_t n = 0;
    const int result = load_block(s, block, KEY_COLUMNS, &batch, column, &n, err);
    if (result == 0)
        *out = key_at(column, 0);
    snap_batch_release(&batch);
    return result;
}

int source_find(const struct source *s, struct walk_key key, struct walk_position *out,
                snap_error *err) {
    /* Blocks [0, low) start below the key, blocks [high, n) do not. */
    uint32_t low = 0, high = s->n_blocks;
    while (low < high) {
        const uint32_t middle = low + (high - low) / 2;
        struct walk_key first = {0};
        SNAP_TRY(source_first_key(s, middle, &first, err));
        if (walk_key_compare(first, key) < 0)
            low = middle + 1;
        else
            high = middle;
    }
    if (low == 0) {
        *out = (struct walk_position){0, 0};
        return 0;
    }
    snap_batch batch;
    snap_batch_init(&batch);
    const uint64_t *column[WALK_N_COLUMNS];
    uint32_t n = 0;
    const int result = load_block(s, low - 1, KEY_COLUMNS, &batch, column, &n, err);
    if (result == 0) {
        uint32_t first = 0, last = n;
        while (first < last) {
            const uint32_t middle = first + (last - first) / 2;
            if (walk_key_compare(key_at(column, middle), key) < 0)
                first = middle + 1;
            else
                last = middle;
        }
        *out = first < n ? (struct walk_position){low - 1, first} : (struct walk_position){low, 0};
    }
    snap_batch_release(&batch);
    return result;
}

void cursor_init(struct cursor *c, const struct source *source, const struct walk_range *range,
                 int check_order) {
    memset(c, 0, sizeof *c);
    c->source = source;
    c->range = *range;
    c->next_block = range->from.block;
    c->check_order = check_order && source->sorted == NULL;
    snap_batch_init(&c->batch);
}

void cursor_release(struct cursor *c) {
    snap_batch_release(&c->batch);
}

/* Whether the rows [row, n) just loaded go on from the last ones and stay in bounds. */
static int is_in_order(struct cursor *c) {
    const uint64_t *const domain = c->column[WALK_DOMAIN], *const address = c->column[WALK_ADDRESS];
    const uint64_t *const birth = c->column[WALK_BIRTH];
    const struct walk_key first = key_at(c->column, c->row), last = key_at(c->column, c->n - 1);
    if (c->range.has_low && walk_key_compare(first, c->range.low) < 0)
        return 0;
    if (c->range.has_high && walk_key_compare(last, c->range.high) >= 0)
        return 0;
    if (c->is_open) {
        const int order = walk_key_compare(c->last, first);
        if (order > 0 || (order == 0 && birth[c->row] < c->last_birth))
            return 0;
    }
    for (uint32_t i = c->row + 1; i < c->n; i++) {
        if (domain[i] == domain[i - 1] && address[i] > address[i - 1])
            continue;
        if (domain[i] < domain[i - 1] || (domain[i] == domain[i - 1] &&
                                          (address[i] < address[i - 1] || birth[i] < birth[i - 1])))
            return 0;
    }
    c->last = last;
    c->last_birth = birth[c->n - 1];
    return 1;
}

int walk_load(struct cursor *c, snap_error *err) {
    const struct walk_position to = c->range.to;
    const uint32_t block = c->next_block;
    if (block > to.block || (block == to.block && to.row == 0) || block >= c->source->n_blocks) {
        c->row = c->n = 0;
        return WALK_END;
    }
    SNAP_TRY(load_block(c->source, block, all_columns(), &c->batch, c->column, &c->n, err));
    c->next_block++;
    c->row = block == c->range.from.block ? c->range.from.row : 0;
    if (block == to.block && to.row < c->n)
        c->n = to.row;
    if (c->row >= c->n) { /* two bounds in one block */
        c->row = c->n = 0;
        return WALK_END;
    }
    if (c->check_order && !is_in_order(c))
        return WALK_UNSORTED;
    c->is_open = 1;
    return 0;
}
