/* A store whose values are replaced at random, of random sizes, its number going up and down; each
 * write also leaves a line in an audit trail. Values and lines come from the same function. leak:
 * lines of the trail are kept. fixed: they are dropped when the trail has fifty. */
#include "rounds.h"

enum {
    N_SLOTS = 3000,
    WRITES_PER_ROUND = 12000,
    AUDIT_EVERY = 60,
    LINE_BYTES = 80,
    TRAIL_BOUND = 50
};

struct line {
    struct line *next;
    char text[LINE_BYTES];
};

static struct store { char *values[N_SLOTS]; } store;
static struct trail {
    struct line *first;
    size_t n;
} trail;
static unsigned long seed = 3;

static unsigned chance(unsigned n) {
    seed = seed * 6364136223846793005u + 1442695040888963407u;
    return (unsigned)(seed >> 33) % n;
}

static void *obtain(size_t size) {
    void *const memory = malloc(size);
    if (memory == NULL)
        abort();
    memset(memory, 1, size);
    return memory;
}

static void audit(int keep) {
    struct line *const line = obtain(sizeof *line);
    line->next = trail.first;
    trail.first = line;
    trail.n++;
    while (!keep && trail.n > TRAIL_BOUND) {
        struct line *const next = trail.first->next;
        free(trail.first);
        trail.first = next;
        trail.n--;
    }
}

int main(int argc, char **argv) {
    const int leak = rounds_leak(argc, argv);
    for (int round = 0; round <= N_ROUNDS; round++) {
        for (int i = 0; i < WRITES_PER_ROUND; i++) {
            const unsigned slot = chance(N_SLOTS);
            free(store.values[slot]);
            store.values[slot] = chance(8) == 0 ? NULL : obtain(16 + chance(600));
            if (i % AUDIT_EVERY == 0)
                audit(leak);
        }
        /* A rush or a lull. */
        for (int i = 0; i < 200 && round % 2 == 1; i++) {
            const unsigned slot = chance(N_SLOTS);
            free(store.values[slot]);
            store.values[slot] = NULL;
        }
        rounds_end(round, leak ? trail.n * sizeof(struct line) : 0);
    }
    return 0;
}
