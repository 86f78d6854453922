/* PyTorch's objects among native blocks: what their references mean, by the names of Python.
 *
 * Nothing of PyTorch is compiled in and no layout is assumed: virtual tables say which block is a
 * tensor, a storage, what autograd keeps of a tensor, or a node of its graph; where a class has a
 * field is learned from this heap, from the words of all blocks of the class at which blocks of the
 * class that the field must refer to stand. A field is believed if nine tenths of what speaks for
 * it agree; one that is not learned leaves its references as plain words.
 *
 * The names of saved tensors come from the attributes `_raw_saved_NAME` that the class has in
 * Python, which stand in the order of the fields; they are given if the class's blocks have as many
 * fields of tensors as it has names. References that need a step over a block of no meaning (the
 * array of a node's edges, the part of a tensor that is autograd's) are added as one with a name:
 * what they pass over belongs to their source alone.
 *
 * Invariant: only names, kinds and types change, references are added whose way is there anyway,
 * and those are taken away that cannot be: behind the end of an array, in the numbers of a tensor,
 * and to an object all of whose references are accounted for. Who else has the address of bytes
 * that a storage frees does not keep them: such references are weak. A word of no known field that
 * refers to something that a known field refers to, too, is of low confidence: memory is full of
 * old addresses. */
#include "model/heap.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/map.h"
#include "base/mem.h"
#include "model/stream.h"

#define WORDS_MAX 256 /* of a block that fields are looked for in */
#define NAMES_MAX 16

enum role { ROLE_NONE, ROLE_TENSOR, ROLE_STORAGE, ROLE_META, ROLE_NODE, ROLE_ACCUMULATOR };

enum field {
    FIELD_STORAGE,     /* tensor -> storage */
    FIELD_META,        /* tensor -> what autograd keeps of it */
    FIELD_OBJECT,      /* tensor -> Python's object */
    FIELD_GRAD,        /* meta -> tensor */
    FIELD_GRAD_FN,     /* meta -> node */
    FIELD_ACCUMULATOR, /* meta -> the node that adds to grad; does not keep it */
    FIELD_NEXT,        /* node -> array of edges */
    FIELD_DATA,        /* storage -> its bytes */
    FIELD_TENSOR,      /* Python's object -> tensor */
    FIELD_CONTEXT,  /* node -> the object of its function; other nodes have one that stands for them
                     */
    FIELD_FUNCTION, /* the object of a function that is written in Python -> its node */
    N_FIELDS
};

struct votes {
    uint32_t at[WORDS_MAX];
    uint32_t word; /* word + 1; 0: not known */
};

/* What a class of nodes saves. */
struct saved {
    uint32_t names[NAMES_MAX]; /* strings */
    uint32_t n_names;
    uint64_t words[WORDS_MAX / 64]; /* that refer to tensors */
};

struct autograd {
    struct heap *heap;
    uint8_t *role;       /* by type - 1 */
    struct saved *saved; /* by type - 1; of objects: only the words */
    uint32_t n_types;
    struct votes fields[N_FIELDS];
    uint32_t stride; /* bytes of an edge */
    struct added {
        uint32_t source, target;
        struct heap_way way;
    } * added;
    size_t n_added, capacity;
    uint32_t edges_type; /* heap's, of arrays of edges; 0: none */
    uint64_t *is_data;   /* bit per node: bytes of a storage */
    uint64_t *is_owned;  /* of these: the storage is what frees them */
    uint64_t *is_held;   /* bit per node: a field that is known refers to it */
    int has_dropped;
    int failed;
    /* What knows the fields of all other types. */
    uint32_t (*field)(struct heap *h, void *context, uint32_t type, uint64_t offset,
                      uint64_t node_size, uint16_t *kind, uint16_t *flags);
    void *field_context;
    void (*release)(void *context);
};

static int starts_with(const char *text, const char *prefix) {
    return strncmp(text, prefix, strlen(prefix)) == 0;
}

static int ends_with(const char *text, const char *suffix) {
    const size_t length = strlen(text), n = strlen(suffix);
    return length >= n && strcmp(text + length - n, suffix) == 0;
}

static enum role role_of_type(const struct heap_type *type) {
    static const char ns[] = "torch::autograd::";
    const char *const name = type->name;
    if (type->source != SNAP_TYPE_VTABLE || ends_with(name, "]"))
        return ROLE_NONE;
    if (strcmp(name, "c10::StorageImpl") == 0)
        return ROLE_STORAGE;
    if (ends_with(name, "TensorImpl") && strchr(name, '<') == NULL)
        return ROLE_TENSOR;
    if (!starts_with(name, ns))
        return ends_with(name, "Backward0") || ends_with(name, "Backward1") ? ROLE_NODE : ROLE_NONE;
    const char *const rest = name + sizeof ns - 1;
    if (strcmp(rest, "AutogradMeta") == 0 || strcmp(rest, "DifferentiableViewMeta") == 0)
        return ROLE_META;
    if (strcmp(rest, "AccumulateGrad") == 0)
        return ROLE_ACCUMULATOR;
    if (starts_with(rest, "generated::") || strcmp(rest, "PyNode") == 0 ||
        strcmp(rest, "CopySlices") == 0 || starts_with(rest, "CppNode<") ||
        strstr(rest, "Backward") != NULL)
        return ROLE_NODE;
    return ROLE_NONE;
}

