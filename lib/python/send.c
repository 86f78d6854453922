/* From what the walk has found to records of the capture stream. */
#include <heapsnap/snapdef.h>

#include "model/wire.h"
#include "python/guard.h"
#include "python/walker.h"

#define SECTION_SIZE ((size_t)1 << 20)

static int put(struct managed_walk *w, uint32_t kind, uint32_t n, const struct memory *records) {
    if (n > 0 && !w->error && !w->failed && !records->failed) {
        /* The reader may be slow; half a section would spoil the whole stream. */
        const int was_at_work = guard_pause();
        w->error = w->sink->section(w->sink->context, kind, n, records->data, records->length);
        guard_resume(was_at_work);
    }
    if (records->failed)
        w->failed = 1;
    return w->error;
}

/* Sends the names that have not been sent: before records that use them. */
static void flush_names(struct managed_walk *w) {
    struct strings *const s = &w->strings;
    uint32_t n = 0;
    w->names.length = 0;
    for (; s->n_sent < s->n && !w->error && !w->failed; s->n_sent++) {
        const uint64_t offset = ((const uint64_t *)(const void *)s->offsets.data)[s->n_sent];
        const struct wire_string r = {.length = (uint32_t)strlen(s->text.data + offset)};
        memory_add(&w->names, &r, sizeof r);
        memory_add(&w->names, s->text.data + offset, r.length);
        memory_pad(&w->names);
        n++;
        if (w->names.length >= SECTION_SIZE) {
            put(w, WIRE_STRING, n, &w->names);
            w->names.length = 0;
            n = 0;
        }
    }
    put(w, WIRE_STRING, n, &w->names);
    w->sink->n_strings = w->first_string + s->n_sent;
}

void send_flush(struct managed_walk *w, uint32_t kind) {
    flush_names(w);
    put(w, WIRE_WAY, (uint32_t)(w->ways.length / sizeof(struct wire_way)), &w->ways);
    w->ways.length = 0;
    put(w, kind, w->n_records, &w->records);
    w->records.length = 0;
    w->n_records = 0;
}

/* Of one more record, of which there are many: written where it stays, no call to copy some words.
 * NULL: no memory. */
static inline void *next_record(struct managed_walk *w, size_t size) {
    if (w->records.failed || memory_reserve(&w->records, size) < 0)
        return NULL;
    void *const record = w->records.data + w->records.length;
    w->records.length += size;
    w->n_records++;
    return record;
}

void send_record(struct managed_walk *w, uint32_t kind, const void *data, size_t size) {
    memory_add(&w->records, data, size);
    w->n_records++;
    if (w->records.length >= SECTION_SIZE)
        send_flush(w, kind);
}

static int result(const struct managed_walk *w) {
    return w->failed ? -ENOMEM : w->error;
}

static uint32_t string_id(const struct managed_walk *w, uint32_t name) {
    return name ? w->first_string + name : 0;
}

/* --- counters --- */

int send_counters(struct managed_walk *w, struct managed_sink *sink) {
    static const char *const missing = "python_objects_unreadable";
    PyInterpreterState *const interp = cpython_interpreters();
    static const char *const thresholds[] = {"gc_threshold0", "gc_threshold1", "gc_threshold2"};
    void (*const say)(void *, uint32_t, const char *, uint64_t) = sink->counter;
    say(sink->context, SNAP_META_PROCESS, "python_objects", w->n_nodes);
    say(sink->context, SNAP_META_PROCESS, "python_garbage_objects", w->n_garbage);
    say(sink->context, SNAP_META_PROCESS, "gc_frozen_objects", w->n_frozen);
    say(sink->context, SNAP_META_PROCESS, "gc_enabled", (uint64_t)(interp->gc.enabled != 0));
    for (int i = 0; i < NUM_GENERATIONS; i++)
        say(sink->context, SNAP_META_PROCESS, thresholds[i],
            (uint64_t)(unsigned)interp->gc.generations[i].threshold);
    if (w->natives.n_missed)
        say(sink->context, SNAP_META_COMPLETENESS, "native_objects_unread", w->natives.n_missed);
    if (w->n_bad)
        say(sink->context, SNAP_META_COMPLETENESS, missing, w->n_bad);
    if (w->n_unlisted || w->is_collecting)
        say(sink->context, SNAP_META_COMPLETENESS, "python_lists_unreadable",
            w->n_unlisted + (uint64_t)(w->is_collecting != 0));
    return 0;
}

