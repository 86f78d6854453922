/* How long a snapshot stops a program, as the program feels it: a thread reads the clock without
 * pause while another takes snapshots; the largest gap it sees is printed, beside the one without,
 * and beside how long the kernel needs to copy the process at all.
 *
 * usage: pause [MIB] [ROUNDS], under `snap run`. Memory is touched in 4 KiB pages. */
#include <heapsnap/capture.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "clock.h"

static _Atomic uint64_t largest_ns;
static _Atomic int stop;

static void *tick(void *unused) {
    uint64_t before = now_ns();
    while (!atomic_load(&stop)) {
        const uint64_t now = now_ns();
        if (now - before > atomic_load(&largest_ns))
            atomic_store(&largest_ns, now - before);
        before = now;
    }
    return NULL;
}

/* Milliseconds that a mere fork takes, negative if there is none. */
static double fork_ms(void) {
    const uint64_t start = now_ns();
    const pid_t pid = fork();
    if (pid == 0)
        _exit(0);
    const uint64_t end = now_ns();
    if (pid > 0)
        waitpid(pid, NULL, 0);
    return pid > 0 ? (double)(end - start) / 1e6 : -1;
}

int main(int argc, char **argv) {
    const size_t mib = argc > 1 ? strtoul(argv[1], NULL, 10) : 1024;
    const int n_rounds = argc > 2 ? atoi(argv[2]) : 3;
    enum { BLOCK = 65536 };
    if (!snap_is_tracked()) {
        fprintf(stderr, "pause: run it under `snap run`\n");
        return 2;
    }
    prctl(PR_SET_THP_DISABLE, 1, 0, 0, 0);
    for (size_t i = 0; i < mib << 20; i += BLOCK) {
        char *const p = malloc(BLOCK);
        if (!p)
            return 2;
        memset(p, 1, BLOCK);
    }
    pthread_t ticker;
    pthread_create(&ticker, NULL, tick, NULL);
    const struct timespec half = {0, 500000000};
    nanosleep(&half, NULL);
    printf("%zu MiB touched; largest gap without a snapshot %.2f ms\n", mib,
           (double)atomic_exchange(&largest_ns, 0) / 1e6);
    for (int i = 0; i < n_rounds; i++) {
        snap_error err;
        atomic_store(&largest_ns, 0);
        const snap_take_options o = {.struct_size = sizeof o, .overwrite = 1};
        if (snap_take("pause.snap", &o, &err) < 0) {
            fprintf(stderr, "pause: %s\n", err.message);
            return 2;
        }
        const double gap = (double)atomic_load(&largest_ns) / 1e6;
        printf(
            "largest gap with one %.2f ms, a fork alone takes %.2f ms   wanted: <= 25 ms per GiB, "
            "and 2\n",
            gap, fork_ms());
    }
    atomic_store(&stop, 1);
    pthread_join(ticker, NULL);
    remove("pause.snap");
    return 0;
}
