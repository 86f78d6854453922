/* snap_repair: what is left of a file, as a sound one.
 *
 * Does not guess: rows come from chunks whose hash is right, or not at all. */
#include <heapsnap/convert.h>

#include <string.h>

#include "base/err.h"
#include "convert/rewrite.h"

#define LOST_ROWS "lost_rows"

/* The counter that says so is written anew. */
static int is_lost_rows(const snap_meta_row *row) {
    return row->key == SNAP_META_COMPLETENESS && strcmp(row->name, LOST_ROWS) == 0;
}

/* What the survey found, and how many rows are missing as far as anybody knows, at least 1. */
static uint64_t count_lost(const struct rewrite *r, snap_repair_result *result) {
    uint64_t before = 0, n = 0;
    for (snap_table t = SNAP_TABLE_STRS; t < SNAP_TABLE_SUMM; t++) {
        /* Those of names are not surveyed. */
        result->n_lost_rows[t] = t == SNAP_TABLE_STRS ? result->salvage.lost_rows[t] : r->n_gone[t];
        result->n_loose_rows[t] = r->n_loose[t];
        n += result->n_lost_rows[t] + result->n_loose_rows[t];
    }
    result->is_whole = n == 0 && result->salvage.has_all_chunks && r->n_bad_chunks == 0 &&
                       result->salvage.n_lost_chunks == 0;
    snap_meta_number(r->from, SNAP_META_COMPLETENESS, LOST_ROWS, &before);
    if (result->is_whole)
        return before;
    return before + (n ? n : 1);
}

static int write_file(struct rewrite *r, const char *path, const snap_writer_options *options,
                      uint64_t n_lost, snap_error *err) {
    SNAP_TRY(snap_writer_open_file(&r->to, path, options, err));
    int result = rewrite_meta(r, is_lost_rows, err);
    if (result == 0 && n_lost > 0)
        result = snap_writer_meta_named(r->to, SNAP_META_COMPLETENESS, LOST_ROWS, n_lost, err);
    if (result == 0)
        result = rewrite_rows(r, err);
    if (result == 0)
        result = snap_writer_finish(r->to, err);
    snap_writer_close(r->to);
    return result;
}

int snap_repair(const char *path, const char *out_path, const snap_writer_options *options,
                snap_repair_result *out_result,
                int (*progress)(void *context, uint64_t done, uint64_t total), void *context,
                snap_error *err) {
    snap_snapshot *s;
    snap_repair_result result = {0};
    if (!path || !out_path || !out_result)
        return err_set(err, SNAP_E_ARG, "no file to repair");
    SNAP_TRY(snap_open_salvage(&s, path, NULL, &result.salvage, err));
    const int has_all = result.salvage.has_all_chunks && result.salvage.n_lost_chunks == 0;
    struct rewrite r = {.from = s, .progress = progress, .progress_context = context};
    int code = rewrite_survey(&r, has_all ? REWRITE_SOUND : REWRITE_CUT, err);
    if (code == 0)
        code = write_file(&r, out_path, options, count_lost(&r, &result), err);
    memcpy(result.n_rows, r.n_rows, sizeof result.n_rows);
    rewrite_release(&r);
    snap_close(s);
    if (code == 0)
        *out_result = result;
    return code;
}