static enum role role_of(const struct autograd *a, uint32_t node) {
    const uint32_t type = a->heap->type[node - 1];
    return type && type <= a->n_types ? (enum role)a->role[type - 1] : ROLE_NONE;
}

static int is_node(enum role role) {
    return role == ROLE_NODE || role == ROLE_ACCUMULATOR;
}

static const char python_node[] = "torch::autograd::PyNode";

/* A node whose backward pass is written in Python: it has an object, which saves in its place. */
static int is_python_node(const struct autograd *a, uint32_t node) {
    return role_of(a, node) == ROLE_NODE &&
           strcmp(a->heap->types[a->heap->type[node - 1] - 1].name, python_node) == 0;
}

static int is_object(const struct heap *h, uint32_t node) {
    return heap_domain(h, node) == SNAP_DOMAIN_PYTHON;
}

/* A block that nothing but its site is known of. */
static int is_plain(const struct heap *h, uint32_t node) {
    const uint32_t type = h->type[node - 1];
    return node <= h->n_blocks && (!type || h->types[type - 1].source == SNAP_TYPE_SITE);
}

/* The node that a word refers to the start of; 0: none. */
static uint32_t target_at(const struct heap *h, uint32_t node, uint32_t word) {
    const uint64_t e = heap_edge_from(h, node, (uint64_t)word * 8);
    return e < h->first_edge[node] && h->edges[e].source_word == word &&
                   h->edges[e].target_offset == 0
               ? h->edges[e].target
               : 0;
}

/* The target of a node's field; 0: none, or the field is not known. */
static uint32_t follow(const struct autograd *a, uint32_t node, enum field field) {
    const uint32_t word = a->fields[field].word;
    return word ? target_at(a->heap, node, word - 1) : 0;
}

/* --- learning --- */

static void vote(struct autograd *a, enum field field, uint32_t word) {
    if (word < WORDS_MAX)
        a->fields[field].at[word]++;
}

/* A word of a node's type refers to tensors. */
static void mark_word(struct autograd *a, uint32_t node, uint32_t word) {
    const uint32_t type = a->heap->type[node - 1];
    if (type && type <= a->n_types && word < WORDS_MAX)
        a->saved[type - 1].words[word / 64] |= (uint64_t)1 << word % 64;
}

static int is_marked(const struct autograd *a, uint32_t type, uint32_t word) {
    return word < WORDS_MAX && a->saved[type - 1].words[word / 64] >> word % 64 & 1;
}

static void decide(struct autograd *a, enum field field) {
    struct votes *const v = &a->fields[field];
    uint64_t all = 0;
    uint32_t best = 0;
    for (uint32_t i = 0; i < WORDS_MAX; i++) {
        all += v->at[i];
        if (v->at[i] > v->at[best])
            best = i;
    }
    v->word = v->at[best] && (uint64_t)v->at[best] * 10 >= all * 9 ? best + 1 : 0;
}

/* Whether a block is an array of a node's edges: it starts with a reference to a node. */
static int starts_with_node(const struct autograd *a, uint32_t block) {
    const uint32_t first = is_plain(a->heap, block) ? target_at(a->heap, block, 0) : 0;
    return first && is_node(role_of(a, first));
}

static void vote_edge(struct autograd *a, uint32_t node, enum role role, const struct heap_edge *e,
                      int is_view) {
    const struct heap *const h = a->heap;
    const enum role to = role_of(a, e->target);
    if (e->target_offset != 0)
        return;
    switch (role) {
    case ROLE_TENSOR:
        if (to == ROLE_STORAGE)
            vote(a, FIELD_STORAGE, e->source_word);
        else if (to == ROLE_META)
            vote(a, FIELD_META, e->source_word);
        else if (is_object(h, e->target))
            vote(a, FIELD_OBJECT, e->source_word);
        break;
    case ROLE_META:
        if (is_view) /* has tensors of its own, behind the fields that all have */
            break;
        if (to == ROLE_TENSOR)
            vote(a, FIELD_GRAD, e->source_word);
        else if (to == ROLE_NODE)
            vote(a, FIELD_GRAD_FN, e->source_word);
        else if (to == ROLE_ACCUMULATOR)
            vote(a, FIELD_ACCUMULATOR, e->source_word);
        break;
    case ROLE_NODE:
    case ROLE_ACCUMULATOR:
        if (to == ROLE_TENSOR)
            mark_word(a, node, e->source_word);
        else if (starts_with_node(a, e->target))
            vote(a, FIELD_NEXT, e->source_word);
        break;
    case ROLE_STORAGE:
        if (is_plain(h, e->target) || heap_domain(h, e->target) == SNAP_DOMAIN_DEVICE)
            vote(a, FIELD_DATA, e->source_word);
        break;
    case ROLE_NONE: break;
    }
}

