/* What a tensor is, in a word that tells it from others: "float32[64, 128] cuda:0", and of a view
 * what it shows of the storage that it keeps: "float32[10] cpu, 40 of 4194304 bytes".
 *
 * Names of data types are read from the objects that Python has for them, which know their number.
 * Nothing else is taken for granted: where tensors have their dimensions is learned from this heap,
 * as the word behind which, in nearly all tensors, there are the sizes whose product stands where
 * their number should be; likewise which of a storage's words says how large it is: what tensors
 * show fits into it, and some fill it. A tensor that what was learned does not fit has no label.
 * Only sizes are read, never what is in the storage; no code of PyTorch is called. Guarded by the
 * caller. */
#include "python/walker.h"

#include "python/guard.h"

/* Behind the word that says how many dimensions there are: room for five sizes and five strides,
 * or the address of more; then these. */
enum { AT_OFFSET = 11, AT_COUNT = 12, AT_KIND = 13, INLINE_MAX = 5 };
enum { FIRST_WORD = 2, LAST_WORD = 12, DIMENSIONS_MAX = 64, VOTERS_MAX = 65536 };

struct shape {
    uint64_t n, count, shown; /* dimensions; elements; of these, not repeated by a stride of 0 */
    uint64_t end;             /* elements from the storage's start to behind the last one */
    const uint64_t *sizes;
    int is_whole; /* starts at the storage's start, in order and without gaps */
};

/* Whether the words from `at` on are a tensor's dimensions. */
static int read_shape(const uint64_t *at, struct shape *out) {
    const uint64_t most = (uint64_t)1 << 48;
    const uint64_t n = at[0];
    if (n > DIMENSIONS_MAX)
        return 0;
    const uint64_t *const sizes = n > INLINE_MAX ? (const uint64_t *)at[1] : at + 1;
    const uint64_t *const strides = n > INLINE_MAX ? sizes + n : sizes + INLINE_MAX;
    if ((uintptr_t)sizes % 8 != 0 || at[AT_OFFSET] > most)
        return 0;
    *out = (struct shape){.n = n,
                          .count = 1,
                          .shown = 1,
                          .end = at[AT_OFFSET] + 1,
                          .sizes = sizes,
                          .is_whole = at[AT_OFFSET] == 0};
    for (uint64_t i = n; i-- > 0;) {
        if (sizes[i] > most || strides[i] > most)
            return 0;
        out->is_whole &= sizes[i] == 1 || strides[i] == out->count;
        if (__builtin_mul_overflow(out->count, sizes[i], &out->count) || out->count > most)
            return 0;
        out->shown *= strides[i] ? sizes[i] : 1;
        uint64_t reach = 0;
        if (sizes[i] > 0 && (__builtin_mul_overflow(sizes[i] - 1, strides[i], &reach) ||
                             __builtin_add_overflow(out->end, reach, &out->end)))
            return 0;
    }
    return out->count == at[AT_COUNT];
}

/* Bytes of one element by the name of its type; 0: not known. */
static uint8_t element_size(const char *name) {
    static const char *const families[] = {"int",     "uint", "float", "bfloat",
                                           "complex", "qint", "quint"};
    if (strcmp(name, "bool") == 0)
        return 1;
    for (size_t i = 0; i < sizeof families / sizeof *families; i++) {
        const size_t n = strlen(families[i]);
        unsigned bits = 0;
        if (strncmp(name, families[i], n) != 0)
            continue;
        for (const char *p = name + n; *p >= '0' && *p <= '9' && bits < 1000; p++)
            bits = bits * 10 + (unsigned)(*p - '0');
        if (bits >= 8 && bits <= 128 && bits % 8 == 0)
            return (uint8_t)(bits / 8);
    }
    return 0;
}

static void learn_kind(struct tensors *t, PyObject *op) {
    const char *const bytes = (const char *)op + sizeof(PyObject);
    const unsigned number = (uint8_t)*bytes;
    const size_t length = strnlen(bytes + 1, sizeof t->kinds[0].name);
    if (number >= TENSOR_KINDS || length == sizeof t->kinds[0].name ||
        !name_is_identifier(bytes + 1, length))
        return;
    memcpy(t->kinds[number].name, bytes + 1, length + 1);
    t->kinds[number].size = element_size(t->kinds[number].name);
}

/* The tensor that an object stands for; NULL. */
static const uint64_t *tensor_of(struct managed_walk *w, PyObject *op) {
    const uint64_t *const words = (const void *)op;
    const uint64_t n = (uint64_t)Py_TYPE(op)->tp_basicsize / 8;
    for (unsigned i = 2; i < 5 && i < n; i++)
        if (natives_class(w, words[i]) == NATIVE_TENSOR)
            return (const uint64_t *)words[i];
    return NULL;
}

