/* What the driver knows of device memory is no reference to it: its own tables hold the address of
 * everything that it has given out. So words of blocks that the driver allocated, of its images'
 * data, and of mappings of unknown origin (its own, mostly) are left out where they point at device
 * memory; what the program itself holds stays. Host memory is none of this pass's business. */
#include "model/device.h"

#include <stdlib.h>

#include "base/mem.h"
#include "model/stream.h"

static int is_device(const struct heap *h, uint32_t node) {
    const uint32_t domain = heap_domain(h, node);
    return domain == SNAP_DOMAIN_DEVICE || domain == SNAP_DOMAIN_PINNED ||
           domain == SNAP_DOMAIN_MANAGED;
}

static int has_device(const struct heap *h) {
    for (uint32_t node = h->n_blocks + 1; node <= h->n_nodes; node++)
        if (is_device(h, node))
            return 1;
    return 0;
}

static void drop_edges(struct heap *h, const struct frames *f) {
    uint64_t kept = 0;
    for (uint32_t node = 1; node <= h->n_nodes; node++) {
        const uint64_t start = h->first_edge[node - 1], end = h->first_edge[node];
        const int is_service = frames_is_service(h, frames_innermost(f, h, h->stack[node - 1]));
        h->first_edge[node - 1] = kept;
        for (uint64_t e = start; e < end; e++)
            if (!is_service || !is_device(h, h->edges[e].target))
                h->edges[kept++] = h->edges[e];
    }
    h->first_edge[h->n_nodes] = kept;
    h->n_edges = kept;
}

static int drop_roots(struct heap *h, snap_error *err) {
    uint32_t *const numbers = mem_zalloc((size_t)h->n_roots + 1, sizeof *numbers), kept = 0;
    if (!numbers)
        return stream_no_memory(err);
    for (uint32_t i = 0; i < h->n_roots; i++) {
        const struct heap_root *const r = &h->roots[i];
        if (is_device(h, r->target) &&
            (r->kind == SNAP_ROOT_MAPPING || frames_is_service(h, r->module)))
            continue;
        h->roots[kept++] = *r;
        numbers[i] = kept;
    }
    h->n_roots = kept;
    for (uint32_t i = 0; i < h->n_hooks; i++)
        if (h->hooks[i].root)
            h->hooks[i].root = numbers[h->hooks[i].root - 1];
    free(numbers);
    return 0;
}

int device_pass(struct heap *h, const struct frames *f, snap_error *err) {
    if (!has_device(h))
        return 0;
    if (h->first_edge && h->n_edges > 0)
        drop_edges(h, f);
    return h->n_roots > 0 ? drop_roots(h, err) : 0;
}
