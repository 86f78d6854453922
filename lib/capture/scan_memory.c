/* Which memory is read, and what if it is not there after all.
 *
 * The kernel's list of mappings says what can be read; device memory and what the kernel maps for
 * itself is never touched. Memory that was never written to holds no references: in large ranges
 * the kernel's page map says which pages are there, and of files only those pages are read that the
 * process has changed. What remains (a page behind the end of a file that was cut, a guard page
 * that no list shows) ends in a signal, whose handler takes the reader back to where it began; it
 * tries again page by page. Handlers belong to this process only, even where it shares memory. */
#include <heapsnap/snapdef.h>
#include <signal.h>
#include <sys/mman.h>

#include "capture/raw.h"
#include "capture/rawmem.h"
#include "capture/scan_internal.h"
#include "capture/spans.h"

#define PAGE UINT64_C(4096)
#define LARGE ((uint64_t)SCAN_SHARD_BYTES / 2)

/* Bits of /proc/self/pagemap */
#define MAP_PRESENT (UINT64_C(1) << 63)
#define MAP_SWAPPED (UINT64_C(1) << 62)
#define MAP_OF_FILE (UINT64_C(1) << 61)
#define MAP_GUARD (UINT64_C(1) << 58)

static const struct scan_segment *segments(const struct scan *s, size_t *n) {
    *n = s->segments.length / sizeof(struct scan_segment);
    return (const void *)s->segments.data;
}

void scan_add_mapping(struct scan *s, const struct scan_mapping *m) {
    /* Names of the kernel, and memory of devices: reading may block, or do things. */
    if (!(m->protection & 1) || m->kind == SNAP_REGN_DEVICE || m->kind == SNAP_REGN_SPECIAL)
        return;
    struct scan_segment *const to = scan_array_more(&s->segments, sizeof *to);
    if (!to) {
        s->table.has_failed = 1;
        return;
    }
    *to = (struct scan_segment){.start = m->start,
                                .end = m->end,
                                .is_file = !m->is_file         ? 0
                                           : m->protection & 8 ? 2
                                                               : 1,
                                .kind = m->kind,
                                .is_known = m->is_known,
                                .is_writable = (m->protection & 2) != 0};
}

/* First segment that ends after an address. */
static size_t segment_after(const struct scan *s, uint64_t address, size_t hint) {
    size_t n;
    const struct scan_segment *const all = segments(s, &n);
    if (hint < n && all[hint].end > address && (hint == 0 || all[hint - 1].end <= address))
        return hint;
    return spans_ending_after(all, sizeof *all, n, address);
}

int scan_memory_is_plain(const struct scan *s, uint64_t start, uint64_t end, size_t *hint) {
    size_t n;
    const struct scan_segment *const all = segments(s, &n);
    size_t i = segment_after(s, start, *hint);
    *hint = i;
    for (; i < n && all[i].start <= start && !all[i].is_file; i++) {
        if (end <= all[i].end)
            return 1;
        start = all[i].end;
    }
    return 0;
}

const struct scan_segment *scan_memory_segment(const struct scan *s, uint64_t address) {
    size_t n;
    const struct scan_segment *const all = segments(s, &n);
    const size_t i = segment_after(s, address, 0);
    return i < n && all[i].start <= address ? &all[i] : NULL;
}

typedef void part_fn(struct scan_worker *w, void *context, uint64_t start, uint64_t end);

/* Whether the page at index i of what was asked for holds something to be read. */
static int is_there(const struct scan_segment *g, const uint64_t *map, const unsigned char *core,
                    unsigned i) {
    if (g->is_file == 2)
        return core[i] & 1;
    if (map[i] & MAP_GUARD)
        return 0;
    if (map[i] & MAP_SWAPPED)
        return 1;
    return (map[i] & MAP_PRESENT) && !(g->is_file && (map[i] & MAP_OF_FILE));
}

