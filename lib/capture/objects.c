/* Loads a walker into the target, and runs it in the copy.
 *
 * The walker is a shared object of its own, made for one minor version of CPython; its undefined
 * symbols are the interpreter's. It is loaded when the recorder starts, before main, if the program
 * is an interpreter (linked with one statically or by a shared library): nothing of Python runs
 * then. Later a walker is asked who holds the interpreter, and calls back at its end. Without a
 * walker that fits everything goes on, with blocks only. */
#include "capture/objects.h"

#include <dlfcn.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "capture/next.h"
#include "capture/procfs.h"
#include "capture/raw.h"
#include "capture/recorder.h"
#include "capture/scan.h"
#include "model/wire.h"
#include <heapsnap/snapdef.h>

static const struct managed_walker *walker;
static const char *unknown; /* version of an interpreter that no walker is made for */

/* --- in the target --- */

/* "3.11" of "3.11.2 (main, ...) ..."; 0 if it is no such version. */
static size_t version_length(const char *version) {
    size_t n = strspn(version, "0123456789");
    if (n == 0 || version[n] != '.')
        return 0;
    const size_t minor = strspn(version + n + 1, "0123456789");
    return minor ? n + 1 + minor : 0;
}

static void *load(const char *version, size_t length) {
    char path[4096];
    struct text t;
    Dl_info info;
    const char *const given = getenv("HEAPSNAP_WALKERS");
    text_init(&t, path, sizeof path);
    if (given && *given) {
        text_add(&t, given);
        text_add(&t, "/");
    } else if (dladdr(&walker, &info) && info.dli_fname) {
        const char *const slash = strrchr(info.dli_fname, '/');
        text_add_n(&t, info.dli_fname, slash ? (size_t)(slash + 1 - info.dli_fname) : 0);
    }
    text_add(&t, "heapsnap-python");
    text_add_n(&t, version, length);
    text_add(&t, ".so");
    return dlopen(path, RTLD_NOW | RTLD_LOCAL);
}

const char *objects_load(void) {
    const char *(*get_version)(void);
    *(void **)&get_version = next_symbol(RTLD_DEFAULT, "Py_GetVersion");
    if (!get_version || !next_symbol(RTLD_DEFAULT, "_PyRuntime"))
        return NULL;
    const char *const version = get_version();
    const size_t length = version_length(version);
    void *const handle =
        length == 0 || strstr(version, "free-threading") ? NULL : load(version, length);
    const struct managed_walker *const found =
        handle ? next_symbol(handle, MANAGED_WALKER_NAME) : NULL;
    if (found && found->version == MANAGED_VERSION)
        walker = found;
    else
        unknown = version;
    return unknown;
}

void objects_start(void (*at_end)(void)) {
    if (walker)
        walker->start(at_end);
}

int objects_are_free(void) {
    return !walker || walker->is_free();
}

int objects_call(int (*fn)(void *), void *argument) {
    return walker ? walker->call(fn, argument) : -1;
}

/* --- in the copy --- */

int objects_is_own(uint64_t start, uint64_t end) {
    return walker && (uintptr_t)walker >= start && (uintptr_t)walker < end;
}

void objects_open(struct objects *o, int is_caller_fine, int is_shared) {
    memset(o, 0, sizeof *o);
    if (walker) {
        uint64_t start, end;
        raw_room_split(&start, &end);
        walker->enter(start, end, is_shared);
    }
    o->is_moving = walker && !walker->is_whole(is_caller_fine);
    o->walker = walker;
    o->is_unknown = unknown != NULL;
    o->walk = walker ? walker->open(1) : NULL;
    if (!o->walk)
        return;
    o->n = walker->objects(o->walk, &o->list);
    const size_t size = o->n * (sizeof(struct scan_target) + sizeof *o->origins + 1) + 1;
    o->targets = raw_map(size, MAP_PRIVATE | MAP_ANONYMOUS);
    if (!o->targets) {
        objects_close(o);
        return;
    }
    o->targets_size = size;
    o->origins = (struct object_origin *)(void *)(o->targets + o->n);
    o->held = (uint8_t *)(o->origins + o->n);
    struct scan_target *const targets = o->targets;
    for (size_t i = 0; i < o->n; i++)
        targets[i] = (struct scan_target){
            .address = o->list[i].address,
            .size = o->list[i].size,
            .node = (uint32_t)i + 1,
            .flags = SCAN_TARGET_ABSORBS |
                     (o->list[i].flags & MANAGED_READABLE ? SCAN_TARGET_READABLE : 0u)};
}

