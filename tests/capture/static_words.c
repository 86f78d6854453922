/* Loaded where it was linked, with the heap beside it. Numbers of its data, which are in the file,
 * may look like addresses of its blocks: the test writes one there. Prints the addresses of two
 * blocks that nothing else refers to when the snapshot is taken, and where their numbers are. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#define MARK UINT64_C(0x6d756e2063697473)

static volatile uint64_t numbers[4] = {MARK, MARK + 1, MARK + 2, MARK + 3};

/* The last one is stored, as a program stores an address. */
__attribute__((noinline)) static void make(void) {
    for (int i = 0; i < 2; i++) {
        const uint64_t address = (uintptr_t)malloc(1000 + (size_t)i);
        printf("%d %ju %d\n", i, (uintmax_t)address, numbers[i] == address);
        if (i == 1)
            numbers[1] = address;
    }
}

/* Words that the calls have left on the stack. */
__attribute__((noinline)) static int wipe(void) {
    volatile char dead[32768];
    for (size_t i = 0; i < sizeof dead; i++)
        dead[i] = 1;
    return dead[7];
}

int main(void) {
    make();
    fflush(stdout);
    return wipe() - 1;
}
