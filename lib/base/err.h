/* Filling the caller's snap_error. Every function of the library that fails does so through here.
 */
#ifndef HEAPSNAP_ERR_H
#define HEAPSNAP_ERR_H

#include <heapsnap/common.h>

/* Fills *err if it is not NULL; returns code, so that `return err_set(...)` ends a function. The
 * message: lower case, no full stop, the failure first, its subject quoted, nothing that the caller
 * knows already. */
int err_set_at(snap_error *err, int code, uint32_t chunk, uint64_t offset, const char *format, ...)
    SNAP_PRINTF(5, 6);
#define err_set(err, code, ...) err_set_at(err, code, 0, 0, __VA_ARGS__)

/* Evaluates a call; returns its result from the enclosing function if that is an error. */
#define SNAP_TRY(call)                                                                             \
    do {                                                                                           \
        const int snap_try_result_ = (call);                                                       \
        if (snap_try_result_ < 0)                                                                  \
            return snap_try_result_;                                                               \
    } while (0)

#endif
