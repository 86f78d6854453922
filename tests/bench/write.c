/* How long the file of many blocks takes to write, and how large it is: 4 M blocks of many sizes
 * from many sites, and the time from the call to the complete file: of the blocks and their stacks,
 * and with the references in 1 GB of them, for which all of it is read.
 *
 * usage: write [BLOCKS], under `snap run`. */
#include <heapsnap/capture.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "clock.h"

#if __has_attribute(noclone) /* not in clang, which makes no clones */
#define KEEP __attribute__((noinline, noclone))
#else
#define KEEP __attribute__((noinline))
#endif

static uint64_t seed = 1;

static unsigned draw(unsigned n) {
    seed = seed * 6364136223846793005u + 1442695040888963407u;
    return (unsigned)(seed >> 33) % n;
}

/* Each path through this tree of calls is a stack of its own: 3 to the 7th. */
KEEP static void *allocate(unsigned depth, unsigned path) {
    void *p;
    if (depth == 0)
        p = malloc(16 + draw(draw(16) ? 200 : 4000));
    else if (path % 3 == 0)
        p = allocate(depth - 1, path / 3);
    else if (path % 3 == 1)
        p = allocate(depth - 1, path / 3);
    else
        p = allocate(depth - 1, path / 3);
    __asm__ volatile("" : "+r"(p)); /* no tail call */
    return p;
}

/* One snapshot, with references between the blocks or without. */
static int take(size_t n, int no_edges, const char *what, const char *wanted) {
    snap_error err;
    const snap_take_options o = {.struct_size = sizeof o, .overwrite = 1, .no_edges = no_edges};
    const uint64_t start_ns = now_ns();
    const double before = processor_seconds(RUSAGE_CHILDREN);
    if (snap_take("write.snap", &o, &err) < 0) {
        fprintf(stderr, "write: %s\n", err.message);
        return -1;
    }
    struct stat st;
    if (stat("write.snap", &st) != 0)
        return -1;
    printf("%zu blocks, %s: %.2f s from call to file, %.2f s of one core, %.2f bytes per block%s\n",
           n, what, (double)(now_ns() - start_ns) / 1e9,
           processor_seconds(RUSAGE_CHILDREN) - before, (double)st.st_size / (double)n, wanted);
    return 0;
}

int main(int argc, char **argv) {
    const size_t n = argc > 1 ? strtoul(argv[1], NULL, 10) : 4000000;
    if (!snap_is_tracked()) {
        fprintf(stderr, "write: run it under `snap run`\n");
        return 2;
    }
    /* A third is freed again, so that the heap has holes and births are not in order. */
    void **const kept = malloc(n * sizeof *kept);
    for (size_t i = 0; kept && i < n; i++) {
        kept[i] = allocate(7, draw(2187));
        if (draw(3) == 0) {
            const size_t k = draw((unsigned)i + 1);
            free(kept[k]);
            kept[k] = allocate(7, draw(2187));
        }
    }
    for (int i = 0; i < 3; i++)
        if (take(n, 1, "blocks and stacks  ", "   wanted: <= 2 s of one core, <= 8 bytes") < 0 ||
            take(n, 0, "with all references", "") < 0)
            return 2;
    remove("write.snap");
    return 0;
}
