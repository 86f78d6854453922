/* DWARF lookups in a process of their own. */
#ifndef HEAPSNAP_SYMBOL_ISOLATE_H
#define HEAPSNAP_SYMBOL_ISOLATE_H

#include "symbol/dwarf.h"

/* Like dwarf_lookup, in a forked child with limits on time, memory and output; whatever happens to
 * the child, the caller gets what it had said before. Each index is emitted at most once. Returns 1
 * if the child ended well. */
int isolate_dwarf_lookup(const struct dwarf_request *request, dwarf_emit *emit, void *context);

#endif
