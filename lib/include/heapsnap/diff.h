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
    int force;                /* compare snapshots of different programs, too */
    int keep_order;           /* keep the order given even where sequence numbers say otherwise */
    unsigned threads;         /* 0: one per core, at most 4 */
    int no_graph;             /* 1: leave the references unread: suspects by site only */
    uint64_t max_graph_bytes; /* memory for the references of one snapshot; more: suspects by site
                                 only, and a limit says so. 0: no limit */
    int hook_bytes; /* snap_census_new: 1: find out what the arguments of callbacks hold; reads the
                       references */
    int summary_only; /* 1: read the summaries of the files alone, for a trend over many: totals,
                         and of types and sites the largest; no stacks, modules, devices, nor who
                         holds what */
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
    uint32_t
        match_ppm; /* of the earlier snapshot's blocks, how many the later has; 0: there are none */
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
    const char *label;  /* "allocated in FUNCTION", first frame outside allocators; with frames
                           of Python "allocated in FILE:LINE FUNCTION", the innermost */
    const char *module; /* path of that frame's module; "" if unknown */
} snap_diff_site;

/* Memory of a device that this process has. Series have one value per snapshot. */
typedef struct snap_diff_device {
    uint32_t device;             /* as the process numbers them */
    const char *name;            /* UUID and what the driver calls it; "": unknown */
    const uint64_t *live;        /* blocks in use */
    const uint64_t *cached;      /* held by allocators, in use by nobody */
    const uint64_t *graphs;      /* held for the memory of graphs */
    const uint64_t *largest_gap; /* largest free run of bytes in what allocators hold */
    const uint64_t *returnable;  /* of what is cached, what allocators give back when asked to */
    const uint64_t *reported;    /* what the driver says that this process has; 0: unknown */
    const int64_t *residual;     /* reported less live, cached and graphs: contexts, code, whatever
                                    nobody tracks; 0 where reported is unknown */
    int has_framework_pools;     /* some of it is held by a framework's allocator */
    int has_told_pools;          /* and some by a pool that the program has told of */
} snap_diff_device;

/* Registered callbacks by place. */
typedef struct snap_diff_hook {
    const char *registry, *callback, *file;
    uint64_t line;
    const uint64_t *counts;
    uint64_t retained_bytes; /* what the arguments of these callbacks hold in the last snapshot; 0:
                                unknown, or no suspect comes of it */
} snap_diff_hook;

/* What keeps a suspect alive, in the words of schema 1. */
typedef enum snap_suspect_class {
    SNAP_SUSPECT_ROOTED,       /* a chain of references from a root */
    SNAP_SUSPECT_HOOK,         /* a registered callback, of which there are more and more */
    SNAP_SUSPECT_AUTOGRAD,     /* a graph of automatic differentiation */
    SNAP_SUSPECT_GARBAGE,      /* a cycle that waits for the collector */
    SNAP_SUSPECT_NATIVE_CYCLE, /* a cycle that counting references cannot free */
    SNAP_SUSPECT_NATIVE_HELD,  /* a reference that no visited object owns */
    SNAP_SUSPECT_LOST,         /* nothing: an unreachable native block */
    SNAP_SUSPECT_DEVICE,       /* memory of a device */
    SNAP_SUSPECT_RESOURCE      /* not memory: streams, threads, descriptors */
} snap_suspect_class;

/* A place on the way from the root to what grew, and on to what is heaviest in it. */
typedef struct snap_diff_step {
    const char *edge;      /* the first: the root; else ".next", "[*]", as in the source */
    const char *node;      /* type */
    const char *label;     /* what tells one of them from others of its type; "" */
    uint64_t count, bytes; /* that are there in the last snapshot */
    int is_list;           /* they refer to others of this place, as nodes of a list do */
    int is_suspect;        /* this is what grew */
} snap_diff_step;

/* What grew, as one thing: the topmost nodes of which there are more and more, with all that hangs
 * on them. */
