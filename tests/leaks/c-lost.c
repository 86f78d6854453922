/* Clients that log in again and again get a new token each time.
 * leak: the pointer to the old one is overwritten. fixed: the old one is freed first. */
#include "rounds.h"

enum { N_CLIENTS = 48, LOGINS_PER_ROUND = 1200, TOKEN_BYTES = 240 };

struct client {
    unsigned id, n_logins;
    unsigned char *token;
};

static struct client clients[N_CLIENTS];
static unsigned long seed = 1;

static unsigned char *make_token(const struct client *client) {
    unsigned char *const token = malloc(TOKEN_BYTES);
    if (token == NULL)
        abort();
    for (unsigned i = 0; i < TOKEN_BYTES; i++) {
        seed = seed * 6364136223846793005u + 1442695040888963407u + client->id;
        token[i] = (unsigned char)(seed >> 56);
    }
    return token;
}

static void log_in(struct client *client, int free_old) {
    if (free_old)
        free(client->token);
    client->token = make_token(client);
    client->n_logins++;
}

int main(int argc, char **argv) {
    const int leak = rounds_leak(argc, argv);
    size_t leaked = 0;
    for (unsigned i = 0; i < N_CLIENTS; i++)
        clients[i].id = i;
    for (int round = 0; round <= N_ROUNDS; round++) {
        for (unsigned i = 0; i < LOGINS_PER_ROUND; i++) {
            struct client *const client = &clients[i * 31 % N_CLIENTS];
            if (leak && client->token != NULL)
                leaked += TOKEN_BYTES;
            log_in(client, !leak);
        }
        rounds_end(round, leaked);
    }
    return 0;
}
