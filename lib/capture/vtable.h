/* What looks like a C++ virtual table in the memory of loaded images, and whose it is, by the ABI
 * that compilers share: two words before the table the offset to the top, one before it the address
 * of a std::type_info, whose first word is the table of its own class and whose second is its name.
 *
 * Reads only what its caller says is an image's. Needs no symbols. */
#ifndef HEAPSNAP_VTABLE_H
#define HEAPSNAP_VTABLE_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "model/wire.h"

enum { VTABLE_NAME_MAX = 4095 };

struct vtable_images {
    const void *context;
    /* The end of the image's memory that holds an address; is_data: that is no code. 0: none. */
    uint64_t (*end)(const void *context, uint64_t address, int is_data);
};

static inline int vtable_has_data(const struct vtable_images *m, uint64_t address, uint64_t size) {
    const uint64_t end = m->end(m->context, address, 1);
    return end && end - address >= size;
}

/* The name of a type_info, NULL if it is none. */
static inline const char *vtable_type_name(const struct vtable_images *m, uint64_t type_info,
                                           size_t *out_length) {
    if (type_info % 8 != 0 || !vtable_has_data(m, type_info, 16))
        return NULL;
    const uint64_t *const words = (const void *)type_info;
    /* Older linkers put names and code in one segment. */
    const uint64_t end = m->end(m->context, words[1], 0);
    if (words[0] % 8 != 0 || !vtable_has_data(m, words[0], 8) || !end)
        return NULL;
    /* A star marks a name that is not the same in other images; it is no part of it. */
    const unsigned skip = *(const char *)words[1] == '*';
    const char *const name = (const char *)words[1] + skip;
    const uint64_t room = end - words[1] - skip;
    const size_t length =
        strnlen(name, room < VTABLE_NAME_MAX ? (size_t)room : (size_t)VTABLE_NAME_MAX);
    if (length == room || length == 0 || length == VTABLE_NAME_MAX)
        return NULL;
    for (size_t i = 0; i < length; i++)
        if (name[i] <= ' ' || name[i] > '~')
            return NULL;
    *out_length = length;
    return name;
}

/* The name of a type_info's own class, such as "N10__cxxabiv120__si_class_type_infoE"; NULL. */
static inline const char *vtable_kind(const struct vtable_images *m, uint64_t type_info,
                                      size_t *out_length) {
    const uint64_t table = *(const uint64_t *)type_info;
    if (!vtable_has_data(m, table - 16, 24))
        return NULL;
    return vtable_type_name(m, ((const uint64_t *)table)[-1], out_length);
}

/* Whether a type_info is that of a class: by the name of its own class. */
static inline int vtable_is_of_class(const struct vtable_images *m, uint64_t type_info) {
    static const char suffix[] = "class_type_infoE";
    size_t length;
    const char *const name = vtable_kind(m, type_info, &length);
    return name && length >= sizeof suffix - 1 &&
           memcmp(name + length - (sizeof suffix - 1), suffix, sizeof suffix - 1) == 0;
}

static inline int vtable_is(const struct vtable_images *m, uint64_t value) {
    if (value % 8 != 0 || !vtable_has_data(m, value - 16, 24))
        return 0;
    const int64_t offset_to_top = ((const int64_t *)(const void *)value)[-2];
    const uint64_t type_info = ((const uint64_t *)(const void *)value)[-1];
    size_t length;
    return offset_to_top <= 0 && offset_to_top >= -((int64_t)1 << 24) &&
           vtable_type_name(m, type_info, &length) != NULL && vtable_is_of_class(m, type_info);
}

/* The record of a table; name_len bytes of its name are to follow, which this returns. */
static inline const char *vtable_record(const struct vtable_images *m, uint64_t table,
                                        struct wire_vtable *out) {
    const uint64_t *const words = (const void *)table;
    size_t length = 0;
    const char *const name = vtable_type_name(m, words[-1], &length);
    *out = (struct wire_vtable){.address = table,
                                .type_info = words[-1],
                                .type_info_vtable = *(const uint64_t *)words[-1],
                                .offset_to_top = (int64_t)words[-2],
                                .name_len = (uint32_t)length};
    return name;
}

#endif