static void vote_object(struct autograd *a, uint32_t node, const struct heap_edge *e) {
    if (e->target_offset != 0)
        return;
    if (role_of(a, e->target) == ROLE_TENSOR) {
        vote(a, FIELD_TENSOR, e->source_word);
        mark_word(a, node, e->source_word);
    } else if (is_python_node(a, e->target))
        vote(a, FIELD_FUNCTION, e->source_word);
}

/* A node's word that refers to an object which refers back. */
static void learn_contexts(struct autograd *a) {
    const struct heap *const h = a->heap;
    for (uint32_t node = 1; node <= h->n_blocks; node++)
        for (uint64_t e = h->first_edge[node - 1];
             is_python_node(a, node) && e < h->first_edge[node]; e++)
            if (h->edges[e].target_offset == 0 && is_object(h, h->edges[e].target) &&
                follow(a, h->edges[e].target, FIELD_FUNCTION) == node)
                vote(a, FIELD_CONTEXT, h->edges[e].source_word);
    decide(a, FIELD_CONTEXT);
}

static void learn(struct autograd *a) {
    const struct heap *const h = a->heap;
    for (uint32_t node = 1; node <= h->n_nodes; node++) {
        const enum role role = role_of(a, node);
        if (role != ROLE_NONE) {
            const int is_view =
                role == ROLE_META && ends_with(h->types[h->type[node - 1] - 1].name, "ViewMeta");
            for (uint64_t e = h->first_edge[node - 1]; e < h->first_edge[node]; e++)
                vote_edge(a, node, role, &h->edges[e], is_view);
        } else if (is_object(h, node))
            for (uint64_t e = h->first_edge[node - 1]; e < h->first_edge[node]; e++)
                vote_object(a, node, &h->edges[e]);
    }
    /* A storage refers to its bytes twice: where they start, and what they are freed by. */
    struct votes *const data = &a->fields[FIELD_DATA];
    for (uint32_t i = 0; i < WORDS_MAX; i++)
        if (data->at[i] && (!data->word || data->at[i] > data->at[data->word - 1]))
            data->word = i + 1;
    for (int field = 0; field < N_FIELDS; field++)
        if (field != FIELD_DATA)
            decide(a, (enum field)field);
    learn_contexts(a);
}

/* Bytes of an array of edges that are in use: up to where the node's next word refers. */
static uint64_t array_length(const struct heap *h, uint32_t node, uint32_t block, uint32_t word) {
    const uint64_t e = heap_edge_from(h, node, ((uint64_t)word + 1) * 8);
    return e < h->first_edge[node] && h->edges[e].source_word == word + 1 &&
                   h->edges[e].target == block && h->edges[e].target_offset > 0
               ? h->edges[e].target_offset
               : h->size[block - 1];
}

/* An edge is a counted reference and a number: 16 bytes, or 24 where the reference is two words. */
static void learn_stride(struct autograd *a) {
    const struct heap *const h = a->heap;
    uint64_t n_two = 0, n_three = 0;
    for (uint32_t node = 1; node <= h->n_blocks; node++) {
        const uint32_t block = is_node(role_of(a, node)) ? follow(a, node, FIELD_NEXT) : 0;
        if (!block || !is_plain(h, block))
            continue;
        const uint64_t length = array_length(h, node, block, a->fields[FIELD_NEXT].word - 1);
        for (uint64_t e = h->first_edge[block - 1]; e < h->first_edge[block]; e++) {
            const uint32_t word = h->edges[e].source_word;
            if ((uint64_t)word * 8 >= length || !is_node(role_of(a, h->edges[e].target)))
                continue;
            n_two += word % 2 == 0 && word % 3 != 0;
            n_three += word % 3 == 0 && word % 2 != 0;
        }
    }
    a->stride = n_three > n_two ? 24 : 16;
}

/* --- names of what classes save --- */

/* "MulBackward0" of "torch::autograd::generated::MulBackward0". */
static const char *last_part(const char *name) {
    const char *const colon = strrchr(name, ':');
    return colon ? colon + 1 : name;
}

