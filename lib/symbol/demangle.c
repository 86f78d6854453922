/* Demangling by libiberty: Itanium C++ and Rust (legacy and v0). The only file here that includes
 * its header.
 *
 * A hostile name of a hundred bytes can stand for gigabytes of text through its back references.
 * The callback interface of the demangler allocates nothing for C++, so the first byte too many
 * leaves it by longjmp: time and memory are bounded by DEMANGLE_MAX_BYTES. (For Rust, leaving in
 * the middle of a Unicode identifier leaks that identifier, at most a few hundred bytes.) */
#include "symbol/demangle_common.h"

#include <libiberty/demangle.h>
#include <setjmp.h>

/* Without its own limit, which gives up at 1024 bytes (less than names of C++ template libraries
 * have), the demangler takes up to 0.25 KiB of stack per byte: 1 MiB for this. */
#define MANGLED_MAX_BYTES 4096

struct output {
    char *text;
    size_t length;
    jmp_buf full;
};

static void receive(const char *text, size_t length, void *context) {
    struct output *const output = context;
    const size_t room = DEMANGLE_MAX_BYTES - 1 - output->length;
    if (length > room) {
        memcpy(output->text + output->length, text, room);
        memcpy(output->text + DEMANGLE_MAX_BYTES - 4, "...", 4);
        longjmp(output->full, 1);
    }
    memcpy(output->text + output->length, text, length);
    output->length += length;
}

int demangle_is_mangled(const char *name) {
    return demangle_begins_mangled(name);
}

size_t demangle(const char *name, char out[DEMANGLE_MAX_BYTES]) {
    const size_t length = strlen(name);
    if (!demangle_begins_mangled(name) || length > MANGLED_MAX_BYTES)
        return demangle_copy(name, length, out);
    struct output output = {.text = out};
    if (setjmp(output.full) != 0)
        return DEMANGLE_MAX_BYTES - 1;
    if (rust_demangle_callback(name, DMGL_PARAMS | DMGL_ANSI, receive, &output) &&
        output.length > 0) {
        out[output.length] = 0;
        return output.length;
    }
    output.length = 0;
    if (cplus_demangle_v3_callback(name, DMGL_PARAMS | DMGL_ANSI | DMGL_NO_RECURSE_LIMIT, receive,
                                   &output) &&
        output.length > 0) {
        out[output.length] = 0;
        return output.length;
    }
    return demangle_copy(name, length, out);
}
