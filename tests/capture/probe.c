/* The table of functions of probe.h. */
#include "probe.h"

#include "capture/hook.h"

struct search {
    uint64_t address;
    struct recorder_block *block;
    struct recorder_region *region;
};

static int look_at_blocks(void *context, const struct recorder_block *blocks, size_t n) {
    struct search *const s = context;
    for (size_t i = 0; i < n; i++)
        if (blocks[i].address == s->address) {
            *s->block = blocks[i];
            return 1;
        }
    return 0;
}

static int look_at_regions(void *context, const struct recorder_region *regions, size_t n) {
    struct search *const s = context;
    for (size_t i = 0; i < n; i++)
        if (s->address - regions[i].address < regions[i].size) {
            *s->region = regions[i];
            return 1;
        }
    return 0;
}

static int block(const void *address, struct recorder_block *out) {
    struct search s = {.address = (uintptr_t)address, .block = out};
    if (recorder_freeze(1000000000) != 0)
        return -1;
    const int found = recorder_for_each_block(look_at_blocks, &s);
    recorder_thaw();
    return found;
}

static int region(const void *address, struct recorder_region *out) {
    struct search s = {.address = (uintptr_t)address, .region = out};
    if (recorder_freeze(1000000000) != 0)
        return -1;
    const int found = recorder_for_each_region(look_at_regions, &s);
    recorder_thaw();
    return found;
}

HOOK_EXPORT const struct probe heapsnap_probe = {
    .block = block,
    .region = region,
    .counts = recorder_counts_get,
    .freeze = recorder_freeze,
    .thaw = recorder_thaw,
    .birth_mark = recorder_birth_mark,
    .before_fork = recorder_before_fork,
    .after_fork_parent = recorder_after_fork_parent,
    .after_fork_child = recorder_after_fork_child,
    .mute = recorder_mute,
    .stack = recorder_stack_get,
    .allocator = recorder_allocator,
};
