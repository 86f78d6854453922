/* The conservative scan: which word of which block, global, stack or register refers to which
 * block.
 *
 * Runs in the copy of a target (collect.c), after its blocks were sent, and sends the sections
 * FRAME, TLS, VTABLE, VPTR, FUNCTION, CODE, EDGE and ROOT of the capture stream. What counts as a
 * reference: a word at an address divisible by 8 whose value lies in [start, start + max(size, 1))
 * of a block; only words that lie whole in a block's requested bytes. So a pointer one past the end
 * refers to what starts there, if anything; a pointer with tag bits in its low 3 bits is an
 * interior one with an offset of 1 to 7; pointers at addresses not divisible by 8, and those kept
 * in another form (compressed, xored, tagged in the high bits), are not seen. */
#ifndef HEAPSNAP_SCAN_H
#define HEAPSNAP_SCAN_H

#include <elf.h>
#include <stddef.h>
#include <stdint.h>

#include "capture/recorder.h"

struct park_thread;
struct scan;

/* --- other memory that can be referred to --- */

/* A node that is no block of malloc: a managed object, a range of device or pinned memory. */
struct scan_target {
    uint64_t address, size;
    uint32_t node;  /* index + 1 over the stream's NODE records */
    uint32_t flags; /* SCAN_TARGET_* */
};
enum {
    SCAN_TARGET_READABLE = 1, /* its words are scanned, too */
    SCAN_TARGET_ABSORBS = 2   /* takes the place of the block that it stands in: that is not sent */
};

/* --- a scan --- */

struct scan_sink {
    void *context;
    /* Sends a section; non-zero: it is no use going on. */
    int (*put)(void *context, uint32_t kind, uint32_t n, const void *data, size_t bytes);
    void (*tick)(void *context); /* a sign of life */
};

struct scan_mapping {
    uint64_t start, end;
    uint32_t protection; /* as REGN.protection */
    uint32_t kind;       /* SNAP_REGN_* */
    uint32_t is_file;    /* has pages of a file or of shared memory */
    uint32_t is_known;   /* mapped by the target itself: its hook saw it */
};

struct scan_counts {
    uint64_t edges, roots, unread_bytes;
};

/* In the target, at the start: finds out how its loader numbers images. Takes the loader's lock. */
void scan_locals_init(void);

/* NULL: no memory. */
struct scan *scan_new(const struct scan_sink *sink);
void scan_free(struct scan *s);

/* What the target is made of; mappings and images in the order of addresses. module: its record in
 * the stream, from 1. */
void scan_add_image(struct scan *s, uint32_t module, uint64_t start, uint64_t end, uint64_t bias,
                    const Elf64_Phdr *segments, unsigned n_segments);
void scan_add_mapping(struct scan *s, const struct scan_mapping *mapping);
/* Memory of the recorder and of the copy: holds addresses, but refers to nothing. */
void scan_add_own(struct scan *s, uint64_t start, uint64_t end);
/* Says what there is besides blocks, before the first block: ascending by address, no two with the
 * same. The array is the caller's until scan_run has returned. Where the nodes' numbers do not
 * count on right after the blocks, edges from them are not in the order of nodes. */
void scan_set_targets(struct scan *s, const struct scan_target *targets, size_t n);
/* Adds those of another provider; numbers are counted over the NODE records of all. The array need
 * not stay. */
void scan_add_targets(struct scan *s, const struct scan_target *targets, size_t n);
/* Takes a block in; in the order of addresses. 1: it is a node, the next one; 0: a target has taken
 * its place, it must not be sent. */
int scan_add_block(struct scan *s, uint64_t address, uint64_t size);

/* Scans and sends; when all is added and all BLOCK and NODE records are sent. */
void scan_run(struct scan *s, const struct park_thread *threads, uint32_t n_threads,
              struct scan_counts *out);

/* After scan_run: the node that holds an address, 0: none does. */
uint32_t scan_find(const struct scan *s, uint64_t address, uint64_t *out_offset);

#endif