typedef struct snap_diff_suspect {
    snap_suspect_class suspect_class;
    uint32_t domain;
    const char *type;
    const uint64_t *counts, *bytes; /* counts: of the topmost nodes; bytes: of all */
    int64_t growth_bytes, growth_count;
    uint32_t share_ppm; /* of the sum of all sites' growth */
    uint64_t retained_bytes;
    uint64_t exclusive_bytes; /* of what is new, that no other suspect holds as well; 0: unknown */
    snap_trend trend;
    snap_match match;
    const char *holder;    /* "g_cache.buckets[*]", "main() local 'jobs'"; "" if nobody is known */
    const char *root_kind; /* code name of ROOT.kind; "" */
    const char *root_module; /* path; "" */
    const char *thread;      /* "thread 4711 'worker'"; "" */
    const snap_diff_step *chain;
    size_t n_chain;
    uint32_t snapshot;          /* index of the snapshot that has the stack */
    uint64_t stack;             /* where most of it was allocated; 0: unknown */
    const snap_diff_hook *hook; /* class hook; else NULL */
    int is_doubtful;            /* a reference of low confidence is in the chain, or only a stack
                                   holds it */
    const char *advice;
    const char *usual; /* growth of this kind is usual: what it is; "" if nothing of it is known */
    int64_t slope_bytes; /* growth per step, or per snapshot where there are no steps: the median
                            over all pairs of snapshots */
    uint32_t chance_ppm; /* how likely bytes without a trend rise as much (Mann-Kendall); says
                            little below five snapshots */
    int is_known;        /* the baseline has it, too, and it grows there about as fast */
    int64_t baseline_growth_bytes; /* of the same thing in the baseline, over as many steps */
    /* Where most of what is new is kept by tensors that show less than half of it: how many, what
     * they show, and what they keep; else 0. */
    uint64_t views_count, views_shown_bytes, views_kept_bytes;
} snap_diff_suspect;

/* Compares. snapshots stay the caller's and must outlive the result. Errors: those of reading, ARG
 * (fewer than two; different programs without force), NOMEM, CANCELED. Time is linear in the
 * number of blocks and memory is some MB plus the sites, if the files are sorted. */
SNAP_API int snap_diff_new(snap_diff **out, const snap_snapshot *const *snapshots, size_t n,
                           const snap_diff_options *options, snap_error *err);

/* The same tables over a single snapshot: series of one value, no growth, no interval. */
SNAP_API int snap_census_new(snap_diff **out, const snap_snapshot *snapshot,
                             const snap_diff_options *options, snap_error *err);
SNAP_API void snap_diff_free(snap_diff *d);

/* Control against treatment: with the comparison of a run that is known to be good as the baseline,
 * only what is new counts. Suspects that grow there about as fast are marked, come last and do not
 * make the verdict; rules compare growth beyond that of the baseline. Both must be of one program
 * (force: whatever they are of) and of two snapshots or more; baseline must outlive d. Errors:
 * NOMEM, ARG. */
SNAP_API int snap_diff_set_baseline(snap_diff *d, const snap_diff *baseline, int force,
                                    snap_error *err);

