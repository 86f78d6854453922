/* A parser that keeps used messages on a free list of its own, up to FREE_MAX: it takes fewer from
 * there than it puts back, so the list grows for a while and then stands still. No leak: both twins
 * do that; fixed starts with the list filled. */
#include "rounds.h"

enum { MESSAGES_PER_ROUND = 600, REPLIES_PER_ROUND = 480, FREE_MAX = 400, PAYLOAD_BYTES = 1800 };

struct message {
    struct message *next_free;
    unsigned kind, n_used;
    unsigned char payload[PAYLOAD_BYTES];
};

static struct {
    struct message *free_list;
    unsigned n_free;
    unsigned long n_recycled, n_made;
} parser;

static struct message *receive(unsigned number) {
    struct message *const m = malloc(sizeof *m);
    if (m == NULL)
        abort();
    parser.n_made++;
    m->kind = number % 5;
    m->n_used = 0;
    memset(m->payload, (int)number, sizeof m->payload);
    return m;
}

static void recycle(struct message *m) {
    if (parser.n_free >= FREE_MAX) {
        free(m);
        return;
    }
    m->next_free = parser.free_list;
    parser.free_list = m;
    parser.n_free++;
}

static struct message *reply_to(const struct message *question) {
    struct message *m = parser.free_list;
    if (m == NULL) {
        m = receive(question->kind);
    } else {
        parser.free_list = m->next_free;
        parser.n_free--;
        parser.n_recycled++;
    }
    m->kind = question->kind + 1;
    return m;
}

int main(int argc, char **argv) {
    if (!rounds_leak(argc, argv))
        while (parser.n_free < FREE_MAX)
            recycle(receive(0));
    for (int round = 0; round <= N_ROUNDS; round++) {
        for (unsigned i = 0; i < MESSAGES_PER_ROUND; i++) {
            struct message *const question = receive(i);
            if (i % 5 < REPLIES_PER_ROUND * 5 / MESSAGES_PER_ROUND)
                free(reply_to(question));
            recycle(question);
        }
        rounds_end(round, 0);
    }
    return 0;
}
