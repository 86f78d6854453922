/* The exported functions of annotate.h: they pass on to the recorder if one has been preloaded, and
 * do nothing else.
 *
 * The recorder is looked for when the library is loaded: looking up a name later might lock or
 * allocate, in a signal handler for one. */
#include <heapsnap/annotate.h>

#define SNAP_ANNOTATE_FUNCTION
#define SNAP_ANNOTATE_CALLER __builtin_return_address(0)
#include <heapsnap/annotate_inline.h>

__attribute__((constructor)) static void look_for_recorder(void) {
    snap_annotate_find();
}
