/* Loaded images: where their code and data are, which values are the start of a function, and which
 * look like a C++ virtual table.
 *
 * What is read here is the images' own memory, mapped from their files. A start of a function is
 * what the sorted table of .eh_frame_hdr has as one. Functions without unwind information are not
 * known. */
#include <elf.h>
#include <heapsnap/snapdef.h>
#include <string.h>

#include "capture/raw.h"
#include "capture/scan_internal.h"
#include "capture/spans.h"
#include "capture/vtable.h"

static const struct scan_image *image_of(const struct scan *s, uint32_t i) {
    return (const struct scan_image *)(const void *)s->images.data + i;
}

static int add_range(struct scan *s, uint64_t start, uint64_t end, uint32_t image, int is_code) {
    if (start >= end)
        return 0;
    struct scan_range *const r = scan_array_more(&s->ranges, sizeof *r);
    if (!r)
        return -1;
    *r = (struct scan_range){start, end, image, (uint32_t)is_code};
    return 0;
}

static int add_global(struct scan *s, uint64_t start, uint64_t end, uint32_t image) {
    if (start >= end)
        return 0;
    struct scan_range *const r = scan_array_more(&s->globals, sizeof *r);
    if (!r)
        return -1;
    *r = (struct scan_range){start, end, image, 0};
    return 0;
}

/* The table that the loader fills as functions are first called. */
static void find_slots(struct scan_image *m, uint64_t bias, const Elf64_Phdr *dynamic) {
    const Elf64_Dyn *const d = (const void *)(bias + dynamic->p_vaddr);
    uint64_t slots = 0, bytes = 0;
    for (uint64_t i = 0; i < dynamic->p_memsz / sizeof *d && d[i].d_tag != DT_NULL; i++) {
        if (d[i].d_tag == DT_PLTGOT)
            slots = d[i].d_un.d_ptr;
        if (d[i].d_tag == DT_PLTRELSZ)
            bytes = d[i].d_un.d_val;
    }
    if (slots && bytes) {
        /* glibc has replaced offsets by addresses, others have not. */
        m->slots_start = slots < m->start ? slots + bias : slots;
        m->slots_end = m->slots_start + (3 + bytes / sizeof(Elf64_Rela)) * 8;
    }
}

void scan_add_image(struct scan *s, uint32_t module, uint64_t start, uint64_t end, uint64_t bias,
                    const Elf64_Phdr *segments, unsigned n_segments) {
    const uint32_t number = (uint32_t)(s->images.length / sizeof(struct scan_image));
    struct scan_image *const m = scan_array_more(&s->images, sizeof *m);
    if (!m) {
        s->table.has_failed = 1;
        return;
    }
    const uint64_t own = (uint64_t)(uintptr_t)&scan_images_is_slot;
    *m = (struct scan_image){
        .start = start, .end = end, .is_own = start <= own && own < end, .module = module};
    uint64_t relro_start = 0, relro_end = 0;
    for (unsigned i = 0; i < n_segments; i++) {
        const Elf64_Phdr *const p = &segments[i];
        const uint64_t at = bias + p->p_vaddr;
        if (p->p_type == PT_GNU_EH_FRAME)
            m->unwind_table = (const unsigned char *)at;
        if (p->p_type == PT_TLS && !m->is_own)
            m->local_bytes = p->p_memsz;
        if (p->p_type == PT_GNU_RELRO) {
            relro_start = at;
            relro_end = (at + p->p_memsz) & ~(uint64_t)4095;
        }
    }
    int failed = 0;
    for (unsigned i = 0; i < n_segments; i++) {
        const Elf64_Phdr *const p = &segments[i];
        const uint64_t at = bias + p->p_vaddr, at_end = at + p->p_memsz;
        if (p->p_type != PT_LOAD || !(p->p_flags & PF_R) || at < start || at_end > end)
            continue;
        failed |= add_range(s, at, at_end, number, (p->p_flags & PF_X) != 0);
        if (!(p->p_flags & PF_W) || m->is_own)
            continue;
        if (relro_end > at && relro_start < at_end) {
            failed |= add_global(s, at, relro_start, number);
            failed |= add_global(s, relro_end, at_end, number);
        } else
            failed |= add_global(s, at, at_end, number);
    }
    for (unsigned i = 0; i < n_segments; i++)
        if (segments[i].p_type == PT_DYNAMIC && bias + segments[i].p_vaddr >= start &&
            bias + segments[i].p_vaddr + segments[i].p_memsz <= end)
            find_slots(m, bias, &segments[i]);
    scan_table_mark_image(&s->table, start, end);
    if (failed)
        s->table.has_failed = 1;
}

