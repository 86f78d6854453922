/* Makes five handles of a library that passes calls on to another one with functions of the same
 * names, and destroys two. Arguments: plugin or program (who looks for the functions: a library
 * that is linked to it, or the program by dlsym), FILE, the library. */
#include <dlfcn.h>
#include <heapsnap/capture.h>
#include <stdio.h>
#include <string.h>

typedef int create_fn(void **out);
typedef int destroy_fn(void *handle);

int main(int argc, char **argv) {
    if (argc != 4)
        return 2;
    const int is_linked = strcmp(argv[1], "plugin") == 0;
    void *const library = dlopen(argv[3], RTLD_NOW | RTLD_LOCAL);
    void *const found[] = {
        library ? dlsym(library, is_linked ? "plugin_create" : "cudnnCreate") : NULL,
        library ? dlsym(library, is_linked ? "plugin_destroy" : "cudnnDestroy") : NULL};
    create_fn *create;
    destroy_fn *destroy;
    if (!found[0] || !found[1]) {
        fprintf(stderr, "%s\n", dlerror());
        return 3;
    }
    memcpy(&create, &found[0], sizeof create);
    memcpy(&destroy, &found[1], sizeof destroy);
    void *handles[5];
    for (int i = 0; i < 5; i++)
        if (create(&handles[i]) != 0)
            return 4;
    destroy(handles[1]);
    destroy(handles[3]);
    snap_error err = {0};
    const snap_take_options options = {.struct_size = sizeof options};
    return snap_take(argv[2], &options, &err) != 0;
}
