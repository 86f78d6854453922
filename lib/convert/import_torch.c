/* Snapshots of PyTorch's CUDA allocator (torch.cuda.memory._dump_snapshot, and pickled lists of
 * torch.cuda.memory_snapshot) as .snap files: segments are pools, blocks in use are nodes, frames
 * are stacks.
 *
 * The layout is PyTorch's private affair and has changed over time: every key but those of
 * addresses and sizes may be missing. Invariant: bytes of nodes that do not wait to be freed are
 * PyTorch's "allocated", of all nodes its "active", of pools its "reserved"; a segment whose blocks
 * are larger than it is an error, and so is anything that would make more rows than the pickle has
 * bytes. The traces of events are read over. */
#include <heapsnap/convert.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include <heapsnap/snapdef.h>

#include "base/err.h"
#include "base/file.h"
#include "base/map.h"
#include "base/mem.h"
#include "base/strtab.h"
#include "convert/import_torch.h"
#include "convert/pickle.h"

enum { FRAMES_MAX = 4096, DEVICES_MAX = 1024 };

struct frame {
    uint32_t function, file;
    uint64_t line;
};

struct block {
    uint64_t address, size;
    pickle_value frames;
    uint32_t pool;
    uint32_t device; /* plus 1 */
    int is_pending;
};

struct import {
    const struct pickle *p;
    snap_writer *w;
    snap_error *err;
    size_t budget; /* rows that may still be made */
    struct block *blocks;
    size_t n_blocks, blocks_capacity;
    struct map frame_of_value; /* value -> frame id */
    struct map frame_ids;      /* hash of a frame -> frame id; told apart by `frames` */
    struct frame *frames;
    size_t n_frames, frames_capacity;
    struct map stack_of_list; /* value -> stack id + 1 */
    struct map stack_ids;     /* parent and frame -> stack id */
    uint64_t *parents;        /* stack id - 1 -> parent << 32 | frame */
    size_t n_stacks, stacks_capacity;
};

static int no_memory(const struct import *m) {
    return err_set(m->err, SNAP_E_NOMEM, "no memory for the import");
}

static int not_a_snapshot(const struct import *m, const char *what) {
    return err_set(m->err, SNAP_E_FORMAT, "no snapshot of PyTorch: %s", what);
}

static int spend(struct import *m) {
    if (m->budget == 0)
        return err_set(m->err, SNAP_E_LIMIT, "the pickle says more than it has bytes");
    m->budget--;
    return 0;
}

static int number(const struct import *m, pickle_value dict, const char *key, uint64_t *out) {
    return pickle_unsigned(m->p, pickle_get(m->p, dict, key), out);
}

static int is_text(const struct import *m, pickle_value v, const char *expected) {
    size_t length;
    const char *const text = pickle_text(m->p, v, &length);
    return text != NULL && length == strlen(expected) && memcmp(text, expected, length) == 0;
}

/* --- frames and stacks --- */

static int string_of(struct import *m, pickle_value dict, const char *key, uint32_t *out) {
    size_t length = 0;
    const char *const text = pickle_text(m->p, pickle_get(m->p, dict, key), &length);
    *out = 0;
    return text != NULL ? snap_writer_string_n(m->w, text, length, out, m->err) : 0;
}

static int is_python(const struct import *m, pickle_value dict) {
    size_t length = 0;
    const char *const text = pickle_text(m->p, pickle_get(m->p, dict, "filename"), &length);
    return text != NULL && length > 3 && memcmp(text + length - 3, ".py", 3) == 0;
}

static uint64_t mix(uint64_t a, uint64_t b) {
    uint64_t x = (a + UINT64_C(0x9E3779B97F4A7C15)) ^ b * UINT64_C(0xD6E8FEB86659FD93);
    x ^= x >> 32;
    x *= UINT64_C(0xD6E8FEB86659FD93);
    return x ^ x >> 29;
}

