/* The typing pass over this very program: the fixture that is linked in makes blocks of known
 * types, the heap is built from its memory word by word, and the types, the names of references and
 * those of roots are compared.
 *
 * TYPING_BLOCKS: how many blocks; TYPING_SEEDS: how many worlds, each in a process of its own. */
#include "typing_world.h"

#include <check.h>
#include <link.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "model/heap.h"
#include "symbol/layout.h"
#include "symbol/symbol.h"

struct block {
    uintptr_t address;
    size_t size;
    const char *type;
    int is_guess;
};

struct label {
    uintptr_t block;
    size_t offset;
    const char *text; /* NULL: what is to be known is whether it is used */
    int is_unused;
};

static struct block *blocks;
static size_t n_blocks, capacity;
static struct label labels[256];
static size_t n_labels;

/* The C library's own blocks are not the world's: they are found by nobody. */
static void add(void *address, size_t size, const char *type) {
    if (n_blocks == capacity) {
        capacity = capacity ? capacity * 2 : 1024;
        blocks = realloc(blocks, capacity * sizeof *blocks);
        if (!blocks)
            abort();
    }
    blocks[n_blocks++] = (struct block){.address = (uintptr_t)address, .size = size, .type = type};
}

void *world_block(size_t size, const char *type) {
    void *const block = calloc(1, size);
    if (!block)
        abort();
    add(block, size, type);
    return block;
}

void world_add(void *block, size_t size) {
    add(block, size, NULL);
}

void world_forget(void *block) {
    for (size_t i = n_blocks; i-- > 0;) {
        if (blocks[i].address == (uintptr_t)block) {
            blocks[i] = blocks[--n_blocks];
            return;
        }
    }
}

static struct block *find_block(const void *address) {
    for (size_t i = n_blocks; i-- > 0;) {
        if ((uintptr_t)address - blocks[i].address < blocks[i].size)
            return &blocks[i];
    }
    fprintf(stderr, "no block at %p\n", address);
    abort();
}

void world_expect(const void *block, const char *type) {
    find_block(block)->type = type;
}

void world_expect_guess(const void *block, const char *type) {
    struct block *const b = find_block(block);
    b->type = type;
    b->is_guess = 1;
}

void world_expect_label(const void *block, size_t offset, const char *label) {
    ck_assert_uint_lt(n_labels, sizeof labels / sizeof *labels);
    labels[n_labels++] =
        (struct label){.block = find_block(block)->address, .offset = offset, .text = label};
}

void world_expect_unused(const void *block, size_t offset, int is_unused) {
    ck_assert_uint_lt(n_labels, sizeof labels / sizeof *labels);
    labels[n_labels++] = (struct label){
        .block = find_block(block)->address, .offset = offset, .is_unused = is_unused};
}

void world_expect_name(const void *word, const char *name) {
    ck_assert_uint_lt(n_labels, sizeof labels / sizeof *labels);
    labels[n_labels++] = (struct label){.offset = (uintptr_t)word, .text = name};
}

static int compare_blocks(const void *a, const void *b) {
    const struct block *const x = a, *const y = b;
    return x->address < y->address ? -1 : x->address > y->address;
}

static const struct block *block_at(uintptr_t address) {
    size_t low = 0, high = n_blocks;
    while (low < high) {
        const size_t middle = low + (high - low) / 2;
        if (blocks[middle].address <= address)
            low = middle + 1;
        else
            high = middle;
    }
    return low > 0 && address - blocks[low - 1].address < blocks[low - 1].size ? &blocks[low - 1]
                                                                               : NULL;
}

struct image {
    uint64_t start, end, bias;
    uintptr_t data, data_end;
};

static int see_image(struct dl_phdr_info *info, size_t size, void *context) {
    struct image *const image = context;
    image->bias = info->dlpi_addr;
    image->start = UINT64_MAX;
    for (int i = 0; i < info->dlpi_phnum; i++) {
        const ElfW(Phdr) *const segment = &info->dlpi_phdr[i];
        if (segment->p_type != PT_LOAD)
            continue;
        const uint64_t from = info->dlpi_addr + segment->p_vaddr;
        if (from < image->start)
            image->start = from;
        image->end = from + segment->p_memsz;
        if (segment->p_flags & PF_W) {
            image->data = (from + 7) & ~(uintptr_t)7;
            image->data_end = image->end & ~(uintptr_t)7;
        }
    }
    return 1; /* the program is the first */
}

