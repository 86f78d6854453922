/* Speed and memory of the graph library: nanoseconds per node and peak bytes per node beyond the
 * input and what earlier phases keep, phase by phase, and what is wanted of dominators and retained
 * sizes.
 *
 *   graph [MILLION_NODES [EDGES_PER_NODE [permuted]]]
 *   graph SNAPSHOT
 *
 * A snapshot is a real heap. The made heap is seeded and in order of address: most references go to
 * near neighbours, as allocation order makes them; half goes to a few hubs (types, small
 * constants); some go anywhere. "permuted" gives nodes random numbers, the worst case. */
#include "diff/heapload.h"
#include "support/random_graph.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>

static double clock_seconds(clockid_t clock) {
    struct timespec t;
    clock_gettime(clock, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static double cpu_seconds(void) {
    return clock_seconds(CLOCK_PROCESS_CPUTIME_ID);
}

static struct {
    snap_graph *g;
    uint64_t n, m;
    uint64_t used; /* bytes of the graph library when the phase began */
    double wall, cpu;
} bench;

static void start(void) {
    if (bench.g) {
        snap_graph_memory_reset_peak(bench.g);
        bench.used = snap_graph_memory_used(bench.g);
    }
    bench.wall = clock_seconds(CLOCK_MONOTONIC);
    bench.cpu = cpu_seconds();
}

static void finish_wanted(const char *phase, const char *wanted) {
    const double wall = clock_seconds(CLOCK_MONOTONIC) - bench.wall,
                 cpu = cpu_seconds() - bench.cpu;
    printf("%-34s %8.3f s  %8.3f s cpu %8.1f ns/node  peak %6.1f B/node  all kept %6.1f B/node%s\n",
           phase, wall, cpu, cpu * 1e9 / (double)bench.n,
           (double)(snap_graph_memory_peak(bench.g) - bench.used) / (double)bench.n,
           (double)snap_graph_memory_used(bench.g) / (double)bench.n, wanted);
}

static void finish(const char *phase) {
    finish_wanted(phase, "");
}

static void check(int result, const snap_error *err) {
    if (result < 0) {
        fprintf(stderr, "graph: %s\n", err->message);
        exit(1);
    }
}

static void *column(uint64_t count, size_t size) {
    void *p = calloc(count + 1, size);
    if (!p) {
        fprintf(stderr, "graph: no memory for %lu rows\n", count);
        exit(1);
    }
    return p;
}

#define N_HUBS 255
#define N_ROOTS 1000

/* Puts edges in order of source, as files have them, by counting. */
static void sort_edges(uint64_t n, uint64_t m, uint32_t **source, uint32_t **target) {
    uint64_t *at = column(n + 2, sizeof *at);
    uint32_t *from = column(m, sizeof *from), *to = column(m, sizeof *to);
    for (uint64_t e = 0; e < m; e++)
        at[(*source)[e] + 1]++;
    for (uint64_t i = 1; i <= n + 1; i++)
        at[i] += at[i - 1];
    for (uint64_t e = 0; e < m; e++) {
        const uint64_t p = at[(*source)[e]]++;
        from[p] = (*source)[e];
        to[p] = (*target)[e];
    }
    free(*source);
    free(*target);
    free(at);
    *source = from;
    *target = to;
}

static uint32_t *permutation(uint64_t n, uint64_t *s) {
    uint32_t *number = column(n, sizeof *number);
    for (uint32_t i = 0; i <= n; i++)
        number[i] = i;
    for (uint64_t i = n; i > 1; i--) {
        const uint64_t k = 1 + random_below(s, i);
        const uint32_t swapped = number[i];
        number[i] = number[k];
        number[k] = swapped;
    }
    return number;
}

/* Trees as a parser or a loader leaves them: allocated depth-first, at most DEPTH_MAX deep. */
#define DEPTH_MAX 100

static snap_graph_input make_heap(uint64_t n, double edges_per_node, int permuted) {
    uint64_t state = 20261123, *s = &state;
    const uint64_t m_max = (uint64_t)((double)n * edges_per_node);
    uint64_t *size = column(n, sizeof *size), *offset = column(m_max, sizeof *offset);
    uint8_t *domain = column(n, 1), *kind = column(m_max, 1);
    uint32_t *type = column(n, sizeof *type), *label = column(m_max, sizeof *label);
    uint32_t *source = column(m_max, sizeof *source), *target = column(m_max, sizeof *target);
    uint32_t *root = column(N_ROOTS, sizeof *root);
    uint8_t *root_kind = column(N_ROOTS, 1);
    uint32_t open[DEPTH_MAX] = {1}, depth = 1;
    uint64_t m = 0;
    for (uint32_t i = 1; i <= n; i++) {
        const uint64_t r = random_next(s);
        size[i - 1] = 16 + 16 * (r % 16);
        domain[i - 1] = (uint8_t)(1 + r % 2);
        if (i > 1) {
            for (uint64_t bits = r >> 32; depth > 1 && (bits & 1 || depth == DEPTH_MAX); bits >>= 1)
                depth--;
            /* One in 64 is forgotten. */
            if (r >> 8 & 63 && m < m_max) {
                source[m] = open[depth - 1];
                target[m++] = i;
            }
            open[depth++] = i;
        }
        type[i - 1] = depth % 12 + (r >> 20 & 15 ? 0 : 12 * (uint32_t)(1 + (r >> 24) % 20));
        while (m < m_max && (double)m < (double)i * edges_per_node) {
            const uint64_t q = random_next(s), pick = q % 100;
            uint64_t to;
            if (pick < 85)
                to = (q >> 32) % N_HUBS * (n / N_HUBS) + 1;
            else if (pick < 95)
                to = i + 1 + (q >> 40) % 64;
            else
                to = (q >> 16) % n + 1;
            source[m] = i;
            target[m++] = (uint32_t)(to > n ? to - n : to);
        }
    }
    for (uint32_t i = 0; i < N_ROOTS; i++) {
        root[i] = i ? 1 + (uint32_t)random_below(s, n) : 1;
        root_kind[i] = (uint8_t)(1 + i % 12);
    }
    if (permuted) {
        uint32_t *number = permutation(n, s);
        for (uint64_t e = 0; e < m; e++) {
            source[e] = number[source[e]];
            target[e] = number[target[e]];
        }
        for (uint32_t i = 0; i < N_ROOTS; i++)
            root[i] = number[root[i]];
        free(number);
    }
    sort_edges(n, m, &source, &target);
    for (uint64_t e = 0; e < m; e++) {
        kind[e] = SNAP_EDGE_POINTER;
        label[e] = 1 + type[source[e] - 1] % 8;
        offset[e] = 8 * (e % 8);
    }
    bench.n = n;
    bench.m = m;
    return (snap_graph_input){.n_nodes = n,
                              .size_bytes = size,
                              .domain = domain,
                              .type = type,
                              .n_edges = m,
                              .edge_source = source,
                              .edge_target = target,
                              .edge_kind = kind,
                              .edge_label = label,
                              .source_offset = offset,
                              .n_roots = N_ROOTS,
                              .root_target = root,
                              .root_kind = root_kind};
}

static void measure_dominators(const snap_lost *lost, snap_error *err) {
    const uint32_t masks[3] = {SNAP_GRAPH_ALL_DOMAINS, SNAP_GRAPH_DOMAIN(SNAP_DOMAIN_HOST),
                               SNAP_GRAPH_DOMAIN(SNAP_DOMAIN_PYTHON)};
    snap_dominators *d;
    snap_retained *r;
    start();
    check(snap_dominators_new(&d, bench.g, NULL, err), err);
    check(snap_retained_new(&r, d, masks, 1, err), err);
    finish_wanted("dominators and retained sizes", "   wanted: <= 150 ns/node, <= 45 B/node");
    printf("  %u nodes, root retains %lu bytes\n", snap_dominators_count(d),
           snap_retained_bytes(r, 0, 0));
    snap_retained_free(r);
    snap_dominators_free(d);
    start();
    check(snap_dominators_new(&d, bench.g, NULL, err), err);
    finish("  dominators alone");
    start();
    check(snap_retained_new(&r, d, masks, 1, err), err);
    finish("  retained sizes alone");
    start();
    snap_retained *by_domain;
    check(snap_retained_new(&by_domain, d, masks, 3, err), err);
    finish("  retained sizes of 3 sets");
    snap_retained_free(by_domain);
    start();
    snap_retained_type *types;
    uint64_t n_types;
    check(snap_retained_types(r, 0, &types, &n_types, err), err);
    finish("retained by type");
    free(types);
    snap_retained_free(r);
    snap_dominators_free(d);
    start();
    check(snap_dominators_new(&d, bench.g, lost, err), err);
    finish("dominators with lost nodes");
    snap_dominators_free(d);
}

static void measure_chains(snap_error *err) {
    start();
    snap_paths *p;
    check(snap_paths_new(&p, bench.g, err), err);
    finish("shortest chains");
    snap_paths_free(p);
    start();
    snap_path_tree *t;
    check(snap_path_tree_new(&t, bench.g, err), err);
    finish("tree of paths");
    uint32_t n_groups;
    snap_path_tree_groups(t, &n_groups);
    printf("  %u groups\n", n_groups);
    snap_path_tree_free(t);
    start();
    check(snap_graph_index_referrers(bench.g, err), err);
    finish("index of referrers");
    start();
    uint64_t state = 7;
    for (int i = 0; i < 10; i++) {
        snap_chain c[3];
        uint32_t n = 0;
        check(snap_chains_disjoint(bench.g, 1 + (uint32_t)random_below(&state, bench.n), NULL, c,
                                   &n, NULL, err),
              err);
        while (n)
            snap_chain_release(&c[--n]);
    }
    finish("disjoint chains to 10 nodes");
}

static void measure_shares(uint32_t n_groups, snap_error *err) {
    uint64_t state = 11;
    const uint32_t n_rows = 100 * n_groups;
    uint32_t *nodes = column(n_rows, sizeof *nodes), *group = column(n_rows, sizeof *group);
    snap_leak_share *out = column(n_groups, sizeof *out);
    for (uint32_t i = 0; i < n_rows; i++) {
        nodes[i] = 1 + (uint32_t)random_below(&state, bench.n);
        group[i] = i % n_groups;
    }
    start();
    check(snap_leak_share_compute(bench.g, nodes, group, n_rows, n_groups, SNAP_GRAPH_ALL_DOMAINS,
                                  out, err),
          err);
    char phase[40];
    snprintf(phase, sizeof phase, "LeakShare of %u groups", n_groups);
    finish(phase);
    free(nodes);
    free(group);
    free(out);
}

static void measure(const snap_graph_input *in) {
    snap_error err = {0};
    start();
    check(snap_graph_new(&bench.g, in, NULL, &err), &err);
    finish("graph");
    start();
    snap_reach *reach;
    check(snap_reach_new(&reach, bench.g, &err), &err);
    finish("reachability");
    start();
    snap_lost *lost;
    check(snap_lost_new(&lost, bench.g, reach, &err), &err);
    finish("lost nodes");
    snap_reach_free(reach);
    measure_dominators(lost, &err);
    snap_lost_free(lost);
    measure_chains(&err);
    measure_shares(8, &err);
    measure_shares(100, &err);
    snap_graph_free(bench.g);
    struct rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    printf("process peak %.1f B/node, input included\n",
           (double)usage.ru_maxrss * 1024 / (double)bench.n);
}

/* The columns of a file, as a comparison reads them. */
static void measure_file(const char *path) {
    snap_error err = {0};
    snap_snapshot *s;
    snap_heap *h;
    check(snap_open(&s, path, NULL, &err), &err);
    check(snap_heap_open(&h, s, NULL, &err), &err);
    snap_graph_free(h->graph);
    h->graph = NULL;
    const snap_graph_input in = {.struct_size = sizeof in,
                                 .n_nodes = h->n_nodes,
                                 .size_bytes = h->size,
                                 .domain = h->domain,
                                 .type = h->type,
                                 .birth = h->birth,
                                 .n_edges = h->n_edges,
                                 .edge_source = h->edge_source,
                                 .edge_target = h->edge_target,
                                 .edge_kind = h->edge_kind,
                                 .edge_label = h->edge_label,
                                 .source_offset = h->edge_offset_wide,
                                 .edge_flags = h->edge_flags,
                                 .n_roots = h->n_roots,
                                 .root_target = h->root_target,
                                 .root_kind = h->root_kind,
                                 .root_name = h->root_label,
                                 .root_flags = h->root_flags,
                                 .n_labels = h->n_labels,
                                 .label_key = h->label_key,
                                 .n_types = h->n_types,
                                 .type_key = h->type_key,
                                 .type_size = h->type_size,
                                 .source_offset_narrow = h->edge_offset};
    bench.n = h->n_nodes;
    bench.m = h->n_edges;
    printf("%s: %lu nodes, %lu edges\n", path, bench.n, bench.m);
    measure(&in);
    snap_heap_close(h);
    snap_close(s);
}

int main(int argc, char **argv) {
    if (argc == 2 && strchr(argv[1], '/') != NULL) {
        measure_file(argv[1]);
        return 0;
    }
    const uint64_t n = (uint64_t)((argc > 1 ? atof(argv[1]) : 1) * 1e6);
    const double edges_per_node = argc > 2 ? atof(argv[2]) : 2.2;
    const int permuted = argc > 3 && !strcmp(argv[3], "permuted");
    if (n < 1000 || n > SNAP_GRAPH_NODES_MAX || edges_per_node < 0) {
        fprintf(stderr, "usage: graph [MILLION_NODES [EDGES_PER_NODE [permuted]]]\n");
        return 2;
    }
    const snap_graph_input in = make_heap(n, edges_per_node, permuted);
    printf("%lu nodes, %lu edges, %s\n", n, in.n_edges,
           permuted ? "permuted" : "in order of address");
    measure(&in);
    free((void *)in.size_bytes);
    free((void *)in.domain);
    free((void *)in.type);
    free((void *)in.edge_source);
    free((void *)in.edge_target);
    free((void *)in.edge_kind);
    free((void *)in.edge_label);
    free((void *)in.source_offset);
    free((void *)in.root_target);
    free((void *)in.root_kind);
    return 0;
}
