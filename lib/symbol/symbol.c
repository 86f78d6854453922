/* Policy of symbolization: which files speak for a module, and which of their words is believed.
 *
 * A module's own file must have the build id that was recorded, else only a debug file found by
 * that id is used. Lines, files and inlined functions come from DWARF, of the module or of its
 * separate debug file; names of functions that DWARF does not give, or gives without their scope,
 * from .symtab, then .dynsym. Symbol tables stay loaded up to a limit; DWARF is read anew, in a
 * process of its own, by each call of symbolizer_lookup. */
#include "symbol/symbol.h"

#include <elf.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <heapsnap/snapdef.h>

#include "base/err.h"
#include "base/mem.h"
#include "symbol/cache.h"
#include "symbol/debugfile.h"
#include "symbol/demangle.h"
#include "symbol/dwarf.h"
#include "symbol/image_data.h"
#include "symbol/isolate.h"
#include "symbol/strings.h"
#include "symbol/symtab.h"

#define TABLES_MAX_BYTES ((size_t)256 << 20)
#define MODULE_NS_DEFAULT UINT64_C(2000000000)
#define MODULES_MAX UINT32_C(1000000)

struct module {
    char *path;
    char *build_id; /* NULL: not compared */
    int is_loaded;  /* table is valid (perhaps empty) */
    int has_dwarf;  /* meaningful once loaded */
    struct symtab table;
    struct image_data *data;   /* NULL: not asked for yet */
    struct image_words *words; /* likewise */
    struct cache cache;
    int has_cache; /* cache is read */
};

struct symbolizer {
    char **debug_dirs; /* NULL-terminated */
    int no_dwarf;
    uint64_t max_module_ns;
    const char *cache_directory; /* NULL: none */
    int is_late;                 /* the last lookup ran out of time */
    struct module *modules;
    uint32_t n_modules;
    uint32_t modules_capacity;
    size_t tables_bytes;
    struct strings strings;
};

/* A frame found by DWARF, its strings kept. */
struct frame {
    const char *function; /* as in struct dwarf_frame */
    const char *file;
    uint32_t line;
    int is_linkage;
};

/* Answers of DWARF for one call. */
struct answers {
    struct symbolizer *s;
    struct frame *frames;
    size_t n_frames;
    size_t capacity;
    size_t *firsts; /* per address: first frame + 1, 0: none */
    uint8_t *counts;
    int is_out_of_memory;
};

/* The open files of a module. */
struct files {
    struct elf_file own;
    struct elf_file debug;
    char *debug_path;
    int has_own;
    int has_debug;
};

static size_t count_colons(const char *text) {
    size_t n = 0;
    for (; *text; text++)
        n += *text == ':';
    return n;
}

static int add_dir(char **dirs, size_t *n, const char *text, size_t length) {
    if (length == 0)
        return 1;
    dirs[*n] = strndup(text, length);
    return dirs[*n] ? ++*n, 1 : 0;
}

/* Copies the list of directories, or makes the default one. NULL: no memory. */
static char **make_dirs(const char *const *given) {
    const char *environment = given ? NULL : getenv("HEAPSNAP_DEBUG_DIRS");
    if (!environment)
        environment = "";
    size_t capacity = count_colons(environment) + 3, n = 0;
    for (size_t i = 0; given && given[i]; i++)
        capacity++;
    char **const dirs = calloc(capacity, sizeof *dirs);
    int ok = dirs != NULL;
    while (ok && *environment) {
        const size_t length = strcspn(environment, ":");
        ok = add_dir(dirs, &n, environment, length);
        environment += length + (environment[length] == ':');
    }
    for (size_t i = 0; ok && given && given[i]; i++)
        ok = add_dir(dirs, &n, given[i], strlen(given[i]));
    if (ok && !given)
        ok = add_dir(dirs, &n, "/usr/lib/debug", strlen("/usr/lib/debug"));
    if (ok)
        return dirs;
    for (size_t i = 0; i < n; i++)
        free(dirs[i]);
    free(dirs);
    return NULL;
}

