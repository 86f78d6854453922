/* From the capture stream to a file: checks records, gives rows their ids, names frames, and labels
 * blocks by the function that allocated them.
 *
 * Invariant: the stream comes from a process that may die at any byte or have been damaged by the
 * program it lived in, so every size, count and reference is checked before use; memory is bounded
 * by the stacks and modules, never by the blocks (but for a spooled stream, which is kept whole so
 * that the target can go on). Reads no memory of the target and does not know the file format. */
#include "model/ingest.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <heapsnap/writer.h>

#include "base/err.h"
#include "base/mem.h"
#include "model/wire.h"
#include "symbol/noise.h"
#include "symbol/symbol.h"

#define READ_SIZE ((size_t)1 << 20)
#define PATH_SIZE_MAX 65536u
#define META_SIZE_MAX (16u << 20)
#define NAMES_SIZE_MAX (1u << 30)
#define BATCH_ROWS 65536u

/* --- reading --- */

struct input {
    int fd;
    char *buffer; /* of READ_SIZE; or the whole rest of a spooled stream */
    size_t size, start, end;
    int is_spooled;
};

static int input_fill(struct input *in, snap_error *err) {
    if (in->is_spooled)
        return err_set(err, SNAP_E_CORRUPT, "the capture stream ends early");
    ssize_t n;
    do
        n = read(in->fd, in->buffer, READ_SIZE);
    while (n < 0 && errno == EINTR);
    if (n < 0)
        return err_set(err, SNAP_E_IO, "cannot read the capture stream: %s", strerror(errno));
    if (n == 0)
        return err_set(err, SNAP_E_CORRUPT, "the copy of the process was killed");
    in->start = 0;
    in->end = (size_t)n;
    return 0;
}

static int input_read(struct input *in, void *out, size_t size, snap_error *err) {
    char *to = out;
    while (size > 0) {
        if (in->start == in->end)
            SNAP_TRY(input_fill(in, err));
        const size_t have = in->end - in->start;
        const size_t part = have < size ? have : size;
        memcpy(to, in->buffer + in->start, part);
        in->start += part;
        to += part;
        size -= part;
    }
    return 0;
}

/* Takes the rest of the stream into memory. */
static int input_spool(struct input *in, const struct ingest_options *options, snap_error *err) {
    memmove(in->buffer, in->buffer + in->start, in->end - in->start);
    in->end -= in->start;
    in->start = 0;
    for (;;) {
        if (mem_grow(&in->buffer, &in->size, in->end + READ_SIZE, 1) < 0)
            return err_set(err, SNAP_E_NOMEM, "no memory to keep the capture stream");
        const ssize_t n = read(in->fd, in->buffer + in->end, in->size - in->end);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return err_set(err, SNAP_E_IO, "cannot read the capture stream: %s", strerror(errno));
        if (n == 0)
            break;
        in->end += (size_t)n;
        if (options->progress)
            options->progress(options->context);
    }
    in->is_spooled = 1;
    return 0;
}

/* A section in memory, taken apart record by record. */
struct records {
    char *data;
    size_t size, at;
    uint32_t n;
};

static int broken(snap_error *err, const char *what) {
    return err_set(err, SNAP_E_CORRUPT, "the capture stream is damaged: %s", what);
}

/* Borrows the next `size` bytes, NULL if there are fewer. */
static const void *records_take(struct records *r, size_t size) {
    if (size > r->size - r->at)
        return NULL;
    const void *const p = r->data + r->at;
    r->at += size;
    return p;
}

static void records_pad(struct records *r) {
    const size_t padding = -r->at & 7;
    r->at = padding > r->size - r->at ? r->size : r->at + padding;
}

/* --- the state of one run --- */

struct module {
    uint64_t start, end, bias;
    char *path, *build_id; /* build_id: hexadecimal, NULL if none */
    uint64_t row;
};

struct frame {
    uint64_t pc;
    uint32_t is_exact;
    uint32_t module;      /* index + 1 */
    const char *function; /* outside of allocators, for labels; NULL: allocator or unknown */
    int has_symbol;
    uint32_t type; /* row, once used */
};

struct ingest {
    const struct ingest_options *options;
    struct input in;
    struct wire_target target;
    char *path, *partial; /* partial: written under this name first; NULL: under its own */
    snap_writer *writer;
    uint64_t pid, sequence;

    struct module *modules;
    uint32_t n_modules;
    struct wire_stack *stacks; /* by id - 1 */
    uint32_t *stack_frames;    /* by id - 1: index + 1 of the frame */
    uint32_t *stack_types;     /* by id - 1: type row + 1, once looked up */
    uint32_t n_stacks;
    struct frame *frames;
    uint32_t n_frames;
    struct symbolizer *symbolizer;