/* --- blocks --- */

int send_blocks(struct managed_walk *w, struct managed_sink *sink) {
    w->sink = sink;
    natives_send_blocks(w);
    return result(w);
}

/* --- types and nodes --- */

static int send_type(void *context, size_t i) {
    struct managed_walk *const w = context;
    struct type_entry *const e = &walk_types(w)[i];
    if (i >= w->types_size)
        return 1;
    if (!e->type || e->is_bad)
        return 0;
    const struct wire_type r = {
        .name = string_id(w, name_of_type(w, e->type)),
        .source = SNAP_TYPE_RUNTIME,
        .size = e->type->tp_itemsize ? 0 : (uint64_t)e->type->tp_basicsize,
        .flags = origin_flags(w, e->type),
    };
    e->id = ++w->sink->n_types;
    send_record(w, WIRE_TYPE, &r, sizeof r);
    return 0;
}

static uint32_t node_flags(const struct node *n) {
    return (n->is_garbage ? SNAP_NODE_FLAG_GARBAGE : 0u) |
           (n->is_frozen ? SNAP_NODE_FLAG_FROZEN : 0u) |
           (n->is_gc && !n->is_tracked ? SNAP_NODE_FLAG_UNTRACKED : 0u) |
           (cpython_is_immortal(n->object) ? SNAP_NODE_FLAG_IMMORTAL : 0u);
}

/* Most are sent as the small record; sections are of one kind. */
static void put_node(struct managed_walk *w, const struct wire_node *n) {
    const int is_small = n->size <= UINT32_MAX && n->external <= UINT32_MAX &&
                         n->refcount <= UINT32_MAX && n->hidden <= INT32_MAX;
    if (is_small) {
        struct wire_object *const o = next_record(w, sizeof *o);
        if (o)
            *o = (struct wire_object){.address = n->address,
                                      .size = (uint32_t)n->size,
                                      .external = (uint32_t)n->external,
                                      .refcount = (uint32_t)n->refcount,
                                      .hidden = (int32_t)n->hidden,
                                      .type = n->type,
                                      .label = n->label,
                                      .flags = n->flags | (uint32_t)n->kind << 24};
        if (w->records.length >= SECTION_SIZE)
            send_flush(w, WIRE_OBJECT);
        return;
    }
    send_flush(w, WIRE_OBJECT);
    send_record(w, WIRE_NODE, n, sizeof *n);
    send_flush(w, WIRE_NODE);
}

static void send_node(struct managed_walk *w, uint32_t i, uint64_t size, uint64_t external,
                      uint32_t label) {
    const struct node *const n = &walk_nodes(w)[i];
    const int is_immortal = cpython_is_immortal(n->object);
    int64_t hidden = walk_hidden(n);
    if (n->is_bad || hidden < 0)
        hidden = 0;
    const struct wire_node r = {
        .address = (uintptr_t)n->object,
        .size = size,
        .external = external,
        .refcount = is_immortal ? 0 : (uint64_t)Py_REFCNT(n->object),
        .hidden = hidden,
        .type = walk_types(w)[n->type].id,
        .flags = node_flags(n),
        .label = string_id(w, label),
        .domain = SNAP_DOMAIN_PYTHON,
        .kind = n->is_gc ? SNAP_NODE_OBJECT : SNAP_NODE_PLAIN_OBJECT,
    };
    put_node(w, &r);
}

static int send_one_node(void *context, size_t i) {
    struct managed_walk *const w = context;
    uint64_t external;
    if (i >= w->n_nodes || w->error || w->failed)
        return 1;
    const uint64_t size = walk_size(w, &walk_nodes(w)[i], &external);
    const struct node *const n = &walk_nodes(w)[i];
    const int is_tensor = !n->is_bad && walk_types(w)[n->type].special == SPECIAL_TENSOR;
    send_node(w, (uint32_t)i, size, external, is_tensor ? tensor_label(w, n->object) : 0);
    return 0;
}

