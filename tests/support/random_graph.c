/* Seeded random graphs: small, dense in special cases, so that thousands of them meet every rule.
 */
#include "random_graph.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

uint64_t random_next(uint64_t *state) {
    uint64_t x = *state;
    x ^= x >> 12;
    x ^= x << 25;
    x ^= x >> 27;
    *state = x;
    return x * 0x2545f4914f6cdd1dull;
}

uint64_t random_below(uint64_t *state, uint64_t limit) {
    return (random_next(state) >> 11) % limit;
}

static void *column(uint64_t count, size_t size) {
    void *p = calloc(count + 1, size);
    if (!p)
        abort();
    return p;
}

static void allocate(struct random_graph *r, uint64_t n, uint64_t m, uint64_t n_roots) {
    snap_graph_input *in = &r->input;
    *in = (snap_graph_input){.struct_size = sizeof *in,
                             .n_nodes = n,
                             .n_edges = m,
                             .n_roots = n_roots,
                             .n_labels = 8,
                             .n_types = 6};
    in->size_bytes = r->size_bytes = column(n, sizeof *r->size_bytes);
    in->domain = r->domain = column(n, 1);
    in->type = r->type = column(n, sizeof *r->type);
    in->birth = r->birth = column(n, sizeof *r->birth);
    in->edge_source = r->edge_source = column(m, sizeof *r->edge_source);
    in->edge_target = r->edge_target = column(m, sizeof *r->edge_target);
    in->edge_kind = r->edge_kind = column(m, 1);
    in->edge_label = r->edge_label = column(m, sizeof *r->edge_label);
    in->source_offset = r->source_offset = column(m, sizeof *r->source_offset);
    in->target_offset = r->target_offset = column(m, sizeof *r->target_offset);
    in->edge_flags = r->edge_flags = column(m, 1);
    in->root_target = r->root_target = column(n_roots, sizeof *r->root_target);
    in->root_kind = r->root_kind = column(n_roots, 1);
    in->root_name = r->root_name = column(n_roots, sizeof *r->root_name);
    in->root_flags = r->root_flags = column(n_roots, 1);
    in->label_key = r->label_key = column(8, sizeof *r->label_key);
    in->type_key = r->type_key = column(6, sizeof *r->type_key);
    in->type_size = r->type_size = column(6, sizeof *r->type_size);
    in->type_rank = r->type_rank = column(6, 1);
}

enum shape { ANY, DAG, TREE, LIST, HUB, ISLANDS, DENSE, N_SHAPES };

static void make_ends(enum shape shape, uint64_t *s, uint32_t n, uint64_t e, uint32_t *from,
                      uint32_t *to) {
    uint32_t a = 1 + (uint32_t)random_below(s, n), b = 1 + (uint32_t)random_below(s, n);
    if (shape == LIST && e + 1 < n) {
        a = (uint32_t)e + 1;
        b = a + 1;
    } else if (shape == TREE && e + 1 < n) {
        b = (uint32_t)e + 2;
        a = 1 + (uint32_t)random_below(s, b - 1);
    } else if (shape == HUB && random_below(s, 2)) {
        if (random_below(s, 2))
            a = 1;
        else
            b = n / 2 + 1;
    } else if (shape == ISLANDS && n >= 4) {
        b = 1 + (a - 1) / 4 * 4 + (uint32_t)random_below(s, 4);
        if (b > n)
            b = n;
    } else if (shape == DAG && a > b) {
        *from = b;
        *to = a;
        return;
    }
    *from = a;
    *to = b;
}

