/* Little-endian numbers in byte arrays, at any alignment. Bounds are the caller's. */
#ifndef HEAPSNAP_BYTES_H
#define HEAPSNAP_BYTES_H

#include <endian.h>
#include <stdint.h>
#include <string.h>

static inline uint16_t get_u16(const void *p) {
    uint16_t x;
    memcpy(&x, p, sizeof x);
    return le16toh(x);
}
static inline uint32_t get_u32(const void *p) {
    uint32_t x;
    memcpy(&x, p, sizeof x);
    return le32toh(x);
}
static inline uint64_t get_u64(const void *p) {
    uint64_t x;
    memcpy(&x, p, sizeof x);
    return le64toh(x);
}
static inline void put_u16(void *p, uint16_t x) {
    x = htole16(x);
    memcpy(p, &x, sizeof x);
}
static inline void put_u32(void *p, uint32_t x) {
    x = htole32(x);
    memcpy(p, &x, sizeof x);
}
static inline void put_u64(void *p, uint64_t x) {
    x = htole64(x);
    memcpy(p, &x, sizeof x);
}

#endif