static int send_bad_node(void *context, size_t i) {
    const struct managed_walk *const w = context;
    const struct managed_object *const listed = (const void *)w->objects.data;
    send_node(context, (uint32_t)i, listed ? listed[i].size : sizeof(PyObject), 0, 0);
    return 0;
}

int send_nodes(struct managed_walk *w, struct managed_sink *sink) {
    w->sink = sink;
    guard_start();
    w->first_node = sink->n_nodes;
    w->first_string = sink->n_strings - w->strings.n_sent;
    origins_find(w);
    guard_each(0, send_type, NULL, w);
    devices_send_type(w);
    send_flush(w, WIRE_TYPE);
    guard_each(0, send_one_node, send_bad_node, w);
    guard_stop();
    send_flush(w, WIRE_OBJECT);
    sink->n_nodes += w->n_nodes;
    devices_send_nodes(w);
    return result(w);
}

/* --- references --- */

/* What references were called last. */
enum { WAY_SLOTS = 4096 };
struct way_slot {
    uint64_t index;
    uint32_t label, kind, way; /* way: 0: none */
};

/* Number of what a reference is called; it is sent if it is not among the last ones. */
static uint32_t way_of(struct managed_walk *w, const struct reference *r) {
    if (r->kind == SNAP_EDGE_INDEX && !r->label && r->index < WIRE_WAYS)
        return (uint32_t)r->index;
    const uint64_t hash = (r->index * 31 + r->label) * 31 + r->kind;
    struct way_slot *const slot =
        &((struct way_slot *)(void *)
              w->way_slots.data)[hash * 0x9e3779b97f4a7c15u >> 32 & (WAY_SLOTS - 1)];
    if (slot->way && slot->index == r->index && slot->label == r->label && slot->kind == r->kind)
        return slot->way;
    if (w->n_ways == WIRE_SOURCE - WIRE_WAYS) {
        w->failed = 1;
        return 0;
    }
    const struct wire_way way = {
        .source_offset = r->index, .label = string_id(w, r->label), .kind = (uint16_t)r->kind};
    memory_add(&w->ways, &way, sizeof way);
    *slot = (struct way_slot){
        .index = r->index, .label = r->label, .kind = r->kind, .way = WIRE_WAYS + w->n_ways++};
    return slot->way;
}

static void send_link(struct managed_walk *w, uint32_t target, uint32_t way) {
    struct wire_link *const link = next_record(w, sizeof *link);
    if (link)
        *link = (struct wire_link){w->first_node + target, way};
}

void send_reference(struct managed_walk *w, const struct reference *reference, uint32_t target) {
    if (w->link_source != reference->source + 1) {
        w->link_source = reference->source + 1;
        send_link(w, w->link_source, WIRE_SOURCE);
    }
    send_link(w, target, way_of(w, reference));
    if (w->records.length >= SECTION_SIZE)
        send_flush(w, WIRE_LINK);
}

static int send_references_of(void *context, size_t i) {
    struct managed_walk *const w = context;
    if (i >= w->n_nodes || w->error || w->failed)
        return 1;
    w->current = (uint32_t)i;
    references_send(w, (uint32_t)i);
    return 0;
}

static int count_bad(void *context, size_t i) {
    ((struct managed_walk *)context)->n_bad++;
    return 0;
}

int send_references(struct managed_walk *w, struct managed_sink *sink) {
    w->sink = sink;
    natives_send_edges(w);
    if (!memory_zeroed(&w->way_slots, WAY_SLOTS * sizeof(struct way_slot)))
        return -ENOMEM;
    guard_start();
    guard_each(0, send_references_of, count_bad, w);
    guard_stop();
    references_flush(w);
    send_flush(w, WIRE_LINK);
    return result(w);
}

/* --- labels of blocks --- */

struct labels {
    struct managed_walk *walk;
    const struct managed_block *blocks; /* NULL: the walk's own */
    size_t n;
};

