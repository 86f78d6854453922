/* Blocks of Python's own allocators as blocks of their own: on demand, because each costs a stack.
 */
#ifndef HEAPSNAP_PYTHON_ALLOC_H
#define HEAPSNAP_PYTHON_ALLOC_H

/* Stands before the allocators of objects and of the interpreter's other memory from now on, if
 * this process has an interpreter. Before it runs. */
void python_alloc_start(void) __attribute__((visibility("hidden")));

#endif
