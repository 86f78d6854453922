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
    int force;        /* compare snapshots of different programs, too */
    int keep_order;   /* keep the order given even where sequence numbers say otherwise */
    unsigned threads; /* 0: one per core, at most 4 */
} snap_diff_options;

/* Series have one value per snapshot, in the order of snap_diff_snapshots: the order given, but
 * with the snapshots of one lineage in the order of their sequence numbers unless keep_order was
 * set. Sums saturate at 2^64 - 1. */
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

/* Blocks by what became of them between one snapshot and the next. What a survivor gained in size
 * counts as new bytes, what it lost as freed ones, so that new + surviving is all of the later
 * snapshot, freed + surviving all of the earlier. Matched by path there are only sums: a site's
 * smaller count is taken as surviving. */
typedef struct snap_diff_interval {
    uint64_t new_count, new_bytes, freed_count, freed_bytes, surviving_count, surviving_bytes;
    snap_match match;
} snap_diff_interval;

/* A row of a table over a key other than the stack: a type's name, a module's path, a domain. */
typedef struct snap_diff_type {
    const char *name;
    uint32_t domain;
    const uint64_t *counts, *bytes;
    snap_trend trend;
    int64_t growth_bytes, growth_count; /* last minus first */
    uint32_t share_ppm;                 /* of the sum of all growth in its table */
    int blamed;                         /* it made the verdict */
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
    uint32_t share_ppm;            /* of the sum of all sites' growth */
    int blamed;                    /* it made the verdict */
    const char *label;             /* "allocated in FUNCTION", first frame outside allocators */
    const char *module;            /* path of that frame's module; "" if unknown */
} snap_diff_site;

/* Registered callbacks by place. */
typedef struct snap_diff_hook {
    const char *registry, *callback, *file;
    uint64_t line;
    const uint64_t *counts;
} snap_diff_hook;

/* Compares. snapshots stay the caller's and must outlive the result. Errors: those of reading, ARG
 * (fewer than two; different programs without force), NOMEM, CANCELED. Time is linear in the
 * number of blocks and memory is some MB plus the sites, if the files are sorted. */
SNAP_API int snap_diff_new(snap_diff **out, const snap_snapshot *const *snapshots, size_t n,
                           const snap_diff_options *options, snap_error *err);

/* The same tables over a single snapshot: series of one value, no growth, no interval. */
SNAP_API int snap_census_new(snap_diff **out, const snap_snapshot *snapshot,
                             const snap_diff_options *options, snap_error *err);
SNAP_API void snap_diff_free(snap_diff *d);

/* What the verdict rests on, for the first line of a report. */
typedef struct snap_diff_finding {
    snap_verdict verdict;
    snap_trend trend;         /* of the blamed rows together */
    int64_t total_growth;     /* bytes in use, all domains: last minus first */
    int64_t blamed_growth;    /* of the blamed sites together; 0: it is spread over many */
    uint32_t n_blamed;        /* sites */
    uint32_t share_ppm;       /* of all sites' growth */
    uint64_t threshold_bytes; /* growth up to here is taken for noise */
} snap_diff_finding;
SNAP_API const snap_diff_finding *snap_diff_get_finding(const snap_diff *d);

SNAP_API snap_verdict snap_diff_verdict(const snap_diff *d);
SNAP_API size_t snap_diff_n_snapshots(const snap_diff *d);
SNAP_API const snap_diff_snapshot *snap_diff_snapshots(const snap_diff *d);
SNAP_API const snap_diff_interval *
snap_diff_intervals(const snap_diff *d); /* one fewer than snapshots */
/* Sorted by growth_bytes descending, then bytes in the last snapshot descending, then domain, then
 * name or key. */
SNAP_API const snap_diff_type *snap_diff_types(const snap_diff *d, size_t *out_n);
SNAP_API const snap_diff_type *snap_diff_modules(const snap_diff *d, size_t *out_n);
SNAP_API const snap_diff_site *snap_diff_sites(const snap_diff *d, size_t *out_n);
/* One row per domain that occurs, in the order of their codes. */
SNAP_API const snap_diff_type *snap_diff_totals(const snap_diff *d, size_t *out_n);
/* Sorted by last count minus first descending, then registry, callback, file, line. */
SNAP_API const snap_diff_hook *snap_diff_hooks(const snap_diff *d, size_t *out_n);
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

/* Words of schema 1: "linear", "no-growth", "exact". Static. */
SNAP_API const char *snap_trend_name(snap_trend trend);
SNAP_API const char *snap_verdict_name(snap_verdict verdict);
SNAP_API const char *snap_match_name(snap_match match);

/* A limit on growth, such as "host>1MB", "host>1MB/step", "count>0", "type:NAME>0" (the grammar is
 * in snapdiff(1)). */
typedef struct snap_diff_rule_result {
    int broken;
    int64_t value, limit; /* what was measured and what was allowed; per step if the rule says so */
    const char *unit;     /* "bytes", "blocks"; static */
} snap_diff_rule_result;
/* Errors: ARG: the text is no rule; the message says what is wrong with it. d may be NULL: then
 * the text alone is checked. */
SNAP_API int snap_diff_rule_check(const snap_diff *d, const char *rule, snap_diff_rule_result *out,
                                  snap_error *err);

/* 1 if a position belongs to an allocator, to the recorder, or to a library's wrapper around one
 * (malloc, operator new, std::vector growth, ...), so that it says nothing about who asked for the
 * memory. */
SNAP_API int snap_location_is_allocator(const snap_snapshot *s, const snap_location *location);

#ifdef __cplusplus
}
#endif
#endif