    uint32_t *types_of_string; /* by string id */
    size_t types_capacity;

    uint64_t *columns[SNAP_COLUMNS_MAX]; /* BATCH_ROWS each, as needed */
    size_t n_batch;
    uint64_t last_address;
    uint64_t n_blocks, block_bytes;
};

static void progress(const struct ingest *g) {
    if (g->options->progress)
        g->options->progress(g->options->context);
}

static int no_memory(snap_error *err) {
    return err_set(err, SNAP_E_NOMEM, "no memory to write the snapshot");
}

static int need_column(struct ingest *g, unsigned column, snap_error *err) {
    if (!g->columns[column])
        g->columns[column] = mem_alloc(BATCH_ROWS, sizeof(uint64_t));
    return g->columns[column] ? 0 : no_memory(err);
}

/* --- where the file goes, and what it is about --- */

static int read_section(struct ingest *g, uint32_t kind, size_t max, struct records *out,
                        snap_error *err) {
    struct wire_section section;
    SNAP_TRY(input_read(&g->in, &section, sizeof section, err));
    if (section.kind != kind)
        return broken(err, "an unexpected section");
    if (section.bytes > max)
        return broken(err, "a section over its limit");
    *out = (struct records){.size = section.bytes, .n = section.n};
    out->data = mem_alloc(section.bytes + 1, 1);
    if (!out->data)
        return no_memory(err);
    const int result = input_read(&g->in, out->data, section.bytes, err);
    if (result < 0) {
        free(out->data);
        out->data = NULL;
    } else
        progress(g);
    return result;
}

static int read_hello(struct ingest *g, uint32_t *out_flags, snap_error *err) {
    struct records r;
    SNAP_TRY(read_section(g, WIRE_HELLO, sizeof(struct wire_hello), &r, err));
    const struct wire_hello *const hello = records_take(&r, sizeof *hello);
    const int is_good = hello && hello->magic == WIRE_MAGIC && hello->version == WIRE_VERSION;
    *out_flags = hello ? hello->flags : 0;
    free(r.data);
    return is_good ? 0 : broken(err, "not a stream of this version");
}

static int read_target(struct ingest *g, snap_error *err) {
    struct records r;
    SNAP_TRY(read_section(g, WIRE_TARGET, PATH_SIZE_MAX, &r, err));
    const struct wire_target *const t = records_take(&r, sizeof *t);
    const char *const path = t ? records_take(&r, t->path_len) : NULL;
    int result = 0;
    if (!path || t->path_len == 0)
        result = broken(err, "no path");
    else {
        g->target = *t;
        g->path = strndup(path, t->path_len);
        if (!g->path)
            result = no_memory(err);
    }
    free(r.data);
    return result;
}

/* "out.snap" -> "out.PID.SEQUENCE.snap", then "out.PID.SEQUENCE-2.snap", ... */
static char *unique_path(const struct ingest *g, unsigned attempt) {
    if (attempt == 0)
        return strdup(g->path);
    const char *const slash = strrchr(g->path, '/');
    const char *const name = slash ? slash + 1 : g->path;
    const char *dot = strrchr(name, '.');
    if (!dot || dot == name)
        dot = name + strlen(name);
    char again[16] = "";
    if (attempt > 1)
        snprintf(again, sizeof again, "-%u", attempt);
    char *path;
    if (asprintf(&path, "%.*s.%u.%u%s%s", (int)(dot - g->path), g->path, g->target.pid,
                 g->target.sequence, again, dot) < 0)
        return NULL;
    return path;
}

/* A name that may have to change is found only when the file is complete: until then it is written
 * under a hidden one, which cannot be taken. */
static int open_writer(struct ingest *g, snap_error *err) {
    const snap_writer_options options = {.struct_size = sizeof options,
                                         .overwrite = (g->target.flags & WIRE_OVERWRITE) != 0};
    const char *path = g->path;
    if ((g->target.flags & WIRE_UNIQUE) && !options.overwrite) {
        const char *const slash = strrchr(g->path, '/');
        const int directory = slash ? (int)(slash + 1 - g->path) : 0;
        if (asprintf(&g->partial, "%.*s.heapsnap-%u.%u.%ld", directory, g->path, g->target.pid,
                     g->target.sequence, (long)getpid()) < 0) {
            g->partial = NULL;
            return no_memory(err);
        }
        path = g->partial;
    }
    /* NOLINTNEXTLINE(clang-analyzer-unix.Malloc): g->path is freed with the rest of g */
    return snap_writer_open_file(&g->writer, path, &options, err);
}

