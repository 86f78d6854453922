/* Compressed sections where zlib is missing: zstd only. */
#include "symbol/elf.h"

#include <zstd.h>

int elf_inflate(uint32_t type, const uint8_t *from, size_t from_size, uint8_t *to, size_t to_size) {
    const uint32_t elfcompress_zstd = 2; /* <elf.h> of glibc before 2.36 lacks it */
    return type == elfcompress_zstd && ZSTD_decompress(to, to_size, from, from_size) == to_size;
}
