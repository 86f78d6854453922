/* The heap of one snapshot: its strings, its types, its memory, and finding things in it.
 *
 * Invariant: an array is anonymous memory until all arrays together pass the limit, then a growing
 * one moves to an unlinked file, whose blocks are reserved before they are touched, so that a full
 * disk is an error and no signal. Knows nothing of the stream or of the file format. */
#include "model/heap.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/err.h"
#include "base/map.h"
#include "base/mem.h"
#include "base/strtab.h"

#define TYPES_NS_DEFAULT UINT64_C(3000000000)
#define LIMIT_DEFAULT ((uint64_t)1 << 30)
#define ARRAY_BYTES_LEAST ((size_t)1 << 16)
#define HUGE_PAGE_BYTES ((size_t)2 << 20)
#define LARGE_BYTES ((size_t)16 << 20) /* of an array that grows by less than half */
#define WAY_SLOTS 1024u                /* a power of two */

/* What heap_grow gave out. */
struct array {
    void *data;
    size_t bytes;
    int fd; /* -1: anonymous */
};

struct heap_internal {
    struct strtab strings;
    struct map types; /* string << 32 | source -> type */
    size_t types_capacity, ways_capacity;
    uint32_t way_slots[WAY_SLOTS]; /* index + 1 of the last way of a hash */
    struct array *arrays;
    size_t n_arrays, arrays_capacity;
    uint64_t bytes, limit_bytes; /* of anonymous arrays */
    char *directory;
    uint32_t
        *objects; /* host-side nodes after the blocks, ascending by address; made when needed */
    uint32_t n_objects;
    int has_objects;
    int failed;
};

int heap_init(struct heap *h, const char *directory, uint64_t limit_bytes, snap_error *err) {
    *h = (struct heap){.types_ns = TYPES_NS_DEFAULT};
    struct heap_internal *const in = mem_zalloc(1, sizeof *in);
    char *const copy = strdup(directory);
    if (!in || !copy) {
        free(in);
        free(copy);
        return err_set(err, SNAP_E_NOMEM, "no memory to write the snapshot");
    }
    strtab_init(&in->strings);
    map_init(&in->types);
    in->limit_bytes = limit_bytes ? limit_bytes : LIMIT_DEFAULT;
    in->directory = copy;
    h->internal = in;
    return 0;
}

static void array_release(struct heap_internal *in, struct array *a) {
    munmap(a->data, a->bytes);
    if (a->fd >= 0)
        close(a->fd);
    else
        in->bytes -= a->bytes;
}

void heap_release(struct heap *h) {
    struct heap_internal *const in = h->internal;
    if (!in)
        return;
    if (h->release_field)
        h->release_field(h->field_context);
    for (size_t i = 0; i < in->n_arrays; i++)
        array_release(in, &in->arrays[i]);
    free(in->arrays);
    free(in->directory);
    strtab_release(&in->strings);
    map_release(&in->types);
    free(in);
    *h = (struct heap){0};
}

static int fail(struct heap *h) {
    h->internal->failed = 1;
    return -1;
}

int heap_failed(const struct heap *h) {
    return h->internal->failed;
}

/* --- memory --- */

static int open_unlinked(const char *directory) {
    int fd = open(directory, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
    if (fd >= 0)
        return fd;
    char *path;
    if (asprintf(&path, "%s/.heapsnap-XXXXXX", directory) < 0)
        return -1;
    fd = mkostemp(path, O_CLOEXEC);
    if (fd >= 0)
        unlink(path);
    free(path);
    return fd;
}

/* Room for `bytes` in a file that is mapped; the blocks exist, so touching them cannot fail. */
static void *map_file(struct array *a, size_t bytes) {
    if (posix_fallocate(a->fd, 0, (off_t)bytes) != 0)
        return NULL;
    void *const data = a->data ? mremap(a->data, a->bytes, bytes, MREMAP_MAYMOVE)
                               : mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, a->fd, 0);
    return data == MAP_FAILED ? NULL : data;
}

static int move_to_file(struct heap_internal *in, struct array *a, size_t bytes) {
    struct array file = {.fd = open_unlinked(in->directory)};
    if (file.fd < 0)
        return -1;
    file.data = map_file(&file, bytes);
    if (!file.data) {
        close(file.fd);
        return -1;
    }
    file.bytes = bytes;
    if (a->data) {
        memcpy(file.data, a->data, a->bytes);
        array_release(in, a);
    }
    *a = file;
    return 0;
}

