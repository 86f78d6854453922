/* How long the receiver takes for a heap of millions of blocks and references, and how large the
 * file gets: the stream is made first, so only reading, passes and writing are measured.
 *
 * usage: bench_ingest [BLOCKS [REFERENCES_PER_BLOCK]] */
#include "support/wire_stream.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "clock.h"

/* A third of the references goes to a few hundred nodes, as to classes and empty values, half to
 * what was allocated at about the same time, the rest anywhere. */
static uint32_t draw_target(uint64_t *seed, uint32_t source, uint32_t n) {
    const uint64_t r = sample_next(seed);
    const unsigned shape = r % 6;
    if (shape < 2)
        return 1 + (uint32_t)(r >> 8 & 255) * (n / 256);
    if (shape < 5) {
        const uint32_t target = source + (uint32_t)(r >> 8 & 63);
        return target <= n ? target : n;
    }
    return 1 + (uint32_t)((r >> 8) % n);
}

static void make(struct wire_stream *s, uint32_t n, uint32_t per_block) {
    uint64_t seed = 1, address = 0x10000000;
    wire_process(s);
    wire_open(s, WIRE_BLOCK);
    for (uint32_t i = 0; i < n; i++) {
        wire_block(s, address, 256, 1 + (uint32_t)(sample_next(&seed) % 3), SNAP_NODE_BLOCK << 24);
        address += 272;
    }
    wire_close(s);
    wire_open(s, WIRE_EDGE);
    for (uint32_t i = 1; i <= n; i++)
        for (uint32_t k = 0, word = 0; k < per_block; k++, word += 3) {
            const struct wire_edge e = {i, draw_target(&seed, i, n), word, k % 8 ? 0 : 16};
            wire_put(s, &e, sizeof e);
        }
    wire_close(s);
    wire_end(s);
}

int main(int argc, char **argv) {
    const uint32_t n = argc > 1 ? (uint32_t)strtoul(argv[1], NULL, 10) : 1000000;
    const uint32_t per_block = argc > 2 ? (uint32_t)strtoul(argv[2], NULL, 10) : 8;
    struct wire_stream s = {0};
    char name[64];
    if (n == 0 || per_block > 10)
        return 2;
    snprintf(name, sizeof name, "bench-ingest-%ld.snap", (long)getpid());
    wire_begin(&s, 0, name, WIRE_OVERWRITE);
    make(&s, n, per_block);
    const struct ingest_options options = {.no_symbols = 1};
    const uint64_t start_ns = now_ns();
    const double cpu = processor_seconds(RUSAGE_SELF);
    char *path = NULL;
    snap_error err = {0};
    if (wire_ingest(s.bytes.data, s.bytes.size, &options, &path, &err) < 0) {
        fprintf(stderr, "bench_ingest: %s\n", err.message);
        return 2;
    }
    const double seconds = (double)(now_ns() - start_ns) / 1e9, edges = (double)n * per_block;
    struct stat st;
    if (stat(path, &st) != 0)
        return 2;
    printf("%u blocks, %.0f references: %.2f s, %.2f s of processor, %.1f M references/s, "
           "%.2f bytes per block and reference\n",
           n, edges, seconds, processor_seconds(RUSAGE_SELF) - cpu, edges / seconds / 1e6,
           (double)st.st_size / (n + edges));
    unlink(path);
    free(path);
    wire_release(&s);
    return 0;
}
