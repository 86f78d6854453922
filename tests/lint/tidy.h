/* What the analyzer cannot see from one file: err_set_at, which is in another, returns its code,
 * and no code of an error is 0. Included before each file by tidy.sh; never by a build. */
#ifndef HEAPSNAP_TIDY_H
#define HEAPSNAP_TIDY_H

#include "base/err.h"

#define err_set_at(err, code, ...) ((void)(err_set_at)(err, code, __VA_ARGS__), (code))

#endif
