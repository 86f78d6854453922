/* Hashes of changed files. See repair.h. */
#include "fuzz/repair.h"
#include "base/bytes.h"
#include "codec/chunk.h"

void repair_hashes(uint8_t *data, size_t size) {
    if (size < SNAP_HEADER_SIZE + SNAP_FOOTER_SIZE)
        return;
    put_u64(data + 56, chunk_file_header_hash(data));
    uint8_t *const footer = data + size - SNAP_FOOTER_SIZE;
    put_u64(footer + 8, size);
    put_u64(footer + 16, chunk_footer_hash(footer, get_u64(data + 56)));
    size_t at = get_u32(data + 8), end = size - SNAP_FOOTER_SIZE;
    while (at <= end && end - at >= SNAP_CHUNK_HEADER_SIZE) {
        const struct chunk_header h = chunk_header_get(data + at);
        if (h.stored_size > end - at - SNAP_CHUNK_HEADER_SIZE)
            return;
        put_u64(data + at + 24,
                chunk_hash(data + at, data + at + SNAP_CHUNK_HEADER_SIZE, h.stored_size));
        at += SNAP_CHUNK_HEADER_SIZE + h.stored_size;
    }
}
