/* A library of drawings; the program sees this, the classes are the library's own. */
#ifndef CC_VTABLE_STRIPPED_H
#define CC_VTABLE_STRIPPED_H

#include <stddef.h>

namespace drawing {

void open_document(unsigned n_undo); /* n_undo: most steps to be undone, 0: all */
void stroke(unsigned number);
void text(unsigned number);
size_t history_bytes();

} // namespace drawing

#endif
