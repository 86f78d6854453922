/* A pool of threads that decode images; one in five is broken.
 * leak: the worker returns from a broken image without freeing its line buffers. fixed: it frees
 * them. */
#include "rounds.h"

#include <pthread.h>

enum { N_WORKERS = 3, JOBS_PER_ROUND = 400, LINE_BYTES = 700 };

struct job {
    struct job *next;
    int width, is_broken, free_lines;
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t changed = PTHREAD_COND_INITIALIZER;
static struct job *waiting;
static int n_unfinished, is_over;

__attribute__((noinline)) static unsigned char *allocate_lines(const struct job *job) {
    unsigned char *const lines = malloc(LINE_BYTES);
    if (lines == NULL)
        abort();
    memset(lines, job->width, LINE_BYTES);
    return lines;
}

__attribute__((noinline)) static int decode(const struct job *job) {
    unsigned char *const lines = allocate_lines(job);
    if (job->is_broken) {
        if (job->free_lines)
            free(lines);
        return -1;
    }
    int sum = 0;
    for (int i = 0; i < LINE_BYTES; i++)
        sum += lines[i];
    free(lines);
    return sum;
}

static void *work(void *unused) {
    (void)unused;
    pthread_mutex_lock(&lock);
    for (;;) {
        while (waiting == NULL && !is_over)
            pthread_cond_wait(&changed, &lock);
        if (waiting == NULL)
            break;
        struct job *const job = waiting;
        waiting = job->next;
        pthread_mutex_unlock(&lock);
        decode(job);
        free(job);
        pthread_mutex_lock(&lock);
        n_unfinished--;
        pthread_cond_broadcast(&changed);
    }
    pthread_mutex_unlock(&lock);
    return NULL;
}

int main(int argc, char **argv) {
    const int leak = rounds_leak(argc, argv);
    pthread_t workers[N_WORKERS];
    size_t leaked = 0;
    for (int i = 0; i < N_WORKERS; i++)
        if (pthread_create(&workers[i], NULL, work, NULL) != 0)
            abort();
    for (int round = 0; round <= N_ROUNDS; round++) {
        pthread_mutex_lock(&lock);
        for (int i = 0; i < JOBS_PER_ROUND; i++) {
            struct job *const job = calloc(1, sizeof *job);
            if (job == NULL)
                abort();
            *job = (struct job){waiting, i, i % 5 == 0, !leak};
            waiting = job;
            n_unfinished++;
            leaked += leak && job->is_broken ? LINE_BYTES : 0;
        }
        pthread_cond_broadcast(&changed);
        while (n_unfinished > 0)
            pthread_cond_wait(&changed, &lock);
        pthread_mutex_unlock(&lock);
        rounds_end(round, leaked);
    }
    pthread_mutex_lock(&lock);
    is_over = 1;
    pthread_cond_broadcast(&changed);
    pthread_mutex_unlock(&lock);
    for (int i = 0; i < N_WORKERS; i++)
        pthread_join(workers[i], NULL);
    return 0;
}
