/* Asking another process, where there is no recorder that could answer. */
#include <heapsnap/capture.h>

#include "base/err.h"

int snap_take_process(long pid, const char *path, const snap_process_options *options,
                      char *out_path, size_t out_size, snap_error *err) {
    return err_set(err, SNAP_E_NOTFOUND, "process %ld is not tracked; this build has no recorder",
                   pid);
}
