/* The rules between rows (snap-format.md, section 8.1), over a whole file, with every check of
 * single chunks on the way, in the order that section 10 gives for verifiers.
 *
 * Memory is bounded: 16 bytes per string and 32 per domain, within the snapshot's budget. */
#include "base/err.h"
#include "base/map.h"
#include "codec/snapread.h"

#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <xxhash.h>

/* More domains than SUMM can have rows for: such a file cannot be sound, so the rest of them is not
 * needed to refuse it. */
#define DOMAINS_MAX (2 * SNAP_CHUNK_ROWS_MAX)

struct domain_total {
    uint64_t domain, count, bytes;
    uint64_t summary_count, summary_bytes;
    int has_summary, has_nodes;
};

struct verifier {
    const snap_snapshot *s;
    snap_error *err;
    const struct read_chunk *chunk;
    snap_batch batch;
    uint64_t last_symbol[2], last_source, last_region;
    XXH128_hash_t *strings; /* hash table; both halves 0: free */
    size_t string_mask;
    uint64_t seed;
    struct map domain_map;
    struct domain_total *domains;
    size_t n_domains, domain_capacity;
};

static int broken(const struct verifier *v, const char *what) {
    return err_set_at(v->err, SNAP_E_CORRUPT, v->chunk->id, v->chunk->offset,
                      "%s chunk at offset %llu: %s", chunk_name(v->chunk->id).text,
                      (unsigned long long)v->chunk->offset, what);
}

static int no_memory(const struct verifier *v) {
    return err_set(v->err, SNAP_E_NOMEM, "no memory to verify the snapshot");
}

static struct domain_total *total_of(struct verifier *v, uint64_t domain, int *out_result) {
    uint32_t *slot = NULL;
    *out_result = SNAP_OK;
    if (v->n_domains >= DOMAINS_MAX) {
        const uint32_t known = map_get(&v->domain_map, domain);
        return known ? &v->domains[known - 1] : NULL;
    }
    if (!(slot = map_slot(&v->domain_map, domain)) ||
        (!*slot &&
         mem_grow(&v->domains, &v->domain_capacity, v->n_domains + 1, sizeof *v->domains) < 0)) {
        *out_result = no_memory(v);
        return NULL;
    }
    if (!*slot) {
        v->domains[v->n_domains] = (struct domain_total){.domain = domain};
        *slot = (uint32_t)++v->n_domains;
    }
    return &v->domains[*slot - 1];
}

static int check_nodes(struct verifier *v) {
    const uint64_t *const domain = v->batch.column[SNAP_NODE_COL_DOMAIN];
    const uint64_t *const kind = v->batch.column[SNAP_NODE_COL_KIND];
    const uint64_t *const size = v->batch.column[SNAP_NODE_COL_SIZE];
    const uint64_t *const external = v->batch.column[SNAP_NODE_COL_EXTERNAL];
    struct domain_total *total = NULL;
    for (uint32_t i = 0; i < v->batch.n_rows; i++) {
        if (!total || total->domain != domain[i]) {
            int result;
            total = total_of(v, domain[i], &result);
            if (result < 0)
                return result;
            if (!total)
                continue;
            total->has_nodes = 1;
        }
        if (!SNAP_NODE_IS_COUNTED(kind[i]))
            continue;
        total->count++;
        total->bytes += size[i] + external[i];
    }
    return SNAP_OK;
}

static int check_symbols(struct verifier *v) {
    const uint64_t *const frame = v->batch.column[SNAP_SYMB_COL_FRAME];
    const uint64_t *const depth = v->batch.column[SNAP_SYMB_COL_DEPTH];
    for (uint32_t i = 0; i < v->batch.n_rows; i++) {
        const int is_first = v->batch.first_id + i == 1;
        if (!is_first && (frame[i] < v->last_symbol[0] ||
                          (frame[i] == v->last_symbol[0] && depth[i] <= v->last_symbol[1])))
            return broken(v, "its rows are not in the order of frames and depths");
        v->last_symbol[0] = frame[i];
        v->last_symbol[1] = depth[i];
    }
    return SNAP_OK;
}

static int check_ascending(struct verifier *v, unsigned column, uint64_t *last) {
    const uint64_t *const value = v->batch.column[column];
    for (uint32_t i = 0; i < v->batch.n_rows; i++) {
        if (value[i] < *last)
            return broken(v, "its rows are not in order");
        *last = value[i];
    }
    return SNAP_OK;
}

/* Compares hashes of 128 bits under a key of this run: the maker of a file can neither make two
 * strings look equal nor make many of them share a place. */
static int check_strings(struct verifier *v) {
    for (uint32_t i = 0; i < v->batch.n_rows; i++) {
        size_t length;
        const char *const text = snap_batch_bytes(&v->batch, SNAP_STRS_COL_TEXT, i, &length);
        if (!length)
            return broken(v, "an empty string");
        XXH128_hash_t hash = XXH3_128bits_withSeed(text, length, v->seed);
        hash.high64 |= 1; /* never the mark of a free place */
        size_t at = hash.low64 & v->string_mask;
        for (; v->strings[at].high64; at = (at + 1) & v->string_mask)
            if (v->strings[at].low64 == hash.low64 && v->strings[at].high64 == hash.high64)
                return broken(v, "a string occurs twice");
        v->strings[at] = hash;
    }
    return SNAP_OK;
}