static const struct scan_image *image_at(const struct scan *s, uint64_t address) {
    const size_t n = s->images.length / sizeof(struct scan_image);
    size_t low = 0, high = n;
    while (low < high) {
        const size_t middle = (low + high) / 2;
        if (image_of(s, (uint32_t)middle)->end <= address)
            low = middle + 1;
        else
            high = middle;
    }
    return low < n && image_of(s, (uint32_t)low)->start <= address ? image_of(s, (uint32_t)low)
                                                                   : NULL;
}

struct scan_image *scan_images_find(const struct scan *s, uint64_t address) {
    return (struct scan_image *)image_at(s, address);
}

int scan_images_is_own(const struct scan *s, uint64_t address) {
    const struct scan_image *const m = image_at(s, address);
    return m && m->is_own;
}

int scan_images_is_slot(const struct scan *s, uint64_t address) {
    const struct scan_image *const m = image_at(s, address);
    return m && m->slots_start <= address && address < m->slots_end;
}

static const struct scan_range *range_at(const struct scan *s, uint64_t address) {
    const struct scan_range *const all = (const void *)s->ranges.data;
    const size_t n = s->ranges.length / sizeof *all;
    const size_t i = spans_ending_after(all, sizeof *all, n, address);
    return i < n && all[i].start <= address ? &all[i] : NULL;
}

/* --- functions --- */

static unsigned encoded_size(unsigned encoding) {
    switch (encoding & 0x0f) {
    case 0x03:
    case 0x0b: return 4;
    case 0x04:
    case 0x0c: return 8;
    default: return 0;
    }
}

/* The sorted table of an image's .eh_frame_hdr. */
static void look_at_table(const struct scan *s, struct scan_image *m) {
    const unsigned char *const h = m->unwind_table;
    m->has_looked = 1;
    const struct scan_range *const r = h ? range_at(s, (uint64_t)(uintptr_t)h) : NULL;
    if (!r || r->end - (uint64_t)(uintptr_t)h < 16 || h[0] != 1 || h[2] != 0x03 || h[3] != 0x3b)
        return;
    const unsigned skip = encoded_size(h[1]);
    uint32_t n;
    memcpy(&n, h + 4 + skip, sizeof n);
    if (skip == 0 || n > (r->end - (uint64_t)(uintptr_t)h - 8 - skip) / 8)
        return;
    m->starts = (const void *)(h + 8 + skip);
    m->n_starts = n;
}

static int is_start(const struct scan_image *m, uint64_t value) {
    const int64_t wanted = (int64_t)(value - (uint64_t)(uintptr_t)m->unwind_table);
    uint32_t low = 0, high = m->n_starts;
    while (low < high) {
        const uint32_t middle = low + (high - low) / 2;
        if (m->starts[2 * (size_t)middle] < wanted)
            low = middle + 1;
        else
            high = middle;
    }
    return low < m->n_starts && m->starts[2 * (size_t)low] == wanted;
}

static uint64_t *cached(uint64_t cache[1 << SCAN_CACHE_BITS], uint64_t value) {
    return &cache[value * UINT64_C(0x9E3779B97F4A7C15) >> (64 - SCAN_CACHE_BITS)];
}

