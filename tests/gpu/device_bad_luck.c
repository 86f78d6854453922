/* A program that has bad luck with its device memory. The argument says which; it prints what it
 * saw, which must be the same with and without a recorder, and ends with status 0. */
#include <dlfcn.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "driver.h"

static struct driver driver;
static void *context;

static void *release(void *address) {
    driver.cuCtxSetCurrent(context);
    printf("thread %d\n", driver.cuMemFree(*(uint64_t *)address));
    return NULL;
}

/* In a child the driver is dead; whatever it says must change nothing in us. */
static int after_fork(uint64_t address) {
    fflush(stdout);
    const pid_t child = fork();
    if (child == 0) {
        void *stream;
        driver.cuMemFree(address);
        driver.cuStreamCreate(&stream, 0);
        _exit(0);
    }
    int status;
    waitpid(child, &status, 0);
    printf("child %d\n", status);
    return driver.cuMemFree(address);
}

/* NVIDIA's runtime does not ask for the context by a name; this only the stand-in has. */
static int retain_primary(int is_private) {
    int (*retain)(void **, int) = driver.cuDevicePrimaryCtxRetain;
    void *const found = is_private ? dlsym(driver.library, "fake_private_primary") : NULL;
    if (found)
        memcpy(&retain, &found, sizeof retain);
    return retain(&context, 0);
}

int main(int argc, char **argv) {
    const char *const what = argc > 1 ? argv[1] : "";
    void *other, *streams[3];
    uint64_t blocks[4] = {0};
    const char *const protocol = getenv("PROTOCOL"); /* dlsym: every function by its name */
    const int n = driver_load(&driver, protocol ? DRIVER_DLSYM : DRIVER_V2,
                              strcmp(what, "newer") == 0 ? 99000 : 13000, 0);
    printf("driver %d\n", n > 0);
    if (n < 0) { /* also what dlsym says where there is none */
        const char *const error = (dlsym(RTLD_DEFAULT, "cuMemAlloc_v2"), dlerror());
        printf("absent %d\n", dlsym(RTLD_DEFAULT, "cuInit") == NULL && error != NULL);
        return 0;
    }
    printf("init %d\n", driver.cuInit(0));
    retain_primary(strncmp(what, "private", 7) == 0);
    driver.cuCtxSetCurrent(context);
    for (int i = 0; i < 4; i++)
        printf("allocate %d\n", driver.cuMemAlloc(&blocks[i], 100000));
    for (int i = 0; i < 3; i++)
        driver.cuStreamCreate(&streams[i], 0);
    if (strcmp(what, "reset") == 0 || strcmp(what, "private reset") == 0) {
        printf("reset %d\n", driver.cuDevicePrimaryCtxReset(0));
        printf("free %d\n", driver.cuMemFree(blocks[0]));
    } else if (strcmp(what, "destroy") == 0) {
        driver.cuCtxCreate(&other, 0, 1);
        driver.cuMemAlloc(&blocks[1], 5000);
        printf("destroy %d\n", driver.cuCtxDestroy(other));
    } else if (strcmp(what, "thread") == 0) {
        pthread_t thread;
        pthread_create(&thread, NULL, release, &blocks[2]);
        pthread_join(thread, NULL);
    } else if (strcmp(what, "fork") == 0) {
        printf("free %d\n", after_fork(blocks[0]));
    } else if (strcmp(what, "again") == 0) { /* what was freed, and what never was allocated */
        driver.cuMemFree(blocks[0]);
        printf("again %d %d\n", driver.cuMemFree(blocks[0]), driver.cuMemFree(12345));
    }
    if (strcmp(what, "versions") == 0) { /* other ways to the driver's names */
        void *const found = dlvsym(driver.library, "cuMemAlloc_v2", "GLIBC_2.2.5");
        printf("version %d %d\n", found != NULL, dlerror() != NULL);
        void *const apart = dlmopen(LM_ID_NEWLM, "libcuda.so.1", RTLD_NOW);
        printf("apart %d\n", apart != NULL && dlsym(apart, "cuMemAlloc_v2") != NULL);
        void *const first = dlopen("libcuda.so.1", RTLD_NOW | RTLD_DEEPBIND);
        printf("first %d\n", first != NULL && dlsym(first, "cuMemAlloc_v2") != NULL);
    }
    if (strcmp(what, "exit") == 0) {
        fflush(stdout);
        quick_exit(0);
    }
    return 0;
}
