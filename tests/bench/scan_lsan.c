/* The same heap as of scan.c under LeakSanitizer: how long its check stops the program.
 *
 * usage: scan_lsan [BLOCKS [MIB]] */
#include <sanitizer/lsan_interface.h>
#include <stdio.h>

#include "scan_heap.h"

static struct heap heap; /* so that nothing is lost */

int main(int argc, char **argv) {
    const size_t n = argc > 1 ? strtoul(argv[1], NULL, 10) : 4000000;
    const size_t mib = argc > 2 ? strtoul(argv[2], NULL, 10) : 1024;
    if (build(&heap, n, mib << 20) < 0)
        return 2;
    const size_t n_edges = connect_blocks(&heap, 0);
    for (int i = 0; i < 3; i++) {
        const uint64_t start_ns = now_ns();
        const int found = __lsan_do_recoverable_leak_check();
        printf("LeakSanitizer: %zu blocks, %zu references: stopped for %.2f s%s\n", n, n_edges,
               (double)(now_ns() - start_ns) / 1e9, found ? ", and found leaks" : "");
    }
    return 0;
}