static int add_frame(struct import *m, const struct frame *f, int python, uint32_t *out) {
    uint64_t row[SNAP_COLUMNS_MAX] = {0}, id;
    SNAP_TRY(spend(m));
    row[SNAP_FRAM_COL_KIND] = python ? SNAP_FRAM_PYTHON : SNAP_FRAM_OTHER;
    row[SNAP_FRAM_COL_OFFSET] = f->line;
    SNAP_TRY(snap_writer_row(m->w, SNAP_TABLE_FRAM, row, &id, m->err));
    memset(row, 0, sizeof row);
    row[SNAP_SYMB_COL_FRAME] = id;
    row[SNAP_SYMB_COL_FUNCTION] = f->function;
    row[SNAP_SYMB_COL_FILE] = f->file;
    row[SNAP_SYMB_COL_LINE] = f->line;
    row[SNAP_SYMB_COL_SOURCE] = SNAP_SYMB_RUNTIME;
    SNAP_TRY(snap_writer_row(m->w, SNAP_TABLE_SYMB, row, NULL, m->err));
    if (mem_grow(&m->frames, &m->frames_capacity, m->n_frames + 1, sizeof *m->frames) < 0)
        return no_memory(m);
    m->frames[m->n_frames++] = *f;
    *out = (uint32_t)id;
    return 0;
}

/* The same place in the source is one frame, in however many dicts it is told. */
static int frame_of(struct import *m, pickle_value dict, uint32_t *out) {
    struct frame f = {0};
    uint32_t *const known = map_slot(&m->frame_of_value, dict);
    if (known == NULL)
        return no_memory(m);
    *out = *known;
    if (*out != 0)
        return 0;
    SNAP_TRY(string_of(m, dict, "name", &f.function));
    SNAP_TRY(string_of(m, dict, "filename", &f.file));
    number(m, dict, "line", &f.line);
    for (uint64_t hash = mix(mix(f.function, f.file), f.line);; hash = mix(hash, 1)) {
        uint32_t *const slot = map_slot(&m->frame_ids, hash);
        if (slot == NULL)
            return no_memory(m);
        const struct frame *const same = *slot != 0 ? &m->frames[*slot - 1] : NULL;
        if (same == NULL) {
            SNAP_TRY(add_frame(m, &f, is_python(m, dict), slot));
        } else if (same->function != f.function || same->file != f.file || same->line != f.line) {
            continue;
        }
        *out = *slot;
        *map_slot(&m->frame_of_value, dict) = *out;
        return 0;
    }
}

static int push_frame(struct import *m, uint32_t frame, uint32_t *stack) {
    const uint64_t pair = (uint64_t)*stack << 32 | frame;
    for (uint64_t hash = mix(pair, 7);; hash = mix(hash, 1)) {
        uint32_t *const slot = map_slot(&m->stack_ids, hash);
        if (slot == NULL)
            return no_memory(m);
        if (*slot != 0 && m->parents[*slot - 1] != pair)
            continue;
        if (*slot == 0) {
            uint64_t row[SNAP_COLUMNS_MAX] = {0}, id;
            row[SNAP_STAK_COL_PARENT] = *stack;
            row[SNAP_STAK_COL_FRAME] = frame;
            SNAP_TRY(spend(m));
            SNAP_TRY(snap_writer_row(m->w, SNAP_TABLE_STAK, row, &id, m->err));
            if (mem_grow(&m->parents, &m->stacks_capacity, m->n_stacks + 1, sizeof *m->parents) < 0)
                return no_memory(m);
            m->parents[m->n_stacks++] = pair;
            *slot = (uint32_t)id;
        }
        *stack = *slot;
        return 0;
    }
}

/* Frames come innermost first. */
static int stack_of(struct import *m, pickle_value frames, uint32_t *out) {
    *out = 0;
    if (frames == 0 || pickle_length(m->p, frames) == 0)
        return 0;
    uint32_t *known = map_slot(&m->stack_of_list, frames);
    if (known == NULL)
        return no_memory(m);
    if (*known != 0) {
        *out = *known - 1;
        return 0;
    }
    size_t n = pickle_length(m->p, frames);
    for (n = n < FRAMES_MAX ? n : FRAMES_MAX; n-- > 0;) {
        uint32_t frame;
        SNAP_TRY(frame_of(m, pickle_at(m->p, frames, n), &frame));
        SNAP_TRY(push_frame(m, frame, out));
    }
    *known = *out + 1;
    return 0;
}

/* --- segments and blocks --- */

/* Up to PyTorch 2.0 blocks had their frames in a history of who had them before. */
static pickle_value frames_of(const struct import *m, pickle_value dict) {
    const pickle_value frames = pickle_get(m->p, dict, "frames");
    if (frames != 0)
        return frames;
    const pickle_value history = pickle_get(m->p, dict, "history");
    return history != 0 && pickle_length(m->p, history) > 0
               ? pickle_get(m->p, pickle_at(m->p, history, 0), "frames")
               : 0;
}

