/* snap_redact: a snapshot that does not tell whose it is.
 *
 * Names are replaced by context: what code of the system or of a public package is called stays,
 * what the user's own is called goes. A name is taken apart into words, and each word that is not
 * public becomes a keyed hash of it (SipHash-2-4), so that equal names stay equal, also between
 * files redacted with the same salt, and nobody without the salt can try names out. Invariant:
 * redacting twice changes nothing more; the new file is read again and checked for just that.
 *
 * Numbers stay: sizes, addresses, times and process ids are what a maintainer needs. */
#include <heapsnap/convert.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "base/err.h"
#include "base/file.h"
#include "base/map.h"
#include "base/mem.h"
#include "convert/public_names.h"
#include "convert/rewrite.h"

enum class {
    CLASS_NAME,        /* of the user */
    CLASS_PUBLIC,      /* of code that is public */
    CLASS_PATH,        /* a file */
    CLASS_PUBLIC_PATH, /* a source file of code that is public */
    CLASS_MAPPING      /* what the kernel calls a mapping */
};
_Static_assert((int)CLASS_MAPPING < (int)REWRITE_CLASSES, "classes");

enum { HASH_DIGITS = 10, PLAIN_DIGITS = 6 };

struct redactor {
    const snap_snapshot *s;
    int level;
    uint64_t key[2];
    const char *const *keep;
    size_t n_keep;
    uint8_t *public_modules; /* by id: 1 */
    uint8_t *public_frames;
    struct map words; /* hashes of words of public code in this snapshot */
    char *text;       /* what was made last */
    size_t length, capacity;
    int failed;
    int is_check; /* complain instead of replacing */
};

static int no_memory(snap_error *err) {
    return err_set(err, SNAP_E_NOMEM, "no memory to redact the snapshot");
}

/* --- hashing --- */

static uint64_t rotate(uint64_t x, unsigned n) {
    return x << n | x >> (64 - n);
}

static void sip_round(uint64_t v[4]) {
    v[0] += v[1];
    v[1] = rotate(v[1], 13) ^ v[0];
    v[0] = rotate(v[0], 32);
    v[2] += v[3];
    v[3] = rotate(v[3], 16) ^ v[2];
    v[0] += v[3];
    v[3] = rotate(v[3], 21) ^ v[0];
    v[2] += v[1];
    v[1] = rotate(v[1], 17) ^ v[2];
    v[2] = rotate(v[2], 32);
}

/* SipHash-2-4 (Aumasson and Bernstein, 2012). */
static uint64_t sip_hash(const uint64_t key[2], const char *text, size_t length) {
    uint64_t v[4] = {key[0] ^ 0x736f6d6570736575u, key[1] ^ 0x646f72616e646f6du,
                     key[0] ^ 0x6c7967656e657261u, key[1] ^ 0x7465646279746573u};
    for (size_t at = 0; at <= length; at += 8) {
        uint64_t word = 0;
        for (size_t i = 0; i < 8 && at + i < length; i++)
            word |= (uint64_t)(unsigned char)text[at + i] << 8 * i;
        if (length - at < 8)
            word |= (uint64_t)length << 56;
        v[3] ^= word;
        sip_round(v);
        sip_round(v);
        v[0] ^= word;
    }
    v[2] ^= 0xff;
    for (int i = 0; i < 4; i++)
        sip_round(v);
    return v[0] ^ v[1] ^ v[2] ^ v[3];
}

static int make_key(struct redactor *r, const char *salt, snap_error *err) {
    static const uint64_t fixed[2][2] = {{1, 2}, {3, 4}};
    if (salt == NULL) {
        if (getrandom(r->key, sizeof r->key, 0) != sizeof r->key)
            return err_set(err, SNAP_E_IO, "cannot get random numbers: %s", strerror(errno));
        return 0;
    }
    for (int i = 0; i < 2; i++)
        r->key[i] = sip_hash(fixed[i], salt, strlen(salt));
    return 0;
}

/* --- text in the making --- */

static void add(struct redactor *r, const char *text, size_t length) {
    if (mem_grow(&r->text, &r->capacity, r->length + length + 1, 1) < 0) {
        r->failed = 1;
        return;
    }
    memcpy(r->text + r->length, text, length);
    r->length += length;
    r->text[r->length] = '\0';
}

