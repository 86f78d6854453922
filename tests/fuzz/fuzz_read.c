/* Any bytes: every function of the reader ends, in an error of a file or with values that keep its
 * promises. Each input is read as it is and with its hashes made right. */
#include "fuzz/fuzz.h"
#include "fuzz/repair.h"
#include "support/sample.h"

#include <stdlib.h>
#include <string.h>

#define WALKS_MAX 64

static int is_expected(int result) {
    return result == 0 || result == SNAP_E_FORMAT || result == SNAP_E_CORRUPT ||
           result == SNAP_E_UNSUPPORTED || result == SNAP_E_LIMIT || result == SNAP_E_NOMEM;
}

static void expect(int result) {
    if (!is_expected(result))
        abort();
}

static void read_all(const uint8_t *data, size_t size) {
    const snap_open_options options = {.struct_size = sizeof options, .max_memory_bytes = 32 << 20};
    snap_snapshot *s;
    snap_error err = {0};
    const int opened = snap_open_memory(&s, data, size, &options, &err);
    expect(opened);
    if (opened) {
        if (err.code != opened || !*err.message)
            abort();
        return;
    }
    uint64_t digest;
    const int decoded = sample_digest(s, &digest, &err);
    expect(decoded);
    const int verified = snap_verify(s, NULL, NULL, &err);
    expect(verified);
    if (!verified && decoded)
        abort();
    const snap_summary_row *rows;
    size_t n;
    expect(snap_summary(s, &rows, &n, &err));
    for (uint64_t id = 0; id <= snap_rows(s, SNAP_TABLE_STAK) && id < WALKS_MAX; id++) {
        snap_location at[32];
        uint64_t key;
        const int result = snap_stack(s, id, at, 32, &n, NULL, &err);
        expect(result);
        for (size_t i = 0; !result && i < n; i++)
            if (!at[i].frame || at[i].frame > snap_rows(s, SNAP_TABLE_FRAM) ||
                strlen(at[i].function) > SNAP_BYTES_MAX)
                abort();
        expect(snap_stack_key(s, id, &key, &err));
    }
    for (uint64_t id = 0; id <= snap_rows(s, SNAP_TABLE_STRS) && id < WALKS_MAX; id++) {
        const char *text;
        expect(snap_string(s, id, &text, &err));
    }
    for (uint64_t id = 1; id <= snap_rows(s, SNAP_TABLE_MODS) && id < WALKS_MAX; id++) {
        snap_module module;
        expect(snap_module_get(s, id, &module, &err));
    }
    snap_close(s);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    read_all(data, size);
    uint8_t *const copy = malloc(size ? size : 1);
    if (!copy)
        return 0;
    memcpy(copy, data, size);
    repair_hashes(copy, size);
    read_all(copy, size);
    free(copy);
    return 0;
}