static int write_error(snap_error *err, const char *path, int error) {
    return err_set(err, SNAP_E_IO, "cannot write '%s': %s", path, strerror(error));
}

/* Moves the complete file to the first name that is free. */
static int name_file(struct ingest *g, snap_error *err) {
    enum { ATTEMPTS = 1000 };
    for (unsigned attempt = 0; g->partial && attempt < ATTEMPTS; attempt++) {
        char *const path = unique_path(g, attempt);
        if (!path)
            return no_memory(err);
        int failed = renameat2(AT_FDCWD, g->partial, AT_FDCWD, path, RENAME_NOREPLACE);
        if (failed && (errno == EINVAL || errno == ENOSYS)) {
            failed = link(g->partial, path);
            if (!failed)
                unlink(g->partial);
        }
        if (failed && (errno == EPERM || errno == ENOTSUP || errno == ENOSYS)) {
            failed = access(path, F_OK) == 0;
            errno = EEXIST;
            if (!failed)
                failed = rename(g->partial, path);
        }
        if (failed && errno == EEXIST) {
            free(path);
            continue;
        }
        const int error = errno;
        free(g->path);
        g->path = path;
        if (failed)
            return write_error(err, g->path, error);
        free(g->partial);
        g->partial = NULL;
    }
    return g->partial ? write_error(err, g->path, EEXIST) : 0;
}