/* What the verdict rests on, for the first line of a report. */
typedef struct snap_diff_finding {
    snap_verdict verdict;
    snap_trend trend;         /* of the blamed rows together */
    int64_t total_growth;     /* bytes in use, all domains: last minus first */
    int64_t blamed_growth;    /* of the blamed sites together; 0: it is spread over many */
    uint32_t n_blamed;        /* sites */
    uint32_t share_ppm;       /* of all sites' growth */
    uint64_t threshold_bytes; /* growth up to here is taken for noise */
    int has_references;       /* suspects come from references, so that holders are known */
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
/* Mappings that the programs made themselves, by stack, whole sizes: memory beside that of blocks,
 * never added to it. Sorted as sites; new_count, new_bytes and blamed are 0. */
SNAP_API const snap_diff_site *snap_diff_mapped(const snap_diff *d, size_t *out_n);
/* One row per device of which the process has memory, by its number. */
SNAP_API const snap_diff_device *snap_diff_devices(const snap_diff *d, size_t *out_n);
/* One row per domain that occurs, in the order of their codes. */
SNAP_API const snap_diff_type *snap_diff_totals(const snap_diff *d, size_t *out_n);
/* Sorted by last count minus first descending, then registry, callback, file, line. */
SNAP_API const snap_diff_hook *snap_diff_hooks(const snap_diff *d, size_t *out_n);
/* Sentences about what the evidence cannot support: incomplete files, two snapshots, mixed
 * processes. */
SNAP_API const char *const *snap_diff_limits(const snap_diff *d, size_t *out_n);
/* The culprit first: by confidence and trend, then growth. Files without references have suspects
 * that only name a site (class native-held, no holder). */
SNAP_API const snap_diff_suspect *snap_diff_suspects(const snap_diff *d, size_t *out_n);

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
SNAP_API const char *snap_suspect_class_name(snap_suspect_class suspect_class);

/* A limit on growth, such as "host>1MB", "host>1MB/step", "count>0", "type:NAME>0" (the grammar is
 * in snapdiff(1)). */
typedef struct snap_diff_rule_result {
    int broken;
    int64_t value, limit; /* what was measured and what was allowed; per step if the rule says so */
    const char *unit;     /* "bytes", "blocks", "callbacks"; static */
} snap_diff_rule_result;
/* Errors: ARG: the text is no rule; the message says what is wrong with it. d may be NULL: then
 * the text alone is checked. */
SNAP_API int snap_diff_rule_check(const snap_diff *d, const char *rule, snap_diff_rule_result *out,
                                  snap_error *err);

/* ---- The ranks of one job ---- */

typedef struct snap_ranks snap_ranks;

typedef struct snap_ranks_rank {
    uint64_t rank;
    snap_diff *diff; /* over its snapshots; with one snapshot a rank: of those that differ against
                        the rank in the middle, else a census. The ranks' own */
    int64_t bytes;   /* in use in the last snapshot, all domains */
    int64_t growth_bytes;    /* last minus first */
    int64_t deviation_bytes; /* growth (one snapshot a rank: bytes) beyond the rank in the middle */
    int is_deviating;
} snap_ranks_rank;

/* The same suspect on all the ranks that have it. */
typedef struct snap_ranks_thing {
    const snap_diff_suspect *suspect; /* of the rank where it grew most */
    size_t rank;                      /* index of that */
    const int64_t *growth_bytes;      /* by index of rank; 0: no suspect there */
    int64_t median_bytes;
    size_t n_ranks,
        n_deviating; /* that have it; where it grew by half as much again as the median */
    int is_common;   /* no rank differs */
} snap_ranks_thing;

/* Compares each rank over the steps that all have, and the ranks with one another. ranks: one
 * number for each snapshot, in any order. Errors: those of snap_diff_new; ARG: fewer than two
 * ranks, or nothing in common. */
SNAP_API int snap_ranks_new(snap_ranks **out, const snap_snapshot *const *snapshots,
                            const uint64_t *ranks, size_t n, const snap_diff_options *options,
                            snap_error *err);
SNAP_API void snap_ranks_free(snap_ranks *r);
SNAP_API snap_verdict snap_ranks_verdict(const snap_ranks *r);
/* Snapshots of each rank, and the first and last step if they have any. */
SNAP_API size_t snap_ranks_steps(const snap_ranks *r, int *out_has_steps, int64_t *out_first,
                                 int64_t *out_last);
SNAP_API const snap_ranks_rank *snap_ranks_ranks(const snap_ranks *r,
                                                 size_t *out_n); /* by number */
/* What some ranks have more of than others comes first, then the larger. */
SNAP_API const snap_ranks_thing *snap_ranks_things(const snap_ranks *r, size_t *out_n);
SNAP_API const char *const *snap_ranks_limits(const snap_ranks *r, size_t *out_n);

/* 1 if a position belongs to an allocator, to the recorder, or to a library's wrapper around one
 * (malloc, operator new, std::vector growth, ...), so that it says nothing about who asked for the
 * memory. */
SNAP_API int snap_location_is_allocator(const snap_snapshot *s, const snap_location *location);

#ifdef __cplusplus
}
#endif
#endif
