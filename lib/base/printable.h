/* Text for people: sizes with units, and names from files made harmless for a terminal. */
#ifndef HEAPSNAP_PRINTABLE_H
#define HEAPSNAP_PRINTABLE_H

#include <stddef.h>
#include <stdint.h>

/* "0 B", "944.0 MB": decimal units, one digit after the point. Returns text. */
#define TEXT_SIZE_MAX 24
const char *text_size(char text[TEXT_SIZE_MAX], uint64_t bytes);

/* The same with a sign: "+1.2 KB", "-3 B", "+0 B". */
const char *text_signed_size(char text[TEXT_SIZE_MAX], int64_t bytes);

/* Length of the valid UTF-8 character that starts at p, which is not at the terminating NUL; 0 if
 * none does. *out_code is its code point. */
unsigned text_utf8(const char *p, uint32_t *out_code);

/* Copies text with control characters, marks that change the direction of writing, and bytes that
 * are not UTF-8 written as \xNN. Always terminates; cuts at whole characters. Returns the length
 * that the whole would have. */
size_t text_escape(char *out, size_t size, const char *text);

#endif
