/* Damaged and truncated files are saved as far as they are whole, and redacted ones have no name
 * that they should not have. */
#include "support/sample.h"
#include "support/sanitized.h"

#include <heapsnap/convert.h>

#include <check.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static char folder[64], in_path[96], out_path[96];
static const snap_writer_options options = {
    .struct_size = sizeof options, .overwrite = 1, .no_sync = 1};

static void set_up(void) {
    snprintf(folder, sizeof folder, "/tmp/heapsnap-test-XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(folder));
    snprintf(in_path, sizeof in_path, "%s/in.snap", folder);
    snprintf(out_path, sizeof out_path, "%s/out.snap", folder);
}

static void tear_down(void) {
    unlink(in_path);
    unlink(out_path);
    ck_assert_int_eq(rmdir(folder), 0);
}

static void put_file(const uint8_t *data, size_t size) {
    const int fd = open(in_path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    ck_assert_int_ge(fd, 0);
    ck_assert_int_eq(write(fd, data, size), (ssize_t)size);
    close(fd);
}

static struct bytes read_file(const char *path) {
    struct bytes b = {.data = malloc(1 << 20)};
    FILE *const in = fopen(path, "rb");
    ck_assert_ptr_nonnull(in);
    b.size = fread(b.data, 1, 1 << 20, in);
    fclose(in);
    return b;
}

/* Repairs in_path; the result is sound, or the code is returned. */
static int repair(snap_repair_result *result) {
    snap_error err = {0};
    unlink(out_path);
    const int code = snap_repair(in_path, out_path, &options, result, NULL, NULL, &err);
    if (code < 0) {
        ck_assert_int_eq(err.code, code);
        ck_assert(*err.message);
        ck_assert_int_ne(access(out_path, F_OK), 0);
        return code;
    }
    snap_snapshot *s;
    ck_assert_msg(snap_open(&s, out_path, NULL, &err) == 0, "%s", err.message);
    ck_assert_msg(snap_verify(s, NULL, NULL, &err) == 0, "%s", err.message);
    uint64_t n_lost = 0;
    const int says = snap_meta_number(s, SNAP_META_COMPLETENESS, "lost_rows", &n_lost);
    ck_assert_int_eq(says, !result->is_whole);
    ck_assert_int_eq(n_lost > 0, !result->is_whole);
    for (snap_table t = SNAP_TABLE_MODS; t < SNAP_TABLE_SUMM; t++)
        ck_assert_uint_eq(snap_rows(s, t), result->n_rows[t]);
    snap_close(s);
    return 0;
}

START_TEST(a_sound_file_stays_as_it_is) {
    struct bytes file = {0};
    snap_repair_result result;
    ck_assert_int_eq(sample_make(&file, 7, 20, NULL), 0);
    put_file(file.data, file.size);
    ck_assert_int_eq(repair(&result), 0);
    ck_assert(result.is_whole);
    ck_assert_uint_eq(result.salvage.n_lost_chunks, 0);
    struct bytes again = read_file(out_path);
    ck_assert_uint_eq(again.size, file.size);
    ck_assert_mem_eq(again.data, file.data, file.size);
    bytes_release(&again);
    bytes_release(&file);
}
END_TEST

START_TEST(every_truncation_keeps_the_whole_chunks) {
    const size_t step = sanitized_step(7);
    struct bytes file = {0};
    ck_assert_int_eq(sample_make(&file, 8, 1, NULL), 0);
    uint64_t last = 0, n_saved = 0, n_whole = 0;
    for (size_t size = 0; size < file.size; size += step) {
        snap_repair_result result;
        put_file(file.data, size);
        const int code = repair(&result);
        if (code < 0) {
            ck_assert(code == SNAP_E_CORRUPT || (code == SNAP_E_FORMAT && size < 8));
            ck_assert_uint_eq(n_saved, 0); /* what was whole stays whole */
            continue;
        }
        ck_assert(result.salvage.is_cut);
        ck_assert_uint_le(result.salvage.kept_bytes, size);
        ck_assert_uint_ge(result.salvage.kept_bytes, last);
        last = result.salvage.kept_bytes;
        n_whole += (uint64_t)result.is_whole;
        n_saved++;
    }
    ck_assert_uint_gt(n_saved, file.size / step / 2);
    ck_assert_uint_gt(n_whole, 0); /* cut in the table of contents */
    bytes_release(&file);
}
END_TEST

START_TEST(every_changed_byte_costs_no_more_than_its_chunk) {
    const size_t step = sanitized_step(7);
    struct bytes file = {0};
    ck_assert_int_eq(sample_make(&file, 9, 1, NULL), 0);
    size_t n_saved = 0, n_known = 0;
    for (size_t at = 0; at < file.size; at += step) {
        snap_repair_result result;
        file.data[at] ^= 0x41;
        put_file(file.data, file.size);
        file.data[at] ^= 0x41;
        const int code = repair(&result);
        if (code < 0) {
            ck_assert(code == SNAP_E_CORRUPT || code == SNAP_E_FORMAT ||
                      code == SNAP_E_UNSUPPORTED);
            continue;
        }
        n_saved++;
        if (result.is_whole || result.salvage.is_cut)
            continue;
        ck_assert_uint_eq(result.salvage.n_lost_chunks, 1);
        n_known++;
    }
    ck_assert_uint_gt(n_saved, file.size / step / 2);
    ck_assert_uint_gt(n_known, file.size / step / 4);
    bytes_release(&file);
}
END_TEST

/* The table whose chunk is hit. */
START_TEST(rows_that_need_a_lost_one_go_with_it) {
    struct bytes file = {0};
    snap_snapshot *s;
    snap_batch b;
    ck_assert_int_eq(sample_make(&file, 10, 50, NULL), 0);
    ck_assert_int_eq(snap_open_memory(&s, file.data, file.size, NULL, NULL), 0);
    const uint64_t n_edges = snap_rows(s, SNAP_TABLE_EDGE);
    const uint64_t n_nodes = snap_rows(s, SNAP_TABLE_NODE);
    uint64_t offset = 0, size = 0;
    snap_batch_init(&b);
    ck_assert_int_eq(snap_batch_read(s, SNAP_TABLE_TOCC, 0, ~0u, &b, NULL), 0);
    for (uint32_t i = 0; i < b.n_rows; i++)
        if (b.column[SNAP_TOCC_COL_ID][i] == snap_table_id(SNAP_TABLE_NODE)) {
            offset = b.column[SNAP_TOCC_COL_OFFSET][i];
            size = b.column[SNAP_TOCC_COL_STORED_SIZE][i];
        }
    snap_batch_release(&b);
    snap_close(s);
    ck_assert_uint_gt(size, 0);
    file.data[offset + SNAP_CHUNK_HEADER_SIZE + size / 2] ^= 1;
    put_file(file.data, file.size);
    snap_repair_result result;
    ck_assert_int_eq(repair(&result), 0);
    ck_assert(!result.is_whole);
    ck_assert_uint_eq(result.n_lost_rows[SNAP_TABLE_NODE], n_nodes);
    ck_assert_uint_eq(result.n_loose_rows[SNAP_TABLE_EDGE], n_edges);
    ck_assert_uint_eq(result.n_rows[SNAP_TABLE_EDGE], 0);
    bytes_release(&file);
}
END_TEST

/* --- redaction --- */

#define SECRET "Zebrafish"
#define OK(call) ck_assert_msg((call) == 0, "%s", err.message)

static uint32_t string_of(snap_writer *w, const char *text) {
    uint32_t id;
    ck_assert_int_eq(snap_writer_string(w, text, &id, NULL), 0);
    return id;
}

/* A row whose references to strings all have a name with the secret in it. */
static void put_row(snap_writer *w, snap_table table, uint64_t row[SNAP_COLUMNS_MAX]) {
    snap_error err = {0};
    for (unsigned c = 1; c < SNAP_COLUMNS_MAX; c++) {
        const snap_column_info info = snap_table_column(table, c);
        char text[128];
        if (info.type != SNAP_COLUMN_REF || info.target != SNAP_TABLE_STRS || row[c])
            continue;
        snprintf(text, sizeof text, "my%s_%s::get<%s%u>(/srv/me/" SECRET "/x.y)", SECRET, info.name,
                 SECRET, c);
        row[c] = string_of(w, text);
    }
    OK(snap_writer_row(w, table, row, NULL, &err));
}

static struct bytes make_secret(void) {
    struct bytes file = {0};
    snap_error err = {0};
    snap_writer *w;
    OK(snap_writer_open_sink(&w, bytes_sink, &file, NULL, &err));
    OK(snap_writer_meta_text(w, SNAP_META_HOST, SECRET, &err));
    OK(snap_writer_meta_text(w, SNAP_META_COMMAND, "run --key " SECRET, &err));
    OK(snap_writer_meta_text(w, SNAP_META_LABEL, "epoch 1 of " SECRET, &err));
    OK(snap_writer_meta_text(w, SNAP_META_EXECUTABLE, "/srv/" SECRET "/bin/" SECRET, &err));
    OK(snap_writer_meta_text(w, SNAP_META_LINEAGE, "00112233445566778899aabbccddeeff", &err));
    OK(snap_writer_meta_named(w, SNAP_META_USER, SECRET "_samples", 5, &err));
    OK(snap_writer_meta_text(w, 0x40000001, SECRET, &err));
    OK(snap_writer_module(w, "/usr/lib/x86_64-linux-gnu/libc.so.6", "aa00", 0x1000, 0x2000, 0x1000,
                          0, NULL, &err));
    OK(snap_writer_module(w, "/opt/" SECRET "/lib" SECRET ".so", "bb11", 0x3000, 0x4000, 0x3000, 0,
                          NULL, &err));
    for (uint64_t module = 1; module <= 2; module++) {
        uint64_t frame[SNAP_COLUMNS_MAX] = {
            [SNAP_FRAM_COL_MODULE] = module, [SNAP_FRAM_COL_OFFSET] = 16};
        put_row(w, SNAP_TABLE_FRAM, frame);
    }
    uint64_t public[SNAP_COLUMNS_MAX] = {
        [SNAP_SYMB_COL_FRAME] = 1,
        [SNAP_SYMB_COL_FUNCTION] = string_of(w, "qsort_helper"),
        [SNAP_SYMB_COL_FILE] = string_of(w, "./stdlib/msort.c"),
        [SNAP_SYMB_COL_LINE] = 7,
    };
    put_row(w, SNAP_TABLE_SYMB, public);
    uint64_t private[SNAP_COLUMNS_MAX] = {[SNAP_SYMB_COL_FRAME] = 2};
    private[SNAP_SYMB_COL_FILE] = string_of(w, "/srv/me/" SECRET ".cc");
    put_row(w, SNAP_TABLE_SYMB, private);
    static const char *const types[] = {"std::vector<" SECRET "Item>", "struct qsort_helper",
                                        "torch.nn.Linear", "unsigned char[]"};
    for (size_t i = 0; i < sizeof types / sizeof *types; i++) {
        uint64_t type[SNAP_COLUMNS_MAX] = {[SNAP_TYPE_COL_NAME] = string_of(w, types[i])};
        put_row(w, SNAP_TABLE_TYPE, type);
    }
    for (snap_table t = SNAP_TABLE_THRD; t < SNAP_TABLE_SUMM; t++) {
        uint64_t row[SNAP_COLUMNS_MAX] = {0};
        if (t == SNAP_TABLE_NODE)
            row[SNAP_NODE_COL_DOMAIN] = SNAP_DOMAIN_HOST;
        if (t == SNAP_TABLE_EDGE)
            row[SNAP_EDGE_COL_SOURCE] = row[SNAP_EDGE_COL_TARGET] = 1;
        if (t == SNAP_TABLE_ROOT)
            row[SNAP_ROOT_COL_TARGET] = 1;
        put_row(w, t, row);
    }
    OK(snap_writer_finish(w, &err));
    snap_writer_close(w);
    return file;
}

static char *as_json(const char *path, const char *format) {
    char *text = NULL;
    size_t size;
    snap_error err = {0};
    snap_snapshot *s;
    FILE *const out = open_memstream(&text, &size);
    OK(snap_open(&s, path, NULL, &err));
    OK(snap_verify(s, NULL, NULL, &err));
    OK(snap_convert(s, format, out, NULL, NULL, &err));
    snap_close(s);
    fclose(out);
    return text;
}

static void redact(const struct bytes *file, int level, const char *salt) {
    snap_error err = {0};
    snap_snapshot *s;
    const snap_redact_options o = {
        .struct_size = sizeof o, .level = level, .salt = salt, .writer = options};
    OK(snap_open_memory(&s, file->data, file->size, NULL, &err));
    OK(snap_redact(s, out_path, &o, NULL, NULL, &err));
    snap_close(s);
}

START_TEST(no_name_is_left) {
    struct bytes file = make_secret();
    put_file(file.data, file.size);
    redact(&file, SNAP_REDACTION_NAMES, "salt");
    char *const json = as_json(out_path, "json"), *const lines = as_json(out_path, "jsonl");
    ck_assert_ptr_null(strcasestr(json, SECRET));
    ck_assert_ptr_null(strcasestr(lines, SECRET));
    ck_assert_ptr_null(strstr(json, "/srv"));
    ck_assert_ptr_null(strstr(json, "/opt"));
    ck_assert_ptr_null(strstr(json, "bb11"));
    /* What helps a maintainer stays. */
    static const char *const stays[] = {
        "/usr/lib/x86_64-linux-gnu/libc.so.6",
        "aa00",
        "qsort_helper",
        "./stdlib/msort.c",
        "epoch 1 of",
        "struct qsort_helper",
        "std::vector<n_",
        ".cc\"",
        "torch.nn.Linear",
        "unsigned char[]",
    };
    for (size_t i = 0; i < sizeof stays / sizeof *stays; i++)
        ck_assert_msg(strstr(json, stays[i]) != NULL, "%s is gone", stays[i]);
    free(json);
    free(lines);
    bytes_release(&file);
}
END_TEST

START_TEST(paths_only) {
    struct bytes file = make_secret();
    put_file(file.data, file.size);
    redact(&file, SNAP_REDACTION_PATHS, NULL);
    char *const json = as_json(out_path, "json");
    ck_assert_ptr_null(strstr(json, "/srv"));
    ck_assert_ptr_null(strstr(json, "/opt"));
    ck_assert_ptr_null(strstr(json, "--key"));
    ck_assert_ptr_nonnull(strstr(json, "\"" SECRET ".cc\""));
    ck_assert_ptr_nonnull(strstr(json, "lib" SECRET ".so"));
    ck_assert_ptr_nonnull(strstr(json, "bb11"));
    free(json);
    bytes_release(&file);
}
END_TEST

START_TEST(the_salt_decides) {
    struct bytes file = make_secret();
    static const char *const salts[] = {"one", "one", "two"};
    struct bytes made[3];
    put_file(file.data, file.size);
    for (int i = 0; i < 3; i++) {
        redact(&file, SNAP_REDACTION_NAMES, salts[i]);
        made[i] = read_file(out_path);
    }
    ck_assert_uint_eq(made[0].size, made[1].size);
    ck_assert_mem_eq(made[0].data, made[1].data, made[0].size);
    ck_assert(made[0].size != made[2].size ||
              memcmp(made[0].data, made[2].data, made[0].size) != 0);
    /* Once more changes nothing. */
    redact(&made[0], SNAP_REDACTION_NAMES, "one");
    struct bytes again = read_file(out_path);
    char *const before = as_json(out_path, "jsonl");
    redact(&made[0], SNAP_REDACTION_NAMES, "other");
    char *const after = as_json(out_path, "jsonl");
    /* Build ids are hashed with the salt; all else is as it was. */
    ck_assert_uint_eq(strlen(before), strlen(after));
    free(before);
    free(after);
    bytes_release(&again);
    for (int i = 0; i < 3; i++)
        bytes_release(&made[i]);
    bytes_release(&file);
}
END_TEST

START_TEST(a_name_to_keep) {
    struct bytes file = make_secret();
    static const char *const keep[] = {SECRET "Item"};
    snap_error err = {0};
    snap_snapshot *s;
    const snap_redact_options o = {
        .struct_size = sizeof o, .keep = keep, .n_keep = 1, .writer = options};
    put_file(file.data, file.size);
    OK(snap_open(&s, in_path, NULL, &err));
    OK(snap_redact(s, out_path, &o, NULL, NULL, &err));
    snap_close(s);
    char *const json = as_json(out_path, "json");
    ck_assert_ptr_nonnull(strstr(json, "std::vector<" SECRET "Item>"));
    free(json);
    bytes_release(&file);
}
END_TEST

START_TEST(any_file_can_be_redacted) {
    for (uint64_t seed = 1; seed <= 20; seed++) {
        struct bytes file = {0};
        ck_assert_int_eq(sample_make(&file, seed, 10, NULL), 0);
        put_file(file.data, file.size);
        redact(&file, seed & 1 ? SNAP_REDACTION_NAMES : SNAP_REDACTION_PATHS, NULL);
        free(as_json(out_path, "jsonl"));
        bytes_release(&file);
    }
}
END_TEST

int main(void) {
    Suite *const suite = suite_create("repair");
    TCase *const t = tcase_create("repair");
    tcase_add_checked_fixture(t, set_up, tear_down);
    tcase_set_timeout(t, 240);
    tcase_add_test(t, a_sound_file_stays_as_it_is);
    tcase_add_test(t, every_truncation_keeps_the_whole_chunks);
    tcase_add_test(t, every_changed_byte_costs_no_more_than_its_chunk);
    tcase_add_test(t, rows_that_need_a_lost_one_go_with_it);
    tcase_add_test(t, no_name_is_left);
    tcase_add_test(t, paths_only);
    tcase_add_test(t, the_salt_decides);
    tcase_add_test(t, a_name_to_keep);
    tcase_add_test(t, any_file_can_be_redacted);
    suite_add_tcase(suite, t);
    SRunner *const runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    srunner_free(runner);
    return 0;
}
