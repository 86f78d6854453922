/* Makes snapshots from a text that tells the life of a program, for tests whose inputs are to be
 * read by people:
 *
 *     program /usr/bin/trainer          # names of files, numbers and so on hold until changed
 *     alloc main>train@train.c:31>new_batch 100 x 64
 *     snap a.snap
 *     free main>train@train.c:31>new_batch 10
 *     snap b.snap
 *
 * heapdsl [-C DIRECTORY] < text. One command a line, words separated by blanks, \xNN stands for a
 * byte, '#' starts a comment. Blocks get births and addresses as a process would give them:
 * addresses of freed blocks are used again. Any error ends the program with its line.
 *
 *     program PATH | lineage NAME | parent NAME | pid N | rank N | sequence N | step N | label TEXT
 *     time NS | command TEXT | host TEXT | meta-text KEY TEXT | meta-number KEY N
 *     counter NAME N | process NAME N | missing NAME N        a user's, process and completeness
 *     unset                              forgets step, label, rank and the three above
 *     alloc STACK N x SIZE [type NAME] [domain D] [flags N] [kind N] [as TAG]
 *     free STACK N                       the oldest N of that stack; "all" for all
 *     replace STACK                      frees all and allocates as many of the same size
 *     hook REGISTRY CALLBACK FILE LINE N registers N
 *     hook-each REGISTRY CALLBACK FILE LINE HOLDER ARGUMENT   one for each block tagged ARGUMENT,
 * in the first block tagged HOLDER ("-": in no block) References are rules over tags, which hold
 * for every later snapshot: root KIND NAME[!LOCAL] TAG first|last|all [low]   KIND as in
 * snap-format.md: global, stack ... refer FROM LABEL TO each|all|first|last [low]   each: from the
 * n-th block of FROM to the n-th of TO; all: from the first of FROM to every one of TO chain TAG
 * LABEL front|back         each block to the one before (front) or after it forget-references
 *     births on|off                      off: blocks without a birth
 *     order sorted|unsorted              unsorted: rows in reverse order
 *     fork LINEAGE PID                   from here on, the life of a forked child
 *     snap FILE                          writes one
 */
#include <ctype.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <heapsnap/writer.h>

struct block {
    uint64_t address, size, birth;
    uint32_t domain, kind, flags;
    char *stack, *type, *tag;
};

/* Freed addresses of one size, last in first out. */
struct holes {
    uint64_t size, *addresses;
    size_t n, capacity;
};

struct reference {
    enum { ROOT, REFER, CHAIN } rule;
    uint32_t kind; /* of a root */
    char *from, *label, *local, *to, *which;
    int is_low;
};

struct named {
    uint32_t key;
    char *name, *text;
    uint64_t value;
    int is_text;
};

struct hook {
    char *registry, *callback, *file;
    uint64_t line, count;
    char *holder, *argument; /* tags; NULL: none */
};

static struct {
    char *program, *lineage, *parent, *label, *command, *host;
    uint64_t pid, rank, sequence, time_ns;
    int64_t step;
    int has_rank, has_step, without_births;
    enum { SORTED, UNSORTED } order;
    uint64_t next_birth, next_address;
    struct block *blocks;
    size_t n_blocks, block_capacity;
    struct holes *holes; /* by size: they are few */
    size_t n_holes, hole_capacity;
    struct named *named;
    size_t n_named, named_capacity;
    struct hook *hooks;
    size_t n_hooks, hook_capacity;
    struct reference *references;
    size_t n_references, reference_capacity;
    unsigned line;
} life;

static void fail(const char *what, const char *detail) {
    fprintf(stderr, "heapdsl: line %u: %s '%s'\n", life.line, what, detail);
    exit(2);
}

static void check(int result, const snap_error *err) {
    if (result < 0)
        fail(snap_error_name(result), err->message);
}

static void *grown(void *array, size_t *capacity, size_t need, size_t size) {
    if (need <= *capacity)
        return array;
    *capacity = need + need / 2 + 16;
    array = realloc(array, *capacity * size);
    if (array == NULL)
        fail("no memory for", "rows");
    return array;
}

static char *copy(const char *text) {
    char *const result = strdup(text);
    if (result == NULL)
        fail("no memory for", text);
    return result;
}

static void replace(char **where, const char *text) {
    char *const old = *where;
    *where = copy(text);
    free(old);
}

static uint64_t number(const char *text) {
    char *end;
    const uint64_t value = strtoull(text, &end, 0);
    if (*text == '\0' || *end != '\0')
        fail("no number", text);
    return value;
}

