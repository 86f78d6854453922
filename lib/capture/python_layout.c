/* Offsets in CPython's structures. See python_layout.h.
 *
 * Invariant: a layout is only given out for a version whose structures are known or described by
 * the interpreter, and only if the description is sane; a build without the global lock is not. */
#include "capture/python_layout.h"

#include <dlfcn.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "capture/next.h"

enum { SANE = 4096 };

static const struct python_layout tables[] = {
    {.minor = 10,
     .chain = PYTHON_LISTS,
     .thread_calls = 48,
     .thread_root = 264,
     .thread_frame = 24,
     .thread_id = 176,
     .call_previous = 8,
     .frame_previous = 24,
     .frame_code = 32,
     .frame_instruction = 96,
     .code_file = 104,
     .code_name = 112,
     .code_line = 40,
     .code_lines = 120,
     .string_ascii = 48,
     .string_compact = 72,
     .runtime_finalizing = 16,
     .runtime_interpreters = 32},
    {.minor = 11,
     .chain = PYTHON_CALLS,
     .thread_calls = 56,
     .thread_root = 336,
     .thread_id = 152,
     .call_previous = 16,
     .call_frame = 8,
     .frame_previous = 48,
     .frame_code = 32,
     .frame_instruction = 56,
     .frame_mark = 68,
     .code_file = 112,
     .code_name = 128,
     .code_line = 72,
     .code_lines = 136,
     .code_instructions = 184,
     .string_ascii = 48,
     .string_compact = 72,
     .runtime_finalizing = 24,
     .runtime_interpreters = 40},
    {.minor = 12,
     .chain = PYTHON_ENTRIES,
     .thread_calls = 56,
     .thread_id = 136,
     .call_frame = 0,
     .frame_previous = 8,
     .frame_code = 0,
     .frame_instruction = 56,
     .frame_mark = 70,
     .code_file = 112,
     .code_name = 128,
     .code_line = 68,
     .code_lines = 136,
     .code_instructions = 192,
     .string_ascii = 40,
     .string_compact = 56,
     .runtime_finalizing = 24},
};

/* --- 3.13 and later: _Py_DebugOffsets --- */

/* Words of the description. Each structure's begin with its size. */
enum { AT_VERSION = 1, AT_FREE_THREADED, AT_RUNTIME };
struct words {
    unsigned runtime, interpreter, thread, frame, code, object, type, tuple, list, set, dict,
        number, integer, bytes; /* how many each structure has */
};
static const struct words words_13 = {3, 13, 9, 6, 10, 2, 4, 3, 3, 0, 3, 2, 3, 3};
static const struct words words_14 = {3, 16, 9, 8, 11, 2, 4, 3, 3, 4, 3, 2, 3, 3};

static bool is_sane(const struct python_layout *l, uint64_t thread_size, uint64_t frame_size,
                    uint64_t code_size) {
    return l->thread_frame < thread_size && l->thread_id < thread_size &&
           l->frame_previous < frame_size && l->frame_code < frame_size &&
           l->frame_instruction < frame_size && l->frame_mark < frame_size &&
           l->frame_previous % 8 == 0 && l->frame_code % 8 == 0 && l->frame_instruction % 8 == 0 &&
           l->code_file < code_size && l->code_name < code_size && l->code_line < code_size &&
           l->code_lines < code_size && l->code_instructions <= code_size &&
           l->code_instructions > 16 && l->code_file % 8 == 0 && l->code_name % 8 == 0 &&
           l->code_lines % 8 == 0 && l->string_ascii >= 40 && l->string_ascii <= 64;
}

static bool read_described(const char *runtime, unsigned minor, struct python_layout *out) {
    const uint64_t *w = (const void *)runtime;
    const struct words *const n = minor == 13 ? &words_13 : &words_14;
    if (memcmp(runtime, "xdebugpy", 8) != 0 || w[AT_VERSION] >> 24 != 3 ||
        (w[AT_VERSION] >> 16 & 0xff) != minor || w[AT_FREE_THREADED])
        return false;
    const uint64_t *const runtime_state = w + AT_RUNTIME;
    const uint64_t *const interpreter = runtime_state + n->runtime;
    const uint64_t *const thread = interpreter + n->interpreter;
    const uint64_t *const frame = thread + n->thread, *const code = frame + n->frame;
    const uint64_t *const bytes = code + n->code + n->object + n->type + n->tuple + n->list +
                                  n->set + n->dict + n->number + n->integer;
    const uint64_t *const string = bytes + n->bytes;
    const uint64_t small[] = {thread[4], thread[5], frame[1], frame[2], frame[3], frame[5],
                              code[1],   code[3],   code[4],  code[5],  code[9],  string[3]};
    for (unsigned i = 0; i < sizeof small / sizeof *small; i++)
        if (small[i] > SANE)
            return false;
    if (bytes[2] != 32 || string[2] != 16 || string[1] != 32 || runtime_state[1] > 1 << 20)
        return false;
    *out = (struct python_layout){
        .minor = (uint8_t)minor,
        .chain = PYTHON_ENTRIES,
        .code_tag = minor >= 14 ? 3 : 0,
        .thread_frame = (uint16_t)thread[4],
        .thread_id = (uint16_t)thread[5],
        .frame_previous = (uint16_t)frame[1],
        .frame_code = (uint16_t)frame[2],
        .frame_instruction = (uint16_t)frame[3],
        .frame_mark = (uint16_t)frame[5],
        .code_file = (uint16_t)code[1],
        .code_name = (uint16_t)code[3],
        .code_lines = (uint16_t)code[4],
        .code_line = (uint16_t)code[5],
        .code_instructions = (uint16_t)code[9],
        .string_ascii = (uint16_t)string[3],
        .string_compact = (uint16_t)(string[3] + 16),
        .runtime_finalizing = (uint32_t)runtime_state[1],
    };
    return is_sane(out, thread[0], frame[0], code[0]);
}

/* --- the interpreter in this process --- */

unsigned python_version_parse(const char *version, unsigned *out_minor) {
    if (strncmp(version, "3.", 2) != 0)
        return 0;
    const size_t digits = strspn(version + 2, "0123456789");
    if (digits == 0 || digits > 3)
        return 0;
    *out_minor = (unsigned)atoi(version + 2);
    return 2 + (unsigned)digits;
}

static bool find_layout(const char *runtime, unsigned minor, struct python_layout *out) {
    for (size_t i = 0; i < sizeof tables / sizeof *tables; i++)
        if (tables[i].minor == minor) {
            *out = tables[i];
            return true;
        }
    return (minor == 13 || minor == 14) && read_described(runtime, minor, out);
}

bool python_runtime_find(struct python_runtime *out) {
    struct python_runtime found = {0};
    const char *(*version)(void);
    unsigned minor;
    *(void **)&version = next_symbol(RTLD_DEFAULT, "Py_GetVersion");
    found.runtime = next_symbol(RTLD_DEFAULT, "_PyRuntime");
    if (!version || !found.runtime || python_version_parse(version(), &minor) == 0 ||
        strstr(version(), "free-threading"))
        return false;
    found.code_type = next_symbol(RTLD_DEFAULT, "PyCode_Type");
    *(void **)&found.own = next_symbol(RTLD_DEFAULT, "PyGILState_GetThisThreadState");
    *(void **)&found.current = next_symbol(
        RTLD_DEFAULT, minor >= 13 ? "PyThreadState_GetUnchecked" : "_PyThreadState_UncheckedGet");
    if (!found.code_type || !found.own || !found.current ||
        !find_layout(found.runtime, minor, &found.layout))
        return false;
    *out = found;
    return true;
}
