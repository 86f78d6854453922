/* Rows in the order of addresses, where libc's sort and search may not be called: each begins with
 * the address, as 64 bits. Needs no memory; header only, so that the size of a row is a constant.
 */
#ifndef HEAPSNAP_SPANS_H
#define HEAPSNAP_SPANS_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

enum { SPANS_BYTES_MAX = 64 };

static inline uint64_t spans_word(const void *rows, size_t row_bytes, size_t i, unsigned word) {
    uint64_t value;
    memcpy(&value, (const unsigned char *)rows + i * row_bytes + word * sizeof value, sizeof value);
    return value;
}

/* Index of the first row that ends behind an address, n: none. The end is the second word; rows are
 * sorted and do not overlap. */
static inline size_t spans_ending_after(const void *rows, size_t row_bytes, size_t n,
                                        uint64_t address) {
    size_t low = 0, high = n;
    while (low < high) {
        const size_t middle = low + (high - low) / 2;
        if (spans_word(rows, row_bytes, middle, 1) <= address)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

/* Lets row i sink among the first n of a heap. */
static inline void spans_sift(unsigned char *rows, size_t row_bytes, size_t i, size_t n) {
    unsigned char moved[SPANS_BYTES_MAX];
    memcpy(moved, rows + i * row_bytes, row_bytes);
    const uint64_t key = spans_word(moved, row_bytes, 0, 0);
    for (size_t child; (child = 2 * i + 1) < n; i = child) {
        if (child + 1 < n &&
            spans_word(rows, row_bytes, child + 1, 0) > spans_word(rows, row_bytes, child, 0))
            child++;
        if (spans_word(rows, row_bytes, child, 0) <= key)
            break;
        memcpy(rows + i * row_bytes, rows + child * row_bytes, row_bytes);
    }
    memcpy(rows + i * row_bytes, moved, row_bytes);
}

/* Sorts in place (heapsort), by address; equal ones in no order. */
static inline void spans_sort(void *rows, size_t row_bytes, size_t n) {
    unsigned char *const all = rows;
    unsigned char last[SPANS_BYTES_MAX];
    for (size_t i = n / 2; i-- > 0;)
        spans_sift(all, row_bytes, i, n);
    for (size_t i = n; i-- > 1;) {
        memcpy(last, all + i * row_bytes, row_bytes);
        memcpy(all + i * row_bytes, all, row_bytes);
        memcpy(all, last, row_bytes);
        spans_sift(all, row_bytes, 0, i);
    }
}

#endif