/* Splits a line in place, decoding \xNN. */
static int split(char *line, char **words, int max) {
    int n = 0;
    char *out = line;
    for (char *p = line; *p != '\0';) {
        while (isspace((unsigned char)*p))
            p++;
        if (*p == '\0' || *p == '#')
            break;
        if (n == max)
            fail("too many words", p);
        words[n++] = out;
        while (*p != '\0' && !isspace((unsigned char)*p)) {
            if (p[0] == '\\' && p[1] == 'x' && isxdigit((unsigned char)p[2]) &&
                isxdigit((unsigned char)p[3])) {
                const char digits[] = {p[2], p[3], '\0'};
                *out++ = (char)strtoul(digits, NULL, 16);
                p += 4;
            } else {
                *out++ = *p++;
            }
        }
        const int at_end = *p == '\0';
        p += !at_end;
        *out++ = '\0';
        if (at_end)
            break;
    }
    return n;
}

static uint64_t hash(const char *text) {
    uint64_t x = 0xcbf29ce484222325ull;
    for (; *text != '\0'; text++)
        x = (x ^ (unsigned char)*text) * 0x100000001b3ull;
    return x;
}

static struct holes *holes_of(uint64_t size) {
    for (size_t i = 0; i < life.n_holes; i++)
        if (life.holes[i].size == size)
            return &life.holes[i];
    life.holes = grown(life.holes, &life.hole_capacity, life.n_holes + 1, sizeof *life.holes);
    life.holes[life.n_holes] = (struct holes){.size = size};
    return &life.holes[life.n_holes++];
}

static uint64_t take_address(uint64_t size) {
    struct holes *const holes = holes_of(size);
    if (holes->n > 0)
        return holes->addresses[--holes->n];
    const uint64_t address = life.next_address;
    life.next_address += size < 1 << 20 ? (size + 31) / 16 * 16 : 1 << 20;
    return address;
}

static void allocate(const char *stack, uint64_t n, const struct block *like) {
    for (uint64_t i = 0; i < n; i++) {
        life.blocks =
            grown(life.blocks, &life.block_capacity, life.n_blocks + 1, sizeof *life.blocks);
        struct block *const b = &life.blocks[life.n_blocks++];
        *b = *like;
        b->stack = copy(stack);
        b->type = like->type != NULL ? copy(like->type) : NULL;
        b->tag = like->tag != NULL ? copy(like->tag) : NULL;
        b->address = take_address(b->size);
        const uint64_t birth = life.next_birth++;
        b->birth = life.without_births ? 0 : birth;
    }
}

static void drop(struct block *b) {
    struct holes *const holes = holes_of(b->size);
    holes->addresses =
        grown(holes->addresses, &holes->capacity, holes->n + 1, sizeof *holes->addresses);
    holes->addresses[holes->n++] = b->address;
    free(b->stack);
    free(b->type);
    free(b->tag);
}

/* Frees the oldest n of a stack; out_like: the last of them, to make more of its kind. */
static uint64_t release(const char *stack, uint64_t n, struct block *out_like) {
    static char type[256], tag[256];
    uint64_t freed = 0;
    size_t kept = 0;
    for (size_t i = 0; i < life.n_blocks; i++) {
        struct block *const b = &life.blocks[i];
        if (freed == n || strcmp(b->stack, stack) != 0) {
            life.blocks[kept++] = *b;
            continue;
        }
        *out_like = *b;
        if (b->type != NULL) {
            snprintf(type, sizeof type, "%s", b->type);
            out_like->type = type;
        }
        if (b->tag != NULL) {
            snprintf(tag, sizeof tag, "%s", b->tag);
            out_like->tag = tag;
        }
        drop(b);
        freed++;
    }
    life.n_blocks = kept;
    return freed;
}

static void set_named(uint32_t key, const char *name, const char *text, uint64_t value,
                      int is_text) {
    for (size_t i = 0; i < life.n_named; i++)
        if (life.named[i].key == key && strcmp(life.named[i].name, name) == 0) {
            life.named[i].value = value;
            replace(&life.named[i].text, text);
            return;
        }
    life.named = grown(life.named, &life.named_capacity, life.n_named + 1, sizeof *life.named);
    life.named[life.n_named++] = (struct named){key, copy(name), copy(text), value, is_text};
}

static void unset(void) {
    life.has_rank = life.has_step = 0;
    replace(&life.label, "");
    for (size_t i = 0; i < life.n_named; i++) {
        free(life.named[i].name);
        free(life.named[i].text);
    }
    life.n_named = 0;
}

