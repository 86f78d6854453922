/* Reads ELF headers, section tables, build ids and section bytes.
 *
 * Invariant: every offset and size is checked against the file before it is used, and nothing is
 * allocated that is larger than the file or a limit of the caller, so that any bytes at all may be
 * opened. Reads copy (pread), because the file may shrink under a mapping; elf_map is for a process
 * that may die of that. Interprets neither symbols nor DWARF. */
#include "symbol/elf.h"

#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <heapsnap/common.h>

#define NOTES_MAX_BYTES ((uint64_t)1 << 20)
#define SECTIONS_MAX 1000000

static int read_at(int fd, void *to, uint64_t size, uint64_t offset) {
    uint8_t *at = to;
    while (size > 0) {
        const size_t part = size < (1u << 30) ? (size_t)size : 1u << 30;
        const ssize_t n = pread(fd, at, part, (off_t)offset);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return 0;
        at += n;
        size -= (uint64_t)n;
        offset += (uint64_t)n;
    }
    return 1;
}

static int is_within(uint64_t offset, uint64_t size, uint64_t total) {
    return offset <= total && size <= total - offset;
}

/* Looks for the GNU build id among the notes of one segment or section. */
static void scan_notes(struct elf_file *elf, uint64_t offset, uint64_t size, uint64_t align) {
    if (elf->n_build_id || size < sizeof(Elf64_Nhdr) || size > NOTES_MAX_BYTES ||
        !is_within(offset, size, elf->size))
        return;
    uint8_t *const notes = malloc(size);
    if (!notes)
        return;
    const uint64_t mask = align == 8 ? 7 : 3;
    if (read_at(elf->fd, notes, size, offset)) {
        uint64_t at = 0;
        while (size - at >= sizeof(Elf64_Nhdr)) {
            Elf64_Nhdr note;
            memcpy(&note, notes + at, sizeof note);
            const uint64_t name = at + sizeof note;
            const uint64_t desc = name + (((uint64_t)note.n_namesz + mask) & ~mask);
            const uint64_t next = desc + (((uint64_t)note.n_descsz + mask) & ~mask);
            if (desc > size || note.n_descsz > size - desc)
                break;
            if (note.n_type == NT_GNU_BUILD_ID && note.n_namesz == 4 &&
                memcmp(notes + name, "GNU", 4) == 0 && note.n_descsz > 0 &&
                note.n_descsz <= ELF_BUILD_ID_MAX) {
                memcpy(elf->build_id, notes + desc, note.n_descsz);
                elf->n_build_id = note.n_descsz;
                break;
            }
            if (next >= size)
                break;
            at = next;
        }
    }
    free(notes);
}

static void read_segments(struct elf_file *elf, const Elf64_Ehdr *header) {
    const uint64_t size = (uint64_t)header->e_phnum * sizeof(Elf64_Phdr);
    if (header->e_phentsize != sizeof(Elf64_Phdr) || size == 0 ||
        !is_within(header->e_phoff, size, elf->size))
        return;
    Elf64_Phdr *const segments = malloc(size);
    if (!segments)
        return;
    if (read_at(elf->fd, segments, size, header->e_phoff)) {
        for (size_t i = 0; i < header->e_phnum; i++) {
            if (segments[i].p_type == PT_NOTE)
                scan_notes(elf, segments[i].p_offset, segments[i].p_filesz, segments[i].p_align);
        }
    }
    free(segments);
}

static void set_section(struct elf_file *elf, struct elf_section *out, const Elf64_Shdr *header) {
    out->name = "";
    out->type = header->sh_type;
    out->link = header->sh_link;
    out->flags = header->sh_flags;
    out->address = header->sh_addr;
    out->memory_size = header->sh_size;
    out->entry_size = header->sh_entsize;
    if (header->sh_type != SHT_NOBITS && header->sh_type != SHT_NULL &&
        is_within(header->sh_offset, header->sh_size, elf->size)) {
        out->offset = header->sh_offset;
        out->size = header->sh_size;
    }
}

static int read_sections(struct elf_file *elf, const Elf64_Ehdr *header) {
    if (header->e_shentsize != sizeof(Elf64_Shdr) || header->e_shoff == 0)
        return 1;
    Elf64_Shdr first;
    if (!is_within(header->e_shoff, sizeof first, elf->size) ||
        !read_at(elf->fd, &first, sizeof first, header->e_shoff))
        return 1;
    const uint64_t n = header->e_shnum ? header->e_shnum : first.sh_size;
    const uint32_t names = header->e_shstrndx == SHN_XINDEX ? first.sh_link : header->e_shstrndx;
    if (n == 0 || n > SECTIONS_MAX ||
        !is_within(header->e_shoff, n * sizeof(Elf64_Shdr), elf->size))
        return 1;
    Elf64_Shdr *const headers = malloc(n * sizeof *headers);
    elf->sections = calloc(n, sizeof *elf->sections);
    if (!headers || !elf->sections) {
        free(headers);
        return SNAP_E_NOMEM;
    }
    uint64_t names_size = 0;
    if (read_at(elf->fd, headers, n * sizeof *headers, header->e_shoff)) {
        elf->n_sections = (uint32_t)n;
        for (uint32_t i = 0; i < n; i++)
            set_section(elf, &elf->sections[i], &headers[i]);
        struct elf_bytes bytes;
        if (names < n && elf->sections[names].type == SHT_STRTAB &&
            elf_read(elf, &elf->sections[names], 64 << 20, &bytes)) {
            elf->names = bytes.owned;
            names_size = bytes.size;
        }
        for (uint32_t i = 0; i < n; i++) {
            if (headers[i].sh_name < names_size)
                elf->sections[i].name = elf->names + headers[i].sh_name;
            if (headers[i].sh_type == SHT_NOTE)
                scan_notes(elf, headers[i].sh_offset, headers[i].sh_size, headers[i].sh_addralign);
        }
    }
    free(headers);
    return 1;
}

