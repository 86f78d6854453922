/* Keys are hashes of what stays the same when a program is loaded again; see snap-format.md. */
#include "codec/stackkey.h"
#include "base/bytes.h"

#define XXH_STATIC_LINKING_ONLY /* states on the stack */
#include <xxhash.h>

uint64_t stackkey_step(uint64_t parent_key, const struct stackkey_frame *f) {
    uint8_t number[8];
    XXH3_state_t state;
    XXH3_64bits_reset(&state);
    put_u64(number, parent_key);
    XXH3_64bits_update(&state, number, sizeof number);
    if (f->path) {
        const char *const module = *f->build_id ? f->build_id : stackkey_base_name(f->path);
        XXH3_64bits_update(&state, module, strlen(module));
        put_u64(number, f->offset);
    } else {
        XXH3_64bits_update(&state, f->function, f->function_length);
        XXH3_64bits_update(&state, "", 1);
        XXH3_64bits_update(&state, f->file, f->file_length);
        put_u64(number, f->line);
    }
    XXH3_64bits_update(&state, number, sizeof number);
    return XXH3_64bits_digest(&state);
}

uint64_t stackkey_type(const char *name, size_t length) {
    return XXH3_64bits(name, length);
}

const char *stackkey_base_name(const char *path) {
    const char *const slash = strrchr(path, '/');
    return slash ? slash + 1 : path;
}