static int compare_blocks(const void *x, const void *y) {
    const struct block *const a = x, *const b = y;
    if (a->domain != b->domain)
        return a->domain < b->domain ? -1 : 1;
    if (a->address != b->address)
        return a->address < b->address ? -1 : 1;
    return a->birth < b->birth ? -1 : a->birth > b->birth;
}

static void write_meta(snap_writer *w) {
    snap_error err;
    char lineage[40];
    check(snap_writer_meta_text(w, SNAP_META_WRITER, "heapdsl", &err), &err);
    snprintf(lineage, sizeof lineage, "%016" PRIx64 "%016" PRIx64, hash(life.lineage),
             ~hash(life.lineage));
    check(snap_writer_meta_text(w, SNAP_META_LINEAGE, lineage, &err), &err);
    check(snap_writer_meta_number(w, SNAP_META_SEQUENCE, life.sequence, &err), &err);
    check(snap_writer_meta_number(w, SNAP_META_PID, life.pid, &err), &err);
    check(snap_writer_meta_number(w, SNAP_META_TIME_NS, life.time_ns, &err), &err);
    check(snap_writer_meta_number(w, SNAP_META_BIRTH_MARK, life.next_birth - 1, &err), &err);
    check(snap_writer_meta_text(w, SNAP_META_EXECUTABLE, life.program, &err), &err);
    if (*life.parent != '\0') {
        snprintf(lineage, sizeof lineage, "%016" PRIx64 "%016" PRIx64, hash(life.parent),
                 ~hash(life.parent));
        check(snap_writer_meta_text(w, SNAP_META_PARENT_LINEAGE, lineage, &err), &err);
    }
    if (*life.label != '\0')
        check(snap_writer_meta_text(w, SNAP_META_LABEL, life.label, &err), &err);
    if (*life.command != '\0')
        check(snap_writer_meta_text(w, SNAP_META_COMMAND, life.command, &err), &err);
    if (*life.host != '\0')
        check(snap_writer_meta_text(w, SNAP_META_HOST, life.host, &err), &err);
    if (life.has_rank)
        check(snap_writer_meta_number(w, SNAP_META_RANK, life.rank, &err), &err);
    if (life.has_step)
        check(snap_writer_meta_number(w, SNAP_META_STEP, (uint64_t)life.step, &err), &err);
    if (life.order == UNSORTED)
        check(snap_writer_meta_number(w, SNAP_META_UNSORTED, 1, &err), &err);
    for (size_t i = 0; i < life.n_named; i++) {
        const struct named *const m = &life.named[i];
        if (m->is_text)
            check(snap_writer_meta_text(w, m->key, m->text, &err), &err);
        else if (*m->name == '\0')
            check(snap_writer_meta_number(w, m->key, m->value, &err), &err);
        else
            check(snap_writer_meta_named(w, m->key, m->name, m->value, &err), &err);
    }
}

/* Ids of what was written already, by its text. */
struct ids {
    char **keys;
    uint64_t *values;
    size_t n, key_capacity, value_capacity;
};

static uint64_t *find_id(struct ids *ids, const char *key) {
    for (size_t i = ids->n; i-- > 0;)
        if (strcmp(ids->keys[i], key) == 0)
            return &ids->values[i];
    ids->keys = grown(ids->keys, &ids->key_capacity, ids->n + 1, sizeof *ids->keys);
    ids->values = grown(ids->values, &ids->value_capacity, ids->n + 1, sizeof *ids->values);
    ids->keys[ids->n] = copy(key);
    ids->values[ids->n] = 0;
    return &ids->values[ids->n++];
}

static void free_ids(struct ids *ids) {
    for (size_t i = 0; i < ids->n; i++)
        free(ids->keys[i]);
    free(ids->keys);
    free(ids->values);
}

/* function[@file[:line]]; the function may be empty: a frame without a name. One of a file ".py" is
 * Python's. */
static uint64_t frame_id(snap_writer *w, struct ids *frames, const char *text) {
    uint64_t *const id = find_id(frames, text);
    if (*id != 0)
        return *id;
    snap_error err;
    uint64_t row[SNAP_COLUMNS_MAX] = {0};
    const int is_python = strstr(text, ".py:") != NULL;
    row[SNAP_FRAM_COL_KIND] = is_python ? SNAP_FRAM_PYTHON : SNAP_FRAM_NATIVE;
    row[SNAP_FRAM_COL_MODULE] = !is_python;
    row[SNAP_FRAM_COL_OFFSET] = 0x1000 + (hash(text) & 0xffffff);
    check(snap_writer_row(w, SNAP_TABLE_FRAM, row, id, &err), &err);
    return *id;
}

