/* Descriptions of the tables: chunk ids, columns and the names of enumeration codes. The rows
 * mirror snap-format.md, section 8, and registry.md; tests/lint/registry.py compares them. */
#include "base/err.h"

#include <heapsnap/table.h>

#define NUM(name)                                                                                  \
    { name, SNAP_COLUMN_NUMBER, SNAP_N_TABLES }
#define BYTES(name)                                                                                \
    { name, SNAP_COLUMN_BYTES, SNAP_N_TABLES }
#define REF(name, table)                                                                           \
    { name, SNAP_COLUMN_REF, SNAP_TABLE_##table }

static const struct {
    uint32_t id;
    snap_column_info column[SNAP_COLUMNS_MAX];
} tables[SNAP_N_TABLES] = {
    [SNAP_TABLE_META] = {SNAP_ID_META,
                         {[SNAP_META_COL_KEY] = NUM("key"),
                          [SNAP_META_COL_NAME] = BYTES("name"),
                          [SNAP_META_COL_VALUE] = NUM("value"),
                          [SNAP_META_COL_TEXT] = BYTES("text")}},
    [SNAP_TABLE_STRS] = {SNAP_ID_STRS, {[SNAP_STRS_COL_TEXT] = BYTES("text")}},
    [SNAP_TABLE_MODS] = {SNAP_ID_MODS,
                         {[SNAP_MODS_COL_PATH] = REF("path", STRS),
                          [SNAP_MODS_COL_BUILD_ID] = BYTES("build_id"),
                          [SNAP_MODS_COL_START] = NUM("start"),
                          [SNAP_MODS_COL_END] = NUM("end"),
                          [SNAP_MODS_COL_BIAS] = NUM("bias"),
                          [SNAP_MODS_COL_FLAGS] = NUM("flags")}},
    [SNAP_TABLE_FRAM] = {SNAP_ID_FRAM,
                         {[SNAP_FRAM_COL_KIND] = NUM("kind"),
                          [SNAP_FRAM_COL_MODULE] = REF("module", MODS),
                          [SNAP_FRAM_COL_OFFSET] = NUM("offset"),
                          [SNAP_FRAM_COL_FLAGS] = NUM("flags")}},
    [SNAP_TABLE_STAK] = {SNAP_ID_STAK,
                         {[SNAP_STAK_COL_PARENT] = REF("parent", STAK),
                          [SNAP_STAK_COL_FRAME] = REF("frame", FRAM),
                          [SNAP_STAK_COL_FLAGS] = NUM("flags")}},
    [SNAP_TABLE_SYMB] = {SNAP_ID_SYMB,
                         {[SNAP_SYMB_COL_FRAME] = REF("frame", FRAM),
                          [SNAP_SYMB_COL_DEPTH] = NUM("depth"),
                          [SNAP_SYMB_COL_FUNCTION] = REF("function", STRS),
                          [SNAP_SYMB_COL_FILE] = REF("file", STRS),
                          [SNAP_SYMB_COL_LINE] = NUM("line"),
                          [SNAP_SYMB_COL_SOURCE] = NUM("source")}},
    [SNAP_TABLE_TYPE] = {SNAP_ID_TYPE,
                         {[SNAP_TYPE_COL_NAME] = REF("name", STRS),
                          [SNAP_TYPE_COL_SOURCE] = NUM("source"),
                          [SNAP_TYPE_COL_SIZE] = NUM("size"),
                          [SNAP_TYPE_COL_FLAGS] = NUM("flags"),
                          [SNAP_TYPE_COL_MODULE] = REF("module", MODS)}},
    [SNAP_TABLE_THRD] = {SNAP_ID_THRD,
                         {[SNAP_THRD_COL_TID] = NUM("tid"),
                          [SNAP_THRD_COL_NAME] = REF("name", STRS),
                          [SNAP_THRD_COL_FLAGS] = NUM("flags"),
                          [SNAP_THRD_COL_SP] = NUM("sp"),
                          [SNAP_THRD_COL_STACK_LOW] = NUM("stack_low"),
                          [SNAP_THRD_COL_STACK_HIGH] = NUM("stack_high"),
                          [SNAP_THRD_COL_STACK] = REF("stack", STAK)}},
    [SNAP_TABLE_NODE] = {SNAP_ID_NODE,
                         {[SNAP_NODE_COL_DOMAIN] = NUM("domain"),
                          [SNAP_NODE_COL_KIND] = NUM("kind"),
                          [SNAP_NODE_COL_ADDRESS] = NUM("address"),
                          [SNAP_NODE_COL_SIZE] = NUM("size"),
                          [SNAP_NODE_COL_TYPE] = REF("type", TYPE),
                          [SNAP_NODE_COL_STACK] = REF("stack", STAK),
                          [SNAP_NODE_COL_BIRTH] = NUM("birth"),
                          [SNAP_NODE_COL_FLAGS] = NUM("flags"),
                          [SNAP_NODE_COL_REFCOUNT] = NUM("refcount"),
                          [SNAP_NODE_COL_HIDDEN] = NUM("hidden"),
                          [SNAP_NODE_COL_THREAD] = REF("thread", THRD),
                          [SNAP_NODE_COL_DEVICE] = NUM("device"),
                          [SNAP_NODE_COL_POOL] = REF("pool", POOL),
                          [SNAP_NODE_COL_LABEL] = REF("label", STRS),
                          [SNAP_NODE_COL_EXTERNAL] = NUM("external")}},
    [SNAP_TABLE_EDGE] = {SNAP_ID_EDGE,
                         {[SNAP_EDGE_COL_SOURCE] = REF("source", NODE),
                          [SNAP_EDGE_COL_TARGET] = REF("target", NODE),
                          [SNAP_EDGE_COL_KIND] = NUM("kind"),
                          [SNAP_EDGE_COL_LABEL] = REF("label", STRS),
                          [SNAP_EDGE_COL_SOURCE_OFFSET] = NUM("source_offset"),
                          [SNAP_EDGE_COL_TARGET_OFFSET] = NUM("target_offset"),
                          [SNAP_EDGE_COL_FLAGS] = NUM("flags")}},
    [SNAP_TABLE_ROOT] = {SNAP_ID_ROOT,
                         {[SNAP_ROOT_COL_KIND] = NUM("kind"),
                          [SNAP_ROOT_COL_TARGET] = REF("target", NODE),
                          [SNAP_ROOT_COL_TARGET_OFFSET] = NUM("target_offset"),
                          [SNAP_ROOT_COL_NAME] = REF("name", STRS),
                          [SNAP_ROOT_COL_MODULE] = REF("module", MODS),
                          [SNAP_ROOT_COL_ADDRESS] = NUM("address"),
                          [SNAP_ROOT_COL_THREAD] = REF("thread", THRD),
                          [SNAP_ROOT_COL_FRAME] = REF("frame", FRAM),
                          [SNAP_ROOT_COL_FLAGS] = NUM("flags"),
                          [SNAP_ROOT_COL_LABEL] = REF("label", STRS)}},
    [SNAP_TABLE_HOOK] = {SNAP_ID_HOOK,
                         {[SNAP_HOOK_COL_REGISTRY] = REF("registry", STRS),
                          [SNAP_HOOK_COL_CALLBACK] = REF("callback", STRS),
                          [SNAP_HOOK_COL_FILE] = REF("file", STRS),
                          [SNAP_HOOK_COL_LINE] = NUM("line"),
                          [SNAP_HOOK_COL_FRAME] = REF("frame", FRAM),
                          [SNAP_HOOK_COL_HOLDER] = REF("holder", NODE),
                          [SNAP_HOOK_COL_HOLDER_OFFSET] = NUM("holder_offset"),
                          [SNAP_HOOK_COL_ARGUMENT] = REF("argument", NODE),
                          [SNAP_HOOK_COL_STACK] = REF("stack", STAK),
                          [SNAP_HOOK_COL_BIRTH] = NUM("birth"),
                          [SNAP_HOOK_COL_COUNT] = NUM("count"),
                          [SNAP_HOOK_COL_KIND] = NUM("kind"),
                          [SNAP_HOOK_COL_ROOT] = REF("root", ROOT)}},
    [SNAP_TABLE_POOL] = {SNAP_ID_POOL,
                         {[SNAP_POOL_COL_KIND] = NUM("kind"),
                          [SNAP_POOL_COL_DOMAIN] = NUM("domain"),
                          [SNAP_POOL_COL_DEVICE] = NUM("device"),
                          [SNAP_POOL_COL_NAME] = REF("name", STRS),
                          [SNAP_POOL_COL_ADDRESS] = NUM("address"),
                          [SNAP_POOL_COL_SIZE] = NUM("size"),
                          [SNAP_POOL_COL_LIVE] = NUM("live"),
                          [SNAP_POOL_COL_CACHED] = NUM("cached"),
                          [SNAP_POOL_COL_LARGEST_GAP] = NUM("largest_gap"),
                          [SNAP_POOL_COL_MODULE] = REF("module", MODS),
                          [SNAP_POOL_COL_STACK] = REF("stack", STAK),
                          [SNAP_POOL_COL_BIRTH] = NUM("birth"),
                          [SNAP_POOL_COL_PARENT] = REF("parent", POOL),
                          [SNAP_POOL_COL_FLAGS] = NUM("flags")}},
    [SNAP_TABLE_REGN] = {SNAP_ID_REGN,
                         {[SNAP_REGN_COL_ADDRESS] = NUM("address"),
                          [SNAP_REGN_COL_SIZE] = NUM("size"),
                          [SNAP_REGN_COL_KIND] = NUM("kind"),
                          [SNAP_REGN_COL_PROTECTION] = NUM("protection"),
                          [SNAP_REGN_COL_NAME] = REF("name", STRS),
                          [SNAP_REGN_COL_STACK] = REF("stack", STAK),
                          [SNAP_REGN_COL_BIRTH] = NUM("birth"),
                          [SNAP_REGN_COL_RESIDENT] = NUM("resident"),
                          [SNAP_REGN_COL_FLAGS] = NUM("flags")}},
    [SNAP_TABLE_RSRC] = {SNAP_ID_RSRC,
                         {[SNAP_RSRC_COL_KIND] = NUM("kind"),
                          [SNAP_RSRC_COL_HANDLE] = NUM("handle"),
                          [SNAP_RSRC_COL_NAME] = REF("name", STRS),
                          [SNAP_RSRC_COL_MODULE] = REF("module", MODS),
                          [SNAP_RSRC_COL_STACK] = REF("stack", STAK),
                          [SNAP_RSRC_COL_BIRTH] = NUM("birth"),
                          [SNAP_RSRC_COL_DEVICE] = NUM("device"),
                          [SNAP_RSRC_COL_SIZE] = NUM("size"),
                          [SNAP_RSRC_COL_FLAGS] = NUM("flags"),
                          [SNAP_RSRC_COL_THREAD] = REF("thread", THRD)}},
    [SNAP_TABLE_SUMM] = {SNAP_ID_SUMM,
                         {[SNAP_SUMM_COL_KIND] = NUM("kind"),
                          [SNAP_SUMM_COL_DOMAIN] = NUM("domain"),
                          [SNAP_SUMM_COL_KEY] = NUM("key"),
                          [SNAP_SUMM_COL_KEY2] = NUM("key2"),
                          [SNAP_SUMM_COL_COUNT] = NUM("count"),
                          [SNAP_SUMM_COL_BYTES] = NUM("bytes"),
                          [SNAP_SUMM_COL_LABEL] = BYTES("label"),
                          [SNAP_SUMM_COL_CACHED] = NUM("cached")}},
    [SNAP_TABLE_TOCC] = {SNAP_ID_TOCC,
                         {[SNAP_TOCC_COL_ID] = NUM("id"),
                          [SNAP_TOCC_COL_OFFSET] = NUM("offset"),
                          [SNAP_TOCC_COL_STORED_SIZE] = NUM("stored_size"),
                          [SNAP_TOCC_COL_RAW_SIZE] = NUM("raw_size"),
                          [SNAP_TOCC_COL_N_ROWS] = NUM("n_rows")}},
};

uint32_t snap_table_id(snap_table table) {
    return (unsigned)table < SNAP_N_TABLES ? tables[table].id : 0;
}

snap_table snap_table_of_id(uint32_t id) {
    for (unsigned t = 0; t < SNAP_N_TABLES; t++)
        if (tables[t].id == id)
            return (snap_table)t;
    return SNAP_N_TABLES;
}

snap_column_info snap_table_column(snap_table table, unsigned column) {
    static const snap_column_info none = {NULL, SNAP_COLUMN_NONE, SNAP_N_TABLES};
    if ((unsigned)table >= SNAP_N_TABLES || column >= SNAP_COLUMNS_MAX ||
        !tables[table].column[column].name)
        return none;
    return tables[table].column[column];
}

static const char *const domain_names[] = {NULL, "host", "python", "device", "pinned", "managed"};
static const char *const node_kind_names[] = {NULL,
                                              "block",
                                              "new",
                                              "api_block",
                                              "region",
                                              "object",
                                              "plain_object",
                                              "storage",
                                              "device_linear",
                                              "device_array",
                                              "device_async",
                                              "device_physical",
                                              "device_virtual",
                                              "device_multicast",
                                              "device_imported",
                                              "device_external",
                                              "device_graph",
                                              "device_block",
                                              "registered"};
static const char *const edge_kind_names[] = {
    NULL,    "pointer", "attribute", "key",      "value",   "index",          "cell",
    "local", "slot",    "type",      "internal", "storage", "saved",          "next",
    "hook",  "weak",    "mapping",   "member",   "api",     "device_pointer", "registered"};
static const char *const root_kind_names[] = {
    NULL,         "global",    "stack",  "register",    "tls",       "api",
    "mapping",    "alt_stack", "module", "interpreter", "thread",    "frame",
    "context",    "atexit",    "signal", "codec",       "collector", "trace",
    "event_loop", "native",    "device", "runtime"};
static const char *const hook_kind_names[] = {
    NULL,        "native",       "api",          "atexit",     "signal",          "thread_key",
    "python",    "torch_module", "torch_tensor", "torch_node", "torch_optimizer", "torch_other",
    "collector", "weakref",      "event_loop",   "cache"};
static const char *const pool_kind_names[] = {
    NULL,           "malloc",     "api",    "arena",  "torch_segment", "torch_private",
    "cuda_mempool", "cuda_graph", "driver", "pinned", "other"};
static const char *const region_kind_names[] = {
    NULL, "anonymous", "heap", "stack", "file", "shared_memory", "device", "special", "recorder"};
static const char *const resource_kind_names[] = {NULL,
                                                  "stream",
                                                  "event",
                                                  "graph",
                                                  "graph_exec",
                                                  "device_module",
                                                  "library",
                                                  "context",
                                                  "library_handle",
                                                  "communicator",
                                                  "texture",
                                                  "thread",
                                                  "file",
                                                  "socket",
                                                  "pipe",
                                                  "other_fd",
                                                  "process_group",
                                                  "external_memory",
                                                  "external_semaphore",
                                                  "linker",
                                                  "surface"};
static const char *const frame_kind_names[] = {"native", "python", "jit", "other"};
static const char *const symbol_source_names[] = {NULL,     "dwarf",   "symtab",
                                                  "dynsym", "runtime", "separate"};
static const char *const type_source_names[] = {NULL,    "runtime", "api", "vtable",
                                                "dwarf", "guess",   "site"};
static const char *const summary_kind_names[] = {NULL,   "total", "type",     "site",  "type_edge",
                                                 "hook", "pool",  "resource", "region"};
static const char *const meta_key_names[] = {
    [SNAP_META_WRITER] = "writer",
    [SNAP_META_LINEAGE] = "lineage",
    [SNAP_META_SEQUENCE] = "sequence",
    [SNAP_META_PID] = "pid",
    [SNAP_META_PARENT_PID] = "parent_pid",
    [SNAP_META_RANK] = "rank",
    [SNAP_META_STEP] = "step",
    [SNAP_META_LABEL] = "label",
    [SNAP_META_TIME_NS] = "time_ns",
    [SNAP_META_UPTIME_NS] = "uptime_ns",
    [SNAP_META_COMMAND] = "command",
    [SNAP_META_EXECUTABLE] = "executable",
    [SNAP_META_HOST] = "host",
    [SNAP_META_ARCH] = "arch",
    [SNAP_META_PAGE_SIZE] = "page_size",
    [SNAP_META_POINTER_SIZE] = "pointer_size",
    [SNAP_META_TRIGGER] = "trigger",
    [SNAP_META_CONSISTENCY] = "consistency",
    [SNAP_META_PAUSE_NS] = "pause_ns",
    [SNAP_META_REDACTION] = "redaction",
    [SNAP_META_BIRTH_MARK] = "birth_mark",
    [SNAP_META_PARENT_LINEAGE] = "parent_lineage",
    [SNAP_META_UNSORTED] = "unsorted",
    [SNAP_META_TRACKED] = "tracked",
    [SNAP_META_ALLOCATOR] = "allocator",
    [SNAP_META_USER] = "user",
    [SNAP_META_PROCESS] = "process",
    [SNAP_META_COMPLETENESS] = "completeness",
    [SNAP_META_DEVICE] = "device",
};

#define NAMES(table, column, names)                                                                \
    { SNAP_TABLE_##table, SNAP_##table##_COL_##column, sizeof names / sizeof *names, names }

static const struct {
    snap_table table;
    unsigned column;
    size_t n;
    const char *const *names;
} enumerations[] = {
    NAMES(META, KEY, meta_key_names),         NAMES(NODE, DOMAIN, domain_names),
    NAMES(POOL, DOMAIN, domain_names),        NAMES(SUMM, DOMAIN, domain_names),
    NAMES(NODE, KIND, node_kind_names),       NAMES(EDGE, KIND, edge_kind_names),
    NAMES(ROOT, KIND, root_kind_names),       NAMES(HOOK, KIND, hook_kind_names),
    NAMES(POOL, KIND, pool_kind_names),       NAMES(REGN, KIND, region_kind_names),
    NAMES(RSRC, KIND, resource_kind_names),   NAMES(FRAM, KIND, frame_kind_names),
    NAMES(SYMB, SOURCE, symbol_source_names), NAMES(TYPE, SOURCE, type_source_names),
    NAMES(SUMM, KIND, summary_kind_names),
};

const char *snap_code_name(snap_table table, unsigned column, uint64_t code) {
    for (size_t i = 0; i < sizeof enumerations / sizeof *enumerations; i++)
        if (enumerations[i].table == table && enumerations[i].column == column)
            return code < enumerations[i].n ? enumerations[i].names[code] : NULL;
    return NULL;
}
