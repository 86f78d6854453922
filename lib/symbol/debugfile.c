/* Separate debug files: DIR/.build-id/xx/yyyy.debug, .gnu_debuglink and .gnu_debugaltlink.
 *
 * Invariant: a file is taken only if its build id, or without one its checksum, is the one asked
 * for. Nothing is fetched from a network. */
#include "symbol/debugfile.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <heapsnap/common.h>

#define LINK_MAX_BYTES 8192

static int has_build_id(const struct elf_file *elf, const uint8_t *build_id, size_t n) {
    return elf->n_build_id == n && memcmp(elf->build_id, build_id, n) == 0;
}

/* Opens dir/.build-id/xx/yyyy.debug. */
static int open_by_build_id(struct elf_file *out, char *path, size_t size, const char *dir,
                            const uint8_t *build_id, size_t n) {
    if (n < 2)
        return 0;
    char hex[2 * ELF_BUILD_ID_MAX + 1];
    for (size_t i = 0; i < n; i++)
        snprintf(hex + 2 * i, 3, "%02x", build_id[i]);
    const int length = snprintf(path, size, "%s/.build-id/%.2s/%s.debug", dir, hex, hex + 2);
    if (length < 0 || (size_t)length >= size)
        return 0;
    const int result = elf_open(out, path);
    if (result == 1 && !has_build_id(out, build_id, n)) {
        elf_close(out);
        return 0;
    }
    return result;
}

/* The checksum of .gnu_debuglink: CRC-32 of the whole file, as in zlib and GDB. */
static int file_crc_is(const struct elf_file *elf, uint32_t wanted) {
    static uint32_t table[256];
    if (!table[1]) {
        for (uint32_t i = 0; i < 256; i++) {
            uint32_t crc = i;
            for (int bit = 0; bit < 8; bit++)
                crc = crc & 1 ? crc >> 1 ^ 0xedb88320u : crc >> 1;
            table[i] = crc;
        }
    }
    enum { PART = 1 << 16 };
    uint8_t *const part = malloc(PART);
    if (!part)
        return 0;
    uint32_t crc = 0xffffffffu;
    uint64_t offset = 0;
    while (offset < elf->size) {
        const ssize_t n = pread(elf->fd, part, PART, (off_t)offset);
        if (n <= 0)
            break;
        for (ssize_t i = 0; i < n; i++)
            crc = table[(crc ^ part[i]) & 0xff] ^ crc >> 8;
        offset += (uint64_t)n;
    }
    free(part);
    return offset == elf->size && ~crc == wanted;
}

/* Length of the directory part of an absolute path, without the last slash. */
static size_t directory_length(const char *path) {
    const char *const slash = strrchr(path, '/');
    return slash ? (size_t)(slash - path) : 0;
}

/* The name at the start of a link section; NULL unless it is a plain, terminated, non-empty name.
 */
static const char *link_name(const struct elf_bytes *bytes) {
    const char *const name = (const char *)bytes->data;
    const size_t n = strnlen(name, bytes->size);
    return n > 0 && n < bytes->size && n < PATH_MAX ? name : NULL;
}

static int open_if_it_belongs(struct elf_file *out, const char *path, const struct elf_file *elf,
                              uint32_t crc) {
    const int result = elf_open(out, path);
    if (result != 1)
        return result;
    const int belongs = elf->n_build_id && out->n_build_id
                            ? has_build_id(out, elf->build_id, elf->n_build_id)
                            : file_crc_is(out, crc);
    if (!belongs)
        elf_close(out);
    return belongs;
}

static int open_by_link(struct elf_file *out, char *found, size_t size, const char *module_path,
                        const struct elf_file *elf, const char *const *dirs) {
    const struct elf_section *const section = elf_find(elf, ".gnu_debuglink");
    struct elf_bytes bytes;
    if (!section || !elf_read(elf, section, LINK_MAX_BYTES, &bytes))
        return 0;
    int result = 0;
    const char *const name = link_name(&bytes);
    char real[PATH_MAX];
    if (name && !strchr(name, '/') && realpath(module_path, real)) {
        const size_t crc_at = (strlen(name) + 4) & ~(size_t)3;
        uint32_t crc = 0;
        const int dir = (int)directory_length(real);
        if (crc_at + sizeof crc <= bytes.size) {
            memcpy(&crc, bytes.data + crc_at, sizeof crc);
            snprintf(found, size, "%.*s/%s", dir, real, name);
            /* A link to the module itself would be a full circle. */
            if (strcmp(found, real) != 0)
                result = open_if_it_belongs(out, found, elf, crc);
            if (result == 0) {
                snprintf(found, size, "%.*s/.debug/%s", dir, real, name);
                result = open_if_it_belongs(out, found, elf, crc);
            }
            for (size_t i = 0; result == 0 && dirs[i]; i++) {
                snprintf(found, size, "%s%.*s/%s", dirs[i], dir, real, name);
                result = open_if_it_belongs(out, found, elf, crc);
            }
        }
    }
    elf_bytes_release(&bytes);
    return result;
}

int debugfile_open(struct elf_file *out, char **out_path, const char *path,
                   const struct elf_file *elf, const uint8_t *build_id, size_t n_build_id,
                   const char *const *dirs) {
    char found[2 * PATH_MAX];
    int result = 0;
    for (size_t i = 0; result == 0 && dirs[i]; i++)
        result = open_by_build_id(out, found, sizeof found, dirs[i], build_id, n_build_id);
    if (result == 0 && elf)
        result = open_by_link(out, found, sizeof found, path, elf, dirs);
    if (result != 1)
        return result;
    *out_path = strdup(found);
    if (!*out_path) {
        elf_close(out);
        return SNAP_E_NOMEM;
    }
    return 1;
}

int debugfile_open_alt(struct elf_file *out, const char *path, const struct elf_file *elf,
                       const char *const *dirs) {
    const struct elf_section *const section = elf_find(elf, ".gnu_debugaltlink");
    struct elf_bytes bytes;
    if (!section || !elf_read(elf, section, LINK_MAX_BYTES, &bytes))
        return 0;
    int result = 0;
    const char *const name = link_name(&bytes);
    char real[PATH_MAX];
    if (name && realpath(path, real)) {
        const uint8_t *const build_id = bytes.data + strlen(name) + 1;
        const size_t n_build_id = bytes.size - strlen(name) - 1;
        char found[2 * PATH_MAX];
        if (n_build_id > 0 && n_build_id <= ELF_BUILD_ID_MAX) {
            if (name[0] == '/')
                snprintf(found, sizeof found, "%s", name);
            else
                snprintf(found, sizeof found, "%.*s/%s", (int)directory_length(real), real, name);
            result = elf_open(out, found);
            if (result == 1 && !has_build_id(out, build_id, n_build_id)) {
                elf_close(out);
                result = 0;
            }
            for (size_t i = 0; result == 0 && dirs[i]; i++)
                result = open_by_build_id(out, found, sizeof found, dirs[i], build_id, n_build_id);
        }
    }
    elf_bytes_release(&bytes);
    return result;
}
