/* C++ objects that Python's objects lead to, where no recorder tells which blocks there are: the
 * tensors, storages and nodes of autograd of PyTorch, whose references Python does not see.
 *
 * A word is believed to be the address of an object if the object's first word is that of a virtual
 * table of an image, by the ABI that compilers share; how large its block is says malloc. From
 * there on the words of every block that was found are looked at, and those of arrays that it has
 * as std::vector has them: a start, an end of what is in use and an end of what there is. A storage
 * refers to its bytes twice, as what they are and as what is freed; which of its words says how
 * many they are is learned from those that malloc knows the size of. What references mean is found
 * out by the receiver (model/autograd.c), as for recorded blocks.
 *
 * Runs in the copy of a process, guarded, and only reads: no code of PyTorch or of the program is
 * called, no object is made. Bounded in blocks and in time; what is left out is counted. Other
 * native memory is not looked at, so nobody knows who else refers to a block: objects of PyTorch
 * count their references, and one that counts more than were found is held by somebody unknown. */
#include "python/walker.h"

#include <elf.h>
#include <gnu/libc-version.h>
#include <heapsnap/snapdef.h>
#include <malloc.h>

#include "capture/procfs.h"
#include "capture/spans.h"
#include "capture/vtable.h"
#include "python/guard.h"

#define BLOCKS_MAX ((uint32_t)4 << 20)
#define TIME_MAX_NS UINT64_C(10000000000)
#define CLASSES_MAX ((uint32_t)8 << 10)
#define CLASS_SLOTS (CLASSES_MAX * 4)
#define OBJECT_SIZE_MAX ((uint64_t)64 << 10)
#define ARRAY_SIZE_MAX ((uint64_t)1 << 28)
#define STORAGE_WORDS 16

struct segment {
    uint64_t start, end;
    uint8_t is_heap, is_code; /* neither: data of an image */
};

struct native_class {
    uint64_t table;
    uint32_t id;        /* in the stream; 0: not sent */
    uint8_t is_class;   /* else what stands there is no virtual table */
    uint8_t is_counted; /* its objects count their references */
    uint8_t is_storage, is_tensor;
};

static struct segment *segments(const struct natives *n) {
    return (struct segment *)(void *)n->segments.data;
}

static struct native_block *blocks(const struct natives *n) {
    return (struct native_block *)(void *)n->blocks.data;
}

static size_t n_segments(const struct natives *n) {
    return n->segments.length / sizeof(struct segment);
}

/* --- mappings --- */

/* Where the image ends whose header is at an address: behind its data there are variables in memory
 * that has no name. */
static uint64_t end_of_image(uint64_t start, uint64_t length) {
    const Elf64_Ehdr *const header = (const void *)start;
    if (length < sizeof *header || memcmp(header->e_ident, ELFMAG, SELFMAG) != 0 ||
        header->e_phentsize != sizeof(Elf64_Phdr) ||
        header->e_phoff + (uint64_t)header->e_phnum * sizeof(Elf64_Phdr) > length)
        return 0;
    const Elf64_Phdr *const p = (const void *)(start + header->e_phoff);
    uint64_t low = UINT64_MAX, high = 0;
    for (unsigned i = 0; i < header->e_phnum; i++)
        if (p[i].p_type == PT_LOAD) {
            low = p[i].p_vaddr < low ? p[i].p_vaddr : low;
            high = p[i].p_vaddr + p[i].p_memsz > high ? p[i].p_vaddr + p[i].p_memsz : high;
        }
    high = (high + 4095) & ~UINT64_C(4095);
    return low < high ? start + (high - (low & ~UINT64_C(4095))) : 0;
}

