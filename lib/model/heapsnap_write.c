/* heapsnap-write: the process that turns the capture stream on its standard input into a file. It
 * is started by the copy of a target (lib/capture/collect.c), not by people, and answers on file
 * descriptor WIRE_STATUS_FD. All the work is ingest.c's. */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "model/ingest.h"
#include "model/wire.h"

static void answer(const char *text, size_t length) {
    while (length > 0) {
        const ssize_t n = write(WIRE_STATUS_FD, text, length);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return;
        text += n;
        length -= (size_t)n;
    }
}

/* A sign of life, ten times a second at most. */
static void progress(void *context) {
    uint64_t *const last_ns = context;
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    const uint64_t now_ns = (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
    if (now_ns - *last_ns < 100000000u)
        return;
    *last_ns = now_ns;
    answer(".", 1);
}

/* $HEAPSNAP_TYPES_MS: what is too much for a default may be worth waiting for. */
static int64_t types_ns(void) {
    const char *const text = getenv("HEAPSNAP_TYPES_MS");
    if (!text || *text < '0' || *text > '9')
        return 0;
    const unsigned long ms = strtoul(text, NULL, 10);
    return ms == 0 ? -1 : ms < UINT32_MAX ? (int64_t)ms * 1000000 : 0;
}

int main(int argc, char **argv) {
    if (argc > 1 || isatty(STDIN_FILENO)) {
        fprintf(stderr, "heapsnap-write is started by the recorder, which sends it a snapshot.\n"
                        "See snap-run(1).\n");
        return 2;
    }
    /* Nobody there to answer to is a run by hand, or a copy that was killed. */
    const int is_alone = fcntl(WIRE_STATUS_FD, F_GETFD) < 0;
    signal(SIGPIPE, SIG_IGN);
    signal(SIGXFSZ, SIG_IGN); /* a limit on files is an error like a full disk */

    uint64_t last_ns = 0;
    const struct ingest_options options = {
        .progress = is_alone ? NULL : progress, .context = &last_ns, .types_ns = types_ns()};
    snap_error err = {0};
    char *path = NULL, *line = NULL;
    const int result = ingest(STDIN_FILENO, &options, &path, &err);
    const int length = result == 0 ? asprintf(&line, "ok %s\n", path)
                                   : asprintf(&line, "error %d %s\n", -result, err.message);
    if (length > 0 && !is_alone)
        answer(line, (size_t)length);
    else if (length > 0)
        fputs(line, result == 0 ? stdout : stderr);
    free(line);
    free(path);
    return result == 0 ? 0 : 2;
}
