/* Layouts of two small programs as several compilers describe them, and of damaged copies.
 *
 * argv: the programs, those in C++ with ".cc" in their names. $LAYOUT_MUTATIONS: how many damaged
 * copies of each to read; the seed is fixed, so that a failure can be repeated. */
#include "symbol/layout.h"

#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "model/word.h"
#include "symbol/elf.h"
#include "symbol/symbol.h"

static char **programs;
static int n_programs;

static struct layout *load(const char *path, const uint64_t *words, size_t n_words,
                           const char *const *names, size_t n_names, int expected) {
    static const uint64_t tls_words[] = {0, 8, 16, 24};
    static uint8_t sizes[LAYOUT_SIZES / 8];
    struct symbolizer *s;
    struct layout *l;
    uint64_t hashes[8];
    uint32_t module;
    int result = -1;
    for (size_t i = 0; i < n_names; i++)
        hashes[i] = layout_name_hash(names[i]);
    if (n_names == 2 && hashes[0] > hashes[1]) {
        const uint64_t other = hashes[0];
        hashes[0] = hashes[1];
        hashes[1] = other;
    }
    memset(sizes, 255, sizeof sizes);
    ck_assert_int_eq(symbolizer_new(&s, NULL, NULL), 0);
    ck_assert_int_eq(symbolizer_module(s, path, NULL, &module, NULL), 0);
    ck_assert_int_eq(layout_new(&l, NULL), 0);
    const struct layout_query query = {.module = module,
                                       .number = 1,
                                       .bias = 0x10000,
                                       .words = words,
                                       .n_words = n_words,
                                       .tls_words = tls_words,
                                       .n_tls_words = 4,
                                       .names = hashes,
                                       .n_names = n_names,
                                       .sizes = expected < 0 ? sizes : NULL,
                                       .budget_ns = 2000000000};
    ck_assert_int_eq(layout_load(l, s, &query, &result, NULL), 0);
    if (expected >= 0)
        ck_assert_int_eq(result, expected);
    ck_assert_int_eq(layout_finish(l, NULL), 0);
    symbolizer_free(s);
    return l;
}

/* All words of a program's writable data, in the order of addresses. */
static uint64_t *data_words(const char *path, size_t *out_n) {
    struct elf_file elf;
    uint64_t *words = NULL;
    size_t n = 0;
    ck_assert_int_eq(elf_open(&elf, path), 1);
    for (uint32_t i = 0; i < elf.n_sections; i++) {
        const struct elf_section *const section = &elf.sections[i];
        /* SHF_WRITE, SHF_ALLOC, but not SHF_TLS */
        if ((section->flags & 0x403) != 3)
            continue;
        words = realloc(words, (n + section->memory_size / 8 + 1) * sizeof *words);
        ck_assert_ptr_nonnull(words);
        for (uint64_t at = 0; at + 8 <= section->memory_size; at += 8)
            words[n++] = section->address + at;
    }
    elf_close(&elf);
    *out_n = n;
    return words;
}

static const struct layout_variable *find(const struct layout *l, const uint64_t *words, size_t n,
                                          const char *name) {
    for (size_t i = 0; i < n; i++) {
        const struct layout_variable *const variable = layout_variable_at(l, words[i] + 0x10000);
        char text[256];
        if (!variable)
            continue;
        snprintf(text, sizeof text, "%s%s%s", variable->function ? variable->function : "",
                 variable->function ? "::" : "", variable->name);
        if (strcmp(text, name) == 0)
            return variable;
    }
    ck_abort_msg("no variable %s", name);
    return NULL;
}

static void check_word(struct words *w, uint32_t type, uint64_t offset, const char *label,
                       const char *target) {
    const struct word word = words_at(w, type, offset);
    char name[256] = "nothing";
    size_t length;
    if (word.target)
        words_type_name(w, word.target, name, sizeof name);
    ck_assert_str_eq(strtab_text(&w->labels, word.label, &length), label);
    ck_assert_str_eq(name, target);
}

static int has_text(const char *path, const char *text) {
    struct elf_file elf;
    ck_assert_int_eq(elf_open(&elf, path), 1);
    ck_assert_int_eq(elf_map(&elf), 1);
    const int found = memmem(elf.map, elf.size, text, strlen(text)) != NULL;
    elf_close(&elf);
    return found;
}

