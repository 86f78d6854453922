/* Types by debug information: nothing yet knows layouts. */
#include "model/heap.h"

int typing_pass(struct heap *h, snap_error *err) {
    (void)h;
    (void)err;
    return 0;
}
