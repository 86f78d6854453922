/* The walk's own state, shared by its parts: find.c finds objects, reference.c names what they
 * refer to, root.c what holds them, send.c makes records. */
#ifndef HEAPSNAP_PYTHON_WALKER_H
#define HEAPSNAP_PYTHON_WALKER_H

#include "capture/managed.h"
#include "capture/memory.h"
#include "python/cpython.h"

/* Types whose objects keep something where no public structure says so. */
enum special {
    SPECIAL_NONE,
    SPECIAL_ARRAY,   /* numpy.ndarray */
    SPECIAL_DEQUE,   /* collections.deque */
    SPECIAL_PYARRAY, /* array.array */
    SPECIAL_LRU,     /* functools._lru_cache_wrapper */
    SPECIAL_PARTIAL, /* functools.partial */
    SPECIAL_MODULE,  /* torch.nn.Module */
    SPECIAL_TENSOR,  /* torch.Tensor */
    SPECIAL_DTYPE    /* torch.dtype */
};

struct type_entry {
    PyTypeObject *type; /* NULL: free */
    uint32_t id;        /* in the stream; 0: not sent */
    uint8_t special;
    uint8_t is_bad : 1;   /* no type */
    uint8_t is_leaf : 1;  /* its objects refer to nothing */
    uint8_t is_plain : 1; /* a class as one writes it: all words of its objects refer to objects */
    uint8_t is_weakref : 1; /* or a proxy */
    uint8_t is_set : 1;     /* or a frozen one */
    uint8_t is_bytearray : 1;
    uint8_t is_foreign : 1; /* of native.c: its objects may hold addresses of native ones */
};

/* What is known of an object from the one that it belongs to. */
enum role {
    ROLE_NONE,
    ROLE_ATTRIBUTES, /* a dictionary whose strings are names of attributes */
    ROLE_CLOSURE,    /* of the code that walk_owner() tells */
    ROLE_MODULES,    /* sys.modules */
    ROLE_PART        /* likewise of a module of PyTorch */
};

struct node {
    PyObject *object;
    uint32_t n_references; /* to it, from all nodes and roots */
    uint32_t via;       /* who reached it first: index + 1 of a node, or of a root with VIA_ROOT */
    uint32_t owner;     /* index + 1 in owners; see role */
    uint32_t type : 24; /* index in types */
    uint32_t role : 3, is_gc : 1, is_tracked : 1, is_frozen : 1, is_bad : 1, is_garbage : 1;
};
#define VIA_ROOT 0x80000000u
#define TYPES_MOST ((uint32_t)1 << 24) /* places in the table */

/* What is known of an object before it is a node. */
struct early {
    PyObject *object, *owner;
    uint32_t role; /* ROLE_NONE: it is referred to by what is no node and no root */
};

/* A reference from outside. */
struct root {
    PyObject *target;
    uint32_t kind, flags, name, label; /* strings */
    uint32_t thread;                   /* tid; 0: none */
    uint32_t frame;                    /* index + 1 in frames; 0: none */
    uint32_t is_owner;                 /* the object's count has a reference for it */
};

/* A place in Python code that somebody waits at. */
struct place {
    uint32_t function, file, line;
};

#define NAMES_KNOWN 256
struct strings {
    struct memory text;    /* all strings, each ended by NUL */
    struct memory offsets; /* uint32_t: where string i begins */
    struct memory table;   /* uint32_t: hash table of index + 1 */
    uint32_t n, n_sent;
    struct {
        const char *text;
        uint32_t name;
    } known[NAMES_KNOWN]; /* those that came last, of texts that stay as they are */
};

/* What is known of native memory without a recorder: see native.c. */
struct natives {
    struct memory segments, classes, class_index; /* struct segment, struct native_class */
    struct memory blocks, index;                  /* struct native_block; uint32_t: hash table */
    struct memory seeds, held;                    /* uint8_t by object */
    uint64_t heap_low, heap_high, image_low, image_high;
    uint64_t interpreter_start, interpreter_end;
    uint64_t end_ns;
    size_t last_segment[2];
    int has_headers; /* malloc is glibc's */
    int is_open;
    uint32_t n_blocks, n_classes;
    unsigned data_word; /* of a storage, that says where its bytes are; 0: not known */
    uint64_t n_missed;
};