/* The test's own variables point at blocks, too. */
static int is_own(uintptr_t address) {
    return (address - (uintptr_t)&blocks < sizeof blocks) ||
           (address - (uintptr_t)labels < sizeof labels);
}

static void build_heap(struct heap *h, struct symbolizer *s, struct heap_module *module) {
    struct image image = {.start = 0};
    size_t n_edges = 0, edges_capacity = 0, n_roots = 0, roots_capacity = 0, c[6] = {0};
    dl_iterate_phdr(see_image, &image);
    *module = (struct heap_module){
        .start = image.start, .end = image.end, .bias = image.bias, .path = "/proc/self/exe"};
    ck_assert_int_eq(symbolizer_module(s, module->path, NULL, &module->symbols, NULL), 0);
    ck_assert_int_eq(heap_init(h, "/tmp", 0, NULL), 0);
    h->symbolizer = s;
    h->modules = module;
    h->n_modules = 1;
    qsort(blocks, n_blocks, sizeof *blocks, compare_blocks);
    h->n_blocks = h->n_nodes = (uint32_t)n_blocks;
    ck_assert_int_eq(heap_grow(h, &h->address, &c[0], n_blocks, sizeof *h->address), 0);
    ck_assert_int_eq(heap_grow(h, &h->size, &c[1], n_blocks, sizeof *h->size), 0);
    ck_assert_int_eq(heap_grow(h, &h->type, &c[2], n_blocks, sizeof *h->type), 0);
    ck_assert_int_eq(heap_grow(h, &h->first_edge, &c[3], n_blocks + 1, sizeof *h->first_edge), 0);
    for (size_t i = 0; i < n_blocks; i++) {
        h->address[i] = blocks[i].address;
        h->size[i] = blocks[i].size;
        h->first_edge[i] = n_edges;
        const uintptr_t *const words = (const uintptr_t *)blocks[i].address;
        for (size_t k = 0; k < blocks[i].size / 8; k++) {
            const struct block *const to = block_at(words[k]);
            if (!to)
                continue;
            ck_assert_int_eq(
                heap_grow(h, &h->edges, &edges_capacity, n_edges + 1, sizeof *h->edges), 0);
            h->edges[n_edges++] =
                (struct heap_edge){.target = (uint32_t)(to - blocks) + 1,
                                   .source_word = (uint32_t)k,
                                   .target_offset = (uint32_t)(words[k] - to->address)};
        }
    }
    h->first_edge[n_blocks] = h->n_edges = n_edges;
    for (uintptr_t at = image.data; at < image.data_end; at += 8) {
        const struct block *const to = is_own(at) ? NULL : block_at(*(const uintptr_t *)at);
        if (!to)
            continue;
        ck_assert_int_eq(heap_grow(h, &h->roots, &roots_capacity, n_roots + 1, sizeof *h->roots),
                         0);
        h->roots[n_roots++] =
            (struct heap_root){.address = at,
                               .target = (uint32_t)(to - blocks) + 1,
                               .target_offset = *(const uintptr_t *)at - to->address,
                               .kind = SNAP_ROOT_GLOBAL,
                               .module = 1};
    }
    h->n_roots = (uint32_t)n_roots;
}

static void check_use(struct heap *h, const struct label *label) {
    const uint32_t node = (uint32_t)(block_at(label->block) - blocks) + 1;
    uint16_t kind = SNAP_EDGE_POINTER, flags = 0;
    const uint64_t e = heap_edge_from(h, node, label->offset);
    ck_assert_uint_lt(e, h->first_edge[node]);
    ck_assert_uint_eq((uint64_t)h->edges[e].source_word * 8, label->offset);
    h->field(h, h->field_context, h->type[node - 1], label->offset, h->size[node - 1], &kind,
             &flags);
    ck_assert_int_eq(heap_is_unused(h, node, label->offset) || (flags & SNAP_EDGE_FLAG_LOW),
                     label->is_unused);
}