static void add_segment(struct natives *n, const struct segment *s) {
    uint64_t *const low = s->is_heap ? &n->heap_low : &n->image_low;
    uint64_t *const high = s->is_heap ? &n->heap_high : &n->image_high;
    *low = s->start < *low || !*low ? s->start : *low;
    *high = s->end > *high ? s->end : *high;
    struct segment *const last = n_segments(n) ? &segments(n)[n_segments(n) - 1] : NULL;
    if (last && last->end == s->start && last->is_heap == s->is_heap && last->is_code == s->is_code)
        last->end = s->end;
    else
        memory_add(&n->segments, s, sizeof *s);
}

struct maps {
    struct natives *natives;
    struct procfs_lines lines;
    uint64_t image_start, image_end;
};

static int read_mapping(void *context, size_t i) {
    enum { READ = 1, WRITE = 2, EXECUTE = 4, SHARED = 8 };
    struct maps *const maps = context;
    struct natives *const n = maps->natives;
    char *const line = procfs_lines_next(&maps->lines);
    struct procfs_mapping m;
    if (!line)
        return 1;
    if (!procfs_mapping_parse(line, &m) || !(m.protection & READ) || m.protection & SHARED)
        return 0;
    struct segment s = {.start = m.start, .end = m.end, .is_code = (m.protection & EXECUTE) != 0};
    if (*m.name == '/') {
        if (m.offset == 0 && m.start >= maps->image_end) {
            maps->image_start = m.start;
            maps->image_end = end_of_image(m.start, m.end - m.start);
        }
        const uint64_t type = (uintptr_t)&PyType_Type, libc = (uintptr_t)&gnu_get_libc_version;
        if (type >= maps->image_start && type < maps->image_end) {
            n->interpreter_start = maps->image_start;
            n->interpreter_end = maps->image_end;
        }
        if (libc >= maps->image_start && libc < maps->image_end) {
            const uint64_t malloc_ = (uintptr_t)&malloc_usable_size;
            n->has_headers = malloc_ >= maps->image_start && malloc_ < maps->image_end;
        }
        add_segment(n, &s);
    } else if ((m.protection & WRITE) && (*m.name == '\0' || strcmp(m.name, "[heap]") == 0 ||
                                          strncmp(m.name, "[anon:", 6) == 0)) {
        s.is_heap = 1;
        if (s.start < maps->image_end)
            s.start = maps->image_end < s.end ? maps->image_end : s.end;
        if (s.start < s.end)
            add_segment(n, &s);
    }
    return 0;
}

static int miss_mapping(void *context, size_t i) {
    ((struct maps *)context)->natives->n_missed++;
    return 0;
}

static const struct segment *segment_at(struct natives *n, uint64_t address, int is_heap) {
    const struct segment *const all = segments(n);
    const struct segment *const last = &all[n->last_segment[is_heap]];
    if (address >= last->start && address < last->end)
        return last;
    const size_t i = spans_ending_after(all, sizeof *all, n_segments(n), address);
    if (i == n_segments(n) || all[i].start > address)
        return NULL;
    n->last_segment[is_heap] = i;
    return &all[i];
}

static uint64_t end_of_data(const void *natives, uint64_t address, int is_data) {
    const struct segment *const s = segment_at((struct natives *)natives, address, 0);
    return s && !s->is_heap && !(is_data && s->is_code) ? s->end : 0;
}

static struct vtable_images images(struct natives *n) {
    return (struct vtable_images){.context = n, .end = end_of_data};
}

/* --- classes --- */

static int is_name(const char *name, size_t length, const char *wanted) {
    return name && length == strlen(wanted) && memcmp(name, wanted, length) == 0;
}

