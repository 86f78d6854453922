/* Loops over arrays of numbers that are columns of a file, two numbers at once. */
#ifndef HEAPSNAP_NUMBERS_H
#define HEAPSNAP_NUMBERS_H

#include <stddef.h>
#include <stdint.h>

typedef uint64_t number_pair __attribute__((vector_size(16)));
typedef uint64_t number_pair_in_place __attribute__((vector_size(16), aligned(8), may_alias));

/* Two numbers, wherever they lie. */
static inline number_pair number_pair_get(const uint64_t *v) {
    return *(const number_pair_in_place *)v;
}
static inline void number_pair_put(uint64_t *v, number_pair pair) {
    *(number_pair_in_place *)v = pair;
}

/* All bits that any of n numbers has. */
uint64_t numbers_bits(const uint64_t *v, size_t n);
/* Whether n numbers, at least 1, are all the same. */
int numbers_are_one(const uint64_t *v, size_t n);
/* Whether none is greater than `most`, which is below 2^63. */
int numbers_are_at_most(const uint64_t *v, size_t n, uint64_t most);
void numbers_fill(uint64_t *v, size_t n, uint64_t number);
/* Copies of the low bits. */
void numbers_to_u32(uint32_t *to, const uint64_t *v, size_t n);
void numbers_to_u8(uint8_t *to, const uint64_t *v, size_t n);

#endif
