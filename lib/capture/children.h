/* Memory of the processes that a process has started. */
#ifndef HEAPSNAP_CHILDREN_H
#define HEAPSNAP_CHILDREN_H

#include <stdint.h>

#define CHILDREN_MAX 64
#define CHILDREN_NS 2000000000u /* enough, where the process itself does not wait */

/* Says of process pid how many descendants it has, what they have together, and what each has, by
 * the names of process counters (format/registry.md): nothing where it has none or nobody can know.
 * Begins with none after budget_ns, and reads CHILDREN_MAX at most. Async-signal-safe; 12 KiB of
 * stack. */
void children_read(int pid, uint64_t budget_ns,
                   void (*say)(void *context, const char *name, uint64_t value), void *context);

#endif