/* Whether a class, or one that it begins with, has a name. */
static int is_class_of(const struct vtable_images *m, uint64_t type_info, const char *wanted) {
    for (unsigned depth = 0; depth < 16; depth++) {
        size_t length = 0;
        const char *const name = vtable_type_name(m, type_info, &length);
        if (is_name(name, length, wanted))
            return 1;
        const char *const kind = vtable_kind(m, type_info, &length);
        const uint64_t *const words = (const void *)type_info;
        if (is_name(kind, length, "N10__cxxabiv120__si_class_type_infoE") &&
            vtable_has_data(m, type_info, 24))
            type_info = words[2];
        else if (is_name(kind, length, "N10__cxxabiv121__vmi_class_type_infoE") &&
                 vtable_has_data(m, type_info, 40) && words[2] >> 32 > 0 &&
                 (words[4] & ~UINT64_C(0xff)) == 0 && !(words[4] & 1))
            type_info = words[3]; /* the first base, which stands at the start */
        else
            return 0;
        if (!vtable_has_data(m, type_info, 16))
            return 0;
    }
    return 0;
}

static struct native_class *class_of(struct natives *n, uint64_t table) {
    struct native_class *const all = (struct native_class *)(void *)n->classes.data;
    uint32_t *const index = (uint32_t *)(void *)n->class_index.data;
    if (table < n->image_low || table >= n->image_high || table % 8 != 0)
        return NULL;
    size_t at = table * UINT64_C(0x9E3779B97F4A7C15) >> 40 & (CLASS_SLOTS - 1);
    for (; index[at]; at = (at + 1) & (CLASS_SLOTS - 1))
        if (all[index[at] - 1].table == table)
            return all[index[at] - 1].is_class ? &all[index[at] - 1] : NULL;
    if (!end_of_data(n, table, 1))
        return NULL;
    if (n->n_classes == CLASSES_MAX) {
        n->n_missed++;
        return NULL;
    }
    struct native_class *const c = &all[n->n_classes];
    *c = (struct native_class){.table = table};
    index[at] = ++n->n_classes;
    const struct vtable_images m = images(n);
    if (!vtable_is(&m, table) || ((const int64_t *)(const void *)table)[-2] != 0)
        return NULL;
    const uint64_t type_info = ((const uint64_t *)(const void *)table)[-1];
    size_t length = 0;
    const char *const name = vtable_type_name(&m, type_info, &length);
    c->is_storage = is_name(name, length, "N3c1011StorageImplE");
    /* c10's base of what counts its references, which has the count in its second word. */
    c->is_counted = is_class_of(&m, type_info, "N3c1020intrusive_ptr_targetE");
    c->is_tensor = is_class_of(&m, type_info, "N3c1010TensorImplE");
    c->is_class = 1;
    return c;
}

/* --- blocks --- */

static uint32_t *block_slot(const struct natives *n, uint64_t address) {
    uint32_t *const index = (uint32_t *)(void *)n->index.data;
    const size_t mask = n->index.length / sizeof *index - 1;
    size_t at = (address >> 4) * UINT64_C(0x9E3779B97F4A7C15) >> 20 & mask;
    while (index[at] && blocks(n)[index[at] - 1].address != address)
        at = (at + 1) & mask;
    return &index[at];
}

static int grow_index(struct natives *n) {
    struct memory old = n->index;
    n->index = (struct memory){0};
    if (!memory_zeroed(&n->index, old.length ? old.length * 2 : (size_t)256 << 10)) {
        n->index = old;
        return -1;
    }
    memory_release(&old);
    for (uint32_t i = 0; i < n->n_blocks; i++)
        *block_slot(n, blocks(n)[i].address) = i + 1;
    return 0;
}

static void add_block(struct natives *n, const struct native_block *b) {
    if (n->n_blocks == BLOCKS_MAX ||
        (n->n_blocks % 4096 == 4095 && n->end_ns && raw_clock_ns(CLOCK_MONOTONIC) > n->end_ns)) {
        n->n_missed++;
        n->end_ns = 1; /* no more */
        return;
    }
    if ((size_t)n->n_blocks * 2 * sizeof(uint32_t) >= n->index.length && grow_index(n) < 0) {
        n->n_missed++;
        return;
    }
    memory_add(&n->blocks, b, sizeof *b);
    if (n->blocks.failed) {
        n->n_missed++;
        return;
    }
    *block_slot(n, b->address) = ++n->n_blocks;
}