static void add_name(struct autograd *a, struct saved *s, const char *name) {
    const uint32_t string = heap_string(a->heap, name);
    if (string && s->n_names < NAMES_MAX)
        s->names[s->n_names] = string;
    s->n_names++;
}

/* The references that have a label, one after the other. */
struct named {
    const struct heap *heap;
    uint64_t next;
    uint32_t source, target, label;
};

static struct named each_named(const struct heap *h) {
    return (struct named){.heap = h, .source = 1};
}

static int next_named(struct named *n) {
    const struct heap *const h = n->heap;
    while (n->next < h->n_references) {
        const struct heap_reference *const r = &h->references[n->next++];
        while (h->first_reference[n->source] < n->next)
            n->source++;
        n->target = r->target;
        n->label = r->way < HEAP_WAYS ? 0 : h->ways[r->way - HEAP_WAYS].label;
        if (n->label)
            return 1;
    }
    return 0;
}

/* A class of Python refers to its dictionary, and a module's dictionary to the class by name. */
static int read_names(struct autograd *a) {
    static const char prefix[] = "_raw_saved_";
    struct heap *const h = a->heap;
    struct map dicts, types; /* node -> 1: has such names; class -> its dictionary */
    struct map by_name;      /* string of a class's name -> its type */
    const uint32_t attribute = heap_string(h, "__dict__");
    int result = 0;
    map_init(&dicts);
    map_init(&types);
    map_init(&by_name);
    struct named n;
    for (n = each_named(h); next_named(&n) && result == 0;) {
        if (!starts_with(heap_text(h, n.label), prefix))
            continue;
        uint32_t *const slot = map_slot(&dicts, n.source);
        if (slot)
            *slot = 1;
        else
            result = -1;
    }
    for (n = each_named(h); dicts.n && result == 0 && next_named(&n);) {
        if (n.label != attribute || !map_get(&dicts, n.target))
            continue;
        uint32_t *const slot = map_slot(&types, n.source);
        if (slot)
            *slot = n.target;
        else
            result = -1;
    }
    for (uint32_t i = 0; i < a->n_types && result == 0; i++) {
        const uint32_t string =
            is_node(a->role[i]) ? heap_string(h, last_part(h->types[i].name)) : 0;
        uint32_t *const slot = string ? map_slot(&by_name, string) : NULL;
        if (string && !slot)
            result = -1;
        else if (string)
            *slot = i + 1;
    }
    for (n = each_named(h); types.n && result == 0 && next_named(&n);) {
        const uint32_t dict = map_get(&types, n.target);
        const uint32_t type = dict ? map_get(&by_name, n.label) : 0;
        if (!type || a->saved[type - 1].n_names)
            continue;
        for (uint64_t k = h->first_reference[dict - 1]; k < h->first_reference[dict]; k++) {
            const char *const text = heap_text(h, heap_way(h, &h->references[k]).label);
            if (starts_with(text, prefix))
                add_name(a, &a->saved[type - 1], text + sizeof prefix - 1);
        }
    }
    map_release(&dicts);
    map_release(&types);
    map_release(&by_name);
    return result;
}

/* Which of a class's fields of tensors a word is, from 0 on; *n gets how many it has. */
static uint32_t rank_of_word(const struct saved *s, uint32_t word, uint32_t *n) {
    uint32_t rank = 0;
    *n = 0;
    for (uint32_t i = 0; i < WORDS_MAX; i++)
        if (s->words[i / 64] >> i % 64 & 1) {
            rank += i < word;
            ++*n;
        }
    return rank;
}

static uint32_t saved_label(struct heap *h, const struct saved *s, uint32_t word) {
    char text[160];
    uint32_t n;
    const uint32_t rank = rank_of_word(s, word, &n);
    if (n != s->n_names || rank >= NAMES_MAX)
        return heap_string(h, "saved");
    snprintf(text, sizeof text, "saved '%.128s'", heap_text(h, s->names[rank]));
    return heap_string(h, text);
}

/* --- what references between blocks are called --- */