int symbolizer_new(struct symbolizer **out, const struct symbolizer_options *options,
                   snap_error *err) {
    static const struct symbolizer_options defaults;
    if (!options)
        options = &defaults;
    struct symbolizer *const s = calloc(1, sizeof *s);
    if (!s)
        return err_set(err, SNAP_E_NOMEM, "out of memory");
    s->no_dwarf = options->no_dwarf;
    s->max_module_ns = options->max_module_ns ? options->max_module_ns : MODULE_NS_DEFAULT;
    s->cache_directory = options->no_dwarf || options->debug_dirs ? NULL : cache_directory();
    s->debug_dirs = make_dirs(options->debug_dirs);
    if (!s->debug_dirs) {
        free(s);
        return err_set(err, SNAP_E_NOMEM, "out of memory");
    }
    *out = s;
    return SNAP_OK;
}

static void release_data(struct module *module) {
    if (module->data)
        image_data_release(module->data);
    if (module->words)
        image_words_release(module->words);
    free(module->data);
    free(module->words);
}

void symbolizer_free(struct symbolizer *s) {
    if (!s)
        return;
    for (uint32_t i = 0; i < s->n_modules; i++) {
        symtab_release(&s->modules[i].table);
        release_data(&s->modules[i]);
        cache_release(&s->modules[i].cache);
        free(s->modules[i].path);
        free(s->modules[i].build_id);
    }
    free(s->modules);
    for (size_t i = 0; s->debug_dirs[i]; i++)
        free(s->debug_dirs[i]);
    free(s->debug_dirs);
    strings_release(&s->strings);
    free(s);
}

int symbolizer_module(struct symbolizer *s, const char *path, const char *build_id,
                      uint32_t *out_module, snap_error *err) {
    if (s->n_modules == MODULES_MAX)
        return err_set(err, SNAP_E_LIMIT, "more than %u modules", MODULES_MAX);
    if (s->n_modules == s->modules_capacity) {
        const uint32_t capacity = s->modules_capacity ? s->modules_capacity * 2 : 64;
        struct module *const grown = realloc(s->modules, capacity * sizeof *grown);
        if (!grown)
            return err_set(err, SNAP_E_NOMEM, "out of memory");
        s->modules = grown;
        s->modules_capacity = capacity;
    }
    struct module module = {.path = strdup(path)};
    if (build_id && *build_id)
        module.build_id = strdup(build_id);
    if (!module.path || (build_id && *build_id && !module.build_id)) {
        free(module.path);
        free(module.build_id);
        return err_set(err, SNAP_E_NOMEM, "out of memory");
    }
    s->modules[s->n_modules] = module;
    *out_module = s->n_modules++;
    return SNAP_OK;
}

/* Bytes of a hexadecimal build id; 0 if it is none. */
static size_t parse_build_id(const char *hex, uint8_t out[ELF_BUILD_ID_MAX]) {
    static const char digits[] = "0123456789abcdef";
    const size_t length = strlen(hex);
    if (length % 2 || length > (size_t)2 * ELF_BUILD_ID_MAX)
        return 0;
    for (size_t i = 0; i < length; i++) {
        const char *const digit = strchr(digits, hex[i] | 0x20);
        if (!digit || !*digit)
            return 0;
        out[i / 2] = (uint8_t)(out[i / 2] << 4 | (digit - digits));
    }
    return length / 2;
}

static int has_dwarf(const struct elf_file *elf) {
    return elf_find(elf, ".debug_info") != NULL;
}

static void close_files(struct files *files) {
    if (files->has_own)
        elf_close(&files->own);
    if (files->has_debug)
        elf_close(&files->debug);
    free(files->debug_path);
}

