/* For tests with Check (https://libcheck.github.io/check): a test fails when what it does leaves
 * memory behind, with what grew and who holds it in its message.
 *
 *     #include <check.h>
 *     #include <heapsnap/check.h>
 *
 *     START_TEST(test_serve) {
 *         struct server *s = server_new();
 *         snap_assert_no_growth(serve(s, &request););
 *         server_free(s);
 *     }
 *     END_TEST
 *
 * Run it as `snap run -q -- ./tests`, which knows the blocks; in a process without the recorder the
 * statements are run once and nothing is asserted. Each assertion takes five snapshots: Check stops
 * a test after four seconds unless tcase_set_timeout says otherwise. Header only: needs -lheapsnap,
 * and Check where the macro is used. */
#ifndef HEAPSNAP_CHECK_H
#define HEAPSNAP_CHECK_H

#include <heapsnap/capture.h>
#include <heapsnap/diff.h>
#include <heapsnap/report.h>
#include <heapsnap/snapshot.h>

#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#ifdef __cplusplus
extern "C" {
#endif

#define SNAP_CHECK_WARM_UP 2
#define SNAP_CHECK_ROUNDS 4
#define SNAP_CHECK_TEXT_MAX 4000
#define SNAP_CHECK_PATH_MAX 256

/* The state of one assertion. */
struct snap_check {
    unsigned round;
    uint64_t max_bytes;
    char folder[SNAP_CHECK_PATH_MAX - 32]; /* in TMPDIR, or /tmp */
    char message[SNAP_CHECK_TEXT_MAX];     /* "": nothing grew */
};

static inline struct snap_check snap_check_start(uint64_t max_bytes) {
    struct snap_check c;
    memset(&c, 0, sizeof c);
    c.max_bytes = max_bytes;
    if (!snap_is_tracked())
        return c;
    const char *tmp = getenv("TMPDIR");
    if (!tmp || tmp[0] == '\0' || strlen(tmp) > sizeof c.folder - 64)
        tmp = "/tmp";
    /* What somebody else has made is never used. */
    for (unsigned i = 0; i < 1000; i++) {
        snprintf(c.folder, sizeof c.folder, "%s/heapsnap-check-%ld-%u", tmp, (long)getpid(), i);
        if (mkdir(c.folder, 0700) == 0)
            return c;
    }
    snprintf(c.message, sizeof c.message, "cannot make a folder for snapshots in %s: %s", tmp,
             strerror(errno));
    return c;
}

static inline void snap_check_path(const struct snap_check *c, unsigned i,
                                   char path[SNAP_CHECK_PATH_MAX]) {
    snprintf(path, SNAP_CHECK_PATH_MAX, "%s/%u.snap", c->folder, i);
}

/* Appends a line, as much of it as fits. */
static inline void snap_check_add(struct snap_check *c, const char *what, long long bytes,
                                  long long count, const char *name) {
    const size_t used = strlen(c->message);
    char safe[400];
    snap_escape(safe, sizeof safe, name);
    snprintf(c->message + used, sizeof c->message - used, "  %s%+lld bytes  %+lld  %s\n", what,
             bytes, count, safe);
}

/* What grew: suspects with their holders, then sites. */
static inline void snap_check_say(struct snap_check *c, const snap_diff *d, uint64_t bytes) {
    size_t n_suspects, n_sites;
    const snap_diff_suspect *const suspects = snap_diff_suspects(d, &n_suspects);
    const snap_diff_site *const sites = snap_diff_sites(d, &n_sites);
    snprintf(c->message, sizeof c->message,
             "%llu bytes more after every round than before it, over %d rounds:\n",
             (unsigned long long)bytes, SNAP_CHECK_ROUNDS);
    for (size_t i = 0; i < n_suspects && i < 3; i++) {
        const snap_diff_suspect *const s = &suspects[i];
        snap_check_add(c, "suspect ", (long long)s->growth_bytes, (long long)s->growth_count,
                       s->type);
        if (s->holder[0] != '\0')
            snap_check_add(c, "  held by ", (long long)s->growth_bytes, (long long)s->growth_count,
                           s->holder);
    }
    for (size_t i = 0; i < n_sites && i < 5 && sites[i].growth_bytes > 0; i++)
        snap_check_add(c, "", (long long)sites[i].growth_bytes, (long long)sites[i].growth_count,
                       sites[i].label);
}

/* Growth is what every round adds: what grows once, in some round, is no leak. */
static inline void snap_check_compare(struct snap_check *c) {
    snap_snapshot *s[SNAP_CHECK_ROUNDS + 1] = {NULL};
    snap_diff *d = NULL;
    snap_error err;
    char path[SNAP_CHECK_PATH_MAX];
    int result = 0;
    memset(&err, 0, sizeof err);
    for (unsigned i = 0; i <= SNAP_CHECK_ROUNDS && result == 0; i++) {
        snap_check_path(c, i, path);
        result = snap_open(&s[i], path, NULL, &err);
    }
    if (result == 0)
        result =
            snap_diff_new(&d, (const snap_snapshot *const *)s, SNAP_CHECK_ROUNDS + 1, NULL, &err);
    if (result < 0) {
        snprintf(c->message, sizeof c->message, "cannot compare snapshots: %s", err.message);
    } else {
        size_t n;
        const snap_diff_type *const totals = snap_diff_totals(d, &n);
        for (size_t k = 0; k < n && c->message[0] == '\0'; k++) {
            uint64_t least = UINT64_MAX;
            for (unsigned i = 0; i < SNAP_CHECK_ROUNDS; i++) {
                const uint64_t a = totals[k].bytes[i], b = totals[k].bytes[i + 1];
                least = b <= a ? 0 : b - a < least ? b - a : least;
            }
            if (least > c->max_bytes)
                snap_check_say(c, d, least);
        }
    }
    snap_diff_free(d);
    for (unsigned i = 0; i <= SNAP_CHECK_ROUNDS; i++)
        snap_close(s[i]);
}

/* 1 if the statements are to be run (again); 0 at the end, when message says what grew. */
static inline int snap_check_next(struct snap_check *c) {
    char path[SNAP_CHECK_PATH_MAX];
    snap_error err;
    memset(&err, 0, sizeof err);
    if (!snap_is_tracked())
        return c->round++ == 0;
    if (c->message[0] == '\0' && c->round >= SNAP_CHECK_WARM_UP) {
        snap_take_options options;
        memset(&options, 0, sizeof options);
        options.struct_size = sizeof options;
        snap_check_path(c, c->round - SNAP_CHECK_WARM_UP, path);
        if (snap_take(path, &options, &err) < 0)
            snprintf(c->message, sizeof c->message, "cannot take a snapshot: %s", err.message);
    }
    if (c->message[0] == '\0' && c->round++ < SNAP_CHECK_WARM_UP + SNAP_CHECK_ROUNDS)
        return 1;
    if (c->message[0] == '\0')
        snap_check_compare(c);
    for (unsigned i = 0; i <= SNAP_CHECK_ROUNDS; i++) {
        snap_check_path(c, i, path);
        unlink(path);
    }
    rmdir(c->folder);
    return 0;
}

/* Runs the statements several times and fails the test if every run leaves more than max_bytes
 * behind, of any domain. They must not leave the block by break, goto or return. */
#define snap_assert_growth_below(max_bytes, ...)                                                   \
    do {                                                                                           \
        struct snap_check snap_check_ = snap_check_start(max_bytes);                               \
        while (snap_check_next(&snap_check_)) {                                                    \
            __VA_ARGS__                                                                            \
        }                                                                                          \
        if (snap_check_.message[0] != '\0')                                                        \
            ck_abort_msg("%s", snap_check_.message);                                               \
    } while (0)

#define snap_assert_no_growth(...) snap_assert_growth_below(0, __VA_ARGS__)

#ifdef __cplusplus
}
#endif
#endif