static int make_string_table(struct verifier *v) {
    const uint64_t n = v->s->n_rows[SNAP_TABLE_STRS];
    uint64_t size = 16;
    if (!n)
        return SNAP_OK;
    while (size < n + n / 2)
        size *= 2;
    if (size > v->s->max_memory_bytes / sizeof *v->strings)
        return err_set(v->err, SNAP_E_LIMIT,
                       "the snapshot needs more than the memory budget of %llu bytes",
                       (unsigned long long)v->s->max_memory_bytes);
    v->strings = mem_zalloc((size_t)size, sizeof *v->strings);
    v->string_mask = (size_t)size - 1;
    return v->strings ? SNAP_OK : no_memory(v);
}

static int compare_summary(const snap_batch *b, uint32_t i, uint32_t k) {
    static const struct {
        unsigned column;
        int is_descending;
    } order[] = {{SNAP_SUMM_COL_KIND, 0},  {SNAP_SUMM_COL_DOMAIN, 0}, {SNAP_SUMM_COL_BYTES, 1},
                 {SNAP_SUMM_COL_COUNT, 1}, {SNAP_SUMM_COL_KEY, 0},    {SNAP_SUMM_COL_KEY2, 0}};
    for (size_t c = 0; c < sizeof order / sizeof *order; c++) {
        const uint64_t x = b->column[order[c].column][i], y = b->column[order[c].column][k];
        if (x != y)
            return (x < y) != order[c].is_descending ? -1 : 1;
    }
    return 0;
}

static int check_summary(struct verifier *v) {
    const snap_batch *const b = &v->batch;
    for (uint32_t i = 0; i < b->n_rows; i++) {
        if (i && compare_summary(b, i - 1, i) > 0)
            return broken(v, "its rows are not sorted");
        if (b->column[SNAP_SUMM_COL_KIND][i] != SNAP_SUMM_TOTAL)
            continue;
        int result;
        struct domain_total *const total = total_of(v, b->column[SNAP_SUMM_COL_DOMAIN][i], &result);
        if (result < 0)
            return result;
        if (!total)
            continue;
        if (total->has_summary)
            return broken(v, "a domain has two totals");
        total->has_summary = 1;
        total->summary_count = b->column[SNAP_SUMM_COL_COUNT][i];
        total->summary_bytes = b->column[SNAP_SUMM_COL_BYTES][i];
    }
    for (size_t i = 0; i < v->n_domains; i++) {
        const struct domain_total *const t = &v->domains[i];
        if (!t->has_summary || t->count != t->summary_count || t->bytes != t->summary_bytes)
            return broken(v, "a total is not that of the nodes");
    }
    return v->n_domains < DOMAINS_MAX ? SNAP_OK : broken(v, "more domains than totals");
}

static int check_chunk(struct verifier *v) {
    struct chunk_header h;
    const uint8_t *payload;
    if (v->chunk->table == SNAP_N_TABLES)
        return read_chunk_header(v->s, v->chunk, &h, &payload, v->err);
    SNAP_TRY(read_chunk(v->s, v->chunk, ~0u, &v->batch, v->err));
    switch (v->chunk->table) {
    case SNAP_TABLE_STRS: return check_strings(v);
    case SNAP_TABLE_SYMB: return check_symbols(v);
    case SNAP_TABLE_EDGE: return check_ascending(v, SNAP_EDGE_COL_SOURCE, &v->last_source);
    case SNAP_TABLE_REGN: return check_ascending(v, SNAP_REGN_COL_ADDRESS, &v->last_region);
    case SNAP_TABLE_NODE: return check_nodes(v);
    case SNAP_TABLE_SUMM: return check_summary(v);
    default: return SNAP_OK; /* META is checked when a file is opened */
    }
}

int snap_verify(const snap_snapshot *s,
                int (*progress)(void *context, uint64_t done, uint64_t total), void *context,
                snap_error *err) {
    struct verifier v = {.s = s, .err = err};
    snap_batch_init(&v.batch);
    if (getrandom(&v.seed, sizeof v.seed, GRND_NONBLOCK) != sizeof v.seed)
        v.seed = (uint64_t)(uintptr_t)&v;
    int result = make_string_table(&v);
    for (uint32_t i = 0; i < s->n_chunks && !result; i++) {
        v.chunk = &s->chunks[i];
        result = check_chunk(&v);
        if (!result && progress &&
            progress(context, v.chunk->offset + SNAP_CHUNK_HEADER_SIZE + v.chunk->stored_size,
                     s->size))
            result = err_set(err, SNAP_E_CANCELED, "canceled");
    }
    snap_batch_release(&v.batch);
    map_release(&v.domain_map);
    free(v.strings);
    free(v.domains);
    return result;
}
