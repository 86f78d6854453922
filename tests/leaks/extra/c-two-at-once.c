/* A game server with two mistakes at once, of different size, allocated by one wrapper.
 * leak: replays are kept (large), and names of players who left are lost (small). fixed: neither.
 */
#include "rounds.h"

enum { MATCHES_PER_ROUND = 60, REPLAY_BYTES = 4000, NAME_BYTES = 120, PLAYERS_PER_MATCH = 4 };

struct replay {
    struct replay *older;
    unsigned match;
    char *moves;
};

struct player {
    char *name;
    unsigned score;
};

static struct replay *last_replay;
static struct player players[PLAYERS_PER_MATCH];

static void *take(size_t size) {
    void *const memory = calloc(1, size);
    if (memory == NULL)
        abort();
    return memory;
}

static void play(unsigned match, int leak) {
    for (int i = 0; i < PLAYERS_PER_MATCH; i++) {
        if (!leak)
            free(players[i].name);
        players[i].name = take(NAME_BYTES);
        memset(players[i].name, 'a' + i, NAME_BYTES - 1);
    }
    struct replay *const replay = take(sizeof *replay);
    replay->match = match;
    replay->moves = take(REPLAY_BYTES);
    replay->older = last_replay;
    last_replay = replay;
    while (!leak && last_replay != NULL) {
        struct replay *const older = last_replay->older;
        free(last_replay->moves);
        free(last_replay);
        last_replay = older;
    }
}

int main(int argc, char **argv) {
    const int leak = rounds_leak(argc, argv);
    size_t leaked = 0;
    for (int round = 0; round <= N_ROUNDS; round++) {
        for (unsigned i = 0; i < MATCHES_PER_ROUND; i++) {
            play(i, leak);
            leaked += leak ? sizeof(struct replay) + REPLAY_BYTES : 0;
        }
        rounds_end(round, leaked);
    }
    return 0;
}