/* Symbols come in the order of frames, which is the order of the table. */
static void write_symbols(snap_writer *w, const struct ids *frames) {
    for (size_t i = 0; i < frames->n; i++) {
        char *const text = copy(frames->keys[i]);
        char *const at = strrchr(text, '@');
        char *const colon = at != NULL ? strrchr(at, ':') : NULL;
        snap_error err;
        uint64_t row[SNAP_COLUMNS_MAX] = {0};
        uint32_t string;
        row[SNAP_SYMB_COL_FRAME] = i + 1;
        row[SNAP_SYMB_COL_SOURCE] = SNAP_SYMB_DWARF;
        if (colon != NULL) {
            *colon = '\0';
            row[SNAP_SYMB_COL_LINE] = number(colon + 1);
        }
        if (at != NULL) {
            *at = '\0';
            check(snap_writer_string(w, at + 1, &string, &err), &err);
            row[SNAP_SYMB_COL_FILE] = string;
        }
        check(snap_writer_string(w, text, &string, &err), &err);
        row[SNAP_SYMB_COL_FUNCTION] = string;
        if (*text != '\0')
            check(snap_writer_row(w, SNAP_TABLE_SYMB, row, NULL, &err), &err);
        free(text);
    }
}

static uint64_t stack_id(snap_writer *w, struct ids *stacks, struct ids *frames, const char *text) {
    if (strcmp(text, "-") == 0)
        return 0;
    char *const prefix = copy(text);
    uint64_t parent = 0;
    for (char *p = prefix;; p++) {
        p += strcspn(p, ">");
        const char end = *p;
        *p = '\0';
        uint64_t *const id = find_id(stacks, prefix);
        if (*id == 0) {
            const char *const last = strrchr(prefix, '>');
            snap_error err;
            uint64_t row[SNAP_COLUMNS_MAX] = {0};
            row[SNAP_STAK_COL_PARENT] = parent;
            row[SNAP_STAK_COL_FRAME] = frame_id(w, frames, last != NULL ? last + 1 : prefix);
            check(snap_writer_row(w, SNAP_TABLE_STAK, row, id, &err), &err);
        }
        parent = *id;
        if (end == '\0')
            break;
        *p = end;
    }
    free(prefix);
    return parent;
}

static uint64_t type_id(snap_writer *w, struct ids *types, const char *name) {
    if (name == NULL)
        return 0;
    uint64_t *const id = find_id(types, name);
    if (*id != 0)
        return *id;
    snap_error err;
    uint32_t string;
    uint64_t row[SNAP_COLUMNS_MAX] = {0};
    check(snap_writer_string(w, name, &string, &err), &err);
    row[SNAP_TYPE_COL_NAME] = string;
    row[SNAP_TYPE_COL_SOURCE] = SNAP_TYPE_API;
    check(snap_writer_row(w, SNAP_TABLE_TYPE, row, id, &err), &err);
    return *id;
}

static void write_blocks(snap_writer *w) {
    struct ids stacks = {0}, frames = {0}, types = {0};
    snap_error err;
    struct block *const sorted = calloc(life.n_blocks + 1, sizeof *sorted);
    if (sorted == NULL)
        fail("no memory for", "blocks");
    if (life.n_blocks > 0)
        memcpy(sorted, life.blocks, life.n_blocks * sizeof *sorted);
    qsort(sorted, life.n_blocks, sizeof *sorted, compare_blocks);
    for (size_t i = 0; i < life.n_blocks; i++) {
        const struct block *const b = &sorted[life.order == SORTED ? i : life.n_blocks - 1 - i];
        uint64_t row[SNAP_COLUMNS_MAX] = {0};
        row[SNAP_NODE_COL_DOMAIN] = b->domain;
        row[SNAP_NODE_COL_KIND] = b->kind;
        row[SNAP_NODE_COL_ADDRESS] = b->address;
        row[SNAP_NODE_COL_SIZE] = b->size;
        row[SNAP_NODE_COL_BIRTH] = b->birth;
        row[SNAP_NODE_COL_FLAGS] = b->flags;
        row[SNAP_NODE_COL_STACK] = stack_id(w, &stacks, &frames, b->stack);
        row[SNAP_NODE_COL_TYPE] = type_id(w, &types, b->type);
        check(snap_writer_row(w, SNAP_TABLE_NODE, row, NULL, &err), &err);
    }
    write_symbols(w, &frames);
    free(sorted);
    free_ids(&stacks);
    free_ids(&frames);
    free_ids(&types);
}

