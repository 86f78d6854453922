/* A program that knows its own types: the fixtures make blocks and say what each is; the test looks
 * at its own memory as a snapshot would and compares what the typing pass finds. */
#ifndef TYPING_WORLD_H
#define TYPING_WORLD_H

#include <stddef.h>

#ifdef __cplusplus
extern "C" {
#endif

/* A zeroed block that is to be found to be of a type, as "struct item", "struct item[]". NULL: to
 * be left without one. */
void *world_block(size_t size, const char *type);
/* Registers a block made elsewhere. */
void world_add(void *block, size_t size);
void world_forget(void *block);
/* What a block is to be; NULL as before. May be called again. */
void world_expect(const void *block, const char *type);
/* The block may have this type as a guess, or none. */
void world_expect_guess(const void *block, const char *type);
/* The name of the reference at an offset of a block. */
void world_expect_label(const void *block, size_t offset, const char *label);
/* Whether the reference at an offset of a block is in what its container does not use. */
void world_expect_unused(const void *block, size_t offset, int is_unused);
/* The name of the word at an address of a variable. */
void world_expect_name(const void *word, const char *name);

/* Given by the fixture: makes everything, with about that many blocks. */
void world_build(unsigned seed, size_t n);

#ifdef __cplusplus
}
#endif

#endif