static void add_hash(struct redactor *r, const char *text, size_t length) {
    char hash[HASH_DIGITS + 8];
    const uint64_t value = sip_hash(r->key, text, length);
    snprintf(hash, sizeof hash, "n_%0*llx", HASH_DIGITS,
             (unsigned long long)(value & ((UINT64_C(1) << 4 * HASH_DIGITS) - 1)));
    add(r, hash, strlen(hash));
}

/* --- words --- */

static int is_letter(char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_' || c == '$' || (c & 0x80);
}
static int is_digit(char c) {
    return c >= '0' && c <= '9';
}

static size_t word_length(const char *text) {
    size_t n = 0;
    while (is_letter(text[n]) || is_digit(text[n]))
        n++;
    return n;
}

static int is_hash(const char *word, size_t length) {
    if (length != HASH_DIGITS + 2 || word[0] != 'n' || word[1] != '_')
        return 0;
    return strspn(word + 2, "0123456789abcdef") >= HASH_DIGITS;
}

static int is_kept(const struct redactor *r, const char *word, size_t length) {
    for (size_t i = 0; i < r->n_keep; i++)
        if (strncmp(word, r->keep[i], length) == 0 && r->keep[i][length] == '\0')
            return 1;
    return 0;
}

/* A word of public code, or one that everybody uses. Numbers at the end do not matter. */
static int is_public_word(const struct redactor *r, const char *word, size_t length) {
    size_t stem = length;
    while (stem > 1 && is_digit(word[stem - 1]))
        stem--;
    return length <= 2 || is_hash(word, length) || public_word(word, stem) ||
           public_root(word, stem) || is_kept(r, word, length) ||
           map_get(&r->words, sip_hash(r->key, word, length)) != 0;
}

static int is_root(const struct redactor *r, const char *word, size_t length) {
    return public_root(word, length) || is_kept(r, word, length);
}

/* Numbers are indices and sizes, unless they are so long that they may be somebody's. */
static int is_plain_number(const char *word, size_t length) {
    if (length > 2 && word[0] == '0' && word[1] == 'x')
        return strspn(word + 2, "0123456789abcdefABCDEF") >= length - 2;
    return length <= 4 || (length <= PLAIN_DIGITS && strspn(word, "0123456789") >= length);
}

/* --- paths --- */

static int starts_with(const char *text, const char *prefix) {
    return strncmp(text, prefix, strlen(prefix)) == 0;
}

/* Where the name of a file starts. */
static const char *base_of(const char *path) {
    const char *const slash = strrchr(path, '/');
    return slash ? slash + 1 : path;
}

/* A public package at the start of a relative path: "torch/nn/functional.py", "numpy.libs/...". */
static int is_in_package(const struct redactor *r, const char *path) {
    const size_t length = word_length(path);
    return strchr(path, '/') != NULL && length > 0 &&
           (is_root(r, path, length) || starts_with(path, "python3"));
}

/* "python3.11", "libpython3.11.so.1.0": wherever it is installed. */
static int is_interpreter(const char *base) {
    base += starts_with(base, "lib") ? 3 : 0;
    if (!starts_with(base, "python"))
        return 0;
    base += strlen("python");
    base += strspn(base, "0123456789.");
    return *base == '\0' || starts_with(base, "so");
}

/* What may stay of the path of a file that is the system's or of a public package; else NULL. */
static const char *public_part(const struct redactor *r, const char *path) {
    static const char *const systems[] = {
        "/usr/lib/",
        "/usr/lib64/",
        "/usr/lib32/",
        "/usr/libexec/",
        "/usr/include/",
        "/lib/",
        "/lib64/",
        "/lib32/",
        "/usr/share/zoneinfo",
        "/usr/share/locale/",
        "/usr/bin/",
        "/usr/sbin/",
        "/bin/",
        "/sbin/",
        "/proc/",
        "/sys/",
        "/dev/nvidia",
        "/dev/dri/",
        "/dev/zero",
    };
    static const char packages[] = "-packages/", python[] = "/lib/python3.";
    if (path[0] == '[')
        return path;
    if (is_interpreter(base_of(path)))
        return base_of(path);
    if (strstr(path, "/../") != NULL)
        return NULL;
    for (size_t i = 0; i < sizeof systems / sizeof *systems; i++)
        if (starts_with(path, systems[i]))
            return path;
    const char *last = NULL;
    for (const char *p = path; (p = strstr(p, packages)) != NULL; p++)
        last = p + sizeof packages - 1;
    if (last != NULL)
        return is_in_package(r, last) || is_root(r, last, word_length(last)) ? last : NULL;
    for (const char *p = path; (p = strstr(p, python)) != NULL; p++)
        last = p + sizeof "/lib/" - 1;
    if (last != NULL)
        return last;
    return path[0] != '/' && is_in_package(r, path) ? path : NULL;
}

