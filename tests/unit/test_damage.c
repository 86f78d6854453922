/* Every one-byte change and every truncation of small files ends in a named error or the same
 * content, and so does every change whose checksums were made right again, except for the content.
 * Under a sanitizer this also shows that nothing outside the file is read. */
#include "base/bytes.h"
#include "codec/chunk.h"
#include "support/sample.h"
#include "support/sanitized.h"

#include <check.h>
#include <stdlib.h>
#include <string.h>

/* Reads all that there is to read; the first error, or 0 with the digest. */
static int read_everything(const uint8_t *data, size_t size, uint64_t *out_digest,
                           snap_error *err) {
    snap_snapshot *s;
    const snap_open_options options = {.struct_size = sizeof options, .max_memory_bytes = 64 << 20};
    int result = snap_open_memory(&s, data, size, &options, err);
    if (result)
        return result;
    result = sample_digest(s, out_digest, err);
    const snap_summary_row *rows;
    size_t n;
    if (!result)
        result = snap_summary(s, &rows, &n, err);
    for (uint64_t id = 0; !result && id <= snap_rows(s, SNAP_TABLE_STRS); id++) {
        const char *text;
        result = snap_string(s, id, &text, err);
    }
    for (uint64_t id = 0; !result && id <= snap_rows(s, SNAP_TABLE_STAK); id++) {
        snap_location at[16];
        uint64_t key;
        result = snap_stack(s, id, at, 16, &n, NULL, err);
        if (!result)
            result = snap_stack_key(s, id, &key, err);
    }
    for (uint64_t id = 1; !result && id <= snap_rows(s, SNAP_TABLE_MODS); id++) {
        snap_module module;
        result = snap_module_get(s, id, &module, err);
    }
    if (!result)
        result = snap_verify(s, NULL, NULL, err);
    snap_close(s);
    return result;
}

/* Makes all hashes right, as far as the file's structure can still be followed. */
static void repair(uint8_t *data, size_t size, const uint64_t *offsets, size_t n) {
    put_u64(data + 56, chunk_file_header_hash(data));
    for (size_t i = 0; i + 1 < n; i++) {
        const size_t payload = offsets[i + 1] - offsets[i] - SNAP_CHUNK_HEADER_SIZE;
        uint8_t *const header = data + offsets[i];
        put_u64(header + 24, chunk_hash(header, header + SNAP_CHUNK_HEADER_SIZE, payload));
    }
    uint8_t *const footer = data + size - SNAP_FOOTER_SIZE;
    put_u64(footer + 16, chunk_footer_hash(footer, get_u64(data + 56)));
}

/* Offsets of all chunks, and the end of the last. */
static size_t find_chunks(const struct bytes *file, uint64_t *out, size_t max) {
    snap_snapshot *s;
    snap_batch b;
    snap_batch_init(&b);
    ck_assert_int_eq(snap_open_memory(&s, file->data, file->size, NULL, NULL), 0);
    ck_assert_int_eq(snap_batch_read(s, SNAP_TABLE_TOCC, 0, ~0u, &b, NULL), 0);
    ck_assert_uint_lt(b.n_rows + 2, max);
    size_t n = 0;
    for (uint32_t i = 0; i < b.n_rows; i++)
        out[n++] = b.column[SNAP_TOCC_COL_OFFSET][i];
    out[n++] = get_u64(file->data + file->size - SNAP_FOOTER_SIZE);
    out[n++] = file->size - SNAP_FOOTER_SIZE;
    snap_batch_release(&b);
    snap_close(s);
    return n;
}

static int is_error_of_a_file(int code) {
    return code == SNAP_E_FORMAT || code == SNAP_E_CORRUPT || code == SNAP_E_UNSUPPORTED ||
           code == SNAP_E_LIMIT;
}

static void check_change(const struct bytes *file, uint8_t *copy, size_t at, uint8_t value,
                         uint64_t digest) {
    uint64_t got;
    snap_error err = {0};
    copy[at] = value;
    const int result = read_everything(copy, file->size, &got, &err);
    if (result == 0)
        ck_assert_msg(got == digest, "byte %zu to %u: other content and no error", at, value);
    else
        ck_assert_msg(is_error_of_a_file(result) && err.code == result && *err.message,
                      "byte %zu to %u: %s", at, value, snap_error_name(result));
    copy[at] = file->data[at];
}

START_TEST(one_byte) {
    struct bytes file = {0};
    ck_assert_int_eq(sample_make(&file, 7, (size_t)_i, NULL), 0);
    uint64_t digest;
    ck_assert_int_eq(read_everything(file.data, file.size, &digest, NULL), 0);
    uint8_t *const copy = malloc(file.size);
    memcpy(copy, file.data, file.size);
    static const uint8_t flips[] = {1, 0xff};
    for (size_t at = 0; at < file.size; at += sanitized_step(5))
        for (size_t k = 0; k < sizeof flips; k++)
            check_change(&file, copy, at, file.data[at] ^ flips[k], digest);
    free(copy);
    bytes_release(&file);
}
END_TEST

START_TEST(truncation) {
    struct bytes file = {0};
    ck_assert_int_eq(sample_make(&file, 7, 2, NULL), 0);
    for (size_t size = 0; size < file.size; size++) {
        uint64_t digest;
        snap_error err = {0};
        uint8_t *const exact = malloc(size ? size : 1);
        memcpy(exact, file.data, size);
        const int result = read_everything(exact, size, &digest, &err);
        ck_assert_int_eq(result, size < SNAP_MAGIC_SIZE ? SNAP_E_FORMAT : SNAP_E_CORRUPT);
        free(exact);
    }
    bytes_release(&file);
}
END_TEST

/* Past the hashes: the decoders see the damage. */
START_TEST(one_byte_with_right_hashes) {
    struct bytes file = {0};
    uint64_t offsets[64];
    ck_assert_int_eq(sample_make(&file, 9, 1, NULL), 0);
    const size_t n = find_chunks(&file, offsets, 64);
    uint8_t *const copy = malloc(file.size);
    unsigned n_refused = 0, n_accepted = 0;
    for (size_t at = 0; at < file.size; at += sanitized_step(5))
        for (unsigned k = 0; k < 3; k++) {
            static const uint8_t flips[] = {1, 0x10, 0xff};
            memcpy(copy, file.data, file.size);
            copy[at] ^= flips[k];
            repair(copy, file.size, offsets, n);
            uint64_t digest;
            snap_error err = {0};
            const int result = read_everything(copy, file.size, &digest, &err);
            ck_assert(result == 0 || (is_error_of_a_file(result) && *err.message));
            n_refused += result != 0;
            n_accepted += result == 0;
        }
    ck_assert_uint_gt(n_refused, 1000 / sanitized_step(5));
    ck_assert_uint_gt(n_accepted, 50 / sanitized_step(5));
    free(copy);
    bytes_release(&file);
}
END_TEST

int main(void) {
    Suite *const suite = suite_create("damage");
    TCase *const t = tcase_create("damage");
    tcase_set_timeout(t, 300);
    tcase_add_loop_test(t, one_byte, 0, 3);
    tcase_add_test(t, truncation);
    tcase_add_test(t, one_byte_with_right_hashes);
    suite_add_tcase(suite, t);
    SRunner *const runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    srunner_free(runner);
    return 0;
}