struct native_block {
    uint64_t address, size;
    uint64_t table;     /* 0: it has none */
    uint32_t n_seen;    /* words that refer to its start */
    uint32_t n_counted; /* references that it counts itself; 0: it does not count */
    uint8_t is_data;    /* numbers, no references */
    uint8_t is_storage;
};

/* Memory of devices: see device_tensors.c. */
struct devices {
    struct memory found, ranges; /* struct found, struct range */
    struct memory of_block;      /* uint32_t by block: the range of what it is the storage of */
    uint32_t n_ranges, type;
};

/* One that is to be sent. */
struct reference {
    uint64_t index;
    uint32_t source, label; /* source: index */
    uint32_t kind;
};
enum { KEPT_MOST = 64 };

/* What is known of tensors: see tensor.c. */
#define TENSOR_KINDS 96
#define SIZE_MAX_BYTES ((uint64_t)1 << 42)
struct tensors {
    unsigned word;      /* of a tensor, that says how many dimensions it has; 0: not known */
    unsigned size_word; /* of a storage, that says how many bytes it has; 0: not known */
    struct tensor_kind {
        char name[23]; /* "": not known */
        uint8_t size;  /* bytes of an element; 0: not known */
    } kinds[TENSOR_KINDS];
};

struct managed_walk {
    struct memory nodes;                        /* struct node; when all objects are found */
    struct memory index, regions, region_order; /* of index.c */
    uint32_t n_nodes;                           /* objects, at first */
    struct memory found, bad;                   /* of find.c: PyObject *, uint8_t */
    struct memory early;                        /* struct early */
    struct memory frozen;                       /* size_t: from which in found, up to which */
    struct memory owners;                       /* PyObject * */
    struct memory types;                        /* struct type_entry: hash table */
    uint32_t n_types, types_size;
    struct memory roots; /* struct root */
    uint32_t n_roots;
    struct memory places; /* struct place */
    uint32_t n_places;
    struct memory hooks; /* struct wire_hook; names and nodes as here */
    size_t n_hooks;
    struct memory groups;  /* struct wire_resource; names and handles as here */
    struct memory objects; /* struct managed_object */
    struct memory targets; /* PyObject *: what the object at work refers to */
    struct memory claimed; /* uint8_t, for each of targets */
    struct memory origins; /* uint8_t, by name of a module: see origin.c */
    struct strings strings;
    struct natives natives;
    struct tensors tensors;
    struct devices devices;
    uint64_t n_bad, n_unlisted, n_hidden, n_garbage, n_frozen;
    int is_collecting, has_blocks;
    uint32_t first_node, first_string, first_type, first_frame; /* numbers before ours */
    uint32_t current;                                           /* node at work */
    struct memory pending; /* of find.c: references that are not counted yet */
    uint32_t cut;          /* index + 1 of a node whose pending references are not believed */
    int failed;            /* no memory */
    struct reference kept[KEPT_MOST]; /* of reference.c */
    const void *kept_targets[KEPT_MOST];
    uint32_t n_kept;
    /* send.c */
    struct managed_sink *sink;
    struct memory records, names;  /* sections in the making */
    struct memory ways, way_slots; /* struct wire_way; struct way_slot: those that came last */
    uint32_t n_records, n_ways;
    uint32_t link_source; /* of the last link: index + 1 */
    int error;            /* of the sink */
};

static inline struct node *walk_nodes(struct managed_walk *w) {
    return (struct node *)(void *)w->nodes.data;
}
static inline struct type_entry *walk_types(struct managed_walk *w) {
    return (struct type_entry *)(void *)w->types.data;
}

/* Index + 1 of an object's node, 0: none. */
uint32_t walk_find(const struct managed_walk *w, const void *object);
/* The same of some objects at once, which does not wait for one after the other. */
void walk_find_all(const struct managed_walk *w, const void *const *objects, size_t n,
                   uint32_t *out);