static void add_name(struct redactor *r, const char *text, size_t length, int keep_words);

/* The last part of a path; its ending says what sort of a file it is, and stays. */
static void add_base(struct redactor *r, const char *base, size_t length, int keep_words) {
    size_t ending = length;
    while (ending > 0 && base[ending - 1] != '.')
        ending--;
    if (keep_words || ending == 0 || length - ending > 4)
        ending = length + 1;
    add_name(r, base, ending - 1, keep_words);
    if (ending <= length)
        add(r, base + ending - 1, length - ending + 1);
}

static void add_path(struct redactor *r, const char *path, int keep_words) {
    const char *const part = public_part(r, path);
    if (part != NULL) {
        add(r, part, strlen(part));
        return;
    }
    static const char deleted[] = " (deleted)";
    const char *const base = base_of(path);
    size_t length = strlen(base);
    const int is_deleted =
        length > sizeof deleted - 1 && strcmp(base + length - (sizeof deleted - 1), deleted) == 0;
    length -= is_deleted ? sizeof deleted - 1 : 0;
    add_base(r, base, length, keep_words);
    if (is_deleted)
        add(r, deleted, sizeof deleted - 1);
}

/* --- names --- */

/* Bytes of a path that starts here, in the middle of a text; 0: none does. */
static size_t path_length(const char *text, size_t left) {
    const size_t start = left > 1 && text[0] == '~' ? 1 : 0;
    if (left < start + 2 || text[start] != '/' ||
        !(is_letter(text[start + 1]) || text[start + 1] == '.'))
        return 0;
    size_t n = start;
    while (n < left && !strchr(" \t\"'()<>,;:=[]{}|", text[n]))
        n++;
    return memchr(text + start + 1, '/', n - start - 1) != NULL ? n : 0;
}

static void add_inner_path(struct redactor *r, const char *text, size_t length, int keep_words) {
    char *const path = strndup(text, length);
    if (path == NULL)
        r->failed = 1;
    else
        add_path(r, path, keep_words);
    free(path);
}

static void add_name(struct redactor *r, const char *text, size_t length, int keep_words) {
    int in_chain = 0, is_chain_public = 0;
    for (size_t at = 0; at < length;) {
        const char *const p = text + at;
        const size_t left = length - at;
        const int is_start = at == 0 || !(is_letter(p[-1]) || is_digit(p[-1]) || p[-1] == '.');
        const size_t path = is_start ? path_length(p, left) : 0;
        size_t n = word_length(p);
        n = n < left ? n : left;
        if (path > 0) {
            add_inner_path(r, p, path, keep_words);
            at += path;
        } else if (n == 0) {
            const int links = starts_with(p, "::") && left > 2 && is_letter(p[2]);
            const int dots = *p == '.' && left > 1 && is_letter(p[1]);
            in_chain = at > 0 && (links || dots) && (is_letter(p[-1]) || is_digit(p[-1]));
            add(r, p, links ? 2 : 1);
            at += links ? 2 : 1;
        } else {
            is_chain_public = in_chain ? is_chain_public : is_root(r, p, n);
            if (keep_words || is_chain_public ||
                (is_digit(*p) ? is_plain_number(p, n) : is_public_word(r, p, n)))
                add(r, p, n);
            else
                add_hash(r, p, n);
            in_chain = 0;
            at += n;
        }
    }
}

static void add_mapping(struct redactor *r, const char *text, int keep_words) {
    const char *const colon = text[0] == '[' ? strchr(text, ':') : NULL;
    if (colon == NULL) {
        add_path(r, text, keep_words);
        return;
    }
    add(r, text, (size_t)(colon + 1 - text));
    add_name(r, colon + 1, strlen(colon + 1), keep_words);
}

/* Names of code that is public: no word is hashed. */
static void add_public_path(struct redactor *r, const char *text) {
    if (text[0] == '/')
        add_path(r, text, 1);
    else
        add(r, text, strlen(text));
}

/* What stands for a text; NULL: no memory. */
static const char *redact(struct redactor *r, unsigned class, const char *text) {
    const int keep_words = r->level == SNAP_REDACTION_PATHS;
    r->length = 0;
    add(r, "", 0);
    switch (class) {
    case CLASS_PATH: add_path(r, text, keep_words); break;
    case CLASS_PUBLIC_PATH: add_public_path(r, text); break;
    case CLASS_MAPPING: add_mapping(r, text, keep_words); break;
    case CLASS_PUBLIC: add_name(r, text, strlen(text), 1); break;
    default: add_name(r, text, strlen(text), keep_words); break;
    }
    return r->failed ? NULL : r->text;
}