/* Pointers, or what they point at in their places. */
static void check_in_place(const char *path, struct layout *l, struct words *w,
                           const uint64_t *words, size_t n) {
    const struct layout_variable *const store = find(l, words, n, "g_store"), *const table =
                                                                                  find(l, words, n,
                                                                                       "g_table");
    ck_assert_int_eq(store->is_target, has_text(path, "g_store.body"));
    ck_assert_int_eq(table->is_target, has_text(path, "g_table.body"));
    const uint32_t type = store->is_target ? store->type : layout_type_get(l, store->type)->target;
    ck_assert_str_eq(layout_type_get(l, type)->name, "struct store");
    check_word(w, type, 8, "first", "struct item");
    ck_assert_uint_eq(store->size, store->is_target ? 16 : 8);
    ck_assert_uint_eq(table->size, table->is_target ? 320 : 8);
    if (table->is_target)
        check_word(w, table->type, 24, "[*]", "struct item");
}

static void check_c(const char *path) {
    size_t n;
    uint64_t *const words = data_words(path, &n);
    struct layout *const l = load(path, words, n, NULL, 0, LAYOUT_LOADED);
    struct words w;
    words_init(&w, l);
    const uint32_t items = find(l, words, n, "g_items")->type;
    const struct layout_type *const array = layout_type_get(l, items);
    ck_assert_int_eq(array->kind, LAYOUT_ARRAY);
    ck_assert_uint_eq(array->n_elements, 3);
    const struct layout_type *const item = layout_type_get(l, array->target);
    ck_assert_str_eq(item->name, "struct item");
    ck_assert_uint_eq(item->size, 48);
    ck_assert_uint_eq(array->size, 144);
    check_word(&w, items, 96, "[*].next", "struct item");
    check_word(&w, items, 48 + 8, "[*].as.pointer", "nothing");
    ck_assert_uint_eq(words_at(&w, items, 48 + 8).flags, WORD_POINTER | WORD_VOID);
    ck_assert_uint_eq(words_at(&w, items, 16).flags, 0);
    check_word(&w, items, 40, "[*].unknown", "struct unknown");
    ck_assert(layout_type_get(l, words_at(&w, items, 40).target)->is_declaration);
    const uint32_t holder = find(l, words, n, "g_holder")->type;
    ck_assert_str_eq(layout_type_get(l, holder)->name, "holder_t");
    check_word(&w, holder, 40, "items[*]", "struct item");
    check_word(&w, holder, 64, "function", "function");
    check_word(&w, find(l, words, n, "g_message")->type, 0, "", "struct message");
    check_in_place(path, l, &w, words, n);
    check_word(&w, find(l, words, n, "main::cache")->type, 0, "", "struct item");
    /* GCC does not say in split units that a variable is thread-local. */
    const struct layout_variable *const tls = layout_tls_at(l, 1, 0);
    if (!strstr(path, "gcc_split")) {
        ck_assert_ptr_nonnull(tls);
        ck_assert_str_eq(tls->name, "t_item");
    }
    const uint32_t message = words_at(&w, find(l, words, n, "g_message")->type, 0).target;
    uint64_t from, element;
    ck_assert(words_is_flexible(&w, message, &from, &element));
    ck_assert_uint_eq(from, 4);
    ck_assert_uint_eq(element, 1);
    words_release(&w);
    layout_free(l);
    free(words);
}