int scan_images_is_function(struct scan_worker *w, uint64_t value) {
    uint64_t *const known = cached(w->functions, value);
    if (*known >> 2 == value)
        return *known & 1;
    const struct scan_range *const r = range_at(w->scan, value);
    const struct scan_image *const m = r && r->is_code ? image_of(w->scan, r->image) : NULL;
    const int answer = m && !m->is_own && is_start(m, value);
    *known = value << 2 | (uint64_t)answer;
    return answer;
}

/* --- virtual tables --- */

static uint64_t end_of_range(const void *scan, uint64_t address, int is_data) {
    const struct scan_range *const r = range_at(scan, address);
    return r && !(is_data && r->is_code) ? r->end : 0;
}

static struct vtable_images images_of(const struct scan *s) {
    return (struct vtable_images){.context = s, .end = end_of_range};
}

int scan_images_is_vtable(struct scan_worker *w, uint64_t value) {
    uint64_t *const known = cached(w->vtables, value);
    if (*known >> 2 == value)
        return *known & 1;
    const struct vtable_images images = images_of(w->scan);
    const int answer = vtable_is(&images, value);
    *known = value << 2 | (uint64_t)answer;
    return answer;
}

uint32_t scan_images_vtable_id(struct scan *s, uint64_t vtable, uint32_t *n_new) {
    static const char zeros[8];
    const struct vtable_images images = images_of(s);
    uint32_t first = 0;
    /* Its record, that of its type_info's table, and that one's: they end in themselves. */
    for (unsigned depth = 0; depth < 3 && (depth == 0 || vtable_is(&images, vtable)); depth++) {
        int is_new = 0;
        const uint32_t id = scan_map_id(&s->vtable_ids, vtable, &is_new);
        if (depth == 0)
            first = id;
        if (!is_new)
            break;
        struct wire_vtable record;
        const char *const name = vtable_record(&images, vtable, &record);
        const size_t length = record.name_len;
        char *const to = scan_array_more(&s->scratch, sizeof record + ((length + 7) & ~(size_t)7));
        if (!to)
            break;
        memcpy(to, &record, sizeof record);
        memcpy(to + sizeof record, name, length);
        memcpy(to + sizeof record + length, zeros, -length & 7);
        ++*n_new;
        vtable = record.type_info_vtable;
    }
    return first;
}

/* --- ids --- */

static struct entry_of_map *map_place(const struct scan_map *m, uint64_t key) {
    size_t i = (size_t)(key * UINT64_C(0x9E3779B97F4A7C15) >> 20) & (m->size - 1);
    while (m->entries[i].value && m->entries[i].key != key)
        i = (i + 1) & (m->size - 1);
    return &m->entries[i];
}

uint32_t scan_map_id(struct scan_map *m, uint64_t key, int *is_new) {
    if ((size_t)m->n * 2 >= m->size) {
        struct scan_map grown = {.size = m->size ? m->size * 2 : 4096, .n = m->n};
        grown.entries = raw_map(grown.size * sizeof *grown.entries, 0x22 /* private, anonymous */);
        if (!grown.entries)
            return 0;
        for (size_t i = 0; i < m->size; i++)
            if (m->entries[i].value)
                *map_place(&grown, m->entries[i].key) = m->entries[i];
        if (m->entries)
            raw_unmap(m->entries, m->size * sizeof *m->entries);
        *m = grown;
    }
    struct entry_of_map *const e = map_place(m, key);
    if (!e->value) {
        *e = (struct entry_of_map){.key = key, .value = ++m->n};
        *is_new = 1;
    }
    return e->value;
}

/* Before the workers start: they only read. */
void scan_images_look(struct scan *s) {
    const size_t n = s->images.length / sizeof(struct scan_image);
    for (size_t i = 0; i < n; i++)
        look_at_table(s, (struct scan_image *)(void *)s->images.data + i);
}
