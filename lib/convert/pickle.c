/* See pickle.h. One pass over the bytes, without recursion.
 *
 * Invariant: every size is checked against what is left of the input before it is used, every value
 * on the stack and in the memo exists, and memory stays within the limit. Nothing is executed: the
 * instructions that could are not known here. */
#include "convert/pickle.h"

#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "base/mem.h"

enum { PROTOCOL_MAX = 5, MEMORY_DEFAULT = 1 << 30, VALUES_MAX = UINT32_MAX - 1 };
enum { SIGN_NEGATIVE = 1, SIGN_TOO_LARGE = 2 }; /* of an integer: not what `data` says */

struct value {
    uint8_t type, sign;
    uint32_t length; /* of text and bytes that are shorter than 4 GiB, which all here are */
    uint64_t data;   /* an integer; offset of text; number of the container */
};

struct container {
    pickle_value *items; /* of a dict: key, value, key, value */
    size_t n, capacity;
};

struct pickle {
    const unsigned char *bytes;
    size_t size, at;
    size_t memory, max_memory;
    struct value *values; /* [0] is none */
    size_t n_values, values_capacity;
    struct container *containers;
    size_t n_containers, containers_capacity;
    pickle_value *stack; /* 0: a mark */
    size_t n_stack, stack_capacity;
    pickle_value *memo; /* 0: nothing there */
    size_t n_memo, memo_capacity;
    size_t n_puts;
    pickle_value root;
    snap_error *err;
};

/* --- memory and errors --- */

static int fail(const struct pickle *p, int code, size_t at, const char *what) {
    return err_set_at(p->err, code, 0, at, "%s at offset %zu", what, at);
}

static int damaged(const struct pickle *p, const char *what) {
    return fail(p, SNAP_E_CORRUPT, p->at, what);
}

static int grow(struct pickle *p, void *array, size_t *capacity, size_t need, size_t size) {
    const size_t before = *capacity;
    if (need <= before)
        return 0;
    if (need > (p->max_memory - p->memory) / size + before)
        return err_set_at(p->err, SNAP_E_LIMIT, 0, p->at,
                          "the pickle needs more than %zu bytes of memory", p->max_memory);
    if (mem_grow(array, capacity, need, size) < 0)
        return err_set_at(p->err, SNAP_E_NOMEM, 0, p->at, "no memory for a pickle");
    p->memory += (*capacity - before) * size;
    if (p->memory > p->max_memory)
        p->memory = p->max_memory;
    return 0;
}

static int push(struct pickle *p, pickle_value v) {
    SNAP_TRY(grow(p, &p->stack, &p->stack_capacity, p->n_stack + 1, sizeof *p->stack));
    p->stack[p->n_stack++] = v;
    return 0;
}

static int push_new(struct pickle *p, struct value value) {
    if (p->n_values >= VALUES_MAX)
        return fail(p, SNAP_E_LIMIT, p->at, "too many values");
    SNAP_TRY(grow(p, &p->values, &p->values_capacity, p->n_values + 1, sizeof *p->values));
    p->values[p->n_values] = value;
    return push(p, (pickle_value)p->n_values++);
}

/* The value on top, which stays there; 0: there is none. */
static pickle_value top(const struct pickle *p) {
    return p->n_stack ? p->stack[p->n_stack - 1] : 0;
}

/* Where the values above the last mark begin; 0: there is no mark. */
static size_t above_mark(const struct pickle *p) {
    size_t i = p->n_stack;
    while (i > 0 && p->stack[i - 1] != 0)
        i--;
    return i;
}

/* --- containers --- */

static int push_container(struct pickle *p, enum pickle_type type) {
    SNAP_TRY(grow(p, &p->containers, &p->containers_capacity, p->n_containers + 1,
                  sizeof *p->containers));
    p->containers[p->n_containers] = (struct container){0};
    return push_new(p, (struct value){.type = (uint8_t)type, .data = p->n_containers++});
}

static struct container *container_of(const struct pickle *p, pickle_value v) {
    return &p->containers[p->values[v].data];
}

/* The n topmost values become the last elements of a container. */
static int add_from_stack(struct pickle *p, pickle_value to, size_t n) {
    struct container *const c = container_of(p, to);
    SNAP_TRY(grow(p, &c->items, &c->capacity, c->n + n, sizeof *c->items));
    if (n > 0)
        memcpy(c->items + c->n, p->stack + p->n_stack - n, n * sizeof *c->items);
    c->n += n;
    p->n_stack -= n;
    return 0;
}

