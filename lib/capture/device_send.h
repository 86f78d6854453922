/* Device memory and resources in a moment: what becomes a node, what a pool, what a resource.
 *
 * Runs in the copy. A framework's segment is a pool, and the blocks handed out of it are the nodes:
 * so no byte is counted twice. So is memory of which the program itself says that it is a pool's. A
 * reserved range of addresses and the physical memory mapped into it are two nodes, of which only
 * the latter counts. */
#ifndef HEAPSNAP_DEVICE_SEND_H
#define HEAPSNAP_DEVICE_SEND_H

#include <stddef.h>
#include <stdint.h>

struct device_item;

#define DEVICE_DOMAINS 8

struct device_sink {
    void *context;
    int (*put)(void *context, uint32_t kind, uint32_t n, const void *data, size_t bytes);
    uint32_t (*stack)(void *context, uint32_t stack); /* its number in the stream */
    uint32_t n_pools, n_nodes;                        /* sent before, by others */
    uint32_t names;                                   /* id of the first of notes.h, less 1 */
};

struct device_heap {
    char *memory;
    size_t bytes;
    struct device_item *items; /* in the order of rows */
    size_t n_items;
    uint32_t n_pools, n_nodes;
    struct device_item **by_address; /* nodes and pools that have addresses */
    size_t n_by_address;
    size_t first_pool, n_driver_pools;
    struct {
        size_t first, n;
    } physical[DEVICE_DOMAINS]; /* by domain */
    char *targets;              /* struct scan_target, for the scan */
    size_t n_targets;
};

/* Looks at the table, and at what the program has said of pools (notes_places_make comes before);
 * in `targets` nodes are numbered from n_nodes_before + 1. */
void device_heap_open(struct device_heap *d, uint32_t n_nodes_before);
void device_heap_close(struct device_heap *d);
void device_heap_stacks(const struct device_heap *d, void (*use)(void *context, uint32_t stack),
                        void *context);
/* Pools, then nodes; the references between them, where n_before nodes are not the device's;
 * resources. */
int device_heap_send_nodes(const struct device_heap *d, const struct device_sink *sink);
int device_heap_send_references(const struct device_heap *d, const struct device_sink *sink,
                                uint32_t n_before);
int device_heap_send_resources(const struct device_heap *d, const struct device_sink *sink);

#endif
