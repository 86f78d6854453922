/* Seeded random programs for the driver: several threads make, exchange and give back things of all
 * classes, and stop with some of each held. */
#ifndef HEAPSNAP_TEST_RANDOM_DRIVER_H
#define HEAPSNAP_TEST_RANDOM_DRIVER_H

#include "driver.h"

/* At most 64 threads, of n operations each, in the given context. Returns how often the driver has
 * refused something. */
uint64_t random_driver_run(const struct driver *d, void *context, int n_threads, uint64_t n,
                           uint64_t seed);

#endif
