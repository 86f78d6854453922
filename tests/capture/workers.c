/* A program with children, for test_workers.py: each line of its input says what they do next, and
 * is answered when it is done. All share 32 MiB that it filled before.
 *
 *   c  the first writes to 4 MiB of the shared memory
 *   m  the second makes 4 MiB of its own
 *   g  a child of the third writes to 4 MiB of the shared memory
 *   e  the second ends
 *
 * "hidden" as an argument: there is a fourth child, which may not be looked at. */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#define SHARED ((size_t)32 << 20)
#define STEP ((size_t)4 << 20)
#define PAGE 4096

static char *shared;

static char *pages(size_t size) {
    char *const p = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (p == MAP_FAILED)
        _exit(9);
    madvise(p, size, MADV_NOHUGEPAGE);
    return p;
}

static void fill(char *p, size_t size) {
    for (size_t i = 0; i < size; i += PAGE)
        p[i]++;
}

/* Works on each byte that comes in, until none does. */
static void work(int in, int out, int makes) {
    char c;
    for (size_t done = 0; read(in, &c, 1) == 1; done += STEP) {
        if (makes)
            fill(pages(STEP), STEP);
        else
            fill(shared + done % SHARED, STEP);
        if (write(out, &c, 1) != 1)
            break;
    }
    _exit(0);
}

static struct worker { int to, from, pid; } workers[3];

static void start(struct worker *w, int makes, int has_child) {
    int to[2], from[2];
    if (pipe(to) != 0 || pipe(from) != 0)
        exit(9);
    const int pid = fork();
    if (pid == 0) {
        close(to[1]);
        close(from[0]);
        for (const struct worker *other = workers; other < w; other++)
            close(other->to); /* so that each sees the end of its own */
        close(STDOUT_FILENO);
        if (has_child && fork() != 0) {
            close(to[0]);
            close(from[1]);
            wait(NULL);
            _exit(0);
        }
        work(to[0], from[1], makes);
    }
    close(to[0]);
    close(from[1]);
    *w = (struct worker){to[1], from[0], pid};
}

static int hide(void) {
    const int pid = fork();
    if (pid == 0) {
        prctl(PR_SET_DUMPABLE, 0);
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        close(STDOUT_FILENO);
        for (int i = 0; i < 3; i++)
            close(workers[i].to);
        for (;;)
            pause();
    }
    return pid;
}

static void order(const struct worker *w) {
    char c = 0;
    if (write(w->to, &c, 1) != 1 || read(w->from, &c, 1) != 1)
        exit(9);
}

int main(int argc, char **argv) {
    char line[16];
    signal(SIGPIPE, SIG_IGN);
    shared = pages(SHARED);
    fill(shared, SHARED);
    for (int i = 0; i < 3; i++)
        start(&workers[i], i == 1, i == 2);
    const int hidden = argc > 1 && strcmp(argv[1], "hidden") == 0 ? hide() : 0;
    puts("ready");
    fflush(stdout);
    while (fgets(line, sizeof line, stdin)) {
        if (*line == 'e') {
            close(workers[1].to);
            waitpid(workers[1].pid, NULL, 0);
        } else {
            order(&workers[*line == 'c' ? 0 : *line == 'm' ? 1 : 2]);
        }
        puts("done");
        fflush(stdout);
    }
    for (int i = 0; i < 3; i++)
        close(workers[i].to);
    if (hidden > 0)
        kill(hidden, SIGKILL);
    while (wait(NULL) > 0)
        ;
    return 0;
}