static int compare_births(const void *x, const void *y) {
    const struct block *const a = *(struct block *const *)x, *const b = *(struct block *const *)y;
    return a->birth < b->birth ? -1 : a->birth > b->birth;
}

/* Rows of the blocks with a tag, oldest first. Tags stay with blocks: life.blocks is in the order
 * of allocation, but the file's rows are in that of addresses. */
static size_t find_tag(const char *tag, uint64_t **out) {
    struct block **const sorted = calloc(life.n_blocks + 1, sizeof *sorted);
    struct block **const tagged = calloc(life.n_blocks + 1, sizeof *tagged);
    uint64_t *const rows = calloc(life.n_blocks + 1, sizeof *rows);
    if (sorted == NULL || tagged == NULL || rows == NULL)
        fail("no memory for", tag);
    size_t n = 0;
    for (size_t i = 0; i < life.n_blocks; i++) {
        sorted[i] = &life.blocks[i];
        if (life.blocks[i].tag != NULL && strcmp(life.blocks[i].tag, tag) == 0)
            tagged[n++] = &life.blocks[i];
    }
    if (!life.without_births)
        qsort(tagged, n, sizeof *tagged, compare_births);
    for (size_t i = 0; i < n; i++) {
        uint64_t row = 1;
        for (size_t k = 0; k < life.n_blocks; k++)
            row += compare_blocks(sorted[k], tagged[i]) < 0;
        rows[i] = life.order == SORTED ? row : life.n_blocks + 1 - row;
    }
    free(sorted);
    free(tagged);
    *out = rows;
    return n;
}

struct edge {
    uint64_t source, target, offset;
    const char *label;
    int is_low;
};

static int compare_edges(const void *x, const void *y) {
    const struct edge *const a = x, *const b = y;
    if (a->source != b->source)
        return a->source < b->source ? -1 : 1;
    return a->offset < b->offset ? -1 : a->offset > b->offset;
}

static void write_root(snap_writer *w, const struct reference *r, uint64_t target) {
    snap_error err;
    uint32_t string;
    uint64_t row[SNAP_COLUMNS_MAX] = {0};
    row[SNAP_ROOT_COL_KIND] = r->kind;
    row[SNAP_ROOT_COL_TARGET] = target;
    check(snap_writer_string(w, r->label, &string, &err), &err);
    row[SNAP_ROOT_COL_NAME] = string;
    check(snap_writer_string(w, r->local, &string, &err), &err);
    row[SNAP_ROOT_COL_LABEL] = string;
    row[SNAP_ROOT_COL_MODULE] = r->kind == SNAP_ROOT_GLOBAL;
    row[SNAP_ROOT_COL_FLAGS] = r->is_low ? SNAP_EDGE_FLAG_LOW : 0;
    check(snap_writer_row(w, SNAP_TABLE_ROOT, row, NULL, &err), &err);
}

static void write_references(snap_writer *w) {
    struct edge *edges = NULL;
    size_t n_edges = 0, capacity = 0;
    snap_error err;
    for (size_t i = 0; i < life.n_references; i++) {
        const struct reference *const r = &life.references[i];
        uint64_t *from = NULL, *to = NULL;
        const size_t n_to = find_tag(r->to, &to);
        const size_t n_from = r->rule == REFER ? find_tag(r->from, &from) : 0;
        const int is_all = strcmp(r->which, "all") == 0, is_each = strcmp(r->which, "each") == 0;
        const size_t chosen = strcmp(r->which, "last") == 0 && n_to > 0 ? n_to - 1 : 0;
        for (size_t k = 0; k < n_to; k++) {
            struct edge e = {.target = to[k], .label = r->label, .is_low = r->is_low};
            if (r->rule == ROOT) {
                if (is_all || k == chosen)
                    write_root(w, r, to[k]);
                continue;
            }
            if (r->rule == CHAIN) {
                const size_t other = strcmp(r->which, "front") == 0 ? k + 1 : k - 1;
                if (other >= n_to)
                    continue;
                e.source = to[other];
                e.offset = 8;
            } else if (is_each) {
                if (k >= n_from)
                    continue;
                e.source = from[k];
                e.offset = 16 + 8 * i;
            } else {
                if (n_from == 0 || (!is_all && k != chosen))
                    continue;
                e.source = from[0];
                e.offset = 8 * k;
            }
            edges = grown(edges, &capacity, n_edges + 1, sizeof *edges);
            edges[n_edges++] = e;
        }
        free(from);
        free(to);
    }
    if (n_edges > 0)
        qsort(edges, n_edges, sizeof *edges, compare_edges);
    for (size_t i = 0; i < n_edges; i++) {
        uint32_t string;
        uint64_t row[SNAP_COLUMNS_MAX] = {0};
        row[SNAP_EDGE_COL_SOURCE] = edges[i].source;
        row[SNAP_EDGE_COL_TARGET] = edges[i].target;
        row[SNAP_EDGE_COL_KIND] = SNAP_EDGE_POINTER;
        check(snap_writer_string(w, edges[i].label, &string, &err), &err);
        row[SNAP_EDGE_COL_LABEL] = string;
        row[SNAP_EDGE_COL_SOURCE_OFFSET] = edges[i].offset;
        row[SNAP_EDGE_COL_FLAGS] = edges[i].is_low ? SNAP_EDGE_FLAG_LOW : 0;
        check(snap_writer_row(w, SNAP_TABLE_EDGE, row, NULL, &err), &err);
    }
    free(edges);
}