static int is_full(const struct natives *n) {
    return n->end_ns == 1;
}

/* glibc's malloc has the size before each block and looks behind it, whatever it is asked about. */
static int has_header(uint64_t address, uint64_t room) {
    enum { FLAGS = 7, MAPPED = 2, LEAST = 32 };
    const uint64_t word = *(const uint64_t *)(address - 8), size = word & ~(uint64_t)FLAGS;
    return size >= LEAST && size % 16 == 0 && size - 16 <= room &&
           (word & MAPPED || room - (size - 16) >= 16);
}

/* Bytes of what malloc gave at an address, at most up to the mapping's end; 0: it gave nothing. */
static uint64_t usable_size(struct natives *n, uint64_t address, uint64_t most) {
    if (address % 16 != 0 || address < n->heap_low || address >= n->heap_high)
        return 0;
    const struct segment *const s = segment_at(n, address, 1);
    if (!s || !s->is_heap || address - s->start < 16 ||
        (n->has_headers && !has_header(address, s->end - address)))
        return 0;
    const uint64_t size = malloc_usable_size((void *)address);
    return size <= most && size <= s->end - address ? size : 0;
}

/* Whether a word is the address of a C++ object in memory from malloc; it becomes a block. */
static int look_at_word(struct natives *n, uint64_t value) {
    if (value % 16 != 0 || value < n->heap_low || value >= n->heap_high)
        return 0;
    if (*block_slot(n, value))
        return blocks(n)[*block_slot(n, value) - 1].table != 0;
    const struct segment *const s = segment_at(n, value, 1);
    if (!s || !s->is_heap || s->end - value < 16)
        return 0;
    const struct native_class *const class = class_of(n, *(const uint64_t *)value);
    const uint64_t size = class ? usable_size(n, value, OBJECT_SIZE_MAX) : 0;
    if (size < 16)
        return 0;
    add_block(
        n, &(struct native_block){.address = value,
                                  .size = size & ~UINT64_C(7),
                                  .table = class->table,
                                  .n_counted = class->is_counted ? ((const uint32_t *)value)[2] : 0,
                                  .is_storage = class->is_storage});
    return 1;
}

/* Three words as std::vector has them. */
static void look_at_array(struct natives *n, const uint64_t *words) {
    const uint64_t start = words[0], used = words[1], end = words[2];
    if (start == 0 || used <= start || end < used || end - start > ARRAY_SIZE_MAX ||
        (used - start) % 8 != 0 || (end - start) % 8 != 0 || start < n->heap_low ||
        end > n->heap_high || *block_slot(n, start))
        return;
    const uint64_t size = usable_size(n, start, UINT64_MAX);
    if (size >= end - start && size <= (end - start) / 4 * 5 + 64)
        add_block(n, &(struct native_block){.address = start, .size = end - start});
}

static int look_at_words(struct natives *n, const uint64_t *words, uint64_t n_words,
                         int has_arrays) {
    int found = 0;
    for (uint64_t i = 0; i < n_words && !is_full(n); i++)
        found |= look_at_word(n, words[i]);
    if (found || has_arrays)
        for (uint64_t i = 0; i + 2 < n_words && !is_full(n); i++)
            look_at_array(n, words + i);
    return found;
}

/* --- from objects, and from block to block --- */

/* Objects of the language's own types refer to objects only. */
static int is_of_interpreter(const struct natives *n, const PyTypeObject *type) {
    return (uintptr_t)type >= n->interpreter_start && (uintptr_t)type < n->interpreter_end;
}

/* Whether there is any. */
static int mark_foreign(struct managed_walk *w) {
    int has_any = 0;
    for (uint32_t i = 0; i < w->types_size; i++) {
        struct type_entry *const e = &walk_types(w)[i];
        e->is_foreign = e->type && !e->is_bad && !e->is_plain &&
                        !is_of_interpreter(&w->natives, e->type) &&
                        !PyType_HasFeature(e->type, Py_TPFLAGS_TYPE_SUBCLASS);
        has_any |= e->is_foreign;
    }
    return has_any;
}

