/* Any capture stream: it ends in a named error and no file, or in a file that is sound. The input
 * is what follows the name of the file. */
#include "fuzz/fuzz.h"
#include "support/wire_stream.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static int is_expected(int result) {
    return result == SNAP_E_CORRUPT || result == SNAP_E_LIMIT;
}

static void expect_sound(const char *path) {
    snap_snapshot *s;
    if (snap_open(&s, path, NULL, NULL) || snap_verify(s, NULL, NULL, NULL))
        abort();
    snap_close(s);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static char name[64];
    if (!*name)
        snprintf(name, sizeof name, "/dev/shm/heapsnap-fuzz-%ld.snap", (long)getpid());
    struct wire_stream s = {0};
    wire_begin(&s, size % 2 ? WIRE_SPOOL : 0, name, WIRE_OVERWRITE);
    if (size && bytes_sink(&s.bytes, data, size))
        abort();
    const struct ingest_options options = {.no_symbols = 1};
    char *path = NULL;
    snap_error err = {0};
    const int result = wire_ingest(s.bytes.data, s.bytes.size, &options, &path, &err);
    if (result == 0) {
        expect_sound(path);
        unlink(path);
    } else if (!is_expected(result) || err.code != result || !*err.message || path ||
               access(name, F_OK) == 0)
        abort();
    free(path);
    wire_release(&s);
    return 0;
}
