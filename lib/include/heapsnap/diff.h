/* Comparing two or more snapshots: what grew, where it was allocated, what is new, freed,
 * surviving.
 *
 * Input are open snapshots, in the order of time; the result is plain data that report.h prints.
 * Nothing here prints. */
#ifndef HEAPSNAP_DIFF_H
#define HEAPSNAP_DIFF_H

#include <heapsnap/snapshot.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct snap_diff snap_diff;

typedef enum snap_trend {
    SNAP_TREND_FLAT,
    SNAP_TREND_LINEAR,
    SNAP_TREND_MONOTONIC,
    SNAP_TREND_STEP,
    SNAP_TREND_PLATEAU,
    SNAP_TREND_CHURN,
    SNAP_TREND_NOISY
} snap_trend;

typedef enum snap_match { SNAP_MATCH_EXACT, SNAP_MATCH_ADDRESS, SNAP_MATCH_PATH } snap_match;
typedef enum snap_verdict {
    SNAP_VERDICT_NO_GROWTH,
    SNAP_VERDICT_GROWTH,
    SNAP_VERDICT_LEAK
} snap_verdict;

typedef struct snap_diff_options {
    size_t struct_size;
    int (*progress)(void *context, uint64_t done, uint64_t total); /* other than 0: cancel */
    void *progress_context;
    int force; /* compare snapshots of different programs, too */
} snap_diff_options;

/* Series have one value per snapshot, in the order given. */
typedef struct snap_diff_snapshot {
    const snap_snapshot *snapshot;
    const char *file, *label;
    int has_step;
    int64_t step;
    uint64_t sequence, pid, time_ns;
    int has_rank;
    uint64_t rank;
    int complete;
    struct {
        uint64_t count, bytes, cached_bytes;
    } totals[SNAP_DOMAIN_MANAGED + 1]; /* by SNAP_DOMAIN_* */
    uint64_t rss_bytes, malloc_in_use_bytes, malloc_free_bytes;
} snap_diff_snapshot;

/* Blocks by what became of them between one snapshot and the next. */
typedef struct snap_diff_interval {
    uint64_t new_count, new_bytes, freed_count, freed_bytes, surviving_count, surviving_bytes;
    snap_match match;
} snap_diff_interval;

typedef struct snap_diff_type {
    const char *name;
    uint32_t domain;
    const uint64_t *counts, *bytes;
    snap_trend trend;
    int64_t growth_bytes; /* last minus first */
} snap_diff_type;

typedef struct snap_diff_site {
    uint64_t key;      /* snap_stack_key */
    uint32_t snapshot; /* index of a snapshot that has the stack */
    uint64_t stack;    /* its id there, for snap_stack() */
    uint32_t domain;
    const uint64_t *counts, *bytes;
    snap_trend trend;
    int64_t growth_bytes, growth_count;
    uint64_t new_count, new_bytes; /* of the last snapshot, born after the first */
    const char *label;             /* "allocated in FUNCTION", first frame outside allocators */
} snap_diff_site;

/* Compares. snapshots stay the caller's and must outlive the result. Errors: those of reading, ARG
 * (fewer than two; order by sequence broken within a lineage is not an error: see snap_diff_notes),
 * NOMEM, CANCELED. */
SNAP_API int snap_diff_new(snap_diff **out, const snap_snapshot *const *snapshots, size_t n,
                           const snap_diff_options *options, snap_error *err);
SNAP_API void snap_diff_free(snap_diff *d);

SNAP_API snap_verdict snap_diff_verdict(const snap_diff *d);
SNAP_API size_t snap_diff_n_snapshots(const snap_diff *d);
SNAP_API const snap_diff_snapshot *snap_diff_snapshots(const snap_diff *d);
SNAP_API const snap_diff_interval *
snap_diff_intervals(const snap_diff *d); /* one fewer than snapshots */
/* Sorted by growth_bytes descending, then key. */
SNAP_API const snap_diff_type *snap_diff_types(const snap_diff *d, size_t *out_n);
SNAP_API const snap_diff_site *snap_diff_sites(const snap_diff *d, size_t *out_n);
/* Sentences about what the evidence cannot support: incomplete files, two snapshots, mixed
 * processes. */
SNAP_API const char *const *snap_diff_limits(const snap_diff *d, size_t *out_n);
/* Findings that are not leaks: class (DESIGN words, such as "allocator-free"), bytes, explanation.
 */
typedef struct snap_diff_not_leak {
    const char *kind;
    uint64_t bytes;
    const char *explanation;
} snap_diff_not_leak;
SNAP_API const snap_diff_not_leak *snap_diff_not_leaks(const snap_diff *d, size_t *out_n);

#ifdef __cplusplus
}
#endif
#endif
