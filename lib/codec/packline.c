/* A ring of jobs: the caller puts at its end and takes from its start, threads encode what they
 * find. Who waits for a job encodes another one meanwhile, so that with no thread at all everything
 * is done by the caller. */
#include "codec/packline.h"

#include <pthread.h>
#include <signal.h>
#include <stdlib.h>

#include "base/mem.h"

enum { THREADS_MAX = 8, JOBS_PER_THREAD = 2 };
enum { FREE, WAITING, RUNNING, DONE };

struct packline_thread {
    struct packline *line;
    pthread_t thread;
    struct packer packer;
};

struct packline {
    pthread_mutex_t mutex;
    pthread_cond_t changed;
    struct packline_job *jobs;
    unsigned n_jobs;     /* in the ring */
    uint64_t first, end; /* of jobs put so far: those given out, and all */
    unsigned n_threads;
    int is_over;
    struct packer packer; /* the caller's */
    struct packline_thread threads[THREADS_MAX];
};

/* The next job that nobody has begun; the mutex is held. */
static struct packline_job *next_waiting(struct packline *l) {
    for (uint64_t i = l->first; i < l->end; i++)
        if (l->jobs[i % l->n_jobs].state == WAITING)
            return &l->jobs[i % l->n_jobs];
    return NULL;
}

/* Encodes a job; the mutex is held before and after. */
static void run_job(struct packline *l, struct packline_job *job, struct packer *packer) {
    job->state = RUNNING;
    pthread_mutex_unlock(&l->mutex);
    job->result = packer_run(packer, job->table, &job->rows, &job->chunks);
    pthread_mutex_lock(&l->mutex);
    job->state = DONE;
    pthread_cond_broadcast(&l->changed);
}

static void *thread_main(void *context) {
    struct packline_thread *const t = context;
    struct packline *const l = t->line;
    pthread_mutex_lock(&l->mutex);
    while (!l->is_over) {
        struct packline_job *const job = next_waiting(l);
        if (job)
            run_job(l, job, &t->packer);
        else
            pthread_cond_wait(&l->changed, &l->mutex);
    }
    pthread_mutex_unlock(&l->mutex);
    return NULL;
}

/* Signals are the program's, not these threads'. */
static void start_threads(struct packline *l, unsigned n, int level) {
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    while (l->n_threads < n) {
        struct packline_thread *const t = &l->threads[l->n_threads];
        t->line = l;
        if (packer_init(&t->packer, level) < 0 ||
            pthread_create(&t->thread, NULL, thread_main, t) != 0) {
            packer_release(&t->packer);
            break;
        }
        l->n_threads++;
    }
    pthread_sigmask(SIG_SETMASK, &before, NULL);
}

struct packline *packline_new(unsigned n_threads, int level) {
    struct packline *const l = mem_zalloc(1, sizeof *l);
    if (!l)
        return NULL;
    if (n_threads > THREADS_MAX)
        n_threads = THREADS_MAX;
    l->n_jobs = JOBS_PER_THREAD * (n_threads + 1);
    l->jobs = mem_zalloc(l->n_jobs, sizeof *l->jobs);
    if (!l->jobs || packer_init(&l->packer, level) < 0 || pthread_mutex_init(&l->mutex, NULL)) {
        packer_release(&l->packer);
        free(l->jobs);
        free(l);
        return NULL;
    }
    pthread_cond_init(&l->changed, NULL);
    start_threads(l, n_threads, level);
    return l;
}

void packline_free(struct packline *l) {
    if (!l)
        return;
    pthread_mutex_lock(&l->mutex);
    l->is_over = 1;
    pthread_cond_broadcast(&l->changed);
    pthread_mutex_unlock(&l->mutex);
    for (unsigned i = 0; i < l->n_threads; i++) {
        pthread_join(l->threads[i].thread, NULL);
        packer_release(&l->threads[i].packer);
    }
    for (unsigned i = 0; i < l->n_jobs; i++) {
        pack_rows_release(&l->jobs[i].rows);
        pack_chunks_release(&l->jobs[i].chunks);
    }
    packer_release(&l->packer);
    pthread_cond_destroy(&l->changed);
    pthread_mutex_destroy(&l->mutex);
    free(l->jobs);
    free(l);
}

int packline_is_full(const struct packline *l) {
    return l->end - l->first == l->n_jobs;
}

int packline_is_empty(const struct packline *l) {
    return l->end == l->first;
}

void packline_put(struct packline *l, snap_table table, struct pack_rows *rows) {
    struct packline_job *const job = &l->jobs[l->end % l->n_jobs];
    pthread_mutex_lock(&l->mutex);
    job->table = table;
    job->rows = *rows;
    job->state = WAITING;
    l->end++;
    pthread_cond_broadcast(&l->changed);
    pthread_mutex_unlock(&l->mutex);
    *rows = (struct pack_rows){0};
}

struct packline_job *packline_oldest(struct packline *l, int must_wait) {
    if (packline_is_empty(l))
        return NULL;
    struct packline_job *const oldest = &l->jobs[l->first % l->n_jobs];
    pthread_mutex_lock(&l->mutex);
    while (must_wait && oldest->state != DONE) {
        struct packline_job *const other = next_waiting(l);
        if (other)
            run_job(l, other, &l->packer);
        else
            pthread_cond_wait(&l->changed, &l->mutex);
    }
    const int is_done = oldest->state == DONE;
    pthread_mutex_unlock(&l->mutex);
    return is_done ? oldest : NULL;
}

void packline_drop(struct packline *l) {
    struct packline_job *const job = &l->jobs[l->first % l->n_jobs];
    pack_rows_release(&job->rows);
    pthread_mutex_lock(&l->mutex);
    job->state = FREE;
    l->first++;
    pthread_mutex_unlock(&l->mutex);
}