static void write_hook(snap_writer *w, const struct hook *h, uint64_t holder, uint64_t argument,
                       uint64_t count) {
    snap_error err;
    uint32_t string;
    uint64_t row[SNAP_COLUMNS_MAX] = {0};
    check(snap_writer_string(w, h->registry, &string, &err), &err);
    row[SNAP_HOOK_COL_REGISTRY] = string;
    check(snap_writer_string(w, h->callback, &string, &err), &err);
    row[SNAP_HOOK_COL_CALLBACK] = string;
    check(snap_writer_string(w, h->file, &string, &err), &err);
    row[SNAP_HOOK_COL_FILE] = string;
    row[SNAP_HOOK_COL_LINE] = h->line;
    row[SNAP_HOOK_COL_COUNT] = count;
    row[SNAP_HOOK_COL_HOLDER] = holder;
    row[SNAP_HOOK_COL_ARGUMENT] = argument;
    row[SNAP_HOOK_COL_KIND] = argument != 0 ? SNAP_HOOK_NATIVE : SNAP_HOOK_API;
    check(snap_writer_row(w, SNAP_TABLE_HOOK, row, NULL, &err), &err);
}

static void write_hooks(snap_writer *w) {
    for (size_t i = 0; i < life.n_hooks; i++) {
        const struct hook *const h = &life.hooks[i];
        if (h->argument == NULL) {
            write_hook(w, h, 0, 0, h->count);
            continue;
        }
        uint64_t *holders, *arguments;
        const size_t n_holders = find_tag(h->holder, &holders);
        const size_t n = find_tag(h->argument, &arguments);
        for (size_t k = 0; k < n; k++)
            write_hook(w, h, n_holders > 0 ? holders[0] : 0, arguments[k], 1);
        free(holders);
        free(arguments);
    }
}
static void write_snapshot(const char *path) {
    const snap_writer_options options = {
        .struct_size = sizeof options, .overwrite = 1, .no_sync = 1};
    snap_writer *w;
    snap_error err;
    check(snap_writer_open_file(&w, path, &options, &err), &err);
    life.sequence++;
    write_meta(w);
    check(snap_writer_module(w, life.program, "0123456789abcdef", 0x400000, 0x2000000, 0x400000,
                             SNAP_MODS_FLAG_MAIN, NULL, &err),
          &err);
    write_blocks(w);
    write_references(w);
    write_hooks(w);
    check(snap_writer_finish(w, &err), &err);
    snap_writer_close(w);
    life.time_ns += 1000000000;
}

static uint32_t domain_of(const char *name) {
    for (uint32_t d = SNAP_DOMAIN_HOST; d <= SNAP_DOMAIN_MANAGED; d++)
        if (strcmp(snap_code_name(SNAP_TABLE_NODE, SNAP_NODE_COL_DOMAIN, d), name) == 0)
            return d;
    return (uint32_t)number(name);
}