/* --- what is public --- */

static int each_row(struct redactor *r, snap_table table, uint32_t columns,
                    int (*fn)(struct redactor *r, const snap_batch *b, uint32_t i, snap_error *err),
                    snap_error *err) {
    snap_batch b;
    int result = 0;
    snap_batch_init(&b);
    for (uint32_t k = 0; result == 0 && k < snap_n_chunks(r->s, table); k++) {
        result = snap_batch_read(r->s, table, k, columns, &b, err);
        for (uint32_t i = 0; result == 0 && i < b.n_rows; i++)
            result = fn(r, &b, i, err);
    }
    snap_batch_release(&b);
    return result;
}

static int look_at_module(struct redactor *r, const snap_batch *b, uint32_t i, snap_error *err) {
    const char *path;
    SNAP_TRY(snap_string(r->s, b->column[SNAP_MODS_COL_PATH][i], &path, err));
    r->public_modules[b->first_id + i] = *path && public_part(r, path) != NULL;
    return 0;
}

static int look_at_frame(struct redactor *r, const snap_batch *b, uint32_t i, snap_error *err) {
    (void)err;
    r->public_frames[b->first_id + i] = b->column[SNAP_FRAM_COL_MODULE][i] != 0 &&
                                        r->public_modules[b->column[SNAP_FRAM_COL_MODULE][i]];
    return 0;
}

static int add_words(struct redactor *r, const char *text, snap_error *err) {
    for (size_t n; *text; text += n) {
        n = word_length(text);
        if (n > 2 && !is_digit(*text)) {
            uint32_t *const slot = map_slot(&r->words, sip_hash(r->key, text, n));
            if (slot == NULL)
                return no_memory(err);
            *slot = 1;
        }
        n = n ? n : 1;
    }
    return 0;
}

/* Managed frames are public by their file; words of public functions are public. */
static int look_at_symbol(struct redactor *r, const snap_batch *b, uint32_t i, snap_error *err) {
    const uint64_t frame = b->column[SNAP_SYMB_COL_FRAME][i];
    const char *file, *function;
    if (frame == 0)
        return 0;
    SNAP_TRY(snap_string(r->s, b->column[SNAP_SYMB_COL_FILE][i], &file, err));
    if (b->column[SNAP_SYMB_COL_SOURCE][i] == SNAP_SYMB_RUNTIME && *file)
        r->public_frames[frame] = public_part(r, file) != NULL;
    if (!r->public_frames[frame])
        return 0;
    SNAP_TRY(snap_string(r->s, b->column[SNAP_SYMB_COL_FUNCTION][i], &function, err));
    return add_words(r, function, err);
}

static int survey(struct redactor *r, snap_error *err) {
    r->public_modules = mem_zalloc((size_t)snap_rows(r->s, SNAP_TABLE_MODS) + 1, 1);
    r->public_frames = mem_zalloc((size_t)snap_rows(r->s, SNAP_TABLE_FRAM) + 1, 1);
    if (!r->public_modules || !r->public_frames)
        return no_memory(err);
    SNAP_TRY(each_row(r, SNAP_TABLE_MODS, 1u << SNAP_MODS_COL_PATH, look_at_module, err));
    SNAP_TRY(each_row(r, SNAP_TABLE_FRAM, 1u << SNAP_FRAM_COL_MODULE, look_at_frame, err));
    return each_row(r, SNAP_TABLE_SYMB,
                    1u << SNAP_SYMB_COL_FRAME | 1u << SNAP_SYMB_COL_FUNCTION |
                        1u << SNAP_SYMB_COL_FILE | 1u << SNAP_SYMB_COL_SOURCE,
                    look_at_symbol, err);
}

