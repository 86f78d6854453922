/* Device memory by device. "The system's tool says X, the framework says Y": X is what the driver
 * has given this process, and it is live blocks, what allocators hold back, what graphs hold, and a
 * rest that nobody tracks (contexts, code, the driver's own).
 *
 * Invariant: live + cached + graphs + residual = reported, for every device and snapshot for which
 * the file says what the driver reports; bytes are counted once, by the node or pool that stands
 * for memory, never by what only names it. */
#include "diff/devices.h"

#include "base/err.h"
#include "base/printable.h"
#include "diff/result.h"
#include "diff/rows.h"

#include <heapsnap/snapdef.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

enum { DEVICES_MAX = 64 };

/* Series, one value per snapshot each. */
struct sums {
    uint64_t *live, *cached, *graphs, *largest_gap, *returnable, *reported;
    int64_t *residual;
    const char *name;
    int is_there, has_framework_pools, has_told_pools;
};

static int no_memory(snap_error *err) {
    return err_set(err, SNAP_E_NOMEM, "no memory to compare devices");
}

static struct sums *sums_of(struct snap_diff *d, struct sums *all, uint64_t device) {
    if (device >= DEVICES_MAX)
        return NULL;
    struct sums *const s = &all[device];
    if (s->is_there)
        return s;
    uint64_t *const series = arena_alloc(&d->arena, 7 * d->n * sizeof *series);
    if (series == NULL)
        return NULL;
    memset(series, 0, 7 * d->n * sizeof *series);
    *s = (struct sums){.live = series,
                       .cached = series + d->n,
                       .graphs = series + 2 * d->n,
                       .largest_gap = series + 3 * d->n,
                       .returnable = series + 4 * d->n,
                       .reported = series + 5 * d->n,
                       .residual = (int64_t *)(series + 6 * d->n),
                       .name = "",
                       .is_there = 1};
    return s;
}

/* Nodes that only name memory which another node, a pool or another process has. */
static int counts(uint64_t kind) {
    switch (kind) {
    case SNAP_NODE_DEVICE_VIRTUAL:
    case SNAP_NODE_DEVICE_MULTICAST:
    case SNAP_NODE_DEVICE_IMPORTED:
    case SNAP_NODE_DEVICE_EXTERNAL:
    case SNAP_NODE_DEVICE_GRAPH:
    case SNAP_NODE_REGISTERED: return 0;
    default: return 1;
    }
}

/* Where rows of one snapshot are added. */
struct adding {
    struct snap_diff *d;
    size_t index;
    struct sums *all;
};

static int add_node(void *context, const snap_batch *b, uint32_t i, snap_error *err) {
    const struct adding *const a = context;
    const uint64_t device = b->column[SNAP_NODE_COL_DEVICE][i];
    if (b->column[SNAP_NODE_COL_DOMAIN][i] != SNAP_DOMAIN_DEVICE || device == 0 ||
        device > DEVICES_MAX || !counts(b->column[SNAP_NODE_COL_KIND][i]))
        return 0;
    struct sums *const of = sums_of(a->d, a->all, device - 1);
    if (of == NULL)
        return no_memory(err);
    of->live[a->index] = add_sat(of->live[a->index], b->column[SNAP_NODE_COL_SIZE][i]);
    return 0;
}

static int add_nodes(struct adding *a, snap_error *err) {
    const uint32_t columns = 1u << SNAP_NODE_COL_DOMAIN | 1u << SNAP_NODE_COL_KIND |
                             1u << SNAP_NODE_COL_SIZE | 1u << SNAP_NODE_COL_DEVICE;
    return rows_each(a->d->sources[a->index], SNAP_TABLE_NODE, columns, add_node, a, err);
}

static int add_pool(void *context, const snap_batch *b, uint32_t i, snap_error *err) {
    const struct adding *const a = context;
    const size_t index = a->index;
    const uint64_t device = b->column[SNAP_POOL_COL_DEVICE][i];
    if (b->column[SNAP_POOL_COL_DOMAIN][i] != SNAP_DOMAIN_DEVICE || device == 0 ||
        device > DEVICES_MAX || b->column[SNAP_POOL_COL_PARENT][i] != 0)
        return 0;
    struct sums *const of = sums_of(a->d, a->all, device - 1);
    if (of == NULL)
        return no_memory(err);
    const uint64_t kind = b->column[SNAP_POOL_COL_KIND][i], size = b->column[SNAP_POOL_COL_SIZE][i];
    const uint64_t cached = b->column[SNAP_POOL_COL_CACHED][i];
    const uint64_t gap = b->column[SNAP_POOL_COL_LARGEST_GAP][i];
    if (kind == SNAP_POOL_CUDA_GRAPH) {
        of->graphs[index] = add_sat(of->graphs[index], size);
        return 0;
    }
    const int is_framework = kind == SNAP_POOL_TORCH_SEGMENT || kind == SNAP_POOL_TORCH_PRIVATE;
    of->has_framework_pools |= is_framework;
    of->has_told_pools |= kind == SNAP_POOL_API;
    of->cached[index] = add_sat(of->cached[index], cached);
    if (gap > of->largest_gap[index])
        of->largest_gap[index] = gap;
    /* A framework or a program gives back whole segments, the driver's pools any part; what a
     * framework holds for a graph it keeps while the graph is there. */
    if (kind == SNAP_POOL_TORCH_PRIVATE)
        return 0;
    if ((!is_framework && kind != SNAP_POOL_API) || cached == size)
        of->returnable[index] = add_sat(of->returnable[index], cached);
    return 0;
}

