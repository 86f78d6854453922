/* Growth that is usual for what a program does, and no sign of a leak by itself. */
#ifndef HEAPSNAP_DIFF_USUAL_H
#define HEAPSNAP_DIFF_USUAL_H

#include <heapsnap/diff.h>

/* What a suspect is that many programs have, as a clause: "modules that were imported ...". "" if
 * nothing is known of the kind. of is the snapshot that has s->stack. Static. */
int usual_growth(const snap_diff_suspect *s, const snap_snapshot *of, const char **out,
                 snap_error *err);

/* What ends the growth of a suspect that is a library's cache with a bound of its own; NULL: it is
 * none. */
const char *usual_bound(const snap_diff_suspect *s);

#endif
