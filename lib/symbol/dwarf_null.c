/* Without libdwarf: no lines, no inlined functions. */
#include "symbol/dwarf.h"

int dwarf_is_built(void) {
    return 0;
}

void dwarf_lookup(const struct dwarf_request *request, dwarf_emit *emit, void *context) {
    (void)request;
    (void)emit;
    (void)context;
}
