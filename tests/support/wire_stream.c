/* Capture streams by hand. See wire_stream.h. */
#include "support/wire_stream.h"

#include <link.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

static void append(struct wire_stream *s, const void *data, size_t size) {
    if (size && bytes_sink(&s->bytes, data, size))
        abort();
}

void wire_open(struct wire_stream *s, uint32_t kind) {
    const struct wire_section head = {.kind = kind};
    s->section = s->bytes.size;
    append(s, &head, sizeof head);
}

/* Counts in the open section's head. */
static void count(struct wire_stream *s, uint32_t n, size_t size) {
    struct wire_section head;
    memcpy(&head, s->bytes.data + s->section, sizeof head);
    head.n += n;
    head.bytes += size;
    memcpy(s->bytes.data + s->section, &head, sizeof head);
}

void wire_put(struct wire_stream *s, const void *record, size_t size) {
    append(s, record, size);
    count(s, 1, size);
}

void wire_text(struct wire_stream *s, const char *text) {
    static const char zeros[8];
    const size_t length = strlen(text), padding = -length & 7;
    append(s, text, length);
    append(s, zeros, padding);
    count(s, 0, length + padding);
}

void wire_close(struct wire_stream *s) {
    s->section = 0;
}

void wire_section(struct wire_stream *s, uint32_t kind, const void *records, uint32_t n,
                  size_t size) {
    wire_open(s, kind);
    append(s, records, n * size);
    count(s, n, n * size);
    wire_close(s);
}

void wire_begin(struct wire_stream *s, uint32_t hello_flags, const char *path,
                uint32_t target_flags) {
    const struct wire_hello hello = {WIRE_MAGIC, WIRE_VERSION, hello_flags};
    const struct wire_target target = {target_flags, (uint32_t)strlen(path), 100, 1};
    wire_section(s, WIRE_HELLO, &hello, 1, sizeof hello);
    wire_open(s, WIRE_TARGET);
    wire_put(s, &target, sizeof target);
    wire_text(s, path);
    wire_close(s);
}

void wire_string(struct wire_stream *s, const char *text) {
    const struct wire_string string = {(uint32_t)strlen(text), 0};
    wire_open(s, WIRE_STRING);
    wire_put(s, &string, sizeof string);
    wire_text(s, text);
    wire_close(s);
}

void wire_block(struct wire_stream *s, uint64_t address, uint64_t size, uint32_t stack,
                uint32_t flags) {
    const struct wire_block block = {
        .address = address, .size = size, .birth = ++s->n_blocks, .stack = stack, .flags = flags};
    s->block_bytes += size;
    wire_put(s, &block, sizeof block);
}

void wire_vtable(struct wire_stream *s, uint64_t address, uint64_t type_info,
                 uint64_t type_info_vtable, int64_t offset_to_top, const char *name) {
    const struct wire_vtable vtable = {
        address, type_info, type_info_vtable, offset_to_top, (uint32_t)strlen(name), 0};
    wire_put(s, &vtable, sizeof vtable);
    wire_text(s, name);
}

void wire_end(struct wire_stream *s) {
    const struct wire_end end = {s->n_blocks, s->block_bytes, 7};
    wire_section(s, WIRE_END, &end, 1, sizeof end);
}

void wire_release(struct wire_stream *s) {
    bytes_release(&s->bytes);
}

int wire_ingest(const void *data, size_t size, const struct ingest_options *options,
                char **out_path, snap_error *err) {
    const int fd = memfd_create("stream", MFD_CLOEXEC);
    for (size_t n = 0; fd >= 0 && n < size;) {
        const ssize_t part = write(fd, (const char *)data + n, size - n);
        if (part <= 0)
            abort();
        n += (size_t)part;
    }
    if (fd < 0 || lseek(fd, 0, SEEK_SET) != 0)
        abort();
    const int result = ingest(fd, options, out_path, err);
    close(fd);
    return result;
}

