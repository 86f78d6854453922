/* symbolize [-n] [-b BUILD_ID] [-d DIR]... FILE < OFFSETS: names hexadecimal addresses, ascending,
 * one block per address: the address, then `function<TAB>file:line<TAB>source` per position. For
 * the scripts that compare with other tools. */
#include "symbol/symbol.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct output {
    const uint64_t *offsets;
    size_t next;
};

static void print_positions(void *context, size_t index, const struct symbol_position *positions,
                            size_t n) {
    struct output *const output = context;
    if (index != output->next++) {
        fprintf(stderr, "symbolize: index %zu out of turn\n", index);
        exit(2);
    }
    printf("0x%" PRIx64 "\n", output->offsets[index]);
    for (size_t i = 0; i < n; i++)
        printf("\t%s\t%s:%u\t%u\n", positions[i].function, positions[i].file, positions[i].line,
               positions[i].source);
}

int main(int argc, char **argv) {
    const char *dirs[16] = {NULL};
    size_t n_dirs = 0;
    const char *build_id = NULL;
    struct symbolizer_options options = {.max_module_ns = UINT64_C(60000000000)};
    int option;
    while ((option = getopt(argc, argv, "nb:d:t:")) != -1) {
        if (option == 'n')
            options.no_dwarf = 1;
        else if (option == 'b')
            build_id = optarg;
        else if (option == 't')
            options.max_module_ns = strtoull(optarg, NULL, 10) * 1000000;
        else if (option == 'd' && n_dirs < 15) {
            dirs[n_dirs++] = optarg;
            options.debug_dirs = dirs;
        } else
            return 2;
    }
    if (optind + 1 != argc)
        return 2;
    uint64_t *offsets = NULL;
    size_t n = 0, capacity = 0;
    char line[64];
    while (fgets(line, sizeof line, stdin)) {
        if (n == capacity) {
            capacity = capacity ? capacity * 2 : 1024;
            uint64_t *const grown = realloc(offsets, capacity * sizeof *grown);
            if (!grown)
                return 2;
            offsets = grown;
        }
        offsets[n++] = strtoull(line, NULL, 16);
    }
    struct symbolizer *s;
    uint32_t module;
    snap_error err;
    struct output output = {.offsets = offsets};
    if (symbolizer_new(&s, &options, &err) < 0 ||
        symbolizer_module(s, argv[optind], build_id, &module, &err) < 0 ||
        symbolizer_lookup(s, module, offsets, n, print_positions, &output, &err) < 0) {
        fprintf(stderr, "symbolize: %s\n", err.message);
        return 2;
    }
    if (output.next != n)
        return 2;
    symbolizer_free(s);
    free(offsets);
    return 0;
}