/* A new container of the n topmost values, in their place. */
static int collect(struct pickle *p, enum pickle_type type, size_t n, int has_mark) {
    SNAP_TRY(push_container(p, type));
    const pickle_value made = p->stack[--p->n_stack];
    SNAP_TRY(add_from_stack(p, made, n));
    p->n_stack -= (size_t)has_mark;
    return push(p, made);
}

static int collect_to_mark(struct pickle *p, enum pickle_type type) {
    const size_t from = above_mark(p);
    if (from == 0)
        return damaged(p, "no mark");
    const size_t n = p->n_stack - from;
    if (type == PICKLE_DICT && n % 2)
        return damaged(p, "a key without a value");
    return collect(p, type, n, 1);
}

static int collect_few(struct pickle *p, size_t n) {
    if (p->n_stack - above_mark(p) < n)
        return damaged(p, "too few values");
    return collect(p, PICKLE_TUPLE, n, 0);
}

/* The n topmost values go into the container below them (and below a mark). */
static int extend(struct pickle *p, enum pickle_type type, size_t n, size_t below) {
    const pickle_value to = below > 0 ? p->stack[below - 1] : 0;
    if (to == 0 || p->values[to].type != type || (type == PICKLE_DICT && n % 2))
        return damaged(p, "elements of something that has none");
    return add_from_stack(p, to, n);
}

static int extend_to_mark(struct pickle *p, enum pickle_type type) {
    const size_t from = above_mark(p);
    if (from == 0)
        return damaged(p, "no mark");
    SNAP_TRY(extend(p, type, p->n_stack - from, from - 1));
    p->n_stack--;
    return 0;
}

static int extend_by(struct pickle *p, enum pickle_type type, size_t n) {
    if (p->n_stack - above_mark(p) < n + 1)
        return damaged(p, "too few values");
    return extend(p, type, n, p->n_stack - n);
}

/* --- the input --- */

static int take(struct pickle *p, size_t n, const unsigned char **out) {
    *out = p->bytes + p->at;
    if (n > p->size - p->at)
        return damaged(p, "the pickle ends too early");
    p->at += n;
    return 0;
}

static int take_number(struct pickle *p, size_t n, uint64_t *out) {
    const unsigned char *b;
    SNAP_TRY(take(p, n, &b));
    *out = 0;
    for (size_t i = n; i-- > 0;)
        *out = *out << 8 | b[i];
    return 0;
}

static int push_unsigned(struct pickle *p, size_t n) {
    uint64_t value;
    SNAP_TRY(take_number(p, n, &value));
    return push_new(p, (struct value){.type = PICKLE_INT, .data = value});
}

static int push_signed(struct pickle *p, uint64_t n) {
    const unsigned char *b;
    struct value v = {.type = PICKLE_INT};
    if (n > p->size - p->at)
        return damaged(p, "the pickle ends too early");
    SNAP_TRY(take(p, (size_t)n, &b));
    if (n > 0 && b[n - 1] & 0x80)
        v.sign = SIGN_NEGATIVE;
    for (size_t i = (size_t)n; i-- > 0;) {
        if (i < 8)
            v.data |= (uint64_t)b[i] << 8 * i;
        else if (b[i] != 0)
            v.sign |= SIGN_TOO_LARGE;
    }
    return push_new(p, v);
}

static int push_text(struct pickle *p, enum pickle_type type, size_t n_length) {
    uint64_t length;
    const unsigned char *b;
    SNAP_TRY(take_number(p, n_length, &length));
    if (length > p->size - p->at || length > UINT32_MAX)
        return damaged(p, "a text longer than the pickle");
    const size_t at = p->at;
    SNAP_TRY(take(p, (size_t)length, &b));
    return push_new(p,
                    (struct value){.type = (uint8_t)type, .length = (uint32_t)length, .data = at});
}

static int put_memo(struct pickle *p, uint64_t index) {
    if (top(p) == 0)
        return damaged(p, "nothing to remember");
    if (index >= p->size) /* each takes a byte at least */
        return damaged(p, "a memo beyond the pickle");
    SNAP_TRY(grow(p, &p->memo, &p->memo_capacity, (size_t)index + 1, sizeof *p->memo));
    while (p->n_memo <= index)
        p->memo[p->n_memo++] = 0;
    p->memo[index] = top(p);
    p->n_puts++;
    return 0;
}

static int get_memo(struct pickle *p, uint64_t index) {
    if (index >= p->n_memo || p->memo[index] == 0)
        return damaged(p, "a memo that is not there");
    return push(p, p->memo[index]);
}

/* --- the instructions --- */

