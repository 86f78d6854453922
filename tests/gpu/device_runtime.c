/* NVIDIA's own runtime, linked to this program as it is to most: it asks the driver for its
 * functions before anything else, and must be handed the recorder's in place of every one that the
 * recorder knows. The runtime then finds that this driver is not NVIDIA's and refuses, which is all
 * right: what is tested has happened by then. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <heapsnap/snapdef.h>

#include "capture/hook_cuda.h"

int cudaFree(void *address);
int cudaMalloc(void **out, size_t size);

static const char *const known[] = {
#define CUDA_CALL(symbol, name, ...) name,
#include "capture/cuda_calls.def"
    "cuGetProcAddress"};

int main(void) {
    char line[256], name[200];
    int version, found;
    unsigned long long flags;
    unsigned long n_asked = 0, n_known = 0;
    void *p;
    cudaFree(NULL);
    cudaMalloc(&p, 1000);
    const char *const path = getenv("FAKE_CUDA_LOG");
    FILE *const log = path ? fopen(path, "r") : NULL;
    if (!log) {
        printf("not ok - the driver was not asked\n");
        return 1;
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
    const struct hook_cuda_counts counts = hook_cuda_counts();
    const int is_good = n_known > 20 && counts.handed == n_known && counts.unseen == 0;
    printf("%s - %lu names asked for, %lu known, ours for %lu, %lu not\n",
           is_good ? "ok" : "not ok", n_asked, n_known, counts.handed, counts.unseen);
    return !is_good;
}