struct segment {
    uint64_t address, size, device;
    uint64_t active, largest_gap;
    uint32_t row;
};

static int read_block(struct import *m, struct segment *s, pickle_value dict, uint64_t *at) {
    uint64_t size;
    SNAP_TRY(spend(m));
    if (!number(m, dict, "size", &size) || size > s->address + s->size - *at)
        return not_a_snapshot(m, "a block that does not fit into its segment");
    const uint64_t address = *at;
    const pickle_value state = pickle_get(m->p, dict, "state");
    const int is_used = is_text(m, state, "active_allocated");
    const int is_pending =
        is_text(m, state, "active_awaiting_free") || is_text(m, state, "active_pending_free");
    *at += size;
    if (!is_used && !is_pending) {
        if (size > s->largest_gap)
            s->largest_gap = size;
        return 0;
    }
    if (mem_grow(&m->blocks, &m->blocks_capacity, m->n_blocks + 1, sizeof *m->blocks) < 0)
        return no_memory(m);
    m->blocks[m->n_blocks++] = (struct block){.address = address,
                                              .size = size,
                                              .frames = frames_of(m, dict),
                                              .pool = s->row,
                                              .device = (uint32_t)s->device + 1,
                                              .is_pending = is_pending};
    s->active += size;
    return 0;
}

static int is_private(const struct import *m, pickle_value dict) {
    const pickle_value id = pickle_get(m->p, dict, "segment_pool_id");
    uint64_t a = 0, b = 0;
    if (id == 0 || pickle_length(m->p, id) != 2)
        return 0;
    pickle_unsigned(m->p, pickle_at(m->p, id, 0), &a);
    pickle_unsigned(m->p, pickle_at(m->p, id, 1), &b);
    return a != 0 || b != 0;
}

static int read_segment(struct import *m, pickle_value dict, uint32_t row_id) {
    struct segment s = {.row = row_id};
    uint64_t row[SNAP_COLUMNS_MAX] = {0}, expandable = 0;
    SNAP_TRY(spend(m));
    if (!number(m, dict, "address", &s.address) || !number(m, dict, "total_size", &s.size) ||
        s.address + s.size < s.address)
        return not_a_snapshot(m, "a segment without an address or size");
    number(m, dict, "device", &s.device);
    if (s.device >= DEVICES_MAX)
        return not_a_snapshot(m, "a segment of no device");
    number(m, dict, "is_expandable", &expandable);
    const pickle_value blocks = pickle_get(m->p, dict, "blocks");
    const size_t n = blocks != 0 ? pickle_length(m->p, blocks) : 0;
    uint64_t at = s.address;
    for (size_t i = 0; i < n; i++)
        SNAP_TRY(read_block(m, &s, pickle_at(m->p, blocks, i), &at));
    uint32_t stack, name = 0;
    SNAP_TRY(stack_of(m, frames_of(m, dict), &stack));
    SNAP_TRY(string_of(m, dict, "segment_type", &name));
    row[SNAP_POOL_COL_KIND] =
        is_private(m, dict) ? SNAP_POOL_TORCH_PRIVATE : SNAP_POOL_TORCH_SEGMENT;
    row[SNAP_POOL_COL_DOMAIN] = SNAP_DOMAIN_DEVICE;
    row[SNAP_POOL_COL_DEVICE] = s.device + 1;
    row[SNAP_POOL_COL_NAME] = name;
    row[SNAP_POOL_COL_ADDRESS] = s.address;
    row[SNAP_POOL_COL_SIZE] = s.size;
    row[SNAP_POOL_COL_LIVE] = s.active;
    row[SNAP_POOL_COL_CACHED] = s.size - s.active;
    row[SNAP_POOL_COL_LARGEST_GAP] = s.largest_gap;
    row[SNAP_POOL_COL_STACK] = stack;
    row[SNAP_POOL_COL_FLAGS] = expandable ? SNAP_POOL_FLAG_EXPANDABLE : 0;
    return snap_writer_row(m->w, SNAP_TABLE_POOL, row, NULL, m->err);
}

static int by_address(const void *left, const void *right) {
    const struct block *const a = left, *const b = right;
    if (a->address != b->address)
        return a->address < b->address ? -1 : 1;
    return (a->device > b->device) - (a->device < b->device);
}

