/* Names of error codes and the library's version. Filling a snap_error is err.h's. */
#include "base/err.h"

#include <stdarg.h>
#include <stdio.h>

const char *snap_error_name(int code) {
    switch (code) {
    case SNAP_OK: return "OK";
    case SNAP_E_NOMEM: return "NOMEM";
    case SNAP_E_IO: return "IO";
    case SNAP_E_FORMAT: return "FORMAT";
    case SNAP_E_CORRUPT: return "CORRUPT";
    case SNAP_E_UNSUPPORTED: return "UNSUPPORTED";
    case SNAP_E_LIMIT: return "LIMIT";
    case SNAP_E_ARG: return "ARG";
    case SNAP_E_NOTFOUND: return "NOTFOUND";
    case SNAP_E_CANCELED: return "CANCELED";
    default: return "?";
    }
}

#define STRING_(x) #x
#define STRING(x) STRING_(x)

const char *snap_version(void) {
    return STRING(SNAP_API_VERSION_MAJOR) "." STRING(SNAP_API_VERSION_MINOR) "." STRING(
        SNAP_API_VERSION_PATCH);
}

int err_set_at(snap_error *err, int code, uint32_t chunk, uint64_t offset, const char *format,
               ...) {
    if (!err)
        return code;
    err->code = code;
    err->chunk = chunk;
    err->offset = offset;
    va_list ap;
    va_start(ap, format);
    vsnprintf(err->message, sizeof err->message, format, ap);
    va_end(ap);
    return code;
}