static int refuse(const struct pickle *p, unsigned char code) {
    static const struct {
        unsigned char code;
        const char *name;
    } names[] = {{'c', "GLOBAL"},
                 {'R', "REDUCE"},
                 {'b', "BUILD"},
                 {'i', "INST"},
                 {'o', "OBJ"},
                 {0x81, "NEWOBJ"},
                 {0x92, "NEWOBJ_EX"},
                 {0x93, "STACK_GLOBAL"},
                 {0x82, "EXT1"},
                 {0x83, "EXT2"},
                 {0x84, "EXT4"},
                 {'P', "PERSID"},
                 {'Q', "BINPERSID"},
                 {0x8f, "EMPTY_SET"},
                 {0x90, "ADDITEMS"},
                 {0x91, "FROZENSET"},
                 {0x96, "BYTEARRAY8"},
                 {0x97, "NEXT_BUFFER"},
                 {0x98, "READONLY_BUFFER"}};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (names[i].code == code)
            return err_set_at(p->err, SNAP_E_UNSUPPORTED, 0, p->at - 1,
                              "refused: the pickle holds more than data: %s at offset %zu",
                              names[i].name, p->at - 1);
    if (strchr("ILFSVpg", code) != NULL && code != '\0')
        return err_set_at(p->err, SNAP_E_UNSUPPORTED, 0, p->at - 1,
                          "refused: a pickle of protocol 0: '%c' at offset %zu", code, p->at - 1);
    return err_set_at(p->err, SNAP_E_CORRUPT, 0, p->at - 1,
                      "no instruction of pickles: 0x%02x at offset %zu", code, p->at - 1);
}

static int step_number(struct pickle *p, unsigned char code) {
    uint64_t n;
    switch (code) {
    case 'N': return push_new(p, (struct value){.type = PICKLE_NONE});
    case 0x88: return push_new(p, (struct value){.type = PICKLE_TRUE, .data = 1});
    case 0x89: return push_new(p, (struct value){.type = PICKLE_FALSE});
    case 'K': return push_unsigned(p, 1);
    case 'M': return push_unsigned(p, 2);
    case 'J': return push_signed(p, 4);
    case 0x8a: SNAP_TRY(take_number(p, 1, &n)); return push_signed(p, n);
    case 0x8b: SNAP_TRY(take_number(p, 4, &n)); return push_signed(p, n);
    default: /* 'G': its value is of no use here */
        SNAP_TRY(take_number(p, 8, &n));
        return push_new(p, (struct value){.type = PICKLE_FLOAT, .data = n});
    }
}

static int step(struct pickle *p, unsigned char code) {
    uint64_t n;
    switch (code) {
    case 'N':
    case 0x88:
    case 0x89:
    case 'K':
    case 'M':
    case 'J':
    case 0x8a:
    case 0x8b:
    case 'G': return step_number(p, code);
    case 'X': return push_text(p, PICKLE_TEXT, 4);
    case 0x8c: return push_text(p, PICKLE_TEXT, 1);
    case 0x8d: return push_text(p, PICKLE_TEXT, 8);
    case 'T': return push_text(p, PICKLE_TEXT, 4);
    case 'U': return push_text(p, PICKLE_TEXT, 1);
    case 'B': return push_text(p, PICKLE_BYTES, 4);
    case 'C': return push_text(p, PICKLE_BYTES, 1);
    case 0x8e: return push_text(p, PICKLE_BYTES, 8);
    case ']': return push_container(p, PICKLE_LIST);
    case ')': return push_container(p, PICKLE_TUPLE);
    case '}': return push_container(p, PICKLE_DICT);
    case 'l': return collect_to_mark(p, PICKLE_LIST);
    case 't': return collect_to_mark(p, PICKLE_TUPLE);
    case 'd': return collect_to_mark(p, PICKLE_DICT);
    case 0x85:
    case 0x86:
    case 0x87: return collect_few(p, code - 0x84u);
    case 'a': return extend_by(p, PICKLE_LIST, 1);
    case 's': return extend_by(p, PICKLE_DICT, 2);
    case 'e': return extend_to_mark(p, PICKLE_LIST);
    case 'u': return extend_to_mark(p, PICKLE_DICT);
    case '(': return push(p, 0);
    case '0':
        if (p->n_stack == 0)
            return damaged(p, "nothing to drop");
        p->n_stack--;
        return 0;
    case '1':
        if (above_mark(p) == 0)
            return damaged(p, "no mark");
        p->n_stack = above_mark(p) - 1;
        return 0;
    case '2': return top(p) ? push(p, top(p)) : damaged(p, "nothing to repeat");
    case 'q': SNAP_TRY(take_number(p, 1, &n)); return put_memo(p, n);
    case 'r': SNAP_TRY(take_number(p, 4, &n)); return put_memo(p, n);
    case 0x94: return put_memo(p, p->n_puts);
    case 'h': SNAP_TRY(take_number(p, 1, &n)); return get_memo(p, n);
    case 'j': SNAP_TRY(take_number(p, 4, &n)); return get_memo(p, n);
    case 0x80:
        SNAP_TRY(take_number(p, 1, &n));
        if (n > PROTOCOL_MAX)
            return err_set_at(p->err, SNAP_E_UNSUPPORTED, 0, p->at - 1,
                              "pickle protocol %u is newer than this reader", (unsigned)n);
        return 0;
    case 0x95: /* how much comes in one piece */
        SNAP_TRY(take_number(p, 8, &n));
        return n > p->size - p->at ? damaged(p, "a frame longer than the pickle") : 0;
    default: return refuse(p, code);
    }
}

