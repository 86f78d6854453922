/* A seeded random program for the driver that takes a snapshot of itself and prints the driver's
 * own books of that moment, a line per class. Arguments: FILE, then as device_books. */
#include <dlfcn.h>
#include <heapsnap/capture.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "driver.h"
#include "fake/fake_cuda.h"
#include "random_driver.h"

/* What the driver's management library is to say, as tests/gpu/fake/fake_nvml.c reads it: all that
 * is given out, and so much for each context. */
static void report_devices(uint64_t (*get)(int, uint64_t)) {
    enum { OVERHEAD = 300 << 20 };
    const char *const directory = getenv("TMPDIR"), *const part = getenv("DEVICE_PART");
    char path[4096];
    if (!directory)
        return;
    snprintf(path, sizeof path, "%s/fake_nvml", directory);
    FILE *const f = fopen(path, "w");
    for (int i = 0; f && i < 2; i++) {
        const uint64_t bytes = get(i, OVERHEAD), overhead = bytes - get(i, 0);
        const unsigned d = (unsigned)('a' + i) * 0x01010101u;
        char uuid[40];
        snprintf(uuid, sizeof uuid, "%08x-%04x-%04x-%04x-%04x%08x", d, d & 0xffff, d & 0xffff,
                 d & 0xffff, d & 0xffff, d);
        fprintf(f, "%s-%s %d %lu %lu %llu\n", part ? part : "GPU", uuid, getpid(), bytes,
                bytes + 1000, 16ull << 30);
        printf("device%d %lu %lu\n", i, overhead, bytes);
    }
    if (f)
        fclose(f);
}

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
    uint64_t (*get_device_bytes)(int, uint64_t);
    void *const device_bytes_found = dlsym(driver.library, "fake_cuda_device_bytes");
    memcpy(&get_device_bytes, &device_bytes_found, sizeof get_device_bytes);
    report_devices(get_device_bytes);
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
