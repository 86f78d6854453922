/* What the leak programs share. A program does one round of work to warm up and then N_ROUNDS equal
 * ones. After each it says how many bytes it has leaked up to there, by its own books, and waits
 * for a line on standard input, so that somebody can take a snapshot (at the end of input it goes
 * on at once). It knows nothing of heapsnap. */
#ifndef ROUNDS_H
#define ROUNDS_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { N_ROUNDS = 4 };

/* 1: leak, 0: the twin that does not. */
static int rounds_leak(int argc, char **argv) {
    if (argc == 2 && strcmp(argv[1], "leak") == 0)
        return 1;
    if (argc == 2 && strcmp(argv[1], "fixed") == 0)
        return 0;
    fprintf(stderr, "usage: %s leak|fixed\n", argv[0]);
    exit(2);
}

static void rounds_end(int round, size_t leaked_bytes) {
    if (round == 0)
        return; /* the warm-up */
    printf("round %d leaked %zu\n", round, leaked_bytes);
    fflush(stdout);
    char line[16];
    if (read(STDIN_FILENO, line, sizeof line) < 0)
        exit(3);
}

#endif
