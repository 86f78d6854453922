/* Opens a library that has a CUDA runtime in it, lets it allocate, closes it, opens it again and
 * lets it allocate again. Arguments: deep, local or apart (RTLD_DEEPBIND, RTLD_LOCAL, a namespace
 * of its own); the library. Prints what it saw, which must be the same with and without a recorder.
 */
#include <dlfcn.h>
#include <link.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "runtime/plugin.h"

int main_of_program(void);
int main_of_program(void) {
    return 0;
}

static const char *how, *path;

static void *open_library(void) {
    if (strcmp(how, "apart") == 0)
        return dlmopen(LM_ID_NEWLM, path, RTLD_NOW);
    return dlopen(path, RTLD_LAZY | RTLD_LOCAL | (strcmp(how, "deep") == 0 ? RTLD_DEEPBIND : 0));
}

static void *look(void *function) {
    int (*plugin_look_)(void);
    memcpy(&plugin_look_, &function, sizeof function);
    return (void *)(long)plugin_look_();
}

int main(int argc, char **argv) {
    void *blocks[8];
    if (argc != 3)
        return 2;
    how = argv[1], path = argv[2];
    if (getenv("PLUGIN_DRIVER")) /* the program has a driver, too */
        printf("driver %d\n", dlopen("libcuda.so.1", RTLD_NOW) != NULL);
    for (int i = 0; i < 2; i++) {
        void *const library = open_library();
        if (!library) {
            printf("%s\n", dlerror());
            return 1;
        }
        __typeof(plugin_run) *run;
        void *const found = dlsym(library, "plugin_run");
        memcpy(&run, &found, sizeof found);
        printf("run %d\n", run(blocks, 4));
        pthread_t thread;
        void *seen;
        pthread_create(&thread, NULL, look, dlsym(library, "plugin_look"));
        pthread_join(thread, &seen);
        printf("look %lx\n", (unsigned long)seen);
        if (i == 0)
            printf("close %d\n", dlclose(library));
        /* What is opened again, and with it maybe the driver, comes to another place. */
        for (int k = 0; i == 0 && k < 512; k++)
            mmap(NULL, 64 << 10, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    }
    Dl_info info;
    void *const libc = dlopen("libc.so.6", RTLD_LAZY | RTLD_NOLOAD);
    void *const function = dlsym(libc, "dlsym");
    printf("libc %d %d\n", function != NULL, dladdr(function, &info) != 0);
    return 0;
}