static unsigned class_of(void *context, snap_table table, unsigned column, const snap_batch *b,
                         uint32_t i) {
    const struct redactor *const r = context;
    int is_public = 0;
    switch (table) {
    case SNAP_TABLE_MODS: return CLASS_PATH;
    case SNAP_TABLE_REGN: return CLASS_MAPPING;
    case SNAP_TABLE_HOOK:
        is_public = r->public_frames[b->column[SNAP_HOOK_COL_FRAME][i]];
        if (column == SNAP_HOOK_COL_FILE)
            return is_public ? CLASS_PUBLIC_PATH : CLASS_PATH;
        return is_public && column == SNAP_HOOK_COL_CALLBACK ? CLASS_PUBLIC : CLASS_NAME;
    case SNAP_TABLE_SYMB:
        is_public = r->public_frames[b->column[SNAP_SYMB_COL_FRAME][i]];
        if (column == SNAP_SYMB_COL_FILE)
            return is_public ? CLASS_PUBLIC_PATH : CLASS_PATH;
        break;
    case SNAP_TABLE_TYPE: is_public = r->public_modules[b->column[SNAP_TYPE_COL_MODULE][i]]; break;
    case SNAP_TABLE_ROOT:
        is_public =
            r->public_modules[b->column[SNAP_ROOT_COL_MODULE][i]] && column == SNAP_ROOT_COL_NAME;
        break;
    case SNAP_TABLE_POOL: is_public = r->public_modules[b->column[SNAP_POOL_COL_MODULE][i]]; break;
    default: break;
    }
    return is_public ? CLASS_PUBLIC : CLASS_NAME;
}

/* --- the new file --- */

static int put_string(void *context, unsigned class, const char *text, const char **out,
                      snap_error *err) {
    struct redactor *const r = context;
    *out = redact(r, class, text);
    if (*out == NULL)
        return no_memory(err);
    if (r->is_check && strcmp(*out, text) != 0)
        return err_set(err, SNAP_E_CORRUPT, "the redacted file still has the name '%.80s'", text);
    return 0;
}

/* Whose build it is that nobody else has is nobody's business; equal ones stay equal. */
static const char *put_build_id(void *context, const snap_batch *b, uint32_t i, const char *text) {
    static __thread char hash[24];
    struct redactor *const r = context;
    if (r->level == SNAP_REDACTION_PATHS || !*text || r->public_modules[b->first_id + i])
        return text;
    snprintf(hash, sizeof hash, "%016llx",
             (unsigned long long)sip_hash(r->key, text, strlen(text)));
    return hash;
}

enum meta_use { META_KEEP, META_NAME, META_PATH, META_DROP };

static enum meta_use use_of(const snap_meta_row *row) {
    switch (row->key) {
    case SNAP_META_HOST:
    case SNAP_META_DEVICE:
    case SNAP_META_COMMAND:
    case SNAP_META_REDACTION: return META_DROP;
    case SNAP_META_EXECUTABLE: return META_PATH;
    case SNAP_META_LABEL:
    case SNAP_META_USER: return META_NAME;
    default:
        /* Keys that this library does not know may be anything; numbers without a name are not. */
        return snap_code_name(SNAP_TABLE_META, SNAP_META_COL_KEY, row->key) == NULL &&
                       (*row->name || *row->text)
                   ? META_DROP
                   : META_KEEP;
    }
}

static int put_meta(struct redactor *r, snap_writer *w, snap_error *err) {
    for (size_t i = 0; i < snap_meta_count(r->s); i++) {
        const snap_meta_row row = snap_meta_get(r->s, i);
        const enum meta_use use = use_of(&row);
        const char *text = *row.name ? row.name : row.text;
        if (use == META_DROP)
            continue;
        if (use != META_KEEP)
            SNAP_TRY(put_string(r, use == META_PATH ? CLASS_PATH : CLASS_NAME, text, &text, err));
        if (*row.name)
            SNAP_TRY(snap_writer_meta_named(w, row.key, text, row.value, err));
        else if (*row.text)
            SNAP_TRY(snap_writer_meta_text(w, row.key, text, err));
        else
            SNAP_TRY(snap_writer_meta_number(w, row.key, row.value, err));
    }
    return snap_writer_meta_number(w, SNAP_META_REDACTION, (uint64_t)r->level, err);
}

struct progress_of {
    int (*fn)(void *context, uint64_t done, uint64_t total);
    void *context;
    uint64_t part; /* 0: writing, 1: checking */
};

static int report_progress(void *context, uint64_t done, uint64_t total) {
    const struct progress_of *const p = context;
    return p->fn ? p->fn(p->context, p->part * total + done, 2 * total) : 0;
}

