/* Where processes cannot be copied: there is no such snapshot. */
#include "capture/copy.h"

#include "base/err.h"

int copy_write(const struct untracked *u, const struct take_managed *managed, snap_error *err) {
    managed->copied(managed->context);
    return err_set(err, SNAP_E_UNSUPPORTED, "objects can be read on x86-64 Linux only");
}
