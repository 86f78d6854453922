/* Code objects of Python functions that stood on stacks: a serial for each, with its names and its
 * table of lines, kept for as long as stacks may speak of it.
 *
 * Code objects go and their addresses come again; a serial never does, except for code that says
 * the same (file, function, lines), which is the same place for whoever reads a stack. */
#ifndef HEAPSNAP_PYTHON_CODE_H
#define HEAPSNAP_PYTHON_CODE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "capture/python_layout.h"

enum { PYTHON_LINE_BITS = 24, PYTHON_SERIAL_BITS = 28 };

/* A position: serial << PYTHON_LINE_BITS | line, 0: unknown. 0: none. By line, not by instruction:
 * that is all that a stack tells, and most steps of a function are on the line of the last one. */
typedef uint64_t python_position;

/* Goes up when a code object that has a serial goes: what is remembered by its address is void. */
extern _Atomic uint64_t python_generation __attribute__((visibility("hidden")));

/* The position of an instruction of a code object that is alive (a frame runs it): `instruction` as
 * the frame has it. 0: no memory, or a frame that CPython does not show either, or, with `try`, a
 * lock is held. *dropped counts the former. */
python_position python_code_position(const struct python_runtime *python, uintptr_t code,
                                     uintptr_t instruction, bool try, uint64_t *dropped)
    __attribute__((visibility("hidden")));

/* Watches code objects go, from now on. Before any is made. */
void python_code_start(const struct python_runtime *python) __attribute__((visibility("hidden")));
void python_code_after_fork_child(void) __attribute__((visibility("hidden")));

/* What a position says. Strings are UTF-8, not ended by NUL, and stay. For whoever reads the copy
 * of a process. */
struct python_place {
    const char *file, *function;
    uint32_t file_length, function_length, line; /* 0: unknown */
};
bool python_place_get(python_position position, struct python_place *out)
    __attribute__((visibility("hidden")));
/* Serials are 1 to this. */
uint32_t python_n_codes(void) __attribute__((visibility("hidden")));

#endif