static int find_image(struct dl_phdr_info *info, size_t size, void *context) {
    struct wire_module *const m = context;
    (void)size;
    m->bias = info->dlpi_addr;
    m->start = UINT64_MAX;
    for (unsigned i = 0; i < info->dlpi_phnum; i++) {
        const ElfW(Phdr) *const p = &info->dlpi_phdr[i];
        const uint64_t start = info->dlpi_addr + p->p_vaddr;
        if (p->p_type != PT_LOAD)
            continue;
        m->start = start < m->start ? start : m->start;
        m->end = start + p->p_memsz > m->end ? start + p->p_memsz : m->end;
    }
    return 1; /* the first is the program */
}

void wire_process(struct wire_stream *s) {
    struct wire_meta meta = {.key = SNAP_META_PID, .value = 100};
    wire_section(s, WIRE_META, &meta, 1, sizeof meta);

    struct wire_module module = {.flags = SNAP_MODS_FLAG_MAIN};
    char path[4096];
    const ssize_t n = readlink("/proc/self/exe", path, sizeof path - 1);
    path[n < 0 ? 0 : n] = '\0';
    dl_iterate_phdr(find_image, &module);
    module.path_len = (uint32_t)strlen(path);
    wire_open(s, WIRE_MODULE);
    wire_put(s, &module, sizeof module);
    wire_text(s, path);
    wire_close(s);

    const struct wire_stack stacks[] = {{0, 0, 0x1000}, {1, 0, 0x2000}, {1, 0, 0x3000}};
    wire_section(s, WIRE_STACK, stacks, 3, sizeof *stacks);
    const struct wire_thread threads[] = {
        {.tid = 100, .stack_low = 0x7000000, .stack_high = 0x7010000, .name = "main"},
        {.tid = 101, .stack_low = 0x8000000, .stack_high = 0x8010000, .name = "worker"}};
    wire_section(s, WIRE_THREAD, threads, 2, sizeof *threads);
    struct wire_region region = {
        .address = 0x9000000, .size = 0x10000, .kind = SNAP_REGN_ANONYMOUS, .name_len = 4};
    wire_open(s, WIRE_REGION);
    wire_put(s, &region, sizeof region);
    wire_text(s, "pool");
    wire_close(s);
}

