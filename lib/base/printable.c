/* Sizes with units, and escaping. What comes out of text_escape holds printable characters only, so
 * that no name in a file can move the cursor, set a colour or reorder a line. Knows nothing of
 * where the text goes. */
#include "base/printable.h"

#include <stdio.h>
#include <string.h>

const char *text_size(char text[TEXT_SIZE_MAX], uint64_t bytes) {
    static const char *const units[] = {"B", "KB", "MB", "GB", "TB", "PB", "EB"};
    double value = (double)bytes;
    size_t unit = 0;
    while (value >= 999.95 && unit + 1 < sizeof units / sizeof *units) {
        value /= 1000;
        unit++;
    }
    snprintf(text, TEXT_SIZE_MAX, unit == 0 ? "%.0f %s" : "%.1f %s", value, units[unit]);
    return text;
}

const char *text_signed_size(char text[TEXT_SIZE_MAX], int64_t bytes) {
    char size[TEXT_SIZE_MAX];
    text_size(size, bytes < 0 ? -(uint64_t)bytes : (uint64_t)bytes);
    snprintf(text, TEXT_SIZE_MAX, "%c%.20s", bytes < 0 ? '-' : '+', size);
    return text;
}

unsigned text_utf8(const char *p, uint32_t *out_code) {
    const unsigned char *const s = (const unsigned char *)p;
    if (s[0] < 0x80) {
        *out_code = s[0];
        return 1;
    }
    const unsigned length = s[0] >= 0xf0 ? 4 : s[0] >= 0xe0 ? 3 : 2;
    static const uint32_t least[] = {0, 0, 0x80, 0x800, 0x10000};
    if (s[0] < 0xc2 || s[0] > 0xf4)
        return 0;
    uint32_t code = s[0] & (0xffu >> (length + 1));
    for (unsigned i = 1; i < length; i++) {
        if ((s[i] & 0xc0) != 0x80)
            return 0;
        code = code << 6 | (s[i] & 0x3f);
    }
    if (code < least[length] || code > 0x10ffff || (code >= 0xd800 && code < 0xe000))
        return 0;
    *out_code = code;
    return length;
}

static int is_harmless(uint32_t code) {
    if (code < 0x20 || (code >= 0x7f && code < 0xa0))
        return 0;
    if (code == 0x61c || code == 0x200e || code == 0x200f || code == 0xfeff)
        return 0;
    return !((code >= 0x2028 && code <= 0x202e) || (code >= 0x2066 && code <= 0x2069));
}

size_t text_escape(char *out, size_t size, const char *text) {
    size_t whole = 0, used = 0;
    int is_full = size == 0;
    for (const char *p = text; *p != '\0';) {
        uint32_t code = 0;
        unsigned length = text_utf8(p, &code);
        char piece[17];
        size_t n = length;
        if (length != 0 && is_harmless(code)) {
            memcpy(piece, p, length);
        } else {
            length = length == 0 ? 1 : length;
            n = 0;
            for (unsigned i = 0; i < length; i++)
                n += (size_t)snprintf(piece + n, sizeof piece - n, "\\x%02x", (unsigned char)p[i]);
        }
        if (!is_full && used + n < size) {
            memcpy(out + used, piece, n);
            used += n;
        } else {
            is_full = 1;
        }
        whole += n;
        p += length;
    }
    if (size > 0)
        out[used] = '\0';
    return whole;
}
