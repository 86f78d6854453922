/* Python's allocators of the domains MEM and OBJ, with each block recorded.
 *
 * By the documented way (PyMem_SetAllocator), which may be gone before the interpreter starts. What
 * an allocator asks of malloc or of the kernel while it runs is its own affair, as with malloc
 * itself: so a block is recorded once, and the arenas that small blocks are cut from are not
 * recorded beside them. Order as in hook_malloc.c. An interpreter that is told to use other
 * allocators (PYTHONMALLOC) sets them over these: then nothing comes here. */
#include "capture/python_alloc.h"

#include <dlfcn.h>
#include <stddef.h>

#include "capture/hook_real.h"
#include "capture/next.h"

/* PyMemAllocatorEx, since 3.5; of the stable part of the interface. */
struct allocator {
    void *context;
    void *(*malloc)(void *context, size_t size);
    void *(*calloc)(void *context, size_t n, size_t size);
    void *(*realloc)(void *context, void *block, size_t size);
    void (*free)(void *context, void *block);
};

enum { DOMAIN_MEM = 1, DOMAIN_OBJ = 2, N_DOMAINS = 3 };

static struct allocator real[N_DOMAINS];

static void *python_malloc(void *context, size_t size) {
    const struct allocator *const a = context;
    struct hook_thread *const t = hook_begin();
    if (HOOK_UNLIKELY(t == NULL))
        return a->malloc(a->context, size);
    hook_real_begin(t);
    void *const block = a->malloc(a->context, size);
    hook_real_end(t);
    if (HOOK_LIKELY(block != NULL)) {
        const struct stack_start start = STACKS_START_HERE();
        hook_record(t, block, size, SNAP_NODE_BLOCK, &start);
    }
    return block;
}

static void *python_calloc(void *context, size_t n, size_t size) {
    const struct allocator *const a = context;
    struct hook_thread *const t = hook_begin();
    if (HOOK_UNLIKELY(t == NULL))
        return a->calloc(a->context, n, size);
    hook_real_begin(t);
    void *const block = a->calloc(a->context, n, size);
    hook_real_end(t);
    if (HOOK_LIKELY(block != NULL)) {
        const struct stack_start start = STACKS_START_HERE();
        hook_record(t, block, n * size, SNAP_NODE_BLOCK, &start);
    }
    return block;
}

static void *python_realloc(void *context, void *block, size_t size) {
    const struct allocator *const a = context;
    struct hook_thread *const t = hook_begin();
    struct live_block old;
    bool known, found = false;
    if (HOOK_UNLIKELY(t == NULL)) {
        if (block != NULL)
            hook_forget_passing(block);
        return a->realloc(a->context, block, size);
    }
    if (block != NULL)
        found = hook_forget(t, block, &old, &known);
    hook_real_begin(t);
    void *const result = a->realloc(a->context, block, size);
    hook_real_end(t);
    if (HOOK_LIKELY(result != NULL)) {
        const struct stack_start start = STACKS_START_HERE();
        hook_record(t, result, size, SNAP_NODE_BLOCK, &start);
    } else if (found) {
        hook_restore(t, &old); /* size 0 gives a block here, so that this is a failure */
    }
    return result;
}

static void python_free(void *context, void *block) {
    const struct allocator *const a = context;
    if (block == NULL)
        return;
    struct hook_thread *const t = hook_begin();
    if (HOOK_UNLIKELY(t == NULL)) {
        hook_forget_passing(block);
        a->free(a->context, block);
        return;
    }
    bool known;
    hook_forget(t, block, NULL, &known);
    hook_real_begin(t);
    a->free(a->context, block);
    hook_real_end(t);
}

void python_alloc_start(void) {
    void (*get)(int domain, struct allocator *out);
    void (*set)(int domain, struct allocator *allocator);
    *(void **)&get = next_symbol(RTLD_DEFAULT, "PyMem_GetAllocator");
    *(void **)&set = next_symbol(RTLD_DEFAULT, "PyMem_SetAllocator");
    if (!get || !set)
        return;
    for (int domain = DOMAIN_MEM; domain <= DOMAIN_OBJ; domain++) {
        get(domain, &real[domain]);
        set(domain, &(struct allocator){&real[domain], python_malloc, python_calloc, python_realloc,
                                        python_free});
    }
}