void wire_example(struct wire_stream *s) {
    wire_open(s, WIRE_BLOCK);
    for (uint64_t i = 0; i < 8; i++)
        wire_block(s, 0x100000 + i * 0x100, 64, (uint32_t)i % 4, SNAP_NODE_BLOCK << 24);
    wire_close(s);
    wire_string(s, "struct session");
    wire_string(s, "sessions");
    const struct wire_managed_frame managed = {.function = 2, .file = 1, .line = 7, .kind = 1};
    wire_section(s, WIRE_MANAGED_FRAME, &managed, 1, sizeof managed);
    const struct wire_type type = {.name = 1, .source = SNAP_TYPE_API, .size = 64};
    wire_section(s, WIRE_TYPE, &type, 1, sizeof type);
    const struct wire_pool pool = {.address = 0x100000,
                                   .size = 0x1000,
                                   .kind = SNAP_POOL_API,
                                   .domain = SNAP_DOMAIN_HOST,
                                   .name = 2,
                                   .stack = 1};
    wire_section(s, WIRE_POOL, &pool, 1, sizeof pool);
    const struct wire_node node = {.address = 0x500000,
                                   .size = 48,
                                   .refcount = 2,
                                   .type = 1,
                                   .thread = 1,
                                   .pool = 1,
                                   .label = 2,
                                   .domain = SNAP_DOMAIN_PYTHON,
                                   .kind = SNAP_NODE_OBJECT};
    wire_section(s, WIRE_NODE, &node, 1, sizeof node);
    const struct wire_object object = {.address = 0x500040,
                                       .size = 56,
                                       .external = 100,
                                       .refcount = 3,
                                       .hidden = 1,
                                       .type = 1,
                                       .flags = SNAP_NODE_FLAG_UNTRACKED |
                                                (uint32_t)SNAP_NODE_PLAIN_OBJECT << 24};
    wire_section(s, WIRE_OBJECT, &object, 1, sizeof object);
    const struct wire_node_type node_type = {3, 1};
    wire_section(s, WIRE_NODE_TYPE, &node_type, 1, sizeof node_type);
    const struct wire_node_pool node_pool = {1, 1};
    wire_section(s, WIRE_NODE_POOL, &node_pool, 1, sizeof node_pool);
    const struct wire_node_label node_label = {3, 2};
    wire_section(s, WIRE_NODE_LABEL, &node_label, 1, sizeof node_label);
    const struct wire_frame frames[] = {{0x7001000, 0x2000, 1, 1}, {0x7002000, 0x3000, 1, 0}};
    wire_section(s, WIRE_FRAME, frames, 2, sizeof *frames);
    const struct wire_tls tls = {0x8000100, 0x100, 2, 1};
    wire_section(s, WIRE_TLS, &tls, 1, sizeof tls);
    wire_open(s, WIRE_VTABLE);
    wire_vtable(s, 0x10, 0x110, 0x30, 0, "4Base");
    wire_vtable(s, 0x20, 0x120, 0x20, 0, "N10__cxxabiv120__si_class_type_infoE");
    wire_vtable(s, 0x30, 0x130, 0x20, 0, "N10__cxxabiv117__class_type_infoE");
    wire_close(s);
    const struct wire_vptr vptr = {.node = 1, .offset = 0, .vtable = 1};
    wire_section(s, WIRE_VPTR, &vptr, 1, sizeof vptr);
    const struct wire_function function = {0x4000};
    wire_section(s, WIRE_FUNCTION, &function, 1, sizeof function);
    const struct wire_code codes[] = {{8, 2, 1}, {16, 4, 1}};
    wire_section(s, WIRE_CODE, codes, 2, sizeof *codes);
    const struct wire_edge edges[] = {
        {1, 2, 1, 0}, {1, 3, 2, 8}, {2, 5, 2, 0}, {4, 4, 0, 0}, {7, 1, 7, UINT32_MAX}};
    wire_section(s, WIRE_EDGE, edges, 5, sizeof *edges);
    const struct wire_reference reference = {
        .source = 9, .target = 8, .label = 2, .kind = SNAP_EDGE_ATTRIBUTE};
    wire_section(s, WIRE_REFERENCE, &reference, 1, sizeof reference);
    const struct wire_way way = {.source_offset = 1, .label = 1, .kind = SNAP_EDGE_CELL};
    wire_section(s, WIRE_WAY, &way, 1, sizeof way);
    const struct wire_link links[] = {
        {9, WIRE_SOURCE}, {10, 7}, {10, WIRE_SOURCE}, {9, WIRE_WAYS}, {3, WIRE_WAYS - 1}};
    wire_section(s, WIRE_LINK, links, 5, sizeof *links);
    const struct wire_root roots[] = {
        {.address = 0x7001010, .target = 1, .kind = SNAP_ROOT_STACK, .thread = 1},
        {.target = 9, .kind = SNAP_ROOT_FRAME, .thread = 1, .name = 2, .label = 1, .frame = 1},
        {.address = 0x9000010, .target = 2, .kind = SNAP_ROOT_MAPPING, .flags = SNAP_EDGE_FLAG_LOW},
        {.address = 3, .target = 7, .kind = SNAP_ROOT_REGISTER, .thread = 1}};
    wire_section(s, WIRE_ROOT, roots, 4, sizeof *roots);
    const struct wire_hook hook = {
        .pc = 0x4000, .registry = 2, .holder = 6, .argument = 8, .kind = SNAP_HOOK_API, .root = 2};
    wire_section(s, WIRE_HOOK, &hook, 1, sizeof hook);
    const struct wire_resource resource = {.handle = 5, .kind = SNAP_RSRC_FILE, .name = 2};
    wire_section(s, WIRE_RESOURCE, &resource, 1, sizeof resource);
    struct wire_meta meta = {.key = SNAP_META_COMPLETENESS, .name_len = 5, .value = 3};
    wire_open(s, WIRE_META);
    wire_put(s, &meta, sizeof meta);
    wire_text(s, "parts");
    wire_close(s);
    wire_end(s);
}

