/* Chunks as bytes: file header, chunk header, table directory and footer, both ways. Shared by
 * writer and reader; compression is theirs. */
#ifndef HEAPSNAP_CHUNK_H
#define HEAPSNAP_CHUNK_H

#include <heapsnap/table.h>

struct chunk_header {
    uint32_t id;
    uint8_t codec, layout;
    uint16_t reserved;
    uint64_t stored_size, raw_size, hash;
};

void chunk_header_put(uint8_t *dst, const struct chunk_header *h);
struct chunk_header chunk_header_get(const uint8_t *src);

/* chunk_hash of a header's first 24 bytes and its payload. */
uint64_t chunk_hash(const uint8_t *header, const uint8_t *payload, size_t size);

/* The whole file header of this version; returns its header_hash. */
uint64_t chunk_file_header_put(uint8_t *dst);
uint64_t chunk_file_header_hash(const uint8_t *header);

void chunk_footer_put(uint8_t *dst, uint64_t header_hash, uint64_t toc_offset, uint64_t file_size);
uint64_t chunk_footer_hash(const uint8_t *footer, uint64_t header_hash);

/* Start of a decoded payload: u32 n_rows, u16 n_columns, u16 reserved. */
#define CHUNK_TABLE_HEADER_SIZE 8

struct chunk_column {
    uint16_t id;
    uint8_t encoding, width;
    uint32_t size;
};

void chunk_column_put(uint8_t *dst, const struct chunk_column *c);
struct chunk_column chunk_column_get(const uint8_t *src);

/* An id as text for messages: "NODE", or "4e4f4445" if it is not four printable ASCII characters.
 */
struct chunk_name {
    char text[9];
};
struct chunk_name chunk_name(uint32_t id);

#endif
