/* What a runtime has asked the stand-in for the driver for, and what it was given. */
#ifndef HEAPSNAP_TEST_ASKED_H
#define HEAPSNAP_TEST_ASKED_H

/* Reads the driver's log (FAKE_CUDA_LOG) and prints a line. 0: for every name that the recorder
 * knows the runtime was given the recorder's function. */
int asked_compare(void);

#endif