/* Writes all of r->s, with names replaced or checked. */
static int write_all(struct redactor *r, snap_writer *w, struct progress_of *progress,
                     snap_error *err) {
    struct rewrite rewrite = {.from = r->s,
                              .to = w,
                              .class = class_of,
                              .string = put_string,
                              .build_id = r->is_check ? NULL : put_build_id,
                              .context = r,
                              .progress = report_progress,
                              .progress_context = progress};
    int result = survey(r, err);
    if (result == 0)
        result = put_meta(r, w, err);
    if (result == 0)
        result = rewrite_survey(&rewrite, REWRITE_ALL, err);
    if (result == 0)
        result = rewrite_rows(&rewrite, err);
    rewrite_release(&rewrite);
    return result == 0 ? snap_writer_finish(w, err) : result;
}

static void release(struct redactor *r) {
    free(r->public_modules);
    free(r->public_frames);
    free(r->text);
    map_release(&r->words);
}

/* --- where it goes --- */

/* A file under a temporary name; or bytes, where that cannot be taken back. */
struct target {
    struct file_new file;
    snap_error error; /* of writing it */
    char *bytes;
    size_t size, capacity;
};

static int take_bytes(void *context, const void *data, size_t size) {
    struct target *const t = context;
    if (!t->file.is_direct)
        return file_new_write(&t->file, data, size, &t->error);
    if (mem_grow(&t->bytes, &t->capacity, t->size + size, 1) < 0)
        return SNAP_E_NOMEM;
    memcpy(t->bytes + t->size, data, size);
    t->size += size;
    return 0;
}

static int ignore_bytes(void *context, const void *data, size_t size) {
    (void)context;
    (void)data;
    (void)size;
    return 0;
}

/* Reads what was written: it is sound, and redacting it again changes no name. */
static int check(const struct target *t, const struct redactor *from, struct progress_of *progress,
                 snap_error *err) {
    snap_snapshot *s;
    snap_writer *w = NULL;
    SNAP_TRY(t->file.is_direct ? snap_open_memory(&s, t->bytes, t->size, NULL, err)
                               : snap_open(&s, t->file.temporary, NULL, err));
    struct redactor r = {.s = s,
                         .level = from->level,
                         .key = {from->key[0], from->key[1]},
                         .keep = from->keep,
                         .n_keep = from->n_keep,
                         .is_check = 1};
    map_init(&r.words);
    progress->part = 1;
    int result = snap_verify(s, NULL, NULL, err);
    if (result == 0)
        result = snap_writer_open_sink(&w, ignore_bytes, NULL, NULL, err);
    if (result == 0)
        result = write_all(&r, w, progress, err);
    snap_writer_close(w);
    release(&r);
    snap_close(s);
    return result;
}

static int write_target(struct target *t, struct redactor *r, const snap_redact_options *o,
                        struct progress_of *progress, snap_error *err) {
    snap_writer *w;
    SNAP_TRY(snap_writer_open_sink(&w, take_bytes, t, &o->writer, err));
    int result = write_all(r, w, progress, err);
    snap_writer_close(w);
    if (result < 0 && t->error.code == result && err != NULL)
        *err = t->error;
    if (result == 0)
        result = check(t, r, progress, err);
    if (result == 0 && t->file.is_direct)
        result = file_new_write(&t->file, t->bytes, t->size, err);
    return result == 0 ? file_new_commit(&t->file, o->writer.no_sync, err) : result;
}

int snap_redact(const snap_snapshot *s, const char *out_path, const snap_redact_options *options,
                int (*progress)(void *context, uint64_t done, uint64_t total), void *context,
                snap_error *err) {
    snap_redact_options o = {0};
    if (options != NULL) {
        const size_t size = options->struct_size ? options->struct_size : sizeof o;
        memcpy(&o, options, size < sizeof o ? size : sizeof o);
    }
    o.level = o.level ? o.level : SNAP_REDACTION_NAMES;
    o.writer.struct_size = sizeof o.writer;
    if (!s || !out_path || (o.level != SNAP_REDACTION_PATHS && o.level != SNAP_REDACTION_NAMES))
        return err_set(err, SNAP_E_ARG, "no such level of redaction");
    struct redactor r = {.s = s, .level = o.level, .keep = o.keep, .n_keep = o.n_keep};
    struct target t = {0};
    struct progress_of p = {.fn = progress, .context = context};
    map_init(&r.words);
    int result = make_key(&r, o.salt, err);
    if (result == 0) {
        result = file_new_open(&t.file, out_path, o.writer.overwrite, err);
        if (result == 0)
            result = write_target(&t, &r, &o, &p, err);
        file_new_close(&t.file);
    }
    free(t.bytes);
    release(&r);
    return result;
}
