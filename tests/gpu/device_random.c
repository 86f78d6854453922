/* A seeded random program for the driver that takes a snapshot of itself and prints the driver's
 * own books of that moment, a line per class. Arguments: FILE, then as device_books. */
#include <dlfcn.h>
#include <heapsnap/capture.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "driver.h"
#include "fake/fake_cuda.h"
#include "random_driver.h"

int main(int argc, char **argv) {
    static struct driver driver;
    void *context, *books_found, *class_found;
    if (argc < 8)
        return 2;
    const enum driver_protocol protocol = strcmp(argv[2], "dlsym") == 0 ? DRIVER_DLSYM
                                          : strcmp(argv[2], "v1") == 0  ? DRIVER_V1
                                                                        : DRIVER_V2;
    if (driver_load(&driver, protocol, atoi(argv[3]), atoi(argv[4])) < 0 || driver.cuInit(0) != 0 ||
        driver.cuDevicePrimaryCtxRetain(&context, 0) != 0)
        return 3;
    void (*get_books)(struct fake_books *);
    const char *(*get_class)(int);
    books_found = dlsym(driver.library, "fake_cuda_books");
    class_found = dlsym(driver.library, "fake_cuda_class");
    memcpy(&get_books, &books_found, sizeof get_books);
    memcpy(&get_class, &class_found, sizeof get_class);
    random_driver_run(&driver, context, atoi(argv[5]), strtoull(argv[6], NULL, 10),
                      strtoull(argv[7], NULL, 10));
    struct fake_books books;
    snap_error err = {0};
    const snap_take_options options = {.struct_size = sizeof options};
    if (snap_take(argv[1], &options, &err) != 0) {
        fprintf(stderr, "%s\n", err.message);
        return 1;
    }
    get_books(&books);
    for (int i = 0; i < FAKE_CLASSES; i++)
        printf("%s %lu %lu\n", get_class(i), books.count[i], books.bytes[i]);
    printf("pool-reserved 0 %lu\npool-used 0 %lu\n", books.pool_reserved, books.pool_used);
    return 0;
}
