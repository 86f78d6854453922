/* A program with a caching allocator: a seeded sequence of blocks, then a snapshot of itself and
 * the allocator's own books. Arguments: FILE, seed. */
#include <heapsnap/capture.h>
#include <stdio.h>
#include <stdlib.h>

#include "runtime/caching.h"

size_t c10_reports(void);

int main(int argc, char **argv) {
    static const size_t sizes[] = {100, 5000, 70000, 900000, 1500000, 9000000, 12000000, 33000000};
    void *held[200] = {0};
    if (argc != 3)
        return 2;
    srand((unsigned)atoi(argv[2]));
    for (int i = 0; i < 2000; i++) {
        void **const h = &held[rand() % 200];
        if (*h)
            caching_free(*h);
        *h = *h ? NULL : caching_allocate(sizes[rand() % 8] + (size_t)(rand() % 4096));
    }
    for (int i = 0; i < 200; i++)
        if (held[i] && i % 3) {
            caching_free(held[i]);
            held[i] = NULL;
        }
    snap_error err = {0};
    const snap_take_options options = {.struct_size = sizeof options};
    if (snap_take(argv[1], &options, &err) != 0) {
        fprintf(stderr, "%s\n", err.message);
        return 1;
    }
    const struct caching_stats s = caching_stats();
    printf("%zu %zu %zu %zu %zu\n", s.allocated, s.reserved, s.returnable, s.largest_gap,
           c10_reports());
    return 0;
}