static int look_at_object(void *context, size_t i) {
    struct managed_walk *const w = context;
    struct natives *const n = &w->natives;
    uint64_t external;
    if (i >= w->n_nodes || is_full(n))
        return 1;
    const struct node *const node = &walk_nodes(w)[i];
    PyObject *const op = node->object;
    if (node->is_bad || !walk_types(w)[node->type].is_foreign)
        return 0;
    const uint64_t size = walk_size(w, node, &external);
    const uint64_t n_words = size <= OBJECT_SIZE_MAX ? size / 8 : 0;
    ((uint8_t *)n->seeds.data)[i] = (uint8_t)look_at_words(n, (const void *)op, n_words, 0);
    return 0;
}

static int look_at_block(void *context, size_t i) {
    struct natives *const n = &((struct managed_walk *)context)->natives;
    if (i >= n->n_blocks || is_full(n))
        return 1;
    const struct native_block b = blocks(n)[i];
    look_at_words(n, (const void *)b.address, b.size / 8, b.table != 0);
    return 0;
}

static int count_missed(void *context, size_t i) {
    ((struct managed_walk *)context)->natives.n_missed++;
    return 0;
}

/* --- the bytes of storages --- */

struct storages {
    struct managed_walk *walk;
    uint32_t votes[STORAGE_WORDS], data_votes[STORAGE_WORDS];
    uint32_t n_voters, size_word; /* + 1 */
    uint32_t n_blocks;            /* that are looked at */
};

/* Where a storage's bytes are, if it is what frees them; 0: they are somebody else's. */
static uint64_t owned_data(const struct native_block *b, unsigned *out_first,
                           unsigned *out_second) {
    const uint64_t *const words = (const void *)b->address;
    const unsigned n = b->size / 8 < STORAGE_WORDS ? (unsigned)(b->size / 8) : STORAGE_WORDS;
    for (unsigned i = 2; i < n; i++)
        for (unsigned k = i + 1; k < n && words[i] > 4096; k++)
            if (words[i] == words[k] && words[i] % 16 == 0) {
                *out_first = i;
                *out_second = k;
                return words[i];
            }
    return 0;
}

static int vote(void *context, size_t i) {
    enum { LARGE = 128 << 10 };
    struct storages *const s = context;
    struct natives *const n = &s->walk->natives;
    unsigned first, second;
    if (i >= s->n_blocks)
        return 1;
    const struct native_block *const b = &blocks(n)[i];
    const uint64_t data = b->is_storage ? owned_data(b, &first, &second) : 0;
    const uint64_t size = data ? usable_size(n, data, UINT64_MAX) : 0;
    if (data)
        s->data_votes[first]++; /* wherever it is */
    if (size == 0)
        return 0;
    s->n_voters++;
    for (unsigned k = 2; k < STORAGE_WORDS && k < b->size / 8; k++) {
        const uint64_t value = ((const uint64_t *)(const void *)b->address)[k];
        s->votes[k] += value > 0 && value <= size && size - value <= (size < LARGE ? 64 : 8192);
    }
    return 0;
}

static int add_data(void *context, size_t i) {
    struct storages *const s = context;
    struct natives *const n = &s->walk->natives;
    unsigned first, second;
    if (i >= s->n_blocks || is_full(n))
        return 1;
    const struct native_block b = blocks(n)[i];
    const uint64_t data = b.is_storage ? owned_data(&b, &first, &second) : 0;
    const uint64_t room = data ? usable_size(n, data, UINT64_MAX) : 0;
    const uint64_t size = room && s->size_word <= b.size / 8
                              ? ((const uint64_t *)(const void *)b.address)[s->size_word - 1]
                              : 0;
    if (size > 0 && size <= room && !*block_slot(n, data))
        add_block(n, &(struct native_block){.address = data, .size = size, .is_data = 1});
    return 0;
}

