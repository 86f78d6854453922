/* Error codes, the error record, library version and export macros. Included by every other public
 * header. */
#ifndef HEAPSNAP_COMMON_H
#define HEAPSNAP_COMMON_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Single source of the library's version; the build reads it from here. */
#define SNAP_API_VERSION_MAJOR 0
#define SNAP_API_VERSION_MINOR 1
#define SNAP_API_VERSION_PATCH 0

#if defined(__GNUC__)
#define SNAP_API __attribute__((visibility("default")))
#define SNAP_PRINTF(f, a) __attribute__((format(printf, f, a)))
#else
#define SNAP_API
#define SNAP_PRINTF(f, a)
#endif

/* Results of functions: 0 or one of these. The numbers are frozen (snap-format.md, section 10). */
#define SNAP_OK 0
#define SNAP_E_NOMEM (-1)
#define SNAP_E_IO (-2)
#define SNAP_E_FORMAT (-3)
#define SNAP_E_CORRUPT (-4)
#define SNAP_E_UNSUPPORTED (-5)
#define SNAP_E_LIMIT (-6)
#define SNAP_E_ARG (-7)
#define SNAP_E_NOTFOUND (-8)
#define SNAP_E_CANCELED (-9)

/* What went wrong. The caller owns it and passes it last; it may pass NULL. Untouched on success.
 */
typedef struct snap_error {
    int32_t code;      /* SNAP_E_* */
    uint32_t chunk;    /* id of the chunk concerned (SNAP_ID_*), 0: none */
    uint64_t offset;   /* in the file, of what chunk names or of the field; 0 if none */
    char message[240]; /* one line, no full stop, the subject quoted */
} snap_error;

/* Name of a code, such as "CORRUPT"; "?" for an unknown one. Never NULL; static. */
SNAP_API const char *snap_error_name(int code);

/* Version of the library at run time, as "0.1.0". Static. */
SNAP_API const char *snap_version(void);

#ifdef __cplusplus
}
#endif
#endif