static void check_cc(const char *path) {
    static const char *const names[] = {"shop::Virtual", "shop::Box<unsigned long, 2>"};
    size_t n;
    uint64_t *const words = data_words(path, &n);
    struct layout *const l = load(path, words, n, names, 2, LAYOUT_LOADED);
    struct words w;
    words_init(&w, l);
    const uint32_t derived = find(l, words, n, "shop::g_derived")->type;
    ck_assert_str_eq(layout_type_get(l, derived)->name, "shop::Derived");
    check_word(&w, derived, 24, "left", "shop::Side");
    check_word(&w, derived, 32, "box", "shop::Box<unsigned long, 2>");
    check_word(&w, derived, 40, "inner.outer", "shop::Box<shop::Derived*, 3>");
    ck_assert(words_has_part(&w, derived, 16, layout_by_name(l, "shop::Side")));
    ck_assert(words_has_part(&w, derived, 0, layout_by_name(l, "shop::Base")));
    ck_assert(!words_has_part(&w, derived, 8, layout_by_name(l, "shop::Side")));
    check_word(&w, find(l, words, n, "shop::Derived::first")->type, 0, "", "shop::Derived");
    check_word(&w, find(l, words, n, "main::once")->type, 0, "", "shop::Derived");
    check_word(&w, find(l, words, n, "(anonymous namespace)::hidden")->type, 0, "",
               "shop::Virtual");
    /* However it is spelled. */
    const uint32_t box = layout_by_name(l, "shop::Box<unsigned long, 2>");
    ck_assert_uint_ne(box, 0);
    ck_assert_uint_eq(layout_by_name(l, "shop::Box<long unsigned int, 2>"), box);
    ck_assert_uint_eq(layout_by_name(l, "shop::Box<unsigned int, 2>"), 0);
    ck_assert_int_eq(layout_type_get(l, layout_argument(l, box, 0))->kind, LAYOUT_SCALAR);
    ck_assert(layout_type_get(l, layout_by_name(l, "shop::Virtual"))->has_virtual_base);
    words_release(&w);
    layout_free(l);
    free(words);
}

START_TEST(layouts_are_those_of_the_source) {
    if (strstr(programs[_i], "_cc_"))
        check_cc(programs[_i]);
    else
        check_c(programs[_i]);
}
END_TEST

START_TEST(names_are_compared_by_meaning) {
    static const char *const same[][2] = {
        {"a<unsigned long>", "a<long unsigned int>"},
        {"a<short>", "a<short int>"},
        {"a<char, int>", "a<char,int>"},
        {"a<std::pair<int const, b> >", "a<std::pair<const int, b>>"},
        {"a<(lock)2>", "a<__gnu_cxx::_S_atomic>"},
        {"a<3>", "a<3ul>"},
        {"struct a", "a"},
        {"f[abi:cxx11]", "f"},
        {"a<unsigned>", "a<unsigned int>"},
        {"a<long long>", "a<long long int>"},
    };
    static const char *const different[][2] = {
        {"a<unsigned long>", "a<long>"},
        {"a<signed char>", "a<char>"},
        {"a<unsigned char>", "a<char>"},
        {"a<3>", "a<4>"},
        {"a<b, c>", "a<bc>"},
        {"a<long>", "a<long long>"},
        {"a::b", "a"},
        {"internal", "ernal"},
    };
    for (size_t i = 0; i < sizeof same / sizeof *same; i++)
        ck_assert_msg(layout_name_hash(same[i][0]) == layout_name_hash(same[i][1]), "%s, %s",
                      same[i][0], same[i][1]);
    for (size_t i = 0; i < sizeof different / sizeof *different; i++)
        ck_assert_msg(layout_name_hash(different[i][0]) != layout_name_hash(different[i][1]),
                      "%s, %s", different[i][0], different[i][1]);
}
END_TEST

START_TEST(plain_names_leave_out_defaults) {
    static const char *const names[][2] = {
        {"std::map<int, shop::Item, std::less<int>, std::allocator<std::pair<int const, "
         "shop::Item> > >",
         "std::map<int, shop::Item>"},
        {"std::vector<std::__cxx11::basic_string<char, std::char_traits<char>, "
         "std::allocator<char> >, std::allocator<std::__cxx11::basic_string<char, "
         "std::char_traits<char>, std::allocator<char> > > >",
         "std::vector<std::string>"},
        {"std::unique_ptr<a, std::default_delete<a> >", "std::unique_ptr<a>"},
        {"mystd::allocator<a *>", "mystd::allocator<a*>"},
        {"struct session", "struct session"},
        {"f<long unsigned int, short int, print>", "f<unsigned long, short, print>"},
        {"signed char", "signed char"},
        {"interval<unsigned>", "interval<unsigned int>"},
        {"long double", "long double"},
        {"std::vector<a, pool::allocator<a> >", "std::vector<a, pool::allocator<a>>"},
    };
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        char plain[256];
        words_plain_name(names[i][0], plain, sizeof plain);
        ck_assert_str_eq(plain, names[i][1]);
    }
}
END_TEST