/* Arguments, each ended by NUL, as one line that a shell would take apart again. */
static char *quote_command(const char *arguments, size_t size) {
    static const char plain[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
                                "_-+=./:,@%^";
    char *const out = mem_alloc(size * 4 + 4, 1);
    if (!out)
        return NULL;
    char *to = out;
    /* A program that writes its title over its arguments fills the rest with NUL. */
    while (size > 1 && arguments[size - 1] == '\0' && arguments[size - 2] == '\0')
        size--;
    for (size_t at = 0; at < size;) {
        const size_t length = strnlen(arguments + at, size - at);
        const char *const word = arguments + at;
        int is_plain = length > 0;
        for (size_t i = 0; i < length; i++)
            is_plain &= strchr(plain, word[i]) != NULL;
        if (to != out)
            *to++ = ' ';
        if (is_plain) {
            memcpy(to, word, length);
            to += length;
        } else {
            *to++ = '\'';
            for (size_t i = 0; i < length; i++)
                if (word[i] == '\'') {
                    memcpy(to, "'\\''", 4);
                    to += 4;
                } else
                    *to++ = word[i];
            *to++ = '\'';
        }
        at += length + 1;
    }
    *to = '\0';
    return out;
}

/* Text keys of META; all others are numbers. */
static int is_text_key(uint32_t key) {
    switch (key) {
    case SNAP_META_LINEAGE:
    case SNAP_META_PARENT_LINEAGE:
    case SNAP_META_LABEL:
    case SNAP_META_COMMAND:
    case SNAP_META_EXECUTABLE:
    case SNAP_META_HOST:
    case SNAP_META_ARCH:
    case SNAP_META_ALLOCATOR: return 1;
    default: return 0;
    }
}

static int write_meta_text(struct ingest *g, uint32_t key, const char *text, size_t length,
                           snap_error *err) {
    char *copy = key == SNAP_META_COMMAND ? quote_command(text, length) : strndup(text, length);
    if (!copy)
        return no_memory(err);
    if (strlen(copy) > SNAP_BYTES_MAX)
        copy[SNAP_BYTES_MAX] = '\0';
    const int result = *copy ? snap_writer_meta_text(g->writer, key, copy, err) : 0;
    free(copy);
    return result;
}

static int write_meta_named(struct ingest *g, const struct wire_meta *m, const char *name,
                            snap_error *err) {
    char *const copy = strndup(name, m->name_len);
    if (!copy)
        return no_memory(err);
    const int result = snap_writer_meta_named(g->writer, m->key, copy, m->value, err);
    free(copy);
    return result;
}

static int write_meta(struct ingest *g, struct records *r, snap_error *err) {
    for (uint32_t i = 0; i < r->n; i++) {
        const struct wire_meta *const m = records_take(r, sizeof *m);
        const char *const name = m ? records_take(r, m->name_len) : NULL;
        const char *const text = name ? records_take(r, m->text_len) : NULL;
        if (!text)
            return broken(err, "metadata");
        records_pad(r);
        if (m->name_len > 0)
            SNAP_TRY(write_meta_named(g, m, name, err));
        else if (is_text_key(m->key))
            SNAP_TRY(write_meta_text(g, m->key, text, m->text_len, err));
        else
            SNAP_TRY(snap_writer_meta_number(g->writer, m->key, m->value, err));
    }
    return 0;
}

static int read_meta(struct ingest *g, snap_error *err) {
    struct records r;
    SNAP_TRY(read_section(g, WIRE_META, META_SIZE_MAX, &r, err));
    int result = open_writer(g, err);
    if (result == 0) {
        char writer[64];
        snprintf(writer, sizeof writer, "heapsnap %s", snap_version());
        result = snap_writer_meta_text(g->writer, SNAP_META_WRITER, writer, err);
    }
    /* The end of a spooled stream has what could not be known before. */
    const size_t end_size = sizeof(struct wire_section) + sizeof(struct wire_end);
    if (result == 0 && g->in.is_spooled && g->in.end - g->in.start >= end_size) {
        struct wire_end end;
        memcpy(&end, g->in.buffer + g->in.end - sizeof end, sizeof end);
        result = snap_writer_meta_number(g->writer, SNAP_META_PAUSE_NS, end.pause_ns, err);
    }
    if (result == 0)
        result = write_meta(g, &r, err);
    free(r.data);
    return result;
}

/* --- modules --- */

static int take_module(struct ingest *g, struct records *r, struct module *m, snap_error *err) {
    const struct wire_module *const w = records_take(r, sizeof *w);
    const char *const path = w ? records_take(r, w->path_len) : NULL;
    const unsigned char *const id = path ? records_take(r, w->build_id_len) : NULL;
    if (!id || w->build_id_len > 64 || w->start >= w->end)
        return broken(err, "a module");
    records_pad(r);
    m->start = w->start;
    m->end = w->end;
    m->bias = w->bias;
    m->path = strndup(path, w->path_len);
    if (!m->path)
        return no_memory(err);
    if (w->build_id_len > 0) {
        m->build_id = mem_alloc(2 * (size_t)w->build_id_len + 1, 1);
        if (!m->build_id)
            return no_memory(err);
        for (uint32_t i = 0; i < w->build_id_len; i++)
            snprintf(m->build_id + 2 * (size_t)i, 3, "%02x", id[i]);
    }
    return snap_writer_module(g->writer, m->path, m->build_id, m->start, m->end, m->bias, w->flags,
                              &m->row, err);
}

static int read_modules(struct ingest *g, snap_error *err) {
    struct records r;
    SNAP_TRY(read_section(g, WIRE_MODULE, NAMES_SIZE_MAX, &r, err));
    int result = 0;
    if (r.n > r.size / sizeof(struct wire_module))
        result = broken(err, "the number of modules");
    else if (!(g->modules = mem_zalloc((size_t)r.n + 1, sizeof *g->modules)))
        result = no_memory(err);
    while (result == 0 && g->n_modules < r.n) {
        struct module *const m = &g->modules[g->n_modules];
        g->n_modules++;
        result = take_module(g, &r, m, err);
        if (result == 0 && g->n_modules > 1 && m->start < m[-1].end)
            result = broken(err, "modules out of order");
    }
    free(r.data);
    return result;
}

/* --- frames and stacks --- */

static int compare_frames(const void *a, const void *b) {
    const struct frame *const x = a, *const y = b;
    if (x->pc != y->pc)
        return x->pc < y->pc ? -1 : 1;
    return (int)x->is_exact - (int)y->is_exact;
}

/* The address to look a frame up by: a return address belongs to the call before it. */
static uint64_t lookup_address(const struct frame *f) {
    return f->is_exact || f->pc == 0 ? f->pc : f->pc - 1;
}

static uint32_t is_exact(const struct wire_stack *s) {
    return s->flags >> 16 & SNAP_FRAM_FLAG_EXACT;
}

/* Each position once, in the order of addresses. */
static int collect_frames(struct ingest *g, snap_error *err) {
    g->frames = mem_zalloc((size_t)g->n_stacks + 1, sizeof *g->frames);
    if (!g->frames)
        return no_memory(err);
    for (uint32_t i = 0; i < g->n_stacks; i++)
        g->frames[i] = (struct frame){.pc = g->stacks[i].pc, .is_exact = is_exact(&g->stacks[i])};
    qsort(g->frames, g->n_stacks, sizeof *g->frames, compare_frames);
    uint32_t n = 0, module = 0;
    for (uint32_t i = 0; i < g->n_stacks; i++) {
        struct frame *const f = &g->frames[n];
        if (n > 0 && compare_frames(&g->frames[i], f - 1) == 0)
            continue;
        *f = g->frames[i];
        const uint64_t address = lookup_address(f);
        while (module < g->n_modules && g->modules[module].end <= address)
            module++;
        f->module = module < g->n_modules && g->modules[module].start <= address ? module + 1 : 0;
        n++;
    }
    g->n_frames = n;
    return 0;
}

static int find_frames(struct ingest *g, snap_error *err) {
    g->stack_frames = mem_alloc((size_t)g->n_stacks + 1, sizeof *g->stack_frames);
    if (!g->stack_frames)
        return no_memory(err);
    for (uint32_t i = 0; i < g->n_stacks; i++) {
        const struct frame key = {.pc = g->stacks[i].pc, .is_exact = is_exact(&g->stacks[i])};
        const struct frame *const f =
            bsearch(&key, g->frames, g->n_frames, sizeof *g->frames, compare_frames);
        g->stack_frames[i] = (uint32_t)(f - g->frames) + 1;
    }
    return 0;
}

static int write_frames(struct ingest *g, snap_error *err) {
    for (uint32_t i = 0; i < g->n_frames; i++) {
        const struct frame *const f = &g->frames[i];
        const struct module *const m = f->module ? &g->modules[f->module - 1] : NULL;
        uint64_t row[SNAP_COLUMNS_MAX] = {0};
        row[SNAP_FRAM_COL_KIND] = SNAP_FRAM_NATIVE;
        row[SNAP_FRAM_COL_MODULE] = m ? m->row : 0;
        row[SNAP_FRAM_COL_OFFSET] = m ? f->pc - m->bias : f->pc;
        row[SNAP_FRAM_COL_FLAGS] = f->is_exact ? SNAP_FRAM_FLAG_EXACT : 0;
        SNAP_TRY(snap_writer_row(g->writer, SNAP_TABLE_FRAM, row, NULL, err));
    }
    return 0;
}

static int write_stacks(struct ingest *g, snap_error *err) {
    for (uint32_t i = 0; i < g->n_stacks; i++) {
        uint64_t row[SNAP_COLUMNS_MAX] = {0};
        row[SNAP_STAK_COL_PARENT] = g->stacks[i].parent;
        row[SNAP_STAK_COL_FRAME] = g->stack_frames[i];
        row[SNAP_STAK_COL_FLAGS] = g->stacks[i].flags & 0xffff;
        SNAP_TRY(snap_writer_row(g->writer, SNAP_TABLE_STAK, row, NULL, err));
    }
    return 0;
}

static int read_stacks(struct ingest *g, snap_error *err) {
    struct records r;
    SNAP_TRY(read_section(g, WIRE_STACK, (size_t)UINT_MAX * sizeof(struct wire_stack), &r, err));
    g->stacks = (void *)r.data;
    if (r.n == UINT_MAX || r.size != (size_t)r.n * sizeof *g->stacks)
        return broken(err, "the number of stacks");
    g->n_stacks = r.n;
    for (uint32_t i = 0; i < r.n; i++)
        if (g->stacks[i].parent > i)
            return broken(err, "a stack");
    SNAP_TRY(collect_frames(g, err));
    SNAP_TRY(find_frames(g, err));
    SNAP_TRY(write_frames(g, err));
    progress(g);
    return write_stacks(g, err);
}

/* --- names --- */

struct naming {
    struct ingest *g;
    uint32_t first; /* frame of index 0 */
    int result;
    snap_error *err;
};

static int write_symbol(struct ingest *g, uint32_t frame, size_t depth,
                        const struct symbol_position *p, snap_error *err) {
    uint32_t function, file;
    SNAP_TRY(snap_writer_string(g->writer, p->function, &function, err));
    SNAP_TRY(snap_writer_string(g->writer, p->file, &file, err));
    uint64_t row[SNAP_COLUMNS_MAX] = {0};
    row[SNAP_SYMB_COL_FRAME] = frame;
    row[SNAP_SYMB_COL_DEPTH] = depth;
    row[SNAP_SYMB_COL_FUNCTION] = function;
    row[SNAP_SYMB_COL_FILE] = file;
    row[SNAP_SYMB_COL_LINE] = p->line;
    row[SNAP_SYMB_COL_SOURCE] = p->source;
    return snap_writer_row(g->writer, SNAP_TABLE_SYMB, row, NULL, err);
}

static void name_frame(void *context, size_t index, const struct symbol_position *positions,
                       size_t n_positions) {
    struct naming *const n = context;
    struct frame *const f = &n->g->frames[n->first + index];
    for (size_t i = 0; i < n_positions && n->result == 0; i++) {
        const char *const function = positions[i].function;
        f->has_symbol |= *function != '\0';
        if (!f->function && *function && !symbol_is_allocator(function))
            f->function = function;
        n->result = write_symbol(n->g, n->first + (uint32_t)index + 1, i, &positions[i], n->err);
    }
}

static int name_module(struct ingest *g, uint32_t first, uint32_t end, uint64_t *offsets,
                       snap_error *err) {
    const struct module *const m = &g->modules[g->frames[first].module - 1];
    struct naming naming = {.g = g, .first = first, .err = err};
    for (uint32_t i = first; i < end; i++)
        offsets[i - first] = lookup_address(&g->frames[i]) - m->bias;
    uint32_t handle;
    SNAP_TRY(symbolizer_module(g->symbolizer, m->path, m->build_id, &handle, err));
    SNAP_TRY(
        symbolizer_lookup(g->symbolizer, handle, offsets, end - first, name_frame, &naming, err));
    progress(g);
    return naming.result;
}

/* Frames are in the order of addresses, so those of a module are one run. */
static int name_frames(struct ingest *g, snap_error *err) {
    if (g->options->no_symbols || g->n_frames == 0)
        return 0;
    SNAP_TRY(symbolizer_new(&g->symbolizer, NULL, err));
    uint64_t *const offsets = mem_alloc(g->n_frames, sizeof *offsets);
    if (!offsets)
        return no_memory(err);
    int result = 0;
    for (uint32_t first = 0, end; first < g->n_frames && result == 0; first = end) {
        end = first + 1;
        while (end < g->n_frames && g->frames[end].module == g->frames[first].module)
            end++;
        if (g->frames[first].module)
            result = name_module(g, first, end, offsets, err);
    }
    free(offsets);
    return result;
}

/* --- types: for now, where a block was allocated --- */

/* The row of the type "allocated in NAME"; one per name. */
static int type_row(struct ingest *g, const char *name, uint32_t *out, snap_error *err) {
    char *label;
    if (asprintf(&label, "allocated in %s", name) < 0)
        return no_memory(err);
    uint32_t string;
    const int result = snap_writer_string(g->writer, label, &string, err);
    free(label);
    SNAP_TRY(result);
    const size_t before = g->types_capacity;
    if (mem_grow(&g->types_of_string, &g->types_capacity, (size_t)string + 1,
                 sizeof *g->types_of_string) < 0)
        return no_memory(err);
    memset(g->types_of_string + before, 0,
           (g->types_capacity - before) * sizeof *g->types_of_string);
    if (!g->types_of_string[string]) {
        uint64_t row[SNAP_COLUMNS_MAX] = {0}, id;
        row[SNAP_TYPE_COL_NAME] = string;
        row[SNAP_TYPE_COL_SOURCE] = SNAP_TYPE_SITE;
        SNAP_TRY(snap_writer_row(g->writer, SNAP_TABLE_TYPE, row, &id, err));
        g->types_of_string[string] = (uint32_t)id;
    }
    *out = g->types_of_string[string];
    return 0;
}

/* What a frame says about the blocks allocated through it: 0 if it only passes allocations on. */
static int type_of_frame(struct ingest *g, struct frame *f, uint32_t *out, snap_error *err) {
    *out = f->type;
    if (f->type)
        return 0;
    if (f->function)
        SNAP_TRY(type_row(g, f->function, &f->type, err));
    else if (!f->has_symbol && f->module) {
        const char *const path = g->modules[f->module - 1].path;
        const char *const slash = strrchr(path, '/');
        SNAP_TRY(type_row(g, slash ? slash + 1 : path, &f->type, err));
    }
    *out = f->type;
    return 0;
}

static int type_of_stack(struct ingest *g, uint32_t stack, uint64_t *out, snap_error *err) {
    uint32_t type = 0;
    uint32_t id = stack;
    for (; id && !type; id = g->stacks[id - 1].parent) {
        if (g->stack_types[id - 1]) {
            type = g->stack_types[id - 1] - 1;
            break;
        }
        SNAP_TRY(type_of_frame(g, &g->frames[g->stack_frames[id - 1] - 1], &type, err));
    }
    if (stack)
        g->stack_types[stack - 1] = type + 1;
    *out = type;
    return 0;
}

/* --- threads, regions, blocks --- */

static int read_threads(struct ingest *g, snap_error *err) {
    struct records r;
    SNAP_TRY(read_section(g, WIRE_THREAD, NAMES_SIZE_MAX, &r, err));
    int result = 0;
    for (uint32_t i = 0; i < r.n && result == 0; i++) {
        const struct wire_thread *const t = records_take(&r, sizeof *t);
        if (!t || t->stack > g->n_stacks) {
            result = broken(err, "a thread");
            break;
        }
        uint32_t name;
        result =
            snap_writer_string_n(g->writer, t->name, strnlen(t->name, sizeof t->name), &name, err);
        uint64_t row[SNAP_COLUMNS_MAX] = {0};
        row[SNAP_THRD_COL_TID] = t->tid;
        row[SNAP_THRD_COL_NAME] = name;
        row[SNAP_THRD_COL_FLAGS] = t->flags;
        row[SNAP_THRD_COL_SP] = t->sp;
        row[SNAP_THRD_COL_STACK_LOW] = t->stack_low;
        row[SNAP_THRD_COL_STACK_HIGH] = t->stack_high;
        row[SNAP_THRD_COL_STACK] = t->stack;
        if (result == 0)
            result = snap_writer_row(g->writer, SNAP_TABLE_THRD, row, NULL, err);
    }
    free(r.data);
    return result;
}

static int read_regions(struct ingest *g, snap_error *err) {
    struct records r;
    SNAP_TRY(read_section(g, WIRE_REGION, NAMES_SIZE_MAX, &r, err));
    int result = 0;
    for (uint32_t i = 0; i < r.n && result == 0; i++) {
        const struct wire_region *const w = records_take(&r, sizeof *w);
        const char *const text = w ? records_take(&r, w->name_len) : NULL;
        if (!text || w->stack > g->n_stacks) {
            result = broken(err, "a region");
            break;
        }
        records_pad(&r);
        uint32_t name;
        result = snap_writer_string_n(g->writer, text, w->name_len, &name, err);
        uint64_t row[SNAP_COLUMNS_MAX] = {0};
        row[SNAP_REGN_COL_ADDRESS] = w->address;
        row[SNAP_REGN_COL_SIZE] = w->size;
        row[SNAP_REGN_COL_KIND] = w->kind;
        row[SNAP_REGN_COL_PROTECTION] = w->protection;
        row[SNAP_REGN_COL_NAME] = name;
        row[SNAP_REGN_COL_STACK] = w->stack;
        row[SNAP_REGN_COL_BIRTH] = w->birth;
        row[SNAP_REGN_COL_RESIDENT] = w->resident;
        row[SNAP_REGN_COL_FLAGS] = w->flags;
        if (result == 0)
            result = snap_writer_row(g->writer, SNAP_TABLE_REGN, row, NULL, err);
    }
    free(r.data);
    return result;
}

static int flush_blocks(struct ingest *g, snap_error *err) {
    const size_t n = g->n_batch;
    g->n_batch = 0;
    return n ? snap_writer_rows(g->writer, SNAP_TABLE_NODE, (const uint64_t *const *)g->columns, n,
                                NULL, err)
             : 0;
}

static int take_block(struct ingest *g, const struct wire_block *b, snap_error *err) {
    if (b->stack > g->n_stacks || (b->address <= g->last_address && g->n_blocks > 0))
        return broken(err, "a block");
    g->last_address = b->address;
    g->n_blocks++;
    g->block_bytes += b->size;
    const size_t i = g->n_batch++;
    const uint32_t kind = b->flags >> 24;
    uint64_t *const *const c = g->columns;
    c[SNAP_NODE_COL_DOMAIN][i] = SNAP_DOMAIN_HOST;
    c[SNAP_NODE_COL_KIND][i] = kind ? kind : SNAP_NODE_BLOCK;
    c[SNAP_NODE_COL_ADDRESS][i] = b->address;
    c[SNAP_NODE_COL_SIZE][i] = b->size;
    c[SNAP_NODE_COL_STACK][i] = b->stack;
    c[SNAP_NODE_COL_BIRTH][i] = b->birth;
    c[SNAP_NODE_COL_FLAGS][i] = b->flags & 0xffffff;
    if (b->stack && g->stack_types[b->stack - 1])
        c[SNAP_NODE_COL_TYPE][i] = g->stack_types[b->stack - 1] - 1;
    else
        SNAP_TRY(type_of_stack(g, b->stack, &c[SNAP_NODE_COL_TYPE][i], err));
    return g->n_batch == BATCH_ROWS ? flush_blocks(g, err) : 0;
}

static int read_block_section(struct ingest *g, const struct wire_section *section,
                              snap_error *err) {
    enum { RUN = 512 };
    struct wire_block run[RUN];
    if (section->bytes != (uint64_t)section->n * sizeof *run)
        return broken(err, "the number of blocks");
    for (uint32_t left = section->n; left > 0;) {
        const uint32_t n = left < RUN ? left : RUN;
        SNAP_TRY(input_read(&g->in, run, n * sizeof *run, err));
        for (uint32_t i = 0; i < n; i++)
            SNAP_TRY(take_block(g, &run[i], err));
        left -= n;
    }
    progress(g);
    return 0;
}

/* Sections of the reference graph: not written yet. */
static int skip_section(struct ingest *g, const struct wire_section *section, snap_error *err) {
    char part[16384];
    for (uint64_t left = section->bytes; left > 0;) {
        const size_t n = left < sizeof part ? (size_t)left : sizeof part;
        SNAP_TRY(input_read(&g->in, part, n, err));
        left -= n;
    }
    progress(g);
    return 0;
}

/* What is known only at the end of the stream. */
static int read_last_meta(struct ingest *g, const struct wire_section *section, snap_error *err) {
    if (section->bytes > META_SIZE_MAX)
        return broken(err, "a section over its limit");
    struct records r = {.size = section->bytes, .n = section->n};
    r.data = mem_alloc(section->bytes + 1, 1);
    if (!r.data)
        return no_memory(err);
    int result = input_read(&g->in, r.data, section->bytes, err);
    if (result == 0)
        result = write_meta(g, &r, err);
    free(r.data);
    return result;
}

static int read_blocks(struct ingest *g, snap_error *err) {
    static const unsigned used[] = {SNAP_NODE_COL_DOMAIN, SNAP_NODE_COL_KIND, SNAP_NODE_COL_ADDRESS,
                                    SNAP_NODE_COL_SIZE,   SNAP_NODE_COL_TYPE, SNAP_NODE_COL_STACK,
                                    SNAP_NODE_COL_BIRTH,  SNAP_NODE_COL_FLAGS};
    for (size_t i = 0; i < sizeof used / sizeof *used; i++)
        SNAP_TRY(need_column(g, used[i], err));
    g->stack_types = mem_zalloc((size_t)g->n_stacks + 1, sizeof *g->stack_types);
    if (!g->stack_types)
        return no_memory(err);
    for (;;) {
        struct wire_section section;
        SNAP_TRY(input_read(&g->in, &section, sizeof section, err));
        if (section.kind == WIRE_BLOCK) {
            SNAP_TRY(read_block_section(g, &section, err));
            continue;
        }
        if (section.kind == WIRE_META) {
            SNAP_TRY(read_last_meta(g, &section, err));
            continue;
        }
        if (section.kind > WIRE_BLOCK && section.kind < WIRE_END) {
            SNAP_TRY(skip_section(g, &section, err));
            continue;
        }
        struct wire_end end;
        if (section.kind != WIRE_END || section.bytes != sizeof end)
            return broken(err, "an unexpected section");
        SNAP_TRY(input_read(&g->in, &end, sizeof end, err));
        if (end.n_blocks != g->n_blocks || end.block_bytes != g->block_bytes)
            return broken(err, "blocks are missing");
        return flush_blocks(g, err);
    }
}

/* --- the whole --- */

static int run(struct ingest *g, snap_error *err) {
    uint32_t flags;
    g->in.size = READ_SIZE;
    g->in.buffer = mem_alloc(READ_SIZE, 1);
    if (!g->in.buffer)
        return no_memory(err);
    SNAP_TRY(read_hello(g, &flags, err));
    if (flags & WIRE_SPOOL)
        SNAP_TRY(input_spool(&g->in, g->options, err));
    SNAP_TRY(read_target(g, err));
    SNAP_TRY(read_meta(g, err));
    SNAP_TRY(read_modules(g, err));
    SNAP_TRY(read_stacks(g, err));
    SNAP_TRY(name_frames(g, err));
    SNAP_TRY(read_threads(g, err));
    SNAP_TRY(read_regions(g, err));
    SNAP_TRY(read_blocks(g, err));
    SNAP_TRY(snap_writer_finish(g->writer, err));
    return name_file(g, err);
}

int ingest(int fd, const struct ingest_options *options, char **out_path, snap_error *err) {
    static const struct ingest_options no_options;
    struct ingest g = {.options = options ? options : &no_options, .in = {.fd = fd}};
    const int result = run(&g, err);
    snap_writer_close(g.writer);
    if (g.partial)
        unlink(g.partial);
    symbolizer_free(g.symbolizer);
    for (uint32_t i = 0; i < g.n_modules; i++) {
        free(g.modules[i].path);
        free(g.modules[i].build_id);
    }
    for (size_t i = 0; i < SNAP_COLUMNS_MAX; i++)
        free(g.columns[i]);
    free(g.modules);
    free(g.stacks);
    free(g.stack_frames);
    free(g.stack_types);
    free(g.frames);
    free(g.types_of_string);
    free(g.partial);
    free(g.in.buffer);
    if (result == 0)
        *out_path = g.path;
    else
        free(g.path);
    return result;
}
