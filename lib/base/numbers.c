/* Loops over numbers, by vectors that any x86-64 has; other machines get what their compiler makes
 * of them. Each gives what the plain loop would; none reads or writes beyond n. */
#include "base/numbers.h"

#include <string.h>

typedef uint32_t u32x4 __attribute__((vector_size(16)));
typedef uint16_t u16x8 __attribute__((vector_size(16)));
typedef uint8_t u8x16 __attribute__((vector_size(16)));

uint64_t numbers_bits(const uint64_t *v, size_t n) {
    number_pair bits = {0}, more = {0};
    size_t i = 0;
    for (; i + 8 <= n; i += 8) {
        bits |= number_pair_get(v + i) | number_pair_get(v + i + 2);
        more |= number_pair_get(v + i + 4) | number_pair_get(v + i + 6);
    }
    bits |= more;
    uint64_t all = bits[0] | bits[1];
    for (; i < n; i++)
        all |= v[i];
    return all;
}

int numbers_are_one(const uint64_t *v, size_t n) {
    enum { STEP = 32 }; /* looked at at once: most columns end after one */
    const number_pair first = {v[0], v[0]};
    size_t i = 0;
    for (; i + STEP <= n; i += STEP) {
        number_pair other = {0};
        for (size_t k = i; k < i + STEP; k += 4)
            other |= (number_pair_get(v + k) ^ first) | (number_pair_get(v + k + 2) ^ first);
        if (other[0] | other[1])
            return 0;
    }
    for (; i < n; i++)
        if (v[i] != v[0])
            return 0;
    return 1;
}

/* One that is greater has bit 63 itself, or gives it to the difference. */
int numbers_are_at_most(const uint64_t *v, size_t n, uint64_t most) {
    const number_pair limit = {most, most};
    number_pair bits = {0};
    size_t i = 0;
    for (; i + 4 <= n; i += 4) {
        const number_pair a = number_pair_get(v + i), b = number_pair_get(v + i + 2);
        bits |= (limit - a) | a | (limit - b) | b;
    }
    uint64_t all = bits[0] | bits[1];
    for (; i < n; i++)
        all |= (most - v[i]) | v[i];
    return all >> 63 == 0;
}

void numbers_fill(uint64_t *v, size_t n, uint64_t number) {
    const number_pair pair = {number, number};
    size_t i = 0;
    for (; i + 4 <= n; i += 4) {
        number_pair_put(v + i, pair);
        number_pair_put(v + i + 2, pair);
    }
    for (; i < n; i++)
        v[i] = number;
}

#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
/* The low halves of four numbers. */
static inline u32x4 low_halves(const uint64_t *v) {
    return __builtin_shufflevector((u32x4)number_pair_get(v), (u32x4)number_pair_get(v + 2), 0, 2,
                                   4, 6);
}

static size_t to_u32(uint32_t *to, const uint64_t *v, size_t n) {
    size_t i = 0;
    for (; i + 4 <= n; i += 4) {
        const u32x4 low = low_halves(v + i);
        memcpy(to + i, &low, sizeof low);
    }
    return i;
}

static size_t to_u8(uint8_t *to, const uint64_t *v, size_t n) {
    size_t i = 0;
    for (; i + 16 <= n; i += 16) {
        const u16x8 a = __builtin_shufflevector(
            (u16x8)low_halves(v + i), (u16x8)low_halves(v + i + 4), 0, 2, 4, 6, 8, 10, 12, 14);
        const u16x8 b = __builtin_shufflevector(
            (u16x8)low_halves(v + i + 8), (u16x8)low_halves(v + i + 12), 0, 2, 4, 6, 8, 10, 12, 14);
        const u8x16 bytes = __builtin_shufflevector((u8x16)a, (u8x16)b, 0, 2, 4, 6, 8, 10, 12, 14,
                                                    16, 18, 20, 22, 24, 26, 28, 30);
        memcpy(to + i, &bytes, sizeof bytes);
    }
    return i;
}
#else
static size_t to_u32(uint32_t *to, const uint64_t *v, size_t n) {
    return 0;
}
static size_t to_u8(uint8_t *to, const uint64_t *v, size_t n) {
    return 0;
}
#endif

void numbers_to_u32(uint32_t *to, const uint64_t *v, size_t n) {
    for (size_t i = to_u32(to, v, n); i < n; i++)
        to[i] = (uint32_t)v[i];
}

void numbers_to_u8(uint8_t *to, const uint64_t *v, size_t n) {
    for (size_t i = to_u8(to, v, n); i < n; i++)
        to[i] = (uint8_t)v[i];
}
