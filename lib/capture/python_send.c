/* Sends names and lines of positions in Python functions. See python_send.h.
 *
 * Runs in the copy of the target: mapped memory and raw system calls only. Positions of one line of
 * one function are one frame. Reads what python_code.c kept, nothing of the interpreter. */
#include "capture/python_send.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>

#include "capture/python_code.h"
#include "capture/raw.h"
#include "model/wire.h"
#include <heapsnap/snapdef.h>

struct python_sent {
    uint32_t serial, line, frame;
};

int python_send_open(struct python_send *s, uint32_t n_positions) {
    uint64_t size = 64;
    while (size < (uint64_t)n_positions * 2)
        size *= 2;
    s->mask = size - 1;
    s->sent_bytes = size * sizeof *s->sent;
    s->strings_bytes = ((size_t)python_n_codes() + 1) * 2 * sizeof *s->strings;
    s->sent = raw_map(s->sent_bytes, MAP_PRIVATE | MAP_ANONYMOUS);
    s->strings = raw_map(s->strings_bytes, MAP_PRIVATE | MAP_ANONYMOUS);
    return s->sent && s->strings ? 0 : -ENOMEM;
}

void python_send_close(struct python_send *s) {
    if (s->sent)
        raw_unmap(s->sent, s->sent_bytes);
    if (s->strings)
        raw_unmap(s->strings, s->strings_bytes);
    s->sent = NULL;
    s->strings = NULL;
}

static uint32_t send_string(struct python_send *s, const char *text, uint32_t length, int *error) {
    static struct {
        struct wire_string head;
        char text[8192];
    } record;
    if (length > sizeof record.text)
        length = sizeof record.text;
    record.head = (struct wire_string){.length = length};
    const size_t bytes = (length + 7u) & ~7u;
    memset(record.text, 0, bytes);
    memcpy(record.text, text, length);
    *error = s->put(s->context, WIRE_STRING, 1, &record, sizeof record.head + bytes);
    return ++s->n_strings;
}

uint32_t python_send_position(struct python_send *s, uint64_t position, int *error) {
    const uint32_t serial = (uint32_t)(position >> PYTHON_LINE_BITS);
    struct python_place place;
    if (*error || (size_t)serial * 2 * sizeof *s->strings >= s->strings_bytes ||
        !python_place_get(position, &place))
        return 0;
    uint64_t i =
        (serial * UINT64_C(0x9E3779B97F4A7C15) ^ place.line * UINT64_C(0x9E3779B1)) >> 8 & s->mask;
    while (s->sent[i].frame != 0 && (s->sent[i].serial != serial || s->sent[i].line != place.line))
        i = (i + 1) & s->mask;
    if (s->sent[i].frame != 0)
        return s->sent[i].frame;
    uint32_t *const strings = &s->strings[(size_t)serial * 2];
    if (strings[0] == 0)
        strings[0] = send_string(s, place.file, place.file_length, error);
    if (strings[1] == 0 && !*error)
        strings[1] = send_string(s, place.function, place.function_length, error);
    if (*error)
        return 0;
    const struct wire_managed_frame frame = {
        .function = strings[1], .file = strings[0], .line = place.line, .kind = SNAP_FRAM_PYTHON};
    *error = s->put(s->context, WIRE_MANAGED_FRAME, 1, &frame, sizeof frame);
    s->sent[i] = (struct python_sent){serial, place.line, ++s->n_frames};
    return s->n_frames;
}