static int miss_storage(void *context, size_t i) {
    ((struct storages *)context)->walk->natives.n_missed++;
    return 0;
}

static unsigned most_votes(const uint32_t votes[STORAGE_WORDS]) {
    unsigned best = 0;
    for (unsigned k = 1; k < STORAGE_WORDS; k++)
        best = votes[k] > votes[best] ? k : best;
    return best;
}

static void add_all_data(struct managed_walk *w) {
    struct storages s = {.walk = w, .n_blocks = w->natives.n_blocks};
    guard_each(0, vote, miss_storage, &s);
    const unsigned best = most_votes(s.votes);
    s.size_word = best + 1;
    w->natives.data_word = most_votes(s.data_votes);
    if (s.votes[best] * 2 > s.n_voters)
        guard_each(0, add_data, miss_storage, &s);
    else
        w->natives.n_missed += s.n_voters;
}

/* --- the order of blocks --- */

static void sort_blocks(struct natives *n) {
    struct native_block *const all = blocks(n);
    spans_sort(all, sizeof *all, n->n_blocks);
    for (uint32_t i = 0; i + 1 < n->n_blocks; i++)
        if (all[i + 1].address - all[i].address < all[i].size)
            all[i].size = all[i + 1].address - all[i].address;
    memory_release(&n->index);
}

uint32_t natives_block_at(const struct managed_walk *w, uint64_t address) {
    const struct native_block *const all = natives_blocks(w);
    uint32_t low = 0, high = w->natives.n_blocks;
    while (low < high) {
        const uint32_t middle = low + (high - low) / 2;
        if (all[middle].address <= address)
            low = middle + 1;
        else
            high = middle;
    }
    return low > 0 && address - all[low - 1].address < all[low - 1].size ? low : 0;
}

/* --- references --- */

struct edges {
    struct managed_walk *walk;
    void (*fn)(struct managed_walk *w, const struct wire_edge *edge);
};

/* The words of a storage that say where its bytes on a device are. */
static int has_device_edge(const struct edges *e, uint32_t source, uint64_t word, uint64_t i) {
    struct managed_walk *const w = e->walk;
    const struct native_block *const b = &natives_blocks(w)[source - 1];
    uint64_t offset;
    const uint32_t range =
        b->is_storage && word == ((const uint64_t *)b->address)[w->natives.data_word]
            ? device_range(w, source - 1, word, &offset)
            : 0;
    if (range) {
        const struct wire_edge edge = {.source = source,
                                       .target = w->natives.n_blocks + w->n_nodes + range,
                                       .source_word = (uint32_t)i,
                                       .target_offset =
                                           offset < UINT32_MAX ? (uint32_t)offset : UINT32_MAX};
        e->fn(w, &edge);
    }
    return range != 0;
}

/* Words of a source that refer to something; edge ids are the stream's, where blocks come first. */
static void each_edge(const struct edges *e, uint32_t source, uint64_t address, uint64_t size) {
    struct managed_walk *const w = e->walk;
    const struct natives *const n = &w->natives;
    const uint64_t *const words = (const void *)address;
    for (uint64_t i = 0; i < size / 8; i++) {
        if ((source <= n->n_blocks && has_device_edge(e, source, words[i], i)) ||
            words[i] < n->heap_low || words[i] >= n->heap_high)
            continue;
        const uint32_t block = natives_block_at(w, words[i]);
        const uint32_t object = block || source > n->n_blocks || words[i] % 8 != 0
                                    ? 0
                                    : walk_find(w, (const void *)words[i]);
        if (!block && (!object || walk_hidden(&walk_nodes(w)[object - 1]) <= 0))
            continue;
        const uint64_t offset = block ? words[i] - blocks(n)[block - 1].address : 0;
        const struct wire_edge edge = {.source = source,
                                       .target = block ? block : n->n_blocks + object,
                                       .source_word = (uint32_t)i,
                                       .target_offset =
                                           offset < UINT32_MAX ? (uint32_t)offset : UINT32_MAX};
        e->fn(w, &edge);
    }
}