/* Calls fn for runs of pages that are there. */
static void present_parts(struct scan_worker *w, const struct scan_segment *g, uint64_t start,
                          uint64_t end, part_fn *fn, void *context) {
    enum { PAGES = 512 };
    uint64_t map[PAGES];
    unsigned char core[PAGES];
    for (uint64_t at = start & ~(PAGE - 1); at < end; at += PAGES * PAGE) {
        unsigned n = PAGES;
        if (end - at < PAGES * PAGE)
            n = (unsigned)((end - at + PAGE - 1) / PAGE);
        const int is_known =
            g->is_file == 2 ? raw_call3(SYS_mincore, (long)at, (long)(n * PAGE), (long)core) == 0
                            : raw_call(SYS_pread64, w->pagemap, (long)map, n * 8,
                                       (long)(at / PAGE * 8), 0, 0) == n * 8;
        for (unsigned i = 0; i < n;) {
            unsigned k = i;
            while (k < n && (!is_known || is_there(g, map, core, k)))
                k++;
            if (k > i) {
                const uint64_t from = at + i * PAGE, to = at + k * PAGE;
                fn(w, context, from < start ? start : from, to < end ? to : end);
            }
            i = k + 1;
        }
    }
}

/* Page by page, each tried first. */
static void careful_parts(struct scan_worker *w, uint64_t start, uint64_t end, part_fn *fn,
                          void *context) {
    for (uint64_t at = start; at < end;) {
        const uint64_t next = (at & ~(PAGE - 1)) + PAGE, to = next < end ? next : end;
        if (rawmem_readable(at & ~(PAGE - 1)))
            fn(w, context, at, to);
        else
            w->found->unread_bytes += to - at;
        at = to;
    }
}

struct careful {
    part_fn *fn;
    void *context;
};

static void careful_part(struct scan_worker *w, void *context, uint64_t start, uint64_t end) {
    const struct careful *const c = context;
    careful_parts(w, start, end, c->fn, c->context);
}

void scan_memory_parts(struct scan_worker *w, uint64_t start, uint64_t end, part_fn *fn,
                       void *context) {
    size_t n;
    const struct scan_segment *const all = segments(w->scan, &n);
    struct careful careful = {fn, context};
    if (w->is_careful) {
        fn = careful_part;
        context = &careful;
    }
    for (size_t i = segment_after(w->scan, start, 0); start < end; i++) {
        const uint64_t from = i < n && all[i].start < end ? all[i].start : end;
        if (from > start) {
            w->found->unread_bytes += from - start;
            start = from;
        }
        if (start >= end)
            return;
        const uint64_t to = all[i].end < end ? all[i].end : end;
        if (all[i].is_file || to - start >= LARGE)
            present_parts(w, &all[i], start, to, fn, context);
        else
            fn(w, context, start, to);
        start = to;
    }
}

int scan_memory_open(struct scan_worker *w) {
    w->pagemap = raw_open("/proc/self/pagemap", O_RDONLY, 0);
    return w->pagemap;
}

void scan_memory_close(struct scan_worker *w) {
    if (w->pagemap >= 0)
        raw_close(w->pagemap);
    w->pagemap = -1;
}

/* --- signals --- */

static struct scan *catching;

__attribute__((noinline)) int
scan_memory_guard(struct scan_worker *w, void (*fn)(struct scan_worker *w, const void *context),
                  const void *context) {
    if (__builtin_setjmp(w->jump))
        return -1;
    w->is_armed = 1;
    fn(w, context);
    w->is_armed = 0;
    return 0;
}

struct kernel_action {
    void *handler;
    unsigned long flags;
    void *restorer;
    uint64_t mask;
};

static void set_action(int signal, void *handler) {
    const struct kernel_action action = {.handler = handler,
                                         .flags = SA_NODEFER | 0x04000000 /* SA_RESTORER */};
    raw_call(SYS_rt_sigaction, signal, (long)&action, 0, 8, 0, 0);
}

/* Who reads is known by its id: thread-local storage is the target's. */
static void on_fault(int signal) {
    struct scan *const s = catching;
    const int tid = raw_tid();
    for (uint32_t i = 0; s && i < SCAN_WORKERS_MAX; i++) {
        struct scan_worker *const w = s->workers[i];
        if (w && atomic_load(&w->tid) == tid && w->is_armed) {
            w->is_armed = 0;
            __builtin_longjmp(w->jump, 1);
        }
    }
    set_action(signal, NULL);
}

void scan_memory_catch(struct scan *s) {
    catching = s;
    void *handler;
    void (*const function)(int) = on_fault;
    __builtin_memcpy(&handler, &function, sizeof handler);
    set_action(SIGSEGV, handler);
    set_action(SIGBUS, handler);
    const uint64_t both = UINT64_C(1) << (SIGSEGV - 1) | UINT64_C(1) << (SIGBUS - 1);
    raw_call(SYS_rt_sigprocmask, 1 /* SIG_UNBLOCK */, (long)&both, 0, 8, 0, 0);
}