static const uint64_t *storage_of(struct managed_walk *w, const uint64_t *tensor) {
    for (unsigned i = FIRST_WORD; i < w->tensors.word; i++)
        if (natives_class(w, tensor[i]) == NATIVE_STORAGE)
            return (const uint64_t *)tensor[i];
    return NULL;
}

static const struct tensor_kind *kind_of(const struct tensors *t, const uint64_t *at) {
    const uint64_t number = at[AT_KIND] & 0xffff;
    return number < TENSOR_KINDS && t->kinds[number].name[0] ? &t->kinds[number] : NULL;
}

/* --- learning --- */

struct votes {
    struct managed_walk *walk;
    uint32_t n, at[LAST_WORD + 1], exact[LAST_WORD + 1];
};

static PyObject *object_of(struct managed_walk *w, size_t i, int special) {
    const struct node *const n = &walk_nodes(w)[i];
    return !n->is_bad && walk_types(w)[n->type].special == special ? n->object : NULL;
}

static int vote_word(void *context, size_t i) {
    struct votes *const v = context;
    struct managed_walk *const w = v->walk;
    uint32_t found = 0;
    if (i >= w->n_nodes || v->n >= VOTERS_MAX)
        return 1;
    PyObject *const kind = object_of(w, i, SPECIAL_DTYPE);
    if (kind)
        learn_kind(&w->tensors, kind);
    PyObject *const op = object_of(w, i, SPECIAL_TENSOR);
    const uint64_t *const tensor = op ? tensor_of(w, op) : NULL;
    for (unsigned k = FIRST_WORD; tensor && k <= LAST_WORD; k++) {
        struct shape s;
        if (tensor[k] > 0 && tensor[k] <= INLINE_MAX && read_shape(tensor + k, &s) && s.count > 1) {
            v->at[k]++;
            found = 1;
        }
    }
    v->n += found;
    return 0;
}

static int vote_size(void *context, size_t i) {
    struct votes *const v = context;
    struct managed_walk *const w = v->walk;
    struct shape s;
    if (i >= w->n_nodes || v->n >= VOTERS_MAX)
        return 1;
    PyObject *const op = object_of(w, i, SPECIAL_TENSOR);
    const uint64_t *const tensor = op ? tensor_of(w, op) : NULL;
    if (!tensor || !read_shape(tensor + w->tensors.word, &s) || s.count < 2)
        return 0;
    const struct tensor_kind *const kind = kind_of(&w->tensors, tensor + w->tensors.word);
    const uint64_t *const storage = kind && kind->size ? storage_of(w, tensor) : NULL;
    const uint64_t least = storage ? s.end * kind->size : 0;
    for (unsigned k = FIRST_WORD; storage && k <= LAST_WORD; k++) {
        v->at[k] +=
            storage[k] >= least && storage[k] <= SIZE_MAX_BYTES && !natives_has(w, storage[k]);
        v->exact[k] += s.is_whole && storage[k] == least;
    }
    v->n += storage != NULL;
    return 0;
}

/* The word that most are for, if more than four of five are; 0. */
static unsigned winner(const struct votes *v) {
    unsigned best = 0;
    for (unsigned k = 1; k <= LAST_WORD; k++)
        best = v->at[k] > v->at[best] ? k : best;
    return (uint64_t)v->at[best] * 10 > (uint64_t)v->n * 8 ? best : 0;
}

/* Of the words that are large enough in nine of ten storages the one that is just so large most
 * often; if there is only one, that. */
static unsigned winner_of_sizes(const struct votes *v) {
    unsigned best = 0, n = 0;
    for (unsigned k = 1; k <= LAST_WORD; k++)
        if ((uint64_t)v->at[k] * 10 > (uint64_t)v->n * 9) {
            best = !best || v->exact[k] > v->exact[best] ? k : best;
            n++;
        }
    return n == 1 || v->exact[best] > 0 ? best : 0;
}

void tensors_learn(struct managed_walk *w) {
    struct votes v = {.walk = w};
    uint32_t i = 0;
    while (i < w->types_size && walk_types(w)[i].special != SPECIAL_TENSOR)
        i++;
    if (i == w->types_size)
        return;
    if (!w->natives.is_open)
        natives_open(w);
    guard_each(0, vote_word, NULL, &v);
    w->tensors.word = winner(&v);
    if (!w->tensors.word)
        return;
    v = (struct votes){.walk = w};
    guard_each(0, vote_size, NULL, &v);
    w->tensors.size_word = winner_of_sizes(&v);
}

/* --- labels --- */

