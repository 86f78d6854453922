/* The heap of the scan's benchmark: as many blocks as wanted, of random sizes, full of references
 * to one another. */
#ifndef SCAN_HEAP_H
#define SCAN_HEAP_H

#include <stdint.h>
#include <stdlib.h>

#include "clock.h"

static uint64_t seed = 88172645463325252u;

static uint64_t draw(void) {
    seed ^= seed << 13;
    seed ^= seed >> 7;
    seed ^= seed << 17;
    return seed;
}

struct heap {
    size_t n;
    uint64_t **blocks;
    uint32_t *words;
};

/* Blocks of 16 bytes to twice the average. */
static int build(struct heap *h, size_t n, size_t bytes) {
    *h = (struct heap){n, malloc(n * sizeof *h->blocks), malloc(n * sizeof *h->words)};
    const uint64_t steps = 2 * (bytes / n) / 16;
    for (size_t i = 0; h->blocks && h->words && i < n; i++) {
        h->words[i] = (uint32_t)(2 + draw() % steps * 2);
        h->blocks[i] = malloc((size_t)h->words[i] * 8);
        if (!h->blocks[i])
            return -1;
    }
    return h->blocks && h->words ? 0 : -1;
}

/* Of four words one refers to a block, one is 0, two are anything. To any block, which is the worst
 * case; or is_local, as in programs: half of them to one of 255 that all refer to, most others to
 * one that was allocated shortly before or after. */
static size_t connect_blocks(const struct heap *h, int is_local) {
    size_t n_edges = 0;
    for (size_t i = 0; i < h->n; i++)
        for (uint32_t k = 0; k < h->words[i]; k++) {
            const uint64_t r = draw();
            const int is_edge = (r & 3) == 0;
            size_t target = (r >> 8) % h->n;
            if (is_local && (r >> 56) < 128)
                target = target % 255 * (h->n / 255);
            else if (is_local && (r >> 56) < 240)
                target = (i + (r >> 40) % 64) % h->n;
            h->blocks[i][k] = is_edge        ? (uint64_t)h->blocks[target] + (r >> 4 & 8)
                              : (r & 3) == 1 ? 0
                                             : r >> (r >> 8 & 31);
            n_edges += (size_t)is_edge;
        }
    return n_edges;
}

#endif
