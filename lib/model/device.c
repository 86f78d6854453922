/* What the driver knows of device memory is no reference to it: its own tables hold the address of
 * everything that it has given out. So words of blocks that the driver allocated, of its images'
 * data, and of mappings of unknown origin (its own, mostly) are left out where they point at device
 * memory; what the program itself holds stays. Host memory is none of this pass's business. */
#include "model/device.h"

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

struct service {
    const struct heap *heap;
    const struct frames *frames;
};

static int is_of_service(const void *context, const struct heap_root *root) {
    const struct service *const s = context;
    return is_device(s->heap, root->target) &&
           (root->kind == SNAP_ROOT_MAPPING || frames_is_service(s->heap, root->module));
}

int device_pass(struct heap *h, const struct frames *f, snap_error *err) {
    if (!has_device(h))
        return 0;
    if (h->first_edge && h->n_edges > 0)
        drop_edges(h, f);
    const struct service service = {h, f};
    return heap_drop_roots(h, is_of_service, &service) < 0 ? stream_no_memory(err) : 0;
}
