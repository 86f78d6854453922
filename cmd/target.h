/* Whether a program can be tracked, found out before it is run. */
#ifndef HEAPSNAP_TARGET_H
#define HEAPSNAP_TARGET_H

#include <stddef.h>

enum target_verdict {
    TARGET_FINE = 0,
    TARGET_MISSING,   /* not found */
    TARGET_FORBIDDEN, /* not executable */
    TARGET_UNFIT      /* cannot be tracked */
};

/* Finds a command as execvp(3) does. *out_path (freed by the caller) is what would be executed,
 * NULL if there is none. message says what is wrong, for any verdict but TARGET_FINE. */
enum target_verdict target_check(const char *command, char **out_path, char *message,
                                 size_t message_size);

#endif
