/* The fixed structures of a file. Positions are those of snap-format.md, sections 5 to 8.1. */
#include "codec/chunk.h"
#include "base/bytes.h"

#include <stdio.h>
#define XXH_STATIC_LINKING_ONLY /* states on the stack */
#include <xxhash.h>

#define HASHED_HEADER_BYTES 24
#define HEADER_HASH_OFFSET 56
#define FOOTER_HASH_OFFSET 16

void chunk_header_put(uint8_t *dst, const struct chunk_header *h) {
    put_u32(dst, h->id);
    dst[4] = h->codec;
    dst[5] = h->layout;
    put_u16(dst + 6, h->reserved);
    put_u64(dst + 8, h->stored_size);
    put_u64(dst + 16, h->raw_size);
    put_u64(dst + 24, h->hash);
}

struct chunk_header chunk_header_get(const uint8_t *src) {
    return (struct chunk_header){.id = get_u32(src),
                                 .codec = src[4],
                                 .layout = src[5],
                                 .reserved = get_u16(src + 6),
                                 .stored_size = get_u64(src + 8),
                                 .raw_size = get_u64(src + 16),
                                 .hash = get_u64(src + 24)};
}

uint64_t chunk_hash(const uint8_t *header, const uint8_t *payload, size_t size) {
    XXH3_state_t state;
    XXH3_64bits_reset(&state);
    XXH3_64bits_update(&state, header, HASHED_HEADER_BYTES);
    XXH3_64bits_update(&state, payload, size);
    return XXH3_64bits_digest(&state);
}

uint64_t chunk_file_header_hash(const uint8_t *header) {
    return XXH3_64bits(header, HEADER_HASH_OFFSET);
}

uint64_t chunk_file_header_put(uint8_t *dst) {
    memset(dst, 0, SNAP_HEADER_SIZE);
    memcpy(dst, SNAP_MAGIC, SNAP_MAGIC_SIZE);
    put_u32(dst + 8, SNAP_HEADER_SIZE);
    put_u16(dst + 12, SNAP_VERSION_MAJOR);
    put_u16(dst + 14, SNAP_VERSION_MINOR);
    const uint64_t hash = chunk_file_header_hash(dst);
    put_u64(dst + HEADER_HASH_OFFSET, hash);
    return hash;
}

uint64_t chunk_footer_hash(const uint8_t *footer, uint64_t header_hash) {
    uint8_t hashed[8 + FOOTER_HASH_OFFSET];
    put_u64(hashed, header_hash);
    memcpy(hashed + 8, footer, FOOTER_HASH_OFFSET);
    return XXH3_64bits(hashed, sizeof hashed);
}

void chunk_footer_put(uint8_t *dst, uint64_t header_hash, uint64_t toc_offset, uint64_t file_size) {
    put_u64(dst, toc_offset);
    put_u64(dst + 8, file_size);
    put_u64(dst + FOOTER_HASH_OFFSET, chunk_footer_hash(dst, header_hash));
    memcpy(dst + 24, SNAP_END_MAGIC, SNAP_MAGIC_SIZE);
}

void chunk_column_put(uint8_t *dst, const struct chunk_column *c) {
    put_u16(dst, c->id);
    dst[2] = c->encoding;
    dst[3] = c->width;
    put_u32(dst + 4, c->size);
}

struct chunk_column chunk_column_get(const uint8_t *src) {
    return (struct chunk_column){get_u16(src), src[2], src[3], get_u32(src + 4)};
}

struct chunk_name chunk_name(uint32_t id) {
    struct chunk_name name;
    uint8_t bytes[4];
    put_u32(bytes, id);
    int is_text = 1;
    for (unsigned i = 0; i < 4; i++)
        is_text &= bytes[i] >= '0' && bytes[i] <= 'z';
    if (is_text)
        snprintf(name.text, sizeof name.text, "%.4s", (const char *)bytes);
    else
        snprintf(name.text, sizeof name.text, "%02x%02x%02x%02x", bytes[0], bytes[1], bytes[2],
                 bytes[3]);
    return name;
}
