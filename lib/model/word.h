/* What a word at an offset of a type is: where it points and what it is called. */
#ifndef HEAPSNAP_MODEL_WORD_H
#define HEAPSNAP_MODEL_WORD_H

#include "base/map.h"
#include "base/mem.h"
#include "base/strtab.h"
#include "symbol/layout.h"

enum {
    WORD_POINTER = 1,   /* may point at something: not a number, not padding */
    WORD_ARRAY = 2,     /* at an array even if it has one element */
    WORD_VOID = 4,      /* a pointer to anything */
    WORD_CONTAINER = 8, /* the target is known by knowledge of a library's container */
    WORD_END = 16,      /* past the last element of what the word before it points at */
    WORD_TEXT = 32      /* of a string: its own words are characters and numbers, and what it points
                           at is characters */
};

struct word {
    uint32_t target; /* type; 0: unknown */
    uint32_t flags;
    uint32_t label; /* in words.labels: "next", "sessions[*]", "[*].key"; 0: none */
};

/* Words of one type by offset / 8: index + 1 in words.known; 0: not asked yet. */
struct word_shape {
    uint32_t n;
    uint32_t words[];
};

/* Answers for one layout, kept by type and offset. */
struct words {
    struct layout *layout;
    struct strtab labels;
    struct word *known; /* index + 1 in shapes */
    size_t n_known, known_capacity;
    struct map by_content;      /* of known */
    struct word_shape **shapes; /* by type - 1 */
    size_t n_shapes, shapes_capacity;
    struct map nodes;  /* of containers: types made up, by container and kind */
    struct map traits; /* by type: what container it is, + 1 */
};

void words_init(struct words *w, struct layout *layout);
void words_release(struct words *w);

/* Completes what compilers only declare because a library has it: std::string, as clang does, by
 * the ABI that its inline namespace names. To be called once, before all others. */
void words_complete(struct words *w);

/* The word of a type, or of an array of it behind its end if the type ends in a flexible array. A
 * word that is nothing has no flags; a label may be there still. */
struct word words_at(struct words *w, uint32_t type, uint64_t offset);

/* The same where it was asked before; NULL: it was not. For loops over many blocks of few types. */
static inline const struct word *words_known(const struct words *w, uint32_t type,
                                             uint64_t offset) {
    const struct word_shape *const shape = type <= w->n_shapes ? w->shapes[type - 1] : NULL;
    const uint64_t i = offset / 8;
    return shape && i < shape->n && shape->words[i] ? &w->known[shape->words[i] - 1] : NULL;
}

/* Whether an object of `type` is, at an offset, one of type `part` (a member or a base class,
 * elements of arrays included). */
int words_has_part(const struct words *w, uint32_t type, uint64_t offset, uint32_t part);

/* Whether the last member takes all memory behind it: a flexible array, or an array of 0 or 1
 * elements. *out_offset, *out_size: where it starts, and the size of its elements. */
int words_is_flexible(const struct words *w, uint32_t type, uint64_t *out_offset,
                      uint64_t *out_size);

/* The name of a type as people write it: without the default arguments of the standard library's
 * templates, pointers as "T*". At most size - 1 bytes. */
void words_type_name(const struct words *w, uint32_t type, char *out, size_t size);
void words_plain_name(const char *name, char *out, size_t size);

#endif
