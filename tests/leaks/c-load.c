/* A batch job whose batches double from round to round: the memory of a batch follows, and is freed
 * when the next one begins. No leak: it says with each snapshot how many jobs the batch has.
 * fixed: batches of one size. */
#include "rounds.h"

#include <heapsnap/capture.h>

enum { JOBS_FIRST = 60, JOB_BYTES = 1500 };

struct job {
    unsigned id, priority;
    unsigned char *input;
};

struct batch {
    size_t n_jobs;
    struct job **jobs;
};

static struct batch current;

static struct job *job_new(unsigned id) {
    struct job *const job = malloc(sizeof *job);
    if (job == NULL || (job->input = malloc(JOB_BYTES)) == NULL)
        abort();
    job->id = id;
    job->priority = id % 3;
    memset(job->input, (int)id, JOB_BYTES);
    return job;
}

static void batch_begin(struct batch *b, size_t n_jobs) {
    for (size_t i = 0; i < b->n_jobs; i++) {
        free(b->jobs[i]->input);
        free(b->jobs[i]);
    }
    free(b->jobs);
    b->n_jobs = n_jobs;
    if ((b->jobs = calloc(n_jobs, sizeof b->jobs[0])) == NULL)
        abort();
    for (size_t i = 0; i < n_jobs; i++)
        b->jobs[i] = job_new((unsigned)i);
}

int main(int argc, char **argv) {
    const int doubles = rounds_leak(argc, argv);
    size_t n_jobs = JOBS_FIRST;
    for (int round = 0; round <= N_ROUNDS; round++) {
        batch_begin(&current, n_jobs);
        if (round > 0) {
            const snap_counter counters[] = {{"jobs", (int64_t)n_jobs}};
            const snap_take_options options = {
                .struct_size = sizeof options, .counters = counters, .n_counters = 1};
            snap_error err;
            if (snap_take(NULL, &options, &err) < 0) {
                fprintf(stderr, "c-load: %s\n", err.message);
                return 3;
            }
        }
        rounds_end(round, 0);
        if (doubles)
            n_jobs *= 2;
    }
    return 0;
}