static int array_resize(struct heap_internal *in, struct array *a, size_t bytes) {
    if (a->fd >= 0) {
        void *const data = map_file(a, bytes);
        if (!data)
            return -1;
        a->data = data;
        a->bytes = bytes;
        return 0;
    }
    if (in->bytes - a->bytes + bytes > in->limit_bytes && bytes > HUGE_PAGE_BYTES &&
        move_to_file(in, a, bytes) == 0)
        return 0;
    void *const data = a->data ? mremap(a->data, a->bytes, bytes, MREMAP_MAYMOVE)
                               : mmap(NULL, bytes, PROT_READ | PROT_WRITE,
                                      MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (data == MAP_FAILED)
        return -1;
    if (bytes >= 2 * HUGE_PAGE_BYTES)
        madvise(data, bytes, MADV_HUGEPAGE);
    in->bytes += bytes - a->bytes;
    a->data = data;
    a->bytes = bytes;
    return 0;
}

static struct array *find_array(struct heap_internal *in, const void *data) {
    for (size_t i = 0; data && i < in->n_arrays; i++)
        if (in->arrays[i].data == data)
            return &in->arrays[i];
    return NULL;
}

int heap_grow(struct heap *h, void *array, size_t *capacity, size_t need, size_t size) {
    if (need <= *capacity)
        return 0;
    struct heap_internal *const in = h->internal;
    size_t wanted = *capacity + *capacity / (*capacity * size < LARGE_BYTES ? 2 : 8), bytes;
    if (wanted < need)
        wanted = need;
    if (__builtin_mul_overflow(wanted, size, &bytes) || bytes > SIZE_MAX / 2)
        return fail(h);
    if (bytes < ARRAY_BYTES_LEAST)
        bytes = ARRAY_BYTES_LEAST;
    bytes = (bytes + 4095) & ~(size_t)4095;
    void *data;
    memcpy(&data, array, sizeof data);
    struct array *a = find_array(in, data);
    if (!a) {
        if (mem_grow(&in->arrays, &in->arrays_capacity, in->n_arrays + 1, sizeof *a) < 0)
            return fail(h);
        a = &in->arrays[in->n_arrays];
        *a = (struct array){.fd = -1};
        if (array_resize(in, a, bytes) < 0)
            return fail(h);
        in->n_arrays++;
    } else if (array_resize(in, a, bytes) < 0) {
        return fail(h);
    }
    memcpy(array, &a->data, sizeof a->data);
    *capacity = bytes / size;
    return 0;
}

void heap_drop(struct heap *h, void *array) {
    void *data;
    memcpy(&data, array, sizeof data);
    struct array *const a = find_array(h->internal, data);
    if (a) {
        array_release(h->internal, a);
        *a = h->internal->arrays[--h->internal->n_arrays];
    }
    data = NULL;
    memcpy(array, &data, sizeof data);
}

/* --- strings and types --- */

uint32_t heap_string_n(struct heap *h, const char *text, size_t length) {
    uint32_t id;
    if (length > SNAP_BYTES_MAX)
        length = SNAP_BYTES_MAX;
    length = length ? strnlen(text, length) : 0;
    if (length == 0)
        return 0;
    if (strtab_intern(&h->internal->strings, text, length, &id, NULL) < 0) {
        fail(h);
        return 0;
    }
    return id;
}

uint32_t heap_string(struct heap *h, const char *text) {
    return heap_string_n(h, text, strlen(text));
}

const char *heap_text(const struct heap *h, uint32_t string) {
    size_t length;
    return strtab_text(&h->internal->strings, string, &length);
}

uint32_t heap_n_strings(const struct heap *h) {
    return h->internal->strings.n;
}

uint32_t heap_type_add(struct heap *h, const char *name, uint32_t source, uint64_t size,
                       uint32_t flags, uint32_t module) {
    struct heap_internal *const in = h->internal;
    const uint32_t string = heap_string(h, name);
    uint32_t *const slot = map_slot(&in->types, (uint64_t)string << 32 | source);
    if (!slot) {
        fail(h);
        return 0;
    }
    if (*slot) {
        struct heap_type *const known = &h->types[*slot - 1];
        if (known->size != size)
            known->size = 0;
        known->flags |= flags;
        return *slot;
    }
    const uint32_t id = h->n_types + 1;
    *slot = id;
    if (heap_grow(h, &h->types, &in->types_capacity, id, sizeof *h->types) < 0) {
        *slot = 0;
        in->types.n--;
        return 0;
    }
    h->types[h->n_types++] = (struct heap_type){.name = heap_text(h, string),
                                                .size = size,
                                                .source = source,
                                                .flags = flags,
                                                .module = module};
    return id;
}

/* --- ways --- */

static int is_same_way(const struct heap_way *a, const struct heap_way *b) {
    return a->source_offset == b->source_offset && a->target_offset == b->target_offset &&
           a->label == b->label && a->kind == b->kind && a->flags == b->flags;
}

int heap_way_add(struct heap *h, const struct heap_way *way, uint32_t *out) {
    struct heap_internal *const in = h->internal;
    if (way->kind == SNAP_EDGE_INDEX && !way->label && !way->flags && !way->target_offset &&
        way->source_offset < HEAP_WAYS) {
        *out = (uint32_t)way->source_offset;
        return 0;
    }
    const uint64_t hash = (way->source_offset * 31 + way->label * 8 + way->kind) * 31 +
                          way->target_offset * 2 + way->flags;
    uint32_t *const slot = &in->way_slots[hash * 0x9e3779b97f4a7c15u >> 32 & (WAY_SLOTS - 1)];
    if (!*slot || !is_same_way(&h->ways[*slot - 1], way)) {
        if (h->n_ways >= HEAP_WAYS - 1 ||
            heap_grow(h, &h->ways, &in->ways_capacity, h->n_ways + (size_t)1, sizeof *way) < 0)
            return fail(h);
        h->ways[h->n_ways] = *way;
        *slot = ++h->n_ways;
    }
    *out = *slot - 1 + HEAP_WAYS;
    return 0;
}

/* --- finding --- */

static int compare_objects(const void *a, const void *b, void *context) {
    const struct heap *const h = context;
    const uint64_t x = h->address[*(const uint32_t *)a - 1],
                   y = h->address[*(const uint32_t *)b - 1];
    if (x != y)
        return x < y ? -1 : 1;
    return *(const uint32_t *)a < *(const uint32_t *)b ? -1 : 1;
}

static int is_host(uint32_t domain) {
    return domain != SNAP_DOMAIN_DEVICE;
}

static void index_objects(struct heap *h) {
    struct heap_internal *const in = h->internal;
    in->has_objects = 1;
    size_t capacity = 0;
    if (h->n_nodes == h->n_blocks ||
        heap_grow(h, &in->objects, &capacity, h->n_nodes - h->n_blocks, sizeof *in->objects) < 0)
        return;
    for (uint32_t node = h->n_blocks + 1; node <= h->n_nodes; node++)
        if (is_host(heap_domain(h, node)))
            in->objects[in->n_objects++] = node;
    qsort_r(in->objects, in->n_objects, sizeof *in->objects, compare_objects, h);
}

static int holds(const struct heap *h, uint32_t node, uint64_t address) {
    const uint64_t offset = address - h->address[node - 1];
    return offset == 0 || offset < h->size[node - 1];
}

uint32_t heap_find(struct heap *h, uint64_t address) {
    struct heap_internal *const in = h->internal;
    if (!in->has_objects)
        index_objects(h);
    uint32_t low = 0, high = in->n_objects;
    while (low < high) {
        const uint32_t middle = low + (high - low) / 2;
        if (h->address[in->objects[middle] - 1] <= address)
            low = middle + 1;
        else
            high = middle;
    }
    if (low > 0 && holds(h, in->objects[low - 1], address))
        return in->objects[low - 1];
    low = 0;
    high = h->n_blocks;
    while (low < high) {
        const uint32_t middle = low + (high - low) / 2;
        if (h->address[middle] <= address)
            low = middle + 1;
        else
            high = middle;
    }
    return low > 0 && holds(h, low, address) ? low : 0;
}

uint32_t heap_module_at(const struct heap *h, uint64_t address) {
    uint32_t low = 0, high = h->n_modules;
    while (low < high) {
        const uint32_t middle = low + (high - low) / 2;
        if (h->modules[middle].start <= address)
            low = middle + 1;
        else
            high = middle;
    }
    return low > 0 && address < h->modules[low - 1].end ? low : 0;
}

uint64_t heap_edge_from(const struct heap *h, uint32_t node, uint64_t offset) {
    uint64_t low = h->first_edge[node - 1], high = h->first_edge[node];
    while (low < high) {
        const uint64_t middle = low + (high - low) / 2;
        if ((uint64_t)h->edges[middle].source_word * 8 < offset)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

int heap_drop_roots(struct heap *h,
                    int (*is_dropped)(const void *context, const struct heap_root *root),
                    const void *context) {
    uint32_t *const numbers = mem_zalloc((size_t)h->n_roots + 1, sizeof *numbers), kept = 0;
    if (!numbers)
        return -1;
    for (uint32_t i = 0; i < h->n_roots; i++)
        if (!is_dropped(context, &h->roots[i])) {
            h->roots[kept++] = h->roots[i];
            numbers[i] = kept;
        }
    h->n_roots = kept;
    for (uint32_t i = 0; i < h->n_hooks; i++)
        if (h->hooks[i].root)
            h->hooks[i].root = numbers[h->hooks[i].root - 1];
    free(numbers);
    return 0;
}

uint32_t heap_frame_at(const struct heap *h, uint32_t thread, uint64_t address) {
    uint32_t low = 0, high = h->n_frames;
    while (low < high) {
        const uint32_t middle = low + (high - low) / 2;
        const struct heap_frame *const f = &h->frames[middle];
        if (f->thread < thread || (f->thread == thread && f->sp <= address))
            low = middle + 1;
        else
            high = middle;
    }
    return low > 0 && h->frames[low - 1].thread == thread ? low : 0;
}