/* Opens what there is of a module's own and separate files. */
static int open_files(struct symbolizer *s, const struct module *module, struct files *files) {
    memset(files, 0, sizeof *files);
    const char *const *const dirs = (const char *const *)s->debug_dirs;
    uint8_t wanted[ELF_BUILD_ID_MAX] = {0};
    size_t n_wanted = module->build_id ? parse_build_id(module->build_id, wanted) : 0;
    int result = elf_open(&files->own, module->path);
    if (result < 0)
        return result;
    files->has_own = result;
    if (files->has_own && module->build_id && !elf_build_id_is(&files->own, module->build_id)) {
        elf_close(&files->own);
        files->has_own = 0;
    }
    const uint8_t *build_id = wanted;
    if (files->has_own) {
        build_id = files->own.build_id;
        n_wanted = files->own.n_build_id;
        if (has_dwarf(&files->own) && elf_find(&files->own, ".symtab"))
            return SNAP_OK;
    }
    result = debugfile_open(&files->debug, &files->debug_path, module->path,
                            files->has_own ? &files->own : NULL, build_id, n_wanted, dirs);
    if (result < 0) {
        close_files(files);
        return result;
    }
    files->has_debug = result;
    return SNAP_OK;
}

/* Adds a file's table of that name if it has one. */
static int add_table(struct symtab *table, const struct elf_file *elf, const char *name,
                     uint32_t type, uint8_t source) {
    const struct elf_section *const section = elf_find(elf, name);
    if (!section || section->type != type)
        return 0;
    return symtab_add(table, elf, section, source);
}

static int load_tables(struct symtab *table, const struct files *files) {
    int result = 0;
    if (files->has_own)
        result = add_table(table, &files->own, ".symtab", SHT_SYMTAB, SNAP_SYMB_SYMTAB);
    if (result >= 0 && files->has_debug)
        result = add_table(table, &files->debug, ".symtab", SHT_SYMTAB, SNAP_SYMB_SYMTAB);
    if (result >= 0 && files->has_own)
        result = add_table(table, &files->own, ".dynsym", SHT_DYNSYM, SNAP_SYMB_DYNSYM);
    if (result >= 0 && files->has_own)
        result = symtab_add_plt(table, &files->own);
    if (result >= 0)
        result = symtab_finish(table);
    if (result < 0)
        symtab_release(table);
    return result < 0 ? result : SNAP_OK;
}

static void drop_tables(struct symbolizer *s) {
    for (uint32_t i = 0; i < s->n_modules; i++) {
        symtab_release(&s->modules[i].table);
        s->modules[i].is_loaded = 0;
    }
    s->tables_bytes = 0;
}

static int load_module(struct symbolizer *s, struct module *module, const struct files *files,
                       snap_error *err) {
    if (s->tables_bytes > TABLES_MAX_BYTES)
        drop_tables(s);
    if (load_tables(&module->table, files) < 0)
        return err_set(err, SNAP_E_NOMEM, "out of memory for the symbols of '%s'", module->path);
    s->tables_bytes += module->table.bytes;
    module->has_dwarf = (files->has_own && has_dwarf(&files->own)) ||
                        (files->has_debug && has_dwarf(&files->debug));
    module->is_loaded = 1;
    return SNAP_OK;
}

static const char *keep(struct answers *answers, const char *text) {
    const char *const kept = strings_add(&answers->s->strings, text, strlen(text));
    if (!kept)
        answers->is_out_of_memory = 1;
    return kept;
}

static void take_answer(void *context, size_t index, const struct dwarf_frame *frames, size_t n) {
    struct answers *const answers = context;
    if (answers->is_out_of_memory)
        return;
    if (answers->n_frames + n > answers->capacity) {
        const size_t capacity = 2 * (answers->capacity + n);
        struct frame *const grown = realloc(answers->frames, capacity * sizeof *grown);
        if (!grown) {
            answers->is_out_of_memory = 1;
            return;
        }
        answers->frames = grown;
        answers->capacity = capacity;
    }
    for (size_t i = 0; i < n; i++) {
        const struct frame frame = {.function = keep(answers, frames[i].function),
                                    .file = keep(answers, frames[i].file),
                                    .line = frames[i].line,
                                    .is_linkage = frames[i].is_linkage};
        if (answers->is_out_of_memory)
            return;
        answers->frames[answers->n_frames + i] = frame;
    }
    answers->firsts[index] = answers->n_frames + 1;
    answers->counts[index] = (uint8_t)n;
    answers->n_frames += n;
}