static void do_alloc(char **words, int n) {
    if (n < 5 || strcmp(words[3], "x") != 0 || n % 2 == 0)
        fail("not alloc STACK N x SIZE ...:", words[0]);
    struct block like = {
        .size = number(words[4]), .domain = SNAP_DOMAIN_HOST, .kind = SNAP_NODE_BLOCK};
    for (int i = 5; i + 1 < n; i += 2) {
        if (strcmp(words[i], "type") == 0)
            like.type = words[i + 1];
        else if (strcmp(words[i], "domain") == 0)
            like.domain = domain_of(words[i + 1]);
        else if (strcmp(words[i], "flags") == 0)
            like.flags = (uint32_t)number(words[i + 1]);
        else if (strcmp(words[i], "kind") == 0)
            like.kind = (uint32_t)number(words[i + 1]);
        else if (strcmp(words[i], "as") == 0)
            like.tag = words[i + 1];
        else
            fail("unknown word", words[i]);
    }
    allocate(words[1], number(words[2]), &like);
}

static void do_fork(char **words) {
    replace(&life.parent, life.lineage);
    replace(&life.lineage, words[1]);
    life.pid = number(words[2]);
    life.sequence = 0;
    for (size_t i = 0; i < life.n_blocks; i++)
        life.blocks[i].flags |= SNAP_NODE_FLAG_INHERITED;
}

static void do_order(const char *word) {
    if (strcmp(word, "sorted") == 0)
        life.order = SORTED;
    else if (strcmp(word, "unsorted") == 0)
        life.order = UNSORTED;
    else
        fail("unknown order", word);
}

static void do_hook(char **words) {
    life.hooks = grown(life.hooks, &life.hook_capacity, life.n_hooks + 1, sizeof *life.hooks);
    life.hooks[life.n_hooks++] = (struct hook){copy(words[1]),
                                               copy(words[2]),
                                               copy(words[3]),
                                               number(words[4]),
                                               number(words[5]),
                                               NULL,
                                               NULL};
}

static void do_hook_each(char **words) {
    life.hooks = grown(life.hooks, &life.hook_capacity, life.n_hooks + 1, sizeof *life.hooks);
    life.hooks[life.n_hooks++] =
        (struct hook){copy(words[1]), copy(words[2]), copy(words[3]), number(words[4]), 1,
                      copy(words[5]), copy(words[6])};
}

static uint32_t root_kind(const char *name) {
    for (uint32_t kind = 1; kind < 64; kind++) {
        const char *const known = snap_code_name(SNAP_TABLE_ROOT, SNAP_ROOT_COL_KIND, kind);
        if (known != NULL && strcmp(known, name) == 0)
            return kind;
    }
    fail("unknown kind of root", name);
    return 0;
}

static void do_reference(char **words, int n) {
    life.references = grown(life.references, &life.reference_capacity, life.n_references + 1,
                            sizeof *life.references);
    struct reference *const r = &life.references[life.n_references++];
    *r = (struct reference){.is_low = strcmp(words[n - 1], "low") == 0, .local = copy("")};
    if (strcmp(words[0], "root") == 0) {
        r->rule = ROOT;
        r->kind = root_kind(words[1]);
        char *const local = strchr(words[2], '!');
        if (local != NULL) {
            *local = '\0';
            replace(&r->local, local + 1);
        }
        r->label = copy(words[2]);
        r->to = copy(words[3]);
        r->which = copy(words[4]);
    } else if (strcmp(words[0], "refer") == 0) {
        r->rule = REFER;
        r->from = copy(words[1]);
        r->label = copy(words[2]);
        r->to = copy(words[3]);
        r->which = copy(words[4]);
    } else {
        r->rule = CHAIN;
        r->to = copy(words[1]);
        r->label = copy(words[2]);
        r->which = copy(words[3]);
    }
}

static void forget_references(void) {
    for (size_t i = 0; i < life.n_references; i++) {
        free(life.references[i].from);
        free(life.references[i].label);
        free(life.references[i].local);
        free(life.references[i].to);
        free(life.references[i].which);
    }
    life.n_references = 0;
}