int elf_open(struct elf_file *out, const char *path) {
    memset(out, 0, sizeof *out);
    /* Non-blocking: a path may name a FIFO that nobody writes. */
    out->fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    if (out->fd < 0)
        return 0;
    struct stat status;
    Elf64_Ehdr header;
    static const uint8_t wanted[] = {ELFMAG0, ELFMAG1, ELFMAG2, ELFMAG3, ELFCLASS64, ELFDATA2LSB};
    if (fstat(out->fd, &status) != 0 || !S_ISREG(status.st_mode) ||
        (uint64_t)status.st_size < sizeof header || !read_at(out->fd, &header, sizeof header, 0) ||
        memcmp(header.e_ident, wanted, sizeof wanted) != 0) {
        elf_close(out);
        return 0;
    }
    out->size = (uint64_t)status.st_size;
    out->type = header.e_type;
    out->machine = header.e_machine;
    read_segments(out, &header);
    const int result = read_sections(out, &header);
    if (result != 1)
        elf_close(out);
    return result;
}

void elf_close(struct elf_file *elf) {
    if (elf->map)
        munmap((void *)elf->map, elf->size);
    if (elf->fd >= 0)
        close(elf->fd);
    free(elf->names);
    free(elf->sections);
    memset(elf, 0, sizeof *elf);
    elf->fd = -1;
}

int elf_map(struct elf_file *elf) {
    if (elf->map)
        return 1;
    void *const map = mmap(NULL, elf->size, PROT_READ, MAP_PRIVATE, elf->fd, 0);
    if (map == MAP_FAILED)
        return 0;
    elf->map = map;
    return 1;
}

const struct elf_section *elf_find(const struct elf_file *elf, const char *name) {
    for (uint32_t i = 0; i < elf->n_sections; i++) {
        if (elf->sections[i].size > 0 && strcmp(elf->sections[i].name, name) == 0)
            return &elf->sections[i];
    }
    return NULL;
}

/* Takes the raw bytes; on success, *out holds the inflated ones. */
static int inflate_section(const struct elf_bytes *raw, uint64_t limit, struct elf_bytes *out) {
    Elf64_Chdr header;
    if (raw->size < sizeof header)
        return 0;
    memcpy(&header, raw->data, sizeof header);
    if (header.ch_size == 0 || header.ch_size > limit)
        return 0;
    uint8_t *const data = malloc(header.ch_size + 1);
    if (!data)
        return 0;
    if (!elf_inflate(header.ch_type, raw->data + sizeof header, raw->size - sizeof header, data,
                     header.ch_size)) {
        free(data);
        return 0;
    }
    data[header.ch_size] = 0;
    *out = (struct elf_bytes){.data = data, .size = header.ch_size, .owned = data};
    return 1;
}

int elf_read(const struct elf_file *elf, const struct elf_section *section, uint64_t limit,
             struct elf_bytes *out) {
    struct elf_bytes raw = {.size = section->size};
    if (section->size == 0 || section->size > limit || section->size > SIZE_MAX - 1)
        return 0;
    if (elf->map) {
        raw.data = elf->map + section->offset;
    } else {
        uint8_t *const data = malloc(section->size + 1);
        if (!data)
            return 0;
        if (!read_at(elf->fd, data, section->size, section->offset)) {
            free(data);
            return 0;
        }
        data[section->size] = 0;
        raw.data = raw.owned = data;
    }
    if (!(section->flags & SHF_COMPRESSED)) {
        *out = raw;
        return 1;
    }
    const int result = inflate_section(&raw, limit, out);
    free(raw.owned);
    return result;
}

void elf_bytes_release(struct elf_bytes *bytes) {
    free(bytes->owned);
    memset(bytes, 0, sizeof *bytes);
}

static int hex_digit(char c) {
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    if (c >= 'A' && c <= 'F')
        return c - 'A' + 10;
    return -1;
}

int elf_build_id_is(const struct elf_file *elf, const char *hex) {
    if (strlen(hex) != 2 * elf->n_build_id)
        return 0;
    for (size_t i = 0; i < elf->n_build_id; i++) {
        const int high = hex_digit(hex[2 * i]), low = hex_digit(hex[2 * i + 1]);
        if (high < 0 || low < 0 || (high << 4 | low) != elf->build_id[i])
            return 0;
    }
    return 1;
}