static int edges_of_node(void *context, size_t i) {
    const struct edges *const e = context;
    struct managed_walk *const w = e->walk;
    const struct natives *const n = &w->natives;
    if (i < n->n_blocks) {
        const struct native_block b = blocks(n)[i];
        if (!b.is_data)
            each_edge(e, (uint32_t)i + 1, b.address, b.size);
        return 0;
    }
    i -= n->n_blocks;
    if (i >= w->n_nodes)
        return 1;
    const struct node *const node = &walk_nodes(w)[i];
    uint64_t external;
    if (((const uint8_t *)n->seeds.data)[i])
        each_edge(e, n->n_blocks + (uint32_t)i + 1, (uintptr_t)node->object,
                  walk_size(w, node, &external));
    return 0;
}

static int skip(void *context, size_t i) {
    ((const struct edges *)context)->walk->natives.n_missed++;
    return 0;
}

static void all_edges(struct managed_walk *w,
                      void (*fn)(struct managed_walk *w, const struct wire_edge *edge)) {
    struct edges e = {w, fn};
    guard_each(0, edges_of_node, skip, &e);
}

static void count_edge(struct managed_walk *w, const struct wire_edge *edge) {
    struct natives *const n = &w->natives;
    if (edge->target > n->n_blocks)
        ((uint8_t *)n->held.data)[edge->target - n->n_blocks - 1] = 1;
    else if (edge->target_offset == 0)
        blocks(n)[edge->target - 1].n_seen++;
}

/* --- the whole --- */

void natives_open(struct managed_walk *w) {
    struct natives *const n = &w->natives;
    char buffer[8192];
    struct maps maps = {.natives = n};
    if (!memory_zeroed(&n->classes, CLASSES_MAX * sizeof(struct native_class)) ||
        !memory_zeroed(&n->class_index, CLASS_SLOTS * sizeof(uint32_t)) ||
        procfs_lines_open(&maps.lines, "/proc/self/maps", buffer, sizeof buffer) < 0) {
        n->n_missed++;
        return;
    }
    guard_each(0, read_mapping, miss_mapping, &maps);
    procfs_lines_close(&maps.lines);
    if (n->segments.failed || n_segments(n) == 0)
        n->n_missed++;
    else
        n->is_open = 1;
}

enum native_class_kind natives_class(struct managed_walk *w, uint64_t address) {
    struct natives *const n = &w->natives;
    if (!n->is_open || address % 16 != 0 || address < n->heap_low || address >= n->heap_high)
        return NATIVE_NONE;
    const struct segment *const s = segment_at(n, address, 1);
    const struct native_class *const c =
        s && s->is_heap ? class_of(n, *(const uint64_t *)address) : NULL;
    return !c              ? NATIVE_NONE
           : c->is_tensor  ? NATIVE_TENSOR
           : c->is_storage ? NATIVE_STORAGE
                           : NATIVE_OTHER;
}

int natives_has(struct managed_walk *w, uint64_t address) {
    return segment_at(&w->natives, address, 0) != NULL;
}

void natives_find(struct managed_walk *w) {
    struct natives *const n = &w->natives;
    natives_open(w);
    if (!n->is_open)
        return;
    if (!memory_zeroed(&n->seeds, (size_t)w->n_nodes + 1) ||
        !memory_zeroed(&n->held, (size_t)w->n_nodes + 1) || grow_index(n) < 0) {
        n->n_missed++;
        return;
    }
    n->end_ns = raw_clock_ns(CLOCK_MONOTONIC) + TIME_MAX_NS;
    if (mark_foreign(w))
        guard_each(0, look_at_object, count_missed, w);
    guard_each(0, look_at_block, count_missed, w);
    add_all_data(w);
    sort_blocks(n);
    if (n->n_blocks > 0)
        all_edges(w, count_edge);
}