/* The readable, kept form of a symbol's name. */
static const char *readable(struct answers *answers, const char *name, int is_plt) {
    char text[DEMANGLE_MAX_BYTES + sizeof "@plt"];
    size_t length = demangle(name, text);
    if (is_plt) {
        memcpy(text + length, "@plt", sizeof "@plt");
        length += strlen("@plt");
    }
    const char *const kept = strings_add(&answers->s->strings, text, length);
    if (!kept)
        answers->is_out_of_memory = 1;
    return kept ? kept : "";
}

/* Asks DWARF, of the module itself or of its debug file. Returns the source of the answers. */
static uint32_t ask_dwarf(struct answers *answers, const struct module *module, struct files *files,
                          const uint64_t *offsets, size_t n) {
    struct symbolizer *const s = answers->s;
    const int is_own = files->has_own && has_dwarf(&files->own);
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    const struct dwarf_request request = {
        .elf = is_own ? &files->own : &files->debug,
        .path = is_own ? module->path : files->debug_path,
        .dirs = (const char *const *)s->debug_dirs,
        .addresses = offsets,
        .n = n,
        .deadline_ns =
            (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec + s->max_module_ns,
    };
    isolate_dwarf_lookup(&request, take_answer, answers);
    clock_gettime(CLOCK_MONOTONIC, &now);
    s->is_late = (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec >= request.deadline_ns;
    return is_own ? SNAP_SYMB_DWARF : SNAP_SYMB_SEPARATE;
}

/* The function of the outermost position: a name with its scope, from the symbol table if DWARF's
 * has none. */
static const char *outermost_name(struct answers *answers, const struct frame *frame,
                                  const struct symtab_entry *symbol) {
    if (symbol && !symbol->is_plt && !frame->is_linkage &&
        (!*frame->function || demangle_is_mangled(symbol->name)))
        return readable(answers, symbol->name, 0);
    return readable(answers, frame->function, 0);
}

static void emit_one(struct answers *answers, const struct module *module, size_t index,
                     uint64_t offset, uint32_t dwarf_source,
                     void (*emit)(void *, size_t, const struct symbol_position *, size_t),
                     void *context) {
    struct symbol_position positions[DWARF_FRAMES_MAX];
    size_t n = 0;
    const struct symtab_entry *const symbol = symtab_find(&module->table, offset);
    if (answers->firsts && answers->firsts[index]) {
        const struct frame *const frames = &answers->frames[answers->firsts[index] - 1];
        n = answers->counts[index];
        for (size_t i = 0; i < n; i++) {
            positions[i] = (struct symbol_position){
                .function = i + 1 < n ? readable(answers, frames[i].function, 0)
                                      : outermost_name(answers, &frames[i], symbol),
                .file = frames[i].file,
                .line = frames[i].line,
                .source = dwarf_source,
            };
        }
    } else if (symbol) {
        positions[n++] = (struct symbol_position){
            .function = readable(answers, symbol->name, symbol->is_plt),
            .file = "",
            .source = symbol->source,
        };
    }
    if (!answers->is_out_of_memory)
        emit(context, index, positions, n);
}

static int lookup_anew(struct symbolizer *s, struct module *module, const uint64_t *offsets,
                       size_t n,
                       void (*emit)(void *context, size_t index,
                                    const struct symbol_position *positions, size_t n_positions),
                       void *context, snap_error *err) {
    struct answers answers = {.s = s};
    s->is_late = 0;
    uint32_t dwarf_source = 0;
    const int may_ask = !s->no_dwarf && dwarf_is_built();
    if (!module->is_loaded || (may_ask && module->has_dwarf)) {
        struct files files;
        if (open_files(s, module, &files) < 0)
            return err_set(err, SNAP_E_NOMEM, "out of memory");
        const int result = module->is_loaded ? SNAP_OK : load_module(s, module, &files, err);
        if (result < 0) {
            close_files(&files);
            return result;
        }
        if (may_ask && ((files.has_own && has_dwarf(&files.own)) ||
                        (files.has_debug && has_dwarf(&files.debug)))) {
            answers.firsts = calloc(n, sizeof *answers.firsts);
            answers.counts = calloc(n, sizeof *answers.counts);
            if (answers.firsts && answers.counts)
                dwarf_source = ask_dwarf(&answers, module, &files, offsets, n);
            else
                answers.is_out_of_memory = 1;
        }
        close_files(&files);
    }
    for (size_t i = 0; i < n && !answers.is_out_of_memory; i++)
        emit_one(&answers, module, i, offsets[i], dwarf_source, emit, context);
    free(answers.frames);
    free(answers.firsts);
    free(answers.counts);
    if (answers.is_out_of_memory)
        return err_set(err, SNAP_E_NOMEM, "out of memory");
    return SNAP_OK;
}

struct fresh {
    struct cache found;
    const uint64_t *offsets;
};

static void take_fresh(void *context, size_t index, const struct symbol_position *positions,
                       size_t n) {
    struct fresh *const f = context;
    cache_add(&f->found, f->offsets[index], positions, n);
}

/* Remembers what was found; what was not, only if there was time to look for it. */
static void keep_fresh(const struct symbolizer *s, struct module *module,
                       const struct cache *found) {
    uint64_t last = UINT64_MAX;
    for (size_t i = 0; i < found->n; i++) {
        const struct cache_entry *const e = &found->entries[i];
        const struct symbol_position *const p = &found->positions[e->first];
        const int is_by_dwarf =
            e->n > 0 && (p->source == SNAP_SYMB_DWARF || p->source == SNAP_SYMB_SEPARATE);
        if (e->offset != last && (is_by_dwarf || !s->is_late))
            cache_add(&module->cache, e->offset, p, e->n);
        last = e->offset;
    }
    cache_write(&module->cache, s->cache_directory, module->build_id);
}

static int lookup_cached(struct symbolizer *s, struct module *module, const uint64_t *offsets,
                         size_t n,
                         void (*emit)(void *context, size_t index,
                                      const struct symbol_position *positions, size_t n_positions),
                         void *context, snap_error *err) {
    struct cache *const c = &module->cache;
    if (!module->has_cache)
        cache_read(c, s->cache_directory, module->build_id, &s->strings);
    module->has_cache = 1;
    uint64_t *const unknown = mem_alloc(n, sizeof *unknown);
    struct fresh fresh = {.offsets = unknown};
    if (!unknown)
        return err_set(err, SNAP_E_NOMEM, "out of memory");
    size_t n_unknown = 0, next = 0;
    for (size_t i = 0; i < n; i++)
        if (!cache_find(c, offsets[i]))
            unknown[n_unknown++] = offsets[i];
    int result =
        n_unknown ? lookup_anew(s, module, unknown, n_unknown, take_fresh, &fresh, err) : 0;
    if (result == SNAP_OK && fresh.found.n != n_unknown)
        result = err_set(err, SNAP_E_NOMEM, "out of memory");
    for (size_t i = 0; i < n && result == SNAP_OK; i++) {
        const struct cache_entry *e = cache_find(c, offsets[i]);
        const struct cache *const from = e ? c : &fresh.found;
        e = e ? e : &fresh.found.entries[next++];
        emit(context, i, from->positions + e->first, e->n);
    }
    if (result == SNAP_OK && n_unknown)
        keep_fresh(s, module, &fresh.found);
    cache_release(&fresh.found);
    free(unknown);
    return result;
}

int symbolizer_lookup(struct symbolizer *s, uint32_t module_index, const uint64_t *offsets,
                      size_t n,
                      void (*emit)(void *context, size_t index,
                                   const struct symbol_position *positions, size_t n_positions),
                      void *context, snap_error *err) {
    if (module_index >= s->n_modules)
        return err_set(err, SNAP_E_ARG, "no module %u", module_index);
    for (size_t i = 1; i < n; i++) {
        if (offsets[i] < offsets[i - 1])
            return err_set(err, SNAP_E_ARG, "offsets are not ascending");
    }
    struct module *const module = &s->modules[module_index];
    if (n == 0)
        return SNAP_OK;
    return s->cache_directory && module->build_id
               ? lookup_cached(s, module, offsets, n, emit, context, err)
               : lookup_anew(s, module, offsets, n, emit, context, err);
}

static int add_variables(struct image_data *data, const struct elf_file *elf, const char *name,
                         uint32_t type, uint8_t source) {
    const struct elf_section *const section = elf_find(elf, name);
    return section && section->type == type ? image_data_add(data, elf, section, source) : 0;
}

static int load_data(struct image_data *data, const struct files *files) {
    int result = 0;
    if (files->has_own)
        result = image_data_add_sections(data, &files->own);
    if (result == 0 && files->has_own)
        result = add_variables(data, &files->own, ".symtab", SHT_SYMTAB, SNAP_SYMB_SYMTAB);
    if (result == 0 && files->has_debug)
        result = add_variables(data, &files->debug, ".symtab", SHT_SYMTAB, SNAP_SYMB_SYMTAB);
    if (result == 0 && files->has_own)
        result = add_variables(data, &files->own, ".dynsym", SHT_DYNSYM, SNAP_SYMB_DYNSYM);
    return result == 0 ? image_data_finish(data) : result;
}

int symbolizer_data(struct symbolizer *s, uint32_t module_index, const struct image_data **out,
                    snap_error *err) {
    if (module_index >= s->n_modules)
        return err_set(err, SNAP_E_ARG, "no module %u", module_index);
    struct module *const module = &s->modules[module_index];
    if (!module->data) {
        struct files files;
        module->data = calloc(1, sizeof *module->data);
        if (!module->data || open_files(s, module, &files) < 0)
            return err_set(err, SNAP_E_NOMEM, "out of memory");
        const int result = load_data(module->data, &files);
        close_files(&files);
        if (result < 0)
            return err_set(err, SNAP_E_NOMEM, "out of memory for the variables of '%s'",
                           module->path);
    }
    *out = module->data;
    return SNAP_OK;
}

int symbolizer_words(struct symbolizer *s, uint32_t module_index, const struct image_words **out,
                     snap_error *err) {
    if (module_index >= s->n_modules)
        return err_set(err, SNAP_E_ARG, "no module %u", module_index);
    struct module *const module = &s->modules[module_index];
    if (!module->words) {
        struct files files;
        module->words = calloc(1, sizeof *module->words);
        if (!module->words || open_files(s, module, &files) < 0)
            return err_set(err, SNAP_E_NOMEM, "out of memory");
        const int result = files.has_own ? image_words_load(module->words, &files.own) : 0;
        close_files(&files);
        if (result < 0)
            return err_set(err, SNAP_E_NOMEM, "out of memory for the relocations of '%s'",
                           module->path);
    }
    *out = module->words;
    return SNAP_OK;
}

int symbolizer_open_dwarf(struct symbolizer *s, uint32_t module_index, struct elf_file *out,
                          char **out_path) {
    struct files files;
    if (module_index >= s->n_modules || s->no_dwarf)
        return 0;
    const struct module *const module = &s->modules[module_index];
    if (open_files(s, module, &files) < 0)
        return SNAP_E_NOMEM;
    int result = 0;
    if (files.has_own && has_dwarf(&files.own)) {
        *out_path = strdup(module->path);
        if (*out_path) {
            *out = files.own;
            files.has_own = 0;
        }
        result = *out_path ? 1 : SNAP_E_NOMEM;
    } else if (files.has_debug && has_dwarf(&files.debug)) {
        *out_path = files.debug_path;
        *out = files.debug;
        files.debug_path = NULL;
        files.has_debug = 0;
        result = 1;
    }
    close_files(&files);
    return result;
}

const char *const *symbolizer_debug_dirs(const struct symbolizer *s) {
    return (const char *const *)s->debug_dirs;
}
