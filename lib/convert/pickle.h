/* Reading pickles of plain data, and nothing else.
 *
 * A pickle is a program for a stack machine that can call anything. This reader knows only the
 * instructions that build numbers, texts, lists, tuples and dicts; any other ends it with its name
 * and offset, so nothing is ever looked up, imported or called. Input is one piece of memory, which
 * must stay: texts are borrowed from it.
 *
 * Cost: at most 16 bytes of memory for each value and 8 for each place in a list, tuple, dict or
 * memo; sizes are checked against the bytes that are left before anything is allocated for them. */
#ifndef HEAPSNAP_PICKLE_H
#define HEAPSNAP_PICKLE_H

#include <heapsnap/common.h>
#include <stddef.h>
#include <stdint.h>

enum pickle_type {
    PICKLE_NONE,
    PICKLE_FALSE,
    PICKLE_TRUE,
    PICKLE_INT, /* also unsigned ones up to 2^64 - 1 */
    PICKLE_FLOAT,
    PICKLE_TEXT,
    PICKLE_BYTES,
    PICKLE_LIST,
    PICKLE_TUPLE,
    PICKLE_DICT
};

struct pickle;

/* A value is its number; 0 is none. */
typedef uint32_t pickle_value;

struct pickle_limits {
    size_t max_memory_bytes; /* 0: 1 GiB */
};

/* Errors: FORMAT no pickle; UNSUPPORTED an instruction outside of data, or a protocol after our
 * time; CORRUPT damaged; LIMIT, NOMEM. Errors carry the offset. */
int pickle_read(struct pickle **out, const void *data, size_t size,
                const struct pickle_limits *limits, snap_error *err);
void pickle_free(struct pickle *p);
pickle_value pickle_root(const struct pickle *p);

enum pickle_type pickle_type_of(const struct pickle *p, pickle_value v);
/* 1: it is an integer of 0 to 2^64 - 1 (bools are 0 and 1). */
int pickle_unsigned(const struct pickle *p, pickle_value v, uint64_t *out);
/* Borrowed, not NUL-terminated; NULL: it is no text. */
const char *pickle_text(const struct pickle *p, pickle_value v, size_t *out_length);
/* Elements of a list or tuple; 0 for anything else. */
size_t pickle_length(const struct pickle *p, pickle_value v);
pickle_value pickle_at(const struct pickle *p, pickle_value v, size_t index);
/* Value of a text key in a dict of at most PICKLE_KEYS_MAX keys; 0: not there, or no such dict. */
enum { PICKLE_KEYS_MAX = 256 };
pickle_value pickle_get(const struct pickle *p, pickle_value v, const char *key);

#endif