void natives_release(struct managed_walk *w) {
    struct natives *const n = &w->natives;
    struct memory *const all[] = {&n->segments, &n->classes, &n->class_index, &n->blocks,
                                  &n->index,    &n->seeds,   &n->held};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        memory_release(all[i]);
}

const uint8_t *natives_held(const struct managed_walk *w) {
    return w->natives.n_blocks > 0 ? (const uint8_t *)w->natives.held.data : NULL;
}

/* --- sending --- */

void natives_send_blocks(struct managed_walk *w) {
    const struct natives *const n = &w->natives;
    for (uint32_t i = 0; i < n->n_blocks; i++) {
        const struct native_block *const b = &blocks(n)[i];
        const struct wire_block r = {
            .address = b->address, .size = b->size, .flags = (uint32_t)SNAP_NODE_BLOCK << 24};
        w->sink->block_bytes += b->size;
        send_record(w, WIRE_BLOCK, &r, sizeof r);
    }
    w->sink->n_nodes += n->n_blocks;
    send_flush(w, WIRE_BLOCK);
}

/* A table's record, that of its type_info's, and that one's: they end in themselves. */
static uint32_t send_table(struct managed_walk *w, uint32_t *n_sent, uint64_t table) {
    struct natives *const n = &w->natives;
    const struct vtable_images m = images(n);
    uint32_t first = 0;
    for (unsigned depth = 0; depth < 3; depth++) {
        struct native_class *const c = class_of(n, table);
        if (!c || c->id) {
            first = first || !c ? first : c->id;
            break;
        }
        struct wire_vtable r;
        static const char zeros[8];
        const char *const name = vtable_record(&m, table, &r);
        c->id = ++*n_sent;
        first = first ? first : c->id;
        memory_add(&w->records, &r, sizeof r);
        memory_add(&w->records, name, r.name_len);
        send_record(w, WIRE_VTABLE, zeros, -r.name_len & 7);
        table = r.type_info_vtable;
    }
    return first;
}

static void send_edge(struct managed_walk *w, const struct wire_edge *edge) {
    send_record(w, WIRE_EDGE, edge, sizeof *edge);
}

void natives_send_edges(struct managed_walk *w) {
    const struct natives *const n = &w->natives;
    uint32_t n_tables = 0;
    if (n->n_blocks == 0)
        return;
    for (uint32_t i = 0; i < n->n_blocks; i++)
        if (blocks(n)[i].table)
            send_table(w, &n_tables, blocks(n)[i].table);
    send_flush(w, WIRE_VTABLE);
    for (uint32_t i = 0; i < n->n_blocks; i++) {
        const struct native_block *const b = &blocks(n)[i];
        const struct wire_vptr r = {.node = i + 1,
                                    .vtable = b->table ? send_table(w, &n_tables, b->table) : 0};
        if (r.vtable)
            send_record(w, WIRE_VPTR, &r, sizeof r);
    }
    send_flush(w, WIRE_VPTR);
    guard_start();
    all_edges(w, send_edge);
    guard_stop();
    send_flush(w, WIRE_EDGE);
}

void natives_send_roots(struct managed_walk *w) {
    const struct natives *const n = &w->natives;
    for (uint32_t i = 0; i < n->n_blocks; i++) {
        const struct native_block *const b = &blocks(n)[i];
        const struct wire_root r = {
            .target = i + 1, .kind = SNAP_ROOT_NATIVE, .flags = SNAP_EDGE_FLAG_LOW};
        if (b->n_counted > b->n_seen)
            send_record(w, WIRE_ROOT, &r, sizeof r);
    }
}