static uint32_t label_of_field(struct autograd *a, enum role role, uint32_t type, uint32_t word,
                               uint16_t *kind) {
    struct heap *const h = a->heap;
    const struct {
        enum role role;
        enum field field;
        uint16_t kind;
        const char *label;
    } known[] = {
        {ROLE_TENSOR, FIELD_STORAGE, SNAP_EDGE_STORAGE, "storage"},
        {ROLE_TENSOR, FIELD_META, SNAP_EDGE_POINTER, "autograd_meta"},
        {ROLE_TENSOR, FIELD_OBJECT, SNAP_EDGE_POINTER, "pyobj"},
        {ROLE_STORAGE, FIELD_DATA, SNAP_EDGE_STORAGE, "data"},
        {ROLE_META, FIELD_GRAD, SNAP_EDGE_ATTRIBUTE, "grad"},
        {ROLE_META, FIELD_GRAD_FN, SNAP_EDGE_ATTRIBUTE, "grad_fn"},
        {ROLE_META, FIELD_ACCUMULATOR, SNAP_EDGE_WEAK, "grad_accumulator"},
        {ROLE_NODE, FIELD_NEXT, SNAP_EDGE_POINTER, "next_edges"},
    };
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        if (known[i].role == role && a->fields[known[i].field].word == word + 1) {
            *kind = known[i].kind;
            return heap_string(h, known[i].label);
        }
    if (is_node(role) && a->fields[FIELD_CONTEXT].word == word + 1) {
        const int is_python = strcmp(h->types[type - 1].name, python_node) == 0;
        *kind = is_python ? SNAP_EDGE_ATTRIBUTE : *kind;
        return heap_string(h, is_python ? "ctx" : "pyobj");
    }
    if (!is_node(role) || !is_marked(a, type, word))
        return 0;
    if (role == ROLE_ACCUMULATOR) {
        *kind = SNAP_EDGE_ATTRIBUTE;
        return heap_string(h, "variable");
    }
    *kind = SNAP_EDGE_SAVED;
    return saved_label(h, &a->saved[type - 1], word);
}

static uint32_t name_field(struct heap *h, void *context, uint32_t type, uint64_t offset,
                           uint64_t node_size, uint16_t *kind, uint16_t *flags) {
    struct autograd *const a = context;
    const uint32_t word = (uint32_t)(offset / 8);
    const enum role role = type <= a->n_types ? (enum role)a->role[type - 1] : ROLE_NONE;
    if (role != ROLE_NONE)
        return label_of_field(a, role, type, word, kind);
    if (h->types[type - 1].source == SNAP_TYPE_RUNTIME) {
        if (type > a->n_types || a->fields[FIELD_TENSOR].word != word + 1 ||
            !is_marked(a, type, word))
            return 0;
        *kind = SNAP_EDGE_STORAGE;
        return heap_string(h, "_cdata");
    }
    return a->field ? a->field(h, a->field_context, type, offset, node_size, kind, flags) : 0;
}

static void release(void *context) {
    struct autograd *const a = context;
    if (a->release)
        a->release(a->field_context);
    free(a->role);
    free(a->saved);
    free(a->added);
    free(a->is_data);
    free(a->is_owned);
    free(a->is_held);
    free(a);
}

/* --- references with names --- */

static void add(struct autograd *a, uint32_t source, uint32_t target, uint32_t kind,
                const char *label) {
    const uint32_t string = heap_string(a->heap, label);
    if (a->failed || !string ||
        mem_grow(&a->added, &a->capacity, a->n_added + 1, sizeof *a->added) < 0) {
        a->failed = 1;
        return;
    }
    a->added[a->n_added++] =
        (struct added){source, target, (struct heap_way){.label = string, .kind = (uint16_t)kind}};
}

static void drop_edge(struct autograd *a, uint64_t e) {
    a->heap->edges[e].target = 0;
    a->has_dropped = 1;
}

static void add_next(struct autograd *a, uint32_t node) {
    struct heap *const h = a->heap;
    const uint32_t block = follow(a, node, FIELD_NEXT);
    if (!block || !(is_plain(h, block) || h->type[block - 1] == a->edges_type))
        return;
    const uint64_t length = array_length(h, node, block, a->fields[FIELD_NEXT].word - 1);
    h->type[block - 1] = a->edges_type;
    for (uint64_t e = h->first_edge[block - 1]; e < h->first_edge[block]; e++) {
        const uint64_t offset = (uint64_t)h->edges[e].source_word * 8;
        char label[48];
        if (!h->edges[e].target)
            continue;
        if (offset >= length) {
            drop_edge(a, e);
            continue;
        }
        if (offset % a->stride || !is_node(role_of(a, h->edges[e].target)))
            continue;
        snprintf(label, sizeof label, "next_functions[%u]", (unsigned)(offset / a->stride));
        add(a, node, h->edges[e].target, SNAP_EDGE_NEXT, label);
    }
}

/* What a node, or the object of a function that is written in Python, saves in an array. */
static void add_saved_arrays(struct autograd *a, uint32_t node) {
    const struct heap *const h = a->heap;
    for (uint64_t e = h->first_edge[node - 1]; e < h->first_edge[node]; e++) {
        const uint32_t block = h->edges[e].target;
        uint32_t n = 0;
        if (!block || h->edges[e].target_offset != 0 || !is_plain(h, block))
            continue;
        for (uint64_t k = h->first_edge[block - 1]; k < h->first_edge[block]; k++) {
            const uint32_t target = h->edges[k].target;
            char label[48];
            if (!target || h->edges[k].target_offset != 0 || role_of(a, target) != ROLE_TENSOR)
                continue;
            snprintf(label, sizeof label, "saved_tensors[%u]", n++);
            add(a, node, target, SNAP_EDGE_SAVED, label);
        }
    }
}