static int run(struct pickle *p) {
    if (p->size < 2 || p->bytes[0] != 0x80)
        return fail(p, SNAP_E_FORMAT, 0, "no binary pickle");
    SNAP_TRY(grow(p, &p->values, &p->values_capacity, 1, sizeof *p->values));
    p->values[p->n_values++] = (struct value){0};
    while (p->at < p->size) {
        const unsigned char code = p->bytes[p->at++];
        if (code == '.') {
            p->root = top(p);
            return p->root != 0 && p->n_stack == 1 ? 0 : damaged(p, "not one value at the end");
        }
        SNAP_TRY(step(p, code));
    }
    return damaged(p, "the pickle ends too early");
}

int pickle_read(struct pickle **out, const void *data, size_t size,
                const struct pickle_limits *limits, snap_error *err) {
    struct pickle *const p = mem_zalloc(1, sizeof *p);
    if (p == NULL)
        return err_set(err, SNAP_E_NOMEM, "no memory for a pickle");
    p->bytes = data;
    p->size = size;
    p->err = err;
    p->max_memory = limits != NULL && limits->max_memory_bytes != 0 ? limits->max_memory_bytes
                                                                    : (size_t)MEMORY_DEFAULT;
    const int result = run(p);
    if (result < 0) {
        pickle_free(p);
        return result;
    }
    p->err = NULL;
    *out = p;
    return 0;
}

void pickle_free(struct pickle *p) {
    if (p == NULL)
        return;
    for (size_t i = 0; i < p->n_containers; i++)
        free(p->containers[i].items);
    free(p->containers);
    free(p->values);
    free(p->stack);
    free(p->memo);
    free(p);
}

/* --- looking at values --- */

pickle_value pickle_root(const struct pickle *p) {
    return p->root;
}

enum pickle_type pickle_type_of(const struct pickle *p, pickle_value v) {
    return p->values[v].type;
}

int pickle_unsigned(const struct pickle *p, pickle_value v, uint64_t *out) {
    const struct value *const value = &p->values[v];
    if (v == 0 || value->sign != 0 ||
        (value->type != PICKLE_INT && value->type != PICKLE_TRUE && value->type != PICKLE_FALSE))
        return 0;
    *out = value->data;
    return 1;
}

const char *pickle_text(const struct pickle *p, pickle_value v, size_t *out_length) {
    if (v == 0 || p->values[v].type != PICKLE_TEXT)
        return NULL;
    *out_length = p->values[v].length;
    return (const char *)p->bytes + p->values[v].data;
}

size_t pickle_length(const struct pickle *p, pickle_value v) {
    const uint8_t type = p->values[v].type;
    return type == PICKLE_LIST || type == PICKLE_TUPLE ? container_of(p, v)->n : 0;
}

pickle_value pickle_at(const struct pickle *p, pickle_value v, size_t index) {
    return container_of(p, v)->items[index];
}

pickle_value pickle_get(const struct pickle *p, pickle_value v, const char *key) {
    if (v == 0 || p->values[v].type != PICKLE_DICT || container_of(p, v)->n > 2 * PICKLE_KEYS_MAX)
        return 0;
    const struct container *const c = container_of(p, v);
    const size_t length = strlen(key);
    for (size_t i = c->n; i >= 2; i -= 2) { /* the last one said of a key holds */
        size_t n;
        const char *const text = pickle_text(p, c->items[i - 2], &n);
        if (text != NULL && n == length && memcmp(text, key, n) == 0)
            return c->items[i - 1];
    }
    return 0;
}
