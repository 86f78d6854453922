/* Where a stack's blocks were allocated, as a label. */
#ifndef HEAPSNAP_DIFF_LABELS_H
#define HEAPSNAP_DIFF_LABELS_H

#include "base/map.h"
#include "base/mem.h"

#include <heapsnap/snapshot.h>

struct site_place {
    uint64_t key, line;
};

struct site_label {
    const char *label, *module;
    struct site_place place;
};

/* What is known of the stacks of one snapshot. */
struct labels {
    const snap_snapshot *snapshot;
    uint32_t n_stacks, n_frames;
    uint32_t *parent, *frame;  /* by stack */
    uint32_t *place, *managed; /* by stack: the innermost one from it outwards whose own frame says
                                  something or is of a managed runtime, + 1; 0: not looked for */
    uint8_t *frame_says;       /* by frame: SAYS_* */
    struct map made[2];        /* pair of frames -> row + 1; [1]: the first is of an allocator */
    struct site_label *rows;
    size_t n_rows, capacity;
    struct map noise; /* function name's address -> 2: of an allocator, 1: not */
    struct arena *arena;
};

/* arena: for texts; must outlive what labels_of gives. */
void labels_init(struct labels *l, struct arena *arena);
void labels_release(struct labels *l);

/* "allocated in FUNCTION" for the stack's first frame outside of allocators, that frame's module,
 * and a hash of the place in the function, which is the same in every file. Where it has frames of
 * a managed runtime the label is made of the innermost, with its line (the place then has none);
 * the hash is of both. Strings live as long as the arena, or the snapshot. Fast where one snapshot
 * is asked about many stacks: 16 B per stack of it, and each pair of frames is resolved once. */
int labels_of(struct labels *l, const snap_snapshot *s, uint64_t stack, struct site_label *out,
              snap_error *err);

#endif