static int send_label(void *context, size_t i) {
    const struct labels *const l = context;
    struct managed_walk *const w = l->walk;
    uint64_t address, size = tensor_size(w);
    if (w->error || w->failed || i >= l->n)
        return 1;
    if (l->blocks) {
        address = l->blocks[i].address;
    } else {
        address = natives_blocks(w)[i].address;
        size = natives_blocks(w)[i].size;
    }
    const uint32_t label = size >= tensor_size(w) ? tensor_label_of_block(w, address) : 0;
    const struct wire_node_label r = {.node = l->blocks ? l->blocks[i].node : (uint32_t)i + 1,
                                      .label = string_id(w, label)};
    if (label)
        send_record(w, WIRE_NODE_LABEL, &r, sizeof r);
    return 0;
}

static int skip_label(void *context, size_t i) {
    return 0;
}

uint64_t send_label_size(const struct managed_walk *w) {
    return tensor_size(w);
}

int send_labels(struct managed_walk *w, struct managed_sink *sink,
                const struct managed_block *blocks, size_t n) {
    struct labels l = {.walk = w,
                       .blocks = w->has_blocks ? blocks : NULL,
                       .n = w->has_blocks ? n : w->natives.n_blocks};
    w->sink = sink;
    if (tensor_size(w) == 0 || l.n == 0)
        return result(w);
    guard_start();
    guard_each(0, send_label, skip_label, &l);
    guard_stop();
    send_flush(w, WIRE_NODE_LABEL);
    return result(w);
}

/* --- roots --- */

static void send_places(struct managed_walk *w) {
    const struct place *const places = (struct place *)(void *)w->places.data;
    w->first_frame = w->sink->n_frames;
    for (uint32_t i = 0; i < w->n_places; i++) {
        const struct wire_managed_frame r = {.function = string_id(w, places[i].function),
                                             .file = string_id(w, places[i].file),
                                             .line = places[i].line,
                                             .kind = SNAP_FRAM_PYTHON};
        send_record(w, WIRE_MANAGED_FRAME, &r, sizeof r);
    }
    w->sink->n_frames += w->n_places;
    send_flush(w, WIRE_MANAGED_FRAME);
}

static void send_hooks(struct managed_walk *w) {
    guard_start();
    hooks_find(w);
    guard_stop();
    for (size_t i = 0; i < w->n_hooks && !w->error && !w->failed; i++) {
        struct wire_hook r = ((struct wire_hook *)(void *)w->hooks.data)[i];
        r.registry = string_id(w, r.registry);
        r.callback = string_id(w, r.callback);
        r.file = string_id(w, r.file);
        r.holder = r.holder ? w->first_node + r.holder : 0;
        r.argument = w->first_node + r.argument;
        send_record(w, WIRE_HOOK, &r, sizeof r);
    }
    send_flush(w, WIRE_HOOK);
}

static void send_groups(struct managed_walk *w) {
    guard_start();
    groups_find(w);
    guard_stop();
    const size_t n = w->groups.length / sizeof(struct wire_resource);
    for (size_t i = 0; i < n && !w->error && !w->failed; i++) {
        struct wire_resource r = ((struct wire_resource *)(void *)w->groups.data)[i];
        r.name = string_id(w, r.name);
        send_record(w, WIRE_RESOURCE, &r, sizeof r);
    }
    send_flush(w, WIRE_RESOURCE);
}

int send_roots(struct managed_walk *w, struct managed_sink *sink, const uint8_t *held) {
    const struct root *const roots = (struct root *)(void *)w->roots.data;
    w->sink = sink;
    send_places(w);
    held = held ? held : natives_held(w);
    for (uint32_t i = 0; i < w->n_roots && !w->error && !w->failed; i++) {
        const uint32_t target = walk_find(w, roots[i].target);
        if (held && target && roots[i].kind == SNAP_ROOT_NATIVE && held[target - 1])
            continue;
        const struct wire_root r = {
            .target = w->first_node + target,
            .kind = roots[i].kind,
            .flags = roots[i].flags,
            .thread = roots[i].thread ? sink->thread(sink->context, roots[i].thread) : 0,
            .name = string_id(w, roots[i].name),
            .label = string_id(w, roots[i].label),
            .frame = roots[i].frame ? w->first_frame + roots[i].frame : 0,
        };
        if (target)
            send_record(w, WIRE_ROOT, &r, sizeof r);
    }
    natives_send_roots(w);
    send_flush(w, WIRE_ROOT);
    send_hooks(w);
    send_groups(w);
    return result(w);
}
