/* A program that watches its own growth: it takes a snapshot of itself before
 * and after each round of work, compares the two through the library, and says
 * which allocation site kept what.
 *
 * usage: watch DIRECTORY
 *
 * Under `snap run` the site is named; without a recorder the snapshots hold
 * process counters only, and the program says so. */
#include <heapsnap/heapsnap.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct entry {
    struct entry *next;
    char text[4096];
};

static struct entry *cache;

__attribute__((noinline)) static void cache_result(int round) {
    struct entry *entry = malloc(sizeof *entry);
    if (!entry)
        return;
    snprintf(entry->text, sizeof entry->text, "result of round %d", round);
    entry->next = cache;
    cache = entry;
}

static void work(int round) {
    for (int i = 0; i < 100; i++) {
        char *scratch = malloc(65536);
        if (scratch)
            memset(scratch, i, 65536);
        free(scratch);
        cache_result(round);
    }
}

/* Prints the site that grew most between two files. */
static int print_growth(const char *before_path, const char *after_path, snap_error *err) {
    snap_snapshot *before = NULL, *after = NULL;
    snap_diff *diff = NULL;
    int rc = snap_open(&before, before_path, NULL, err);
    if (rc == SNAP_OK)
        rc = snap_open(&after, after_path, NULL, err);
    if (rc == SNAP_OK) {
        const snap_snapshot *both[] = {before, after};
        rc = snap_diff_new(&diff, both, 2, NULL, err);
    }
    if (rc == SNAP_OK) {
        size_t n_sites;
        const snap_diff_site *site = snap_diff_sites(diff, &n_sites);
        if (n_sites > 0 && site->growth_bytes > 0)
            printf("%s: %+lld bytes in %+lld blocks\n", site->label, (long long)site->growth_bytes,
                   (long long)site->growth_count);
        else
            printf("nothing grew\n");
    }
    snap_diff_free(diff);
    snap_close(before);
    snap_close(after);
    return rc;
}

int main(int argc, char **argv) {
    snap_error err;
    char path[2][4096];
    if (argc != 2) {
        fputs("usage: watch DIRECTORY\n", stderr);
        return 2;
    }
    if (!snap_is_tracked())
        fputs("watch: not under `snap run`: blocks are not known\n", stderr);
    const snap_take_options options = {.struct_size = sizeof options, .overwrite = 1};
    for (int round = 0; round <= 3; round++) {
        char *now = path[round % 2], *before = path[(round + 1) % 2];
        snprintf(now, sizeof path[0], "%s/round%d.snap", argv[1], round);
        if (snap_take(now, &options, &err) < 0 ||
            (round > 0 && print_growth(before, now, &err) < 0)) {
            fprintf(stderr, "watch: %s\n", err.message);
            return 2;
        }
        work(round);
    }
    return 0;
}
