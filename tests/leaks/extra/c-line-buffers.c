/* A fixed ring of connections, each with a buffer for the line that is being read. Connections are
 * used in turn. leak: a line's end only moves the start of the next line, so that the buffer grows.
 * fixed: what was read is dropped. */
#include "rounds.h"

enum { N_CONNECTIONS = 32, LINES_PER_ROUND = 40, LINE_BYTES = 100 };

struct connection {
    int number;
    size_t n_bytes, n_capacity, line_start;
    char *input;
};

static struct connection *connections[N_CONNECTIONS];

static void receive(struct connection *c, size_t n_bytes) {
    if (c->n_bytes + n_bytes > c->n_capacity) {
        c->n_capacity = c->n_bytes + n_bytes;
        c->input = realloc(c->input, c->n_capacity);
        if (c->input == NULL)
            abort();
    }
    memset(c->input + c->n_bytes, 'a', n_bytes);
    c->n_bytes += n_bytes;
}

static void end_line(struct connection *c, int drop) {
    c->line_start = c->n_bytes;
    if (drop)
        c->line_start = c->n_bytes = 0;
}

int main(int argc, char **argv) {
    const int leak = rounds_leak(argc, argv);
    for (int i = 0; i < N_CONNECTIONS; i++) {
        connections[i] = calloc(1, sizeof *connections[i]);
        if (connections[i] == NULL)
            abort();
        connections[i]->number = i;
    }
    for (int round = 0; round <= N_ROUNDS; round++) {
        size_t held = 0;
        for (int i = 0; i < N_CONNECTIONS * LINES_PER_ROUND; i++) {
            receive(connections[i % N_CONNECTIONS], LINE_BYTES);
            end_line(connections[i % N_CONNECTIONS], !leak);
        }
        for (int i = 0; i < N_CONNECTIONS; i++)
            held += connections[i]->n_capacity;
        rounds_end(round, leak ? held : 0);
    }
    return 0;
}
