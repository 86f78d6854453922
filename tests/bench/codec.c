/* Writes and reads a file of 4 million native blocks and one of references, and prints sizes and
 * times: `codec [BLOCKS [EDGES]]`. Addresses are as glibc gives them out, stacks as skewed as those
 * of programs are, births in the order of addresses but for local disorder. Each figure is the best
 * of three. */
#include "support/sample.h"

#include "codec/column.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { N_STACKS = 10000, ROUNDS = 3 };

static snap_error err;

static void check(int result) {
    if (result < 0) {
        fprintf(stderr, "codec: %s: %s\n", snap_error_name(result), err.message);
        exit(2);
    }
}

static double seconds(void) {
    struct timespec t;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static uint64_t *numbers(size_t n) {
    uint64_t *const v = calloc(n ? n : 1, sizeof *v);
    if (!v)
        abort();
    return v;
}

static uint64_t *blocks[SNAP_COLUMNS_MAX], *edges[SNAP_COLUMNS_MAX];

static void make_blocks(size_t n) {
    uint64_t state = 1, address = 0x555555560010;
    static const unsigned columns[] = {SNAP_NODE_COL_DOMAIN,  SNAP_NODE_COL_KIND,
                                       SNAP_NODE_COL_ADDRESS, SNAP_NODE_COL_SIZE,
                                       SNAP_NODE_COL_STACK,   SNAP_NODE_COL_BIRTH};
    for (size_t c = 0; c < sizeof columns / sizeof *columns; c++)
        blocks[columns[c]] = numbers(n);
    for (size_t i = 0; i < n; i++) {
        const uint64_t r = sample_next(&state), u = r % N_STACKS;
        uint64_t stack = 1 + u * u / N_STACKS;
        if (i && (r >> 32) % 3 == 0)
            stack = blocks[SNAP_NODE_COL_STACK][i - 1]; /* the same loop */
        uint64_t size = 24 + ((uint32_t)(stack * 2654435761u) >> 28) * 16;
        if (stack % 5 == 0)
            size += (r >> 40) % 64; /* strings */
        blocks[SNAP_NODE_COL_DOMAIN][i] = SNAP_DOMAIN_HOST;
        blocks[SNAP_NODE_COL_KIND][i] = SNAP_NODE_BLOCK;
        blocks[SNAP_NODE_COL_ADDRESS][i] = address;
        blocks[SNAP_NODE_COL_SIZE][i] = size;
        blocks[SNAP_NODE_COL_STACK][i] = stack;
        blocks[SNAP_NODE_COL_BIRTH][i] = i + sample_next(&state) % 2000;
        address += (size + 23) & ~(uint64_t)15;
        if ((r >> 50) % 50 == 0)
            address += (r >> 56) % 64 * 16; /* freed in between */
    }
}

/* Half of the targets are few (types, shared objects), the rest lie near their source. */
static void make_edges(size_t n, size_t n_nodes) {
    uint64_t state = 2;
    static const unsigned columns[] = {SNAP_EDGE_COL_SOURCE, SNAP_EDGE_COL_TARGET,
                                       SNAP_EDGE_COL_KIND};
    for (size_t c = 0; c < sizeof columns / sizeof *columns; c++)
        edges[columns[c]] = numbers(n);
    for (size_t i = 0; i < n; i++) {
        const uint64_t r = sample_next(&state);
        const uint64_t source = 1 + (uint64_t)((double)i / (double)n * (double)n_nodes);
        uint64_t target = r % 2 ? 1 + (r >> 8) % 150 * ((r >> 8) % 150)
                                : source + (r >> 8) % 400 - (r >> 32) % 400;
        if (target - 1 >= n_nodes)
            target = source;
        edges[SNAP_EDGE_COL_SOURCE][i] = source;
        edges[SNAP_EDGE_COL_TARGET][i] = target;
        edges[SNAP_EDGE_COL_KIND][i] = SNAP_EDGE_POINTER;
    }
}

static void write_file(struct bytes *out, size_t n_blocks, size_t n_edges) {
    snap_writer *w;
    check(snap_writer_open_sink(&w, bytes_sink, out, NULL, &err));
    uint64_t row[SNAP_COLUMNS_MAX] = {0};
    for (unsigned i = 0; i < N_STACKS; i++) {
        memset(row, 0, sizeof row);
        row[SNAP_FRAM_COL_OFFSET] = 0x1000 + i * 37;
        check(snap_writer_row(w, SNAP_TABLE_FRAM, row, NULL, &err));
        memset(row, 0, sizeof row);
        row[SNAP_STAK_COL_PARENT] = i / 2;
        row[SNAP_STAK_COL_FRAME] = i + 1;
        check(snap_writer_row(w, SNAP_TABLE_STAK, row, NULL, &err));
    }
    check(snap_writer_rows(w, SNAP_TABLE_NODE, (const uint64_t *const *)blocks, n_blocks, NULL,
                           &err));
    check(
        snap_writer_rows(w, SNAP_TABLE_EDGE, (const uint64_t *const *)edges, n_edges, NULL, &err));
    check(snap_writer_finish(w, &err));
    snap_writer_close(w);
}

static double best(double now, double before) {
    return !before || now < before ? now : before;
}

/* The planes alone, in and out, without zstd: bytes of decoded numbers per second. */
static void bench_columns(size_t n_blocks) {
    static const char *const names[] = {"", "", "PLANES", "DELTA", "RUNS", "HUBS", "", "KEYED"};
    static const unsigned encodings[] = {SNAP_ENC_PLANES, SNAP_ENC_DELTA, SNAP_ENC_RUNS,
                                         SNAP_ENC_HUBS, SNAP_ENC_KEYED};
    const size_t n = n_blocks < SNAP_CHUNK_ROWS_MAX ? n_blocks : SNAP_CHUNK_ROWS_MAX;
    struct column_scratch s = {0};
    uint8_t *const packed = malloc(column_bound(n));
    uint64_t *const back = numbers(n);
    if (!packed || column_scratch_init_encoder(&s) < 0)
        abort();
    const uint64_t *const key = blocks[SNAP_NODE_COL_STACK];
    for (size_t e = 0; e < sizeof encodings / sizeof *encodings; e++) {
        double in = 0, out = 0;
        for (int round = 0; round < 40; round++) {
            unsigned width;
            const double t0 = seconds();
            const size_t size = column_encode(&s, encodings[e], blocks[SNAP_NODE_COL_ADDRESS], n, 6,
                                              key, packed, &width);
            const double t1 = seconds();
            check(column_decode(&s, encodings[e], width, packed, size, n, key, back));
            in = best(t1 - t0, in);
            out = best(seconds() - t1, out);
        }
        printf("%-6s encode %5.1f GB/s  decode %5.1f GB/s\n", names[encodings[e]],
               (double)n * 8e-9 / in, (double)n * 8e-9 / out);
    }
    column_scratch_release(&s);
    free(packed);
    free(back);
}

int main(int argc, char **argv) {
    const size_t n_blocks = argc > 1 ? (size_t)atoll(argv[1]) : 4000000;
    const size_t n_edges = argc > 2 ? (size_t)atoll(argv[2]) : 8000000;
    make_blocks(n_blocks);
    make_edges(n_edges, n_blocks);
    bench_columns(n_blocks);
    double write_s = 0, edges_s = 0, read_s = 0, verify_s = 0;
    size_t size = 0, edge_size = 0;
    for (int round = 0; round < ROUNDS; round++) {
        struct bytes file = {0}, with_edges = {0};
        const double t0 = seconds();
        write_file(&file, n_blocks, 0);
        const double t1 = seconds();
        write_file(&with_edges, n_blocks, n_edges);
        const double t2 = seconds();
        snap_snapshot *s;
        snap_batch b;
        snap_batch_init(&b);
        check(snap_open_memory(&s, file.data, file.size, NULL, &err));
        for (uint32_t k = 0; k < snap_n_chunks(s, SNAP_TABLE_NODE); k++)
            check(snap_batch_read(s, SNAP_TABLE_NODE, k,
                                  1u << SNAP_NODE_COL_ADDRESS | 1u << SNAP_NODE_COL_SIZE |
                                      1u << SNAP_NODE_COL_STACK | 1u << SNAP_NODE_COL_BIRTH,
                                  &b, &err));
        const double t3 = seconds();
        check(snap_verify(s, NULL, NULL, &err));
        write_s = best(t1 - t0, write_s);
        edges_s = best(t2 - t1 - (t1 - t0), edges_s);
        read_s = best(t3 - t2, read_s);
        verify_s = best(seconds() - t3, verify_s);
        size = file.size;
        edge_size = with_edges.size - file.size;
        snap_batch_release(&b);
        snap_close(s);
        bytes_release(&file);
        bytes_release(&with_edges);
    }
    printf("%zu blocks: %.2f bytes each, write %.3f s, read 4 columns %.3f s, verify %.3f s\n",
           n_blocks, (double)size / (double)n_blocks, write_s, read_s, verify_s);
    if (n_edges)
        printf("%zu edges: %.2f bytes each, write %.3f s\n", n_edges,
               (double)edge_size / (double)n_edges, edges_s);
    return 0;
}
