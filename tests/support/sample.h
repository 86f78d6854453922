/* Files for tests: written to memory with rows in every table, read into a digest, and written
 * again. Everything returns the library's codes, so that tests can make each step fail. */
#ifndef HEAPSNAP_TEST_SAMPLE_H
#define HEAPSNAP_TEST_SAMPLE_H

#include <heapsnap/snapshot.h>
#include <heapsnap/writer.h>

struct bytes {
    uint8_t *data;
    size_t size, capacity;
};
int bytes_sink(void *bytes, const void *data, size_t size);
void bytes_release(struct bytes *b);

/* splitmix64 */
uint64_t sample_next(uint64_t *state);

/* Rows in every table, the more the larger scale is (about 30 * scale); all references are good.
 * The tables come in turns, as a caller may give them. */
int sample_write(snap_writer *w, uint64_t seed, size_t scale, snap_error *err);

/* The same as a whole file in memory. */
int sample_make(struct bytes *out, uint64_t seed, size_t scale, snap_error *err);

/* Hash of all decoded rows of all tables but TOCC. */
int sample_digest(const snap_snapshot *s, uint64_t *out, snap_error *err);

/* Gives every row to w, chunk by chunk in file order. */
int sample_replay(const snap_snapshot *s, snap_writer *w, snap_error *err);

#endif
