/* Names of roots that debug information did not name. */
#include "model/heap.h"

int naming_pass(struct heap *h, snap_error *err) {
    (void)err;
    for (uint32_t i = 0; i < h->n_roots; i++) {
        struct heap_root *const r = &h->roots[i];
        if (r->frame || (r->kind != SNAP_ROOT_STACK && r->kind != SNAP_ROOT_REGISTER))
            continue;
        const uint32_t frame = heap_frame_at(h, r->thread, r->address);
        if (!frame)
            continue;
        r->frame = h->frames[frame - 1].row;
        const char *const function = h->positions[r->frame - 1].function;
        if (!r->name && function)
            r->name = heap_string(h, function);
    }
    return 0;
}
