/* A program with a caching allocator: a seeded sequence of blocks, then a snapshot of itself and
 * the allocator's own books. Arguments: FILE, seed. */
#include <heapsnap/capture.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/caching.h"

size_t c10_reports(void);

int main(int argc, char **argv) {
    static const size_t sizes[] = {100, 5000, 70000, 900000, 1500000, 9000000, 12000000, 33000000};
    void *held[200] = {0};
    if (argc != 3)
        return 2;
    srand((unsigned)atoi(argv[2]));
    const char *const mode = getenv("CACHING");
    const int has_graphs = mode && strcmp(mode, "graphs") == 0;
    for (int i = 0; i < 2000; i++) {
        if (has_graphs && i % 500 == 300)
            caching_capture(1);
        if (has_graphs && i % 500 == 350)
            caching_capture(0);
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
    printf("%zu %zu %zu %zu %zu %zu %zu\n", s.allocated, s.reserved, s.returnable, s.largest_gap,
           c10_reports(), s.private_reserved, s.private_allocated);
    return 0;
}
