/* One function in a thread of its own, where there is one to be had. Knows nothing of what it runs.
 */
#include "base/beside.h"

#include <unistd.h>

static void *run(void *argument) {
    struct beside *const b = argument;
    b->result = b->fn(b->context);
    return NULL;
}

void beside_start(struct beside *b, int is_wanted, int (*fn)(void *context), void *context) {
    *b = (struct beside){.fn = fn, .context = context};
    b->is_running = is_wanted && pthread_create(&b->thread, NULL, run, b) == 0;
}

int beside_finish(struct beside *b) {
    if (b->is_running)
        pthread_join(b->thread, NULL);
    else
        run(b);
    return b->result;
}

unsigned beside_threads(unsigned wanted, unsigned most) {
    if (wanted != 0)
        return wanted;
    const long n_cores = sysconf(_SC_NPROCESSORS_ONLN);
    return n_cores < 1 ? 1 : n_cores > (long)most ? most : (unsigned)n_cores;
}
