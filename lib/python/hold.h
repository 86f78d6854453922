/* The interpreter in the living process: see struct managed_walker, whose functions these are. */
#ifndef HEAPSNAP_PYTHON_HOLD_H
#define HEAPSNAP_PYTHON_HOLD_H

#include "python/cpython.h"
#include "python/guard.h"

void hold_start(void (*at_end)(void));
int hold_is_free(void);
int hold_is_whole(int is_caller_fine);
int hold_call(int (*fn)(void *), void *argument);

/* Whether an object is the function that hold_start registers. */
int hold_is_own(PyObject *op);

#endif
