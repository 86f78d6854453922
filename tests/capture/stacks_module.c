/* A module that is loaded and unloaded again and again: built twice with different frames, so that
 * one stands where the other stood with other unwind rules. */
#include <stdlib.h>

void make_blocks(unsigned depth);

static void *volatile sink;

static __attribute__((noinline)) void *block(unsigned depth) {
    volatile char used[MODULE_FRAME];
    used[0] = (char)depth;
    void *result = malloc(depth + 1);
    used[MODULE_FRAME - 1] = used[0];
    return result;
}

__attribute__((visibility("default"), noinline)) void make_blocks(unsigned depth) {
    volatile char used[MODULE_FRAME * 2];
    used[0] = (char)depth;
    sink = block(depth);
    free(sink);
    if (depth > 0)
        make_blocks(depth - 1);
    used[1] = used[0];
}