struct text {
    char bytes[256];
    size_t length;
};

static void put_text(struct text *t, const char *text) {
    const size_t n = strlen(text);
    if (t->length + n < sizeof t->bytes) {
        memcpy(t->bytes + t->length, text, n);
        t->length += n;
    }
}

static void put_number(struct text *t, uint64_t number) {
    char digits[24];
    size_t at = sizeof digits;
    digits[--at] = '\0';
    do
        digits[--at] = (char)('0' + number % 10);
    while (number /= 10);
    put_text(t, digits + at);
}

/* c10's kinds of devices; its numbers are part of its binary interface. */
struct device {
    unsigned kind;
    int index, is_set;
};

static struct device device_of(uint64_t word) {
    return (struct device){.kind = word >> 16 & 0xff,
                           .index = (int8_t)(word >> 24 & 0xff),
                           .is_set = (word >> 32 & 0xff) == 1};
}

static void put_device(struct text *t, uint64_t word) {
    static const char *const names[] = {
        "cpu",    "cuda",  "mkldnn", "opengl", "opencl", "ideep", "hip", "fpga", "maia", "xla",
        "vulkan", "metal", "xpu",    "mps",    "meta",   "hpu",   "ve",  "lazy", "ipu",  "mtia"};
    const struct device d = device_of(word);
    if (!d.is_set || d.kind >= sizeof names / sizeof *names)
        return;
    put_text(t, " ");
    put_text(t, names[d.kind]);
    if (d.index >= 0) {
        put_text(t, ":");
        put_number(t, (uint64_t)d.index);
    }
}

/* Data type, shape and device of what its words say is a tensor; its data type, or NULL. */
static const struct tensor_kind *put_tensor(const struct managed_walk *w, const uint64_t *tensor,
                                            struct text *t, struct shape *out) {
    const uint64_t *const at = tensor + w->tensors.word;
    const struct tensor_kind *const kind = read_shape(at, out) ? kind_of(&w->tensors, at) : NULL;
    if (!kind)
        return NULL;
    put_text(t, kind->name);
    put_text(t, "[");
    for (uint64_t i = 0; i < out->n && i < 16; i++) {
        put_text(t, i > 0 ? ", " : "");
        put_number(t, out->sizes[i]);
    }
    put_text(t, out->n > 16 ? ", ...]" : "]");
    put_device(t, at[AT_KIND]);
    return kind;
}

uint32_t tensor_label(struct managed_walk *w, PyObject *op) {
    const uint64_t *const tensor = w->tensors.word ? tensor_of(w, op) : NULL;
    struct text t = {.length = 0};
    struct shape s;
    const struct tensor_kind *const kind = tensor ? put_tensor(w, tensor, &t, &s) : NULL;
    if (!kind)
        return 0;
    const uint64_t *const storage =
        w->tensors.size_word && kind->size && s.count > 0 ? storage_of(w, tensor) : NULL;
    const uint64_t all = storage ? storage[w->tensors.size_word] : 0;
    if (all > s.shown * kind->size && s.end * kind->size <= all && all <= SIZE_MAX_BYTES) {
        put_text(&t, ", ");
        put_number(&t, s.shown * kind->size);
        put_text(&t, " of ");
        put_number(&t, all);
        put_text(&t, " bytes");
    }
    return name_add(w, t.bytes, t.length);
}

int tensor_storage(struct managed_walk *w, const uint64_t *tensor, struct tensor_storage *out) {
    enum { CPU = 0, MKLDNN = 2, IDEEP = 5, META = 14, LAZY = 17 };
    struct shape s;
    const uint64_t *const at = tensor + w->tensors.word;
    if (!w->tensors.word || !read_shape(at, &s))
        return 0;
    const struct device d = device_of(at[AT_KIND]);
    *out =
        (struct tensor_storage){.words = storage_of(w, tensor),
                                .device = d.index >= 0 ? (uint32_t)d.index + 1 : 0,
                                .is_device = d.is_set && d.kind != CPU && d.kind != MKLDNN &&
                                             d.kind != IDEEP && d.kind != META && d.kind != LAZY};
    return out->words != NULL;
}

uint64_t tensor_size(const struct managed_walk *w) {
    return w->tensors.word ? (w->tensors.word + AT_KIND + 1) * UINT64_C(8) : 0;
}

uint32_t tensor_label_of_block(struct managed_walk *w, uint64_t address) {
    struct text t = {.length = 0};
    struct shape s;
    if (!w->tensors.word || natives_class(w, address) != NATIVE_TENSOR ||
        !put_tensor(w, (const uint64_t *)address, &t, &s))
        return 0;
    return name_add(w, t.bytes, t.length);
}
