/* NVIDIA's own libraries, each with a runtime of its own in it, opened as a program opens a plugin:
 * what such a runtime asks the driver for first must be the recorder's, in place of every function
 * that the recorder knows. Then the runtime finds that this driver is not NVIDIA's and refuses,
 * which is all right. Arguments: the library; a function that makes the runtime start; deep or
 * local; the third argument of the function, after a place and 100. */
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "asked.h"
#include "capture/hook_cuda.h"

int main(int argc, char **argv) {
    static char out[256]; /* a handle, a plan or an identifier */
    int (*start)(void *out, int number, long third, int fourth);
    if (argc != 5 || !hook_dlsym_start())
        return 2;
    void *const library = dlopen(argv[1], RTLD_LAZY | RTLD_LOCAL |
                                              (strcmp(argv[3], "deep") == 0 ? RTLD_DEEPBIND : 0));
    void *const function = library ? dlsym(library, argv[2]) : NULL;
    if (!function) {
        printf("skipped: %s\n", dlerror());
        return 77;
    }
    memcpy(&start, &function, sizeof start);
    start(out, 100, strtol(argv[4], NULL, 0), 1);
    return asked_compare();
}
