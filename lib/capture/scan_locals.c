/* Thread-local variables: where each thread has those of each image.
 *
 * The C library's vector of a thread (its control block points at it) has an address per image,
 * under a number that the loader gives the image and keeps in its own record of it. No interface
 * tells that number without the loader's lock, which a stopped thread may hold. So the place of the
 * number in the loader's records is found out once, at the start, by comparing them with what
 * dl_iterate_phdr says; later the records are read like any other memory. Where exactly one place
 * does not explain all images, or the vector does not lead to this very file's variable, nothing is
 * known, and thread-local roots have no names.
 *
 * Does not know namespaces of dlmopen. */
#include <link.h>
#include <string.h>

#include "capture/raw.h"
#include "capture/scan_internal.h"

enum {
    RECORD_MIN = sizeof(struct link_map), /* what the loader tells of a record */
    RECORD_MAX = 1536,                    /* as much as is looked at */
    RECORDS_MAX = 100000,
    SAMPLE_MAX = 64,
    VECTOR_AT = 8,     /* of the vector's address in glibc's control block on x86-64 */
    VECTOR_ENTRY = 16, /* bytes */
    PER_THREAD_MAX = 1024
};

static struct {
    const struct r_debug *debug;
    uint32_t place; /* of the number in a record; 0: unknown */
    int has_looked;
} loader;

/* Not used; its place is known without the vector. */
static __thread volatile char own_variable;

/* An image, as dl_iterate_phdr tells it. */
struct told {
    uint64_t dynamic; /* address of its dynamic section: says which record is its */
    uint64_t number, start, bytes;
};

struct sample {
    struct told all[SAMPLE_MAX];
    unsigned n;
};

static int see_image(struct dl_phdr_info *info, size_t size, void *context) {
    struct sample *const s = context;
    struct told *const t = &s->all[s->n];
    if (s->n == SAMPLE_MAX || size < sizeof *info)
        return 1;
    *t = (struct told){.number = info->dlpi_tls_modid, .start = (uintptr_t)info->dlpi_tls_data};
    for (unsigned i = 0; i < info->dlpi_phnum; i++) {
        if (info->dlpi_phdr[i].p_type == PT_DYNAMIC)
            t->dynamic = info->dlpi_addr + info->dlpi_phdr[i].p_vaddr;
        if (info->dlpi_phdr[i].p_type == PT_TLS)
            t->bytes = info->dlpi_phdr[i].p_memsz;
    }
    s->n += t->dynamic != 0;
    return 0;
}

/* Whole words that can be read, up to n. */
static unsigned copy_in(uint64_t address, uint64_t *to, unsigned n) {
    const struct iovec local = {to, n * sizeof *to},
                       remote = {(void *)(uintptr_t)address, n * sizeof *to};
    const long got =
        raw_call(SYS_process_vm_readv, raw_pid(), (long)&local, 1, (long)&remote, 1, 0);
    return got > 0 ? (unsigned)got / 8 : 0;
}

static const struct told *told_of(const struct sample *s, uint64_t dynamic) {
    for (unsigned i = 0; i < s->n; i++)
        if (s->all[i].dynamic == dynamic)
            return &s->all[i];
    return NULL;
}

/* Whether this thread's vector has this file's image under its number. */
static int is_vector_known(const struct sample *s) {
    const uint64_t own = (uintptr_t)&own_variable;
    const uint64_t vector = *(const uint64_t *)((uintptr_t)__builtin_thread_pointer() + VECTOR_AT);
    for (unsigned i = 0; i < s->n; i++) {
        const struct told *const t = &s->all[i];
        uint64_t start;
        if (t->number && t->start && own - t->start < t->bytes)
            return copy_in(vector + t->number * VECTOR_ENTRY, &start, 1) == 1 && start == t->start;
    }
    return 0;
}

