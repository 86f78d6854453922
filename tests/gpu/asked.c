/* See asked.h. */
#include "asked.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <heapsnap/snapdef.h>

#include "capture/hook_cuda.h"

static const char *const known[] = {
#define CUDA_CALL(symbol, name, ...) name,
#include "capture/cuda_calls.def"
    "cuGetProcAddress"};

int asked_compare(void) {
    char line[256], name[200];
    int version, found;
    unsigned long long flags;
    unsigned long n_asked = 0, n_known = 0;
    const char *const path = getenv("FAKE_CUDA_LOG");
    FILE *const log = path ? fopen(path, "r") : NULL;
    const struct hook_cuda_counts counts = hook_cuda_counts();
    if (!log) { /* or by dlsym alone, which leaves no log */
        const int is_seen = counts.has_driver && counts.unseen == 0;
        printf("%s\n", is_seen ? "ok - all by dlsym" : "not ok - the driver was not asked");
        return !is_seen;
    }
    while (fgets(line, sizeof line, log)) {
        if (sscanf(line, "%199s %d %llu %d", name, &version, &flags, &found) != 4)
            continue;
        n_asked++;
        for (size_t i = 0; found && i < sizeof known / sizeof *known; i++)
            if (strcmp(known[i], name) == 0) {
                n_known++;
                break;
            }
    }
    fclose(log);
    const int is_good = n_known > 20 && counts.handed == n_known && counts.unseen == 0;
    printf("%s - %lu names asked for, %lu known, ours for %lu, %lu not\n",
           is_good ? "ok" : "not ok", n_asked, n_known, counts.handed, counts.unseen);
    return !is_good;
}
