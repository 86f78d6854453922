/* The last RING_SLOTS samples of a sensor, each in a block of its own; the oldest makes place for
 * the newest. No leak: memory is the same after every round, though no block is. */
#include "rounds.h"

enum { RING_SLOTS = 1024, SAMPLES_PER_ROUND = 5000 };

struct sample {
    double time, values[24];
    char *note;
};

static struct ring {
    unsigned long n_written;
    struct sample *slots[RING_SLOTS];
} ring;

static struct sample *sample_new(unsigned long number) {
    struct sample *const s = malloc(sizeof *s);
    char note[48];
    if (s == NULL)
        abort();
    s->time = (double)number / 50;
    for (unsigned i = 0; i < 24; i++)
        s->values[i] = (double)(number * (i + 1) % 1000) / 1000;
    snprintf(note, sizeof note, "sample %lu of sensor %lu", number, number % 7);
    s->note = strdup(note);
    return s;
}

static void ring_put(struct ring *r, struct sample *s) {
    struct sample **const slot = &r->slots[r->n_written++ % RING_SLOTS];
    if (*slot != NULL)
        free((*slot)->note);
    free(*slot);
    *slot = s;
}

int main(int argc, char **argv) {
    (void)rounds_leak(argc, argv);
    for (int round = 0; round <= N_ROUNDS; round++) {
        for (unsigned i = 0; i < SAMPLES_PER_ROUND; i++)
            ring_put(&ring, sample_new(ring.n_written));
        rounds_end(round, 0);
    }
    return 0;
}
