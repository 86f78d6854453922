/* Range lists, addresses and strings of split units (DWARF 5, sections 2.17.3 and 7.26 to 7.28).
 *
 * Every read is checked against its section; a list ends at the first thing that does not fit. */
#include "symbol/split.h"

#include <string.h>

enum {
    END_OF_LIST = 0,
    BASE_ADDRESSX,
    STARTX_ENDX,
    STARTX_LENGTH,
    OFFSET_PAIR,
    BASE_ADDRESS,
    START_END,
    START_LENGTH
};

struct cursor {
    const uint8_t *at;
    const uint8_t *end;
    int is_damaged;
};

static uint64_t read_fixed(struct cursor *cursor, size_t size) {
    uint64_t value = 0;
    if ((size_t)(cursor->end - cursor->at) < size) {
        cursor->is_damaged = 1;
        cursor->at = cursor->end;
        return 0;
    }
    for (size_t i = size; i-- > 0;)
        value = value << 8 | cursor->at[i];
    cursor->at += size;
    return value;
}

static uint64_t read_uleb128(struct cursor *cursor) {
    uint64_t value = 0;
    for (unsigned shift = 0; cursor->at < cursor->end; shift += 7) {
        const uint8_t byte = *cursor->at++;
        if (shift < 64)
            value |= (uint64_t)(byte & 0x7f) << shift;
        if (!(byte & 0x80))
            return value;
    }
    cursor->is_damaged = 1;
    return 0;
}

int split_address(const struct split *from, uint64_t index, uint64_t *out) {
    const uint64_t size = from->addresses.size;
    if (from->addresses_base > size || index >= (size - from->addresses_base) / 8)
        return 0;
    struct cursor word = {.at = from->addresses.data + from->addresses_base + index * 8,
                          .end = from->addresses.data + size};
    *out = read_fixed(&word, 8);
    return 1;
}

static uint64_t read_addressx(struct cursor *cursor, const struct split *from) {
    uint64_t address = 0;
    if (!split_address(from, read_uleb128(cursor), &address))
        cursor->is_damaged = 1;
    return address;
}

/* Reads the length and version at the start of a table, which ends the cursor with it. */
static int read_head(const struct elf_bytes *section, struct cursor *head, size_t *offset_size) {
    *head = (struct cursor){.at = section->data, .end = section->data + section->size};
    *offset_size = 4;
    uint64_t length = read_fixed(head, 4);
    if (length == 0xffffffff) {
        *offset_size = 8;
        length = read_fixed(head, 8);
    }
    if (head->is_damaged || length > (uint64_t)(head->end - head->at))
        return 0;
    head->end = head->at + length;
    return read_fixed(head, 2) == 5;
}

/* Puts the cursor at a list. */
static int find_list(const struct split *from, uint64_t index, struct cursor *out) {
    struct cursor head;
    size_t offset_size;
    if (!read_head(&from->lists, &head, &offset_size))
        return 0;
    const uint64_t address_size = read_fixed(&head, 1);
    read_fixed(&head, 1); /* segment selectors: none */
    const uint64_t n = read_fixed(&head, 4);
    if (head.is_damaged || address_size != 8 || index >= n ||
        n > (uint64_t)(head.end - head.at) / offset_size)
        return 0;
    struct cursor entry = {.at = head.at + index * offset_size, .end = head.end};
    const uint64_t offset = read_fixed(&entry, offset_size);
    if (offset >= (uint64_t)(head.end - head.at))
        return 0;
    *out = (struct cursor){.at = head.at + offset, .end = head.end};
    return 1;
}

int split_ranges(const struct split *from, uint64_t index,
                 int (*add)(void *context, uint64_t low, uint64_t high), void *context) {
    struct cursor list;
    uint64_t base = from->base;
    if (!from->lists.data || !find_list(from, index, &list))
        return 0;
    while (list.at < list.end && !list.is_damaged) {
        uint64_t low = 0, high = 0;
        switch (read_fixed(&list, 1)) {
        case END_OF_LIST: return 1;
        case BASE_ADDRESSX: base = read_addressx(&list, from); continue;
        case BASE_ADDRESS: base = read_fixed(&list, 8); continue;
        case STARTX_ENDX:
            low = read_addressx(&list, from);
            high = read_addressx(&list, from);
            break;
        case STARTX_LENGTH:
            low = read_addressx(&list, from);
            high = low + read_uleb128(&list);
            break;
        case OFFSET_PAIR:
            low = base + read_uleb128(&list);
            high = base + read_uleb128(&list);
            break;
        case START_END:
            low = read_fixed(&list, 8);
            high = read_fixed(&list, 8);
            break;
        case START_LENGTH:
            low = read_fixed(&list, 8);
            high = low + read_uleb128(&list);
            break;
        default: return 0;
        }
        if (list.is_damaged)
            return 0;
        if (!add(context, low, high))
            return 1;
    }
    return 0;
}

const char *split_string(const struct split *from, uint64_t index) {
    struct cursor head;
    size_t offset_size;
    if (!from->offsets.data || !read_head(&from->offsets, &head, &offset_size))
        return NULL;
    read_fixed(&head, 2); /* padding */
    if (head.is_damaged || index >= (uint64_t)(head.end - head.at) / offset_size)
        return NULL;
    struct cursor entry = {.at = head.at + index * offset_size, .end = head.end};
    const uint64_t offset = read_fixed(&entry, offset_size);
    if (offset >= from->strings.size ||
        !memchr(from->strings.data + offset, 0, from->strings.size - offset))
        return NULL;
    return (const char *)from->strings.data + offset;
}
