/* What a fuzz target is: it aborts when a property does not hold. */
#ifndef HEAPSNAP_TEST_FUZZ_H
#define HEAPSNAP_TEST_FUZZ_H

#include <stddef.h>
#include <stdint.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#endif
