/* Makes the hashes of a changed file right again, so that changes reach what lies behind them. */
#ifndef HEAPSNAP_TEST_REPAIR_H
#define HEAPSNAP_TEST_REPAIR_H

#include <stddef.h>
#include <stdint.h>

/* Header, chunks as far as they follow one another, and footer. */
void repair_hashes(uint8_t *data, size_t size);

#endif
