/* The state of glibc's malloc among the globals of the C library: pointers to free memory, which
 * refer to nothing. One of them (`top`, and those in the lists) is the address of a chunk's header,
 * whose first word belongs to the block before it: it would hold that block.
 *
 * Nothing exports where the state is. It is known by its lists of free chunks ("bins"): 127 pairs
 * of words one after the other, each an empty list, which refers to itself, or a list whose first
 * and last chunk refer back to it. Reads only; a global that merely looks so has to hold 16 empty
 * lists in such a row, and loses no more than that row. */
#include "capture/scan_internal.h"

enum {
    BINS = 127,
    EMPTY_MIN = 16,
    WORD = 8,
    PAIR = 2 * WORD,
    /* before the lists: a lock and flags, ten lists of small chunks, top, last_remainder */
    BEFORE = 16 + 10 * WORD + 2 * WORD,
    /* behind them: a map of 16 bytes, two links, a count, two sums */
    BEHIND = 16 + 5 * WORD
};

static uint64_t word_at(uint64_t address) {
    return *(const uint64_t *)(uintptr_t)address;
}

/* A list's pair of words stands where a chunk's would that starts two words before. */
static int is_empty_list(uint64_t pair) {
    return word_at(pair) == pair - PAIR && word_at(pair + WORD) == pair - PAIR;
}

static int refers_back(const struct scan *s, uint64_t chunk, unsigned word, uint64_t list) {
    const uint64_t at = chunk + word * (uint64_t)WORD;
    const struct scan_segment *const segment = scan_memory_segment(s, at);
    return at % WORD == 0 && segment && !segment->is_file && at + WORD <= segment->end &&
           word_at(at) == list;
}

static int is_list(const struct scan *s, uint64_t pair) {
    return is_empty_list(pair) || (refers_back(s, word_at(pair), 3, pair - PAIR) &&
                                   refers_back(s, word_at(pair + WORD), 2, pair - PAIR));
}

struct search {
    uint64_t start, end;
    struct scan_range *out;
};

static void search(struct scan_worker *w, const void *context) {
    const struct search *const p = context;
    const struct scan *const s = w->scan;
    for (uint64_t at = p->start + BEFORE; at + PAIR <= p->end; at += WORD) {
        if (!is_empty_list(at))
            continue;
        uint64_t first = at, end = at;
        unsigned n = 0, n_empty = 0;
        while (first - PAIR >= p->start + BEFORE && n < BINS && is_list(s, first - PAIR)) {
            first -= PAIR;
            n++;
        }
        for (; end + PAIR <= p->end && n < BINS && is_list(s, end); end += PAIR, n++)
            n_empty += (unsigned)is_empty_list(end);
        if (n_empty >= EMPTY_MIN && n == BINS) {
            p->out->start = first - BEFORE;
            p->out->end = end + BEHIND < p->end ? end + BEHIND : p->end;
            return;
        }
        at = end > at ? end - WORD : at;
    }
}

struct scan_range scan_malloc_state(struct scan_worker *w, uint64_t start, uint64_t end) {
    struct scan_range found = {0};
    const struct search p = {(start + WORD - 1) & ~(uint64_t)(WORD - 1), end, &found};
    if (p.end > p.start && p.end - p.start > BINS * PAIR)
        scan_attempt(w, search, &p, 0);
    return found;
}
