/* Callbacks among the words that hold the start of a function. */
#include "model/heap.h"

int hook_pass(struct heap *h, snap_error *err) {
    (void)err;
    for (uint32_t i = 0; i < h->n_hooks; i++) {
        struct heap_hook *const k = &h->hooks[i];
        if (k->kind == 0)
            k->kind = SNAP_HOOK_NATIVE;
    }
    return 0;
}
