/* A drawing program over a library without symbols and debug information, which keeps actions of
 * several classes in a vector. leak: every action, so that all can be undone. fixed: the last ones.
 */
#include "cc-vtable-stripped.h"
#include "rounds.h"

int main(int argc, char **argv) {
    const int leak = rounds_leak(argc, argv);
    drawing::open_document(leak ? 0 : 50);
    unsigned number = 0;
    for (int round = 0; round <= N_ROUNDS; round++) {
        for (int i = 0; i < 1000; i++, number++) {
            drawing::stroke(number);
            if (i % 25 == 0)
                drawing::text(number);
        }
        rounds_end(round, leak ? drawing::history_bytes() : 0);
    }
    return 0;
}