static void check_labels(struct heap *h) {
    for (size_t i = 0; i < n_labels; i++) {
        const struct label *const label = &labels[i];
        const char *found = "no root";
        if (label->block && !label->text) {
            check_use(h, label);
            continue;
        }
        if (label->block) {
            const struct block *const block = block_at(label->block);
            uint16_t kind = SNAP_EDGE_POINTER, flags = 0;
            found = heap_text(h, h->field(h, h->field_context, h->type[block - blocks],
                                          label->offset, block->size, &kind, &flags));
        } else {
            for (uint32_t k = 0; k < h->n_roots; k++) {
                if (h->roots[k].address == label->offset)
                    found = heap_text(h, h->roots[k].name);
            }
        }
        ck_assert_msg(strcmp(found, label->text) == 0, "'%s' is called '%s'", label->text, found);
    }
}

static unsigned number(const char *name, unsigned otherwise) {
    const char *const text = getenv(name);
    return text ? (unsigned)strtoul(text, NULL, 10) : otherwise;
}

START_TEST(types_of_a_world) {
    struct heap heap;
    struct symbolizer *s;
    struct heap_module module;
    world_build((unsigned)_i + 1, number("TYPING_BLOCKS", 2000));
    ck_assert_int_eq(symbolizer_new(&s, NULL, NULL), 0);
    build_heap(&heap, s, &module);
    struct timespec from, to;
    clock_gettime(CLOCK_MONOTONIC, &from);
    ck_assert_int_eq(typing_pass(&heap, NULL), 0);
    clock_gettime(CLOCK_MONOTONIC, &to);
    uint64_t right = 0, missing = 0;
    size_t n_wrong = 0, n_guesses = 0;
    for (size_t i = 0; i < n_blocks; i++) {
        const struct block *const block = &blocks[i];
        const struct heap_type *const type = heap.type[i] ? &heap.types[heap.type[i] - 1] : NULL;
        const int is_right = type && block->type && strcmp(type->name, block->type) == 0 &&
                             (type->source == SNAP_TYPE_GUESS) == block->is_guess;
        n_guesses += type && type->source == SNAP_TYPE_GUESS;
        if (is_right)
            right += block->size;
        else if (!type && block->type && !block->is_guess) {
            if (missing == 0 || getenv("TYPING_VERBOSE"))
                fprintf(stderr, "# missing: %s (%zu bytes)\n", block->type, block->size);
            missing += block->size;
        } else if (type && n_wrong++ < 10)
            fprintf(stderr, "# a block of %zu bytes is %s%s, and should be %s\n", block->size,
                    type->name, type->source == SNAP_TYPE_GUESS ? " (guess)" : "",
                    block->type ? block->type : "without a type");
    }
    printf("# %zu blocks, %zu references, %u roots: %.1f%% of bytes typed, %zu guesses, %.1f ms\n",
           n_blocks, (size_t)heap.n_edges, heap.n_roots,
           100.0 * (double)right / (double)(right + missing + 1), n_guesses,
           (double)(to.tv_sec - from.tv_sec) * 1e3 + (double)(to.tv_nsec - from.tv_nsec) / 1e6);
    ck_assert_uint_eq(n_wrong, 0);
    ck_assert_uint_gt(right, 0);
    ck_assert_msg((double)right >= 0.98 * (double)(right + missing), "%zu bytes without a type",
                  (size_t)missing);
    check_labels(&heap);
    heap_release(&heap);
    symbolizer_free(s);
}
END_TEST

int main(void) {
    Suite *const suite = suite_create("typing");
    TCase *const tcase = tcase_create("world");
    suite_add_tcase(suite, tcase);
    tcase_set_timeout(tcase, 120);
    tcase_add_loop_test(tcase, types_of_a_world, 0, (int)number("TYPING_SEEDS", 3));
    SRunner *const runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    const int n_failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return n_failed ? 1 : 0;
}
