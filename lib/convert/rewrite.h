/* A snapshot read and written again, row by row, with a say in which rows stay and which names they
 * have: repairing and redacting are two uses of it. */
#ifndef HEAPSNAP_REWRITE_H
#define HEAPSNAP_REWRITE_H

#include <heapsnap/snapshot.h>
#include <heapsnap/writer.h>

enum { REWRITE_CLASSES = 8 };

struct rewrite {
    const snap_snapshot *from;
    snap_writer *to;

    /* What kind of name a column of row i of the batch at hand holds, less than REWRITE_CLASSES;
     * and the text that stands for one of that kind, asked for once each, borrowed until the next
     * call. NULL: names stay. */
    unsigned (*class)(void *context, snap_table table, unsigned column, const snap_batch *b,
                      uint32_t i);
    int (*string)(void *context, unsigned class, const char *text, const char **out,
                  snap_error *err);
    /* Text of a module's build id likewise; NULL: the same. */
    const char *(*build_id)(void *context, const snap_batch *b, uint32_t i, const char *text);
    void *context;

    int (*progress)(void *context, uint64_t done, uint64_t total);
    void *progress_context;

    /* Set by rewrite_survey, but for n_rows, which are counted when they are written. */
    uint64_t n_rows[SNAP_N_TABLES];
    uint64_t n_gone[SNAP_N_TABLES];  /* in chunks that cannot be read */
    uint64_t n_loose[SNAP_N_TABLES]; /* left out because what they need is gone */
    uint32_t n_bad_chunks;

    struct rewrite_state *state;
};

enum rewrite_loss {
    REWRITE_ALL = 0, /* a chunk that cannot be read is an error */
    REWRITE_SOUND,   /* such chunks are left out */
    REWRITE_CUT      /* and references to rows that were lost have become none already */
};

/* Looks at all chunks: which rows there are. */
int rewrite_survey(struct rewrite *r, enum rewrite_loss may_lose, snap_error *err);
/* Then writes all rows but META's, whose rows the caller has written before. The caller finishes
 * the writer. */
int rewrite_rows(struct rewrite *r, snap_error *err);
/* In any case, at the end. */
void rewrite_release(struct rewrite *r);

/* META's rows as they are, but for those that `skip` (NULL: none) says 1 to. */
int rewrite_meta(const struct rewrite *r, int (*skip)(const snap_meta_row *row), snap_error *err);

#endif