void wire_final_example(struct wire_stream *s, int is_final) {
    enum { N = 5000 };
    if (is_final)
        wire_section(s, WIRE_FINAL, NULL, 0, 0);
    wire_string(s, "module.Klasse");
    wire_string(s, "items");
    wire_string(s, "dict");
    const struct wire_managed_frame managed = {.function = 2, .file = 1, .line = 7, .kind = 1};
    wire_section(s, WIRE_MANAGED_FRAME, &managed, 1, sizeof managed);
    const struct wire_type types[] = {
        {.name = 3, .source = SNAP_TYPE_RUNTIME, .flags = SNAP_TYPE_FLAG_CLASS},
        {.name = 1, .source = SNAP_TYPE_RUNTIME, .size = 48},
        {.name = 2, .source = SNAP_TYPE_RUNTIME, .size = 8}}; /* of no node */
    wire_section(s, WIRE_TYPE, types, 3, sizeof *types);
    wire_open(s, WIRE_OBJECT);
    for (uint32_t i = 0; i < N; i++) {
        const struct wire_object o = {.address = 0x500000 + i * UINT64_C(64),
                                      .size = 48 + i % 7,
                                      .external = i % 100 == 1 ? 1000 : 0,
                                      .refcount = i % 5,
                                      .hidden = i % 9 == 0,
                                      .type = 1 + i % 2,
                                      .label = i == 4000 ? 2 : 0,
                                      .flags = (i % 3 ? SNAP_NODE_FLAG_UNTRACKED : 0) |
                                               (uint32_t)SNAP_NODE_PLAIN_OBJECT << 24};
        wire_put(s, &o, sizeof o);
    }
    wire_close(s);
    const struct wire_node nodes[] = {{.address = 0x600000,
                                       .size = UINT64_C(5) << 30,
                                       .external = UINT64_C(6) << 30,
                                       .refcount = 2,
                                       .hidden = 1,
                                       .type = 1,
                                       .thread = 1,
                                       .label = 2,
                                       .domain = SNAP_DOMAIN_PYTHON,
                                       .kind = SNAP_NODE_OBJECT},
                                      {.address = 0x100,
                                       .size = 4096,
                                       .device = 1,
                                       .domain = SNAP_DOMAIN_DEVICE,
                                       .kind = SNAP_NODE_BLOCK}};
    wire_section(s, WIRE_NODE, nodes, 2, sizeof *nodes);
    const struct wire_way ways[] = {
        {.source_offset = 1, .label = 1, .kind = SNAP_EDGE_CELL},
        {.target_offset = 8, .kind = SNAP_EDGE_POINTER, .flags = SNAP_EDGE_FLAG_INTERIOR}};
    wire_section(s, WIRE_WAY, ways, 2, sizeof *ways);
    wire_open(s, WIRE_LINK);
    const struct wire_link of_last = {N + 2, WIRE_SOURCE};
    for (uint32_t i = 0; i < WIRE_FINAL_LINKS; i++) {
        const uint32_t source = i / 5;
        const struct wire_link from = {2 + source, WIRE_SOURCE};
        const struct wire_link link = {1 + i * 7919 % (N + 2),
                                       i > 100 && i % 3 ? WIRE_WAYS + (i > 9000 && i % 2) : i};
        if (i % 5 == 0)
            wire_put(s, &from, sizeof from);
        wire_put(s, &link, sizeof link);
    }
    wire_put(s, &of_last, sizeof of_last);
    wire_close(s);
    const struct wire_root roots[] = {
        {.target = 9, .kind = SNAP_ROOT_FRAME, .thread = 1, .name = 2, .label = 1, .frame = 1},
        {.target = N + 2, .kind = SNAP_ROOT_NATIVE, .flags = SNAP_EDGE_FLAG_LOW}};
    wire_section(s, WIRE_ROOT, roots, 2, sizeof *roots);
    const struct wire_hook hook = {.registry = 2,
                                   .callback = 1,
                                   .holder = N + 1,
                                   .argument = 8,
                                   .kind = SNAP_HOOK_PYTHON,
                                   .root = 1};
    wire_section(s, WIRE_HOOK, &hook, 1, sizeof hook);
    const struct wire_resource resource = {
        .handle = 0x500040, .kind = SNAP_RSRC_PROCESS_GROUP, .name = 2};
    wire_section(s, WIRE_RESOURCE, &resource, 1, sizeof resource);
    wire_end(s);
}