/* index.c: begins; has one more; no more come, and their order is that of their addresses. -1: no
 * memory. */
int index_start(struct managed_walk *w);
int index_add(struct managed_walk *w, const void *object);
int index_sort(struct managed_walk *w);
/* Whether an object has been added; that it will be asked for soon. */
int index_has(const struct managed_walk *w, const void *object);
void index_expect(const struct managed_walk *w, const void *object);
/* That it has ROLE_ATTRIBUTES: many have. */
void index_set_attributes(struct managed_walk *w, const void *object);
/* All in order, one after the other; NULL at the end. */
struct index_place {
    uint64_t region, word, first, left, attributes;
};
const void *index_next(const struct managed_walk *w, struct index_place *at, int *is_attributes);
/* Has an object become a node. 0: it cannot be an object. */
int walk_add(struct managed_walk *w, PyObject *object);
/* Something that is known of an object that is to be a node. */
void walk_tell(struct managed_walk *w, PyObject *object, uint32_t role, PyObject *owner);
void walk_set_owner(struct managed_walk *w, struct node *node, uint32_t role, PyObject *owner);
PyObject *walk_owner(const struct managed_walk *w, const struct node *node);
/* Calls visit with all that an object refers to: what the collector would be told, and what it
 * would not. */
void walk_visit(PyObject *op, int is_gc, visitproc visit, void *context);
/* What an object takes: *external is what lies outside of [object, object + size). */
size_t walk_size(struct managed_walk *w, const struct node *node, uint64_t *external);
void walk_count_root(struct managed_walk *w, PyObject *target);

/* References to an object that no object and no known root owns; negative: more were found than
 * are counted. */
int64_t walk_hidden(const struct node *node);

/* root.c: fills w->roots and w->places, and counts the references. */
void roots_find(struct managed_walk *w);

/* callback.c: fills w->hooks; when all is reached. */
void hooks_find(struct managed_walk *w);

/* group.c: fills w->groups. */
void groups_find(struct managed_walk *w);

/* name.c: names as indices + 1 over all strings; 0: none. */
uint32_t name_add(struct managed_walk *w, const char *text, size_t length);
/* The same of a text that stays where and what it is. */
uint32_t name_constant(struct managed_walk *w, const char *text);
uint32_t name_of(struct managed_walk *w, PyObject *op);
/* Of the string that a dictionary has under a name; 0: none. */
uint32_t name_of_entry(struct managed_walk *w, PyObject *dict, const char *name);
/* As name_read, of what a dictionary has under a name. */
size_t name_read_entry(PyObject *dict, const char *name, char *out, size_t size);
uint32_t name_of_type(struct managed_walk *w, PyTypeObject *type);
/* Text of a str object in UTF-8, cut at size - 1. Its length; 0: no str, or empty. */
size_t name_read(PyObject *op, char *out, size_t size);
/* The text of a name; "" for 0. */
const char *name_text(const struct managed_walk *w, uint32_t name);
/* What a class's or module's dictionary has under a name, without asking for it: that might run
 * code. NULL: nothing. */
PyObject *name_entry(PyObject *dict, const char *name);
/* A whole number up to 2^30; 0: it is none. */
int name_read_number(PyObject *op, int32_t *out);
/* In decimal digits, without NUL; their number. out: 10 bytes. */
size_t name_of_number(uint32_t value, char *out);
/* Whether it reads like a name in a program, not like data. */
int name_is_identifier(const char *text, size_t length);
/* Name of a key in a dictionary: identifiers and small whole numbers; 0: it may be data. is_bare:
 * as an attribute is written. */
uint32_t name_of_key(struct managed_walk *w, PyObject *key, int is_bare);
/* "module:function" */
uint32_t name_of_code(struct managed_walk *w, PyCodeObject *code, PyObject *globals);

/* origin.c: learns where modules were read from; then SNAP_TYPE_FLAG_* of a type. */
void origins_find(struct managed_walk *w);
uint32_t origin_flags(struct managed_walk *w, PyTypeObject *type);