void scan_locals_init(void) {
    static struct sample sample; /* too large for a stack that is not ours */
    uint64_t differs[RECORD_MAX / 8] = {0}, record[RECORD_MAX / 8];
    unsigned n = 0, n_places = 0;
    if (loader.has_looked)
        return;
    loader.has_looked = 1;
    dl_iterate_phdr(see_image, &sample);
    loader.debug = &_r_debug;
    if (!is_vector_known(&sample))
        return;
    for (const struct link_map *m = _r_debug.r_map; m; m = m->l_next) {
        const struct told *const t = told_of(&sample, (uintptr_t)m->l_ld);
        /* The last record may end with its page. */
        const unsigned n_read = t ? copy_in((uintptr_t)m, record, RECORD_MAX / 8) : 0;
        n += t && t->number != 0;
        for (unsigned i = RECORD_MIN / 8; i < n_read; i++)
            differs[i] |= record[i] ^ t->number;
    }
    uint32_t place = 0;
    for (unsigned i = RECORD_MIN / 8; i < RECORD_MAX / 8; i++)
        if (!differs[i]) {
            place = i * 8;
            n_places++;
        }
    if (n >= 2 && n_places == 1)
        loader.place = place;
}

/* A word of the loader's, or of a thread's control block: not of a file that others may change. */
static int read_word(const struct scan *s, uint64_t address, uint64_t *out) {
    const struct scan_segment *const g = scan_memory_segment(s, address);
    if (!g || g->is_file == 2 || address % 8 != 0 || g->end - address < 8)
        return -1;
    *out = *(const uint64_t *)address;
    return 0;
}

static void find_numbers(struct scan *s) {
    uint64_t record, next, dynamic, number;
    if (!loader.place ||
        read_word(s, (uintptr_t)loader.debug + offsetof(struct r_debug, r_map), &record) < 0)
        return;
    for (unsigned n = 0; record && n < RECORDS_MAX; n++, record = next) {
        if (read_word(s, record + offsetof(struct link_map, l_next), &next) < 0 ||
            read_word(s, record + offsetof(struct link_map, l_ld), &dynamic) < 0 ||
            read_word(s, record + loader.place, &number) < 0)
            return;
        struct scan_image *const m = scan_images_find(s, dynamic);
        if (m && m->local_bytes && number < (1u << 24))
            m->local_number = (uint32_t)number;
    }
}

static int add_row(struct scan *s, struct wire_tls *rows, uint32_t n, uint32_t thread,
                   uint64_t vector, const struct scan_image *m) {
    const struct scan_thread *const t = (const struct scan_thread *)(void *)s->layout.data;
    uint64_t start;
    if (read_word(s, vector + (uint64_t)m->local_number * VECTOR_ENTRY, &start) < 0)
        return 0;
    const struct scan_segment *const g = scan_memory_segment(s, start);
    if (!g || g->is_file || g->end - start < m->local_bytes)
        return 0;
    uint32_t i = n;
    for (; i > 0 && rows[i - 1].address > start; i--)
        rows[i] = rows[i - 1];
    rows[i] = (struct wire_tls){
        .address = start, .size = m->local_bytes, .thread = thread, .module = m->module};
    /* Of an image that was loaded later: not with the thread's other memory. */
    if (start < t[thread - 1].local_start || start >= t[thread - 1].local_end) {
        struct scan_local *const l = scan_array_more(&s->locals, sizeof *l);
        if (l)
            *l = (struct scan_local){start, start + m->local_bytes, thread};
    }
    return 1;
}

static void find_thread(struct scan *s, uint32_t thread) {
    static struct wire_tls rows[PER_THREAD_MAX];
    const struct scan_thread *const t =
        (const struct scan_thread *)(void *)s->layout.data + (thread - 1);
    const struct scan_image *const images = (const void *)s->images.data;
    const size_t n_images = s->images.length / sizeof *images;
    uint64_t vector, capacity;
    uint32_t n = 0;
    /* Two words before its first entry the vector has the number of its entries. */
    if (!t->block || read_word(s, t->block + VECTOR_AT, &vector) < 0 ||
        read_word(s, vector - VECTOR_ENTRY, &capacity) < 0)
        return;
    for (size_t i = 0; i < n_images && n < PER_THREAD_MAX; i++)
        if (images[i].local_number && images[i].local_number <= capacity)
            n += (uint32_t)add_row(s, rows, n, thread, vector, &images[i]);
    scan_put(s, WIRE_TLS, n, rows, n * sizeof *rows);
}

static void find_all(struct scan_worker *w, const void *context) {
    (void)context;
    find_numbers(w->scan);
    for (uint32_t i = 0; i < w->scan->n_threads; i++)
        find_thread(w->scan, i + 1);
}

void scan_locals(struct scan_worker *w) {
    scan_memory_guard(w, find_all, NULL);
}
