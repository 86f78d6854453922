/* How to leave a function: unwind rules per return address, from .eh_frame.
 *
 * A rule is one 32-bit number, so that cache entries are single words that threads read and write
 * without locks. Frames are described by what nearly all x86-64 code needs: the canonical frame
 * address (CFA) hangs on rsp or rbp, the return address stands at CFA - 8, rbp is kept or saved in
 * the frame. Everything else is "stop": the walk ends and says that it is cut. */
#ifndef HEAPSNAP_UNWIND_H
#define HEAPSNAP_UNWIND_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

/* bits 0-1 kind; SP and BP: bits 2-18 CFA offset / 8, bits 19-31 -(offset of saved rbp from the
 * CFA) / 8, 0: rbp is kept. RARE: bits 2-31 the index of an unwind_rare. */
enum { UNWIND_SP = 0, UNWIND_BP = 1, UNWIND_RARE = 2, UNWIND_SPECIAL = 3 };
#define UNWIND_KIND(rule) ((rule)&3)
#define UNWIND_CFA(rule) ((uintptr_t)((rule) >> 2 & 0x1ffff) * 8)
#define UNWIND_BP_BELOW(rule) ((uintptr_t)((rule) >> 19) * 8)
/* UNWIND_SPECIAL rules */
enum {
    UNWIND_STOP = UNWIND_SPECIAL | 0 << 2,   /* no rule known: the walk is cut here */
    UNWIND_END = UNWIND_SPECIAL | 1 << 2,    /* the outermost frame */
    UNWIND_SIGNAL = UNWIND_SPECIAL | 2 << 2, /* a signal's frame: registers stand in a ucontext */
    UNWIND_GUESS = UNWIND_SPECIAL | 3 << 2   /* code that nobody described (of a JIT compiler, say):
                                                perhaps it keeps a frame pointer */
};

/* CFA = [*](base + cfa_offset) + cfa_add, saved rbp at base + bp_offset. */
struct unwind_rare {
    uint8_t cfa_base; /* UNWIND_SP or UNWIND_BP */
    uint8_t cfa_load; /* 1: the CFA is loaded from that address */
    uint8_t bp_saved; /* 0: kept */
    uint8_t bp_base;  /* UNWIND_SP, UNWIND_BP or 2: the CFA */
    int32_t cfa_offset, cfa_add, bp_offset;
};

enum { UNWIND_CACHE_BITS = 16 };
extern _Atomic uint64_t unwind_cache[1 << UNWIND_CACHE_BITS] __attribute__((visibility("hidden")));

/* The rule for a return address, from the tables of its module. Slow; lock-free where libc offers
 * _dl_find_object. */
uint32_t unwind_rule_slowly(uintptr_t pc) __attribute__((visibility("hidden")));
const struct unwind_rare *unwind_rare_get(uint32_t rule) __attribute__((visibility("hidden")));

/* Whether the instruction before a return address, in memory that can be read, is a call. */
bool unwind_after_call(uintptr_t pc) __attribute__((visibility("hidden")));

/* Whether rules can be looked up where the loader's locks may be held by threads that are gone. */
bool unwind_never_locks(void) __attribute__((visibility("hidden")));

/* Forgets all rules: after a module was unloaded. */
void unwind_flush(void) __attribute__((visibility("hidden")));
/* Goes up with that: what was concluded from rules is void. */
extern _Atomic uint32_t unwind_generation __attribute__((visibility("hidden")));
/* Looks up what it needs of the loader; before the first rule. */
void unwind_init(void) __attribute__((visibility("hidden")));

/* The rule for a return address (that is, for the instruction before it). For the exact position of
 * an interrupted instruction pass pc + 1. A product by an odd number modulo 2^48 is a bijection:
 * index and tag together are the whole address. */
static inline uint32_t unwind_rule(uintptr_t pc) {
    const uint64_t mixed = pc * UINT64_C(0x9E3779B97F4B) & ((UINT64_C(1) << 48) - 1);
    const uint64_t entry = atomic_load_explicit(&unwind_cache[mixed >> (48 - UNWIND_CACHE_BITS)],
                                                memory_order_relaxed);
    if (__builtin_expect((uint32_t)entry == (uint32_t)mixed && entry >> 32 != 0, 1))
        return entry >> 32;
    return unwind_rule_slowly(pc);
}

#endif