/* reference.c: keeps what a node refers to; sends what is still kept. */
void references_send(struct managed_walk *w, uint32_t index);
void references_flush(struct managed_walk *w);

/* part.c: says of the parts of modules whose they are; then a part's path from the outermost
 * module, which is not NUL-terminated; its length, 0: it is none. */
void parts_find(struct managed_walk *w);
size_t part_path(struct managed_walk *w, PyObject *part, char *out, size_t size);

/* native.c: reads which memory is whose, before what follows; has an address an object of such a
 * class. Guarded by the caller. */
enum native_class_kind { NATIVE_NONE, NATIVE_OTHER, NATIVE_TENSOR, NATIVE_STORAGE };
void natives_open(struct managed_walk *w);
enum native_class_kind natives_class(struct managed_walk *w, uint64_t address);
/* Whether it is an address in memory of malloc or of an image. */
int natives_has(struct managed_walk *w, uint64_t address);
/* Finds blocks, when all objects are known; then sends them in parts. */
void natives_find(struct managed_walk *w);
void natives_send_blocks(struct managed_walk *w);
void natives_send_edges(struct managed_walk *w);
void natives_send_roots(struct managed_walk *w);
/* By object: a block that was found refers to it. NULL: nothing has been looked for. */
const uint8_t *natives_held(const struct managed_walk *w);
void natives_release(struct managed_walk *w);
static inline struct native_block *natives_blocks(const struct managed_walk *w) {
    return (struct native_block *)(void *)w->natives.blocks.data;
}
/* The block that holds an address: index + 1, 0: none. */
uint32_t natives_block_at(const struct managed_walk *w, uint64_t address);

/* tensor.c: finds out how tensors are laid out; then the label of one, as a name; 0: none. */
void tensors_learn(struct managed_walk *w);
uint32_t tensor_label(struct managed_walk *w, PyObject *op);
/* The label of a block of tensor_size() bytes at least, without what it shows of its storage: whose
 * object it may be, and who counts views, is not known here. 0 bytes: nothing was found out. */
uint64_t tensor_size(const struct managed_walk *w);
uint32_t tensor_label_of_block(struct managed_walk *w, uint64_t address);
/* What a tensor shows a part of. False: it has none, or nothing is known of it. */
struct tensor_storage {
    const uint64_t *words; /* of the storage */
    uint32_t device;       /* number + 1; 0: it has none */
    int is_device;         /* neither the processor's memory nor none */
};
int tensor_storage(struct managed_walk *w, const uint64_t *tensor, struct tensor_storage *out);

/* device_tensors.c: finds ranges of memory, when native blocks and tensors are known; the range
 * that a storage, by its block's index, refers to by an address: index + 1, 0: none. */
void devices_find(struct managed_walk *w);
uint32_t device_range(const struct managed_walk *w, uint32_t block, uint64_t address,
                      uint64_t *out_offset);
/* As nodes that follow those of objects. */
void devices_send_type(struct managed_walk *w);
void devices_send_nodes(struct managed_walk *w);
void devices_release(struct managed_walk *w);

/* send.c */
void send_record(struct managed_walk *w, uint32_t kind, const void *data, size_t size);
/* Sends what has gathered, after the names in it. */
void send_flush(struct managed_walk *w, uint32_t kind);
int send_blocks(struct managed_walk *w, struct managed_sink *sink);
void send_reference(struct managed_walk *w, const struct reference *reference, uint32_t target);
int send_counters(struct managed_walk *w, struct managed_sink *sink);
int send_nodes(struct managed_walk *w, struct managed_sink *sink);
int send_references(struct managed_walk *w, struct managed_sink *sink);
uint64_t send_label_size(const struct managed_walk *w);
int send_labels(struct managed_walk *w, struct managed_sink *sink,
                const struct managed_block *blocks, size_t n);
int send_roots(struct managed_walk *w, struct managed_sink *sink, const uint8_t *held);

#endif
