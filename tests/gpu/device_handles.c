/* Makes handles of NVIDIA's libraries and destroys some, having come by the functions as the
 * argument says (link, local, deep: dlopen with RTLD_LOCAL or RTLD_DEEPBIND; default: dlsym of the
 * whole program), and takes a snapshot of itself. Arguments: how, FILE, library. */
#include <dlfcn.h>
#include <heapsnap/capture.h>
#include <stdio.h>
#include <string.h>

struct id {
    char bytes[128];
};
int cublasCreate_v2(void **out) __attribute__((weak));
int cublasDestroy_v2(void *handle) __attribute__((weak));
int cufftPlan1d(int *out, int n, int type, int batch) __attribute__((weak));
int cufftDestroy(int plan) __attribute__((weak));
int ncclCommInitRank(void **out, int n, struct id id, int rank) __attribute__((weak));
int ncclCommInitAll(void **out, int n, const int *devices) __attribute__((weak));
int ncclCommDestroy(void *communicator) __attribute__((weak));

static struct {
    __typeof(cublasCreate_v2) *blas_create;
    __typeof(cublasDestroy_v2) *blas_destroy;
    __typeof(cufftPlan1d) *fft_plan;
    __typeof(cufftDestroy) *fft_destroy;
    __typeof(ncclCommInitRank) *comm_init;
    __typeof(ncclCommInitAll) *comm_init_all;
    __typeof(ncclCommDestroy) *comm_destroy;
} f;

static void get(void *library, const char *name, void *out) {
    void *const found = dlsym(library, name);
    memcpy(out, &found, sizeof found);
}

int main(int argc, char **argv) {
    if (argc != 4)
        return 2;
    void *library = RTLD_DEFAULT;
    if (strcmp(argv[1], "link") == 0) {
        f.blas_create = cublasCreate_v2, f.blas_destroy = cublasDestroy_v2;
        f.fft_plan = cufftPlan1d, f.fft_destroy = cufftDestroy;
        f.comm_init = ncclCommInitRank, f.comm_init_all = ncclCommInitAll;
        f.comm_destroy = ncclCommDestroy;
    } else {
        if (strcmp(argv[1], "default") != 0)
            library =
                dlopen(argv[3], RTLD_NOW | (strcmp(argv[1], "deep") == 0 ? RTLD_DEEPBIND : 0));
        get(library, "cublasCreate_v2", &f.blas_create);
        get(library, "cublasDestroy_v2", &f.blas_destroy);
        get(library, "cufftPlan1d", &f.fft_plan);
        get(library, "cufftDestroy", &f.fft_destroy);
        get(library, "ncclCommInitRank", &f.comm_init);
        get(library, "ncclCommInitAll", &f.comm_init_all);
        get(library, "ncclCommDestroy", &f.comm_destroy);
    }
    if (!f.blas_create) {
        printf("absent\n");
        return f.comm_destroy != NULL;
    }
    struct id id = {{0}};
    id.bytes[127] = 'z';
    void *blas[5], *communicators[7];
    int plans[6];
    for (int i = 0; i < 5; i++)
        if (f.blas_create(&blas[i]) != 0)
            return 3;
    for (int i = 0; i < 6; i++)
        if (f.fft_plan(&plans[i], 256, 41, 1) != 0)
            return 4;
    for (int i = 0; i < 3; i++)
        if (f.comm_init(&communicators[i], 8, id, i) != 0)
            return 5;
    if (f.comm_init_all(&communicators[3], 4, NULL) != 0 || f.fft_plan(&plans[0], 0, 41, 1) == 0)
        return 6;
    f.blas_destroy(blas[1]);
    f.fft_destroy(plans[2]);
    f.fft_destroy(plans[3]);
    f.comm_destroy(communicators[0]);
    snap_error err = {0};
    const snap_take_options options = {.struct_size = sizeof options};
    return snap_take(argv[2], &options, &err) != 0;
}