static int add_pools(struct adding *a, snap_error *err) {
    const uint32_t columns = 1u << SNAP_POOL_COL_KIND | 1u << SNAP_POOL_COL_DOMAIN |
                             1u << SNAP_POOL_COL_DEVICE | 1u << SNAP_POOL_COL_SIZE |
                             1u << SNAP_POOL_COL_CACHED | 1u << SNAP_POOL_COL_LARGEST_GAP |
                             1u << SNAP_POOL_COL_PARENT;
    return rows_each(a->d->sources[a->index], SNAP_TABLE_POOL, columns, add_pool, a, err);
}

static int add_reported(struct adding *a, snap_error *err) {
    const snap_snapshot *const s = a->d->sources[a->index];
    for (size_t i = 0; i < snap_meta_count(s); i++) {
        const snap_meta_row row = snap_meta_get(s, i);
        if (row.key != SNAP_META_DEVICE || row.value >= DEVICES_MAX)
            continue;
        struct sums *const of = sums_of(a->d, a->all, row.value);
        if (of == NULL)
            return no_memory(err);
        of->name = row.name;
        char name[40];
        snprintf(name, sizeof name, "device%" PRIu64 "_process_bytes", row.value);
        snap_meta_number(s, SNAP_META_PROCESS, name, &of->reported[a->index]);
    }
    return 0;
}

static int64_t residual_of(const struct sums *s, size_t i) {
    const uint64_t tracked = add_sat(add_sat(s->live[i], s->cached[i]), s->graphs[i]);
    return s->reported[i] == 0 ? 0 : difference_sat(s->reported[i], tracked);
}

int devices_find(struct snap_diff *d, snap_error *err) {
    struct sums all[DEVICES_MAX] = {{0}};
    size_t n = 0;
    for (size_t i = 0; i < d->n; i++) {
        struct adding adding = {d, i, all};
        SNAP_TRY(add_reported(&adding, err));
        SNAP_TRY(add_pools(&adding, err));
        if (d->snapshots[i].totals[SNAP_DOMAIN_DEVICE].count > 0)
            SNAP_TRY(add_nodes(&adding, err));
    }
    for (size_t k = 0; k < DEVICES_MAX; k++)
        n += all[k].is_there != 0;
    d->devices = arena_alloc(&d->arena, (n + 1) * sizeof *d->devices);
    if (d->devices == NULL)
        return no_memory(err);
    for (uint32_t k = 0; k < DEVICES_MAX; k++) {
        const struct sums *const s = &all[k];
        if (!s->is_there)
            continue;
        for (size_t i = 0; i < d->n; i++)
            s->residual[i] = residual_of(s, i);
        d->devices[d->n_devices++] = (snap_diff_device){
            .device = k,
            .name = s->name,
            .live = s->live,
            .cached = s->cached,
            .graphs = s->graphs,
            .largest_gap = s->largest_gap,
            .returnable = s->returnable,
            .reported = s->reported,
            .residual = s->residual,
            .has_framework_pools = s->has_framework_pools,
            .has_told_pools = s->has_told_pools,
        };
    }
    return 0;
}

int devices_judge(struct snap_diff *d, uint64_t threshold, snap_error *err) {
    const size_t last = d->n - 1;
    for (size_t i = 0; i < d->n_devices; i++) {
        const snap_diff_device *const v = &d->devices[i];
        const uint64_t grown = v->cached[last] > v->cached[0] ? v->cached[last] - v->cached[0] : 0;
        const uint64_t live = v->live[last] > v->live[0] ? v->live[last] - v->live[0] : 0;
        if (grown <= threshold || live > grown / 2)
            continue;
        char reserved[TEXT_SIZE_MAX], used[TEXT_SIZE_MAX], cached[TEXT_SIZE_MAX],
            gap[TEXT_SIZE_MAX], back[TEXT_SIZE_MAX];
        SNAP_TRY(result_not_leak(
            d, err, "pool-cached", grown,
            "device %" PRIu32 ": reserved %s but live %s: allocators hold %s that nobody uses "
            "(largest gap %s); %s would return %s",
            v->device,
            text_signed_size(reserved, (int64_t)(v->cached[last] + v->live[last]) -
                                           (int64_t)(v->cached[0] + v->live[0])),
            text_signed_size(used, (int64_t)v->live[last] - (int64_t)v->live[0]),
            text_size(cached, v->cached[last]), text_size(gap, v->largest_gap[last]),
            v->has_framework_pools ? "torch.cuda.empty_cache()"
            : v->has_told_pools    ? "giving back what is wholly free"
                                   : "cudaMemPoolTrimTo()",
            text_size(back, v->returnable[last])));
    }
    return 0;
}

const snap_diff_device *snap_diff_devices(const snap_diff *d, size_t *out_n) {
    *out_n = d->n_devices;
    return d->devices;
}