static int refers_to(const struct heap *h, uint32_t node, uint32_t target) {
    for (uint64_t e = h->first_edge[node - 1]; e < h->first_edge[node]; e++)
        if (h->edges[e].target == target && h->edges[e].target_offset == 0)
            return 1;
    return 0;
}

/* A node and the object of its function are one for Python: each keeps the other. Where Python
 * tells that a tensor has the object, whose node it is that counts the reference, the node's own
 * word was taken for one that is left over. */
static void add_function(struct autograd *a, uint32_t object) {
    const uint32_t node = follow(a, object, FIELD_FUNCTION);
    if (!node || !is_python_node(a, node))
        return;
    add_saved_arrays(a, object);
    if (!refers_to(a->heap, node, object))
        add(a, node, object, SNAP_EDGE_ATTRIBUTE, "ctx");
}

static void add_of_tensor(struct autograd *a, uint32_t source, uint32_t tensor) {
    const uint32_t meta = follow(a, tensor, FIELD_META);
    if (!meta || role_of(a, meta) != ROLE_META)
        return;
    const uint32_t fn = follow(a, meta, FIELD_GRAD_FN), grad = follow(a, meta, FIELD_GRAD);
    if (fn && is_node(role_of(a, fn)))
        add(a, source, fn, SNAP_EDGE_ATTRIBUTE, "grad_fn");
    if (grad && role_of(a, grad) == ROLE_TENSOR)
        add(a, source, grad, SNAP_EDGE_ATTRIBUTE, "grad");
}

/* A tensor's object that native code holds one reference to, which is the tensor's own. */
static int is_accounted(const struct autograd *a, uint32_t node) {
    const struct heap *const h = a->heap;
    if (!is_object(h, node) || heap_object(h, node).hidden != 1)
        return 0;
    const uint32_t tensor = follow(a, node, FIELD_TENSOR);
    return tensor && role_of(a, tensor) == ROLE_TENSOR && follow(a, tensor, FIELD_OBJECT) == node;
}

/* What else looks like a reference to such an object is a word that was left over. */
static void drop_leftovers(struct autograd *a) {
    struct heap *const h = a->heap;
    for (uint32_t node = 1; node <= h->n_nodes; node++)
        for (uint64_t e = h->first_edge[node - 1]; e < h->first_edge[node]; e++) {
            const uint32_t target = h->edges[e].target;
            if (target > h->n_blocks && is_accounted(a, target) &&
                follow(a, target, FIELD_TENSOR) != node)
                drop_edge(a, e);
        }
    for (uint32_t i = 0; i < h->n_roots; i++)
        if ((h->roots[i].kind == SNAP_ROOT_GLOBAL || h->roots[i].kind == SNAP_ROOT_TLS) &&
            h->roots[i].target > h->n_blocks && is_accounted(a, h->roots[i].target))
            h->roots[i].flags |= SNAP_EDGE_FLAG_LOW;
}

/* --- words that only look like references --- */

static int bit(const uint64_t *bits, uint32_t node) {
    return bits[node >> 6] >> (node & 63) & 1;
}

static void set_bit(uint64_t *bits, uint32_t node) {
    bits[node >> 6] |= (uint64_t)1 << (node & 63);
}

/* Numbers are no addresses, but many look like some; and nobody frees what a storage frees, which
 * refers to it a second time to do so. */
static void find_data(struct autograd *a) {
    struct heap *const h = a->heap;
    const uint32_t word = a->fields[FIELD_DATA].word;
    for (uint32_t node = 1; node <= h->n_blocks; node++) {
        const uint32_t block = role_of(a, node) == ROLE_STORAGE ? follow(a, node, FIELD_DATA) : 0;
        unsigned n = 0;
        if (!block || !is_plain(h, block))
            continue;
        for (uint64_t e = h->first_edge[node - 1]; e < h->first_edge[node]; e++)
            if (h->edges[e].target == block && h->edges[e].target_offset == 0) {
                n++;
                if (h->edges[e].source_word + 1 != word)
                    drop_edge(a, e);
            }
        set_bit(a->is_data, block);
        if (h->stack[block - 1] == 0) /* else it is known by its site */
            h->type[block - 1] = heap_type_add(h, "tensor data", SNAP_TYPE_GUESS, 0, 0, 0);
        if (n > 1)
            set_bit(a->is_owned, block);
    }
}