static void run(char **words, int n) {
    const struct {
        const char *name;
        int n_words;
        char **text;
        uint64_t *value;
    } settings[] = {
        {"program", 2, &life.program, NULL}, {"lineage", 2, &life.lineage, NULL},
        {"parent", 2, &life.parent, NULL},   {"label", 2, &life.label, NULL},
        {"command", 2, &life.command, NULL}, {"host", 2, &life.host, NULL},
        {"pid", 2, NULL, &life.pid},         {"time", 2, NULL, &life.time_ns},
    };
    for (size_t i = 0; i < sizeof settings / sizeof *settings; i++)
        if (n == 2 && strcmp(words[0], settings[i].name) == 0) {
            if (settings[i].text != NULL)
                replace(settings[i].text, words[1]);
            else
                *settings[i].value = number(words[1]);
            return;
        }
    const char *const word = words[0];
    struct block like;
    if (strcmp(word, "snap") == 0 && n == 2)
        write_snapshot(words[1]);
    else if (strcmp(word, "sequence") == 0 && n == 2)
        life.sequence = number(words[1]) - 1;
    else if (strcmp(word, "rank") == 0 && n == 2)
        life.rank = number(words[1]), life.has_rank = 1;
    else if (strcmp(word, "step") == 0 && n == 2)
        life.step = (int64_t)strtoll(words[1], NULL, 10), life.has_step = 1;
    else if (strcmp(word, "counter") == 0 && n == 3)
        set_named(SNAP_META_USER, words[1], "", (uint64_t)strtoll(words[2], NULL, 10), 0);
    else if (strcmp(word, "process") == 0 && n == 3)
        set_named(SNAP_META_PROCESS, words[1], "", number(words[2]), 0);
    else if (strcmp(word, "missing") == 0 && n == 3)
        set_named(SNAP_META_COMPLETENESS, words[1], "", number(words[2]), 0);
    else if (strcmp(word, "meta-text") == 0 && n == 3)
        set_named((uint32_t)number(words[1]), "", words[2], 0, 1);
    else if (strcmp(word, "meta-number") == 0 && n == 3)
        set_named((uint32_t)number(words[1]), "", "", number(words[2]), 0);
    else if (strcmp(word, "unset") == 0 && n == 1)
        unset();
    else if (strcmp(word, "alloc") == 0)
        do_alloc(words, n);
    else if (strcmp(word, "free") == 0 && n == 3)
        release(words[1], strcmp(words[2], "all") == 0 ? UINT64_MAX : number(words[2]), &like);
    else if (strcmp(word, "replace") == 0 && n == 2) {
        const uint64_t count = release(words[1], UINT64_MAX, &like);
        if (count > 0)
            allocate(words[1], count, &like);
    } else if (strcmp(word, "hook") == 0 && n == 6)
        do_hook(words);
    else if (strcmp(word, "hook-each") == 0 && n == 7)
        do_hook_each(words);
    else if ((strcmp(word, "root") == 0 || strcmp(word, "refer") == 0) && (n == 5 || n == 6))
        do_reference(words, n);
    else if (strcmp(word, "chain") == 0 && n == 4)
        do_reference(words, n);
    else if (strcmp(word, "forget-references") == 0 && n == 1)
        forget_references();
    else if (strcmp(word, "births") == 0 && n == 2)
        life.without_births = strcmp(words[1], "off") == 0;
    else if (strcmp(word, "order") == 0 && n == 2)
        do_order(words[1]);
    else if (strcmp(word, "fork") == 0 && n == 3)
        do_fork(words);
    else
        fail("unknown command or wrong number of words:", word);
}

static void free_life(void) {
    unset();
    for (size_t i = 0; i < life.n_blocks; i++)
        drop(&life.blocks[i]);
    for (size_t i = 0; i < life.n_hooks; i++) {
        free(life.hooks[i].registry);
        free(life.hooks[i].callback);
        free(life.hooks[i].file);
        free(life.hooks[i].holder);
        free(life.hooks[i].argument);
    }
    forget_references();
    free(life.references);
    char *const texts[] = {life.program, life.lineage, life.parent,
                           life.label,   life.command, life.host};
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++)
        free(texts[i]);
    for (size_t i = 0; i < life.n_holes; i++)
        free(life.holes[i].addresses);
    free(life.blocks);
    free(life.holes);
    free(life.named);
    free(life.hooks);
}

int main(int argc, char **argv) {
    if (argc == 3 && strcmp(argv[1], "-C") == 0) {
        if (chdir(argv[2]) != 0)
            fail("cannot enter", argv[2]);
    } else if (argc != 1) {
        fail("usage:", "heapdsl [-C DIRECTORY] < text");
    }
    life.program = copy("/usr/bin/prog");
    life.lineage = copy("one");
    life.parent = copy("");
    life.label = copy("");
    life.command = copy("");
    life.host = copy("");
    life.pid = 100;
    life.time_ns = 1700000000000000000;
    life.next_birth = 1;
    life.next_address = 0x10000;
    char *line = NULL;
    size_t size = 0;
    while (getline(&line, &size, stdin) >= 0) {
        char *words[16];
        life.line++;
        const int n = split(line, words, 16);
        if (n > 0)
            run(words, n);
    }
    free(line);
    free_life();
    return 0;
}
