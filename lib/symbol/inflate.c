/* Compressed sections: zlib and zstd. The only file here that includes either.
 *
 * The output is exactly as large as the section's header says, or there is none. */
#include "symbol/elf.h"

#include <elf.h>
#include <limits.h>
#include <zlib.h>
#include <zstd.h>

#ifndef ELFCOMPRESS_ZSTD
#define ELFCOMPRESS_ZSTD 2
#endif

int elf_inflate(uint32_t type, const uint8_t *from, size_t from_size, uint8_t *to, size_t to_size) {
    if (type == ELFCOMPRESS_ZLIB) {
        uLongf n = to_size;
        /* Deflate never expands more than this: a larger claim is a lie, found before the work. */
        if (to_size / 1100 > from_size)
            return 0;
        return uncompress(to, &n, from, from_size) == Z_OK && n == to_size;
    }
    if (type == ELFCOMPRESS_ZSTD)
        return ZSTD_decompress(to, to_size, from, from_size) == to_size;
    return 0;
}
