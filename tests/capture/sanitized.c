/* A program that is built with a sanitizer, whose runtime stands in front of half the C library. */
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>

int main(void) {
    void *const block = malloc(1000);
    printf("%d %d\n", block != NULL, dlsym(RTLD_DEFAULT, "malloc") != NULL);
    free(block);
    return 0;
}
