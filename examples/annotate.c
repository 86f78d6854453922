/* A program that says what no tool could see: it keeps sessions in an arena of its own, finds them
 * by numbers instead of pointers, and calls registered functions. It does not link the library:
 * SNAP_ANNOTATE_INLINE makes the header enough.
 *
 *     cc -I.../include annotate.c -o annotate
 *     snap run -o annotate.%n.snap -- ./annotate
 *     snap show annotate.1.snap; snap paths annotate.1.snap --type 'struct session'
 */
#define SNAP_ANNOTATE_INLINE
#include <heapsnap/annotate.h>

#include <stdio.h>
#include <stdlib.h>

enum { N_SESSIONS = 200 };

struct session {
    int next; /* a number instead of a pointer; -1: none */
    char name[60];
};

struct arena {
    char *memory;
    size_t used, size;
    uint64_t pool;
};

static struct arena arena;
/* Kept where no scan recognizes it, as compressed pointers and handles are. */
static uintptr_t hidden_log;

static struct session *session_at(int number) {
    return (struct session *)(void *)(arena.memory + (size_t)number * sizeof(struct session));
}

static void *arena_get(struct arena *a, size_t size) {
    void *const block = a->memory + a->used;
    if (size > a->size - a->used)
        return NULL;
    a->used += size;
    snap_block_add(a->pool, block, size);
    return block;
}

static int open_session(int number, int next) {
    struct session *const s = arena_get(&arena, sizeof *s);
    if (s == NULL)
        return -1;
    s->next = next;
    snprintf(s->name, sizeof s->name, "session %d", number);
    snap_type(s, "struct session");
    if (next >= 0)
        snap_edge(s, session_at(next), "next");
    return number;
}

static void on_close(void *log) {
    fputs(log, stdout);
}

int main(void) {
    arena.size = N_SESSIONS * sizeof(struct session) + 4096;
    arena.memory = malloc(arena.size);
    if (arena.memory == NULL)
        return 1;
    arena.pool = snap_pool_add("sessions");
    snap_pool_grow(arena.pool, arena.memory, arena.size);
    int last = -1;
    for (int i = 0; i < N_SESSIONS; i++)
        last = open_session(i, last);
    snap_root(session_at(last), "open sessions");

    char *const log = malloc(100);
    if (log == NULL)
        return 1;
    snprintf(log, 100, "%d sessions\n", last + 1);
    hidden_log = ~(uintptr_t)log;
    snap_type(log, "char[]");
    for (int i = 0; i < 3; i++)
        snap_hook_add("on_close", on_close, log);
    on_close((void *)~hidden_log);
    return 0;
}