static uint64_t random_state = 1;
static size_t next_random(size_t limit) {
    random_state = random_state * 6364136223846793005u + 1442695040888963407u;
    return (size_t)(random_state >> 20) % limit;
}

/* Uses all of a layout, however odd. */
static void use(struct layout *l) {
    struct words w;
    words_init(&w, l);
    const uint32_t n = layout_n_types(l);
    for (uint32_t type = 1; type <= n; type++) {
        const struct layout_type *const t = layout_type_get(l, type);
        const struct layout_field *const fields = layout_fields(l, type);
        char name[256];
        uint64_t from, element;
        ck_assert_uint_le(t->target, n);
        for (uint32_t i = 0; i < t->n_fields; i++) {
            ck_assert_uint_le(fields[i].type, n);
            ck_assert(i == 0 || fields[i].offset >= fields[i - 1].offset);
        }
        words_type_name(&w, type, name, sizeof name);
        words_is_flexible(&w, type, &from, &element);
        for (uint64_t offset = 0; offset < t->size && offset < 512; offset += 8) {
            words_at(&w, type, offset);
            words_has_part(&w, type, offset, 1 + (uint32_t)next_random(n));
        }
        layout_by_name(l, t->name);
    }
    words_release(&w);
}

static void damage(const char *from, const char *to, unsigned number) {
    FILE *const in = fopen(from, "rb"), *const out = fopen(to, "wb");
    ck_assert_ptr_nonnull(in);
    ck_assert_ptr_nonnull(out);
    fseek(in, 0, SEEK_END);
    size_t size = (size_t)ftell(in);
    rewind(in);
    uint8_t *const bytes = malloc(size);
    ck_assert_ptr_nonnull(bytes);
    ck_assert_uint_eq(fread(bytes, 1, size, in), size);
    struct elf_file elf;
    ck_assert_int_eq(elf_open(&elf, from), 1);
    static const char *const sections[] = {".debug_info",   ".debug_info", ".debug_abbrev",
                                           ".debug_abbrev", ".debug_str",  ".debug_line_str",
                                           ".debug_types",  ".debug_addr"};
    const struct elf_section *section =
        elf_find(&elf, sections[number % (sizeof sections / sizeof *sections)]);
    if (!section)
        section = elf_find(&elf, ".debug_info");
    const size_t n = 1 + next_random(number % 3 == 0 ? 200 : 4);
    for (size_t i = 0; section && i < n; i++)
        bytes[section->offset + next_random(section->size)] =
            next_random(3) ? (uint8_t)next_random(256) : 255;
    if (number % 17 == 0)
        bytes[next_random(size)] ^= (uint8_t)(1 + next_random(255));
    if (number % 31 == 0)
        size = next_random(size);
    elf_close(&elf);
    fwrite(bytes, 1, size, out);
    fclose(in);
    fclose(out);
    free(bytes);
}

START_TEST(damaged_files_harm_nobody) {
    const char *const text = getenv("LAYOUT_MUTATIONS");
    const unsigned n = text ? (unsigned)strtoul(text, NULL, 10) : 40;
    char path[] = "/tmp/layout-XXXXXX";
    size_t n_words;
    uint64_t *const words = data_words(programs[_i], &n_words);
    const int fd = mkstemp(path);
    ck_assert_int_ge(fd, 0);
    close(fd);
    random_state = (uint64_t)_i + 1;
    for (unsigned i = 0; i < n; i++) {
        damage(programs[_i], path, i);
        struct layout *const l = load(path, words, n_words, NULL, 0, -1);
        use(l);
        layout_free(l);
    }
    unlink(path);
    free(words);
}
END_TEST

int main(int argc, char **argv) {
    programs = argv + 1;
    n_programs = argc - 1;
    Suite *const suite = suite_create("layout");
    TCase *const tcase = tcase_create("all");
    suite_add_tcase(suite, tcase);
    tcase_set_timeout(tcase, 240);
    tcase_add_loop_test(tcase, layouts_are_those_of_the_source, 0, n_programs);
    tcase_add_test(tcase, names_are_compared_by_meaning);
    tcase_add_test(tcase, plain_names_leave_out_defaults);
    tcase_add_loop_test(tcase, damaged_files_harm_nobody, 0, n_programs);
    SRunner *const runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    const int n_failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return n_failed ? 1 : 0;
}