void objects_close(struct objects *o) {
    if (o->targets)
        raw_unmap(o->targets, o->targets_size);
    if (o->walk)
        o->walker->close(o->walk);
    o->targets = NULL;
    o->walk = NULL;
}

/* The first object at an address or behind it. */
static size_t object_from(const struct objects *o, uint64_t address) {
    size_t low = 0, high = o->n;
    while (low < high) {
        const size_t middle = (low + high) / 2;
        if (o->list[middle].address < address)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

void objects_take_block(struct objects *o, const struct recorder_block *block, uint32_t stack) {
    const size_t low = object_from(o, block->address);
    if (low < o->n && o->list[low].address - block->address < block->size)
        o->origins[low] = (struct object_origin){
            block->birth, stack,
            block->flags & (SNAP_NODE_FLAG_INHERITED | SNAP_NODE_FLAG_STACK_TRUNCATED)};
}

void objects_put_origins(struct objects *o, uint32_t kind, uint32_t n, void *records) {
    struct wire_node *const nodes = records;
    struct wire_object *const objects = records;
    for (uint32_t i = 0; i < n && o->n_sent < o->n; i++, o->n_sent++) {
        const struct object_origin *const from = &o->origins[o->n_sent];
        if (kind == WIRE_OBJECT) {
            objects[i].birth = from->birth;
            objects[i].stack = from->stack;
            objects[i].flags |= from->flags;
        } else {
            nodes[i].birth = from->birth;
            nodes[i].stack = from->stack;
            nodes[i].flags |= from->flags;
        }
    }
}

/* Whether a reference from native memory to a node says something: always to a block; to an object
 * only if somebody unknown holds it, for else all of its references are known by name. */
static int is_told(struct objects *o, uint32_t target) {
    const uint32_t i = target - o->n_blocks - 1;
    if (target <= o->n_blocks || i >= o->n)
        return 1;
    if (!(o->list[i].flags & MANAGED_HIDDEN))
        return 0;
    o->held[i] = 1;
    return 1;
}

/* A word of an object that stands in an image: it may refer to a block of the object's own, by its
 * start, if the object can hold addresses at all. Code that was made with the interpreter cannot,
 * and has its instructions rewritten as they run. */
static int is_word_of_object(const struct objects *o, const struct wire_root *root, int *out_told) {
    const size_t behind = object_from(o, root->address + 1);
    const struct managed_object *const holder = behind > 0 ? &o->list[behind - 1] : NULL;
    if (!holder || root->address - holder->address >= holder->size)
        return 0;
    *out_told = holder->flags & MANAGED_READABLE && root->target_offset == 0;
    return 1;
}

/* Objects stand everywhere in an interpreter's stacks and arenas, where dead words are, too. */
static int is_root_told(struct objects *o, const struct wire_root *root) {
    int is_told_by_object = 1;
    if (root->kind == SNAP_ROOT_GLOBAL && is_word_of_object(o, root, &is_told_by_object) &&
        !is_told_by_object)
        return 0;
    return root->target <= o->n_blocks || root->target - o->n_blocks > o->n ||
           ((root->kind == SNAP_ROOT_GLOBAL || root->kind == SNAP_ROOT_TLS ||
             root->kind == SNAP_ROOT_API) &&
            is_told(o, root->target));
}

uint32_t objects_filter(struct objects *o, uint32_t kind, uint32_t n, void *data) {
    uint32_t left = 0;
    if (!o->walk)
        return n;
    if (kind == WIRE_EDGE) {
        struct wire_edge *const edges = data;
        for (uint32_t i = 0; i < n; i++)
            if ((edges[i].source <= o->n_blocks || edges[i].target <= o->n_blocks) &&
                is_told(o, edges[i].target))
                edges[left++] = edges[i];
        return left;
    }
    if (kind == WIRE_ROOT) {
        struct wire_root *const roots = data;
        for (uint32_t i = 0; i < n; i++)
            if (is_root_told(o, &roots[i]))
                roots[left++] = roots[i];
        return left;
    }
    return n;
}