void random_graph_init(struct random_graph *r, uint64_t seed, uint32_t n_max) {
    uint64_t state = seed * 0x9e3779b97f4a7c15ull | 1, *s = &state;
    for (int i = 0; i < 8; i++)
        random_next(s);
    const uint32_t n = 1 + (uint32_t)random_below(s, n_max);
    const enum shape shape = random_below(s, N_SHAPES);
    const uint64_t m = shape == DENSE ? 4ull * n : random_below(s, 3ull * n + 1);
    const uint64_t n_roots = random_below(s, 5);
    allocate(r, n, m, n_roots);
    const uint64_t weak_in = random_below(s, 3) ? 0 : 8, low_in = random_below(s, 2) ? 0 : 4;
    for (uint32_t i = 0; i < n; i++) {
        r->size_bytes[i] = random_below(s, 1000);
        r->domain[i] = (uint8_t)(1 + random_below(s, 5));
        r->type[i] = (uint32_t)random_below(s, 6);
        r->birth[i] = i + 1;
    }
    for (uint32_t i = n; i-- > 1;) {
        const uint64_t k = random_below(s, i + 1), swapped = r->birth[i];
        r->birth[i] = r->birth[k];
        r->birth[k] = swapped;
    }
    for (uint64_t e = 0; e < m; e++) {
        make_ends(shape, s, n, e, &r->edge_source[e], &r->edge_target[e]);
        r->edge_kind[e] = (uint8_t)(1 + random_below(s, 5));
        if (weak_in && !random_below(s, weak_in))
            r->edge_kind[e] = random_below(s, 2) ? SNAP_EDGE_WEAK : SNAP_EDGE_MEMBER;
        if (weak_in && !random_below(s, 2 * weak_in))
            r->edge_flags[e] |= SNAP_GRAPH_FLAG_WEAK;
        if (weak_in && !random_below(s, 4 * weak_in))
            r->edge_target[e] = 0;
        r->edge_label[e] = (uint32_t)random_below(s, 4);
        r->source_offset[e] = 8 * random_below(s, 6);
        r->target_offset[e] = random_below(s, 3) ? 0 : 8;
        if (low_in && !random_below(s, low_in))
            r->edge_flags[e] |= SNAP_EDGE_FLAG_LOW;
    }
    for (uint64_t i = 0; i < n_roots; i++) {
        r->root_target[i] = (uint32_t)random_below(s, n + 1);
        r->root_kind[i] = (uint8_t)(1 + random_below(s, 21));
        r->root_name[i] = (uint32_t)random_below(s, 8);
        if (!random_below(s, 10))
            r->root_flags[i] |= SNAP_GRAPH_FLAG_WEAK;
        if (low_in && !random_below(s, low_in))
            r->root_flags[i] |= SNAP_EDGE_FLAG_LOW;
    }
    for (uint32_t i = 1; i < 8; i++)
        r->label_key[i] = random_next(s) | 1;
    for (uint32_t i = 1; i < 6; i++) {
        r->type_key[i] = random_next(s) | 1;
        r->type_size[i] = random_below(s, 2) ? 16 : 0;
    }
    for (uint32_t i = 1; i < 6; i++)
        r->type_rank[i] = (uint8_t)random_below(s, 3);
}

void random_graph_release(struct random_graph *r) {
    free(r->size_bytes);
    free(r->domain);
    free(r->type);
    free(r->birth);
    free(r->edge_source);
    free(r->edge_target);
    free(r->edge_kind);
    free(r->edge_label);
    free(r->source_offset);
    free(r->target_offset);
    free(r->edge_flags);
    free(r->root_target);
    free(r->root_kind);
    free(r->root_name);
    free(r->root_flags);
    free(r->label_key);
    free(r->type_key);
    free(r->type_size);
    free(r->type_rank);
}

static void swap(void *base, size_t size, uint64_t a, uint64_t b) {
    unsigned char kept[8], *p = base;
    memcpy(kept, p + a * size, size);
    memcpy(p + a * size, p + b * size, size);
    memcpy(p + b * size, kept, size);
}

static void swap_edges(struct random_graph *r, uint64_t a, uint64_t b) {
    swap(r->edge_source, 4, a, b);
    swap(r->edge_target, 4, a, b);
    swap(r->edge_kind, 1, a, b);
    swap(r->edge_label, 4, a, b);
    swap(r->source_offset, 8, a, b);
    swap(r->target_offset, 8, a, b);
    swap(r->edge_flags, 1, a, b);
}

void random_graph_shuffle(struct random_graph *r, uint64_t seed) {
    uint64_t state = seed | 1;
    for (uint64_t i = r->input.n_edges; i > 1; i--)
        swap_edges(r, i - 1, random_below(&state, i));
    for (uint64_t i = r->input.n_roots; i > 1; i--) {
        const uint64_t k = random_below(&state, i);
        swap(r->root_target, 4, i - 1, k);
        swap(r->root_kind, 1, i - 1, k);
        swap(r->root_name, 4, i - 1, k);
        swap(r->root_flags, 1, i - 1, k);
    }
}

void random_graph_renumber(struct random_graph *r, uint64_t seed, uint32_t *out_number) {
    uint64_t state = seed | 1;
    const uint32_t n = (uint32_t)r->input.n_nodes;
    uint32_t *at = column(n, sizeof *at); /* node that stands at a place now */
    for (uint32_t i = 0; i < n; i++)
        at[i] = i + 1;
    for (uint32_t i = n; i > 1; i--) {
        const uint64_t k = random_below(&state, i);
        swap(at, 4, i - 1, k);
        swap(r->size_bytes, 8, i - 1, k);
        swap(r->domain, 1, i - 1, k);
        swap(r->type, 4, i - 1, k);
        swap(r->birth, 8, i - 1, k);
    }
    out_number[0] = 0;
    for (uint32_t i = 0; i < n; i++)
        out_number[at[i]] = i + 1;
    free(at);
    for (uint64_t e = 0; e < r->input.n_edges; e++) {
        r->edge_source[e] = out_number[r->edge_source[e]];
        r->edge_target[e] = out_number[r->edge_target[e]];
    }
    for (uint64_t i = 0; i < r->input.n_roots; i++)
        r->root_target[i] = out_number[r->root_target[i]];
}

void random_graph_sort(struct random_graph *r) {
    for (uint64_t i = 1; i < r->input.n_edges; i++)
        for (uint64_t k = i; k > 0 && r->edge_source[k - 1] > r->edge_source[k]; k--)
            swap_edges(r, k - 1, k);
}
