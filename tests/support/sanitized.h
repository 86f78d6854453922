/* How much of a random or a large test is done: under a sanitizer, which makes it five to ten times
 * slower, a part. The plain build does all of it, with the same code. */
#ifndef TESTS_SUPPORT_SANITIZED_H
#define TESTS_SUPPORT_SANITIZED_H

#if defined(__SANITIZE_THREAD__)
#define THREAD_SANITIZED 1
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define THREAD_SANITIZED 1
#endif
#endif
#ifndef THREAD_SANITIZED
#define THREAD_SANITIZED 0 /* 1: a test without threads shows nothing there */
#endif

#if defined(__SANITIZE_ADDRESS__)
#define SANITIZED 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define SANITIZED 1
#endif
#endif
#ifndef SANITIZED
#define SANITIZED THREAD_SANITIZED
#endif

#include <stddef.h>
#include <stdlib.h>

/* Of what is exhaustive, every how-manieth is done: the n-th under a sanitizer, but in the long run
 * (the set-up "slow"), as in a plain build, all. */
static inline size_t sanitized_step(size_t n) {
    return SANITIZED && getenv("HEAPSNAP_TEST_ALL") == NULL ? n : 1;
}

#endif