/* Whether a reference is one of a field that is known, or of an object. */
static int is_known(const struct autograd *a, uint32_t node, const struct heap_edge *e) {
    const struct heap *const h = a->heap;
    const enum role to = role_of(a, e->target);
    const uint32_t word = e->source_word + 1;
    const struct votes *const f = a->fields;
    switch (role_of(a, node)) {
    case ROLE_TENSOR:
        return word == f[FIELD_STORAGE].word || word == f[FIELD_META].word ||
               word == f[FIELD_OBJECT].word;
    case ROLE_META:
        return word == f[FIELD_GRAD].word || word == f[FIELD_GRAD_FN].word ||
               word == f[FIELD_ACCUMULATOR].word || to == ROLE_TENSOR;
    case ROLE_NODE:
    case ROLE_ACCUMULATOR:
        return word == f[FIELD_NEXT].word ||
               (to == ROLE_TENSOR && is_marked(a, h->type[node - 1], e->source_word));
    case ROLE_STORAGE: return word == f[FIELD_DATA].word || bit(a->is_data, e->target);
    case ROLE_NONE: break;
    }
    return (is_object(h, node) && !heap_is_chance(h, node, e->target, e->target_offset)) ||
           (h->type[node - 1] == a->edges_type && a->edges_type && is_node(to) &&
            (uint64_t)e->source_word * 8 % a->stride == 0);
}

/* Keeps a reference, with another kind and low confidence. */
static void lower(struct autograd *a, uint32_t node, uint64_t e, uint16_t kind) {
    const struct heap_edge *const edge = &a->heap->edges[e];
    if (mem_grow(&a->added, &a->capacity, a->n_added + 1, sizeof *a->added) < 0) {
        a->failed = 1;
        return;
    }
    const uint32_t flags = edge->target_offset ? SNAP_EDGE_FLAG_INTERIOR : 0;
    a->added[a->n_added++] =
        (struct added){.source = node,
                       .target = edge->target,
                       .way = {.source_offset = (uint64_t)edge->source_word * 8,
                               .target_offset = edge->target_offset,
                               .kind = kind,
                               .flags = (uint16_t)(SNAP_EDGE_FLAG_LOW | flags)}};
    drop_edge(a, e);
}

static void weigh(struct autograd *a) {
    struct heap *const h = a->heap;
    for (uint32_t node = 1; node <= h->n_nodes; node++)
        for (uint64_t e = h->first_edge[node - 1]; e < h->first_edge[node]; e++)
            if (h->edges[e].target && h->edges[e].target_offset == 0 && !bit(a->is_data, node) &&
                is_known(a, node, &h->edges[e]))
                set_bit(a->is_held, h->edges[e].target);
    for (uint32_t node = 1; node <= h->n_nodes && !a->failed; node++)
        for (uint64_t e = h->first_edge[node - 1]; e < h->first_edge[node]; e++) {
            const uint32_t target = h->edges[e].target;
            if (!target)
                continue;
            if (bit(a->is_data, node))
                drop_edge(a, e);
            else if (bit(a->is_owned, target)) {
                if (role_of(a, node) != ROLE_STORAGE)
                    lower(a, node, e, SNAP_EDGE_WEAK);
            } else if (role_of(a, target) != ROLE_NONE && bit(a->is_held, target) &&
                       !is_known(a, node, &h->edges[e]))
                lower(a, node, e, SNAP_EDGE_POINTER);
        }
    for (uint32_t i = 0; i < h->n_roots; i++) {
        const uint32_t target = h->roots[i].target;
        if (h->roots[i].kind <= SNAP_ROOT_TLS && bit(a->is_held, target) &&
            role_of(a, target) != ROLE_NONE)
            h->roots[i].flags |= SNAP_EDGE_FLAG_LOW;
    }
}

static int is_root_of_owned(const void *context, const struct heap_root *root) {
    const struct autograd *const a = context;
    return root->kind <= SNAP_ROOT_ALT_STACK && root->kind != SNAP_ROOT_API &&
           bit(a->is_owned, root->target);
}

/* What frees a storage's bytes is no callback. */
static void drop_deleters(struct autograd *a) {
    struct heap *const h = a->heap;
    uint64_t n = 0;
    for (uint64_t i = 0; i < h->n_codes; i++) {
        const uint32_t node = h->codes[i].node;
        if (!node || (!bit(a->is_data, node) && role_of(a, node) != ROLE_STORAGE &&
                      (!a->edges_type || h->type[node - 1] != a->edges_type)))
            h->codes[n++] = h->codes[i];
    }
    h->n_codes = n;
}

static void close_gaps(struct heap *h) {
    uint64_t n = 0, e = 0;
    for (uint32_t node = 1; node <= h->n_nodes; node++) {
        const uint64_t end = h->first_edge[node];
        h->first_edge[node - 1] = n;
        for (; e < end; e++)
            if (h->edges[e].target)
                h->edges[n++] = h->edges[e];
    }
    h->first_edge[h->n_nodes] = n;
    h->n_edges = n;
}

