/* A server that forgets: each session is closed, but one in ten keeps its buffer.
 *
 * usage: leak [SECONDS]
 *
 * It knows nothing of heapsnap. `snap run --every 1 -- ./leak 5` writes a snapshot each second, and
 * `snapdiff` of two of them names open_session(). */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

struct session {
    unsigned id;
    char *buffer;
};

__attribute__((noinline)) static struct session *open_session(unsigned id) {
    struct session *session = malloc(sizeof *session);
    if (!session)
        return NULL;
    session->id = id;
    session->buffer = malloc(16384);
    if (session->buffer)
        memset(session->buffer, 'x', 16384);
    return session;
}

static void close_session(struct session *session) {
    if (session && session->id % 10 != 0)
        free(session->buffer);
    free(session);
}

int main(int argc, char **argv) {
    double seconds = argc > 1 ? atof(argv[1]) : 3;
    const struct timespec pause = {.tv_nsec = 1000000};
    struct timespec start, now;
    clock_gettime(CLOCK_MONOTONIC, &start);
    unsigned n_sessions = 0;
    do {
        close_session(open_session(n_sessions++));
        nanosleep(&pause, NULL);
        clock_gettime(CLOCK_MONOTONIC, &now);
    } while ((double)(now.tv_sec - start.tv_sec) + 1e-9 * (double)(now.tv_nsec - start.tv_nsec) <
             seconds);
    printf("%u sessions served\n", n_sessions);
    return 0;
}
