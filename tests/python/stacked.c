/* C functions that programs of test_frames.py call: blocks of sizes that nobody else asks for,
 * calls back into Python, from this thread or a new one, and a signal handler that maps memory. */
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/time.h>

typedef void (*callback)(void);

static void *volatile kept;

__attribute__((noinline)) void *stacked_block(size_t size);
__attribute__((noinline)) void *stacked_block(size_t size) {
    void *const block = malloc(size);
    if (block != NULL)
        memset(block, 0, size);
    kept = block;
    return block;
}

__attribute__((noinline)) int stacked_call(callback fn);
__attribute__((noinline)) int stacked_call(callback fn) {
    fn();
    __asm__ volatile("" ::: "memory"); /* no tail call */
    return 1;
}

static void *run(void *context) {
    callback fn;
    memcpy(&fn, &context, sizeof fn);
    stacked_call(fn);
    return NULL;
}

int stacked_call_in_thread(callback fn);
int stacked_call_in_thread(callback fn) {
    pthread_t thread;
    void *context;
    memcpy(&context, &fn, sizeof fn);
    if (pthread_create(&thread, NULL, run, context) != 0)
        return 0;
    return pthread_join(thread, NULL) == 0;
}

void stacked_for_ever(void);
void stacked_for_ever(void) {
    for (;;)
        free(stacked_block(5000));
}

/* Maps memory while a frame says that it was called by itself, as what the interpreter is just
 * making may do. */
void stacked_in_circle(void *frame, void **previous);
void stacked_in_circle(void *frame, void **previous) {
    void *const before = *previous;
    *previous = frame;
    void *const page = mmap(NULL, 4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    *previous = before;
    if (page != MAP_FAILED)
        munmap(page, 4096);
}

static volatile long n_signals;
static volatile int wanted;

/* One at a time: a handler that takes longer than the distance must not keep the program from going
 * on. */
static void arm(void) {
    const struct itimerval timer = {{0, 0}, {0, wanted ? 100 + n_signals * 37 % 200 : 0}};
    setitimer(ITIMER_REAL, &timer, NULL);
}

static void on_signal(int signal) {
    (void)signal;
    void *const page = mmap(NULL, 4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (page != MAP_FAILED)
        munmap(page, 4096);
    n_signals++;
    arm();
}

long stacked_signals(int on);
long stacked_signals(int on) {
    struct sigaction action = {0};
    action.sa_handler = on_signal;
    action.sa_flags = SA_RESTART;
    sigaction(SIGALRM, &action, NULL);
    wanted = on;
    arm();
    return n_signals;
}