static int write_blocks(struct import *m) {
    if (m->n_blocks > 1)
        qsort(m->blocks, m->n_blocks, sizeof *m->blocks, by_address);
    for (size_t i = 0; i < m->n_blocks; i++) {
        const struct block *const b = &m->blocks[i];
        uint64_t row[SNAP_COLUMNS_MAX] = {0};
        uint32_t stack;
        SNAP_TRY(stack_of(m, b->frames, &stack));
        row[SNAP_NODE_COL_DOMAIN] = SNAP_DOMAIN_DEVICE;
        row[SNAP_NODE_COL_KIND] = SNAP_NODE_DEVICE_BLOCK;
        row[SNAP_NODE_COL_ADDRESS] = b->address;
        row[SNAP_NODE_COL_SIZE] = b->size;
        row[SNAP_NODE_COL_STACK] = stack;
        row[SNAP_NODE_COL_FLAGS] = b->is_pending ? SNAP_NODE_FLAG_PENDING_FREE : 0;
        row[SNAP_NODE_COL_DEVICE] = b->device;
        row[SNAP_NODE_COL_POOL] = b->pool;
        SNAP_TRY(snap_writer_row(m->w, SNAP_TABLE_NODE, row, NULL, m->err));
    }
    return 0;
}

static int write_all(struct import *m) {
    const pickle_value root = pickle_root(m->p);
    const pickle_value segments =
        pickle_type_of(m->p, root) == PICKLE_LIST ? root : pickle_get(m->p, root, "segments");
    if (segments == 0 || pickle_type_of(m->p, segments) != PICKLE_LIST)
        return not_a_snapshot(m, "it has no segments");
    const size_t n = pickle_length(m->p, segments);
    for (size_t i = 0; i < n; i++)
        SNAP_TRY(read_segment(m, pickle_at(m->p, segments, i), (uint32_t)i + 1));
    SNAP_TRY(write_blocks(m));
    return 0;
}

static int write_meta(struct import *m, const char *path) {
    char writer[64];
    struct stat status;
    snprintf(writer, sizeof writer, "heapsnap %s", snap_version());
    SNAP_TRY(snap_writer_meta_text(m->w, SNAP_META_WRITER, writer, m->err));
    SNAP_TRY(snap_writer_meta_number(m->w, SNAP_META_TRIGGER, SNAP_TRIGGER_IMPORT, m->err));
    if (strcmp(path, "-") != 0 && stat(path, &status) == 0 && status.st_mtim.tv_sec > 0)
        SNAP_TRY(snap_writer_meta_number(m->w, SNAP_META_TIME_NS,
                                         (uint64_t)status.st_mtim.tv_sec * 1000000000u +
                                             (uint64_t)status.st_mtim.tv_nsec,
                                         m->err));
    return 0;
}

static void release(struct import *m) {
    free(m->blocks);
    free(m->frames);
    free(m->parents);
    map_release(&m->frame_of_value);
    map_release(&m->frame_ids);
    map_release(&m->stack_of_list);
    map_release(&m->stack_ids);
}

int import_torch(snap_writer *w, const void *data, size_t size, const char *path, snap_error *err) {
    struct pickle *p;
    const struct pickle_limits limits = {.max_memory_bytes = ((size_t)64 << 20) + 64 * size};
    SNAP_TRY(pickle_read(&p, data, size, &limits, err));
    struct import m = {.p = p, .w = w, .err = err, .budget = size};
    map_init(&m.frame_of_value);
    map_init(&m.frame_ids);
    map_init(&m.stack_of_list);
    map_init(&m.stack_ids);
    int result = write_meta(&m, path);
    if (result == 0)
        result = write_all(&m);
    if (result == 0)
        result = snap_writer_finish(w, err);
    release(&m);
    pickle_free(p);
    return result;
}

int snap_import_torch(const char *path, const char *out_path, const snap_writer_options *options,
                      snap_error *err) {
    struct file_view view;
    snap_writer *w;
    SNAP_TRY(file_view_open(&view, path, (uint64_t)64 << 30, err));
    int result = snap_writer_open_file(&w, out_path, options, err);
    if (result == 0) {
        result = import_torch(w, view.data, view.size, path, err);
        snap_writer_close(w);
    }
    file_view_close(&view);
    return result;
}
