/* snap_take: hands over to the recorder if one has been preloaded into this process, else writes
 * what can be seen without one. The recorder is found by name at each call, so that this library
 * works with and without it and never loads it. */
#include <heapsnap/capture.h>

#include <dlfcn.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

#include "base/err.h"
#include "capture/copy.h"
#include "capture/preload.h"
#include "capture/take.h"
#include "model/untracked.h"

#define COUNTERS_MAX 64
#define PATTERN_DEFAULT "heapsnap.%p.%n.snap"

static preload_take_fn find_recorder(void) {
    preload_take_fn fn;
    *(void **)&fn = dlsym(RTLD_DEFAULT, PRELOAD_TAKE_NAME);
    return fn;
}

int snap_is_tracked(void) {
    return find_recorder() != NULL;
}

/* Identity of this life of the process, as long as no recorder has given it one. */
static struct {
    pthread_mutex_t lock;
    char lineage[33];
    pid_t pid; /* a forked child starts anew */
    uint64_t sequence;
} untracked = {.lock = PTHREAD_MUTEX_INITIALIZER};

static uint64_t next_sequence(char lineage[33]) {
    pthread_mutex_lock(&untracked.lock);
    if (untracked.pid != getpid()) {
        unsigned char random[16] = {0};
        if (getrandom(random, sizeof random, 0) != sizeof random)
            memcpy(random, &(pid_t){getpid()}, sizeof(pid_t));
        for (size_t i = 0; i < sizeof random; i++)
            snprintf(untracked.lineage + 2 * i, 3, "%02x", random[i]);
        untracked.pid = getpid();
        untracked.sequence = 0;
    }
    memcpy(lineage, untracked.lineage, sizeof untracked.lineage);
    const uint64_t sequence = ++untracked.sequence;
    pthread_mutex_unlock(&untracked.lock);
    return sequence;
}

static int64_t rank(void) {
    static const char *const names[] = {"HEAPSNAP_RANK", "RANK",     "OMPI_COMM_WORLD_RANK",
                                        "PMIX_RANK",     "PMI_RANK", "SLURM_PROCID",
                                        "LOCAL_RANK"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        const char *const value = getenv(names[i]);
        char *end;
        if (!value || *value < '0' || *value > '9')
            continue;
        const long long number = strtoll(value, &end, 10);
        if (!*end)
            return number;
    }
    return -1;
}

/* %p, %n, %r, %%; the caller frees. NULL: no memory. */
static char *expand(const char *pattern, uint64_t sequence, int64_t rank_number) {
    char *text = NULL;
    size_t size = 0;
    FILE *const out = open_memstream(&text, &size);
    if (!out)
        return NULL;
    for (const char *p = pattern; *p; p++) {
        const char letter = *p == '%' ? p[1] : '\0';
        if (letter == 'p')
            fprintf(out, "%ld", (long)getpid());
        else if (letter == 'n')
            fprintf(out, "%llu", (unsigned long long)sequence);
        else if (letter == 'r')
            fprintf(out, "%lld", (long long)(rank_number < 0 ? 0 : rank_number));
        else
            fputc(*p, out);
        p += letter && strchr("pnr%", letter) != NULL;
    }
    if (fclose(out) == 0)
        return text;
    free(text);
    return NULL;
}

static void copied(const struct take_managed *managed) {
    if (managed)
        managed->copied(managed->context);
}

static int take_untracked(const char *path, const snap_take_options *o,
                          const struct take_managed *managed, snap_error *err) {
    char lineage[33];
    struct untracked_counter counters[COUNTERS_MAX];
    struct untracked u = {.label = o->label,
                          .step = o->step,
                          .has_step = o->has_step,
                          .overwrite = o->overwrite,
                          .rank = o->has_rank ? o->rank : rank(),
                          .lineage = lineage,
                          .counters = counters,
                          .n_counters = o->n_counters};
    for (size_t i = 0; i < o->n_counters; i++)
        counters[i] = (struct untracked_counter){o->counters[i].name, o->counters[i].value};
    u.sequence = next_sequence(lineage);
    char *const expanded = expand(path ? path : PATTERN_DEFAULT, u.sequence, u.rank);
    if (!expanded) {
        copied(managed);
        return err_set(err, SNAP_E_NOMEM, "no memory for the path");
    }
    u.path = expanded;
    const int result = managed ? copy_write(&u, managed, err) : untracked_write(&u, err);
    free(expanded);
    return result;
}

static int take_tracked(preload_take_fn fn, const char *path, const snap_take_options *o,
                        const struct take_managed *managed, snap_error *err) {
    struct preload_counter counters[COUNTERS_MAX];
    const struct preload_take take = {.struct_size = sizeof take,
                                      .path = path,
                                      .label = o->label,
                                      .step = o->step,
                                      .has_step = o->has_step,
                                      .overwrite = o->overwrite,
                                      .no_fork = o->no_fork,
                                      .rank = o->rank,
                                      .has_rank = o->has_rank,
                                      .copied = managed ? managed->copied : NULL,
                                      .copied_context = managed ? managed->context : NULL,
                                      .no_edges = o->no_edges,
                                      .counters = counters,
                                      .n_counters = o->n_counters};
    for (size_t i = 0; i < o->n_counters; i++)
        counters[i] = (struct preload_counter){o->counters[i].name, o->counters[i].value};
    char message[sizeof err->message] = "";
    const int result = fn(&take, message, sizeof message);
    return result < 0 ? err_set(err, result, "%s", message) : 0;
}

static int check(const char *path, const snap_take_options *options, snap_take_options *o,
                 snap_error *err) {
    *o = (snap_take_options){0};
    if (options) {
        const size_t size = options->struct_size ? options->struct_size : sizeof *o;
        memcpy(o, options, size < sizeof *o ? size : sizeof *o);
    }
    if (o->n_counters > COUNTERS_MAX)
        return err_set(err, SNAP_E_LIMIT, "more than %d counters", COUNTERS_MAX);
    for (size_t i = 0; i < o->n_counters; i++)
        if (!o->counters[i].name || !*o->counters[i].name)
            return err_set(err, SNAP_E_ARG, "counter %zu has no name", i);
    if (path && !*path)
        return err_set(err, SNAP_E_ARG, "the path is empty");
    return 0;
}

int take_managed(const char *path, const snap_take_options *options,
                 const struct take_managed *managed, snap_error *err) {
    snap_take_options o;
    const int result = check(path, options, &o, err);
    if (result < 0) {
        copied(managed);
        return result;
    }
    const preload_take_fn fn = find_recorder();
    return fn ? take_tracked(fn, path, &o, managed, err) : take_untracked(path, &o, managed, err);
}

int snap_take(const char *path, const snap_take_options *options, snap_error *err) {
    return take_managed(path, options, NULL, err);
}
