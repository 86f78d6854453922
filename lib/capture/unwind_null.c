/* Machines without an unwinder here: every walk ends at its first frame and says that it is cut. */
#include "capture/unwind.h"

#include <stddef.h>

_Atomic uint64_t unwind_cache[1 << UNWIND_CACHE_BITS];
_Atomic uint32_t unwind_generation;

uint32_t unwind_rule_slowly(uintptr_t pc) {
    (void)pc;
    return UNWIND_STOP;
}
const struct unwind_rare *unwind_rare_get(uint32_t rule) {
    (void)rule;
    return NULL;
}
bool unwind_after_call(uintptr_t pc) {
    (void)pc;
    return false;
}
bool unwind_never_locks(void) {
    return true;
}
void unwind_flush(void) {}
void unwind_init(void) {}
