/* Words of images that are as the file has them refer to nothing that was made since.
 *
 * An image that is loaded where it was linked stands beside the heap, at low addresses: code, text
 * and numbers in its data look like addresses of blocks by the dozen. The file tells them: a block
 * of a running program cannot have its address in there. A word that has been written to is left
 * alone, and so is one that refers to an object in an image. */
#include "model/heap.h"

#include <stdlib.h>

#include "base/err.h"
#include "base/mem.h"
#include "model/stream.h"
#include "symbol/image_data.h"
#include "symbol/symbol.h"

static int is_as_in_file(const struct heap *h, const struct heap_root *r, int *out,
                         snap_error *err) {
    const struct heap_module *const m = &h->modules[r->module - 1];
    const struct image_words *words;
    const uint64_t word = h->address[r->target - 1] + r->target_offset;
    uint64_t value;
    SNAP_TRY(symbolizer_words(h->symbolizer, m->symbols, &words, err));
    *out = image_words_find(words, r->address - m->bias, &value) == IMAGE_WORD_ADDRESS &&
           value + m->bias == word && !heap_module_at(h, h->address[r->target - 1]);
    return 0;
}

struct dropped {
    const struct heap *heap;
    const uint8_t *is_static; /* by root */
};

static int is_dropped(const void *context, const struct heap_root *root) {
    const struct dropped *const d = context;
    return d->is_static[root - d->heap->roots];
}

int static_word_pass(struct heap *h, snap_error *err) {
    if (!h->symbolizer)
        return 0;
    uint8_t *const is_static = mem_zalloc((size_t)h->n_roots + 1, 1);
    if (!is_static)
        return stream_no_memory(err);
    int result = 0, n = 0;
    for (uint32_t i = 0; i < h->n_roots && result == 0; i++) {
        int found = 0;
        if (h->roots[i].kind == SNAP_ROOT_GLOBAL && h->roots[i].module)
            result = is_as_in_file(h, &h->roots[i], &found, err);
        is_static[i] = (uint8_t)found;
        n += found;
    }
    const struct dropped dropped = {h, is_static};
    if (result == 0 && n > 0 && heap_drop_roots(h, is_dropped, &dropped) < 0)
        result = stream_no_memory(err);
    free(is_static);
    return result;
}