static int compare_references(const void *x, const void *y) {
    const struct added *const a = x, *const b = y;
    if (a->source != b->source)
        return a->source < b->source ? -1 : 1;
    if (a->way.source_offset != b->way.source_offset)
        return a->way.source_offset < b->way.source_offset ? -1 : 1;
    if (a->way.label != b->way.label)
        return a->way.label < b->way.label ? -1 : 1;
    return a->target < b->target ? -1 : a->target > b->target;
}

/* Puts what was added between what was there. */
static int merge(struct autograd *a) {
    struct heap *const h = a->heap;
    const uint64_t n = h->n_references + a->n_added;
    struct heap_reference *all = NULL;
    size_t capacity = 0;
    if (a->n_added == 0)
        return 0;
    if (n > SNAP_ROWS_MAX || heap_grow(h, &all, &capacity, n, sizeof *all) < 0)
        return -1;
    qsort(a->added, a->n_added, sizeof *a->added, compare_references);
    uint64_t i = 0, k = 0, at = 0;
    for (uint32_t node = 1; node <= h->n_nodes; node++) {
        const uint64_t end = h->first_reference[node];
        h->first_reference[node - 1] = (uint32_t)at;
        for (; i < end; i++)
            all[at++] = h->references[i];
        for (; k < a->n_added && a->added[k].source == node; k++) {
            all[at].target = a->added[k].target;
            if (heap_way_add(h, &a->added[k].way, &all[at++].way) < 0)
                return -1;
        }
    }
    h->first_reference[h->n_nodes] = (uint32_t)at;
    if (h->references)
        heap_drop(h, &h->references);
    h->references = all;
    h->n_references = n;
    return 0;
}

static void add_all(struct autograd *a) {
    struct heap *const h = a->heap;
    if (a->fields[FIELD_NEXT].word)
        a->edges_type =
            heap_type_add(h, "torch::autograd::Edge[]", SNAP_TYPE_GUESS, a->stride, 0, 0);
    for (uint32_t node = 1; node <= h->n_nodes && !a->failed; node++) {
        const enum role role = role_of(a, node);
        if (is_node(role)) {
            if (a->edges_type)
                add_next(a, node);
            add_saved_arrays(a, node);
        } else if (role == ROLE_TENSOR)
            add_of_tensor(a, node, node);
        else if (is_object(h, node)) {
            const uint32_t tensor = follow(a, node, FIELD_TENSOR);
            if (tensor && role_of(a, tensor) == ROLE_TENSOR)
                add_of_tensor(a, node, tensor);
            add_function(a, node);
        }
    }
}

static int run(struct autograd *a) {
    struct heap *const h = a->heap;
    int has_any = 0;
    for (uint32_t i = 0; i < h->n_types; i++) {
        a->role[i] = (uint8_t)role_of_type(&h->types[i]);
        has_any |= a->role[i];
    }
    if (!has_any)
        return 0;
    const size_t n_words = (size_t)h->n_nodes / 64 + 1;
    a->is_data = mem_zalloc(n_words, sizeof *a->is_data);
    a->is_owned = mem_zalloc(n_words, sizeof *a->is_owned);
    a->is_held = mem_zalloc(n_words, sizeof *a->is_held);
    if (!a->is_data || !a->is_owned || !a->is_held)
        return -1;
    learn(a);
    learn_stride(a);
    if (read_names(a) < 0)
        return -1;
    drop_leftovers(a);
    add_all(a);
    find_data(a);
    weigh(a);
    if (heap_drop_roots(h, is_root_of_owned, a) < 0)
        return -1;
    drop_deleters(a);
    if (a->failed || merge(a) < 0)
        return -1;
    if (a->has_dropped)
        close_gaps(h);
    return 1;
}

int autograd_pass(struct heap *h, snap_error *err) {
    if (h->n_types == 0 || h->n_edges == 0)
        return 0;
    struct autograd *const a = mem_zalloc(1, sizeof *a);
    if (!a)
        return stream_no_memory(err);
    *a = (struct autograd){.heap = h,
                           .n_types = h->n_types,
                           .role = mem_zalloc(h->n_types, 1),
                           .saved = mem_zalloc(h->n_types, sizeof *a->saved)};
    const int result = a->role && a->saved ? run(a) : -1;
    if (result <= 0) {
        release(a);
        return result < 0 ? stream_no_memory(err) : 0;
    }
    a->field = h->field;
    a->field_context = h->field_context;
    a->release = h->release_field;
    h->field = name_field;
    h->field_context = a;
    h->release_field = release;
    return 0;
}
